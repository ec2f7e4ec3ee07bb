"""Lessons of four worlds: what `lessons` does for badges, for papers, charts and trails too.

A lesson is a sample of a world's train split with (a) dense targets for linear heads: what stands in a token of the
overview, which character in a token of a crop; (b) one packed sequence of statements: what is asked for, whether it can
be read, where it stands, what its crop shows (`world_writing`), at last also its own question answered in full
(`wholes`). What a scene holds is `facts.scene_of`'s; badges keep their own lessons.

    stream = WorldLessons(policy, stage, badge_lessons(policy, stage))
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F

from ..models.policy import Policy
from ..vlir.sample import Sample
from ..vlir.worlds import World, get_world
from ..vlir.worlds.charts import Charts
from ..vlir.worlds.documents import Documents
from ..vlir.worlds.trails import Trails
from .base import Heads, Stage
from .facts import WORDS, Scene, near, scene_of
from .lessons import IGNORE, OVERVIEW, Lesson, Lessons
from .places import dense
from .text_rows import matches, sums
from .wholes import whole_of
from .world_writing import CHARACTERS, Script, WorldLesson, Writer

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
