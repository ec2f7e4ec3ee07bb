"""A rule for when to look at work: what a step's rollouts chose, as arrays, and what the rule gives, as their tokens'.

*The decision* of a rollout needs no words to be found. With p the rollouts of the group that were free and did the
other thing: one that looked decided from where it parts from all of p to the token that opens its first box; one that
did not, at the token with which it parts from p. Before that both wrote the same, and a credit would cancel. Where p is
empty nothing tells where it might have been otherwise: then it is all that was written, to the token that opens the
first box or the answer. What forced a rollout was not sampled, and is no part of it.

    credit, row = judged(get_rule("value"), groups, policy, store, 96)     # t.credit of each trajectory is written
    values = credit.advantages(rewards, advantages)                        # (N, G)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

from ..models.policy import Features, Policy
from ..rollout.resume import resume
from ..trajectory import Kind, Look, Trajectory
from .objective import spans
from .rewards import right
from .update import ALONE, Alone
from .when import DIRECT, FREE, LABEL, PRICED, Choices, Credit, Rule, obeys, told

Groups = Mapping[int, Sequence[Trajectory]]


def judged(
    rule: Rule,
    groups: Groups,
    policy: Policy,
    store: dict[str, Features],
    tokens: int,
    processes: Alone = ALONE,
) -> tuple[Credit, dict[str, float | None]]:
    """Credit of a step's groups, of all processes; that of tokens is written into the trajectories of this one.

    Parameters
    ----------
    groups : this process's rollouts, by the number of the group
    policy, store, tokens : of `look_worth`, where the rule `branches`

    Returns
    -------
    credit : of all groups, by number
    row : what the log says of it; empty for `label`
    """
    if rule.name == LABEL:
        return Credit(), {}
    with processes.gathered(policy) if rule.branches else nullcontext():
        worth = {n: look_worth(policy, g, store, tokens) for n, g in groups.items() if rule.branches}
    own = [(n, [facts_of(t) for t in g], worth.get(n, [])) for n, g in groups.items()]
    every = sorted((one for part in processes.gather(own) for one in part), key=lambda one: one[0])
    choices = choices_of([facts for _, facts, _ in every], [found for *_, found in every] if rule.branches else ())
    credit = rule.credit(choices)
    decisions = np.broadcast_to(credit.decision, choices.right.shape)
    for place, (n, *_) in enumerate(every):
        for member, t in enumerate(groups.get(n, ())):
            each = credit.looks[place][member] if credit.looks else [0.0] * len(t.looks)
            found = [(*look.span, a) for look, a in zip(t.looks, each, strict=True)]
            found.append((*decision_of(t, groups[n]), float(decisions[place, member])))
            t.credit = [one for one in found if one[2]]
    return credit, told(choices)


def facts_of(t: Trajectory) -> tuple[float, int, str]:
    """What a rule may know of a rollout: whether it is right, how often it looked, what it was forced to."""
    return float(right(t)), len(t.looks), t.forced


def choices_of(groups: Sequence[Sequence[Sequence[Any]]], worth: Sequence[Any] = ()) -> Choices:
    """The `facts_of` groups of rollouts, as arrays."""
    right_, looks, forced = (np.array([[one[k] for one in group] for group in groups]) for k in range(3))
    return Choices(right_, looks, forced, worth)


def paying(reward: Callable[[Trajectory], Any], rule: Rule) -> Callable[[Trajectory], Any]:
    """A reward without what the rule takes the place of, the price by label, which is one of its named parts; and
    0 throughout for a rollout that did not do what the rule forced it to."""
    return reward if rule.name == LABEL else partial(_ruled, reward)


def _ruled(reward: Callable[[Trajectory], Any], t: Trajectory) -> Any:
    found, due = reward(t), obeys(t.forced, bool(t.looks))
    if not isinstance(found, Mapping):
        return found if due else 0.0
    return {key: part if due else 0.0 for key, part in found.items() if key != PRICED}


# -- the decision, and what a look changed ---------------------------------------------------------------------------


def decision_of(t: Trajectory, group: Sequence[Trajectory]) -> tuple[int, int]:
    """The tokens, half-open, with which a rollout chose to look, or not to; see the module's docstring.

    Parameters
    ----------
    group : it and its peers; those that were forced do not count
    """
    start, looked = t.prompt_length, bool(t.looks)
    end = t.looks[0].span[0] + 1 if looked else _answered(t)
    others = [o for o in group if o.forced == FREE and bool(o.looks) != looked]
    if not others:
        return start, end
    fork = min(max(_shared(t.ids, o.ids) for o in others), end - 1)
    return fork, end if looked else fork + 1


def _shared(first: Sequence[int], second: Sequence[int]) -> int:
    """How many ids two rows begin with alike."""
    pairs = enumerate(zip(first, second, strict=False))
    return next((i for i, (a, b) in pairs if a != b), min(len(first), len(second)))


def _answered(t: Trajectory) -> int:
    """Where the token ends that opens the answer; of a rollout without one, where its last token does."""
    own = iter(spans(t))
    at = (i for i, kind in enumerate(t.kinds) if kind == Kind.SAMPLED and next(own) == "answer")
    return next(at, len(t.kinds) - 1) + 1


def look_worth(
    policy: Policy, group: Sequence[Trajectory], store: dict[str, Features], tokens: int
) -> list[list[float]]:
    """What each look of a group's rollouts changed in the answer, [G][looks]: 1, 0 or -1.

    Before the first look stands the greedy answer of the policy that is forced to answer at once; after look k what it
    answers, greedily, from there on without another look; after the last what the rollout itself answered.

    Parameters
    ----------
    store : features by key, as `rollout` filled it
    tokens : that a rollout may sample
    """
    once = replace(group[0].until(group[0].prompt_length), forced=DIRECT)
    [start] = resume(policy, [once], max_new_tokens=tokens, features=store)
    found = [[float(right(start))] for _ in group]
    for k in range(1, max(len(t.looks) for t in group)):
        more = [i for i, t in enumerate(group) if len(t.looks) > k]
        begun = [group[i].until(_behind(group[i], group[i].looks[k - 1])) for i in more]
        for i, end in zip(more, resume(policy, begun, max_looks=k, max_new_tokens=tokens, features=store), strict=True):
            found[i].append(float(right(end)))
    ends = [[*values, float(right(t))] if t.looks else values for values, t in zip(found, group, strict=True)]
    return [[after - before for before, after in pairwise(values)] for values in ends]


def _behind(t: Trajectory, look: Look) -> int:
    """The first token that was sampled after a look."""
    begin = (look.crop_span or look.span)[1]
    return next((i for i in range(begin, len(t.kinds)) if t.kinds[i] == Kind.SAMPLED), len(t.kinds))
