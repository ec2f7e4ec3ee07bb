"""A key-value cache for rows that advance at different speeds: shared beginnings once, and slots of their own.

Each row writes at its own cursor; a block that is shorter than the longest one of its forward is padded on the right,
and what stands to the right of a cursor is never visible and is overwritten later. `share` turns what is held into
beginnings that several rows read and none writes: a group's prompt is kept, and read in attention, once. Used with an
explicit mask and explicit positions, by the model's own forward (`update`) or by `models.decoder` (`attend`).
Simplified: memory grows by copying when a row outgrows it.

    cache = SlotCache(layers=4)
    cache.start(4, device)
    cache.place(rows, lengths, query)   # which rows the next forward is for
    policy.read(ids, positions, images, cache=cache, attention_mask=cache.mask())
    cache.advance()
    cache.share(torch.tensor([0, 0, 1, 1, 2, 2, 3, 3]))  # eight rows, two behind each of the four
"""

from __future__ import annotations

import inspect

import torch
from transformers.cache_utils import Cache

CHUNK = 8  # the visible part of the cache is trimmed to a multiple of this
ROOM = 128  # tokens by which a cache grows
SHORT = 64  # a beginning of so many tokens is copied to its rows: one attention in one piece costs less than two


def cache_name(model: type[torch.nn.Module]) -> str:
    """What a class of transformers calls its cache, in its forward and in what that returns: "cache" since 5.24."""
    return "cache" if "cache" in inspect.signature(model.forward).parameters else "past_key_values"


class SlotCache(Cache):
    """Keys and values (rows, heads, capacity, head size) a layer; see the module's docstring.

    Attributes
    ----------
    cursor : (rows,) int64 on the CPU, tokens that each row holds behind its beginning
    moves : how often keys and values were laid elsewhere: between two moves their addresses stay
    """

    def __init__(self, layers: int) -> None:
        super().__init__(layers=[])
        self.keys: list[torch.Tensor | None] = [None] * layers
        self.values: list[torch.Tensor | None] = [None] * layers
        self.shared: list[tuple[torch.Tensor, torch.Tensor]] = []  # a layer: (P, heads, longest, head size) each
        self.starts = self.owner = self.cursor = torch.zeros(0, dtype=torch.int64)  # (P,) lengths; (rows,) beginning
        self.device = torch.device("cpu")
        self.moves = 0
        self._hidden: torch.Tensor | None = None
        self._place: torch.Tensor | None = None
        self._beyond: torch.Tensor | None = None
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

    def stand(self, cursors: torch.Tensor, view: int) -> None:
        """Place a token in every row, at cursors (rows,) of the device: the host reads none of them back."""
        self._all, self._view, self._hidden = True, view, None
        self._slots, self._index = cursors[:, None], torch.arange(len(cursors), device=self.device)

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

        The rows of a beginning are one matrix product with it: its keys are read once a group, not once a row. All rows
        attend, also those that were not placed: that costs less than to copy the keys of the others.

        Parameters
        ----------
        query : (R, heads, D), scaled
        key, value : (R, key heads, D) of the rows that were placed, one token each

        Returns
        -------
        (R, heads, D)
        """
        heads, parts, size = query.shape[1], key.shape[1], query.shape[2]
        hidden = self._aim() if self._hidden is None else self._hidden
        kept, at = [], self._slots[:, 0]
        for store, new in ((self.keys, key), (self.values, value)):
            held = self._room(store, new, layer)
            held[self._index, :, at] = new
            kept.append(held[:, :, : self._view])
        asked = query if self._all else query.new_zeros(len(hidden), heads, size).index_copy_(0, self._index, query)
        asked = asked.view(len(hidden), parts, -1, size)  # the heads of a key head stand where a block has its tokens
        longest = self.shared[layer][0].shape[2] if self.shared else 0
        exact = torch.promote_types(query.dtype, torch.float32)
        scores = query.new_empty(*asked.shape[:3], longest + self._view, dtype=exact)
        scores[..., longest:].copy_(asked @ kept[0].transpose(2, 3)).add_(hidden)
        if self.shared:
            beginnings, values = self.shared[layer]
            far = self._grouped(asked) @ beginnings.transpose(2, 3)
            if self._beyond is not None:
                far += self._beyond
            scores[..., :longest] = self._ungrouped(far, asked.shape[2])
        weights = scores.softmax(-1).to(query.dtype)
        found = weights[..., longest:] @ kept[1]
        if self.shared:
            found += self._ungrouped(self._grouped(weights[..., :longest]) @ values, asked.shape[2])
        found = found.view(-1, heads, size)
        return found if self._all else found[self._index]

    def share(self, rows: torch.Tensor) -> None:
        """What is held becomes beginnings; a new empty row stands behind the row of each index (R,).

        Beginnings of at most SHORT tokens become a part of each row instead.
        """
        if self.shared:
            raise ValueError("rows have a shared beginning already")
        longest, self.moves = int(self.cursor.max()), self.moves + 1
        if longest <= SHORT:
            self.select(rows)
            return
        pairs = zip(self.keys, self.values, strict=True)
        self.shared = [(k[:, :, :longest], v[:, :, :longest]) for k, v in pairs if k is not None and v is not None]
        self.starts, self.owner, self.cursor = self.cursor, rows, torch.zeros(len(rows), dtype=torch.int64)
        self.keys, self.values = [None] * len(self.keys), [None] * len(self.values)
        self._group()

    def select(self, rows: torch.Tensor) -> None:
        """Keep these rows (R,), in this order; beginnings that no row has are dropped."""
        self.cursor, index, self.moves = self.cursor[rows], rows.to(self.device), self.moves + 1
        self.keys = [k if k is None else k[index] for k in self.keys]
        self.values = [v if v is None else v[index] for v in self.values]
        if self.shared:
            used, self.owner = self.owner[rows].unique(return_inverse=True)
            if len(used) < len(self.starts):
                self.starts, index = self.starts[used], used.to(self.device)
                longest = int(self.starts.max())
                self.shared = [(k[index, :, :longest], v[index, :, :longest]) for k, v in self.shared]
            self._group()

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Length of the longest row (transformers asks; positions and mask are always given)."""
        starts = self.starts[self.owner] if self.shared else 0
        return int((self.cursor + starts).max()) if len(self.cursor) else 0

    def _aim(self) -> torch.Tensor:
        """What is added to the scores of a forward of one token a row, (rows, 1, 1, view): of a row that was not placed
        nothing is hidden, and nothing used."""
        last = torch.full((len(self.cursor),), self._view, device=self.device)
        last[self._index] = self._slots[:, 0]
        hidden = torch.arange(self._view, device=self.device) > last[:, None]
        self._hidden = torch.zeros(hidden.shape, device=self.device).masked_fill_(hidden, -torch.inf)[:, None, None]
        return self._hidden

    def _group(self) -> None:
        """Where each row stands among those of its beginning, and what is beyond the end of each beginning."""
        counts = self.owner.bincount(minlength=len(self.starts))
        self._members = int(counts.max())
        order = self.owner.argsort(stable=True)
        first = counts.cumsum(0) - counts
        place = torch.empty_like(self.owner)
        place[order] = torch.arange(len(self.owner)) - first[self.owner[order]]
        place += self.owner * self._members
        full = len(self.owner) == len(self.starts) * self._members and bool((place[1:] > place[:-1]).all())
        self._place = None if full else place.to(self.device)
        beyond = torch.arange(int(self.starts.max())) >= self.starts[:, None]
        hidden = torch.zeros(beyond.shape).masked_fill_(beyond, -torch.inf)[:, None, None]
        self._beyond = hidden.to(self.device) if bool(beyond.any()) else None

    def _grouped(self, rows: torch.Tensor) -> torch.Tensor:
        """(rows, parts, n, ...) as (P, parts, members * n, ...): the rows of each beginning next to each other, zeros
        where it has fewer."""
        padded = rows
        if self._place is not None:
            padded = rows.new_zeros(len(self.starts) * self._members, *rows.shape[1:])
            padded[self._place] = rows
        return padded.unflatten(0, (-1, self._members)).transpose(1, 2).flatten(2, 3)

    def _ungrouped(self, blocks: torch.Tensor, each: int) -> torch.Tensor:
        """(P, parts, members * each, ...) as (rows, parts, each, ...) again."""
        padded = blocks.unflatten(2, (-1, each)).transpose(1, 2).flatten(0, 1)
        return padded if self._place is None else padded[self._place]

    def _room(self, store: list[torch.Tensor | None], new: torch.Tensor, layer: int) -> torch.Tensor:
        """A layer's keys or values, with room for what the placed forward writes."""
        held = store[layer]
        if held is None or held.shape[2] < self._view:
            room = (len(self.cursor), new.shape[1], self._view + ROOM, new.shape[-1])
            grown = new.new_zeros(room)
            if held is not None:
                grown[:, :, : held.shape[2]] = held
            store[layer], self.moves = grown, self.moves + 1
            return grown
        return held
