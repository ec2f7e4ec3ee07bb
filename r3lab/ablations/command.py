"""`r3lab train ablations`: every variant over seeds, and the grounding curve, into assets/results/ablations.json.

python -m r3lab train ablations --base runs/tiny/grounding-4        # an hour or two on two cores
python -m r3lab train ablations --only "full,without R-GRPO" --seeds 1 --out /tmp/ablations.json
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..assets_path import assets_dir
from ..errors import R3labError
from ..models.policy import Policy
from ..results import circumstances
from ..show.alt import save
from ..show.effects import effects_alt, effects_figure
from ..show.whole import write_whole
from ..train.checkpoint import read_log
from ..train.settings import check_positive, from_command_line, setting
from .again import curve_of
from .effects import effects
from .grounding import curve
from .train import Budget, named, point
from .variants import FULL, VARIANTS, get_variant

COMMAND = "python -m r3lab train ablations"


@dataclass(frozen=True)
class AblationSettings:
    """Settings of the ablations."""

    base: str = setting("runs/tiny/grounding-4", "the base to start from; `r3lab train tiny` makes it on its way")
    work: str = setting("runs/ablations", "folder for what is finished; it is not repeated")
    out: str = setting("", "file of results (default: assets/results/ablations.json)")
    only: str = setting("", "variants, with commas between (default: all)")
    seeds: int = setting(5, "repetitions of each")
    lessons: int = setting(Budget.lessons, "updates of the cold start")
    steps: int = setting(Budget.steps, "steps of R-GRPO")
    test: int = setting(Budget.test, "held-out samples each is measured on")
    grounding: int = setting(200, "samples of the grounding curve of each seed of the whole method; 0: none")


def trained(rows: Sequence[dict[str, Any]], work: Path) -> list[dict[str, Any]]:
    """A curve for each row that R-GRPO made, from its log."""
    found = [(row["variant"], row["seed"]) for row in rows if get_variant(row["variant"]).push]
    return [
        {"variant": variant, "seed": seed, **curve_of(read_log(work / f"{named(variant, seed)}.jsonl"))}
        for variant, seed in found
    ]


def text_of(result: dict[str, Any]) -> str:
    """JSON with one entry of each list a line: short, and readable in a diff."""
    parts = []
    for key, value in result.items():
        if isinstance(value, list):
            parts.append(f"{json.dumps(key)}: [\n" + ",\n".join(f"  {json.dumps(one)}" for one in value) + "\n ]")
        else:
            parts.append(f"{json.dumps(key)}: {json.dumps(value)}")
    return "{\n " + ",\n ".join(parts) + "\n}\n"


def pictures(out: Path) -> Path:
    """Where the picture of results goes: beside them, or among the pictures that ship."""
    shipped = assets_dir()
    return shipped / "pictures" if out.parent == shipped / "results" else out.parent


def main(arguments: Sequence[str]) -> int:
    """`r3lab train ablations`."""
    s = from_command_line(AblationSettings, arguments, COMMAND, "The paper's ablations in miniature.")
    check_positive(s, "seeds", "lessons", "steps", "test")
    base, work = Path(s.base), Path(s.work)
    if not (base / "config.json").is_file():
        raise R3labError(
            f"no base at {base}; `python -m r3lab train tiny` makes one in hours, as runs/tiny/grounding-4"
        )
    variants = [get_variant(name.strip()) for name in s.only.split(",")] if s.only else list(VARIANTS.values())
    budget = Budget(s.lessons, s.steps, s.test)
    work.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    for seed in range(s.seeds):
        for variant in variants:
            rows.append(point(variant, seed, budget, base, work))
            print(json.dumps(rows[-1]), flush=True)
    curves: list[dict[str, Any]] = []
    if s.grounding and any(variant.name == FULL for variant in variants):
        for seed in range(s.seeds):
            curves += curve(Policy.load(work / named(FULL, seed)), seed, s.grounding)
    out = Path(s.out) if s.out else assets_dir() / "results" / "ablations.json"
    found = {"rows": rows, "curves": trained(rows, work), "grounding": curves}
    write_whole(out, text_of({**circumstances(COMMAND), **found}).encode("utf-8"))
    print(f"results in {out}")
    if s.seeds > 1 and any(variant.name == FULL for variant in variants):
        compared = effects(rows)
        drawn = save(effects_figure(compared), pictures(out) / "ablations.png", effects_alt(compared))
        print(f"picture in {drawn}")
    return 0
