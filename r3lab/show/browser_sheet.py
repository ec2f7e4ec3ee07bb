"""What a browser shows where no script runs: a picture of a dozen of its records, the first ones as a table, the words.

    draw_rows(shown, "vlir/raw")                     # a figure; shown are (place, row, image or None)
    table_of(rows[:25])                              # markup

Simplified: a picture has no regions drawn in; it is there to be recognised, the player to be read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from matplotlib.figure import Figure
from PIL import Image

from .browser_rows import RESULTS, SAMPLE, Row
from .canvas import Canvas, fitted
from .lettering import height, one_line, quoted, wrap
from .markup import line
from .palette import SMALL, TITLE, style, theme
from .stage import badge

MARGIN, GAP, CARD, COLUMNS = 0.28, 0.2, 1.6, 6  # inches; cards in a row
LINES, FIRST = 3, 25  # of a question; records of the table
Shown = tuple[int, Row, Image.Image | None]


def draw_rows(shown: Sequence[Shown], title: str, dark: bool = False) -> Figure:
    """Draw records as cards: picture, question, answer, result.

    Parameters
    ----------
    shown
        Place from 0, record, and its image; at least one.
    title
        Over them; foreign text.
    dark
        For a dark page.
    """
    chosen, columns = theme(dark), max(3, min(COLUMNS, len(shown)))
    wide = columns * (CARD + GAP) - GAP
    head = wrap(title, wide, TITLE, 2, bold=True)
    top = MARGIN + height(len(head), TITLE) + 0.14
    pictured = any(image is not None for _, _, image in shown)
    picture = CARD if pictured else 0.0
    high = picture + 0.08 + height(LINES + 2, SMALL) + 0.2
    rows = -(-len(shown) // columns)
    with style(chosen):
        canvas = Canvas(wide + 2 * MARGIN, top + rows * high + MARGIN * 0.5, chosen)
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
    return canvas.figure


def _said(row: Row) -> str:
    _, mark, word = RESULTS[row.result]
    given = "no answer" if row.given is None else one_line(row.given, 60)
    return f"{mark} {given}" if row.result in ("right", "unknown") else f"{mark} {given}, {word}"


def _note(row: Row) -> str:
    said = [one_line(row.world, 40), one_line(row.arm, 40) if row.kind != SAMPLE else ""]
    said.append(f"{row.looks} look{'' if row.looks == 1 else 's'}" if row.looks is not None else "")
    return " · ".join(one for one in said if one)


def rows_alt(rows: Sequence[Row], shown: Sequence[Shown], title: str) -> str:
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
        given = "no answer" if row.given is None else line(row.given, 60)
        truth = f" (true: {line(row.truth, 60)})" if row.truth is not None and row.result != "right" else ""
        looks = "" if row.looks is None else f"{row.looks}"
        reward = row.reward if row.reward is not None else row.score
        lines.append(
            f'<tr><td class="number">{number}</td><td class="r3-asked">{line(row.question or row.name, 140)}</td>'
            f"<td>{line(row.world, 40)}</td><td>{given}{truth}</td><td>{badge(*RESULTS[row.result])}</td>"
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
