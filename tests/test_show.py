"""A picture shows what the record holds, where the record says it is, and nothing that foreign text asks for."""

from __future__ import annotations

import base64
import json
import math
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from PIL import Image

from r3lab.cli import call
from r3lab.core.errors import R3labError
from r3lab.core.geometry import Box, Frame, crop_size, from_source, problem
from r3lab.core.images import content_hash, cut
from r3lab.core.protocol import box_text, environment_message
from r3lab.show import palette
from r3lab.show.filmstrip import before_after, filmstrip
from r3lab.show.gallery import LINES, sheet
from r3lab.show.picture import Picture
from r3lab.show.steps import steps, told, true_regions, verdict
from r3lab.show.text import clean, text_width, wrap
from r3lab.trajectory import ImageRef, Kind, Look, Trajectory
from r3lab.vlir.sample import Sample

SIZE = (512, 384)
SPOT: Box = (96.0, 200.0, 160.0, 248.0)  # where PHOTO is red
HOSTILE = {
    "mathtext": r"costs $5 and $\frac{1}{0}$ and $",
    "ansi": "\x1b[31mred\x1b[0m \x1b]0;title\x07 \x9b1m",
    "bidi": "\u202eevil\u202c \u2066x\u2069 \u200f\ufeff",
    "markup": "<script>alert(1)</script><img src=x onerror=alert(1)> --> ]]>",
    "controls": "".join(map(chr, range(32))) + "\x7f\x85\u2028\ud800",
    "scripts": "\u4e2d\u6587 \u0e44\u0e17\u0e22 \U0001f600 \ue000" + "e" + "\u0301" * 400,
    "megabyte": "A" * 1_000_000,
    "lines": "\n" * 5000 + "end",
}


def photo() -> Image.Image:
    """Grey noise with one red block at SPOT."""
    noise = np.random.default_rng(0).integers(40, 90, (SIZE[1], SIZE[0], 1), dtype=np.uint8)
    pixels = np.repeat(noise, 3, axis=2)
    x1, y1, x2, y2 = map(int, SPOT)
    pixels[y1:y2, x1:x2] = (255, 0, 0)
    return Image.fromarray(pixels)


PHOTO = photo()


def trajectory(*parts: str | Box, answer: str | None = "7", **fields: Any) -> Trajectory:
    """A rollout by hand: text and boxes (source pixels) in order, then the answer."""
    source = content_hash(PHOTO)
    known = {"sample_id": "s", "question": "Which digit?", "truth": {"answer": "7", "regions": [list(SPOT)]}}
    given: dict[str, Any] = {**known, "images": {source: PHOTO}, **fields}
    t = Trajectory(image=ImageRef(source, *SIZE), overview=(128, 96), frame=Frame.RELATIVE, **given)

    def add(kind: Kind, piece: str = "") -> None:
        sampled = kind is Kind.SAMPLED
        t.ids.append(0)
        t.kinds.append(int(kind))
        t.pieces.append(piece)
        t.logprobs.append(-0.5 if sampled else None)
        t.entropies.append(0.1 if sampled else None)

    add(Kind.PROMPT, "user ")
    add(Kind.OVERVIEW)
    for part in parts:
        if isinstance(part, str):
            add(Kind.SAMPLED, part)
            continue
        written = from_source(part, t.frame, SIZE, t.overview)
        start, why = len(t.ids), problem(part, SIZE)
        add(Kind.SAMPLED, box_text([round(v) for v in written]))
        span = (start, start + 1)
        if why:
            t.looks.append(Look(span, written, part, False, why))
            add(Kind.ENVIRONMENT, environment_message(why))
            continue
        zoom, size = crop_size(part, SIZE, 16, 4, 16)
        crop = cut(PHOTO, part, size)
        name = content_hash(crop)
        t.images[name] = crop
        add(Kind.CROP)
        t.looks.append(Look(span, written, part, True, "", zoom, ImageRef(name, *size), (start + 1, start + 2)))
    if answer is not None:
        add(Kind.SAMPLED, f"</think><answer>{answer}</answer>")
        t.answer, t.finish = answer.strip(), "answered"
    t.check()
    return t


def look(i: int) -> Box:
    """Eight different usable regions."""
    return (10.0 + 40 * i, 20.0 + 30 * i, 60.0 + 42 * i, 70.0 + 31 * i)


def by_gid(drawn: Picture, gid: str) -> Any:
    """The one artist of that name."""
    [found] = drawn.figure.findobj(lambda artist: artist.get_gid() == gid)
    return found


def corners(patch: Rectangle) -> Box:
    x, y = patch.get_xy()
    return (x, y, x + patch.get_width(), y + patch.get_height())


def words(drawn: Picture) -> str:
    return "\n".join(text.get_text() for text in drawn.figure.findobj(Text))


# Colours.


def luminance(colour: str) -> float:
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))


def test_neighbours_differ_in_grey_and_in_more_than_colour() -> None:
    for row in (palette.LOOKS, [colour for colour, _ in palette.RUNS]):
        lightness = [palette.lightness(colour) for colour in row]
        assert min(abs(a - b) for a, b in zip(lightness, lightness[1:], strict=False)) > 6
    assert len({dashes for _, dashes in palette.RUNS}) == len(palette.RUNS)
    assert len({mark for _, mark, _ in palette.VERDICTS.values()}) == 3


@pytest.mark.parametrize("colour", palette.LOOKS)
def test_a_number_can_be_read_on_its_colour(colour: str) -> None:
    low, high = sorted((luminance(colour), luminance(palette.ink_on(colour))))
    assert (high + 0.05) / (low + 0.05) >= 4.5


# Text.


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("a\x1b[1;31mb\x1b[0mc", "abc"),
        ("a\x1b]8;;http://x\x07b", "ab"),
        ("a\x1b]unfinished", "aunfinished"),
        ("\x9b31ma", "a"),
        ("a\u202eb\u2066c\u200bd\ufeff", "abcd"),
        ("a\r\nb\rc\u2028d\te", "a\nb\nc\nd e"),
        ("a\x00\x07b", "ab"),
        ("\ud800", "\ufffd"),
        ("e" + "\u0301" * 9, "e" + "\u0301" * 3),
        ("caf\u00e9 \u4e2d $x$ <b>", "caf\u00e9 \u4e2d $x$ <b>"),
        (7, "7"),
    ],
)
def test_clean_keeps_what_can_be_read_and_nothing_that_acts(text: object, wanted: str) -> None:
    assert clean(text) == wanted


def test_clean_is_bounded() -> None:
    assert len(clean("x" * 1_000_000, 100)) == 100
    assert len(clean("\x1b]" * 500_000, 100)) <= 100


@pytest.mark.parametrize("text", ["the quick brown fox " * 9, "W" * 300, "a" + " b" * 200, "\u4e2d" * 99])
@pytest.mark.parametrize("bold", [False, True])
def test_wrapped_lines_fit_and_lose_nothing(text: str, bold: bool) -> None:
    lines = wrap(text, 1.5, 8, most=99, bold=bold)
    assert all(text_width(line, 8, bold) <= 1.5 for line in lines)
    assert len("".join(lines).replace(" ", "")) == len(text.replace(" ", ""))
    assert len(wrap(text, 1.5, 8, most=2, bold=bold)) == 2


# What a trajectory tells.


def test_each_text_stands_with_the_picture_that_it_was_written_on() -> None:
    parts = ("Beside it.", (60.0, 9.0, 50.0, 20.0), "Wrong.", look(1), "A 7.")
    t = trajectory('<think>Too small {"a": 1}.', look(0), *parts)
    assert [(step.number, step.text, step.look) for step in steps(t)] == [
        (0, 'Too small {"a": 1}.', None),
        (1, "Beside it.", t.looks[0]),
        (2, "Wrong.", t.looks[1]),
        (3, "A 7.", t.looks[2]),
    ]


@pytest.mark.parametrize(
    ("answer", "truth", "state"),
    [
        ("7", {"answer": "7"}, "right"),
        (" Seven ", {"answer": "seven"}, "right"),
        ("7", {"answer": 7}, "right"),
        ("1", {"answer": "7"}, "wrong"),
        (None, {"answer": "7"}, "wrong"),
        ("7", {}, "unknown"),
        ("7", {"answer": ""}, "unknown"),
        ("7", {"answer": None}, "unknown"),
        ("7", {"answer": ["7"]}, "unknown"),
        (None, {}, "unknown"),
    ],
)
def test_verdict(answer: str | None, truth: dict[str, Any], state: str) -> None:
    t = trajectory("text", answer=answer, truth=truth)
    assert verdict(t).state == state
    assert {"right": "That is right", "wrong": "true answer is", "unknown": "not known"}[state] in told(t)


@pytest.mark.parametrize(
    ("answer", "truth", "state"), [("7", "7", "right"), ("1", "7", "wrong"), ("7", None, "unknown")]
)
def test_a_strip_shows_the_verdict(answer: str, truth: str | None, state: str) -> None:
    shown = words(filmstrip(trajectory("text", answer=answer, truth={"answer": truth})))
    assert set(palette.VERDICTS[state][1:]) <= set(shown.split("\n"))


@pytest.mark.parametrize(
    ("truth", "wanted"),
    [
        ({}, []),
        ({"regions": [[1, 2, 3, 4]]}, [(1, 2, 3, 4)]),
        ({"region": [1, 2, 3, 4]}, [(1, 2, 3, 4)]),
        ({"regions": "none"}, []),
        (
            {"regions": [[1, 2, 3], [3, 2, 1, 4], ["a", 2, 3, 4], [1, 2, math.nan, 4], None, [0, 0, 1, 1]]},
            [(0, 0, 1, 1)],
        ),
    ],
)
def test_true_regions_are_read_from_free_json(truth: dict[str, Any], wanted: list[Box]) -> None:
    assert true_regions(trajectory("text", truth=truth)) == wanted


# The filmstrip.


@pytest.mark.parametrize("count", [0, 1, 8])
def test_every_look_has_its_box_its_crop_and_its_number(count: int) -> None:
    parts: list[str | Box] = ["I look."]
    for i in range(count):
        parts += [look(i), f"text {i}"]
    t = trajectory(*parts)
    figure = filmstrip(t)
    assert [corners(by_gid(figure, f"photo-look-{i + 1}")) for i in range(count)] == [look(i) for i in range(count)]
    assert sum(str(axes.get_gid()).startswith("crop-") for axes in figure.figure.axes) == count
    shown = words(figure)
    assert all(f"Look {i + 1}" in shown and f"text {i}" in shown for i in range(count))
    assert "Which digit?" in shown and "right" in shown
    assert figure.figure.get_figwidth() <= 11


def test_source_pixels_are_drawn_under_their_box() -> None:
    """The red block of the photograph is, on the drawn page, exactly inside the look at it."""
    figure = filmstrip(trajectory("x", SPOT, "y"))
    figure.figure.canvas.draw()
    page = np.asarray(figure.figure.canvas.buffer_rgba())[..., :3].astype(int)  # type: ignore[attr-defined]
    for gid in ("photo", "overview"):
        axes: Axes = by_gid(figure, gid)
        (x1, y2), (x2, y1) = axes.transData.transform([SPOT[:2], SPOT[2:]])  # display y goes up
        middle = page[len(page) - round((y1 + y2) / 2), :]
        frame = axes.get_window_extent()
        columns = np.arange(page.shape[1])
        red = (middle[:, 0] > 200) & (middle[:, 1] < 60) & (columns > frame.x0) & (columns < frame.x1)
        assert red[round(x1) + 5 : round(x2) - 5].all() and red.any()
        assert not red[: round(x1) - 3].any() and not red[round(x2) + 3 :].any()


def test_the_pictures_are_the_models_own_pixels() -> None:
    t = trajectory("x", look(2), "y")
    figure = filmstrip(t)
    overview = np.asarray(PHOTO.resize(t.overview, Image.Resampling.BICUBIC))
    assert t.looks[0].crop is not None
    crop = np.asarray(t.images[t.looks[0].crop.hash])
    for gid, wanted in (("overview", overview), ("crop-1", crop)):
        drawn = np.asarray(by_gid(figure, gid).images[0].get_array())
        k = drawn.shape[0] // wanted.shape[0]
        assert k > 1 and np.array_equal(drawn, wanted.repeat(k, axis=0).repeat(k, axis=1))


def test_a_true_region_is_outlined_where_it_lies_also_in_the_crop() -> None:
    figure = filmstrip(trajectory("x", (80.0, 190.0, 180.0, 260.0), "y"))
    for gid in ("photo", "crop-1"):
        assert corners(by_gid(figure, f"{gid}-truth")) == SPOT
    assert by_gid(figure, "crop-1").get_xlim() == (80, 180) and by_gid(figure, "crop-1").get_ylim() == (
        260,
        190,
    )
    blind = filmstrip(trajectory("x", truth={}))
    assert not blind.figure.findobj(lambda artist: "truth" in str(artist.get_gid()))


@pytest.mark.parametrize(
    ("box", "corner"),
    [
        ((300.0, 90.0, 200.0, 120.0), (200.0, 90.0, 300.0, 120.0)),
        ((400.0, 300.0, 700.0, 350.0), (400.0, 300.0, 700.0, 350.0)),
        ((900.0, 900.0, 950.0, 950.0), None),
        ((-1e300, 10.0, 1e300, 20.0), (-512.0, 10.0, 1024.0, 20.0)),
    ],
)
def test_a_refused_look_is_dashed_and_says_why(box: Box, corner: Box | None) -> None:
    t = trajectory("x", box, "y")
    figure = filmstrip(t)
    assert t.looks[0].reason in words(figure) and t.looks[0].reason in figure.alt
    assert not [axes for axes in figure.figure.axes if str(axes.get_gid()).startswith("crop")]
    patches = figure.figure.findobj(lambda artist: artist.get_gid() == "photo-look-1")
    assert [corners(p) for p in patches] == ([corner] if corner else [])  # type: ignore[arg-type]
    assert all(p.get_linestyle() != "solid" and p.get_linestyle() != "-" for p in patches)  # type: ignore[attr-defined]


def test_what_is_not_kept_is_said() -> None:
    t = trajectory("x", look(0), "y")
    t.images = {}
    assert "picture not kept" in words(filmstrip(t)) and "crop not kept" in words(filmstrip(t))


def test_more_looks_than_fit_are_counted() -> None:
    t = trajectory(*[(50.0, 9.0, 40.0, 20.0)] * 40, answer=None)
    assert "24 more looks are not shown" in words(filmstrip(t))
    assert "24 more looks are not shown" in filmstrip(t).alt


def test_dollars_reach_the_page_as_they_are() -> None:
    assert "costs $5 and $\\frac{1}{0}$ and $" in words(filmstrip(trajectory(HOSTILE["mathtext"]))).replace("\n", " ")


def test_the_readers_settings_do_not_change_the_picture() -> None:
    t = trajectory("x", look(0), "$y$")
    plain = filmstrip(t).png
    theirs: Any = {"text.usetex": True, "font.size": 30, "axes.facecolor": "red", "image.interpolation": "bicubic"}
    with matplotlib.rc_context({**theirs, "savefig.bbox": "tight", "image.origin": "lower"}):
        assert filmstrip(t).png == plain


def test_alt_text_tells_looks_answer_and_truth() -> None:
    alt = filmstrip(trajectory("It is small.", look(0), "I see.", SPOT, "A nine.", answer="9")).alt
    parts = [
        "Which digit?",
        "512 by 384",
        "128 by 96",
        "Look 1: region [10, 20, 60, 70], upper left",
        "beside the true",
    ]
    parts += ["Look 2: region [96, 200, 160, 248]", "1.00 (IoU)", "“9”", "wrong", "“7”"]
    assert [part for part in parts if part not in alt] == []
    assert "no answer: it ran out of tokens" in told(trajectory("x", answer=None))


# Files and notebooks.


@pytest.mark.parametrize(("name", "magic"), [("a.png", b"\x89PNG"), ("deep/er/a.SVG", b"<?xml"), ("a.pdf", b"%PDF")])
def test_a_saved_filmstrip_carries_its_alt_text_and_is_reproducible(name: str, magic: bytes, tmp_path: Path) -> None:
    t = trajectory("x", look(0), "y")
    path = filmstrip(t).save(tmp_path / name)
    first = path.read_bytes()
    assert first.startswith(magic) and filmstrip(t).save(path).read_bytes() == first
    if name.endswith("png"):
        with Image.open(path) as image:
            assert image.info["Description"] == filmstrip(t).alt
    assert [p.name for p in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("name", ["a.jpg", "a", "a.png/b.png"])
def test_what_cannot_be_written_is_one_clear_error(name: str, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(R3labError, match="Cannot"):
        filmstrip(trajectory("x")).save(tmp_path / name)
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]


class Tags(HTMLParser):
    """Collects what a browser would see."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.data = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.data += data


@pytest.mark.parametrize("alt", ['"><script>alert(1)</script>', "' onload='x", "a & b\nc", "\x1b[31m\u202ered"])
def test_a_picture_shows_its_alt_text_and_runs_none_of_it(alt: str) -> None:
    bundle = Picture(PHOTO, alt)._repr_mimebundle_()
    tags = Tags()
    tags.feed(bundle["text/html"])
    [(tag, attributes)] = tags.found
    assert tag == "img" and tags.data == ""
    assert set(attributes) == {"alt", "src", "width", "style"}
    assert attributes["alt"] == bundle["text/plain"] == clean(alt)
    assert str(attributes["src"]).removeprefix("data:image/png;base64,") == bundle["image/png"]
    assert base64.b64decode(bundle["image/png"]).startswith(b"\x89PNG")
    json.dumps(bundle)


def test_a_picture_can_be_given_other_words_and_an_image_is_no_figure(tmp_path: Path) -> None:
    strip = filmstrip(trajectory("x"))
    again = Picture(strip, f"Taught. {strip.alt}")
    assert again.figure is strip.figure and again.alt.startswith("Taught. Filmstrip") and again.width == strip.width
    shown = Picture(PHOTO, "A red field.")
    assert shown.width == PHOTO.width and shown.save(tmp_path / "a.png").read_bytes() == shown.png
    with pytest.raises(R3labError, match="only one of a figure"):
        shown.figure.get_dpi()
    with pytest.raises(R3labError, match="end its name in .png"):
        shown.save(tmp_path / "a.svg")


# Before and after, and the contact sheet.


def test_before_and_after_pair_the_same_samples_in_order() -> None:
    before = [trajectory("x", look(i), "y", answer="1", sample_id=f"s{i}") for i in range(4)]
    after = [trajectory("x", SPOT, "y", sample_id=f"s{i}") for i in (3, 1, 1, 0)]
    figure = before_after(before, after, count=2)
    for row, boxes in (("before", (look(0), look(1))), ("after", (SPOT, SPOT))):
        for column, box in enumerate(boxes, start=1):
            assert corners(by_gid(figure, f"{row}-{column}-look-1")) == box
            assert by_gid(figure, f"{row}-{column}-crop").get_xlim() == (box[0], box[2])
    assert "before: 0 of 2 right" in figure.alt and "after: 2 of 2 right" in figure.alt
    with pytest.raises(R3labError, match="share no sample"):
        before_after(before, [trajectory("x", sample_id="else")])


def test_a_sheet_shows_each_sample_with_its_region(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    samples = [Sample(f"s{i}", PHOTO, f"Which {i}?", str(i), (look(i % 8),), i % 2 == 0) for i in range(24)]
    figure = sheet(samples)
    for i in (0, 7, 23):
        assert corners(by_gid(figure, f"sample-{i + 1}-truth")) == look(i % 8)
        assert by_gid(figure, f"sample-{i + 1}-region").get_xlim() == (look(i % 8)[0], look(i % 8)[2])
        assert f"Which {i}?" in words(figure)
    assert "24 samples, 12 need a look" in figure.alt
    path = tmp_path / "sheet.png"
    assert call("worlds", ["--sheet", "--out", str(path), "--count", "2", "--split", "test", "--seed", "3"]) == 0
    with Image.open(path) as image:
        assert "test split" in image.info["Description"]
    assert call("worlds", []) == 0 and "badges" in capsys.readouterr().out


def test_question_and_answer_share_the_lines_of_a_card() -> None:
    """A short question leaves room for the whole answer; behind a long one the answer is cut, not drawn below."""
    answer = "17 September 2026"
    short, long = (
        sheet([Sample("s", PHOTO, asked, answer, (look(1),), False)]) for asked in ("When?", "When is it? " * 20)
    )
    assert "no look needed" in " ".join(words(short).split())
    for figure in (short, long):
        assert len([text for text in figure.figure.texts if text.get_text()]) <= LINES + 1
    assert "needed" not in words(long) and "17 Sept" in words(long)


@pytest.mark.parametrize(
    "arguments",
    [["--world", "badgse"], ["--split", "tset"], ["--count", "0"], ["--count", "9999"], ["--seed", "-1"], []],
)
def test_a_sheet_that_cannot_be_drawn_leaves_no_file(arguments: list[str], tmp_path: Path) -> None:
    path = tmp_path / ("sheet.png" if arguments else "sheet.jpg")
    with pytest.raises((R3labError, SystemExit)):
        call("worlds", ["--sheet", "--out", str(path), *arguments])
    assert not list(tmp_path.iterdir())
