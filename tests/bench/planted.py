"""Do explainers name the reason? Six policies whose reason was planted, 200 trajectories each: writes explain.json.

    python tests/bench/planted.py                            # all of it; policies are kept in runs/planted
    python tests/bench/planted.py --n 4 --fit 4 --steps 4 --rounds 1 --untaken --out /tmp/explain.json   # does it run

Ours is the verdict of `r3lab.explain` as it ships, which is fitted on nothing; "not enough evidence" counts as wrong,
and so does any other kind than the planted one, even where it is true of the single trajectory: what was named instead
is in the row (`named`). Of these, a policy that reads its crop and looked past the target on this trajectory is said to
read another place than asked: `missed` counts the looks that show less than half of the target. The references have
attention alone (`attention_only`), every head of every layer, each with a random forest on its numbers, fitted on
planted policies of another seed. Each verdict is kept as it comes (`runs/planted/verdicts`): killed, the same command
goes on; a larger `--n` too.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from attention_only import fit, named, numbers
from results_file import EXPLAIN, keep, rounded
from tqdm import tqdm

from r3lab.core.errors import R3labError
from r3lab.core.files import assets_dir
from r3lab.core.stats import mean_interval
from r3lab.explain.trials import SHOWN, Settings, gather, shipped_lenders
from r3lab.explain.verdict import KINDS, verdict_of
from r3lab.models.policy import Policy
from r3lab.recipes.planted import BATCH, PLANTS, Plant, held, lessons, others_of, plant, rolled, step, told
from r3lab.trajectory import Trajectory

TARGET = 0.95
FIT_SEED = 100  # added to the seed of the policies that the references are fitted on
EVIDENCE_ALONE = Settings(value=False, value_map=False)  # all that the verdict rests on
BLOCK = 25  # trajectories that lend to one another
ALONE = "alone"
REFERENCES = ("raw attention", "relative attention")


def explained(policy: Policy, trajectories: Sequence[Trajectory], path: Path, alone: bool = False) -> list[str]:
    """The kind that our explanation of each trajectory names; what the file holds is not done again.

    Those of the same block of `BLOCK` lend. `alone`: nothing but what ships lends, and no truth is known, as of `ask`.
    """
    kept = [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        for number, t in enumerate(tqdm(trajectories, desc="explain", mininterval=1)):
            if number < len(kept):
                continue
            first = number - number % BLOCK
            lent = others_of(trajectories[first : first + BLOCK], number - first)
            one = replace(t, truth={}) if alone else t
            evidence, _ = gather(policy, one, shipped_lenders() if alone else lent, EVIDENCE_ALONE, {})
            verdict = verdict_of(evidence)
            kept.append({"id": t.sample_id, "kind": verdict.kind, "confidence": rounded(verdict.confidence)})
            kept[-1] |= {"nearest": verdict.nearest, "reasons": verdict.reasons}
            file.write(json.dumps(kept[-1]) + "\n")
            file.flush()
    assert [one["id"] for one in kept[: len(trajectories)]] == [t.sample_id for t in trajectories], f"{path}: of others"
    return [one["kind"] for one in kept[: len(trajectories)]]


def looked_at(policy: Policy, trajectories: Sequence[Trajectory]) -> list[tuple[list[float], list[float]]]:
    """What the references see of each trajectory."""
    return [numbers(policy, t, {}) for t in tqdm(trajectories, desc="attention", mininterval=1)]


def row(measure: str, ours: Sequence[bool], reference: Sequence[bool], n: str, **more: Any) -> dict[str, Any]:
    """A row of explain.json: shares of trajectories that were named rightly, with our 95 % interval."""
    own, other = mean_interval([float(v) for v in ours]), fmean(map(float, reference))
    values = {"ours": own.value, "reference": other, "ratio": own.value / max(other, 1e-9)}
    shares = {key: rounded(value) for key, value in {**values, "low": own.low, "high": own.high}.items()}
    return {"measure": measure, **shares, "target": TARGET, "unit": "share", "n": n, **more}


def table(rows: dict[str, Counter[str]]) -> str:
    """Planted kinds by the kinds that were named."""
    named = [kind for kind in KINDS if any(counts[kind] for counts in rows.values())]
    wide = max(map(len, [*rows, "planted"]))
    lines = [" ".join(["planted".ljust(wide), *(kind.rjust(len(kind)) for kind in named)])]
    for kind, counts in rows.items():
        lines.append(" ".join([kind.ljust(wide), *(str(counts[other]).rjust(len(other)) for other in named)]))
    return "\n".join(lines)


def measure(kinds: Sequence[Plant], given: argparse.Namespace, base: Path, work: Path) -> list[dict[str, Any]]:
    """Plant, look, explain, score."""

    def planted(p: Plant, seed: int) -> Policy:
        policy, seen = plant(p, base, work, seed, given.steps, given.rounds, must_take=not given.untaken)
        print(f"{p.kind}, seed {seed}: {told(seen)}", flush=True)
        return policy

    ours: dict[str, list[str]] = {}
    alone: dict[str, list[str]] = {}
    missed: dict[str, int] = {}
    for p in kinds:
        policy = planted(p, given.seed)
        trajectories = rolled(policy, p, "test", given.n, progress=True)
        begin = time.perf_counter()
        name = f"{p.kind.replace(' ', '-')}-{given.seed}.jsonl"
        missed[p.kind] = sum(held(t, 0) < SHOWN for t in trajectories)
        ours[p.kind] = explained(policy, trajectories, work / "verdicts" / name)
        print(f"{p.kind}: {(time.perf_counter() - begin) / len(trajectories):.2f} s an explanation", flush=True)
        print(f"{p.kind}: {dict(Counter(ours[p.kind]))}", flush=True)
        some = trajectories[: given.alone]
        alone[p.kind] = explained(policy, some, work / "verdicts" / f"{ALONE}-{name}", True)
    seen: list[list[list[float]]] = [[], []]
    labels: list[str] = []
    for p in kinds:
        policy = planted(p, given.seed + FIT_SEED)
        found = looked_at(policy, rolled(policy, p, "validation", given.fit, progress=True))
        labels += [p.kind] * len(found)
        for which in (0, 1):
            seen[which] += [pair[which] for pair in found]
    rules = [fit(one, labels) for one in seen]
    theirs: list[dict[str, list[str]]] = [{}, {}]
    for p in kinds:
        policy = planted(p, given.seed)
        found = looked_at(policy, rolled(policy, p, "test", given.n))
        for which in (0, 1):
            theirs[which][p.kind] = named(rules[which], [pair[which] for pair in found])
    return scored(ours, theirs, alone, missed)


def cost(kinds: Sequence[Plant], given: argparse.Namespace, base: Path) -> str:
    """What a run takes here: a step of training and an explanation are timed once, on the first kind."""
    policy, p = Policy.load(base), kinds[0]
    trajectories = rolled(policy, p, "validation", 8)
    begin = time.perf_counter()
    gather(policy, trajectories[0], trajectories[1:], EVIDENCE_ALONE, {})
    each = time.perf_counter() - begin
    optimiser = torch.optim.AdamW(policy.text_parameters())
    pairs = [next(lessons(p, given.seed, BATCH)) for _ in range(2)]
    begin = time.perf_counter()
    for batch in pairs:
        step(policy, optimiser, batch, rate=0.0)
    one = (time.perf_counter() - begin) / 2
    explaining, round_of = len(kinds) * given.n * each / 60, 2 * len(kinds) * given.steps * one / 60
    return (
        f"{each:.1f} s an explanation, {one:.2f} s a step: {explaining:.0f} minutes of explaining, and {round_of:.0f} "
        f"minutes for each round of training that all {2 * len(kinds)} policies need (two to four are usual)"
    )


def scored(
    ours: dict[str, list[str]],
    theirs: Sequence[dict[str, list[str]]],
    alone: dict[str, list[str]],
    missed: dict[str, int],
) -> list[dict[str, Any]]:
    """Rows for explain.json; the tables are printed."""
    for name, found in zip(("ours", *REFERENCES), (ours, *theirs), strict=True):
        print(f"\n{name}\n{table({kind: Counter(names) for kind, names in found.items()})}")
    right = [{kind: [n == kind for n in names] for kind, names in found.items()} for found in (ours, *theirs)]
    every = [[hit for hits in one.values() for hit in hits] for one in right]
    count = f"{len(every[0])} trajectories of {len(ours)} policies"
    rows = [
        row(f"planted reason named, against {name}", every[0], other, count)
        for name, other in zip(REFERENCES, every[1:], strict=True)
    ]
    for kind, names in ours.items():
        n = f"{len(names)} trajectories"
        more = {"named": dict(Counter(names)), "missed": missed[kind]}
        rows.append(row(f"planted reason named: {kind}", right[0][kind], right[1][kind], n, **more))
    hits = [name == kind for kind, names in alone.items() for name in names]
    if hits:
        count = f"{len(hits)} trajectories of {len(alone)} policies"
        reference = [name == kind for kind in alone for name in theirs[0][kind][: len(alone[kind])]]
        told = {kind: dict(Counter(names)) for kind, names in alone.items()}
        rows.append(row("planted reason named alone", hits, reference, count, named=told))
    return rows


def main() -> int:
    """Measure, print, and write what was measured over what the file held."""
    parser = argparse.ArgumentParser(description="Score explainers on policies whose reason is known.")
    parser.add_argument("--n", type=int, default=200, help="trajectories of each policy (default: 200)")
    parser.add_argument("--fit", type=int, default=120, help="of each policy that the references are fitted on (120)")
    parser.add_argument("--alone", type=int, default=40, help="of each policy that are asked about alone (default: 40)")
    parser.add_argument("--steps", type=int, default=100, help="training steps of a round (default: 100)")
    parser.add_argument("--rounds", type=int, default=8, help="rounds at most until a reason has taken (default: 8)")
    parser.add_argument("--seed", type=int, default=0, help="of the planted policies")
    parser.add_argument("--only", nargs="+", choices=list(PLANTS), metavar="KIND", help=f"of {', '.join(PLANTS)}")
    parser.add_argument("--untaken", action="store_true", help="go on where a reason did not take, to try the bench")
    parser.add_argument("--base", default=str(assets_dir() / "tiny" / "rgrpo"), help="checkpoint to plant in")
    parser.add_argument("--work", default="runs/planted", help="where planted policies are kept")
    parser.add_argument("--out", default=str(assets_dir() / "results" / "explain.json"), help="file to write")
    parser.add_argument("--cost", action="store_true", help="only say what a run will take here")
    given = parser.parse_args()
    work, kinds = Path(given.work), [PLANTS[kind] for kind in given.only or PLANTS]
    try:
        print(cost(kinds, given, Path(given.base)), flush=True)
        if given.cost:
            return 0
        work.mkdir(parents=True, exist_ok=True)
        rows = measure(kinds, given, Path(given.base), work)
    except R3labError as error:
        print(f"planted: {error}", file=sys.stderr)
        return 2
    print()
    for new in rows:
        print(json.dumps(new))
    keep(Path(given.out), EXPLAIN, rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
