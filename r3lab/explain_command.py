"""`r3lab explain`: why a recorded trajectory's looks were taken, whether they mattered, and the record of that.

    r3lab explain runs/ask/20260101-120000
    r3lab explain runs/rollouts/trajectories.jsonl --number 3 --look 1 --quick --out runs/explain/third

Prints the evidence as a table and the sentences, and saves the explanation with its picture in a folder of its own. The
other trajectories of a file lend what they saw (`--others` names more); a trajectory alone is its own donor.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from .assets_path import shipped_policy
from .errors import R3labError, shown
from .explain.explanation import Explanation
from .explain.explanation_files import check_free
from .explain.verdict import QUICK, Settings, explain
from .models.policy import Policy
from .show.alt import save
from .show.explanation import explanation_alt, explanation_figure
from .show.lettering import one_line
from .trajectory import Trajectory, load

PICTURE = "explanation.png"


def main(argv: Sequence[str] | None = None) -> int:
    """Explain one trajectory.

    Parameters
    ----------
    argv
        Arguments after `r3lab explain`.

    Returns
    -------
    int
        0: done, whatever the verdict is.

    Raises
    ------
    R3labError
        If something given cannot be used; nothing is written then.
    """
    args = build_parser().parse_args(None if argv is None else list(argv))
    found = read(args.trajectory)
    if not 1 <= args.number <= len(found):
        raise R3labError(f"there is no trajectory {args.number}; the file has {len(found)}, counted from 1")
    chosen = found[args.number - 1]
    count = len(chosen.looks)
    if args.look is not None and not 1 <= args.look <= count:
        raise R3labError(f"there is no look {args.look}; the trajectory has {count}, counted from 1")
    others = [t for t in found if t is not chosen] + [t for path in args.others for t in read(path)]
    folder = Path(args.out) if args.out else Path("runs", "explain", time.strftime("%Y%m%d-%H%M%S"))
    check_free(folder)
    policy = Policy.load(args.model or shipped_policy())
    look = None if args.look is None else args.look - 1
    explanation = explain(policy, chosen, others, look, QUICK if args.quick else Settings(), progress=True)
    explanation.save(folder)
    save(explanation_figure(explanation), folder / PICTURE, explanation_alt(explanation))
    write(explanation)
    say(f"saved: {folder} (explanation.json, {PICTURE})")
    return 0


def build_parser() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(
        prog="r3lab explain",
        description="Say why each look of a trajectory was taken and whether it mattered, with the evidence.",
        allow_abbrev=False,
    )
    parser.add_argument("trajectory", help="trajectory.json, trajectories.jsonl, or a folder that holds one of them")
    parser.add_argument("--model", metavar="PATH", help="the checkpoint that wrote it (default: the tiny policy)")
    parser.add_argument("--number", type=int, default=1, metavar="N", help="of a file of many, from 1 (default: 1)")
    parser.add_argument("--look", type=int, metavar="N", help="this look alone, from 1 (default: all)")
    parser.add_argument(
        "--others",
        nargs="+",
        default=[],
        metavar="PATH",
        help="trajectories that lend what they saw, beside the file's",
    )
    parser.add_argument("--out", metavar="DIR", help="folder to make (default: runs/explain/TIME)")
    parser.add_argument("--quick", action="store_true", help="fewer interventions, and no map of every place")
    return parser


def read(path: str | Path) -> list[Trajectory]:
    """The trajectories of a file or folder.

    Raises
    ------
    R3labError
        If there are none.
    """
    found = load(path)
    every = found if isinstance(found, list) else [found]
    if not every:
        raise R3labError(f"{shown(str(path))} holds no trajectory; name another file")
    return every


def write(explanation: Explanation) -> None:
    """Print the table and the sentences; foreign text is made harmless for a terminal."""
    for look, what, value in explanation.table():
        say(f"{what}: {value}" if look == "all" else f"{look}  {what}: {value}")
    say("")
    for entry in explanation.looks:
        say(entry.sentence)
    say(explanation.sentence)


def say(line: str) -> None:
    """One line, with a question mark for what the terminal's encoding lacks."""
    coding = getattr(sys.stdout, "encoding", None) or "utf-8"
    print(one_line(line, 2000).encode(coding, "replace").decode(coding))
