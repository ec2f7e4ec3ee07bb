"""Training: R-GRPO (`rgrpo` shows a step from top to bottom), objective and rewards, and the supervised cold start."""

from __future__ import annotations

from ..core import lazy

# What lessons use, imported when it is first used.
HOMES = {
    **dict.fromkeys(("estimates", "rollout_gradients", "token_logprobs", "token_weights"), "estimators"),
    "read_log": "log",
    **dict.fromkeys(("SAFE", "footprint_of", "readable", "room"), "devices"),
    **dict.fromkeys(("advantages", "policy_loss"), "objective"),
    **dict.fromkeys(("PRESETS", "accuracy", "deciding_iou", "score", "true_region", "well_formed"), "rewards"),
    **dict.fromkeys(("RULES", "curiosity", "look_price", "region_checked"), "when"),
    **dict.fromkeys(("reward_groups", "train_rgrpo"), "rgrpo"),
    **dict.fromkeys(("AGGREGATIONS", "OBJECTIVES", "Objective"), "presets"),
    **dict.fromkeys(("SftSettings", "UpdateSettings"), "settings"),
    **dict.fromkeys(("cold_start", "encode_batch", "epochs", "next_token_loss", "taught"), "sft"),
    "packed_logprobs": "update",
    "river_of": "river",
}

__getattr__, __dir__ = lazy(__name__, HOMES)
