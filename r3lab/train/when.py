"""Rules for when to look: what a rollout gets, or loses, for having looked again, beside the reward of its answer.

A rule is a row of `RULES`: a function of what the groups of a step chose and whether it was right (`Choices`), as plain
arrays, to a `Credit`: a term of the reward, of the advantage, or an advantage of the tokens that made the choice or
wrote a look. A rule that measures what a look is worth in each group has some of the group's rollouts forced, a part to
answer at once, a part to look. `label` alone reads the label of a world; its price is the "look cost" of the reward
(`rewards.look_cost`), which every other rule takes the place of.

Simplified: the number of looks beyond the first is priced by `label`, `hdpo` and `at-grpo` alone. Nothing here loads
torch, so that `--help` is quick.

    rule = get_rule("value")
    credit = rule.credit(Choices(right, looks, forced))                # (N, G) arrays
    train_rgrpo(policy, batches, RgrpoSettings(when="value"), log)

Below the rules stand rewards of a trajectory that no preset holds: of an honest region, of every look, against look
collapse.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.errors import R3labError, nearest, shown
from ..core.geometry import iou
from ..trajectory import Trajectory
from .rewards import deciding_iou, deciding_look, right

if TYPE_CHECKING:
    import torch

FREE, DIRECT, LOOK = "", "direct", "look"  # what a rollout was forced to; see `rollout.loop.rollout`
LABEL, PRICED = "label", "look cost"  # the rule that reads labels, and the part of a reward that holds its price


def obeys(forced: Any, looked: Any) -> Any:
    """Whether a rollout did what it was forced to, a bool or an array of them; what was free does."""
    return (forced == FREE) | (looked == (forced == LOOK))


@dataclass(frozen=True)
class Choices:
    """What N groups of G rollouts chose, and whether it was right.

    Attributes
    ----------
    right : (N, G) from 0 to 1, floats
    looks : (N, G) boxes that were written, those that were refused among them
    forced : (N, G) FREE, DIRECT or LOOK; by default all are free
    worth : what each look of each rollout changed in the answer, [N][G][looks], where a rule asks for it
    """

    right: np.ndarray
    looks: np.ndarray
    forced: np.ndarray = None  # type: ignore[assignment]
    worth: Sequence[Sequence[Sequence[float]]] = ()

    def __post_init__(self) -> None:
        forced = np.full(np.shape(self.right), FREE) if self.forced is None else self.forced
        for name, given in (("right", self.right), ("looks", self.looks), ("forced", forced)):
            object.__setattr__(self, name, np.asarray(given, float if name == "right" else None))
        shapes = {self.right.shape, self.looks.shape, self.forced.shape}
        if len(shapes) > 1 or self.right.ndim != 2:
            raise R3labError(f"right, looks and forced must be (N, G), got the shapes {shown(sorted(shapes))}")

    @property
    def looked(self) -> np.ndarray:
        """(N, G) whether the rollout looked, or tried to."""
        return self.looks > 0

    @property
    def free(self) -> np.ndarray:
        """(N, G) whether the rollout chose by itself."""
        return self.forced == FREE

    @property
    def obeyed(self) -> np.ndarray:
        """(N, G) whether the rollout did what it was forced to, or was free."""
        return np.asarray(obeys(self.forced, self.looked))


@dataclass(frozen=True)
class Credit:
    """What a rule gives, beside the reward of the answer; 0 wherever it gives nothing.

    Attributes
    ----------
    reward : (N, G) added to the rewards, before they become advantages
    peers : (N, G) numbers; an advantage is then less the mean of the group's rollouts of the same number. None: all
    advantage : (N, G) added to the advantages
    decision : (N, G) an advantage of the tokens that chose to look, or not to
    looks : an advantage of the tokens of each look, [N][G][looks]
    """

    reward: np.ndarray | float = 0.0
    peers: np.ndarray | None = None
    advantage: np.ndarray | float = 0.0
    decision: np.ndarray | float = 0.0
    looks: Sequence[Sequence[Sequence[float]]] = ()

    def advantages(self, rewards: torch.Tensor, advantage: Callable[[torch.Tensor], torch.Tensor]) -> Any:
        """Advantages (N, G), with what the rule gives to whole rollouts, of rewards (N, G)."""
        if isinstance(self.reward, float) and isinstance(self.advantage, float) and self.peers is None:
            return advantage(rewards)
        found = np.asarray(advantage(rewards + rewards.new_tensor(self.reward)))
        if found.shape != tuple(rewards.shape):
            return found  # `rgrpo.give` says so
        return found - (0.0 if self.peers is None else _peers_mean(found, self.peers)) + self.advantage


def _peers_mean(values: np.ndarray, peers: np.ndarray) -> np.ndarray:
    """(N, G) the mean of each rollout's peers, itself among them."""
    same = peers[:, :, None] == peers[:, None, :]  # (N, G, G)
    return (same * values[:, None, :]).sum(2) / same.sum(2)


# -- what a look is worth ---------------------------------------------------------------------------------------------

PRIOR = 1.0  # rollouts that the mean of the whole group counts for, where few measured a kind


def values_of(c: Choices, prior: float = 0.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What it is worth to look, and to answer at once. Rollouts that did not do what they were forced to count for
    neither: what was told one thing and did the other is no sample of either.

    Parameters
    ----------
    prior : each kind's mean is drawn towards the group's, as if so many more rollouts had been as right as all are

    Returns
    -------
    look, direct : (N, 1) share of right answers of the rollouts of each kind; 0 where there are none, without a prior
    both : (N, 1) whether the group holds both kinds
    """
    mean = (c.right * c.obeyed).sum(1, keepdims=True) / np.maximum(c.obeyed.sum(1, keepdims=True), 1)
    found, counts = [], []
    for kind in (c.looked & c.obeyed, ~c.looked & c.obeyed):
        count = kind.sum(1, keepdims=True)
        found.append(((c.right * kind).sum(1, keepdims=True) + prior * mean) / np.maximum(count + prior, 1e-9))
        counts.append(count)
    return found[0], found[1], (counts[0] > 0) & (counts[1] > 0)


def told(c: Choices) -> dict[str, float | None]:
    """What a log says of a step: mean value of a look over the groups that hold both kinds; the share of right looking
    rollouts that were free, in groups where answering at once is right as often (needless by value); looks by arm."""
    look, direct, both = values_of(c)
    taken, needless = c.free & c.looked & both, (look <= direct) & both
    row = {
        "value_of_look": float((look - direct)[both].mean()) if both.any() else None,
        "needless_by_value": float((taken & needless).sum() / taken.sum()) if taken.any() else None,
    }
    arms = {"free": c.free, DIRECT: c.forced == DIRECT, LOOK: c.forced == LOOK}
    row |= {f"looks/{name}": float(c.looks[own].mean()) for name, own in arms.items() if own.any()}
    return {key: value if value is None else round(value, 5) for key, value in row.items()}


# -- rules ------------------------------------------------------------------------------------------------------------


def nothing(c: Choices) -> Credit:
    """No credit: of `none`, and of `label`, whose price is a part of the reward."""
    return Credit()


def visionthink(c: Choices) -> Credit:
    """A right answer pays 0.9 with a look; without one too, where it was luck: where under a fifth of the group's right
    answers came without a look.

        r = right (1 - 0.1 [looked or s < 0.2]),   s = right without a look / right

    Source: VisionThink (arXiv 2507.13348), as its authors' code has it (`soft_tool_call_penalty_ratio` 0.2,
    `tool_call_penalty` and `direct_answer_penalty` 0.1). The paper's own equation could not be read. Left out is the
    code's option to punish luck in groups with a wrong answer alone.
    """
    every, direct = c.right.sum(1, keepdims=True), (c.right * ~c.looked).sum(1, keepdims=True)
    luck = direct / np.maximum(every, 1e-9) < 0.2
    return Credit(reward=-0.1 * c.right * (c.looked | luck))


def autotool(c: Choices) -> Credit:
    """A bonus that is the larger, the rarer the kind of rollout is in the step, so that both stay alive.

        r + (b + 0.5 - share of its kind) m,   b = 1.2;   m = 1 if right, -0.5 if wrong with a look, else 0

    Source: AutoTool (arXiv 2605.19852), as its authors' code has it (`basebf` 1.2, shares over the whole batch). There
    the answer pays 0.8, and the kind is announced by a mark; here it is whether a box was written. The paper's text,
    and what it says of later stages of training, could not be read.
    """
    share = np.where(c.looked, c.looked.mean(), 1 - c.looked.mean())
    mode = c.right - 0.5 * (1 - c.right) * c.looked
    return Credit(reward=(1.2 + 0.5 - share) * mode)


def hdpo(c: Choices) -> Credit:
    """A second channel, among right rollouts alone, for few looks.

        A + 0.15 (e - mean e) / (std e + 1e-6),   e = right / (looks + 1),   over the right rollouts, two or more

    Source: HDPO (arXiv 2604.08545), as its authors' code has it (`w_tool` 0.15). There the two advantages are in two
    clipped losses that are added; here the advantages are added, which is the same until the first clip.
    """
    apt = c.right > 0
    count = apt.sum(1, keepdims=True)
    thrift = c.right / (c.looks + 1) * apt
    centred = (thrift - thrift.sum(1, keepdims=True) / np.maximum(count, 1)) * apt
    spread = np.sqrt((centred**2).sum(1, keepdims=True) / np.maximum(count - 1, 1))
    equal = spread < 1e-9  # up to rounding; also where one is right
    return Credit(advantage=np.where(equal, 0.0, 0.15 * centred / (spread + 1e-6)))


def at_grpo(c: Choices) -> Credit:
    """Looks pay, or cost, what they are worth on this question.

        r + 0.6 dS exp(-2 ((n - n_max) / n_max)^2),   n looks, n_max = 6,   dS = V(look) - V(direct)

    Source: AdaTooler-V (arXiv 2512.16918): equation, 0.6, 2 and 6 as in its authors' code, where the call stands
    commented out. There dS is measured once, before training, with a reference model; here in every group, with forced
    rollouts. Those have a baseline of their own, each part, as they had no choice that could be paid.
    """
    look, direct, both = values_of(c)
    most, arms = 6, np.select([c.forced == DIRECT, c.forced == LOOK], [1, 2], 0)
    worth = np.where(both, look - direct, 0.0)
    return Credit(reward=0.6 * worth * np.exp(-2 * ((c.looks - most) / most) ** 2) * c.obeyed, peers=arms)


def difference(c: Choices) -> Credit:
    """Each look gets what it changed in the answer, on the tokens of its box (`look_worth`).

        A(tokens of look k) = A + V_k - V_(k-1),   V_k = 1 if the answer without a look beyond k is right, else 0

    Source: the differential answer-probe reward of TACO (arXiv 2606.30251), from its abstract and summaries; the
    paper's equations, its normalisation within the group, and the routing of the outcome's advantage (OGAR), which is
    left out, could not be read.
    """
    return Credit(looks=c.worth)


STEP = 0.5  # advantage that right rollouts get, or lose, where looks are worth nothing


def _needless(c: Choices, look: np.ndarray, direct: np.ndarray, both: np.ndarray) -> np.ndarray:
    """(N, G) +0.5 for a right answer without a look, -0.5 for one with, where looks are worth nothing."""
    idle = both & (look <= direct + 1e-9)
    return STEP * c.right * idle * np.where(c.looked, -1.0, 1.0)


def by_value(c: Choices) -> Credit:
    """Where answering at once is right at least as often as looking, right answers without a look get 0.5 of advantage,
    right ones with a look lose 0.5; in groups that hold both kinds.

    Ours; the simple form of `value`: nothing is forced, and the whole rollout is credited.
    """
    return Credit(advantage=_needless(c, *values_of(c)))


def value(c: Choices) -> Credit:
    """The choice is credited with its value, the rest of a rollout against others that chose, or were told, the same.

        A(decision)  = V(chosen) - V(other) +- 0.5 [right and V(look) <= V(direct)]      (+ without a look, - with)
        A(the rest)  = r's advantage - mean of those in the group that chose, or were told, the same
        V(kind)      = (right of its n rollouts + mean of the group) / (n + 1)

    Ours. Half of each group is forced, a quarter to each kind, so that both values are measured on policy in every
    group, however one-sided the policy has become; free rollouts count among those of their kind. The choice is one
    action with two outcomes: V(chosen) - V(other) has the direction of the policy gradient (twice its size in the mean)
    without the luck of the single answer, and it goes to the tokens that made the choice. What comes after the choice
    is compared with what came after the same choice, so that a forced rollout without a chance neither lowers nor
    raises what the free ones get. Values are drawn together by one rollout's weight of the group's mean: the fewer
    measured them, the smaller the credit. They are not pooled over recent groups: what a look is worth has two peaks,
    small print and large, and a mean of both is a wrong guess for either; nor would a run then go on from its
    checkpoint alone. The price acts where looks are worth nothing, among right answers, and on the decision alone: it
    turns no right rollout's advantage negative, and unlearns neither where to look nor how to read. A group in which
    neither channel varies gets zero throughout, and no pass is made for it. A forced rollout that did the other thing
    is paid nothing (`credit.paying`) and compared with those that did as they were told; paid, it teaches to look
    although it was told not to, and the next values would be of arms that nobody obeys.
    """
    look, direct, both = values_of(c, PRIOR)
    chosen = np.where(c.looked, look - direct, direct - look) * both
    decision = (chosen + _needless(c, look, direct, both)) * c.free
    meant = np.where(c.free, c.looked, c.forced == LOOK)
    return Credit(peers=meant.astype(int), decision=decision)


@dataclass(frozen=True)
class Rule:
    """A rule for when to look.

    Attributes
    ----------
    about : in a line
    credit : of the choices of a step
    forced_share : of a group, forced to answer at once; as much is forced to look
    branches : whether answers are to be forced before and after each look
    """

    name: str
    about: str
    credit: Callable[[Choices], Credit]
    forced_share: float = 0.0
    branches: bool = False

    def forced(self, group: int) -> tuple[str, ...]:
        """What each of a group's rollouts is forced to, the free ones first; one name where all are free.

        Raises
        ------
        R3labError
            If the group is too small for all three.
        """
        if not self.forced_share:
            return (FREE,)
        count = max(1, round(group * self.forced_share))
        if group < 2 * count + 2:
            raise R3labError(f"when = {self.name} forces {2 * count} of a group and leaves 2 free; group is {group}")
        return (FREE,) * (group - 2 * count) + (DIRECT,) * count + (LOOK,) * count


_TABLE = (
    Rule(LABEL, "the reward's fixed price by the world's label", nothing),
    Rule("none", "no price", nothing),
    Rule("visionthink", "right with a look pays 0.9; so does luck without one", visionthink),
    Rule("autotool", "a bonus for the rarer kind", autotool),
    Rule("hdpo", "fewer looks, among right answers, in a channel of its own", hdpo),
    Rule("at-grpo", "looks pay what they are worth on the question", at_grpo, 0.25),
    Rule("difference", "each look gets what it changed in the answer", difference, branches=True),
    Rule("by-value", "where looks are worth nothing, right answers without one gain, with one lose", by_value),
    Rule("value", "the choice gets its measured value, half of the group forced", value, 0.25),
)
RULES: dict[str, Rule] = {rule.name: rule for rule in _TABLE}


def get_rule(name: str) -> Rule:
    """A rule by name.

    Raises
    ------
    R3labError
        If there is none; the nearest is named.
    """
    if name not in RULES:
        raise R3labError(f"unknown when {shown(name)}; known rules: {', '.join(RULES)}.{nearest(name, RULES)}")
    return RULES[name]


# -- rewards of looking that no preset holds -------------------------------------------------------------------------

FINE, SAME = 0.1, 0.7  # for a useless look; overlap (IoU) above which a look repeats another


def repeated(t: Trajectory, same: float = SAME) -> int:
    """Valid looks that repeat an earlier valid one: their IoU is over `same`."""
    boxes = [look.box for look in t.looks if look.valid and look.box is not None]
    return sum(any(iou(box, earlier) > same for earlier in boxes[:i]) for i, box in enumerate(boxes))


def region_checked(t: Trajectory, fine: float = FINE, same: float = SAME) -> float:
    """0.5 x IoU of the deciding look with the true region if the answer is right, less a fine, right answer or not, for
    every look that could not be cut and for every one that repeats an earlier one (see `repeated`)."""
    paid = 0.5 * (deciding_iou(t) or 0.0) if right(t) else 0.0
    return paid - fine * (sum(not look.valid for look in t.looks) + repeated(t, same))


def look_price(t: Trajectory, price: float) -> float:
    """The same for every look, needed or not: what nobody who does not know the need could refine."""
    return -price * len(t.looks)


def curiosity(group: Sequence[Trajectory], goal: float, weight: float = 1.0) -> list[float]:
    """For each rollout of a question that looked: weight x (goal - the group's look rate), goal from 0 to 1, as long as
    the rate is under the goal; an R3labError for an empty group.

    The bonus fades by itself as looking becomes common, so that it cannot be farmed. It is paid to looks that were
    taken: in a group in which nobody looked all get 0, and nothing is learned.

    Source: after the curiosity reward of Pixel Reasoner (arXiv 2505.15966), which also bounds the rate of a query from
    below; its further penalty for many operations is a look price here.
    """
    if not group or not 0 <= goal <= 1:
        raise R3labError(f"curiosity wants a group and a goal from 0 to 1, got {len(group)} rollouts and {goal}")
    looked = [deciding_look(t) is not None for t in group]
    bonus = weight * max(0.0, goal - sum(looked) / len(looked))
    return [bonus if looks else 0.0 for looks in looked]
