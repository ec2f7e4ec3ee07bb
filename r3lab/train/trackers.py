"""What a run reports to besides its own log: any tracker of accelerate (TensorBoard, W&B, ...).

with trackers("tensorboard", "runs/rgrpo", settings) as report:
    report({"step": 1, "reward": 0.5})
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..errors import R3labError, nearest


@contextmanager
def trackers(names: str, folder: str | Path, settings: Any, cpu: bool = False) -> Iterator[Callable[..., None]]:
    """Open trackers for a run; inside, call the result with each row of metrics.

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
    there = {str(name) for name in get_available_trackers()}
    for name in wanted:
        if name not in LOGGER_TYPE_TO_CLASS:
            known = sorted(LOGGER_TYPE_TO_CLASS)
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
