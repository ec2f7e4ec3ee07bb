"""One seed of a variant again, from a cold start that is at hand: does it fall where the shipped runs fell?

    policy, curve = again("full", 0, steps=12, cold_start=assets_dir() / "tiny" / "cold-start")
    low, high = band(result["curves"], "full", "exact", 7, 12)
    low <= level(curve, "exact", 7, 12) <= high

Simplified: what begins elsewhere (from the base, in another arm) cannot be repeated from the cold start that ships.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from ..errors import R3labError, nearest, shown
from ..models.policy import Policy
from ..train.checkpoint import JsonlLog
from ..train.rgrpo import train_rgrpo
from ..vlir.worlds import world_batches
from .effects import expected
from .train import WORLD, Budget, settings_of
from .variants import FULL, VARIANTS, Variant, get_variant

KEYS = ("exact", "iou", "look_rate_needed", "look_rate_unneeded")  # of a curve
Curve = Mapping[str, Sequence[float | None]]  # a value a step


def repeatable(variant: Variant) -> bool:
    """Whether it begins with the cold start of the whole method, and goes on with R-GRPO."""
    return variant.cold and variant.push and variant.arm == VARIANTS[FULL].arm


def curve_of(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[float | None]]:
    """The measures `KEYS` of a training log, in the order of its steps."""
    return {key: [row.get(key) for row in rows] for key in KEYS}


def rows_of(curve: Curve, steps: int | None = None) -> list[dict[str, Any]]:
    """A curve as the rows of a training log, which `show.curves` draws; its first steps or all."""
    rows = zip(*(curve[key] for key in KEYS), strict=True)
    return [{"step": i, **dict(zip(KEYS, row, strict=True))} for i, row in enumerate(rows, start=1)][:steps]


def again(
    name: str,
    seed: int,
    steps: int,
    cold_start: str | Path,
    log: Callable[[dict[str, Any]], None] = lambda row: None,
    progress: bool = True,
) -> tuple[Policy, dict[str, list[float | None]]]:
    """R-GRPO of a variant, as the shipped runs were made, for its first steps or all of them.

    Parameters
    ----------
    name : of a variant that begins with the cold start of the whole method
    seed : of questions and sampling
    steps : of R-GRPO
    cold_start : checkpoint to begin with
    log : gets each step's metrics too

    Returns
    -------
    the trained policy, and its curve

    Raises
    ------
    R3labError
        If the variant is unknown, or begins elsewhere.
    """
    variant = get_variant(name)
    if not repeatable(variant):
        known = ", ".join(v.name for v in VARIANTS.values() if repeatable(v))
        raise R3labError(f"{shown(name)} does not begin with the cold start of the whole method; these do: {known}")
    policy, kept = Policy.load(cold_start), JsonlLog(None)

    def both(row: dict[str, Any]) -> None:
        kept(row)
        log(row)

    settings = settings_of(variant, seed, Budget(steps=steps))
    train_rgrpo(policy, world_batches(WORLD, settings.prompts, seed), settings, both, progress)
    return policy, curve_of(kept.rows)


def level(curve: Curve, key: str, first: int, last: int) -> float:
    """Mean of a measure over steps `first` to `last`, counted from 1; steps without a value are passed over.

    Raises
    ------
    R3labError
        If the curve has no such measure, or no value there.
    """
    if key not in curve:
        raise R3labError(f"a curve has no {shown(key)}.{nearest(key, KEYS)}")
    found = [value for value in curve[key][first - 1 : last] if value is not None]
    if not found:
        raise R3labError(f"no {key} in steps {first} to {last}; the curve has {len(curve[key])} steps")
    return fmean(found)


def band(curves: Sequence[Mapping[str, Any]], variant: str, key: str, first: int, last: int) -> tuple[float, float]:
    """Where one more run of a variant is expected over these steps (`effects.expected`), from the shipped curves.

    Raises
    ------
    R3labError
        If fewer than two curves are of this variant.
    """
    levels = [level(curve, key, first, last) for curve in curves if curve["variant"] == variant]
    if len(levels) < 2:
        raise R3labError(f"{len(levels)} curves of {shown(variant)}; a band wants two or more")
    return expected(levels)
