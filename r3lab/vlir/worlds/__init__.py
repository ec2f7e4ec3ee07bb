"""Worlds: sources of questions on images in which looking again pays, with the truth known.

    world = get_world("badges")
    sample = world.sample("train", index=0, seed=0)

A world (`material.World`) gives samples and their rationales. The same (split, index, seed) gives the same sample in
every process; the splits share no photograph, handwriting, table, layout, style or name. README.md in this folder shows
how a fifth is written.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import count, islice

import numpy as np

from ...core.errors import R3labError, nearest
from ..rationale import imperfect
from ..sample import Rationale, Sample
from .badges import Badges
from .charts import Charts
from .documents import Documents
from .material import World as World
from .material import split_number
from .trails import Trails

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


def drawn(worlds: str | Sequence[str], split: str, seed: int, numbers: Iterable[int]) -> Iterator[Sample]:
    """Samples of a world, or of several in turn: number 5 of three worlds is the second sample of the third."""
    sources, _ = [get_world(name) for name in ([worlds] if isinstance(worlds, str) else worlds)], split_number(split)
    return (sources[n % len(sources)].sample(split, n // len(sources), seed) for n in numbers)


def drawn_pairs(
    worlds: Sequence[str], split: str, seed: int, count: int, spread: float, needless: float, hasty: float
) -> Iterator[tuple[Sample, Rationale]]:
    """The first samples of worlds in turn, with the rationales of a teacher that errs as `imperfect` says."""
    part, names = split_number(split), list(WORLDS)

    def taught(number: int, sample: Sample) -> tuple[Sample, Rationale]:
        lot = np.random.default_rng([seed, part, number // len(worlds), names.index(sample.world), 17])
        return sample, imperfect(sample, WORLDS[sample.world].rationale(sample), spread, needless, lot, hasty)

    return (taught(n, sample) for n, sample in enumerate(drawn(worlds, split, seed, range(count))))


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
    samples = drawn(worlds, "train", seed, count(start))
    while True:
        yield list(islice(samples, prompts))


def sample_batches(samples: Sequence[Sample], prompts: int, seed: int, start: int = 0) -> Iterator[list[Sample]]:
    """Endless batches of given samples, each drawn without replacement; parameters as of `world_batches`."""
    rng = np.random.default_rng(seed)
    for number in count():
        chosen = rng.choice(len(samples), prompts, replace=False)
        if number >= start:
            yield [samples[k] for k in chosen]
