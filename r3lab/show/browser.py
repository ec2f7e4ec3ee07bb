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
import json
import shlex
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice, zip_longest
from pathlib import Path
from typing import Any

from PIL import Image

from ..core.errors import R3labError, shown
from ..trajectory import Trajectory
from ..vlir.sample import Rationale, Sample
from .browser_rows import NEEDS, RESULTS, SAMPLE, Found, Row, read_rows, row_of_entry, row_of_sample, row_of_trajectory
from .canvas import Canvas, fitted
from .page import HERE, embed, fragment, page
from .palette import SMALL, TITLE, style, theme
from .picture import Picture, View
from .player import badge
from .text import attribute, clean, height, html_line, one_line, quoted, wrap

# What a browser's page carries: a compact index of all records, and within a budget what is seen when one is opened.
#
# The index has a short text, a few numbers and a number a filter for each record, in columns; 10,000 records are
# about
# 2 MB. Opened records are markup as JSON text, which a browser does not parse before it is wanted. Where the budget
# does
# not hold all of them, every world and every result gets its share, so that whatever is filtered for, some can be
# played;
# for the others the page says which command does. Simplified: pictures are as small as that takes, never the text.
#
#     held = hold(rows, budget=4_000_000, prefix="b1")
#     index = index_of(rows, held)                         # plain data, for JSON

PER = 50  # records a page
QUESTION, INDEX_TEXT, VALUES = 240, 80, 200  # characters of a question, of other text; values of one filter
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
        "name": [one_line(row.name, INDEX_TEXT) for row in rows],
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
    return None if text is None else one_line(text, INDEX_TEXT)


def _short(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def _facet(key: str, label: str, of: Sequence[str]) -> dict[str, Any]:
    """A filter: its values in order, and for each record the place of its value among them."""
    names = [one_line(value, INDEX_TEXT) for value in of]
    values = sorted(dict.fromkeys(names))
    if len(values) > VALUES:
        kept = set(values[:VALUES])
        values, names = [*values[:VALUES], OTHERS], [name if name in kept else OTHERS for name in names]
    place = {value: i for i, value in enumerate(values)}
    return {"key": key, "label": label, "values": values, "of": [place[name] for name in names]}


# What a browser shows where no script runs: a picture of a dozen of its records, the first ones as a table, the
# words.
#
#     draw_rows(rows, shown, "vlir/raw")               # a picture; shown are (place, row, image or None)
#     table_of(rows[:25])                              # markup
#
# Simplified: a picture has no regions drawn in; it is there to be recognised, the player to be read.

MARGIN, GAP, CARD, BROWSER_SHEET_COLUMNS = 0.28, 0.2, 1.6, 6  # inches; cards in a row
LINES, FIRST = 3, 25  # of a question; records of the table
Shown = tuple[int, Row, Image.Image | None]


def draw_rows(rows: Sequence[Row], shown: Sequence[Shown], title: str, dark: bool = False) -> Picture:
    """Draw records as cards: picture, question, answer, result.

    Parameters
    ----------
    rows
        All records; the words count them.
    shown
        Place from 0, record, and its image; at least one.
    title
        Over them; foreign text.
    dark
        For a dark page.
    """
    chosen, columns = theme(dark), max(3, min(BROWSER_SHEET_COLUMNS, len(shown)))
    wide = columns * (CARD + GAP) - GAP
    head = wrap(title, wide, TITLE, 2, bold=True)
    top = MARGIN + height(len(head), TITLE) + 0.14
    pictured = any(image is not None for _, _, image in shown)
    picture = CARD if pictured else 0.0
    high = picture + 0.08 + height(LINES + 2, SMALL) + 0.2
    lines = -(-len(shown) // columns)
    with style(chosen):
        canvas = Canvas(wide + 2 * MARGIN, top + lines * high + MARGIN * 0.5, chosen)
        canvas.block(MARGIN, MARGIN, head, TITLE, chosen.ink, bold=True)
        for at, (place, row, image) in enumerate(shown):
            x, y = MARGIN + at % columns * (CARD + GAP), top + at // columns * high
            if image is not None:
                w, h = fitted(image.size, CARD, CARD)
                canvas.picture(image, x, y + CARD - h, w, h, (0, 0, *image.size), f"record-{place + 1}")
            elif pictured:
                canvas.placeholder(canvas.axes(x, y, CARD, CARD, (0, 0, 1, 1), f"record-{place + 1}"), "no picture",
                                   chosen.muted)  # fmt: skip
            asked = wrap(row.question or row.name, CARD, SMALL, LINES)
            below = canvas.block(x, y + picture + 0.08, asked, SMALL, chosen.ink)
            answer = wrap(_said(row), CARD, SMALL, 1, bold=True)
            below = canvas.block(x, below, answer, SMALL, chosen.ink, bold=True)
            canvas.block(x, below, wrap(_note(row), CARD, SMALL, 1), SMALL, chosen.muted)
    return Picture(canvas.figure, _rows_alt(rows, shown, title))


def _said(row: Row) -> str:
    _, mark, word = RESULTS[row.result]
    given = "no answer" if row.given is None else one_line(row.given, 60)
    return f"{mark} {given}" if row.result in ("right", "unknown") else f"{mark} {given}, {word}"


def _note(row: Row) -> str:
    said = [one_line(row.world, 40), one_line(row.arm, 40) if row.kind != SAMPLE else ""]
    said.append(f"{row.looks} look{'' if row.looks == 1 else 's'}" if row.looks is not None else "")
    return " · ".join(one for one in said if one)


def _rows_alt(rows: Sequence[Row], shown: Sequence[Shown], title: str) -> str:
    """What the picture shows, in words."""
    said = [f"Browser of {counted(rows)}: {quoted(title)}."]
    for place, row, _ in shown[:6]:
        given = "no answer" if row.given is None else quoted(row.given, 60)
        said.append(
            f"Record {place + 1}: {quoted(row.question or row.name, 160)} answered with {given}, "
            f"{RESULTS[row.result][2]}."
        )
    if len(shown) > 6:
        said.append(f"{len(shown) - 6} more are drawn.")
    return " ".join(said)


def counted(rows: Sequence[Row]) -> str:
    """How many records there are, and how they turned out."""
    tally = Counter(row.result for row in rows)
    told = ", ".join(f"{tally[key]:,} {RESULTS[key][2]}" for key in RESULTS if tally[key])
    kinds = {row.kind for row in rows}
    name = kinds.pop() if len(kinds) == 1 else "record"
    return f"{len(rows):,} {name}{'' if len(rows) == 1 else 's'} ({told})"


def table_of(rows: Sequence[Row], total: int) -> str:
    """The first records as a table, as markup.

    Parameters
    ----------
    rows
        Those that are shown.
    total
        How many there are.
    """
    lines = []
    for number, row in enumerate(rows, start=1):
        given = "no answer" if row.given is None else html_line(row.given, 60)
        truth = f" (true: {html_line(row.truth, 60)})" if row.truth is not None and row.result != "right" else ""
        looks = "" if row.looks is None else f"{row.looks}"
        reward = row.reward if row.reward is not None else row.score
        lines.append(
            f'<tr><td class="number">{number}</td><td class="r3-asked">{html_line(row.question or row.name, 140)}</td>'
            f"<td>{html_line(row.world, 40)}</td><td>{given}{truth}</td><td>{badge(*RESULTS[row.result])}</td>"
            f'<td class="number">{looks}</td><td class="number">{"" if reward is None else f"{reward:.2f}"}</td></tr>'
        )
    head = '<th class="number">#</th><th>question</th><th>world</th><th>answer</th><th></th>'
    head += '<th class="number">looks</th><th class="number">reward</th>'
    more = (
        f'<p class="r3-facts">The first {len(rows):,} of {total:,} records; where scripts run, all of them can be '
        "filtered, and opened.</p>"
    )
    return (
        f'<div class="r3-scroll"><table><thead><tr>{head}</tr></thead><tbody>{"".join(lines)}</tbody></table></div>'
        f"{more if total > len(rows) else ''}"
    )


NOTEBOOK, PAGE = 4_000_000, 24_000_000  # characters that the records of a cell, and of a page of its own, may take
BROWSER_MOST = 200_000  # records
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
        head = f'<p class="r3-title">{html_line(self.title, 300)}</p>'
        name, still = f"r3-{uuid.uuid4().hex}", self.picture.to_html() + self.still
        return fragment(name, head + self.body, still, self.style, self.script)

    def to_page(self) -> str:
        """A whole page that needs no other file."""
        still = f'<img class="r3-still" alt="{attribute(self.picture.alt, 8000)}" src="{_uri(self.picture)}">'
        body = f'<h1>{html_line(self.title, 300)}</h1>{self.body}<div class="r3-first">{still}{self.still}</div>'
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
    if not 1 <= len(rows) <= BROWSER_MOST:
        raise R3labError(f"A browser shows 1 to {BROWSER_MOST:,} records, got {len(rows):,}; take fewer with a limit.")
    known = "\n".join(f"{row.file} {row.number} {row.name[:80]}" for row in islice(rows, 1000))
    prefix = "b" + hashlib.sha256(f"{len(rows)}\n{known}".encode("utf-8", "replace")).hexdigest()[:12]
    held = hold(rows, budget, prefix, each)
    name = one_line(title, 200) or counted(rows)
    shown_rows = _cards(rows, held)
    still = draw_rows(rows, shown_rows, name, dark)
    scripts = [f'<script type="application/json" class="r3-index">{as_script(index_of(rows, held))}</script>']
    scripts += [
        f'<script type="application/json" class="r3-held" data-row="{i}">{markup}</script>'
        for i, markup in held.markups.items()
    ]
    body = (
        f'<p class="r3-facts">{html_line(counted(rows), 300)}</p>{_left_out(found, held)}'
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
        told = "".join(f"<li>{html_line(problem, 300)}</li>" for problem in problems[:TOLD])
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
