"""`r3lab run`, `r3lab course` and `r3lab sweep`: a notebook, the course, and a notebook at many points.

    r3lab run notebooks/01_look_again.ipynb -p samples=8 --quick
    r3lab course --site runs/site
    r3lab sweep notebooks/08_ablations.ipynb -p group=4,8,16 -p seed=0..4 --quick --jobs 2
    r3lab sweep notebooks/08_ablations.ipynb --points points.csv --dask tcp://127.0.0.1:8786 -o runs/sweeps/wide
    r3lab sweep --table runs/sweeps/wide/table.csv -o plots          # only draw

A sweep leaves in its folder `table.csv` (and `table.parquet`), `plots.html`, and one folder a point. The same command
again goes on where it stopped. Codes: 0 all ended well, 1 a notebook failed, 2 something the user can mend, 130 Ctrl-C.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.errors import R3labError, shown
from ..core.settings import Reader, at_least

if TYPE_CHECKING:  # these bring nbformat and papermill: a second, which --help need not wait for
    from ..run.places import Place
    from ..run.sweep import Plan, Summary

TOLD = 20  # failed points that are named one by one


def run_command(argv: Sequence[str]) -> int:
    """`r3lab run`: execute one notebook."""
    reader = Reader(
        prog="r3lab run",
        description="Execute a notebook without a screen, into a folder of its own.",
        example="r3lab run notebooks/01_look_again.ipynb -p samples=8 --quick",
    )
    reader.add_argument("notebook", help="an .ipynb file")
    reader.add_argument(
        "-p", dest="parameters", type=_pair, action="append", default=[], metavar="NAME=VALUE",
        help="a value for a name in its cell tagged `parameters`",
    )  # fmt: skip
    _add_size(reader)
    _add_run_options(reader)
    args = reader.parse_args(argv)
    from ..run.notebook import run_notebook
    from ..run.parameters import parameters_of, read_notebook, read_values

    given = read_values(args.parameters, parameters_of(read_notebook(args.notebook)))
    result = run_notebook(
        args.notebook, given, args.out, args.timeout_cell, args.timeout, quick=args.quick, resume=args.resume
    )
    print(result.describe())
    return _code([result.status])


def course_command(argv: Sequence[str]) -> int:
    """`r3lab course`: execute the notebooks of the course, and make a site of them."""
    reader = Reader(
        prog="r3lab course",
        description="Execute the notebooks of the course in order, whatever happens to those before; print a table.",
        example="r3lab course --site runs/site",
    )
    reader.add_argument("folder", nargs="?", default="notebooks", help="of the notebooks (default: notebooks)")
    reader.add_argument("--full", dest="quick", action="store_false", help="the full setting")
    reader.add_argument("--site", metavar="DIR", help="make a static site of them there, if all ended well")
    _add_run_options(reader)
    args = reader.parse_args(argv)
    from ..run.notebook import course

    results = course(args.folder, args.quick, args.out, args.resume, args.timeout_cell, args.timeout)
    code = _code([result.status for result in results])
    if args.site and code == 0:
        from ..run.site import build_site

        print(f"\nsite: {build_site(results, args.site)}")
    return code


def _add_size(reader: Any) -> None:
    size = reader.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", default=None, help="set its parameter quick to True")
    size.add_argument("--full", dest="quick", action="store_false", help="set its parameter quick to False")


def _add_limits(reader: Any) -> None:
    reader.add_argument("--timeout", type=at_least(1, float), default=1800, metavar="S", help="a notebook's seconds")
    reader.add_argument("--timeout-cell", type=at_least(1, float), default=600, metavar="S", help="a cell's seconds")


def _add_run_options(reader: Any) -> None:
    reader.add_argument("-o", "--out", default="runs", metavar="DIR", help="root of the runs")
    reader.add_argument("--resume", action="store_true", help="keep what already ended well")
    _add_limits(reader)


def _pair(text: str) -> str:
    if "=" not in text:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE; write -p {text}=VALUE")
    return text


def _code(statuses: Sequence[str]) -> int:
    return 130 if "interrupted" in statuses else int(any(status != "ok" for status in statuses))


def sweep_command(argv: Sequence[str]) -> int:
    """`r3lab sweep`: execute a notebook at many points into one table; all of them are checked first."""
    args = sweep_reader().parse_args(argv)
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


def sweep_reader() -> Reader:
    """The options of `r3lab sweep`."""
    parser = Reader(
        prog="r3lab sweep",
        description="Execute a notebook at many points and gather one table. The same command again goes on.",
        example="r3lab sweep notebooks/02_rgrpo.ipynb -p seed=0..4 --quick --jobs 2",
    )
    parser.add_argument("notebook", nargs="?", help="an .ipynb file with a cell tagged `parameters`")
    points = parser.add_argument_group("points")
    points.add_argument(
        "-p", dest="parameters", type=_pair, action="append", default=[], metavar="NAME=VALUES",
        help="values with commas between them, or a range: -p group=4,8,16 -p seed=0..4; every one meets every other",
    )  # fmt: skip
    points.add_argument("--points", metavar="FILE", help="a list of points: .csv, .json or .jsonl; crossed with -p")
    _add_size(points)

    where = parser.add_argument_group("where they run")
    where.add_argument(
        "--jobs",
        type=at_least(1),
        metavar="N",
        help="at once on this machine (default: one a CUDA device, else cores / 2)",
    )
    where.add_argument("--dask", metavar="ADDRESS", help="scheduler of workers, tcp://HOST:PORT or tls://HOST:PORT")
    where.add_argument(
        "--threads", type=at_least(1), metavar="N", help="OpenMP threads of a point (default: cores / jobs)"
    )
    for name, text in (("ca", "certificate of the authority"), ("cert", "our certificate"), ("key", "our key")):
        where.add_argument(f"--tls-{name}", metavar="FILE", help=f"{text}, for tls:// (default: dask's settings)")

    run = parser.add_argument_group("how")
    run.add_argument("--retries", type=at_least(0), default=1, metavar="N", help="further tries of a failed point")
    _add_limits(run)
    run.add_argument("-o", "--out", metavar="FOLDER", help="default: runs/sweeps/NOTEBOOK")
    run.add_argument("--table", metavar="FILE", help="run nothing: draw the plots of this table into --out")
    return parser


def _check(args: argparse.Namespace) -> None:
    """Refuse what cannot be, before anything is read."""
    if args.notebook is None:
        raise R3labError("Give a notebook, as in r3lab sweep NOTEBOOK -p seed=0..4, or --table FILE to draw one again.")
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
        from ..run.table import draw_table

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
    from ..run.table import draw_table

    if args.notebook or args.parameters or args.points:
        raise R3labError("--table draws a table that is there: give it alone, or with -o FOLDER.")
    page, remark = draw_table(args.table, args.out or Path(args.table).parent)
    if page is None:
        raise R3labError(f"Nothing to draw in {shown(args.table)}: {remark}.")
    print(page)
    return 0
