"""What filters measure of a rationale without a model: detail of a crop, repetition of text, words of an answer.

All are linear in what they read. Simplified: edges stand for content, and the same words for the same thought; whether
a crop *shows something* and whether a thought *follows* only a judge can tell.

    detail(image, (40, 60, 90, 110))            # 0.08; 0.0 for a stretch of sky
    repeated("It is red. So it is red. It is red. So it is red.")
"""

from __future__ import annotations

import re

import numpy as np
from PIL import Image

from ...geometry import Box, clip, write_ints

STEP, PLAIN = 16.0, 48.0  # grey levels, of 255, between neighbours: fewer make no edge; more always make one
NOISE = 5.0  # times the median difference: what evenly noisy pixels seldom reach
LOOKED = 512  # pixels of a crop's longer side that are looked at
SENTENCE, PHRASE = 4, 6  # words: the shortest sentence that can repeat another; the phrases that are counted
_TAGS = re.compile(r"</?(?:think|answer)>")
_WORD = re.compile(r"\w+")
_ENDS = re.compile(r"[.!?\u3002\uff01\uff1f\n]")
CLOSED = {"yes", "no", "true", "false", "none"}  # answers that a reasoning need not spell


def detail(image: Image.Image, box: Box) -> float:
    """How much there is to see in a region: the share of neighbouring pixels with an edge between them.

    Parameters
    ----------
    image
        RGB, the source.
    box
        Source pixels; must have a part in the image.

    Returns
    -------
    float
        0 to 1. An edge is a difference in grey of over 16 levels that is over five times the median one, or over 48
        levels; a plain, a smooth or an evenly noisy region has (almost) none.
    """
    x1, y1, x2, y2 = write_ints(clip(box, image.size))
    scale = LOOKED / max(x2 - x1, y2 - y1, LOOKED)
    size = (max(1, round((x2 - x1) * scale)), max(1, round((y2 - y1) * scale)))
    place = (x1, y1, min(x2, image.width), min(y2, image.height))
    crop = image.crop(place) if scale == 1 else image.resize(size, Image.Resampling.BOX, place, reducing_gap=2.0)
    grey = np.asarray(crop.convert("L"), dtype=np.float32)
    steps = np.concatenate([np.abs(np.diff(grey, axis=axis)).ravel() for axis in (0, 1)])
    return float(np.mean(steps > min(PLAIN, max(STEP, NOISE * float(np.median(steps)))))) if steps.size else 0.0


def words(text: str) -> list[str]:
    """The words and numbers of a text in order, case folded, without the protocol's tags."""
    return _WORD.findall(_TAGS.sub(" ", text).casefold())


def repeated_sentence(text: str) -> str | None:
    """The first sentence of at least four words that was said before, as its words; None where none was."""
    seen: set[tuple[str, ...]] = set()
    for sentence in _ENDS.split(_TAGS.sub("\n", text)):
        said = tuple(words(sentence))
        if len(said) >= SENTENCE and said in seen:
            return " ".join(said)
        seen.add(said)
    return None


def repeated(text: str) -> float:
    """The share, 0 to 1, of a text's phrases of six words that occurred before in it."""
    said = words(text)
    phrases = [tuple(said[i : i + PHRASE]) for i in range(len(said) - PHRASE + 1)]
    return 1 - len(set(phrases)) / len(phrases) if phrases else 0.0


def spelled(answer: str, text: str) -> float:
    """The share, 0 to 1, of the answer's words and numbers that a text holds; 1 for yes, no, or the letter of a choice.

    A word must stand on its own ("1" is not in "12"), except in scripts that are written without spaces.
    """
    wanted = words(answer)
    if not wanted or all(w in CLOSED or len(w) == 1 and w.isascii() and w.isalpha() for w in wanted):
        return 1.0
    have = set(words(text))
    folded = text.casefold()
    found = [w in have or not w.isascii() and w in folded for w in wanted]
    return sum(found) / len(found)
