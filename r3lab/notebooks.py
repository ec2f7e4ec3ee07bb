"""Execute notebooks without a screen, and know for certain whether they finished.

A run is a folder, `runs/<notebook>/<key>/`, with the executed notebook, an HTML page of it and `result.json`.
The key is a hash of the notebook's cells, its parameters and the version of r3lab, so the same run has the
same folder. `result.json` is written last and in one step, and it alone says how the run ended.

Simplified: one notebook at a time, on this machine, with the Python that runs r3lab; two runs with the same
key at the same time overwrite each other.

    result = run_notebook("notebooks/01_look_again.ipynb", {"samples": 8}, quick=True)
    print(result.status, result.page)
"""

from __future__ import annotations

import hashlib
import html
import json
import os
import time
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from urllib.parse import quote

import nbformat
from nbformat import NotebookNode

from r3lab import __version__
from r3lab.errors import R3labError, shown
from r3lab.notebook_kernel import Watch, blame, execute, find_fault, numbers
from r3lab.notebook_parameters import check_parameters, inject, parameters_of, read_notebook, tags

_INDEX = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>r3lab course</title>
<style>body {{ font: 16px sans-serif; margin: 3em }} td, th {{ text-align: left; padding: .3em 1em }}</style>
<h1>r3lab course</h1>
<table><tr><th>notebook<th>status<th>seconds<th>{rows}</table></html>
"""
STATUSES = ("ok", "failed", "died", "timeout", "interrupted")


@dataclass(frozen=True)
class Result:
    """How a run ended: what `result.json` holds, and the folder it lies in."""

    notebook: str  # file name
    status: str  # one of STATUSES
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
        temporary = self.folder / f".result.{os.getpid()}"
        temporary.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        return temporary.replace(self.folder / "result.json")

    @classmethod
    def load(cls, folder: Path) -> Result | None:
        """The result in `folder`; None where no run has ended there."""
        try:
            return cls(**json.loads((folder / "result.json").read_text("utf-8")), folder=folder)
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
    defaults = parameters_of(nb)
    given = dict(parameters or {})
    if quick is not None and "quick" in defaults:
        given.setdefault("quick", quick)
    values = check_parameters(defaults | given, defaults)
    parameters = json.loads(json.dumps(values))  # as result.json will say it
    folder = Path(out_root) / path.stem / run_key(nb, parameters)
    earlier = Result.load(folder)
    if resume and earlier is not None and earlier.status == "ok":
        return earlier
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for old in (folder / "result.json", folder / f"{path.stem}.html"):
            old.unlink(missing_ok=True)
    except OSError as error:
        raise R3labError(f"Cannot write to {shown(str(folder))}: {error.strerror}. Choose another.") from None
    inject(nb, {name: values[name] for name in given})
    executed = folder.resolve() / f"{path.stem}.ipynb"
    nbformat.write(nb, executed)
    started = datetime.now(timezone.utc).isoformat(timespec="seconds")
    watch = Watch(nb, timeout_cell, timeout, progress)
    status, fault = _judge(executed, watch, *execute(executed, watch))
    if progress and watch.at is not None:
        print(status, flush=True)
    seconds = round(time.monotonic() - watch.start, 3)
    result = Result(path.name, status, parameters, __version__, started, seconds, watch.cells, fault, folder)
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
        banner = f"**This run did not finish: {status}.** <code>{html.escape(error['message'])}</code>"
        nb.cells.insert(0, nbformat.v4.new_markdown_cell(banner))
    nbformat.write(nb, path)
    try:
        from r3lab.notebook_page import page_of

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
        name, error = html.escape(result.notebook), html.escape((result.error or {"message": ""})["message"])
        link = quote(result.page.relative_to(root).as_posix()) if result.page else ""
        cell = f'<a href="{link}">{name}</a>' if link else name
        rows.append(f"<tr><td>{cell}<td>{result.status}<td>{result.seconds:.1f}<td>{error}")
    page = _INDEX.format(rows="".join(rows))
    (root / "index.html").write_text(page, encoding="utf-8")
