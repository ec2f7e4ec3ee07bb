"""Commands that write pages: `browse` records, `dashboard` of logs, `report` of trajectories, `gallery` of all views.

Each page is one HTML file that needs no network.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from ..core.errors import R3labError, shown
from ..core.settings import Count, at_least
from ..show.browser import PAGE
from ..show.browser import browse as draw_browser
from ..show.browser_rows import read_rows
from ..show.dashboard import dashboard as draw_dashboard
from ..show.gallery import draw_gallery
from ..show.logs import Band
from ..show.player import read_entries, save_report
from ..show.text import clean
from . import LeftOut


def browse(
    paths: Sequence[str],
    *,
    out: str = "browse.html",
    limit: Count | None = None,
    budget: Annotated[float, at_least(0, float, 1000)] = PAGE / 1e6,
    title: str = "",
) -> int:
    """Write VLIR samples, an evaluation's answers or trajectories as one HTML file to filter, page through and play.

        r3lab browse vlir/raw runs/eval -o runs/browse.html

    Parameters
    ----------
    paths : a VLIR folder, the folder of `r3lab eval`, or one of trajectories; PATH#N is its N-th record
    out : file to write
    limit : the first N records of each path (default: all)
    budget : megabytes that the records which can be played may take; the others are listed
    title : over the page

    Raises
    ------
    R3labError
        If a path holds no records, none of them fits, or the file cannot be written.
    """
    if Path(out).suffix.lower() != ".html":
        raise R3labError(f"Cannot write a browser to {shown(out)}: end its name in .html.")
    found, left_out = read_rows(paths, limit), LeftOut()
    for problem in found.problems:
        left_out(clean(problem))
    view = draw_browser(found, round(budget * 1e6), title=title or ", ".join(paths))
    path = view.save(out)
    opens = view.body.count('class="r3-held"')
    told = f", {opens:,} of them can be played in it" if opens < len(found.rows) else ""
    _tell(path, f"{len(found.rows):,} records{told}")
    return 0


def dashboard(
    logs: Sequence[str],
    *,
    out: str = "dashboard.html",
    png: str = "",
    smooth: Count | None = None,
    band: Band = "range",
    title: str = "Training",
) -> int:
    """Draw training logs, one or many over each other, as one HTML file that needs no network.

        r3lab dashboard assets/tiny/logs/rgrpo-0.jsonl -o runs/dashboard.html

    Parameters
    ----------
    logs : a log or a run's folder; LABEL=LOG puts those of a label together
    out : file to write
    png : a picture too (.png, .svg or .pdf)
    smooth : steps of the running mean (default: a twelfth of all)
    band : over several runs: lowest to highest, or the 95 % interval of the mean
    title : over the page

    Raises
    ------
    R3labError
        If a log cannot be read or is none, is given twice, or a file cannot be written.
    """
    found = draw_dashboard(_runs(logs), smooth=smooth, band=band, title=title)
    if Path(out).suffix.lower() != ".html":
        raise R3labError(f"--out must end in .html, got {shown(out)}; --png takes a picture's name.")
    path = found.save(out)
    for note in found.charts.notes():
        print(clean(note))
    _tell(path, f"{len(found.charts.panels)} charts")
    if png:
        print(clean(str(found.save(png))))
    return 0


def _runs(given: Sequence[str]) -> Any:
    """Paths, or paths by label."""
    groups: dict[str, list[str]] = {}
    seen: set[Path] = set()
    for one in given:
        label, sign, path = one.partition("=")
        label, path = (label, path) if sign and not Path(one).exists() else ("", one)
        if Path(path).resolve() in seen:
            raise R3labError(f"{shown(path)} is given twice; a run counts once.")
        seen.add(Path(path).resolve())
        groups.setdefault(label, []).append(path)
    if len(groups) > 1 and "" in groups:
        path = groups[""][0]
        raise R3labError(f"{shown(path)} has no label and others have; write LABEL={path[:60]}.")
    return groups.get("", groups)


def report(paths: Sequence[str], *, out: str = "report.html", title: str = "") -> int:
    """Write trajectories, with the explanations beside them, as one HTML file that needs no network.

        r3lab report runs/asked -o runs/report.html

    Parameters
    ----------
    paths : a trajectory's file or folder, or a folder of such
    out : file to write
    title : over the report

    Raises
    ------
    R3labError
        If a path holds no trajectory, one cannot be read, or the file cannot be written.
    """
    entries = read_entries(paths)
    path = save_report(entries, out, title)
    _tell(path, f"{len(entries)} trajector{'y' if len(entries) == 1 else 'ies'}")
    return 0


def gallery(
    *,
    out: str = "runs/gallery",
    records: str = "",
    record: str = "",
    steps: Annotated[int, at_least(1, int, 10_000)] = 24,
) -> int:
    """Draw every view from recorded trajectories.

        r3lab gallery -o runs/gallery

    Parameters
    ----------
    out : folder of the pictures
    records : records to draw (default: the shipped ones)
    record : make records anew in this folder with the tiny policy, and draw nothing
    steps : of R-GRPO, with --record

    Raises
    ------
    R3labError
        If records are missing, or a folder cannot be written.
    """
    if record:
        from ..recipes.records import record as make_records  # torch and transformers: seconds

        print(f"{clean(str(make_records(record, steps=steps)))}: records")
        return 0
    written = draw_gallery(out, records or None)
    print(f"{len(written)} files; open {clean(str(written[-1]))}")
    return 0


def _tell(path: Path, what: str) -> None:
    print(f"{clean(str(path))}: {what}, {path.stat().st_size / 1e6:.1f} MB")
