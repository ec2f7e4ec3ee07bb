"""Attention rows are those of eager attention, events are the tokens they say, maps land on the right pixels."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from r3lab.core.errors import R3labError
from r3lab.explain.explanation import HeatMap
from r3lab.explain.interventions import knock_out
from r3lab.explain.maps import NEUTRAL, box_score, find_sinks, heat_map, looking_heads, relative, with_question
from r3lab.explain.rows import (
    ANSWER,
    BEFORE,
    COORDINATES,
    AttentionRows,
    Event,
    Shown,
    events,
    gradient_rows,
    record_attention,
    rows,
    select_events,
    spans_of,
)
from r3lab.rollout.loop import rollout
from r3lab.rollout.sequence import row_of
from r3lab.trajectory import Kind


def looked(policy, samples, wanted=2, seeds=20):
    """Answered trajectories with a look, sampled until there are so many."""
    found = []
    for seed in range(seeds):
        rolled = rollout(policy, samples, 2, seed=seed, max_new_tokens=60)
        found += [t for t in rolled if t.answer is not None and any(look.crop for look in t.looks)]
        if len(found) >= wanted:
            return found[:wanted]
    raise AssertionError("the taught policy never looked and answered")


@pytest.fixture(scope="module")
def recorded(taught_folder, samples):
    """A policy and two trajectories of different length."""
    from r3lab.models.policy import Policy

    policy = Policy.load(taught_folder)
    return policy, looked(policy, samples)


def test_rows_are_those_of_eager_attention(family_policy, samples):
    """Every family, overview and crops, against one padded pass of eager attention; the model is as before."""
    try:
        trajectories = looked(family_policy, samples)
    except AssertionError:  # a family that was taught too little to answer: its longest rollouts with a crop
        rolled = rollout(family_policy, samples, 4, seed=0, max_new_tokens=60)
        trajectories = sorted(rolled, key=lambda t: -sum(look.crop is not None for look in t.looks))[:2]
    places = [i for i, kind in enumerate(trajectories[0].kinds) if kind == Kind.SAMPLED][::4]
    short = min(len(t.ids) for t in trajectories)
    places = [i for i in places if i < short and all(t.kinds[i] == Kind.SAMPLED for t in trajectories)]
    assert places
    before = family_policy.model.config.get_text_config()._attn_implementation
    with torch.no_grad():
        batch = family_policy.rows([row_of(family_policy, t, {}) for t in trajectories])
        plain = family_policy.hidden(batch)
        found = [rows(family_policy, t, at=places) for t in trajectories]
        assert family_policy.model.config.get_text_config()._attn_implementation == before
        assert torch.equal(family_policy.hidden(batch), plain)
        eager = copy.deepcopy(family_policy)
        eager.model.set_attn_implementation({"text_config": "eager"})
        want = eager.model.model(
            input_ids=batch.ids,
            position_ids=batch.positions[0] if eager.family.tiles else batch.positions,
            mm_encoder_outputs={"image": eager.bundle(batch.images)},
            use_cache=False,
            output_attentions=True,
        ).attentions
    for i, (t, own) in enumerate(zip(trajectories, found, strict=True)):
        every = torch.stack([layer[i][:, [p - 1 for p in places], : len(t.ids)] for layer in want])
        torch.testing.assert_close(own.weights, every, atol=2e-6, rtol=1e-4)
        torch.testing.assert_close(own.weights.sum(-1), torch.ones(own.weights.shape[:-1]), atol=1e-5, rtol=0)


def test_events_are_the_tokens_they_say(recorded):
    """Coordinates join to the written numbers, the answer to the answer, the words before a box stand before it."""
    _, trajectories = recorded
    for t in trajectories:
        every = events(t)
        for number, look in enumerate(t.looks):
            for name, value in zip(COORDINATES, look.written, strict=True):
                text = "".join(t.pieces[e.token] for e in every if e.name == name and e.look == number)
                assert float(text.strip(" ,[]}")) == value
        assert "".join(t.pieces[e.token] for e in every if e.name == ANSWER).strip() == t.answer
        assert all(e.token < t.looks[e.look].span[0] for e in every if e.name == BEFORE)
        assert all(t.kinds[e.token] == Kind.SAMPLED for e in every)


def test_spans_hold_every_token_once(recorded):
    """First token, question, overview, text, crops: no gap, no overlap; crops where the looks say."""
    for t in recorded[1]:
        spans = spans_of(t)
        assert [i for a, b in spans.values() for i in range(a, b)] == list(range(len(t.ids)))
        crops = [look.crop_span for look in t.looks if look.crop_span]
        assert [spans[f"crop {n}"] for n in range(1, len(crops) + 1)] == crops


def test_what_is_not_there_is_named(recorded):
    """Events, tokens, layers, spans, images, and trajectories of another model."""
    policy, (t, _) = recorded
    with pytest.raises(R3labError, match="no event is named 'x3'"):
        select_events(t, ["x3"])
    with pytest.raises(R3labError, match="token 0 of .* was not sampled"):
        rows(policy, t, at=[0])
    with pytest.raises(R3labError, match="no layer 99"):
        rows(policy, t, layers=[99])
    found = rows(policy, t, at=[ANSWER], layers=[-1])
    with pytest.raises(R3labError, match="no span 'crop 7'"):
        found.on("crop 7")
    with pytest.raises(R3labError, match="no image 'sky'"):
        heat_map(found, "sky")
    other = copy.deepcopy(t)
    other.pieces[5] = "x"
    with pytest.raises(R3labError, match="written by another model"):
        rows(policy, other)


def test_characters_of_several_tokens_are_read_like_others(recorded):
    """A policy wrote `é`, two tokens here, and half a character before a 9: it may read both again."""
    policy, (t, _) = recorded
    end = max(i for i, kind in enumerate(t.kinds) if kind == Kind.SAMPLED)
    whole = policy.ids("é")
    assert len(whole) == 2
    for ids, pieces in ((whole, ["", "é"]), ([whole[0], *policy.ids("9")], ["", "\ufffd9"])):
        odd = copy.deepcopy(t)
        for name, values in (("ids", ids), ("pieces", pieces), ("kinds", [int(Kind.SAMPLED)] * 2)):
            getattr(odd, name)[end + 1 : end + 1] = values
        for name in ("logprobs", "entropies"):
            getattr(odd, name)[end + 1 : end + 1] = [0.0, 0.0]
        assert torch.isfinite(rows(policy, odd, at=[end]).weights).all()
    odd.pieces[end + 2] = "\ufffd8"
    with pytest.raises(R3labError, match="written by another model"):
        rows(policy, odd, at=[end])


def test_gradients_are_those_of_the_weights(recorded):
    """Moving one weight of a layer by a little moves the log-probability by its gradient times that."""
    policy, (t, _) = recorded
    answer = next(e for e in events(t) if e.name == ANSWER)
    found = gradient_rows(policy, t, at=[answer.token], layers=[-1])
    plain = rows(policy, t, at=[answer.token], layers=[-1])
    head, key = divmod(int(found.weights[0, :, 0].argmax()), len(t.ids))
    from r3lab.models import attention

    def logp(change: float) -> float:
        def moved(layer, seen):
            if layer != found.layers[0]:
                return None
            out = attention.output(seen).clone()
            value = seen.value.repeat_interleave(out.shape[2] // seen.value.shape[1], 1)
            out[0, answer.reads, head] += change * value[0, head, key]
            return out

        with torch.no_grad(), record_attention(policy, moved):
            batch = policy.rows([row_of(policy, t, {})])
            logits = policy.logits(policy.hidden(batch)[0, answer.reads])
        return float(logits.double().log_softmax(-1)[t.ids[answer.token]])

    slope = (logp(1e-2) - logp(-1e-2)) / 2e-2
    assert float(found.weights[0, head, 0, key]) == pytest.approx(
        slope * float(plain.weights[0, head, 0, key]), rel=0.02, abs=1e-5
    )
    assert all(p.requires_grad for p in policy.model.parameters())


def test_another_question_changes_the_prompt_alone(recorded):
    """What follows the prompt stays, token for token, and so do the looks; attention is read from the same events."""
    policy, (t, _) = recorded
    plain = with_question(policy, t, "which digit is here?")
    plain.check()
    tail = [i for i, kind in enumerate(t.kinds) if kind not in (Kind.PROMPT, Kind.OVERVIEW)][0]
    assert plain.ids[len(plain.ids) - (len(t.ids) - tail) :] == t.ids[tail:]
    assert [plain.ids[slice(*look.span)] for look in plain.looks] == [t.ids[slice(*look.span)] for look in t.looks]
    assert [e.name for e in events(plain)] == [e.name for e in events(t)]
    assert NEUTRAL
    found, neutral = rows(policy, t, at=["x1"]), rows(policy, plain, at=["x1"])
    ratio = relative(heat_map(found, "overview"), heat_map(neutral, "overview"))
    assert ratio.values.shape == heat_map(found, "overview").values.shape
    same = relative(heat_map(found, "overview"), heat_map(found, "overview"))
    np.testing.assert_allclose(same.values, 1.0)


def planted(grid, box, source, cell, head=(1, 2)):
    """Rows of noise, with one head that looks at one cell of one image from one event of three."""
    columns, height = grid
    tokens = columns * height
    weights = torch.rand(2, 4, 3, tokens + 5, generator=torch.Generator().manual_seed(0))
    weights /= weights.sum(-1, keepdim=True)
    place = 2 + cell[1] * columns + cell[0]
    weights[head[0], head[1], 1] = 0.02 / (tokens + 4)
    weights[head[0], head[1], 1, place] = 0.98
    return AttentionRows(weights, [], [0, 1], {"overview": (2, 2 + tokens)}, {"overview": Shown(grid, box)}, source)


@pytest.mark.parametrize(
    ("grid", "box", "source", "cell"),
    [
        ((8, 8), (0.0, 0.0, 301.0, 207.0), (301, 207), (6, 1)),
        ((5, 3), (40.5, 10.0, 91.0, 33.0), (97, 51), (0, 2)),
        ((1, 1), (0.0, 0.0, 7.0, 7.0), (7, 7), (0, 0)),
    ],
)
def test_a_planted_pattern_is_found_at_its_pixels(grid, box, source, cell):
    """Odd sizes, overview and crop: the head is chosen, and the peak is the cell's centre in source pixels."""
    found = planted(grid, box, source, cell)
    found.events.extend([None] * 3)
    heads = looking_heads(found, "overview", [1], keep=1)
    assert grid == (1, 1) or torch.nonzero(heads).tolist() == [[1, 2]]
    heat = heat_map(found, "overview", [1], heads)
    w, h = (box[2] - box[0]) / grid[0], (box[3] - box[1]) / grid[1]
    want = (box[0] + (cell[0] + 0.5) * w, box[1] + (cell[1] + 0.5) * h)
    assert heat.peak() == pytest.approx(want)
    assert heat.cell(*cell) == pytest.approx((want[0] - w / 2, want[1] - h / 2, want[0] + w / 2, want[1] + h / 2))
    if grid != (1, 1):
        score = box_score(heat, heat.cell(*cell))
        assert score.share > 0.9
        assert score.percentile > 0.95


def test_a_large_box_is_not_favoured():
    """On a flat map every box has density 1 and the middle percentile, however large; on noise about uniform."""
    flat = HeatMap(np.ones((6, 9), np.float32), (0, 0, 90, 60), (90, 60))
    for box in ((0, 0, 10, 10), (5, 5, 80, 50), (33, 7, 41, 58)):
        score = box_score(flat, box)
        assert score.density == pytest.approx(1.0, abs=1e-4)
        assert score.percentile == pytest.approx(0.5, abs=0.1)
    noise = HeatMap(np.random.default_rng(3).random((12, 12)).astype(np.float32), (0, 0, 120, 120), (120, 120))
    corners = np.random.default_rng(4).uniform(0, 90, (60, 2))
    scores = [box_score(noise, (x, y, x + 30, y + 30), draws=200).percentile for x, y in corners.tolist()]
    assert 0.35 < float(np.mean(scores)) < 0.65
    with pytest.raises(R3labError, match="has no part"):
        box_score(flat, (200, 200, 210, 210))


def test_sinks_are_found_and_left_out():
    """A token that every event reads is a sink; one that a single event reads is not."""
    found = planted((6, 6), (0.0, 0.0, 60.0, 60.0), (60, 60), (1, 4))
    found.events[:] = [Event(BEFORE, 40, 0), Event("x1", 41, 0), Event("y1", 42, 0)]
    assert find_sinks(found, "overview") == []
    found.weights[..., 2 + 11] = 0.9
    assert find_sinks(found, "overview") == [13]
    found.events[0] = Event("x1", 40, 0)  # what all coordinates read may as well be what the box is around
    assert find_sinks(found, "overview") == []
    assert heat_map(found, "overview", sinks=[13]).values[1, 5] == 0.0
    assert heat_map(found, "overview").values[1, 5] > 0.8


def test_cut_attention_is_attention_with_a_mask(recorded):
    """As a forward pass whose mask hides the span from these states; later layers alone change less or other."""
    policy, (t, _) = recorded
    found = knock_out(policy, t, [ANSWER], ["crop 1"])
    mask = torch.ones(1, 1, len(t.ids), len(t.ids), dtype=torch.bool).tril()
    a, b = spans_of(t)["crop 1"]
    for event in found.events:
        mask[0, 0, event.reads, a:b] = False
    with torch.no_grad():
        batch = policy.rows([row_of(policy, t, {})])
        states = policy.read(batch.ids, batch.positions, batch.images, attention_mask=mask)
        plain = policy.hidden(batch)
        logps = [policy.logits(state[0]).log_softmax(-1) for state in (states, plain)]
    for logp, want in zip(logps, (found.after, found.before), strict=True):
        got = [float(logp[e.reads, t.ids[e.token]]) for e in found.events]
        torch.testing.assert_close(torch.tensor(got), want.float(), atol=1e-4, rtol=1e-4)
    assert found.change.abs().max() > 1e-4
    last = knock_out(policy, t, [ANSWER], ["crop 1"], layers=[-1])
    assert not torch.equal(last.after, found.after)
    with pytest.raises(R3labError, match="attention to 'crop 9' cannot be cut"):
        knock_out(policy, t, [ANSWER], ["crop 9"])
    with pytest.raises(R3labError, match="'first token' cannot be cut"):
        knock_out(policy, t, [ANSWER], ["first token"])
