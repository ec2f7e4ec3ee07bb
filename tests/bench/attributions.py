"""Attributions from the literature, as rows like those of attention: from an event, how much is owed to each token.

    found = rows(policy, t, at=NAMES)
    rollout_rows(policy, t, found, features)        # attention rollout
    tam_rows(policy, t, found, features)            # token activation maps
    lrp_rows(policy, t, found, features)            # relevance, propagated back through the layers

Each has one layer and one head, sees nothing but the record read again, and serves as a reference of the bench.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F

from r3lab.explain.rows import AttentionRows
from r3lab.models import attention
from r3lab.models.policy import Features, Policy
from r3lab.rollout.sequence import row_of
from r3lab.trajectory import Trajectory

TINY = 1e-6  # below it an input is zero


@torch.no_grad()
def rollout_rows(policy: Policy, t: Trajectory, found: AttentionRows, features: dict[str, Features]) -> AttentionRows:
    """Attention rollout from the same events (Abnar and Zuidema, arXiv 2005.00928): how much of each token could reach
    a state, if every layer passes on half of a token's own state and half of what it attends to (mean of the heads)."""
    every, maps = torch.arange(len(t.ids), device=policy.device)[None], dict[int, torch.Tensor]()

    def note(layer: int, seen: attention.Seen) -> None:
        maps[layer] = attention.weights(seen, every)[0].mean(0).cpu()

    with attention.shown_to(note):
        policy.hidden(policy.rows([row_of(policy, t, features)]))
    flow = torch.eye(len(t.ids))
    for layer in sorted(maps):
        flow = (flow + maps[layer] @ flow) / 2
    return replace(found, weights=flow[None, None, [event.reads for event in found.events]])


# -- token activation maps ---------------------------------------------------------------------------------------------


@torch.no_grad()
def tam_rows(policy: Policy, t: Trajectory, found: AttentionRows, features: dict[str, Features]) -> AttentionRows:
    """Token activation maps of the same events (TAM, arXiv 2506.23270): how much the last state of each earlier token
    speaks for the token that was written.

    On images, what the words before would mark anyway is taken off: the sum of their own maps, each weighed by how much
    that word speaks for the token, at the scale that fits best; what is left goes through a filter by rank. Written
    from summaries of the paper: of its filter the size (3 by 3) and the centre (the median) could not be checked.
    """
    states = policy.hidden(policy.rows([row_of(policy, t, features)]))[0]
    logits = policy.logits(states).clamp_min(0.0).cpu()  # (L, V); what must never be sampled is minus infinity
    ids, pictures = torch.tensor(t.ids), {name: found.spans[name] for name in found.images}
    shown = torch.zeros(len(t.ids), dtype=torch.bool)
    for start, end in pictures.values():
        shown[start:end] = True
    weights = torch.zeros(len(found.events), len(t.ids))
    for number, event in enumerate(found.events):
        own = logits[: event.token, t.ids[event.token]]
        words = torch.nonzero(~shown[: event.token]).flatten()
        row = torch.where(shown[: event.token], 0.0, own)
        weigh = own[words] / own[words].sum().clamp_min(TINY)
        for name, (start, end) in pictures.items():
            if end > event.token:
                continue
            columns, height = found.images[name].grid
            others = (logits[start:end][:, ids[words]] * weigh).sum(-1)  # what the words before mark
            scale = (own[start:end] @ others) / (others @ others).clamp_min(TINY)
            left = (own[start:end] - scale * others).clamp_min(0.0)
            row[start:end] = _by_rank(left.view(height, columns)).flatten()
        weights[number, : event.token] = row / row.sum().clamp_min(TINY)
    return replace(found, weights=weights[None, None])


def _by_rank(heat: torch.Tensor) -> torch.Tensor:
    """Each cell as a mean of its neighbours, weighed by a Gaussian of their rank around the median; the wider, the more
    they differ."""
    around = F.unfold(F.pad(heat[None, None], (1, 1, 1, 1), "replicate"), 3)[0].sort(0).values  # (9, cells)
    wide = around.std(0) / around.mean(0).clamp_min(TINY)
    place = torch.linspace(-1, 1, 9)[:, None]
    weigh = torch.exp(-0.5 * (place / wide.clamp_min(0.05)) ** 2)
    return ((around * weigh).sum(0) / weigh.sum(0)).view_as(heat)


# -- layer-wise relevance ----------------------------------------------------------------------------------------------


def lrp_rows(policy: Policy, t: Trajectory, found: AttentionRows, features: dict[str, Features]) -> AttentionRows:
    """Layer-wise relevance of the logit at each of the same events (AttnLRP, arXiv 2402.05602), as input times a
    gradient that is changed on its way: norms pass it as if they only scaled, an activation as if it were linear
    between zero and its input, and of a product each factor gets its half (queries and keys a quarter, for the softmax
    between them). Relevance that speaks against the token is left out. What enters deeper layers beside the embeddings
    (deepstack) is not followed.
    """
    batch = policy.rows([row_of(policy, t, features)])
    kept: list[torch.Tensor] = []

    def enter(module: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
        kept.append(args[0].detach().requires_grad_())
        return (kept[0], *args[1:])

    def attend(layer: int, seen: attention.Seen) -> torch.Tensor:
        assert seen.value is not None
        query, key, value = _part(seen.query, 0.25), _part(seen.key, 0.25), _part(seen.value, 0.5)
        return attention.output(replace(seen, query=query, key=key, value=value))

    layers, weights = policy.text.layers, torch.zeros(len(found.events), len(t.ids))
    with frozen(policy), ExitStack() as hooks, torch.enable_grad(), attention.shown_to(attend):
        hooks.callback(layers[0].register_forward_pre_hook(enter).remove)
        for module, change in _changed(policy):
            hooks.callback(module.register_forward_hook(change).remove)
        states = policy.hidden(batch)[0]
        for number, event in enumerate(found.events):
            logit = policy.logits(states[event.reads])[t.ids[event.token]]
            (grad,) = torch.autograd.grad(logit, kept, retain_graph=True)
            row = (kept[0] * grad)[0].sum(-1).detach().clamp_min(0.0).cpu()
            weights[number] = row / row.sum().clamp_min(TINY)
    return replace(found, weights=weights[None, None])


Hook = Callable[[Any, tuple[Any, ...], torch.Tensor], torch.Tensor]


def _changed(policy: Policy) -> Iterator[tuple[torch.nn.Module, Hook]]:
    """The modules of the text model through which relevance goes another way than a gradient."""
    for module in policy.text.modules():
        if type(module).__name__.endswith("RMSNorm"):
            yield module, _norm
        if hasattr(module, "act_fn"):
            yield module.act_fn, _linear
            yield module.up_proj, lambda m, args, out: _part(out, 0.5)


def _norm(module: Any, args: tuple[Any, ...], out: torch.Tensor) -> torch.Tensor:
    x = args[0].float()
    scale = torch.rsqrt(x.square().mean(-1, keepdim=True) + module.variance_epsilon).detach()
    return module.weight * (x * scale).to(out.dtype)  # type: ignore[no-any-return]


def _linear(module: Any, args: tuple[Any, ...], out: torch.Tensor) -> torch.Tensor:
    x = args[0]
    slope = torch.where(x.abs() > TINY, out / x, 0.0).detach()
    return _part(x * slope, 0.5)


def _part(x: torch.Tensor, share: float) -> torch.Tensor:
    """The same, through which a share of the gradient comes back."""
    return share * x + (1 - share) * x.detach()


@contextmanager
def frozen(policy: Policy) -> Iterator[None]:
    """No parameter has a gradient inside."""
    parameters = [p for p in policy.model.parameters() if p.requires_grad]
    try:
        for p in parameters:
            p.requires_grad_(False)
        yield
    finally:
        for p in parameters:
            p.requires_grad_(True)
