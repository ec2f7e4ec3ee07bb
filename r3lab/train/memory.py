"""The memory of a run: measured on rows of a few tokens, said before it starts, kept to by its passes.

What a backward pass needs is not guessed from the shapes of a model but seen: short packed rows are read with a hook on
every tensor that autograd keeps. It grows with the tokens of a row, with pairs of them (where there is a mask; no
attention map is kept), and with the sampled tokens (a distribution over the vocabulary each), so four rows give the
rule for every length, of every family, with and without LoRA or gradient checkpointing.

    footprint = footprint_of(policy, settings)
    print(footprint.told(settings, prompt=500, completion=300))
    footprint.groups_that_fit(trajectories, room(policy.device))
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from ..models.attention import packed_mask
from ..models.policy import Policy, checkpointed
from ..trajectory import Kind, Trajectory
from .settings import RgrpoSettings
from .update import chosen_logprobs, grouped

SHORT, LONG = 64, 192  # tokens of the rows that are measured
SAFE = 0.8  # part of the memory that is counted on; the rest is for what is held for a moment


@dataclass(frozen=True)
class Footprint:
    """Bytes of a policy in training.

    Attributes
    ----------
    weights, gradients, optimiser, reference : whatever the lengths
    cached : keys and values, a token of a rollout in progress
    token, pair, sampled : kept for the backward pass: a token of a packed row, a pair of its tokens, a sampled token
    """

    weights: int
    gradients: int
    optimiser: int
    reference: int
    cached: float
    token: float
    pair: float
    sampled: float

    @property
    def fixed(self) -> int:
        """What is held all the time."""
        return self.weights + self.gradients + self.optimiser + self.reference

    def of_pass(self, rows: int, length: int, sampled: int) -> float:
        """Bytes that a pass over packed rows (rows, length) with so many sampled tokens keeps."""
        return rows * (self.token * length + self.pair * length * length) + self.sampled * sampled

    def groups_that_fit(self, trajectories: Sequence[Trajectory], room: float) -> int:
        """Groups that a pass may hold so that any such pass fits into `room` bytes, at least one; 0: all."""
        groups = grouped(trajectories)
        if not groups:
            return 0
        length = max(packed_length(members) for members in groups)
        sampled = max(sum(t.kinds.count(Kind.SAMPLED) for t in members) for members in groups)
        size = int((room * SAFE - self.fixed) // self.of_pass(1, length, sampled))
        return 0 if size >= len(groups) else max(1, size)

    def told(self, settings: RgrpoSettings, prompt: int, completion: int) -> str:
        """What a step will need, in a line.

        Parameters
        ----------
        prompt, completion : tokens of a prompt with its overview, and of a rollout with its crops
        """
        rows, length = settings.prompts * settings.group, prompt + settings.group * completion
        groups = settings.pass_groups or -(-settings.prompts // settings.minibatches)
        parts = {
            "weights": self.weights,
            "gradients": self.gradients,
            "optimiser": self.optimiser,
            "reference": self.reference,
            "keys and values": self.cached * rows * (prompt + completion),
            "backward pass": self.of_pass(groups, length, groups * settings.group * settings.max_new_tokens),
        }
        said = ", ".join(f"{name} {readable(size)}" for name, size in parts.items() if size)
        most = self.fixed + max(parts["keys and values"], parts["backward pass"])
        return f"memory for {rows} rollouts of {completion} tokens after {prompt}: about {readable(most)} ({said})"


def packed_length(members: Sequence[Trajectory]) -> int:
    """Tokens of a group as one packed row."""
    start = members[0].prompt_length
    return start + sum(len(t.ids) - start for t in members)


def readable(size: float) -> str:
    """Bytes in MiB or GiB."""
    mib = size / 2**20
    return f"{mib / 1024:.1f} GiB" if mib >= 1024 else f"{math.ceil(mib)} MiB"


def room(device: torch.device) -> float:
    """Bytes of a device: all of a GPU's, those of this machine for a CPU."""
    if device.type == "cuda":
        return float(torch.cuda.get_device_properties(device).total_memory)
    return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")) if hasattr(os, "sysconf") else math.inf


def footprint_of(policy: Policy, settings: RgrpoSettings) -> Footprint:
    """The footprint of a policy under these settings; a few short forward passes."""
    sizes = {id(p): p.nbytes for p in policy.model.parameters()}
    trained = sum(p.nbytes for p in policy.trained(settings.freeze_vision))
    short, long = (_kept(policy, settings, length, 1) for length in (SHORT, LONG))
    sampled = (_kept(policy, settings, SHORT, SHORT - 1) - short) / (SHORT - 2)
    short, long = short - sampled, long - sampled
    pair = max(0.0, (long / LONG - short / SHORT) / (LONG - SHORT))
    text = policy.model.config.get_text_config()
    size = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    values = 2 * text.num_hidden_layers * text.num_key_value_heads * size
    return Footprint(
        weights=sum(sizes.values()),
        gradients=trained,
        optimiser=2 * trained,
        reference=sum(sizes.values()) if settings.kl_weight and policy.adapter is None else 0,
        cached=float(values * next(policy.model.parameters()).element_size()),
        token=max(0.0, short / SHORT - pair * SHORT),
        pair=pair,
        sampled=sampled,
    )


def _kept(policy: Policy, settings: RgrpoSettings, length: int, sampled: int) -> float:
    """Bytes that autograd keeps of one packed row of text; with checkpointing also what one layer makes anew."""
    device = policy.device
    ids = torch.full((1, length), policy.tokenizer.eos_token_id or 0, device=device)
    positions = torch.arange(length, device=device).expand(3, 1, length)
    seen = packed_mask(policy.model, [length // 2], [[length - length // 2]], length)

    def kept(checkpointing: bool) -> int:
        with checkpointed(policy, checkpointing), saved(policy) as found:
            states = policy.read(ids, positions, [], **seen)[0, :sampled]
            chosen_logprobs(policy, states, ids[0, :sampled], settings.temperature)
        return sum(found.values())

    whole = kept(False)
    if not settings.checkpointing:
        return whole
    return kept(True) + whole / policy.model.config.get_text_config().num_hidden_layers


@contextmanager
def saved(policy: Policy) -> Iterator[dict[int, int]]:
    """Bytes of every storage that autograd keeps inside, by its address, without the weights."""
    weights = {p.untyped_storage().data_ptr() for p in policy.model.parameters()}
    found: dict[int, int] = {}
    alive = []  # an address that is free again would be counted once for two

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            found[storage.data_ptr()] = storage.nbytes()
            alive.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        yield found
