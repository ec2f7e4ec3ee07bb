"""What a set of trajectories shows in numbers; the log of a training run, a JSON object a line; its trackers.

Numbers have the same names in logs, results and notebooks. A run's folder holds its log as `log.jsonl`, written while
it trains; its first row may be the settings, all others have a "step". Without torch, so that reading a log takes no
seconds. Simplified: a log is read whole.

    summary(rollout(policy, samples, temperature=0))   # {"n": 200, "exact": 0.61, "iou": 0.55, "look_rate": 0.8, ...}
    log = JsonlLog("runs/rgrpo/log.jsonl"); log({"step": 1, "reward": 0.3})
    read_log("runs/rgrpo")[-1]["reward"]
    with trackers("tensorboard", "runs/rgrpo", settings) as report: report({"step": 1, "reward": 0.5})
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import Any

from ..core.errors import R3labError, nearest, shown
from ..core.files import append_row, write_whole
from ..trajectory import Trajectory
from .rewards import deciding_iou, right

LOG = "log.jsonl"
MOST_BYTES = 256_000_000


def _mean(values: Sequence[float]) -> float | None:
    return round(fmean(values), 4) if values else None


def facts(t: Trajectory) -> dict[str, Any]:
    """What is counted of a trajectory, as a JSON value."""
    entropies = [e for e in t.entropies if e is not None]
    return {
        "right": right(t),
        "needs_look": t.truth.get("needs_look"),
        "forced": t.forced,
        "iou": deciding_iou(t),
        "looks": len(t.looks),
        "valid": sum(look.valid for look in t.looks),
        "answered": t.finish == "answered",
        "rewards": dict(t.rewards),
        "entropy": sum(entropies),
        "tokens": len(entropies),
    }


def summary(trajectories: Sequence[Trajectory]) -> dict[str, float | int | None]:
    """Means over trajectories; None where there is nothing to average.

    Returns
    -------
    n : trajectories
    exact, exact_needed, exact_unneeded : share with the right answer; of those that need a look, that need none
    iou : deciding look against the true region, where a look is needed and one was taken
    look_rate, look_rate_needed, look_rate_unneeded : share with a valid look
    looks : a trajectory
    invalid : share of boxes that could not be used
    answered : share that ended with an answer

    Examples
    --------
    >>> 0 <= r3lab.summary(trajectories)["exact"] <= 1
    True
    """
    return summary_of([facts(t) for t in trajectories])


def summary_of(found: Sequence[dict[str, Any]]) -> dict[str, float | int | None]:
    """`summary` from the `facts` of trajectories."""
    needed = [f for f in found if f["needs_look"]]
    unneeded = [f for f in found if f["needs_look"] is False]
    parts = {"": found, "_needed": needed, "_unneeded": unneeded}
    boxes = sum(f["looks"] for f in found)
    return {
        "n": len(found),
        **{f"exact{part}": _mean([f["right"] for f in of]) for part, of in parts.items()},
        "iou": _mean([f["iou"] for f in needed if f["iou"] is not None]),
        **{f"look_rate{part}": _mean([f["valid"] > 0 for f in of]) for part, of in parts.items()},
        "looks": round(boxes / len(found), 4) if found else None,
        "invalid": round(1 - sum(f["valid"] for f in found) / boxes, 4) if boxes else None,
        "answered": _mean([f["answered"] for f in found]),
    }


# -- on disk ---------------------------------------------------------------------------------------------------------


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


# -- trackers --------------------------------------------------------------------------------------------------------


@contextmanager
def trackers(names: str, folder: str | Path, settings: Any, cpu: bool = False) -> Iterator[Callable[..., None]]:
    """Open trackers of accelerate for a run; inside, call the result with each row of metrics.

    Parameters
    ----------
    names : with commas between; empty: none
    folder : of the run; trackers that write files do so in `trackers` there
    settings : a dataclass instance, recorded as the run's configuration
    cpu : compute on the CPU even if there is a GPU

    Raises
    ------
    R3labError
        If a tracker is unknown or its package is not installed.
    """
    wanted = [name for part in names.split(",") if (name := part.strip().lower())]
    if not wanted:
        yield lambda row: None
        return
    try:
        from accelerate import Accelerator
        from accelerate.tracking import LOGGER_TYPE_TO_CLASS, get_available_trackers
    except ModuleNotFoundError:
        raise R3labError('trackers need accelerate: pip install "r3lab[scale]"') from None
    known, there = sorted(LOGGER_TYPE_TO_CLASS), {str(name) for name in get_available_trackers()}
    for name in wanted:
        if name not in known:
            raise R3labError(f"unknown tracker {name!r}; known: {', '.join(known)}.{nearest(name, known)}")
        if name not in there:
            raise R3labError(f"the tracker {name} is not installed: pip install {name}")
    where = Path(folder) / "trackers"
    where.mkdir(parents=True, exist_ok=True)
    accelerator = Accelerator(cpu=cpu, log_with=wanted, project_dir=str(where))
    accelerator.init_trackers("r3lab", config=asdict(settings))

    def report(row: dict[str, Any]) -> None:
        values = {k: v for k, v in row.items() if isinstance(v, (int, float)) and k != "step"}
        accelerator.log(values, step=row["step"])

    try:
        yield report
    finally:
        for tracker in accelerator.trackers:  # not end_training: it would end the processes' group as well
            tracker.finish()
