"""A view that moves, with a picture of it that does not: for a notebook's cell, a page, a file.

In a notebook the bundle holds HTML that shows the picture until its script replaces it by the view (so a page that runs
no code still has the picture, with alt text), the PNG, and the words. Simplified: the moving view is HTML of our own,
since Plotly's sliders and buttons cannot be reached by keyboard and its script alone is 4.8 MB.

    play(trajectory)                             # last line of a cell
    play(trajectory).save("runs/first.html")     # opens from disk, without a network
"""

from __future__ import annotations

import base64
import html
import io
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from ..core.errors import R3labError, shown
from ..core.files import write_whole
from ..core.images import to_png_bytes
from .page import fragment, page
from .palette import DPI, LIGHT, style
from .text import clean, html_words

# Pictures that say what they show: for a notebook cell, an exported page, a file.
#
# A picture without words is lost to who cannot see it, to a search, and to a page whose images do not load. In a
# notebook the bundle holds HTML with alt text (shown by Lab and by exported pages), a PNG and the text itself.
# Simplified: the PNG is held twice, because viewers differ in which of the two they show.
#
#     picture(filmstrip(trajectory), filmstrip_alt(trajectory))       # last line of a cell
#     save(figure, "runs/curves.png", alt="The reward rises from 0.2 to 1.4 ...")

FORMATS = ("png", "svg", "pdf")
_INCH = 96  # CSS pixels


@dataclass(frozen=True)
class Picture:
    """A PNG with its alt text, which a notebook shows; `picture` makes one.

    Attributes
    ----------
    alt : what the picture shows, plain text
    png : the file's bytes
    width : at which a page shows it, CSS pixels
    """

    alt: str
    png: bytes = field(repr=False)
    width: int

    def to_html(self) -> str:
        """An ``<img>`` that needs no other file."""
        data = base64.b64encode(self.png).decode("ascii")
        alt = html.escape(self.alt, quote=True).replace("\n", "&#10;")
        return (
            f'<img alt="{alt}" src="data:image/png;base64,{data}" width="{self.width}" '
            'style="max-width:100%;height:auto">'
        )

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {
            "text/html": self.to_html(),
            "image/png": base64.b64encode(self.png).decode("ascii"),
            "text/plain": self.alt,
        }


def picture(figure: Figure | Image.Image, alt: str, dpi: int = DPI) -> Picture:
    """A figure or an image, with words, for a notebook.

    Parameters
    ----------
    figure
        A matplotlib figure (drawn now, unchanged) or a PIL image.
    alt
        What it shows, as one would tell it on the phone; foreign text in it is made harmless.
    dpi
        Dots an inch of a figure.
    """
    words = clean(alt, 8000)
    if isinstance(figure, Image.Image):
        return Picture(words, to_png_bytes(figure), figure.width)
    return Picture(words, _render(figure, "png", words, dpi), round(figure.get_figwidth() * _INCH))


def save_picture(figure: Figure, path: str | Path, alt: str, dpi: int = DPI) -> Path:
    """Write a figure as a file that carries its alt text as description; it appears whole or not at all.

    Parameters
    ----------
    path
        Ends in .png, .svg or .pdf; its folder is made.
    dpi
        Dots an inch of a PNG, and of photographs inside an SVG or PDF.

    Raises
    ------
    R3labError
        If the ending is another one, or the file cannot be written.
    """
    kind = Path(path).suffix.lower().removeprefix(".")
    if kind not in FORMATS:
        raise R3labError(f"Cannot draw into {shown(str(path))}: end its name in .{', .'.join(FORMATS)}.")
    return write_whole(path, _render(figure, kind, clean(alt, 8000), dpi))


def _render(figure: Figure, kind: str, alt: str, dpi: int) -> bytes:
    """The figure as a file; the same figure gives the same bytes (no date is written)."""
    words = {
        "png": {"Description": alt, "Software": "r3lab"},
        "svg": {"Description": alt, "Date": None, "Creator": "r3lab"},
        "pdf": {"Subject": alt, "CreationDate": None, "Creator": "r3lab"},
    }
    buffer = io.BytesIO()
    with style(LIGHT):  # for what is read while drawing; colours are set on the figure itself
        FigureCanvasAgg(figure)
        figure.savefig(
            buffer,
            format=kind,
            dpi=dpi,
            metadata=words[kind],
            facecolor=figure.get_facecolor(),
            bbox_inches=None,
        )
    return buffer.getvalue()


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
        body = f'<p class="r3-title">{html_words(self.title, 400)}</p>{self.body}'
        return fragment(f"r3-{uuid.uuid4().hex}", body, self.picture.to_html(), self.style)

    def to_page(self) -> str:
        """A whole page that needs no other file."""
        return page(self.title, f"<h1>{html_words(self.title, 400)}</h1>{self.body}", self.style)

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
