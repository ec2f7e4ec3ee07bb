"""The exercises of notebook 09: a token budget for a detail, an annotation as a region, the memory of a cache.

check_tokens_needed(tokens_needed)       # prints "right" or one hint; True when right
"""

from __future__ import annotations

from math import inf

from ..core.geometry import Box, clip
from .judge import ROUNDED, Exercise, Function, Then

# -- how many tokens must the overview have? -------------------------------------------------------------------


def _tokens(scale: Function) -> Function:
    """The right rule with another scale of the sides, from the height and what is readable."""
    return lambda h, r, source, factor: source[0] * source[1] * (scale(h, r) / factor) ** 2


check_tokens_needed = Exercise(
    "f(height, readable, source, factor): image tokens that show a detail at `readable` pixels.",
    _tokens(lambda h, r: min(1.0, r / h)),
    # the third: too small even in the photograph
    ((40, 12, (4000, 3000), 28), (14, 8, (512, 512), 16), (6, 12, (640, 480), 32), (24, 12, (1200, 1800), 32)),
    "your overview may become larger than the photograph. Enlarging all of it adds tokens and no detail.",
    _tokens(lambda h, r: r / h),
    "that is the whole photograph, not made smaller at all. How small may the detail become?",
    _tokens(lambda h, r: 1.0),
    "you shrink the number of tokens as a length shrinks. Tokens cover an area: both sides shrink.",
    (_tokens(lambda h, r: min(1.0, r / h) ** 0.5), _tokens(lambda h, r: (r / h) ** 0.5)),
    "is the detail larger or smaller in the overview? Your picture grows where it should shrink.",
    (_tokens(lambda h, r: h / r), _tokens(lambda h, r: max(1.0, h / r)), _tokens(lambda h, r: min(1.0, h / r))),
    "those are pixels of the overview. How many pixels does one token cover?",
    lambda h, r, s, f: s[0] * s[1] * min(1.0, r / h) ** 2,
    "a token is a square: its area is `factor` times `factor`.",
    lambda h, r, s, f: s[0] * s[1] * min(1.0, r / h) ** 2 / f,
    "you round. Leave the fraction: how sides are fitted to whole tokens is each model's own affair.",
    (*ROUNDED, lambda h, r, s, f: round(s[0] * min(1.0, r / h) / f) * round(s[1] * min(1.0, r / h) / f)),
)


# -- an annotation as a region ---------------------------------------------------------------------------------


def _corners(a: Box) -> Box:
    return (a[0], a[1], a[0] + a[2], a[1] + a[3])


def _cut(box: Box, low: float, size: tuple[float, float]) -> Box:
    return (max(low, box[0]), max(low, box[1]), min(box[2], size[0]), min(box[3], size[1]))


check_as_region = Exercise(
    "f(annotation, size): (x, y, width, height) as a half-open region inside an image of that size.",
    lambda annotation, size: clip(_corners(annotation), size),
    # inside; over the lower right corner; over the upper left one; all of it
    [(box, (640, 480)) for box in ((10, 20, 30, 40), (600.5, 400, 100, 90), (-3, -2.5, 20, 10), (0, 0, 640, 480))],
    "those are still a corner and two sides. Wanted: two corners.",
    (lambda a, s: a, lambda a, s: _cut(a, 0, s)),
    "part of your region lies outside the image. People draw over the edge; a loop can cut only what is there.",
    lambda a, s: _corners(a),
    "your region still begins outside the image: x and y can be below 0.",
    lambda a, s: _cut(_corners(a), -inf, s),
    "your region still ends outside the image: the far corner can lie beyond its width and height.",
    lambda a, s: _cut(_corners(a), 0, (inf, inf)),
    "you cut x and y off first, then add the sides: the far corner moves as well. Corners first, then cut.",
    lambda a, s: _cut(_corners((max(0, a[0]), max(0, a[1]), a[2], a[3])), 0, s),
    "you take (x, y) for the middle. In these files it is the upper left corner.",
    lambda a, s: clip((a[0] - a[2] / 2, a[1] - a[3] / 2, a[0] + a[2] / 2, a[1] + a[3] / 2), s),
    "boxes are half-open: the far corner is the first pixel outside, and nothing is taken off.",
    lambda a, s: clip((a[0], a[1], a[0] + a[2] - 1, a[1] + a[3] - 1), s),
    "x goes with the width and y with the height, in the annotation and in `size`.",
    lambda a, s: clip(_corners(a), (s[1], s[0])),
    lambda a, s: _cut(_corners(a), 0, (s[1], s[0])),
    lambda a, s: clip((a[0], a[1], a[0] + a[3], a[1] + a[2]), s),
    "those are fractions of the image. A region is in source pixels.",
    lambda a, s: [v / s[i % 2] for i, v in enumerate(clip(_corners(a), s))],
)


# -- the memory of keys and values -----------------------------------------------------------------------------

check_cache_bytes = Exercise(
    "f(tokens, layers, kv_heads, head_dim, element): bytes of keys and values of one row.",
    lambda t, n, k, d, e: 2 * t * n * k * d * e,
    ((1000, 36, 2, 128, 2), (300, 4, 4, 32, 4), (4096, 24, 32, 64, 2)),
    "that is half of it. What is kept of a token besides its key?",
    Then(lambda size: size / 2),
    "every layer keeps keys and values of its own: how many layers are there?",
    lambda t, n, k, d, e: 2 * t * k * d * e,
    "that is for one token.",
    lambda t, n, k, d, e: 2 * n * k * d * e,
    "those are numbers. How many bytes has one?",
    lambda t, n, k, d, e: 2 * t * n * k * d,
    "those are bits. Wanted: bytes.",
    Then(lambda size: size * 8),
    "that is one head's part. How many keep keys and values?",
    lambda t, n, k, d, e: 2 * t * n * d * e,
    "a key is a vector of `head_dim` numbers, not one number.",
    lambda t, n, k, d, e: 2 * t * n * k * e,
    "it grows with the tokens, not with their square: attention maps are not kept.",
    (lambda t, n, k, d, e: 2 * t * t * n * k * d * e, lambda t, n, k, d, e: t * t * n * k * e),
    "that is in MiB or GiB. Wanted: bytes.",
    (Then(lambda size: size / 2**20), Then(lambda size: size / 2**30), Then(lambda size: size / 1e9)),
)
