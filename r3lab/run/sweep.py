"""A sweep: one notebook over many points, wherever they run, each in the table exactly once.

The plan is made and checked before anything starts. A point that is done (`notebook.run_key`, `result.json` says "ok")
is skipped, so the same command goes on after Ctrl-C, a kill or a full disk; one that failed is tried again so many
times. Simplified: a table has the points of the command that wrote it; others in the same folder stay on the disk.

    planned = plan("lesson.ipynb", [{"seed": 0}, {"seed": 1}], quick=True)
    with Store("runs/sweeps/lesson") as store:
        summary = sweep(planned, store, Machine(store.work, jobs=2), retries=1)
"""

from __future__ import annotations

import json
import shutil
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core.errors import R3labError, shown
from ..core.files import Journal, write_whole
from .notebook import RESULT, Result, given_values, run_key
from .parameters import parameters_of, read_notebook
from .point import FIXED, RECORDED, Job, Machine, Outcome, Place, PlaceError, said
from .record import Value, check_results
from .table import Table, table_of

NAMED = 60  # characters of a value in a line of progress


class Store:
    """The folder of a sweep: one folder a point, in which `result.json`, written last, alone says that it is done.

        points/attempts.jsonl         one line an attempt
        work/                         where points run here; what a killed sweep left there is removed
        points/<key>/                 NOTEBOOK.ipynb  NOTEBOOK.html  recorded.json  attempt-1.log ...  result.json

    The table can be made at any time and has each point once.

    Parameters
    ----------
    folder
        Of the sweep; it is made.

    Raises
    ------
    R3labError
        It cannot be made, or another sweep is writing to it now.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._attempts = Journal(self.folder / "points" / "attempts.jsonl", {})  # no other sweep writes here now
        self.work = self.folder / "work"
        shutil.rmtree(self.work, ignore_errors=True)

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *error: Any) -> None:
        shutil.rmtree(self.work, ignore_errors=True)
        self._attempts.__exit__(*error)

    def point(self, key: str) -> Path:
        """Folder of a point."""
        return self.folder / "points" / key

    def done(self, key: str) -> bool:
        """Whether the point ended well, now or earlier."""
        result = Result.load(self.point(key))
        return result is not None and result.status == "ok"

    def keep(self, outcome: Outcome) -> int:
        """Write what an attempt brought; the attempts of this point so far.

        Raises
        ------
        R3labError, OSError
            Nothing can be written here; the point is not done then.
        """
        folder, key = self.point(outcome.key), outcome.key
        number = 1 + (self._attempts[key]["attempts"] if key in self._attempts else 0)
        folder.mkdir(exist_ok=True)
        (folder / RESULT).unlink(missing_ok=True)  # until its files are whole, the point is not done
        for name, data in outcome.files.items():
            if name != RESULT and Path(name).name == name:
                write_whole(folder / name, data)
        write_whole(folder / f"attempt-{number}.log", outcome.log.encode("utf-8", "replace"))
        state = {"status": outcome.status, "seconds": outcome.seconds, "attempts": number, "place": outcome.place}
        ended = time.strftime("%Y-%m-%dT%H:%M:%S%z")
        self._attempts.append(key, state | {"error": outcome.message, "ended": ended})
        if RESULT in outcome.files:
            write_whole(folder / RESULT, outcome.files[RESULT])
        return number

    def row(self, key: str) -> tuple[dict[str, Any], dict[str, Value]]:
        """How a point stands: status, seconds, attempts, place and error; and its results where it is done.

        Raises
        ------
        R3labError
            What it recorded, which came from elsewhere, is no results.
        """
        last: dict[str, Any] = {"status": "not run", "attempts": 0}
        if key in self._attempts:
            last = self._attempts[key]
        done = self.done(key)
        state = {name: last.get(name) for name in ("status", "seconds", "attempts", "place", "error")}
        if done:
            state |= {"status": "ok", "error": ""}
        elif last["status"] == "ok":  # killed before result.json was there
            state["status"] = "lost"
        file = self.point(key) / RECORDED
        if not done or not file.is_file():
            return state, {}
        try:
            return state, check_results(json.loads(file.read_text("utf-8")))
        except ValueError as error:
            path = shown(str(self.point(key)))
            raise R3labError(f"{RECORDED} in {path} holds no results: {error} Remove that folder.") from None


@dataclass(frozen=True)
class Plan:
    """All points of a sweep, each once."""

    jobs: dict[str, Job]  # by key
    parameters: dict[str, dict[str, Any]]  # all of the notebook's, by key
    repeated: int  # points that were given more than once

    @property
    def varied(self) -> tuple[str, ...]:
        """Parameters that are not the same everywhere."""
        rows = list(self.parameters.values())
        return tuple(name for name in rows[0] if any(row[name] != rows[0][name] for row in rows))

    def title(self, key: str) -> str:
        """The point by the parameters that vary."""
        values = self.parameters[key]
        return " ".join(f"{name}={shown(values[name], NAMED)}" for name in self.varied) or "the only point"


@dataclass(frozen=True)
class Summary:
    """How a sweep ended."""

    done: int  # also earlier
    skipped: int  # of these, earlier
    failed: tuple[str, ...]  # keys of points that used up their tries
    left: int  # points that are neither
    stopped: bool  # by Ctrl-C
    trouble: str  # why it could not go on, "" if it could


def plan(
    path: str | Path,
    points: Sequence[Mapping[str, Any]],
    quick: bool | None = None,
    timeout: float = 1800,
    timeout_cell: float = 600,
) -> Plan:
    """Check every point, and find its key.

    Parameters
    ----------
    path
        The notebook.
    points
        Parameters of each; what is not given has the notebook's default.
    quick
        Value for the parameter `quick`, where the notebook has one and the point does not set it.
    timeout, timeout_cell
        Seconds for a notebook, and for a cell.

    Raises
    ------
    R3labError
        Not a notebook, an unknown parameter, a value of another type, a parameter that has the name of a column.
    """
    path, nb = Path(path), read_notebook(path)
    defaults = parameters_of(nb)
    if clash := next((name for name in defaults if name in FIXED), None):
        raise R3labError(f"The notebook's parameter {clash!r} is a column of every sweep's table. Rename it.")
    text = path.read_text("utf-8")
    jobs: dict[str, Job] = {}
    parameters: dict[str, dict[str, Any]] = {}
    for point in points:
        given, full = given_values(point, defaults, quick)
        key = run_key(nb, full)
        jobs[key] = Job(key, f"{path.stem}.ipynb", text, {name: full[name] for name in given}, timeout, timeout_cell)
        parameters[key] = full
    if not jobs:
        raise R3labError("A sweep needs at least one point. Give -p NAME=VALUES or --points FILE.")
    return Plan(jobs, parameters, len(points) - len(jobs))


def sweep(planned: Plan, store: Store, place: Place, retries: int = 1, say: Callable[[str], None] = print) -> Summary:
    """Run all points that are not done.

    Parameters
    ----------
    planned
        From `plan`.
    store
        Where results go and what is done is found.
    place
        Where points run; it is started and stopped here.
    retries
        Further tries of a point that failed.
    say
        Takes a line for each attempt that ended.

    Returns
    -------
    Summary
        Also after Ctrl-C, or when there is no room or no worker any more: then `stopped` or `trouble` says so.
    """
    todo = [job for key, job in planned.jobs.items() if not store.done(key)]
    failed: list[str] = []
    stopped, trouble = False, ""
    try:
        if todo:
            with place:
                _run(planned, todo, store, place, retries, say, failed)
    except KeyboardInterrupt:
        stopped = True
    except R3labError as error:
        trouble = str(error)
    except OSError as error:
        trouble = f"cannot write to {shown(str(store.folder))}: {error.strerror or error}"
    done = sum(store.done(key) for key in planned.jobs)
    left = len(planned.jobs) - done - len(failed)
    return Summary(done, len(planned.jobs) - len(todo), tuple(failed), left, stopped, trouble)


def _run(
    planned: Plan,
    todo: Sequence[Job],
    store: Store,
    place: Place,
    retries: int,
    say: Callable[[str], None],
    failed: list[str],
) -> None:
    """Hand in points as long as there is room, and keep what comes back; keys of those that failed go to `failed`."""
    start, count, ended = time.monotonic(), len(planned.jobs), len(planned.jobs) - len(todo)
    tried = dict.fromkeys((job.key for job in todo), 0)
    waiting, running = deque(todo), dict[Future[Outcome], Job]()
    while waiting or running:
        room = place.room()
        while waiting and len(running) < room:
            job = waiting.popleft()
            running[place.submit(job)] = job
        for future in wait(running, 0.5, FIRST_COMPLETED).done:  # not for ever: Ctrl-C must come through on Windows
            job = running.pop(future)
            outcome = _outcome(future, job, place)
            if outcome.status == "place":
                say(f"{outcome.place} cannot do it: {outcome.message}")
                if not place.avoid(outcome.place):
                    raise PlaceError(f"{outcome.place}: {outcome.message}")
                waiting.append(job)
                continue
            number = store.keep(outcome)
            tried[job.key] += 1
            fault = outcome.status != "ok"
            again = fault and tried[job.key] <= retries
            if again:
                waiting.append(job)
            else:
                ended += 1
                failed += [job.key] * fault
            rest = "; again" if again else _left(time.monotonic() - start, len(todo), count - ended)
            at = f"[{ended:>{len(str(count))}}/{count}] {outcome.status:<7} {outcome.seconds:7.1f} s"
            what = f"{planned.title(job.key)}, attempt {number} on {outcome.place}"
            say(f"{at}  {what}{f': {outcome.message}' * fault}{rest}")


def _outcome(future: Future[Outcome], job: Job, place: Place) -> Outcome:
    """What came back."""
    try:
        return future.result()
    except CancelledError:
        raise PlaceError("the scheduler is gone; start it and its workers again") from None
    except Exception as error:  # workers died of it again and again, or cannot import what they need
        if isinstance(place, Machine):
            raise
        return Outcome(job.key, "lost", said(f"{type(error).__name__}: {error}"))


def table(planned: Plan, store: Store) -> Table:
    """The table of the sweep as it stands on the disk; every point of the plan once."""
    return table_of(planned.parameters, {key: store.row(key) for key in planned.jobs})


def _left(seconds: float, of: int, still: int) -> str:
    """An estimate from the points of this run: those still open take as long as those that ended."""
    if not still:
        return ""
    rest = seconds / (of - still) * still
    return f"; about {rest:.0f} s left" if rest < 120 else f"; about {rest / 60:.0f} min left"
