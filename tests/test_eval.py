"""`r3lab eval` from files to table: scores worked by hand, nothing asked twice, one clear line about what is wrong.

The answers are scripted: a policy of random weights writes, through the real loop, what its script says.
"""

from __future__ import annotations

import csv
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from benchmark_files import PNG, TRUE, with_paths

from r3lab.cli import main
from r3lab.core.arms import ARMS
from r3lab.evaluate import legibility as asking
from r3lab.evaluate.benchmarks import BENCHMARKS, get_benchmark
from r3lab.evaluate.run import BenchmarkSource, WorldSource, fingerprint, table_of
from r3lab.models import tiny
from r3lab.models.policy import Policy, save_policy
from r3lab.recipes.lessons import vocabulary
from r3lab.rollout.loop import rollout
from r3lab.show.effects import scores_page, scores_text
from r3lab.show.filmstrip import filmstrip
from r3lab.train.log import summary_of
from r3lab.trajectory import load
from r3lab.vlir.worlds import WORLDS, get_world

SCRIPT = "<script>alert(1)</script>|`x`\x1b[2J"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of random weights."""
    return save_policy(tiny.create(vocabulary(), seed=0), tmp_path_factory.mktemp("policy") / "random")


class Scripted(Policy):
    """Writes the script, whatever the model thinks."""

    script: Iterator[int]

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """All weight on the script's next token."""
        logits = torch.zeros_like(super().logits(hidden))
        logits[:, next(self.script)] = 1e4
        return logits


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
    """The exit code of `r3lab eval ...`, also where argparse leaves by itself."""
    try:
        return main(["eval", *map(str, argv)])
    except SystemExit as leave:
        return int(leave.code or 0)


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


def _mathvista(d: Path) -> Path:
    """testmini.json: an object by pid."""
    base = with_paths("mathvista", d)
    free = base | {"choices": None, "question_type": "free_form", "query": "How long?"}
    records = [
        base,  # "(B)" is the text "right"
        free | {"pid": "2", "answer": "2.3", "answer_type": "float", "precision": 1.0},
        free | {"pid": "3", "answer": "8", "answer_type": "integer"},
    ]
    (d / "testmini.json").write_text(json.dumps({r["pid"]: r for r in records}))
    return d / "testmini.json"


def _scienceqa(d: Path) -> Path:
    """problems.json, one question without an image."""
    problem = {k: v for k, v in TRUE["scienceqa"].items() if k != "image"} | {"split": "test"}
    for name in ("7", "8"):
        (d / "images" / "test" / name).mkdir(parents=True)
        (d / "images" / "test" / name / "image.png").write_bytes(PNG)
    held = {name: problem | {"image": "image.png"} for name in ("7", "8")}
    (d / "problems.json").write_text(json.dumps(held | {"9": problem | {"image": None}}))
    return d / "problems.json"


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


def _mmvp(d: Path) -> Path:
    """Questions.csv with the public header, beside its images."""
    (d / "MMVP Images").mkdir()
    with (d / "Questions.csv").open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["lndex", "Question", "Options", "Correct Answer"])
        for i in range(1, 5):
            (d / "MMVP Images" / f"{i}.jpg").write_bytes(PNG)
            out.writerow([i, "Open, or not?", "(a) Open (b) Closed", "(a)" if i % 2 else "(b)"])
    return d / "Questions.csv"


def _cv_bench(d: Path) -> Path:
    base = with_paths("cv-bench", d)
    sources = ["ADE20K", "COCO", "Omni3D", "Omni3D"]
    return _lines(d / "test.jsonl", [base | {"idx": i, "source": s} for i, s in enumerate(sources)])


def _hr_bench(d: Path) -> Path:
    """A TSV with base64 images: one single and one cross question, two cycles each."""
    names = ["index", "question", "answer", "category", "A", "B", "C", "D", "cycle_category", "image"]
    rows = [
        TRUE["hr-bench"] | {"index": i, "category": c, "cycle_category": k}
        for i, c in ((0, "single"), (1, "cross"))
        for k in "01"
    ]
    lines = ["\t".join(names), *("\t".join(str(r[n]) for n in names) for r in rows)]
    (d / "hr_bench_4k.tsv").write_text("\n".join(lines))
    return d / "hr_bench_4k.tsv"


# benchmark: its file, the answers given, and the numbers that they come to, worked by hand
CASES: dict[str, tuple[Callable[[Path], Path], dict[str, str], dict[str, float], int]] = {
    # "(B)" -> "right"; 2.26 to one place is 2.3; 7.9 as a whole number is 7, not 8
    "mathvista": (_mathvista, {"1": "(B)", "2": "2.26", "3": "7.9"}, {"accuracy": 2 / 3}, 0),
    # the box is 1/2 = 0.5; "A" is not B
    "mathvision": (
        lambda d: _lines(
            d / "test.jsonl",
            [
                with_paths("mathvision", d),
                with_paths("mathvision", d) | {"id": "5", "options": [], "answer": "0.5"},
            ],
        ),
        {"4": "The answer is (A).", "5": "so \\boxed{\\frac12}"},
        {"accuracy": 1 / 2},
        0,
    ),
    # "B." is the prefix of B; "(B)" is not; the third has no image
    "scienceqa": (_scienceqa, {"7": "B. granite", "8": "(B)"}, {"accuracy": 1 / 2}, 1),
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
        lambda d: _lines(
            d / "test.jsonl",
            [
                with_paths("vstar", d),
                with_paths("vstar", d) | {"question_id": "1"},
                with_paths("vstar", d) | {"question_id": "2", "category": "relative_position"},
            ],
        ),
        {"direct_attributes/0": "(A)", "direct_attributes/1": "B", "relative_position/2": "The answer is A"},
        {"accuracy": 2 / 3, "direct_attributes": 1 / 2, "relative_position": 1.0},
        0,
    ),
    # 1 and 2 right: a pair; 3 right and 4 wrong: none
    "mmvp": (
        _mmvp,
        {"1": "(a)", "2": "(b) Closed", "3": "A", "4": "A"},
        {"accuracy": 3 / 4, "pair accuracy": 1 / 2},
        0,
    ),
    # 2D (1 + 0) / 2, 3D 1 / 2 of Omni3D, overall 1/4 + 0 + 1/2 x 1/2
    "cv-bench": (
        _cv_bench,
        {"0": "(C)", "1": "(A)", "2": "C", "3": "two"},
        {"overall": 1 / 2, "2D": 1 / 2, "3D": 1 / 2, "ADE20K": 1.0, "COCO": 0.0},
        0,
    ),
    # cycle 0: both right; cycle 1: cross alone
    "hr-bench": (
        _hr_bench,
        {"0/0": "B", "1/0": "A", "0/1": "dog", "1/1": "(B)"},
        {"average": 3 / 4, "single": 1 / 2, "cross": 1.0},
        0,
    ),
}


def test_every_benchmark_has_a_case() -> None:
    assert set(CASES) == set(BENCHMARKS)


@pytest.mark.parametrize("name", CASES)
def test_a_local_file_of_each_benchmark_comes_to_the_numbers_worked_by_hand(
    name: str, folder: Path, tmp_path: Path, scripted: Any, capsys: pytest.CaptureFixture[str]
) -> None:
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
    assert (
        f"{100 * next(iter(expected.values())):.1f} %" in printed
        and f"{100 * expected[next(iter(expected))]:.1f} %" in page
    )
    assert bool(left_out) == ("no image" in printed) == ("no image" in page)
    assert bool(record["published"]) == ("Published, not measured here" in printed) == ("VLM" in page)


def test_another_arms_answer_is_read_in_its_own_marks(folder: Path, tmp_path: Path, scripted: Any) -> None:
    """LLaVA-CoT answers in CONCLUSION: what it puts into <answer> is not scored, and the other way round."""
    path = _lines(tmp_path / "v.jsonl", [with_paths("vstar", tmp_path)])
    scripted(lambda name, arm: "<answer>B</answer><CONCLUSION>A</CONCLUSION>")
    arms = ["--arm", "staged-llava-cot", "--arm", "direct", "staged-mulberry"]
    assert code("--benchmark", "v*", "--data", path, "--model", folder, *arms, "--out", tmp_path / "o") == 0
    values = {
        arm: numbers(tmp_path / "o", arm=arm)["accuracy"] for arm in ("staged-llava-cot", "direct", "staged-mulberry")
    }
    assert values == {"staged-llava-cot": 1, "direct": 0, "staged-mulberry": 0}
    by_arm = {e["arm"]: (e["answer"], e["finish"]) for e in entries(tmp_path / "o")}
    assert by_arm == {
        "staged-llava-cot": ("A", "answered"),
        "direct": ("B", "answered"),
        "staged-mulberry": (None, "malformed"),
    }


def test_the_first_questions_of_a_benchmark_are_not_its_number(
    folder: Path, tmp_path: Path, scripted: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--limit` asks the first ones, and the table says that the number is not the benchmark's own."""
    make, answers, _, _ = CASES["vstar"]
    path, script = make(tmp_path), scripted(answers)
    argv = ["--benchmark", "vstar", "--data", path, "--model", folder, "--out", tmp_path / "o"]
    assert code(*argv, "--limit", 2) == 0
    assert [name for name, _ in script.asked] == list(answers)[:2] and numbers(tmp_path / "o")["accuracy"] == 0.5
    assert "at most the first 2 questions, so not the benchmark's own number" in capsys.readouterr().out
    assert code(*argv) == 0 and len(script.asked) == 3
    assert "at most the first" not in capsys.readouterr().out


def test_differences_are_paired(folder: Path, tmp_path: Path, scripted: Any) -> None:
    """The first arm minus the other, question by question: right against wrong in one of two."""
    path = CASES["docvqa"][0](tmp_path)
    scripted(lambda name, arm: f"<answer>{'University' if name == '1' and arm == 'one-look' else 'q'}</answer>")
    arms = ["--arm", "one-look", "--arm", "direct"]
    assert code("--benchmark", "docvqa", "--data", path, "--model", folder, *arms, "--out", tmp_path / "o") == 0
    assert numbers(tmp_path / "o", arm="one-look") == {"ANLS": 1} and numbers(tmp_path / "o", arm="direct") == {
        "ANLS": 0.5
    }
    [delta] = json.loads((tmp_path / "o" / "table.json").read_text())["differences"]
    assert (delta["first"], delta["second"], delta["value"], delta["n"]) == ("one-look", "direct", 0.5, 2)
    assert (delta["low"], delta["high"]) == (0, 1)  # of two units both, either or none may be drawn


# ------------------------------------------------------------------ worlds


def test_worlds_are_scored_where_the_truth_is_known(
    folder: Path, tmp_path: Path, scripted: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exact answers, IoU and looks; the trajectories that are kept can be drawn, those of other questions are not."""
    held = {s.id: s for s in (get_world("badges").sample("test", i, 4) for i in range(12))}
    needed = [s for s in held.values() if s.needs_look]
    assert 0 < len(needed) < 12

    def says(name: str, arm: str) -> str:
        sample = held[name]
        if not sample.needs_look:
            return "<answer>no digit</answer>"
        x1, y1, x2, y2 = (round(v / s * 1000) for v, s in zip(sample.regions[-1], sample.image.size * 2, strict=True))
        return f'{{"bbox_2d": [{x1}, {y1}, {x2}, {y2}]}}<answer>{sample.answer} </answer>'

    script = scripted(says)
    out = tmp_path / "out"
    argv = ["--world", "badges", "--seed", "4", "--limit", "12", "--model", folder, "--out", out, "--keep", "3"]
    assert code(*argv, "--arm", "interleaved", "direct") == 0
    got = numbers(out, "badges")
    assert got["exact"] == pytest.approx(len(needed) / 12) and got["exact_needed"] == 1
    assert got["iou"] > 0.9 and (got["look_rate_needed"], got["look_rate_unneeded"]) == (1, 0)
    blind = numbers(out, "badges", "direct")
    assert (blind["exact_needed"], blind["iou"], blind["look_rate_needed"]) == (1, None, 0)
    differences = json.loads((out / "table.json").read_text())["differences"]
    assert {d["measure"]: d["value"] for d in differences} == {
        "exact": 0,
        "exact_needed": 0,
        "look_rate_needed": 1,
        "look_rate_unneeded": 0,
    }
    assert "asked the bare question" in (out / "table.md").read_text()
    looks = {r["arm"]: r["looks"] for r in json.loads((out / "table.json").read_text())["rows"]}
    assert looks == pytest.approx({"interleaved": len(needed) / 12, "direct": 0})
    for arm in ("interleaved", "direct"):
        kept = sorted((out / "trajectories" / arm).iterdir())
        assert [p.name for p in kept] == ["badges-00000", "badges-00001", "badges-00002"]
        t = load(kept[0])
        assert t.arm == arm and t.sample_id in held and filmstrip(t).figure.axes
    assert {e["number"] for e in entries(out)} == set(range(12)) and len(script.asked) == 24
    assert not capsys.readouterr().err
    assert code(*argv[:-1], "5") == 0 and len(script.asked) == 24  # two more were asked before they were to be kept
    assert "2 answers were given before --keep" in capsys.readouterr().err


def test_measures_of_worlds_are_those_of_training() -> None:
    """The same definitions as `train.log.summary`, on facts at random."""
    rng, source = random.Random(0), WorldSource(get_world("badges"), "test", 50)
    for _ in range(40):
        found = [
            {
                "right": rng.random() < 0.5,
                "needs_look": rng.choice([True, True, False, None]),
                "iou": rng.choice([None, rng.random()]),
                "looks": (looks := rng.randint(0, 2)),
                "valid": rng.randint(0, looks),
                "answered": True,
            }
            for _ in range(rng.randint(1, 50))
        ]
        means = summary_of(found)
        graded = [{**f, "id": str(i), "score": float(f["right"])} for i, f in enumerate(found)]
        for measure in source.measures(graded):
            assert measure.value == (
                None if means[measure.name] is None else pytest.approx(means[measure.name], abs=1e-4)
            )


def test_quick_is_few_questions_and_short_answers(folder: Path, tmp_path: Path, scripted: Any) -> None:
    script = scripted(lambda name, arm: "<answer>1</answer>")
    assert code("--world", "badges", "--quick", "--model", folder, "--out", tmp_path / "a") == 0
    assert "asked the bare question" not in (tmp_path / "a" / "table.md").read_text()
    assert len(script.asked) == 40 and {s["max_new_tokens"] for s in script.settings} == {224}
    fewer = ["--limit", "3", "--max-new-tokens", "30"]
    assert code("--world", "badges", "--quick", *fewer, "--model", folder, "--out", tmp_path / "b") == 0
    assert len(script.asked) == 43 and script.settings[-1]["max_new_tokens"] == 30


def test_all_stands_for_all_names_and_interleaved_comes_first(folder: Path, tmp_path: Path, scripted: Any) -> None:
    script = scripted(lambda name, arm: "<answer>1</answer>")
    argv = ["--world", "all", "--arm", "all", "--limit", "1", "--model", folder, "--out", tmp_path / "o"]
    assert code(*argv) == 0
    assert len(set(script.asked)) == len(script.asked) == 4 * 7
    record = json.loads((tmp_path / "o" / "table.json").read_text())
    assert {d["first"] for d in record["differences"]} == {"interleaved"}
    assert {d["second"] for d in record["differences"]} == set(ARMS) - {"interleaved"}
    assert {r["source"] for r in record["rows"]} == set(WORLDS)


def test_a_run_is_the_loops_own(folder: Path, tmp_path: Path) -> None:
    """Nothing scripted: the journal holds what `rollout` gives, whatever the batch."""
    argv = ["--world", "trails", "--limit", "5", "--max-new-tokens", "12", "--model", folder]
    assert code(*argv, "--batch", "2", "--temperature", "1", "--out", tmp_path / "o") == 0
    samples = [get_world("trails").sample("test", i) for i in range(5)]
    want = rollout(Policy.load(folder), samples, temperature=1.0, seed=0, max_new_tokens=12)
    assert [e["text"] for e in entries(tmp_path / "o")] == [t.response_text for t in want]


# ------------------------------------------------------------------ killed, interrupted, gone on with

WORLD = ["--world", "badges", "--max-new-tokens", "24", "--batch", "1", "--arm", "interleaved", "direct"]


@pytest.mark.slow
def test_after_a_kill_nothing_settled_is_asked_again(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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


def test_ctrl_c_keeps_what_is_done_and_says_how_to_go_on(
    folder: Path, tmp_path: Path, scripted: Any, capsys: pytest.CaptureFixture[str]
) -> None:
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


def test_more_arms_and_questions_go_on_and_other_settings_are_refused_by_name(
    folder: Path, tmp_path: Path, scripted: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    script = scripted(lambda name, arm: "<answer>1</answer>")
    base = ["--world", "badges", "--model", folder, "--out", tmp_path / "o"]
    assert code(*base, "--limit", 2) == 0
    assert code(*base, "--limit", 4, "--arm", "interleaved", "direct", "--batch", 3) == 0
    assert len(script.asked) == 8 == len(set(script.asked))
    assert code(*base, "--limit", 2) == 0 and len(script.asked) == 8
    assert {
        r["n"] for r in json.loads((tmp_path / "o" / "table.json").read_text())["rows"] if r["measure"] == "exact"
    } == {2}
    other = save_policy(tiny.create(vocabulary(), seed=1), tmp_path / "random")
    for option, value, name in (
        ("--seed", 1, "seed 0, not 1"),
        ("--temperature", 1, "temperature 0.0, not 1.0"),
        ("--max-new-tokens", 9, "max-new-tokens 512, not 9"),
        ("--max-looks", 1, "max-looks 8, not 1"),
        ("--split", "train", "split 'test', not 'train'"),
        ("--model", other, "begun with model 'random "),
    ):
        capsys.readouterr()
        assert code(*base, "--limit", 2, option, value) == 2
        [line] = capsys.readouterr().err.splitlines()
        assert name in line and "give another folder" in line
    assert len(script.asked) == 8


def test_each_arm_may_have_a_policy_of_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
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


def test_a_changed_question_or_image_is_asked_anew(folder: Path, tmp_path: Path, scripted: Any) -> None:
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


def test_a_checkpoint_is_known_by_its_content(folder: Path, tmp_path: Path) -> None:
    same = save_policy(tiny.create(vocabulary(), seed=0), tmp_path / "random")
    assert fingerprint(same) == fingerprint(folder)
    weights = same / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-5] ^= 1
    weights.write_bytes(data)
    assert fingerprint(same) != fingerprint(folder)


# ------------------------------------------------------------------ what does not fit


def test_questions_that_cannot_be_asked_are_left_out_and_counted(
    folder: Path, tmp_path: Path, scripted: Any, capsys: pytest.CaptureFixture[str]
) -> None:
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


def test_a_measure_that_cannot_be_known_is_said_to_be(tmp_path: Path) -> None:
    """CV-Bench without one of its sources: no number, and none is made up."""
    base = with_paths("cv-bench", tmp_path)
    source = BenchmarkSource(get_benchmark("cv-bench"), _lines(tmp_path / "c.jsonl", [base]))
    [item] = source
    grade = item.grade("C")
    entry = {"id": grade.id, "outcome": "graded", "score": grade.score, "groups": grade.groups, "valid": 1}
    table = table_of([source], ["direct"], {("cv-bench", "direct"): [entry]})
    values = {line.measure: line.interval and line.interval.value for line in table.lines}
    assert values == {"overall": None, "2D": None, "3D": None, "ADE20K": 1, "COCO": None}
    assert "not known" in scores_text(table) and "not known" in scores_page(table, SCRIPT)
    assert "<script" not in scores_page(table, SCRIPT)


WRONG: dict[str, tuple[list[str], str]] = {
    "neither": ([], "Give either --benchmark NAME with --data PATH, or --world NAME"),
    "both": (["--world", "badges", "--benchmark", "vstar", "--data", "{data}"], "Give either --benchmark"),
    "no data": (["--benchmark", "vstar"], "--benchmark and --data belong together"),
    "no benchmark": (["--world", "badges", "--data", "{data}"], "--benchmark and --data belong together"),
    "unknown benchmark": (["--benchmark", "vstarr", "--data", "{data}"], "Did you mean 'vstar'?"),
    "unknown world": (["--world", "badge"], "Did you mean 'badges'?"),
    "unknown arm": (["--world", "badges", "--arm", "onelook"], "Did you mean 'one-look'?"),
    "unknown split": (["--world", "badges", "--split", "tests"], "split"),
    "missing file": (["--benchmark", "vstar", "--data", "{tmp}/none.jsonl"], "There is no file"),
    "wrong columns": (
        ["--benchmark", "mathvista", "--data", "{data}"],
        "None of the 1 records fits MathVista; the first",
    ),
    "damaged file": (["--benchmark", "vstar", "--data", "{broken}"], "is not JSON"),
    "missing model": (["--world", "badges", "--model", "{tmp}/none"], "weights in {tmp}/none"),
    "folder is a file": (["--world", "badges", "--out", "{data}"], "Cannot write"),
    "folder under a file": (["--world", "badges", "--out", "{data}/x"], "Cannot write"),
    "folder with another table": (["--world", "badges", "--out", "{other}"], "a table that is not of `r3lab eval`"),
    "limit": (["--world", "badges", "--limit", "0"], "--limit: '0' is not a whole number of at least 1"),
    "batch": (["--world", "badges", "--batch", "0"], "--batch: '0' is not"),
    "seed": (["--world", "badges", "--seed", "-1"], "--seed: '-1' is not"),
    "tokens": (["--world", "badges", "--max-new-tokens", "0"], "--max-new-tokens: '0' is not"),
    "temperature": (
        ["--world", "badges", "--temperature", "nan"],
        "--temperature: 'nan' is not a number",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_one_clear_line(
    case: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
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


def test_an_image_may_lie_elsewhere(folder: Path, tmp_path: Path, scripted: Any) -> None:
    record = with_paths("docvqa", tmp_path / "pictures-of-it")
    path = _lines(tmp_path / "d.jsonl", [record])
    scripted({"337": "1/8/93"})
    argv = ["--benchmark", "docvqa", "--data", path, "--model", folder]
    assert code(*argv, "--out", tmp_path / "a") == 2
    assert code(*argv, "--out", tmp_path / "b", "--images", tmp_path / "pictures-of-it") == 0
    assert numbers(tmp_path / "b") == {"ANLS": 1}
