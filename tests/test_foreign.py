"""Rows and images of foreign files, as far as the tests of benchmarks and of conversion do not hold them already."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from r3lab.core import rows as document
from r3lab.core import rows as files
from r3lab.core.images import MAX_PATH, inside, picture
from r3lab.core.records import ForeignError, Refused
from r3lab.core.rows import rows

NASTY = {"a": 'q"\\"]}{[,', "b": [1, {"c": ["\\", "\\\\", 'x\\"']}], "data": [], "é\u2028": None, '"data": [': {}}


def test_reading_needs_neither_torch_nor_pyarrow() -> None:
    """Both are large; a JSON file wants none of them."""
    code = "import sys; sys.modules['torch'] = sys.modules['pyarrow'] = None; import r3lab.core.rows"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("piece", [1, 2, 3, 7, 64])
@pytest.mark.parametrize("indent", [None, 1])
def test_a_document_agrees_with_json_however_it_is_cut(
    piece: int, indent: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each layout gives the objects that `json` finds there, with their keys; what is no object keeps its place."""
    monkeypatch.setattr(document, "PIECE", piece)

    def read(value: Any) -> list[Any]:
        path = tmp_path / "x.json"
        path.write_text(json.dumps(value, indent=indent, ensure_ascii=False), "utf-8")
        found = list(rows(path))
        assert [row.number for row in found] == list(range(1, len(found) + 1))
        return [row.problem.reason if row.problem else (row.key, row.data) for row in found]

    no = "not a JSON object"
    assert read([NASTY, NASTY, {}, 1, "s", None, []]) == [(None, NASTY), (None, NASTY), (None, {}), no, no, no, no]
    assert read({"1": NASTY, "é": NASTY}) == [("1", NASTY), ("é", NASTY)]
    assert read({"n": 1, "data": [NASTY, 7, NASTY], "m": 2}) == [(None, NASTY), no, (None, NASTY)]
    assert read({"classes": ["a", "b"], "data": [NASTY]}) == [(None, NASTY)]
    assert read([]) == read({}) == read({"data": []}) == read({"version": 1}) == []


@pytest.mark.parametrize(
    ("name", "content", "wheres"),
    [
        ("x.JSON", b'[{"a": 1}]', ["x.JSON line 1 (record 1)"]),
        ("x", b'\xef\xbb\xbf\n{"a": [\n{"a": 1}]}', ["x line 3 (record 1)"]),
        ("x.json", b'{"a": 1}\r\n\r\n{"a": 1}', ["x.json line 1", "x.json line 3"]),
        ("x.ndjson", b'{"a": 1}', ["x.ndjson line 1"]),
        ("x.CSV", b'\xef\xbb\xbfa,b\r\n"1\n",2\r\n\r\n3,4', ["x.CSV line 2", "x.CSV line 5"]),
        ("x.tsv", b"a\tb\n1\t2", ["x.tsv line 2"]),
    ],
)
def test_the_format_is_told_by_name_or_beginning(name: str, content: bytes, wheres: list[str], tmp_path: Path) -> None:
    """And each row says where it stands, in the lines of an editor."""
    (tmp_path / name).write_bytes(content)
    found = list(rows(tmp_path / name))
    assert [row.where for row in found] == wheres and all(row.problem is None and "a" in row.data for row in found)
    assert files.data_files(tmp_path) == ([tmp_path / name] if "." in name else [])


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("x.json", b'[{"a": 1},\n{"a": ', r"x.json line 2 \(after 1 whole records\) ends in the middle"),
        ("x.json", b'[{"a": 1},\n{"a" 2}]', r"x.json line 2 \(after 1 whole records\) is not JSON"),
        ("x.json", b'"one"', "holds a single str; wanted a list of records"),
        ("x.txt", b"hello", r"'x.txt' is in no format that can be read \(.parquet, .json"),
        ("x.csv", b" \n", "is empty"),
    ],
)
def test_a_file_that_cannot_be_used_ends_the_reading(name: str, content: bytes, words: str, tmp_path: Path) -> None:
    """With the line, and how many records before it are good."""
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ForeignError, match=words):
        list(rows(tmp_path / name))
    with pytest.raises(ForeignError, match="cannot be read: No such file"):
        rows(tmp_path / "none.json")
    os.mkfifo(tmp_path / "pipe.json")
    with pytest.raises(ForeignError, match="not a regular file"):  # opening it would wait for ever
        rows(tmp_path / "pipe.json")


@pytest.mark.parametrize("limit", [1000, 100_000])
def test_a_record_over_the_limit_is_passed_over_in_every_text_format(limit: int, tmp_path: Path) -> None:
    """The caller sets the limit; the record is a problem in its place, and the next one is read."""
    large = {"a": ["x" * 100] * (limit // 50)}
    for name, content in {
        "x.json": json.dumps([large, {"a": 1}]),
        "x.jsonl": json.dumps(large) + '\n{"a": 1}',
        "x.tsv": "a\tb\n" + "x" * 2 * limit + "\t1\n1\t2",
    }.items():
        (tmp_path / name).write_text(content)
        first, second = rows(tmp_path / name, limit=limit)
        assert first.problem is not None and f"over {limit:,} bytes" in str(first.problem) and first.data == {}
        assert second.problem is None and str(second.data["a"]) == "1"
        (first, _) = rows(tmp_path / name, limit=4 * limit)
        assert first.problem is None


def test_a_line_of_many_small_values_does_not_fill_the_memory(tmp_path: Path) -> None:
    """Twelve megabytes of empty lists would be hundreds of megabytes of objects."""
    path = tmp_path / "x.jsonl"
    path.write_bytes(b'{"a": [' + b"[]," * 4_000_000 + b'[]]}\n{"a": 1}\n')
    tracemalloc.start()
    try:
        first, second = rows(path, limit=64 << 20)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert first.problem is not None and first.problem.reason == "a record that is too large"
    assert second.data == {"a": 1} and peak < 40_000_000


def test_an_image_is_found_however_it_is_given(tmp_path: Path) -> None:
    """Embedded bytes win over the path that stands beside them, and base64 is read only where it may be."""
    (tmp_path / "a.png").write_bytes(b"pixels")
    text = base64.b64encode(b"pixels").decode()
    assert picture(b"pixels", tmp_path) == picture({"bytes": b"pixels", "path": "/x"}, tmp_path) == b"pixels"
    assert picture(f"{text[:4]}\n{text[4:]}", tmp_path, encoded=True) == b"pixels"
    for value in ("a.png", {"bytes": None, "path": "a.png"}, {"bytes": b"", "path": "./a.png"}):
        assert picture(value, tmp_path) == picture(value, tmp_path, encoded=True) == (tmp_path / "a.png").resolve()
    for value, words in ((text, "does not exist"), (7, "not a path: wanted text"), ({}, "not a path")):
        with pytest.raises(Refused, match=words):
            picture(value, tmp_path)


def test_the_data_folder_may_be_named_through_a_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only links inside it are suspicious; a relative folder is one too."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.png").touch()
    (tmp_path / "link").symlink_to("data")
    monkeypatch.chdir(tmp_path)
    for folder in (Path("data"), Path("link"), tmp_path / "link", Path("data/../link")):
        assert inside(folder, "a.png") == (tmp_path / "data" / "a.png").resolve()
        with pytest.raises(Refused, match="leaves the data folder"):
            inside(folder, "../data/a.png")
    with pytest.raises(Refused, match=f"over {MAX_PATH}"):
        inside(tmp_path, "x" * (MAX_PATH + 1))
