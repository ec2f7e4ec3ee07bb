"""The command `r3lab dashboard`: training logs as one HTML file.

r3lab dashboard runs/rgrpo -o dashboard.html
r3lab dashboard paper=runs/a paper=runs/b grounded=runs/c --png dashboard.png --smooth 20
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .errors import R3labError, shown
from .show.dashboard import dashboard
from .show.dashboard_bands import BANDS
from .show.dashboard_groups import AUTO
from .show.lettering import clean


def main(arguments: Sequence[str] | None = None) -> int:
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
    parser = argparse.ArgumentParser(
        prog="r3lab dashboard",
        description="Draw training logs, one or many over each other, as one HTML file that needs no network.",
    )
    parser.add_argument(
        "logs", nargs="+", metavar="LOG", help="a log or a run's folder; LABEL=LOG puts those of a label together"
    )
    parser.add_argument("-o", "--out", default="dashboard.html", metavar="FILE", help="default: dashboard.html")
    parser.add_argument("--png", metavar="FILE", help="a picture too (.png, .svg or .pdf)")
    parser.add_argument("--smooth", type=int, metavar="N", help="steps of the running mean (default: a twelfth of all)")
    parser.add_argument("--band", default="range", choices=BANDS, help="over several runs: lowest to highest, or 95 %%")
    parser.add_argument(
        "--by", default=AUTO, metavar="HOW", help="group unlabelled runs: auto, run (not at all), or a setting's name"
    )
    parser.add_argument("--title", default="Training", help="over the page")
    args = parser.parse_args(None if arguments is None else list(arguments))
    found = dashboard(_runs(args.logs), smooth=args.smooth, band=args.band, by=args.by, title=args.title)
    if Path(args.out).suffix.lower() != ".html":
        raise R3labError(f"--out must end in .html, got {shown(args.out)}; --png takes a picture's name.")
    path = found.save(args.out)
    for note in found.board.notes():
        print(clean(note))
    print(f"{clean(str(path))}: {len(found.board.panels)} charts, {path.stat().st_size / 1e6:.1f} MB")
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
