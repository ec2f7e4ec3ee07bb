"""Execute notebooks without a screen, and know for certain whether they finished.

A run is a folder, `runs/<notebook>/<key>/`, with the executed notebook, an HTML page of it and `result.json`.
The key is a hash of the notebook's cells, its parameters and the version of r3lab, so the same run has the
same folder. `result.json` is written last and in one step, and it alone says how the run ended. papermill drives; what
ended, and which cell is to blame, is read from the cells' own execution counts and outputs, never from papermill's
marks, which say "completed" of every cell after a kernel was killed or a cell timed out.

Simplified: one notebook at a time, on this machine, with the Python that runs r3lab; two runs with the same
key at the same time overwrite each other. The limit for the whole notebook is held by its cells; a kernel slow to start
may overrun it.

    result = run_notebook("notebooks/01_look_again.ipynb", {"samples": 8}, quick=True)
    print(result.status, result.page)
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import sysconfig
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

import nbformat
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from nbformat import NotebookNode
from traitlets import default

from .. import __version__
from ..core.errors import R3labError, shown
from ..core.files import write_whole
from .page import page_of
from .parameters import INJECTED, check_parameters, inject, parameters_of, read_notebook, tags

START_LIMIT = 120  # seconds a kernel may take to start
LEAST = 0.01  # seconds
LOG, RESULT = "kernel.log", "result.json"  # beside the executed notebook
_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


def checkout() -> dict[str, str]:
    """What a process in another folder needs in its environment to import this r3lab; {} where it is installed."""
    root = Path(__file__).resolve().parents[2]
    if root in (Path(sysconfig.get_path(name)).resolve() for name in ("purelib", "platlib")):
        return {}
    return {"PYTHONPATH": os.pathsep.join(filter(None, [str(root), os.environ.get("PYTHONPATH")]))}


class ThisPython(KernelSpecManager):
    """Every kernel is the interpreter that runs r3lab, whatever kernelspec is installed on the machine."""

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        from ipykernel.kernelspec import get_kernel_dict

        env = checkout() | {"PLOTLY_RENDERER": "plotly_mimetype+notebook"}  # the default leaves nothing in a page
        return KernelSpec(resource_dir="", **(get_kernel_dict() | {"env": env}))


class _Kernel(AsyncKernelManager):
    @default("kernel_spec_manager")
    def _this_python(self) -> KernelSpecManager:
        return ThisPython(parent=self)

    async def start_kernel(self, **kw: Any) -> None:  # type: ignore[override]
        """Start it with its own standard output and error in a file: what a crash prints is kept there."""
        with open(Path(kw["cwd"]) / LOG, "wb") as log:
            await super().start_kernel(stdout=log, stderr=log, **kw)


def numbers(nb: NotebookNode) -> dict[int, int]:
    """Index of each code cell in the executed notebook, to its number (from 1) in the one that was given."""
    code = [index for index, cell in enumerate(nb.cells) if cell.cell_type == "code" and INJECTED not in tags(cell)]
    return {index: number for number, index in enumerate(code, start=1)}


def title(cell: NotebookNode) -> str:
    """The comment that a cell opens with, or its first line; at most 60 characters."""
    return (cell.source.strip().splitlines() or [""])[0].lstrip("#% ")[:60]


class Watch:
    """What nbclient reports while it executes.

    Parameters
    ----------
    nb
        The notebook as it will be executed.
    cell_limit, limit
        Seconds for one cell, and for all of them together.
    progress
        Print a line a cell.
    """

    def __init__(self, nb: NotebookNode, cell_limit: float, limit: float, progress: bool) -> None:
        self.numbers, self.progress = numbers(nb), progress
        self.cell_limit, self.limit = cell_limit, limit
        self.start = self.since = time.monotonic()
        self.at: int | None = None  # index of the cell at work
        self.cells: list[dict[str, Any]] = []  # that started: cell, title, seconds or None
        self.limit_met = ""

    def begin(self, cell: NotebookNode, cell_index: int) -> None:
        self.since, self.at = time.monotonic(), cell_index
        if self.allowed(cell) <= LEAST:
            raise CellTimeoutError
        number = self.numbers.get(cell_index)
        if number is None:
            return
        self.cells.append({"cell": number, "title": title(cell), "seconds": None})
        if self.progress:
            print(f"  cell {number:>2}/{len(self.numbers)}  {title(cell):<60}", end=" ", flush=True)

    def end(self, cell: NotebookNode, cell_index: int, execute_reply: dict[str, Any]) -> None:
        self.at = None
        if cell_index in self.numbers:
            self.cells[-1]["seconds"] = round(time.monotonic() - self.since, 3)
            if self.progress:
                print(f"{self.cells[-1]['seconds']:7.1f} s", flush=True)

    def allowed(self, cell: NotebookNode) -> float:
        """Seconds that the cell may take, never 0 (which nbclient takes for no limit)."""
        left = self.start + self.limit - time.monotonic()
        whole = left < self.cell_limit
        self.limit_met = f"{self.limit:g} s for the whole notebook" if whole else f"{self.cell_limit:g} s for a cell"
        return max(LEAST, min(left, self.cell_limit))


def execute(path: Path, watch: Watch) -> tuple[str, str]:
    """Execute the notebook at `path` in place, in its own folder.

    Returns
    -------
    tuple
        Status and message as far as exceptions tell them; "ok" still has to be confirmed by `find_fault`.
    """
    import papermill
    from papermill.exceptions import PapermillExecutionError

    logging.getLogger("papermill").addHandler(logging.NullHandler())  # the caller reports what went wrong
    place = str(path).replace("{", "{{").replace("}", "}}")  # papermill formats paths
    try:
        papermill.execute_notebook(
            place,
            place,
            kernel_name="python3",
            language="python",
            progress_bar=False,
            start_timeout=START_LIMIT,
            kernel_manager_class=_Kernel,
            resources={"metadata": {"path": str(path.parent)}},  # not cwd=: that moves the whole process
            iopub_timeout=60,
            timeout_func=watch.allowed,
            on_cell_execute=watch.begin,
            on_cell_executed=watch.end,
        )
    except PapermillExecutionError:
        return "ok", ""  # `find_fault` sees it; papermill raises also for cells that are tagged raises-exception
    except CellTimeoutError:
        return "timeout", f"still at work when the time was up ({watch.limit_met})"
    except DeadKernelError:
        return "died", f"the kernel died: out of memory, a crash, or an exit of the process ({LOG} has its last words)"
    except KeyboardInterrupt:
        logging.getLogger("asyncio").addFilter(_foreseen)  # a task that nobody waits for any more finds the kernel dead
        return "interrupted", "interrupted from the keyboard"
    except Exception as error:
        return "failed", f"the notebook could not be executed: {type(error).__name__}: {error}"
    return "ok", ""


def _foreseen(record: logging.LogRecord) -> bool:
    """False for what asyncio says of a kernel that was stopped on purpose."""
    return not (record.exc_info and isinstance(record.exc_info[1], DeadKernelError))


def blame(nb: NotebookNode, index: int, message: str, traceback: str = "") -> dict[str, Any]:
    """The error record that points at the cell at `index`."""
    cell, number = nb.cells[index], numbers(nb).get(index, 0)
    where = f"code cell {number}" if number else "the cell of the given parameters"
    record = {"message": f"{where}: {message}", "cell": number, "title": title(cell), "source": cell.source}
    return record | {"traceback": _ANSI.sub("", traceback)[-8000:]}


def find_fault(nb: NotebookNode) -> dict[str, Any] | None:
    """The first code cell that failed or never ran; None where every cell really ran.

    Cells tagged `raises-exception` may fail, those tagged `skip-execution` need not run.
    """
    for index, cell in enumerate(nb.cells):
        if cell.cell_type != "code" or not cell.source.strip() or "skip-execution" in tags(cell):
            continue
        errors = [o for o in cell.outputs if o.output_type == "error" and "raises-exception" not in tags(cell)]
        if errors:
            last = " ".join(f"{errors[0].ename}: {errors[0].evalue}".split())[:300]
            return blame(nb, index, last, "\n".join(errors[0].traceback))
        if cell.get("execution_count") is None or cell.metadata.get("papermill", {}).get("exception"):
            return blame(nb, index, "was not executed to its end")
    return None


_INDEX = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>r3lab course</title>
<style>body {{ font: 16px sans-serif; margin: 3em }} td, th {{ text-align: left; padding: .3em 1em }}</style>
<h1>r3lab course</h1>
<table><tr><th>notebook<th>status<th>seconds<th>{rows}</table></html>
"""


@dataclass(frozen=True)
class Result:
    """How a run ended: what `result.json` holds, and the folder it lies in."""

    notebook: str  # file name
    status: str  # ok, failed, died, timeout or interrupted
    parameters: dict[str, Any]  # the notebook's defaults, overridden by what was given
    version: str  # of r3lab
    started: str  # ISO 8601, UTC
    seconds: float
    cells: list[dict[str, Any]]  # code cells that started: cell (from 1), title, seconds or None
    error: dict[str, Any] | None  # message; and cell, title, source, traceback where one cell is to blame
    folder: Path = field(default=Path("."), compare=False)

    @property
    def page(self) -> Path | None:
        """The HTML page, or None where none could be made."""
        page = self.folder / f"{Path(self.notebook).stem}.html"
        return page if page.is_file() else None

    def save(self) -> Path:
        """Write `result.json`, whole or not at all."""
        record = {name: value for name, value in asdict(self).items() if name != "folder"}
        return write_whole(self.folder / RESULT, (json.dumps(record, indent=1) + "\n").encode("utf-8"))

    @classmethod
    def load(cls, folder: Path) -> Result | None:
        """The result in `folder`; None where no run has ended there."""
        try:
            return cls(**json.loads((folder / RESULT).read_text("utf-8")), folder=folder)
        except (OSError, ValueError, TypeError):
            return None

    def describe(self) -> str:
        """One line where all went well; else what went wrong, and the source of the cell to blame."""
        if self.error is None:
            return f"{self.notebook}: {self.status} in {self.seconds:.1f} s: {self.page}"
        lines = [f"{self.notebook}: {self.status} after {self.seconds:.1f} s: {self.error['message']}"]
        lines += [f"    | {line}" for line in self.error.get("source", "").splitlines()]
        return "\n".join([*lines, f"    kept in {self.folder}"])


def run_key(nb: NotebookNode, parameters: dict[str, Any]) -> str:
    """12 hex digits over the cells (not their outputs), the parameters and the version of r3lab."""
    cells = [(cell.cell_type, cell.source, tags(cell)) for cell in nb.cells]
    text = json.dumps([cells, parameters, __version__], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def given_values(
    given: Mapping[str, Any], defaults: Mapping[str, Any], quick: bool | None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What is given, checked, and all parameters as JSON will have them.

    Parameters
    ----------
    given
        Name to value.
    defaults
        Of the notebook.
    quick
        Value for the parameter `quick`, where the notebook has one and `given` does not set it.

    Raises
    ------
    R3labError
        Unknown name, wrong type, a default that JSON cannot hold.
    """
    size = {"quick": quick} if quick is not None and "quick" in defaults else {}
    values = check_parameters({**defaults, **size, **given}, defaults)
    return {name: values[name] for name in {**given, **size}}, json.loads(json.dumps(values))


def run_notebook(
    path: str | Path,
    parameters: dict[str, Any] | None = None,
    out_root: str | Path = "runs",
    timeout_cell: float = 600,
    timeout: float = 1800,
    progress: bool = True,
    quick: bool | None = None,
    resume: bool = False,
) -> Result:
    """Execute one notebook in a folder of its own.

    Parameters
    ----------
    path
        The notebook; it is not changed.
    parameters
        Values for names in its `parameters` cell, of the defaults' types.
    out_root
        Folder under which `<notebook>/<key>/` is made. The kernel works in that folder.
    timeout_cell, timeout
        Seconds for one cell, and for the notebook.
    progress
        Print a line a cell.
    quick
        Value for the parameter `quick`, if the notebook has one and `parameters` does not set it.
    resume
        Return the earlier result where the same run already ended with "ok".

    Returns
    -------
    Result
        Also for a run that failed, died, timed out or was interrupted: look at `status`.

    Raises
    ------
    R3labError
        Before anything runs: not a notebook, unknown parameter, wrong type, a folder that cannot be made.
    """
    path, nb = Path(path), read_notebook(path)
    given, full = given_values(parameters or {}, parameters_of(nb), quick)
    folder = Path(out_root) / path.stem / run_key(nb, full)
    earlier = Result.load(folder)
    if resume and earlier is not None and earlier.status == "ok":
        return earlier
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for old in (folder / RESULT, folder / f"{path.stem}.html"):
            old.unlink(missing_ok=True)
    except OSError as error:
        raise R3labError(f"Cannot write to {shown(str(folder))}: {error.strerror}. Choose another.") from None
    inject(nb, given)
    executed = folder.resolve() / f"{path.stem}.ipynb"
    nbformat.write(nb, executed)
    started = datetime.now(timezone.utc).isoformat(timespec="seconds")
    watch = Watch(nb, timeout_cell, timeout, progress)
    status, fault = _judge(executed, watch, *execute(executed, watch))
    if progress and watch.at is not None:
        print(status, flush=True)
    seconds = round(time.monotonic() - watch.start, 3)
    result = Result(path.name, status, full, __version__, started, seconds, watch.cells, fault, folder)
    result.save()
    return result


def _judge(path: Path, watch: Watch, status: str, message: str) -> tuple[str, dict[str, Any] | None]:
    """Status and error of an ended execution; makes the saved notebook honest, and its page."""
    nb = nbformat.read(path, as_version=4)
    nb.cells = [cell for cell in nb.cells if "papermill-error-cell-tag" not in tags(cell)]  # our banner says it
    error = find_fault(nb) if status == "ok" else None
    if error is not None:
        status = "failed"
    if status != "ok":
        error = error or (blame(nb, watch.at, message) if watch.at is not None else {"message": message})
        done = {cell["cell"] for cell in watch.cells if cell["seconds"] is not None}
        for index, number in numbers(nb).items():
            if number not in done:  # papermill wrote "completed"
                nb.cells[index].metadata.setdefault("papermill", {})["status"] = "not finished"
        banner = f"**This run did not finish: {status}.** <code>{escape(error['message'])}</code>"
        nb.cells.insert(0, nbformat.v4.new_markdown_cell(banner))
    nbformat.write(nb, path)
    try:
        path.with_suffix(".html").write_text(page_of(nb, path.stem), encoding="utf-8")
    except Exception as trouble:
        if status == "ok":
            status, error = "failed", {"message": f"no page made: {type(trouble).__name__}: {trouble}"}
    return status, error


def course(
    folder: str | Path = "notebooks",
    quick: bool = True,
    out_root: str | Path = "runs",
    resume: bool = False,
    timeout_cell: float = 600,
    timeout: float = 1800,
) -> list[Result]:
    """Run every `NN_name.ipynb` of `folder` in order, whatever happens to those before; print a table.

    Parameters
    ----------
    folder, quick, out_root, resume, timeout_cell, timeout
        As for `run_notebook`. `out_root` also gets `index.html`, which links the pages.

    Returns
    -------
    list of Result
        In order; the last is "interrupted" where somebody pressed Ctrl-C, and then the rest did not run.

    Raises
    ------
    R3labError
        The folder holds no such notebook.
    """
    paths = sorted(Path(folder).glob("[0-9][0-9]_*.ipynb"))
    if not paths:
        raise R3labError(f"No NN_name.ipynb in {shown(str(folder))}. Give the folder of the course.")
    results: list[Result] = []
    for path in paths:
        print(path.name, flush=True)
        results.append(run_notebook(path, None, out_root, timeout_cell, timeout, quick=quick, resume=resume))
        _write_index(Path(out_root), results)
        if results[-1].status == "interrupted":
            break
    width = max(len(path.name) for path in paths)
    print(f"\n{'notebook':<{width}}  {'status':<11}  {'seconds':>7}  page")
    for result in results:
        page = result.page or "-"
        print(f"{result.notebook:<{width}}  {result.status:<11}  {result.seconds:>7.1f}  {page}")
    for result in results:
        if result.error is not None:
            print(f"\n{result.describe()}", flush=True)
    return results


def _write_index(root: Path, results: list[Result]) -> None:
    rows = []
    for result in results:
        name, error = escape(result.notebook), escape((result.error or {"message": ""})["message"])
        link = quote(result.page.relative_to(root).as_posix()) if result.page else ""
        cell = f'<a href="{link}">{name}</a>' if link else name
        rows.append(f"<tr><td>{cell}<td>{result.status}<td>{result.seconds:.1f}<td>{error}")
    page = _INDEX.format(rows="".join(rows))
    (root / "index.html").write_text(page, encoding="utf-8")
