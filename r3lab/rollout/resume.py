"""Rollouts that go on from where a record stands: the same beginning, read once, and other ends.

What was shown may not be what was asked for (another crop, a message, nothing): whatever the record holds is read as it
stands, and the loop goes on behind it. Explanations ask with it what a look was worth.

    finished = resume(policy, [t.until(40), changed], temperature=0)
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ..core.errors import R3labError, shown
from ..models.policy import Features, Policy, Row, reading
from ..trajectory import Kind, Trajectory
from .loop import Loop, Watch
from .sequence import rows_of
from .state import RolloutState


@torch.no_grad()
def resume(
    policy: Policy,
    begun: Sequence[Trajectory],
    *,
    temperature: float = 0.0,
    seed: int = 0,
    max_looks: int = 8,
    max_new_tokens: int = 512,
    features: dict[str, Features] | None = None,
    watch: Watch | None = None,
) -> list[Trajectory]:
    """Let the policy go on from where records stand: behind a crop, or a message, that may not be what it asked for.

    Parameters
    ----------
    begun : records without an answer; what all of them begin with is read once, and they stay as they are
    max_looks, max_new_tokens : with those that the records hold already

    Returns
    -------
    finished copies, in the same order

    Raises
    ------
    R3labError
        If a record has an answer already, or does not carry its image.
    """
    if not begun:
        return []
    for t in begun:
        if t.answer is not None:
            raise R3labError(f"the trajectory {shown(t.sample_id)} has its answer already; cut it off before that")
        if t.image.hash not in t.images:
            raise R3labError(f"the trajectory {shown(t.sample_id)} does not carry its image; load it with its images")
    with reading(policy):
        if policy.plain:
            from . import plain_resume

            return plain_resume(policy, begun, temperature, seed, max_looks, max_new_tokens, watch)
        store = {} if features is None else features
        loop = Loop(policy, store, max_looks, max_new_tokens, temperature, seed, watch)
        go_on(loop, begun, rows_of(policy, begun, store))
        return loop.run(False)


def go_on(loop: Loop, begun: Sequence[Trajectory], rows: Sequence[Row]) -> tuple[int, torch.Tensor]:
    """Read rows into a loop, and put it where the begun records end, with which the rows begin: what stands behind that
    is read too, and then written over. Returns what `enter` does."""
    shared, states = enter(loop, rows, min(len(t.ids) for t in begun) - 1)
    ends = torch.tensor([len(t.ids) for t in begun])
    loop.cache.cursor -= torch.tensor([len(row.ids) for row in rows]) - ends  # a short beginning is in the cursor too
    loop.last = states[torch.arange(len(rows)), ends - shared - 1]
    for number, (t, row) in enumerate(zip(begun, rows, strict=True)):
        record = t.until(len(t.ids))
        record.seed, record.temperature = loop.seed, loop.temperature
        recall(loop.add(record, int(loop.policy.positions(row)[:, : len(t.ids)].max()) + 1, number, 0))
    return shared, states


def recall(branch: RolloutState) -> None:
    """Take up a record that has begun: count what was sampled, and read it, so that a box in progress goes on."""
    for at, (kind, piece) in enumerate(zip(branch.trajectory.kinds, branch.trajectory.pieces, strict=True)):
        if kind == Kind.SAMPLED:
            branch.marks.append((branch.fed, at))
            branch.scanner.feed(piece)
            branch.fed += len(piece)
            branch.sampled += 1


def enter(loop: Loop, rows: Sequence[Row], most: int | None = None) -> tuple[int, torch.Tensor]:
    """Read rows into a loop's cache, the beginning that they share once.

    Parameters
    ----------
    most : tokens that the shared beginning may have; states are given of what follows it alone

    Returns
    -------
    shared : tokens of that beginning
    states : (R, q, D) hidden states of what follows it in each row, padded on the right
    """
    policy, cache = loop.policy, loop.cache
    shared, images = common(rows, policy.image_id, most)
    positions = [policy.positions(row) for row in rows]
    cache.start(1, policy.device)
    if shared:
        start = policy.padded([rows[0].ids[:shared]], [positions[0][:, :shared]], [rows[0].images[:images]])
        loop.forward(torch.arange(1), start)
    cache.share(torch.zeros(len(rows), dtype=torch.int64))
    ids, places = [row.ids[shared:] for row in rows], [own[:, shared:] for own in positions]
    rest = policy.padded(ids, places, [row.images[images:] for row in rows])
    return shared, loop.forward(torch.arange(len(rows)), rest)


def common(rows: Sequence[Row], image_id: int, most: int | None = None) -> tuple[int, int]:
    """Tokens, `most` at most, and images that all rows begin with; each has a token more, and no image is cut."""
    first = rows[0]
    shared = min([len(row.ids) - 1 for row in rows] + ([] if most is None else [most]))
    for row in rows[1:]:
        shared = next((i for i in range(shared) if row.ids[i] != first.ids[i]), shared)
    at, whole = 0, 0
    for number, image in enumerate(first.images):
        start = first.ids.index(image_id, at)
        at = start + len(image.tokens)
        alike = all(number < len(row.images) and row.images[number] is image for row in rows)
        if at > shared or not alike:
            return min(shared, start), whole
        whole += 1
    return shared, whole
