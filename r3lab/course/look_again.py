"""The exercises of notebook 01: what the overview leaves of a digit, how a crop is enlarged, where a box lies.

check_zoom(zoom)                         # prints "right" or one hint; True when right
"""

from __future__ import annotations

import math

from ..core.geometry import Box, Frame, Size, from_source, to_source, zoom_factor
from .judge import Exercise

# -- how high is a digit in the overview? ----------------------------------------------------------------------


def _overview_height(height: float, source: int, overview: int) -> float:
    return from_source((0, 0, 1, height), Frame.OVERVIEW, (source, source), (overview, overview))[3]


check_overview_height = Exercise(
    "f(height, source, overview): a height in source pixels, in pixels of the overview.",
    _overview_height,
    ((14, 512, 128), (17, 512, 128), (40, 3000, 420), (90, 300, 150)),
    {
        "is the overview larger or smaller than the photograph? Your digit grows.": [lambda h, s, o: h * s / o],
        "you round to whole pixels. Keep the fraction: between 3 and 4 pixels lies much of what matters here.": [
            lambda h, s, o: round(h * o / s),
            lambda h, s, o: h * o // s,
            lambda h, s, o: math.ceil(h * o / s),
        ],
        "that is how the area shrinks. A height is a length.": [lambda h, s, o: h * (o / s) ** 2],
        "that is a height in image tokens. Wanted: in pixels of the overview.": [lambda h, s, o: h * o / s / 16],
        "that is the digit's height as a part of the photograph. How many pixels is that part of the overview?": [
            lambda h, s, o: h / s
        ],
    },
)


# -- how much is a crop enlarged? ------------------------------------------------------------------------------


def _zoom(box: Box, source: Size) -> float:
    return zoom_factor(box, source)


def _share(box: Box, source: Size) -> float:
    return (box[2] - box[0]) * (box[3] - box[1]) / (source[0] * source[1])


def _ramp(share: float) -> float:
    return 2 - (share - 0.125) / 0.375


check_zoom = Exercise(
    "f(box, source): the zoom of a box in source pixels on an image of that width and height.",
    _zoom,
    (
        ((100, 100, 150, 150), (512, 512)),  # 1 %
        ((0, 0, 200, 100), (400, 400)),  # exactly 12.5 %
        ((10, 20, 210, 220), (400, 400)),  # 25 %
        ((0, 100, 800, 400), (1000, 600)),  # 40 %
        ((0, 0, 200, 400), (400, 400)),  # exactly 50 %
        ((0, 0, 640, 480), (640, 480)),  # all of it
    ),
    {
        "that is a step. Between 12.5 % and 50 % of the area the zoom falls linearly.": [
            lambda b, s: 2.0 if _share(b, s) <= 0.125 else 1.0,
            lambda b, s: 1.0 if _share(b, s) >= 0.5 else 2.0,
        ],
        "the share is one of area: width times height, over width times height. You seem to use one side's length.": [
            lambda b, s: min(2.0, max(1.0, _ramp((b[2] - b[0]) / s[0]))),
            lambda b, s: min(2.0, max(1.0, _ramp((b[3] - b[1]) / s[1]))),
            lambda b, s: min(2.0, max(1.0, _ramp(math.sqrt(_share(b, s))))),
        ],
        "the line runs on at both ends. Where must it stop?": [lambda b, s: _ramp(_share(b, s))],
        "very small boxes are enlarged more than twofold: the line runs on at one end.": [
            lambda b, s: max(1.0, _ramp(_share(b, s)))
        ],
        "very large boxes get a zoom below 1, they would shrink: the line runs on at one end.": [
            lambda b, s: min(2.0, _ramp(_share(b, s)))
        ],
        "your line starts to fall at an area of 0. Up to which share does the zoom stay at 2?": [
            lambda b, s: max(1.0, 2 - _share(b, s) / 0.5)
        ],
        "your line does not meet 1 at 50 %: over which range of shares does it fall by one?": [
            lambda b, s: min(2.0, max(1.0, 2 - (_share(b, s) - 0.125) / 0.5)) if _share(b, s) < 0.5 else 1.0,
            lambda b, s: min(2.0, max(1.0, 2 - (_share(b, s) - 0.125) / 0.5)),
            lambda b, s: min(2.0, max(1.0, 2 - (_share(b, s) - 0.125))),
        ],
        "small boxes get less than large ones. Which of them needs the enlargement?": [
            lambda b, s: 3 - min(2.0, max(1.0, _ramp(_share(b, s))))
        ],
        "every box gets the same zoom. Are you comparing a fraction (0 to 1) with a percentage (0 to 100)?": [
            lambda b, s: 2.0,
            lambda b, s: 1.0,
        ],
    },
)


# -- from the model's frame to source pixels -------------------------------------------------------------------


def _source_pixels(written: Box, source: Size) -> Box:
    return to_source(written, Frame.RELATIVE, source, source)


def _exact(b: Box, s: Size) -> list[float]:
    return [b[0] * s[0] / 1000, b[1] * s[1] / 1000, b[2] * s[0] / 1000, b[3] * s[1] / 1000]


check_source_pixels = Exercise(
    "f(written, source): a box in the 0-1000 frame, in pixels of an image of that width and height.",
    _source_pixels,
    (
        ((100, 200, 300, 400), (4000, 3000)),
        ((0, 0, 1000, 1000), (640, 480)),  # everything
        ((730, 130, 810, 210), (512, 512)),
        ((5, 995, 10, 1000), (333, 777)),
    ),
    {
        "you round. A box is rounded once, when it is written; the crop is cut at fractions of a pixel.": [
            lambda b, s: [round(v) for v in _exact(b, s)],
            lambda b, s: [int(v) for v in _exact(b, s)],
            lambda b, s: [math.floor(v) for v in _exact(b, s)[:2]] + [math.ceil(v) for v in _exact(b, s)[2:]],
        ],
        "the box of everything must end at the image's width and height. Boxes are half-open: x2 is the first "
        "column that is outside.": [
            lambda b, s: _exact(b, (s[0] - 1, s[1] - 1)),
            lambda b, s: [*_exact(b, s)[:2], *(v - 1 for v in _exact(b, s)[2:])],
        ],
        "the box is half-open already: nothing must be added to its far corner.": [
            lambda b, s: [*_exact(b, s)[:2], *(v + 1 for v in _exact(b, s)[2:])]
        ],
        "the frame runs from 0 to 1000, both included: a thousand steps, not 999.": [
            lambda b, s: [v * 1000 / 999 for v in _exact(b, s)]
        ],
        "x goes with the width and y with the height; `source` is (width, height), and the box is x, y, x, y.": [
            lambda b, s: _exact(b, (s[1], s[0])),
            lambda b, s: _exact(b, (s[0], s[0])),
            lambda b, s: _exact(b, (s[1], s[1])),
        ],
        "these are still fractions of the image. How many source pixels is its width?": [
            lambda b, s: [v / 1000 for v in b]
        ],
        "that is the way back, from source pixels to the model's frame.": [
            lambda b, s: [b[0] / s[0] * 1000, b[1] / s[1] * 1000, b[2] / s[0] * 1000, b[3] / s[1] * 1000]
        ],
        "return two corners, (x1, y1, x2, y2), not a corner with width and height.": [
            lambda b, s: [
                *_exact(b, s)[:2],
                *(v - u for u, v in zip(_exact(b, s)[:2], _exact(b, s)[2:], strict=True)),
            ]
        ],
    },
)
