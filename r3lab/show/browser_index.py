"""What a browser's page carries: a compact index of all records, and within a budget what is seen when one is opened.

The index has a short text, a few numbers and a number a filter for each record, in columns; 10,000 records are about
2 MB. Opened records are markup as JSON text, which a browser does not parse before it is wanted. Where the budget does
not hold all of them, every world and every result gets its share, so that whatever is filtered for, some can be played;
for the others the page says which command does. Simplified: pictures are as small as that takes, never the text.

    held = hold(rows, budget=4_000_000, prefix="b1")
    index = index_of(rows, held)                         # plain data, for JSON
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any

from ..errors import R3labError
from .browser_rows import NEEDS, RESULTS, Row
from .embed import embed
from .lettering import clean, one_line

PER = 50  # records a page
QUESTION, TEXT, VALUES = 240, 80, 200  # characters of a question, of other text; values of one filter
LEAST, MOST = 60_000, 260_000  # characters of the pictures of one record
THUMB, SIDE = 3600, 80  # characters and longer side of a thumbnail
WORDY = 0.5  # of the budget at most, for records without pictures
OTHERS = "others"

FILTERS: tuple[tuple[str, str, Callable[[Row], str]], ...] = (
    ("kind", "Kind", lambda row: row.kind),
    ("file", "From", lambda row: row.file),
    ("world", "World", lambda row: row.world),
    ("split", "Split", lambda row: row.split),
    ("arm", "Arm", lambda row: row.arm),
    ("result", "Result", lambda row: RESULTS[row.result][2]),
    ("needs_look", "Needs a look", lambda row: NEEDS[row.needs_look]),
)
NUMBERS: tuple[tuple[str, str, int, Callable[[Row], float | None]], ...] = (
    ("looks", "Looks", 0, lambda row: row.looks),
    ("reward", "Reward", 2, lambda row: row.reward),
    ("score", "Score", 2, lambda row: row.score),
    ("iou", "IoU", 2, lambda row: row.iou),
)
COLUMNS = ("world", "arm")  # filters that are columns of the table too


@dataclass
class Held:
    """Records that the page can open, by their place.

    Attributes
    ----------
    markups : JSON text of the markup, fit for the inside of a script element
    thumbs : data URIs
    failed : why a record cannot be opened, in words
    """

    markups: dict[int, str] = field(default_factory=dict)
    thumbs: dict[int, str] = field(default_factory=dict)
    failed: dict[int, str] = field(default_factory=dict)


def hold(rows: Sequence[Row], budget: int, prefix: str, each: Callable[[Iterable[int]], Iterable[int]] = iter) -> Held:
    """Open as many records as a budget holds.

    Parameters
    ----------
    rows
        All records.
    budget
        Characters of markup and pictures together.
    prefix
        Of ids.
    each
        Wraps the places as they are opened, for a bar.
    """
    held = Held()
    pictured = [i for i, row in enumerate(rows) if row.pictured]
    wordy = [i for i, row in enumerate(rows) if not row.pictured]
    share = min(MOST, max(LEAST, budget // max(1, len(pictured))))
    left = _open(rows, wordy, budget if not pictured else round(WORDY * budget), share, prefix, held, each)
    _open(rows, pictured, budget - (round(WORDY * budget) - left if wordy else 0), share, prefix, held, each)
    return held


def _open(
    rows: Sequence[Row],
    places: Sequence[int],
    left: int,
    share: int,
    prefix: str,
    held: Held,
    each: Callable[[Iterable[int]], Iterable[int]],
) -> int:
    """Open records until the budget is used; what is left of it."""
    for i in each(spread(rows, places)):
        try:
            opened = rows[i].open()
            markup = as_script(opened.markup(f"{prefix}x{i}", share))
        except R3labError as error:
            held.failed[i] = one_line(str(error), 300)
            continue
        thumb = embed(opened.image, THUMB, SIDE).uri if opened.image is not None else ""
        if len(markup) + len(thumb) > left:
            break
        left -= len(markup) + len(thumb)
        held.markups[i] = markup
        if thumb:
            held.thumbs[i] = thumb
    return left


def spread(rows: Sequence[Row], places: Sequence[int]) -> list[int]:
    """Places in turn from every world, arm, result and need of a look."""
    groups: dict[tuple[object, ...], list[int]] = {}
    for i in places:
        row = rows[i]
        groups.setdefault((row.file, row.world, row.arm, row.result, row.needs_look), []).append(i)
    return [i for turn in zip_longest(*groups.values()) for i in turn if i is not None]


def as_script(data: Any) -> str:
    """JSON for the inside of a script element: nothing in it can end that, or begin markup."""
    return json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


# -- the index -------------------------------------------------------------------------------------------------------


def index_of(rows: Sequence[Row], held: Held) -> dict[str, Any]:
    """The index as plain data, its text cleaned and cut.

    Returns
    -------
    dict
        Texts, numbers and filters in columns, one entry a record (null where there is none); thumbnails and failures by
        place; of filters and numbers only those that tell records apart.
    """
    facets = [_facet(key, label, [value(row) for row in rows]) for key, label, value in FILTERS]
    opens = ["yes" if i in held.markups else "no" for i in range(len(rows))]
    facets = [facet for facet in [*facets, _facet("held", "Opens here", opens)] if len(facet["values"]) > 1]
    ranges = [(key, label, digits, [_short(value(row)) for row in rows]) for key, label, digits, value in NUMBERS]
    telling = [(*one, {v for v in one[3] if v is not None}) for one in ranges]
    telling = [one for one in telling if len(one[4]) > 1 and not (one[0] == "score" and one[4] <= {0, 1})]  # the result
    columns: list[dict[str, Any]] = [
        {"key": facet["key"], "label": facet["label"].lower(), "kind": "text"}
        for facet in facets
        if facet["key"] in COLUMNS
    ]
    columns.append({"key": "result", "label": "answer", "kind": "answer"})
    columns += [
        {"key": key, "label": {"IoU": "IoU"}.get(label, label.lower()), "kind": "number", "digits": digits}
        for key, label, digits, *_ in telling
    ]
    files = list(dict.fromkeys(row.file for row in rows))
    return {
        "per": PER,
        "question": [one_line(row.question, QUESTION) for row in rows],
        "name": [one_line(row.name, TEXT) for row in rows],
        "given": [_answer(row.given) for row in rows],
        "truth": [_answer(row.truth) for row in rows],
        "result": [row.result for row in rows],
        "results": {key: [mark, word] for key, (_, mark, word) in RESULTS.items()},
        "facets": facets,
        "ranges": [{"key": key, "label": label, "of": values} for key, label, _, values, _ in telling],
        "columns": columns,
        "thumbs": {str(i): uri for i, uri in held.thumbs.items()},
        "failed": {str(i): why for i, why in held.failed.items()},
        "commands": [command(file) for file in files],
        "file": [files.index(row.file) for row in rows],
        "number": [row.number for row in rows],
    }


def command(file: str) -> list[str] | None:
    """What stands before and after a record's number in the command that shows it; None for records in memory."""
    if not file:
        return None
    quoted = shlex.quote(f"{'./' if file.startswith('-') else ''}{file}#")
    if clean(quoted) != quoted:  # a page cannot show this path as it is
        return ["r3lab browse PATH#", " -o one.html"]
    return [f"r3lab browse {quoted.removesuffix(chr(39))}", f"{chr(39) * quoted.endswith(chr(39))} -o one.html"]


def _answer(text: str | None) -> str | None:
    return None if text is None else one_line(text, TEXT)


def _short(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def _facet(key: str, label: str, of: Sequence[str]) -> dict[str, Any]:
    """A filter: its values in order, and for each record the place of its value among them."""
    names = [one_line(value, TEXT) for value in of]
    values = sorted(dict.fromkeys(names))
    if len(values) > VALUES:
        kept = set(values[:VALUES])
        values, names = [*values[:VALUES], OTHERS], [name if name in kept else OTHERS for name in names]
    place = {value: i for i, value in enumerate(values)}
    return {"key": key, "label": label, "values": values, "of": [place[name] for name in names]}
