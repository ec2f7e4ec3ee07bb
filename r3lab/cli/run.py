"""`r3lab run`, `r3lab course` and `r3lab sweep`: a notebook, the course, and a notebook at many points.

    r3lab sweep notebooks/08_ablations.ipynb --points points.csv --dask tcp://127.0.0.1:8786 -o runs/sweeps/wide
    r3lab sweep --table runs/sweeps/wide/table.csv -o plots          # only draw

A sweep leaves in its folder `table.csv`, `plots.html`, and one folder a point. The same command
again goes on where it stopped. Codes: 0 all ended well, 1 a notebook failed, 2 something the user can mend, 130 Ctrl-C.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from ..core.errors import R3labError, shown
from ..core.settings import Count, Whole, at_least
from . import TOLD

if TYPE_CHECKING:  # these bring nbformat and papermill: a second, which --help need not wait for
    from ..run.point import Place
    from ..run.sweep import Plan, Summary

Seconds = Annotated[float, at_least(1, float)]


def run(
    notebook: str,
    *,
    p: Sequence[str] = (),
    quick: bool = False,
    full: bool = False,
    out: str = "runs",
    resume: bool = False,
    timeout: Seconds = 1800,
    timeout_cell: Seconds = 600,
) -> int:
    """Execute a notebook without a screen, into a folder of its own.

        r3lab run notebooks/01_look_again.ipynb -p samples=8 --quick

    Parameters
    ----------
    notebook : an .ipynb file
    p : NAME=VALUE, for a name in its cell tagged `parameters`
    quick, full : set its parameter quick to True, or to False
    out : root of the runs
    resume : keep what already ended well
    timeout, timeout_cell : seconds of the notebook, and of a cell
    """
    from ..run.notebook import run_notebook
    from ..run.parameters import parameters_of, read_notebook, read_values

    given = read_values(p, parameters_of(read_notebook(notebook)))
    result = run_notebook(notebook, given, out, timeout_cell, timeout, quick=_size(quick, full), resume=resume)
    print(result.describe())
    return _code([result.status])


def course(
    folder: str = "notebooks",
    *,
    full: bool = False,
    site: str = "",
    out: str = "runs",
    resume: bool = False,
    timeout: Seconds = 1800,
    timeout_cell: Seconds = 600,
) -> int:
    """Execute the notebooks of the course in order, whatever happens to those before; print a table.

        r3lab course --site runs/site

    Parameters
    ----------
    folder : of the notebooks
    full : the full setting
    site : make a static site of them there, if all ended well
    out : root of the runs
    resume : keep what already ended well
    timeout, timeout_cell : seconds of a notebook, and of a cell
    """
    from ..run import notebook

    results = notebook.course(folder, not full, out, resume, timeout_cell, timeout)
    code = _code([result.status for result in results])
    if site and code == 0:
        from ..run.site import build_site

        print(f"\nsite: {build_site(results, site)}")
    return code


def _size(quick: bool, full: bool) -> bool | None:
    """What is asked for of the notebook's parameter quick."""
    if quick and full:
        raise R3labError("--quick and --full are opposites; give one of them.")
    return True if quick else False if full else None


def _code(statuses: Sequence[str]) -> int:
    return 130 if "interrupted" in statuses else int(any(status != "ok" for status in statuses))


def sweep(
    notebook: str = "",
    *,
    p: Sequence[str] = (),
    points: str = "",
    quick: bool = False,
    full: bool = False,
    jobs: Count | None = None,
    dask: str = "",
    threads: Count | None = None,
    tls_ca: str = "",
    tls_cert: str = "",
    tls_key: str = "",
    retries: Whole = 1,
    timeout: Seconds = 1800,
    timeout_cell: Seconds = 600,
    out: str = "",
    table: str = "",
) -> int:
    """Execute a notebook at many points and gather one table. The same command again goes on.

        r3lab sweep notebooks/02_rgrpo.ipynb -p seed=0..4 --quick --jobs 2

    Parameters
    ----------
    notebook : an .ipynb file with a cell tagged `parameters`
    p : NAME=VALUES with commas between them, or a range: -p group=4,8,16 -p seed=0..4; every one meets every other
    points : a list of points: .csv, .json or .jsonl; crossed with -p
    quick, full : set the notebook's parameter quick to True, or to False
    jobs : at once on this machine (default: one a CUDA device, else cores / 2)
    dask : scheduler of workers, tcp://HOST:PORT or tls://HOST:PORT
    threads : OpenMP threads of a point (default: cores / jobs)
    tls_ca, tls_cert, tls_key : PEM files of the authority and of ours, for tls:// (default: dask's settings)
    retries : further tries of a failed point
    timeout, timeout_cell : seconds of a notebook, and of a cell
    out : folder of the sweep (default: runs/sweeps/NOTEBOOK)
    table : run nothing: draw the plots of this table into --out
    """
    if table:
        return _only_draw(table, out, bool(notebook or p or points))
    if not notebook:
        raise R3labError("Give a notebook, as in r3lab sweep NOTEBOOK -p seed=0..4, or --table FILE to draw one again.")
    tls = (tls_ca, tls_cert, tls_key)
    if any(tls) and not all(tls):
        raise R3labError("--tls-ca, --tls-cert and --tls-key belong together: give all three.")
    if any(tls) and not dask.startswith("tls://"):
        raise R3labError(f"--tls-* need an encrypted scheduler: --dask tls://HOST:PORT, got {shown(dask)}.")
    if dask and jobs:
        raise R3labError("--jobs is for this machine; with --dask there are as many at once as there are workers.")
    from ..run import sweep as sweeps
    from ..run.parameters import cross, parameters_of, read_grid, read_notebook, read_points
    from ..run.table import write_table

    defaults = parameters_of(read_notebook(notebook))
    listed: list[dict[str, Any]] = read_points(points, defaults) if points else [{}]
    chosen = cross(read_grid(p, defaults), listed)
    planned = sweeps.plan(notebook, chosen, _size(quick, full), timeout, timeout_cell)
    folder = Path(out or Path("runs", "sweeps", Path(notebook).stem))
    say = partial(print, flush=True)
    with sweeps.Store(folder) as store:
        place = _place(store.work, dask, tls, jobs, threads, len(planned.jobs))
        if planned.repeated:
            print(f"{planned.repeated} points were given more than once; each runs once")
        summary = sweeps.sweep(planned, store, place, retries, say)
        file = write_table(sweeps.table(planned, store), folder / "table.csv")
    return _tell(summary, planned, folder, file)


def _place(work: Path, dask: str, tls: tuple[str, str, str], jobs: int | None, threads: int | None, most: int) -> Place:
    """Where the points will run; says so."""
    from ..run.point import Machine, Workers, security

    count = f"{most} point{'s' * (most > 1)}"
    if dask:
        print(f"{count} on the workers of {dask}", flush=True)
        return Workers(dask, security(*tls), threads, say=partial(print, flush=True))
    place = Machine(work, jobs, most, threads)
    seen = [device for device in place.devices if device is not None]
    devices = f", devices {', '.join(dict.fromkeys(seen))}" if seen else ""
    each = f"{place.threads} thread{'s' * (place.threads > 1)} each"
    print(f"{count}, {place.jobs} at once with {each}{devices}", flush=True)
    return place


def _tell(summary: Summary, planned: Plan, folder: Path, table: Path) -> int:
    """Draw, and say how it ended and what to do."""
    files, remark = [table], ""
    if summary.done:
        from ..run.table import draw_table

        page, remark = draw_table(table, folder)
        files += [page] if page else []
    for key in summary.failed[:TOLD]:
        print(f"failed: {planned.title(key)}: the log is in {folder / 'points' / key}")
    if len(summary.failed) > TOLD:
        print(f"failed: {len(summary.failed) - TOLD} more, in the table")
    done = f"{summary.done} of {len(planned.jobs)} points are done"
    earlier = f", {summary.skipped} of them before" if summary.skipped else ""
    print(f"{done}{earlier}: {', '.join(map(str, files))}" + f" ({remark})" * bool(remark), flush=True)
    if summary.stopped or summary.trouble:
        why = "interrupted" if summary.stopped else f"error: {summary.trouble}"
        rest = summary.left + len(summary.failed)
        print(f"r3lab sweep: {why}; the same command goes on with the other {rest}", file=sys.stderr)
        return 130 if summary.stopped else 2
    return 1 if summary.failed else 0


def _only_draw(table: str, out: str, more: bool) -> int:
    from ..run.table import draw_table

    if more:
        raise R3labError("--table draws a table that is there: give it alone, or with -o FOLDER.")
    page, remark = draw_table(table, out or Path(table).parent)
    if page is None:
        raise R3labError(f"Nothing to draw in {shown(table)}: {remark}.")
    print(page)
    return 0
