"""How a lesson of a world is written: a question answered in full, statements of a scene, a crop alone with what it
shows.

A scene's statements are packed into one sequence. Reading takes the most examples of all skills and needs neither the
overview nor the other statements: a crop alone with its text costs a seventh of a scene. What needs no picture at all
is in `text_rows`.

    Writer(lesson, sample.image, rng, Script(policy)).write(scene_of(sample), crops=0.6)
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import ceil

import numpy as np
from PIL import Image

from ..geometry import Box
from ..models.policy import Policy
from ..protocol import CLOSE, OPEN, box_text
from ..vlir.rationale import LARGE, SMALL, jitter, shows
from ..vlir.worlds.badges import SIDE
from .facts import Fact, Mark, Saying, Scene, centre
from .lessons import CELLS, FACTOR, IGNORE, NAMES, OVERVIEW, TEXT, Lesson, read_crop, written
from .places import Tokens, cell
from .wholes import Whole

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
    """Writes statements into a lesson.

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
