"""What a fresh clone and a wheel get: declared packages, found assets, a set-up that runs once."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from r3lab import __version__
from r3lab.core.errors import R3labError
from r3lab.core.files import assets_dir

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pytest brings it where Python has no tomllib

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
NAMES = {"PIL": "pillow", "IPython": "ipython", "distributed": "dask", "markupsafe": "jinja2"}  # import: package
NAMES |= {"jupyter_client": "jupyter-client", "lmms_eval": "lmms-eval", "huggingface_hub": "huggingface-hub"}


def names(requirements: list[str]) -> set[str]:
    """The packages that requirement lines name."""
    return {re.split(r"[\[<>=!~; ]", line)[0] for line in requirements}


def imports(folder: Path) -> dict[str, Path]:
    """Every package that the modules under `folder` import, with a module that does."""
    found: dict[str, Path] = {}
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0]: path for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found[node.module.split(".")[0]] = path
    return found


def test_every_package_that_is_imported_is_declared() -> None:
    extras = PROJECT["optional-dependencies"]
    declared = names(PROJECT["dependencies"]).union(*(names(extras[one]) for one in ("scale", "eval")))
    for name, path in imports(ROOT / "r3lab").items():
        if name != "r3lab" and name not in sys.stdlib_module_names:
            assert NAMES.get(name, name) in declared, f"{path} imports {name}; pyproject.toml does not require it"


def test_the_version_is_written_once() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+\S*", __version__)
    assert "version" in PROJECT["dynamic"] and "version" not in PROJECT


def test_the_wish_in_the_environment_wins_and_must_be_a_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("R3LAB_ASSETS", str(tmp_path))
    assert assets_dir() == tmp_path
    monkeypatch.setenv("R3LAB_ASSETS", str(tmp_path / "none"))
    with pytest.raises(R3labError, match="R3LAB_ASSETS"):
        assets_dir()
    monkeypatch.delenv("R3LAB_ASSETS")
    assert (assets_dir() / "photos").is_dir()


def test_a_wheel_carries_the_assets_and_finds_them_and_an_editable_one_does_not_copy_them(
    tmp_path: Path,
) -> None:
    pytest.importorskip("hatchling", reason="pip install -e '.[test]' brings it")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    shutil.copytree(ROOT / "r3lab", tmp_path / "r3lab", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "assets").mkdir()
    (tmp_path / "assets" / "LICENSES").write_text("all of them")
    (tmp_path / "README.md").touch()
    shutil.copy(ROOT / "LICENSE", tmp_path)
    for kind in ("standard", "editable"):
        build = [sys.executable, "-m", "hatchling", "build", "-t", f"wheel:{kind}", "-d", kind]
        subprocess.run(build, cwd=tmp_path, check=True, capture_output=True)
    (editable,) = (tmp_path / "editable").glob("*.whl")
    with zipfile.ZipFile(editable) as archive:
        assert not [name for name in archive.namelist() if name.startswith("r3lab/")]  # no stale copy of anything
    (wheel,) = (tmp_path / "standard").glob(f"r3lab-{__version__}-*.whl")
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    code = "from r3lab.core.files import assets_dir; print(assets_dir())"
    env = {name: value for name, value in os.environ.items() if name != "R3LAB_ASSETS"} | {"PYTHONPATH": str(site)}
    found = subprocess.run([sys.executable, "-c", code], cwd=site, env=env, capture_output=True, text=True, check=True)
    assert Path(found.stdout.strip()) == site / "r3lab" / "assets"
    assert (site / "r3lab" / "assets" / "LICENSES").read_text() == "all of them"
    (entry,) = site.glob("*.dist-info/entry_points.txt")
    assert "r3lab = r3lab.cli:main" in entry.read_text()
    code = "from r3lab.vlir.worlds import OWN; print(OWN.offered(), OWN.use('diagrams').sample('test', 0).id)"
    found = subprocess.run([sys.executable, "-c", code], cwd=site, env=env, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "{'diagrams': 'r3lab'} diagrams-test-0-0", "a world offered by name needs no more"
    assert "License-Expression: MIT" in (entry.parent / "METADATA").read_text("utf-8")
    assert (entry.parent / "licenses" / "LICENSE").is_file()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A folder with Makefile and pyproject.toml, and a set-up that is newer than both."""
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / ".installed").touch()
    return tmp_path


def plan(tree: Path, target: str) -> str:
    """What make would do."""
    command = ["make", "-n", "--no-print-directory", "-C", str(tree), target]
    env = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
    return subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout


@pytest.mark.skipif(shutil.which("make") is None, reason="no make on this machine")
@pytest.mark.parametrize("target", ["course", "test", "lab"])
def test_set_up_runs_before_every_target_but_only_when_pyproject_changed(tree: Path, target: str) -> None:
    assert "pip install" not in plan(tree, target)
    later = (tree / ".venv" / ".installed").stat().st_mtime + 10
    os.utime(tree / "pyproject.toml", (later, later))
    assert "pip install" in plan(tree, target)


@pytest.mark.skipif(shutil.which("make") is None, reason="no make on this machine")
def test_make_test_lints_formats_types_and_tests(tree: Path) -> None:
    lines = [line.removeprefix(".venv/bin/") for line in plan(tree, "test").splitlines()]
    assert lines[:3] == ["ruff check", "ruff format --check", "mypy r3lab"]
    assert lines[3].startswith("python -m pytest") and len(lines) == 4
    assert ".venv/bin/r3lab course" in plan(tree, "course")


@pytest.mark.parametrize(("script", "words"), [(".ci/run", "make test"), ("binder/postBuild", "pip install")])
def test_scripts_stop_at_the_first_failure(script: str, words: str) -> None:
    path = ROOT / script
    text = path.read_text("utf-8")
    assert text.startswith("#!/usr/bin/env bash\n") and "set -euo pipefail" in text and words in text
    assert os.name == "nt" or os.access(path, os.X_OK), f"chmod +x {script}"


def test_the_tests_that_hold_the_readmes_claims_exist() -> None:
    """Each row of claims.md names tests that are there, or says in words that there is none."""
    rows = re.findall(r"^\| (?!claim \||---)(.+?) \| (.+) \|$", (ROOT / "tests" / "claims.md").read_text("utf-8"), re.M)
    assert len(rows) > 100
    defined: dict[str, set[str]] = {}
    for claim, held in rows:
        named = re.findall(r"`(test_\w+\.py)::(test_\w+)`", held)
        assert named or held.startswith("no test"), f"{claim!r}: name a test, or begin with 'no test'"
        for file, name in named:
            if file not in defined:
                path = ROOT / "tests" / file
                nodes = ast.walk(ast.parse(path.read_text("utf-8"))) if path.is_file() else ()
                defined[file] = {node.name for node in nodes if isinstance(node, ast.FunctionDef)}
            assert name in defined[file], f"{claim!r}: there is no {file}::{name}; name the test that holds it now"


FLOORS = (  # a room knows only the rooms of the floors below its own; those of one floor do not know each other
    ("core",),
    ("trajectory",),
    ("models", "vlir"),
    ("rollout",),
    ("train", "explain"),
    ("evaluate",),
    ("show",),
    ("run", "recipes"),
    ("course", "lab"),
    ("cli",),
)


def test_rooms_know_only_the_rooms_below_them() -> None:
    """By the imports of every module, those inside of functions too; nano imports nothing of r3lab."""
    floor = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
    package = ROOT / "r3lab"
    wrong = []
    for path in sorted(package.rglob("*.py")):
        here = path.relative_to(package).with_suffix("").parts
        if here[0] in ("__init__", "__main__", "nano"):
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.ImportFrom) or not (node.level or (node.module or "").startswith("r3lab.")):
                continue
            up = [*here[: len(here) - node.level], *(node.module or "").split(".")] if node.level else []
            there = [part for part in up if part] or (node.module or "").split(".")[1:]
            rooms = there[:1] if there else [alias.name for alias in node.names]
            for room in rooms:
                if room in floor and room != here[0] and floor[room] >= floor[here[0]]:
                    wrong.append(f"{'/'.join(here)}.py knows {room}")
    assert not wrong, wrong


def test_the_rooms_that_the_readme_names_are_there() -> None:
    """The table of rooms has every room, and nothing else."""
    table = (ROOT / "r3lab" / "README.md").read_text("utf-8").split("## Rooms")[1]
    named = re.findall(
        r"`([\w/.]+)`", " ".join(row.split("|")[1] for row in table.splitlines() if row.startswith("| `"))
    )
    found = {p.name + "/" if p.is_dir() else p.name for p in (ROOT / "r3lab").iterdir() if not p.name.startswith("__")}
    assert sorted(named) == sorted(found - {"nano.py", "assets"})
