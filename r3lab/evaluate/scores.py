"""Is an answer right? The score of one answer as each benchmark's authors compute it, of the content of <answer>.

    anls("Univercity", ["University"])                        # DocVQA: 0.9, one of ten letters differs
    letter("(b) the red one", ("the cup", "the red one"))     # options: "B"
    prefix_match("B. granite", "B"), yes_or_no("No.")         # ScienceQA: True; HallusionBench: False
    mathvision_right(r"so \boxed{\frac12}", "0.5", ())        # MathVision: True
    normalise("1.457", (), "free_form", "float", 2)           # MathVista: "1.46"
    OWN.use("my.py:close")("7.1", "7")                        # one's own: (answer, truth) -> 0 to 1

What is simplified against a source stands with each function.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from numbers import Real
from typing import Any

from rapidfuzz.distance import Levenshtein

from ..core.errors import R3labError, shown
from ..core.plugins import Plugins, check_function, tried
from ..core.protocol import folded, same_answer

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
THRESHOLD = 0.5  # similarity below which DocVQA pays nothing
PLACES = 2  # decimals to which two values of MathVision must agree
MAX_LENGTH, MAX_DEPTH = 400, 40  # of arithmetic: characters, nested brackets


def _fold(text: str) -> str:
    return " ".join(text.strip().lower().split())


def anls(answer: str, truths: Sequence[str], threshold: float = THRESHOLD) -> float:
    """Average normalised Levenshtein similarity of an answer to the nearest of the accepted ones; 0 below `threshold`.

    Source: the evaluation code that Qwen-VL and lmms-eval share (`anls`), after Biten et al. 2019, equation 1. As
    there, the distance is taken after folding case and white space, and divided by the longer of the texts as they
    came.

    Raises
    ------
    ValueError
        If `truths` is empty (a loader never lets such a record pass).
    """
    if not truths:
        raise ValueError("anls needs at least one accepted answer")
    best = 0.0
    for truth in truths:
        length = max(len(truth), len(answer))
        distance = Levenshtein.distance(_fold(truth), _fold(answer))
        best = max(best, 1.0 - (distance / length if length else 0.0))
    return best if best >= threshold else 0.0


_ALONE = re.compile(r"[(\[]?([A-Za-z])[)\]]?[.:,]?")
_MARKED = re.compile(r"(?:[(\[]([A-Za-z])[)\]]|([A-Z])[.):])")
_SAID = re.compile(r"(?:answer|option|choice)(?: is)?:?\s*[(\[]?([A-Za-z])[)\]]?\.?\Z", re.IGNORECASE)


def letter(answer: str, choices: Sequence[str]) -> str | None:
    """The option that an answer names.

    Known harnesses take the first letter of any text as the choice, so that "The cat" is choice T. Here a letter counts
    only where it stands as a choice: alone, in brackets, before a mark, or after "answer is".

    Parameters
    ----------
    answer
        Content of <answer>.
    choices
        Texts of the options in order; an answer that is one of them, after folding case and white space, names it.

    Returns
    -------
    str or None
        A capital letter of one of the options; None where the answer names none.
    """
    known = LETTERS[: len(choices)]
    text = answer.strip()
    plain = folded(text).rstrip(".")
    whole = [k for k, choice in zip(known, choices, strict=False) if folded(choice).rstrip(".") == plain]
    if len(whole) == 1 and not _ALONE.fullmatch(text):
        return whole[0]
    found = _ALONE.fullmatch(text) or _MARKED.match(text) or _SAID.search(text)
    if found is None:
        return whole[0] if len(whole) == 1 else None
    name = next(group for group in found.groups() if group).upper()
    return name if name in known else None


def prefix_match(answer: str, truth: str) -> bool:
    """ScienceQA: the answer is the capital letter itself, or begins with it and a full stop.

    Source: lmms-eval, `scienceqa/utils.py`, which follows LLaVA; case counts, "(B)" and "B)" are wrong.
    """
    return answer == truth or (len(answer) >= 2 and answer[0].isupper() and answer[1] == "." and answer[0] == truth)


def yes_or_no(answer: str) -> bool | None:
    """True for yes, False for no; None where the words hold neither or both (VLMEvalKit's `YOrN_Extraction`)."""
    words = set(re.findall(r"[a-z]+", answer.lower()))
    return None if ("yes" in words) == ("no" in words) else "yes" in words


_TOKEN = re.compile(r"\s*(\d+\.?\d*|\.\d+|\\[a-z]+|[-+*/^(){}\[\]])")
_NOISE = re.compile(r"\\left|\\right|\\[,;! ]|[$~]|(?<=\d),(?=\d{3}(?!\d))")
_OPENING = {"(": ")", "{": "}", "[": "]"}


class _NoValue(Exception):
    """The text is no arithmetic of ours."""


def value(text: str) -> float | None:
    """The number that a piece of LaTeX arithmetic stands for; None where it has none, or is not real, finite or short.

    MathVision's own evaluation hands the text to a computer algebra package and the result to Python's `eval`; here a
    parser of a few rules reads it, and nothing is executed. The grammar is what answers are made of: numbers,
    + - * / ^, fractions, roots, pi, brackets and juxtaposition. Simplified: no variables, no functions beyond the
    root; such text has no value.
    """
    if len(text) > MAX_LENGTH:
        return None
    try:
        reader = _Reader(_tokens(_NOISE.sub("", text)))
        number = reader.total(0)
        if reader.at != len(reader.tokens):
            return None
    except (_NoValue, ArithmeticError, ValueError):
        return None
    return number if isinstance(number, float) and math.isfinite(number) else None


def _tokens(text: str) -> list[str]:
    tokens, at, text = [], 0, text.strip()
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            raise _NoValue
        tokens.append(found[1])
        at = found.end()
    return tokens


class _Reader:
    """Recursive descent: total (+ -), product (* / and juxtaposition), power, atom."""

    def __init__(self, tokens: list[str]) -> None:
        self.tokens, self.at = tokens, 0

    def peek(self) -> str:
        return self.tokens[self.at] if self.at < len(self.tokens) else ""

    def next(self) -> str:
        token = self.peek()
        self.at += 1
        return token

    def total(self, depth: int) -> float:
        if depth > MAX_DEPTH:
            raise _NoValue
        number = self.signed(depth)
        while self.peek() in ("+", "-"):
            number += self.product(depth) if self.next() == "+" else -self.product(depth)
        return number

    def signed(self, depth: int) -> float:
        sign = 1.0
        while self.peek() in ("+", "-"):
            sign = -sign if self.next() == "-" else sign
        return sign * self.product(depth)

    def product(self, depth: int) -> float:
        number = self.power(depth)
        while True:
            token = self.peek()
            if token in ("*", "\\times", "\\cdot"):
                self.next()
                number *= self.power(depth)
            elif token in ("/", "\\div"):
                self.next()
                number /= self.power(depth)
            elif token in ("(", "{", "\\frac", "\\dfrac", "\\tfrac", "\\sqrt", "\\pi"):
                number *= self.power(depth)
            else:
                return number

    def power(self, depth: int) -> float:
        number = self.atom(depth)
        if self.peek() != "^":
            return number
        self.next()
        sign = -1.0 if self.peek() == "-" and self.next() else 1.0
        return float(math.pow(number, sign * self.atom(depth)))  # of floats: no endless integer

    def atom(self, depth: int) -> float:
        token = self.next()
        if token in ("(", "{"):
            return self.closed(_OPENING[token], depth)
        if token in ("\\frac", "\\dfrac", "\\tfrac"):
            return self.atom_in_braces(depth) / self.atom_in_braces(depth)
        if token == "\\sqrt":
            root = 2.0
            if self.peek() == "[":
                self.next()
                root = self.closed("]", depth)
            return float(math.pow(self.atom_in_braces(depth), 1.0 / root))
        if token == "\\pi":
            return math.pi
        if token[:1].isdecimal() or token[:1] == ".":
            return float(token)
        raise _NoValue

    def atom_in_braces(self, depth: int) -> float:
        if self.next() != "{":
            raise _NoValue
        return self.closed("}", depth)

    def closed(self, closing: str, depth: int) -> float:
        number = self.total(depth + 1)
        if self.next() != closing:
            raise _NoValue
        return number


_FLAGS = ("the final answer is", "the answer is", "the correct answer is", "the answer should be")
_BOX = re.compile(r"oxed{(.*)}", re.DOTALL)
# What is taken away or replaced, in this order.
_CLEANING = (
    *((" ", ""), ("\\,", ""), ("∞", "\\infty"), ("+\\infty", "\\infty"), ("\\\\", "\\"), ("\n", "")),
    *(("\\text", ""), ("\\mbox", ""), ("bmatrix", "pmatrix"), ("\\left", ""), ("\\right", "")),
    *(("^{\\circ}", ""), ("^\\circ", ""), ("{m}^3", ""), ("m^3", "")),
    *(("{units}", ""), ("units", ""), ("{km}", ""), ("km", "")),
    *(("\\!", ""), ("tfrac", "frac"), ("dfrac", "frac"), ("\\$", ""), ("$", ""), ("\\%", ""), ("{.", "{0.")),
)


def _number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def boxed(answer: str) -> str:
    """What the answer says, before it is cleaned: a choice, a number, the last box, or what follows a phrase."""
    text = answer.strip()
    for c in "ABCDE":
        if text.endswith((f" {c}.", f" ({c}).")) or text.startswith((f"{c}\n", f"({c})\n", f"({c}) {c}\n")):
            text = c
    last = text.split("is ")[-1].rstrip(".")
    if _number(last):
        text = last
    if text.count("oxed{") > 1:
        return "\\boxed{" + text.split("oxed{")[-1]
    if "oxed{" in text:
        return text
    for flag in _FLAGS:
        for phrase in (flag, flag.replace("the", "The")):
            head, found, tail = text.rpartition(phrase)
            text = (tail.strip().split("\n")[0].split(". ")[0] if found else tail).strip()
    return text


def cleaned(text: str) -> str:
    """An expression in lower case without LaTeX's spacing, units, degree and currency signs."""
    text = text.lower().replace("{}", "")
    boxes = _BOX.findall(text)
    text = boxes[-1] if boxes else text
    close, opened = text.find("}"), text.find("{")
    if close != -1 and (opened == -1 or close < opened):
        text = text[:close]
    text = text.split("=")[-1].split("\\approx")[-1]
    for old, new in _CLEANING:
        text = text.replace(old, new)
    text = "0" + text if text.startswith(".") else text
    if "sqrt" in text:
        text = re.sub(r"\\sqrt([^{\[])", r"\\sqrt{\1}", text)
    text = re.sub(r"\\frac([^{\\])([^{\\])", r"\\frac{\1}{\2}", text)
    text = re.sub(r"\\frac([^{\\])\{", r"\\frac{\1}{", text)
    if text == "0.5":
        text = "\\frac{1}{2}"
    ratio = re.fullmatch(r"(-?[1-9]\d*|0)/(-?[1-9]\d*)", text)
    text = f"\\frac{{{ratio[1]}}}{{{ratio[2]}}}" if ratio else text
    for c in "abcde":
        text = text.replace(f"({c})", c).replace(f"{{{c}}}", c)
    return text.rstrip(".").lstrip(":").strip()


def _valued(text: str) -> str:
    """A tuple or list with each member's value, rounded; other text as it is."""
    members = text[1:-1].split(",")
    if len(members) < 2 or (text[0], text[-1]) not in (("(", ")"), ("[", "]")):
        return text
    values = [m if "infty" in m or m in ("a", "-a") else value(m) for m in members]
    if any(v is None for v in values):
        return text
    inner = ",".join(v if isinstance(v, str) else str(round(float(v), PLACES)) for v in values if v is not None)
    return text[0] + inner + text[-1]


def equal(truth: str, answer: str) -> bool:
    """Equal as text in lower case, as tuples of values, or in value to two decimals; empty text equals nothing."""
    truth, answer = truth.lower(), answer.lower()
    if not truth.strip() or not answer.strip():
        return False
    if truth.strip() == answer.strip():
        return True
    truth, answer = _valued(truth.strip()), _valued(answer.strip())
    if truth == answer:
        return True
    left, other = value(truth), value(answer)
    return left is not None and other is not None and round(left, PLACES) == round(other, PLACES)


def mathvision_right(answer: str, truth: str, options: Sequence[str]) -> bool:
    """MathVision: the answer, brought to one form, is the true letter, or the text or value of the true option.

    Source: `evaluation/evaluate.py` and `utils.py` of the benchmark; the order of the steps is theirs, for the result
    depends on it. Simplified: two expressions are equal in value where `value` knows both and they agree to two
    decimals; theirs asks a computer algebra package, which knows more functions.

    Parameters
    ----------
    answer
        Content of <answer>.
    truth
        A capital letter where there are options, else an expression.
    options
        Texts of the options; empty for an open question.
    """
    said = cleaned(boxed(answer))
    return equal(truth, said) or bool(options) and equal(options[LETTERS.index(truth)], said)


_LETTER = re.compile(r"\(([a-zA-Z])\)")
_QUOTED = re.compile(r'The answer is "(.*)"\.')


def nearest_choice(text: str, choices: Sequence[str]) -> str:
    """The choice at the least edit distance; the first of several."""
    return min(choices, key=lambda choice: Levenshtein.distance(text, choice))


def normalise(
    answer: str, choices: Sequence[str], question_type: str, answer_type: str, precision: float | None
) -> str | None:
    """MathVista: the answer in the form of the truth.

    Source: `normalize_extracted_answer` and `extract_answer` of the benchmark's own evaluation. Simplified: there a
    large model extracts the answer from free text; here <answer> has already done it. `precision` is read as a whole
    number (the files hold 1.0, which `round` refuses).

    Parameters
    ----------
    answer
        Content of <answer>.
    choices
        Of a multiple choice, at least one.
    question_type
        ``"multi_choice"`` or ``"free_form"``.
    answer_type
        ``"integer"``, ``"float"``, ``"list"`` or ``"text"``; of a multiple choice it does not matter.
    precision
        Decimal places of a float.

    Returns
    -------
    str or None
        None where the answer is not of the type.
    """
    quoted = _QUOTED.search(answer)
    text = quoted[1] if quoted and answer not in choices else answer
    if question_type == "multi_choice":
        text = text.strip()
        if text in choices:
            return text
        found = _LETTER.search(text)
        if found:
            text = found[1].upper()
        known = LETTERS[: len(choices)]
        return choices[known.index(text)] if len(text) == 1 and text in known else nearest_choice(text, choices)
    try:
        if answer_type == "integer":
            return str(int(float(text)))
        if answer_type == "float":
            return None if precision is None else str(round(float(text), int(precision)))
    except (ValueError, OverflowError):  # no number, not finite
        return None
    return text


def mathvista_right(
    answer: str,
    truth: str,
    choices: Sequence[str],
    question_type: str,
    answer_type: str,
    precision: float | None,
) -> bool:
    """The normalised answer equals the truth, character for character; an empty answer is wrong."""
    return bool(answer) and normalise(answer, choices, question_type, answer_type, precision) == truth


# -- scores by name ----------------------------------------------------------------------------------------------------

Score = Callable[[str, str], float]  # of an answer and the truth: 0 to 1
SCORES: dict[str, Score] = {
    "exact": lambda answer, truth: float(same_answer(answer, truth)),
    "anls": lambda answer, truth: anls(answer, [truth]),
}


def graded(score: Score, answer: str | None, truth: str, where: str) -> float:
    """What a score gives, 0 where there is no answer; an `R3labError` for anything but 0 to 1."""
    found: Any = 0.0 if answer is None else score(answer, truth)
    if not isinstance(found, Real) or not 0 <= float(found) <= 1:
        raise R3labError(f"{where} gave {shown(found)} for the answer {shown(answer)}; wanted a number from 0 to 1.")
    return float(found)


def _checked(found: Any, where: str) -> Score:
    """A function of an answer and the truth, called on right, wrong and empty answers."""
    score: Score = found
    check_function(score, where, "answer", "truth")
    for answer in ("7", "the dog", ""):
        tried(where, lambda: graded(score, answer, "7", where))  # noqa: B023
    return score


OWN = Plugins("score", SCORES, _checked)
