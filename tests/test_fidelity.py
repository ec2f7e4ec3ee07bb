"""Measures of maps against worked cases; curves begin and end where they must."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from recorded_looks import looked

from r3lab.core.errors import R3labError
from r3lab.core.stats import mean_interval
from r3lab.explain.explanation import HeatMap
from r3lab.explain.fidelity import (
    Curve,
    Fidelity,
    agreement,
    blanked,
    deletion_insertion,
    fidelity,
    hits,
    spearman,
    summary,
)
from r3lab.explain.interventions import ValueMap, Window, after_look
from r3lab.explain.maps import heat_map
from r3lab.explain.rows import OVERVIEW, record_attention, rollout_rows, rows
from r3lab.models.policy import Policy
from r3lab.trajectory import Kind


@pytest.fixture(scope="module")
def recorded(taught_folder, samples):
    """A policy and a trajectory that looked once and answered."""
    policy = Policy.load(taught_folder)
    return policy, looked(policy, samples, 1)[0]


def flat(t, values) -> HeatMap:
    """A map of the overview."""
    size = (t.image.width, t.image.height)
    return HeatMap(np.asarray(values, np.float32), (0.0, 0.0, float(size[0]), float(size[1])), size)


# ------------------------------------------------------------------ plain measures


def test_rank_correlation_by_hand():
    """Worked cases with and without ties, and Pearson's correlation of the ranks written out."""
    up = np.arange(6.0)
    assert spearman(up, up**3) == pytest.approx(1.0)
    assert spearman(up, -np.exp(up)) == pytest.approx(-1.0)
    assert spearman(np.array([1.0, 2, 3, 4, 5]), np.array([2.0, 1, 4, 3, 5])) == pytest.approx(1 - 6 * 4 / (5 * 24))
    a, b = np.array([1.0, 1, 2, 3, 3, 3]), np.array([5.0, 4, 4, 4, 9, 7])
    ranks = np.array([0.5, 0.5, 2, 4, 4, 4]), np.array([3.0, 1, 1, 1, 5, 4])
    assert spearman(a, b) == pytest.approx(np.corrcoef(*ranks)[0, 1])
    assert spearman(np.ones(4), up[:4]) == 0.0
    noise = np.random.default_rng(0).random((2, 4000))
    assert abs(spearman(*noise)) < 0.06
    for wrong in ((up, up[:3]), (up[:1], up[:1]), (up.reshape(2, 3), up.reshape(2, 3))):
        with pytest.raises(R3labError, match="two rows of the same length"):
            spearman(*wrong)


def test_the_peak_is_in_the_region_or_not():
    """The middle of the highest cell; regions are half-open."""
    heat = HeatMap(np.eye(4, dtype=np.float32) * [1, 2, 9, 3], (0.0, 0.0, 80.0, 40.0), (80, 40))
    assert hits(heat, (50.0, 25.0, 51.0, 26.0))
    assert not hits(heat, (0.0, 0.0, 50.0, 25.0))
    assert not hits(heat, (60.0, 20.0, 80.0, 30.0))


def test_a_map_agrees_with_the_worth_it_was_made_of():
    """The worth itself agrees wholly, its opposite not at all, noise hardly; also where the grids differ."""
    rng = np.random.default_rng(2)
    boxes = [(x, y, x + 20.0, y + 20.0) for y in range(0, 80, 10) for x in range(0, 140, 10)]
    windows = [Window(box, float(rng.normal() + box[0] / 20), None) for box in boxes]
    value = ValueMap(windows, 0.0, 0.0, (160, 100))
    own = HeatMap(value.heat(), (0.0, 0.0, 160.0, 100.0), (160, 100))
    assert agreement(own, value) == pytest.approx(1.0)
    assert agreement(replace(own, values=-own.values), value) == pytest.approx(-1.0)
    coarse = HeatMap(np.tile(np.arange(8, dtype=np.float32), (5, 1)), own.box, own.source)
    assert agreement(coarse, value) > 0.7
    assert agreement(replace(coarse, values=np.ones((5, 8), np.float32)), value) == 0.0


def test_areas_and_means_by_hand():
    """Trapezoids of probabilities; the mean of each measure, a hit only where the region is known."""
    curve = Curve((0.0, 0.5, 1.0), (0.0, float(np.log(0.5)), float(np.log(0.1))))
    assert curve.area == pytest.approx(0.5 * 0.75 + 0.5 * 0.3)
    found = [Fidelity(0.2, 1.0, 0.1, 0.9), Fidelity(0.4, None, 0.3, 0.7), Fidelity(0.6, 0.0, 0.2, 0.8)]
    means = summary(found)
    assert [means[k].value for k in ("agreement", "hit", "deletion", "insertion")] == pytest.approx(
        [0.4, 0.5, 0.2, 0.8]
    )
    assert [means[k].n for k in ("agreement", "hit")] == [3, 2]
    assert "hit" not in summary([found[1]])
    one = mean_interval([0.25] * 5)
    assert (one.value, one.low, one.high) == (0.25, 0.25, 0.25)
    wide = mean_interval(np.linspace(0, 1, 400).tolist())
    assert wide.low < 0.5 < wide.high and wide.high - wide.low == pytest.approx(4 * (1 / 12 / 400) ** 0.5, rel=0.15)
    for wrong in ([], [1.0, float("nan")]):
        with pytest.raises(R3labError, match="at least one number"):
            mean_interval(wrong)


# ------------------------------------------------------------------ deletion and insertion


def test_curves_begin_and_end_where_they_must(recorded):
    """Nothing deleted and all inserted: the record's own log-probability; the other ends are the blank photograph."""
    policy, t = recorded
    heat = flat(t, np.random.default_rng(0).random((8, 8)))
    found = deletion_insertion(policy, t, heat, steps=4)
    own = sum(p for p in t.logprobs[after_look(t, 0) :] if p is not None)
    assert found.deletion.parts == found.insertion.parts == (0.0, 0.25, 0.5, 0.75, 1.0)
    assert found.deletion.logprobs[0] == pytest.approx(own, abs=1e-4)
    assert found.insertion.logprobs[-1] == pytest.approx(own, abs=1e-4)
    assert found.deletion.logprobs[-1] == pytest.approx(found.insertion.logprobs[0], abs=1e-4)
    assert len({round(v, 6) for v in found.deletion.logprobs}) > 2
    again = deletion_insertion(policy, t, heat, steps=4)
    assert again == found
    opposite = deletion_insertion(policy, t, replace(heat, values=-heat.values), steps=4)
    assert opposite.insertion.logprobs[2] == pytest.approx(
        found.deletion.logprobs[2], abs=1e-4
    )  # the same half is left


def test_curves_follow_the_order_of_the_map(recorded, monkeypatch):
    """Where each cell is worth a known number of nats, both curves are the running sums in the map's order."""
    policy, t = recorded
    worth = np.array([[0.5, 3.0], [0.0, 1.5]])
    heat = flat(t, worth)

    def known(policy, texts, starts, store):
        found = []
        for text in texts:
            pixels = np.asarray(text.images[text.image.hash])
            lost = 0.0
            for (row, column), nats in np.ndenumerate(worth):
                x1, y1, x2, y2 = map(int, heat.cell(column, row))
                part = (slice(y1 + 1, y2 - 1), slice(x1 + 1, x2 - 1))
                lost += nats * float(np.ptp(pixels[part].reshape(-1, 3), axis=0).max() == 0)
            found.append(-lost)
        return found

    monkeypatch.setattr("r3lab.explain.fidelity.tail_logprobs", known)
    found = deletion_insertion(policy, t, heat, steps=4)
    assert found.deletion.logprobs == (0.0, -3.0, -4.5, -5.0, -5.0)
    assert found.insertion.logprobs == (-5.0, -2.0, -0.5, 0.0, 0.0)
    opposite = deletion_insertion(policy, t, replace(heat, values=-heat.values), steps=4)
    assert opposite.deletion.logprobs == (0.0, 0.0, -0.5, -2.0, -5.0)
    assert found.deletion.area < opposite.deletion.area and found.insertion.area > opposite.insertion.area
    assert deletion_insertion(policy, t, heat, steps=100).deletion == found.deletion  # no more steps than cells


def test_blanking_reaches_the_overview_and_the_crop(recorded):
    """The record's tokens stay; the photograph is blank there, and so is what the crop shows of it."""
    policy, t = recorded
    box = t.looks[0].box
    found = blanked(t, [box])
    assert (found.ids, found.kinds) == (t.ids, t.kinds)
    found.check()
    crop = np.asarray(found.images[found.looks[0].crop.hash])
    h, w, _ = crop.shape
    assert np.ptp(crop[h // 4 : -h // 4, w // 4 : -w // 4].reshape(-1, 3), axis=0).max() == 0  # edges mix
    assert found.image.hash != t.image.hash and found.looks[0].crop.hash != t.looks[0].crop.hash
    assert blanked(t, []) is t
    away = blanked(t, [(509.0, 509.0, 512.0, 512.0)])  # taught boxes end at 500
    assert away.looks[0].crop.hash == t.looks[0].crop.hash and away.image.hash != t.image.hash
    with pytest.raises(R3labError, match="at least one step"):
        deletion_insertion(policy, t, flat(t, np.ones((2, 2))), steps=0)
    with pytest.raises(R3labError, match="does not carry its photograph"):
        blanked(replace(t, images={}), [box])
    with pytest.raises(R3labError, match="nothing was written after the last crop"):
        deletion_insertion(policy, t.until(t.looks[0].crop_span[1]), flat(t, np.ones((2, 2))))


def test_all_measures_of_one_map(recorded):
    policy, t = recorded
    heat = heat_map(rows(policy, t, at=["x1"]), OVERVIEW)
    windows = [Window((0.0, 0.0, 256.0, 512.0), 1.0, None), Window((256.0, 0.0, 512.0, 512.0), 0.0, None)]
    value = ValueMap(windows, 0.0, 0.0, (512, 512))
    region = tuple(t.truth["regions"][0])
    one = fidelity(policy, t, heat, value, region, steps=2)
    curves = deletion_insertion(policy, t, heat, steps=2)
    assert one == Fidelity(
        agreement(heat, value), float(hits(heat, region)), curves.deletion.area, curves.insertion.area
    )
    assert fidelity(policy, t, heat, value, None, steps=2).hit is None


# ------------------------------------------------------------------ rollout of attention


def test_rollout_is_the_product_of_the_layers(recorded):
    """Against whole matrices multiplied layer by layer; rows sum to 1; the future gets nothing."""
    policy, t = recorded
    places = [i for i, kind in enumerate(t.kinds) if kind == Kind.SAMPLED]
    found = rollout_rows(policy, t, at=[places[3], places[-1]])
    from r3lab.models import attention
    from r3lab.rollout.sequence import row_of

    every = torch.arange(len(t.ids))[None]
    maps = {}
    with (
        torch.no_grad(),
        record_attention(policy, lambda layer, seen: maps.update({layer: attention.weights(seen, every)})),
    ):
        policy.hidden(policy.rows([row_of(policy, t, {})]))
    product = torch.eye(len(t.ids))
    for layer in sorted(maps):
        product = (0.5 * torch.eye(len(t.ids)) + 0.5 * maps[layer][0].mean(0)) @ product
    for i, place in enumerate((places[3], places[-1])):
        torch.testing.assert_close(found.weights[0, 0, i], product[place - 1], atol=1e-6, rtol=1e-4)
        assert float(found.weights[0, 0, i, place:].abs().sum()) == 0.0
    torch.testing.assert_close(found.weights.sum(-1), torch.ones(1, 1, 2), atol=1e-5, rtol=0)
    assert heat_map(found, OVERVIEW).values.shape == (8, 8)
