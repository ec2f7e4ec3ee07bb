"""The interleaved look-again loop, batched: reason, write a box, get the crop as image tokens, reason on, answer.

Token in, token out: what is recorded is what was sampled, id for id. Each image is encoded once; each prompt is read
once and its keys and values are copied to the rows of its group; rows advance at their own pace (`models.cache`). A
row that closes a box waits until enough rows have one, then their crops are encoded and read together. The order in
which rows are served changes no result: every row draws its random numbers from its own stream, (seed, sample, member
of the group).

    trajectories = rollout(policy, samples, group=8, temperature=1.0, seed=0)   # group members next to each other
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from ..core.arms import INTERLEAVED, Arm, forced_members
from ..core.images import content_hash, resize
from ..models.cache import SlotCache
from ..models.decoder import Decoder, fits
from ..models.policy import Features, Policy, Row, Rows, draw, reading
from ..trajectory import ImageRef, Trajectory
from .sequence import Question, begin, overview_key, prompt_ids
from .state import Crops, RolloutState

Watch = Callable[[Trajectory], None]


class Loop:
    """Rows in progress in a slot cache; `open` makes them, `run` takes them to their end."""

    def __init__(
        self,
        policy: Policy,
        store: dict[str, Features],
        max_looks: int = 8,
        max_new_tokens: int = 512,
        temperature: float = 0.0,
        seed: int = 0,
        watch: Watch | None = None,
        crops: Crops | None = None,
    ) -> None:
        self.policy, self.store, self.crops = policy, store, crops
        self.watch = watch or (lambda trajectory: None)
        self.max_looks, self.max_new_tokens = max_looks, max_new_tokens
        self.temperature, self.seed = temperature, seed
        self.cache = SlotCache(policy.model.config.get_text_config().num_hidden_layers)
        self.decoder = Decoder(policy) if fits(policy) else None
        self.branches: list[RolloutState] = []
        self.last = torch.zeros(0)  # (rows, D): hidden state from which each row's next token comes

    def open(self, samples: Sequence[Question], members: Sequence[str], numbers: Sequence[int], arm: Arm) -> None:
        """Encode overviews, read every prompt once, and make the rows: of each group `members`, forced as they say."""
        policy = self.policy
        references = [ImageRef(content_hash(sample.image), *sample.image.size) for sample in samples]
        sizes = [policy.overview_size(sample.image.size) for sample in samples]
        keys = [overview_key(reference, size) for reference, size in zip(references, sizes, strict=True)]
        overviews = {key: (sample.image, size) for key, sample, size in zip(keys, samples, sizes, strict=True)}
        self._encode({key: resize(*one) for key, one in overviews.items() if key not in self.store})
        rows = []
        for sample, key, size in zip(samples, keys, sizes, strict=True):
            image = self.store[key]
            rows.append(Row(prompt_ids(policy, sample.question, size, len(image.tokens), arm), [image]))
        batch = policy.rows(rows)
        self.cache.start(len(rows), policy.device)
        states = self.forward(torch.arange(len(rows)), batch)
        last = states[torch.arange(len(rows)), batch.lengths - 1]
        repeat = torch.arange(len(rows)).repeat_interleave(len(members))
        if len(members) > 1:
            self.cache.share(repeat)
        self.last = last[repeat.to(policy.device)]
        for i in repeat.tolist():
            member = len(self.branches) % len(members)
            settings = {"seed": self.seed, "temperature": self.temperature, "forced": members[member]}
            record = begin(policy, samples[i], references[i], rows[i].ids, arm, **settings)
            position = int(batch.positions[:, i, : len(rows[i].ids)].max()) + 1
            self.add(record, position, numbers[i], member)

    def add(self, record: Trajectory, position: int, number: int, member: int) -> RolloutState:
        """A row that goes on with a record at an M-RoPE position."""
        noise = np.random.default_rng([self.seed, number, member])
        branch = RolloutState(self.policy, record, self.max_looks, self.max_new_tokens, noise, position, self.crops)
        self.branches.append(branch)
        return branch

    def run(self, progress: bool) -> list[Trajectory]:
        """Advance all rows to their end."""
        live = list(range(len(self.branches)))  # branch in each slot of the cache
        bar = tqdm(total=len(live), desc="rollout", disable=not progress, mininterval=1)
        ready = [slot for slot in live if not self.branches[slot].pending]  # slots whose next token can be sampled
        while True:
            self._sample([self.branches[live[s]] for s in ready], ready)
            single = [slot for slot, i in enumerate(live) if len(self.branches[i].pending) == 1]
            blocks = [slot for slot, i in enumerate(live) if len(self.branches[i].pending) > 1]
            bar.update(len(self.branches) - len(single) - len(blocks) - bar.n)
            serve = single if single and len(blocks) * 3 < len(live) else blocks or single
            if not serve:
                break
            if len(single) + len(blocks) <= len(live) // 2:  # drop finished rows from the cache
                kept = sorted(single + blocks)
                rows = torch.tensor(kept)
                self.cache.select(rows)
                self.last = self.last[rows.to(self.policy.device)]
                live, serve = [live[s] for s in kept], [kept.index(s) for s in serve]
            ready = self._read([self.branches[live[s]] for s in serve], serve)
        bar.close()
        return [b.trajectory for b in self.branches]

    def forward(self, slots: torch.Tensor, blocks: Rows) -> torch.Tensor:
        """Read blocks (R, q) into cache slots; returns the hidden states (R, q, D)."""
        cache = self.cache
        cache.place(slots, blocks.lengths, blocks.ids.shape[1])
        states = self.policy.read(blocks.ids, blocks.positions, blocks.images, cache, attention_mask=cache.mask())
        cache.advance()
        return states

    def _read(self, branches: list[RolloutState], slots: list[int]) -> list[int]:
        """Let the model read what is pending in these rows, crops encoded first; the slots to be sampled from next."""
        policy, at = self.policy, torch.tensor(slots)
        waiting = {content_hash(b.crop): b.crop for b in branches if b.crop is not None}
        self._encode({key: crop for key, crop in waiting.items() if key not in self.store})
        for branch in branches:
            if branch.crop is not None:
                branch.images, branch.crop = [self.store[content_hash(branch.crop)]], None
        if self.decoder is not None and all(len(b.pending) == 1 for b in branches):  # the common step
            if self.decoder.count > 1:
                return self._draw_ahead(self.decoder, branches, slots)
            ids = torch.tensor([b.pending[0] for b in branches], device=policy.device)
            self.cache.place(at, torch.ones(len(slots), dtype=torch.int64), 1)
            ends = self.decoder.step(ids, torch.tensor([b.pending_at for b in branches]), self.cache)  # (R, D)
            self.cache.advance()
        else:
            pending = [b.pending for b in branches], [b.positions for b in branches], [b.images for b in branches]
            blocks = policy.padded(*pending)
            ends = self.forward(at, blocks)[torch.arange(len(slots)), blocks.lengths - 1]
        self.last[at.to(policy.device)] = ends
        for branch in branches:
            branch.pending, branch.pending_positions, branch.images = [], [], []
        return slots

    def _draw_ahead(self, decoder: Decoder, branches: list[RolloutState], slots: list[int]) -> list[int]:
        """Read and draw several tokens a row; what a row drew after it had closed a box, or ended, was never drawn."""
        uniform = np.array([b.noise.random(decoder.count) for b in branches]) if self.temperature else None
        ids, places, begun = zip(*((b.pending[0], b.pending_at, b.sampled) for b in branches), strict=True)
        drawn = decoder.ahead(self.cache, self.temperature)(slots, ids, places, uniform)
        for slot, before, branch, *row in zip(slots, begun, branches, *drawn, strict=True):
            for token, *told in zip(*row, strict=True):
                branch.take(token, *told)
                self.watch(branch.trajectory)
                if branch.pending != [token]:
                    break
            self.cache.cursor[slot] += branch.sampled - before
            if self.temperature:
                branch.noise.bit_generator.advance(branch.sampled - before - decoder.count)  # type: ignore[attr-defined]
        return []

    def _encode(self, images: dict[str, Image.Image]) -> None:
        """Put the features of images into the store, each encoded once."""
        self.store.update(zip(images, self.policy.encode(list(images.values())), strict=True))

    def _sample(self, branches: list[RolloutState], slots: list[int]) -> None:
        """Draw the next token of these rows and act on what it completes."""
        if slots:
            logits = self.policy.logits(self.last[torch.tensor(slots, device=self.policy.device)])
            drawn = draw(logits, self.temperature, [b.noise for b in branches])
            for branch, *one in zip(branches, *drawn, strict=True):
                branch.take(*one)
                self.watch(branch.trajectory)


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
    arm: Arm = INTERLEAVED,
    forced: str | Sequence[str] = ("",),
    crops: Crops | None = None,
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
    arm : what is asked, what a box brings, how an answer is marked (`arms.get_arm`); `resume` reads it in the record
    forced : a name of `arms.FORCED`, or "" for a free rollout; one for all, or one for each member of a group, who draw
        the random numbers that they draw when they are free. `R3labError` names another name, or a wrong number of them
    crops : what is shown in the place of a crop: another picture of its size, which the record then holds

    Returns
    -------
    list of len(samples) * group trajectories, the members of a group next to each other

    Examples
    --------
    >>> len(r3lab.rollout(policy, samples[:1], group=3, max_new_tokens=64))
    3
    """
    members = forced_members(forced, group)
    if not samples:
        return []
    numbers = list(range(len(samples))) if numbers is None else numbers
    settings = max_looks, max_new_tokens, temperature, seed, watch, crops
    with reading(policy):
        if policy.plain:
            from . import plain_rollout

            return plain_rollout(policy, samples, members, numbers, arm, progress, *settings)
        loop = Loop(policy, {} if features is None else features, *settings)
        loop.open(samples, members, numbers, arm)
        return loop.run(progress)
