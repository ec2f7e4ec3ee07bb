"""What the model reads: a question's prompt as ids, a whole trajectory as a row with its features.

ids = prompt_ids(policy, "which digit is on the red circle?", overview=(128, 128), tokens=64)
row = row_of(policy, trajectory, store)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from PIL import Image

from ..core.arms import INTERLEAVED, Arm
from ..core.errors import R3labError
from ..core.geometry import Size
from ..core.images import resize
from ..models.policy import Features, Policy, Row
from ..models.template import chat_frame
from ..trajectory import ImageRef, Kind, Trajectory

TOGETHER = 64  # images that are encoded in one pass


class Question(Protocol):
    """What the loop needs to know of a sample (`vlir.sample.Sample` is one)."""

    @property
    def id(self) -> str: ...
    @property
    def image(self) -> Image.Image: ...
    @property
    def question(self) -> str: ...
    @property
    def truth(self) -> dict[str, Any]: ...


def prompt_ids(policy: Policy, question: str, overview: Size, tokens: int, arm: Arm = INTERLEAVED) -> list[int]:
    """Ids of the prompt with `tokens` image tokens for the overview, through the checkpoint's own chat template."""
    text = policy.asked(question, overview, arm)
    before, after = chat_frame(policy.tokenizer)
    ids: list[int] = []
    image = [policy.image_id] * tokens
    if policy.family.tiles:  # its template writes a bare image token
        image = [*policy.vision_start, *image, *policy.vision_end]
    for token in policy.ids(before + text + after):
        ids += image if token == policy.image_id else [token]
    if ids.count(policy.image_id) != tokens:
        raise R3labError("the chat template must place exactly one image; a question cannot hold image tokens")
    return ids


def begin(
    policy: Policy, sample: Question, image: ImageRef, ids: list[int], arm: Arm = INTERLEAVED, **more: Any
) -> Trajectory:
    """The record of a rollout of which the prompt stands alone; `more` are further fields of it."""
    record = {
        "kinds": [int(Kind.OVERVIEW if token == policy.image_id else Kind.PROMPT) for token in ids],
        "pieces": ["" if token == policy.image_id else policy.piece(token) for token in ids],
        "logprobs": [None] * len(ids),
        "entropies": [None] * len(ids),
        "truth": dict(sample.truth),
        "images": {image.hash: sample.image},
        **{"model": policy.name, "arm": arm.name, **more},
    }
    overview = policy.overview_size(sample.image.size)
    return Trajectory(sample.id, sample.question, image, overview, policy.frame, list(ids), **record)


def overview_key(image: ImageRef, size: Size) -> str:
    """Name of an overview's features in a feature store."""
    return f"{image.hash}@{size[0]}x{size[1]}"


def row_of(policy: Policy, trajectory: Trajectory, store: dict[str, Features]) -> Row:
    """The sequence of a trajectory with its features; see `rows_of`."""
    return rows_of(policy, [trajectory], store)[0]


def rows_of(
    policy: Policy, trajectories: Sequence[Trajectory], store: dict[str, Features], graph: bool = False
) -> list[Row]:
    """The sequences of trajectories with their features, taken from `store`; those that it lacks are encoded into it,
    `TOGETHER` images in a pass, with gradients to the vision tower if a `graph` is wanted."""
    missing: dict[str, Image.Image] = {}
    wanted: list[list[str]] = []
    for t in trajectories:
        overview = overview_key(t.image, t.overview)
        crops = [look.crop.hash for look in t.looks if look.crop is not None]
        wanted.append([overview, *crops])
        if overview not in store and overview not in missing:
            missing[overview] = resize(t.images[t.image.hash], t.overview)
        missing.update((key, t.images[key]) for key in crops if key not in store)
    for start in range(0, len(missing), TOGETHER):
        keys = list(missing)[start : start + TOGETHER]
        with torch.set_grad_enabled(graph):
            store.update(zip(keys, policy.encode([missing[key] for key in keys]), strict=True))
    return [Row(list(t.ids), [store[key] for key in keys]) for t, keys in zip(trajectories, wanted, strict=True)]
