"""Attention rows are those of eager attention, events are the tokens they say, maps land on the right pixels; shares of
attention are those of the rows, and lines meet at the box."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from recorded_looks import looked

from r3lab.core.errors import R3labError
from r3lab.core.files import assets_dir
from r3lab.core.stats import Interval
from r3lab.explain.explanation import HeatMap
from r3lab.explain.maps import (
    CROPS,
    NEUTRAL,
    AlignedMean,
    align,
    box_score,
    find_sinks,
    heat_map,
    looking_heads,
    percentile,
    relative,
    shares,
    with_question,
)
from r3lab.explain.rows import (
    ANSWER,
    BEFORE,
    COORDINATES,
    OVERVIEW,
    AttentionRows,
    Event,
    Shown,
    events,
    gradient_rows,
    rollout_rows,
    rows,
    select_events,
    spans_of,
)
from r3lab.models import attention
from r3lab.models.policy import Policy
from r3lab.rollout.loop import rollout
from r3lab.rollout.sequence import row_of
from r3lab.show.explanation import persistence
from r3lab.train.sft import taught
from r3lab.trajectory import Kind, Trajectory
from r3lab.vlir.worlds import get_world


@pytest.fixture(scope="module")
def recorded(taught_folder, samples) -> tuple[Policy, list[Trajectory]]:
    """A policy and two answered trajectories with a look."""
    policy = Policy.load(taught_folder)
    return policy, looked(policy, samples, 2)


def test_rows_are_those_of_eager_attention(family_policy, samples):
    """Every family, overview and crops, against one padded pass of eager attention; the model is as before."""
    try:
        trajectories = looked(family_policy, samples, 2, seeds=20)
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

    def logp(change: float) -> float:
        def moved(layer, seen):
            if layer != found.layers[0]:
                return None
            out = attention.output(seen).clone()
            value = seen.value.repeat_interleave(out.shape[2] // seen.value.shape[1], 1)
            out[0, answer.reads, head] += change * value[0, head, key]
            return out

        with torch.no_grad(), attention.shown_to(moved):
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


def test_rollout_is_the_product_of_the_layers(recorded):
    """Against whole matrices multiplied layer by layer; rows sum to 1; the future gets nothing."""
    policy, (t, _) = recorded
    places = [i for i, kind in enumerate(t.kinds) if kind == Kind.SAMPLED]
    found = rollout_rows(policy, t, at=[places[3], places[-1]])
    every = torch.arange(len(t.ids))[None]
    maps = {}
    with (
        torch.no_grad(),
        attention.shown_to(lambda layer, seen: maps.update({layer: attention.weights(seen, every)})),
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


@pytest.fixture(scope="module")
def read():
    """The shipped policy, and a record with one look that it need not have written itself."""
    policy, world = Policy.load(assets_dir() / "tiny" / "rgrpo"), get_world("badges")
    sample = next(s for s in (world.sample("test", i) for i in range(40)) if s.needs_look)
    return policy, taught(policy, sample, world.rationale(sample))


def test_shares_are_those_of_the_rows(read):
    """Mass of each written token, its even share by hand, no crop before it is there, and the fork behind the box."""
    policy, t = read
    found = shares(policy, t)
    assert [t.kinds[i] for i in found.tokens] == [Kind.SAMPLED] * t.kinds.count(Kind.SAMPLED)
    look = t.looks[0]
    assert found.tokens[found.fork] >= look.crop_span[1] > look.span[1] > found.tokens[found.fork - 1]
    for number in (0, found.fork, len(found.tokens) - 1):
        token = int(found.tokens[number])
        own = rows(policy, t, at=[token])
        for image, span in ((OVERVIEW, OVERVIEW), (CROPS, "crop 1")):
            if image == CROPS and token < look.crop_span[0]:
                assert np.isnan(found.mass[image][number]) and np.isnan(found.times(image)[number])
                continue
            a, b = own.spans[span]
            assert found.mass[image][number] == pytest.approx(float(own.on(span).mean((0, 1)).sum()), abs=1e-5)
            assert found.even[image][number] == pytest.approx((b - a) / token)


def test_attention_without_preference_is_the_even_share(read):
    """With queries of zero every token in sight gets the same: once the even share, at every word, for every image."""
    _, t = read
    policy = Policy.load(assets_dir() / "tiny" / "rgrpo")
    with torch.no_grad():
        for name, weight in policy.model.named_parameters():
            if "q_proj" in name and "visual" not in name:
                weight.zero_()
    found = shares(policy, t)
    for image in (OVERVIEW, CROPS):
        times = found.times(image)
        np.testing.assert_allclose(times[np.isfinite(times)], 1.0, rtol=1e-4)
        assert np.isfinite(times[found.fork :]).all()


def test_words_are_counted_from_the_box():
    """Two chains whose boxes end at different words meet at 0; what too few have is left out, and so is NaN."""
    a, b = np.array([1.0, 2.0, 10.0, 20.0]), np.array([2.0, 30.0, np.nan, 5.0])
    line = align([a, b, a], [2, 1, None], least=2)
    assert line.at == (-1, 0)
    assert [m.value for m in line.mean] == [2.0, 20.0]
    assert [m.n for m in line.mean] == [2, 2]
    assert align([a, b], [2, 1], least=1).at == (-2, -1, 0, 1, 2)
    with pytest.raises(R3labError, match="no word has values of 3"):
        align([a, b], [2, 1], least=3)
    with pytest.raises(R3labError, match="2 rows of values and 1 forks"):
        align([a, b], [2])


def test_equal_ones_count_half():
    """The null of a box on a flat map is one half; above all is 1, below all 0."""
    assert percentile(0.2, [0.2, 0.2]) == 0.5
    assert percentile(3, [1, 2]) == 1.0
    assert percentile(0, [1, 2]) == 0.0
    assert percentile(2, [1, 2, 3, 4]) == pytest.approx(0.375)


def line(*values):
    return AlignedMean(tuple(range(-1, len(values) - 1)), tuple(Interval(v, v - 0.1, v + 0.1, 9) for v in values))


def test_a_name_has_one_colour_in_every_panel():
    """As many lines as were given, each as high as its means; the words say first, fork and last of each."""
    panels = {"mass": {"crop": line(0.2, 0.4, 0.3), "overview": line(0.5, 0.6)}, "times": {"overview": line(0.9, 2.5)}}
    first, second = persistence(panels, {"times": 1.0}).figure.axes
    drawn = {one.get_label(): one for one in first.lines if not one.get_label().startswith("_")}
    assert set(drawn) == {"crop", "overview"}
    assert list(drawn["crop"].get_ydata()) == [0.2, 0.4, 0.3]
    again = next(one for one in second.lines if one.get_label() == "overview")
    assert again.get_color() == drawn["overview"].get_color() != drawn["crop"].get_color()
    assert any(list(one.get_ydata()) == [1.0, 1.0] for one in second.lines), "the even share is marked"
    told = persistence(panels).alt
    assert "crop: 0.20 (0.10 to 0.30) at -1, 0.40 (0.30 to 0.50) at +0, 0.30 (0.20 to 0.40) at +1" in told
    with pytest.raises(R3labError, match="0 lines cannot be drawn"):
        persistence({"mass": {}})
    with pytest.raises(R3labError, match="7 lines cannot be drawn"):
        persistence({"mass": {str(n): line(0.1, 0.2) for n in range(7)}})
