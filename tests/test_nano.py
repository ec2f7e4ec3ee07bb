"""The method in one file (`r3lab.nano`) against the engine: equal rollouts, rewards, losses and gradients."""

from __future__ import annotations

import ast
import itertools
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from r3lab import nano
from r3lab.core.files import assets_dir
from r3lab.core.geometry import Frame, clip, crop_size, fit_tokens, problem, to_source
from r3lab.core.images import cut
from r3lab.models.policy import Policy
from r3lab.rollout.loop import rollout
from r3lab.rollout.sequence import row_of
from r3lab.train.estimators import token_logprobs
from r3lab.train.objective import Objective, policy_loss
from r3lab.train.objective import advantages as engine_advantages
from r3lab.train.rewards import score
from r3lab.train.settings import RgrpoSettings, UpdateSettings
from r3lab.train.update import packed_logprobs, update
from r3lab.trajectory import Kind, Trajectory
from r3lab.vlir.sample import read_vlir, write_vlir
from r3lab.vlir.worlds import get_world

LOOKS = 3  # that the scripts may take
LOOK = '{"bbox_2d": [100, 100, 400, 300]}'
# What a policy may write: looks that are good, bad and too many, answers that are empty, late or never closed
SCRIPTS = {
    "answers at once": "<think>It is large.</think><answer>5</answer>",
    "looks once": 'Too small.{"bbox_2d": [120, 340, 310, 500]}It shows 2.<answer>2</answer>',
    "looks twice": '{"bbox_2d": [10, 20, 900, 870]}closer{"bbox_2d": [300, 40, 370, 610]}<answer>7</answer>',
    "all sizes": '{"bbox_2d": [0, 0, 1000, 1000]}{"bbox_2d": [200, 100, 800, 700]}{"bbox_2d": [5, 5, 12, 9]}',
    "upside down": '{"bbox_2d": [800, 40, 300, 610]}{"bbox_2d": [300, 610, 700, 40]}<answer>7</answer>',
    "outside": '{"bbox_2d": [1100, 0, 1300, 90]}{"bbox_2d": [900, 900, 1200, 990]}{"bbox_2d": [0, 0, 1010, 500]}',
    "outside by a hair": '{"bbox_2d": [999, 0, 1009, 500]}{"bbox_2d": [0, 0, 1011, 500]}{"bbox_2d": [-10, 0, 90, 90]}',
    "too small, too thin": '{"bbox_2d": [100, 100, 101, 300]}{"bbox_2d": [0, 100, 1000, 104.1]}<answer>1</answer>',
    "no numbers": '{"bbox_2d": [1, 2, 3]}{"bbox_2d": "all"}{"bbox_2d": [true, 1, 2, 3]}{"bbox_2d": [1, 2, 3, x]}',
    "no end of numbers": '{"bbox_2d": [0, 0, NaN, 9]}{"bbox_2d": [0, 0, 1e999, 9]}{"bbox_2d": [1,1,'
    + "9" * 99
    + ",9]}",
    "twice": '{"bbox_2d": [1, 2, 30, 40], "bbox_2d": [1, 2, 30, 40]}<answer>1</answer>',
    "with a label": '{"label": "red", "bbox_2d": [100, 200, 300, 400]}{"label": "bbox_2d"}{}<answer>1</answer>',
    "opens again": '{"bbox_2d": [1, 2, {"bbox_2d": [100, 200, 300, 400]}}<answer>1</answer>',
    "too long": '{"bbox_2d": [1, 2' + " too small to read." * 14 + ", 3, 4]}<answer>1</answer>",
    "long, and no box": "{" + "too small to read. " * 16 + '}{"bbox_2d": [100, 200, 300, 400]}<answer>1</answer>',
    "an answer in an object": '{"bbox_2d": [100, <answer>{"bbox_2d": [100, 200, 300, 400]}</answer>',
    "an empty answer": "<answer>  </answer>",
    "an answer not closed": "<answer>5</think>",
    "a close without an open": "5</answer><answer>5</answer>",
    "too many looks": LOOK * (LOOKS + 2),
    "too many looks, then an answer": LOOK * (LOOKS + 1) + "<answer>1</answer>",
    "boxes that cannot be used use up looks": '{"bbox_2d": [1, 2, 3]}' * 2 + LOOK * (LOOKS - 1),
    "the end": "I give up<|im_end|>",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A VLIR folder of a few badges."""
    world, path = get_world("badges"), tmp_path_factory.mktemp("badges")
    write_vlir(
        path, [(sample, world.rationale(sample)) for sample in (world.sample("train", i) for i in (0, 9, 15, 19))]
    )
    return path


@pytest.fixture()
def engine() -> Policy:
    return Policy.load(assets_dir() / "tiny" / "cold-start", device="cpu")


@pytest.fixture(scope="module")
def written(folder) -> dict[str, Trajectory]:
    """The engine's rollout of each script; in float64, since in float32 machines differ by 1e-4 on such odd texts."""
    policy = Policy.load(assets_dir() / "tiny" / "cold-start", device="cpu", dtype="float64")
    sample = next(read_vlir(folder))[0]
    return {name: scripted(policy, sample, text) for name, text in SCRIPTS.items()}


@pytest.fixture(scope="module")
def read(folder, written) -> dict[str, nano.Rollout]:
    """nano's rollout of each script, alone: together they would be padded to the longest at every step."""
    policy, record, found = nano.Policy(assets_dir() / "tiny" / "cold-start"), nano.read_samples(folder)[0], {}
    policy.model.double()
    for name, t in written.items():
        ids = sampled(t)
        [found[name]] = replay(policy, record, [ids], len(ids) if t.finish == "length" else 400, LOOKS)
    return found


@pytest.fixture()
def small() -> nano.Policy:
    return nano.Policy(assets_dir() / "tiny" / "cold-start")


def sampled(t: Trajectory) -> list[int]:
    return [token for token, kind in zip(t.ids, t.kinds, strict=True) if kind == Kind.SAMPLED]


def replay(policy: nano.Policy, sample: dict, rows: list[list[int]], most: int, looks: int = 8) -> list[nano.Rollout]:
    """What nano's loop makes of tokens that are not drawn but given, at most so many."""
    steps = itertools.count()

    def given(probabilities: torch.Tensor, count: int) -> torch.Tensor:
        at = next(steps)
        return torch.tensor([[row[at]] for row in rows if at < len(row)])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "multinomial", given)
        patch.setattr(nano, "MAX_NEW_TOKENS", most)
        patch.setattr(nano, "MAX_LOOKS", looks)
        return nano.roll_out(policy, sample, len(rows))


def scripted(policy: Policy, sample, text: str) -> Trajectory:
    """The engine's rollout of a text and a space more, with the log-probabilities of a fresh forward."""
    ids, steps = policy.ids(text + " "), itertools.count()

    def certain(hidden: torch.Tensor) -> torch.Tensor:
        logits = torch.full((len(hidden), policy.model.config.text_config.vocab_size), float("-inf"))
        logits[:, ids[next(steps)]] = 0.0
        return logits

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(policy, "logits", certain)
        t = rollout(policy, [sample], max_new_tokens=len(ids), max_looks=LOOKS)[0]
    with torch.no_grad():
        values = iter(token_logprobs(policy, [row_of(policy, t, {})], [t], 1.0)[0][0].tolist())
    t.logprobs = [next(values) if kind == Kind.SAMPLED else None for kind in t.kinds]
    return t


def same(r: nano.Rollout, t: Trajectory, record: dict) -> None:
    """A rollout is the engine's: tokens, numbers, looks pixel for pixel, ending and rewards."""
    assert r.ids == t.ids
    assert [p is not None for p in r.logprobs] == t.sampled_mask
    pairs = [(p, q) for p, q in zip(r.logprobs, t.logprobs, strict=True) if p is not None]
    assert np.allclose(*zip(*pairs, strict=True), rtol=1e-5, atol=1e-5)
    assert (r.finish, r.answer) == (t.finish, t.answer)
    assert [seen if isinstance(seen, str) else "" for seen in r.looks] == [look.reason for look in t.looks]
    for seen, look in zip(r.looks, t.looks, strict=True):
        if not isinstance(seen, str):
            assert seen[0] == pytest.approx(look.box, abs=1e-9)
            assert look.crop is not None and np.array_equal(seen[1], t.images[look.crop.hash])
    assert nano.reward(r, record) == pytest.approx(score(t, "grounded"), abs=1e-9)


@pytest.mark.parametrize("name", SCRIPTS)
def test_whatever_is_written_the_loop_does_what_the_engine_does(written, read, folder, name):
    same(read[name], written[name], nano.read_samples(folder)[0])


def test_scripts_reach_every_ending_and_refusal(written):
    """Else the table above would compare less than it says."""
    assert {t.finish for t in written.values()} == {"answered", "malformed", "length", "looks"}
    reasons = {look.reason for t in written.values() for look in t.looks}
    assert len(reasons) == 14, reasons  # none, and thirteen refusals
    assert max(sum(look.valid for look in t.looks) for t in written.values()) == LOOKS
    assert RgrpoSettings().max_looks == nano.MAX_LOOKS


@pytest.mark.parametrize("needs_look", [True, False, None])
@pytest.mark.parametrize(
    "regions", [[], [[60.0, 170.0, 160.0, 260.0]], [[0.0, 0.0, 9.0, 9.0], [60.0, 170.0, 160.0, 260.0]]]
)
def test_rewards_are_the_engines_whatever_the_truth(written, needs_look, regions):
    """With no, one and two true regions, and a need that is known or not."""
    found = set()
    for t in written.values():
        looks = [(look.box, None) if look.valid else look.reason for look in t.looks]
        r = nano.Rollout([], [], [], looks, t.response_text, 0, t.answer, t.finish)
        truth = {"answer": " 7", "regions": regions, "needs_look": needs_look}
        parts = score(replace(t, truth=truth), "grounded")
        assert nano.reward(r, truth) == pytest.approx(parts, abs=1e-12)
        found |= {(name, value) for name, value in parts.items() if value}
    assert {"accuracy", "format", "look cost"} <= {name for name, _ in found}
    assert ("region" in {name for name, _ in found}) == bool(needs_look and regions)


@pytest.fixture(scope="module")
def groups(folder):
    """Groups that the cold start samples, by the engine and by nano from the same tokens, the records, the features."""
    samples, store = [pair[0] for pair in read_vlir(folder)], {}
    shipped = assets_dir() / "tiny" / "cold-start"
    engine, small = Policy.load(shipped, device="cpu"), nano.Policy(shipped)
    found = rollout(engine, samples, 4, seed=0, max_new_tokens=nano.MAX_NEW_TOKENS, features=store)
    theirs, records = [found[i : i + 4] for i in range(0, len(found), 4)], nano.read_samples(folder)
    rows = [[sampled(t) for t in group] for group in theirs]
    ours = [replay(small, record, group, nano.MAX_NEW_TOKENS) for record, group in zip(records, rows, strict=True)]
    return theirs, ours, records, store


def test_sampled_groups_loss_and_gradients_are_the_engines(engine, small, groups):
    """Rollouts, rewards and advantages of sampled groups; then the loss and all gradients, with ratios that are clipped
    on both sides."""
    theirs, ours, records, store = groups
    for group, mine, record in zip(theirs, ours, records, strict=True):
        for t, r in zip(group, mine, strict=True):
            same(r, t, record)
    assert any(t.looks for group in theirs for t in group) and len({len(t.ids) for t in sum(theirs, [])}) > 3
    rewards = torch.tensor([[sum(nano.reward(r, s).values()) for r in g] for g, s in zip(ours, records, strict=True)])
    expected = torch.tensor([[sum(score(t, "grounded").values()) for t in group] for group in theirs])
    a = nano.advantages(rewards.double())
    assert torch.allclose(a, engine_advantages(expected.double()), rtol=1e-5, atol=1e-5) and (a != 0).any()

    shift = np.random.default_rng(0)  # as if the policy had moved since: ratios from 0.5 to 2
    ours = [
        [
            replace(r, logprobs=[None if p is None else p + float(shift.uniform(-0.7, 0.7)) for p in r.logprobs])
            for r in group
        ]
        for group in ours
    ]
    pairs = zip(sum(theirs, []), sum(ours, []), strict=True)
    found = [replace(t, logprobs=list(r.logprobs)) for t, r in pairs]
    now = packed_logprobs(engine, found, store, 1.0)
    loss, metrics = policy_loss(now.new, now.old, a.flatten().float(), now.mask, Objective())
    loss.backward()
    assert metrics["clip_fraction_low"] > 0.05 and metrics["clip_fraction_high"] > 0.05
    total = sum(nano.clipped_loss(small, g, row.float()).mean() / len(ours) for g, row in zip(ours, a, strict=True))
    total.backward()
    assert float(total.detach()) == pytest.approx(float(loss.detach()), rel=1e-5, abs=1e-6)
    gradients = {name: p.grad for name, p in small.model.named_parameters() if p.grad is not None}
    largest = max(float(g.abs().max()) for g in gradients.values())
    for name, p in engine.model.named_parameters():
        if "visual" in name:
            assert name not in gradients
        else:
            assert float((gradients[name] - p.grad).abs().max()) < 1e-5 * max(1.0, largest), name


def test_a_step_is_the_engines_two_updates(monkeypatch, engine, small, groups, capsys):
    """The same rollouts leave the same weights: both halves, the clipped norm, AdamW's settings."""
    theirs, ours, records, store = groups
    by_question = {record["question"]: group for record, group in zip(records, ours, strict=True)}
    asked = []
    monkeypatch.setattr(nano, "roll_out", lambda policy, s, group: asked.append(s) or by_question[s["question"]])
    nano.train(small, records, steps=1, prompts=4, group=4, seed=1)
    order = [theirs[records.index(s)] for s in asked]
    expected = torch.tensor([[sum(score(t, "grounded").values()) for t in g] for g in order], dtype=torch.float64)
    optimiser = torch.optim.AdamW(
        engine.trained(True), lr=RgrpoSettings().learning_rate, betas=(0.9, 0.99), weight_decay=0.0
    )
    for half in (slice(0, 2), slice(2, 4)):
        for group, row in zip(order[half], engine_advantages(expected)[half].tolist(), strict=True):
            for t, value in zip(group, row, strict=True):
                t.advantage = value
        update(engine, sum(order[half], []), store, optimiser, UpdateSettings())
    moved, apart = [], []
    before = Policy.load(assets_dir() / "tiny" / "cold-start", device="cpu").model.state_dict()
    for (name, p), q in zip(engine.model.named_parameters(), small.model.parameters(), strict=True):
        moved.append((p - before[name]).abs().flatten())
        apart.append((p - q).abs().flatten())
    assert torch.cat(moved).mean() > 3e-5  # AdamW moves nearly every weight by about the learning rate
    assert (torch.cat(apart) > 1e-5).float().mean() < 0.01  # but not where a gradient is rounding alone


def test_sizes_boxes_and_zoom_are_the_engines(monkeypatch, small):
    """Random images and boxes, also those that reach outside: the same reason, or the same crop, pixel for pixel."""
    monkeypatch.setattr(
        nano, "encode", lambda policy, image: nano.Seen(torch.zeros(image.width * image.height // 256, 1), [], None)
    )
    small.crop_tokens = [4, 1024]  # the tiny policy's own 25 tokens would hide the zoom
    chance, valid = np.random.default_rng(0), 0
    noise = nano.Image.fromarray(chance.integers(0, 256, (700, 900, 3), dtype=np.uint8))
    for _ in range(300):
        w, h = (int(v) for v in chance.integers((40, 40), (900, 700)))
        budget = int(chance.integers(1, 9)), int(chance.integers(9, 60))
        assert nano.smart_resize(w, h, 16, *budget) == fit_tokens((w, h), 16, *budget)
        source = noise.crop((0, 0, w, h))
        start, extent = chance.uniform(-30, 900, 2), chance.exponential(200, 2) + chance.choice([-30, 0.1, 50])
        box = tuple(float(v) for v in np.concatenate([start, start + extent]).round(chance.integers(0, 3)))
        there = to_source(box, Frame.RELATIVE, (w, h), (1, 1))
        reason = problem(there, (w, h))
        r = nano.Rollout([], [], [])
        nano.look(small, r, box, source)
        if reason:
            assert r.looks == [reason]
        else:
            valid += 1
            crop = cut(source, there, crop_size(clip(there, (w, h)), (w, h), 16, 4, 1024)[1])
            assert np.array_equal(r.looks[0][1], crop)
    assert 100 < valid < 290


def test_groups_of_equal_rewards_have_no_advantage():
    """And the others are the engine's, also where rewards are nearly equal."""
    rewards = torch.tensor([[1.1, 1.1, 1.1], [0.0, 1.0, 1.5], [0.3, 0.3, 0.300001]], dtype=torch.float64)
    assert torch.allclose(nano.advantages(rewards), engine_advantages(rewards), rtol=1e-5, atol=1e-8)


def test_two_steps_train_the_text_model_alone(monkeypatch, small, folder, capsys):
    """From a folder to other weights, with a line a step."""
    monkeypatch.setattr(nano, "MAX_NEW_TOKENS", 48)
    before = {name: p.detach().clone() for name, p in small.model.named_parameters()}
    nano.train(small, nano.read_samples(folder), steps=2, prompts=1, group=4, seed=0)
    changed = {name for name, p in small.model.named_parameters() if not torch.equal(p, before[name])}
    assert changed and not any("visual" in name for name in changed)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("reward")[0].split() for line in lines] == [["step", "1", "of", "2"], ["step", "2", "of", "2"]]
    assert all(float(line.split("reward")[1].split()[0]) >= -2 for line in lines)


def test_without_samples_it_says_which_command_makes_them(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "argv", ["nano", "--data", str(tmp_path)])
    with pytest.raises(SystemExit, match=f"r3lab vlir build --world badges --count 400 --out {tmp_path}"):
        nano.main()


def test_the_file_stands_alone_and_is_short():
    """It imports nothing of r3lab, and has 300 lines at most, each one of a readable length."""
    text = Path(nano.__file__).read_text(encoding="utf-8")
    imported = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            imported.add(str(node.module).split(".")[0])
    assert imported - set(sys.stdlib_module_names) == {"torch", "transformers", "PIL", "numpy"}
    assert len(text.splitlines()) <= 300 and max(map(len, text.splitlines())) <= 120
