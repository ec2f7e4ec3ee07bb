"""What a run needs is known before it starts, for every family, and passes are sized to it."""

from __future__ import annotations

import copy
import gc

import pytest
import torch

import r3lab.train.run as outside
import r3lab.train.update as inside
from r3lab.models.adapters import add_lora
from r3lab.models.policy import checkpointed
from r3lab.rollout.loop import rollout
from r3lab.train.memory import Footprint, footprint_of, packed_length, readable, room, saved
from r3lab.train.rgrpo import train_rgrpo
from r3lab.train.settings import RgrpoSettings
from r3lab.train.update import packed_logprobs
from r3lab.trajectory import Kind
from r3lab.vlir.worlds import world_batches


def rolled(policy, samples, group=4, seed=1):
    """Rollouts with their features; one look at most."""
    store = {}
    return rollout(policy, samples, group, seed=seed, max_new_tokens=40, max_looks=1, features=store), store


def kept(policy, found, store, checkpointing=False):
    """Bytes that autograd really keeps of a packed pass."""
    with checkpointed(policy, checkpointing), saved(policy) as bytes_of:
        packed_logprobs(policy, found, store, 1.0)
    return sum(bytes_of.values())


@pytest.mark.parametrize("checkpointing", [False, True])
def test_the_backward_pass_is_foreseen(family_policy, samples, checkpointing):
    """From rows of 64 and 192 tokens to real groups with images, other lengths, and several rows."""
    settings = RgrpoSettings(checkpointing=checkpointing)
    footprint = footprint_of(family_policy, settings)
    for count, group in ((1, 2), (1, 8), (3, 4)):
        found, store = rolled(family_policy, samples[:count], group)
        groups = [found[i : i + group] for i in range(0, len(found), group)]
        length = max(packed_length(members) for members in groups)
        sampled = sum(t.kinds.count(Kind.SAMPLED) for t in found)
        foreseen = footprint.of_pass(count, length, sampled)
        seen = kept(family_policy, found, store, checkpointing)
        if checkpointing:  # one layer is made anew at a time; autograd does not keep it
            layers = family_policy.model.config.get_text_config().num_hidden_layers
            seen += kept(family_policy, found, store) / layers
        assert foreseen == pytest.approx(seen, rel=0.15), (count, group, length)


def test_what_is_always_held(policy):
    """Weights, gradients and optimiser are bytes that can be counted; LoRA trains a small part; KL holds a copy."""
    footprint = footprint_of(policy, RgrpoSettings())
    weights = sum(p.nbytes for p in policy.model.parameters())
    trained = sum(p.nbytes for p in policy.text_parameters())
    assert (footprint.weights, footprint.gradients, footprint.optimiser) == (weights, trained, 2 * trained)
    assert footprint.reference == 0
    assert footprint_of(policy, RgrpoSettings(kl_weight=0.1)).reference == weights


def test_with_lora_little_is_trained(policy):
    """And the reference is the policy itself without its matrices."""
    whole = footprint_of(policy, RgrpoSettings())
    add_lora(policy, 4, 8.0, 0)
    footprint = footprint_of(policy, RgrpoSettings(kl_weight=0.1, lora_rank=4))
    assert 0 < footprint.gradients < whole.gradients / 4
    assert footprint.reference == 0


def test_passes_hold_what_fits(policy, samples):
    """As many groups as the room allows: all, some, and one where even that is too much."""
    found, _ = rolled(policy, samples[:4])
    footprint = footprint_of(policy, RgrpoSettings())
    length = max(packed_length(found[i : i + 4]) for i in range(0, 16, 4))
    most = max(sum(t.kinds.count(Kind.SAMPLED) for t in found[i : i + 4]) for i in range(0, 16, 4))
    one = footprint.of_pass(1, length, most)
    assert footprint.groups_that_fit(found, room(policy.device)) == 0
    assert footprint.groups_that_fit(found, (footprint.fixed + 2.5 * one) / 0.8) == 2
    assert footprint.groups_that_fit(found, 0.0) == 1
    assert footprint.groups_that_fit([], 0.0) == 0


def test_a_run_keeps_to_its_room(policy, monkeypatch):
    """Where only one group fits the passes are of one, and the gradient is that of a run with room."""
    sizes, rows, plain = [], [], inside.passes
    monkeypatch.setattr(inside, "passes", lambda part, groups: sizes.append(groups) or plain(part, groups))
    settings = RgrpoSettings(steps=1, prompts=3, group=4, minibatches=1, max_new_tokens=40)
    for size in (1e12, 0.0):
        monkeypatch.setattr(outside, "room", lambda device, size=size: size)
        train_rgrpo(copy.deepcopy(policy), world_batches("badges", 3, 0), settings, rows.append, progress=False)
    assert sizes[0] > 1
    assert sizes[1] == 1
    assert rows[0]["grad_norm"] > 0
    assert rows[0]["grad_norm"] == pytest.approx(rows[1]["grad_norm"], rel=1e-4)


def test_it_is_said_in_plain_words():
    """One line with the whole and its parts; parts of nothing are left out."""
    footprint = Footprint(2**30, 2**29, 2**30, 0, 1000.0, 40_000.0, 1.0, 10_000.0)
    line = footprint.told(RgrpoSettings(prompts=4, group=8, minibatches=2), prompt=400, completion=300)
    assert line.startswith("memory for 32 rollouts of 300 tokens after 400: about 2.")
    assert "weights 1.0 GiB, gradients 512 MiB" in line
    assert "reference" not in line
    assert (readable(1), readable(5 * 2**20), readable(3 * 2**30)) == ("1 MiB", "5 MiB", "3.0 GiB")


def test_storages_are_counted_once_and_weights_never(policy):
    """Two views of a storage are one; what the weights hold is not kept for the backward pass alone."""
    gc.collect()
    x = torch.ones(1000, requires_grad=True)
    with saved(policy) as found:
        y = x * 2
        (y[:10] * y[10:20]).sum()
    assert sum(found.values()) == y.nbytes
    weight = next(p for p in policy.model.parameters() if p.ndim == 2)
    with saved(policy) as found:
        (torch.ones(1, weight.shape[1], requires_grad=True) @ weight.T).sum()
    assert sum(found.values()) == weight.shape[1] * 4
