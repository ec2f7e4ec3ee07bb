"""Attention seen and packed, and steps of one token a row: numbers of the model's own forward and of plain rows."""

from __future__ import annotations

import copy

import pytest
import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from r3lab.models import attention
from r3lab.models.attention import Spans, packed_attention, select, visible, watching
from r3lab.models.cache import SlotCache, cache_name
from r3lab.models.decoder import Decoder, fits
from r3lab.models.policy import Row
from r3lab.rollout.loop import Loop, rollout
from r3lab.rollout.sequence import prompt_ids, row_of
from r3lab.train.estimators import token_logprobs
from r3lab.train.update import packed_logprobs


@pytest.fixture(scope="module")
def model() -> Qwen2ForCausalLM:
    """A text model in which two query heads share a key head."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "vocab_size": 50}
    return Qwen2ForCausalLM(Qwen2Config(**sizes, num_attention_heads=4, num_key_value_heads=2)).eval()


def test_weights_are_those_of_eager_attention(model):
    """For every head, over several rows, with several queries of one row."""
    eager, watched = copy.deepcopy(model), copy.deepcopy(model)
    eager.set_attn_implementation("eager")
    watched.set_attn_implementation(attention.NAME)
    ids = torch.randint(0, 50, (3, 9), generator=torch.Generator().manual_seed(1))
    row, reads, at = torch.tensor([2, 0, 2, 2]), torch.tensor([8, 3, 5, 8]), torch.tensor([7, 0, 5, 1])
    with torch.no_grad():
        want = eager(ids, output_attentions=True)
        with attention.watching((0, 2)) as seen:
            got = watched(ids)
        assert set(seen) == {0, 2}
        for layer, kept in seen.items():
            weights = attention.log_weights(kept, row, reads, at, (0, 1, 3)).exp()
            every = torch.stack([want.attentions[layer][row, head, reads, at] for head in (0, 1, 3)], dim=1)
            torch.testing.assert_close(weights, every, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(got.logits, model(ids).logits.detach(), atol=0, rtol=0)


def test_nothing_is_kept_outside(model):
    """Without `watching`, and after an error inside it, a pass keeps nothing."""
    watched = copy.deepcopy(model)
    watched.set_attn_implementation(attention.NAME)
    ids = torch.zeros((1, 4), dtype=torch.int64)
    with pytest.raises(RuntimeError), attention.watching((1,)) as seen:
        raise RuntimeError
    watched(ids)
    assert not seen


@pytest.mark.parametrize("queries", [1, 5])
def test_the_output_of_a_watched_layer_is_that_of_its_weights(queries):
    """Causal where there is no mask; a single query behind a cache sees all that is held."""
    noise = torch.Generator().manual_seed(queries)
    query = torch.randn(2, 4, queries, 8, generator=noise)
    key, value = (torch.randn(2, 2, 5, 8, generator=noise) for _ in range(2))
    seen = attention.Seen(query, key, 0.3, value)
    scores = 0.3 * query @ key.repeat_interleave(2, 1).mT
    scores = scores.masked_fill(torch.arange(5) > torch.arange(5 - queries, 5)[:, None], -torch.inf)
    wanted = (scores.softmax(-1) @ value.repeat_interleave(2, 1)).transpose(1, 2)
    assert torch.allclose(attention.output(seen), wanted, atol=1e-6)


def test_appending_to_a_cache_masks_as_sdpa_does(model):
    """Several new tokens on a cache: the trap of an unregistered mask."""
    watched = copy.deepcopy(model)
    watched.set_attn_implementation(attention.NAME)
    ids = torch.randint(0, 50, (1, 10), generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        whole = model(ids).logits
        first, name = watched(ids[:, :4], use_cache=True), cache_name(type(watched))
        rest = watched(ids[:, 4:], **{name: first[name]}, use_cache=True)
    torch.testing.assert_close(torch.cat([first.logits, rest.logits], 1), whole, atol=1e-5, rtol=1e-4)


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
    policy.read(batch.ids, batch.positions, batch.images, cache, attention_mask=cache.mask())
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
                states.append(policy.read(ids[:, None], places, [], cache, attention_mask=mask)[:, 0])
            cache.advance()
            at[rows] += 1
        found.append(states)
    return found


CASES = {
    "a group each": ([0, 0, 0, 1, 1, 1], [[0, 1, 2, 3, 4, 5], [0, 1, 2, 3, 4, 5]]),
    "unequal groups": ([0, 1, 1, 1, 0, 1], [[0, 1, 2, 3, 4, 5], [1, 4], [0, 1, 2, 3, 4, 5]]),
    "groups that are mixed": ([0, 1, 0, 1, 1, 0], [[0, 1, 2, 3, 4, 5], [0, 1, 2, 3, 4, 5]]),
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


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@pytest.mark.parametrize("how", ["kernel", "mask", "blocks"])
def test_packed_rows_give_the_numbers_and_gradients_of_plain_ones(family_policy, samples, how, monkeypatch):
    """Ragged groups, one of them incomplete: log-probabilities to 1e-5, gradients to 1e-5 of the largest."""
    asked = []
    monkeypatch.setattr("r3lab.models.attention.able", lambda device: asked.append(device) or how == "kernel")
    monkeypatch.setattr("r3lab.models.attention.blocks", lambda device: how == "blocks")
    if how == "blocks":  # torch has a backward pass for CPUs, not compiled, and refuses it
        monkeypatch.setattr("torch.nn.attention.flex_attention._validate_device", lambda *given: None)
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


def test_a_prompt_stands_once_in_its_row(policy, samples, monkeypatch):
    """Rows hold the prompt, then what each rollout added; crops follow the overview in the order of the rollouts."""
    store = {}
    found = rollout(policy, samples[:2], group=3, seed=3, max_new_tokens=60, features=store)
    read, seen = policy.read, []
    monkeypatch.setattr(policy, "read", lambda *given, **more: seen.append(given) or read(*given, **more))
    packed_logprobs(policy, found, store, 1.0)
    [(ids, _, images)] = seen
    assert len(ids) == 2
    for row, own in zip(ids.tolist(), (found[:3], found[3:]), strict=True):
        start = own[0].prompt_length
        whole = own[0].ids[:start] + [token for t in own for token in t.ids[start:]]
        assert row[: len(whole)] == whole and set(row[len(whole) :]) <= {policy.tokenizer.pad_token_id}
    assert len(images) == 2 + sum(look.crop is not None for t in found for look in t.looks)


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
