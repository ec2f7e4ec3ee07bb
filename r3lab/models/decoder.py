"""One token a row through the text model: the step that a rollout takes most often, without what it does not need.

The forward of transformers spends most of a small step on bookkeeping. Here the same weights are applied in the same
order, module by module (so LoRA matrices and quantised layers work), with attention by `SlotCache.attend`. All
families of r3lab share this shape: RMS norms, rotary positions, grouped keys, a gated perceptron. Only text comes this
way: images and blocks of tokens go through the model's own forward, and so does everything while attention is watched
(`models.attention`), while hooks are set, or if a model differs in what is checked here; `fits` says so. Equal to the
model's forward to rounding (tested on every family). Where matrices are small, the call costs more than the product:
queries, keys and values are one, and so are the two halves of the perceptron (`_Joined`).

A GPU waits for the host at every token that the host wants to see. `ahead` therefore reads and draws several tokens a
row, with cursors, positions, masks and draws on the device, and the host looks at them together. What a row drew beyond
the end of a box is dropped: the next forward writes over it, and random numbers are told by row and number of the
token, so that results do not depend on how far one draws ahead. Every step has the same addresses; on CUDA a bucket of
(rows, view) that is met again is captured as a graph and launched as one. Simplified: graphs live as long as the rows
lie where they are, at most for a rollout.

    decoder = Decoder(policy) if fits(policy) else None
    states = decoder.step(ids, positions, cache)   # (R,), (R,) -> (R, D)
    tokens, logprobs, entropies = decoder.ahead(cache, temperature)(rows, ids, positions, uniform)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch.nn import functional

from . import attention
from .cache import SlotCache
from .policy import Policy, choose

AHEAD = {"cuda": 8}  # tokens that a row draws before the host looks, by device; elsewhere one
VIEW = 128  # the visible part of the cache, in slots, is a multiple of this where tokens are drawn ahead
ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj", "scaling", "head_dim")
SMALL = 512  # width of states up to which the call costs more than the copy
STATIC = ("default", "linear", "llama3", "yarn")  # rotary frequencies that do not change with the length


def fits(policy: Policy) -> bool:
    """True if the text model is what `Decoder` computes, and nobody watches it."""
    text = policy.text
    config = policy.model.config.get_text_config()
    if config._attn_implementation not in ("sdpa", attention.NAME) or attention.watched():
        return False
    if getattr(text.rotary_emb, "rope_type", "default") not in STATIC:
        return False
    for layer in text.layers:
        own = layer.self_attn
        if not all(hasattr(own, name) for name in ATTENTION) or not hasattr(layer.mlp, "gate_proj"):
            return False
        if getattr(own, "sliding_window", None) or any(map(_hooked, (layer, own, layer.mlp))):
            return False
    return not _hooked(text)


class Decoder:
    """The text model of a policy, for one token a row."""

    def __init__(self, policy: Policy) -> None:
        self.policy, self.text = policy, policy.text
        self.count = AHEAD.get(policy.device.type, 1)  # tokens that `ahead` draws
        self.drawing: Ahead | None = None
        self.flat = policy.family.tiles is not None  # positions are those of text: (rows, L) and not (3, rows, L)
        self.table = self._rotations(1024)
        self.joined = [_Joined.of(layer) for layer in self.text.layers]

    @torch.no_grad()
    def step(self, ids: torch.Tensor, positions: torch.Tensor, cache: SlotCache) -> torch.Tensor:
        """Read a text token in each of the rows that were placed in the cache.

        Parameters
        ----------
        ids : (R,) int64
        positions : (R,) int64, on the CPU

        Returns
        -------
        (R, D) last hidden states
        """
        self.reach(int(positions.max()) + 1)
        return self.read(ids, positions.to(ids.device), cache)

    def ahead(self, cache: SlotCache, temperature: float) -> Ahead:
        """What draws several tokens a row; the same one until rows leave the cache, or another temperature is asked."""
        held = self.drawing
        same = held is not None and (held.cache, held.temperature) == (cache, temperature)
        if held is None or not same or len(held.tokens) != len(cache.cursor):
            self.drawing = held = Ahead(self, cache, temperature)
        return held

    def reach(self, positions: int) -> None:
        """Have rotations for so many positions."""
        while len(self.table[0]) < positions:
            self.table = self._rotations(2 * len(self.table[0]))

    def read(self, ids: torch.Tensor, positions: torch.Tensor, cache: SlotCache) -> torch.Tensor:
        """`step`, with positions on the device."""
        text = self.text
        states = text.embed_tokens(ids)
        cos, sin = (part[positions][:, None] for part in self.table)  # (R, 1, head size)
        for number, layer in enumerate(text.layers):
            own, joined = layer.self_attn, self.joined[number]
            read = _norm(layer.input_layernorm, states)
            if joined is not None:
                query, key, value = joined.asked(read, cos, sin)
            else:
                query, key, value = (
                    project(read).view(len(ids), -1, own.head_dim) for project in (own.q_proj, own.k_proj, own.v_proj)
                )
                if hasattr(own, "q_norm"):
                    query, key = _norm(own.q_norm, query), _norm(own.k_norm, key)
                query, key = _rotate(query, cos, sin), _rotate(key, cos, sin)
            found = cache.attend(query * own.scaling, key, value, number)
            states = states + own.o_proj(found.flatten(1))
            thought = _norm(layer.post_attention_layernorm, states)
            states = states + (layer.mlp(thought) if joined is None else joined.perceptron(thought))
        return _norm(text.norm, states)

    def _rotations(self, length: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Cosines and sines (length, head size) of text positions; of the sines the first half is negated."""
        weight = self.text.embed_tokens.weight
        places = torch.arange(length, device=weight.device)[None]
        cos, sin = self.text.rotary_emb(weight[:1], places if self.flat else places.expand(3, 1, -1))
        if cos.dim() == 4:  # one for each of the three axes, which are equal in text
            cos, sin = cos[0], sin[0]
        half = sin.shape[-1] // 2
        return cos[0], torch.cat([-sin[0, :, :half], sin[0, :, half:]], dim=-1)


class Ahead:
    """Several tokens a row, read and drawn on the device; see the module's docstring.

    Attributes
    ----------
    given : (4, rows) int64: id and position of the token that is read next, the row's cursor, 1 in a row that goes on
    uniform : (rows, count) float64, with which tokens are drawn
    tokens, told : (rows, count) ids that were drawn; (2, rows, count) their log-probabilities and entropies
    number : (1,) of the token that is drawn next
    graphs : what runs a step, by view and length of the rotations; None where it has run once, and is no graph yet
    """

    def __init__(self, decoder: Decoder, cache: SlotCache, temperature: float) -> None:
        shape, device = (len(cache.cursor), decoder.count), cache.device
        self.decoder, self.cache, self.temperature = decoder, cache, temperature
        self.given = torch.zeros((4, shape[0]), dtype=torch.int64, device=device)
        self.uniform = torch.zeros(shape, dtype=torch.float64, device=device)
        self.tokens = torch.zeros(shape, dtype=torch.int64, device=device)
        self.told = torch.zeros((2, *shape), device=device)
        self.number = torch.zeros(1, dtype=torch.int64, device=device)
        self.graphs: dict[tuple[int, int], Callable[[], None] | None] = {}
        self.moves = cache.moves

    @torch.no_grad()
    def __call__(
        self, rows: Sequence[int], ids: Sequence[int], positions: Sequence[int], uniform: Any = None
    ) -> list[list[Any]]:
        """Read a token in some rows, draw the next one, read it, and so on; cursors stay for the caller to move.

        Parameters
        ----------
        rows : their places in the cache
        ids, positions : of the token that each reads first
        uniform : numbers (R, count) to draw with; None: the best are taken

        Returns
        -------
        tokens, log-probabilities, entropies: for each of the rows a list of `count`
        """
        cache, given, count = self.cache, torch.zeros(self.given.shape, dtype=torch.int64), self.tokens.shape[1]
        given[2], at = cache.cursor, list(rows)
        given[0, at], given[1, at], given[3, at] = torch.tensor(ids), torch.tensor(positions), 1
        self.given.copy_(given)
        self.number.zero_()
        if uniform is not None:
            drawn = torch.zeros(self.uniform.shape, dtype=torch.float64)
            drawn[at] = torch.as_tensor(uniform)
            self.uniform.copy_(drawn)
        self.decoder.reach(max(positions) + count)
        view = -(-(int(cache.cursor.max()) + count) // VIEW) * VIEW
        for _ in range(count):
            self._step(view)
        found = [part.tolist() for part in (self.tokens, *self.told)]
        return [[part[row] for row in rows] for part in found]

    def once(self, view: int) -> None:
        """Read a token in every row and draw the next: no tensor comes from the host, and none goes there."""
        ids, positions, cursors, on = self.given
        self.cache.stand(cursors, view)
        states = self.decoder.read(ids, positions, self.cache)
        uniform = self.uniform.index_select(1, self.number) if self.temperature else None
        chosen, *told = choose(self.decoder.policy.logits(states), self.temperature, uniform)
        self.tokens.index_copy_(1, self.number, chosen[:, None])
        self.told.index_copy_(2, self.number, torch.stack(told)[..., None])
        ids.copy_(chosen)
        positions += on
        cursors += on  # rows that stand still write to one slot again and again, behind what they hold
        self.number += 1

    def _step(self, view: int) -> None:
        """`once`; on CUDA as a graph, from the second time on that a bucket is met where it is."""
        if self.moves != self.cache.moves:  # a graph reads and writes where keys and values lay
            self.graphs, self.moves = {}, self.cache.moves
        bucket = view, len(self.decoder.table[0])
        if bucket not in self.graphs:
            self.once(view)  # whatever has yet to be made is made here
            self.graphs[bucket] = None
            return
        self.graphs[bucket] = run = self.graphs[bucket] or captured(partial(self.once, view), self.given.device)
        run()


def captured(step: Callable[[], None], device: torch.device) -> Callable[[], None]:
    """A step that has run before, as a CUDA graph; itself on another device."""
    if device.type != "cuda":
        return step
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):  # notes what the step launches, and runs none of it
        step()
    return graph.replay


@dataclass(frozen=True)
class _Joined:
    """The matrices of a layer that are applied to the same states, one under the other: a copy, good until the weights
    change (a decoder lives as long as a rollout)."""

    layer: Any
    heads: int
    asking: torch.Tensor  # (3 x heads x D, in) of queries, keys, values
    bias: torch.Tensor | None
    norms: torch.Tensor | None  # (query and key heads, D)
    gate: torch.Tensor  # (2 x width, in) of gate and up

    @classmethod
    def of(cls, layer: Any) -> _Joined | None:
        """None where the layer is not `joinable`."""
        if not joinable(layer):
            return None
        own, mlp = layer.self_attn, layer.mlp
        asking, gate = [own.q_proj, own.k_proj, own.v_proj], [mlp.gate_proj, mlp.up_proj]
        biases = [m.bias for m in asking if m.bias is not None]
        normed = [getattr(own, name, None) for name in ("q_norm", "k_norm")]
        counts = [m.out_features // own.head_dim for m in asking[:2]]
        weights = [m.weight.expand(n, -1) for m, n in zip(normed, counts, strict=True) if m is not None]
        return cls(
            layer,
            counts[0],
            torch.cat([m.weight for m in asking]),
            torch.cat(biases) if biases else None,
            torch.cat(weights) if weights else None,
            torch.cat([m.weight for m in gate]),
        )

    def asked(
        self, states: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Queries, keys, both rotated, and values, (R, heads, D), of states (R, in)."""
        own = self.layer.self_attn
        made = functional.linear(states, self.asking, self.bias).view(len(states), -1, own.head_dim)
        ends = self.heads + (made.shape[1] - self.heads) // 2  # as many keys as values
        both = made[:, :ends]
        if self.norms is not None:
            both = functional.rms_norm(both, both.shape[-1:], None, own.q_norm.variance_epsilon) * self.norms
        both = _rotate(both, cos, sin)
        return both[:, : self.heads], both[:, self.heads :], made[:, ends:]

    def perceptron(self, states: torch.Tensor) -> torch.Tensor:
        """The gated perceptron of states (R, in)."""
        mlp = self.layer.mlp
        gate, up = functional.linear(states, self.gate).chunk(2, dim=-1)
        found: torch.Tensor = mlp.down_proj(mlp.act_fn(gate) * up)
        return found


def joinable(layer: Any) -> bool:
    """Whether a text layer's matrices are small, float32, and no more than matrices (no LoRA, not quantised)."""
    own, mlp = layer.self_attn, layer.mlp
    asking, gate = (own.q_proj, own.k_proj, own.v_proj), (mlp.gate_proj, mlp.up_proj)
    plain = all(
        type(m) is torch.nn.Linear and m.in_features <= SMALL and m.weight.dtype == torch.float32 and not _hooked(m)
        for m in (*asking, *gate)
    )
    biased = {m.bias is not None for m in asking}
    norms = [getattr(own, name, None) for name in ("q_norm", "k_norm")]
    norms += [layer.input_layernorm, layer.post_attention_layernorm]
    odd = any(m is not None and (_hooked(m) or not hasattr(m, "variance_epsilon")) for m in norms)
    return plain and not odd and len(biased) == 1 and all(m.bias is None for m in gate)


def _rotate(states: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Rotary positions of (R, heads, D)."""
    return torch.addcmul(states * cos, states.roll(states.shape[-1] // 2, -1), sin)


def _norm(module: Any, states: torch.Tensor) -> torch.Tensor:
    """A root-mean-square norm; the module's own forward where it is not the plain one in float32."""
    if states.dtype != torch.float32 or _hooked(module):
        normed: torch.Tensor = module(states)
        return normed
    return functional.rms_norm(states, module.weight.shape, module.weight, module.variance_epsilon)


def _hooked(module: torch.nn.Module) -> bool:
    """True if somebody's hook, or another's forward, stands around a module."""
    return bool(module._forward_hooks or module._forward_pre_hooks or "forward" in module.__dict__)
