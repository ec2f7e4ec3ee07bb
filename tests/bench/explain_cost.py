"""What an explanation costs: attention rows against a plain forward pass and against eager attention, replays against
one at a time. Writes explain.json.

    python tests/bench/explain_cost.py            # a minute or two on two cores

Measures
--------
rows, time : rows of all events of a trajectory of some 2,000 tokens, against the same forward pass without them
rows, memory : peak over what the process held before, against eager attention with all its maps; processes of their
    own, and some for the plain pass (`plain` in the row). What was freed before is given back first (malloc_trim):
    pages that are kept would count as held, and a pass could grow into them unseen
replay : 16 alternatives to a crop, read and answered, against each by itself with transformers' own `generate`
explanation : all of `r3lab explain` of one look, and of `--quick`, on two threads, against the answer that it explains
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import torch
from compare import Comparison, interleaved
from engine import row
from results_file import EXPLAIN, keep, rounded

from r3lab.core.files import assets_dir
from r3lab.core.images import resize
from r3lab.core.protocol import ANSWER
from r3lab.explain.donors import shipped_lenders
from r3lab.explain.explain import explain
from r3lab.explain.interventions import Alternative, ReplayResult, after_look, alternatives_of, begin, joined, replay
from r3lab.explain.rows import rows
from r3lab.explain.trials import QUICK, Settings
from r3lab.models.families import patchify
from r3lab.models.policy import Features, Policy
from r3lab.rollout.loop import rollout
from r3lab.rollout.sequence import row_of
from r3lab.trajectory import Kind, Trajectory
from r3lab.vlir.sample import Sample
from r3lab.vlir.worlds import get_world

SIDE = 44  # tokens of the wide overview, a side: with the words it makes 2,000
ALTERNATIVES = 16
PROCESSES = 3  # of each way, whose median peak is taken
WAYS = ("rows", "eager", "plain")
THREADS, FULL, SHORT = 2, 2.0, 0.7  # of an explanation; seconds that one may take, in full and the quick one


def wide(side: int) -> Policy:
    """The shipped policy, told to look at an overview of side * side tokens, if a picture has them."""
    policy = Policy.load(assets_dir() / "tiny" / "rgrpo")
    size = {"size": {**policy.processor["size"], "longest_edge": (side * policy.layout.factor) ** 2}}
    return Policy(policy.model, policy.tokenizer, {**policy.processor, **size}, policy.name)


def looked(policy: Policy, store: dict[str, Features], side: int = 0) -> Trajectory:
    """A trajectory with a look; of a wide policy, which was not trained so, the most tokens that it may write, on a
    picture enlarged until it has its `side` * `side` tokens."""
    world, index, pixels = get_world("badges"), 0, side * policy.layout.factor
    while True:
        sample = world.sample("test", index)
        if side:
            sample = replace(sample, image=resize(sample.image, (pixels, pixels)))
        t = rollout(policy, [sample], seed=index, temperature=1.0, max_new_tokens=96, features=store)[0]
        if any(look.crop_span for look in t.looks) and (side or t.answer == sample.answer):
            return t
        index += 1


def passed(policy: Policy, t: Trajectory, store: dict[str, Features]) -> torch.Tensor:
    """The forward pass alone."""
    with torch.no_grad():
        return policy.hidden(policy.rows([row_of(policy, t, store)]))


def eager(policy: Policy, t: Trajectory, store: dict[str, Features]) -> object:
    """The forward pass with eager attention, its maps kept."""
    batch = policy.rows([row_of(policy, t, store)])
    kept: list[torch.Tensor] = []
    layers = policy.model.model.language_model.layers
    hooks = [layer.self_attn.register_forward_hook(lambda m, i, out: kept.append(out[1])) for layer in layers]
    policy.model.set_attn_implementation({"text_config": "eager"})
    try:
        with torch.no_grad():
            policy.hidden(batch)
    finally:
        for hook in hooks:
            hook.remove()
        policy.model.set_attn_implementation({"text_config": "sdpa"})
    assert len(kept) == len(layers) and {one.shape[-2:] for one in kept} == {(len(t.ids), len(t.ids))}
    return kept


def peak_mib(way: str) -> float:
    """In a process of its own: most memory over what was held before, MiB."""
    store: dict[str, Features] = {}
    policy = wide(SIDE)
    t = looked(policy, store, SIDE)
    ways = {"rows": lambda: rows(policy, t, features=store), "eager": lambda: eager(policy, t, store)}
    ways["plain"] = lambda: passed(policy, t, store)
    ways[way]()  # what is made once is no part of the pass
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    before = held_kib("VmRSS")
    held = ways[way]()
    assert held is not None
    return (held_kib("VmHWM") - before) / 1024


def held_kib(what: str) -> int:
    """What the kernel says of this process, KiB: VmRSS is now, VmHWM the most so far. Linux."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(what))


def measure_rows(turns: int) -> list[dict[str, Any]]:
    """Time and memory of attention rows."""
    store: dict[str, Features] = {}
    policy = wide(SIDE)
    t = looked(policy, store, SIDE)
    found = interleaved(lambda: rows(policy, t, features=store), lambda: passed(policy, t, store), turns)
    n = f"{len(t.ids)} tokens, {len(rows(policy, t, features=store).events)} events, all layers and heads"
    command = [sys.executable, __file__, "--peak"]

    def peak(way: str) -> float:
        return float(subprocess.run([*command, way], capture_output=True, check=True).stdout)

    ours, reference, plain = (median(peak(way) for _ in range(PROCESSES)) for way in WAYS)
    kept = Comparison(ours, reference, reference / ours, reference / ours, 1)
    return [
        row("attention rows against the plain pass", found, 1 / 1.1, "s", n),
        {**row("attention rows against eager maps, peak memory", kept, 10.0, "MiB", n), "plain": rounded(plain)},
    ]


def measure_replay(turns: int) -> list[dict[str, Any]]:
    """Replays of a look with other crops, of the policy of badges and with a large overview."""
    shipped = Policy.load(assets_dir() / "tiny" / "rgrpo")
    return [
        compared("replays of a look", shipped, 0, turns),
        compared("replays of a look, large overview", wide(28), 28, turns),
    ]


def compared(name: str, policy: Policy, side: int, turns: int) -> dict[str, Any]:
    """All alternatives together against one at a time, as transformers does it; all three ways answer alike."""
    t = looked(policy, {}, side)
    number = next(i for i, look in enumerate(t.looks) if look.crop_span)
    crop = t.looks[number].crop
    assert crop is not None
    wanted = (alternatives_of(t, number) * 2)[:ALTERNATIVES]

    def together() -> list[ReplayResult]:
        return replay(policy, t, number, wanted, {})

    def singly() -> list[tuple[float, str]]:
        return [naive(policy, t, number, one) for one in wanted]

    for one, (given, written) in zip(together(), singly(), strict=True):
        assert abs(one.given - given) < 1e-2, (one, given)  # of some 25 nats
        assert one.answer is None or "bbox_2d" in written or f"{ANSWER.open}{one.answer}<" in written, (one, written)
    size = f"{ALTERNATIVES} alternatives, {len(t.ids)} tokens"
    return row(name, interleaved(together, singly, turns), 5.0, "s", size)


@torch.no_grad()
def naive(policy: Policy, t: Trajectory, look: int, alternative: Alternative) -> tuple[float, str]:
    """One alternative by itself: the whole conversation is encoded and read for what was written, and again by
    `generate` for what the policy writes by itself; a box that it writes then gets no crop."""
    head = begin(policy, t, look, alternative)
    tail = after_look(t, look)
    whole = joined(head, t, tail)
    given = reading_of(policy, whole, whole.ids)
    states = policy.model(**given).logits[0].log_softmax(-1)
    own = [i for i in range(len(head.ids), len(whole.ids)) if whole.kinds[i] == Kind.SAMPLED]
    value = float(sum(states[i - 1, whole.ids[i]] for i in own))
    room = 2 * t.kinds[tail:].count(Kind.SAMPLED) + 32
    out = policy.model.generate(**reading_of(policy, head, head.ids), max_new_tokens=room, do_sample=False)
    return value, policy.tokenizer.decode(out[0, len(head.ids) :])


def reading_of(policy: Policy, t: Trajectory, ids: list[int]) -> dict[str, torch.Tensor]:
    """What the model takes for a trajectory: ids, and pixels of its images, overview first."""
    images = [resize(t.images[t.image.hash], t.overview)]
    images += [t.images[look.crop.hash] for look in t.looks if look.crop is not None]
    pixels, grids = patchify(images, policy.layout)
    tokens = torch.tensor([ids])
    kinds = (tokens == policy.image_id).int()
    mask = torch.ones_like(tokens)
    return {
        "input_ids": tokens,
        "attention_mask": mask,
        "pixel_values": pixels,
        "image_grid_thw": grids,
        "mm_token_type_ids": kinds,
    }


def measure_explanation(turns: int) -> list[dict[str, Any]]:
    """Explanations of one look against the rollout that took it, all on two threads."""
    policy, lenders, before = Policy.load(assets_dir() / "tiny" / "rgrpo"), shipped_lenders(), torch.get_num_threads()
    t = looked(policy, {})
    sample = Sample(t.sample_id, t.images[t.image.hash], t.question, "")
    torch.set_num_threads(THREADS)
    try:
        found = []
        for name, settings, most in (("full", Settings(), FULL), ("quick", QUICK, SHORT)):
            took = interleaved(
                lambda: explain(policy, t, lenders, settings=settings),  # noqa: B023
                lambda: rollout(policy, [sample], temperature=0.0, max_new_tokens=96),
                turns,
            )
            size = f"one look, {THREADS} threads; at most {most:g} s are wanted"
            found.append(row(f"a {name} explanation against the answer", took, took.reference / most, "s", size))
        return found
    finally:
        torch.set_num_threads(before)


MEASURES: dict[str, Callable[[int], list[dict[str, Any]]]] = {
    "rows": measure_rows,
    "replay": measure_replay,
    "explanation": measure_explanation,
}


def main() -> int:
    """Measure, print, and write what was measured over what the file held."""
    parser = argparse.ArgumentParser(description="Measure what an explanation costs.")
    parser.add_argument("--only", choices=list(MEASURES), help="one measure (default: all)")
    parser.add_argument("--turns", type=int, default=9, help="turns of each comparison")
    parser.add_argument("--peak", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--out", default=str(assets_dir() / "results" / "explain.json"), help="file to write")
    given = parser.parse_args()
    if given.peak:
        print(peak_mib(given.peak))
        return 0
    made = [new for name in ([given.only] if given.only else MEASURES) for new in MEASURES[name](given.turns)]
    for new in made:
        print(json.dumps(new))
    keep(Path(given.out), EXPLAIN, made)
    return 0


if __name__ == "__main__":
    sys.exit(main())
