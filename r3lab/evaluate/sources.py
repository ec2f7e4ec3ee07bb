"""Where an evaluation's questions come from: the local copy of a benchmark, or a world. Each knows how it is scored.

    source = BenchmarkSource(get_benchmark("vstar"), "vstar/test.jsonl", limit=100)
    source = WorldSource(get_world("badges"), "test", count=500)
    [measure.name for measure in source.measures(entries)]            # of the entries that `run.evaluate` wrote

Simplified: the loop looks at one image. Several images of a record are laid on one sheet, side by side; a question
without an image cannot be asked, is left out, and is counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from PIL import Image

from ..train.rewards import same_answer
from .benchmarks import Benchmark
from .grades import Grade, Measure, units
from .record import BenchmarkError, Record

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
        from ..judges import sheet  # torch: seconds, which a table need not wait for

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
