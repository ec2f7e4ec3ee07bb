"""Is a record one that this policy can be asked about? Its images are there, its tokens and its log-probabilities fit.

A record does not say with which version of transformers it was made, nor does a name prove the weights. The
log-probabilities do: read again they must be what was recorded.

    gap = check_record(policy, trajectory, store)          # nats; an error above what rounding makes
"""

from __future__ import annotations

import torch
import transformers

from ..errors import R3labError, shown
from ..models.policy import Policy
from ..rollout import reading
from ..sequence import row_of
from ..trajectory import Kind, Trajectory
from .rows import check_model
from .trials import Store

GAP, GAP_HALF = 0.02, 0.5  # nats of one token, weights in float32 and in half precision (3e-2 is usual there)


@torch.no_grad()
def check_record(policy: Policy, trajectory: Trajectory, store: Store) -> float:
    """Check a record against a policy.

    Returns
    -------
    float
        The largest difference, in nats, between a recorded log-probability and the same read again.

    Raises
    ------
    R3labError
        If an image is missing, or tokens or log-probabilities are those of another model.
    """
    t = trajectory
    named = {"the photograph": t.image}
    named.update({f"the crop of look {n}": look.crop for n, look in enumerate(t.looks) if look.crop is not None})
    for what, reference in named.items():
        if reference.hash not in t.images:
            raise R3labError(
                f"the trajectory {shown(t.sample_id)} does not carry {what} ({shown(reference.hash, 16)}); "
                "load it with its images"
            )
    check_model(policy, t)
    places = [i for i, kind in enumerate(t.kinds) if kind == Kind.SAMPLED]
    recorded = [t.logprobs[i] for i in places]
    if not places or any(p is None for p in recorded):
        return 0.0
    with reading(policy):
        states = policy.hidden(policy.rows([row_of(policy, t, store)]))[0, [i - 1 for i in places]]
        logits = policy.logits(states) / (t.temperature or 1.0)
    ids = torch.tensor([t.ids[i] for i in places], device=policy.device)
    again = logits.log_softmax(-1).gather(1, ids[:, None])[:, 0].double().cpu()
    gap = float((again - torch.tensor(recorded, dtype=torch.float64)).abs().max())
    limit = GAP if next(policy.model.parameters()).dtype == torch.float32 else GAP_HALF
    if not gap <= limit:
        raise R3labError(
            f"the trajectory {shown(t.sample_id)} was written by other weights than those of {shown(policy.name)}, or "
            f"with another version of transformers than {transformers.__version__}: a token's log-probability differs "
            f"by {gap:.2g} nats, at most {limit:g} is rounding; give the checkpoint that wrote it, or roll out again"
        )
    return gap
