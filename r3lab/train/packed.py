"""The shared-prefix update: a group's rollouts in one row, their prompt read once.

A packed row is [prompt, rollout 1, ..., rollout G]. Positions are those that each rollout had alone, and a token sees
the prompt and its own rollout's earlier tokens, by `models.packed_attention` or, where that is not to be had, by a
mask: every hidden state is the one that it would be in a row of its own, gradients included (tests hold both), for the
cost of one prompt a group instead of G. The output layer runs only where a token was sampled.

    now = packed_logprobs(policy, trajectories, store, temperature=1.0)      # now.new, now.old, now.mask, now.entropy
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ..models import attention
from ..models.packed_attention import Spans, able
from ..models.policy import Features, Policy, Row
from ..sequence import rows_of
from ..trajectory import Kind, Trajectory


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
