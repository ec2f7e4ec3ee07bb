"""The processes of a run that shares its groups, under `accelerate launch`; and the trackers that it reports to.

Every process holds the whole policy and takes whole groups of each update, so a group's statistics are never split.
Losses are divided by the rows and tokens of all processes and gradients are then added up: the update is that of one
process with all the groups. What is compared or decided goes through here, so that all decide alike.

With `shard` the layers of the text model lie in parts: in an update a process holds its part of every layer, of its
gradient and of its optimiser state, and a whole layer only while it computes with it (torch's FSDP, each layer on its
own). A rollout reads token by token, and no two processes take the same number of steps: for it the layers are whole
everywhere (`Processes.gathered`). Simplified: embedding, output layer and vision tower stay whole in each process, and
a rollout needs room for the whole text model; without LoRA.

    processes = Processes.start()                 # of `accelerate launch -m r3lab train rgrpo ...`, or alone
    with trackers("tensorboard", "runs/rgrpo", settings) as report:
        report({"step": 1, "reward": 0.5})
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from ..core.errors import R3labError, nearest
from ..models.policy import Policy
from .update import ALONE, Alone


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
        """A JSON value of every process, by rank."""
        data = torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8).to(self._device)
        lengths = [torch.zeros(1, dtype=torch.int64, device=self._device) for _ in range(self.count)]
        dist.all_gather(lengths, torch.tensor([len(data)], device=self._device))
        padded = data.new_zeros(int(max(lengths)))
        padded[: len(data)] = data
        parts = [torch.empty_like(padded) for _ in range(self.count)]
        dist.all_gather(parts, padded)
        return [json.loads(bytes(p[: int(n)].tolist())) for p, n in zip(parts, lengths, strict=True)]

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
        if not any(isinstance(g, DTensor) for g in grads):
            return super().clip_gradients(parameters, most)
        norms = [whole(torch.linalg.vector_norm(g)) for g in grads]
        norm = float(torch.linalg.vector_norm(torch.stack(norms)))
        factor = min(1.0, most / (norm + 1e-6))
        for grad in grads:
            grad.mul_(factor)
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

    @property
    def _device(self) -> torch.device:
        return self.device or torch.device("cpu")


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


@contextmanager
def trackers(names: str, folder: str | Path, settings: Any, cpu: bool = False) -> Iterator[Callable[..., None]]:
    """Open trackers for a run; inside, call the result with each row of metrics.

    Parameters
    ----------
    names : with commas between; empty: none
    folder : of the run; trackers that write files do so in `trackers` there
    settings : a dataclass instance, recorded as the run's configuration
    cpu : compute on the CPU even if there is a GPU

    Raises
    ------
    R3labError
        If a tracker is unknown or its package is not installed.
    """
    wanted = [name for part in names.split(",") if (name := part.strip().lower())]
    if not wanted:
        yield lambda row: None
        return
    try:
        from accelerate import Accelerator
        from accelerate.tracking import LOGGER_TYPE_TO_CLASS, get_available_trackers
    except ModuleNotFoundError:
        raise R3labError('trackers need accelerate: pip install "r3lab[scale]"') from None
    there = {str(name) for name in get_available_trackers()}
    for name in wanted:
        if name not in LOGGER_TYPE_TO_CLASS:
            known = sorted(LOGGER_TYPE_TO_CLASS)
            raise R3labError(f"unknown tracker {name!r}; known: {', '.join(known)}.{nearest(name, known)}")
        if name not in there:
            raise R3labError(f"the tracker {name} is not installed: pip install {name}")
    where = Path(folder) / "trackers"
    where.mkdir(parents=True, exist_ok=True)
    accelerator = Accelerator(cpu=cpu, log_with=wanted, project_dir=str(where))
    accelerator.init_trackers("r3lab", config=asdict(settings))

    def report(row: dict[str, Any]) -> None:
        values = {k: v for k, v in row.items() if isinstance(v, (int, float)) and k != "step"}
        accelerator.log(values, step=row["step"])

    try:
        yield report
    finally:
        for tracker in accelerator.trackers:  # not end_training: it would end the processes' group as well
            tracker.finish()
