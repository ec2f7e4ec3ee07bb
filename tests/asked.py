"""Questions to a teacher, and what a good one replies."""

from __future__ import annotations

from typing import Any

from PIL import Image

from r3lab.vlir.sample import Sample

REGION = (20.0, 10.0, 60.0, 40.0)  # of images of 160 x 100 pixels: 125, 100, 375, 400 of 1000


def make(number: int, **fields: Any) -> Sample:
    """A sample whose question says its number."""
    image = Image.new("RGB", (160, 100), (number % 256, 90, 40))
    given = {
        "question": f"Q{number:03d}: what is on it?",
        "answer": str(number),
        "regions": (REGION,),
        "needs_look": True,
    }
    return Sample(f"sample-{number}", image, **{**given, "split": "train", **fields})


def good(facts: dict[str, Any]) -> dict[str, Any]:
    """What a good teacher writes."""
    looks = [{"text": "The mark is too small to read.", "region": region} for region in facts["regions"]]
    return {"steps": [*looks, {"text": "It can be read now.", "region": None}], "answer": facts["answer"]}
