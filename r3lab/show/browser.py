"""The browser of a data set: filter and page through VLIR samples, answers of an evaluation or rollouts; play one.

One page holds all of it and needs no kernel, no server and no other file: it can be mailed, moved, opened from disk
(where a page may fetch nothing, which is why there are no side files), or stand in a notebook. The price is a budget:
the index holds every record in columns, some 200 characters each, of which the page makes its filters; what is played
is held until the budget is used, so that every world and every result gets its share; for the others the page names the
command that plays them. Where no script runs there are a picture and the first records as a table. Simplified: 50
records a page instead of an endless list, which keyboard, print and a reader of the screen can follow; a record is
played by the player of trajectories.

    browse("vlir/raw")                                          # last line of a cell
    browse(["runs/eval"], budget=24_000_000).save("eval.html")
    browse(trajectories)
"""

from __future__ import annotations

import hashlib
import json
import shlex
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice, zip_longest
from pathlib import Path
from typing import Any

from PIL import Image
from tqdm import tqdm

from ..core.errors import R3labError
from .browser_rows import Found, Row, read_rows, rows_of
from .canvas import Canvas, fitted
from .palette import LIGHT, SMALL, TITLE, VERDICTS, style
from .picture import HERE, Picture, View, embed, render
from .player import stage
from .steps import photograph
from .text import clean, height, one_line, quoted

NOTEBOOK, PAGE = 4_000_000, 24_000_000  # characters that the records of a cell, and of a page of its own, may take
MOST = 200_000  # records
PER, FIRST, CARDS = 50, 25, 12  # records a page, of the table where no script runs, of the picture
LEAST, LARGEST = 60_000, 260_000  # characters of the pictures of one record
THUMB, SIDE = 3600, 80  # characters and longer side of a thumbnail

RESULTS = {  # colour, mark, word
    **VERDICTS,
    "partly": (VERDICTS["unknown"][0], "\N{ALMOST EQUAL TO}", "partly right"),
    "skipped": (VERDICTS["unknown"][0], "\N{EN DASH}", "not asked"),
}
TEXTS = {"question": 240} | dict.fromkeys(("name", "given", "truth", "kind", "world", "split", "arm"), 80)  # characters
VALUES = ("result", "needs_look", "looks", "number")
NUMBERS = ("reward", "score", "iou")


def browse(
    records: str | Path | Found | Iterable[Any],
    budget: int = NOTEBOOK,
    limit: int | None = None,
    title: str = "",
) -> View:
    """A browser, for a notebook or a page.

    Parameters
    ----------
    records
        A path, several paths (`browser_rows.read_rows`), rows that were read, or records in memory: (sample, rationale)
        pairs, trajectories, entries of an evaluation's journal.
    budget
        Characters that the opened records take at most; the index comes on top, some 200 a record.
    limit
        The first so many records of each path.
    title
        Over it; foreign text. By default it says what is shown.

    Raises
    ------
    R3labError
        If there is no record that fits, there are over 200,000, or the limit or the budget is out of range.

    Examples
    --------
    >>> r3lab.browse(trajectories).save(folder / "browse.html").name
    'browse.html'
    """
    found = records if isinstance(records, Found) else None
    if found is None:
        given: list[Any] = [records] if isinstance(records, str | Path) else list(records)  # type: ignore[arg-type]
        paths = bool(given) and all(isinstance(record, str | Path) for record in given)
        found = read_rows(given, limit) if paths else rows_of(given)
        title = title or (", ".join(map(str, given)) if paths else "")
    rows, problems = found.rows, found.problems
    if budget < 0:
        raise R3labError(f"The budget must be at least 0 characters, got {budget}.")
    if not rows:
        why = f" ({len(problems):,} do not fit; the first: {problems[0]})" if problems else ""
        raise R3labError(f"There is no record to show{why}; give samples, trajectories, an evaluation, or their paths.")
    if len(rows) > MOST:
        raise R3labError(f"A browser shows 1 to {MOST:,} records, got {len(rows):,}; take fewer with a limit.")
    known = "\n".join(f"{row.file} {row.number} {row.name[:80]}" for row in islice(rows, 1000))
    held = hold(rows, budget, "b" + hashlib.sha256(f"{len(rows)}\n{known}".encode("utf-8", "replace")).hexdigest()[:12])
    does = "does not fit and is left out" if len(problems) == 1 else "do not fit and are left out"
    body = render(
        "browser.html",
        counted=counted(rows),
        left_out=[(does, problems), ("cannot be opened", list(held.failed.values()))],
        index=as_script(index_of(rows, held)),
        held=held.markups,
        **{"rows": rows, "first": FIRST, "results": RESULTS},
    )
    colours = "".join(f".r3-{key} b{{background:{colour};}}\n" for key, (colour, _, _) in RESULTS.items())
    rules, script = ((HERE / name).read_text(encoding="utf-8") for name in ("browser.css", "browser.js"))
    name = one_line(title, 200) or counted(rows)
    return View(name, body, draw_rows(rows, held, name), rules + colours, script)


# -- what the page holds ---------------------------------------------------------------------------------------------


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


def hold(rows: Sequence[Row], budget: int, prefix: str) -> Held:
    """Open as many records as a budget holds: in turn from every file, world, arm, result and need of a look.

    Parameters
    ----------
    rows
        All records.
    budget
        Characters of markup and pictures together.
    prefix
        Of ids.
    """
    groups: dict[tuple[object, ...], list[int]] = {}
    for i, row in enumerate(rows):
        played = row.read is not None
        groups.setdefault((row.file, row.world, row.arm, row.result, row.needs_look, played), []).append(i)
    held, spent, pictured = Held(), 0, sum(row.read is not None for row in rows)
    share = min(LARGEST, max(LEAST, budget // max(1, pictured)))
    in_turn = [i for turn in zip_longest(*groups.values()) for i in turn if i is not None]
    for i in tqdm(in_turn, desc="browse", unit=" records", disable=None, mininterval=1):
        try:
            markup, image = open_row(rows[i], f"{prefix}x{i}", share)
        except R3labError as error:
            held.failed[i] = one_line(str(error), 300)
            continue
        script, thumb = as_script(markup), embed(image, THUMB, SIDE).uri if image is not None else ""
        if spent + len(script) + len(thumb) > budget:
            break
        spent += len(script) + len(thumb)
        held.markups[i] = script
        if thumb:
            held.thumbs[i] = thumb
    return held


def open_row(row: Row, prefix: str, share: int) -> tuple[str, Image.Image | None]:
    """What is seen of a record: markup in which foreign text is escaped, and the image of its thumbnail.

    Parameters
    ----------
    prefix
        Of ids; letters and digits.
    share
        Characters of its pictures, about.

    Raises
    ------
    R3labError
        If it cannot be read.
    """
    t = row.read() if row.read is not None else None
    question, player = ("", "") if t is None else (t.question, stage(t, prefix, budget=share))
    told = {"row": row, "t": t, "question": question, "player": player, "results": RESULTS}
    return render("record.html", **told), None if t is None else photograph(t)


def as_script(data: Any) -> str:
    """JSON for the inside of a script element: nothing in it can end that, or begin markup."""
    return json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


def index_of(rows: Sequence[Row], held: Held) -> dict[str, Any]:
    """The index as plain data: every record in columns, its text cleaned and cut; thumbnails and failures by place."""

    def short(value: Any, limit: int) -> str | None:
        return None if value is None else one_line(value, limit)

    columns: dict[str, Any] = {key: [short(getattr(row, key), limit) for row in rows] for key, limit in TEXTS.items()}
    columns |= {key: [getattr(row, key) for row in rows] for key in VALUES}
    for key in NUMBERS:
        columns[key] = [None if (value := getattr(row, key)) is None else round(value, 4) for row in rows]
    files = {file: place for place, file in enumerate(dict.fromkeys(row.file for row in rows))}
    return {
        "per": PER,
        "columns": {**columns, "file": [files[row.file] for row in rows]},
        "files": [[one_line(file, 80), command(file)] for file in files],
        "results": {key: [mark, word] for key, (_, mark, word) in RESULTS.items()},
        "thumbs": held.thumbs,
        "failed": held.failed,
    }


def command(file: str) -> str | None:
    """The command that shows a record whose number is written behind it; None for records in memory."""
    path = shlex.quote(f"{'./' if file.startswith('-') else ''}{file}#")
    if clean(path) != path:  # a page cannot show this path as it is
        path = "PATH#"
    return f"r3lab browse -o one.html {path}" if file else None


# -- where no script runs --------------------------------------------------------------------------------------------

MARGIN, GAP, CARD, ACROSS, LINES = 0.28, 0.2, 1.6, 6, 3  # inches; cards in a row; lines of a question


def draw_rows(rows: Sequence[Row], held: Held, title: str) -> Picture:
    """Draw the first records that have a picture, or the first ones, as cards: picture, question, answer, result.

    Parameters
    ----------
    rows
        All records; the words count them.
    held
        Which of them can be opened.
    title
        Over them; foreign text.
    """
    places = sorted(held.thumbs)[:CARDS] or range(min(CARDS, len(rows)))
    columns, picture = max(3, min(ACROSS, len(places))), CARD if held.thumbs else 0.0
    said = [f"Browser of {counted(rows)}: {quoted(title)}."]
    with style():
        canvas = Canvas(columns * (CARD + GAP) - GAP + 2 * MARGIN, None)
        top = canvas.text(MARGIN, MARGIN, title, columns * (CARD + GAP) - GAP, TITLE, 2, bold=True) + 0.14
        high = picture + 0.08 + height(LINES + 2, SMALL) + 0.2
        for at, place in enumerate(places):
            row, x, y = rows[place], MARGIN + at % columns * (CARD + GAP), top + at // columns * high
            image = photograph(row.read()) if place in held.thumbs and row.read is not None else None
            if image is not None:
                w, h = fitted(image.size, CARD, CARD)
                canvas.picture(image, x, y + CARD - h, w, h, (0, 0, *image.size), f"record-{place + 1}")
            _, mark, word = RESULTS[row.result]
            given = "no answer" if row.given is None else one_line(row.given, 60)
            looks = "" if row.looks is None else f"{row.looks} look{'' if row.looks == 1 else 's'}"
            y = canvas.text(x, y + picture + 0.08, row.question or row.name, CARD, SMALL, LINES)
            answer = f"{mark} {given}{'' if row.result in ('right', 'unknown') else f', {word}'}"
            y = canvas.text(x, y, answer, CARD, SMALL, 1, bold=True)
            note = " · ".join(filter(None, (one_line(row.world, 40), one_line(row.arm, 40), looks)))
            canvas.text(x, y, note, CARD, SMALL, 1, colour=LIGHT.muted)
            asked = quoted(row.question or row.name, 160)
            said.append(f"Record {place + 1}: {asked} answered with {quoted(given, 60)}, {word}.")
        figure = canvas.cut(top + -(-len(places) // columns) * high + MARGIN * 0.5)
    more = [f"{len(said) - 7} more are drawn."] if len(said) > 7 else []
    return Picture(figure, " ".join(said[:7] + more))


def counted(rows: Sequence[Row]) -> str:
    """How many records there are, and how they turned out."""
    tally = Counter(row.result for row in rows)
    told = ", ".join(f"{tally[key]:,} {RESULTS[key][2]}" for key in RESULTS if tally[key])
    kinds = {row.kind for row in rows}
    name = kinds.pop() if len(kinds) == 1 else "record"
    return f"{len(rows):,} {name}{'' if len(rows) == 1 else 's'} ({told})"
