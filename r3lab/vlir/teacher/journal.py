"""The journal of a run that asks: one JSON line a question that is settled, so that none is asked twice.

A line is on the disk (fsync) before the next question is sent, so a kill at any moment loses the replies in flight and
nothing else; what a kill left of a last line is cut off when the journal is opened again. Of several lines with one key
the last counts. Only where lines begin is kept in memory. Simplified: where there is no `fcntl` (Windows), nothing
stops two runs from writing to one folder.

    with Journal("out/teacher/journal.jsonl", {"model": "qwen"}) as journal:
        if key not in journal:
            journal.append(key, {"outcome": "accepted", ...})
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from ...core.errors import R3labError, shown

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

FORMAT, VERSION = "r3lab.journal", 1


class Journal:
    """An append-only file of JSON lines by key, with a first line that says what the run is.

    Parameters
    ----------
    path
        Of the file; its folder is made.
    same
        What every run that goes on with this journal must have in common (JSON); the first one writes it.

    Raises
    ------
    R3labError
        If another run writes to it now, it began with another `same`, or a line before the last is damaged.
    """

    def __init__(self, path: str | Path, same: dict[str, Any]) -> None:
        self.path = Path(path)
        self._at: dict[str, int] = {}  # where each key's last line begins
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self.path.open("a+b", buffering=0)
        try:
            self._lock()
            if self._read(same) == 0:
                self._write({"format": FORMAT, "version": VERSION, "same": same})
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def __contains__(self, key: str) -> bool:
        return key in self._at

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Every line in the order in which it was written, also those that a later one replaced."""
        with self.path.open("rb") as file:
            next(file, None)
            for line in file:
                yield json.loads(line)

    def __getitem__(self, key: str) -> dict[str, Any]:
        """The last line of a key."""
        with self.path.open("rb") as file:
            file.seek(self._at[key])
            line: dict[str, Any] = json.loads(file.readline())
        return line

    def append(self, key: str, entry: dict[str, Any]) -> None:
        """Write an entry and wait until it is on the disk."""
        self._at[key] = self._write({"key": key, **entry})

    def _write(self, line: dict[str, Any]) -> int:
        start = self._file.seek(0, os.SEEK_END)
        data = memoryview(json.dumps(line).encode("ascii") + b"\n")
        try:
            while data:
                data = data[self._file.write(data) :]
            os.fsync(self._file.fileno())
        except BaseException:  # a full disk: the next line must not follow half of this one
            self._file.truncate(start)
            raise
        return start

    def _lock(self) -> None:
        if fcntl is None:
            return
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # a kill releases it
        except BlockingIOError:
            raise R3labError(f"another run is writing to {self.path.parent.parent}; wait for it or stop it") from None
        except OSError:  # a file system without locks
            return

    def _read(self, same: dict[str, Any]) -> int:
        """Find where lines begin; cut off a torn last one; the number of whole lines."""
        whole = start = 0
        with self.path.open("rb") as file:
            for line in file:
                data = _object(line)
                if data is None or (whole and "key" not in data):
                    if file.read(1):
                        raise R3labError(f"{self.path} line {whole + 1} is damaged; mend it, or give another folder")
                    break
                if whole == 0:
                    self._check(data, same)
                else:
                    self._at[str(data["key"])] = start
                whole += 1
                start += len(line)
        self._file.truncate(start)
        return whole

    def _check(self, first: dict[str, Any], same: dict[str, Any]) -> None:
        if first.get("format") != FORMAT or first.get("version") != VERSION:
            raise R3labError(f"{self.path} is no journal of this version of r3lab; give another folder")
        then = first.get("same")
        then = then if isinstance(then, dict) else {}
        for name in same:
            if then.get(name) != same[name]:
                raise R3labError(
                    f"{self.path.parent.parent} was begun with {name} {shown(then.get(name))}, "
                    f"not {shown(same[name])}; give another folder, or the same {name}"
                )


def _object(line: bytes) -> dict[str, Any] | None:
    """The object on a whole line; None if it is torn or damaged."""
    try:
        data = json.loads(line) if line.endswith(b"\n") else None
    except ValueError:
        return None
    return data if isinstance(data, dict) else None
