"""Receipts, forms and letters, drawn: templates of layout, and the painter that puts entries where they belong.

An entry is a label with a value; the painter writes both and keeps the box of the value's ink. A template is a layout
(kind of page, font, columns, alignment, rules, where the date stands, ...), drawn by lot from its own number and given
to one split, so that no layout of the held-out set was seen in training. Labels are readable in the overview; a value
is either so (about 11 pixels high there; less where there is no room) or far from it (2 pixels). Invented names of
shops, people, streets and forms are divided between the splits too, so nothing read in training is a clue later; words
of the language (what a shop sells, what a field is called) are shared.

    page = Page(rng, templates("train")[0], "train")
    page.paint(entries)
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw

from ...core.geometry import Box
from .lettering import around, width, write
from .material import handwriting, shared_out, split_number

_NAMES: dict[str, tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]] = {
    "shop": (
        ("Corner Deli", "Blue Door", "Hill & Sons", "The Larder", "Cafe Mirabel", "Oak Market", "Pier Nine", "Nook",
         "Old Mill Foods", "Sunny Side", "Harbour Grocer", "Twin Bakers"),
        ("Green Basket", "Lantern Cafe", "Moss & Fern"),
        ("River Pantry", "Copper Kettle", "Fox and Quill"),
    ),
    "person": (
        ("A. Moreau", "B. Lindqvist", "C. Okafor", "D. Petrov", "E. Tanaka", "F. Almeida", "G. Novak", "H. Rossi",
         "I. Kaya", "J. Ferreira", "K. Weber", "L. Haddad"),
        ("M. Jansen", "N. Osei", "P. Varga"),
        ("R. Ibarra", "S. Nowak", "T. Eriksen"),
    ),
    "street": (
        ("12 Elm Row", "3 Canal Street", "88 Mill Lane", "41 High Road", "7 Station Square", "150 Queen Street",
         "9 Orchard Way", "26 Bridge End"),
        ("5 Abbey Close", "73 Quarry Hill"),
        ("18 Linden Court", "64 Wharf Side"),
    ),
    "form": (
        ("Visitor card", "Boarding slip", "Clinic record", "Entry form", "Parking permit", "Library card",
         "Hotel guest", "Race number"),
        ("Cloakroom tag", "Workshop pass"),
        ("Ferry ticket", "Loan sheet"),
    ),
    "sentence": (
        ("We thank you for your letter and are glad to reply.", "The goods left our store this morning by rail.",
         "Please keep this page with your other papers.", "Our office is open on weekdays until noon.",
         "The engineer will call before coming to your house.", "We are sorry that the parcel was late.",
         "A copy of the contract is attached to this letter."),
        ("Kindly return the enclosed card at your leisure.", "The committee meets again in the spring."),
        ("Your subscription has been renewed as requested.", "Should anything be amiss, do write to us."),
    ),
}  # fmt: skip


def names(split: str) -> dict[str, tuple[str, ...]]:
    """The names of a split, by what they name: shop, person, street, form; and sentence."""
    number = split_number(split)
    return {what: of[number] for what, of in _NAMES.items()}


Colour = tuple[int, int, int]
KINDS = ("receipt", "form", "letter")
FONTS = ("sans", "serif", "mono", "times", "roman", "grotesque", "typewriter")
BOLD = {"sans": "sans-bold", "serif": "serif-bold", "mono": "mono-bold", "times": "times-bold", "roman": "roman-bold"}
PAPERS: tuple[Colour, ...] = ((252, 252, 248), (246, 240, 222), (238, 243, 248), (250, 238, 236), (240, 246, 234))
INKS: tuple[Colour, ...] = ((20, 20, 24), (24, 40, 110), (70, 30, 30), (60, 60, 66))
TEMPLATES, MORE = 72, 1800  # that the splits share out, and more to train with: of few layouts the places are learned
CLEAR, SLASH = 0.66, 0.54  # of the room from line to line: no digit is higher, none beside a slash, which is taller
LABEL = 24  # height of a label's capitals, source pixels: six in the overview


@dataclass(frozen=True)
class Template:
    """A layout; every attribute is drawn from `number` alone."""

    number: int
    kind: str
    font: str
    paper: int
    ink: int
    head: str  # "l" or "m": where the heading stands
    rule: str  # what leads the eye: none, dots, line, box
    columns: int  # of a form
    values: str  # "l" or "r": how values are aligned
    dates: int  # how a date is written
    first: bool  # the date comes before the other entries
    wide: int  # page width, pixels


@lru_cache(maxsize=1)
def _all() -> tuple[Template, ...]:
    made = []
    for number in range(TEMPLATES + MORE):
        rng = np.random.default_rng([48, number])
        kind = KINDS[number % 3]
        pick = {name: int(rng.integers(n)) for name, n in (("font", 7), ("paper", 5), ("ink", 4), ("dates", 4))}
        low, high = {"receipt": (410, 480), "form": (450, 490), "letter": (450, 490)}[kind]
        rules = {"receipt": ("none", "dots", "line"), "form": ("line", "box"), "letter": ("none", "dots", "line")}[kind]
        template = Template(
            number,
            kind,
            FONTS[pick["font"]],
            pick["paper"],
            pick["ink"],
            "lm"[int(rng.integers(2))],
            rules[int(rng.integers(len(rules)))],
            1 + int(rng.integers(2)),
            "lr"[int(rng.integers(2))],
            pick["dates"],
            bool(rng.random() < 0.5),
            int(rng.integers(low, high)),
        )
        made.append(template)
    return tuple(made)


@lru_cache(maxsize=3)
def templates(split: str) -> tuple[Template, ...]:
    """The layouts of a split: of every 18 of the first (six of each kind) three go to validation, three to test."""
    shares = {12: 1, 13: 1, 14: 1, 15: 2, 16: 2, 17: 2}
    return shared_out(split, _all()[:TEMPLATES], _all()[TEMPLATES:], 18, shares, lambda t: replace(t, number=0, wide=0))


@dataclass
class Entry:
    """A label and its value; `box` is the ink of the value, `label_box` that of the label, in page, later in source
    pixels."""

    label: str
    value: str
    kind: str  # line, total, date, field
    digit: int  # height of a digit of the value, source pixels
    large: bool
    hand: bool = False
    box: Box = (0.0, 0.0, 0.0, 0.0)
    label_box: Box = (0.0, 0.0, 0.0, 0.0)

    def to_meta(self) -> dict:
        """Plain data."""
        return {**asdict(self), "box": list(self.box), "label_box": list(self.label_box)}


def _steps(entry: Entry) -> list[float]:
    """How far the pen goes on at each character of a value, pixels."""
    return [(0.8 if c.isdigit() else 0.4) * entry.digit for c in entry.value]


def _clear(entry: Entry, pitch: float) -> None:
    """Make a value small enough to stay clear of the next line, `pitch` pixels on, on a page that lies askew, too."""
    entry.digit = min(entry.digit, int((SLASH if "/" in entry.value else CLEAR) * pitch))


class Page:
    """A sheet of paper with a template's layout."""

    def __init__(self, rng: np.random.Generator, template: Template, split: str) -> None:
        self.rng, self.template, self.split = rng, template, split
        self.size = (template.wide, 480)
        self.image = Image.new("RGB", self.size, PAPERS[template.paper])
        self.draw = ImageDraw.Draw(self.image)
        self.ink = INKS[template.ink]
        self.faint: Colour = (150, 150, 156)
        self.bold = BOLD.get(template.font, template.font)
        self.margin = 26

    def paint(self, entries: list[Entry]) -> None:
        """Write heading and entries; sets the box of each."""
        {"receipt": self._receipt, "form": self._form, "letter": self._letter}[self.template.kind](entries)

    def _one(self, what: str) -> str:
        known = names(self.split)[what]
        return known[int(self.rng.integers(len(known)))]

    def _text(self, x: float, y: float, text: str, digit: int, anchor: str = "lm", bold: bool = False) -> Box:
        return write(self.draw, (x, y), text, self.bold if bold else self.template.font, digit, self.ink, anchor)

    def _head(self, title: str, small: str, y: float) -> None:
        x = self.margin if self.template.head == "l" else self.size[0] / 2
        digit = 20
        while width(title, self.bold, digit) > self.size[0] - 2 * self.margin:
            digit -= 1
        self._text(x, y, title, digit, f"{self.template.head}m", True)
        self._text(x, y + 26, small, 9, f"{self.template.head}m")

    def _line(self, y: float, dashed: bool = False, left: float = 0.0, right: float = 0.0) -> None:
        x, end = left or self.margin, right or self.size[0] - self.margin
        while dashed and x < end:
            self.draw.line((x, y, min(end, x + 2), y), fill=self.faint, width=2)
            x += 7
        if not dashed:
            self.draw.line((x, y, end, y), fill=self.faint, width=2)

    def value(self, entry: Entry, x: float, y: float, anchor: str, room: float) -> None:
        """Write an entry's value, smaller where there is less room: print, or handwriting of the split."""
        while entry.large and self._wide(entry) > room:
            entry.digit -= 1
        entry.box = self._pen(entry, x, y, anchor) if entry.hand else self._text(x, y, entry.value, entry.digit, anchor)

    def _wide(self, entry: Entry) -> float:
        return sum(_steps(entry)) if entry.hand else width(entry.value, self.template.font, entry.digit)

    def _pen(self, entry: Entry, x: float, y: float, anchor: str) -> Box:
        h, (bitmaps, labels) = entry.digit, handwriting(self.split)
        steps = _steps(entry)
        x -= sum(steps) if anchor[0] == "r" else 0.0
        boxes = []
        for character, step in zip(entry.value, steps, strict=True):
            if character.isdigit():
                rows = np.flatnonzero(labels == int(character))
                ink = bitmaps[rows[int(self.rng.integers(len(rows)))]]
                mask = Image.fromarray((ink * 255).astype(np.uint8)).resize((h, h), Image.Resampling.BICUBIC)
                mask = mask.point([min(255, max(0, round(1.5 * v - 50))) for v in range(256)])
                left, top = round(x + step / 2 - h / 2), round(y - h / 2 + self.rng.uniform(-0.05, 0.05) * h)
                self.image.paste((24, 40, 130), (left, top), mask)
                boxes.append((left, top, left + h, top + h))
            else:
                r, low = max(1.2, 0.07 * h), y + 0.4 * h
                self.draw.ellipse((x + step / 2 - r, low - r, x + step / 2 + r, low + r), fill=(24, 40, 130))
            x += step
        return around(boxes)

    def _row(self, entry: Entry, y: float, left: float, right: float, bold: bool = False) -> None:
        """Label at the left, value at the right or behind it, and what leads from one to the other."""
        said = entry.label_box = self._text(left, y, entry.label, LABEL, "lm", bold)
        if self.template.kind == "receipt":
            self.value(entry, right, y, "rm", right - said[2] - 14)
        else:
            self._filled(entry, left + 0.45 * (right - left), right, y)
        if self.template.rule == "dots" and entry.box[0] - said[2] > 30:
            self._line(y + 8, True, said[2] + 10, entry.box[0] - 10)
        elif self.template.rule == "line":
            self._line(y + 25, False, left, right)

    def _receipt(self, entries: list[Entry]) -> None:
        t, y = self.template, 40.0
        self._head(self._one("shop"), self._one("street"), y)
        dated = [e for e in entries if e.kind == "date"]
        rest = [e for e in entries if e.kind != "date"]
        rows = dated + rest if t.first else rest + dated
        pitch = (self.size[1] - 96) / len(rows)
        y = 88 + pitch / 2
        for entry in rows:
            _clear(entry, pitch)
            if entry.kind == "total":
                self.draw.line((self.margin, y - pitch / 2, self.size[0] - self.margin, y - pitch / 2), self.ink, 3)
            self._row(entry, y, self.margin, self.size[0] - self.margin, entry.kind == "total")
            y += pitch

    def _form(self, entries: list[Entry]) -> None:
        t, columns = self.template, self.template.columns
        self._head(self._one("form"), self._one("person"), 36)
        rows = -(-len(entries) // columns)
        wide, high = (self.size[0] - 2 * self.margin) / columns, (self.size[1] - 100) / rows
        order = entries if t.first else entries[::-1]
        for place, entry in enumerate(order):
            left, top = self.margin + place % columns * wide, 82 + place // columns * high
            if t.rule == "box":
                self.draw.rectangle((left, top, left + wide - 8, top + high - 8), outline=self.faint, width=2)
            inner, end, middle = left + 10.0, left + wide - 24, top + high / 2 - 4
            if columns == 1:
                entry.label_box = self._text(inner, middle, entry.label, LABEL, "lm", True)
                inner = entry.label_box[2] + 12
                self._filled(entry, left + 0.45 * wide, end, middle)
            else:
                entry.label_box = self._text(inner, top + 20, entry.label, LABEL, "lm", True)
                self._filled(entry, inner + 8, end, top + 0.64 * high - 2)
            if t.rule == "line":
                self._line(top + high - 9, False, inner, end + 12)

    def _filled(self, entry: Entry, left: float, right: float, y: float) -> None:
        """A value at either end of its room, as the template has it."""
        at = left if self.template.values == "l" else right
        self.value(entry, at, y, f"{self.template.values}m", right - left)

    def _letter(self, entries: list[Entry]) -> None:
        t, (w, h) = self.template, self.size
        self._head(self._one("person"), self._one("street"), 36)
        lines = 5
        block, text = (88.0, h - 34 - 19 * lines) if t.first else (112.0 + 19 * lines, 96.0)
        pitch = (h - 130 - 19 * lines) / len(entries)
        for place, entry in enumerate(entries):
            right = w - self.margin if t.columns == 1 else w - 90
            _clear(entry, pitch)
            self._row(entry, block + (place + 0.5) * pitch, self.margin, right)
        said = names(self.split)["sentence"]
        begin = int(self.rng.integers(len(said)))
        for line in range(lines):
            self._text(self.margin, text + 19 * line, said[(begin + line) % len(said)], 8)
