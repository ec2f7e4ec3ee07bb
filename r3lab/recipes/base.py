"""Vision warm-up and grounding: from random weights to a base that perceives, locates and reads.

Two kinds of stages over `lessons`. *Warm-up*: linear heads on the visual tokens, thrown away afterwards (they stand in
for the CLIP-style pretraining of a real VLM); only the vision tower learns. *Grounding*: the text model learns to state
where a badge is, what stands beside it and what a crop shows, with the heads kept at a small weight; one badge a scene
first, then up to five. Nothing here belongs to VLM-R3: a real checkpoint arrives with these skills.

    heads = Heads(128)
    train_base(policy, heads, Stage("warm-up", 2000, 24, (1, 5), text=False), log)
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from ..models import attention
from ..models.policy import Features, Policy, Row
from ..train.run import Progress, Run, steps
from ..train.sft import descend, marked, schedule
from ..train.update import ALONE, Alone
from .facts import WORDS
from .lessons import BINS, IGNORE, NAMES, TEXT, Lesson, Lessons, Stage
from .strips import CHARACTERS

# -- what lessons state: next tokens, and where two heads look ------------------------------------------------------

# Of the text model's four layers of four heads: those that look at what is stated, and, where that is found by its
# neighbour, those that look at the neighbour, one layer earlier; and, where a letter names that, those that look at the
# letter, in the first. Else a head each of the first looks at the token before, the one before that, and the third.
POINTING_LAYER, ANCHOR_LAYER, LETTER_LAYER, POINTING_HEADS = 2, 1, 0, (0, 1)
BEHIND = 3


def lesson_rows(
    lessons: list[Lesson], features: list[Features], image_id: int
) -> tuple[list[Row], list[list[bool]], torch.Tensor]:
    """Expand each image to its tokens.

    Returns
    -------
    rows : sequences
    masks : for each token of a row, whether it must be predicted
    points : (N, 5) int64, (row, token that reads, token that it should look at, layer in which, head: -1 for both)
    """
    rows, masks, points, left = list[Row](), list[list[bool]](), list[tuple[int, int, int, int, int]](), iter(features)
    for lesson in lessons:
        own = [next(left) for _ in lesson.images]
        ids, mask, starts = list[int](), list[bool](), list[int]()
        entries: list[int] = []  # where each entry of the text begins
        letters = dict(lesson.letters)
        for number, (token, loss, point, anchor) in enumerate(
            zip(lesson.text, lesson.loss, lesson.points, lesson.anchors, strict=True)
        ):
            entries.append(len(ids))
            if token is None:
                starts.append(len(ids))
            aims = [(point, POINTING_LAYER, -1), (letters.get(number), LETTER_LAYER, -1)]
            if anchor is not None and isinstance(anchor[0], tuple):
                aims += [(one, ANCHOR_LAYER, k) for k, one in enumerate(anchor)]
            else:
                aims.append((anchor, ANCHOR_LAYER, -1))
            for aim, layer, head in aims:
                if aim is not None:
                    looked_at = entries[aim[1]] if aim[0] == TEXT else starts[aim[0]] + aim[1]
                    points.append((len(rows), len(ids), looked_at, layer, head))
            count = len(own[len(starts) - 1].tokens) if token is None else 1
            ids += [image_id if token is None else token] * count
            mask += [loss] * count
        rows.append(Row(ids, own))
        masks.append(mask)
    return rows, masks, torch.tensor(points, dtype=torch.int64).view(-1, 5)


def stated(
    policy: Policy, rows: list[Row], masks: list[list[bool]], points: torch.Tensor, pointing: float
) -> tuple[torch.Tensor, dict[str, float]]:
    """Next-token loss of the statements, plus `pointing` times the loss of two heads that should look at `points`.

    Left alone, the text model takes hours to bind a name to a place among several badges (after 2,600 steps the
    coordinates still cost 3.1 nats each). Told for two heads of one layer which image token to look at, it does so
    within a hundred steps, and the coordinates follow.
    """
    batch = policy.rows(rows)
    wanted = marked(batch, masks)
    layers = {POINTING_LAYER: "pointing mass", ANCHOR_LAYER: "anchor mass", LETTER_LAYER: "letter mass"}
    layers = {layer: key for layer, key in layers.items() if pointing > 0 and (points[:, 3] == layer).any()}
    behind = BEHIND if pointing > 0 and LETTER_LAYER not in layers else 0
    with attention.watching((*layers, LETTER_LAYER) if behind else tuple(layers)) as watched:
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
    by_neighbour = points[(points[:, 3] == ANCHOR_LAYER) & (points[:, 4] < 1) & (points[:, 1] + 1 < batch.ids.shape[1])]
    by_neighbour = by_neighbour.to(batch.ids.device)
    by_neighbour = by_neighbour[wanted[by_neighbour[:, 0], by_neighbour[:, 1] + 1]]  # what follows must be said
    if len(by_neighbour):
        row, reads = by_neighbour[:, 0], by_neighbour[:, 1]
        said = policy.logits(states[row, reads]).argmax(-1)
        seen["relation accuracy"] = float((said == batch.ids[row, reads + 1]).float().mean())
    for layer, key in layers.items():
        row, reads, looked_at, _, head = points[points[:, 3] == layer].unbind(1)
        weights = attention.log_weights(watched[layer], row, reads, looked_at, POINTING_HEADS)  # (N, heads)
        told = (head[:, None] < 0) | (head[:, None] == torch.arange(len(POINTING_HEADS)))
        weights = weights[told.to(weights.device)]
        loss = loss - pointing * weights.mean()
        seen[key] = float(weights.detach().exp().mean())
    row, reads = wanted[:, 1:].cpu().nonzero().unbind(1)
    for back in range(1, behind + 1):
        there = reads >= back
        at = row[there], reads[there], reads[there] - back
        weights = attention.log_weights(watched[LETTER_LAYER], *at, (back - 1,))
        loss = loss - pointing / behind * weights.mean()
        seen["behind mass"] = float(weights.detach().exp().mean())
    return loss, seen


def by_length(
    rows: list[Row], masks: list[list[bool]], points: torch.Tensor, parts: int = 6
) -> list[tuple[list[Row], list[list[bool]], torch.Tensor]]:
    """Rows with what belongs to them, in parts of like length: less padding, a third less time a step."""
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

WEIGHTS = {"digit": 3.0, "name": 2.0, "word": 4.0, "character": 2.0, "print": 4.0}  # reading is slow to come
MOMENTUM = 0.95  # of Muon
LOGGED, SAVED = 50, 100  # steps between rows of the log, and between checkpoints

Targets = list[tuple[str, torch.Tensor, torch.Tensor]]  # a name, logits (n, classes), classes (n,) or IGNORE


class Heads(nn.Module):
    """Linear heads on visual tokens (N, D): what is at an object's centre, in overview and crop.

    Parameters
    ----------
    width : D
    worlds : also a head for words and swatches in the overview, one for its large print, and one for the characters of
        a crop
    """

    def __init__(self, width: int, worlds: bool = False) -> None:
        super().__init__()
        sizes = {"name": len(NAMES), "large": 2, "digit": 10, **{f"edge{i}": BINS for i in range(4)}}
        self.overview = nn.ModuleDict({k: nn.Linear(width, n) for k, n in sizes.items()})
        self.crop = nn.ModuleDict({"name": nn.Linear(width, len(NAMES)), "digit": nn.Linear(width, 10)})
        self.presence = nn.Linear(width, 1)
        if worlds:
            self.word = nn.Linear(width, len(WORDS))
            self.ink = nn.ModuleDict({name: nn.Linear(width, len(CHARACTERS)) for name in ("character", "print")})

    def forward(self, features: Sequence[Features], lessons: Sequence[Lesson]) -> tuple[torch.Tensor, dict[str, float]]:
        """Summed cross-entropies and accuracies; `features` are those of all images of all lessons, in order. Lessons
        without an overview have characters alone."""
        left, device = iter([f.tokens for f in features]), features[0].tokens.device
        own = [[next(left) for _ in lesson.images] for lesson in lessons]
        scenes = [(tokens, lesson) for tokens, lesson in zip(own, lessons, strict=True) if len(lesson.cells)]

        def classes(parts: Sequence[np.ndarray]) -> torch.Tensor:
            return torch.from_numpy(np.concatenate(parts)).to(device)

        losses, seen = list[torch.Tensor](), dict[str, float]()
        asked: Targets = []
        if scenes:
            logit = self.presence(torch.cat([tokens[0] for tokens, _ in scenes]))[:, 0]
            there = [torch.zeros(len(tokens[0])).index_fill(0, torch.as_tensor(v.cells), 1.0) for tokens, v in scenes]
            losses.append(4.0 * F.binary_cross_entropy_with_logits(logit, torch.cat(there).to(device)))
            centres = [tokens[0][torch.as_tensor(v.cells)] for tokens, v in scenes]
            inked = [f[c] for tokens, v in scenes for f, c in zip(tokens[1:], v.crop_cells.tolist(), strict=True)]
            x = torch.cat(centres)
            for key, head in self.overview.items():
                asked.append((key, head(x), classes([v.targets[key] for _, v in scenes])))
            if inked:
                y = torch.stack(inked)
                for key, head in self.crop.items():
                    asked.append((f"crop {key}", head(y), classes([v.crop_targets[key] for _, v in scenes])))
            found = [(c, v.targets["word"]) for c, (_, v) in zip(centres, scenes, strict=True) if "word" in v.targets]
            if found:
                asked.append(("word", self.word(torch.cat([c for c, _ in found])), classes([w for _, w in found])))
        ink: dict[str, list[tuple[torch.Tensor, int]]] = {}
        for tokens, v in zip(own, lessons, strict=True):
            for i, at, c in v.characters:
                ink.setdefault("character" if i or not len(v.cells) else "print", []).append((tokens[i][at], c))
        for key, written in ink.items():
            logits = self.ink[key](torch.stack([token for token, _ in written]))
            asked.append((key, logits, torch.tensor([c for _, c in written], device=device)))
        for key, logits, target in asked:
            known = target != IGNORE
            if known.any():
                weight = WEIGHTS.get(key.removeprefix("crop "), 1.0)
                losses.append(weight * F.cross_entropy(logits[known], target[known]))
                off = (logits[known].argmax(-1) - target[known]).abs()
                seen[key] = float((off <= (1 if key.startswith("edge") else 0)).float().mean())
        return torch.stack(losses).sum(), seen

    def read(self, views: Sequence[Features], lessons: Sequence[Lesson]) -> tuple[torch.Tensor, float]:
        """Cross-entropy and accuracy of the digits in close views; `views` are their features, in order."""
        logits = self.crop["digit"](torch.stack([v.tokens.mean(0) for v in views]))
        target = torch.tensor([d for lesson in lessons for d in lesson.window_digits], device=logits.device)
        return F.cross_entropy(logits, target), float((logits.argmax(-1) == target).float().mean())


def losses_of(policy: Policy, heads: Heads, stage: Stage, batch: list[Lesson]) -> tuple[torch.Tensor, dict[str, float]]:
    """The loss of a batch of lessons, and what is logged of it."""
    features = policy.encode([image for lesson in batch for image in lesson.images])
    loss, seen = heads(features, batch)
    seen["heads"] = float(loss.detach())
    views = [window for lesson in batch for window in lesson.windows]
    if views:
        reading, seen["close digit"] = heads.read(policy.encode(views), batch)
        loss = loss + WEIGHTS["digit"] * reading
    loss = stage.head_weight * loss
    scenes = sum(len(lesson.cells) > 0 for lesson in batch)  # they come first; the others have no overview
    images = sum(len(lesson.images) for lesson in batch[:scenes])
    parts = (("", batch[:scenes], features[:images]), ("alone, ", batch[scenes:], features[images:]))
    for name, own, shown in parts if stage.text else ():
        if own:
            told, numbers = statements(policy, own, shown, stage.pointing)
            loss, seen = loss + told, seen | {f"{name}{key}": value for key, value in numbers.items()}
    return loss, seen


class Muon(torch.optim.AdamW):
    """AdamW, and for groups that say `matrices` Muon (Jordan et al. 2024; scaled as in arXiv 2502.16982, eq. 4).

    The momentum of a matrix is replaced by the nearest orthogonal one, by five Newton-Schulz steps in float32 (torch's
    own, from 2.9 on, takes bfloat16, which is slow on CPUs), so that no direction is learned slowly. Scaled to the size
    of AdamW's steps; rates and decay mean the same for both.
    """

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Of a checkpoint; AdamW asks every parameter for a number of steps, which a matrix does not count."""
        for own in state["state"].values():
            own.setdefault("step", torch.zeros(()))
        super().__setstate__(state)

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One step of every group."""
        every = self.param_groups
        self.param_groups = [group for group in every if not group.get("matrices")]
        super().step(closure)
        self.param_groups = every
        for group in (g for g in every if g.get("matrices")):
            alike: dict[torch.Size, list[torch.nn.Parameter]] = {}
            for matrix in group["params"]:
                if matrix.grad is None:
                    continue
                alike.setdefault(matrix.shape, []).append(matrix)
            for shape, matrices in alike.items():
                moved = []
                for matrix in matrices:
                    moment = self.state[matrix].setdefault("momentum", torch.zeros_like(matrix))
                    moment.lerp_(matrix.grad, 1 - MOMENTUM)
                    moved.append(torch.lerp(matrix.grad, moment, MOMENTUM))
                size = 0.2 * math.sqrt(max(shape)) * group["lr"]
                for matrix, way in zip(matrices, orthogonal(torch.stack(moved)), strict=True):
                    matrix.mul_(1 - group["lr"] * group["weight_decay"]).sub_(way, alpha=size)


def orthogonal(matrices: torch.Tensor) -> torch.Tensor:
    """About the nearest matrices (N, A, B) with singular values of one size: between 0.7 and 1.2."""
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(5):
        square = x @ x.mT
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    return x.mT if tall else x


def optimiser_of(policy: Policy, heads: nn.Module, stage: Stage) -> torch.optim.Optimizer:
    """AdamW of the tower and the heads; with text, its matrices by Muon, and its rate that of the stage."""
    groups: list[dict[str, Any]] = [{"params": [*policy.model.model.visual.parameters(), *heads.parameters()]}]
    if stage.text:
        inside = {id(p) for p in policy.text.layers.parameters() if p.ndim == 2}
        matrices = [p for p in policy.text.layers.parameters() if id(p) in inside]
        others = [p for p in policy.text_parameters() if id(p) not in inside]
        groups.append({"params": matrices, "times": stage.text_times, "matrices": True})
        groups.append({"params": others, "times": stage.text_times})
    return Muon(groups, lr=stage.learning_rate, betas=(0.9, 0.98), weight_decay=0.02)


def train_base(
    policy: Policy,
    heads: Heads,
    stage: Stage,
    log: Callable[[dict], None],
    lessons: Callable[..., torch.utils.data.IterableDataset] = Lessons,
    run: Run | None = None,
    processes: Alone = ALONE,
) -> None:
    """Run one stage, or what is left of it.

    Parameters
    ----------
    log : called with means over every `LOGGED` steps
    lessons : of a policy and a stage, the stream of batches from a number on, and of each this process's part
    run : goes on with what is there, and gets a checkpoint every `SAVED` steps
    processes : that share each batch; one of them writes
    """
    optimiser = optimiser_of(policy, heads, stage)
    before = run.restore(policy, optimiser, heads) if run else Progress()
    stream = lessons(policy, stage, before.step, (processes.rank, processes.count))
    batches = iter(torch.utils.data.DataLoader(stream, batch_size=None, num_workers=1, prefetch_factor=4))
    attention.select(policy.model, stage.pointing > 0)
    policy.model.train()
    sums = dict(before.sums)
    start = time.time() - before.seconds

    def save(done: int) -> None:
        if run and processes.main:
            run.save(Progress(done, seconds=time.time() - start, sums=sums), policy, optimiser, beside=heads)

    for step in steps(stage.name, range(before.step, stage.steps), SAVED, save, lambda: False, processes.main):
        loss, seen = losses_of(policy, heads, stage, next(batches))
        descend(loss, optimiser, stage.learning_rate * schedule(step, stage.steps, stage.final_fraction), processes)
        for key, value in seen.items():
            total, count = sums.get(key, (0.0, 0))
            sums[key] = total + value, count + 1
        if (step + 1) % LOGGED == 0 or step + 1 == stage.steps:
            means = {key: round(total / count, 4) for key, (total, count) in sums.items()}
            log({"stage": stage.name, "step": step + 1, "seconds": round(time.time() - start, 1), **means})
            sums = {}
    attention.select(policy.model, False)
    policy.model.eval()
