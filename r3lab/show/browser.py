"""The browser of a data set: filter and page through VLIR samples, answers of an evaluation or rollouts; play one.

One page holds all of it and needs no kernel, no server and no other file: it can be mailed, moved, opened from disk
(where a page may fetch nothing, which is why there are no side files), or stand in a notebook. The price is a budget:
the index holds every record in columns, some 200 characters each, and what is played is held until the budget is used,
so that every world and every result gets its share; for the others the page names the command that plays them. Where
no script runs there are a picture and the first records as a table. Simplified: 50 records a page instead of an endless
list, which keyboard, print and a reader of the screen can follow; a record is played by the player of trajectories.

    browse("vlir/raw")                                          # last line of a cell
    browse(["runs/eval"], budget=24_000_000).save("eval.html")
    browse(trajectories)
"""

from __future__ import annotations

import hashlib
import json
import math
import shlex
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice, zip_longest
from pathlib import Path
from typing import Any

from PIL import Image

from ..core.errors import R3labError
from .browser_rows import SAMPLE, Found, Row, read_rows, rows_of
from .canvas import Canvas, fitted
from .palette import SMALL, TITLE, VERDICTS, style, theme
from .picture import HERE, Picture, View, embed, fragment, page
from .player import TEXT, badge, stage
from .steps import photograph
from .text import attribute, clean, height, html_line, html_words, one_line, quoted, wrap

NOTEBOOK, PAGE = 4_000_000, 24_000_000  # characters that the records of a cell, and of a page of its own, may take
MOST = 200_000  # records
PER, FIRST, CARDS = 50, 25, 12  # records a page, of the table where no script runs, of the picture
TOLD = 20  # problems that are told one by one
QUESTION, SHORT, VALUES = 240, 80, 200  # characters of a question, of other text; values of one filter
LEAST, LARGEST = 60_000, 260_000  # characters of the pictures of one record
THUMB, SIDE = 3600, 80  # characters and longer side of a thumbnail
OTHERS = "others"

Each = Callable[[Iterable[int]], Iterable[int]]  # wraps what is opened, for a bar
GREY = VERDICTS["unknown"][0]
RESULTS = {  # colour, mark, word
    **VERDICTS,
    "partly": (GREY, "\N{ALMOST EQUAL TO}", "partly right"),
    "skipped": (GREY, "\N{EN DASH}", "not asked"),
}
NEEDS = {True: "yes", False: "no", None: "not known"}
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
        still = f'<img class="r3-still" alt="{attribute(self.picture.alt, 8000)}" src="{self.picture.uri}">'
        body = f'<h1>{html_line(self.title, 300)}</h1>{self.body}<div class="r3-first">{still}{self.still}</div>'
        return page(self.title, body, self.style, self.script)


def browse(
    records: str | Path | Iterable[Any],
    budget: int = NOTEBOOK,
    limit: int | None = None,
    title: str = "",
    dark: bool = False,
    each: Each = iter,
) -> Browser:
    """A browser, for a notebook or a page.

    Parameters
    ----------
    records
        A path, several paths (`browser_rows.read_rows`), or records in memory: (sample, rationale) pairs, trajectories,
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

    Examples
    --------
    >>> r3lab.browse(trajectories).save(folder / "browse.html").name
    'browse.html'
    """
    given: list[Any] = [records] if isinstance(records, str | Path) else list(records)
    if given and all(isinstance(record, str | Path) for record in given):
        return browser_of(read_rows(given, limit), budget, title or ", ".join(map(str, given)), dark, each)
    return browser_of(rows_of(given, limit), budget, title, dark, each)


def browser_of(found: Found, budget: int = NOTEBOOK, title: str = "", dark: bool = False, each: Each = iter) -> Browser:
    """A browser of rows that were read; parameters and errors as of `browse`."""
    rows = found.rows
    if budget < 0:
        raise R3labError(f"The budget must be at least 0 characters, got {budget}.")
    if not 1 <= len(rows) <= MOST:
        raise R3labError(f"A browser shows 1 to {MOST:,} records, got {len(rows):,}; take fewer with a limit.")
    known = "\n".join(f"{row.file} {row.number} {row.name[:80]}" for row in islice(rows, 1000))
    prefix = "b" + hashlib.sha256(f"{len(rows)}\n{known}".encode("utf-8", "replace")).hexdigest()[:12]
    held = hold(rows, budget, prefix, each)
    name = one_line(title, 200) or counted(rows)
    places = sorted(held.thumbs)[:CARDS] or range(min(CARDS, len(rows)))
    reads = {i: rows[i].read if i in held.thumbs else None for i in places}
    shown = [(i, rows[i], None if read is None else photograph(read())) for i, read in reads.items()]
    scripts = [f'<script type="application/json" class="r3-index">{as_script(index_of(rows, held))}</script>']
    scripts += [
        f'<script type="application/json" class="r3-held" data-row="{i}">{markup}</script>'
        for i, markup in held.markups.items()
    ]
    does = "does not fit and is" if found.left_out == 1 else "do not fit and are"
    left = _told(found.left_out, f"{does} left out", found.problems)
    left += _told(len(held.failed), "cannot be opened", list(held.failed.values()))
    body = (
        f'<p class="r3-facts">{html_line(counted(rows), 300)}</p>{left}'
        f'<div class="r3-browser" data-lm-suppress-shortcuts="true">{"".join(scripts)}</div>'
    )
    colours = "".join(f".r3-{key} b{{background:{colour};}}\n" for key, (colour, _, _) in RESULTS.items())
    rules, script = ((HERE / name).read_text(encoding="utf-8") for name in ("browser.css", "browser.js"))
    still = draw_rows(rows, shown, name, dark)
    return Browser(name, body, still, rules + colours, table_of(rows), script)


def _told(count: int, what: str, problems: Sequence[str]) -> str:
    """So many records of which something is said, and the first reasons."""
    if not count:
        return ""
    told = "".join(f"<li>{html_line(problem, 300)}</li>" for problem in problems[:TOLD])
    more = f"<li>and {count - TOLD:,} more</li>" if count > TOLD else ""
    head = f"{count:,} record{'' if count == 1 else 's'} {what}"
    return f'<details class="r3-left"><summary>{head}</summary><ul>{told}{more}</ul></details>'


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


def hold(rows: Sequence[Row], budget: int, prefix: str, each: Each = iter) -> Held:
    """Open as many records as a budget holds: in turn from every world, arm, result and need of a look.

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
    held, spent, full = Held(), 0, set()
    wordy, pictured = ([i for i, row in enumerate(rows) if (row.read is None) is words] for words in (True, False))
    share = min(LARGEST, max(LEAST, budget // max(1, len(pictured))))
    most = {True: budget // 2 if pictured else budget, False: budget}  # words first, at most half of it
    for i in each([*_in_turn(rows, wordy), *_in_turn(rows, pictured)]):
        kind = rows[i].read is None
        if kind in full:
            continue
        try:
            markup, image = open_row(rows[i], f"{prefix}x{i}", share)
        except R3labError as error:
            held.failed[i] = one_line(str(error), 300)
            continue
        script, thumb = as_script(markup), embed(image, THUMB, SIDE).uri if image is not None else ""
        if spent + len(script) + len(thumb) > most[kind]:
            full.add(kind)
            continue
        spent += len(script) + len(thumb)
        held.markups[i] = script
        if image is not None:
            held.thumbs[i] = thumb
    return held


def _in_turn(rows: Sequence[Row], places: Iterable[int]) -> list[int]:
    """Places in turn from every file, world, arm, result and need of a look."""
    groups: dict[tuple[object, ...], list[int]] = {}
    for i in places:
        row = rows[i]
        groups.setdefault((row.file, row.world, row.arm, row.result, row.needs_look), []).append(i)
    return [i for turn in zip_longest(*groups.values()) for i in turn if i is not None]


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
    need = {True: "a look is needed", False: "no look is needed", None: ""}[row.needs_look]
    place = [row.name, row.world, f"{row.split} split" if row.split else "", f"arm {row.arm}" if row.arm else "", need]
    question = row.question or (t.question if t is not None else "")
    head = html_words(question, 2000) if one_line(question) else "The question was not written down"
    head = f"<h2>{head}</h2>{_facts(place)}"
    said = [f"score {row.score:g}" if row.score is not None else ""]
    if t is None:
        said.append(f"{row.looks} look{'' if row.looks == 1 else 's'}" if row.looks is not None else "")
        said.append(f"IoU of the deciding look {row.iou:.2f}" if row.iou is not None else "")
        return head + _in_words(row) + _facts(said), None
    if t.rewards:
        parts = " + ".join(f"{name} {value:.2f}" for name, value in list(t.rewards.items())[:12])
        said.append(f"reward {math.fsum(t.rewards.values()):.2f} = {parts}")
    said.append(f"advantage {t.advantage:+.2f}" if t.advantage is not None else "")
    said.append(f"policy {t.model}" if t.model else "")
    if row.kind != SAMPLE:
        said.append("greedy" if t.temperature == 0 else f"temperature {t.temperature:g}")
    return head + stage(t, prefix, budget=share) + _facts(said), photograph(t)


def _facts(said: Iterable[str]) -> str:
    """Foreign facts in one line; empty ones are left out."""
    return f'<p class="r3-facts">{" · ".join(html_line(one, 160) for one in said if one)}</p>'


def _in_words(row: Row) -> str:
    """An answer whose trajectory was not kept: what is known of it."""
    given = "no answer" if row.given is None else html_line(row.given, 300)
    size = "r3-given long" if len(row.given or "") > 30 else "r3-given"
    true = "the true answer is not recorded" if row.truth is None else f"true answer: {html_line(row.truth, 300)}"
    notes = f"{true}; {html_line(row.ending, 300)}" if row.ending else true
    wrote = f'<h3>What it wrote</h3><p class="r3-wrote">{html_words(row.wrote, TEXT)}</p>' if row.wrote.strip() else ""
    return (
        f'<p><strong class="{size}">{given}</strong> {badge(*RESULTS[row.result])}</p>'
        f'<p class="r3-note">{notes}</p>{wrote}<p class="r3-note">There is nothing to play: its trajectory was not '
        "kept; r3lab eval --keep N keeps those of the first N questions of each source.</p>"
    )


def as_script(data: Any) -> str:
    """JSON for the inside of a script element: nothing in it can end that, or begin markup."""
    return json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


def index_of(rows: Sequence[Row], held: Held) -> dict[str, Any]:
    """The index as plain data, its text cleaned and cut.

    Returns
    -------
    dict
        Texts, filters and numbers in columns, one entry a record (null where there is none); thumbnails and failures by
        place; of filters and numbers only those that tell records apart.
    """
    facets = [_facet(key, label, [value(row) for row in rows]) for key, label, value in FILTERS]
    facets.append(_facet("held", "Opens here", ["yes" if i in held.markups else "no" for i in range(len(rows))]))
    facets = [facet for facet in facets if len(facet["values"]) > 1]
    ranges = []
    for key, label, digits, number in NUMBERS:
        of = [None if (value := number(row)) is None else round(value, 4) for row in rows]
        told = set(of) - {None}
        if len(told) > 1 and not (key == "score" and told <= {0, 1}):  # which says what the result says
            ranges.append({"key": key, "label": label, "digits": digits, "of": of})
    columns = [{"key": one["key"], "label": one["label"], "kind": ""} for one in facets if one["key"] in COLUMNS]
    columns.append({"key": "result", "label": "Answer", "kind": "r3-reply"})
    columns += [{"key": one["key"], "label": one["label"], "kind": "number", "digits": one["digits"]} for one in ranges]
    files = list(dict.fromkeys(row.file for row in rows))
    return {
        "per": PER,
        "question": [one_line(row.question, QUESTION) for row in rows],
        "name": [one_line(row.name, SHORT) for row in rows],
        "given": [None if row.given is None else one_line(row.given, SHORT) for row in rows],
        "truth": [None if row.truth is None else one_line(row.truth, SHORT) for row in rows],
        "result": [row.result for row in rows],
        "results": {key: [mark, word] for key, (_, mark, word) in RESULTS.items()},
        "facets": facets,
        "ranges": ranges,
        "columns": columns,
        "thumbs": held.thumbs,
        "failed": held.failed,
        "commands": [command(file) for file in files],
        "file": [files.index(row.file) for row in rows],
        "number": [row.number for row in rows],
    }


def _facet(key: str, label: str, of: Sequence[str]) -> dict[str, Any]:
    """A filter: its values in order, and for each record the place of its value among them."""
    names = [one_line(value, SHORT) or "none" for value in of]
    values = sorted(set(names))
    if len(values) > VALUES:
        kept = set(values[:VALUES])
        values, names = [*values[:VALUES], OTHERS], [name if name in kept else OTHERS for name in names]
    place = {value: i for i, value in enumerate(values)}
    return {"key": key, "label": label, "values": values, "of": [place[name] for name in names]}


def command(file: str) -> list[str] | None:
    """What stands before and after a record's number in the command that shows it; None for records in memory."""
    if not file:
        return None
    path = shlex.quote(f"{'./' if file.startswith('-') else ''}{file}#")
    if clean(path) != path:  # a page cannot show this path as it is
        return ["r3lab browse PATH#", " -o one.html"]
    return [f"r3lab browse {path.removesuffix(chr(39))}", f"{chr(39) * path.endswith(chr(39))} -o one.html"]


# -- where no script runs --------------------------------------------------------------------------------------------

MARGIN, GAP, CARD, ACROSS, LINES = 0.28, 0.2, 1.6, 6, 3  # inches; cards in a row; lines of a question
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
    chosen, columns = theme(dark), max(3, min(ACROSS, len(shown)))
    wide = columns * (CARD + GAP) - GAP
    head = wrap(title, wide, TITLE, 2, bold=True)
    top = MARGIN + height(len(head), TITLE) + 0.14
    pictured = any(image is not None for _, _, image in shown)
    picture = CARD if pictured else 0.0
    high = picture + 0.08 + height(LINES + 2, SMALL) + 0.2
    with style(chosen):
        canvas = Canvas(wide + 2 * MARGIN, top + -(-len(shown) // columns) * high + MARGIN * 0.5, chosen)
        canvas.block(MARGIN, MARGIN, head, TITLE, chosen.ink, bold=True)
        for at, (place, row, image) in enumerate(shown):
            x, y = MARGIN + at % columns * (CARD + GAP), top + at // columns * high
            if image is not None:
                w, h = fitted(image.size, CARD, CARD)
                canvas.picture(image, x, y + CARD - h, w, h, (0, 0, *image.size), f"record-{place + 1}")
            elif pictured:
                axes = canvas.axes(x, y, CARD, CARD, (0, 0, 1, 1), f"record-{place + 1}")
                canvas.placeholder(axes, "no picture", chosen.muted)
            _, mark, word = RESULTS[row.result]
            given = "no answer" if row.given is None else one_line(row.given, 60)
            looks = "" if row.looks is None else f"{row.looks} look{'' if row.looks == 1 else 's'}"
            note = [one_line(row.world, 40), one_line(row.arm, 40) if row.kind != SAMPLE else "", looks]
            words = wrap(row.question or row.name, CARD, SMALL, LINES)
            below = canvas.block(x, y + picture + 0.08, words, SMALL, chosen.ink)
            answer = f"{mark} {given}{'' if row.result in ('right', 'unknown') else f', {word}'}"
            below = canvas.block(x, below, wrap(answer, CARD, SMALL, 1, bold=True), SMALL, chosen.ink, bold=True)
            canvas.block(x, below, wrap(" · ".join(filter(None, note)), CARD, SMALL, 1), SMALL, chosen.muted)
    said = [f"Browser of {counted(rows)}: {quoted(title)}."]
    for place, row, _ in shown[:6]:
        given = "no answer" if row.given is None else quoted(row.given, 60)
        asked = quoted(row.question or row.name, 160)
        said.append(f"Record {place + 1}: {asked} answered with {given}, {RESULTS[row.result][2]}.")
    if len(shown) > 6:
        said.append(f"{len(shown) - 6} more are drawn.")
    return Picture(canvas.figure, " ".join(said))


def counted(rows: Sequence[Row]) -> str:
    """How many records there are, and how they turned out."""
    tally = Counter(row.result for row in rows)
    told = ", ".join(f"{tally[key]:,} {RESULTS[key][2]}" for key in RESULTS if tally[key])
    kinds = {row.kind for row in rows}
    name = kinds.pop() if len(kinds) == 1 else "record"
    return f"{len(rows):,} {name}{'' if len(rows) == 1 else 's'} ({told})"


def table_of(rows: Sequence[Row]) -> str:
    """The first records as a table, as markup."""
    lines = []
    for number, row in enumerate(rows[:FIRST], start=1):
        given = "no answer" if row.given is None else html_line(row.given, 60)
        truth = f" (true: {html_line(row.truth, 60)})" if row.truth is not None and row.result != "right" else ""
        reward = row.reward if row.reward is not None else row.score
        lines.append(
            f'<tr><td class="number">{number}</td><td class="r3-asked">{html_line(row.question or row.name, 140)}</td>'
            f"<td>{html_line(row.world, 40)}</td><td>{given}{truth}</td><td>{badge(*RESULTS[row.result])}</td>"
            f'<td class="number">{"" if row.looks is None else row.looks}</td>'
            f'<td class="number">{"" if reward is None else f"{reward:.2f}"}</td></tr>'
        )
    more = (
        f'<p class="r3-facts">The first {FIRST} of {len(rows):,} records; where scripts run, all of them can be '
        "filtered, and opened.</p>"
    )
    return (
        '<div class="r3-scroll"><table><thead><tr><th class="number">#</th><th>question</th><th>world</th>'
        '<th>answer</th><th></th><th class="number">looks</th><th class="number">reward</th></tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>{more if len(rows) > FIRST else ''}"
    )
