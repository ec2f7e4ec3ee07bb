"""The contact sheet of a world: many samples at a glance, with their true regions, questions and answers.

Whoever makes or changes a world looks at this first: is the region where the answer is, is the digit legible in
it, is the question one that the picture can answer? The small picture beside each caption is the true region
itself. Simplified: the last true region of a sample stands for all of them in the small picture.

    r3lab worlds --sheet                                             # some of every world, into runs/worlds.png
    r3lab worlds --sheet --world badges --out runs/badges.png --split validation --count 36 --seed 1
    sheet(samples)
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path

from ..core.errors import R3labError, shown
from ..core.geometry import Size
from ..core.images import cut
from ..core.settings import Reader
from ..vlir.sample import Sample
from ..vlir.worlds import WORLDS, World, get_world
from ..vlir.worlds.material import SPLITS, split_number
from .canvas import Canvas, draw_truth, fitted
from .palette import SMALL, TITLE, style, theme
from .picture import FORMATS, Picture
from .steps import as_box, where_in
from .text import height, one_line, quoted, wrap

MARGIN, GAP, CARD, SPOT = 0.28, 0.2, 1.75, 0.46  # inches; the last is the side of the small picture
LINES = 3  # of a question
MOST = 400  # samples on one sheet


def sheet(samples: Sequence[Sample], title: str = "", columns: int = 6, dark: bool = False) -> Picture:
    """Draw samples with their truth.

    Parameters
    ----------
    samples
        At least one, at most 400.
    title
        Over the sheet.
    columns
        Samples in a row.
    dark
        For a dark page.

    Raises
    ------
    R3labError
        If there are none, or too many to be read.
    """
    if not 1 <= len(samples) <= MOST:
        raise R3labError(f"A contact sheet shows 1 to {MOST} samples, got {len(samples)}; choose another count.")
    chosen = theme(dark)
    columns = max(1, min(columns, len(samples)))
    head = wrap(title, columns * (CARD + GAP), TITLE, 2, bold=True)
    top = MARGIN + (height(len(head), TITLE) + 0.12 if head else 0.0)
    high = CARD + 0.08 + height(LINES + 1, SMALL) + 0.16
    rows = -(-len(samples) // columns)
    with style(chosen):
        canvas = Canvas(2 * MARGIN + columns * (CARD + GAP) - GAP, top + rows * high + MARGIN * 0.6, chosen)
        canvas.block(MARGIN, MARGIN, head, TITLE, chosen.ink, bold=True)
        for i, sample in enumerate(samples):
            row, column = divmod(i, columns)
            _card(canvas, sample, MARGIN + column * (CARD + GAP), top + row * high, f"sample-{i + 1}")
    return Picture(canvas.figure, _sheet_alt(samples, title))


def _card(canvas: Canvas, sample: Sample, x: float, y: float, gid: str) -> None:
    """A photograph with its true regions; under it the last region, the question and the answer."""
    size: Size = sample.image.size
    w, h = fitted(size, CARD, CARD)
    axes = canvas.picture(sample.image, x, y + CARD - h, w, h, (0, 0, *size), gid)
    regions = [box for region in sample.regions if (box := as_box(region)) is not None]
    for region in regions:
        draw_truth(axes, region)
    below, indent = y + CARD + 0.08, 0.0
    if regions:
        left, up, right, down = regions[-1]
        small = fitted((max(1, round(right - left)), max(1, round(down - up))), SPOT, SPOT)
        pixels = (max(1, round(small[0] * 200)), max(1, round(small[1] * 200)))
        canvas.picture(cut(sample.image, regions[-1], pixels), x, below, *small, regions[-1], f"{gid}-region")
        indent = SPOT + 0.08
    question = wrap(sample.question, CARD - indent, SMALL, LINES)
    y = canvas.block(x + indent, below - 0.02, question, SMALL, canvas.theme.ink)
    left_over = LINES + 1 - len(question)  # a card has one line more than a question may take
    answer = wrap(_answer(sample), CARD - indent, SMALL, left_over, bold=True)
    canvas.block(x + indent, y, answer, SMALL, canvas.theme.ink, bold=True)


def _answer(sample: Sample) -> str:
    need = {True: ", needs a look", False: ", no look needed", None: ""}[sample.needs_look]
    return f"{one_line(sample.answer, 40)}{need}"


def _sheet_alt(samples: Sequence[Sample], title: str) -> str:
    """What the sheet shows, in words: the counts, and the first samples one by one."""
    needed = sum(sample.needs_look is True for sample in samples)
    said = [
        f"Contact sheet{': ' + one_line(title, 200) if title else ''}, {len(samples)} samples, {needed} need a look."
    ]
    for i, sample in enumerate(samples[:6], start=1):
        place = f" at the {where_in(sample.regions[-1], sample.image.size)}" if sample.regions else ""
        said.append(f"Sample {i}: {quoted(sample.question)} {quoted(_answer(sample))}{place}.")
    if len(samples) > 6:
        said.append(f"{len(samples) - 6} more.")
    return " ".join(said)


def main(argv: Sequence[str] | None = None) -> int:
    """`r3lab worlds`: list the worlds, or draw samples and say how many a second are made.

    Parameters
    ----------
    argv
        Arguments after the command's name.

    Returns
    -------
    int
        0.

    Raises
    ------
    R3labError
        If the world, the split or the file's ending is unknown, two files are given, or the count is out of range.
    """
    parser = Reader(
        prog="r3lab worlds",
        example="r3lab worlds --sheet runs/worlds.png",
        description="List the worlds, or draw samples of them with their true regions.",
    )
    parser.add_argument(
        "--sheet", nargs="?", const="", metavar="FILE", help="draw a contact sheet (.png, .svg or .pdf)"
    )
    parser.add_argument("--out", metavar="FILE", help="where to (default: runs/worlds.png or runs/NAME.png)")
    parser.add_argument("--world", metavar="NAME", help="one world alone (default: all, in turn)")
    parser.add_argument("--split", default="train", metavar=f"{{{','.join(SPLITS)}}}", help="of the worlds")
    parser.add_argument("--count", type=int, default=24, metavar="N", help="samples (default: 24)")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="of the samples (default: 0)")
    args = parser.parse_args(None if argv is None else list(argv))
    if args.sheet and args.out:
        raise R3labError(f"Two files: --sheet {shown(args.sheet)} and --out {shown(args.out)}; give one.")
    chosen = [get_world(args.world)] if args.world else list(WORLDS.values())
    split_number(args.split)
    if args.sheet is None and args.out is None:
        for name, one in WORLDS.items():
            words = (sys.modules[type(one).__module__].__doc__ or "").strip().splitlines()
            print(f"{words[0] if words else name}")
        return 0
    path = Path(args.sheet or args.out or f"runs/{args.world or 'worlds'}.png")
    if path.suffix.lower().removeprefix(".") not in FORMATS:
        raise R3labError(f"Cannot draw into {shown(str(path))}: end its name in .{', .'.join(FORMATS)}.")
    if not 1 <= args.count <= MOST or args.seed < 0:
        raise R3labError(f"--count must be 1 to {MOST} and --seed at least 0, got {args.count} and {args.seed}.")
    samples: list[Sample] = []
    for place, world in enumerate(chosen):
        share = args.count // len(chosen) + (place < args.count % len(chosen))
        samples += [world.sample(args.split, index, args.seed) for index in range(share)]
        print(f"{world.name}: {speed(world, args.split, args.seed):.0f} samples a second")
    title = f"{', '.join(world.name for world in chosen)}; {args.split} split, seed {args.seed}"
    print(sheet(samples, title).save(path))
    return 0


def speed(world: World, split: str, seed: int, count: int = 40) -> float:
    """Samples a second of processor time that a world makes on one core, once its material has been read.

    Parameters
    ----------
    count
        Samples that are timed; as many are made before, so that photographs and fonts are at hand.
    """
    for index in range(count):
        world.sample(split, index, seed)
    start = time.process_time()
    for index in range(count, 2 * count):
        world.sample(split, index, seed)
    return count / max(time.process_time() - start, 1e-9)
