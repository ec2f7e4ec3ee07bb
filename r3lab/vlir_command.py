"""`r3lab vlir`: build samples of the worlds, filter them, draw their card, convert them from and to public formats.

Every step reads one folder or file and makes a new one, which appears whole or not at all, also after Ctrl-C. A record
that does not fit is left out with its line and the reason, or ends the run with `--strict`.

    r3lab vlir build --world badges trails --count 1000 --spread 0.2 --needless 0.3 --hasty 0.1 --out vlir/raw
    r3lab vlir filter vlir/raw --out vlir/kept --judge-model runs/cold-start/policy
    r3lab vlir card vlir/kept
    r3lab vlir convert vlir/kept vlir/official --to vlm-r3-sft
"""

from __future__ import annotations

import argparse
import math
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from .errors import R3labError, shown
from .vlir.card import measure
from .vlir.convert import BUDGET, FORMATS, ConvertError, FrameName, Reading, Record, read, write
from .vlir.convert.official import SFT, sft_record
from .vlir.convert.output import whole_file
from .vlir.filters.judges import Judge
from .vlir.filters.limits import Limits
from .vlir.filters.sift import open_folder, sift_folder
from .vlir.filters.table import FILTERS
from .vlir.rationale import imperfect
from .vlir.worlds import WORLDS, get_world
from .vlir.worlds.material import SPLITS, split_number

TOLD = 20  # records left out that are told one by one
NEED_RATIONALE = ("vlir", SFT)  # formats that hold no bare sample


def main(argv: Sequence[str] | None = None) -> int:
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
        from .judges import policy_judges  # torch: seconds
        from .models.policy import Policy

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
    from .show.alt import save  # matplotlib: a second
    from .show.card import draw_card
    from .show.card_page import MARK, card_alt, card_page

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
    picture = save(draw_card(found, title), out / "card.png", card_alt(found, title))
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
