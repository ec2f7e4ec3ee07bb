"""The thresholds of the filters, and the reasons for which they reject.

Limits(max_iou=0.5)                  # the others as they are; a value that cannot be one is an error
Reason("redundancy", "regions overlap", 0.83, 0.7, "looks 1, 2").record()
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from ...errors import R3labError, shown


def _limit(default: float, about: str, share: bool = False) -> Any:
    return field(default=default, metadata={"help": about, "share": share})


@dataclass(frozen=True)
class Limits:
    """The thresholds of all filters; `r3lab vlir filter --help` lists them. A share is a number from 0 to 1."""

    max_looks: int = _limit(8, "looks of a rationale, at most")
    max_characters: int = _limit(20_000, "characters of a rationale, at most")
    min_side: float = _limit(8.0, "source pixels of a region's shorter side, at least")
    max_share: float = _limit(0.8, "share of the image that a region covers, at most", True)
    min_detail: float = _limit(0.005, "share of a region's neighbouring pixels with an edge between, at least", True)
    min_coverage: float = _limit(0.5, "share of a true region that a look shows, at least", True)
    min_spelled: float = _limit(0.5, "share of the answer's words said after the last look, at least", True)
    max_iou: float = _limit(0.7, "overlap of two regions (intersection over union), at most", True)
    max_repeated: float = _limit(0.5, "share of phrases of six words that were said before, at most", True)
    min_score: float = _limit(0.5, "of a judge from 0 (no) to 1 (yes), at least", True)
    blind: int = _limit(4, "answers without a look that the judge of necessity gives")
    max_blind: float = _limit(0.5, "share of those that may be right, at most", True)

    def __post_init__(self) -> None:
        for one in fields(self):
            value, most = getattr(self, one.name), 1.0 if one.metadata["share"] else math.inf
            least = 1 if one.name == "blind" else 0
            if not (math.isfinite(value) and least <= value <= most):
                wanted = "from 0 to 1" if one.metadata["share"] else f"of at least {least}"
                raise R3labError(f"{one.name} must be a number {wanted}, got {shown(value)}.")


@dataclass(frozen=True)
class Reason:
    """Why a sample is rejected.

    Attributes
    ----------
    filter, name : which filter, and what it found, in words of our own
    value, threshold : what was measured, and the limit that it misses; None where there is none
    detail : where; may repeat a little of the sample's own text, made harmless
    """

    filter: str
    name: str
    value: float | int | None = None
    threshold: float | int | None = None
    detail: str = ""

    def record(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)
