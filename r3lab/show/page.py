"""A view as HTML: a page that needs no other file and no network, or the fragment that a notebook's cell shows.

A page states a content security policy: nothing is fetched, nothing is sent, and no script runs but ours, which is
named by its hash. That is the second wall behind escaping (`markup`): text that got through it would still do nothing.
Styles are held to ours in the same way. Simplified: one stylesheet and one script for all views.

    Path("player.html").write_text(page("One look", stage(trajectory, "t1")), encoding="utf-8")
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
from functools import lru_cache
from pathlib import Path

from .lettering import one_line
from .palette import DARK, LIGHT, LOOKS, OKABE_ITO, Theme

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
