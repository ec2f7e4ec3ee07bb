"""The table of an evaluation, as data: each measure with its interval, paired differences of arms, published numbers.

    table = table_of(sources, arms, collect(journal, answers))
    table.lines[0].interval                     # Interval(value=0.86, low=0.82, high=0.89, n=500, level=0.95)
    json.dumps(table.record())
    published("vstar")[0].value                 # 0.8429...: what others published, to stand beside measured numbers

Simplified: the differences are those of the first arm to each of the others, over the same units; where two arms have
no units in common (the IoU of looks that one of them did not take), there is none.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from ..core.stats import LEVEL, Interval
from .grades import Measure, difference, interval
from .run import GRADED, SKIPPED, Entry, Source


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
def _published() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(files(__package__).joinpath("published.json").read_text(encoding="utf-8"))
    return found


def published(benchmark: str | None = None) -> tuple[Published, ...]:
    """The published numbers of a benchmark, or all of them; empty where none is known."""
    found = []
    for row in _published()["rows"]:
        if benchmark in (None, row["benchmark"]):
            value = row["right"] / row["of"] if "of" in row else row["percent"] / 100
            right, of = row.get("right"), row.get("of")
            found.append(Published(row["benchmark"], row["model"], value, row["source"], right, of))
    return tuple(found)


def published_effects() -> tuple[PublishedEffect, ...]:
    """The ablations of the paper that are known."""
    return tuple(PublishedEffect(**row) for row in _published()["effects"])


def published_grounding() -> tuple[PublishedGrounding, ...]:
    """The ends of the paper's figure 4 that are known, by grounding accuracy."""
    rows = _published()["grounding"]
    return tuple(
        PublishedGrounding(row["grounding"], row["benchmark"], row["percent"] / 100, row["source"]) for row in rows
    )


@dataclass(frozen=True)
class ScoreRow:
    """A measure of an arm on a source.

    Attributes
    ----------
    interval : None where the value is not known (a stratum has no answer)
    looks : valid looks a graded answer; None if there is none
    left_out : records that could not be read, and questions that could not be asked
    """

    source: str
    arm: str
    measure: str
    interval: Interval | None
    looks: float | None
    left_out: int


@dataclass(frozen=True)
class Difference:
    """First arm minus second, of one measure over the same units."""

    source: str
    first: str
    second: str
    measure: str
    interval: Interval


@dataclass(frozen=True)
class EvaluationTable:
    """All numbers of an evaluation, and what a reader of them must know."""

    lines: tuple[ScoreRow, ...]
    differences: tuple[Difference, ...]
    published: tuple[Published, ...]
    remarks: tuple[str, ...]

    def record(self) -> dict[str, Any]:
        """The table as JSON: `rows`, `differences`, `published`, `remarks`."""
        return {
            "rows": [_flat(asdict(line)) for line in self.lines],
            "differences": [_flat(asdict(one)) for one in self.differences],
            "published": [asdict(one) for one in self.published],
            "remarks": list(self.remarks),
        }


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    """A row with its interval's fields beside the others."""
    found = row.pop("interval") or {"value": None, "low": None, "high": None, "n": 0, "level": LEVEL}
    return {**row, **found}


def table_of(
    sources: Sequence[Source],
    arms: Sequence[str],
    found: Mapping[tuple[str, str], Sequence[Entry]],
    remarks: Sequence[str] = (),
) -> EvaluationTable:
    """The numbers of what was answered.

    Parameters
    ----------
    sources
        After they were read, in the order of the table.
    arms
        Names; the first is the one that the others are compared with.
    found
        Entries by source and arm (`run.collect`).
    remarks
        What else a reader must know; the sources' own follow.
    """
    lines: list[ScoreRow] = []
    differences: list[Difference] = []
    said = list(remarks)
    for source in sources:
        measured = {}
        for arm in arms:
            entries = found.get((source.name, arm), [])
            graded = [e for e in entries if e["outcome"] == GRADED]
            left_out = source.left_out + len(entries) - len(graded)
            looks = sum(e["valid"] for e in graded) / len(graded) if graded else None
            measured[arm] = source.measures(graded)
            lines += [ScoreRow(source.name, arm, m.name, interval(m), looks, left_out) for m in measured[arm]]
        for second in arms[1:]:
            pairs = _pairs(measured[arms[0]], measured[second])
            differences += [
                Difference(source.name, arms[0], second, m.name, delta)
                for m in pairs
                if (delta := interval(m)) is not None
            ]
        said += source.remarks
        said += _left_out(source, found.get((source.name, arms[0]), []))
    theirs = tuple(row for source in sources for row in published(source.name))
    return EvaluationTable(tuple(lines), tuple(differences), theirs, tuple(said))


def _pairs(first: Sequence[Measure], second: Sequence[Measure]) -> list[Measure]:
    """Differences of the measures that both have over the same units."""
    others = {m.name: m for m in second}
    found = []
    for m in first:
        other = others.get(m.name)
        if other is not None and [s.keys() for s in m.strata] == [s.keys() for s in other.strata]:
            found.append(difference(m, other))
    return found


def _left_out(source: Source, entries: Sequence[Entry]) -> list[str]:
    """Why questions of a source do not count; the same for every arm."""
    why = Counter(e["reason"] for e in entries if e["outcome"] == SKIPPED)
    said = [f"{count:,} {reason}" for reason, count in why.most_common()]
    said += [f"{source.left_out:,} cannot be read"] if source.left_out else []
    return [f"{source.title}: questions left out: {', '.join(said)}."] if said else []
