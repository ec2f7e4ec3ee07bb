"""The course as its own notebooks describe it: the table of lessons, badges for other machines, and a static site.

The head cell of every notebook says once what stands in the README's table, in the map of notebook 00 and on the site:

    # 01 · Look again
    **In short**: why one look fails, the loop step by step, when the policy looks
    **Time**: 30 minutes to read and run, 20 more for the three exercises.

The badges and the set-up cell for Colab need the address of a public repository, which stands once, in pyproject.toml,
as `Repository` under `[project.urls]`; without one there is neither. `python -m r3lab.run.site notebooks/*.ipynb` puts
both into the notebooks; doing it again changes nothing.

The site is the executed course, as a teacher would publish it: Sphinx with MyST-NB reads the executed notebooks, the
theme is Furo. Nothing is executed here and nothing is fetched when the site is read: formulas are MathML (this module
is the Sphinx extension that draws them), pictures lie beside the pages. Only a course in which every notebook ended
well is published. Simplified: pages are rebuilt every time; a formula that cannot be drawn is an error, and then there
is no site.

    print(lessons_table(read_lessons("notebooks")))
    print(build_site(course("notebooks"), "runs/site"))              # runs/site/index.html opens from disk
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import io
import json
import math
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
from nbconvert.preprocessors import CoalesceStreamsPreprocessor
from nbformat import NotebookNode

from .. import __version__
from ..core.errors import R3labError, shown
from .notebook import Result
from .page import mathml
from .parameters import INJECTED, read_notebook, tags

PATTERN = "[0-9][0-9]_*.ipynb"
SHORT = 200  # characters of what stands in the table
_TITLE = re.compile(r"# (?P<number>\d\d) · (?P<title>\S.*)")
_SHORT = re.compile(r"\*\*In short\*\*: (?P<short>\S.*)")
_TIME = re.compile(r"\*\*Time\*\*: (?P<read>\d+) minutes")
_MORE = re.compile(r"(?P<more>\d+) more")

BRANCH = "main"
GITHUB = re.compile(r"https://github\.com/(?P<owner>[\w.-]+)/(?P<name>[\w.-]+?)(\.git)?/?")
_CELL = """import importlib.util
import subprocess
import sys

if importlib.util.find_spec("r3lab") is None:  # on Colab and the like; where r3lab is, nothing happens
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "git+{url}"], check=True)"""
_PICTURES = {
    "Colab": "https://colab.research.google.com/assets/colab-badge.svg",
    "Binder": "https://mybinder.org/badge_logo.svg",
}
_BADGE = re.compile(r"^\[!\[open in \w+\].*\n\n?", re.M)

MARK = ".r3lab-site"  # in a folder that may be replaced
TITLE = "r3lab: looking again, a course"
STYLE = "course.css"
_RULES = """/* Lines of code have up to 120 characters; the theme's column is made for prose. */
.content pre { font-size: 80%; }
@media (min-width: 110em) { .content { width: 58em; } } /* beside both sidebars */
"""
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
NEEDED = ("sphinx", "myst_nb", "furo")
_INTRO = """# {title}

A course on **VLM-R³**, vision-language models that look again while they reason. Every page is a notebook that was
executed from its first cell to its last, with r3lab {version} in its {setting} setting, on {date}. Exercises are open:
hints and solutions are folded.

{table}

```{{toctree}}
:hidden:

{pages}
```
"""
_SETTINGS = {
    "extensions": ["myst_nb", "r3lab.run.site"],
    "project": TITLE,
    "html_title": TITLE,
    "html_theme": "furo",
    "html_math_renderer": "mathml",
    "html_static_path": ["_static"],
    "html_css_files": [STYLE],
    "html_copy_source": False,
    "html_use_index": False,
    "html_show_sphinx": False,
    "html_show_copyright": False,
    "nb_execution_mode": "off",
    "nb_ipywidgets_js": {},  # otherwise fetched from elsewhere
    "myst_enable_extensions": ["dollarmath", "amsmath"],
    "myst_update_mathjax": False,
    "myst_heading_anchors": 3,
    "suppress_warnings": ["myst.header", "mystnb.unknown_mime_type", "misc.highlighting_failure"],
    "language": "en",
}


@dataclass(frozen=True)
class Lesson:
    """What a notebook says of itself."""

    file: str
    number: str  # two digits
    title: str
    short: str
    read: int  # minutes to read and run
    exercises: int  # minutes more


def read_lesson(path: str | Path) -> Lesson:
    """Read the head cell of a notebook.

    Raises
    ------
    R3labError
        Naming the notebook and the line that it lacks.
    """
    path = Path(path)
    cells = read_notebook(path).cells
    head = cells[0].source if cells and cells[0].cell_type == "markdown" else ""

    def line(pattern: re.Pattern[str], wanted: str) -> re.Match[str]:
        for one in head.splitlines():
            if found := pattern.match(one.strip()):
                return found
        raise R3labError(f"{path.name} has no line `{wanted}` in its first cell; add it, the table is made from it.")

    title = line(_TITLE, f"# {path.name[:2]} · Title")
    short = line(_SHORT, "**In short**: one line of what it is about")["short"].strip()
    time = line(_TIME, "**Time**: N minutes to read and run, M more for the exercises")
    if title["number"] != path.name[:2]:
        raise R3labError(f"{path.name} calls itself {title['number']}; its number and its file's name must agree.")
    if len(short) > SHORT or "|" in short:
        raise R3labError(f"{path.name}: `In short` is {shown(short)}; at most {SHORT} characters, without `|`.")
    more = _MORE.search(time.string)
    return Lesson(
        path.name, title["number"], title["title"], short, int(time["read"]), int(more["more"]) if more else 0
    )


def read_lessons(folder: str | Path) -> list[Lesson]:
    """All lessons of a folder in order.

    Raises
    ------
    R3labError
        If there is none, or one lacks a line of its head.
    """
    paths = sorted(Path(folder).glob(PATTERN))
    if not paths:
        raise R3labError(f"No NN_name.ipynb in {shown(str(folder))}. Give the folder of the course.")
    return [read_lesson(path) for path in paths]


def lessons_table(lessons: Sequence[Lesson], folder: str = "") -> str:
    """Markdown table, a row a lesson; links lead into `folder`, relative to where the table stands."""
    before = f"{folder}/" if folder else ""
    rows = []
    for one in lessons:
        minutes = f"{one.read} + {one.exercises}" if one.exercises else f"{one.read}"
        rows.append(f"| [{one.number} {one.title}]({before}{one.file}) | {minutes} | {one.short} |")
    read, exercises = (sum(getattr(one, name) for one in lessons) for name in ("read", "exercises"))
    hours = f"{len(lessons)} lessons, about {math.ceil((read + exercises) / 60)} h with all exercises."
    head = ["| lesson | minutes | what you see |", "| --- | --- | --- |"]
    return "\n".join([*head, *rows, "", f"Minutes: to read and run, + for the exercises. {hours}"])


def repository(pyproject: Path) -> str | None:
    """The public address of the project, as pyproject.toml has it; None where it has none."""
    section = re.search(r"^\[project\.urls\]\n(.*?)(?=^\[|\Z)", pyproject.read_text(encoding="utf-8"), re.M | re.S)
    found = section and re.search(r'^repository\s*=\s*"([^"]+)"', section[1], re.M | re.I)
    return found[1] if found else None


def setup_cell(url: str) -> str:
    """Source of the cell that installs r3lab where it is not there; it does nothing anywhere else."""
    return _CELL.format(url=url)


def badges(url: str, file: str) -> str:
    """Markdown of the badges of a notebook: Colab and Binder.

    Parameters
    ----------
    url
        Of a repository on GitHub, which is where both look.
    file
        Name of the notebook in the folder `notebooks`.

    Raises
    ------
    R3labError
        If the repository is elsewhere.
    """
    found = GITHUB.fullmatch(url)
    if not found:
        raise R3labError(f"Colab and Binder open notebooks of https://github.com/OWNER/NAME, not of {shown(url)}.")
    place = f"{found['owner']}/{found['name']}"
    targets = {
        "Colab": f"https://colab.research.google.com/github/{place}/blob/{BRANCH}/notebooks/{file}",
        "Binder": f"https://mybinder.org/v2/gh/{place}/{BRANCH}?labpath=notebooks%2F{file}",
    }
    return " ".join(f"[![open in {name}]({_PICTURES[name]})]({target})" for name, target in targets.items())


def fitted(notebook: dict[str, Any], file: str, url: str | None) -> dict[str, Any]:
    """A notebook with the set-up cell and badges for `url`, or with neither where it is None.

    Parameters
    ----------
    notebook
        As JSON; it stays as it is.
    """
    made = deepcopy(notebook)
    name = f"{file[:2]}-anywhere-01"
    cells = [cell for cell in made["cells"] if cell["id"] != name]
    head = _BADGE.sub("", "".join(cells[0]["source"]))
    if url is not None:
        title, rest = head.split("\n", 1)
        head = f"{title}\n\n{badges(url, file)}\n{rest}"
        at = next(i for i, cell in enumerate(cells) if "parameters" in cell["metadata"].get("tags", []))
        source = setup_cell(url).splitlines(keepends=True)
        cell: dict[str, Any] = {
            "cell_type": "code",
            "execution_count": None,
            "id": name,
            "metadata": {},
            "outputs": [],
            "source": source,
        }
        cells.insert(at + 1, cell)
    cells[0]["source"] = head.splitlines(keepends=True)
    made["cells"] = cells
    return made


def build_site(results: Sequence[Result], folder: str | Path) -> Path:
    """Build the site of an executed course.

    Parameters
    ----------
    results
        What `notebooks.course` returned.
    folder
        Where to; made anew, or replaced if it holds a site that this function made.

    Returns
    -------
    Path
        Its ``index.html``.

    Raises
    ------
    R3labError
        If a notebook did not end well, the tools are not installed, the folder holds something else, or Sphinx has
        something to complain about.
    """
    failed = [result.notebook for result in results if result.status != "ok"]
    if failed or not results:
        raise R3labError(f"No site: {', '.join(failed) or 'no notebook'} did not end well. `r3lab course` says why.")
    missing = [name.replace("_", "-") for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise R3labError(f"The site needs {', '.join(missing)}: python -m pip install 'r3lab[site]'.")
    target = Path(folder)
    if target.exists() and not (target / MARK).is_file() and (target.is_file() or any(target.iterdir())):
        raise R3labError(f"{shown(str(target))} holds something else than a site; name another folder.")
    try:
        target.absolute().parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.absolute().parent) as work:
            source, made = Path(work) / "source", Path(work) / "made"
            source.mkdir()
            _write_source(results, source)
            _sphinx(source, made, Path(work) / "doctrees")
            shutil.rmtree(made / "_sources", ignore_errors=True)  # empty
            (made / ".nojekyll").touch()  # some hosts leave out folders that begin with an underscore
            (made / MARK).touch()
            shutil.rmtree(target, ignore_errors=True)
            os.replace(made, target)
    except OSError as error:
        raise R3labError(f"Cannot write to {shown(str(target))}: {error.strerror or error}; choose another.") from error
    return target / "index.html"


def _write_source(results: Sequence[Result], source: Path) -> None:
    """The pages as Sphinx wants them: cleaned notebooks, and the first page."""
    lessons = []
    for result in results:
        executed = result.folder / result.notebook
        nbformat.write(cleaned(nbformat.read(executed, as_version=4)), source / result.notebook)
        lessons.append(read_lesson(source / result.notebook))
    quick = [bool(result.parameters.get("quick")) for result in results]
    text = _INTRO.format(
        title=TITLE,
        version=__version__,
        setting="quick" if all(quick) else "full" if not any(quick) else "quick or full",
        date=max(result.started for result in results)[:10],
        table=lessons_table(lessons),
        pages="\n".join([*(Path(one.file).stem for one in lessons), "reference"]),
    )
    (source / "index.md").write_text(text, encoding="utf-8")
    (source / "reference.md").write_text(reference(), encoding="utf-8")
    (source / "_static").mkdir()
    (source / "_static" / STYLE).write_text(_RULES, encoding="utf-8")


def reference() -> str:
    """The front door as a page: each name with its call and its docstring, whose examples a test runs."""
    documented = importlib.import_module("r3lab.lab").documented
    parts = ["# Reference\n\nWhat `import r3lab` offers. Each example is run by a test.\n"]
    for name, held in documented().items():
        try:
            call = re.sub(r"(: |-> )'([^']*)'", r"\1\2", str(inspect.signature(held)))
        except (TypeError, ValueError):  # an enumeration, a module
            call = ""
        parts.append(f"## {name}\n\n```python\nr3lab.{name}{call}\n```\n\n```text\n{inspect.getdoc(held)}\n```\n")
    return "\n".join(parts)


def cleaned(nb: NotebookNode) -> NotebookNode:
    """An executed notebook for readers: printed text in one piece, no cell of injected values, no marks of the run."""
    merge = CoalesceStreamsPreprocessor()
    nb.cells = [cell for cell in nb.cells if INJECTED not in tags(cell)]
    nb.metadata = nbformat.from_dict({"kernelspec": KERNEL, "language_info": {"name": "python"}})
    for index, cell in enumerate(nb.cells):
        cell.metadata = nbformat.from_dict({"tags": tags(cell)})
        if cell.cell_type == "code":
            merge.preprocess_cell(cell, {}, index)
            for output in cell.outputs:  # what no page can use
                if "data" in output:
                    output.data = {
                        kind: data for kind, data in output.data.items() if not kind.startswith("application/")
                    }
    return nb


def _sphinx(source: Path, made: Path, doctrees: Path) -> None:
    from sphinx.application import Sphinx
    from sphinx.errors import SphinxError
    from sphinx.util.docutils import docutils_namespace, patch_docutils

    said = io.StringIO()
    try:
        with patch_docutils(), docutils_namespace():
            app = Sphinx(
                srcdir=source,
                confdir=None,
                outdir=made,
                doctreedir=doctrees,
                buildername="html",
                confoverrides=_SETTINGS | {"exclude_patterns": ["**.ipynb_checkpoints"]},
                status=None,
                warning=said,
            )
            app.build(force_all=True)
    except SphinxError as error:
        raise R3labError(f"The site could not be built: {shown(str(error), 300)}.") from error
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in said.getvalue().splitlines() if line.strip()]
    complaints = [line.replace(str(source), "").lstrip("/") for line in lines]
    if complaints:
        raise R3labError(f"The site has {len(complaints)} fault(s); the first: {shown(complaints[0], 300)}.")


def setup(app: Any) -> dict[str, bool]:
    """Called by Sphinx, to which this module is the extension that draws formulas."""
    from docutils import nodes

    def inline(translator: Any, node: nodes.Element) -> None:
        translator.body.append(mathml(node.astext()))
        raise nodes.SkipNode

    def block(translator: Any, node: nodes.Element) -> None:
        translator.body.append(f'<div class="math" tabindex="0">{mathml(node.astext(), block=True)}</div>')
        raise nodes.SkipNode

    app.add_html_math_renderer("mathml", inline_renderers=(inline, None), block_renderers=(block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def main(arguments: Sequence[str]) -> int:
    """Fit the given notebooks to the address in the pyproject.toml above them."""
    for name in arguments:
        path = Path(name)
        url = repository(path.absolute().parent.parent / "pyproject.toml")
        notebook = fitted(json.loads(path.read_text(encoding="utf-8")), path.name, url)
        path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
