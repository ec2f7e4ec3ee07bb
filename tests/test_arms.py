"""The arms: what is asked, what a box brings, how an answer is read; lessons, rewards and steps of training in each."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import torch
from test_rollout import fresh_logprobs

from r3lab.core.arms import ARMS, FORCED, Arm, get_arm
from r3lab.core.errors import R3labError
from r3lab.core.geometry import Frame
from r3lab.core.images import content_hash, resize
from r3lab.core.protocol import format_ok, question_text, scan
from r3lab.explain.interventions import with_question
from r3lab.models import tiny
from r3lab.models.policy import Policy
from r3lab.recipes.lessons import vocabulary
from r3lab.rollout.loop import rollout
from r3lab.rollout.sequence import prompt_ids, rows_of
from r3lab.show.filmstrip import filmstrip
from r3lab.train.estimators import token_logprobs
from r3lab.train.rewards import PRESETS, deciding_iou, preset, well_formed
from r3lab.train.rgrpo import train_rgrpo
from r3lab.train.settings import RgrpoSettings
from r3lab.train.sft import SftSettings, cold_start, encode_batch, taught
from r3lab.train.update import packed_logprobs
from r3lab.trajectory import Kind, Trajectory, load, save
from r3lab.vlir.rationale import in_arm, sentences
from r3lab.vlir.sample import Rationale, read_vlir, write_vlir
from r3lab.vlir.worlds import WORLDS, get_world, world_batches

NAMES = ("direct", "staged-llava-cot", "staged-mulberry", "boxes-as-text", "full-image-again", "one-look")
BOX = '{"bbox_2d": [100, 100, 500, 500]}'


@lru_cache
def blank() -> Policy:
    """A tiny policy that knows nothing; not to be changed."""
    return tiny.create(vocabulary(), seed=0)


# ------------------------------------------------------------------ the table


def test_the_arms_of_the_table() -> None:
    assert tuple(ARMS) == (*NAMES, "interleaved") and all(get_arm(name).name == name for name in NAMES)
    with pytest.raises(R3labError, match="Unknown arm 'interleave'; known: direct, .* Did you mean 'interleaved'?"):
        get_arm("interleave")
    batches = world_batches("badges", 2, 0)
    with pytest.raises(R3labError, match="Unknown arm 'interleave'.*interleaved"):
        train_rgrpo(blank(), batches, RgrpoSettings(arm="interleave"), lambda row: None, False)


@pytest.mark.parametrize("name", ARMS)
def test_a_prompt_says_what_its_arm_gives_and_how_to_answer(name: str) -> None:
    """No box is spoken of where none is looked at; the marks of the answer are those that are read."""
    arm = get_arm(name)
    text = question_text("Why?", Frame.RELATIVE, (64, 64), arm.opening, arm.closing)
    assert text.startswith("Why?\n") and arm.marks.open in text and arm.marks.close in text
    assert ("bbox_2d" in text) == (arm.looks != 0)
    assert all(event.values is None for event in scan(text, arm.marks))


def test_the_prompt_reaches_a_large_model_and_the_tiny_one_is_asked_the_bare_question(samples) -> None:
    """Of each arm its own; a record that is asked again keeps it."""
    policy = copy.copy(blank())
    assert len({tuple(prompt_ids(policy, "Which digit?", (64, 64), 16, arm)) for arm in ARMS.values()}) == 1
    policy.bare = False
    asked = {name: prompt_ids(policy, "Which digit?", (64, 64), 16, arm) for name, arm in ARMS.items()}
    assert len({tuple(ids) for ids in asked.values()}) == len(ARMS)
    assert question_text("Which digit?", Frame.RELATIVE, (64, 64)) in policy.tokenizer.decode(asked["interleaved"])
    (t,) = rollout(policy, samples[:1], seed=1, max_new_tokens=6, arm=get_arm("direct"))
    assert with_question(policy, t, t.question).ids == t.ids


# ------------------------------------------------------------------ what the loop does


@pytest.fixture(scope="module")
def by_arm(family_policy, samples) -> dict[str, list[Trajectory]]:
    """Rollouts of each arm but the interleaved one (`test_rollout`), with the same seed."""
    settings = {"group": 2, "seed": 3, "max_looks": 2, "max_new_tokens": 44}
    return {name: rollout(family_policy, samples, arm=get_arm(name), **settings) for name in NAMES}


def test_every_arm_keeps_the_invariants_on_every_family(family_policy, by_arm, tmp_path) -> None:
    """Log-probabilities of a fresh forward, a record that holds, and that comes back from the disk with its arm."""
    for name, found in by_arm.items():
        assert {t.arm for t in found} == {name}
        for t in found:
            t.check()
        for t in found[::4]:
            recorded = [p for p in t.logprobs if p is not None]
            assert recorded == pytest.approx(fresh_logprobs(family_policy, t), abs=1e-5)
        assert load(save(found[:1], tmp_path / name)) == found[:1]


def test_what_a_box_brings(family_policy, by_arm) -> None:
    """A crop, the whole overview, or nothing at all, not even a message; no arm gives more looks than it has."""
    valid = {name: [(t, look) for t in found for look in t.looks if look.valid] for name, found in by_arm.items()}
    assert valid["boxes-as-text"] and valid["full-image-again"] and valid["one-look"]
    for name in ("direct", "staged-llava-cot", "staged-mulberry"):
        assert not valid[name] and all(Kind.CROP not in t.kinds for t in by_arm[name])
    assert any(t.looks for t in by_arm["direct"])  # boxes were written, and refused
    for t in by_arm["boxes-as-text"]:
        begun = t.kinds.index(Kind.SAMPLED)
        assert set(t.kinds[begun:]) == {Kind.SAMPLED}
        assert all(look.crop is None and look.valid == (not look.reason) for look in t.looks)
    assert any(not look.valid for t in by_arm["boxes-as-text"] for look in t.looks)
    for t, look in valid["boxes-as-text"]:
        where = (0 <= look.box[0] < look.box[2] <= t.image.width) and (0 <= look.box[1] < look.box[3] <= t.image.height)
        assert where and deciding_iou(t) is not None
    for t, look in valid["full-image-again"]:
        again = resize(t.images[t.image.hash], t.overview)
        assert look.crop.hash == content_hash(again) and (look.crop.width, look.crop.height) == t.overview
        assert look.crop_span[1] - look.crop_span[0] == t.kinds.count(Kind.OVERVIEW)
    assert {sum(look.valid for look in t.looks) for t in by_arm["one-look"]} == {0, 1}


def written(text: str, arm: str, sample, tokens: int = 200) -> Trajectory:
    """A rollout in which the policy writes this text and then ends its turn."""
    policy = blank()
    script = iter([*policy.ids(text), policy.tokenizer.eos_token_id])

    class Scripted(Policy):
        """Writes the script, whatever the model thinks."""

        def logits(self, hidden):
            logits = torch.zeros_like(super().logits(hidden))
            logits[:, next(script)] = 1e4
            return logits

    scripted = Scripted(policy.model, policy.tokenizer, policy.processor)
    (t,) = rollout(scripted, [sample], temperature=0, max_new_tokens=tokens, arm=get_arm(arm))
    t.check()
    return t


@pytest.mark.parametrize(
    ("arm", "text", "answer", "finish"),
    [
        ("staged-llava-cot", "<CONCLUSION>7</CONCLUSION> more", "7", "answered"),
        ("staged-llava-cot", "<answer>7</answer> more", None, "malformed"),
        ("staged-llava-cot", "<CONCLUSION>7", None, "malformed"),
        ("staged-mulberry", "### Step 1: <answer>3</answer>\n### The final answer is: 7", "7", "answered"),
        ("staged-mulberry", "### The final answer is:", None, "malformed"),
        ("direct", "<answer>7</answer> more", "7", "answered"),
    ],
)
def test_the_answer_is_what_stands_in_the_arms_own_marks(samples, arm, text, answer, finish) -> None:
    """Nothing follows a closing mark; the end of the turn closes an answer that has none, and is no part of it."""
    t = written(text, arm, samples[0])
    assert (t.answer, t.finish) == (answer, finish)
    if ARMS[arm].marks.close and answer:
        assert t.response_text.endswith(ARMS[arm].marks.close)


def test_an_answer_that_is_cut_off_is_none(samples) -> None:
    long = "### The final answer is: 7 and on and on and on and on"
    t = written(long, "staged-mulberry", samples[0], len(blank().ids(long)) - 2)
    assert (t.answer, t.finish) == (None, "length") and "### The final answer is: 7 and on" in t.response_text


def test_too_many_looks_are_refused_as_the_arm_says(samples) -> None:
    """A second look of the arm that has one, with a message; boxes as text end like all, without one."""
    t = written(BOX * 2 + "<answer>7</answer>", "one-look", samples[0])
    assert [look.reason for look in t.looks] == ["", "no look left"] and t.answer == "7"
    assert t.looks[0].crop is not None and "[invalid box: no look left]" in t.text
    t = written(BOX * 12 + "<answer>7</answer>", "boxes-as-text", samples[0])
    assert [look.valid for look in t.looks] == [True] * 8 + [False] * 2 and t.finish == "looks"
    assert {look.reason for look in t.looks[8:]} == {"no look left"} and Kind.ENVIRONMENT not in t.kinds


# ------------------------------------------------------------------ the record


def test_the_arm_is_in_the_record(samples, tmp_path: Path) -> None:
    """A record that was written before there were arms is of the one there was; another name is refused."""
    t = written("<CONCLUSION>7</CONCLUSION>", "staged-llava-cot", samples[0])
    path = save(t, tmp_path)
    assert load(path) == t and load(path).arm == "staged-llava-cot"
    record = json.loads(path.read_text())
    path.write_text(json.dumps({k: v for k, v in record.items() if k != "arm"}))
    old = load(path)
    assert old.arm == "interleaved" and old != t
    for wrong in ("staged", ["direct"], 3, None):
        path.write_text(json.dumps(record | {"arm": wrong}))
        with pytest.raises(R3labError, match="arm must be one of direct, "):
            load(path)
    t.arm = "staged"
    with pytest.raises(R3labError, match="arm is 'staged', not one of"):
        t.check()
    with pytest.raises(R3labError, match="arm must be one of direct, "):
        save(t, tmp_path)


def test_tokens_after_an_answer_contradict_a_record_of_that_arm_alone(samples) -> None:
    """What closes an answer is the arm's to say."""
    for text, own, other in (
        ("<answer>7</answer> more", "direct", "staged-llava-cot"),
        ("<CONCLUSION>7</CONCLUSION> more", "staged-llava-cot", "direct"),
    ):
        t = written(text, other, samples[0])
        t.check()
        t.arm = own
        with pytest.raises(R3labError, match="was sampled after the answer was closed"):
            t.check()


def test_a_filmstrip_shows_what_the_arm_gave(samples) -> None:
    """A box alone is no refusal, and the whole image is drawn as the whole image."""
    sample = samples[0]
    words = {}
    for arm in ("boxes-as-text", "full-image-again", "direct"):
        t = written(f"{BOX}<answer>7</answer>", arm, sample)
        figure = filmstrip(t).figure
        words[arm] = " ".join(text.get_text() for text in figure.findobj(lambda a: hasattr(a, "get_text")))
        crops = [a for a in figure.axes if a.get_gid() == "crop-1"]
        if arm == "full-image-again":
            (left, right), (low, high) = crops[0].get_xlim(), sorted(crops[0].get_ylim())
            assert np.allclose((left, right, low, high), (0, sample.image.width, 0, sample.image.height))
    assert "a box alone" in words["boxes-as-text"] and "refused" not in words["boxes-as-text"].replace(
        "refused box", ""
    )
    assert "refused" in words["direct"] and "arm full-image-again" in words["full-image-again"]


every_arm = pytest.mark.parametrize("arm", ARMS.values(), ids=lambda arm: arm.name)


def lessons(world: str, count: int, arm: Arm):
    made = get_world(world)
    samples = [made.sample("train", i) for i in range(count)]
    return [(s, in_arm(made.rationale(s), s, arm)) for s in samples]


@every_arm
@pytest.mark.parametrize("world", WORLDS)
def test_a_lesson_is_what_the_loop_records_in_the_arm(world, arm):
    """Token for token: what follows a box, how an answer ends; what is sampled carries loss, and nothing else."""
    policy = blank()
    for sample, rationale in lessons(world, 2, arm):
        lesson = taught(policy, sample, rationale, arm)  # raises if the loop would have gone on otherwise
        [row], [mask] = encode_batch(policy, [(sample, rationale)], arm)
        assert lesson.ids == row.ids and lesson.sampled_mask == mask and lesson.answer == sample.answer
        looks = 0 if arm.looks == 0 else len(rationale.boxes)
        assert len(lesson.looks) == looks
        pictures = lesson.kinds.count(Kind.CROP)
        assert (pictures > 0) == (looks > 0 and arm.back != "nothing")
        assert format_ok(lesson.response_text.removesuffix(policy.piece(policy.tokenizer.eos_token_id)), arm.marks)


@pytest.mark.parametrize("forced", FORCED)
def test_a_lesson_in_obeying_is_what_the_loop_records_of_a_forced_rollout(forced, tmp_path):
    """The words stand before what is taught and carry no loss; a VLIR folder keeps which, and refuses others."""
    policy, [(sample, rationale)] = blank(), lessons("badges", 1, get_arm("interleaved"))
    obeying = replace(rationale, forced=forced)
    [read] = read_vlir(write_vlir(tmp_path, [(sample, obeying)]).parent)
    assert read == (sample, obeying)
    lesson, free = taught(policy, *read), taught(policy, sample, rationale)
    [row], [mask] = encode_batch(policy, [read])
    words, start = policy.ids(FORCED[forced]), free.prompt_length
    assert lesson.ids == row.ids == [*free.ids[:start], *words, *free.ids[start:]]
    assert (
        lesson.sampled_mask == mask == [*free.sampled_mask[:start], *[False] * len(words), *free.sampled_mask[start:]]
    )
    assert lesson.kinds[start : start + len(words)] == [Kind.ENVIRONMENT] * len(words) and lesson.forced == forced
    lines = (tmp_path / "vlir.jsonl").read_text()
    (tmp_path / "vlir.jsonl").write_text(lines.replace(f'"forced": "{forced}"', '"forced": "both"'))
    with pytest.raises(R3labError, match="forced must be one of direct, look, got 'both'"):
        list(read_vlir(tmp_path))


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


def test_an_answer_that_was_cut_off_is_no_format():
    """Nothing but the end closes Mulberry's answer: a policy once learned to write headings until its tokens ran out,
    and was paid for it."""
    arm = get_arm("staged-mulberry")
    [(sample, rationale)] = lessons("badges", 1, arm)
    whole = taught(blank(), sample, rationale, arm)
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
    policy = copy.deepcopy(blank())
    pairs, rows = lessons("badges", 2, get_arm("interleaved")), []
    torch.manual_seed(0)
    cold_start(policy, iter([pairs] * 5), SftSettings(steps=5, learning_rate=3e-3, arm=arm.name), rows.append, False)
    assert rows[-1]["loss"] < 0.8 * rows[0]["loss"]
    seen, log = [], []
    settings = RgrpoSettings(steps=1, prompts=2, group=2, max_new_tokens=12, arm=arm.name)
    batches = world_batches("badges", 2, 0)
    train_rgrpo(policy, batches, settings, log.append, False, watch=lambda step, found: seen.extend(found))
    assert {t.arm for t in seen} == {arm.name} and len(seen) == 4 and "reward" in log[0]


def test_the_vision_tower_learns_only_if_it_may(policy, samples):
    """Frozen, it stays bit for bit; not frozen, it moves; LoRA and shards say that they cannot."""
    for frozen in (True, False):
        learner = copy.deepcopy(policy)
        before = [p.clone() for module in learner.vision for p in module.parameters()]
        settings = RgrpoSettings(
            steps=1, prompts=2, group=4, max_new_tokens=44, freeze_vision=frozen, learning_rate=1e-3, reward="paper"
        )
        train_rgrpo(learner, iter([samples[:2]]), settings, lambda row: None, False)
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
