"""What a notebook hands over: named numbers and short texts, which a sweep collects into one row of its table.

`record` shows them under the cell as text and puts them beside it, in the output, under a MIME type of our own; whoever
holds the executed notebook holds the results, and no shared disk is needed. Both ends check them strictly: what a
notebook holds in that place is foreign until it is checked. Simplified: single values only, no arrays; a name that is
recorded twice keeps its later value.

    record(accuracy=0.93, looks=1.2)                 # in a cell of the notebook
    recorded(nbformat.read("executed.ipynb", 4))     # {"accuracy": 0.93, "looks": 1.2}
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from ..core.errors import R3labError, shown

if TYPE_CHECKING:  # a lesson that records need not wait for it
    from nbformat import NotebookNode

MIME = "application/vnd.r3lab.run.record+json"
MOST, LONGEST, NAME = 100, 200, 64  # results; characters of a text; characters of a name
LARGEST = 2**63  # whole numbers below it fit into a column of a table
Value = bool | int | float | str


def record(**values: Any) -> None:
    """Hand over results of this notebook.

    Parameters
    ----------
    **values
        Finite numbers (also NumPy's, and tensors without dimensions), truth values, or texts of one printable line and
        at most 200 characters; the names are the columns of a sweep's table.

    Raises
    ------
    R3labError
        A value is none of these, or a name is too long.

    Examples
    --------
    >>> r3lab.record(exact=0.95, reward="grounded")
    exact = 0.95, reward = grounded
    """
    from IPython import get_ipython
    from IPython.display import display

    checked = check_results(values)
    text = ", ".join(f"{name} = {_brief(value)}" for name, value in checked.items())
    if get_ipython() is None:  # type: ignore[no-untyped-call]
        print(text)
    else:
        display({MIME: checked, "text/plain": text}, raw=True)  # type: ignore[no-untyped-call]


def recorded(nb: NotebookNode) -> dict[str, Value]:
    """All that an executed notebook has recorded.

    Returns
    -------
    dict
        Name to value, in the order of the cells (a notebook's file sorts the names of one call).

    Raises
    ------
    R3labError
        What stands there was not written by `record`, or is too much.
    """
    found: dict[str, Value] = {}
    for cell in nb.cells:
        for output in cell.get("outputs", []) if cell.cell_type == "code" else []:
            if MIME in output.get("data", {}):
                found |= check_results(output["data"][MIME])
                if len(found) > MOST:
                    raise R3labError(f"The notebook recorded more than {MOST} results. Record fewer.")
    return found


def check_results(values: Any) -> dict[str, Value]:
    """`values` as plain Python values, if they are results at all.

    Parameters
    ----------
    values
        Name to value; foreign.

    Raises
    ------
    R3labError
        They are not, named with what was wanted.
    """
    if not isinstance(values, dict):
        raise R3labError(f"Results must be names with values, got {shown(values)}.")
    if len(values) > MOST:
        raise R3labError(f"{len(values)} results at once; at most {MOST} are recorded.")
    return {_name(name): _value(name, value) for name, value in values.items()}


def _name(name: Any) -> str:
    if not (isinstance(name, str) and len(name) <= NAME and name.isascii() and name.isidentifier()):
        raise R3labError(f"A result is named {shown(name)}; wanted a Python name of at most {NAME} ASCII characters.")
    return name


def _value(name: str, value: Any) -> Value:
    if not isinstance(value, bool | int | float | str) and getattr(value, "ndim", None) == 0:
        value = value.item()  # a scalar of NumPy, a tensor without dimensions
    if isinstance(value, str):
        if len(value) > LONGEST or not value.isprintable():
            raise R3labError(
                f"Result {name!r} is the text {shown(value)}; wanted one printable line, at most {LONGEST} characters."
            )
        return str(value)
    if isinstance(value, bool):
        return value
    if isinstance(value, int) and abs(value) < LARGEST:
        return int(value)
    if isinstance(value, float) and math.isfinite(value):
        return float(value)
    kind = type(value).__name__
    raise R3labError(
        f"Result {name!r} is {shown(value)} ({kind}); wanted a finite number, true or false, or a short text."
    )


def _brief(value: Value) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
