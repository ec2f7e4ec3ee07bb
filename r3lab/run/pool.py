"""Points on this machine: so many at once, each in a process of its own with its share of cores and one device.

Simplified: no priorities; first come, first served.

    with LocalPool(share_out(jobs=4)) as pool:
        pool.submit(job)
        outcome = pool.next()
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Protocol

from ..core.errors import R3labError
from .task import Job, Outcome, Share, run_point


class PoolError(R3labError):
    """No place is left where points could run."""


Task = Callable[..., Outcome]  # run_point, or what stands for it in a test


class Pool(Protocol):
    """Where points run: on this machine, or on workers elsewhere."""

    def submit(self, job: Job) -> None:
        """Run it when there is room."""

    def next(self) -> Outcome:
        """Wait until one that was submitted has ended."""

    def avoid(self, place: str) -> bool:
        """Send nothing to this place any more; False if no other is left."""

    def __enter__(self) -> Pool:
        """Start."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop what still runs, and wait for its end."""


class LocalPool:
    """Threads that each wait for the process of one point.

    Parameters
    ----------
    share
        From `sweep_machine.share_out`.
    task
        What runs a job.
    """

    def __init__(self, share: Share, task: Task = run_point) -> None:
        self.share, self.task = share, task
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._ended: queue.SimpleQueue[Outcome | BaseException] = queue.SimpleQueue()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._work, args=(device,), daemon=True) for device in share.devices]

    def submit(self, job: Job) -> None:
        """Run it when there is room."""
        self._jobs.put(job)

    def next(self) -> Outcome:
        """Wait until one has ended; an error that is ours comes out here."""
        while True:
            try:
                found = self._ended.get(timeout=0.5)  # not for ever: Ctrl-C must come through on Windows
            except queue.Empty:
                continue
            if isinstance(found, BaseException):
                raise found
            return found

    def avoid(self, place: str) -> bool:
        """False: this machine is the only place."""
        return False

    def __enter__(self) -> LocalPool:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join()

    def _work(self, device: str | None) -> None:
        while (job := self._jobs.get()) is not None and not self._stop.is_set():
            try:
                outcome = self.task(job, threads=self.share.threads, device=device, stopped=self._stop.is_set)
                self._ended.put(outcome)
            except BaseException as error:  # in a thread it would be lost
                self._ended.put(error)
