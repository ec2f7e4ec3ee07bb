"""The exercises of notebook 00: which tokens of a record carry loss, and one box in two frames.

check_carries_loss(carries_loss)         # prints "right" or one hint; True when right
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ..core.geometry import Box, Frame, Size, from_source, to_source
from ..trajectory import Kind
from .judge import Exercise

# -- which tokens carry loss? ----------------------------------------------------------------------------------

Record = dict[str, Any]


def _carries_loss(record: Record) -> list[int]:
    return [place for place, kind in enumerate(record["kinds"]) if kind == Kind.SAMPLED]


def _record(kinds: str) -> Record:
    """A record from letters: p(rompt), o(verview), s(ampled), e(nvironment), c(rop), x (padding)."""
    ints = [int("posecx".index(letter)) for letter in kinds]
    return {
        "kinds": ints,
        "pieces": ["" if kind in (Kind.OVERVIEW, Kind.CROP, Kind.PAD) else "word" for kind in ints],
        "logprobs": [-0.5 if kind == Kind.SAMPLED else None for kind in ints],
    }


def _where(*kinds: Kind) -> Callable[[Record], list[int]]:
    return lambda record: [place for place, kind in enumerate(record["kinds"]) if kind in kinds]


def _behind_the_prompt(record: Record) -> list[int]:
    kinds = record["kinds"]
    begin = next((i for i, kind in enumerate(kinds) if kind not in (Kind.PROMPT, Kind.OVERVIEW)), len(kinds))
    return list(range(begin, len(kinds)))


def _first_run(record: Record) -> list[int]:
    found = _carries_loss(record)
    return [place for n, place in enumerate(found) if place == found[0] + n]


check_carries_loss = Exercise(
    "f(record): the places, from 0, of the tokens that carry loss.",
    _carries_loss,
    (
        (_record("ppoooppssssecccesss"),),  # one look
        (_record("poopssseccesecccessx"),),  # two, and padding
        (_record("ppooopsss"),),  # none
        (_record("poosssessss"),),  # a refused box: a message and no crop
    ),
    {
        "you take everything behind the prompt. Not all of it was the policy's own choice: what did the loop add?": [
            _behind_the_prompt,
            lambda r: [i for i in _behind_the_prompt(r) if r["kinds"][i] != Kind.PAD],
            _where(Kind.SAMPLED, Kind.ENVIRONMENT, Kind.CROP),
        ],
        "you take the environment tokens as well. They look like text of the policy, but the loop wrote them.": [
            _where(Kind.SAMPLED, Kind.ENVIRONMENT)
        ],
        "you take the crops' image tokens as well. The policy asked for a crop, but it did not choose its pixels.": [
            _where(Kind.SAMPLED, Kind.CROP)
        ],
        "you take every token that has text. The prompt has text too, and the policy need not learn to write it.": [
            _where(Kind.PROMPT, Kind.SAMPLED, Kind.ENVIRONMENT),
            lambda r: [i for i, piece in enumerate(r["pieces"]) if piece],
        ],
        "those are the others: the tokens that carry none.": [
            lambda r: [i for i, kind in enumerate(r["kinds"]) if kind != Kind.SAMPLED]
        ],
        "that is how many there are. Wanted: at which places, counted from 0.": [lambda r: len(_carries_loss(r))],
        "that is one truth value a token. Wanted: the places at which it is true.": [
            lambda r: [kind == Kind.SAMPLED for kind in r["kinds"]]
        ],
        "places count from 0.": [lambda r: [place + 1 for place in _carries_loss(r)]],
        "you count from the first token behind the prompt. Places are those in the whole record, prompt included.": [
            lambda r: [i - _behind_the_prompt(r)[0] for i in _carries_loss(r)]
        ],
        "you stop at the first look. After the crop the policy writes on, and those tokens are its own too.": [
            _first_run
        ],
    },
)


# -- one box in two frames -------------------------------------------------------------------------------------


def _in_overview(box: Box, source: Size, overview: Size) -> Box:
    return from_source(box, Frame.OVERVIEW, source, overview)


def _by(box: Box, across: float, down: float) -> list[float]:
    return [box[0] * across, box[1] * down, box[2] * across, box[3] * down]


def _exactly(b: Box, s: Size, o: Size) -> list[float]:
    return _by(b, o[0] / s[0], o[1] / s[1])


check_in_overview = Exercise(
    "f(box, source, overview): a box in source pixels, in pixels of the overview.",
    _in_overview,
    (
        ((100, 200, 300, 410), (4000, 3000), (560, 420)),
        ((0, 0, 640, 480), (640, 480), (308, 252)),  # all of it; the sides shrink by different factors
        ((351, 77, 420, 130), (512, 512), (128, 128)),
        ((10, 5, 13, 9), (300, 900), (140, 392)),
    ),
    {
        "is the overview larger or smaller than the photograph? Your box grows: that is the way back.": [
            lambda b, s, o: list(to_source(b, Frame.OVERVIEW, s, o))
        ],
        "you round. A box is rounded once, when a model writes it; until then it stays exact.": [
            lambda b, s, o: [round(v) for v in _exactly(b, s, o)],
            lambda b, s, o: [int(v) for v in _exactly(b, s, o)],
            lambda b, s, o: [*map(math.floor, _exactly(b, s, o)[:2]), *map(math.ceil, _exactly(b, s, o)[2:])],
        ],
        "width and height do not shrink by quite the same factor: x goes with the widths, y with the heights.": [
            lambda b, s, o: _by(b, o[0] / s[0], o[0] / s[0]),
            lambda b, s, o: _by(b, o[1] / s[1], o[1] / s[1]),
            lambda b, s, o: _by(b, o[1] / s[1], o[0] / s[0]),
        ],
        "those are fractions of the image. How many overview pixels is its whole width?": [
            lambda b, s, o: _by(b, 1 / s[0], 1 / s[1])
        ],
        "those are numbers from 0 to 1000, another model's frame. Wanted: pixels of the overview.": [
            lambda b, s, o: _by(b, 1000 / s[0], 1000 / s[1])
        ],
        "return two corners, (x1, y1, x2, y2), not a corner with width and height.": [
            lambda b, s, o: [
                *_exactly(b, s, o)[:2],
                _exactly(b, s, o)[2] - _exactly(b, s, o)[0],
                _exactly(b, s, o)[3] - _exactly(b, s, o)[1],
            ]
        ],
    },
)
