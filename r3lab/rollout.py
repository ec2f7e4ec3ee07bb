"""The interleaved look-again loop, batched: reason, write a box, get the crop as image tokens, reason on, answer.

Token in, token out: what is recorded is what was sampled, id for id. Each image is encoded once; each prompt is read
once and its keys and values are copied to the rows of its group; rows advance at their own pace (`models.cache`). A
row that closes a box waits until enough rows have one, then their crops are encoded and read together. The order in
which rows are served changes no result: every row draws its random numbers from its own stream, (seed, sample, member
of the group).

    trajectories = rollout(policy, samples, group=8, temperature=1.0, seed=0)   # sample by sample, group members
    together
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from .branch import Branch, Limits
from .geometry import Size
from .images import content_hash, resize
from .models.cache import SlotCache
from .models.policy import Features, Policy, Row
from .protocol import bare, question_text
from .trajectory import ImageRef, Kind, Trajectory


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


Watch = Callable[[Trajectory], None]


def prompt_ids(policy: Policy, question: str, overview: Size, tokens: int) -> list[int]:
    """Ids of the prompt with `tokens` image tokens for the overview, through the checkpoint's own chat template."""
    text = bare(question) if policy.bare else question_text(question, policy.family.frame, overview)
    content = [{"type": "image"}, {"type": "text", "text": text}]
    whole = policy.tokenizer.apply_chat_template(
        [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
    )
    ids: list[int] = []
    image = [policy.image_id] * tokens
    if policy.family.tiles:  # its template writes a bare image token
        image = [*policy.vision_start, *image, *policy.vision_end]
    for token in policy.ids(whole):
        ids += image if token == policy.image_id else [token]
    if ids.count(policy.image_id) != tokens:
        raise ValueError("the chat template must place exactly one image; a question cannot hold image tokens")
    return ids


def overview_key(image: ImageRef, size: Size) -> str:
    """Name of an overview's features in a feature store."""
    return f"{image.hash}@{size[0]}x{size[1]}"


@torch.no_grad()
def rollout(
    policy: Policy,
    samples: Sequence[Question],
    group: int = 1,
    *,
    temperature: float = 1.0,
    seed: int = 0,
    max_looks: int = 8,
    max_new_tokens: int = 512,
    features: dict[str, Features] | None = None,
    watch: Watch | None = None,
    progress: bool = False,
    numbers: Sequence[int] | None = None,
) -> list[Trajectory]:
    """Let the policy answer each sample `group` times.

    Parameters
    ----------
    samples : questions on images
    group : rollouts a sample (G of R-GRPO)
    temperature : 0 is greedy; log-probabilities are those at this temperature (at 1 when greedy)
    seed : of all sampling; the same seed gives the same trajectories on the same machine
    max_looks : looks a trajectory may take; one that asks for more is told so once, then ended (finish "looks")
    max_new_tokens : sampled tokens a trajectory may have (finish "length" beyond)
    features : store that is read and filled: features of every overview and crop by key, for training without
        encoding twice
    watch : called with a trajectory whenever it has grown (for live display)
    numbers : of the samples, on which their random streams depend; by default 0, 1, ...; a process that rolls out a
        part of a batch gives the numbers that its samples have in the whole

    Returns
    -------
    list of len(samples) * group trajectories, the members of a group next to each other
    """
    if not samples:
        return []
    store: dict[str, Features] = {} if features is None else features
    was_training = policy.model.training
    policy.model.eval()
    try:
        loop = _Loop(policy, temperature, seed, Limits(max_looks, max_new_tokens), store, watch)
        loop.open(samples, group, list(range(len(samples))) if numbers is None else numbers)
        return loop.run(progress)
    finally:
        policy.model.train(was_training)


class _Loop:
    """State of one call of `rollout`."""

    def __init__(
        self,
        policy: Policy,
        temperature: float,
        seed: int,
        limits: Limits,
        store: dict[str, Features],
        watch: Watch | None,
    ) -> None:
        self.policy, self.temperature, self.seed = policy, temperature, seed
        self.limits, self.store, self.watch = limits, store, watch
        self.cache = SlotCache(policy.model.config.get_text_config().num_hidden_layers)
        self.branches: list[Branch] = []
        self.last = torch.zeros(0)  # (rows, D): hidden state from which each row's next token comes

    def open(self, samples: Sequence[Question], group: int, numbers: Sequence[int]) -> None:
        """Encode the overviews, read every prompt once, and make the rows."""
        policy = self.policy
        references, sizes, missing = [], [], {}
        for sample in samples:
            reference = ImageRef(content_hash(sample.image), *sample.image.size)
            size = policy.overview_size(sample.image.size)
            references.append(reference)
            sizes.append(size)
            key = overview_key(reference, size)
            if key not in self.store and key not in missing:
                missing[key] = resize(sample.image, size)
        self.store.update(zip(missing, policy.encode(list(missing.values())), strict=True))
        rows = []
        for sample, reference, size in zip(samples, references, sizes, strict=True):
            image = self.store[overview_key(reference, size)]
            rows.append(Row(prompt_ids(policy, sample.question, size, len(image.tokens)), [image]))
        batch = policy.rows(rows)
        self.cache.start(len(rows), policy.device)
        last = self._forward(torch.arange(len(rows)), batch.ids, batch.positions, batch.lengths, batch.images)
        repeat = torch.arange(len(rows)).repeat_interleave(group)
        self.cache.select(repeat.to(policy.device))
        self.last = last[repeat.to(policy.device)]
        for i in repeat.tolist():
            member = len(self.branches) % group
            ids, size, sample = rows[i].ids, sizes[i], samples[i]
            kinds = [int(Kind.OVERVIEW if t == policy.image_id else Kind.PROMPT) for t in ids]
            record = Trajectory(
                sample_id=sample.id,
                question=sample.question,
                image=references[i],
                overview=size,
                frame=policy.family.frame,
                ids=list(ids),
                kinds=kinds,
                pieces=["" if t == policy.image_id else policy.piece(t) for t in ids],
                logprobs=[None] * len(ids),
                entropies=[None] * len(ids),
                looks=[],
                answer=None,
                finish="length",
                truth=dict(sample.truth),
                rewards={},
                advantage=None,
                model=policy.name,
                seed=self.seed,
                temperature=self.temperature,
                images={references[i].hash: sample.image},
            )
            position = int(batch.positions[:, i, : len(ids)].max()) + 1
            noise = np.random.default_rng([self.seed, numbers[i], member])
            self.branches.append(Branch(policy, record, sample.image, self.limits, noise, position))

    def run(self, progress: bool) -> list[Trajectory]:
        """Advance all rows to their end."""
        live = list(range(len(self.branches)))  # branch in each slot of the cache
        done = [False] * len(self.branches)
        bar = tqdm(total=len(live), desc="rollout", disable=not progress, mininterval=1)
        ready = list(range(len(live)))  # slots whose next token can be sampled
        while True:
            self._sample([live[s] for s in ready], ready)
            single: list[int] = []
            blocks: list[int] = []
            for slot, index in enumerate(live):
                branch = self.branches[index]
                if branch.pending:
                    (blocks if len(branch.pending) > 1 else single).append(slot)
                elif not done[index]:
                    done[index] = True
                    bar.update()
            serve = single if single and len(blocks) * 3 < len(live) else blocks or single
            if not serve:
                break
            if len(single) + len(blocks) <= len(live) // 2:  # drop finished rows from the cache
                kept = sorted(single + blocks)
                place = {slot: i for i, slot in enumerate(kept)}
                rows = torch.tensor(kept, device=self.policy.device)
                self.cache.select(rows)
                self.last = self.last[rows]
                live, serve = [live[s] for s in kept], [place[s] for s in serve]
            self._read([self.branches[live[s]] for s in serve], serve)
            ready = serve
        bar.close()
        return [b.trajectory for b in self.branches]

    def _forward(
        self,
        slots: torch.Tensor,
        ids: torch.Tensor,
        positions: torch.Tensor,
        lengths: torch.Tensor,
        images: list[Features],
    ) -> torch.Tensor:
        """Read blocks (R, q) into cache slots; returns the hidden state (R, D) at each block's last real token."""
        policy, cache, device = self.policy, self.cache, self.policy.device
        cache.place(slots.to(device), lengths.to(device), ids.shape[1])
        states = policy.read(ids, positions, images, attention_mask=cache.mask(), past_key_values=cache, use_cache=True)
        cache.advance()
        return states[torch.arange(len(ids), device=device), lengths.to(device) - 1]

    def _read(self, branches: list[Branch], slots: list[int]) -> None:
        """Let the model read what is pending in these rows, crops encoded first."""
        waiting = [b for b in branches if b.crop is not None]
        for branch, found in zip(waiting, self._encode([b.crop for b in waiting if b.crop]), strict=True):
            branch.images, branch.crop = [found], None
        width = max(len(b.pending) for b in branches)
        pad = self.policy.tokenizer.pad_token_id or 0
        ids = torch.tensor([b.pending + [pad] * (width - len(b.pending)) for b in branches])
        positions = torch.zeros(3, len(branches), width, dtype=torch.int64)
        for i, branch in enumerate(branches):
            positions[:, i, : len(branch.pending)] = torch.cat(branch.pending_positions, dim=1)
        lengths = torch.tensor([len(b.pending) for b in branches])
        device = self.policy.device
        images = [f for b in branches for f in b.images]
        last = self._forward(torch.tensor(slots), ids.to(device), positions.to(device), lengths, images)
        self.last[torch.tensor(slots, device=device)] = last
        for branch in branches:
            branch.pending, branch.pending_positions, branch.images = [], [], []

    def _encode(self, crops: list[Image.Image]) -> list[Features]:
        """Features of crops, each distinct one encoded once."""
        keys = [content_hash(c) for c in crops]
        missing = {k: c for k, c in zip(keys, crops, strict=True) if k not in self.store}
        self.store.update(zip(missing, self.policy.encode(list(missing.values())), strict=True))
        return [self.store[k] for k in keys]

    def _sample(self, indices: list[int], slots: list[int]) -> None:
        """Draw the next token of these rows and act on what it completes."""
        if not indices:
            return
        logits = self.policy.logits(self.last[torch.tensor(slots, device=self.policy.device)])
        logp = torch.log_softmax(logits / (self.temperature or 1.0), dim=-1)  # (R, V)
        entropy = torch.special.entr(logp.exp()).sum(-1)
        if self.temperature == 0:
            chosen = logp.argmax(-1)
        else:  # inverse of the cumulative distribution, one uniform number a row
            draws = torch.tensor([[self.branches[i].noise.random()] for i in indices], dtype=torch.float64)
            total = logp.double().exp().cumsum(-1)
            chosen = torch.searchsorted(total, draws.to(total.device) * total[:, -1:], right=True)[:, 0]
            chosen = chosen.clamp(max=logp.shape[-1] - 1)
        taken = logp.gather(1, chosen[:, None])[:, 0]
        rows = zip(indices, chosen.tolist(), taken.tolist(), entropy.tolist(), strict=True)
        for index, token, logprob, spread in rows:
            branch = self.branches[index]
            branch.take(token, logprob, spread)
            if self.watch is not None:
                self.watch(branch.trajectory)


def row_of(policy: Policy, trajectory: Trajectory, store: dict[str, Features]) -> Row:
    """The sequence of a trajectory with its features, taken from `store` (and encoded into it where missing)."""
    wanted = [overview_key(trajectory.image, trajectory.overview)]
    wanted += [look.crop.hash for look in trajectory.looks if look.crop is not None]
    missing = [k for k in dict.fromkeys(wanted) if k not in store]
    if missing:
        images = [
            resize(trajectory.images[trajectory.image.hash], trajectory.overview)
            if "@" in key
            else trajectory.images[key]
            for key in missing
        ]
        with torch.no_grad():
            store.update(zip(missing, policy.encode(images), strict=True))
    return Row(list(trajectory.ids), [store[k] for k in wanted])
