"""What a policy can read: of a world, behind the true crops and with the overview alone; of a sample, as its judge.

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
from statistics import fmean

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
        self.policy, self.temperature, self.seed = policy, temperature, seed
        self.max_new_tokens, self.batch = max_new_tokens, batch
        self._asked = 0

    def __call__(self, question: str, images: Sequence[Image.Image]) -> str:
        """The answer, "" for none; `JudgeError` for a question that the policy cannot be asked."""
        [reply] = self.many([Query(question, tuple(images))])
        if isinstance(reply, JudgeError):
            raise reply
        return str(reply)

    def many(self, queries: Sequence[Query]) -> list[Reply]:
        """A reply to each of many questions; see `__call__`."""
        sheets = [sheet(query.images) if query.images else None for query in queries]
        replies: list[Reply] = [
            self._refused(q.question, image) or "" for q, image in zip(queries, sheets, strict=True)
        ]
        able = [i for i, reply in enumerate(replies) if reply == ""]
        numbers = {i: self._asked + i for i in able}
        self._asked += len(queries)
        for start in range(0, len(able), self.batch):
            some = able[start : start + self.batch]
            pictures = [(i, image) for i in some if (image := sheets[i]) is not None]
            samples = [Sample(f"query-{numbers[i]}", image, queries[i].question, "") for i, image in pictures]
            found = rollout(
                self.policy,
                samples,
                temperature=self.temperature,
                seed=self.seed,
                max_looks=0,
                max_new_tokens=self.max_new_tokens,
                numbers=[numbers[i] for i in some],
            )
            for i, trajectory in zip(some, found, strict=True):
                replies[i] = trajectory.answer or ""
        return replies

    def _refused(self, question: str, image: Image.Image | None) -> JudgeError | None:
        """Why the policy cannot be asked this."""
        if image is None:
            return JudgeError("a policy judges pictures; the question has none")
        why = refusal(self.policy, question, image.size)
        return JudgeError(why) if why else None


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


def policy_judges(policy: Policy, seed: int = 0, max_new_tokens: int = 512) -> dict[str, Judge]:
    """The judges that a policy can be: of `support`, greedy, and of `necessity`, sampled at temperature 1."""
    return {
        "support": PolicyJudge(policy, 0.0, seed, max_new_tokens),
        "necessity": PolicyJudge(policy, 1.0, seed, max_new_tokens),
    }
