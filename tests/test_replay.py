"""Replays: the record comes back as it was, alternatives are those of fresh rollouts, the prefix is read once."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from r3lab.core.errors import R3labError
from r3lab.core.geometry import intersection
from r3lab.explain.interventions import (
    NOTHING,
    TAKEN,
    TRUE,
    WHOLE,
    Alternative,
    ValueMap,
    Window,
    after_look,
    alternatives_of,
    begin,
    crop_value,
    joined,
    replay,
    right_text,
    value_map,
    windows_of,
)
from r3lab.models.policy import Policy
from r3lab.rollout.loop import rollout
from r3lab.rollout.sequence import row_of
from r3lab.trajectory import Kind, Trajectory


@pytest.fixture(scope="module")
def recorded(taught_folder, samples) -> tuple[Policy, Trajectory]:
    """A policy and a sampled trajectory that looked and answered wrongly."""
    policy = Policy.load(taught_folder)
    for seed in range(40):
        for t in rollout(policy, samples, 4, seed=seed, max_new_tokens=60):
            if t.answer not in (None, t.truth["answer"]) and any(look.crop for look in t.looks):
                return policy, t
    raise AssertionError("the taught policy never looked and answered wrongly")


def look_of(t: Trajectory) -> int:
    """The first look with a crop."""
    return next(n for n, look in enumerate(t.looks) if look.crop)


@torch.no_grad()
def fresh(policy: Policy, t: Trajectory, start: int) -> float:
    """Sum of the log-probabilities of the sampled tokens from `start` on, from one plain forward."""
    logp = policy.logits(policy.hidden(policy.rows([row_of(policy, t, {})])))[0].log_softmax(-1)
    return sum(float(logp[i - 1, t.ids[i]]) for i in range(start, len(t.ids)) if t.kinds[i] == Kind.SAMPLED)


def test_the_own_crop_gives_the_record_back(recorded):
    """The same tokens, and the log-probabilities that were recorded at sampling."""
    policy, t = recorded
    look = look_of(t)
    tail = after_look(t, look)
    own = Alternative(TAKEN, box=t.looks[look].box)
    again = joined(begin(policy, t, look, own), t, tail)
    assert again.ids == t.ids
    assert again.kinds == t.kinds
    assert [x.span for x in again.looks] == [x.span for x in t.looks]
    again.check()
    (outcome,) = replay(policy, t, look, [own])
    assert outcome.given == pytest.approx(sum(p for p in t.logprobs[tail:] if p is not None), abs=1e-4)


def test_every_alternative_equals_a_fresh_forward(recorded):
    """Crops of other sizes, noise, none at all, in one batch with a shared beginning: as each alone."""
    policy, t = recorded
    look = look_of(t)
    value = crop_value(policy, t, look)
    tail, corrected = after_look(t, look), right_text(policy, t)
    assert len(value.outcomes) > 8
    for outcome in value.outcomes:
        begun = begin(policy, t, look, outcome.alternative)
        assert outcome.given == pytest.approx(fresh(policy, joined(begun, t, tail), len(begun.ids)), abs=1e-4)
        assert outcome.right == pytest.approx(fresh(policy, joined(begun, corrected, tail), len(begun.ids)), abs=1e-4)
    assert len({round(o.given, 6) for o in value.outcomes}) > len(value.outcomes) // 2
    assert value.change(TAKEN) == 0.0
    assert value.change(NOTHING) == value.named(NOTHING).given - value.named(TAKEN).given
    assert value.change_of_right(WHOLE) is not None
    assert value.named(TRUE).alternative.box == tuple(t.truth["regions"][0])


def test_the_right_words_differ_in_the_answer_alone(recorded):
    """The answer is replaced where it is named after the last crop, and nothing before that changes."""
    policy, t = recorded
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


def test_greedy_answers_are_those_of_the_loop(recorded, samples):
    """Going on behind the own crop greedily gives what a greedy rollout gives that took this look."""
    policy, _ = recorded
    greedy = [t for t in rollout(policy, samples, temperature=0.0, max_new_tokens=60) if t.answer and t.looks]
    assert greedy
    for t in greedy[:3]:
        if t.looks[0].crop:
            (outcome,) = replay(policy, t, 0, [Alternative(TAKEN, box=t.looks[0].box)])
            assert outcome.answer == t.answer


def test_what_cannot_be_replayed_is_said(recorded):
    """No such look, a look without a crop, nothing written after it, a box outside."""
    policy, t = recorded
    look = look_of(t)
    with pytest.raises(R3labError, match="there is no look 99"):
        replay(policy, t, 99, [])
    with pytest.raises(R3labError, match="there is no look -1"):
        crop_value(policy, t, -1)
    with pytest.raises(R3labError, match="nothing was written after look"):
        replay(policy, t.until(t.looks[look].crop_span[1]), look, [Alternative("nothing")])
    with pytest.raises(R3labError, match="'far away' has a box that cannot be shown"):
        replay(policy, t, look, [Alternative("far away", box=(9e5, 9e5, 9e5 + 50, 9e5 + 50))])
    assert replay(policy, t, look, []) == []


def test_alternatives_are_what_they_are_called(recorded):
    """Crops of the same size; noise by seed; the random place is elsewhere; shifted boxes stay in the image."""
    _, t = recorded
    look = look_of(t)
    size = (t.looks[look].crop.width, t.looks[look].crop.height)
    found = {a.name: a for a in alternatives_of(t, look, seed=1)}
    assert all(a.crop.size == size for a in found.values() if a.crop)
    blank = np.asarray(found["blank"].crop)
    assert (blank == blank[0, 0]).all()
    again = {a.name: a for a in alternatives_of(t, look, seed=1)}
    assert found["noise"].crop.tobytes() == again["noise"].crop.tobytes()
    other = {a.name: a for a in alternatives_of(t, look, seed=2)}
    assert found["noise"].crop.tobytes() != other["noise"].crop.tobytes()


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


def test_the_value_map_counts_from_no_crop(recorded):
    """Worth of a window is its log-probability above that without a crop; regret counts from the look taken."""
    policy, t = recorded
    look = look_of(t)
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


def test_a_crop_of_ones_own_is_read_as_it_is(recorded):
    """Pixels of any kind with sides that are multiples of the token size."""
    policy, t = recorded
    look = look_of(t)
    side = policy.layout.factor * 2
    begun = begin(policy, t, look, Alternative("mine", crop=Image.new("RGB", (side, side), (9, 200, 30))))
    assert begun.looks[look].crop_span[1] - begun.looks[look].crop_span[0] == 4
    begun.check()
