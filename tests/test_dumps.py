"""Dumps of other projects' rollouts: read as far as they go, and checked for what is commonly wrong."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from r3lab.cli import main
from r3lab.core.errors import R3labError
from r3lab.core.frames import Written
from r3lab.explain.rows import check_model
from r3lab.models.policy import Policy
from r3lab.show.browser_rows import read_rows
from r3lab.show.filmstrip import filmstrip
from r3lab.show.player import read_entries
from r3lab.show.rollouts import group_view
from r3lab.trajectory import ABSENT, Kind, load
from r3lab.vlir.dump_checks import CHECKS, check, lacking
from r3lab.vlir.dumps import LAYOUTS, read_dump

OFFER = 'Look closer with {"name": "image_zoom_in_tool", "arguments": {"bbox_2d": [x1, y1, x2, y2]}}.'
NAMES = [one.name for one in LAYOUTS]


@dataclass
class Turn:
    """A rollout as it happened: what was asked, the boxes (source pixels) with their crops, the answer, its pay."""

    question: str
    picture: Image.Image
    region: tuple[float, float, float, float]
    boxes: list[tuple[float, float, float, float]]
    crops: list[Image.Image | None]
    answer: str
    right: str
    score: float
    group: str
    step: int
    after: str = ""  # written after the answer
    loss: bool = False  # of the environment's turns
    held: dict[str, Any] = field(default_factory=dict)


def picture(rng: np.random.Generator) -> Image.Image:
    """A landscape of coarse noise: every region of it looks different."""
    size = [(160, 120), (120, 160), (200, 110)][int(rng.integers(3))]
    small = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(small).resize(size, Image.Resampling.BICUBIC)


def healthy(seed: int, count: int = 8, group: int = 4, steps: int = 3) -> list[Turn]:
    """What an ordinary run does: it looks in most rollouts, near the region, and is right in some of a group."""
    rng, turns = np.random.default_rng(seed), []
    for number in range(count):
        image = picture(rng)
        w, h = image.size
        x, y = rng.uniform(0, 0.6, 2)
        region = (x * w, y * h, (x + 0.3) * w, (y + 0.35) * h)
        for member in range(group):
            boxes = []
            for _ in range(int(rng.choice([0, 1, 2], p=[0.2, 0.6, 0.2]))):
                off = rng.normal(0, 0.02, 4) * np.array([w, h, w, h])
                x1, y1, x2, y2 = np.array(region) + off
                boxes.append((float(max(0, x1)), float(max(0, y1)), float(min(w, x2)), float(min(h, y2))))
            crops: list[Image.Image | None] = [cut(image, box) for box in boxes]
            right = member % 2 == 0 if number % 3 else bool(rng.random() < 0.5)
            turn = Turn(
                f"{number}: which sign?",
                image,
                region,
                boxes,
                crops,
                "7" if right else "4",
                "7",
                float(right),
                f"q{number}",
                number % steps,
            )
            turns.append(turn)
    return turns


def cut(image: Image.Image, box: tuple[float, float, float, float], padding: float = 0.0) -> Image.Image:
    """As the tools of these projects cut: whole pixels, resized, a JPEG."""
    w, h = image.size
    x1, y1, x2, y2 = box[0] - padding * w, box[1] - padding * h, box[2] + padding * w, box[3] + padding * h
    part = image.crop((max(0, int(x1)), max(0, int(y1)), min(w, int(x2) + 1), min(h, int(y2) + 1)))
    file = io.BytesIO()
    part.resize((56, 84)).save(file, "JPEG", quality=85)
    return Image.open(file).convert("RGB")


def encoded(image: Image.Image | None) -> str:
    """As the messages of a chat hold it; emptied where there is none."""
    file = io.BytesIO()
    if image is not None:
        image.save(file, "PNG", compress_level=1)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()


def spoken(turn: Turn, frame: Written, number: int) -> str:
    """What the policy writes in a turn."""
    if number == len(turn.boxes):
        return f"<think>I see.</think> <answer>{turn.answer}</answer>{turn.after}"
    source = turn.picture.size
    digits = 4 if frame.unit == "relative-1" else 0
    box = ", ".join(f"{v:.{digits}f}" for v in frame.write(turn.boxes[number], source, source))
    call = f'{{"name": "crop_image", "arguments": {{"bbox_2d": [{box}], "target_image": 1}}}}'
    return f"<think>Closer.</think> <tool_call>\n{call}\n</tool_call>"


def messages(turn: Turn, frame: Written, first: bool = True) -> list[dict[str, Any]]:
    """A conversation with images; the picture itself only where it is `first` to be held."""
    ask = [{"type": "image_url", "image_url": {"url": encoded(turn.picture if first else None)}}]
    found: list[dict[str, Any]] = [
        {"role": "user", "content": [*ask, {"type": "text", "text": f"{turn.question} {OFFER}"}]}
    ]
    for number in range(len(turn.boxes) + 1):
        found.append({"role": "assistant", "content": spoken(turn, frame, number)})
        if number < len(turn.boxes):
            image = {"type": "image_url", "image_url": {"url": encoded(turn.crops[number])}}
            found.append({"role": "user", "content": [image, {"type": "text", "text": "Here it is."}]})
    return found


def text(turn: Turn, frame: Written, marks: bool) -> str:
    """The same as decoded text, with or without the marks of the chat template."""
    between = (
        "<|im_end|>\n<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n" if marks else "\nuser\n{}\nassistant\n"
    )
    told = between.format("<tool_response><image>Here it is.</tool_response>")
    return told.join(spoken(turn, frame, number) for number in range(len(turn.boxes) + 1))


def pictures(turn: Turn) -> list[dict[str, bytes]]:
    """The picture and the crops, as a column of images."""
    found = []
    for image in [turn.picture, *(crop for crop in turn.crops if crop is not None)]:
        file = io.BytesIO()
        image.save(file, "PNG", compress_level=1)
        found.append({"bytes": file.getvalue()})
    return found


def record(layout: str, turn: Turn, frame: Written) -> dict[str, Any]:
    """A rollout as a project dumps it; the fields that r3lab adds (images, region) where JSON can hold them."""
    asked, region = f"{turn.question} {OFFER}", [float(v) for v in turn.region]
    held = {"images": [encoded(turn.picture), *(encoded(c) for c in turn.crops if c is not None)]}
    if layout == "verl":
        row = {"input": f"user\n{asked}\nassistant\n", "output": text(turn, frame, False), "gts": turn.right}
        return {**row, "score": turn.score, "step": turn.step, **held, "region": region}
    if layout == "trl":
        row = {"step": turn.step, "prompt": asked, "completion": text(turn, frame, True), "accuracy_reward": turn.score}
        return {**row, "advantage": turn.score - 0.5, "images": pictures(turn), "region": region}
    if layout == "deepeyes":
        row = {"image": encoded(turn.picture), "question": turn.question, "answer": turn.right, "pred_ans": turn.answer}
        return {
            **row,
            "pred_output": messages(turn, frame, False),
            "status": "success",
            "acc": turn.score,
            "region": region,
        }
    if layout == "pixel-reasoner":
        row = {"solutions": text(turn, frame, True) + "<|im_end|>", "questions": asked, "qids": turn.group}
        return {**row, "gts": turn.right, "reward": turn.score, "validity": 1.0, **held, "region": region}
    told = messages(turn, frame)
    for at, message in enumerate(told):
        message["loss"] = message["role"] == "assistant" or (turn.loss and at > 0)
    row = {"messages": told, "question": turn.question, "answer": turn.right, "reward": turn.score}
    return {**row, "group": turn.group, "step": turn.step, "region": region}


def dumped(layout: str, turns: list[Turn], path: Path, frame: Written | None = None) -> Path:
    """A dump of rollouts; boxes are written as the project means them, or in another frame."""
    frame = frame or next(one.written for one in LAYOUTS if one.name == layout)
    rows = [record(layout, turn, frame) for turn in turns]
    if layout == "trl":
        pq.write_table(pa.Table.from_pylist(rows), path.with_suffix(".parquet"))
        return path.with_suffix(".parquet")
    path = path.with_suffix(".jsonl")
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def padded(layout: str, turns: list[Turn]) -> list[Turn]:
    """Crops as the project's tool cuts them."""
    padding = next(one.padding for one in LAYOUTS if one.name == layout)
    for turn in turns if padding else []:
        turn.crops = [cut(turn.picture, box, padding) for box in turn.boxes]
    return turns


@pytest.mark.parametrize("layout", NAMES)
def test_a_dump_is_read_as_far_as_it_goes_and_shown(layout: str, tmp_path: Path, policy: Policy) -> None:
    """Question, boxes, crops, answers, rewards, groups; no tokens; and every view draws them."""
    turns = healthy(0, 4)
    dump = read_dump(dumped(layout, turns, tmp_path / "dump"))
    assert dump.layout.name == layout and not dump.problems and len(dump.rollouts) == len(turns)
    for one, turn in zip(dump.rollouts, turns, strict=True):
        t = one.t
        t.check()
        assert (t.answer, t.finish, one.score) == (turn.answer, "answered", turn.score)
        assert turn.question in t.question and (t.image.width, t.image.height) == turn.picture.size
        assert len(t.looks) == len(turn.boxes) == sum(look.crop is not None for look in t.looks)
        for look, box in zip(t.looks, turn.boxes, strict=True):
            assert look.valid and look.box == pytest.approx(box, abs=1.0)
        assert set(t.ids) == {ABSENT} and set(t.logprobs) == {None}
        assert t.kinds.count(Kind.ENVIRONMENT) >= len(turn.boxes) and "bbox_2d" not in "".join(
            piece for piece, kind in zip(t.pieces, t.kinds, strict=True) if kind == Kind.ENVIRONMENT
        )
    assert len({one.group for one in dump.rollouts}) == 4
    group = [one.t for one in dump.rollouts[:4]]
    assert "4 rollouts" in group_view(group).alt or "rollout" in group_view(group).alt
    looked = next(one.t for one in dump.rollouts if one.t.looks)
    with pytest.raises(R3labError, match="has no tokens"):
        check_model(policy, looked)
    assert filmstrip(looked).png
    assert main(["check", str(tmp_path), "--out", str(tmp_path / "out" / "theirs")]) == 0
    kept = load(tmp_path / "out" / "theirs")
    assert isinstance(kept, list) and kept == [one.t for one in dump.rollouts]
    assert len(read_entries([tmp_path / "out"])) == len(read_rows([tmp_path / "out" / "theirs"]).rows) == len(turns)


@pytest.mark.parametrize("layout", NAMES)
def test_healthy_runs_are_left_in_peace(layout: str, tmp_path: Path) -> None:
    for seed in range(4 if layout != "messages" else 5):
        dump = read_dump(dumped(layout, padded(layout, healthy(seed)), tmp_path / f"{seed}"))
        assert check(dump) == [], [fault.said for fault in check(dump)]
        assert not any("pictures" in told or "regions" in told for told in lacking(dump))


def frame_of_thousand(turns: list[Turn]) -> Written:
    return Written()


def stale_crops(turns: list[Turn]) -> None:
    for turn in turns:
        w, h = turn.picture.size
        turn.crops = [cut(turn.picture, (w - x2, h - y2, w - x1, h - y1)) for x1, y1, x2, y2 in turn.boxes]


def drop_images(turns: list[Turn]) -> None:
    for turn in turns[::2]:
        turn.crops = [None for _ in turn.crops]


def give_loss(turns: list[Turn]) -> None:
    for turn in turns:
        turn.loss = True


def pay_late(turns: list[Turn]) -> None:
    for turn in turns:
        turn.answer, turn.after = "4", " Or rather <answer>7</answer>"


def look_nowhere(turns: list[Turn]) -> None:
    for turn in turns:
        turn.boxes, turn.crops = [], []


def look_everywhere(turns: list[Turn]) -> None:
    for turn in turns:
        whole = (0.0, 0.0, float(turn.picture.width), float(turn.picture.height))
        turn.boxes = [whole for _ in turn.boxes]
        turn.crops = [turn.picture for _ in turn.boxes]


def pay_alike(turns: list[Turn]) -> None:
    for turn in turns:
        turn.score = float(turn.group[1] in "0246")


PLANTED: list[tuple[str, Callable[[list[Turn]], Any], list[str]]] = [
    ("crops", stale_crops, ["verl", "trl", "deepeyes", "messages"]),
    ("images", drop_images, ["deepeyes", "messages"]),
    ("loss", give_loss, ["messages"]),
    ("answers", pay_late, NAMES),
    ("looks", look_nowhere, NAMES),
    ("looks", look_everywhere, ["verl", "deepeyes", "messages"]),
    ("groups", pay_alike, NAMES),
]


@pytest.mark.parametrize(("name", "plant", "layouts"), PLANTED, ids=[f"{n}-{p.__name__}" for n, p, _ in PLANTED])
def test_a_planted_fault_is_found(name: str, plant: Callable, layouts: list[str], tmp_path: Path, capsys: Any) -> None:
    for layout in layouts:
        turns = padded(layout, healthy(11))
        plant(turns)
        path = dumped(layout, turns, tmp_path / layout)
        faults = {fault.name: fault for fault in check(read_dump(path))}
        assert name in faults, (layout, faults)
        assert faults[name].count > 0 and faults[name].where.startswith(path.name)
        assert set(faults) <= {name, "frame"} if name != "images" else set(faults) <= {name, "crops"}, (layout, faults)
        assert main(["check", str(path)]) == 1 and f"{name}: {faults[name].count}" in capsys.readouterr().out


@pytest.mark.parametrize("layout", NAMES)
def test_boxes_in_another_frame_are_found_with_and_without_true_regions(layout: str, tmp_path: Path) -> None:
    declared = next(one.written for one in LAYOUTS if one.name == layout)
    for other in (Written("relative-1000"), Written("relative-1000", "y1 x1 y2 x2"), Written("relative-1")):
        if other == declared:
            continue
        turns = healthy(3)
        path = dumped(layout, turns, tmp_path / f"{layout}-{other.unit}-{other.order[:2]}", other)
        [fault] = [fault for fault in check(read_dump(path)) if fault.name == "frame"]
        assert str(other) in fault.said
        assert not [fault for fault in check(read_dump(path, written=other)) if fault.name == "frame"]
        if layout != "trl":
            rows = [json.loads(line) for line in path.read_text().splitlines()]
            path.write_text("".join(json.dumps({k: v for k, v in row.items() if k != "region"}) + "\n" for row in rows))
            assert [fault for fault in check(read_dump(path)) if fault.name == "frame"]


def test_a_run_that_stopped_looking_is_told_by_its_steps(tmp_path: Path) -> None:
    turns = healthy(5, count=24)
    for turn in turns:
        if turn.step == 2:
            turn.boxes, turn.crops = [], []
    [fault] = check(read_dump(dumped("verl", turns, tmp_path / "dump")))
    assert fault.name == "looks" and "did in the first steps" in fault.said


def test_what_a_dump_does_not_hold_is_said(tmp_path: Path, capsys: Any) -> None:
    """The text alone, as verl writes it by itself: no pictures, and still answers, looks and groups."""
    rows = [record("verl", turn, Written("source")) for turn in healthy(2)]
    for row in rows:
        row.pop("images"), row.pop("region")
    path = tmp_path / "7.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert main(["check", str(path)]) == 0
    told = capsys.readouterr().out
    assert "verl: 32 rollouts" in told and "not held: no pictures" in told and "no masks of the loss" in told
    dump = read_dump(path)
    assert all(look.reason == "its picture is not in the dump" for one in dump.rollouts for look in one.t.looks)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"a": 1}', "known are verl: input, output, score"),
        ("{", "not valid JSON|holds no rollout"),
        ('{"input": 3, "output": "x", "score": 1}', "input must be text"),
        ('{"input": "x", "output": "y", "score": "high"}', "score must be a number"),
        ('{"messages": [{"role": "user"}, 7]}', "must be an object"),
        ('{"messages": [{"role": ["x"], "content": "y"}]}', "role must be"),
        ('{"messages": [{"role": "user", "content": {"a": 1}}]}', "content must be a list"),
        ('{"input": "x", "output": "y", "score": 1, "region": [1, 2, 3]}', "region must be a list of 4"),
    ],
)
def test_what_does_not_fit_is_named(line: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "dump.jsonl").write_text(line + "\n")
    with pytest.raises(R3labError, match=words):
        read_dump(tmp_path / "dump.jsonl")


def test_hostile_text_costs_nothing_and_leads_nowhere(tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(b"x")
    (tmp_path / "in").mkdir()
    rows = [
        {"input": "x", "output": "\nuser\n" * 30_000, "score": 1.0},
        {"input": "x", "output": '"bbox_2d": [' * 30_000, "score": 1.0},
        {"input": "x", "output": '"bbox_2d": [1e999, NaN, "a", 3]', "score": 0.0, "image": "../secret.png"},
        {
            "input": "x",
            "output": '"bbox_2d": [1, 2, 3, 4] <script>',
            "score": 0.0,
            "images": ["/etc/passwd", {"bytes": 7}],
        },
    ]
    (tmp_path / "in" / "dump.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    dump = read_dump(tmp_path / "in")
    assert len(dump.rollouts) == 4 and all(not one.t.images for one in dump.rollouts)
    check(dump)
    assert set(CHECKS) == {"frame", "crops", "images", "loss", "answers", "looks", "groups"}
