"""Worlds: sources of questions on images in which looking again pays, with the truth known.

    world = get_world("badges")
    sample = world.sample("train", index=0, seed=0)

A world is an object with `name`, `sample(split, index, seed) -> Sample` and `rationale(sample) -> Rationale`. The same
(split, index, seed) gives the same sample in every process; the splits share no photograph, handwriting, table, layout,
style or name. README.md in this folder shows how a fifth is written.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count
from typing import Protocol

import numpy as np

from ...core.errors import R3labError, nearest
from ..sample import Rationale, Sample
from .badges import Badges
from .charts import Charts
from .documents import Documents
from .trails import Trails


class World(Protocol):
    """What a world offers."""

    name: str

    def sample(self, split: str, index: int, seed: int = 0) -> Sample:
        """The sample number `index` of a split."""

    def rationale(self, sample: Sample) -> Rationale:
        """The teacher's answer to a sample of this world, with exact regions."""


WORLDS: dict[str, World] = {world.name: world for world in (Badges(), Documents(), Charts(), Trails())}


def get_world(name: str) -> World:
    """The world of that name; an unknown one is an error that names the nearest.

    Examples
    --------
    >>> r3lab.get_world("trails").sample("train", index=3, seed=0).answer.isdigit()
    True
    """
    if name not in WORLDS:
        raise R3labError(f"unknown world {name!r}; known: {', '.join(WORLDS)}.{nearest(name, WORLDS)}")
    return WORLDS[name]


def world_batches(worlds: str | Sequence[str], prompts: int, seed: int, start: int = 0) -> Iterator[list[Sample]]:
    """Endless batches of fresh training samples of a world, or of several in turn.

    Parameters
    ----------
    worlds : one name or more
    prompts : samples of a batch
    seed : of the samples
    start : samples to leave out at the beginning

    Examples
    --------
    >>> [len(batch) for batch, _ in zip(r3lab.world_batches("badges", 4, seed=0), range(2))]
    [4, 4]
    """
    sources = [get_world(name) for name in ([worlds] if isinstance(worlds, str) else worlds)]
    index = start
    while True:
        numbers = range(index, index + prompts)
        yield [sources[i % len(sources)].sample("train", i // len(sources), seed) for i in numbers]
        index += prompts


def sample_batches(samples: Sequence[Sample], prompts: int, seed: int, start: int = 0) -> Iterator[list[Sample]]:
    """Endless batches of given samples, each drawn without replacement; parameters as of `world_batches`."""
    rng = np.random.default_rng(seed)
    for number in count():
        chosen = rng.choice(len(samples), prompts, replace=False)
        if number >= start:
            yield [samples[k] for k in chosen]
