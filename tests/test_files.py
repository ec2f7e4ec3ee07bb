"""Files and what is said of them: what is written appears whole or not at all, whenever the process is killed; rows of
foreign files are read one by one; messages repeat foreign text only short, on one line and harmless."""

from __future__ import annotations

import base64
import json
import os
import platform
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from r3lab.core import files
from r3lab.core import rows as rows_module
from r3lab.core.errors import SHOWN, R3labError, nearest, shown
from r3lab.core.files import Journal, recover, whole_file, whole_folder, write_whole
from r3lab.core.images import MAX_PATH, inside, picture
from r3lab.core.records import ForeignError, Refused
from r3lab.core.rows import rows
from r3lab.models.policy import Policy, save_policy

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
STEPS = ("mkdir", "replace", "rmtree")  # what `whole_folder` does to names


def killed_before(step: int, write: Callable[[], object]) -> bool:
    """Run `write` in a process that dies before its n-th change of a name; False if there are not so many."""
    child = os.fork()
    if child == 0:
        left = [step]

        def dying(real):
            def act(*given, **more):
                if left[0] == 0:
                    os._exit(9)
                left[0] -= 1
                return real(*given, **more)

            return act

        files.os.replace = dying(os.replace)
        files.shutil.rmtree = dying(files.shutil.rmtree)
        try:
            write()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


def put(folder: Path, text: str) -> None:
    with whole_folder(folder, replace=True, durable=True) as part:
        (part / "a").write_text(text)
        (part / "b").write_text(text)


def held(folder: Path) -> set[str]:
    return {file.read_text() for file in folder.iterdir()}


@needs_fork
@pytest.mark.parametrize("again", ["recover", "write"])
def test_a_folder_survives_a_kill_at_every_step_of_its_replacement(tmp_path: Path, again: str) -> None:
    """Old or new, never half, never none; and what comes next finds nothing in its way and leaves nothing behind."""
    seen, step = set(), 0
    while True:
        place = tmp_path / f"{again}-{step}" / "policy"
        put(place, "old")
        if not killed_before(step, lambda place=place: put(place, "new")):
            break
        if again == "recover":
            recover(place)
            [text] = held(place)
            seen.add(text)
        else:
            put(place, "newer")
            assert held(place) == {"newer"}
        assert [p.name for p in place.parent.iterdir()] == ["policy"]
        step += 1
    assert step >= 4 and (again == "write" or seen == {"old", "new"})


@needs_fork
def test_a_policy_without_a_name_is_found_again(policy: Policy, tmp_path: Path) -> None:
    """A kill between the two renames of `save_policy`: the next load puts it back."""
    folder, step = tmp_path / "policy", 0
    save_policy(policy, folder)
    while killed_before(step, lambda: save_policy(policy, folder)) and folder.exists():
        step += 1
    assert not folder.exists(), "no kill fell between the renames"
    assert Policy.load(folder).name == "policy" and [p.name for p in tmp_path.iterdir()] == ["policy"]


def test_an_error_inside_changes_nothing(tmp_path: Path) -> None:
    write_whole(tmp_path / "file", b"old")
    put(tmp_path / "folder", "old")
    for whole in (whole_file(tmp_path / "file"), whole_folder(tmp_path / "folder", replace=True)):
        with pytest.raises(ZeroDivisionError), whole as part:
            (part / "a" if part.is_dir() else part).write_text("new")
            raise ZeroDivisionError
    assert (tmp_path / "file").read_bytes() == b"old" and held(tmp_path / "folder") == {"old"}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder"]


def test_what_a_killed_process_left_half_written_is_swept_once(tmp_path: Path) -> None:
    """Not that of a process that runs, of another machine, or that a user named so."""
    here = platform.node()[:40]
    gone, kept = f".a.{here}-4194304.part", [f".a.{here}-1.part", ".a.elsewhere-4194304.part", f"b.{here}-4194304.part"]
    for name in (gone, *kept):
        (tmp_path / name).write_text("half")
    write_whole(tmp_path / "file", b"whole")
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(["file", *kept])
    with whole_file(tmp_path / "other") as part:
        part.write_bytes(b"whole")
        assert part.name == f".other.{here}-{os.getpid()}.part"


@pytest.mark.parametrize(
    ("make", "replace", "said"),
    [
        (lambda at: put(at, "other"), False, "exists already"),
        (lambda at: at.write_text("a file"), True, "is a file"),
        (lambda at: at.with_name(f".{at.name}.lock").write_text("1"), True, "process 1 is writing to"),
    ],
)
def test_a_place_that_is_taken(make, replace: bool, said: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(files, "PATIENCE", 0)
    make(tmp_path / "place")
    with pytest.raises(R3labError, match=said), whole_folder(tmp_path / "place", replace):
        raise AssertionError("entered")


def test_a_lock_of_a_process_that_is_gone_counts_no_more(tmp_path: Path) -> None:
    for gone in ("4194304", str(os.getpid()), "", "x"):  # no such process; this number in an earlier life; torn
        (tmp_path / ".place.lock").write_text(gone)
        put(tmp_path / "place", gone)
        assert held(tmp_path / "place") == {gone} and not (tmp_path / ".place.lock").exists()


def test_a_disk_that_refuses_is_one_line(tmp_path: Path, monkeypatch) -> None:
    def full(*_):
        raise OSError(28, "No space left on device")

    put(tmp_path / "folder", "old")
    monkeypatch.setattr(files, "_sync", full)
    with pytest.raises(R3labError, match="Cannot write .*folder': No space left on device; free some space"):
        put(tmp_path / "folder", "new")
    assert held(tmp_path / "folder") == {"old"} and [p.name for p in tmp_path.iterdir()] == ["folder"]


def test_a_journal_is_read_to_the_last_whole_line(tmp_path: Path) -> None:
    """A torn last line is dropped, a damaged one before it is an error; the last line of a key counts."""
    path = tmp_path / "run" / "journal.jsonl"
    with Journal(path, {"model": "m"}) as journal:
        for key, n in (("a", 1), ("b", 2), ("a", 3)):
            journal.append(key, {"n": n})
    whole = path.read_bytes()
    for torn in (b'{"key": "c", "n"', b'{"key": "c", "n": 1}', b"\0\0\0\n"):
        path.write_bytes(whole + torn)
        with Journal(path, {"model": "m"}) as journal:
            assert "c" not in journal and journal["a"]["n"] == 3 and journal["b"]["n"] == 2
            assert [line["n"] for line in journal] == [1, 2, 3]
        assert path.read_bytes() == whole
    path.write_bytes(whole.replace(b'"n": 2', b'"n": '))
    with pytest.raises(R3labError, match="line 3 is damaged"):
        Journal(path, {"model": "m"})


# ------------------------------------------------------------------ rows and images of foreign files

NASTY = {"a": 'q"\\"]}{[,', "b": [1, {"c": ["\\", "\\\\", 'x\\"']}], "data": [], "é\u2028": None, '"data": [': {}}


@pytest.mark.parametrize("piece", [1, 3, 64])
@pytest.mark.parametrize("indent", [None, 1])
def test_a_document_agrees_with_json_however_it_is_cut(
    piece: int, indent: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each layout gives the objects that `json` finds there, with their keys; what is no object keeps its place."""
    monkeypatch.setattr(rows_module, "PIECE", piece)

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
    assert rows_module.data_files(tmp_path) == ([tmp_path / name] if "." in name else [])


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


def test_a_record_over_the_limit_is_passed_over_in_every_text_format(tmp_path: Path) -> None:
    """The caller sets the limit; the record is a problem in its place, and the next one is read."""
    limit = 100_000
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


# ------------------------------------------------------------------ messages


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


def test_messages_are_one_line_keep_a_short_name_whole_and_mark_a_cut() -> None:
    assert str(R3labError("first\n  second\r\nthird")) == "first second third"
    assert shown("format") == "'format'"
    assert shown("x" * 200).endswith("...") and not shown("x" * 60).endswith("...")
    assert shown(PurePosixPath("a/b.png")) == "'a/b.png'"
    deep = shown(PurePosixPath("folder/" * 40 + "photo.png"))  # which file it is, is said at the end
    assert deep.startswith("'...") and deep.endswith("folder/photo.png'") and len(deep) == SHOWN
    assert nearest("formt", ["format", "region"]) == " Did you mean 'format'?"
    assert nearest("zzz", ["format", "region"]) == nearest("q" * 1_000_000, ["format"]) == ""


# ------------------------------------------------------------------ what is imported


LIGHT = {
    "r3lab.core.geometry, r3lab.core.protocol": {"numpy", "torch", "PIL", "transformers"},
    "r3lab.core.rows": {"torch", "pyarrow"},
    "r3lab.vlir.worlds": {"torch"},
    "r3lab.cli.vlir": {"torch", "transformers", "openai", "matplotlib", "r3lab.models"},
}


@pytest.mark.parametrize("modules", LIGHT)
def test_nothing_large_is_loaded_until_it_is_wanted(modules: str) -> None:
    code = f"import sys, {modules}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not LIGHT[modules] & set(loaded.stdout.split())
