"""Put what the recipe of four worlds made into the assets: results, policies, settings, and a picture of each world.

ship_worlds("python -m r3lab train worlds", work, settings, rows, assets_dir())
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .arms import INTERLEAVED
from .models.policy import Policy
from .results import circumstances
from .ship import example
from .show.filmstrip import save_filmstrip
from .show.whole import write_whole
from .train.checkpoint import save_policy
from .vlir.worlds import WORLDS

POLICIES = ("cold-start", "rgrpo")  # of the first seed
DRAWN = tuple(name for name in WORLDS if name != "badges")  # that one has its picture from `ship`


def ship_worlds(command: str, work: Path, settings: dict[str, Any], rows: list[dict[str, Any]], out: Path) -> Path:
    """Write the results; where the interleaved arm's first seed is there, its policies and a picture of each world.

    Parameters
    ----------
    command : what was called
    work : the recipe's work folder
    settings : that all rows share
    rows : measured, one a world, arm, stage and seed
    out : the assets folder

    Returns
    -------
    Path
        The file of results.
    """
    first = {name: work / f"{name}-{INTERLEAVED.name}-0" for name in POLICIES}
    examples = {}
    if all((folder / "config.json").is_file() for folder in first.values()):
        for name, folder in first.items():
            save_policy(Policy.load(folder), out / "worlds" / name, half=True)
        examples = pictures(Policy.load(out / "worlds" / POLICIES[-1]), out / "pictures", settings["new_tokens"])
    result = {**circumstances(command), "recipe": settings, "examples": examples, "rows": rows}
    path = out / "results" / "worlds.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, (json.dumps(result, indent=1) + "\n").encode("utf-8"))
    return path


def pictures(policy: Policy, folder: Path, new_tokens: int) -> dict[str, dict[str, str]]:
    """For each world a held-out picture that the policy looks at rightly, with its filmstrip; a world in which there is
    none has no picture. Returns sample, question and answer by world."""
    folder.mkdir(parents=True, exist_ok=True)
    found = {}
    for world in DRAWN:
        shown = example(policy, world, new_tokens)
        if shown is not None:
            sample, trajectory = shown
            sample.image.save(folder / f"{world}.png", optimize=True)
            save_filmstrip(trajectory, folder / f"filmstrip-{world}.png")
            found[world] = {"sample": sample.id, "question": sample.question, "answer": sample.answer}
    return found
