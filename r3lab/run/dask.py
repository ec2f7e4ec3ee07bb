"""Points on the workers of a dask.distributed scheduler, with the same task as on this machine.

A job and its outcome travel by value, so workers share no disk. What a worker was doing when it died is done by
another; when the scheduler is gone, we wait for it to come back and hand in again what was open; a worker that cannot
write, or has another r3lab, gets nothing more. Only results that have arrived count, and they are on our disk. dask
sends Python objects with pickle: whoever reaches the scheduler can run code, so keep it on loopback or behind TLS.
Simplified: no more than twice as many points are handed in as can run; a worker that is out of reach for a while may
finish for nothing.

    with DaskPool("tcp://127.0.0.1:8786") as pool:
        pool.submit(job)
        outcome = pool.next()
"""

from __future__ import annotations

import contextlib
import functools
import socket
import time
from collections import deque
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from ..core.errors import R3labError, shown
from .pool import PoolError, Task
from .task import Job, Outcome, cores, run_point, said

if TYPE_CHECKING:
    from distributed import Client, Future, Security

CONNECT, PATIENCE, REFRESH = 30.0, 900.0, 2.0  # seconds: to connect, for a scheduler to return, between two looks
ROLES = ("client", "scheduler", "worker")  # dask asks for the files of each
WORKING = ("running", "paused", "closing_gracefully")  # states of a worker that goes on
WANTED = ("executing", "long-running")  # states of a task that somebody waits for


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
    files = {f"tls_{role}_{kind}": path for role in ROLES for kind, path in (("cert", cert), ("key", key))}
    return Security(require_encryption=True, tls_ca_file=ca, **files)


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


class DaskPool:
    """Points on workers.

    Parameters
    ----------
    address
        Of the scheduler, `tcp://HOST:PORT` or `tls://HOST:PORT`.
    tls
        From `security`.
    threads
        Of OpenMP for a point; by default the cores that a worker may use over its dask threads.
    say
        Takes a line when something is lost or awaited.
    task
        What runs a job; it must be importable on the workers.
    patience
        Seconds that a scheduler may be gone.
    connect
        Seconds for one try to reach it.

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
        patience: float = PATIENCE,
        connect: float = CONNECT,
    ) -> None:
        _installed()
        if not address.startswith(("tcp://", "tls://")):
            raise R3labError(f"--dask got {shown(address)}; wanted tcp://HOST:PORT or tls://HOST:PORT.")
        self.address, self.tls, self.say, self.patience, self.connect = address, tls, say, patience, connect
        self._call = functools.partial(on_worker, threads=threads, task=task)
        self._waiting: deque[Job] = deque()
        self._flight: dict[Future, tuple[Job, frozenset[str]]] = {}  # and the workers that it may go to; empty: any
        self._avoided: set[str] = set()
        self._workers: dict[str, int] = {}  # address to threads
        self._looked = 0.0
        self._client: Client | None = None
        self._told = ""

    def __enter__(self) -> DaskPool:
        try:
            self._connect()
        except OSError as error:
            raise PoolError(
                f"No scheduler answers at {shown(self.address)} ({type(error).__name__}). Start one "
                "(python -m r3lab.run.cluster scheduler), or check address and TLS."
            ) from None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        client, flight = self._client, list(self._flight)
        self._flight, self._client = {}, None
        if client is not None:
            with contextlib.suppress(Exception):
                client.cancel(flight, force=True)  # their workers stop the kernels
            with contextlib.suppress(Exception):
                client.close(timeout=self.connect)

    def submit(self, job: Job) -> None:
        """Run it when there is room."""
        self._waiting.append(job)

    def avoid(self, place: str) -> bool:
        """Send nothing to this worker any more; False if no other is there."""
        self._avoided.add(place.rpartition(" ")[2])
        return any(worker not in self._avoided for worker in self._workers)

    def next(self) -> Outcome:
        """Wait until one has ended, through the death of workers and of the scheduler.

        Raises
        ------
        PoolError
            The scheduler did not come back.
        """
        while True:
            self._look()
            self._hand_in()
            for future, (job, _) in list(self._flight.items()):
                if future.status == "pending":
                    continue
                del self._flight[future]
                if future.status in ("finished", "error"):
                    outcome = self._fetch(future, job)
                    if outcome is not None:
                        return outcome
                self._waiting.appendleft(job)  # cancelled or lost, with the scheduler or on the way to us
            time.sleep(0.2)

    def _fetch(self, future: Future, job: Job) -> Outcome | None:
        """What came back; None where it was lost on the way."""
        from distributed import CancelledError, TimeoutError

        try:
            found = future.result(timeout=2 * CONNECT)
        except (CancelledError, TimeoutError, OSError):
            return None
        except Exception as error:  # the worker died again and again, or cannot import what it needs
            return Outcome(job.key, "lost", said(f"{type(error).__name__}: {error}"))
        if not isinstance(found, Outcome) or found.key != job.key:
            return Outcome(job.key, "lost", f"a worker gave back {shown(found)}")
        return found

    def _connect(self) -> None:
        from distributed import Client

        self._client = Client(
            self.address, timeout=self.connect, security=self.tls, set_as_default=False, name="r3lab-sweep"
        )
        self._workers, self._looked = {}, 0.0

    def _look(self) -> None:
        """Which workers there are; a scheduler that is gone is waited for."""
        if time.monotonic() - self._looked < REFRESH and self._client is not None and self._client.status == "running":
            return
        try:
            if self._client is None or self._client.status != "running":
                raise OSError("gone")
            self._workers = dict(self._client.nthreads())
            self._looked = time.monotonic()
        except Exception:  # which one depends on the moment at which the scheduler went
            self._again()
            return
        for future, (job, only) in list(self._flight.items()):
            if only and not only & self._workers.keys():  # all that it may go to are gone
                del self._flight[future]
                self._client.cancel([future], force=True)
                self._waiting.appendleft(job)
        able = [worker for worker in self._workers if worker not in self._avoided]
        self._tell("" if able else "no worker is there that could do a point; waiting for one")

    def _again(self) -> None:
        """Connect anew; all that was handed in is open again."""
        self._tell(f"the scheduler at {self.address} is gone; waiting for it to come back")
        self._waiting.extendleft(job for job, _ in self._flight.values())
        self._flight = {}
        end = time.monotonic() + self.patience
        while True:
            if self._client is not None:
                with contextlib.suppress(Exception):
                    self._client.close(timeout=1)
            try:
                self._connect()
                return
            except OSError:
                if time.monotonic() > end:
                    raise PoolError(
                        f"the scheduler at {self.address} did not come back within {self.patience:g} s"
                    ) from None
                time.sleep(REFRESH / 2)

    def _hand_in(self) -> None:
        """Hand in as many as can run soon, to workers that can do them."""
        able = frozenset(worker for worker in self._workers if worker not in self._avoided)
        room = 2 * sum(self._workers[worker] for worker in able) - len(self._flight)
        only = able if self._avoided else frozenset()
        while self._waiting and room > 0 and self._client is not None:
            job = self._waiting.popleft()
            options: dict[str, Any] = {"workers": sorted(only)} if only else {}
            future = self._client.submit(self._call, job, pure=False, retries=0, **options)
            self._flight[future] = (job, only)
            room -= 1

    def _tell(self, line: str) -> None:
        """Say it once; the same again only after it was over."""
        if line and line != self._told:
            self.say(line)
        self._told = line


def _installed() -> None:
    if find_spec("distributed") is None:
        raise R3labError("--dask wants dask.distributed, which is not installed: pip install 'r3lab[scale]'.")
