"""Foreign text in a Markdown page: shown as it stands, never read as Markdown, HTML or a link.

Everything that could mean something to a renderer becomes a numeric character reference, which all of them take for
the character itself. Simplified: one line, cut to a bound.

    escape("<b>| [x](y)")                       # '&#60;b&#62;&#124; &#91;x&#93;&#40;y&#41;'
    table(("source", "samples"), [("badges", 12)])
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from .lettering import one_line

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
