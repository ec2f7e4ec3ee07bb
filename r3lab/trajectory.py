"""The record of one rollout: every token with its kind, every look, the answer, their invariants, and its home on disk.

Rollout, training, explanation and display all read this one record. It is saved as JSON and PNG, never pickle, with
``load(save(t)) == t``. Simplified: two trajectories are equal when their records are and the hashes of the images that
they carry are (a hash stands for its pixels); a file is read as a whole, images included, so a list that does not fit
in memory wants several files.

    path = save(trajectory, "runs/first")          # runs/first/trajectory.json, runs/first/images/<hash>.png
    for kind, part in load(path).segments():       # ("text", str), ("look", Look), ("environment", str)
        print(kind, part)
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field, fields, is_dataclass, replace
from enum import Enum, IntEnum
from pathlib import Path
from typing import Annotated, Any, Literal

from PIL import Image

from .core import records
from .core.arms import FORCED, INTERLEAVED, OWN, arm_named, arm_record
from .core.errors import R3labError, shown
from .core.files import write_whole
from .core.geometry import Box, Frame, area, problem
from .core.images import content_hash, open_image, to_png_bytes
from .core.protocol import Scanner

FINISHES = ("answered", "length", "looks", "malformed")
FORMAT, VERSION = "r3lab.trajectory", 1
ONE, MANY = "trajectory.json", "trajectories.jsonl"

ABSENT = -1  # id of a stretch of text whose tokens are not known: of a rollout of another project (`vlir.dumps`)

Span = tuple[Annotated[int, records.count], Annotated[int, records.count]]  # tokens, half-open
Credit = tuple[Annotated[int, records.count], Annotated[int, records.count], float]  # a span, and its advantage


class Kind(IntEnum):
    """What a token is; only SAMPLED tokens carry loss.

    Examples
    --------
    >>> [t.kinds.count(r3lab.Kind.SAMPLED) > 0 for t in trajectories[:2]]
    [True, True]
    """

    PROMPT = 0
    OVERVIEW = 1
    SAMPLED = 2
    ENVIRONMENT = 3
    CROP = 4
    PAD = 5


_KINDS = frozenset(Kind)
_kind = records.of("a kind from 0 to 5", lambda value: type(value) is int and value in _KINDS)
_FREE_OR_FORCED = ("", *FORCED)
_forced = records.of(f"empty or one of {', '.join(FORCED)}", lambda value: value in _FREE_OR_FORCED)


@dataclass(frozen=True)
class ImageRef:
    """An image by content hash (`images.content_hash`), with its width and height in pixels."""

    hash: Annotated[str, records.sha256]
    width: Annotated[int, records.count]
    height: Annotated[int, records.count]


@dataclass(frozen=True)
class Look:
    """One region that the model asked to see."""

    span: Span  # tokens of the box text
    written: Box | None  # the four numbers as written, in the model's frame
    box: Box | None  # the same in source pixels
    valid: bool
    reason: str = ""  # why it is not valid
    zoom: float | None = None  # by the paper's rule, before the crop is fitted to its token budget; see `enlargement`
    crop: ImageRef | None = None
    crop_span: Span | None = None  # the crop's image tokens

    @property
    def enlargement(self) -> float | None:
        """Pixels of the crop for each of the box in the source, along a side (the mean of both): what was done, where
        `zoom` was wanted. None where no crop of the box was shown."""
        if self.zoom is None or self.crop is None or self.box is None or not area(self.box):
            return None
        return math.sqrt(self.crop.width * self.crop.height / area(self.box))

    def moved(self, tokens: int) -> Look:
        """The same look, so many tokens later."""
        crop = self.crop_span and (self.crop_span[0] + tokens, self.crop_span[1] + tokens)
        return replace(self, span=(self.span[0] + tokens, self.span[1] + tokens), crop_span=crop)


@dataclass(eq=False)
class Trajectory:
    """One rollout; the five lists `ids` to `entropies` have one entry a token.

    Examples
    --------
    >>> t = trajectories[0]
    >>> len(t.ids) == len(t.kinds) == len(t.logprobs)
    True
    """

    sample_id: str
    question: str
    image: ImageRef  # the source photograph
    overview: Span  # width and height at which the model saw it
    frame: Frame  # in which the model writes boxes
    ids: list[int] = field(default_factory=list)
    kinds: list[Annotated[int, _kind]] = field(default_factory=list)
    pieces: list[str] = field(default_factory=list)  # text; "" for image and pad tokens
    logprobs: list[float | None] = field(default_factory=list)  # at sampling; None unless SAMPLED
    entropies: list[float | None] = field(default_factory=list)  # in nats; None unless SAMPLED
    looks: list[Look] = field(default_factory=list)
    answer: str | None = None  # given exactly when `finish` is "answered"
    finish: str = "length"  # one of FINISHES
    truth: dict[str, Any] = field(default_factory=dict)  # free JSON: "answer", "region", "needs_look", ...
    rewards: dict[str, float] = field(default_factory=dict)  # by name
    advantage: float | None = None
    credit: list[Credit] = field(default_factory=list)  # tokens with an advantage of their own, beside it
    model: str = ""  # name or hash of the policy
    seed: int | None = None
    temperature: float = 1.0
    arm: Annotated[str, arm_named] = INTERLEAVED.name  # what was asked, what a box brought, how an answer is marked
    forced: Annotated[str, _forced] = ""  # into what, by the words (`arms.FORCED`) that stand after the prompt
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
    def prompt_length(self) -> int:
        """Tokens before the first that was not given: those of prompt and overview."""
        given = (int(Kind.PROMPT), int(Kind.OVERVIEW))
        return next((i for i, kind in enumerate(self.kinds) if kind not in given), len(self.kinds))

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
            credit=[],
            images=dict(self.images),
        )
        for name in ("ids", "kinds", "pieces", "logprobs", "entropies"):
            setattr(part, name, list(getattr(self, name)[:token]))
        return part

    def check(self) -> None:
        """Raise `R3labError`, naming the field, token or look, if an invariant of the design fails."""
        for contradiction in contradictions(self):
            raise R3labError(f"Trajectory {shown(self.sample_id)}: {contradiction}.")


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
    if t.arm not in OWN.known and t.arm not in OWN.own:
        yield f"arm is {shown(t.arm)}, not one of {', '.join(OWN.known)}"
    if t.forced not in _FREE_OR_FORCED:
        yield f"forced is {shown(t.forced)}, not empty or one of {', '.join(FORCED)}"
    elif t.forced and t.kinds[(start := t.prompt_length) : start + 1] not in ([], [Kind.ENVIRONMENT]):
        yield f"it is forced ({t.forced}), but token {start}, the first after the prompt, is none of the environment"
    if (t.finish == "answered") != (t.answer is not None):
        yield f"finish is {shown(t.finish)} with the answer {shown(t.answer)}"
    unknown = [i for i, kind in enumerate(t.kinds) if kind not in _KINDS]
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
    marks = (OWN.known.get(t.arm) or OWN.own.get(t.arm) or INTERLEAVED).marks
    scanner, written, begun, closed = Scanner(marks), "", False, False
    for i, kind in enumerate(map(Kind, t.kinds)):
        sampled, prompt = kind is Kind.SAMPLED, kind in (Kind.PROMPT, Kind.OVERVIEW)
        if prompt and begun:
            yield f"token {i} is {kind.name} after the prompt has ended"
        begun = begun or not (prompt or kind is Kind.PAD)
        if t.pieces[i] and kind in (Kind.OVERVIEW, Kind.CROP, Kind.PAD):
            yield f"token {i} is {kind.name} but has text"
        if sampled and t.logprobs[i] is None and t.ids[i] != ABSENT:
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
        if look.valid and look.box is not None and (why := problem(look.box, (t.image.width, t.image.height))):
            yield f"look {i} is valid but its box {shown(look.box)} cannot be cut: {why}"
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


_TRAJECTORY = records.made(
    Trajectory, **{**records.readers(Trajectory, "images"), "images": records.row(records.sha256)}
)


def save(trajectory: Trajectory | list[Trajectory], folder: str | Path) -> Path:
    """Write one trajectory, or a list, and the images carried.

    Everything is checked before anything is written, and each file appears whole or not at all.

    Returns
    -------
    Path
        ``folder/trajectory.json``, for a list ``folder/trajectories.jsonl``; images are in ``folder/images``.

    Raises
    ------
    R3labError
        If a trajectory contradicts itself, an image has another hash than it is filed under, or the disk
        refuses.
    """
    many, folder = isinstance(trajectory, list), Path(folder)
    lines, images = [], {}
    for t in trajectory if isinstance(trajectory, list) else [trajectory]:
        record = {"format": FORMAT, "version": VERSION, **plain(t)}
        built = from_record(record, f"Trajectory {shown(t.sample_id)}")
        t.check()
        kept = {**record, **plain(built), "images": record["images"], "arm": arm_record(t.arm)}
        lines.append(json.dumps(kept, allow_nan=False) + "\n")
        images.update(t.images)
    for name, image in images.items():
        if content_hash(image) != name:
            raise R3labError(f"The image filed under {shown(name)} has other pixels; file it under content_hash.")
    for name, image in images.items():
        write_whole(folder / "images" / f"{name}.png", to_png_bytes(image))
    return write_whole(folder / (MANY if many else ONE), "".join(lines).encode("ascii"))


def load(path: str | Path) -> Trajectory | list[Trajectory]:
    """Read what `save` wrote: a list from a ``.jsonl`` file, else one trajectory.

    Parameters
    ----------
    path
        The file, or a folder that holds exactly one of ``trajectory.json`` and ``trajectories.jsonl``.

    Raises
    ------
    R3labError
        Naming file, line and field, if the file is missing, is no trajectory or another version, contradicts
        itself, or an image is missing or has other pixels than its name says.
    """
    path = Path(path)
    if path.is_dir():
        held = [path / name for name in (ONE, MANY) if (path / name).is_file()]
        if len(held) != 1:
            raise R3labError(f"{shown(path)} holds {len(held)} of {ONE} and {MANY}; name one file.")
        path = held[0]
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise R3labError(f"Cannot read {shown(path)}: {shown(str(error))}; name a saved file.") from error
    seen: dict[str, Image.Image] = {}
    if path.suffix != ".jsonl":
        return from_record(records.parse(text, path.name), path.name, path.parent, seen)
    lines = ((f"{path.name} line {number}", line) for number, line in enumerate(text.split("\n"), 1) if line.strip())
    return [from_record(records.parse(line, where), where, path.parent, seen) for where, line in lines]


def from_record(
    record: Any, where: str, folder: Path | None = None, seen: dict[str, Image.Image] | None = None
) -> Trajectory:
    """A trajectory from its JSON record, for who reads a file line by line.

    Parameters
    ----------
    record
        Plain data.
    where
        Begins the message of an error.
    folder
        Its images are read from ``folder/images``; None: it carries none.
    seen
        Images that were read before, by hash; what is read now is added.

    Raises
    ------
    R3labError
        As of `load`.
    """
    own = records.own_format(record, FORMAT, VERSION, where)
    once = {"arm": INTERLEAVED.name, "forced": "", "credit": []}  # when there was no other, and it was not named
    trajectory: Trajectory = _TRAJECTORY({**once, **own}, where)
    names, trajectory.images = list(trajectory.images), {}
    if folder is not None:
        seen = {} if seen is None else seen
        for name in names:
            seen[name] = seen[name] if name in seen else _load_image(folder / "images" / f"{name}.png")
            trajectory.images[name] = seen[name]
    trajectory.check()
    return trajectory


def _load_image(path: Path) -> Image.Image:
    image = open_image(path)
    if content_hash(image) != path.stem:
        raise R3labError(f"Image {path.name} has other pixels than when it was saved; restore or save it again.")
    return image
