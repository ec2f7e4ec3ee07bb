"""The points of a sweep, from `-p name=values` and a list of points; all of them checked before anything starts.

Values are split at commas outside brackets and quotes and read by the type of the notebook's default; `0..4` is
0, 1, 2, 3, 4 and `0..8..4` is 0, 4, 8 where the default is a number. Every value of one name meets every value of the
others. Simplified: ranges are of whole numbers, upwards.

    grid = read_grid(["group=4,8,16", "seed=0..4"], {"group": 8, "seed": 0})     # {"group": [4, 8, 16], "seed": ...}
    points = cross(grid, [{}])                                                   # 15 of {"group": 4, "seed": 0}, ...
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from r3lab.errors import R3labError, nearest, shown
from r3lab.notebook_parameters import check_parameters, parse_parameters

MOST = 10_000  # points of a sweep
_RANGE = re.compile(r"(-?\d{1,18})\.\.(-?\d{1,18})(?:\.\.(\d{1,18}))?")
_OPEN, _CLOSE, _QUOTES = "([{", ")]}", "'\""


def read_grid(texts: Sequence[str], defaults: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Read what was given as `-p name=values`.

    Parameters
    ----------
    texts
        One for each name.
    defaults
        Of the notebook, from `notebook_parameters.parameters_of`.

    Returns
    -------
    dict
        Name to its values, in the types of the defaults.

    Raises
    ------
    R3labError
        No `name=values`, a name that is given twice or that the notebook does not have, a value of another type, a
        range that is empty or endless.
    """
    grid: dict[str, list[Any]] = {}
    for text in texts:
        name, mark, values = text.partition("=")
        name = name.strip()
        if not mark or not name:
            raise R3labError(f"-p got {shown(text)}; wanted NAME=VALUES, as in -p seed=0..4 or -p group=4,8,16.")
        if name in grid:
            raise R3labError(f"-p gives {shown(name)} twice. Put all its values behind one -p, with commas.")
        known_name(name, defaults)
        grid[name] = [_value(name, item, defaults) for item in _items(name, values, defaults[name])]
    return grid


def known_name(name: str, defaults: Mapping[str, Any]) -> None:
    """Raise an `R3labError` with the nearest name if the notebook has no such parameter."""
    if name not in defaults:
        known = f"It has {', '.join(defaults)}." if defaults else "It has no cell tagged `parameters`."
        raise R3labError(f"The notebook has no parameter {shown(name)}.{nearest(name, defaults)} {known}")


def cross(grid: Mapping[str, Sequence[Any]], listed: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Every point of the list with every combination of the grid, the last name of the grid changing fastest.

    Raises
    ------
    R3labError
        A name stands in both, or there would be too many points.
    """
    for point in listed:
        both = [name for name in point if name in grid]
        if both:
            raise R3labError(f"{shown(both[0])} is given both by -p and in the list of points. Give it once.")
    count = len(listed) * math.prod(len(values) for values in grid.values())
    if count > MOST:
        raise R3labError(f"That makes {count:,} points; a sweep has at most {MOST:,}. Give fewer values.")
    combinations = [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]
    return [{**point, **combination} for point in listed for combination in combinations]


def _items(name: str, text: str, default: Any) -> list[str]:
    """The texts of the single values, ranges written out."""
    found: list[str] = []
    for item in _split(name, text):
        match = _RANGE.fullmatch(item)
        if match is None or isinstance(default, str):
            found.append(item)
            continue
        first, last, step = int(match[1]), int(match[2]), int(match[3] or 1)
        if step < 1 or last < first:
            raise R3labError(f"The range {item} of {name!r} is empty; wanted FIRST..LAST or FIRST..LAST..STEP.")
        if (last - first) // step >= MOST:
            raise R3labError(f"The range {item} of {name!r} has more than {MOST:,} values. Give a shorter one.")
        found += [str(number) for number in range(first, last + 1, step)]
    return found


def _split(name: str, text: str) -> list[str]:
    """`text` cut at the commas that stand in no bracket and no quotation marks."""
    items, depth, quote, start = [], 0, "", 0
    for at, sign in enumerate(text):
        if quote:
            quote = "" if sign == quote else quote
        elif sign in _QUOTES:
            quote = sign
        elif sign in _OPEN:
            depth += 1
        elif sign in _CLOSE:
            depth -= 1
        elif sign == "," and depth == 0:
            items.append(text[start:at].strip())
            start = at + 1
    items.append(text[start:].strip())
    if quote or depth or "" in items:
        trouble = "an open quotation mark" if quote else "an open bracket" if depth else "an empty value"
        raise R3labError(f"-p {name} has {trouble} in {shown(text)}; wanted values with commas between them.")
    return items


def _value(name: str, text: str, defaults: Mapping[str, Any]) -> Any:
    if isinstance(defaults[name], str) and len(text) > 1 and text[0] in _QUOTES and text[-1] == text[0]:
        text = text[1:-1]  # the marks only kept its commas together
    read = parse_parameters([[name, text]], dict(defaults))
    return check_parameters(read, dict(defaults))[name]
