"""The frame in which boxes are written: found where there is one, of any kind, and never where there is none."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from seen import needs_torchvision

from r3lab.cli import main
from r3lab.core.files import assets_dir
from r3lab.core.frames import Written, find, hypotheses, numbers_in
from r3lab.core.geometry import Frame, Size, fit_tokens, from_source, to_source, write_ints
from r3lab.core.protocol import box_text, question_text
from r3lab.evaluate.frames import Known, frame_in, pictures
from r3lab.models.families import FAMILIES, PLAIN
from r3lab.models.policy import Policy
from r3lab.models.tiny import PLAIN_SIZES, miniature
from r3lab.recipes.lessons import vocabulary
from r3lab.show.effects import draw_frames

FORMS = (  # of four numbers in a text
    '{{"bbox_2d": [{}, {}, {}, {}]}}',
    "It is at ({}, {}), ({}, {}).",
    "<box>[[{}, {}, {}, {}]]</box>",
    '```json\n[{{"box_2d": [{},{},{},{}], "label": "it"}}]\n```',
)


@pytest.fixture(scope="module")
def known() -> list[Known]:
    """The pictures of the command."""
    return pictures()


class Scripted:
    """A policy that writes the true box in a frame, with noise; some answers are none, some about something else."""

    def __init__(self, frame: Written, rng: np.random.Generator, noise: float = 0.02) -> None:
        self.frame, self.rng, self.noise = frame, rng, noise
        self.square, self.form = bool(rng.random() < 0.4), FORMS[int(rng.integers(len(FORMS)))]

    def seen(self, source: Size) -> Size:
        return (448, 448) if self.square else fit_tokens(source, 28, 4, 300)

    def __call__(self, known: list[Known]) -> list[tuple[Size, str]]:
        return [(self.seen(one.image.size), self.text(one)) for one in known]

    def text(self, one: Known) -> str:
        source, rng = one.image.size, self.rng
        box = np.array(one.box) + rng.normal(0, self.noise, 4) * np.array([*source, *source])
        if rng.random() < 0.1:
            return "I see nothing like it."
        if rng.random() < 0.1:
            box = rng.uniform(0, 1, 4) * np.array([*source, *source])
        numbers = self.frame.write(tuple(box), source, self.seen(source))
        if self.frame.unit == "tokens":
            return "".join(f"<loc{min(1023, max(0, round(v))):04d}>" for v in numbers) + " it"
        return self.form.format(*(round(v, 3) if self.frame.unit == "relative-1" else round(v) for v in numbers))


def test_fifty_of_fifty_wrong_wrappers_are_found(known: list[Known]) -> None:
    """Unit, order, origin and padding, at random; or named beside another that means the same places."""
    rng, seen, exact = np.random.default_rng(5), set(), 0
    for _ in range(50):
        policy = Scripted(Written(), rng)
        every = list(hypotheses(bool(rng.random() < 0.15), policy.square))
        policy.frame = every[int(rng.integers(len(every)))]
        found, _ = frame_in(known, policy)
        assert found.written is not None, (str(policy.frame), found.said)
        assert policy.frame in (found.written, *found.alike), (str(policy.frame), found.said)
        exact += found.written == policy.frame
        seen.add(policy.frame)
    assert len(seen) > 40 and exact > 40


def test_no_frame_is_invented(known: list[Known]) -> None:
    """Of numbers at random, of one box for all pictures, of the box of another picture, of words, and of too few."""
    rng = np.random.default_rng(6)

    class Elsewhere(Scripted):
        def __call__(self, known: list[Known]) -> list[tuple[Size, str]]:
            told = super().__call__(known)
            return [(seen, text) for (seen, _), (_, text) in zip(told, told[1:] + told[:1], strict=True)]

    for most in (1, 100, 448, 1000):
        for _ in range(10):
            texts = iter([str(box) for box in rng.uniform(0, most, (len(known), 4)).round(3).tolist()])
            found, _ = frame_in(known, lambda part, texts=texts: [((448, 448), next(texts)) for _ in part])
            assert found.written is None and "not of the object" in found.said
    for text, words in (("[250, 250, 750, 750]", "not of the object"), ("In the middle.", "does not write boxes")):
        found, cases = frame_in(known, lambda part, text=text: [((448, 448), text) for _ in part])
        assert found.written is None and words in found.said and len(cases) == len(known)
    assert frame_in(known, Elsewhere(Written(), rng))[0].written is None
    assert frame_in(known[:6], Scripted(Written(), rng, 0.0))[0].said.startswith("does not write boxes: ")


@pytest.mark.parametrize(
    "name", [*FAMILIES, *(pytest.param(kind, marks=needs_torchvision(kind)) for kind in PLAIN_SIZES)]
)
def test_the_frame_of_a_family_is_what_its_boxes_are_found_in(name: str, known: list[Known]) -> None:
    """As the cold start writes them, and the loop reads them, for overviews as the family makes them."""
    policy = miniature(name, vocabulary())

    def ask(part: list[Known]) -> list[tuple[Size, str]]:
        sizes = [policy.overview_size(one.image.size) for one in part]
        framed = [from_source(one.box, policy.frame, one.image.size, s) for one, s in zip(part, sizes, strict=True)]
        return [(size, f"There. {box_text(write_ints(box))}") for size, box in zip(sizes, framed, strict=True)]

    found, cases = frame_in(known, ask)
    assert found.written is not None and found.written.frame is policy.frame is (
        FAMILIES[name].frame if name in FAMILIES else PLAIN[name][0]
    )
    for case in cases:
        x1, y1, x2, y2 = to_source(case.numbers, policy.frame, case.source, case.seen)
        w, h = case.source
        assert found.written.place(case.numbers, case.source, case.seen) == pytest.approx(
            (x1 / w, y1 / h, x2 / w, y2 / h)
        )


def test_placing_and_writing_are_inverse() -> None:
    rng = np.random.default_rng(0)
    for one in {*hypotheses(False, True), *hypotheses(True, True)}:
        source, seen = (int(rng.integers(50, 900)), int(rng.integers(50, 900))), (448, 448)
        (w, h), x, y = source, rng.uniform(0, 0.5, 2), rng.uniform(0, 0.5, 2)
        box = (x[0] * w, y[0] * h, (x[0] + x[1] + 0.1) * w, (y[0] + y[1] + 0.1) * h)
        placed = one.place(one.write(box, source, seen), source, seen)
        assert placed == pytest.approx((box[0] / w, box[1] / h, box[2] / w, box[3] / h)), str(one)


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("no box", None),
        ("[1, 2, 3]", None),
        ("[1, 2, 3, 4, 5]", None),
        ("[1e5, 2, 3, 4]", None),
        ("[" * 100_000, None),
        ("[9" * 50_000, None),
        ("[[-1, 0.25], [3, 4]] and [5, 6, 7, 8]", (-1, 0.25, 3, 4)),
        ("<loc0010><loc0020><loc0030><loc0040> cat", (10, 20, 30, 40)),
        ("<loc_1><loc_2><loc_3><loc_4>", (1, 2, 3, 4)),
    ],
)
def test_numbers_of_a_box_in_a_text(text: str, numbers: tuple[float, ...] | None) -> None:
    assert numbers_in(text) == (numbers, "<loc" in text)


def test_the_tiny_policys_frame_is_confirmed_and_a_wrong_setting_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The setting that the command names is read on load, and makes it content."""
    assert main(["frames"]) == 0
    assert "setting: relative-1000, as it is" in capsys.readouterr().out
    folder = shutil.copytree(assets_dir() / "worlds" / "rgrpo", tmp_path / "other")
    path = folder / "preprocessor_config.json"
    right = json.loads(path.read_text())
    path.write_text(json.dumps({**right, "r3lab": {**right["r3lab"], "frame": "relative-1000-yx"}}))
    assert Policy.load(folder).frame is Frame.RELATIVE_YX
    assert main(["frames", str(folder), "--out", str(tmp_path / "drawn.png")]) == 1
    told = capsys.readouterr().out
    assert 'it is relative-1000-yx: add {"r3lab": {"frame": "relative-1000"}}' in told
    assert (tmp_path / "drawn.png").stat().st_size > 10_000
    path.write_text(json.dumps({**right, "r3lab": {**right["r3lab"], "frame": "relative-1000"}}))
    assert main(["frames", str(folder)]) == 0
    path.write_text(json.dumps({**right, "r3lab": {"frame": "pixels"}}))
    assert main(["frames", str(folder)]) == 2
    assert "frame must be one of source, overview, relative-1000" in capsys.readouterr().err


def test_a_policy_without_boxes_is_told_as_one(taught_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One that has learned nothing but the form of a box writes boxes, and no frame is found in them."""
    assert main(["frames", str(taught_folder)]) == 1
    told = capsys.readouterr().out
    assert "does not write boxes" in told or "but not of the object" in told
    assert "nothing was found that speaks for or against it" in told


def test_the_picture_says_what_was_set_and_what_was_found(known: list[Known]) -> None:
    found, cases = frame_in(known, Scripted(Written("relative-1"), np.random.default_rng(0)))
    picture = draw_frames(cases, found, Written())
    assert "as set, x1 y1 x2 y2 in 0 to 1000" in picture.alt and "as found, x1 y1 x2 y2 in 0 to 1 of" in picture.alt
    assert len(picture.figure.axes) == 2 and len(draw_frames(cases, found, Written("relative-1")).figure.axes) == 1
    with pytest.raises(ValueError, match="no box was written"):
        draw_frames([], find([]), Written())


def test_y_first() -> None:
    """The frame in which y is written before x: there and back, and as a policy is told."""
    size, box = (400, 200), (40.0, 20.0, 120.0, 100.0)
    written = from_source(box, Frame.RELATIVE_YX, size, (1, 1))
    assert written == (100, 100, 500, 300) and to_source(written, Frame.RELATIVE_YX, size, (1, 1)) == box
    assert '"bbox_2d": [y1, x1, y2, x2]}. Coordinates run from 0 to 1000' in question_text(
        "?a", Frame.RELATIVE_YX, size
    )
    assert "pixels of the original image" in question_text("?a", Frame.SOURCE, size)
