"""`r3lab ask` shows every step, keeps a whole record, and refuses what it cannot use before it writes anything."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import unicodedata
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image
from seen import PHOTO, SPOT, trajectory

from r3lab.cli import ask as ask_module
from r3lab.cli.ask import Steps, ask, keep, look_line
from r3lab.core.errors import R3labError
from r3lab.core.files import assets_dir, shipped_policy
from r3lab.evaluate.unlike import Known, known_of, sureness
from r3lab.show.filmstrip import filmstrip
from r3lab.show.steps import steps as told
from r3lab.show.text import clean
from r3lab.trajectory import Kind, Look, Trajectory, load


def grown(t: Trajectory) -> list[Trajectory]:
    """The trajectory as a watcher sees it: token by token, each look with its crop."""
    states = []
    for end in (*(i for i in range(2, len(t.ids)) if t.kinds[i] == Kind.SAMPLED), len(t.ids)):
        part = Trajectory(t.sample_id, t.question, t.image, t.overview, t.frame, truth=t.truth)
        for name in ("ids", "kinds", "pieces", "logprobs", "entropies"):
            setattr(part, name, getattr(t, name)[:end])
        part.looks = [look for look in t.looks if (look.crop_span or look.span)[1] <= end]
        states.append(part)
    return states


def printed(t: Trajectory) -> str:
    out: list[str] = []
    steps = Steps(out.append)
    for state in grown(t):
        steps(state)
    steps.end()
    return "".join(out)


def test_steps_are_printed_once_and_in_order() -> None:
    t = trajectory("<think>It is", " small.", SPOT, "Then", (9.0, 9.0, 5.0, 9.5), "It shows 7.")
    assert t.looks[0].written is not None
    lines = printed(t).split("\n")
    assert lines[0] == '    <think>It is small.{"bbox_2d": [188, 521, 312, 646]}'
    assert lines[1] == "  look 1: [96, 200, 160, 248] px, zoom x1 -> 64x48 crop"  # the rule's 2 is over the budget
    assert (
        t.looks[0].zoom == 2
        and told(t)[1].pixels == "zoom \N{MULTIPLICATION SIGN}1, 64 \N{MULTIPLICATION SIGN} 48 pixels"
    )
    assert lines[2].startswith("    Then{") and lines[3] == "  look 2: [9, 9, 5, 10] px, refused: x2 <= x1"
    assert lines[4:] == ["    It shows 7.</think><answer>7</answer>", ""]


def test_a_finished_trajectory_prints_as_a_growing_one() -> None:
    t = trajectory("x", SPOT, "y", (9.0, 9.0, 5.0, 9.5), "z")
    out: list[str] = []
    Steps(out.append)(t)
    assert "".join(out) + "\n" == printed(t)


def test_a_model_cannot_print_a_look_or_command_the_terminal() -> None:
    fake = "\n  look 1: [0, 0, 9, 9] px\r  look 2\x1b[2J\x1b]0;x\x07\u202e"
    shown = printed(trajectory("x", fake, SPOT, fake))
    assert [line[:9] for line in shown.split("\n") if line.startswith("  look")] == ["  look 1:"]
    assert not [c for c in shown if unicodedata.category(c)[0] == "C" and c != "\n"]


def test_a_box_at_infinity_is_printed_in_a_line() -> None:
    line = look_line(Look((0, 1), (1e300,) * 4, (1e300, 1.0, -1e300, 2.0), False, "a\nb\x1b[0m"), 1)
    assert line == "look 1: [huge, 1, huge, 2] px, refused: a b"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny policy with random weights."""
    from r3lab.models import tiny
    from r3lab.models.policy import save_policy
    from r3lab.recipes.lessons import vocabulary

    return save_policy(tiny.create(vocabulary(), 0), tmp_path_factory.mktemp("policy") / "random")


def test_ask_prints_the_steps_and_keeps_the_record(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    PHOTO.save(tmp_path / "photo.png")
    out = tmp_path / "deep" / "out"
    assert ask(tmp_path / "photo.png", " Which digit? ", model=checkpoint, out=out, temperature=1.0, seed=0) == 0
    t = load(out)
    assert isinstance(t, Trajectory) and t.question == "Which digit?" and t.truth == {} and t.temperature == 1.0
    with Image.open(out / "filmstrip.png") as image:
        assert image.info["Description"] == filmstrip(t).alt
    shown = capsys.readouterr().out
    assert "answer: " in shown and str(out) in shown and " s, " in shown
    assert clean(t.pieces[-1]).split("\n")[0] in shown
    assert sorted(p.name for p in out.iterdir()) == ["filmstrip.png", "images", "trajectory.json"]
    assert [p.name for p in out.parent.iterdir()] == ["out"]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"image": "none.png"}, "does not exist"),
        ({"image": "text.png"}, "not an image"),
        ({"question": "  "}, "question is empty"),
        ({"question": "x" * 5000}, "shorten"),
        ({"out": "full"}, "exists already"),
        ({"out": "text.png"}, "is a file"),
        ({"out": "text.png/deeper"}, "Cannot write"),
        ({"model": "none"}, "no checkpoint folder"),
        ({"model": "full"}, "config.json"),
    ],
)
def test_ask_refuses_before_anything_is_written(
    wrong: dict[str, Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    PHOTO.save("photo.png")
    Path("text.png").write_text("no image")
    Path("full").mkdir()
    Path("full", "mine").write_text("keep me")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(R3labError, match=message):
        ask(**{"image": "photo.png", "question": "Which?", "model": "none", "out": "out", **wrong})
    assert sorted(tmp_path.rglob("*")) == before


def test_ask_refuses_control_tokens_and_damaged_weights(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    PHOTO.save("photo.png")
    for token in ("<|image_pad|>", "<|im_end|>"):
        with pytest.raises(R3labError, match="control token"):
            ask("photo.png", f"Which {token}?", model=checkpoint)
    for file in checkpoint.iterdir():
        data = file.read_bytes()
        Path("model", file.name).parent.mkdir(exist_ok=True)
        Path("model", file.name).write_bytes(data[: len(data) // 2] if file.suffix == ".safetensors" else data)
    with pytest.raises(R3labError, match="cannot read the weights"):
        ask("photo.png", "Which?", model="model")
    assert not Path("runs").exists()


def test_a_record_that_cannot_be_drawn_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ask_module, "filmstrip", fails)
    with pytest.raises(R3labError, match="No space left"):
        keep(trajectory("x"), tmp_path / "out")
    assert not list(tmp_path.iterdir())
    monkeypatch.undo()
    (tmp_path / "out").mkdir()
    keep(trajectory("x"), tmp_path / "out")
    with pytest.raises(R3labError, match="exists already"):
        keep(trajectory("x"), tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_a_reader_that_leaves_loses_nothing(tmp_path) -> None:
    """`r3lab ask ... | true`: the pipe closes before the first line, the record is saved all the same."""
    reads, writes = os.pipe()
    os.close(reads)
    command = ["ask", str(assets_dir() / "pictures" / "badges.png"), "Which digit is on the blue square?"]
    done = subprocess.run(
        [sys.executable, "-m", "r3lab", *command, "--out", str(tmp_path / "asked")],
        stdout=writes, stderr=subprocess.PIPE, text=True, timeout=120, check=False,
    )  # fmt: skip
    os.close(writes)
    assert (done.returncode, done.stderr) == (0, "")
    assert load(tmp_path / "asked").answer is not None


# What the policy was never trained on.


def test_what_is_unlike_all_training_is_said_and_answered(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A question of other words; a cat that carries no badge. Shown questions on their own pictures raise nothing."""
    shown = json.loads((assets_dir() / "results" / "worlds.json").read_text())["examples"]
    cases = [(f"pictures/{world}.png", one["question"], "") for world, one in shown.items()]
    cases += [
        ("pictures/badges.png", "What colour is the flower?", "words that no training question has (colour, flower)"),
        ("photos/chelsea.jpg", "Which digit is on the blue square?", "is less sure of what it writes"),
    ]
    for number, (picture, question, why) in enumerate(cases):
        assert ask(str(assets_dir() / picture), question, out=tmp_path / str(number)) == 0
        told = capsys.readouterr().out
        assert "answer: " in told and why in told and ("unlike what it was trained on" in told) == bool(why), question


def test_limits_by_hand(tmp_path: Path) -> None:
    """New pieces above the most, log-probabilities below the least, and these of greedy answers alone."""
    words = ["Which", " digit", " is", " on", " the", "?"]
    policy = SimpleNamespace(ids=str.split, piece=lambda word: word if word == "Which" else f" {word}")
    t = replace(trajectory(SPOT), question="Which digit is on the cat", temperature=0.0)
    own = [p for p, kind in zip(t.logprobs, t.kinds, strict=True) if kind == Kind.SAMPLED]
    assert sureness(t) == pytest.approx(sum(own) / len(own)) and own
    known = Known(words, 0, sureness(t) - 0.01, 0.0, 0.0, 0.0, 9)
    assert known.unlike(policy, t) == "the question has words that no training question has (cat)"
    assert replace(known, most_new=1).unlike(policy, t) == ""
    unsure = replace(known, most_new=1, least_sure=sureness(t) + 0.01)
    assert "less sure" in unsure.unlike(policy, t) and unsure.unlike(policy, replace(t, temperature=1.0)) == ""
    (tmp_path / "known.json").write_text(json.dumps(asdict(known) | {"most_new": "many"}))
    with pytest.raises(R3labError, match="most_new must be .*, got 'many'"):
        known_of(SimpleNamespace(folder=tmp_path))
    assert known_of(SimpleNamespace(folder=tmp_path / "none")) is None
    mine = json.loads((shipped_policy() / "known.json").read_text())
    assert mine["flagged"] <= 0.01 and mine["n"] >= 1000, "held-out questions of the worlds raise nothing in 99 %"
