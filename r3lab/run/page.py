"""An executed notebook as a page that opens from disk without a network.

nbconvert makes it. What it would fetch from elsewhere is left out: formulas are MathML, which browsers draw by
themselves, and figures bring their own script. latex2mathml takes what it does not know for text; `mathml` makes that
an error. Simplified: a `\\tag{...}` becomes text at the end of the formula; a formula that cannot be converted stands
as it was written, unless an error is asked for.

    page_of(notebook, "02_rgrpo")                                    # HTML
    with_small_pictures(page)                                        # about a third of it
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from copy import deepcopy
from html import escape
from io import BytesIO
from typing import Any

from jinja2 import pass_context
from latex2mathml.converter import convert
from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from nbconvert.preprocessors import CoalesceStreamsPreprocessor, Preprocessor
from nbformat import NotebookNode
from PIL import Image

from ..core.errors import R3labError, shown

_TAG = re.compile(r"\\tag\{([^{}]*)\}")
_UNKNOWN = re.compile(r"\\[A-Za-z]+")
_ELSEWHERE = re.compile(r"<script[^>]*\bsrc=\"https?://[^\"]*\"[^>]*>\s*</script>")
_MATHJAX = re.compile(r"<!-- MathJax configuration -->.*?<!-- End of mathjax configuration -->", re.S)
_PNG = re.compile(r'(?<=src=")data:image/png;base64,([A-Za-z0-9+/=\s]+)(?=")')
WIDEST = 500  # characters of a line of a progress bar; the expression takes quadratic time on longer ones
QUALITY = 75  # of WebP: print on pictures stays legible

_BARS = re.compile(r"[^\n]*\d+%\|[^\n]*\||[^\n]*\d \[\d\d:|\s*$")  # a line of a progress bar
# The browser's serif runs small beside the page's font; nbconvert's own rule breaks long lines inside of words.
_STYLE = (
    "<style>math { font-size: 115%; }"
    ".jp-OutputArea-output pre, .jp-RenderedText pre { word-break: normal; overflow-wrap: anywhere; }</style>"
)


def mathml(tex: str, block: bool = False) -> str:
    """A formula as a MathML element.

    Parameters
    ----------
    tex
        LaTeX, without its dollars.
    block
        Set apart, in the middle of a line of its own.

    Raises
    ------
    R3labError
        If it holds something that cannot be converted.
    """
    found = _TAG.search(tex)
    number = f"\\qquad \\text{{({found[1]})}}" if found else ""
    try:
        made: str = convert(f"{_TAG.sub('', tex).strip()}{number}", display="block" if block else "inline")
    except Exception as error:  # of a dozen kinds, none of them the converter's own
        raise R3labError(
            f"The formula {shown(tex, 200)} cannot be drawn: {shown(type(error).__name__)}; write it simpler."
        ) from None
    unknown = _UNKNOWN.search(made)
    if unknown:
        raise R3labError(f"The formula {shown(tex, 200)} cannot be drawn: {shown(unknown[0])} is not known.")
    return made


class _Renderer(IPythonRenderer):
    """Markdown with formulas drawn."""

    strict = False  # a formula that cannot be drawn is an error

    def block_math(self, body: str) -> str:
        return self.drawn(body, True)

    def inline_math(self, body: str) -> str:
        return self.drawn(body, False)

    def drawn(self, tex: str, block: bool) -> str:
        try:
            return mathml(tex, block)
        except R3labError:
            if self.strict:
                raise
            return f"<code>{escape(tex)}</code>"


class _Bars(Preprocessor):
    """Progress bars are no errors: where the error stream holds nothing else, it is shown like what was printed."""

    def preprocess_cell(self, cell: NotebookNode, resources: Any, index: int) -> tuple[NotebookNode, Any]:
        for output in cell.get("outputs", []):
            lines = re.split(r"[\r\n]", output["text"]) if output.get("name") == "stderr" else []
            if lines and all(len(line) <= WIDEST and _BARS.match(line) for line in lines):
                output["name"] = "stdout"
        return cell, resources


class _Exporter(HTMLExporter):
    """nbconvert's, with that renderer."""

    strict = False

    @pass_context
    def markdown2html(self, context: Any, source: str) -> str:
        cell = context.get("cell", {})
        renderer = _Renderer(escape=False, attachments=cell.get("attachments", {}), anchor_link_text="¶")
        renderer.strict = self.strict
        page: str = MarkdownWithMath(renderer=renderer).render(source)
        return page


def page_of(notebook: NotebookNode, name: str, strict: bool = False) -> str:
    """The page of a notebook.

    Parameters
    ----------
    notebook
        With its outputs.
    name
        Title of the page.
    strict
        A formula that cannot be drawn is an error.
    """
    exporter = _Exporter(preprocessors=[CoalesceStreamsPreprocessor, _Bars])  # printed bit by bit, it is one text
    exporter.strict = strict
    page, _ = exporter.from_notebook_node(_still(notebook), resources={"metadata": {"name": name}})
    head, body = page.split("<body", 1)
    head = _MATHJAX.sub("", _ELSEWHERE.sub("", head))
    return f"{head.replace('</head>', f'{_STYLE}</head>')}<body{body}"


def with_small_pictures(page: str) -> str:
    """The same page with its PNG pictures as WebP, where that is smaller."""

    def small(found: re.Match[str]) -> str:
        made = BytesIO()
        try:
            with Image.open(BytesIO(b64decode(found[1])), formats=["PNG"]) as image:
                image.save(made, "WEBP", quality=QUALITY, method=6)
        except (OSError, ValueError):  # whatever it is, it stays
            return found[0]
        return min(f"data:image/webp;base64,{b64encode(made.getvalue()).decode()}", found[0], key=len)

    return _PNG.sub(small, page)


def _still(notebook: NotebookNode) -> NotebookNode:
    """The notebook without what no page can use that has neither kernel nor network: widgets, data of applications."""
    found = deepcopy(notebook)
    found.metadata.pop("widgets", None)
    for output in (output for cell in found.cells for output in cell.get("outputs", [])):
        if "data" in output:
            output.data = {kind: data for kind, data in output.data.items() if not kind.startswith("application/")}
    return found
