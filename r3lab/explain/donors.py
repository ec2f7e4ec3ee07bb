"""What other trajectories lend: what they saw, put in the place of what was seen here.

It is known of some what they show: of those one sees not only whether an answer changes, but whether it follows.

    [donor, *_] = donors_of(trajectory, shipped_lenders(), 12)
    donor.shows, donor.cut((64, 48))
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from ..core.files import assets_dir
from ..core.geometry import Box, Size, coverage, iou
from ..core.images import cut, resize
from ..core.protocol import same_answer
from ..trajectory import Trajectory, load
from .interventions import regions_of
from .pictures import shaped
from .worth import windows_of

SHOWS = 0.6  # part of a true region that a crop must hold to show what is there
LENDERS = ("group", "single")  # of the records that ship
SCALES = (1.0, 0.5, 0.25)  # of places that lend within a photograph, by a look's sides


@dataclass(frozen=True)
class Donor:
    """What another trajectory lends.

    Attributes
    ----------
    crop, box : pixels of a look, and their place (source pixels) if the photograph is there
    shows : the answer that can be read in it; None where that is not known, or is no answer to what is asked here
    image, region : the photograph, and the region that was asked about there (source pixels) if it is known
    question : what was asked
    right : the right answer there; None where it is not known
    """

    crop: Image.Image
    shows: str | None
    image: Image.Image | None = None
    region: Box | None = None
    question: str = ""
    right: str | None = None
    box: Box | None = None

    def cut(self, size: Size) -> Image.Image:
        """The crop at another size, with so much more around it that it is not distorted, where there is more."""
        if self.image is None or self.box is None:
            return resize(self.crop, size)
        return cut(self.image, shaped(self.box, size, self.image.size), size)


def shipped_lenders() -> list[Trajectory]:
    """The records of rollouts that ship, with their photographs and the crops cut from them: they lend what they saw.
    Photographs are kept as JPEG: a crop's pixels are nearly those that were seen."""
    found: list[Trajectory] = []
    for name in LENDERS:
        one = load(assets_dir() / "records" / name)
        found += one if isinstance(one, list) else [one]
    for t in found:
        photo = Image.open(assets_dir() / "records" / "photos" / f"{t.image.hash}.jpg").convert("RGB")
        t.images[t.image.hash] = photo
        for look in t.looks:
            if look.crop is not None and look.box is not None:
                t.images[look.crop.hash] = cut(photo, look.box, (look.crop.width, look.crop.height))
    return found


def region_of(trajectory: Trajectory) -> Box | None:
    """The true region of the answer, the last one where there are several; None if it is not known."""
    return next(reversed(regions_of(trajectory)), None)


def donors_of(trajectory: Trajectory, others: Sequence[Trajectory], count: int) -> list[Donor]:
    """What other trajectories lend: at most `count`, first those of which it is known what they show.

    Left out are those without a crop or without their pictures, on the same photograph, or that show the answer given
    here: putting them in could not be seen. What a crop shows counts as known where this question could be answered
    so: by an answer of the same form, that took as many looks (a difference of two values is shown by no crop).
    """
    found, looks = [], sum(look.crop is not None for look in trajectory.looks)
    for other in others:
        if other.image.hash == trajectory.image.hash or other.image.hash not in other.images:
            continue
        region, right, crops = region_of(other), other.truth.get("answer"), []
        for look in other.looks:
            if look.crop is not None and look.box is not None and look.crop.hash in other.images:
                seen = region is not None and coverage(look.box, region) >= SHOWS
                crops.append((seen, other.images[look.crop.hash], look.box))
        if not crops:
            continue
        seen, crop, box = max(crops, key=lambda one: one[0])  # the first that shows it, else the first
        right = right if isinstance(right, str) else None
        alike = len(crops) == looks and form(right) == form(trajectory.answer)
        shows = right if seen and alike else None
        if trajectory.answer is None or not same(shows or right, trajectory.answer):
            image = other.images[other.image.hash]
            found.append(Donor(crop, shows, image, region, other.question, right, box))
    return sorted(found, key=lambda donor: donor.shows is None)[:count]


def form(answer: str | None) -> str:
    """How an answer is written: `0.0` for 3.35, `a` for a word."""
    return re.sub(r"[^\W\d_]+", "a", re.sub(r"\d+", "0", answer or ""))


def donors_within(trajectory: Trajectory, look: int, count: int, seed: int = 0) -> list[Donor]:
    """Crops from other places of the same photograph, at a crop's own size; it is not known what they show.

    Places of the look's size first, then smaller ones (where the look is so large that none is left beside it).
    """
    own = trajectory.looks[look]
    assert own.box is not None and own.crop is not None
    image, rng, found = trajectory.images[trajectory.image.hash], np.random.default_rng(seed), list[Box]()
    for scale in SCALES:
        places = [place for place in windows_of(own.box, image.size, (scale,)) if iou(place, own.box) == 0]
        found += [places[i] for i in rng.permutation(len(places)).tolist()]
    size = (own.crop.width, own.crop.height)
    return [Donor(cut(image, place, size), None) for place in found[:count]]


def same(a: object, b: object) -> bool:
    """Whether two answers are the same text, but for case and space around it."""
    return isinstance(a, str) and isinstance(b, str) and same_answer(a, b)
