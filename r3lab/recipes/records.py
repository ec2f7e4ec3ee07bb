"""Records for the gallery, made with the tiny policy: `r3lab gallery --record DIR`. This part needs the model.

It answers held-out samples with the cold start and with the trained policy, rolls out a group, explains one trajectory,
reads ratio and attention of its tokens, and runs R-GRPO from the cold start for some steps while it asks the same
held-out samples again and again. Minutes on two cores; the folder is under 1 MB. Simplified: photographs are kept as
JPEG (`show.records` says what that means).

    record("assets/records")
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import pstdev
from typing import Any

import torch

from ..core.errors import R3labError, shown
from ..core.files import assets_dir, whole_folder
from ..explain.explain import explain
from ..explain.rows import rows
from ..explain.trials import QUICK
from ..explain.worth import value_map
from ..models.policy import Policy
from ..rollout.loop import rollout
from ..show.gallery import BEFORE, EXPLAINED, GROUP, PHOTOS, RIVER, SINGLE, TOKENS, VALUE
from ..train.log import summary
from ..train.rewards import deciding_look, right
from ..train.rgrpo import reward_groups, train_rgrpo
from ..train.river import RiverLog
from ..train.settings import RgrpoSettings
from ..train.update import packed_logprobs
from ..trajectory import Trajectory, save
from ..vlir.sample import Sample, of_split
from ..vlir.worlds import get_world, world_batches

WORLD, ASKED, SHOWN, GROUPS, SEED = "badges", 40, 5, 6, 0
PROMPTS, EVERY = 6, 2  # samples a step of the run that the river comes from; steps between two answers
QUALITY = 82  # of the photographs


def record(folder: str | Path, steps: int = 24) -> Path:
    """Make the records anew, with the shipped policies of badges; the folder appears whole or not at all.

    Parameters
    ----------
    folder
        Replaced if it holds records.
    steps
        Of the R-GRPO run that the river comes from.

    Raises
    ------
    R3labError
        If the folder holds something else.
    """
    target = Path(folder)
    if target.exists() and not (target / SINGLE).is_dir() and (target.is_file() or any(target.iterdir())):
        raise R3labError(f"{shown(str(target))} holds something else than records; name another folder.")
    policy, start = (Policy.load(assets_dir() / "tiny" / name) for name in ("rgrpo", "cold-start"))
    with whole_folder(target, replace=True) as part:
        drawn = (get_world(WORLD).sample("test", i, SEED) for i in range(ASKED))
        samples = list(of_split(drawn, "test"))
        answers, before = (rollout(one, samples, temperature=0, max_new_tokens=96) for one in (policy, start))
        chosen = handful(answers, before)
        _keep(part / SINGLE, [answers[i] for i in chosen])
        _keep(part / BEFORE, [before[i] for i in chosen])
        _keep(part / GROUP, group_of(start, samples))
        _explained(policy, start, answers, part)
        watched = [s for s in samples if s.needs_look][:4] + [s for s in samples if not s.needs_look][:2]
        _river(start, watched, part, steps)
    return target


def handful(answers: Sequence[Trajectory], before: Sequence[Trajectory]) -> list[int]:
    """Places of a few that differ: a look that made it right, no look and right, wrong, a look that was learned, ..."""

    def looks(t: Trajectory) -> bool:
        return deciding_look(t) is not None

    pairs = list(zip(answers, before, strict=True))
    kinds = (
        lambda now, then: right(now) and looks(now) and not right(then) and now.truth.get("needs_look"),
        lambda now, then: right(now) and not now.looks and looks(then),
        lambda now, then: not right(now),
        lambda now, then: right(now) and looks(now) and not looks(then),
        lambda now, then: right(now) and not now.looks,
        lambda now, then: True,
    )
    found: list[int] = []
    for fits in kinds:
        found += [i for i, pair in enumerate(pairs) if fits(*pair) and i not in found][:1]
    return found[:SHOWN]


def group_of(policy: Policy, samples: Sequence[Sample]) -> list[Trajectory]:
    """Of some groups of eight the one whose rewards differ most: the one that teaches most."""
    asked = [s for s in samples if s.needs_look][:GROUPS]
    tries = rollout(policy, asked, group=8, temperature=1.0, seed=SEED, max_new_tokens=96)
    reward_groups(tries, 8, "grounded")
    groups = [tries[i : i + 8] for i in range(0, len(tries), 8)]
    return max(groups, key=lambda group: pstdev([sum(t.rewards.values()) for t in group]))


def _photos(trajectories: Sequence[Trajectory], root: Path) -> list[Trajectory]:
    """The trajectories without their images, of which the photographs are kept once each as JPEG."""
    (root / PHOTOS).mkdir(exist_ok=True)
    for t in trajectories:
        path = root / PHOTOS / f"{t.image.hash}.jpg"
        if not path.exists():
            t.images[t.image.hash].save(path, quality=QUALITY, optimize=True)
    return [replace(t, images={}) for t in trajectories]


def _keep(folder: Path, trajectories: Sequence[Trajectory]) -> None:
    save(_photos(trajectories, folder.parent), folder)
    shutil.rmtree(folder / "images", ignore_errors=True)


@torch.no_grad()
def _explained(policy: Policy, start: Policy, answers: Sequence[Trajectory], root: Path) -> None:
    """One trajectory with a look: its explanation, the value map of the look, and numbers of its tokens."""
    looked = [t for t in answers if t.looks and t.looks[0].crop is not None and t.truth.get("needs_look")]
    if not looked:
        raise R3labError(f"The policy takes no look at {len(answers)} held-out samples; there is nothing to explain.")
    t = next((one for one in looked if right(one)), looked[0])
    explanation = explain(policy, t, others=[o for o in answers if o is not t][:12], settings=QUICK)
    [bare] = _photos([t], root)
    replace(explanation, trajectory=bare).save(root / EXPLAINED)
    shutil.rmtree(root / EXPLAINED / "images", ignore_errors=True)
    value = value_map(policy, t, 0, scales=(1.0, 2.0))
    heat = [[round(float(v), 3) for v in row] for row in value.heat(32)]
    best, regret = [round(v, 2) for v in value.best.box], round(value.regret, 4)
    _json(root / VALUE, {"look": 0, "values": heat, "best": best, "regret": regret})
    _json(root / TOKENS, {"ratio": ratios(policy, start, t), "attention": attention_received(policy, t)})


def ratios(policy: Policy, before: Policy, t: Trajectory) -> list[float | None]:
    """For each sampled token how many times as likely it is under one policy as under another; None for the others."""
    now, then = (packed_logprobs(one, [t], {}, 1.0).new[0] for one in (policy, before))
    told = iter((now - then).exp().tolist())
    return [round(next(told), 5) if sampled else None for sampled in t.sampled_mask]


def attention_received(policy: Policy, t: Trajectory) -> list[float | None]:
    """Mean attention, over layers, heads and the tokens of the answer, that each token received."""
    found = rows(policy, t, at=["answer"])
    mean = found.weights.mean((0, 1, 2)) if len(found.events) else torch.zeros(len(t.ids))
    return [round(v, 6) for v in mean.tolist()]


def _river(start: Policy, samples: Sequence[Sample], root: Path, steps: int) -> None:
    """Train for some steps and keep where the policy looks."""
    log = RiverLog(root / RIVER)

    def ask(step: int) -> None:
        answers = rollout(start, samples, temperature=0, max_new_tokens=96)
        log(step, _photos(answers, root))
        print(f"step {step}: {summary(answers)}", flush=True)

    def watch(step: int, trajectories: list[Trajectory]) -> None:
        if (step + 1) % EVERY == 0:
            ask(step + 1)

    settings = RgrpoSettings(world=WORLD, steps=steps, prompts=PROMPTS, group=8, seed=SEED, max_new_tokens=96)
    ask(0)
    train_rgrpo(start, world_batches(WORLD, PROMPTS, SEED), settings, lambda row: None, True, watch)


def _json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, allow_nan=False) + "\n", encoding="ascii")
