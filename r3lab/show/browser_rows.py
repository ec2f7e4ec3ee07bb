"""A record as a line of a browser: VLIR samples, answers of an evaluation, rollouts; each opens into its player.

A `Row` holds what one filters and sorts by, bounded and harmless; what is seen when it is opened, its pictures above
all, is made by `Row.open`, and only then read. Simplified: the text that is searched is the beginning of the question,
both answers and the name.

    row = row_of_sample(sample, rationale)
    row.world, row.looks, row.open().markup("r1", 200_000)
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from PIL import Image

from ..protocol import CLOSE, OPEN
from ..train.rewards import deciding_iou, same_answer
from ..trajectory import Trajectory
from ..vlir.sample import Rationale, Sample
from .browser_detail import facts_line, headed, sample_stage
from .palette import VERDICTS
from .stage import stage
from .story import photograph, true_regions, verdict

SAMPLE, ANSWER, ROLLOUT = "sample", "answer", "rollout"  # what a row can be
NEEDS = {True: "yes", False: "no", None: "not known"}
GREY = VERDICTS["unknown"][0]
RESULTS = {  # colour, mark, word
    **VERDICTS,
    "partly": (GREY, "\N{ALMOST EQUAL TO}", "partly right"),
    "skipped": (GREY, "\N{EN DASH}", "not asked"),
}


@dataclass(frozen=True)
class Opened:
    """What is seen when a row is opened.

    Attributes
    ----------
    image : for the thumbnail; None where there is none
    markup : from a prefix of ids and a budget in characters of pictures; foreign text in it is escaped
    """

    image: Image.Image | None
    markup: Callable[[str, int], str]


@dataclass(frozen=True)
class Row:
    """One record; all its text is foreign.

    Attributes
    ----------
    kind : SAMPLE, ANSWER or ROLLOUT
    name, question, world, split, arm : text
    given, truth : answers; None where there is none, or it is not known
    result : a key of `RESULTS`
    needs_look : None where this is not known
    looks, reward, score, iou : None where there is no such number
    open : reads what is seen; raises `R3labError` if that cannot be read
    pictured : whether it has a picture
    file, number : where it was read from: the path as it was given, and its place there from 1
    """

    kind: str
    name: str
    question: str
    open: Callable[[], Opened] = field(compare=False, repr=False)
    world: str = ""
    split: str = ""
    arm: str = ""
    given: str | None = None
    truth: str | None = None
    result: str = "unknown"
    needs_look: bool | None = None
    looks: int | None = None
    reward: float | None = None
    score: float | None = None
    iou: float | None = None
    pictured: bool = True
    file: str = ""
    number: int = 0

    def facts(self) -> str:
        """Where it comes from, as markup."""
        need = {True: "a look is needed", False: "no look is needed", None: ""}[self.needs_look]
        found = [self.name, self.world, f"{self.split} split" if self.split else "", self.arm and f"arm {self.arm}"]
        return facts_line([*found, need])


# -- samples ---------------------------------------------------------------------------------------------------------


def answer_in(text: str) -> str | None:
    """What stands in the last `<answer>...</answer>`; None if there is none."""
    before, opened, rest = text.rpartition(OPEN)
    answer, closed, _ = rest.partition(CLOSE)
    return answer.strip() if opened and closed else None


def row_of_sample(sample: Sample, rationale: Rationale, **place: Any) -> Row:
    """A VLIR sample; its result says whether the rationale ends in the true answer."""
    text = "".join(p for p in rationale.parts if isinstance(p, str))
    known = (sample.id, sample.question, sample.answer, sample.world, sample.split, sample.needs_look)
    return sample_row(known, text, len(rationale.boxes), lambda: (sample, rationale), **place)


def sample_row(
    known: tuple[str, str, str, str, str, bool | None],
    text: str,
    looks: int,
    pair: Callable[[], tuple[Sample, Rationale]],
    **place: Any,
) -> Row:
    """A VLIR sample that is read when it is opened.

    Parameters
    ----------
    known
        Name, question, answer, world, split, whether a look is needed.
    text
        Of its rationale.
    looks
        Boxes of its rationale.
    pair
        Reads it.
    place
        `file` and `number` of the row.
    """
    name, question, answer, world, split, needs = known
    given = answer_in(text)

    def opened() -> Opened:
        sample, rationale = pair()

        def markup(prefix: str, budget: int) -> str:
            return headed(question, row.facts(), sample_stage(sample, rationale, given, prefix, budget))

        return Opened(sample.image, markup)

    row = Row(
        SAMPLE,
        name,
        question,
        opened,
        world,
        split,
        given=given,
        truth=answer,
        result="unknown" if given is None else "right" if same_answer(given, answer) else "wrong",
        needs_look=needs,
        looks=looks,
        **place,
    )
    return row


# -- rollouts --------------------------------------------------------------------------------------------------------


def row_of_trajectory(t: Trajectory, again: Callable[[], Trajectory] | None = None, **place: Any) -> Row:
    """A rollout.

    Parameters
    ----------
    t
        With its images, or without where `again` reads it once more with them.
    """
    ending = verdict(t)
    needs = t.truth.get("needs_look")

    read = again if again is not None else lambda: t

    def opened() -> Opened:
        whole = read()
        body = played(whole)
        return Opened(
            photograph(whole), lambda prefix, budget: headed(whole.question, row.facts(), body(prefix, budget))
        )

    row = Row(
        ROLLOUT,
        t.sample_id,
        t.question,
        opened,
        text_or_nothing(t.truth.get("world")),
        text_or_nothing(t.truth.get("split")),
        t.arm,
        given=ending.answer,
        truth=ending.truth,
        result=ending.state,
        needs_look=needs if isinstance(needs, bool) else None,
        looks=len(t.looks),
        reward=math.fsum(t.rewards.values()) if t.rewards else None,
        iou=_overlap(t),
        **place,
    )
    return row


def played(t: Trajectory, score: float | None = None) -> Callable[[str, int], str]:
    """The player of a trajectory, with what it was paid; a score is what an evaluation gave it."""
    said = [f"score {score:g}"] if score is not None else []
    if t.rewards:
        parts = " + ".join(f"{name} {value:.2f}" for name, value in list(t.rewards.items())[:12])
        said.append(f"reward {math.fsum(t.rewards.values()):.2f} = {parts}")
    said.append(f"advantage {t.advantage:+.2f}" if t.advantage is not None else "")
    said.append(f"policy {t.model}" if t.model else "")
    said.append("greedy" if t.temperature == 0 else f"temperature {t.temperature:g}")
    return lambda prefix, budget: stage(t, prefix, budget=budget) + facts_line(said)


def _overlap(t: Trajectory) -> float | None:
    """IoU of the deciding look with the true region, where the truth holds one that is a box."""
    regions = true_regions(t)
    return deciding_iou(replace(t, truth={"regions": [list(regions[-1])]})) if regions else None


def text_or_nothing(value: object) -> str:
    """Text as it is, anything else as nothing."""
    return value if isinstance(value, str) else ""
