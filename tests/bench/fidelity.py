"""How faithful are maps? Five kinds of map of why it looked there, each against chance: writes explain.json.

    python tests/bench/fidelity.py                          # 60 trajectories of the policy of badges
    python tests/bench/fidelity.py --n 3 --out /tmp/explain.json
    python tests/bench/fidelity.py --model FOLDER --as "NAME"    # rows of another policy, with a head of its own
    python tests/bench/fidelity.py --fit 400 --model FOLDER      # fit a worth head on training samples, there

Maps lie on the overview and are of the coordinates of the first look's box: raw attention (mean of all layers and
heads), the same relative to a neutral question, gradient-weighted, attention rollout, and the worth foretold
(`WorthHead`, fitted on value maps of training samples; its settings were decided on validation samples). Measures: rank
correlation with the worth of a look at each place, pointing game (peak in the true region), area under deletion and
insertion. The reference of each number is a map of random cells.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from attributions import lrp_rows, rollout_rows, tam_rows
from results_file import EXPLAIN, keep, rounded
from tqdm import tqdm

from r3lab.core.files import assets_dir
from r3lab.core.stats import mean_interval
from r3lab.explain.donors import region_of
from r3lab.explain.explanation import HeatMap
from r3lab.explain.interventions import with_question
from r3lab.explain.maps import agreement, deletion_insertion, find_sinks, heat_map, hits, relative
from r3lab.explain.rows import COORDINATES, OVERVIEW, AttentionRows, gradient_rows, rows
from r3lab.explain.trials import first_crop
from r3lab.explain.worth import WorthHead, fit_head, value_map
from r3lab.models.policy import Features, Policy
from r3lab.rollout.loop import rollout
from r3lab.trajectory import Trajectory
from r3lab.vlir.worlds import WORLDS, get_world

CHANCE = "chance"
AGREES = 0.5  # rank correlation that is wanted of a map
FORETOLD = "worth foretold"
KINDS = (
    "raw attention",
    "relative attention",
    "gradient-weighted attention",
    "rollout attention",
    "token activation",
    "layer-wise relevance",
    FORETOLD,
    CHANCE,
)
TEST_SEED = 20_261_128  # of the samples that are asked: nothing else draws the test split with it
FIT_FIRST = 300_000  # number of the first training sample of a worth head
MEASURES = {
    "agreement": "rank correlation with the worth of a look",
    "hit": "pointing game",
    "deletion": "deletion area, lower is better",
    "insertion": "insertion area",
}


def recorded(
    policy: Policy, worlds: Sequence[str], count: int, split: str = "test", first: int = 0, seed: int = TEST_SEED
) -> list[Trajectory]:
    """Greedy trajectories that look and answer; held-out ones rightly: of those the map should mark what was needed.
    As many of each world."""
    found: dict[str, list[Trajectory]] = {name: [] for name in worlds}
    for name, own in found.items():
        at, wanted = first, -(-count // len(worlds))
        while len(own) < wanted:
            every = (get_world(name).sample(split, at + k, seed) for k in range(64))
            at += 64
            some = rollout(policy, [s for s in every if s.needs_look], temperature=0.0, max_new_tokens=160)
            known = [t for t in some if t.answer is not None and (split == "train" or t.answer == t.truth["answer"])]
            own += [t for t in known if first_crop(t) is not None][: wanted - len(own)]
    return [t for row in zip(*found.values(), strict=True) for t in row][:count]


def fit(policy: Policy, worlds: Sequence[str], folder: Path, count: int) -> Path:
    """Fit a worth head of a policy on training samples."""
    found = recorded(policy, worlds, count, "train", FIT_FIRST, 0)
    return fit_head(policy, [(t, look) for t in found if (look := first_crop(t)) is not None]).save(folder)


def maps_of(
    policy: Policy, head: WorthHead, t: Trajectory, look: int, seed: int, features: dict[str, Features]
) -> dict[str, HeatMap]:
    """One map of each kind, of a look's coordinates on the overview."""
    names = list(COORDINATES)

    def drawn(found: AttentionRows, sinks: Sequence[int] = ()) -> HeatMap:
        return heat_map(found, OVERVIEW, found.box_rows(look), sinks=sinks)

    plain = with_question(policy, t)
    raw, neutral = (rows(policy, one, features=features) for one in (t, plain))
    every = [
        drawn(raw, find_sinks(raw, OVERVIEW)),
        relative(drawn(raw), drawn(neutral)),
        drawn(gradient_rows(policy, t, at=names, features=features)),
        drawn(rollout_rows(policy, t, raw, features)),
        drawn(tam_rows(policy, t, raw, features)),
        drawn(lrp_rows(policy, t, raw, features)),
        head.foretell(policy, t, look, features),
    ]
    values = np.random.default_rng(seed).random(every[0].values.shape).astype(np.float32)
    return dict(zip(KINDS, [*every, replace(every[0], values=values)], strict=True))


def measure(
    policy: Policy, head: WorthHead, worlds: Sequence[str], count: int, steps: int, whose: str = ""
) -> list[dict[str, Any]]:
    """Rows for explain.json; of another policy than the default one, `whose`, without deletion and insertion."""
    measures = {key: words for key, words in MEASURES.items() if not whose or key in ("agreement", "hit")}
    found: dict[str, dict[str, list[float]]] = {kind: {key: [] for key in measures} for kind in KINDS}
    for number, t in enumerate(tqdm(recorded(policy, worlds, count), desc="fidelity", mininterval=1)):
        features: dict[str, Features] = {}
        look = first_crop(t)
        assert look is not None
        value = value_map(policy, t, look, features=features)
        for kind, heat in maps_of(policy, head, t, look, number, features).items():
            own, region = {"agreement": agreement(heat, value)}, region_of(t)
            if region is not None:
                own["hit"] = float(hits(heat, region))
            if not whose:
                curves = deletion_insertion(policy, t, heat, steps, features)
                own |= {"deletion": curves.deletion.area, "insertion": curves.insertion.area}
            for key, measured in own.items():
                found[kind][key].append(measured)
    means = {kind: {key: mean_interval(values) for key, values in one.items()} for kind, one in found.items()}
    made = []
    for kind in KINDS[:-1]:
        for key, words in measures.items():
            mean, chance = means[kind][key], means[CHANCE][key]
            values = {"ours": mean.value, "reference": chance.value, "low": mean.low, "high": mean.high}
            numbers = {name: rounded(v) for name, v in values.items()}
            ratio = rounded(mean.value / chance.value) if abs(chance.value) > 1e-3 else None
            target = AGREES if key == "agreement" and kind == FORETOLD else None
            row = {
                "measure": f"{words}, {kind}{f' of {whose}' if whose else ''}",
                **numbers,
                "ratio": ratio,
                "target": target,
            }
            made.append({**row, "unit": "share" if key == "hit" else key, "n": f"{mean.n} trajectories"})
    return made


def main() -> int:
    """Measure, print, and write what was measured over what the file held."""
    parser = argparse.ArgumentParser(description="Measure how faithful attention maps are.")
    parser.add_argument("--n", type=int, default=60, help="trajectories (default: 60)")
    parser.add_argument("--steps", type=int, default=8, help="steps of deletion and insertion (default: 8)")
    parser.add_argument("--model", default=str(assets_dir() / "tiny" / "rgrpo"), help="checkpoint")
    parser.add_argument("--worlds", nargs="+", default=["badges"], choices=list(WORLDS), help="(default: badges)")
    parser.add_argument(
        "--as", dest="whose", default="", metavar="NAME", help="whose maps they are, if not the default's"
    )
    parser.add_argument("--out", default=str(assets_dir() / "results" / "explain.json"), help="file to write")
    parser.add_argument("--fit", type=int, metavar="N", help="only fit a worth head on N looks of training samples")
    given = parser.parse_args()
    policy = Policy.load(given.model)
    if given.fit:
        print(fit(policy, given.worlds, Path(given.model), given.fit))
        return 0
    head = WorthHead.of(policy)
    if head is None:
        parser.error(f"{given.model} holds no worth head; fit one with --fit 400")
    rows_made = measure(policy, head, given.worlds, given.n, given.steps, given.whose)
    for new in rows_made:
        print(json.dumps(new))
    keep(Path(given.out), EXPLAIN, rows_made)
    return 0


if __name__ == "__main__":
    sys.exit(main())
