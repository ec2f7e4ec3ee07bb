"""What this machine has for r3lab and what is missing, in plain words.

Simplified: looks, never repairs; starts no kernel and loads no weights.

    for check in doctor():
        print(check.state, check.name, check.found, check.mend)
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import platform
import sys
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from .. import __version__
from ..core.errors import R3labError
from ..core.files import assets_dir
from ..core.geometry import Frame

TINY = {  # folder: what it is, and the command that makes it
    "worlds/rgrpo": ("of four worlds", "r3lab train worlds"),
    "tiny/cold-start": ("of badges, after the cold start", "r3lab train tiny"),
    "tiny/rgrpo": ("of badges, after R-GRPO", "r3lab train tiny"),
}
INSTALL = "python -m pip install -e . (in the checkout) brings what is missing"


class Check(NamedTuple):
    """One finding: what was looked for, what was found, and what to do about it."""

    name: str
    found: str
    state: str = "ok"  # ok, note (works, but know this) or missing
    mend: str = ""  # what to do, "" where nothing is to be done


def doctor() -> list[Check]:
    """Look at the interpreter, the packages, the device, the Jupyter kernel and the assets; what reads well first."""
    python = Check("python", f"{platform.python_version()} with r3lab {__version__}, {platform.platform()}")
    return [python, *packages(), *_device(), _kernel(), *_assets()]


def report(*, model: str = "") -> int:
    """Say what this machine has for r3lab, and what is missing; 0 where all essentials are there, else 1.

        r3lab doctor --model CHECKPOINT

    Parameters
    ----------
    model : folder of a checkpoint: say which path runs it, its memory, and its frame of boxes instead

    Raises
    ------
    R3labError
        If it is none, or nothing here runs it.
    """
    checks = checkpoint(model) if model else doctor()
    width = max(len(check.name) for check in checks)
    for check in checks:
        print(f"{check.state:<7}  {check.name:<{width}}  {check.found}")
        if check.mend:
            print(f"{'':<7}  {'':<{width}}  -> {check.mend}")
    lacking = [check.name for check in checks if check.state == "missing"]
    print(f"\nMissing: {', '.join(lacking)}." if lacking else "\nEverything essential is there.")
    return int(bool(lacking))


def checkpoint(folder: str) -> list[Check]:
    """What a checkpoint will need, before a weight is read: its path, its memory, its frame of boxes."""
    import torch  # seconds, as what follows

    from ..models.checkpoint import checkpoint_folder, config_of, object_in, sizes_of
    from ..models.families import FAMILIES, PLAIN, frame_of, why_plain
    from ..models.plain import OURS, lacks_torchvision, own_section

    folder = str(checkpoint_folder(folder, fetch=False))
    config = config_of(folder)
    kind, dtype = config.model_type, torch.bfloat16 if torch.cuda.is_available() else torch.float32
    own = own_section({n: object_in(Path(folder, n)) for n in OURS if Path(folder, n).is_file()})
    sizes, why = sizes_of(config, dtype), why_plain(config)
    path = Check("path", f"{kind}: fast, many rows at a time; it can be asked, explained and trained")
    if why:
        about = "r3lab ask, eval, report, and explain by replay work as on the fast one; nothing is trained here"
        path = Check("path", f"{kind}: plain, one row at a time, for {why}", "note", about)
    gb = f"{sizes.weights / 1e9:.2g} GB of weights in {str(dtype).removeprefix('torch.')}"
    kept = f"{sizes.rollout(5, 4000) / 1e9:.2g} GB with a group of 5 of 4,000 tokens"
    memory = Check(
        "memory", f"{gb}, {sizes.rollout(1, 4000) / 1e9:.2g} GB with 4,000 tokens" if why else f"{gb}, {kept}"
    )
    told = "set in its files" if "frame" in own else "of its family" if kind in (*FAMILIES, *PLAIN) else "assumed"
    used = Frame(own.get("frame", frame_of(kind))).value
    boxes = Check("boxes", f"{used}, {told}", "note", f"`r3lab frames {folder}` says in which it writes them")
    checks = [path, memory, boxes]
    held = any(Path(folder, name).is_file() for name in OURS)
    if why and held and lacks_torchvision(Path(folder)):  # the fast path reads these files by itself
        checks.insert(1, Check("torchvision", "its image processor needs it", "missing", "pip install torchvision"))
    return checks


def packages() -> list[Check]:
    """Every package that r3lab requires, by its metadata; nothing is known where r3lab itself is not installed."""
    try:
        from packaging.requirements import Requirement

        wanted = [Requirement(line) for line in metadata.requires("r3lab") or []]
    except ImportError as error:  # also metadata.PackageNotFoundError
        return [Check("packages", f"not compared ({error})", "note", INSTALL)]
    checks = []
    for one in wanted:
        if one.marker is None:  # those with one belong to an extra
            try:
                version = metadata.version(one.name)
                fits = one.specifier.contains(version, prereleases=True)
                mend = "" if fits else f"python -m pip install '{one.name}{one.specifier}'"
            except metadata.PackageNotFoundError:
                version, mend = "not installed", INSTALL
            checks.append(Check(one.name, version, "missing" if mend else "ok", mend))
    return checks


def _device() -> list[Check]:
    try:
        torch = importlib.import_module("torch")
    except (ImportError, OSError) as error:
        return [Check("device", f"unknown: torch cannot be imported ({error})", "missing", INSTALL)]
    used, cores = torch.get_num_threads(), os.cpu_count() or 1
    checks = [Check("threads", f"torch uses {used} of {cores} cores")]
    if used < cores and "OMP_NUM_THREADS" in os.environ:
        checks = [checks[0]._replace(state="note", mend="OMP_NUM_THREADS limits it; unset it to use all")]
    if torch.cuda.is_available():
        card = torch.cuda.get_device_properties(0)
        others = f", and {torch.cuda.device_count() - 1} more" if torch.cuda.device_count() > 1 else ""
        return [Check("device", f"cuda: {card.name}, {card.total_memory / 2**30:.0f} GiB{others}"), *checks]
    kind = "mps" if torch.backends.mps.is_available() else "cpu"
    if kind == "cpu":
        slow, mend = "can be hundreds of times slower than float32 on a CPU", "keep to float32 here (r3lab does so)"
        checks.append(Check("bfloat16", slow, "note", mend))
    return [Check("device", f"{kind}: {platform.processor() or platform.machine()}"), *checks]


def _kernel() -> Check:
    if not all(importlib.util.find_spec(name) for name in ("ipykernel", "jupyter_client")):
        return Check("jupyter kernel", "none", "missing", "python -m pip install ipykernel")
    from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel

    try:
        first = KernelSpecManager().get_kernel_spec("python3").argv[0]
    except (NoSuchKernel, OSError, ValueError):
        first = ""
    if Path(first).name.startswith("python") and not os.path.isabs(first) or first == sys.executable:
        return Check("jupyter kernel", f"python3 is {sys.executable}")
    found = f"r3lab runs notebooks with {sys.executable}, but JupyterLab's python3 is {first or 'none'}"
    mend = "for JupyterLab: python -m ipykernel install --sys-prefix"
    return Check("jupyter kernel", found, "note", mend)


def _assets() -> list[Check]:
    try:
        folder = assets_dir()
    except R3labError as error:
        return [Check("assets", "none", "missing", str(error))]
    photos = len(list((folder / "photos").glob("*.jpg")))
    checks = [Check("assets", f"{photos} photographs in {folder}")]
    if not photos:
        checks = [Check("assets", f"no photographs in {folder}", "missing", "python assets/build.py gathers them")]
    for place, (stage, made) in TINY.items():
        if (folder / place / "config.json").is_file():
            checks.append(Check("tiny policy", f"{stage}: {folder / place}"))
        else:
            mend = f"`{made}` makes it; until then give `r3lab ask` a --model"
            checks.append(Check("tiny policy", f"{stage}: not in {folder / place}", "note", mend))
    return checks
