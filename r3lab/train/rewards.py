"""Rewards of R-GRPO: the two published presets, and one that also pays for where and whether to look.

A preset maps names to functions of a trajectory; the reward is their sum. Simplified against the paper: an answer is
right when it equals the truth after folding case and white space (the worlds' answers are short); there is no model as
judge. Rewards of looking that no preset holds stand in `when`.

    parts = score(trajectory, "paper")        # {"accuracy": 1.0, "format": 1.0, "region": 0.5, "length": 0.04}
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from ..core.arms import get_arm
from ..core.errors import R3labError, nearest, shown
from ..core.geometry import Box, iou
from ..core.protocol import format_ok, same_answer
from ..trajectory import Look, Trajectory

Reward = Callable[[Trajectory], float]
Paid = Callable[[Trajectory], "Mapping[str, float] | float"]  # a number, or several that are added up


def right(t: Trajectory) -> bool:
    """The trajectory's answer is the true one.

    Examples
    --------
    >>> sum(map(r3lab.right, trajectories)) <= len(trajectories)
    True
    """
    return same_answer(t.answer, str(t.truth["answer"]))


def deciding_look(t: Trajectory) -> Look | None:
    """The last valid look: what the answer was read from.

    Examples
    --------
    >>> all(look is None or look.valid for look in map(r3lab.deciding_look, trajectories))
    True
    """
    return next((look for look in reversed(t.looks) if look.valid), None)


def true_region(t: Trajectory) -> Box | None:
    """The region that holds the answer (the last of the true regions), source pixels."""
    regions = t.truth.get("regions") or []
    return tuple(regions[-1]) if regions else None


def deciding_iou(t: Trajectory) -> float | None:
    """IoU of the deciding look with the true region; None where either is missing."""
    look, truth = deciding_look(t), true_region(t)
    return iou(look.box, truth) if look is not None and look.box is not None and truth is not None else None


def accuracy(t: Trajectory) -> float:
    """1 for the right answer (both presets)."""
    return float(right(t))


def well_formed(t: Trajectory) -> float:
    """1 if the sampled text is anything followed by one `<answer>...</answer>` (official code: full match), or by the
    answer in the marks of the trajectory's arm; where only the end of the text closes an answer, it must have come."""
    marks = get_arm(t.arm).marks
    return float(format_ok(t.response_text, marks) and (bool(marks.close) or t.answer is not None))


def region_paper(t: Trajectory) -> float:
    """0.5 for each valid box, at most 0.5, only if the answer is right (paper, from a third-party summary)."""
    return min(0.5, 0.5 * sum(look.valid for look in t.looks)) * accuracy(t)


def region_official(t: Trajectory) -> float:
    """0.5 if at least one parseable box was written and the answer is right (official code).

    The code counts unique boxes, usable or not; the count is capped at one, so uniqueness changes nothing.
    """
    return 0.5 * any(look.written is not None for look in t.looks) * accuracy(t)


def length_paper(t: Trajectory) -> float:
    """0.001 a character of sampled text, at most 0.25 (paper)."""
    return min(0.25, 0.001 * len(t.response_text))


def length_official(t: Trajectory) -> float:
    """0.01 a character of the shortest stretch of sampled text between crops, at most 0.10 (official code)."""
    stretches, open_ = [], ""
    for kind, part in t.segments():
        if kind == "text":
            open_ += str(part)
        elif kind == "look" and isinstance(part, Look) and part.valid:
            stretches.append(open_)
            open_ = ""
    return min(0.10, 0.01 * min(len(s) for s in [*stretches, open_]))


def region_grounded(t: Trajectory) -> float:
    """0.5 x IoU of the deciding look with the true region where a look is needed; 0 where none is."""
    return 0.5 * (deciding_iou(t) or 0.0) if t.truth.get("needs_look") else 0.0


def look_cost(t: Trajectory) -> float:
    """-0.2 for every look where the overview alone holds the answer; elsewhere for every look beyond one a region."""
    free = max(1, len(t.truth.get("regions") or [])) if t.truth.get("needs_look") else 0
    return -0.2 * max(0, len(t.looks) - free)


PRESETS: dict[str, Mapping[str, Reward]] = {
    "paper": {"accuracy": accuracy, "format": well_formed, "region": region_paper, "length": length_paper},
    "official-code": {
        "accuracy": accuracy,
        "format": lambda t: 0.5 * well_formed(t),
        "region": region_official,
        "length": length_official,
    },
    # r3lab's own: needs worlds whose truth is known; pays for where to look and charges for looks that nothing needs
    "grounded": {
        "accuracy": accuracy,
        "format": lambda t: 0.5 * well_formed(t),
        "region": region_grounded,
        "look cost": look_cost,
    },
}


def preset(name: str) -> Mapping[str, Reward]:
    """A preset by name, or one `without` a part of it: "grounded without region".

    Raises
    ------
    R3labError
        If there is none, or it has no such part; the nearest is named.
    """
    whole, without, part = name.partition(" without ")
    if whole not in PRESETS:
        raise R3labError(f"unknown reward preset {whole!r}; known: {', '.join(PRESETS)}.{nearest(whole, PRESETS)}")
    parts = PRESETS[whole]
    if without and part not in parts:
        raise R3labError(f"the preset {whole!r} has no {part!r}; its parts: {', '.join(parts)}.{nearest(part, parts)}")
    return {key: reward for key, reward in parts.items() if key != part}


def score(t: Trajectory, name: str) -> dict[str, float]:
    """Each part of a preset's reward for a trajectory; their sum is the reward."""
    return {key: reward(t) for key, reward in preset(name).items()}


def paid(t: Trajectory, reward: Paid, where: str = "") -> dict[str, float]:
    """The named numbers that a reward pays; an `R3labError`, which begins with `where`, for any but finite ones."""
    found, where = reward(t), where and f"{where}: "
    parts = found if isinstance(found, Mapping) else {"reward": found}
    try:
        numbers = {str(name): float(value) for name, value in parts.items()}
    except (TypeError, ValueError):
        raise R3labError(f"{where}a reward must be a number, or named ones, got {shown(found)}") from None
    if not all(map(math.isfinite, numbers.values())):
        raise R3labError(f"{where}a reward must be finite, got {shown(numbers)} of the trajectory {shown(t.sample_id)}")
    return numbers
