"""In which frame boxes were written: unit, order, origin and padding, found from boxes whose truth is known.

Every combination of the four is a hypothesis; each says where in the picture four written numbers lie. The error of a
hypothesis is the median over pictures of how far that is from the known box, so up to half of the boxes may be wrong.
One is found if it is right to a tenth of the picture, and each that means other places is clearly worse, in the median
and picture by picture; else `find` says why none is. Only the padding may stay open: a policy that was taught on
squares has none. Pictures should have several proportions and sizes: what they cannot tell apart is named
(`Found.alike`). Simplified: one frame for all pictures; no rotation, no mirror but up
and down. Pure Python, no model: `evaluate.frames` asks a policy, `rollouts` of others bring boxes of their own.

    cases = [Case((640, 480), (644, 476), (64, 48, 128, 96), *numbers_in('{"bbox_2d": [100, 100, 200, 200]}'))]
    print(find(cases * 8).said)
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from statistics import median
from typing import Any

from .geometry import Box, Frame, Size
from .protocol import Values

LEAST = 8  # written boxes without which nothing is said
SHARE = 0.5  # of the pictures, likewise
LIMIT = 0.1  # median error of a frame that can be meant, as a part of the picture's sides
MARGIN, TIMES, WINS = 0.01, 1.5, 0.7  # by which the next is worse: in the median, and in which share of the pictures
SAME = 0.01  # places nearer to each other than this part of a side are one
BINS = 1024  # of location tokens
MOST = 4000  # characters that are read

UNITS: dict[str, tuple[str, Callable[[Size, Size], tuple[float, float]]]] = {
    "relative-1000": ("0 to 1000 of width and height", lambda source, seen: (1000, 1000)),
    "overview": ("pixels of the resized picture", lambda source, seen: seen),
    "source": ("pixels of the source", lambda source, seen: source),
    "relative-1": ("0 to 1 of width and height", lambda source, seen: (1, 1)),
    "relative-100": ("per cent of width and height", lambda source, seen: (100, 100)),
    "tokens": (f"location tokens, 0 to {BINS - 1}", lambda source, seen: (BINS, BINS)),
}
ORDERS: dict[str, Callable[[float, float, float, float], Box]] = {
    "x1 y1 x2 y2": lambda a, b, c, d: (a, b, c, d),
    "y1 x1 y2 x2": lambda a, b, c, d: (b, a, d, c),
    "x1 x2 y1 y2": lambda a, b, c, d: (a, c, b, d),
    "x y width height": lambda a, b, c, d: (a, b, a + c, b + d),
    "middle width height": lambda a, b, c, d: (a - c / 2, b - d / 2, a + c / 2, b + d / 2),
}
ORIGINS = ("top left", "bottom left")
PADDINGS = {  # where the picture begins in the square that its longer side makes, as a part of what is added
    "none": 0.0,
    "square, picture in the middle": 0.5,
    "square, picture at the top left": 0.0,
}
_NUMBER = r"(-?\d{1,6}(?:\.\d{1,6})?)"
_FOUR = re.compile(rf"[\[(]\s*{_NUMBER}\s*,\s*{_NUMBER}\s*[\])]?\s*,\s*[\[(]?\s*{_NUMBER}\s*,\s*{_NUMBER}\s*[\])]")
_TOKENS = re.compile(r"<loc_?(\d{1,4})>" * 4)


@dataclass(frozen=True)
class Written:
    """A hypothesis: how the four numbers of a box are meant; keys of UNITS, ORDERS, ORIGINS and PADDINGS."""

    unit: str = "relative-1000"
    order: str = "x1 y1 x2 y2"
    origin: str = "top left"
    padding: str = "none"

    def place(self, numbers: Values, source: Size, seen: Size) -> Box:
        """Where the numbers lie, as parts (0 to 1) of the picture's width and height; corners in order."""
        wide, high = UNITS[self.unit][1](source, seen)
        x1, y1, x2, y2 = ORDERS[self.order](*numbers)
        if self.padding != "none":
            wide = high = max(wide, high)
        x1, x2, y1, y2 = x1 / wide, x2 / wide, y1 / high, y2 / high
        if self.origin == "bottom left":
            y1, y2 = 1 - y2, 1 - y1
        if self.padding != "none":
            side, part = max(source), PADDINGS[self.padding]
            x1, x2 = ((x * side - part * (side - source[0])) / source[0] for x in (x1, x2))
            y1, y2 = ((y * side - part * (side - source[1])) / source[1] for y in (y1, y2))
        return min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)

    def write(self, box: Box, source: Size, seen: Size) -> Values:
        """The four numbers of a box in source pixels, not rounded; the inverse of `place`."""
        (w, h), (x1, y1, x2, y2) = source, box
        x1, x2, y1, y2 = x1 / w, x2 / w, y1 / h, y2 / h
        if self.padding != "none":
            side, part = max(source), PADDINGS[self.padding]
            x1, x2 = ((x * source[0] + part * (side - source[0])) / side for x in (x1, x2))
            y1, y2 = ((y * source[1] + part * (side - source[1])) / side for y in (y1, y2))
        if self.origin == "bottom left":
            y1, y2 = 1 - y2, 1 - y1
        wide, high = UNITS[self.unit][1](source, seen)
        if self.padding != "none":
            wide = high = max(wide, high)
        x1, y1, x2, y2 = x1 * wide, y1 * high, x2 * wide, y2 * high
        if self.order == "x y width height":
            return x1, y1, x2 - x1, y2 - y1
        if self.order == "middle width height":
            return (x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1
        return {"y1 x1 y2 x2": (y1, x1, y2, x2), "x1 x2 y1 y2": (x1, x2, y1, y2)}.get(self.order, (x1, y1, x2, y2))

    @property
    def frame(self) -> Frame | None:
        """The frame of a policy that means the same; None where there is none."""
        if (self.origin, self.padding) != ("top left", "none"):
            return None
        names = {"x1 y1 x2 y2": self.unit, "y1 x1 y2 x2": f"{self.unit}-yx"}
        return next((one for one in Frame if one.value == names.get(self.order)), None)

    def __str__(self) -> str:
        padded = "" if self.padding == "none" else f", padded to a {self.padding}"
        return f"{self.order} in {UNITS[self.unit][0]}, from the {self.origin} corner{padded}"


@dataclass(frozen=True)
class Case:
    """A picture with one known object.

    Attributes
    ----------
    source, seen : width and height in pixels of the picture, and of it as the model saw it
    truth : the object's box, source pixels
    numbers : the four that were written for it; None if none were
    tokens : whether they were written as location tokens
    """

    source: Size
    seen: Size
    truth: Box
    numbers: Values | None
    tokens: bool = False


@dataclass(frozen=True)
class Found:
    """What `find` says.

    Attributes
    ----------
    written : the frame; None if none was found
    said : in a sentence, also why none was
    error : median over the pictures, as a part of the sides; of the best where none was found, None without boxes
    second : the same of the best that means other places
    alike : others that mean the same places in these pictures, or fit them as well and differ in the padding alone
    boxes, pictures : how many boxes were written, in how many pictures
    """

    written: Written | None
    said: str
    error: float | None = None
    second: float | None = None
    alike: tuple[Written, ...] = ()
    boxes: int = 0
    pictures: int = 0


def hypotheses(tokens: bool, square: bool) -> Iterator[Written]:
    """Every combination that can be meant.

    Parameters
    ----------
    tokens
        Whether boxes are written in location tokens: these have their own unit, and others never have it.
    square
        Whether the model saw every picture as a square: else its pixels were not padded to one.
    """
    units = [unit for unit in UNITS if (unit == "tokens") == tokens]
    for padding, origin, order, unit in product(PADDINGS, ORIGINS, ORDERS, units):
        if padding == "none" or unit != "source" and (square or unit != "overview"):
            yield Written(unit, order, origin, padding)


def numbers_in(text: str) -> tuple[Values | None, bool]:
    """The first four numbers that stand as a box in a text, and whether they are location tokens.

    Read are lists and pairs of points in brackets of any kind, ``[1, 2, 3, 4]``, ``((1, 2), (3, 4))``, and four of
    ``<loc0123>`` or ``<loc_123>``.
    """
    for found, tokens in ((_TOKENS.search(text[:MOST]), True), (_FOUR.search(text[:MOST]), False)):
        if found:
            a, b, c, d = map(float, found.groups())
            return (a, b, c, d), tokens
    return None, False


def _off(a: Box, b: Box) -> float:
    """Mean distance of the four sides, at most 1."""
    return min(1.0, sum(abs(one - other) for one, other in zip(a, b, strict=True)) / 4)


def find(cases: Sequence[Case]) -> Found:
    """The frame in which the boxes of these pictures were written; see the module's docstring."""
    held = [case for case in cases if case.numbers is not None]
    tokens = 2 * sum(case.tokens for case in held) > len(held)
    held = [case for case in held if case.tokens == tokens]
    counts: dict[str, Any] = {"boxes": len(held), "pictures": len(cases)}
    if len(held) < max(LEAST, SHARE * len(cases)):
        return Found(None, f"does not write boxes: {len(held)} of {len(cases)} answers hold one", **counts)
    square = all(case.seen[0] == case.seen[1] for case in cases)
    places, errors = {}, {}
    for one in hypotheses(tokens, square):
        places[one] = [one.place(case.numbers, case.source, case.seen) for case in held if case.numbers]
        truths = [(x1 / w, y1 / h, x2 / w, y2 / h) for (w, h), (x1, y1, x2, y2) in ((c.source, c.truth) for c in held)]
        errors[one] = [_off(place, truth) for place, truth in zip(places[one], truths, strict=True)]
    score = {one: median(of) for one, of in errors.items()}
    least = min(score, key=lambda one: score[one])
    pairs_of = {one: enumerate(zip(places[one], places[least], strict=True)) for one in score}
    apart = {one: [i for i, (a, b) in pairs if _off(a, b) > SAME] for one, pairs in pairs_of.items()}
    alike = [one for one in score if len(apart[one]) < LEAST / 2]
    error = score[least]
    if error > LIMIT:
        said = f"writes boxes, but not of the object: in no frame do they come nearer than {error:.0%} of the sides"
        return Found(None, said, error, **counts)
    rivals = {}  # where they differ: the median of both; and how often the best is nearer where either is near
    for one in (one for one in score if one not in alike):
        pairs = [(errors[least][i], errors[one][i]) for i in apart[one]]
        near, far = (median(of) for of in zip(*pairs, strict=True))
        told = [a < b for a, b in pairs if min(a, b) <= LIMIT]
        rivals[one] = far, far >= max(TIMES * near, near + MARGIN) and sum(told) >= WINS * len(told)
    close = [one for one, (_, worse) in rivals.items() if not worse]
    same = replace(least, padding="none")
    if any(replace(one, padding="none") != same for one in close):
        other = next(one for one in close if replace(one, padding="none") != same)
        both = f"{least} ({error:.1%} off), and {other} ({rivals[other][0]:.1%})"
        return Found(None, f"writes boxes, but two frames fit them almost as well: {both}", error, **counts)
    best = next(one for one in score if one in alike or one in close)  # the plainest
    others = tuple(one for one in score if one != best and (one in alike or one in close))
    second = min((one for one in rivals if one not in close), key=lambda one: rivals[one][0])
    said = f"writes {best}: {score[best]:.1%} off in the median of {len(held)} boxes (the next, {second}, "
    said += f"{rivals[second][0]:.1%}){'; whether pictures were padded stays open' * bool(close)}"
    return Found(best, said, score[best], rivals[second][0], others, **counts)
