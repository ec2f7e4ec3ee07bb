"""The command `r3lab report`: saved trajectories as one HTML file.

r3lab report runs/ask -o report.html
r3lab report runs/rgrpo/rollouts/step-000050 runs/explain --title "Step 50"
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from .show.lettering import clean
from .show.report import read_entries, save_report


def main(arguments: Sequence[str] | None = None) -> int:
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
    parser = argparse.ArgumentParser(
        prog="r3lab report",
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
