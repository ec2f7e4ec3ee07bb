"""LoRA: only its matrices move and are kept; saved in peft's format; the base is the reference."""

from __future__ import annotations

import copy

import pytest
import torch
from safetensors.torch import load_file

from r3lab.cli import call
from r3lab.core.errors import R3labError
from r3lab.models.adapters import CONFIG, WEIGHTS, adapter_parameters, add_lora, without_adapter
from r3lab.models.policy import Policy, save_policy
from r3lab.rollout.loop import rollout
from r3lab.train.settings import UpdateSettings
from r3lab.train.update import update

peft = pytest.importorskip("peft")
SMALL = ["--prompts", "3", "--group", "3", "--max-new-tokens", "70", "--save-every", "2", "--lora-rank", "4"]
SMALL += ["--kl-weight", "0.1", "--learning-rate", "0.003"]


@pytest.fixture(scope="module")
def trained(taught_folder, tmp_path_factory):
    """Folder of a run of four steps on LoRA matrices."""
    out = tmp_path_factory.mktemp("lora")
    assert call("train rgrpo", ["--model", str(taught_folder), "--out", str(out), "--steps", "4", *SMALL]) == 0
    return out


@torch.no_grad()
def answers(policy: Policy, samples) -> list[list[float]]:
    """Log-probabilities of sampled text, as a fingerprint of a policy."""
    return [[p for p in t.logprobs if p is not None] for t in rollout(policy, samples[:2], seed=1, max_new_tokens=20)]


def test_at_first_nothing_changes_and_only_matrices_are_trained(family_policy, samples):
    """In every family: the policy answers as before, and what is trained are the matrices of its text model."""
    policy = copy.deepcopy(family_policy)
    before = answers(policy, samples)
    add_lora(policy, rank=2)
    assert answers(policy, samples) == [pytest.approx(row, abs=1e-5) for row in before]
    matrices = adapter_parameters(policy)
    layers = policy.model.config.get_text_config().num_hidden_layers
    assert len(matrices) == layers * 7 * 2
    assert {id(p) for p in policy.text_parameters()} == {id(p) for p in matrices.values()}
    with pytest.raises(R3labError, match="loaded from a folder"):
        add_lora(Policy(policy.model, policy.tokenizer, policy.processor), rank=2)


def test_only_the_matrices_are_kept_and_come_back(trained, taught_folder, samples, tmp_path):
    """Checkpoints hold the adapter alone; loaded by path, the policy is the trained one; without it, the base."""
    folder = trained / "policy"
    assert {f.name for f in folder.iterdir()} - {"README.md"} == {CONFIG, WEIGHTS}
    assert all(".lora_" in name for name in load_file(folder / WEIGHTS))
    policy, base = Policy.load(folder), Policy.load(taught_folder)
    assert answers(policy, samples) != answers(base, samples)
    with without_adapter(policy):
        assert answers(policy, samples) == [pytest.approx(row, abs=1e-6) for row in answers(base, samples)]
    again = Policy.load(save_policy(policy, tmp_path / "again"))
    assert answers(policy, samples) == answers(again, samples)


def test_the_reference_of_the_kl_term_is_the_base(taught_folder, samples):
    """At first the distance is zero; once the matrices have moved it is not."""
    policy, store = Policy.load(taught_folder), {}
    add_lora(policy, rank=2)
    found = rollout(policy, samples[:1], group=2, seed=5, max_new_tokens=20, features=store)
    found[0].advantage, found[1].advantage = 1.0, 0.5
    optimiser = torch.optim.SGD(policy.text_parameters(), lr=1.0)
    settings = UpdateSettings(kl_weight=0.1)
    first, second = (update(policy, found, store, optimiser, settings, policy) for _ in range(2))
    assert first["kl"] == pytest.approx(0, abs=1e-9) and second["kl"] > 1e-6
    assert all(p.requires_grad for p in adapter_parameters(policy).values())


def test_peft_itself_loads_it(trained, taught_folder, samples):
    """`PeftModel.from_pretrained` gives the same hidden states."""
    policy, base = Policy.load(trained / "policy"), Policy.load(taught_folder)
    theirs = peft.PeftModel.from_pretrained(base.model, str(trained / "policy")).eval()
    ids = torch.tensor([policy.ids("Which digit is on the red circle?")])
    with torch.no_grad():
        torch.testing.assert_close(policy.model(input_ids=ids).logits, theirs(input_ids=ids).logits)


def test_a_run_goes_on_bit_for_bit(trained, taught_folder, tmp_path):
    """Two steps, then two more with --resume."""
    arguments = ["--model", str(taught_folder), "--out", str(tmp_path), *SMALL]
    assert call("train rgrpo", [*arguments, "--steps", "2"]) == 0
    assert call("train rgrpo", [*arguments, "--steps", "4", "--resume"]) == 0
    a, b = (load_file(folder / "policy" / WEIGHTS) for folder in (trained, tmp_path))
    assert all(torch.equal(a[k], b[k]) for k in a)


def test_an_adapter_without_its_checkpoint_says_what_is_missing(trained, tmp_path):
    """The base was moved; or the file is cut."""
    folder = tmp_path / "adapter"
    folder.mkdir()
    for name in (CONFIG, WEIGHTS):
        (folder / name).write_bytes((trained / "policy" / name).read_bytes())
    (folder / WEIGHTS).write_bytes(b"12345678")
    with pytest.raises(R3labError, match="copy the file again"):
        Policy.load(folder)
    (folder / CONFIG).write_text((folder / CONFIG).read_text().replace("policies", "elsewhere"))
    with pytest.raises(R3labError, match="which is not there"):
        Policy.load(folder)
