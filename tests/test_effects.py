"""Effects of what is left out: statistics by hand, bands that hold what they promise, pictures with their numbers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from r3lab.core.errors import R3labError
from r3lab.core.stats import expected, student, t_interval
from r3lab.evaluate.grades import published
from r3lab.models import tiny
from r3lab.models.policy import Policy, save_policy
from r3lab.recipes import ablations as again_module
from r3lab.recipes import ablations as train_module
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
from r3lab.show.effects import draw_effects, draw_grounding, effects_table
from r3lab.train.log import JsonlLog

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


@pytest.mark.parametrize("given", [(0.0, 4), (1.0, 4), (0.95, 0)])
def test_no_quantile(given):
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
    whole, less, more = effects(ROWS[::-1][::-1])
    assert whole.difference is None and whole.mean.value == pytest.approx(0.926)
    assert less.difference is not None and more.difference is not None
    assert less.difference.value == pytest.approx(-0.042) and less.difference.high < -0.03
    assert less.mean.high > whole.mean.low, "unpaired, nothing could be said"
    assert more.difference.low < 0 < more.difference.high
    shuffled = [ROWS[i] for i in np.random.default_rng(1).permutation(len(ROWS))]
    assert {e.variant: e.difference for e in effects(shuffled)} == {
        e.variant: e.difference for e in (whole, less, more)
    }


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
    left, right = draw_effects(found).figure.axes
    assert [label.get_text() for label in left.get_yticklabels()] == [FULL, "without R-GRPO", "group of 16"]
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
    real = train_module.settings_of

    def small(*given):
        return replace(real(*given), prompts=2, group=2, max_new_tokens=24)

    monkeypatch.setattr(again_module, "settings_of", small)
    monkeypatch.setattr(train_module, "settings_of", small)
    cold, seen = save_policy(tiny.create(vocabulary(), seed=0), tmp_path / "cold"), list[dict]()
    policy, curve = again("group of 16", 3, 2, cold, seen.append, progress=False)
    other, log = Policy.load(cold), JsonlLog(tmp_path / "log.jsonl")
    train_module.pushed(other, get_variant("group of 16"), 3, Budget(steps=2), log, False)
    assert curve == curve_of(log.rows) == curve_of(seen) and len(curve["exact"]) == 2
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
