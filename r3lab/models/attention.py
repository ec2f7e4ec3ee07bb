"""Attention of chosen layers, seen while the model runs as it always does.

One function is registered with transformers' attention and mask interfaces. Its output is that of plain sdpa; beside
that it shows queries, keys and values, after rotary embedding and cache update, to whoever watches. From these the
weights of a query are computed for those queries alone that are wanted: no (L, L) matrix is kept.

    select(model)                                  # the text model alone
    with watching((1, 2)) as seen:
        model(...)
    log_weights(seen[2], row, reads, looked_at, heads=(0, 1))

`shown_to(watch)` is the seam below it: `watch` sees every layer and may give an output of its own. A forward that is
given `packed_spans` attends as `packed_attention` does. A `Policy` selects all this for its text model.

Packed rows are [prompt, rollout 1, ..., rollout G]: a token of the prompt sees the prompt up to itself; a token of a
rollout sees the prompt and its own rollout up to itself. With a mask over the whole row most products are made to be
discarded. Here three are made, each by torch's flash kernel: prompts with themselves; rollouts with themselves, side by
side; and each prompt with all of its rollouts at once. The last two are one softmax, joined by their log-sum-exps, and
its backward pass is that of the kernel for each part with the joint output and log-sum-exp (as in ring attention, arXiv
2310.01889): only queries, keys, values, output and log-sum-exp are kept. Simplified: the kernel is that for CPUs. On
CUDA torch's flex attention takes its place, which skips blocks of 128 x 128 pairs of which none is seen
(`packed_blocks`); other devices use a mask (`packed_mask`).

    spans = Spans.of(starts=[36, 40], lengths=[[60, 71], [64, 58]])
    out = packed_attention(query, key, value, spans, scaling)          # (N, heads, L, D)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from functools import cache
from importlib.util import find_spec
from typing import Any

import torch
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "r3lab_seen"


@dataclass(frozen=True)
class Seen:
    """What goes into the attention of a layer.

    Attributes
    ----------
    query : (B, heads, L, D)
    key, value : (B, key heads, K, D)
    mask : (B, 1, L, K) bool, or None where attention is causal
    scaling : factor on the product of query and key
    """

    query: torch.Tensor
    key: torch.Tensor
    scaling: float
    value: torch.Tensor | None = None
    mask: torch.Tensor | None = None


Watch = Callable[[int, Seen], "torch.Tensor | None"]  # layer, what it attends with -> output (B, L, heads, D) or None
_watch: ContextVar[Watch | None] = ContextVar("watch", default=None)


def _attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    packed_spans: Spans | BlockMask | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    watch = _watch.get()
    layer: Any = getattr(module, "layer_idx", None)
    scaling = kwargs.get("scaling")
    factor = query.shape[-1] ** -0.5 if scaling is None else scaling
    if isinstance(packed_spans, BlockMask):
        more = {"block_mask": packed_spans, "scale": factor, "enable_gqa": True}
        return _flex(query.device.type)(query, key, value, **more).transpose(1, 2), None
    if packed_spans is not None:
        return packed_attention(query, key, value, packed_spans, factor).transpose(1, 2), None
    if watch is not None and layer is not None:
        own = watch(layer, Seen(query, key, factor, value, attention_mask))
        if own is not None:
            return own, None
    return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)


AttentionInterface.register(NAME, _attend)
AttentionMaskInterface.register(NAME, sdpa_mask)  # without it, appending to a cache is silently wrong


def select(model: Any, on: bool = True) -> None:
    """Let the text model's attention be seen, or not any more; the vision tower stays as it is."""
    model.set_attn_implementation({"text_config": NAME if on else "sdpa"})


def selected(model: Any) -> bool:
    """True if the text model's attention goes through here."""
    return bool(model.config.get_text_config()._attn_implementation == NAME)


def watched() -> bool:
    """True inside `shown_to` or `watching`."""
    return _watch.get() is not None


def packed_mask(
    model: Any, starts: Sequence[int], lengths: Sequence[Sequence[int]], width: int
) -> dict[str, Spans | BlockMask | torch.Tensor]:
    """What a forward of packed rows, [prompt, rollout 1, ..., rollout G], is given so that tokens see what they should.

    Parameters
    ----------
    starts, lengths : tokens of each row's prompt, and of each of its rollouts
    width : of the rows
    """
    device = next(model.parameters()).device
    if selected(model) and able(device):
        return {"packed_spans": Spans.of(starts, lengths, width)}
    segments = torch.full((len(starts), width), -1, dtype=torch.int64)
    for n, (start, own) in enumerate(zip(starts, lengths, strict=True)):
        marks = [0] * start + [g for g, size in enumerate(own, 1) for _ in range(size)]
        segments[n, : len(marks)] = torch.tensor(marks)
    if selected(model) and blocks(device):
        return {"packed_spans": packed_blocks(segments.to(device))}
    return {"attention_mask": visible(segments.to(device))}


def visible(segments: torch.Tensor) -> torch.Tensor:
    """Bool mask (N, 1, L, L) of packed rows: earlier tokens of the prompt and of the own rollout.

    Parameters
    ----------
    segments : (N, L) int64; -1 in the padding, which no other token sees
    """
    query, key = segments[:, :, None], segments[:, None, :]
    earlier = torch.ones(segments.shape[1], segments.shape[1], dtype=torch.bool, device=segments.device).tril()
    return (((query == key) | (key == 0)) & earlier)[:, None]


@contextmanager
def shown_to(watch: Watch) -> Iterator[None]:
    """Show every layer of every forward pass inside to `watch`; what it returns, unless None, is the layer's output."""
    token = _watch.set(watch)
    try:
        yield
    finally:
        _watch.reset(token)


@contextmanager
def watching(layers: Iterable[int]) -> Iterator[dict[int, Seen]]:
    """Keep queries and keys of these layers; of a forward pass inside, the last one counts."""
    seen: dict[int, Seen] = {}
    wanted = frozenset(layers)

    def keep(layer: int, found: Seen) -> None:
        if layer in wanted:
            seen[layer] = replace(found, value=None, mask=None)

    with shown_to(keep):
        yield seen


def output(seen: Seen) -> torch.Tensor:
    """The layer's attention output (B, L, heads, D) through torch's sdpa, for a watcher that changes a part of it."""
    query, key, value = seen.query, seen.key, seen.value
    if value is None:
        raise ValueError("values were not kept")
    repeat = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(repeat, 1), value.repeat_interleave(repeat, 1)
    causal = seen.mask is None and query.shape[2] > 1
    found = torch.nn.functional.scaled_dot_product_attention(
        query, key, value, attn_mask=seen.mask, is_causal=causal, scale=seen.scaling
    )
    return found.transpose(1, 2)


def weights(seen: Seen, queries: torch.Tensor) -> torch.Tensor:
    """Attention weights of chosen queries on all keys, as the layer has them.

    Parameters
    ----------
    queries : (B, Q) int64, places among the layer's L queries

    Returns
    -------
    (B, heads, Q, K) float32
    """
    repeat, length = seen.query.shape[1] // seen.key.shape[1], seen.key.shape[2]
    wanted = _taken(seen.query, queries).unflatten(1, (-1, repeat))  # (B, key heads, heads of each, Q, D)
    scores = (wanted @ seen.key[:, :, None].transpose(-1, -2)).flatten(1, 2).float() * seen.scaling
    if seen.mask is None:
        before = length - seen.query.shape[2]  # keys that a cache held already
        visible = torch.arange(length, device=queries.device) <= (queries + before)[..., None]
    else:
        visible = seen.mask[:, 0].gather(1, queries[..., None].expand(-1, -1, length))
    return scores.masked_fill(~visible[:, None], float("-inf")).softmax(-1)


def _taken(states: torch.Tensor, queries: torch.Tensor) -> torch.Tensor:
    """Of states (B, heads, L, D) those at chosen places (B, Q): (B, heads, Q, D)."""
    return states.gather(2, queries[:, None, :, None].expand(-1, states.shape[1], -1, states.shape[-1]))


def log_weights(
    seen: Seen, row: torch.Tensor, reads: torch.Tensor, looked_at: torch.Tensor, heads: Sequence[int]
) -> torch.Tensor:
    """Logarithm of the causal attention weight of single queries on single keys.

    Parameters
    ----------
    row, reads, looked_at : (N,) int64 on the CPU, row of the batch, place of the query, place of the key

    Returns
    -------
    (N, heads) float32
    """
    counts = torch.nn.functional.one_hot(row).cumsum(0)  # (N, rows): queries of each row so far
    place = counts.gather(1, row[:, None])[:, 0] - 1  # of each query among those of its row
    index = row.new_zeros((seen.query.shape[0], int(place.max()) + 1))
    index[row, place] = reads
    index, row, place, looked_at = (part.to(seen.query.device) for part in (index, row, place, looked_at))
    repeat = seen.query.shape[1] // seen.key.shape[1]
    query, key = seen.query[:, list(heads)], seen.key[:, [h // repeat for h in heads]]
    scores = (_taken(query, index) @ key.transpose(2, 3)).float() * seen.scaling  # (B, heads, P, K)
    later = torch.arange(seen.key.shape[2], device=index.device) > index[..., None]
    chosen = scores.masked_fill(later[:, None], float("-inf")).log_softmax(-1)
    return chosen[row, :, place, looked_at]


# -- packed rows: no mask, and nothing made to be thrown away ----------------------------------------------------------

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


def blocks(device: torch.device) -> bool:
    """True where flex attention is compiled: on CUDA, with triton, which torch brings on Linux."""
    return device.type == "cuda" and find_spec("triton") is not None


def packed_blocks(segments: torch.Tensor) -> BlockMask:
    """`visible` of the same segments (N, L), as flex attention takes it: which blocks hold a pair at all."""

    def seen(row: torch.Tensor, head: torch.Tensor, query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
        same = segments[row, query] == segments[row, key]
        return (same | (segments[row, key] == 0)) & (query >= key)

    rows, width = segments.shape
    return create_block_mask(seen, rows, None, width, width, device=segments.device)


@cache
def _flex(device: str) -> Callable[..., torch.Tensor]:
    """Flex attention: compiled on CUDA; elsewhere, where it is only tested, as it is."""
    found: Any = torch.compile(flex_attention) if device == "cuda" else flex_attention
    return found


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
