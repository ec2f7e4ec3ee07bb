"""The command line of both teachers: rationales for the samples of a world or of a file, into a VLIR folder.

    r3lab vlir rationale --world badges --count 100 --teacher world --out runs/vlir
    r3lab vlir rationale --data train.json --base-url http://127.0.0.1:8000/v1 --model NAME --out runs/vlir

The key of a hosted service is read from the environment (`OPENAI_API_KEY`, or the variable that --key-variable names),
never from the command line. The same command again goes on where it was stopped or killed.
"""

from __future__ import annotations

import argparse
import math
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import numpy as np
from tqdm import tqdm

from ..core.errors import R3labError, nearest, shown
from ..vlir.card import measure
from ..vlir.convert import Reading, read, write
from ..vlir.convert.formats import FORMATS
from ..vlir.convert.frames import BUDGET, FrameName
from ..vlir.convert.rationales import SFT, sft_record
from ..vlir.convert.record import ConvertError, Record, whole_file
from ..vlir.filters.filter_samples import open_folder, sift_folder
from ..vlir.filters.rules import Judge, Limits
from ..vlir.filters.table import FILTERS
from ..vlir.rationale import imperfect
from ..vlir.sample import Sample, write_vlir
from ..vlir.teacher.dialogue import MAX_SIDE, MIN_IOU
from ..vlir.teacher.endpoint import EndpointSettings
from ..vlir.teacher.run import ACCEPTED, FAILED, Prices, Tally, teach
from ..vlir.worlds import WORLDS, get_world
from ..vlir.worlds.material import SPLITS, split_number

# `r3lab vlir`: build samples of the worlds, filter them, draw their card, convert them from and to public formats.
#
# Every step reads one folder or file and makes a new one, which appears whole or not at all, also after Ctrl-C. A
# record
# that does not fit is left out with its line and the reason, or ends the run with `--strict`.
#
#     r3lab vlir build --world badges trails --count 1000 --spread 0.2 --needless 0.3 --hasty 0.1 --out vlir/raw
#     r3lab vlir filter vlir/raw --out vlir/kept --judge-model runs/cold-start/policy
#     r3lab vlir card vlir/kept
#     r3lab vlir convert vlir/kept vlir/official --to vlm-r3-sft

TOLD = 20  # records left out that are told one by one
NEED_RATIONALE = ("vlir", SFT)  # formats that hold no bare sample


def vlir_command(argv: Sequence[str] | None = None) -> int:
    """Run one of the four steps.

    Parameters
    ----------
    argv
        Arguments after `r3lab vlir`.

    Returns
    -------
    int
        0.

    Raises
    ------
    R3labError
        If something given cannot be used; nothing is written then.
    """
    args = build_parser().parse_args(None if argv is None else list(argv))
    step: Callable[[argparse.Namespace], int] = args.step
    return step(args)


def build_parser() -> argparse.ArgumentParser:
    """The four steps and their options."""
    parser = argparse.ArgumentParser(
        prog="r3lab vlir", description="Build, filter, describe and convert VLIR samples.", allow_abbrev=False
    )
    steps = parser.add_subparsers(title="steps", metavar="STEP", required=True)

    def step(name: str, call: Callable[[argparse.Namespace], int], about: str) -> argparse.ArgumentParser:
        added = steps.add_parser(name, help=about, description=about, allow_abbrev=False)
        added.set_defaults(step=call)
        return added

    one = step("build", build, "Write samples of the worlds with a teacher's rationales.")
    one.add_argument(
        "--world", nargs="+", default=list(WORLDS), metavar="NAME", help=f"in turn (default: {' '.join(WORLDS)})"
    )
    one.add_argument("--count", type=int, default=1000, metavar="N", help="samples in all (default: 1000)")
    one.add_argument("--seed", type=int, default=0, metavar="S", help="of samples and teacher (default: 0)")
    one.add_argument("--split", default="train", help=f"{', '.join(SPLITS)} (default: train)")
    one.add_argument(
        "--spread", type=float, default=0.0, metavar="X", help="boxes miss by this share of their sides (default: 0)"
    )
    one.add_argument(
        "--needless", type=float, default=0.0, metavar="P", help="share that looks where nothing needs it (default: 0)"
    )
    one.add_argument(
        "--hasty",
        type=float,
        default=0.0,
        metavar="P",
        help="share that answers without the look it needs (default: 0)",
    )
    one.add_argument("--out", required=True, metavar="DIR", help="folder to make")

    one = step("filter", sift, "Keep the samples that pass all filters; say why the others do not.")
    one.add_argument("folder", help="VLIR folder")
    one.add_argument(
        "--out", required=True, metavar="DIR", help="folder to make: what is kept, rejected.jsonl, filter.txt"
    )
    about = "; ".join(f"{name}: {entry.about}" for name, entry in FILTERS.items())
    one.add_argument(
        "--filters", nargs="+", choices=list(FILTERS), metavar="NAME", help=f"only these. {about} (default: all)"
    )
    one.add_argument(
        "--judge-model", metavar="PATH", help="checkpoint folder of a policy that judges in place of rules"
    )
    one.add_argument(
        "--judge", nargs="+", choices=("support", "necessity"), default=["support", "necessity"], metavar="NAME",
        help="the filters that it judges (default: support necessity)",
    )  # fmt: skip
    one.add_argument("--seed", type=int, default=0, metavar="S", help="of its answers (default: 0)")
    one.add_argument("--strict", action="store_true", help="end at the first line that cannot be read")
    kinds = {"int": int, "float": float}
    for limit in fields(Limits):
        one.add_argument(
            f"--{limit.name.replace('_', '-')}", type=kinds[str(limit.type)], default=limit.default,
            metavar=str(limit.type), help=f"{limit.metadata['help']} (default: {limit.default:g})",
        )  # fmt: skip

    one = step("card", card, "Draw and tabulate what a VLIR folder holds.")
    one.add_argument("folder", help="VLIR folder")
    one.add_argument("--out", metavar="DIR", help="where README.md and card.png go (default: into the folder)")
    one.add_argument("--title", metavar="TEXT", help="over the card (default: the folder's name)")
    one.add_argument("--strict", action="store_true", help="end at the first line that cannot be read")

    readable = ", ".join(f.name for f in FORMATS.values() if f.read)
    writable = ", ".join(f.name for f in FORMATS.values() if f.write)
    one = step("convert", convert, "Write records of one format in another.")
    one.add_argument("source", metavar="IN", help="file or folder to read")
    one.add_argument("target", metavar="OUT", help="folder to make; for parquet, a file")
    one.add_argument("--from", dest="given", metavar="FORMAT", help=f"{readable} (default: told by the fields)")
    one.add_argument("--to", required=True, metavar="FORMAT", help=writable)
    one.add_argument(
        "--frame",
        metavar="NAME",
        help=f"of the boxes, where the file leaves it open: {', '.join(f.value for f in FrameName)}",
    )
    one.add_argument("--images", metavar="DIR", help="folder that image paths are relative to (default: of IN)")
    one.add_argument("--boxes", metavar="PATH", help="scene graphs of gqa, OCR of textvqa (file) or docvqa (folder)")
    one.add_argument(
        "--budget", type=int, nargs=2, default=BUDGET, metavar=("MIN", "MAX"),
        help=f"tokens of an image when resized-28 boxes were written (default: {BUDGET[0]} {BUDGET[1]})",
    )  # fmt: skip
    one.add_argument("--strict", action="store_true", help="end at the first record that does not fit")
    return parser


def build(args: argparse.Namespace) -> int:
    """`r3lab vlir build`."""
    worlds = [get_world(name) for name in args.world]
    split = split_number(args.split)
    if args.count < 1 or args.seed < 0:
        raise R3labError(f"--count must be at least 1 and --seed at least 0, got {args.count} and {args.seed}.")
    for name in ("spread", "needless", "hasty"):
        value, most = getattr(args, name), math.inf if name == "spread" else 1.0
        if not 0 <= value <= most or math.isinf(value):
            raise R3labError(f"--{name} must be a number from 0{' to 1' if most == 1 else ''}, got {value}.")

    def records() -> Iterator[Record]:
        for number in tqdm(range(args.count), desc="build", unit=" samples", disable=None, mininterval=1):
            index, which = divmod(number, len(worlds))
            sample = worlds[which].sample(args.split, index, args.seed)
            lot = np.random.default_rng([args.seed, split, index, list(WORLDS).index(sample.world), 17])
            exact = worlds[which].rationale(sample)
            yield Record.of(sample, imperfect(sample, exact, args.spread, args.needless, lot, args.hasty))

    path = write(records(), args.out, "vlir")
    print(f"{path}: {args.count:,} samples")
    return 0


def sift(args: argparse.Namespace) -> int:
    """`r3lab vlir filter`."""
    limits = Limits(**{limit.name: getattr(args, limit.name) for limit in fields(Limits)})
    judges: dict[str, Judge] = {}
    if args.seed < 0:
        raise R3labError(f"--seed must be at least 0, got {args.seed}.")
    if args.judge_model:
        if args.filters is not None and not set(args.judge) & set(args.filters):
            raise R3labError(f"--judge-model judges {' and '.join(args.judge)}, which --filters leaves out.")
        from ..evaluate.legibility import policy_judges  # torch: seconds
        from ..models.policy import Policy

        bound = policy_judges(Policy.load(args.judge_model), args.seed)
        judges = {name: bound[name] for name in args.judge if args.filters is None or name in args.filters}
    report = sift_folder(args.folder, args.out, limits, judges, args.filters, args.strict, sys.stderr.isatty())
    print(f"{report}\n{args.out}: vlir.jsonl, rejected.jsonl, filter.txt")
    return 0


class Told:
    """Called with a line about each record that is left out; shows the first twenty on stderr."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, message: str) -> None:
        """Count it, and show it if it is one of the first."""
        self.count += 1
        if self.count <= TOLD:
            tqdm.write(f"left out: {message}", file=sys.stderr)
        elif self.count == TOLD + 1:
            tqdm.write("left out: more, not told one by one", file=sys.stderr)


def card(args: argparse.Namespace) -> int:
    """`r3lab vlir card`."""
    from ..show.card import MARK, card_page, draw_card  # matplotlib: a second

    folder, out = Path(args.folder), Path(args.out or args.folder)
    page = out / "README.md"
    if page.exists() and not page.read_text(encoding="utf-8", errors="replace").startswith(MARK):
        raise R3labError(f"{shown(str(page))} is not one of our cards; choose another folder with --out.")
    title = args.title if args.title is not None else folder.resolve().name
    told = Told()
    reading = open_folder(folder, args.strict, told)
    shown_as = tqdm(reading, desc="card", unit=" samples", disable=None, mininterval=1)
    found = measure(record.pair() for record in shown_as)
    if not found.samples:
        raise R3labError(f"{shown(str(folder))} holds no sample that can be read ({told.count:,} left out).")
    text = card_page(found, title)
    picture = draw_card(found, title).save(out / "card.png")
    with whole_file(page) as partial:
        partial.write_text(text, encoding="utf-8")
    print(f"{reading.summary}\n{page}\n{picture}")
    return 0


def convert(args: argparse.Namespace) -> int:
    """`r3lab vlir convert`."""
    told, lacking = Told(), Told()
    try:
        reading = read(
            args.source, args.given, args.frame, args.strict, args.images, args.boxes, tuple(args.budget), told
        )
        path = write(_writable(reading, args.to, args.strict, lacking), args.target, args.to)
    except ConvertError as error:
        raise R3labError(_as_options(str(error))) from None
    print(f"{path}: {reading.taken - lacking.count:,} records, from {reading.format} to {args.to}")
    print(reading.summary + (f"; {lacking.count:,} of them cannot be written as {args.to}" if lacking.count else ""))
    return 0


def _writable(reading: Reading, to: str, strict: bool, tell: Told) -> Iterator[Record]:
    """The records that can be written, decoded one at a time: damage is found here, and costs no other record."""
    for record in tqdm(reading, desc="convert", unit=" records", disable=None, mininterval=1):
        try:
            if to in NEED_RATIONALE and record.rationale is None:
                raise ConvertError(f"it has no rationale, which {to} needs; write it as vlm-r3-rl or parquet")
            if to == SFT:
                sft_record(record, "")
            whole = replace(record, source=record.sample().image)
        except R3labError as error:
            message = f"{record.where}: {error}"
            if strict:
                raise ConvertError(message) from None
            tell(message)
            continue
        yield whole
    if reading.taken == tell.count:
        left = f"{reading.summary}; {tell.count:,} cannot be written as {to}"
        raise ConvertError(f"No record is left to write: {left}.")


def _as_options(message: str) -> str:
    """The names of arguments in a message as the command's options."""
    return re.sub(r"\b(frame|images|boxes|format)=", lambda m: f"--{m[1].replace('format', 'from')} ", message)


if TYPE_CHECKING:
    from ..vlir.worlds import World

PROGRAM = "r3lab vlir rationale"


class WorldSamples:
    """The samples of a world, drawn when they are wanted.

    Parameters
    ----------
    world, split, seed : see `World.sample`
    count : how many; `len` of this
    start : index of the first
    """

    def __init__(self, world: World, split: str, count: int, seed: int = 0, start: int = 0) -> None:
        self.world, self.split, self.count, self.seed, self.start = world, split, count, seed, start

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[Sample]:
        return (self.world.sample(self.split, self.start + i, self.seed) for i in range(self.count))


def samples_of(reading: Reading) -> Iterator[Sample]:
    """The samples of a file, their images decoded; one whose image is damaged is left out, with a line on stderr."""
    for record in reading:
        try:
            yield record.sample()
        except R3labError as error:
            _left_out(f"{record.where}: {error}")


def rationale_command(arguments: Sequence[str]) -> int:
    """Run the command.

    Parameters
    ----------
    arguments
        Without the command's name.

    Returns
    -------
    int
        0 done; 1 if some questions got no reply, or none was accepted; 130 after Ctrl-C. What a person can mend is
        raised as `R3labError`.
    """
    parser = _parser()
    args = parser.parse_args(list(arguments))
    if (args.world is None) == (args.data is None):
        raise R3labError("give either --world NAME or --data FILE")
    world: World | None = None
    if args.world is not None:
        from ..vlir.worlds import get_world  # brings matplotlib

        world = get_world(args.world)
    if args.teacher == "world":
        if world is None:
            raise R3labError("only a world can teach its own samples; give --world NAME, or --teacher endpoint")
        drawn = WorldSamples(world, args.split, args.count, args.seed, args.start)
        print(write_vlir(args.out, ((sample, world.rationale(sample)) for sample in drawn)))
        return 0
    settings = EndpointSettings(
        base_url=args.base_url or os.environ.get("OPENAI_BASE_URL", ""),
        model=args.model or "",
        key_variable=args.key_variable,
        concurrency=args.concurrency,
        tries=args.tries,
        timeout=args.timeout,
        max_tokens=args.max_tokens,
        temperature=args.temperature,
        json_mode=args.json_mode,
        seed=args.seed,
    )
    if world is not None:
        samples: WorldSamples | Iterator[Sample] = WorldSamples(world, args.split, args.count, args.seed, args.start)
    else:
        samples = samples_of(read(args.data, args.format, args.frame, images=args.images, on_skip=_left_out))
    prices = Prices(args.price_prompt, args.price_completion)
    try:
        tally = teach(samples, settings, args.out, prices, args.max_side, args.min_iou, args.limit, args.retry_rejected)
    except KeyboardInterrupt:
        print(
            f"\n{PROGRAM}: interrupted; the same command goes on where it stopped, asking nothing twice",
            file=sys.stderr,
        )
        return 130
    return _report(tally, args.out)


def _report(tally: Tally, out: Path) -> int:
    print(f"{out / 'vlir.jsonl'}: {tally}")
    reasons = tally.record()["reasons"]
    for outcome, found in reasons.items():
        for reason, count in found.items():
            print(f"  {outcome} {count:,}: {reason}")
    if tally.unmetered:
        print(f"  {tally.unmetered:,} replies came without a count of their tokens: these and the cost are too low")
    if tally.count(FAILED):
        print("The same command asks again about those that failed.")
    return int(bool(tally.count(FAILED)) or not tally.count(ACCEPTED))


def _left_out(message: str) -> None:
    print(f"{PROGRAM}: left out: {message}", file=sys.stderr)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        unknown = message.removeprefix("unrecognized arguments: ")
        hint = nearest(unknown.split()[0], self._option_string_actions) if unknown != message else ""
        super().error(message + hint)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog=PROGRAM,
        description="Have interleaved rationales written: by a world for its own samples, or by a model behind any "
        "OpenAI-compatible endpoint (vLLM, Ollama, a hosted service). The same command goes on after a kill.",
        epilog="The key is read from the environment and never written anywhere.",
        allow_abbrev=False,
    )
    source = parser.add_argument_group("samples")
    source.add_argument("--world", metavar="NAME", help="draw them from a world")
    source.add_argument("--split", default="train", help="of the world (default: train)")
    source.add_argument("--count", type=_whole, default=100, metavar="N", help="samples of the world (default: 100)")
    source.add_argument("--start", type=_whole, default=0, metavar="N", help="index of the first (default: 0)")
    source.add_argument("--data", metavar="FILE", help="read them from a file or folder of any format that can be read")
    source.add_argument("--format", metavar="NAME", help="of --data (default: told by its fields)")
    source.add_argument("--frame", metavar="NAME", help="coordinate frame of the boxes in --data, where it is open")
    source.add_argument("--images", metavar="DIR", help="folder of the images of --data (default: beside it)")

    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="VLIR folder, new or to go on with")
    parser.add_argument("--teacher", choices=("endpoint", "world"), default="endpoint", help="default: endpoint")

    ask = parser.add_argument_group("endpoint")
    ask.add_argument("--base-url", metavar="URL", help="its address, usually .../v1 (default: $OPENAI_BASE_URL)")
    ask.add_argument("--model", metavar="NAME", help="as the endpoint knows it")
    ask.add_argument(
        "--key-variable",
        default="OPENAI_API_KEY",
        metavar="NAME",
        help="environment variable with the key; a local server may need none (default: OPENAI_API_KEY)",
    )
    ask.add_argument("--concurrency", type=_whole, default=4, metavar="N", help="questions in flight (default: 4)")
    ask.add_argument("--tries", type=_whole, default=6, metavar="N", help="requests for one question (default: 6)")
    ask.add_argument("--timeout", type=_number, default=180.0, metavar="S", help="seconds a request (default: 180)")
    ask.add_argument("--max-tokens", type=_whole, default=2000, metavar="N", help="of a reply; 0: no limit (2000)")
    ask.add_argument("--temperature", type=_number, metavar="T", help="default: the server's own")
    ask.add_argument("--json-mode", action="store_true", help="have the server allow JSON only")
    ask.add_argument("--max-side", type=_whole, default=MAX_SIDE, metavar="N", help="pixels sent (1024)")
    ask.add_argument("--seed", type=_whole, default=0, help="of the world and of the waits between tries (default: 0)")

    keep = parser.add_argument_group("what is kept, and what it costs")
    keep.add_argument("--min-iou", type=_number, default=MIN_IOU, metavar="X", help="with known regions (0.5)")
    keep.add_argument("--limit", type=_whole, metavar="N", help="ask at most N questions in this run; 0: only write")
    keep.add_argument("--retry-rejected", action="store_true", help="ask again where the reply was rejected")
    keep.add_argument("--price-prompt", type=_number, metavar="P", help="of a million tokens of prompts")
    keep.add_argument("--price-completion", type=_number, metavar="P", help="of a million tokens of completions")
    return parser


def _whole(text: str) -> int:
    value = _number(text)
    if value != int(value):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number")
    return int(value)


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of at least 0")
    return value
