"""Rewards of looking: what is paid, what is fined, and that curiosity fades and cannot wake the dead."""

from __future__ import annotations

import pytest

from r3lab.core.errors import R3labError
from r3lab.core.geometry import Frame
from r3lab.train.rewards import curiosity, look_price, region_checked, repeated
from r3lab.trajectory import ImageRef, Look, Trajectory

TRUTH, NEAR, CLOSE, AWAY = (100, 100, 150, 150), (100, 100, 150, 175), (100, 100, 150, 170), (300, 300, 340, 340)


def rollout_of(*boxes, answer: str = "7", refused: int = 0) -> Trajectory:
    looks = [Look((0, 1), box, box, True) for box in boxes]
    looks += [Look((0, 1), (9, 9, 1, 1), None, False, "empty")] * refused
    t = Trajectory("case", "?", ImageRef("0" * 64, 512, 512), (128, 128), Frame.SOURCE, looks=looks, answer=answer)
    t.truth = {"regions": [TRUTH], "answer": "7", "needs_look": True}
    return t


def test_the_place_is_paid_only_with_the_answer_and_fines_are_due_either_way():
    assert region_checked(rollout_of(NEAR)) == pytest.approx(0.5 * 2 / 3)
    assert region_checked(rollout_of(NEAR, answer="1")) == 0
    assert region_checked(rollout_of(AWAY, NEAR)) == region_checked(rollout_of(NEAR)), "a new place is no useless look"
    for answer in ("7", "1"):
        fined = region_checked(rollout_of(NEAR, CLOSE, CLOSE, answer=answer, refused=1))
        free = region_checked(rollout_of(CLOSE, answer=answer))
        assert fined == pytest.approx(free - 0.3)
    assert region_checked(rollout_of()) == 0


def test_a_repeated_look_meets_an_earlier_one_more_than_allowed():
    t = rollout_of(NEAR, AWAY, CLOSE)  # IoU of the first and the last 0.93
    assert (repeated(t), repeated(t, same=0.95)) == (1, 0)
    assert repeated(rollout_of(NEAR, (100, 100, 125, 140))) == 0, "a closer look at a part"
    assert repeated(rollout_of(refused=2)) == 0


def test_a_price_is_the_same_for_every_look():
    assert look_price(rollout_of(NEAR, AWAY, refused=1), 0.2) == pytest.approx(-0.6)


def test_curiosity_fades_as_looking_becomes_common_and_pays_nobody_where_nobody_looked():
    looks, none = rollout_of(NEAR), rollout_of()
    assert curiosity([looks, none, none, none], 0.5, 2.0) == pytest.approx([0.5, 0, 0, 0])
    assert curiosity([looks, none, none, looks], 0.5) == [0, 0, 0, 0]
    assert curiosity([looks, looks, looks, looks], 0.5) == [0, 0, 0, 0], "no fine beyond the goal"
    assert curiosity([none] * 4, 0.5) == [0, 0, 0, 0], "no difference in the group, so nothing is learned"
    assert curiosity([rollout_of(refused=1), none], 0.5) == [0, 0], "a refused box is no look"
    for group, goal in (([], 0.5), ([none], 1.5), ([none], -0.1)):
        with pytest.raises(R3labError, match="goal from 0 to 1"):
            curiosity(group, goal)
