"""The course away from home: Binder, viewers that run nothing; the tables of lessons; the site of the course."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from PIL import Image
from test_packaging import PROJECT

from r3lab.cli import COMMANDS
from r3lab.cli import main as command
from r3lab.core.errors import R3labError
from r3lab.course.tables import filled, main, shipped_tables
from r3lab.run.notebook import PATTERN, Result, lessons_of
from r3lab.run.page import mathml
from r3lab.run.site import build_site, keep_page, lessons_table, read_lesson
from r3lab.show.picture import Picture

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob(PATTERN))
NAMES = ("README.md", "RESULTS.md", "r3lab/README.md", "r3lab/EXTEND.md", "r3lab/run/sweep.md", "notebooks/glossary.md")
PAGES = [ROOT / name for name in NAMES]
GLOSSARY = (ROOT / "notebooks" / "glossary.md").read_text("utf-8")
TERMS = [term.replace(" ", "-") for term in re.findall(r"^## (.+)$", GLOSSARY, re.M)]  # as a page's anchors are called
every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


# -- Binder --------------------------------------------------------------------------------------------------------


def test_binder_takes_torch_first_and_as_pyproject_does() -> None:
    lines = (ROOT / "binder" / "requirements.txt").read_text("utf-8").splitlines()
    wanted = [Requirement(line) for line in lines if line.strip() and not line.startswith("#")]
    declared = {one.name: one for one in map(Requirement, PROJECT["dependencies"])}
    assert wanted[0].name == "torch"
    for one in wanted:
        assert one.specifier == declared[one.name].specifier, f"{one} is not what pyproject.toml says"


def test_binder_has_a_python_that_the_project_takes_and_installs_the_project() -> None:
    version = (ROOT / "binder" / "runtime.txt").read_text("utf-8").strip()
    assert re.fullmatch(r"python-3\.\d+", version)
    assert version.removeprefix("python-") in SpecifierSet(PROJECT["requires-python"])
    build = (ROOT / "binder" / "postBuild").read_text("utf-8")
    assert "pip install --no-cache-dir --editable ." in build and build.rstrip().endswith("r3lab doctor")


# -- viewers -------------------------------------------------------------------------------------------------------


@every_notebook
def test_a_notebook_is_one_for_every_viewer(path: Path) -> None:
    """Format 4.5 with the kernel python3, no state of widgets, no attachments, no picture that must be fetched."""
    nb = nbformat.read(path, as_version=nbformat.NO_CONVERT)
    assert (nb.nbformat, nb.nbformat_minor) == (4, 5)
    assert nb.metadata.kernelspec == {"display_name": "Python 3", "language": "python", "name": "python3"}
    assert set(nb.metadata) == {"kernelspec", "language_info"}
    for cell in nb.cells:
        assert "attachments" not in cell
        if cell.cell_type == "markdown" and not cell.id.endswith("-title-01"):
            assert not re.search(r"!\[[^\]]*\]\(http|<img[^>]*http", cell.source), cell.id


@every_notebook
def test_links_between_notebooks_lead_somewhere(path: Path) -> None:
    for cell in nbformat.read(path, as_version=4).cells:
        for target in re.findall(r"\]\(([^)#\s]+\.ipynb)\)", cell.source):
            assert (path.parent / target).is_file(), target
        for term in re.findall(r"\]\(glossary\.md#([^)\s]*)\)", cell.source):
            assert term in TERMS, f"{term} is no heading of glossary.md"


def test_the_glossary_has_each_term_once_in_order_and_names_lessons() -> None:
    assert len(TERMS) == len(set(TERMS)) > 40
    assert sorted(TERMS, key=lambda term: term.lower().replace("-", "")) == TERMS
    assert set(re.findall(r"\]\(#([^)]*)\)", GLOSSARY)) <= set(TERMS)
    numbers = {path.name[:2] for path in NOTEBOOKS}
    for part in GLOSSARY.split("\n## ")[1:]:
        term, _, said = part.partition("\n")
        (lessons,) = re.findall(r"\[([\d, ]+)\]$", said.strip())
        assert set(lessons.split(", ")) <= numbers, term
        assert 8 < len(said.split()) < 60, term


# -- the tables of lessons -----------------------------------------------------------------------------------------


def test_readme_results_and_the_map_quote_what_was_measured_and_what_the_notebooks_say() -> None:
    """`python -m r3lab.course.tables README.md RESULTS.md notebooks/00_start_here.ipynb` changes nothing; every table
    has one place; prose beside the tables states no share, which nothing would hold."""
    for path in (*PAGES[:2], ROOT / "notebooks" / "00_start_here.ipynb"):
        assert filled(path) == path.read_text("utf-8"), path.name
    text = "".join(path.read_text("utf-8") for path in PAGES[:2])
    marked = re.findall(r"<!-- results: (.*?) -->", text)
    assert sorted(marked) == sorted({**shipped_tables(), "lessons": ""})
    assert "%" not in re.sub(r"<!-- results: .*?<!-- end -->", "", text, flags=re.S)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_and_pictures_of_a_page_are_there(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.S)
    targets = [one for one in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text) if "://" not in one]
    for target in targets:
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_of_a_page_exist_with_their_options(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By `--help` of each; options alone, not what is given for them."""
    said = [line.partition(" #")[0] for line in re.findall(r"^(?:\.venv/bin/)?r3lab .*", page.read_text("utf-8"), re.M)]
    for line in (one.partition(" && ")[0] for one in said):
        words = line.split()[1:]
        name = next(" ".join(words[:n]) for n in (2, 1) if " ".join(words[:n]) in COMMANDS)
        assert command([*name.split(), "--help"]) == 0
        helped = capsys.readouterr().out
        for option in re.findall(r" (--?[a-z][a-z-]*)", line):
            assert re.search(rf"(?<![\w-]){option}(?![\w-])", helped), (line, option)


HEAD = "# {n} · Title {n}\n\nWords.\n\n**In short**: what {n} shows\n\n**Time**: 30 minutes to read, 12 more for it."


def lesson(folder: Path, number: str, head: str = HEAD) -> Path:
    """A notebook with that head cell."""
    cells = [nbformat.v4.new_markdown_cell(head.format(n=number), id=f"{number}-title-01")]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), folder / f"{number}_x.ipynb")
    return folder / f"{number}_x.ipynb"


def test_a_table_has_a_row_a_lesson_with_its_own_words(tmp_path: Path) -> None:
    lesson(tmp_path, "02")
    lesson(tmp_path, "01", HEAD.replace(", 12 more for it", ""))
    table = lessons_table([read_lesson(path) for path in lessons_of(tmp_path)], "there")
    rows = [line for line in table.splitlines() if line.startswith("| [")]
    assert rows == [
        "| [01 Title 01](there/01_x.ipynb) | 30 | what 01 shows |",
        "| [02 Title 02](there/02_x.ipynb) | 30 + 12 | what 02 shows |",
    ]
    assert "2 lessons, about 2 h" in table


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("**In short**: what {n} shows\n", "", r"03_x\.ipynb does not begin with the lines `# NN"),
        ("**Time**", "Time", "does not begin"),
        ("# {n} · Title", "# Title", "does not begin"),
        ("# {n} ·", "# 04 ·", r"03_x\.ipynb calls itself 04"),
        ("what {n} shows", "a | b", "does not begin"),
        ("what {n} shows", "long " * 60, "does not begin"),
    ],
)
def test_a_notebook_that_does_not_say_what_it_is_about_is_named(tmp_path: Path, old: str, new: str, words: str) -> None:
    path = lesson(tmp_path, "03", HEAD.replace(old, new))
    with pytest.raises(R3labError, match=words):
        read_lesson(path)


def test_main_fills_a_marked_cell_and_wants_exactly_one(tmp_path: Path) -> None:
    path = lesson(tmp_path, "00", HEAD + "\n\n<!-- results: lessons -->\nold\n<!-- end -->\nafter")
    before = json.loads(path.read_text("utf-8"))
    assert main([str(path)]) == 0
    (cell,) = json.loads(path.read_text("utf-8"))["cells"]
    text = "".join(cell["source"])
    assert "| [00 Title 00](00_x.ipynb) | 30 + 12 | what 00 shows |" in text and text.endswith("<!-- end -->\nafter")
    assert "old" not in text and {**cell, "source": before["cells"][0]["source"]} == before["cells"][0]
    with pytest.raises(R3labError, match="has 0 cells"):
        filled(lesson(tmp_path, "01"))


# -- the site ------------------------------------------------------------------------------------------------------

FOLD = "<details>\n<summary>Hint</summary>\n\nThink of *both*.\n\n```python\nanswer = 42\n```\n\n</details>"
SUM = "$$L = \\frac{1}{R} \\sum_{i=1}^{R} \\min\\Big(\\rho_i,\\; \\operatorname{clip}(\\rho_i)\\Big) \\tag{5}$$"


def run(folder: Path, number: str, *more: Any, status: str = "ok") -> Result:
    """A notebook as if the course had executed it, and how that ended."""
    folder.mkdir()
    v4 = nbformat.v4
    shown = Picture(Image.new("RGB", (60, 40), "red"), "A red field & <b>words</b>.")
    outputs = [v4.new_output("stream", text="bit by "), v4.new_output("stream", text="bit <script>fired=1</script>\n")]
    outputs.append(v4.new_output("execute_result", data=dict(shown._repr_mimebundle_()), metadata={}))
    outputs.append(v4.new_output("display_data", data={"application/x-own+json": {"a": 1}, "text/plain": "seen"}))
    cells = [
        v4.new_markdown_cell(HEAD.format(n=number)),
        v4.new_code_cell("quick = True", metadata={"tags": ["injected-parameters"]}),
        v4.new_code_cell("print(1)", outputs=outputs, execution_count=1),
        v4.new_markdown_cell(f"## Part\n\nWith $x_i$ and\n\n{SUM}\n\n{FOLD}"),
        *more,
    ]
    nbformat.write(v4.new_notebook(cells=cells), folder / f"{number}_x.ipynb")
    return Result(f"{number}_x.ipynb", status, {"quick": True}, "0", "2026-01-02T03:04:05", 1.0, [], None, folder)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site of two lessons."""
    root = tmp_path_factory.mktemp("site")
    link = nbformat.v4.new_markdown_cell("Next: [the other](02_x.ipynb), on [one word](glossary.md#KL-divergence).")
    results = [run(root / number, number, link) for number in ("01", "02")]
    return build_site(results, root / "out", ROOT / "notebooks")


def test_the_site_has_a_page_a_lesson_and_nothing_that_must_be_fetched(site: Path) -> None:
    first, page = site.read_text("utf-8"), (site.parent / "01_x.html").read_text("utf-8")
    assert 'href="01_x.html"' in first and "what 02 shows" in first and "quick setting, on 2026-01-02" in first
    assert "r3lab.load" in (site.parent / "reference.html").read_text("utf-8")
    assert re.search(r'href="02_x\.html"[^>]*>(<[^>]*>)*the other', page) and "<summary>Hint</summary>" in page
    assert 'href="glossary.html#KL-divergence"' in page and 'href="glossary.html"' in first
    assert 'id="KL-divergence"' in (site.parent / "glossary.html").read_text("utf-8")
    assert 'src="data:image/webp;base64,' in page and 'src="data:image/png' not in page
    assert "<math" in page and "(5)" in page and "MathJax" not in page
    assert "quick = True" not in page and "x-own" not in page
    assert "bit by bit &lt;script&gt;" in page and "<script>fired" not in page
    assert 'alt="A red field &amp; &lt;b&gt;words&lt;/b&gt;."' in page
    for file in site.parent.glob("*.html"):
        fetched = re.findall(
            r'<(?:script|img|link|iframe)\b[^>]*(?:src|href)="(?:https?:)?//[^"]*"', file.read_text("utf-8")
        )
        assert not fetched, (file.name, fetched[:2])


def test_a_site_replaces_only_a_site(tmp_path: Path) -> None:
    result = run(tmp_path / "01", "01")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(R3labError, match="something else than a site"):
        build_site([result], tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")], "nothing half-made stays"


def test_no_site_of_a_course_that_did_not_end_well(tmp_path: Path) -> None:
    results = [run(tmp_path / "01", "01"), run(tmp_path / "02", "02", status="failed")]
    with pytest.raises(R3labError, match="02_x.ipynb did not end well"):
        build_site(results, tmp_path / "out")
    with pytest.raises(R3labError, match="no notebook"):
        build_site([], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_command_makes_a_site_only_of_a_good_course(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    results = [run(tmp_path / "01", "01")]
    monkeypatch.setattr("r3lab.run.notebook.course", lambda *given: results)
    assert command(["course", "--site", str(tmp_path / "out")]) == 0
    assert f"site: {tmp_path / 'out' / 'index.html'}" in capsys.readouterr().out
    assert (tmp_path / "out" / "01_x.html").is_file()
    results.append(run(tmp_path / "02", "02", status="timeout"))
    assert command(["course", "--site", str(tmp_path / "other")]) == 1
    assert not (tmp_path / "other").exists() and (tmp_path / "out" / "01_x.html").is_file()


def test_a_site_with_a_fault_is_not_published(tmp_path: Path) -> None:
    broken = nbformat.v4.new_markdown_cell("See [this](nowhere.ipynb).")
    for number, cell, words in (
        ("02", broken, "nowhere"),
        ("03", nbformat.v4.new_markdown_cell("$\\nonsense$"), "nonsense"),
    ):
        with pytest.raises(R3labError, match=words):
            build_site([run(tmp_path / number, number, cell)], tmp_path / "out")
    with pytest.raises(R3labError, match="glossary"):
        link = nbformat.v4.new_markdown_cell("See [this](glossary.md#look).")
        build_site([run(tmp_path / "04", "04", link)], tmp_path / "out", tmp_path)
    assert not (tmp_path / "out").exists()


def test_a_page_that_is_kept_leads_to_the_notebooks_beside_it(tmp_path: Path) -> None:
    link = nbformat.v4.new_markdown_cell("Next: [the other](02_x.ipynb), on [one word](glossary.md#look).")
    result = run(tmp_path / "01", "01", link)
    page = keep_page(result, tmp_path / "kept.html").read_text("utf-8")
    assert 'href="02_x.ipynb"' in page and 'href="glossary.md#look"' in page and '"r3-site"' not in page
    assert "quick = True" not in page and "image/webp" in page and "<title>01 Title 01" in page
    died = run(tmp_path / "2", "02", status="died")
    for made, file, words in ((result, "kept.txt", "html"), (died, "a.html", "died")):
        with pytest.raises(R3labError, match=words):
            keep_page(made, tmp_path / file)
        assert not (tmp_path / file).exists()


def test_the_page_that_ships_is_small_whole_and_fetches_nothing() -> None:
    """Made by `r3lab run notebooks/02_rgrpo.ipynb --quick --page notebooks/02_rgrpo.html`."""
    path = ROOT / "notebooks" / "02_rgrpo.html"
    page, lesson = path.read_text("utf-8"), read_lesson(path.with_suffix(".ipynb"))
    assert path.stat().st_size < 1_500_000 and page.rstrip().endswith("</html>")
    assert f"<title>{lesson.number} " in page and page.count("data:image/webp") > 3
    assert not re.findall(r'<(?:script|img|link|iframe)\b[^>]*(?:src|href)="(?:https?:)?//[^"]*"', page)
    for target in re.findall(r'href="(?!\w+:|#)([^"#]+)', page):
        assert (path.parent / target).is_file(), target


def test_every_formula_of_the_course_can_be_drawn() -> None:
    count = 0
    for path in NOTEBOOKS:
        for cell in nbformat.read(path, as_version=4).cells:
            if cell.cell_type == "markdown":
                text = re.sub(r"```.*?```|`[^`]*`", "", cell.source, flags=re.S)
                for block, inline in re.findall(r"\$\$(.+?)\$\$|\$([^$\n]+?)\$", text, re.S):
                    assert mathml(block or inline, bool(block)).startswith("<math"), (path.name, cell.id)
                    count += 1
    assert count > 10


@pytest.mark.browser
def test_the_site_opens_from_disk_without_a_network(site: Path, chromium: Any) -> None:
    for width in (1800, 1600, 1200, 375):
        context = chromium.new_context(offline=True, viewport={"width": width, "height": 800})
        page = context.new_page()
        wrong: list[str] = []
        page.on("console", lambda m, wrong=wrong: wrong.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda error, wrong=wrong: wrong.append(str(error)))
        page.on(
            "request", lambda r, wrong=wrong: wrong.append(r.url) if not r.url.startswith(("file:", "data:")) else None
        )
        page.goto(site.as_uri())
        page.click("main a[href='01_x.html']")
        assert page.inner_text("h1").startswith("01 · Title 01")
        shown = page.locator("main img[alt^='A red field']")
        assert shown.evaluate("e => e.naturalWidth") == 60
        assert not page.locator("text=answer = 42").is_visible()
        page.click("summary:has-text('Hint')")
        assert page.locator("text=Think of both").is_visible()
        assert page.locator("math").first.bounding_box()["height"] > 5
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.evaluate("typeof fired") == "undefined" and not wrong, wrong
        context.close()
