"""What ships: the tiny policy in two stages, its logs and settings, its results, and the README that quotes them."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from statistics import fmean

import pytest

from r3lab.assets_path import assets_dir
from r3lab.errors import R3labError
from r3lab.models.policy import Policy
from r3lab.recipe import Recipe
from r3lab.rollout import rollout
from r3lab.show.tables import fill, learning_table, shipped_tables, spread
from r3lab.train.checkpoint import read_log
from r3lab.train.measure import summary
from r3lab.vlir.worlds import get_world

ROOT = Path(__file__).parent.parent
RESULT = json.loads((assets_dir() / "results" / "tiny.json").read_text())
HELD_OUT = [get_world("badges").sample("test", i) for i in range(120)]


def rows(arm: str) -> list[dict]:
    """Result rows of an arm."""
    return [r for r in RESULT["rows"] if r["arm"] == arm]


def mean(arm: str, key: str) -> float:
    """Mean over seeds."""
    return fmean(r[key] for r in rows(arm))


def greedy(stage: str, **setting) -> dict:
    """Summary of a shipped stage on the first held-out samples."""
    policy = Policy.load(assets_dir() / "tiny" / stage)
    return summary(rollout(policy, HELD_OUT, temperature=0, max_new_tokens=96, **setting))


def test_the_stated_numbers_are_those_of_the_shipped_policies():
    """Measured again here, on the first 120 held-out samples, both stages lie within sampling error of their row."""
    for stage, arm in (("cold-start", "cold start"), ("rgrpo", "R-GRPO")):
        stated = next(r for r in rows(arm) if r["seed"] == 0)
        for key in ("exact", "iou", "look_rate_needed"):
            assert greedy(stage)[key] == pytest.approx(stated[key], abs=0.13), (stage, key)


def test_targets():
    """The results that the lessons build on, as means over at least three seeds."""
    assert len({r["seed"] for r in RESULT["rows"]}) >= 3 and min(r["n"] for r in RESULT["rows"]) >= 300
    assert 0.40 <= mean("cold start", "exact") <= 0.75
    assert mean("R-GRPO", "exact") >= 0.95
    assert mean("R-GRPO", "iou") >= 0.7
    assert mean("R-GRPO", "look_rate_unneeded") < 0.3
    assert mean("R-GRPO, no look allowed", "exact_needed") < 0.2
    assert mean("notebook's R-GRPO", "exact") - mean("cold start", "exact") >= 0.15
    assert max(r["train_seconds"] for r in rows("notebook's R-GRPO")) < 300


def test_settings_and_logs_ship_with_the_policy():
    """The recipe's defaults are what made it, so that the command makes it again; every stage has its whole log."""
    stored = json.loads((assets_dir() / "tiny" / "recipe.json").read_text())
    assert {**stored, "work": "", "out": ""} == {**asdict(Recipe()), "work": "", "out": ""}
    logs = assets_dir() / "tiny" / "logs"
    assert read_log(logs / "rgrpo-0.jsonl")[-1]["step"] == stored["rgrpo_steps"]
    assert read_log(logs / "warm-up.jsonl")[-1]["step"] == stored["warm_up_steps"]
    assert read_log(logs / "grounding-2.jsonl")[-1]["step"] == stored["grounding_steps"]


def test_both_stages_together_stay_small():
    """Under 8 MB in the repository."""
    size = sum(p.stat().st_size for s in ("cold-start", "rgrpo") for p in (assets_dir() / "tiny" / s).iterdir())
    assert size < 8_000_000


def test_the_readme_quotes_the_results():
    """The README's tables are what `python -m r3lab.show.tables README.md` writes."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert fill(text, shipped_tables()) == text


def test_tables_by_hand():
    """Mean and range over seeds, per cent where it is a share; missing values say so; missing markers are an error."""
    made = [
        {"arm": "a", "seed": 0, "n": 9, "exact": 0.5, "iou": 0.61, "exact_needed": None},
        {"arm": "a", "seed": 1, "n": 9, "exact": 0.7, "iou": 0.65, "exact_needed": None},
    ]
    table = learning_table({"rows": made, "command": "c", "date": "d", "machine": "m"})
    assert "| a | 60.0 % (50.0 to 70.0) | none | 0.63 (0.61 to 0.65) | none | none |" in table
    assert spread([0.25], True) == "25.0 % (25.0 to 25.0)"
    with pytest.raises(R3labError, match="results: tiny"):
        fill("no markers", {"tiny": table})
