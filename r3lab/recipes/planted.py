"""Policies whose reason is known, because it was planted: a shipped policy, taught a little more of one thing.

What is taught, and how one sees that it took, is in `reasons`.

    policy, signs = plant(PLANTS["shortcut"], base, Path("runs/planted"), seed=0)     # an error if it did not take
    trajectories = rolled(policy, PLANTS["shortcut"], "test", 200)

Simplified: the text model alone; rounds, each with its own fall of the learning rate, until the signs are there.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from statistics import fmean

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from ..core.errors import R3labError
from ..models.policy import Policy, save_policy
from ..rollout.loop import rollout
from ..train.devices import adamw
from ..train.sft import Pair, descend, encode_batch, next_token_loss, schedule
from ..trajectory import Trajectory
from ..vlir.rationale import jitter
from ..vlir.sample import Rationale, Sample, of_split
from .reasons import Plant, boxes

SPREAD = 0.02  # how far the teacher's boxes miss
GREY = (128, 128, 128)


def lessons(p: Plant, seed: int, batch: int) -> Iterator[list[Pair]]:
    """Batches of train samples with planted rationales, boxes a little off."""
    rng = np.random.default_rng([seed, 11])
    stream = p.samples("train", 500_000 + 100_000 * seed, 0)
    while True:
        found: list[Pair] = []
        while len(found) < batch:
            sample = next(stream)
            rationale = p.lesson(sample, rng)
            if rationale is not None:
                size = sample.image.size
                parts = tuple(x if isinstance(x, str) else jitter(x, size, SPREAD, rng) for x in rationale.parts)
                found.append((sample, Rationale(parts)))
        yield found


RATE, BATCH = 1e-3, 16  # learning rate; samples a step


def rolled(
    policy: Policy, p: Plant, split: str, wanted: int, seed: int = 0, progress: bool = False
) -> list[Trajectory]:
    """Greedy trajectories in which the reason can show: answered, with as many looks as it takes; `seed` is that of
    the samples."""
    stream, found, asked = of_split(p.samples(split, 0, seed), split), list[Trajectory](), 0
    with tqdm(total=wanted, desc=f"rollouts, {p.name}", disable=not progress, mininterval=1) as bar:
        while len(found) < wanted:
            if asked > 4 * wanted + 64:
                raise R3labError(f"{p.name}: only {len(found)} of {asked} trajectories look and answer; train more")
            samples = list(islice(stream, min(32, wanted - len(found) + 4)))
            asked += len(samples)
            every = rollout(policy, samples, temperature=0.0, max_new_tokens=128)
            usable = [
                t for s, t in zip(samples, every, strict=True) if t.answer and len(boxes(t)) >= p.looks and p.fits(s, t)
            ]
            found += usable[: wanted - len(found)]
            bar.update(len(found) - bar.n)
    return found


def habits_of(policy: Policy, trajectories: Sequence[Trajectory]) -> list[str | None]:
    """What a policy answers to the same questions where the photograph shows nothing at all."""
    blank = [Image.new("RGB", (t.image.width, t.image.height), GREY) for t in trajectories]
    asked = [Sample(t.sample_id, image, t.question, "") for t, image in zip(trajectories, blank, strict=True)]
    return [t.answer for t in rollout(policy, asked, temperature=0.0, max_new_tokens=128)] if asked else []


def signs(policy: Policy, p: Plant, number: int) -> dict[str, float]:
    """Behaviour on validation samples, all of them counted."""
    found = rollout(policy, list(islice(p.samples("validation", 0, 0), number)), temperature=0.0, max_new_tokens=128)
    return {name: fmean(float(sign(t)) for t in found) for name, sign, _ in p.signs}


def took(p: Plant, seen: dict[str, float]) -> bool:
    """Whether every sign is there."""
    return all(seen[name] >= least for name, _, least in p.signs)


def plant(
    p: Plant,
    base: Path,
    work: Path,
    seed: int,
    steps: int = 100,
    rounds: int = 8,
    batch: int = BATCH,
    checked: int = 64,
    must_take: bool = True,
) -> tuple[Policy, dict[str, float]]:
    """Teach a copy of the base until the signs are there; a finished one is kept in `work` and taken from there.

    Parameters
    ----------
    steps : a round; after each one the signs are looked for
    must_take : False: go on with a policy in which it did not take (to try the bench itself)

    Raises
    ------
    R3labError
        If the signs are not there after all rounds.
    """
    name = f"{p.name.replace(' ', '-')}-{seed}"
    folder, note = work / name, work / f"{name}.json"
    origin = hashlib.sha256((base / "model.safetensors").read_bytes()).hexdigest()
    if note.is_file() and json.loads(note.read_text())["base"] == origin:
        return Policy.load(folder), json.loads(note.read_text())["signs"]
    policy = Policy.load(base)
    torch.manual_seed(seed)
    batches, seen = lessons(p, seed, batch), dict[str, float]()
    optimiser = adamw(policy.text_parameters(), RATE, 0.98)
    for number in range(rounds):
        losses = []
        for done in tqdm(range(steps), desc=name, mininterval=1):
            losses.append(step(policy, optimiser, next(batches), RATE * schedule(done, steps, 0.05, warm=10)))
        seen = signs(policy, p, checked)
        print(f"{name}, round {number + 1}: loss {fmean(losses[-20:]):.3f}, {told(seen)}", flush=True)
        if took(p, seen):
            save_policy(policy, folder)
            note.write_text(json.dumps({"base": origin, "signs": seen}, indent=1) + "\n")
            return policy, seen
    if must_take:
        raise R3labError(f"{p.name} did not take in {rounds} rounds of {steps} steps: {told(seen)}; give more --rounds")
    return policy, seen


def step(policy: Policy, optimiser: torch.optim.Optimizer, pairs: list[Pair], rate: float = RATE) -> float:
    """One step of supervised training in which what follows the last crop weighs as much as all before it.

    In a plain mean over tokens (`train.sft`) the one digit that carries the reason is lost among twenty-five.
    """
    with torch.no_grad():
        rows, masks = encode_batch(policy, pairs)
    after = []  # of each marked token, whether it stands behind the last crop
    for row, mask in zip(rows, masks, strict=True):
        last = max(i for i, token in enumerate(row.ids) if token == policy.image_id)
        after += [place > last for place, marked in enumerate(mask) if marked]
    each, _ = next_token_loss(policy, rows, masks)
    behind = torch.tensor(after, device=each.device)
    loss = each[behind].mean() + each[~behind].mean()
    descend(loss, optimiser, rate)
    return float(loss.detach())


def told(seen: dict[str, float]) -> str:
    """Signs in words."""
    return ", ".join(f"{name} {value:.0%}" for name, value in seen.items())


def others_of(trajectories: Sequence[Trajectory], number: int, count: int = 24) -> list[Trajectory]:
    """Those that lend to one: the next ones, round about."""
    return [trajectories[(number + k) % len(trajectories)] for k in range(1, min(count, len(trajectories) - 1) + 1)]
