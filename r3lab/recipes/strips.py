"""Strips of characters: the first thing that the tower of the tiny policy learns is to read.

A strip shows some characters, printed or by hand, at one of the two sizes at which a policy of the worlds meets them:
small print in a crop, large print in the overview. What is to be found is the class of the character in each token that
holds the middle of one, with a linear head (`base.Heads`). A strip has some twenty tokens, a scene a hundred, and
reading takes the most examples of all skills: a tower that reads before it sees its first scene gets there hours
earlier. Material is the train split's alone.

    lesson = Strips(policy, Stage("letters", steps=1, batch=64, badges=(1, 1), text=False)).lesson(7)
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from ..vlir.worlds import documents, material
from ..vlir.worlds.badges import COLOURS, SIDE
from ..vlir.worlds.charts import GROUNDS, invented_labels
from .lessons import FACTOR, OVERVIEW, Lesson, Lessons, dense

CHARACTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz./:"  # as classes
TOKENS, ROWS = (4, 11), (2, 4)  # least and most of a strip, the most not reached
OVERVIEWS = 0.4  # share of the strips at the overview's size
SMALL, LARGE = (7, 12), (42, 66)  # height of a printed digit, source pixels
SMALL_HAND, LARGE_HAND = (9, 17), (44, 72)
ZOOM = (1.3, 2.9)  # of a crop
HANDS = 0.4  # share of the strips that are written by hand: digits alone
PHOTOS = 0.25  # share of the strips on a photograph


def text_of(rng: np.random.Generator) -> str:
    """Characters as the worlds write them: numbers, codes, labels, words."""
    kind = int(rng.integers(6))
    if kind == 0:
        return invented_labels(rng, 1)[0] + str(int(rng.integers(10, 1000)))
    if kind == 1:
        words = (*documents.GOODS, *documents.FIELDS, *documents.MONTHS, *COLOURS)
        word = words[int(rng.integers(len(words)))]
        return word if rng.random() < 0.7 else word.lower()
    if kind == 2:  # letters by chance, so that none is read by its word
        return "".join(CHARACTERS[int(k)] for k in rng.integers(len(CHARACTERS), size=int(rng.integers(3, 7))))
    if kind == 3:
        return f"{int(rng.integers(1, 100))}{'./:'[int(rng.integers(3))]}{int(rng.integers(100)):02d}"
    return str(int(rng.integers(10 ** int(rng.integers(1, 6)))))


def _ground(rng: np.random.Generator, size: tuple[int, int]) -> tuple[Image.Image, material.Colour]:
    """A piece of paper, chart or photograph, and an ink that shows on it."""
    if rng.random() < PHOTOS:  # as a badge: a coloured patch in it is what the digit stands on
        part = material.varied(material.stretch(rng, "train", SIDE), rng)
        image = Image.fromarray(np.ascontiguousarray(part)).resize(size)
        colour = list(COLOURS.values())[int(rng.integers(len(COLOURS)))]
        image.paste(colour, (0, round(0.1 * size[1]), size[0], round(0.9 * size[1])))
        ground: material.Colour = colour
    else:
        every = (*documents.PAPERS, *GROUNDS)
        ground = every[int(rng.integers(len(every)))]
        image = Image.new("RGB", size, ground)
    if sum(ground) < 330:
        return image, (240, 240, 236)
    inks = (*documents.INKS, documents.PEN)
    return image, inks[int(rng.integers(len(inks)))]


class Strips(Lessons):
    """An endless, deterministic stream of batches of strips."""

    def lesson(self, index: int) -> Lesson:
        """Strip number `index`."""
        rng = np.random.default_rng([self.stage.seed, 80, index])
        columns, rows = int(rng.integers(*TOKENS)), int(rng.integers(*ROWS))
        far, hand = rng.random() < OVERVIEWS, rng.random() < HANDS
        zoom = OVERVIEW[0] / SIDE if far else float(rng.uniform(*ZOOM))
        sizes = (LARGE_HAND if hand else LARGE) if far else (SMALL_HAND if hand else SMALL)
        height = int(rng.integers(*sizes))
        wide, high = columns * FACTOR / zoom, rows * FACTOR / zoom
        image, ink = _ground(rng, (round(wide), round(high)))
        draw = ImageDraw.Draw(image)
        if rng.random() < 0.3:  # a rule, or the edge of a field
            y = float(rng.uniform(0, high))
            draw.line((0, y, wide, y), fill=documents.FAINT, width=2)
        x, y = float(rng.uniform(-0.2, 0.3) * wide), high / 2 + float(rng.uniform(-0.25, 0.25)) * max(0, high - height)
        places = self._pen(image, rng, x, y, height, ink) if hand else self._print(draw, rng, x, y, height, ink)
        pixels = np.asarray(
            material.grained(image, rng).resize((columns * FACTOR, rows * FACTOR), Image.Resampling.BICUBIC)
        )
        lesson = Lesson([pixels], *dense(()))
        best: dict[int, tuple[float, int]] = {}
        for character, at, line in places:
            column, row = at * zoom / FACTOR, line * zoom / FACTOR
            if 0 <= column < columns and 0 <= row < rows:
                token = int(row) * columns + int(column)
                best[token] = min(best.get(token, (9e9, 0)), (abs(column % 1 - 0.5), CHARACTERS.index(character)))
        lesson.characters = [(0, token, character) for token, (_, character) in best.items()]
        return lesson

    @staticmethod
    def _print(
        draw: ImageDraw.ImageDraw, rng: np.random.Generator, x: float, y: float, height: int, ink: material.Colour
    ) -> list[tuple[str, float, float]]:
        """Print a line; each character and where its middle stands."""
        family, text = list(material.FAMILIES)[int(rng.integers(len(material.FAMILIES)))], text_of(rng)
        x = material.write(draw, (x, y), text, family, height, ink, "lm")[0]
        ends = [material.font(family, height).getlength(text[:k]) for k in range(len(text) + 1)]
        return [(c, x + (ends[k] + ends[k + 1]) / 2, y) for k, c in enumerate(text)]

    @staticmethod
    def _pen(
        image: Image.Image, rng: np.random.Generator, x: float, y: float, height: int, colour: material.Colour
    ) -> list[tuple[str, float, float]]:
        """Write digits by hand, as hands that nobody saw might; each and where its middle stands."""
        bitmaps, labels = material.handwriting("train")
        found: list[tuple[str, float, float]] = []
        while x < image.width and len(found) < 6:
            row = int(rng.integers(len(labels)))
            bitmap = material.other_hand(bitmaps, labels, row, rng, 1.5)
            mask = Image.fromarray((bitmap * 255).astype(np.uint8)).resize((height, height), Image.Resampling.BICUBIC)
            mask = mask.point([min(255, max(0, round(1.5 * v - 50))) for v in range(256)])
            image.paste(colour, (round(x), round(y - height / 2)), mask)
            found.append((str(labels[row]), x + height / 2, y))
            x += height * float(rng.uniform(0.75, 1.0))
        return found
