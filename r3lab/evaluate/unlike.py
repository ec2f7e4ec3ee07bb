"""Whether a question, or a picture, is unlike all that a policy was trained on: a flag that is measured.

Two signs. Words of the question that no training question has. And how sure the policy is of what it writes: the mean
log-probability of its tokens, greedy; where what was asked for is not in the picture, it writes on as if it were, but
less surely. How many new words and how little sureness go too far is set on validation samples, so that at most one in
a hundred is flagged, and measured on others. The limits stand beside the weights they were measured with:

    python -m r3lab.evaluate.unlike assets/worlds/rgrpo       # writes known.json there; a minute or two
    known_of(policy).unlike(policy, trajectory)               # "", or why the answer is to be taken with care

Simplified: the words are those of the worlds, not of what a base has read; sureness is that of the whole answer, so
that a picture that misleads the policy into being sure is not noticed.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from ..core.files import write_whole
from ..core.records import reader
from ..core.stats import mean_interval
from ..models.checkpoint import object_in
from ..models.policy import Policy
from ..rollout.loop import rollout
from ..trajectory import Kind, Trajectory
from ..vlir.worlds import WORLDS, get_world

FILE = "known.json"
SHARE = 0.008  # of the validation samples of the worlds that may be flagged, both signs together
TRAINING, VALIDATION, HELD_OUT, APART = 1000, 300, 250, 100_000  # samples a world; where the held-out ones begin
NEW_TOKENS = 224


@dataclass(frozen=True)
class Known:
    """What a policy was trained on, as far as a question and an answer tell.

    Attributes
    ----------
    words : pieces of all training questions
    most_new : tokens of a question that may be new
    least_sure : mean log-probability of the greedy tokens of an answer, at least
    flagged, low, high, n : share of n held-out samples of the worlds that is flagged, with its 95 % interval
    """

    words: list[str]
    most_new: int
    least_sure: float
    flagged: float
    low: float
    high: float
    n: int

    def unlike(self, policy: Policy, t: Trajectory) -> str:
        """Why an answer is to be taken with care, in words; "" where nothing says so. How sure the policy is counts
        only where it answered greedily."""
        said, new = [], new_in(policy, t.question, set(self.words))
        if len(new) > self.most_new:
            said.append(f"the question has words that no training question has ({_words(t.question, new)})")
        if t.temperature == 0 and sureness(t) < self.least_sure:
            said.append("the policy is less sure of what it writes than in 99 of 100 samples of its worlds")
        return " and ".join(said)


def new_in(policy: Policy, question: str, known: set[str]) -> list[str]:
    """The pieces of a question that are not among the known ones."""
    return [piece for piece in map(policy.piece, policy.ids(question)) if piece not in known]


def _words(question: str, new: Sequence[str]) -> str:
    """The words of a question that hold the new pieces, three at most."""
    found = [word for word in question.split() if any(piece.strip() and piece.strip() in word for piece in new)]
    return ", ".join(word.strip("?.,!\"'")[:20] for word in found[:3]) or "other signs"


def sureness(t: Trajectory) -> float:
    """Mean log-probability of the sampled tokens of a trajectory, nats; 0 where there are none."""
    own = [p for p, kind in zip(t.logprobs, t.kinds, strict=True) if kind == Kind.SAMPLED and p is not None]
    return fmean(own) if own else 0.0


def known_of(policy: Policy) -> Known | None:
    """What stands in `FILE` beside a policy's weights; None where there is none.

    Raises
    ------
    R3labError
        If the file is not one of these.
    """
    path = policy.folder / FILE if policy.folder else None
    if path is None or not path.is_file():
        return None
    found: Known = reader(Known)(object_in(path), str(path))
    return found


def measured(policy: Policy, worlds: Sequence[str] = tuple(WORLDS)) -> Known:
    """Set the limits on validation samples, and measure how many of other ones are flagged."""
    every = {name: get_world(name) for name in worlds}
    words = sorted(
        {
            policy.piece(token)
            for world in every.values()
            for i in range(TRAINING)
            for token in policy.ids(world.sample("train", i).question)
        }
    )

    def asked(first: int, count: int) -> list[Trajectory]:
        how: dict[str, Any] = {"temperature": 0.0, "max_new_tokens": NEW_TOKENS, "progress": True}
        parts = ([world.sample("validation", first + i) for i in range(count)] for world in every.values())
        return [t for samples in parts for t in rollout(policy, samples, **how)]  # a world at a time: less memory

    found, known = asked(0, VALIDATION), set(words)
    new = [len(new_in(policy, t.question, known)) for t in found]
    most_new = int(np.quantile(new, 1 - SHARE / 2, method="higher"))
    least_sure = float(np.quantile([sureness(t) for t in found], SHARE / 2))
    limits = Known(words, most_new, least_sure, 0.0, 0.0, 1.0, 0)
    flagged = [float(bool(limits.unlike(policy, t))) for t in asked(APART, HELD_OUT)]
    share = mean_interval(flagged)
    return Known(words, most_new, round(least_sure, 4), round(share.value, 4), share.low, share.high, share.n)


def write_known(folder: Path) -> Known:
    """Measure the policy of a folder, and keep what was found beside its weights."""
    known = measured(Policy.load(folder))
    write_whole(folder / FILE, (json.dumps(asdict(known), indent=1) + "\n").encode())
    return known


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m r3lab.evaluate.unlike", description="Measure what is unlike.")
    parser.add_argument("folder", type=Path, help="of a policy of the worlds")
    given: Any = parser.parse_args(arguments)
    known = write_known(given.folder)
    print(f"{given.folder / FILE}: {len(known.words)} pieces of questions, at most {known.most_new} new ones, mean ")
    print(f"log-probability at least {known.least_sure}; {100 * known.flagged:.1f} % of {known.n} others are flagged")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
