"""The table of a sweep: one row a point, always as CSV, and as Parquet where pyarrow is installed.

Columns, in this order: `key`, the parameters, `status`, `seconds`, `attempts`, `place`, `error`, and the results, so
the file alone says what is a parameter and what a result. Numbers stand as they are, lists and the like as JSON,
nothing as an empty cell. Text that a spreadsheet would take for a formula, or a reader for a number, gets an
apostrophe in the CSV, which `read_table` takes away. Simplified: a column of Parquet has one type; where values are of
several, it is text; a list is text too.

    write_table(rows, "runs/sweeps/lesson/table")                     # table.csv, table.parquet
    table = read_table("runs/sweeps/lesson/table.csv")
    table.parameters, table.results, table.rows[0]["accuracy"]
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..core.errors import R3labError, shown
from ..core.files import write_whole
from .parameters import MOST
from .point import FIXED

STATE = FIXED[1:]  # columns between the parameters and the results
LARGEST = 256 * 1024 * 1024  # bytes of a table that is read
_FORMULA = re.compile(r"['=+\-@\t\r]")  # what a spreadsheet takes for a formula; and the apostrophe itself
_NUMBER = re.compile(r"(-?\d{1,19})|-?\d{1,400}(\.\d{0,400})?([eE][+-]?\d{1,3})?")


@dataclass(frozen=True)
class Table:
    """A table that was read: names of its columns by kind, and its rows."""

    parameters: tuple[str, ...]
    results: tuple[str, ...]
    rows: tuple[dict[str, Any], ...]  # column to value; None where there is none


def table_of(
    points: Mapping[str, Mapping[str, Any]], found: Mapping[str, tuple[Mapping[str, Any], Mapping[str, Any]]]
) -> Table:
    """The table of all points.

    Parameters
    ----------
    points
        Parameters by key, in the order of the rows.
    found
        State and results by key, from `Store.row`.
    """
    parameters = tuple(dict.fromkeys(name for values in points.values() for name in values))
    results = tuple(dict.fromkeys(name for key in points for name in found[key][1]))
    empty = dict.fromkeys(("key", *parameters, *STATE, *results))  # every row has every column, in their order
    rows = tuple({**empty, "key": key, **points[key], **found[key][0], **found[key][1]} for key in points)
    return Table(parameters, results, rows)


def write_table(table: Table, stem: str | Path) -> tuple[list[Path], str]:
    """Write `<stem>.csv`, and `<stem>.parquet` if pyarrow is there.

    Returns
    -------
    tuple
        The files, and a word on the one that was not written ("" if both were).

    Raises
    ------
    R3labError
        A file cannot be written.
    """
    columns = ("key", *table.parameters, *STATE, *table.results)
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_text(row.get(name)) for name in columns] for row in table.rows)
    stem = Path(stem)
    files = [write_whole(stem.with_name(f"{stem.name}.csv"), text.getvalue().encode("utf-8"))]
    if find_spec("pyarrow") is None:
        return files, "no Parquet file: it wants pyarrow (pip install pyarrow)"
    import pyarrow
    import pyarrow.parquet

    data = {name: _column([row.get(name) for row in table.rows]) for name in columns}
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table(data), buffer)
    return [*files, write_whole(stem.with_name(f"{stem.name}.parquet"), buffer.getvalue())], ""


def read_table(path: str | Path) -> Table:
    """Read a table that `write_table` wrote, without the sweep's folder.

    Parameters
    ----------
    path
        Ends in .csv or .parquet.

    Raises
    ------
    R3labError
        It cannot be read, or is not such a table.
    """
    path = Path(path)
    name = shown(str(path))
    try:
        if path.stat().st_size > LARGEST:
            raise R3labError(f"{name} has more than {LARGEST // 2**20} MB; a sweep's table is smaller.")
        if path.suffix.lower() == ".parquet":
            columns, rows = _parquet(path)
        else:
            columns, rows = _csv(path.read_text("utf-8-sig"))
    except OSError as error:
        raise R3labError(f"Cannot read the table {name}: {error.strerror or 'no Parquet file'}.") from None
    except (csv.Error, UnicodeDecodeError) as error:
        raise R3labError(f"{name} is not a table in CSV ({type(error).__name__}).") from None
    at = columns.index("status") if "status" in columns else -1
    if columns[:1] != ["key"] or columns[at : at + len(STATE)] != list(STATE) or len(set(columns)) < len(columns):
        raise R3labError(f"{name} is no table of `r3lab sweep`: it wants the columns key, ..., {', '.join(STATE)}, ...")
    if len(rows) > MOST or any(len(row) != len(columns) for row in rows):
        raise R3labError(f"{name} has a row that does not fit its {len(columns)} columns, or more than {MOST:,} rows.")
    found = tuple(dict(zip(columns, row, strict=True)) for row in rows)
    return Table(tuple(columns[1:at]), tuple(columns[at + len(STATE) :]), found)


def _csv(text: str) -> tuple[list[str], list[list[Any]]]:
    lines = [line for line in csv.reader(io.StringIO(text, newline=""), strict=True) if line]
    return (lines[0] if lines else []), [[_value(cell) for cell in line] for line in lines[1:]]


def _parquet(path: Path) -> tuple[list[str], list[list[Any]]]:
    if find_spec("pyarrow") is None:
        raise R3labError("Reading Parquet wants pyarrow (pip install pyarrow). The CSV file beside it needs nothing.")
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.read_table(path)
    except pyarrow.ArrowException as error:
        raise R3labError(f"{shown(str(path))} is no Parquet file ({type(error).__name__}).") from None
    columns = table.to_pydict()
    return list(columns), [[_plain(value) for value in row] for row in zip(*columns.values(), strict=True)]


def _plain(value: Any) -> Any:
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def _text(value: Any) -> str:
    """A value as a cell of the CSV."""
    if value is None:
        return ""
    if isinstance(value, str):
        return f"'{value}" if _FORMULA.match(value) or _NUMBER.fullmatch(value) or value in ("true", "false") else value
    return json.dumps(value)


def _value(cell: str) -> Any:
    """A cell of the CSV as a value."""
    if not cell or cell in ("true", "false"):
        return {"": None, "true": True, "false": False}[cell]
    if match := _NUMBER.fullmatch(cell):
        number = int(cell) if match[1] else float(cell)
        return number if math.isfinite(number) else cell
    return cell[1:] if cell.startswith("'") else cell


def _column(values: Sequence[Any]) -> list[Any]:
    """Values of one type, as a column of Parquet wants them."""
    kinds = {type(value) for value in values if value is not None}
    if kinds <= {int, float}:
        return [float(v) if v is not None and float in kinds else v for v in values]
    if kinds in ({bool}, {str}):
        return list(values)
    return [v if v is None or isinstance(v, str) else json.dumps(v) for v in values]
