"""One true record of every benchmark, by the field names of its public files, with images of 8 x 6 pixels."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

from PIL import Image

SIZE = (8, 6)


def png(size: tuple[int, int] = SIZE) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, (10, 20, 30)).save(buffer, format="PNG")
    return buffer.getvalue()


PNG, TEXT64 = png(), base64.b64encode(png()).decode()
EMBEDDED = {"bytes": PNG, "path": "/somewhere/else/1.png"}  # as Hugging Face embeds it; the path is never opened

# One true record of each, by the field names of the public files; MathVista's has one that nobody reads.
TRUE: dict[str, dict[str, Any]] = {
    "mathvista": {
        "pid": "1",
        "question": "Which is larger?",
        "image": "images/1.png",
        "decoded_image": EMBEDDED,
        "choices": ["left", "right"],
        "precision": None,
        "unit": None,
        "answer": "right",
        "question_type": "multi_choice",
        "answer_type": "text",
        "query": "Hint: ... Question: Which is larger?\nChoices:\n(A) left\n(B) right",
    },
    "mathvision": {
        "id": "4",
        "question": "How many?\n<image1>",
        "options": ["3", "4"],
        "image": "images/4.png",
        "decoded_image": EMBEDDED,
        "answer": "B",
    },
    "scienceqa": {
        "image": EMBEDDED,
        "question": "Which is a rock?",
        "choices": ["wood", "granite"],
        "answer": 1,
        "hint": "Rocks are hard.",
    },
    "hallusionbench": {
        "category": "VD",
        "subcategory": "illusion",
        "set_id": "0",
        "figure_id": "0",
        "question_id": "0",
        "question": "Is the right circle as large as the left?",
        "gt_answer": "1",
        "filename": "./hallusion_bench/VD/illusion/0_0.png",
        "image": EMBEDDED,
    },
    "docvqa": {
        "questionId": "337",
        "question": "What is the date?",
        "image": EMBEDDED,
        "answers": ["1/8/93", "1/8/1993"],
    },
    "vstar": {
        "image": EMBEDDED,
        "text": "What is the glove made of?\n(A) rubber\n(B) cotton\nAnswer with the option's letter.",
        "category": "direct_attributes",
        "label": "A",
        "question_id": "0",
    },
    "mmvp": {
        "Index": 1,
        "Question": "Is the door open?",
        "Options": "(a) Open (b) Closed",
        "Correct Answer": "(b)",
        "image": EMBEDDED,
    },
    "cv-bench": {
        "idx": 0,
        "image": EMBEDDED,
        "choices": ["0", "1", "2"],
        "answer": "(C)",
        "prompt": "How many? Select from the following choices.\n(A) 0\n(B) 1\n(C) 2",
        "filename": "img/2D/count/ade20k_10.png",
        "source": "ADE20K",
    },
    "hr-bench": {
        "index": 0,
        "question": "What is on the sign?",
        "answer": "B",
        "category": "single",
        "A": "cat",
        "B": "dog",
        "C": "cow",
        "D": "owl",
        "cycle_category": "0",
        "image": TEXT64,
    },
}
ANSWER = {name: "B" for name in TRUE} | {
    "mathvista": "right",
    "hallusionbench": "yes",
    "docvqa": "1/8/93",
    "vstar": "A",
    "cv-bench": "C",
}


def with_paths(name: str, folder: Path) -> dict[str, Any]:
    """The true record as JSON holds it: the image a file in the folder."""
    record = {field: value for field, value in TRUE[name].items() if field not in ("decoded_image", "image")}
    given = {"mathvista": "images/1.png", "mathvision": "images/4.png", "hallusionbench": record.get("filename")}
    path = given.get(name) or "pictures/1.png"
    record["filename" if name == "hallusionbench" else "image"] = path
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    (folder / path).write_bytes(PNG)
    return record
