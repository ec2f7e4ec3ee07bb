"""What a filter asks a judge, and what it makes of the reply.

A judge is any callable that takes a question and images and returns text or a score from 0 to 1: a policy
(`r3lab.judges`), an endpoint, a person, a rule. One that answers many questions faster together has a method
`many(queries)` besides. What a judge says is as untrusted as a data set: its text is cut, only compared, never run;
and a reply that decides nothing is never taken for a yes or a no.

    def judge(question, images):                          # any callable will do
        return "yes" if images[0].width > 40 else "no"

    [reply] = put(judge, [Query("Does the picture show a recognisable thing?", (crop,))])
    affirmed(reply)                                       # 1.0
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from PIL import Image

from ...errors import R3labError, shown
from ...protocol import MAX_ANSWER, answer_of

Judge = Callable[[str, Sequence[Image.Image]], "str | float"]  # question, images

READ = 4 * MAX_ANSWER  # characters of a reply that are looked at
_YES_NO = re.compile(r"\W*(yes|no)\b", re.IGNORECASE)


class JudgeError(R3labError):
    """A question that a judge could not decide; the record it is about is rejected for that, the others go on."""


Reply = str | float | JudgeError


@dataclass(frozen=True)
class Query:
    """One question to a judge.

    Attributes
    ----------
    question : text; what a data set or a model wrote may stand in it
    images : RGB, in order; may be none
    """

    question: str
    images: tuple[Image.Image, ...] = ()


def put(judge: Judge, queries: Sequence[Query]) -> list[Reply]:
    """Put questions to a judge, together if it can.

    Returns
    -------
    list of Reply
        One a query: text, a score from 0 to 1, or the `JudgeError` that says why there is neither.

    Raises
    ------
    R3labError
        If a judge's `many` gives another number of replies; and whatever a judge raises besides `JudgeError`: a judge
        that is broken ends the run.
    """
    many = getattr(judge, "many", None)
    if many is None:
        return [_one(judge, query) for query in queries]
    replies = list(many(queries)) if queries else []
    if len(replies) != len(queries):
        raise R3labError(f"The judge gave {len(replies)} replies to {len(queries)} questions; give one for each.")
    return [_checked(reply) for reply in replies]


def _one(judge: Judge, query: Query) -> Reply:
    try:
        return _checked(judge(query.question, query.images))
    except JudgeError as error:
        return error


def _checked(reply: object) -> Reply:
    if isinstance(reply, JudgeError):
        return reply
    if isinstance(reply, str):
        return reply[:READ]
    try:
        score = float(reply) if isinstance(reply, int | float) else math.nan
    except OverflowError:  # an integer past the largest float
        score = math.nan
    return score if 0 <= score <= 1 else JudgeError(f"the reply {shown(reply)} is neither text nor a score from 0 to 1")


def affirmed(reply: Reply) -> float | JudgeError:
    """How far a reply says yes: its score, or 1 for a text that begins with "yes" and 0 for one with "no".

    Inside `<answer>`, where there is one. A text that begins with neither decides nothing.
    """
    if not isinstance(reply, str):
        return reply
    found = _YES_NO.match(answer_of(reply) or reply)
    if found is None:
        return JudgeError(f"the reply {shown(reply)} begins with neither yes nor no")
    return float(found[1].casefold() == "yes")


def agrees(reply: Reply, answer: str) -> float | JudgeError:
    """How far a reply is the true answer: its score, or 1 where the texts are the same, else 0.

    Case, white space and a final full stop do not count; of a text with an `<answer>`, what stands in it counts.
    """
    if not isinstance(reply, str):
        return reply
    said = answer_of(reply)
    return float(_folded(reply if said is None else said) == _folded(answer))


def _folded(text: str) -> str:
    return " ".join(text.casefold().split()).rstrip(". ")
