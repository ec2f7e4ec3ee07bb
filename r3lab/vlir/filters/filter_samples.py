"""A whole set of samples through the filters: what is kept, what is rejected and why, and a report.

    for outcome in sift(pairs, judges=policy_judges(policy)):     # in order; judges are asked about many together
        print(outcome.sample.id, outcome.reasons)
    print(sift_folder("vlir/raw", "vlir/kept"))                   # folder to folder; the report is a table

Simplified: a rejected sample keeps its name, its place and its reasons; its picture and text stay where they are.
"""

from __future__ import annotations

import json
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ...core.errors import shown
from ...core.files import whole_folder
from ..convert import Reading, read
from ..sample import LINES, Rationale, Sample, SampleError, write_vlir
from .rules import Judge, Limits, Reason
from .table import Pair, check_names, judged

BATCH = 32  # samples whose pictures are held at once
EXAMPLES = 3  # of each reason
REJECTED = "rejected.jsonl"


@dataclass(frozen=True)
class Outcome:
    """What became of one sample.

    Attributes
    ----------
    sample, rationale : None where the line could not be read
    reasons : empty if it is kept
    where : file and line, where it was read from one
    """

    sample: Sample | None
    rationale: Rationale | None
    reasons: tuple[Reason, ...] = ()
    where: str = ""

    def record(self) -> dict[str, Any]:
        """What is kept of a rejected sample, as JSON."""
        name = None if self.sample is None else self.sample.id
        return {"id": name, "where": self.where, "reasons": [reason.record() for reason in self.reasons]}


def sift(
    pairs: Iterable[Pair],
    limits: Limits | None = None,
    judges: Mapping[str, Judge] | None = None,
    names: Collection[str] | None = None,
    batch: int = BATCH,
) -> Iterator[Outcome]:
    """The outcome of each sample, in order; parameters as in `table.judged`, `batch` samples at a time."""
    check_names([*(judges or ()), *(names or ())])
    source = iter(pairs)
    while some := list(islice(source, batch)):
        for (sample, rationale), found in zip(some, judged(some, limits, judges, names), strict=True):
            yield Outcome(sample, rationale, tuple(found))


@dataclass
class FilterReport:
    """How many samples were kept, and for which reasons the others were not.

    Attributes
    ----------
    kept, rejected : samples
    counts : samples by (filter, reason); one with two reasons counts in both
    examples : the first of each, as text for a terminal
    """

    kept: int = 0
    rejected: int = 0
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    examples: dict[tuple[str, str], list[str]] = field(default_factory=dict)

    def add(self, outcome: Outcome) -> None:
        """Count one more."""
        if not outcome.reasons:
            self.kept += 1
            return
        self.rejected += 1
        told: set[tuple[str, str]] = set()
        for reason in outcome.reasons:
            key = (reason.filter, reason.name)
            if key in told:
                continue
            told.add(key)
            self.counts[key] += 1
            examples = self.examples.setdefault(key, [])
            if len(examples) < EXAMPLES:
                examples.append(_example(outcome, reason))

    @property
    def total(self) -> int:
        """Samples seen."""
        return self.kept + self.rejected

    def __str__(self) -> str:
        lines = [f"{self.kept:,} of {self.total:,} samples kept, {self.rejected:,} rejected"]
        rows = [
            (key[0], key[1], f"{count:,}", f"{count / self.total:.1%}", self.examples[key])
            for key, count in self.counts.most_common()
        ]
        if rows:
            heads = ("filter", "reason", "samples", "share")
            wide = [max(len(head), *(len(row[i]) for row in rows)) for i, head in enumerate(heads)]  # type: ignore[arg-type]
            for row in ((*heads, ["for example"]), *rows):
                a, b, c, d = (str(cell) for cell in row[:4])
                cells = f"{a:<{wide[0]}}  {b:<{wide[1]}}  {c:>{wide[2]}}  {d:>{wide[3]}}  "
                lines += [f"{cells if i == 0 else ' ' * len(cells)}{example}" for i, example in enumerate(row[4])]
            lines.append("A sample with several reasons counts in each.")
        return "\n".join(lines)


def _example(outcome: Outcome, reason: Reason) -> str:
    name = outcome.where if outcome.sample is None else shown(outcome.sample.id, 40)
    limit = "" if reason.threshold is None else f" (limit {reason.threshold:g})"
    value = "" if reason.value is None else f" {reason.value:g}{limit}"
    return f"{name}{value}{': ' if reason.detail else ''}{_plain(reason.detail)}"


def _plain(text: str, limit: int = 100) -> str:
    return "".join(c if c.isprintable() else "?" for c in text[:limit]) + "..." * (len(text) > limit)


def open_folder(folder: str | Path, strict: bool = False, on_skip: Callable[[str], None] | None = None) -> Reading:
    """The records of a VLIR folder, read one at a time in bounded memory, whoever wrote them.

    Parameters
    ----------
    folder
        Holds `vlir.jsonl` and `images/`.
    strict
        A line that cannot be read ends it; else it is left out.
    on_skip
        Called with one line, place and reason, about each that is left out.

    Raises
    ------
    R3labError
        If there is no `vlir.jsonl`.
    """
    path = Path(folder) / LINES
    if not path.is_file():
        name = shown(str(folder))
        raise SampleError(f"{name} has no {LINES}; make one with `r3lab vlir build` or `r3lab vlir convert --to vlir`.")
    return read(path, "vlir", strict=strict, on_skip=on_skip)


def sift_folder(
    source: str | Path,
    folder: str | Path,
    limits: Limits | None = None,
    judges: Mapping[str, Judge] | None = None,
    names: Collection[str] | None = None,
    strict: bool = False,
    progress: bool = False,
) -> FilterReport:
    """Sift a VLIR folder into a new one, which appears whole or not at all.

    Parameters
    ----------
    source
        Has `vlir.jsonl` and `images/`, whoever wrote them.
    folder
        To make: `vlir.jsonl` and `images/` of what is kept; `rejected.jsonl`, a line for each rejected sample with its
        name, its place and each reason's name, value and threshold; `filter.txt`, the report.
    limits, judges, names
        As in `table.judged`.
    strict
        A line that cannot be read ends it; else it is rejected for that.
    progress
        Show a bar.

    Returns
    -------
    FilterReport

    Raises
    ------
    R3labError
        If `source` has no samples file, `folder` holds something already, or a judge fails.
    """
    report, places = FilterReport(), deque[str]()
    check_names([*(judges or ()), *(names or ())])
    with whole_folder(Path(folder)) as part, (part / REJECTED).open("w", encoding="ascii") as rejected:

        def take(outcome: Outcome) -> None:
            report.add(outcome)
            if outcome.reasons:
                rejected.write(json.dumps(outcome.record(), allow_nan=False) + "\n")

        def unread(message: str) -> None:
            where, _, why = message.partition(": ")
            take(Outcome(None, None, (Reason("record", "cannot be read", detail=why),), where))

        reading = open_folder(source, strict, unread)

        def pairs() -> Iterator[Pair]:
            for record in tqdm(reading, desc="filter", unit=" samples", disable=not progress, mininterval=1):
                places.append(record.where)
                yield record.pair()

        def kept() -> Iterator[Pair]:
            for outcome in sift(pairs(), limits, judges, names):
                take(replace(outcome, where=places.popleft()))
                if outcome.sample is not None and outcome.rationale is not None and not outcome.reasons:
                    yield outcome.sample, outcome.rationale

        write_vlir(part, kept())
        (part / "filter.txt").write_text(f"{report}\n", encoding="utf-8")
    return report
