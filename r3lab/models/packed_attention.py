"""Attention over packed rows, [prompt, rollout 1, ..., rollout G], without what a mask would throw away.

A token of the prompt sees the prompt up to itself; a token of a rollout sees the prompt and its own rollout up to
itself. With a mask over the whole row most products are made to be discarded. Here three are made, each by torch's
flash kernel: prompts with themselves; rollouts with themselves, side by side; and each prompt with all of its rollouts
at once. The last two are one softmax, joined by their log-sum-exps, and its backward pass is that of the kernel for
each part with the joint output and log-sum-exp (as in ring attention, arXiv 2310.01889): only queries, keys, values,
output and log-sum-exp are kept. Simplified: the kernel is that for CPUs; others use a mask (`attention.packed_mask`).

    spans = Spans.of(starts=[36, 40], lengths=[[60, 71], [64, 58]])
    out = packed_attention(query, key, value, spans, scaling)          # (N, heads, L, D)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

FLASH: Any
BACKWARD: Any
FLASH, BACKWARD = (
    getattr(torch.ops.aten, f"_scaled_dot_product_flash_attention_for_cpu{end}", None) for end in ("", "_backward")
)


@dataclass(frozen=True)
class Spans:
    """Where rows of one width hold prompts and rollouts.

    Attributes
    ----------
    starts : tokens of each row's prompt
    ends : tokens of each row, without its padding
    place : (R, T) int64, places of each rollout's tokens in the flattened rows (N * L); behind a shorter rollout's end
        some place or other
    real : (R, T) bool, True where `place` is a token's
    """

    starts: tuple[int, ...]
    ends: tuple[int, ...]
    place: torch.Tensor
    real: torch.Tensor

    @classmethod
    def of(cls, starts: Sequence[int], lengths: Sequence[Sequence[int]], width: int | None = None) -> Spans:
        """Of rows whose rollouts follow each other.

        Parameters
        ----------
        starts : tokens of each prompt
        lengths : tokens of each of its rollouts
        width : L of the rows; by default that of the longest
        """
        ends = [start + sum(own) for start, own in zip(starts, lengths, strict=True)]
        width = width or max(ends)
        firsts, sizes = [], []
        for n, (start, own) in enumerate(zip(starts, lengths, strict=True)):
            for size in own:
                firsts.append(n * width + start)
                sizes.append(size)
                start += size
        column = torch.arange(max(sizes))
        real = column < torch.tensor(sizes)[:, None]
        place = torch.tensor(firsts)[:, None] + column
        return cls(tuple(starts), tuple(ends), torch.where(real, place, 0), real)


def able(device: torch.device) -> bool:
    """True where the kernel is there."""
    return device.type == "cpu" and FLASH is not None and BACKWARD is not None


def packed_attention(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, spans: Spans, scaling: float
) -> torch.Tensor:
    """Attention of packed rows, with gradients.

    Parameters
    ----------
    query : (N, heads, L, D)
    key, value : (N, key heads, L, D)

    Returns
    -------
    (N, heads, L, D), zeros in the padding
    """
    repeat = query.shape[1] // key.shape[1]
    if repeat > 1:
        key, value = key.repeat_interleave(repeat, 1), value.repeat_interleave(repeat, 1)
    found: torch.Tensor = _Packed.apply(query, key, value, spans, scaling)  # type: ignore[no-untyped-call]
    return found


class _Packed(torch.autograd.Function):
    """The three products of the module's docstring."""

    @staticmethod
    def forward(
        ctx: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, spans: Spans, scaling: float
    ) -> torch.Tensor:
        out = torch.zeros_like(query, memory_format=torch.contiguous_format)
        total = query.new_zeros(query.shape[:3], dtype=_wide(query))  # log-sum-exp of what each token sees
        longest = max(spans.starts)
        near, weight = _flash([t[:, :, :longest] for t in (query, key, value)], scaling, causal=True)
        for n, start in enumerate(spans.starts):
            out[n, :, :start], total[n, :, :start] = near[n, :, :start], weight[n, :, :start]
        near, weight = _flash([_side_by_side(t, spans) for t in (query, key, value)], scaling, causal=True)
        _back(out, near, spans)
        _back(total[..., None], weight[..., None], spans)
        for n, (start, end) in enumerate(zip(spans.starts, spans.ends, strict=True)):
            parts = [query[n, :, start:end], key[n, :, :start], value[n, :, :start]]
            far, apart = (t[0] for t in _flash([t[None] for t in parts], scaling))
            own, mine = out[n, :, start:end], total[n, :, start:end]
            share = torch.sigmoid(apart - mine)[..., None].to(far.dtype)  # of the prompt in the joint softmax
            own.lerp_(far, share)
            torch.logaddexp(mine, apart, out=mine)
        ctx.save_for_backward(query, key, value, out, total)
        ctx.spans, ctx.scaling = spans, scaling
        return out

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:  # type: ignore[override]
        query, key, value, out, total = ctx.saved_tensors
        spans, scaling = ctx.spans, ctx.scaling
        grads = [torch.zeros_like(t, memory_format=torch.contiguous_format) for t in (query, key, value)]
        longest = max(spans.starts)
        of_prompts = grad[:, :, :longest].clone()
        for n, start in enumerate(spans.starts):
            of_prompts[n, :, start:] = 0  # tokens of rollouts, which are not of this product
        parts = [t[:, :, :longest] for t in (query, key, value, out, total)]
        for held, new in zip(grads, _flash_backward([of_prompts, *parts], scaling, causal=True), strict=True):
            held[:, :, :longest] += new
        sides = [_side_by_side(t, spans) for t in (query, key, value, out)]
        apart = _side_by_side(total[..., None], spans)[..., 0]
        above = _side_by_side(grad, spans) * spans.real[:, None, :, None]
        for held, new in zip(grads, _flash_backward([above, *sides, apart], scaling, causal=True), strict=True):
            _back(held, new, spans, add=True)
        for n, (start, end) in enumerate(zip(spans.starts, spans.ends, strict=True)):
            own = [t[n : n + 1, :, start:end] for t in (grad, query, out, total)]
            prompt = [t[n : n + 1, :, :start] for t in (key, value)]
            found = _flash_backward([*own[:2], *prompt, *own[2:]], scaling)
            grads[0][n, :, start:end] += found[0][0]
            grads[1][n, :, :start] += found[1][0]
            grads[2][n, :, :start] += found[2][0]
        return (*grads, None, None)


def _wide(states: torch.Tensor) -> torch.dtype:
    """In which the kernel gives log-sum-exps."""
    return torch.float64 if states.dtype == torch.float64 else torch.float32


def _side_by_side(rows: torch.Tensor, spans: Spans) -> torch.Tensor:
    """Rollouts (R, heads, T, D) of packed rows (N, heads, L, D)."""
    flat = rows.transpose(1, 2).flatten(0, 1)  # (N * L, heads, D)
    return flat[spans.place.flatten()].unflatten(0, spans.place.shape).transpose(1, 2)


def _back(rows: torch.Tensor, sides: torch.Tensor, spans: Spans, add: bool = False) -> None:
    """Put rollouts (R, heads, T, D) where they stand in packed rows (N, heads, L, D), in place."""
    tokens = sides.transpose(1, 2)[spans.real]  # (all, heads, D), row by row in the order in which they stand
    at = 0
    for n, (start, end) in enumerate(zip(spans.starts, spans.ends, strict=True)):
        new = tokens[at : at + end - start].transpose(0, 1)
        if add:
            rows[n, :, start:end] += new
        else:
            rows[n, :, start:end] = new
        at += end - start


def _flash(parts: Sequence[torch.Tensor], scaling: float, causal: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
    """Output (B, heads, Q, D) and log-sum-exp (B, heads, Q) of query, key and value."""
    found: tuple[torch.Tensor, torch.Tensor] = FLASH(*parts, 0.0, causal, scale=scaling)
    return found


def _flash_backward(
    parts: Sequence[torch.Tensor], scaling: float, causal: bool = False
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Gradients of query, key and value, from the output's gradient, query, key, value, output and log-sum-exp.

    The last two may be those of a softmax that goes beyond these keys.
    """
    found: tuple[torch.Tensor, torch.Tensor, torch.Tensor] = BACKWARD(*parts, 0.0, causal, scale=scaling)
    return found
