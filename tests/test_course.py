"""The notebooks as lessons: what each must have, and that every check of an exercise diagnoses. No policy is needed."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from importlib import import_module
from math import cos, exp, pi, sqrt
from pathlib import Path
from statistics import mean
from typing import Any

import nbformat
import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pad_sequence

from r3lab import course
from r3lab.core.errors import R3labError
from r3lab.core.geometry import fit_tokens, iou, zoom_factor
from r3lab.course import missed
from r3lab.course.judge import NOT_YET, OURS, RIGHT, Exercise, Prediction, judge
from r3lab.run.notebook import parameters_of, tags
from r3lab.train import objective

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


def test_notebooks_are_linted_and_formatted() -> None:
    for command in (["check"], ["format", "--check"]):
        ran = subprocess.run(
            [sys.executable, "-m", "ruff", *command, *map(str, NOTEBOOKS)], cwd=ROOT, capture_output=True, text=True
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr


def test_what_lessons_take_of_a_room_is_there_whatever_was_imported_before() -> None:
    """A name of a room, or one of its modules: a module that some other import happens to load is not enough."""
    for lesson in NOTEBOOKS:
        cells = nbformat.read(lesson, 4).cells
        code = "\n".join(cell.source for cell in cells if cell.cell_type == "code")
        for room, name in {
            *re.findall(r"(?<![\w.])(core|explain|models|recipes|rollout|show|train|vlir)\.(\w+)", code)
        }:
            homes = import_module(f"r3lab.{room}").HOMES
            modules = {home.partition(".")[0] for home in homes.values()}
            assert name in homes or name in modules, f"{lesson.name}: {room}.{name}"


def test_no_function_is_defined_in_two_notebooks() -> None:
    home: dict[str, str] = {}
    for name in BOOKS:
        for cell in code_cells(name):
            if "exercise" in tags(cell):
                continue
            tree = ast.parse(cell.source)
            methods = {one for node in ast.walk(tree) if isinstance(node, ast.ClassDef) for one in node.body}
            for node in ast.walk(tree):
                if isinstance(node, ast.FunctionDef | ast.ClassDef) and node not in methods:
                    assert home.setdefault(node.name, name) == name, f"move {node.name} into r3lab"


@every_notebook
def test_files_that_a_lesson_names_exist(name: str) -> None:
    named = re.findall(r"`(r3lab/[\w/]+\.py|[\w]+\.ipynb)`", "\n".join(c.source for c in BOOKS[name].cells))
    for file in named:
        assert (ROOT / file).is_file() or (ROOT / "notebooks" / file).is_file(), file


REWRITTEN = [
    "00_start_here",
    "01_look_again",
    "02_rgrpo",
    "03_building_vlir",
    "04_cold_start",
    "05_attention_maps",
    "06_explaining_looks",
    "07_rgrpo_in_depth",
    "08_ablations",
    "09_your_own",
]  # lessons whose cells read like prose


@pytest.mark.parametrize("name", REWRITTEN)
def test_the_cells_of_a_lesson_are_few_lines_and_what_they_import_fewer(name: str) -> None:
    """At most eight lines of import in the set-up, and no plotting code."""
    setup, *others = [cell for cell in code_cells(name) if "parameters" not in tags(cell)]
    assert sum(bool(re.match(r"(import|from) ", line)) for line in setup.source.splitlines()) <= 8
    for cell in (setup, *others):
        lines = [line for line in cell.source.splitlines() if line]
        assert len(lines) <= 45, cell.id
        assert "matplotlib" not in cell.source and "axes." not in cell.source, cell.id


@pytest.mark.parametrize("name", REWRITTEN)
def test_marks_of_the_protocol_are_written_so_that_a_page_shows_them(name: str) -> None:
    """`<think>` outside of code is a tag of HTML, which vanishes."""
    for cell in BOOKS[name].cells:
        if cell.cell_type == "markdown":
            bare = re.sub(r"```.*?```|`[^`]*`", "", cell.source, flags=re.S)
            assert not re.search(r"</?(think|answer)>", bare), cell.id


MINUTES_A_STAR = 4  # to try, to be told, and to try again
FOLD = re.compile(r"<details>.*?</details>", re.S)


def minutes_of(name: str) -> tuple[float, float]:
    """To read a lesson, at 200 words and 15 lines of code a minute; and its exercises, by their stars."""
    text = "\n".join(FOLD.sub("", cell.source) for cell in BOOKS[name].cells if cell.cell_type == "markdown")
    code = [cell for cell in code_cells(name) if not {"exercise", "check", "parameters"} & set(tags(cell))]
    lines = sum(bool(line.strip()) for cell in code for line in cell.source.splitlines())
    marks = re.findall(r"^### Exercise \d+ (★{1,3}): ", text, re.M)
    stubs = sum("exercise" in tags(cell) for cell in code_cells(name))
    assert len(marks) == stubs, "every exercise says how hard it is: one to three stars"
    return len(text.split()) / 200 + lines / 15, MINUTES_A_STAR * sum(map(len, marks))


@pytest.mark.parametrize("name", REWRITTEN)
def test_the_minutes_that_a_lesson_states_are_those_that_it_takes(name: str) -> None:
    stated = (
        r"^\*\*Time\*\*: (\d+) minutes to read and run \((\d+) of them the cells\), (\d+) more for the \w+ exercises"
    )
    found = re.search(stated, BOOKS[name].cells[0].source, re.M)
    assert found is not None
    whole, run, more = map(int, found.groups())
    read, exercises = minutes_of(name)
    assert abs(whole - read - run) <= 3 and abs(more - exercises) <= 3, (read, run, exercises)


# -- pictures say what they show -----------------------------------------------------------------------------------

VIEWS = {"filmstrip", "curves", "before_after", "sheet", "draw_card", "draw_value", "draw_effects", "draw_grounding"}
VIEWS |= {"group_view", "persistence", "play", "river", "ribbon", "show_explanation", "panels", "bars", "lines"}
VIEWS |= {"browse", "compare", "be_the_policy"}  # calls that make a picture
VIEWS |= {"cells", "dashboard", "draw_when"}


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
    views = {
        node.targets[0].id
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and called(node.value) in VIEWS and isinstance(node.targets[0], ast.Name)
    }
    if isinstance(last, ast.Expr) and isinstance(last.value, ast.Name) and last.value.id not in views:
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
    assert judge(lambda *given: exercise.reference(*given), exercise) == (True, RIGHT)
    for hint, made in exercise.mistakes.items():
        for answer in made:
            assert judge(answer, exercise) == (False, f"not right: {hint}")


# Answers as a student might write them, with words of the hint that each must get: two of each exercise, written apart
# from the mistakes that stand in it, which are judged above.
Wrong = list[tuple[Callable[..., Any], str]]


def share(b: Any, s: Any) -> float:
    return (b[2] - b[0]) * (b[3] - b[1]) / s[0] / s[1]


def kept(n: Any, o: Any, a: Any, low: float, high: float) -> torch.Tensor:
    return torch.min((n - o).exp() * a[:, None], torch.clamp(torch.exp(n - o), 1 - low, 1 + high) * a[:, None])


def per_row(terms: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    return torch.stack([row[keep].mean() for row, keep in zip(terms, mask, strict=True)]).mean()


def averaged(sums: torch.Tensor, mask: torch.Tensor, how: str, length: int) -> torch.Tensor:
    counts = {"token": mask.sum(), "fixed": len(mask) * length}
    return (sums / mask.sum(1).clamp(min=1)).mean() if how == "sequence" else sums.sum() / counts[how]


def keys(record: Any) -> list[str]:
    return [f"{reason['filter']}: {reason['name']}" for reason in record["reasons"]]


def least(found: list[list[Any]]) -> int:
    counts = Counter(key for own in found for key in own)
    return min(range(len(found)), key=lambda i: min(counts[key] for key in found[i]))


def of_kinds(kinds: Any, cut: Any, *wanted: int) -> torch.Tensor:
    rows = [torch.tensor([k in wanted for k in row]) for row in kinds]
    return pad_sequence(rows, batch_first=True) & ~torch.tensor(cut)[:, None]


def seen(looks: Any) -> list[Any]:
    return [box for box, valid in looks if valid]


WRONG: dict[str, Wrong] = {
    "carries_loss": [
        (lambda r: [i for i, kind in enumerate(r["kinds"]) if kind in (2, 3)], "the loop wrote them"),
        (lambda r: [i for i, piece in enumerate(r["pieces"]) if piece != ""], "every token that has text"),
    ],
    "in_overview": [
        (lambda b, s, o: [v / s[k % 2] * 1000 for k, v in enumerate(b)], "from 0 to 1000"),
        (lambda b, s, o: [v * o[0] / s[0] for v in b], "shrink by quite the same factor"),
    ],
    "overview_height": [
        (lambda h, s, o: h * o * o / s / s, "how the area shrinks"),
        (lambda h, s, o: h / s * o / 16, "in image tokens"),
    ],
    "zoom": [
        (lambda b, s: 2 - (share(b, s) - 0.125) / 0.375, "runs on at both ends"),
        (lambda b, s: max(1, 2 - 2 * share(b, s)), "at an area of 0"),
    ],
    "source_pixels": [
        (lambda b, s: [v / s[k % 2] * 1000 for k, v in enumerate(b)], "the way back"),
        (lambda b, s: [int(v * s[k % 2] / 1000) for k, v in enumerate(b)], "you round"),
    ],
    "advantages": [
        (lambda r: (r - r.mean(1)[:, None]) / (r.std(1)[:, None] + 1e-8), "your epsilon is another one"),
        (lambda r: (r - r.mean()) / (r.std(1, keepdim=True) + 1e-4), "so does the mean"),
        (lambda r: (r - r.mean(1)[:, None]) / (r.std(1, unbiased=False)[:, None] + 1e-4), "G - 1"),
    ],
    "clipped_objective": [
        (lambda n, o, a, m, lo, hi: -((kept(n, o, a, lo, hi) * m).sum(1) / m.sum(1)).mean(), "NaN * 0 is NaN"),
        (lambda n, o, a, m, lo, hi: -per_row(kept(n, o, a, lo, lo), m), "symmetric"),
        (lambda n, o, a, m, lo, hi: -kept(n, o, a, lo, hi)[m].mean(), "over all tokens of the batch"),
        (lambda n, o, a, m, lo, hi: -kept(n, o, a, lo, hi).mean(1), "must be one number"),
    ],
    "region_reward": [
        (lambda k, t, n: max([iou(b, t) / 2 for b in k] or [0]) if n else 0, "look everywhere"),
        (lambda k, t, n: 0.5 * bool(k) * n, "any box at all"),
    ],
    "overlapping": [
        (lambda k, m: any(iou(k[i], k[i + 1]) > m for i in range(len(k) - 1)), "the next one"),
        (lambda k, m: any(iou(a, b) > m for a in k for b in k), "repeat itself"),
    ],
    "answered_blind": [
        (lambda r, a, m: r.count(a) / len(r) > m, "are the same answer"),
        (lambda r, a, m: sum(a.lower() in one.lower() for one in r) / len(r) > m, "compare whole answers"),
    ],
    "to_photograph": [
        (lambda b, s: [v * s[k % 2] / 1000 for k, v in enumerate(b)], "does not run from 0 to 1000"),
        (lambda b, s: [v * s[0] / fit_tokens(s, 28, 4, 16384)[0] for v in b], "not scaled alike"),
    ],
    "rarest": [
        (lambda k: least([[reason["filter"] for reason in record["reasons"]] for record in k]), "count by both"),
        (lambda k: least([keys(record) for record in k]), "count samples, not reasons"),
    ],
    "interleaved_mask": [
        (lambda p: [n not in ("overview", "crop") for n, k in p for _ in range(k)], "everything that is text"),
        (lambda p: [int(n in ("text", "answer")) for n, k in p for _ in range(k)], "boxes carry no loss"),
    ],
    "next_token": [
        (
            lambda z, i, m: (cross_entropy(z[:, :-1].mT, i[:, 1:], reduction="none") * m[:, 1:]).sum() / m[:, 1:].sum(),
            "NaN * 0 is NaN",
        ),
        (lambda z, i, m: cross_entropy(z[:, :-1][m[:, 1:]], i[:, 1:][m[:, 1:]]).item(), "no gradient flows"),
        (lambda z, i, m: cross_entropy(z[:, :-1].mT, i[:, 1:], reduction="none").mean(1), "must be one number"),
    ],
    "rate": [
        (lambda s, n, w, f: (s + 1) / w if s < w else 1 + (f - 1) * (s - w) / (n - w), "straight line"),
        (lambda s, n, w, f: (s + 1) / w if s < w else (1 + cos((s - w) / (n - w) * pi)) / 2, "Where does `final`"),
    ],
    "missed": [
        (lambda b, i: [b[0] + (1 - i) * (b[2] - b[0]), *b[1:]], "cut or shrunk"),
        (lambda b, i: [round(v) for v in missed(b, i)], "you round"),
    ],
    "times_even": [
        (lambda row, span: max(row[span[0] : span[1]]) * len(row), "its largest weight"),
        (lambda row, span: sum(row[span[0] : span[1] + 1]) * len(row) / (span[1] - span[0]), "half-open"),
    ],
    "cell_box": [
        (lambda n, g, r: [16 * v for v in (n % g[0], n // g[0], n % g[0] + 1, n // g[0] + 1)], "16 pixels a token"),
        (lambda n, g, r: [round(v) for v in TASKS["cell_box"].reference(n, g, r)], "you round"),
    ],
    "percentile": [
        (lambda own, others: sum(o < own for o in others), "that is a count"),
        (lambda own, others: mean(o < own for o in others), "yours is the *worst*"),
    ],
    "change": [
        (lambda own, other, k: sum(exp(v) for v in other[k:]) - sum(exp(v) for v in own[k:]), "probabilities"),
        (lambda own, other, k: exp(sum(other[k:])) / exp(sum(own[k:])), "how many times as likely"),
    ],
    "regret": [
        (lambda worths, taken: max(0, max(worths) - taken) / max(worths), "subtract"),
        (lambda worths, taken: max(range(len(worths)), key=worths.__getitem__), "which window is best"),
    ],
    "from_tint": [
        (lambda t, a: TASKS["from_tint"].reference(t, a) * len(t), "that is a count"),
        (lambda t, a: len(set(t)) / len(t), "*at least* gets right"),
    ],
    "kind": [
        (lambda crop, region, rest: "honest" if crop > 0.5 else "prior-only", "ask for both"),
        (
            lambda crop, region, rest: "honest" if crop > 0.5 else "looks for show" if region > 0.5 else "shortcut",
            "a habit",
        ),
    ],
    "leave_one_out": [
        (lambda r: (r.sum(1, keepdim=True) - r) / (r.shape[1] - 1), "that is the baseline"),
        (lambda r: r - r.mean(1, keepdim=True), "the rollout's own reward"),
    ],
    "push": [
        (lambda w, a, lo, hi: w * a[:, None] * ((w >= 1 - lo) & (w <= 1 + hi)), "on both sides"),
        (lambda w, a, lo, hi: w * a[:, None] * ~((a[:, None] > 0) & (w > 1 + hi)), "only the upper"),
    ],
    "loss_mask": [
        (lambda k, c: of_kinds(k, c, 2), "a column too many"),
        (lambda k, c: of_kinds(k, c, 2, 3)[:, 1:], "the environment's lines"),
    ],
    "aggregate": [
        (lambda v, m, how, n: ((v * m).sum(1) / m.sum(1).clamp(min=1)).mean(), "you do the same"),
        (lambda v, m, how, n: averaged((v * m).sum(1), m, how, n), "NaN * 0 is NaN"),
        (lambda v, m, how, n: TASKS["aggregate"].reference(v, m, how, 1 if how == "fixed" else n), "does not know it"),
    ],
    "region_checked": [
        (
            lambda k, t, r: r * iou(seen(k)[-1], t) / 2 - 0.1 * (len(k) - len(seen(k))) if seen(k) else -0.1 * len(k),
            "repeats another costs nothing",
        ),
        (lambda k, t, r: (r * iou(seen(k)[-1], t) / 2 if seen(k) else 0) - 0.1 * max(0, len(k) - 1), "something new"),
    ],
    "seed_interval": [
        (lambda v, t: np.mean(v) + np.array((-t, t)) * np.std(v, ddof=1), "*single runs* scatter"),
        (lambda v, t: np.mean(v) + np.array((-t, t)) * np.var(v, ddof=1) / sqrt(len(v)), "that is the variance"),
    ],
    "paired": [
        (lambda f, o: (np.mean(np.subtract(f, o)), np.std(np.subtract(f, o), ddof=1) / sqrt(len(f))), "below zero"),
        (lambda f, o: (np.mean(np.subtract(o, f)), np.std(np.subtract(o, f)) / sqrt(len(f))), "n - 1 below"),
    ],
    "as_expected": [
        (lambda v, new, t: abs(new - np.mean(v)) / np.std(v, ddof=1) <= t / sqrt(len(v)), "interval of the *mean*"),
        (lambda v, new, t: abs(new - np.mean(v)) / np.std(v, ddof=1) <= t, "you take the mean for known"),
    ],
    "at_grounding": [
        (lambda a, b, p: p * np.sum(a) + (1 - p) * np.sum(b), "that is a count"),
        (lambda a, b, p: np.mean([*a[: round(p * len(a))], *b[round(p * len(b)) :]]), "the first samples"),
    ],
    "tokens_needed": [
        (lambda h, r, s, f: s[0] / f * s[1] / f * min(1, r / h), "both sides shrink"),
        (lambda h, r, s, f: s[0] / f * s[1] / f, "not made smaller at all"),
    ],
    "as_region": [
        (lambda a, s: [v / s[k % 2] for k, v in enumerate(TASKS["as_region"].reference(a, s))], "of the image"),
        (lambda a, s: TASKS["as_region"].reference(a, s[::-1]), "x goes with the width"),
    ],
    "cache_bytes": [
        (lambda t, n, k, d, e: 2 * t**2 * n * k * d * e, "not with their square"),
        (lambda t, n, k, d, e: 2 * t * n * k * d * e / 1024**3, "in MiB or GiB"),
    ],
}


@pytest.mark.parametrize("task", TASKS)
def test_a_wrong_answer_is_named_however_it_is_written(task: str) -> None:
    assert len(WRONG[task]) >= 2
    for answer, words in WRONG[task]:
        passed, said = judge(answer, TASKS[task])
        assert not passed and words in said, said
        assert said.startswith("not right: ") and len(said.splitlines()) == 1


def test_the_librarys_own_function_is_no_answer_and_a_skipped_exercise_leaves_it_to_go_on_with() -> None:
    """A lesson that trains with the answer takes it right or wrong, and the library's where there is none."""
    exercise = TASKS["advantages"]
    assert judge(objective.advantages, exercise) == (False, OURS)
    assert judge(zoom_factor, TASKS["zoom"]) == (False, OURS)
    assert judge(missed, TASKS["missed"]) == (False, OURS), "also where the library's is in the room of the checks"

    def wrong(rewards: torch.Tensor) -> torch.Tensor:
        return rewards

    def skipped(rewards: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError

    assert exercise.chosen(wrong) is wrong and exercise.chosen(skipped) is exercise.reference


def test_a_prediction_is_kept_and_stands_beside_the_result(capsys: pytest.CaptureFixture[str]) -> None:
    Prediction("looks", 0.4).beside(0.07)
    Prediction("looks", None).beside(0.07)
    told = capsys.readouterr().out.splitlines()
    assert told == [
        "guess_looks = 0.4",
        "your guess: 0.4; measured: 0.07 (0.33 too high)",
        "no guess was made; measured: 0.07",
    ]
    for wrong in ("a lot", True, float("nan")):
        with pytest.raises(R3labError, match="a guess is a number"):
            Prediction("looks", wrong)  # type: ignore[arg-type]


UNKNOWN: list[tuple[str, Any, str]] = [
    ("zoom", None, "not yet"),
    ("zoom", 2.0, "not yet"),
    ("zoom", lambda b, s: 1.5, "too small"),
    ("zoom", lambda b, s: b[7], "raises IndexError"),
    ("zoom", lambda b: 2, "raises TypeError"),
    ("zoom", lambda b, s: 2.0 if share(b, s) <= 0.125 else None, "returns nothing"),
    ("zoom", lambda b, s: (min(2, max(1, 2 - (share(b, s) - 0.125) / 0.375)),), "returns shape (1,), wanted ()"),
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
