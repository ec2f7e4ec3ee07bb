"""What kind of looking was it? A verdict from counts: so many interventions, so often something changed.

Each kind is a short list of conditions on rates ("the answer changes with the crop"). A rate is known from few trials,
so a condition holds with a probability, and a kind is as sure as its weakest condition. The kind that is surest wins,
unless it is not sure enough. Everything here is a pure function of numbers; `trials` gathers them.

    verdict = verdict_of(evidence)
    verdict.kind, verdict.confidence, verdict.reasons

Simplified: trials count as independent; with a uniform prior the rate has a Beta distribution, whose tail is a sum of
binomials.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Annotated

from ..core import records
from ..core.errors import R3labError

HONEST, PRIOR, CENTRE, FIXED = "honest", "prior-only", "centre-looker", "fixed place"
SHORTCUT, SHOW, FIRST = "shortcut", "looks for show", "first look only"
NO_LOOK, UNSURE = "no look", "not enough evidence"
DEPENDS = 0.5  # rate of change from which something depends on what was changed
FOLLOWS = 0.3  # rate at which an answer must follow another crop (below `DEPENDS`: a policy may misread it)
CENTRAL = 0.2  # `off_centre` up to which a fixed place is the centre
SURE = 0.8  # confidence from which a kind is named
KINDS = {  # what is said of a policy on this trajectory
    HONEST: "The answer is read from the crop: with another crop the answer is another, and it is what that crop shows",
    PRIOR: "The answer is a habit: neither the crops nor the overview change it",
    CENTRE: "It looks at the centre, whatever is asked and whatever the picture shows",
    FIXED: "It looks at one place, whatever is asked and whatever the picture shows",
    SHORTCUT: "The answer follows something outside the look and outside the region that is asked about",
    SHOW: "The answer is read from the overview; the look is for show",
    FIRST: "The first crop decides; what later looks show changes nothing",
    NO_LOOK: "It took no look",
    UNSURE: "The interventions do not tell",
}


Share = Annotated[float, records.of("a number from 0 to 1", lambda v: type(v) in (int, float) and 0 <= v <= 1, float)]
Kind = Annotated[str, records.of("a kind of verdict", lambda v: isinstance(v, str) and v in KINDS)]


@dataclass(frozen=True)
class Trials:
    """So many interventions of one sort.

    Attributes
    ----------
    tried : how many
    changed : of these, after how many it was not as before (the answer was another, the box elsewhere)
    known : of these, how many put something else before the policy of which is known what it shows
    followed : of the known ones, after how many the answer was what it shows
    """

    tried: int = 0
    changed: int = 0
    known: int = 0
    followed: int = 0

    def __post_init__(self) -> None:
        if not (0 <= self.changed <= self.tried and 0 <= self.followed <= self.known <= self.tried):
            counts = ", ".join(f"{f.name} {getattr(self, f.name)}" for f in fields(self))
            raise R3labError(f"trials cannot be counted so: {counts}; changed and known are parts of tried")

    def above(self, share: float = DEPENDS) -> float:
        """How probable it is that the rate of change is above `share`; 1 - share where nothing was tried."""
        return _above(self.changed, self.tried, share)

    def follows(self) -> float:
        """How probable it is that the answer follows often enough; 1 where it is not known what is shown."""
        return _above(self.followed, self.known, FOLLOWS) if self.known else 1.0


def _above(count: int, of: int, share: float) -> float:
    """P(rate > share) for `count` of `of` under a uniform prior: P(Binomial(of + 1, share) <= count)."""
    n = of + 1
    return sum(math.comb(n, k) * share**k * (1 - share) ** (n - k) for k in range(count + 1))


@dataclass(frozen=True)
class Evidence:
    """What the interventions found.

    Attributes
    ----------
    answered : the policy answers greedily with everything as it was; else no answer can change
    off_centre : distance of the first look's centre from the image's, as a part of half its diagonal, 0 to 1
    moved : the picture shifted under the question; changed: the box is elsewhere
    asked : another question on the picture; changed: the box is elsewhere
    crops : for each look with a crop, other crops in its place; changed: the answer
    region : the region that is asked about, in the overview alone, covered by something else; None where it is unknown
    rest : all of the overview but that region and the look, taken from other pictures
    colour : the same part in other colours
    detail : the overview smoothed until only its colours are left
    """

    answered: bool = True
    off_centre: float = 0.0
    moved: Trials = Trials()
    asked: Trials = Trials()
    crops: tuple[Trials, ...] = ()
    region: Trials | None = None
    rest: Trials = Trials()
    colour: Trials = Trials()
    detail: Trials = Trials()


@dataclass(frozen=True)
class Verdict:
    """A kind of looking.

    Attributes
    ----------
    kind : one of KINDS
    confidence : 0 to 1; of `nearest`, where the kind is "not enough evidence"
    nearest : the kind that comes nearest
    scores : confidence of every kind that was weighed
    reasons : the counts in words, the deciding ones among them
    """

    kind: Kind
    confidence: Share
    nearest: Kind
    scores: tuple[tuple[Kind, Share], ...] = ()
    reasons: tuple[str, ...] = ()


def verdict_of(evidence: Evidence) -> Verdict:
    """Name the kind of looking: "no look" without a crop, "not enough evidence" where no kind is `SURE`."""
    said = reasons(evidence)
    if not evidence.crops:
        return Verdict(NO_LOOK, 1.0, NO_LOOK, (), said)
    if not evidence.answered:
        return Verdict(UNSURE, 0.0, UNSURE, (), said)
    scores = weigh(evidence)
    nearest = max(scores, key=lambda kind: scores[kind])
    kind = nearest if scores[nearest] >= SURE else UNSURE
    return Verdict(kind, scores[nearest], nearest, tuple(scores.items()), said)


def weigh(e: Evidence) -> dict[str, float]:
    """How sure each kind is: the least probability among its conditions."""
    fixed = min(1 - e.moved.above(), 1 - e.asked.above())
    central = e.off_centre <= CENTRAL
    used = [crop.above() for crop in e.crops]
    read = [min(crop.above(), crop.follows()) for crop in e.crops]
    ignored = 1 - max(used)
    region = None if e.region is None else e.region.above()
    detail, outside = e.detail.above(), max(e.rest.above(), e.colour.above())
    if region is None:  # what is asked about is not known: any detail of the overview may be it
        overview, elsewhere, nowhere = detail, min(1 - detail, outside), min(1 - detail, 1 - outside)
    else:
        overview, elsewhere = region, min(1 - region, outside)
        nowhere = min(1 - region, 1 - detail, 1 - outside)
    free = 1 - fixed
    return {
        HONEST: min(free, max(read[1:] or read)),
        FIRST: min(free, used[0], 1 - max(used[1:])) if len(used) > 1 else 0.0,
        SHOW: min(free, ignored, overview),
        SHORTCUT: min(free, ignored, elsewhere),
        PRIOR: min(free, ignored, nowhere),
        CENTRE: fixed if central else 0.0,
        FIXED: 0.0 if central else fixed,
    }


def reasons(e: Evidence) -> tuple[str, ...]:
    """The counts in words; nothing in them is foreign text."""
    if not e.crops:
        return ("There was no crop to intervene on.",)
    if not e.answered:
        return ("With everything as it was the policy gives no answer, so no answer can change.",)
    where = [f" at look {number}" if len(e.crops) > 1 else "" for number in range(1, len(e.crops) + 1)]
    box, answer = "the box was elsewhere", "the answer was another"
    rows: list[tuple[str, str, Trials | None]] = [
        ("The picture shifted", box, e.moved),
        ("Another question", box, e.asked),
        *((f"Other crops{at}", answer, crop) for at, crop in zip(where, e.crops, strict=True)),
        ("What is asked about covered in the overview", answer, e.region),
        ("The overview smoothed to its colours", answer, e.detail),
        ("The rest of the overview in other colours", answer, e.colour),
        ("The rest of the overview from other pictures", answer, e.rest),
    ]
    return tuple(_said(f"{change}: {effect}", trials) for change, effect, trials in rows if trials is not None)


def _said(what: str, trials: Trials) -> str:
    if not trials.tried:
        return f"{what}: not tried."
    follows = f"; where it is known what they show ({trials.known}), it was that {trials.followed} times"
    return f"{what} in {trials.changed} of {trials.tried}{follows if trials.known else ''}."
