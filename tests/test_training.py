"""Rewards, lessons, cold start and R-GRPO: equations against references, masks against perturbation."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load, save

from r3lab import trajectory as record
from r3lab.core.errors import R3labError
from r3lab.core.geometry import Box, Frame
from r3lab.models.policy import Policy, save_policy
from r3lab.rollout.loop import rollout
from r3lab.rollout.sequence import row_of
from r3lab.train import rewards as rewards_module
from r3lab.train.estimators import token_logprobs
from r3lab.train.log import summary
from r3lab.train.objective import policy_loss
from r3lab.train.rewards import PRESETS, score
from r3lab.train.rgrpo import train_rgrpo
from r3lab.train.settings import RgrpoSettings
from r3lab.train.sft import TEACHER, encode_batch, next_token_loss, schedule, taught
from r3lab.train.when import curiosity, look_price, region_checked, repeated
from r3lab.trajectory import ImageRef, Kind, Look, Trajectory
from r3lab.vlir.sample import Rationale
from r3lab.vlir.worlds import get_world, world_batches

REGION = [100.0, 100.0, 200.0, 200.0]


def trajectory(text: str, answer: str | None, looks=(), needs_look=True) -> Trajectory:
    """A record with that sampled text; `looks` are (box or None for an invalid one, character offset)."""
    pieces, found = [text], []
    for box in looks:
        written = tuple(box) if box else None
        found.append(Look((0, 1), written, written, box is not None, "" if box else "not four numbers"))
    return Trajectory(
        sample_id="s",
        question="q",
        image=ImageRef("0" * 64, 512, 512),
        overview=(128, 128),
        frame=Frame.RELATIVE,
        ids=[1],
        kinds=[int(Kind.SAMPLED)],
        pieces=pieces,
        logprobs=[-0.1],
        entropies=[0.1],
        looks=found,
        answer=answer,
        finish="answered" if answer else "length",
        truth={"answer": "7", "regions": [REGION], "needs_look": needs_look},
        rewards={},
        advantage=None,
        model="m",
        seed=0,
        temperature=1.0,
        images={},
    )


GOOD = "<think>x" + "y" * 92 + "</think><answer>7</answer>"  # 126 characters
CASES = [
    # text, answer, looks, needs a look, preset, expected parts
    (GOOD, "7", [REGION], True, "paper", {"accuracy": 1, "format": 1, "region": 0.5, "length": len(GOOD) / 1000}),
    (GOOD, "7", [REGION, REGION], True, "paper", {"region": 0.5}),
    (GOOD, "7", [None], True, "paper", {"region": 0}),
    (GOOD, "3", [REGION], True, "paper", {"accuracy": 0, "region": 0, "format": 1}),
    (GOOD * 4, "7", [], True, "paper", {"length": 0.25}),
    ("7", None, [], True, "paper", {"accuracy": 0, "format": 0, "length": 0.001}),
    (GOOD, "7", [REGION], True, "official-code", {"accuracy": 1, "format": 0.5, "region": 0.5}),
    (GOOD, " 7 ", [REGION], True, "official-code", {"accuracy": 1}),
    (GOOD, "7", [None], True, "official-code", {"region": 0}),
    (GOOD + " and more", "7", [], True, "official-code", {"format": 0}),
    ("ab", None, [], True, "official-code", {"length": 0.02}),
    (GOOD, "7", [], True, "official-code", {"length": 0.1}),
    (GOOD, "7", [REGION], True, "grounded", {"region": 0.5, "look cost": 0}),
    (GOOD, "7", [[100, 100, 200, 150]], True, "grounded", {"region": 0.25}),
    (GOOD, "7", [REGION, REGION], True, "grounded", {"look cost": -0.2}),
    (GOOD, "7", [REGION], False, "grounded", {"region": 0, "look cost": -0.2}),
    (GOOD, "7", [], False, "grounded", {"region": 0, "look cost": 0}),
]


@pytest.mark.parametrize("case", range(len(CASES)))
def test_rewards_by_hand(case):
    """Each preset's parts on hand-worked cases."""
    text, answer, looks, needs, name, expected = CASES[case]
    parts = score(trajectory(text, answer, looks, needs), name)
    assert set(parts) == set(PRESETS[name])
    for key, value in expected.items():
        assert parts[key] == pytest.approx(value), key


def test_a_look_for_each_true_region_is_free():
    """A trail of two hops takes two looks; a third costs, and where nothing is needed so does the first. Paid for its
    place is the last look, on the last region."""
    far = [300, 300, 400, 400]
    for looks, needs, cost in (([far, REGION], True, 0), ([far, REGION, REGION], True, -0.2), ([far], False, -0.2)):
        t = trajectory(GOOD, "7", looks, needs)
        t.truth["regions"] = [far, REGION]
        found = score(t, "grounded")
        assert found["look cost"] == pytest.approx(cost) and found["region"] == (0.5 if needs else 0.0)


def test_official_length_is_of_the_shortest_stretch_by_hand():
    """Three characters before the crop and twelve after it pay for three; an invalid box separates nothing."""
    for box, characters in ((REGION, 3), (None, 10)):  # fifteen in one stretch, where 0.10 is the most
        t = replace(trajectory("abc", "7", [box]), ids=[1, 2], kinds=[int(Kind.SAMPLED)] * 2)
        t = replace(t, pieces=["abc", "defghijklmno"], logprobs=[-0.1] * 2, entropies=[0.1] * 2)
        assert rewards_module.length_official(t) == pytest.approx(0.01 * characters)


def test_only_sampled_tokens_carry_loss(policy, samples):
    """Perturbing the recorded log-probability of any sampled token changes the loss; kinds decide what is sampled."""
    store = {}
    t = rollout(policy, samples[:1], group=1, seed=4, max_new_tokens=40, features=store)[0]
    rows = [row_of(policy, t, store)]
    with torch.no_grad():
        new, old, mask = token_logprobs(policy, rows, [t], 1.0)
    base, _ = policy_loss(new, old, torch.ones(1), mask)
    for column in range(int(mask.sum())):
        moved = old.clone()
        moved[0, column] += 0.05
        assert policy_loss(new, moved, torch.ones(1), mask)[0] != base
    assert new.shape[1] == t.kinds.count(Kind.SAMPLED) < len(t.ids)


def test_rgrpo_is_reproducible_and_leaves_the_vision_tower_alone(taught_folder):
    """The same seed gives the same weights and log; another seed does not; vision weights do not move."""
    results = []
    for seed in (0, 0, 1):
        policy, rows = Policy.load(taught_folder), []
        vision = copy.deepcopy(policy.model.model.visual.state_dict())
        settings = RgrpoSettings(steps=2, prompts=3, group=4, max_new_tokens=40, reward="official-code", seed=seed)
        batches, seen = world_batches("badges", 3, seed), []
        train_rgrpo(policy, batches, settings, rows.append, False, lambda step, found, seen=seen: seen.append(found))
        for found, row in zip(seen, rows, strict=True):  # rewards and advantages stand in the trajectories
            assert [abs(sum(t.advantage for t in found[i : i + 4])) < 1e-9 for i in (0, 4, 8)] == [True] * 3
            assert sum(sum(t.rewards.values()) for t in found) / 12 == pytest.approx(row["reward"], abs=1e-5)
        assert all(torch.equal(v, vision[k]) for k, v in policy.model.model.visual.state_dict().items())
        timed = [{k: v for k, v in r.items() if not k.startswith("seconds")} for r in rows]
        results.append((timed, policy.model.lm_head.weight.detach().clone()))
    assert results[0][0] == results[1][0] and torch.equal(results[0][1], results[1][1])
    assert results[0][0] != results[2][0]


def test_cold_start_masks_prompt_and_images(policy):
    """Loss stands exactly on what the policy writes: text, boxes and answer, never prompt, crop or vision markers."""
    world = get_world("badges")
    pairs = [(s, world.rationale(s)) for s in (world.sample("train", i) for i in range(12))]
    rows, masks = encode_batch(policy, pairs)
    for (sample, rationale), row, mask in zip(pairs, rows, masks, strict=True):
        text = "".join(policy.piece(i) for i, m in zip(row.ids, mask, strict=True) if m)
        boxes = [p for p in rationale.parts if not isinstance(p, str)]
        assert text.startswith("<think>The") and text.endswith(f"<answer>{sample.answer}</answer>")
        assert text.count("bbox_2d") == len(boxes) == len(row.images) - 1
        assert not {i for i, m in zip(row.ids, mask, strict=True) if m} & set(policy.forbidden)
        assert not any(mask[: row.ids.index(policy.image_id) + len(row.images[0].tokens)])
    with torch.no_grad():
        each, _ = next_token_loss(policy, rows, masks)
    assert len(each) == sum(map(sum, masks)) and torch.isfinite(each).all()


def test_the_cold_start_sequence_is_what_the_loop_would_build(policy):
    """Crops of a VLIR sample take the same tokens, in the same places, as the loop gives for the same box."""
    world = get_world("badges")
    sample = next(s for s in (world.sample("train", i) for i in range(20)) if s.needs_look)
    (row,), (mask,) = encode_batch(policy, [(sample, world.rationale(sample))])
    script = iter([i for i, m in zip(row.ids, mask, strict=True) if m])

    class Scripted(Policy):
        """Writes the rationale, whatever the model thinks."""

        def logits(self, hidden):
            logits = torch.zeros_like(super().logits(hidden))
            logits[:, next(script)] = 1e4
            return logits

    scripted = Scripted(policy.model, policy.tokenizer, policy.processor)
    (t,) = rollout(scripted, [sample], temperature=0)
    assert t.ids == row.ids and t.finish == "answered" and t.looks[0].valid


def test_summary_by_hand():
    """Shares over three trajectories, worked by hand."""
    found = [
        trajectory(GOOD, "7", [REGION]),
        trajectory(GOOD, "3", [None, [100, 100, 200, 150]]),
        trajectory(GOOD, "7", [], needs_look=False),
    ]
    s = summary(found)
    assert (s["n"], s["exact"], s["exact_needed"], s["exact_unneeded"]) == (3, pytest.approx(2 / 3, abs=1e-4), 0.5, 1)
    assert s["iou"] == pytest.approx(0.75) and s["look_rate_needed"] == 1 and s["look_rate_unneeded"] == 0
    assert s["invalid"] == pytest.approx(1 / 3, abs=1e-4)


def test_a_checkpoint_comes_back_and_ordinary_from_pretrained_loads_it(policy, samples, tmp_path):
    """The same tokens, also from float16, which replaces what was there; no code of ours is needed to load it."""
    from transformers import AutoModelForImageTextToText, AutoTokenizer
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    folder, kept = save_policy(policy, tmp_path / "p"), rollout(policy, samples[:2], temperature=0, max_new_tokens=30)
    again = rollout(Policy.load(folder), samples[:2], temperature=0, max_new_tokens=30)
    assert [t.ids for t in again] == [t.ids for t in kept]
    model = AutoModelForImageTextToText.from_pretrained(folder)
    assert model.dtype == torch.float32 and type(model).__name__ == "Qwen3VLForConditionalGeneration"
    assert AutoTokenizer.from_pretrained(folder).chat_template
    assert Qwen2VLImageProcessorPil.from_pretrained(folder).patch_size == 8
    half = Policy.load(save_policy(policy, folder, half=True)).model
    assert half.dtype == torch.float32 == policy.model.dtype
    assert all(torch.equal(v, half.state_dict()[k]) for k, v in policy.model.state_dict().items())
    assert (folder / "model.safetensors").stat().st_size < 4_000_000
    assert [p.name for p in tmp_path.iterdir()] == ["p"]


MLP = "model.language_model.layers.0.mlp.up_proj.weight"


@pytest.mark.parametrize(
    ("part", "change", "message"),
    [
        ("tokenizer_config.json", None, "tokenizer"),
        ("preprocessor_config.json", None, "image processor"),
        ("model.safetensors", None, "safetensors"),
        ("config.json", None, "no config.json"),
        ("config.json", lambda data: data.replace(b'"qwen3_vl"', b'"llava"'), "config.json asks for"),
        ("model.safetensors", lambda data: data[: len(data) // 2], "cannot read the weights"),
        ("model.safetensors", lambda data: save({k: v for k, v in load(data).items() if k != MLP}), MLP),
        ("model.safetensors", lambda data: save({**load(data), MLP: load(data)[MLP][:5].clone()}), "read the weights"),
    ],
)
def test_damaged_weights_are_refused(part, change, message, policy, tmp_path):
    """What is missing, cut, of another size or architecture is named in one line; never random weights in silence."""
    folder = save_policy(policy, tmp_path / "p")
    data = (folder / part).read_bytes()
    (folder / part).unlink() if change is None else (folder / part).write_bytes(change(data))
    with pytest.raises(R3labError, match=message) as error:
        Policy.load(folder)
    assert "\n" not in str(error.value)


def test_the_rate_falls_over_the_last_steps_alone(taught_folder):
    """Constant, then in equal parts towards 0; until then the run is the one without a cooldown."""
    falling, constant = (RgrpoSettings(steps=6, cooldown=last, learning_rate=1.0) for last in (3, 0))
    assert [falling.rate(step) for step in range(6)] == [1.0, 1.0, 1.0, 0.75, 0.5, 0.25]
    assert {constant.rate(step) for step in range(6)} == {1.0}
    ends = []
    for last in (0, 1):
        policy, rows = Policy.load(taught_folder), []
        settings = RgrpoSettings(steps=2, prompts=3, group=4, max_new_tokens=40, cooldown=last, learning_rate=3e-3)
        train_rgrpo(policy, world_batches("badges", 3, 0), settings, rows.append, progress=False)
        ends.append((policy.model.lm_head.weight.detach().clone(), rows))
    assert [r["learning_rate"] for r in ends[1][1]] == pytest.approx([3e-3, 1.5e-3])
    assert ends[0][1][1]["reward"] == ends[1][1][1]["reward"]  # the second rollouts follow from the first update
    assert not torch.equal(ends[0][0], ends[1][0])


def test_the_rate_of_the_cold_start_rises_and_falls_as_half_a_cosine():
    """Up in equal parts, at its peak once, at the final factor at the end; halfway down in the middle."""
    assert [schedule(step, 210, 0.2, warm=10) for step in (0, 4, 9, 10)] == pytest.approx([0.1, 0.5, 1.0, 1.0])
    assert [schedule(step, 210, 0.2, warm=10) for step in (110, 210)] == pytest.approx([0.6, 0.2])


@pytest.mark.parametrize(
    "bad", [{"group": 1}, {"steps": 0}, {"learning_rate": -1.0}, {"cooldown": 101}, {"reward": "papr"}]
)
def test_bad_settings_stop_before_anything_runs(bad, policy):
    """The error names the setting and the value, or the nearest preset."""
    with pytest.raises(R3labError, match=next(iter(bad)) if "reward" not in bad else "paper"):
        train_rgrpo(policy, iter([]), RgrpoSettings(**bad), lambda row: None, progress=False)


# -- rewards that no preset holds ------------------------------------------------------------------------------------

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
        assert record.load(record.save(lesson, tmp_path / str(index))) == lesson


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
