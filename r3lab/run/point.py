"""One point of a sweep: the notebook in a process of its own, and everything that it left brought back by value.

`run_point` runs in a thread of a sweep here or on a worker elsewhere. It gets the notebook's text and gives back the
executed notebook, its page, `result.json`, what the notebook recorded and a log, each bounded in size, so no disk is
shared and nothing stays behind. The process that it starts is this module's `main`, in a work folder with `job.json`;
it writes `returned/`, `result.json` last, and ends with its kernel when its standard input closes: then whoever
started it is gone. Simplified: what a notebook writes into its folder is thrown away; what shall be kept is recorded
or displayed.

    outcome = run_point(Job("a1b2", "lesson.ipynb", text, {"seed": 3}), threads=2, device="0")
    outcome.status, outcome.files["result.json"]               # "ok", b"{..."
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

from .. import __version__
from ..core.errors import R3labError
from .notebook import LOG, RESULT, Result, checkout, run_notebook
from .record import recorded

JOB, TEXT, RETURNED, RECORDED = "job.json", "log.txt", "returned", "recorded.json"  # names in the work folder
FIXED = ("key", "status", "seconds", "attempts", "place", "error")  # columns that every table has
LOGGED = 65_536  # bytes of a log that come back, its end
SAID = 300  # characters of a message
ROOM = 1024 * 1024  # bytes that must be free for a point to start
START, GRACE = 240.0, 20.0  # seconds beyond the notebook's limit for starting and ending; between asking and killing
COMMAND = (sys.executable, "-m", "r3lab.run.point")
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass(frozen=True)
class Job:
    """One point, by value."""

    key: str  # of the run, from `notebook.run_key`
    notebook: str  # file name
    text: str  # of the notebook
    given: dict[str, Any]  # parameters, fit for JSON
    timeout: float = 1800
    timeout_cell: float = 600
    most: int = 16 * 1024 * 1024  # bytes of a file that come back
    version: str = __version__


@dataclass(frozen=True)
class Outcome:
    """How one attempt ended."""

    key: str
    status: str  # as of `notebook.Result`; "place" where the place could not do it and the notebook is not to blame
    message: str = ""  # one line where it is not "ok"
    seconds: float = 0.0
    place: str = ""  # the machine, or the worker
    log: str = ""
    files: dict[str, bytes] = field(default_factory=dict, repr=False)


def run_point(
    job: Job,
    folder: str | Path | None = None,
    threads: int | None = None,
    device: str | None = None,
    stopped: Callable[[], bool] = lambda: False,
    place: str = "",
    command: Sequence[str] = COMMAND,
) -> Outcome:
    """Run one point.

    Parameters
    ----------
    job
        The point.
    folder
        Where its work folder is made and removed again; by default the system's place for temporary files.
    threads
        Of OpenMP and its kin in the kernel; by default as the environment says.
    device
        For CUDA_VISIBLE_DEVICES; by default as the environment says.
    stopped
        Asked five times a second; once it is true, the kernel is stopped and the status is "interrupted".
    place
        Name of this place; by default the machine's.
    command
        What is started in the work folder; another one in tests.

    Returns
    -------
    Outcome
        Always: also a full disk or a process that was killed ends in one.
    """
    place, start = place or socket.gethostname(), time.monotonic()
    folder = folder or tempfile.gettempdir()

    def ended(status: str, message: str = "", log: str = "", files: dict[str, bytes] | None = None) -> Outcome:
        seconds = round(time.monotonic() - start, 3)
        return Outcome(job.key, status, said(message), seconds, place, log, files or {})

    if job.version != __version__:
        return ended("place", f"has r3lab {__version__}, wanted {job.version}; install the same version everywhere")
    try:
        work = Path(tempfile.mkdtemp(prefix=f"r3lab-{job.key}-", dir=folder))
    except OSError as error:
        return ended("place", f"cannot make a folder in {folder}: {error.strerror}")
    files: dict[str, bytes] = {}
    try:
        if trouble := no_room(work):
            return ended("place", trouble)
        (work / JOB).write_text(json.dumps(asdict(job)), encoding="utf-8")
        (work / job.notebook).write_text(job.text, encoding="utf-8")
        why = _watch(command, work, _environment(threads, device), job.timeout + START, stopped)
        log = _tail(work / TEXT, LOGGED)
        status, message, files = _returned(work / RETURNED, job.most)
        if why == "interrupted":
            status, message = "interrupted", "stopped from outside"
        elif not status:
            status, message = "died", why or f"its process gave no result; it last said: {log.strip()[-SAID:]}"
    except OSError as error:
        status, message, log = "failed", f"its folder failed: {error.strerror or error}", ""
    finally:
        shutil.rmtree(work, ignore_errors=True)
    if status not in ("ok", "interrupted") and (trouble := no_room(folder)):
        # Asked when the point's own files are gone: one that fills the disk by itself is to blame itself.
        return ended("place", f"{trouble}; {message}", log, files)
    return ended(status, message, log, files)


def no_room(folder: str | Path) -> str:
    """Why nothing can be written to `folder`; "" where a megabyte can."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(ROOM))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return f"cannot write to {folder}: {error.strerror or error}"
    return ""


def said(text: str) -> str:
    """Foreign text as one printable line of at most 300 characters."""
    return "".join(c if c.isprintable() else "?" for c in " ".join(text[: 4 * SAID].split()))[:SAID]


def _environment(threads: int | None, device: str | None) -> dict[str, str]:
    waits = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "10000"}  # as r3lab.cli sets them
    env = waits | dict(os.environ) | checkout()
    if threads is not None:
        env |= dict.fromkeys(THREADS, str(threads))
    if device is not None:
        env["CUDA_VISIBLE_DEVICES"] = device
    return env


def _watch(command: Sequence[str], work: Path, env: dict[str, str], limit: float, stopped: Callable[[], bool]) -> str:
    """Start the process and wait for its end; "" if it ended by itself and well, else why not."""
    with open(work / TEXT, "wb") as log:
        process = subprocess.Popen(
            list(command),
            cwd=work,
            env=env,
            stdin=subprocess.PIPE,  # closed when we are gone, however: then the process ends itself and its kernel
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C in a terminal is for us, who then stop it in order
        )
    end = time.monotonic() + limit
    try:
        while True:
            try:
                code = process.wait(0.2)
                name = f"code {code}" if code > 0 else f"signal {signal.Signals(-code).name}" if code else ""
                return name and f"its process ended with {name}"
            except subprocess.TimeoutExpired:
                if stopped():
                    return "interrupted"
                if time.monotonic() > end:
                    return f"its process gave no answer within {limit:g} s"
    finally:
        if process.stdin is not None:
            process.stdin.close()
        try:
            process.wait(GRACE)
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            process.kill()
            process.wait()


def _tail(path: Path, most: int) -> str:
    """The last bytes of a file as text; "" where it cannot be read."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - most))
            return file.read(most).decode("utf-8", "replace")
    except OSError:
        return ""


def _returned(folder: Path, most: int) -> tuple[str, str, dict[str, bytes]]:
    """Status, message and files; the status is "" where no whole result is there."""
    files = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if path.is_file() and not path.is_symlink() and path.stat().st_size <= most:
            files[path.name] = path.read_bytes()
    try:
        result = json.loads(files[RESULT])
        return str(result["status"]), str((result["error"] or {"message": ""})["message"]), files
    except (KeyError, ValueError, TypeError):
        return "", "", files


def main() -> int:
    """Run the job of the folder that we are in; 0 when `returned/` is whole."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a parent in the background may have it ignored
    threading.Thread(target=_end_with_parent, daemon=True).start()
    job = Job(**json.loads(Path(JOB).read_text("utf-8")))
    try:
        result = run_notebook(job.notebook, job.given, "runs", job.timeout_cell, job.timeout)
        if result.folder.name != job.key:
            raise R3labError(f"The run has the key {result.folder.name} here, wanted {job.key}.")
    except R3labError as error:
        print(error, flush=True)
        return 1
    print(result.describe(), flush=True)
    if log := _tail(result.folder / LOG, LOGGED // 2):
        print(f"--- {LOG} ---\n{log}", flush=True)
    give_back(result, Path(RETURNED), job.most)
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
        if clash := next((name for name in values if name in {*FIXED, *result.parameters}), None):
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


def fit(nb: NotebookNode, most: int) -> None:
    """Replace the largest outputs by a line each until the notebook's file has at most `most` bytes, in place."""
    outputs = [(cell, i) for cell in nb.cells if cell.cell_type == "code" for i in range(len(cell.outputs))]
    sized = sorted(((len(json.dumps(cell.outputs[i])), cell, i) for cell, i in outputs), key=lambda one: -one[0])
    over = len(nbformat.writes(nb).encode("utf-8")) - most
    for size, cell, i in sized:
        if over <= 0:
            return
        words = f"[an output of {size:,} bytes stayed behind: a notebook comes back with {most:,} bytes at most]\n"
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
