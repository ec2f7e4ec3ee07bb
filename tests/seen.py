"""What a browser would make of a page, and records to draw, for tests of views."""

from __future__ import annotations

import unicodedata
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import numpy as np
from PIL import Image
from test_show import HOSTILE, SPOT, look, trajectory

from r3lab.core.geometry import Box
from r3lab.core.images import content_hash
from r3lab.explain.explanation import Explanation, LookEntry
from r3lab.explain.verdict import Evidence, Verdict
from r3lab.trajectory import ImageRef, Trajectory

# Text that would set `window.fired` if any of it were run or read as markup.
ATTACK = (
    "<script>window.fired=1</script><img src=x onerror='window.fired=2'><svg onload=window.fired=3><a href="
    '\'javascript:window.fired=4\'>x</a>"><b autofocus onfocus="window.fired=5" tabindex=1>'
    "' onmouseover='window.fired=6"
    "</title></style></textarea><!-- ]]> ${window.fired=7} $x$ %{x} \\u003cscript> &lt;script&gt;window.fired=8"
)
KINDS = {**HOSTILE, "attack": ATTACK, "megabyte of attack": ATTACK * 2500}
ALLOWED = {  # elements that our pages are made of
    *("html", "head", "meta", "title", "style", "body", "main", "script", "section", "h1", "h2", "h3", "p", "div"),
    *("span", "figure", "figcaption", "ol", "ul", "li", "strong", "bdi", "a", "b", "i", "img", "details", "summary"),
    *("button", "input", "label", "output", "fieldset", "legend", "table", "thead", "tbody", "tr", "th", "td"),
    *("svg", "defs", "image", "use", "g", "rect", "line", "text", "circle", "polyline"),
}


class Seen(HTMLParser):
    """Elements with their attributes, and the text outside of scripts and styles."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.words, self.code = "", ""
        self._inside = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag in ("script", "style"):
            self._inside = tag

    def handle_endtag(self, tag: str) -> None:
        if tag == self._inside:
            self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            self.code += data
        elif not self._inside:
            self.words += data

    def of(self, tag: str, **wanted: str) -> list[dict[str, str]]:
        """Attributes of the elements of that name that have all of `wanted` (class: among its names)."""
        found = [attrs for name, attrs in self.elements if name == tag]
        for key, value in wanted.items():
            key = {"kind": "class", "start": "data-from"}.get(key, key)
            found = [a for a in found if (value in a.get(key, "").split() if key == "class" else a.get(key) == value)]
        return found

    def check(self) -> None:
        """Nothing in it acts but what is ours."""
        for tag, attrs in self.elements:
            assert tag in ALLOWED, tag
            for name, value in attrs.items():
                assert not name.startswith("on") and name not in ("style", "srcdoc", "formaction"), (tag, name)
                if name in ("href", "src"):
                    assert value.startswith(("#", "data:image/")) or value.endswith(".html"), (tag, value[:80])
                assert "javascript:" not in value or name in ("aria-label", "title", "alt"), (tag, name)
        bad = [c for c in self.words if unicodedata.category(c)[0] == "C" and c != "\n"]
        assert not bad, bad[:5]


def hostile(text: str) -> Trajectory:
    """A trajectory with this text wherever a model, a data set or a user writes."""
    t = trajectory(text, look(0), text, (9.0, 9.0, 5.0, 9.5), text, answer="1" + text[:300].replace("<", ""))
    t.question, t.sample_id, t.model = f"q {text}", text, text
    t.truth = {"answer": f"{text}x", "regions": [text, [text] * 4, list(SPOT)]}
    t.rewards, t.advantage = {text[:200]: 1.0, "b": -0.5}, 0.5
    t.looks = [*t.looks[:-1], replace(t.looks[-1], reason=f"r {text}")]
    return t


def hostile_explanation(text: str) -> Explanation:
    verdict = Verdict(text, 0.5, text, ((text, 0.5),), (text, text))
    return Explanation(hostile(text), (LookEntry(0, SPOT, sentence=text),), Evidence(), verdict, text)


def noise(size: tuple[int, int], seed: int = 0) -> Image.Image:
    """The worst that an image can be for compression."""
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))


def heavy(looks: int, seed: int = 0) -> Trajectory:
    """A photograph of 1.5 megapixels of noise, looked at so often with crops of 0.2 megapixels."""
    boxes: list[Box] = [(10.0 + 20 * i, 10.0 + 15 * i, 200.0 + 20 * i, 190.0 + 15 * i) for i in range(looks)]
    t = trajectory(*[part for box in boxes for part in ("some words before it", box)], "words")
    photo = noise((1400, 1050), seed)
    whole = content_hash(photo)
    images = {whole: photo}
    found = []
    for i, one in enumerate(t.looks):
        crop = noise((448, 448), seed + i + 1)
        images[content_hash(crop)] = crop
        box = tuple(2.7 * v for v in one.box or ())
        found.append(replace(one, box=box, crop=ImageRef(content_hash(crop), *crop.size)))  # type: ignore[arg-type]
    changed: dict[str, Any] = {"image": ImageRef(whole, *photo.size), "overview": (1148, 840)}
    return replace(t, looks=found, images=images, truth={"answer": "7"}, **changed)
