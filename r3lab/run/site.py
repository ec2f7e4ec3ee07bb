"""The course as a static site that opens from disk: the table of lessons, a page a lesson, a glossary, a reference.

The head cell of every notebook says once what stands in the README's table, in the map of notebook 00 and on the site:

    # 01 · Look again
    **In short**: why one look fails, the loop step by step, when the policy looks
    **Time**: 30 minutes to read and run, 20 more for the three exercises.

    print(lessons_table([read_lesson(path) for path in lessons_of("notebooks")]))
    print(build_site(course("notebooks"), "runs/site"))              # runs/site/index.html opens from disk
    keep_page(run_notebook("notebooks/02_rgrpo.ipynb", quick=True), "notebooks/02_rgrpo.html")
"""

from __future__ import annotations

import importlib
import inspect
import math
import re
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import NamedTuple

import nbformat
from nbformat import NotebookNode

from .. import __version__
from ..core.errors import R3labError, shown
from ..core.files import whole_folder, write_whole
from .notebook import INJECTED, Result, read_notebook, tags
from .page import page_of, with_small_pictures

SHORT = 200  # characters of what stands in the table
_HEAD = re.compile(  # number, title, what it is about, minutes, minutes more
    rf"""^\#\ (\d\d)\ ·\ (\S[^\n]*) \n(?:.*\n)?
    \*\*In\ short\*\*:\ ([^|\n]{{1,{SHORT}}}) \n(?:.*\n)?
    \*\*Time\*\*:\ (\d+)\ minutes (?:[^\n]*?(\d+)\ more)?""",
    re.S | re.X,
)
_WANTED = f"`# NN · Title`, `**In short**: ...` (at most {SHORT} characters, no `|`), `**Time**: N minutes ..., M more`"
_LINK = re.compile(r"(?<=\]\()(?:([^)\s#]+)\.ipynb|(glossary)\.md)(?=[)#])")
GLOSSARY = "glossary.md"  # beside the notebooks

MARK = ".r3lab-site"  # in a folder that may be replaced
TITLE = "r3lab: looking again, a course"
_INTRO = """# {title}

A course on **VLM-R³**, vision-language models that look again while they reason. Every page is a notebook that was
executed from its first cell to its last, with r3lab {version} in its {setting} setting, on {date}. Exercises are open:
hints and solutions are folded. {glossary}[What `import r3lab` offers](reference.ipynb) has a page too.

{table}
"""
_SITE_STYLE = """<style>
main { max-width: 72em; margin: auto; overflow-wrap: break-word; } main img { max-width: 100%; height: auto; }
main pre, main table { overflow-x: auto; max-width: 100%; }
.r3-site { font: 15px sans-serif; padding: .5em 0 1em; } .r3-site a { display: inline-block; margin-right: 1.2em; }
@media (max-width: 50em) { .jp-InputPrompt, .jp-OutputPrompt, .jp-Collapser { display: none !important; } }
@media (min-width: 110em) { .r3-site { position: fixed; width: 14em; } .r3-site a { display: block; margin: .6em 0; } }
</style>"""


class Lesson(NamedTuple):
    """What a notebook says of itself."""

    file: str
    number: str  # two digits
    title: str
    short: str
    read: int  # minutes to read and run
    exercises: int  # minutes more


def read_lesson(path: str | Path) -> Lesson:
    """Read the head cell of a notebook; an `R3labError` names the notebook that lacks one of its lines."""
    path = Path(path)
    cells = read_notebook(path).cells
    found = _HEAD.match(cells[0].source) if cells and cells[0].cell_type == "markdown" else None
    if found is None:
        raise R3labError(f"{path.name} does not begin with the lines {_WANTED}; the table is made from them.")
    number, title, short, read, more = found.groups()
    if number != path.name[:2]:
        raise R3labError(f"{path.name} calls itself {number}; its number and its file's name must agree.")
    return Lesson(path.name, number, title.strip(), short.strip(), int(read), int(more or 0))


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


def build_site(results: Sequence[Result], folder: str | Path, source: str | Path = "notebooks") -> Path:
    """Build the site of an executed course: a first page with the table of lessons, a page a lesson, the glossary and
    the reference.

    Parameters
    ----------
    results
        What `notebook.course` returned.
    folder
        Where to; made anew, or replaced if it holds a site that this function made.
    source
        Folder of the notebooks; a `glossary.md` in it becomes a page that lessons may link to.

    Returns
    -------
    Path
        Its ``index.html``.

    Raises
    ------
    R3labError
        If a notebook did not end well, the folder holds something else, a link between pages leads nowhere, or a
        formula cannot be drawn; then there is no site.
    """
    failed = [result.notebook for result in results if result.status != "ok"]
    if failed or not results:
        raise R3labError(f"No site: {', '.join(failed) or 'no notebook'} did not end well. `r3lab course` says why.")
    target = Path(folder)
    if target.exists() and not (target / MARK).is_file() and (target.is_file() or any(target.iterdir())):
        raise R3labError(f"{shown(str(target))} holds something else than a site; name another folder.")
    lessons = [read_lesson(result.folder / result.notebook) for result in results]
    quick = [bool(result.parameters.get("quick")) for result in results]
    terms = Path(source) / GLOSSARY
    intro = _INTRO.format(
        title=TITLE,
        version=__version__,
        setting="quick" if all(quick) else "full" if not any(quick) else "quick or full",
        date=max(result.started for result in results)[:10],
        glossary="Terms are explained in the [glossary](glossary.md). " if terms.is_file() else "",
        table=lessons_table(lessons),
    )
    pages = {"index": _text(intro)}
    pages |= {Path(result.notebook).stem: _executed(result) for result in results}
    if terms.is_file():
        pages["glossary"] = _text(terms.read_text("utf-8"))
    pages["reference"] = _text(reference())
    named = {f"{Path(one.file).stem}": f"{one.number} {one.title}" for one in lessons} | {"index": "Start"}
    titles = {name: named.get(name, name.capitalize()) for name in pages}
    with whole_folder(target, replace=True) as made:
        for name, nb in pages.items():
            (made / f"{name}.html").write_text(_site_page(nb, name, titles), encoding="utf-8")
        for mark in (MARK, ".nojekyll"):  # some hosts leave out folders that begin with an underscore
            (made / mark).touch()
    return target / "index.html"


def keep_page(result: Result, file: str | Path) -> Path:
    """Write the page of one executed lesson as it is on the site, to be kept beside its notebook: links lead there.

    Raises
    ------
    R3labError
        If the notebook did not end well, the name is not that of a page, or a formula cannot be drawn.
    """
    file = Path(file)
    if file.suffix != ".html":
        raise R3labError(f"Cannot write a page to {shown(str(file))}: end its name in .html.")
    if result.status != "ok":
        raise R3labError(f"No page to keep: {result.describe()}")
    lesson = read_lesson(result.folder / result.notebook)
    write_whole(file, _page(_executed(result), f"{lesson.number} {lesson.title}").encode("utf-8"))
    return file


def _executed(result: Result) -> NotebookNode:
    """The notebook with its outputs, without the cell of given parameters."""
    nb = nbformat.read(result.folder / result.notebook, as_version=4)
    nb.cells = [cell for cell in nb.cells if INJECTED not in tags(cell)]
    return nb


def _text(markdown: str) -> NotebookNode:
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(markdown)])


def _site_page(nb: NotebookNode, name: str, titles: dict[str, str]) -> str:
    """A notebook as a page of the site: links lead to pages, and every page of the course is one click away."""

    def page(found: re.Match[str]) -> str:
        to = found[1] or found[2]
        if to not in titles:
            raise R3labError(f"{name}.ipynb links to {shown(found[0])}, which is no page of the site.")
        return f"{to}.html"

    for cell in nb.cells:
        if cell.cell_type == "markdown":
            cell.source = _LINK.sub(page, cell.source)
    links = "".join(f'<a href="{to}.html">{escape(title)}</a>' for to, title in titles.items())
    try:
        return _page(nb, titles[name], f'<nav class="r3-site">{links}</nav>')
    except R3labError as error:
        raise R3labError(f"{name}.ipynb: {error}") from None


def _page(nb: NotebookNode, title: str, before: str = "") -> str:
    """A page of the course, with HTML `before` its text."""
    made = with_small_pictures(page_of(nb, f"{title} · {TITLE}", strict=True))
    return made.replace("<main>", f"{_SITE_STYLE}{before}<main>", 1)


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
