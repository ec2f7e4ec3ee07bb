"""Formulas of the course's site: a Sphinx extension of a few lines around `formulas.mathml`.

Simplified: what the converter does not know is an error that shows the formula, and then there is no site.

    Sphinx(..., confoverrides={"extensions": ["r3lab.run.site_math"], "html_math_renderer": "mathml"})
"""

from __future__ import annotations

from typing import Any

from docutils import nodes

from .notebook import mathml


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
