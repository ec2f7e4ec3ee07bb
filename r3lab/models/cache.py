"""A key-value cache for rows that advance at different speeds: preallocated slots, one cursor a row.

Each row writes at its own cursor; a block that is shorter than the longest one of its forward is padded on the right,
and what stands to the right of a cursor is never visible and is overwritten later. Always used with an explicit 4-D
mask and explicit positions (`SlotCache.mask`). Simplified: memory grows by copying when a row outgrows it.

    cache = SlotCache(layers=4)
    cache.place(rows, lengths, query)   # which rows the next forward is for
    model(..., past_key_values=cache, attention_mask=cache.mask())
    cache.advance()
"""

from __future__ import annotations

import torch
from transformers.cache_utils import Cache

CHUNK = 32  # the visible part of the cache is trimmed to a multiple of this


class SlotCache(Cache):
    """Keys and values (rows, capacity, heads, head size) a layer; see the module's docstring."""

    def __init__(self, layers: int) -> None:
        super().__init__(layers=[])
        self.count = layers
        self.keys: list[torch.Tensor | None] = [None] * layers
        self.values: list[torch.Tensor | None] = [None] * layers
        self.cursor = torch.zeros(0, dtype=torch.int64)
        self._rows = self._lengths = self._slots = torch.zeros(0, dtype=torch.int64)
        self._all, self._view, self._query = True, 0, 0

    def start(self, rows: int, device: torch.device) -> None:
        """Begin with that many empty rows."""
        self.cursor = torch.zeros(rows, dtype=torch.int64, device=device)

    def place(self, rows: torch.Tensor, lengths: torch.Tensor, query: int) -> None:
        """Say which rows (R,) the next forward writes, how many of its `query` tokens are real in each (R,)."""
        self._rows, self._lengths, self._query = rows, lengths, query
        self._all = len(rows) == len(self.cursor)
        self._slots = self.cursor[rows][:, None] + torch.arange(query, device=rows.device)  # (R, q)
        longest = int(self._slots[:, -1].max()) + 1
        self._view = -(-longest // CHUNK) * CHUNK

    def mask(self) -> torch.Tensor:
        """Bool mask (R, 1, q, view): a token sees every slot up to its own."""
        slots = torch.arange(self._view, device=self._slots.device)
        return (slots <= self._slots[:, :, None])[:, None]

    def advance(self) -> None:
        """Move the cursors past the real tokens of the forward that was placed."""
        self.cursor[self._rows] += self._lengths

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, layer_idx: int, *args: object, **kwargs: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write new keys and values (R, H, q, D); returns those that the placed rows may see (R, H, view, D)."""
        stored = []
        for store, new in ((self.keys, key_states), (self.values, value_states)):
            held = store[layer_idx]
            heads, size = new.shape[1], new.shape[3]
            if held is None or held.shape[1] < self._view:
                grown = new.new_zeros(len(self.cursor), self._view + 4 * CHUNK, heads, size)
                if held is not None:
                    grown[:, : held.shape[1]] = held
                store[layer_idx] = held = grown
            held[self._rows[:, None], self._slots] = new.transpose(1, 2)
            seen = held[:, : self._view] if self._all else held[self._rows, : self._view]
            stored.append(seen.transpose(1, 2))
        return stored[0], stored[1]

    def select(self, rows: torch.Tensor) -> None:
        """Keep these rows (in this order, repeats allowed): copies a prompt to its group, drops finished rows."""
        self.cursor = self.cursor[rows]
        self.keys = [k if k is None else k[rows] for k in self.keys]
        self.values = [v if v is None else v[rows] for v in self.values]

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Length of the longest row (transformers asks; positions and mask are always given)."""
        return int(self.cursor.max()) if len(self.cursor) else 0
