"""The benchmarks by name: read local copies of their files, grade answers, and make the numbers their papers report.

    benchmark = get_benchmark("mathvista")
    reader = benchmark.read("MathVista/data")            # Parquet, JSON, JSONL, TSV or CSV
    grades = [benchmark.grade(record, answer_of(model(record))) for record in reader]
    reader.skipped, reader.problems                      # 0, []
    [m.value for m in benchmark.measures(grades)]

A benchmark says what the fields of its files are, how they become a question with its accepted answers, the score of an
answer, and the numbers made of the scores; one reader reads them all. The prompts are those of the
benchmark's own files where they hold one (MathVista's `query`, CV-Bench's `prompt`, V*'s `text`), else the question
with its options as lines.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from ..core import rows as files
from ..core.errors import R3labError, nearest, shown
from ..core.images import open_image, picture
from ..core.protocol import MAX_QUESTION, bare
from ..core.records import ForeignError, Read, count, fields, of, row
from . import grades
from .grades import Grade, Measure
from .scores import LETTERS, anls, letter, mathvision_right, mathvista_right, prefix_match, yes_or_no

KEPT = 50  # problems whose words a reader keeps; all are counted
MAX_RECORD = 64 << 20  # bytes; a record of a TSV or JSON file may hold its image as base64
MAX_LABEL, MAX_LIST = 200, 1000  # characters, members

Values = dict[str, Any]


@dataclass(frozen=True)
class Record:
    """One question of any benchmark.

    Attributes
    ----------
    id : unique within the benchmark, stable across runs
    question : text as it is asked, with choices and hints where the benchmark's own prompt has them
    answers : what is accepted; of a question with lettered options the one capital letter
    choices : texts of the options, in order; empty for an open question
    groups : text by which measures are grouped (category, source, pair, cycle)
    kind : what MathVista's score wants: question_type, answer_type, precision
    image : RGB; None where the question has none (HallusionBench without a figure, ScienceQA's text questions)
    """

    id: str
    question: str
    answers: tuple[str, ...]
    choices: tuple[str, ...] = ()
    groups: dict[str, str] = field(default_factory=dict)
    kind: tuple[str, str, float | None] = ("", "", None)
    image: Image.Image | None = field(default=None, compare=False, repr=False)

    @property
    def answer(self) -> str:
        """The first of `answers`."""
        return self.answers[0]


class Benchmark:
    """A benchmark: what is in its files, how it is asked, scored and told.

    Attributes
    ----------
    name, title : in the registry, and in print
    source : public identifier of the data, with split and size
    wanted, optional : reader of each field of its files, by public name
    images : fields that may hold the image, the best first
    textual : some questions have no image
    measures : grades to the benchmark's numbers; the first is the one that papers report
    remark : what a reader of its numbers must know; the scorers' docstrings say more
    """

    name: str
    title: str
    source: str
    wanted: Mapping[str, Read]
    optional: Mapping[str, Read] = {}
    images: tuple[str, ...] = ("image",)
    textual = False
    remark = ""
    measures: Callable[[Sequence[Grade]], list[Measure]] = staticmethod(grades.accuracy)

    def build(self, v: Values, name: str) -> Record:
        """The record without its image, from its fields' values; `name` is for a row that has no id of its own."""
        raise NotImplementedError

    def place(self, v: Values, key: str | None, held: Any) -> Any:
        """The image, from the values, the row's key in the file, and what the fields for images hold; or None."""
        return held

    def score(self, record: Record, answer: str) -> float:
        """0 to 1, of the content of <answer>; unless another is known, whether it names the right letter."""
        return float(letter(answer, record.choices) == record.answer)

    def grade(self, record: Record, answer: str | None) -> Grade:
        """The grade of the content of <answer>; none is 0."""
        return Grade(record.id, self.score(record, answer) if answer else 0.0, dict(record.groups))

    def read(self, path: str | Path, root: str | Path | None = None) -> BenchmarkReader:
        """The records of a local copy.

        Parameters
        ----------
        path
            A .parquet, .json, .jsonl, .tsv or .csv file; a folder of Parquet shards, or with one such file.
        root
            Folder of the images that records name, and that no path may leave; where the file lies, if not given.

        Raises
        ------
        ForeignError
            If there is no such file or it is none of these; while reading, if the file is damaged.
        """
        path = Path(path)
        place = Path(root) if root is not None else path if path.is_dir() else path.parent
        return BenchmarkReader(self, _rows(path, {*self.wanted, *self.optional, *self.images, *ALIASES}), place)


class BenchmarkReader:
    """Records of a file, one at a time and once, and what was wrong with the others.

    Attributes
    ----------
    skipped : records left out so far
    problems : file, line or row, and reason of those left out, the first 50
    """

    def __init__(self, benchmark: Benchmark, rows: Iterator[files.RawRecord], root: Path) -> None:
        self.benchmark, self.rows, self.root = benchmark, rows, root
        self.skipped = 0
        self.problems: list[str] = []
        self._seen: set[str] = set()

    def __iter__(self) -> Iterator[Record]:
        number = 0
        for number, one in enumerate(self.rows, start=1):
            try:
                record = self._record(one, number)
            except R3labError as error:
                self.skipped += 1
                if len(self.problems) < KEPT:
                    self.problems.append(f"{one.where}: {error}")
                continue
            yield record
        if not number:
            raise ForeignError(f"There are no records in {shown(str(self.root))}; name the benchmark's data file.")

    def _record(self, one: files.RawRecord, number: int) -> Record:
        benchmark = self.benchmark
        if one.problem is not None:
            raise one.problem
        raw = {ALIASES.get(name, name): value for name, value in one.data.items()}
        values = fields(raw, benchmark.wanted, benchmark.optional)
        record = benchmark.build(values, one.key or f"row-{number}")
        bare(record.question)
        if not all(answer.strip() for answer in record.answers):
            raise ForeignError("the answer is empty (those of test splits are not public); use another split")
        if record.id in self._seen:
            raise ForeignError(f"the question {shown(record.id)} was given before; keep one of the two")
        held = next((raw[name] for name in benchmark.images if raw.get(name) not in (None, "")), None)
        source = benchmark.place(values, one.key, held)
        if source is None and not benchmark.textual:
            raise ForeignError(f"the image is missing; it is wanted in {' or '.join(benchmark.images)}")
        image = None if source is None else open_image(picture(source, self.root, encoded=True))
        self._seen.add(record.id)
        return Record(**{**vars(record), "image": image})


def _rows(path: Path, columns: set[str]) -> Iterator[files.RawRecord]:
    """The rows of a file or folder, whichever format it is in."""
    if not path.exists():
        raise ForeignError(f"There is no file {shown(str(path))}; download the benchmark and name its data file.")
    if not path.is_dir():
        return files.rows(path, columns, MAX_RECORD)
    found = files.data_files(path)
    if not found or len(found) > 1 and any(p.suffix.lower() != ".parquet" for p in found):
        names = ", ".join(p.name for p in found) or "none"
        raise ForeignError(f"{shown(str(path))} holds no single data file ({shown(names)}); name the file.")
    return (one for p in found for one in files.rows(p, columns, MAX_RECORD))


# -- fields ------------------------------------------------------------------------------------------------------------

ALIASES = {"lndex": "Index"}  # other spellings of fields: the header of MMVP's public CSV has a small L

words = of(f"text of at most {MAX_QUESTION} characters", lambda v: isinstance(v, str) and len(v) <= MAX_QUESTION)
label = of(
    f"a whole number or text of 1 to {MAX_LABEL} characters",
    lambda v: type(v) in (int, str) and len(str(v)) <= MAX_LABEL and bool(str(v).strip()),
    lambda v: str(v).strip(),
)
capital = of(
    "a letter such as 'A' or '(a)'",
    lambda v: isinstance(v, str) and bool(re.fullmatch(r"\(?[A-Za-z]\)?", v.strip())),
    lambda v: v.strip().strip("()").upper(),
)
digits = of(
    "a whole number from 1", lambda v: type(v) in (int, str) and bool(re.fullmatch("[1-9][0-9]{0,8}", str(v))), int
)
places = of("a whole number from 0 to 10", lambda v: type(v) in (int, float) and v in range(11), int)


def one_of(*names: str) -> Read:
    """A reader of one of these texts."""
    return of(f"{', '.join(names[:-1])} or {names[-1]}", lambda v: v in names)


def list_of_words(value: Any, where: str) -> tuple[str, ...]:
    """A list of at most 1000 texts, as a tuple."""
    return tuple(row(words, MAX_LIST)(value, where))


def lettered(choices: Sequence[str]) -> str:
    """The options as lines: ``A. red``, ``B. blue``."""
    return "\n".join(f"{name}. {choice}" for name, choice in zip(LETTERS, choices, strict=False))


def check_letter(name: str, choices: Sequence[str], where: str = "answer") -> str:
    """The letter, if it is one of the choices'.

    Raises
    ------
    ForeignError
        If there are fewer than two choices, over 26, or none of that letter.
    """
    if not 2 <= len(choices) <= len(LETTERS):
        raise ForeignError(f"the question has {len(choices)} choices; give 2 to {len(LETTERS)}")
    if name not in LETTERS[: len(choices)]:
        raise ForeignError(f"{where} is {shown(name)}, but the choices end at {LETTERS[len(choices) - 1]}")
    return name


# -- the benchmarks ----------------------------------------------------------------------------------------------------


class _MathVista(Benchmark):
    name, title, source = "mathvista", "MathVista", "AI4Math/MathVista, testmini, 1000"
    kinds = one_of("multi_choice", "free_form")
    wanted = {"pid": label, "question": words, "question_type": kinds, "answer_type": label, "answer": words}
    optional = {"query": words, "choices": list_of_words, "precision": places}
    images = ("decoded_image", "image")
    remark = "Its authors have a large model extract the answer from free text; here the answer's mark does that."

    def build(self, v: Values, name: str) -> Record:
        kind, choices = (v["question_type"], v["answer_type"], v["precision"]), v["choices"] or ()
        if v["question_type"] == "multi_choice":
            check_letter("A", choices)
        elif v["answer_type"] not in ("integer", "float", "list", "text"):
            raise ForeignError(f"answer_type must be integer, float, list or text, got {shown(v['answer_type'])}")
        elif v["answer_type"] == "float" and v["precision"] is None:
            raise ForeignError("precision is missing, and a float answer needs it")
        question = v["query"] or v["question"] + ("\n" + lettered(choices) if choices else "")
        return Record(v["pid"], question, (v["answer"],), choices, kind=kind)

    def score(self, record: Record, answer: str) -> float:
        return float(mathvista_right(answer, record.answer, record.choices, *record.kind))


class _MathVision(Benchmark):
    name, title, source = "mathvision", "MathVision", "MathLLMs/MathVision, test, 3040"
    wanted, optional = {"id": label, "question": words, "answer": label}, {"options": list_of_words}
    images = ("decoded_image", "image")
    remark = "Two expressions are equal where r3lab's own arithmetic says so, not a computer algebra system."

    def build(self, v: Values, name: str) -> Record:
        options, answer, question = v["options"] or (), v["answer"], v["question"]
        if options:
            check_letter(answer, options)
            question = f"{question}\nChoices:\n{lettered(options)}"
        return Record(v["id"], question, (answer,), options)

    def score(self, record: Record, answer: str) -> float:
        return float(mathvision_right(answer, record.answer, record.choices))


class _ScienceQA(Benchmark):
    name, title, source = "scienceqa", "ScienceQA", "test with images, 2017"
    wanted = {"question": words, "choices": list_of_words, "answer": count}
    optional = {"hint": words, "split": label}
    textual = True

    def build(self, v: Values, name: str) -> Record:
        choices, answer = v["choices"], v["answer"]
        truth = check_letter(LETTERS[answer] if answer < len(LETTERS) else str(answer), choices)
        hint = f"Context: {v['hint']}\n" if v["hint"] else ""
        return Record(name, f"{hint}{v['question']}\n{lettered(choices)}", (truth,), choices)

    def place(self, v: Values, key: str | None, held: Any) -> Any:
        """In the layout of problems.json the image's bare name is given, and it lies by split and id."""
        return f"images/{v['split']}/{key}/{held}" if key and v["split"] and isinstance(held, str) else held

    def score(self, record: Record, answer: str) -> float:
        return float(prefix_match(answer, record.answer))


class _HallusionBench(Benchmark):
    name, title, source = "hallusionbench", "HallusionBench", "with images 951, without 178"
    known_by = ("category", "subcategory", "set_id", "figure_id", "question_id")
    wanted = {**dict.fromkeys(known_by, label), "question": words, "gt_answer": one_of("0", "1")}
    images, textual = ("image", "filename"), True
    measures = staticmethod(grades.hallusion)
    remark = "Its questions without a figure cannot be asked: the loop looks at an image. They are left out."

    def build(self, v: Values, name: str) -> Record:
        groups, answer = {name: v[name] for name in self.known_by}, "yes" if v["gt_answer"] == "1" else "no"
        return Record("_".join(groups.values()), v["question"], (answer,), (), groups)

    def score(self, record: Record, answer: str) -> float:
        """Without a figure (VS, figure 0), an answer that says neither yes nor no is right, as in the source."""
        said = yes_or_no(answer)
        if said is None:
            return float((record.groups["category"], record.groups["figure_id"]) == ("VS", "0"))
        return float(said == (record.answer == "yes"))


class _DocVQA(Benchmark):
    name, title, source = "docvqa", "DocVQA", "validation, 5349"
    measures = staticmethod(lambda given: grades.accuracy(given, "ANLS"))
    wanted = {"questionId": label, "question": words, "answers": list_of_words}

    def build(self, v: Values, name: str) -> Record:
        if not v["answers"]:
            raise ForeignError("answers is empty (those of the test split are not public); use the validation split")
        return Record(v["questionId"], v["question"], v["answers"])

    def score(self, record: Record, answer: str) -> float:
        return anls(answer, record.answers)


class _VStar(Benchmark):
    name, title, source = "vstar", "V*", "191"
    measures = staticmethod(lambda given: grades.by(given, "category"))
    wanted = {"text": words, "category": label, "label": capital, "question_id": label}

    def build(self, v: Values, name: str) -> Record:
        choices = tuple(part.split("\n")[0].strip() for part in re.split(r"\([A-Z]\)", v["text"])[1:])
        truth, groups = check_letter(v["label"], choices, "label"), {"category": v["category"]}
        return Record(f"{v['category']}/{v['question_id']}", v["text"], (truth,), choices, groups)


class _MMVP(Benchmark):
    name, title, source = "mmvp", "MMVP", "300 in 150 pairs"
    wanted = {"Index": digits, "Question": words, "Options": words, "Correct Answer": capital}
    measures = staticmethod(grades.pair_accuracy)
    # Swapped in the public file: 99, 100, 279, 280 (tsb0601/MMVP issue 30, lmms-eval issue 1018).
    remark = "The truths of four questions are disputed; the file's are kept."

    def build(self, v: Values, name: str) -> Record:
        pieces = re.split(r"\(([a-z])\)", v["Options"])  # "", "a", " Open ", "b", " Closed"
        choices = tuple(text.strip() for text in pieces[2::2])
        if pieces[0].strip() or "".join(pieces[1::2]) != LETTERS[: len(choices)].lower():
            raise ForeignError(f"Options must be like '(a) Open (b) Closed', got {shown(v['Options'])}")
        truth, index = check_letter(v["Correct Answer"], choices, "Correct Answer"), v["Index"]
        groups = {"pair": str((index + 1) // 2)}
        return Record(str(index), f"{v['Question']}\n{lettered(choices)}", (truth,), choices, groups)

    def place(self, v: Values, key: str | None, held: Any) -> Any:
        """Beside the public CSV the images lie by number."""
        return held or f"MMVP Images/{v['Index']}.jpg"


class _CVBench(Benchmark):
    name, title, source = "cv-bench", "CV-Bench", "test, 2638"
    measures = staticmethod(grades.cv_bench)
    sources = one_of("ADE20K", "COCO", "Omni3D")
    wanted = {"idx": label, "prompt": words, "choices": list_of_words, "answer": capital, "source": sources}
    images = ("image", "filename")

    def build(self, v: Values, name: str) -> Record:
        truth, groups = check_letter(v["answer"], v["choices"]), {"source": v["source"]}
        return Record(v["idx"], v["prompt"], (truth,), v["choices"], groups)


class _HRBench(Benchmark):
    name, title, source = "hr-bench", "HR-Bench", "4K and 8K, 800 each"
    measures = staticmethod(grades.hr_bench)
    grouped = {"category": label, "cycle_category": label}
    wanted = {"index": label, "question": words, "A": words, "B": words, "answer": capital, **grouped}
    optional = {"C": words, "D": words}

    def build(self, v: Values, name: str) -> Record:
        choices = tuple(v[name] for name in "ABCD" if v[name] is not None)
        truth, question = check_letter(v["answer"], choices), f"{v['question'].strip()}\n{lettered(choices)}"
        groups = {"category": v["category"], "cycle": v["cycle_category"]}
        return Record(f"{v['cycle_category']}/{v['index']}", question, (truth,), choices, groups)


_ALL = (_MathVista, _MathVision, _ScienceQA, _HallusionBench, _DocVQA, _VStar, _MMVP, _CVBench, _HRBench)
BENCHMARKS: dict[str, Benchmark] = {kind.name: kind() for kind in _ALL}


def get_benchmark(name: str) -> Benchmark:
    """A benchmark by name; case, spaces, hyphens and underscores do not matter.

    Raises
    ------
    R3labError
        If there is none; the message names the nearest.
    """
    key = name.strip().lower().replace("_", "-").replace(" ", "-") if isinstance(name, str) else ""
    plain = {known.replace("-", ""): known for known in BENCHMARKS} | {"v*": "vstar"}
    found = plain.get(key.replace("-", ""))
    if found is None:
        hint = nearest(key, BENCHMARKS) or f" There are {', '.join(BENCHMARKS)}."
        raise R3labError(f"Unknown benchmark {shown(name)}.{hint}")
    return BENCHMARKS[found]
