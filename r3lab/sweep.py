"""A sweep: one notebook over many points, wherever they run, each in the table exactly once.

The plan is made and checked before anything starts. A point that is done (`notebooks.run_key`, `result.json` says "ok")
is skipped, so the same command goes on after Ctrl-C, a kill or a full disk; one that failed is tried again so many
times. Simplified: a table has the points of the command that wrote it; others in the same folder stay on the disk.

    planned = plan("lesson.ipynb", [{"seed": 0}, {"seed": 1}], quick=True)
    with Store("runs/sweeps/lesson") as store:
        summary = sweep(planned, store, LocalPool(share_out(2)), retries=1)
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from r3lab.errors import R3labError, shown
from r3lab.notebook_parameters import check_parameters, parameters_of, read_notebook
from r3lab.notebooks import run_key
from r3lab.sweep_child import FIXED
from r3lab.sweep_pool import Pool, PoolError
from r3lab.sweep_store import Store
from r3lab.sweep_table import Table, table_of
from r3lab.sweep_task import Job

NAMED = 60  # characters of a value in a line of progress


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
        given = dict(point)
        if quick is not None and "quick" in defaults:
            given.setdefault("quick", quick)
        values = check_parameters(defaults | given, defaults)
        full = json.loads(json.dumps(values))  # as run_notebook writes it, for the same key
        key = run_key(nb, full)
        given = {name: full[name] for name in given}
        jobs[key] = Job(key, f"{path.stem}.ipynb", text, given, timeout, timeout_cell)
        parameters[key] = full
    if not jobs:
        raise R3labError("A sweep needs at least one point. Give -p NAME=VALUES or --points FILE.")
    return Plan(jobs, parameters, len(points) - len(jobs))


def sweep(planned: Plan, store: Store, pool: Pool, retries: int = 1, say: Callable[[str], None] = print) -> Summary:
    """Run all points that are not done.

    Parameters
    ----------
    planned
        From `plan`.
    store
        Where results go and what is done is found.
    pool
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
    skipped, failed = len(planned.jobs) - len(todo), []
    tried = dict.fromkeys((job.key for job in todo), 0)
    stopped, trouble, open_points = False, "", len(todo)
    start = time.monotonic()
    try:
        if todo:
            with pool:
                for job in todo:
                    pool.submit(job)
                while open_points:
                    outcome = pool.next()
                    number, job = store.keep(outcome), planned.jobs[outcome.key]
                    where = f"{planned.title(job.key)}, attempt {number} on {outcome.place}"
                    if outcome.status == "place":
                        say(f"{outcome.place} cannot do it: {outcome.message}")
                        if not pool.avoid(outcome.place):
                            trouble = f"{outcome.place}: {outcome.message}"
                            break
                        pool.submit(job)
                        continue
                    tried[job.key] += 1
                    again = outcome.status != "ok" and tried[job.key] <= retries
                    if again:
                        pool.submit(job)
                    else:
                        open_points -= 1
                        failed += [job.key] if outcome.status != "ok" else []
                    at = f"[{len(planned.jobs) - open_points:>{len(str(len(planned.jobs)))}}/{len(planned.jobs)}]"
                    more = "; again" if again else _left(time.monotonic() - start, len(todo), open_points)
                    fault = f": {outcome.message}" if outcome.status != "ok" else ""
                    say(f"{at} {outcome.status:<7} {outcome.seconds:7.1f} s  {where}{fault}{more}")
    except KeyboardInterrupt:
        stopped = True
    except PoolError as error:
        trouble = str(error)
    except OSError as error:
        trouble = f"cannot write to {shown(str(store.folder))}: {error.strerror or error}"
    done = sum(store.done(key) for key in planned.jobs)
    return Summary(done, skipped, tuple(failed), len(planned.jobs) - done - len(failed), stopped, trouble)


def table(planned: Plan, store: Store) -> Table:
    """The table of the sweep as it stands on the disk; every point of the plan once."""
    return table_of(planned.parameters, {key: store.row(key) for key in planned.jobs})


def _left(seconds: float, of: int, still: int) -> str:
    """An estimate from the points of this run: those still open take as long as those that ended."""
    if not still:
        return ""
    rest = seconds / (of - still) * still
    return f"; about {rest:.0f} s left" if rest < 120 else f"; about {rest / 60:.0f} min left"
