"""Tables of results by hand, and what the shipped ones must show."""

from __future__ import annotations

import json

import pytest

from r3lab.core.files import assets_dir
from r3lab.course.tables import (
    arms_table,
    explain_tables,
    fidelity_table,
    looks_table,
    named_table,
    timed_table,
)

SHIPPED = json.loads((assets_dir() / "results" / "explain.json").read_text(encoding="utf-8"))


def row(world: str, arm: str, stage: str, seed: int, exact: float, **more: float | None) -> dict:
    known = {"exact_needed": 0.5, "look_rate_needed": 0.9, "look_rate_unneeded": 0.1, "iou": 0.75, "legible": 0.96}
    own = {"overview_alone": 0.05, "exact_unneeded": 0.7, "exact": exact, "n": 200, **more}
    return {"world": world, "arm": arm, "stage": stage, "seed": seed, **known, **own}


WORLDS = {
    "command": "c",
    "date": "d",
    "machine": "m",
    "rows": [
        row("badges", "direct", "cold start", 0, 0.3),
        row("charts", "direct", "cold start", 0, 0.2),
        row("badges", "interleaved", "R-GRPO", 0, 0.9),
        row("charts", "interleaved", "R-GRPO", 0, 0.5, iou=None),
        row("badges", "interleaved", "R-GRPO", 1, 0.8, iou=0.85),
        row("charts", "interleaved", "R-GRPO", 1, 0.7, iou=None),
    ],
}


def test_arms_by_hand():
    lines = arms_table(WORLDS).splitlines()
    assert lines[0] == "| arm | stage | seeds | badges | charts |"
    assert lines[2] == "| direct | cold start | 1 | 30.0 % | 20.0 % |"
    assert lines[3] == "| interleaved | R-GRPO | 2 | 85.0 % (80.0 to 90.0) | 60.0 % (50.0 to 70.0) |"
    assert "200 held-out samples" in lines[-1] and "`c` on d (m)" in lines[-1]


def test_looks_by_hand():
    lines = looks_table(WORLDS).splitlines()
    assert lines[2].startswith("| badges | 96.0 % (96.0 to 96.0) | 5.0 % (5.0 to 5.0) |")
    assert "right, not needed" in lines[0] and "| 70.0 % (70.0 to 70.0) |" in lines[2]
    assert lines[2].endswith("| 0.80 (0.75 to 0.85) |") and lines[3].endswith("| none |") and len(lines) == 4


def named(measure: str, ours: float, reference: float) -> dict:
    values = {"ours": ours, "reference": reference, "low": ours - 0.01, "high": ours + 0.01, "ratio": 2.0}
    return {"measure": measure, **values, "target": 0.95, "unit": "share", "n": "1200 trajectories of 6 policies"}


def test_named_by_hand():
    rows = [
        named("planted reason named, against raw attention", 0.97, 0.5),
        named("planted reason named, against relative attention", 0.97, 0.4),
        named("planted reason named: honest", 0.99, 0.6),
    ]
    table = named_table({"rows": rows})
    assert "| honest | 99.0 % (98.0 to 100.0) | 60.0 % |" in table
    assert "| all | 97.0 % (96.0 to 98.0) | 50.0 % |" in table
    assert "Relative attention alone names 40.0 % of all. Of 1200 trajectories of 6 policies." in table


def test_fidelity_by_hand():
    names = (
        "rank correlation with the worth of a look",
        "pointing game",
        "deletion area, lower is better",
        "insertion area",
    )
    rows = [
        {"measure": f"{name}, {kind} attention", "ours": k / 10, "reference": 0.02, "low": 0.0, "high": 1.0, "n": "9 t"}
        for kind in ("raw", "rollout")
        for k, name in enumerate(names)
    ]
    table = fidelity_table({"rows": rows})
    assert "| raw | 0.00 (0.00 to 1.00) | 0.10 (0.00 to 1.00) | 0.20 (0.00 to 1.00) | 0.30 (0.00 to 1.00) |" in table
    assert table.count("\n| r") == 3 and "| random cells | 0.02 | 0.02 | 0.02 | 0.02 |" in table


def test_cost_by_hand():
    row = {"measure": "rows", "ours": 0.0756, "reference": 0.0721, "ratio": 0.954, "low": 0.9, "high": 1.0, "turns": 9}
    once = {**row, "measure": "memory", "turns": 1, "unit": "MiB", "n": "x"}
    told = {"rows": [{**row, "unit": "s", "n": "9 tokens"}, once], "command": "c", "date": "d", "machine": "m"}
    table = timed_table(told, "cost", 2)
    assert "| rows | 0.0756 s | 0.0721 s | 0.95 (0.90 to 1.00) | 9 tokens |" in table
    assert "| memory | 0.0756 MiB | 0.0721 MiB | 0.95 | x |" in table and "Made by `c` on d (m)." in table


def test_the_shipped_results_hold_every_row():
    table = explain_tables(SHIPPED)
    for kind in ("honest", "prior-only", "centre-looker", "shortcut", "looks for show", "first look only"):
        assert f"| {kind} |" in table
    for kind in ("raw", "relative", "gradient-weighted", "rollout", "random cells"):
        assert f"| {kind} |" in table


def test_what_is_claimed_of_explanations():
    """At least 95 % of the planted reasons are named, of 200 trajectories a policy; rows and replays are cheap."""
    rows = {row["measure"]: row for row in SHIPPED["rows"]}
    whole = rows["planted reason named, against raw attention"]
    assert whole["ours"] >= 0.95 > whole["reference"] and int(whole["n"].split()[0]) >= 1200
    assert rows["planted reason named, against relative attention"]["reference"] < 0.95
    assert rows["attention rows against the plain pass"]["ratio"] >= 1 / 1.1
    assert rows["attention rows against eager maps, peak memory"]["ratio"] >= 10
    for name in ("replays of a look", "replays of a look, large overview"):
        assert rows[name]["ratio"] >= 5
    assert rows["pointing game, gradient-weighted attention"]["ours"] == pytest.approx(0.9, abs=0.1)
