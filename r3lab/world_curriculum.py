"""The base of four worlds: the base of badges, given the words of the other worlds and taught in all of them.

folder = make_world_base(Path("runs/worlds"), base=Path("runs/tiny/grounding-4"))
"""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import torch

from .curriculum import BASE, PROGRESS, run_stage
from .models import tiny
from .models.policy import Policy
from .train.base import badge_lessons
from .train.facts import words
from .train.lessons import vocabulary
from .train.world_lessons import WorldHeads, WorldLessons, WorldStage

CROP_TOKENS = (24, 36)  # of a crop: a character of small print is then about as wide as a token
SHARES = (("badges", 0.1), ("documents", 0.33), ("charts", 0.31), ("trails", 0.26))
LATER = (("badges", 0.08), ("documents", 0.22), ("charts", 0.38), ("trails", 0.32))
LAST = (("badges", 0.08), ("documents", 0.22), ("charts", 0.45), ("trails", 0.25))
END = (("badges", 0.1), ("documents", 0.22), ("charts", 0.35), ("trails", 0.33))
SIGNS = (("badges", 0.14), ("documents", 0.2), ("charts", 0.3), ("trails", 0.36))
EVERY = (("documents", 0.6), ("charts", 0.6), ("trails", 0.6))
FEWER = (("documents", 0.2), ("charts", 0.2), ("trails", 0.6))  # where an arrow leads is not seen in its crop alone
_LIKE = asdict(replace(BASE[-1], learning_rate=8e-4)) | {"shares": SHARES, "crops": EVERY}  # what stages have in common
_BOTH = {"batch": 20, "head_weight": 0.04, "windows": 1, "crops": FEWER, "readings": 2, "sums": 2}
_WHOLE = {"wholes": True, "matches": 2, "glances": 2, "shares": LATER}
_SHORT = _LIKE | _BOTH | _WHOLE | {"learning_rate": 6e-4}
# First scenes, with the heads of badges learning on. Then also crops alone, since reading takes the most examples; with
# the heads at a tenth of their weight the text gets through to the vision tower. The labels of papers, six pixels high
# in the overview, are learned by that tower alone, several hundred a step; then both go on together, for long: large
# print in the overview and the letters of labels come latest. Last a question of each scene is answered in full, since
# no statement tells what comes after the first look, with more charts and trails, where that matters; then with still
# more charts and searches of legends, which that left at half, and a while with more trails again.
STAGES: tuple[WorldStage, ...] = (
    WorldStage(**_LIKE | {"name": "worlds-1", "steps": 2000, "head_weight": 0.3, "seed": 7, "windows": 2}),
    WorldStage(**_LIKE | _BOTH | {"name": "worlds-2", "steps": 1100, "final_fraction": 0.7, "seed": 8}),
    WorldStage(
        **_LIKE
        | {"name": "labels", "steps": 1300, "batch": 48, "text": False, "head_weight": 1.0, "seed": 9, "windows": 0}
        | {"readings": 1, "shares": (("documents", 0.8), ("charts", 0.1), ("trails", 0.07), ("badges", 0.03))}
    ),
    WorldStage(**_LIKE | _BOTH | {"name": "worlds-3", "steps": 1300, "seed": 10}),
    WorldStage(**_LIKE | _BOTH | {"name": "worlds-4", "steps": 500, "learning_rate": 6e-4, "seed": 11}),
    WorldStage(**_LIKE | _BOTH | {"name": "worlds-5", "steps": 4400, "seed": 12}),
    WorldStage(**_LIKE | _BOTH | _WHOLE | {"name": "worlds-6", "steps": 3000, "seed": 13}),
    WorldStage(**_LIKE | _BOTH | _WHOLE | {"name": "worlds-7", "steps": 900, "seed": 14, "matches": 6, "shares": LAST}),
    WorldStage(**_SHORT | {"name": "worlds-8", "steps": 700, "seed": 15, "shares": END}),
    WorldStage(**_SHORT | {"name": "worlds-9", "steps": 350, "seed": 16, "shares": SIGNS}),
    WorldStage(**_SHORT | {"name": "worlds-10", "steps": 1300, "seed": 17, "shares": END}),
)


def make_world_base(work: Path, base: Path, seed: int = 0, stages: tuple[WorldStage, ...] = STAGES) -> Path:
    """Run the stages that are not done yet; returns the folder of the last.

    Parameters
    ----------
    work : folder for the stages
    base : a policy of badges: the shipped cold start, or the last stage of `curriculum.make_base`, whose heads learn on
    seed : added to each stage's own
    """
    policy = tiny.widened(Policy.load(base), [*vocabulary(), *words()], CROP_TOKENS)
    torch.manual_seed(seed)
    heads = WorldHeads(policy.model.config.text_config.hidden_size)
    if (base / PROGRESS).is_file():  # a shipped policy has no heads: they are linear, and soon learned anew
        heads.load_state_dict(torch.load(base / PROGRESS, weights_only=True)["heads"], strict=False)
    for stage in stages:
        own = replace(stage, seed=stage.seed + seed)

        def lessons(policy: Policy, start: int, stage: WorldStage = own) -> WorldLessons:
            return WorldLessons(policy, stage, badge_lessons(policy, stage), start)

        policy = run_stage(policy, heads, own, work, lessons)
    return work / stages[-1].name
