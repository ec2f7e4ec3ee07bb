"""Lessons of four worlds: what `lessons` does for badges, for papers, charts and trails too.

A lesson is a sample of a world's train split with (a) dense targets for linear heads: what stands in a token of the
overview, which character in a token of a crop; (b) one packed sequence of statements: what is asked for, whether it can
be read, where it stands, what its crop shows. What a scene holds is `facts.scene_of`'s; badges keep their own lessons.

    stream = WorldLessons(policy, seed=7, batch=24, shares={"badges": 0.25, "documents": 0.25, "charts": 0.25, ...})
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F

from ..geometry import Box, clip, source_to_crop
from ..models.policy import Policy
from ..protocol import box_text
from ..vlir.rationale import LARGE, SMALL, jitter
from ..vlir.worlds import get_world
from ..vlir.worlds.badges import SIDE
from .base import Heads
from .facts import WORDS, Fact, Mark, Point, Scene, Thing, centre, scene_of
from .lessons import BINS, CELLS, COORDINATE_STEP, FACTOR, IGNORE, NAMES, OVERVIEW, Lesson, Lessons, read_crop, written

CHARACTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz./:"
SPREAD = 0.06  # how far a lesson's crop may miss, as a part of its sides: a number must not be cut
STATEMENTS, CROPS = 6, 0.6  # statements of a scene; how many of the boxes are followed by their crop
READING = 2.0  # weight of the head that reads characters


@dataclass
class WorldLesson(Lesson):
    """A lesson with the characters of its crops: (image, token, class in CHARACTERS)."""

    characters: list[tuple[int, int, int]] = field(default_factory=list)


class WorldHeads(Heads):
    """The heads of `Heads`, one for words and swatches in the overview, and one for the characters of a crop."""

    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.word = nn.Linear(width, len(WORDS))
        self.character = nn.Linear(width, len(CHARACTERS))

    def forward(self, features: list, lessons: list[Lesson]) -> tuple[torch.Tensor, dict[str, float]]:
        """As of `Heads`, with both heads' losses."""
        loss, seen = super().forward(features, lessons)
        losses: list[torch.Tensor] = []
        words, targets, inked, classes, at = [], [], [], [], 0
        for lesson in lessons:
            if isinstance(lesson, WorldLesson):
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
    """An endless, deterministic stream of lessons of several worlds; `batch` of them at a time.

    Parameters
    ----------
    policy : whose tokens are used
    seed : of the stream
    shares : world -> share of the lessons
    badges : the lessons of that world (`Lessons`), asked by index
    start : items to leave out at the beginning
    """

    def __init__(
        self, policy: Policy, seed: int, batch: int, shares: Mapping[str, float], badges: Lessons, start: int = 0
    ) -> None:
        self.seed, self.batch, self.badges, self.start = seed, batch, badges, start
        self.worlds, weights = list(shares), np.array(list(shares.values()), dtype=float)
        self.weights = weights / weights.sum()
        self.markers = (*policy.vision_start, *policy.vision_end)
        self._policy_ids, self._piece = policy.ids, policy.piece
        self._cache: dict[str, list[tuple[int, int]]] = {}

    def __iter__(self) -> Iterator[list[Lesson]]:
        index = self.start * self.batch
        while True:
            yield [self.lesson(index + i) for i in range(self.batch)]
            index += self.batch

    def lesson(self, index: int) -> Lesson:
        """Lesson number `index`."""
        rng = np.random.default_rng([self.seed, 78, index])
        world = self.worlds[int(rng.choice(len(self.worlds), p=self.weights))]
        if world == "badges":
            return _with_word(self.badges.lesson(index))
        sample = get_world(world).sample("train", index, 5000 + self.seed)
        scene = scene_of(sample)
        overview = np.asarray(sample.image.resize(OVERVIEW, Image.Resampling.BICUBIC))
        lesson = WorldLesson([overview], [], [], [], [], *dense(scene.things))
        _Writer(lesson, sample.image, rng, self).write(scene)
        return lesson

    def encode(self, text: str) -> list[tuple[int, int]]:
        """Tokens of a text, each with the number of its middle character."""
        if text not in self._cache:
            found, at = [], 0
            for token in self._policy_ids(text):
                wide = len(self._piece(token))
                found.append((token, at + wide // 2))
                at += wide
            if at != len(text):
                raise ValueError(f"{text!r} has characters of several tokens")
            self._cache[text] = found
        return self._cache[text]


class _Writer:
    """Writes the packed statements of one scene into a lesson."""

    def __init__(self, lesson: WorldLesson, image: Image.Image, rng: np.random.Generator, stream: WorldLessons) -> None:
        self.lesson, self.image, self.rng, self.stream = lesson, image, rng, stream
        self.names: list[int] = []
        self.digits: list[int] = []
        self.cells: list[int] = []

    def say(
        self,
        text: str,
        loss: bool,
        point: tuple[int, int] | None = None,
        anchor: tuple[int, int] | None = None,
        marks: tuple[tuple[int, int] | None, ...] | None = None,
    ) -> None:
        """Add a text; `marks` gives a point to each character, else `point` is that of every token."""
        for k, (token, middle) in enumerate(self.stream.encode(text)):
            self.lesson.text.append(token)
            self.lesson.loss.append(loss)
            self.lesson.points.append(marks[middle] if marks else point)
            self.lesson.anchors.append(None if k else anchor)

    def show(self) -> None:
        """Add an image, between its markers."""
        self.lesson.text += [self.stream.markers[0], None, self.stream.markers[1]]
        self.lesson.loss += [False] * 3
        self.lesson.points += [None] * 3
        self.lesson.anchors += [None] * 3

    def write(self, scene: Scene) -> None:
        """All statements, in random order."""
        self.say("<|im_start|>user\n", False)
        self.show()
        self.say("<|im_end|>\n<|im_start|>assistant\n", False)
        every = [*scene.facts, *scene.sayings]
        for k in self.rng.permutation(len(every))[:STATEMENTS]:
            one = every[k]
            if isinstance(one, Fact):
                self.fact(one)
            else:
                given, follows, at = one
                self.say(given, False)
                self.say(follows, True, at and (0, cell(at)), at and (0, cell(at)))
        self.lesson.crop_targets = {
            "name": np.array(self.names, dtype=np.int64),
            "digit": np.array(self.digits, dtype=np.int64),
        }
        self.lesson.crop_cells = np.array(self.cells, dtype=np.int64)

    def fact(self, fact: Fact) -> None:
        """A fact, at times asked for; its size at times; its place; its crop at times, with what is read there."""
        asked = self.rng.random() < 0.6
        if asked:
            self.say(f"<|im_end|>\n<|im_start|>user\n{fact.question}", False)
            self.say("<|im_end|>\n<|im_start|>assistant\n", False)
        self.say(fact.subject, asked)
        there = (0, cell(centre(fact.box)))
        leads = fact.anchor and (0, cell(fact.anchor))
        if fact.large or self.rng.random() < 0.5:
            self.say(LARGE.rstrip() if fact.large else SMALL, True, there, leads)
        if fact.large:
            return self.say(f" {fact.said}", True, marks=(None, *(m and (0, cell(m[1])) for m in fact.marks)))
        self.say(box_text(written(fact.box)), True, there, leads)
        if self.rng.random() < CROPS:
            self.crop(fact)
        return None

    def crop(self, fact: Fact) -> None:
        """The crop of a fact, and what is read in it."""
        size = self.image.size
        box = jitter(fact.box, size, SPREAD, self.rng)
        self.lesson.images.append(read_crop(self.image, box))
        number, place = len(self.lesson.images) - 1, _Tokens(box, self.lesson.images[-1])
        self.show()
        self.say(fact.said, True, marks=tuple(self._seen(m, number, place) for m in fact.marks))
        best: dict[int, tuple[float, int]] = {}
        written_there = [mark for mark in fact.marks if mark]
        by_character = len(set(written_there)) == len(written_there)
        for character, mark in zip(fact.said, fact.marks, strict=True):
            if by_character and mark and not mark[0] and character in CHARACTERS:
                token, off = place.token(mark[1])
                best[token] = min(best.get(token, (9e9, 0)), (off, CHARACTERS.index(character)))
        self.lesson.characters += [(number, token, character) for token, (_, character) in best.items()]
        name, digit = fact.subject.removeprefix("The "), fact.said.removeprefix("It shows ").removesuffix(".")
        sign = name in NAMES
        self.names.append(NAMES.index(name) if sign else IGNORE)
        self.digits.append(int(digit) if sign and digit.isdigit() else IGNORE)
        self.cells.append(place.token(centre(fact.box))[0])

    @staticmethod
    def _seen(mark: Mark | None, number: int, place: _Tokens) -> tuple[int, int] | None:
        if mark is None:
            return None
        return (0, cell(mark[1])) if mark[0] else (number, place.token(mark[1])[0])


class _Tokens:
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
    assert max(max(targets[f"edge{i}"]) for i in range(4)) < BINS
    return np.array([cell(t.at) for t in things]), {k: np.array(v, dtype=np.int64) for k, v in targets.items()}


def _with_word(lesson: Lesson) -> Lesson:
    lesson.targets["word"] = np.full(len(lesson.cells), IGNORE, dtype=np.int64)
    return lesson
