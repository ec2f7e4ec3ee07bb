"""When to look: every rule for it, and what else can be done with as much, compared from one frozen cold start.

A *way* goes on from the cold start: R-GRPO under a rule (`train.when`), R-GRPO with a published reward, more supervised
steps on a teacher's samples, or the best of each group supervised, as it is sampled. All make as many updates, those
that roll out as many rollouts of as many questions; where half of each group is forced, that half counts. A point is a
way and a seed; it is measured on the validation split: greedily, and by what looks are worth to the policy that came
out (`evaluate.value`). `--final` reads the test split, once a point, with a seed of its own. The cold start should obey
the words that force a rollout (`core.arms.FORCED`): else forced rollouts do what free ones do, and nothing is measured.
Simplified: a supervised update takes 32 lessons, one of R-GRPO half a step's rollouts; branching, where a rule asks for
it, is not counted.

    r3lab train when --model runs/policy/cold-start-0 --worlds badges,documents,charts,trails
    rows = json.loads((assets_dir() / "results" / "when.json").read_text())["rows"]
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..core.errors import R3labError, nearest, shown
from ..core.files import assets_dir
from ..core.stats import seeds_interval
from ..evaluate.value import rolled, summary, units_of
from ..models.policy import Features, Policy
from ..rollout.loop import rollout
from ..show.effects import draw_when
from ..train.credit import judged, paying
from ..train.log import read_log
from ..train.objective import advantages, policy_loss
from ..train.presets import Objective
from ..train.rewards import score
from ..train.rgrpo import rewards_of
from ..train.settings import RgrpoSettings, SftSettings
from ..train.sft import Pair
from ..train.when import RULES, Rule
from ..trajectory import Trajectory
from ..vlir.rationale import imperfect
from ..vlir.sample import Sample, of_split
from ..vlir.worlds import drawn, get_world, world_batches
from . import stages
from .ablations import named
from .settings import WhenSettings

PLAIN = "grounded without region"  # accuracy and form; and the price by label, where that is the rule
MODEST = (0.2, 0.3, 0.5)  # of a teacher: how far boxes miss, needless looks, hasty answers (`vlir.rationale.imperfect`)
EXACT = (0.0, 0.0, 0.0)
RATE = 6e-4  # of supervised steps, at its peak: that of the cold start
SPLITS = {"validation": 0, "test": 20_261}  # the seed of their samples: nothing else draws the test split with that one
COMMAND = "python -m r3lab train when"
COLD = "cold start"  # the row that all begin with
VALUED = {  # what is stated with an interval: of which rollouts of `evaluate.value`, and its name there
    "right": ("greedy", "right_free"),
    "looks": ("greedy", "looked_free"),
    "needless": ("sampled", "needless"),
    "missed": ("sampled", "missed"),
    "regret": ("sampled", "regret"),
    "right_direct": ("sampled", "right_direct"),
    "right_look": ("sampled", "right_look"),
}


def best_of_group(rewards: torch.Tensor) -> torch.Tensor:
    """(N, G) 1 for the first rollout of each group that has its highest reward, if that is a right answer's, else 0."""
    best = torch.nn.functional.one_hot(rewards.argmax(dim=1), rewards.shape[1]).to(rewards)
    return best * (rewards.amax(dim=1, keepdim=True) >= 1)


_supervised = partial(policy_loss, objective=Objective(ratio="none"))


@dataclass(frozen=True)
class Way:
    """One line of the table.

    Attributes
    ----------
    name, about : of the line
    changes : settings of R-GRPO that differ
    own : functions of one's own for R-GRPO
    teacher : how it errs, of a way that is supervised instead
    """

    name: str
    about: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    own: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    teacher: tuple[float, float, float] | None = None


_TABLE = (
    *(Way(rule.name, rule.about, {"when": rule.name, "reward": PLAIN}) for rule in RULES.values()),
    Way("label and region", "the price by label, and the true region is paid", {"reward": "grounded"}),
    Way("paper", "the reward of the paper, as summarised", {"reward": "paper"}),
    Way("official-code", "the reward of the authors' code", {"reward": "official-code"}),
    Way(
        "best of the group",
        "the best rollout of each group, supervised (RAFT, arXiv 2304.06767, anew in each step)",
        {"when": "none", "reward": PLAIN},
        {"advantage": best_of_group, "loss": _supervised},
    ),
    Way("modest teacher", "more lessons of the teacher that errs", teacher=MODEST),
    Way("exact teacher", "lessons of one that never does", teacher=EXACT),
)
WAYS: dict[str, Way] = {way.name: way for way in _TABLE}


def get_way(name: str) -> Way:
    """A way by name; an `R3labError` that names the nearest if there is none."""
    if name not in WAYS:
        raise R3labError(f"unknown way {shown(name)}; known: {', '.join(WAYS)}.{nearest(name, WAYS)}")
    return WAYS[name]


# -- a point ----------------------------------------------------------------------------------------------------------


def start_of(s: WhenSettings) -> Path:
    """The cold start that all ways begin with."""
    return Path(s.model) if s.model else assets_dir() / "tiny" / "cold-start"


def settings_of(way: Way, seed: int, s: WhenSettings) -> RgrpoSettings:
    """R-GRPO of a way."""
    shape = {"steps": s.steps, "prompts": s.prompts, "group": s.group, "max_new_tokens": s.new_tokens}
    rates = {"learning_rate": s.learning_rate, "cooldown": min(s.cooldown, s.steps)}
    return RgrpoSettings(seed=seed, world=s.worlds, **{**shape, **rates, **dict(way.changes)})


def lessons(worlds: str, errs: tuple[float, float, float], seed: int, batch: int = 32) -> Iterator[list[Pair]]:
    """Batches of fresh training samples with the rationales of a teacher that errs so."""
    (spread, needless, hasty), rng = errs, np.random.default_rng([seed, 5])
    for samples in world_batches(worlds, batch, 2000 + seed):
        exact = ((s, get_world(s.world).rationale(s)) for s in samples)
        yield [(s, imperfect(s, r, spread, needless, rng, hasty)) for s, r in exact]


def trained(way: Way, seed: int, s: WhenSettings, work: Path) -> Path:
    """The folder of the cold start after a way; what is there is kept, what was killed goes on."""
    target, push = work / named(way.name, seed), settings_of(way, seed, s)
    if way.teacher is None:
        return stages.pushed(start_of(s), target, push, s.worlds, half=False, **way.own)
    steps = s.steps * push.minibatches
    settings = SftSettings(steps=steps, learning_rate=RATE, seed=seed)
    return stages.taught(start_of(s), target, lessons(s.worlds, way.teacher, seed), settings, half=False)


def asked(s: WhenSettings, split: str) -> list[Sample]:
    """What a point is measured on: `s.samples` of each world of a split."""
    numbers = range(s.samples * len(s.worlds.split(",")))
    return list(of_split(drawn(s.worlds, split, SPLITS[split], numbers), split))


def measured(policy: Policy, s: WhenSettings, split: str) -> dict[str, Any]:
    """Held-out summary, greedy; what looks are worth to the policy, over all samples and in each world; and of each
    sample what `VALUED` says, for intervals over seeds and samples together."""
    samples = asked(s, split)
    row = stages.measured(policy, samples, split=split, max_new_tokens=s.new_tokens)
    entries = entries_of(policy, samples, s.rollouts, s.new_tokens)
    worlds = dict.fromkeys(e["world"] for e in entries)
    parts = {"all": entries} | {world: [e for e in entries if e["world"] == world] for world in worlds}
    value = {part: summary(own)["all"]["sampled"] for part, own in parts.items()}
    units = {mode: units_of(entries, mode) for mode, _ in VALUED.values()}
    each = {name: units[mode][measure] for name, (mode, measure) in VALUED.items()}
    return {"split": split, "samples_seed": SPLITS[split], **row, "value": value, "each": each}


def entries_of(
    policy: Policy, samples: Sequence[Sample], k: int, new_tokens: int, seed: int = 0
) -> list[dict[str, Any]]:
    """What `evaluate.value` counts of each sample."""
    counted = rolled(policy, samples, range(len(samples)), k, seed=seed, max_new_tokens=new_tokens)
    pairs = zip(samples, counted, strict=True)
    return [{"id": s.id, "world": s.world, "needs_look": s.needs_look, "rollouts": of} for s, of in pairs]


def intervals(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Of each way what `VALUED` says, over seeds and samples together; None where it says nothing of any sample."""
    found = []
    for way in dict.fromkeys(row["way"] for row in rows):
        line: dict[str, Any] = {"way": way}
        for name in VALUED:
            cells = [(r["seed"], key, v) for r in rows if r["way"] == way for key, v in r["each"][name].items()]
            line[name] = asdict(seeds_interval(cells)) if cells else None
        found.append(line)
    return found


def point(way: Way, seed: int, s: WhenSettings, work: Path, split: str) -> dict[str, Any]:
    """A row of when.json."""
    target = work / named(way.name, seed)

    def made() -> dict[str, Any]:
        policy = Policy.load(trained(way, seed, s, work))
        log = [row for row in read_log(stages.beside(target, "jsonl")) if "step" in row]
        spent = sum(row.get("seconds_rollout", 0.0) + row.get("seconds_update", 0.0) for row in log)
        about = {"way": way.name, "seed": seed, "worlds": s.worlds, "seconds": round(spent or log[-1]["seconds"], 1)}
        return {**about, **measured(policy, s, split)}

    found: dict[str, Any] = stages.kept(work / f"{named(way.name, seed)}.{split}.json", made)
    return found


KEYS = ("exact", "look_rate", "value_of_look", "needless_by_value")  # of a curve


def curve_of(way: Way, seed: int, work: Path) -> dict[str, Any]:
    """How right answers and looks went together in training: free rollouts of each step."""
    log = [row for row in read_log(stages.beside(work / named(way.name, seed), "jsonl")) if "step" in row]
    return {"way": way.name, "seed": seed, **{key: [row.get(key) for row in log] for key in KEYS}}


# -- does a rule's credit go with what looks are worth? ----------------------------------------------------------------


def pull(values: np.ndarray, rule: Rule, groups: Sequence[Sequence[Trajectory]]) -> np.ndarray:
    """How much more free rollouts that looked get than those that did not (N,); NaN where a group lacks one kind.

    Counted is the advantage of the rollout and that of its tokens, where the choice or a look has one of its own.
    """
    found = []
    for row, group in zip(values, groups, strict=True):
        free = [(t, a) for t, a in zip(group, row, strict=True) if not t.forced]
        every = [(bool(t.looks), a + sum(own for *_, own in t.credit)) for t, a in free]
        kinds = [[a for looked, a in every if looked is kind] for kind in (True, False)]
        found.append(np.mean(kinds[0]) - np.mean(kinds[1]) if all(kinds) else np.nan)
    return np.array(found)


def correlations(s: WhenSettings) -> list[dict[str, Any]]:
    """For each rule, how its credit for looking goes with the measured value of a look, over validation samples in
    which the cold start both looks and does not: correlation, and of how many samples."""
    policy, samples = Policy.load(start_of(s)), asked(s, "validation")
    gain = units_of(entries_of(policy, samples, 2 * s.rollouts, s.new_tokens, seed=1))["gain"]
    found = []
    for rule in RULES.values():
        pulls = list[float]()
        for start in range(0, len(samples), s.prompts):
            part, store = samples[start : start + s.prompts], dict[str, Features]()
            how: dict[str, Any] = {"seed": 2 + start, "max_new_tokens": s.new_tokens, "features": store}
            every = rollout(policy, part, s.group, forced=rule.forced(s.group), **how)
            groups = {n: every[n * s.group : (n + 1) * s.group] for n in range(len(part))}
            rewards = rewards_of(groups, paying(partial(score, name=PLAIN), rule))
            credit, _ = judged(rule, groups, policy, store, s.new_tokens)
            values = np.asarray(credit.advantages(rewards, advantages))
            pulls += pull(values, rule, list(groups.values())).tolist()
        both = np.array([(p, gain[one.id]) for p, one in zip(pulls, samples, strict=True) if not np.isnan(p)])
        varies = len(both) > 2 and both.std(0).min() > 1e-9
        r = round(float(np.corrcoef(both.T)[0, 1]), 4) if varies else None
        found.append({"rule": rule.name, "correlation": r, "n": len(both)})
    return found


APART = ("value", "each")  # of a row: too long to be printed

# -- the command ----------------------------------------------------------------------------------------------------


def make_when(s: WhenSettings) -> int:
    """Compare the rules for when to look, and what else can be done, from one cold start (hours)."""
    if not stages.made(start_of(s)):
        raise R3labError(f"no cold start at {start_of(s)}: a folder with config.json is wanted, as `r3lab train` makes")
    ways = [get_way(name.strip()) for name in s.only.split(",")] if s.only else list(WAYS.values())
    for way in ways:
        settings_of(way, 0, s).rule().forced(s.group)  # too small a group is told before anything is made
    work, split = Path(s.work), "test" if s.final else "validation"
    stages.claim(work, {k: v for k, v in asdict(s).items() if k not in ("work", "out", "only", "seeds", "final")})
    about = {"way": COLD, "seed": 0, "worlds": s.worlds, "seconds": 0.0}
    place = work / f"cold-start.{split}.json"
    points = [(way, seed) for seed in range(s.seeds) for way in ways]
    left = next(
        (work / named(way.name, seed) for way, seed in points if not stages.made(work / named(way.name, seed))), None
    )
    if s.final and left:
        raise R3labError(f"{left} is not trained yet; give the command without --final first")
    rows = [stages.kept(place, lambda: about | measured(Policy.load(start_of(s)), s, split))]
    for way, seed in points:
        rows.append(point(way, seed, s, work, split))
        print(json.dumps({key: value for key, value in rows[-1].items() if key not in APART}), flush=True)
    learned = [curve_of(way, seed, work) for way, seed in points if way.teacher is None]
    credit = stages.kept(work / "credit.json", partial(correlations, s))
    results = Path(s.out) if s.out else assets_dir() / "results" / "when.json"
    recipe = {k: v for k, v in asdict(s).items() if k not in ("work", "out")}
    kept = [{key: value for key, value in row.items() if key != "each"} for row in rows]
    more = {"intervals": intervals(rows), "curves": learned, "credit": credit}
    stages.write_results(results, COMMAND, recipe=recipe, rows=kept, **more)
    print(f"results in {results}")
    drawn_in = results.parent if s.out else assets_dir() / "pictures"
    print(f"picture in {draw_when(rows, learned).save(drawn_in / 'when.png')}")
    return 0
