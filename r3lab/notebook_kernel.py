"""The kernel that executes a notebook, watched: which cell is at work, how long it took, whether all ran.

papermill drives; this module picks the interpreter, sets the limits and finds the cell to blame. Its findings
come from the cells' own execution counts and outputs, never from papermill's marks, which say "completed" of
every cell after a kernel was killed or a cell timed out.

Simplified: the limit for the whole notebook is held by its cells; a kernel slow to start may overrun it.

    watch = Watch(nb, cell_limit=600, limit=1800, progress=True)
    status, message = execute(Path("runs/x/x.ipynb"), watch)
"""

from __future__ import annotations

import logging
import os
import re
import sysconfig
import time
from pathlib import Path
from typing import Any

from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from nbformat import NotebookNode
from traitlets import default

from r3lab.notebook_parameters import INJECTED, tags

START_LIMIT = 120  # seconds a kernel may take to start
LEAST = 0.01  # seconds
LOG = "kernel.log"  # beside the executed notebook
_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


class ThisPython(KernelSpecManager):
    """Every kernel is the interpreter that runs r3lab, whatever kernelspec is installed on the machine."""

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        from ipykernel.kernelspec import get_kernel_dict

        env = {"PLOTLY_RENDERER": "plotly_mimetype+notebook"}  # the default one leaves nothing in a page
        root = Path(__file__).resolve().parent.parent
        if root not in (Path(sysconfig.get_path(name)).resolve() for name in ("purelib", "platlib")):
            # A checkout, perhaps not installed: the kernel, in another folder, must import this r3lab.
            env["PYTHONPATH"] = os.pathsep.join(filter(None, [str(root), os.environ.get("PYTHONPATH")]))
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
        return (
            "ok",
            "",
        )  # `find_fault` sees it; papermill raises also for cells that are tagged raises-exception
    except CellTimeoutError:
        return "timeout", f"still at work when the time was up ({watch.limit_met})"
    except DeadKernelError:
        return (
            "died",
            f"the kernel died: out of memory, a crash, or an exit of the process ({LOG} has its last words)",
        )
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
