"""Lessons of four worlds: what `lessons` does for badges, for papers, charts and trails too.

A lesson is a sample of a world's train split with (a) dense targets for linear heads: what stands in a token of the
overview, which character in a token of a crop; (b) one packed sequence of statements: what is asked for, whether it can
be read, where it stands, what its crop shows, at last also its own question answered in full. What a
scene holds is `facts.scene_of`'s; badges keep their own lessons.

    stream = WorldLessons(policy, stage, badge_lessons(policy, stage))
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain
from math import ceil

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F

from ..core.geometry import Box, clip, source_to_crop
from ..core.protocol import CLOSE, OPEN, box_text
from ..models.policy import Policy
from ..models.tiny import COORDINATE_STEP
from ..vlir.rationale import LARGE, SMALL, jitter, shows
from ..vlir.sample import Sample
from ..vlir.worlds import World, get_world
from ..vlir.worlds.badges import COLOURS, SIDE
from ..vlir.worlds.charts import LARGEST, Charts, difference, invented_labels, legend_text
from ..vlir.worlds.documents import Documents
from ..vlir.worlds.trails import Trails
from .base import Heads, Stage
from .facts import WORDS, Fact, Mark, Point, Saying, Scene, Thing, Whole, centre, near, scene_of, searched, whole_of
from .lessons import BINS, CELLS, FACTOR, IGNORE, NAMES, OVERVIEW, TEXT, Lesson, Lessons, read_crop, written

# -- which token holds a place of the picture, and what the heads must find there -----------------------------------


class Tokens:
    """The tokens of a crop."""

    def __init__(self, box: Box, crop: np.ndarray) -> None:
        self.box, (high, wide) = box, crop.shape[:2]
        self.size = (wide, high)

    def token(self, at: Point) -> tuple[int, float]:
        """The token that holds a source point, and how far from its middle that is, pixels of the crop."""
        x, y, _, _ = source_to_crop((*at, at[0] + 1, at[1] + 1), self.box, self.size)
        columns, rows = self.size[0] // FACTOR, self.size[1] // FACTOR
        column, row = min(max(int(x) // FACTOR, 0), columns - 1), min(max(int(y) // FACTOR, 0), rows - 1)
        return row * columns + column, abs(x - (column + 0.5) * FACTOR) + abs(y - (row + 0.5) * FACTOR)


def cell(at: Point) -> int:
    """The token of the overview that holds a source point."""
    column, row = (min(max(int(v * CELLS / SIDE), 0), CELLS - 1) for v in at)
    return row * CELLS + column


def dense(things: tuple[Thing, ...]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Cells (things,) and targets of the heads on overview tokens; IGNORE where there is none."""
    targets: dict[str, list[int]] = {k: [] for k in ("name", "word", "large", "digit", *(f"edge{i}" for i in range(4)))}
    for thing in things:
        targets["name"].append(NAMES.index(thing.name) if thing.name else IGNORE)
        targets["word"].append(WORDS.index(thing.word) if thing.word else IGNORE)
        targets["large"].append(int(thing.large) if thing.box else IGNORE)
        targets["digit"].append(IGNORE)
        edges = written(clip(thing.box, (SIDE, SIDE))) if thing.box else None
        for i in range(4):
            targets[f"edge{i}"].append(edges[i] // COORDINATE_STEP if edges else IGNORE)
    assert all(edge < BINS for i in range(4) for edge in targets[f"edge{i}"])
    cells = np.array([cell(t.at) for t in things], dtype=np.int64)
    return cells, {k: np.array(v, dtype=np.int64) for k, v in targets.items()}


# -- how a lesson of a world is written -----------------------------------------------------------------------------

CHARACTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz./:"
SPREAD = 0.06  # how far a lesson's crop may miss, as a part of its sides: a number must not be cut
STATEMENTS, BESIDE = 6, 3  # of a scene; beside a question that is answered in full
ANSWER = "<|im_end|>\n<|im_start|>assistant\n"


@dataclass
class WorldLesson(Lesson):
    """A lesson with the characters of its crops: (image, token, class in CHARACTERS)."""

    characters: list[tuple[int, int, int]] = field(default_factory=list)


class Script:
    """A policy's tokens, and the size of its crops."""

    def __init__(self, policy: Policy) -> None:
        self.markers = (*policy.vision_start, *policy.vision_end)
        self.crop_tokens = policy.layout.crop_tokens
        self._ids, self.piece = policy.ids, policy.piece
        self._cache: dict[str, list[tuple[int, int]]] = {}

    def encode(self, text: str) -> list[tuple[int, int]]:
        """Tokens of a text, each with the number of its middle character."""
        if text not in self._cache:
            found, at = [], 0
            for token in self._ids(text):
                wide = len(self.piece(token))
                found.append((token, at + wide // 2))
                at += wide
            if at != len(text):
                raise ValueError(f"{text!r} has characters of several tokens")
            self._cache[text] = found
        return self._cache[text]


class Writer:
    """Writes statements into a lesson: a question answered in full, statements of a scene, a crop alone.

    A scene's statements are packed into one sequence. Reading takes the most examples of all skills and needs neither
    the overview nor the other statements: a crop alone with its text costs a seventh of a scene.

    Parameters
    ----------
    lesson : with its overview, if it has one
    image : of the scene, source pixels
    """

    def __init__(self, lesson: WorldLesson, image: Image.Image, rng: np.random.Generator, script: Script) -> None:
        self.lesson, self.image, self.rng, self.script = lesson, image, rng, script
        self.names: list[int] = []
        self.digits: list[int] = []
        self.cells: list[int] = []
        self.read: list[tuple[str, list[int]]] = []  # values that were said, and the entries of their characters

    def say(
        self,
        text: str,
        loss: bool,
        point: tuple[int, int] | None = None,
        anchor: tuple[int, int] | None = None,
        marks: tuple[tuple[int, int] | None, ...] | None = None,
    ) -> None:
        """Add a text. `point` is that of every token; where `marks` gives a place to each character, a token's point is
        the place of what comes next. `anchor` leads to all points, since no token learns in time where another one
        found what they share; without one the place of what was just read leads on."""
        tokens = self.script.encode(text)
        places = [marks[middle] for _, middle in tokens] if marks else [None] * len(tokens)
        for k, (token, _) in enumerate(tokens):
            at = places[k + 1] if marks and k + 1 < len(tokens) else point
            self.lesson.text.append(token)
            self.lesson.loss.append(loss)
            self.lesson.points.append(at)
            self.lesson.anchors.append((anchor or places[k]) if at else None)

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
        value = text.strip().removeprefix("It shows ").removesuffix(".")
        if text.strip() == shows(value):
            at = text.index(value)
            self.read.append((value, self._entries(begin, text)[at : at + len(value)]))

    def take_over(self, begin: int, text: str) -> None:
        """Point each value of a text, entries `begin` and on, at where it was read: in the order of `note`."""
        entry, end = self._entries(begin, text), 0
        for value, read in self.read:
            at = text.find(value, end)
            if at < 0:
                continue
            end = at + len(value)
            for k, earlier in enumerate(read):
                self.lesson.points[entry[at + k] - 1] = (TEXT, earlier)
        self.read = []

    def _entries(self, begin: int, text: str) -> list[int]:
        """The entry of each character of a text that was said, entries `begin` and on."""
        return [begin + k for k, (token, _) in enumerate(self.script.encode(text)) for _ in self.script.piece(token)]

    def show(self) -> None:
        """Add an image, between its markers."""
        self.lesson.text += [self.script.markers[0], None, self.script.markers[1]]
        self.lesson.loss += [False] * 3
        self.lesson.points += [None] * 3
        self.lesson.anchors += [None] * 3

    def write(self, scene: Scene, crops: float, whole: Whole | None = None) -> None:
        """Statements in random order; of those that end with a box, `crops` are followed by their crop. A question that
        is answered in full comes first, as in a prompt, and what it reads is not stated again."""
        self.say("<|im_start|>user\n", False)
        self.show()
        self.say(whole.question if whole else "", False)
        self.say(ANSWER, False)
        done: set[Box] = set()
        if whole is not None:
            self.whole(whole)
            done = {step.box for step in whole.steps if isinstance(step, Fact)}
        every = [*(fact for fact in scene.facts if fact.box not in done), *scene.sayings]
        for k in self.rng.permutation(len(every))[: BESIDE if whole else STATEMENTS]:
            one = every[k]
            if isinstance(one, Fact):
                self.fact(one, crops)
            else:
                self.saying(one, False)
        self.targets(scene)

    def saying(self, saying: Saying, loss: bool) -> None:
        """A saying; `loss` is that of what it begins with."""
        given, follows, at = saying
        self.say(given, loss)
        self.say(follows, True, at and (0, cell(at)), at and (0, cell(at)))

    def whole(self, whole: Whole) -> None:
        """All that leads to the answer of a question that was put: every look is taken, and all of it must be said."""
        before = "<think>"
        for step in whole.steps:
            if isinstance(step, Fact):
                self.say(before + step.subject, True)
                self.look(step, at_once=step.large, sized=True, crop=True)
            else:
                given, follows, at = step
                begin = len(self.lesson.text) + len(self.script.encode(before + given))
                self.saying((before + given, follows, at), True)
                if at is None:  # no place of the picture: values that were read
                    self.take_over(begin, follows)
            before = " "
        self.say(f"</think>{OPEN}{whole.answer}{CLOSE}", True)

    def targets(self, scene: Scene) -> None:
        """What the heads must find in the overview's large print and in the crops so far."""
        overview = Tokens((0, 0, *self.image.size), self.lesson.images[0])
        for fact in scene.facts:
            if fact.large:
                self._characters(fact, 0, overview)
        self.lesson.crop_targets = {
            "name": np.array(self.names, dtype=np.int64),
            "digit": np.array(self.digits, dtype=np.int64),
        }
        self.lesson.crop_cells = np.array(self.cells, dtype=np.int64)

    def fact(self, fact: Fact, crops: float) -> None:
        """A fact, at times asked for; its size at times; its place; its crop at times, with what is read there."""
        asked = self.rng.random() < 0.6 or fact.anchor is None  # which label a legend is searched for
        if asked:
            self.say(f"<|im_end|>\n<|im_start|>user\n{fact.question}", False)
            self.say(ANSWER, False)
        self.say(fact.subject, asked)
        at_once = fact.large and self.rng.random() < 0.7
        sized = at_once or (not fact.large and self.rng.random() < 0.5)
        self.look(fact, at_once, sized, crop=self.rng.random() < crops)

    def look(self, fact: Fact, at_once: bool, sized: bool, crop: bool) -> None:
        """A fact of which the subject is said: its size, then what it says at once, or its box, then perhaps its crop
        with what is read there."""
        there = (0, cell(centre(fact.box)))
        leads = fact.anchor and (0, cell(fact.anchor))
        if sized:
            self.say(LARGE.rstrip() if fact.large else SMALL, True, there, leads)
        if at_once:
            marks = (None, *(m and (0, cell(m[1])) for m in fact.marks))
            begin = len(self.lesson.text)
            self.say(f" {fact.said}", True, anchor=fact.via and (0, cell(fact.via[1])) or leads, marks=marks)
            self.note(begin, f" {fact.said}")
            return
        self.say(box_text(written(fact.box)), True, there, leads)
        if crop:
            self.crop(fact)

    def crop(self, fact: Fact) -> Tokens:
        """The crop of a fact, and what is read in it; returns the crop's tokens."""
        size = self.image.size
        box = jitter(fact.box, size, SPREAD, self.rng)
        self.lesson.images.append(read_crop(self.image, box, self.script.crop_tokens))
        number, place = len(self.lesson.images) - 1, Tokens(box, self.lesson.images[-1])
        self.show()
        marks = tuple(self._seen(m, number, place) for m in fact.marks)
        begin = len(self.lesson.text)
        self.say(fact.said, True, anchor=self._seen(fact.via, number, place), marks=marks)
        self.lead_back(begin, fact.said, fact.recalls, fact.hangs)
        self.note(begin, fact.said)
        self._characters(fact, number, place)
        name, digit = fact.subject.removeprefix("The "), fact.said.removeprefix("It shows ").removesuffix(".")
        sign = name in NAMES
        self.names.append(NAMES.index(name) if sign else IGNORE)
        self.digits.append(int(digit) if sign and digit.isdigit() else IGNORE)
        self.cells.append(place.token(centre(fact.box))[0])
        return place

    def _characters(self, fact: Fact, number: int, place: Tokens) -> None:
        """Where each character is written on its own: of those in a token of an image, the one nearest its middle."""
        best: dict[int, tuple[float, int]] = {}
        there: dict[Mark | None, set[str]] = {}
        for character, mark in zip(fact.said, fact.marks, strict=True):
            there.setdefault(mark, set()).add(character)
        for mark, (character, *others) in there.items():
            if mark and not mark[0] and not others and character in CHARACTERS:
                token, off = place.token(mark[1])
                best[token] = min(best.get(token, (9e9, 0)), (off, CHARACTERS.index(character)))
        self.lesson.characters += [(number, token, character) for token, (_, character) in best.items()]

    def glance(self, fact: Fact) -> None:
        """A fact in large print asked for, and the part of the overview that it stands in, a token or so wider: to read
        what a token of the overview holds takes many examples, and this has a few of its tokens."""
        self.say(f"<|im_start|>user\n{fact.question}", False)
        self.say(ANSWER, False)
        overview, side, box = self.image.resize(OVERVIEW, Image.Resampling.BICUBIC), OVERVIEW[0], []
        for low, high in ((fact.box[0], fact.box[2]), (fact.box[1], fact.box[3])):
            least, most = (v * side / SIDE for v in (low, high))
            wide = min(CELLS, 1 + int((most - least) // FACTOR + self.rng.integers(1, 3))) * FACTOR
            room = (max(0, ceil(most) - wide), min(int(least), side - wide))
            box.append((start := int(self.rng.integers(room[0], room[1] + 1)), start + wide))
        (x1, x2), (y1, y2) = box
        self.lesson.images.append(np.asarray(overview)[y1:y2, x1:x2])
        scale = SIDE / side
        place = Tokens((x1 * scale, y1 * scale, x2 * scale, y2 * scale), self.lesson.images[-1])
        self.show()
        self.say(f"{fact.subject}{LARGE.rstrip()}", False)
        self.say(f" {fact.said}", True, marks=(None, *(self._seen(m, 0, place) for m in fact.marks)))
        self._characters(fact, 0, place)

    def reading(self, fact: Fact) -> None:
        """A fact asked for and its crop, with no overview; where it is what was asked for, the answer follows: to take
        it over from what was read is a skill of its own."""
        self.say(f"<|im_start|>user\n{fact.question}", False)
        self.say(ANSWER, False)
        self.say(fact.subject, False)
        place = self.crop(fact)
        read = fact.said.removeprefix("It shows ").removesuffix(".")
        if fact.said == shows(read) and ". " not in read:
            begin, before = fact.said.index(read), f"</think>{OPEN}"
            marks = tuple(self._seen(m, 0, place) for m in fact.marks[begin : begin + len(read)])
            self.say(before + read + CLOSE, True, marks=(*[None] * len(before), *marks, *[None] * len(CLOSE)))

    @staticmethod
    def _seen(mark: Mark | None, number: int, place: Tokens) -> tuple[int, int] | None:
        if mark is None:
            return None
        return (0, cell(mark[1])) if mark[0] else (number, place.token(mark[1])[0])


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


def sums(writer: Writer) -> None:
    """Subtractions as charts ask for them: two numbers that were read, whole or with a decimal, both taken over."""
    rng = writer.rng
    for _ in range(COUNT):
        more, less = numbers(rng)
        result = difference(more, less)
        colour = list(COLOURS)[int(rng.integers(len(COLOURS)))]
        noun = list(LARGEST)[int(rng.integers(len(LARGEST)))]
        between = f" The value of the {colour} {noun}{LARGE}"
        if rng.random() < LOOKED:  # as where both are looked at, but for the crops
            x, y = (10 * int(v) for v in rng.integers(3, 90, 2))
            between = f" The value of the {colour} {noun}{SMALL}{box_text((x, y, x + 50, y + 50))}"
        _read(writer, shows(more))
        writer.say(between, False)
        _read(writer, shows(less))
        begin, sum_ = len(writer.lesson.text), f" {more} - {less} = {result}.</think>{OPEN}{result}{CLOSE}"
        writer.say(sum_, True)
        writer.take_over(begin, sum_)


def _read(writer: Writer, said: str) -> None:
    begin = len(writer.lesson.text)
    writer.say(said, False)
    writer.note(begin, said)


def matches(writer: Writer) -> None:
    """Legends: what their lines show is given with one of their labels, of which the colour must be said."""
    rng = writer.rng
    for _ in range(COUNT):
        count = int(rng.integers(LINES[0], LINES[1] + 1))
        labels = invented_labels(rng, count)
        colours = [list(COLOURS)[int(k)] for k in rng.permutation(len(COLOURS))[:count]]
        lines = [{"label": label, "colour": colour} for label, colour in zip(labels, colours, strict=True)]
        noun, chosen = list(LARGEST)[int(rng.integers(len(LARGEST)))], int(rng.integers(count))
        told, begin = shows(legend_text(lines)), len(writer.lesson.text)
        asked, found = f" {labels[chosen]} is the", f" {colours[chosen]} {noun}."
        writer.say(told + asked, False)
        writer.say(found, True)
        writer.lead_back(begin, told + asked + found, *searched(told + asked + found))


# -- a stage in several worlds, its heads and its lessons -----------------------------------------------------------

READING = 2.0  # weight of the head that reads characters
# Worlds as lessons have them: more large print, which is the hardest to read in the overview, labels by chance, and
# more of the questions that take several steps.
KINDS = {"value": 0.1, "largest": 0.15, "label": 0.2, "named": 0.25, "difference": 0.3}
RICHER: dict[str, World] = {
    "documents": Documents(large_other=0.5),
    "charts": Charts(large_other=0.4, invented=0.6, shares=KINDS),
    "trails": Trails(readable=0.5),
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


class WorldHeads(Heads):
    """The heads of `Heads`, one for words and swatches in the overview, and one for the characters of a crop."""

    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.word = nn.Linear(width, len(WORDS))
        self.character = nn.Linear(width, len(CHARACTERS))

    def forward(self, features: list, lessons: list[Lesson]) -> tuple[torch.Tensor, dict[str, float]]:
        """As of `Heads`, with both heads' losses; lessons without an overview come last."""
        loss, seen = super().forward(features, [lesson for lesson in lessons if len(lesson.cells)])
        losses: list[torch.Tensor] = []
        words, targets, inked, classes, at = [], [], [], [], 0
        for lesson in lessons:
            if isinstance(lesson, WorldLesson):
                if len(lesson.cells):
                    words.append(features[at].tokens[torch.as_tensor(lesson.cells)])
                    targets.append(torch.as_tensor(lesson.targets["word"]))
                for image, token, character in lesson.characters:
                    inked.append(features[at + image].tokens[token])
                    classes.append(character)
            at += len(lesson.images)
        if words:
            self._add(self.word(torch.cat(words)), torch.cat(targets).to(loss.device), "word", losses, seen)
        if inked:
            logits, wanted = self.character(torch.stack(inked)), torch.tensor(classes, device=loss.device)
            losses.append(READING * F.cross_entropy(logits, wanted))
            seen["character"] = float((logits.argmax(-1) == wanted).float().mean())
        return (loss + torch.stack(losses).sum() if losses else loss), seen


class WorldLessons(torch.utils.data.IterableDataset):
    """An endless, deterministic stream of lessons of several worlds, as many at a time as a stage says: scenes, then
    crops alone, then sums.

    Parameters
    ----------
    policy : whose tokens are used
    stage : its seed, how many lessons a batch has and of which worlds, how often a box is followed by its crop
    badges : the lessons of that world (`Lessons`), asked by index
    start : batches to leave out at the beginning
    """

    def __init__(self, policy: Policy, stage: WorldStage, badges: Lessons, start: int = 0) -> None:
        self.stage, self.badges, self.start, self.script = stage, badges, start, Script(policy)
        self.worlds = [world for world, _ in stage.shares]
        weights = np.array([share for _, share in stage.shares], dtype=float)
        self.weights = weights / weights.sum()

    def __iter__(self) -> Iterator[list[Lesson]]:
        index = self.start
        while True:
            yield self.lessons(index)
            index += 1

    def lessons(self, number: int) -> list[Lesson]:
        """Batch number `number`."""
        first = number * self.stage.batch
        made = [self.scene(index) for index in range(first, first + self.stage.batch)]
        rows = [self.row(number, k) for k in range(self.stage.sums + self.stage.matches)]
        return [*(lesson for lesson, _ in made), *chain.from_iterable(alone for _, alone in made), *rows]

    def scene(self, index: int) -> tuple[Lesson, list[Lesson]]:
        """Scene number `index`, and some of its crops alone."""
        rng = np.random.default_rng([self.stage.seed, 78, index])
        world = self.worlds[int(rng.choice(len(self.worlds), p=self.weights))]
        if world == "badges":
            return _with_word(self.badges.lesson(index)), []
        sample = (RICHER.get(world) or get_world(world)).sample("train", index, 5000 + self.stage.seed)
        scene = scene_of(sample)
        overview = np.asarray(sample.image.resize(OVERVIEW, Image.Resampling.BICUBIC))
        lesson = WorldLesson([overview], [], [], [], [], *dense(scene.things))
        writer = Writer(lesson, sample.image, rng, self.script)
        if self.stage.text:
            whole = whole_of(sample, scene) if self.stage.wholes else None
            writer.write(scene, dict(self.stage.crops).get(world, 0.0), whole)
        else:
            writer.targets(scene)
        return lesson, self._alone(sample, scene, rng)

    def _alone(self, sample: Sample, scene: Scene, rng: np.random.Generator) -> list[Lesson]:
        readable = [near(fact) for fact in scene.facts]
        weights = np.array([NUMBER if fact.said[-2].isdigit() else 1.0 for fact in readable])
        count = min(self.stage.readings, len(readable))
        chosen = rng.choice(len(readable), count, replace=False, p=weights / weights.sum())
        made = [self._one(sample, rng) for _ in chosen]
        for writer, k in zip(made, chosen, strict=True):
            writer.reading(readable[k])
        large = [fact for fact in readable if fact.large]
        glanced = [self._one(sample, rng) for _ in large[: self.stage.glances]]
        for writer, k in zip(glanced, rng.permutation(len(large)), strict=False):
            writer.glance(large[k])
        return [writer.lesson for writer in (*made, *glanced)]

    def _one(self, sample: Sample, rng: np.random.Generator) -> Writer:
        return Writer(WorldLesson([], [], [], [], [], *dense(())), sample.image, rng, self.script)

    def row(self, number: int, k: int) -> Lesson:
        """A row of text alone: the first are of subtractions, the others of legends."""
        rng = np.random.default_rng([self.stage.seed, 79, number, k])
        lesson = WorldLesson([], [], [], [], [], *dense(()))
        writer = Writer(lesson, Image.new("RGB", (1, 1)), rng, self.script)
        (sums if k < self.stage.sums else matches)(writer)
        return lesson


def _with_word(lesson: Lesson) -> Lesson:
    lesson.targets["word"] = np.full(len(lesson.cells), IGNORE, dtype=np.int64)
    return lesson
