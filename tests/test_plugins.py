"""One's own rewards, worlds, arms, filters and scores: found in one way, checked before anything starts."""

from __future__ import annotations

import csv
import json
import re
import runpy
import shlex
from importlib.metadata import EntryPoint
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nbformat
import pytest

from r3lab.cli import main
from r3lab.core import arms, plugins
from r3lab.core.arms import Arm
from r3lab.core.errors import R3labError
from r3lab.core.files import assets_dir
from r3lab.evaluate import scores
from r3lab.lab import samples as lab_samples
from r3lab.models import families
from r3lab.models.policy import Policy
from r3lab.rollout.loop import rollout
from r3lab.run.notebook import read_notebook
from r3lab.train import own_rewards as rewards
from r3lab.trajectory import load, save
from r3lab.vlir import filters, worlds
from r3lab.vlir.sample import read_vlir

KINDS = {"reward": rewards.OWN, "world": worlds.OWN, "arm": arms.OWN, "filter": filters.OWN, "score": scores.OWN}
COLD = str(assets_dir() / "tiny" / "cold-start")
SMALL = ["--model", COLD, "--steps", "1", "--prompts", "2", "--group", "2", "--minibatches", "1"]

GOOD = '''
from dataclasses import replace
from r3lab.core.arms import ARMS
from r3lab.vlir.worlds.badges import Badges

class Mine(Badges):
    name, key = "mine", (57,)

def short(t):
    return {"right": float(t.answer == t.truth["answer"]), "short": -0.01 * len(t.looks)}

twice = replace(ARMS["one-look"], name="twice", about="looks at most twice", looks=2)

def terse(sample, rationale):
    """Few words."""
    return "too long" if sum(map(len, rationale.texts)) > 60 else None

def close(answer, truth):
    return answer[:1] == truth[:1]

preset = {"right": lambda t: 1.0, "looks": lambda t: -1.0 * len(t.looks)}
'''


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file with one of each kind; what a test loads is forgotten after it."""
    for kind in KINDS.values():
        monkeypatch.setattr(kind, "own", {})
    monkeypatch.setattr(plugins, "_LOADED", {})
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "my.py"
    path.write_text(GOOD)
    return path


ARM, WORLD = "from r3lab.core.arms import Arm\nf = ", "from r3lab.vlir.worlds import World\nclass f(World):\n "
BADGES = "from r3lab.vlir.worlds.badges import Badges\nclass f(Badges):\n "
OF_NONE = f"{WORLD}name, key = 'w', (57,)\n def draw(self, rng, split, lot): return "
LOST = """name, key = 'w', (57,)
 def draw(self, *given):
  return super().draw(*given)._replace(regions=[(float('nan'), 0, 9, 9)])"""
CHANGES = """name, key = 'w', (57,)
 numbers = iter(range(99))
 def sample(self, *at):
  found = super().sample(*at)
  found.__dict__['question'] = f'Question {next(self.numbers)}?'
  return found"""
BAD = {  # kind, what is asked for, what the file holds, what the line must say
    "no such file": ("reward", "none.py:f", "", "none.py' cannot be read: No such file"),
    "no attribute": ("reward", "bad.py:short", "def shrt(t): return 1", "has no 'short'. Did you mean 'shrt'?"),
    "no name": ("reward", "bad.py", "", "give FILE.py:NAME"),
    "not Python": ("world", "bad.py:f", "def f(:", "bad.py cannot be loaded: SyntaxError"),
    "fails when loaded": ("arm", "bad.py:f", "f = 1\n1 / 0", "ZeroDivisionError: division by zero (line 2)"),
    "leaves": ("arm", "bad.py:f", "import sys; sys.exit(3)", "cannot be loaded: SystemExit: 3"),
    "an unknown name": ("score", "exakt", "", "Unknown score 'exakt'; known: exact, anls. Did you mean 'exact'?"),
    "a reward is a number": ("reward", "bad.py:f", "f = 3", "is 3; wanted a function of (trajectory)"),
    "a reward of two": ("reward", "bad.py:f", "def f(a, b): return 1", "takes (a, b); wanted a function of (traj"),
    "a reward fails": ("reward", "bad.py:f", "def f(t):\n return t.rong", "has no attribute 'rong' (line 2)"),
    "without an answer": ("reward", "bad.py:f", "def f(t): return len(t.answer)", "failed: TypeError"),
    "a reward is NaN": ("reward", "bad.py:f", "def f(t): return float('nan')", "must be finite, got {'reward': nan}"),
    "a reward is words": ("reward", "bad.py:f", "def f(t): return 'good'", "must be a number, or named ones, got 'go"),
    "a preset of numbers": ("reward", "bad.py:f", "f = {'right': 1.0}", "'right' is 1.0; wanted a function"),
    "no world": ("world", "bad.py:f", "class f: pass", "wanted a class on r3lab.vlir.worlds.World"),
    "a world without a name": ("world", "bad.py:f", f"{WORLD}key = (57,)", "name is ''"),
    "a world without draw": (
        "world",
        "bad.py:f",
        f"{WORLD}name, key = 'w', (57,)",
        "Error: a world has draw(",
    ),
    "a world that draws nothing": ("world", "bad.py:f", f"{OF_NONE}None", "draw gave None; wanted a Drawn(image, ques"),
    "a region of NaN": ("world", "bad.py:f", f"{BADGES}{LOST}", "nan, 0, 9, 9) of w-train-0-0 cannot be looked at"),
    "the draws of another": ("world", "bad.py:f", f"{BADGES}name = 'w'", "key is that of badges"),
    "a name that ships": ("world", "bad.py:f", f"{BADGES}key = (57,)", "the name 'badges', as the world that ships"),
    "another each time": ("world", "bad.py:f", f"{BADGES}{CHANGES}", "another each time"),
    "no arm": ("arm", "bad.py:f", "f = 'one-look'", "wanted a row: r3lab.core.arms.Arm(name, about, ...)"),
    "an arm that gives a film": (
        "arm",
        "bad.py:f",
        f"{ARM}Arm('a', '', back='film')",
        "back must be crop, overview or",
    ),
    "an arm of -1 looks": ("arm", "bad.py:f", f"{ARM}Arm('a', '', looks=-1)", "looks must be a whole number from 0"),
    "a filter says yes": ("filter", "bad.py:f", "def f(s, r): return True", "gave True; wanted why a sample is rej"),
    "a score of 7": ("score", "bad.py:f", "def f(a, b): return 7", "gave 7 for the answer '7'; wanted a number from"),
    "a score fails": ("score", "bad.py:f", "def f(a, b): return float(int(a) == 1)", "failed: ValueError"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_used_is_one_line(case: str, own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kind, given, code, words = BAD[case]
    Path("bad.py").write_text(code)
    with pytest.raises(R3labError) as caught:
        KINDS[kind].use(given)
    assert words in str(caught.value) and len(str(caught.value)) < 500 and "\n" not in str(caught.value)
    assert not KINDS[kind].own, "what was refused is not known"


def test_each_kind_is_found_by_file_by_its_name_and_as_an_object(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file is loaded once and that is said once; a name alone, as data have it, loads nothing."""
    for kind, name in (("arm", "my.py:twice"), ("world", "my.py:Mine")):
        with pytest.raises(R3labError, match=f"Unknown {kind}"):
            KINDS[kind].get(name)
    assert not plugins._LOADED and not capsys.readouterr().err
    given = {"reward": "short", "world": "Mine", "arm": "twice", "filter": "terse", "score": "close"}
    for kind, name in given.items():
        found = KINDS[kind].use(f"my.py:{name}")
        pinned = KINDS[kind].pinned(f"my.py:{name}")
        assert pinned.startswith(f"{own}:{name}@") and KINDS[kind].use(pinned) is found is KINDS[kind].get(pinned)
        assert KINDS[kind].use(found) is found
    assert capsys.readouterr().err == f"r3lab: {own} is code that you chose to run; it can do what you can do.\n"
    assert arms.get_arm("twice").looks == 2 and worlds.get_world("mine").name == "mine"
    assert rewards.use_reward("my.py:preset")(rewards.trials()[1]) == {"right": 1.0, "looks": 0.0}
    own.write_text(GOOD + "\n")
    with pytest.raises(R3labError, match="my.py was changed: it was .*, now it is"):
        arms.OWN.use(pinned.replace("close", "twice"))


def test_a_package_offers_its_own_as_entry_points(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def offers(group: str) -> list[Any]:
        held = SimpleNamespace(name="brief", load=lambda: lambda t: 1.0, dist=SimpleNamespace(version="1.2"))
        return [held] if group == "r3lab.rewards" else []

    monkeypatch.setattr(plugins, "entry_points", offers)
    assert rewards.use_reward("brief")(rewards.trials()[0]) == 1.0 and rewards.OWN.pinned("brief") == "brief@1.2"
    with pytest.raises(R3labError, match="reward brief was of version 1.1, now it is 1.2"):
        rewards.use_reward("brief@1.1")
    with pytest.raises(R3labError, match="known: paper, official-code, grounded, brief. Did you mean 'brief'"):
        rewards.use_reward("breif")


def test_worlds_are_drawn_by_weight_and_in_turn_as_ever(own: Path) -> None:
    ids = [s.id for s in islice(worlds.drawn("badges,my.py:Mine:2", "train", 3, range(6)), 6)]
    names = ["mine", "badges", "mine"] * 2
    assert ids == [f"{name}-train-3-{i}" for name, i in zip(names, (0, 0, 1, 2, 1, 3), strict=True)]
    turns = [s.id for s in worlds.drawn(["badges", "trails"], "test", 0, range(3))]
    assert turns == ["badges-test-0-0", "trails-test-0-0", "badges-test-0-1"]
    assert [s.world for s in lab_samples(worlds.get_world("mine"), 2)] == ["mine", "mine"]
    for wrong in ("badges:0", "badges:1.5", "badges:-1", "badges:9999"):
        with pytest.raises(R3labError, match="the weight of world badges is .*; wanted a whole number from 1 to 1000"):
            worlds.mixture(wrong)


def test_an_arm_of_ones_own_is_kept_with_its_records_as_data(own: Path, policy: Policy, samples: list) -> None:
    """Records of it are read where the file is not: its row stands in them, and no code is loaded."""
    twice = arms.OWN.use("my.py:twice")
    [t] = rollout(policy, samples[:1], seed=1, max_new_tokens=8, arm=twice)
    path = save(t, own.parent / "kept")
    arms.OWN.own.clear()
    plugins._LOADED.clear()
    assert load(path) == t and arms.get_arm("twice") == twice and not plugins._LOADED
    text = path.read_text()
    for change, words in (
        (("most twice", "most thrice"), "another arm of the name 'twice'"),
        (('"crop"', '"film"'), "back"),
    ):
        path.write_text(text.replace(*change))
        with pytest.raises(R3labError, match=words):
            load(path)
    arms.OWN.own.clear()
    path.write_text(json.dumps({**json.loads(text), "arm": f"{own}:twice"}))
    with pytest.raises(R3labError, match="arm must be one of direct"):
        load(path)
    assert not plugins._LOADED


def test_training_with_ones_own_and_going_on_with_no_other(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Own reward, worlds by weight and arm in two steps of R-GRPO; --resume refuses a file that was changed."""
    given = ["--reward", "my.py:short", "--world", "badges,my.py:Mine:2", "--arm", "my.py:twice", "--out", "run"]
    assert main(["train", "rgrpo", *SMALL, *given]) == 0
    rows = [json.loads(line) for line in Path("run/log.jsonl").read_text().splitlines()]
    assert {"reward/right", "reward/short"} <= rows[-1].keys()
    assert rows[0]["settings"]["reward"].startswith(f"{own}:short@")
    own.write_text(GOOD.replace("0.01", "0.02"))
    assert main(["train", "rgrpo", *SMALL, *given, "--resume", "--steps", "2"]) == 2
    assert "my.py:Mine:2 was changed since run began; restore it" in capsys.readouterr().err
    own.write_text(GOOD)
    assert main(["train", "rgrpo", *SMALL, *given, "--resume", "--steps", "2"]) == 0


def test_what_is_wrong_stops_a_run_before_anything_is_loaded(
    own: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def load_none(*args: Any, **named: Any) -> None:
        raise AssertionError("a policy was loaded")

    monkeypatch.setattr(Policy, "load", load_none)
    Path("bad.py").write_text("def f(t): return t.truth['colour']\ndef g(a, b): return 2\ndef h(s, r): return s.colour")
    every = {
        "KeyError: 'colour' (line 1)": ["train", "rgrpo", "--reward", "bad.py:f"],
        "Did you mean 'grounded'": ["train", "rgrpo", "--reward", "groundd"],
        "Did you mean 'badges'": ["train", "rgrpo", "--world", "trails,badge"],
        "wanted a class on": ["eval", "--world", "bad.py:h"],
        "wanted a row": ["eval", "--world", "badges", "--arm", "bad.py:f"],
        "wanted a number from 0 to 1": ["eval", "--world", "badges", "--score", "bad.py:g"],
        "failed: AttributeError": ["vlir", "filter", "none", "--filters", "bad.py:h", "--judge-model", COLD],
    }
    for words, argv in every.items():
        assert main([*argv, "--out", "nothing"]) == 2
        assert words in capsys.readouterr().err.splitlines()[-1] and not Path("nothing").exists(), words


def test_a_sweep_checks_and_pins_before_its_first_point(
    own: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from r3lab.cli.run import pinned

    cell = nbformat.v4.new_code_cell("reward = 'grounded'\nworld = 'the old world'", metadata={"tags": ["parameters"]})
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), "lesson.ipynb")
    read_notebook("lesson.ipynb")
    for given, words in (("my.py:shrt", "Did you mean 'short'"), ("grounde", "Did you mean 'grounded'")):
        assert main(["sweep", "lesson.ipynb", "-p", f"reward=paper,{given}", "-o", "swept"]) == 2
        assert words in capsys.readouterr().err and not Path("swept").exists()
    defaults = {"reward": "grounded", "world": "the old world", "seed": 0}
    [one, two] = pinned([{"reward": "my.py:short", "seed": 1}, {"reward": "paper", "world": "new"}], defaults)
    assert one["reward"] == rewards.OWN.pinned("my.py:short") and two == {"reward": "paper", "world": "new"}


def test_own_filters_and_scores_and_worlds_in_their_commands(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["vlir", "build", "--world", "my.py:Mine", "--count", "4", "--out", "raw"]) == 0
    assert {s.world for s, _ in read_vlir("raw")} == {"mine"}
    assert main(["vlir", "filter", "raw", "--filters", "unit", "my.py:terse", "--out", "kept"]) == 0
    assert "too long" in Path("kept/rejected.jsonl").read_text()
    sheet = ["worlds", "--sheet", "--world", "my.py:Mine", "--count", "2", "--out", "mine.png"]
    assert main(sheet) == 0 and Path("mine.png").is_file()
    argv = ["eval", "--world", "my.py:Mine", "--limit", "2", "--model", COLD, "--arm", "interleaved", "my.py:twice"]
    assert main([*argv, "--score", "my.py:close", "--out", "measured"]) == 0
    rows = json.loads(Path("measured/table.json").read_text())["rows"]
    assert {"close", "close_needed"} <= {row["measure"] for row in rows} and {r["arm"] for r in rows} == {
        "interleaved",
        "twice",
    }
    capsys.readouterr()
    assert main([*argv, "--out", "measured"]) == 2
    assert "was begun with score" in capsys.readouterr().err


def test_an_arm_handed_over_in_python_is_trained_in(own: Path, policy: Policy) -> None:
    import r3lab

    row = Arm("mine-alone", "looks once", looks=1)
    r3lab.train(policy, "badges", steps=1, prompts=2, group=2, minibatches=1, arm=row, progress=False)
    assert arms.get_arm("mine-alone") is row


PAGE = Path(plugins.__file__).parents[1] / "EXTEND.md"
PROJECT = PAGE.parents[1] / "pyproject.toml"


def offers_of(project: str, group: str) -> list[EntryPoint]:
    """The entry points of a group, as a text in the form of pyproject.toml has them."""
    under = project.partition(f'[project.entry-points."{group}"]\n')[2].partition("\n[")[0]
    return [EntryPoint(name, value, group) for name, value in re.findall(r'^(\w+) = "(.*)"$', under, re.M)]


def test_a_world_that_r3lab_offers_by_name_is_found_named_and_listed(
    own: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As its pyproject.toml says, in whatever was installed: found when it is named, and not before."""
    project = PROJECT.read_text("utf-8")
    monkeypatch.setattr(plugins, "entry_points", lambda group: offers_of(project, group))
    assert "diagrams" not in worlds.WORLDS and worlds.OWN.offered() == {"diagrams": "?"}
    with pytest.raises(R3labError, match="Unknown world 'diagrams'"):
        worlds.get_world("diagrams")
    with pytest.raises(R3labError, match="known: badges, .*, diagrams. Did you mean 'diagrams'"):
        worlds.OWN.use("diagram")
    assert main(["worlds"]) == 0 and "`diagrams`: offered by the package" in capsys.readouterr().out
    assert {s.world for s in worlds.drawn("diagrams,badges:2", "train", 0, range(3))} == {"diagrams", "badges"}
    assert worlds.get_world("diagrams").sample("test", 0).world == "diagrams"


@pytest.mark.parametrize("recipe", ["A reward", "A world", "An arm", "Data", "A family", "A package"])
def test_a_recipe_runs_as_it_is_printed(
    recipe: str, own: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its files are saved and its commands run, in a folder outside of the repository, which stays as it is; what a
    package offers is what r3lab's own pyproject.toml says, whatever is installed."""
    Path("assets").symlink_to(assets_dir())
    monkeypatch.setattr(families, "FAMILIES", dict(families.FAMILIES))
    section = PAGE.read_text("utf-8").split(f"## {recipe}\n")[1].split("\n## ")[0]
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", section, re.S | re.M)
    names = re.findall(r"Save\s+as\s+`(\w+\.\w+)`", section)
    files = zip(names, [text for kind, text in blocks if kind not in ("", "toml")], strict=True)
    commands = [line for kind, text in blocks if not kind for line in text.splitlines()]
    [offer] = [text for kind, text in blocks if kind == "toml"] or [""]
    assert commands and bool(names) is (recipe != "A package") is not offer and offer in PROJECT.read_text("utf-8")
    monkeypatch.setattr(plugins, "entry_points", lambda group: offers_of(offer, group))
    for name, text in files:
        Path(name).write_text(text)
    for line in commands:
        program, *argv = shlex.split(line)
        if program == "python":
            runpy.run_path(argv[0])
        else:
            assert program == "r3lab" and main(argv) == 0, (line, capsys.readouterr().err)
    if recipe == "A world":
        drawn = worlds.drawn("triangles.py:Triangles,badges:2", "train", 0, range(3))
        assert {s.world for s in drawn} == {"triangles", "badges"}
        assert json.loads(Path("runs/why/explanation.json").read_text())


def test_the_page_has_these_recipes_alone() -> None:
    titles = re.findall(r"^## (.*)$", PAGE.read_text("utf-8"), re.M)
    assert titles == ["A reward", "A world", "An arm", "Data", "A family", "A package"]
    groups = re.findall(r"`r3lab\.(\w+)s`", PAGE.read_text("utf-8"))
    assert groups == ["reward", "world", "arm", "filter", "score"] == [kind.kind for kind in KINDS.values()]


@pytest.mark.notebook
@pytest.mark.slow
def test_a_sweep_over_ones_own_reward(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two points in kernels of their own; the file's name and hash stand in the table."""
    monkeypatch.setenv("PYTHONPATH", str(PAGE.parents[1]))
    train = (
        "import r3lab\nrows = []\npolicy = r3lab.load('cold-start')\n"
        "r3lab.train(policy, 'badges', steps=1, prompts=2, group=2, minibatches=1, reward=reward, log=rows.append)\n"
        "r3lab.record(parts=','.join(sorted(k for k in rows[-1] if k.startswith('reward/'))))"
    )
    cells = [nbformat.v4.new_code_cell("reward = 'paper'", metadata={"tags": ["parameters"]})]
    cells.append(nbformat.v4.new_code_cell(train))
    nbformat.write(nbformat.v4.new_notebook(cells=cells), "lesson.ipynb")
    assert main(["sweep", "lesson.ipynb", "-p", "reward=official-code,my.py:short", "--jobs", "1", "-o", "swept"]) == 0
    with Path("swept/table.csv").open() as file:
        found = {row["reward"]: row["parts"] for row in csv.DictReader(file)}
    assert found[rewards.OWN.pinned("my.py:short")] == "reward/right,reward/short" and len(found) == 2
