"""The step of one token a row is the model's own forward, and rows of one beginning do not see each other."""

from __future__ import annotations

import pytest
import torch

from r3lab.models.attention import select, watching
from r3lab.models.cache import SlotCache
from r3lab.models.decoder import Decoder, fits
from r3lab.models.policy import Row
from r3lab.rollout.loop import Loop
from r3lab.rollout.sequence import prompt_ids


@pytest.fixture(params=[0, 10_000], ids=["kept once", "copied to the rows"])
def beginnings(request, monkeypatch):
    """Whether a shared beginning is read once for all of its rows, or stands in each of them."""
    monkeypatch.setattr("r3lab.models.cache.SHORT", request.param)


def filled(policy, samples, owners):
    """A cache that holds prompts (of samples) read by the model itself, shared by rows; the position behind each."""
    rows = []
    for sample in samples:
        size = policy.overview_size(sample.image.size)
        [image] = policy.encode([sample.image.resize(size)])
        rows.append(Row(prompt_ids(policy, sample.question, size, len(image.tokens)), [image]))
    batch = policy.rows(rows)
    cache = SlotCache(policy.model.config.get_text_config().num_hidden_layers)
    cache.start(len(rows), policy.device)
    cache.place(torch.arange(len(rows)), batch.lengths, batch.ids.shape[1])
    more = {"attention_mask": cache.mask(), "past_key_values": cache, "use_cache": True}
    policy.read(batch.ids, batch.positions, batch.images, **more)
    cache.advance()
    behind = batch.positions.amax((0, 2)) + 1  # padding has position 0
    if owners is not None:
        cache.share(owners)
        behind = behind[owners]
    return cache, behind


def both_ways(policy, samples, owners, served, tokens):
    """States (steps, R, D) by the decoder and by the model's forward, the rows `served[i]` at step i."""
    found = []
    for quick in (True, False):
        cache, at = filled(policy, samples, owners)
        decoder, states = Decoder(policy), []
        for rows, ids in zip(served, tokens, strict=True):
            cache.place(rows, torch.ones(len(rows), dtype=torch.int64), 1)
            if quick:
                states.append(decoder.step(ids, at[rows], cache))
            else:
                places, mask = at[rows].expand(3, -1)[..., None], cache.mask()
                more = {"attention_mask": mask, "past_key_values": cache, "use_cache": True}
                states.append(policy.read(ids[:, None], places, [], **more)[:, 0])
            cache.advance()
            at[rows] += 1
        found.append(states)
    return found


CASES = {
    "a group each": ([0, 0, 0, 1, 1, 1], [[0, 1, 2, 3, 4, 5], [0, 1, 2, 3, 4, 5]]),
    "unequal groups": ([0, 1, 1, 1, 0, 1], [[0, 1, 2, 3, 4, 5], [1, 4], [0, 1, 2, 3, 4, 5]]),
    "some rows only": ([0, 0, 0, 1, 1, 1], [[0, 1, 2], [2, 5], [4], [0, 1, 2, 3, 4, 5]]),
    "nothing shared": (None, [[0, 1], [1], [0, 1]]),
}


@torch.no_grad()
@pytest.mark.parametrize("case", CASES)
def test_a_step_is_the_models_forward(family_policy, samples, case, beginnings):
    """Every family, ragged prompts, any rows served: hidden states to 1e-5 of their size."""
    owners, served = CASES[case]
    noise = torch.Generator().manual_seed(0)
    tokens = [torch.randint(3, 90, (len(rows),), generator=noise) for rows in served]
    owners = None if owners is None else torch.tensor(owners)
    quick, plain = both_ways(family_policy, samples[:2], owners, [torch.tensor(r) for r in served], tokens)
    for a, b in zip(quick, plain, strict=True):
        assert (a - b).abs().max() < 1e-5 * b.abs().max()
        assert len(b) == 1 or (b[0] - b[-1]).abs().max() > 1e-3  # rows differ, so that a mix-up would show


def test_a_loop_takes_the_step_unless_it_is_watched(family_policy):
    """Every family fits; hooks, a replaced forward and watched attention go through the model."""
    policy = family_policy
    loop = Loop(policy, {})
    assert loop.decoder is not None
    layer = policy.text.layers[0]
    handle = layer.self_attn.register_forward_hook(lambda *_: None)
    assert not fits(policy)
    handle.remove()
    layer.mlp.forward = layer.mlp.forward
    assert not fits(policy)
    del layer.mlp.forward
    with watching((0,)):
        assert not fits(policy)
    policy.model.set_attn_implementation({"text_config": "eager"})
    assert not fits(policy)
    select(policy.model)
    assert fits(policy)


@torch.no_grad()
def test_small_matrices_are_joined_and_others_are_not(family_policy, samples):
    """Joined, the step is the same to rounding; where a matrix is large, or is more than a matrix, it is left alone."""
    joined = Decoder(family_policy).joined
    assert joined and all(one is not None for one in joined)
    layer = family_policy.text.layers[0]
    handle = layer.self_attn.q_proj.register_forward_hook(lambda *_: None)
    try:
        assert [one is None for one in Decoder(family_policy).joined] == [True] + [False] * (len(joined) - 1)
    finally:
        handle.remove()
    with torch.no_grad():
        cache, at = filled(family_policy, samples, None)
        ids, rows = torch.arange(5, 5 + len(at)), torch.arange(len(at))
        found = []
        for alone in (False, True):
            decoder = Decoder(family_policy)
            if alone:
                decoder.joined = [None] * len(joined)
            cache.place(rows, torch.ones(len(at), dtype=torch.int64), 1)
            found.append(decoder.step(ids, at, cache))  # not advanced: the second writes what the first wrote
    assert torch.allclose(*found, atol=1e-5)


def test_positions_beyond_the_table(family_policy, samples):
    """Rotations are there for any position."""
    decoder = Decoder(family_policy)
    short = [part.clone() for part in decoder.table]
    cache, at = filled(family_policy, samples[:1], None)
    cache.place(torch.arange(1), torch.ones(1, dtype=torch.int64), 1)
    decoder.step(torch.tensor([5]), torch.full_like(at, 2500), cache)
    assert len(decoder.table[0]) == 4096
    for old, new in zip(short, decoder.table, strict=True):
        assert torch.equal(old, new[: len(old)])


def test_a_beginning_that_no_row_has_is_dropped(monkeypatch):
    """What is kept after `select` is what the rows that are left need, and attention stays what it was."""
    noise = torch.Generator().manual_seed(0)

    def draw(*shape):
        return torch.randn(*shape, generator=noise)

    cache = SlotCache(1)
    cache.start(3, torch.device("cpu"))
    cache.place(torch.arange(3), torch.tensor([7, 4, 5]), 7)
    cache.update(draw(3, 2, 7, 8), draw(3, 2, 7, 8), 0)
    cache.advance()
    monkeypatch.setattr("r3lab.models.cache.SHORT", 0)
    cache.share(torch.tensor([0, 0, 1, 2, 2]))
    query, key, value = draw(5, 4, 8), draw(5, 2, 8), draw(5, 2, 8)
    ones = torch.ones(5, dtype=torch.int64)
    cache.place(torch.arange(5), ones, 1)
    before = cache.attend(query, key, value, 0)
    rows = torch.tensor([2, 4])
    cache.select(rows)
    assert cache.starts.tolist() == [4, 5] and cache.shared[0][0].shape == (2, 2, 5, 8)
    cache.place(torch.arange(2), ones[:2], 1)
    assert torch.allclose(cache.attend(query[rows], key[rows], value[rows], 0), before[rows], atol=1e-6)
    with pytest.raises(ValueError, match="already"):
        cache.share(torch.tensor([0]))
