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
from ..core.errors import R3labError, shown
from ..core.geometry import coverage
from ..models.policy import Features, Policy
from ..trajectory import Kind, Trajectory
from .attention import attention_reading, check_record, drawn
from .explanation import Cut, Drawn, Explanation, HeatMap, LookEntry, Reading, Worth
from .interventions import after_look, knock_out
from .kinds import FIRST, HONEST, KINDS, NO_LOOK, UNSURE, Evidence, Limits, Trials, Verdict, judge
from .maps import reasked
from .rows import AFTER, ANSWER, OVERVIEW, AttentionRows, events, rows, spans_of
from .trials import Store, gather, regions_of, same
from .value import NOTHING, TAKEN, crop_value, value_map

# An explanation in plain sentences: of one look, and of the verdict.
#
# Every sentence says what was measured, and none says more than that. Attention and intervention are told apart, and
# where they disagree that is said. Foreign text is quoted and cut.
#
#     look_sentence(entry, trials), verdict_sentence(verdict, entries, answer)

WORTH_SAYING = 0.5  # nats of regret
MISSED = 0.5  # part of a true region below which a look is said to miss it


def look_sentence(e: LookEntry, trials: Trials) -> str:
    """All that was found of one look."""
    name = f"Look {e.number + 1}"
    if e.refused:
        return f"{name} was refused: {shown(e.refused, 120)}."
    said = [_place(name, e), _drawn(e.drawn), _worth(e), _trials(trials, e.used), disagreement(e, trials)]
    return " ".join(part for part in said if part)


def _place(name: str, e: LookEntry) -> str:
    box = "" if e.box is None else " at [" + ", ".join(f"{v:.0f}" for v in e.box) + "]"
    if e.coverage is None:
        return f"{name}{box}."
    part = "misses" if e.coverage < MISSED else "shows"
    return f"{name}{box} {part} a true region ({e.coverage:.0%} of it is in the crop)."


def _drawn(found: Drawn | None) -> str:
    if found is None:
        return ""
    words = ", ".join(shown(word.text, 30) for word in found.words[:3])
    told = f" The words it read most: {words}." if words else ""
    return (
        f"While the box was written, it held more attention than {found.percentile:.0%} of the boxes of its size "
        f"({found.neutral:.0%} under a neutral question).{told}"
    )


def _worth(e: LookEntry) -> str:
    without = next((w for w in e.worth if w.name == NOTHING), None)
    if without is None:
        return ""
    answer = "gives no answer" if without.answer is None else f"answers {shown(without.answer, 40)}"
    same = "" if without.changed else ", as before"
    sentence = f"Without the crop it {answer}{same}; what was written is {_likely(without.given)}."
    if e.regret is not None and e.best is not None and e.regret >= WORTH_SAYING:
        sentence += f" Another place would have been worth {e.regret:.1f} nats more."
    return sentence


def _likely(change: float) -> str:
    return f"{'less' if change < 0 else 'more'} likely by {abs(change):.1f} nats"


def _trials(trials: Trials, used: bool | None) -> str:
    if not trials.tried:
        return "No other crop was tried in its place."
    says = {True: "the answer depends on it", False: "the answer does not depend on it", None: "that is not decided"}
    return f"Another crop in its place changed the answer in {trials.changed} of {trials.tried}: {says[used]}."


def claims(reading: Reading | None) -> bool | None:
    """Whether attention says that the crop was read: more of it on a token of the crop than on one of the overview."""
    return None if reading is None else reading.crop > reading.overview


def disagreement(e: LookEntry, trials: Trials) -> str:
    """The sentence for attention and intervention that disagree; "" where they do not, or one of them is not known."""
    if not e.disagree or e.reading is None:
        return ""
    much = f"{e.reading.crop:.1f} times an even share on a token of the crop, {e.reading.overview:.1f} on the overview"
    count = f"{trials.changed} of {trials.tried}"
    if e.used:
        return (
            f"Attention and intervention disagree: the words behind the crop attend to it less than to the overview "
            f"({much}), yet other crops changed the answer in {count}."
        )
    return (
        f"Attention and intervention disagree: the words behind the crop attend to it ({much}), yet other crops "
        f"changed the answer in only {count}."
    )


def verdict_sentence(verdict: Verdict, entries: Sequence[LookEntry], answer: str | None) -> str:
    """The verdict, how sure it is, and what should be known beside it."""
    said = [f"{KINDS[verdict.kind]}."]
    if verdict.kind == NO_LOOK:
        refused = sum(bool(entry.refused) for entry in entries)
        more = f" It asked for {refused}, and got no crop." if refused else ""
        return f"{said[0]}{more} There is no look to explain."
    if verdict.kind == UNSURE:
        nearest = "" if verdict.nearest == UNSURE else f" Nearest is: {verdict.nearest}."
        said[0] = f"Not enough evidence for a verdict.{nearest}"
    said.append(f"Confidence {verdict.confidence:.0%}.")
    crops = [entry for entry in entries if not entry.refused]
    if verdict.kind in (HONEST, FIRST):
        needless = [w for entry in crops for w in entry.worth if w.name == NOTHING and not w.changed]
        if crops and len(needless) == len(crops):
            said.append(f"It answers {shown(answer, 40)} without a crop too: it may not have needed the look.")
        missed = [entry for entry in crops if entry.coverage is not None and entry.coverage < MISSED]
        if crops and len(missed) == len(crops):
            said.append("What it read is no region that was asked about.")
    differ = [str(entry.number + 1) for entry in crops if entry.disagree]
    if differ:
        said.append(f"Attention and intervention disagree at look {', '.join(differ)}; trust the intervention.")
    return " ".join(said)


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
    read = attention_reading(found, number, crop)
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
        worth, cuts = _verdict_worth(policy, t, number, settings.seed, store), _cuts(policy, t, number, crop, store)
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


def _verdict_worth(policy: Policy, t: Trajectory, number: int, seed: int, store: Store) -> tuple[Worth, ...]:
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
