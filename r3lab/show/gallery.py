"""The gallery: every view, drawn from records that ship, into a folder with a page that shows them all.

    r3lab gallery -o runs/gallery                        # seconds, no model; open runs/gallery/index.html
    r3lab gallery --records DIR -o runs/gallery          # from other records
    r3lab gallery --record assets/records                # make records anew, with the tiny policy: minutes

Simplified: *be the policy* is not in it, since that needs one; the Plotly player and the dashboard's page, which hold
all of Plotly, are written on demand (`--plotly`, 5 MB each).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..core import records as schema
from ..core.errors import R3labError, shown
from ..core.files import assets_dir, write_whole
from ..core.geometry import Box
from ..core.images import content_hash, cut, open_image
from ..explain.explanation import Explanation
from ..train.river import River, load_river
from ..trajectory import ImageRef, Look, Trajectory, load
from .browser import browse
from .curves import curves
from .dashboard import dashboard
from .explanation import Notes, draw_value, notes_beside, show_explanation
from .filmstrip import before_after, filmstrip
from .group import group_view
from .page import page
from .picture import Picture, View
from .player import play, player
from .report import Entry, save_report
from .ribbon import ribbon
from .river import river
from .story import region_shown
from .text import attribute, clean, html_words

# The records that ship for looking at: a few trajectories, a group, a river, an explanation; read without a model.
#
#     found = load_records()                        # assets/records; `r3lab gallery --record` makes the folder anew
#     found.trajectories, found.group, found.river, found.explained, found.tokens
#
# Simplified: photographs are held as JPEG to be small, so crops are cut anew and hashes are those of these pixels:
# good
# to look at, not to the last digit what the policy read.

SINGLE, GROUP, RIVER, EXPLAINED, BEFORE = "single", "group", "river", "explained", "before"
PHOTOS, TOKENS, VALUE = "photos", "tokens.json", "value.json"


@dataclass(frozen=True)
class Value:
    """A value map of look `look` (from 0): worth in nats over the whole source, the best window, the regret."""

    look: int
    values: np.ndarray  # (rows, columns)
    best: Box
    regret: float


@dataclass(frozen=True)
class Records:
    """What the gallery is drawn from.

    Attributes
    ----------
    trajectories, before : answers of the trained policy, and of the cold start to the same questions
    group : rollouts of one sample, scored
    river : looks at held-out samples over the steps of a run
    explained, notes, value : a trajectory, what its explanation says, and the value map of one look
    explanation : that explanation, of the trajectory as it is drawn
    ratio, attention : a number a token of `explained`, for the ribbon; None where there is none
    """

    trajectories: list[Trajectory]
    before: list[Trajectory]
    group: list[Trajectory]
    river: River
    explained: Trajectory
    notes: Notes
    explanation: Explanation
    value: Value
    ratio: list[float | None]
    attention: list[float | None]


def records_dir() -> Path:
    """Where the shipped records are."""
    return assets_dir() / "records"


def load_records(folder: str | Path | None = None) -> Records:
    """Read recorded views.

    Parameters
    ----------
    folder
        By default the shipped ones.

    Raises
    ------
    R3labError
        Naming what is missing or wrong.
    """
    root = records_dir() if folder is None else Path(folder)
    if not root.is_dir():
        raise R3labError(f"There are no records in {shown(str(root))}; `r3lab gallery --record DIR` makes some.")
    explained = _pictured(_many(root / EXPLAINED)[0], root)
    notes = notes_beside(root / EXPLAINED)
    if notes is None:
        raise R3labError(f"{shown(str(root / EXPLAINED))} holds no explanation.json; record the folder anew.")
    river = load_river(root / RIVER)
    images = {s.image.hash: _photo(root, s.image) for s in river.subjects}
    number = schema.row(schema.maybe(schema.number))
    tokens = schema.made(dict, ratio=number, attention=number)(_json(root / TOKENS), TOKENS)
    value = schema.made(
        Value,
        look=schema.count,
        values=lambda v, where: np.array(schema.row(schema.row(schema.number))(v, where)),
        best=schema.fixed(schema.number, 4),
        regret=schema.number,
    )(_json(root / VALUE), VALUE)
    return Records(
        trajectories=[_pictured(t, root) for t in _many(root / SINGLE)],
        before=[_pictured(t, root) for t in _many(root / BEFORE)],
        group=[_pictured(t, root) for t in _many(root / GROUP)],
        river=replace(river, images=images),
        explained=explained,
        notes=notes,
        explanation=replace(Explanation.load(root / EXPLAINED), trajectory=explained),
        value=value,
        **tokens,
    )


def _many(folder: Path) -> list[Trajectory]:
    held = load(folder)
    found = held if isinstance(held, list) else [held]
    if not found:
        raise R3labError(f"{shown(str(folder))} holds no trajectory; record the folder anew.")
    return found


def _json(path: Path) -> object:
    try:
        return schema.parse(path.read_text(encoding="utf-8"), path.name)
    except (OSError, UnicodeDecodeError) as error:
        raise R3labError(f"Cannot read {shown(str(path))}: {shown(str(error))}; record the folder anew.") from error


def _photo(root: Path, ref: ImageRef) -> Image.Image:
    image = open_image(root / PHOTOS / f"{ref.hash}.jpg")
    if image.size != (ref.width, ref.height):
        raise R3labError(f"{PHOTOS}/{ref.hash[:12]}... is {image.size}, not {ref.width} x {ref.height}; record anew.")
    return image


def _pictured(t: Trajectory, root: Path) -> Trajectory:
    """The trajectory with its photograph, and with crops cut from it, filed under the hashes of these pixels."""
    photo = _photo(root, t.image)
    name = content_hash(photo)
    images = {name: photo}
    looks: list[Look] = []
    for look in t.looks:
        region = region_shown(t, look)
        if look.crop is None or region is None:
            looks.append(look)
            continue
        crop = cut(photo, region, (look.crop.width, look.crop.height))
        images[content_hash(crop)] = crop
        looks.append(replace(look, crop=replace(look.crop, hash=content_hash(crop))))
    return replace(t, image=replace(t.image, hash=name), looks=looks, images=images)


@dataclass(frozen=True)
class Piece:
    """One view of the gallery: the name of its files, what it is, and how it is made."""

    name: str
    about: str
    make: Callable[[bool], Picture | View]  # takes whether the page is dark


def pieces(found: Records) -> list[Piece]:
    """The views, in the order of the page."""
    value, one = found.value, found.explained
    spot = (one, value.look, value.values, value.best, value.regret)
    log = _rows(_log())
    keys = ("reward", "exact_needed", "look_rate_unneeded")
    first, both = found.trajectories[0], (found.before, found.trajectories)
    return [
        Piece("player", "A trajectory, to step through", lambda dark: play(one, found.notes.attention, dark=dark)),
        Piece("filmstrip", "A strip", lambda dark: filmstrip(first, dark=dark)),
        Piece("group", "A group of R-GRPO: what each rollout was paid for, where the update pushes",
              lambda dark: group_view(found.group, dark)),
        Piece("river", "The same held-out samples over the steps of R-GRPO", lambda dark: river(found.river, dark)),
        Piece("ribbon", "Every token, and what carries loss",
              lambda dark: ribbon(one, found.ratio, None, found.attention, by="attention received", dark=dark)),
        Piece("value-map", "Where a look would have been worth what",
              lambda dark: draw_value(*spot, dark=dark)),
        Piece("before-after", "The same questions before and after R-GRPO",
              lambda dark: before_after(*both, dark=dark)),
        Piece("curves", "A run of R-GRPO", lambda dark: curves(log, keys, dark=dark)),
        Piece("explanation", "Why it looked there, and what the look was worth",
              lambda dark: show_explanation(found.explanation, dark)),
        Piece("browser", "Records to filter and to play",
              lambda dark: browse([*found.trajectories, *found.before, *found.group], title="Trajectories", dark=dark)),
        Piece("dashboard", "All that the log of a run holds", lambda dark: dashboard(_log(), dark=dark)),
    ]  # fmt: skip


def _log() -> Path:
    """The log that ships."""
    return assets_dir() / "tiny" / "logs" / "rgrpo-0.jsonl"


def _rows(path: Path) -> list[dict[str, Any]]:
    """Its rows."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [schema.parse(line, f"{path.name} line {number}") for number, line in enumerate(lines, start=1)]


def draw_gallery(folder: str | Path, records: str | Path | None = None, plotly: bool = False) -> list[Path]:
    """Draw every view.

    Parameters
    ----------
    folder
        Made if it is not there; files of an earlier gallery are replaced.
    records
        Folder of records; by default the shipped ones.
    plotly
        Write the Plotly player and the page of the dashboard too, each with all of Plotly in it.

    Returns
    -------
    list of Path
        What was written; the last is the page with all of it.

    Raises
    ------
    R3labError
        If records are missing or the folder cannot be written.
    """
    found, root = load_records(records), Path(folder)
    written: list[Path] = []
    sections = []
    for piece in pieces(found):
        made = {dark: piece.make(dark) for dark in (False, True)}
        stills = {dark: one.picture if isinstance(one, View) else one for dark, one in made.items()}
        written += [write_whole(root / f"{piece.name}{'-dark' * dark}.png", one.png) for dark, one in stills.items()]
        moving = made[False]
        if isinstance(moving, View):
            written.append(moving.save(root / f"{piece.name}.html"))
        sections.append(_section(piece, stills[False], isinstance(moving, View)))
    entries = [Entry(found.explained, found.notes), *map(Entry, [*found.trajectories, *found.group])]
    written.append(save_report(entries, root / "report.html", "Report of recorded trajectories"))
    sections.append('<section class="r3-one"><h2><a href="report.html">The report</a></h2></section>')
    if plotly:
        figure = player(found.explained, found.notes.attention)
        whole = figure.to_html(include_plotlyjs=True, auto_play=False)
        written.append(write_whole(root / "player-plotly.html", whole.encode("utf-8")))
        written.append(dashboard(_log()).save(root / "dashboard.html"))
    body = "<h1>Gallery</h1>" + "".join(sections)
    return [*written, write_whole(root / "index.html", page("r3lab: gallery", body).encode("utf-8"))]


def _section(piece: Piece, still: Picture, moves: bool) -> str:
    name = f'<a href="{piece.name}.html">{piece.about}</a>' if moves else piece.about
    return (
        f'<section class="r3-one"><h2>{name}</h2>'
        f'<img class="r3-still" alt="{attribute(still.alt, 8000)}" src="{still.uri}" '
        f'width="{still.width}"><details><summary>In words</summary>'
        f"<p>{html_words(still.alt, 8000)}</p></details></section>"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """`r3lab gallery`.

    Parameters
    ----------
    argv
        Arguments after the command's name.

    Returns
    -------
    int
        0.

    Raises
    ------
    R3labError
        If records are missing, or a folder cannot be written.
    """
    parser = argparse.ArgumentParser(prog="r3lab gallery", description="Draw every view from recorded trajectories.")
    parser.add_argument("-o", "--out", default="runs/gallery", metavar="DIR", help="where to (default: runs/gallery)")
    parser.add_argument("--records", metavar="DIR", help="records to draw (default: the shipped ones)")
    parser.add_argument(
        "--plotly", action="store_true", help="write the Plotly player and the dashboard too (5 MB each)"
    )
    parser.add_argument("--record", metavar="DIR", help="make records anew with the tiny policy, and draw nothing")
    parser.add_argument("--steps", type=int, default=24, metavar="N", help="of R-GRPO, with --record (default: 24)")
    args = parser.parse_args(None if argv is None else list(argv))
    if args.record:
        if not 1 <= args.steps <= 10_000:
            raise R3labError(f"--steps must be 1 to 10000, got {args.steps}.")
        made = import_module("r3lab.recipes.records").record(args.record, steps=args.steps)
        print(f"{clean(str(made))}: records")
        return 0
    written = draw_gallery(args.out, args.records, args.plotly)
    print(f"{len(written)} files; open {clean(str(written[-1]))}")
    return 0
