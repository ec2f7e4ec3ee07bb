"""Worlds: sources of questions on images in which looking again pays, with the truth known.

    world = get_world("badges")
    sample = world.sample("train", index=0, seed=0)

A world (`material.World`) gives samples and their rationales. The same (split, index, seed) gives the same sample in
every process. One of your own is used as ``FILE.py:CLASS``, and several are drawn from by weight:
``badges,my.py:Dots:2``.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import count, islice
from typing import Any

import numpy as np

from ...core.errors import R3labError, shown
from ...core.geometry import Box, problem
from ...core.images import content_hash
from ...core.plugins import Plugins, tried
from ..rationale import imperfect
from ..sample import Rationale, Sample
from .badges import Badges
from .charts import Charts
from .documents import Documents
from .material import SPLITS, split_number
from .material import World as World
from .trails import Trails

WORLDS: dict[str, World] = {world.name: world for world in (Badges(), Documents(), Charts(), Trails())}


MOST = 1000  # weight of a world
Worlds = str | World | Sequence[str | World]  # names, as `mixture` reads them, or worlds


def _checked(found: Any, where: str) -> World:
    """A world, or its class, of which two samples of each split are drawn, twice."""
    world = tried(where, found) if isinstance(found, type) else found
    if not isinstance(world, World):
        raise R3labError(f"{where} is {shown(found)}; wanted a class on r3lab.vlir.worlds.World.")
    if not isinstance(world.name, str) or not re.fullmatch(r"[\w-]{1,60}", world.name):
        raise R3labError(f"{where}: name is {shown(world.name)}; wanted 1 to 60 letters, digits, - or _.")
    shared = next((w.name for w in WORLDS.values() if w.key == world.key and w.name != world.name), None)
    if not isinstance(world.key, tuple) or not world.key or shared:
        why = f"that of {shared}" if shared else f"{shown(world.key)}"
        raise R3labError(f"{where}: key is {why}; wanted whole numbers of its own, as (57,).")
    for split in SPLITS:
        for index in (0, 1):
            one, again = (tried(where, lambda: world.sample(split, index)) for _ in range(2))  # noqa: B023
            _check_sample(one, one.regions, where)  # first: a NaN is unlike itself
            if one != again or content_hash(one.image) != content_hash(again.image):
                raise R3labError(f"{where}: {one.id} is another each time; draw it by rng alone.")
            _check_sample(one, tried(where, lambda: world.rationale(one)).boxes, where)  # noqa: B023
    return world


def _check_sample(sample: Sample, boxes: Sequence[Box], where: str) -> None:
    for name in ("question", "answer"):
        if not isinstance(getattr(sample, name), str) or not getattr(sample, name).strip():
            raise R3labError(f"{where}: {name} of {sample.id} is {shown(getattr(sample, name))}; wanted text.")
    for box in boxes:
        if why := problem(box, sample.image.size):
            raise R3labError(f"{where}: the box {shown(box)} of {sample.id} cannot be looked at: {why}.")


OWN = Plugins("world", WORLDS, _checked)


def get_world(name: str) -> World:
    """The world of that name, which ships or was used before; an unknown one is an error that names the nearest.

    Examples
    --------
    >>> r3lab.get_world("trails").sample("train", index=3, seed=0).answer.isdigit()
    True
    """
    return OWN.get(name)


def _weighted(text: str) -> list[tuple[str, int]]:
    """The names in ``badges,my.py:Dots:2``, each with its weight."""
    found = []
    for part in text.split(","):
        name, colon, weight = part.strip().rpartition(":")
        if not colon or not re.fullmatch(r"[0-9.+-]+", weight):
            name, weight = part.strip(), "1"
        if not re.fullmatch("[0-9]{1,4}", weight) or not 1 <= int(weight) <= MOST:
            raise R3labError(f"the weight of world {name} is {weight}; wanted a whole number from 1 to {MOST}.")
        found.append((name, int(weight)))
    return found


def mixture(worlds: Worlds) -> list[tuple[World, int, int]]:
    """The round in which samples of worlds are drawn: for each place the world, which of its samples of the round, and
    how many it has in a round. Worlds of equal weight take turns; the samples of a heavier one are spread.

    Raises
    ------
    R3labError
        If a world or a weight cannot be used.
    """
    given = [worlds] if isinstance(worlds, str | World) else worlds
    named = [pair for one in given for pair in (_weighted(one) if isinstance(one, str) else [(one, 1)])]
    places = [(k + 0.5) / n for _, n in named for k in range(n)]
    every = [(OWN.use(one), k, n) for one, n in named for k in range(n)]
    return [every[i] for i in sorted(range(len(every)), key=lambda i: places[i])]


def pinned_worlds(text: str) -> str:
    """The same names with the hash of every file in its name."""
    return ",".join(OWN.pinned(name) + (f":{weight}" if weight > 1 else "") for name, weight in _weighted(text))


def drawn(worlds: Worlds, split: str, seed: int, numbers: Iterable[int]) -> Iterator[Sample]:
    """Samples of a world, or of several in turn: number 5 of three worlds is the second sample of the third."""
    places, _ = mixture(worlds), split_number(split)
    rounds = ((n // len(places), places[n % len(places)]) for n in numbers)
    return (world.sample(split, turn * many + k, seed) for turn, (world, k, many) in rounds)


def drawn_pairs(
    worlds: Worlds, split: str, seed: int, count: int, spread: float, needless: float, hasty: float
) -> Iterator[tuple[Sample, Rationale]]:
    """The first samples of worlds in turn, with the rationales of a teacher that errs as `imperfect` says."""
    part, names = split_number(split), list(WORLDS)

    def taught(sample: Sample) -> tuple[Sample, Rationale]:
        own = int.from_bytes(hashlib.sha256(sample.world.encode()).digest()[:4], "big")
        number = names.index(sample.world) if sample.world in names else own
        lot = np.random.default_rng([seed, part, int(sample.id.rpartition("-")[2]), number, 17])
        return sample, imperfect(sample, get_world(sample.world).rationale(sample), spread, needless, lot, hasty)

    return (taught(sample) for sample in drawn(worlds, split, seed, range(count)))


def world_batches(worlds: Worlds, prompts: int, seed: int, start: int = 0) -> Iterator[list[Sample]]:
    """Endless batches of fresh training samples of a world, or of several in turn.

    Parameters
    ----------
    worlds : names, with weights if you like (``"badges,trails:2"``), or worlds; see `mixture`
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
