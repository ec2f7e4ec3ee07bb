"""The ablations and the recipe of four worlds: as many samples and updates for all, measured, and kept once made."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from r3lab.cli import call, main
from r3lab.core.arms import ARMS
from r3lab.core.errors import R3labError
from r3lab.evaluate.run import world_source
from r3lab.models import tiny
from r3lab.models.policy import Policy, save_policy
from r3lab.recipes import ablations as train
from r3lab.recipes import planted, policies, stages
from r3lab.recipes.ablations import FULL, VARIANTS, Budget, get_variant, point, settings_of, updates_of
from r3lab.recipes.facts import words
from r3lab.recipes.lessons import vocabulary
from r3lab.recipes.policies import WORLD_STAGES, Recipe, WorldRecipe, cold_steps, lessons_of_imperfect_teacher
from r3lab.recipes.reasons import PLANTS
from r3lab.recipes.settings import FurtherRecipe
from r3lab.recipes.world_lessons import WorldLessons
from r3lab.train.log import read_log
from r3lab.train.rewards import preset
from r3lab.vlir.worlds import WORLDS, get_world, mixture, world_batches
from r3lab.vlir.worlds.badges import Badges

SMALL = Budget(lessons=4, steps=1, test=2)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights."""
    return save_policy(tiny.create(vocabulary(), seed=0), tmp_path_factory.mktemp("ablations") / "base")


@pytest.mark.parametrize("variant", VARIANTS.values(), ids=lambda variant: variant.name)
def test_all_get_as_many_updates_and_rollouts(variant):
    """200 updates of the default budget, 96 rollouts a step; the reward and the arm exist."""
    assert sum(updates_of(variant, Budget())) == 200
    settings = settings_of(variant, 3, Budget())
    assert settings.prompts * settings.group == 96 and settings.seed == 3
    assert preset(settings.reward) and settings.arm == variant.arm


def test_what_differs():
    whole = settings_of(get_variant(FULL), 0, Budget())
    assert settings_of(get_variant("without region reward"), 0, Budget()).reward == "grounded without region"
    assert settings_of(get_variant("vision tower trained"), 0, Budget()).freeze_vision is False and whole.freeze_vision
    assert settings_of(get_variant("without VLIR cold start"), 0, Budget()).steps == whole.steps + 50
    assert updates_of(get_variant("without R-GRPO"), Budget()) == (200, 0)
    with pytest.raises(R3labError, match="unknown variant 'ful'.*full"):
        get_variant("ful")


@pytest.fixture
def few(monkeypatch):
    """Four rollouts a step, and short ones; four samples a lesson."""
    real = train.settings_of

    def small(*given):
        return replace(real(*given), prompts=2, group=2, max_new_tokens=24)

    monkeypatch.setattr(train, "settings_of", small)
    monkeypatch.setattr(policies, "lessons_of_imperfect_teacher", partial(lessons_of_imperfect_teacher, batch=4))


@pytest.mark.parametrize("name", [FULL, "without VLIR cold start", "without R-GRPO"])
def test_a_point_is_made_once(name, base, few, tmp_path):
    """The row says what was trained; again, it is read; with another budget, it is refused."""
    row = point(get_variant(name), 0, SMALL, base, tmp_path)
    assert row["n"] == 2 and row["variant"] == name and sum(row["updates"].values()) == 6
    files = {path.name for path in tmp_path.iterdir()}
    slug = name.replace(" ", "-")
    assert (f"{slug}-0.jsonl" in files) == get_variant(name).push == (f"{slug}-0" in files)
    assert any(f.startswith("cold-start-") for f in files) == get_variant(name).cold
    if get_variant(name).cold:
        [log] = [path for path in tmp_path.glob("cold-start-*.jsonl")]
        assert len(read_log(log)) == row["updates"]["cold start"]
    stamp = (tmp_path / f"{slug}-0.json").stat().st_mtime_ns
    assert point(get_variant(name), 0, SMALL, base, tmp_path) == row
    assert (tmp_path / f"{slug}-0.json").stat().st_mtime_ns == stamp
    with pytest.raises(R3labError, match="another budget"):
        point(get_variant(name), 0, Budget(lessons=4, steps=2, test=2), base, tmp_path)


def test_the_command_writes_rows_and_a_curve(base, few, tmp_path, monkeypatch, capsys):
    """Two variants, one seed; the curve is asked for the whole method alone."""
    asked: list[int] = []

    def told(policy: Policy, seed: int, samples: int) -> list[dict]:
        asked.append(samples)
        return [{"grounding": 1.0, "seed": seed, "n": samples, "exact": 1.0}]

    monkeypatch.setattr("r3lab.recipes.ablations.curve", told)
    out = tmp_path / "found.json"
    given = ["--base", str(base), "--work", str(tmp_path / "work"), "--out", str(out), "--seeds", "1"]
    given += ["--lessons", "4", "--steps", "1", "--test", "2", "--grounding", "3", "--only", "full, group of 16"]
    assert call("train ablations", given) == 0
    found = json.loads(out.read_text())
    assert [row["variant"] for row in found["rows"]] == ["full", "group of 16"]
    assert [(c["variant"], len(c["exact"])) for c in found["curves"]] == [("full", 1), ("group of 16", 1)]
    assert asked == [3] and found["grounding"][0]["exact"] == 1.0 and "train ablations" in found["command"]
    with pytest.raises(R3labError, match="no base at"):
        call("train ablations", ["--base", str(tmp_path / "nothing")])


def test_the_curve_is_a_mixture(monkeypatch):
    """At 1 all looks are at the true region; between, right answers are mixed by the share; seeds repeat."""
    right = np.array([[True, False]] * 90 + [[True, True]] * 6 + [[False, False]] * 4)
    monkeypatch.setattr(train, "outcomes", lambda policy, seed, samples: right)
    rows = train.curve(None, 0, 100)
    assert [row["grounding"] for row in rows] == list(train.SHARES) and rows[-1]["exact"] == 0.96
    for row in rows:
        assert row["exact"] == pytest.approx(0.06 + 0.9 * row["grounding"], abs=0.01)
    assert rows == train.curve(None, 0, 100) != train.curve(None, 1, 100)


def test_outcomes_of_a_policy_that_looks(policy, monkeypatch):
    """Two answers of each sample that needs a look and in which one was taken."""
    monkeypatch.setattr(train, "BATCH", 12)
    right = train.outcomes(policy, 0, 8)
    assert right.shape == (8, 2) and right.dtype == bool


def test_no_result_is_of_another_split_than_it_says(policy, base, tmp_path, monkeypatch, capsys):
    """A world that hands out training samples under another name ends whatever would write a result of them."""
    monkeypatch.setattr(train, "BATCH", 12)
    fair = stages.measured(policy, stages.held_out("badges", 2), max_new_tokens=8)
    whole = get_world("badges").sample
    monkeypatch.setattr(Badges, "sample", lambda self, split, index, seed=0: whole("train", index, seed))
    wrong = "sample 'badges-train-0-0' is of the split 'train', not of 'test'"
    writers = {
        "measured": lambda: stages.measured(policy, stages.held_out("badges", 2)),
        "picture": lambda: stages.picture(policy, "badges", 8, tmp_path / "a.png", tmp_path / "b.png"),
        "ablations": lambda: train.measured(policy, get_variant(FULL), 2),
        "grounding": lambda: train.outcomes(policy, 0, 2),
        "planted": lambda: planted.rolled(policy, PLANTS["shortcut"], "test", 2),
        "a source": lambda: list(world_source(get_world("badges"), "test", 2).items),
    }
    for name, write in writers.items():
        with pytest.raises(R3labError, match="is of the split 'train', not of 'test'") as told:
            write()
        assert wrong in str(told.value) or name in ("picture", "planted", "grounding"), name
    argv = ["eval", "--world", "badges", "--limit", "2", "--model", str(base), "--out", str(tmp_path / "o")]
    assert main(argv) == 2 and wrong in capsys.readouterr().err and not (tmp_path / "o" / "table.json").exists()
    assert fair["n"] == 2 and main([*argv[:-1], str(tmp_path / "p"), "--split", "train"]) == 0
    with pytest.raises(R3labError, match="'train', not of 'validation'"):
        stages.measured(policy, stages.held_out("badges", 1), split="validation")


@pytest.fixture(scope="module")
def worlds_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
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


def test_the_command_makes_measures_ships_and_keeps(worlds_base, tmp_path, monkeypatch, capsys):
    out, work = tmp_path / "out", tmp_path / "work"
    monkeypatch.setattr(stages, "CANDIDATES", 4)
    monkeypatch.setattr(policies, "lessons_of_imperfect_teacher", partial(lessons_of_imperfect_teacher, batch=4))
    given = ["--base", str(worlds_base), "--work", str(work), "--out", str(out), "--arms", "direct, interleaved"]
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


def test_a_further_world_is_taught_beside_the_four(worlds_base, tmp_path, monkeypatch):
    """Lessons, cold start and R-GRPO hold the world and the others; what is measured is of the split and seed told."""
    seen, teach = set[str](), policies.lessons_of_imperfect_teacher

    def few(*given, **more):
        for batch in teach(*given, **{**more, "batch": 12}):
            seen.update(s.world for s, _ in batch)
            yield batch

    monkeypatch.setattr(policies, "lessons_of_imperfect_teacher", few)
    short = ["--lessons", "1", "--corners", "1"]
    short += ["--cold-start-steps", "1", "--rgrpo-steps", "1", "--prompts", "4", "--new-tokens", "12"]
    where = ["--base", str(worlds_base), "--work", str(tmp_path / "work"), "--out", str(tmp_path / "out")]
    given = [*where, *short, "--seeds", "2", "--test-samples", "3", "--test-seed", "9", "--split", "validation"]
    asked = []
    drawn = stages.held_out
    monkeypatch.setattr(stages, "held_out", lambda *of: asked.extend(found := drawn(*of)) or found)
    assert call("train further", given) == 0
    assert {s.id for s in asked} == {f"diagrams-validation-9-{k}" for k in range(3)}
    found = json.loads((tmp_path / "out" / "results" / "diagrams.json").read_text())
    assert [(r["seed"], r["stage"]) for r in found["rows"]] == [(s, stage) for s in (0, 1) for stage in WORLD_STAGES]
    assert all(r["n"] == len(r["each"]) == 3 and r["exact"] == r["each"].count("1") / 3 for r in found["rows"])
    assert seen == {*WORLDS, "diagrams"} and found["recipe"]["test_seed"] == 9
    first, then = policies.further_stages(FurtherRecipe())
    assert then.corners and not first.corners, "the ends of a side are looked for last"
    stream = WorldLessons(Policy.load(worlds_base), first)
    assert dict(zip(stream.worlds, stream.weights, strict=True)) == pytest.approx(
        {**dict.fromkeys(WORLDS, 0.075), "diagrams": 0.7}
    )
    drawn_in_turn = Counter(world.name for world, _, _ in mixture(policies.turns(FurtherRecipe())))
    assert drawn_in_turn == {**dict.fromkeys(WORLDS, 1), "diagrams": 9}
    for world, message in {"diagram": "Unknown world 'diagram'", "charts": "charts is one of the worlds"}.items():
        with pytest.raises(R3labError, match=message):
            call("train further", [*given, "--world", world, "--work", str(tmp_path / "none")])
    assert not (tmp_path / "none").exists()
    with pytest.raises(R3labError, match="others must be between 0 and 1, got 1.0"):
        call("train further", [*given, "--others", "1.0"])
    with pytest.raises(R3labError, match="made with lessons 1, not 2"):
        call("train further", [*given, "--lessons", "2"])
    for made_again in ("cold_start", "train_rgrpo", "train_base"):
        monkeypatch.setattr(stages, made_again, None)
    assert call("train further", [*given, "--split", "test"]) == 0, "decided on validation: only measured anew"
    again = json.loads((tmp_path / "out" / "results" / "diagrams.json").read_text())
    assert {r["split"] for r in again["rows"]} == {"test"} == {again["recipe"]["split"]}


def test_marks_that_the_base_has_never_written_get_a_longer_cold_start():
    """After as many steps as the others have, the headings of the staged arms are still misspelled."""
    steps = {arm: cold_steps(WorldRecipe(cold_start_steps=3, marks_steps=4), arm) for arm in ARMS}
    assert steps == {arm: 7 if arm.startswith("staged") else 3 for arm in ARMS}


def test_what_is_wrong_is_said_before_anything_is_made(worlds_base, tmp_path):
    quick = ["--base", str(worlds_base), "--cold-start-steps", "1"]
    for message, given in {
        "Unknown arm 'directly'": ["--base", str(worlds_base), "--arms", "directly"],
        "no policy at": ["--base", str(tmp_path / "nothing")],
        "seeds": ["--base", str(worlds_base), "--seeds", "0"],
        "marks_steps must be 0 or above, got -1": [*quick, "--arms", "staged-mulberry", "--marks-steps", "-1"],
    }.items():
        with pytest.raises(R3labError, match=message):
            call("train worlds", [*given, "--work", str(tmp_path / "work")])
    assert not (tmp_path / "work").exists()
    assert WorldRecipe().arms.count(",") == 6
