"""What is compared: the whole method, and what is left of it when a part is taken away.

VARIANTS["without R-GRPO"]
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import R3labError, nearest

FULL = "full"


@dataclass(frozen=True)
class Variant:
    """One line of the table.

    Attributes
    ----------
    name, about : of the line
    arm : in which it is taught and rolled out
    cold : whether it begins with the VLIR cold start; else R-GRPO makes as many updates more
    push : whether R-GRPO follows; else the cold start makes as many updates more
    changes : settings of R-GRPO that differ
    """

    name: str
    about: str
    arm: str = "interleaved"
    cold: bool = True
    push: bool = True
    changes: Mapping[str, Any] = field(default_factory=dict)


def _reward(part: str, about: str) -> Variant:
    return Variant(f"without {part} reward", about, changes={"reward": f"grounded without {part}"})


def _group(size: int, rollouts: int = 96) -> Variant:
    changes = {"group": size, "prompts": rollouts // size}
    return Variant(f"group of {size}", f"{size} rollouts of each of {rollouts // size} questions", changes=changes)


_TABLE = (
    Variant(FULL, "VLIR cold start, then R-GRPO, crops woven in"),
    Variant("without interleaving", "boxes are written, and bring nothing", arm="boxes-as-text"),
    Variant("full image again", "a box brings the overview again, not a crop", arm="full-image-again"),
    Variant("without VLIR cold start", "R-GRPO from the base", cold=False),
    Variant("without R-GRPO", "the cold start goes on instead", push=False),
    _reward("accuracy", "form, region and look cost alone"),
    _reward("format", "nothing for a well-formed answer"),
    _reward("region", "nothing for where it looks"),
    _reward("look cost", "needless looks are free"),
    _group(4),
    _group(16),
    Variant("vision tower trained", "R-GRPO changes all weights", changes={"freeze_vision": False}),
)
VARIANTS: dict[str, Variant] = {variant.name: variant for variant in _TABLE}


def get_variant(name: str) -> Variant:
    """A variant by name.

    Raises
    ------
    R3labError
        If there is none; the nearest is named.
    """
    if name not in VARIANTS:
        raise R3labError(f"unknown variant {name!r}; known: {', '.join(VARIANTS)}.{nearest(name, VARIANTS)}")
    return VARIANTS[name]
