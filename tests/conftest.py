"""Small policies for the tests: one of each supported family, taught for seconds to write boxes and answers.

A random model writes no box in a lifetime, and a test of the loop needs boxes, good and bad. So each family's tiny
random checkpoint gets a short cold start, is saved to disk, and is loaded by its path as a user would.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from chromium import MISSING, Opened, executable
from filelock import FileLock

from r3lab.core.files import assets_dir
from r3lab.models.families import FAMILIES
from r3lab.models.policy import Policy, save_policy
from r3lab.models.tiny import miniature
from r3lab.recipes.lessons import vocabulary
from r3lab.rollout.loop import rollout
from r3lab.train.sft import descend, encode_batch, next_token_loss, schedule
from r3lab.trajectory import Trajectory
from r3lab.vlir.rationale import imperfect
from r3lab.vlir.sample import Rationale, Sample
from r3lab.vlir.worlds import get_world

STEPS = {"internvl": 150}  # of a family that is slower to write boxes after words that are put before it

torch.set_num_threads(1 if "PYTEST_XDIST_WORKER" in os.environ else 2)  # workers share the cores


def taught(kind: str, folder: Path, steps: int = 90) -> Path:
    """A checkpoint of a family that has seen enough VLIR samples to write boxes and answers.

    The boxes are wide ones at random, so that a policy that has learned nothing but their form writes valid ones too.
    """
    policy = miniature(kind, vocabulary(), seed=0, plain=False)
    world, rng = get_world("badges"), np.random.default_rng(0)
    pairs = []
    for sample in (world.sample("train", i) for i in range(48)):
        parts = imperfect(sample, world.rationale(sample), 0.3, 0.5, rng).parts
        x1, y1, x2, y2 = rng.uniform((0, 0, 300, 300), (200, 200, 500, 500))
        pairs.append((sample, Rationale(tuple(p if isinstance(p, str) else (x1, y1, x2, y2) for p in parts))))
    with torch.no_grad():  # once: the vision tower is frozen
        batches = [encode_batch(policy, pairs[at : at + 8]) for at in range(0, len(pairs), 8)]
    optimiser = torch.optim.AdamW(policy.trained(True), betas=(0.9, 0.98), weight_decay=0.0)
    for step in range(steps):
        each, _ = next_token_loss(policy, *batches[step % len(batches)])
        descend(each.mean(), optimiser, 4e-3 * schedule(step, steps, 0.1, warm=10))
    return save_policy(policy, folder)


@pytest.fixture(scope="session")
def policies(tmp_path_factory) -> Path:
    """Folder of the taught policies; one for all workers of a run, each policy is taught by the first that needs it."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "policies"
    folder = Path(os.environ.get("R3LAB_TEST_POLICIES", folder))  # where they may stay from run to run
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def taught_once(kind: str, policies: Path) -> Path:
    """`taught`, unless it is there."""
    with FileLock(policies / f"{kind}.lock"):
        return policies / kind if (policies / kind).is_dir() else taught(kind, policies / kind, STEPS.get(kind, 90))


@pytest.fixture(scope="session", params=FAMILIES)
def family_policy(request, policies) -> Policy:
    """A briefly taught policy of each family, loaded from disk."""
    return Policy.load(taught_once(request.param, policies))


@pytest.fixture(scope="session")
def taught_folder(policies) -> Path:
    """Folder of a briefly taught Qwen3-VL."""
    return taught_once("qwen3_vl", policies)


@pytest.fixture()
def policy(taught_folder) -> Policy:
    """A fresh copy of the briefly taught Qwen3-VL; a test may train it."""
    return Policy.load(taught_folder)


@pytest.fixture(scope="session")
def shipped() -> Policy:
    """The policy of badges that ships; not to be trained."""
    return Policy.load(assets_dir() / "tiny" / "rgrpo")


@pytest.fixture(scope="session")
def samples() -> list:
    """Six train samples of badges."""
    return [get_world("badges").sample("train", i) for i in range(6)]


def looked(policy: Policy, samples: list, wanted: int, seeds: int = 40) -> list[Trajectory]:
    """Answered trajectories with one look, on different photographs, sampled until there are so many."""
    found: dict[str, Trajectory] = {}
    for seed in range(seeds):
        for t in rollout(policy, samples, 2, seed=seed, max_new_tokens=60):
            if t.answer is not None and len(t.looks) == 1 and t.looks[0].crop is not None:
                found.setdefault(t.image.hash, t)
        if len(found) >= wanted:
            return list(found.values())[:wanted]
    raise AssertionError("the taught policy never looked and answered")


@pytest.fixture(scope="session")
def recorded(taught_folder, samples) -> tuple[Policy, list[Trajectory]]:
    """The taught policy, which no test changes, and three answered trajectories with a look, on three photographs."""
    policy = Policy.load(taught_folder)
    return policy, looked(policy, samples, 3)


@pytest.fixture(scope="session")
def ragged(family_policy, samples) -> list[Trajectory]:
    """Rollouts of each family with every kind of end and look; images of several sizes."""
    odd = [
        Sample(f"odd-{i}", s.image.resize(size), s.question, s.answer, (), True)
        for i, (s, size) in enumerate(zip(samples, [(300, 517), (640, 200), (97, 101)], strict=False))
    ]
    return rollout(family_policy, [*samples, *odd], group=4, temperature=1.0, seed=3, max_looks=2, max_new_tokens=44)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """A browser without a window."""
    playwright = pytest.importorskip("playwright.sync_api", reason="no Playwright: pip install -e '.[test]' brings it")
    path = executable()
    if path is None:
        pytest.skip(MISSING)
    with playwright.sync_playwright() as run:
        browser = run.chromium.launch(executable_path=path, args=["--no-sandbox"], headless=True)
        yield browser
        browser.close()


@pytest.fixture()
def opened(chromium: Any, tmp_path: Path) -> Callable[..., Opened]:
    """Opens a page from disk, offline."""
    return lambda html, **options: Opened(chromium, tmp_path, html, **options)
