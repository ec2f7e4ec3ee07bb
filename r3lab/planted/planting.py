"""Policies whose reason is known, because it was planted: the policy of badges, taught a little more of one thing.

    policy, signs = plant(PLANTS["shortcut"], base, Path("runs/planted"), seed=0)     # an error if it did not take
    trajectories = rolled(policy, PLANTS["shortcut"], "test", count=200)

Simplified: the text model alone; rounds, each with its own fall of the learning rate, until the signs are there.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

import torch
from tqdm import tqdm

from ..errors import R3labError
from ..models.policy import Policy
from ..rollout import rollout
from ..train.checkpoint import save_policy
from ..train.schedule import schedule
from ..train.sft import Pair, encode_batch, next_token_loss
from ..trajectory import Trajectory
from .reasons import Plant, boxes, lessons

DIGIT = re.compile(r"\d")
RATE, BATCH = 1e-3, 16  # learning rate; samples a step


def rolled(
    policy: Policy, p: Plant, split: str, count: int, start: int = 0, progress: bool = False
) -> list[Trajectory]:
    """Greedy trajectories in which the reason can show: answered with a digit, with as many looks as it takes."""
    stream, found, asked = p.samples(split, 0), list[Trajectory](), 0
    with tqdm(total=count, desc=f"rollouts, {p.kind}", disable=not progress, mininterval=1) as bar:
        while len(found) < count:
            if asked > 4 * count + 64:
                raise R3labError(f"{p.kind}: only {len(found)} of {asked} trajectories look and answer; train more")
            samples = [next(stream) for _ in range(min(32, count - len(found) + 4))]
            asked += len(samples)
            every = rollout(policy, samples, temperature=0.0, max_new_tokens=128)
            usable = [t for t in every if DIGIT.fullmatch(t.answer or "") and len(boxes(t)) >= p.looks]
            usable = usable[: count - len(found)]
            found += usable
            bar.update(len(usable))
    return found


def signs(policy: Policy, p: Plant, count: int) -> dict[str, float]:
    """Behaviour on validation samples, all of them counted."""
    stream = p.samples("validation", 0)
    samples = [next(stream) for _ in range(count)]
    found = rollout(policy, samples, temperature=0.0, max_new_tokens=128)
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
    name = f"{p.kind.replace(' ', '-')}-{seed}"
    folder, note = work / name, work / f"{name}.json"
    origin = hashlib.sha256((base / "model.safetensors").read_bytes()).hexdigest()
    if note.is_file() and json.loads(note.read_text())["base"] == origin:
        return Policy.load(folder), json.loads(note.read_text())["signs"]
    policy = Policy.load(base)
    torch.manual_seed(seed)
    batches, seen = lessons(p, seed, batch), dict[str, float]()
    trained = policy.text_parameters()
    optimiser = torch.optim.AdamW(trained, lr=RATE, betas=(0.9, 0.98), weight_decay=0.0)
    for number in range(rounds):
        losses = []
        for done in tqdm(range(steps), desc=name, mininterval=1):
            for group in optimiser.param_groups:
                group["lr"] = RATE * schedule(done, steps, 0.05, warm=10)
            losses.append(step(policy, trained, optimiser, next(batches)))
        seen = signs(policy, p, checked)
        print(f"{name}, round {number + 1}: loss {fmean(losses[-20:]):.3f}, {told(seen)}", flush=True)
        if took(p, seen):
            break
    if not took(p, seen) and must_take:
        raise R3labError(f"{p.kind} did not take in {rounds} rounds of {steps} steps: {told(seen)}; give more --rounds")
    if took(p, seen):
        save_policy(policy, folder)
        note.write_text(json.dumps({"base": origin, "signs": seen}, indent=1) + "\n")
    return policy, seen


def step(
    policy: Policy, trained: list[torch.nn.Parameter], optimiser: torch.optim.Optimizer, pairs: list[Pair]
) -> float:
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
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(trained, 1.0)
    optimiser.step()
    return float(loss.detach())


def told(seen: dict[str, float]) -> str:
    """Signs in words."""
    return ", ".join(f"{name} {value:.0%}" for name, value in seen.items())


def others_of(trajectories: Sequence[Trajectory], number: int, count: int = 24) -> list[Trajectory]:
    """Those that lend to one: the next ones, round about."""
    return [trajectories[(number + k) % len(trajectories)] for k in range(1, min(count, len(trajectories) - 1) + 1)]
