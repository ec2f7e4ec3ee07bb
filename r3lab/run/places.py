"""Where the points of a sweep run: on this machine, or on the workers of a dask.distributed scheduler.

Both are executors of `concurrent.futures`, so a sweep has one way for both. Here a thread a point waits for its
process, which has its share of the cores and one CUDA device. Workers get a job and give back its outcome by value, so
they share no disk; what a worker was doing when it died dask gives to another. dask sends Python objects with pickle:
whoever reaches the scheduler can run code, so keep it on loopback or behind TLS. Simplified: devices are those of
NVIDIA's driver; a scheduler that is gone ends the sweep, and the same command goes on.

    with Machine(share_out(jobs=4)) as place:
        outcome = place.submit(job).result()
"""

from __future__ import annotations

import contextlib
import functools
import os
import queue
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from ..core.errors import R3labError, shown
from .point import Job, Outcome, run_point

if TYPE_CHECKING:
    from distributed import Security

CONNECT = 30.0  # seconds to reach a scheduler
WORKING = ("running", "paused", "closing_gracefully")  # states of a worker that goes on
WANTED = ("executing", "long-running")  # states of a task that somebody waits for
Task = Callable[..., Outcome]  # run_point, or what stands for it in a test


class PlaceError(R3labError):
    """No place is left where points could run."""


@dataclass(frozen=True)
class Share:
    """What each of several jobs at once gets."""

    jobs: int
    threads: int  # of a job
    devices: tuple[str | None, ...]  # one a job, None where there is none


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
        found: list[str] = []
        for name in (part.strip() for part in allowed.split(",")):
            if not name or name.startswith("-"):
                break
            found.append(name)
        return tuple(found)
    if shutil.which("nvidia-smi") is None:
        return ()
    ask = ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"]
    try:  # importing torch to count them would take seconds
        told = subprocess.run(ask, capture_output=True, text=True, timeout=30, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return ()
    return tuple(line.strip() for line in told.splitlines() if line.strip().isdecimal())


def share_out(
    jobs: int | None,
    most: int | None = None,
    threads: int | None = None,
    have: int | None = None,
    seen: Sequence[str] | None = None,
) -> Share:
    """Cores and devices for so many jobs at once.

    Parameters
    ----------
    jobs
        At once; by default one a device, without devices one for every two cores.
    most
        Jobs that there are; more at once would leave cores idle.
    threads
        Of a job; by default its share of the cores.
    have
        Cores; by default `cores()`.
    seen
        Devices; by default `devices()`.
    """
    have = cores() if have is None else have
    seen = devices() if seen is None else tuple(seen)
    count = jobs or len(seen) or max(1, have // 2)
    count = min(count, most or count)
    given = tuple(seen[i % len(seen)] if seen else None for i in range(count))
    return Share(count, threads or max(1, have // count), given)


class Machine:
    """This machine: threads that each wait for the process of one point.

    Parameters
    ----------
    share
        From `share_out`.
    task
        What runs a job.
    """

    def __init__(self, share: Share, task: Task = run_point) -> None:
        self.share, self.task = share, task
        self._stop = threading.Event()
        self._devices: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        for device in share.devices:
            self._devices.put(device)

    def room(self) -> int:
        """How many points to hand in at once: as many as run."""
        return self.share.jobs

    def submit(self, job: Job) -> Future[Outcome]:
        """Run a point when a thread is free."""
        return self._executor.submit(self._run, job)

    def avoid(self, place: str) -> bool:
        """False: this machine is the only place."""
        return False

    def __enter__(self) -> Machine:
        self._executor = ThreadPoolExecutor(self.share.jobs)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._executor.shutdown(cancel_futures=True)

    def _run(self, job: Job) -> Outcome:
        device = self._devices.get()
        try:
            return self.task(job, threads=self.share.threads, device=device, stopped=self._stop.is_set)
        finally:
            self._devices.put(device)


class Workers:
    """The workers of a dask.distributed scheduler.

    Parameters
    ----------
    address
        Of the scheduler, `tcp://HOST:PORT` or `tls://HOST:PORT`.
    tls
        From `security`.
    threads
        Of OpenMP for a point; by default the cores that a worker may use over its dask threads.
    say
        Takes a line when no worker is there.
    task
        What runs a job; it must be importable on the workers.
    connect
        Seconds for one try to reach the scheduler.

    Raises
    ------
    R3labError
        The address is none, or dask.distributed is not installed.
    """

    def __init__(
        self,
        address: str,
        tls: Security | None = None,
        threads: int | None = None,
        say: Callable[[str], None] = print,
        task: Task = run_point,
        connect: float = CONNECT,
    ) -> None:
        _installed()
        if not address.startswith(("tcp://", "tls://")):
            raise R3labError(f"--dask got {shown(address)}; wanted tcp://HOST:PORT or tls://HOST:PORT.")
        self.address, self.tls, self.say, self.connect = address, tls, say, connect
        self._call = functools.partial(on_worker, threads=threads, task=task)
        self._waiting = False

    def __enter__(self) -> Workers:
        from distributed import Client

        try:
            self._client = Client(self.address, timeout=self.connect, security=self.tls, set_as_default=False)
        except OSError as error:
            raise PlaceError(
                f"No scheduler answers at {shown(self.address)} ({type(error).__name__}). Start one "
                "(dask scheduler --host 127.0.0.1), or check address and TLS."
            ) from None
        self._executor = self._client.get_executor(pure=False)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(Exception):
            self._executor.shutdown(wait=False)  # their workers stop the kernels
        with contextlib.suppress(Exception):
            self._client.close(timeout=self.connect)

    def room(self) -> int:
        """Twice as many as can run at once, so that no worker waits for the next.

        Raises
        ------
        PlaceError
            The scheduler is gone.
        """
        try:
            if self._client.status != "running":
                raise OSError
            threads = sum(self._client.nthreads().values())
        except Exception:  # which one depends on the moment at which the scheduler went
            raise PlaceError(f"the scheduler at {self.address} is gone; start it and its workers again") from None
        if not threads and not self._waiting:
            self.say("no worker is there that could do a point; waiting for one")
        self._waiting = not threads
        return max(1, 2 * threads)

    def submit(self, job: Job) -> Future[Outcome]:
        """Run a point on a worker."""
        future: Future[Outcome] = self._executor.submit(self._call, job)
        return future

    def avoid(self, place: str) -> bool:
        """Retire a worker: it gets nothing more and ends."""
        worker = place.rpartition(" ")[2]
        self._client.retire_workers([worker])
        return bool(self._client.nthreads().keys() - {worker})


Place = Machine | Workers  # both have room, submit and avoid, and stop what still runs when they are left


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


def security(ca: str | None, cert: str | None, key: str | None) -> Security | None:
    """TLS from three files in PEM; None, which means dask's own settings, where none is given.

    Raises
    ------
    R3labError
        A file is not there, or dask.distributed is not installed.
    """
    _installed()
    if not (ca and cert and key):
        return None
    from distributed import Security

    for path in (ca, cert, key):
        if not Path(path).is_file():
            raise R3labError(f"No file {shown(path)} for TLS. Check the path.")
    return Security(require_encryption=True, tls_ca_file=ca, tls_client_cert=cert, tls_client_key=key)


def _installed() -> None:
    if find_spec("distributed") is None:
        raise R3labError("--dask wants dask.distributed, which is not installed: pip install 'r3lab[scale]'.")
