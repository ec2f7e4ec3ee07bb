"""The task of a sweep: run one point in a process of its own, and bring everything back by value.

The same function runs in a thread of the local pool and on a worker on another machine. It gets the notebook's text
and gives back the executed notebook, its page, `result.json`, what the notebook recorded and a log, each bounded in
size; it needs no shared disk and leaves nothing behind. The process ends by itself, with its kernel, when whoever
started it is gone. Simplified: what a notebook writes into its folder is thrown away; what shall be kept is recorded or
displayed.

    outcome = run_point(Job("a1b2", "lesson.ipynb", text, {"seed": 3}), threads=2, device="0")
    outcome.status, outcome.files["result.json"]               # "ok", b"{..."
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .. import __version__

# What this machine has for a sweep: cores that we may use, and CUDA devices that we may see.
#
# So many jobs at once share the cores evenly, and each gets one device. Simplified: devices are those of NVIDIA's
# driver,
# asked by `nvidia-smi`; importing torch to count them would take seconds.
#
#     share = share_out(jobs=4)
#     share.threads, share.devices                    # 4 of 16 cores each; ("0", "1", "0", "1") of two devices


@dataclass(frozen=True)
class Share:
    """What each of several jobs at once gets."""

    jobs: int
    threads: int  # of a job
    devices: tuple[str | None, ...]  # one a job, None where there is none


def cores() -> int:
    """Cores that this process may use (a batch system may have given it some of them only)."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS, Windows
        return os.cpu_count() or 1


def devices() -> tuple[str, ...]:
    """Names of the CUDA devices that may be used, as CUDA_VISIBLE_DEVICES takes them."""
    allowed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if allowed is not None:  # as in CUDA, what follows a negative number is hidden
        found: list[str] = []
        for name in (part.strip() for part in allowed.split(",")):
            if not name or name.startswith("-"):
                break
            found.append(name)
        return tuple(found)
    if shutil.which("nvidia-smi") is None:
        return ()
    ask = ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"]
    try:
        told = subprocess.run(ask, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ()
    lines = [line.strip() for line in told.stdout.splitlines()] if told.returncode == 0 else []
    return tuple(line for line in lines if line.isdecimal())


def share_out(
    jobs: int | None,
    most: int | None = None,
    threads: int | None = None,
    have: int | None = None,
    seen: Sequence[str] | None = None,
) -> Share:
    """Cores and devices for so many jobs at once.

    Parameters
    ----------
    jobs
        At once; by default one a device, without devices one for every two cores.
    most
        Jobs that there are; more at once would leave cores idle.
    threads
        Of a job; by default its share of the cores.
    have
        Cores; by default `cores()`.
    seen
        Devices; by default `devices()`.
    """
    have = cores() if have is None else have
    seen = devices() if seen is None else tuple(seen)
    count = jobs or len(seen) or max(1, have // 2)
    count = min(count, most or count)
    given = tuple(seen[i % len(seen)] if seen else None for i in range(count))
    return Share(count, threads or max(1, have // count), given)


JOB, RETURNED, RECORDED, RESULT = "job.json", "returned", "recorded.json", "result.json"  # names in the work folder
LOGGED = 65_536  # bytes of a log that come back, its end
SAID = 300  # characters of a message
ROOM = 1024 * 1024  # bytes that must be free for a point to start
START, GRACE = 240.0, 20.0  # seconds beyond the notebook's limit for starting and ending; between asking and killing
COMMAND = (sys.executable, "-m", "r3lab.run.child")
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass(frozen=True)
class Job:
    """One point, by value."""

    key: str  # of the run, from `notebooks.run_key`
    notebook: str  # file name
    text: str  # of the notebook
    given: dict[str, Any]  # parameters, fit for JSON
    timeout: float = 1800
    timeout_cell: float = 600
    most: int = 16 * 1024 * 1024  # bytes of a file that come back
    version: str = __version__


@dataclass(frozen=True)
class Outcome:
    """How one attempt ended."""

    key: str
    status: str  # one of notebooks.STATUSES; "place" where the place could not do it and the notebook is not to blame
    message: str = ""  # one line where it is not "ok"
    seconds: float = 0.0
    place: str = ""  # the machine, or the worker
    log: str = ""
    files: dict[str, bytes] = field(default_factory=dict, repr=False)


def run_point(
    job: Job,
    folder: str | Path | None = None,
    threads: int | None = None,
    device: str | None = None,
    stopped: Callable[[], bool] = lambda: False,
    place: str = "",
    command: Sequence[str] = COMMAND,
) -> Outcome:
    """Run one point.

    Parameters
    ----------
    job
        The point.
    folder
        Where its work folder is made and removed again; by default the system's place for temporary files.
    threads
        Of OpenMP and its kin in the kernel; by default as the environment says.
    device
        For CUDA_VISIBLE_DEVICES; by default as the environment says.
    stopped
        Asked five times a second; once it is true, the kernel is stopped and the status is "interrupted".
    place
        Name of this place; by default the machine's.
    command
        What is started in the work folder; another one in tests.

    Returns
    -------
    Outcome
        Always: also a full disk or a process that was killed ends in one.
    """
    place, start = place or socket.gethostname(), time.monotonic()

    def ended(status: str, message: str = "", log: str = "", files: dict[str, bytes] | None = None) -> Outcome:
        seconds = round(time.monotonic() - start, 3)
        return Outcome(job.key, status, said(message), seconds, place, log, files or {})

    if job.version != __version__:
        return ended("place", f"has r3lab {__version__}, wanted {job.version}; install the same version everywhere")
    try:
        work = Path(tempfile.mkdtemp(prefix=f"r3lab-{job.key}-", dir=folder))
    except OSError as error:
        return ended("place", f"cannot make a folder in {folder or tempfile.gettempdir()}: {error.strerror}")
    try:
        if trouble := no_room(work):
            return ended("place", trouble)
        (work / JOB).write_text(json.dumps({"key": job.key, "notebook": job.notebook, "given": job.given,
                                            "timeout": job.timeout, "timeout_cell": job.timeout_cell,
                                            "most": job.most}))  # fmt: skip
        (work / job.notebook).write_text(job.text, encoding="utf-8")
        message = _watch(command, work, _environment(threads, device), job.timeout + START, stopped)
        log = _tail(work / "log.txt", LOGGED)
        status, found, files = _returned(work / RETURNED, job.most)
        if message == "interrupted":
            return ended("interrupted", "stopped from outside", log, files)
        if status is None:
            status, found = "died", message or f"its process gave no result; it last said: {log.strip()[-SAID:]}"
    except OSError as error:
        status, found, log, files = "failed", f"its folder failed: {error.strerror or error}", "", {}
    finally:
        shutil.rmtree(work, ignore_errors=True)
    if status != "ok" and (trouble := no_room(folder or tempfile.gettempdir())):
        # Asked when the point's own files are gone: one that fills the disk by itself is to blame itself.
        return ended("place", f"{trouble}; {found}", log, files)
    return ended(status, found, log, files)


def no_room(folder: str | Path) -> str:
    """Why nothing can be written to `folder`; "" where a megabyte can."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(ROOM))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return f"cannot write to {folder}: {error.strerror or error}"
    return ""


def said(text: str) -> str:
    """Foreign text as one printable line of at most 300 characters."""
    return "".join(c if c.isprintable() else "?" for c in " ".join(text[: 4 * SAID].split()))[:SAID]


def _environment(threads: int | None, device: str | None) -> dict[str, str]:
    env = dict(os.environ)
    env.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as r3lab.cli sets them, for its reasons; a worker does not
    env.setdefault("GOMP_SPINCOUNT", "10000")
    if threads is not None:
        env |= dict.fromkeys(THREADS, str(threads))
    if device is not None:
        env["CUDA_VISIBLE_DEVICES"] = device
    root = Path(__file__).resolve().parents[2]
    if root not in (Path(sysconfig.get_path(name)).resolve() for name in ("purelib", "platlib")):
        env["PYTHONPATH"] = os.pathsep.join(filter(None, [str(root), env.get("PYTHONPATH")]))  # a checkout
    return env


def _watch(command: Sequence[str], work: Path, env: dict[str, str], limit: float, stopped: Callable[[], bool]) -> str:
    """Start the process and wait for its end; "" if it ended by itself and well, else why not."""
    with open(work / "log.txt", "wb") as log:
        process = subprocess.Popen(
            list(command),
            cwd=work,
            env=env,
            stdin=subprocess.PIPE,  # closed when we are gone, however: then the process ends itself and its kernel
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C in a terminal is for us, who then stop it in order
        )
    end = time.monotonic() + limit
    try:
        while True:
            try:
                code = process.wait(0.2)
                return "" if code == 0 else f"its process ended with {_code(code)}"
            except subprocess.TimeoutExpired:
                if stopped():
                    return "interrupted"
                if time.monotonic() > end:
                    return f"its process gave no answer within {limit:g} s"
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ask it to end by closing its input; kill it if it does not."""
    if process.stdin is not None:
        process.stdin.close()
    try:
        process.wait(GRACE)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        process.kill()
        process.wait()


def _code(code: int) -> str:
    return f"code {code}" if code > 0 else f"signal {signal.Signals(-code).name}"


def _tail(path: Path, most: int) -> str:
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - most))
            return file.read(most).decode("utf-8", "replace")
    except OSError:
        return ""


def _returned(folder: Path, most: int) -> tuple[str | None, str, dict[str, bytes]]:
    """Status, message and files; the status is None where no whole result is there."""
    files = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if path.is_file() and not path.is_symlink() and path.stat().st_size <= most:
            files[path.name] = path.read_bytes()
    try:
        result = json.loads(files[RESULT])
        return str(result["status"]), str((result["error"] or {"message": ""})["message"]), files
    except (KeyError, ValueError, TypeError):
        return None, "", files
