"""The process of one point: executes the notebook in its folder and leaves there what shall come back.

Started by `sweep_task` in a work folder with `job.json` and the notebook. It writes `returned/`: the executed notebook
(outputs that are too large replaced by a line that says so), its page, `recorded.json`, and `result.json` last. When
its standard input closes, whoever started it is gone: it stops its kernel and ends. Simplified: the log has the last
words of the kernel's own output only.

    python -m r3lab.run.child                  # in such a folder, with a pipe as standard input
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from ..core.errors import R3labError
from .notebook import LOG, Result, run_notebook
from .record import recorded
from .task import GRACE, JOB, LOGGED, RECORDED, RETURNED

FIXED = ("key", "status", "seconds", "attempts", "place", "error")  # columns that every table has


def main() -> int:
    """Run the job of the folder that we are in; 0 when `returned/` is whole."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a parent in the background may have it ignored
    threading.Thread(target=_end_with_parent, daemon=True).start()
    job = json.loads(Path(JOB).read_text("utf-8"))
    try:
        result = run_notebook(job["notebook"], job["given"], "runs", job["timeout_cell"], job["timeout"], progress=True)
        if result.folder.name != job["key"]:
            raise R3labError(f"The run has the key {result.folder.name} here, wanted {job['key']}.")
    except R3labError as error:
        print(error, flush=True)
        return 1
    print(result.describe(), flush=True)
    kernel_log = result.folder / LOG
    if kernel_log.is_file() and kernel_log.stat().st_size:
        with kernel_log.open("rb") as file:
            file.seek(max(0, kernel_log.stat().st_size - LOGGED // 2))
            print(f"--- {LOG} ---\n{file.read().decode('utf-8', 'replace')}", flush=True)
    give_back(result, Path(RETURNED), job["most"])
    return 0


def give_back(result: Result, folder: Path, most: int) -> Result:
    """Put what a run left into `folder`, `result.json` last.

    Parameters
    ----------
    result
        Of the run.
    folder
        Is made.
    most
        Bytes of a file; a larger notebook is cut to fit, a larger page stays behind.

    Returns
    -------
    Result
        As it was written: "failed" where what the notebook recorded is no results.
    """
    folder.mkdir()
    nb = nbformat.read(result.folder / result.notebook, as_version=4)
    try:
        values = recorded(nb)
        if clash := next((name for name in values if name in columns_taken(result.parameters)), None):
            raise R3labError(f"The notebook recorded {clash!r}, which names another column of the table. Rename it.")
    except R3labError as error:
        values = {}
        if result.status == "ok":
            result = replace(result, status="failed", error={"message": str(error)})
    fit(nb, most)
    nbformat.write(nb, folder / result.notebook)
    if result.page is not None and result.page.stat().st_size <= most:
        shutil.copy(result.page, folder)
    (folder / RECORDED).write_text(json.dumps(values) + "\n", encoding="utf-8")
    result = replace(result, folder=folder)
    result.save()
    return result


def columns_taken(parameters: Iterable[str]) -> set[str]:
    """Names that a result may not have."""
    return {*FIXED, *parameters}


def fit(nb: NotebookNode, most: int) -> None:
    """Replace the largest outputs by a line each until the notebook's file has at most `most` bytes, in place."""
    outputs = [(cell, i) for cell in nb.cells if cell.cell_type == "code" for i in range(len(cell.outputs))]
    sizes = {(id(cell), i): len(json.dumps(cell.outputs[i])) for cell, i in outputs}
    over = len(nbformat.writes(nb).encode("utf-8")) - most
    for cell, i in sorted(outputs, key=lambda one: -sizes[id(one[0]), one[1]]):
        if over <= 0:
            return
        size = sizes[id(cell), i]
        words = (
            f"[an output of {size:,} bytes stayed behind: a sweep brings back notebooks of {most:,} bytes at most]\n"
        )
        cell.outputs[i] = nbformat.v4.new_output("stream", name="stderr", text=words)
        over -= size - len(words) - 100


def _end_with_parent() -> None:
    """Wait until standard input closes, then interrupt as Ctrl-C does; leave for good if that does not help."""
    while os.read(0, 1):  # not sys.stdin: its lock, held by a daemon thread, would abort the interpreter's end
        pass
    if hasattr(signal, "pthread_kill"):
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
    else:
        signal.raise_signal(signal.SIGINT)  # Windows
    time.sleep(GRACE * 0.75)
    os._exit(1)


if __name__ == "__main__":
    raise SystemExit(main())
