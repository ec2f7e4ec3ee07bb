"""Rewards of looking that no preset holds: an honest region reward, and curiosity against look collapse.

`region_checked` asks of a look what a policy would otherwise not do: that the box can be cut, that it meets the true
region, that it shows something new, and that the answer read from it is right. `curiosity` pays for looking as long as
it is rare in a group, so that a policy that has nearly given it up goes on trying; it needs the whole group, and so is
no part of a preset. Simplified: the answer is compared as in `rewards`; overlap is measured on the photograph.

    region_checked(trajectory)               # 0.41: a right answer, an IoU of 0.82
    curiosity(group, goal=0.3)               # [0.3, 0.0, 0.0, ...]: one of many looked
"""

from __future__ import annotations

from collections.abc import Sequence

from ..core.errors import R3labError
from ..core.geometry import iou
from ..trajectory import Trajectory
from .rewards import deciding_iou, deciding_look, right

FINE, SAME = 0.1, 0.7  # for a useless look; overlap (IoU) above which a look repeats another


def unusable(t: Trajectory) -> int:
    """Looks whose box could not be cut."""
    return sum(not look.valid for look in t.looks)


def repeated(t: Trajectory, same: float = SAME) -> int:
    """Valid looks that repeat an earlier valid one: their IoU is over `same`."""
    boxes = [look.box for look in t.looks if look.valid and look.box is not None]
    return sum(any(iou(box, earlier) > same for earlier in boxes[:i]) for i, box in enumerate(boxes))


def region_checked(t: Trajectory, fine: float = FINE, same: float = SAME) -> float:
    """0.5 x IoU of the deciding look with the true region if the answer is right, less a fine for useless looks.

    Parameters
    ----------
    fine : for every look that could not be cut, and for every one that repeats an earlier one, right answer or not
    same : see `repeated`
    """
    paid = 0.5 * (deciding_iou(t) or 0.0) if right(t) else 0.0
    return paid - fine * (unusable(t) + repeated(t, same))


def look_price(t: Trajectory, price: float) -> float:
    """The same for every look, needed or not: what nobody who does not know the need could refine."""
    return -price * len(t.looks)


def curiosity(group: Sequence[Trajectory], goal: float, weight: float = 1.0) -> list[float]:
    """For each member that looked: weight x (goal - the group's look rate), as long as the rate is under the goal.

    The bonus fades by itself as looking becomes common, so that it cannot be farmed. It is paid to looks that were
    taken: in a group in which nobody looked all get 0, and nothing is learned.

    Parameters
    ----------
    group : rollouts of one question
    goal : look rate from which on nothing is paid, 0 to 1

    Raises
    ------
    R3labError
        If the group is empty or the goal is no share.

    Source: after the curiosity reward of Pixel Reasoner (arXiv 2505.15966), which also bounds the rate of a query from
    below; its further penalty for many operations is a look price here.
    """
    if not group or not 0 <= goal <= 1:
        raise R3labError(f"curiosity wants a group and a goal from 0 to 1, got {len(group)} rollouts and {goal}")
    looked = [deciding_look(t) is not None for t in group]
    bonus = weight * max(0.0, goal - sum(looked) / len(looked))
    return [bonus if looks else 0.0 for looks in looked]
