"""Where the shipped assets (photographs, handwriting, tiny policy, results) lie, installed or not.

photo = assets_dir() / "photos" / "coffee.jpg"
policy = Policy.load(shipped_policy())
# R3LAB_ASSETS=/elsewhere looks there instead
"""

from __future__ import annotations

import os
from pathlib import Path

from r3lab.errors import R3labError, shown


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
    package = Path(__file__).resolve().parent
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
