"""`r3lab vlir`: build samples of the worlds, have rationales written, filter, describe (card), convert.

Every step reads one folder or file and makes a new one, which appears whole or not at all, also after Ctrl-C. A record
that does not fit is left out with its line and the reason, or ends the run with `--strict`. `rationale` alone goes on
where it was stopped or killed; the key of a hosted service is read from the environment (`OPENAI_API_KEY`, or the
variable that --key-variable names), never from the command line.

    r3lab vlir build --world badges trails --count 1000 --spread 0.2 --needless 0.3 --hasty 0.1 --out vlir/raw
    r3lab vlir rationale --data train.json --base-url http://127.0.0.1:8000/v1 --model NAME --out vlir/raw
    r3lab vlir filter vlir/raw --out vlir/kept --judge-model runs/cold-start/policy
    r3lab vlir card vlir/kept
    r3lab vlir convert vlir/kept vlir/official --to vlm-r3-sft
"""

from __future__ import annotations

import argparse
import math
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ..core.errors import R3labError, shown
from ..core.files import whole_file
from ..core.settings import Reader
from ..vlir.card import measure
from ..vlir.convert import BUDGET, FORMATS, ConvertError, FrameName, Reading, Record, read, write
from ..vlir.convert.rationales import sft_record
from ..vlir.filters import FILTERS, Judge, filter_folder
from ..vlir.rationale import imperfect
from ..vlir.rules import Limits
from ..vlir.sample import Sample, write_vlir
from ..vlir.teacher import ACCEPTED, FAILED, REJECTED, EndpointSettings, Tally, teach
from ..vlir.worlds import WORLDS, World, get_world
from ..vlir.worlds.material import SPLITS, split_number

TOLD = 20  # records left out that are told one by one
NEED_RATIONALE = ("vlir", "vlm-r3-sft")  # formats that hold no bare sample


def main(argv: Sequence[str] | None = None) -> int:
    """Run one of the five steps.

    Parameters
    ----------
    argv
        Arguments after `r3lab vlir`.

    Returns
    -------
    int
        0; of `rationale` also 1 if some questions got no reply, or none was accepted, and 130 after Ctrl-C.

    Raises
    ------
    R3labError
        If something given cannot be used; nothing is written then.
    """
    args = build_parser().parse_args(None if argv is None else list(argv))
    step: Callable[[argparse.Namespace], int] = args.call
    return step(args)


def build_parser() -> Reader:
    """The five steps and their options."""
    about = "Build, have written, filter, describe and convert VLIR samples."
    parser = Reader(prog="r3lab vlir", description=about, example="r3lab vlir build --count 1000 --out vlir/raw")
    steps = parser.add_subparsers(title="steps", metavar="STEP", required=True)

    def step(call: Callable[[argparse.Namespace], int], about: str, name: str) -> Callable[..., argparse.Action]:
        added = steps.add_parser(name, help=about, description=about)
        added.set_defaults(call=call)
        return added.add_argument

    add = step(build, "Write samples of the worlds with a teacher's rationales.", "build")
    names = f"in turn (default: {' '.join(WORLDS)})"
    add("--world", nargs="+", default=list(WORLDS), metavar="NAME", help=names)
    add("--count", type=int, default=1000, metavar="N", help="samples in all (default: 1000)")
    add("--seed", type=int, default=0, metavar="S", help="of samples and teacher (default: 0)")
    add("--split", default="train", metavar=f"{{{','.join(SPLITS)}}}", help="of the worlds")
    share = {"type": float, "default": 0.0}
    add("--spread", **share, metavar="X", help="boxes miss by this share of their sides (default: 0)")
    add("--needless", **share, metavar="P", help="share that looks where nothing needs it (default: 0)")
    add("--hasty", **share, metavar="P", help="share that answers without the look it needs (default: 0)")
    add("--out", required=True, metavar="DIR", help="folder to make")

    _rationale_options(
        step(
            rationale,
            "Have interleaved rationales written: by a world for its own samples, or by a model behind any "
            "OpenAI-compatible endpoint (vLLM, Ollama, a hosted service). The same command goes on after a kill; the "
            "key is read from the environment and never written anywhere.",
            "rationale",
        )
    )

    add = step(filter_step, "Keep the samples that pass all filters; say why the others do not.", "filter")
    add("folder", help="VLIR folder")
    add("--out", required=True, metavar="DIR", help="folder to make: what is kept, rejected.jsonl, filter.txt")
    about = "; ".join(f"{name}: {entry.about}" for name, entry in FILTERS.items())
    about = f"only these. {about} (default: all)"
    add("--filters", nargs="+", choices=list(FILTERS), metavar="NAME", help=about)
    add("--judge-model", metavar="PATH", help="checkpoint folder of a policy that judges in place of rules")
    judges, about = ["support", "necessity"], "the filters that it judges (default: support necessity)"
    add("--judge", nargs="+", choices=judges, default=judges, metavar="NAME", help=about)
    add("--seed", type=int, default=0, metavar="S", help="of its answers (default: 0)")
    add("--strict", action="store_true", help="end at the first line that cannot be read")
    for limit in fields(Limits):
        kind, about = str(limit.type), f"{limit.metadata['help']} (default: {limit.default:g})"
        flag = f"--{limit.name.replace('_', '-')}"
        add(flag, type={"int": int, "float": float}[kind], default=limit.default, metavar=kind, help=about)

    add = step(card, "Draw and tabulate what a VLIR folder holds.", "card")
    add("folder", help="VLIR folder")
    add("--out", metavar="DIR", help="where README.md and card.png go (default: into the folder)")
    add("--title", metavar="TEXT", help="over the card (default: the folder's name)")
    add("--strict", action="store_true", help="end at the first line that cannot be read")

    readable = ", ".join(FORMATS)
    writable = ", ".join(f.name for f in FORMATS.values() if f.write)
    frames = f"of the boxes, where the file leaves it open: {', '.join(f.value for f in FrameName)}"
    tokens = f"tokens of an image when resized-28 boxes were written (default: {BUDGET[0]} {BUDGET[1]})"
    add = step(convert, "Write records of one format in another.", "convert")
    add("source", metavar="IN", help="file or folder to read")
    add("target", metavar="OUT", help="folder to make; for parquet, a file")
    add("--from", dest="given", metavar="FORMAT", help=f"{readable} (default: told by the fields)")
    add("--to", required=True, metavar="FORMAT", help=writable)
    add("--frame", metavar="NAME", help=frames)
    add("--images", metavar="DIR", help="folder that image paths are relative to (default: of IN)")
    add("--boxes", metavar="PATH", help="scene graphs of gqa, OCR of textvqa (file) or docvqa (folder)")
    add("--budget", type=int, nargs=2, default=BUDGET, metavar=("MIN", "MAX"), help=tokens)
    add("--strict", action="store_true", help="end at the first record that does not fit")
    return parser


def _rationale_options(add: Callable[..., argparse.Action]) -> None:
    add("--world", metavar="NAME", help="draw the samples from a world")
    add("--split", default="train", help="of the world (default: train)")
    add("--count", type=_whole, default=100, metavar="N", help="samples of the world (default: 100)")
    add("--start", type=_whole, default=0, metavar="N", help="index of the first (default: 0)")
    add("--data", metavar="FILE", help="read the samples from a file or folder of any format that can be read")
    add("--format", metavar="NAME", help="of --data (default: told by its fields)")
    add("--frame", metavar="NAME", help="coordinate frame of the boxes in --data, where it is open")
    add("--images", metavar="DIR", help="folder of the images of --data (default: beside it)")
    add("--out", type=Path, required=True, metavar="DIR", help="VLIR folder, new or to go on with")
    add("--teacher", choices=("endpoint", "world"), default="endpoint", help="default: endpoint")
    add("--base-url", metavar="URL", default=os.environ.get("OPENAI_BASE_URL", ""),
        help="address of the endpoint, usually .../v1 (default: $OPENAI_BASE_URL)")  # fmt: skip
    add("--model", default="", metavar="NAME", help="as the endpoint knows it")
    add("--key-variable", default="OPENAI_API_KEY", metavar="NAME",
        help="environment variable with the key; a local server may need none (default: OPENAI_API_KEY)")  # fmt: skip
    add("--concurrency", type=_whole, default=4, metavar="N", help="questions in flight (default: 4)")
    add("--tries", type=_whole, default=6, metavar="N", help="requests for one question (default: 6)")
    add("--timeout", type=_number, default=180.0, metavar="S", help="seconds a request (default: 180)")
    add("--max-tokens", type=_whole, default=2000, metavar="N", help="of a reply; 0: no limit (2000)")
    add("--temperature", type=_number, metavar="T", help="default: the server's own")
    add("--json-mode", action="store_true", help="have the server allow JSON only")
    add("--seed", type=_whole, default=0, help="of the world (default: 0)")
    add("--limit", type=_whole, metavar="N", help="ask at most N questions in this run; 0: only write")
    add("--retry-rejected", action="store_true", help="ask again where the reply was rejected")


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


class _LeftOut:
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


def filter_step(args: argparse.Namespace) -> int:
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
    report = filter_folder(args.folder, args.out, limits, judges, args.filters, args.strict, sys.stderr.isatty())
    print(f"{report}\n{args.out}: vlir.jsonl, rejected.jsonl, filter.txt")
    return 0


def card(args: argparse.Namespace) -> int:
    """`r3lab vlir card`."""
    from ..show.card import MARK, card_page, draw_card  # matplotlib: a second

    folder, out = Path(args.folder), Path(args.out or args.folder)
    page = out / "README.md"
    if page.exists() and not page.read_text(encoding="utf-8", errors="replace").startswith(MARK):
        raise R3labError(f"{shown(str(page))} is not one of our cards; choose another folder with --out.")
    title = args.title if args.title is not None else folder.resolve().name
    left_out = _LeftOut()
    reading = read(folder, "vlir", strict=args.strict, on_skip=left_out)
    shown_as = tqdm(reading, desc="card", unit=" samples", disable=None, mininterval=1)
    found = measure(record.pair() for record in shown_as)
    if not found.samples:
        raise R3labError(f"{shown(str(folder))} holds no sample that can be read ({left_out.count:,} left out).")
    text = card_page(found, title)
    picture = draw_card(found, title).save(out / "card.png")
    with whole_file(page) as partial:
        partial.write_text(text, encoding="utf-8")
    print(f"{reading.summary}\n{page}\n{picture}")
    return 0


def convert(args: argparse.Namespace) -> int:
    """`r3lab vlir convert`."""
    left_out, lacking = _LeftOut(), _LeftOut()
    frame, budget = args.frame, tuple(args.budget)
    try:
        reading = read(args.source, args.given, frame, args.strict, args.images, args.boxes, budget, left_out)
        path = write(_writable(reading, args.to, args.strict, lacking), args.target, args.to)
    except ConvertError as error:  # the names of arguments in a message are the command's options
        options = re.sub(
            r"\b(frame|images|boxes|format)=", lambda m: f"--{m[1].replace('format', 'from')} ", str(error)
        )
        raise R3labError(options) from None
    print(f"{path}: {reading.taken - lacking.count:,} records, from {reading.format} to {args.to}")
    print(reading.summary + (f"; {lacking.count:,} of them cannot be written as {args.to}" if lacking.count else ""))
    return 0


def _writable(reading: Reading, to: str, strict: bool, tell: _LeftOut) -> Iterator[Record]:
    """The records that can be written, decoded one at a time: damage is found here, and costs no other record."""
    for record in tqdm(reading, desc="convert", unit=" records", disable=None, mininterval=1):
        try:
            if to in NEED_RATIONALE and record.rationale is None:
                raise ConvertError(f"it has no rationale, which {to} needs; write it as vlm-r3-rl or parquet")
            if to == "vlm-r3-sft":
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


class WorldSamples:
    """The samples of a world, drawn when they are wanted; their number is known before.

    Parameters
    ----------
    world, split, seed : see `World.sample`
    count : how many; `len` of this
    start : index of the first
    """

    def __init__(self, world: World, split: str, count: int, seed: int = 0, start: int = 0) -> None:
        self.world, self.split, self.seed, self.numbers = world, split, seed, range(start, start + count)

    def __len__(self) -> int:
        return len(self.numbers)

    def __iter__(self) -> Iterator[Sample]:
        return (self.world.sample(self.split, number, self.seed) for number in self.numbers)


def rationale(args: argparse.Namespace) -> int:
    """`r3lab vlir rationale`."""
    if (args.world is None) == (args.data is None):
        raise R3labError("give either --world NAME or --data FILE")
    world = get_world(args.world) if args.world is not None else None
    drawn = WorldSamples(world, args.split, args.count, args.seed, args.start) if world is not None else None
    if args.teacher == "world":
        if world is None or drawn is None:
            raise R3labError("only a world can teach its own samples; give --world NAME, or --teacher endpoint")
        print(write_vlir(args.out, ((sample, world.rationale(sample)) for sample in drawn)))
        return 0
    settings = EndpointSettings(**{one.name: getattr(args, one.name) for one in fields(EndpointSettings)})
    left_out = _LeftOut()
    samples: Iterable[Sample] = drawn if drawn is not None else []
    if drawn is None:
        reading = read(args.data, args.format, args.frame, images=args.images, on_skip=left_out)
        samples = _decoded(reading, left_out)
    try:
        tally = teach(samples, settings, args.out, args.limit, args.retry_rejected)
    except KeyboardInterrupt:
        what = "interrupted; the same command goes on where it stopped, asking nothing twice"
        print(f"\nr3lab vlir rationale: {what}", file=sys.stderr)
        return 130
    _report(tally, args.out)
    return int(bool(tally.count(FAILED)) or not tally.count(ACCEPTED))


def _decoded(reading: Reading, tell: _LeftOut) -> Iterator[Sample]:
    """The samples of a file; one whose image is damaged is left out."""
    for record in reading:
        try:
            yield record.sample()
        except R3labError as error:
            tell(f"{record.where}: {error}")


def _report(tally: Tally, out: Path) -> None:
    print(f"{out / 'vlir.jsonl'}: {tally}")
    for outcome in (REJECTED, FAILED):
        for reason, count in tally.reasons(outcome).items():
            print(f"  {outcome} {count:,}: {reason}")
    if tally.count(FAILED):
        print("The same command asks again about those that failed.")
