"""The exercises of notebook 09: a token budget for a detail, an annotation as a region, the memory of a cache.

check_tokens_needed(tokens_needed)       # prints "right" or one hint; True when right
"""

from __future__ import annotations

from ..core.geometry import Box, Size, clip
from .judge import Exercise

# -- how many tokens must the overview have? -------------------------------------------------------------------


def _tokens_needed(height: float, readable: float, source: Size, factor: int) -> float:
    scale = min(1.0, readable / height)
    return (source[0] * scale / factor) * (source[1] * scale / factor)


def _tokens(source: Size, factor: int) -> float:
    return source[0] * source[1] / factor**2


check_tokens_needed = Exercise(
    "f(height, readable, source, factor): image tokens that show a detail at `readable` pixels.",
    _tokens_needed,
    (
        (40, 12, (4000, 3000), 28),
        (14, 8, (512, 512), 16),
        (6, 12, (640, 480), 32),  # too small even in the photograph
        (24, 12, (1200, 1800), 32),
    ),
    {
        "your overview may become larger than the photograph. Enlarging all of it adds tokens and no detail.": [
            lambda h, r, s, f: _tokens(s, f) * (r / h) ** 2
        ],
        "that is the whole photograph, not made smaller at all. How small may the detail become?": [
            lambda h, r, s, f: _tokens(s, f)
        ],
        "you shrink the number of tokens as a length shrinks. Tokens cover an area: both sides shrink.": [
            lambda h, r, s, f: _tokens(s, f) * min(1.0, r / h),
            lambda h, r, s, f: _tokens(s, f) * r / h,
        ],
        "is the detail larger or smaller in the overview? Your picture grows where it should shrink.": [
            lambda h, r, s, f: _tokens(s, f) * (h / r) ** 2,
            lambda h, r, s, f: _tokens(s, f) * max(1.0, h / r) ** 2,
            lambda h, r, s, f: _tokens(s, f) * min(1.0, h / r) ** 2,
        ],
        "those are pixels of the overview. How many pixels does one token cover?": [
            lambda h, r, s, f: s[0] * s[1] * min(1.0, r / h) ** 2
        ],
        "a token is a square: its area is `factor` times `factor`.": [
            lambda h, r, s, f: s[0] * s[1] * min(1.0, r / h) ** 2 / f
        ],
        "you round. Leave the fraction: how sides are fitted to whole tokens is each model's own affair.": [
            lambda h, r, s, f: round(_tokens_needed(h, r, s, f)),
            lambda h, r, s, f: int(_tokens_needed(h, r, s, f)),
            lambda h, r, s, f: -int(-_tokens_needed(h, r, s, f) // 1),
            lambda h, r, s, f: round(s[0] * min(1.0, r / h) / f) * round(s[1] * min(1.0, r / h) / f),
        ],
    },
)


# -- an annotation as a region ---------------------------------------------------------------------------------


def _as_region(annotation: Box, size: Size) -> Box:
    x, y, width, height = annotation
    return clip((x, y, x + width, y + height), size)


def _corners(a: Box) -> Box:
    return (a[0], a[1], a[0] + a[2], a[1] + a[3])


check_as_region = Exercise(
    "f(annotation, size): (x, y, width, height) as a half-open region inside an image of that size.",
    _as_region,
    (
        ((10, 20, 30, 40), (640, 480)),
        ((600.5, 400, 100, 90), (640, 480)),  # reaches over the lower right corner
        ((-3, -2.5, 20, 10), (300, 200)),  # begins outside
        ((0, 0, 512, 384), (512, 384)),  # all of it
    ),
    {
        "those are still a corner and two sides. Wanted: two corners.": [
            lambda a, s: a,
            lambda a, s: (max(0, a[0]), max(0, a[1]), min(a[2], s[0]), min(a[3], s[1])),
        ],
        "part of your region lies outside the image. People draw over the edge; a loop can cut only what is there.": [
            lambda a, s: _corners(a)
        ],
        "your region still begins outside the image: x and y can be below 0.": [
            lambda a, s: (a[0], a[1], min(a[0] + a[2], s[0]), min(a[1] + a[3], s[1]))
        ],
        "your region still ends outside the image: the far corner can lie beyond its width and height.": [
            lambda a, s: (max(0, a[0]), max(0, a[1]), a[0] + a[2], a[1] + a[3])
        ],
        "you cut x and y off first, then add the sides: the far corner moves as well. Corners first, then cut.": [
            lambda a, s: (
                max(0, a[0]),
                max(0, a[1]),
                min(max(0, a[0]) + a[2], s[0]),
                min(max(0, a[1]) + a[3], s[1]),
            )
        ],
        "you take (x, y) for the middle. In these files it is the upper left corner.": [
            lambda a, s: clip((a[0] - a[2] / 2, a[1] - a[3] / 2, a[0] + a[2] / 2, a[1] + a[3] / 2), s),
            lambda a, s: (a[0] - a[2] / 2, a[1] - a[3] / 2, a[0] + a[2] / 2, a[1] + a[3] / 2),
        ],
        "boxes are half-open: the far corner is the first pixel outside, and nothing is taken off.": [
            lambda a, s: clip((a[0], a[1], a[0] + a[2] - 1, a[1] + a[3] - 1), s),
            lambda a, s: clip(_corners(a), (s[0] - 1, s[1] - 1)),
        ],
        "x goes with the width and y with the height, in the annotation and in `size`.": [
            lambda a, s: clip(_corners(a), (s[1], s[0])),
            lambda a, s: (max(0, a[0]), max(0, a[1]), min(a[0] + a[2], s[1]), min(a[1] + a[3], s[0])),
            lambda a, s: clip((a[0], a[1], a[0] + a[3], a[1] + a[2]), s),
        ],
        "those are fractions of the image. A region is in source pixels.": [
            lambda a, s: tuple(v / s[i % 2] for i, v in enumerate(_as_region(a, s)))
        ],
    },
)


# -- the memory of keys and values -----------------------------------------------------------------------------


def _cache_bytes(tokens: int, layers: int, kv_heads: int, head_dim: int, element: int) -> float:
    return float(2 * tokens * layers * kv_heads * head_dim * element)


check_cache_bytes = Exercise(
    "f(tokens, layers, kv_heads, head_dim, element): bytes of keys and values of one row.",
    _cache_bytes,
    ((1000, 36, 2, 128, 2), (300, 4, 4, 32, 4), (4096, 24, 32, 64, 2)),
    {
        "that is half of it. What is kept of a token besides its key?": [lambda t, n, k, d, e: t * n * k * d * e],
        "every layer keeps keys and values of its own: how many layers are there?": [
            lambda t, n, k, d, e: 2 * t * k * d * e
        ],
        "that is for one token.": [lambda t, n, k, d, e: 2 * n * k * d * e],
        "those are numbers. How many bytes has one?": [lambda t, n, k, d, e: 2 * t * n * k * d],
        "those are bits. Wanted: bytes.": [lambda t, n, k, d, e: 16 * t * n * k * d * e],
        "that is one head's part. How many keep keys and values?": [lambda t, n, k, d, e: 2 * t * n * d * e],
        "a key is a vector of `head_dim` numbers, not one number.": [lambda t, n, k, d, e: 2 * t * n * k * e],
        "it grows with the tokens, not with their square: attention maps are not kept.": [
            lambda t, n, k, d, e: 2 * t * t * n * k * d * e,
            lambda t, n, k, d, e: t * t * n * k * e,
        ],
        "that is in MiB or GiB. Wanted: bytes.": [
            lambda t, n, k, d, e: _cache_bytes(t, n, k, d, e) / 2**20,
            lambda t, n, k, d, e: _cache_bytes(t, n, k, d, e) / 2**30,
            lambda t, n, k, d, e: _cache_bytes(t, n, k, d, e) / 1e9,
        ],
    },
)
