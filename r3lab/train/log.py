"""The log of a training run: a JSON object a line, a line a step, written while it trains, read by whoever draws it.

A run's folder holds it as `log.jsonl`; its first row may be the settings, all others have a "step". Without torch, so
that reading a log takes no seconds. Simplified: a log is read whole.

    log = JsonlLog("runs/rgrpo/log.jsonl"); log({"step": 1, "reward": 0.3})
    read_log("runs/rgrpo")[-1]["reward"]
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..core.errors import R3labError, shown
from ..core.files import append_row, write_whole

LOG = "log.jsonl"
MOST_BYTES = 256_000_000


class JsonlLog:
    """Append one JSON object a line; every line is flushed. `rows` keeps them for live curves.

    Parameters
    ----------
    path : file to write, anew; None to keep the rows in memory alone
    through : keep what an earlier run wrote there, as far as this step
    """

    def __init__(self, path: str | Path | None, through: int = 0) -> None:
        self.path = Path(path) if path else None
        self.rows: list[dict[str, Any]] = []
        if self.path:
            if through and self.path.is_file():
                self.rows = [row for row in read_log(self.path) if row.get("step", 0) <= through]
            write_whole(self.path, "".join(json.dumps(row) + "\n" for row in self.rows).encode("ascii"))

    def __call__(self, row: dict[str, Any]) -> None:
        self.rows.append(row)
        if self.path:
            with self.path.open("ab", buffering=0) as file:
                append_row(file, row)


def read_log(path: str | Path, notes: list[str] | None = None) -> list[dict[str, Any]]:
    """Rows of a log; a last line that a kill cut off is left out.

    Parameters
    ----------
    path
        A log, or the folder of a run.
    notes
        Told in words what was left out.

    Raises
    ------
    R3labError
        If there is no log, it cannot be read, or a line of it is no JSON object; the line is named.
    """
    file = log_file(path)
    if file.is_dir() or (Path(path).is_dir() and not file.is_file()):
        others = sorted(one.name for one in Path(path).glob("*.jsonl"))[:6]
        there = f" (there is {', '.join(map(shown, others))}: name one)" if others else ""
        raise R3labError(f"{shown(str(path))} holds no {LOG}{there}; name the folder of a run, or a log.")
    where = shown(str(file))
    try:
        if file.stat().st_size > MOST_BYTES:
            raise R3labError(f"{where} has over {MOST_BYTES:,} bytes; that is no training log.")
        lines = file.read_bytes().split(b"\n")
    except OSError as error:
        raise R3labError(f"Cannot read {where}: {error.strerror or error}; name a training log.") from error
    rows = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            if number == len(lines):  # no newline behind it: it is being written, or its writer was killed
                if notes is not None:
                    notes.append(f"its last line ({number}) is cut off and left out")
                break
            raise R3labError(
                f"{where} line {number} is not JSON: {shown(line[:200].decode('utf-8', 'replace'), 60)}; it is no "
                "training log, or two runs wrote to it."
            ) from None
        if not isinstance(row, dict):
            raise R3labError(f"{where} line {number} is {shown(row, 60)}; a training log has an object a line.")
        rows.append(row)
    return rows


def log_file(path: str | Path) -> Path:
    """The log itself, of a log or of the folder of a run; it need not be there."""
    return Path(path) / LOG if Path(path).is_dir() else Path(path)
