"""How each benchmark's public files become `Record`s: field names, the question as asked, the accepted answers.

One function a benchmark, from checked fields to a record without its image; one table of the fields. The prompts are
those of the benchmark's own files where they hold one (MathVista's `query`, CV-Bench's `prompt`, V*'s `text`), else the
question with its options as lines.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from PIL import Image

from ..core.errors import shown
from ..core.protocol import MAX_QUESTION
from ..core.records import ForeignError, Read, count, of, row

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
MAX_LABEL, MAX_LIST = 200, 1000  # characters, members
# Pairs whose truths are swapped in the public file (tsb0601/MMVP issue 30, lmms-eval issue 1018); the file's are kept.
MMVP_DISPUTED = (99, 100, 279, 280)
_OPTION = re.compile(r"\(([a-z])\)")

Values = dict[str, Any]


class BenchmarkError(ForeignError):
    """A benchmark's file or record that cannot be used; the message names the file and the line or row."""


@dataclass(frozen=True)
class Record:
    """One question of any benchmark, as all loaders return it and all scorers read it.

    Attributes
    ----------
    benchmark : name in the registry
    id : unique within the benchmark, stable across runs
    question : text as it is asked, with choices and hints where the benchmark's own prompt has them
    images : RGB; empty where the question has none (HallusionBench without a figure, ScienceQA's text questions)
    choices : texts of the options, in order; empty for an open question
    answers : what is accepted; of a question with lettered options the one capital letter
    groups : text by which measures are grouped (category, source, pair, cycle, ...)
    meta : JSON that a scorer or a reader of results wants (answer_type, precision, level, ...)
    """

    benchmark: str
    id: str
    question: str
    images: tuple[Image.Image, ...] = field(default=(), compare=False, repr=False)
    choices: tuple[str, ...] = ()
    answers: tuple[str, ...] = ()
    groups: dict[str, str] = field(default_factory=dict)
    meta: dict[str, Any] = field(default_factory=dict)

    @property
    def answer(self) -> str:
        """The first of `answers`."""
        return self.answers[0]


def lettered(choices: tuple[str, ...]) -> str:
    """The options as lines: ``A. red``, ``B. blue``."""
    return "\n".join(f"{letter}. {choice}" for letter, choice in zip(LETTERS, choices, strict=False))


words = of(f"text of at most {MAX_QUESTION} characters", lambda v: isinstance(v, str) and len(v) <= MAX_QUESTION)
label = of(
    f"a whole number or text of 1 to {MAX_LABEL} characters",
    lambda v: type(v) is int or isinstance(v, str) and len(v) <= MAX_LABEL and bool(v.strip()),
    lambda v: str(v).strip(),
)
capital = of(
    "a letter such as 'A' or '(a)'",
    lambda v: isinstance(v, str) and bool(re.fullmatch(r"\(?[A-Za-z]\)?", v.strip())),
    lambda v: v.strip().strip("()").upper(),
)
digits = of(
    "a whole number from 1",
    lambda v: (type(v) is int or isinstance(v, str) and v.isascii() and v.isdigit() and len(v) < 10) and int(v) > 0,
    int,
)
places = of(
    "a whole number from 0 to 10",
    lambda v: isinstance(v, int | float) and not isinstance(v, bool) and 0 <= v <= 10 and v == int(v),
    int,
)


def list_of_words(value: Any, where: str) -> tuple[str, ...]:
    """A list of at most 1000 texts, as a tuple."""
    return tuple(row(words, MAX_LIST)(value, where))


def check_letter(letter: str, choices: tuple[str, ...], name: str = "answer") -> str:
    """The letter, if it is one of the choices'.

    Raises
    ------
    BenchmarkError
        If there are fewer than two choices, over 26, or none of that letter.
    """
    if not 2 <= len(choices) <= len(LETTERS):
        raise BenchmarkError(f"the question has {len(choices)} choices; give 2 to {len(LETTERS)}")
    if letter not in LETTERS[: len(choices)]:
        raise BenchmarkError(f"{name} is {shown(letter)}, but the choices end at {LETTERS[len(choices) - 1]}")
    return letter


@dataclass(frozen=True)
class Format:
    """The fields of one benchmark's files.

    Attributes
    ----------
    wanted, optional : reader of each field by its public name
    build : record from the fields' values, the row's number in all files, and its key in the file (or None)
    images : fields that may hold the image, the best first
    place : the image, from the values, the key, and what those fields hold (or None)
    textual : some questions have no image
    aliases : other spellings of a field's name that public files have
    """

    wanted: Mapping[str, Read]
    optional: Mapping[str, Read]
    build: Callable[[Values, int, str | None], Record]
    images: tuple[str, ...] = ("image",)
    place: Callable[[Values, str | None, Any], Any] = lambda values, key, held: held
    textual: bool = False
    aliases: Mapping[str, str] = field(default_factory=dict)

    @property
    def columns(self) -> set[str]:
        """All that is read of a file's columns."""
        return {*self.wanted, *self.optional, *self.images, *self.aliases}


def _mathvista(v: Values, number: int, key: str | None) -> Record:
    kind, answer_type, choices = v["question_type"], v["answer_type"], v["choices"] or ()
    if kind not in ("multi_choice", "free_form"):
        raise BenchmarkError(f"question_type must be multi_choice or free_form, got {shown(kind)}")
    if kind == "multi_choice":
        check_letter("A", choices)
    elif answer_type not in ("integer", "float", "list", "text"):
        raise BenchmarkError(f"answer_type must be integer, float, list or text, got {shown(answer_type)}")
    elif answer_type == "float" and v["precision"] is None:
        raise BenchmarkError("precision is missing, and a float answer needs it")
    meta = {name: v[name] for name in ("answer_type", "question_type", "precision", "unit")}
    groups = {"question_type": kind, "answer_type": answer_type}
    question = v["query"] or v["question"] + ("\n" + lettered(choices) if choices else "")
    return Record("mathvista", v["pid"], question, (), choices, (v["answer"],), groups, meta)


def _mathvision(v: Values, number: int, key: str | None) -> Record:
    options, answer = v["options"] or (), v["answer"]
    if options:
        check_letter(answer, options)
    question = f"{v['question']}\nChoices:\n{lettered(options)}" if options else v["question"]
    groups = {name: v[name] for name in ("subject", "level") if v[name] is not None}
    return Record("mathvision", v["id"], question, (), options, (answer,), groups)


def _scienceqa(v: Values, number: int, key: str | None) -> Record:
    choices, answer = v["choices"], v["answer"]
    truth = check_letter(LETTERS[answer] if answer < len(LETTERS) else str(answer), choices)
    hint = f"Context: {v['hint']}\n" if v["hint"] else ""
    groups = {name: v[name] for name in ("subject", "split") if v[name] is not None}
    name, question = key or f"row-{number}", f"{hint}{v['question']}\n{lettered(choices)}"
    return Record("scienceqa", name, question, (), choices, (truth,), groups)


def _hallusion(v: Values, number: int, key: str | None) -> Record:
    if v["gt_answer"] not in ("0", "1"):
        raise BenchmarkError(f"gt_answer must be 0 or 1, got {shown(v['gt_answer'])}")
    names = ("category", "subcategory", "set_id", "figure_id", "question_id")
    groups = {name: v[name] for name in names}
    meta = {"visual_input": v["visual_input"], "gt_answer_details": v["gt_answer_details"]}
    answer = "yes" if v["gt_answer"] == "1" else "no"
    return Record("hallusionbench", "_".join(groups.values()), v["question"], (), (), (answer,), groups, meta)


def _docvqa(v: Values, number: int, key: str | None) -> Record:
    if not v["answers"]:
        raise BenchmarkError("answers is empty (those of the test split are not public); use the validation split")
    return Record("docvqa", v["questionId"], v["question"], (), (), v["answers"])


def _vstar(v: Values, number: int, key: str | None) -> Record:
    choices = tuple(part.split("\n")[0].strip() for part in re.split(r"\([A-Z]\)", v["text"])[1:])
    truth = check_letter(v["label"], choices, "label")
    groups = {"category": v["category"]}
    return Record("vstar", f"{v['category']}/{v['question_id']}", v["text"], (), choices, (truth,), groups)


def _mmvp(v: Values, number: int, key: str | None) -> Record:
    pieces = _OPTION.split(v["Options"])  # "", "a", " Open ", "b", " Closed"
    choices = tuple(text.strip() for text in pieces[2::2])
    if pieces[0].strip() or "".join(pieces[1::2]) != LETTERS[: len(choices)].lower():
        raise BenchmarkError(f"Options must be like '(a) Open (b) Closed', got {shown(v['Options'])}")
    truth, index = check_letter(v["Correct Answer"], choices, "Correct Answer"), v["Index"]
    question = f"{v['Question']}\n{lettered(choices)}"
    groups = {"pair": str((index + 1) // 2)}
    return Record("mmvp", str(index), question, (), choices, (truth,), groups, {"disputed": index in MMVP_DISPUTED})


def _cv_bench(v: Values, number: int, key: str | None) -> Record:
    if v["source"] not in ("ADE20K", "COCO", "Omni3D"):
        raise BenchmarkError(f"source must be ADE20K, COCO or Omni3D, got {shown(v['source'])}")
    truth = check_letter(v["answer"], v["choices"])
    groups = {"source": v["source"], "type": v["type"], "task": v["task"]}
    return Record("cv-bench", v["idx"], v["prompt"], (), v["choices"], (truth,), groups)


def _hr_bench(v: Values, number: int, key: str | None) -> Record:
    choices = tuple(v[name] for name in "ABCD" if v[name] is not None)
    truth = check_letter(v["answer"], choices)
    groups = {"category": v["category"], "cycle": v["cycle_category"]}
    name = f"{v['cycle_category']}/{v['index']}"
    return Record("hr-bench", name, f"{v['question'].strip()}\n{lettered(choices)}", (), choices, (truth,), groups)


def _science_place(v: Values, key: str | None, held: Any) -> Any:
    """In the layout of problems.json the image's bare name is given, and it lies by split and id."""
    return f"images/{v['split']}/{key}/{held}" if key and v["split"] and isinstance(held, str) else held


_HALLUSION = {name: label for name in ("category", "subcategory", "set_id", "figure_id", "question_id")}

FORMATS: dict[str, Format] = {
    "mathvista": Format(
        {"pid": label, "question": words, "question_type": label, "answer_type": label, "answer": words},
        {"query": words, "choices": list_of_words, "precision": places, "unit": words},
        _mathvista,
        ("decoded_image", "image"),
    ),
    "mathvision": Format(
        {"id": label, "question": words, "answer": label},
        {"options": list_of_words, "subject": label, "level": label},
        _mathvision,
        ("decoded_image", "image"),
    ),
    "scienceqa": Format(
        {"question": words, "choices": list_of_words, "answer": count},
        {"hint": words, "subject": label, "split": label},
        _scienceqa,
        place=_science_place,
        textual=True,
    ),
    "hallusionbench": Format(
        {**_HALLUSION, "visual_input": label, "question": words, "gt_answer": label},
        {"gt_answer_details": words},
        _hallusion,
        ("image", "filename"),
        textual=True,
    ),
    "docvqa": Format({"questionId": label, "question": words, "answers": list_of_words}, {}, _docvqa),
    "vstar": Format({"text": words, "category": label, "label": capital, "question_id": label}, {}, _vstar),
    "mmvp": Format(
        {"Index": digits, "Question": words, "Options": words, "Correct Answer": capital},
        {},
        _mmvp,
        place=lambda v, key, held: held or f"MMVP Images/{v['Index']}.jpg",
        aliases={"lndex": "Index"},  # the public CSV's header, with a small L
    ),
    "cv-bench": Format(
        {"idx": label, "type": label, "task": label, "prompt": words, "choices": list_of_words, "answer": capital}
        | {"source": label},
        {},
        _cv_bench,
        ("image", "filename"),
    ),
    "hr-bench": Format(
        {"index": label, "question": words, "A": words, "B": words, "answer": capital}
        | {"category": label, "cycle_category": label},
        {"C": words, "D": words},
        _hr_bench,
    ),
}
