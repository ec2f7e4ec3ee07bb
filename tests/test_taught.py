"""A lesson as a rollout: the same tokens as the cold start trains on, the same record as the loop keeps."""

from __future__ import annotations

from pathlib import Path

import pytest

from r3lab.core.errors import R3labError
from r3lab.core.geometry import Box
from r3lab.models import tiny
from r3lab.models.policy import Policy
from r3lab.recipes.lessons import vocabulary
from r3lab.rollout.loop import rollout
from r3lab.train.sft import TEACHER, encode_batch, taught
from r3lab.trajectory import Kind, load, save
from r3lab.vlir.rationale import in_turn
from r3lab.vlir.sample import Rationale, Sample
from r3lab.vlir.worlds import WORLDS, get_world


def test_a_lesson_is_what_the_cold_start_trains_on_and_keeps_every_invariant(
    family_policy: Policy, tmp_path: Path
) -> None:
    inside = [s for s in (get_world("badges").sample("train", i) for i in range(12)) if max(s.regions[0]) < 470]
    for index, sample in enumerate(inside[:4]):  # not at the edge: these policies write coarse steps of their frames
        rationale = get_world("badges").rationale(sample)
        lesson = taught(family_policy, sample, rationale)
        lesson.check()
        [row], [mask] = encode_batch(family_policy, [(sample, rationale)])
        assert lesson.ids == row.ids and lesson.sampled_mask == mask
        assert (lesson.answer, lesson.finish, lesson.model) == (sample.answer, "answered", TEACHER)
        assert [look.crop is not None for look in lesson.looks] == [True] * len(rationale.boxes)
        assert load(save(lesson, tmp_path / str(index))) == lesson


def test_of_what_a_policy_wrote_itself_its_record_comes_back(policy: Policy) -> None:
    """Text, boxes and log-probabilities of a greedy rollout, given back as a rationale (boxes lie on the frame)."""
    samples = [get_world("badges").sample("test", i) for i in range(8)]
    own = [
        t for t in rollout(policy, samples, temperature=0) if t.finish == "answered" and all(v.valid for v in t.looks)
    ]
    assert sum(bool(t.looks) for t in own) >= 2
    for t in own:
        parts: list[str | Box] = [""]
        for at, (piece, kind) in enumerate(zip(t.pieces, t.kinds, strict=True)):
            look = next((look for look in t.looks if look.span[0] <= at < look.span[1]), None)
            if look is not None and at == look.span[0]:
                assert look.box is not None
                parts += [look.box, ""]
            elif look is None and kind == Kind.SAMPLED:
                parts[-1] = f"{parts[-1]}{piece}"
        sample = next(s for s in samples if s.id == t.sample_id)
        again = taught(policy, sample, Rationale(tuple(parts)))
        assert again.ids == t.ids and again.looks == t.looks and again.pieces == t.pieces
        gaps = [abs(a - b) for a, b in zip(again.logprobs, t.logprobs, strict=True) if a is not None and b is not None]
        assert max(gaps) < 1e-4


@pytest.mark.parametrize("world", WORLDS)
def test_every_worlds_lesson_is_taken(world: str) -> None:
    random = tiny.create(vocabulary(), seed=0)
    for index in range(3):
        sample = WORLDS[world].sample("train", index)
        rationale = WORLDS[world].rationale(sample)
        assert len(taught(random, sample, rationale).looks) == len(rationale.boxes)


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        (("<think>It is 7.</think>",), "does not end with one answer"),
        (("<think>a</think><answer>7</answer> And more.",), "does not end with one answer"),
        (('<think>{"bbox_2d": [40, 40, 30, 50]}</think><answer>7</answer>',), "x2 <= x1"),
    ],
)
def test_what_the_loop_would_not_take_is_refused(policy: Policy, parts: tuple[str, ...], words: str) -> None:
    sample = get_world("badges").sample("train", 0)
    with pytest.raises(R3labError, match=f"'badges-train-0-0'.*{words}"):
        taught(policy, sample, Rationale(parts))


def test_a_surprise_is_seen_in_the_log_probabilities(policy: Policy) -> None:
    """The taught words are likely to the policy that learned them, other ones are not."""
    sample: Sample = next(s for s in (get_world("badges").sample("train", i) for i in range(20)) if s.needs_look)
    usual = taught(policy, sample, get_world("badges").rationale(sample))
    odd = taught(policy, sample, in_turn([("small read too is The.", sample.regions[0]), ("It shows.", None)], sample))
    mean = [sum(v for v in t.logprobs if v is not None) / sum(t.sampled_mask) for t in (usual, odd)]
    assert mean[0] > mean[1] + 0.5
