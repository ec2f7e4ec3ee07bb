"""Lessons that give the tiny policy what a real checkpoint has from pretraining: perception and grounding.

A lesson is a scene (train split) with (a) dense targets for linear heads on the visual tokens, a stand-in for the
CLIP-style pretraining of a real vision tower, and (b) one packed sequence of short statements about the scene. Here are
those of badges: where a badge is, what a crop of it shows, which badge stands beside which, which is large enough to
read, which badge a question is about; `world_lessons` has those of the other worlds, written with the same `Writer`.
Packing several statements into one sequence uses each encoded image many times. No statement is a rationale: the
protocol (when to look, the order of reasoning, box, crop and answer) is left to the cold start.

    lesson = Lessons(policy, Stage("grounding", steps=1, batch=8, badges=(1, 5))).lesson(7)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count

import numpy as np
import torch
from PIL import Image

from ..core.geometry import Box, Frame, Size, clip, crop_size, from_source, source_to_crop, write_ints
from ..core.images import cut
from ..core.protocol import box_text
from ..models.policy import Policy
from ..models.tiny import COORDINATE_STEP, MERGE, OVERVIEW_TOKENS, PATCH
from ..vlir.rationale import LARGE, SMALL, jitter, shows
from ..vlir.worlds.badges import COLOURS, DIRECTIONS, SHAPES, SIDE, Badge, neighbour, scene
from .facts import Point, Thing

FACTOR = PATCH * MERGE
CELLS = int(OVERVIEW_TOKENS[1] ** 0.5)  # the overview is CELLS x CELLS tokens
OVERVIEW: Size = (CELLS * FACTOR, CELLS * FACTOR)
BINS = 1000 // COORDINATE_STEP + 1
NAMES = tuple(f"{c} {s}" for c in COLOURS for s in SHAPES)  # a badge's name as a class
STATEMENTS = ("list", "where", "name", "crop", "size", "beside", "refer")
MOST = 8  # statements of a scene
WINDOW = 2 * FACTOR  # pixels a side of a close view of a digit
SPREAD = 0.15  # how far a lesson's crop may miss, as a part of its sides
IGNORE = -100
TEXT = -1  # in place of an image, in points and anchors: an earlier entry of the text
ANSWER = "<|im_end|>\n<|im_start|>assistant\n"

Place = tuple[int, int]  # (image, token), or (TEXT, entry)


@dataclass(frozen=True)
class Stage:
    """One stage of a base: learning rates peak after a short warm-up and fall as a cosine to `final_fraction`.

    Attributes
    ----------
    badges : least and most badges of a scene
    batch : lessons of a step
    text : False for dense targets alone (vision warm-up), with a crop of every badge
    windows : close views of each badge's digit
    statements : kinds of statements: "list" (every badge and its box, from the left), "where" (the box of a badge),
        "name" (the badge in a box), "crop" (some boxes are followed by their crop and what it shows), "size" (readable
        or too small), "beside" (which badge stands where), "refer" (a question about a badge, by name or by its
        neighbour, answered with its name and box: words are taken over from the question)
    vary : what there is more of than the material: "colours" of photographs, "hands" that write digits ("wild
        hands": as `badges.HANDS` says)
    pointing : weight of the loss on where two heads look
    text_times : the text model's learning rate, of the tower's
    """

    name: str
    steps: int
    batch: int
    badges: tuple[int, int]
    text: bool = True
    learning_rate: float = 1e-3
    head_weight: float = 1.0
    final_fraction: float = 0.1
    seed: int = 0
    windows: int = 0
    statements: tuple[str, ...] = STATEMENTS
    vary: tuple[str, ...] = ("colours",)
    pointing: float = 0.0
    text_times: float = 1.0


@dataclass
class Lesson:
    """One scene, or a crop or a text alone, with its targets.

    Attributes
    ----------
    images : overview and crops, uint8 arrays (H, W, 3), in the order of their tokens
    cells : (objects,) overview token that holds each object's centre
    targets : name -> (objects,) int64 class of each object, IGNORE where there is none
    text : token ids; image tokens not yet expanded: each image is one `None`
    loss : for each entry of `text`, whether the model must predict it
    points : for each entry, what the next token depends on, where that is known
    anchors : for each entry, the neighbour by which that was found, where there is one; or two, one for each head
    letters : entries that name a corner, and where its letter stands
    crop_targets : name -> (crops,) int64
    crop_cells : (crops,) token of each crop that holds the middle of what it shows
    windows, window_digits : close views of single digits, WINDOW pixels a side: reading takes the most examples of all
        skills to learn, and these cost a quarter of a crop
    characters : of the crops: (image, token, class in `world_lessons.CHARACTERS`)
    """

    images: list[np.ndarray]
    cells: np.ndarray
    targets: dict[str, np.ndarray]
    text: list[int | None] = field(default_factory=list)
    loss: list[bool] = field(default_factory=list)
    points: list[Place | None] = field(default_factory=list)
    anchors: list[Place | tuple[Place, Place] | None] = field(default_factory=list)
    letters: list[tuple[int, Place]] = field(default_factory=list)
    crop_targets: dict[str, np.ndarray] = field(default_factory=dict)
    crop_cells: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    windows: list[np.ndarray] = field(default_factory=list)
    window_digits: list[int] = field(default_factory=list)
    characters: list[tuple[int, int, int]] = field(default_factory=list)


def vocabulary() -> list[str]:
    """Texts whose words the tiny tokenizer must know as single tokens."""
    texts = [f"The badge {d} the {n} is the {n}. It{SMALL}" for d in DIRECTIONS for n in NAMES]
    texts += [f"The {n}{LARGE}{shows(7)} Which digit is on the badge {d} the {n}?" for d in DIRECTIONS for n in NAMES]
    return [*texts, "[invalid box: outside the image]", "no look left"]


# -- which token holds a place of the picture, and what the heads must find there ------------------------------------


def written(box: Box, size: Size = (SIDE, SIDE)) -> list[int]:
    """A source box as the tiny policy writes it: 0-1000, multiples of the coordinate step."""
    return list(write_ints(from_source(box, Frame.RELATIVE, size, OVERVIEW), COORDINATE_STEP))


def cell(at: Point) -> int:
    """The token of the overview that holds a source point."""
    column, row = (min(max(int(v * CELLS / SIDE), 0), CELLS - 1) for v in at)
    return row * CELLS + column


class View:
    """The tokens of a crop, or of another part of the picture: `box` in source pixels."""

    def __init__(self, box: Box, pixels: np.ndarray) -> None:
        self.box, (high, wide) = box, pixels.shape[:2]
        self.size = (wide, high)

    def token(self, at: Point) -> tuple[int, float]:
        """The token that holds a source point, and how far from its middle that is, pixels of the view."""
        x, y, _, _ = source_to_crop((*at, at[0] + 1, at[1] + 1), self.box, self.size)
        columns, rows = self.size[0] // FACTOR, self.size[1] // FACTOR
        column, row = min(max(int(x) // FACTOR, 0), columns - 1), min(max(int(y) // FACTOR, 0), rows - 1)
        return row * columns + column, abs(x - (column + 0.5) * FACTOR) + abs(y - (row + 0.5) * FACTOR)


def int64(values: Sequence[int]) -> np.ndarray:
    """Classes, or places, as an array."""
    return np.array(values, dtype=np.int64)


def dense(things: Sequence[Thing]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Cells (things,) and targets of the heads on overview tokens: name, size, digit, box; IGNORE where there is
    none."""
    edges = [written(clip(t.box, (SIDE, SIDE))) if t.box else None for t in things]
    targets = {
        "name": [NAMES.index(t.name) if t.name else IGNORE for t in things],
        "large": [int(t.large) if t.box else IGNORE for t in things],
        "digit": [IGNORE if t.digit is None else t.digit for t in things],
        **{f"edge{i}": [e[i] // COORDINATE_STEP if e else IGNORE for e in edges] for i in range(4)},
    }
    return int64([cell(t.at) for t in things]), {key: int64(values) for key, values in targets.items()}


# -- how a sequence is written ---------------------------------------------------------------------------------------


class Script:
    """A policy's tokens, and the size of its crops."""

    def __init__(self, policy: Policy) -> None:
        self.markers = (*policy.vision_start, *policy.vision_end)
        self.crop_tokens = policy.layout.crop_tokens
        self._ids, self.piece = policy.ids, policy.piece
        self._cache: dict[str, list[tuple[int, int]]] = {}

    def encode(self, text: str) -> list[tuple[int, int]]:
        """Tokens of a text, each with the number of its middle character."""
        if text not in self._cache:
            found, at = [], 0
            for token in self._ids(text):
                wide = len(self.piece(token))
                found.append((token, at + wide // 2))
                at += wide
            if at != len(text):
                raise ValueError(f"{text!r} has characters of several tokens")
            self._cache[text] = found
        return self._cache[text]


class Writer:
    """Writes texts and images into a lesson.

    Parameters
    ----------
    lesson : with its overview, if it has one
    image : of the scene, source pixels
    """

    def __init__(self, lesson: Lesson, image: Image.Image, rng: np.random.Generator, script: Script) -> None:
        self.lesson, self.image, self.rng, self.script = lesson, image, rng, script
        self.seen: list[tuple[int, int, int]] = []  # of each crop: name, digit, token of the middle

    def say(
        self,
        text: str,
        loss: bool,
        point: Place | None = None,
        anchor: Place | tuple[Place, Place] | None = None,
        marks: Sequence[Place | None] = (),
    ) -> int:
        """Add a text; the number of its first entry. `point` is that of every token; where `marks` gives a place to
        each character, a token's point is the place of what comes next. `anchor` leads to all points, since no token
        learns in time where another one found what they share; without one the place of what was just read leads on."""
        tokens, begin = self.script.encode(text), len(self.lesson.text)
        places = [marks[middle] for _, middle in tokens] if marks else [None] * len(tokens)
        for k, (token, _) in enumerate(tokens):
            at = places[k + 1] if marks and k + 1 < len(tokens) else point
            self._add(token, loss, at, (anchor or places[k]) if at else None)
        return begin

    def show(self) -> None:
        """Add an image, between its markers."""
        for token in (self.script.markers[0], None, self.script.markers[1]):
            self._add(token, False)

    def _add(
        self,
        token: int | None,
        loss: bool,
        point: Place | None = None,
        anchor: Place | tuple[Place, Place] | None = None,
    ) -> None:
        self.lesson.text.append(token)
        self.lesson.loss.append(loss)
        self.lesson.points.append(point)
        self.lesson.anchors.append(anchor)

    def cut(self, box: Box, spread: float) -> View:
        """Add the crop of about this box to the images, by the loop's own rule."""
        box = jitter(box, self.image.size, spread, self.rng)
        _, size = crop_size(box, self.image.size, FACTOR, *self.script.crop_tokens)
        self.lesson.images.append(np.asarray(cut(self.image, box, size)))
        return View(box, self.lesson.images[-1])

    def close(self) -> None:
        """Say what the heads must find in the crops."""
        names, digits, tokens = (int64([one[k] for one in self.seen]) for k in range(3))
        self.lesson.crop_targets, self.lesson.crop_cells = {"name": names, "digit": digits}, tokens


class BadgeWriter(Writer):
    """Writes the statements of a scene of badges: what is given carries no loss, what must be found does."""

    def write(self, badges: tuple[Badge, ...], kinds: Sequence[str]) -> None:
        """At most `MOST` statements of these kinds in random order, packed into one sequence."""
        self.kinds = kinds
        cells = {b.name: (0, int(c)) for b, c in zip(badges, self.lesson.cells, strict=True)}  # of the overview
        self.say("<|im_start|>user\n", False)
        self.show()
        self.say(ANSWER, False)
        if "list" in kinds and self.rng.random() < 0.3:  # what ties words to what is seen: names carry loss
            for badge in sorted(badges, key=lambda b: b.x):
                self.say(f"The {badge.name}", True, cells[badge.name])
                self.say(box_text(written(badge.box)), True, cells[badge.name])
        for kind, badge, asked in self.drawn(badges):
            at, found = cells[badge.name], f" the {badge.name}."
            words = f"badge {asked[0]} the {asked[1].name}" if asked else badge.name
            if kind == "where":
                self.say(f"The {badge.name}", False)
                self.locate(badge, at, False)
            elif kind == "name":
                self.say(box_text(written(badge.box)), False)
                self.say(f"The {badge.name}", True, at)
            elif kind == "size":
                self.say(f"The {badge.name}", False)
                self.say(" is", False, at)
                self.say(sized(badge).removeprefix(" is"), True, at)
            elif kind == "beside":
                self.say(f"The {words} is", False)
            else:
                self.say(f"<|im_end|>\n<|im_start|>user\nWhich digit is on the {words}?", False)
                self.say(ANSWER, False)
                self.say(f"The {words} is" if asked else f"The {badge.name}", True)
            if asked:  # the first token decides which badge it is
                self.lesson.anchors[self.say(found, True, at)] = cells[asked[1].name]
            if kind == "refer":
                self.locate(badge, at, asked is not None)

    def drawn(self, badges: tuple[Badge, ...]) -> list[tuple[str, Badge, tuple[str, Badge] | None]]:
        """Statements drawn from the kinds that are asked for: kind, badge that it is about, and, where that is found by
        a neighbour, (direction, neighbour)."""
        every: list[tuple[str, Badge, tuple[str, Badge] | None]] = [("where", b, None) for b in badges]
        every += [(kind, b, None) for kind in ("name", "size") if kind in self.kinds for b in badges]
        found = [((d, a), n) for a in badges for d in DIRECTIONS if (n := neighbour(badges, a, d))]
        if "beside" in self.kinds:
            every += [("beside", n, asked) for asked, n in found for _ in range(2)]
        if "refer" in self.kinds:
            every += [("refer", b, None) for b in badges for _ in range(2)]
            every += [("refer", n, asked) for asked, n in found]
        return [every[k] for k in self.rng.permutation(len(every))[:MOST]]

    def locate(self, badge: Badge, at: Place, sentence: bool) -> None:
        """The badge's box and what a crop of it shows; at times its size first, and its digit if it is large."""
        if "size" in self.kinds and self.rng.random() < 0.5:
            self.say(f" It{sized(badge)}" if sentence else sized(badge), True, at)
            if badge.large:
                return
        self.say(box_text(written(badge.box)), True, at)
        if "crop" in self.kinds and self.rng.random() < 0.6:
            token = self.crop(badge)
            self.show()
            self.say(shows(badge.digit), True, (len(self.lesson.images) - 1, token))

    def crop(self, badge: Badge) -> int:
        """Add a crop near a badge's box; returns its token that holds the middle of the digit."""
        token, _ = self.cut(badge.box, SPREAD).token((badge.x, badge.ink_y))
        self.seen.append((NAMES.index(badge.name), badge.digit, token))
        return token


def sized(badge: Badge) -> str:
    """Whether a badge can be read from the overview, and what it shows if so, as a rationale says it."""
    return LARGE + shows(badge.digit) if badge.large else SMALL


def close_view(image: Image.Image, badge: Badge, rng: np.random.Generator) -> np.ndarray:
    """A square view around a badge's digit, 1.2 to 2.4 times as wide as the digit is high, somewhat off its middle."""
    side = badge.ink * rng.uniform(1.2, 2.4)
    x, y = np.array([badge.x, badge.ink_y]) + rng.uniform(-0.2, 0.2, 2) * badge.ink
    box = clip((x - side / 2, y - side / 2, x + side / 2, y + side / 2), image.size)
    return np.asarray(cut(image, box, (WINDOW, WINDOW)))


class Lessons(torch.utils.data.IterableDataset):
    """The endless, deterministic stream of batches of lessons that a stage asks for.

    Parameters
    ----------
    policy : whose tokens and crops are used
    start : batches to leave out at the beginning
    part : of each batch the lessons with this number, from 0, of every so many
    """

    def __init__(self, policy: Policy, stage: Stage, start: int = 0, part: tuple[int, int] = (0, 1)) -> None:
        self.stage, self.start, self.script, self.part = stage, start, Script(policy), part

    def __iter__(self) -> Iterator[list[Lesson]]:
        return map(self.batch, count(self.start))

    def batch(self, number: int) -> list[Lesson]:
        """Batch number `number`."""
        return [self.lesson(number * self.stage.batch + i) for i in self.mine(self.stage.batch)]

    def mine(self, count: int) -> range:
        """The numbers of a batch's lessons that this process makes."""
        return range(self.part[0], count, self.part[1])

    def lesson(self, index: int) -> Lesson:
        """Scene number `index` of badges."""
        stage, rng = self.stage, np.random.default_rng([self.stage.seed, 77, index])
        low, high = stage.badges
        image, badges = scene(rng, "train", int(rng.integers(low, high + 1)), stage.vary)
        things = [Thing((b.x, b.y), b.box, b.large, name=b.name, digit=b.digit if b.large else None) for b in badges]
        lesson = Lesson([overview(image)], *dense(things))
        writer = BadgeWriter(lesson, image, rng, self.script)
        if stage.text:
            writer.write(badges, stage.statements)
        else:
            for badge in badges:
                writer.crop(badge)
        writer.close()
        for badge in badges:
            lesson.windows += [close_view(image, badge, rng) for _ in range(stage.windows)]
            lesson.window_digits += [badge.digit] * stage.windows
        return lesson


def overview(image: Image.Image) -> np.ndarray:
    """A picture at the size of the overview."""
    return np.asarray(image.resize(OVERVIEW, Image.Resampling.BICUBIC))
