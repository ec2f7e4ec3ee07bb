"""`documents`: receipts, forms and letters on photographs (a small world in the manner of DocVQA and TextVQA).

A sheet of paper, a little askew, lies on a photograph of 512x512 pixels. Its labels can be read in the overview; a
value is either small (print 8 to 9 pixels high, handwriting 9 to 10: legible in a crop, under three pixels in the tiny
policy's overview of 160x160) or large enough to be read at once (fourteen pixels there, or more). What has no room for
that is small. Questions ask for the price on a line, the total, the date, or what stands in a field; the answer has one
to six characters. A receipt's total is the sum of its lines.

A template is a layout (kind of page, font, columns, alignment, rules, where the date stands, ...), drawn by lot from
its own number and given to one split, so that no layout of the held-out set was seen in training. Photographs,
handwriting and invented names of shops, people, streets and forms are divided between the splits too, so nothing read
in training is a clue later; words of the language (what a shop sells, what a field is called) are shared.

    sample = Documents().sample("train", 0)
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw

from ...core.geometry import Box, Size
from ..rationale import Steps, reading
from ..sample import Sample
from . import material
from .material import NOWHERE, Drawn, World

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
DIGITS = {  # heights in pixels, of values that are large and of those by hand
    (False, False): (8, 9), (False, True): (9, 10), (True, False): (46, 56), (True, True): (48, 60),
}  # fmt: skip
LEAST = 46  # height of a digit that can be read in the overview, source pixels
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

_SHARED_OUT = {  # names by kind, of train, validation and test
    "shop": (
        "Corner Deli | Blue Door | Hill & Sons | The Larder | Cafe Mirabel | Oak Market | Pier Nine | Nook | "
        "Old Mill Foods | Sunny Side | Harbour Grocer | Twin Bakers",
        "Green Basket | Lantern Cafe | Moss & Fern",
        "River Pantry | Copper Kettle | Fox and Quill",
    ),
    "person": (
        "A. Moreau | B. Lindqvist | C. Okafor | D. Petrov | E. Tanaka | F. Almeida | G. Novak | H. Rossi | "
        "I. Kaya | J. Ferreira | K. Weber | L. Haddad",
        "M. Jansen | N. Osei | P. Varga",
        "R. Ibarra | S. Nowak | T. Eriksen",
    ),
    "street": (
        "12 Elm Row | 3 Canal Street | 88 Mill Lane | 41 High Road | 7 Station Square | 150 Queen Street | "
        "9 Orchard Way | 26 Bridge End",
        "5 Abbey Close | 73 Quarry Hill",
        "18 Linden Court | 64 Wharf Side",
    ),
    "form": (
        "Visitor card | Boarding slip | Clinic record | Entry form | Parking permit | Library card | Hotel guest | "
        "Race number",
        "Cloakroom tag | Workshop pass",
        "Ferry ticket | Loan sheet",
    ),
    "sentence": (
        "We thank you for your letter and are glad to reply. | The goods left our store this morning by rail. | "
        "Please keep this page with your other papers. | Our office is open on weekdays until noon. | "
        "The engineer will call before coming to your house. | We are sorry that the parcel was late. | "
        "A copy of the contract is attached to this letter.",
        "Kindly return the enclosed card at your leisure. | The committee meets again in the spring.",
        "Your subscription has been renewed as requested. | Should anything be amiss, do write to us.",
    ),
}
NAMES = {what: [part.split(" | ") for part in parts] for what, parts in _SHARED_OUT.items()}

FONTS = ("sans", "serif", "mono", "times", "roman", "grotesque", "typewriter")
BOLD = {"sans": "sans-bold", "serif": "serif-bold", "mono": "mono-bold", "times": "times-bold", "roman": "roman-bold"}
PAPERS = ((252, 252, 248), (246, 240, 222), (238, 243, 248), (250, 238, 236), (240, 246, 234))
INKS, PEN, FAINT = ((20, 20, 24), (24, 40, 110), (70, 30, 30), (60, 60, 66)), (24, 40, 130), (150, 150, 156)
KINDS = {  # of pages: least and most width in pixels, and what may lead the eye from a label to its value
    "receipt": ((410, 480), ("none", "dots", "line")),
    "form": ((450, 490), ("line", "box")),
    "letter": ((450, 490), ("none", "dots", "line")),
}
TEMPLATES, MORE = 72, 1800  # that the splits share out, and more to train with: of few layouts the places are learned
HIGH, MARGIN, LINES = 480, 26, 5  # of a page: pixels; lines of text in a letter
CLEAR, SLASH = 0.66, 0.54  # of the room from line to line: no digit is higher, none beside a slash, which is taller
LABEL = 24  # height of a label's capitals, source pixels: six in the overview


# -- the paper -------------------------------------------------------------------------------------------------------


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


def _template(number: int) -> Template:
    rng = np.random.default_rng([48, number])
    kind = list(KINDS)[number % 3]
    font, paper, ink, dates = (int(rng.integers(n)) for n in (len(FONTS), len(PAPERS), len(INKS), 4))
    sides, rules = KINDS[kind]
    head, rule = "lm"[int(rng.integers(2))], rules[int(rng.integers(len(rules)))]
    columns, values = 1 + int(rng.integers(2)), "lr"[int(rng.integers(2))]
    first, wide = bool(rng.random() < 0.5), int(rng.integers(*sides))
    return Template(number, kind, FONTS[font], paper, ink, head, rule, columns, values, dates, first, wide)


@lru_cache(maxsize=3)
def templates(split: str) -> tuple[Template, ...]:
    """The layouts of a split: of every 18 of the first (six of each kind) three go to validation, three to test."""
    shares = {12: 1, 13: 1, 14: 1, 15: 2, 16: 2, 17: 2}
    return material.shared_out(split, _template, TEMPLATES, MORE, 18, shares, lambda t: replace(t, number=0, wide=0))


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
    small: int = 0  # the height where there is no room for large print
    box: Box = NOWHERE
    label_box: Box = NOWHERE

    @property
    def steps(self) -> list[float]:
        """How far the pen goes on at each character of the value, pixels."""
        return [(0.8 if c.isdigit() else 0.4) * self.digit for c in self.value]

    def fit(self, most: float) -> None:
        """Make a digit at most so high; what could not be read in the overview any more is small print."""
        self.digit = min(self.digit, int(most))
        if self.large and self.digit < LEAST:
            self.large, self.digit = False, self.small

    def keep_clear(self, pitch: float) -> None:
        """Make the value small enough to stay clear of the next line, `pitch` pixels on, on a page that lies askew,
        too."""
        self.fit((SLASH if "/" in self.value else CLEAR) * pitch)


class Page:
    """A sheet of paper with a template's layout."""

    def __init__(self, rng: np.random.Generator, template: Template, split: str) -> None:
        self.rng, self.template, self.split = rng, template, split
        self.size: Size = (template.wide, HIGH)
        self.image = Image.new("RGB", self.size, PAPERS[template.paper])
        self.draw = ImageDraw.Draw(self.image)
        self.bold = BOLD.get(template.font, template.font)
        self.end = template.wide - MARGIN

    def paint(self, entries: list[Entry]) -> None:
        """Write heading and entries; sets the box of each."""
        {"receipt": self._receipt, "form": self._form, "letter": self._letter}[self.template.kind](entries)

    def _one(self, what: str) -> str:
        known = NAMES[what][material.split_number(self.split)]
        return known[int(self.rng.integers(len(known)))]

    def _text(self, x: float, y: float, text: str, digit: int, anchor: str = "lm", bold: bool = False) -> Box:
        family = self.bold if bold else self.template.font
        return material.write(self.draw, (x, y), text, family, digit, INKS[self.template.ink], anchor)

    def _label(self, entry: Entry, x: float, y: float, bold: bool) -> None:
        entry.label_box = self._text(x, y, entry.label, LABEL, "lm", bold)

    def _head(self, title: str, small: str, y: float) -> None:
        x = MARGIN if self.template.head == "l" else self.size[0] / 2
        digit = 20
        while material.width(title, self.bold, digit) > self.size[0] - 2 * MARGIN:
            digit -= 1
        self._text(x, y, title, digit, f"{self.template.head}m", True)
        self._text(x, y + 26, small, 9, f"{self.template.head}m")

    def _line(self, y: float, left: float, right: float) -> None:
        self.draw.line((left, y, right, y), fill=FAINT, width=2)

    def _value(self, entry: Entry, x: float, y: float, anchor: str, room: float) -> None:
        """Write an entry's value, smaller where there is less room: print, or handwriting of the split."""
        while entry.large and self._wide(entry) > room:
            entry.fit(entry.digit - 1)
        entry.box = self._pen(entry, x, y, anchor) if entry.hand else self._text(x, y, entry.value, entry.digit, anchor)

    def _wide(self, entry: Entry) -> float:
        return sum(entry.steps) if entry.hand else material.width(entry.value, self.template.font, entry.digit)

    def _pen(self, entry: Entry, x: float, y: float, anchor: str) -> Box:
        h, boxes = entry.digit, []
        x -= sum(entry.steps) if anchor[0] == "r" else 0.0
        for character, step in zip(entry.value, entry.steps, strict=True):
            if character.isdigit():
                mask = material.digit_ink(self.rng, self.split, int(character), h)
                mask = mask.point([min(255, max(0, round(1.5 * v - 50))) for v in range(256)])
                left, top = round(x + step / 2 - h / 2), round(y - h / 2 + self.rng.uniform(-0.05, 0.05) * h)
                self.image.paste(PEN, (left, top), mask)
                boxes.append((left, top, left + h, top + h))
            else:
                r, low = max(1.2, 0.07 * h), y + 0.4 * h
                self.draw.ellipse((x + step / 2 - r, low - r, x + step / 2 + r, low + r), fill=PEN)
            x += step
        return material.around(boxes)

    def _row(self, entry: Entry, y: float, right: float, bold: bool = False) -> None:
        """Label at the left, value at the right or behind it, and what leads from one to the other."""
        self._label(entry, MARGIN, y, bold)
        said = entry.label_box[2]
        if self.template.kind == "receipt":
            self._value(entry, right, y, "rm", right - said - 14)
        else:
            self._filled(entry, MARGIN + 0.45 * (right - MARGIN), right, y)
        if self.template.rule == "dots" and entry.box[0] - said > 30:
            x, end = said + 10, entry.box[0] - 10
            while x < end:
                self._line(y + 8, x, min(end, x + 2))
                x += 7
        elif self.template.rule == "line":
            self._line(y + 25, MARGIN, right)

    def _receipt(self, entries: list[Entry]) -> None:
        self._head(self._one("shop"), self._one("street"), 40.0)
        rows = sorted(entries, key=lambda e: (e.kind == "date") is not self.template.first)
        pitch = (HIGH - 96) / len(rows)
        y = 88 + pitch / 2
        for entry in rows:
            entry.keep_clear(pitch)
            if entry.kind == "total":
                self.draw.line((MARGIN, y - pitch / 2, self.end, y - pitch / 2), INKS[self.template.ink], 3)
            self._row(entry, y, self.end, entry.kind == "total")
            y += pitch

    def _form(self, entries: list[Entry]) -> None:
        t, columns = self.template, self.template.columns
        self._head(self._one("form"), self._one("person"), 36)
        rows = -(-len(entries) // columns)
        wide, high = (self.size[0] - 2 * MARGIN) / columns, (HIGH - 100) / rows
        for place, entry in enumerate(entries if t.first else entries[::-1]):
            left, top = MARGIN + place % columns * wide, 82 + place // columns * high
            if t.rule == "box":
                self.draw.rectangle((left, top, left + wide - 8, top + high - 8), outline=FAINT, width=2)
            inner, end, middle = left + 10.0, left + wide - 24, top + high / 2 - 4
            if columns == 1:
                self._label(entry, inner, middle, True)
                inner = entry.label_box[2] + 12
                self._filled(entry, left + 0.45 * wide, end, middle)
            else:
                self._label(entry, inner, top + 20, True)
                self._filled(entry, inner + 8, end, top + 0.64 * high - 2)
            if t.rule == "line":
                self._line(top + high - 9, inner, end + 12)

    def _filled(self, entry: Entry, left: float, right: float, y: float) -> None:
        """A value at either end of its room, as the template has it."""
        at = left if self.template.values == "l" else right
        self._value(entry, at, y, f"{self.template.values}m", right - left)

    def _letter(self, entries: list[Entry]) -> None:
        t, (w, h) = self.template, self.size
        self._head(self._one("person"), self._one("street"), 36)
        block, text = (88.0, h - 34 - 19 * LINES) if t.first else (112.0 + 19 * LINES, 96.0)
        pitch = (h - 130 - 19 * LINES) / len(entries)
        for place, entry in enumerate(entries):
            entry.keep_clear(pitch)
            self._row(entry, block + (place + 0.5) * pitch, self.end if t.columns == 1 else w - 90)
        said = NAMES["sentence"][material.split_number(self.split)]
        begin = int(self.rng.integers(len(said)))
        for line in range(LINES):
            self._text(MARGIN, text + 19 * line, said[(begin + line) % len(said)], 8)


def lay(rng: np.random.Generator, split: str, page: Image.Image) -> tuple[Image.Image, tuple[float, float, float]]:
    """A page, a little askew, on a stretch of one of the split's photographs.

    Returns
    -------
    The picture (SIDE x SIDE), and how the page lies: its left and top before turning, and the angle in radians.
    """
    ground = Image.fromarray(np.ascontiguousarray(material.stretch(rng, split, SIDE)))
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
        sheet = sheet.rotate(math.degrees(angle), Image.Resampling.BILINEAR, center=(SIDE / 2 - x1, SIDE / 2))
        ground.paste(sheet, (x1, 0), mask.crop((x1, 0, x2, SIDE)))
    else:
        ground.paste(page, (left, top))
    return material.grained(ground, rng), lies


def turned(box: Box, lies: tuple[float, float, float]) -> Box:
    """The upright box, source pixels, of a page's box, for a page that lies as `lay` says."""
    left, top, angle = lies
    middle, cos, sin = SIDE / 2, math.cos(angle), math.sin(angle)
    corners = [(x + left - middle, y + top - middle) for x in (box[0], box[2]) for y in (box[1], box[3])]
    xs = [middle + x * cos + y * sin for x, y in corners]
    ys = [middle - x * sin + y * cos for x, y in corners]
    return min(xs), min(ys), max(xs), max(ys)


# -- what is said and asked ------------------------------------------------------------------------------------------


def _field(rng: np.random.Generator, pattern: str) -> str:
    if pattern == "T":
        return f"{int(rng.integers(24)):02d}:{int(rng.integers(12)) * 5:02d}"
    among = {"9": "0123456789", "8": "123456789", "A": LETTERS}
    return "".join(among[c][int(rng.integers(len(among[c])))] if c in among else c for c in pattern)


def _date(rng: np.random.Generator, how: int) -> str:
    day, month = int(rng.integers(1, 29)), int(rng.integers(12))
    name, number = MONTHS[month], month + 1
    return (f"{day:02d}/{number:02d}", f"{day:02d}.{number:02d}", f"{day} {name}", f"{name} {day}")[how]


def _price(cents: int) -> str:
    return f"{cents // 100}.{cents % 100:02d}"


def contents(rng: np.random.Generator, template: Template) -> list[Entry]:
    """What a page of this layout says: labels and values, each value once; sizes are decided later."""
    made: list[tuple[str, str, str]] = []
    if template.kind == "receipt":
        cents: list[int] = []
        while not cents or len({*cents, sum(cents)}) <= len(cents):
            cents = [int(rng.integers(10, 200)) * 5 for _ in range(int(rng.integers(3, 6)))]
        goods = [GOODS[int(k)] for k in rng.permutation(len(GOODS))[: len(cents)]]
        made = [(name, _price(c), "line") for name, c in zip(goods, cents, strict=True)]
        made += [("Total", _price(sum(cents)), "total")]
    else:
        labels = [list(FIELDS)[int(k)] for k in rng.permutation(len(FIELDS))]
        count = int(rng.integers(3, 6)) if template.kind == "form" else int(rng.integers(2, 4))
        for label in labels:
            value = _field(rng, FIELDS[label])
            if len(made) < count and value not in [v for _, v, _ in made]:
                made.append((label, value, "field"))
    dated = ("Date", _date(rng, template.dates), "date")
    made.insert(0 if template.kind == "receipt" else int(rng.integers(len(made) + 1)), dated)
    by_hand = template.kind == "form" and rng.random() < 0.6
    return [
        Entry(label, value, kind, 0, False, by_hand and not any(c.isalpha() or c in ":/" for c in value))
        for label, value, kind in made
    ]


class Documents(World):
    """The world; see the module's docstring.

    Parameters
    ----------
    large_other : share of the values that are not asked for that are large
    """

    name, key = "documents", (2,)

    def __init__(self, large_other: float = LARGE_OTHER) -> None:
        self.large_other = large_other

    def draw(self, rng: np.random.Generator, split: str, lot: tuple[int, ...]) -> Drawn:
        """Kinds in `SHARES`, of each about 30 % readable without a look."""
        kind = list(SHARES)[int(rng.choice(len(SHARES), p=list(SHARES.values())))]
        large, drawn = bool(rng.random() < READABLE), None
        while drawn is None or drawn[2].large != large:  # large print has not room on every page
            drawn = self._drawn(rng, split, kind, large)
        page, entries, asked = drawn
        image, lies = lay(rng, split, page.image)
        for entry in entries:
            entry.box, entry.label_box = turned(entry.box, lies), turned(entry.label_box, lies)
        question = ASK[kind].format(asked.label.lower() if kind == "line" else asked.label)
        meta = {"kind": kind, "hops": 1, "page": page.template.kind, "template": page.template.number}
        meta |= {"asked": asked.label, "entries": [asdict(e) for e in entries]}
        regions = [material.padded(asked.box, image.size)]
        return Drawn(image, question, asked.value, regions, not asked.large, meta)

    def _drawn(self, rng: np.random.Generator, split: str, kind: str, large: bool) -> tuple[Page, list[Entry], Entry]:
        """A page with an entry of a kind that is asked for, in large print if there is room, and that entry."""
        pages = {"line": ("receipt",), "total": ("receipt",), "field": ("form", "letter")}.get(kind, tuple(KINDS))
        fitting = [t for t in templates(split) if t.kind in pages]
        template = fitting[int(rng.integers(len(fitting)))]
        entries = contents(rng, template)
        possible = [e for e in entries if e.kind == kind]
        asked = possible[int(rng.integers(len(possible)))]
        for entry in entries:
            entry.large = large if entry is asked else bool(rng.random() < self.large_other)
            entry.small, much = (
                int(rng.integers(low, high + 1)) for low, high in (DIGITS[v, entry.hand] for v in (False, True))
            )
            entry.digit = much if entry.large else entry.small
        page = Page(rng, template, split)
        page.paint(entries)
        return page, entries, asked

    def steps(self, sample: Sample) -> Steps:
        """Name what is asked for, look if it is small, read, answer."""
        kind, label = sample.meta["kind"], sample.meta["asked"]
        subject = SUBJECT[kind].format(label.lower() if kind == "line" else label)
        return reading(subject, sample.answer, sample.regions[0] if sample.needs_look else None)
