"""The same numbers on a GPU as on a CPU: `pytest -m gpu` where there is one; here the same tests, on the CPU.

What is true of CUDA alone (graphs, compiled attention, the speed of either) is skipped without it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from r3lab import nano
from r3lab.core.files import assets_dir
from r3lab.course.tables import GPU, ON_GPU, UNMEASURED, gpu_table
from r3lab.explain.explain import check_record, explain
from r3lab.explain.rows import rows
from r3lab.models import attention, decoder
from r3lab.models.policy import Features, Policy
from r3lab.rollout.loop import rollout
from r3lab.rollout.resume import resume
from r3lab.rollout.sequence import row_of
from r3lab.train.devices import adamw
from r3lab.train.objective import Objective, policy_loss
from r3lab.train.rgrpo import train_rgrpo
from r3lab.train.run import Run
from r3lab.train.settings import RgrpoSettings, SftSettings
from r3lab.train.sft import cold_start
from r3lab.train.update import packed_logprobs
from r3lab.trajectory import Trajectory
from r3lab.vlir.worlds import get_world, world_batches

SHIPPED = assets_dir() / "tiny" / "cold-start"
THERE = torch.cuda.is_available()
NEEDED = (pytest.mark.gpu, pytest.mark.skipif(not THERE, reason="there is no CUDA device"))
ALONE = pytest.mark.skipif(not THERE, reason="there is no CUDA device, and only there is it captured or compiled")


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=NEEDED)])
def device(request: pytest.FixtureRequest) -> str:
    """The CPU, and a GPU where there is one."""
    return str(request.param)


def on(device: str, dtype: str = "float32") -> Policy:
    """The shipped cold start."""
    return Policy.load(SHIPPED, device, dtype)


def sampled(policy: Policy, samples: list[Any], group: int = 4, **more: Any) -> tuple[list[Trajectory], dict[str, Any]]:
    """Rollouts with their features; every second member looks."""
    store: dict[str, Features] = {}
    asked: dict[str, Any] = {"seed": 1, "max_new_tokens": 60, "forced": ("", "look") * (group // 2)}
    return rollout(policy, samples, group, features=store, **{**asked, **more}), store


@torch.no_grad()
def gaps(policy: Policy, found: list[Trajectory], store: dict[str, Features]) -> np.ndarray:
    """Differences of log-probabilities between sampling and update, of every sampled token."""
    now = packed_logprobs(policy, found, store, 1.0)
    return np.array((now.new - now.old).abs()[now.mask].tolist())


def test_engine_update_and_nano_agree(device: str, samples: list[Any]) -> None:
    """In float32: log-probabilities at sampling, in the update, and nano's of the same sequences on the CPU, to 1e-4;
    the loss and its gradients too."""
    policy, small = on(device), nano.Policy(SHIPPED)
    found, store = sampled(policy, samples[:2])
    assert any(look.crop for t in found for look in t.looks)
    assert gaps(policy, found, store).max() < 1e-4
    a = torch.linspace(-1, 1, len(found))
    now = packed_logprobs(policy, found, store, 1.0)
    loss, _ = policy_loss(now.new, now.old, a.to(device), now.mask, Objective())
    loss.backward()

    def seen(f: Features) -> nano.Seen:
        grid = torch.tensor([[1, f.grid[1] * small.merge, f.grid[0] * small.merge]])
        return nano.Seen(f.tokens.cpu(), [deep.cpu() for deep in f.deep], grid)

    group = [nano.Rollout(t.ids, t.logprobs, [seen(f) for f in row_of(policy, t, store).images]) for t in found]
    total = nano.clipped_loss(small, group, a).mean()
    total.backward()
    assert float(total.detach()) == pytest.approx(float(loss.detach()), abs=1e-4)
    own = dict(policy.model.named_parameters())
    largest = max(float(p.grad.abs().max()) for p in small.model.parameters() if p.grad is not None)
    for name, p in small.model.named_parameters():
        if p.grad is not None:
            assert float((own[name].grad.cpu() - p.grad).abs().max()) < 1e-4 * max(1.0, largest), name


def test_bfloat16_rounds_and_does_no_more(device: str, samples: list[Any]) -> None:
    """Sampling and update differ by less than 0.01 in the median; the ratio is taken to what sampling recorded."""
    policy = on(device, "bfloat16")
    found, store = sampled(policy, samples[:2], 2, max_new_tokens=30)
    apart = gaps(policy, found, store)
    assert apart.max() > 0 and np.median(apart) < 1e-2 and np.quantile(apart, 0.99) < 0.3
    now = packed_logprobs(policy, found, store, 1.0)
    assert now.old[now.mask].tolist() == pytest.approx([p for t in found for p in t.logprobs if p is not None])


def test_rollouts_on_it_are_those_of_any_batch_and_go_on(device: str, samples: list[Any]) -> None:
    """Greedy tokens, and drawn ones, hang neither on the batch nor on the order; records go on to the same end."""
    policy = on(device)
    for asked in ({"temperature": 0.0}, {"temperature": 1.0, "seed": 4}):
        together = rollout(policy, samples[:3], max_new_tokens=44, numbers=[0, 1, 2], **asked)
        alone = rollout(policy, samples[2:0:-1], max_new_tokens=44, numbers=[2, 1], **asked)
        assert [t.ids for t in alone] == [t.ids for t in together[2:0:-1]]
    greedy = rollout(policy, samples[:2], max_new_tokens=44, temperature=0.0)
    begun = [t.until(t.sampled_mask.index(True) + 3) for t in greedy]
    assert [t.ids for t in resume(policy, begun, max_new_tokens=44)] == [t.ids for t in greedy]


def test_training_on_it_goes_down_and_goes_on(device: str, tmp_path: Path) -> None:
    """The cold start's loss falls; R-GRPO that stops and goes on ends with the weights of one that did not."""
    world, policy, losses = get_world("badges"), on(device), []
    pairs = [(sample, world.rationale(sample)) for sample in (world.sample("train", i) for i in range(6))]
    for group in adamw(policy.text_parameters(), 1e-3, 0.98).param_groups:
        assert bool(group["fused"]) == (device == "cuda")
    settings = SftSettings(steps=8, batch=6)
    cold_start(policy, iter([pairs] * 8), settings, lambda row: losses.append(row["loss"]), progress=False)
    assert losses[-1] < losses[0]
    ends = []
    for parts in ([2], [1, 2]):
        for steps in parts:
            policy = on(device)
            settings = RgrpoSettings(steps=steps, prompts=2, group=3, minibatches=1, max_new_tokens=30, save_every=1)
            run = Run(tmp_path / str(len(parts)), settings)
            newest = run.newest()
            batches = world_batches("badges", 2, seed=0, start=2 * newest[1].draws if newest else 0)
            train_rgrpo(policy, batches, settings, lambda row: None, False, run=run)
        ends.append(torch.cat([p.detach().flatten().cpu() for p in policy.text_parameters()]))
    assert (ends[0] - ends[1]).abs().max() < 1e-5
    assert (ends[0] - torch.cat([p.detach().flatten() for p in on("cpu").text_parameters()])).abs().max() > 1e-5


def test_rows_and_records_are_read_on_it(device: str, samples: list[Any]) -> None:
    """Rows of attention are those of the CPU to 1e-4, and a record is taken for the policy's own."""
    here, there = on("cpu"), on(device)
    found, _ = sampled(here, samples[:2])
    t = next(t for t in found if t.looks)
    ours, theirs = (rows(policy, t, None) for policy in (there, here))
    assert torch.allclose(ours.weights.cpu(), theirs.weights, atol=1e-4)
    assert check_record(there, t, {}) < 1e-3


@pytest.mark.gpu
@pytest.mark.skipif(not THERE, reason="there is no CUDA device to compare with the CPU")
def test_an_explanation_on_it_is_that_of_the_cpu(samples: list[Any]) -> None:
    """The verdict, and what each look is said to be."""
    here, there = on("cpu"), on("cuda")
    t = next(t for t in sampled(here, samples[:2])[0] if t.looks)
    ours, theirs = explain(there, t), explain(here, t)
    assert ours.verdict.kind == theirs.verdict.kind
    assert [e.number for e in ours.looks] == [e.number for e in theirs.looks]


@ALONE
@pytest.mark.gpu
def test_graphs_are_captured_and_change_nothing(samples: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """The same tokens with graphs, without, and one by one; and a graph was made."""
    policy, made = on("cuda"), []
    captured = decoder.captured
    monkeypatch.setattr(decoder, "captured", lambda *given: made.append(captured(*given)) or made[-1])
    quick, _ = sampled(policy, samples[:3])
    assert made
    monkeypatch.setattr(decoder, "captured", lambda step, device: step)
    plain, _ = sampled(policy, samples[:3])
    monkeypatch.setattr(decoder, "AHEAD", {})
    slow, _ = sampled(policy, samples[:3])
    assert [t.ids for t in quick] == [t.ids for t in plain] == [t.ids for t in slow]


@ALONE
@pytest.mark.gpu
@pytest.mark.parametrize(("dtype", "worst"), [("float32", 1e-3), ("bfloat16", 0.1)])
def test_compiled_attention_is_masked_attention(
    samples: list[Any], monkeypatch: pytest.MonkeyPatch, dtype: str, worst: float
) -> None:
    """Log-probabilities and the norm of the gradient, by flex attention and by a mask."""
    policy, found = on("cuda", dtype), []
    group, store = sampled(policy, samples[:2])
    assert attention.blocks(policy.device), "torch without triton: the mask is used"
    for way in (True, False):
        monkeypatch.setattr(attention, "blocks", lambda device, way=way: way)
        policy.model.zero_grad(set_to_none=True)
        now = packed_logprobs(policy, group, store, 1.0)
        (now.new * now.mask).mean().backward()
        grads = [p.grad.float().norm() for p in policy.text_parameters() if p.grad is not None]
        found.append((now.new.detach(), torch.stack(grads).norm()))
    assert (found[0][0] - found[1][0]).abs().max() < worst
    assert found[0][1] == pytest.approx(float(found[1][1]), rel=worst)


def test_the_bench_runs_where_there_is_no_gpu(tmp_path: Path) -> None:
    """At tiny shapes into a file that is named, run by run; into the results only on a GPU."""
    root = Path(__file__).parents[1]
    bench = [sys.executable, str(root / "tests" / "bench" / "gpu.py")]
    hidden = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(root)}

    def call(*given: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*bench, *given], env=hidden, capture_output=True, text=True, cwd=tmp_path)

    assert call().returncode == 2 and not (assets_dir() / "results" / "gpu.json").is_file() or THERE
    out = tmp_path / "gpu.json"
    told = call("--out", str(out))
    assert told.returncode == 0, told.stderr
    found = json.loads(out.read_text())
    wanting = [] if find_spec("trl") else ["Qwen3-VL-2B against TRL"]
    assert all(f"{name} is not measured" in told.stderr and "pip install" in told.stderr for name in wanting)
    assert [row["measure"] for row in found["rows"]] == [name for name in GPU if name not in wanting]
    for row in found["rows"]:
        assert row["trajectories"] > 0 and row["card"].startswith("no GPU") and row.get("trl", 1) > 0
        if "floor" in row:
            assert row["looks"] == 1 and row["floor"] > 0 and 0 < row["matrix"] < 1 and row["gap"] < 1e-4
    assert "2 processes" in found["rows"][-1]["n"]
    assert call("--out", str(out)).stdout == "", "what the file has is not measured again"
    lines = gpu_table({**found, "rows": found["rows"][1:]}).splitlines()
    bare = [*wanting, found["rows"][0]["measure"]]
    assert [UNMEASURED in line for line in lines[2 : 2 + len(GPU)]] == [name in bare for name in GPU]
    assert {line.count("|") for line in lines[: 2 + len(GPU)]} == {3 + len(ON_GPU)}
    assert gpu_table(None).count(UNMEASURED) == len(GPU)
