"""The command `r3lab browse`: VLIR samples, an evaluation's answers or trajectories as one page to filter and play.

r3lab browse vlir/raw -o browse.html
r3lab browse runs/eval runs/rgrpo/rollouts --limit 2000 --budget 40
r3lab browse vlir/raw#17 -o one.html
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from tqdm import tqdm

from .errors import R3labError, shown
from .show.browser import PAGE, browser_of
from .show.browser_read import read_rows
from .show.lettering import clean

TOLD = 20  # records left out that are told one by one


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `r3lab browse`.

    Parameters
    ----------
    arguments
        Behind the command's name.

    Returns
    -------
    int
        0.

    Raises
    ------
    R3labError
        If a path holds no records, none of them fits, or the file cannot be written.
    """
    parser = argparse.ArgumentParser(
        prog="r3lab browse",
        description="Write VLIR samples, an evaluation's answers or trajectories as one HTML file to filter, page "
        "through and play, which needs no network.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "paths", nargs="+", metavar="PATH",
        help="a VLIR folder, the folder of `r3lab eval`, or one of trajectories; PATH#N is its N-th record",
    )  # fmt: skip
    parser.add_argument("-o", "--out", default="browse.html", metavar="FILE", help="default: browse.html")
    parser.add_argument("--limit", type=int, metavar="N", help="the first N records of each path (default: all)")
    parser.add_argument(
        "--budget", type=float, default=PAGE / 1e6, metavar="MB",
        help=f"that the records which can be played may take; the others are listed (default: {PAGE / 1e6:g})",
    )  # fmt: skip
    parser.add_argument("--title", default="", help="over the page")
    args = parser.parse_args(None if arguments is None else list(arguments))
    if Path(args.out).suffix.lower() != ".html":
        raise R3labError(f"Cannot write a browser to {shown(args.out)}: end its name in .html.")
    if not (math.isfinite(args.budget) and 0 <= args.budget <= 1000):
        raise R3labError(f"--budget must be 0 to 1000 MB, got {args.budget}.")
    found = read_rows(args.paths, args.limit)
    for problem in found.problems[:TOLD]:
        print(f"left out: {clean(problem)}", file=sys.stderr)
    if found.left_out > TOLD:
        print(f"left out: {found.left_out - TOLD:,} more, not told one by one", file=sys.stderr)
    bar = partial(tqdm, desc="browse", unit=" records", disable=None, mininterval=1)
    view = browser_of(found, round(args.budget * 1e6), args.title or ", ".join(args.paths), each=bar)
    path = view.save(args.out)
    opens = view.body.count('class="r3-held"')
    told = f", {opens:,} of them can be played in it" if opens < len(found.rows) else ""
    print(f"{clean(str(path))}: {len(found.rows):,} records{told}, {path.stat().st_size / 1e6:.1f} MB")
    return 0
