"""`r3lab vlir` from build to convert: whole or not at all, clear errors, and nothing done that data ask for."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hostile import JUNK, spoiled
from PIL import Image

from r3lab.cli import call, main
from r3lab.cli import vlir as vlir_command
from r3lab.core.errors import R3labError
from r3lab.core.geometry import iou
from r3lab.core.images import content_hash, open_image
from r3lab.show.card import MARK
from r3lab.vlir.convert import WRITTEN, read
from r3lab.vlir.sample import Rationale, Sample, read_vlir, write_vlir
from r3lab.vlir.worlds import WORLDS

SCRIPT = "<script>alert(1)</script><img src=x onerror=alert(1)>|`$(touch pwned)`{{7*7}}'; DROP TABLE t; --\x1b[2J"
BUILD = ["--world", "badges", "trails", "--count", "4", "--spread", "0.1", "--needless", "1", "--seed", "3"]

STEPS = ("build", "rationale", "filter", "card", "convert")


def code(*argv: str) -> int:
    """The exit code of `r3lab vlir ...`."""
    return main(["vlir", *argv])


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that `build` made."""
    folder = tmp_path_factory.mktemp("vlir") / "raw"
    assert code("build", *BUILD, "--out", str(folder)) == 0
    return folder


def test_build_writes_the_worlds_in_turn_with_the_teachers_faults(raw: Path, tmp_path: Path) -> None:
    """The same call gives the same bytes; a longer one begins alike; each option of the teacher is heard."""
    pairs = list(read_vlir(raw))
    assert [s.id for s, _ in pairs] == [f"{w}-train-3-{i}" for i in range(2) for w in ("badges", "trails")]
    for sample, rationale in pairs:
        assert sample == WORLDS[sample.world].sample("train", int(sample.id.rpartition("-")[2]), 3)
        assert rationale.boxes  # needless 1: also where nothing needs a look
        exact = WORLDS[sample.world].rationale(WORLDS[sample.world].sample("train", int(sample.id[-1]), 3))
        if sample.needs_look:
            assert len(rationale.boxes) == len(exact.boxes) and rationale.boxes != exact.boxes
            assert all(iou(a, b) > 0.2 for a, b in zip(rationale.boxes, exact.boxes, strict=True))
    longer = [*BUILD, "--count", "5", "--out", str(tmp_path / "longer")]
    assert code("build", *longer) == 0
    first, second = ((folder / "vlir.jsonl").read_bytes() for folder in (raw, tmp_path / "longer"))
    assert second.startswith(first) and len(second) > len(first)
    assert code("build", "--world", "badges", "--count", "2", "--hasty", "1", "--out", str(tmp_path / "hasty")) == 0
    assert not any(r.boxes for _, r in read_vlir(tmp_path / "hasty"))


def test_filter_and_card_go_on_from_there(raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The report is printed, the needless looks are gone, the card stands in the folder and may be drawn again."""
    kept = tmp_path / "kept"
    assert code("filter", str(raw), "--out", str(kept), "--min-coverage", "0.2") == 0
    out = capsys.readouterr().out
    needless = sum(s.needs_look is False for s, _ in read_vlir(raw))
    assert needless and f"{4 - needless} of 4 samples kept" in out and "looks where none is needed" in out
    assert all(s.needs_look for s, _ in read_vlir(kept))
    assert code("card", str(kept), "--title", f"A {SCRIPT}") == 0
    assert capsys.readouterr().out.endswith(f"{kept / 'README.md'}\n{kept / 'card.png'}\n")
    page = (kept / "README.md").read_text("utf-8")
    assert page.startswith(MARK) and f"| samples | {4 - needless} |" in page and "<script" not in page
    with Image.open(kept / "card.png") as image:
        assert image.format == "PNG" and "samples: " in image.info["Description"]
    assert sorted(p.name for p in kept.iterdir()) == [
        "README.md", "card.png", "filter.txt", "images", "rejected.jsonl", "vlir.jsonl",
    ]  # fmt: skip
    # whatever lies beside the samples
    assert code("convert", str(kept), str(tmp_path / "rl"), "--to", "vlm-r3-rl") == 0
    (raw / "README.md").write_text("# mine")
    try:
        assert code("card", str(raw)) == 2 and (raw / "README.md").read_text() == "# mine"
        assert "is not one of our cards" in capsys.readouterr().err
        assert code("card", str(raw), "--out", str(kept)) == 0  # over one of our own
        assert "| samples | 4 |" in (kept / "README.md").read_text("utf-8")
    finally:
        (raw / "README.md").unlink()


def test_a_policy_is_bound_as_judge_where_one_is_named(raw: Path, tmp_path: Path, monkeypatch: Any) -> None:
    """Path, seed and the filters it judges reach it; thresholds reach the filters."""
    from r3lab.evaluate import legibility as judges
    from r3lab.models.policy import Policy

    seen: list[Any] = []

    def bound(policy: Any, seed: int) -> dict[str, Any]:
        seen.append((policy, seed))
        return {name: lambda question, images, name=name: f"{name}?" for name in ("support", "necessity")}

    monkeypatch.setattr(Policy, "load", lambda path: f"policy of {path}")
    monkeypatch.setattr(judges, "policy_judges", bound)
    options = ["--judge-model", "some/path", "--seed", "9", "--min-coverage", "0"]
    assert code("filter", str(raw), "--out", str(tmp_path / "both"), *options) == 0
    assert seen == [("policy of some/path", 9)]
    rows = [json.loads(line) for line in (tmp_path / "both" / "rejected.jsonl").read_text().splitlines()]
    assert len(rows) == 4 and {r["reasons"][0]["name"] for r in rows} == {"the crops do not give the answer"}
    assert code("filter", str(raw), "--out", str(tmp_path / "one"), *options, "--judge", "necessity") == 0
    assert len(list(read_vlir(tmp_path / "one"))) == 4  # it never answers right, so that every look was needed


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two samples with small images, one of them with looks."""
    folder, rows = tmp_path_factory.mktemp("small") / "raw", []
    for count in (0, 2):
        image = Image.effect_noise((60, 40), 50 + count).convert("RGB")
        looks = [part for k in range(count) for part in ((5.0 * k, 4.0, 40.0, 30.0), f"seen {k}")]
        rationale = Rationale(("<think>It is there. ", *looks, "</think><answer>so</answer>"))
        rows.append((Sample(f"s-{count}", image, "What is it?", "so", rationale.boxes, bool(count), "w"), rationale))
    write_vlir(folder, rows)
    return folder


def test_convert_writes_every_format_and_reads_it_back(small: Path, tmp_path: Path) -> None:
    """There and back by the command: rationales where the format has them, and one line where it has none."""
    exact = list(read_vlir(small))
    for name in WRITTEN:
        there, back = tmp_path / f"{name}.there", tmp_path / f"{name}.back"
        assert code("convert", str(small), str(there), "--from", "vlir", "--to", name) == 0
        assert [(s.question, s.answer) for s, _ in read(there)] == [(s.question, s.answer) for s, _ in exact]
        assert code("convert", str(there), str(back), "--to", "vlir") == (2 if name == "vlm-r3-rl" else 0)
        pairs = list(read_vlir(back)) if back.exists() else exact
        assert [len(r.boxes) for _, r in pairs] == [len(r.boxes) for _, r in exact]
        assert name == "vlm-r3-sft" or pairs == exact


WRONG = {  # a command, and what is said about it
    "build --world badge --out o": "Did you mean 'badges'",
    "build --split held-out --out o": "train, validation, test",
    "build --count 0 --out o": "--count: '0' is not",
    "filter . --out o": "is a folder with 0 data files",
    "filter RAW --out RAW": "exists already",
    "filter RAW --out o --max-iou 2": "max_iou must be a number from 0 to 1",
    "filter RAW --out o --judge-model nowhere": "no checkpoint folder at nowhere",
    "filter RAW --out o --filters unit --judge-model x": "which --filters leaves out",
    "card nowhere": "does not exist",
    "convert RAW o --from vlr --to vlir": "Did you mean 'vlir'",
    "convert RAW o --to viscot": "written are vlm-r3-sft",
    "convert RAW o --to vlir --boxes x": "leave --boxes out",
    "convert RAW o --to vlir --frame source": "takes none",
    "convert RAW o --to vlir --budget 9 4": "9..4",
}


@pytest.mark.parametrize("command", WRONG)
def test_what_can_be_mended_is_one_line_and_leaves_nothing(
    command: str, raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert code(*(str(raw) if a == "RAW" else a for a in command.split())) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and WRONG[command] in captured.err
    assert captured.err.startswith("r3lab") and "error: " in captured.err and captured.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_the_steps_and_their_help(capsys: pytest.CaptureFixture[str]) -> None:
    """The command line knows the steps that there are; an unknown one is code 2."""
    for name in STEPS:
        assert code(name, "--help") == 0 and f"r3lab vlir {name}" in capsys.readouterr().out
    assert code("--help") == 0
    page = capsys.readouterr().out
    assert all(f"\n  vlir {name} " in page for name in STEPS)
    assert code("bild") == 2 and code("build") == 2 and code() == 2


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_ctrl_c_from_a_terminal_leaves_nothing(tmp_path: Path) -> None:
    """The signal itself, to a process that is writing."""
    command = [sys.executable, "-m", "r3lab", "vlir", "build", "--count", "100000", "--out", str(tmp_path / "out")]
    env = {**os.environ, "PYTHONPATH": str(Path(vlir_command.__file__).parent.parent)}
    process = subprocess.Popen(command, cwd=tmp_path, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        end = time.time() + 60
        while not list(tmp_path.glob(".out*/images/*.png")) and time.time() < end:
            time.sleep(0.05)
        assert list(tmp_path.glob(".out*/images/*.png"))
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130 and err.endswith(b"r3lab: interrupted\n")
    assert list(tmp_path.iterdir()) == []


# --- hostile records, while the interpreter itself reports what is done

WATCHED: list[tuple[str, str]] = []
_WATCHING = [False]
_ACTS = ("os.system", "os.exec", "os.posix_spawn", "os.fork", "subprocess.Popen", "pickle.find_class", "socket.connect")


def _audit(event: str, args: tuple) -> None:
    if not _WATCHING[0]:
        return
    if event in _ACTS:
        WATCHED.append((event, ""))
    elif event == "open" and isinstance(args[0], str) and (args[2] or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
        WATCHED.append((event, os.path.realpath(args[0])))
    elif event in ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.symlink", "shutil.rmtree"):
        WATCHED.append((event, os.path.realpath(os.fsdecode(args[0])) if isinstance(args[0], str | Path) else ""))


sys.addaudithook(_audit)  # cannot be taken away again; it listens only inside `watched`


@pytest.fixture
def watched() -> Iterator[list[tuple[str, str]]]:
    """What is started, sent, unpickled, written, renamed or removed meanwhile."""
    WATCHED.clear()
    _WATCHING[0] = True
    yield WATCHED
    _WATCHING[0] = False


LEAVES = [*JUNK, SCRIPT]
FOREIGN: dict[str, dict[str, Any]] = {
    "vlm-r3-sft": {
        "image_path": "a.jpg",
        "question": "What does it say?",
        "response_list": ['<think>Small. {"bbox_2d": [8, 8, 56, 56]}', "It says stop.</think><answer>stop</answer>"],
        "img_crop_list": ["a.jpg"],
    },
    "parquet": {
        "id": "t",
        "image": "a.jpg",
        "question": "What is it?",
        "answer": "stop",
        "regions": [[10, 10, 60, 60]],
        "rationale": [
            {"text": "<think>Small.", "box": None},
            {"text": None, "box": [10, 10, 60, 60]},
            {"text": "It says stop.</think><answer>stop</answer>", "box": None},
        ],
        "needs_look": True,
        "dataset": "w",
        "split": "train",
    },
}


@pytest.mark.parametrize("name", FOREIGN)
def test_thousands_of_hostile_records_pass_every_step_and_do_nothing(
    name: str, tmp_path: Path, watched: list, capsys: pytest.CaptureFixture[str]
) -> None:
    """Converted, filtered and drawn: good ones are all kept; files appear in the named folders only; nothing runs."""
    data, rng, lines = tmp_path / "data", random.Random(f"hostile {name}"), []
    data.mkdir()
    Image.effect_noise((120, 90), 90).convert("RGB").save(data / "a.jpg")
    Image.new("RGB", (50, 50)).save(tmp_path / "secret.png")
    (data / "link.png").symlink_to(tmp_path / "secret.png")
    good = FOREIGN[name]
    for i in range(40):
        lines += [json.dumps(spoiled(good, rng, LEAVES)), json.dumps({**good, "question": f"{SCRIPT} {i}?"})]
    key = "image_path" if "image_path" in good else "image"
    lines += [json.dumps({**good, key: leaf}) for leaf in LEAVES]  # above all the paths that lead out
    (data / "bulk.jsonl").write_text("\n".join(lines) + "\n")
    watched.clear()
    assert code("convert", str(data / "bulk.jsonl"), str(tmp_path / "one"), "--from", name, "--to", "vlir") == 0
    captured = capsys.readouterr()
    told = [line for line in captured.err.splitlines() if line.startswith("left out: ")]
    assert 20 <= len(told) <= 42 and all(line.isprintable() and len(line) < 700 for line in told)
    assert all("bulk.jsonl line " in line for line in told if "told one by one" not in line)
    assert code("filter", str(tmp_path / "one"), "--out", str(tmp_path / "two")) == 0
    assert code("card", str(tmp_path / "two"), "--title", SCRIPT) == 0
    assert "<script" not in (tmp_path / "two" / "README.md").read_text("utf-8")
    questions = {sample.question for sample, _ in read_vlir(tmp_path / "two")}
    assert {f"{SCRIPT} {i}?" for i in range(40)} <= questions
    images = {p.name for p in (tmp_path / "one" / "images").iterdir()}
    assert images == {f"{content_hash(open_image(data / 'a.jpg'))}.png"}  # the secret beside the folder is in none
    printed = captured.out + captured.err + "".join(capsys.readouterr())
    assert "\x1b" not in printed
    root = os.path.realpath(tmp_path)
    cache = tuple(os.path.realpath(p) for p in (Path.home() / ".cache", Path.home() / ".config"))
    for event, path in watched:
        assert event not in _ACTS, (event, path)
        inside = path.startswith((f"{root}/one", f"{root}/two", f"{root}/.one", f"{root}/.two"))
        assert inside or path.startswith(cache) or "__pycache__" in path or path in ("", root, os.devnull), (
            event,
            path,
        )
    assert {p.name for p in tmp_path.iterdir()} == {"data", "secret.png", "one", "two"}
    assert not list(tmp_path.rglob("*pwned*"))


def test_strict_ends_at_the_first_and_says_where(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whether reading or decoding finds the fault; nothing is written."""
    Image.new("RGB", (120, 90)).save(tmp_path / "a.jpg")
    Image.effect_noise((120, 90), 90).convert("RGB").save(tmp_path / "cut.jpg")
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "cut.jpg").read_bytes()[:-2000])
    good = FOREIGN["parquet"]
    for bad, words in ({**good, "answer": 7.5e400}, "answer"), ({**good, "image": "cut.jpg"}, "damaged"):
        (tmp_path / "t.jsonl").write_text(f"{json.dumps(good)}\n{json.dumps(bad)}\n")
        argv = ["convert", str(tmp_path / "t.jsonl"), str(tmp_path / "out"), "--to", "vlir"]
        assert code(*argv, "--strict") == 2
        err = capsys.readouterr().err
        assert "t.jsonl line 2" in err and words in err and not (tmp_path / "out").exists()
        assert code(*argv) == 0 and len(list(read_vlir(tmp_path / "out"))) == 1
        capsys.readouterr()
        shutil.rmtree(tmp_path / "out")
    deepeyes = json.loads((Path(__file__).parent / "foreign.json").read_text("utf-8"))["DEEPEYES"]
    (tmp_path / "deepeyes.json").write_text(json.dumps([deepeyes]))
    Image.new("RGB", (1000, 750)).save(tmp_path / "a.jpg")
    with pytest.raises(R3labError, match="--frame"):  # its boxes can be of two frames
        call("vlir convert", [str(tmp_path / "deepeyes.json"), str(tmp_path / "out"), "--to", "vlm-r3-rl"])
