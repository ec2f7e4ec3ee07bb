"""Foreign text made harmless, measured and written plainly: into a picture, a page, Markdown, a terminal.

    lines = wrap(text, width=1.8, size=8, most=12)           # inches, points
    write(figure, 0.1, 0.9, lines[0], size=8, colour="black")
    f"<p>{html_words(question, 400)}</p><img alt=\"{attribute(told(trajectory))}\">"
    table(("source", "samples"), [("badges", 12)])           # Markdown

What a model, a data set or a user wrote may hold control characters, terminal sequences, bidirectional overrides,
towers of combining marks, TeX, markup, a megabyte without a space. Nothing of it is parsed: a figure writes it through
`write`; in HTML it is escaped, bounded and isolated from the text around it (the first of two walls: the second is the
policy of a `page`); in Markdown everything that could mean something becomes a numeric character reference. Simplified:
no hyphenation, no right-to-left layout.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ft2font import FT2Font
from matplotlib.text import Text

from . import palette

MOST = 4000  # characters of one text that are looked at
MARKS = 3  # combining marks that one letter may carry
MISSING = "\N{WHITE SQUARE}"  # stands for a character that no font here has
ELLIPSIS = "\N{HORIZONTAL ELLIPSIS}"
_SEQUENCE = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]{0,64}[ -/]{0,8}[@-~]"  # CSI: colours, cursor
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x90\x98\x9c-\x9f]{0,4000}(?:\x07|\x1b\\|\x9c)"  # OSC and kin
    r"|\x1b[ -/]{0,8}[0-~]"
)
_BREAKS = re.compile(r"\r\n?|[\v\f\x1c-\x1e\x85\u2028\u2029]")


def clean(text: object, limit: int = MOST) -> str:
    """Text without anything that acts: terminal sequences, control, bidirectional and invisible characters.

    Parameters
    ----------
    text
        Anything; what is not text is shown by `str`. What is longer than `limit` is cut before it is read.
    limit
        Most characters to return; a cut text ends in an ellipsis.

    Returns
    -------
    str
        Printable characters, spaces and newlines.
    """
    raw = text if isinstance(text, str) else str(text)
    cut = raw[: 2 * limit + 64]
    kept: list[str] = []
    marks = 0
    for char in _BREAKS.sub("\n", _SEQUENCE.sub("", cut)):
        kind = unicodedata.category(char)
        marks = marks + 1 if kind in ("Mn", "Me") else 0
        if char in "\n\t" or kind == "Zs":
            kept.append("\n" if char == "\n" else " ")
        elif kind in ("Cs", "Cn", "Co"):
            kept.append("\N{REPLACEMENT CHARACTER}")
        elif kind[0] != "C" and marks <= MARKS:
            kept.append(char)
    result = "".join(kept)
    if len(result) > limit or len(cut) < len(raw):
        return result[: limit - 1] + ELLIPSIS
    return result


def one_line(text: object, limit: int = 200) -> str:
    """`clean`, with all white space folded to single spaces."""
    return " ".join(clean(text, limit).split())


def quoted(text: object, limit: int = 200) -> str:
    """`one_line` between quotation marks, for alt text."""
    return f"\N{LEFT DOUBLE QUOTATION MARK}{one_line(text, limit)}\N{RIGHT DOUBLE QUOTATION MARK}"


@lru_cache(maxsize=2)
def _fonts(bold: bool) -> list[FT2Font]:
    """Our own font objects (matplotlib's are shared), at 100 pixels an em."""
    found = []
    for family in palette.families():
        wanted = font_manager.FontProperties(family=[family], weight="bold" if bold else "normal")
        font = FT2Font(font_manager.findfont(wanted))
        font.set_size(100, 72)
        found.append(font)
    return found


@lru_cache(maxsize=8192)
def _advance(char: str, bold: bool = False) -> float | None:
    """Width of a character in ems; None if no font has it."""
    for font in _fonts(bold):
        if font.get_char_index(ord(char)):
            return font.load_char(ord(char)).linearHoriAdvance / 65536 / 100
    return None


def drawable(text: str) -> str:
    """The text with a white square for every character that no font has."""
    return "".join(c if c == "\n" or _advance(c) is not None else MISSING for c in text)


def text_width(text: str, size: float, bold: bool = False) -> float:
    """Width of one line in inches, at `size` points; a little too much, because glyphs snap to pixels."""
    ems = sum(_advance(c, bold) or 0.7 for c in text)
    return 1.04 * ems * size / 72


def height(lines: int, size: float) -> float:
    """Height in inches of that many lines at `size` points."""
    return lines * size * palette.LEADING / 72


def wrap(text: object, width: float, size: float, most: int = 12, bold: bool = False) -> list[str]:
    """Break text into lines that fit.

    Parameters
    ----------
    text
        Foreign text; it is cleaned here. Its own line breaks are kept, empty lines are not.
    width
        Inches.
    size
        Points.
    most
        Lines; the last one says how much was left out.
    """
    lines: list[str] = []
    for paragraph in drawable(clean(text)).split("\n"):
        line, used = "", 0.0
        for word in re.findall(r" *[^ ]+", paragraph.strip()):
            wide = text_width(word, size, bold)
            if line and used + wide > width:
                lines.append(line)
                line, used, word = "", 0.0, word.lstrip()
                wide = text_width(word, size, bold)
            while wide > width and len(word) > 1:  # one long word: cut it
                fits = _fitting(word, width, size, bold)
                lines.append(word[:fits])
                word = word[fits:]
                wide = text_width(word, size, bold)
            line, used = line + word, used + wide
        if line:
            lines.append(line)
    if len(lines) <= most:
        return lines
    lines = lines[:most]
    while lines[-1] and text_width(lines[-1] + ELLIPSIS, size, bold) > width:
        lines[-1] = lines[-1][:-1]
    lines[-1] = lines[-1].rstrip(" .,;:" + ELLIPSIS) + ELLIPSIS
    return lines


def _fitting(word: str, width: float, size: float, bold: bool) -> int:
    """How many leading characters of a word fit, at least one."""
    used = 0.0
    for count, char in enumerate(word):
        used += text_width(char, size, bold)
        if used > width:
            return max(1, count)
    return len(word)


def write(
    target: Figure | Axes,
    x: float,
    y: float,
    text: object,
    size: float,
    colour: str,
    bold: bool = False,
    **options: Any,
) -> Text:
    """Write text, cleaned and taken literally, into a figure (its fractions) or axes (their data).

    Further options go to matplotlib's `text`. The first line hangs from `y` unless `va` says otherwise.
    """
    options.setdefault("va", "top")
    return target.text(
        x,
        y,
        drawable(clean(text)),
        fontsize=size,
        color=colour,
        fontweight="bold" if bold else "normal",
        fontfamily=palette.families(),
        parse_math=False,
        usetex=False,
        **options,
    )


# -- HTML and Markdown -------------------------------------------------------------------------------------------------


def html_words(text: object, limit: int = 2000) -> str:
    """Foreign text for the inside of an element, its line breaks kept; in `<bdi>`, so that it turns nothing around."""
    return f"<bdi>{html.escape(clean(text, limit), quote=True)}</bdi>"


def html_line(text: object, limit: int = 200) -> str:
    """`words` as one line."""
    return f"<bdi>{html.escape(one_line(text, limit), quote=True)}</bdi>"


def attribute(text: object, limit: int = 2000) -> str:
    """Foreign text for a quoted attribute."""
    return html.escape(clean(text, limit), quote=True).replace("\n", "&#10;")


# What may stay: letters, digits and spaces of any script, and signs that mean nothing where they stand: a full stop or
# a colon at the end of a word (inside one, they make links), brackets that follow no square ones.
_MEANS = re.compile(r"[^\w ,;%'/+\-().:\u0080-\U0010ffff]|_|(?<=\w)[.:](?=\w)(?!(?<=\d.)\d)|:(?=/)")


def escape(text: object, limit: int = 200) -> str:
    """Foreign text for a line or a cell.

    Parameters
    ----------
    text
        Anything; control and bidirectional characters are dropped, line breaks become spaces.
    limit
        Most characters of it that are shown; a reference counts as one.
    """
    return _MEANS.sub(lambda found: f"&#{ord(found[0])};", one_line(text, limit))


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table in GitHub's Markdown; cells are escaped, numbers stand to the right.

    Parameters
    ----------
    head
        Names of the columns, our own words.
    rows
        Cells; a column is one of numbers if its cell in the first row is a number, or text that begins with a digit.
    """
    first = [str(cell)[:1].isdigit() for cell in rows[0]] if rows else [False] * len(head)
    lines = [_line(head), _line([("---:" if number else "---") for number in first])]
    return "\n".join(lines + [_line([escape(cell) for cell in row]) for row in rows])


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
