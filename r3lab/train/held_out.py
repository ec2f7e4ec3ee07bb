"""The same held-out samples, asked again and again while a policy is trained: what the region river is drawn from.

With `--show-every N` a run keeps, beside rollouts of its own samples, where the policy looks at six samples of the
world's validation split: before training and every N steps, greedily, in `OUT/river`. Simplified: samples from a folder
(`--data`) have no held-out part, so such a run keeps none.

    follow = follower(policy, settings, processes, start=0)
    follow(0)                                        # every step; it acts on those that are due
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ..arms import get_arm
from ..models.policy import Policy
from ..rollout import rollout
from ..vlir.sample import Sample
from ..vlir.worlds import get_world
from .processes import Processes
from .rgrpo_settings import RgrpoSettings
from .river_files import RiverLog

COUNT, SPLIT, FOLDER = 6, "validation", "river"


def held_out(settings: RgrpoSettings) -> list[Sample]:
    """The samples that a run with these settings is followed on; none if it is not, or learns from a folder."""
    if settings.data or not settings.show_every:
        return []
    world = get_world(settings.world)
    return [world.sample(SPLIT, index, settings.seed) for index in range(COUNT)]


def follower(policy: Policy, settings: RgrpoSettings, processes: Processes, start: int = 0) -> Callable[[int], None]:
    """What is to be called before training and after each step.

    Parameters
    ----------
    policy : it is asked greedily; nothing random is drawn, so a run that is followed does what it would have done
    processes : the main one asks and writes; where the weights lie in parts (`shard`) all of them ask
    start : step from which the run goes on; what an earlier part wrote beyond it is dropped
    """
    samples = held_out(settings)
    log = RiverLog(Path(settings.out) / FOLDER, start) if samples and processes.main else None

    def follow(step: int) -> None:
        if not samples or step % settings.show_every or not (processes.main or settings.shard):
            return
        most, arm = settings.max_new_tokens, get_arm(settings.arm)
        answers = rollout(policy, samples, temperature=0, max_looks=settings.max_looks, max_new_tokens=most, arm=arm)
        if log is not None:
            log(step, answers)

    return follow
