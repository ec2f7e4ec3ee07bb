"""One's own pictures with questions: read in whichever file they stand, asked, measured and trained on."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from r3lab.cli import main
from r3lab.core.errors import R3labError
from r3lab.core.files import assets_dir
from r3lab.models.policy import Policy
from r3lab.trajectory import load
from r3lab.vlir.convert import OwnSamples, read
from r3lab.vlir.sample import Sample
from r3lab.vlir.worlds import get_world

COLD = str(assets_dir() / "tiny" / "cold-start")


@pytest.fixture(scope="module")
def six() -> list[Sample]:
    return [get_world("badges").sample("test", i) for i in range(6)]


def rows_of(six: list[Sample], folder: Path, **more: Any) -> list[dict[str, Any]]:
    """The pictures in a folder, and what a person would write of them."""
    found = []
    for number, s in enumerate(six):
        s.image.save(folder / f"{number}.png")
        found.append({"image": f"{number}.png", "question": s.question, "answer": s.answer, "box": list(s.regions[0])})
    return [row | more for row in found]


def as_json(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text(json.dumps(rows) if path.suffix == ".json" else "".join(json.dumps(row) + "\n" for row in rows))
    return path


def as_csv(path: Path, rows: list[dict[str, Any]]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(row | {"box": " ".join(map(str, row["box"]))} for row in rows)
    return path


def as_parquet(path: Path, rows: list[dict[str, Any]]) -> Path:
    table = pytest.importorskip("pyarrow.parquet")
    arrow = pytest.importorskip("pyarrow")
    held = [row | {"image": {"bytes": (path.parent / row["image"]).read_bytes(), "path": None}} for row in rows]
    table.write_table(arrow.Table.from_pylist(held), path)
    return path


WRITERS: dict[str, Callable[[Path, list[dict[str, Any]]], Path]] = {
    "own.json": as_json,
    "own.jsonl": as_json,
    "own.csv": as_csv,
    "own.parquet": as_parquet,
}


@pytest.mark.parametrize("name", WRITERS)
def test_the_same_rows_are_the_same_samples_in_any_file(name: str, six: list[Sample], tmp_path: Path) -> None:
    """By the file or by its folder; boxes in a declared frame, by the caller or by the row."""
    path = WRITERS[name](tmp_path / name, rows_of(six, tmp_path))
    for place in (path, tmp_path):
        found = list(OwnSamples("train rgrpo", place, frame="source"))
        assert [(s.question, s.answer, s.regions[:1]) for s in found] == [
            (s.question, s.answer, s.regions[:1]) for s in six
        ]
        assert all(s.needs_look is None and s.id == f"own-{n}" or name != "own.json" for n, s in enumerate(found, 1))
    with pytest.raises(R3labError, match=f"{name}.*frame of the box .* is open: no field 'frame' says it. Give frame="):
        list(OwnSamples("eval", path))
    if name != "own.parquet":
        declared = WRITERS[name](tmp_path / name, rows_of(six, tmp_path, frame="source", needs_look=True))
        assert list(OwnSamples("eval", declared))[0].needs_look is True


ONE = {"image": "0.png", "question": "Which digit?", "answer": "7"}
ROWS: dict[str, tuple[dict[str, Any], str, str]] = {  # a row, the step, and what is said of it
    "no question": ({**ONE, "question": None}, "ask", "no question"),
    "no image": ({**ONE, "image": ""}, "eval", "no image: the field image or image_path or file_name is empty"),
    "no answer": ({**ONE, "answer": " "}, "train rgrpo", "no answer; train rgrpo needs image, question, answer"),
    "a box of four words": ({**ONE, "box": "left top 3 4"}, "eval", "boxes"),
    "a box of three": ({**ONE, "box": [1, 2, 3]}, "eval", "boxes[0] must be"),
    "a box outside": (
        {**ONE, "box": [900, 900, 950, 950], "frame": "source"},
        "eval",
        "a box that does not fit its image",
    ),
    "width and height": ({**ONE, "bbox": [1, 2, 30, 40]}, "eval", "a field 'bbox'"),
    "another frame": ({**ONE, "box": [1, 2, 30, 40], "frame": "pixels"}, "eval", "frame must be one of source, "),
    "another file": ({**ONE, "image": "../my.png"}, "eval", "../my.png"),
    "needs_look of words": ({**ONE, "needs_look": "perhaps"}, "eval", "needs_look must be true or false"),
}


@pytest.mark.parametrize("case", ROWS)
def test_a_row_that_cannot_be_used_is_left_out_and_named(case: str, six: list[Sample], tmp_path: Path) -> None:
    row, step, words = ROWS[case]
    good = {**ONE, "box": [0.1, 0.1, 0.5, 0.5]}
    six[0].image.save(tmp_path / "0.png")
    own = OwnSamples(step, as_json(tmp_path / "own.jsonl", [good, row]))
    [sample] = list(own)
    assert sample.regions == (tuple(v * 0.1 * 512 for v in (1, 1, 5, 5)),), "shares of the image are certain"
    assert own.skipped == 1 and own.problems[0].startswith("own.jsonl line 2: ") and words in own.problems[0]
    nothing = OwnSamples(step, as_json(tmp_path / "own.jsonl", [row]))
    with pytest.raises(R3labError, match=f"has no row that {step} can use. It needs image, question.*rationale not"):
        list(nothing)


def test_a_picture_that_is_turned_keeps_boxes_that_were_drawn_on_it_upright(six: list[Sample], tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    six[0].image.crop((0, 0, 512, 256)).save(tmp_path / "0.png", exif=exif)
    row = {**ONE, "box": [10, 20, 60, 90], "frame": "source"}
    [(sample, _)] = read(as_json(tmp_path / "own.jsonl", [row, {**row, "upright": True}]))
    assert sample.image.size == (256, 512) and sample.regions == ((10, 20, 60, 90),)


def test_six_own_pictures_are_asked_measured_and_trained_on(
    six: list[Sample], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two steps, without a rationale; the needs of a reward are said before a policy is loaded."""
    monkeypatch.chdir(tmp_path)
    path = as_csv(tmp_path / "own.csv", rows_of(six, tmp_path))
    given = ["--data", path.name, "--frame", "source", "--model", COLD]
    assert main(["ask", *given, "--out", "asked", "--report"]) == 0
    asked = load(tmp_path / "asked")
    assert isinstance(asked, list) and [t.question for t in asked] == [s.question for s in six]
    assert capsys.readouterr().out.count("(in the file: ") == 6 and (tmp_path / "asked" / "report.html").is_file()
    assert main(["eval", *given, "--limit", "4", "--out", "measured"]) == 0
    rows = {row["measure"]: row for row in json.loads((tmp_path / "measured" / "table.json").read_text())["rows"]}
    assert set(rows) == {"exact", "iou", "look_rate"} and rows["exact"]["n"] == 4
    steps = ["--steps", "2", "--prompts", "2", "--group", "2", "--minibatches", "1", "--out", "trained"]
    assert main(["train", "rgrpo", *given, *steps, "--reward", "official-code"]) == 0
    assert len((tmp_path / "trained" / "log.jsonl").read_text().splitlines()) == 3
    monkeypatch.setattr(Policy, "load", lambda *a, **k: pytest.fail("a policy was loaded"))
    for more, words in (
        ([], "the reward 'grounded' needs needs_look, true or false, of every sample"),
        (["--reward", "paper", "--prompts", "12"], "own.csv holds 6 samples, fewer than --prompts 12"),
        (["--reward", "paper", "--frame", "sauce"], "Did you mean 'source'"),
        (["--reward", "paper", "--data", "none.csv"], "none.csv' does not exist"),
    ):
        assert main(["train", "rgrpo", *given, *steps, "--out", "other", *more]) == 2
        assert words in capsys.readouterr().err, words
    for argv, words in (
        (["ask"], "Give an image and a question, or --data FILE"),
        (["ask", "--data", path.name], "Give --frame 'source' (pixels of the image file)"),
        (["eval", "--data", path.name, "--world", "badges"], "Give either --benchmark"),
    ):
        assert main([*argv, "--out", "other"]) == 2
        assert words in capsys.readouterr().err, words
    assert not (tmp_path / "other").exists()
