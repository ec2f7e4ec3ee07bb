"""Why each look was taken, whether it mattered, and what kind of looking that is: `explain`.

Attention describes (`drawn`), interventions prove (`trials`, `crop_value`, `knock_out`), and the verdict rests on the
interventions alone (`judge`). Attention that says otherwise is reported as a disagreement, never as evidence.

    explanation = explain(policy, trajectory, others=more_trajectories)
    explanation.sentence, explanation.verdict.kind, explanation.looks[0].sentence

`others` are trajectories of any policy on other photographs: what they saw is put in the place of what was seen here.
Without them other places of the same photograph stand in, and an answer can be seen to change but not to follow.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace

import torch
import transformers
from tqdm import tqdm

from .. import __version__
from ..errors import R3labError, shown
from ..geometry import coverage
from ..models.policy import Features, Policy
from ..trajectory import Kind, Trajectory
from .crop_value import TAKEN, crop_value, value_map
from .drawn import drawn, reading
from .events import AFTER, ANSWER, events
from .evidence import gather
from .explanation import Cut, Explanation, LookEntry, Worth
from .heat import HeatMap
from .judge import Evidence, Limits, Trials, judge
from .knock_out import knock_out
from .neutral import reasked
from .recorded import check_record
from .replay import after_look
from .rows import OVERVIEW, AttentionRows, rows, spans_of
from .trials import Store, regions_of, same
from .words import claims, look_sentence, verdict_sentence


@dataclass(frozen=True)
class Settings:
    """How much is tried.

    Attributes
    ----------
    crops : other crops in the place of each look's
    covers : things put over the region that is asked about, in the overview
    pictures, questions : shifted pictures, and other questions, for the box
    surroundings, colours, blurs : other overviews
    heads : attention heads that make a map
    value : also `crop_value` and `knock_out` of each look
    value_map : also `value_map` of each look (hundreds of windows)
    seed : of noise and random places
    limits : thresholds of the verdict
    """

    crops: int = 12
    covers: int = 12
    pictures: int = 6
    questions: int = 5
    surroundings: int = 8
    colours: int = 8
    blurs: int = 4
    heads: int = 6
    value: bool = True
    value_map: bool = True
    seed: int = 0
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        counts = [f.name for f in fields(self) if f.name not in ("value", "value_map", "seed", "limits")]
        for name in counts:
            value = getattr(self, name)
            if type(value) is not int or not 1 <= value <= 64:
                raise R3labError(f"the setting {name} must be a whole number from 1 to 64, got {shown(value)}")


QUICK = Settings(6, 6, 4, 3, 5, 5, 3, value_map=False)  # about half; every kind can still be sure


@torch.no_grad()
def explain(
    policy: Policy,
    trajectory: Trajectory,
    others: Sequence[Trajectory] = (),
    look: int | None = None,
    settings: Settings | None = None,
    features: dict[str, Features] | None = None,
    progress: bool = False,
) -> Explanation:
    """Explain the looks of a recorded trajectory.

    Parameters
    ----------
    policy : the one that wrote it
    trajectory : with its images
    others : trajectories on other photographs, which lend what they saw
    look : give an entry for this look alone, from 0; the verdict is of the whole trajectory all the same
    settings : how much is tried; default `Settings()`
    features : store that is read, as of `rollout`
    progress : show a bar

    Returns
    -------
    Explanation
        Of a trajectory without looks, one that says so.

    Raises
    ------
    R3labError
        If an image is missing, there is no such look, or the trajectory was written by another model, by other weights,
        or with a version of transformers that computes something else.
    """
    chosen = settings or Settings()
    store: Store = dict(features or {})
    count = len(trajectory.looks)
    if look is not None and not 0 <= look < count:
        raise R3labError(f"there is no look {look}; the trajectory has {count}, counted from 0")
    gap = check_record(policy, trajectory, store)
    t = replace(trajectory, truth={**trajectory.truth, "regions": [list(box) for box in regions_of(trajectory)]})
    wanted = list(range(count)) if look is None else [look]
    with tqdm(total=2 + len(wanted), desc="explain", disable=not progress, mininterval=0.2) as bar:
        evidence = gather(policy, t, others, chosen, store)
        bar.update()
        verdict = judge(evidence, chosen.limits)
        found = plain = None
        if evidence.crops:
            found, plain = rows(policy, t, features=store), rows(policy, reasked(policy, t), features=store)
        bar.update()
        entries, maps = [], {}
        for number in wanted:
            entry, own = _entry(policy, t, number, evidence, found, plain, chosen, store)
            entries.append(entry)
            maps.update({f"look {number + 1} {name}": heat for name, heat in own.items()})
            bar.update()
    versions = {"r3lab": __version__, "transformers": transformers.__version__, "torch": torch.__version__}
    sentence = verdict_sentence(verdict, entries, trajectory.answer)
    return Explanation(trajectory, tuple(entries), evidence, verdict, sentence, gap, versions, maps)


def _entry(
    policy: Policy,
    t: Trajectory,
    number: int,
    evidence: Evidence,
    found: AttentionRows | None,
    plain: AttentionRows | None,
    settings: Settings,
    store: Store,
) -> tuple[LookEntry, dict[str, HeatMap]]:
    """One look: attention, interventions, and both in words."""
    look = t.looks[number]
    asked = _before(t, number)
    if look.crop is None or found is None or plain is None:
        refused = look.reason or "nothing was shown"
        entry = LookEntry(number, look.box, refused, asked)
        return _told(entry, Trials()), {}
    place = [n for n, other in enumerate(t.looks) if other.crop is not None].index(number)
    trials, crop = evidence.crops[place], f"crop {place + 1}"
    drew = drawn(t, found, plain, number, settings.heads, settings.seed)
    read = reading(found, number, crop)
    maps = dict(drew[1]) if drew else {}
    share = trials.above(settings.limits.depends)
    sure = settings.limits.sure
    used = True if share >= sure else False if share <= 1 - sure else None
    said = claims(read)
    entry = LookEntry(
        number,
        look.box,
        "",
        asked,
        drew[0] if drew else None,
        read,
        coverage=max((coverage(look.box, region) for region in regions_of(t)), default=None) if look.box else None,
        used=used,
        disagree=used is not None and said is not None and said != used,
    )
    written = after_look(t, number) < len(t.ids)  # else there is nothing that could become less likely
    if settings.value and written:
        worth, cuts = _worth(policy, t, number, settings.seed, store), _cuts(policy, t, number, crop, store)
        entry = replace(entry, worth=worth, cuts=cuts)
    if settings.value_map and written:
        value = value_map(policy, t, number, features=store)
        entry = replace(entry, regret=value.regret, best=value.best.box)
        whole = (0.0, 0.0, float(value.source[0]), float(value.source[1]))
        maps["value"] = HeatMap(value.heat(), whole, value.source)
    return _told(entry, trials), maps


def _told(entry: LookEntry, trials: Trials) -> LookEntry:
    return replace(entry, sentence=look_sentence(entry, trials))


def _before(t: Trajectory, number: int) -> str:
    """What was written between the look before, or the beginning, and this one."""
    start = t.looks[number - 1].span[1] if number else 0
    pieces = [t.pieces[i] for i in range(start, t.looks[number].span[0]) if t.kinds[i] == Kind.SAMPLED]
    return "".join(pieces)[-500:]


def _worth(policy: Policy, t: Trajectory, number: int, seed: int, store: Store) -> tuple[Worth, ...]:
    """The crop replaced in every way of `crop_value`."""
    value = crop_value(policy, t, number, seed, store)
    own = value.named(TAKEN).answer
    names = [outcome.alternative.name for outcome in value.outcomes if outcome.alternative.name != TAKEN]
    answers = {name: value.named(name).answer for name in names}
    return tuple(
        Worth(name, value.change(name), value.change_of_right(name), answers[name], not same(answers[name], own))
        for name in names
    )


def _cuts(policy: Policy, t: Trajectory, number: int, crop: str, store: Store) -> tuple[Cut, ...]:
    """Attention cut from the words behind a crop, and from the answer, to what they could have read."""
    after = t.looks[number].crop_span
    assert after is not None
    at = [e.token for e in events(t) if (e.name == AFTER and e.look == number) or e.name == ANSWER]
    at = sorted({token for token in at if token > after[1]})
    if not at:
        return ()
    spans = spans_of(t)
    question = [name for name in spans if name.startswith("question")]
    wanted = {"the crop": [crop], "the overview": [OVERVIEW], "the question": question}
    return tuple(
        Cut(what, float(knock_out(policy, t, at, names, features=store).change.sum()))
        for what, names in wanted.items()
        if names
    )
