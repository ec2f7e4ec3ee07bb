"""Two exercises of notebook 04: how large a step is at which time, and a box that misses by as much as is wanted.

check_rate(rate)                         # prints "right" or one hint; True when right
    missed((0, 0, 60, 40), 0.5)              # the box, moved until its IoU with the old one is 0.5
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ..geometry import Box
from ..train.schedule import schedule
from .judge import Exercise, Mistake, report

# -- the learning rate ---------------------------------------------------------------------------------------------


def _rate(step: int, steps: int, warm: int, final: float) -> float:
    return schedule(step, steps, final, warm)


def _cosine(progress: float) -> float:
    return 0.5 * (1 + math.cos(math.pi * progress))


def _then(fall: Callable[[float, float], float]) -> Callable[[int, int, int, float], float]:
    """The right start, and another fall: `fall(progress, final)`."""
    return lambda s, n, w, f: (s + 1) / w if s < w else fall((s - w) / (n - w), f)


RATE = Exercise(
    _rate,
    (
        (0, 100, 10, 0.1),
        (4, 100, 10, 0.1),
        (9, 100, 10, 0.1),
        (10, 100, 10, 0.1),
        (40, 100, 10, 0.1),
        (55, 100, 10, 0.1),  # half of the fall
        (99, 100, 10, 0.1),
        (30, 60, 20, 0.3),
        (3, 8, 2, 0.5),
    ),
    (
        Mistake(
            "your first step has a rate of 0: it changes nothing. Count the step that is being taken.",
            (lambda s, n, w, f: s / w if s < w else _rate(s, n, w, f),),
        ),
        Mistake(
            "you fall along a straight line. A cosine stays high for a while, and levels out at the end.",
            (_then(lambda x, f: 1 - (1 - f) * x), _then(lambda x, f: 1 - x)),
        ),
        Mistake(
            "the fall counts from the first step of all, so that the rate jumps where it begins. It starts when the "
            "warm-up is over.",
            (
                lambda s, n, w, f: (s + 1) / w if s < w else f + (1 - f) * _cosine(s / n),
                lambda s, n, w, f: min(1, (s + 1) / w) * (f + (1 - f) * _cosine(s / n)),
            ),
        ),
        Mistake(
            "the fall takes `steps` steps after the warm-up: it is not over when training is.",
            (lambda s, n, w, f: (s + 1) / w if s < w else f + (1 - f) * _cosine((s - w) / n),),
        ),
        Mistake("you fall to 0. Where does `final` come in?", (_then(lambda x, f: _cosine(x)),)),
        Mistake(
            "your peak is above 1: `final` is added on top. How much is left to fall?",
            (_then(lambda x, f: f + _cosine(x)),),
        ),
        Mistake(
            "you stop the fall at `final` as at a floor. It should arrive there at the very end, without a kink.",
            (_then(lambda x, f: max(f, _cosine(x))),),
        ),
        Mistake(
            "a bare cosine runs from 1 to -1, below `final` and even below 0. Bring it to run from 1 to 0 first.",
            (
                _then(lambda x, f: f + (1 - f) * math.cos(math.pi * x)),
                _then(lambda x, f: math.cos(math.pi * x)),
                _then(lambda x, f: max(f, math.cos(math.pi * x))),
            ),
        ),
        Mistake(
            "that is a quarter of a turn: steepest at the end. Half a turn is level at both ends.",
            (_then(lambda x, f: f + (1 - f) * math.cos(math.pi / 2 * x)),),
        ),
        Mistake(
            "there is no warm-up: the first steps are the largest, and nothing is known yet.",
            (
                lambda s, n, w, f: f + (1 - f) * _cosine(s / n),
                lambda s, n, w, f: 1.0 if s < w else _rate(s, n, w, f),
            ),
        ),
        Mistake("yours rises when it should fall.", (_then(lambda x, f: f + (1 - f) * _cosine(1 - x)),)),
    ),
)


def check_rate(answer: Any) -> bool:
    """Check ``f(step, steps, warm, final)``: the factor on the learning rate at a step, counted from 0."""
    return report(answer, RATE)


# -- a box that misses ---------------------------------------------------------------------------------------------


def missed(box: Box, wanted: float, way: int = 1) -> Box:
    """The box, moved sideways until its IoU with where it was is `wanted`.

    Parameters
    ----------
    box : source pixels, of positive width
    wanted : 0 to 1; at 0 the two only touch
    way : 1 to the right, -1 to the left
    """
    x1, y1, x2, y2 = box
    shift = way * (x2 - x1) * (1 - wanted) / (1 + wanted)
    return (x1 + shift, y1, x2 + shift, y2)


def _missed(box: Box, wanted: float) -> Box:
    return missed(box, wanted)


def _by(shift: Callable[[float, float, float], tuple[float, float]]) -> Callable[[Box, float], Box]:
    """A move by (across, down), made of width, height and what is wanted."""

    def made(box: Box, wanted: float) -> Box:
        x1, y1, x2, y2 = box
        across, down = shift(x2 - x1, y2 - y1, wanted)
        return (x1 + across, y1 + down, x2 + across, y2 + down)

    return made


def _part(wanted: float) -> float:
    return (1 - wanted) / (1 + wanted)


def _smaller(box: Box, wanted: float) -> Box:
    """About the same middle, with the area that gives the wanted IoU."""
    x1, y1, x2, y2 = box
    k = (1 - math.sqrt(wanted)) / 2
    dx, dy = k * (x2 - x1), k * (y2 - y1)
    return (x1 + dx, y1 + dy, x2 - dx, y2 - dy)


MISSED = Exercise(
    _missed,
    (
        ((100.0, 100.0, 160.0, 140.0), 0.5),
        ((100.0, 100.0, 160.0, 140.0), 0.25),
        ((7.5, 300.0, 57.5, 375.0), 0.8),
        ((200.0, 40.0, 250.0, 90.0), 1.0),
        ((200.0, 40.0, 260.0, 90.0), 0.0),
    ),
    (
        Mistake(
            "then that share of the old box is still covered, but IoU divides by the *union*, which has grown.",
            (_by(lambda w, h, i: (w * (1 - i), 0.0)),),
        ),
        Mistake(
            "your box is no longer as large as it was. It should be moved, not cut or shrunk.",
            (
                lambda b, i: (b[0] + (b[2] - b[0]) * (1 - i), *b[1:]),
                lambda b, i: (b[0] + (b[2] - b[0]) * _part(i), *b[1:]),
                lambda b, i: (*b[:2], b[2] - (b[2] - b[0]) * (1 - i), b[3]),
                _smaller,
            ),
        ),
        Mistake("to the right: x grows.", (lambda b, i: missed(b, i, -1), _by(lambda w, h, i: (-w * (1 - i), 0.0)))),
        Mistake(
            "sideways: that is along the width. You use the height, or move it down.",
            (
                _by(lambda w, h, i: (h * _part(i), 0.0)),
                _by(lambda w, h, i: (0.0, h * _part(i))),
                _by(lambda w, h, i: (0.0, w * _part(i))),
            ),
        ),
        Mistake(
            "moved along both sides, it loses overlap twice. Sideways alone was asked for.",
            (_by(lambda w, h, i: (w * _part(i), h * _part(i))), _by(lambda w, h, i: (w * (1 - i), h * (1 - i)))),
        ),
        Mistake(
            "that is a share of the width. How many pixels is it?",
            (_by(lambda w, h, i: (_part(i), 0.0)), _by(lambda w, h, i: (1 - i, 0.0))),
        ),
        Mistake(
            "you round to whole pixels. A box is rounded once, when it is written.",
            (
                lambda b, i: tuple(round(v) for v in missed(b, i)),
                lambda b, i: tuple(int(v) for v in missed(b, i)),
                _by(lambda w, h, i: (float(round(w * _part(i))), 0.0)),
            ),
        ),
        Mistake(
            "that is how far it has moved. Return the box: four numbers.",
            (lambda b, i: (b[2] - b[0]) * _part(i),),
        ),
    ),
)


def check_missed(answer: Any) -> bool:
    """Check ``f(box, wanted)``: the box moved to the right until its IoU with the old one is `wanted`."""
    return report(answer, MISSED)
