"""The exercises of notebooks 00 and 01: which tokens of a record carry loss, one box in two frames, what the overview
leaves of a digit, where a box lies in the photograph, and how much its crop is enlarged.

check_zoom(zoom)                         # prints "right" or one hint; True when right
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..core.geometry import Box, Frame, Size, from_source, to_source, zoom_factor
from ..trajectory import Kind
from .judge import CORNER_AND_SIZE, ROUNDED, ROUNDED_BOX, Exercise, Function, Then

# -- which tokens carry loss? ----------------------------------------------------------------------------------

Record = dict[str, Any]


def kinds_of(letters: str) -> list[int]:
    """Kinds of tokens from letters: p(rompt), o(verview), s(ampled), e(nvironment), c(rop), x (padding)."""
    return ["posecx".index(letter) for letter in letters]


def _record(letters: str) -> Record:
    pieces = ["" if letter in "ocx" else "word" for letter in letters]
    logprobs = [-0.5 if letter == "s" else None for letter in letters]
    return {"kinds": kinds_of(letters), "pieces": pieces, "logprobs": logprobs}


def _where(*kinds: int) -> Function:
    """The places of the tokens of these kinds."""
    return lambda record: [place for place, kind in enumerate(record["kinds"]) if kind in kinds]


def _behind_the_prompt(record: Record) -> list[int]:
    begin = _where(Kind.SAMPLED, Kind.ENVIRONMENT, Kind.CROP)(record)[0]
    return list(range(begin, len(record["kinds"])))


check_carries_loss = Exercise(
    "f(record): the places, from 0, of the tokens that carry loss.",
    _where(Kind.SAMPLED),
    # one look; two, and padding; none; a refused box: a message and no crop
    [(_record(kinds),) for kinds in ("ppoooppssssecccesss", "poopssseecesecccessx", "ppooopsss", "poosssessss")],
    "you take everything behind the prompt. Not all of it was the policy's own choice: what did the loop add?",
    (_behind_the_prompt, _where(Kind.SAMPLED, Kind.ENVIRONMENT, Kind.CROP)),
    "you take the environment tokens as well. They look like text of the policy, but the loop wrote them.",
    _where(Kind.SAMPLED, Kind.ENVIRONMENT),
    "you take the crops' image tokens as well. The policy asked for a crop, but it did not choose its pixels.",
    _where(Kind.SAMPLED, Kind.CROP),
    "you take every token that has text. The prompt has text too, and the policy need not learn to write it.",
    _where(Kind.PROMPT, Kind.SAMPLED, Kind.ENVIRONMENT),
    "those are the others: the tokens that carry none.",
    _where(*(kind for kind in Kind if kind != Kind.SAMPLED)),
    "that is how many there are. Wanted: at which places, counted from 0.",
    Then(len),
    "that is one truth value a token. Wanted: the places at which it is true.",
    lambda r: [kind == Kind.SAMPLED for kind in r["kinds"]],
    "places count from 0.",
    Then(lambda places: [place + 1 for place in places]),
    "you count from the first token behind the prompt. Places are those in the whole record, prompt included.",
    lambda r: [place - _behind_the_prompt(r)[0] for place in _where(Kind.SAMPLED)(r)],
    "you stop at the first look. After the crop the policy writes on, and those tokens are its own too.",
    Then(lambda places: [place for n, place in enumerate(places) if place == places[0] + n]),
)


# -- one box in two frames -------------------------------------------------------------------------------------


def _scaled(box: Box, across: float, down: float) -> list[float]:
    return [box[0] * across, box[1] * down, box[2] * across, box[3] * down]


check_in_overview = Exercise(
    "f(box, source, overview): a box in source pixels, in pixels of the overview.",
    lambda box, source, overview: from_source(box, Frame.OVERVIEW, source, overview),
    (
        ((100, 200, 310, 410), (4000, 3000), (560, 420)),
        ((0, 0, 640, 480), (640, 480), (308, 252)),  # all of it; the sides shrink by different factors
        ((351, 77, 420, 130), (512, 512), (128, 128)),
        ((10, 5, 13, 9), (300, 900), (140, 392)),
    ),
    "is the overview larger or smaller than the photograph? Your box grows: that is the way back.",
    lambda b, s, o: to_source(b, Frame.OVERVIEW, s, o),
    "you round. A box is rounded once, when a model writes it; until then it stays exact.",
    ROUNDED_BOX,
    "width and height do not shrink by quite the same factor: x goes with the widths, y with the heights.",
    (lambda b, s, o: _scaled(b, o[0] / s[0], o[0] / s[0]), lambda b, s, o: _scaled(b, o[1] / s[1], o[0] / s[0])),
    "those are fractions of the image. How many overview pixels is its whole width?",
    lambda b, s, o: _scaled(b, 1 / s[0], 1 / s[1]),
    "those are numbers from 0 to 1000, another model's frame. Wanted: pixels of the overview.",
    lambda b, s, o: _scaled(b, 1000 / s[0], 1000 / s[1]),
    "return two corners, (x1, y1, x2, y2), not a corner with width and height.",
    CORNER_AND_SIZE,
)


# -- how high is a digit in the overview? ----------------------------------------------------------------------

check_overview_height = Exercise(
    "f(height, source, overview): a height in source pixels, in pixels of the overview.",
    lambda h, s, o: from_source((0, 0, 1, h), Frame.OVERVIEW, (s, s), (o, o))[3],
    ((14, 512, 128), (17, 512, 128), (40, 3000, 420), (90, 300, 150)),
    "is the overview larger or smaller than the photograph? Your digit grows.",
    lambda h, s, o: h * s / o,
    "you round to whole pixels. Keep the fraction: between 3 and 4 pixels lies much of what matters here.",
    ROUNDED,
    "that is how the area shrinks. A height is a length.",
    lambda h, s, o: h * (o / s) ** 2,
    "that is a height in image tokens. Wanted: in pixels of the overview.",
    Then(lambda height: height / 16),
    "that is the digit's height as a part of the photograph. How many pixels is that part of the overview?",
    lambda h, s, o: h / s,
)


# -- how much is a crop enlarged? ------------------------------------------------------------------------------


def _area(box: Box, source: Size) -> float:
    return (box[2] - box[0]) * (box[3] - box[1]) / (source[0] * source[1])


def _zoom(
    low: float = 1.0, high: float = 2.0, start: float = 0.125, over: float = 0.375, share: Function = _area
) -> Function:
    """The right rule, but for what is given."""
    return lambda b, s: min(high, max(low, 2 - (share(b, s) - start) / over))


check_zoom = Exercise(
    "f(box, source): the zoom of a box in source pixels on an image of that width and height.",
    zoom_factor,
    (
        ((100, 100, 150, 150), (512, 512)),  # 1 %
        ((0, 0, 200, 100), (400, 400)),  # exactly 12.5 %
        ((10, 20, 210, 220), (400, 400)),  # 25 %
        ((0, 100, 800, 400), (1000, 600)),  # 40 %
        ((0, 0, 200, 400), (400, 400)),  # exactly 50 %
        ((0, 0, 640, 480), (640, 480)),  # all of it
    ),
    "that is a step. Between 12.5 % and 50 % of the area the zoom falls linearly.",
    (lambda b, s: 2.0 if _area(b, s) <= 0.125 else 1.0, lambda b, s: 1.0 if _area(b, s) >= 0.5 else 2.0),
    "the share is one of area: width times height, over width times height. You seem to use one side's length.",
    (_zoom(share=lambda b, s: (b[2] - b[0]) / s[0]), _zoom(share=lambda b, s: math.sqrt(_area(b, s)))),
    "the line runs on at both ends. Where must it stop?",
    _zoom(-math.inf, math.inf),
    "very small boxes are enlarged more than twofold: the line runs on at one end.",
    _zoom(high=math.inf),
    "very large boxes get a zoom below 1, they would shrink: the line runs on at one end.",
    _zoom(-math.inf),
    "your line starts to fall at an area of 0. Up to which share does the zoom stay at 2?",
    _zoom(start=0.0, over=0.5),
    "your line does not meet 1 at 50 %: over which range of shares does it fall by one?",
    (lambda b, s: _zoom(over=0.5)(b, s) if _area(b, s) < 0.5 else 1.0, _zoom(over=0.5), _zoom(over=1.0)),
    "small boxes get less than large ones. Which of them needs the enlargement?",
    Then(lambda zoom: 3 - zoom),
    "every box gets the same zoom. Are you comparing a fraction (0 to 1) with a percentage (0 to 100)?",
    (lambda b, s: 2.0, lambda b, s: 1.0),
)


# -- from the model's frame to source pixels -------------------------------------------------------------------


def _pixels(box: Box, source: Size) -> list[float]:
    return _scaled(box, source[0] / 1000, source[1] / 1000)


check_source_pixels = Exercise(
    "f(written, source): a box in the 0-1000 frame, in pixels of an image of that width and height.",
    lambda written, source: to_source(written, Frame.RELATIVE, source, source),
    (
        ((100, 200, 300, 400), (4000, 3000)),
        ((0, 0, 1000, 1000), (640, 480)),  # everything
        ((730, 130, 810, 210), (512, 512)),
        ((5, 995, 10, 1000), (333, 777)),
    ),
    "you round. A box is rounded once, when it is written; the crop is cut at fractions of a pixel.",
    ROUNDED_BOX,
    "the box of everything must end at the image's width and height: x2 is the first column that is outside.",
    (lambda b, s: _pixels(b, (s[0] - 1, s[1] - 1)), Then(lambda box: np.subtract(box, (0, 0, 1, 1)))),
    "the box is half-open already: nothing must be added to its far corner.",
    Then(lambda box: np.add(box, (0, 0, 1, 1))),
    "the frame runs from 0 to 1000, both included: a thousand steps, not 999.",
    Then(lambda box: np.multiply(box, 1000 / 999)),
    "x goes with the width and y with the height; `source` is (width, height), and the box is x, y, x, y.",
    (lambda b, s: _pixels(b, (s[1], s[0])), lambda b, s: _pixels(b, (s[0], s[0]))),
    "these are still fractions of the image. How many source pixels is its width?",
    lambda b, s: np.divide(b, 1000),
    "that is the way back, from source pixels to the model's frame.",
    lambda b, s: from_source(b, Frame.RELATIVE, s, s),
    "return two corners, (x1, y1, x2, y2), not a corner with width and height.",
    CORNER_AND_SIZE,
)
