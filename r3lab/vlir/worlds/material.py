"""Raw material of the worlds: real photographs, handwriting and tables, split so that nothing is shared.

Photographs are divided by name (assets/photos.json), handwriting by bitmap: of the bitmaps of each digit, in the order
of the UCI file, of every six one goes to validation, one to test, four to train. Tables (what countries, districts,
winds, guests and wines measured, gathered by assets/build.py) are divided by what they are about: no country, district,
direction, party or feature is in two splits.

    photos("train")        # list of (name, array (H, W, 3) uint8), shorter side at least 640 pixels
    handwriting("test")    # images (N, 8, 8) float32 in 0..1, labels (N,)
    tables("train")[0]     # .labels ("AGO", ...), .columns ("1952", ...), .values ((30.0, ...), ...)
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol, TypeVar

import numpy as np
from PIL import Image

from ...core.errors import R3labError
from ...core.files import assets_dir

SPLITS = ("train", "validation", "test")
MIN_SIDE = 640


class HasNumber(Protocol):
    """A thing that is drawn from its number alone."""

    @property
    def number(self) -> int:
        """Which of them it is."""


def split_number(split: str) -> int:
    """0, 1 or 2 for train, validation, test; an error that names the value for anything else."""
    if split not in SPLITS:
        raise R3labError(f"unknown split {split!r}; use one of {', '.join(SPLITS)}")
    return SPLITS.index(split)


Numbered = TypeVar("Numbered", bound=HasNumber)


def shared_out(
    split: str,
    first: Sequence[Numbered],
    later: Sequence[Numbered],
    every: int,
    places: Mapping[int, int],
    look: Callable[[Numbered], Numbered],
) -> tuple[Numbered, ...]:
    """What a split has of things that are drawn from their number alone.

    Parameters
    ----------
    first : what the splits share out: of every `every`, those at `places` (number modulo it -> 1 or 2) are held out
    later : more to train with, since a tower learns few layouts by heart; those that look like a held-out one are not
    look : a thing without what does not count as another look: its number, measures that any two differ in
    """
    number = split_number(split)
    own = tuple(thing for thing in first if places.get(thing.number % every, 0) == number)
    if number:
        return own
    held_out = {look(thing) for thing in first if thing.number % every in places}
    return own + tuple(thing for thing in later if look(thing) not in held_out)


@lru_cache(maxsize=3)
def photos(split: str) -> tuple[tuple[str, np.ndarray], ...]:
    """The photographs of a split, scaled so that the shorter side has at least `MIN_SIDE` pixels."""
    split_number(split)
    index = json.loads((assets_dir() / "photos.json").read_text())
    found = []
    for name, entry in index.items():
        if entry["split"] != split:
            continue
        image = Image.open(assets_dir() / "photos" / f"{name}.jpg").convert("RGB")
        scale = MIN_SIDE / min(image.size)
        if scale > 1:
            size = (round(image.width * scale), round(image.height * scale))
            image = image.resize(size, Image.Resampling.BICUBIC)
        array = np.asarray(image)
        array.setflags(write=False)
        found.append((name, array))
    return tuple(found)


def stretch(rng: np.random.Generator, split: str, side: int) -> np.ndarray:
    """A square (side, side, 3) uint8 out of one of the split's photographs; three draws. Not to be written to."""
    photo = photos(split)[int(rng.integers(len(photos(split))))][1]
    y, x = (int(rng.integers(n - side + 1)) for n in photo.shape[:2])
    return photo[y : y + side, x : x + side]


@lru_cache(maxsize=3)
def handwriting(split: str) -> tuple[np.ndarray, np.ndarray]:
    """Bitmaps (N, 8, 8) float32 in 0..1 (1 is ink) and labels (N,) of a split."""
    number = split_number(split)
    with np.load(assets_dir() / "digits.npz", allow_pickle=False) as data:
        images, labels = data["images"], data["labels"]
    chosen = []
    for digit in range(10):
        of_digit = np.flatnonzero(labels == digit)
        place = np.arange(len(of_digit)) % 6
        member = np.where(place == 5, 1, np.where(place == 2, 2, 0))
        chosen.append(of_digit[member == number])
    rows = np.concatenate(chosen)
    return images[rows].astype(np.float32) / 16.0, labels[rows].astype(np.int64)


def varied(stretch: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A square stretch (S, S, 3) of a photograph, turned, with its colours exchanged, stretched and shifted.

    Nine photographs are few: a tower that has seen them as they are alone takes their colours for the background's.
    """
    stretch = np.rot90(stretch, int(rng.integers(4)))[..., rng.permutation(3)]
    levels = np.linspace(0.0, 1.0, 256, dtype=np.float32)[:, None]
    curve = levels ** np.exp(rng.uniform(-0.6, 0.6, 3)) * rng.uniform(0.5, 1.4, 3) + rng.uniform(-0.25, 0.25, 3)
    table = np.clip(curve * 255, 0, 255).astype(np.uint8)
    return np.stack([table[:, c][stretch[..., c]] for c in range(3)], axis=-1)


def other_hand(
    bitmaps: np.ndarray, labels: np.ndarray, row: int, rng: np.random.Generator, strength: float = 1.0
) -> np.ndarray:
    """A bitmap (8, 8) between that of `row` and another of the same digit, turned, slanted and stretched a little.

    A thousand digits are few: a tower that has seen no others reads those of another hand worse. `strength` is a
    factor on all of it; from 2 on, some cannot be read any more.
    """
    same = np.flatnonzero(labels == labels[row])
    share = rng.uniform(0.0, 0.35 * strength)
    mixed = (1 - share) * bitmaps[row] + share * bitmaps[int(rng.choice(same))]
    angle, slant = rng.uniform(-0.12, 0.12) * strength, rng.uniform(-0.15, 0.15) * strength
    wide, high = np.exp(rng.uniform(-0.1, 0.1, 2) * strength)
    cos, sin = np.cos(angle), np.sin(angle)
    a, b, c, e = cos / wide, sin / wide + slant, -sin / high, cos / high
    affine = (a, b, 4 - 4 * (a + b), c, e, 4 - 4 * (c + e))
    image = Image.fromarray(mixed.astype(np.float32))
    turned = image.transform((8, 8), Image.Transform.AFFINE, affine, Image.Resampling.BICUBIC)
    return np.clip(np.asarray(turned) * rng.uniform(0.85, 1.2), 0.0, 1.0)


@dataclass(frozen=True)
class Table:
    """A table: `values` has a row a label and a number a column."""

    name: str
    source: str
    title: str
    unit: str
    labels: tuple[str, ...]
    columns: tuple[str, ...]
    values: tuple[tuple[float, ...], ...]


@lru_cache(maxsize=3)
def tables(split: str) -> tuple[Table, ...]:
    """The tables of a split, in the order of assets/tables.json.

    Raises
    ------
    R3labError
        If the split is unknown, or the file is not there.
    """
    split_number(split)
    path = assets_dir() / "tables.json"
    if not path.is_file():
        raise R3labError(f"No tables in {path.name}: `python assets/build.py tables` gathers them.")
    return tuple(
        Table(
            name,
            entry["source"],
            entry["title"],
            entry["unit"],
            tuple(entry["labels"]),
            tuple(entry["columns"]),
            tuple(tuple(float(v) for v in row) for row in entry["values"]),
        )
        for name, entry in json.loads(path.read_text("utf-8")).items()
        if entry["split"] == split
    )
