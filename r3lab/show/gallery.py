"""The gallery: every view, drawn from records that ship, into a folder with a page that shows them all.

    draw_gallery("runs/gallery")                         # `r3lab gallery`: seconds, no model; open index.html
    found = load_records()                               # of assets/records; `recipes.records` makes such a folder
    found.trajectories, found.group, found.river, found.explained, found.tokens

Simplified: *be the policy* is not in it, since that needs one; the dashboard's page, which holds all of Plotly, is
written on demand (5 MB). Photographs of the records are held as JPEG to be small, so crops are cut anew and hashes are
those of these pixels: good to look at, not to the last digit what the policy read.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from ..core import records as schema
from ..core.errors import R3labError, shown
from ..core.files import assets_dir, write_whole
from ..core.geometry import Box
from ..core.images import content_hash, cut, open_image
from ..explain.explanation import Explanation
from ..train.log import read_log
from ..train.river import River, load_river
from ..trajectory import ImageRef, Look, Trajectory, load
from .browser import browse
from .curves import curves
from .dashboard import dashboard
from .explanation import attention_maps, draw_value, show_explanation
from .filmstrip import before_after, filmstrip
from .group import group_view
from .picture import Picture, View, page
from .player import Entry, play, save_report
from .ribbon import ribbon
from .river import river
from .steps import region_shown
from .text import attribute, html_words

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
    explained, explanation, value : a trajectory as it is drawn, its explanation, and the value map of one look
    ratio, attention : a number a token of `explained`, for the ribbon; None where there is none
    """

    trajectories: list[Trajectory]
    before: list[Trajectory]
    group: list[Trajectory]
    river: River
    explained: Trajectory
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

    Examples
    --------
    >>> bool(r3lab.load_records().group)
    True
    """
    root = records_dir() if folder is None else Path(folder)
    if not root.is_dir():
        raise R3labError(f"There are no records in {shown(str(root))}; `r3lab gallery --record DIR` makes some.")
    explained = _pictured(_many(root / EXPLAINED)[0], root)
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
    numbers = {"attention received": found.attention, "ratio - 1": [r and r - 1 for r in found.ratio]}
    log, keys = read_log(_log()), ("reward", "exact_needed", "look_rate_unneeded")
    first, both = found.trajectories[0], (found.before, found.trajectories)
    return [
        Piece("player", "A trajectory, to step through",
              lambda dark: play(one, attention_maps(found.explanation), dark=dark)),
        Piece("filmstrip", "A strip", lambda dark: filmstrip(first, dark=dark)),
        Piece("group", "A group of R-GRPO: what each rollout was paid for, where the update pushes",
              lambda dark: group_view(found.group, dark)),
        Piece("river", "The same held-out samples over the steps of R-GRPO", lambda dark: river(found.river, dark)),
        Piece("ribbon", "Every token, and what carries loss",
              lambda dark: ribbon(one, numbers, by="attention received", dark=dark)),
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


def draw_gallery(folder: str | Path, records: str | Path | None = None, plotly: bool = False) -> list[Path]:
    """Draw every view.

    Parameters
    ----------
    folder
        Made if it is not there; files of an earlier gallery are replaced.
    records
        Folder of records; by default the shipped ones.
    plotly
        Write the page of the dashboard too, with all of Plotly in it.

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
    entries = [Entry(found.explained, found.explanation), *map(Entry, [*found.trajectories, *found.group])]
    written.append(save_report(entries, root / "report.html", "Report of recorded trajectories"))
    sections.append('<section class="r3-one"><h2><a href="report.html">The report</a></h2></section>')
    if plotly:
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
