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
from ..models.policy import Features, Policy, Row
from ..train.sft import schedule
from .lessons import BINS, IGNORE, NAMES, STATEMENTS, TEXT, Lesson, Lessons

# -- what lessons state: next tokens, and where two heads look ------------------------------------------------------

# Of the text model's four layers of four heads: those that look at what is stated, and, where that is found by its
# neighbour, those that look at the neighbour, one layer earlier.
POINTING_LAYER, ANCHOR_LAYER, POINTING_HEADS = 2, 1, (0, 1)


def lesson_rows(
    lessons: list[Lesson], features: list[Features], image_id: int
) -> tuple[list[Row], list[list[bool]], torch.Tensor]:
    """Expand each image to its tokens.

    Returns
    -------
    rows : sequences
    masks : for each token of a row, whether it must be predicted
    points : (N, 4) int64, (row, token that reads, token that it should look at, layer in which)
    """
    rows: list[Row] = []
    masks: list[list[bool]] = []
    points: list[tuple[int, int, int, int]] = []
    at = 0
    for lesson in lessons:
        own = features[at : at + len(lesson.images)]
        at += len(lesson.images)
        ids: list[int] = []
        mask: list[bool] = []
        starts: list[int] = []
        entries: list[int] = []  # where each entry of the text begins
        for token, loss, *aims in zip(lesson.text, lesson.loss, lesson.points, lesson.anchors, strict=True):
            entries.append(len(ids))
            if token is None:
                starts.append(len(ids))
            for aim, layer in zip(aims, (POINTING_LAYER, ANCHOR_LAYER), strict=True):
                if aim is not None:
                    looked_at = entries[aim[1]] if aim[0] == TEXT else starts[aim[0]] + aim[1]
                    points.append((len(rows), len(ids), looked_at, layer))
            count = len(own[len(starts) - 1].tokens) if token is None else 1
            ids += [image_id if token is None else token] * count
            mask += [loss] * count
        rows.append(Row(ids, own))
        masks.append(mask)
    return rows, masks, torch.tensor(points, dtype=torch.int64).view(-1, 4)


def stated(
    policy: Policy, rows: list[Row], masks: list[list[bool]], points: torch.Tensor, pointing: float
) -> tuple[torch.Tensor, dict[str, float]]:
    """Next-token loss of the statements, plus `pointing` times the loss of two heads that should look at `points`.

    Left alone, the text model takes hours to bind a name to a place among several badges (after 2,600 steps the
    coordinates still cost 3.1 nats each). Told for two heads of one layer which image token to look at, it does so
    within a hundred steps, and the coordinates follow.
    """
    batch = policy.rows(rows)
    wanted = torch.zeros_like(batch.ids, dtype=torch.bool)
    for i, mask in enumerate(masks):
        wanted[i, : len(mask)] = torch.tensor(mask, device=wanted.device)
    with attention.watching((POINTING_LAYER, ANCHOR_LAYER) if pointing > 0 else ()) as watched:
        states = policy.hidden(batch)
    logits, target = policy.logits(states[:, :-1][wanted[:, 1:]]), batch.ids[:, 1:][wanted[:, 1:]]
    each, right = F.cross_entropy(logits, target, reduction="none"), logits.argmax(-1) == target
    number = torch.tensor([policy.piece(int(t)).isdigit() for t in target])
    before = batch.ids[:, :-1][wanted[:, 1:]]
    in_box = number & torch.tensor([policy.piece(int(t)).endswith(("[", ", ")) for t in before])
    seen = {"text": float(each.detach().mean()), "token accuracy": float(right.float().mean())}
    for key, chosen in (("coordinate", in_box), ("said digit", number & ~in_box)):
        if chosen.any():
            seen[key] = float(each.detach()[chosen].mean())
            seen[f"{key} accuracy"] = float(right[chosen].float().mean())
    loss = each.mean()
    points = points.to(batch.ids.device)
    by_neighbour = points[(points[:, 3] == ANCHOR_LAYER) & (points[:, 1] + 1 < batch.ids.shape[1])]
    by_neighbour = by_neighbour[wanted[by_neighbour[:, 0], by_neighbour[:, 1] + 1]]  # what follows must be said
    if len(by_neighbour):
        row, reads = by_neighbour[:, 0], by_neighbour[:, 1]
        said = policy.logits(states[row, reads]).argmax(-1)
        seen["relation accuracy"] = float((said == batch.ids[row, reads + 1]).float().mean())
    if pointing > 0:
        for layer, key in ((POINTING_LAYER, "pointing mass"), (ANCHOR_LAYER, "anchor mass")):
            row, reads, looked_at, _ = points[points[:, 3] == layer].unbind(1)
            if len(row):
                weights = attention.log_weights(watched[layer], row, reads, looked_at, POINTING_HEADS)
                loss = loss - pointing * weights.mean()
                seen[key] = float(weights.detach().exp().mean())
    return loss, seen


def by_length(
    rows: list[Row], masks: list[list[bool]], points: torch.Tensor, parts: int = 2
) -> list[tuple[list[Row], list[list[bool]], torch.Tensor]]:
    """Rows with what belongs to them, in parts of like length: less padding, a sixth less time a step."""
    order = sorted(range(len(rows)), key=lambda r: len(rows[r].ids))
    size = -(-len(order) // parts)
    found = []
    for at in range(0, len(order), size):
        chosen = order[at : at + size]
        number = torch.full((len(rows),), -1).index_put((torch.tensor(chosen),), torch.arange(len(chosen)))
        own = points[number[points[:, 0]] >= 0]
        own = torch.cat([number[own[:, :1]], own[:, 1:]], dim=1)
        found.append(([rows[r] for r in chosen], [masks[r] for r in chosen], own))
    return found


def statements(
    policy: Policy, lessons: list[Lesson], features: list[Features], pointing: float
) -> tuple[torch.Tensor, dict[str, float]]:
    """`stated` of lessons with the features of their images: the mean over all tokens that must be predicted."""
    parts = by_length(*lesson_rows(lessons, features, policy.image_id))
    marked = [sum(map(sum, masks)) for _, masks, _ in parts]
    found = [stated(policy, *part, pointing) for part in parts]
    loss = torch.stack([part * n / sum(marked) for (part, _), n in zip(found, marked, strict=True)]).sum()
    seen = {}
    for key in {k: None for _, numbers in found for k in numbers}:
        known = [(numbers[key], n) for (_, numbers), n in zip(found, marked, strict=True) if key in numbers]
        seen[key] = sum(v * n for v, n in known) / sum(n for _, n in known)
    return loss, seen


# -- a stage --------------------------------------------------------------------------------------------------------

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
    save: Callable[[int, dict[str, Any]], None] = lambda step, optimiser: None,
    resume: tuple[int, dict[str, Any]] | None = None,
    stream: torch.utils.data.IterableDataset | None = None,
) -> None:
    """Run one stage.

    Parameters
    ----------
    stream : batches of lessons, those that are done left out; default: the stage's own, of badges
    log : called with means over every 50 steps
    save : called every 100 steps with the steps done and the optimiser's state
    resume : what `save` was last called with, to go on from there; policy and heads are as they were then
    """
    done, state = resume or (0, None)
    stream = badge_lessons(policy, stage, done) if stream is None else stream
    loader = torch.utils.data.DataLoader(stream, batch_size=None, num_workers=1, prefetch_factor=4)
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
