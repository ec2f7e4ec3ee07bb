"""Tables of worlds.json by hand."""

from __future__ import annotations

from r3lab.course.tables import arms_table, looks_table, over_seeds


def row(world: str, arm: str, stage: str, seed: int, exact: float, **more: float | None) -> dict:
    known = {"exact_needed": 0.5, "look_rate_needed": 0.9, "look_rate_unneeded": 0.1, "iou": 0.75, "legible": 0.96}
    own = {"overview_alone": 0.05, "exact_unneeded": 0.7, "exact": exact, "n": 200, **more}
    return {"world": world, "arm": arm, "stage": stage, "seed": seed, **known, **own}


RESULT = {
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


def test_mean_and_range():
    assert over_seeds([0.5]) == "50.0 %" and over_seeds([0.5, 0.6]) == "55.0 % (50.0 to 60.0)"
    assert over_seeds([0.5, 0.7], percent=False) == "0.60 (0.50 to 0.70)"


def test_arms_by_hand():
    lines = arms_table(RESULT).splitlines()
    assert lines[0] == "| arm | stage | seeds | badges | charts |"
    assert lines[2] == "| direct | cold start | 1 | 30.0 % | 20.0 % |"
    assert lines[3] == "| interleaved | R-GRPO | 2 | 85.0 % (80.0 to 90.0) | 60.0 % (50.0 to 70.0) |"
    assert "200 held-out samples" in lines[-1] and "`c` on d (m)" in lines[-1]


def test_looks_by_hand():
    lines = looks_table(RESULT).splitlines()
    assert lines[2].startswith("| badges | 96.0 % (96.0 to 96.0) | 5.0 % (5.0 to 5.0) |")
    assert "right, not needed" in lines[0] and "| 70.0 % (70.0 to 70.0) |" in lines[2]
    assert lines[2].endswith("| 0.80 (0.75 to 0.85) |") and lines[3].endswith("| none |") and len(lines) == 4
