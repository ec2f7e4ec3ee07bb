"""All interventions that a verdict rests on, in three batches: other crops, other overviews, other boxes.

    evidence = gather(policy, trajectory, others, settings, store)
    judge(evidence).kind

What is put in comes from `others` where there are any; else from the trajectory's own photograph.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
from PIL import Image

from ..core.arms import get_arm
from ..core.geometry import Box, Size, clip, coverage, iou, problem
from ..core.images import content_hash, cut, resize
from ..models.policy import Features, Policy
from ..rollout.loop import reading, resume, rollout
from ..rollout.sequence import control_token
from ..trajectory import ImageRef, Kind, Trajectory
from .interventions import (
    Alternative,
    after_look,
    angles,
    begin,
    filled,
    pasted,
    pixels,
    recoloured,
    shifted,
    shifts,
    smoothed,
    surrounded,
)
from .kinds import Evidence, Trials
from .maps import NEUTRAL
from .value import TAKEN, windows_of

# Interventions on a recorded trajectory, counted: other crops, other overviews, other scenes and questions.
#
# Three ways of asking what an answer, or a box, depends on:
#
# - `try_crops`: the record up to a box, another crop behind it, then the policy goes on greedily;
# - `try_overviews`: the first crop is held as it was and the overview alone is another, then it goes on greedily;
# - `try_boxes`: the prompt anew, with a shifted picture or another question: is the box where it was?
#
#     donors = donors_of(trajectory, others, count=12)
#     answer, trials = try_crops(policy, trajectory, 0, donors, store)
#
# What is put in comes from other trajectories (donors), of which it is known what they show; without them, from other
# places of the same picture. Simplified: an answer counts as another if its text differs.

SHOWS = 0.6  # part of a true region that a crop must hold to show what is there
SCALES = (1.0, 0.5, 0.25)  # of places that lend within a photograph, by a look's sides
SAME_PLACE = 0.5  # IoU from which a box is where it was

Store = dict[str, Features]


@dataclass(frozen=True)
class Donor:
    """What another trajectory lends.

    Attributes
    ----------
    crop : pixels of a look
    shows : the answer that can be read in it; None where that is not known
    image, region : the photograph, and the region that was asked about there (source pixels) if it is known
    question : what was asked
    """

    crop: Image.Image
    shows: str | None
    image: Image.Image | None = None
    region: Box | None = None
    question: str = ""


def regions_of(trajectory: Trajectory) -> list[Box]:
    """The true regions that can be looked at, in order; whatever else the free JSON of `truth` holds is left out."""
    held, size = trajectory.truth.get("regions"), (trajectory.image.width, trajectory.image.height)
    found = []
    for value in held if isinstance(held, list | tuple) else []:
        plain = isinstance(value, list | tuple) and len(value) == 4
        if plain and all(isinstance(v, int | float) and abs(v) < 1e9 for v in value):
            box: Box = (float(value[0]), float(value[1]), float(value[2]), float(value[3]))
            if not problem(box, size):
                found.append(clip(box, size))
    return found


def region_of(trajectory: Trajectory) -> Box | None:
    """The true region of the answer, the last one where there are several; None if it is not known."""
    return next(reversed(regions_of(trajectory)), None)


def first_crop(trajectory: Trajectory) -> int | None:
    """Number of the first look with a crop."""
    return next((n for n, look in enumerate(trajectory.looks) if look.crop_span), None)


def donors_of(trajectory: Trajectory, others: Sequence[Trajectory], count: int) -> list[Donor]:
    """What other trajectories lend: at most `count`, first those of which it is known what they show.

    Left out are those without a crop or without their pictures, on the same photograph, or that show the answer given
    here: putting them in could not be seen.
    """
    found = []
    for other in others:
        number = first_crop(other)
        if number is None or other.image.hash == trajectory.image.hash or other.image.hash not in other.images:
            continue
        look, region, right = other.looks[number], region_of(other), other.truth.get("answer")
        assert look.crop is not None and look.box is not None
        if look.crop.hash not in other.images:
            continue
        seen = region is not None and coverage(look.box, region) >= SHOWS
        shows = right if seen and isinstance(right, str) else None
        if trajectory.answer is None or not same(shows or right, trajectory.answer):
            image = other.images[other.image.hash]
            found.append(Donor(other.images[look.crop.hash], shows, image, region, other.question))
    return sorted(found, key=lambda donor: donor.shows is None)[:count]


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
    return isinstance(a, str) and isinstance(b, str) and a.strip().casefold() == b.strip().casefold()


def answers_of(policy: Policy, trajectory: Trajectory, begun: Sequence[Trajectory], store: Store) -> list[str | None]:
    """What is answered greedily from where each begun record stands, with no more looks than the record has.

    With more, a policy that was shown another crop would just ask for the first one again.
    """
    most, looks = 2 * trajectory.kinds.count(Kind.SAMPLED) + 32, len(trajectory.looks)
    return [t.answer for t in resume(policy, begun, max_looks=looks, max_new_tokens=most, features=store)]


def fitting(policy: Policy, crop: Image.Image) -> Image.Image:
    """A crop at a size that the policy can be shown: that of another family may have other tokens."""
    size = policy.crop_size((0.0, 0.0, float(crop.width), float(crop.height)), crop.size)[1]
    return crop if size == crop.size else resize(crop, size)


def try_crops(
    policy: Policy, trajectory: Trajectory, look: int, donors: Sequence[Donor], store: Store
) -> tuple[str | None, Trials]:
    """Other crops in the place of one: what is answered with its own crop, and how often another answer is given."""
    crop = trajectory.looks[look].crop
    assert crop is not None
    wanted = [Alternative(TAKEN, crop=trajectory.images[crop.hash])]
    wanted += [Alternative(f"crop {n}", crop=fitting(policy, donor.crop)) for n, donor in enumerate(donors)]
    begun = [begin(policy, trajectory, look, alternative) for alternative in wanted]
    own, *answers = answers_of(policy, trajectory, begun, store)
    pairs = [(a, d.shows) for a, d in zip(answers, donors, strict=True) if d.shows is None or not same(d.shows, own)]
    known = [(answer, shows) for answer, shows in pairs if shows is not None]
    changed = sum(not same(answer, own) for answer, _ in pairs)
    return own, Trials(len(pairs), changed, len(known), sum(same(a, shows) for a, shows in known))


def with_overview(trajectory: Trajectory, image: Image.Image) -> Trajectory:
    """The same record, crops included, with another picture in the overview."""
    reference = ImageRef(content_hash(image), *image.size)
    return replace(trajectory, image=reference, images={**trajectory.images, reference.hash: image})


def try_overviews(
    policy: Policy, trajectory: Trajectory, changes: Mapping[str, Sequence[Image.Image]], store: Store
) -> tuple[str | None, dict[str, Trials]]:
    """Other pictures in the overview, the first crop as it was: how often another answer is given, by sort of change.

    Parameters
    ----------
    changes : pictures of the photograph's size, by what was changed
    """
    number = first_crop(trajectory)
    assert number is not None
    head = trajectory.until(after_look(trajectory, number))
    begun = [head, *(with_overview(head, image) for images in changes.values() for image in images)]
    own, *answers = answers_of(policy, trajectory, begun, store)
    found, rest = {}, iter(answers)
    for name, images in changes.items():
        given = [next(rest) for _ in images]
        found[name] = Trials(len(given), sum(not same(answer, own) for answer in given))
    return own, found


@dataclass(frozen=True)
class Scene:
    """A question on a picture, for a rollout."""

    id: str
    image: Image.Image
    question: str
    truth: dict[str, Any] = field(default_factory=dict)


def try_boxes(
    policy: Policy, trajectory: Trajectory, pictures: Sequence[Image.Image], questions: Sequence[str], store: Store
) -> tuple[Box | None, Trials, Trials]:
    """The prompt anew: the first box as it is greedily, how often it is elsewhere on other pictures and questions.

    A rollout that looks nowhere counts as elsewhere; without a first box nothing is tried.
    """
    number = first_crop(trajectory)
    assert number is not None
    until = trajectory.looks[number].span[1]
    image, asked = trajectory.images[trajectory.image.hash], trajectory.question
    scenes = [Scene("as it was", image, asked)]
    scenes += [Scene(f"picture {n}", other, asked) for n, other in enumerate(pictures)]
    scenes += [Scene(f"question {n}", image, other) for n, other in enumerate(questions)]
    most = trajectory.kinds[:until].count(Kind.SAMPLED) + 16
    rolled = rollout(policy, scenes, temperature=0.0, max_new_tokens=most, features=store, arm=get_arm(trajectory.arm))
    own, *boxes = [next((look.box for look in t.looks if look.crop), None) for t in rolled]
    if own is None:
        return None, Trials(), Trials()
    elsewhere = [box is None or iou(box, own) < SAME_PLACE for box in boxes]
    there, other = elsewhere[: len(pictures)], elsewhere[len(pictures) :]
    return own, Trials(len(there), sum(there)), Trials(len(other), sum(other))


def off_centre(box: Box, size: Size) -> float:
    """Distance of a box's middle from the image's, as a part of half the diagonal, 0 to 1."""
    x, y = (box[0] + box[2]) / 2 - size[0] / 2, (box[1] + box[3]) / 2 - size[1] / 2
    return float(np.hypot(x, y) / (np.hypot(*size) / 2))


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
