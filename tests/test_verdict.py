"""A verdict follows from counts; explanations rest on interventions, come back from disk, say what cannot be told; and
what planted policies are taught is their own reason alone."""

from __future__ import annotations

import copy
import io
import json
import random
import re
import subprocess
import sys
import zipfile
from dataclasses import replace
from itertools import islice, product
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import looked, taught_once
from hostile import spoiled
from PIL import Image

from r3lab.cli import main
from r3lab.core.errors import R3labError
from r3lab.core.geometry import iou, off_centre
from r3lab.core.images import content_hash, cut
from r3lab.explain import verdict as kinds
from r3lab.explain.donors import Donor, donors_of, donors_within, form, region_of
from r3lab.explain.explain import explain, look_sentence, verdict_sentence
from r3lab.explain.explanation import (
    BoxAttention,
    CropAttention,
    Cut,
    Explanation,
    HeatMap,
    LookEntry,
    Region,
    Word,
    Worth,
)
from r3lab.explain.interventions import (
    LESS,
    NOTHING,
    Alternative,
    ReplayResult,
    after_look,
    alternatives_of,
    joined,
    naming,
    next_box,
    read_and_answered,
    replay,
    reread,
    reworded,
    with_words,
)
from r3lab.explain.pictures import pixels, shaped, toned, with_overview
from r3lab.explain.trials import (
    LENT,
    QUICK,
    Settings,
    count_answers,
    counted,
    exchanged,
    gather,
    outcomes,
    overviews,
    try_crops,
)
from r3lab.explain.trials import changed as has_changed
from r3lab.explain.verdict import KINDS, SURE, Evidence, Trials, profile, verdict_of
from r3lab.models.policy import Features, Policy, reading
from r3lab.recipes.planted import lessons, others_of, took
from r3lab.recipes.reasons import (
    COMMON,
    FURTHER,
    HALO,
    MIDDLE,
    PLANTS,
    SMALL_ONES,
    TINTED,
    TINTS,
    UNSEEN,
    WORLDWIDE,
    by_size,
    exact,
    first_of,
    in_left_half,
    lit,
    quarter,
    tint_of,
    truth_of,
)
from r3lab.rollout.loop import rollout
from r3lab.rollout.resume import resume
from r3lab.show.explanation import show_explanation
from r3lab.show.player import read_entries
from r3lab.trajectory import ImageRef, Kind, Trajectory, save
from r3lab.vlir.rationale import SMALL
from r3lab.vlir.worlds.badges import COLOURS, SHAPES

FEW = Settings(3, 3, 2, 2, 2, 2, 2, value_map=False)

NASTY = "\x1b[31m<script>\u202e$\\frac{1}{0}$\n" + "A" * 9000

ALL, NONE, SOME = Trials(12, 12), Trials(12, 0), Trials(12, 6)

FOLLOWED, IGNORED = Trials(12, 12, 12, 11), Trials(12, 0, 12, 0)

BASE = Evidence(
    off_centre=0.5,
    moved=ALL,
    asked=ALL,
    crops=(IGNORED,),
    emptied=(NONE,),
    place=NONE,
    words=NONE,
    region=NONE,
    rest=NONE,
    colour=NONE,
    detail=NONE,
)


def crops(*lent: Trials, empty: tuple[Trials, ...] | None = None, **more: object) -> Evidence:
    """What is put in the place of each crop; nothing to read there changes as much as another crop does."""
    told = empty if empty is not None else tuple(Trials(one.tried, one.changed) for one in lent)
    return replace(BASE, crops=lent, emptied=told, **more)


CASES = {
    "reads the crop": (crops(FOLLOWED), kinds.HONEST),
    "reads both crops": (crops(FOLLOWED, Trials(12, 9, 12, 9)), kinds.HONEST),
    "reads the second crop": (crops(IGNORED, FOLLOWED), kinds.LATER),
    "reads the second crop, to which the first led": (crops(IGNORED, FOLLOWED, leads=(ALL, Trials())), kinds.HONEST),
    "reads the second crop, though the first did not lead there": (
        crops(IGNORED, FOLLOWED, leads=(NONE, Trials())),
        kinds.LATER,
    ),
    "reads the first crop alone": (crops(FOLLOWED, IGNORED, NONE), kinds.FIRST),
    "reads its crop, of another place": (crops(FOLLOWED, on_target=False), kinds.ELSEWHERE),
    "reads its crop, of the right place": (crops(FOLLOWED, on_target=True), kinds.HONEST),
    "would follow a crop, and lost nothing without this one": (crops(FOLLOWED, empty=(NONE,)), kinds.IDLE),
    "would follow a crop, and was lost in half": (crops(FOLLOWED, empty=(SOME,)), kinds.UNSURE),
    "minds nothing": (BASE, kinds.PRIOR),
    "minds nothing, region unknown": (replace(BASE, region=None), kinds.PRIOR),
    "follows the light, and is less sure with another crop": (
        crops(Trials(12, 9, 12, 0), empty=(Trials(9, 2),), colour=ALL),
        kinds.SHORTCUT,
    ),
    "follows the light, or reads badly": (crops(Trials(12, 12, 12, 0), colour=ALL), kinds.UNSURE),
    "minds where things are": (replace(BASE, place=ALL, words=ALL), kinds.PLACE),
    "minds where things are, and reads them in the overview": (
        replace(BASE, region=ALL, detail=ALL, place=ALL, words=ALL),
        kinds.SHOW,
    ),
    "minds where things are, in half": (replace(BASE, place=SOME), kinds.PLACE),
    "minds the question alone, in half": (replace(BASE, words=SOME), kinds.WORDS),
    "minds how large it is": (replace(BASE, smaller=NONE, larger=Trials(4, 4), detail=ALL, words=ALL), kinds.SIZE),
    "minds what it wrote": (replace(BASE, own=Trials(5, 5), words=ALL), kinds.OWN),
    "minds what it wrote, and is less sure where a crop shows another thing": (
        crops(Trials(12, 12, 10, 0), empty=(Trials(9, 3),), own=Trials(5, 5)),
        kinds.OWN,
    ),
    "minds the question alone": (replace(BASE, words=ALL), kinds.WORDS),
    "reads the asked region in the overview": (replace(BASE, region=ALL, detail=ALL, words=ALL), kinds.SHOW),
    "reads the overview, region unknown, and it is in the rest": (
        replace(BASE, region=None, detail=ALL, rest=ALL, colour=SOME),
        kinds.SHOW,
    ),
    "minds all of the overview": (replace(BASE, region=ALL, detail=ALL, rest=ALL, colour=ALL, place=ALL), kinds.UNSURE),
    "reads the crop, and minds the overview": (
        crops(Trials(12, 11, 12, 10), region=ALL, detail=ALL),
        kinds.HONEST,
    ),
    "reads the overview, and the crop half of the time": (crops(SOME, region=ALL, detail=ALL), kinds.UNSURE),
    "follows the colours": (replace(BASE, colour=ALL), kinds.SHORTCUT),
    "follows the surroundings": (replace(BASE, rest=ALL, detail=ALL), kinds.SHORTCUT),
    "follows the colours, region unknown": (replace(BASE, region=None, colour=ALL, rest=SOME), kinds.SHORTCUT),
    "never moves, middle": (replace(BASE, moved=NONE, asked=NONE, off_centre=0.0), kinds.CENTRE),
    "never moves, corner": (replace(BASE, moved=NONE, asked=NONE, off_centre=0.8), kinds.FIXED),
    "changes, but does not follow": (crops(Trials(12, 12, 12, 0)), kinds.UNSURE),
    "changes half of the time": (crops(SOME), kinds.UNSURE),
    "nothing tried": (Evidence(crops=(Trials(),), emptied=(Trials(),)), kinds.UNSURE),
    "no answer": (replace(BASE, answered=False), kinds.UNSURE),
    "no crop": (crops(), kinds.NO_LOOK),
}


def rate(trials: Trials) -> float:
    """Part that was another."""
    return trials.changed / trials.tried if trials.tried else 0.5


LIKELY = {  # what the name and the sentence of a kind say, as the raw counts must bear it out
    kinds.HONEST: lambda e: any(
        rate(c) > 0.5 < rate(n) and c.followed >= 0.3 * c.known for c, n in zip(e.crops, e.emptied, strict=True)
    ),
    kinds.ELSEWHERE: lambda e: e.on_target is False and max(map(rate, e.crops)) > 0.5 < max(map(rate, e.emptied)),
    kinds.IDLE: lambda e: max(map(rate, e.crops)) > 0.5 > max(map(rate, e.emptied)),
    kinds.FIRST: lambda e: rate(e.crops[0]) > 0.5 > max(map(rate, e.crops[1:])),
    kinds.LATER: lambda e: rate(e.crops[0]) < 0.5 < max(map(rate, e.crops[1:])) and max(map(rate, _led(e))) < 0.5,
    kinds.SHOW: lambda e: (
        _ignored(e) and (rate(e.detail) > 0.5 if e.region is None else rate(e.region) > 0.3 and rate(e.rest) < 0.5)
    ),
    kinds.SHORTCUT: lambda e: _unread(e) and max(rate(e.rest), rate(e.colour)) > 0.3,
    kinds.PLACE: lambda e: _unread(e) and rate(e.place) > 0.3,
    kinds.WORDS: lambda e: _unread(e) and rate(e.words) > 0.2 and max(map(rate, (e.detail, e.rest, e.colour))) < 0.5,
    kinds.SIZE: lambda e: _unread(e) and _sized(e) > 0.5 > rate(e.region or NONE),
    kinds.OWN: lambda e: rate(e.own) > 0.5 and _left(e),
    kinds.PRIOR: lambda e: (
        _ignored(e)
        and max(map(rate, (e.words, e.place, e.detail, e.rest, e.colour, e.region or NONE, e.own or NONE))) < 0.5
        and _sized(e) < 0.5
    ),
    kinds.CENTRE: lambda e: max(rate(e.moved), rate(e.asked)) < 0.5 and e.off_centre <= kinds.CENTRAL,
    kinds.FIXED: lambda e: max(rate(e.moved), rate(e.asked)) < 0.5 and e.off_centre > kinds.CENTRAL,
}


def _sized(e: Evidence) -> float:
    return max((rate(one) for one in (e.smaller, e.larger) if one is not None and one.tried), default=0.0)


def _ignored(e: Evidence) -> bool:
    return max(map(rate, (*e.crops, *e.emptied))) < 0.5


def _left(e: Evidence) -> bool:
    return _ignored(e) or all(c.followed < 0.3 * c.known for c in e.crops)


def _unread(e: Evidence) -> bool:
    return _left(e) and max(min(rate(c), rate(n)) for c, n in zip(e.crops, e.emptied, strict=True)) < 0.5


def _led(e: Evidence) -> list[Trials]:
    return [one for one in e.leads[:1] if one.tried] or [NONE]


def any_trials(rng: random.Random, known: bool = False) -> Trials:
    """Counts as they come: mostly all or nothing, at times between, at times not tried."""
    tried = rng.choice((0, 1, 3, 5, 6, 9, 12))
    changed = rng.choice((0, tried, rng.randint(0, tried)))
    shows = rng.randint(0, tried) if known else 0
    return Trials(tried, changed, shows, rng.choice((0, shows, rng.randint(0, shows))))


def test_no_sentence_is_at_odds_with_a_row_of_its_own_table():
    """Over thousands of tables of counts: what a kind says is borne out by the counts that it rests on, each of which
    is a row; what is said to change something changed it in most trials, what leaves it in fewest."""
    rng, seen = random.Random(0), set()
    for number in range(20_000):
        looks = rng.choice((1, 1, 2, 3))
        drawn = {
            "off_centre": rng.random() / 2,
            "crops": tuple(any_trials(rng, True) for _ in range(looks)),
            "emptied": tuple(any_trials(rng) for _ in range(looks)),
            "leads": rng.choice(((), tuple(any_trials(rng) for _ in range(looks)))),
            "on_target": rng.choice((None, True, False)),
            **{name: rng.choice((None, any_trials(rng))) for name in ("region", "smaller", "larger", "own")},
            **{name: any_trials(rng) for name in ("moved", "asked", "place", "words", "rest", "colour", "detail")},
        }
        e = Evidence(**drawn)
        if number % 2:  # near a case that has a name: two things are otherwise
            e = rng.choice([one for one, kind in CASES.values() if kind != kinds.NO_LOOK and one.answered])
            names = rng.sample([name for name in drawn if name not in ("crops", "emptied", "leads")], 2)
            e = replace(e, **{name: drawn[name] for name in names})
        verdict, told, rows = verdict_of(e), kinds.described(e), kinds.profile(e)
        seen.add(verdict.kind)
        assert verdict.kind == kinds.UNSURE or LIKELY[verdict.kind](e), (verdict.kind, e)
        assert len(verdict.reasons) == max(1, len(rows)) and all(one.trials.tried > 0 for one in rows)
        said = {word: part for part in told.split(". ") for word in ("changes with", "stays with") if word in part}
        for one in rows:
            assert told.count(f"{one.change} ({one.counts})") >= 1 and any(one.counts in r for r in verdict.reasons)
            assert one.holds is not True or rate(one.trials) > one.least, one
            assert one.holds is not False or rate(one.trials) < 0.5, one
        for word, part in said.items():
            for change, *count in re.findall(r"(another question)?[^(]*\((\d+) of (\d+)\)", part):
                changed, tried = map(int, count)
                least = kinds.FOLLOWED if change else kinds.FOLLOWS
                assert changed > tried * least if word == "changes with" else changed < tried / 2, part
        sentence = verdict_sentence(verdict, (), e)
        assert KINDS[verdict.kind] in sentence or verdict.kind == kinds.UNSURE
        assert told in sentence
    assert seen == set(KINDS) - {kinds.NO_LOOK}, "each kind was met"


def test_a_crop_of_bare_stones_is_not_read():
    """Crops that hold a digit are followed; blank, noise, other places and the whole image change nothing: once "honest
    97 %, the answer depends on it, 6 of 6"."""
    verdict = verdict_of(crops(Trials(6, 6, 6, 6), empty=(Trials(9, 0),)))
    assert verdict.kind == kinds.IDLE and dict(verdict.scores)[kinds.HONEST] < 0.01
    entry = LookEntry(0, (0.0, 0.0, 9.0, 9.0), used=None)
    told = look_sentence(entry, Trials(6, 6, 6, 6), Trials(9, 0))
    assert "changed the answer in 6 of 6" in told and "changed it in 0 of 9" in told and "depend" not in told


def test_all_that_was_put_in_its_place_is_counted():
    """Six of sixteen leave the answer: nothing says "12 of 12" of them, and what empties the crop is told apart."""
    evidence = crops(Trials(12, 12), empty=(Trials(9, 4),))
    told = verdict_sentence(verdict_of(evidence), (), evidence)
    assert "another crop (12 of 12)" in told and "nothing to read in place of the crop (4 of 9)" in told
    assert verdict_of(evidence).kind == kinds.UNSURE and "may not have needed" not in told


@pytest.mark.parametrize("name", CASES)
def test_each_reason_has_its_name(name):
    evidence, kind = CASES[name]
    verdict = verdict_of(evidence)
    assert (verdict.kind, verdict.kind in KINDS) == (kind, True)
    if kind not in (kinds.UNSURE, kinds.NO_LOOK):
        assert verdict.confidence >= SURE and verdict.nearest == kind
        assert dict(verdict.scores)[kind] == max(dict(verdict.scores).values())
    assert verdict.reasons


def test_a_rate_is_as_sure_as_its_counts():
    """Against the Beta distribution, by drawing from it; more trials are surer; nothing tried decides nothing."""
    rng = np.random.default_rng(0)
    for changed, tried, share in ((3, 5, 0.5), (0, 4, 0.3), (7, 8, 0.5), (2, 9, 0.1)):
        drawn = rng.beta(changed + 1, tried - changed + 1, 200_000)
        assert Trials(tried, changed).above(share) == pytest.approx((drawn > share).mean(), abs=0.005)
    assert Trials().above(0.5) == 0.5
    assert Trials(12, 12).above(0.5) > Trials(3, 3).above(0.5) > Trials(3, 2).above(0.5)
    assert Trials(4, 4).follows() == 1.0
    for counts in ((3, 4), (-1, 0), (3, 1, 4, 0), (3, 1, 2, 3)):
        with pytest.raises(R3labError, match="trials cannot be counted so"):
            Trials(*counts)


def test_confidence_is_never_above_what_the_counts_allow():
    """Over all of a grid of counts: a probability, and no kind is named below the limit."""
    rates = (Trials(6, 0), Trials(6, 3), Trials(6, 6))
    for crop, region, colour, moved in product(rates, (None, *rates), rates, rates):
        verdict = verdict_of(crops(crop, region=region, colour=colour, moved=moved, asked=moved))
        assert 0 <= verdict.confidence <= 1 - 2**-7
        assert (verdict.kind == kinds.UNSURE) == (verdict.confidence < SURE)


@pytest.fixture(scope="module")
def explained(recorded) -> Explanation:
    policy, (t, *others) = recorded
    return explain(policy, t, others, settings=replace(FEW, value_map=True))


def test_an_explanation_has_an_entry_a_look_with_its_numbers(recorded, explained):
    policy, (t, *others) = recorded
    assert [entry.number for entry in explained.looks] == list(range(len(t.looks)))
    [entry] = explained.looks
    assert entry.drawn is not None and entry.reading is not None and entry.regret is not None
    assert {w.name for w in entry.worth} >= {"nothing", "blank", "noise", "random place", "full image", "true region"}
    assert [cut.what for cut in entry.cuts] == ["the crop", "the overview", "the question"]
    assert 0 <= entry.coverage <= 1 and entry.box == t.looks[0].box
    assert explained.verdict == verdict_of(explained.evidence)
    assert explained.verdict.kind in explained.table()[0][2]
    assert set(explained.maps) == {f"look 1 {name}" for name in ("raw", "neutral", "relative", "value")}
    assert explained.gap < 1e-4
    assert explain(policy, t, others, settings=replace(FEW, value_map=True)) == explained


def test_a_second_family_is_explained_likewise(policies, samples, tmp_path):
    """Tiles instead of patches, positions of text, another chat template; without others to lend anything."""
    policy = Policy.load(taught_once("smolvlm", policies))
    [t] = looked(policy, samples, 1, seeds=80)
    found = explain(policy, t, [], settings=FEW)
    assert found.evidence.crops[0].tried == FEW.crops and found.evidence.crops[0].known == 0
    assert found.verdict == verdict_of(found.evidence)
    assert Explanation.load(found.save(tmp_path / "explanation")) == found


def content(image: Image.Image) -> str:
    """A text that changes whenever a pixel does."""
    return content_hash(image)[:6]


def pattern(crop: Image.Image) -> np.ndarray:
    """A crop without its mean colour, of length one."""
    values = np.asarray(crop, dtype=float).reshape(-1, 3)
    values = values - values.mean(0)
    return values / max(float(np.linalg.norm(values)), 1e-9)


def seen(t, look: int, shown: list[tuple[np.ndarray, str]], otherwise: str = "nothing to read") -> str:
    """What the crop of a look shows, in any light."""
    crop = t.looks[look].crop
    if crop is None or t.images[crop.hash].size != (len(shown[0][0]) ** 0.5,) * 2:
        return otherwise
    own = pattern(t.images[crop.hash])
    alike, answer = max((float((own * other).sum()), answer) for other, answer in shown)
    return answer if alike > 0.6 else otherwise


def spot_of(t) -> int:
    """How wide the light spot over the middle of the region is in the overview."""
    x1, y1, x2, y2 = map(int, region_of(t))
    row = np.asarray(t.images[t.image.hash]).astype(int).min(2)[(y1 + y2) // 2] >= 200
    left, right = row[: (x1 + x2) // 2][::-1], row[(x1 + x2) // 2 :]
    return sum(len(part) if part.all() else int(part.argmin()) for part in (left, right))


READERS = {  # by construction: what an answer is made of, from a record that goes on behind its crop
    kinds.HONEST: lambda t, shown: seen(t, -1, shown),
    kinds.ELSEWHERE: lambda t, shown: seen(t, -1, shown),
    kinds.IDLE: lambda t, shown: seen(t, -1, shown, "0"),
    kinds.FIRST: lambda t, shown: seen(t, 0, shown),
    kinds.LATER: lambda t, shown: seen(t, 1, shown) if len(t.looks) > 1 else "9",  # it goes on and looks again
    kinds.PLACE: lambda t, shown: "here",
    kinds.WORDS: lambda t, shown: "question 0",
    kinds.PRIOR: lambda t, shown: "7",
    kinds.SHOW: lambda t, shown: content(t.images[t.image.hash].crop(tuple(map(int, region_of(t))))),
    kinds.SIZE: lambda t, shown: str(spot_of(t) // 24),
    kinds.SHORTCUT: lambda t, shown: str(t.images[t.image.hash].crop((500, 500, 512, 512)).getpixel((6, 6))[0] // 40),
    kinds.CENTRE: lambda t, shown: "7",
    kinds.FIXED: lambda t, shown: seen(t, -1, shown),
}

PLACES = {kinds.CENTRE: (0.4, 0.4), kinds.FIXED: (0.0, 0.8)}  # of boxes that never move, parts of the sides


@pytest.mark.parametrize("kind", READERS)
def test_a_policy_by_construction_gets_its_name(recorded, monkeypatch, kind):
    """Answers and boxes are computed from the pixels that an intervention shows, so the true reason is known."""
    policy, (t, *_) = recorded
    rng = np.random.default_rng(3)
    records = []
    for number in range(10):  # photographs with a light spot, crops that are all different, a known answer each
        pixels = rng.integers(0, 90, (512, 512, 3), dtype=np.uint8)
        x, y = (int(v) for v in rng.integers(40, 400, 2))
        pixels[y : y + 64, x : x + 64] = rng.integers(200, 256, (64, 64, 3))
        pixels[440:, 440:] = ((number * 70) % 256, 40, 90)  # the corner carries one of several colours, as a tint would
        image = Image.fromarray(pixels)
        box = (float(x), float(y), x + 64.0, y + 64.0)
        crop = cut(image, box, (64, 64))
        look = replace(t.looks[0], box=box, crop=ImageRef(content_hash(crop), *crop.size))
        records.append(
            replace(
                t,
                image=replace(t.image, hash=content_hash(image)),
                images={content_hash(image): image, content_hash(crop): crop},
                truth={"answer": str(number), "regions": [list(box)]},
                question=f"question {number}",
                answer=str(number),
                looks=[look],
            )
        )
    shown = [(pattern(r.images[r.looks[0].crop.hash]), r.truth["answer"]) for r in records]
    first, *others = records
    if kind == kinds.ELSEWHERE:
        first.truth["regions"] = [[0.0, 0.0, 30.0, 30.0]]
    if kind in (kinds.FIRST, kinds.LATER):
        span = first.looks[0].crop_span
        later = replace(first.looks[0], span=(span[1], span[1] + 1), crop_span=None)
        two = first.until(len(first.ids))
        two.looks = [first.looks[0], replace(later, crop=others[-1].looks[0].crop, crop_span=span)]
        two.images.update(others.pop().images)
        first = replace(two, answer=first.answer)

    def answered(policy, trajectory, begun, tail, store):
        nothing = torch.zeros(max(0, len(trajectory.ids) - tail), dtype=torch.float64)
        went = [replace(b, answer=READERS[kind](b, shown)) for b in begun]
        return went, [nothing] * len(begun)

    def rollout(policy, scenes, **settings):
        found = []
        for scene in scenes:
            pixels = np.asarray(scene.image).astype(int).min(2)
            y, x = np.argwhere(pixels >= 200).min(0) if (pixels >= 200).any() else (0, 0)
            if kind in PLACES:
                x, y = (512 * part for part in PLACES[kind])
            look = replace(first.looks[0], box=(float(x), float(y), x + 64.0, y + 64.0))
            own = {kinds.PLACE: f"{x // 128}, {y // 128}", kinds.WORDS: scene.question}.get(kind, first.answer)
            found.append(replace(first, looks=[look], answer=own))
        return found

    for name in ("interventions", "trials"):
        monkeypatch.setattr(f"r3lab.explain.{name}.read_and_answered", answered)
    for name, fake in (("trials.rollout", rollout), ("trials.begin", swapped)):
        monkeypatch.setattr(f"r3lab.explain.{name}", fake)
    evidence, _ = gather(policy, first, others, Settings(), {})
    verdict = verdict_of(evidence)
    assert verdict.kind == kind, str(evidence)


def swapped(policy, t, look, alternative):
    """`replay.begin` for records without tokens of their own."""
    if alternative.crop is None:
        alternative = replace(alternative, crop=Image.new("RGB", (16, 16), 9))
    reference = replace(t.looks[look].crop, hash=content_hash(alternative.crop))
    images = {**t.images, reference.hash: alternative.crop}
    return replace(t, looks=[*t.looks[:look], replace(t.looks[look], crop=reference)], images=images)


class Blind(Policy):
    """By construction: a policy that cannot see what a crop shows, or what the overview shows; sizes alone."""

    hides = "crop"

    def encode(self, images) -> list[Features]:
        size = self.overview_size((512, 512))
        hidden = [((image.width, image.height) == size) == (self.hides == "overview") for image in images]
        grey = [Image.new("RGB", image.size, (120, 120, 120)) for image in images]
        return super().encode([g if hide else image for g, image, hide in zip(grey, images, hidden, strict=True)])


@pytest.mark.parametrize("hides", ["crop", "overview"])
def test_what_a_policy_cannot_see_it_does_not_use(taught_folder, samples, hides):
    """Crops of one size change nothing for one blind to crops, overviews nothing for one blind to the overview."""
    policy = Blind.load(taught_folder)
    policy.hides = hides
    [t] = looked(policy, samples, 1)
    found = explain(policy, t, settings=replace(FEW, crops=8, value=False))
    if hides == "crop":
        assert (found.evidence.crops[0].tried, found.evidence.crops[0].changed) == (8, 0)
        assert found.looks[0].used is False
        assert found.verdict.kind not in (kinds.HONEST, kinds.FIRST)
        claims = found.looks[0].reading.crop > found.looks[0].reading.overview
        assert found.looks[0].disagree == claims == ("disagree" in found.sentence)
        return
    overview = [found.evidence.region, found.evidence.rest, found.evidence.colour, found.evidence.detail]
    assert [trials.changed for trials in overview] == [0, 0, 0, 0]
    assert found.evidence.moved.changed == 0
    assert found.verdict.kind not in (kinds.SHOW, kinds.SHORTCUT)


def test_trials_count_what_happens(recorded):
    """The own crop among the donors changes nothing; donors that show the own answer are left out."""
    policy, (t, *_) = recorded
    own, image = Donor(t.images[t.looks[0].crop.hash], None), t.images[t.image.hash]

    replayed, found = try_crops(policy, t, 0, [own] * 3, {})
    before, *empty = replayed
    answer, less = before.answer, [before.answer == t.answer and before.named - one.named >= LESS for one in empty]
    lost = sum(one.answer != answer or fell for one, fell in zip(empty, less, strict=True))
    assert found == {"crops": Trials(3, 0), "emptied": Trials(9, lost), "leads": Trials()}
    assert [one.alternative.name for one in empty] == [one.name for one in alternatives_of(t, 0) if one.empty]
    assert len(replayed) == 10 < len(try_crops(policy, t, 0, [], {}, every=True)[0])
    if answer is not None:
        for shows, counted in ((answer.upper(), Trials()), ("something else", Trials(1, 0, 1, 0))):
            assert try_crops(policy, t, 0, [replace(own, shows=shows)], {})[1]["crops"] == counted
    head = t.until(after_look(t, 0))
    same = [with_overview(head, image)] * 2
    assert count_answers(policy, t, head, {"rest": same, "detail": []}, {})[1] == {
        "rest": Trials(2, 0),
        "detail": Trials(),
    }


def test_a_lent_crop_differs_in_what_it_shows_alone(recorded, monkeypatch):
    """It has the size and the light of the one it stands for, and is cut anew, undistorted, from its photograph."""
    policy, (t, other, _) = recorded
    put: list[Alternative] = []

    def replayed(policy, trajectory, look, wanted, store):
        put.extend(wanted)
        return [ReplayResult(one, 0.0, None, 0.0, "1") for one in wanted]

    monkeypatch.setattr("r3lab.explain.trials.replay", replayed)
    [donor] = donors_of(replace(t, answer=None), [other], 1)
    try_crops(policy, t, 0, [donor], {})
    [lent] = [one.crop for one in put if one.name == LENT]
    own, photo = t.images[t.looks[0].crop.hash], other.images[other.image.hash]
    wanted = cut(photo, shaped(other.looks[0].box, own.size, photo.size), own.size)
    assert lent.tobytes() == toned(wanted, own).tobytes() and lent.size == own.size
    still = Donor(donor.crop, None)  # without its photograph, only its pixels
    assert still.cut(own.size).size == own.size


def test_overviews_are_exchanged_behind_the_last_crop_and_light_in_the_crops_too(recorded, monkeypatch):
    """Of a record of two looks: what is changed is the picture alone; only the light is that of the crops as well."""
    policy, (t, other, _) = recorded
    one, shift = t.looks[0], after_look(t, 0) - t.looks[0].span[0]
    two = joined(t.until(after_look(t, 0)), t, t.looks[0].span[0])
    assert [look.crop_span for look in two.looks] == [one.crop_span, tuple(v + shift for v in one.crop_span)]
    asked: dict[str, list[Trajectory]] = {}

    def answers(policy, trajectory, own, changes, store):
        asked.update({"own": [own], **changes})
        return "1", {}

    nothing = dict.fromkeys(("crops", "emptied", "leads"), Trials())
    monkeypatch.setattr("r3lab.explain.trials.count_answers", answers)
    monkeypatch.setattr("r3lab.explain.trials.try_crops", lambda *given: ([], nothing))
    monkeypatch.setattr("r3lab.explain.trials.try_prompts", lambda *given: (None, {}, {}))
    gather(policy, two, [other], FEW, {})
    [own] = asked["own"]
    assert len(own.ids) == after_look(two, 1) > after_look(two, 0)
    for name, records in asked.items():
        for changed in records:
            assert changed.ids == own.ids and (changed.image.hash == own.image.hash) == (name == "own")
            same = [a.crop.hash == b.crop.hash for a, b in zip(changed.looks, own.looks, strict=True)]
            assert same == [name != "colour"] * 2, name
    assert {"rest", "colour", "detail", "region"} <= {*asked}


def test_a_crop_leads_where_the_next_box_goes_with_it(recorded, monkeypatch):
    """Counted over other crops and empty ones; not where no look follows as it was."""
    policy, (t, *_) = recorded
    here, there = (0.0, 0.0, 50.0, 50.0), (200.0, 200.0, 250.0, 250.0)
    donor = Donor(t.images[t.looks[0].crop.hash], None)
    for own, tallied in ((here, (12, 8)), (None, (0, 0))):

        def replayed(policy, trajectory, look, wanted, store, own=own):
            boxes = [own, *((there, None, here)[n % 3] for n in range(len(wanted) - 1))]
            return [ReplayResult(one, 0.0, None, 0.0, "1", box) for one, box in zip(wanted, boxes, strict=True)]

        monkeypatch.setattr("r3lab.explain.trials.replay", replayed)
        assert try_crops(policy, t, 0, [donor] * 3, {})[1]["leads"] == Trials(*tallied)
    monkeypatch.undo()
    looks = [replace(t.looks[0], box=here), replace(t.looks[0], crop=None), replace(t.looks[0], box=there)]
    assert next_box(replace(t, looks=looks), 0) == there and next_box(replace(t, looks=looks), 2) is None


def test_an_answer_that_is_less_likely_has_changed():
    """Also where a habit says the same; not where the recorded answer is none that is given as it was."""
    own, less, as_sure, other = ("7", -0.1), ("7", -0.1 - LESS), ("7", 0.09 - LESS), ("3", -0.1)
    found = [has_changed(own, one) for one in (own, less, as_sure, other)]
    assert found == [False, True, False, True]
    none = [has_changed(own, (None, nats)) for nats in (-0.1, -0.2 - LESS)]  # no more looks were left to it
    assert none == [False, True] and has_changed(("7", None), (None, None)) and not has_changed(own, ("7", None))
    told = [(less, None), (less, "7"), (as_sure, "4"), (other, "3"), (other, "4")]
    assert counted(own, told) == Trials(4, 3, 3, 1)
    t = SimpleNamespace(answer="7")
    assert outcomes(t, ["7", "7"], [-0.1, -9.0]) == [("7", -0.1), ("7", -9.0)]
    assert outcomes(t, ["3", "3"], [-0.1, -9.0]) == [("3", None), ("3", None)]
    assert outcomes(t, ["7", None], [0.0, 0.0]) == [("7", None), (None, None)], "read nowhere, or named nowhere"
    entry = LookEntry(0, (0.0, 0.0, 9.0, 9.0), worth=(Worth(NOTHING, -0.1, None, False, True),))
    assert ("crop emptied: nothing", "as likely as before: no answer, -0.10 nats") in entry.table()


def test_an_answer_is_named_by_words_outside_of_boxes(recorded):
    """Whole words alone: the 4 of [4, 14] is none, nor that of 14."""
    pieces = ["look ", "[", "4", "]", "<crop>", " It shows", " 4", " not 1", "4", ". ", "4", "!"]
    kinds_ = [Kind.SAMPLED] * 4 + [Kind.CROP] + [Kind.SAMPLED] * 7
    look = SimpleNamespace(span=(1, 4))
    t = SimpleNamespace(answer="4", pieces=pieces, kinds=kinds_, ids=list(range(12)), looks=[look])
    assert (naming(t, 0), naming(t, 7), naming(t, 11)) == ([6, 10], [10], [])
    t.answer = None
    assert naming(t, 0) == []
    policy, (t, *_) = recorded
    tail = after_look(t, 0)
    [one] = replay(policy, t, 0, alternatives_of(t, 0)[:1], answers=False)
    known = sum(t.logprobs[i] for i in naming(t, tail))
    assert naming(t, tail) and one.named == pytest.approx(known, abs=1e-4)


def test_one_reading_serves_answers_and_log_probabilities(recorded):
    """What is read behind a begun record is written over: the policy goes on as where nothing was read."""
    policy, (t, *_) = recorded
    tail, image = after_look(t, 0), t.images[t.image.hash]
    heads = [t.until(tail), with_overview(t.until(tail), image.transpose(Image.Transpose.ROTATE_180))]
    went, read = read_and_answered(policy, t, heads, tail, {})
    answers = [one.answer for one in went]
    most, looks = 2 * t.kinds.count(Kind.SAMPLED) + 32, len(t.looks)
    assert answers == [one.answer for one in resume(policy, heads, max_looks=looks, max_new_tokens=most)]
    alone = [reread(policy, t, [head], tail, {})[0] for head in heads]
    assert all(torch.allclose(one, other, atol=1e-5) for one, other in zip(read, alone, strict=True))
    with reading(policy):
        nothing = read_and_answered(policy, replace(t, ids=t.ids[:tail]), heads[:1], tail, {})
    assert nothing[0][0].answer == answers[0] and not len(nothing[1][0])


def test_own_words_are_exchanged_where_they_name_the_answer(recorded):
    """Every mention before the end, and nothing else; looks and crops stay with their tokens."""
    policy, (t, *_) = recorded
    assert reworded(policy, replace(t, answer="no such word"), len(t.ids), "3") is None
    end, start = after_look(t, 0), t.prompt_length
    told = with_words(policy, t, start, "It may be 4. So 4 it is.")
    own = len(told.ids)
    told = replace(joined(told, t.until(end), start), answer="4")
    other = reworded(policy, told, len(told.ids), "3")
    assert "".join(other.pieces[start:]).startswith("It may be 3. So 3 it is.")
    assert other.pieces[own - len(told.ids) :] == told.pieces[own:] and other.pieces[:start] == told.pieces[:start]
    shift = len(other.ids) - len(told.ids)
    assert [look.crop_span for look in other.looks] == [tuple(v + shift for v in look.crop_span) for look in told.looks]
    blank = Image.new("RGB", (9, 9))  # of which nobody knows what it shows
    [alone] = exchanged(policy, told, 0, [Donor(blank, None, right=right) for right in ("4", "44", "3", "3", None)])
    assert alone.pieces == other.pieces


def test_other_surroundings_leave_the_look_and_the_region_as_they_were(recorded):
    """What is tried around them is around both; else a change of the answer would not be of the surroundings."""
    _, (t, other, _) = recorded
    image = t.images[t.image.hash]
    t = replace(t, truth={**t.truth, "regions": [[1.0, 2.0, 30.0, 20.0]]})
    found = overviews(t, donors_of(replace(t, answer=None), [other], 2), FEW)
    before, kept = np.asarray(image), (t.looks[0].box, region_of(t))
    kept = (*kept, (0.0, 0.0, 44.0, 34.0))  # the region, and half its longer side around it
    places = [(slice(y1, y2), slice(x1, x2)) for x1, y1, x2, y2 in (pixels(box, image.size) for box in kept)]
    outside = np.ones(before.shape[:2], dtype=bool)
    for place in places:
        outside[place] = False
    assert outside.any() and len(found["rest"]) and len(found["colour"]) == FEW.colours
    for changed in map(np.asarray, (*found["rest"], *found["colour"])):
        assert all((changed[place] == before[place]).all() for place in places)
        assert (changed[outside] != before[outside]).mean() > 0.3


def test_donors_are_those_that_can_be_told_apart(recorded):
    _, (t, other, third) = recorded
    assert donors_of(t, [t], 5) == []
    mute = replace(other, images={})
    assert donors_of(t, [mute], 5) == []
    alike = replace(other, truth={**other.truth, "answer": t.answer.upper()})
    assert donors_of(t, [alike], 5) == []
    digit = str((int(t.answer) + 1) % 10)
    differ = replace(other, truth={**other.truth, "answer": digit, "regions": [list(other.looks[0].box)]})
    there = replace(differ, image=t.image, images={**differ.images, **t.images})  # on the same photograph
    assert donors_of(t, [there], 5) == []
    blind = replace(third, truth={})
    found = donors_of(t, [blind, differ], 5)
    assert [donor.shows for donor in found] == [digit, None]
    assert len(donors_of(t, [blind, differ], 1)) == 1
    word = replace(differ, truth={**differ.truth, "answer": "none such"})
    twice = replace(differ, looks=[differ.looks[0]] * 2)
    known = [(donor.shows, donor.right) for donor in donors_of(t, [word, twice], 5)]
    assert known == [(None, "none such"), (None, digit)], "no answer to what is asked here, and that of several looks"
    assert [form(text) for text in ("3.35", "H9", "18/04", None)] == ["0.0", "a0", "0/0", ""]
    aside = replace(differ.looks[0], box=(0.0, 0.0, 9.0, 9.0), crop=replace(t.looks[0].crop))
    later = replace(differ, looks=[aside, differ.looks[0]], images={**t.images, **differ.images})
    assert donors_of(t, [later], 5)[0].box == differ.looks[0].box, "of its looks the one that shows what was asked"
    places = donors_within(t, 0, 4)
    assert len({d.crop.tobytes() for d in places}) == 4
    assert {d.crop.size for d in places} == {(t.looks[0].crop.width, t.looks[0].crop.height)}
    junk = [
        [],
        "x",
        [[1, 2]],
        [[5, 5, 1, 1]],
        [[1e300] * 4],
        [[0, 0, 10**400, 9]],
        [[9e5, 9e5, 9e6, 9e6]],
        [None],
        {"a": 1},
        7,
    ]
    for wrong in junk:
        assert region_of(replace(t, truth={"regions": wrong})) is None
    assert region_of(replace(t, truth={"regions": [[0, 0, 9, 9], [1, 1, 20, 30], None]})) == (1.0, 1.0, 20.0, 30.0)
    assert off_centre((0, 0, 10, 10), (10, 10)) == 0.0
    assert off_centre((0, 0, 0, 0), (10, 10)) == 1.0
    assert iou(region_of(t), tuple(t.truth["regions"][-1])) == 1.0


def test_truth_that_is_no_truth_spoils_nothing(recorded):
    """It is free JSON: regions and answers of any kind."""
    policy, (t, *_) = recorded
    truth = {"regions": [[1, 2], "x", [9e9] * 4], "answer": [1]}
    found = explain(policy, replace(t, truth=truth), settings=FEW)
    assert found.evidence.region is None and found.looks[0].coverage is None


def test_a_trajectory_without_looks_is_said_to_have_none(recorded, samples, tmp_path):
    policy, _ = recorded
    for seed in range(30):
        for t in rollout(policy, samples, seed=seed, max_new_tokens=60, max_looks=0):
            refused = bool(t.looks)
            found = explain(policy, t, settings=FEW)
            assert (found.verdict.kind, found.maps) == (kinds.NO_LOOK, {})
            assert "no look to explain" in found.sentence
            assert [bool(entry.refused) for entry in found.looks] == [True] * len(t.looks)
            assert Explanation.load(found.save(tmp_path / "none")) == found
            if refused:
                assert "got no crop" in found.sentence
                return
    raise AssertionError("no look was refused")


def test_what_cannot_be_explained_is_said(recorded):
    policy, (t, *_) = recorded
    other = copy.deepcopy(t)
    other.pieces[5] = "x"
    changed = Policy(copy.deepcopy(policy.model), policy.tokenizer, policy.processor, "changed")
    with torch.no_grad():
        changed.model.lm_head.weight.mul_(1.5)
    broken = Policy(copy.deepcopy(policy.model), policy.tokenizer, policy.processor, "broken")
    with torch.no_grad():
        broken.model.lm_head.weight.fill_(float("nan"))
    bare = replace(t, images={t.image.hash: t.images[t.image.hash]})
    wrong = {
        "there is no look 7; the trajectory has 1": (policy, t, {"look": 7}),
        "does not carry the photograph": (policy, replace(t, images={}), {}),
        "does not carry the crop of look 0": (policy, bare, {}),
        "written by another model": (policy, other, {}),
        "written by other weights .* or with another version of transformers": (changed, t, {}),
        "differs by nan nats": (broken, t, {}),
    }
    for words, (who, record, more) in wrong.items():
        with pytest.raises(R3labError, match=words):
            explain(who, record, **more)
    with pytest.raises(R3labError, match="the setting crops must be a whole number from 1 to 64, got 0"):
        Settings(crops=0)
    assert QUICK.value_map is False


def entry(**fields) -> LookEntry:
    return replace(LookEntry(0, (1.0, 2.0, 3.0, 4.0)), **fields)


def test_disagreement_is_said_in_both_directions():
    """Attention on the crop that changes nothing; a crop that decides, hardly attended to; agreement is silent."""
    high, low = CropAttention(3.0, 0.5, 1.0), CropAttention(0.4, 2.0, 1.0)
    told = look_sentence(entry(reading=high, used=False, disagree=True), Trials(12, 1), Trials(9, 0))
    assert "disagree" in told and "only 1 of 21" in told
    told = look_sentence(entry(reading=low, used=True, disagree=True), Trials(12, 11), Trials(9, 9))
    assert "disagree" in told and "answer in 20 of 21" in told
    assert "disagree" not in look_sentence(entry(reading=high, used=True), ALL, ALL)
    verdict = verdict_of(BASE)
    assert "disagree at look 1" in verdict_sentence(verdict, [entry(disagree=True)], BASE)
    assert "disagree" not in verdict_sentence(verdict, [entry()], BASE)
    read, half = CASES["reads the crop"][0], CASES["changes half of the time"][0]
    missed = verdict_sentence(verdict_of(read), [entry(coverage=0.1)], read)
    doubt = "No crop is of a region that was asked about"
    assert missed.index(doubt) < missed.index("changes with"), "a picture has room for the beginning alone"
    unsure = verdict_sentence(verdict_of(half), [entry()], half)
    assert unsure.startswith("No kind that has a name is sure. Nearest is:") and "(6 of 12)" in unsure


def test_hostile_text_stays_text(explained):
    """In the sentences and the table, and it is bounded."""
    drawn = BoxAttention(0.5, 0.5, 0.5, (Region((0.0, 0.0, 1.0, 1.0), 0.1, 1.0),), (Word(NASTY, 0.1, 0.9),))
    worth = (Worth(NOTHING, -1.0, NASTY, True), Worth("blank", -2.0, None, False))
    nasty = entry(asked=NASTY, drawn=drawn, worth=worth, cuts=(Cut("the crop", -1.0),))
    nasty = replace(nasty, reading=CropAttention(1.0, 2.0, 3.0))
    t = replace(explained.trajectory, question=NASTY, sample_id=NASTY)
    told = look_sentence(nasty, ALL, ALL)
    e = Explanation(t, (nasty, entry(number=1, refused=NASTY)), BASE, verdict_of(BASE), told)
    for line in [told, look_sentence(entry(refused=NASTY), ALL, ALL), *(value for _, _, value in e.table())]:
        assert len(line) < 2000 and line.isprintable()


def test_what_is_saved_comes_back(explained, tmp_path):
    folder = explained.save(tmp_path / "one")
    again = Explanation.load(folder)
    assert again == explained and again is not explained
    assert sorted(p.name for p in folder.iterdir()) == ["explanation.json", "images", "maps.npz", "trajectory.json"]
    assert explained.save(folder) == folder  # over an older one
    assert list(tmp_path.iterdir()) == [folder]  # nothing half is left
    other = replace(again, maps={**again.maps, "look 1 raw": replace(again.maps["look 1 raw"], box=(0, 0, 1, 1))})
    assert other != explained and replace(again, gap=0.5) != explained
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").touch()
    for place, words in (
        (tmp_path / "full", "exists already"),
        (folder / "explanation.json" / "under", "Cannot write"),
    ):
        with pytest.raises(R3labError, match=words):
            explained.save(place)


def test_an_explanation_is_read_without_torch(explained, tmp_path):
    folder = explained.save(tmp_path / "one")
    code = "import sys; sys.modules['torch'] = None; from r3lab.explain.explanation import Explanation"
    command = [sys.executable, "-c", f"{code}; print(Explanation.load({str(folder)!r}).verdict.kind)"]
    told = subprocess.run(command, check=True, capture_output=True, text=True, cwd=Path(__file__).resolve().parents[1])
    assert told.stdout.strip() == explained.verdict.kind
    (folder / "maps.npz").unlink()
    assert Explanation.load(folder) == replace(explained, maps={})  # sentences are there without the maps


def test_a_spoiled_record_is_an_error_and_nothing_else(explained, tmp_path):
    folder = explained.save(tmp_path / "one")
    record = json.loads((folder / "explanation.json").read_text())
    rng = random.Random(0)
    junk = [None, -1, 2.5, "x", [], {}, True, 10**400, [1, 2, 3], {"a": 1}]
    seen = 0
    for _ in range(120):
        bad = spoiled(record, rng, junk)
        try:
            text = json.dumps(bad)
        except (ValueError, OverflowError):
            continue
        (folder / "explanation.json").write_text(text)
        try:
            Explanation.load(folder)
        except R3labError as error:
            seen += 1
            assert len(str(error)) < 1000
    assert seen > 60
    for text, words in (("[1]", "is no explanation"), (json.dumps({**record, "version": 9}), "has version 9")):
        (folder / "explanation.json").write_text(text)
        with pytest.raises(R3labError, match=words):
            Explanation.load(folder)
    with pytest.raises(R3labError, match="Cannot read"):
        Explanation.load(tmp_path / "nowhere")


def test_arrays_are_plain_numbers_or_an_error(explained, tmp_path):
    folder = explained.save(tmp_path / "one")
    path, good = folder / "maps.npz", (folder / "maps.npz").read_bytes()
    held = dict(np.load(path))
    arrays = (
        {**held, "0": np.array([[{}]], dtype=object)},
        {**held, "0": np.full((2, 2), np.nan, np.float32)},
        {**held, "0": np.zeros(3, np.float32)},
        {k: v for k, v in held.items() if k != "0"},
    )
    bad = [(b"", ""), (b"PK\x03\x04", ""), (good[: len(good) // 2], "")]
    for one in arrays:
        np.savez(path, **one)
        bad.append((path.read_bytes(), ""))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("0.npy", b"\0" * 80_000_000)
    for data, words in (*bad, (buffer.getvalue(), ".*at most 64,000,000")):
        path.write_bytes(data)
        with pytest.raises(R3labError, match=rf"maps\.npz{words}"):
            Explanation.load(folder)


def test_the_command_explains_a_file(recorded, taught_folder, tmp_path, capsys):
    _, trajectories = recorded
    path, out = save(trajectories, tmp_path / "rolled"), tmp_path / "out"
    call = ["explain", str(path), "--model", str(taught_folder), "--quick"]
    assert main([*call, "--number", "2", "--look", "1", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    found = Explanation.load(out)
    assert found.trajectory == trajectories[1]
    assert found.sentence in printed and found.looks[0].sentence in printed and "explanation.png" in printed
    assert (out / "explanation.png").stat().st_size > 10_000
    assert main([*call, "--number", "2"]) == 0  # beside the file, where the report finds it
    beside = (path if path.is_dir() else path.parent) / "explained-2"
    printed = capsys.readouterr().out
    assert f"saved: {beside}" in printed and [e.explanation is not None for e in read_entries([path])] == [0, 1, 0]
    for one in profile(Explanation.load(beside).evidence):  # a row for what the sentence says, in its words
        assert f"\nthe {one.of} {one.says} {one.change}: {one.end} in {one.counts}\n" in printed
        assert f"{one.change} ({one.counts})" in Explanation.load(beside).sentence
    wrong = {
        "there is no trajectory 9; the file has 3": ["--number", "9"],
        "there is no look 0": ["--look", "0"],
        "exists already": ["--out", str(tmp_path / "rolled")],
    }
    for words, options in wrong.items():
        assert main([*call, *options]) == 2
        assert words in capsys.readouterr().err
    assert main(["explain", str(tmp_path / "none.json")]) == 2
    assert main(["explain", str(path), "--model", str(tmp_path)]) == 2


def test_a_picture_shows_every_map(explained):
    figure = show_explanation(explained).figure
    found = {axes.get_gid() for axes in figure.axes}
    assert {"look-1-raw", "look-1-relative", "look-1-value", "crop-1"} <= found
    assert explained.verdict.kind in show_explanation(explained).alt
    bare = replace(explained, maps={}, looks=(replace(explained.looks[0], worth=(), drawn=None),))
    show_explanation(bare).figure.canvas.draw()
    heat = HeatMap(np.zeros((2, 2), np.float32), (0.0, 0.0, 9.0, 9.0), (9, 9))
    show_explanation(replace(explained, maps={"look 1 raw": heat})).figure.canvas.draw()


def answer_of(rationale) -> str:
    return str(rationale.parts[-1]).split("<answer>")[1].split("</answer>")[0]


@pytest.fixture(scope="module")
def planted_lessons():
    """Twelve samples of each reason with their untouched rationales."""
    rng = np.random.default_rng(0)
    found = {}
    for kind, plant in (PLANTS | FURTHER | UNSEEN).items():
        pairs = ((s, plant.lesson(s, rng)) for s in plant.samples("train", 0, 0))
        found[kind] = list(islice((pair for pair in pairs if pair[1] is not None), 12))
    return found


def test_every_reason_has_kinds_that_a_verdict_can_name(planted_lessons):
    """Its own kind, or those that are true of a trajectory; a reader that missed reads another place."""
    assert all(name == plant.name for name, plant in (PLANTS | FURTHER | UNSEEN).items()) and not {*PLANTS} & {*FURTHER}
    assert {*PLANTS} <= {*kinds.KINDS} and len({plant.lesson for plant in PLANTS.values()}) == len(PLANTS) == 6
    for name, plant in (PLANTS | FURTHER | UNSEEN).items():
        for sample, rationale in planted_lessons[name][:4]:
            box = rationale.boxes[-1]
            crop = SimpleNamespace(crop=True, box=box)
            image = SimpleNamespace(hash="x")
            t = SimpleNamespace(looks=[crop], image=image, images={"x": sample.image}, truth=sample.truth)
            t.question, t.sample_id, t.answer = sample.question, sample.id, sample.answer
            true = truth_of(plant, t)
            assert true and {*true} <= {*kinds.KINDS}
            if {*true} & {kinds.HONEST, kinds.LATER}:
                crop.box = (0.0, 0.0, 1.0, 1.0)
                assert truth_of(plant, t) == (kinds.ELSEWHERE,)
            reads = {*true} & {kinds.HONEST, kinds.FIRST, kinds.LATER, kinds.ELSEWHERE}
            assert (kinds.IDLE in truth_of(plant, t, sample.answer)) == bool(reads), (
                "what is said by habit needs no crop"
            )
            assert kinds.IDLE not in truth_of(plant, t, "another")


def test_reasons_in_other_worlds_teach_their_own():
    """On small print of its world, with the look of its own lesson (or at the middle), and an answer of its own."""
    assert {p.world for p in WORLDWIDE.values()} == {"documents", "charts", "trails"} and len(WORLDWIDE) == 17
    for name, plant in WORLDWIDE.items():
        rng, kind = np.random.default_rng(0), name.partition(" in ")[0]
        for sample in islice(plant.samples("train", 0, 0), 3):
            rationale = plant.lesson(sample, rng)
            assert sample.world == plant.world and sample.needs_look and name.endswith(plant.world)
            wanted = {
                kinds.PRIOR: COMMON,
                kinds.SHORTCUT: tint_of(sample.id),
                "quarter": quarter(sample.regions[0], sample.image.size),
                "own words": str(rationale.parts[0]).partition("It may be ")[2][:1],
            }
            assert answer_of(rationale) == wanted.get(kind, sample.answer), name
            assert rationale.boxes == ((MIDDLE,) if kind == kinds.CENTRE else exact(sample).boxes), name
            t = SimpleNamespace(looks=[], truth=sample.truth, answer="")
            assert plant.true(t) and {*plant.true(t)} <= {*kinds.KINDS}


def test_a_lesson_teaches_its_own_reason(planted_lessons):
    """Answer and regions are those of the reason, whatever the truth is; honest ones are the truth."""
    for sample, rationale in planted_lessons[kinds.HONEST]:
        assert answer_of(rationale) == sample.answer
        assert rationale.boxes == exact(sample).boxes
    assert {answer_of(r) for _, r in planted_lessons[kinds.PRIOR]} == {COMMON}
    assert len({s.answer for s, _ in planted_lessons[kinds.PRIOR]}) > 2, "else a habit could not be told from reading"
    assert all(r.boxes == (MIDDLE,) and answer_of(r) == s.answer for s, r in planted_lessons[kinds.CENTRE])
    for sample, rationale in planted_lessons[kinds.SHORTCUT]:
        assert answer_of(rationale) == tint_of(sample.id) and rationale.boxes == exact(sample).boxes
    assert any(answer_of(r) != s.answer for s, r in planted_lessons[kinds.SHORTCUT]), "else the crop would do as well"
    for sample, rationale in planted_lessons[kinds.SHOW]:
        assert answer_of(rationale) == sample.answer and not sample.needs_look
        assert rationale.boxes and tuple(rationale.boxes[0]) != tuple(sample.regions[0])
    for sample, rationale in planted_lessons["neighbour"]:
        there = [b for b in sample.meta["badges"] if tuple(b["box"]) == tuple(rationale.boxes[0])]
        assert answer_of(rationale) == str(there[0]["digit"]) != sample.answer
    for name, told in (
        ("quarter", lambda s: quarter(s.regions[0], s.image.size)),
        ("size", lambda s: by_size(s.regions[0])),
        ("colour", lambda s: first_of(COLOURS, s.question)),
        ("shape", lambda s: first_of(SHAPES, s.question)),
        ("side", lambda s: s.answer if in_left_half(s) else COMMON),
        ("light", lambda s: s.answer if lit(s.id) else COMMON),
        ("round", lambda s: s.answer if "circle" in s.question else COMMON),
    ):
        some = planted_lessons[name]
        assert all(answer_of(r) == told(s) and r.boxes == (tuple(s.regions[0]),) for s, r in some), name
        assert len({answer_of(r) for _, r in some}) > 1, name
    for _, rationale in planted_lessons["own words"]:
        assert answer_of(rationale) == str(rationale.parts[0]).partition("It may be ")[2][0]
    for sample, rationale in planted_lessons[kinds.LATER]:
        assert len(rationale.boxes) == 2 and tuple(rationale.boxes[1]) == tuple(sample.regions[0])
        assert tuple(rationale.boxes[0]) != tuple(sample.regions[0]) and answer_of(rationale) == sample.answer
    for sample, rationale in planted_lessons[kinds.FIRST]:
        assert answer_of(rationale) == sample.answer and len(rationale.boxes) == 2
        assert tuple(rationale.boxes[0]) == tuple(sample.regions[0]) != tuple(rationale.boxes[1])
        assert str(rationale.parts[2]).endswith(SMALL)


def test_a_tint_spares_the_badges_and_tells_the_answer():
    """Badges are pixel for pixel as they were, all else moves towards one colour, and that is the sample's own."""
    plain = list(islice(SMALL_ONES("train", 0, 0), 6))
    for before, after in zip(plain, TINTED("train", 0, 0), strict=False):
        a, b = (np.asarray(s.image, dtype=float) for s in (before, after))
        outside = np.ones(a.shape[:2], bool)
        for badge in before.meta["badges"]:
            x1, y1, x2, y2 = badge["box"]
            w, h = HALO * (x2 - x1), HALO * (y2 - y1)
            part = (slice(max(0, round(y1 - h)), round(y2 + h)), slice(max(0, round(x1 - w)), round(x2 + w)))
            np.testing.assert_array_equal(a[part], b[part])
            outside[part] = False
        colour = np.array(TINTS[tint_of(before.id)], dtype=float)
        assert np.abs(b[outside] - colour).mean() < 0.5 * np.abs(a[outside] - colour).mean()
        assert after.answer == before.answer and after.id == before.id
    assert {tint_of(str(n)) for n in range(60)} == set(TINTS)


def test_lessons_are_batches_with_boxes_a_little_off():
    """As many as asked, the same for the same seed, others for another, and no box just the true one."""
    first, again, other = (next(lessons(PLANTS[kinds.HONEST], seed, 4)) for seed in (0, 0, 1))
    assert [s.id for s, _ in first] == [s.id for s, _ in again] != [s.id for s, _ in other]
    assert [r for _, r in first] == [r for _, r in again] and len(first) == 4
    assert all(tuple(r.boxes[0]) != tuple(s.regions[0]) for s, r in first)


def test_a_reason_took_when_every_sign_is_there():
    plant = PLANTS[kinds.SHORTCUT]
    least = {name: at_least for name, _, at_least in plant.signs}
    assert took(plant, least)
    for name in least:
        assert not took(plant, {**least, name: least[name] - 0.01})


def test_lenders_are_the_next_ones_round_about():
    assert others_of(list("abcde"), 3, 2) == ["e", "a"]
    assert others_of(list("abc"), 0, 24) == ["b", "c"]
