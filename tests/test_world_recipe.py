"""The recipe of four worlds: each arm gets the same samples and updates, is measured in each world, and is kept."""

from __future__ import annotations

import json
from functools import partial
from itertools import islice
from pathlib import Path

import pytest

from r3lab.cli import call
from r3lab.core.arms import ARMS
from r3lab.core.errors import R3labError
from r3lab.models import tiny
from r3lab.models.policy import Policy, save_policy
from r3lab.recipes import policies, stages
from r3lab.recipes.facts import words
from r3lab.recipes.lessons import vocabulary
from r3lab.recipes.policies import WORLD_STAGES, Recipe, WorldRecipe, cold_started, lessons_of_imperfect_teacher
from r3lab.vlir.worlds import WORLDS, get_world, world_batches


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights with the words of all worlds."""
    policy = tiny.create([*vocabulary(), *words()], seed=0)
    return save_policy(policy, tmp_path_factory.mktemp("worlds") / "base")


def test_worlds_take_turns():
    """A batch goes round the worlds; what one alone gives stands in the same order; a start leaves samples out."""
    names = tuple(WORLDS)
    batches = world_batches(names, 6, 3)
    first, second = next(batches), next(batches)
    assert [s.world for s in first + second] == [names[i % 4] for i in range(12)]
    alone = next(world_batches("charts", 3, 3))
    assert [s.id for s in first + second if s.world == "charts"] == [s.id for s in alone]
    assert [s.id for s in next(world_batches(names, 6, 3, 6))] == [s.id for s in second]


def test_the_teacher_of_badges_is_as_before_and_others_are_taught():
    [pairs] = islice(lessons_of_imperfect_teacher(Recipe(), 0, 4), 1)
    world = get_world("badges")
    assert [s.id for s, _ in pairs] == [world.sample("train", i, 1000).id for i in range(4)]
    [mixed] = islice(lessons_of_imperfect_teacher(Recipe(), 0, 40, tuple(WORLDS)), 1)
    assert {s.world for s, _ in mixed} == set(WORLDS)
    assert all(str(r.parts[-1]).endswith(f"<answer>{s.answer}</answer>") for s, r in mixed)
    needed = [(s, r) for s, r in mixed if s.needs_look]
    assert any(r.boxes for _, r in needed) and any(not r.boxes for _, r in needed), "a hasty teacher"


def test_the_command_makes_measures_ships_and_keeps(base, tmp_path, monkeypatch, capsys):
    out, work = tmp_path / "out", tmp_path / "work"
    monkeypatch.setattr(stages, "CANDIDATES", 4)
    monkeypatch.setattr(policies, "lessons_of_imperfect_teacher", partial(lessons_of_imperfect_teacher, batch=4))
    given = ["--base", str(base), "--work", str(work), "--out", str(out), "--arms", "direct, interleaved"]
    given += ["--seeds", "1", "--cold_start_steps", "1", "--rgrpo_steps", "1", "--prompts", "4", "--new_tokens", "12"]
    given += ["--test_samples", "2"]
    given = [g.replace("_", "-") if g.startswith("--") else g for g in given]
    assert call("train worlds", given) == 0
    rows = json.loads((out / "results" / "worlds.json").read_text())["rows"]
    wanted = [(arm, stage, world) for arm in ("direct", "interleaved") for stage in WORLD_STAGES for world in WORLDS]
    assert [(r["arm"], r["stage"], r["world"]) for r in rows] == wanted and all(r["n"] == 2 for r in rows)
    assert all(("legible" in r) == (r["arm"] == "interleaved") for r in rows)
    for name in ("cold-start", "rgrpo"):
        assert len(Policy.load(out / "worlds" / name).ids(" apples")) == 1
    assert not list(work.glob("*.run")), "what only a killed run needs is gone"

    def fail(*_: object) -> None:
        raise AssertionError("made again")

    monkeypatch.setattr(stages, "cold_start", fail)
    monkeypatch.setattr(stages, "train_rgrpo", fail)
    assert call("train worlds", [*given, "--arms", "direct"]) == 0
    again = json.loads((out / "results" / "worlds.json").read_text())["rows"]
    assert again == rows, "the results hold all that is finished there"
    with pytest.raises(R3labError, match="made with new_tokens 12, not 13"):
        call("train worlds", [*given[: given.index("--new-tokens")], "--new-tokens", "13", "--test-samples", "2"])


def test_marks_that_the_base_has_never_written_get_a_longer_cold_start(base, tmp_path, monkeypatch):
    """After as many steps as the others have, the headings of the staged arms are still misspelled."""
    steps = {}
    monkeypatch.setattr(stages, "cold_start", lambda policy, pairs, s, log: steps.update({s.arm: s.steps}))
    for arm in ARMS:
        cold_started(WorldRecipe(cold_start_steps=3, marks_steps=4), base, tmp_path, arm, 0)
    assert steps == {arm: 7 if arm.startswith("staged") else 3 for arm in ARMS}


def test_what_is_wrong_is_said_before_anything_is_made(base, tmp_path):
    quick = ["--base", str(base), "--cold-start-steps", "1"]
    for message, given in {
        "Unknown arm 'directly'": ["--base", str(base), "--arms", "directly"],
        "no policy at": ["--base", str(tmp_path / "nothing")],
        "seeds": ["--base", str(base), "--seeds", "0"],
        "marks_steps must be 0 or above, got -1": [*quick, "--arms", "staged-mulberry", "--marks-steps", "-1"],
    }.items():
        with pytest.raises(R3labError, match=message):
            call("train worlds", [*given, "--work", str(tmp_path / "work")])
    assert not (tmp_path / "work").exists()
    assert WorldRecipe().arms.count(",") == 6
