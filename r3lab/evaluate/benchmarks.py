"""The benchmarks by name: read local copies of their files, grade answers, and make the numbers their papers report.

benchmark = get_benchmark("mathvista")
reader = benchmark.read("MathVista/data")            # Parquet, JSON, JSONL, TSV, CSV, or a saved data set
grades = [benchmark.grade(record, model(record)) for record in reader]
reader.skipped, reader.problems                      # 0, []
[m.value for m in benchmark.measures(grades)]
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..core import rows as files
from ..core.errors import R3labError, nearest, shown
from ..core.images import MAX_PIXELS, open_image, picture
from ..core.protocol import answer_of, bare
from ..core.records import ForeignError, Row, fields
from ..core.rows import SPLITS, STATE
from . import grades
from .formats import FORMATS, BenchmarkError, Format, Record
from .grades import Grade, Measure
from .scores import anls, letter, mathvision_right, mathvista_right, prefix_match, yes_or_no

KEPT = 50  # problems whose words a reader keeps; all are counted
MAX_RECORD = 64 << 20  # bytes; a record of a TSV or JSON file may hold its image as base64
Score = Callable[[Record, str], float]  # of the content of <answer>, never empty


@dataclass
class BenchmarkReader:
    """Records of a file, one at a time and once, and what was wrong with the others.

    Attributes
    ----------
    read, skipped : records given and left out so far
    problems : file, line or row, and reason of those left out, the first 50
    """

    rows: Iterator[Row]
    format: Format
    root: Path
    strict: bool
    max_pixels: int = MAX_PIXELS
    read: int = 0
    skipped: int = 0
    problems: list[str] = field(default_factory=list)
    _seen: set[str] = field(default_factory=set, repr=False)

    def __iter__(self) -> Iterator[Record]:
        rows = iter(self.rows)
        while True:
            with _ours():
                row = next(rows, None)
            if row is None:
                break
            try:
                record = self._record(row)
            except R3labError as error:
                problem = f"{row.where}: {error}"
                if self.strict:
                    raise BenchmarkError(f"{problem} (strict: the first problem stops the reading)") from error
                self.skipped += 1
                if len(self.problems) < KEPT:
                    self.problems.append(problem)
                continue
            self.read += 1
            yield record
        if not self.read and not self.skipped:
            raise BenchmarkError(f"There are no records in {shown(str(self.root))}; name the benchmark's data file.")

    def _record(self, row: Row) -> Record:
        if row.problem is not None:
            raise row.problem
        raw = {self.format.aliases.get(name, name): value for name, value in row.data.items()}
        values = fields(raw, self.format.wanted, self.format.optional)
        record = self.format.build(values, self.read + self.skipped + 1, row.key)
        bare(record.question)
        if not all(answer.strip() for answer in record.answers):
            raise BenchmarkError("the answer is empty (those of test splits are not public); use another split")
        if record.id in self._seen:
            raise BenchmarkError(f"the question {shown(record.id)} was given before; keep one of the two")
        held = next((raw[name] for name in self.format.images if raw.get(name) not in (None, "")), None)
        source = self.format.place(values, row.key, held)
        if source is None and not self.format.textual:
            raise BenchmarkError(f"the image is missing; it is wanted in {' or '.join(self.format.images)}")
        if source is not None:
            image = open_image(picture(source, self.root, encoded=True), self.max_pixels)
            record = replace(record, images=(image,))
        self._seen.add(record.id)
        return record


@dataclass(frozen=True)
class Benchmark:
    """A benchmark: its files' format, its score of one answer, and its numbers.

    Attributes
    ----------
    name, title : in the registry, and in print
    source : public identifier of the data, with split and size
    score : of a record and the content of <answer>, 0 to 1
    measure : grades to measures; the first is the number that papers report
    """

    name: str
    title: str
    source: str
    score: Score
    measure: Callable[[Sequence[Grade]], list[Measure]] = grades.accuracy

    def read(
        self, path: str | Path, strict: bool = False, root: str | Path | None = None, max_pixels: int = MAX_PIXELS
    ) -> BenchmarkReader:
        """The records of a local copy.

        Parameters
        ----------
        path
            A .parquet, .json, .jsonl, .tsv or .csv file; a folder of Parquet shards, or with one such file; or a
            folder that `Dataset.save_to_disk` wrote.
        strict
            Stop at the first record that does not fit, instead of leaving it out and counting it.
        root
            Folder of the images that records name, and that no path may leave; where the file lies, if not given.
        max_pixels
            Largest image that is decoded.

        Raises
        ------
        BenchmarkError
            If there is no such file or it is none of these; while reading, if the file is damaged, or on `strict`.
        """
        path, form = Path(path), FORMATS[self.name]
        place = Path(root) if root is not None else path if path.is_dir() else path.parent
        return BenchmarkReader(_rows(path, form), form, place, strict, max_pixels)

    def grade(self, record: Record, text: str) -> Grade:
        """The grade of what a model wrote: only the content of its first <answer> counts; without one it is 0."""
        return self.grade_answer(record, answer_of(text))

    def grade_answer(self, record: Record, answer: str | None) -> Grade:
        """The grade of an answer that the loop has read; none is 0."""
        return Grade(record.id, float(self.score(record, answer)) if answer else 0.0, dict(record.groups))

    def measures(self, given: Sequence[Grade]) -> list[Measure]:
        """The benchmark's numbers, the one that papers report first."""
        return self.measure(given)


@contextmanager
def _ours() -> Iterator[None]:
    """An error about a foreign file as one about a benchmark."""
    try:
        yield
    except BenchmarkError:
        raise
    except ForeignError as error:
        raise BenchmarkError(str(error)) from error


def _rows(path: Path, form: Format) -> Iterator[Row]:
    """The rows of a file or folder, whichever format it is in."""
    if not path.exists():
        raise BenchmarkError(f"There is no file {shown(str(path))}; download the benchmark and name its data file.")
    if (path / SPLITS).is_file() and not (path / STATE).is_file():
        splits = sorted(p.name for p in path.iterdir() if p.is_dir())
        raise BenchmarkError(f"{shown(str(path))} holds the splits {shown(', '.join(splits))}; name one folder.")
    if path.is_dir() and not files.is_saved(path):
        found = files.data_files(path)
        if not found or len(found) > 1 and any(p.suffix.lower() != ".parquet" for p in found):
            names = ", ".join(p.name for p in found) or "none"
            raise BenchmarkError(f"{shown(str(path))} holds no single data file ({shown(names)}); name the file.")
        return (row for p in found for row in files.rows(p, form.columns, MAX_RECORD))
    with _ours():
        return files.rows(path, form.columns, MAX_RECORD)


def _letter(record: Record, answer: str) -> float:
    return float(letter(answer, record.choices) == record.answer)


def _mathvista(record: Record, answer: str) -> float:
    kind = (record.meta["question_type"], record.meta["answer_type"], record.meta["precision"])
    return float(mathvista_right(answer, record.answer, record.choices, *kind))


def _hallusion(record: Record, answer: str) -> float:
    """Where there is no figure (VS, figure 0), an answer that says neither yes nor no is right, as in the source."""
    said = yes_or_no(answer)
    if said is None:
        return float((record.groups["category"], record.groups["figure_id"]) == ("VS", "0"))
    return float(said == (record.answer == "yes"))


_TABLE = (
    Benchmark("mathvista", "MathVista", "AI4Math/MathVista, testmini, 1000", _mathvista),
    Benchmark(
        "mathvision",
        "MathVision",
        "MathLLMs/MathVision, test, 3040",
        lambda record, answer: float(mathvision_right(answer, record.answer, record.choices)),
    ),
    Benchmark(
        "scienceqa",
        "ScienceQA",
        "test with images, 2017",
        lambda record, answer: float(prefix_match(answer, record.answer)),
    ),
    Benchmark("hallusionbench", "HallusionBench", "with images 951, without 178", _hallusion, grades.hallusion),
    Benchmark(
        "docvqa",
        "DocVQA",
        "validation, 5349",
        lambda record, answer: anls(answer, record.answers),
        lambda given: grades.accuracy(given, "ANLS"),
    ),
    Benchmark("vstar", "V*", "191", _letter, lambda given: grades.by(given, "category")),
    Benchmark("mmvp", "MMVP", "300 in 150 pairs", _letter, grades.pair_accuracy),
    Benchmark("cv-bench", "CV-Bench", "test, 2638", _letter, grades.cv_bench),
    Benchmark("hr-bench", "HR-Bench", "4K and 8K, 800 each", _letter, grades.hr_bench),
)
BENCHMARKS: dict[str, Benchmark] = {benchmark.name: benchmark for benchmark in _TABLE}


def get_benchmark(name: str) -> Benchmark:
    """A benchmark by name; case, spaces and underscores do not matter.

    Raises
    ------
    BenchmarkError
        If there is none; the message names the nearest.
    """
    key = name.strip().lower().replace("_", "-").replace(" ", "-") if isinstance(name, str) else ""
    plain = {known.replace("-", ""): known for known in BENCHMARKS} | {"v*": "vstar"}
    found = plain.get(key.replace("-", ""))
    if found is None:
        hint = nearest(key, BENCHMARKS) or f" There are {', '.join(BENCHMARKS)}."
        raise BenchmarkError(f"Unknown benchmark {shown(name)}.{hint}")
    return BENCHMARKS[found]
