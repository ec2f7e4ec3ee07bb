"""Checkpoints as policies: the families as rows of a table, the tiny policy, the cache and the decoder of the loop."""

from __future__ import annotations

from ..core import lazy

# What lessons use, and the plain path, imported when it is first used.
HOMES = {
    **dict.fromkeys(("FILES", "KNOWN", "checkpoint_folder", "config_of", "known_config", "sizes_of"), "checkpoint"),
    "FAMILIES": "families",
    "PlainPolicy": "plain",
    **dict.fromkeys(("Row", "save_policy"), "policy"),
    **dict.fromkeys(("COORDINATE_STEP", "miniature"), "tiny"),
}

__getattr__, __dir__ = lazy(__name__, HOMES)
