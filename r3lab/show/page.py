"""A view as HTML: a page that needs no other file and no network, or the fragment that a notebook's cell shows; and the
pictures inside it, each once, small enough, as a data URI.

    Path("player.html").write_text(page("One look", stage(trajectory, "t1")), encoding="utf-8")
    found = embed(photo, most=120_000)
    found.uri, found.width, found.exact           # "data:image/jpeg;base64,...", 896, False

A page states a content security policy: nothing is fetched, nothing is sent, and no script runs but ours, which is
named by its hash; so are styles. That is the second wall behind escaping (`text`): text that got through it would still
do nothing. What is small keeps its exact pixels (PNG), so that a page shows a crop as the model got it; a photograph
becomes a JPEG that is made smaller until it fits its share of a budget. Simplified: one stylesheet and one script for
all views; the shares are fixed, and an overview as large as the photograph that the page shows is not held twice.
"""

from __future__ import annotations

import base64
import hashlib
import html
import io
import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from PIL import Image

from ..core.images import to_png_bytes
from ..trajectory import Trajectory
from .palette import DARK, LIGHT, LOOKS, OKABE_ITO, Theme
from .story import overview, photograph
from .text import one_line

HERE = Path(__file__).parent
IMAGES = "data:"


def page(title: str, body: str, extra_style: str = "", extra_script: str = "", library: str = "") -> str:
    """A whole page.

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
    style, start = f"{_variables()}{_file('page.css')}{extra_style}", "view(document, true);\n" if extra_script else ""
    script = f"{_file('page.js')}{extra_script}r3lab(document, true);\n{start}"
    drawn = f" '{_digest('')}'; style-src-attr 'unsafe-inline'" if library else ""  # an empty style that it fills
    allowed = f"'{_digest(library)}' '{_digest(script)}'" if library else f"'{_digest(script)}'"
    policy = (
        f"default-src 'none'; img-src {IMAGES}; style-src '{_digest(style)}'{drawn}; script-src {allowed}; "
        "base-uri 'none'; form-action 'none'"
    )
    first = f"<script>{library}</script>\n" if library else ""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="referrer" content="no-referrer">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n<meta name="generator" content="r3lab">\n'
        f"<title>{html.escape(one_line(title, 200))}</title>\n<style>{style}</style>\n</head>\n"
        f'<body class="r3 r3-page">\n<main>\n{body}\n</main>\n{first}<script>{script}</script>\n</body>\n</html>\n'
    )


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
    style = notebook_style(extra_style)
    whole = json.dumps(f"<style>{style}</style>{body}").replace("<", "\\u003c").replace("\u2028", "\\u2028")
    script = (
        f"(function(){{{_file('page.js')}{extra_script}const home=document.getElementById({json.dumps(name)});"
        f"if(home){{home.innerHTML={whole};r3lab(home,false);{'view(home,false);' if extra_script else ''}}}}})();"
    )
    return f'<div id="{name}" class="r3">{fallback}</div><script>{script}</script>'


def notebook_style(extra: str = "") -> str:
    """The rules of a view in a notebook, whose own light or dark theme gives the colours."""
    return f"{_variables(notebook=True)}{_file('page.css')}{extra}"


@lru_cache(maxsize=4)
def _file(name: str) -> str:
    """A file beside this module."""
    return (HERE / name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")


@lru_cache(maxsize=2)
def _variables(notebook: bool = False) -> str:
    """The palette's colours as variables; a page follows the reader's light or dark, a notebook its own theme."""
    if notebook:
        return f".r3{{{_of(LIGHT, _JUPYTER)}}}\n"
    dark = f"@media screen and (prefers-color-scheme: dark){{.r3-page{{{_of(DARK)}}}}}\n"
    return f".r3{{{_of(LIGHT)}}}\n{dark}"


_JUPYTER = {  # what JupyterLab and the pages that it exports call these colours
    "paper": "--jp-layout-color0",
    "panel": "--jp-layout-color2",
    "ink": "--jp-content-font-color0",
    "muted": "--jp-content-font-color2",
    "faint": "--jp-border-color2",
}


def _of(chosen: Theme, names: dict[str, str] | None = None) -> str:
    blue = OKABE_ITO["blue"] if chosen is LIGHT else OKABE_ITO["sky blue"]
    colours = {name: getattr(chosen, name) for name in ("paper", "panel", "ink", "muted", "faint")}
    if names:
        colours = {name: f"var({names[name]},{value})" for name, value in colours.items()}
    colours |= {"link": blue, "focus": OKABE_ITO["orange"], "look": LOOKS[0] if chosen is LIGHT else LOOKS[3]}
    colours["series"] = blue
    return "".join(f"--{name}:{value};" for name, value in colours.items())


LONGEST = 1024  # pixels: a page shows no picture larger
TINY = 256 * 256  # pixels up to which a PNG is tried
LEAST = 48  # pixels: the longest side is never made smaller
HARD = 160  # pixels: the longer side up to which a picture is enlarged without smoothing
QUALITIES = (88, 76)
BUDGET = 1_200_000  # characters of all pictures of one trajectory
SHARES = (0.4, 0.15, 0.45)  # of the budget: photograph, overview, all crops


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
        uri = data_uri("png", to_png_bytes(rgb))
        if len(uri) <= most:
            return Embedded(uri, *rgb.size, True)
    largest = _at_most(rgb, longest)
    side = float(max(largest.size))
    while True:
        small = _at_most(largest, round(side))
        for quality in QUALITIES:
            uri = data_uri("jpeg", _jpeg(small, quality))
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


def _jpeg(image: Image.Image, quality: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format="JPEG", quality=quality, optimize=True)
    return buffer.getvalue()


def data_uri(kind: str, data: bytes) -> str:
    """An image file as a URI that holds it."""
    return f"data:image/{kind};base64," + base64.b64encode(data).decode("ascii")


@dataclass(frozen=True)
class Pictures:
    """The images of a trajectory, ready for a page; None where one was not kept.

    Attributes
    ----------
    photo : the source photograph
    overview : what the model saw first; the same object as `photo` where that is as good
    crops : one a look, None also where it was refused
    """

    photo: Embedded | None
    overview: Embedded | None
    crops: list[Embedded | None]


def pictures_of(t: Trajectory, budget: int = BUDGET, looks: int = 16) -> Pictures:
    """The images of a trajectory within a budget.

    Parameters
    ----------
    budget
        Characters of all of them together, about.
    looks
        Looks whose crops are embedded, the first ones.
    """
    source, first = photograph(t), overview(t)
    photo = embed(source, round(SHARES[0] * budget)) if source is not None else None
    seen = photo
    if first is not None and not (photo and first.width >= photo.width):
        seen = embed(first, round(SHARES[1] * budget))
    shown = t.looks[:looks]
    held = sum(look.crop is not None for look in shown)
    each = round(SHARES[2] * budget / max(1, held))
    crops = []
    for look in shown:
        crop = t.images.get(look.crop.hash) if look.crop else None
        crops.append(embed(crop, each) if crop is not None else None)
    return Pictures(photo, seen, crops)
