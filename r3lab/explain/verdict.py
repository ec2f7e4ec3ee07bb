"""What kind of looking was it? A profile of counts: so many interventions, so often something changed.

Two questions are kept apart. *Sensitivity*: does the answer follow a crop that shows something else (`crops`)?
*Necessity*: is it another, or less sure, where there is nothing to read in the place of this crop (`emptied`)? A policy
that reads crops need not have read this one: it may say by habit what it says where it sees nothing. And of a look that
others follow: does the next box go with its crop (`leads`)? Then it says where to look next, as on a trail of signs.

A rate is known from few trials, so that something depends on it holds with a probability; `profile` has a line for each
thing that was changed. A kind is the name of a profile that is well known: a short list of conditions, as sure as the
weakest. The kind that is surest wins, unless it is not sure enough: then the profile is said in words. Everything here
is a pure function of numbers, and so is every sentence; `trials` gathers them.

    verdict = verdict_of(evidence)
    verdict.kind, verdict.confidence, verdict.reasons
    described(evidence)                    # "The answer changes with another question (5 of 5). ..."

Simplified: trials count as independent; with a uniform prior the rate has a Beta distribution, whose tail is a sum of
binomials.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from itertools import groupby
from typing import Annotated

from ..core import records
from ..core.errors import R3labError

HONEST, PRIOR, CENTRE, FIXED = "honest", "prior-only", "centre-looker", "fixed place"
SHORTCUT, SHOW, FIRST = "shortcut", "looks for show", "first look only"
IDLE, LATER, ELSEWHERE = "did not need this crop", "later look only", "reads another place than asked"
PLACE, WORDS = "follows where it is", "follows the question's words"
SIZE, OWN = "follows how large it is", "copies what it wrote before"
NO_LOOK, UNSURE = "no look", "not enough evidence"
DEPENDS = 0.5  # rate of change from which something depends on what was changed
FOLLOWS = 0.3  # the same where a change may leave the answer that follows it: another crop may be misread, another
# question may have the same answer, another picture the same light
FOLLOWED = 0.2  # the same of what cannot come about by chance: a guessed digit would be what a crop shows in a tenth,
# and another question changes what is a habit in none
MOSTLY = 0.7  # rate of change from which it changes nearly always
CENTRAL = 0.2  # `off_centre` up to which a fixed place is the centre
SURE = 0.8  # confidence from which a kind is named
KINDS = {  # what is said of a policy on this trajectory
    HONEST: "The answer is read from the crop: it follows what another crop shows, and is lost, or less sure, where "
    "there is nothing to read",
    IDLE: "It follows a crop that shows something, but would have given this answer as surely with nothing to read",
    LATER: "What a later crop shows decides; the first look changes nothing",
    ELSEWHERE: "The answer is read from the crop, and the crop is not of what is asked about",
    PRIOR: "The answer is a habit: neither the question, the crops nor the overview change it",
    PLACE: "The answer follows where in the picture what is asked about is; it does not become what a crop shows",
    WORDS: "The answer follows the words of the question; the overview does not change it, and it does not become what "
    "a crop shows",
    SIZE: "The answer follows how large what is asked about is in the overview; it does not become what a crop shows",
    OWN: "The answer is taken over from what was written before the crop came; it does not become what a crop shows",
    CENTRE: "It looks at the centre, whatever is asked and whatever the picture shows",
    FIXED: "It looks at one place, whatever is asked and whatever the picture shows",
    SHORTCUT: "The answer follows something outside what is asked about, or the light of the picture; it does not "
    "become what a crop shows",
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
    changed : of these, after how many it was not as before (the answer another or less likely, `trials.changed`; the
        box elsewhere)
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
        return _above(self.followed, self.known, FOLLOWED) if self.known else 1.0

    def leaves(self) -> float:
        """How probable it is that the answer does not become what is shown; it may be less sure of itself all the same.
        0 where it is not known what is shown."""
        return 1 - _above(self.followed, self.known, FOLLOWS) if self.known else 0.0


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
    place, words : the same, and the policy goes on to its answer; changed: the answer
    crops : for each look with a crop, other crops of its size in its place, that show something else; changed: the
        answer
    emptied : for each look with a crop, nothing of it: no crop, blank, noise, a random place, the whole image; changed:
        the answer
    on_target : whether a crop shows a true region; None where none is known
    region : the region that is asked about, in the overview alone, covered by something else; None where it is unknown
    rest : all of the overview but that region and the look, taken from other pictures
    colour : the same part, and the crops, in other colours
    detail : the overview smoothed until only its colours are left
    smaller, larger : the target (the region, or where it is unknown the box of the first look) in another size in the
        overview; None where it was not tried
    own : what was written before the last crop exchanged where it names the answer; None where it does not
    """

    answered: bool = True
    off_centre: float = 0.0
    moved: Trials = Trials()
    asked: Trials = Trials()
    crops: tuple[Trials, ...] = ()
    emptied: tuple[Trials, ...] = ()
    leads: tuple[Trials, ...] = ()
    place: Trials = Trials()
    words: Trials = Trials()
    on_target: bool | None = None
    region: Trials | None = None
    rest: Trials = Trials()
    colour: Trials = Trials()
    detail: Trials = Trials()
    smaller: Trials | None = None
    larger: Trials | None = None
    own: Trials | None = None

    def __post_init__(self) -> None:
        if len(self.emptied) != len(self.crops) or len(self.leads) not in (0, len(self.crops)):
            counts = (
                f"{len(self.crops)} counts of crops, {len(self.emptied)} of emptied ones, {len(self.leads)} of leads"
            )
            raise R3labError(f"evidence has {counts}; each look with a crop has one of each")


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
    follows = [min(crop.above(), crop.follows()) for crop in e.crops]
    needed = [crop.above() for crop in e.emptied]
    read = [min(pair) for pair in zip(follows, needed, strict=True)]
    ignored = min(1 - max(used), 1 - max(needed))
    left = max(ignored, min(crop.leaves() for crop in e.crops))  # changed by a crop, but not into what that shows
    unread = max(ignored, min(left, 1 - max(map(min, used, needed))))
    copied = 0.0 if e.own is None else e.own.above()
    large = max((one.above() for one in (e.smaller, e.larger) if one is not None), default=0.0)
    outside, inside = max(e.rest.above(FOLLOWS), e.colour.above(FOLLOWS)), 1 - max(e.rest.above(), e.colour.above())
    around = 1 - max(e.rest.above(MOSTLY), e.colour.above(MOSTLY))  # by what is around it one sees where it is
    whole = 1 - e.detail.above()
    if e.region is None:  # what is asked about is not known: any detail of the overview may be it
        overview, clear, apart, beside = 1 - whole, 1.0, whole, 1.0
    else:
        clear = 1 - e.region.above()
        overview, apart, beside = e.region.above(FOLLOWS), clear, 1 - e.rest.above()
    nowhere = min(clear, whole, inside, 1 - large)
    free, own, still, same = 1 - fixed, 1 - copied, 1 - e.place.above(), 1 - e.words.above()
    last, led = max(read[1:] or read), next((one.above() for one in e.leads[:1] if one.tried), 0.0)
    on, off = (1.0, 0.0) if e.on_target is not False else (0.0, 1.0)
    several = len(used) > 1
    return {
        HONEST: min(free, on, last, max(read[0], led)),
        ELSEWHERE: min(free, off, max(read)),
        IDLE: min(free, max(follows), 1 - max(needed)),
        FIRST: min(free, on, read[0], 1 - max(used[1:])) if several else 0.0,
        LATER: min(free, on, 1 - max(used[0], led), last) if several else 0.0,
        SHOW: min(free, ignored, own, overview, beside),  # shifted or recoloured it is read less well
        SHORTCUT: min(free, unread, own, apart, outside, 1 - e.place.above(MOSTLY)),
        SIZE: min(free, unread, own, clear, inside, large),
        OWN: min(free, left, copied),
        PLACE: min(free, unread, own, clear, around, 1 - large, e.place.above(FOLLOWS)),
        WORDS: min(free, unread, own, nowhere, still, e.words.above(FOLLOWED)),
        PRIOR: min(free, ignored, own, nowhere, still, same),
        CENTRE: fixed if central else 0.0,
        FIXED: 0.0 if central else fixed,
    }


@dataclass(frozen=True)
class Dependence:
    """One thing that was changed, and nothing else.

    Attributes
    ----------
    of : "answer", "box" (of the first look) or "next box", of which it is known how often it was another
    change : what was done, as a sentence names it
    trials : how often, and how often it was another
    least : rate of change from which it depends on it
    """

    of: str
    change: str
    trials: Trials
    least: float = DEPENDS

    @property
    def holds(self) -> bool | None:
        """Whether answer or box depend on it; None where so few trials do not tell."""
        if self.trials.above(self.least) >= SURE:
            return True
        return False if self.trials.above() <= 1 - SURE else None

    @property
    def end(self) -> str:
        """What a change of it is called."""
        return "changed" if self.of == "answer" else "was elsewhere"

    @property
    def counts(self) -> str:
        """`5 of 6`."""
        return f"{self.trials.changed} of {self.trials.tried}"

    @property
    def says(self) -> str:
        """Whether it holds, in the words of a sentence: `changes with`."""
        return {True: "changes with", False: "stays with", None: "may or may not depend on"}[self.holds]


def profile(e: Evidence) -> tuple[Dependence, ...]:
    """A line for each thing that was changed; none of what was not tried."""
    where = [f" at look {number}" if len(e.crops) > 1 else "" for number in range(1, len(e.crops) + 1)]
    every: list[tuple[str, str, Trials | None, float]] = [
        ("box", "the picture shifted", e.moved, DEPENDS),
        ("box", "another question", e.asked, DEPENDS),
    ]
    for at, lent, empty in zip(where, e.crops, e.emptied, strict=True):
        every.append(("answer", f"another crop{at}", lent, DEPENDS))
        every.append(("answer", f"nothing to read in place of the crop{at}", empty, DEPENDS))
    for number, leads in enumerate(e.leads, 1):
        every.append(("next box", f"something else, or nothing, in place of the crop at look {number}", leads, DEPENDS))
    every += [
        ("answer", "what was written before the last crop exchanged", e.own, DEPENDS),
        ("answer", "another question", e.words, FOLLOWED),
        ("answer", "the picture shifted", e.place, FOLLOWS),
        ("answer", "what is asked about covered in the overview", e.region, FOLLOWS),
        ("answer", "the target smaller in the overview", e.smaller, DEPENDS),
        ("answer", "the target larger in the overview", e.larger, DEPENDS),
        ("answer", "the overview smoothed to its colours", e.detail, DEPENDS),
        ("answer", "the rest of the overview, and the crops, in other colours", e.colour, FOLLOWS),
        ("answer", "the rest of the overview from other pictures", e.rest, FOLLOWS),
    ]
    told = [(of, change, trials, least) for of, change, trials, least in every if trials is not None and trials.tried]
    return tuple(Dependence(*one) for one in told)


SAID = (True, False, None)  # first what changes it, then what leaves it, then what does not tell


def described(e: Evidence) -> str:
    """The profile in words: what changes answer and box, what leaves them, and what does not tell; with its counts."""
    said = []
    for of in ("answer", "box", "next box"):
        rows = sorted((one for one in profile(e) if one.of == of), key=lambda one: SAID.index(one.holds))
        for verb, some in groupby(rows, key=lambda one: one.says):
            said.append(f"The {of} {verb} {', '.join(f'{one.change} ({one.counts})' for one in some)}.")
    return " ".join(said)


def reasons(e: Evidence) -> tuple[str, ...]:
    """The counts in words; nothing in them is foreign text."""
    if not e.crops:
        return ("There was no crop to intervene on.",)
    if not e.answered:
        return ("With everything as it was the policy gives no answer, so no answer can change.",)
    said = tuple(_said(f"{one.change[0].upper()}{one.change[1:]}: the {one.of} {one.end}", one) for one in profile(e))
    return said or ("Nothing was tried.",)


def _said(what: str, one: Dependence) -> str:
    known, followed = one.trials.known, one.trials.followed
    follows = f"; where it is known what they show ({known}), it was that {followed} times" if known else ""
    return f"{what} in {one.counts}{follows}."
