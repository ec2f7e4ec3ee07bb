"""Supervised cold start: a policy learns the protocol from VLIR samples.

Each rationale becomes one sequence: prompt with the overview, text, box, the crop that the loop would have cut, text,
..., answer. Loss is carried by what the policy will have to write itself: prompt, image and environment tokens are
masked (as published). The vision tower is frozen unless asked otherwise. `taught` turns a sample into the rollout that
it teaches, so whatever draws or explains a rollout takes a lesson too. Simplified: one process, no packing of
sequences.

    python -m r3lab train sft --model BASE --data VLIR_FOLDER --out runs/cold-start
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice

import numpy as np
import torch
from torch.nn import functional as F

from ..core.arms import FORCED, INTERLEAVED, Arm, get_arm
from ..core.errors import R3labError, shown
from ..core.files import first_interrupt
from ..core.geometry import clip, from_source, to_source, write_ints
from ..core.images import content_hash, cut, resize
from ..core.protocol import box_text
from ..core.settings import check_positive
from ..models.policy import Features, Policy, Row, Rows, reading
from ..rollout.sequence import begin, prompt_ids
from ..rollout.state import RolloutState
from ..trajectory import ImageRef, Trajectory
from ..vlir.rationale import in_arm
from ..vlir.sample import Rationale, Sample, read_vlir
from .devices import adamw
from .run import FREE, Progress, Run, ended, opened, steps
from .settings import SftSettings
from .update import ALONE, Alone

Pair = tuple[Sample, Rationale]


def encode_pair(
    policy: Policy, sample: Sample, rationale: Rationale, overview: Features, arm: Arm = INTERLEAVED
) -> tuple[Row, list[bool], list]:
    """Turn a VLIR sample into a sequence, with what the arm puts behind a box and the words that force a rationale.

    Returns
    -------
    row : ids, and the overview's features; those of the crops are still to be appended
    loss : (L,) True where the policy must predict the token
    crops : images to encode, in order
    """
    source, size = sample.image.size, policy.overview_size(sample.image.size)
    parts = [(prompt_ids(policy, sample.question, size, len(overview.tokens), arm), False)]  # ids, whether with loss
    if rationale.forced:
        parts.append((policy.ids(FORCED[rationale.forced]), False))
    crops = []
    for part in rationale.parts:
        if isinstance(part, str):
            parts.append((policy.ids(part), True))
            continue
        values = write_ints(from_source(part, policy.frame, source, size), policy.step)
        parts.append((policy.ids(box_text(values)), True))
        if arm.back == "nothing":
            continue
        region = clip(to_source(values, policy.frame, source, size), source)
        pixels = size if arm.back == "overview" else policy.crop_size(region, source)[1]
        crops.append(resize(sample.image, size) if arm.back == "overview" else cut(sample.image, region, pixels))
        count = (pixels[0] // policy.layout.factor) * (pixels[1] // policy.layout.factor)
        parts.append(([*policy.vision_start, *[policy.image_id] * count, *policy.vision_end], False))
    if not arm.marks.close:  # the end of the text is the end of the answer
        parts.append(([policy.tokenizer.eos_token_id], True))
    ids = [token for own, _ in parts for token in own]
    return Row(ids, [overview]), [loss for own, loss in parts for _ in own], crops


def encode_batch(policy: Policy, pairs: Sequence[Pair], arm: Arm = INTERLEAVED) -> tuple[list[Row], list[list[bool]]]:
    """Sequences of several VLIR samples, all images encoded in two calls of the vision tower; rationales are those of
    the arm already (`vlir.in_arm`)."""
    overviews = policy.encode([resize(s.image, policy.overview_size(s.image.size)) for s, _ in pairs])
    encoded = [encode_pair(policy, s, r, o, arm) for (s, r), o in zip(pairs, overviews, strict=True)]
    found = iter(policy.encode([crop for _, _, crops in encoded for crop in crops]))
    for row, _, crops in encoded:
        row.images += [next(found) for _ in crops]
    return [row for row, _, _ in encoded], [loss for _, loss, _ in encoded]


def marked(batch: Rows, masks: Sequence[Sequence[bool]]) -> torch.Tensor:
    """The masks of rows as one (B, L), False on the padding."""
    wanted = torch.zeros_like(batch.ids, dtype=torch.bool)
    for i, mask in enumerate(masks):
        wanted[i, : len(mask)] = torch.tensor(mask, device=wanted.device)
    return wanted


def next_token_loss(policy: Policy, rows: list[Row], masks: list[list[bool]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Cross-entropy (N,) at every token marked in `masks`, and whether the greedy token is right (N,)."""
    batch = policy.rows(rows)
    wanted = marked(batch, masks)
    hidden = policy.hidden(batch)[:, :-1][wanted[:, 1:]]  # (N, D): the state before each marked token
    logits, target = policy.logits(hidden), batch.ids[:, 1:][wanted[:, 1:]]
    return F.cross_entropy(logits, target, reduction="none"), logits.argmax(-1) == target


def schedule(step: int, steps: int, final: float, warm: int = 100) -> float:
    """Factor on the learning rate: linear up over `warm` steps, then a cosine down to `final`."""
    if step < warm:
        return (step + 1) / warm
    progress = (step - warm) / max(1, steps - warm)
    return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * progress))


def descend(loss: torch.Tensor, optimiser: torch.optim.Optimizer, rate: float, processes: Alone = ALONE) -> float:
    """A step down the gradient at this learning rate, of a group that has `times` so many times that, its norm held to
    1; returns the norm that it had. Several processes take the mean of their gradients."""
    trained = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    for group in optimiser.param_groups:
        group["lr"] = rate * group.get("times", 1.0)
    optimiser.zero_grad(set_to_none=True)
    (loss / processes.count).backward()
    processes.sum_gradients(trained)
    norm = torch.nn.utils.clip_grad_norm_(trained, 1.0)
    optimiser.step()
    return float(norm)


def cold_start(
    policy: Policy,
    batches: Iterator[Sequence[Pair]],
    settings: SftSettings,
    log: Callable[[dict], None],
    progress: bool = True,
    run: Run | None = None,
) -> None:
    """Train on `settings.steps` batches of VLIR samples. Ctrl-C ends after the step in progress.

    Parameters
    ----------
    batches : of each step; of a run that goes on, from where it was
    run : goes on with what is there, and gets a checkpoint every `save_every` steps, at the end and on Ctrl-C
    """
    check_positive(settings, "steps", "batch", "learning_rate", "save_every")
    arm, trained = get_arm(settings.arm), policy.trained(settings.freeze_vision)
    optimiser = adamw(trained, settings.learning_rate, 0.98)
    before = run.restore(policy, optimiser) if run else Progress()
    begin = time.time() - before.seconds

    def save(done: int) -> None:
        if run:
            run.save(Progress(done, seconds=time.time() - begin), policy, optimiser)

    with first_interrupt() as stop:
        left = range(before.step, settings.steps)
        for step in steps("cold start", left, settings.save_every, save, stop.is_set, progress):
            with torch.set_grad_enabled(not settings.freeze_vision):
                rows, masks = encode_batch(policy, [(s, in_arm(r, s, arm)) for s, r in next(batches)], arm)
            with torch.enable_grad():
                each, right = next_token_loss(policy, rows, masks)
                rate = settings.learning_rate * schedule(step, settings.steps, 0.1, warm=10)
                norm = descend(each.mean(), optimiser, rate)
            told = {"stage": "cold-start", "step": step + 1, "loss": round(float(each.detach().mean()), 5)}
            told |= {"token_accuracy": round(float(right.float().mean()), 4), "grad_norm": round(norm, 4)}
            log({**told, "seconds": round(time.time() - begin, 1)})


def epochs(pairs: Sequence[Pair], batch: int, seed: int) -> Iterator[list[Pair]]:
    """Endless shuffled batches."""
    rng = np.random.default_rng(seed)
    while True:
        order = rng.permutation(len(pairs))
        for i in range(0, max(1, len(pairs) - batch + 1), batch):
            yield [pairs[k] for k in order[i : i + batch]]


def main(s: SftSettings) -> int:
    """Supervised cold start on VLIR samples.

    r3lab train sft --model CHECKPOINT --data VLIR_FOLDER --out runs/cold-start
    """
    if not s.model or not s.data:
        raise R3labError("give --model (a checkpoint folder) and --data (a VLIR folder)")
    policy = Policy.load(s.model)
    policy.trained(True)  # one of the plain path says here that it cannot be, before a folder is made
    pairs = list(read_vlir(s.data))
    if not pairs:
        raise R3labError(f"{s.data} holds no samples")
    with opened(s, keep=1, free=FREE - {"steps"}) as (run, begin, log):  # which shape the learning rate
        batches = islice(epochs(pairs, s.batch, s.seed), begin.step, None)
        return ended(lambda: cold_start(policy, batches, s, log, run=run), policy, s.out)


TEACHER = "teacher"  # who wrote it, in place of a policy's name


@torch.no_grad()
def taught(policy: Policy, sample: Sample, rationale: Rationale, arm: Arm = INTERLEAVED) -> Trajectory:
    """The record of a rollout that wrote this rationale word for word.

    The tokens are those that the cold start trains on; the loop reads them one by one, cuts the crops and keeps the
    record. The log-probabilities are the policy's own, of words that it did not choose: where they are low, the lesson
    has something to teach.

    Parameters
    ----------
    policy
        Whose tokens, frame and crops they are; it gives the log-probabilities, at temperature 1.
    sample, rationale
        Boxes in source pixels; the rationale is the arm's already (`vlir.in_arm`).
    arm
        In which it is written.

    Returns
    -------
    Trajectory
        With its images; `model` is "teacher".

    Raises
    ------
    R3labError
        If the loop would not take the rationale as it stands: a box that cannot be cut, text after the answer, none.
    """
    [row], [mask] = encode_batch(policy, [(sample, rationale)], arm)
    image = ImageRef(content_hash(sample.image), *sample.image.size)
    given = row.ids[: mask.index(True) - len(policy.ids(FORCED.get(rationale.forced, "")))]
    record = begin(policy, sample, image, given, arm, model=TEACHER, forced=rationale.forced)
    words = [i for i, told in enumerate(mask) if told]
    with reading(policy):
        states = policy.hidden(policy.rows([row]))[0, [i - 1 for i in words]]  # (T, D)
    logp = torch.log_softmax(policy.logits(states), dim=-1)  # (T, V)
    spread = torch.special.entr(logp.exp()).sum(-1).tolist()
    branch = RolloutState(policy, record, max_looks=len(rationale.boxes), max_new_tokens=len(words) + 1)
    for number, i in enumerate(words):
        if record.finish != "length":  # it has ended, and there is more: the ids below differ
            break
        branch.take(row.ids[i], float(logp[number, row.ids[i]]), spread[number])
    if record.ids != row.ids or record.finish != "answered":
        why = next((look.reason for look in record.looks if not look.valid), "") or "it does not end with one answer"
        raise R3labError(f"the loop does not take the rationale of {shown(sample.id)} as it stands: {why}; mend it.")
    return record
