"""Formulas as MathML, which browsers draw by themselves: no script, no font, no network.

The converter is latex2mathml's. It takes what it does not know for text; that is an error here. Simplified: a
`\\tag{...}` becomes text at the end of the formula.

    mathml(r"r = \\frac{a}{b} \\tag{1}", block=True)
"""

from __future__ import annotations

import re

from latex2mathml.converter import convert

from r3lab.errors import R3labError, shown

_TAG = re.compile(r"\\tag\{([^{}]*)\}")
_UNKNOWN = re.compile(r"\\[A-Za-z]+")


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
