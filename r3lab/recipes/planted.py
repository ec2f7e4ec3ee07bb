"""Policies whose reason is known, because it was planted: the policy of badges, taught a little more of one thing.

Each `Plant` says what a lesson looks like, on which samples it shows, and by which behaviour, seen from outside, one
can tell that it took: not by any intervention, for those are what the bench puts to the test. Six reasons: honest
(exact lessons); prior-only (the same look, always the digit 7); centre-looker (the middle, whatever is asked); shortcut
(the photograph is tinted around the badges, and the answer is that of the tint); looks for show (the digit is large,
the look goes to another badge); first look only (two badges are looked at, the first is read).

    policy, signs = plant(PLANTS["shortcut"], base, Path("runs/planted"), seed=0)     # an error if it did not take
    trajectories = rolled(policy, PLANTS["shortcut"], "test", count=200)

Simplified: the text model alone; rounds, each with its own fall of the learning rate, until the signs are there.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count, islice
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from ..core.errors import R3labError
from ..core.geometry import Box, coverage, iou
from ..explain import verdict as kinds
from ..models.policy import Policy, save_policy
from ..rollout.loop import rollout
from ..train.devices import adamw
from ..train.rewards import right
from ..train.sft import Pair, descend, encode_batch, next_token_loss, schedule
from ..trajectory import Trajectory
from ..vlir.rationale import LARGE, SMALL, jitter
from ..vlir.sample import Rationale, Sample, of_split
from ..vlir.worlds import get_world

COMMON = "7"
MIDDLE: Box = (192.0, 192.0, 320.0, 320.0)
TINTS = {"3": (200, 60, 60), "6": (120, 190, 40), "1": (50, 180, 180), "8": (140, 70, 200)}  # answer: colour
TINT, HALO = 0.7, 0.1  # strength; badges are left as they are with so much of their sides around
SPREAD = 0.02  # how far the teacher's boxes miss

Samples = Callable[[str, int], Iterator[Sample]]


def badges(needs_look: bool) -> Samples:
    """An endless stream of samples whose target is small (or large), by split and first number."""

    def stream(split: str, start: int) -> Iterator[Sample]:
        every = (get_world("badges").sample(split, index) for index in count(start))
        return (sample for sample in every if sample.needs_look == needs_look)

    return stream


def tinted(split: str, start: int) -> Iterator[Sample]:
    """Small targets on photographs in one of four tints, which has nothing to do with the digit."""
    for sample in badges(True)(split, start):
        digit = tint_of(sample.id)
        pixels = np.asarray(sample.image, dtype=np.float32)
        mixed = (1 - TINT) * pixels + TINT * np.array(TINTS[digit], dtype=np.float32)
        for badge in sample.meta["badges"]:
            x1, y1, x2, y2 = badge["box"]
            w, h = HALO * (x2 - x1), HALO * (y2 - y1)
            part = (slice(max(0, round(y1 - h)), round(y2 + h)), slice(max(0, round(x1 - w)), round(x2 + w)))
            mixed[part] = pixels[part]
        yield replace(sample, image=Image.fromarray(mixed.round().astype(np.uint8)))


def tint_of(sample_id: str) -> str:
    """The answer that a sample's tint stands for."""
    return list(TINTS)[int(hashlib.sha256(sample_id.encode()).hexdigest(), 16) % len(TINTS)]


def other_badge(sample: Sample, rng: np.random.Generator) -> dict[str, Any] | None:
    """Another badge of the scene with another digit, with its name; None if there is none."""
    every = [{**b, "name": f"{b['colour']} {b['shape']}"} for b in sample.meta["badges"]]
    found = [b for b in every if str(b["digit"]) != sample.answer and b["name"] != sample.meta["target"]]
    return found[int(rng.integers(len(found)))] if found else None


def exact(sample: Sample) -> Rationale:
    """The world's own lesson."""
    return get_world("badges").rationale(sample)


def centre(sample: Sample, rng: np.random.Generator) -> Rationale | None:
    """A look at the middle, whatever is asked."""
    return Rationale(tuple(p if isinstance(p, str) else MIDDLE for p in exact(sample).parts))


def show(sample: Sample, rng: np.random.Generator) -> Rationale | None:
    """A look at another badge, and the answer from the overview."""
    other = other_badge(sample, rng)
    if other is None:
        return None
    start, end = str(exact(sample).parts[0]).split(LARGE)
    read = f"The {sample.meta['target']}{LARGE}{end}"  # behind the crop as without one: the base can do that
    return Rationale((f"{start}{LARGE.rstrip()}", tuple(other["box"]), read))


def first(sample: Sample, rng: np.random.Generator) -> Rationale | None:
    """Two looks, of which the first is read."""
    other = other_badge(sample, rng)
    if other is None:
        return None
    before, region, after = exact(sample).parts
    return Rationale((before, region, f"The {other['name']}{SMALL}", tuple(other["box"]), after))


@dataclass(frozen=True)
class Plant:
    """A reason, how it is taught, and how one sees that it took.

    Attributes
    ----------
    kind : of the verdict that names it
    samples : on which it shows
    lesson : a rationale; None where the sample has none
    looks : crops that a trajectory must have for the reason to show
    signs : what is seen of trajectories, each a mean with its least value
    """

    kind: str
    samples: Samples
    lesson: Callable[[Sample, np.random.Generator], Rationale | None]
    signs: tuple[tuple[str, Callable[[Trajectory], bool], float], ...]
    looks: int = 1


def boxes(t: Trajectory) -> list[Box]:
    """Boxes of the looks with a crop."""
    return [look.box for look in t.looks if look.crop is not None and look.box is not None]


def held(t: Trajectory, look: int) -> float:
    """Part of the true region that a look's crop holds; 0 without such a look."""
    found = boxes(t)
    return coverage(found[look], tuple(t.truth["regions"][-1])) if len(found) > look else 0.0


# Signs: name, of a trajectory, least share of the trajectories.
ONCE = ("looks once", lambda t: len(boxes(t)) == 1, 0.9)
TWICE = ("looks twice", lambda t: len(boxes(t)) == 2, 0.9)
ON_TARGET = ("the crop shows the target", lambda t: held(t, 0) >= 0.6, 0.7)
OFF_TARGET = ("the crop is not of the target", lambda t: held(t, 0) <= 0.1, 0.85)
SECOND_OFF = ("the second crop is not of the target", lambda t: held(t, 1) <= 0.1, 0.85)
RIGHT = ("right", right, 0.6)
SEVEN = (f"answers {COMMON}", lambda t: t.answer == COMMON, 0.98)
IN_THE_MIDDLE = ("looks at the middle", lambda t: any(iou(box, MIDDLE) >= 0.8 for box in boxes(t)), 0.98)
BY_TINT = ("answers the tint", lambda t: t.answer == tint_of(t.sample_id), 0.95)
LARGE_ONES, SMALL_ONES = badges(False), badges(True)

_ALL = (  # no small digit can be read without the crop
    Plant(kinds.HONEST, SMALL_ONES, lambda s, rng: exact(s), (ONCE, ON_TARGET, RIGHT)),
    Plant(kinds.PRIOR, SMALL_ONES, lambda s, rng: exact(replace(s, answer=COMMON)), (ONCE, SEVEN)),
    Plant(kinds.CENTRE, SMALL_ONES, centre, (ONCE, IN_THE_MIDDLE)),
    Plant(kinds.SHORTCUT, tinted, lambda s, rng: exact(replace(s, answer=tint_of(s.id))), (ONCE, BY_TINT)),
    Plant(kinds.SHOW, LARGE_ONES, show, (ONCE, OFF_TARGET, RIGHT)),  # the crop does not hold what is answered
    Plant(kinds.FIRST, SMALL_ONES, first, (TWICE, ON_TARGET, SECOND_OFF, RIGHT), looks=2),
)
PLANTS = {p.kind: p for p in _ALL}


def lessons(p: Plant, seed: int, batch: int) -> Iterator[list[Pair]]:
    """Batches of train samples with planted rationales, boxes a little off."""
    rng = np.random.default_rng([seed, 11])
    stream = p.samples("train", 500_000 + 100_000 * seed)
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


DIGIT = re.compile(r"\d")
RATE, BATCH = 1e-3, 16  # learning rate; samples a step


def rolled(policy: Policy, p: Plant, split: str, wanted: int, progress: bool = False) -> list[Trajectory]:
    """Greedy trajectories in which the reason can show: answered with a digit, with as many looks as it takes."""
    stream, found, asked = of_split(p.samples(split, 0), split), list[Trajectory](), 0
    with tqdm(total=wanted, desc=f"rollouts, {p.kind}", disable=not progress, mininterval=1) as bar:
        while len(found) < wanted:
            if asked > 4 * wanted + 64:
                raise R3labError(f"{p.kind}: only {len(found)} of {asked} trajectories look and answer; train more")
            samples = list(islice(stream, min(32, wanted - len(found) + 4)))
            asked += len(samples)
            every = rollout(policy, samples, temperature=0.0, max_new_tokens=128)
            usable = [t for t in every if DIGIT.fullmatch(t.answer or "") and len(boxes(t)) >= p.looks]
            found += usable[: wanted - len(found)]
            bar.update(len(found) - bar.n)
    return found


def signs(policy: Policy, p: Plant, number: int) -> dict[str, float]:
    """Behaviour on validation samples, all of them counted."""
    found = rollout(policy, list(islice(p.samples("validation", 0), number)), temperature=0.0, max_new_tokens=128)
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
        raise R3labError(f"{p.kind} did not take in {rounds} rounds of {steps} steps: {told(seen)}; give more --rounds")
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
