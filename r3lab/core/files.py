"""Files that appear whole or not at all: every picture and page is written this way.

write_whole("runs/page.html", text.encode("utf-8"))
"""

from __future__ import annotations

import os
import platform
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .. import __version__
from .errors import R3labError, shown

# Where the shipped assets (photographs, handwriting, tiny policy, results) lie, installed or not.
#
# photo = assets_dir() / "photos" / "coffee.jpg"
# policy = Policy.load(shipped_policy())
# # R3LAB_ASSETS=/elsewhere looks there instead


def assets_dir() -> Path:
    """The folder of the shipped assets.

    Returns
    -------
    Path
        The environment's R3LAB_ASSETS where set; else `r3lab/assets` (an installed wheel); else `assets`
        beside the package (a checkout, also one installed with ``pip install -e``).

    Raises
    ------
    R3labError
        None of them is a folder; or R3LAB_ASSETS is set and is none, and then the others are not tried.
    """
    wish = os.environ.get("R3LAB_ASSETS")
    package = Path(__file__).resolve().parents[1]
    places = [Path(wish)] if wish else [package / "assets", package.parent / "assets"]
    for place in places:
        if place.is_dir():
            return place
    if wish:
        raise R3labError(f"R3LAB_ASSETS is {shown(wish)}, which is not a folder. Correct it or unset it.")
    raise R3labError("r3lab's assets are not there. Install r3lab anew, or set R3LAB_ASSETS.")


def shipped_policy() -> Path:
    """The folder of the policy that is asked where none is given: that of four worlds, after R-GRPO.

    Raises
    ------
    R3labError
        If it is not there.
    """
    folder = assets_dir() / "worlds" / "rgrpo"
    if not folder.is_dir():
        raise R3labError("The shipped policy is not there (assets/worlds/rgrpo); give --model a checkpoint folder.")
    return folder


# What every file of measured numbers says about how it was made.
#
# path.write_text(json.dumps({**circumstances("r3lab train tiny"), "rows": rows}, indent=1))


def circumstances(command: str) -> dict[str, str]:
    """The command that made a result, the version, the machine, the date."""
    import torch  # seconds; only results need it

    return {
        "command": command,
        "version": __version__,
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}",
        "date": time.strftime("%Y-%m-%d"),
    }


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`, which replaces it at the end; after an error nothing has changed."""
    if path.is_dir():
        raise R3labError(f"{shown(str(path))} is a folder; give the name of a file.")
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """A temporary folder beside `path`, renamed to it at the end; `path` must not exist, or be an empty folder."""
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise R3labError(f"{shown(str(path))} exists already; give a new folder, or remove it first.")
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
    partial.mkdir()
    try:
        yield partial
        if path.exists():
            path.rmdir()
        os.replace(partial, path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write_whole(path: str | Path, data: bytes) -> Path:
    """Write a file that appears whole or not at all; its folder is made.

    Raises
    ------
    R3labError
        If the disk refuses.
    """
    path = Path(path)
    try:
        with whole_file(path) as partial:
            partial.write_bytes(data)
    except OSError as error:
        why = error.strerror or str(error)
        raise R3labError(f"Cannot write {shown(str(path))}: {why}; choose another place.") from error
    return path
