"""The ledger of one rollout: every token with its kind, every look, the answer, and their invariants.

Simplified: two trajectories are equal when their records are and the hashes of the images that they carry are
(a hash stands for its pixels). Users import all of this from `trajectory`, which also saves and loads it.

    for kind, part in trajectory.segments():       # ("text", str), ("look", Look), ("environment", str)
        print(kind, part)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields, is_dataclass, replace
from enum import Enum, IntEnum
from typing import Any, Literal

from PIL import Image

from .arms import ARMS, INTERLEAVED
from .errors import R3labError, shown
from .geometry import Box, Frame, Size
from .protocol import Scanner

FINISHES = ("answered", "length", "looks", "malformed")


class TrajectoryError(R3labError):
    """A trajectory that contradicts itself, or a file of one that cannot be read or written."""


class Kind(IntEnum):
    """What a token is; only SAMPLED tokens carry loss."""

    PROMPT = 0
    OVERVIEW = 1
    SAMPLED = 2
    ENVIRONMENT = 3
    CROP = 4
    PAD = 5


@dataclass(frozen=True)
class ImageRef:
    """An image by content hash (`images.content_hash`), with its width and height in pixels."""

    hash: str
    width: int
    height: int


@dataclass(frozen=True)
class Look:
    """One region that the model asked to see."""

    span: tuple[int, int]  # tokens of the box text, half-open
    written: tuple[float, ...] | None  # the four numbers as written, in the model's frame
    box: Box | None  # the same in source pixels
    valid: bool
    reason: str = ""  # why it is not valid
    zoom: float | None = None
    crop: ImageRef | None = None
    crop_span: tuple[int, int] | None = None  # the crop's image tokens, half-open

    def moved(self, tokens: int) -> Look:
        """The same look, so many tokens later."""
        crop = self.crop_span and (self.crop_span[0] + tokens, self.crop_span[1] + tokens)
        return replace(self, span=(self.span[0] + tokens, self.span[1] + tokens), crop_span=crop)


@dataclass(eq=False)
class Trajectory:
    """One rollout; the five lists `ids` to `entropies` have one entry a token."""

    sample_id: str
    question: str
    image: ImageRef  # the source photograph
    overview: Size  # at which the model saw it
    frame: Frame  # in which the model writes boxes
    ids: list[int] = field(default_factory=list)
    kinds: list[int] = field(default_factory=list)
    pieces: list[str] = field(default_factory=list)  # text; "" for image and pad tokens
    logprobs: list[float | None] = field(default_factory=list)  # at sampling; None unless SAMPLED
    entropies: list[float | None] = field(default_factory=list)  # in nats; None unless SAMPLED
    looks: list[Look] = field(default_factory=list)
    answer: str | None = None  # given exactly when `finish` is "answered"
    finish: str = "length"  # one of FINISHES
    truth: dict[str, Any] = field(default_factory=dict)  # free JSON: "answer", "region", "needs_look", ...
    rewards: dict[str, float] = field(default_factory=dict)  # by name
    advantage: float | None = None
    model: str = ""  # name or hash of the policy
    seed: int | None = None
    temperature: float = 1.0
    arm: str = INTERLEAVED.name  # one of arms.ARMS: what was asked, what a box brought, how an answer is marked
    images: dict[str, Image.Image] = field(default_factory=dict, repr=False)  # by content hash

    def __eq__(self, other: object) -> bool:
        return plain(self) == plain(other) if isinstance(other, Trajectory) else NotImplemented

    def _join(self, *kinds: Kind) -> str:
        return "".join(piece for piece, kind in zip(self.pieces, self.kinds, strict=True) if kind in kinds)

    @property
    def prompt_text(self) -> str:
        """The text of the prompt."""
        return self._join(Kind.PROMPT)

    @property
    def response_text(self) -> str:
        """What the model wrote."""
        return self._join(Kind.SAMPLED)

    @property
    def text(self) -> str:
        """All text after the prompt: what the model wrote and what the loop told it."""
        return self._join(Kind.SAMPLED, Kind.ENVIRONMENT)

    @property
    def sampled_mask(self) -> list[bool]:
        """For every token, whether it carries loss."""
        return [kind == Kind.SAMPLED for kind in self.kinds]

    def segments(self) -> list[tuple[Literal["text", "environment"], str] | tuple[Literal["look"], Look]]:
        """What happened after the prompt, in order, for displays.

        Returns
        -------
        list of tuple
            ``("text", str)``, ``("environment", str)`` or ``("look", Look)``. The text keeps the boxes as
            written, so that all strings joined are `text`; a look stands right behind its box.
        """
        parts: list[Any] = []
        due = sorted(self.looks, key=lambda look: -look.span[1])
        names = {Kind.SAMPLED: "text", Kind.ENVIRONMENT: "environment"}
        for at, (kind, piece) in enumerate(zip(self.kinds, self.pieces, strict=True), start=1):
            name = names.get(Kind(kind))
            if name and piece and parts and parts[-1][0] == name:
                parts[-1] = (name, parts[-1][1] + piece)
            elif name and piece:
                parts.append((name, piece))
            while due and due[-1].span[1] <= at:
                parts.append(("look", due.pop()))
        return parts

    def until(self, token: int) -> Trajectory:
        """A copy that ends before this token, without an answer and unscored; looks that were complete by then stay."""
        part = replace(
            self,
            looks=[look for look in self.looks if (look.crop_span or look.span)[1] <= token],
            answer=None,
            finish="length",
            rewards={},
            advantage=None,
            images=dict(self.images),
        )
        for name in ("ids", "kinds", "pieces", "logprobs", "entropies"):
            setattr(part, name, list(getattr(self, name)[:token]))
        return part

    def check(self) -> None:
        """Raise `TrajectoryError`, naming the field, token or look, if an invariant of the design fails."""
        for contradiction in contradictions(self):
            raise TrajectoryError(f"Trajectory {shown(self.sample_id)}: {contradiction}.")


def contradictions(t: Trajectory) -> Iterator[str]:
    """Each way in which a trajectory contradicts itself, in words; later ones may follow from the first."""
    n = len(t.ids)
    uneven = False
    for name in ("kinds", "pieces", "logprobs", "entropies"):
        if len(getattr(t, name)) != n:
            uneven = True
            yield f"{name} has {len(getattr(t, name))} entries for {n} ids"
    if t.finish not in FINISHES:
        yield f"finish is {shown(t.finish)}, not one of {', '.join(FINISHES)}"
    if t.arm not in ARMS:
        yield f"arm is {shown(t.arm)}, not one of {', '.join(ARMS)}"
    if (t.finish == "answered") != (t.answer is not None):
        yield f"finish is {shown(t.finish)} with the answer {shown(t.answer)}"
    known = frozenset(Kind)
    unknown = [i for i, kind in enumerate(t.kinds) if kind not in known]
    for i in unknown:
        yield f"token {i} has the unknown kind {shown(t.kinds[i])}"
    if not uneven and not unknown:
        yield from _of_tokens(t)
        yield from _of_looks(t)
    for ref in [t.image] + [look.crop for look in t.looks if look.crop]:
        size = t.images[ref.hash].size if ref.hash in t.images else (ref.width, ref.height)
        if size != (ref.width, ref.height):
            yield f"image {shown(ref.hash, 16)} is {size}, not {(ref.width, ref.height)}"


def _of_tokens(t: Trajectory) -> Iterator[str]:
    marks = ARMS.get(t.arm, INTERLEAVED).marks
    scanner, written, begun, closed = Scanner(marks), "", False, False
    for i, kind in enumerate(map(Kind, t.kinds)):
        sampled, prompt = kind is Kind.SAMPLED, kind in (Kind.PROMPT, Kind.OVERVIEW)
        if prompt and begun:
            yield f"token {i} is {kind.name} after the prompt has ended"
        begun = begun or not (prompt or kind is Kind.PAD)
        if t.pieces[i] and kind in (Kind.OVERVIEW, Kind.CROP, Kind.PAD):
            yield f"token {i} is {kind.name} but has text"
        if sampled and t.logprobs[i] is None:
            yield f"token {i} is SAMPLED but has no log-probability"
        if not sampled and t.logprobs[i] is not None:
            yield f"token {i} is {kind.name} but has a log-probability"
        if not sampled and t.entropies[i] is not None:
            yield f"token {i} is {kind.name} but has an entropy"
        if sampled and closed:
            yield f"token {i} was sampled after the answer was closed"
        if sampled and not closed:
            written += t.pieces[i]
            events = scanner.feed(t.pieces[i])
            ends = [written[e.start : e.end] for e in events if e.kind == "answer"]
            closed = bool(marks.close) and any(text.endswith(marks.close) for text in ends)


def _of_looks(t: Trajectory) -> Iterator[str]:
    n, end, counted = len(t.ids), 0, 0
    for i, look in enumerate(t.looks):
        if not end <= look.span[0] < look.span[1] <= n:
            yield f"look {i}: span {shown(look.span)} is not in {end}..{n}"
        end = look.span[1]
        if look.valid == bool(look.reason):
            yield f"look {i}: valid is {look.valid} with the reason {shown(look.reason)}"
        if look.valid and look.box is None:
            yield f"look {i} is valid but has no box"
        if (look.crop is None) != (look.crop_span is None):
            yield f"look {i}: crop and crop_span come together, or neither"
        if look.crop_span is not None:
            a, b = look.crop_span
            if not look.valid:
                yield f"look {i} is not valid but has a crop"
            if not end <= a < b <= n:
                yield f"look {i}: crop_span {shown(look.crop_span)} is not in {end}..{n}"
            if any(kind != Kind.CROP for kind in t.kinds[a:b]):
                yield f"look {i}: crop_span holds tokens that are not CROP"
            end, counted = b, counted + b - a
    crops = sum(kind == Kind.CROP for kind in t.kinds)
    if crops != counted:
        yield f"there are {crops} CROP tokens, but the crop_span of the looks hold {counted}"


def plain(value: Any) -> Any:
    """A record as JSON holds it: dictionaries, lists, numbers, text; of `images` the hashes."""
    if is_dataclass(value):
        record = {f.name: getattr(value, f.name) for f in fields(value)}
        return {key: sorted(v) if key == "images" else plain(v) for key, v in record.items()}
    if isinstance(value, dict):
        return {key: plain(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    return value.value if isinstance(value, Enum) else value
