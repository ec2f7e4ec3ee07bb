"""The same held-out samples, asked again and again while a policy is trained: what the region river is drawn from.

With `--show-every N` a run keeps, beside rollouts of its own samples, where the policy looks at six samples of the
world's validation split: before training and every N steps, greedily, in `OUT/river`; a line a step in `river.jsonl`,
each photograph once in `images/`. Reading is strict: what is missing, of another kind or out of bounds is an error that
names its line; a last line that a kill cut off is left out. Simplified: of the answers only the boxes and what came of
them are kept (`trajectory` keeps all); a run on a folder of samples (`--data`) has no held-out part and keeps none.

    follow = follower(policy, settings, processes, start=0)
    follow(0)                                        # every step; it acts on those that are due
    found = load_river("runs/rgrpo/river")
    found.steps, found.answers[0][0].looks, found.means("IoU")
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from PIL import Image

from ..core import records as schema
from ..core.arms import get_arm
from ..core.errors import R3labError, shown
from ..core.files import write_whole
from ..core.geometry import Box
from ..core.images import content_hash, open_image, to_png_bytes
from ..trajectory import ImageRef, Trajectory, plain
from ..vlir.sample import Sample
from ..vlir.worlds import get_world
from .rewards import deciding_iou, right

if TYPE_CHECKING:  # a river is read without torch
    from ..models.policy import Policy
    from .settings import RgrpoSettings
    from .update import Alone


class RiverError(R3labError):
    """A river that contradicts itself, or that cannot be read or written."""


@dataclass(frozen=True)
class Subject:
    """A sample that is asked again and again: its id, question, photograph, and true regions in source pixels."""

    id: str
    question: str
    image: ImageRef
    regions: tuple[Box, ...] = ()


@dataclass(frozen=True)
class Answered:
    """What a policy made of a sample at one step.

    Attributes
    ----------
    looks : granted boxes in order, source pixels
    refused : boxes that were not granted
    iou : of the deciding look with the true region; None where either is missing
    entropy : mean over the sampled tokens, nats
    answer : as given; None if there is none
    right : None where the truth is not known
    """

    looks: tuple[Box, ...]
    refused: int
    iou: float | None
    entropy: float | None
    answer: str | None
    right: bool | None


@dataclass(frozen=True)
class River:
    """Answers to the same samples over the steps of a run.

    Attributes
    ----------
    subjects : (N) the samples
    steps : (S) in order; 0 is before training
    answers : (S, N)
    images : photographs by content hash, those that are there
    """

    subjects: tuple[Subject, ...]
    steps: tuple[int, ...]
    answers: tuple[tuple[Answered, ...], ...]
    images: Mapping[str, Image.Image] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        n = len(self.subjects)
        if (
            not n
            or not self.steps
            or len(self.answers) != len(self.steps)
            or any(len(row) != n for row in self.answers)
        ):
            raise RiverError(
                f"A river has an answer to each of its samples at each of its steps, at least one; got {n} samples, "
                f"{len(self.steps)} steps, answers {shown([len(row) for row in self.answers])}."
            )
        if any(a >= b for a, b in zip(self.steps, self.steps[1:], strict=False)):
            raise RiverError(f"The steps of a river rise; got {shown(list(self.steps))}.")

    def means(self, measure: str) -> list[float | None]:
        """A measure over the steps, (S): "look rate", "IoU", "entropy" or "right answers"; None where there is none."""
        if measure not in MEASURES:
            raise R3labError(f"A river has no {shown(measure)}; there is {', '.join(MEASURES)}.")
        found = []
        for row in self.answers:
            values = [value for answer in row if (value := MEASURES[measure](answer)) is not None]
            found.append(fmean(values) if values else None)
        return found


MEASURES: dict[str, Any] = {
    "look rate": lambda a: float(bool(a.looks)),
    "IoU": lambda a: a.iou,
    "entropy": lambda a: a.entropy,
    "right answers": lambda a: None if a.right is None else float(a.right),
}


def subject_of(t: Trajectory) -> Subject:
    """The sample of a trajectory."""
    regions = t.truth.get("regions")
    boxes = (_as_box(value) for value in (regions if isinstance(regions, list | tuple) else ()))
    return Subject(t.sample_id, t.question, t.image, tuple(box for box in boxes if box is not None))


def _as_box(value: Any) -> Box | None:
    """Four finite numbers, or None: `truth` is free JSON."""
    try:
        x1, y1, x2, y2 = map(float, value)
    except (TypeError, ValueError):
        return None
    return (x1, y1, x2, y2) if all(map(math.isfinite, (x1, y1, x2, y2))) else None


def answered(t: Trajectory) -> Answered:
    """What a river keeps of a trajectory."""
    entropies = [e for e in t.entropies if e is not None]
    granted = tuple(look.box for look in t.looks if look.valid and look.box is not None)
    return Answered(
        looks=granted,
        refused=sum(not look.valid for look in t.looks),
        iou=deciding_iou(t),
        entropy=fmean(entropies) if entropies else None,
        answer=t.answer,
        right=right(t) if t.truth.get("answer") is not None else None,
    )


def river_of(rollouts: Mapping[int, Sequence[Trajectory]]) -> River:
    """A river from rollouts by step, one a sample; samples that are not there at every step are left out.

    Raises
    ------
    RiverError
        If no sample is there at every step.
    """
    steps = sorted(rollouts)
    by_step = {step: {t.sample_id: t for t in reversed(rollouts[step])} for step in steps}
    common = [name for name in dict.fromkeys(t.sample_id for s in steps for t in rollouts[s])]
    common = [name for name in common if all(name in by_step[step] for step in steps)]
    if not common:
        raise RiverError(f"No sample is answered at each of the {len(steps)} steps; roll out the same ones every time.")
    subjects = tuple(subject_of(by_step[steps[0]][name]) for name in common)
    answers = tuple(tuple(answered(by_step[step][name]) for name in common) for step in steps)
    images = {h: i for s in steps for t in rollouts[s] for h, i in t.images.items() if h == t.image.hash}
    return River(subjects, tuple(steps), answers, images)


# -- on disk ---------------------------------------------------------------------------------------------------------

FORMAT, VERSION, LINES = "r3lab.river", 1, "river.jsonl"
MOST_BYTES = 64_000_000  # of the file


class RiverLog:
    """Writes a river while a policy is trained; a run that goes on goes on with its river.

    Parameters
    ----------
    folder
        Made if it is not there.
    start
        Step from which this run goes on: later lines of an earlier part are dropped; 0 begins anew.
    """

    def __init__(self, folder: str | Path, start: int = 0) -> None:
        self.path = Path(folder) / LINES
        self._subjects: tuple[Subject, ...] = ()
        if start and self.path.is_file():
            self._subjects, rows = _read(self.path)
            kept = [_line(step, row) for step, row in rows if step <= start]
            write_whole(self.path, "".join([_head(self._subjects), *kept]).encode("ascii"))

    def __call__(self, step: int, trajectories: Sequence[Trajectory]) -> None:
        """Keep the answers of a step.

        Raises
        ------
        RiverError
            If these are not the samples of the steps before, or the disk refuses.
        """
        subjects = tuple(map(subject_of, trajectories))
        if self._subjects and subjects != self._subjects:
            raise RiverError(f"Step {step} answers other samples than the steps before; give the same, in order.")
        try:
            if not self._subjects:
                self._begin(subjects, trajectories)
            with self.path.open("a", encoding="ascii") as stream:
                stream.write(_line(step, tuple(map(answered, trajectories))))
        except (OSError, R3labError) as error:
            why = getattr(error, "strerror", None) or error
            raise RiverError(f"Cannot write {shown(str(self.path))}: {why}; free some space.") from error

    def _begin(self, subjects: tuple[Subject, ...], trajectories: Sequence[Trajectory]) -> None:
        for t in trajectories:
            if t.image.hash in t.images:
                write_whole(self.path.parent / "images" / f"{t.image.hash}.png", to_png_bytes(t.images[t.image.hash]))
        write_whole(self.path, _head(subjects).encode("ascii"))
        self._subjects = subjects


def _head(subjects: Sequence[Subject]) -> str:
    head = {"format": FORMAT, "version": VERSION, "subjects": plain(list(subjects))}
    return json.dumps(head, allow_nan=False) + "\n"


def _line(step: int, row: Sequence[Answered]) -> str:
    return json.dumps({"step": step, "answers": plain(list(row))}, allow_nan=False) + "\n"


def load_river(folder: str | Path) -> River:
    """Read what `RiverLog` or `save_river` wrote; a last line that was cut off by a kill is left out.

    Raises
    ------
    RiverError
        Naming line and field, if the file is missing, is no river or another version, or contradicts itself; or if a
        photograph has other pixels than its name says. Photographs that are not there are none.
    """
    path = Path(folder) if Path(folder).is_file() else Path(folder) / LINES
    subjects, rows = _read(path)
    images = {}
    for subject in subjects:
        held = path.parent / "images" / f"{subject.image.hash}.png"
        if held.is_file():
            image = open_image(held)
            if content_hash(image) != subject.image.hash:
                raise RiverError(f"Image {held.name} has other pixels than when it was saved; restore it.")
            images[subject.image.hash] = image
    return River(subjects, tuple(step for step, _ in rows), tuple(row for _, row in rows), images)


def _read(path: Path) -> tuple[tuple[Subject, ...], list[tuple[int, tuple[Answered, ...]]]]:
    """Samples, and steps with their answers, of a file."""
    try:
        if path.stat().st_size > MOST_BYTES:
            raise RiverError(f"{shown(str(path))} has over {MOST_BYTES:,} bytes; it is no river.")
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        if isinstance(error, RiverError):
            raise
        raise RiverError(f"Cannot read {shown(str(path))}: {shown(str(error))}; name a saved river.") from error
    lines = text.split("\n")[:-1]  # each ends with a newline; a last one without was cut off
    if not lines:
        raise RiverError(f"{shown(str(path))} is empty; name a saved river.")
    try:
        head = schema.parse(lines[0], f"{path.name} line 1")
        if not isinstance(head, dict) or head.get("format") != FORMAT:
            raise RiverError(f'{path.name} is not a river: it lacks "format": "{FORMAT}".')
        if head.get("version") != VERSION:
            raise RiverError(f"{path.name} has version {shown(head.get('version'))}; this r3lab reads {VERSION}.")
        subjects = _HEAD({"subjects": head.get("subjects")}, f"{path.name} line 1")["subjects"]
        places = [f"{path.name} line {number}" for number in range(2, len(lines) + 1)]
        rows = [_ROW(schema.parse(line, place), place) for line, place in zip(lines[1:], places, strict=True)]
    except schema.SchemaError as error:
        raise RiverError(str(error)) from error
    return tuple(subjects), rows


def _tuple(read: schema.Read) -> schema.Read:
    rows = schema.row(read)
    return lambda value, where: tuple(rows(value, where))


def _between(low: float, high: float, kind: schema.Read) -> schema.Read:
    """A number of that kind within bounds, so that it can be drawn."""

    def read(value: Any, where: str) -> Any:
        found = kind(value, where)
        if not low <= found <= high:
            raise schema.SchemaError(f"{where} must be from {low:g} to {high:g}, got {shown(value)}.")
        return found

    return read


_box = schema.fixed(schema.number, 4)
_side, _step = _between(1, 1_000_000, schema.count), _between(0, 1e12, schema.count)
_image = schema.made(ImageRef, hash=schema.sha256, width=_side, height=_side)
_subject = schema.made(Subject, id=schema.text, question=schema.text, image=_image, regions=_tuple(_box))
_answered = schema.made(
    Answered,
    looks=_tuple(_box),
    refused=_between(0, 1e6, schema.count),
    iou=schema.maybe(_between(0, 1, schema.number)),
    entropy=schema.maybe(_between(0, 1e6, schema.number)),
    answer=schema.maybe(schema.text),
    right=schema.maybe(schema.flag),
)
_HEAD = schema.made(dict, subjects=schema.row(_subject))
_ROW = schema.made(lambda step, answers: (step, answers), step=_step, answers=_tuple(_answered))


# -- while a policy is trained ---------------------------------------------------------------------------------------

COUNT, SPLIT, FOLDER = 6, "validation", "river"


def held_out(settings: RgrpoSettings) -> list[Sample]:
    """The samples that a run with these settings is followed on; none if it is not, or learns from a folder."""
    if settings.data or not settings.show_every:
        return []
    world = get_world(settings.world)
    return [world.sample(SPLIT, index, settings.seed) for index in range(COUNT)]


def follower(policy: Policy, settings: RgrpoSettings, processes: Alone, start: int = 0) -> Callable[[int], None]:
    """What is to be called before training and after each step.

    Parameters
    ----------
    policy : it is asked greedily; nothing random is drawn, so a run that is followed does what it would have done
    processes : the main one asks and writes; where the weights lie in parts (`shard`) all of them ask
    start : step from which the run goes on; what an earlier part wrote beyond it is dropped
    """
    from ..rollout.loop import rollout  # torch

    samples = held_out(settings)
    log = RiverLog(Path(settings.out) / FOLDER, start) if samples and processes.main else None

    def follow(step: int) -> None:
        if not samples or step % settings.show_every or not (processes.main or settings.shard):
            return
        most, arm = settings.max_new_tokens, get_arm(settings.arm)
        answers = rollout(policy, samples, temperature=0, max_looks=settings.max_looks, max_new_tokens=most, arm=arm)
        if log is not None:
            log(step, answers)

    return follow
