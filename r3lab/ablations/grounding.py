"""Simulated grounding: how right answers depend on how often the look is at the right place (the paper's figure 4).

    rows = curve(policy, seed=0, samples=200)          # shares 0.4 to 1.0

Each held-out sample that needs a look, and in which the policy takes one, is replayed twice: with the crop of the true
region, and with a crop of the same size from elsewhere. At a simulated grounding accuracy of p each sample gets the
first with probability p, else the second.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from tqdm import tqdm

from ..explain.crop_value import RANDOM, TRUE, alternatives_of
from ..explain.replay import replay
from ..models.policy import Features, Policy
from ..rollout import rollout
from ..train.rewards import same_answer
from ..vlir.worlds import get_world
from .train import BATCH, WORLD

SHARES = (0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
DRAWS = 200  # of which samples are grounded, for each share


def outcomes(policy: Policy, seed: int, samples: int) -> np.ndarray:
    """Whether the answer is right, (samples, 2) bool: with the true region, with a crop from elsewhere."""
    world, found, index = get_world(WORLD), list[tuple[bool, bool]](), 0
    bar = tqdm(total=samples, desc="grounding", mininterval=1)
    while len(found) < samples:
        asked = [s for s in (world.sample("test", index + k) for k in range(BATCH)) if s.needs_look]
        index += BATCH
        store: dict[str, Features] = {}
        for t in rollout(policy, asked, temperature=0.0, max_new_tokens=96, features=store):
            number = next((n for n, look in enumerate(t.looks) if look.crop is not None), None)
            if number is None or t.answer is None or len(found) == samples:
                continue
            crop = t.looks[number].crop
            assert crop is not None
            every = alternatives_of(t, number, (crop.width, crop.height), seed * 10_007 + index + len(found))
            wanted = [next(a for a in every if a.name == name) for name in (TRUE, RANDOM)]
            told = [o.answer for o in replay(policy, t, number, wanted, store)]
            found.append((same_answer(told[0], t.truth["answer"]), same_answer(told[1], t.truth["answer"])))
            bar.update()
    bar.close()
    return np.array(found)


def curve(policy: Policy, seed: int, samples: int) -> list[dict[str, Any]]:
    """A row a share: mean accuracy over draws of which samples are grounded."""
    right, rng = outcomes(policy, seed, samples), np.random.default_rng([seed, 9])
    rows = []
    for share in SHARES:
        grounded = rng.random((DRAWS, len(right))) < share
        exact = np.where(grounded, right[:, 0], right[:, 1]).mean()
        rows.append({"grounding": share, "seed": seed, "n": len(right), "exact": round(float(exact), 4)})
    return rows
