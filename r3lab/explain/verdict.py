"""What does an answer depend on? A profile of measured dependences: so many interventions, so often something changed.

Each row of the profile changes one thing: the words of the question, the place of what is asked about, the overview, a
crop, the box that was written for it, earlier crops, the policy's own words, nothing but chance. Two questions are kept
apart. Does the answer follow an informative crop that is lent (sensitivity)? Did it come from *this* crop, so that it
is lost where nothing of it is left (necessity)? A kind is a name for a well-known profile: a short list of conditions
on rates. A rate is known from few trials, so a condition holds with a probability, and a kind is as sure as its weakest
condition. A profile without a name is said in words. Everything here is a pure function of numbers.

    verdict = verdict_of(evidence)
    verdict.kind, verdict.confidence, verdict.reasons, sentence_of(evidence)

Simplified: trials count as independent; with a uniform prior the rate has a Beta distribution, whose tail is a sum of
binomials.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import Annotated

from ..core import records
from ..core.errors import R3labError
from ..core.stats import share_interval

HONEST, PRIOR, CENTRE, FIXED = "honest", "prior-only", "centre-looker", "fixed place"
SHORTCUT, SHOW, FIRST = "shortcut", "looks for show", "first look only"
NO_LOOK, UNNAMED, UNSURE = "no look", "a profile without a name", "not enough evidence"
DEPENDS = 0.5  # rate of change from which something depends on what was changed
FOLLOWS = 0.3  # rate at which an answer must follow another crop (below `DEPENDS`: a policy may misread it)
CENTRAL = 0.2  # `off_centre` up to which a fixed place is the centre
SURE = 0.8  # confidence from which a kind is named
SHOWS = 0.5  # part of a true region from which a crop is of what was asked
KINDS = {  # what is said of a policy on this trajectory
    HONEST: "The answer is read from the crop: it follows a lent one, and is lost where nothing of its own is left",
    PRIOR: "The answer is a habit: neither the question nor the crops nor the overview change it",
    CENTRE: "It looks at the centre, whatever is asked and whatever the picture shows",
    FIXED: "It looks at one place, whatever is asked and whatever the picture shows",
    SHORTCUT: "The answer follows something outside the look and outside the region that is asked about",
    SHOW: "The answer is read from the overview; the look is for show",
    FIRST: "The first crop decides; what later looks show changes nothing",
    NO_LOOK: "It took no look",
    UNNAMED: "This profile has no name",
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

    def depends(self) -> bool | None:
        """Whether the rate of change is above one half; None where that is not sure."""
        above = self.above()
        return True if above >= SURE else False if above <= 1 - SURE else None

    def follows(self) -> float:
        """How probable it is that the answer follows often enough; 1 where it is not known what is shown."""
        return _above(self.followed, self.known, FOLLOWS) if self.known else 1.0

    def __add__(self, other: Trials) -> Trials:
        return Trials(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    def __str__(self) -> str:
        return f"{self.changed} of {self.tried}"


def _above(count: int, of: int, share: float) -> float:
    """P(rate > share) for `count` of `of` under a uniform prior: P(Binomial(of + 1, share) <= count)."""
    n = of + 1
    return sum(math.comb(n, k) * share**k * (1 - share) ** (n - k) for k in range(count + 1))


@dataclass(frozen=True)
class Evidence:
    """What the interventions found; each row changes one thing.

    Attributes
    ----------
    answered : the policy answers greedily with everything as it was; else no answer can change
    off_centre : distance of the first look's centre from the image's, as a part of half its diagonal, 0 to 1
    moved, asked : the picture shifted under the question, another question on the picture; changed: the box
    placed : the picture shifted under the question, so that all is elsewhere and looks the same; changed: the answer
    question : other words of the question, the record behind it as it was; changed: the answer
    crops : for each look with a crop, lent crops of its size in its place; changed: the answer
    emptied : for each, nothing of it left: blank, noise, random places, the whole image; changed: the answer
    shown : for each, the part of a true region in it; None where none is known
    written : another box written, with the crop as it was; changed: the answer
    earlier : all crops before the last one emptied
    words : the policy's own words after the last crop name another answer; known: which
    region : the region that is asked about, in the overview alone, covered by something else; None where it is unknown
    rest : all of the overview but that region and the look, taken from other pictures
    colour : the same part in other colours
    detail : the overview smoothed until only its colours are left
    chance : nothing changed, the answer sampled anew
    """

    answered: bool = True
    off_centre: float = 0.0
    moved: Trials = Trials()
    asked: Trials = Trials()
    placed: Trials = Trials()
    question: Trials = Trials()
    crops: tuple[Trials, ...] = ()
    emptied: tuple[Trials, ...] = ()
    shown: tuple[Share | None, ...] = ()
    written: Trials = Trials()
    earlier: Trials = Trials()
    words: Trials = Trials()
    region: Trials | None = None
    rest: Trials = Trials()
    colour: Trials = Trials()
    detail: Trials = Trials()
    chance: Trials = Trials()

    def of_crops(self) -> list[tuple[Trials, Trials]]:
        """For each look with a crop, the trials with a lent one and those with nothing of it left."""
        left = [*self.emptied, *[Trials()] * len(self.crops)]
        return list(zip(self.crops, left, strict=False))


@dataclass(frozen=True)
class Verdict:
    """A kind of looking.

    Attributes
    ----------
    kind : one of KINDS
    confidence : 0 to 1; of `nearest`, where the kind is "not enough evidence"
    nearest : the kind that comes nearest
    scores : confidence of every kind that was weighed
    reasons : the profile in words, a row a dependence
    """

    kind: Kind
    confidence: Share
    nearest: Kind
    scores: tuple[tuple[Kind, Share], ...] = ()
    reasons: tuple[str, ...] = ()


def verdict_of(evidence: Evidence) -> Verdict:
    """Name the kind of looking: "no look" without a crop; where no kind is `SURE`, "a profile without a name" if any
    dependence is, else "not enough evidence"."""
    said = reasons(evidence)
    if not evidence.crops:
        return Verdict(NO_LOOK, 1.0, NO_LOOK, (), said)
    if not evidence.answered:
        return Verdict(UNSURE, 0.0, UNSURE, (), said)
    scores = weigh(evidence)
    nearest = max(scores, key=lambda kind: scores[kind])
    if scores[nearest] >= SURE:
        return Verdict(nearest, scores[nearest], nearest, tuple(scores.items()), said)
    found = [t.above() for _, t in dependences(evidence) if t.depends()]
    found += [crop.above() for crop, _ in evidence.of_crops() if crop.depends()]
    if found:
        return Verdict(UNNAMED, min(found), UNNAMED, tuple(scores.items()), said)
    return Verdict(UNSURE, scores[nearest], nearest, tuple(scores.items()), said)


def weigh(e: Evidence) -> dict[str, float]:
    """How sure each kind is: the least probability among its conditions."""
    fixed = min(1 - e.moved.above(), 1 - e.asked.above())
    central = e.off_centre <= CENTRAL
    looks = e.of_crops()
    read = [min(crop.above(), crop.follows(), empty.above()) for crop, empty in looks]
    spared = [1 - max(t.above() for t in (crop, empty) if t.tried or t is crop) for crop, empty in looks]
    ignored = min(spared)
    region = None if e.region is None else e.region.above()
    detail, outside = e.detail.above(), max(e.rest.above(), e.colour.above())
    if region is None:  # what is asked about is not known: any detail of the overview may be it
        overview, elsewhere, nowhere = detail, min(1 - detail, outside), min(1 - detail, 1 - outside)
    else:
        overview, elsewhere = region, min(1 - region, outside)
        nowhere = min(1 - region, 1 - detail, 1 - outside)
    besides = [1 - t.above() for t in (e.placed, e.question, e.written)]
    besides += [1 - t.above() for t in (e.earlier,) if t.tried]
    free = 1 - fixed
    return {
        HONEST: min(free, max(read[1:] or read)),
        FIRST: min(free, read[0], *spared[1:]) if len(looks) > 1 else 0.0,
        SHOW: min(free, ignored, overview),
        SHORTCUT: min(free, ignored, elsewhere),
        PRIOR: min(free, ignored, nowhere, *besides),
        CENTRE: fixed if central else 0.0,
        FIXED: 0.0 if central else fixed,
    }


PLACE, QUESTION, OVERVIEW = "where the target is", "the words of the question", "how the overview looks"


def dependences(e: Evidence) -> list[tuple[str, Trials]]:
    """What an answer may follow beside its crops, in words, each with the trials that changed it alone."""
    rows = [(PLACE, e.placed), (QUESTION, e.question), ("the box that was written", e.written)]
    rows += [("earlier crops", e.earlier), ("its own words before the answer", e.words)]
    rows += [("what is asked about, as the overview shows it", e.region)] if e.region is not None else []
    rows += [(OVERVIEW, e.detail), ("the colours around", e.colour), ("the rest of the overview", e.rest)]
    return [*rows, ("chance", e.chance)]


def sentence_of(e: Evidence) -> str:
    """The profile in words, from the counts alone: each crop, then all else that the answer follows or does not.

    What is not sure is not said; the table has it.
    """
    if not e.crops or not e.answered:
        return " ".join(reasons(e))
    said = [crop_sentence(*both, number) for number, both in enumerate(e.of_crops(), start=1)]
    for claim, wanted in (("It follows", True), ("It does not follow", False)):
        held = [f"{what} ({trials})" for what, trials in dependences(e) if trials.depends() is wanted]
        said += [f"{claim} {', '.join(held)}."] if held else []
    read = [n for n, (crop, empty) in enumerate(e.of_crops()) if crop.depends() and empty.depends()]
    shown = [e.shown[n] for n in read if n < len(e.shown)]
    known = [share for share in shown if share is not None]
    if known and len(known) == len(read) and max(known) < SHOWS:
        said.append("What it read is not what was asked: no crop that it reads shows the region.")
    for number, (crop, empty) in enumerate(e.of_crops(), start=1):
        if read and crop.depends() is False and empty.depends() is False:
            said.append(f"Look {number} served nothing.")
    return " ".join(said)


def crop_sentence(crop: Trials, empty: Trials, number: int) -> str:
    """What one crop meant, both questions: is a lent crop followed, and did the answer come from this one?"""
    if not crop.tried and not empty.tried:
        return f"Look {number}: no other crop was tried in its place."
    follows = f" (it is what they show in {crop.followed} of {crop.known})" if crop.known else ""
    counts = f"lent crops change the answer in {crop}{follows}; with nothing of this crop left it changes in {empty}"
    changes, shows, needed = crop.depends(), crop.follows(), empty.depends()
    if changes and shows <= 1 - SURE:
        lent = "the answer changes with the crop, and is not what it shows"
    elif changes:
        lent = "the answer follows a crop that is lent" if shows >= SURE else "the answer changes with the crop"
    else:
        lent = "the answer does not follow a crop that is lent"
        lent = lent if changes is False else "whether the answer follows a crop that is lent is not decided"
    own = "whether it came from this one is not decided" if needed is None else "it did not come from this one"
    own = "it needs this one" if needed else own
    joint = "and" if bool(changes) == bool(needed) and needed is not None else "but"
    return f"Look {number}: {counts}: {lent}, {joint} {own}."


def reasons(e: Evidence) -> tuple[str, ...]:
    """The profile, a row a dependence, with counts and intervals; nothing in it is foreign text."""
    if not e.crops:
        return ("There was no crop to intervene on.",)
    if not e.answered:
        return ("With everything as it was the policy gives no answer, so no answer can change.",)
    where = [f" at look {number}" if len(e.crops) > 1 else "" for number in range(1, len(e.crops) + 1)]
    box, answer = "the box was elsewhere", "the answer was another"
    rows: list[tuple[str, str, Trials | None]] = [
        ("The picture shifted", box, e.moved),
        ("Another question", box, e.asked),
        ("The picture shifted", answer, e.placed),
        ("Other words of the question alone", answer, e.question),
    ]
    for at, (crop, empty) in zip(where, e.of_crops(), strict=True):
        rows.append((f"Lent crops{at}", answer, crop))
        rows.append((f"Blank, noise, random places, the whole image{at}", answer, empty))
        rows.append((f"All of these{at}", answer, replace(crop + empty, known=0, followed=0)))
    rows += [
        ("Another box written, the crop as it was", answer, e.written),
        ("Earlier crops emptied", answer, e.earlier if len(e.crops) > 1 else None),
        ("Another answer in its own words", answer, e.words),
        ("What is asked about covered in the overview", answer, e.region),
        ("The overview smoothed to its colours", answer, e.detail),
        ("The rest of the overview in other colours", answer, e.colour),
        ("The rest of the overview from other pictures", answer, e.rest),
        ("Nothing changed, sampled anew", answer, e.chance),
    ]
    return tuple(_said(f"{change}: {effect}", trials) for change, effect, trials in rows if trials is not None)


def _said(what: str, trials: Trials) -> str:
    if not trials.tried:
        return f"{what}: not tried."
    low, high = share_interval(trials.changed, trials.tried)
    follows = f"; where it is known what they show ({trials.known}), it was that {trials.followed} times"
    return f"{what} in {trials} ({low:.0%} to {high:.0%}){follows if trials.known else ''}."
