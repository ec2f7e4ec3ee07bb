"""Pictures of many things at once: the contact sheet of a world, and the gallery, every view of records that ship.

Whoever makes or changes a world looks at its sheet first: is the region where the answer is, is the digit legible in
it, is the question one that the picture can answer? The small picture beside each caption is the true region itself,
the last one where a sample has several.

    r3lab worlds --sheet                                 # some of every world, into runs/worlds.png
    r3lab worlds --sheet --world badges --out runs/badges.png --split validation --count 36 --seed 1
    sheet(samples)
    draw_gallery("runs/gallery")                         # `r3lab gallery`: seconds, no model; open index.html
    found = load_records()                               # of assets/records; `recipes.records` makes such a folder
    found.trajectories, found.group, found.river, found.explained

Simplified: *be the policy* is not in the gallery, since that needs one; nor is the dashboard's page, which holds all of
Plotly (`r3lab dashboard` writes it). Photographs of the records are held as JPEG to be small, so crops are cut anew and
hashes are those of these pixels: good to look at, not to the last digit what the policy read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from ..core import records as schema
from ..core.errors import R3labError, shown
from ..core.files import assets_dir, write_whole
from ..core.geometry import Box, as_box
from ..core.images import content_hash, cut, open_image
from ..explain.explanation import Explanation
from ..train.log import read_log
from ..train.river import River, load_river
from ..trajectory import ImageRef, Trajectory, load
from ..vlir.sample import Sample
from .browser import browse
from .canvas import Canvas, draw_truth, fitted
from .curves import curves
from .dashboard import dashboard
from .explanation import attention_maps, draw_value, show_explanation
from .filmstrip import before_after, filmstrip
from .palette import LIGHT, SMALL, TITLE, style
from .picture import Picture, View, page, render
from .player import Entry, play, save_report
from .ribbon import ribbon
from .rollouts import group_view, river
from .steps import region_shown, where_in
from .text import height, one_line, quoted, wrap

# -- the contact sheet -----------------------------------------------------------------------------------------------

MARGIN, GAP, CARD, SPOT = 0.28, 0.2, 1.75, 0.46  # inches; the last is the side of the small picture
LINES, COLUMNS = 3, 6  # of a question; samples in a row
MOST = 400  # samples on one sheet


def sheet(samples: Sequence[Sample], title: str = "") -> Picture:
    """Draw samples with their truth.

    Parameters
    ----------
    samples
        At least one, at most 400.
    title
        Over the sheet.

    Raises
    ------
    R3labError
        If there are none, or too many to be read.
    """
    if not 1 <= len(samples) <= MOST:
        raise R3labError(f"A contact sheet shows 1 to {MOST} samples, got {len(samples)}; choose another count.")
    columns = min(COLUMNS, len(samples))
    head = wrap(title, columns * (CARD + GAP), TITLE, 2, bold=True)
    top = MARGIN + (height(len(head), TITLE) + 0.12 if head else 0.0)
    high = CARD + 0.08 + height(LINES + 1, SMALL) + 0.16
    rows = -(-len(samples) // columns)
    with style():
        canvas = Canvas(2 * MARGIN + columns * (CARD + GAP) - GAP, top + rows * high + MARGIN * 0.6)
        canvas.block(MARGIN, MARGIN, head, TITLE, LIGHT.ink, bold=True)
        for i, sample in enumerate(samples):
            row, column = divmod(i, columns)
            _card(canvas, sample, MARGIN + column * (CARD + GAP), top + row * high, f"sample-{i + 1}")
    return Picture(canvas.figure, _sheet_words(samples, title))


def _card(canvas: Canvas, sample: Sample, x: float, y: float, gid: str) -> None:
    """A photograph with its true regions; under it the last region, the question and the answer."""
    w, h = fitted(sample.image.size, CARD, CARD)
    axes = canvas.picture(sample.image, x, y + CARD - h, w, h, (0, 0, *sample.image.size), gid)
    regions = [box for region in sample.regions if (box := as_box(region)) is not None]
    for region in regions:
        draw_truth(axes, region)
    below, indent = y + CARD + 0.08, 0.0
    if regions:
        left, up, right, down = regions[-1]
        small = fitted((max(1, round(right - left)), max(1, round(down - up))), SPOT, SPOT)
        pixels = (max(1, round(small[0] * 200)), max(1, round(small[1] * 200)))
        canvas.picture(cut(sample.image, regions[-1], pixels), x, below, *small, regions[-1], f"{gid}-region")
        indent = SPOT + 0.08
    question = wrap(sample.question, CARD - indent, SMALL, LINES)
    y = canvas.block(x + indent, below - 0.02, question, SMALL, LIGHT.ink)
    left_over = LINES + 1 - len(question)  # a card has one line more than a question may take
    answer = wrap(_answer(sample), CARD - indent, SMALL, left_over, bold=True)
    canvas.block(x + indent, y, answer, SMALL, LIGHT.ink, bold=True)


def _answer(sample: Sample) -> str:
    need = {True: ", needs a look", False: ", no look needed", None: ""}[sample.needs_look]
    return f"{one_line(sample.answer, 40)}{need}"


def _sheet_words(samples: Sequence[Sample], title: str) -> str:
    """What the sheet shows, in words: the counts, and the first samples one by one."""
    needed = sum(sample.needs_look is True for sample in samples)
    of = f": {one_line(title, 200)}" if title else ""
    said = [f"Contact sheet{of}, {len(samples)} samples, {needed} need a look."]
    for i, sample in enumerate(samples[:6], start=1):
        place = f" at the {where_in(sample.regions[-1], sample.image.size)}" if sample.regions else ""
        said.append(f"Sample {i}: {quoted(sample.question)} {quoted(_answer(sample))}{place}.")
    if len(samples) > 6:
        said.append(f"{len(samples) - 6} more.")
    return " ".join(said)


# -- recorded views --------------------------------------------------------------------------------------------------

SINGLE, GROUP, RIVER, EXPLAINED, BEFORE = "single", "group", "river", "explained", "before"
PHOTOS, TOKENS, VALUE = "photos", "tokens.json", "value.json"


@dataclass(frozen=True)
class Value:
    """A value map of look `look` (from 0): worth in nats over the whole source, the best window, the regret."""

    look: int
    values: list[list[float]]  # rows of columns
    best: Box
    regret: float


@dataclass(frozen=True)
class Tokens:
    """A number a token of the explained trajectory, for the ribbon; None where there is none."""

    ratio: list[float | None]
    attention: list[float | None]


@dataclass(frozen=True)
class Records:
    """What the gallery is drawn from.

    Attributes
    ----------
    trajectories, before : answers of the trained policy, and of the cold start to the same questions
    group : rollouts of one sample, scored
    river : looks at held-out samples over the steps of a run
    explained, explanation : a trajectory as it is drawn, and why it looked there
    value, tokens : of that trajectory
    """

    trajectories: list[Trajectory]
    before: list[Trajectory]
    group: list[Trajectory]
    river: River
    explained: Trajectory
    explanation: Explanation
    value: Value
    tokens: Tokens


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
    found = {name: _pictured(root, name) for name in (SINGLE, BEFORE, GROUP, EXPLAINED)}
    looked, explained = load_river(root / RIVER), found[EXPLAINED][0]
    read = {}
    for name, kind in ((VALUE, Value), (TOKENS, Tokens)):
        try:
            read[name] = schema.reader(kind)(schema.parse((root / name).read_text(encoding="utf-8"), name), name)
        except (OSError, UnicodeDecodeError) as error:
            raise R3labError(f"Cannot read {name}: {shown(str(error))}; record the folder anew.") from error
    return Records(
        found[SINGLE],
        found[BEFORE],
        found[GROUP],
        replace(looked, images={s.image.hash: _photo(root, s.image) for s in looked.subjects}),
        explained,
        replace(Explanation.load(root / EXPLAINED), trajectory=explained),
        read[VALUE],
        read[TOKENS],
    )


def lenders() -> list[Trajectory]:
    """Trajectories of the shipped records that lend what they saw, one a photograph; none without records."""
    if not records_dir().is_dir():
        return []
    every = [t for name in (SINGLE, BEFORE, GROUP, EXPLAINED) for t in _pictured(records_dir(), name)]
    looked = {t.image.hash: t for t in every if any(look.crop for look in t.looks)}
    return list(looked.values())


def _photo(root: Path, ref: ImageRef) -> Image.Image:
    image = open_image(root / PHOTOS / f"{ref.hash}.jpg")
    if image.size != (ref.width, ref.height):
        raise R3labError(f"{PHOTOS}/{ref.hash[:12]}... is {image.size}, not {ref.width} x {ref.height}; record anew.")
    return image


def _pictured(root: Path, name: str) -> list[Trajectory]:
    """Trajectories with their photographs, and with crops cut from them, filed under the hashes of these pixels."""
    held = load(root / name)
    found = []
    for t in held if isinstance(held, list) else [held]:
        photo = _photo(root, t.image)
        image, looks = replace(t.image, hash=content_hash(photo)), list(t.looks)
        images = {image.hash: photo}
        for i, look in enumerate(looks):
            region = region_shown(t, look)
            if look.crop is not None and region is not None:
                crop = cut(photo, region, (look.crop.width, look.crop.height))
                looks[i] = replace(look, crop=replace(look.crop, hash=content_hash(crop)))
                images[content_hash(crop)] = crop
        found.append(replace(t, image=image, looks=looks, images=images))
    if not found:
        raise R3labError(f"{shown(str(root / name))} holds no trajectory; record the folder anew.")
    return found


# -- the gallery -----------------------------------------------------------------------------------------------------


def views(found: Records) -> list[tuple[str, str, Callable[[], Picture | View]]]:
    """The views in the order of the page: the name of its files, what it is, and what makes it."""
    value, one, log = found.value, found.explained, assets_dir() / "tiny" / "logs" / "rgrpo-0.jsonl"
    worth = (one, value.look, np.array(value.values), value.best, value.regret)
    less = [ratio and ratio - 1 for ratio in found.tokens.ratio]
    numbers = {"attention received": found.tokens.attention, "ratio - 1": less}
    every = [*found.trajectories, *found.before, *found.group]
    return [
        ("player", "A trajectory, to step through", partial(play, one, attention_maps(found.explanation))),
        ("filmstrip", "A strip", partial(filmstrip, found.trajectories[0])),
        ("group", "A group of R-GRPO: what each rollout was paid for, where the update pushes",
         partial(group_view, found.group)),
        ("river", "The same held-out samples over the steps of R-GRPO", partial(river, found.river)),
        ("ribbon", "Every token, and what carries loss", partial(ribbon, one, numbers, by="attention received")),
        ("value-map", "Where a look would have been worth what", partial(draw_value, *worth)),
        ("before-after", "The same questions before and after R-GRPO",
         partial(before_after, found.before, found.trajectories)),
        ("curves", "A run of R-GRPO", partial(curves, read_log(log), ("reward", "exact_needed", "look_rate_unneeded"))),
        ("explanation", "Why it looked there, and what the look was worth",
         partial(show_explanation, found.explanation)),
        ("browser", "Records to filter and to play", partial(browse, every, title="Trajectories")),
        ("dashboard", "All that the log of a run holds", partial(dashboard, log)),
    ]  # fmt: skip


def draw_gallery(folder: str | Path, records: str | Path | None = None) -> list[Path]:
    """Draw every view.

    Parameters
    ----------
    folder
        Made if it is not there; files of an earlier gallery are replaced.
    records
        Folder of records; by default the shipped ones.

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
    written, sections = [], []
    for name, about, make in views(found):
        view = make()
        still = view.picture if isinstance(view, View) else view
        written.append(still.save(root / f"{name}.png"))
        if isinstance(view, View):
            written.append(view.save(root / f"{name}.html"))
        sections.append((about, f"{name}.html" if isinstance(view, View) else "", [still]))
    entries = [Entry(found.explained, found.explanation), *map(Entry, [*found.trajectories, *found.group])]
    written.append(save_report(entries, root / "report.html", "Report of recorded trajectories"))
    body = render("pictures.html", title="Gallery", sections=[*sections, ("The report", "report.html", [])])
    return [*written, write_whole(root / "index.html", page("r3lab: gallery", body).encode("utf-8"))]
