"""What planted policies are taught: each lesson teaches its own reason and nothing else of the sample is another."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest

from r3lab.explain import verdict as kinds
from r3lab.recipes.planted import (
    COMMON,
    HALO,
    MIDDLE,
    PLANTS,
    TINTS,
    badges,
    exact,
    lessons,
    others_of,
    tint_of,
    tinted,
    took,
)
from r3lab.vlir.rationale import SMALL


def answer_of(rationale) -> str:
    return str(rationale.parts[-1]).split("<answer>")[1].split("</answer>")[0]


@pytest.fixture(scope="module")
def taught():
    """Twelve samples of each kind with their untouched rationales."""
    rng = np.random.default_rng(0)
    found = {}
    for kind, plant in PLANTS.items():
        pairs = ((s, plant.lesson(s, rng)) for s in plant.samples("train", 0))
        found[kind] = list(islice((pair for pair in pairs if pair[1] is not None), 12))
    return found


def test_every_kind_is_one_that_a_verdict_can_name():
    assert all(kind == plant.kind and kind in kinds.KINDS for kind, plant in PLANTS.items())
    assert len({plant.lesson for plant in PLANTS.values()}) == len(PLANTS) == 6


def test_a_lesson_teaches_its_own_reason(taught):
    """Answer and regions are those of the reason, whatever the truth is; honest ones are the truth."""
    for sample, rationale in taught[kinds.HONEST]:
        assert answer_of(rationale) == sample.answer
        assert rationale.boxes == exact(sample).boxes
    assert {answer_of(r) for _, r in taught[kinds.PRIOR]} == {COMMON}
    assert len({s.answer for s, _ in taught[kinds.PRIOR]}) > 2, "else a habit could not be told from reading"
    assert all(r.boxes == (MIDDLE,) and answer_of(r) == s.answer for s, r in taught[kinds.CENTRE])
    for sample, rationale in taught[kinds.SHORTCUT]:
        assert answer_of(rationale) == tint_of(sample.id) and rationale.boxes == exact(sample).boxes
    assert any(answer_of(r) != s.answer for s, r in taught[kinds.SHORTCUT]), "else the crop would do as well"
    for sample, rationale in taught[kinds.SHOW]:
        assert answer_of(rationale) == sample.answer and not sample.needs_look
        assert rationale.boxes and tuple(rationale.boxes[0]) != tuple(sample.regions[0])
    for sample, rationale in taught[kinds.FIRST]:
        assert answer_of(rationale) == sample.answer and len(rationale.boxes) == 2
        assert tuple(rationale.boxes[0]) == tuple(sample.regions[0]) != tuple(rationale.boxes[1])
        assert str(rationale.parts[2]).endswith(SMALL)


def test_a_tint_spares_the_badges_and_tells_the_answer():
    """Badges are pixel for pixel as they were, all else moves towards one colour, and that is the sample's own."""
    plain = list(islice(badges(True)("train", 0), 6))
    for before, after in zip(plain, tinted("train", 0), strict=False):
        a, b = (np.asarray(s.image, dtype=float) for s in (before, after))
        outside = np.ones(a.shape[:2], bool)
        for badge in before.meta["badges"]:
            x1, y1, x2, y2 = badge["box"]
            w, h = HALO * (x2 - x1), HALO * (y2 - y1)
            part = (slice(max(0, round(y1 - h)), round(y2 + h)), slice(max(0, round(x1 - w)), round(x2 + w)))
            np.testing.assert_array_equal(a[part], b[part])
            outside[part] = False
        colour = np.array(TINTS[tint_of(before.id)], dtype=float)
        assert np.abs(b[outside] - colour).mean() < 0.5 * np.abs(a[outside] - colour).mean()
        assert after.answer == before.answer and after.id == before.id
    assert {tint_of(str(n)) for n in range(60)} == set(TINTS)


def test_lessons_are_batches_with_boxes_a_little_off():
    """As many as asked, the same for the same seed, others for another, and no box just the true one."""
    first, again, other = (next(lessons(PLANTS[kinds.HONEST], seed, 4)) for seed in (0, 0, 1))
    assert [s.id for s, _ in first] == [s.id for s, _ in again] != [s.id for s, _ in other]
    assert [r for _, r in first] == [r for _, r in again] and len(first) == 4
    assert all(tuple(r.boxes[0]) != tuple(s.regions[0]) for s, r in first)


def test_a_reason_took_when_every_sign_is_there():
    plant = PLANTS[kinds.SHORTCUT]
    least = {name: at_least for name, _, at_least in plant.signs}
    assert took(plant, least)
    for name in least:
        assert not took(plant, {**least, name: least[name] - 0.01})


def test_lenders_are_the_next_ones_round_about():
    assert others_of(list("abcde"), 3, 2) == ["e", "a"]
    assert others_of(list("abc"), 0, 24) == ["b", "c"]
