"""How fast the engine is, as ratios of two ways in one run: writes assets/results/engine.json.

    python tests/bench/engine.py            # minutes on two cores; --only update --turns 3 for a look

Measures
--------
rollout : rollouts a second against the published way (`official`): groups of 8 of the policy of badges, as many prompts
    at once as a step of R-GRPO has
update : one update of a group of 8 behind a prompt of 800 tokens against a padded row for each rollout, time and memory
step : a step of R-GRPO against one of TRL's trainer (python -m pip install "trl>=1.16")
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from compare import Comparison, interleaved
from official import replay
from results_file import whole

from r3lab.core.errors import R3labError
from r3lab.core.files import assets_dir
from r3lab.models.policy import Features, Policy
from r3lab.rollout.loop import rollout
from r3lab.rollout.sequence import row_of
from r3lab.train.devices import saved
from r3lab.train.estimators import token_logprobs
from r3lab.train.settings import RgrpoSettings
from r3lab.train.update import packed_logprobs
from r3lab.trajectory import Trajectory
from r3lab.vlir.sample import Sample
from r3lab.vlir.worlds import get_world

PROMPTS, GROUP = 4, 8


def row(measure: str, found: Comparison, target: float, unit: str, n: str) -> dict[str, Any]:
    """A row of engine.json."""
    values = {
        "ours": found.ours,
        "reference": found.reference,
        "ratio": found.ratio,
        "low": found.low,
        "high": found.high,
    }
    rounded = {k: float(f"{v:.4g}") for k, v in values.items()}
    return {"measure": measure, **rounded, "target": target, "unit": unit, "n": n, "turns": found.turns}


def asked(prompts: int) -> list[Sample]:
    """Samples of badges."""
    return [get_world("badges").sample("train", i) for i in range(prompts)]


def rolled(policy: Policy, samples: Sequence[Sample], store: dict[str, Features]) -> list[Trajectory]:
    """Rollouts of samples."""
    return rollout(policy, samples, GROUP, seed=0, max_new_tokens=96, features=store)


def measure_rollout(turns: int) -> list[dict[str, Any]]:
    """Our batched loop against serial rollouts whose conversation is encoded again at every look."""
    policy = Policy.load(assets_dir() / "tiny" / "rgrpo")
    samples = asked(RgrpoSettings().prompts)
    recorded = rolled(policy, samples, {})
    looks = sum(len(t.looks) for t in recorded) / len(recorded)
    found = interleaved(lambda: rolled(policy, samples, {}), lambda: replay(policy, recorded), turns)
    n = f"{len(recorded)} rollouts, {looks:.1f} looks each"
    return [row("rollouts against the published way, one at a time", found, 15.0, "s", n)]


def measure_update(turns: int) -> list[dict[str, Any]]:
    """Packed rows against a padded row for each rollout: forward and backward pass, and what autograd keeps."""
    policy = Policy.load(assets_dir() / "tiny" / "cold-start")
    unit = policy.layout.factor**2
    wide = {**policy.processor, "size": {"shortest_edge": 784 * unit, "longest_edge": 784 * unit}}
    policy = Policy(policy.model, policy.tokenizer, wide, "wide")
    store: dict[str, Features] = {}
    group = rolled(policy, asked(1), store)

    def packed() -> torch.Tensor:
        now = packed_logprobs(policy, group, store, 1.0)
        return (now.new * now.mask).sum()

    def plain() -> torch.Tensor:
        new, _, mask = token_logprobs(policy, [row_of(policy, t, store) for t in group], group, 1.0)
        return (new * mask).sum()

    def both(way: Callable[[], torch.Tensor]) -> Callable[[], object]:
        def step() -> None:
            policy.model.zero_grad(set_to_none=True)
            way().backward()

        return step

    time_row = row("update, shared prompt", interleaved(both(packed), both(plain), turns), 4.0, "s", f"G = {GROUP}")

    def kept_mib(way: Callable[[], torch.Tensor]) -> float:
        with saved(policy) as found:
            way()
        return sum(found.values()) / 2**20

    ours, reference = kept_mib(packed), kept_mib(plain)
    kept = Comparison(ours, reference, reference / ours, reference / ours, 1)
    start = sum(1 for k in group[0].kinds if k < 2)
    time_row["n"] = f"G = {GROUP}, prompt {start} tokens"
    return [time_row, row("update, memory kept for the backward pass", kept, 4.0, "MiB", time_row["n"])]


def measure_step(turns: int) -> list[dict[str, Any]]:
    """A step of R-GRPO against one of TRL's trainer; wants trl (`against_trl`)."""
    from against_trl import measure_trl

    return measure_trl(turns)


MEASURES: dict[str, Callable[[int], list[dict[str, Any]]]] = {
    "rollout": measure_rollout,
    "update": measure_update,
    "step": measure_step,
}


def main() -> int:
    """Measure, print, and write what was measured over what the file held."""
    parser = argparse.ArgumentParser(description="Measure the engine.")
    parser.add_argument("--only", choices=list(MEASURES), help="one measure (default: all)")
    parser.add_argument("--turns", type=int, default=7, help="turns of each comparison")
    parser.add_argument("--out", default=str(assets_dir() / "results" / "engine.json"), help="file to write")
    given = parser.parse_args()
    path = Path(given.out)
    rows = json.loads(path.read_text())["rows"] if path.is_file() else []
    for name in [given.only] if given.only else MEASURES:
        try:
            found = MEASURES[name](given.turns)
        except R3labError as error:
            print(f"{name}: {error}", file=sys.stderr)
            return 2
        for new in found:
            print(json.dumps(new), flush=True)
            rows = [r for r in rows if r["measure"] != new["measure"]] + [new]
    whole(path, "python tests/bench/engine.py", rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
