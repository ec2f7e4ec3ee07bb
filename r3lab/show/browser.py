"""The browser of a data set: filter and page through VLIR samples, answers of an evaluation or rollouts; play one.

One page holds all of it and needs no kernel, no server and no other file: it can be mailed, moved, opened from disk
(where a page may fetch nothing, which is why there are no side files), or stand in a notebook. The price is a budget:
the index holds every record, and what is played is held until the budget is used (`browser_index`). Where no script
runs there are a picture and the first records as a table. Simplified: 50 records a page instead of an endless list,
which keyboard, print and a reader of the screen can follow.

    browse("vlir/raw")                                          # last line of a cell
    browse(["runs/eval"], budget=24_000_000).save("eval.html")
    browse(trajectories)
"""

from __future__ import annotations

import base64
import hashlib
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from ..errors import R3labError, shown
from ..trajectory import Trajectory
from ..vlir.sample import Rationale, Sample
from .alt import Picture, picture
from .browser_answers import row_of_entry
from .browser_index import Held, as_script, hold, index_of
from .browser_read import Found, read_rows
from .browser_rows import RESULTS, Row, row_of_sample, row_of_trajectory
from .browser_sheet import FIRST, counted, draw_rows, rows_alt, table_of
from .lettering import one_line
from .markup import attribute, line
from .page import HERE, fragment, page
from .view import View

NOTEBOOK, PAGE = 4_000_000, 24_000_000  # characters that the records of a cell, and of a page of its own, may take
MOST = 200_000  # records
CARDS, TOLD = 12, 20  # records of the picture; problems that are told one by one


@dataclass(frozen=True)
class Browser(View):
    """A browser, its picture, and the table that stands where no script runs.

    Attributes
    ----------
    still : markup of the table
    script : of the browser, our own
    """

    still: str = field(default="", repr=False)
    script: str = field(default="", repr=False)

    def to_html(self) -> str:
        """The fragment that a notebook shows."""
        head = f'<p class="r3-title">{line(self.title, 300)}</p>'
        name, still = f"r3-{uuid.uuid4().hex}", self.picture.to_html() + self.still
        return fragment(name, head + self.body, still, self.style, self.script)

    def to_page(self) -> str:
        """A whole page that needs no other file."""
        still = f'<img class="r3-still" alt="{attribute(self.picture.alt, 8000)}" src="{_uri(self.picture)}">'
        body = f'<h1>{line(self.title, 300)}</h1>{self.body}<div class="r3-first">{still}{self.still}</div>'
        return page(self.title, body, self.style, self.script)


def browse(
    records: str | Path | Iterable[Any],
    budget: int = NOTEBOOK,
    limit: int | None = None,
    title: str = "",
    dark: bool = False,
    each: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> Browser:
    """A browser, for a notebook or a page.

    Parameters
    ----------
    records
        A path, several paths (`browser_read.read_rows`), or records in memory: (sample, rationale) pairs, trajectories,
        entries of an evaluation's journal.
    budget
        Characters that the opened records take at most; the index comes on top, some 200 a record.
    limit
        The first so many records (of each path).
    title
        Over it; foreign text. By default it says what is shown.
    dark
        For the picture that stands where no code runs.
    each
        Wraps what is opened, for a bar.

    Raises
    ------
    R3labError
        If there is no record, there are over 200,000, or the limit or the budget is out of range.
    """
    if budget < 0:
        raise R3labError(f"The budget must be at least 0 characters, got {budget}.")
    one = isinstance(records, str | Path)
    given = [records] if one else list(islice(records, limit if limit and limit > 0 else None))  # type: ignore[arg-type, list-item]
    paths = bool(given) and all(isinstance(record, str | Path) for record in given)
    found = read_rows([records] if one else records, limit) if paths else _in_memory(given, limit)  # type: ignore[list-item, arg-type]
    return browser_of(found, budget, title or (", ".join(map(str, given)) if paths else ""), dark, each)


def browser_of(
    found: Found,
    budget: int = NOTEBOOK,
    title: str = "",
    dark: bool = False,
    each: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> Browser:
    """A browser of rows that were read; parameters and errors as of `browse`."""
    rows = found.rows
    if not 1 <= len(rows) <= MOST:
        raise R3labError(f"A browser shows 1 to {MOST:,} records, got {len(rows):,}; take fewer with a limit.")
    known = "\n".join(f"{row.file} {row.number} {row.name[:80]}" for row in islice(rows, 1000))
    prefix = "b" + hashlib.sha256(f"{len(rows)}\n{known}".encode("utf-8", "replace")).hexdigest()[:12]
    held = hold(rows, budget, prefix, each)
    name = one_line(title, 200) or counted(rows)
    shown_rows = _cards(rows, held)
    still = picture(draw_rows(shown_rows, name, dark), rows_alt(rows, shown_rows, name))
    scripts = [f'<script type="application/json" class="r3-index">{as_script(index_of(rows, held))}</script>']
    scripts += [
        f'<script type="application/json" class="r3-held" data-row="{i}">{markup}</script>'
        for i, markup in held.markups.items()
    ]
    body = (
        f'<p class="r3-facts">{line(counted(rows), 300)}</p>{_left_out(found, held)}'
        f'<div class="r3-browser" data-lm-suppress-shortcuts="true">{"".join(scripts)}</div>'
    )
    table = table_of(rows[:FIRST], len(rows))
    return Browser(name, body, still, _style(), table, _file("browser_query.js") + _file("browser.js"))


def _in_memory(records: Iterable[Any], limit: int | None) -> Found:
    """Rows of records in memory; an entry that does not fit is counted, what is no record at all is an error."""
    if limit is not None and limit < 1:
        raise R3labError(f"The limit must be at least 1, got {limit}.")
    found = Found()
    for number, record in enumerate(records, start=1):
        try:
            found.rows.append(_row(record, number))
        except _NoRecord:
            raise
        except R3labError as error:
            found.leave_out(str(error))
    if not found.rows:
        why = f": {found.problems[0]}" if found.problems else ""
        raise R3labError(f"There is no record to show{why}; give samples, trajectories or entries.")
    return found


class _NoRecord(R3labError):
    """Something that a browser cannot show."""


def _row(record: Any, number: int) -> Row:
    if isinstance(record, Trajectory):
        return row_of_trajectory(record, number=number)
    if isinstance(record, Sample):
        return row_of_sample(record, Rationale(()), number=number)
    if isinstance(record, tuple) and len(record) == 2 and isinstance(record[0], Sample):
        return row_of_sample(*record, number=number)
    if isinstance(record, Mapping):
        return row_of_entry(record, where=f"Entry {number}", number=number)
    raise _NoRecord(
        f"Record {number} must be a (sample, rationale) pair, a trajectory or an entry, got {shown(record)}."
    )


def _cards(rows: list[Row], held: Held) -> list[tuple[int, Row, Any]]:
    """The first records that open, else the first ones, with their images."""
    places = sorted(sorted(held.thumbs)[:CARDS] or list(range(min(CARDS, len(rows)))))
    return [(i, rows[i], rows[i].open().image if i in held.thumbs else None) for i in places]


def _left_out(found: Found, held: Held) -> str:
    """What could not be read or opened, in words."""
    said = []
    if found.left_out:
        said.append((f"{found.left_out:,} record{' does' if found.left_out == 1 else 's do'} not fit and "
                     f"{'is' if found.left_out == 1 else 'are'} left out", found.problems, found.left_out))  # fmt: skip
    if held.failed:
        many = len(held.failed)
        said.append((f"{many:,} record{'' if many == 1 else 's'} cannot be opened", list(held.failed.values()), many))
    parts = []
    for name, problems, many in said:
        told = "".join(f"<li>{line(problem, 300)}</li>" for problem in problems[:TOLD])
        more = f"<li>and {many - TOLD:,} more</li>" if many > TOLD else ""
        parts.append(f'<details class="r3-left"><summary>{name}</summary><ul>{told}{more}</ul></details>')
    return "".join(parts)


def _uri(still: Picture) -> str:
    return "data:image/png;base64," + base64.b64encode(still.png).decode("ascii")


def _style() -> str:
    """The browser's rules, and the colours of results."""
    colours = "".join(f".r3-{key} b{{background:{colour};}}\n" for key, (colour, _, _) in RESULTS.items())
    return _file("browser.css") + colours


def _file(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8")
