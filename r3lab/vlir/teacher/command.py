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
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from ...errors import R3labError, nearest
from ..convert import Reading, read
from ..sample import Sample, write_vlir
from .endpoint import EndpointSettings
from .question import MAX_SIDE
from .reply import MIN_IOU
from .run import teach
from .tally import ACCEPTED, FAILED, Prices, Tally

if TYPE_CHECKING:
    from ..worlds import World

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


def main(arguments: Sequence[str]) -> int:
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
        from ..worlds import get_world  # brings matplotlib

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
