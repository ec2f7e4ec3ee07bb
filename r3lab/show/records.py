"""The records that ship for looking at: a few trajectories, a group, a river, an explanation; read without a model.

    found = load_records()                        # assets/records; `r3lab gallery --record` makes the folder anew
    found.trajectories, found.group, found.river, found.explained, found.tokens

Simplified: photographs are held as JPEG to be small, so crops are cut anew and hashes are those of these pixels: good
to look at, not to the last digit what the policy read.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from .. import schema
from ..assets_path import assets_dir
from ..errors import R3labError, shown
from ..explain.explanation import Explanation
from ..geometry import Box
from ..images import content_hash, cut, open_image
from ..train.river import River
from ..train.river_files import load_river
from ..trajectory import ImageRef, Look, Trajectory, load
from .notes import Notes, notes_beside
from .story import region_shown

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
