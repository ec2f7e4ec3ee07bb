"""The loop that looks again: a prompt as tokens, one row's state, the batched engine, and rollouts that go on."""

from __future__ import annotations

from ..core import lazy

# What lessons use, and the plain path, imported when it is first used.
HOMES = {"row_of": "sequence", "plain_rollout": "plain", "plain_resume": "plain"}

__getattr__, __dir__ = lazy(__name__, HOMES)
