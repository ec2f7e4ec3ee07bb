"""The processes of a run: one by default, several under `accelerate launch`.

Every process holds the whole policy and takes whole groups of each update, so a group's statistics are never split.
Losses are divided by the rows and tokens of all processes and gradients are then added up: the update is that of one
process with all the groups. What is compared or decided goes through here, so that all decide alike.
Simplified: the policy must fit into each process; `train.sharding` keeps its gradients and optimiser state apart.

    processes = Processes.start()                 # of `accelerate launch -m r3lab train rgrpo ...`, or alone
    mine = processes.share(groups=12, minibatches=2)
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.tensor import DTensor

from ..errors import R3labError


@dataclass(frozen=True)
class Processes:
    """This process among `count`.

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
    def start(cls) -> Processes:
        """Join the others if the launcher started several, else be alone.

        Raises
        ------
        R3labError
            If there are several and accelerate is not installed.
        """
        if int(os.environ.get("WORLD_SIZE", "1")) < 2:
            return cls()
        try:
            from accelerate import PartialState
        except ModuleNotFoundError:
            raise R3labError('several processes need accelerate: pip install "r3lab[scale]"') from None
        state = PartialState(cpu=not torch.cuda.is_available())
        return cls(state.process_index, state.num_processes, state.device)

    @property
    def main(self) -> bool:
        """True in the process that writes files and prints."""
        return self.rank == 0

    def share(self, groups: int, minibatches: int) -> list[list[int]]:
        """Numbers of this process's groups in each minibatch; those of all processes are all groups."""
        size = -(-groups // minibatches)
        return [list(range(at, min(at + size, groups)))[self.rank :: self.count] for at in range(0, groups, size)]

    def total(self, value: float) -> float:
        """The sum of a number over all processes."""
        return sum(self.gather(value))

    def gather(self, value: Any) -> list[Any]:
        """A JSON value of every process, by rank."""
        if self.count == 1:
            return [value]
        data = torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8).to(self._device)
        lengths = [torch.zeros(1, dtype=torch.int64, device=self._device) for _ in range(self.count)]
        dist.all_gather(lengths, torch.tensor([len(data)], device=self._device))
        padded = data.new_zeros(int(max(lengths)))
        padded[: len(data)] = data
        parts = [torch.empty_like(padded) for _ in range(self.count)]
        dist.all_gather(parts, padded)
        return [json.loads(bytes(p[: int(n)].tolist())) for p, n in zip(parts, lengths, strict=True)]

    def sum_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Add up the gradients of all processes, in place; one that is missing counts as zero."""
        if self.count == 1:
            return
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            if isinstance(parameter.grad, DTensor):  # FSDP has sent it already, and taken the mean
                parameter.grad.mul_(self.count)
            else:
                dist.all_reduce(parameter.grad)

    def wait(self) -> None:
        """Until all processes are here."""
        if self.count > 1:
            dist.barrier()

    @property
    def _device(self) -> torch.device:
        return self.device or torch.device("cpu")


ALONE = Processes()
