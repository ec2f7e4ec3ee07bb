"""One update: from scored trajectories to one optimiser step.

Rows of zero advantage are left out where nothing but the advantage acts on them, and count in the mean. Gradients are
made in passes that fit into memory (`passes`).

    metrics = update(policy, trajectories, store, optimiser, UpdateSettings())
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch

from ..core.errors import R3labError
from ..models import attention
from ..models.adapters import without_adapter
from ..models.packed_attention import Spans, able
from ..models.policy import Features, Policy, Row
from ..rollout.sequence import rows_of
from ..trajectory import Kind, Trajectory
from .log import LOG_RATIO_COUNTS
from .objective import SPANS, Objective, policy_loss, span_weights
from .processes import ALONE, Processes, clip_gradients, is_sharded
from .settings import UpdateSettings, objective_of

# The shared-prefix update: a group's rollouts in one row, their prompt read once.
#
# A packed row is [prompt, rollout 1, ..., rollout G]. Positions are those that each rollout had alone, and a token
# sees
# the prompt and its own rollout's earlier tokens, by `models.packed_attention` or, where that is not to be had, by a
# mask: every hidden state is the one that it would be in a row of its own, gradients included (tests hold both), for
# the
# cost of one prompt a group instead of G. The output layer runs only where a token was sampled.
#
#     now = packed_logprobs(policy, trajectories, store, temperature=1.0)      # now.new, now.old, now.mask,
#     now.entropy


@dataclass
class Pack:
    """Rollouts of one prompt as one row.

    Attributes
    ----------
    ids : (L,) token ids
    positions : (3, L) M-RoPE positions
    start : tokens of the prompt
    images : features in placeholder order: the overview once, then the crops of each rollout
    sampled : (place of the state from which it was sampled, place of the token) of each sampled token, by trajectory
    members : number of each trajectory in the batch
    lengths : tokens of each behind the prompt
    """

    ids: list[int]
    positions: torch.Tensor
    start: int
    images: list[Features]
    sampled: list[list[tuple[int, int]]]
    members: list[int]
    lengths: list[int]


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


def prompt_length(trajectory: Trajectory) -> int:
    """Tokens before the first that was not given: those of prompt and overview."""
    given = (int(Kind.PROMPT), int(Kind.OVERVIEW))
    return next((i for i, kind in enumerate(trajectory.kinds) if kind not in given), len(trajectory.kinds))


def pack(policy: Policy, rows: Sequence[Row], trajectories: Sequence[Trajectory]) -> list[Pack]:
    """Rollouts packed by prompt, in the order in which prompts first come."""
    packs: dict[tuple, Pack] = {}
    for number, (row, t) in enumerate(zip(rows, trajectories, strict=True)):
        start = prompt_length(t)
        key = (t.image.hash, t.overview, tuple(row.ids[:start]))
        positions = policy.positions(row)
        if key not in packs:
            packs[key] = Pack(list(row.ids[:start]), positions[:, :start], start, [row.images[0]], [], [], [])
        own = packs[key]
        shift = len(own.ids) - start
        own.ids += row.ids[start:]
        own.positions = torch.cat([own.positions, positions[:, start:]], dim=1)
        own.images += row.images[1:]
        places = [i for i, kind in enumerate(t.kinds) if kind == Kind.SAMPLED]
        own.sampled.append([(i - 1 if i == start else i - 1 + shift, i + shift) for i in places])
        own.members.append(number)
        own.lengths.append(len(row.ids) - start)
    return list(packs.values())


def visible(segments: torch.Tensor) -> torch.Tensor:
    """Bool mask (N, 1, L, L) of packed rows: earlier tokens of the prompt and of the own rollout.

    Parameters
    ----------
    segments : (N, L) int64; -1 in the padding, which no other token sees
    """
    query, key = segments[:, :, None], segments[:, None, :]
    earlier = torch.ones(segments.shape[1], segments.shape[1], dtype=torch.bool, device=segments.device).tril()
    return (((query == key) | (key == 0)) & earlier)[:, None]


def sight(
    policy: Policy, starts: Sequence[int], lengths: Sequence[Sequence[int]], width: int
) -> dict[str, Spans | torch.Tensor]:
    """What `Policy.read` is given so that tokens of packed rows see what they should.

    Parameters
    ----------
    starts, lengths : tokens of each row's prompt, and of each of its rollouts
    width : of the rows
    """
    if attention.selected(policy.model) and able(policy.device):
        return {"packed_spans": Spans.of(starts, lengths, width)}
    segments = torch.full((len(starts), width), -1, dtype=torch.int64)
    for n, (start, own) in enumerate(zip(starts, lengths, strict=True)):
        marks = [0] * start + [g for g, size in enumerate(own, 1) for _ in range(size)]
        segments[n, : len(marks)] = torch.tensor(marks)
    return {"attention_mask": visible(segments.to(policy.device))}


def drawn(
    policy: Policy, states: torch.Tensor, chosen: torch.Tensor, temperature: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probabilities (N,) of chosen ids (N,) at states (N, D), and entropies (N,) of what they were drawn from."""
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
    device = policy.device
    packs = pack(policy, rows_of(policy, trajectories, store, graph), trajectories)
    length = max(len(p.ids) for p in packs)
    ids = torch.full((len(packs), length), policy.tokenizer.pad_token_id or 0, dtype=torch.int64)
    positions = torch.zeros((3, len(packs), length), dtype=torch.int64)
    state: list[int] = []  # of each sampled token: place of the state that it was drawn from, ...
    chosen: list[int] = []  # ... its id, ...
    row: list[int] = []  # ... its rollout and its number in it, ...
    column: list[int] = []
    recorded: list[float | None] = []  # ... and its log-probability at sampling
    for n, own in enumerate(packs):
        ids[n, : len(own.ids)] = torch.tensor(own.ids)
        positions[:, n, : len(own.ids)] = own.positions
        for number, places in zip(own.members, own.sampled, strict=True):
            t = trajectories[number]
            state += [n * length + before for before, _ in places]
            chosen += [own.ids[at] for _, at in places]
            row += [number] * len(places)
            column += range(len(places))
            recorded += [t.logprobs[i] for i, kind in enumerate(t.kinds) if kind == Kind.SAMPLED]
    images = [f for p in packs for f in p.images]
    seen = sight(policy, [p.start for p in packs], [p.lengths for p in packs], length)
    hidden = policy.read(ids.to(device), positions.to(device), images, **seen)
    states = hidden.flatten(0, 1)[torch.tensor(state, device=device)]
    found, spread = drawn(policy, states, torch.tensor(chosen, device=device), temperature)
    at = (torch.tensor(row, device=device), torch.tensor(column, device=device))
    empty = found.new_zeros((len(trajectories), max(column) + 1))
    return TokenLogprobs(
        empty.index_put(at, found),
        empty.index_put(at, torch.tensor(recorded).to(found)),
        empty.index_put(at, torch.ones_like(found)).bool(),
        empty.index_put(at, spread),
    )


def token_logprobs(
    policy: Policy, rows: list[Row], trajectories: Sequence[Trajectory], temperature: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Log-probabilities of the sampled tokens under the policy now, and those recorded at sampling.

    A row a trajectory: plain, and what `packed.packed_logprobs` must equal.

    Returns
    -------
    new, old : (R, T) float32, T the most sampled tokens of a row
    mask : (R, T) bool
    """
    batch = policy.rows(rows)
    places = [[i for i, k in enumerate(t.kinds) if k == Kind.SAMPLED] for t in trajectories]
    row = torch.tensor([r for r, at in enumerate(places) for _ in at])
    at = torch.tensor([i for positions in places for i in positions])
    column = torch.tensor([c for positions in places for c in range(len(positions))])
    hidden = policy.hidden(batch)[row, at - 1]  # (N, D): the state from which each token was sampled
    logp = torch.log_softmax(policy.logits(hidden) / (temperature or 1.0), dim=-1)
    target = batch.ids[row, at]
    shape = (len(rows), max(map(len, places)))
    new = logp.new_zeros(shape).index_put((row, column), logp.gather(1, target[:, None])[:, 0])
    recorded = torch.tensor(
        [t.logprobs[i] for t, positions in zip(trajectories, places, strict=True) for i in positions]
    )
    old = logp.new_zeros(shape).index_put((row, column), recorded.to(logp))
    mask = torch.zeros(shape, dtype=torch.bool, device=logp.device).index_put(
        (row, column), torch.ones_like(row, dtype=torch.bool)
    )
    return new, old, mask


# Gradients of an update in passes that fit into memory.
#
# A pass holds some of the groups; the losses of the passes add up to that of the whole update exactly (`aggregate`
# divides by the rows and tokens of all), so the size of a pass changes memory and nothing else. One that does not fit
# is
# made again with half as many groups.


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


def gradients(
    policy: Policy,
    trajectories: Sequence[Trajectory],
    store: dict[str, Features],
    optimiser: torch.optim.Optimizer,
    settings: UpdateSettings,
    objective: Objective,
    reference: Policy | None,
    rows: int,
    tokens: int,
    spare: Sequence[Trajectory] = (),
    processes: Processes = ALONE,
) -> tuple[list[tuple[int, dict[str, Any]]], bool, int | None]:
    """Leave the gradient of the update's loss in the parameters of `optimiser`.

    Parameters
    ----------
    trajectories : those that have a gradient
    rows, tokens : of the whole update, with those that have none and those of other processes
    spare : of a sharded policy: a trajectory for passes that count for nothing, until all processes have made as many

    Returns
    -------
    found : sampled tokens and metrics of each pass
    finite : whether every loss was
    groups : in a pass, if memory was short of what the settings ask for, else None

    Raises
    ------
    R3labError
        If not even one group fits.
    """
    size = settings.pass_groups or max(1, len(grouped(trajectories)))
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
                part = parts[number] if real else spare
                with checkpointed(policy, settings.checkpointing):
                    loss, count, metrics = _loss(policy, part, store, settings, objective, reference, rows, tokens)
                    finite = finite and math.isfinite(float(loss.detach()))
                    (loss if real else 0.0 * loss).backward()
                if real:
                    found.append((count, metrics))
            return found, finite, reduced
        except torch.OutOfMemoryError:
            if spare:  # the others are in the middle of a pass that this process cannot repeat
                raise R3labError(f"{size} groups do not fit into memory; take a smaller --pass-groups") from None
            if size == 1:
                raise R3labError(
                    "one group does not fit into memory; take a smaller --group, fewer --max-new-tokens or fewer "
                    "--max-looks"
                ) from None
        size = reduced = -(-size // 2)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


@contextmanager
def checkpointed(policy: Policy, on: bool) -> Iterator[None]:
    """Gradient checkpointing of the text model inside; transformers does it in training mode alone."""
    if not on:
        yield
        return
    model, was_training = policy.model, policy.model.training
    new = hasattr(model, "activation_checkpointing_enable")  # its newer name in transformers
    enable = model.activation_checkpointing_enable if new else model.gradient_checkpointing_enable
    disable = model.activation_checkpointing_disable if new else model.gradient_checkpointing_disable
    enable({"use_reentrant": False})
    model.train()
    try:
        yield
    finally:
        disable()
        model.train(was_training)


def _loss(
    policy: Policy,
    part: Sequence[Trajectory],
    store: dict[str, Features],
    settings: UpdateSettings,
    objective: Objective,
    reference: Policy | None,
    rows: int,
    tokens: int,
) -> tuple[torch.Tensor, int, dict[str, Any]]:
    """Loss of a pass, its sampled tokens and its metrics."""
    apart = None
    if objective.kl_weight and reference is not None:
        with torch.no_grad(), without_adapter(reference):
            apart = packed_logprobs(reference, part, store, settings.temperature).new
    frozen = settings.freeze_vision  # else features are made anew, with gradients
    now = packed_logprobs(policy, part, store if frozen else {}, settings.temperature, not frozen)
    weights = span_weights(part, {name: getattr(settings, f"credit_{name}") for name in SPANS})
    loss, metrics = policy_loss(
        now.new,
        now.old,
        torch.tensor([t.advantage for t in part], dtype=now.new.dtype, device=now.new.device),
        now.mask,
        objective,
        rows=rows,
        tokens=tokens,
        weights=None if weights is None else weights.to(now.new),
        reference=apart,
        entropy=now.entropy,
    )
    return loss, int(now.mask.sum()), metrics


def update(
    policy: Policy,
    trajectories: Sequence[Trajectory],
    store: dict[str, Features],
    optimiser: torch.optim.Optimizer,
    settings: UpdateSettings,
    reference: Policy | None = None,
    processes: Processes = ALONE,
) -> dict[str, Any]:
    """One optimiser step, the same one in all processes.

    Parameters
    ----------
    trajectories : with `advantage`, the members of a group next to each other
    store : features by key, as `rollout` filled it
    reference : the policy at the start, frozen, or with LoRA the policy itself, which is then read without its
        matrices; needed if `kl_weight` is not 0
    processes : that update together, each with trajectories of its own

    Returns
    -------
    metrics, empty if no trajectory has an advantage; ``{"skipped": 1.0}`` if loss or gradient is not finite: then
    nothing has changed; with `pass_groups` where memory allowed only so many groups in a pass
    """
    objective = objective_of(settings)
    everywhere = bool(objective.kl_weight or objective.entropy_weight)
    used = [t for t in trajectories if t.advantage or everywhere]
    if not processes.total(len(used)):
        return {}
    if objective.kl_weight and reference is None:
        raise ValueError("kl_weight is not 0 but no reference was given")
    rows = int(processes.total(len(trajectories)))
    tokens = int(processes.total(sum(t.kinds.count(Kind.SAMPLED) for t in trajectories)))
    spare = trajectories[:1] if is_sharded(policy) else ()  # FSDP wants as many passes of every process
    found, finite, groups = gradients(
        policy, used, store, optimiser, settings, objective, reference, rows, tokens, spare, processes
    )
    parameters = [p for g in optimiser.param_groups for p in g["params"]]
    processes.sum_gradients(parameters)
    finite = all(processes.gather(finite))
    norm = clip_gradients(parameters, settings.max_grad_norm)
    if not (finite and math.isfinite(norm)):
        optimiser.zero_grad(set_to_none=True)
        return {"skipped": 1.0}
    optimiser.step()
    every = [(n, metrics) for own in processes.gather(found) for n, metrics in own]
    reduced = {} if groups is None else {"pass_groups": float(groups)}
    return {**_joined(every), "grad_norm": norm, **reduced}


class Guard:
    """Counts updates in a row that were left out because they were not finite, and ends the run after so many.

    Called with the step, the trajectories of the update, and its metrics, which it returns.
    """

    def __init__(self, limit: int, skipped: Callable[[int, list[Trajectory]], None]) -> None:
        self.limit, self.skipped, self.in_a_row = limit, skipped, 0

    def __call__(self, step: int, trajectories: list[Trajectory], metrics: dict[str, Any]) -> dict[str, Any]:
        self.in_a_row = self.in_a_row + 1 if "skipped" in metrics else 0
        if self.in_a_row:
            self.skipped(step, trajectories)
        if self.in_a_row >= self.limit:
            raise R3labError(
                f"{self.in_a_row} updates in a row were not finite (step {step + 1}); the policy is as the last finite "
                "one left it. Lower --learning-rate"
            )
        return metrics


def _joined(found: list[tuple[int, dict[str, Any]]]) -> dict[str, Any]:
    """Metrics of several passes: sums of what adds up, the largest ratio, means over tokens of the rest."""
    total = sum(n for n, _ in found)
    joined: dict[str, Any] = {}
    for key in found[0][1]:
        values = [m[key] for _, m in found]
        if key in ("kl", "entropy_bonus"):
            joined[key] = sum(values)
        elif key == LOG_RATIO_COUNTS:
            joined[key] = [sum(counts) for counts in zip(*values, strict=True)]
        elif key == "ratio_max":
            joined[key] = max(values)
        else:
            joined[key] = sum(n * v for (n, _), v in zip(found, values, strict=True)) / total
    return joined
