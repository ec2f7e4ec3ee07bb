"""A key-value cache for rows that advance at different speeds: shared beginnings once, and slots of their own.

Each row writes at its own cursor; a block that is shorter than the longest one of its forward is padded on the right,
and what stands to the right of a cursor is never visible and is overwritten later. `share` turns what is held into
beginnings that several rows read and none writes: a group's prompt is kept, and read in attention, once. Used with an
explicit mask and explicit positions, by the model's own forward (`update`) or by `models.decoder` (`attend`).
Simplified: memory grows by copying when a row outgrows it.

    cache = SlotCache(layers=4)
    cache.start(4, device)
    cache.place(rows, lengths, query)   # which rows the next forward is for
    model(..., past_key_values=cache, attention_mask=cache.mask())
    cache.advance()
    cache.share(torch.tensor([0, 0, 1, 1, 2, 2, 3, 3]))  # eight rows, two behind each of the four
"""

from __future__ import annotations

import torch
from torch.nn import functional
from transformers.cache_utils import Cache

CHUNK = 8  # the visible part of the cache is trimmed to a multiple of this
ROOM = 128  # tokens by which a cache grows
SHORT = 64  # a beginning of so many tokens is copied to its rows: one attention in one piece costs less than two


class SlotCache(Cache):
    """Keys and values (rows, heads, capacity, head size) a layer; see the module's docstring.

    Attributes
    ----------
    cursor : (rows,) int64 on the CPU, tokens that each row holds behind its beginning
    """

    def __init__(self, layers: int) -> None:
        super().__init__(layers=[])
        self.keys: list[torch.Tensor | None] = [None] * layers
        self.values: list[torch.Tensor | None] = [None] * layers
        self.shared: list[tuple[torch.Tensor, torch.Tensor]] = []  # a layer: (P, heads, longest, head size) each
        self.starts = self.owner = self.cursor = torch.zeros(0, dtype=torch.int64)  # (P,) lengths; (rows,) beginning
        self.device = torch.device("cpu")
        self._hidden: torch.Tensor | None = None
        self._place: torch.Tensor | None = None
        self._members = 0

    def start(self, rows: int, device: torch.device) -> None:
        """Begin with that many empty rows."""
        self.cursor, self.device = torch.zeros(rows, dtype=torch.int64), device

    def place(self, rows: torch.Tensor, lengths: torch.Tensor, query: int) -> None:
        """Say which rows (R,) the next forward writes, how many of its `query` tokens are real in each (R,)."""
        self._rows, self._lengths, self._all = rows, lengths, len(rows) == len(self.cursor)
        slots = self.cursor[rows][:, None] + torch.arange(query)  # (R, q)
        self._view = -(-(int(slots[:, -1].max()) + 1) // CHUNK) * CHUNK
        self._slots, self._index = slots.to(self.device), rows.to(self.device)
        self._hidden = None

    def mask(self) -> torch.Tensor:
        """Bool mask (R, 1, q, view): a token sees its row's beginning, and every slot up to its own."""
        visible = torch.arange(self._view, device=self.device) <= self._slots[:, :, None]
        if self.shared:
            longest = torch.arange(int(self.starts.max()))
            before = (longest < self.starts[self.owner[self._rows]][:, None]).to(self.device)
            visible = torch.cat([before[:, None].expand(-1, visible.shape[1], -1), visible], dim=-1)
        return visible[:, None]

    def advance(self) -> None:
        """Move the cursors past the real tokens of the forward that was placed."""
        self.cursor[self._rows] += self._lengths

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, layer_idx: int, *args: object, **kwargs: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write new keys and values (R, H, q, D); returns those that the placed rows may see (R, H, view, D)."""
        found = []
        for number, (store, new) in enumerate(((self.keys, key_states), (self.values, value_states))):
            held = self._room(store, new, layer_idx)
            held[self._index[:, None], :, self._slots] = new.transpose(1, 2)
            own = held[:, :, : self._view] if self._all else held[self._index, :, : self._view]
            if self.shared:
                beginning = self.shared[layer_idx][number][self.owner[self._rows].to(self.device)]
                own = torch.cat([beginning, own], dim=2)
            found.append(own)
        return found[0], found[1]

    def attend(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, layer: int) -> torch.Tensor:
        """Write a token a row, and attend from it.

        The rows of a beginning are one matrix product with it: its keys are read once a group, not once a row.

        Parameters
        ----------
        query : (R, heads, D), scaled
        key, value : (R, key heads, D) of the rows that were placed, one token each

        Returns
        -------
        (R, heads, D)
        """
        count, heads, size = query.shape
        hidden = self._aim() if self._hidden is None else self._hidden
        kept, at = [], self._slots[:, 0]
        for store, new in ((self.keys, key), (self.values, value)):
            held = self._room(store, new, layer)
            held[self._index, :, at] = new
            kept.append(held[:, :, : self._view] if self._all else held[self._index, :, : self._view])
        parts = key.shape[1]
        if not self.shared:  # the heads of a key head stand where a block has its tokens
            asked = query.view(count, parts, -1, size)
            found = functional.scaled_dot_product_attention(
                asked, kept[0], kept[1], attn_mask=~hidden[:, None], scale=1.0
            )
            return found.view(count, heads, size)
        own = query.view(count, parts, -1, size) @ kept[0].transpose(2, 3)  # (R, key heads, heads of each, view)
        beginnings, values = self.shared[layer]
        longest, members = beginnings.shape[2], self._members
        far = self._grouped(query).view(-1, members, parts, heads // parts, size).transpose(1, 2)
        scores = far.reshape(len(beginnings), parts, -1, size) @ beginnings.transpose(2, 3)
        scores = scores.view(len(beginnings), parts, members, -1, longest).transpose(1, 2)
        both = query.new_empty(count, heads, longest + self._view)
        both[..., :longest] = self._ungrouped(scores.reshape(-1, heads, longest))
        both[..., longest:] = own.view(count, heads, -1)
        weights = _softmax(both.masked_fill_(hidden, float("-inf")))
        near = weights[..., longest:].view(count, parts, -1, self._view) @ kept[1]
        far = self._grouped(weights[..., :longest]).view(-1, members, parts, heads // parts, longest).transpose(1, 2)
        found = far.reshape(len(beginnings), parts, -1, longest) @ values
        found = found.view(len(beginnings), parts, members, -1, size).transpose(1, 2).reshape(-1, heads, size)
        return near.view(count, heads, size) + self._ungrouped(found)

    def share(self, rows: torch.Tensor) -> None:
        """What is held becomes beginnings; a new empty row stands behind the row of each index (R,).

        Beginnings of at most SHORT tokens become a part of each row instead.
        """
        if self.shared:
            raise ValueError("rows have a shared beginning already")
        longest = int(self.cursor.max())
        if longest <= SHORT:
            self.select(rows)
            return
        pairs = zip(self.keys, self.values, strict=True)
        self.shared = [(k[:, :, :longest], v[:, :, :longest]) for k, v in pairs if k is not None and v is not None]
        self.starts, self.owner, self.cursor = self.cursor, rows, torch.zeros(len(rows), dtype=torch.int64)
        self.keys, self.values = [None] * len(self.keys), [None] * len(self.values)

    def select(self, rows: torch.Tensor) -> None:
        """Keep these rows (R,), in this order; beginnings that no row has are dropped."""
        self.cursor, index = self.cursor[rows], rows.to(self.device)
        self.keys = [k if k is None else k[index] for k in self.keys]
        self.values = [v if v is None else v[index] for v in self.values]
        if self.shared:
            used, self.owner = self.owner[rows].unique(return_inverse=True)
            if len(used) < len(self.starts):
                self.starts, index = self.starts[used], used.to(self.device)
                longest = int(self.starts.max())
                self.shared = [(k[index, :, :longest], v[index, :, :longest]) for k, v in self.shared]

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Length of the longest row (transformers asks; positions and mask are always given)."""
        starts = self.starts[self.owner] if self.shared else 0
        return int((self.cursor + starts).max()) if len(self.cursor) else 0

    def _aim(self) -> torch.Tensor:
        """Of a forward of one token a row: what each row must not see, and its place among those of its beginning."""
        self._hidden = ~self.mask()[:, :, 0]  # (R, 1, view)
        if not self.shared:
            return self._hidden
        owner = self.owner[self._rows]
        counts = owner.bincount(minlength=len(self.starts))
        self._members = int(counts.max())
        order = owner.argsort(stable=True)
        first = counts.cumsum(0) - counts
        place = torch.empty_like(owner)
        place[order] = torch.arange(len(owner)) - first[owner[order]]
        place += owner * self._members
        full = len(owner) == len(self.starts) * self._members and bool((place[1:] > place[:-1]).all())
        self._place = None if full else place.to(self.device)
        return self._hidden

    def _grouped(self, rows: torch.Tensor) -> torch.Tensor:
        """(R, ...) as (P * members, ...): the rows of each beginning next to each other, zeros where it has fewer."""
        if self._place is None:
            return rows
        padded = rows.new_zeros(len(self.starts) * self._members, *rows.shape[1:])
        padded[self._place] = rows
        return padded

    def _ungrouped(self, padded: torch.Tensor) -> torch.Tensor:
        """(P * members, ...) as (R, ...) again."""
        return padded if self._place is None else padded[self._place]

    def _room(self, store: list[torch.Tensor | None], new: torch.Tensor, layer: int) -> torch.Tensor:
        """A layer's keys or values, with room for what the placed forward writes."""
        held = store[layer]
        if held is None or held.shape[2] < self._view:
            room = (len(self.cursor), new.shape[1], self._view + ROOM, new.shape[-1])
            grown = new.new_zeros(room)
            if held is not None:
                grown[:, :, : held.shape[2]] = held
            store[layer] = held = grown
        return held


def _softmax(scores: torch.Tensor) -> torch.Tensor:
    """Over the last axis, in float32, in the scores' own type."""
    return scores.softmax(-1, dtype=torch.float32).to(scores.dtype)
