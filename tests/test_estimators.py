"""Weights of tokens and directions of updates: what the comparison of estimators in notebook 07 rests on."""

from __future__ import annotations

import copy

import pytest
import torch

from r3lab.core.errors import R3labError
from r3lab.rollout.loop import rollout
from r3lab.train.estimators import Sketch, estimates, rollout_gradients, token_weights
from r3lab.train.objective import OBJECTIVES, Objective, advantages
from r3lab.train.settings import UpdateSettings
from r3lab.train.update import update

LENGTHS = torch.tensor([9, 1, 4, 7, 2, 5])
MASK = torch.arange(9) < LENGTHS[:, None]


def data(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    chance = torch.Generator().manual_seed(seed)
    old = torch.randn(6, 9, generator=chance, dtype=torch.float64) - 1
    new = old + 0.4 * torch.randn(6, 9, generator=chance, dtype=torch.float64)
    return new, old, torch.randn(6, generator=chance, dtype=torch.float64)


def test_weights_of_the_clipped_surrogate_are_the_ratio_times_the_advantage_or_nothing():
    new, old, a = data()
    ratio, sign = (new - old).exp(), a[:, None]
    shut = ((sign > 0) & (ratio > 1.28)) | ((sign < 0) & (ratio < 0.8))
    assert (shut & MASK).any() and (~shut & MASK).any()
    wanted = torch.where(shut | ~MASK, 0.0, ratio * sign) / LENGTHS[:, None] / 6
    assert torch.allclose(token_weights(new, old, a, MASK, Objective()), wanted)
    kept = token_weights(new, old, a, MASK, OBJECTIVES["cispo"])
    assert ((kept != 0) == MASK).all(), "CISPO leaves no sampled token alone, and pushes no other"


def test_before_the_first_update_ratios_and_clips_make_no_difference():
    _, old, a = data()
    weights = {name: token_weights(old, old, a, MASK, chosen) for name, chosen in OBJECTIVES.items()}
    for one, other in (("r-grpo", "grpo"), ("r-grpo", "gspo"), ("dapo", "cispo")):
        assert torch.allclose(weights[one], weights[other])
    assert not torch.allclose(weights["r-grpo"], weights["dapo"])
    for found in weights.values():
        assert torch.allclose(torch.where(MASK, found, found[:, :1]), found[:, :1].expand(6, 9)), "one weight a rollout"


def test_a_sketch_is_linear_and_keeps_angles():
    chance = torch.Generator().manual_seed(1)
    weights = [torch.zeros(300, 40), torch.zeros(77)]
    a = [torch.randn(w.shape, generator=chance) for w in weights]
    b = [x + 0.8 * torch.randn(x.shape, generator=chance) for x in a]
    sketch = Sketch(weights, 4096, seed=3)
    assert torch.allclose(sketch([2 * x - y for x, y in zip(a, b, strict=True)]), 2 * sketch(a) - sketch(b), atol=1e-4)
    assert torch.equal(sketch([a[0], None]), sketch([a[0], torch.zeros(77)]))

    def cosine(x: torch.Tensor, y: torch.Tensor) -> float:
        return float(torch.nn.functional.cosine_similarity(x, y, dim=0))

    true = cosine(*(torch.cat([x.flatten() for x in v]) for v in (a, b)))
    assert 0.7 < true < 0.85 and cosine(sketch(a), sketch(b)) == pytest.approx(true, abs=0.05)
    assert abs(cosine(sketch(a), Sketch(weights, 4096, seed=4)(a))) < 0.1, "another seed is another sketch"
    with pytest.raises(R3labError, match="at least one bucket"):
        Sketch(weights, 0)


@pytest.mark.parametrize("objective", ["r-grpo", "dapo", "dr-grpo", "reinforce++"])
def test_weighted_rollout_gradients_are_the_update_itself(policy, samples, objective):
    """The direction from single rollouts equals what `update` does to the weights of the model."""
    store = {}
    found = rollout(policy, samples[:2], group=4, seed=5, max_new_tokens=40, features=store)
    rewards = torch.tensor([[1.0, 0.0, 0.5, 2.0], [0.0, 0.0, 1.5, 0.2]], dtype=torch.float64)
    chosen = OBJECTIVES[objective]
    for t, a in zip(found, advantages(rewards, chosen.advantage).flatten().tolist(), strict=True):
        t.advantage = a
    lengths = torch.tensor([sum(e is not None for e in t.entropies) for t in found]).view(2, 4)
    g = rollout_gradients(policy, found, store, size=512).view(2, 4, -1)
    settings = UpdateSettings(objective=objective, max_new_tokens=chosen.length, max_grad_norm=1e9)
    every = estimates(rewards, lengths, g, chosen, group=4, draws=2)
    learner = copy.deepcopy(policy)
    weights = learner.text_parameters()
    before = [w.detach().clone() for w in weights]
    update(learner, found, store, torch.optim.SGD(weights, lr=1.0), settings)
    done = Sketch(weights, 512)([w.detach() - b for w, b in zip(weights, before, strict=True)])
    assert float(done.norm()) > 1e-3
    assert torch.allclose(every[0], done, rtol=1e-3, atol=1e-4 * float(done.norm()))
    assert torch.allclose(every[0], every[1], atol=1e-5 * float(done.norm())), "all drawn: the order changes nothing"


def test_groups_are_drawn_anew_without_replacement():
    rewards = torch.tensor([[0.0, 1.0, 3.0, 7.0, 12.0, 31.5]], dtype=torch.float64)  # none is the mean of a group
    lengths, g = torch.full((1, 6), 3), torch.eye(6)[None]
    found = estimates(rewards, lengths, g, OBJECTIVES["dr-grpo"], group=4, draws=30, seed=1)
    assert ((found != 0).sum(1) == 4).all(), "a rollout drawn twice would leave fewer"
    assert len({tuple((row != 0).tolist()) for row in found}) > 5
    assert torch.equal(found, estimates(rewards, lengths, g, OBJECTIVES["dr-grpo"], group=4, draws=30, seed=1))
    for group in (1, 7):
        with pytest.raises(R3labError, match="cannot be drawn"):
            estimates(rewards, lengths, g, OBJECTIVES["dr-grpo"], group=group, draws=1)
