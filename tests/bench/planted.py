"""Do explainers tell the reason? Policies whose reason was planted, over seeds, sizes and worlds: writes explain.json.

    python tests/bench/planted.py                            # hours on two cores; policies are kept in runs/planted
    python tests/bench/planted.py --seeds 1 --deep 0 --worlds 0                # a fifth of it
    python tests/bench/planted.py --deep 0 --worlds 0 --n 4 --fit 4 --steps 4 --rounds 1 --untaken --out /tmp/one.json

Fourteen reasons (`recipes.reasons`), each planted in the shipped policy of badges, and in the same two layers deeper
(`models.tiny.deepened`); those that make sense in documents, charts and trails, in the shipped policy of four worlds.
Thresholds of the verdict were set on validation samples of policies of badges of other seeds, of all reasons but later
look only and round, that came after.

Ours is the explanation of `r3lab.explain` as it ships, which is fitted on nothing. A reason is *named* where the kind
is a true one (`recipes.reasons.truth_of`), "did not need this crop" among them where a policy that reads has read what
it says to a blank photograph too; it is *told* where it is named, or where no kind is sure and the profile in
words says what it hangs on and says that of nothing else (`described_by`). Another kind is wrong; what was named
instead is in the row (`named`). The references have attention and attributions alone (`attention_only`), every head of
every layer, or the policy alone, asked of changed pictures, each with a random forest on its numbers, fitted on planted
policies of another seed; of them the planted reason is asked, in policies of badges of the shipped size. What is found
of each trajectory is kept as it comes (`verdicts`, `seen`): killed, the same command goes on.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import chain, pairwise, product, zip_longest
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from attention_only import EXPLAINERS, black_box, fit, named, numbers
from results_file import EXPLAIN, keep, rounded
from tqdm import tqdm

from r3lab.core import records
from r3lab.core.errors import R3labError
from r3lab.core.files import assets_dir
from r3lab.core.stats import Interval, seeds_interval
from r3lab.explain import verdict as kinds
from r3lab.explain.donors import shipped_lenders
from r3lab.explain.trials import Settings, gather
from r3lab.explain.verdict import ELSEWHERE, HONEST, IDLE, KINDS, UNSURE, Evidence, profile, verdict_of
from r3lab.models.policy import Policy, save_policy
from r3lab.models.tiny import deepened
from r3lab.recipes.planted import BATCH, habits_of, lessons, others_of, plant, rolled, step, told
from r3lab.recipes.reasons import FURTHER, PLANTS, UNSEEN, WORLDWIDE, Plant, truth_of
from r3lab.trajectory import Trajectory

TARGET = 0.95
FIT_SEED = 100  # of the policies that the references are fitted on
FIRST_SEED = 3  # of the policies that are asked: with those of 0 to 2 of the shipped size thresholds were decided
DEEPER = 2  # layers that the second size has more
EVERY = PLANTS | FURTHER | UNSEEN | WORLDWIDE
EVIDENCE_ALONE = Settings(value=False, value_map=False)  # all that the verdict rests on
BLOCK = 25  # trajectories that lend to one another
ALONE, DEEP = "alone", "two layers deeper"
REFERENCES = (*EXPLAINERS, "the policy alone")
TEST_SEED = 20_261_132  # of the samples that are asked: nothing else draws the test split with it
ALONE_SEED = 20_261_133  # the same, of those that are asked about alone
BINS = (0.8, 0.9, 0.95, 0.98, 1.0)  # of stated confidence


def kept(path: Path, trajectories: Sequence[Trajectory], make: Callable[[int], Any], bar: str) -> list[Any]:
    """What is known of each trajectory, by number; what the file holds is not done again."""
    found = [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        for number in tqdm(range(len(found), len(trajectories)), desc=bar, mininterval=1):
            line = json.dumps([trajectories[number].sample_id, make(number)])
            found.append(json.loads(line))
            file.write(f"{line}\n")
            file.flush()
    assert [name for name, _ in found[: len(trajectories)]] == [t.sample_id for t in trajectories], f"{path}: of others"
    return [value for _, value in found[: len(trajectories)]]


def explained(
    policy: Policy, trajectories: Sequence[Trajectory], count: int, path: Path, alone: bool = False
) -> list[Evidence]:
    """The evidence for the explanation of the first `count` trajectories.

    Those of the same block of `BLOCK` lend. `alone`: nothing but what ships lends, and no truth is known, as of `ask`.
    """

    def gathered(number: int) -> dict[str, Any]:
        first = number - number % BLOCK
        lent = shipped_lenders() if alone else others_of(trajectories[first : first + BLOCK], number - first)
        one = replace(trajectories[number], truth={}) if alone else trajectories[number]
        return asdict(gather(policy, one, lent, EVIDENCE_ALONE, {})[0])

    read = records.reader(Evidence)
    return [read(one, str(path)) for one in kept(path, trajectories[:count], gathered, "explain")]


def looked_at(policy: Policy, trajectories: Sequence[Trajectory], path: Path) -> list[list[list[float]]]:
    """What each of the references sees of each trajectory."""

    def seen(number: int) -> list[list[float]]:
        return [*numbers(policy, trajectories[number]), black_box(policy, trajectories[number])]

    return kept(path, trajectories, seen, "seen")


OVERVIEW = ("what is asked about", "the target", "the overview", "the rest")  # how its rows of a profile begin
CROP, OWN, ASKED, SHIFTED = "another crop", "what was written", "another question", "the picture shifted"
FIRST, SECOND, OUTSIDE = f"{CROP} at look 1", f"{CROP} at look 2", "the rest of the overview"
INSIDE = ("what is asked about", "the overview smoothed")
HANGS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {  # on one of these the answer hangs, and on none of those
    kinds.HONEST: ((CROP,), (OWN, *OVERVIEW)),
    kinds.ELSEWHERE: ((CROP,), (OWN, *OVERVIEW)),
    kinds.FIRST: ((FIRST,), (SECOND, OWN, *OVERVIEW)),
    kinds.LATER: ((SECOND,), (FIRST, OWN, *OVERVIEW)),
    kinds.SHORTCUT: ((OUTSIDE,), (CROP, OWN, "what is asked about", "the target")),
    kinds.SHOW: (INSIDE, (CROP, OWN, OUTSIDE)),
    kinds.SIZE: (("the target",), (CROP, OWN, OUTSIDE)),
    kinds.PLACE: ((SHIFTED,), (CROP, OWN, *OVERVIEW)),
    kinds.WORDS: ((ASKED,), (CROP, OWN, SHIFTED, *OVERVIEW)),
    kinds.OWN: ((OWN,), (SHIFTED, *OVERVIEW)),
    kinds.PRIOR: ((), (CROP, OWN, ASKED, SHIFTED, *OVERVIEW)),
}


def described_by(e: Evidence, kind: str) -> bool:
    """Whether a profile in words says what an answer hangs on that has this reason, and says it of nothing else; of an
    answer that hangs on nothing, that it stays with another crop, question and picture."""
    rows = [one for one in profile(e) if one.of == "answer"]
    says = [one.change for one in rows if one.holds]
    some, never = HANGS.get(kind, (("no row",), ()))
    stays = {one.change for one in rows if one.holds is False}
    known = any(change.startswith(some) for change in says) if some else {CROP, ASKED, SHIFTED} <= stays
    return known and not any(change.startswith(never) for change in says)


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
        asked = rolled(policy, p, "validation", given.fit)
        found = looked_at(policy, asked, work / "seen" / f"{p.name.replace(' ', '-')}-{FIT_SEED}.jsonl")
        labels += [p.name] * len(found)
        for own, column in zip(seen, zip(*found, strict=True), strict=True):
            own.extend(column)
    return [fit(one, labels) for one in seen]


def measure(given: argparse.Namespace, base: Path, work: Path) -> list[Named]:
    """Plant, look, explain; all that is known of each trajectory."""
    worlds = Path(given.base_worlds)
    deep, some = work / "deep", [EVERY[name] for name in given.only or EVERY]
    badges, others = [p for p in some if p.world == "badges"], [p for p in some if p.world != "badges"]
    if given.deep and not (deep / "base" / "config.json").is_file():
        save_policy(deepened(Policy.load(base), DEEPER), deep / "base")
    rules = fitted(badges, given, base, work)
    plan = chain(
        product(badges, range(FIRST_SEED, FIRST_SEED + given.seeds), [(0, work, base)]),
        product(badges, range(given.deep), [(given.seeds + FIRST_SEED, deep, deep / "base")]),
        product(others, range(FIRST_SEED, FIRST_SEED + given.worlds), [(0, work / "worlds", worlds)]),
    )
    found = list[Named]()
    for p, seed, (first, folder, start) in plan:
        policy = planted(p, seed, given, start, folder)
        lending = rolled(policy, p, "test", max(given.n, BLOCK), TEST_SEED)
        asked, habits = lending[: given.n], habits_of(policy, lending[: given.n])
        name, begin = f"{p.name.replace(' ', '-')}-{seed}.jsonl", time.perf_counter()
        ours = explained(policy, lending, given.n, folder / "verdicts" / name)
        little = [] if p in others else rolled(policy, p, "test", given.alone, ALONE_SEED)
        bare = explained(policy, little, given.alone, folder / "verdicts" / f"{ALONE}-{name}", True)
        true = [truth_of(p, t, habit) for t, habit in zip(little, habits_of(policy, little), strict=True)]
        print(f"{(time.perf_counter() - begin) / (len(ours) + len(bare)):.2f} s an explanation", flush=True)
        columns = zip(*looked_at(policy, asked, folder / "seen" / name), strict=True) if start == base else ()
        theirs = list(zip(*(named(rule, own) for rule, own in zip(rules, columns, strict=False)), strict=True))
        for t, habit, own, other, *more in zip_longest(asked, habits, ours, theirs, true, bare):
            size = DEEP if folder == deep else "in other worlds" if p in others else "as it ships"
            found.append(Named(p, first + seed, size, t.sample_id, truth_of(p, t, habit), own, other or (), *more))
        print(f"{p.name}, {size}: {dict(Counter(one.kind for one in found[-len(asked) :]))}", flush=True)
    return found


@dataclass(frozen=True)
class Named:
    """What is known of a trajectory: the evidence, and what the references name; and of another one that is asked about
    alone, what is true of it and the evidence."""

    plant: Plant
    run: int
    size: str
    sample: str
    true: tuple[str, ...]
    evidence: Evidence
    theirs: tuple[str, ...]  # none of a policy of another size, or in another world
    alone_true: tuple[str, ...] | None
    alone: Evidence | None

    @property
    def reason(self) -> str:
        """The reason, or the world where it is another than that of badges."""
        return self.plant.name if self.plant.world == "badges" else f"in {self.plant.world}"

    @property
    def kind(self) -> str:
        """What ours names."""
        return verdict_of(self.evidence).kind

    @property
    def right(self) -> bool:
        """Whether ours is true."""
        return self.kind in self.true

    @property
    def told(self) -> bool:
        """Whether ours is true, or says in words what is."""
        return self.right or (self.kind == UNSURE and any(described_by(self.evidence, kind) for kind in self.true))


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
    one, badges = (time.perf_counter() - begin) / 2, sum(p.world == "badges" for p in reasons)
    asked = (given.seeds + given.deep) * badges + given.worlds * (len(reasons) - badges)
    policies, explaining = asked + badges, asked * (given.n + given.alone) * each / 60
    return (
        f"{each:.1f} s an explanation, {one:.2f} s a step: {explaining:.0f} minutes of explaining, and "
        f"{policies * given.steps * one / 60:.0f} minutes for each round of training that all {policies} policies need "
        "(one or two are usual)"
    )


def scored(found: Sequence[Named]) -> list[dict[str, Any]]:
    """Rows for explain.json; the tables are printed."""
    by: dict[str, list[Named]] = {}
    for one in found:
        by.setdefault(one.reason, []).append(one)
    planted = {p.name: [one for one in found if one.plant == p] for p in dict.fromkeys(one.plant for one in found)}
    print(f"\nours\n{table({reason: Counter(one.kind for one in own) for reason, own in planted.items()})}")
    for k, name in enumerate(REFERENCES):
        seen = {reason: Counter(one.theirs[k] for one in own if one.theirs) for reason, own in by.items()}
        print(f"\n{name}\n{table({reason: counts for reason, counts in seen.items() if counts})}")

    def share(
        measure: str, values: Sequence[bool], some: Sequence[Named], reference: float = 0.0, **more: Any
    ) -> dict[str, Any]:
        within = seeds_interval(
            [(o.run, f"{o.size} {o.plant.name} {o.sample}", float(v)) for o, v in zip(some, values, strict=True)]
        )
        policies = {(o.plant.name, o.run) for o in some}
        return row(measure, within, reference, f"{len(some)} trajectories of {len(policies)} policies", **more)

    def both(of: str, some: Sequence[Named], reference: float = 0.0, **more: Any) -> dict[str, Any]:
        told = rounded(fmean(one.told for one in some))
        return share(f"planted reason named{of}", [one.right for one in some], some, reference, told=told, **more)

    def theirs(some: Sequence[Named]) -> dict[str, float]:
        seen = [one for one in some if one.theirs]
        return {name: fmean(o.theirs[k] == o.reason for o in seen) for k, name in enumerate(REFERENCES) if seen}

    beside = [one for one in found if one.theirs]
    rows = [both(f", against {name}", beside, value) for name, value in theirs(beside).items()]
    rows.append(share("planted reason named or described", [one.told for one in found], found))
    for size in dict.fromkeys(one.size for one in found):
        some = [one for one in found if one.size == size]
        rows.append(both(f", {size}", some, **kinds_of(some)))
    for reason, own in by.items():
        own = [one for one in own if one.size != DEEP]  # the references were asked of these alone
        others = {name: rounded(value) for name, value in theirs(own).items()}
        rows.append(both(f": {reason}", own, others.get(REFERENCES[0], 0.0), references=others, **kinds_of(own)))
    stated = []  # in each bin: how many, their mean confidence, the share of them that is right
    verdicts = [(verdict_of(one.evidence), one.right) for one in found]
    for low, high in pairwise(BINS):
        sure = [
            (v.confidence, float(right)) for v, right in verdicts if v.kind != UNSURE and low <= v.confidence < high
        ]
        stated += [[len(sure), *(rounded(fmean(values)) for values in zip(*sure, strict=True))]] if sure else []
    false = [one.kind != UNSURE and not one.right for one in found]
    habits = sum(one.kind == IDLE and one.right for one in found)
    rows.append(share("another kind named for sure", false, found, confidence=stated, habits=habits))
    alone = [(one, verdict_of(one.alone).kind) for one in found if one.alone is not None]
    if alone:
        hits = [kind in asked_of(one.plant, one.alone_true or ()) for one, kind in alone]
        some = [one for one, _ in alone]
        tally = {reason: dict(Counter(kind for one, kind in alone if one.reason == reason)) for reason in by}
        rows.append(share("planted reason named alone", hits, some, theirs(some)[REFERENCES[0]], named=tally))
    return rows


def kinds_of(some: Sequence[Named]) -> dict[str, Any]:
    """What was named, and what is true of any of them."""
    true = sorted({kind for one in some for kind in one.true})
    return {"named": dict(Counter(one.kind for one in some)), "true": true}


def asked_of(p: Plant, true: tuple[str, ...]) -> tuple[str, ...]:
    """The kinds that are true where no region is known, by which a reader could be seen to miss."""
    instead = HONEST if p.true else p.name
    return tuple(instead if kind == ELSEWHERE else kind for kind in true)


def main() -> int:
    """Measure, print, and write what was measured over what the file held."""
    parser = argparse.ArgumentParser(description="Score explainers on policies whose reason is known.")
    parser.add_argument("--n", type=int, default=10, help="trajectories of each policy (default: 10)")
    parser.add_argument("--fit", type=int, default=40, help="of each policy that the references are fitted on (40)")
    parser.add_argument("--alone", type=int, default=2, help="of each policy that are asked about alone (default: 2)")
    parser.add_argument("--steps", type=int, default=100, help="training steps of a round (default: 100)")
    parser.add_argument("--rounds", type=int, default=8, help="rounds at most until a reason has taken (default: 8)")
    parser.add_argument("--seeds", type=int, default=3, help="policies of each reason (default: 3)")
    parser.add_argument("--deep", type=int, default=1, help="of each reason, two layers deeper (default: 1)")
    parser.add_argument("--worlds", type=int, default=1, help="of each reason in another world (default: 1)")
    parser.add_argument("--only", nargs="+", choices=list(EVERY), metavar="REASON", help=f"of {', '.join(EVERY)}")
    parser.add_argument("--untaken", action="store_true", help="go on where a reason did not take, to try the bench")
    parser.add_argument("--base", default=str(assets_dir() / "tiny" / "rgrpo"), help="checkpoint to plant in")
    shared = str(assets_dir() / "worlds" / "rgrpo")
    parser.add_argument("--base-worlds", default=shared, help="checkpoint to plant in, in other worlds than badges")
    parser.add_argument("--work", default="runs/planted", help="where planted policies are kept")
    parser.add_argument("--out", default=str(assets_dir() / "results" / "explain.json"), help="file to write")
    parser.add_argument("--cost", action="store_true", help="only say what a run will take here")
    given = parser.parse_args()
    work, base = Path(given.work), Path(given.base)
    try:
        print(cost([EVERY[reason] for reason in given.only or EVERY], given, base), flush=True)
        if given.cost:
            return 0
        work.mkdir(parents=True, exist_ok=True)
        rows = scored(measure(given, base, work))
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
