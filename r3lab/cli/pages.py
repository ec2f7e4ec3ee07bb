"""Commands that write pages: `browse` records, `dashboard` of logs, `report` of trajectories, `gallery` of all views.

Each page is one HTML file that needs no network.

    r3lab browse vlir/raw runs/eval -o browse.html --limit 2000 --budget 40
    r3lab browse vlir/raw#17 -o one.html
    r3lab dashboard paper=runs/a paper=runs/b grounded=runs/c --png dashboard.png --smooth 20
    r3lab report runs/rgrpo/rollouts/step-000050 runs/explain --title "Step 50"
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..core.errors import R3labError, shown
from ..core.settings import Reader
from ..show.browser import PAGE, browse
from ..show.browser_rows import read_rows
from ..show.curves import BANDS
from ..show.dashboard import dashboard
from ..show.gallery import draw_gallery
from ..show.player import read_entries, save_report
from ..show.text import clean

TOLD = 20  # records left out that are told one by one


def browse_command(arguments: Sequence[str] | None = None) -> int:
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
    parser = Reader(
        prog="r3lab browse",
        example="r3lab browse vlir/raw runs/eval -o runs/browse.html",
        description="Write VLIR samples, an evaluation's answers or trajectories as one HTML file to filter, page "
        "through and play, which needs no network.",
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
    if len(found.problems) > TOLD:
        print(f"left out: {len(found.problems) - TOLD:,} more, not told one by one", file=sys.stderr)
    view = browse(found, round(args.budget * 1e6), title=args.title or ", ".join(args.paths))
    path = view.save(args.out)
    opens = view.body.count('class="r3-held"')
    told = f", {opens:,} of them can be played in it" if opens < len(found.rows) else ""
    print(f"{clean(str(path))}: {len(found.rows):,} records{told}, {path.stat().st_size / 1e6:.1f} MB")
    return 0


def dashboard_command(arguments: Sequence[str] | None = None) -> int:
    """Run `r3lab dashboard`.

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
        If a log cannot be read or is none, is given twice, or a file cannot be written.
    """
    parser = Reader(
        prog="r3lab dashboard",
        example="r3lab dashboard assets/tiny/logs/rgrpo-0.jsonl -o runs/dashboard.html",
        description="Draw training logs, one or many over each other, as one HTML file that needs no network.",
    )
    parser.add_argument(
        "logs", nargs="+", metavar="LOG", help="a log or a run's folder; LABEL=LOG puts those of a label together"
    )
    parser.add_argument("-o", "--out", default="dashboard.html", metavar="FILE", help="default: dashboard.html")
    parser.add_argument("--png", metavar="FILE", help="a picture too (.png, .svg or .pdf)")
    parser.add_argument("--smooth", type=int, metavar="N", help="steps of the running mean (default: a twelfth of all)")
    parser.add_argument("--band", default="range", choices=BANDS, help="over several runs: lowest to highest, or 95 %%")
    parser.add_argument("--title", default="Training", help="over the page")
    args = parser.parse_args(None if arguments is None else list(arguments))
    found = dashboard(_runs(args.logs), smooth=args.smooth, band=args.band, title=args.title)
    if Path(args.out).suffix.lower() != ".html":
        raise R3labError(f"--out must end in .html, got {shown(args.out)}; --png takes a picture's name.")
    path = found.save(args.out)
    for note in found.charts.notes():
        print(clean(note))
    print(f"{clean(str(path))}: {len(found.charts.panels)} charts, {path.stat().st_size / 1e6:.1f} MB")
    if args.png:
        print(clean(str(found.save(args.png))))
    return 0


def _runs(given: Sequence[str]) -> Any:
    """Paths, or paths by label."""
    labelled: list[tuple[str, str]] = []
    for one in given:
        label, sign, path = one.partition("=")
        labelled.append((label, path) if sign and not Path(one).exists() else ("", one))
    seen: set[Path] = set()
    for _, path in labelled:
        if Path(path).resolve() in seen:
            raise R3labError(f"{shown(path)} is given twice; a run counts once.")
        seen.add(Path(path).resolve())
    if not any(label for label, _ in labelled):
        return [path for _, path in labelled]
    groups: dict[str, list[str]] = {}
    for label, path in labelled:
        if not label:
            raise R3labError(f"{shown(path)} has no label and others have; write LABEL={path[:60]}.")
        groups.setdefault(label, []).append(path)
    return groups


def report_command(arguments: Sequence[str] | None = None) -> int:
    """Run `r3lab report`.

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
        If a path holds no trajectory, one cannot be read, or the file cannot be written.
    """
    parser = Reader(
        prog="r3lab report",
        example="r3lab report runs/asked -o runs/report.html",
        description="Write trajectories, with the explanations beside them, as one HTML file that needs no network.",
    )
    parser.add_argument("paths", nargs="+", metavar="PATH", help="a trajectory's file or folder, or a folder of such")
    parser.add_argument("-o", "--out", default="report.html", metavar="FILE", help="default: report.html")
    parser.add_argument("--title", default="", help="over the report")
    args = parser.parse_args(None if arguments is None else list(arguments))
    entries = read_entries(args.paths)
    path = save_report(entries, args.out, args.title)
    count = f"{len(entries)} trajector{'y' if len(entries) == 1 else 'ies'}"
    print(f"{clean(str(path))}: {count}, {path.stat().st_size / 1e6:.1f} MB")
    return 0


def gallery_command(arguments: Sequence[str] | None = None) -> int:
    """Run `r3lab gallery`.

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
        If records are missing, or a folder cannot be written.
    """
    parser = Reader(
        prog="r3lab gallery",
        example="r3lab gallery -o runs/gallery",
        description="Draw every view from recorded trajectories.",
    )
    parser.add_argument("-o", "--out", default="runs/gallery", metavar="DIR", help="where to (default: runs/gallery)")
    parser.add_argument("--records", metavar="DIR", help="records to draw (default: the shipped ones)")
    parser.add_argument("--record", metavar="DIR", help="make records anew with the tiny policy, and draw nothing")
    parser.add_argument("--steps", type=int, default=24, metavar="N", help="of R-GRPO, with --record (default: 24)")
    args = parser.parse_args(None if arguments is None else list(arguments))
    if args.record:
        if not 1 <= args.steps <= 10_000:
            raise R3labError(f"--steps must be 1 to 10000, got {args.steps}.")
        from ..recipes.records import record  # torch and transformers: seconds

        print(f"{clean(str(record(args.record, steps=args.steps)))}: records")
        return 0
    written = draw_gallery(args.out, args.records)
    print(f"{len(written)} files; open {clean(str(written[-1]))}")
    return 0
