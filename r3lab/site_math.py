"""Formulas of the course's site as MathML, which browsers draw by themselves: no script, no font, no network.

A Sphinx extension of a few lines around the converter that docutils brings. Simplified: a `\\tag{...}` becomes text at
the end of the formula; what the converter does not know is an error that shows the formula.

    Sphinx(..., confoverrides={"extensions": ["r3lab.site_math"], "html_math_renderer": "mathml"})
    mathml(r"r = \\frac{a}{b} \\tag{1}", block=True)
"""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml

from r3lab.errors import R3labError, shown

_TAG = re.compile(r"\\tag\{([^{}]*)\}")
_PLAINER = (  # what the converter does not know, in words that it does
    (re.compile(r"\\[bB]igg?[lrm]?(?![A-Za-z])"), ""),  # sizes of brackets: MathML stretches them by itself
    (re.compile(r"\\dots(?![A-Za-z])"), r"\\ldots"),
    (re.compile(r"\\mathrel\{([^{}]*)\}"), r"\1"),
)


def mathml(tex: str, block: bool = False) -> str:
    """A formula as a MathML element.

    Raises
    ------
    R3labError
        If it holds something that cannot be converted.
    """
    found = _TAG.search(tex)
    number = f"\\qquad \\text{{({found[1]})}}" if found else ""
    plain = _TAG.sub("", tex).strip()
    for pattern, words in _PLAINER:
        plain = pattern.sub(words, plain)
    try:
        return str(tex2mathml(f"{plain}{number}", as_block=block))
    except MathError as error:
        raise R3labError(
            f"The formula {shown(tex, 200)} cannot be drawn: {shown(str(error))}; write it simpler."
        ) from None


def _inline(translator: Any, node: nodes.Element) -> None:
    translator.body.append(mathml(node.astext()))
    raise nodes.SkipNode


def _block(translator: Any, node: nodes.Element) -> None:
    translator.body.append(f'<div class="math" tabindex="0">{mathml(node.astext(), block=True)}</div>')
    raise nodes.SkipNode


def setup(app: Any) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_html_math_renderer("mathml", inline_renderers=(_inline, None), block_renderers=(_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
