"""What a policy can read of a world: behind the true regions' crops, and with the overview alone.

    legibility(policy, [world.sample("test", i) for i in range(200)])   # {"legible": 0.97, "overview_alone": 0.08, ...}

Both are of the samples that need a look. For the first, a record is written that looked where it should, in the words
of the world's own rationale, its crops cut by the loop; the policy goes on behind the last crop. For the second, every
look is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from ..explain.replay import after_look
from ..models.policy import Policy
from ..rollout import resume, rollout
from ..train.rewards import right
from ..train.taught import taught
from ..trajectory import Trajectory
from ..vlir.sample import Sample
from ..vlir.worlds import get_world


def shown_the_truth(policy: Policy, sample: Sample) -> Trajectory:
    """A record that has looked at all true regions and has said nothing about the last one yet.

    Raises
    ------
    R3labError
        If the sample's rationale does not look.
    """
    record = taught(policy, sample, get_world(sample.world).rationale(sample))
    return record.until(after_look(record, len(record.looks) - 1))


def legibility(policy: Policy, samples: Sequence[Sample], new_tokens: int = 224) -> dict[str, float | int | None]:
    """Share of right answers behind the true crops (`legible`) and without any (`overview_alone`), of `n_needed`.

    Parameters
    ----------
    samples : of one world or several; those that need no look are left out
    new_tokens : that a rollout may sample, with what the record holds already
    """
    asked = [s for s in samples if s.needs_look]
    if not asked:
        return {"legible": None, "overview_alone": None, "n_needed": 0}
    begun = [shown_the_truth(policy, s) for s in asked]
    looks = max(len(t.looks) for t in begun)
    read = resume(policy, begun, max_looks=looks, max_new_tokens=new_tokens)
    alone = rollout(policy, asked, temperature=0.0, max_looks=0, max_new_tokens=new_tokens)
    return {
        "legible": round(fmean(right(t) for t in read), 4),
        "overview_alone": round(fmean(right(t) for t in alone), 4),
        "n_needed": len(asked),
    }
