"""The executed course as a static site: what a teacher would publish, or hand out on a stick.

Sphinx with MyST-NB reads the executed notebooks, the theme is Furo: a sidebar, a search that needs no server, a dark
mode. Nothing is executed here and nothing is fetched when the site is read: formulas are MathML, pictures lie beside
the pages. Only a course in which every notebook ended well is published. Simplified: pages are rebuilt every time.

    results = course("notebooks")
    print(build_site(results, "runs/site"))              # runs/site/index.html opens from disk
"""

from __future__ import annotations

import importlib.util
import io
import os
import re
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import nbformat
from nbconvert.preprocessors import CoalesceStreamsPreprocessor
from nbformat import NotebookNode

from r3lab import __version__
from r3lab.errors import R3labError, shown
from r3lab.lessons import lessons_table, read_lesson
from r3lab.notebook_parameters import INJECTED, tags
from r3lab.notebooks import Result

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
    "extensions": ["myst_nb", "r3lab.site_math"],
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
        pages="\n".join(Path(one.file).stem for one in lessons),
    )
    (source / "index.md").write_text(text, encoding="utf-8")
    (source / "_static").mkdir()
    (source / "_static" / STYLE).write_text(_RULES, encoding="utf-8")


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
