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

LOG = "log.jsonl"
MOST_BYTES = 256_000_000

# How far the policy's probability of each trained token has moved since it was sampled, as counts in fixed bins of the
# log ratio: half decades to both sides of zero, the same in every run, so that logs can be laid over each other. (The
# importance ratio is near 1 for most tokens and far from it for a few: its mean and largest value tell neither how many
# nor how far.) With an objective whose ratio is that of a sequence (GSPO) these are still the ratios of its tokens.
LOG_RATIO_COUNTS = "log_ratio_counts"  # in a row of a log
LOG_RATIO_EDGES = (-1.0, -0.3, -0.1, -0.03, -0.01, -0.003, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
LOG_RATIO_BINS = len(LOG_RATIO_EDGES) + 1  # the first and the last are open


def log_ratio_label(number: int) -> str:
    """A bin of the log ratio in words, from 0: "-0.003 to 0.003"."""
    if number == 0:
        return f"below {LOG_RATIO_EDGES[0]:g}"
    if number == LOG_RATIO_BINS - 1:
        return f"above {LOG_RATIO_EDGES[-1]:g}"
    return f"{LOG_RATIO_EDGES[number - 1]:g} to {LOG_RATIO_EDGES[number]:g}"


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
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.write_text("".join(json.dumps(row) + "\n" for row in self.rows), encoding="utf-8")

    def __call__(self, row: dict[str, Any]) -> None:
        self.rows.append(row)
        if self.path:
            with self.path.open("a", encoding="utf-8") as out:
                out.write(json.dumps(row) + "\n")


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
