"""How attention to images lasts while a policy writes on: with a crop woven in, and in a chain of text alone.

Of every token that was written, the attention that falls on the overview and on the crops, as the mean of all layers
and heads. A share alone deceives: the sequence grows, so what is shared evenly falls for every image, word by word. So
each share comes with the even one, and `Shares.times` is their quotient: 1 is what any token in sight gets.

    found = [shares(policy, t) for t in trajectories]
    line = along([s.times("crops") for s in found], [s.fork for s in found])
    line.at[0], line.mean[0].value         # the first word after the box, over all trajectories

Simplified: all rows of a trajectory are held at once, (layers, heads, words, tokens); words are lined up by their
number after the first box, whatever they say.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import R3labError, shown
from ..models.policy import Features, Policy
from ..resampling import Interval, mean_interval
from ..trajectory import Kind, Trajectory
from .rows import OVERVIEW, rows

CROPS = "crops"  # all of them together


@dataclass(frozen=True)
class Shares:
    """Attention of every token that one trajectory wrote.

    Attributes
    ----------
    tokens : (n,) int64, their places in the trajectory
    mass : by image ("overview", "crops"): (n,) part of the attention on it, 0 to 1; NaN while none of it is in sight
    even : the same had attention been shared evenly: the part of the tokens in sight that are the image's
    fork : number, from 0, of the first token behind the first box; None without a box
    """

    tokens: np.ndarray
    mass: dict[str, np.ndarray]
    even: dict[str, np.ndarray]
    fork: int | None

    def times(self, image: str) -> np.ndarray:
        """Attention on a token of an image over an even share, (n,); NaN while none of it is in sight."""
        return self.mass[image] / self.even[image]


def shares(policy: Policy, trajectory: Trajectory, features: dict[str, Features] | None = None) -> Shares:
    """Read the attention of every token that a trajectory wrote.

    Parameters
    ----------
    features : store that is read and filled, as of `rollout`

    Raises
    ------
    R3labError
        If nothing was written, or the trajectory is of another model.
    """
    tokens = [i for i, kind in enumerate(trajectory.kinds) if kind == Kind.SAMPLED]
    if not tokens:
        raise R3labError(f"the trajectory {shown(trajectory.sample_id)} wrote nothing; roll it out first")
    found = rows(policy, trajectory, at=tokens, features=features)
    weights = found.weights.mean((0, 1)).double().numpy()  # (n, T)
    kinds = np.array(trajectory.kinds)
    sight = np.arange(len(kinds)) < np.array(tokens)[:, None]  # (n, T): what each of them sees
    mass, even = {}, {}
    for image, kind in ((OVERVIEW, Kind.OVERVIEW), (CROPS, Kind.CROP)):
        count = (sight & (kinds == int(kind))).sum(1)
        there = np.where(count > 0, 1.0, np.nan)
        mass[image] = there * weights[:, kinds == int(kind)].sum(1)
        even[image] = there * count / sight.sum(1)
    end = trajectory.looks[0].span[1] if trajectory.looks else None
    fork = None if end is None else int(np.searchsorted(tokens, end))
    return Shares(np.array(tokens), mass, even, fork)


@dataclass(frozen=True)
class Line:
    """A measure along what was written: words counted from the fork, the mean over trajectories, how many they are."""

    at: tuple[int, ...]
    mean: tuple[Interval, ...]


def along(values: Sequence[np.ndarray], forks: Sequence[int | None], least: int = 5, seed: int = 0) -> Line:
    """Line up a measure of many trajectories at their first box, and take its mean word by word.

    Parameters
    ----------
    values : one a trajectory, (n,) a value for each token that it wrote; NaN is left out
    forks : number of the first token behind the first box, of each; None: the trajectory is left out
    least : trajectories that a word needs, so that a mean is shown for it
    seed : of the bootstrap

    Returns
    -------
    Line
        Words below 0 stand before the end of the first box.

    Raises
    ------
    R3labError
        If the two differ in number, or no word has enough trajectories.
    """
    if len(values) != len(forks):
        raise R3labError(f"{len(values)} rows of values and {len(forks)} forks; give one of each a trajectory")
    at: dict[int, list[float]] = {}
    for own, fork in zip(values, forks, strict=True):
        for number, value in enumerate(own.tolist()):
            if fork is not None and np.isfinite(value):
                at.setdefault(number - fork, []).append(value)
    kept = sorted(step for step, found in at.items() if len(found) >= least)
    if not kept:
        raise R3labError(f"no word has values of {least} trajectories with a box; give more trajectories")
    return Line(tuple(kept), tuple(mean_interval(at[step], seed) for step in kept))
