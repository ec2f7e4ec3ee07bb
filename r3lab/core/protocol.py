"""The text protocol: what a model is asked, and how its looks and its answer are read from what it writes.

A look is ``{"bbox_2d": [x1, y1, x2, y2]}``, the answer is ``<answer>...</answer>``, or stands between other `Marks`
where an arm asks for that. The text is untrusted and comes in pieces while it is sampled, so `Scanner` is a small state
machine: one pass, a bounded buffer, no backtracking. Simplified: an object ends at its first ``}`` (a label cannot hold
a brace), and ``<think>`` is not parsed at all, because models in the wild never close it.

    [look, answer] = scan('The sign. {"bbox_2d": [10, 20, 50, 60]} It says <answer>stop</answer>')
    look.values, answer.text                                      # (10.0, 20.0, 50.0, 60.0), 'stop'
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from .errors import R3labError, shown
from .geometry import RELATIVE_SIDE, Frame, Size

KEY = "bbox_2d"
OPEN, CLOSE = "<answer>", "</answer>"
MAX_BOX, MAX_ANSWER, MAX_QUESTION, MAX_MESSAGE = 256, 2000, 4000, 120  # characters
_EMPTY = "the answer is empty"

OPENING = "To look at a region closely, write"
CLOSING = f"When you are sure, write {OPEN}your answer{CLOSE}."

Values = tuple[float, float, float, float]


@dataclass(frozen=True)
class Marks:
    """What stands before an answer and behind it; without the latter it goes on to the end of the text."""

    open: str = OPEN
    close: str = CLOSE


ANSWER = Marks()


def bare(question: str) -> str:
    """The question alone, stripped: all that the tiny policy is asked.

    Raises
    ------
    R3labError
        If it is not text, is empty, is longer than 4000 characters, or holds broken Unicode.
    """
    if not isinstance(question, str):
        raise R3labError(f"The question must be text, got {shown(question)}.")
    if len(question) > MAX_QUESTION:
        raise R3labError(f"The question has {len(question)} characters; shorten it to {MAX_QUESTION}.")
    if not any(c.isprintable() and not c.isspace() for c in question):
        raise R3labError("The question is empty; ask something about the image.")
    if any("\ud800" <= c <= "\udfff" for c in question):
        raise R3labError(f"The question is not valid Unicode: {shown(question)}; type it again as UTF-8.")
    return question.strip()


def question_text(question: str, frame: Frame, overview: Size, opening: str = OPENING, closing: str = CLOSING) -> str:
    """What a large model is asked: the question, then how to write a box for an overview of that size.

    Parameters
    ----------
    opening
        Stands before the form of a box; where it is empty, no box is spoken of.
    closing
        How to answer.
    """
    if not opening:
        return f"{bare(question)}\n{closing}"
    corners = "[y1, x1, y2, x2]" if Frame(frame) is Frame.RELATIVE_YX else "[x1, y1, x2, y2]"
    if Frame(frame) in (Frame.RELATIVE, Frame.RELATIVE_YX):
        scale = f"Coordinates run from 0 to {RELATIVE_SIDE}, relative to the image's width and height"
    elif Frame(frame) is Frame.SOURCE:
        scale = "Coordinates are pixels of the original image"
    else:
        scale = f"Coordinates are pixels of the image, which is {overview[0]} wide and {overview[1]} high"
    return (
        f'{bare(question)}\n{opening} {{"{KEY}": {corners}}}. {scale}; '
        f"(x1, y1) is the top left corner and (x2, y2) the bottom right. {closing}"
    )


def box_text(values: Sequence[int]) -> str:
    """A box as a model writes it: ``{"bbox_2d": [x1, y1, x2, y2]}``."""
    x1, y1, x2, y2 = values
    return f'{{"{KEY}": [{x1}, {y1}, {x2}, {y2}]}}'


@dataclass(frozen=True)
class Event:
    """Something that the model wrote and that the loop acts on."""

    kind: Literal["box", "answer"]
    text: str  # the object with its braces; of an answer the content, stripped
    start: int  # characters into everything fed so far: the object, or the answer with its tags,
    end: int  # is [start, end)
    values: Values | None = None  # of a well-formed box, in the model's frame
    reason: str = ""  # why it cannot be used, in words of our own; "" when fine


class Scanner:
    """Reads looks and the answer from text that comes in pieces.

    Parameters
    ----------
    marks
        Of the answer.

    Attributes
    ----------
    state
        ``"text"``, ``"box"`` (an object is open) or ``"answer"`` (the tag is open).
    start
        Character offset at which what is open began; None in ``"text"``.
    finished
        An answer was read; whatever follows is ignored.
    """

    def __init__(self, marks: Marks = ANSWER) -> None:
        self.marks = marks
        self.state: Literal["text", "box", "answer"] = "text"
        self.start: int | None = None
        self.finished = False
        self._fed = 0
        self._tag = 0  # characters of the opening mark matched so far
        self._buffer: list[str] = []
        self._openers = re.compile(f"[{{{re.escape(marks.open[0])}]")

    def feed(self, piece: str) -> list[Event]:
        """Take the next piece of text (of any length); return what it completes, in order."""
        events, at = [], 0
        while at < len(piece) and not self.finished:
            if self.state == "text" and self._tag == 0:  # jump over plain text
                match = self._openers.search(piece, at)
                if match is None:
                    break
                at = match.start()
            step = self._answer if self.state == "answer" else self._text
            event = step(piece[at], self._fed + at)
            if event is not None:
                events.append(event)
            at += 1
        self._fed += len(piece)
        return events

    def end(self) -> Event | None:
        """Take note that the text is over: the answer that only this closes, if one is open."""
        if self.state != "answer" or self.marks.close:
            return None
        content, start = "".join(self._buffer).strip(), self.start or 0
        self.finished = True
        self._enter("text", None)
        return Event("answer", content, start, self._fed, reason="" if content else _EMPTY)

    def _enter(self, state: Literal["text", "box", "answer"], start: int | None) -> None:
        self.state, self.start, self._buffer = state, start, []

    def _text(self, char: str, at: int) -> Event | None:
        mark = self.marks.open
        if self._tag or char == mark[0]:
            self._tag = _matched(mark, mark[: self._tag] + char)
        if self._tag == len(mark):  # an answer begins, even inside an object that was never closed
            self._tag = 0
            self._enter("answer", at + 1 - len(mark))
            return None
        if char == "{":
            self._enter("box", at)
        if self.state != "box":
            return None
        self._buffer.append(char)
        if char != "}" and len(self._buffer) < MAX_BOX:
            return None
        text, start = "".join(self._buffer), self.start or 0
        self._enter("text", None)
        if char != "}":
            too_long = f"longer than {MAX_BOX} characters"
            return Event("box", text, start, at + 1, reason=too_long) if KEY in text else None
        found = read_box(text)
        return None if found is None else Event("box", text, start, at + 1, *found)

    def _answer(self, char: str, at: int) -> Event | None:
        self._buffer.append(char)
        mark = self.marks.close
        closed = char == mark[-1:] and "".join(self._buffer[-len(mark) :]) == mark
        if not closed and len(self._buffer) < MAX_ANSWER + max(1, len(mark)):
            return None
        content, start = "".join(self._buffer), self.start or 0
        content = content[: -len(mark)].strip() if closed else content[:MAX_ANSWER].strip()
        reason = "" if content else _EMPTY
        if not closed:
            reason = f"the answer is longer than {MAX_ANSWER} characters"
        self.finished = True
        self._enter("text", None)
        return Event("answer", content, start, at + 1, reason=reason)


def _matched(mark: str, text: str) -> int:
    """Characters at the beginning of a mark with which a text, at most as long, ends."""
    return next(n for n in range(len(text), -1, -1) if mark.startswith(text[len(text) - n :]))


def read_box(text: str) -> tuple[Values | None, str] | None:
    """Read one object.

    Parameters
    ----------
    text
        From ``{`` to ``}``.

    Returns
    -------
    tuple or None
        None when the object is no box (ordinary text); ``(values, "")`` of a good one, ``(None, reason)`` of
        a bad one.
    """
    try:
        pairs = json.loads(text, object_pairs_hook=list)
    except (ValueError, RecursionError):
        return (None, "not valid JSON") if KEY in text else None
    boxes: list[Any] = [value for key, value in pairs if key == KEY]
    if not boxes:
        return None
    if len(boxes) > 1:
        return None, f"{KEY} is given twice"
    box = boxes[0]
    if not isinstance(box, list) or len(box) != 4:
        return None, f"{KEY} must be a list of four numbers"
    if any(isinstance(value, bool) or not isinstance(value, int | float) for value in box):
        return None, f"{KEY} must hold numbers only"
    try:
        x1, y1, x2, y2 = map(float, box)
    except OverflowError:  # an integer past the largest float
        return None, "a number is not finite"
    if not all(map(math.isfinite, (x1, y1, x2, y2))):
        return None, "a number is not finite"
    return (x1, y1, x2, y2), ""


def scan(text: str, marks: Marks = ANSWER) -> list[Event]:
    """Every look, and the answer, in a whole text."""
    scanner = Scanner(marks)
    events = scanner.feed(text)
    last = scanner.end()
    return events if last is None else [*events, last]


def answer_of(text: str, marks: Marks = ANSWER) -> str | None:
    """The content of the first answer, stripped; None when there is none that can be used."""
    return next((e.text for e in scan(text, marks) if e.kind == "answer" and not e.reason), None)


def folded(text: str, around: str = "") -> str:
    """Text as answers are compared: case and white space folded, without the characters of `around` at its ends."""
    return " ".join(text.casefold().split()).strip(around or None)


def same_answer(answer: str | None, truth: str) -> bool:
    """Equal after folding case and white space; None is never right."""
    return answer is not None and folded(answer) == folded(truth)


def environment_message(reason: str) -> str:
    """What the loop tells a model about a box that it cannot show, for instance ``[invalid box: x2 <= x1]``.

    At most 120 characters of printable ASCII, with no bracket, brace or tag inside: it can neither open a box
    or an answer nor end itself early.
    """
    plain = re.sub(r"[^ -~]|[\[\]{}]", "", reason[: 4 * MAX_MESSAGE])
    text = re.sub(r"<(?![= ])", "", plain)  # "<" and "<=" between words stay
    return f"[invalid box: {text[: MAX_MESSAGE - len('[invalid box: ]')]}]"


def format_ok(text: str, marks: Marks = ANSWER) -> bool:
    """The official code's format reward: anything, then ``<answer>...</answer>`` (or an arm's own marks), and nothing
    after it. Where nothing closes an answer, it is one line that is not empty: a text that goes on is none."""
    start = text.find(marks.open)
    if not marks.close:
        answer = text[start + len(marks.open) :].strip()
        return start >= 0 and bool(answer) and len(answer.splitlines()) == 1
    return text.endswith(marks.close) and 0 <= start <= len(text) - len(marks.open) - len(marks.close)
