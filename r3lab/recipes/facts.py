"""What can be said of a scene of a world, but for badges, and a sample's own question answered in full.

A sample asks one question; the lessons that give the tiny policy its base want all that its picture holds: every value
with its place, every sign with what it says. It is read from the sample's `meta`, never from pixels. Each fact carries
points: where in the picture is what a character depends on, so that two attention heads can be told where to look
(`base.stated`). Statements teach what can be read and where; what comes after what has been read (the next sign, the
second value, the sum) is learned from whole answers alone. They are those of an exact teacher, so that a lesson can
point; how samples of an imperfect one are answered, in which arm, is left to the cold start.

    scene = scene_of(sample)
    steps_of(sample, scene)              # (Fact("The red circle", ...), Fact("The blue square", ...))
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from ..core.errors import R3labError, nearest
from ..core.geometry import Box, Size
from ..vlir.rationale import shows
from ..vlir.sample import Sample
from ..vlir.worlds import diagrams
from ..vlir.worlds.badges import COLOURS
from ..vlir.worlds.charts import LARGEST, NOUNS, SEARCHED, legend_text
from ..vlir.worlds.documents import ASK, FIELDS, GOODS, MONTHS, SUBJECT
from ..vlir.worlds.material import around, padded
from ..vlir.worlds.trails import WAYS, Sign, ahead

Point = tuple[float, float]  # source pixels
Saying = tuple[str, str, Point | None]  # what is given, what follows, and where that shows
Mark = tuple[bool, Point]  # whether it is seen in the overview even when there is a crop, and where
WORDS = (*GOODS, *FIELDS, "Total", "Date", *COLOURS)  # what a label or a swatch is, as a class


@dataclass(frozen=True)
class Fact:
    """Something that can be read somewhere.

    Attributes
    ----------
    question : one to which it is the answer, or the first step to it
    subject : what is read, as a rationale begins
    box : where it stands, source pixels
    large : whether the overview is enough
    said : what is said when it has been read
    marks : for each character of `said`, what it depends on; None where that is not a place
    anchor : what leads there (a label, a bar), where something does
    via : what leads from what is read to what is said, where that stands elsewhere (an arrow's next sign)
    recalls : (character, earlier character) of `said`: a word that is said again is found where it was read
    hangs : (character, earlier character) of `said`: what a word belongs to, by which it is found
    letters : (character of `subject`, where that letter stands): of the corners that name it
    """

    question: str
    subject: str
    box: Box
    large: bool
    said: str
    marks: tuple[Mark | None, ...]
    anchor: Point | None = None
    via: Mark | None = None
    recalls: tuple[tuple[int, int], ...] = ()
    hangs: tuple[tuple[int, int], ...] = ()
    letters: tuple[tuple[int, Point], ...] = ()


def near(fact: Fact) -> Fact:
    """The fact as far as what stands in its box tells it: of an arrow the way, without the sign that it leads to."""
    end = next((k for k, mark in enumerate(fact.marks) if mark and mark[0]), len(fact.marks))
    return replace(fact, said=fact.said[:end], marks=fact.marks[:end], via=None)


class Thing(NamedTuple):
    """Something that stands in the overview: its middle, its box, its class in WORDS or its name, a digit to be read
    there, or a letter; where it has one."""

    at: Point
    box: Box | None = None
    large: bool = False
    word: str = ""
    name: str = ""
    digit: int | None = None
    character: str = ""


class Scene(NamedTuple):
    """A sample's facts, what stands in its overview, and sayings."""

    facts: Sequence[Fact]
    things: Sequence[Thing]
    sayings: Sequence[Saying]


def centre(box: Box) -> Point:
    """The middle of a box."""
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2


def along(text: str, part: str, ink: Box, overview: bool = False) -> tuple[Mark | None, ...]:
    """Marks of a text of which `part` is written in `ink`, its characters evenly from left to right."""
    start = text.index(part)
    step, y = (ink[2] - ink[0]) / len(part), (ink[1] + ink[3]) / 2
    inside: list[Mark | None] = [(overview, (ink[0] + (k + 0.5) * step, y)) for k in range(len(part))]
    return (*[None] * start, *inside, *[None] * (len(text) - start - len(part)))


def on(text: str, part: str, at: Point, overview: bool = False) -> tuple[Mark | None, ...]:
    """Marks of a text of which all of `part` depends on one point."""
    return along(text, part, (*at, *at), overview)


def _documents(meta: dict[str, Any], size: Size) -> Scene:
    facts, things = [], []
    for entry in meta["entries"]:
        kind, label, box, large = entry["kind"], entry["label"], tuple(entry["box"]), entry["large"]
        asked, said, at = label.lower() if kind == "line" else label, shows(entry["value"]), centre(entry["label_box"])
        question, subject, region = ASK[kind].format(asked), SUBJECT[kind].format(asked), padded(box, size)
        facts.append(Fact(question, subject, region, large, said, along(said, entry["value"], box), at))
        things += [Thing(centre(box), region, large), Thing(at, word=label)]
    return Scene(facts, things, [])


def _label_box(mark: dict[str, Any]) -> Box:
    """Where a legend's label is written: its line without the swatch."""
    _, top, right, bottom = mark["key"]
    return mark["swatch"][2], top, right, bottom


def _lines(marks: list[dict[str, Any]]) -> tuple[Mark | None, ...]:
    """Marks of what a legend shows: each label at its letters, each colour at its swatch."""
    seen: list[Mark | None] = []
    for mark in marks:
        colour = f" {mark['colour']}"
        seen += along(mark["label"], mark["label"], _label_box(mark))
        seen += [*on(colour, colour, centre(tuple(mark["swatch"]))), None, None]  # with the comma behind it
    return (*[None] * (len(shows("")) - 1), *seen[:-2], None)


def searched(said: str) -> tuple[tuple[tuple[int, int], ...], tuple[tuple[int, int], ...]]:
    """How what is said of a legend hangs together: `recalls` and `hangs` of a `Fact`.

    Every colour hangs on the last letter of its label, and so does the word before the colour that is said again, which
    is taken from the line of that label.
    """
    lines, _, found = said.removeprefix(shows("")[:-1]).partition(". ")
    at, colours, hangs = len(shows("")) - 1, {}, []
    for line in lines.split(", "):
        label = line.split()[0]
        colours[label] = at + len(label) + 1
        hangs.append((colours[label], at + len(label) - 1))
        at += len(line) + 2
    label, the = found.split()[0], said.rindex(" the ")
    hangs.append((the + 1, said.rindex(f". {label} is") + 1 + len(label)))
    return ((the + len(" the "), colours[label]),), tuple(hangs)


def _charts(meta: dict[str, Any], size: Size) -> Scene:
    noun, marks = NOUNS[meta["chart"]], meta["marks"]
    facts, things, sayings = [], [], []
    whole = padded(around([tuple(m["key"]) for m in marks]), size, 4.0)
    lines, listed = shows(legend_text(marks)), _lines(marks)
    for mark in marks:
        name, ink, swatch = f"the {mark['colour']} {noun}", tuple(mark["ink"]), tuple(mark["swatch"])
        value, label, text = shows(mark["said"]), shows(mark["label"]), _label_box(mark)
        box = padded(tuple(mark["key"]), size, 4.0, 18.0)
        what, which = f"What is the value of {name}?", f"Which label has {name}?"
        read = along(value, mark["said"], ink)
        facts += [
            Fact(what, f"The value of {name}", padded(ink, size), mark["large"], value, read, tuple(mark["middle"])),
            Fact(which, f"The label of {name}", box, False, label, along(label, mark["label"], text), centre(swatch)),
        ]
        if len(marks) <= SEARCHED:
            asked = f"What is the value of {mark['label']}?"
            said = f"{lines} {mark['label']} is {name}."
            again = along(mark["label"], mark["label"], text)
            seen = (*listed, None, *again, *[None] * len(f" is {name}."))
            facts.append(Fact(asked, "The legend", whole, False, said, seen, None, None, *searched(said)))
        things.append(Thing(centre(ink), padded(ink, size), mark["large"]))
        things.append(Thing(centre(swatch), box, False, mark["colour"]))
        things.append(Thing(tuple(mark["middle"]), word=mark["colour"]))
    most = max(marks, key=lambda m: m["value"])
    sayings.append((f"The {LARGEST[noun]} is", f" the {most['colour']} {noun}.", tuple(most["middle"])))
    return Scene(facts, things, sayings)


def _trails(meta: dict[str, Any], size: Size) -> Scene:
    signs = tuple(Sign(**{k: v for k, v in sign.items() if k != "face"}) for sign in meta["signs"])
    facts = []
    for sign in signs:
        there, via = centre(sign.face), None
        following = ahead(signs, sign, sign.says) if sign.says in WAYS else None
        if following is not None:
            way, name = f"It points {WAYS[sign.says]}", f" {following.name}"
            said = f"{way} to the{name}."
            seen, via = on(said, name, (following.x, following.y), True), (True, (sign.x, sign.y))
            marks = tuple(s or w for s, w in zip(seen, on(said, way, there), strict=True))
        elif sign.says.isdigit():
            said = shows(sign.says)
            marks = on(said, sign.says, there)
        else:
            said = f"It says {sign.says}."
            marks = on(said, f" {sign.says}", there)
        question = f"Start at the {sign.name}. Which digit is at the end of the trail?"
        facts.append(Fact(question, f"The {sign.name}", sign.face, sign.large, said, marks, (sign.x, sign.y), via))
    return Scene(facts, [Thing((s.x, s.y), s.face, s.large, name=s.name) for s in signs], [])


def _diagrams(meta: dict[str, Any], size: Size) -> Scene:
    facts, things = [], []
    corners = [(letter, tuple(at)) for letter, at in zip(diagrams.LETTERS, meta["letters"], strict=False)]
    for value in (one for one in meta["values"] if one["said"] != diagrams.MISSING):
        ink, said, about = tuple(value["ink"]), shows(value["said"]), diagrams.ASK[value["kind"]].format(value["name"])
        region, marks = padded(ink, size), along(said, value["said"], ink)
        subject, corner = f"The {value['name']}", value["name"].split()[-1]
        letters = tuple((len(subject) - len(corner) + k, dict(corners)[one]) for k, one in enumerate(corner))
        at = tuple(value["at"])
        facts.append(Fact(about, subject, region, value["large"], said, marks, at, letters=letters))
        things.append(Thing(centre(ink), region, value["large"]))
    return Scene(facts, [*things, *(Thing(at, character=letter) for letter, at in corners)], [])


_READERS = {"documents": _documents, "charts": _charts, "trails": _trails, "diagrams": _diagrams}


def scene_of(sample: Sample) -> Scene:
    """All that can be said of a sample's picture.

    Raises
    ------
    R3labError
        If the sample is of another world.
    """
    if sample.world not in _READERS:
        raise R3labError(f"No facts are known of the world {sample.world!r}.{nearest(sample.world, _READERS)}")
    return _READERS[sample.world](sample.meta, sample.image.size)


def words() -> list[str]:
    """Texts whose words are single tokens of a policy for these worlds; numbers and codes are read by character."""
    labels = {"line": [good.lower() for good in GOODS], "field": [*FIELDS]}
    texts = [
        f"{ask.format(label)} {SUBJECT[kind].format(label)}"
        for kind, ask in ASK.items()
        for label in labels.get(kind, [""])
    ]
    texts += [f"It shows {month}. <answer>{month}</answer>" for month in MONTHS]
    for noun in sorted(set(NOUNS.values())):
        texts.append(f"What is the value of the {LARGEST[noun]}? The {LARGEST[noun]} is the. The legend")
        for name in (f"the {colour} {noun}" for colour in COLOURS):
            value, label = f"What is the value of {name}?", f"Which label has {name}?"
            texts.append(f"{value} {label} The value of {name} The label of {name}")
            texts.append(f"How much more is {name} than {name}? - =")
    texts += [f"{ask.format('side', 'side')} The angle at - + =" for ask in diagrams.ASK.values()]
    start = "Start at the. Which digit is at the end of the trail?"
    return [*texts, *(f"{start} It points {way} to the It says" for way in WAYS.values())]


def steps_of(sample: Sample, scene: Scene) -> tuple[Fact | Saying, ...]:
    """The steps to the answer of a sample's question, in the words of its world's rationale."""
    meta, about = sample.meta, {fact.subject: fact for fact in reversed(scene.facts)}
    if sample.world == "trails":
        return tuple(about[f"The {name}"] for name in meta["trail"])
    if sample.world == "diagrams":
        values = [meta["values"][k] for k in meta["asked"]]
        text, _ = diagrams.worked(meta["kind"], [value["said"] for value in values])
        read = tuple(about[f"The {value['name']}"] for value in values)
        return (*read, ("", text, None)) if text else read
    if sample.world != "charts":
        return (next(fact for fact in scene.facts if fact.question == sample.question),)
    kind, noun = meta["kind"], NOUNS[meta["chart"]]
    asked = [meta["marks"][k] for k in meta["asked"]]
    names = [f"the {mark['colour']} {noun}" for mark in asked]
    if kind == "label":
        return (about[f"The label of {names[0]}"],)
    values = [about[f"The value of {name}"] for name in names]
    if kind == "value":
        return (values[0],)
    if kind == "difference":
        return (*values, ("", f"{asked[0]['said']} - {asked[1]['said']} = {sample.answer}.", None))
    if kind == "largest":
        return next(saying for saying in scene.sayings if saying[0] == f"The {LARGEST[noun]} is"), *values
    found = f" {asked[0]['label']} is {names[0]}."
    return next(f for f in scene.facts if f.subject == "The legend" and f.said.endswith(found)), *values
