"""The parameters of a notebook: what its `parameters` cell declares, and what a caller may put in its place.

The cell tagged `parameters` holds one literal a line with a comment. A value given for another name, or of
another type than the default, is an error here: papermill only logs the first and does not see the second.

Simplified: literals only (numbers, text, booleans, None, lists, tuples, dicts with text keys); what is inside
a list or dict is not compared with the default's.

    nb = read_notebook("notebooks/02_rgrpo.ipynb")
    given = check_parameters({"steps": 40}, parameters_of(nb))
"""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

from r3lab.errors import R3labError, nearest, shown

PARAMETERS, INJECTED = "parameters", "injected-parameters"  # tags, as papermill names them


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


def parameters_of(nb: NotebookNode) -> dict[str, Any]:
    """What the cell tagged `parameters` declares.

    Returns
    -------
    dict
        Name to default, in the order of the cell; empty where no cell has the tag.

    Raises
    ------
    R3labError
        An assignment in that cell is not a name and a literal.
    """
    found: dict[str, Any] = {}
    cells = [c for c in nb.cells if c.cell_type == "code" and PARAMETERS in tags(c)]
    for line in _statements(cells[0].source) if cells else []:
        try:
            match line:
                case ast.Expr() | ast.Import() | ast.ImportFrom():  # a docstring, say
                    continue
                case (
                    ast.Assign(targets=[ast.Name(id=name)], value=value)
                    | ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value)
                ):
                    found[name] = ast.literal_eval(value)
                case _:
                    raise ValueError
        except ValueError:
            raise R3labError(
                f"Line {line.lineno} of the parameters cell is {shown(ast.unparse(line))}. "
                "It must be `name = literal`; compute in a later cell."
            ) from None
    return found


def _statements(source: str) -> list[ast.stmt]:
    try:
        return ast.parse(source).body
    except SyntaxError as error:
        raise R3labError(f"Line {error.lineno} of the parameters cell is not Python: {error.msg}.") from None


def parse_parameters(pairs: list[list[str]], defaults: dict[str, Any]) -> dict[str, Any]:
    """Read the `-p name value` pairs of a command line.

    Parameters
    ----------
    pairs
        Name and text of each. Where the default is text, it stays; else it is read as a Python literal (true,
        false and null too), and stays text where it is none.
    defaults
        From `parameters_of`.

    Returns
    -------
    dict
        Name to value, not yet checked.
    """
    given: dict[str, Any] = {}
    for name, text in pairs:
        try:
            literal = ast.literal_eval({"true": "True", "false": "False", "null": "None"}.get(text, text))
        except (SyntaxError, ValueError):
            literal = text
        given[name] = text if isinstance(defaults.get(name), str) else literal
    return given


def check_parameters(given: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
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
        if name not in defaults:
            known = f"It has {', '.join(defaults)}." if defaults else "It has no cell tagged `parameters`."
            raise R3labError(f"The notebook has no parameter {shown(name)}.{nearest(name, defaults)} {known}")
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


def inject(nb: NotebookNode, given: dict[str, Any]) -> None:
    """Put a cell that sets `given` behind the parameters cell, in place.

    papermill would write the same cell, but turns a tuple into text and the keys of a dict too.
    """
    if not given:
        return
    tagged = [i for i, c in enumerate(nb.cells) if PARAMETERS in tags(c)]
    source = "# Parameters\n" + "\n".join(f"{name} = {value!r}" for name, value in given.items())
    nb.cells.insert(tagged[0] + 1, nbformat.v4.new_code_cell(source, metadata={"tags": [INJECTED]}))
