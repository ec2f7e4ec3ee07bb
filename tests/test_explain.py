"""Attention rows, maps and shares are those of the model; interventions equal fresh forwards, and change one thing."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import looked
from PIL import Image, ImageChops

from r3lab.core.errors import R3labError
from r3lab.core.files import assets_dir
from r3lab.core.geometry import intersection
from r3lab.core.stats import Interval, mean_interval
from r3lab.explain.explanation import HeatMap
from r3lab.explain.interventions import (
    NOTHING,
    TAKEN,
    TRUE,
    Alternative,
    after_look,
    alternatives_of,
    begin,
    crop_value,
    joined,
    knock_out,
    replay,
    right_text,
    with_question,
)
from r3lab.explain.maps import (
    AlignedMean,
    Curve,
    agreement,
    align,
    blanked,
    box_score,
    deletion_insertion,
    find_sinks,
    heat_map,
    hits,
    looking_heads,
    percentile,
    relative,
    spearman,
)
from r3lab.explain.pictures import angles, filled, pasted, recoloured, shaped, shifts, smoothed, surrounded, toned
from r3lab.explain.rows import (
    ANSWER,
    BEFORE,
    COORDINATES,
    CROPS,
    OVERVIEW,
    AttentionRows,
    Event,
    Shown,
    events,
    gradient_rows,
    rows,
    select_events,
    shares,
    spans_of,
)
from r3lab.explain.worth import HEAD, ValueMap, Window, WorthHead, fit_head, seen_of, value_map, windows_of
from r3lab.models import attention
from r3lab.models.policy import Policy
from r3lab.rollout.loop import rollout
from r3lab.rollout.sequence import row_of
from r3lab.show.explanation import persistence
from r3lab.train.sft import taught
from r3lab.trajectory import Kind, Trajectory
from r3lab.vlir.worlds import get_world


def test_rows_are_those_of_eager_attention(family_policy, samples):
    """Every family, overview and crops, against one padded pass of eager attention; the model is as before."""
    try:
        trajectories = looked(family_policy, samples, 2, seeds=20)
    except AssertionError:  # a family that was taught too little to answer: its longest rollouts with a crop
        rolled = rollout(family_policy, samples, 4, seed=0, max_new_tokens=60)
        trajectories = sorted(rolled, key=lambda t: -sum(look.crop is not None for look in t.looks))[:2]
    both = zip(*(t.kinds for t in trajectories), strict=False)
    places = [i for i, kinds in enumerate(both) if set(kinds) == {Kind.SAMPLED}][::4]
    assert places
    with torch.no_grad():
        batch = family_policy.rows([row_of(family_policy, t, {}) for t in trajectories])
        plain = family_policy.hidden(batch)
        found = [rows(family_policy, t, at=places) for t in trajectories]
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


def test_events_and_spans_are_the_tokens_they_say(recorded):
    """Coordinates join to the written numbers, the answer to the answer; spans hold every token once."""
    for t in recorded[1]:
        every, spans = events(t), spans_of(t)
        for number, look in enumerate(t.looks):
            for name, value in zip(COORDINATES, look.written, strict=True):
                text = "".join(t.pieces[e.token] for e in every if e.name == name and e.look == number)
                assert float(text.strip(" ,[]}")) == value
        assert "".join(t.pieces[e.token] for e in every if e.name == ANSWER).strip() == t.answer
        assert all(e.token < t.looks[e.look].span[0] for e in every if e.name == BEFORE)
        assert all(t.kinds[e.token] == Kind.SAMPLED for e in every)
        assert [i for a, b in spans.values() for i in range(a, b)] == list(range(len(t.ids)))
        crops = [look.crop_span for look in t.looks if look.crop_span]
        assert [spans[f"crop {n}"] for n in range(1, len(crops) + 1)] == crops


def test_what_is_not_there_is_named(recorded):
    """Events, tokens, layers, spans, images, looks, crops, and trajectories of another model."""
    policy, (t, *_) = recorded
    found, other = rows(policy, t, at=[ANSWER], layers=[-1]), copy.deepcopy(t)
    other.pieces[5] = "x"
    far, ends, flat_map = (9e5, 9e5, 9e5 + 50, 9e5 + 50), t.until(t.looks[0].crop_span[1]), flat(t, np.ones((2, 2)))
    wrong = {
        "no event is named 'x3'": lambda: select_events(t, ["x3"]),
        "token 0 of .* was not sampled": lambda: rows(policy, t, at=[0]),
        "no layer 99": lambda: rows(policy, t, layers=[99]),
        "no span 'crop 7'": lambda: found.on("crop 7"),
        "no image 'sky'": lambda: heat_map(found, "sky"),
        "written by another model": lambda: rows(policy, other),
        "there is no look 99": lambda: replay(policy, t, 99, []),
        "there is no look -1": lambda: crop_value(policy, t, -1),
        "nothing was written after look": lambda: replay(policy, ends, 0, [Alternative("nothing")]),
        "'far away' has a box that cannot": lambda: replay(policy, t, 0, [Alternative("far away", box=far)]),
        "attention to 'crop 9' cannot be cut": lambda: knock_out(policy, t, [ANSWER], ["crop 9"]),
        "'first token' cannot be cut": lambda: knock_out(policy, t, [ANSWER], ["first token"]),
        "at least one step": lambda: deletion_insertion(policy, t, flat_map, steps=0),
        "nothing was written after the last crop": lambda: deletion_insertion(policy, ends, flat_map),
        "does not carry its photograph": lambda: blanked(replace(t, images={}), [far]),
    }
    for words, call in wrong.items():
        with pytest.raises(R3labError, match=words):
            call()
    assert replay(policy, t, 0, []) == []


def test_characters_of_several_tokens_are_read_like_others(recorded):
    """A policy wrote `é`, two tokens here, and half a character before a 9: it may read both again."""
    policy, (t, *_) = recorded
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
    policy, (t, *_) = recorded
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
    policy, (t, *_) = recorded
    plain = with_question(policy, t, "which digit is here?")
    plain.check()
    tail = [i for i, kind in enumerate(t.kinds) if kind not in (Kind.PROMPT, Kind.OVERVIEW)][0]
    assert plain.ids[len(plain.ids) - (len(t.ids) - tail) :] == t.ids[tail:]
    assert [plain.ids[slice(*look.span)] for look in plain.looks] == [t.ids[slice(*look.span)] for look in t.looks]
    assert [e.name for e in events(plain)] == [e.name for e in events(t)]
    found, neutral = rows(policy, t, at=["x1"]), rows(policy, plain, at=["x1"])
    ratio = relative(heat_map(found, "overview"), heat_map(neutral, "overview"))
    assert ratio.values.shape == heat_map(found, "overview").values.shape and (ratio.values != 1).any()
    same = relative(heat_map(found, "overview"), heat_map(found, "overview"))
    np.testing.assert_allclose(same.values, 1.0)


def noise_with_a_head(grid, box, source, cell, head=(1, 2)):
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
    found = noise_with_a_head(grid, box, source, cell)
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
    nulls = [(0.2, [0.2, 0.2]), (3, [1, 2]), (0, [1, 2]), (2, [1, 2, 3, 4])]  # equal ones count half
    assert [percentile(own, others) for own, others in nulls] == pytest.approx([0.5, 1.0, 0.0, 0.375])


def test_sinks_are_found_and_left_out():
    """A token that every event reads is a sink; one that a single event reads is not."""
    found = noise_with_a_head((6, 6), (0.0, 0.0, 60.0, 60.0), (60, 60), (1, 4))
    found.events[:] = [Event(BEFORE, 40, 0), Event("x1", 41, 0), Event("y1", 42, 0)]
    assert find_sinks(found, "overview") == []
    found.weights[..., 2 + 11] = 0.9
    assert find_sinks(found, "overview") == [13]
    found.events[0] = Event("x1", 40, 0)  # what all coordinates read may as well be what the box is around
    assert find_sinks(found, "overview") == []
    assert heat_map(found, "overview", sinks=[13]).values[1, 5] == 0.0
    assert heat_map(found, "overview").values[1, 5] > 0.8


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


def test_words_are_counted_from_the_box():
    """Two chains whose boxes end at different words meet at 0; what too few have is left out, and so is NaN."""
    a, b = np.array([1.0, 2.0, 10.0, 20.0]), np.array([2.0, 30.0, np.nan, 5.0])
    line = align([a, b, a], [2, 1, None], least=2)
    assert line.at == (-1, 0) and [(m.value, m.n) for m in line.mean] == [(2.0, 2), (20.0, 2)]
    assert align([a, b], [2, 1], least=1).at == (-2, -1, 0, 1, 2)
    with pytest.raises(R3labError, match="no word has values of 3"):
        align([a, b], [2, 1], least=3)
    with pytest.raises(R3labError, match="2 rows of values and 1 forks"):
        align([a, b], [2])


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
    for count in (0, 7):
        with pytest.raises(R3labError, match=f"{count} lines cannot be drawn"):
            persistence({"mass": {str(n): line(0.1, 0.2) for n in range(count)}})


@pytest.fixture(scope="module")
def mistaken(recorded, samples) -> tuple[Policy, Trajectory, int]:
    """A policy, a sampled trajectory that looked and answered wrongly, and its first look with a crop."""
    for seed in range(40):
        for t in rollout(recorded[0], samples, 4, seed=seed, max_new_tokens=60):
            if t.answer not in (None, t.truth["answer"]) and any(look.crop for look in t.looks):
                return recorded[0], t, next(n for n, look in enumerate(t.looks) if look.crop)
    raise AssertionError("the taught policy never looked and answered wrongly")


@torch.no_grad()
def fresh(policy: Policy, t: Trajectory, start: int) -> float:
    """Sum of the log-probabilities of the sampled tokens from `start` on, from one plain forward."""
    logp = policy.logits(policy.hidden(policy.rows([row_of(policy, t, {})])))[0].log_softmax(-1)
    return sum(float(logp[i - 1, t.ids[i]]) for i in range(start, len(t.ids)) if t.kinds[i] == Kind.SAMPLED)


def test_the_own_crop_gives_the_record_back(mistaken):
    """The same tokens, and the log-probabilities that were recorded at sampling."""
    policy, t, look = mistaken
    tail = after_look(t, look)
    own = Alternative(TAKEN, box=t.looks[look].box)
    again = joined(begin(policy, t, look, own), t, tail)
    assert again.ids == t.ids
    assert again.kinds == t.kinds
    assert [x.span for x in again.looks] == [x.span for x in t.looks]
    again.check()
    (outcome,) = replay(policy, t, look, [own])
    assert outcome.given == pytest.approx(sum(p for p in t.logprobs[tail:] if p is not None), abs=1e-4)


def test_every_alternative_equals_a_fresh_forward(mistaken):
    """Crops of other sizes, noise, none at all, in one batch with a shared beginning: as each alone."""
    policy, t, look = mistaken
    own, *others = crop_value(policy, t, look)
    named = {one.alternative.name: one for one in others}
    tail, corrected = after_look(t, look), right_text(policy, t)
    assert own.alternative.name == TAKEN and len(others) > 8
    for outcome in [own, *others][::2]:
        begun = begin(policy, t, look, outcome.alternative)
        assert outcome.given == pytest.approx(fresh(policy, joined(begun, t, tail), len(begun.ids)), abs=1e-4)
        assert outcome.right == pytest.approx(fresh(policy, joined(begun, corrected, tail), len(begun.ids)), abs=1e-4)
    assert len({round(o.given, 6) for o in others}) > len(others) // 2
    assert own.change(own) == 0.0 and named[NOTHING].change(own) == named[NOTHING].given - own.given
    assert named[TRUE].alternative.box == tuple(t.truth["regions"][0])


def test_the_right_words_differ_in_the_answer_alone(mistaken):
    """The answer is replaced where it is named after the last crop, and nothing before that changes."""
    policy, t, _ = mistaken
    corrected = right_text(policy, t)
    assert corrected.text.endswith(f"<answer>{t.truth['answer']}</answer>")
    last = max(look.crop_span[1] for look in t.looks if look.crop_span)
    assert corrected.ids[:last] == t.ids[:last]
    right = t.until(len(t.ids))
    right.answer = right.truth["answer"]
    assert right_text(policy, right) is right
    unknown = t.until(len(t.ids))
    unknown.answer, unknown.truth = t.answer, {}
    assert right_text(policy, unknown) is None


def test_greedy_answers_are_those_of_the_loop(mistaken, samples):
    """Going on behind the own crop greedily gives what a greedy rollout gives that took this look."""
    policy, *_ = mistaken
    greedy = [t for t in rollout(policy, samples, temperature=0.0, max_new_tokens=60) if t.answer and t.looks]
    assert greedy
    for t in greedy[:3]:
        if t.looks[0].crop:
            (outcome,) = replay(policy, t, 0, [Alternative(TAKEN, box=t.looks[0].box)])
            assert outcome.answer == t.answer


def test_alternatives_are_what_they_are_called(mistaken):
    """Crops of the same size; noise by seed; the random place is elsewhere; shifted boxes stay in the image."""
    _, t, look = mistaken
    size = (t.looks[look].crop.width, t.looks[look].crop.height)
    found, again, other = ({a.name: a for a in alternatives_of(t, look, seed)} for seed in (1, 1, 2))
    assert all(a.crop.size == size for a in found.values() if a.crop)
    blank = np.asarray(found["blank"].crop)
    assert (blank == blank[0, 0]).all()
    drawn = [one["noise"].crop.tobytes() for one in (found, again, other)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_windows_cover_the_image():
    """Every pixel is in a window of each scale, none leaves the image, neighbours overlap by half or more."""
    for box, source in (((10, 10, 40, 30), (211, 97)), ((0, 0, 97, 97), (97, 97)), ((5, 5, 300, 20), (310, 50))):
        for scale in (1.0, 2.0):
            windows = windows_of(box, source, (scale,))
            seen = np.zeros((source[1], source[0]), bool)
            for x1, y1, x2, y2 in windows:
                assert x1 >= 0 and y1 >= 0 and x2 <= source[0] + 1e-6 and y2 <= source[1] + 1e-6
                seen[int(y1) : int(np.ceil(y2)), int(x1) : int(np.ceil(x2))] = True
            assert seen.all()
            first, second = windows[0], windows[min(1, len(windows) - 1)]
            assert intersection(first, second) >= 0.5 * (first[2] - first[0]) * (first[3] - first[1]) - 1e-6


def test_the_value_map_counts_from_no_crop(mistaken):
    """Worth of a window is its log-probability above that without a crop; regret counts from the look taken."""
    policy, t, look = mistaken
    found = value_map(policy, t, look, scales=(2.0,))
    boxes = windows_of(t.looks[look].box, (t.image.width, t.image.height), (2.0,))
    assert [w.box for w in found.windows] == boxes
    (window,) = replay(policy, t, look, [Alternative("w", box=boxes[0])], answers=False)
    assert found.windows[0].worth == pytest.approx(window.right - found.nothing, abs=1e-4)
    assert found.regret == max(0.0, found.best.worth - found.taken)
    flat = ValueMap([Window((0, 0, 50, 100), 2.0, None), Window((50, 0, 100, 100), 4.0, None)], 1.0, 0.0, (100, 100))
    heat = flat.heat(10)
    assert heat.shape == (10, 10)
    assert (heat[:, :5] == 2.0).all() and (heat[:, 5:] == 4.0).all()
    assert flat.regret == 3.0


def test_a_value_map_keeps_no_crops_and_is_the_same_in_parts(mistaken, monkeypatch):
    policy, t, look = mistaken
    kept: dict = {}
    whole = value_map(policy, t, look, features=kept)
    assert not kept, "a store that was lent is read, not filled"
    monkeypatch.setattr("r3lab.explain.worth.AT_ONCE", 7)
    parts = value_map(policy, t, look)
    assert len(parts.windows) == len(whole.windows) > 7
    assert [w.box for w in parts.windows] == [w.box for w in whole.windows]
    assert [w.worth for w in parts.windows] == pytest.approx([w.worth for w in whole.windows], abs=1e-4)
    assert (parts.taken, parts.nothing) == pytest.approx((whole.taken, whole.nothing), abs=1e-4)


def test_the_shipped_head_foretells_where_a_look_is_worth_more(shipped):
    """On photographs that it did not learn from, far better than attention, and without a look at what came after."""
    samples = [s for s in (get_world("badges").sample("validation", i, 7) for i in range(24)) if s.needs_look][:6]
    head, found = WorthHead.of(shipped), []
    for t in rollout(shipped, samples, temperature=0.0, max_new_tokens=96):
        if t.answer is None or t.looks[0].crop is None:
            continue
        value, foretold = value_map(shipped, t, 0), head.foretell(shipped, t, 0)
        attended = rows(shipped, t)
        raw = heat_map(attended, OVERVIEW, attended.box_rows(0))
        found.append((agreement(foretold, value), agreement(raw, value)))
        blank = Image.new("RGB", (t.looks[0].crop.width, t.looks[0].crop.height))
        other = joined(begin(shipped, t, 0, Alternative("blank", crop=blank)), t, after_look(t, 0))
        assert np.allclose(head.foretell(shipped, other, 0).values, foretold.values, atol=1e-5)
    own, other = np.mean(found, 0)
    assert len(found) >= 4 and own >= 0.35 and own > other + 0.1, found


def test_a_worth_head_is_fitted_kept_and_belongs_to_its_policy(mistaken, tmp_path):
    """Two fits of a seed are the same; what is kept is read; another policy, no file and a broken one are told."""
    policy, t, look = mistaken
    state = torch.random.get_rng_state()
    one, two = (fit_head(policy, [(t, look)] * 2, epochs=3, progress=False) for _ in range(2))
    assert torch.equal(state, torch.random.get_rng_state())
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True))
    one.save(tmp_path)
    again = WorthHead.load(tmp_path)
    want = one.foretell(policy, t, look)
    assert np.array_equal(again.foretell(policy, t, look).values, want.values)
    assert want.values.shape == rows(policy, t).images[OVERVIEW].grid[::-1]
    with pytest.raises(R3labError, match="belongs to another policy"):
        WorthHead(len(one.mean) + 2).foretell(policy, t, look)
    assert WorthHead.of(policy) is None
    (tmp_path / HEAD).write_bytes(b"no")
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(R3labError, match="is no worth head"):
            WorthHead.load(folder)
    with pytest.raises(R3labError, match="on one grid"):
        fit_head(policy, [], progress=False)


def test_what_a_worth_head_sees_lies_on_the_overview_of_every_family(family_policy, ragged):
    for t in ragged:
        number = next((n for n, one in enumerate(t.looks) if one.crop is not None), None)
        if number is not None:
            seen, cells = seen_of(family_policy, t, number)
            assert seen.shape[1:] == cells.values.shape and torch.isfinite(seen).all()


def test_cut_attention_is_attention_with_a_mask(recorded):
    """As a forward pass whose mask hides the span from these states; later layers alone change less or other."""
    policy, (t, *_) = recorded
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


def flat(t, values) -> HeatMap:
    """A map of the overview."""
    size = (t.image.width, t.image.height)
    return HeatMap(np.asarray(values, np.float32), (0.0, 0.0, float(size[0]), float(size[1])), size)


def test_rank_correlation_by_hand():
    """Worked cases with and without ties, and Pearson's correlation of the ranks written out."""
    up = np.arange(6.0)
    assert (spearman(up, up**3), spearman(up, -np.exp(up))) == pytest.approx((1.0, -1.0))
    assert spearman(np.array([1.0, 2, 3, 4, 5]), np.array([2.0, 1, 4, 3, 5])) == pytest.approx(1 - 6 * 4 / (5 * 24))
    a, b = np.array([1.0, 1, 2, 3, 3, 3]), np.array([5.0, 4, 4, 4, 9, 7])
    ranks = np.array([0.5, 0.5, 2, 4, 4, 4]), np.array([3.0, 1, 1, 1, 5, 4])
    assert spearman(a, b) == pytest.approx(np.corrcoef(*ranks)[0, 1])
    assert spearman(np.ones(4), up[:4]) == 0.0


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
    """Trapezoids of probabilities; the interval of a mean is as wide as its spread allows."""
    curve = Curve((0.0, 0.5, 1.0), (0.0, float(np.log(0.5)), float(np.log(0.1))))
    assert curve.area == pytest.approx(0.5 * 0.75 + 0.5 * 0.3)
    one = mean_interval([0.25] * 5)
    assert (one.value, one.low, one.high) == (0.25, 0.25, 0.25)
    wide = mean_interval(np.linspace(0, 1, 400).tolist())
    assert wide.low < 0.5 < wide.high and wide.high - wide.low == pytest.approx(4 * (1 / 12 / 400) ** 0.5, rel=0.15)
    for wrong in ([], [1.0, float("nan")]):
        with pytest.raises(R3labError, match="at least one number"):
            mean_interval(wrong)


def test_curves_begin_and_end_where_they_must(recorded):
    """Nothing deleted and all inserted: the record's own log-probability; the other ends are the blank photograph."""
    policy, (t, *_) = recorded
    heat = flat(t, np.random.default_rng(0).random((8, 8)))
    found = deletion_insertion(policy, t, heat, steps=4)
    own = sum(p for p in t.logprobs[after_look(t, 0) :] if p is not None)
    assert found.deletion.parts == found.insertion.parts == (0.0, 0.25, 0.5, 0.75, 1.0)
    assert found.deletion.logprobs[0] == pytest.approx(own, abs=1e-4)
    assert found.insertion.logprobs[-1] == pytest.approx(own, abs=1e-4)
    assert found.deletion.logprobs[-1] == pytest.approx(found.insertion.logprobs[0], abs=1e-4)
    assert len({round(v, 6) for v in found.deletion.logprobs}) > 2
    opposite = deletion_insertion(policy, t, replace(heat, values=-heat.values), steps=4)
    left = opposite.insertion.logprobs[2], found.deletion.logprobs[2]  # the same half of the photograph
    assert left[0] == pytest.approx(left[1], abs=1e-4)


def test_curves_follow_the_order_of_the_map(recorded, monkeypatch):
    """Where each cell is worth a known number of nats, both curves are the running sums in the map's order."""
    policy, (t, *_) = recorded
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
            found.append(torch.tensor([0.0, -lost], dtype=torch.float64))
        return found

    monkeypatch.setattr("r3lab.explain.maps.tail_logprobs", known)
    found = deletion_insertion(policy, t, heat, steps=4)
    assert found.deletion.logprobs == (0.0, -3.0, -4.5, -5.0, -5.0)
    assert found.insertion.logprobs == (-5.0, -2.0, -0.5, 0.0, 0.0)
    opposite = deletion_insertion(policy, t, replace(heat, values=-heat.values), steps=4)
    assert opposite.deletion.logprobs == (0.0, 0.0, -0.5, -2.0, -5.0)
    assert found.deletion.area < opposite.deletion.area and found.insertion.area > opposite.insertion.area
    assert deletion_insertion(policy, t, heat, steps=9).deletion == found.deletion  # no more steps than cells


def test_blanking_reaches_the_overview_and_the_crop(recorded):
    """The record's tokens stay; the photograph is blank there, and so is what the crop shows of it."""
    _, (t, *_) = recorded
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


def noise(w: int = 60, h: int = 44, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (h, w, 3), dtype=np.uint8))


def test_scenes_change_what_they_say_and_nothing_else():
    image, other, box = noise(), noise(seed=1), (10.0, 8.0, 30.0, 20.0)
    before, inside = np.asarray(image), (slice(8, 20), slice(10, 30))
    for changed in (surrounded(image, other, [box]), recoloured(image, 120, [box])):
        assert changed.size == image.size
        assert (np.asarray(changed)[inside] == before[inside]).all()
        assert (np.asarray(changed)[20:] != before[20:]).any()
    for changed in (filled(image, [box]), pasted(image, other, box)):
        after = np.asarray(changed).copy()
        assert (after[inside] != before[inside]).any()
        after[inside] = before[inside]
        assert (after == before).all()
    moved = np.asarray(ImageChops.offset(image, 7, 5))  # what leaves on one side comes in on the other
    assert (moved[5:, 7:] == before[:-5, :-7]).all() and (moved[:5, :7] == before[-5:, -7:]).all()
    assert all(max(x / 60, y / 44) >= 0.25 for x, y in shifts((60, 44), 8))
    assert all(90 <= angle <= 270 for n in (1, 3, 8) for angle in angles(n))
    assert shaped((10, 10, 20, 20), (40, 20), (60, 44)) == (5, 10, 25, 20), "wider, of the proportions that are wanted"
    assert shaped((0, 0, 4, 30), (20, 20), (60, 44)) == (0, 0, 30, 30), "no further than the image goes"
    assert shaped((0, 0, 4, 44), (90, 10), (60, 44)) == (0, 0, 60, 44), "as far as there is room"
    dim = Image.new("RGB", (4, 4), (90, 60, 30))
    soft = Image.fromarray((before // 8 + 100).astype(np.uint8))
    same = np.asarray(toned(soft, dim)).astype(int)
    assert np.abs(same.reshape(-1, 3).mean(0) - (90, 60, 30)).max() < 1, "in its light"
    assert np.ptp(same - np.asarray(soft), axis=(0, 1)).max() == 0, "and nothing else"
    assert np.asarray(smoothed(image, 3)).std() < 0.3 * before.std()


def test_a_turn_of_colours_leaves_the_lightness():
    """Grey gets a colour, red becomes green or blue; what is light stays light."""
    grey = Image.new("RGB", (8, 8), (128, 128, 128))
    coloured = np.asarray(recoloured(grey, 180, [])).reshape(-1, 3).mean(0)
    assert np.ptp(coloured) > 60
    soft = Image.fromarray((np.asarray(noise()) // 4 + 90).astype(np.uint8))
    turned = recoloured(soft, 140, [])
    light = [np.asarray(one.convert("L"), dtype=float) for one in (soft, turned)]
    assert np.abs(light[0] - light[1]).mean() < 4
    red = np.asarray(recoloured(Image.new("RGB", (4, 4), (200, 60, 60)), 180, [])).reshape(-1, 3).mean(0)
    assert red[0] < red[1] and red[0] < red[2]
