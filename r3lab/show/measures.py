"""Numbers a token, and the colours that they become: log-probability, entropy, ratio, advantage, attention received.

    found = measures_of(trajectory, ratio=new_over_old)
    found["entropy"].colour(found["entropy"].level(0.7))         # '#6CACD8'

Simplified: sixteen levels; a scale runs from the least to the most that the trajectory has.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import R3labError, nearest, shown
from ..trajectory import Trajectory
from .palette import DIVERGING, SEQUENTIAL, on_scale

LEVELS = 16
KIND = "kind"
Values = Sequence[float | None]


@dataclass(frozen=True)
class Measure:
    """A number a token, and how it becomes a colour.

    Attributes
    ----------
    name : in words
    values : one a token, None where there is none
    low, high : ends of the scale, as they are labelled
    middle : for scales with two sides, the value in the middle; None for others
    logarithmic : equal factors are equal steps of colour
    """

    name: str
    values: Values
    low: float
    high: float
    middle: float | None = None
    logarithmic: bool = False

    @property
    def stops(self) -> tuple[str, ...]:
        """The scale's colours."""
        return SEQUENTIAL if self.middle is None else DIVERGING

    def level(self, value: float) -> int:
        """0 to 15."""
        low, high = self.low, self.high
        if self.logarithmic:
            low, high, value = (math.log(max(v, 1e-9)) for v in (low, high, value))
        place = (value - low) / (high - low) if high > low else 0.5
        return min(LEVELS - 1, max(0, int(place * LEVELS)))

    def colour(self, level: int) -> str:
        """Of a level, #RRGGBB."""
        return on_scale(self.stops, (level + 0.5) / LEVELS)


def measures_of(
    t: Trajectory, ratio: Values | None = None, advantage: Values | None = None, attention: Values | None = None
) -> dict[str, Measure]:
    """What the tokens of a trajectory can be coloured by, besides their kind.

    Parameters
    ----------
    ratio
        Importance ratio of each token, policy over the policy that sampled.
    advantage
        Of each token; by default that of the trajectory, where it has one, on every token that carries loss.
    attention
        Attention that each token received, from zero.

    Raises
    ------
    R3labError
        If one has not one value a token, or a value that is not finite.
    """
    n = len(t.ids)
    given = {"ratio": ratio, "advantage": advantage, "attention received": attention}
    for name, values in given.items():
        if values is None:
            continue
        if len(values) != n:
            raise R3labError(f"{name} has {len(values)} values for {n} tokens; give one a token, None for none.")
        bad = [v for v in values if v is not None and not math.isfinite(v)]
        if bad:
            raise R3labError(f"{name} holds {shown(bad[0])}; give finite numbers, None for none.")
    if advantage is None and t.advantage is not None and math.isfinite(t.advantage):
        advantage = [t.advantage if sampled else None for sampled in t.sampled_mask]
    found = {}
    known = _known(t.logprobs)
    if known:
        found["log-probability"] = Measure("log-probability", t.logprobs, min(*known, -1e-3), 0.0)
    known = _known(t.entropies)
    if known:
        found["entropy"] = Measure("entropy", t.entropies, 0.0, max(*known, 1e-3))
    if ratio is not None and (known := _known(ratio)):
        far = max(1.05, *(max(v, 1 / max(v, 1e-9)) for v in known))
        found["ratio"] = Measure("ratio", ratio, 1 / far, far, 1.0, True)
    if advantage is not None and (known := _known(advantage)):
        far = max(1e-3, *map(abs, known))
        found["advantage"] = Measure("advantage", advantage, -far, far, 0.0)
    if attention is not None and (known := _known(attention)):
        found["attention received"] = Measure("attention received", attention, 0.0, max(*known, 1e-9))
    return found


def _known(values: Values) -> list[float]:
    """The values that are there, twice the first, so that `max(*known)` has two."""
    known = [float(v) for v in values if v is not None and math.isfinite(v)]
    return [known[0], *known] if known else []


def chosen_measure(by: str, measures: dict[str, Measure]) -> str:
    """The name, if there is such a measure.

    Raises
    ------
    R3labError
        Naming what there is.
    """
    names = [KIND, *measures]
    if by not in names:
        raise R3labError(
            f"These tokens cannot be coloured by {shown(by)}; there is {', '.join(names)}.{nearest(by, names)}"
        )
    return by
