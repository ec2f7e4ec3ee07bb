"""Lessons that give the tiny policy what a real checkpoint has from pretraining: perception and grounding.

Each lesson is a scene of the badges world (train split) with (a) dense targets for linear heads on the visual tokens,
a stand-in for the CLIP-style pretraining of a real vision tower, and (b) one packed sequence of short statements
about the scene: where a badge is, what a crop of it shows, which badge stands beside which, which is large enough to
read, which badge a question is about. Packing several statements into one sequence uses each encoded image many times.
No statement is a rationale: the protocol (when to look, the order of reasoning, box, crop and answer) is left to the
cold start.

    lesson = Lessons(tokens, seed=0, badges=(1, 5)).lesson(index=7)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from PIL import Image

from ..core.geometry import Box, Frame, Size, clip, crop_size, from_source, source_to_crop, write_ints
from ..core.images import cut
from ..core.protocol import box_text
from ..models.tiny import COORDINATE_STEP, CROP_TOKENS, MERGE, OVERVIEW_TOKENS, PATCH
from ..vlir.rationale import LARGE, SMALL, jitter, shows
from ..vlir.worlds.badges import COLOURS, DIRECTIONS, SHAPES, SIDE, Badge, neighbour, scene

FACTOR = PATCH * MERGE
CELLS = int(OVERVIEW_TOKENS[1] ** 0.5)  # the overview is CELLS x CELLS tokens
OVERVIEW: Size = (CELLS * FACTOR, CELLS * FACTOR)
BINS = 1000 // COORDINATE_STEP + 1
NAMES = tuple(f"{c} {s}" for c in COLOURS for s in SHAPES)  # a badge's name as a class
STATEMENTS = ("list", "where", "name", "crop", "size", "beside", "refer")
WINDOW = 2 * FACTOR  # pixels a side of a close view of a digit
IGNORE = -100
TEXT = -1  # in place of an image, in points and anchors: an earlier entry of the text


@dataclass
class Lesson:
    """One scene with its targets.

    Attributes
    ----------
    images : overview and crops, uint8 arrays (H, W, 3), in the order of their tokens
    text : token ids; image tokens not yet expanded: each image is one `None`
    loss : for each entry of `text`, whether the model must predict it
    points : for each entry of `text`, (image, token) or (TEXT, entry) that holds what the next token depends on, where
        it is known
    anchors : for each entry of `text`, (image, token) or (TEXT, entry) of the neighbour by which that was found, where
        there is one
    cells : (objects,) overview token that holds each badge's centre
    targets : name -> (objects,) int64 class of each badge, IGNORE where there is none
    crop_targets : name -> (crops,) int64
    crop_cells : (crops,) token of each crop that holds the middle of the digit
    windows, window_digits : close views of single digits, WINDOW pixels a side: reading takes the most examples of all
        skills to learn, and these cost a quarter of a crop
    """

    images: list[np.ndarray]
    text: list[int | None]
    loss: list[bool]
    points: list[tuple[int, int] | None]
    anchors: list[tuple[int, int] | None]
    cells: np.ndarray
    targets: dict[str, np.ndarray]
    crop_targets: dict[str, np.ndarray] = field(default_factory=dict)
    crop_cells: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    windows: list[np.ndarray] = field(default_factory=list)
    window_digits: list[int] = field(default_factory=list)


def vocabulary() -> list[str]:
    """Texts whose words the tiny tokenizer must know as single tokens."""
    texts = [f"The badge {d} the {n} is the {n}. It{SMALL}" for d in DIRECTIONS for n in NAMES]
    texts += [f"The {n}{LARGE}{shows(7)} Which digit is on the badge {d} the {n}?" for d in DIRECTIONS for n in NAMES]
    return [*texts, "[invalid box: outside the image]", "no look left"]


def sized(badge: Badge) -> str:
    """Whether a badge can be read from the overview, and what it shows if so, as a rationale says it."""
    return LARGE + shows(badge.digit) if badge.large else SMALL


def written(box: Box, size: Size = (SIDE, SIDE)) -> list[int]:
    """A source box as the tiny policy writes it: 0-1000, multiples of the coordinate step."""
    return list(write_ints(from_source(box, Frame.RELATIVE, size, OVERVIEW), COORDINATE_STEP))


def read_crop(image: Image.Image, box: Box, tokens: tuple[int, int] = CROP_TOKENS) -> np.ndarray:
    """The crop of a source box, by the loop's own rule, as an array; `tokens` as in `Layout.crop_tokens`."""
    _, size = crop_size(box, image.size, FACTOR, *tokens)
    return np.asarray(cut(image, box, size))


def close_view(image: Image.Image, badge: Badge, rng: np.random.Generator) -> np.ndarray:
    """A square view around a badge's digit, 1.2 to 2.4 times as wide as the digit is high, somewhat off its middle."""
    side = badge.ink * rng.uniform(1.2, 2.4)
    x, y = np.array([badge.x, badge.ink_y]) + rng.uniform(-0.2, 0.2, 2) * badge.ink
    box = clip((x - side / 2, y - side / 2, x + side / 2, y + side / 2), image.size)
    return np.asarray(cut(image, box, (WINDOW, WINDOW)))


class Lessons(torch.utils.data.IterableDataset):
    """An endless, deterministic stream of lessons; `batch` of them at a time.

    Parameters
    ----------
    ids : text -> token ids
    markers : ids of (vision start, vision end)
    seed : of the stream
    badges : least and most badges of a scene
    batch : lessons in an item
    text : False for dense targets alone (vision warm-up), with a crop of every badge
    windows : close views of each badge's digit
    statements : kinds of statements: "list" (every badge and its box, from the left), "where" (the box of a badge),
        "name" (the badge in a box), "crop" (some boxes are followed by their crop and what it shows),
        "size" (readable or too small), "beside" (which badge stands where), "refer" (a question about a badge, by
        name or by its neighbour, answered with its name and box: words are taken over from the question)
    vary : what there is more of than the material: "colours" of photographs, "hands" that write digits ("wild
        hands": as `badges.HANDS` says)
    start : items to leave out at the beginning
    crop_tokens : least and most tokens of a crop
    """

    def __init__(
        self,
        ids: Callable[[str], list[int]],
        markers: Sequence[int],
        seed: int,
        badges: tuple[int, int],
        batch: int,
        text: bool = True,
        windows: int = 0,
        statements: Sequence[str] = STATEMENTS,
        vary: Sequence[str] = ("colours",),
        start: int = 0,
        crop_tokens: tuple[int, int] = CROP_TOKENS,
    ) -> None:
        self.crop_tokens = crop_tokens
        self.ids, self.markers, self.seed, self.badges, self.batch, self.text = ids, markers, seed, badges, batch, text
        self.windows, self.statements, self.vary, self.start = windows, tuple(statements), tuple(vary), start
        self._cache: dict[str, list[int]] = {}

    def __iter__(self) -> Iterator[list[Lesson]]:
        index = self.start * self.batch
        while True:
            yield [self.lesson(index + i) for i in range(self.batch)]
            index += self.batch

    def _encode(self, text: str) -> list[int]:
        if text not in self._cache:
            self._cache[text] = self.ids(text)
        return self._cache[text]

    def lesson(self, index: int) -> Lesson:
        """Lesson number `index`."""
        rng = np.random.default_rng([self.seed, 77, index])
        low, high = self.badges
        image, badges = scene(rng, "train", int(rng.integers(low, high + 1)), self.vary)
        overview = np.asarray(image.resize(OVERVIEW, Image.Resampling.BICUBIC))
        lesson = Lesson([overview], [], [], [], [], *dense(badges))
        shown: list[tuple[Badge, int]] = []
        if self.text:
            self._write(lesson, image, badges, rng, shown)
        else:
            for badge in badges:
                shown.append((badge, self._crop(lesson, image, badge, 0.15, rng)))
        lesson.crop_targets = {
            "name": np.array([NAMES.index(b.name) for b, _ in shown], dtype=np.int64),
            "digit": np.array([b.digit for b, _ in shown], dtype=np.int64),
        }
        lesson.crop_cells = np.array([c for _, c in shown], dtype=np.int64)
        for badge in badges:
            for _ in range(self.windows):
                lesson.windows.append(close_view(image, badge, rng))
                lesson.window_digits.append(badge.digit)
        return lesson

    def _crop(self, lesson: Lesson, image: Image.Image, badge: Badge, spread: float, rng: np.random.Generator) -> int:
        """Add a crop near a badge's box to the lesson; returns the crop token that holds the middle of its digit."""
        box = jitter(badge.box, image.size, spread, rng)
        lesson.images.append(read_crop(image, box, self.crop_tokens))
        high, wide = lesson.images[-1].shape[:2]
        x, y, _, _ = source_to_crop((badge.x, badge.ink_y, badge.x + 1, badge.ink_y + 1), box, (wide, high))
        columns, rows = wide // FACTOR, high // FACTOR
        return min(max(int(y) // FACTOR, 0), rows - 1) * columns + min(max(int(x) // FACTOR, 0), columns - 1)

    def _write(
        self,
        lesson: Lesson,
        image: Image.Image,
        badges: tuple[Badge, ...],
        rng: np.random.Generator,
        shown: list[tuple[Badge, int]],
    ) -> None:
        """The packed statements of a scene, in random order; what is given carries no loss, what must be found does."""

        def say(
            text: str, loss: bool, point: tuple[int, int] | None = None, anchor: tuple[int, int] | None = None
        ) -> None:
            ids = self._encode(text)
            lesson.text += ids
            lesson.loss += [loss] * len(ids)
            lesson.points += [point] * len(ids)
            lesson.anchors += [anchor, *[None] * (len(ids) - 1)]  # the first token decides which badge it is

        def show() -> None:
            lesson.text += [self.markers[0], None, self.markers[1]]
            lesson.loss += [False] * 3
            lesson.points += [None] * 3
            lesson.anchors += [None] * 3

        def locate(badge: Badge, at: tuple[int, int], sentence: bool) -> None:
            """The badge's box and what a crop of it shows; at times its size first, and its digit if it is large."""
            if "size" in self.statements and rng.random() < 0.5:
                say(f" It{sized(badge)}" if sentence else sized(badge), True, at)
                if badge.large:
                    return
            say(box_text(written(badge.box)), True, at)
            if "crop" in self.statements and rng.random() < 0.6:
                shown.append((badge, self._crop(lesson, image, badge, 0.15, rng)))
                show()
                say(shows(badge.digit), True, (len(shown), shown[-1][1]))

        cell = {b.name: (0, int(c)) for b, c in zip(badges, lesson.cells, strict=True)}  # of the overview
        say("<|im_start|>user\n", False)
        show()
        say("<|im_end|>\n<|im_start|>assistant\n", False)
        if "list" in self.statements and rng.random() < 0.3:  # what ties words to what is seen: names carry loss
            for badge in sorted(badges, key=lambda b: b.x):
                say(f"The {badge.name}", True, cell[badge.name])
                say(box_text(written(badge.box)), True, cell[badge.name])
        for kind, badge, asked in self._statements(badges, rng):
            at = cell[badge.name]
            anchor, words = (cell[asked[1].name], f"badge {asked[0]} the {asked[1].name}") if asked else (None, "")
            if kind == "where":
                say(f"The {badge.name}", False)
                locate(badge, at, False)
            elif kind == "name":
                say(box_text(written(badge.box)), False)
                say(f"The {badge.name}", True, at)
            elif kind == "refer":
                say(f"<|im_end|>\n<|im_start|>user\nWhich digit is on the {words or badge.name}?", False)
                say("<|im_end|>\n<|im_start|>assistant\n", False)
                say(f"The {words} is" if asked else f"The {badge.name}", True)
                if asked:
                    say(f" the {badge.name}.", True, at, anchor)
                locate(badge, at, asked is not None)
            elif kind == "size":
                say(f"The {badge.name}", False)
                say(" is", False, at)
                say(sized(badge).removeprefix(" is"), True, at)
            else:
                say(f"The {words} is", False)
                say(f" the {badge.name}.", True, at, anchor)

    def _statements(
        self, badges: tuple[Badge, ...], rng: np.random.Generator
    ) -> list[tuple[str, Badge, tuple[str, Badge] | None]]:
        """At most eight statements of a scene, drawn from the kinds that are asked for.

        Returns
        -------
        kind, badge that it is about, and, where that is found by a neighbour, (direction, neighbour)
        """
        every: list[tuple[str, Badge, tuple[str, Badge] | None]] = [("where", b, None) for b in badges]
        every += [(kind, b, None) for kind in ("name", "size") if kind in self.statements for b in badges]
        found = [((d, a), n) for a in badges for d in DIRECTIONS if (n := neighbour(badges, a, d))]
        if "beside" in self.statements:
            every += [("beside", n, asked) for asked, n in found for _ in range(2)]
        if "refer" in self.statements:
            every += [("refer", b, None) for b in badges for _ in range(2)]
            every += [("refer", n, asked) for asked, n in found]
        return [every[k] for k in rng.permutation(len(every))[:8]]


def dense(badges: tuple[Badge, ...]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Cells (objects,) and targets of the heads on overview tokens: name, size, digit if legible, box."""
    cell = SIDE / CELLS
    cells = np.array([int(b.y // cell) * CELLS + int(b.x // cell) for b in badges], dtype=np.int64)
    targets: dict[str, list[int]] = {"name": [], "large": [], "digit": []}
    targets.update({f"edge{i}": [] for i in range(4)})
    for badge in badges:
        targets["name"].append(NAMES.index(badge.name))
        targets["large"].append(int(badge.large))
        targets["digit"].append(badge.digit if badge.large else IGNORE)
        for i, value in enumerate(written(badge.box)):
            targets[f"edge{i}"].append(value // COORDINATE_STEP)
    return cells, {k: np.array(v, dtype=np.int64) for k, v in targets.items()}
