"""The devices of a run: what memory it needs and keeps to, and the processes that share its groups.

*Memory* is not guessed from the shapes of a model but seen: short packed rows are read with a hook on every tensor that
autograd keeps. It grows with the tokens of a row, with pairs of them (where there is a mask; no attention map is kept),
and with the sampled tokens (a distribution over the vocabulary each), so four rows give the rule for every length, of
every family, with and without LoRA or gradient checkpointing.

*Processes*, under `accelerate launch`: every one holds the whole policy and takes whole groups of each update, so a
group's statistics are never split. Losses are divided by the rows and tokens of all processes and gradients are then
added up: the update is that of one process with all the groups. What is compared or decided goes through here, so that
all decide alike. With `shard` the layers of the text model lie in parts: in an update a process holds its part of every
layer, of its gradient and of its optimiser state, and a whole layer only while it computes with it (torch's FSDP, each
layer on its own). A rollout reads token by token, and no two processes take the same number of steps: for it the layers
are whole everywhere (`Processes.gathered`). Simplified: embedding, output layer and vision tower stay whole in each
process, and a rollout needs room for the whole text model; without LoRA.

    footprint = footprint_of(policy, settings)
    print(footprint.told(settings, prompt=500, completion=300))
    footprint.groups_that_fit(trajectories, room(policy.device))
    processes = Processes.start()                 # of `accelerate launch -m r3lab train rgrpo ...`, or alone
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from ..core.errors import R3labError
from ..models.attention import packed_mask
from ..models.policy import Policy, checkpointed
from ..trajectory import Kind, Trajectory
from .settings import RgrpoSettings
from .update import ALONE, Alone, block_of, chosen_logprobs, grouped

# -- memory ----------------------------------------------------------------------------------------------------------

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
    block : sampled tokens whose distributions are held at a time
    """

    weights: int
    gradients: int
    optimiser: int
    reference: int
    cached: float
    token: float
    pair: float
    sampled: float
    block: int = sys.maxsize

    @property
    def fixed(self) -> int:
        """What is held all the time."""
        return self.weights + self.gradients + self.optimiser + self.reference

    def of_pass(self, rows: int, length: int, sampled: int) -> float:
        """Bytes that a pass over packed rows (rows, length) with so many sampled tokens keeps."""
        return rows * (self.token * length + self.pair * length * length) + self.sampled * min(sampled, self.block)

    def of_group(self, trajectories: Sequence[Trajectory]) -> float:
        """Bytes that a pass over one group keeps, at most."""
        groups = grouped(trajectories)
        length = max(packed_length(members) for members in groups)
        sampled = max(sum(t.kinds.count(Kind.SAMPLED) for t in members) for members in groups)
        return self.of_pass(1, length, sampled)

    def free(self, room: float) -> float:
        """Bytes of `room` that a pass may take."""
        return room * SAFE - self.fixed

    def lacks(self, trajectories: Sequence[Trajectory], room: float) -> float:
        """Bytes by which `room` is too small for a pass over any one of these groups."""
        return max(0.0, self.of_group(trajectories) - self.free(room)) if trajectories else 0.0

    def groups_that_fit(self, trajectories: Sequence[Trajectory], room: float) -> int:
        """Groups that a pass may hold so that any such pass fits into `room` bytes, at least one; 0: all."""
        if not trajectories:
            return 0
        size = int(self.free(room) // self.of_group(trajectories))
        return 0 if size >= len(grouped(trajectories)) else max(1, size)

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


def adamw(
    parameters: Sequence[torch.nn.Parameter], rate: float, forget: float, decay: float = 0.0
) -> torch.optim.AdamW:
    """AdamW with betas (0.9, `forget`); on CUDA one kernel does all of a step."""
    fused = parameters[0].device.type == "cuda"
    return torch.optim.AdamW(parameters, lr=rate, betas=(0.9, forget), weight_decay=decay, fused=fused)


def room(device: torch.device) -> float:
    """Bytes of a device: all of a GPU's, those of this machine for a CPU."""
    if device.type == "cuda":
        return float(torch.cuda.get_device_properties(device).total_memory)
    return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")) if hasattr(os, "sysconf") else math.inf


def footprint_of(policy: Policy, settings: RgrpoSettings) -> Footprint:
    """The footprint of a policy under these settings; a few short forward passes."""
    weights = sum({id(p): p.nbytes for p in policy.model.parameters()}.values())
    trained = sum(p.nbytes for p in policy.trained(settings.freeze_vision))
    short, long = (_kept(policy, settings, length, 1) for length in (SHORT, LONG))
    sampled = (_kept(policy, settings, SHORT, SHORT - 1) - short) / (SHORT - 2)
    short, long = short - sampled, long - sampled
    pair = max(0.0, (long / LONG - short / SHORT) / (LONG - SHORT))
    text = policy.model.config.get_text_config()
    size = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    values = 2 * text.num_hidden_layers * text.num_key_value_heads * size
    return Footprint(
        weights,
        gradients=trained,
        optimiser=2 * trained,
        reference=weights if settings.kl_weight and policy.adapter is None else 0,
        cached=float(values * next(policy.model.parameters()).element_size()),
        token=max(0.0, short / SHORT - pair * SHORT),
        pair=pair,
        sampled=sampled,
        block=block_of(policy),
    )


def _kept(policy: Policy, settings: RgrpoSettings, length: int, sampled: int) -> float:
    """Bytes that autograd keeps of one packed row of text; with checkpointing also what one layer makes anew."""
    again = settings.checkpointing
    device = policy.device
    ids = torch.full((1, length), policy.tokenizer.eos_token_id or 0, device=device)
    positions = torch.arange(length, device=device).expand(3, 1, length)
    seen = packed_mask(policy.model, [length // 2], [[length - length // 2]], length)

    def kept(layers: int) -> int:
        with checkpointed(policy, layers), saved(policy) as found:
            states = policy.read(ids, positions, [], **seen)[0, :sampled]
            chosen_logprobs(policy, states, ids[0, :sampled], settings.temperature)
        return sum(found.values())

    whole = kept(0)
    return kept(again) + whole / len(policy.text.layers) if again else whole


@contextmanager
def saved(policy: Policy) -> Iterator[dict[int, int]]:
    """Bytes of every storage that autograd keeps inside, by its address, without the weights."""
    weights = {p.untyped_storage().data_ptr() for p in policy.model.parameters()}
    found: dict[int, int] = {}
    alive = []  # an address that is free again would be counted once for two

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        tensor = tensor.detach()  # an operation that kept its own output whole would hold the graph, and never be freed
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            found[storage.data_ptr()] = storage.nbytes()
            alive.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        yield found


# -- processes -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Processes(Alone):
    """This process among several, `count`.

    Attributes
    ----------
    rank : number of this process, from 0
    count : processes
    device : where this process computes; None: the policy's own choice
    """

    rank: int = 0
    count: int = 1
    device: torch.device | None = None

    @classmethod
    def start(cls) -> Alone:
        """Join the others if the launcher started several, else be alone.

        Raises
        ------
        R3labError
            If there are several and accelerate is not installed.
        """
        if int(os.environ.get("WORLD_SIZE", "1")) < 2:
            return ALONE
        try:
            from accelerate import PartialState
        except ModuleNotFoundError:
            raise R3labError('several processes need accelerate: pip install "r3lab[scale]"') from None
        state = PartialState(cpu=not torch.cuda.is_available())
        return cls(state.process_index, state.num_processes, state.device)

    def gather(self, value: Any) -> list[Any]:
        """A value of every process, by rank."""
        found = [None] * self.count
        dist.all_gather_object(found, value)
        return found

    def sum_gradients(self, parameters: Sequence[torch.nn.Parameter]) -> None:
        """Add up the gradients of all processes, in place; one that is missing counts as zero."""
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            if isinstance(parameter.grad, DTensor):  # FSDP has sent it already, and taken the mean
                parameter.grad.mul_(self.count)
            else:
                dist.all_reduce(parameter.grad)

    def wait(self) -> None:
        """Until all processes are here."""
        dist.barrier()

    def clip_gradients(self, parameters: Sequence[torch.nn.Parameter], most: float) -> float:
        """Scale gradients down to a joint norm of `most`; returns the norm that they had, the same in every process."""
        grads: list[Any] = [p.grad for p in parameters if p.grad is not None]
        norm = float(torch.linalg.vector_norm(torch.stack([whole(torch.linalg.vector_norm(g)) for g in grads])))
        for grad in grads:
            grad.mul_(min(1.0, most / (norm + 1e-6)))
        return norm

    @contextmanager
    def gathered(self, policy: Policy) -> Iterator[None]:
        """Whole layers inside, and forwards that wait for no other process; nothing without `shard`."""
        layers = [layer for layer in policy.text.layers if isinstance(layer, FSDPModule)]
        for layer in layers:
            layer.set_reshard_after_forward(False)
            layer.unshard()
        try:
            yield
        finally:
            for layer in layers:
                layer.reshard()
                layer.set_reshard_after_forward(True)

    def sharded(self, policy: Policy) -> bool:
        """True after `shard`."""
        return isinstance(policy.text.layers[0], FSDPModule)


def shard(policy: Policy, processes: Alone) -> None:
    """Leave in each process its part of the text model's layers; before the optimiser is made.

    Raises
    ------
    R3labError
        If there is one process alone, or the policy has LoRA matrices.
    """
    if processes.count < 2:
        raise R3labError("--shard needs several processes: accelerate launch --num_processes 2 -m r3lab train ...")
    if policy.adapter is not None:
        raise R3labError("--shard and --lora-rank do not go together; LoRA alone keeps gradients and optimiser small")
    mesh = init_device_mesh(policy.device.type, (processes.count,))
    for layer in policy.text.layers:
        fully_shard(layer, mesh=mesh, reshard_after_forward=True)


def whole(value: torch.Tensor) -> torch.Tensor:
    """A tensor in full, from its parts; called in every process."""
    return value.full_tensor() if isinstance(value, DTensor) else value


def whole_weights(policy: Policy) -> dict[str, torch.Tensor] | None:
    """All weights in full, None for a policy that is not sharded; called in every process."""
    held = {name: value.detach() for name, value in policy.model.state_dict().items()}
    parts = any(isinstance(value, DTensor) for value in held.values())
    return {name: whole(value) for name, value in held.items()} if parts else None


@torch.no_grad()
def load_whole(policy: Policy, weights: Mapping[str, torch.Tensor]) -> None:
    """Put weights in full back, each process its part."""
    held = policy.model.state_dict()
    for name, value in weights.items():
        held[name].copy_(like(value, held[name]))


def like(value: torch.Tensor, held: torch.Tensor) -> torch.Tensor:
    """A full tensor as `held` is: this process's part of it, or as it is."""
    value = value.to(held.device, held.dtype)
    return distribute_tensor(value, held.device_mesh, held.placements) if isinstance(held, DTensor) else value
