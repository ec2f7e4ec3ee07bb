"""The front door: it costs nothing to import, each of its names says what it is, and its examples run."""

from __future__ import annotations

import doctest
import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest
from IPython.core.interactiveshell import InteractiveShell

import r3lab
from r3lab import NAMES
from r3lab.core.errors import R3labError

NO_EXAMPLE = {"R3labError"}  # raised, not called


def documented(name: str) -> object:
    from r3lab.lab import documented

    return documented()[name]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """What every example may use."""
    policy = r3lab.load("rgrpo")
    samples = r3lab.samples("badges", 4)
    folder = tmp_path_factory.mktemp("examples")
    trajectories = policy.rollout(samples, progress=False)
    return {"r3lab": r3lab, "policy": policy, "samples": samples, "trajectories": trajectories, "folder": folder}


def test_importing_it_loads_nothing_heavy() -> None:
    heavy = ("torch", "transformers", "numpy", "PIL", "matplotlib")
    code = f"import sys, r3lab; print([m for m in {heavy} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_it_has_about_thirty_names_and_lists_them() -> None:
    assert 25 <= len(NAMES) <= 45
    assert set(NAMES) <= set(dir(r3lab))
    with pytest.raises(AttributeError, match="no attribute 'lode'"):
        _ = r3lab.lode


@pytest.mark.parametrize("name", NAMES)
def test_each_name_is_there_and_says_what_it_is(name: str) -> None:
    text = inspect.getdoc(documented(name)) or ""
    assert len(text) > 20, name
    assert name in NO_EXAMPLE or ">>> " in text, f"{name} has no example"


@pytest.mark.parametrize("name", [n for n in NAMES if n not in NO_EXAMPLE])
def test_examples_run(name: str, made: dict[str, object]) -> None:
    source = inspect.getdoc(documented(name)) or ""
    test = doctest.DocTestParser().get_doctest(source, dict(made), name, None, None)
    said: list[str] = []
    result = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test, out=said.append)
    assert result.attempted and not result.failed, "".join(said)


@pytest.mark.parametrize("room", ["core", "explain", "models", "recipes", "show", "train", "vlir"])
def test_what_a_room_opens_is_there_and_no_module(room: str) -> None:
    """A name that a module of the room has too would be that module for whoever imported it before."""
    package = importlib.import_module(f"r3lab.{room}")
    folder = Path(package.__file__).parent
    for name, home in package.HOMES.items():
        assert getattr(package, name) is getattr(importlib.import_module(f"r3lab.{room}.{home}"), name)
        assert not (folder / f"{name}.py").exists() and not (folder / name).exists()


def test_a_room_that_is_a_verb_is_a_room_still() -> None:
    import r3lab.train.rgrpo as loop

    assert callable(r3lab.train) and r3lab.train.rgrpo is loop
    assert callable(r3lab.explain) and r3lab.explain.__path__


@pytest.mark.parametrize(
    ("call", "wanted"),
    [
        (lambda p: r3lab.load("cold-strat"), "Did you mean 'cold-start'"),
        (lambda p: r3lab.samples("badgers"), "badges"),
        (lambda p: r3lab.samples("badges", 0), "at least 1, got 0"),
        (lambda p: r3lab.train(p, "badges", stepps=3), "unknown setting 'stepps'"),
        (lambda p: r3lab.train(p, r3lab.samples("badges", 2), steps=1), "fewer than the 12 of a step"),
        (lambda p: r3lab.train(p, [], steps=1), "0 samples are fewer"),
    ],
)
def test_what_cannot_be_is_said_with_what_was_wanted(call, wanted: str, made: dict[str, object]) -> None:
    with pytest.raises(R3labError, match=wanted):
        call(made["policy"])


def test_the_ten_lines_run_as_they_stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a notebook's shell: those of the module's docstring and more; a record is shown as its filmstrip."""
    monkeypatch.chdir(tmp_path)
    shell = InteractiveShell.instance()
    try:
        lines = """
import r3lab
policy = r3lab.load("cold-start")
samples = r3lab.samples("badges", 200, split="test")[:6]
before = policy.rollout(samples)
r3lab.train(policy, "badges", steps=2, prompts=2, group=2, log=r3lab.live())
after = policy.rollout(samples)
picture = r3lab.compare(before, after)
first = after[0]
why = r3lab.explain(policy, after[0], others=after[1:])
page = r3lab.report(after[:8], "first.html", explanations=[why])
"""
        for line in lines.strip().splitlines():
            shell.run_cell(line).raise_error()
        assert before_summary(shell.user_ns["before"]) == 6
        wrote = [shell.user_ns[part][0].model for part in ("before", "after")]
        assert wrote == ["cold-start", "cold-start after 2 steps of R-GRPO"], "a record says who wrote it"
        for name, word in (("picture", "<img alt="), ("first", "<img alt="), ("why", "<img alt=")):
            bundle, _ = shell.display_formatter.format(shell.user_ns[name])
            assert word in bundle["text/html"] and "image/png" in bundle, name
        page = (tmp_path / "first.html").read_text("utf-8")
        assert shell.user_ns["why"].sentence[:40] in page
    finally:
        InteractiveShell.clear_instance()


def before_summary(rollouts: object) -> object:
    return rollouts.summary()["n"]  # type: ignore[attr-defined]
