"""Ablations: what leaving a part of the method out does, over seeds, and where a new run falls.

Variants (the whole method, and what is left of it without a part), a point (one variant and seed: taught, pushed,
measured; what is finished is kept in the work folder), effects (means with intervals, differences seed by seed),
simulated grounding (the paper's figure 4), and a variant again from the cold start that ships.

    row = point(get_variant("without R-GRPO"), seed=0, budget=Budget(), base=Path("runs/tiny/base"), work=work)
    for effect in effects(result["rows"]):
        print(effect.variant, effect.mean.value, effect.difference)     # against the whole method, same seed

A run differs from another by its seed: of the lessons, of the questions, of sampling. Few seeds want Student's t
rather than a bootstrap (which is too narrow for five). Simplified: values are taken as normal, no correction for many
comparisons; what begins elsewhere than at the cold start of the whole method (from the base, in another arm) cannot be
run again from the one that ships.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from tqdm import tqdm

from ..core.arms import get_arm
from ..core.errors import R3labError, nearest, shown
from ..core.files import assets_dir
from ..core.protocol import same_answer
from ..core.stats import Effect, expected, t_interval
from ..explain.interventions import RANDOM, TRUE, alternatives_of, replay
from ..models.policy import Features, Policy
from ..rollout.loop import rollout
from ..show.effects import draw_effects
from ..train.log import read_log
from ..train.rgrpo import train_rgrpo
from ..train.settings import RgrpoSettings
from ..train.sft import SftSettings
from ..vlir.sample import of_split
from ..vlir.worlds import get_world, world_batches
from . import policies, stages
from .settings import AblationSettings, Budget, Recipe

# -- variants ------------------------------------------------------------------------------------------------------

FULL = "full"


@dataclass(frozen=True)
class Variant:
    """One line of the table.

    Attributes
    ----------
    name, about : of the line
    arm : in which it is taught and rolled out
    cold : whether it begins with the VLIR cold start; else R-GRPO makes as many updates more
    push : whether R-GRPO follows; else the cold start makes as many updates more
    changes : settings of R-GRPO that differ
    """

    name: str
    about: str
    arm: str = "interleaved"
    cold: bool = True
    push: bool = True
    changes: Mapping[str, Any] = field(default_factory=dict)


def _reward(part: str, about: str) -> Variant:
    return Variant(f"without {part} reward", about, changes={"reward": f"grounded without {part}"})


def _group(size: int, rollouts: int = 96) -> Variant:
    changes = {"group": size, "prompts": rollouts // size}
    return Variant(f"group of {size}", f"{size} rollouts of each of {rollouts // size} questions", changes=changes)


_TABLE = (
    Variant(FULL, "VLIR cold start, then R-GRPO, crops woven in"),
    Variant("without interleaving", "boxes are written, and bring nothing", arm="boxes-as-text"),
    Variant("full image again", "a box brings the overview again, not a crop", arm="full-image-again"),
    Variant("without VLIR cold start", "R-GRPO from the base", cold=False),
    Variant("without R-GRPO", "the cold start goes on instead", push=False),
    _reward("accuracy", "form, region and look cost alone"),
    _reward("format", "nothing for a well-formed answer"),
    _reward("region", "nothing for where it looks"),
    _reward("look cost", "needless looks are free"),
    _group(4),
    _group(16),
    Variant("vision tower trained", "R-GRPO changes all weights", changes={"freeze_vision": False}),
)
VARIANTS: dict[str, Variant] = {variant.name: variant for variant in _TABLE}


def get_variant(name: str) -> Variant:
    """A variant by name.

    Raises
    ------
    R3labError
        If there is none; the nearest is named.
    """
    if name not in VARIANTS:
        raise R3labError(f"unknown variant {name!r}; known: {', '.join(VARIANTS)}.{nearest(name, VARIANTS)}")
    return VARIANTS[name]


# -- one variant and seed --------------------------------------------------------------------------------------------

WORLD = "badges"
BATCH = 100  # samples rolled out together for the grounding curve


def settings_of(variant: Variant, seed: int, budget: Budget) -> RgrpoSettings:
    """R-GRPO of a variant. Where there is no cold start its updates are R-GRPO's."""
    settings = replace(RgrpoSettings(), steps=budget.steps, arm=variant.arm, seed=seed, **dict(variant.changes))
    if variant.cold:
        return settings
    return replace(settings, steps=budget.steps + budget.lessons // settings.minibatches)


def updates_of(variant: Variant, budget: Budget) -> tuple[int, int]:
    """Updates of the cold start and of R-GRPO."""
    minibatches = RgrpoSettings().minibatches
    pushed = settings_of(variant, 0, budget).steps * minibatches if variant.push else 0
    taught = (budget.lessons if variant.cold else 0) + (0 if variant.push else budget.steps * minibatches)
    return taught, pushed


def cold_started(variant: Variant, seed: int, budget: Budget, base: Path, work: Path) -> Path:
    """The folder of the base after the variant's cold start; variants of an arm share that of a seed."""
    if not variant.cold:
        return base
    settings = SftSettings(steps=updates_of(variant, budget)[0], seed=seed, arm=variant.arm)
    folder = work / f"cold-start-{variant.arm}-{settings.steps}-{seed}"
    return policies.cold_started(Recipe(), base, folder, settings, half=False)


def measured(policy: Policy, variant: Variant, samples: int) -> dict[str, Any]:
    """Held-out summary, greedy, in the variant's arm."""
    return stages.measured(policy, stages.held_out(WORLD, samples), arm=get_arm(variant.arm))


def named(variant: str, seed: int) -> str:
    """What a point's files are called."""
    return f"{variant.replace(' ', '-')}-{seed}"


def point(variant: Variant, seed: int, budget: Budget, base: Path, work: Path) -> dict[str, Any]:
    """A row of ablations.json: what was trained, for how long, and the held-out summary.

    Raises
    ------
    R3labError
        If the base is no checkpoint, or the work folder holds this point of another budget.
    """
    target = work / named(variant.name, seed)

    def made() -> dict[str, Any]:
        folder, spent = cold_started(variant, seed, budget, base, work), 0.0
        if variant.push:
            folder = stages.pushed(folder, target, settings_of(variant, seed, budget), WORLD, half=False)
            spent = stages.seconds_of(target)
        updates = dict(zip(("cold start", "R-GRPO"), updates_of(variant, budget), strict=True))
        about = {"variant": variant.name, "world": WORLD, "arm": variant.arm, "seed": seed, "budget": asdict(budget)}
        about |= {"updates": updates, "seconds_rgrpo": spent}
        return {**about, **measured(Policy.load(folder), variant, budget.test)}

    row = stages.kept(target.with_suffix(".json"), made)
    if row["budget"] != asdict(budget):
        raise R3labError(f"{target}.json was made with another budget, {row['budget']}; give another --work")
    return row


# -- effects -------------------------------------------------------------------------------------------------------


def values_of(rows: Sequence[Mapping[str, Any]], variant: str, key: str = "exact") -> dict[int, float]:
    """A measure of a variant by seed; seeds in which there was nothing to average are left out.

    Raises
    ------
    R3labError
        If the rows hold no such variant, or no such measure.
    """
    own = [row for row in rows if row["variant"] == variant]
    if not own:
        raise R3labError(f"no rows of {shown(variant)}.{nearest(variant, [r['variant'] for r in rows])}")
    if not any(key in row for row in own):
        raise R3labError(f"rows of {shown(variant)} have no {shown(key)}.{nearest(key, own[0])}")
    return {int(row["seed"]): float(row[key]) for row in own if row.get(key) is not None}


def effects(rows: Sequence[Mapping[str, Any]], key: str = "exact") -> list[Effect]:
    """All variants in the order of the rows, each against the whole method.

    Parameters
    ----------
    rows : of ablations.json
    key : a measure of the held-out summary

    Raises
    ------
    R3labError
        If there are no rows of the whole method, or a variant shares fewer than two seeds with it.
    """
    whole, found = values_of(rows, FULL, key), []
    for name in dict.fromkeys(row["variant"] for row in rows):
        values = values_of(rows, name, key)
        apart = [values[seed] - whole[seed] for seed in sorted(values.keys() & whole.keys())]
        about = VARIANTS[name].about if name in VARIANTS else ""
        difference = None if name == FULL else t_interval(apart)
        found.append(Effect(name, about, values, t_interval(list(values.values())), difference))
    return found


# -- simulated grounding: how right answers depend on how often the look is at the right place -----------------------

SHARES = (0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
DRAWS = 200  # of which samples are grounded, for each share


def outcomes(policy: Policy, seed: int, samples: int) -> np.ndarray:
    """Whether the answer is right, (samples, 2) bool: with the crop of the true region, with one of its size from
    elsewhere; of held-out samples that need a look, and in which the policy takes one."""
    world, found, index = get_world(WORLD), list[tuple[bool, bool]](), 0
    bar = tqdm(total=samples, desc="grounding", mininterval=1)
    while len(found) < samples:
        drawn = of_split((world.sample("test", index + k) for k in range(BATCH)), "test")
        asked = [s for s in drawn if s.needs_look]
        index += BATCH
        store: dict[str, Features] = {}
        for t in rollout(policy, asked, temperature=0.0, max_new_tokens=96, features=store):
            number = next((n for n, look in enumerate(t.looks) if look.crop is not None), None)
            if number is None or t.answer is None or len(found) == samples:
                continue
            every = alternatives_of(t, number, seed * 10_007 + index + len(found))
            wanted = [next(a for a in every if a.name == name) for name in (TRUE, RANDOM)]
            told = [o.answer for o in replay(policy, t, number, wanted, store)]
            found.append((same_answer(told[0], t.truth["answer"]), same_answer(told[1], t.truth["answer"])))
            bar.update()
    bar.close()
    return np.array(found)


def curve(policy: Policy, seed: int, samples: int) -> list[dict[str, Any]]:
    """A row a share, 0.4 to 1.0: mean accuracy over draws of which samples are grounded, each with that probability."""
    right, rng = outcomes(policy, seed, samples), np.random.default_rng([seed, 9])
    rows = []
    for share in SHARES:
        grounded = rng.random((DRAWS, len(right))) < share
        exact = np.where(grounded, right[:, 0], right[:, 1]).mean()
        rows.append({"grounding": share, "seed": seed, "n": len(right), "exact": round(float(exact), 4)})
    return rows


# -- a variant again, from the cold start that ships ---------------------------------------------------------------

KEYS = ("exact", "iou", "look_rate_needed", "look_rate_unneeded")  # of a curve
Curve = Mapping[str, Sequence[float | None]]  # a value a step


def repeatable(variant: Variant) -> bool:
    """Whether it begins with the cold start of the whole method, and goes on with R-GRPO."""
    return variant.cold and variant.push and variant.arm == VARIANTS[FULL].arm


def curve_of(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[float | None]]:
    """The measures `KEYS` of a training log, in the order of its steps."""
    return {key: [row.get(key) for row in rows] for key in KEYS}


def rows_of(curve: Curve, steps: int | None = None) -> list[dict[str, Any]]:
    """A curve as the rows of a training log, which `show.curves` draws; its first steps or all."""
    rows = zip(*(curve[key] for key in KEYS), strict=True)
    return [{"step": i, **dict(zip(KEYS, row, strict=True))} for i, row in enumerate(rows, start=1)][:steps]


def again(
    name: str,
    seed: int,
    steps: int,
    cold_start: str | Path,
    progress: bool = True,
) -> tuple[Policy, dict[str, list[float | None]]]:
    """R-GRPO of a variant, as the shipped runs were made, for its first steps or all of them.

    Parameters
    ----------
    name : of a variant that begins with the cold start of the whole method
    seed : of questions and sampling
    steps : of R-GRPO
    cold_start : checkpoint to begin with

    Returns
    -------
    the trained policy, and its curve

    Raises
    ------
    R3labError
        If the variant is unknown, or begins elsewhere.
    """
    variant = get_variant(name)
    if not repeatable(variant):
        known = ", ".join(v.name for v in VARIANTS.values() if repeatable(v))
        raise R3labError(f"{shown(name)} does not begin with the cold start of the whole method; these do: {known}")
    policy, settings = Policy.load(cold_start), settings_of(variant, seed, Budget(steps=steps))
    rows: list[dict[str, Any]] = []
    train_rgrpo(policy, world_batches(WORLD, settings.prompts, seed), settings, rows.append, progress)
    return policy, curve_of(rows)


def level(curve: Curve, key: str, first: int, last: int) -> float:
    """Mean of a measure over steps `first` to `last`, counted from 1; steps without a value are passed over.

    Raises
    ------
    R3labError
        If the curve has no such measure, or no value there.
    """
    if key not in curve:
        raise R3labError(f"a curve has no {shown(key)}.{nearest(key, KEYS)}")
    found = [value for value in curve[key][first - 1 : last] if value is not None]
    if not found:
        raise R3labError(f"no {key} in steps {first} to {last}; the curve has {len(curve[key])} steps")
    return fmean(found)


def band(curves: Sequence[Mapping[str, Any]], variant: str, key: str, first: int, last: int) -> tuple[float, float]:
    """Where one more run of a variant is expected over these steps (`effects.expected`), from the shipped curves.

    Raises
    ------
    R3labError
        If fewer than two curves are of this variant.
    """
    levels = [level(curve, key, first, last) for curve in curves if curve["variant"] == variant]
    if len(levels) < 2:
        raise R3labError(f"{len(levels)} curves of {shown(variant)}; a band wants two or more")
    return expected(levels)


# -- the command ----------------------------------------------------------------------------------------------------

COMMAND = "python -m r3lab train ablations"


def make_ablations(s: AblationSettings) -> int:
    """The paper's ablations in miniature."""
    base, work = Path(s.base), Path(s.work)
    if not (base / "config.json").is_file():
        raise R3labError(
            f"no base at {base}; `python -m r3lab train tiny` makes one in hours, as runs/tiny/grounding-4"
        )
    variants = [get_variant(name.strip()) for name in s.only.split(",")] if s.only else list(VARIANTS.values())
    work.mkdir(parents=True, exist_ok=True)
    rows, learned, curves = list[dict[str, Any]](), list[dict[str, Any]](), list[dict[str, Any]]()
    for seed in range(s.seeds):
        for variant in variants:
            rows.append(point(variant, seed, s.budget, base, work))
            print(json.dumps(rows[-1]), flush=True)
            if variant.push:  # its curve, from its log
                log = read_log(work / f"{named(variant.name, seed)}.jsonl")
                learned.append({"variant": variant.name, "seed": seed, **curve_of(log)})
    whole = any(variant.name == FULL for variant in variants)
    for seed in range(s.seeds) if whole and s.grounding else ():
        curves += curve(Policy.load(work / named(FULL, seed)), seed, s.grounding)
    results = Path(s.out) if s.out else assets_dir() / "results" / "ablations.json"
    print(f"results in {stages.write_results(results, COMMAND, rows=rows, curves=learned, grounding=curves)}")
    if s.seeds > 1 and whole:
        place = results.parent if s.out else assets_dir() / "pictures"
        print(f"picture in {draw_effects(effects(rows)).save(place / 'ablations.png')}")
    return 0
