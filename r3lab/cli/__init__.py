"""The command `r3lab`: a table of commands, each the name of a function whose parameters are its options.

What does the work is imported when it is wanted, so that `r3lab --help` is instant. Codes: 0 done, 1 a
notebook or a check failed, 2 something the user can mend (one line on stderr), 130 interrupted.

    r3lab ask photo.jpg "which digit is on the red circle?"
    r3lab run notebooks/01_look_again.ipynb -p samples=8 --quick
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any, NamedTuple

from .. import __version__
from ..core.errors import R3labError, nearest

ASK, TRAIN, DATA = "ask and explain", "train", "data"
MEASURE, SHOW, NOTEBOOKS = "measure", "show", "notebooks"
TOLD = 20  # things left out that are told one by one


class Command(NamedTuple):
    """Where a command is: a function that returns the exit code; `core.settings` reads its parameters.

    Where the function's module loads torch, which `--help` need not wait for, it takes one dataclass of `settings`.
    """

    group: str
    function: str  # module:name, in r3lab
    about: str
    settings: str = ""  # the same


COMMANDS = {  # one word, or two where several have the first in common
    "ask": Command(ASK, "cli.ask:ask", "Ask the policy about your image and watch its looks."),
    "explain": Command(ASK, "cli.ask:explain", "Say why each look was taken, and whether it mattered."),
    "doctor": Command(ASK, "cli.doctor:report", "Say what this machine has for r3lab, and what is missing."),
    "train tiny": Command(
        TRAIN,
        "recipes.policies:make_tiny",
        "Make the tiny policy of badges from nothing (hours).",
        "recipes.settings:Recipe",
    ),
    "train worlds": Command(
        TRAIN,
        "recipes.policies:make_worlds",
        "Make policies of four worlds, one an arm (hours).",
        "recipes.settings:WorldRecipe",
    ),
    "train further": Command(
        TRAIN,
        "recipes.policies:make_further",
        "Teach the shipped policy a further world, and measure it there (hours).",
        "recipes.settings:FurtherRecipe",
    ),
    "train sft": Command(
        TRAIN, "train.sft:main", "Supervised cold start on VLIR samples.", "train.settings:SftSettings"
    ),
    "train rgrpo": Command(TRAIN, "cli.train:rgrpo", "R-GRPO from a checkpoint.", "train.settings:RgrpoSettings"),
    "train ablations": Command(
        TRAIN,
        "recipes.ablations:make_ablations",
        "The paper's ablations in miniature.",
        "recipes.settings:AblationSettings",
    ),
    "train when": Command(
        TRAIN,
        "recipes.when:make_when",
        "The rules for when to look, compared from one cold start (hours).",
        "recipes.settings:WhenSettings",
    ),
    "worlds": Command(DATA, "cli.vlir:worlds", "List the worlds, or draw samples with their true regions."),
    "annotate": Command(
        DATA, "cli.vlir:annotate", "Draw boxes and write questions on your own pictures, in JupyterLab."
    ),
    "vlir build": Command(DATA, "cli.vlir:build", "Write samples of the worlds with a teacher's rationales."),
    "vlir rationale": Command(DATA, "cli.vlir:rationale", "Have rationales written by a model behind an endpoint."),
    "vlir filter": Command(DATA, "cli.vlir:sift", "Keep the samples that pass all filters; say why others do not."),
    "vlir card": Command(DATA, "cli.vlir:card", "Draw and tabulate what a VLIR folder holds."),
    "vlir convert": Command(DATA, "cli.vlir:convert", "Write records of one format in another."),
    "eval": Command(MEASURE, "cli.evaluate:evaluate", "Measure a policy in several arms, on a benchmark or on worlds."),
    "check": Command(MEASURE, "cli.check:check", "Say what is wrong with a dump of rollouts of another project."),
    "frames": Command(
        MEASURE, "cli.check:frames", "Find in which frame a policy writes boxes, and the setting for it."
    ),
    "report": Command(SHOW, "cli.pages:report", "Write trajectories as one HTML file that opens from disk."),
    "browse": Command(SHOW, "cli.pages:browse", "Write a data set or an evaluation as a page to filter and play."),
    "dashboard": Command(SHOW, "cli.pages:dashboard", "Draw training logs, one or many, as one HTML file."),
    "gallery": Command(SHOW, "cli.pages:gallery", "Draw every view from recorded trajectories into a folder."),
    "run": Command(NOTEBOOKS, "cli.run:run", "Execute a notebook without a screen, into runs/."),
    "course": Command(NOTEBOOKS, "cli.run:course", "Execute the notebooks of the course in order, and print a table."),
    "sweep": Command(NOTEBOOKS, "cli.run:sweep", "Execute a notebook at many points, on machines, into a table."),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Parameters
    ----------
    argv
        Arguments without the program's name; by default those of the process.

    Returns
    -------
    int
        The exit code.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch: spinning threads beside a busy process cost 10x
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")  # some ten microseconds: waiting for each small product costs 2x
    given = list(sys.argv[1:] if argv is None else argv)
    if given[:1] == ["--version"]:
        print(f"r3lab {__version__}")
        return 0
    if given[:1] in (["--help"], ["-h"]):
        print(overview())
        return 0
    try:
        name = next((name for n in (1, 2) if (name := " ".join(given[:n])) in COMMANDS), "")
        return call(name, given[len(name.split()) :]) if name else _unknown(given)
    except SystemExit as leave:  # the reader has said what was wrong, or shown the help
        return int(leave.code or 0)
    except KeyboardInterrupt:
        return _fail("interrupted", 130)
    except ModuleNotFoundError as error:
        return _fail(f"error: the package {error.name!r} is missing. `r3lab doctor` says what to install.", 2)
    except BrokenPipeError:  # whoever read our output has closed it, as `| head` does
        sys.stdout = None  # type: ignore[assignment]
        return 1
    except (R3labError, OSError) as error:
        return _fail(f"error: {' '.join(str(error).split())}", 2)


def call(name: str, arguments: Sequence[str]) -> int:
    """Run a command of the table and let its errors through; the exit code."""
    from ..core.settings import from_command_line

    command, program = COMMANDS[name], f"r3lab {name}"
    if not command.settings:
        return int(from_command_line(_held(command.function), arguments, program))
    settings = from_command_line(_held(command.settings), arguments, program, command.about)
    return int(_held(command.function)(settings))


def _held(place: str) -> Any:
    """What stands at `module:name`."""
    module, _, name = place.partition(":")
    return getattr(import_module(f"r3lab.{module}"), name)


def overview(first: str = "") -> str:
    """The commands in groups, or those that begin with the word `first`."""
    chosen = {name: command for name, command in COMMANDS.items() if not first or name.split()[0] == first}
    lines = [f"usage: r3lab {first or 'COMMAND'} {'STAGE ' * bool(first)}[options]"]
    lines += [] if first else ["", "A lab for vision-language models that look again while they reason."]
    for group in dict.fromkeys(command.group for command in chosen.values()):
        lines += ["", f"{group}:"]
        lines += [f"  {name:<16} {command.about}" for name, command in chosen.items() if command.group == group]
    return "\n".join([*lines, "", "`r3lab COMMAND --help` shows a command's options, their defaults and an example."])


def _unknown(given: Sequence[str]) -> int:
    """What was given names no command: say which there are."""
    word = given[0] if given else ""
    stages = [name.split()[1] for name in COMMANDS if name.split()[0] == word and " " in name]
    if stages and given[1:2] in (["--help"], ["-h"]):
        print(overview(word))
        return 0
    if stages:
        wanted = f"{word} wants one of {', '.join(stages)}"
        return _fail(f"error: {wanted}.{nearest(given[1], stages) if given[1:] else ''}", 2)
    if not word:
        return _fail("error: give a command; `r3lab --help` lists them.", 2)
    return _fail(f"error: there is no command {word!r}.{nearest(word, COMMANDS)} `r3lab --help` lists them.", 2)


def _fail(line: str, code: int) -> int:
    print(f"r3lab: {line}", file=sys.stderr)
    return code


def as_options(error: Exception, named: str = "format") -> R3labError:
    """The same error, arguments of a reader in its message as options of a command, in which `format` is `named` so."""
    words = re.sub(r"\b(frame|images|boxes|format)=", lambda m: f"--{m[1]} ", str(error))
    return R3labError(words.replace("--format", f"--{named}"))


class LeftOut:
    """Called with a line about each thing that is left out; counts them, and shows the first twenty on stderr."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, message: str) -> None:
        """Count it, and show it if it is one of the first."""
        from tqdm import tqdm

        self.count += 1
        if self.count <= TOLD:
            tqdm.write(f"left out: {message}", file=sys.stderr)
        elif self.count == TOLD + 1:
            tqdm.write("left out: more, not told one by one", file=sys.stderr)
