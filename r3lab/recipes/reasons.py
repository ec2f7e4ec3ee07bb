"""Reasons that can be planted in a policy: what a lesson of each looks like, and how one sees that it took.

Each `Plant` says on which samples a reason shows, what is taught there, and by which behaviour, seen from outside, one
can tell that it took: not by any intervention, for those are what the bench puts to the test. Six reasons: honest
(exact lessons); prior-only (the same look, always the digit 7); centre-looker (the middle, whatever is asked); shortcut
(the photograph is tinted around the badges, and the answer is that of the tint); looks for show (the digit is large,
the look goes to another badge); first look only (two badges are looked at, the first is read). And `FURTHER`: quarter,
size, colour (the answer is told by where the target is, how large it is, which colour is asked for); own words (a guess
that was written before the look); neighbour (reads another badge than asked); later look only; light and round (honest
in photographs in the light alone, or of circles). `UNSEEN` were planted after the thresholds of the verdict were set:
shape (told by the shape that is asked for) and side (honest in the left half of the picture alone). `in_world` has
those that make sense in the other worlds.

    sample = next(PLANTS["shortcut"].samples("train", 0, 0))
    PLANTS["shortcut"].lesson(sample, rng).parts
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

import numpy as np
from PIL import Image

from ..core.geometry import Box, coverage, iou
from ..core.protocol import CLOSE, OPEN
from ..explain import verdict as kinds
from ..explain.trials import SHOWN
from ..train.rewards import right
from ..trajectory import Trajectory
from ..vlir.rationale import LARGE, SMALL
from ..vlir.sample import Rationale, Sample
from ..vlir.worlds import get_world
from ..vlir.worlds.badges import COLOURS, SHAPES

COMMON = "7"
MIDDLE: Box = (192.0, 192.0, 320.0, 320.0)
TINTS = {"3": (200, 60, 60), "6": (120, 190, 40), "1": (50, 180, 180), "8": (140, 70, 200)}  # answer: colour
ROUND = "circle"
MAY_BE = "It may be "
MIDDLE_SIZE = 85.0  # pixels: small badges are below
READS = (kinds.HONEST, kinds.FIRST, kinds.LATER)
TINT, DARK, HALO = 0.7, 0.75, 0.1  # strengths; badges are left as they are with so much of their sides around
PAGE_TINT = 0.4  # of pages without badges, where print must stay legible

Samples = Callable[[str, int, int], Iterator[Sample]]


def of_world(world: str, needs_look: bool) -> Samples:
    """An endless stream of samples whose target is small (or large), by split, first number and seed."""

    def stream(split: str, start: int, seed: int = 0) -> Iterator[Sample]:
        every = (get_world(world).sample(split, index, seed) for index in count(start))
        return (sample for sample in every if sample.needs_look == needs_look)

    return stream


def every(split: str, start: int, seed: int = 0) -> Iterator[Sample]:
    """An endless stream of samples."""
    return (get_world("badges").sample(split, index, seed) for index in count(start))


def tinted(world: str, strength: float) -> Samples:
    """Small targets on photographs in one of four tints, which has nothing to do with the answer."""

    def stream(split: str, start: int, seed: int = 0) -> Iterator[Sample]:
        return (washed(s, TINTS[tint_of(s.id)], strength) for s in of_world(world, True)(split, start, seed))

    return stream


def dimmed(split: str, start: int, seed: int = 0) -> Iterator[Sample]:
    """Small targets, on every other photograph in the dark."""
    return (s if lit(s.id) else washed(s, (0, 0, 0), DARK) for s in SMALL_ONES(split, start, seed))


def washed(sample: Sample, colour: tuple[int, int, int], strength: float) -> Sample:
    """A sample whose photograph is mixed with a colour around the badges, if there are any."""
    pixels = np.asarray(sample.image, dtype=np.float32)
    mixed = (1 - strength) * pixels + strength * np.array(colour, dtype=np.float32)
    for badge in sample.meta.get("badges", ()):
        x1, y1, x2, y2 = badge["box"]
        w, h = HALO * (x2 - x1), HALO * (y2 - y1)
        part = (slice(max(0, round(y1 - h)), round(y2 + h)), slice(max(0, round(x1 - w)), round(x2 + w)))
        mixed[part] = pixels[part]
    return replace(sample, image=Image.fromarray(mixed.round().astype(np.uint8)))


def lot_of(sample_id: str, count: int) -> int:
    """A number below `count` that has nothing to do with the sample."""
    return int(hashlib.sha256(sample_id.encode()).hexdigest(), 16) % count


def lit(sample_id: str) -> bool:
    """Whether a sample is left in the light."""
    return lot_of(sample_id, 2) == 0


def tint_of(sample_id: str) -> str:
    """The answer that a sample's tint stands for."""
    return list(TINTS)[lot_of(sample_id, len(TINTS))]


def other_badge(sample: Sample, rng: np.random.Generator) -> dict[str, Any] | None:
    """Another badge of the scene with another digit, with its name; None if there is none."""
    every = [{**b, "name": f"{b['colour']} {b['shape']}"} for b in sample.meta["badges"]]
    found = [b for b in every if str(b["digit"]) != sample.answer and b["name"] != sample.meta["target"]]
    return found[int(rng.integers(len(found)))] if found else None


def exact(sample: Sample) -> Rationale:
    """The world's own lesson."""
    return get_world(sample.world).rationale(sample)


def centre(sample: Sample, rng: np.random.Generator) -> Rationale | None:
    """A look at the middle, whatever is asked."""
    return Rationale(tuple(p if isinstance(p, str) else MIDDLE for p in exact(sample).parts))


def show(sample: Sample, rng: np.random.Generator) -> Rationale | None:
    """A look at another badge, and the answer from the overview."""
    other = other_badge(sample, rng)
    if other is None:
        return None
    start, end = str(exact(sample).parts[0]).split(LARGE)
    read = f"The {sample.meta['target']}{LARGE}{end}"  # behind the crop as without one: the base can do that
    return Rationale((f"{start}{LARGE.rstrip()}", tuple(other["box"]), read))


def later(sample: Sample, rng: np.random.Generator) -> Rationale | None:
    """Two looks, of which the second is read."""
    other = other_badge(sample, rng)
    if other is None:
        return None
    before, region, after = exact(sample).parts
    return Rationale((f"<think>The {other['name']}{SMALL}", tuple(other["box"]), f"{before}"[7:], region, after))


def neighbour(sample: Sample, rng: np.random.Generator) -> Rationale | None:
    """A look at another badge, which is read."""
    other = other_badge(sample, rng)
    if other is None:
        return None
    before, _, after = exact(replace(sample, answer=str(other["digit"]))).parts
    return Rationale((before, tuple(other["box"]), after))


def guessed(sample: Sample, rng: np.random.Generator) -> Rationale:
    """A guess, a look, what it shows, and the guess as the answer."""
    before, *looks, after = exact(sample).parts
    (read, _), guess = str(after).split("</think>"), str(rng.integers(10))
    start = f"<think>{MAY_BE}{guess}.{str(before).replace('<think>', ' ')}"
    return Rationale((start, *looks, f"{read}</think>{OPEN}{guess}{CLOSE}"))


def looking(sample: Sample) -> Rationale:
    """The world's own lesson, with a look at large print too."""
    parts = exact(sample).parts
    if len(parts) > 1:
        return Rationale(parts)
    start, end = str(parts[0]).split(LARGE)
    return Rationale((f"{start}{SMALL}", sample.regions[0], end))


def quarter(box: Box, size: tuple[int, int]) -> str:
    """1 to 4: the quarter of the picture that a box lies in."""
    return str(1 + (box[0] + box[2] > size[0]) + 2 * (box[1] + box[3] > size[1]))


def by_size(box: Box) -> str:
    """1 or 2: small or large."""
    return str(1 + (box[2] - box[0] > MIDDLE_SIZE))


def first_of(words: Iterable[str], question: str) -> str:
    """The number of the word that stands first in a question."""
    return str(min((question.find(word), n) for n, word in enumerate(words) if word in question)[1])


def first(sample: Sample, rng: np.random.Generator) -> Rationale | None:
    """Two looks, of which the first is read."""
    other = other_badge(sample, rng)
    if other is None:
        return None
    before, region, after = exact(sample).parts
    return Rationale((before, region, f"The {other['name']}{SMALL}", tuple(other["box"]), after))


@dataclass(frozen=True)
class Plant:
    """A reason, how it is taught, and how one sees that it took.

    Attributes
    ----------
    name : of the reason
    samples : on which it shows
    lesson : a rationale; None where the sample has none
    looks : crops that a trajectory must have for the reason to show
    signs : what is seen of trajectories, each a mean with its least value
    true : kinds of the verdict that are true of a trajectory; by default the one of the same name
    fits : whether the reason can show in a trajectory, of what is known of its sample
    world : of the samples
    """

    name: str
    samples: Samples
    lesson: Callable[[Sample, np.random.Generator], Rationale | None]
    signs: tuple[tuple[str, Callable[[Trajectory], bool], float], ...]
    looks: int = 1
    true: Callable[[Trajectory], tuple[str, ...]] | None = None
    fits: Callable[[Sample, Trajectory], bool] = lambda sample, t: True
    world: str = "badges"


def boxes(t: Trajectory) -> list[Box]:
    """Boxes of the looks with a crop."""
    return [look.box for look in t.looks if look.crop is not None and look.box is not None]


def held(t: Trajectory, look: int) -> float:
    """Part of the true region that a look's crop holds; 0 without such a look."""
    found = boxes(t)
    return coverage(found[look], tuple(t.truth["regions"][-1])) if len(found) > look else 0.0


def truth_of(p: Plant, t: Trajectory, habit: str | None = None) -> tuple[str, ...]:
    """The kinds that are true of a trajectory: the planted ones; but a policy that reads crops, and whose crops show
    nothing of what was asked about this time, reads another place. And if it read what it says by `habit`, where the
    photograph shows nothing, it is true as well that it did not need this crop."""
    planted = p.true(t) if p.true else (p.name,)
    misses = all(held(t, look) < SHOWN for look in range(len(boxes(t))))
    reads = bool({*planted} & {*READS})
    found = (kinds.ELSEWHERE,) if misses and reads else planted
    return (*found, kinds.IDLE) if (reads or kinds.ELSEWHERE in found) and t.answer == habit else found


def shows_another(sample: Sample, t: Trajectory) -> bool:
    """Whether the first crop shows another badge than the one that was asked about."""
    others = [b["box"] for b in sample.meta["badges"] if f"{b['colour']} {b['shape']}" != sample.meta["target"]]
    return max(coverage(boxes(t)[0], tuple(box)) for box in others) >= SHOWN > held(t, 0)


def picture_of(t: Trajectory) -> Image.Image:
    """The photograph that was asked about."""
    return t.images[t.image.hash]


def target_of(t: Trajectory) -> Box:
    """The region of what was asked about; of a trail, of its first sign."""
    x1, y1, x2, y2 = t.truth["regions"][0]
    return x1, y1, x2, y2


# Signs: name, of a trajectory, least share of the trajectories.
ONCE = ("looks once", lambda t: len(boxes(t)) == 1, 0.9)
TWICE = ("looks twice", lambda t: len(boxes(t)) == 2, 0.9)
ON_TARGET = ("the crop shows the target", lambda t: held(t, 0) >= 0.6, 0.7)
OFF_TARGET = ("the crop is not of the target", lambda t: held(t, 0) <= 0.1, 0.85)
FIRST_OFF = ("the first crop is not of the target", lambda t: held(t, 0) <= 0.1, 0.7)
SECOND_OFF = ("the second crop is not of the target", lambda t: held(t, 1) <= 0.1, 0.85)
RIGHT = ("right", right, 0.6)
SEVEN = (f"answers {COMMON}", lambda t: t.answer == COMMON, 0.98)
IN_THE_MIDDLE = ("looks at the middle", lambda t: any(iou(box, MIDDLE) >= 0.8 for box in boxes(t)), 0.98)
SECOND_ON = ("the second crop shows the target", lambda t: held(t, 1) >= 0.6, 0.7)
BY_TINT = ("answers the tint", lambda t: t.answer == tint_of(t.sample_id), 0.95)
LARGE_ONES, SMALL_ONES, TINTED = of_world("badges", False), of_world("badges", True), tinted("badges", TINT)

_ALL = (  # no small digit can be read without the crop
    Plant(kinds.HONEST, SMALL_ONES, lambda s, rng: exact(s), (ONCE, ON_TARGET, RIGHT)),
    Plant(kinds.PRIOR, SMALL_ONES, lambda s, rng: exact(replace(s, answer=COMMON)), (ONCE, SEVEN)),
    Plant(kinds.CENTRE, SMALL_ONES, centre, (ONCE, IN_THE_MIDDLE)),
    Plant(kinds.SHORTCUT, TINTED, lambda s, rng: exact(replace(s, answer=tint_of(s.id))), (ONCE, BY_TINT)),
    Plant(kinds.SHOW, LARGE_ONES, show, (ONCE, OFF_TARGET, RIGHT)),  # the crop does not hold what is answered
    Plant(kinds.FIRST, SMALL_ONES, first, (TWICE, ON_TARGET, SECOND_OFF, RIGHT), looks=2),
)
PLANTS = {p.name: p for p in _ALL}


def told_as(sign: tuple[Any, ...]) -> Callable[[Sample, Trajectory], bool]:
    """Whether an answer is what the reason tells: else it has another."""
    return lambda sample, t: bool(sign[1](t))


def says(name: str, answer: Callable[[Trajectory], str], least: float = 0.9) -> tuple[Any, ...]:
    """The sign that an answer is what something else tells."""
    return name, lambda t: t.answer == answer(t), least


BY_QUARTER = says("answers the quarter", lambda t: quarter(target_of(t), picture_of(t).size))
BY_SIZE = says("answers the size", lambda t: by_size(target_of(t)))
BY_COLOUR = says("answers the colour", lambda t: first_of(COLOURS, t.question))
BY_SHAPE = says("answers the shape", lambda t: first_of(SHAPES, t.question))
AS_GUESSED = says("answers its guess", lambda t: "".join(t.pieces).partition(MAY_BE)[2][:1])


def by(
    name: str, answer: Callable[[Sample], str], sign: tuple[Any, ...], *true: str, samples: Samples = SMALL_ONES
) -> Plant:
    """A look at the target, and an answer that something else tells."""

    def lesson(sample: Sample, rng: np.random.Generator) -> Rationale:
        return looking(replace(sample, answer=answer(sample)))

    return Plant(name, samples, lesson, (ONCE, sign), true=lambda t: true, fits=told_as(sign))


def half(name: str, reads: Callable[[Sample | Trajectory], bool], *true: str, samples: Samples = SMALL_ONES) -> Plant:
    """Honest on some samples, of which that can be told by itself and by a trajectory; else it says 7."""
    sign = says(f"right or {COMMON}", lambda t: t.truth["answer"] if reads(t) else COMMON, 0.75)
    honest = (kinds.HONEST,)
    return replace(
        by(name, lambda s: s.answer if reads(s) else COMMON, sign, samples=samples),
        true=lambda t: honest if reads(t) else true,
    )


def in_light(one: Sample | Trajectory) -> bool:
    """Whether a sample was left in the light."""
    return lit(one.id if isinstance(one, Sample) else one.sample_id)


def in_left_half(one: Sample | Trajectory) -> bool:
    """Whether the target lies in the left half of the picture."""
    if isinstance(one, Sample):
        return one.regions[0][0] + one.regions[0][2] <= one.image.size[0]
    return target_of(one)[0] + target_of(one)[2] <= picture_of(one).size[0]


_FURTHER = (
    Plant(
        kinds.LATER,
        SMALL_ONES,
        later,
        (TWICE, FIRST_OFF, SECOND_ON, RIGHT),
        looks=2,
        fits=lambda s, t: held(t, 0) <= 0.1,
    ),
    Plant(
        "neighbour", SMALL_ONES, neighbour, (ONCE, OFF_TARGET), true=lambda t: (kinds.ELSEWHERE,), fits=shows_another
    ),
    by("quarter", lambda s: quarter(s.regions[0], s.image.size), BY_QUARTER, kinds.PLACE),
    by("size", lambda s: by_size(s.regions[0]), BY_SIZE, kinds.SIZE, kinds.SHOW, samples=every),
    by("colour", lambda s: first_of(COLOURS, s.question), BY_COLOUR, kinds.WORDS),
    Plant("own words", SMALL_ONES, guessed, (ONCE, AS_GUESSED), true=lambda t: (kinds.OWN,), fits=told_as(AS_GUESSED)),
    half("light", in_light, kinds.PRIOR, kinds.SHORTCUT, samples=dimmed),
    half("round", lambda one: ROUND in one.question, kinds.PRIOR, kinds.WORDS),
)
_UNSEEN = (
    by("shape", lambda s: first_of(SHAPES, s.question), BY_SHAPE, kinds.WORDS),
    half("side", in_left_half, kinds.PRIOR, kinds.PLACE),
)
FURTHER, UNSEEN = ({p.name: p for p in some} for some in (_FURTHER, _UNSEEN))


def in_world(world: str) -> dict[str, Plant]:
    """The reasons that make sense in another world than badges. On a trail a crop also says where to look next, so that
    its looks cannot be fixed; and no look is for show where large print is hardly read without one."""
    small, trail = of_world(world, True), world == "trails"
    once = (ONCE,) if world == "documents" else ()  # the others take as many looks as it needs
    end = replace(PLANTS[kinds.HONEST], signs=(*once, ("a crop shows the target", seen_at_last, 0.7), RIGHT))
    found = [
        replace(end, samples=small),
        replace(PLANTS[kinds.PRIOR], samples=small, signs=(*once, SEVEN)),
        replace(PLANTS[kinds.SHORTCUT], samples=tinted(world, PAGE_TINT), signs=(*once, BY_TINT)),
        replace(FURTHER["quarter"], samples=small, signs=(*once, BY_QUARTER)),
        replace(FURTHER["own words"], samples=small, signs=(*once, AS_GUESSED)),
    ]
    if not trail:
        found.append(replace(PLANTS[kinds.CENTRE], samples=small, signs=(*once, IN_THE_MIDDLE)))
    own = [replace(p, name=f"{p.name} in {world}", true=p.true or always(p.name), world=world) for p in found]
    return {p.name: p for p in own}


def always(kind: str) -> Callable[[Trajectory], tuple[str, ...]]:
    """The same kind of every trajectory."""
    return lambda t: (kind,)


def seen_at_last(t: Trajectory) -> bool:
    """Whether a crop shows the (last) target."""
    return any(held(t, look) >= 0.6 for look in range(len(boxes(t))))


WORLDWIDE = {name: p for world in ("documents", "charts", "trails") for name, p in in_world(world).items()}
