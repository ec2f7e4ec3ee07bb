"""One point of a sweep, and where points run: on this machine, or on the workers of a dask.distributed scheduler.

`run_point` executes the notebook where it is called, in a thread of a sweep here or on a worker elsewhere; its kernel
is a process of its own, with its share of the cores and one CUDA device. It gets the notebook's text and gives back
the executed notebook, its page, `result.json` and a log, each bounded in size, so no disk is shared and nothing stays
behind. Once nobody waits for it any more it kills the kernel; a kernel whose process is gone ends by itself within a
second.

Both places are executors of `concurrent.futures`, so a sweep has one way for both. What a worker was doing when it died
dask gives to another. dask sends Python objects with pickle: whoever reaches the scheduler can run code, so keep it on
loopback or behind TLS. Simplified: devices are those of NVIDIA's driver; a scheduler that is gone ends the sweep, and
the same command goes on; what a notebook writes into its folder is thrown away.

    with Machine(Path("work"), jobs=4) as place:
        outcome = place.submit(Job("a1b2", "lesson.ipynb", text, {"seed": 3})).result()
    outcome.status, outcome.files["result.json"]               # "ok", b"{..."
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import queue
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

from .. import __version__
from ..core.errors import R3labError, shown
from .notebook import LOG, RESULT, Result, run_notebook

FIXED = ("key", "status", "seconds", "attempts", "place", "error")  # columns that every table has
LOGGED, SAID = 65_536, 300  # characters of a log and of a message that come back
LARGEST = 16 * 1024 * 1024  # bytes of a file that comes back
ROOM = 1024 * 1024  # bytes that must be free for a point to start
CONNECT = 30.0  # seconds to reach a scheduler
WORKING = ("running", "paused", "closing_gracefully")  # states of a worker that goes on
WANTED = ("executing", "long-running")  # states of a task that somebody waits for
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class PlaceError(R3labError):
    """No place is left where points could run."""


@dataclass(frozen=True)
class Job:
    """One point, by value."""

    key: str  # of the run, from `notebook.run_key`
    notebook: str  # file name
    text: str  # of the notebook
    parameters: dict[str, Any]  # all of the notebook's, fit for JSON
    timeout: float = 1800
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


Task = Callable[..., Outcome]


def run_point(
    job: Job,
    folder: str | Path,
    threads: int,
    device: str | None = None,
    stopped: Callable[[], bool] = lambda: False,
    place: str = "",
    execute: Callable[..., Result] = run_notebook,
) -> Outcome:
    """Run one point.

    Parameters
    ----------
    job
        The point.
    folder
        Where its work folder is made and removed again.
    threads
        Of OpenMP and its kin in the kernel.
    device
        For CUDA_VISIBLE_DEVICES; by default as the environment says.
    stopped
        Asked five times a second; once it is true, the kernel is killed and the status is "interrupted".
    place
        Name of this place; by default the machine's.
    execute
        What stands for `run_notebook` in a test.

    Returns
    -------
    Outcome
        Always: also a full disk or a kernel that was killed ends in one.
    """
    begun = Outcome(job.key, "place", place=place or socket.gethostname())
    if job.version != __version__:
        return replace(begun, message=f"has r3lab {__version__}, wanted {job.version}; install the same everywhere")
    if trouble := no_room(folder):
        return replace(begun, message=trouble)
    env = dict.fromkeys(THREADS, str(threads)) | ({} if device is None else {"CUDA_VISIBLE_DEVICES": device})
    start = time.monotonic()
    try:
        with tempfile.TemporaryDirectory(prefix=f"r3lab-{job.key}-", dir=folder, ignore_cleanup_errors=True) as work:
            path = Path(work, job.notebook)
            path.write_text(job.text, encoding="utf-8")
            root = Path(work, "runs")
            found = execute(path, job.parameters, root, job.timeout, progress=False, env=env, stopped=stopped)
            if found.folder.name != job.key:
                raise R3labError(f"The run has the key {found.folder.name} here, wanted {job.key}.")
            outcome = _by_value(begun, found)
    except (OSError, R3labError) as error:
        outcome = replace(begun, status="failed", message=said(f"its folder failed: {error}"))
    if outcome.status not in ("ok", "interrupted") and (trouble := no_room(folder)):
        # Asked when the point's own files are gone: one that fills the disk by itself is to blame itself.
        outcome = replace(outcome, status="place", message=f"{trouble}; {outcome.message}")
    return replace(outcome, seconds=round(time.monotonic() - start, 3))


def _by_value(begun: Outcome, result: Result) -> Outcome:
    """What a run left; it failed where what the notebook recorded has the name of another column of the table."""
    clash = next((name for name in result.recorded if name in {*FIXED, *result.parameters}), None)
    if clash and result.status == "ok":
        words = f"The notebook recorded {clash!r}, which names another column of the table. Rename it."
        result = replace(result, status="failed", error={"message": words})
    nb = nbformat.read(result.folder / result.notebook, as_version=4)
    fit(nb, LARGEST)
    files = {result.notebook: nbformat.writes(nb).encode("utf-8"), RESULT: result.text()}
    if result.page is not None and result.page.stat().st_size <= LARGEST:
        files[result.page.name] = result.page.read_bytes()
    log = result.folder / LOG
    words = log.read_text("utf-8", "replace")[-LOGGED:] if log.is_file() else ""
    message = said((result.error or {"message": ""})["message"])
    return replace(begun, status=result.status, message=message, log=f"{result.describe()}\n{words}", files=files)


def fit(nb: NotebookNode, most: int) -> None:
    """Replace the largest outputs by a line each until the notebook's file has at most `most` bytes, in place."""
    outputs = [(cell, i) for cell in nb.cells if cell.cell_type == "code" for i in range(len(cell.outputs))]
    outputs.sort(key=lambda one: len(json.dumps(one[0].outputs[one[1]])))
    while outputs and len(nbformat.writes(nb).encode("utf-8")) > most:
        cell, i = outputs.pop()
        words = f"[an output stayed behind: a notebook comes back with {most:,} bytes at most]\n"
        cell.outputs[i] = nbformat.v4.new_output("stream", name="stderr", text=words)


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


# -- where points run ------------------------------------------------------------------------------------------------


def cores() -> int:
    """Cores that this process may use (a batch system may have given it some of them only)."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS, Windows
        return os.cpu_count() or 1


def devices() -> tuple[str, ...]:
    """Names of the CUDA devices that may be used, as CUDA_VISIBLE_DEVICES takes them."""
    allowed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if allowed is not None:  # as in CUDA, what follows a negative number is hidden
        names = [name.strip() for name in allowed.split(",")]
        hidden = (i for i, name in enumerate(names) if not name or name.startswith("-"))
        return tuple(names[: next(hidden, len(names))])
    ask = ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"]
    try:  # importing torch to count them would take seconds
        told = subprocess.run(ask, capture_output=True, text=True, timeout=30, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return ()
    return tuple(line.strip() for line in told.splitlines() if line.strip().isdecimal())


class Machine:
    """This machine: threads that each execute one point at a time.

    Parameters
    ----------
    work
        Folder in which points run; it is made.
    jobs
        At once; by default one a device, without devices one for every two cores.
    most
        Points that there are; more at once would leave cores idle.
    threads
        Of OpenMP for a point; by default its share of the cores.
    task
        What runs a job.
    """

    def __init__(
        self,
        work: Path,
        jobs: int | None = None,
        most: int | None = None,
        threads: int | None = None,
        task: Task = run_point,
    ) -> None:
        seen = devices()
        count = jobs or len(seen) or max(1, cores() // 2)
        self.jobs = min(count, most or count)
        self.threads = threads or max(1, cores() // self.jobs)
        self.devices = [seen[i % len(seen)] if seen else None for i in range(self.jobs)]
        self._work, self._task, self._stop = work, task, threading.Event()
        self._free: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        for device in self.devices:
            self._free.put(device)

    def __str__(self) -> str:
        each = f"{self.threads} thread{'s' * (self.threads > 1)} each"
        seen = ", ".join(dict.fromkeys(device for device in self.devices if device is not None))
        return f"{self.jobs} at once with {each}" + f", devices {seen}" * bool(seen)

    def submit(self, job: Job) -> Future[Outcome]:
        """Run a point when a thread is free."""
        return self._executor.submit(self._run, job)

    def avoid(self, place: str) -> bool:
        """False: this machine is the only place."""
        return False

    def __enter__(self) -> Machine:
        self._work.mkdir(parents=True, exist_ok=True)
        self._executor = ThreadPoolExecutor(self.jobs)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._executor.shutdown(cancel_futures=True)

    def _run(self, job: Job) -> Outcome:
        device = self._free.get()
        try:
            return self._task(job, self._work, threads=self.threads, device=device, stopped=self._stop.is_set)
        finally:
            self._free.put(device)


class Workers:
    """The workers of a dask.distributed scheduler.

    Parameters
    ----------
    address
        Of the scheduler, `tcp://HOST:PORT` or `tls://HOST:PORT`.
    tls
        PEM files of the authority, our certificate and our key; without them `tls://` takes those of dask's settings.
    threads
        Of OpenMP for a point; by default the cores that a worker may use over its dask threads.
    task
        What runs a job; it must be importable on the workers.
    connect
        Seconds for one try to reach the scheduler.

    Raises
    ------
    R3labError
        The address is none, a file is not there, or dask.distributed is not installed.
    """

    def __init__(
        self,
        address: str,
        tls: tuple[str, ...] = (),
        threads: int | None = None,
        task: Task = run_point,
        connect: float = CONNECT,
    ) -> None:
        if find_spec("distributed") is None:
            raise R3labError("--dask wants dask.distributed, which is not installed: pip install 'r3lab[scale]'.")
        if not address.startswith(("tcp://", "tls://")):
            raise R3labError(f"--dask got {shown(address)}; wanted tcp://HOST:PORT or tls://HOST:PORT.")
        if missing := next((path for path in tls if not Path(path).is_file()), ""):
            raise R3labError(f"No file {shown(missing)} for TLS. Check the path.")
        self.address, self.tls, self.connect = address, tls, connect
        self._call = functools.partial(on_worker, threads=threads, task=task)

    def __str__(self) -> str:
        return f"on the workers of {self.address}"

    def __enter__(self) -> Workers:
        from distributed import Client, Security

        names = ("tls_ca_file", "tls_client_cert", "tls_client_key")
        tls = Security(require_encryption=True, **dict(zip(names, self.tls, strict=True))) if self.tls else None
        try:
            self._client = Client(self.address, timeout=self.connect, security=tls, set_as_default=False)
        except (OSError, TypeError) as error:  # TypeError: tls:// and no certificate anywhere
            raise PlaceError(
                f"No scheduler answers at {shown(self.address)} ({type(error).__name__}). Start one "
                "(dask scheduler --host 127.0.0.1), or check address and TLS."
            ) from None
        if not self._client.nthreads():
            print("no worker is there that could do a point; waiting for one", flush=True)
        self._executor = self._client.get_executor(pure=False)
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(Exception):
            self._executor.shutdown(wait=False)  # their workers stop the kernels
        with contextlib.suppress(Exception):
            self._client.close(timeout=self.connect)

    def submit(self, job: Job) -> Future[Outcome]:
        """Run a point on a worker."""
        future: Future[Outcome] = self._executor.submit(self._call, job)
        return future

    def avoid(self, place: str) -> bool:
        """Retire a worker: it gets nothing more and ends; whether another one is there."""
        worker = place.rpartition(" ")[2]
        self._client.retire_workers([worker])
        return bool(self._client.nthreads().keys() - {worker})


Place = Machine | Workers  # both have submit and avoid, and stop what still runs when they are left


def on_worker(job: Job, threads: int | None, task: Task) -> Outcome:
    """What a worker runs: the task, in the worker's own folder, until nobody waits for it any more."""
    from distributed import get_worker

    worker = get_worker()
    name = worker.get_current_task()

    def stopped() -> bool:
        known = worker.state.tasks.get(name)
        return worker.status.name not in WORKING or known is None or known.state not in WANTED

    share = threads or max(1, cores() // worker.state.nthreads)
    place = f"{socket.gethostname()} {worker.address}"
    return task(job, folder=worker.local_directory, threads=share, stopped=stopped, place=place)
