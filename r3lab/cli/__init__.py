"""The command `r3lab`: a table of commands, each of which declares its options where it lives.

What does the work is imported when it is wanted, so that `r3lab --help` is instant. Codes: 0 done, 1 a
notebook or a check failed, 2 something the user can mend (one line on stderr), 130 interrupted.

    r3lab ask photo.jpg "which digit is on the red circle?"
    r3lab run notebooks/01_look_again.ipynb -p samples=8 --quick
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import NamedTuple

from .. import __version__
from ..core.errors import R3labError, nearest


class Command(NamedTuple):
    """Where a command is: a function of its arguments that returns the code."""

    group: str
    about: str
    module: str
    function: str = "main"


ASK, TRAIN, DATA = "ask and explain", "train", "data"
MEASURE, SHOW, NOTEBOOKS = "measure", "show", "notebooks"
COMMANDS = {  # one word, or two where several have the first in common
    "ask": Command(ASK, "Ask the policy about your image and watch its looks.", "r3lab.cli.ask", "ask_command"),
    "explain": Command(
        ASK, "Say why each look was taken, and whether it mattered.", "r3lab.cli.ask", "explain_command"
    ),
    "doctor": Command(ASK, "Say what this machine has for r3lab, and what is missing.", "r3lab.cli.doctor"),
    "train tiny": Command(
        TRAIN, "Make the tiny policy of badges from nothing (hours).", "r3lab.recipes.policies", "tiny_command"
    ),
    "train worlds": Command(
        TRAIN, "Make the policy of four worlds and of each arm (hours).", "r3lab.recipes.policies", "worlds_command"
    ),
    "train sft": Command(TRAIN, "Supervised cold start on VLIR samples.", "r3lab.train.sft"),
    "train rgrpo": Command(TRAIN, "R-GRPO from a checkpoint.", "r3lab.cli.train", "rgrpo_command"),
    "train ablations": Command(TRAIN, "The paper's ablations in miniature.", "r3lab.cli.train", "ablations_command"),
    "worlds": Command(
        DATA, "Draw samples of the worlds with their true regions.", "r3lab.show.gallery", "worlds_command"
    ),
    "vlir": Command(
        DATA, "Samples to learn from: build, rationale (have written), filter, card (describe), convert.",
        "r3lab.cli.vlir",
    ),
    "eval": Command(
        MEASURE, "Measure a policy in several arms, on a benchmark or on worlds.", "r3lab.cli.evaluate",
        "evaluate_command",
    ),
    "report": Command(
        SHOW, "Write trajectories as one HTML file that opens from disk.", "r3lab.cli.pages", "report_command"
    ),
    "browse": Command(
        SHOW, "Write a data set or an evaluation as a page to filter and play.", "r3lab.cli.pages", "browse_command"
    ),
    "dashboard": Command(
        SHOW, "Draw training logs, one or many, as one HTML file.", "r3lab.cli.pages", "dashboard_command"
    ),
    "gallery": Command(
        SHOW, "Draw every view from recorded trajectories into a folder.", "r3lab.cli.pages", "gallery_command"
    ),
    "run": Command(NOTEBOOKS, "Execute a notebook without a screen, into runs/.", "r3lab.cli.run", "run_command"),
    "course": Command(
        NOTEBOOKS, "Execute the notebooks of the course in order, and print a table.", "r3lab.cli.run",
        "course_command",
    ),
    "sweep": Command(
        NOTEBOOKS, "Execute a notebook at many points, on machines, into a table.", "r3lab.cli.run", "sweep_command"
    ),
}  # fmt: skip


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
        if not name:
            return _unknown(given)
        command = COMMANDS[name]
        call: Callable[[Sequence[str]], int] = getattr(import_module(command.module), command.function)
        return call(given[len(name.split()) :])
    except KeyboardInterrupt:
        return _fail("interrupted", 130)
    except ModuleNotFoundError as error:
        return _fail(f"error: the package {error.name!r} is missing. `r3lab doctor` says what to install.", 2)
    except BrokenPipeError:  # whoever read our output has closed it, as `| head` does
        sys.stdout = None  # type: ignore[assignment]
        return 1
    except (R3labError, OSError) as error:
        return _fail(f"error: {' '.join(str(error).split())}", 2)


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
