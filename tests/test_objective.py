"""Every objective against float64, token by token; weights of tokens and directions of updates."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch

from r3lab.core.errors import R3labError
from r3lab.rollout.loop import rollout
from r3lab.train.estimators import Sketch, estimates, rollout_gradients, token_weights
from r3lab.train.objective import ADVANTAGES, KL_ESTIMATORS, advantages, kl_estimate, policy_loss
from r3lab.train.presets import AGGREGATIONS, CHOICES, OBJECTIVES, RATIOS, Objective
from r3lab.train.settings import UpdateSettings
from r3lab.train.update import update

LENGTHS = [9, 1, 4, 7, 2, 5]
MASK = torch.tensor([[c < n for c in range(9)] for n in LENGTHS])


def data(seed: int = 1):
    """New and old log-probabilities (6, 9), advantages (6,), float64; what is masked out is nonsense."""
    rng = np.random.default_rng(seed)
    old = torch.tensor(rng.normal(-1, 1, (6, 9)))
    new = old + torch.tensor(rng.normal(0, 0.4, (6, 9)))
    new, old = torch.where(MASK, new, 3e5), torch.where(MASK, old, -7e5)
    return new.requires_grad_(), old, torch.tensor(rng.normal(size=6))


def by_hand(values, objective: Objective) -> float:
    """The aggregation of ragged rows of numbers, written out."""
    if objective.aggregation == "sequence":
        return sum(sum(row) / len(row) for row in values) / len(values)
    total = sum(map(sum, values))
    if objective.aggregation == "sum":
        return total / len(values)
    return total / (len(values) * objective.length if objective.aggregation == "fixed" else sum(map(len, values)))


def held(w: float, objective: Objective) -> float:
    """The clipped ratio."""
    return min(max(w, 1 - objective.clip_low), 1 + objective.clip_high)


@pytest.mark.parametrize("kind", ADVANTAGES)
def test_advantages(kind):
    """Against NumPy; zero for a group of equal rewards, whatever rounding does."""
    r = np.random.default_rng(0).normal(size=(7, 5))
    r[3] = 0.1
    centred = r - r.mean(1, keepdims=True)
    centred[3] = 0
    expected = {
        "grpo": centred / (r.std(1, ddof=1, keepdims=True) + 1e-4),
        "dr-grpo": centred,
        "leave-one-out": np.array([[x - (row.sum() - x) / 4 for x in row] for row in r]),
        "batch": centred / (centred.std(ddof=1) + 1e-4),
    }[kind]
    found = advantages(torch.tensor(r), kind)
    assert found.numpy() == pytest.approx(expected, abs=1e-12)
    assert found[3].abs().max() == 0
    assert advantages(torch.full((2, 5), 0.1), kind).abs().max() == 0
    with pytest.raises(ValueError, match="at least 2"):
        advantages(torch.zeros(3, 1), kind)


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
@pytest.mark.parametrize("ratio", RATIOS)
def test_loss_and_gradient_token_by_token(ratio, aggregation):
    """Value and derivative with respect to every log-probability, written out from the papers' equations."""
    objective = Objective(ratio=ratio, aggregation=aggregation, length=8)
    new, old, a = data()
    loss, metrics = policy_loss(new, old, a, MASK, objective)
    loss.backward()
    values, slopes, low, high = [], [], 0, 0
    for r, n in enumerate(LENGTHS):
        d, advantage = (new.detach() - old)[r, :n].tolist(), float(a[r])
        ws = [math.exp(sum(d) / n)] * n if ratio == "sequence" else [math.exp(x) for x in d]
        if ratio in ("cispo", "none"):
            weights = [held(w, objective) if ratio == "cispo" else 1.0 for w in ws]
            values.append([w * advantage * float(new.detach()[r, c]) for c, w in enumerate(weights)])
            slopes.append([w * advantage for w in weights])
        else:
            values.append([min(w * advantage, held(w, objective) * advantage) for w in ws])
            free = [w * advantage <= held(w, objective) * advantage for w in ws]
            slopes.append([w * advantage * f for w, f in zip(ws, free, strict=True)])
        low += sum(w < 0.8 and advantage < 0 for w in ws)
        high += sum(w > 1.28 and advantage > 0 for w in ws)
    assert loss.item() == pytest.approx(-by_hand(values, objective), abs=1e-12)
    share = {"sequence": [1 / 6 / n for n in LENGTHS], "token": [1 / sum(LENGTHS)] * 6, "fixed": [1 / 48] * 6}
    share["sum"] = [1 / 6] * 6
    for r, n in enumerate(LENGTHS):
        for c in range(n):  # every token of a row moves its sequence ratio by a part of 1 / n, at n places
            assert float(new.grad[r, c]) == pytest.approx(-slopes[r][c] * share[aggregation][r], abs=1e-12)
    assert new.grad[~MASK].abs().max() == 0
    assert metrics["clip_fraction_low"] == pytest.approx(low / sum(LENGTHS))
    assert metrics["clip_fraction_high"] == pytest.approx(high / sum(LENGTHS))


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_parts_of_a_batch_add_up(aggregation):
    """With the batch's own counts, the losses of its parts sum to the loss of the whole."""
    objective = Objective(aggregation=aggregation)
    new, old, a = data()
    whole, _ = policy_loss(new, old, a, MASK, objective)
    counts = {"rows": 6, "tokens": sum(LENGTHS)}
    parts = [policy_loss(new[s], old[s], a[s], MASK[s], objective, **counts)[0] for s in (slice(0, 2), slice(2, 6))]
    assert sum(parts).item() == pytest.approx(whole.item(), abs=1e-12)


@pytest.mark.parametrize("estimator", KL_ESTIMATORS)
def test_kl_estimators_and_their_weight(estimator):
    """By hand; the mean of k1 and k3 over many samples is the true divergence; the loss adds weight times it."""
    new, old, a = data()
    reference = torch.where(MASK, new.detach() + torch.randn(6, 9, generator=torch.Generator().manual_seed(0)), 9e9)
    formula = {"k1": lambda d: d, "k2": lambda d: d * d / 2, "k3": lambda d: math.exp(-d) - 1 + d}[estimator]
    values = [[formula(float(new.detach()[r, c] - reference[r, c])) for c in range(n)] for r, n in enumerate(LENGTHS)]
    plain, _ = policy_loss(new, old, a, MASK, Objective())
    objective = Objective(kl=estimator, kl_weight=0.3)
    loss, metrics = policy_loss(new, old, a, MASK, objective, reference=reference)
    assert metrics["kl"] == pytest.approx(by_hand(values, objective), rel=1e-6)
    assert (loss - plain).item() == pytest.approx(0.3 * metrics["kl"], rel=1e-6)
    p, q = torch.tensor([[0.7, 0.2, 0.1], [0.5, 0.2, 0.3]], dtype=torch.float64)
    if estimator != "k2":
        assert float((p * kl_estimate(p.log(), q.log(), estimator)).sum()) == pytest.approx(
            float((p * (p / q).log()).sum()), abs=1e-12
        )
    with pytest.raises(ValueError, match="no reference"):
        policy_loss(new, old, a, MASK, objective)


def test_entropy_bonus_and_credit_by_span():
    """The bonus is subtracted with its weight; weights scale the advantage token by token."""
    new, old, a = data()
    entropy = torch.where(MASK, torch.rand(6, 9, generator=torch.Generator().manual_seed(1)).double(), 1e9)
    plain, _ = policy_loss(new, old, a, MASK, Objective())
    loss, metrics = policy_loss(new, old, a, MASK, Objective(entropy_weight=0.01), entropy=entropy)
    expected = by_hand([[float(entropy[r, c]) for c in range(n)] for r, n in enumerate(LENGTHS)], Objective())
    assert metrics["entropy_bonus"] == pytest.approx(expected)
    assert (plain - loss).item() == pytest.approx(0.01 * expected)
    twice, _ = policy_loss(new, old, 2 * a, MASK, Objective())
    assert policy_loss(new, old, a, MASK, Objective(), weights=torch.full((6, 9), 2.0).double())[0] == twice
    first = torch.zeros(6, 9).double()
    first[:, 0] = 1
    loss, _ = policy_loss(new, old, a, MASK, Objective(), weights=first)
    (slopes,) = torch.autograd.grad(loss, new)
    assert slopes[:, 1:].abs().max() == 0 and slopes[:, 0].abs().max() > 0


@pytest.mark.parametrize("name", OBJECTIVES)
def test_presets_give_finite_losses_and_no_gradient_to_empty_rows(name):
    """Rows without a sampled token contribute zero, never NaN."""
    new = torch.zeros(2, 3, requires_grad=True)
    loss, _ = policy_loss(new, torch.zeros(2, 3), torch.ones(2), torch.zeros(2, 3, dtype=torch.bool), OBJECTIVES[name])
    loss.backward()
    assert loss.item() == 0 and float(new.grad.abs().max()) == 0


def test_unknown_names_are_refused():
    """With the nearest known one."""
    assert (CHOICES["advantage"], CHOICES["kl"]) == (tuple(ADVANTAGES), tuple(KL_ESTIMATORS)), "names without torch"
    with pytest.raises(R3labError, match="sequence"):
        Objective(ratio="sequense")
    with pytest.raises(R3labError, match="leave-one-out"):
        advantages(torch.zeros(1, 2), "leave-one")
    with pytest.raises(R3labError, match="negative"):
        Objective(clip_low=-1)


@pytest.mark.parametrize(
    ("name", "advantage", "ratio", "aggregation", "low", "high"),
    [
        ("r-grpo", "grpo", "token", "sequence", 0.2, 0.28),  # as published for VLM-R3
        ("grpo", "grpo", "token", "sequence", 0.2, 0.2),
        ("dapo", "grpo", "token", "token", 0.2, 0.28),
        ("dr-grpo", "dr-grpo", "token", "fixed", 0.2, 0.2),
        ("gspo", "grpo", "sequence", "sequence", 3e-4, 4e-4),
        ("cispo", "grpo", "cispo", "token", 1.0, 0.28),
        ("rloo", "leave-one-out", "none", "sum", 1.0, math.inf),
        ("reinforce++-baseline", "batch", "token", "token", 0.2, 0.2),
    ],
)
def test_each_objective_is_put_together_as_its_source_says(name, advantage, ratio, aggregation, low, high) -> None:
    """Written out here, since a test that reads the table compares it with itself."""
    one = OBJECTIVES[name]
    assert (one.advantage, one.ratio, one.aggregation) == (advantage, ratio, aggregation)
    assert (one.clip_low, one.clip_high, one.kl_weight, one.entropy_weight) == (low, high, 0.0, 0.0)
    assert set(OBJECTIVES) == {"r-grpo", "grpo", "dapo", "dr-grpo", "gspo", "cispo", "rloo", "reinforce++-baseline"}


COUNTS = torch.tensor([9, 1, 4, 7, 2, 5])
KEPT = torch.arange(9) < COUNTS[:, None]


def drawn(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    chance = torch.Generator().manual_seed(seed)
    old = torch.randn(6, 9, generator=chance, dtype=torch.float64) - 1
    new = old + 0.4 * torch.randn(6, 9, generator=chance, dtype=torch.float64)
    return new, old, torch.randn(6, generator=chance, dtype=torch.float64)


def test_weights_of_the_clipped_surrogate_are_the_ratio_times_the_advantage_or_nothing():
    new, old, a = drawn()
    ratio, sign = (new - old).exp(), a[:, None]
    shut = ((sign > 0) & (ratio > 1.28)) | ((sign < 0) & (ratio < 0.8))
    assert (shut & KEPT).any() and (~shut & KEPT).any()
    wanted = torch.where(shut | ~KEPT, 0.0, ratio * sign) / COUNTS[:, None] / 6
    assert torch.allclose(token_weights(new, old, a, KEPT, Objective()), wanted)
    kept = token_weights(new, old, a, KEPT, OBJECTIVES["cispo"])
    assert ((kept != 0) == KEPT).all(), "CISPO leaves no sampled token alone, and pushes no other"
    wanted = torch.where(KEPT, ratio.clamp(max=1.28) * sign, 0.0) / COUNTS.sum()
    assert (ratio[KEPT] < 0.8).any() and torch.allclose(kept, wanted), "its weights are bounded from above alone"


def test_rloo_is_reinforce_of_whole_sequences():
    """The gradient of mean_i A_i log p(whole rollout i), A against the mean of the others, however far it has moved."""
    new, old, _ = drawn()
    r = torch.tensor([[1.0, 0.0, 0.5], [0.25, 2.0, 1.0]], dtype=torch.float64)
    a = torch.stack([r[:, i] - r[:, [j for j in range(3) if j != i]].mean(1) for i in range(3)], 1).flatten()
    chosen = OBJECTIVES["rloo"]
    assert torch.allclose(advantages(r, chosen.advantage).flatten(), a)
    at = new.clone().requires_grad_()
    (torch.where(KEPT, at, 0.0).sum(1) * a).mean().backward()
    assert torch.allclose(token_weights(new, old, a, KEPT, chosen), at.grad)


def test_before_the_first_update_ratios_and_clips_make_no_difference():
    _, old, a = drawn()
    weights = {name: token_weights(old, old, a, KEPT, chosen) for name, chosen in OBJECTIVES.items()}
    for one, other in (("r-grpo", "grpo"), ("r-grpo", "gspo"), ("dapo", "cispo")):
        assert torch.allclose(weights[one], weights[other])
    assert not torch.allclose(weights["r-grpo"], weights["dapo"])
    for found in weights.values():
        assert torch.allclose(torch.where(KEPT, found, found[:, :1]), found[:, :1].expand(6, 9)), "one weight a rollout"


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


@pytest.mark.parametrize("objective", ["r-grpo", "dapo", "dr-grpo", "rloo", "reinforce++-baseline"])
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
