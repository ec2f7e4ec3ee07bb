"""Tables of results and what is drawn of them: the shipped ones, a sweep's, the ablations', the card of a data set."""

from __future__ import annotations

import csv
import html
import json
import re
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from matplotlib.text import Text
from nbconvert.filters import markdown2html
from PIL import Image
from seen import KINDS, Seen

from r3lab.core.errors import R3labError
from r3lab.core.files import assets_dir
from r3lab.core.geometry import Box
from r3lab.core.stats import expected, student, t_interval
from r3lab.course.tables import (
    arms_table,
    explain_tables,
    fidelity_table,
    further_table,
    looks_table,
    named_table,
    timed_table,
)
from r3lab.evaluate.grades import published
from r3lab.explain.verdict import UNSURE
from r3lab.models import tiny
from r3lab.models.policy import Policy, save_policy
from r3lab.recipes import ablations
from r3lab.recipes.ablations import (
    FULL,
    VARIANTS,
    Budget,
    again,
    band,
    curve_of,
    effects,
    get_variant,
    level,
    repeatable,
    rows_of,
    values_of,
)
from r3lab.recipes.lessons import vocabulary
from r3lab.recipes.reasons import FURTHER, PLANTS, UNSEEN
from r3lab.recipes.stages import pushed
from r3lab.run.table import (
    STATE,
    Table,
    draw_table,
    means,
    read_table,
    sweep_lines,
    table_of,
    varied,
    write_table,
)
from r3lab.show.card import MARK, card_page, draw_card, facts, looks_counted, percent
from r3lab.show.effects import draw_effects, draw_grounding, effects_table
from r3lab.show.text import escape, one_line, table
from r3lab.train.log import read_log
from r3lab.vlir.card import CELLS, OTHER, SOURCES, Card, measure, quantiles
from r3lab.vlir.sample import Rationale, Sample
from r3lab.vlir.worlds.diagrams import Diagrams

# Tables of the shipped results.

SHIPPED = json.loads((assets_dir() / "results" / "explain.json").read_text(encoding="utf-8"))


def row(world: str, arm: str, stage: str, seed: int, exact: float, **more: float | None) -> dict:
    known = {"exact_needed": 0.5, "look_rate_needed": 0.9, "look_rate_unneeded": 0.1, "iou": 0.75, "legible": 0.96}
    own = {"overview_alone": 0.05, "exact_unneeded": 0.7, "exact": exact, "n": 200, **more}
    return {"world": world, "arm": arm, "stage": stage, "seed": seed, **known, **own}


RESULTS = {
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
    lines = arms_table(RESULTS).splitlines()
    assert lines[0] == "| arm | stage | seeds | badges | charts |"
    assert lines[2] == "| direct | cold start | 1 | 30.0 % | 20.0 % |"
    assert lines[3] == "| interleaved | R-GRPO | 2 | 85.0 % (80.0 to 90.0) | 60.0 % (50.0 to 70.0) |"
    assert "the first 200 samples of each world's" in lines[-1] and "`c` on d (m)" in lines[-1]


def test_looks_by_hand():
    lines = looks_table(RESULTS).splitlines()
    assert lines[2].startswith("| badges | 96.0 % (96.0 to 96.0) | 5.0 % (5.0 to 5.0) |")
    assert "right, not needed" in lines[0] and "| 70.0 % (70.0 to 70.0) |" in lines[2]
    assert lines[2].endswith("| 0.80 (0.75 to 0.85) |") and lines[3].endswith("| none |") and len(lines) == 4


def test_a_further_world_by_hand():
    """Right answers with the interval over seeds and samples, which holds the mean and is not that of one seed."""
    rows = [
        {**row("diagrams", "interleaved", stage, seed, exact), "each": each, "split": "test", "n": 4}
        for stage, seed, exact, each in (
            ("cold start", 0, 0.25, "1000"),
            ("cold start", 1, 0.75, "1110"),
            ("R-GRPO", 0, 1.0, "1111"),
            ("R-GRPO", 1, 1.0, "1111"),
        )
    ]
    told = further_table({**RESULTS, "rows": rows, "recipe": {"test_seed": 77}})
    lines = told.splitlines()
    assert lines[0].startswith("| stage | right | right, look needed |") and len(lines) == 6
    assert lines[3].startswith("| R-GRPO | 100.0 % (100.0 to 100.0) |")
    mean, low, high = (float(v) for v in re.findall(r"[\d.]+", lines[2].split("|")[2]))
    assert mean == 50.0 and low < 25.0 and high > 75.0
    assert "first 4 samples of the test split of diagrams (samples seed 77); nothing else has drawn them" in lines[-1]


def test_what_is_said_of_diagrams_is_what_was_measured():
    """The sentence above the table in RESULTS, against the rows; all of them of the test split, on one draw."""
    found = json.loads((assets_dir() / "results" / "diagrams.json").read_text(encoding="utf-8"))
    assert {(r["split"], r["n"], len(r["each"])) for r in found["rows"]} == {("test", 1000, 1000)}
    first, last = ([r for r in found["rows"] if r["stage"] == stage] for stage in ("cold start", "R-GRPO"))
    assert all(r["look_rate_needed"] > 0.99 and 0.55 < r["exact_needed"] < 0.65 for r in last)
    assert all(0.2 < r["exact_needed"] < 0.5 for r in first) and len(first) == len(last) == 2
    assert sorted(r["look_rate_unneeded"] > 0.9 for r in last) == [False, True]
    assert all(r["look_rate_unneeded"] < 0.1 for r in first) and min(r["look_rate_unneeded"] for r in last) < 0.1
    asked = (Diagrams().sample("test", k, found["recipe"]["test_seed"]) for k in range(1000))
    angles = [k for k, sample in enumerate(asked) if sample.meta["kind"] == "angle"]
    assert len(angles) > 80 and all(fmean(int(r["each"][k]) for k in angles) < 0.2 for r in last)


def named(measure: str, ours: float, reference: float) -> dict:
    values = {"ours": ours, "reference": reference, "low": ours - 0.01, "high": ours + 0.01, "ratio": 2.0}
    return {"measure": measure, **values, "target": 0.95, "unit": "share", "n": "1200 trajectories of 6 policies"}


def test_named_by_hand():
    rows = [
        {**named("planted reason named, against raw attention", 0.97, 0.5), "told": 0.98},
        {**named("planted reason named, against relative attention", 0.97, 0.4), "told": 0.98},
        {**named("planted reason named, as it ships", 0.95, 0.0), "told": 0.975},
        named("planted reason named or described", 0.96, 0.0),
        {
            **named("planted reason named: honest", 0.99, 0.6),
            "told": 0.995,
            "named": {"honest": 8, "shortcut": 2, "no look": 1},
            "references": {"raw attention": 0.3, "relative attention": 0.6},
        },
        {**named("planted reason named: in charts", 0.8, 0.0), "told": 0.85, "named": {}, "references": {}},
        {**named("another kind named for sure", 0.02, 0.0), "confidence": [[9, 0.87, 0.9], [1, 0.99, 1.0]]},
        {**named("planted reason named alone", 0.92, 0.4), "n": "9 trajectories", "named": {}},
    ]
    table = named_table({"rows": rows})
    assert "| honest | 99.0 % (98.0 to 100.0) | 99.5 % | 60.0 % (relative attention) |" in table
    assert "| in charts | 80.0 % (79.0 to 81.0) | 85.0 % | - |" in table
    assert "| all, as it ships | 95.0 % (94.0 to 96.0) | 97.5 % | - |" in table
    assert "Named or described, of 1200 trajectories of 6 policies: 96.0 % (95.0 to 97.0)." in table
    assert "named by `explain`: 97.0 % (96.0 to 98.0); raw attention 50.0 %; relative attention 40.0 %." in table
    assert "is named for sure in 2.0 % (1.0 to 3.0). Confidence: 87.0 % stated, 90.0 % right (9); 99.0 %" in table
    assert "Named instead: honest: shortcut 2, no look 1." in table and "| alone |" not in table
    assert "(the shipped records lend, no true region): 92.0 % (91.0 to 93.0) of 9 trajectories." in table


def test_fidelity_by_hand():
    shares = "rank correlation with the worth of a look", "pointing game", "deletion area, lower is better"
    rows = [
        {"measure": f"{name}, {kind} attention", "ours": k / 10, "reference": 0.02, "low": 0.0, "high": 1.0, "n": "9 t"}
        for kind in ("raw", "rollout")
        for k, name in enumerate((*shares, "insertion area"))
    ]
    other = {"measure": "rank correlation with the worth of a look, worth foretold of an X", "n": "7 t"}
    rows.append({**rows[0], **other, "ours": 0.44})
    table = fidelity_table({"rows": rows})
    assert table.endswith(" Rank correlation for maps of an X (7 t): worth foretold 0.44 (0.00 to 1.00).")
    assert "| raw | 0.00 (0.00 to 1.00) | 0.10 (0.00 to 1.00) | 0.20 (0.00 to 1.00) | 0.30 (0.00 to 1.00) |" in table
    assert table.count("\n| r") == 3 and "| random cells | 0.02 | 0.02 | 0.02 | 0.02 |" in table


def test_cost_by_hand():
    row = {"measure": "rows", "ours": 0.0756, "reference": 0.0721, "ratio": 0.954, "low": 0.9, "high": 1.0, "turns": 9}
    once = {**row, "measure": "memory", "turns": 1, "unit": "MiB", "n": "x"}
    told = {"rows": [{**row, "unit": "s", "n": "9 tokens"}, once], "command": "c", "date": "d", "machine": "m"}
    table = timed_table(told, "cost", 2)
    once["plain"] = 0.0612
    assert "| memory (the plain pass takes 0.0612) |" in timed_table({**told, "rows": [once]}, "cost", 2)
    assert "| rows | 0.0756 s | 0.0721 s | 0.95 (0.90 to 1.00) | 9 tokens |" in table
    assert "| memory | 0.0756 MiB | 0.0721 MiB | 0.95 | x |" in table and "Made by `c` on d (m)." in table


def test_the_shipped_results_hold_every_row():
    table = explain_tables(SHIPPED)
    for name in PLANTS | FURTHER | UNSEEN:
        assert f"| {name} |" in table
    kinds = ("raw", "relative", "gradient-weighted", "rollout", "token activation", "layer-wise relevance")
    for kind in (*kinds, "worth foretold", "random cells"):
        assert f"| {kind} |" in table


def test_what_is_claimed_of_explanations():
    """In badges 94 of 100 are named rightly, more than by any reference, and in either size; of the first six reasons
    29 of 30; in other worlds 92; another kind is named for sure in one of fifty, and where it is sure it is right as
    often as it says; a foretold map agrees with the replayed one where attention does not, less so in another family;
    explanations, rows and replays are cheap."""
    rows = {row["measure"]: row for row in SHIPPED["rows"]}
    against = [row for name, row in rows.items() if name.startswith("planted reason named, against ")]
    assert len(against) == 7 and all(row["ours"] >= 0.93 > 0.79 > row["reference"] for row in against)
    assert rows["planted reason named, two layers deeper"]["ours"] >= 0.95
    assert 0.91 <= rows["planted reason named, in other worlds"]["ours"] <= 0.93
    worlds = [rows[f"planted reason named: in {name}"]["ours"] for name in ("trails", "documents", "charts")]
    assert worlds == pytest.approx([1, 58 / 60, 48 / 60], abs=1e-3)
    assert rows["planted reason named alone"]["ours"] >= 0.94
    of = {name: rows[f"planted reason named: {name}"] for name in PLANTS | FURTHER | UNSEEN}
    assert sum(of[name]["ours"] for name in PLANTS) / len(PLANTS) == pytest.approx(29 / 30, abs=1e-3)
    assert len(of) == 16
    assert min(row["ours"] for row in of.values()) > 0.8
    assert {*sorted(of, key=lambda name: of[name]["ours"])[:2]} == {"side", "size"}
    better = {name for name, row in of.items() if max(row["references"].values()) > row["ours"]}
    assert better == {"side", "later look only", "looks for show", "size", "first look only", "shortcut", "colour"}
    assert rows["planted reason named or described"]["ours"] < 0.97, "what was wanted"
    of |= {name: rows[f"planted reason named: {name}"] for name in ("in documents", "in charts", "in trails")}
    of["deeper"] = rows["planted reason named, two layers deeper"]
    counts, false = {name: sum(row["named"].values()) for name, row in of.items()}, 0
    assert all(count >= 30 for count in counts.values())
    assert sum(counts.values()) == int(rows["planted reason named or described"]["n"].split()[0])
    for name, row in of.items():
        right = sum(n for kind, n in row["named"].items() if kind in row["true"])
        assert row["ours"] <= right / counts[name] + 1e-3 and row["ours"] <= row["told"]  # true of some, not of all
        false += counts[name] - round(row["ours"] * counts[name]) - row["named"].get(UNSURE, 0)
    sure = rows["another kind named for sure"]
    assert sure["ours"] == pytest.approx(false / sum(counts.values()), abs=0.005) and sure["ours"] <= 0.02
    assert all(abs(said - right) < 0.03 for _, said, right in sure["confidence"][1:])
    foretold, others = rows["rank correlation with the worth of a look, worth foretold"], []
    for kind in ("raw", "relative", "gradient-weighted", "rollout"):
        others.append(rows[f"rank correlation with the worth of a look, {kind} attention"])
    assert foretold["ours"] >= 0.5 and all(row["ours"] < 0.2 for row in others)
    agree = [row["ours"] for name, row in rows.items() if name.startswith("rank") and name.endswith("of an InternVL")]
    assert len(agree) == 7 and sorted(agree)[-2] < 0.1 < 0.3 < max(agree) < 0.5
    assert rows["a full explanation against the answer"]["ours"] < 2
    assert rows["a quick explanation against the answer"]["ours"] < 0.7
    assert rows["attention rows against the plain pass"]["ratio"] >= 1 / 1.1
    assert rows["attention rows against eager maps, peak memory"]["ratio"] >= 10
    for name in ("replays of a look", "replays of a look, large overview"):
        assert rows[name]["ratio"] >= 5
    assert rows["pointing game, gradient-weighted attention"]["ours"] == pytest.approx(0.9, abs=0.1)


# Ablations: what is left out, and what that does.

ROWS = [
    {"variant": variant, "seed": seed, "exact": exact, "iou": None}
    for variant, values in {
        FULL: (0.95, 0.90, 0.97, 0.88, 0.93),
        "without R-GRPO": (0.91, 0.85, 0.94, 0.84, 0.88),  # less by about 4 points in each
        "group of 16": (0.99, 0.86, 0.97, 0.92, 0.89),  # now more, now less
    }.items()
    for seed, exact in enumerate(values)
]


@pytest.mark.parametrize(
    ("level", "freedom", "wanted"),
    [(0.95, 1, 12.706), (0.95, 2, 4.303), (0.95, 3, 3.182), (0.95, 4, 2.776), (0.99, 4, 4.604), (0.95, 30, 2.042)],
)
def test_students_quantiles_are_those_of_the_tables(level, freedom, wanted):
    assert student(level, freedom) == pytest.approx(wanted, abs=6e-4)
    for given in ((0.0, 4), (1.0, 4), (0.95, 0)):
        with pytest.raises(R3labError, match="no quantile"):
            student(*given)


def test_intervals_hold_what_they_promise():
    """Of 2,000 sets of five draws, the interval holds the mean 95 %, the band a sixth draw 99 % of the time."""
    rng, mean, held, hit = np.random.default_rng(0), 0.6, 0, 0
    for _ in range(2000):
        *five, sixth = rng.normal(mean, 0.05, 6).tolist()
        found, (low, high) = t_interval(five), expected(five)
        held += found.low <= mean <= found.high
        hit += low <= sixth <= high
    assert 0.935 < held / 2000 < 0.965 and 0.98 < hit / 2000 < 0.999
    for function in (t_interval, expected):
        for values in ([0.5], [0.5, float("nan")]):
            with pytest.raises(R3labError, match="two finite values"):
                function(values)


def test_effects_are_paired_by_seed():
    """The same loss at every seed is sure, although the runs of both scatter more than it."""
    whole, less, more = effects(ROWS)
    assert whole.difference is None and whole.mean.value == pytest.approx(0.926)
    assert less.difference is not None and more.difference is not None
    assert less.difference.value == pytest.approx(-0.042) and less.difference.high < -0.03
    assert less.mean.high > whole.mean.low, "unpaired, nothing could be said"
    assert more.difference.low < 0 < more.difference.high
    assert sorted(effects(ROWS[::-1]), key=str) == sorted((whole, less, more), key=str)


def test_values_that_are_not_there():
    assert values_of(ROWS, FULL)[2] == 0.97 and values_of(ROWS, FULL, "iou") == {}
    with pytest.raises(R3labError, match="no rows of 'ful'.*full"):
        values_of(ROWS, "ful")
    with pytest.raises(R3labError, match="no 'exat'.*exact"):
        values_of(ROWS, FULL, "exat")


def test_the_picture_and_the_table_say_the_numbers():
    found = effects(ROWS)
    table, words = effects_table(found), draw_effects(found).alt
    assert "| without R-GRPO | 88.4 % (83.2 to 93.6) | -4.2 (-5.2 to -3.2) | ScienceQA -3.28; MathVista -0.7 |" in table
    assert "| group of 16 |" in table and table.count("\n") == 4
    assert "without R-GRPO: 88.4 %" in words and "-4.2 (-5.2 to -3.2) points" in words
    for some in (found, found[:2]):  # of three the outer two end alike
        left, right = draw_effects(some).figure.axes
        names = [label.get_text() for label in left.get_yticklabels()]
        assert names == [FULL, "without R-GRPO", "group of 16"][: len(some)]
        drawn = {line.get_ydata()[0]: line.get_xdata()[0] for line in left.lines if line.get_marker() == "o"}
        means = [drawn[y] for y in left.get_yticks()]
        assert means == pytest.approx([e.mean.value for e in some]), "a name at its interval"
    _, right = draw_effects(found).figure.axes
    shapes = {line.get_marker() for line in right.lines} - {"None"}
    assert shapes == {"o", "D"}, "what is sure differs in mark, not in colour alone"
    with pytest.raises(R3labError, match="no effects"):
        draw_effects([])


def test_grounding_stands_beside_what_is_published():
    rows = [{"grounding": g, "seed": s, "exact": g - 0.01 * s} for g in (0.4, 1.0) for s in (0, 1, 2)]
    words = draw_grounding(rows).alt
    assert "40 %: 39.0 %" in words and "100 %: 99.0 %" in words and "54.1 % at 40 %, 87.9 % at 90 %" in words
    [axes] = draw_grounding(rows).figure.axes
    measured, stated = axes.lines
    assert list(measured.get_ydata()) == pytest.approx([0.39, 0.99]) and list(stated.get_ydata()) == [0.541, 0.879]
    with pytest.raises(R3labError, match="no rows of simulated grounding"):
        draw_grounding([])


def test_published_numbers_name_their_source():
    stated = published("effects")
    assert {(p["without"], p["benchmark"]): p["points"] for p in stated}["interleaving", "scienceqa"] == -12.5
    assert all(p["source"] for p in (*stated, *published("grounding")))
    assert {f"without {p['without']}" for p in stated} <= set(VARIANTS)


def test_a_variant_again_is_the_first_run(tmp_path, monkeypatch):
    """From the same weights and seed: step by step what the command's own runs log."""
    real = ablations.settings_of

    def small(*given):
        return replace(real(*given), prompts=2, group=2, max_new_tokens=24)

    monkeypatch.setattr(ablations, "settings_of", small)
    cold = save_policy(tiny.create(vocabulary(), seed=0), tmp_path / "cold")
    policy, curve = again("group of 16", 3, 2, cold, progress=False)
    settings = small(get_variant("group of 16"), 3, Budget(steps=2))
    other = Policy.load(pushed(cold, tmp_path / "run", settings, "badges", half=False))
    assert curve == curve_of(read_log(tmp_path / "run.jsonl")) and len(curve["exact"]) == 2
    assert curve_of(rows_of(curve)) == curve and [row["step"] for row in rows_of(curve)] == [1, 2]
    assert len(rows_of(curve, 1)) == 1
    assert all(torch.equal(a, b) for a, b in zip(policy.model.parameters(), other.model.parameters(), strict=True))


def test_what_cannot_be_repeated_is_refused(tmp_path):
    assert repeatable(get_variant(FULL)) and repeatable(get_variant("without region reward"))
    for name in ("without interleaving", "without VLIR cold start", "without R-GRPO"):
        assert not repeatable(get_variant(name))
        with pytest.raises(R3labError, match=f"'{name}' does not begin.*these do: full"):
            again(name, 0, 1, tmp_path)


def test_level_and_band():
    curves = [{"variant": FULL, "seed": s, "exact": [0.1, 0.5 + 0.01 * s, None, 0.7 + 0.01 * s]} for s in (0, 1, 2)]
    assert level(curves[1], "exact", 2, 4) == pytest.approx(0.61)
    assert band(curves, FULL, "exact", 2, 4) == expected([0.6, 0.61, 0.62])
    for words, given in {
        "no 'exat'.*exact": (curves[0], "exat", 1, 2),
        "no exact in steps 5 to 9; the curve has 4 steps": (curves[0], "exact", 5, 9),
    }.items():
        with pytest.raises(R3labError, match=words):
            level(*given)
    with pytest.raises(R3labError, match="0 curves of 'other'"):
        band(curves, "other", "exact", 1, 2)


# The table of a sweep.

CELLS_OF_A_STRANGER = (
    "<script>alert(1)</script>",
    "$\\frac{1}{0}$",
    "\x1b[31mred",
    "\u202eturned",
    "=1+1",
    "x" * 5000,
    "[x](y)|",
)


def made(score: Any = None, groups: tuple[Any, ...] = (4, 8, 16), rates: tuple[Any, ...] = (0.25, 1.0)) -> Table:
    """A table over group, rate and seed; the last combination failed."""
    points, found = {}, {}
    for i, group in enumerate(groups):
        for j, rate in enumerate(rates):
            for seed in range(3):
                key, last = f"k{i}{j}{seed}", (i, j) == (len(groups) - 1, len(rates) - 1)
                points[key] = {"group": group, "rate": rate, "seed": seed, "quick": True}
                state = dict.fromkeys(STATE) | {"status": "failed" if last else "ok", "attempts": 1, "seconds": 1.5}
                value = score if score is not None else i + 10 * j + 0.1 * seed
                found[key] = (state, {} if last else {"score": value, "right": bool(seed)})
    return table_of(points, found)


def test_a_table_comes_back_as_it_was_written(tmp_path: Path) -> None:
    """With the types of its values."""
    texts = ["plain", "a,b\"c'd", "'quoted", "12", "-1.5e3", "true", "=SUM(A1)", "@x", "+1", "-1", "å"]
    numbers = [0, -3, 2**62, 0.1, 1e-300, 1e22, 3.0, True, False, None]
    points = {f"k{i}": {"text": text, "size": i} for i, text in enumerate(texts)}
    state = {"status": "ok", "seconds": 0.5, "attempts": 1, "place": "here", "error": "none"}
    found = {key: (state, {"value": numbers[i % len(numbers)], "list": [i]}) for i, key in enumerate(points)}
    table = table_of(points, found)
    back = read_table(write_table(table, tmp_path / "table.csv"))
    assert (back.parameters, back.results) == (("text", "size"), ("value", "list"))
    values = [row["value"] for row in back.rows]
    assert values == [row["value"] for row in table.rows]
    assert [type(value) for value in values] == [type(row["value"]) for row in table.rows]
    assert [row["text"] for row in back.rows] == texts and back.rows[3]["list"] == "[3]"


def test_no_cell_of_the_csv_is_a_formula(tmp_path: Path) -> None:
    points = {f"k{i}": {"text": text} for i, text in enumerate(("=1+1", "@x", "+x", "-x", "\t=1", "'=1"))}
    found = {key: (dict.fromkeys(STATE, "=1"), {"a": "=2"}) for key in points}
    write_table(table_of(points, found), tmp_path / "t.csv")
    with open(tmp_path / "t.csv", newline="") as file:
        assert not [cell for row in csv.reader(file) for cell in row if cell[:1] in tuple("=+-@\t")]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("none.csv", None, "Cannot read"),
        ("a.csv", b"", "no table of"),
        ("a.csv", b"a,b\n1,2\n", "no table of"),
        ("a.csv", b"key,status,seconds,attempts,place,error,a,a\n", "no table of"),
        ("a.csv", b"key,status,seconds,attempts,place,error\n1,2\n", "does not fit"),
        ("a.csv", b"\xff\xfe", "not a table in CSV"),
        ("a.parquet", b"PAR1\xff", "not a table in CSV .*; name table.csv"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path: Path, name: str, content: bytes | None, words: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(R3labError, match=words):
        read_table(tmp_path / name)


def test_means_go_over_the_seeds_of_points_that_are_done() -> None:
    table = made()
    found = means(table, "score", ("group", "rate"))
    assert list(found) == [(4, 0.25), (4, 1.0), (8, 0.25), (8, 1.0), (16, 0.25)]  # the one that failed is not there
    one = found[8, 1.0]
    assert (one.value, one.low, one.high, one.n) == (pytest.approx(11.1), 11.0, pytest.approx(11.2), 3)
    assert means(table, "right", ("group",))[4,].value == pytest.approx(2 / 3)
    assert varied(table) == ["group", "rate"]


def test_lines_and_bands_are_the_numbers_of_the_table() -> None:
    table = made()
    (axes,) = sweep_lines(table, "score", "group", "rate").figure.axes
    lines = {line.get_gid(): line for line in axes.lines}
    assert lines["mean-0"].get_xdata().tolist() == [4, 8, 16]
    assert lines["mean-0"].get_ydata() == pytest.approx([0.1, 1.1, 2.1])
    assert lines["mean-1"].get_ydata() == pytest.approx([10.1, 11.1])
    bands = {band.get_gid(): band.get_paths()[0].vertices for band in axes.collections}
    assert bands["band-0"][:, 1].min() == 0.0 and bands["band-0"][:, 1].max() == pytest.approx(2.2)
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["0.25", "1"]
    alt = sweep_lines(table, "score", "group", "rate").alt
    assert "rate 0.25: 0.1 (0 to 0.2) at 4; 1.1 (1 to 1.2) at 8" in alt and "Mean over seed" in alt


def test_names_are_points_with_their_range_from_zero_and_nothing_joins_them() -> None:
    table = made(groups=("few", "many"), rates=(0.25, 1.0))
    picture = sweep_lines(table, "score", "group", "rate")
    (axes,) = picture.figure.axes
    assert picture.alt.startswith("Points of score") and axes.get_ylim()[0] == 0.0
    drawn = [bar for bar in axes.containers if hasattr(bar, "has_yerr")]
    assert len(drawn) == 2 and all(bar.has_yerr and bar.lines[0].get_linestyle() == "None" for bar in drawn)
    apart = [bar.lines[0].get_xdata()[0] for bar in drawn]
    assert apart[0] < 0 < apart[1], "beside each other, that no range hides another"


def test_the_plots_need_the_table_alone_and_say_in_words_what_they_show(tmp_path: Path) -> None:
    write_table(made(), tmp_path / "first" / "table.csv")
    (tmp_path / "alone").mkdir()
    shutil.move(tmp_path / "first" / "table.csv", tmp_path / "alone" / "any.csv")
    page, word = draw_table(tmp_path / "alone" / "any.csv", tmp_path / "plots")
    assert page is not None and word == ""
    text = page.read_text("utf-8")
    assert text.count('alt="Lines of') == 2
    drawn = sorted((tmp_path / "plots" / "plots").glob("*.png"))
    assert len(drawn) == 2
    for path in drawn:
        with Image.open(path) as image:
            assert "Mean over seed" in image.text["Description"]  # type: ignore[attr-defined]
    wide = write_table(made(groups=tuple(range(8)), rates=tuple(range(7))), tmp_path / "wide.csv")  # too many for lines
    page, _ = draw_table(wide, tmp_path / "more")
    assert page is not None and "Mean over rate, seed" in page.read_text("utf-8")


def test_where_there_is_nothing_to_draw_it_says_why(tmp_path: Path) -> None:
    seeds = write_table(made(groups=(4,), rates=(1.0, 1.0)), tmp_path / "seeds.csv")
    page, word = draw_table(seeds, tmp_path / "seeds")
    assert page is None and "only the seed varies" in word
    texts = write_table(made(score="text"), tmp_path / "texts.csv")
    assert draw_table(texts, tmp_path / "texts")[0] is not None  # `right` is there still


def test_hostile_text_in_a_sweep_is_drawn_as_text(tmp_path: Path) -> None:
    table = made(groups=CELLS_OF_A_STRANGER[:6], rates=(CELLS_OF_A_STRANGER[6], None))
    renamed = {name: f"{name}{CELLS_OF_A_STRANGER[i][:40]}" for i, name in enumerate(("group", "rate", "score"))}
    rows = tuple({renamed.get(name, name): value for name, value in row.items()} for row in table.rows)
    parameters = tuple(renamed.get(name, name) for name in table.parameters)
    write_table(Table(parameters, (renamed["score"], "right"), rows), tmp_path / "table.csv")
    page, _ = draw_table(tmp_path / "table.csv", tmp_path)
    assert page is not None
    text = page.read_text("utf-8")
    assert "<script>alert" not in text and "\x1b" not in text and "\u202e" not in text
    assert len(text) < 4_000_000


# The card of a data set.

NAMES_OF_A_STRANGER = {
    **{name: KINDS[name] for name in ("attack", "ansi", "controls", "scripts", "megabyte")},
    "link": "[x](javascript:alert(1)) <javascript:alert(1)> ![y](http://evil.example/z.png)",
    "bare link": "http://evil.example www.evil.example a@evil.example #12 @someone",
    "table": "a | b\n| --- | --- |\n| c | d |",
    "blocks": "\n\n# head\n\n```\ncode\n```\n\n---\n\n1. one\n\n> said",
    "entity": "&lt;b&gt; &#60;i&#62; &copy; \\<u\\> \\| \\",
    "emphasis": "$x$ $$\\frac{1}{0}$$ `code` **b** __b__ ~~s~~ <b",
}


def pairs(count: int = 30, seed: int = 0) -> list[tuple[Sample, Rationale]]:
    """Samples of three sources with random boxes, some beyond the border by a pixel, and random words."""
    rng, found = np.random.default_rng(seed), []
    images = [Image.new("RGB", (120 + 40 * k, 90), (40 * k, 0, 0)) for k in range(4)]
    for i in range(count):
        image = images[int(rng.integers(4))]
        parts: list[str | Box] = ["<think>" + "word " * int(rng.integers(1, 30))]
        for _ in range(int(rng.integers(0, 4))):
            x, y, w, h = rng.uniform((0, 0, 4, 4), (80, 60, 40, 30.5))
            parts += [(float(x), float(y), float(x + w), float(y + h)), "It shows 7."]
        parts.append("</think><answer>7</answer>")
        needs = (True, False, None)[int(rng.integers(3))]
        sample = Sample(f"s-{i}", image, "?", "7", (), needs, "abc"[int(rng.integers(3))], "train")
        found.append((sample, Rationale(tuple(parts))))
    return found


ON_A_CARD = {"h1", "h2", "p", "a", "img", "code", "table", "thead", "tbody", "tr", "th", "td"}
PAIRS = pairs()
CARD = measure(iter(PAIRS))


def test_the_numbers_are_those_of_the_samples() -> None:
    """Against a count by hand; the samples are given as an iterator, so that one pass must do."""
    boxes = [(b, s.image.size) for s, r in PAIRS for b in r.boxes]
    images = {s.image.getpixel((0, 0)) for s, _ in PAIRS}
    assert (CARD.samples, CARD.looks, CARD.images) == (30, len(boxes), len(images))
    assert CARD.whole.looks == Counter(len(r.boxes) for _, r in PAIRS)
    sizes = [(b[2] - b[0]) * (min(b[3], h) - b[1]) / (w * h) for b, (w, h) in boxes]
    assert np.allclose(CARD.whole.sizes, sizes)
    assert CARD.needs == Counter(s.needs_look for s, _ in PAIRS)
    assert {name: part.samples for name, part in CARD.sources.items()} == Counter(s.world for s, _ in PAIRS)
    assert sum(len(part.sizes) for part in CARD.sources.values()) == len(boxes)
    texts = [" ".join(p for p in r.parts if isinstance(p, str)) for _, r in PAIRS]
    said = [len(re.findall(r"\w+", re.sub("think|answer", "", text))) for text in texts]
    assert CARD.whole.words == Counter(said)
    assert quantiles(CARD.whole.words, (0.5,))[0] == sorted(said)[14]
    assert quantiles(Counter({3: 5, 9: 5}), (0.5, 0.51)) == [3, 9], "the least value that half do not exceed"


def test_the_heat_map_is_where_the_boxes_are() -> None:
    """Its mean is the mean size of a look; and it equals what painting the boxes finely gives."""
    shares = CARD.heat_shares()
    assert shares.shape == (CELLS, CELLS) and shares.mean() == pytest.approx(np.mean(CARD.whole.sizes))
    fine = np.zeros((960, 960))
    middle = (np.arange(960) + 0.5) / 960
    for sample, rationale in PAIRS:
        w, h = sample.image.size
        for x1, y1, x2, y2 in rationale.boxes:
            fine += np.outer((middle * h > y1) & (middle * h < y2), (middle * w > x1) & (middle * w < x2))
    painted = fine.reshape(CELLS, 30, CELLS, 30).mean(axis=(1, 3)) / CARD.looks
    assert np.abs(shares - painted).max() < 0.02
    assert CARD.heat_shares(4).shape == (4, 4) and CARD.heat_shares(4).mean() == pytest.approx(shares.mean())
    corner = measure([(PAIRS[0][0], Rationale(("a", (0.0, 0.0, 10.0, 9.0), "b")))])
    assert corner.heat_shares()[0, 0] == 1 and corner.heat_shares()[-1].max() == 0


def test_sources_are_told_apart_up_to_a_bound() -> None:
    card, rationale, image = Card(), PAIRS[0][1], Image.new("RGB", (8, 8))
    for i in range(SOURCES + 50):
        card.add(Sample("s", image, "?", "7", (), None, f"source {i}", f"split {i}"), rationale)
    assert len(card.sources) == SOURCES + 1 and card.sources[OTHER].samples == 50
    assert len(card.splits) <= SOURCES + 1 and sum(card.splits.values()) == SOURCES + 50


@pytest.mark.parametrize(
    ("share", "words"),
    [(0, "0 %"), (0.00062, "0.062 %"), (0.0171, "1.7 %"), (0.0996, "10 %"), (0.434, "43 %"), (1, "100 %")],
)
def test_shares_have_two_digits_that_mean_something(share: float, words: str) -> None:
    assert percent(share) == words


def written(figure: Figure) -> list[str]:
    """Every text in a figure."""
    return [t.get_text() for t in figure.findobj(Text) if t.get_text()]


def test_the_drawing_shows_the_numbers(tmp_path: Path) -> None:
    """Bars are as long as their counts; figures stand as text; the file carries the alt text."""
    drawn = draw_card(CARD, "a set")
    figure, alt = drawn.figure, drawn.alt
    [looks], [sources] = ([a for a in figure.axes if a.get_gid() == gid] for gid in ("looks", "sources"))
    assert [round(p.get_height()) for p in looks.patches] == [count for _, count in looks_counted(CARD)]
    by_size = sorted((part.samples for part in CARD.sources.values()), reverse=True)
    assert [round(p.get_width()) for p in sources.patches] == by_size
    for gid in ("sizes", "words"):
        [axes] = [a for a in figure.axes if a.get_gid() == gid]
        assert sum(round(p.get_height()) for p in axes.patches) == (CARD.looks if gid == "sizes" else CARD.samples)
    [heat] = [a for a in figure.axes if a.get_gid() == "heat"]
    assert np.array_equal(heat.images[0].get_array(), CARD.heat_shares())
    assert {"a set", *(value for _, value in facts(CARD))} <= set(written(figure))
    with Image.open(drawn.save(tmp_path / "card.png")) as image:
        assert image.info["Description"] == alt and image.width > 900
    assert f"samples: {CARD.samples}" in alt and f"looks: {CARD.looks}" in alt


def test_nothing_one_and_a_long_tail_can_be_drawn(tmp_path: Path) -> None:
    """No sample, samples without a look, one sample, one endless rationale among many: text stays on the sheet."""
    sample, bare = PAIRS[0][0], Rationale(("<think>a b</think><answer>7</answer>",))
    endless = Rationale(("word " * 50_000,))
    many = [(replace(sample, world=f"a rather long name of a source, number {i}"), bare) for i in range(40)]
    for i, some in enumerate(([], [(sample, bare)], PAIRS[:1], [*PAIRS, *many, (sample, endless)])):
        card = measure(some)
        drawn = draw_card(card, "t" * 300)
        drawn.save(tmp_path / f"{i}.png", dpi=40)
        figure = drawn.figure
        for text in figure.findobj(Text):
            if text.get_text() and text.get_visible():
                box = text.get_window_extent()
                assert box.x0 > -5 and box.x1 < figure.bbox.width + 5, text.get_text()
        assert card_page(card).startswith(MARK) and len(card_page(card)) < 10_000


def cells_of(page: str) -> list[str]:
    """What stands in the cells and the heading of a page, up to the first element in them."""
    return [html.unescape(text) for text in re.findall(r"<(?:td|h1)[^>]*>([^<]*)", page)]


@pytest.mark.parametrize("case", NAMES_OF_A_STRANGER)
def test_foreign_text_on_the_page_is_text(case: str) -> None:
    """Rendered with raw HTML allowed: only our own tags, one picture, no link, each name letter for letter."""
    name, (sample, rationale) = NAMES_OF_A_STRANGER[case], PAIRS[1]
    card = measure([(Sample(name, sample.image, name, name, (), None, name, name), rationale)] * 2)
    text = card_page(card, name)
    page = markdown2html(text)
    elements = Seen(page).elements
    links = [a["href"] for tag, a in elements if tag == "a"]  # anchors of our own headings
    assert {tag for tag, _ in elements} <= ON_A_CARD and all(href.startswith("#") for href in links)
    assert [a["src"] for tag, a in elements if tag == "img"] == ["card.png"]
    keys = {key for tag, a in elements for key in a if tag not in ("td", "th") or key != "style"}
    assert "style" not in keys and not [key for key in keys if key.startswith("on")]
    assert one_line(name, 60) in cells_of(page)
    assert sum(tag == "tr" for tag, _ in elements) == sum(line.startswith("| ") for line in text.splitlines()) - 5
    assert all(part.isprintable() for part in text.splitlines()) and len(text) < 20_000
    drawn = draw_card(card, name)
    for one in written(drawn.figure):
        assert all(c.isprintable() or c == "\n" for c in one)
    assert drawn.alt.isprintable()


def test_escaping_is_undone_by_reading_and_leaves_plain_words_plain() -> None:
    for plain in ("badges", "0.68 % (0.21 % to 2.0 %)", "samples: 240.", "a-b, c; d's", "\u4e2d\u6587"):
        assert escape(plain) == plain
    for text in NAMES_OF_A_STRANGER.values():
        assert html.unescape(escape(text, 500)) == one_line(text, 500)
    lines = ["| a | n |", "| --- | ---: |", "| x&#124;y | 12 |", "| z | 3 |"]
    assert table(("a", "n"), [("x|y", 12), ("z", 3)]).splitlines() == lines


def test_the_tables_hold_what_is_drawn() -> None:
    """Samples by source and looks, in the page as in the numbers."""
    cells = cells_of(markdown2html(card_page(CARD, "a set")))
    rows = "\n".join(cells)
    for name, part in CARD.sources.items():
        assert f"{name}\n{part.samples}\n{len(part.sizes) / part.samples:.2f}" in rows
    for number, count in looks_counted(CARD):
        assert f"{number}\n{count}" in rows
    assert all(value in cells for _, value in facts(CARD))
