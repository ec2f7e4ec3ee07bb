"""A point without a kernel, in a module that workers can import: `FAKE` does what the point's parameters say.

`pause` seconds of work unless it is stopped, `mode` fail or died, `count` a file of first times that fail, a score.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import nbformat

from r3lab.run.notebook import LOG, Result, given_values, parameters_of, read_notebook, run_key
from r3lab.run.point import run_point

PARAMETERS = "seed = 0\npause = 0.0\nmode = ''\ncount = ''"


def lesson(path: Path, *sources: str, parameters: str = PARAMETERS) -> Path:
    """A notebook of code cells behind a parameters cell, without one where `parameters` is ""."""
    cells = [nbformat.v4.new_code_cell(parameters, metadata={"tags": ["parameters"]})] if parameters else []
    nbformat.write(nbformat.v4.new_notebook(cells=[*cells, *map(nbformat.v4.new_code_cell, sources)]), path)
    return path


def fake(
    path: Path, given: Mapping[str, Any], out_root: Path, timeout: float,
    progress: bool, env: Mapping[str, str], stopped: Callable[[], bool],
) -> Result:  # fmt: skip
    """In the place of `run_notebook`."""
    nb = read_notebook(path)
    full = given_values(given, parameters_of(nb), None)[1]
    key = run_key(nb, full)
    folder = Path(out_root, path.stem, key)
    folder.mkdir(parents=True)
    (folder / LOG).write_text("started")
    end = time.monotonic() + full["pause"]
    while time.monotonic() < end and not stopped():
        time.sleep(0.05)
    status, why = ("interrupted" if stopped() else full["mode"] or "ok"), "code cell 1: ValueError: told to"
    if full["count"]:
        with open(full["count"], "a") as file:
            file.write(f"{key}\n")
        status = "ok" if Path(full["count"]).read_text().split().count(key) > 1 else "failed"
    device = env.get("CUDA_VISIBLE_DEVICES", "none")
    values = {"score": full["seed"] * 10, "threads": int(env["OMP_NUM_THREADS"]), "device": device}
    nb.cells[0].outputs = [nbformat.v4.new_output("stream", text="worked")]
    nbformat.write(nb, folder / path.name)
    error = None if status == "ok" else {"message": why}
    return Result(path.name, status, full, "x", "now", 0.1, [], error, folder, values)


FAKE = functools.partial(run_point, execute=fake)
