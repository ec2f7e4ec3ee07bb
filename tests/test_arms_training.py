"""Policies are trained in any arm: lessons as the loop would record them, rewards by the arm's marks, vision or not."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch

from r3lab.core.arms import ARMS, Arm, get_arm
from r3lab.core.errors import R3labError
from r3lab.core.protocol import Marks, format_ok
from r3lab.models import tiny
from r3lab.recipes.lessons import vocabulary
from r3lab.rollout.loop import rollout
from r3lab.rollout.sequence import rows_of
from r3lab.train.estimators import token_logprobs
from r3lab.train.rewards import PRESETS, preset, well_formed
from r3lab.train.rgrpo import train_rgrpo
from r3lab.train.settings import RgrpoSettings
from r3lab.train.sft import SftSettings, cold_start, encode_batch, taught
from r3lab.train.update import packed_logprobs
from r3lab.trajectory import Kind
from r3lab.vlir.rationale import in_arm, sentences
from r3lab.vlir.sample import Rationale
from r3lab.vlir.worlds import get_world, world_batches

every_arm = pytest.mark.parametrize("arm", ARMS.values(), ids=lambda arm: arm.name)


def lessons(world: str, count: int, arm: Arm):
    made = get_world(world)
    samples = [made.sample("train", i) for i in range(count)]
    return [(s, in_arm(made.rationale(s), s, arm)) for s in samples]


@every_arm
@pytest.mark.parametrize("world", ["badges", "charts", "trails"])
def test_a_lesson_is_what_the_loop_records_in_the_arm(world, arm):
    """Token for token: what follows a box, how an answer ends; what is sampled carries loss, and nothing else."""
    policy = tiny.create(vocabulary(), seed=0)
    for sample, rationale in lessons(world, 6, arm):
        lesson = taught(policy, sample, rationale, arm)  # raises if the loop would have gone on otherwise
        [row], [mask] = encode_batch(policy, [(sample, rationale)], arm)
        assert lesson.ids == row.ids and lesson.sampled_mask == mask and lesson.answer == sample.answer
        looks = 0 if arm.looks == 0 else len(rationale.boxes)
        assert len(lesson.looks) == looks
        pictures = lesson.kinds.count(Kind.CROP)
        assert (pictures > 0) == (looks > 0 and arm.back != "nothing")
        assert format_ok(lesson.response_text.removesuffix(policy.piece(policy.tokenizer.eos_token_id)), arm.marks)


def test_families_too(family_policy):
    """Other frames, other markers: the whole image again has as many tokens as the overview."""
    arm = get_arm("full-image-again")
    world = get_world("badges")
    sample = next(s for s in (world.sample("train", i) for i in range(30)) if s.needs_look and max(s.regions[0]) < 470)
    lesson = taught(family_policy, sample, in_arm(world.rationale(sample), sample, arm), arm)
    assert lesson.kinds.count(Kind.CROP) == lesson.kinds.count(Kind.OVERVIEW) > 0


def test_what_an_arm_keeps_of_a_rationale():
    """By hand: one look goes to the last region, no look keeps the words, an unknown arm is an error."""
    sample = replace(get_world("trails").sample("train", 0), answer="8", question="Q?")
    one, two = (0.0, 0.0, 9.0, 9.0), (5.0, 5.0, 20.0, 20.0)
    end = "It shows 8.</think><answer>8</answer>"
    told = Rationale(("<think>A is small.", one, "It says B. B is small.", two, end))
    assert sentences(told) == ["A is small.", "It says B. B is small.", "It shows 8."]
    assert in_arm(told, sample, get_arm("one-look")).parts == ("<think>A is small.", two, end)
    assert in_arm(told, sample, get_arm("direct")).parts == ("<answer>8</answer>",)
    [text] = in_arm(told, sample, get_arm("staged-llava-cot")).parts
    assert text == (
        "<SUMMARY>Q?</SUMMARY><CAPTION>A is small.</CAPTION><REASONING>It says B. B is small. It shows 8.</REASONING>"
        "<CONCLUSION>8</CONCLUSION>"
    )
    [text] = in_arm(told, sample, get_arm("staged-mulberry")).parts
    assert text.endswith("\n### Step 2: It shows 8.\n### The final answer is: 8")
    with pytest.raises(R3labError, match="'mine'"):
        in_arm(told, sample, Arm("mine", "of nobody"))


def test_format_by_hand():
    conclusion, heading = Marks("<C>", "</C>"), Marks("### Answer:", "")
    for text, marks, ok in (
        ("words <C>7</C>", conclusion, True),
        ("words <answer>7</answer>", conclusion, False),
        ("<C>7</C> more", conclusion, False),
        ("words ### Answer: 7", heading, True),
        ("words ### Answer:  ", heading, False),
        ("words", heading, False),
        ("words ### Answer: 7\n### Answer: 8", heading, False),
        ("words ### Answer: 7\nand on", heading, False),
    ):
        assert format_ok(text, marks) is ok, text


def test_an_answer_that_was_cut_off_is_no_format():
    """Nothing but the end closes Mulberry's answer: a policy once learned to write headings until its tokens ran out,
    and was paid for it."""
    arm = get_arm("staged-mulberry")
    [(sample, rationale)] = lessons("badges", 1, arm)
    whole = taught(tiny.create(vocabulary(), seed=0), sample, rationale, arm)
    assert well_formed(whole) == 1.0
    assert well_formed(replace(whole, answer=None)) == 0.0


def test_a_preset_without_a_part():
    assert list(preset("grounded without region")) == ["accuracy", "format", "look cost"]
    assert list(preset("grounded")) == list(PRESETS["grounded"])
    with pytest.raises(R3labError, match="has no 'regoin'.*region"):
        preset("grounded without regoin")
    with pytest.raises(R3labError, match="unknown reward preset 'ground'"):
        preset("ground without region")


@every_arm
def test_steps_in_an_arm(arm):
    """A cold start lowers the loss of what the arm writes; a step of R-GRPO rolls out in the arm and is scored."""
    policy = tiny.create(vocabulary(), seed=0)
    pairs, rows = lessons("badges", 8, get_arm("interleaved")), []
    torch.manual_seed(0)
    cold_start(policy, iter([pairs] * 8), SftSettings(steps=8, learning_rate=3e-3, arm=arm.name), rows.append, False)
    assert rows[-1]["loss"] < 0.8 * rows[0]["loss"]
    seen, log = [], []
    settings = RgrpoSettings(steps=1, prompts=2, group=2, max_new_tokens=12, arm=arm.name)
    batches = world_batches("badges", 2, 0)
    train_rgrpo(policy, batches, settings, log.append, False, watch=lambda step, found: seen.extend(found))
    assert {t.arm for t in seen} == {arm.name} and len(seen) == 4 and "reward" in log[0]


def test_an_unknown_arm_is_named():
    policy = tiny.create(vocabulary(), seed=0)
    with pytest.raises(R3labError, match="Unknown arm 'interleave'.*interleaved"):
        train_rgrpo(policy, world_batches("badges", 2, 0), RgrpoSettings(arm="interleave"), lambda row: None, False)


def test_the_vision_tower_learns_only_if_it_may(policy, samples):
    """Frozen, it stays bit for bit; not frozen, it moves; LoRA and shards say that they cannot."""
    for frozen in (True, False):
        learner = copy.deepcopy(policy)
        before = [p.clone() for module in learner.vision for p in module.parameters()]
        settings = RgrpoSettings(
            steps=2, prompts=3, group=4, max_new_tokens=60, freeze_vision=frozen, learning_rate=1e-3, reward="paper"
        )
        train_rgrpo(learner, iter([samples[:3]] * 2), settings, lambda row: None, False)
        after = [p for module in learner.vision for p in module.parameters()]
        same = [torch.equal(a, b) for a, b in zip(before, after, strict=True)]
        assert all(same) if frozen else not all(same)
    with pytest.raises(R3labError, match="not with --shard"):
        settings = RgrpoSettings(freeze_vision=False, shard=True)
        train_rgrpo(copy.deepcopy(policy), iter([samples[:2]]), settings, lambda row: None, False)


def test_gradients_to_the_vision_tower_are_those_of_plain_rows(policy, samples):
    """Through packed rows whose images are encoded with a graph, against a row each; ratios begin at one."""
    store: dict = {}
    found = rollout(policy, samples[:2], 2, seed=3, max_new_tokens=40, features=store)
    weights = [p for module in policy.vision for p in module.parameters()]
    ways = []
    for packed in (True, False):
        policy.model.zero_grad(set_to_none=True)
        if packed:
            now = packed_logprobs(policy, found, {}, 1.0, graph=True)
            new, mask = now.new, now.mask
            assert float(((now.new - now.old) * mask).detach().abs().max()) < 1e-4
        else:
            new, _, mask = token_logprobs(policy, rows_of(policy, found, {}, graph=True), found, 1.0)
        (new * mask).sum().backward()
        ways.append(torch.cat([p.grad.flatten() for p in weights if p.grad is not None]))
    policy.model.zero_grad(set_to_none=True)
    assert float(ways[0].norm()) > 0 and ways[0].shape == ways[1].shape
    assert float((ways[0] - ways[1]).norm()) < 1e-3 * float(ways[1].norm())
