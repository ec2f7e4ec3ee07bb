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
    from ..run.sweep import Summary

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
    page: str = "",
) -> int:
    """Execute a notebook without a screen, into a folder of its own.

        r3lab run notebooks/02_rgrpo.ipynb --quick --page notebooks/02_rgrpo.html

    Parameters
    ----------
    notebook : an .ipynb file
    p : NAME=VALUE, for a name in its cell tagged `parameters`
    quick, full : set its parameter quick to True, or to False
    out : root of the runs
    resume : keep what already ended well
    timeout : seconds of the notebook
    page : write its page there too, with small pictures, to be kept beside the notebook
    """
    from ..run import notebook as notebooks
    from ..run.site import keep_page

    given = notebooks.read_values(p, notebooks.parameters_of(notebooks.read_notebook(notebook)))
    result = notebooks.run_notebook(notebook, given, out, timeout, quick=_size(quick, full), resume=resume)
    print(result.describe())
    if page and result.status == "ok":
        print(keep_page(result, page))
    return _code([result.status])


def course(
    folder: str = "notebooks",
    *,
    full: bool = False,
    site: str = "",
    out: str = "runs",
    resume: bool = False,
    timeout: Seconds = 1800,
) -> int:
    """Execute the notebooks of the course in order, whatever happens to those before; print times and peak memory.

        r3lab course --site runs/site

    Parameters
    ----------
    folder : of the notebooks
    full : the full setting
    site : make a static site of them there, if all ended well
    out : root of the runs
    resume : keep what already ended well
    timeout : seconds of a notebook
    """
    from ..run import notebook

    results = notebook.course(folder, not full, out, resume, timeout)
    code = _code([result.status for result in results])
    if site and code == 0:
        from ..run.site import build_site

        print(f"\nsite: {build_site(results, site, folder)}")
    return code


def _size(quick: bool, full: bool) -> bool | None:
    """What is asked for of the notebook's parameter quick."""
    if quick and full:
        raise R3labError("--quick and --full are opposites; give one of them.")
    return quick if quick or full else None


def _code(statuses: Sequence[str]) -> int:
    return 130 if "interrupted" in statuses else int(any(status != "ok" for status in statuses))


def pinned(points: Sequence[dict[str, Any]], defaults: dict[str, Any]) -> list[dict[str, Any]]:
    """The same points; rewards, worlds and arms in them are found usable before the first point starts, and a file of
    one's own has its hash in its name, so that a point whose file was changed is another point.

    A parameter is one of these by its name, if its default in the notebook is one too; a file's is so anyway.
    """
    from ..core.arms import OWN as ARMS
    from ..train.own_rewards import pinned_reward
    from ..vlir.worlds import pinned_worlds

    kinds = {"reward": pinned_reward, "world": pinned_worlds, "worlds": pinned_worlds, "arm": ARMS.pinned}

    def one(name: str, value: Any) -> Any:
        if name not in kinds or not isinstance(value, str):
            return value
        if ".py:" not in value:
            try:
                kinds[name](defaults[name])
            except R3labError:
                return value  # what the notebook means by this name is its own
        return kinds[name](value)

    return [{name: one(name, value) for name, value in point.items()} for point in points]


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
    timeout : seconds of a notebook
    out : folder of the sweep (default: runs/sweeps/NOTEBOOK)
    table : run nothing: draw the plots of this table into --out
    """
    tls = tuple(filter(None, (tls_ca, tls_cert, tls_key)))
    if table and (notebook or p or points):
        raise R3labError("--table draws a table that is there: give it alone, or with -o FOLDER.")
    if not (table or notebook):
        raise R3labError("Give a notebook, as in r3lab sweep NOTEBOOK -p seed=0..4, or --table FILE to draw one again.")
    if tls and not (len(tls) == 3 and dask.startswith("tls://")):
        raise R3labError("--tls-ca, --tls-cert and --tls-key belong together, and to --dask tls://HOST:PORT.")
    if dask and jobs:
        raise R3labError("--jobs is for this machine; with --dask there are as many at once as there are workers.")
    from ..run import sweep as sweeps
    from ..run.notebook import parameters_of, read_notebook
    from ..run.point import Machine, Workers
    from ..run.table import draw_table, write_table

    if table:
        page, remark = draw_table(table, out or Path(table).parent)
        if page is None:
            raise R3labError(f"Nothing to draw in {shown(table)}: {remark}.")
        print(page)
        return 0
    defaults = parameters_of(read_notebook(notebook))
    chosen = sweeps.cross(
        sweeps.read_grid(p, defaults), sweeps.read_points(points, defaults) if points else [dict[str, object]()]
    )
    chosen = pinned(chosen, defaults)
    planned = sweeps.plan(notebook, chosen, _size(quick, full), timeout)
    most = len(planned)
    folder = Path(out or Path("runs", "sweeps", Path(notebook).stem))
    with sweeps.Store(folder) as store:
        place: Place = Workers(dask, tls, threads) if dask else Machine(store.work, jobs, most, threads)
        print(f"{most} point{'s' * (most > 1)}, {place}", flush=True)
        if len(chosen) > most:
            print(f"{len(chosen) - most} points were given more than once; each runs once")
        summary = sweeps.sweep(planned, store, place, retries, partial(print, flush=True))
        files, remark = [write_table(sweeps.table(planned, store), folder / "table.csv")], ""
    if summary.done:
        page, remark = draw_table(files[0], folder)
        files += [page] if page else []
    return _tell(summary, sweeps.titles(planned), folder, ", ".join(map(str, files)) + f" ({remark})" * bool(remark))


def _tell(summary: Summary, titles: dict[str, str], folder: Path, made: str) -> int:
    """Say how it ended and what to do; the code."""
    for key in summary.failed[:TOLD]:
        print(f"failed: {titles[key]}: the log is in {folder / 'points' / key}")
    if len(summary.failed) > TOLD:
        print(f"failed: {len(summary.failed) - TOLD} more, in the table")
    earlier = f", {summary.skipped} of them before" if summary.skipped else ""
    print(f"{summary.done} of {len(titles)} points are done{earlier}: {made}", flush=True)
    if summary.stopped or summary.trouble:
        why = "interrupted" if summary.stopped else f"error: {summary.trouble}"
        print(
            f"r3lab sweep: {why}; the same command goes on with the other {len(titles) - summary.done}", file=sys.stderr
        )
        return 130 if summary.stopped else 2
    return 1 if summary.failed else 0
