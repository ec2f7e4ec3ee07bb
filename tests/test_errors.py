"""Messages repeat foreign text only short, on one line, and without anything that a terminal obeys."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest

from r3lab.core.errors import SHOWN, R3labError, nearest, shown


class Shouting:
    def __repr__(self) -> str:
        return "\x1b[31mfirst\nsecond\u202e"


HOSTILE = [
    Shouting(),
    "x" * 10_000_000,
    "\x1b[2J\x1b]0;owned\x07",
    "\u202egnp.exe\u2066",
    "a\nb\r\nc\u2028d\u0085e",
    "\x00\x7f\x9b31m",
    b"\xff\x00" * 1000,
    ["deep", ["\x1b[31m"] * 1000],
    {"key\n": float("nan")},
    "\ud800",
    None,
]


@pytest.mark.parametrize("value", HOSTILE, ids=range(len(HOSTILE)))
def test_shown_is_short_printable_and_can_be_encoded(value: object) -> None:
    text = shown(value)
    assert 0 < len(text) <= 80
    assert text.isprintable()
    text.encode("utf-8")


def test_shown_keeps_a_short_name_whole_and_marks_a_cut() -> None:
    assert shown("format") == "'format'"
    assert shown("x" * 200).endswith("...")
    assert not shown("x" * 60).endswith("...")
    assert shown(PurePosixPath("a/b.png")) == "'a/b.png'"
    deep = shown(PurePosixPath("folder/" * 40 + "photo.png"))  # which file it is, is said at the end
    assert deep.startswith("'...") and deep.endswith("folder/photo.png'") and len(deep) == SHOWN


def test_an_error_is_one_line() -> None:
    assert str(R3labError("first\n  second\r\nthird")) == "first second third"


def test_nearest_names_only_what_is_close() -> None:
    assert nearest("formt", ["format", "region"]) == " Did you mean 'format'?"
    assert nearest("zzz", ["format", "region"]) == ""
    assert nearest("q" * 1_000_000, ["format"]) == ""
