"""Put what the recipe made into the assets: policies, logs, settings, results, and the README's two pictures.

ship("r3lab train tiny", work, ["warm-up", ...], rows, assets_dir())
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .errors import R3labError
from .models.policy import Policy
from .results import circumstances
from .rollout import rollout
from .show.filmstrip import save_filmstrip
from .train.checkpoint import read_log, save_policy
from .train.rewards import deciding_iou, right
from .trajectory import Trajectory
from .vlir.sample import Sample
from .vlir.worlds import get_world


def example(
    policy: Policy, world: str = "badges", new_tokens: int = 96, candidates: int = 200
) -> tuple[Sample, Trajectory] | None:
    """The first held-out sample that needs a look and that the policy answers with a look on its region, and how it
    does; None if there is none among the candidates."""
    made = get_world(world)
    for start in range(0, candidates, 20):
        samples = [made.sample("test", i) for i in range(start, start + 20)]
        for sample, t in zip(
            samples, rollout(policy, samples, temperature=0.0, max_new_tokens=new_tokens), strict=True
        ):
            if sample.needs_look and right(t) and (deciding_iou(t) or 0.0) >= 0.7:
                return sample, t
    return None


def ship(command: str, work: Path, base: Sequence[str], rows: list[dict[str, Any]], out: Path) -> None:
    """Copy the first seed's policies, the logs and the settings into the assets; write the results and draw pictures.

    Parameters
    ----------
    command : what was called
    work : the recipe's work folder
    base : names of the base's stages
    rows : measured, one an arm and seed
    out : the assets folder
    """
    target, pictures = out / "tiny", out / "pictures"
    for name, folder in (("cold-start", "cold-start-0"), ("rgrpo", "rgrpo-0")):
        save_policy(Policy.load(work / folder), target / name, half=True)
    logs = target / "logs"
    for needed in (logs, pictures, out / "results"):
        needed.mkdir(parents=True, exist_ok=True)
    for stage in (*base, "cold-start-0", "rgrpo-0"):
        shutil.copy(work / f"{stage}.jsonl", logs / f"{stage}.jsonl")
    shutil.copy(work / "recipe.json", target / "recipe.json")
    policy = Policy.load(target / "rgrpo")
    shown = example(policy)
    if shown is None:
        raise R3labError("the policy answers no held-out sample with a look on its region; nothing can be drawn of it")
    sample, trajectory = shown
    sample.image.save(pictures / "badges.png", optimize=True)
    save_filmstrip(trajectory, pictures / "filmstrip.png")
    result = {
        **circumstances(command),
        "training_seconds": {stage: read_log(work / f"{stage}.jsonl")[-1]["seconds"] for stage in base},
        "example": {"sample": sample.id, "question": sample.question, "answer": sample.answer},
        "rows": rows,
    }
    (out / "results" / "tiny.json").write_text(json.dumps(result, indent=1) + "\n")
