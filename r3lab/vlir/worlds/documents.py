"""`documents`: receipts, forms and letters on photographs (a small world in the manner of DocVQA and TextVQA).

A sheet of paper, a little askew, lies on a photograph of 512x512 pixels. Its labels can be read in the overview; a
value is either small (print 7 to 8 pixels high, handwriting 9 to 10: legible in a crop, about two pixels in the tiny
policy's overview of 128x128) or large enough to be read at once (about eleven pixels there). Questions ask for the
price on a line, the total, the date, or what stands in a field; the answer has one to six characters. Layouts, names,
photographs and handwriting of the held-out split occur in no other. A receipt's total is the sum of its lines.

    sample = Documents().sample("train", 0)
"""

from __future__ import annotations

import math

import numpy as np
from PIL import Image, ImageDraw

from ...core.geometry import Box
from ..rationale import in_turn, reading
from ..sample import Rationale, Sample
from .lettering import grained, padded
from .material import split_number, stretch
from .pages import Entry, Page, Template, templates

SIDE = 512  # source pixels
GOODS = (
    "Apples", "Bread", "Butter", "Cake", "Cheese", "Coffee", "Eggs", "Fish", "Honey", "Juice", "Milk", "Pasta", "Rice",
    "Salad", "Soup", "Tea",
)  # fmt: skip
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
FIELDS: dict[str, str] = {  # label -> pattern of its value: 9 a digit, 8 a first digit, A a letter
    "Age": "89", "Amount": "8.99", "Box": "89", "Code": "8999", "Floor": "8", "Gate": "A8", "Order": "8999",
    "Room": "899", "Row": "89", "Seat": "89A", "Table": "89", "Time": "T", "Unit": "A89", "Weight": "89.9",
}  # fmt: skip
LETTERS = "ABCDEFGHKMNPRTUVWXYZ"  # without those that look like digits
SMALL_PRINT, SMALL_HAND, LARGE_PRINT, LARGE_HAND = (8, 9), (9, 10), (42, 46), (44, 48)  # digit heights, pixels
SHARES = {"line": 0.3, "total": 0.15, "date": 0.2, "field": 0.35}  # of the questions
READABLE = 0.3  # share of the questions that need no look
LARGE_OTHER = 0.2  # how often a value that is not asked for is large
ASK = {
    "line": "What is the price of the {}?",
    "total": "What is the total?",
    "date": "What is the date?",
    "field": "What is in the field {}?",
}
SUBJECT = {"line": "The price of the {}", "total": "The total", "date": "The date", "field": "The field {}"}


def _value(rng: np.random.Generator, pattern: str) -> str:
    if pattern == "T":
        return f"{int(rng.integers(24)):02d}:{int(rng.integers(12)) * 5:02d}"
    among = {"9": "0123456789", "8": "123456789", "A": LETTERS}
    return "".join(among[c][int(rng.integers(len(among[c])))] if c in among else c for c in pattern)


def _date(rng: np.random.Generator, how: int) -> str:
    day, month = int(rng.integers(1, 29)), int(rng.integers(12))
    return (
        f"{day:02d}/{month + 1:02d}",
        f"{day:02d}.{month + 1:02d}",
        f"{day} {MONTHS[month]}",
        f"{MONTHS[month]} {day}",
    )[how]


def contents(rng: np.random.Generator, template: Template) -> list[Entry]:
    """What a page of this layout says: labels and values, each value once; sizes are decided later."""
    made: list[tuple[str, str, str]] = []
    if template.kind == "receipt":
        cents: list[int] = []
        while not cents or len({*cents, sum(cents)}) <= len(cents):
            cents = [int(rng.integers(10, 200)) * 5 for _ in range(int(rng.integers(3, 6)))]
        goods = [GOODS[int(k)] for k in rng.permutation(len(GOODS))[: len(cents)]]
        made = [(name, f"{c // 100}.{c % 100:02d}", "line") for name, c in zip(goods, cents, strict=True)]
        made += [("Total", f"{sum(cents) // 100}.{sum(cents) % 100:02d}", "total")]
    else:
        labels = [list(FIELDS)[int(k)] for k in rng.permutation(len(FIELDS))]
        count = int(rng.integers(3, 6)) if template.kind == "form" else int(rng.integers(2, 4))
        for label in labels:
            value = _value(rng, FIELDS[label])
            if len(made) < count and value not in [v for _, v, _ in made]:
                made.append((label, value, "field"))
    dated = ("Date", _date(rng, template.dates), "date")
    made.insert(0 if template.kind == "receipt" else int(rng.integers(len(made) + 1)), dated)
    by_hand = template.kind == "form" and rng.random() < 0.6
    return [
        Entry(label, value, kind, 0, False, by_hand and not any(c.isalpha() or c in ":/" for c in value))
        for label, value, kind in made
    ]


def _sizes(rng: np.random.Generator, entries: list[Entry], asked: Entry, large: bool, others: float) -> None:
    """Decide which values are large: the asked one as wanted, of the others a share."""
    for entry in entries:
        entry.large = large if entry is asked else bool(rng.random() < others)
        low, high = (
            (LARGE_HAND if entry.hand else LARGE_PRINT) if entry.large else (SMALL_HAND if entry.hand else SMALL_PRINT)
        )
        entry.digit = int(rng.integers(low, high + 1))


def lay(rng: np.random.Generator, split: str, page: Image.Image) -> tuple[Image.Image, tuple[float, float, float]]:
    """A page, a little askew, on a stretch of one of the split's photographs.

    Returns
    -------
    The picture (SIDE x SIDE), and how the page lies: its left and top before turning, and the angle in radians.
    """
    ground = Image.fromarray(np.ascontiguousarray(stretch(rng, split, SIDE)))
    left = (SIDE - page.width) // 2 + int(rng.integers(-1, 2) * max(0, (SIDE - page.width) // 2 - 22))
    top = (SIDE - page.height) // 2
    angle = float(rng.uniform(-0.04, 0.04)) if rng.random() < 0.4 else 0.0  # turning costs more than all the rest
    lies = (float(left), float(top), angle)
    corners = [turned((x, y, x, y), lies)[:2] for x, y in ((0, 0), (page.width, 0), page.size, (0, page.height))]
    mask = Image.new("L", (SIDE, SIDE), 0)
    ImageDraw.Draw(mask).polygon(corners, fill=255)
    ground.paste((0, 0, 0), (5, 6), mask.point([v * 2 // 5 for v in range(256)]))
    if angle:
        x1, x2 = max(0, left - 14), min(SIDE, left + page.width + 14)  # a turned page reaches a little further
        sheet = Image.new("RGB", (x2 - x1, SIDE))
        sheet.paste(page, (left - x1, top))
        about = (SIDE / 2 - x1, SIDE / 2)
        turned_sheet = sheet.rotate(math.degrees(angle), Image.Resampling.BILINEAR, center=about)
        ground.paste(turned_sheet, (x1, 0), mask.crop((x1, 0, x2, SIDE)))
    else:
        ground.paste(page, (left, top))
    return grained(ground, rng), lies


def turned(box: Box, lies: tuple[float, float, float]) -> Box:
    """The upright box, source pixels, of a page's box, for a page that lies as `lay` says."""
    left, top, angle = lies
    middle, cos, sin = SIDE / 2, math.cos(angle), math.sin(angle)
    corners = [(x + left - middle, y + top - middle) for x in (box[0], box[2]) for y in (box[1], box[3])]
    xs = [middle + x * cos + y * sin for x, y in corners]
    ys = [middle - x * sin + y * cos for x, y in corners]
    return min(xs), min(ys), max(xs), max(ys)


class Documents:
    """The world; see the module's docstring.

    Parameters
    ----------
    large_other : share of the values that are not asked for that are large
    """

    name = "documents"

    def __init__(self, large_other: float = LARGE_OTHER) -> None:
        self.large_other = large_other

    def sample(self, split: str, index: int, seed: int = 0) -> Sample:
        """Sample number `index`: kinds in `SHARES`, of each about 30 % readable without a look."""
        rng = np.random.default_rng([seed, split_number(split), index, 2])
        kind = list(SHARES)[int(rng.choice(len(SHARES), p=list(SHARES.values())))]
        large = bool(rng.random() < READABLE)
        pages = ("receipt",) if kind in ("line", "total") else ("form", "letter") if kind == "field" else None
        fitting = [t for t in templates(split) if pages is None or t.kind in pages]
        template = fitting[int(rng.integers(len(fitting)))]
        entries = contents(rng, template)
        possible = [e for e in entries if e.kind == kind]
        asked = possible[int(rng.integers(len(possible)))]
        _sizes(rng, entries, asked, large, self.large_other)
        page = Page(rng, template, split)
        page.paint(entries)
        image, lies = lay(rng, split, page.image)
        for entry in entries:
            entry.box, entry.label_box = turned(entry.box, lies), turned(entry.label_box, lies)
        return Sample(
            id=f"{self.name}-{split}-{seed}-{index}",
            image=image,
            question=ASK[kind].format(asked.label.lower() if kind == "line" else asked.label),
            answer=asked.value,
            regions=(padded(asked.box, image.size),),
            needs_look=not asked.large,
            world=self.name,
            split=split,
            meta={
                "kind": kind,
                "hops": 1,
                "page": template.kind,
                "template": template.number,
                "asked": asked.label,
                "entries": [e.to_meta() for e in entries],
            },
        )

    def rationale(self, sample: Sample) -> Rationale:
        """The exact lesson: name what is asked for, look if it is small, read, answer."""
        kind, label = sample.meta["kind"], sample.meta["asked"]
        subject = SUBJECT[kind].format(label.lower() if kind == "line" else label)
        return in_turn(reading(subject, sample.answer, sample.regions[0] if sample.needs_look else None), sample)
