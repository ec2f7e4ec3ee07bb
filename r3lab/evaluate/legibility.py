"""What a policy can be asked, and what it can read: of a world, with and without the true crops; of a sample, as judge.

    ask(policy, items, range(len(items)), temperature=0)                # a trajectory each, or why it cannot be asked
    legibility(policy, [world.sample("test", i) for i in range(200)])   # {"legible": 0.97, "overview_alone": 0.08, ...}
    judges = policy_judges(Policy.load("checkpoints/cold-start"))       # for the filters of VLIR

The filters (`vlir.filters`) know no model; here one is bound to them, as judge of whether the answer is found in the
crops alone, and without them. A policy answers from one picture without a look (`rollout(..., max_looks=0)`): several
crops are laid on one sheet, side by side. A question that a policy cannot be asked (one that holds its control tokens)
is not decided, and says so. Simplified: one policy judges both; its chance of guessing right is not taken off, so that
`Limits.max_blind` must lie well above it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

from PIL import Image

from ..explain.interventions import after_look
from ..models.policy import Policy, refusal
from ..rollout.loop import rollout
from ..rollout.resume import resume
from ..train.rewards import right
from ..train.sft import taught
from ..trajectory import Trajectory
from ..vlir.filters import Judge, JudgeError, Query, Reply
from ..vlir.sample import Sample
from ..vlir.worlds import get_world

GAP, GROUND = 8, (128, 128, 128)  # pixels between crops on a sheet, and its colour


@dataclass(frozen=True)
class Item:
    """A question; where it has an image (a PIL image, else None), it is a `sequence.Question`."""

    id: str
    question: str
    image: Any = field(compare=False, repr=False)
    truth: dict[str, Any]


def ask(policy: Policy, items: Sequence[Any], numbers: Sequence[int], **settings: Any) -> list[Trajectory | str]:
    """Answer the questions that a policy can be asked, together.

    Parameters
    ----------
    items : questions, those without an image too
    numbers : of their random streams
    settings : of `rollout`

    Returns
    -------
    the trajectory of each question, or why it cannot be asked, in words
    """
    found: list[Trajectory | str] = [*refusals(policy, items)]
    able = [i for i, why in enumerate(found) if not why]
    if able:
        answers = rollout(policy, [items[i] for i in able], numbers=[numbers[i] for i in able], **settings)
        for i, t in zip(able, answers, strict=True):
            found[i] = t
    return found


def refusals(policy: Policy, items: Sequence[Any]) -> list[str]:
    """Why a policy cannot be asked each of the questions, in words; "" where it can."""
    return [
        refusal(policy, item.question, item.image.size) if item.image else "a picture is wanted; the question has none"
        for item in items
    ]


def sheet(images: Sequence[Image.Image]) -> Image.Image:
    """Pictures side by side, from the top, on grey; one alone stays as it is."""
    if len(images) == 1:
        return images[0]
    width = sum(image.width for image in images) + GAP * (len(images) - 1)
    whole, x = Image.new("RGB", (width, max(image.height for image in images)), GROUND), 0
    for image in images:
        whole.paste(image, (x, 0))
        x += image.width + GAP
    return whole


# -- of a world --------------------------------------------------------------------------------------------------------


def shown_the_truth(policy: Policy, sample: Sample) -> Trajectory:
    """A record that has looked at all true regions and has said nothing about the last one yet.

    Raises
    ------
    R3labError
        If the sample's rationale does not look.
    """
    record = taught(policy, sample, get_world(sample.world).rationale(sample))
    return record.until(after_look(record, len(record.looks) - 1))


def legibility(policy: Policy, samples: Sequence[Sample], new_tokens: int = 224) -> dict[str, float | int | None]:
    """Share of right answers behind the true crops (`legible`) and without any (`overview_alone`), of `n_needed`.

    Both are of the samples that need a look. For the first, a record is written that looked where it should, in the
    words of the world's own rationale, its crops cut by the loop; the policy goes on after the last crop. For the
    second, every look is refused.

    Parameters
    ----------
    samples : of one world or several; those that need no look are left out
    new_tokens : that a rollout may sample, with what the record holds already
    """
    asked = [s for s in samples if s.needs_look]
    if not asked:
        return {"legible": None, "overview_alone": None, "n_needed": 0}
    begun = [shown_the_truth(policy, s) for s in asked]
    looks = max(len(t.looks) for t in begun)
    read = resume(policy, begun, max_looks=looks, max_new_tokens=new_tokens)
    alone = rollout(policy, asked, temperature=0.0, max_looks=0, max_new_tokens=new_tokens)
    return {
        "legible": round(fmean(right(t) for t in read), 4),
        "overview_alone": round(fmean(right(t) for t in alone), 4),
        "n_needed": len(asked),
    }


# -- of a sample -------------------------------------------------------------------------------------------------------


class PolicyJudge:
    """A policy that answers a question on pictures without a look.

    Parameters
    ----------
    policy
        Any that the loop can drive.
    temperature
        0 is greedy.
    seed
        Of the sampling; each question has its own random stream, so that the same questions in the same order get the
        same answers, however they are put together.
    max_new_tokens
        Of an answer with its reasoning.
    batch
        Questions that are answered together.
    """

    def __init__(
        self, policy: Policy, temperature: float = 0.0, seed: int = 0, max_new_tokens: int = 512, batch: int = 32
    ) -> None:
        self.policy, self.batch, self._asked = policy, batch, 0
        self.settings = {"temperature": temperature, "seed": seed, "max_looks": 0, "max_new_tokens": max_new_tokens}

    def __call__(self, question: str, images: Sequence[Image.Image]) -> str:
        """The answer, "" for none; `JudgeError` for a question that the policy cannot be asked."""
        [reply] = self.many([Query(question, tuple(images))])
        if isinstance(reply, JudgeError):
            raise reply
        return str(reply)

    def many(self, queries: Sequence[Query]) -> list[Reply]:
        """A reply to each of many questions; see `__call__`."""
        replies: list[Reply] = []
        for start in range(0, len(queries), self.batch):
            some = queries[start : start + self.batch]
            numbers = range(self._asked, self._asked + len(some))
            items = [
                Item(f"query-{n}", query.question, sheet(query.images) if query.images else None, {})
                for n, query in zip(numbers, some, strict=True)
            ]
            found = ask(self.policy, items, numbers, **self.settings)
            replies += [JudgeError(one) if isinstance(one, str) else one.answer or "" for one in found]
            self._asked += len(some)
        return replies


def policy_judges(policy: Policy, seed: int = 0, max_new_tokens: int = 512) -> dict[str, Judge]:
    """The judges that a policy can be: of `support`, greedy, and of `necessity`, sampled at temperature 1."""
    return {
        "support": PolicyJudge(policy, 0.0, seed, max_new_tokens),
        "necessity": PolicyJudge(policy, 1.0, seed, max_new_tokens),
    }
