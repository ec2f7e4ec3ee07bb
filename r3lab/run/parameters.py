"""The parameters of a notebook: what its `parameters` cell declares, and what a caller may put in its place.

The cell tagged `parameters` holds one literal a line with a comment. A value given for another name, or of another type
than the default, is an error here, before anything runs; papermill only logs the first and does not see the second. The
points of a sweep are values of many such names, from `-p NAME=VALUES` and a file of points; every value of one name
meets every value of the others. All are checked before anything starts, and an error says where it stands.

Simplified: literals only (numbers, text, booleans, None, lists, tuples, dicts with text keys); what is inside a list or
dict is not compared with the default's. Ranges are of whole numbers, upwards. A file of points is read whole.

    defaults = parameters_of(read_notebook("notebooks/02_rgrpo.ipynb"))
    given = check_parameters({"steps": 40}, defaults)
    points = cross(read_grid(["group=4,8,16", "seed=0..4"], defaults), read_points("points.csv", defaults))
"""

from __future__ import annotations

import ast
import contextlib
import csv
import io
import itertools
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode
from papermill import inspect_notebook
from papermill.models import Parameter
from papermill.translators import PythonTranslator, papermill_translators

from ..core.errors import R3labError, nearest, shown
from ..core.records import parse

INJECTED = "injected-parameters"  # papermill's tag of the cell that it adds
KERNEL = "r3lab"  # the kernel for which papermill reads and writes parameters by `Literals`
MOST = 10_000  # points of a sweep
LARGEST = 32 * 1024 * 1024  # bytes of a file of points
_RANGE = re.compile(r"(-?\d{1,18})\.\.(-?\d{1,18})(?:\.\.(\d{1,18}))?")
_QUOTES, _QUOTED = set("'\""), re.compile(r"'[^']*'|\"[^\"]*\"")


def tags(cell: NotebookNode) -> list[str]:
    """The tags of a cell."""
    return list(cell.metadata.get("tags", []))


def read_notebook(path: str | Path) -> NotebookNode:
    """Read a Python notebook.

    Parameters
    ----------
    path
        An .ipynb file of any format version; it is brought to the newest 4.x, where every cell has an id.

    Returns
    -------
    NotebookNode

    Raises
    ------
    R3labError
        No such file, not a notebook, or not a Python one.
    """
    name = shown(str(path))
    try:
        nb = nbformat.v4.upgrade(nbformat.reads(Path(path).read_text("utf-8"), as_version=4))
        nbformat.validate(nb)
    except OSError as error:
        raise R3labError(f"Cannot read the notebook {name}: {error.strerror}. Check the path.") from None
    except Exception as error:
        raise R3labError(f"{name} is not a notebook ({type(error).__name__}). Give an .ipynb file.") from None
    language = nb.metadata.get("kernelspec", {}).get("language", "python")
    if language != "python":
        raise R3labError(f"{name} is written in {shown(language)}. r3lab runs Python notebooks only.")
    return nb


class Literals(PythonTranslator):
    """papermill's way to read and to write parameters, exact: a default with `=` or `#` in it, a tuple."""

    @classmethod
    def inspect(cls, parameters_cell: NotebookNode) -> list[Parameter]:
        """What a cell declares: every assignment is a name and a literal, or an `R3labError` names its line."""
        found = []
        try:
            lines = ast.parse(parameters_cell.source).body
        except SyntaxError as error:
            raise R3labError(f"Line {error.lineno} of the parameters cell is not Python: {error.msg}.") from None
        for line in lines:
            try:
                match line:
                    case ast.Expr() | ast.Import() | ast.ImportFrom():  # a docstring, say
                        continue
                    case (
                        ast.Assign(targets=[ast.Name(id=name)], value=value)
                        | ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value)
                    ):
                        default = ast.literal_eval(value)
                        found.append(Parameter(name, type(default).__name__, repr(default), ""))
                    case _:
                        raise ValueError
            except ValueError:
                told = f"Line {line.lineno} of the parameters cell is {shown(ast.unparse(line))}."
                raise R3labError(f"{told} It must be `name = literal`; compute in a later cell.") from None
        return found

    @classmethod
    def translate(cls, val: Any) -> str:
        """A value as Python reads it back."""
        return repr(val)


papermill_translators.register(KERNEL, Literals)


def parameters_of(nb: NotebookNode) -> dict[str, Any]:
    """What papermill finds in the cell tagged `parameters`.

    Returns
    -------
    dict
        Name to default, in the order of the cell; empty where no cell has the tag.

    Raises
    ------
    R3labError
        An assignment in that cell is not a name and a literal.
    """
    kernel = {"name": KERNEL, "display_name": KERNEL, "language": "python"}
    ours = nbformat.v4.new_notebook(cells=nb.cells, metadata={"kernelspec": kernel})
    return {name: ast.literal_eval(one["default"]) for name, one in inspect_notebook(ours).items()}


def known_name(name: str, defaults: Mapping[str, Any]) -> None:
    """Raise an `R3labError` with the nearest name if the notebook has no such parameter."""
    if name not in defaults:
        known = f"It has {', '.join(defaults)}." if defaults else "It has no cell tagged `parameters`."
        raise R3labError(f"The notebook has no parameter {shown(name)}.{nearest(name, defaults)} {known}")


def check_parameters(given: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Hold what is given against what the notebook declares.

    Parameters
    ----------
    given
        Name to value.
    defaults
        From `parameters_of`. Where a default is None, any type is accepted.

    Returns
    -------
    dict
        `given` in the types of the defaults: an int became a float, a list a tuple, where the default is one.

    Raises
    ------
    R3labError
        Unknown name, another type, or a value that JSON cannot hold (nan, a set, an object).
    """
    checked: dict[str, Any] = {}
    for name, value in given.items():
        known_name(name, defaults)
        wanted, got = type(defaults[name]), type(value)
        if (wanted, got) in ((float, int), (list, tuple), (tuple, list)):
            value = wanted(value)
        elif defaults[name] is not None and wanted is not got:
            raise R3labError(
                f"Parameter {name!r} got {shown(value)} ({got.__name__}), wanted {wanted.__name__}, "
                f"like its default {shown(defaults[name])}."
            )
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise R3labError(f"Parameter {name!r} got {shown(value)}, not fit for JSON: {error}.") from None
        checked[name] = value
    return checked


def read_value(name: str, text: str, defaults: Mapping[str, Any]) -> Any:
    """A value that was written as text, checked: the text itself where the default is one, else a Python literal.

    `true`, `false` and `null` are read too; `defaults` are those of `parameters_of`.
    """
    known_name(name, defaults)
    value: Any = text
    if not isinstance(defaults[name], str):
        with contextlib.suppress(SyntaxError, ValueError):
            value = ast.literal_eval({"true": "True", "false": "False", "null": "None"}.get(text, text))
    return check_parameters({name: value}, defaults)[name]


def split_pair(text: str, wanted: str = "NAME=VALUE, as in -p seed=3") -> tuple[str, str]:
    """Name and text of one `-p NAME=VALUE`.

    Raises
    ------
    R3labError
        It has no name, or no `=`.
    """
    name, mark, value = text.partition("=")
    if not mark or not name.strip():
        raise R3labError(f"-p got {shown(text)}; wanted {wanted}.")
    return name.strip(), value


def read_values(texts: Sequence[str], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Read what was given as `-p NAME=VALUE`, one value for each name; the last one counts.

    Raises
    ------
    R3labError
        No `NAME=VALUE`, a name that the notebook does not have, a value of another type.
    """
    return {name: read_value(name, value, defaults) for name, value in map(split_pair, texts)}


def read_grid(texts: Sequence[str], defaults: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Read what was given as `-p NAME=VALUES`.

    Values are split at commas outside brackets and quotes and read by the type of the notebook's default; `0..4` is
    0, 1, 2, 3, 4 and `0..8..4` is 0, 4, 8 where the default is a number.

    Parameters
    ----------
    texts
        One for each name.
    defaults
        Of the notebook, from `parameters_of`.

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
        name, values = split_pair(text, "NAME=VALUES, as in -p seed=0..4 or -p group=4,8,16")
        if name in grid:
            raise R3labError(f"-p gives {shown(name)} twice. Put all its values behind one -p, with commas.")
        known_name(name, defaults)
        grid[name] = [read_value(name, item, defaults) for item in _items(name, values, defaults[name])]
    return grid


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
        if isinstance(default, str) and len(item) > 1 and item[0] in _QUOTES and item[-1] == item[0]:
            item = item[1:-1]  # the marks only kept its commas together
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
    items: list[str] = []
    part = None  # what is open
    for piece in text.split(","):
        part = piece if part is None else f"{part},{piece}"
        bare = _QUOTED.sub("", part)
        if all(bare.count(pair[0]) == bare.count(pair[1]) for pair in ("()", "[]", "{}")) and not _QUOTES & set(bare):
            items.append(part.strip())
            part = None
    if part is not None or "" in items:
        trouble = "an empty value" if part is None else "an open bracket or quotation mark"
        raise R3labError(f"-p {name} has {trouble} in {shown(text)}; wanted values with commas between them.")
    return items


def read_points(path: str | Path, defaults: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Read a file of points: CSV with the names in its first line, JSON (a list of objects), or JSON lines.

    A table's values are read by the notebook's defaults, as the command line's are; JSON brings its own types.

    Parameters
    ----------
    path
        Ends in .csv, .json or .jsonl.
    defaults
        Of the notebook, from `parameters_of`.

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
    path = Path(path)
    name = shown(str(path))
    if path.suffix.lower() not in (".csv", ".json", ".jsonl"):
        raise R3labError(f"Cannot read points from {name}: end its name in .csv, .json, .jsonl.")
    try:
        if path.stat().st_size > LARGEST:
            raise R3labError(f"{name} has more than {LARGEST // 2**20} MB; a list of points is smaller.")
        text = path.read_text("utf-8-sig")
    except OSError as error:
        raise R3labError(f"Cannot read the points in {name}: {error.strerror}. Check the path.") from None
    except UnicodeDecodeError:
        raise R3labError(f"{name} is not UTF-8 text. Save it as UTF-8.") from None
    found = list(_listed(text, path.suffix.lower(), name))
    if not 0 < len(found) <= MOST:
        raise R3labError(f"{name} has {len(found):,} points; wanted 1 to {MOST:,}.")
    points = []
    for where, point in found:
        try:
            if not isinstance(point, dict):
                raise R3labError(f"{shown(point)}; wanted an object of parameters.")
            if path.suffix.lower() == ".csv":
                point = {key: read_value(key, value.strip(), defaults) for key, value in point.items()}
            points.append(check_parameters(point, defaults))
        except R3labError as error:
            raise R3labError(f"{where}: {error}") from None
    return points


def _listed(text: str, kind: str, name: str) -> Iterator[tuple[str, Any]]:
    """Where each point of a file stands, and the point; texts by name in a table."""
    if kind == ".jsonl":
        for number, line in enumerate(text.split("\n"), start=1):
            if line.strip():
                yield f"{name}, line {number}", parse(line, f"{name}, line {number}")
    elif kind == ".json":
        points = parse(text, name)
        if not isinstance(points, list):
            raise R3labError(f"{name} holds {shown(points)}; wanted a list of objects, one a point.")
        yield from ((f"{name}, point {number}", point) for number, point in enumerate(points, start=1))
    else:
        rows = csv.DictReader(io.StringIO(text, newline=""), strict=True, skipinitialspace=True)
        try:
            if len(set(rows.fieldnames or ())) < len(rows.fieldnames or ()):
                raise R3labError(f"{name} names a column twice in its first line. Each parameter has one column.")
            for row in rows:
                if None in row or None in row.values():
                    raise R3labError(f"{name}, line {rows.line_num}: wanted one value under each name. Mend the line.")
                yield f"{name}, line {rows.line_num}", row
        except csv.Error as error:
            raise R3labError(f"{name} is not CSV: {error}.") from None
