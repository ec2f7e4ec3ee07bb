"""Answers of an evaluation as rows of a browser: what `r3lab eval` wrote into its journal, each with its trajectory.

An entry is checked field by field, since a journal may come from anywhere. Simplified: a trajectory that was kept is
read when its row is opened; one of another question is an error then.

    row = row_of_entry({"source": "badges", "arm": "direct", "id": "badges-test-0-0", "outcome": "graded", ...})
    row.result, row.score                    # "right", 1.0
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from ..errors import R3labError, shown
from ..trajectory import Trajectory
from .browser_detail import answer_sheet, headed
from .browser_rows import ANSWER, RESULTS, Opened, Row, played, text_or_nothing
from .story import ended, photograph


class EntryError(R3labError):
    """An entry that does not fit; the message names the field, what it holds and what was wanted."""


def row_of_entry(
    entry: Mapping[str, Any],
    split: str = "",
    kept: Callable[[], Trajectory] | None = None,
    where: str = "The entry",
    **place: Any,
) -> Row:
    """An entry of an evaluation's journal (`evaluate.run`).

    Parameters
    ----------
    split
        That was asked.
    kept
        Reads its trajectory, where one was kept.
    where
        Begins the message of an error.

    Raises
    ------
    EntryError
        If a field is missing or wrong.
    """

    def need(name: str, wanted: str, fits: Callable[[Any], bool]) -> Any:
        if not fits(entry.get(name)):
            raise EntryError(f"{where}: field {name!r} must be {wanted}, got {shown(entry.get(name))}.")
        return entry.get(name)

    def maybe(name: str, wanted: str, fits: Callable[[Any], bool]) -> Any:
        return need(name, f"{wanted} or null", lambda value: value is None or fits(value))

    for name in ("source", "arm", "id"):
        need(name, "text", _is_text)
    outcome = need("outcome", "'graded' or 'skipped'", lambda value: value in ("graded", "skipped"))
    graded = outcome == "graded"
    score = float(need("score", "a number", _is_number)) if graded else None
    truth = maybe("truth", "text", lambda value: _is_text(value) or _is_number(value))
    answer, question = maybe("answer", "text", _is_text), maybe("question", "text", _is_text)
    needs, iou = maybe("needs_look", "true, false", lambda v: isinstance(v, bool)), maybe("iou", "a number", _is_number)
    looks = maybe("looks", "a count", lambda value: type(value) is int and 0 <= value < 1 << 31)
    wrote = maybe("text", "text", _is_text) or ""
    ending = ended(text_or_nothing(entry.get("finish"))) if answer is None and graded else ""
    why = "" if graded else f"{text_or_nothing(entry.get('reason'))} {text_or_nothing(entry.get('detail'))}".strip()

    def opened() -> Opened:
        t = kept() if kept is not None else None
        if t is not None and t.sample_id != entry["id"]:
            raise EntryError(f"{where}: the trajectory kept for {shown(entry['id'])} is of {shown(t.sample_id)}.")
        head = question or (t.question if t is not None else "")
        if t is not None:
            body = played(t, score)
            return Opened(photograph(t), lambda prefix, budget: headed(head, row.facts(), body(prefix, budget)))
        sheet = answer_sheet(answer, row.truth, RESULTS[row.result], wrote, _numbers(row), ending, why)
        return Opened(None, lambda prefix, budget: headed(head, row.facts(), sheet))

    row = Row(
        ANSWER,
        entry["id"],
        question or "",
        opened,
        entry["source"],
        split,
        entry["arm"],
        given=answer,
        truth=None if truth is None else str(truth),
        result=_result(score),
        needs_look=needs,
        looks=looks,
        score=score,
        iou=None if iou is None else float(iou),
        pictured=kept is not None,
        **place,
    )
    return row


def _result(score: float | None) -> str:
    if score is None:
        return "skipped"
    return "right" if score >= 1 else "wrong" if score <= 0 else "partly"


def _numbers(row: Row) -> list[str]:
    found = [f"score {row.score:g}" if row.score is not None else ""]
    found.append(f"{row.looks} look{'' if row.looks == 1 else 's'}" if row.looks is not None else "")
    return [*found, f"IoU of the deciding look {row.iou:.2f}" if row.iou is not None else ""]


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_number(value: object) -> bool:
    try:
        return type(value) in (int, float) and math.isfinite(value)  # type: ignore[arg-type]
    except OverflowError:  # an integer past the largest float
        return False
