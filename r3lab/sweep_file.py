"""A list of points from a file: CSV with the names in its first line, JSON (a list of objects), or JSON lines.

A table's values are read by the notebook's defaults, as the command line's are; JSON brings its own types. Every point
is checked against the notebook, and an error says which one it was. Simplified: the file is read whole.

    points = read_points("points.csv", {"group": 8, "seed": 0})       # [{"group": 4, "seed": 0}, ...]
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from r3lab.errors import R3labError, shown
from r3lab.notebook_parameters import check_parameters, parse_parameters
from r3lab.sweep_grid import MOST, known_name

LARGEST = 32 * 1024 * 1024  # bytes
KINDS = (".csv", ".json", ".jsonl")


def read_points(path: str | Path, defaults: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Read a file of points.

    Parameters
    ----------
    path
        Ends in .csv, .json or .jsonl.
    defaults
        Of the notebook, from `notebook_parameters.parameters_of`.

    Returns
    -------
    list of dict
        Name to value, in the types of the defaults; not every name need be there.

    Raises
    ------
    R3labError
        The file cannot be read, is of another kind, has no point or too many; or a point has an unknown name, a value
        of another type or an empty place.
    """
    path, known = Path(path), dict(defaults)
    name = shown(str(path))
    if path.suffix.lower() not in KINDS:
        raise R3labError(f"Cannot read points from {name}: end its name in {', '.join(KINDS)}.")
    try:
        if path.stat().st_size > LARGEST:
            raise R3labError(f"{name} has more than {LARGEST // 2**20} MB; a list of points is smaller.")
        text = path.read_text("utf-8-sig")
    except OSError as error:
        raise R3labError(f"Cannot read the points in {name}: {error.strerror}. Check the path.") from None
    except UnicodeDecodeError:
        raise R3labError(f"{name} is not UTF-8 text. Save it as UTF-8.") from None
    read = {".csv": _csv, ".json": _json, ".jsonl": _lines}[path.suffix.lower()]
    found = read(text, name, known)
    if not 0 < len(found) <= MOST:
        raise R3labError(f"{name} has {len(found):,} points; wanted 1 to {MOST:,}.")
    checked = []
    for where, point in found:
        try:
            for key in point:
                known_name(key, known)
            checked.append(check_parameters(point, known))
        except R3labError as error:
            raise R3labError(f"{name}, {where}: {error}") from None
    return checked


def _csv(text: str, name: str, known: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except csv.Error as error:
        raise R3labError(f"{name} is not CSV: {error}.") from None
    head = [column.strip() for column in rows[0]] if rows else []
    if len(set(head)) < len(head):
        raise R3labError(f"{name} names a column twice in its first line. Each parameter has one column.")
    found = []
    for number, row in enumerate(rows[1:], start=2):
        if not row:
            continue
        if len(row) != len(head):
            raise R3labError(f"{name}, line {number}: {len(row)} values under {len(head)} names. Mend the line.")
        for column, value in zip(head, row, strict=True):
            if not value.strip() and not isinstance(known.get(column), str):
                raise R3labError(f"{name}, line {number}: no value for {shown(column)}. Write one.")
        pairs = [[column, value.strip()] for column, value in zip(head, row, strict=True)]
        found.append((f"line {number}", parse_parameters(pairs, known)))
    return found


def _json(text: str, name: str, known: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    points = _parsed(text, name, "the file")
    if not isinstance(points, list):
        raise R3labError(f"{name} holds {shown(points)}; wanted a list of objects, one a point.")
    return [(f"point {i}", _object(point, name, f"point {i}")) for i, point in enumerate(points, start=1)]


def _lines(text: str, name: str, known: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    lines = [(f"line {i}", line) for i, line in enumerate(text.split("\n"), start=1) if line.strip()]
    return [(where, _object(_parsed(line, name, where), name, where)) for where, line in lines]


def _parsed(text: str, name: str, where: str) -> Any:
    try:
        return json.loads(text, parse_constant=_refused, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise R3labError(f"{name}, {where}: not JSON that can be used ({error}).") from None


def _object(point: Any, name: str, where: str) -> dict[str, Any]:
    if not isinstance(point, dict):
        raise R3labError(f"{name}, {where}: {shown(point)}; wanted an object of parameters.")
    return point


def _refused(constant: str) -> None:
    raise ValueError(f"{constant} is no value")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name stands twice in one object")
    return found
