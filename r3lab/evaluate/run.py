"""An evaluation: every arm answers the questions of every source, and each answer is in a journal once it is graded.

    source = BenchmarkSource(get_benchmark("vstar"), "vstar/test.jsonl", limit=100)
    source = WorldSource(get_world("badges"), "test", count=500)
    with Journal("runs/eval/records/journal.jsonl", {"model": "tiny"}) as journal:
        answers = evaluate({"direct": Trained(policy, "")}, [source], [get_arm("direct")], journal, Settings())
    found = collect(journal, answers)        # {("badges", "direct"): [entry, ...]}; again after a kill: it goes on
    [measure.name for measure in source.measures(found["badges", "direct"])]

An entry of the journal is known by everything that the answer depends on: the arm's setting, the question, its image.
One that is there is never asked for again. The arms answer a batch one after the other, so that an interrupted run has
got equally far in all of them, and an overview is encoded once for all. Simplified: a kill loses the batch in progress;
the loop looks at one image, so several images of a record are laid on one sheet, side by side, and a question without
an image is left out and counted.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from PIL import Image
from tqdm import tqdm

from ..core.arms import Arm
from ..core.errors import R3labError
from ..core.files import Journal
from ..core.images import content_hash
from ..core.protocol import same_answer
from ..models.policy import Features, Policy, refusal
from ..rollout.loop import rollout
from ..train.measure import facts
from ..train.run import finish_step
from ..trajectory import save
from .benchmarks import Benchmark
from .formats import BenchmarkError, Record
from .grades import Grade, Measure, units
from .legibility import sheet

if TYPE_CHECKING:
    from ..vlir.worlds import World

Entry = Mapping[str, Any]  # what is written down of an answer; see `evaluate`
GRADED, SKIPPED = "graded", "skipped"  # what became of a question
NO_IMAGE, NOT_ASKED = "no image", "cannot be asked of this policy"  # why a question is skipped
KEPT_TEXT = 4000  # characters of the question, and of what was written, that an entry keeps
KEPT_FACTS = ("needs_look", "iou", "looks", "valid", "tokens")
# What a reader of the numbers must know of a benchmark's score here; the scorers' docstrings say more.
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
        return sheet(self.images)


class Source:
    """Where questions come from, and how their answers are scored.

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
    count: int | None = None
    left_out = 0
    problems: Sequence[str] = ()
    remarks: tuple[str, ...] = ()

    def __iter__(self) -> Iterator[Item]:
        raise NotImplementedError

    def measures(self, entries: Sequence[Entry]) -> list[Measure]:
        """The source's numbers, from the entries of graded answers."""
        raise NotImplementedError


class BenchmarkSource(Source):
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
        self.benchmark, self.name, self.title = benchmark, benchmark.name, benchmark.title
        self.reader = benchmark.read(path, root=images)
        self.problems = self.reader.problems
        self.remarks = (f"{self.title}: {benchmark.source}.",)
        if self.name in REMARKS:
            self.remarks += (REMARKS[self.name],)
        if limit is not None:
            said = f"{self.title}: at most the first {limit:,} questions, so not the benchmark's own number."
            self.remarks += (said,)
        self._records = islice(self.reader, limit)
        self._first = next(self._records, None)  # a file of something else is found out before anything else is done
        if self._first is None:
            raise BenchmarkError(
                f"None of the {self.reader.skipped:,} records fits {benchmark.title}; the first: {self.problems[0]}"
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
    def left_out(self) -> int:  # type: ignore[override]
        """Records that do not fit the benchmark, so far."""
        return self.reader.skipped

    def measures(self, entries: Sequence[Entry]) -> list[Measure]:
        """The benchmark's numbers, the one that papers report first."""
        return self.benchmark.measures([Grade(e["id"], e["score"], e["groups"]) for e in entries])


class WorldSource(Source):
    """The first `count` samples of a world's split; measures have the names of `train.measure.summary`."""

    def __init__(self, world: World, split: str, count: int, seed: int = 0) -> None:
        self.world, self.split, self.seed, self.samples = world, split, seed, count
        self.name, self.title, self.count = world.name, f"{world.name}, {split} split", count

    def __iter__(self) -> Iterator[Item]:
        return map(self._item, range(self.samples))

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
    """An arm's policy, and what it is known by: its `fingerprint`, or "" for one that all arms share."""

    policy: Policy
    known_as: str


class Place(NamedTuple):
    """Where an answer's entry is."""

    source: str
    arm: str
    key: str


def evaluate(
    policies: Mapping[str, Trained],
    sources: Sequence[Source],
    arms: Sequence[Arm],
    journal: Journal,
    settings: Settings,
    progress: bool | None = False,
) -> list[Place]:
    """Have every question answered by every arm that the journal has no entry of.

    Parameters
    ----------
    policies
        By the arm's name; what one is known by is "" where the journal is of one policy for all arms.
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
    answers: list[Place] = []
    counts = [source.count for source in sources]
    total = None if None in counts else sum(n for n in counts if n is not None) * len(arms)
    off = None if progress is None else not progress
    with finish_step() as stop, tqdm(total=total, desc="eval", unit=" answers", disable=off, mininterval=1) as bar:
        for source in sources:
            numbered = enumerate(source)
            while batch := list(islice(numbered, settings.batch)):
                questions = [_question(source, item) for _, item in batch]
                shared: dict[str, Features] = {}
                for arm in arms:
                    own, known_as = policies[arm.name]
                    keys = [_key(question, arm, known_as) for question in questions]
                    answers += [Place(source.name, arm.name, key) for key in keys]
                    new = [(key, n, item) for key, (n, item) in zip(keys, batch, strict=True) if key not in journal]
                    _answer(own, source, arm, new, journal, settings, {} if known_as else shared)
                    bar.update(len(batch))
                    if stop.asked:
                        raise KeyboardInterrupt
    return answers


def kept_in(out: Path, source: str, arm: str, number: int) -> Path:
    """The folder of a trajectory that is kept."""
    return out / "trajectories" / arm / f"{source}-{number:05d}"


def _question(source: Source, item: Item) -> str:
    """What a question is known by: its source, its images' pixels, its words and its truth."""
    hashes = [content_hash(image) for image in item.images]
    return json.dumps([source.name, item.id, hashes, item.question, item.truth])


def _key(question: str, arm: Arm, known_as: str) -> str:
    """What a journal knows an answer by; an arm that has come to mean something else is another, and so is an arm's own
    policy, known as that, of other weights."""
    told = [asdict(replace(arm, about="")), question, *([known_as] if known_as else [])]
    return hashlib.sha256(json.dumps(told).encode("ascii")).hexdigest()[:32]


def _answer(
    policy: Policy,
    source: Source,
    arm: Arm,
    asked: Sequence[tuple[str, int, Item]],
    journal: Journal,
    settings: Settings,
    features: dict[str, Features],
) -> None:
    """Answer questions (key, number in the source, item); an entry each, also of those that cannot be asked."""
    able, heads = [], {}
    for key, number, item in asked:
        question = item.question[:KEPT_TEXT]
        head = {"source": source.name, "arm": arm.name, "id": item.id, "number": number, "question": question}
        why = refusal(policy, item.question, item.image.size) if item.images else NO_IMAGE
        if why:
            reason, detail = (NOT_ASKED, why) if item.images else (NO_IMAGE, "")
            journal.append(key, {**head, "outcome": SKIPPED, "reason": reason, "detail": detail})
        else:
            able.append((key, number, item))
            heads[key] = head
    found = rollout(
        policy,
        [item for _, _, item in able],
        temperature=settings.temperature,
        seed=settings.seed,
        max_looks=settings.max_looks,
        max_new_tokens=settings.max_new_tokens,
        features=features,
        numbers=[number for _, number, _ in able],
        arm=arm,
    )
    for (key, number, item), t in zip(able, found, strict=True):
        if number < settings.keep:
            save(t, kept_in(journal.path.parent.parent, source.name, arm.name, number))
        grade, counted = item.grade(t.answer), facts(t)
        entry = {
            "outcome": GRADED,
            "score": grade.score,
            "groups": grade.groups,
            "answer": t.answer,
            "truth": item.truth["answer"],
            "finish": t.finish,
            **{name: counted[name] for name in KEPT_FACTS},
            "text": t.response_text[:KEPT_TEXT],
        }
        journal.append(key, heads[key] | entry)


def collect(journal: Journal, answers: Sequence[Place]) -> dict[tuple[str, str], list[Entry]]:
    """The entries by source and arm, in the order of the questions, without their text and what was written."""
    wanted = {place.key for place in answers}
    written = ("question", "text")
    lines = {
        line["key"]: {k: v for k, v in line.items() if k not in written} for line in journal if line["key"] in wanted
    }
    found: dict[tuple[str, str], list[Entry]] = {(place.source, place.arm): [] for place in answers}
    for place in answers:
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
