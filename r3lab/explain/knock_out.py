"""Cut attention and see what is lost: from chosen tokens to an image or a stretch of text, in chosen layers.

A replaced crop (`crop_value`) asks whether what was seen mattered; a cut asks whether it was read *there*: an answer
that was copied from words already written does not mind losing the crop, those words do.

    found = knock_out(policy, trajectory, at=["answer"], spans=["crop 1"])
    found.change.sum()
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from ..errors import R3labError, shown
from ..models import attention
from ..models.attention import Seen
from ..models.policy import Features, Policy
from ..sequence import row_of
from ..trajectory import Trajectory
from .events import Event, chosen
from .rows import SINK, check_model, layers_of, seen_by, spans_of


@dataclass(frozen=True)
class KnockOut:
    """Log-probabilities in nats of the tokens of events, (events,) float64, as they were and with attention cut."""

    events: list[Event]
    before: torch.Tensor
    after: torch.Tensor

    @property
    def change(self) -> torch.Tensor:
        """What the cut did to each; below zero: the token became less likely."""
        return self.after - self.before


@torch.no_grad()
def knock_out(
    policy: Policy,
    trajectory: Trajectory,
    at: Sequence[str | int],
    spans: Sequence[str],
    layers: Sequence[int] | None = None,
    features: dict[str, Features] | None = None,
) -> KnockOut:
    """Let the states from which events were drawn see nothing of some spans.

    Parameters
    ----------
    at : names of events or places of sampled tokens, as of `rows`
    spans : names of spans (`rows.spans_of`): "overview", "crop 1", "question 1", "text 2", ...
    layers : numbers of text layers, negative ones from the end; default all

    Raises
    ------
    R3labError
        If an event, span or layer does not exist, or for the first token, without which attention has no rest.
    """
    check_model(policy, trajectory)
    known = spans_of(trajectory)
    for name in spans:
        if name not in known or name == SINK:
            there = ", ".join(n for n in known if n != SINK)
            raise R3labError(f"attention to {shown(name)} cannot be cut; there are {there}")
    wanted = set(layers_of(policy, layers))
    found = chosen(trajectory, at)
    if not found:
        raise R3labError(f"the trajectory has no event {', '.join(map(str, at))}")
    length, device = len(trajectory.ids), policy.device
    reads = torch.tensor([event.reads for event in found], device=device)
    visible = torch.ones(length, length, dtype=torch.bool, device=device).tril()
    for name in spans:
        a, b = known[name]
        visible[reads, a:b] = False

    def cut(layer: int, seen: Seen) -> torch.Tensor | None:
        return attention.output(replace(seen, mask=visible[None, None])) if layer in wanted else None

    store: dict[str, Features] = {} if features is None else features
    batch = policy.rows([row_of(policy, trajectory, store)])
    tokens = torch.tensor([trajectory.ids[event.token] for event in found], device=device)

    def logprobs() -> torch.Tensor:
        every = policy.logits(policy.hidden(batch)[0, reads]).double().log_softmax(-1)
        return every.gather(1, tokens[:, None])[:, 0].cpu()

    before = logprobs()
    with seen_by(policy, cut):
        after = logprobs()
    return KnockOut(found, before, after)
