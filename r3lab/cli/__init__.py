"""The command `r3lab`: reads the arguments and calls; every idea lives elsewhere.

What does the work is imported when it is wanted, so that `r3lab --help` is instant. Codes: 0 done, 1 a
notebook or a check failed, 2 something the user can mend (one line on stderr), 130 interrupted.

    r3lab ask photo.jpg "which digit is on the red circle?"
    r3lab run notebooks/01_look_again.ipynb -p samples=8 --quick
"""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module

from .. import __version__
from ..core.errors import R3labError

Call = Callable[[argparse.Namespace], int]
TRAIN = {  # stage -> module and function
    "tiny": ("r3lab.recipes.policy", "main"),
    "sft": ("r3lab.train.sft", "main"),
    "rgrpo": ("r3lab.cli.train", "rgrpo_command"),
    "ablations": ("r3lab.cli.train", "ablations_command"),
    "worlds": ("r3lab.recipes.worlds", "main"),
}
VLIR = ("build", "rationale", "filter", "card", "convert")


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
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")  # some ten microseconds: waking for each small product costs 2x
    parser = build_parser()
    args, rest = parser.parse_known_args(argv)
    if rest and not args.passes_on:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    args.rest = [*getattr(args, "options", []), *rest]
    try:
        code: int = args.call(args)
        return code
    except KeyboardInterrupt:
        return _fail("interrupted", 130)
    except ModuleNotFoundError as error:
        return _fail(f"error: the package {error.name!r} is missing. `r3lab doctor` says what to install.", 2)
    except BrokenPipeError:  # whoever read our output has closed it, as `| head` does
        sys.stdout = None  # type: ignore[assignment]
        return 1
    except (R3labError, OSError) as error:
        return _fail(f"error: {' '.join(str(error).split())}", 2)


def build_parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    parser = argparse.ArgumentParser(
        prog="r3lab", description="A lab for vision-language models that look again while they reason."
    )
    parser.add_argument("--version", action="version", version=f"r3lab {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def command(name: str, call: Call, text: str, add_help: bool = True) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=text, add_help=add_help)
        added.set_defaults(call=call, passes_on=False)
        return added

    ask = command("ask", _ask, "Ask the policy about your image and watch its looks.")
    ask.add_argument("image", help="an image file")
    ask.add_argument("question")
    ask.add_argument("--model", metavar="PATH", help="folder of a checkpoint (default: the tiny policy)")
    ask.add_argument("--out", metavar="DIR", help="where to save the trajectory and its filmstrip")
    how = ask.add_mutually_exclusive_group()
    how.add_argument("--greedy", action="store_true", help="always take the likeliest token (the default)")
    how.add_argument("--temperature", type=_temperature, default=0.0, metavar="T", help="sample at temperature T")
    ask.add_argument("--seed", type=_count, default=0, help="of the sampling (default 0)")
    ask.add_argument("--max-looks", type=_count, default=8, metavar="N", help="at most N looks (default 8)")
    ask.add_argument("--report", action="store_true", help="save report.html beside it: step through it in a browser")

    explained = command("explain", _explain, "Say why each look was taken, and whether it mattered.", add_help=False)
    explained.set_defaults(passes_on=True)

    run = command("run", _run, "Execute a notebook without a screen, into runs/.")
    run.add_argument("notebook")
    run.add_argument("-p", dest="parameters", type=_pair, action="append", default=[], metavar="NAME=VALUE")
    size = run.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", default=None, help="set its parameter quick to True")
    size.add_argument("--full", dest="quick", action="store_false", help="set its parameter quick to False")
    _add_run_options(run)

    lessons = command("course", _course, "Execute the notebooks of the course in order, and print a table.")
    lessons.add_argument("folder", nargs="?", default="notebooks", help="default: notebooks")
    lessons.add_argument("--full", dest="quick", action="store_false", help="the full setting")
    lessons.add_argument("--site", metavar="DIR", help="make a static site of them there, if all ended well")
    _add_run_options(lessons)

    swept = command("sweep", _sweep, "Execute a notebook at many points, on machines, into a table.", add_help=False)
    swept.set_defaults(passes_on=True)

    train = command("train", _train, "Train: the shipped policies, a cold start, R-GRPO, or the ablations.")
    train.add_argument("stage", choices=sorted(TRAIN), help="`r3lab train STAGE --help` shows its options")
    train.add_argument("options", nargs=argparse.REMAINDER, help="passed on to the stage")

    worlds = command("worlds", _worlds, "Draw samples of the worlds with their true regions.", add_help=False)
    worlds.set_defaults(passes_on=True)

    vlir = command("vlir", _vlir, "Samples to learn from: build, have written, filter, describe (card), convert.")
    vlir.add_argument("step", choices=VLIR, help="`r3lab vlir STEP --help` shows its options")
    vlir.add_argument("options", nargs=argparse.REMAINDER, help="passed on to the step")

    scores = command("eval", _eval, "Measure a policy in several arms, on a benchmark or on worlds.", add_help=False)
    scores.set_defaults(passes_on=True)

    report = command("report", _report, "Write trajectories as one HTML file that opens from disk.", add_help=False)
    report.set_defaults(passes_on=True)

    browser = command(
        "browse", _browse, "Write a data set or an evaluation as a page to filter and play.", add_help=False
    )
    browser.set_defaults(passes_on=True)

    board = command("dashboard", _dashboard, "Draw training logs, one or many, as one HTML file.", add_help=False)
    board.set_defaults(passes_on=True)

    gallery = command("gallery", _gallery, "Draw every view from recorded trajectories into a folder.", add_help=False)
    gallery.set_defaults(passes_on=True)

    command("doctor", _doctor, "Say what this machine has for r3lab, and what is missing.")
    return parser


def _add_run_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", default="runs", metavar="DIR", help="root of the runs (default: runs)")
    parser.add_argument("--resume", action="store_true", help="keep what already ended well")
    parser.add_argument("--timeout", type=_seconds, default=1800, metavar="S", help="a notebook's seconds (1800)")
    parser.add_argument("--timeout-cell", type=_seconds, default=600, metavar="S", help="a cell's seconds (600)")


def _ask(args: argparse.Namespace) -> int:
    ask: Callable[..., int] = import_module("r3lab.cli.ask").ask
    given = (args.image, args.question, args.model, args.out, args.temperature, args.seed, args.max_looks)
    return int(ask(*given, report=True) if args.report else ask(*given))


def _explain(args: argparse.Namespace) -> int:
    return int(import_module("r3lab.cli.ask").explain_command(args.rest))


def _run(args: argparse.Namespace) -> int:
    from ..run.notebook import run_notebook
    from ..run.parameters import parameters_of, read_notebook, read_values

    given = read_values(args.parameters, parameters_of(read_notebook(args.notebook)))
    result = run_notebook(
        args.notebook, given, args.out, args.timeout_cell, args.timeout, quick=args.quick, resume=args.resume
    )
    print(result.describe())
    return _code([result.status])


def _course(args: argparse.Namespace) -> int:
    from ..run.notebook import course

    results = course(args.folder, args.quick, args.out, args.resume, args.timeout_cell, args.timeout)
    code = _code([result.status for result in results])
    if args.site and code == 0:
        from ..run.site import build_site

        print(f"\nsite: {build_site(results, args.site)}")
    return code


def _sweep(args: argparse.Namespace) -> int:
    return int(import_module("r3lab.cli.sweep").sweep_command(args.rest))


def _train(args: argparse.Namespace) -> int:
    module, function = TRAIN[args.stage]
    return int(getattr(import_module(module), function)(args.rest))


def _worlds(args: argparse.Namespace) -> int:
    return int(import_module("r3lab.show.sheet").main(args.rest))


def _vlir(args: argparse.Namespace) -> int:
    return int(import_module("r3lab.cli.vlir").main([args.step, *args.rest]))


def _eval(args: argparse.Namespace) -> int:
    return int(import_module("r3lab.cli.evaluate").evaluate_command(args.rest))


def _report(args: argparse.Namespace) -> int:
    return int(import_module("r3lab.cli.pages").report_command(args.rest))


def _browse(args: argparse.Namespace) -> int:
    return int(import_module("r3lab.cli.pages").browse_command(args.rest))


def _dashboard(args: argparse.Namespace) -> int:
    return int(import_module("r3lab.cli.pages").dashboard_command(args.rest))


def _gallery(args: argparse.Namespace) -> int:
    return int(import_module("r3lab.cli.pages").gallery_command(args.rest))


def _doctor(args: argparse.Namespace) -> int:
    return int(import_module("r3lab.cli.doctor").main())


def _code(statuses: list[str]) -> int:
    return 130 if "interrupted" in statuses else int(any(status != "ok" for status in statuses))


def _pair(text: str) -> str:
    if "=" not in text:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE, as in -p {text}=VALUE")
    return text


def _count(text: str) -> int:
    return int(_number(text, int, 0.0))


def _seconds(text: str) -> float:
    return _number(text, float, 1.0)


def _temperature(text: str) -> float:
    return _number(text, float, 0.0)


def _number(text: str, kind: type[int] | type[float], least: float) -> float:
    try:
        value = kind(text)
    except ValueError:
        value = math.nan
    if not least <= value < math.inf:
        word = "whole number" if kind is int else "number"
        raise argparse.ArgumentTypeError(f"{text!r} is not a {word} of at least {least:g}")
    return value


def _fail(line: str, code: int) -> int:
    print(f"r3lab: {line}", file=sys.stderr)
    return code
