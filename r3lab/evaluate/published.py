"""Numbers that others published, to stand beside measured ones and never among them (published.json).

[row] = published("vstar")
row.model, row.value, row.kind              # "VLM-R3", 0.8429..., "published"
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any


@dataclass(frozen=True)
class Published:
    """One published number.

    Attributes
    ----------
    benchmark : name in the registry
    model : as the source calls it
    value : 0 to 1
    source : where it stands
    right, of : the counts, where the source gives them
    kind : always "published"; measured numbers have no such class
    """

    benchmark: str
    model: str
    value: float
    source: str
    right: int | None = None
    of: int | None = None
    kind: str = "published"


@dataclass(frozen=True)
class PublishedEffect:
    """What leaving a part out did, as published.

    Attributes
    ----------
    without : the part
    benchmark : name in the registry
    points : per cent of answers, less than with the part if negative
    source : where it stands
    """

    without: str
    benchmark: str
    points: float
    source: str


@dataclass(frozen=True)
class PublishedGrounding:
    """Answers at a simulated grounding accuracy, as published; both 0 to 1."""

    grounding: float
    benchmark: str
    value: float
    source: str


@cache
def _table() -> dict[str, Any]:
    table: dict[str, Any] = json.loads(files(__package__).joinpath("published.json").read_text(encoding="utf-8"))
    return table


@cache
def _all() -> tuple[Published, ...]:
    table = _table()
    return tuple(
        Published(
            row["benchmark"],
            row["model"],
            row["right"] / row["of"] if "of" in row else row["percent"] / 100,
            row["source"],
            row.get("right"),
            row.get("of"),
        )
        for row in table["rows"]
    )


def published(benchmark: str | None = None) -> tuple[Published, ...]:
    """The published numbers of a benchmark, or all of them; empty where none is known."""
    return tuple(row for row in _all() if benchmark in (None, row.benchmark))


def published_effects() -> tuple[PublishedEffect, ...]:
    """The ablations of the paper that are known."""
    return tuple(PublishedEffect(**row) for row in _table()["effects"])


def published_grounding() -> tuple[PublishedGrounding, ...]:
    """The ends of the paper's figure 4 that are known, by grounding accuracy."""
    rows = _table()["grounding"]
    return tuple(
        PublishedGrounding(row["grounding"], row["benchmark"], row["percent"] / 100, row["source"]) for row in rows
    )
