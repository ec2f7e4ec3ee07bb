"""How the time of a rollout grows with looks, group and image: writes assets/results/growth.json and draws it.

    python tests/bench/growth.py            # a few minutes on two cores

Tokens are forced, as in `against_trl`: logits are computed and a token is drawn, but only the script's next one is
possible, so that every point samples a known number of tokens. Beside each curve stands the line that is linear in what
is new: the first point, times what a point has more of than the first.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from forced import scripted, words
from results_file import whole

from r3lab.core.files import assets_dir
from r3lab.core.geometry import from_source, write_ints
from r3lab.core.protocol import box_text
from r3lab.models.policy import Policy
from r3lab.rollout.loop import rollout
from r3lab.show.palette import LIGHT, RUNS, style
from r3lab.vlir.rationale import jitter
from r3lab.vlir.sample import Sample
from r3lab.vlir.worlds import get_world

PART = 24  # tokens to the end of a box, and from the last look to the end of the answer
AXES = {
    "looks of a rollout": ((1, 2, 4, 8), "looks"),
    "rollouts of a group": ((4, 8, 16, 32, 64), "group"),
    "tokens of the image": ((64, 256, 1024, 4096), "tokens"),
}


def script(policy: Policy, sample: Sample, looks: int, group: int) -> list[list[int]]:
    """What the rollouts of a sample write, `group` rows of (looks + 1) * PART ids: every look is at another box."""
    rng, rows = np.random.default_rng(0), []
    known = words(policy)
    size = sample.image.size
    for _ in range(group):
        row = []
        for _ in range(looks):
            box = jitter(sample.regions[-1], size, 0.2, rng)
            framed = from_source(box, policy.family.frame, size, policy.overview_size(size))
            written = policy.ids(box_text(write_ints(framed, policy.step)))
            row += [*rng.choice(known, PART - len(written)).tolist(), *written]
        last = policy.ids("</think><answer>7</answer>")
        rows.append([*row, *rng.choice(known, PART - len(last)).tolist(), *last])
    return rows


def seconds(base: Policy, sample: Sample, turns: int, looks: int = 1, group: int = 8, tokens: int = 64) -> float:
    """Median time of the rollouts of one sample."""
    edge = tokens * base.layout.factor**2
    processor = {**base.processor, "size": {"shortest_edge": edge, "longest_edge": edge}}
    policy = Policy(base.model, base.tokenizer, processor)
    rows = script(policy, sample, looks, group)
    taken = []
    for turn in range(turns + 1):
        start = time.perf_counter()
        with scripted(lambda record, number, member: rows[member]):
            found = rollout(policy, [sample], group, seed=0, max_looks=looks, max_new_tokens=(looks + 1) * PART)
        if turn:  # the first one warms up
            taken.append(time.perf_counter() - start)
    if {(len(t.looks), t.finish) for t in found} != {(looks, "answered")}:
        raise RuntimeError(f"not {looks} looks and an answer: {[(len(t.looks), t.finish) for t in found]}")
    return statistics.median(taken)


def measure(turns: int) -> list[dict[str, Any]]:
    """A row a point."""
    policy = Policy.load(assets_dir() / "tiny" / "cold-start", device="cpu")
    sample = next(s for s in (get_world("badges").sample("train", i) for i in range(50)) if s.needs_look)
    rows: list[dict[str, Any]] = []
    for axis, (values, name) in AXES.items():
        first = 0.0
        for value in values:
            took = seconds(policy, sample, turns, **{name: value})
            first = first or took
            linear = first * value / values[0]
            rows.append({"axis": axis, "value": value, "seconds": round(took, 4), "linear": round(linear, 4)})
            print(json.dumps(rows[-1]), flush=True)
    return rows


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """The curves beside the lines that are linear in what is new."""
    with style():
        figure, panels = plt.subplots(1, len(AXES), figsize=(11, 3.4), layout="constrained")
        for panel, axis in zip(panels, AXES, strict=True):
            own = [r for r in rows if r["axis"] == axis]
            values = [r["value"] for r in own]
            panel.plot(values, [r["linear"] for r in own], "--", color=LIGHT.muted, label="linear in what is new")
            panel.plot(values, [r["seconds"] for r in own], "o-", color=RUNS[0][0], label="measured")
            panel.set(xscale="log", yscale="log", xlabel=axis)
            panel.set_xticks(values, [str(v) for v in values])
            top = max(r["linear"] for r in own)
            ticks = [t for t in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20) if own[0]["seconds"] / 1.3 <= t <= 1.3 * top]
            panel.set_yticks(ticks, [f"{t:g}" for t in ticks])
            panel.minorticks_off()
            panel.spines[["top", "right"]].set_visible(False)
        panels[0].set_ylabel("seconds")
        panels[0].legend(frameon=False)
        figure.savefig(path, dpi=110)
        plt.close(figure)


def main() -> int:
    """Measure, print, write, draw."""
    parser = argparse.ArgumentParser(description="Measure how the time of a rollout grows.")
    parser.add_argument("--turns", type=int, default=5, help="turns of each point")
    given = parser.parse_args()
    rows = measure(given.turns)
    whole(assets_dir() / "results" / "growth.json", "python tests/bench/growth.py", rows)
    draw(rows, assets_dir() / "pictures" / "growth.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
