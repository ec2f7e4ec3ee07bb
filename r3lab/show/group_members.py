"""Who is in a group of R-GRPO: its rollouts in the order of their advantages, with colours, and what it amounts to.

for member in members(group):                # the highest advantage first
    print(member.number, member.reward, push(member.t))
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, pstdev

from ..errors import R3labError, shown
from ..train.rewards import deciding_look
from ..trajectory import Trajectory
from .palette import DIVERGING, on_scale
from .story import verdict

MOST = 16  # rollouts
UNSCORED = "#8C8C8C"


@dataclass(frozen=True)
class Member:
    """A rollout of a group: its number from 1, and its advantage's colour."""

    number: int
    t: Trajectory
    colour: str

    @property
    def reward(self) -> float:
        """The sum of the parts."""
        return sum(self.t.rewards.values())


def members(group: Sequence[Trajectory]) -> list[Member]:
    """The rollouts of one sample with the colours of their advantages, the highest advantage first.

    Raises
    ------
    R3labError
        If there are none, more than sixteen, or they are of different samples.
    """
    if not 1 <= len(group) <= MOST:
        raise R3labError(f"A group view shows 1 to {MOST} rollouts, got {len(group)}; choose some.")
    for t in group:
        if (t.sample_id, t.image.hash) != (group[0].sample_id, group[0].image.hash):
            raise R3labError(
                f"There are rollouts of {shown(group[0].sample_id)} and of {shown(t.sample_id)}; give those of one."
            )
    far = reach(group) or 1.0
    found = []
    for number, t in enumerate(group, start=1):
        advantage = scored(t)
        colour = UNSCORED if advantage is None else on_scale(DIVERGING, 0.5 + 0.5 * advantage / far)
        found.append(Member(number, t, colour))

    def last_if_unscored(member: Member) -> float:
        advantage = scored(member.t)
        return math.inf if advantage is None else -advantage

    return sorted(found, key=last_if_unscored)


def scored(t: Trajectory) -> float | None:
    """Its advantage; None if it has none that is finite."""
    return t.advantage if t.advantage is not None and math.isfinite(t.advantage) else None


def reach(group: Sequence[Trajectory]) -> float:
    """The largest advantage to either side; 0 where there is none."""
    return max((abs(a) for t in group if (a := scored(t)) is not None), default=0.0)


def names_of(group: Sequence[Trajectory]) -> list[str]:
    """Parts of the reward, in the order in which they first appear; at most eight."""
    return list(dict.fromkeys(name for t in group for name in t.rewards))[:8]


def push(t: Trajectory) -> str:
    """What the update does to a rollout, in words."""
    advantage = scored(t)
    if advantage is None:
        return "not scored"
    if abs(advantage) < 5e-4:
        return "left as it is"
    return "made likelier" if advantage > 0 else "made less likely"


def verdict_of_group(group: Sequence[Trajectory]) -> str:
    """Why the update pushes where it pushes, in a sentence."""
    rewards = [sum(t.rewards.values()) for t in group]
    right = sum(verdict(t).state == "right" for t in group)
    looked = sum(deciding_look(t) is not None for t in group)
    count = f"{len(group)} rollouts, {right} right, {looked} with a look"
    if not any(t.rewards for t in group):
        return f"{count}; not scored"
    said = f"{count}; reward {fmean(rewards):.2f} on average, spread {pstdev(rewards):.2f}"
    if max(rewards) == min(rewards):
        return f"{said}: all are paid alike, so this group teaches nothing"
    return said
