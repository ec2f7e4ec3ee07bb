"""A sweep checks its points first, runs each in its own process, and has each in its table exactly once."""

from __future__ import annotations

import errno
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest
from sweep_fake import FAKE, lesson

import r3lab
from r3lab.cli import call
from r3lab.cli import main as r3lab_main
from r3lab.cli.run import sweep as sweep_command
from r3lab.core.errors import R3labError
from r3lab.core.settings import Reader, declare, options_of
from r3lab.run import point as one_point
from r3lab.run.notebook import Result
from r3lab.run.point import Job, Machine, Outcome, devices, fit
from r3lab.run.record import LONGEST, MIME, MOST, check_results, record, recorded
from r3lab.run.sweep import Store, Summary, cross, plan, read_grid, read_points, sweep, table, titles

DEFAULTS = {"group": 8, "rate": 0.5, "world": "badges", "quick": False, "sizes": (1, 2), "out": None}


# Points: what is given is read by the type of the default, or refused before anything starts.


@pytest.mark.parametrize(
    ("text", "name", "values"),
    [
        ("group=4,8,16", "group", [4, 8, 16]),
        ("group=0..4", "group", [0, 1, 2, 3, 4]),
        ("group=-2..4..3,9", "group", [-2, 1, 4, 9]),
        ("rate=1, 0.25", "rate", [1.0, 0.25]),
        ("rate=1..2", "rate", [1.0, 2.0]),
        ("world=badges,trails", "world", ["badges", "trails"]),
        ("world='a,b',1..2", "world", ["a,b", "1..2"]),  # no range: the default is text
        ("quick=true,False", "quick", [True, False]),
        ("sizes=[3],(4, 5)", "sizes", [(3,), (4, 5)]),
        ("out=none,3,[1, 2]", "out", ["none", 3, [1, 2]]),
        ("out=null", "out", [None]),
    ],
)
def test_values_are_split_and_read_by_the_default(text: str, name: str, values: list[Any]) -> None:
    found = read_grid([text], DEFAULTS)
    assert found == {name: values}
    assert [type(value) for value in found[name]] == [type(value) for value in values]


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        (["groop=4"], ["'groop'", "Did you mean 'group'?", "It has group, rate"]),
        (["group"], ["'group'", "NAME=VALUES"]),
        (["group=4", "group=8"], ["'group'", "twice"]),
        (["group=4,x"], ["'group'", "'x'", "wanted int"]),
        (["group=4,0.5"], ["wanted int", "0.5"]),
        (["group=4,,8"], ["an empty value"]),
        (["group="], ["an empty value"]),
        (["sizes=[1,2"], ["an open bracket"]),
        (["world='a"], ["quotation mark"]),
        (["group=4..0"], ["4..0", "empty"]),
        (["group=0..9..0"], ["0..9..0", "empty"]),
        (["group=0..99999999"], ["more than 10,000"]),
        (["rate=nan"], ["'rate'", "wanted float"]),
    ],
)
def test_what_does_not_fit_is_refused_and_named(texts: list[str], words: list[str]) -> None:
    with pytest.raises(R3labError) as error:
        read_grid(texts, DEFAULTS)
    assert all(word in str(error.value) for word in words), str(error.value)


def test_a_grid_meets_a_list_and_itself_within_bounds() -> None:
    points = cross({"group": [4, 8], "seed": [0, 1]}, [{"rate": 0.1}, {"rate": 0.2}])
    assert points[:3] == [
        {"rate": 0.1, "group": 4, "seed": 0},
        {"rate": 0.1, "group": 4, "seed": 1},
        {"rate": 0.1, "group": 8, "seed": 0},
    ]
    assert len(points) == 8 and len({json.dumps(point) for point in points}) == 8
    with pytest.raises(R3labError, match="'rate' is given both"):
        cross({"rate": [1.0]}, [{"rate": 0.1}])
    with pytest.raises(R3labError, match="1,000,000 points"):
        cross({"a": range(1000), "b": range(1000)}, [{}])


def test_the_three_kinds_of_file_give_the_same_points(tmp_path: Path) -> None:
    wanted = [{"group": 4, "world": "a,b", "rate": 1.0}, {"group": 8, "world": "7", "rate": 0.5}]
    (tmp_path / "a.csv").write_text('\ufeffgroup,world,rate\r\n4,"a,b",1\r\n\r\n8,7,0.5\r\n', encoding="utf-8")
    (tmp_path / "a.json").write_text(json.dumps(wanted))
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, wanted)) + "\n\n")
    for kind in ("csv", "json", "jsonl"):
        assert read_points(tmp_path / f"a.{kind}", DEFAULTS) == wanted, kind


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.csv", "group,seeed\n4,1\n", ["line 2", "'seeed'"]),
        ("a.csv", "group,rate\n4,0.1\n8\n", ["line 3", "one value under each name"]),
        ("a.csv", "group,rate\n4,\n", ["line 2", "'rate' got ''", "wanted float"]),
        ("a.csv", "group,group\n4,4\n", ["a column twice"]),
        ("a.csv", "group\nmany\n", ["line 2", "wanted int"]),
        ("a.csv", 'group\n"4\n', ["not CSV"]),
        ("a.csv", "group\n", ["0 points"]),
        ("a.json", '[{"group": NaN}]', ["point 1", "nan"]),
        ("a.json", '[{"group": 4, "group": 5}]', ["twice"]),
        ("a.json", '{"group": 4}', ["a list of objects"]),
        ("a.json", "[4]", ["point 1", "an object"]),
        ("a.json", "[" * 100_000, ["not valid JSON"]),
        ("a.jsonl", '{"group": 4}\n{"group": "x"}\n', ["line 2", "wanted int"]),
        ("a.jsonl", '{"group": 4}\n{"group"\n', ["line 2", "not valid JSON"]),
        ("a.yaml", "group: 4", ["end its name in"]),
        ("a.csv", "", ["0 points"]),
    ],
)
def test_a_file_that_is_no_list_of_points_is_refused_with_the_place(
    tmp_path: Path, name: str, text: str, words: list[str]
) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(R3labError) as error:
        read_points(tmp_path / name, DEFAULTS)
    assert all(word in str(error.value) for word in words), str(error.value)


def test_the_plan_has_each_point_once_with_all_parameters(tmp_path: Path) -> None:
    path = lesson(tmp_path / "a.ipynb", parameters="seed = 0\nquick = False\nsizes = (1, 2)")
    planned = plan(path, [{"seed": 1}, {"seed": 0}, {"seed": 1}, {"seed": 2, "quick": False}], quick=True)
    assert [job.parameters for job in planned.values()] == [
        {"seed": 1, "quick": True, "sizes": [1, 2]},
        {"seed": 0, "quick": True, "sizes": [1, 2]},
        {"seed": 2, "quick": False, "sizes": [1, 2]},
    ]
    assert list(titles(planned).values()) == ["seed=1 quick=True", "seed=0 quick=True", "seed=2 quick=False"]
    with pytest.raises(R3labError, match="'status' is a column"):
        plan(lesson(tmp_path / "b.ipynb", parameters="status = 1"), [{}])


# Results that a notebook hands over.


def test_results_are_plain_values_whoever_made_them(capsys: pytest.CaptureFixture[str]) -> None:
    given = {"a": np.float32(0.5), "b": np.int64(3), "c": np.bool_(True), "d": "right", "e": -0.0, "f": np.array(2.5)}
    found = check_results(given)
    assert found == {"a": 0.5, "b": 3, "c": True, "d": "right", "e": 0.0, "f": 2.5}
    assert [type(value) for value in found.values()] == [float, int, bool, str, float, float]
    record(**given)  # outside a notebook it only says so
    assert "a = 0.5, b = 3" in capsys.readouterr().out


@pytest.mark.parametrize(
    "values",
    [
        {"a": float("nan")},
        {"a": float("inf")},
        {"a": 2**63},
        {"a": None},
        {"a": [1.0]},
        {"a": np.zeros(1)},
        {"a": "x" * (LONGEST + 1)},
        {"a": "two\nlines"},
        {"a": "\x1b[31mred"},
        {"a": "\u202eturned"},
        {"a b": 1},
        {"a" * 65: 1},
        {"": 1},
        {"å": 1},
        {f"a{i}": i for i in range(MOST + 1)},
        [("a", 1)],
    ],
)
def test_what_is_no_result_is_refused_at_both_ends(values: Any) -> None:
    with pytest.raises(R3labError):
        check_results(values)
    forged = nbformat.v4.new_output("display_data", data={MIME: values})
    nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("", outputs=[forged])])
    with pytest.raises(R3labError):
        recorded(nb)


def test_the_results_of_many_cells_are_one_record_and_bounded() -> None:
    def shown(values: dict[str, Any]) -> nbformat.NotebookNode:
        output = nbformat.v4.new_output("display_data", data={MIME: values, "text/plain": ""})
        return nbformat.v4.new_code_cell("", outputs=[nbformat.v4.new_output("stream", text="x"), output])

    nb = nbformat.v4.new_notebook(cells=[shown({"a": 1, "b": 2}), nbformat.v4.new_markdown_cell(""), shown({"a": 3})])
    assert recorded(nb) == {"a": 3, "b": 2}
    nb.cells = [shown({f"n{i}_{j}": 1 for j in range(60)}) for i in range(2)]
    with pytest.raises(R3labError, match=f"more than {MOST}"):
        recorded(nb)


def test_a_notebook_that_is_too_large_loses_its_largest_outputs_and_says_so(tmp_path: Path) -> None:
    sizes = (100, 50_000, 70_000, 60_000)
    outputs = [nbformat.v4.new_output("stream", text="x" * size) for size in sizes]
    nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1", outputs=[one]) for one in outputs])
    fit(nb, 100_000)
    assert len(nbformat.writes(nb)) <= 100_000
    assert [len(cell.outputs[0].text) for cell in nb.cells[:2]] == [100, 50_000]
    assert all("stayed behind" in cell.outputs[0].text for cell in nb.cells[2:])


# Where points run: without kernels.


@pytest.mark.parametrize(
    ("jobs", "most", "have", "seen", "wanted"),
    [
        (4, None, 16, ("0", "1"), (4, 4, ["0", "1", "0", "1"])),
        (None, None, 16, ("0", "1"), (2, 8, ["0", "1"])),
        (None, None, 9, (), (4, 2, [None] * 4)),
        (None, None, 1, (), (1, 1, [None])),
        (8, 3, 12, (), (3, 4, [None] * 3)),
        (8, None, 2, (), (8, 1, [None] * 8)),
    ],
)
def test_cores_and_devices_are_shared_out(
    monkeypatch: pytest.MonkeyPatch, jobs: int | None, most: int | None, have: int, seen: tuple, wanted: tuple
) -> None:
    monkeypatch.setattr(one_point, "cores", lambda: have)
    monkeypatch.setattr(one_point, "devices", lambda: seen)
    place = Machine(Path("work"), jobs, most)
    assert (place.jobs, place.threads, place.devices) == wanted


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("", ()), ("-1", ()), ("2,0", ("2", "0")), ("1,-1,0", ("1",)), (" GPU-ab , 1", ("GPU-ab", "1"))],
)
def test_only_visible_devices_count(monkeypatch: pytest.MonkeyPatch, text: str, wanted: tuple[str, ...]) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", text)
    assert devices() == wanted


def swept(
    tmp_path: Path, points: list[dict[str, Any]], retries: int = 1, jobs: int = 2
) -> tuple[Summary, Any, dict[str, Job]]:
    """A sweep with the fake child, and its rows."""
    planned = plan(lesson(tmp_path / "a.ipynb"), points)
    with Store(tmp_path / "out") as store:
        place = Machine(store.work, jobs, threads=3, task=FAKE)
        summary = sweep(planned, store, place, retries, say=lambda line: None)
        return summary, table(planned, store).rows, planned


def test_each_job_has_its_share_of_cores_and_a_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    summary, rows, _ = swept(tmp_path, [{"seed": seed, "pause": 0.3} for seed in range(4)])
    assert (summary.done, summary.failed) == (4, ())
    assert [(row["seed"], row["score"], row["status"]) for row in rows] == [(i, 10 * i, "ok") for i in range(4)]
    assert {row["threads"] for row in rows} == {3}
    assert {row["device"] for row in rows} == {"0", "1"}


def test_what_failed_is_tried_again_as_often_as_said_and_every_attempt_has_its_log(tmp_path: Path) -> None:
    points = [{"seed": 0}, {"mode": "failed"}, {"count": str(tmp_path / "count")}, {"mode": "died"}]
    summary, rows, planned = swept(tmp_path, points, retries=2)
    keys = list(planned)
    assert set(summary.failed) == {keys[1], keys[3]}
    assert [row["status"] for row in rows] == ["ok", "failed", "ok", "died"]
    assert [row["attempts"] for row in rows] == [1, 3, 2, 3]
    assert "told to" in rows[1]["error"] and rows[2]["error"] == ""
    assert rows[1].get("score") is None  # of a failed point nothing counts
    folder = tmp_path / "out" / "points" / keys[3]
    assert sorted(path.name for path in folder.glob("*.log")) == [f"attempt-{i}.log" for i in (1, 2, 3)]
    assert "started" in (folder / "attempt-2.log").read_text()
    assert json.loads((folder / "result.json").read_text())["status"] == "died"

    summary, rows, _ = swept(tmp_path, points, retries=0)  # the same command again: what is done stays
    assert (summary.done, summary.skipped) == (2, 2)
    assert [row["attempts"] for row in rows] == [1, 4, 2, 4]


def test_a_full_disk_ends_the_sweep_in_order_and_the_same_command_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    points, keep, kept = [{"seed": seed} for seed in range(5)], Store.keep, []

    def full(store: Store, outcome: Outcome) -> int:
        kept.append(outcome.key)
        if len(kept) == 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return keep(store, outcome)

    monkeypatch.setattr(Store, "keep", full)
    summary, rows, _ = swept(tmp_path, points)
    assert (summary.done, summary.failed) == (2, ()) and "No space left" in summary.trouble
    assert sorted(row["status"] for row in rows) == ["not run"] * 3 + ["ok"] * 2
    monkeypatch.setattr(Store, "keep", keep)
    summary, rows, planned = swept(tmp_path, points)
    assert (summary.done, summary.skipped, summary.trouble) == (5, 2, "")
    assert [row["key"] for row in rows] == list(planned) and {row["status"] for row in rows} == {"ok"}


def job(tmp_path: Path, **given: Any) -> Job:
    """A point of the fake, with its notebook beside the place where it runs."""
    (found,) = plan(lesson(tmp_path / "a.ipynb"), [given]).values()
    (tmp_path / "place").mkdir(exist_ok=True)
    return found


def test_a_place_that_cannot_write_is_to_blame_and_not_the_point(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, place = job(tmp_path, mode="failed"), tmp_path / "place"
    assert FAKE(one, folder=tmp_path / "none", threads=1).status == "place"
    other = Job("k1", "a.ipynb", "{}", {}, version="0.0.0")
    assert "wanted 0.0.0" in FAKE(other, folder=place, threads=1).message
    asked: list[Path] = []
    for answers, status in (["full"], "place"), (["", ""], "failed"), (["", "full"], "place"):
        monkeypatch.setattr(one_point, "no_room", lambda folder, left=answers: asked.append(folder) or left.pop(0))
        assert FAKE(one, folder=place, threads=1).status == status  # asked again when its own files are gone
    assert set(asked) == {place} and not list(place.iterdir())  # and nothing stays


def test_a_point_that_is_stopped_ends_soon_and_files_are_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start, place = time.monotonic(), tmp_path / "place"
    late = job(tmp_path, pause=600.0)
    outcome = FAKE(late, folder=place, threads=1, stopped=lambda: time.monotonic() - start > 0.5)
    assert outcome.status == "interrupted" and time.monotonic() - start < 60
    monkeypatch.setattr(one_point, "LARGEST", 300)
    files = FAKE(job(tmp_path), folder=place, threads=1).files
    assert sorted(files) == ["a.ipynb", "result.json"] and b"stayed behind" in files["a.ipynb"]
    assert not list(place.iterdir())


def test_only_a_whole_result_makes_a_point_done(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        whole = Result("a.ipynb", "ok", {}, "x", "", 1.0, [], None, recorded={"a": 1}).text()
        store.keep(Outcome("k", "ok", files={"a.html": b"x", "../out.html": b"x", "result.json": whole}))
        assert store.done("k") and store.row("k")[1] == {"a": 1} and (store.point("k") / "a.html").is_file()
        assert not (tmp_path / "points" / "out.html").exists()
        store.keep(Outcome("k2", "ok", files={"result.json": whole.replace(b'"a": 1', b'"a": [1]')}))
        with pytest.raises(R3labError, match="holds no results"):
            store.row("k2")
        (store.point("k") / "result.json").unlink()  # a kill before the last file
        assert not store.done("k") and store.row("k") == (store.row("k")[0] | {"status": "lost"}, {})
        with pytest.raises(R3labError, match="another run is writing"):
            Store(tmp_path)
    with (tmp_path / "points" / "attempts.jsonl").open("a") as file:
        file.write('{"key": "k", "sta')  # a kill in the middle of a line
    with Store(tmp_path) as store:
        assert store.keep(Outcome("k", "failed", "no")) == 2
        assert store.row("k")[0] | {"status": "failed", "attempts": 2, "error": "no"} == store.row("k")[0]


# With kernels.


@pytest.mark.notebook
def test_the_command_runs_a_notebook_over_a_grid_into_a_table(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    parameters = "group = 4  # rollouts\nseed = 0\nquick = False"
    sources = (
        "import os, r3lab\nr3lab.record(threads=int(os.environ['OMP_NUM_THREADS']))",
        "assert quick\nif seed: raise ValueError('<b>unlucky</b>')\nr3lab.record(score=group / 8, note='=1+1')",
    )
    path = lesson(tmp_path / "a.ipynb", *sources, parameters=parameters)
    command = [str(path), "-p", "group=4,8", "--quick", "--jobs", "2", "--threads", "1", "--retries", "0"]
    command += ["-o", str(tmp_path / "out")]
    assert call("sweep", [*command, "-p", "seed=0"]) == 0
    told = capfd.readouterr().out
    assert "2 points, 2 at once with 1 thread each" in told and "2 of 2 points are done" in told
    assert "[2/2] ok" in told and "s left" in told.split("[2/2]")[0]
    lines = (tmp_path / "out" / "table.csv").read_text().splitlines()
    assert lines[0] == "key,group,seed,quick,status,seconds,attempts,place,error,threads,score,note"
    assert [line.split(",")[1:5] + line.split(",")[9:] for line in lines[1:]] == [
        ["4", "0", "true", "ok", "1", "0.5", "'=1+1"],
        ["8", "0", "true", "ok", "1", "1.0", "'=1+1"],
    ]
    assert (tmp_path / "out" / "plots.html").is_file()

    assert r3lab_main(["sweep", *command[:1], "-p", "group=4", *command[3:], "-p", "seed=0,1"]) == 1
    told = capfd.readouterr().out
    assert "1 of 2 points are done, 1 of them before" in told and "ValueError: <b>unlucky</b>" in told
    row = (tmp_path / "out" / "table.csv").read_text().splitlines()[2]
    assert row.split(",")[4] == "failed" and row.endswith(",,,")  # what it recorded before it failed does not count


@pytest.mark.notebook
@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT for one process")
def test_stopped_or_killed_it_leaves_no_kernel_and_the_same_command_goes_on(tmp_path: Path) -> None:
    go, pid = tmp_path / "go", tmp_path / "pid"
    source = (
        f"import os, pathlib, time\nif seed:\n    pathlib.Path({str(pid)!r}).write_text(str(os.getpid()))\n"
        f"    while not os.path.exists({str(go)!r}): time.sleep(0.1)"
    )
    path = lesson(tmp_path / "a.ipynb", source, parameters="seed = 0")
    command = [sys.executable, "-m", "r3lab", "sweep", str(path), "-p", "seed=0,1", "--jobs", "1"]
    command += ["-o", str(tmp_path / "out")]
    for sign in (signal.SIGKILL, signal.SIGINT):
        run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        while not (pid.exists() and pid.read_text()) and run.poll() is None:
            time.sleep(0.1)
        run.send_signal(sign)
        out, err = run.communicate(timeout=240)
        kernel, end = int(pid.read_text()), time.monotonic() + 60
        with pytest.raises(ProcessLookupError):
            while time.monotonic() < end:
                os.kill(kernel, 0)
                time.sleep(0.1)
        pid.unlink()
    assert run.returncode == 130, (out, err)
    assert "1 of 2 points are done, 1 of them before" in out  # although it was killed
    assert "interrupted; the same command goes on with the other 1" in err and "Traceback" not in out + err
    rows = [line.split(",")[2] for line in (tmp_path / "out" / "table.csv").read_text().splitlines()[1:]]
    assert rows == ["ok", "not run"]
    go.touch()
    again = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert again.returncode == 0 and "2 of 2 points are done, 1 of them before" in again.stdout, again
    assert not (tmp_path / "out" / "work").exists()  # nor what the killed one left


# The command refuses before anything starts.


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "Give a notebook"),
        (["NB", "-p", "sed=1"], "Did you mean 'seed'?"),
        (["NB", "-p", "seed=high"], "wanted int"),
        (["NB", "-p", "seed"], "-p got 'seed'; wanted NAME=VALUES"),
        (["NB", "--jobs", "0"], "--jobs: '0' is not a whole number of at least 1"),
        (["NB", "--retries", "-1"], "--retries: '-1' is not"),
        (["NB", "--timeout", "nan"], "--timeout: 'nan' is not a number"),
        (["NB", "--dask", "tcp://h:1", "--jobs", "2"], "--jobs is for this machine"),
        (["NB", "--tls-ca", "x"], "belong together"),
        (["NB", "--tls-ca", "x", "--tls-cert", "x", "--tls-key", "x", "--dask", "tcp://h:1"], "tls://HOST:PORT"),
        (["NB", "--points", "none.csv"], "Cannot read the points"),
        (["NB", "--table", "t.csv"], "give it alone"),
    ],
)
def test_the_command_refuses_with_one_line_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], options: list[str], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    path = lesson(tmp_path / "a.ipynb")
    code = r3lab_main(["sweep", *(str(path) if option == "NB" else option for option in options)])
    err = capsys.readouterr().err
    assert code == 2 and words in err and err.count("\n") == 1, err
    assert [one.name for one in tmp_path.iterdir()] == ["a.ipynb"]


def test_what_the_page_on_sweeps_says_is_so() -> None:
    page = (Path(r3lab.__file__).parent / "run" / "sweep.md").read_text("utf-8")
    commands = [shlex.split(line) for line in page.splitlines() if re.match(r"(\.venv/bin/)?r3lab sweep", line)]
    assert len(commands) >= 3
    reader = Reader()
    for option in options_of(sweep_command):
        declare(reader, option)
    for words in commands:
        reader.parse_args(words[words.index("sweep") + 1 :])
    rows = re.findall(r"^\| `(-p .*?)` \| (\d+):", page, re.M)
    assert len(rows) == 3
    for given, count in rows:
        texts = [word for word in shlex.split(given) if word != "-p"]
        grid = read_grid(texts, {"group": 0, "seed": 0, "steps": 0, "world": ""})
        assert len(cross(grid, [{}])) == int(count), given
