"""Records to draw, what is seen of a page or picture of them, a policy that writes what a test says, what to skip."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from PIL import Image
from transformers.models.auto.processing_auto import PROCESSOR_MAPPING_NAMES

from r3lab.core.geometry import Box, Frame, crop_size, from_source, problem
from r3lab.core.images import content_hash, cut
from r3lab.core.protocol import box_text, environment_message
from r3lab.explain.explanation import Explanation, HeatMap, LookEntry
from r3lab.explain.verdict import Evidence, Verdict
from r3lab.models.policy import Policy
from r3lab.show.picture import Picture
from r3lab.trajectory import ImageRef, Kind, Look, Trajectory

SIZE = (512, 384)
SPOT: Box = (96.0, 200.0, 160.0, 248.0)  # where PHOTO is red
HOSTILE = {
    "mathtext": r"costs $5 and $\frac{1}{0}$ and $",
    "ansi": "\x1b[31mred\x1b[0m \x1b]0;title\x07 \x9b1m",
    "bidi": "\u202eevil\u202c \u2066x\u2069 \u200f\ufeff",
    "markup": "<script>alert(1)</script><img src=x onerror=alert(1)> --> ]]>",
    "controls": "".join(map(chr, range(32))) + "\x7f\x85\u2028\ud800",
    "scripts": "\u4e2d\u6587 \u0e44\u0e17\u0e22 \U0001f600 \ue000" + "e" + "\u0301" * 400,
    "megabyte": "A" * 1_000_000,
    "lines": "\n" * 5000 + "end",
}


def needs_torchvision(kind: str) -> pytest.MarkDecorator:
    """Skips a family whose processor the installed transformers cannot import without torchvision."""
    needed = find_spec("torchvision") is None and kind == "lfm2_vl"
    try:
        getattr(transformers, PROCESSOR_MAPPING_NAMES[kind])
    except ImportError:  # older versions want it for more of them
        needed = True
    return pytest.mark.skipif(needed, reason="its image processor needs torchvision")


def photo() -> Image.Image:
    """Grey noise with one red block at SPOT."""
    noise = np.random.default_rng(0).integers(40, 90, (SIZE[1], SIZE[0], 1), dtype=np.uint8)
    pixels = np.repeat(noise, 3, axis=2)
    x1, y1, x2, y2 = map(int, SPOT)
    pixels[y1:y2, x1:x2] = (255, 0, 0)
    return Image.fromarray(pixels)


PHOTO = photo()


def trajectory(*parts: str | Box, answer: str | None = "7", **fields: Any) -> Trajectory:
    """A rollout by hand: text and boxes (source pixels) in order, then the answer."""
    source = content_hash(PHOTO)
    known = {"sample_id": "s", "question": "Which digit?", "truth": {"answer": "7", "regions": [list(SPOT)]}}
    given: dict[str, Any] = {**known, "images": {source: PHOTO}, **fields}
    t = Trajectory(image=ImageRef(source, *SIZE), overview=(128, 96), frame=Frame.RELATIVE, **given)

    def add(kind: Kind, piece: str = "") -> None:
        sampled = kind is Kind.SAMPLED
        t.ids.append(0)
        t.kinds.append(int(kind))
        t.pieces.append(piece)
        t.logprobs.append(-0.5 if sampled else None)
        t.entropies.append(0.1 if sampled else None)

    add(Kind.PROMPT, "user ")
    add(Kind.OVERVIEW)
    for part in parts:
        if isinstance(part, str):
            add(Kind.SAMPLED, part)
            continue
        written = from_source(part, t.frame, SIZE, t.overview)
        start, why = len(t.ids), problem(part, SIZE)
        add(Kind.SAMPLED, box_text([round(v) for v in written]))
        span = (start, start + 1)
        if why:
            t.looks.append(Look(span, written, part, False, why))
            add(Kind.ENVIRONMENT, environment_message(why))
            continue
        zoom, size = crop_size(part, SIZE, 16, 4, 16)
        crop = cut(PHOTO, part, size)
        name = content_hash(crop)
        t.images[name] = crop
        add(Kind.CROP)
        t.looks.append(Look(span, written, part, True, "", zoom, ImageRef(name, *size), (start + 1, start + 2)))
    if answer is not None:
        add(Kind.SAMPLED, f"</think><answer>{answer}</answer>")
        t.answer, t.finish = answer.strip(), "answered"
    t.check()
    return t


def look(i: int) -> Box:
    """Eight different usable regions."""
    return (10.0 + 40 * i, 20.0 + 30 * i, 60.0 + 42 * i, 70.0 + 31 * i)


def by_gid(drawn: Picture, gid: str) -> Any:
    """The one artist of that name."""
    [found] = drawn.figure.findobj(lambda artist: artist.get_gid() == gid)
    return found


def corners(patch: Rectangle) -> Box:
    x, y = patch.get_xy()
    return (x, y, x + patch.get_width(), y + patch.get_height())


def words(drawn: Picture) -> str:
    return "\n".join(text.get_text() for text in drawn.figure.findobj(Text))


CELLS = HeatMap(np.arange(12, dtype=np.float32).reshape(3, 4), (0.0, 0.0, 512.0, 384.0), SIZE)


def looks(count: int, **fields: Any) -> Trajectory:
    """A rollout with so many granted looks."""
    parts: list[Any] = ["I look."]
    for i in range(count):
        parts += [look(i), f"text {i}"]
    return trajectory(*parts, **fields)


def group(count: int = 4) -> list[Trajectory]:
    """Scored rollouts of one sample: the second is right and looks well, the last has no advantage to speak of."""
    found = [
        looks(1, answer="1"),
        trajectory("x", SPOT, "y"),
        trajectory("x", answer="7"),
        trajectory("x", answer=None),
    ]
    for t, accuracy, cost, advantage in zip(found, (0, 1, 1, 0), (-0.2, 0, 0, 0), (-1.0, 1.5, 0.4, 0.0), strict=True):
        t.rewards, t.advantage = {"accuracy": float(accuracy), "look cost": float(cost)}, advantage
    return found[:count]


def stream(steps: int = 4, samples: int = 3, **fields: Any) -> dict[int, list[Trajectory]]:
    """Rollouts by step, whose look comes nearer to the true region; the first sample begins to look at step 10."""
    found: dict[int, list[Trajectory]] = {}
    for order in range(steps):
        row = []
        for n in range(samples):
            off = 40.0 * (steps - 1 - order)
            box = tuple(v + off for v in SPOT)
            parts: list[Any] = ["x"] if n == 0 and order == 0 else ["x", box, "y"]
            row.append(trajectory(*parts, answer="7" if order else "1", sample_id=f"s{n}", **fields))
        found[10 * order] = row
    return found


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


class Scripted(Policy):
    """Writes the script, whatever the model thinks."""

    script: Iterator[int]

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """All weight on the script's next token."""
        logits = torch.zeros_like(super().logits(hidden))
        logits[:, next(self.script)] = 1e4
        return logits
