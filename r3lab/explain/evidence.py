"""All interventions that a verdict rests on, in three batches: other crops, other overviews, other boxes.

    evidence = gather(policy, trajectory, others, settings, store)
    judge(evidence).kind

What is put in comes from `others` where there are any; else from the trajectory's own photograph.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from PIL import Image

from ..geometry import Box, iou
from ..models.policy import Policy
from ..rollout import reading
from ..sequence import control_token
from ..trajectory import Trajectory
from .crop_value import windows_of
from .judge import Evidence
from .neutral import NEUTRAL
from .scenes import angles, filled, pasted, pixels, recoloured, shifted, shifts, smoothed, surrounded
from .trials import (
    Donor,
    Store,
    donors_of,
    donors_within,
    first_crop,
    off_centre,
    region_of,
    try_boxes,
    try_crops,
    try_overviews,
)


class Counts(Protocol):
    """How much is tried (`verdict.Settings`)."""

    @property
    def crops(self) -> int: ...
    @property
    def covers(self) -> int: ...
    @property
    def pictures(self) -> int: ...
    @property
    def questions(self) -> int: ...
    @property
    def surroundings(self) -> int: ...
    @property
    def colours(self) -> int: ...
    @property
    def blurs(self) -> int: ...
    @property
    def seed(self) -> int: ...


def gather(
    policy: Policy, trajectory: Trajectory, others: Sequence[Trajectory], counts: Counts, store: Store
) -> Evidence:
    """Try everything on a trajectory and count; no counts of one without a crop."""
    number = first_crop(trajectory)
    if number is None:
        return Evidence(answered=trajectory.answer is not None)
    most = max(counts.crops, counts.covers, counts.surroundings, counts.questions)
    donors = donors_of(trajectory, others, most)
    with reading(policy):
        crops = []
        for n, look in enumerate(trajectory.looks):
            if look.crop is not None:
                lent = donors[: counts.crops] or donors_within(trajectory, n, counts.crops, counts.seed)
                crops.append(try_crops(policy, trajectory, n, lent, store)[1])
        changes = overviews(trajectory, donors, counts)
        own, found = try_overviews(policy, trajectory, changes, store)
        image = trajectory.images[trajectory.image.hash]
        pictures = [shifted(image, *shift) for shift in shifts(image.size, counts.pictures)]
        questions = questions_of(policy, trajectory, donors, counts.questions)
        box, moved, asked = try_boxes(policy, trajectory, pictures, questions, store)
    written = box or trajectory.looks[number].box
    return Evidence(
        answered=own is not None,
        off_centre=0.0 if written is None else off_centre(written, image.size),
        moved=moved,
        asked=asked,
        crops=tuple(crops),
        region=found.get("region"),
        rest=found["rest"],
        colour=found["colour"],
        detail=found["detail"],
    )


def questions_of(policy: Policy, trajectory: Trajectory, donors: Sequence[Donor], count: int) -> list[str]:
    """Other questions: a neutral one, then those of the donors that can be asked."""
    found = [NEUTRAL, *(donor.question for donor in donors)]
    usable = (q for q in dict.fromkeys(found) if q.strip() and not control_token(policy, q))
    return [q for q in usable if q.strip() != trajectory.question.strip()][:count]


def overviews(trajectory: Trajectory, donors: Sequence[Donor], counts: Counts) -> dict[str, list[Image.Image]]:
    """Pictures for the overview, by what is another in them: "region" (if it is known), "rest", "colour", "detail"."""
    image, region = trajectory.images[trajectory.image.hash], region_of(trajectory)
    number = first_crop(trajectory)
    look = None if number is None else trajectory.looks[number].box
    keep = [box for box in (region, look) if box is not None]
    lent = [donor.image for donor in donors if donor.image is not None]
    found = {
        "rest": [surrounded(image, other, keep) for other in (lent or turned(image))[: counts.surroundings]],
        "colour": [recoloured(image, angle, keep) for angle in angles(counts.colours)],
        "detail": [smoothed(image, cells) for cells in range(3, 3 + counts.blurs)],
    }
    if region is not None:
        found["region"] = covered(image, region, donors, counts.covers, counts.seed)
    return found


def turned(image: Image.Image) -> list[Image.Image]:
    """The picture itself, turned and mirrored: what else stood around, where no other picture is at hand."""
    way = Image.Transpose
    every = (way.ROTATE_180, way.FLIP_LEFT_RIGHT, way.FLIP_TOP_BOTTOM, way.ROTATE_90, way.ROTATE_270, way.TRANSPOSE)
    return [image.transpose(one) for one in every]


def covered(image: Image.Image, region: Box, donors: Sequence[Donor], count: int, seed: int) -> list[Image.Image]:
    """The region covered: with what was asked about elsewhere, then with one colour, with noise, with other places.

    Something else to read is the stronger trial: where there is nothing to read, a guess may be the old answer.
    """
    rng = np.random.default_rng(seed)
    x1, y1, x2, y2 = pixels(region, image.size)
    noise = Image.fromarray(rng.integers(0, 256, (y2 - y1, x2 - x1, 3), dtype=np.uint8))
    lent = [d.image.crop(pixels(d.region, d.image.size)) for d in donors if d.image is not None and d.region]
    places = [box for box in windows_of(region, image.size, (1.0,)) if iou(box, region) == 0]
    order = rng.permutation(len(places)).tolist()
    patches = [*lent, noise, *(image.crop(pixels(places[i], image.size)) for i in order)]
    found = [pasted(image, patch, region) for patch in patches]
    return [*found[: len(lent)], filled(image, [region]), *found[len(lent) :]][:count]
