"""`r3lab sweep`: a notebook over a grid or a list of points, on this machine or on workers, and a table of it.

    r3lab sweep notebooks/08_ablations.ipynb -p group=4,8,16 -p seed=0..4 --quick --jobs 2
    r3lab sweep notebooks/08_ablations.ipynb --points points.csv --dask tcp://127.0.0.1:8786 -o runs/sweeps/wide
    r3lab sweep --table runs/sweeps/wide/table.csv -o plots          # only draw

In the folder: `table.csv` (and `table.parquet`), `plots.html`, and one folder a point. The same command again goes on
where it stopped. Codes: 0 all points are done, 1 a point failed, 2 something the user can mend, 130 Ctrl-C.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.errors import R3labError, shown

if TYPE_CHECKING:  # these bring nbformat and papermill: a second, which --help need not wait for
    from ..run.places import Place
    from ..run.sweep import Plan, Summary

TOLD = 20  # failed points that are named one by one


def sweep_command(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Parameters
    ----------
    argv
        Arguments after `r3lab sweep`.

    Returns
    -------
    int
        The exit code.

    Raises
    ------
    R3labError
        If something given cannot be used; nothing has started then.
    """
    parser = build_parser()
    args = parser.parse_args(None if argv is None else list(argv))
    if args.table is not None:
        return _only_draw(args)
    from ..run.parameters import cross, parameters_of, read_grid, read_notebook, read_points
    from ..run.sweep import Store, plan, sweep, table
    from ..run.table import write_table

    _check(args)
    defaults = parameters_of(read_notebook(args.notebook))
    listed: list[dict[str, Any]] = read_points(args.points, defaults) if args.points else [{}]
    points = cross(read_grid(args.parameters, defaults), listed)
    planned = plan(args.notebook, points, args.quick, args.timeout, args.timeout_cell)
    folder = Path(args.out or Path("runs", "sweeps", Path(args.notebook).stem))
    with Store(folder) as store:
        place = _place(args, planned)
        if planned.repeated:
            print(f"{planned.repeated} points were given more than once; each runs once")
        summary = sweep(planned, store, place, args.retries, say=lambda line: print(line, flush=True))
        files, word = write_table(table(planned, store), folder / "table")
    return _tell(summary, planned, folder, files, word)


def build_parser() -> argparse.ArgumentParser:
    """All options."""
    parser = argparse.ArgumentParser(
        prog="r3lab sweep",
        description="Execute a notebook at many points and gather one table. The same command again goes on.",
        allow_abbrev=False,
    )
    parser.add_argument("notebook", nargs="?", help="an .ipynb file with a cell tagged `parameters`")
    points = parser.add_argument_group("points")
    points.add_argument(
        "-p", dest="parameters", action="append", default=[], metavar="NAME=VALUES",
        help="values with commas between them, or a range: -p group=4,8,16 -p seed=0..4; every one meets every other",
    )  # fmt: skip
    points.add_argument("--points", metavar="FILE", help="a list of points: .csv, .json or .jsonl; crossed with -p")
    size = points.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", default=None, help="set its parameter quick to True")
    size.add_argument("--full", dest="quick", action="store_false", help="set its parameter quick to False")

    where = parser.add_argument_group("where they run")
    where.add_argument(
        "--jobs", type=int, metavar="N", help="at once on this machine (default: one a CUDA device, else cores / 2)"
    )
    where.add_argument("--dask", metavar="ADDRESS", help="scheduler of workers, tcp://HOST:PORT or tls://HOST:PORT")
    where.add_argument("--threads", type=int, metavar="N", help="OpenMP threads of a point (default: cores / jobs)")
    for name, text in (("ca", "certificate of the authority"), ("cert", "our certificate"), ("key", "our key")):
        where.add_argument(f"--tls-{name}", metavar="FILE", help=f"{text}, for tls:// (default: dask's settings)")

    run = parser.add_argument_group("how")
    run.add_argument("--retries", type=int, default=1, metavar="N", help="further tries of a failed point (default: 1)")
    run.add_argument("--timeout", type=float, default=1800, metavar="S", help="a notebook's seconds (default: 1800)")
    run.add_argument("--timeout-cell", type=float, default=600, metavar="S", help="a cell's seconds (default: 600)")
    run.add_argument("-o", "--out", metavar="FOLDER", help="default: runs/sweeps/NOTEBOOK")
    run.add_argument("--table", metavar="FILE", help="run nothing: draw the plots of this table into --out")
    return parser


def _check(args: argparse.Namespace) -> None:
    """Refuse what cannot be, before anything is read."""
    if args.notebook is None:
        raise R3labError("Give a notebook, as in r3lab sweep NOTEBOOK -p seed=0..4, or --table FILE to draw one again.")
    least = {"jobs": 1, "threads": 1, "retries": 0, "timeout": 1, "timeout_cell": 1}
    for name, low in least.items():
        value = getattr(args, name)
        if value is not None and not low <= value < 1e9:
            raise R3labError(f"--{name.replace('_', '-')} must be a number of at least {low}, got {value}.")
    tls = [getattr(args, f"tls_{name}") for name in ("ca", "cert", "key")]
    if any(tls) and not all(tls):
        raise R3labError("--tls-ca, --tls-cert and --tls-key belong together: give all three.")
    if any(tls) and not (args.dask or "").startswith("tls://"):
        raise R3labError(f"--tls-* need an encrypted scheduler: --dask tls://HOST:PORT, got {shown(args.dask)}.")
    if args.dask and args.jobs:
        raise R3labError("--jobs is for this machine; with --dask there are as many at once as there are workers.")


def _place(args: argparse.Namespace, planned: Plan) -> Place:
    """Where the points will run; says so."""
    count = f"{len(planned.jobs)} point{'s' * (len(planned.jobs) > 1)}"
    if args.dask:
        from ..run.places import Workers, security

        tls = security(args.tls_ca, args.tls_cert, args.tls_key)
        place = Workers(args.dask, tls, args.threads, say=lambda line: print(line, flush=True))
        print(f"{count} on the workers of {args.dask}", flush=True)
        return place
    from ..run.places import Machine, share_out

    share = share_out(args.jobs, most=len(planned.jobs), threads=args.threads)
    seen = [device for device in share.devices if device is not None]
    shared = ", which some share" if len(set(seen)) < len(seen) else ""
    devices = f", devices {', '.join(dict.fromkeys(seen))}{shared}" if seen else ""
    threads = f"{share.threads} thread{'s' * (share.threads > 1)} each"
    print(f"{count}, {share.jobs} at once with {threads}{devices}", flush=True)
    return Machine(share)


def _tell(summary: Summary, planned: Plan, folder: Path, files: Sequence[Path], word: str) -> int:
    """Draw, and say how it ended and what to do."""
    if summary.done:
        from ..run.plots import draw_table

        page, remark = draw_table(files[0], folder)
        word = "; ".join(filter(None, (word, remark)))
        files = [*files, *([page] if page else [])]
    for key in summary.failed[:TOLD]:
        print(f"failed: {planned.title(key)}: the log is in {folder / 'points' / key}")
    if len(summary.failed) > TOLD:
        print(f"failed: {len(summary.failed) - TOLD} more, in the table")
    done = f"{summary.done} of {len(planned.jobs)} points are done"
    earlier = f", {summary.skipped} of them before" if summary.skipped else ""
    print(f"{done}{earlier}: {', '.join(map(str, files))}" + (f" ({word})" if word else ""), flush=True)
    if summary.stopped or summary.trouble:
        why = "interrupted" if summary.stopped else f"error: {summary.trouble}"
        rest = summary.left + len(summary.failed)
        print(f"r3lab sweep: {why}; the same command goes on with the other {rest}", file=sys.stderr)
        return 130 if summary.stopped else 2
    return 1 if summary.failed else 0


def _only_draw(args: argparse.Namespace) -> int:
    from ..run.plots import draw_table

    if args.notebook or args.parameters or args.points:
        raise R3labError("--table draws a table that is there: give it alone, or with -o FOLDER.")
    page, remark = draw_table(args.table, args.out or Path(args.table).parent)
    if page is None:
        raise R3labError(f"Nothing to draw in {shown(args.table)}: {remark}.")
    print(page)
    return 0
