"""One update: from scored trajectories to a step of the optimiser, each group's prompt read once.

Rollouts of a prompt are packed into one row, [prompt, rollout 1, ..., rollout G]. Positions are those that each rollout
had alone, and a token sees the prompt and its own rollout's earlier tokens, by `models.attention` or, where that
is not to be had, by a mask: every hidden state is the one that it would be in a row of its own, gradients included
(tests hold both). The output layer runs only where a token was sampled. An update is made in passes, each with some of
the groups: their losses add up to that of the whole update exactly, so the size of a pass changes memory and nothing
else, and one that does not fit is made again with half as many groups. Rows of zero advantage are left out where
nothing but the advantage acts on them, and count in the mean.

    metrics = update(policy, trajectories, store, optimiser, UpdateSettings())
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from operator import mul
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.checkpoint import checkpoint

from ..core.errors import R3labError
from ..models.adapters import without_adapter
from ..models.attention import packed_mask
from ..models.policy import Features, Policy, checkpointed
from ..rollout.sequence import rows_of
from ..trajectory import Kind, Trajectory
from .objective import policy_loss, ratio_metrics, span_weights, token_credit

if TYPE_CHECKING:
    from .settings import UpdateSettings

# A loss as `update` calls it: loss(new, old, advantages, mask) -> a scalar to minimise, or that and metrics. `new` and
# `old` are (R, T) log-probabilities of what R rollouts sampled, now (with gradient) and at sampling; advantages
# (R,); mask (R, T) bool, True where there is a token. By name, where it takes them: `rows` and `tokens`, those of the
# whole update, to divide by; `weights`, `credit`, `reference` and `entropy`, (R, T), as `policy_loss` has them. A loss
# that takes `rows` is called with a part of an update at a time, without rollouts of zero advantage, and the parts are
# added up; one that does not gets all of the update at once.
Loss = Callable[..., "torch.Tensor | tuple[torch.Tensor, dict[str, Any]]"]
EXTRAS = frozenset({"rows", "tokens", "weights", "credit", "reference", "entropy"})
CELLS = 1 << 25  # logits that are held at a time: 128 MiB in float32
SUMS = ("kl", "entropy_bonus")  # metrics of which the passes of an update have a part each


class Alone:
    """This process, when it trains alone; `processes.Processes` is one among several, which do all this together."""

    rank, count = 0, 1
    device: torch.device | None = None  # None: the policy's own choice

    @property
    def main(self) -> bool:
        """True in the process that writes files and prints."""
        return self.rank == 0

    def share(self, groups: int, minibatches: int) -> list[list[int]]:
        """Numbers of this process's groups in each minibatch; those of all processes are all groups."""
        size = -(-groups // minibatches)
        return [list(range(at, min(at + size, groups)))[self.rank :: self.count] for at in range(0, groups, size)]

    def gather(self, value: Any) -> list[Any]:
        """A JSON value of every process, by rank."""
        return [value]

    def total(self, value: float) -> float:
        """The sum of a number over all processes."""
        return sum(self.gather(value))

    def wait(self) -> None:
        """Until all processes are here."""

    def sum_gradients(self, parameters: Sequence[torch.nn.Parameter]) -> None:
        """Add up the gradients of all processes, in place."""

    def clip_gradients(self, parameters: Sequence[torch.nn.Parameter], most: float) -> float:
        """Scale gradients down to a joint norm of `most`; returns the norm that they had, the same in every process."""
        return float(torch.nn.utils.clip_grad_norm_(parameters, most))

    def gathered(self, policy: Policy) -> AbstractContextManager[None]:
        """Inside, the weights of a policy whose layers lie in parts are whole."""
        return nullcontext()

    def sharded(self, policy: Policy) -> bool:
        """True if the policy's layers lie in parts: then all processes must make as many passes."""
        return False


ALONE = Alone()


@dataclass(frozen=True)
class TokenLogprobs:
    """What an objective reads, of the sampled tokens of R rows, T the most of a row.

    Attributes
    ----------
    new, old : (R, T) float32, log-probabilities under the policy now, and those recorded at sampling
    mask : (R, T) bool
    entropy : (R, T) of the distributions that the tokens were drawn from, now, in nats
    """

    new: torch.Tensor
    old: torch.Tensor
    mask: torch.Tensor
    entropy: torch.Tensor


def chosen_logprobs(
    policy: Policy, states: torch.Tensor, chosen: torch.Tensor, temperature: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probabilities (N,) of chosen ids (N,) at states (N, D), and entropies (N,) of what they were drawn from.

    What needs more than `CELLS` logits is computed in blocks, each once more in the backward pass. All at once, 16,000
    sampled tokens of a vocabulary of 150,000 are 10 GB, three times over.
    """
    size = block_of(policy)
    if len(states) <= size:
        return _of_block(policy, states, chosen, temperature)
    parts = zip(states.split(size), chosen.split(size), strict=True)
    again: dict[str, Any] = {"use_reentrant": False, "preserve_rng_state": False}  # nothing is drawn in it
    found = [checkpoint(_of_block, policy, *part, temperature, **again) for part in parts]
    new, spread = (torch.cat(own) for own in zip(*found, strict=True))
    return new, spread


def block_of(policy: Policy) -> int:
    """Tokens whose logits are held at a time."""
    return max(1, CELLS // int(policy.model.config.get_text_config().vocab_size))


def _of_block(
    policy: Policy, states: torch.Tensor, chosen: torch.Tensor, temperature: float
) -> tuple[torch.Tensor, torch.Tensor]:
    logits = policy.logits(states)
    if temperature not in (0, 1):
        logits = logits / temperature
    every = torch.log_softmax(logits, dim=-1)  # (N, V)
    likely = every.masked_fill(every == float("-inf"), 0.0)  # 0 x -inf is not 0, in the gradient neither
    return every.gather(1, chosen[:, None])[:, 0], -(every.exp() * likely).sum(-1)


def packed_logprobs(
    policy: Policy,
    trajectories: Sequence[Trajectory],
    store: dict[str, Features],
    temperature: float,
    graph: bool = False,
) -> TokenLogprobs:
    """Log-probabilities of the sampled tokens of all rollouts, from one pass over packed rows.

    Parameters
    ----------
    store : features by key, as `rollout` filled it
    graph : encode what the store lacks with gradients to the vision tower
    """
    device, rows = policy.device, rows_of(policy, trajectories, store, graph)
    packs: dict[tuple[Any, ...], list[int]] = {}  # the rollouts of each prompt, by number
    for number, (row, t) in enumerate(zip(rows, trajectories, strict=True)):
        packs.setdefault((t.image.hash, t.overview, tuple(row.ids[: t.prompt_length])), []).append(number)
    starts = [trajectories[own[0]].prompt_length for own in packs.values()]
    lengths = [[len(rows[m].ids) - start for m in own] for start, own in zip(starts, packs.values(), strict=True)]
    length = max(start + sum(own) for start, own in zip(starts, lengths, strict=True))
    ids = torch.full((len(packs), length), policy.tokenizer.pad_token_id or 0, dtype=torch.int64)
    positions = torch.zeros((3, len(packs), length), dtype=torch.int64)
    images: list[Features] = []  # in placeholder order: the overview once, then the crops of each rollout
    read: list[int] = []  # of each sampled token: place of the state that it was drawn from, ...
    chosen: list[int] = []  # ... its id, ...
    at: list[tuple[int, int]] = []  # ... its rollout and its number in it, ...
    recorded: list[float | None] = []  # ... and its log-probability at sampling
    for n, (start, own) in enumerate(zip(starts, packs.values(), strict=True)):
        end = 0  # of what the row holds so far
        for member in own:
            row, t, skip = rows[member], trajectories[member], start if end else 0  # the prompt stands once
            place = slice(end, end + len(row.ids) - skip)
            ids[n, place] = torch.tensor(row.ids[skip:])
            positions[:, n, place] = policy.positions(row)[:, skip:]
            images += row.images[1:] if end else row.images
            sampled = [i for i, kind in enumerate(t.kinds) if kind == Kind.SAMPLED]
            read += [n * length + (i - 1 if i == start else i - 1 + end - skip) for i in sampled]
            chosen += [row.ids[i] for i in sampled]
            at += [(member, column) for column in range(len(sampled))]
            recorded += [t.logprobs[i] for i in sampled]
            end = place.stop
    seen = packed_mask(policy.model, starts, lengths, length)
    hidden = policy.read(ids.to(device), positions.to(device), images, **seen)
    states = hidden.flatten(0, 1)[torch.tensor(read, device=device)]
    found, spread = chosen_logprobs(policy, states, torch.tensor(chosen, device=device), temperature)
    places = torch.tensor(at, device=device).unbind(1)
    empty = found.new_zeros((len(trajectories), max(column for _, column in at) + 1))
    return TokenLogprobs(
        empty.index_put(places, found),
        empty.index_put(places, torch.tensor(recorded).to(found)),
        empty.index_put(places, torch.ones_like(found)).bool(),
        empty.index_put(places, spread),
    )


def grouped(trajectories: Sequence[Trajectory]) -> list[list[Trajectory]]:
    """Neighbours with the same sample, as groups."""
    same = groupby(trajectories, key=lambda t: (t.sample_id, t.image.hash, t.question))
    return [list(members) for _, members in same]


def passes(trajectories: Sequence[Trajectory], groups: int) -> Iterator[list[Trajectory]]:
    """Trajectories in parts of so many groups; 0: all at once."""
    own = grouped(trajectories)
    size = groups or max(1, len(own))
    for at in range(0, len(own), size):
        yield [t for members in own[at : at + size] for t in members]


def update(
    policy: Policy,
    trajectories: Sequence[Trajectory],
    store: dict[str, Features],
    optimiser: torch.optim.Optimizer,
    settings: UpdateSettings,
    reference: Policy | None = None,
    processes: Alone = ALONE,
    loss: Loss | None = None,
) -> dict[str, Any]:
    """One optimiser step, the same one in all processes.

    Parameters
    ----------
    trajectories : with `advantage` (None: out of the loss), the members of a group next to each other
    store : features by key, as `rollout` filled it
    reference : the policy at the start, frozen, or with LoRA the policy itself, which is then read without its
        matrices; needed if `kl_weight` is not 0
    processes : that update together, each with trajectories of its own
    loss : what is minimised; by default the `policy_loss` of the settings' objective

    Returns
    -------
    metrics, empty if no trajectory has an advantage; ``{"skipped": 1.0}`` if loss or gradient is not finite: then
    nothing has changed; with `pass_groups` where memory allowed only so many groups in a pass
    """
    loss = loss or partial(policy_loss, objective=settings.as_objective())
    own = inspect.signature(loss).parameters.values()
    takes = EXTRAS if any(p.kind is p.VAR_KEYWORD for p in own) else EXTRAS & {p.name for p in own}
    in_parts = "rows" in takes
    if "credit" not in takes and any(t.credit for t in trajectories):
        raise R3labError("a rule that credits tokens wants a loss that takes `credit`, (R, T), beside the advantages")
    if not in_parts and processes.count > 1:
        raise R3labError("a loss that several processes share must take `rows` and `tokens`, to divide by them")
    everywhere = bool(settings.kl_weight or settings.entropy_weight)
    used = [t for t in trajectories if t.advantage is not None and (t.advantage or t.credit or everywhere)]
    if not processes.total(len(used)):
        return {}
    if not in_parts:
        used = list(trajectories)
    rows = int(processes.total(len(trajectories)))
    tokens = int(processes.total(sum(t.kinds.count(Kind.SAMPLED) for t in trajectories)))

    def minimised(part: Sequence[Trajectory]) -> tuple[torch.Tensor, tuple[int, dict[str, Any]]]:
        """The loss of a pass; how many sampled tokens it has, and its metrics."""
        apart = None
        if settings.kl_weight and reference is not None:
            with torch.no_grad(), without_adapter(reference):
                apart = packed_logprobs(reference, part, store, settings.temperature).new
        frozen = settings.freeze_vision  # else features are made anew, with gradients
        now = packed_logprobs(policy, part, store if frozen else {}, settings.temperature, not frozen)
        weights = span_weights(part, settings.credit())
        given = {"rows": rows, "tokens": tokens, "reference": apart, "entropy": now.entropy}
        given["weights"] = None if weights is None else weights.to(now.new)
        credit = token_credit(part)
        given["credit"] = None if credit is None else credit.to(now.new)
        a = torch.tensor([t.advantage or 0.0 for t in part], dtype=now.new.dtype, device=now.new.device)
        found = loss(now.new, now.old, a, now.mask, **{name: given[name] for name in takes})
        value, metrics = found if isinstance(found, tuple) else (found, None)
        if not isinstance(value, torch.Tensor) or value.ndim or not value.requires_grad:
            what = tuple(value.shape) if isinstance(value, torch.Tensor) else type(value).__name__
            raise R3labError(f"a loss must be one number with a gradient to the log-probabilities `new`, got {what}")
        if metrics is None:
            metrics = ratio_metrics(now.new, now.old, a[:, None], now.mask, settings.as_objective())
        return value, (int(now.mask.sum()), metrics)

    spare = trajectories[:1] if processes.sharded(policy) else ()
    optimised = [p for g in optimiser.param_groups for p in g["params"]]
    with checkpointed(policy, settings.checkpointing):
        found, finite, reduced = gradients(used, minimised, optimiser, settings.pass_groups, in_parts, spare, processes)
    processes.sum_gradients(optimised)
    finite = all(processes.gather(finite))
    norm = processes.clip_gradients(optimised, settings.max_grad_norm)
    if not (finite and math.isfinite(norm)):
        optimiser.zero_grad(set_to_none=True)
        return {"skipped": 1.0}
    optimiser.step()
    every = [(n, metrics) for own in processes.gather(found) for n, metrics in own]
    return {**joined(every), "grad_norm": norm, **({} if reduced is None else {"pass_groups": float(reduced)})}


def gradients(
    trajectories: Sequence[Trajectory],
    minimised: Callable[[Sequence[Trajectory]], tuple[torch.Tensor, tuple[int, dict[str, Any]]]],
    optimiser: torch.optim.Optimizer,
    groups: int,
    in_parts: bool,
    spare: Sequence[Trajectory],
    processes: Alone,
) -> tuple[list[tuple[int, dict[str, Any]]], bool, int | None]:
    """Leave the gradient of the update's loss in the parameters of `optimiser`.

    Parameters
    ----------
    trajectories : those that have a gradient
    minimised : the loss of a pass over some of them, and what is to be known of it
    groups : in a pass; 0: all
    in_parts : whether the losses of passes may be added up; else all groups are one pass
    spare : of a sharded policy: a trajectory for passes that count for nothing, until all processes have made as many

    Returns
    -------
    found : sampled tokens and metrics of each pass
    finite : whether every loss was
    reduced : groups in a pass, if memory was short of what was asked for, else None

    Raises
    ------
    R3labError
        If not even one group fits.
    """
    size = in_parts and groups or max(1, len(grouped(trajectories)))
    reduced: int | None = None
    while True:
        optimiser.zero_grad(set_to_none=True)
        found: list[tuple[int, dict[str, Any]]] = []
        finite = True
        parts = list(passes(trajectories, size))
        wanted = max(processes.gather(len(parts))) if spare else len(parts)
        try:
            for number in range(wanted):
                real = number < len(parts)
                loss, counted = minimised(parts[number] if real else spare)
                finite = finite and math.isfinite(float(loss.detach()))
                (loss if real else 0.0 * loss).backward()
                if real:
                    found.append(counted)
            return found, finite, reduced
        except torch.OutOfMemoryError:
            if spare:  # the others are in the middle of a pass that this process cannot repeat
                raise R3labError(f"{size} groups do not fit into memory; take a smaller --pass-groups") from None
            if size == 1 or not in_parts:
                raise R3labError(
                    f"{'one group does' if size == 1 else 'the groups do'} not fit into memory; take a smaller --group,"
                    " fewer --max-new-tokens or fewer --max-looks"
                ) from None
        size = reduced = -(-size // 2)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def joined(found: Sequence[tuple[int, dict[str, Any]]], sums: Sequence[str] = SUMS) -> dict[str, Any]:
    """Metrics of several passes, or updates, as those of one; those that one alone has are told of that one.

    Counts and `sums` add up, of `ratio_max` it is the largest, the rest are means by weight (a pass: its tokens).
    """
    row: dict[str, Any] = {}
    for key in dict.fromkeys(key for _, one in found for key in one):
        weights, values = zip(*((weight, one[key]) for weight, one in found if key in one), strict=True)
        if isinstance(values[0], list):
            row[key] = [sum(counts) for counts in zip(*values, strict=True)]
        elif key == "ratio_max":
            row[key] = max(values)
        elif key in sums:
            row[key] = sum(values)
        else:
            row[key] = sum(map(mul, weights, values)) / sum(weights)
    return row
