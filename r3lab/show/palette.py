"""The one home of colours, marks and sizes, for every view.

The colours are those of Okabe and Ito (Color Universal Design, 2008): told apart by all common kinds of colour
vision. Colour is never the only sign: looks are numbered, refused ones dashed, runs differ in dash, right and
wrong in mark and word; and neighbours in each row of colours differ in lightness, so that a grey print still
reads. Simplified: what is drawn has light paper; a page alone has a dark theme too.

    colour = look_colour(2)                  # of the second look
    with style(): ...                        # rcParams as shipped plus ours inside, untouched outside
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import lru_cache

import matplotlib.style
from matplotlib import font_manager
from matplotlib.colors import to_hex, to_rgb

OKABE_ITO = {
    "black": "#000000",
    "orange": "#E69F00",
    "sky blue": "#56B4E9",
    "bluish green": "#009E73",
    "yellow": "#F0E442",
    "blue": "#0072B2",
    "vermillion": "#D55E00",
    "reddish purple": "#CC79A7",
}

# In the order of the looks; dark and light alternate. Black would be lost on a dark page: a dark grey instead.
_ORDER = ("blue", "orange", "vermillion", "sky blue", "bluish green", "yellow", "reddish purple")
LOOKS = (*(OKABE_ITO[name] for name in _ORDER), "#4D4D4D")
HALO = ("#FFFFFF", "#000000")  # around what is drawn on a photograph, so that it shows on any
TRUTH = "#FFFFFF"  # thin, with a black halo

# A line of a chart: colour and dash pattern (in line widths; None is solid).
RUNS: tuple[tuple[str, tuple[float, ...] | None], ...] = (
    (OKABE_ITO["blue"], None),
    (OKABE_ITO["orange"], (4, 1.4)),
    (OKABE_ITO["bluish green"], (1.2, 1.2)),
    (OKABE_ITO["sky blue"], (6, 1.4, 1.2, 1.4)),
    (OKABE_ITO["vermillion"], (3, 1, 1, 1, 1, 1)),
    (OKABE_ITO["reddish purple"], (8, 2)),
)

# Scales for numbers, from low to high; lightness falls or rises all the way, so that a grey print keeps the order.
SEQUENTIAL = ("#F7F7F2", "#9CCBEA", OKABE_ITO["blue"], "#002F4D")
DIVERGING = ("#00355C", "#2F7FB0", "#A9A9A4", "#E7CE72", "#FFF7B0")  # below, at and above the middle

# What a token is, by the name of its `trajectory.Kind`.
KINDS = {
    "PROMPT": "#D5D5D2",
    "OVERVIEW": OKABE_ITO["sky blue"],
    "SAMPLED": OKABE_ITO["orange"],
    "ENVIRONMENT": OKABE_ITO["reddish purple"],
    "CROP": OKABE_ITO["bluish green"],
    "PAD": "#8C8C8C",
}

# How an answer turned out: colour, mark, word.
VERDICTS = {
    "right": (OKABE_ITO["bluish green"], "\N{CHECK MARK}", "right"),
    "wrong": (OKABE_ITO["vermillion"], "\N{BALLOT X}", "wrong"),
    "unknown": ("#767676", "?", "unknown"),
}

# Points.
TITLE, HEADING, BODY, SMALL, ANSWER = 12.0, 8.6, 7.8, 6.8, 26.0
DPI = 144  # dots an inch of what is drawn for a screen
LEADING = 1.3  # height of a line of text, of its size
FAMILY = "DejaVu Sans"  # matplotlib brings it along
# Where DejaVu has no glyph: families that Linux, macOS and Windows bring for other scripts.
FALLBACKS = (
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "WenQuanYi Zen Hei",
    "PingFang SC",
    "Hiragino Sans",
    "Microsoft YaHei",
    "Malgun Gothic",
    "Noto Sans Devanagari",
    "Noto Sans Thai",
    "Arial Unicode MS",
)


@dataclass(frozen=True)
class Theme:
    """Colours of paper and ink.

    Attributes
    ----------
    paper : the figure's ground
    panel : ground of what has no picture to show
    ink, muted, faint : text; secondary text; rules and grid lines
    """

    paper: str
    panel: str
    ink: str
    muted: str
    faint: str


LIGHT = Theme(paper="#FFFFFF", panel="#F3F3F1", ink="#1A1A1A", muted="#5E5E5E", faint="#D5D5D2")
DARK = Theme(paper="#15181C", panel="#22262B", ink="#F2F2EF", muted="#A9AEB4", faint="#3A4047")


def look_colour(number: int) -> str:
    """Colour of look `number`, counted from 1; they repeat after eight."""
    return LOOKS[(number - 1) % len(LOOKS)]


def lightness(colour: str) -> float:
    """CIE L* from 0 (black) to 100 (white): what is left of a colour in a grey print."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    y = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return 116 * y ** (1 / 3) - 16 if y > 0.008856 else 903.3 * y


def ink_on(colour: str) -> str:
    """Black or white, whichever reads better on `colour`."""
    return HALO[1] if lightness(colour) > 52 else HALO[0]


def on_scale(stops: tuple[str, ...], place: float) -> str:
    """The colour at `place`, 0 to 1, of a scale such as `SEQUENTIAL`, as ``#RRGGBB``; what lies outside is cut."""
    at = min(max(place, 0.0), 1.0) * (len(stops) - 1)
    low = min(int(at), len(stops) - 2)
    red, green, blue = (
        a + (b - a) * (at - low) for a, b in zip(to_rgb(stops[low]), to_rgb(stops[low + 1]), strict=True)
    )
    return to_hex((red, green, blue)).upper()


@lru_cache(maxsize=1)
def families() -> list[str]:
    """Font families in the order in which a glyph is looked for; only such as this machine has."""
    have = {font.name for font in font_manager.fontManager.ttflist}
    return [FAMILY, *(name for name in FALLBACKS if name in have)]


def style() -> AbstractContextManager[None]:
    """A context in which matplotlib has its shipped settings and ours; the user's come back after it."""
    own = {
        **dict.fromkeys(("figure.facecolor", "savefig.facecolor", "axes.facecolor"), LIGHT.paper),
        **dict.fromkeys(("axes.labelcolor", "axes.titlecolor", "text.color"), LIGHT.ink),
        **dict.fromkeys(("axes.edgecolor", "grid.color", "xtick.color", "ytick.color"), LIGHT.faint),
        **dict.fromkeys(("xtick.labelcolor", "ytick.labelcolor"), LIGHT.muted),
        **dict.fromkeys(("axes.spines.top", "axes.spines.right", "axes.spines.left"), False),
        **dict.fromkeys(("xtick.labelsize", "ytick.labelsize"), SMALL),
        "axes.axisbelow": True,
        "axes.titlesize": HEADING,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
        "axes.labelsize": BODY,
        "grid.linewidth": 0.6,
        "ytick.major.size": 0,
        "text.parse_math": False,
        "font.family": families(),
        "svg.hashsalt": "r3lab",  # the same figure gives the same file
    }
    return matplotlib.style.context(["default", own])
