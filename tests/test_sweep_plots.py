"""The table of a sweep comes back as it was written, and its plots show its numbers, whatever stands in it."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from r3lab.core.errors import R3labError
from r3lab.run.table import (
    STATE,
    Table,
    draw_table,
    means,
    read_table,
    sweep_lines,
    table_of,
    varied,
    write_table,
)

HOSTILE = ("<script>alert(1)</script>", "$\\frac{1}{0}$", "\x1b[31mred", "\u202eturned", "=1+1", "x" * 5000, "[x](y)|")


def made(score: Any = None, groups: tuple[Any, ...] = (4, 8, 16), rates: tuple[Any, ...] = (0.25, 1.0)) -> Table:
    """A table over group, rate and seed; the last combination failed."""
    points, found = {}, {}
    for i, group in enumerate(groups):
        for j, rate in enumerate(rates):
            for seed in range(3):
                key, last = f"k{i}{j}{seed}", (i, j) == (len(groups) - 1, len(rates) - 1)
                points[key] = {"group": group, "rate": rate, "seed": seed, "quick": True}
                state = dict.fromkeys(STATE) | {"status": "failed" if last else "ok", "attempts": 1, "seconds": 1.5}
                value = score if score is not None else i + 10 * j + 0.1 * seed
                found[key] = (state, {} if last else {"score": value, "right": bool(seed)})
    return table_of(points, found)


def test_a_table_comes_back_as_it_was_written(tmp_path: Path) -> None:
    """With the types of its values."""
    texts = ["plain", "a,b\"c'd", "'quoted", "12", "-1.5e3", "true", "=SUM(A1)", "@x", "+1", "-1", "å"]
    numbers = [0, -3, 2**62, 0.1, 1e-300, 1e22, 3.0, True, False, None]
    points = {f"k{i}": {"text": text, "size": i} for i, text in enumerate(texts)}
    state = {"status": "ok", "seconds": 0.5, "attempts": 1, "place": "here", "error": "none"}
    found = {key: (state, {"value": numbers[i % len(numbers)], "list": [i]}) for i, key in enumerate(points)}
    table = table_of(points, found)
    back = read_table(write_table(table, tmp_path / "table.csv"))
    assert (back.parameters, back.results) == (("text", "size"), ("value", "list"))
    values = [row["value"] for row in back.rows]
    assert values == [row["value"] for row in table.rows]
    assert [type(value) for value in values] == [type(row["value"]) for row in table.rows]
    assert [row["text"] for row in back.rows] == texts and back.rows[3]["list"] == "[3]"


def test_no_cell_of_the_csv_is_a_formula(tmp_path: Path) -> None:
    points = {f"k{i}": {"text": text} for i, text in enumerate(("=1+1", "@x", "+x", "-x", "\t=1", "'=1"))}
    write_table(
        table_of(points, {key: (dict.fromkeys(STATE, "=1"), {"a": "=2"}) for key in points}), tmp_path / "t.csv"
    )
    with open(tmp_path / "t.csv", newline="") as file:
        assert not [cell for row in csv.reader(file) for cell in row if cell[:1] in tuple("=+-@\t")]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("none.csv", None, "Cannot read"),
        ("a.csv", b"", "no table of"),
        ("a.csv", b"a,b\n1,2\n", "no table of"),
        ("a.csv", b"key,status,seconds,attempts,place,error,a,a\n", "no table of"),
        ("a.csv", b"key,status,seconds,attempts,place,error\n1,2\n", "does not fit"),
        ("a.csv", b"\xff\xfe", "not a table in CSV"),
        ("a.parquet", b"PAR1\xff", "not a table in CSV .*; name table.csv"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path: Path, name: str, content: bytes | None, words: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(R3labError, match=words):
        read_table(tmp_path / name)


def test_means_go_over_the_seeds_of_points_that_are_done() -> None:
    table = made()
    found = means(table, "score", ("group", "rate"))
    assert list(found) == [(4, 0.25), (4, 1.0), (8, 0.25), (8, 1.0), (16, 0.25)]  # the one that failed is not there
    one = found[8, 1.0]
    assert (one.value, one.low, one.high, one.n) == (pytest.approx(11.1), 11.0, pytest.approx(11.2), 3)
    assert means(table, "right", ("group",))[4,].value == pytest.approx(2 / 3)
    assert varied(table) == ["group", "rate"]


def test_lines_and_bands_are_the_numbers_of_the_table() -> None:
    table = made()
    (axes,) = sweep_lines(table, "score", "group", "rate").figure.axes
    lines = {line.get_gid(): line for line in axes.lines}
    assert lines["mean-0"].get_xdata().tolist() == [4, 8, 16]
    assert lines["mean-0"].get_ydata() == pytest.approx([0.1, 1.1, 2.1])
    assert lines["mean-1"].get_ydata() == pytest.approx([10.1, 11.1])
    bands = {band.get_gid(): band.get_paths()[0].vertices for band in axes.collections}
    assert bands["band-0"][:, 1].min() == 0.0 and bands["band-0"][:, 1].max() == pytest.approx(2.2)
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["0.25", "1"]
    alt = sweep_lines(table, "score", "group", "rate").alt
    assert "rate 0.25: 0.1 (0 to 0.2) at 4; 1.1 (1 to 1.2) at 8" in alt and "Mean over seed" in alt


def test_the_plots_need_the_table_alone_and_say_in_words_what_they_show(tmp_path: Path) -> None:
    write_table(made(), tmp_path / "first" / "table.csv")
    (tmp_path / "alone").mkdir()
    shutil.move(tmp_path / "first" / "table.csv", tmp_path / "alone" / "any.csv")
    page, word = draw_table(tmp_path / "alone" / "any.csv", tmp_path / "plots")
    assert page is not None and word == ""
    text = page.read_text("utf-8")
    assert text.count('alt="Lines of') == 2
    drawn = sorted((tmp_path / "plots" / "plots").glob("*.png"))
    assert len(drawn) == 2
    for path in drawn:
        with Image.open(path) as image:
            assert "Mean over seed" in image.text["Description"]  # type: ignore[attr-defined]
    wide = write_table(made(groups=tuple(range(8)), rates=tuple(range(7))), tmp_path / "wide.csv")  # too many for lines
    page, _ = draw_table(wide, tmp_path / "more")
    assert page is not None and "Mean over rate, seed" in page.read_text("utf-8")


def test_where_there_is_nothing_to_draw_it_says_why(tmp_path: Path) -> None:
    for name, table, words in (
        ("seeds", made(groups=(4,), rates=(1.0, 1.0)), "only the seed varies"),
        ("texts", made(score="text"), None),
    ):
        page, word = draw_table(write_table(table, tmp_path / f"{name}.csv"), tmp_path / name)
        assert (page is None and words in word) if words else page is not None  # `right` is there still


def test_hostile_text_is_drawn_as_text(tmp_path: Path) -> None:
    table = made(groups=HOSTILE[:6], rates=(HOSTILE[6], None))
    renamed = {
        name: f"{name}{i}{text[:40]}"
        for i, (name, text) in enumerate(zip(("group", "rate", "score"), HOSTILE, strict=False))
    }
    rows = tuple({renamed.get(name, name): value for name, value in row.items()} for row in table.rows)
    parameters = tuple(renamed.get(name, name) for name in table.parameters)
    write_table(Table(parameters, (renamed["score"], "right"), rows), tmp_path / "table.csv")
    page, _ = draw_table(tmp_path / "table.csv", tmp_path)
    assert page is not None
    text = page.read_text("utf-8")
    assert "<script>alert" not in text and "\x1b" not in text and "\u202e" not in text
    assert len(text) < 4_000_000
