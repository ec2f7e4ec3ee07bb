"""r3lab as a model of lmms-eval: a task's questions go through the interleaved loop, and the answer alone comes back.

    lmms-eval --model r3lab --model_args pretrained=checkpoints/policy --tasks vstar_bench --batch_size 8
    simple_evaluate(model=R3Lab("checkpoints/policy"), tasks=["mine"], task_manager=...)       # or from Python

What a task gets to score is the content of <answer>, "" where there is none: never the reasoning, whose first letter
some scorers would take for a choice. Many tasks allow 16 or 32 new tokens, for models that answer at once; here
`max_new_tokens` is the least that a rollout may have, and a task can only allow more. A task's `until` ends the answer,
not the reasoning. Simplified: one process and one device; several images are laid on one sheet, side by side; sampling
is from the whole distribution; tasks of several rounds and of likelihoods are refused. The extra `eval` brings
lmms-eval; the class itself needs only requests of that shape.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image
from tqdm import tqdm

from ..core.arms import INTERLEAVED, get_arm
from ..core.errors import R3labError, nearest, shown
from ..core.images import MAX_PIXELS, open_image
from ..models.policy import Policy
from .legibility import GAP, Item, ask, sheet

NAME = "r3lab"  # for --model
IMAGE_MARK = "<image>"  # where a task's text says that an image comes; lmms-eval's models take it out
SETTINGS = ("pretrained", "device", "dtype", "batch_size", "max_new_tokens", "max_looks", "seed", "arm", "strict")
# What the loop cannot do, with the values under which a task does not ask for it; the last two matter where it samples.
_ONLY: dict[str, tuple[Any, ...]] = {"num_beams": (None, 1), "top_p": (None, 1), "top_k": (None, 0, -1)}


@dataclass(frozen=True)
class GenerationSettings:
    """How a task of lmms-eval wants its questions answered.

        GenerationSettings.of({"max_new_tokens": 16, "until": ["\\n\\n"]}, least=512)     # 512 tokens, greedy
        GenerationSettings.of({"num_beams": 4}, least=512)                    # R3labError: cannot be had

    Simplified: of what Hugging Face's `generate` takes, the loop knows these; a task that asks for beams, or for
    sampling from a part of the distribution, is refused.

    Attributes
    ----------
    temperature : 0 is greedy
    max_new_tokens : sampled tokens that a rollout may have
    until : texts at which an answer ends
    """

    temperature: float = 0.0
    max_new_tokens: int = 512
    until: tuple[str, ...] = ()

    @classmethod
    def of(cls, wanted: Mapping[str, Any], least: int) -> GenerationSettings:
        """Read a task's `generation_kwargs`; names that mean nothing to the loop are passed over.

        Parameters
        ----------
        wanted
            `temperature`, `do_sample`, `max_new_tokens`, `until`; of others the default alone can be had.
        least
            Tokens that a rollout may have, whatever the task says.

        Raises
        ------
        R3labError
            For beams, or for sampling from a part of the distribution, and for values that are none.
        """
        sample, temperature = wanted.get("do_sample"), wanted.get("temperature")
        if sample is False or temperature is None:
            temperature = 1.0 if sample else 0.0
        given = wanted.get("max_new_tokens")
        tokens: Any = least if given is None else given
        for name, value in (("temperature", temperature), ("max_new_tokens", tokens)):
            if type(value) not in (int, float) or not 0 <= value < math.inf:
                raise R3labError(f"{name} must be a number from 0, got {shown(value)}.")
        for name, plain in _ONLY.items():
            if wanted.get(name) not in plain and (temperature or name == "num_beams"):
                value, give = shown(wanted[name]), f"give --gen_kwargs {name}={plain[-1]}"
                raise R3labError(f"{name} {value} cannot be had: the loop samples one token at a time of all; {give}.")
        until = wanted.get("until") or []
        ends = [until] if isinstance(until, str) else until
        if not (isinstance(ends, list | tuple) and all(isinstance(end, str) for end in ends)):
            raise R3labError(f"until must be text or a list of texts, got {shown(until)}.")
        return cls(float(temperature), max(least, int(tokens)), tuple(end for end in ends if end))

    def ended(self, answer: str | None) -> str:
        """An answer up to the first text that ends it; "" for none."""
        ends = [at for end in self.until if (at := (answer or "").find(end)) >= 0]
        return (answer or "")[: min(ends, default=None)]


def _base() -> Any:
    """The class that lmms-eval wants a model to be; any, where it is not installed."""
    try:
        from lmms_eval.api.model import lmms
    except ModuleNotFoundError as error:
        if str(error.name).partition(".")[0] != "lmms_eval":  # it is there, something that it needs is not
            raise
        return object
    return lmms


Base: Any = _base()


def manifest() -> Any:
    """What lmms-eval's entry-point group `lmms_eval.models` wants: the name, and where the class is."""
    from lmms_eval.models.registry_v2 import ModelManifest

    return ModelManifest(model_id=NAME, simple_class_path=f"{__name__}.R3Lab")


class R3Lab(Base):
    """A policy and the loop as a model of lmms-eval.

    Parameters
    ----------
    pretrained
        Folder of a checkpoint, or a policy.
    device, dtype
        As `Policy.load` takes them.
    batch_size
        Questions that are answered together.
    max_new_tokens
        Sampled tokens that a rollout may have at least; a task's own limit counts where it is larger.
    max_looks
        Looks that a rollout may take.
    seed
        Of tasks that sample; every request has a random stream of its own.
    arm
        Which of the ways to answer that looking again is compared with (`arms`).
    strict
        A question that the policy cannot be asked (no image or a video, too long, with the policy's control tokens)
        ends the run; if False it is told, counted in `refused`, and answered with "".

    Raises
    ------
    R3labError
        If an argument is unknown or cannot be one, or the checkpoint cannot be used.
    """

    is_simple = True

    def __init__(
        self,
        pretrained: str | Path | Policy = "",
        device: str | None = None,
        dtype: str | None = None,
        batch_size: int = 8,
        max_new_tokens: int = 512,
        max_looks: int = 8,
        seed: int = 0,
        arm: str = INTERLEAVED.name,
        strict: bool = True,
        **unknown: Any,
    ) -> None:
        super().__init__()
        for name in unknown:
            known = ", ".join(SETTINGS)
            raise R3labError(f"r3lab has no argument {shown(name)}; known: {known}.{nearest(name, SETTINGS)}")
        whole = {"batch_size": batch_size, "max_new_tokens": max_new_tokens, "max_looks": max_looks, "seed": seed}
        for name, value in whole.items():
            least = int(name in ("batch_size", "max_new_tokens"))
            if type(value) is not int or value < least:
                raise R3labError(f"{name} must be a whole number from {least}, got {shown(value)}.")
        if not pretrained:
            raise R3labError("r3lab needs a policy: give --model_args pretrained=FOLDER, the folder of a checkpoint.")
        self.seed, self.arm, self.strict = seed, get_arm(arm), strict
        self.batch_size, self.max_new_tokens, self.max_looks = batch_size, max_new_tokens, max_looks
        self.policy = pretrained if isinstance(pretrained, Policy) else Policy.load(pretrained, device, dtype)
        self.task_dict: dict[str, Any] = {}  # the evaluator puts each task's data set here
        self.refused = 0
        self._asked = 0  # so that no two requests share a random stream, in however many calls they come

    @property
    def device(self) -> Any:
        """Where the weights are."""
        return self.policy.device

    def generate_until(self, requests: Sequence[Any]) -> list[str]:
        """The answers to a task's questions, in order.

        Parameters
        ----------
        requests
            Each with `args`: text, generation_kwargs, a function from document to images, and number, task and split
            of the document.

        Raises
        ------
        R3labError
            Naming task and document, before anything is answered if a task's settings cannot be had; see `strict`.
        """
        asked = [request.args for request in requests]
        every = [self._settings(wanted, task) for _, wanted, _, _, task, _ in asked]
        replies, bar = [""] * len(asked), tqdm(total=len(asked), desc="r3lab", disable=getattr(self, "_rank", 0) != 0)
        for settings in dict.fromkeys(every):  # what is answered with the same settings is answered together
            alike = [i for i, own in enumerate(every) if own == settings]
            for start in range(0, len(alike), self.batch_size):
                some = {i: asked[i] for i in alike[start : start + self.batch_size]}
                items = {i: item for i, args in some.items() if (item := self._item(*args)) is not None}
                found = ask(
                    self.policy,
                    list(items.values()),
                    [self._asked + i for i in items],
                    temperature=settings.temperature,
                    seed=self.seed,
                    max_looks=self.max_looks,
                    max_new_tokens=settings.max_new_tokens,
                    arm=self.arm,
                )
                for (i, item), one in zip(items.items(), found, strict=True):
                    if isinstance(one, str):
                        self._refuse(item.id, one)
                    else:
                        replies[i] = settings.ended(one.answer)
                bar.update(len(some))
        bar.close()
        self._asked += len(asked)
        return replies

    def generate_until_multi_round(self, requests: Sequence[Any]) -> list[str]:
        """Refused: what the policy saw in one round would be gone in the next.

        Raises
        ------
        R3labError
            Always.
        """
        raise R3labError("r3lab answers in one round; take a variant of the task with output_type generate_until.")

    def loglikelihood(self, requests: Sequence[Any]) -> list[tuple[float, bool]]:
        """Refused: what a policy thinks of an answer follows from its reasoning and its looks.

        Raises
        ------
        R3labError
            Always.
        """
        task = requests[0].args[-2] if requests and len(requests[0].args) > 2 else "one"
        raise R3labError(
            f"r3lab gives no likelihoods, which the task {shown(task)} scores: the policy answers after reasoning and "
            "looks of its own, and how likely an answer is right behind the question is not what it would say. Take a "
            "variant of the task with output_type generate_until."
        )

    def _settings(self, wanted: Mapping[str, Any], task: str) -> GenerationSettings:
        try:
            return GenerationSettings.of(wanted, self.max_new_tokens)
        except R3labError as error:
            raise R3labError(f"task {task}: {error}") from None

    def _item(self, text: str, wanted: Any, to_images: Any, number: int, task: str, split: str) -> Item | None:
        """A question, its images on one sheet, named by its place; None where its images cannot be shown."""
        where = f"task {task}, document {number}"
        try:
            whole = one_sheet(to_images(self.task_dict[task][split][number]))
            return Item(where, text.replace(IMAGE_MARK, " "), whole, {})
        except R3labError as error:
            self._refuse(where, str(error))
            return None

    def _refuse(self, where: str, why: str) -> None:
        if self.strict:
            way = "leave it out with process_docs, or give strict=False to count it as unanswered"
            raise R3labError(f"{where}: {why} ({way})")
        self.refused += 1
        tqdm.write(f"not asked, counted as unanswered: {where}: {why}", file=sys.stderr)


def one_sheet(images: Any) -> Image.Image | None:
    """A document's images on one sheet; None for none.

    Raises
    ------
    R3labError
        If one of them is no image, or the sheet would be too large.
    """
    given = list(images or ())
    for image in given:
        if not isinstance(image, Image.Image):
            raise R3labError(f"the policy sees images, not {shown(image)}.")
    sides = [max(image.size) for image in given]  # of a sheet, whichever way a camera held them
    if len(given) > 1 and (pixels := (sum(sides) + GAP * len(sides)) * max(sides)) > MAX_PIXELS:
        raise R3labError(f"a sheet of its {len(given)} images could have {pixels:,} pixels, over {MAX_PIXELS:,}.")
    return sheet([open_image(image) for image in given]) if given else None
