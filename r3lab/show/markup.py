"""Foreign text in HTML: shown as it stands, never read as markup, bounded, isolated from the text around it.

The first of two walls; the second is the policy of a page (`page`), under which nothing but our own script runs.

    f"<p>{words(trajectory.question, 400)}</p>"
    f'<img alt="{attribute(told(trajectory))}">'
"""

from __future__ import annotations

import html

from .lettering import clean, one_line


def words(text: object, limit: int = 2000) -> str:
    """Foreign text for the inside of an element, its line breaks kept; in `<bdi>`, so that it turns nothing around."""
    return f"<bdi>{html.escape(clean(text, limit), quote=True)}</bdi>"


def line(text: object, limit: int = 200) -> str:
    """`words` as one line."""
    return f"<bdi>{html.escape(one_line(text, limit), quote=True)}</bdi>"


def attribute(text: object, limit: int = 2000) -> str:
    """Foreign text for a quoted attribute."""
    return html.escape(clean(text, limit), quote=True).replace("\n", "&#10;")
