"""What this machine has for a sweep: cores that we may use, and CUDA devices that we may see.

So many jobs at once share the cores evenly, and each gets one device. Simplified: devices are those of NVIDIA's driver,
asked by `nvidia-smi`; importing torch to count them would take seconds.

    share = share_out(jobs=4)
    share.threads, share.devices                    # 4 of 16 cores each; ("0", "1", "0", "1") of two devices
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass


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
