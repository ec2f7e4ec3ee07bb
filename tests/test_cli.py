"""The command line passes on what it was given, and turns what a user can mend into one line and code 2."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Annotated, Literal

import pytest
from sweep_fake import lesson

from r3lab import __version__
from r3lab.cli import COMMANDS, main
from r3lab.cli.doctor import Check
from r3lab.core.errors import R3labError
from r3lab.core.settings import at_least, from_command_line, setting
from r3lab.run.notebook import Result


def fake(monkeypatch: pytest.MonkeyPatch, name: str, function: str, call: object) -> None:
    """Put a module in the place of the one that a command imports when it is wanted."""
    module = ModuleType(name)
    setattr(module, function, call)
    monkeypatch.setitem(sys.modules, name, module)


def printed(code: str) -> tuple[str, set[str]]:
    """What a Python of its own prints for this code, and the modules that it has loaded then."""
    code = f"import sys; from r3lab.cli import COMMANDS, main; {code}; print(*sys.modules, file=sys.stderr)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return run.stdout, set(run.stderr.split())


def test_the_list_of_commands_is_there_at_once() -> None:
    page, loaded = printed("main(['--help'])")
    assert not {"torch", "transformers", "numpy", "PIL", "matplotlib", "nbformat", "papermill", "argparse"} & loaded
    groups = re.findall(r"^([a-z ]+):\n", page, re.M)
    assert groups == ["ask and explain", "train", "data", "measure", "show", "notebooks"]
    assert all(re.search(rf"^  {name} +{re.escape(one.about)}$", page, re.M) for name, one in COMMANDS.items())


def test_every_command_shows_its_options_defaults_and_an_example() -> None:
    """And loads nothing for it that takes seconds."""
    pages, loaded = printed(r"[print(main([*name.split(), '--help']), end='\f') for name in COMMANDS]")
    assert not {"torch", "transformers", "accelerate", "nbformat", "papermill", "distributed"} & loaded
    *told, rest = pages.split("\f")
    assert rest == ""
    for name, page in zip(COMMANDS, told, strict=True):
        assert page.startswith(f"usage: r3lab {name} ") and page.endswith("\n0")
        assert re.search(rf"^example: .*r3lab {name}", page, re.M) or name == "doctor"
        words = " ".join(page.split())
        assert not re.search(r"--[a-z-]+ (int|float|str)\b", words), "a type says less than choices or what is counted"
        assert "(default: None)" not in words and "==SUPPRESS==" not in words


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"r3lab {__version__}\n"
    assert main(["train", "--help"]) == 0
    page = capsys.readouterr().out
    assert all(f"  {name} " in page for name in COMMANDS if name.startswith("train ")) and "  ask " not in page


@dataclass(frozen=True)
class Settings:
    """Of a made-up command."""

    steps: int = setting(3, "how many")
    kind: str = setting("b", "which one", ("a", "b"))
    loud: bool = setting(False, "say it")
    rate: float = setting(0.0, "100 % of it")


def test_one_reader_reads_settings_and_says_choices_and_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    assert from_command_line(Settings, ["--kind", "a", "--loud"], "x", "y") == Settings(kind="a", loud=True)
    with pytest.raises(SystemExit) as leave:
        from_command_line(Settings, ["--help"], "r3lab x", "About it.", "r3lab x --steps 4")
    page = capsys.readouterr().out
    assert leave.value.code == 0 and page.endswith("\nexample: r3lab x --steps 4\n")
    for line in ("--steps N", "how many (default: 3)", "--kind {a,b}", "--rate X", "100 % of it (default: 0.0)"):
        assert line in page, line
    for given, words in (
        (["--kidn", "a"], "'--kidn'. Did you mean '--kind'?"),
        (["--step", "4"], "'--step'"),
        (["9"], "'9'"),
    ):
        with pytest.raises(SystemExit) as leave:
            from_command_line(Settings, given, "r3lab x", "")
        err = capsys.readouterr().err
        assert leave.value.code == 2 and words in err and err.startswith("r3lab x: error: ") and err.count("\n") == 1


def test_the_package_runs_as_a_module() -> None:
    run = subprocess.run([sys.executable, "-m", "r3lab", "--version"], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout) == (0, f"r3lab {__version__}\n")


def wide(
    first: str, rest: Sequence[str] = (), *, names: Sequence[Literal["a", "b"]] = (), x: Sequence[str] = (),
    box: tuple[int, int] = (1, 2), size: Annotated[int, at_least(1, int, 9)] | None = None, from_: str = "",
    quiet: bool = False, held: Settings, out: str, arguments: Sequence[str] = (),
) -> dict:  # fmt: skip
    """Say what came.

        r3lab wide here -x 1

    Parameters
    ----------
    first : the first word,
        in two lines
    names, from_ : 100 % of them
    held : not shown
    """
    return dict(locals())


def test_a_function_is_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    """Parameters of every kind: positional, many, choices, one letter, fixed number, bounds, switch, a dataclass."""
    usual = {"rest": (), "names": (), "x": (), "box": (1, 2), "size": None, "from_": "", "quiet": False}
    given = ["here", "--out", "o"]
    assert from_command_line(wide, given, "r3lab wide") == {
        "first": "here", **usual, "held": Settings(), "out": "o", "arguments": given,
    }  # fmt: skip
    words = "here a b --names a b --names a -x 1 -x 2 --box 3 4 --size 9 --from f --quiet -o o --steps 7"
    found = from_command_line(wide, words.split(), "r3lab wide")
    assert (found["rest"], found["names"], found["x"]) == (["a", "b"], ["a", "b", "a"], ["1", "2"])
    assert (found["size"], found["box"], found["from_"], found["quiet"]) == (9, [3, 4], "f", True)
    assert found["held"] == Settings(steps=7)
    for wrong, told in (
        ("here", "--out"),
        ("here -o o --names c", "invalid choice: 'c'"),
        ("here -o o --size 10", "'10' is not a whole number from 1 to 9"),
        ("here -o o --box 3", "expected 2 arguments"),
        ("here -o o --rate high", "'high'"),
        ("here -o o --quite", "Did you mean '--quiet'?"),
    ):
        with pytest.raises(SystemExit) as leave:
            from_command_line(wide, wrong.split(), "r3lab wide")
        err = capsys.readouterr().err
        assert leave.value.code == 2 and told in err and err.count("\n") == 1, err
    with pytest.raises(SystemExit):
        from_command_line(wide, ["--help"], "r3lab wide")
    page = " ".join(capsys.readouterr().out.split())
    assert "Say what came." in page and "the first word, in two lines" in page and page.endswith("r3lab wide here -x 1")
    assert "--names {a,b} [{a,b} ...] 100 % of them" in page and "(default: 1 2)" in page and "--arguments" not in page


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["look"],
        ["ask", "i.png"],
        ["ask", "i.png", "why?", "--temperature", "warm"],
        ["ask", "i.png", "why?", "--temperature", "nan"],
        ["ask", "i.png", "why?", "--temperature", "-1"],
        ["ask", "i.png", "why?", "--max-looks", "-1"],
        ["ask", "i.png", "why?", "--max-looks", "1.5"],
        ["ask", "i.png", "why?", "--seed", "-1"],
        ["ask", "i.png", "why?", "--loud"],
        ["train", "huge"],
        ["run", "a.ipynb", "--quick", "--full"],
        ["run", "a.ipynb", "--timeout", "0"],
        ["doctor", "who"],
    ],
)
def test_wrong_arguments_end_with_code_2(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and "r3lab" in captured.err and "Traceback" not in captured.err


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (R3labError("The image\nis empty."), 2, "r3lab: error: The image is empty.\n"),
        (FileNotFoundError(2, "No such file", "a.png"), 2, "r3lab: error: [Errno 2] No such file: 'a.png'\n"),
        (KeyboardInterrupt(), 130, "r3lab: interrupted\n"),
    ],
)
def test_what_the_user_can_mend_is_one_line(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    code: int,
    line: str,
) -> None:
    def ask(image: str, question: str) -> int:
        raise error

    fake(monkeypatch, "r3lab.cli.ask", "ask", ask)
    assert main(["ask", "i.png", "why?"]) == code
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", line)


def test_a_missing_package_is_named_and_a_bug_keeps_its_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "r3lab.cli.ask", None)  # the import system's mark for "cannot be imported"
    assert main(["ask", "i.png", "why?"]) == 2
    assert "'r3lab.cli.ask' is missing" in capsys.readouterr().err

    def ask(image: str, question: str) -> int:
        raise ValueError("our own mistake")

    fake(monkeypatch, "r3lab.cli.ask", "ask", ask)
    with pytest.raises(ValueError, match="our own mistake"):
        main(["ask", "i.png", "why?"])


PARAMETERS = "steps = 3\nquick = False\nname = 'x'"


@pytest.mark.parametrize(
    ("options", "given", "quick"),
    [
        ([], {}, None),
        (["--quick"], {}, True),
        (["--full", "-p", "steps=9", "-p", "name=1"], {"steps": 9, "name": "1"}, False),
        (["-p", "steps=-4"], {"steps": -4}, None),
    ],
)
def test_run_reads_parameters_by_the_notebook(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], given: dict, quick: bool | None
) -> None:
    seen: list[tuple] = []

    def run(path: str, parameters: dict, *args: object, quick: bool | None, resume: bool) -> Result:
        seen.append((parameters, quick))
        return Result("a.ipynb", "ok", {}, "0", "", 0.0, [], None)

    monkeypatch.setattr("r3lab.run.notebook.run_notebook", run)
    assert main(["run", str(lesson(tmp_path / "a.ipynb", parameters=PARAMETERS)), *options]) == 0
    assert seen == [(given, quick)]


def test_run_refuses_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, runs = str(lesson(tmp_path / "a.ipynb", parameters=PARAMETERS)), ["--out", str(tmp_path / "runs")]
    bad: dict[str, list[str]] = {
        "Did you mean 'steps'": [path, "-p", "step=9"],
        "wanted int": [path, "-p", "steps=many"],
        "Cannot read": [str(tmp_path / "none.ipynb")],
        "is not a notebook": [__file__],
    }
    for words, argv in bad.items():
        assert main(["run", *argv, *runs]) == 2
        err = capsys.readouterr().err
        assert words in err and err.startswith("r3lab: error: ") and err.count("\n") == 1
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("statuses", "code"),
    [
        (["ok", "ok"], 0),
        (["failed", "ok"], 1),
        (["ok", "died"], 1),
        (["ok", "timeout"], 1),
        (["ok", "interrupted"], 130),
    ],
)
def test_the_code_says_how_the_course_went(monkeypatch: pytest.MonkeyPatch, statuses: list[str], code: int) -> None:
    results = [Result("a.ipynb", status, {}, "0", "", 0.0, [], None) for status in statuses]
    monkeypatch.setattr("r3lab.run.notebook.course", lambda *args: results)
    assert main(["course"]) == code


OK, NOTE = Check("numpy", "2.0"), Check("threads", "1 of 2", "note", "unset it")
MISSING = Check("torch", "none", "missing", "install it")


@pytest.mark.parametrize(
    ("checks", "code", "words"),
    [
        ([OK, NOTE], 0, ["-> unset it", "Everything essential is there."]),
        ([OK, MISSING, NOTE], 1, ["-> install it", "Missing: torch."]),
    ],
)
def test_doctor_fails_only_for_essentials(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    checks: list[Check],
    code: int,
    words: list[str],
) -> None:
    monkeypatch.setattr("r3lab.cli.doctor.doctor", lambda: checks)
    assert main(["doctor"]) == code
    out = capsys.readouterr().out
    assert all(word in out for word in words)


def test_doctor_names_the_policies_that_are_missing_and_what_makes_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from r3lab.cli.doctor import doctor

    monkeypatch.setenv("R3LAB_ASSETS", str(tmp_path))
    found = [check for check in doctor() if check.name == "tiny policy"]
    assert len(found) == 3 and all(check.state == "note" for check in found)
    [whole] = [check for check in found if "four worlds" in check.found]
    assert "r3lab train worlds" in whole.mend and str(tmp_path / "worlds" / "rgrpo") in whole.found
    assert all("r3lab train tiny" in check.mend for check in found if check is not whole)


def test_doctor_finds_what_is_missing_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from r3lab.cli.doctor import doctor

    wanted = ["pillow>=1", "numpy<1", "no-such-package>=2", "no-such-extra; extra == 'scale'"]
    monkeypatch.setenv("R3LAB_ASSETS", str(tmp_path / "nowhere"))
    monkeypatch.setattr("r3lab.cli.doctor.metadata.requires", lambda name: wanted)
    found = {check.name: check for check in doctor()}
    assert found["pillow"].state == "ok" and found["device"].found.split(":")[0] in ("cpu", "cuda", "mps")
    assert found["no-such-package"].state == "missing" and found["no-such-package"].mend
    assert found["numpy"].mend == "python -m pip install 'numpy<1'" and "no-such-extra" not in found
    assert found["assets"].state == "missing" and "R3LAB_ASSETS" in found["assets"].mend
