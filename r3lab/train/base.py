"""Vision warm-up and grounding: from random weights to a base that perceives, locates and reads.

Two stages over `lessons`. *Warm-up*: linear heads on the visual tokens, thrown away afterwards (they stand in for the
CLIP-style pretraining of a real VLM); only the vision tower learns. *Grounding*: the text model learns to state where a
badge is, what stands beside it and what a crop shows, with the heads kept at a small weight; one badge a scene first,
then up to five. Nothing here belongs to VLM-R3: a real checkpoint arrives with these skills.

    heads = Heads(128)
    train_base(policy, heads, Stage("warm-up", steps=2000, text=False, ...), log)
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from tqdm import tqdm

from ..models import attention
from ..models.policy import Policy
from .lessons import BINS, IGNORE, NAMES, STATEMENTS, Lesson, Lessons
from .schedule import schedule
from .statements import statements

Log = Callable[[dict], None]
WEIGHTS = {"digit": 3.0, "name": 2.0, "word": 4.0}  # reading is slow to come


@dataclass(frozen=True)
class Stage:
    """One stage of `train_base`: learning rates peak after a short warm-up and fall as a cosine to `final_fraction`."""

    name: str
    steps: int
    batch: int
    badges: tuple[int, int]
    text: bool
    learning_rate: float
    head_weight: float = 1.0
    final_fraction: float = 0.1
    seed: int = 0
    windows: int = 0  # close views of each badge's digit
    statements: tuple[str, ...] = STATEMENTS
    vary: tuple[str, ...] = ("colours",)  # of photographs; "hands", "wild hands": that write digits
    pointing: float = 0.0  # weight of the loss on where two heads look


class Heads(nn.Module):
    """Linear heads on visual tokens (N, D): what is at a badge's centre, in overview and crop."""

    def __init__(self, width: int) -> None:
        super().__init__()
        sizes = {"name": len(NAMES), "large": 2, "digit": 10, **{f"edge{i}": BINS for i in range(4)}}
        self.overview = nn.ModuleDict({k: nn.Linear(width, n) for k, n in sizes.items()})
        self.crop = nn.ModuleDict({"name": nn.Linear(width, len(NAMES)), "digit": nn.Linear(width, 10)})
        self.presence = nn.Linear(width, 1)

    def forward(self, features: list, lessons: list[Lesson]) -> tuple[torch.Tensor, dict[str, float]]:
        """Summed cross-entropies and accuracies; `features` are those of all images of all lessons, in order."""
        centres, whole, inked, present, at = [], [], [], [], 0
        for lesson in lessons:
            tokens = features[at].tokens
            whole.append(tokens)
            mark = torch.zeros(len(tokens))
            mark[lesson.cells] = 1.0
            present.append(mark)
            centres.append(tokens[torch.as_tensor(lesson.cells)])
            crops = features[at + 1 : at + len(lesson.images)]
            inked += [f.tokens[c] for f, c in zip(crops, lesson.crop_cells.tolist(), strict=True)]
            at += len(lesson.images)
        losses: list[torch.Tensor] = []
        seen: dict[str, float] = {}
        device = whole[0].device
        logit, mark = self.presence(torch.cat(whole))[:, 0], torch.cat(present).to(device)
        losses.append(4.0 * F.binary_cross_entropy_with_logits(logit, mark))
        x = torch.cat(centres)
        for key, head in self.overview.items():
            target = torch.cat([torch.as_tensor(v.targets[key]) for v in lessons]).to(device)
            self._add(head(x), target, key, losses, seen)
        if inked:
            y = torch.stack(inked)
            for key, head in self.crop.items():
                target = torch.cat([torch.as_tensor(v.crop_targets[key]) for v in lessons]).to(device)
                self._add(head(y), target, f"crop {key}", losses, seen)
        return torch.stack(losses).sum(), seen

    def read(self, views: list, lessons: list[Lesson]) -> tuple[torch.Tensor, float]:
        """Cross-entropy and accuracy of the digits in close views; `views` are their features, in order."""
        logits = self.crop["digit"](torch.stack([v.tokens.mean(0) for v in views]))
        target = torch.tensor([d for lesson in lessons for d in lesson.window_digits], device=logits.device)
        return F.cross_entropy(logits, target), float((logits.argmax(-1) == target).float().mean())

    @staticmethod
    def _add(logits: torch.Tensor, target: torch.Tensor, key: str, losses: list, seen: dict[str, float]) -> None:
        known = target != IGNORE
        if known.any():
            losses.append(WEIGHTS.get(key.removeprefix("crop "), 1.0) * F.cross_entropy(logits[known], target[known]))
            right = logits[known].argmax(-1)
            near = (right - target[known]).abs() <= (1 if key.startswith("edge") else 0)
            seen[key] = float(near.float().mean())


def badge_lessons(policy: Policy, stage: Stage, start: int = 0) -> Lessons:
    """The stream of lessons that a stage asks for, from batch number `start`."""
    return Lessons(
        policy.ids,
        (*policy.vision_start, *policy.vision_end),
        stage.seed,
        stage.badges,
        stage.batch,
        stage.text,
        stage.windows,
        stage.statements,
        stage.vary,
        start,
        policy.layout.crop_tokens,
    )


def train_base(
    policy: Policy,
    heads: Heads,
    stage: Stage,
    log: Log,
    workers: int = 1,
    save: Callable[[int, dict[str, Any]], None] = lambda step, optimiser: None,
    resume: tuple[int, dict[str, Any]] | None = None,
    stream: torch.utils.data.IterableDataset | None = None,
) -> None:
    """Run one stage.

    Parameters
    ----------
    stream : batches of lessons, those that are done left out; default: the stage's own, of badges
    log : called with means over every 50 steps
    workers : processes that make lessons
    save : called every 100 steps with the steps done and the optimiser's state
    resume : what `save` was last called with, to go on from there; policy and heads are as they were then
    """
    done, state = resume or (0, None)
    stream = badge_lessons(policy, stage, done) if stream is None else stream
    loader = torch.utils.data.DataLoader(stream, batch_size=None, num_workers=workers, prefetch_factor=4)
    model = policy.model
    trained = [*(model if stage.text else model.model.visual).parameters(), *heads.parameters()]
    optimiser = torch.optim.AdamW(trained, lr=stage.learning_rate, betas=(0.9, 0.98), weight_decay=0.02)
    if state is not None:
        optimiser.load_state_dict(state)
    attention.select(model, stage.pointing > 0)
    model.train()
    sums: dict[str, list[float]] = {}
    start = time.time()
    lessons = iter(loader)
    for step in tqdm(range(done, stage.steps), desc=stage.name, initial=done, total=stage.steps, mininterval=1):
        for group in optimiser.param_groups:
            group["lr"] = stage.learning_rate * schedule(step, stage.steps, stage.final_fraction)
        batch = next(lessons)
        features = policy.encode([image for lesson in batch for image in lesson.images])
        loss, seen = heads(features, batch)
        seen["heads"] = float(loss.detach())
        views = [window for lesson in batch for window in lesson.windows]
        if views:
            reading, seen["close digit"] = heads.read(policy.encode(views), batch)
            loss = loss + WEIGHTS["digit"] * reading
        loss = stage.head_weight * loss
        if stage.text:
            scenes = sum(len(lesson.cells) > 0 for lesson in batch)  # they come first; the others have no overview
            images = sum(len(lesson.images) for lesson in batch[:scenes])
            told, numbers = statements(policy, batch[:scenes], features[:images], stage.pointing)
            loss, seen = loss + told, seen | numbers
            if batch[scenes:]:
                told, numbers = statements(policy, batch[scenes:], features[images:], stage.pointing)
                loss, seen = loss + told, seen | {f"alone, {key}": value for key, value in numbers.items()}
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimiser.step()
        for key, value in seen.items():
            sums.setdefault(key, []).append(value)
        if (step + 1) % 50 == 0 or step + 1 == stage.steps:
            means = {k: round(sum(v) / len(v), 4) for k, v in sums.items()}
            log({"stage": stage.name, "step": step + 1, "seconds": round(time.time() - start, 1), **means})
            sums = {}
        if (step + 1) % 100 == 0 or step + 1 == stage.steps:
            save(step + 1, optimiser.state_dict())
    attention.select(model, False)
    model.eval()
