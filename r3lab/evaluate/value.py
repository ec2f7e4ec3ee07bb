"""What a look is worth: answers that are forced without a look and with one, against what the policy chooses itself.

V(direct) and V(look) are the scores of rollouts forced into either arm (`core.arms.FORCED`), V(look) - V(direct) is the
value of a look at a sample for this policy: no label. A look is *needless* where the difference is at most 0 and one
was taken, *missed* where it is above a price and none was taken. *Look regret* is E[max over arms of V - V of what it
chose], what is chosen in shares counting by its share. What is read in crops is held against looks whose crops are
noise of the same statistics.

    found = value_of_looks(policy, samples)
    found["badges"]["small print"]["sampled"]["regret"]      # {"value": 0.012, "low": 0.006, "high": 0.019, ...}

Greedily there is one answer of each sort and nothing to estimate. Sampled, K rollouts of each sort only estimate a
sample's V, and what is said of a sample by its estimated difference is said of some that it is not true of:

- `needless` and `missed` go by whether the estimated difference is at most 0, or above the price. Near 0 that is a
  toss, so each set holds samples of the other, and both numbers are drawn from what they should be towards the share of
  looks (of answers without one) over all: a policy that knows exactly when to look is charged with some needless looks,
  a careless one gets off lightly. More rollouts make that less; greedily it does not occur.
- The larger of two noisy means is too large on average, so the regret from the same rollouts, `regret_most`, is too
  large. In `regret` the better arm is told by all pairs of rollouts but one (of each arm), and this one says what it
  is worth: without bias where the arms are alike, a little too small where they are nearly so, for then the others do
  not always tell which is better. That costs the same whatever the policy chose (a tie counts half for each arm), so
  policies with the same V are compared fairly; of one that chooses best it can be below 0. Truth lies between the two.
- `only_with_looks` and `harmed` are of one rollout with a look and another without, which differ by chance alone where
  both arms are right now and then.

Simplified: the share of looks counts as the choice, whatever is then read; what a policy would answer in an arm it was
never trained to obey is no value of a look, see `looked_direct` and `looked_look`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from PIL import Image

from ..core.arms import get_arm
from ..core.errors import R3labError, shown
from ..core.images import content_hash
from ..core.protocol import folded
from ..core.stats import LEVEL, RESAMPLES, Interval, resampled_means
from ..models.policy import Features, Policy
from ..rollout.loop import rollout
from ..train.rewards import right
from ..trajectory import Trajectory
from ..vlir.sample import Sample
from .grades import Measure, Units, interval

FREE, DIRECT, LOOK, NOISE = "free", "direct", "look", "noise"
CHOSEN = (FREE, DIRECT, LOOK)  # sorts of rollouts that see the crops as they are
MODES = ("sampled", "greedy")
PARTS: dict[str, Callable[[Mapping[str, Any]], bool]] = {
    "all": lambda entry: True,
    "small print": lambda entry: entry["needs_look"] is True,
    "large print": lambda entry: entry["needs_look"] is False,
}
K, PRICE = 4, 0.05  # rollouts of a sort; of a look, in shares of right answers
OBEYED = 0.99  # of forced rollouts that do as they are told and answer; with fewer, their scores are no value of a look
ROWS = 192  # rolled out together
_READ = re.compile(r"(?:It shows | = )([^<\n]{1,80}?)\.(?=[\s<]|$)")  # what `vlir.rationale.shows` and a sum say

Entry = Mapping[str, Any]  # of a sample, JSON: "id", "needs_look", and "rollouts", see `rolled`


# -- the rollouts ------------------------------------------------------------------------------------------------------


def noise_like(crop: Image.Image) -> Image.Image:
    """Noise with the mean and the standard deviation that a crop has in each channel (clipped to 0..255); the same for
    the same crop."""
    pixels = np.asarray(crop, dtype=np.float64)  # (H, W, 3)
    rng = np.random.default_rng(int(content_hash(crop)[:16], 16))
    drawn = rng.normal(pixels.mean((0, 1)), pixels.std((0, 1)), pixels.shape)
    return Image.fromarray(np.clip(np.round(drawn), 0, 255).astype(np.uint8))


def misread(t: Trajectory) -> bool | None:
    """Whether what the rationale read last before the answer ("It shows X.", "... = X.") is not what was answered; None
    where there is no answer, or nothing of that kind was said."""
    marks = get_arm(t.arm).marks
    said = _READ.findall(t.response_text.partition(marks.open)[0])
    return folded(said[-1]) != folded(t.answer) if said and t.answer is not None else None


def rolled(
    policy: Policy,
    items: Sequence[Any],
    numbers: Sequence[int],
    k: int = K,
    *,
    score: Callable[[Any, Trajectory], float] = lambda item, t: float(right(t)),
    **how: Any,
) -> list[dict[str, dict[str, list[Any]]]]:
    """Answers of each sort to questions: free, forced without a look, with one, and with one whose crops are noise.

    Parameters
    ----------
    items : questions with an image that the policy can be asked
    numbers : of their random streams; the free rollouts are those of `rollout(..., group=k, temperature=1)`
    k : sampled rollouts of a sort, two or more
    score : of an answer, 0 to 1
    how : of `rollout`: seed, max_looks, max_new_tokens

    Returns
    -------
    of each question by sort: "score", "looked" (took a valid look), "answered", "misread", each with 1 + k values, the
    first greedy, the others at temperature 1

    Raises
    ------
    R3labError
        If `k` is below 2: one rollout cannot tell which arm is better and what it is worth.
    """
    if k < 2:
        raise R3labError(f"the value of a look takes two sampled rollouts of each sort or more, got {shown(k)}")
    found: list[dict[str, dict[str, list[Any]]]] = []
    size = max(1, ROWS // (len(CHOSEN) * k))
    for start in range(0, len(items), size):
        part, own = items[start : start + size], numbers[start : start + size]
        store: dict[str, Features] = {}
        every: dict[str, list[list[Trajectory]]] = {sort: [[] for _ in part] for sort in (*CHOSEN, NOISE)}
        for count, temperature in ((1, 0.0), (k, 1.0)):  # greedy first
            same = {"temperature": temperature, "numbers": own, "features": store, **how}
            sorts = [sort for sort in CHOSEN for _ in range(count)]
            forced = ["" if sort == FREE else sort for sort in sorts]
            answers = rollout(policy, part, len(sorts), forced=forced, **same)
            for at, t in enumerate(answers):
                every[sorts[at % len(sorts)]][at // len(sorts)].append(t)
            for at, t in enumerate(rollout(policy, part, count, forced=LOOK, crops=noise_like, **same)):
                every[NOISE][at // count].append(t)
        found += [
            {sort: _counted(of[i], [score(item, t) for t in of[i]]) for sort, of in every.items()}
            for i, item in enumerate(part)
        ]
    return found


def _counted(trajectories: Sequence[Trajectory], scores: list[float]) -> dict[str, list[Any]]:
    return {
        "score": scores,
        "looked": [any(look.valid for look in t.looks) for t in trajectories],
        "answered": [t.answer is not None for t in trajectories],
        "misread": [misread(t) for t in trajectories],
    }


# -- the arithmetic ----------------------------------------------------------------------------------------------------


def regrets(look: np.ndarray, direct: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Look regret of samples from sampled rollouts: each pair of them is held against what all others say is better.

    Parameters
    ----------
    look, direct : (n, K) scores, K of 2 or more
    share : (n,) of looks in the free rollouts

    Returns
    -------
    (n,), -1 to 1; see the module's docstring
    """
    k = look.shape[1]
    others = [(scores.sum(1, keepdims=True) - scores) / (k - 1) for scores in (look, direct)]  # (n, K) without each
    better = np.sign(
        np.round(others[0][:, :, None] - others[1][:, None, :], 9)
    )  # (n, K, K): 1 look, -1 direct, 0 a tie
    gain = look[:, :, None] - direct[:, None, :]
    found: np.ndarray = (((better + 1) / 2 - share[:, None, None]) * gain).mean((1, 2))
    return found


def units_of(entries: Sequence[Entry], mode: str = "sampled", price: float = PRICE) -> dict[str, Units]:
    """What each measure is the mean of, by sample; those of which a measure says nothing are left out of it.

    Parameters
    ----------
    entries : of different samples
    mode : "sampled" or "greedy"
    price : of a look

    Returns
    -------
    right_free, right_direct, right_look, right_noise : scores; share of right answers in worlds
    answered_free, answered_direct, answered_look : share of rollouts with an answer
    looked_free, looked_direct, looked_look : share with a valid look
    needless : share of looks in free rollouts, of samples where V(look) - V(direct) <= 0
    missed : share of free rollouts without one, of samples where the difference is above the price
    regret : look regret; regret_most : from the same rollouts, where sampled
    only_with_looks : right with a look and wrong without; harmed : right without and wrong with one
    gain : V(look) - V(direct); gain_of_noise : the same with noise in the place of crops
    misread : share of free rollouts in which what was read last is not the answer, of those that say what was read
    """
    if not entries:
        return {}
    take = slice(0, 1) if mode == "greedy" else slice(1, None)
    counted: dict[tuple[str, str], np.ndarray] = {  # (n, K); misread with NaN for None
        (sort, what): np.array([e["rollouts"][sort][what][take] for e in entries], dtype=float)
        for sort in (*CHOSEN, NOISE)
        for what in ("score", "looked", "answered", "misread")
    }
    value = {sort: counted[sort, "score"].mean(1) for sort in (*CHOSEN, NOISE)}
    share, gain = counted[FREE, "looked"].mean(1), np.round(value[LOOK] - value[DIRECT], 9)
    best = np.maximum(value[LOOK], value[DIRECT]) - share * value[LOOK] - (1 - share) * value[DIRECT]
    sampled = {} if mode == "greedy" else {"regret_most": best}
    nothing = np.isnan(counted[FREE, "misread"])
    said, differ = (~nothing).sum(1), np.where(nothing, 0.0, counted[FREE, "misread"]).sum(1)
    columns: dict[str, np.ndarray] = {  # (n,), NaN where a measure says nothing of the sample
        **{f"right_{sort}": value[sort] for sort in (*CHOSEN, NOISE)},
        **{f"answered_{sort}": counted[sort, "answered"].mean(1) for sort in CHOSEN},
        **{f"looked_{sort}": counted[sort, "looked"].mean(1) for sort in CHOSEN},
        "needless": np.where(gain <= 0, share, np.nan),
        "missed": np.where(gain > price, 1 - share, np.nan),
        "regret": best if mode == "greedy" else regrets(counted[LOOK, "score"], counted[DIRECT, "score"], share),
        **sampled,
        "only_with_looks": value[LOOK] * (1 - value[DIRECT]),
        "harmed": value[DIRECT] * (1 - value[LOOK]),
        "gain": gain,
        "gain_of_noise": value[NOISE] - value[DIRECT],
        "misread": np.divide(differ, said, out=np.full(len(said), np.nan), where=said > 0),
    }
    names = [e["id"] for e in entries]
    if len(set(names)) < len(names):
        raise R3labError(f"a sample is valued twice: {shown(next(n for n in names if names.count(n) > 1))}")
    return {
        measure: {name: float(v) for name, v in zip(names, column, strict=True) if not np.isnan(v)}
        for measure, column in columns.items()
    }


def kept_by_noise(units: Mapping[str, Units], resamples: int = RESAMPLES, seed: int = 0) -> Interval | None:
    """The part of the gain of looks that is left when crops are noise, over samples drawn anew; None where the gain is
    not surely above 0, so that there is nothing to take a part of."""
    if not units or not units["gain"]:
        return None
    both = np.array([[units[name][key] for name in ("gain_of_noise", "gain")] for key in units["gain"]])  # (n, 2)
    means = resampled_means(both, resamples, np.random.default_rng(seed))  # (resamples, 2)
    ends = [(1 - LEVEL) / 2, (1 + LEVEL) / 2]
    if np.quantile(means[:, 1], ends[0]) <= 0:
        return None
    means = means[means[:, 1] > 0]  # all but a few
    low, high = np.quantile(means[:, 0] / means[:, 1], ends)
    left, whole = both.mean(0)
    return Interval(float(left / whole), float(low), float(high), len(both))


def summary(entries: Sequence[Entry], price: float = PRICE) -> dict[str, Any]:
    """The measures of `units_of`, and `kept_by_noise`, with intervals over samples (percentile bootstrap).

    Returns
    -------
    "n", "k" (sampled rollouts of a sort), "price", and for "all", "small print" and "large print" (by the world's
    label) and for "sampled" and "greedy" each measure: value, low, high, n, level; None where nothing is averaged
    """
    k = len(entries[0]["rollouts"][FREE]["score"]) - 1 if entries else 0
    found: dict[str, Any] = {"n": len(entries), "k": k, "price": price}
    for part, belongs in PARTS.items():
        own = [e for e in entries if belongs(e)]
        found[part] = {}
        for mode in MODES:
            units = units_of(own, mode, price)
            intervals = {name: interval(Measure(name, (of,))) for name, of in units.items()}
            intervals |= {"kept_by_noise": kept_by_noise(units)} if units else {}
            found[part][mode] = {name: one and asdict(one) for name, one in intervals.items()}
    return found


def disobeyed(found: Mapping[str, Any]) -> str:
    """Where a policy does not do what it is forced to, in words; "" where it does.

    Parameters
    ----------
    found : a `summary`; of its sampled rollouts the shares that answer, look (forced to) and do not (forced directly)
    """
    if not found["n"]:
        return ""
    share = {name: (one or {"value": 1.0})["value"] for name, one in found["all"]["sampled"].items()}
    wanted = {
        "answers when forced directly": share["answered_direct"],
        "answers when forced to look": share["answered_look"],
        "takes no look when forced directly": 1 - share["looked_direct"],
        "looks when forced to": share["looked_look"],
    }
    return ", ".join(f"{what} in {100 * value:.1f} %" for what, value in wanted.items() if value < OBEYED)


def value_of_looks(
    policy: Policy, samples: Sequence[Sample], k: int = K, price: float = PRICE, **how: Any
) -> dict[str, dict[str, Any]]:
    """What looks are worth to a policy: a `summary` of each world, and of "all" samples.

    Parameters
    ----------
    samples : of one world or several
    k : sampled rollouts of each sort (free, without a look, with one, with noise), beside a greedy one
    price : of a look, above which one that was not taken is missed
    how : of `rollout`: seed, max_looks, max_new_tokens

    Examples
    --------
    >>> found = value_of_looks(policy, samples[:2], k=2, max_new_tokens=24)
    >>> found["all"]["n"], 0 <= found["all"]["all"]["greedy"]["right_direct"]["value"] <= 1
    (2, True)
    """
    counted = rolled(policy, samples, range(len(samples)), k, **how)
    entries = [
        {"id": s.id, "world": s.world, "needs_look": s.needs_look, "rollouts": of}
        for s, of in zip(samples, counted, strict=True)
    ]
    worlds = dict.fromkeys(s.world for s in samples)
    found = {world: summary([e for e in entries if e["world"] == world], price) for world in worlds}
    return {**found, "all": summary(entries, price)}
