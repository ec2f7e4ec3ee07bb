"""The record: what is saved comes back equal, what contradicts itself is refused, and files cannot do harm."""

from __future__ import annotations

import dataclasses
import json
import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from r3lab.core.errors import R3labError
from r3lab.core.geometry import Frame, crop_size
from r3lab.core.images import content_hash
from r3lab.trajectory import FINISHES, ImageRef, Kind, Look, Trajectory, contradictions, load, save

BOX = '{"bbox_2d": [100, 100, 500, 500]}'
P, O, S, E, C, X = Kind  # noqa: E741
PIECES = ["a", "é", "\n", "\x1b[0m", "\u202e", "", "\U0001f600"]


def picture(seed: int, size: tuple[int, int]) -> Image.Image:
    return Image.frombytes("RGB", size, random.Random(seed).randbytes(3 * size[0] * size[1]))


def reference(image: Image.Image) -> ImageRef:
    return ImageRef(content_hash(image), *image.size)


def build(rows: list[tuple[Kind, str]], **more: Any) -> Trajectory:
    photo = picture(0, (40, 30))
    sampled = [kind == Kind.SAMPLED for kind, _ in rows]
    fields: dict[str, Any] = dict(
        sample_id="badges-test-1",
        question="Which digit?",
        image=reference(photo),
        overview=(20, 15),
        frame=Frame.RELATIVE,
        ids=list(range(len(rows))),
        kinds=[int(kind) for kind, _ in rows],
        pieces=[piece for _, piece in rows],
        logprobs=[-0.1 * i if yes else None for i, yes in enumerate(sampled)],
        entropies=[0.3 if yes else None for yes in sampled],
        images={content_hash(photo): photo},
    )
    return Trajectory(**{**fields, **more})


def example() -> Trajectory:
    """A good look, a bad one, an answer; padded at the end."""
    before = [(P, "<user>"), (O, ""), (O, ""), (P, "Which digit?")]
    good = [(S, "Too small. "), (S, '{"bbox_2d": ['), (S, "100, 100, 500, 500]}")]  # from 4
    crops = [(E, "<|vision_start|>"), (C, ""), (C, ""), (E, "<|vision_end|>")]  # from 7
    bad = [(S, '{"bbox_2d": [5, 5, 1, 1]}'), (E, "[invalid box: x2 <= x1]")]  # from 11
    rows = [*before, *good, *crops, *bad, (S, " It is <answer>"), (S, "7"), (S, "</answer>"), (X, "")]
    crop = picture(1, (56, 28))
    t = build(
        rows,
        looks=[
            Look((5, 7), (100, 100, 500, 500), (4.0, 3.0, 20.0, 15.0), True, "", 1.9, reference(crop), (8, 10)),
            Look((11, 12), (5.0, 5.0, 1.0, 1.0), (0.2, 0.15, 0.04, 0.03), False, "x2 <= x1"),
        ],
        answer="7",
        finish="answered",
        truth={"answer": "7", "region": (4, 3, 20.5, 15), "needs_look": True, "more": {"深": [None, 1e-9, ()]}},
        rewards={"accuracy": 1.0, "region": 0.5},
        advantage=-0.25,
        model="tiny",
        seed=3,
        temperature=0.7,
    )
    t.images[content_hash(crop)] = crop
    return t


def arbitrary(rng: random.Random) -> Trajectory:
    """Any consistent trajectory: random kinds, looks, unicode, floats."""
    rows: list[tuple[Kind, str]] = [(rng.choice([P, O]), "") for _ in range(rng.randint(0, 5))]
    looks, crops = [], []
    for _ in range(rng.randint(0, 5)):
        rows += [(S, rng.choice(PIECES)) for _ in range(rng.randint(0, 3))]
        span = (len(rows), len(rows) + 1)
        rows.append((S, BOX))
        numbers = tuple(rng.uniform(-1e6, 1e6) for _ in range(4))
        if rng.random() < 0.5:
            looks.append(Look(span, rng.choice([None, numbers]), rng.choice([None, numbers]), False, "why"))
            rows.append((E, "[invalid box: why]"))
            continue
        crops.append(picture(rng.randrange(10**6), (rng.randint(1, 9), rng.randint(1, 9))))
        crop_span = (len(rows), len(rows) + rng.randint(1, 4))
        rows += [(C, "")] * (crop_span[1] - crop_span[0])
        inside = (rng.uniform(0, 15), rng.uniform(0, 10), rng.uniform(20, 40), rng.uniform(15, 30))
        looks.append(Look(span, numbers, inside, True, "", rng.uniform(1, 2), reference(crops[-1]), crop_span))
    answered = rng.random() < 0.5
    if answered:
        rows += [(S, "<answer>7</ans"), (S, "wer>")]
    rows += [(X, "")] * rng.randint(0, 3)
    t = build(
        rows,
        looks=looks,
        answer="7" if answered else None,
        finish="answered" if answered else rng.choice(FINISHES[1:]),
        truth=rng.choice([{}, {"a": [1, "b", None, True, {"c": rng.random()}]}]),
        rewards={f"r{i}": rng.gauss(0, 1) for i in range(rng.randint(0, 3))},
        advantage=rng.choice([None, rng.gauss(0, 1), 0.0]),
        seed=rng.choice([None, 2**63]),
        frame=rng.choice(list(Frame)),
    )
    t.images.update({content_hash(crop): crop for crop in crops if rng.random() < 0.7})
    return t


def test_what_is_saved_comes_back_equal(tmp_path: Path) -> None:
    rng = random.Random(0)
    for i in range(30):
        t = example() if i == 0 else arbitrary(rng)
        back = load(save(t, tmp_path / str(i)))
        assert back == t and isinstance(back, Trajectory)
        assert back.logprobs == t.logprobs and back.looks == t.looks and back.frame is t.frame
        assert {k: v.tobytes() for k, v in back.images.items()} == {k: v.tobytes() for k, v in t.images.items()}
        assert type(back.looks) is list and all(type(look.span) is tuple for look in back.looks)
        assert load(tmp_path / str(i)) == t  # the folder will do


def test_a_record_from_before_rollouts_could_be_forced_is_of_a_free_one(tmp_path: Path) -> None:
    """Without the field, as without the arm; an unknown value is refused by name."""
    path, forced = save(example(), tmp_path), build([(P, "?"), (E, "A closer look."), (S, "7")], forced="look")
    record = json.loads(path.read_text())
    path.write_text(json.dumps({k: v for k, v in record.items() if k not in ("forced", "arm")}))
    assert load(path) == example()
    path.write_text(json.dumps(record | {"forced": "both"}))
    with pytest.raises(R3labError, match="forced must be empty or one of direct, look, got 'both'"):
        load(path)
    assert load(save(forced, tmp_path / "forced")) == forced != build([(P, "?"), (E, "A closer look."), (S, "7")])


def test_a_list_comes_back_equal_and_shares_its_images(tmp_path: Path) -> None:
    rng = random.Random(1)
    many = [example()] + [arbitrary(rng) for _ in range(10)]
    path = save(many, tmp_path)
    assert path.name == "trajectories.jsonl" and load(path) == many == load(tmp_path)
    files = sorted(p.stem for p in (tmp_path / "images").iterdir())
    assert files == sorted({name for t in many for name in t.images})
    assert load(save([], tmp_path / "none")) == []


def test_saving_twice_writes_the_same_bytes_and_leaves_no_scraps(tmp_path: Path) -> None:
    save(example(), tmp_path)
    first = {str(p.relative_to(tmp_path)): p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    save(load(tmp_path), tmp_path)
    assert {str(p.relative_to(tmp_path)): p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == first
    assert set(first) == {"trajectory.json", *(f"images/{name}.png" for name in example().images)}
    for change in ({"answer": "8"}, {"looks": []}, {"images": {}}, {"rewards": {"accuracy": 1.0}}):
        assert dataclasses.replace(example(), **change) != example()
    assert example() == example() and example() != "a trajectory"


def test_texts_masks_and_segments() -> None:
    t = example()
    assert t.prompt_text == "<user>Which digit?"
    assert t.response_text == f'Too small. {BOX}{{"bbox_2d": [5, 5, 1, 1]}} It is <answer>7</answer>'
    assert "vision_start" in t.text and "vision_start" not in t.response_text
    assert [i for i, yes in enumerate(t.sampled_mask) if yes] == [4, 5, 6, 11, 13, 14, 15]
    assert t.segments() == [
        ("text", f"Too small. {BOX}"),
        ("look", t.looks[0]),
        ("environment", "<|vision_start|><|vision_end|>"),
        ("text", '{"bbox_2d": [5, 5, 1, 1]}'),
        ("look", t.looks[1]),
        ("environment", "[invalid box: x2 <= x1]"),
        ("text", " It is <answer>7</answer>"),
    ]


def test_segments_lose_nothing() -> None:
    rng = random.Random(2)
    for _ in range(100):
        t = arbitrary(rng)
        parts = t.segments()
        assert "".join(part for kind, part in parts if kind != "look") == t.text
        assert "".join(part for kind, part in parts if kind == "text") == t.response_text
        assert [part for kind, part in parts if kind == "look"] == t.looks
        assert "".join(t.pieces) == t.prompt_text + t.text


@pytest.mark.parametrize(
    ("box", "budget", "enlarged"),
    [
        ((0.0, 0.0, 64.0, 64.0), (4, 1024), 2.0),  # 128 x 128: the paper's rule has its way
        ((0.0, 0.0, 64.0, 64.0), (4, 25), 80 / 64),  # 25 tokens of 16 x 16: no more than 80 x 80
        ((0.0, 0.0, 320.0, 320.0), (4, 25), 80 / 320),
        ((0.0, 0.0, 10.0, 10.0), (4, 25), 32 / 10),  # 4 tokens: no less than 32 x 32
    ],
)
def test_the_enlargement_is_that_of_the_crop_also_where_its_budget_binds(
    box: tuple[float, float, float, float], budget: tuple[int, int], enlarged: float
) -> None:
    zoom, size = crop_size(box, (1000, 1000), 16, *budget)
    one = Look((0, 1), box, box, True, "", zoom, ImageRef("0" * 64, *size), (1, 2))
    assert zoom == 2 and one.enlargement == pytest.approx(enlarged)
    for lacking in ("zoom", "crop", "box"):
        assert dataclasses.replace(one, **{lacking: None}).enlargement is None


# ------------------------------------------------------------------ invariants


def setting(name: str, at: int, value: Any) -> Callable[[Trajectory], None]:
    return lambda t: getattr(t, name).__setitem__(at, value)


def look(at: int, **change: Any) -> Callable[[Trajectory], None]:
    return lambda t: t.looks.__setitem__(at, dataclasses.replace(t.looks[at], **change))


def field(name: str, value: Any) -> Callable[[Trajectory], None]:
    return lambda t: setattr(t, name, value)


def written(t: Trajectory) -> None:
    t.kinds[16], t.logprobs[16], t.pieces[16] = 2, -1.0, "more"


VIOLATIONS: dict[str, tuple[Callable[[Trajectory], None], str]] = {
    "a kind is missing": (lambda t: t.kinds.pop(), "kinds has 16 entries for 17 ids"),
    "a log-prob is missing": (lambda t: t.logprobs.pop(), "logprobs has 16"),
    "an entropy is missing": (lambda t: t.entropies.pop(), "entropies has 16"),
    "unknown kind": (setting("kinds", 3, 6), "token 3 has the unknown kind 6"),
    "unknown finish": (field("finish", "done"), "finish is 'done'"),
    "unknown words": (field("forced", "both"), "forced is 'both', not empty or one of direct, look"),
    "forced without words": (
        field("forced", "look"),
        "token 4, the first after the prompt, is none of the environment",
    ),
    "answered without an answer": (field("answer", None), "finish is 'answered' with the answer None"),
    "an answer without answered": (field("finish", "length"), "finish is 'length' with the answer '7'"),
    "prompt after the response": (setting("kinds", 12, 0), "token 12 is PROMPT after the prompt has ended"),
    "an image token with text": (setting("pieces", 1, "x"), "token 1 is OVERVIEW but has text"),
    "a crop token with text": (setting("pieces", 8, "x"), "token 8 is CROP but has text"),
    "sampled without a log-prob": (setting("logprobs", 5, None), "token 5 is SAMPLED but has no log-probability"),
    "environment with a log-prob": (setting("logprobs", 12, -0.1), "token 12 is ENVIRONMENT but has a log-prob"),
    "environment with an entropy": (setting("entropies", 7, 0.0), "token 7 is ENVIRONMENT but has an entropy"),
    "sampled after the answer": (written, "token 16 was sampled after the answer was closed"),
    "look past the end": (look(1, span=(16, 18)), "look 1: span (16, 18) is not in 10..17"),
    "valid with a reason": (look(0, reason="small"), "look 0: valid is True with the reason 'small'"),
    "invalid without one": (look(1, reason=""), "look 1: valid is False with the reason ''"),
    "valid without a box": (look(0, box=None), "look 0 is valid but has no box"),
    "an inverted box": (look(0, box=(20.0, 5.0, 10.0, 15.0)), "look 0 is valid but its box"),
    "a box outside": (look(0, box=(90.0, 5.0, 95.0, 15.0)), "cannot be cut: outside the image"),
    "crop without a span": (look(0, crop_span=None), "look 0: crop and crop_span come together"),
    "span without a crop": (look(0, crop=None), "look 0: crop and crop_span come together"),
    "invalid with a crop": (look(0, valid=False, reason="why"), "look 0 is not valid but has a crop"),
    "crop span reaches text": (look(0, crop_span=(8, 11)), "look 0: crop_span holds tokens that are not CROP"),
    "crop before its box": (look(0, crop_span=(5, 7)), "look 0: crop_span (5, 7) is not in 7..17"),
    "a crop of no look": (field("looks", []), "2 CROP tokens, but the crop_span of the looks hold 0"),
    "the photograph's size": (lambda t: setattr(t, "image", dataclasses.replace(t.image, width=41)), "not (41, 30)"),
    "a crop's size": (lambda t: look(0, crop=dataclasses.replace(t.looks[0].crop, height=9))(t), "not (56, 9)"),
}


@pytest.mark.parametrize("name", VIOLATIONS)
def test_each_invariant_is_checked_before_anything_is_written(name: str, tmp_path: Path) -> None:
    change, words = VIOLATIONS[name]
    t = example()
    t.check()
    change(t)
    with pytest.raises(R3labError, match="Trajectory 'badges-test-1': "):
        t.check()
    assert any(words in contradiction for contradiction in contradictions(t)), list(contradictions(t))
    with pytest.raises(R3labError):
        save(t, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_is_no_contradiction() -> None:
    """An answer in prompt or environment ends nothing, one that ran too long is malformed, a crop may be withheld."""
    build([(P, "<answer>7</answer>"), (S, "a"), (E, "<answer>7</answer>"), (S, "b")]).check()
    with pytest.raises(R3labError, match="token 2 was sampled after"):
        build([(S, "<answer>7</ans"), (S, "wer>"), (S, "")], answer="7", finish="answered").check()
    build([(S, "<answer>"), (S, "a" * 5000), (S, "b")], finish="length").check()
    build([(S, "<answer></answer>")], finish="malformed").check()
    build([(P, "?"), (E, "At a glance."), (S, "7")], forced="direct").check()
    build([(P, "?")], forced="direct").check()
    build([(S, BOX), (S, "hm")], looks=[Look((0, 1), (1.0, 2.0, 3.0, 4.0), (1.0, 2.0, 3.0, 4.0), True)]).check()


# ------------------------------------------------------------------ what cannot be saved


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (field("advantage", math.nan), "advantage must be a finite number, got nan"),
        (setting("logprobs", 5, -math.inf), "logprobs[5] must be a finite number, got -inf"),
        (lambda t: t.truth.update(deep=[{"a": math.nan}]), "truth['deep'][0]['a'] must be JSON with finite numbers"),
        (lambda t: t.truth.update({1: 2}), "truth must be an object"),
        (setting("ids", 0, 1.0), "ids[0] must be a whole number, got 1.0"),
        (lambda t: t.images.update({"../x": picture(9, (2, 2))}), "images[0] must be 64 digits of 0-9a-f"),
        (lambda t: t.images.update({"a" * 64: picture(9, (2, 2))}), "has other pixels"),
    ],
)
def test_what_would_not_come_back_is_not_saved(
    change: Callable[[Trajectory], None], words: str, tmp_path: Path
) -> None:
    t = example()
    change(t)
    with pytest.raises(R3labError) as caught:
        save([example(), t], tmp_path / "out")
    assert words in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_failed_write_leaves_the_old_file_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(example(), tmp_path)
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("r3lab.core.files.os.replace", full)
    with pytest.raises(R3labError, match="No space left"):
        save(dataclasses.replace(example(), seed=99), tmp_path)
    assert path.read_bytes() == before
    assert not list(tmp_path.rglob("*.part"))


# ------------------------------------------------------------------ what cannot be read

DELETE = object()
NO_HASH = "must be 64 digits of 0-9a-f"
FILES: dict[str, tuple[tuple, Any, str]] = {
    "another format": (("format",), "r3lab.vlir", "is no trajectory"),
    "newer version": (("version",), 2, "has version 2; this r3lab reads 1"),
    "version true": (("version",), True, "has version True"),
    "unknown field": (("logprob",), [], "unknown field 'logprob'. Did you mean 'logprobs'?"),
    "a field is missing": (("kinds",), DELETE, "the field 'kinds' is missing"),
    "ids is text": (("ids",), "0123", "ids must be a list, got '0123'"),
    "kind out of range": (("kinds", 2), 6, "kinds[2] must be a kind from 0 to 5, got 6"),
    "piece null": (("pieces", 2), None, "pieces[2] must be text, got None"),
    "a huge integer": (("advantage",), 10**400, "advantage must be a finite number"),
    "span of three": (("looks", 0, "span"), [1, 2, 3], "looks[0]: span must be a list of 2"),
    "span negative": (("looks", 0, "span"), [-1, 2], "span[0] must be a whole number from 0, got -1"),
    "valid is 1": (("looks", 0, "valid"), 1, "looks[0]: valid must be true or false, got 1"),
    "not a number": (
        ("advantage",),
        float(
            "nan",
        ),
        "advantage must be a finite number",
    ),
    "an infinite one": (
        ("truth", "needs_look"),
        float(
            "inf",
        ),
        "truth['needs_look'] must be JSON with finite",
    ),
    "frame unknown": (("frame",), "inches", "frame must be one of"),
    "truth is a list": (("truth",), [], "truth must be an object"),
    "rewards hold text": (("rewards", "accuracy"), "1", "rewards['accuracy'] must be a finite number"),
    "invariant broken": (("logprobs", 5), None, "token 5 is SAMPLED but has no log-probability"),
    "path in images": (("images", 0), "../../../etc/passwd", f"images[0] {NO_HASH}, got '../../../etc"),
    "hash and newline": (("images", 0), "a" * 64 + "\n", NO_HASH),
    "path in the image": (("image", "hash"), "../" * 20 + "aaaa", "image: hash must be 64 digits"),
    "cut off": ((), b'{"format": "r3lab.trajectory", "version"', "not valid JSON"),
    "not utf-8": ((), b"\xff\xfe\x00", "Cannot read"),
    "hostile": ((), b'{"format": "\x1b[2J' + b"x" * 100_000 + b'"}', "not valid JSON"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_changed_file_is_refused_by_name_of_the_field(name: str, tmp_path: Path) -> None:
    """One place of the saved record is another, or the file is no record at all."""
    place, value, words = FILES[name]
    path = save(example(), tmp_path)
    whole = inner = json.loads(path.read_text())
    for step in place[:-1]:
        inner = inner[step]
    if value is DELETE:
        del inner[place[-1]]
    elif place:
        inner[place[-1]] = value
    path.write_bytes(json.dumps(whole).encode() if place else value)
    with pytest.raises(R3labError) as caught:
        load(path)
    message = str(caught.value)
    assert words in message
    assert message.isprintable() and len(message) < 400


def test_the_line_of_a_list_is_named_and_blank_lines_are_not_missed(tmp_path: Path) -> None:
    path = save([example(), example()], tmp_path)
    first, second = path.read_text().splitlines()
    path.write_text(f"{first}\n\n{second}\n")
    assert load(path) == [example(), example()]
    path.write_text(first + "\n" + second.replace('"seed": 3', '"seed": "3"') + "\n")
    with pytest.raises(R3labError, match="trajectories.jsonl line 2: seed must be a whole number, got '3'"):
        load(path)


def test_a_tampered_image_is_refused(tmp_path: Path) -> None:
    t = example()
    path = save(t, tmp_path)
    name = t.looks[0].crop.hash  # type: ignore[union-attr]
    file = tmp_path / "images" / f"{name}.png"
    whole = file.read_bytes()
    crop = t.images[name].copy()
    crop.putpixel((0, 0), (1, 2, 3))
    crop.save(file)
    with pytest.raises(R3labError, match="has other pixels than when it was saved"):
        load(path)
    for left, words in ((whole[: len(whole) // 2], "damaged"), (b"text", "not an image"), (None, "does not exist")):
        file.unlink() if left is None else file.write_bytes(left)
        with pytest.raises(R3labError, match=words):
            load(path)
    file.write_bytes(whole)
    assert load(path) == t


def test_a_place_without_a_trajectory_is_named(tmp_path: Path) -> None:
    with pytest.raises(R3labError, match="holds 0 of"):
        load(tmp_path)
    with pytest.raises(R3labError, match="Cannot read .*nowhere"):
        load(tmp_path / "nowhere.json")
    save(example(), tmp_path)
    save([example()], tmp_path)
    with pytest.raises(R3labError, match="holds 2 of .*name one file"):
        load(tmp_path)
    with pytest.raises(R3labError):
        load("a\x00b")
