"""What a view returns: a picture that knows what it shows, or a view that moves with a picture of it that does not; and
the page that holds views, with images small enough for it.

    filmstrip(trajectory)                                 # a picture: the last line of a cell
    filmstrip(trajectory).save("runs/first.png")          # the words lie in the file
    Picture(figure, "The reward rises from 0.2 to 1.4.")  # of one's own figure
    play(trajectory).save("runs/first.html")              # a view: opens from disk, without a network
    embed(photo, most=120_000).uri                        # "data:image/jpeg;base64,..."

A picture without words is lost to who cannot see it, to a search, and to a page whose images do not load; so each view
is one function that returns drawing and alt text together. In a notebook a picture's bundle holds HTML with alt text
(shown by Lab and by exported pages), a PNG and the words; that of a `View` holds HTML that shows the picture until its
script replaces it by the view. A page states a content security policy: nothing is fetched, nothing is sent, and no
script runs but ours, which is named by its hash; so are styles. That is the second wall behind escaping (`text`): text
that got through it would still do nothing. Simplified: the PNG is held twice in a bundle, because viewers differ in
which of the two they show; one stylesheet and one script for all views.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import uuid
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from ..core.errors import R3labError, shown
from ..core.files import write_whole
from ..core.images import data_uri, to_png_bytes
from .palette import DARK, DPI, HALO, LIGHT, LOOKS, OKABE_ITO, Theme, ink_on, look_colour, style
from .text import attribute, clean, html_line, html_words, one_line

FORMATS = ("png", "svg", "pdf")
HERE = Path(__file__).parent
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

    Attributes
    ----------
    alt : plain text

    Examples
    --------
    >>> picture = r3lab.Picture(r3lab.resize(samples[0].image, (60, 40)), "A photograph.")
    >>> picture.alt, picture.width
    ('A photograph.', 60)
    """

    def __init__(self, drawn: Figure | Image.Image | Picture, alt: str) -> None:
        self._drawn: Figure | Image.Image = drawn._drawn if isinstance(drawn, Picture) else drawn
        self.alt = clean(alt, 8000)

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
        return self._file("png", DPI)

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
        with style():  # for what is read while drawing; colours are set on the figure itself
            FigureCanvasAgg(self._drawn)
            self._drawn.savefig(buffer, format=kind, dpi=dpi, metadata=words[kind], facecolor=paper, bbox_inches=None)
        return buffer.getvalue()

    def save(self, path: str | Path, dpi: int = DPI) -> Path:
        """Write it with its alt text as the file's description; the file appears whole or not at all.

        Parameters
        ----------
        path
            Ends in .png, .svg or .pdf (an image: .png); its folder is made.
        dpi
            Dots an inch of a PNG, and of photographs inside an SVG or PDF.

        Raises
        ------
        R3labError
            If the ending is another one, or the file cannot be written.
        """
        kind = Path(path).suffix.lower().removeprefix(".")
        formats = FORMATS if isinstance(self._drawn, Figure) else FORMATS[:1]
        if kind not in formats:
            raise R3labError(f"Cannot draw into {shown(str(path))}: end its name in .{', .'.join(formats)}.")
        return write_whole(path, self._file(kind, dpi))

    def to_html(self) -> str:
        """An ``<img>`` that needs no other file."""
        alt = attribute(self.alt, 8000)
        return f'<img alt="{alt}" src="{self.uri}" width="{self.width}" style="max-width:100%;height:auto">'

    @property
    def uri(self) -> str:
        """The PNG as a data URI."""
        return data_uri(self.png)

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
    style, script : rules beside those of every page, and code (`page`), our own
    """

    title: str
    body: str = field(repr=False)
    picture: Picture
    style: str = field(default="", repr=False)
    script: str = field(default="", repr=False)

    def to_html(self) -> str:
        """The fragment that a notebook shows."""
        body = f'<p class="r3-title">{html_words(self.title, 400)}</p>{self.body}'
        return fragment(f"r3-{uuid.uuid4().hex}", body, self.picture.to_html(), self.style, self.script)

    def to_page(self) -> str:
        """A whole page that needs no other file."""
        return page(self.title, f"<h1>{html_words(self.title, 400)}</h1>{self.body}", self.style, self.script)

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


# -- pages -------------------------------------------------------------------------------------------------------------

_templates = Environment(
    loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
)
_templates.globals |= {"halo": HALO, "ink_on": ink_on, "look_colour": look_colour}
_templates.filters["n"] = lambda value: f"{value:.2f}".rstrip("0").rstrip(".") or "0"  # without a tail of zeros
_templates.filters["words"] = lambda text, limit: Markup(html_words(text, limit))
_templates.filters["line"] = lambda text, limit: Markup(html_line(text, limit))


def render(template: str, **values: Any) -> str:
    """A template of this folder, filled in; what is not marked as safe is escaped.

    Foreign text goes through the filters `words` or `line`, which clean, bound and isolate it.
    """
    return _templates.get_template(template).render(values)


def page(title: str, body: str, extra_style: str = "", extra_script: str = "", library: str = "") -> str:
    """A whole page that needs no other file and no network.

    Parameters
    ----------
    title
        Shown by the window; foreign text.
    body
        Markup whose foreign text is escaped already.
    extra_style
        More rules, our own.
    extra_script
        More code, our own: a function ``view(scope, page)``, called once what every page has is alive.
    library
        Code of a library that `extra_script` calls, in a script of its own before ours; it may style what it draws.

    Returns
    -------
    str
        The file's text, to be written as UTF-8.
    """
    dark = f"@media screen and (prefers-color-scheme: dark){{.r3-page{{{_variables(DARK)}}}}}\n"
    rules = f".r3{{{_variables(LIGHT)}}}\n{dark}{_file('page.css')}{extra_style}"
    start = "view(document, true);\n" if extra_script else ""
    script = f"{_file('page.js')}{extra_script}r3lab(document, true);\n{start}"
    drawn = f" {_digest('')}; style-src-attr 'unsafe-inline'" if library else ""  # an empty style that it fills
    allowed = f"{_digest(library)} {_digest(script)}" if library else _digest(script)
    policy = (
        f"default-src 'none'; img-src data:; style-src {_digest(rules)}{drawn}; script-src {allowed}; "
        "base-uri 'none'; form-action 'none'"
    )
    parts = {"body": body, "style": rules, "script": script, "library": library}
    return render("page.html", title=one_line(title, 200), policy=Markup(policy), **parts)


def fragment(name: str, body: str, fallback: str, extra_style: str = "", extra_script: str = "") -> str:
    """A view for a notebook: a picture that any viewer shows, which our script replaces by the view where scripts run.

    Parameters
    ----------
    name
        Id of the element; one that nothing else on the page has.
    body
        Markup whose foreign text is escaped already.
    fallback
        An ``<img>`` with alt text, for pages that run no code.
    extra_style, extra_script
        As of `page`.
    """
    whole = json.dumps(f"<style>{notebook_style(extra_style)}</style>{body}")
    whole = whole.replace("<", "\\u003c").replace("\u2028", "\\u2028")
    script = (
        f"(function(){{{_file('page.js')}{extra_script}const home=document.getElementById({json.dumps(name)});"
        f"if(home){{home.innerHTML={whole};r3lab(home,false);{'view(home,false);' if extra_script else ''}}}}})();"
    )
    return f'<div id="{name}" class="r3">{fallback}</div><script>{script}</script>'


def notebook_style(extra: str = "") -> str:
    """The rules of a view in a notebook, whose own light or dark theme gives the colours."""
    return f".r3{{{_variables(LIGHT, notebook=True)}}}\n{_file('page.css')}{extra}"


@lru_cache(maxsize=4)
def _file(name: str) -> str:
    """A file beside this module."""
    return (HERE / name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    """The hash by which a policy names a script or a style."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode('utf-8')).digest()).decode('ascii')}'"


_JUPYTER = {  # what JupyterLab and the pages that it exports call these colours
    "paper": "--jp-layout-color0",
    "panel": "--jp-layout-color2",
    "ink": "--jp-content-font-color0",
    "muted": "--jp-content-font-color2",
    "faint": "--jp-border-color2",
}


def _variables(chosen: Theme, notebook: bool = False) -> str:
    """The palette's colours as variables of CSS."""
    colours = {name: getattr(chosen, name) for name in _JUPYTER}
    if notebook:
        colours = {name: f"var({_JUPYTER[name]},{value})" for name, value in colours.items()}
    blue = OKABE_ITO["blue"] if chosen is LIGHT else OKABE_ITO["sky blue"]
    colours |= {"link": blue, "focus": OKABE_ITO["orange"], "look": LOOKS[0] if chosen is LIGHT else LOOKS[3]}
    return "".join(f"--{name}:{value};" for name, value in {**colours, "series": blue}.items())


# -- images inside a page ----------------------------------------------------------------------------------------------

LONGEST = 1024  # pixels: a page shows no picture larger
TINY = 256 * 256  # pixels up to which a PNG is tried
LEAST = 48  # pixels: the longest side is never made smaller
HARD = 160  # pixels: the longer side up to which a picture is enlarged without smoothing
QUALITIES = (88, 76)


@dataclass(frozen=True)
class Embedded:
    """An image as a page holds it.

    Attributes
    ----------
    uri : data URI
    width, height : of the pixels that it holds
    exact : whether these are the image's own pixels
    """

    uri: str
    width: int
    height: int
    exact: bool

    @property
    def hard(self) -> bool:
        """Whether it is so small that a page enlarges it, and its pixels should keep their edges."""
        return self.exact and max(self.width, self.height) <= HARD


def embed(image: Image.Image, most: int = 200_000, longest: int = LONGEST) -> Embedded:
    """An image as a data URI of about `most` characters at most.

    What is small keeps its exact pixels (PNG), so that a page shows a crop as the model got it; a photograph becomes a
    JPEG that is made smaller until it fits.

    Parameters
    ----------
    image
        Any image; shown as RGB.
    most
        Characters of the URI. An image of 48 pixels is not made smaller still, whatever it takes.
    longest
        Pixels of the longer side at most.
    """
    rgb = image if image.mode == "RGB" else image.convert("RGB")
    if rgb.width * rgb.height <= TINY and max(rgb.size) <= longest:
        uri = data_uri(to_png_bytes(rgb))
        if len(uri) <= most:
            return Embedded(uri, *rgb.size, True)
    largest = _at_most(rgb, longest)
    side = float(max(largest.size))
    while True:
        small = _at_most(largest, round(side))
        for quality in QUALITIES:
            buffer = io.BytesIO()
            small.save(buffer, format="JPEG", quality=quality, optimize=True)
            uri = data_uri(buffer.getvalue(), "jpeg")
            if len(uri) <= most:
                return Embedded(uri, *small.size, False)
        if side <= LEAST:
            return Embedded(uri, *small.size, False)
        side = max(float(LEAST), side * min(0.9, (most / len(uri)) ** 0.5))


def _at_most(image: Image.Image, side: int) -> Image.Image:
    longest = max(image.size)
    if longest <= side:
        return image
    w, h = (max(1, round(length * side / longest)) for length in image.size)
    return image.resize((w, h), Image.Resampling.LANCZOS, reducing_gap=2.0)
