"""A run counts as done only when every cell really ran, and only result.json says so."""

from __future__ import annotations

import errno
import functools
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest
from papermill.iorw import load_notebook_node
from papermill.parameterize import parameterize_notebook
from sweep_fake import lesson

from r3lab.core.errors import R3labError
from r3lab.run import notebook
from r3lab.run.notebook import (
    KERNEL,
    Result,
    ThisPython,
    check_parameters,
    course,
    parameters_of,
    read_notebook,
    read_values,
    run_key,
    run_notebook,
)
from r3lab.run.page import mathml, page_of

DEFAULTS = "steps = 3  # updates\nrate = 0.5\nname = 'badges'\nquick = False\nseeds = (0, 1)\nout = None"


write = functools.partial(lesson, parameters="")  # no parameters cell unless one is given


def text_of(folder: Path, name: str) -> str:
    """All that the executed notebook printed."""
    nb = nbformat.read(folder / name, as_version=4)
    return "".join(o.get("text", "") for c in nb.cells if c.cell_type == "code" for o in c.outputs)


# Parameters, keys and files: no kernel.


def test_parameters_are_the_literals_of_the_tagged_cell(tmp_path: Path) -> None:
    nb = read_notebook(
        write(tmp_path / "a.ipynb", "later = 1", parameters=DEFAULTS + "\ntyped: int = 7\nmark = 'a=b#'")
    )
    expected = {"steps": 3, "rate": 0.5, "name": "badges", "quick": False, "seeds": (0, 1), "out": None, "typed": 7}
    assert parameters_of(nb) == expected | {"mark": "a=b#"}  # which papermill's own inference leaves out
    assert parameters_of(read_notebook(write(tmp_path / "b.ipynb", "later = 1"))) == {}


@pytest.mark.parametrize(
    "line", ["a = range(3)", "a = b = 1", "a, b = 1, 2", "a.b = 1", "a += 1", "for a in x: 1", "a ="]
)
def test_a_parameters_cell_that_is_not_literals_is_refused_with_its_line(tmp_path: Path, line: str) -> None:
    nb = read_notebook(write(tmp_path / "a.ipynb", parameters=f"ok = 1\n{line}"))
    with pytest.raises(R3labError, match="Line 2 of the parameters cell"):
        parameters_of(nb)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"steps": 9}, {"steps": 9}),
        ({"rate": 1}, {"rate": 1.0}),
        ({"seeds": [4]}, {"seeds": (4,)}),
        ({"out": "x"}, {"out": "x"}),
        ({"quick": True}, {"quick": True}),
    ],
)
def test_a_fitting_value_is_taken_in_the_type_of_the_default(given: dict, expected: dict) -> None:
    defaults = {"steps": 3, "rate": 0.5, "quick": False, "seeds": (0, 1), "out": None}
    checked = check_parameters(given, defaults)
    assert checked == expected
    assert [type(value) for value in checked.values()] == [type(value) for value in expected.values()]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"step": 9}, ["'step'", "Did you mean 'steps'?", "rate"]),
        ({"steps": 2.0}, ["steps", "2.0", "float", "wanted int", "default 3"]),
        ({"steps": True}, ["bool", "wanted int"]),
        ({"quick": 1}, ["int", "wanted bool"]),
        ({"rate": "high"}, ["'high'", "str", "wanted float"]),
        ({"rate": float("nan")}, ["rate", "nan", "JSON"]),
        ({"out": {1, 2}}, ["out", "JSON"]),
        ({"name": None}, ["NoneType", "wanted str"]),
    ],
)
def test_an_unfitting_value_is_refused_by_name(given: dict, words: list[str]) -> None:
    defaults = {"steps": 3, "rate": 0.5, "quick": False, "name": "badges", "out": None}
    with pytest.raises(R3labError) as error:
        check_parameters(given, defaults)
    assert all(word in str(error.value) for word in words), str(error.value)


def test_command_line_text_is_read_by_the_default() -> None:
    defaults = {"steps": 3, "name": "badges", "quick": False, "seeds": (0,), "out": None}
    texts = ["steps=7", "name=a=7,8", "quick=true", "seeds=[1, 2]", "out=plain text"]
    assert read_values(texts, defaults) == {
        "steps": 7,
        "name": "a=7,8",
        "quick": True,
        "seeds": (1, 2),
        "out": "plain text",
    }
    with pytest.raises(R3labError, match="'steps'; wanted NAME=VALUE"):
        read_values(["steps"], defaults)


def test_injected_values_are_the_values(tmp_path: Path) -> None:
    nb = read_notebook(write(tmp_path / "a.ipynb", "late = 1", parameters=DEFAULTS))
    given = {"seeds": (1, 2), "name": 'quo"te\\\n', "out": {"a": [1.5, None]}}
    nb = parameterize_notebook(load_notebook_node(nb), given, kernel_name=KERNEL, language="python")
    scope: dict = {}
    for cell in nb.cells:
        exec(cell.source, scope)
    assert {name: scope[name] for name in given} == given
    assert "injected-parameters" in nb.cells[1].metadata.tags


def test_the_key_follows_cells_and_parameters_only(tmp_path: Path) -> None:
    nb = read_notebook(write(tmp_path / "a.ipynb", "print(1)"))
    same = read_notebook(write(tmp_path / "b.ipynb", "print(1)"))
    same.cells[0].outputs = [nbformat.v4.new_output("stream", text="1")]
    same.metadata["kernelspec"] = {"name": "other", "display_name": "other"}
    other = read_notebook(write(tmp_path / "c.ipynb", "print(2)"))
    assert run_key(nb, {"a": 1}) == run_key(same, {"a": 1})
    assert len({run_key(nb, {"a": 1}), run_key(nb, {"a": 2}), run_key(other, {"a": 1})}) == 3


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "Cannot read"),
        (b"plain text", "not a notebook"),
        (b"\xff\xfe\x00", "not a notebook"),
        (b"{}", "not a notebook"),
        (b'{"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [{"cell_type": "cod"}]}', "not a notebook"),
        (
            b'{"nbformat": 4, "nbformat_minor": 5, "cells": [], "metadata": {"kernelspec": '
            b'{"name": "ir", "display_name": "R", "language": "R"}}}',
            "Python notebooks only",
        ),
    ],
)
def test_what_is_no_python_notebook_is_refused_and_nothing_written(
    tmp_path: Path, content: bytes | None, words: str
) -> None:
    path = tmp_path / "a.ipynb"
    if content is not None:
        path.write_bytes(content)
    good = write(tmp_path / "b.ipynb", parameters=DEFAULTS)
    for name, given, told in ((path, {}, words), (good, {"stepz": 1}, "'steps'"), (good, {"steps": "x"}, "wanted int")):
        with pytest.raises(R3labError, match=told):
            run_notebook(name, given, out_root=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_the_kernel_is_this_interpreter_whatever_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    foreign = tmp_path / "kernels" / "python3"
    foreign.mkdir(parents=True)
    (foreign / "kernel.json").write_text(json.dumps({"argv": ["/elsewhere/python"], "display_name": "", "env": {}}))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    spec = ThisPython().get_kernel_spec("python3")
    assert spec.argv[0] == sys.executable
    assert spec.env["PLOTLY_RENDERER"] == "plotly_mimetype+notebook"


def test_a_result_that_is_not_one_is_no_result(tmp_path: Path) -> None:
    assert Result.load(tmp_path) is None
    for text in ("", "[]", "null", '{"status": "ok"}'):
        (tmp_path / "result.json").write_text(text)
        assert Result.load(tmp_path) is None


def test_a_machine_that_cannot_reach_itself_is_told_before_a_kernel_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise OSError(errno.ENETUNREACH, "Network is unreachable")

    monkeypatch.setattr(notebook.socket, "create_connection", refused)
    path = write(tmp_path / "a.ipynb", "print(1)")
    with pytest.raises(R3labError, match=r"cannot reach itself at 127\.0\.0\.1 \(Network is unreachable\)"):
        run_notebook(path, out_root=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


# With kernels.


@pytest.mark.notebook
def test_a_run_leaves_notebook_page_and_result_and_can_be_resumed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(
        tmp_path / "a {b} c.ipynb",  # a name that is no identifier
        "# where am I\nimport os, sys\nprint(steps, rate, quick, os.getcwd())\nprint(sys.executable)",
        "import r3lab\nprint(r3lab.__file__, os.environ['PLOTLY_RENDERER'])\nopen('made.txt', 'w').close()\n"
        "import time\nheld = b'x' * 400_000_000\ntime.sleep(0.5)\ndel held",
        "1 / 0",
        "raise SystemExit",
        "",
        parameters=DEFAULTS,
    )
    nb = nbformat.read(path, as_version=4)  # errors that are expected, and cells that are skipped, do not fail a run
    nb.cells[3].metadata["tags"], nb.cells[4].metadata["tags"] = ["raises-exception"], ["skip-execution"]
    nbformat.write(nb, path)
    before, here = path.read_bytes(), os.getcwd()
    result = run_notebook(path, {"steps": 5, "rate": 2}, tmp_path / "runs", quick=True)
    assert (result.status, result.error) == ("ok", None)
    assert result.parameters["quick"] is True and result.parameters["rate"] == 2.0
    assert result == Result.load(result.folder) and 400e6 < result.memory < 2e9
    assert (path.read_bytes(), os.getcwd()) == (before, here)

    saved = nbformat.read(result.folder / path.name, as_version=4)
    assert saved.metadata.papermill.parameters == {"steps": 5, "rate": 2.0, "quick": True}
    assert "injected-parameters" in saved.cells[1].metadata.tags
    assert {cell.metadata.papermill.status for cell in saved.cells} == {"completed"}
    printed = text_of(result.folder, path.name)
    assert f"5 2.0 True {result.folder.resolve()}" in printed  # the kernel works in the folder of the run
    assert sys.executable in printed and "plotly_mimetype" in printed
    import r3lab

    assert r3lab.__file__ in printed  # and imports this r3lab
    assert (result.folder / "made.txt").exists()
    assert result.page is not None and "where am I" in result.page.read_text("utf-8")
    assert [cell["cell"] for cell in result.cells] == [1, 2, 3, 4]
    assert all(cell["seconds"] >= 0 for cell in result.cells)
    assert "cell  2/6  where am I" in capsys.readouterr().out

    stamp = (result.folder / "result.json").stat().st_mtime_ns
    again = run_notebook(path, {"steps": 5, "rate": 2}, tmp_path / "runs", quick=True, resume=True)
    assert again == result
    assert (result.folder / "result.json").stat().st_mtime_ns == stamp


FAILING = {  # second cell, status, words
    "clean exit": ("import sys; sys.exit(0)", "failed", "SystemExit: 0"),
    "killed": ("print(1, flush=True)\nimport os; os.kill(os.getpid(), 9)", "died", "the kernel died"),
}


@pytest.mark.notebook
@pytest.mark.parametrize("case", FAILING)
def test_a_run_that_did_not_finish_says_so_and_keeps_what_there_is(
    tmp_path: Path, case: str, capfd: pytest.CaptureFixture[str]
) -> None:
    fatal, status, words = FAILING[case]
    result = run_notebook(write(tmp_path / "a.ipynb", "x = 1", fatal, "print('after')"), out_root=tmp_path / "runs")
    assert result.status == status == json.loads((result.folder / "result.json").read_text())["status"]
    assert result.error is not None and (result.error["cell"], result.error["source"]) == (2, fatal)
    assert words in result.error["message"] and fatal.splitlines()[-1] in result.describe()
    assert "after\n" not in text_of(result.folder, "a.ipynb")

    saved = nbformat.read(result.folder / "a.ipynb", as_version=4)
    assert "did not finish" in saved.cells[0].source
    marks = [one.metadata.papermill.status for one in saved.cells[1:]]  # papermill writes "completed" after a kill
    assert marks == ["completed", "failed", "pending"]
    assert result.page is not None and "did not finish" in result.page.read_text("utf-8")
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.notebook
def test_the_limit_holds_over_all_cells_and_an_old_result_is_gone(tmp_path: Path) -> None:
    path = write(tmp_path / "a.ipynb", "import time; time.sleep(0.7)", "time.sleep(90)", "print('after')")
    folder = tmp_path / "runs" / "a" / run_key(read_notebook(path), {})
    folder.mkdir(parents=True)
    earlier = Result("a.ipynb", "ok", {}, "0", "", 0.0, [], None)
    (folder / "result.json").write_bytes(earlier.text())  # and not resumed
    start = time.monotonic()
    result = run_notebook(path, out_root=tmp_path / "runs", timeout=6, progress=False)
    assert (result.folder, result.status) == (folder, "timeout")
    assert time.monotonic() - start < 45  # the cells alone would take 90 s
    assert result.error is not None and "6 s for the whole notebook" in result.error["message"]
    assert Result.load(folder) == result and "after\n" not in text_of(folder, "a.ipynb")


@pytest.mark.notebook
@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT for one process")
def test_ctrl_c_stops_the_kernel_and_keeps_the_part(tmp_path: Path) -> None:
    sources = (
        "import os, pathlib\npathlib.Path('pid').write_text(str(os.getpid()))",
        "import time; time.sleep(60)",
    )
    path = write(tmp_path / "a.ipynb", *sources)
    command = [sys.executable, "-m", "r3lab", "run", str(path), "--out", str(tmp_path / "runs")]
    run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert run.stdout is not None
    seen = ""
    while "cell  2/2" not in seen and run.poll() is None:
        seen += run.stdout.read(1)
    time.sleep(0.5)
    run.send_signal(signal.SIGINT)
    out, err = run.communicate(timeout=30)
    assert run.returncode == 130, (out, err)
    assert "Traceback" not in err and "destroyed" not in err, err
    (folder,) = (tmp_path / "runs" / "a").iterdir()
    result = Result.load(folder)
    assert result is not None and result.status == "interrupted"
    assert result.error is not None and result.error["cell"] == 2
    assert result.page is not None
    with pytest.raises(ProcessLookupError):
        os.kill(int((folder / "pid").read_text()), 0)


def test_the_course_goes_on_after_a_failure_and_names_every_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(path: Path, given: None, root: Path, limit: float, quick: bool, resume: bool) -> Result:
        (tmp_path / f"{path.stem}.html").touch()
        error = {"message": "ValueError: no"} if path.name.startswith("01") else None
        return Result(
            path.name,
            "failed" if error else "ok",
            {"quick": quick},
            "",
            "",
            1.0,
            [],
            error,
            tmp_path,
            memory=12 * 10**8,
        )

    monkeypatch.setattr(notebook, "run_notebook", run)
    lessons = tmp_path / "notebooks"
    lessons.mkdir()
    for name in ("02_second", "01_first one", "draft"):
        write(lessons / f"{name}.ipynb")
    results = course(lessons, out_root=tmp_path / "runs")
    assert [(r.notebook, r.status) for r in results] == [("01_first one.ipynb", "failed"), ("02_second.ipynb", "ok")]
    assert all(result.parameters["quick"] for result in results)
    out = capsys.readouterr().out
    assert "ValueError" in out and str(results[1].page) in out
    assert re.search(r"^notebook +status +seconds +peak GB +page\n01_first one.ipynb +failed +1.0 +1.20 ", out, re.M)


def test_a_course_without_notebooks_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(R3labError, match="NN_name.ipynb"):
        course(tmp_path)


# The page.


def test_a_page_fetches_nothing_and_draws_its_formulas() -> None:
    text = (
        r"Let $a_{t} < b$ and" + "\n\n" + r"$$r = \frac{a}{b} \tag{3}$$" + "\n\n" + r"Costs \$5, `$x$`. $\nonsense{1$"
    )
    cells = [nbformat.v4.new_markdown_cell(text), nbformat.v4.new_code_cell("print('$HOME costs $5')")]
    view = {"application/vnd.jupyter.widget-view+json": {"model_id": "0"}, "text/plain": "Slider(value=7)"}
    cells[1].outputs = [nbformat.v4.new_output("display_data", data=view)]
    notebook = nbformat.v4.new_notebook(cells=cells)
    notebook.metadata.widgets = {"application/vnd.jupyter.widget-state+json": {"state": {"0": {}}}}
    page = page_of(notebook, "a name")
    assert "Slider(value=7)" in page and "widgets" in notebook.metadata, "in words, and only on the page"
    assert page.count("<math") == 2 and "<mfrac>" in page and "(3)" in page and "<mo>&lt;</mo>" in page
    assert "<code>$x$</code>" in page and "<code>\\nonsense{1</code>" in page, "what cannot be drawn stands as written"
    assert "$HOME costs $5" in page
    assert not re.search(r"(?:src|href)=\"https?:|unpkg", page) and "MathJax" not in page
    assert "<title>a name</title>" in page


def test_a_long_line_of_a_page_is_not_broken_inside_of_its_words() -> None:
    head = page_of(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1")]), "x").split("<body", 1)[0]
    rules = re.findall(r"\.jp-OutputArea-output pre[^{]*\{([^}]*)\}", head)
    assert "word-break: normal" in rules[-1], "the last rule is the one that holds"


def test_a_progress_bar_is_no_error_and_an_error_is_one() -> None:
    bar = "rollout:   0%|          | 0/80 [00:00<?, ?it/s]\rrollout: 100%|##########| 80/80 [00:12<00:00,  6.46it/s]\n"
    endless = "1" * 300_000  # hours, for an expression that tries each beginning with each end
    for text, pink in ((bar, False), (bar + "UserWarning: no\n", True), ("UserWarning: no\n", True), (endless, True)):
        cell = nbformat.v4.new_code_cell("1", outputs=[nbformat.v4.new_output("stream", name="stderr", text=text)])
        page = page_of(nbformat.v4.new_notebook(cells=[cell]), "x").split("<body", 1)[1]
        assert ("application/vnd.jupyter.stderr" in page) == pink, text


@pytest.mark.parametrize("tex", [r"\nonsense", r"a^b^c", r"x = \madeup{1}"])
def test_a_formula_that_is_not_known_is_an_error_that_shows_it(tex: str) -> None:
    with pytest.raises(R3labError, match="cannot be drawn") as error:
        mathml(tex)
    assert tex.replace("\\", "\\\\") in str(error.value) or tex in str(error.value)
