"""Views say what the record holds, where it says so, move through it, stay small, and run nothing that it asks for."""

from __future__ import annotations

import base64
import gc
import hashlib
import io
import json
import math
import random
import re
import shutil
import subprocess
import sys
import time
import tracemalloc
import unicodedata
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
from hostile import spoiled
from matplotlib._pylab_helpers import Gcf
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.text import Text
from PIL import Image
from seen import (
    CELLS,
    KINDS,
    PHOTO,
    SIZE,
    SPOT,
    Seen,
    by_gid,
    corners,
    group,
    heavy,
    hostile,
    hostile_explanation,
    look,
    looks,
    noise,
    stream,
    trajectory,
    words,
)

from r3lab.cli import call
from r3lab.cli import main as cli
from r3lab.cli.ask import ask, keep
from r3lab.core.arms import ARMS
from r3lab.core.errors import R3labError
from r3lab.core.geometry import Box
from r3lab.core.images import content_hash
from r3lab.explain.explanation import Explanation, HeatMap, LookEntry
from r3lab.show import palette, plots
from r3lab.show.explanation import DARKEST, attention_maps, draw_value, show_explanation, spotlight, value_words
from r3lab.show.filmstrip import before_after, filmstrip
from r3lab.show.gallery import LINES, load_records, records_dir, sheet
from r3lab.show.picture import Picture, embed
from r3lab.show.player import Entry, explanation_beside, play, read_entries, report, save_report
from r3lab.show.ribbon import LEVELS, columns_of, measures_of, ribbon, tokens
from r3lab.show.rollouts import group_view, river
from r3lab.show.steps import steps, told, true_regions, verdict
from r3lab.show.text import attribute, clean, text_width, wrap
from r3lab.show.text import html_words as markup_words
from r3lab.train.rewards import right
from r3lab.train.river import River, RiverLog, load_river, river_of
from r3lab.trajectory import Kind, Trajectory, save
from r3lab.vlir.sample import Sample

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


def test_a_number_can_be_read_on_its_colour() -> None:
    for colour in palette.LOOKS:
        low, high = sorted((luminance(colour), luminance(palette.ink_on(colour))))
        assert (high + 0.05) / (low + 0.05) >= 4.5, colour


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
        ({"regions": [[1, 2, 3], [3, 2, 1, 4], [0, 0, 1, 1]]}, [(0, 0, 1, 1)]),
        ({"regions": [["a", 2, 3, 4], [1, 2, math.nan, 4], None]}, []),
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
    crop = by_gid(figure, "crop-1")
    assert (*crop.get_xlim(), *crop.get_ylim()) == (80, 180, 260, 190)
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


def test_what_is_not_kept_or_does_not_fit_is_said() -> None:
    t = trajectory("x", look(0), "y")
    t.images = {}
    assert "picture not kept" in words(filmstrip(t)) and "crop not kept" in words(filmstrip(t))
    many = filmstrip(trajectory(*[(50.0, 9.0, 40.0, 20.0)] * 40, answer=None))
    assert "24 more looks are not shown" in words(many) and "24 more looks are not shown" in many.alt


def test_the_readers_settings_do_not_change_the_picture() -> None:
    t = trajectory("x", look(0), "$y$")
    plain = filmstrip(t).png
    theirs: Any = {"text.usetex": True, "font.size": 30, "axes.facecolor": "red", "image.interpolation": "bicubic"}
    with matplotlib.rc_context({**theirs, "savefig.bbox": "tight", "image.origin": "lower"}):
        assert filmstrip(t).png == plain


def test_alt_text_tells_looks_answer_and_truth() -> None:
    alt = filmstrip(trajectory("It is small.", look(0), "I see.", SPOT, "A nine.", answer="9")).alt
    parts = ["Which digit?", "512 by 384", "128 by 96", "Look 1: region [10, 20, 60, 70], upper left"]
    parts += ["beside the true", "Look 2: region [96, 200, 160, 248]", "1.00 (IoU)", "“9”", "wrong", "“7”"]
    assert [part for part in parts if part not in alt] == []
    assert "no answer: it ran out of tokens" in told(trajectory("x", answer=None))


def test_a_look_at_a_region_on_the_way_is_not_told_as_a_miss() -> None:
    truth = {"answer": "7", "regions": [list(look(0)), list(look(3)), list(SPOT)]}
    said = told(trajectory("x", look(3), "y", SPOT, "z", (400.0, 9.0, 500.0, 60.0), truth=truth))
    assert "overlap with true region 2 of 3 1.00 (IoU)" in said and "overlap with the true region 1.00 (IoU)" in said
    assert said.count("beside the true regions") == said.count("beside") == 1


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


@pytest.mark.parametrize("alt", ['"><script>alert(1)</script>', "' onload='x", "a & b\nc", "\x1b[31m\u202ered"])
def test_a_picture_shows_its_alt_text_and_runs_none_of_it(alt: str) -> None:
    bundle = Picture(PHOTO, alt)._repr_mimebundle_()
    seen = Seen(bundle["text/html"])
    [(tag, attributes)] = seen.elements
    assert tag == "img" and seen.words == ""
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
    samples = [Sample(f"s{i}", PHOTO, f"Which {i}?", str(i), (look(i % 8),), i % 2 == 0) for i in range(12)]
    figure = sheet(samples)
    for i in (0, 7, 11):
        assert corners(by_gid(figure, f"sample-{i + 1}-truth")) == look(i % 8)
        assert by_gid(figure, f"sample-{i + 1}-region").get_xlim() == (look(i % 8)[0], look(i % 8)[2])
        assert f"Which {i}?" in words(figure)
    assert "12 samples, 6 need a look" in figure.alt
    path = tmp_path / "sheet.png"
    assert call("worlds", ["--sheet", "--out", str(path), "--count", "2", "--split", "test", "--seed", "3"]) == 0
    with Image.open(path) as image:
        assert "test split" in image.info["Description"]
    assert call("worlds", []) == 0 and "badges" in capsys.readouterr().out


def test_question_and_answer_share_the_lines_of_a_card() -> None:
    """A short question leaves room for the whole answer; behind a long one the answer is cut, not drawn below."""
    answer = "17 September 2026"
    asked = ("When?", "When is it? " * 20)
    short, long = (sheet([Sample("s", PHOTO, words, answer, (look(1),), False)]) for words in asked)
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


# What is imported, what is changed.


def test_views_of_records_need_no_model() -> None:
    code = (
        "import sys, r3lab.show.player, r3lab.show.rollouts, r3lab.show.ribbon, "
        "r3lab.show.explanation, r3lab.show.gallery, r3lab.cli.pages, r3lab.train.river; "
        "print([m for m in ('torch', 'transformers', 'matplotlib.pyplot', 'IPython') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_drawing_changes_no_setting_opens_no_figure_and_keeps_no_memory() -> None:
    t, rows, found = looks(1), group(), river_of(stream(2, 2))

    def draw() -> None:
        play(t, [None, CELLS]).to_html()
        group_view(rows)
        river(found)
        gc.collect()

    settings = dict(matplotlib.rcParams)
    draw()
    tracemalloc.start()
    try:
        draw()
        before = tracemalloc.get_traced_memory()[0]
        draw()
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert grown < 100_000, f"{grown} bytes more after another drawing of everything"
    assert dict(matplotlib.rcParams) == settings and not Gcf.figs


# Colours.


def test_scales_keep_their_order_in_grey_and_for_all_eyes() -> None:
    for stops in (palette.SEQUENTIAL, palette.DIVERGING):
        shades = [palette.lightness(palette.on_scale(stops, i / 32)) for i in range(33)]
        steps = np.diff(shades)
        assert (steps > 0).all() or (steps < 0).all()
        assert abs(shades[-1] - shades[0]) > 60
    assert palette.on_scale(palette.DIVERGING, -3) == palette.on_scale(palette.DIVERGING, 0)
    assert set(palette.KINDS) == {kind.name for kind in Kind}


# Pictures inside a page.


def test_small_pictures_keep_their_pixels_and_large_ones_their_budget() -> None:
    small = noise((64, 80))
    held = embed(small, 100_000)
    with Image.open(io.BytesIO(base64.b64decode(held.uri.split(",")[1]))) as image:
        assert held.exact and np.array_equal(np.asarray(image.convert("RGB")), np.asarray(small))
    for most in (300_000, 60_000, 9_000):
        found = embed(noise((1600, 1200)), most)
        assert len(found.uri) <= most and not found.exact
        assert found.width / found.height == pytest.approx(4 / 3, rel=0.02)
    assert embed(noise((2000, 30)), 1).width == 48  # never smaller, whatever the budget


# Hostile text.


@pytest.mark.parametrize("kind", KINDS)
def test_hostile_text_is_text_in_every_page_and_picture(kind: str, tmp_path: Path) -> None:
    text = KINDS[kind]
    t, why = hostile(text), hostile_explanation(text)
    asked = {
        step: [replace(one, question=text, answer=text, sample_id=f"{text[:50]}{n}") for n, one in enumerate(row)]
        for step, row in stream(2, 2).items()
    }
    moves, tokens_of, flow = play(t), ribbon(t, by="advantage"), river(river_of(asked))
    whole = report([Entry(t, why, text), Entry(t)], text)
    for page in (moves.to_page(), tokens_of.to_page(), flow.to_page(), whole):
        page.encode("utf-8")
        seen = Seen(page)
        seen.check()
        assert len(seen.of("script")) == 1 and "window.fired" not in seen.code and len(page) < 1_500_000
    shown = clean(text, 60).split("\n")[0].strip()[:20]
    assert shown in Seen(whole).words and shown in Seen(moves.to_page()).words

    bundle = moves._repr_mimebundle_()
    cell = Seen(bundle["text/html"])
    [image] = cell.of("img")
    assert image["alt"] == bundle["text/plain"] and image["src"].endswith(bundle["image/png"])
    assert [tag for tag, _ in cell.elements] == ["div", "img", "script"] and not cell.words.strip()
    held = cell.code[cell.code.index("innerHTML=") + 10 : cell.code.rindex(";r3lab(home")]
    assert "<" not in held  # nothing in it can end the script
    Seen(json.loads(held)).check()

    drawings = [moves.picture, tokens_of.picture, flow.picture, group_view([t, t]), show_explanation(why)]
    for drawn in (*drawings, draw_value(t, 0, np.eye(4), SPOT, 1.0)):
        drawn.figure.set_dpi(40)
        drawn.figure.canvas.draw()
        texts = [one for one in drawn.figure.findobj(Text) if isinstance(one, Text) and one.get_text()]
        for said in [drawn.alt, *(one.get_text() for one in texts)]:
            assert not [c for c in said if unicodedata.category(c)[0] == "C" and c != "\n"] and len(said) < 9000
        for one in texts:
            if not re.fullmatch(r"[\u2212\d.% e-]+", one.get_text()):  # but numbers of an axis
                assert not one.get_parse_math() and not one.get_usetex() and len(one.get_text()) < 400
        assert drawn.figure.get_figheight() < 40
    if kind == "attack":
        root = ElementTree.parse(moves.picture.save(tmp_path / "a.svg"))
        assert not [e for e in root.iter() if e.tag.endswith("script") or any(k.startswith("on") for k in e.attrib)]


def test_markup_shows_text_as_it_stands() -> None:
    text = "a \"b\" 'c' <d> & \u202e e\nf"
    seen = Seen(f'<p title="{attribute(text)}">{markup_words(text)}</p>')
    assert seen.of("p")[0]["title"] == clean(text) == seen.words and [tag for tag, _ in seen.elements] == ["p", "bdi"]


def test_a_page_lets_nothing_run_or_load_but_its_own_script_and_style() -> None:
    page = report([Entry(looks(1))])
    [policy] = [m["content"] for m in Seen(page).of("meta") if m.get("http-equiv") == "Content-Security-Policy"]
    rules = dict(part.strip().split(" ", 1) for part in policy.split(";"))
    assert rules["default-src"] == "'none'" and rules["img-src"] == "data:"
    for tag in ("script", "style"):
        [body] = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.S)
        digest = base64.b64encode(hashlib.sha256(body.encode()).digest()).decode()
        assert rules[f"{tag}-src"] == f"'sha256-{digest}'"
    assert not re.search(r"https?://", re.sub(r"<script>.*?</script>", "", page, flags=re.S))


# The player.


@pytest.mark.parametrize("count", [0, 1, 3])
def test_every_moment_is_on_the_page(count: int) -> None:
    seen = Seen(play(looks(count)).to_page())
    [root] = seen.of("div", kind="r3-player")
    assert root["data-labels"].split("|") == ["Overview", *(f"Look {i + 1}" for i in range(count)), "Answer"]
    [slider] = seen.of("input", type="range")
    assert (slider["max"], slider["value"]) == (str(count + 1), str(count + 1))
    assert [g["data-from"] for g in seen.of("g", kind="look")] == [str(i + 1) for i in range(count)]
    assert [g["data-from"] for g in seen.of("g", kind="path")] == [str(i + 2) for i in range(max(0, count - 1))]
    figures = [(f["data-from"], f["data-to"]) for f in seen.of("figure") if "data-from" in f]
    assert figures == [(str(i), str(i if i < count else count + 1)) for i in range(count + 1)]
    stored = [image["id"].split("-", 1)[1] for image in seen.of("image")]
    assert stored == ["photo", "overview", *(f"crop-{i + 1}" for i in range(count))]
    assert all(f"text {i}" in seen.words for i in range(count)) and "right" in seen.words


def test_the_crop_on_the_page_is_the_models_own_pixels() -> None:
    t = looks(1)
    [uri] = [image["href"] for image in Seen(play(t).to_page()).of("image") if image["id"].endswith("crop-1")]
    assert t.looks[0].crop is not None
    with Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))) as image:
        assert content_hash(image) == t.looks[0].crop.hash


def test_what_is_missing_or_refused_is_said() -> None:
    t = trajectory("x", (9.0, 9.0, 5.0, 9.5), "y", look(0), "z")
    t.images = {}
    shown = Seen(play(t).to_page()).words
    assert "refused: x2 <= x1" in shown and "picture not kept" in shown and "crop not kept" in shown
    many = trajectory(*[(50.0, 9.0, 40.0, 20.0)] * 40, answer=None)
    assert "24 more looks are not shown" in Seen(play(many).to_page()).words


def test_an_arm_that_shows_no_crop_or_all_again_is_told_as_such() -> None:
    t = looks(1)
    alone = replace(t, arm="boxes-as-text", looks=[replace(t.looks[0], crop=None, crop_span=None)])
    assert "a box alone: this arm shows no crop" in Seen(play(alone).to_page()).words
    again = replace(t, arm="full-image-again")
    label = "Crop 1 as the model got it."
    [view] = [s["viewbox"] for s in Seen(play(again).to_page()).of("svg") if s.get("aria-label") == label]
    assert view == f"0 0 {SIZE[0]} {SIZE[1]}" and {"boxes-as-text", "full-image-again"} <= set(ARMS)


def test_a_spotlight_is_clear_where_most_is_and_dark_where_nothing_is() -> None:
    alpha = np.asarray(spotlight(CELLS))[..., 3]
    assert alpha[2, 3] == 0 and alpha[0, 0] == round(255 * DARKEST) and (np.diff(alpha.ravel().astype(int)) < 0).all()
    body = play(looks(2), [None, CELLS]).body
    [heat] = Seen(body).of("image", kind="heat")
    assert (heat["data-from"], heat["data-to"]) == ("1", "1") and 'data-switch="attend"' in body
    assert 'data-switch="attend"' not in play(looks(2)).body


@pytest.mark.parametrize("name", ["a.svg", "a", "a.htm/x"])
def test_a_view_saves_as_page_or_picture_and_nothing_else(name: str, tmp_path: Path) -> None:
    view = play(looks(1))
    assert view.save(tmp_path / "deep" / "a.html").read_text("utf-8") == view.to_page()
    assert view.save(tmp_path / "a.png").read_bytes() == view.picture.png
    with pytest.raises(R3labError, match="end its name in .html or .png"):
        view.save(tmp_path / name)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(R3labError, match="Cannot write"):
        view.save(tmp_path / "file" / "a.html")


# The group.


def test_a_group_shows_rewards_as_bars_and_pushes_by_advantage() -> None:
    figure = group_view(group())
    for number, (accuracy, cost) in enumerate(((0.0, -0.2), (1.0, 0.0), (1.0, 0.0), (0.0, 0.0)), start=1):
        assert by_gid(figure, f"part-{number}-0-bar").get_width() == accuracy
        bar = by_gid(figure, f"part-{number}-1-bar")
        assert bar.get_width() == pytest.approx(abs(cost)) and bool(bar.get_hatch()) == (cost < 0)
    left, right = by_gid(figure, "advantage-1-bar"), by_gid(figure, "advantage-2-bar")
    assert (left.get_x(), left.get_width()) == (-1.0, 1.0) and (right.get_x(), right.get_width()) == (0.0, 1.5)
    assert corners(by_gid(figure, "photo-look-of-2")) == SPOT
    assert by_gid(figure, "photo-look-of-2").get_edgecolor()[:3] == matplotlib.colors.to_rgb(palette.DIVERGING[-1])
    shown = words(figure)
    assert "+1.50, made likelier" in shown and "-1.00, made less likely" in shown and "+0.00, left as it is" in shown
    assert "4 rollouts, 2 right, 2 with a look" in shown
    order = [m.start() for m in (re.search(f"Rollout {n}:", figure.alt) for n in (2, 3, 4, 1)) if m]
    assert order == sorted(order) and len(order) == 4


def test_a_group_without_a_signal_or_a_score_says_so() -> None:
    same = group()[:2]
    for t in same:
        t.rewards, t.advantage = {"accuracy": 1.0}, 0.0
    assert "this group teaches nothing" in words(group_view(same)) and "teaches nothing" in group_view(same).alt
    assert "not scored" in words(group_view([looks(1), trajectory("x")]))


def test_looks_that_lie_close_are_drawn_once_more_enlarged() -> None:
    near = group_view([trajectory("x", SPOT, "y"), trajectory("x", tuple(v + 4 for v in SPOT), "y")])
    detail = by_gid(near, "detail")
    assert corners(by_gid(near, "detail-look-of-1")) == SPOT and detail.get_xlim()[1] - detail.get_xlim()[0] < 200
    far = group_view([trajectory("x", SPOT, "y"), trajectory("x", (400.0, 300.0, 500.0, 380.0), "y")])
    assert not far.figure.findobj(lambda artist: artist.get_gid() == "detail")


# Tokens.


def test_only_sampled_tokens_are_underlined_and_all_have_their_numbers() -> None:
    t = looks(1)
    t.advantage = 0.7
    found = [a for a in Seen(tokens(t, measures_of(t))).of("i")]
    assert ["loss" in a["class"].split() for a in found] == t.sampled_mask
    for i, attrs in enumerate(found):
        kind = ("prompt", "overview", "sampled", "environment", "crop")[t.kinds[i]]
        assert attrs["title"].startswith(f"token {i}, id {t.ids[i]}, {kind}")
        assert ("log-probability -0.5; entropy 0.1; advantage 0.7" in attrs["title"]) == t.sampled_mask[i]


def test_levels_follow_the_numbers_and_those_of_both_signs_have_0_in_the_middle() -> None:
    t = looks(3)
    shift = [v if s else None for s, v in zip(t.sampled_mask, np.linspace(-0.5, 2, len(t.ids)), strict=True)]
    found = measures_of(t, {"shift": shift, "attention": [float(i) for i in range(len(t.ids))]})
    assert list(found) == ["log-probability", "entropy", "shift", "attention"]
    levels = [found["shift"].level(v) for v in shift if v is not None]
    assert levels == sorted(levels)
    assert (found["shift"].level(-0.001), found["shift"].level(0.001)) == (LEVELS // 2 - 1, LEVELS // 2)
    assert found["shift"].low == -found["shift"].high
    assert found["attention"].level(0) == 0 and found["attention"].level(len(t.ids)) == LEVELS - 1
    shades = [palette.lightness(found["entropy"].colour(level)) for level in range(LEVELS)]
    assert shades == sorted(shades, reverse=True)


def test_image_tokens_stand_as_they_lie() -> None:
    assert columns_of(64, (128, 128)) == 8 and columns_of(20, (64, 80)) == 4 and columns_of(12, (64, 48)) == 4
    assert columns_of(7, (100, 100)) == 16 and columns_of(3, (0, 0)) == 16


def test_four_thousand_tokens_are_small_and_quick() -> None:
    t = looks(1)
    sampled = t.sampled_mask.index(True)
    for name in ("ids", "kinds", "pieces", "logprobs", "entropies"):
        own = getattr(t, name)
        own += [own[sampled]] * (4000 - len(own))
    start = time.process_time()
    view = ribbon(t, by="entropy")
    assert time.process_time() - start < 4.0
    assert len(Seen(view.body).of("i")) == 4000 and len(view.body) < 1_000_000
    assert "3678 more tokens with text" in words(view.picture)  # 2 of 4,000 are images, 320 are drawn


# The river.


def test_a_river_is_what_the_rollouts_were_and_survives_the_disk(tmp_path: Path) -> None:
    rollouts = stream()
    found = river_of(rollouts)
    assert found.steps == (0, 10, 20, 30) and [s.id for s in found.subjects] == ["s0", "s1", "s2"]
    assert found.answers[3][1].looks == (SPOT,) and found.answers[3][1].iou == 1.0 and not found.answers[0][0].looks
    assert found.means("look rate") == [pytest.approx(2 / 3), 1, 1, 1] and found.means("right answers") == [0, 1, 1, 1]
    assert found.means("entropy") == [pytest.approx(0.1)] * 4
    log = RiverLog(tmp_path)
    for step, row in rollouts.items():
        log(step, row)
    again = load_river(tmp_path)
    assert again == found and {content_hash(i) for i in again.images.values()} == {content_hash(PHOTO)}


def test_a_river_goes_on_where_a_killed_run_was(tmp_path: Path) -> None:
    rollouts = stream()
    log = RiverLog(tmp_path)
    for step in (0, 10, 20):
        log(step, rollouts[step])
    with (tmp_path / "river.jsonl").open("a") as file:
        file.write('{"step": 25, "answ')  # cut off
    assert load_river(tmp_path).steps == (0, 10, 20)
    log = RiverLog(tmp_path, start=10)
    log(20, rollouts[20])
    log(30, rollouts[30])
    assert load_river(tmp_path) == river_of(rollouts)
    with pytest.raises(R3labError, match="other samples"):
        log(40, rollouts[30][:2])


def test_a_river_is_of_the_same_samples_at_every_step() -> None:
    rollouts = stream()
    rollouts[10] = rollouts[10][1:]
    with pytest.raises(R3labError, match="same samples"):
        river_of(rollouts)


def test_a_spoiled_river_is_one_clear_error(tmp_path: Path) -> None:
    log = RiverLog(tmp_path)
    for step, row in stream(2, 2).items():
        log(step, row)
    path = tmp_path / "river.jsonl"
    good = [json.loads(line) for line in path.read_text().splitlines()]
    rng = random.Random(0)
    junk = ["", None, -1, 2.5, [], {}, [[]], "x" * 99, True, 10**400, "\x1b[31m"]
    refused = 0
    for _ in range(60):
        place = rng.randrange(len(good))
        lines = [*good[:place], spoiled(good[place], rng, junk), *good[place + 1 :]]
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        try:
            river(load_river(tmp_path))
        except R3labError as error:
            refused += 1
            assert "\x1b" not in str(error)
    assert refused > 24


def test_a_river_draws_each_steps_look_where_it_lies() -> None:
    figure = river(river_of(stream())).picture
    assert corners(by_gid(figure, "sample-2-step-30")) == SPOT
    assert corners(by_gid(figure, "sample-2-step-20")) == tuple(v + 40 for v in SPOT)
    assert not figure.figure.findobj(lambda artist: artist.get_gid() == "sample-1-step-0")
    x, y = by_gid(figure, "sample-2-way").get_data()
    assert (x[-1], y[-1]) == ((SPOT[0] + SPOT[2]) / 2, (SPOT[1] + SPOT[3]) / 2) and len(x) == 4
    seen = Seen(river(river_of(stream())).to_page())
    [root] = seen.of("div", kind="r3-player")
    assert root["data-labels"] == "Step 0|Step 10|Step 20|Step 30"
    steps = {g["data-from"] for g in seen.of("g", kind="only")}
    assert steps == {"0", "1", "2", "3"}
    assert "At step 0 it takes no look, at step 30 it looks at the left" in figure.alt
    assert "Right answers: from 0.00 to 1.00" in figure.alt


def test_a_river_of_one_step_without_truth_or_pictures_is_drawn() -> None:
    rollouts = {5: [replace(t, truth={}, images={}) for t in stream(1, 1)[0]]}
    found = river_of(rollouts)
    assert found.means("IoU") == [None] and found.means("right answers") == [None]
    drawn = words(river(found).picture)
    assert "no value" in drawn and "picture not kept" in drawn
    Seen(river(found).to_page()).check()


# The value map.


def test_a_value_map_shows_both_places_and_says_the_regret() -> None:
    t = trajectory("x", look(0), "y")
    figure = draw_value(t, 0, np.arange(6.0).reshape(2, 3) - 2, SPOT, 1.5)
    for gid in ("photo", "map"):
        assert corners(by_gid(figure, f"{gid}-look-1")) == look(0) and corners(by_gid(figure, f"{gid}-best")) == SPOT
    map_ = by_gid(figure, "map").images[0]
    assert np.allclose(np.asarray(map_.get_array()), np.arange(6.0).reshape(2, 3) - 2.5), "zero is a random place"
    assert (
        map_.get_clim() == (-2.5, 2.5)
        and "from -2.50 to +2.50 nats above a look at a random place"
        in valued(values=np.arange(6.0).reshape(2, 3) + 9).alt
    )
    told = value_words(t, 0, SPOT, 1.5)
    assert "worth 1.50 nats more" in told and "4.5 times as likely" in told and "does not touch it" in told
    assert "worth 1.50 nats more" in words(figure).replace("\n", " ")
    assert "No other place" in value_words(t, 0, SPOT, 0.01)
    assert "its answer would have been" in value_words(trajectory("x", look(0), "y", truth={}), 0, SPOT, 1.0)


# Plain plots of lessons.


def test_a_plain_plot_tells_its_numbers_and_draws_them() -> None:
    table = plots.cells({"mass": np.array([[0.1, np.nan], [0.9, 2.5]])}, ("a", "b"), ("x", "y"), times=True)
    assert "a, x: 0.1; b, x: 0.9; b, y: 2.5" in table.alt
    assert [t.get_text() for t in table.figure.axes[0].texts] == ["0.1", "", "0.9", "2.5"]
    bars = plots.bars({"cut": {"one": -2.5, "two": 0.0}}, y="nats")
    assert bars.alt == "Bars of nats. cut: one -2.5, two 0."
    assert [bar.get_height() for bar in bars.figure.axes[0].patches] == [-2.5, 0.0]
    many = plots.bars({"cut": {f"{i}. </answer>": -1.0 for i in range(9)}}, y="nats").figure.axes[0]
    assert all("\n" not in t.get_text() for t in many.get_xticklabels()), "a turned label is not broken"
    line = plots.lines({"asked": {-1: 0.25, 0: 1.0}}, "word", "leads", 0.5, words={-1: "The", 0: "box"})
    assert "asked: 0.25 at The, 1 at box" in line.alt
    assert [t.get_text() for t in line.figure.axes[0].get_xticklabels()] == ["The", "box"]
    far = plots.lines({"asked": {0.001: 0.25, 1.0: 1.0}}, "difference", "leads", log=10).figure.axes[0]
    assert {"0.001", "0.1", "1"} <= {t.get_text() for t in far.get_xticklabels()}, "numbers, not the source of TeX"


def test_a_map_in_a_row_of_pictures_lies_on_the_photograph_as_a_spotlight() -> None:
    photo = Image.new("RGB", (40, 20), "white")
    heat = HeatMap(np.array([[0.0, 1.0]]), (0, 0, 40, 20), (40, 20))
    drawn = plots.panels({"raw": heat, "photo": photo}, truth={"raw": (4.0, 4.0, 8.0, 8.0)}, photo=photo)
    left, right = drawn.figure.axes
    assert len(left.images) == 2 and len(right.images) == 1, "the map on its photograph, the photograph alone"
    assert np.array_equal(np.asarray(left.images[1].get_array()), np.asarray(spotlight(heat)))
    dark = plots.panels({"raw": heat, "photo": (night := Image.new("RGB", (40, 20), (20, 20, 20)))}, photo=night)
    lit, as_it_is = (np.asarray(axes.images[0].get_array())[0, 0, 0] for axes in dark.figure.axes)
    assert lit > 2 * as_it_is == 40 and lit * (1 - DARKEST) > as_it_is, "a dark photograph can be read beside the spot"
    assert "raw: 40 by 20 pixels, true region at [4, 4, 8, 8]" in drawn.alt


# What cannot be drawn.


def mapped(values: np.ndarray) -> HeatMap:
    return HeatMap(values, (0, 0, 1, 1), SIZE)


def valued(number: int = 0, values: Any = ((1, 0), (0, 1)), regret: float = 0.0) -> Picture:
    return draw_value(looks(1), number, np.array(values, float), SPOT, regret)


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "a map of one row": (lambda: play(looks(1), [mapped(np.zeros(3))]), "Attention map 0"),
    "a map of nan": (lambda: play(looks(1), [mapped(np.array([[np.nan]]))]), "Attention map 0"),
    "a map below 0": (lambda: play(looks(1), [mapped(np.array([[-1.0]]))]), "Attention map 0"),
    "a map of nothing": (lambda: play(looks(1), [mapped(np.zeros((0, 2)))]), "Attention map 0"),
    "too many maps": (lambda: play(looks(1), [None] * 4), "4 attention maps for 3 moments"),
    "two samples": (lambda: group_view([looks(1), looks(1, sample_id="other")]), "'s'.*'other'"),
    "no rollout": (lambda: group_view([]), "got 0"),
    "17 rollouts": (lambda: group_view([looks(0)] * 17), "got 17"),
    "too few numbers": (lambda: ribbon(looks(1), numbers={"ratio": [1.0]}), "ratio has 1 values"),
    "numbers of nan": (lambda: ribbon(looks(1), numbers={"ratio": [math.nan] * len(looks(1).ids)}), "nan"),
    "an unknown measure": (lambda: ribbon(looks(1), by="entropyy"), "Did you mean 'entropy'"),
    "a look that is not there": (lambda: valued(number=1), "no look 1"),
    "values of one row": (lambda: valued(values=np.zeros(3)), "rows of finite numbers"),
    "values without end": (lambda: valued(values=np.array([[np.inf]])), "rows of finite numbers"),
    "a regret below 0": (lambda: valued(regret=-1.0), "from 0"),
    "a regret of nan": (lambda: valued(regret=math.nan), "from 0"),
    "a report of nothing": (lambda: report([]), "1 to 500 trajectories, got 0"),
    "a river of nothing": (lambda: River((), (), ()), "at least one"),
    "a mean of no measure": (lambda: river_of(stream(1, 1)).means("looks"), "look rate, IoU"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_drawn_is_one_clear_error(case: str) -> None:
    draw, words = REFUSED[case]
    with pytest.raises(R3labError, match=words):
        draw()


# Reports.


def explained(folder: Path, t: Trajectory) -> Path:
    """An explanation as the lab saves it."""
    from r3lab.explain.verdict import HONEST, Evidence, Verdict

    heat = HeatMap(np.ones((2, 3), np.float32), (0.0, 0.0, 512.0, 384.0), SIZE)
    maps = {"look 2 raw": heat, "look 1 raw": heat, "look 1 relative": HeatMap(heat.values * 2, heat.box, SIZE)}
    verdict = Verdict(HONEST, 0.96, HONEST, ((HONEST, 0.96),), ("another crop, another answer: 9 of 10",))
    entry = LookEntry(0, t.looks[0].box, sentence="Look 1 shows the true region.")
    whole = Explanation(t, (entry,), Evidence(answered=True), verdict, "It reads the crop.", maps=maps)
    return whole.save(folder)


def test_a_report_carries_the_explanation_that_lies_beside(tmp_path: Path) -> None:
    t = looks(2)
    folder = explained(tmp_path / "e", t)
    found = explanation_beside(folder / "trajectory.json")
    assert found is not None
    none, first, second = attention_maps(found)
    assert none is None and first is not None and second is not None
    assert (first.values.max(), second.values.max()) == (2.0, 1.0)  # the relative one before the raw one
    shown = Seen(report(read_entries([folder])))
    assert "Look 1 shows the true region." in shown.words
    assert "honest (96%)" in shown.words and "It reads the crop." in shown.words and "9 of 10" in shown.words
    assert len(shown.of("image", kind="heat")) == 2
    assert explanation_beside(save(t, tmp_path / "alone")) is None


def test_what_explain_wrote_beside_a_file_is_shown_with_its_trajectory(tmp_path: Path) -> None:
    """Of a file of two the second is explained; its copy is no trajectory of the report; sentence and rows agree."""
    from r3lab.explain.verdict import Evidence, Trials, described, profile, verdict_of

    one, two = looks(1), looks(2)
    path = save([one, two], tmp_path / "rolled")
    counts = {"crops": (Trials(6, 6), Trials(6, 0)), "emptied": (Trials(9, 2), Trials(9, 9)), "moved": Trials(4, 3)}
    evidence = Evidence(**counts, rest=Trials(6, 3))
    folder = explained(path / "explained-2" if path.is_dir() else path.parent / "explained-2", two)
    why = replace(
        Explanation.load(folder), evidence=evidence, verdict=verdict_of(evidence), sentence=described(evidence)
    )
    why.save(folder)
    entries = read_entries([path])
    assert [entry.explanation for entry in entries] == [None, why]
    shown = Seen(report(entries)).words
    rows = profile(evidence)
    assert len(rows) == 6 and why.sentence in shown
    for row in rows:
        cells = f"the {row.of} {row.says} {row.change} {row.counts}"
        assert "".join(cells.split()) in "".join(shown.split()), row
        assert f"the {row.of} {row.says} {row.change}" in [what for _, what, _ in why.table()]
        assert f"{row.change} ({row.counts})" in why.sentence


@pytest.mark.parametrize("kind", ["cut", "format", "field", "arrays", "type"])
def test_a_spoiled_explanation_is_one_clear_error(kind: str, tmp_path: Path) -> None:
    folder = explained(tmp_path / "e", looks(1))
    path = folder / "explanation.json"
    record = json.loads(path.read_text())
    if kind == "cut":
        path.write_text(path.read_text()[:50])
    elif kind == "arrays":
        (folder / "maps.npz").write_bytes(b"PK\x03\x04junk")
    else:
        record.update({"format": {"format": "x"}, "field": {"looks": 3}, "type": {"sentence": 7}}[kind])
        path.write_text(json.dumps(record))
    with pytest.raises(R3labError):
        report(read_entries([folder]))


def test_a_report_finds_what_was_saved_and_says_what_was_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save(looks(1, question="First?"), tmp_path / "runs" / "a")
    save([looks(0, question="Second?"), looks(2, question="Third?", answer="1")], tmp_path / "runs" / "b")
    entries = read_entries([tmp_path / "runs"])
    assert [e.t.question for e in entries] == ["First?", "Second?", "Third?"]
    seen = Seen(report(entries))
    links = [a["href"] for a in seen.of("a")]
    assert links == ["#t1", "#t2", "#t3"] and {s["id"] for s in seen.of("section")} == {"t1", "t2", "t3"}
    assert "2 of 3 with a known answer are right" in seen.words
    ids = [attrs["id"] for _, attrs in seen.elements if "id" in attrs]
    assert len(ids) == len(set(ids))
    out = tmp_path / "deep" / "r.html"
    assert call("report", [str(tmp_path / "runs" / "a"), "-o", str(out), "--title", "A <b>"]) == 0
    assert "1 trajectory" in capsys.readouterr().out and "A &lt;b&gt;" in out.read_text("utf-8")
    for bad, message in (("none", "does not exist"), (".", "holds no"), ("runs/a/images", "holds no")):
        (tmp_path / "empty").mkdir(exist_ok=True)
        path = tmp_path / "empty" if bad == "." else tmp_path / bad
        with pytest.raises(R3labError, match=message):
            call("report", [str(path), "-o", str(out)])
    with pytest.raises(R3labError, match="end its name in .html"):
        save_report(entries, tmp_path / "r.txt")


def test_asking_for_a_report_puts_it_beside_the_trajectory(tmp_path: Path) -> None:
    keep(looks(1), tmp_path / "a", report=True)
    keep(looks(1), tmp_path / "b")
    assert "Which digit?" in (tmp_path / "a" / "report.html").read_text("utf-8")
    assert not (tmp_path / "b" / "report.html").exists()


def test_the_command_line_reaches_report_and_gallery(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    save(looks(1), tmp_path / "a")
    assert cli(["report", str(tmp_path / "a"), "-o", str(tmp_path / "r.html"), "--title", "x"]) == 0
    assert (tmp_path / "r.html").is_file()
    assert cli(["report", str(tmp_path / "none"), "-o", str(tmp_path / "s.html")]) == 2
    assert cli(["gallery", "--record", str(tmp_path / "rec"), "--steps", "0"]) == 2
    assert (
        "--steps: '0' is not a whole number from 1 to 10000" in capsys.readouterr().err
        and not (tmp_path / "rec").exists()
    )
    asked: list[dict[str, Any]] = []
    monkeypatch.setattr("r3lab.cli.ask.ask", wraps(ask)(lambda **more: asked.append(more) or 0))
    assert cli(["ask", "i.png", "why?", "--report"]) == 0 and cli(["ask", "i.png", "why?"]) == 0
    assert [one.get("report", False) for one in asked] == [True, False]


def test_pages_of_large_records_keep_their_budgets() -> None:
    assert len(play(heavy(8)).to_page()) < 2_000_000
    page = report([Entry(replace(heavy(1), rewards={"accuracy": 1.0}))] * 20)
    assert 3_000_000 < len(page) < 10_000_000


# The gallery.


def test_the_gallery_draws_every_view_from_records_that_ship(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = records_dir()
    assert sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()) < 1_000_000
    assert call("gallery", ["-o", str(tmp_path / "g")]) == 0
    assert "index.html" in capsys.readouterr().out
    found = {path.name for path in (tmp_path / "g").iterdir()}
    views = {"player", "filmstrip", "group", "river", "ribbon", "value-map", "before-after", "curves", "dashboard"}
    views |= {"explanation", "browser"}
    assert {f"{name}.png" for name in views} <= found
    assert {f"{name}.html" for name in ("player", "river", "ribbon", "browser", "report", "index")} <= found
    index = Seen((tmp_path / "g" / "index.html").read_text("utf-8"))
    index.check()
    pictures = index.of("img")
    assert len(pictures) == len(views) and all(len(one["alt"]) > 80 for one in pictures)
    for one in pictures:
        with Image.open(io.BytesIO(base64.b64decode(one["src"].split(",")[1]))) as image:
            assert image.info["Description"] == one["alt"] and np.asarray(image.convert("L")).std() > 5
    for name in ("player", "river", "ribbon", "browser", "report"):
        Seen((tmp_path / "g" / f"{name}.html").read_text("utf-8")).check()


def test_records_show_what_they_are_for() -> None:
    found = load_records()
    assert any(right(t) and t.looks for t in found.trajectories) and any(not t.looks for t in found.trajectories)
    assert [t.sample_id for t in found.before] == [t.sample_id for t in found.trajectories]
    assert len({t.sample_id for t in found.group}) == 1 and len({sum(t.rewards.values()) for t in found.group}) > 1
    rates = found.river.means("look rate")
    assert rates[-1] is not None and rates[0] is not None and rates[-1] > rates[0]
    assert found.explanation.looks and any(attention_maps(found.explanation)) and len(found.value.values[0]) == 32
    assert len(found.tokens.ratio) == len(found.tokens.attention) == len(found.explained.ids)
    for t in [*found.trajectories, *found.group, found.explained]:
        t.check()
        assert t.image.hash in t.images and all(look.crop is None or look.crop.hash in t.images for look in t.looks)


@pytest.mark.parametrize("missing", ["", "photos", "river", "tokens.json", "explained/explanation.json"])
def test_records_that_are_not_whole_are_one_clear_error(missing: str, tmp_path: Path) -> None:
    folder = tmp_path / "records"
    if missing:
        shutil.copytree(records_dir(), folder)
        path = folder / missing
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(R3labError):
        call("gallery", ["--records", str(folder), "-o", str(tmp_path / "g")])
    assert not (tmp_path / "g").exists()
