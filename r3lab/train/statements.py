"""The rows of a base's lessons, and the loss of what they state: next tokens, and where two heads look.

loss, seen = statements(policy, lessons, policy.encode(images), pointing=0.3)
"""

from __future__ import annotations

import torch
from torch.nn import functional as F

from ..models import attention
from ..models.policy import Features, Policy, Row
from .lessons import TEXT, Lesson

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
