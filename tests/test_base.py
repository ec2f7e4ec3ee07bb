"""The base: lessons that state the truth, points at the right token, stages that resume as if never interrupted."""

from __future__ import annotations

import copy
import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from r3lab.cli import call
from r3lab.core.errors import R3labError
from r3lab.models import attention, tiny
from r3lab.models.policy import Policy
from r3lab.recipes import base as base_module
from r3lab.recipes.base import (
    ANCHOR_LAYER,
    POINTING_HEADS,
    POINTING_LAYER,
    Heads,
    by_length,
    lesson_rows,
    stated,
    train_base,
)
from r3lab.recipes.lessons import CELLS, FACTOR, IGNORE, NAMES, STATEMENTS, Lessons, Stage, vocabulary
from r3lab.recipes.policies import BASE, Recipe, make_base, settings_of
from r3lab.recipes.stages import claim
from r3lab.train import run as run_module
from r3lab.train.log import read_log
from r3lab.vlir.worlds.badges import SIDE, scene

STAGE = Stage("short", 4, 2, (1, 3), True, 1e-3, head_weight=0.3, seed=5, windows=1, pointing=0.3)


@pytest.fixture(scope="module")
def policy() -> Policy:
    """Random weights; the base starts from these."""
    return tiny.create(vocabulary(), seed=0)


def lessons_of(policy: Policy, statements=STATEMENTS, badges=(3, 5), windows=0, text=True, count=6):
    """Some lessons and the scenes that they are about."""
    stream = Lessons(policy, Stage("some", 1, 2, badges, text, seed=3, windows=windows, statements=statements))
    made = [stream.lesson(i) for i in range(count)]
    scenes = []
    for i in range(count):
        rng = np.random.default_rng([3, 77, i])
        scenes.append(scene(rng, "train", int(rng.integers(badges[0], badges[1] + 1)))[1])
    return made, scenes


def test_dense_targets_are_those_of_the_scene(policy):
    """Each badge's own cell, name, size and box; a digit is asked of the overview only where it is legible there."""
    for lesson, badges in zip(*lessons_of(policy), strict=True):
        cells, targets = lesson.cells, lesson.targets
        assert len(cells) == len(badges)
        for k, badge in enumerate(badges):
            row, column = divmod(int(cells[k]), CELLS)
            assert abs((column + 0.5) * SIDE / CELLS - badge.x) <= SIDE / CELLS / 2
            assert abs((row + 0.5) * SIDE / CELLS - badge.y) <= SIDE / CELLS / 2
            assert NAMES[targets["name"][k]] == badge.name
            assert targets["digit"][k] == (badge.digit if badge.large else IGNORE)


def test_statements_are_true_and_point_at_what_they_speak_of(policy):
    """What carries a point is about the badge in that token: its name, its box or its digit."""
    seen = set()
    for lesson, badges in zip(*lessons_of(policy), strict=True):
        by_cell = dict(zip(lesson.cells.tolist(), badges, strict=True))
        at = 0
        while at < len(lesson.text):  # runs of one point
            end = at
            while end < len(lesson.text) and lesson.points[end] == lesson.points[at] and lesson.text[end] is not None:
                end += 1
            point, text = lesson.points[at], "".join(policy.piece(t) for t in lesson.text[at:end] if t is not None)
            at = max(end, at + 1)
            if point is None:
                continue
            assert 0 < len(text.split()) < 60
            image, token = point
            if image == 0:
                badge = by_cell[token]
                if "It shows" in text:
                    seen.add("size")
                    assert badge.large and f"It shows {badge.digit}." in text
                elif "too small" in text:
                    assert not badge.large
                elif "bbox_2d" in text:
                    seen.add("box")
                    assert badge.name in text or text.startswith("{")
                elif "The" in text or "the" in text:
                    seen.add("name")
                    assert badge.name in text
            else:
                seen.add("crop")
                digit = lesson.crop_targets["digit"][image - 1]
                assert text == f"It shows {digit}."
                assert token == lesson.crop_cells[image - 1]
                high, wide = lesson.images[image].shape[:2]
                assert 0 <= token < (high // FACTOR) * (wide // FACTOR)
    assert seen == {"size", "box", "name", "crop"}


def test_only_the_kinds_asked_for_are_stated(policy):
    """`statements` leaves kinds out; the vision warm-up writes nothing and shows a crop of every badge."""
    made, _ = lessons_of(policy, statements=("where",))
    assert all(len(v.images) == 1 and "shows" not in "".join(map(policy.piece, filter(None, v.text))) for v in made)
    made, scenes = lessons_of(policy, text=False, windows=2)
    for lesson, badges in zip(made, scenes, strict=True):
        assert not lesson.text and len(lesson.images) == 1 + len(badges)
        assert lesson.window_digits == [b.digit for b in badges for _ in range(2)]


def test_rows_expand_images_and_keep_points(policy):
    """Each image becomes its tokens; a point names the place of that token in the expanded row."""
    made, _ = lessons_of(policy)
    with torch.no_grad():
        features = policy.encode([image for lesson in made for image in lesson.images])
    rows, masks, points = lesson_rows(made, features, policy.image_id)
    assert sum(len(v.loss) - len(v.images) for v in made) + sum(len(f.tokens) for f in features) == sum(map(len, masks))
    assert all(rows[r].ids[looked] == policy.image_id and looked < reads for r, reads, looked, _ in points.tolist())
    assert len(points) == sum(p is not None for v in made for p in (*v.points, *v.anchors))


def test_stated_loss_is_the_mean_over_marked_tokens(policy):
    """Against a plain forward pass, row by row; `pointing` adds minus the log of the two heads' weight on the token."""
    made, _ = lessons_of(policy, count=3)
    eager, watched = copy.deepcopy(policy), copy.deepcopy(policy)
    eager.model.set_attn_implementation({"text_config": "eager"})
    attention.select(watched.model)
    with torch.no_grad():
        features = eager.encode([image for lesson in made for image in lesson.images])
        rows, masks, points = lesson_rows(made, features, eager.image_id)
        plain, seen = stated(policy, rows, masks, points, 0.0)
        pointed, also = stated(watched, rows, masks, points, 0.5)
        each, said, mass = [], [], {POINTING_LAYER: [], ANCHOR_LAYER: []}
        for r, (row, mask) in enumerate(zip(rows, masks, strict=True)):
            batch = eager.rows([row])
            out = eager.model.model(
                input_ids=batch.ids,
                position_ids=batch.positions,
                output_attentions=True,
                mm_encoder_outputs={"image": eager.bundle(batch.images)},
            )
            logp = torch.log_softmax(eager.logits(out.last_hidden_state[0]), -1)
            each += [-logp[i - 1, row.ids[i]] for i, m in enumerate(mask) if m]
            for own, reads, looked, layer in points.tolist():
                if own == r:
                    mass[layer] += [out.attentions[layer][0, h, reads, looked] for h in POINTING_HEADS]
                    if layer == ANCHOR_LAYER:
                        said.append(bool(logp[reads].argmax() == row.ids[reads + 1]))
    assert float(plain) == pytest.approx(float(torch.stack(each).mean()), abs=1e-4)
    extra = sum(-0.5 * torch.log(torch.stack(m)).mean() for m in mass.values())
    assert float(pointed - plain) == pytest.approx(float(extra), abs=1e-4)
    assert also["pointing mass"] == pytest.approx(float(torch.stack(mass[POINTING_LAYER]).mean()), abs=1e-5)
    assert also["anchor mass"] == pytest.approx(float(torch.stack(mass[ANCHOR_LAYER]).mean()), abs=1e-5)
    assert said and seen["relation accuracy"] == pytest.approx(np.mean(said), abs=1e-5)
    assert seen["text"] == pytest.approx(float(plain), abs=1e-5) and "pointing mass" not in seen


def test_parts_of_like_length_hold_every_row_and_point(policy):
    """The loss over the parts, weighted by marked tokens, is that over all rows; the short rows come first."""
    made, _ = lessons_of(policy, count=5)
    with torch.no_grad():
        features = policy.encode([image for lesson in made for image in lesson.images])
        whole = lesson_rows(made, features, policy.image_id)
        parts = by_length(*whole)
        losses = [float(stated(policy, *part, 0.0)[0]) for part in parts]
        marked = [sum(map(sum, part[1])) for part in parts]
        assert np.average(losses, weights=marked) == pytest.approx(float(stated(policy, *whole, 0.0)[0]), abs=1e-4)
    lengths = [[len(row.ids) for row in rows] for rows, _, _ in parts]
    assert max(lengths[0]) <= min(lengths[1]) and sum(map(len, lengths)) == 5
    told = sorted((rows[r].ids[reads], reads, at, layer) for rows, _, p in parts for r, reads, at, layer in p.tolist())
    assert told == sorted((whole[0][r].ids[reads], reads, at, layer) for r, reads, at, layer in whole[2].tolist())


def test_pointing_moves_attention(policy):
    """A few steps of the loss raise the weight of the two heads on the token in question."""
    learner, rows = copy.deepcopy(policy), []
    stage = replace(STAGE, steps=12, batch=4, learning_rate=3e-3, pointing=2.0, statements=("where",), windows=0)
    torch.manual_seed(0)
    train_base(learner, Heads(128), stage, rows.append)
    first, _ = stated_on(policy)
    last, _ = stated_on(learner)
    assert last > 2 * first


def stated_on(policy: Policy) -> tuple[float, float]:
    """Pointing mass and text loss on six lessons."""
    made, _ = lessons_of(policy, statements=("where",))
    watched = copy.deepcopy(policy)
    attention.select(watched.model)
    with torch.no_grad():
        features = watched.encode([image for lesson in made for image in lesson.images])
        _, seen = stated(watched, *lesson_rows(made, features, watched.image_id), 1.0)
    return seen["pointing mass"], seen["text"]


def test_an_interrupted_stage_goes_on_as_if_nothing_had_happened(tmp_path, monkeypatch):
    """Killed in the middle of the second save of the second stage: weights and logs end up as those of an undisturbed
    run, since the first save is taken and not what was half written."""
    stages = (replace(STAGE, name="one", steps=2, text=False, pointing=0.0), replace(STAGE, name="two", steps=5))
    monkeypatch.setattr(base_module, "SAVED", 2)
    monkeypatch.setattr(base_module, "LOGGED", 2)
    whole = make_base(tmp_path / "whole", 0, stages)

    class Killed(Exception):
        pass

    def killed(tensors, path):
        if "000005" in str(path):
            path.write_bytes(b"half")
            raise Killed
        return ordinary(tensors, path)

    ordinary = run_module.save_file
    with monkeypatch.context() as patch:
        patch.setattr(run_module, "save_file", killed)
        with pytest.raises(Killed):
            make_base(tmp_path / "parts", 0, stages)
    heads = tmp_path / "parts" / "two.run" / "checkpoints" / "step-000004" / "beside.safetensors"
    held = heads.read_bytes()
    heads.write_bytes(held[: len(held) // 2])
    with pytest.raises(R3labError, match="beside.safetensors is not what was written"):
        make_base(tmp_path / "parts", 0, stages)
    heads.write_bytes(held)
    parts = make_base(tmp_path / "parts", 0, stages)
    a, b = Policy.load(whole).model.state_dict(), Policy.load(parts).model.state_dict()
    assert all(torch.equal(a[k], b[k]) for k in a)
    log = read_log(tmp_path / "parts" / "two.jsonl")
    assert [r["step"] for r in log] == [2, 4, 5]
    assert log[0]["seconds"] < log[1]["seconds"] < log[2]["seconds"]  # of all parts of the run
    assert {path.name for path in (tmp_path / "parts").iterdir()} == {"one", "one.jsonl", "two", "two.jsonl"}


def test_work_of_other_settings_is_not_taken_for_finished(tmp_path, capsys):
    """The work folder remembers every number; a command with other ones is refused before anything runs."""
    claim(tmp_path, settings_of(Recipe()))
    claim(tmp_path, settings_of(Recipe(work=str(tmp_path), out="elsewhere")))
    noted = json.loads((tmp_path / "recipe.json").read_text())
    assert [s["name"] for s in noted["base"]] == [s.name for s in BASE]
    assert "group" in noted["rgrpo"] and "work" not in noted
    with pytest.raises(R3labError, match="rgrpo_steps"):
        call("train tiny", ["--work", str(tmp_path), "--rgrpo-steps", "777"])
    with pytest.raises(R3labError, match="above"):  # said at once, not after hours
        call("train tiny", ["--work", str(tmp_path / "new"), "--rgrpo-steps", "7"])
