"""What is written appears whole or not at all, whenever the process that writes it is killed."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from r3lab.core import files
from r3lab.core.errors import R3labError
from r3lab.core.files import append_row, read_rows, recover, whole_file, whole_folder, write_whole
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
    """A kill between the two renames of `save_policy`: the next load or the next save puts it back."""
    for number, use in enumerate((Policy.load, lambda at: save_policy(policy, at))):
        folder = tmp_path / str(number) / "policy"
        save_policy(policy, folder)
        step = 0
        while killed_before(step, lambda folder=folder: save_policy(policy, folder)) and folder.exists():
            step += 1
        assert not folder.exists(), "no kill fell between the renames"
        use(folder)
        assert Policy.load(folder).name == "policy" and [p.name for p in folder.parent.iterdir()] == ["policy"]


def test_an_error_inside_changes_nothing(tmp_path: Path) -> None:
    write_whole(tmp_path / "file", b"old")
    put(tmp_path / "folder", "old")
    for whole in (whole_file(tmp_path / "file"), whole_folder(tmp_path / "folder", replace=True)):
        with pytest.raises(ZeroDivisionError), whole as part:
            (part / "a" if part.is_dir() else part).write_text("new")
            raise ZeroDivisionError
    assert (tmp_path / "file").read_bytes() == b"old" and held(tmp_path / "folder") == {"old"}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder"]


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


def test_rows_are_read_to_the_last_whole_one(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    with path.open("ab", buffering=0) as file:
        assert [append_row(file, {"n": n}) for n in range(3)] == [0, 9, 18]
    for torn in (b"", b'{"n"', b"\0\0"):
        path.write_bytes(b'{"n": 0}\n{"n": 1}\n' + torn)
        assert [row["n"] for _, _, row in read_rows(path)] == [0, 1]
    path.write_bytes(b'{"n": 0}\n{"n"\n' + json.dumps({"n": 2}).encode())
    with pytest.raises(R3labError, match="line 2 is damaged"):
        list(read_rows(path))
