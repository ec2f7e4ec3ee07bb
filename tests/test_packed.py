"""The shared-prefix update: numbers and gradients are those of a row for each rollout."""

from __future__ import annotations

import pytest
import torch

from r3lab.models.attention import Spans, packed_attention, visible
from r3lab.rollout.loop import rollout
from r3lab.rollout.sequence import row_of
from r3lab.train.estimators import token_logprobs
from r3lab.train.update import pack, packed_logprobs
from r3lab.trajectory import Kind


@pytest.mark.parametrize("how", ["kernel", "mask"])
def test_packed_rows_give_the_numbers_and_gradients_of_plain_ones(family_policy, samples, how, monkeypatch):
    """Ragged groups, one of them incomplete: log-probabilities to 1e-5, gradients to 1e-5 of the largest."""
    asked = []
    monkeypatch.setattr("r3lab.models.attention.able", lambda device: asked.append(device) or how == "kernel")
    policy, store = family_policy, {}
    found = rollout(policy, samples[:3], group=6, seed=9, max_new_tokens=60, features=store)
    found = [t for i, t in enumerate(found) if i not in (1, 2)]
    assert len({len(t.ids) for t in found}) > 1 and any(t.looks for t in found)
    weights = torch.rand(len(found), 200, generator=torch.Generator().manual_seed(0)).to(policy.device)
    results = []
    for way in ("packed", "plain"):
        policy.model.zero_grad(set_to_none=True)
        if way == "packed":
            now = packed_logprobs(policy, found, store, 1.0)
            new, old, mask = now.new, now.old, now.mask
            recorded = [e for t in found for e in t.entropies if e is not None]
            assert (now.entropy.detach()[mask] - torch.tensor(recorded)).abs().max() < 1e-4
        else:
            new, old, mask = token_logprobs(policy, [row_of(policy, t, store) for t in found], found, 1.0)
        (new * weights[:, : new.shape[1]] * mask).sum().backward()
        gradients = {n: p.grad.clone() for n, p in policy.model.named_parameters() if p.grad is not None}
        results.append((new.detach(), old, mask, gradients))
    policy.model.zero_grad(set_to_none=True)
    packed, plain = results
    assert len(asked) == 1
    assert torch.equal(packed[2], plain[2]) and torch.equal(packed[1], plain[1])
    assert (packed[0] - plain[0])[plain[2]].abs().max() < 1e-5
    assert (packed[0] - packed[1])[packed[2]].abs().max() < 1e-5
    assert set(packed[3]) == set(plain[3])
    largest = max(float(g.abs().max()) for g in plain[3].values())
    for name, gradient in plain[3].items():
        assert float((packed[3][name] - gradient).abs().max()) < 1e-5 * max(1.0, largest), name


def test_a_prompt_stands_once_in_its_row(policy, samples):
    """Rows hold the prompt, then what each rollout added; crops follow the overview in the order of the rollouts."""
    store = {}
    found = rollout(policy, samples[:2], group=3, seed=3, max_new_tokens=60, features=store)
    rows = [row_of(policy, t, store) for t in found]
    packs = pack(policy, rows, found)
    assert [p.members for p in packs] == [[0, 1, 2], [3, 4, 5]]
    for own in packs:
        start = found[own.members[0]].prompt_length
        assert (
            len(own.ids) == start + sum(len(found[m].ids) - start for m in own.members) == own.start + sum(own.lengths)
        )
        assert len(own.images) == 1 + sum(len(rows[m].images) - 1 for m in own.members)
        assert own.ids.count(policy.image_id) == sum(len(f.tokens) for f in own.images)
        for m, places in zip(own.members, own.sampled, strict=True):
            said = [i for i, k in zip(found[m].ids, found[m].kinds, strict=True) if k == Kind.SAMPLED]
            assert [own.ids[at] for _, at in places] == said


def test_what_a_token_sees():
    """The prompt and earlier tokens of its own rollout, never another rollout, never what comes later."""
    seen = visible(torch.tensor([[0, 0, 1, 1, 2, -1]]))[0, 0]
    assert seen.int().tolist() == [
        [1, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0],
        [1, 1, 1, 1, 0, 0],
        [1, 1, 0, 0, 1, 0],
        [1, 1, 0, 0, 0, 1],
    ]


@pytest.mark.parametrize(("heads", "kind", "worst"), [((4, 4), torch.float64, 1e-12), ((6, 2), torch.float32, 1e-5)])
def test_packed_attention_is_masked_attention(heads, kind, worst):
    """Prompts and rollouts of any lengths: output and gradients of what is not padding."""
    noise = torch.Generator().manual_seed(0)
    starts, lengths = (5, 9, 1), ([4, 1, 7], [6], [3, 3, 8, 2])
    spans = Spans.of(starts, lengths)
    width = max(spans.ends)
    segments = torch.full((3, width), -1)
    for n, (start, own) in enumerate(zip(starts, lengths, strict=True)):
        marks = [0] * start + [g + 1 for g, size in enumerate(own) for _ in range(size)]
        segments[n, : len(marks)] = torch.tensor(marks)
    real = (segments >= 0)[:, None, :, None]
    query, key, value = (
        torch.randn(3, h, width, 8, dtype=kind, generator=noise, requires_grad=True) for h in (heads[0], *heads[1:] * 2)
    )
    above = torch.randn(query.shape, dtype=kind, generator=noise) * real
    repeated = (t.repeat_interleave(heads[0] // heads[1], 1) for t in (key, value))
    masked = torch.nn.functional.scaled_dot_product_attention(query, *repeated, attn_mask=visible(segments), scale=0.4)
    found = packed_attention(query, key, value, spans, 0.4)
    assert ((found - masked) * real).abs().max() < worst
    pairs = zip(*(torch.autograd.grad(out, (query, key, value), above) for out in (found, masked)), strict=True)
    for ours, theirs in pairs:
        assert (ours - theirs).abs().max() < worst * theirs.abs().max()
