"""Do explainers name the reason? Policies whose reason was planted, over seeds and two sizes: writes explain.json.

    python tests/bench/planted.py                            # hours on two cores; policies are kept in runs/planted
    python tests/bench/planted.py --seeds 1 --deep 0         # a sixth of it
    python tests/bench/planted.py --deep 0 --n 4 --fit 4 --steps 4 --rounds 1 --untaken --out /tmp/one.json

Fourteen reasons (`recipes.reasons`), each planted in the shipped policy of badges, and in the same two layers deeper
(`models.tiny.deepened`). Thresholds of the verdict were set on validation samples of policies of another seed, of all
reasons but later look only and round, that came after.

Ours is the verdict of `r3lab.explain` as it ships, which is fitted on nothing; "not enough evidence" counts as wrong,
and so does any other kind than a true one (`recipes.reasons.truth_of`); what was named instead is in the row (`named`).
The references have attention alone (`attention_only`), every head of every layer, or the policy alone, asked of changed
pictures, each with a random forest on its numbers, fitted on planted policies of another seed; of them the planted
reason is asked, in policies of the shipped size. Each verdict is kept as it comes (`verdicts`): killed, the same
command goes on.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise, product, zip_longest
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from attention_only import black_box, fit, named, numbers
from results_file import EXPLAIN, keep, rounded
from tqdm import tqdm

from r3lab.core.errors import R3labError
from r3lab.core.files import assets_dir
from r3lab.core.stats import Interval, seeds_interval
from r3lab.explain.trials import Settings, gather, shipped_lenders
from r3lab.explain.verdict import ELSEWHERE, HONEST, KINDS, UNSURE, verdict_of
from r3lab.models.policy import Policy, save_policy
from r3lab.models.tiny import deepened
from r3lab.recipes.planted import BATCH, lessons, others_of, plant, rolled, step, told
from r3lab.recipes.reasons import FURTHER, PLANTS, Plant, truth_of
from r3lab.trajectory import Trajectory

TARGET = 0.95
FIT_SEED = 100  # of the policies that the references are fitted on
DEEPER = 2  # layers that the second size has more
EVERY = PLANTS | FURTHER
EVIDENCE_ALONE = Settings(value=False, value_map=False)  # all that the verdict rests on
BLOCK = 25  # trajectories that lend to one another
ALONE = "alone"
REFERENCES = ("raw attention", "relative attention", "the policy alone")
TEST_SEED = 20_261_129  # of the samples that are asked: nothing else draws the test split with it
BINS = (0.8, 0.9, 0.95, 0.98, 1.0)  # of stated confidence


def explained(
    policy: Policy, trajectories: Sequence[Trajectory], path: Path, alone: bool = False
) -> list[dict[str, Any]]:
    """The kind that our explanation of each trajectory names, and how sure; what the file holds is not done again.

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
    return kept[: len(trajectories)]


def looked_at(policy: Policy, trajectories: Sequence[Trajectory]) -> list[tuple[list[float], ...]]:
    """What the references see of each trajectory."""
    return [(*numbers(policy, t, {}), black_box(policy, t)) for t in tqdm(trajectories, desc="seen", mininterval=1)]


def row(measure: str, own: Interval, reference: float, n: str, **more: Any) -> dict[str, Any]:
    """A row of explain.json: a share of trajectories, with its 95 % interval over policies and samples together."""
    values = {"ours": own.value, "reference": reference, "ratio": own.value / max(reference, 1e-9)}
    shares = {key: rounded(value) for key, value in {**values, "low": own.low, "high": own.high}.items()}
    return {"measure": measure, **shares, "target": TARGET, "unit": "share", "n": n, **more}


def table(rows: dict[str, Counter[str]]) -> str:
    """Planted kinds by the kinds that were named."""
    every = dict.fromkeys((*KINDS, *EVERY))
    named = [kind for kind in every if any(counts[kind] for counts in rows.values())]
    wide = max(map(len, [*rows, "planted"]))
    lines = [" ".join(["planted".ljust(wide), *(kind.rjust(len(kind)) for kind in named)])]
    for kind, counts in rows.items():
        lines.append(" ".join([kind.ljust(wide), *(str(counts[other]).rjust(len(other)) for other in named)]))
    return "\n".join(lines)


def planted(p: Plant, seed: int, given: argparse.Namespace, base: Path, work: Path) -> Policy:
    """A policy with a reason."""
    policy, seen = plant(p, base, work, seed, given.steps, given.rounds, must_take=not given.untaken)
    print(f"{work.name}, {p.name}, seed {seed}: {told(seen)}", flush=True)
    return policy


def fitted(reasons: Sequence[Plant], given: argparse.Namespace, base: Path, work: Path) -> list[Any]:
    """The rule of each reference."""
    seen: list[list[list[float]]] = [[] for _ in REFERENCES]
    labels: list[str] = []
    for p in reasons:
        policy = planted(p, FIT_SEED, given, base, work)
        found = looked_at(policy, rolled(policy, p, "validation", given.fit))
        labels += [p.name] * len(found)
        for own, column in zip(seen, zip(*found, strict=True), strict=True):
            own.extend(column)
    return [fit(one, labels) for one in seen]


def measure(reasons: Sequence[Plant], given: argparse.Namespace, base: Path, work: Path) -> list[Named]:
    """Plant, look, explain; all that is known of each trajectory."""
    deep = work / "deep"
    if given.deep and not (deep / "base" / "config.json").is_file():
        save_policy(deepened(Policy.load(base), DEEPER), deep / "base")
    found, rules = list[Named](), fitted(reasons, given, base, work)
    for first, folder, start, seeds in ((0, work, base, given.seeds), (given.seeds, deep, deep / "base", given.deep)):
        for p, seed in product(reasons, range(seeds)):
            policy = planted(p, seed, given, start, folder)
            asked = rolled(policy, p, "test", given.n, TEST_SEED)
            name, begin = f"{p.name.replace(' ', '-')}-{seed}.jsonl", time.perf_counter()
            ours = explained(policy, asked, folder / "verdicts" / name)
            alone = explained(policy, asked[: given.alone], folder / "verdicts" / f"{ALONE}-{name}", True)
            print(f"{p.name}: {dict(Counter(one['kind'] for one in ours))}", flush=True)
            print(f"{(time.perf_counter() - begin) / (len(ours) + len(alone)):.2f} s an explanation", flush=True)
            columns = zip(*looked_at(policy, asked), strict=True) if start == base else ()
            theirs = zip(*(named(rule, own) for rule, own in zip(rules, columns, strict=False)), strict=True)
            for t, own, other, bare in zip_longest(asked, ours, theirs, alone):
                where = p.name, first + seed, t.sample_id, truth_of(p, t)
                found.append(Named(*where, own["kind"], own["confidence"], other or (), bare and bare["kind"]))
    return found


@dataclass(frozen=True)
class Named:
    """What was named of a trajectory: by ours, with its confidence, by the references, and by ours alone."""

    reason: str
    run: int
    sample: str
    true: tuple[str, ...]
    kind: str
    confidence: float
    theirs: tuple[str, ...]  # none of a policy of the other size
    alone: str | None

    @property
    def right(self) -> bool:
        """Whether ours is true."""
        return self.kind in self.true


def cost(reasons: Sequence[Plant], given: argparse.Namespace, base: Path) -> str:
    """What a run takes here: a step of training and an explanation are timed once, on the first reason."""
    policy, p = Policy.load(base), reasons[0]
    trajectories = rolled(policy, p, "validation", 8)
    begin = time.perf_counter()
    gather(policy, trajectories[0], trajectories[1:], EVIDENCE_ALONE, {})
    each = time.perf_counter() - begin
    optimiser = torch.optim.AdamW(policy.text_parameters())
    pairs = [next(lessons(p, 0, BATCH)) for _ in range(2)]
    begin = time.perf_counter()
    for batch in pairs:
        step(policy, optimiser, batch, rate=0.0)
    one, asked = (time.perf_counter() - begin) / 2, (given.seeds + given.deep) * len(reasons)
    policies = asked + len(reasons)
    explaining = asked * (given.n + given.alone) * each / 60
    return (
        f"{each:.1f} s an explanation, {one:.2f} s a step: {explaining:.0f} minutes of explaining, and "
        f"{policies * given.steps * one / 60:.0f} minutes for each round of training that all {policies} policies need "
        "(one or two are usual)"
    )


def scored(found: Sequence[Named], reasons: Sequence[Plant]) -> list[dict[str, Any]]:
    """Rows for explain.json; the tables are printed. Alone no region is known, so that no crop can be said to miss it:
    there the kinds are asked for that the plant has."""
    by = {p.name: [one for one in found if one.reason == p.name] for p in reasons}
    print(f"\nours\n{table({reason: Counter(one.kind for one in own) for reason, own in by.items()})}")
    for k, name in enumerate(REFERENCES):
        counts = {reason: Counter(one.theirs[k] for one in own if one.theirs) for reason, own in by.items()}
        print(f"\n{name}\n{table(counts)}")

    def share(
        measure: str, values: Sequence[bool], some: Sequence[Named], reference: float, **more: Any
    ) -> dict[str, Any]:
        within = seeds_interval(
            [(o.run, f"{o.reason} {o.sample}", float(v)) for o, v in zip(some, values, strict=True)]
        )
        n = f"{len(some)} trajectories of {len({(o.reason, o.run) for o in some})} policies"
        return row(measure, within, reference, n, **more)

    def theirs(some: Sequence[Named]) -> dict[str, float]:
        seen = [one for one in some if one.theirs]
        return {name: fmean(one.theirs[k] == one.reason for one in seen) for k, name in enumerate(REFERENCES)}

    rows = [
        share(f"planted reason named, against {name}", [one.right for one in found], found, value)
        for name, value in theirs(found).items()
    ]
    for reason, own in by.items():
        others = {name: rounded(value) for name, value in theirs(own).items()}
        more = {"named": dict(Counter(one.kind for one in own)), "missed": sum(one.true == (ELSEWHERE,) for one in own)}
        more |= {"references": others, "true": sorted({kind for one in own for kind in one.true})}
        rows.append(
            share(f"planted reason named: {reason}", [o.right for o in own], own, others[REFERENCES[0]], **more)
        )
    stated = []  # in each bin: how many, their mean confidence, the share of them that is right
    for low, high in pairwise(BINS):
        some = [(o.confidence, float(o.right)) for o in found if o.kind != UNSURE and low <= o.confidence < high]
        stated += [[len(some), *(rounded(fmean(values)) for values in zip(*some, strict=True))]] if some else []
    false = [one.kind != UNSURE and not one.right for one in found]
    rows.append(share("another kind named for sure", false, found, 0.0, confidence=stated))
    some = [one for one in found if one.alone is not None]
    if some:
        every = {p.name: p for p in reasons}
        hits = [one.alone in asked_of(every[one.reason], one.true) for one in some]
        tally = {reason: dict(Counter(one.alone for one in own if one.alone)) for reason, own in by.items()}
        rows.append(share("planted reason named alone", hits, some, theirs(some)[REFERENCES[0]], named=tally))
    return rows


def asked_of(p: Plant, true: tuple[str, ...]) -> tuple[str, ...]:
    """The kinds that are true where no region is known, by which a reader could be seen to miss."""
    return true if true != (ELSEWHERE,) else (HONEST,) if p.true else (p.name,)


def main() -> int:
    """Measure, print, and write what was measured over what the file held."""
    parser = argparse.ArgumentParser(description="Score explainers on policies whose reason is known.")
    parser.add_argument("--n", type=int, default=20, help="trajectories of each policy (default: 20)")
    parser.add_argument("--fit", type=int, default=40, help="of each policy that the references are fitted on (40)")
    parser.add_argument("--alone", type=int, default=4, help="of each policy that are asked about alone (default: 4)")
    parser.add_argument("--steps", type=int, default=100, help="training steps of a round (default: 100)")
    parser.add_argument("--rounds", type=int, default=8, help="rounds at most until a reason has taken (default: 8)")
    parser.add_argument("--seeds", type=int, default=3, help="policies of each reason (default: 3)")
    parser.add_argument("--deep", type=int, default=3, help="of each reason, two layers deeper (default: 3)")
    parser.add_argument("--only", nargs="+", choices=list(EVERY), metavar="REASON", help=f"of {', '.join(EVERY)}")
    parser.add_argument("--untaken", action="store_true", help="go on where a reason did not take, to try the bench")
    parser.add_argument("--base", default=str(assets_dir() / "tiny" / "rgrpo"), help="checkpoint to plant in")
    parser.add_argument("--work", default="runs/planted", help="where planted policies are kept")
    parser.add_argument("--out", default=str(assets_dir() / "results" / "explain.json"), help="file to write")
    parser.add_argument("--cost", action="store_true", help="only say what a run will take here")
    given = parser.parse_args()
    work, reasons = Path(given.work), [EVERY[reason] for reason in given.only or EVERY]
    try:
        print(cost(reasons, given, Path(given.base)), flush=True)
        if given.cost:
            return 0
        work.mkdir(parents=True, exist_ok=True)
        rows = scored(measure(reasons, given, Path(given.base), work), reasons)
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
