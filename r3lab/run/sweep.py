"""A sweep: one notebook over many points, wherever they run, each in the table exactly once.

The plan is made and checked before anything starts. A point that is done (`notebooks.run_key`, `result.json` says "ok")
is skipped, so the same command goes on after Ctrl-C, a kill or a full disk; one that failed is tried again so many
times. Simplified: a table has the points of the command that wrote it; others in the same folder stay on the disk.

    planned = plan("lesson.ipynb", [{"seed": 0}, {"seed": 1}], quick=True)
    with Store("runs/sweeps/lesson") as store:
        summary = sweep(planned, store, LocalPool(share_out(2)), retries=1)
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from ..core.errors import R3labError, shown
from .child import FIXED
from .notebook import Result, run_key
from .parameters import MOST, check_parameters, parameters_of, read_notebook
from .pool import Pool, PoolError
from .record import Value, check_results
from .task import RECORDED, RESULT, Job, Outcome

# The folder of a sweep: one folder a point, in which `result.json`, written last, alone says that it is done.
#
#     points/<key>/  NOTEBOOK.ipynb  NOTEBOOK.html  recorded.json  attempt-1.log ...  attempts.jsonl  result.json
#
# Every attempt leaves its log and one line; what a place could not do goes to `places.log` and is no attempt. Nothing
# is
# kept in memory, so the table can be made at any time and has each point once. Simplified: where there is no `fcntl`
# (Windows), nothing stops two sweeps from writing to one folder.
#
#     store = Store("runs/sweeps/lesson")
#     store.keep(outcome)
#     store.row("a1b2")["status"]                                       # "ok"

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

ATTEMPTS, PLACES = "attempts.jsonl", "places.log"


class Store:
    """Results of points on the disk.

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
        try:
            (self.folder / "points").mkdir(parents=True, exist_ok=True)
            self._lock: IO[bytes] = open(self.folder / ".lock", "ab")  # noqa: SIM115, held as long as the store
        except OSError as error:
            raise R3labError(f"Cannot write to {shown(str(folder))}: {error.strerror}. Choose another.") from None
        if fcntl is not None:
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # a kill releases it
            except BlockingIOError:
                self._lock.close()
                raise R3labError(
                    f"Another sweep is writing to {shown(str(folder))}. Wait for it, or stop it."
                ) from None
            except OSError:  # a file system without locks
                pass

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.close()

    def point(self, key: str) -> Path:
        """Folder of a point."""
        return self.folder / "points" / key

    def done(self, key: str) -> bool:
        """Whether the point ended well, now or earlier."""
        result = Result.load(self.point(key))
        return result is not None and result.status == "ok"

    def attempts(self, key: str) -> list[dict[str, Any]]:
        """All attempts so far, oldest first."""
        try:
            lines = (self.point(key) / ATTEMPTS).read_text("utf-8").split("\n")
        except OSError:
            return []
        found = []
        for line in lines:
            try:
                entry = json.loads(line)
            except ValueError:  # the end of a line that a kill cut
                continue
            if isinstance(entry, dict):
                found.append(entry)
        return found

    def keep(self, outcome: Outcome) -> int:
        """Write what an attempt brought.

        Returns
        -------
        int
            Attempts of this point so far; this one is none where its place could not do it.

        Raises
        ------
        OSError
            Nothing can be written here; the point is not done then.
        """
        now = time.strftime("%Y-%m-%dT%H:%M:%S%z")
        if outcome.status == "place":
            with open(self.folder / PLACES, "a", encoding="utf-8") as file:
                file.write(f"{now} {outcome.key} {outcome.place}: {outcome.message}\n")
            return len(self.attempts(outcome.key))
        folder = self.point(outcome.key)
        folder.mkdir(exist_ok=True)
        number = len(self.attempts(outcome.key)) + 1
        (folder / RESULT).unlink(missing_ok=True)  # until its files are whole, the point is not done
        for name, data in outcome.files.items():
            if name != RESULT and Path(name).name == name:
                _write(folder / name, data)
        _write(folder / f"attempt-{number}.log", outcome.log.encode("utf-8", "replace"))
        entry = {"attempt": number, "status": outcome.status, "seconds": outcome.seconds, "place": outcome.place}
        entry |= {"ended": now, "error": outcome.message}
        with open(folder / ATTEMPTS, "a+b") as lines:
            torn = lines.seek(0, os.SEEK_END) and lines.seek(-1, os.SEEK_END) >= 0 and lines.read(1) != b"\n"
            lines.write(b"\n" * torn + json.dumps(entry).encode("ascii") + b"\n")  # a kill may have cut the last line
        if RESULT in outcome.files:
            _write(folder / RESULT, outcome.files[RESULT])
        return number

    def results(self, key: str) -> dict[str, Value]:
        """What the point's notebook recorded; checked, because it came from elsewhere.

        Raises
        ------
        R3labError
            The file does not hold results.
        """
        try:
            text = (self.point(key) / RECORDED).read_text("utf-8")
        except OSError:
            return {}
        try:
            return check_results(json.loads(text))
        except ValueError as error:
            path = shown(str(self.point(key)))
            raise R3labError(f"{RECORDED} in {path} holds no results: {error} Remove that folder.") from None

    def row(self, key: str) -> tuple[dict[str, Any], dict[str, Value]]:
        """How a point stands: status, seconds, attempts, place and error; and its results where it is done."""
        attempts, done = self.attempts(key), self.done(key)
        last = attempts[-1] if attempts else {}
        status = last.get("status", "not run")
        if not done and status == "ok":  # killed before result.json was there
            status = "lost"
        state = {
            "status": "ok" if done else status,
            "seconds": last.get("seconds"),
            "attempts": len(attempts),
            "place": last.get("place", ""),
            "error": "" if done else last.get("error", ""),
        }
        return state, self.results(key) if done else {}


def _write(path: Path, data: bytes) -> None:
    """Whole or not at all."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.write_bytes(data)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


# The table of a sweep: one row a point, always as CSV, and as Parquet where pyarrow is installed.
#
# Columns, in this order: `key`, the parameters, `status`, `seconds`, `attempts`, `place`, `error`, and the results.
# So
# the file alone says what is a parameter and what a result. Numbers stand as they are, lists and the like as JSON,
# nothing as an empty cell. Text that a spreadsheet would take for a formula, or a reader for a number, gets an
# apostrophe
# in the CSV, which `read_table` takes away. Simplified: a column of Parquet has one type; where values are of
# several, it
# is text; a list is text too.
#
#     write_table(rows, "runs/sweeps/lesson/table")                     # table.csv, table.parquet
#     table = read_table("runs/sweeps/lesson/table.csv")
#     table.parameters, table.results, table.rows[0]["accuracy"]

STATE = FIXED[1:]  # columns between the parameters and the results
LARGEST = 256 * 1024 * 1024  # bytes of a table that is read
_FORMULA = re.compile(r"['=+\-@\t\r]")  # what a spreadsheet takes for a formula; and the apostrophe itself
_NUMBER = re.compile(r"(-?\d{1,19})|-?\d{1,400}(\.\d{0,400})?([eE][+-]?\d{1,3})?")


@dataclass(frozen=True)
class Table:
    """A table that was read: names of its columns by kind, and its rows."""

    parameters: tuple[str, ...]
    results: tuple[str, ...]
    rows: tuple[dict[str, Any], ...]  # column to value; None where there is none


def table_of(
    points: Mapping[str, Mapping[str, Any]], found: Mapping[str, tuple[Mapping[str, Any], Mapping[str, Any]]]
) -> Table:
    """The table of all points.

    Parameters
    ----------
    points
        Parameters by key, in the order of the rows.
    found
        State and results by key, from `Store.row`.
    """
    parameters = tuple(dict.fromkeys(name for values in points.values() for name in values))
    results = tuple(dict.fromkeys(name for key in points for name in found[key][1]))
    empty = dict.fromkeys(("key", *parameters, *STATE, *results))  # every row has every column, in their order
    rows = tuple({**empty, "key": key, **points[key], **found[key][0], **found[key][1]} for key in points)
    return Table(parameters, results, rows)


def write_table(table: Table, stem: str | Path) -> tuple[list[Path], str]:
    """Write `<stem>.csv`, and `<stem>.parquet` if pyarrow is there.

    Returns
    -------
    tuple
        The files, and a word on the one that was not written ("" if both were).

    Raises
    ------
    R3labError
        A file cannot be written.
    """
    columns = ("key", *table.parameters, *STATE, *table.results)
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_text(row.get(name)) for name in columns] for row in table.rows)
    stem = Path(stem)
    files = [_whole(stem.with_name(f"{stem.name}.csv"), text.getvalue().encode("utf-8"))]
    if find_spec("pyarrow") is None:
        return files, "no Parquet file: it wants pyarrow (pip install pyarrow)"
    import pyarrow
    import pyarrow.parquet

    data = {name: _column([row.get(name) for row in table.rows]) for name in columns}
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table(data), buffer)
    return [*files, _whole(stem.with_name(f"{stem.name}.parquet"), buffer.getvalue())], ""


def read_table(path: str | Path) -> Table:
    """Read a table that `write_table` wrote, without the sweep's folder.

    Parameters
    ----------
    path
        Ends in .csv or .parquet.

    Raises
    ------
    R3labError
        It cannot be read, or is not such a table.
    """
    path = Path(path)
    name = shown(str(path))
    try:
        if path.stat().st_size > LARGEST:
            raise R3labError(f"{name} has more than {LARGEST // 2**20} MB; a sweep's table is smaller.")
        if path.suffix.lower() == ".parquet":
            columns, rows = _parquet(path)
        else:
            columns, rows = _csv(path.read_text("utf-8-sig"))
    except OSError as error:
        raise R3labError(f"Cannot read the table {name}: {error.strerror or 'no Parquet file'}.") from None
    except (csv.Error, UnicodeDecodeError) as error:
        raise R3labError(f"{name} is not a table in CSV ({type(error).__name__}).") from None
    at = columns.index("status") if "status" in columns else -1
    if columns[:1] != ["key"] or columns[at : at + len(STATE)] != list(STATE) or len(set(columns)) < len(columns):
        raise R3labError(f"{name} is no table of `r3lab sweep`: it wants the columns key, ..., {', '.join(STATE)}, ...")
    if len(rows) > MOST or any(len(row) != len(columns) for row in rows):
        raise R3labError(f"{name} has a row that does not fit its {len(columns)} columns, or more than {MOST:,} rows.")
    found = tuple(dict(zip(columns, row, strict=True)) for row in rows)
    return Table(tuple(columns[1:at]), tuple(columns[at + len(STATE) :]), found)


def _csv(text: str) -> tuple[list[str], list[list[Any]]]:
    lines = [line for line in csv.reader(io.StringIO(text, newline=""), strict=True) if line]
    return (lines[0] if lines else []), [[_value(cell) for cell in line] for line in lines[1:]]


def _parquet(path: Path) -> tuple[list[str], list[list[Any]]]:
    if find_spec("pyarrow") is None:
        raise R3labError("Reading Parquet wants pyarrow (pip install pyarrow). The CSV file beside it needs nothing.")
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.read_table(path)
    except pyarrow.ArrowException as error:
        raise R3labError(f"{shown(str(path))} is no Parquet file ({type(error).__name__}).") from None
    columns = table.to_pydict()
    return list(columns), [[_plain(value) for value in row] for row in zip(*columns.values(), strict=True)]


def _plain(value: Any) -> Any:
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def _text(value: Any) -> str:
    """A value as a cell of the CSV."""
    if value is None:
        return ""
    if isinstance(value, str):
        return f"'{value}" if _FORMULA.match(value) or _NUMBER.fullmatch(value) or value in ("true", "false") else value
    return json.dumps(value)


def _value(cell: str) -> Any:
    """A cell of the CSV as a value."""
    if not cell or cell in ("true", "false"):
        return {"": None, "true": True, "false": False}[cell]
    if match := _NUMBER.fullmatch(cell):
        number = int(cell) if match[1] else float(cell)
        return number if math.isfinite(number) else cell
    return cell[1:] if cell.startswith("'") else cell


def _column(values: Sequence[Any]) -> list[Any]:
    """Values of one type, as a column of Parquet wants them."""
    kinds = {type(value) for value in values if value is not None}
    if kinds <= {int, float}:
        return [float(v) if v is not None and float in kinds else v for v in values]
    if kinds in ({bool}, {str}):
        return list(values)
    return [v if v is None or isinstance(v, str) else json.dumps(v) for v in values]


def _whole(path: Path, data: bytes) -> Path:
    partial = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(data)
        os.replace(partial, path)
    except OSError as error:
        raise R3labError(
            f"Cannot write {shown(str(path))}: {error.strerror}. Make room, or choose another place."
        ) from None
    finally:
        partial.unlink(missing_ok=True)
    return path


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
