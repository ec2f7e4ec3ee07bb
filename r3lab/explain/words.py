"""An explanation in plain sentences: of one look, and of the verdict.

Every sentence says what was measured, and none says more than that. Attention and intervention are told apart, and
where they disagree that is said. Foreign text is quoted and cut.

    look_sentence(entry, trials), verdict_sentence(verdict, entries, answer)
"""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import shown
from .crop_value import NOTHING
from .explanation import Drawn, LookEntry, Reading
from .judge import FIRST, HONEST, KINDS, NO_LOOK, UNSURE, Trials, Verdict

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
