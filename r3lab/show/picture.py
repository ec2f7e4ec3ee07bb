"""A picture that knows what it shows, and a view that moves, with a picture of it that does not.

A picture without words is lost to who cannot see it, to a search, and to a page whose images do not load. So each view
is one function that returns a `Picture`, drawing and alt text together. In a notebook its bundle holds HTML with alt
text (shown by Lab and by exported pages), a PNG and the words; that of a `View` holds HTML that shows the picture until
its script replaces it by the view. Simplified: the PNG is held twice in a bundle, because viewers differ in which of
the two they show; a moving view is HTML of our own, which works by keyboard and without a network.

    filmstrip(trajectory)                                 # a picture: the last line of a cell
    filmstrip(trajectory).save("runs/first.png")          # the words lie in the file
    Picture(figure, "The reward rises from 0.2 to 1.4.")  # of one's own figure
    play(trajectory).save("runs/first.html")              # a view: opens from disk, without a network
"""

from __future__ import annotations

import base64
import html
import io
import uuid
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from ..core.errors import R3labError, shown
from ..core.files import write_whole
from ..core.images import to_png_bytes
from .page import data_uri, fragment, page
from .palette import DPI, LIGHT, style
from .text import clean, html_words

FORMATS = ("png", "svg", "pdf")
_INCH = 96  # CSS pixels


class Picture:
    """A figure or an image with its alt text; a notebook shows it, `save` writes it.

    Parameters
    ----------
    drawn
        A matplotlib figure (rendered, unchanged, when its pixels are first asked for) or a PIL image; or a picture, to
        give it other words.
    alt
        What it shows, as one would tell it on the phone; foreign text in it is made harmless.
    dpi
        Dots an inch of a figure.

    Attributes
    ----------
    alt : plain text
    dpi : of the PNG

    Examples
    --------
    >>> picture = r3lab.Picture(r3lab.resize(samples[0].image, (60, 40)), "A photograph.")
    >>> picture.alt, picture.width
    ('A photograph.', 60)
    """

    def __init__(self, drawn: Figure | Image.Image | Picture, alt: str, dpi: int = DPI) -> None:
        self._drawn: Figure | Image.Image = drawn._drawn if isinstance(drawn, Picture) else drawn
        self.alt, self.dpi = clean(alt, 8000), dpi

    @property
    def figure(self) -> Figure:
        """The figure, to change it before it is shown.

        Raises
        ------
        R3labError
            If it is a picture of an image.
        """
        if not isinstance(self._drawn, Figure):
            raise R3labError("This picture is an image; only one of a figure has a figure.")
        return self._drawn

    @property
    def width(self) -> int:
        """At which a page shows it, CSS pixels."""
        drawn = self._drawn
        return round(drawn.get_figwidth() * _INCH) if isinstance(drawn, Figure) else drawn.width

    def __repr__(self) -> str:
        return f"Picture({self.alt!r})"

    @cached_property
    def png(self) -> bytes:
        """The file's bytes."""
        return self._file("png", self.dpi)

    def _file(self, kind: str, dpi: int) -> bytes:
        """As a file that carries its alt text; the same figure gives the same bytes (no date is written)."""
        if not isinstance(self._drawn, Figure):
            return to_png_bytes(self._drawn)
        words = {
            "png": {"Description": self.alt, "Software": "r3lab"},
            "svg": {"Description": self.alt, "Date": None, "Creator": "r3lab"},
            "pdf": {"Subject": self.alt, "CreationDate": None, "Creator": "r3lab"},
        }
        buffer, paper = io.BytesIO(), self._drawn.get_facecolor()
        with style(LIGHT):  # for what is read while drawing; colours are set on the figure itself
            FigureCanvasAgg(self._drawn)
            self._drawn.savefig(buffer, format=kind, dpi=dpi, metadata=words[kind], facecolor=paper, bbox_inches=None)
        return buffer.getvalue()

    def save(self, path: str | Path, dpi: int | None = None) -> Path:
        """Write it with its alt text as the file's description; the file appears whole or not at all.

        Parameters
        ----------
        path
            Ends in .png, .svg or .pdf (an image: .png); its folder is made.
        dpi
            Dots an inch of a PNG, and of photographs inside an SVG or PDF; by default those of the picture.

        Raises
        ------
        R3labError
            If the ending is another one, or the file cannot be written.
        """
        kind = Path(path).suffix.lower().removeprefix(".")
        formats = FORMATS if isinstance(self._drawn, Figure) else FORMATS[:1]
        if kind not in formats:
            raise R3labError(f"Cannot draw into {shown(str(path))}: end its name in .{', .'.join(formats)}.")
        return write_whole(path, self._file(kind, dpi or self.dpi))

    def to_html(self) -> str:
        """An ``<img>`` that needs no other file."""
        alt = html.escape(self.alt, quote=True).replace("\n", "&#10;")
        return f'<img alt="{alt}" src="{self.uri}" width="{self.width}" style="max-width:100%;height:auto">'

    @property
    def uri(self) -> str:
        """The PNG as a data URI."""
        return data_uri("png", self.png)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {
            "text/html": self.to_html(),
            "image/png": base64.b64encode(self.png).decode("ascii"),
            "text/plain": self.alt,
        }


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
