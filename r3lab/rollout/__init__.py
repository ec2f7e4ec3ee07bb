"""The loop that looks again: a prompt as tokens, one row's state, the batched engine, and rollouts that go on."""

from __future__ import annotations

from ..core import lazy

HOMES = {"row_of": "sequence"}  # what lessons use, imported when it is first used

__getattr__, __dir__ = lazy(__name__, HOMES)
