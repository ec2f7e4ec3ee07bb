"""The notebooks as lessons: what each must have, and that every check of an exercise diagnoses. No policy is needed."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
import torch
from wrong_answers import WRONG, ramp, share

from r3lab import course
from r3lab.course.judge import NOT_YET, RIGHT, Exercise, judge
from r3lab.run.parameters import parameters_of, tags

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
BOOKS = {path.stem: nbformat.read(path, as_version=4) for path in NOTEBOOKS}
every_notebook = pytest.mark.parametrize("name", BOOKS)


def code_cells(name: str) -> list[nbformat.NotebookNode]:
    return [cell for cell in BOOKS[name].cells if cell.cell_type == "code"]


# -- what every lesson has -----------------------------------------------------------------------------------------


def test_the_first_lessons_are_there() -> None:
    assert {"01_look_again", "02_rgrpo", "03_building_vlir"} <= set(BOOKS)


@every_notebook
def test_a_lesson_opens_with_what_it_teaches_and_ends_with_a_summary(name: str) -> None:
    cells = BOOKS[name].cells
    head, end = cells[0], cells[-1]
    assert head.cell_type == end.cell_type == "markdown"
    assert re.match(rf"# {name[:2]} · \S", head.source)
    lines = head.source.splitlines()
    learn = lines.index("**What you will learn**")
    assert sum(line.startswith("- ") for line in lines[learn:]) >= 3
    assert re.search(r"^\*\*Time\*\*: \d+ minutes", head.source, re.M)
    assert re.search(r"^\*\*Prerequisites\*\*: ", head.source, re.M)
    assert "## Summary" in end.source and "## References" in end.source
    assert "section" in end.source.split("## References")[1]


@every_notebook
def test_parameters_are_one_literal_a_line_with_a_comment(name: str) -> None:
    tagged = [cell for cell in BOOKS[name].cells if "parameters" in tags(cell)]
    assert len(tagged) == 1
    for line in tagged[0].source.splitlines():
        assert re.fullmatch(r"[a-z_]+ = \S.*?  # \S.*", line), line
        assert len(ast.parse(line).body) == 1
    declared = parameters_of(BOOKS[name])
    assert list(declared)[0] == "quick" and declared["quick"] is False
    assert len(declared) == len(tagged[0].source.splitlines())
    first_code = code_cells(name)[0]
    assert first_code is tagged[0], "what can be set stands before everything that uses it"


@every_notebook
def test_nothing_is_stored_that_a_run_makes(name: str) -> None:
    for cell in code_cells(name):
        assert cell.outputs == [] and cell.execution_count is None, cell.id
    text = json.dumps(BOOKS[name])
    assert not re.search(r"/(tmp|home|work|root|Users)/", text), "a path of somebody's machine"


@every_notebook
def test_cell_ids_are_stable_and_say_where_they_belong(name: str) -> None:
    nbformat.validate(BOOKS[name])
    ids = [cell.id for cell in BOOKS[name].cells]
    assert len(set(ids)) == len(ids)
    for one in ids:
        assert re.fullmatch(rf"{name[:2]}-[a-z]+-\d\d", one), one


@every_notebook
def test_the_kernel_is_python3_everywhere(name: str) -> None:
    assert BOOKS[name].metadata.kernelspec == {
        "display_name": "Python 3",
        "language": "python",
        "name": "python3",
    }


def test_notebooks_are_linted_and_formatted() -> None:
    for command in (["check"], ["format", "--check"]):
        ran = subprocess.run(
            [sys.executable, "-m", "ruff", *command, *map(str, NOTEBOOKS)], cwd=ROOT, capture_output=True, text=True
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr


def test_no_function_is_defined_in_two_notebooks() -> None:
    home: dict[str, str] = {}
    for name in BOOKS:
        for cell in code_cells(name):
            if "exercise" in tags(cell):
                continue
            for node in ast.walk(ast.parse(cell.source)):
                if isinstance(node, ast.FunctionDef | ast.ClassDef):
                    assert home.setdefault(node.name, name) == name, f"move {node.name} into r3lab"


@every_notebook
def test_files_that_a_lesson_names_exist(name: str) -> None:
    named = re.findall(r"`(r3lab/[\w/]+\.py|[\w]+\.ipynb)`", "\n".join(c.source for c in BOOKS[name].cells))
    for file in named:
        assert (ROOT / file).is_file() or (ROOT / "notebooks" / file).is_file(), file


# -- pictures say what they show -----------------------------------------------------------------------------------

VIEWS = {"filmstrip", "curves", "before_after", "sheet", "draw_card", "draw_value", "draw_effects", "draw_grounding"}
VIEWS |= {"group_view", "persistence", "play", "river", "ribbon", "show_explanation"}  # calls that make a picture


def called(node: ast.AST) -> str:
    if not isinstance(node, ast.Call):
        return ""
    return node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")


def without_words(source: str) -> Iterator[str]:
    """Everything in a cell that shows a figure otherwise than through `Picture(figure, alt)`."""
    tree = ast.parse(source)
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    wrapped = [node.args[0] for node in calls if called(node) == "Picture" and len(node.args) == 2]
    given = {node.id for node in wrapped if isinstance(node, ast.Name)}
    held = {}  # figure-making call -> name that it is assigned to
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and called(node.value) == "Figure" and isinstance(node.targets[0], ast.Name):
            held[node.value] = node.targets[0].id
    for node in calls:
        if called(node) == "Figure" and node not in wrapped and held.get(node) not in given:
            yield "Figure without Picture"
        if called(node) == "Picture" and len(node.args) != 2:
            yield "Picture without alt text"
        if called(node) == "display" and not all(called(a) in {"Picture", "Markdown", *VIEWS} for a in node.args):
            yield "display of something else"
        if called(node) in ("show", "Image"):
            yield called(node)
    if re.search(r"pyplot|%matplotlib", source):
        yield "pyplot"
    last = tree.body[-1] if tree.body else None
    if isinstance(last, ast.Expr) and isinstance(last.value, ast.Name):
        yield f"bare {last.value.id}"


@every_notebook
def test_every_picture_has_alt_text(name: str) -> None:
    for cell in code_cells(name):
        assert not list(without_words(cell.source)), cell.id
    shown = [node for cell in code_cells(name) for node in ast.walk(ast.parse(cell.source))]
    assert sum(called(node) in {"Picture", *VIEWS} for node in shown) >= 5


@pytest.mark.parametrize(
    "source",
    [
        "Figure()",
        "figure = Figure()\nfigure",
        "figure = Figure()\nPicture(other, 'words')",
        "figure = Figure()\nPicture(figure)",
        "display(figure)",
        "import matplotlib.pyplot as plt",
        "from IPython.display import Image\nImage('a.png')",
        "photo.show()",
        "display(filmstrip(t).figure)",
    ],
)
def test_a_picture_without_words_is_found(source: str) -> None:
    assert list(without_words(source))


def test_a_picture_with_words_is_not() -> None:
    for source in ("display(sheet(s))", "f = Figure()\ndisplay(Picture(f, 'a ' + b))", "x = 1\nprint(x)"):
        assert not list(without_words(source)), source


# -- exercises: stub, hint, solution -------------------------------------------------------------------------------

EXERCISES = {
    f"{name}:{cells[i].id}": (cells[i].source, cells[i + 1], cells[i + 2])
    for name, book in BOOKS.items()
    for cells in [book.cells]
    for i, cell in enumerate(cells)
    if "exercise" in tags(cell)
}
every_exercise = pytest.mark.parametrize("at", EXERCISES)


def run_check(source: str, check: nbformat.NotebookNode, capsys: pytest.CaptureFixture[str]) -> tuple[Any, list[str]]:
    """Run an answer and the check cell; returns what the check returned, and the lines that it printed."""
    space: dict[str, Any] = {}
    exec(source, space)
    *before, last = ast.parse(check.source).body
    exec(compile(ast.Module(before, []), "check", "exec"), space)
    assert isinstance(last, ast.Expr)
    capsys.readouterr()
    passed = eval(compile(ast.Expression(last.value), "check", "eval"), space)
    printed = capsys.readouterr()
    assert printed.err == ""
    return passed, printed.out.splitlines()


def solution_of(fold: nbformat.NotebookNode) -> str:
    (code,) = re.findall(r"<summary>Solution</summary>\n\n```python\n(.*?)```", fold.source, re.S)
    return str(code)


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("00_start_here", 2),
        ("01_look_again", 3),
        ("02_rgrpo", 3),
        ("03_building_vlir", 4),
        ("04_cold_start", 4),
        ("05_attention_maps", 3),
        ("06_explaining_looks", 4),
        ("07_rgrpo_in_depth", 5),
        ("08_ablations", 4),
        ("09_your_own", 3),
    ],
)
def test_a_lesson_has_its_exercises(name: str, count: int) -> None:
    assert sum(at.startswith(name) for at in EXERCISES) == count


@every_exercise
def test_an_exercise_has_a_task_a_stub_a_check_and_folds(at: str) -> None:
    stub, check, fold = EXERCISES[at]
    assert "raise NotImplementedError" in stub and '"""' in stub
    assert tags(check) == ["check"] and "from r3lab.course import check_" in check.source
    assert fold.cell_type == "markdown"
    assert fold.source.count("<details>") == fold.source.count("</details>") == 2
    assert fold.source.index("<summary>Hint</summary>") < fold.source.index("<summary>Solution</summary>")
    hint = fold.source.split("<summary>Solution</summary>")[0]
    assert "```" not in hint and "return" not in hint, "a hint is not the solution"


@every_exercise
def test_an_unsolved_exercise_gets_a_friendly_line(at: str, capsys: pytest.CaptureFixture[str]) -> None:
    stub, check, _ = EXERCISES[at]
    for source in (
        stub,
        stub.replace("raise NotImplementedError", "..."),
        stub.replace("raise NotImplementedError", "pass"),
    ):
        assert run_check(source, check, capsys) == (False, [NOT_YET])


@every_exercise
def test_the_folded_solution_passes(at: str, capsys: pytest.CaptureFixture[str]) -> None:
    stub, check, fold = EXERCISES[at]
    solution = solution_of(fold)
    assert run_check(solution, check, capsys) == (True, [RIGHT])
    signature = re.search(r"^def .*:$", stub, re.M)
    assert signature and signature[0] in solution, "stub and solution must have the same signature"


# -- what is diagnosed ---------------------------------------------------------------------------------------------

TASKS: dict[str, Exercise] = {
    name.removeprefix("check_"): getattr(course, name) for name in dir(course) if name.startswith("check_")
}


@pytest.mark.parametrize("task", TASKS)
def test_every_mistake_is_named_with_the_hint_that_stands_at_it(task: str) -> None:
    exercise = TASKS[task]
    assert judge(exercise.reference, exercise) == (True, RIGHT)
    for hint, made in exercise.mistakes.items():
        for answer in made:
            assert judge(answer, exercise) == (False, f"not right: {hint}")


@pytest.mark.parametrize("task", TASKS)
def test_a_wrong_answer_is_named_however_it_is_written(task: str) -> None:
    assert len(WRONG[task]) >= 2
    for answer, words in WRONG[task]:
        passed, said = judge(answer, TASKS[task])
        assert not passed and words in said, said
        assert said.startswith("not right: ") and len(said.splitlines()) == 1


UNKNOWN: list[tuple[str, Any, str]] = [
    ("zoom", None, "not yet"),
    ("zoom", 2.0, "not yet"),
    ("zoom", lambda b, s: 1.5, "too small"),
    ("zoom", lambda b, s: b[7], "raises IndexError"),
    ("zoom", lambda b: 2, "raises TypeError"),
    ("zoom", lambda b, s: 2.0 if share(b, s) <= 0.125 else None, "returns nothing"),
    ("zoom", lambda b, s: (ramp(share(b, s)),), "returns shape (1,), wanted ()"),
    ("zoom", lambda b, s: {"zoom": 2}, "does not return numbers"),
    ("zoom", lambda b, s: float("nan"), "gives nan"),
    ("source_pixels", lambda b, s: b, "too small"),
    ("advantages", lambda r: r.mean(1), "returns shape (3,), wanted (3, 5)"),
    ("advantages", lambda r: r * 0 + 9, "in entry (0, 0) is too large"),
    ("clipped_objective", lambda *a: 1 / 0, "ZeroDivisionError"),
    ("overlapping", lambda boxes, most: len(boxes) > 1, "too large"),
    ("to_photograph", lambda written, source: (0, 0, *source), "too small"),
    ("rarest", lambda rejected: rejected[0]["id"], "does not return numbers"),
]


@pytest.mark.parametrize("case", range(len(UNKNOWN)))
def test_an_answer_that_is_wrong_in_its_own_way_is_told_where(case: int) -> None:
    task, answer, words = UNKNOWN[case]
    passed, said = judge(answer, TASKS[task])
    assert not passed and words in said and len(said.splitlines()) == 1, said


def test_a_check_is_not_fooled_by_an_answer_that_changes_its_arguments() -> None:
    def spoils(r: torch.Tensor) -> torch.Tensor:
        r -= r.mean(1, keepdim=True)
        return r.div_(r.std(1, keepdim=True) + 1e-4)

    assert judge(spoils, TASKS["advantages"]) == judge(spoils, TASKS["advantages"]) == (True, RIGHT)
