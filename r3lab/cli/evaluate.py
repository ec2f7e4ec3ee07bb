"""`r3lab eval`: measure a policy in one or several arms, on a benchmark's local copy or on the worlds.

    r3lab eval --benchmark vstar --data vstar/test.jsonl --model CHECKPOINT --arm interleaved direct --out runs/vstar
    r3lab eval --world badges trails --arm interleaved --arm direct --limit 200 --keep 4 --out runs/worlds

In the folder: `records/journal.jsonl` as it goes, one line an answer; `trajectories/ARM/` with --keep; at the end
`table.md` and `table.json`. The same command again, after a kill, after Ctrl-C, or with more arms, worlds or questions,
goes on and asks for no answer twice. Another model or another way of asking wants another folder.

Where each arm has a policy of its own, as `r3lab train worlds` makes them, {arm} in the model's folder is its name:

    r3lab eval --world all --arm all --model "runs/worlds/rgrpo-{arm}-0" --out runs/arms
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shlex
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from ..core.arms import ARMS, INTERLEAVED, get_arm
from ..core.errors import R3labError, shown
from ..core.files import Journal, circumstances, shipped_policy, write_whole
from ..core.settings import Reader
from ..evaluate.benchmarks import BENCHMARKS, get_benchmark
from ..vlir.worlds import WORLDS, get_world
from ..vlir.worlds.material import SPLITS, split_number

if TYPE_CHECKING:  # these bring torch: seconds, which --help need not wait for
    from ..evaluate.grades import EvaluationTable
    from ..evaluate.run import Settings, Source

ALL = "all"  # in place of names
ARM = "{arm}"  # in a model's folder: the name of the arm
SAMPLES, QUICK, QUICK_TOKENS = 500, 40, 224  # of a world, of anything with --quick
JOURNAL = Path("records", "journal.jsonl")
TOLD = 20  # records left out that are told one by one
BARE = (
    "This policy is asked the bare question, without the prompt of an arm: of an arm that it was not trained in, the "
    "numbers say only what the setting of the loop does to it."
)


def evaluate_command(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Parameters
    ----------
    argv
        Arguments after `r3lab eval`.

    Returns
    -------
    int
        0; 130 after Ctrl-C.

    Raises
    ------
    R3labError
        If something given cannot be used.
    """
    given = sys.argv[2:] if argv is None else list(argv)
    args = build_parser().parse_args(given)
    arms = [get_arm(name) for name in _names(args.arm or [INTERLEAVED.name], [INTERLEAVED.name, *ARMS])]
    from ..evaluate.run import GRADED, evaluate, fingerprint, kept_in, table_of
    from ..models.policy import Policy, check_template

    settings = _settings(args)
    models = {arm.name: Path(args.model.replace(ARM, arm.name)) if args.model else shipped_policy() for arm in arms}
    one_each = bool(args.model) and ARM in args.model
    known_as = {name: fingerprint(model) for name, model in models.items()}
    sources = _sources(args, settings)
    out = _folder(args.out)
    same = {
        "benchmark": sources[0].name if args.benchmark else None,
        "data": str(Path(args.data).resolve()) if args.benchmark else None,
        "split": None if args.benchmark else args.split,
        "model": args.model if one_each else known_as[arms[0].name],
        "temperature": settings.temperature,
        "seed": settings.seed,
        "max-looks": settings.max_looks,
        "max-new-tokens": settings.max_new_tokens,
    }
    with Journal(out / JOURNAL, same) as journal:
        loaded = {model: Policy.load(model) for model in dict.fromkeys(models.values())}  # seconds: checks came before
        for policy in loaded.values():
            check_template(policy)
        own = {name: (loaded[model], known_as[name] if one_each else "") for name, model in models.items()}
        try:
            found = evaluate(own, sources, arms, journal, settings)
        except KeyboardInterrupt:
            print("\nr3lab eval: interrupted; the same command goes on where it stopped", file=sys.stderr)
            return 130
    untrained = not one_each and policy.bare and any(arm is not INTERLEAVED for arm in arms)
    table = table_of(sources, [arm.name for arm in arms], found, [BARE] if untrained else [])
    for source in sources:
        for problem in source.problems[:TOLD]:
            tqdm.write(f"left out: {problem}", file=sys.stderr)
        if source.left_out > TOLD:
            tqdm.write(f"left out: {source.left_out - TOLD:,} more, not told one by one", file=sys.stderr)
    graded = [(*place, e["number"]) for place, of in found.items() for e in of if e["outcome"] == GRADED]
    lacking = [one for one in graded if one[2] < settings.keep and not kept_in(out, *one).is_dir()]
    if lacking:
        print(
            f"{len(lacking)} answers were given before --keep wanted their trajectories; a new folder has them all",
            file=sys.stderr,
        )
    _write(table, out, given, {"arms": [arm.name for arm in arms], **same})
    return 0


def build_parser() -> Reader:
    """All options."""
    parser = Reader(
        prog="r3lab eval",
        example="r3lab eval --world badges --arm interleaved --arm direct --limit 100 --out runs/eval",
        description="Measure a policy in one or several arms, on a benchmark's local copy or on worlds. "
        "The same command goes on after a kill.",
    )
    source = parser.add_argument_group("questions")
    source.add_argument("--benchmark", metavar="NAME", help=f"one of {', '.join(BENCHMARKS)}; with --data")
    source.add_argument("--data", metavar="PATH", help="its file or folder, in its public format")
    source.add_argument("--images", metavar="DIR", help="folder of the images that it names (default: of PATH)")
    source.add_argument("--world", nargs="+", action="extend", metavar="NAME", help=f"of {', '.join(WORLDS)}; or {ALL}")
    source.add_argument("--split", default="test", metavar=f"{{{','.join(SPLITS)}}}", help="of the worlds")
    source.add_argument(
        "--limit", type=int, metavar="N", help=f"the first N questions of each (default: all; {SAMPLES} of a world)"
    )

    ask = parser.add_argument_group("how they are asked")
    about = "; ".join(f"{arm.name} {arm.about}" for arm in ARMS.values())
    ask.add_argument(
        "--arm",
        nargs="+",
        action="extend",
        metavar="NAME",
        help=f"{about}. The first is compared with the others; {ALL}: all, {INTERLEAVED.name} first "
        f"(default: {INTERLEAVED.name})",
    )
    ask.add_argument(
        "--model",
        metavar="PATH",
        help=f"folder of a checkpoint, in which {ARM} stands for the arm's name (default: the tiny policy)",
    )
    ask.add_argument("--temperature", type=float, default=0.0, metavar="T", help="of the sampling (default: 0, greedy)")
    ask.add_argument("--seed", type=int, default=0, metavar="S", help="of the worlds and the sampling (default: 0)")
    ask.add_argument(
        "--max-looks", type=int, default=8, metavar="N", help="at most; an arm may allow fewer (default: 8)"
    )
    tokens = f"of an answer with its reasoning (default: 512; {QUICK_TOKENS} with --quick)"
    ask.add_argument("--max-new-tokens", type=int, metavar="N", help=tokens)
    ask.add_argument("--batch", type=int, default=32, metavar="N", help="questions answered together (default: 32)")
    ask.add_argument(
        "--quick", action="store_true", help=f"a first impression: {QUICK} questions of each, short answers"
    )

    parser.add_argument("--out", required=True, metavar="DIR", help="folder of the records and the table")
    parser.add_argument(
        "--keep", type=int, default=0, metavar="N", help="save the trajectories of the first N questions (default: 0)"
    )
    return parser


def _settings(args: argparse.Namespace) -> Settings:
    """How to ask; every number checked."""
    from ..evaluate.run import Settings

    tokens = args.max_new_tokens
    if tokens is None:
        tokens = QUICK_TOKENS if args.quick else Settings.max_new_tokens
    least = {"limit": 1, "batch": 1, "seed": 0, "keep": 0, "max_looks": 0, "max_new_tokens": 1}
    for name, low in least.items():
        value = getattr(args, name)
        if value is not None and value < low:
            raise R3labError(f"--{name.replace('_', '-')} must be at least {low}, got {value}.")
    if not (math.isfinite(args.temperature) and args.temperature >= 0):
        raise R3labError(f"--temperature must be a number from 0, got {args.temperature}.")
    return Settings(args.batch, args.temperature, args.seed, args.max_looks, tokens, args.keep)


def _names(given: Sequence[str], known: Iterable[str]) -> list[str]:
    """Names as they were given, each once."""
    return list(dict.fromkeys(name for one in given for name in (known if one == ALL else [one])))


def _sources(args: argparse.Namespace, settings: Settings) -> list[Source]:
    """The questions that are wanted."""
    from ..evaluate.run import BenchmarkSource, WorldSource

    if (args.benchmark is None) == (args.world is None):
        raise R3labError("Give either --benchmark NAME with --data PATH, or --world NAME.")
    if (args.benchmark is None) != (args.data is None):
        raise R3labError("--benchmark and --data belong together: give both, or --world NAME alone.")
    limit = args.limit if args.limit is not None else QUICK if args.quick else None
    if args.benchmark:
        return [BenchmarkSource(get_benchmark(args.benchmark), args.data, limit, args.images)]
    split_number(args.split)
    worlds = [get_world(name) for name in _names(args.world, WORLDS)]
    return [WorldSource(world, args.split, limit or SAMPLES, settings.seed) for world in worlds]


def _folder(given: str) -> Path:
    """The folder to write to, made."""
    out = Path(given)
    try:
        if out.exists() and not out.is_dir():
            raise R3labError(f"{shown(given)} is a file; name a folder.")
        if (out / "table.json").exists() and not (out / JOURNAL).exists():
            raise R3labError(f"{shown(given)} holds a table that is not of `r3lab eval`; give another folder.")
        (out / JOURNAL).parent.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        if isinstance(error, R3labError):
            raise
        why = getattr(error, "strerror", None) or str(error)
        raise R3labError(f"Cannot write to {shown(given)}: {why}; choose another folder.") from error
    if not os.access((out / JOURNAL).parent, os.W_OK | os.X_OK):
        raise R3labError(f"Cannot write to {shown(given)}: no permission; choose another folder.")
    return out


def _write(table: EvaluationTable, out: Path, given: Sequence[str], same: dict[str, Any]) -> None:
    """Print the table, and write it as a page and as data."""
    from ..show.effects import scores_page, scores_text  # matplotlib: a second

    record = {**circumstances(shlex.join(["r3lab", "eval", *given])), "settings": same, **table.record()}
    model = same["model"].rpartition(" ")[0] or same["model"]
    title = f"{model}: {', '.join(dict.fromkeys(line.source for line in table.lines))}"
    write_whole(out / "table.md", scores_page(table, title).encode("utf-8"))
    write_whole(out / "table.json", (json.dumps(record, indent=1) + "\n").encode("utf-8"))
    print(f"{scores_text(table)}\n{out / 'table.md'}")
