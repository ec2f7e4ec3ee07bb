"""Why each look was taken, whether it mattered, and what kind of looking that is: `explain`.

Attention describes (`maps`), interventions prove (`trials`, `interventions`), and the verdict rests on these alone
(`verdict`). Attention that says otherwise is reported as a disagreement, never as evidence.

    explanation = explain(policy, trajectory, others=more_trajectories)
    explanation.sentence, explanation.verdict.kind, explanation.looks[0].sentence

`others` are trajectories of any policy on other photographs: what they saw is put in the place of what was seen here.
By default the rollouts that ship lend it. With none at all other places of the same photograph stand in, and an answer
can be seen to change but not to follow.
Every sentence says what was measured, and none says more than that; foreign text is quoted and cut.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
import transformers
from tqdm import tqdm

from .. import __version__
from ..core.errors import R3labError, shown
from ..core.geometry import coverage
from ..models.policy import Features, Policy, reading
from ..rollout.plain import logits_of
from ..rollout.sequence import row_of
from ..trajectory import Kind, Trajectory
from .donors import shipped_lenders
from .explanation import BoxAttention, Cut, Explanation, HeatMap, LookEntry, Worth
from .interventions import LESS, ReplayResult, after_look, knock_out, regions_of, with_question
from .maps import box_attention, crop_attention
from .rows import AFTER, ANSWER, OVERVIEW, AttentionRows, check_model, events, rows, spans_of
from .trials import SHOWN, Settings, Store, changed, gather, outcomes
from .verdict import KINDS, NO_LOOK, SURE, UNSURE, Evidence, Trials, Verdict, described, verdict_of
from .worth import WorthHead, value_map

GAP, GAP_HALF = 0.02, 0.5  # nats of one token, weights in float32 and in half precision (3e-2 is usual there)
WORTH_SAYING = 0.5  # nats of regret


@torch.no_grad()
def explain(
    policy: Policy,
    trajectory: Trajectory,
    others: Sequence[Trajectory] | None = None,
    look: int | None = None,
    settings: Settings | None = None,
    features: dict[str, Features] | None = None,
    progress: bool = False,
) -> Explanation:
    """Explain the looks of a recorded trajectory.

    Parameters
    ----------
    policy : the one that wrote it; on the plain path what is told is what replays show, without attention
    trajectory : with its images
    others : trajectories on other photographs, which lend what they saw (default: the rollouts that ship)
    look : give an entry for this look alone, from 0; the verdict is of the whole trajectory all the same
    settings : how much is tried; default `Settings()`
    features : store that is read, as of `rollout`
    progress : show a bar over the looks

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
    settings = settings or Settings()
    if policy.plain:  # by replay alone
        settings = replace(settings, value=False, value_map=False)
    store: Store = dict(features or {})
    t, count = trajectory, len(trajectory.looks)
    if look is not None and not 0 <= look < count:
        raise R3labError(f"there is no look {look}; the trajectory has {count}, counted from 0")
    gap = check_record(policy, t, store)
    wanted = list(range(count)) if look is None else [look]
    evidence, replayed = gather(policy, t, shipped_lenders() if others is None else others, settings, store)
    verdict, attended = verdict_of(evidence), None
    if evidence.crops and not policy.plain:
        attended = rows(policy, t, features=store), rows(policy, with_question(policy, t), features=store)
    entries, maps, head = [], {}, WorthHead.of(policy) if attended else None
    for number in tqdm(wanted, desc="explain", disable=not progress, mininterval=0.2):
        entry, own = _explain_look(policy, t, number, evidence, replayed, attended, settings, store)
        entries.append(entry)
        if head and "raw" in own:
            own["foretold"] = head.foretell(policy, t, number, store)
        maps.update({f"look {number + 1} {name}": heat for name, heat in own.items()})
    versions = {"r3lab": __version__, "transformers": transformers.__version__, "torch": torch.__version__}
    sentence = verdict_sentence(verdict, entries, evidence)
    return Explanation(t, tuple(entries), evidence, verdict, sentence, gap, versions, maps)


@torch.no_grad()
def check_record(policy: Policy, trajectory: Trajectory, store: Store) -> float:
    """Check that a record is one that this policy can be asked about: its images are there, its tokens and numbers fit.

    A record does not say with which version of transformers it was made, nor does a name prove the weights. The
    log-probabilities do: read again they must be what was recorded.

    Returns
    -------
    float
        The largest difference, in nats, between a recorded log-probability and the same read again.

    Raises
    ------
    R3labError
        If an image is missing, or tokens or log-probabilities are those of another model.
    """
    t = trajectory
    named = {"the photograph": t.image}
    named.update({f"the crop of look {n}": look.crop for n, look in enumerate(t.looks) if look.crop is not None})
    for what, reference in named.items():
        if reference.hash not in t.images:
            raise R3labError(
                f"the trajectory {shown(t.sample_id)} does not carry {what} ({shown(reference.hash, 16)}); "
                "load it with its images"
            )
    check_model(policy, t)
    tokens = [i for i, kind in enumerate(t.kinds) if kind == Kind.SAMPLED]
    recorded = [t.logprobs[i] for i in tokens]
    if not tokens or any(p is None for p in recorded):
        return 0.0
    with reading(policy):
        before = [i - 1 for i in tokens]
        if policy.plain:
            logits = logits_of(policy, t, before) / (t.temperature or 1.0)
        else:
            states = policy.hidden(policy.rows([row_of(policy, t, store)]))[0, before]
            logits = policy.logits(states) / (t.temperature or 1.0)
    ids = torch.tensor([t.ids[i] for i in tokens], device=policy.device)
    again = logits.log_softmax(-1).gather(1, ids[:, None])[:, 0].double().cpu()
    gap = float((again - torch.tensor(recorded, dtype=torch.float64)).abs().max())
    limit = GAP if next(policy.model.parameters()).dtype == torch.float32 else GAP_HALF
    if not gap <= limit:
        raise R3labError(
            f"the trajectory {shown(t.sample_id)} was written by other weights than those of {shown(policy.name)}, or "
            f"with another version of transformers than {transformers.__version__}: a token's log-probability differs "
            f"by {gap:.2g} nats, at most {limit:g} is rounding; give the checkpoint that wrote it, or roll out again"
        )
    return gap


def _explain_look(
    policy: Policy,
    t: Trajectory,
    number: int,
    evidence: Evidence,
    replayed: Sequence[Sequence[ReplayResult]],
    attended: tuple[AttentionRows, AttentionRows] | None,
    settings: Settings,
    store: Store,
) -> tuple[LookEntry, dict[str, HeatMap]]:
    """One look: attention (of the record, and under a neutral question), interventions, and both in words."""
    look, lent, empty, maps = t.looks[number], Trials(), Trials(), dict[str, HeatMap]()
    told: dict[str, Any] = {"number": number, "box": look.box, "asked": _written_before(t, number)}
    if look.crop is None or look.box is None:
        told["refused"] = look.reason or "nothing was shown"
    else:
        index = [n for n, other in enumerate(t.looks) if other.crop is not None].index(number)
        lent, empty, crop = evidence.crops[index], evidence.emptied[index], f"crop {index + 1}"
        both = lent.above(), empty.above()
        used = True if min(both) >= SURE else False if max(both) <= 1 - SURE else None
        if attended:
            told["drawn"], maps = box_attention(t, *attended, number, settings.heads, settings.seed) or (None, {})
        told["reading"] = read = crop_attention(attended[0], number, crop) if attended else None
        told["coverage"] = max((coverage(look.box, region) for region in regions_of(t)), default=None)
        told["used"], told["disagree"] = used, used is not None and read is not None and read.says_read != used
        written = after_look(t, number) < len(t.ids)  # else there is nothing that could become less likely
        if settings.value and written:
            told["worth"] = tuple(_worth(t, replayed[index]))
            told["cuts"] = _cuts(policy, t, number, crop, store)
        if settings.value_map and written:
            value = value_map(policy, t, number, features=store)
            told["regret"], told["best"] = value.regret, value.best.box
            maps["value"] = value.as_map()
    entry = LookEntry(**told)
    return replace(entry, sentence=look_sentence(entry, lent, empty)), maps


def _written_before(t: Trajectory, number: int) -> str:
    """What was written between the look before, or the beginning, and this one."""
    start = t.looks[number - 1].span[1] if number else 0
    pieces = [t.pieces[i] for i in range(start, t.looks[number].span[0]) if t.kinds[i] == Kind.SAMPLED]
    return "".join(pieces)[-500:]


def _worth(t: Trajectory, replayed: Sequence[ReplayResult]) -> Iterator[Worth]:
    """What was put in the place of a crop; changes are those that were counted."""
    own, *others = outcomes(t, [one.answer for one in replayed], [one.named for one in replayed])
    for one, outcome in zip(replayed[1:], others, strict=True):
        name, nats = one.alternative.name, one.named - replayed[0].named
        yield Worth(name, nats, one.answer, changed(own, outcome), one.alternative.empty)


def _cuts(policy: Policy, t: Trajectory, number: int, crop: str, store: Store) -> tuple[Cut, ...]:
    """Attention cut from the words after a crop, and from the answer, to what they could have read."""
    after = t.looks[number].crop_span
    assert after is not None
    at = [e.token for e in events(t) if (e.name == AFTER and e.look == number) or e.name == ANSWER]
    at = sorted({token for token in at if token > after[1]})
    question = [name for name in spans_of(t) if name.startswith("question")]
    wanted = {"the crop": [crop], "the overview": [OVERVIEW], "the question": question}
    return tuple(
        Cut(what, float(knock_out(policy, t, at, names, features=store).change.sum()))
        for what, names in wanted.items()
        if at and names
    )


def look_sentence(e: LookEntry, lent: Trials, empty: Trials) -> str:
    """All that was found of one look."""
    name = f"Look {e.number + 1}"
    if e.refused:
        return f"{name} was refused: {shown(e.refused, 120)}."
    box = "" if e.box is None else " at [" + ", ".join(f"{v:.0f}" for v in e.box) + "]"
    said = [f"{name}{box}."]
    if e.coverage is not None:
        part = "misses" if e.coverage < SHOWN else "shows"
        said = [f"{name}{box} {part} a true region ({e.coverage:.0%} of it is in the crop)."]
    said += [_attention_sentence(e.drawn), _worth_sentence(e), _trials_sentence(lent, empty)]
    return " ".join(part for part in (*said, disagreement(e, lent, empty)) if part)


def _attention_sentence(found: BoxAttention | None) -> str:
    if found is None:
        return ""
    words = ", ".join(shown(word.text, 30) for word in found.words[:3])
    told = f" The words it read most: {words}." if words else ""
    return (
        f"While the box was written, it held more attention than {found.percentile:.0%} of the boxes of its size "
        f"({found.neutral:.0%} under a neutral question).{told}"
    )


def _worth_sentence(e: LookEntry) -> str:
    if e.regret is None or e.best is None or e.regret < WORTH_SAYING:
        return ""
    return f"Another place would have been worth {e.regret:.1f} nats more."


def _trials_sentence(lent: Trials, empty: Trials) -> str:
    """Both questions about a crop, each with its counts."""
    if not lent.tried and not empty.tried:
        return "Nothing was tried in the place of its crop."
    shows = f", to what it shows in {lent.followed} of {lent.known}" if lent.known else ""
    return (
        f"A crop that shows something else changed the answer in {lent.changed} of {lent.tried}{shows}. Nothing to "
        f"read in its place (no crop, blank, noise, another place, the whole image) changed it in {empty.changed} of "
        f"{empty.tried}. Changed: another answer, or this one less likely by {LESS:g} nats."
    )


def disagreement(e: LookEntry, lent: Trials, empty: Trials) -> str:
    """The sentence for attention and intervention that disagree; "" where they do not, or one of them is not known."""
    if not e.disagree or e.reading is None:
        return ""
    much = f"{e.reading.crop:.1f} times an even share on a token of the crop, {e.reading.overview:.1f} on the overview"
    read = "attend to it less than to the overview" if e.used else "attend to it"
    tried, changed = lent.tried + empty.tried, lent.changed + empty.changed
    return (
        f"Attention and intervention disagree: the words behind the crop {read} ({much}), yet what was put in its "
        f"place changed the answer in {'' if e.used else 'only '}{changed} of {tried}."
    )


def verdict_sentence(verdict: Verdict, entries: Sequence[LookEntry], evidence: Evidence) -> str:
    """The verdict, how sure it is, what should be known beside it, and the profile that it names."""
    said = [f"{KINDS[verdict.kind]}."]
    if verdict.kind == NO_LOOK:
        refused = sum(bool(entry.refused) for entry in entries)
        more = f" It asked for {refused}, and got no crop." if refused else ""
        return f"{said[0]}{more} There is no look to explain."
    if verdict.kind == UNSURE:
        said[0] = "No kind that has a name is sure."
        if verdict.nearest != UNSURE:
            said.append(f"Nearest is: {verdict.nearest} ({verdict.confidence:.0%}).")
    else:
        said.append(f"Confidence {verdict.confidence:.0%}.")
    crops = [entry for entry in entries if not entry.refused]
    missed = [entry for entry in crops if entry.coverage is not None and entry.coverage < SHOWN]
    if crops and len(missed) == len(crops):
        said.append("No crop is of a region that was asked about.")
    differ = [str(entry.number + 1) for entry in crops if entry.disagree]
    if differ:
        said.append(f"Attention and intervention disagree at look {', '.join(differ)}; trust the intervention.")
    said.append(described(evidence) if evidence.answered else verdict.reasons[0])
    return " ".join(said)
