"""All interventions that a verdict rests on, counted: other crops, other overviews, other pictures and questions.

Each is a record that was begun otherwise, from which the policy goes on greedily; `gather` lists them:

- the record up to a box, another crop after it, or nothing of it (`try_crops`): is the answer changed?
- the record behind the last crop, which is held as it was, with another overview (`overviews`), or with what was
  written before exchanged (`exchanged`): the same question (`count_answers`);
- the prompt anew, with a shifted picture or another question: is the box elsewhere, the answer another (`try_prompts`)?

An answer has *changed* (`changed`) if it is another, or if the words that name it have become less likely by `LESS`
nats where what was written in the record is read again: a policy that reads may, where it sees nothing, say by habit
what this crop shows, but it is not as sure then.

    evidence, answers = gather(policy, trajectory, others, Settings(), store)
    verdict_of(evidence).kind

What is put in comes from other trajectories (donors), of which it is known what they show; without them, from other
places of the same photograph. Simplified: an answer is another if its text differs; edges of what was changed in
a picture are hard, and no region is filled in plausibly. A policy that has never seen such a picture may answer oddly;
the kinds in `verdict` rest on rates over many different ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import chain, islice

import numpy as np
from PIL import Image, ImageChops

from ..core.arms import get_arm
from ..core.errors import R3labError, shown
from ..core.geometry import Box, coverage, iou, off_centre
from ..models.policy import Features, Policy, control_token, reading
from ..rollout.loop import rollout
from ..trajectory import Kind, Trajectory
from ..vlir.sample import Sample
from ..vlir.worlds.material import padded
from .donors import Donor, donors_of, donors_within, region_of, same
from .interventions import (
    LESS,
    NEUTRAL,
    TAKEN,
    Alternative,
    ReplayResult,
    after_look,
    alternatives_of,
    begin,
    named,
    next_box,
    read_and_answered,
    regions_of,
    replay,
    reworded,
)
from .pictures import (
    angles,
    filled,
    pasted,
    pixels,
    recoloured,
    resized,
    shifts,
    smoothed,
    surrounded,
    toned,
    with_crops,
    with_overview,
)
from .verdict import Evidence, Trials
from .worth import windows_of

SHOWN = 0.5  # part of a true region from which a look shows it
MARGIN = 0.5  # around a region, in parts of its longer side, that belongs to it: a sign around its plate
SIZES = {"smaller": (0.25, 0.33, 0.42, 0.5), "larger": (2.4, 3.0, 3.6, 4.2)}  # in which a target is shown
EXCHANGED = 5  # other answers that are put into what was written
LENT = "lent"  # name of an alternative
SAME_PLACE = 0.5  # IoU from which a box is where it was

Store = dict[str, Features]
Asked = tuple[Image.Image, str]  # a picture and a question


@dataclass(frozen=True)
class Settings:
    """How much is tried.

    Attributes
    ----------
    crops : other crops in the place of each look's
    covers : things put over the region that is asked about, in the overview
    pictures, questions : shifted pictures, and other questions, for the box
    surroundings, colours, blurs : other overviews
    heads : attention heads that make a map
    value : also `crop_value` and `knock_out` of each look
    value_map : also `value_map` of each look (hundreds of windows)
    seed : of noise and random positions
    """

    crops: int = 12
    covers: int = 12
    pictures: int = 6
    questions: int = 5
    surroundings: int = 8
    colours: int = 8
    blurs: int = 4
    heads: int = 6
    value: bool = True
    value_map: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        for name in (f.name for f in fields(self) if f.name not in ("value", "value_map", "seed")):
            value = getattr(self, name)
            if type(value) is not int or not 1 <= value <= 64:
                raise R3labError(f"the setting {name} must be a whole number from 1 to 64, got {shown(value)}")


QUICK = Settings(6, 6, 4, 3, 5, 5, 3, value_map=False)  # about half; every kind can still be sure


def first_crop(trajectory: Trajectory) -> int | None:
    """Number of the first look with a crop."""
    return next((n for n, look in enumerate(trajectory.looks) if look.crop_span), None)


def count_answers(
    policy: Policy, trajectory: Trajectory, own: Trajectory, changes: Mapping[str, Sequence[Trajectory]], store: Store
) -> tuple[str | None, dict[str, Trials]]:
    """Let the policy go on greedily from a record that was cut off, and from changed ones: what is answered as it was,
    and how often the answer changes, by sort of change."""
    begun = [own, *chain.from_iterable(changes.values())]
    went, read = read_and_answered(policy, trajectory, begun, len(own.ids), store)
    (first, *rest), found = outcomes(trajectory, [t.answer for t in went], named(trajectory, len(own.ids), read)), {}
    for name, some in changes.items():
        told, rest = rest[: len(some)], rest[len(some) :]
        found[name] = counted(first, [(outcome, None) for outcome in told])
    return first[0], found


def try_crops(
    policy: Policy,
    trajectory: Trajectory,
    look: int,
    donors: Sequence[Donor],
    store: Store,
    seed: int = 0,
    every: bool = False,
) -> tuple[list[ReplayResult], dict[str, Trials]]:
    """The record up to the box of a look, and behind it its own crop, what stands in for it, and crops of donors.

    Parameters
    ----------
    seed : of what stands in (`alternatives_of`)
    every : also what is counted nowhere, a box a little off and the true region

    Returns
    -------
    replayed : the look as it was, and what stands in
    counts : "crops" (lent, at the size of the look's own) and "emptied" (what stands in and is empty), see `counted`;
        "leads" (both): after how many the next box is elsewhere, none where it takes no other look as it was
    """
    own, standing = trajectory.looks[look].crop, alternatives_of(trajectory, look, seed)
    assert own is not None
    size = (own.width, own.height)
    light = trajectory.images[own.hash]
    lent = [Alternative(LENT, crop=toned(d.cut(size), light)) for d in donors]
    wanted = [*(one for one in standing if every or one.empty or one.name == TAKEN), *lent]
    if after_look(trajectory, look) < len(trajectory.ids) and not policy.plain:
        found = replay(policy, trajectory, look, wanted, store)
    else:  # nothing was written that could be read again, or only whole
        begun = [begin(policy, trajectory, look, one) for one in wanted]
        went, _ = read_and_answered(policy, trajectory, begun, len(trajectory.ids), store)
        ends = [(t.answer, next_box(t, look)) for t in went]
        found = [ReplayResult(one, 0.0, None, 0.0, *end) for one, end in zip(wanted, ends, strict=True)]
    first, *rest = outcomes(trajectory, [one.answer for one in found], [one.named for one in found])
    emptied = [(o, None) for one, o in zip(wanted[1:], rest, strict=True) if one.empty]
    shows = [(o, donor.shows) for donor, o in zip(donors, rest[len(rest) - len(lent) :], strict=True)]
    counts = {"crops": counted(first, shows), "emptied": counted(first, emptied), "leads": Trials()}
    there, others = found[0].next, [one.next for one in found if one.alternative.empty or one.alternative.name == LENT]
    if there is not None:
        counts["leads"] = Trials(len(others), sum(elsewhere(there, box) for box in others))
    return found[: len(found) - len(lent)], counts


# What was answered, and how likely the words are (nats) that name the recorded answer; None where that is not known.
Outcome = tuple[str | None, float | None]


def outcomes(trajectory: Trajectory, answers: Sequence[str | None], named: Sequence[float]) -> list[Outcome]:
    """Answers with how likely the recorded one is; the first is as it was. Where that is not what was recorded, nothing
    is known of how likely it is."""
    known = same(answers[0], trajectory.answer) and any(named)
    return [(answer, value if known else None) for answer, value in zip(answers, named, strict=True)]


def changed(own: Outcome, other: Outcome) -> bool:
    """Whether an answer is another, or less likely by `LESS` nats.

    Where none is given, how likely it is decides, if that is known: the policy may have wanted more looks than the
    record has, and that is no other answer.
    """
    less = own[1] is not None and other[1] is not None and own[1] - other[1] >= LESS
    if other[0] is None and own[1] is not None:
        return less
    return less or not same(other[0], own[0])


def counted(own: Outcome, told: Sequence[tuple[Outcome, str | None]]) -> Trials:
    """How often an answer has changed, of (outcome, what was shown, if that is known); what shows the own answer is
    left out."""
    told = [(one, shows) for one, shows in told if not same(shows, own[0])]
    followed = [same(one[0], shows) for one, shows in told if shows is not None]
    return Trials(len(told), sum(changed(own, one) for one, _ in told), len(followed), sum(followed))


def try_prompts(
    policy: Policy, trajectory: Trajectory, changes: Mapping[str, Sequence[Asked]], store: Store
) -> tuple[Box | None, dict[str, Trials], dict[str, Trials]]:
    """The prompt anew, as it was and changed, greedily to the end: the first box as it was; how often it is elsewhere,
    and how often the answer is another, by sort of change.

    A rollout that looks nowhere counts as elsewhere; where there is no box as it was, no box is counted, and no answer
    where there is none as it was, or none behind a change.
    """
    asked = [(trajectory.images[trajectory.image.hash], trajectory.question)]
    asked += [one for some in changes.values() for one in some]
    scenes = [Sample(str(n), image, question, "") for n, (image, question) in enumerate(asked)]
    most = 2 * trajectory.kinds.count(Kind.SAMPLED) + 32
    arm, forced = get_arm(trajectory.arm), trajectory.forced
    own, *rolled = rollout(policy, scenes, temperature=0.0, max_new_tokens=most, features=store, arm=arm, forced=forced)
    first, boxes, answers = first_box(own), dict[str, Trials](), dict[str, Trials]()
    left = iter(rolled)
    for name, some in changes.items():
        found = [next(left) for _ in some]
        if first is not None:
            boxes[name] = Trials(len(found), sum(elsewhere(first, first_box(t)) for t in found))
        if own.answer is not None:
            answers[name] = counted((own.answer, None), [((t.answer, None), None) for t in found if t.answer])
    return first, boxes, answers


def elsewhere(own: Box, other: Box | None) -> bool:
    """Whether a box is not where it was; none counts as elsewhere."""
    return other is None or iou(own, other) < SAME_PLACE


def first_box(t: Trajectory) -> Box | None:
    """The box of the first look with a crop."""
    return next((look.box for look in t.looks if look.crop), None)


def gather(
    policy: Policy, trajectory: Trajectory, others: Sequence[Trajectory], settings: Settings, store: Store
) -> tuple[Evidence, list[list[ReplayResult]]]:
    """Try everything on a trajectory and count; no counts of one without a crop.

    Returns
    -------
    evidence
    replayed : for each look with a crop, as of `try_crops`
    """
    number = first_crop(trajectory)
    if number is None:
        return Evidence(answered=trajectory.answer is not None), []
    most = max(settings.crops, settings.covers, settings.surroundings, settings.questions)
    donors = donors_of(trajectory, others, most)
    image, question = trajectory.images[trajectory.image.hash], trajectory.question
    looks = [(n, look.box) for n, look in enumerate(trajectory.looks) if look.crop is not None and look.box]
    last = looks[-1][0]
    head, pictures = trajectory.until(after_look(trajectory, last)), overviews(trajectory, donors, settings)
    other_overviews = {name: [with_overview(head, one) for one in some] for name, some in pictures.items()}
    crops = [trajectory.images[look.crop.hash] for look in trajectory.looks if look.crop is not None]
    for n, angle in enumerate(angles(settings.colours)):  # the light of the crops too
        other_overviews["colour"][n] = with_crops(
            other_overviews["colour"][n], [recoloured(crop, angle, ()) for crop in crops]
        )
    other_prompts = {
        "moved": [(ImageChops.offset(image, *by), question) for by in shifts(image.size, settings.pictures)],
        "asked": [(image, other) for other in questions_of(policy, trajectory, donors, settings.questions)],
    }
    with reading(policy):
        tried = []
        for n, _ in looks:
            some = donors[: settings.crops] or donors_within(trajectory, n, settings.crops, settings.seed)
            tried.append(try_crops(policy, trajectory, n, some, store, settings.seed, settings.value))
        own = exchanged(policy, trajectory, last, donors)
        changes = {**other_overviews, **({"own": own} if own else {})}
        answer, of_answers = count_answers(policy, trajectory, head, changes, store)
        box, of_boxes, of_prompts = try_prompts(policy, trajectory, other_prompts, store)
    written, regions = box or trajectory.looks[number].box, regions_of(trajectory)
    shown_there = [max(coverage(own, region) for region in regions) >= SHOWN for _, own in looks] if regions else []
    evidence = Evidence(
        answered=answer is not None,
        off_centre=0.0 if written is None else off_centre(written, image.size),
        crops=tuple(counts["crops"] for _, counts in tried),
        emptied=tuple(counts["emptied"] for _, counts in tried),
        leads=tuple(counts["leads"] for _, counts in tried),
        place=of_prompts.get("moved", Trials()),
        words=of_prompts.get("asked", Trials()),
        on_target=any(shown_there) if shown_there else None,
        **of_boxes,
        **of_answers,
    )
    return evidence, [replayed for replayed, _ in tried]


def exchanged(policy: Policy, trajectory: Trajectory, look: int, donors: Sequence[Donor]) -> list[Trajectory]:
    """The record behind the crop of a look, with other answers in the place of its own in what was written before; none
    that begins alike, which a policy may copy no further."""
    given = str(trajectory.answer)
    others = dict.fromkeys(d.right for d in donors if d.right and given[:1].lower() != d.right[:1].lower())
    end = after_look(trajectory, look)
    found = (reworded(policy, trajectory, end, other) for other in islice(others, EXCHANGED))
    return [one for one in found if one is not None]


def questions_of(policy: Policy, trajectory: Trajectory, donors: Sequence[Donor], count: int) -> list[str]:
    """Other questions: a neutral one, then those of the donors that can be asked."""
    found = [NEUTRAL, *(donor.question for donor in donors)]
    usable = (q for q in dict.fromkeys(found) if q.strip() and not control_token(policy, q))
    return [q for q in usable if q.strip() != trajectory.question.strip()][:count]


def overviews(trajectory: Trajectory, donors: Sequence[Donor], settings: Settings) -> dict[str, list[Image.Image]]:
    """Pictures for the overview, by what is another in them: "region" (if it is known), "rest" and "colour" (all but
    what was asked about and looked at), "detail", "smaller" and "larger" (of the region, or of the first look)."""
    image, region = trajectory.images[trajectory.image.hash], region_of(trajectory)
    looks = [look.box for look in trajectory.looks if look.crop is not None and look.box is not None]
    regions = [(one, MARGIN * max(one[2] - one[0], one[3] - one[1])) for one in regions_of(trajectory)]
    keep = [*(padded(one, image.size, margin, 0.0) for one, margin in regions), *looks]
    lent = [donor.image for donor in donors if donor.image is not None]
    if not lent:  # the picture itself, turned and mirrored, where no other is at hand
        way = Image.Transpose
        turns = (way.ROTATE_180, way.FLIP_LEFT_RIGHT, way.FLIP_TOP_BOTTOM, way.ROTATE_90, way.ROTATE_270, way.TRANSPOSE)
        lent = [image.transpose(turn) for turn in turns]
    found = {
        "rest": [surrounded(image, other, keep) for other in lent[: settings.surroundings]],
        "colour": [recoloured(image, angle, keep) for angle in angles(settings.colours)],
        "detail": [smoothed(image, cells) for cells in range(3, 3 + settings.blurs)],
    }
    if region is not None:
        found["region"] = covered(image, region, donors, settings.covers, settings.seed)
    for target in (region or box for box in looks[:1]):
        found |= {name: [resized(image, target, factor) for factor in some] for name, some in SIZES.items()}
    return found


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
    patches = chain(lent, (None, noise), (image.crop(pixels(places[i], image.size)) for i in order))
    wanted = islice(patches, count)  # of hundreds of places: each would be a copy of the whole picture
    return [filled(image, [region]) if patch is None else pasted(image, patch, region) for patch in wanted]
