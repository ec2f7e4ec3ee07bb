"""A sweep: one notebook over many points, wherever they run, each in the table exactly once.

The points are values of many parameters, from `-p NAME=VALUES` and a file of points; every value of one name meets
every value of the others. All are checked before anything starts, and an error says where it stands. A point that is
done (`notebook.run_key`, `result.json` says "ok") is skipped, so the same command goes on after Ctrl-C, a kill or full
disk; one that failed is tried again so many times. Simplified: ranges are of whole numbers, upwards; a file of points
is read whole; a table has the points of the command that wrote it, others in the same folder stay on the disk.

    points = cross(read_grid(["group=4,8,16", "seed=0..4"], defaults), read_points("points.csv", defaults))
    jobs = plan("lesson.ipynb", points, quick=True)
    with Store("runs/sweeps/lesson") as store:
        summary = sweep(jobs, store, Machine(store.work, jobs=2), retries=1)
"""

from __future__ import annotations

import csv
import io
import itertools
import math
import re
import shutil
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core.errors import R3labError, shown
from ..core.files import Journal, write_whole
from ..core.records import parse
from .notebook import (
    RESULT,
    Result,
    check_parameters,
    given_values,
    known_name,
    parameters_of,
    read_notebook,
    read_value,
    run_key,
    split_pair,
)
from .point import FIXED, Job, Machine, Outcome, Place, PlaceError, said
from .record import Value, check_results
from .table import MOST, STATE, Table, table_of

NAMED = 60  # characters of a value in a line of progress
AHEAD = 1000  # points that are handed in at once: each brings its notebook
LARGEST = 32 * 1024 * 1024  # bytes of a file of points
_RANGE = re.compile(r"(-?\d{1,18})\.\.(-?\d{1,18})(?:\.\.(\d{1,18}))?")
_ITEM = re.compile(r"""(?:[^,\[({'"]|\[[^\]]*\]|\([^)]*\)|\{[^}]*\}|'[^']*'|"[^"]*")+""")  # up to the next comma
_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")

# -- points ----------------------------------------------------------------------------------------------------------


def read_grid(texts: Sequence[str], defaults: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Read what was given as `-p NAME=VALUES`.

    Values are split at commas outside brackets and quotes and read by the type of the notebook's default; `0..4` is
    0, 1, 2, 3, 4 and `0..8..4` is 0, 4, 8 where the default is a number.

    Parameters
    ----------
    texts
        One for each name.
    defaults
        Of the notebook, from `parameters_of`.

    Returns
    -------
    dict
        Name to its values, in the types of the defaults.

    Raises
    ------
    R3labError
        No `name=values`, a name that is given twice or that the notebook does not have, a value of another type, a
        range that is empty or endless.
    """
    grid: dict[str, list[Any]] = {}
    for text in texts:
        name, values = split_pair(text, "NAME=VALUES, as in -p seed=0..4 or -p group=4,8,16")
        if name in grid:
            raise R3labError(f"-p gives {shown(name)} twice. Put all its values behind one -p, with commas.")
        known_name(name, defaults)
        items = _ITEM.findall(values)
        if ",".join(items) != values or not all(item.strip() for item in items or [""]):
            trouble = "an empty value, or an open bracket or quotation mark"
            raise R3labError(f"-p {name} has {trouble} in {shown(values)}; wanted values with commas between them.")
        written = (_written_out(name, item.strip(), isinstance(defaults[name], str)) for item in items)
        grid[name] = [read_value(name, item, defaults) for item in itertools.chain(*written)]
    return grid


def _written_out(name: str, item: str, is_text: bool) -> Sequence[str]:
    """The texts of the single values of a range; of anything else, itself."""
    if is_text:  # quotation marks only kept its commas together
        return [item[1:-1] if _QUOTED.fullmatch(item) else item]
    match = _RANGE.fullmatch(item)
    if match is None:
        return [item]
    values = range(int(match[1]), int(match[2]) + 1, int(match[3] or 1) or -1)
    if not values:
        raise R3labError(f"The range {item} of {name!r} is empty; wanted FIRST..LAST or FIRST..LAST..STEP.")
    if len(values) > MOST:
        raise R3labError(f"The range {item} of {name!r} has more than {MOST:,} values. Give a shorter one.")
    return [str(number) for number in values]


def cross(grid: Mapping[str, Sequence[Any]], listed: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Every point of the list with every combination of the grid, the last name of the grid changing fastest.

    Raises
    ------
    R3labError
        A name stands in both, or there would be too many points.
    """
    if both := next((name for point in listed for name in point if name in grid), ""):
        raise R3labError(f"{shown(both)} is given both by -p and in the list of points. Give it once.")
    count = len(listed) * math.prod(len(values) for values in grid.values())
    if count > MOST:
        raise R3labError(f"That makes {count:,} points; a sweep has at most {MOST:,}. Give fewer values.")
    combinations = [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]
    return [{**point, **combination} for point in listed for combination in combinations]


def read_points(path: str | Path, defaults: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Read a file of points: CSV with the names in its first line, JSON (a list of objects), or JSON lines.

    A table's values are read by the notebook's defaults, as the command line's are; JSON brings its own types.

    Parameters
    ----------
    path
        Ends in .csv, .json or .jsonl.
    defaults
        Of the notebook, from `parameters_of`.

    Returns
    -------
    list of dict
        Name to value, in the types of the defaults; not every name need be there.

    Raises
    ------
    R3labError
        The file cannot be read, is of another kind, has no point or too many; or a point has an unknown name, a value
        of another type or an empty place.
    """
    path, name = Path(path), shown(str(path))
    listed = {".csv": _rows, ".json": _objects, ".jsonl": _lines}.get(path.suffix.lower())
    if listed is None:
        raise R3labError(f"Cannot read points from {name}: end its name in .csv, .json, .jsonl.")
    try:
        if path.stat().st_size > LARGEST:
            raise R3labError(f"{name} has more than {LARGEST // 2**20} MB; a list of points is smaller.")
        text = path.read_text("utf-8-sig")
    except OSError as error:
        raise R3labError(f"Cannot read the points in {name}: {error.strerror}. Check the path.") from None
    except UnicodeDecodeError:
        raise R3labError(f"{name} is not UTF-8 text. Save it as UTF-8.") from None
    points = []
    for where, point in listed(text, name):
        try:
            if not isinstance(point, dict):
                raise R3labError(f"{shown(point)}; wanted an object of parameters.")
            if listed is _rows:
                point = {key: read_value(key, value.strip(), defaults) for key, value in point.items()}
            points.append(check_parameters(point, defaults))
        except R3labError as error:
            raise R3labError(f"{where}: {error}") from None
    if not 0 < len(points) <= MOST:
        raise R3labError(f"{name} has {len(points):,} points; wanted 1 to {MOST:,}.")
    return points


def _lines(text: str, name: str) -> Iterator[tuple[str, Any]]:
    """Where each point of JSON lines stands, and the point."""
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield f"{name}, line {number}", parse(line, f"{name}, line {number}")


def _objects(text: str, name: str) -> Iterator[tuple[str, Any]]:
    """The same of JSON."""
    points = parse(text, name)
    if not isinstance(points, list):
        raise R3labError(f"{name} holds {shown(points)}; wanted a list of objects, one a point.")
    yield from ((f"{name}, point {number}", point) for number, point in enumerate(points, start=1))


def _rows(text: str, name: str) -> Iterator[tuple[str, Any]]:
    """The same of CSV, with texts by name."""
    rows = csv.DictReader(io.StringIO(text, newline=""), strict=True, skipinitialspace=True)
    try:
        if len(set(rows.fieldnames or ())) < len(rows.fieldnames or ()):
            raise R3labError(f"{name} names a column twice in its first line. Each parameter has one column.")
        for row in rows:
            if None in row or None in row.values():
                raise R3labError(f"{name}, line {rows.line_num}: wanted one value under each name. Mend the line.")
            yield f"{name}, line {rows.line_num}", row
    except csv.Error as error:
        raise R3labError(f"{name} is not CSV: {error}.") from None


def plan(
    path: str | Path,
    points: Sequence[Mapping[str, Any]],
    quick: bool | None = None,
    timeout: float = 1800,
) -> dict[str, Job]:
    """Check every point, and find its key; each is there once.

    Parameters
    ----------
    path
        The notebook.
    points
        Parameters of each; what is not given has the notebook's default.
    quick
        Value for the parameter `quick`, where the notebook has one and the point does not set it.
    timeout
        Seconds for a notebook.

    Raises
    ------
    R3labError
        Not a notebook, an unknown parameter, a value of another type, a parameter that has the name of a column.
    """
    path, nb = Path(path), read_notebook(path)
    defaults, text = parameters_of(nb), path.read_text("utf-8")
    if clash := next((name for name in defaults if name in FIXED), None):
        raise R3labError(f"The notebook's parameter {clash!r} is a column of every sweep's table. Rename it.")
    every = [given_values(point, defaults, quick)[1] for point in points]
    keys = [run_key(nb, values) for values in every]
    return {k: Job(k, f"{path.stem}.ipynb", text, values, timeout) for k, values in zip(keys, every, strict=True)}


def titles(jobs: Mapping[str, Job]) -> dict[str, str]:
    """Each point by the parameters that are not the same everywhere."""
    first, *others = (job.parameters for job in jobs.values())
    varied = [name for name in first if any(one[name] != first[name] for one in others)]
    values = {key: [f"{name}={shown(job.parameters[name], NAMED)}" for name in varied] for key, job in jobs.items()}
    return {key: " ".join(told) or "the only point" for key, told in values.items()}


# -- what is done ----------------------------------------------------------------------------------------------------


class Store:
    """The folder of a sweep: one folder a point, in which `result.json`, written last, alone says that it is done.

        points/attempts.jsonl         one line an attempt
        work/                         where points run here; what a killed sweep left there is removed
        points/<key>/                 NOTEBOOK.ipynb  NOTEBOOK.html  attempt-1.log ...  result.json

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

    def done(self, key: str) -> Result | None:
        """How the point ended, if it ended well, now or earlier."""
        result = Result.load(self.point(key))
        return result if result is not None and result.status == "ok" else None

    def last(self, key: str) -> dict[str, Any]:
        """The last attempt."""
        if key in self._attempts:
            return self._attempts[key]
        return {"status": "not run", "attempts": 0}

    def keep(self, outcome: Outcome) -> int:
        """Write what an attempt brought; the attempts of this point so far.

        Raises
        ------
        R3labError, OSError
            Nothing can be written here; the point is not done then.
        """
        folder, number = self.point(outcome.key), 1 + self.last(outcome.key)["attempts"]
        folder.mkdir(exist_ok=True)
        (folder / RESULT).unlink(missing_ok=True)  # until its files are whole, the point is not done
        for name, data in outcome.files.items():
            if name != RESULT and Path(name).name == name:
                write_whole(folder / name, data)
        write_whole(folder / f"attempt-{number}.log", outcome.log.encode("utf-8", "replace"))
        state = {"status": outcome.status, "seconds": outcome.seconds, "attempts": number, "place": outcome.place}
        ended = time.strftime("%Y-%m-%dT%H:%M:%S%z")
        self._attempts.append(outcome.key, state | {"error": outcome.message, "ended": ended})
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
        result, last = self.done(key), self.last(key)
        state = {name: last.get(name) for name in STATE}
        if result is None:  # killed before result.json was there?
            return state | ({"status": "lost"} if state["status"] == "ok" else {}), {}
        try:
            return state | {"status": "ok", "error": ""}, check_results(result.recorded)
        except R3labError as error:
            path = shown(str(self.point(key)))
            raise R3labError(f"{RESULT} in {path} holds no results: {error} Remove that folder.") from None


def table(jobs: Mapping[str, Job], store: Store) -> Table:
    """The table of the sweep as it stands on the disk; every point once."""
    return table_of({key: job.parameters for key, job in jobs.items()}, {key: store.row(key) for key in jobs})


# -- the sweep -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Summary:
    """How a sweep ended."""

    done: int  # also earlier
    skipped: int  # of these, earlier
    failed: tuple[str, ...]  # keys of points that used up their tries
    stopped: bool  # by Ctrl-C
    trouble: str  # why it could not go on, "" if it could


def sweep(
    jobs: Mapping[str, Job], store: Store, place: Place, retries: int = 1, say: Callable[[str], None] = print
) -> Summary:
    """Run all points that are not done.

    Parameters
    ----------
    jobs
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
    todo = {key: job for key, job in jobs.items() if not store.done(key)}
    failed: list[str] = []
    stopped, trouble = False, ""
    try:
        if todo:
            with place:
                _run(jobs, todo, store, place, retries, say, failed)
    except KeyboardInterrupt:
        stopped = True
    except R3labError as error:
        trouble = str(error)
    except OSError as error:
        trouble = f"cannot write to {shown(str(store.folder))}: {error.strerror or error}"
    done = sum(store.done(key) is not None for key in jobs)
    return Summary(done, len(jobs) - len(todo), tuple(failed), stopped, trouble)


def _run(
    jobs: Mapping[str, Job],
    todo: Mapping[str, Job],
    store: Store,
    place: Place,
    retries: int,
    say: Callable[[str], None],
    failed: list[str],
) -> None:
    """Hand in points and keep what comes back; keys of those that failed go to `failed`."""
    start, named, count, ended = time.monotonic(), titles(jobs), len(jobs), len(jobs) - len(todo)
    tried, avoided = Counter[str](), set[str]()
    waiting, running = deque(todo.values()), dict[Future[Outcome], Job]()
    while waiting or running:
        while waiting and len(running) < AHEAD:
            job = waiting.popleft()
            running[place.submit(job)] = job
        for future in wait(running, 0.5, FIRST_COMPLETED).done:  # not for ever: Ctrl-C must come through on Windows
            job = running.pop(future)
            outcome = _outcome(future, job, place)
            if outcome.status == "place":
                waiting.append(job)
                if outcome.place not in avoided:
                    avoided.add(outcome.place)
                    say(f"{outcome.place} cannot do it: {outcome.message}")
                    if not place.avoid(outcome.place):
                        raise PlaceError(f"{outcome.place}: {outcome.message}")
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
            what = f"{named[job.key]}, attempt {number} on {outcome.place}"
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


def _left(seconds: float, of: int, still: int) -> str:
    """An estimate from the points of this run: those still open take as long as those that ended."""
    if not still:
        return ""
    rest = seconds / (of - still) * still
    return f"; about {rest:.0f} s left" if rest < 120 else f"; about {rest / 60:.0f} min left"
