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

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Annotated, Any

from PIL import Image

from ..core import records
from ..core.arms import get_arm
from ..core.errors import R3labError, shown
from ..core.files import write_whole
from ..core.geometry import Box, as_box
from ..core.images import content_hash, open_image, to_png_bytes
from ..trajectory import ImageRef, Trajectory, plain
from ..vlir.worlds import drawn
from .log import JsonlLog, read_log
from .rewards import deciding_iou, right

if TYPE_CHECKING:  # a river is read without torch
    from ..models.policy import Policy
    from .settings import RgrpoSettings
    from .update import Alone

FORMAT, VERSION, LINES = "r3lab.river", 1, "river.jsonl"
COUNT, SPLIT, FOLDER = 6, "validation", "river"  # of the samples that a run is followed on


def between(low: float, high: float, kind: records.Read) -> records.Read:
    """A number of that kind within bounds, so that it can be drawn."""

    def read(value: Any, where: str) -> Any:
        found = kind(value, where)
        if not low <= found <= high:
            raise records.SchemaError(f"{where} must be from {low:g} to {high:g}, got {shown(value)}.")
        return found

    return read


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
    refused: Annotated[int, between(0, 1e6, records.count)]
    iou: Annotated[float, between(0, 1, records.number)] | None
    entropy: Annotated[float, between(0, 1e6, records.number)] | None
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
        counts = [len(row) for row in self.answers]
        if not self.subjects or not self.steps or counts != [len(self.subjects)] * len(self.steps):
            raise R3labError(
                f"A river has an answer to each of its samples at each of its steps, at least one; got "
                f"{len(self.subjects)} samples, {len(self.steps)} steps, answers {shown(counts)}."
            )
        if any(a >= b for a, b in zip(self.steps, self.steps[1:], strict=False)):
            raise R3labError(f"The steps of a river rise; got {shown(list(self.steps))}.")

    def means(self, measure: str) -> list[float | None]:
        """A measure over the steps, (S): "look rate", "IoU", "entropy" or "right answers"; None where there is none."""
        if measure not in MEASURES:
            raise R3labError(f"A river has no {shown(measure)}; there is {', '.join(MEASURES)}.")
        found = []
        for row in self.answers:
            values = [value for answer in row if (value := MEASURES[measure](answer)) is not None]
            found.append(fmean(values) if values else None)
        return found


MEASURES: dict[str, Callable[[Answered], float | None]] = {
    "look rate": lambda a: float(bool(a.looks)),
    "IoU": lambda a: a.iou,
    "entropy": lambda a: a.entropy,
    "right answers": lambda a: None if a.right is None else float(a.right),
}


def subject_of(t: Trajectory) -> Subject:
    """The sample of a trajectory; of its regions, which are free JSON, those that are boxes."""
    regions = tuple(box for value in t.truth.get("regions") or () if (box := as_box(value)) is not None)
    return Subject(t.sample_id, t.question, t.image, regions)


def answered(t: Trajectory) -> Answered:
    """What a river keeps of a trajectory."""
    entropies = [e for e in t.entropies if e is not None]
    return Answered(
        looks=tuple(look.box for look in t.looks if look.valid and look.box is not None),
        refused=sum(not look.valid for look in t.looks),
        iou=deciding_iou(t),
        entropy=fmean(entropies) if entropies else None,
        answer=t.answer,
        right=right(t) if t.truth.get("answer") is not None else None,
    )


def river_of(rollouts: Mapping[int, Sequence[Trajectory]]) -> River:
    """A river from rollouts of the same samples by step.

    Raises
    ------
    R3labError
        If the samples are not the same at every step.
    """
    steps = sorted(rollouts)
    subjects = [tuple(map(subject_of, rollouts[step])) for step in steps]
    if len(set(subjects)) != 1:
        raise R3labError(f"Not the same samples at each of the {len(steps)} steps; give the same, in order.")
    images = {h: i for t in rollouts[steps[0]] for h, i in t.images.items() if h == t.image.hash}
    return River(subjects[0], tuple(steps), tuple(tuple(map(answered, rollouts[step])) for step in steps), images)


# -- on disk ---------------------------------------------------------------------------------------------------------


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
        self.log, self.images = JsonlLog(Path(folder) / LINES, start), Path(folder) / "images"

    def __call__(self, step: int, trajectories: Sequence[Trajectory]) -> None:
        """Keep the answers of a step.

        Raises
        ------
        R3labError
            If these are not the samples of the steps before.
        """
        subjects = plain([subject_of(t) for t in trajectories])
        if not self.log.rows:
            for t in trajectories:
                if t.image.hash in t.images:
                    write_whole(self.images / f"{t.image.hash}.png", to_png_bytes(t.images[t.image.hash]))
            self.log({"format": FORMAT, "version": VERSION, "subjects": subjects})
        if subjects != self.log.rows[0]["subjects"]:
            raise R3labError(f"Step {step} answers other samples than the steps before; give the same, in order.")
        self.log({"step": step, "answers": plain([answered(t) for t in trajectories])})


_row = records.made(dict, step=between(0, 1e12, records.count), answers=records.reader(tuple[Answered, ...]))
_side = between(1, 1_000_000, records.count)


def load_river(folder: str | Path) -> River:
    """Read what `RiverLog` wrote; a last line that was cut off by a kill is left out.

    Raises
    ------
    R3labError
        Naming line and field, if the file is missing, is no river or another version, or contradicts itself; or if a
        photograph has other pixels than its name says. Photographs that are not there are none.
    """
    path = Path(folder) if Path(folder).is_file() else Path(folder) / LINES
    head, *lines = read_log(path) or [{}]
    head, first = records.own_format(head, FORMAT, VERSION, path.name), f"{path.name} line 1"
    subjects = records.fields(head, {"subjects": records.reader(list[Subject])}, where=first)["subjects"]
    rows = [_row(line, f"{path.name} line {number}") for number, line in enumerate(lines, 2)]
    images = {}
    for ref in (subject.image for subject in subjects):
        for side in (ref.width, ref.height):
            _side(side, f"{first}: the side of an image")
        held = path.parent / "images" / f"{ref.hash}.png"
        if held.is_file():
            images[ref.hash] = open_image(held)
            if content_hash(images[ref.hash]) != ref.hash:
                raise R3labError(f"Image {held.name} has other pixels than when it was saved; restore it.")
    return River(tuple(subjects), tuple(row["step"] for row in rows), tuple(row["answers"] for row in rows), images)


# -- while a policy is trained ---------------------------------------------------------------------------------------


def follower(policy: Policy, settings: RgrpoSettings, processes: Alone, start: int = 0) -> Callable[[int], None]:
    """What is to be called before training and after each step.

    Parameters
    ----------
    policy : it is asked greedily; nothing random is drawn, so a run that is followed does what it would have done
    settings : a run without `show_every` is not followed, nor is one that learns from a folder
    processes : the main one asks and writes; where the weights lie in parts (`shard`) all of them ask
    start : step from which the run goes on; what an earlier part wrote beyond it is dropped
    """
    from ..rollout.loop import rollout  # torch

    if settings.data or not settings.show_every or not (processes.main or settings.shard):
        return lambda step: None
    samples = list(drawn(settings.world, SPLIT, settings.seed, range(COUNT)))
    log = RiverLog(Path(settings.out) / FOLDER, start) if processes.main else None

    def follow(step: int) -> None:
        if step % settings.show_every == 0:
            most, arm = settings.max_new_tokens, get_arm(settings.arm)
            answers = rollout(
                policy, samples, temperature=0, max_looks=settings.max_looks, max_new_tokens=most, arm=arm
            )
            if log is not None:
                log(step, answers)

    return follow
