"""In the place of `r3lab.run.point`: does what it is told by the point's parameters, without a kernel.

`pause` seconds of work, `fail` times a failure first (counted in the file `count`), a score. It ends when its standard
input closes, as the real one does.
"""

import json
import os
import threading
import time
from pathlib import Path


def gone() -> None:
    """End when whoever started us is gone."""
    while os.read(0, 1):
        pass
    os._exit(3)


threading.Thread(target=gone, daemon=True).start()
job = json.loads(Path("job.json").read_text())
given = job["given"]
Path("pid").write_text(str(os.getpid()))
print("started", given, os.environ.get("OMP_NUM_THREADS"), os.environ.get("CUDA_VISIBLE_DEVICES"), flush=True)
time.sleep(given.get("pause", 0.0))
if "die" in given.get("mode", ""):
    os._exit(7)
status, error = "ok", None
if given.get("mode") == "fail":
    status, error = "failed", {"message": "code cell 1: ValueError: told to"}
if given.get("count"):
    with open(given["count"], "a") as file:
        file.write(f"{job['key']}\n")
    if Path(given["count"]).read_text().split().count(job["key"]) < 2:
        status, error = "failed", {"message": "the first time always"}
returned = Path("returned")
returned.mkdir()
(returned / job["notebook"]).write_text(Path(job["notebook"]).read_text())
device = os.environ.get("CUDA_VISIBLE_DEVICES", "none")
values = {"score": given.get("seed", 0) * 10, "threads": int(os.environ["OMP_NUM_THREADS"]), "device": device}
(returned / "recorded.json").write_text(json.dumps(values))
result = {"notebook": job["notebook"], "status": status, "parameters": given, "version": "x", "started": "now"}
(returned / "result.json").write_text(json.dumps(result | {"seconds": 0.1, "cells": [], "error": error}))
