"""An evaluation: every arm answers the questions of every source, and each answer is in a journal once it is graded.

    with Journal("runs/eval/records/journal.jsonl", {"model": "tiny"}) as journal:
        places = evaluate(policy, sources, arms, journal, Settings(batch=32))     # again after a kill: it goes on
    found = collected(journal, places)                                            # {("badges", "direct"): [entry, ...]}

An entry of the journal is known by everything that the answer depends on: the arm's setting, the question, its image.
One that is there is never asked for again. The arms answer a batch one after the other, so that an interrupted run has
got equally far in all of them, and an overview is encoded once for all. Simplified: a kill loses the batch in progress.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from PIL import Image
from tqdm import tqdm

from ..core.arms import Arm
from ..core.errors import R3labError
from ..core.files import Journal
from ..core.images import content_hash
from ..models.policy import Features, Policy
from ..rollout.loop import rollout
from ..rollout.sequence import refusal
from ..train.measure import facts
from ..train.rewards import same_answer
from ..train.run import finish_step
from ..trajectory import Trajectory, save
from .benchmarks import Benchmark
from .formats import BenchmarkError, Record
from .grades import Grade, Measure, units

# Where an evaluation's questions come from: the local copy of a benchmark, or a world. Each knows how it is scored.
#
#     source = BenchmarkSource(get_benchmark("vstar"), "vstar/test.jsonl", limit=100)
#     source = WorldSource(get_world("badges"), "test", count=500)
#     [measure.name for measure in source.measures(entries)]            # of the entries that `run.evaluate` wrote
#
# Simplified: the loop looks at one image. Several images of a record are laid on one sheet, side by side; a question
# without an image cannot be asked, is left out, and is counted.

if TYPE_CHECKING:
    from ..vlir.worlds import World

Entry = Mapping[str, Any]  # what is written down of an answer; see `run`
GRADED, SKIPPED = "graded", "skipped"  # what became of a question

# What a reader of the numbers must know of a benchmark's score here; the scorers' modules say more.
REMARKS = {
    "mathvista": "Its authors have a large model extract the answer from free text; here the answer's mark does that.",
    "mathvision": "Two expressions are equal where r3lab's own arithmetic says so, not a computer algebra system.",
    "hallusionbench": "Its questions without a figure cannot be asked: the loop looks at an image. They are left out.",
    "mmvp": "The truths of four questions are disputed; the file's are kept.",
}


@dataclass(frozen=True)
class Item:
    """A question of a source; where it has an image, it is a `sequence.Question`.

    Attributes
    ----------
    id : unique within the source
    truth : what a trajectory keeps of it
    images : none, one or several
    grade : of an answer as the loop read it, None if there is none
    """

    id: str
    question: str
    truth: dict[str, Any]
    images: tuple[Image.Image, ...] = field(compare=False, repr=False)
    grade: Callable[[str | None], Grade] = field(compare=False, repr=False)

    @property
    def image(self) -> Image.Image:
        """The image, or all of them on one sheet."""
        from .legibility import sheet  # torch: seconds, which a table need not wait for

        return sheet(self.images)


class Source(Protocol):
    """What an evaluation needs of a source.

    Attributes
    ----------
    name, title : short, for folders and tables; in print
    count : questions, None where that shows at the end
    left_out : records that could not be read so far
    problems : what was wrong with the first of those
    remarks : what a reader of its numbers must know
    """

    name: str
    title: str

    @property
    def count(self) -> int | None: ...
    @property
    def left_out(self) -> int: ...
    @property
    def problems(self) -> Sequence[str]: ...
    @property
    def remarks(self) -> tuple[str, ...]: ...
    def __iter__(self) -> Iterator[Item]: ...
    def measures(self, entries: Sequence[Entry]) -> list[Measure]:
        """The source's numbers, from the entries of graded answers."""


class BenchmarkSource:
    """The first `limit` questions of a benchmark's local copy, or all; read once.

    Parameters
    ----------
    benchmark, path, images : see `Benchmark.read` (`images` is its `root`)
    limit : most questions

    Raises
    ------
    BenchmarkError
        If there is no such file, or nothing in it fits the benchmark.
    """

    def __init__(
        self, benchmark: Benchmark, path: str | Path, limit: int | None = None, images: str | Path | None = None
    ) -> None:
        self.benchmark, self.limit = benchmark, limit
        self.name, self.title, self.count = benchmark.name, benchmark.title, None
        self.reading = benchmark.read(path, root=images)
        self._records = islice(self.reading, limit)
        self._first = next(self._records, None)  # a file of something else is found out before anything else is done
        if self._first is None:
            raise BenchmarkError(
                f"None of the {self.reading.skipped:,} records fits {benchmark.title}; the first: "
                f"{self.reading.problems[0]}"
            )

    def __iter__(self) -> Iterator[Item]:
        assert self._first is not None
        yield self._item(self._first)
        yield from map(self._item, self._records)

    def _item(self, record: Record) -> Item:
        def grade(answer: str | None) -> Grade:
            return self.benchmark.grade_answer(record, answer)

        return Item(record.id, record.question, {"answer": record.answer}, record.images, grade)

    @property
    def left_out(self) -> int:
        """Records that do not fit the benchmark, so far."""
        return self.reading.skipped

    @property
    def problems(self) -> Sequence[str]:
        """What was wrong with the first of those."""
        return self.reading.problems

    @property
    def remarks(self) -> tuple[str, ...]:
        """Where the data are from, and where the numbers are not the benchmark's own."""
        said = [f"{self.title}: {self.benchmark.source}."]
        said += [REMARKS[self.name]] if self.name in REMARKS else []
        if self.limit is not None:
            said.append(f"{self.title}: at most the first {self.limit:,} questions, so not the benchmark's own number.")
        return tuple(said)

    def measures(self, entries: Sequence[Entry]) -> list[Measure]:
        """The benchmark's numbers, the one that papers report first."""
        return self.benchmark.measures([Grade(e["id"], e["score"], e["groups"]) for e in entries])


class WorldSource:
    """The first `count` samples of a world's split; measures have the names of `train.measure.summary`."""

    left_out = 0
    problems: Sequence[str] = ()
    remarks: tuple[str, ...] = ()

    def __init__(self, world: World, split: str, count: int, seed: int = 0) -> None:
        self.world, self.split, self.seed = world, split, seed
        self.name, self.title, self.count = world.name, f"{world.name}, {split} split", count

    def __iter__(self) -> Iterator[Item]:
        return map(self._item, range(self.count))

    def _item(self, index: int) -> Item:
        sample = self.world.sample(self.split, index, self.seed)

        def grade(answer: str | None) -> Grade:
            return Grade(sample.id, float(same_answer(answer, sample.answer)))

        return Item(sample.id, sample.question, sample.truth, (sample.image,), grade)

    def measures(self, entries: Sequence[Entry]) -> list[Measure]:
        """Right answers, of all and where a look is needed; IoU of the deciding look; who looks, needed and not."""
        needed = [e for e in entries if e["needs_look"]]
        free = [e for e in entries if e["needs_look"] is False]

        def measure(name: str, of: Sequence[Entry], value: Callable[[Entry], float]) -> Measure:
            return Measure(name, (units(Grade(e["id"], value(e)) for e in of),))

        return [
            measure("exact", entries, lambda e: e["score"]),
            measure("exact_needed", needed, lambda e: e["score"]),
            measure("iou", [e for e in needed if e["iou"] is not None], lambda e: e["iou"]),
            measure("look_rate_needed", needed, lambda e: float(e["valid"] > 0)),
            measure("look_rate_unneeded", free, lambda e: float(e["valid"] > 0)),
        ]


NO_IMAGE, NOT_ASKED = "no image", "cannot be asked of this policy"  # why a question is skipped
KEPT_TEXT = 4000  # characters of the question, and of what was written, that an entry keeps
KEPT_FACTS = ("needs_look", "iou", "looks", "valid", "tokens")


@dataclass(frozen=True)
class Settings:
    """How the questions are asked.

    Attributes
    ----------
    batch : questions that are answered together
    temperature : 0 is greedy
    seed : of the sampling
    max_looks, max_new_tokens : of a trajectory; an arm may allow fewer looks
    keep : of so many questions, the first of each source, the trajectories are saved
    """

    batch: int = 32
    temperature: float = 0.0
    seed: int = 0
    max_looks: int = 8
    max_new_tokens: int = 512
    keep: int = 0


class Trained(NamedTuple):
    """An arm's own policy, and what it is known by (`fingerprint`)."""

    policy: Policy
    known_as: str


class Place(NamedTuple):
    """Where an answer's entry is."""

    source: str
    arm: str
    key: str


@dataclass(frozen=True)
class Asking:
    """A question of a batch: its number in the source, and the key of its entry."""

    number: int
    item: Item
    key: str


def evaluate(
    policy: Policy | Mapping[str, Trained],
    sources: Sequence[Source],
    arms: Sequence[Arm],
    journal: Journal,
    settings: Settings,
    progress: bool | None = False,
) -> list[Place]:
    """Have every question answered by every arm that the journal has no entry of.

    Parameters
    ----------
    policy
        One for all arms, which the journal is of; or one for each, by the arm's name.
    sources, arms
        Each name once.
    journal
        Its folder's parent gets the trajectories that are kept: `trajectories/ARM/SOURCE-NUMBER`.
    progress
        Draw a bar; None where the output is a terminal.

    Returns
    -------
    list of Place
        Of all questions, those that were settled before as well.

    Raises
    ------
    R3labError
        If a source is broken or a trajectory cannot be saved; what was answered before is in the journal.
    KeyboardInterrupt
        After Ctrl-C, when the batch in progress is in the journal; a second one drops that batch.
    """
    places: list[Place] = []
    counts = [source.count for source in sources]
    total = None if None in counts else sum(n for n in counts if n is not None) * len(arms)
    off = None if progress is None else not progress
    out = journal.path.parent.parent
    with finish_step() as stop, tqdm(total=total, desc="eval", unit=" answers", disable=off, mininterval=1) as bar:
        for source in sources:
            for batch in _batches(source, settings.batch):
                shared: dict[str, Features] = {}
                for arm in arms:
                    if isinstance(policy, Policy):
                        own, known_as, features = policy, "", shared
                    else:
                        (own, known_as), features = policy[arm.name], {}
                    asked = [Asking(number, item, _key(base, arm, known_as)) for number, item, base in batch]
                    places += [Place(source.name, arm.name, one.key) for one in asked]
                    new = [one for one in asked if one.key not in journal]
                    head = {"source": source.name, "arm": arm.name}
                    able = list(_able(own, new, journal, head))
                    for one, t in zip(able, _answered(own, able, arm, settings, features), strict=True):
                        if one.number < settings.keep:
                            save(t, kept_in(out, source.name, arm.name, one.number))
                        journal.append(one.key, {**head, **_entry(one, t)})
                    bar.update(len(asked))
                    if stop.asked:
                        raise KeyboardInterrupt
    return places


def kept_in(out: Path, source: str, arm: str, number: int) -> Path:
    """The folder of a trajectory that is kept."""
    return out / "trajectories" / arm / f"{source}-{number:05d}"


def _batches(source: Source, size: int) -> Iterator[list[tuple[int, Item, str]]]:
    """Questions with their numbers and what they are known by, `size` at a time."""
    batch: list[tuple[int, Item, str]] = []
    for number, item in enumerate(source):
        hashes = [content_hash(image) for image in item.images]
        batch.append((number, item, json.dumps([source.name, item.id, hashes, item.question, item.truth])))
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def _key(base: str, arm: Arm, known_as: str) -> str:
    """What a journal knows an answer by; an arm that has come to mean something else is another, and so is an arm's own
    policy, known as that, of other weights."""
    told = [asdict(replace(arm, about="")), base, *([known_as] if known_as else [])]
    return hashlib.sha256(json.dumps(told).encode("ascii")).hexdigest()[:32]


def _able(policy: Policy, asked: Iterable[Asking], journal: Journal, head: dict[str, Any]) -> Iterator[Asking]:
    """The questions that the policy can be asked; of the others the journal says why not."""
    for one in asked:
        item, why = one.item, (NO_IMAGE, "")
        if item.images:
            detail = refusal(policy, item.question, item.image.size)
            if not detail:
                yield one
                continue
            why = (NOT_ASKED, detail)
        journal.append(
            one.key,
            {
                **head,
                "id": item.id,
                "number": one.number,
                "question": item.question[:KEPT_TEXT],
                "outcome": SKIPPED,
                "reason": why[0],
                "detail": why[1],
            },
        )


def _answered(
    policy: Policy, asked: Sequence[Asking], arm: Arm, settings: Settings, features: dict[str, Features]
) -> list[Trajectory]:
    return rollout(
        policy,
        [one.item for one in asked],
        temperature=settings.temperature,
        seed=settings.seed,
        max_looks=settings.max_looks,
        max_new_tokens=settings.max_new_tokens,
        features=features,
        numbers=[one.number for one in asked],
        arm=arm,
    )


def _entry(one: Asking, t: Trajectory) -> dict[str, Any]:
    """What is kept of a graded answer, as JSON."""
    grade, found = one.item.grade(t.answer), facts(t)
    return {
        "id": one.item.id,
        "number": one.number,
        "question": one.item.question[:KEPT_TEXT],
        "outcome": GRADED,
        "score": grade.score,
        "groups": grade.groups,
        "answer": t.answer,
        "truth": one.item.truth["answer"],
        "finish": t.finish,
        **{name: found[name] for name in KEPT_FACTS},
        "text": t.response_text[:KEPT_TEXT],
    }


def collected(journal: Journal, places: Sequence[Place]) -> dict[tuple[str, str], list[Entry]]:
    """The entries by source and arm, in the order of the questions, without their text and what was written."""
    wanted = {place.key for place in places}
    written = ("question", "text")
    lines = {
        line["key"]: {k: v for k, v in line.items() if k not in written} for line in journal if line["key"] in wanted
    }
    found: dict[tuple[str, str], list[Entry]] = {(place.source, place.arm): [] for place in places}
    for place in places:
        found[place.source, place.arm].append(lines[place.key])
    return found


def fingerprint(folder: Path) -> str:
    """A checkpoint by name and content: its files' names and sizes, and the first and last megabyte of each.

    Raises
    ------
    R3labError
        If there is no such folder, or it holds no weights.
    """
    files = sorted(path for path in folder.glob("*") if path.suffix in (".json", ".safetensors") and path.is_file())
    if not any(path.suffix == ".safetensors" for path in files):
        raise R3labError(f"There are no *.safetensors weights in {folder}; give the folder of a checkpoint.")
    found = hashlib.sha256()
    for path in files:
        size = path.stat().st_size
        found.update(f"{path.name} {size}\n".encode())
        with path.open("rb") as file:
            found.update(file.read(1 << 20))
            file.seek(max(0, size - (1 << 20)))
            found.update(file.read())
    return f"{folder.resolve().name} {found.hexdigest()[:16]}"
