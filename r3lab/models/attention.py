"""Attention of chosen layers, seen while the model runs as it always does.

One function is registered with transformers' attention and mask interfaces. Its output is that of plain sdpa; beside
that it shows queries, keys and values, after rotary embedding and cache update, to whoever watches. From these the
weights of a query are computed for those queries alone that are wanted: no (L, L) matrix is kept.

    select(model)                                  # the text model alone
    with watching((1, 2)) as seen:
        model(...)
    log_weights(seen[2], row, reads, looked_at, heads=(0, 1))

`shown_to(watch)` is the seam below it: `watch` sees every layer and may give an output of its own. A forward that is
given `packed_spans` attends as `models.packed_attention` does. A `Policy` selects all this for its text model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from .packed_attention import Spans, able, packed_attention

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
    packed_spans: Spans | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    watch = _watch.get()
    layer: Any = getattr(module, "layer_idx", None)
    scaling = kwargs.get("scaling")
    factor = query.shape[-1] ** -0.5 if scaling is None else scaling
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
) -> dict[str, Spans | torch.Tensor]:
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
    row, reads, looked_at : (N,) int64, row of the batch, place of the query, place of the key

    Returns
    -------
    (N, heads) float32
    """
    counts = torch.nn.functional.one_hot(row).cumsum(0)  # (N, rows): queries of each row so far
    place = counts.gather(1, row[:, None])[:, 0] - 1  # of each query among those of its row
    index = row.new_zeros((seen.query.shape[0], int(place.max()) + 1))
    index[row, place] = reads
    repeat = seen.query.shape[1] // seen.key.shape[1]
    query, key = seen.query[:, list(heads)], seen.key[:, [h // repeat for h in heads]]
    scores = (_taken(query, index) @ key.transpose(2, 3)).float() * seen.scaling  # (B, heads, P, K)
    later = torch.arange(seen.key.shape[2], device=row.device) > index[..., None]
    chosen = scores.masked_fill(later[:, None], float("-inf")).log_softmax(-1)
    return chosen[row, :, place, looked_at]
