"""One's own pictures with questions: read in whichever file they stand, asked, measured, trained on; and annotated."""

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
from r3lab.show.annotate import FILE, Annotate, Annotations, Annotator
from r3lab.show.play import Game, board, pictures
from r3lab.show.play_turn import Session
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


@pytest.mark.parametrize("name", WRITERS)
def test_a_file_without_what_a_step_needs_is_told_by_its_fields(name: str, six: list[Sample], tmp_path: Path) -> None:
    """Answers are what all but `ask` need; a step says so, in the names of fields, and of no option that it lacks."""

    def without(*fields: str) -> Path:
        rows = [row | {"box": [0, 0, 1, 1]} for row in rows_of(six, tmp_path)]
        return WRITERS[name](tmp_path / name, [{k: v for k, v in row.items() if k not in fields} for row in rows])

    path = without("answer")
    assert [s.question for s in OwnSamples("ask", path)] == [s.question for s in six]
    for step in ("eval", "train rgrpo", "vlir rationale"):
        words = f"{name}' has no field answer: its fields are .*{step} needs image, question, answer"
        with pytest.raises(R3labError, match=words) as caught:
            OwnSamples(step, path)
        assert "format" not in str(caught.value)
    with pytest.raises(R3labError, match="has no field question or answer: its fields .*eval needs image"):
        OwnSamples("eval", without("question", "answer"))
    with pytest.raises(R3labError, match="has no field question: .*ask needs image, question;"):
        OwnSamples("ask", without("question"))


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
    assert capsys.readouterr().err.count("memory for ") == 1, "what the run will need is said once"
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


# Annotations.

SCRIPT = "</script><img src=x onerror=alert(1)>"
ENTRY = {"question": "Which digit is it?", "answer": "7", "boxes": [[10, 20, 60, 90]], "needs_look": True}


@pytest.fixture()
def photos(six: list[Sample], tmp_path: Path) -> Path:
    """A folder of three pictures, the second turned by its EXIF tag, and a file that is none."""
    folder = tmp_path / "photos"
    folder.mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6
    for number, s in enumerate(six[:3]):
        s.image.crop((0, 0, 512, 256)).save(folder / f"{number}.png", exif=exif if number == 1 else Image.Exif())
    (folder / "3.png").write_bytes(b"no picture")
    return folder


def test_every_change_is_on_the_disk_and_is_gone_on_with(photos: Path) -> None:
    """By messages alone, as a browser sends them; what makes no sense changes nothing."""
    one = Annotator(Annotations(photos))
    assert one.state["of"] == 3 and one.state["left_out"][0].startswith("3.png: ") and not (photos / FILE).exists()
    one.hear({"do": "write", "at": 0, "entry": ENTRY})
    assert [json.loads(line)["question"] for line in (photos / FILE).read_text().splitlines()] == [ENTRY["question"]]
    one.hear({"do": "another", "at": 0, "entry": ENTRY | {"answer": "8"}})
    one.hear({"do": "write", "at": 1, "entry": {**ENTRY, "question": SCRIPT, "boxes": []}})
    one.hear({"do": "go", "at": 1, "to": 2, "entry": {**ENTRY, "question": SCRIPT, "boxes": []}})
    assert one.state["image"] == "1.png" and one.state["size"] == [256, 512] and one.state["whole"] == 2
    one.hear({"do": "write", "at": 2, "entry": ENTRY | {"needs_look": None}})
    before = (photos / FILE).read_text()
    for wrong in (
        None,
        {"do": "write", "at": 0, "entry": ENTRY},
        {"do": "write", "at": 2},
        {"do": "write", "at": 2, "entry": ENTRY | {"boxes": [[0, 0, 1e400, 5]]}},
        {"do": "write", "at": 2, "entry": ENTRY | {"boxes": [[5, 5, 5, 5]]}},
        {"do": "write", "at": 2, "entry": ENTRY | {"question": "?" * 100_000}},
        {"do": "write", "at": 2, "entry": ENTRY | {"needs_look": "yes"}},
        {"do": "go", "at": 2, "to": 99},
        {"do": "go", "at": 2, "to": "1"},
    ):
        one.hear(wrong)
        assert (photos / FILE).read_text() == before and one.state["at"] == 2
    assert one.state["notice"].startswith("There is no row '1'")
    again = Annotations(photos)
    rows = [("0.png", "8"), ("0.png", "7"), ("1.png", "7"), ("2.png", "")]
    assert [(e["image"], e["answer"]) for e in again.entries] == rows
    found = list(OwnSamples("train rgrpo", photos))
    assert [(s.answer, s.needs_look) for s in found] == [("8", True), ("7", True), ("7", None)]
    assert [s.regions for s in found] == [((10, 20, 60, 90),), (), ((10, 20, 60, 90),)]
    assert found[1].question == SCRIPT and found[2].image.size == (256, 512)


def test_a_file_that_is_not_ours_is_not_written_over(photos: Path) -> None:
    good = {"image": "0.png", **ENTRY, "frame": "source", "upright": True}
    for bad in ({"frame": "relative-1"}, {"image": "../six.png"}, {"boxes": "none"}, {"boxes": [[900, 900, 950, 950]]}):
        as_json(photos / FILE, [good, good | bad])
        with pytest.raises(R3labError, match="annotations.jsonl line 2: .*Mend it, or move annotations.jsonl away"):
            Annotations(photos)
    for folder, words in ((photos / "none", "is no folder"), (photos.parent, "holds no picture that can be read")):
        with pytest.raises(R3labError, match=words):
            Annotations(folder)


def test_the_command_opens_a_notebook_whose_cell_says_what_is_there(
    photos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ran: list[list[str]] = []
    monkeypatch.setattr("subprocess.call", lambda argv: ran.append(argv) or 0)
    assert main(["annotate", str(photos)]) == 0 and ran[0][1:] == ["-m", "jupyterlab", str(photos / "annotate.ipynb")]
    page = json.loads((photos / "annotate.ipynb").read_text())
    assert page["metadata"]["kernelspec"]["name"] == "python3", "or JupyterLab asks which kernel is meant"
    [cell] = page["cells"]
    held: dict[str, Any] = {}
    exec("".join(cell["source"]).replace("annotate('", "made = annotate('"), held)
    assert isinstance(held["made"], Annotate) and repr(held["made"]).startswith("0 of 3 rows of ")
    held["made"]._ipython_display_()
    assert "run this cell in JupyterLab" in capsys.readouterr().out
    assert main(["annotate", str(photos.parent)]) == 2 and len(ran) == 1


PAGE = """<body><div id="view"></div><script>(() => {%s})()</script><script>
const held = %s, sent = [];
const model = { get: (name) => held[name], send: (m) => sent.push(m), on: () => {}, off: () => {} };
view.render({ model, el: document.getElementById("view") });
</script></body>"""


def page_of(widget: Any, **held: Any) -> str:
    """A page that shows a widget as it is, and keeps what it would send."""
    script = str(widget._esm).replace("export default { render };", "window.view = { render };")
    return PAGE % (script, json.dumps(held).replace("</", "<\\/"))


def drag(page: Any, width: int) -> None:
    """Draw the box [100, 50, 200, 150] on a picture that is so wide."""
    at = page.locator(".r3-board svg").bounding_box()
    scale = at["width"] / width
    page.mouse.move(at["x"] + 100 * scale, at["y"] + 50 * scale)
    page.mouse.down()
    page.mouse.move(at["x"] + 200 * scale, at["y"] + 150 * scale)
    page.mouse.up()


@pytest.mark.browser
def test_a_box_of_the_game_is_drawn_in_a_browser(
    shipped: Policy, six: list[Sample], opened: Callable[..., Any]
) -> None:
    """By pointer, moved by a key, and taken by Enter, in pixels of the photograph."""
    session = Session(shipped, six, turns=1)
    turn = session.open()
    assert turn is not None
    shown = opened(page_of(Game, state=board(session), pictures=pictures(turn), progress=0.0, still=""))
    drag(shown.page, turn.size[0])
    shown.page.keyboard.press("ArrowRight")
    shown.page.keyboard.press("Enter")
    hello, look = shown.page.evaluate("sent")
    step = round(max(turn.size) / 64)
    assert hello == {"do": "hello"} and (look["do"], look["turn"]) == ("look", 1)
    assert look["box"] == pytest.approx([100 + step, 50, 200 + step, 150], abs=1.5)
    shown.clean()


@pytest.mark.browser
def test_a_box_is_drawn_and_words_are_written_in_a_browser(photos: Path, opened: Callable[..., Any]) -> None:
    """What is drawn and typed is sent at once, in pixels of the picture; foreign text is shown as text."""
    one = Annotator(Annotations(photos))
    one.hear({"do": "write", "at": 0, "entry": {**ENTRY, "question": SCRIPT}})
    shown = opened(page_of(Annotator, state=one.state, picture=one.picture))
    page = shown.page
    assert page.input_value(".r3-question") == SCRIPT and page.locator(".r3-box-box").count() == 1
    drag(page, 512)
    [told] = page.evaluate("sent")
    assert told["do"] == "write" and told["entry"]["boxes"][1] == pytest.approx([100, 50, 200, 150], abs=1.5)
    page.fill(".r3-answer", "9")
    page.focus(".r3-board")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    last = page.evaluate("sent")[-1]
    assert last["entry"]["answer"] == "9" and last["entry"]["boxes"][2] == [192, 96, 320, 160]
    one.hear(last)
    assert one.state["boxes"] == Annotations(photos).now["boxes"] and len(one.state["boxes"]) == 3
    page.click("text=Remove the last box")
    assert len(page.evaluate("sent")[-1]["entry"]["boxes"]) == 2
    page.click("text=Next")
    assert page.evaluate("sent")[-1]["do"] == "go"
    shown.clean()
