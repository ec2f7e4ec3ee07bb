"""A view that moves, with a picture of it that does not: for a notebook's cell, a page, a file.

In a notebook the bundle holds HTML that shows the picture until its script replaces it by the view (so a page that runs
no code still has the picture, with alt text), the PNG, and the words. Simplified: the moving view is HTML of our own,
since Plotly's sliders and buttons cannot be reached by keyboard and its script alone is 4.8 MB.

    play(trajectory)                             # last line of a cell
    play(trajectory).save("runs/first.html")     # opens from disk, without a network
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import R3labError, shown
from .alt import Picture
from .markup import words
from .page import fragment, page
from .whole import write_whole


@dataclass(frozen=True)
class View:
    """Something to move through, and its picture.

    Attributes
    ----------
    title : over the view; foreign text
    body : markup, its foreign text escaped
    picture : what stands where no script runs
    style : rules beside those of every page
    """

    title: str
    body: str = field(repr=False)
    picture: Picture
    style: str = field(default="", repr=False)

    def to_html(self) -> str:
        """The fragment that a notebook shows."""
        body = f'<p class="r3-title">{words(self.title, 400)}</p>{self.body}'
        return fragment(f"r3-{uuid.uuid4().hex}", body, self.picture.to_html(), self.style)

    def to_page(self) -> str:
        """A whole page that needs no other file."""
        return page(self.title, f"<h1>{words(self.title, 400)}</h1>{self.body}", self.style)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {**self.picture._repr_mimebundle_(), "text/html": self.to_html()}

    def save(self, path: str | Path) -> Path:
        """Write the page (.html) or the picture (.png); the file appears whole or not at all.

        Raises
        ------
        R3labError
            If the ending is another one, or the file cannot be written.
        """
        kind = Path(path).suffix.lower()
        if kind not in (".html", ".png"):
            raise R3labError(f"Cannot save a view as {shown(str(path))}: end its name in .html or .png.")
        return write_whole(path, self.to_page().encode("utf-8") if kind == ".html" else self.picture.png)
