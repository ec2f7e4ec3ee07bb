"""`r3lab eval` from files to table, what a policy can read, and r3lab as a model of lmms-eval.

The answers of `r3lab eval` are scripted: a policy of random weights writes, through the real loop, what its script
says. lmms-eval is tried on requests of its shape alone, and through `simple_evaluate` where it is there.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from benchmark_files import TRUE, with_paths
from PIL import Image
from seen import Scripted

from r3lab.cli import main
from r3lab.core.arms import ARMS, get_arm
from r3lab.core.errors import R3labError
from r3lab.core.files import assets_dir
from r3lab.core.geometry import iou
from r3lab.evaluate import legibility as asking
from r3lab.evaluate import lmms as module
from r3lab.evaluate.benchmarks import get_benchmark
from r3lab.evaluate.legibility import legibility, shown_the_truth
from r3lab.evaluate.lmms import GenerationSettings, R3Lab, one_sheet
from r3lab.evaluate.run import benchmark_source, table_of, world_measures
from r3lab.models import tiny
from r3lab.models.policy import Policy, save_policy
from r3lab.recipes.facts import words
from r3lab.recipes.lessons import vocabulary
from r3lab.rollout.loop import rollout
from r3lab.show.effects import scores_page, scores_text
from r3lab.show.filmstrip import filmstrip
from r3lab.train.log import summary_of
from r3lab.trajectory import Kind, Trajectory, load
from r3lab.vlir.worlds import WORLDS, get_world

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

SCRIPT = "<script>alert(1)</script>|`x`\x1b[2J"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of random weights."""
    return save_policy(tiny.create(vocabulary(), seed=0), tmp_path_factory.mktemp("policy") / "random")


class Script:
    """Stands where `rollout` does: each question is answered by the loop with what `says` gives for it and the arm."""

    def __init__(self, says: Callable[[str, str], str]) -> None:
        self.says = says
        self.asked: list[tuple[str, str]] = []  # question id, arm
        self.settings: list[dict[str, Any]] = []

    def __call__(self, policy: Policy, samples: Any, *, numbers: Any, arm: Any, **settings: Any) -> list[Any]:
        found = []
        scripted = Scripted(policy.model, policy.tokenizer, policy.processor, policy.name)
        for sample, number in zip(samples, numbers, strict=True):
            self.asked.append((sample.id, arm.name))
            self.settings.append(settings)
            scripted.script = iter([*policy.ids(self.says(sample.id, arm.name)), policy.tokenizer.eos_token_id])
            found += rollout(scripted, [sample], numbers=[number], arm=arm, **settings)
        return found


@pytest.fixture()
def scripted(monkeypatch: pytest.MonkeyPatch) -> Callable[[Mapping[str, str] | Callable[[str, str], str]], Script]:
    """Answers by question, or a function of question and arm, become what the policy writes."""

    def install(says: Mapping[str, str] | Callable[[str, str], str]) -> Script:
        def plain(name: str, arm: str) -> str:
            return says(name, arm) if callable(says) else f"<think>So.</think><answer>{says[name]}</answer>"

        script = Script(plain)
        monkeypatch.setattr(asking, "rollout", script)
        return script

    return install


def code(*argv: str | Path) -> int:
    """The exit code of `r3lab eval ...`."""
    return main(["eval", *map(str, argv)])


def numbers(out: Path, source: str | None = None, arm: str = "interleaved") -> dict[str, Any]:
    """Values by measure, from table.json."""
    rows = json.loads((out / "table.json").read_text())["rows"]
    return {r["measure"]: r["value"] for r in rows if r["arm"] == arm and source in (None, r["source"])}


def entries(out: Path) -> list[dict[str, Any]]:
    """What the journal holds."""
    lines = (out / "records" / "journal.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines[1:]]


# ------------------------------------------------------------------ a local file of each benchmark, scored by hand


def _lines(path: Path, records: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def _hallusion(d: Path) -> Path:
    base = with_paths("hallusionbench", d)
    asked = [base | {"figure_id": f, "question_id": q} for f in "01" for q in "01"]
    blind = base | {"category": "VS", "visual_input": "0", "filename": None}
    return _lines(d / "HallusionBench.jsonl", [*asked, blind])


def _docvqa(d: Path) -> Path:
    base = with_paths("docvqa", d)
    data = [base | {"questionId": 1, "answers": ["University"]}, base | {"questionId": 2, "answers": ["axyz", "q"]}]
    (d / "val.json").write_text(json.dumps({"dataset_name": "docvqa", "data": data}))
    return d / "val.json"


def _vstar(d: Path) -> Path:
    base = with_paths("vstar", d)
    other = {"question_id": "2", "category": "relative_position"}
    return _lines(d / "test.jsonl", [base, base | {"question_id": "1"}, base | other])


# benchmark: its file, the answers given, the numbers that they come to, worked by hand, and the questions left out
CASES: dict[str, tuple[Callable[[Path], Path], dict[str, str], dict[str, float], int]] = {
    # wrong: question 1 on figure 0; figure 1 is all right, question 0 on both; the one without a figure is not asked
    "hallusionbench": (
        _hallusion,
        {f"VD_illusion_0_{f}_{q}": "no" if (f, q) == ("0", "1") else "Yes." for f in "01" for q in "01"},
        {"aAcc": 3 / 4, "fAcc": 1 / 2, "qAcc": 1 / 2},
        1,
    ),
    # one letter of ten: 0.9; "abcd" against "axyz" 1 - 3/4 is under the half, and 0
    "docvqa": (_docvqa, {"1": "Univercity", "2": "abcd"}, {"ANLS": 0.45}, 0),
    "vstar": (
        _vstar,
        {"direct_attributes/0": "(A)", "direct_attributes/1": "B", "relative_position/2": "The answer is A"},
        {"accuracy": 2 / 3, "direct_attributes": 1 / 2, "relative_position": 1.0},
        0,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_local_file_of_a_benchmark_comes_to_the_numbers_worked_by_hand(name, folder, tmp_path, scripted, capsys):
    make, answers, expected, left_out = CASES[name]
    (tmp_path / "data").mkdir()
    path, out, script = make(tmp_path / "data"), tmp_path / "out", scripted(answers)
    assert code("--benchmark", name, "--data", path, "--model", folder, "--out", out) == 0
    assert numbers(out) == pytest.approx(expected)
    record = json.loads((out / "table.json").read_text())
    assert [name for name, _ in script.asked] == list(answers)
    for row in record["rows"]:
        assert row["low"] <= row["value"] <= row["high"] and row["left_out"] == left_out and row["looks"] == 0
    assert sum(e["outcome"] == "graded" for e in entries(out)) == len(answers)
    assert [e["reason"] for e in entries(out) if e["outcome"] == "skipped"] == ["no image"] * left_out
    assert all(p["kind"] == "published" and p["benchmark"] == name and p["source"] for p in record["published"])
    printed, page = capsys.readouterr().out, (out / "table.md").read_text()
    first = f"{100 * next(iter(expected.values())):.1f} %"
    assert first in printed and first in page
    assert bool(left_out) == ("no image" in printed) == ("no image" in page)
    assert bool(record["published"]) == ("Published, not measured here" in printed) == ("VLM" in page)


def test_the_first_questions_of_a_benchmark_are_not_its_number(folder, tmp_path, scripted, capsys):
    """`--limit` asks the first ones, and the table says that the number is not the benchmark's own."""
    make, answers, _, _ = CASES["vstar"]
    path, script = make(tmp_path), scripted(answers)
    argv = ["--benchmark", "vstar", "--data", path, "--model", folder, "--out", tmp_path / "o"]
    assert code(*argv, "--limit", 2) == 0
    assert [name for name, _ in script.asked] == list(answers)[:2] and numbers(tmp_path / "o")["accuracy"] == 0.5
    assert "at most the first 2 questions, so not the benchmark's own number" in capsys.readouterr().out
    assert code(*argv) == 0 and len(script.asked) == 3
    assert "at most the first" not in capsys.readouterr().out


def test_differences_are_paired(folder, tmp_path, scripted):
    """The first arm minus the other, question by question: right against wrong in one of two."""
    path = CASES["docvqa"][0](tmp_path)
    scripted(lambda name, arm: f"<answer>{'University' if name == '1' and arm == 'one-look' else 'q'}</answer>")
    arms = ["--arm", "one-look", "--arm", "direct"]
    assert code("--benchmark", "docvqa", "--data", path, "--model", folder, *arms, "--out", tmp_path / "o") == 0
    assert numbers(tmp_path / "o", arm="one-look") == {"ANLS": 1}
    assert numbers(tmp_path / "o", arm="direct") == {"ANLS": 0.5}
    [delta] = json.loads((tmp_path / "o" / "table.json").read_text())["differences"]
    assert (delta["first"], delta["second"], delta["value"], delta["n"]) == ("one-look", "direct", 0.5, 2)
    assert (delta["low"], delta["high"]) == (0, 1)  # of two units both, either or none may be drawn


# ------------------------------------------------------------------ worlds


def test_worlds_are_scored_where_the_truth_is_known(folder, tmp_path, scripted, capsys):
    """Exact answers, IoU and looks; the trajectories that are kept can be drawn, those of other questions are not."""
    held = {s.id: s for s in (get_world("badges").sample("test", i, 4) for i in range(8))}
    needed = [s for s in held.values() if s.needs_look]
    assert 0 < len(needed) < 8

    def says(name: str, arm: str) -> str:
        sample = held[name]
        if not sample.needs_look:
            return "<answer>no digit</answer>"
        x1, y1, x2, y2 = (round(v / s * 1000) for v, s in zip(sample.regions[-1], sample.image.size * 2, strict=True))
        return f'{{"bbox_2d": [{x1}, {y1}, {x2}, {y2}]}}<answer>{sample.answer} </answer>'

    script = scripted(says)
    out = tmp_path / "out"
    argv = ["--world", "badges", "--seed", "4", "--limit", "8", "--model", folder, "--out", out, "--keep", "3"]
    assert code(*argv, "--arm", "interleaved", "direct") == 0
    got = numbers(out, "badges")
    assert got["exact"] == pytest.approx(len(needed) / 8) and got["exact_needed"] == 1
    assert got["iou"] > 0.9 and (got["look_rate_needed"], got["look_rate_unneeded"]) == (1, 0)
    blind = numbers(out, "badges", "direct")
    assert (blind["exact_needed"], blind["iou"], blind["look_rate_needed"]) == (1, None, 0)
    differences = json.loads((out / "table.json").read_text())["differences"]
    told = {d["measure"]: d["value"] for d in differences}
    assert told == {"exact": 0, "exact_needed": 0, "look_rate_needed": 1, "look_rate_unneeded": 0}
    assert "asked the bare question" in (out / "table.md").read_text()
    looks = {r["arm"]: r["looks"] for r in json.loads((out / "table.json").read_text())["rows"]}
    assert looks == pytest.approx({"interleaved": len(needed) / 8, "direct": 0})
    for arm in ("interleaved", "direct"):
        kept = sorted((out / "trajectories" / arm).iterdir())
        assert [p.name for p in kept] == ["badges-00000", "badges-00001", "badges-00002"]
        t = load(kept[0])
        assert t.arm == arm and t.sample_id in held and filmstrip(t).figure.axes
    assert {e["number"] for e in entries(out)} == set(range(8)) and len(script.asked) == 16
    assert not capsys.readouterr().err
    assert code(*argv[:-1], "5") == 0 and len(script.asked) == 16  # two more were asked before they were to be kept
    assert "2 answers were given before --keep" in capsys.readouterr().err


def test_measures_of_worlds_are_those_of_training():
    """The same definitions as `train.log.summary`, on facts at random."""
    rng = random.Random(0)
    for _ in range(40):
        found = []
        for i in range(rng.randint(1, 50)):
            right, looks = rng.random() < 0.5, rng.randint(0, 2)
            known = {"needs_look": rng.choice([True, True, False, None]), "iou": rng.choice([None, rng.random()])}
            counted = {"looks": looks, "valid": rng.randint(0, looks), "answered": True}
            found.append({"id": str(i), "right": right, "score": float(right), **known, **counted})
        means = summary_of(found)
        for measure in world_measures(found):
            mean = means[measure.name]
            assert measure.value == (None if mean is None else pytest.approx(mean, abs=1e-4))


def test_quick_is_few_questions_and_short_answers(folder, tmp_path, scripted):
    script = scripted(lambda name, arm: "<answer>1</answer>")
    assert code("--world", "badges", "--quick", "--model", folder, "--out", tmp_path / "a") == 0
    assert "asked the bare question" not in (tmp_path / "a" / "table.md").read_text()
    assert len(script.asked) == 40 and {s["max_new_tokens"] for s in script.settings} == {224}
    fewer = ["--limit", "3", "--max-new-tokens", "30"]
    assert code("--world", "badges", "--quick", *fewer, "--model", folder, "--out", tmp_path / "b") == 0
    assert len(script.asked) == 43 and script.settings[-1]["max_new_tokens"] == 30


def test_all_stands_for_all_names_and_interleaved_comes_first(folder, tmp_path, scripted):
    script = scripted(lambda name, arm: "<answer>1</answer>")
    argv = ["--world", "all", "--arm", "all", "--limit", "1", "--model", folder, "--out", tmp_path / "o"]
    assert code(*argv) == 0
    assert len(set(script.asked)) == len(script.asked) == 4 * 7
    record = json.loads((tmp_path / "o" / "table.json").read_text())
    assert {d["first"] for d in record["differences"]} == {"interleaved"}
    assert {d["second"] for d in record["differences"]} == set(ARMS) - {"interleaved"}
    assert {r["source"] for r in record["rows"]} == set(WORLDS)


def test_a_run_is_the_loops_own(folder, tmp_path):
    """Nothing scripted: the journal holds what `rollout` gives, whatever the batch."""
    argv = ["--world", "trails", "--limit", "5", "--max-new-tokens", "12", "--model", folder]
    assert code(*argv, "--batch", "2", "--temperature", "1", "--out", tmp_path / "o") == 0
    samples = [get_world("trails").sample("test", i) for i in range(5)]
    want = rollout(Policy.load(folder), samples, temperature=1.0, seed=0, max_new_tokens=12)
    assert [e["text"] for e in entries(tmp_path / "o")] == [t.response_text for t in want]


# ------------------------------------------------------------------ killed, interrupted, gone on with

WORLD = ["--world", "badges", "--max-new-tokens", "24", "--batch", "1", "--arm", "interleaved", "direct"]


@pytest.mark.slow
def test_after_a_kill_nothing_settled_is_asked_again(folder, tmp_path, monkeypatch):
    """Killed in the middle, with half a line at the journal's end; then the same numbers as a run in one go."""
    argv = [sys.executable, "-m", "r3lab", "eval", *WORLD, "--limit", "2000", "--model", str(folder)]
    env = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parent.parent), "OMP_NUM_THREADS": "1"}
    journal, until = tmp_path / "out" / "records" / "journal.jsonl", time.monotonic() + 600
    with subprocess.Popen([*argv, "--out", str(tmp_path / "out")], env=env, stderr=subprocess.DEVNULL) as process:
        while not journal.exists() or journal.read_bytes().count(b"\n") < 6:
            assert process.poll() is None and time.monotonic() < until, "the run does not get on"
            time.sleep(0.1)
        process.kill()
    settled = [(e["id"], e["arm"]) for e in entries(tmp_path / "out")]
    with (tmp_path / "out" / "records" / "journal.jsonl").open("ab") as file:
        file.write(b'{"key": "torn", "sco')
    asked: list[tuple[str, str]] = []

    def watched(policy: Policy, samples: Any, *, arm: Any, **settings: Any) -> list[Any]:
        asked.extend((sample.id, arm.name) for sample in samples)
        return rollout(policy, samples, arm=arm, **settings)

    monkeypatch.setattr(asking, "rollout", watched)
    limit = ["--limit", str(len(settled) // 2 + 3), "--model", folder]
    assert code(*WORLD, *limit, "--out", tmp_path / "out") == 0
    assert asked and not set(asked) & set(settled)
    again, asked[:] = list(asked), []
    assert code(*WORLD, *limit, "--out", tmp_path / "out") == 0 and not asked
    assert code(*WORLD, *limit, "--out", tmp_path / "whole") == 0
    tables = [json.loads((tmp_path / name / "table.json").read_text()) for name in ("out", "whole")]
    assert tables[0]["rows"] == tables[1]["rows"] and len(again) < len(asked)


def test_ctrl_c_keeps_what_is_done_and_says_how_to_go_on(folder, tmp_path, scripted, capsys):
    """In the middle of a batch, which is finished; the same command goes on behind it."""

    def says(name: str, arm: str) -> str:
        if name.endswith("-2") and not (tmp_path / "out" / "table.json").exists() and len(script.asked) == 5:
            os.kill(os.getpid(), signal.SIGINT)
        return "<answer>1</answer>"

    script = scripted(says)
    argv = [*WORLD, "--limit", 4, "--model", folder, "--out", tmp_path / "out"]
    assert code(*argv) == 130 and "interrupted; the same command goes on where it stopped" in capsys.readouterr().err
    assert not (tmp_path / "out" / "table.json").exists()
    assert len(entries(tmp_path / "out")) == 5 and all(e["outcome"] == "graded" for e in entries(tmp_path / "out"))
    assert code(*argv) == 0 and len(script.asked) == 8 == len(set(script.asked))


def test_more_arms_and_questions_go_on_and_other_settings_are_refused_by_name(folder, tmp_path, scripted, capsys):
    script = scripted(lambda name, arm: "<answer>1</answer>")
    base = ["--world", "badges", "--model", folder, "--out", tmp_path / "o"]
    assert code(*base, "--limit", 2) == 0
    assert code(*base, "--limit", 4, "--arm", "interleaved", "direct", "--batch", 3) == 0
    assert len(script.asked) == 8 == len(set(script.asked))
    assert code(*base, "--limit", 2) == 0 and len(script.asked) == 8
    rows = json.loads((tmp_path / "o" / "table.json").read_text())["rows"]
    assert {r["n"] for r in rows if r["measure"] == "exact"} == {2}
    other = save_policy(tiny.create(vocabulary(), seed=1), tmp_path / "random")
    for option, value, name in (
        ("--temperature", 1, "temperature 0.0, not 1.0"),
        ("--max-new-tokens", 9, "max-new-tokens 512, not 9"),
        ("--split", "train", "split 'test', not 'train'"),
        ("--model", other, "begun with model 'random "),
    ):
        capsys.readouterr()
        assert code(*base, "--limit", 2, option, value) == 2
        [line] = capsys.readouterr().err.splitlines()
        assert name in line and "give another folder" in line
    assert len(script.asked) == 8


def test_each_arm_may_have_a_policy_of_its_own(tmp_path, capsys):
    """Each answers as it does alone, nothing is said of untrained arms, and other weights answer anew."""
    base = ["--world", "badges", "--limit", 2, "--max-new-tokens", 6]
    of = {arm: save_policy(tiny.create(vocabulary(), seed), tmp_path / f"of-{arm}") for seed, arm in enumerate(ARMS)}
    said = {}
    for arm in ("direct", "interleaved"):
        assert code(*base, "--arm", arm, "--model", of[arm], "--out", tmp_path / arm) == 0
        said[arm] = [e["text"] for e in entries(tmp_path / arm)]
    both = [*base, "--arm", "interleaved", "direct", "--model", tmp_path / "of-{arm}", "--out", tmp_path / "both"]
    assert code(*both) == 0 == code(*both)
    found = entries(tmp_path / "both")
    assert said == {arm: [e["text"] for e in found if e["arm"] == arm] for arm in said} and said["direct"][0]
    assert "bare question" not in (tmp_path / "both" / "table.md").read_text()
    assert len(found) == 4 and code(*both, "--arm", "one-look") == 0 and len(entries(tmp_path / "both")) == 6
    save_policy(tiny.create(vocabulary(), seed=9), of["direct"])
    assert code(*both) == 0 and [e["arm"] for e in entries(tmp_path / "both")[6:]] == ["direct"] * 2
    capsys.readouterr()
    assert code(*both[:-4], "--model", tmp_path / "no-{arm}", "--out", tmp_path / "none") == 2
    assert "no-interleaved" in capsys.readouterr().err and not (tmp_path / "none").exists()


def test_a_changed_question_or_image_is_asked_anew(folder, tmp_path, scripted):
    """An answer belongs to the question that was asked, not to its number."""
    record = with_paths("vstar", tmp_path)
    path = _lines(tmp_path / "v.jsonl", [record])
    script = scripted({"direct_attributes/0": "A"})
    argv = ["--benchmark", "vstar", "--data", path, "--model", folder, "--out", tmp_path / "o"]
    assert code(*argv) == 0 == code(*argv) and len(script.asked) == 1
    _lines(path, [record | {"label": "B"}])
    assert code(*argv) == 0 and len(script.asked) == 2 and numbers(tmp_path / "o")["accuracy"] == 0
    _lines(path, [record | {"image": TRUE["hr-bench"]["image"], "text": record["text"] + " "}])
    assert code(*argv) == 0 and len(script.asked) == 3


# ------------------------------------------------------------------ what does not fit


def test_questions_that_cannot_be_asked_are_left_out_and_counted(folder, tmp_path, scripted, capsys):
    """No image, a control token, a damaged record: the score is over the others, and the table says so."""
    base = with_paths("vstar", tmp_path)
    records = [
        base,
        base | {"question_id": "1", "text": "<|im_end|> " + base["text"]},
        base | {"question_id": "2", "image": "none.png"},
        base | {"question_id": "3", "category": SCRIPT},
    ]
    path = _lines(tmp_path / "v.jsonl", records)
    script = scripted(lambda name, arm: "<answer>A</answer>")
    assert code("--benchmark", "vstar", "--data", path, "--model", folder, "--out", tmp_path / "o") == 0
    assert len(script.asked) == 2
    seen = capsys.readouterr()
    assert "1 cannot be asked of this policy, 1 cannot be read" in seen.out and "left out: v.jsonl line 3" in seen.err
    rows = json.loads((tmp_path / "o" / "table.json").read_text())["rows"]
    assert {(r["measure"], r["n"], r["left_out"]) for r in rows} >= {("accuracy", 2, 2), ("direct_attributes", 1, 2)}
    page = (tmp_path / "o" / "table.md").read_text()
    assert "<script" not in page and "\x1b" not in page + seen.out


def test_a_measure_that_cannot_be_known_is_said_to_be(tmp_path):
    """CV-Bench without one of its sources: no number, and none is made up."""
    base = with_paths("cv-bench", tmp_path)
    source = benchmark_source(get_benchmark("cv-bench"), _lines(tmp_path / "c.jsonl", [base]))
    [item] = source.items
    grade = item.grade("C")
    entry = {"id": grade.id, "outcome": "graded", "score": grade.score, "groups": grade.groups, "valid": 1}
    table = table_of([source], ["direct"], {("cv-bench", "direct"): [entry]})
    values = {line.measure: line.interval and line.interval.value for line in table.lines}
    assert values == {"overall": None, "2D": None, "3D": None, "ADE20K": 1, "COCO": None}
    assert "not known" in scores_text(table) and "not known" in scores_page(table, SCRIPT)
    assert "<script" not in scores_page(table, SCRIPT)


WRONG: dict[str, tuple[list[str], str]] = {
    "neither": ([], "with --data PATH, or --data PATH of your own, or --world NAME"),
    "both": (["--world", "badges", "--benchmark", "vstar", "--data", "{data}"], "Give either --benchmark"),
    "no data": (["--benchmark", "vstar"], "--benchmark and --data belong together"),
    "no benchmark": (["--world", "badges", "--data", "{data}"], "Give either --benchmark"),
    "own data without answers": (["--data", "{data}"], "eval needs image, question, answer"),
    "unknown benchmark": (["--benchmark", "vstarr", "--data", "{data}"], "Did you mean 'vstar'?"),
    "unknown world": (["--world", "badge"], "Did you mean 'badges'?"),
    "unknown arm": (["--world", "badges", "--arm", "onelook"], "Did you mean 'one-look'?"),
    "unknown split": (["--world", "badges", "--split", "tests"], "split"),
    "missing file": (["--benchmark", "vstar", "--data", "{tmp}/none.jsonl"], "There is no file"),
    "wrong columns": (["--benchmark", "mathvista", "--data", "{data}"], "None of the 1 records fits MathVista; the"),
    "damaged file": (["--benchmark", "vstar", "--data", "{broken}"], "is not JSON"),
    "missing model": (["--world", "badges", "--model", "{tmp}/none"], "no checkpoint folder at {tmp}/none"),
    "folder under a file": (["--world", "badges", "--out", "{data}/x"], "Cannot write"),
    "folder with another table": (["--world", "badges", "--out", "{other}"], "a table that is not of `r3lab eval`"),
    "limit": (["--world", "badges", "--limit", "0"], "--limit: '0' is not a whole number of at least 1"),
    "seed": (["--world", "badges", "--seed", "-1"], "--seed: '-1' is not"),
    "temperature": (["--world", "badges", "--temperature", "nan"], "--temperature: 'nan' is not a number"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_one_clear_line(case, folder, tmp_path, capsys):
    """Code 2, nothing asked, nothing written where the user did not say."""
    data = _lines(tmp_path / "v.jsonl", [with_paths("vstar", tmp_path)])
    (tmp_path / "broken.json").write_text("hello")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "table.json").write_text("{}")
    places = {"data": data, "tmp": tmp_path, "broken": tmp_path / "broken.json", "other": tmp_path / "other"}
    options, words = WRONG[case]
    argv = [option.format(**places) for option in options]
    defaults = [("--model", folder), ("--out", tmp_path / "out")]
    argv += [str(part) for name, value in defaults if name not in argv for part in (name, value)]
    before = sorted(tmp_path.rglob("*"))
    assert code(*argv) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("r3lab") and "error: " in line and words.format(**places) in line and len(line) < 500
    assert sorted(tmp_path.rglob("*")) == before


def test_an_image_may_lie_elsewhere(folder, tmp_path, scripted):
    record = with_paths("docvqa", tmp_path / "pictures-of-it")
    path = _lines(tmp_path / "d.jsonl", [record])
    scripted({"337": "1/8/93"})
    argv = ["--benchmark", "docvqa", "--data", path, "--model", folder]
    assert code(*argv, "--out", tmp_path / "a") == 2
    assert code(*argv, "--out", tmp_path / "b", "--images", tmp_path / "pictures-of-it") == 0
    assert numbers(tmp_path / "b") == {"ANLS": 1}


# ------------------------------------------------------------------ what is legible


@pytest.mark.parametrize("world", WORLDS)
def test_the_record_has_looked_at_the_true_regions_and_said_nothing_of_the_last(world):
    """In any world and its words; the last thing it holds is what the loop put behind the last crop."""
    fresh = tiny.create([*vocabulary(), *words()], seed=0)
    samples = [s for s in (get_world(world).sample("test", i) for i in range(8)) if s.needs_look]
    for sample in samples:
        t = shown_the_truth(fresh, sample)
        assert t.answer is None and all(look.valid and look.crop_span for look in t.looks)
        assert t.kinds[-1] == Kind.ENVIRONMENT and t.kinds[t.looks[-1].crop_span[1] - 1] == Kind.CROP
        assert max(iou(t.looks[-1].box, region) for region in sample.regions) > 0.5


def test_badges_are_legible_to_the_shipped_policy_and_the_overview_alone_is_not(shipped):
    """A digit guessed is right in a tenth of the cases; records of other images do not share what they begin with."""
    samples = [get_world("badges").sample("test", i) for i in range(24)]
    found = legibility(shipped, samples)
    assert found["n_needed"] > 12 and found["legible"] > 0.95 and found["overview_alone"] < 0.15
    needed = [s for s in samples if s.needs_look][:2]
    alone = [legibility(shipped, [s])["legible"] for s in needed]
    assert legibility(shipped, needed)["legible"] == pytest.approx(sum(alone) / 2, abs=1e-4)
    easy = [s for s in samples if not s.needs_look]
    assert legibility(shipped, easy) == {"legible": None, "overview_alone": None, "n_needed": 0}


# ------------------------------------------------------------------ as a model of lmms-eval

ROOT = Path(__file__).resolve().parent.parent
SHIPPED = assets_dir() / "tiny" / "rgrpo"
SAMPLES = [s for s in (get_world("badges").sample("test", i) for i in range(20)) if s.needs_look][:4]
HARNESS = {"max_new_tokens": 16, "temperature": 0, "do_sample": False, "until": ["\n\n"]}  # what many tasks ask for


@pytest.fixture(scope="module")
def own(shipped: Policy) -> list[Trajectory]:
    """What the loop makes of the samples, without any of lmms-eval's shapes in between."""
    return rollout(shipped, SAMPLES, temperature=0)


def model(shipped: Policy, **arguments: Any) -> R3Lab:
    """A model whose task "badges" holds the samples, and some odd documents behind them."""
    made = R3Lab(shipped, **arguments)
    made.task_dict["badges"] = {"test": [*({"images": [s.image]} for s in SAMPLES), *ODD.values()]}
    return made


ODD: dict[str, dict[str, Any]] = {  # what is wrong with a document: the document
    "has none": {"images": []},
    "has none.*": {"images": None},
    "not 'film.mp4'": {"images": ["film.mp4"]},
    "control token": {"images": [SAMPLES[0].image], "text": "Which digit <|image_pad|> is it?"},
    "7000 characters": {"images": [SAMPLES[0].image], "text": "Which? " * 1000},
    "is empty": {"images": [SAMPLES[0].image], "text": " "},
    "900 x 3": {"images": [Image.new("RGB", (900, 3))]},
    "a sheet of": {"images": [Image.new("L", (9000, 9000))] * 3},
}


def images_of(document: dict[str, Any]) -> Any:
    return document["images"]


def request(number: int, text: str | None = None, **wanted: Any) -> SimpleNamespace:
    question = SAMPLES[number].question if number < len(SAMPLES) else "Which digit is it?"
    return SimpleNamespace(args=(text or question, {**HARNESS, **wanted}, images_of, number, "badges", "test"))


# -- what a task asks for ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "temperature", "tokens", "until"),
    [
        ({}, 0.0, 512, ()),
        ({"max_new_tokens": 16, "temperature": 0, "top_p": 0.2, "num_beams": 1, "top_k": 9}, 0.0, 512, ()),
        ({"max_new_tokens": 16384}, 0.0, 16384, ()),
        ({"temperature": 0.7, "top_p": 1.0, "until": "\n"}, 0.7, 512, ("\n",)),
        ({"temperature": 0.7, "do_sample": False, "until": ["a", "", "b"]}, 0.0, 512, ("a", "b")),
        ({"do_sample": True, "until": None, "image_aspect_ratio": "original"}, 1.0, 512, ()),
        ({"do_sample": True, "temperature": 0.0}, 0.0, 512, ()),
    ],
)
def test_a_tasks_settings_are_read(wanted, temperature, tokens, until):
    assert GenerationSettings.of(wanted, 512) == GenerationSettings(temperature, tokens, until)
    assert GenerationSettings(until=("\n\n", ".")).ended("No. 7\n\nIt was easy.") == "No"
    assert GenerationSettings(until=(".",)).ended("7") == "7" and GenerationSettings(until=(".",)).ended(None) == ""


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ({"num_beams": 4}, "num_beams 4 cannot be had.*--gen_kwargs num_beams=1"),
        ({"do_sample": True, "temperature": 1, "top_p": 0.9}, "top_p 0.9 cannot be had.*top_p=1"),
        ({"do_sample": True, "temperature": 1, "top_k": 50}, "top_k 50 cannot be had"),
        ({"do_sample": True, "temperature": -1}, "temperature must be"),
        ({"do_sample": True, "temperature": float("nan")}, "temperature must be"),
        ({"do_sample": True, "temperature": "hot"}, "temperature must be a number from 0, got 'hot'"),
        ({"max_new_tokens": True}, "max_new_tokens must be"),
        ({"max_new_tokens": float("inf")}, "max_new_tokens must be"),
        ({"until": 7}, "until must be text"),
        ({"until": ["a", 7]}, "until must be text"),
    ],
)
def test_what_cannot_be_had_is_refused_before_anything_is_answered(shipped, wanted, words):
    with pytest.raises(R3labError, match=f"task badges: {words}"):
        model(shipped, strict=False).generate_until([request(4), request(0, **wanted)])


def test_the_content_of_the_answer_comes_back_in_order_and_nothing_else(shipped, own):
    """Through the loop, with its looks, though the tasks allow fewer tokens than the reasoning has."""
    assert all(t.looks for t in own) and min(sum(t.sampled_mask) for t in own) > HARNESS["max_new_tokens"]
    several = [{}, {"max_new_tokens": 600}, {}, {"max_new_tokens": 600}]
    asked = [request(i, f"<image>\n{s.question}", **several[i]) for i, s in enumerate(SAMPLES)]
    assert model(shipped, batch_size=2).generate_until(asked) == [t.answer for t in own]
    right = sum(t.answer == s.answer for t, s in zip(own, SAMPLES, strict=True))
    assert right >= 3, "else the comparison above says little"


def test_the_arguments_of_the_model_reach_the_loop(shipped, own):
    asked = [request(i) for i in range(len(SAMPLES))]
    assert model(shipped, max_new_tokens=16).generate_until(asked) == [""] * 4  # cut off: no answer, and no reasoning
    blind = rollout(shipped, SAMPLES, temperature=0, max_looks=0)
    answers = [t.answer or "" for t in blind]
    assert model(shipped, max_looks=0).generate_until(asked) == answers != [t.answer for t in own]
    unseen = rollout(shipped, SAMPLES, temperature=0, arm=get_arm("full-image-again"))
    answers = [t.answer or "" for t in unseen]
    assert model(shipped, arm="full-image-again").generate_until(asked) == answers != [t.answer for t in own]


def test_a_task_ends_the_answer_and_not_the_reasoning(shipped, own):
    """`The` and a full stop are in every reasoning."""
    asked = [request(i, until=["The", ". "]) for i in range(len(SAMPLES))]
    assert model(shipped).generate_until(asked) == [t.answer for t in own]
    assert model(shipped).generate_until([request(0, until=[own[0].answer])]) == [""]


def test_samples_depend_on_their_place_and_not_on_their_company(shipped):
    """A task with repeats sends one request several times: replies differ, and come again with the seed."""
    asked = [request(0, temperature=1.0, do_sample=True)] * 6
    together = model(shipped, batch_size=6, max_new_tokens=64).generate_until(asked)
    split = model(shipped, batch_size=2, max_new_tokens=64)
    assert together == [*split.generate_until(asked[:3]), *split.generate_until(asked[3:])]
    assert len(set(together)) > 1, "every random stream was the same"


def test_several_images_are_one_sheet():
    """Side by side, so that the second is seen."""
    shown = one_sheet([SAMPLES[0].image, SAMPLES[1].image])
    assert shown is not None and shown.size == (512 + 8 + 512, 512) and one_sheet([]) is one_sheet(None) is None
    assert shown.getpixel((512 + 8, 0)) == SAMPLES[1].image.getpixel((0, 0))
    assert one_sheet([SAMPLES[0].image.convert("P")]).mode == "RGB"  # type: ignore[union-attr]


@pytest.mark.parametrize("why", ODD)
def test_what_cannot_be_asked_ends_the_run_with_its_place_or_is_told_and_unanswered(shipped, own, why, capsys):
    number = len(SAMPLES) + list(ODD).index(why)
    odd = request(number, ODD[why].get("text"))
    with pytest.raises(R3labError, match=rf"task badges, document {number}: .*{why}.*strict=False"):
        model(shipped).generate_until([odd])
    easy = model(shipped, strict=False)
    assert easy.generate_until([odd, request(0)]) == ["", own[0].answer] and easy.refused == 1
    assert f"document {number}: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"max_look": 3}, "no argument 'max_look'.*Did you mean 'max_looks'"),
        ({"pretrained": ""}, "pretrained=FOLDER"),
        ({"pretrained": "no/such/folder"}, "no checkpoint folder"),
        ({"arm": "one-lok"}, "'one-lok'.*Did you mean 'one-look'"),
        ({"batch_size": 0}, "batch_size must be a whole number"),
        ({"batch_size": "auto"}, "batch_size must be a whole number"),
        ({"max_new_tokens": 0.5}, "max_new_tokens must be a whole number"),
        ({"max_looks": -1}, "max_looks must be a whole number"),
    ],
)
def test_an_argument_that_cannot_be_is_named(shipped, given, words):
    with pytest.raises(R3labError, match=words):
        R3Lab(**{"pretrained": shipped, **given})


def test_likelihoods_and_rounds_are_refused_with_the_reason(shipped):
    asked = SimpleNamespace(args=("Which?", lambda d: " 7", images_of, 0, "seedbench_ppl", "test"))
    with pytest.raises(R3labError, match="'seedbench_ppl'.*reasoning and looks of its own.*generate_until"):
        R3Lab(shipped).loglikelihood([asked])
    with pytest.raises(R3labError, match="in one round.*output_type generate_until"):
        R3Lab(shipped).generate_until_multi_round([asked])


def test_a_missing_part_of_lmms_eval_is_not_taken_for_its_absence(monkeypatch):
    def broken(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("lmms_eval"):
            raise ModuleNotFoundError("No module named 'loguru'", name="loguru")
        return real(name, *args, **kwargs)

    real = __import__
    monkeypatch.setattr("builtins.__import__", broken)
    with pytest.raises(ModuleNotFoundError, match="loguru"):
        importlib.reload(module)
    monkeypatch.undo()
    importlib.reload(module)


# -- through lmms-eval -------------------------------------------------------------------------------------------------

TASKS = {
    "badges.yaml": """
task: badges
dataset_path: json
dataset_kwargs: {data_files: {test: DATA}}
test_split: test
output_type: generate_until
doc_to_visual: !function badges.images
doc_to_text: "<image>{{question}}"
doc_to_target: answer
generation_kwargs: {max_new_tokens: 16, temperature: 0, do_sample: false, until: ["\\n\\n"]}
metric_list: [{metric: exact_match, aggregation: mean, higher_is_better: true}]
""",
    "badges.py": """
from PIL import Image


def images(doc, lmms_eval_specific_kwargs=None):
    return [Image.open(doc["image"])]

""",
    "run.py": """
import json
import sys

from lmms_eval.evaluator import simple_evaluate
from lmms_eval.tasks import TaskManager

folder, policy, *tasks = sys.argv[1:]
manager = TaskManager(include_path=folder, include_defaults=False, model_name="r3lab")
given = {"model": "r3lab", "model_args": f"pretrained={policy}", "batch_size": 4}
found = simple_evaluate(**given, tasks=tasks, task_manager=manager)
kept = {"results": found["results"], "resps": {t: [s["resps"] for s in found["samples"][t]] for t in tasks}}
with open(folder + "/found.json", "w") as out:
    json.dump(kept, out)
""",
}


@pytest.fixture(scope="module")
def harness(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with local tasks and their data, and r3lab registered in it as an installation would."""
    if importlib.util.find_spec("lmms_eval") is None:
        pytest.skip("lmms-eval is not installed: pip install -e '.[eval]' brings it")
    folder = tmp_path_factory.mktemp("harness")
    rows = []
    for sample in SAMPLES:
        sample.image.save(folder / f"{sample.id}.png")
        rows.append({"question": sample.question, "answer": sample.answer, "image": str(folder / f"{sample.id}.png")})
    (folder / "data.json").write_text(json.dumps(rows))
    for name, text in TASKS.items():
        (folder / name).write_text(text.replace("DATA", str(folder / "data.json")))
    points = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["entry-points"]["lmms_eval.models"]
    info = folder / "site" / "r3lab-0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: r3lab\nVersion: 0\n")
    lines = "\n".join(f"{name} = {target}" for name, target in points.items())
    (info / "entry_points.txt").write_text(f"[lmms_eval.models]\n{lines}\n")
    return folder


def evaluate(folder: Path, *tasks: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own, without a network: lmms-eval changes SSL and file locks of the process that it is in."""
    paths = [str(folder / "site"), str(ROOT), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HOME": str(folder / "home")}
    environment = {**os.environ, **offline, "PYTHONPATH": os.pathsep.join(paths)}
    command = [sys.executable, str(folder / "run.py"), str(folder), str(SHIPPED), *tasks]
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=folder)


@pytest.mark.slow
def test_lmms_eval_finds_r3lab_by_name_and_scores_a_local_task(harness, own):
    """The score is that of the loop's own answers, counted here; what was scored holds no reasoning."""
    ran = evaluate(harness, "badges")
    assert ran.returncode == 0, ran.stderr[-3000:]
    found = json.loads((harness / "found.json").read_text())
    right = sum(t.answer == s.answer for t, s in zip(own, SAMPLES, strict=True)) / len(SAMPLES)
    assert found["resps"]["badges"] == [[[t.answer]] for t in own]
    assert found["results"]["badges"]["exact_match,none"] == pytest.approx(right)
