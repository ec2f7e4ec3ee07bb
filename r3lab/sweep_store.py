"""The folder of a sweep: one folder a point, in which `result.json`, written last, alone says that it is done.

    points/<key>/  NOTEBOOK.ipynb  NOTEBOOK.html  recorded.json  attempt-1.log ...  attempts.jsonl  result.json

Every attempt leaves its log and one line; what a place could not do goes to `places.log` and is no attempt. Nothing is
kept in memory, so the table can be made at any time and has each point once. Simplified: where there is no `fcntl`
(Windows), nothing stops two sweeps from writing to one folder.

    store = Store("runs/sweeps/lesson")
    store.keep(outcome)
    store.row("a1b2")["status"]                                       # "ok"
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from r3lab.errors import R3labError, shown
from r3lab.notebooks import Result
from r3lab.record import Value, check_results
from r3lab.sweep_task import RECORDED, RESULT, Outcome

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
