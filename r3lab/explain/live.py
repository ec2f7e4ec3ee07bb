"""Attention rows while a policy writes: the same as those that are read again afterwards, without a second pass.

    with live_rows(policy, layers=[-1]) as seen:
        trajectories = rollout(policy, samples, group=4, watch=seen.watch)
    found = seen.rows(trajectories[0], at=["x1", "answer"])

Every sampled token gets its row, since nobody knows yet which will be a coordinate or an answer: (layers, heads, tokens
before it) floats each. Of a large model keep one or two layers. The loop runs without its shortcut for single tokens
meanwhile (`models.decoder`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch

from ..errors import R3labError, shown
from ..models import attention
from ..models.attention import Seen
from ..models.policy import Policy
from ..trajectory import Kind, Trajectory
from .events import chosen
from .rows import AttentionRows, images_of, layers_of, seen_by, spans_of


class LiveRows:
    """Collects rows of a running rollout; made by `live_rows`.

    A forward pass of the loop ends in the states from which the next tokens of its rows are drawn; `watch` is then
    called once for each of these, in the order of the rows (of the members of a group, where a prompt was read once).
    So a pass and the calls behind it belong together, and the weights are computed when the next pass begins.
    """

    def __init__(self, policy: Policy, layers: Sequence[int], also: Callable[[Trajectory], None] | None = None) -> None:
        self.policy, self.layers, self.also = policy, list(layers), also
        self._pass: dict[int, Seen] = {}  # by layer, of the last forward pass
        self._drawn: list[tuple[Trajectory, int]] = []  # since then: trajectory, place of the token that was drawn
        self._kept: dict[int, dict[int, torch.Tensor]] = {}  # id of a trajectory -> token -> (layers, heads, before)
        self._held: list[Trajectory] = []  # so that an id stays theirs

    def watch(self, trajectory: Trajectory) -> None:
        """Called by the rollout whenever a trajectory has grown."""
        kinds = trajectory.kinds
        place = next(i for i in reversed(range(len(kinds))) if kinds[i] == Kind.SAMPLED)
        self._drawn.append((trajectory, place))
        if self.also is not None:
            self.also(trajectory)

    def see(self, layer: int, seen: Seen) -> None:
        """Called by the model's attention, layer by layer."""
        if layer == 0:  # a pass begins
            if self._drawn:
                self._settle()
            self._pass = {}
        if layer in self.layers:
            self._pass[layer] = seen

    def _settle(self) -> None:
        """Weights of the last pass, for the tokens that were drawn from its states."""
        drawn, self._drawn = self._drawn, []
        first = self._pass[self.layers[0]]
        rows = first.query.shape[0]
        if len(drawn) % rows or first.mask is None:
            raise R3labError(
                f"{len(drawn)} tokens were drawn from {rows} rows; give `watch=seen.watch` to every rollout inside"
            )
        every = len(drawn) // rows  # members of a group that share one row
        counts = first.mask[:, 0].sum(-1)  # (rows, q) tokens that each query sees, itself among them
        for number, (trajectory, place) in enumerate(drawn):
            row = number // every
            query = int((counts[row] == place).nonzero()[0])  # the state stands one place before the token
            visible = first.mask[row, 0, query]
            weights = [self._weights(self._pass[layer], row, query)[:, visible] for layer in self.layers]
            if id(trajectory) not in self._kept:
                self._kept[id(trajectory)] = {}
                self._held.append(trajectory)
            self._kept[id(trajectory)][place] = torch.stack(weights).cpu()

    @staticmethod
    def _weights(seen: Seen, row: int, query: int) -> torch.Tensor:
        """(heads, keys) of one query."""
        mask = None if seen.mask is None else seen.mask[row : row + 1]
        one = Seen(seen.query[row : row + 1], seen.key[row : row + 1], seen.scaling, None, mask)
        return attention.weights(one, torch.tensor([[query]], device=seen.query.device))[0, :, 0]

    def rows(self, trajectory: Trajectory, at: Sequence[str | int] | None = None) -> AttentionRows:
        """The rows of a trajectory that was rolled out inside.

        Parameters
        ----------
        at : as of `rows.rows`

        Raises
        ------
        R3labError
            If the trajectory was not seen here, or has no such event.
        """
        if self._drawn:
            self._settle()
        kept = self._kept.get(id(trajectory))
        if kept is None:
            raise R3labError(
                f"no rows of {shown(trajectory.sample_id)} were seen; roll it out inside, with watch=seen.watch"
            )
        found = chosen(trajectory, at)
        heads = next(iter(kept.values())).shape[1]
        weights = torch.zeros(len(self.layers), heads, len(found), len(trajectory.ids))
        for i, event in enumerate(found):
            weights[:, :, i, : event.token] = kept[event.token]
        size = (trajectory.image.width, trajectory.image.height)
        return AttentionRows(
            weights, found, self.layers, spans_of(trajectory), images_of(self.policy, trajectory), size
        )


@contextmanager
def live_rows(
    policy: Policy, layers: Sequence[int] | None = None, also: Callable[[Trajectory], None] | None = None
) -> Iterator[LiveRows]:
    """Collect the rows of every sampled token of the rollouts inside.

    Parameters
    ----------
    layers : numbers of text layers, negative ones from the end; default all
    also : called after `watch` with each trajectory that has grown (for a display)

    Raises
    ------
    R3labError
        If a layer does not exist.
    """
    seen = LiveRows(policy, layers_of(policy, layers), also)
    with seen_by(policy, seen.see):
        yield seen
