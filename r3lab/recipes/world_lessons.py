"""Lessons of four worlds: what `lessons` does for badges, for papers, charts and trails too.

A lesson is a sample of a world's train split with (a) dense targets for linear heads: what stands in a token of the
overview, which character in a token of a crop; (b) one packed sequence of statements: what is asked for, whether it can
be read, where it stands, what its crop shows, at last also its own question answered in full. What a
scene holds is `facts.scene_of`'s; badges keep their own lessons.

    stream = WorldLessons(policy, stage)
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain
from math import ceil

import numpy as np
from PIL import Image

from ..core.arms import FORCED
from ..core.geometry import Box
from ..core.protocol import CLOSE, OPEN, box_text
from ..models.policy import Policy
from ..vlir.rationale import LARGE, SMALL, shows
from ..vlir.sample import Sample
from ..vlir.worlds import World, get_world
from ..vlir.worlds.badges import COLOURS, SIDE
from ..vlir.worlds.charts import LARGEST, Charts, difference, invented_labels, legend_text
from ..vlir.worlds.diagrams import LETTERS, Diagrams, worked
from ..vlir.worlds.documents import Documents
from ..vlir.worlds.trails import Trails
from .facts import WORDS, Fact, Mark, Saying, Scene, centre, near, scene_of, searched, steps_of
from .lessons import (
    ANSWER,
    CELLS,
    FACTOR,
    IGNORE,
    NAMES,
    OVERVIEW,
    TEXT,
    Lesson,
    Lessons,
    Place,
    Stage,
    View,
    Writer,
    cell,
    dense,
    int64,
    overview,
    written,
)
from .strips import CHARACTERS

SPREAD = 0.06  # how far a lesson's crop may miss, as a part of its sides: a number must not be cut
STATEMENTS, BESIDE = 6, 3  # of a scene; beside a question that is answered in full
# Worlds as lessons have them: more large print, which is the hardest to read in the overview, labels by chance, and
# more of the questions that take several steps.
KINDS = {"value": 0.25, "largest": 0.15, "label": 0.15, "named": 0.2, "difference": 0.25}
RICHER: dict[str, World] = {
    "documents": Documents(large_other=0.5),
    "charts": Charts(large_other=0.8, invented=0.6, shares=KINDS),
    "trails": Trails(readable=0.5),
    "diagrams": Diagrams(large_other=0.6),
}
NUMBER = 0.4  # how often a number is read alone, against 1 of what ends in a letter: numbers stand in every world


@dataclass(frozen=True)
class WorldStage(Stage):
    """A stage in several worlds: what a batch holds beside the scenes."""

    shares: tuple[tuple[str, float], ...] = ()  # world, share of the scenes
    crops: tuple[tuple[str, float], ...] = ()  # world, share of its boxes followed by their crop (not named: none)
    readings: int = 0  # of each scene: crops alone, with what they show
    glances: int = 0  # of each scene: large print alone, at the size that it has in the overview
    sums: int = 0  # rows of subtractions
    matches: int = 0  # rows of legends, searched
    wholes: bool = False  # whether a scene's own question is answered in full
    corners: bool = False  # whether heads are told to find a side by the letters at its ends
    forced: float = 0.0  # share of these answers that begin with words that force an arm, half of them each


class WorldWriter(Writer):
    """Writes statements into a lesson: a question answered in full, statements of a scene, a crop alone.

    A scene's statements are packed into one sequence. Reading takes the most examples of all skills and needs neither
    the overview nor the other statements: a crop alone with its text costs a seventh of a scene.
    """

    read: tuple[tuple[str, list[int]], ...] = ()  # values that were said, and the entries of their characters
    corners = False  # whether what letters name is found by them

    # -- what points back in the text --------------------------------------------------------------------------------

    def lead_back(
        self, begin: int, text: str, recalls: tuple[tuple[int, int], ...], hangs: tuple[tuple[int, int], ...]
    ) -> None:
        """Point back in a text that was said, entries `begin` and on: as `Fact.recalls` and `Fact.hangs` tell."""
        entry = self._entries(begin, text)
        for said, earlier in recalls:
            self.lesson.points[entry[said] - 1] = (TEXT, entry[earlier])
        for said, earlier in hangs:
            self.lesson.anchors[entry[said]] = (TEXT, entry[earlier])

    def note(self, begin: int, text: str) -> None:
        """Keep where the value stands that a text shows, entries `begin` and on, for `take_over`."""
        value = shown(text.strip())
        if text.strip() == shows(value):
            at = text.index(value)
            self.read += ((value, self._entries(begin, text)[at : at + len(value)]),)

    def take_over(self, begin: int, text: str) -> None:
        """Point each value of a text, entries `begin` and on, at where it was read: in the order of `note`, where it is
        an operand (at the start, or after a sign), since a result may hold the same digits."""
        entry, end = self._entries(begin, text), 0
        for value, read in self.read:
            found = re.compile(rf"(?:^|[+-]) ?({re.escape(value)})\b").search(text, end)
            if found is None:
                continue
            at, end = found.span(1)
            for k, earlier in enumerate(read):
                self.lesson.points[entry[at + k] - 1] = (TEXT, earlier)
        self.read = ()

    def _entries(self, begin: int, text: str) -> list[int]:
        """The entry of each character of a text that was said, entries `begin` and on."""
        return [begin + k for k, (token, _) in enumerate(self.script.encode(text)) for _ in self.script.piece(token)]

    # -- a scene -----------------------------------------------------------------------------------------------------

    def write(self, scene: Scene, crops: float, answered: Sample | None = None, forced: str = "") -> None:
        """Statements in random order; of those that end with a box, `crops` are followed by their crop. Where the
        sample's question is `answered` in full, that comes first, as in a prompt, and what it reads is not stated
        again."""
        self.say("<|im_start|>user\n", False)
        self.show()
        self.say(answered.question if answered else "", False)
        self.say(ANSWER, False)
        done: set[Box] = set()
        if answered is not None:
            self.answer(answered, scene, forced)
            done = {step.box for step in steps_of(answered, scene) if isinstance(step, Fact)}
        every = [*(fact for fact in scene.facts if fact.box not in done), *scene.sayings]
        for k in self.rng.permutation(len(every))[: BESIDE if answered else STATEMENTS]:
            one = every[k]
            if isinstance(one, Fact):
                self.fact(one, crops)
            else:
                self.saying(one, False)

    def saying(self, saying: Saying, loss: bool) -> None:
        """A saying; `loss` is that of what it begins with."""
        given, follows, at = saying
        place = at and (0, cell(at))
        self.say(given, loss)
        begin = self.say(follows, True, place, place)
        if at is None:  # no place of the picture: values that were read
            self.take_over(begin, follows)

    def answer(self, sample: Sample, scene: Scene, forced: str = "") -> None:
        """All that leads to the answer of a question that was put: every look is taken, and all of it must be said.
        Behind words that force an arm (`core.arms.FORCED`) everything is read at a glance, or looked at."""
        if forced:
            self.say(FORCED[forced], False)
        before = "<think>"
        for step in steps_of(sample, scene):
            if isinstance(step, Fact):
                leads = self.leads(step, self.say(before + step.subject, True), before + step.subject)
                at_once = forced == "direct" or step.large and forced != "look"
                self.look(step, leads, at_once, sized=True, crop=True)
            else:
                given, follows, at = step
                self.saying((before + given, follows, at), True)
            before = " "
        self.say(f"</think>{OPEN}{sample.answer}{CLOSE}", True)

    def fact(self, fact: Fact, crops: float) -> None:
        """A fact, at times asked for; its size at times; its place; its crop at times, with what is read there."""
        asked = self.rng.random() < 0.6 or fact.anchor is None  # which label a legend is searched for
        if asked:
            self.say(f"<|im_end|>\n<|im_start|>user\n{fact.question}", False)
            self.say(ANSWER, False)
        leads = self.leads(fact, self.say(fact.subject, asked), fact.subject)
        at_once = fact.large and self.rng.random() < 0.7
        sized = at_once or (not fact.large and self.rng.random() < 0.5)
        self.look(fact, leads, at_once, sized, crop=self.rng.random() < crops)

    def leads(self, fact: Fact, begin: int, text: str) -> Place | tuple[Place, Place] | None:
        """What leads to a fact whose subject ends a text that was said, entries `begin` and on: the letters that name
        it, which are looked for themselves, or a place."""
        if not (self.corners and fact.letters):
            return fact.anchor and (0, cell(fact.anchor))
        entry = self._entries(begin, text)[-len(fact.subject) :]
        self.lesson.letters += [(entry[k], (0, cell(at))) for k, at in fact.letters]
        return (TEXT, entry[fact.letters[0][0]]), (TEXT, entry[fact.letters[-1][0]])

    def look(
        self, fact: Fact, leads: Place | tuple[Place, Place] | None, at_once: bool, sized: bool, crop: bool
    ) -> None:
        """A fact of which the subject is said: its size, then what it says at once, or its box, then perhaps its crop
        with what is read there."""
        there = (0, cell(centre(fact.box)))
        if sized:
            self.say(LARGE.rstrip() if at_once else SMALL, True, there, leads)
        if at_once:
            marks = (None, *(m and (0, cell(m[1])) for m in fact.marks))
            via = fact.via and (0, cell(fact.via[1]))
            self.note(self.say(f" {fact.said}", True, anchor=via or leads, marks=marks), f" {fact.said}")
            return
        self.say(box_text(written(fact.box)), True, there, leads)
        if crop:
            self.crop(fact)

    def crop(self, fact: Fact) -> View:
        """The crop of a fact, and what is read in it."""
        view, number = self.cut(fact.box, SPREAD), len(self.lesson.images) - 1
        self.show()
        marks = [place(mark, number, view) for mark in fact.marks]
        begin = self.say(fact.said, True, anchor=place(fact.via, number, view), marks=marks)
        self.lead_back(begin, fact.said, fact.recalls, fact.hangs)
        self.note(begin, fact.said)
        self.characters(fact, number, view)
        name, digit = fact.subject.removeprefix("The "), shown(fact.said)
        sign, token = name in NAMES, view.token(centre(fact.box))[0]
        read = int(digit) if sign and digit.isdigit() else IGNORE
        self.seen.append((NAMES.index(name) if sign else IGNORE, read, token))
        return view

    def characters(self, fact: Fact, number: int, view: View) -> None:
        """Where each character is written on its own: of those in a token of an image, the one nearest its middle."""
        best: dict[int, tuple[float, int]] = {}
        there: dict[Mark | None, set[str]] = {}
        for character, mark in zip(fact.said, fact.marks, strict=True):
            there.setdefault(mark, set()).add(character)
        for mark, (character, *others) in there.items():
            if mark and not mark[0] and not others and character in CHARACTERS:
                token, off = view.token(mark[1])
                best[token] = min(best.get(token, (9e9, 0)), (off, CHARACTERS.index(character)))
        self.lesson.characters += [(number, token, character) for token, (_, character) in best.items()]

    # -- a part of the picture alone ---------------------------------------------------------------------------------

    def glance(self, fact: Fact) -> None:
        """A fact in large print asked for, and the part of the overview that it stands in, a token or so wider: to read
        what a token of the overview holds takes many examples, and this has a few of its tokens."""
        self.say(f"<|im_start|>user\n{fact.question}", False)
        self.say(ANSWER, False)
        side, box = OVERVIEW[0], []
        for low, high in ((fact.box[0], fact.box[2]), (fact.box[1], fact.box[3])):
            least, most = (v * side / SIDE for v in (low, high))
            wide = min(CELLS, 1 + int((most - least) // FACTOR + self.rng.integers(1, 3))) * FACTOR
            room = (max(0, ceil(most) - wide), min(int(least), side - wide))
            box.append((start := int(self.rng.integers(room[0], room[1] + 1)), start + wide))
        (x1, x2), (y1, y2) = box
        self.lesson.images.append(overview(self.image)[y1:y2, x1:x2])
        scale = SIDE / side
        view = View((x1 * scale, y1 * scale, x2 * scale, y2 * scale), self.lesson.images[-1])
        self.show()
        self.say(f"{fact.subject}{LARGE.rstrip()}", False)
        self.say(f" {fact.said}", True, marks=(None, *(place(m, 0, view) for m in fact.marks)))
        self.characters(fact, 0, view)

    def reading(self, fact: Fact) -> None:
        """A fact asked for and its crop, with no overview; where it is what was asked for, the answer follows: to take
        it over from what was read is a skill of its own."""
        self.say(f"<|im_start|>user\n{fact.question}", False)
        self.say(ANSWER, False)
        self.say(fact.subject, False)
        view, read = self.crop(fact), shown(fact.said)
        if fact.said == shows(read) and ". " not in read:
            begin, before = fact.said.index(read), f"</think>{OPEN}"
            marks = [place(m, 0, view) for m in fact.marks[begin : begin + len(read)]]
            self.say(before + read + CLOSE, True, marks=(*[None] * len(before), *marks, *[None] * len(CLOSE)))


def shown(said: str) -> str:
    """What a text shows, if it is one that shows something."""
    return said.removeprefix("It shows ").removesuffix(".")


def place(mark: Mark | None, number: int, view: View) -> Place | None:
    """The token of a mark: of the overview, or of image `number`."""
    return mark and ((0, cell(mark[1])) if mark[0] else (number, view.token(mark[1])[0]))


# -- rows that need no picture: what follows from crops that were read, at a fraction of what a scene costs ---------

COUNT = 8  # subtractions, or legends, of a row
LINES = (2, 4)  # least and most of a legend
LOOKED = 0.7  # share of the subtractions in which the second number is looked at


def numbers(rng: np.random.Generator) -> tuple[str, str]:
    """Two numbers as a chart's values are, the greater first: often close to each other, at times of one digit."""
    decimals = int(rng.random() < 0.4)
    high = (100, 1000)[int(rng.random() < 0.1)]
    more = int(rng.integers(10, high)) if rng.random() < 0.85 else int(rng.integers(2, 10))
    least = max(1, more - 12) if rng.random() < 0.5 else 1
    less = int(rng.integers(least, more))
    return f"{more / 10**decimals:.{decimals}f}", f"{less / 10**decimals:.{decimals}f}"


def one_of(names: Iterable[str], rng: np.random.Generator) -> str:
    """A name by chance."""
    known = list(names)
    return known[int(rng.integers(len(known)))]


def sums(writer: WorldWriter) -> None:
    """Subtractions as charts ask for them: two numbers that were read, whole or with a decimal, both taken over."""
    rng = writer.rng
    for _ in range(COUNT):
        more, less = numbers(rng)
        result = difference(more, less)
        about = f" The value of the {one_of(COLOURS, rng)} {one_of(LARGEST, rng)}"
        between = f"{about}{LARGE}"
        if rng.random() < LOOKED:  # as where both are looked at, but for the crops
            x, y = (10 * int(v) for v in rng.integers(3, 90, 2))
            between = f"{about}{SMALL}{box_text((x, y, x + 50, y + 50))}"
        writer.note(writer.say(shows(more), False), shows(more))
        writer.say(between, False)
        writer.note(writer.say(shows(less), False), shows(less))
        told = f" {more} - {less} = {result}.</think>{OPEN}{result}{CLOSE}"
        writer.take_over(writer.say(told, True), told)


def totals(writer: WorldWriter) -> None:
    """Perimeters and missing angles as drawings ask for them: two to four numbers that were read, all taken over."""
    rng = writer.rng
    for _ in range(COUNT // 2):
        count, kind = int(rng.integers(3, 5)), ("perimeter", "missing")[int(rng.integers(2))]
        values = [int(one) for one in rng.integers(6, 41, count)]
        if kind == "missing":
            values = [round(one) for one in 180 * (count - 2) * rng.dirichlet([8.0] * count)[:-1]]
        for k, value in enumerate(map(str, values)):
            name = f"angle at {LETTERS[k]}" if kind == "missing" else f"side {(LETTERS[:count] + 'A')[k : k + 2]}"
            writer.say(f" The {name}{LARGE}", False)
            writer.note(writer.say(shows(value), False), shows(value))
        text, result = worked(kind, [str(value) for value in values])
        told = f" {text}</think>{OPEN}{result}{CLOSE}"
        writer.take_over(writer.say(told, True), told)


def matches(writer: WorldWriter) -> None:
    """Legends: what their lines show is given with one of their labels, of which the colour must be said."""
    rng = writer.rng
    for _ in range(COUNT):
        count = int(rng.integers(LINES[0], LINES[1] + 1))
        labels = invented_labels(rng, count)
        colours = [list(COLOURS)[int(k)] for k in rng.permutation(len(COLOURS))[:count]]
        lines = [{"label": label, "colour": colour} for label, colour in zip(labels, colours, strict=True)]
        noun, chosen = one_of(LARGEST, rng), int(rng.integers(count))
        asked, found = f"{shows(legend_text(lines))} {labels[chosen]} is the", f" {colours[chosen]} {noun}."
        begin = writer.say(asked, False)
        writer.say(found, True)
        writer.lead_back(begin, asked + found, *searched(asked + found))


# -- the stream ------------------------------------------------------------------------------------------------------


class WorldLessons(Lessons):
    """An endless, deterministic stream of lessons of several worlds, as many at a time as a stage says: scenes, then
    crops alone, then sums."""

    stage: WorldStage

    def __init__(self, policy: Policy, stage: WorldStage, start: int = 0, part: tuple[int, int] = (0, 1)) -> None:
        super().__init__(policy, stage, start, part)
        self.worlds = [world for world, _ in stage.shares]
        weights = np.array([share for _, share in stage.shares], dtype=float)
        self.weights = weights / weights.sum()

    def batch(self, number: int) -> list[Lesson]:
        """Batch number `number`."""
        first = number * self.stage.batch
        made = [self.scene(first + k) for k in self.mine(self.stage.batch)]
        made.sort(key=lambda one: not len(one[0].cells))  # those without an overview come last
        rows = [self.row(number, k) for k in self.mine(self.stage.sums + self.stage.matches)]
        return [*(lesson for lesson, _ in made), *chain.from_iterable(alone for _, alone in made), *rows]

    def scene(self, index: int) -> tuple[Lesson, list[Lesson]]:
        """Scene number `index`, and some of its crops alone."""
        stage, rng = self.stage, np.random.default_rng([self.stage.seed, 78, index])
        world = self.worlds[int(rng.choice(len(self.worlds), p=self.weights))]
        if world == "badges":
            return self.lesson(index), []
        sample = (RICHER.get(world) or get_world(world)).sample("train", index, 5000 + stage.seed)
        scene = scene_of(sample)
        lesson = Lesson([overview(sample.image)], *dense(scene.things))
        lesson.targets["word"] = int64([WORDS.index(t.word) if t.word else IGNORE for t in scene.things])
        letters = (thing for thing in scene.things if thing.character)
        lesson.characters += [(0, cell(thing.at), CHARACTERS.index(thing.character)) for thing in letters]
        writer = WorldWriter(lesson, sample.image, rng, self.script)
        writer.corners = stage.corners
        if stage.text:
            lot = rng.random() if stage.forced else 1.0
            forced = "" if lot >= stage.forced else "direct" if lot < stage.forced / 2 else "look"
            writer.write(scene, dict(stage.crops).get(world, 0.0), sample if stage.wholes else None, forced)
        whole = View((0, 0, *sample.image.size), lesson.images[0])
        for fact in scene.facts:
            if fact.large:
                writer.characters(fact, 0, whole)
        writer.close()
        return lesson, self.alone(sample, scene, rng)

    def alone(self, sample: Sample, scene: Scene, rng: np.random.Generator) -> list[Lesson]:
        """Some of a scene's crops, and some of its large print."""
        readable = [near(fact) for fact in scene.facts]
        weights = np.array([NUMBER if fact.said[-2].isdigit() else 1.0 for fact in readable])
        count = min(self.stage.readings, len(readable))
        made = []
        for k in rng.choice(len(readable), count, replace=False, p=weights / weights.sum()):
            made.append(self.writer(sample.image, rng))
            made[-1].reading(readable[k])
        large = [fact for fact in readable if fact.large]
        for k in rng.permutation(len(large))[: self.stage.glances]:
            made.append(self.writer(sample.image, rng))
            made[-1].glance(large[k])
        return [writer.lesson for writer in made]

    def writer(self, image: Image.Image, rng: np.random.Generator) -> WorldWriter:
        """Of a lesson without an overview."""
        return WorldWriter(Lesson([], *dense(())), image, rng, self.script)

    def row(self, number: int, k: int) -> Lesson:
        """A row of text alone: the first of sums, those of drawings by their share of the scenes, the others of
        legends."""
        rng = np.random.default_rng([self.stage.seed, 79, number, k])
        writer = self.writer(Image.new("RGB", (1, 1)), rng)
        of_drawings = "diagrams" in self.worlds and rng.random() < self.weights[self.worlds.index("diagrams")]
        (matches if k >= self.stage.sums else totals if of_drawings else sums)(writer)
        return writer.lesson
