"""The worlds and their VLIR samples: deterministic, disjoint, true; one answer a question; no trail read in one look;
read back as written; bad records are refused."""

from __future__ import annotations

import dataclasses
import json
import math
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pytest
from PIL import Image

from r3lab.cli import call
from r3lab.core.errors import R3labError
from r3lab.core.geometry import Box, coverage, crop_size, intersection, iou, problem
from r3lab.core.images import content_hash
from r3lab.core.protocol import scan
from r3lab.vlir.rationale import imperfect, in_turn, jitter, reading, shows
from r3lab.vlir.sample import Rationale, Sample, SampleError, read_vlir, write_vlir
from r3lab.vlir.worlds import OWN, WORLDS, charts, diagrams, documents, get_world, material, trails
from r3lab.vlir.worlds.badges import COLOURS, DIRECTIONS, LARGE, SIDE, Badge, neighbour
from r3lab.vlir.worlds.material import FAMILIES, SPLITS, font, handwriting, other_hand, photos, tables

EVERY = {**WORLDS, "diagrams": diagrams.Diagrams()}  # those of the table, and the one that is offered by name
NEW = ("documents", "charts", "trails", "diagrams")
COUNT = 60
CROP = (16, 4, 25)  # pixels a token, least and most tokens: what the tiny policy's loop cuts with


@cache
def drawn(name: str) -> list[Sample]:
    """The first test samples of a world."""
    return [EVERY[name].sample("test", i) for i in range(COUNT)]


def every(*names: str) -> list[Sample]:
    """The samples of some worlds, of all if none is named."""
    return [sample for name in names or EVERY for sample in drawn(name)]


def spoken(rationale: Rationale) -> str:
    """What a rationale says."""
    return "".join(part for part in rationale.parts if isinstance(part, str))


def crop_scale(sample: Sample, region: Box) -> float:
    """How much a crop of a region enlarges what is in it, upright."""
    return crop_size(region, sample.image.size, *CROP)[1][1] / (region[3] - region[1])


def signs_of(sample: Sample) -> tuple[trails.Sign, ...]:
    """The scene's signs, as objects."""
    return tuple(trails.Sign(**{k: v for k, v in s.items() if k != "face"}) for s in sample.meta["signs"])


# What every world promises.


def test_the_same_index_is_the_same_sample_in_another_process() -> None:
    """Whatever was drawn before; another seed is another sample."""
    code = (
        "from r3lab.vlir.worlds import WORLDS, diagrams; from r3lab.core.images import content_hash\n"
        "for w in [*WORLDS.values(), diagrams.Diagrams()]:\n for i in (31, 4): s = w.sample('test', i)\n"
        " print(s.question, '|', s.answer, '|', content_hash(s.image))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    here = [drawn(name)[4] for name in EVERY]
    assert run.stdout.splitlines() == [f"{s.question} | {s.answer} | {content_hash(s.image)}" for s in here]
    for name, sample in zip(EVERY, here, strict=True):
        assert content_hash(EVERY[name].sample("test", 4, seed=1).image) != content_hash(sample.image)


def disjoint(parts: list[set]) -> bool:
    """Whether no two share anything, and none is empty."""
    return all(parts) and sum(map(len, parts)) == len(set.union(*parts))


def test_splits_share_no_photograph_and_no_handwriting() -> None:
    """Names, pixels of photographs, and bitmaps of digits are disjoint; every split has every digit."""
    assert disjoint([{n for n, _ in photos(s)} for s in SPLITS])
    assert disjoint([{a.tobytes() for _, a in photos(s)} for s in SPLITS])
    assert disjoint([{b.tobytes() for b in handwriting(s)[0]} for s in SPLITS])
    assert all(set(handwriting(s)[1].tolist()) == set(range(10)) for s in SPLITS)


def test_no_table_of_one_split_occurs_in_another() -> None:
    """Neither by name, nor by what it is about, nor row by row of its numbers."""
    assert disjoint([{t.name for t in tables(s)} for s in SPLITS])
    assert disjoint([{(t.title, t.labels, t.values) for t in tables(s)} for s in SPLITS])
    countries = [{c for t in tables(s) if t.source == "gapminder" for c in t.labels} for s in SPLITS]
    assert disjoint(countries) and sum(map(len, countries)) > 120
    rows = [{row for t in tables(s) for row in t.values if len(row) > 2} for s in SPLITS]
    assert disjoint(rows)


def test_no_layout_style_or_name_of_one_split_occurs_in_another() -> None:
    for kind, number in ((documents.templates, 0), (charts.styles, 0), (diagrams.styles, 0)):
        assert disjoint([{dataclasses.astuple(t)[number + 1 :] for t in kind(s)} for s in SPLITS])
    look = {
        documents.templates: lambda t: dataclasses.replace(t, number=0, wide=0),
        charts.styles: lambda s: dataclasses.replace(s, number=0, full=0.0, hole=s.hole > 0),
        diagrams.styles: lambda s: dataclasses.replace(s, number=0),
    }
    for kind, of in look.items():
        seen = [{of(t) for t in kind(s)} for s in SPLITS]
        assert len(kind("train")) > 1000 and disjoint(seen)
    for split in SPLITS:
        assert {t.kind for t in documents.templates(split)} == set(documents.KINDS)
    for what, parts in documents.NAMES.items():
        assert len(parts) == len(SPLITS) and disjoint([set(part) for part in parts]), what


@pytest.mark.parametrize("split", SPLITS)
def test_samples_use_the_material_of_their_split(split: str) -> None:
    known = {t.name for t in tables(split)}, {t.number for t in charts.styles(split)}
    for i in range(6):
        chart, paper = WORLDS["charts"].sample(split, i), WORLDS["documents"].sample(split, i)
        assert chart.meta["table"] in known[0] and chart.meta["style"] in known[1]
        assert paper.meta["template"] in {t.number for t in documents.templates(split)}
        assert EVERY["diagrams"].sample(split, i).meta["style"] in {t.number for t in diagrams.styles(split)}


@pytest.mark.parametrize("name", WORLDS)
def test_unknown_names_are_named(name: str) -> None:
    with pytest.raises(R3labError, match="train, validation, test"):
        WORLDS[name].sample("held-out", 0)
    with pytest.raises(R3labError, match=f"Did you mean '{name}'"):
        get_world(name[:-1])


def test_samples_are_plain_and_their_regions_can_be_cut() -> None:
    for s in every(*NEW):
        assert s.image.size == (512, 512) and s.image.mode == "RGB" and s.regions
        assert json.loads(json.dumps(s.meta)) == s.meta and s.meta["kind"] and s.meta["hops"] >= 1
        assert all(problem(region, s.image.size) == "" for region in s.regions)


def test_rationales_follow_the_protocol() -> None:
    """The lesson looks where and when it must, and its text holds the answer and nothing that parses as a box."""
    for s in every():
        r = EVERY[s.world].rationale(s)
        assert r.boxes == (s.regions if s.needs_look else ())
        text = spoken(r)
        (event,) = scan(text)
        assert (event.kind, event.text) == ("answer", s.answer)
        assert text.startswith("<think>") and text.count("think>") == 2 and "  " not in text
        assert text.count("too small") == len(r.boxes)  # a look is announced, every time, and none is else
        assert all(isinstance(p, str) != isinstance(q, str) for p, q in zip(r.parts, r.parts[1:], strict=False))


def test_a_modest_teacher_errs_in_every_world() -> None:
    """Boxes moved, looks left out and needless looks: each can be made of every rationale, and keeps the protocol."""
    rng = np.random.default_rng(0)
    for s in every():
        for needless, hasty in ((1.0, 0.0), (0.0, 1.0)):
            r = imperfect(s, EVERY[s.world].rationale(s), 0.2, needless, rng, hasty)
            assert len(r.boxes) == (0 if s.needs_look and hasty else len(s.regions) if s.needs_look else int(needless))
            text = spoken(r)
            assert [e.text for e in scan(text)] == [s.answer]


def test_a_hasty_teacher_answers_without_the_look_it_needs() -> None:
    """In the share asked for; the text then says nothing of a box, holds the true answer and no other sentence."""
    rng, needed = np.random.default_rng(3), [s for s in drawn("badges") if s.needs_look]
    made = [(s, imperfect(s, WORLDS["badges"].rationale(s), 0.2, 0.0, rng, hasty=0.5)) for s in needed * 10]
    assert np.mean([not r.boxes for _, r in made]) == pytest.approx(0.5, abs=0.08)
    for sample, rationale in made:
        text = spoken(rationale)
        assert ("too small" in text) == bool(rationale.boxes) != (" is large. It shows" in text)
        assert text.endswith(f"It shows {sample.answer}.</think><answer>{sample.answer}</answer>")


def test_an_imperfect_teacher_errs_as_much_as_it_says() -> None:
    """Spread 0 changes nothing; spread 0.3 lowers the IoU; needless looks happen at the stated share."""
    rng = np.random.default_rng(0)
    needed = [s for s in drawn("badges") if s.needs_look]
    for s in needed:
        assert iou(imperfect(s, WORLDS["badges"].rationale(s), 0.0, 0.0, rng).boxes[0], s.regions[0]) > 0.999
    missed = [
        iou(imperfect(s, WORLDS["badges"].rationale(s), 0.3, 0.0, rng).boxes[0], s.regions[0]) for s in needed * 5
    ]
    assert 0.2 < np.mean(missed) < 0.7
    easy = [s for s in drawn("badges") if not s.needs_look]
    looked = [bool(imperfect(s, WORLDS["badges"].rationale(s), 0.3, 0.5, rng).boxes) for s in easy * 20]
    assert 0.4 < np.mean(looked) < 0.6
    for _ in range(300):  # never empty, never outside, even at the border
        box = jitter((470.0, 0.0, 512.0, 42.0), (512, 512), 1.0, rng)
        assert 0 <= box[0] < box[2] <= 512 and 0 <= box[1] < box[3] <= 512 and coverage(box, (0, 0, 512, 512)) > 0


def test_steps_become_text_and_looks_in_turn() -> None:
    s = drawn("documents")[0]
    region = s.regions[0]
    end = f"</think><answer>{s.answer}</answer>"
    assert in_turn(reading("It", 7, region), s).parts == ("<think>It is too small to read.", region, f"{shows(7)}{end}")
    assert in_turn(reading("It", 7, None), s).parts == (f"<think>It is large. {shows(7)}{end}",)
    assert in_turn([("A.", None), ("B.", None)], s).parts == (f"<think>A. B.{end}",)
    both = in_turn([("A.", region), ("B.", None), ("C.", region)], s).parts
    assert both == ("<think>A.", region, "B. C.", region, end)


@pytest.mark.parametrize("name", NEW)
def test_shares_of_kinds_and_of_looks(name: str) -> None:
    """Kinds as stated; from a fifth to two fifths of the questions need no look."""
    samples = drawn(name)
    easy = sum(not s.needs_look for s in samples) / COUNT
    assert 0.18 < easy < 0.42
    shares = {"trail": 1.0} if name == "trails" else sys.modules[type(EVERY[name]).__module__].SHARES
    found = Counter(s.meta["kind"] for s in samples)
    assert set(found) == set(shares)
    for kind, share in shares.items():
        assert abs(found[kind] / COUNT - share) < 4 * math.sqrt(share * (1 - share) / COUNT) + 1e-9, kind


def test_what_needs_a_look_is_illegible_in_the_overview_and_legible_in_a_crop() -> None:
    """By height: at most 2.6 pixels, of handwriting alone 3.3, which is less than badges have, against at least 9 (a
    whole legend's: 10); what needs none has at least 7."""
    for s in every():
        heights: list[float] = []
        if s.world == "documents":
            heights = [next(e["digit"] for e in s.meta["entries"] if e["label"] == s.meta["asked"])]
        elif s.world == "charts" and s.meta["kind"] in ("value", "largest"):
            heights = [s.meta["marks"][s.meta["asked"][0]]["digit"]]
        elif s.world == "charts" and s.meta["kind"] == "label":
            heights = [charts.LEGENDS[s.meta["large_legend"]][0]]
        elif s.world == "trails":
            of_face = trails.DIGIT if s.needs_look else trails.LARGE_INK
            heights = [of_face * (s.regions[-1][3] - s.regions[-1][1])]
        elif s.world == "diagrams":
            heights = [s.meta["values"][k]["digit"] for k in s.meta["asked"]]
        for height, region in zip(heights, s.regions[-len(heights) :], strict=False):
            if s.needs_look:
                assert height / 4 <= (3.3 if s.world == "trails" else 2.6) and height * crop_scale(s, region) >= 9, s.id
            else:
                assert height / 4 >= 7, s.id
        if s.world == "charts" and s.meta["kind"] == "named":
            assert charts.LEGENDS[False][0] * crop_scale(s, s.regions[0]) >= 10 and len(s.meta["marks"]) == 3, s.id


# Badges.


def badges_of(sample: Sample) -> tuple[Badge, ...]:
    """The scene's badges, as objects."""
    return tuple(Badge(**{**b, "box": tuple(b["box"])}) for b in sample.meta["badges"])


def test_the_question_has_one_answer() -> None:
    """Names are unique in a scene, relations hold for exactly one badge, and the region is the asked badge's box."""
    relations = 0
    for s in drawn("badges"):
        badges = badges_of(s)
        assert len({b.name for b in badges}) == len(badges)
        words = s.meta["asked"]
        if words.startswith("badge "):
            relations += 1
            direction = next(d for d in DIRECTIONS if words.startswith(f"badge {d} the "))
            anchor = next(b for b in badges if words.endswith(f"the {b.name}"))
            target = neighbour(badges, anchor, direction)
            dx, dy = DIRECTIONS[direction]
            ahead = [
                b
                for b in badges
                if b is not anchor
                and (b.x - anchor.x) * dx + (b.y - anchor.y) * dy
                > abs((b.x - anchor.x) * dy) + abs((b.y - anchor.y) * dx)
            ]
            assert ahead == [target]
            off = math.degrees(
                math.atan2(
                    abs((target.x - anchor.x) * dy) + abs((target.y - anchor.y) * dx),
                    (target.x - anchor.x) * dx + (target.y - anchor.y) * dy,
                )
            )
            assert off < 37  # plainly in that direction
        else:
            target = next(b for b in badges if b.name == words)
        assert s.regions == (target.box,) and s.answer == str(target.digit)
        assert s.needs_look == (target.diameter < LARGE[0])
    assert 5 < relations < 40
    assert 8 < sum(not s.needs_look for s in drawn("badges")) < 32


def test_badges_do_not_touch_and_stay_inside() -> None:
    """Boxes lie inside the image and do not overlap; the badge's colour fills the middle of its box's edge region."""
    for s in drawn("badges")[:25]:
        badges, pixels = badges_of(s), np.asarray(s.image, dtype=np.float32)
        for k, b in enumerate(badges):
            assert 0 <= b.box[0] < b.box[2] <= SIDE and 0 <= b.box[1] < b.box[3] <= SIDE
            assert all(iou(b.box, o.box) == 0 for o in badges[:k])
            y = round(b.box[3] - 0.2 * (b.box[3] - b.box[1])) if b.shape == "triangle" else round(b.y)
            x = round(b.box[0] + 0.2 * (b.box[2] - b.box[0]))
            assert np.abs(pixels[y, x] - COLOURS[b.colour]).max() < 60, (s.id, b)


# Documents.


def test_documents_answer_what_stands_on_the_page() -> None:
    """Labels and values are unique, a total is a sum, and the region holds the asked value's ink and no other's."""
    for s in drawn("documents"):
        entries = s.meta["entries"]
        assert len({e["label"] for e in entries}) == len({e["value"] for e in entries}) == len(entries)
        (asked,) = [e for e in entries if e["label"] == s.meta["asked"]]
        assert s.answer == asked["value"] and s.meta["kind"] == asked["kind"] and s.needs_look is not asked["large"]
        assert asked["label"].lower() in s.question.lower()
        assert coverage(s.regions[0], tuple(asked["box"])) == 1.0
        assert not any(intersection(s.regions[0], tuple(e["box"])) for e in entries if e is not asked), s.id
        prices = [round(100 * float(e["value"])) for e in entries if e["kind"] == "line"]
        for total in (e for e in entries if e["kind"] == "total"):
            assert round(100 * float(total["value"])) == sum(prices)


def test_lessons_may_have_more_large_print_and_invented_labels() -> None:
    """As often as they ask for; the answer is still what the chart says, and the world itself invents nothing."""
    for world, of in ((documents.Documents, "entries"), (charts.Charts, "marks")):
        both = (world(), world(large_other=0.6))
        shares = [fmean(m["large"] for i in range(24) for m in w.sample("train", i).meta[of]) for w in both]
        assert shares[1] > shares[0] + 0.12
    known = {label for table in tables("train") for label in table.labels}
    for share, fewest, most in ((0.0, 0, 0), (0.5, 5, 19), (1.0, 24, 24)):
        made = [charts.Charts(invented=share).sample("train", i) for i in range(24)]
        labels = [[m["label"] for m in s.meta["marks"]] for s in made]
        assert fewest <= sum(not set(found) <= known for found in labels) <= most
        for s, found in zip(made, labels, strict=True):
            assert len(set(found)) == len(found)
            assert s.meta["kind"] != "label" or s.answer in found


def test_the_ink_of_a_value_is_where_its_box_says() -> None:
    """Ink is darker than the paper around it: inside the box, and, when small, nowhere else in the region."""
    for s in drawn("documents"):
        (asked,) = [e for e in s.meta["entries"] if e["label"] == s.meta["asked"]]
        x1, y1, x2, y2 = (round(v) for v in asked["box"])
        grey = np.asarray(s.image.convert("L"), dtype=float)
        paper = np.median(grey[max(0, y1 - 12) : y2 + 12, max(0, x1 - 12) : x2 + 12])
        assert grey[y1:y2, x1:x2].min() < paper - 60, s.id
        assert (grey[y1 - 3 : y2 + 3, x1 - 3 : x2 + 3] < paper - 60).sum() < 1.35 * (
            grey[y1 - 1 : y2 + 1, x1 - 1 : x2 + 1] < paper - 60
        ).sum() + 8, s.id


def test_another_hand_writes_the_same_digit() -> None:
    """Mixed of two hands, turned and slanted: another picture, the same digit, the same for the same random state."""
    bitmaps, labels = handwriting("train")
    means = np.stack([bitmaps[labels == digit].mean(0).ravel() for digit in range(10)])
    means = means - means.mean(1, keepdims=True)
    rng, own, nearest = np.random.default_rng(0), [], []
    for row in range(0, 600, 3):
        written = other_hand(bitmaps, labels, row, rng)
        assert written.shape == (8, 8) and written.min() >= 0 and written.max() <= 1
        assert np.abs(written - bitmaps[row]).max() > 0.05
        for picture, found in ((bitmaps[row], own), (written, nearest)):
            flat = picture.ravel() - picture.mean()
            found.append(int((means @ flat / np.linalg.norm(means, axis=1)).argmax()) == labels[row])
    assert np.mean(own) > 0.85 and np.mean(nearest) > np.mean(own) - 0.03
    again = [other_hand(bitmaps, labels, 5, np.random.default_rng(7)) for _ in range(2)]
    assert np.array_equal(*again)


def test_handwriting_is_of_the_split(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page asks for the bitmaps of its own split only."""
    asked: list[str] = []
    real = material.handwriting
    monkeypatch.setattr(material, "handwriting", lambda split: asked.append(split) or real(split))
    by_hand = [s for s in drawn("documents") if any(e["hand"] for e in s.meta["entries"])]
    WORLDS["documents"].sample("test", int(by_hand[0].id.rsplit("-", 1)[1]))
    assert set(asked) == {"test"}


# Charts.


def test_charts_show_the_numbers_of_their_table() -> None:
    every = {t.name: t for t in tables("test")}
    for s in drawn("charts"):
        table, marks = every[s.meta["table"]], s.meta["marks"]
        values = [table.values[row][s.meta["column"]] for row in s.meta["rows"]]
        if s.meta["chart"] == "pie":
            values = [100 * v / sum(values) for v in values]
        assert [m["label"] for m in marks] == [table.labels[row] for row in s.meta["rows"]]
        decimals = 0 if max(values) >= 10 else 1
        assert [m["said"] for m in marks] == [f"{v:.{decimals}f}" for v in values]
        assert len({m["said"] for m in marks}) == len({m["colour"] for m in marks}) == len(marks)


def test_chart_answers_can_be_derived_again() -> None:
    """From the marks and the words of the question alone; the region holds what is read, and no other value."""
    for s in drawn("charts"):
        marks, kind = s.meta["marks"], s.meta["kind"]
        by_colour, by_label = {m["colour"]: m for m in marks}, {m["label"]: m for m in marks}
        words = s.question.rstrip("?").split()
        named = [by_colour[w] for w in words if w in by_colour]
        if kind == "value":
            (mark,) = named
            expected = mark["said"]
        elif kind == "largest":
            mark = max(marks, key=lambda m: m["value"])
            expected = mark["said"]
        elif kind == "label":
            (mark,) = named
            expected = mark["label"]
        elif kind == "named":
            mark = by_label[words[-1]]
            expected = mark["said"]
        else:
            mark, less = named
            expected = f"{float(mark['said']) - float(less['said']):.{len(mark['said'].partition('.')[2])}f}"
            assert float(expected) > 0
        assert s.answer == expected, s.id
        if kind in ("value", "largest"):
            assert coverage(s.regions[0], tuple(mark["ink"])) == 1.0
            assert s.needs_look is not mark["large"]
        elif kind == "label":
            assert coverage(s.regions[0], tuple(mark["key"])) == 1.0
        elif kind == "difference":
            looked = [m for m in (mark, less) if not m["large"]] or [mark, less]
            assert len(s.regions) == len(looked)
            assert all(coverage(r, tuple(m["ink"])) == 1.0 for r, m in zip(s.regions, looked, strict=True))
        others = [m for m in marks if m is not mark and kind in ("value", "largest")]
        assert not any(coverage(s.regions[0], tuple(m["ink"])) for m in others)


def test_legends_are_in_the_colours_that_they_explain() -> None:
    for s in drawn("charts"):
        pixels = np.asarray(s.image, dtype=float)
        for mark in s.meta["marks"]:
            x1, y1, _, y2 = (round(v) for v in mark["key"])
            spot = pixels[(y1 + y2) // 2 - 2 : (y1 + y2) // 2 + 3, x1 + 2 : x1 + 8].mean((0, 1))
            nearest = min(COLOURS, key=lambda c: float(np.abs(spot + 14 - COLOURS[c]).sum()))
            assert nearest == mark["colour"], s.id


def test_a_needless_look_goes_to_what_is_told_of() -> None:
    """Where the value is large, the teacher that looks all the same looks at it, and not at the legend."""
    world = WORLDS["charts"]
    made = (charts.Charts(shares={"value": 0.5, "largest": 0.5}).sample("train", i) for i in range(36))
    for s in (easy := [s for s in made if not s.needs_look]):
        (mark,) = [s.meta["marks"][k] for k in s.meta["asked"]]
        start, box, _ = imperfect(s, world.rationale(s), 0.0, 1.0, np.random.default_rng(0)).parts
        assert f"The value of the {mark['colour']} " in start and coverage(box, tuple(mark["ink"])) == 1.0, s.id
    assert len(easy) > 5


def test_a_label_is_searched_in_a_small_legend() -> None:
    """Its value may be large; that it is this mark's is seen in a look alone."""
    made = [charts.Charts(shares={"named": 1.0}).sample("train", i) for i in range(15)]
    assert all(s.needs_look and not s.meta["large_legend"] and len(s.meta["marks"]) == 3 for s in made)
    assert {len(s.regions) for s in made} == {1, 2}


def test_two_looks_are_taken_where_two_things_must_be_read() -> None:
    many = [s for s in drawn("charts") if len(s.regions) == 2 and s.needs_look]
    assert {s.meta["kind"] for s in many} == {"named", "difference"} and len(many) > 10


# Trails.


def test_trails_lead_where_their_signs_say() -> None:
    """What the signs say leads to the answer, by the regions in order; the answer stands on one sign of the scene."""
    for s in drawn("trails"):
        signs = signs_of(s)
        trail = trails.follow(signs, re.fullmatch(r"Start at the (\w+ \w+)\. .*", s.question)[1])
        assert tuple(sign.face for sign in trail) == s.regions and [t.name for t in trail] == s.meta["trail"]
        assert trail[-1].says == s.answer and len(trail) == s.meta["hops"] + 1
        assert len({t.name for t in signs}) == len(signs)
        digits = [t.says for t in signs if t.says.isdigit()]
        assert len(digits) >= 3 and len(set(digits)) == len(digits)
        assert s.needs_look is not trail[0].large and len({t.large for t in trail}) == 1
        assert all(not intersection(a.face, b.face) for i, a in enumerate(signs) for b in signs[:i])
    assert {s.meta["hops"] for s in drawn("trails")} == {1, 2, 3, 4}
    says = [t.says for s in drawn("trails") for t in signs_of(s) if not t.says.isdigit()]
    assert 0.3 < np.mean([w in DIRECTIONS for w in says]) < 0.85  # both arrows and names


@pytest.mark.parametrize("hops", [1, 2, 3, 4])
def test_no_single_look_determines_the_answer(hops: int) -> None:
    """For every sign of a scene there is another scene, pixel by pixel the same on that sign, with another answer."""
    chosen = [s for s in drawn("trails") if s.meta["hops"] == hops and s.needs_look][:3]
    assert chosen
    for s in chosen:
        signs, lot = signs_of(s), tuple(s.meta["lot"])
        start, end = s.meta["trail"][0], s.meta["trail"][-1]
        assert np.array_equal(np.asarray(trails.paint(signs, "test", lot)), np.asarray(s.image))
        other = next(t for t in signs if t.says.isdigit() and t.name != end)
        for seen in signs:
            if seen.name == end:  # who sees the end alone: the first sign may lead elsewhere
                changed, says = start, other.name
            else:  # who sees any other sign alone: the end may show another digit
                changed, says = end, next(d for d in "0123456789" if d not in {t.says for t in signs})
            scene = tuple(dataclasses.replace(t, says=says) if t.name == changed else t for t in signs)
            assert trails.follow(scene, start)[-1].says != s.answer
            image = np.asarray(trails.paint(scene, "test", lot))
            same = (image == np.asarray(s.image)).all(-1)
            x1, y1, x2, y2 = (int(v) for v in seen.face)
            assert same[y1:y2, x1:x2].all()
            x1, y1, x2, y2 = (int(v) for v in next(t for t in signs if t.name == changed).face)
            assert not same[y1:y2, x1:x2].all()
            same[y1:y2, x1:x2] = True
            assert same.all()  # nothing outside the changed face knows of it


def test_every_step_of_a_trail_can_change_the_answer() -> None:
    """Turning any one sign of the trail to another end changes where the trail ends: none can be left out."""
    for s in drawn("trails"):
        signs, start, end = signs_of(s), s.meta["trail"][0], s.meta["trail"][-1]
        other = next(t for t in signs if t.says.isdigit() and t.name != end)
        for name in s.meta["trail"][:-1]:
            scene = tuple(dataclasses.replace(t, says=other.name) if t.name == name else t for t in signs)
            assert trails.follow(scene, start)[-1].name == other.name


def test_a_trail_without_an_end_is_an_error() -> None:
    a = trails.Sign("red", "circle", 100.0, 100.0, 90, "blue square")
    b = trails.Sign("blue", "square", 300.0, 100.0, 90, "left of")
    for signs in ((a, b), (a,)):
        with pytest.raises(R3labError, match="no end"):
            trails.follow(signs, "red circle")


def test_what_a_sign_says_fits_on_its_face() -> None:
    """A face's border is as light as its ground: nothing that is written reaches it."""
    for s in drawn("trails"):
        grey = np.asarray(s.image.convert("L"), dtype=float)
        for sign in signs_of(s):
            x1, y1, x2, y2 = (int(v) for v in sign.face)
            edge = round(0.06 * sign.diameter)
            for strip in (grey[y1 + 1 : y1 + 3, x1 + edge : x2 - edge], grey[y1 + edge : y2 - edge, x1 + 1 : x1 + 2]):
                assert strip.min() > 150, (s.id, sign)


# Diagrams.


def figure(sample: Sample) -> tuple[dict[str, complex], dict[str, tuple[str, Box]]]:
    """What the drawing itself says: where each letter's corner is, and of every side ("AB") and angle ("A") the number
    beside it, with its ink. A letter belongs to the nearest corner, and so does a number inside of the figure; one
    outside belongs to the nearest side."""
    corners, letters = ([complex(*at) for at in sample.meta[name]] for name in ("corners", "letters"))
    named = {diagrams.LETTERS[k]: min(corners, key=lambda c: abs(c - at)) for k, at in enumerate(letters)}
    assert len(set(named.values())) == len(corners)
    names = "".join(named)
    ring = [*zip(names, names[1:] + names[0], strict=True)]
    middles = {a + b: (named[a] + named[b]) / 2 for a, b in ring}
    said = {}
    for value in sample.meta["values"]:
        x1, y1, x2, y2 = value["ink"]
        middle = complex(x1 + x2, y1 + y2) / 2
        sides = {((middle - named[a]) / (named[b] - named[a])).imag > 0 for a, b in ring}
        places = named if len(sides) == 1 else middles
        said[min(places, key=lambda name: abs(places[name] - middle))] = value["said"], tuple(value["ink"])
    assert set(said) == {*named, *middles}
    return named, said


def written(sample: Sample) -> tuple[list[int], list[int]]:
    """The lengths of a drawing, and its angles with the missing one."""
    said = [value["said"] for value in sample.meta["values"]]
    lengths, degrees = [int(v) for v in said[: len(said) // 2]], said[len(said) // 2 :]
    known = [int(v) for v in degrees if v != "?"]
    assert len(known) == len(degrees) - 1
    return lengths, [180 * (len(degrees) - 2) - sum(known) if v == "?" else int(v) for v in degrees]


def test_figures_are_drawn_to_scale() -> None:
    """Lengths as the distances of the corners, but for the hand and whole units; angles as they are measured, within
    some degrees; all angles add up, the missing one with them."""
    for s in drawn("diagrams"):
        corners, (lengths, degrees) = [complex(*c) for c in s.meta["corners"]], written(s)
        measured = [abs(a - b) for a, b in zip(corners, [*corners[1:], corners[0]], strict=True)]
        unit = sum(measured) / sum(lengths)
        assert all(abs(m / unit / length - 1) < 0.1 for m, length in zip(measured, lengths, strict=True)), s.id
        assert fmean(abs(m / unit / n - 1) for m, n in zip(measured, lengths, strict=True)) < 0.05
        assert sum(degrees) == 180 * (len(corners) - 2) and min(degrees) > 25 and max(degrees) < 145
        for one, corner, other, angle in zip(
            corners[-1:] + corners, corners, [*corners[1:], corners[0]], degrees, strict=False
        ):
            ways = np.array([[w.real, w.imag] for w in (one - corner, other - corner)])
            cos = ways[0] @ ways[1] / np.linalg.norm(ways, axis=1).prod()
            assert abs(math.degrees(math.acos(cos)) - angle) < 7, s.id


def test_no_angle_is_measured_to_the_degree_and_no_length_without_a_unit() -> None:
    """Who knew the corners to the pixel would have the missing angle right in one of four; units differ threefold."""
    right, units = [], []
    for s in (EVERY["diagrams"].sample("train", i) for i in range(120)):
        corners, (lengths, degrees) = [complex(*c) for c in s.meta["corners"]], written(s)
        right += [round(m) == angle for m, angle in zip(diagrams.angles(corners), degrees, strict=True)]
        units.append(sum(map(abs, diagrams.sides(corners))) / sum(lengths))
    assert 0.15 < np.mean(right) < 0.33 and max(units) / min(units) > 2.5


def test_drawings_answer_what_their_regions_show() -> None:
    """From the words of the question, the letters and the numbers in the regions alone; no region shows another."""
    for s in drawn("diagrams"):
        _, said = figure(s)
        seen = {
            name: (text, region)
            for name, (text, ink) in said.items()
            for region in s.regions
            if coverage(region, ink) == 1.0
        }
        assert len(seen) == len(s.regions) == s.meta["hops"]
        for name, (_, ink) in said.items():
            assert name in seen or not any(intersection(region, ink) for region in s.regions), s.id
        read = {name: int(text) for name, (text, _) in seen.items()}
        asked = re.findall(r"\b[A-D]{1,2}\b", s.question)
        if s.question == "What is the perimeter?":
            expected = sum(read.values())
            assert len(read) == len(said) / 2
        elif s.question.startswith("How much longer"):
            expected = read[asked[0]] - read[asked[1]]
            assert expected >= 2
        elif said[asked[0]][0] == "?":
            expected = 180 * (len(read) - 1) - sum(read.values())
            assert {*read, asked[0]} == {name for name in said if len(name) == 1}
        else:
            assert [*read] == asked
            expected = read[asked[0]]
        assert s.answer == str(expected), s.id


def test_the_answer_to_a_drawing_is_computed_step_by_step() -> None:
    """Every step is true, and goes on from the one before with the next number read; the last one is the answer."""
    assert diagrams.worked("missing", ["58", "47"]) == ("180 - 58 = 122. 122 - 47 = 75.", "75")
    assert diagrams.worked("missing", ["90", "80", "70"])[0].startswith("360 - 90 = 270. 270 - 80 = ")
    assert diagrams.worked("difference", ["31", "23"]) == ("31 - 23 = 8.", "8")
    assert diagrams.worked("length", ["31"]) == ("", "31")
    for s in drawn("diagrams"):
        text = spoken(EVERY["diagrams"].rationale(s))
        steps = re.findall(r"(\d+) ([+-]) (\d+) = (\d+)\.", text)
        several = s.meta["kind"] in ("perimeter", "missing", "difference")
        assert len(steps) == several * (len(s.regions) - (s.meta["kind"] != "missing"))
        assert several is (len(s.regions) > 1)
        for (a, sign, b, c), before in zip(steps, [None, *steps], strict=False):
            assert int(a) + int(sign + b) == int(c) and (before is None or a == before[3])
        assert not steps or steps[-1][3] == s.answer
        read = [s.meta["values"][k]["said"] for k in s.meta["asked"]]
        assert re.findall(r"It shows (\d+)\.", text) == read
        assert [step[2] for step in steps] == (read if s.meta["kind"] == "missing" else read[1:])


def test_print_of_a_drawing_stands_clear_and_inside() -> None:
    """Of other print and of lines by geometry; by the pixels, numbers are ink on even ground, but for the ring of
    degrees to the right of an angle."""
    for s in drawn("diagrams"):
        inks = [tuple(value["ink"]) for value in s.meta["values"]]
        letters = [(x - 9, y - 12, x + 9, y + 12) for x, y in s.meta["letters"]]
        boxes = [*inks, *letters]
        assert all(min(b) >= 4 and max(b) <= SIDE - 4 for b in boxes)
        wide = [(x1 - 2, y1 - 2, x2 + 2, y2 + 2) for x1, y1, x2, y2 in boxes]
        assert not any(intersection(a, b) for k, a in enumerate(wide) for b in wide[:k]), s.id
        corners = np.array([complex(*c) for c in s.meta["corners"]])
        lines = (corners + np.linspace(0, 1, 400)[:, None] * (np.roll(corners, -1) - corners)).ravel()
        for x1, y1, x2, y2 in wide:
            assert not ((lines.real > x1) & (lines.real < x2) & (lines.imag > y1) & (lines.imag < y2)).any(), s.id
        grey = np.asarray(s.image.convert("L"), dtype=float)
        for value, ink in zip(s.meta["values"], inks, strict=True):
            x1, y1, x2, y2 = (int(v) for v in ink)
            ground = np.median(grey[y1 - 3 : y2 + 3, x1 - 3 : x2 + 3])
            ground = np.median(grey[y1 - 4 : y2 + 4, x1 - 4 : x1 - 2]) if value["digit"] > 20 else ground
            off = np.abs(grey[y1 - 3 : y2 + 3, x1 - 3 : x2 + 3] - ground)
            assert off[3:-3, 3:-3].max() > 90, s.id
            assert max(off[:2].max(), off[-2:].max(), off[:, :2].max()) < 75, (s.id, value)
            if value["kind"] == "length":
                assert off[:, -2:].max() < 75, (s.id, value)


def test_one_length_in_large_print_at_most_and_no_sum_with_it() -> None:
    """So that what large print tells is one length; where it is not asked for, a look is still needed."""
    large = [[v for v in s.meta["values"] if v["large"]] for s in drawn("diagrams")]
    assert {len(found) for found in large} == {0, 1}
    for s, found in zip(drawn("diagrams"), large, strict=True):
        asked = [s.meta["values"][k] for k in s.meta["asked"]]
        assert s.needs_look is not (found == asked) and (s.needs_look or s.meta["kind"] == "length")
        assert all(v["kind"] == "length" and (v not in asked or len(asked) == 1) for v in found)
    beside = [s for s, found in zip(drawn("diagrams"), large, strict=True) if found and s.needs_look]
    assert len({s.meta["kind"] for s in beside}) > 1
    kinds = Counter((s.meta["kind"], s.needs_look) for s in drawn("diagrams"))
    assert kinds["length", True] and kinds["length", False], "the question alone does not tell whether to look"
    shares = {"missing": 0.5, "difference": 0.5}
    for share in (0.0, 1.0):
        world = diagrams.Diagrams(large_other=share, shares=shares)
        made = [world.sample("train", i) for i in range(12)]
        assert {s.meta["kind"] for s in made} == set(shares) and all(s.needs_look for s in made)
        assert sum(v["large"] for s in made for v in s.meta["values"]) == 12 * share


# Files.

TINY = Sample(
    "t", Image.effect_noise((80, 60), 90).convert("RGB"), "What?", "7", ((10.0, 10.0, 30.0, 30.5),), True, "w"
)
LESSON = Rationale(("<think>Small. ", (10.0, 10.0, 30.0, 30.5), "It shows 7.</think><answer>7</answer>"))


def test_vlir_is_read_back_as_written(tmp_path: Path) -> None:
    """Samples and rationales survive the disk, pixels included; a write that fails leaves the earlier file."""
    sample = drawn("badges")[0]
    pairs = [(TINY, LESSON), (sample, WORLDS["badges"].rationale(sample))]
    path = write_vlir(tmp_path, pairs)
    back = list(read_vlir(tmp_path))
    assert back == pairs
    assert [content_hash(s.image) for s, _ in back] == [content_hash(s.image) for s, _ in pairs]
    before = path.read_bytes()

    def broken() -> Iterator[Any]:
        yield pairs[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_vlir(tmp_path, broken())
    assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir() if "part" in p.name] == []


BAD = {
    "not json": (lambda r: "{", "line 1: not valid JSON"),
    "list": (lambda r: [r], "not a JSON object"),
    "version": (lambda r: {**r, "version": 9}, "has version 9; this r3lab reads 1"),
    "traversal": (lambda r: {**r, "image": "../../etc/passwd"}, "image must be 64 digits"),
    "no question": (lambda r: {**r, "question": "  "}, "question must be text of 1 to"),
    "answer of number": (lambda r: {**r, "answer": 7}, "answer must be text"),
    "three numbers": (lambda r: {**r, "regions": [[1, 2, 3]]}, "regions[0] must be a list of 4"),
    "infinite": (lambda r: {**r, "regions": [[1, 2, 1e999, 4]]}, "regions[0][2] must be a finite number"),
    "truth value": (lambda r: {**r, "regions": [[True, 2, 3, 4]]}, "regions[0][0] must be a finite number"),
    "outside": (lambda r: {**r, "regions": [[80, 60, 90, 70]]}, "outside"),
    "turned": (lambda r: {**r, "regions": [[50, 10, 20, 40]]}, "x2"),
    "needs_look": (lambda r: {**r, "needs_look": "yes"}, "needs_look must be true or false"),
    "no rationale": (lambda r: {**r, "rationale": []}, "at least one part"),
    "strange part": (lambda r: {**r, "rationale": [{"html": "<script>"}]}, "rationale[0] must be {"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_records_are_refused_with_their_line(case: str, tmp_path: Path) -> None:
    """Each broken field is named with the line it stands on."""
    spoil, message = BAD[case]
    path = write_vlir(tmp_path, [(TINY, LESSON)])
    record = spoil(json.loads(path.read_text()))
    path.write_text(record if isinstance(record, str) else json.dumps(record))
    with pytest.raises(SampleError, match="line 1") as error:
        list(read_vlir(tmp_path))
    assert message in str(error.value) and "\n" not in str(error.value)


def test_a_changed_image_is_noticed(tmp_path: Path) -> None:
    """The hash in a record stands for its pixels."""
    write_vlir(tmp_path, [(TINY, LESSON)])
    (image,) = (tmp_path / "images").iterdir()
    Image.new("RGB", (80, 60)).save(image)
    with pytest.raises(SampleError, match="was changed"):
        list(read_vlir(tmp_path))


# Material, sheet and README.


def test_fonts_are_there_and_wrong_ones_are_named() -> None:
    for family in FAMILIES:
        _, top, _, bottom = font(family, 30).getbbox("0")
        assert abs(bottom - top - 30) <= 1.5, family
    with pytest.raises(R3labError, match="Did you mean 'serif'"):
        font("seriff", 10)


def test_one_sheet_shows_all_worlds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "all.png"
    assert call("worlds", ["--sheet", "--out", str(path), "--count", "5", "--split", "test"]) == 0
    assert capsys.readouterr().out.split() == [str(path)]
    with Image.open(path) as image:
        assert f"{', '.join(WORLDS)}; test split, seed 0, 5 samples" in image.info["Description"]
    monkeypatch.chdir(tmp_path)
    assert call("worlds", ["--sheet", "--world", "trails", "--count", "1"]) == 0
    assert (tmp_path / "runs" / "trails.png").is_file() and "badges" not in capsys.readouterr().out


def test_a_world_of_ones_own_as_it_is_printed_keeps_its_promises(tmp_path: Path) -> None:
    page = (Path(documents.__file__).parent / "README.md").read_text("utf-8")
    assert all(f"| `{name}` |" in page for name in EVERY)
    [code] = re.findall(
        r"`triangles.py`:\n\n```python\n(.*?)```",
        (Path(documents.__file__).parents[2] / "EXTEND.md").read_text("utf-8"),
        re.S,
    )
    path = tmp_path / "triangles.py"
    path.write_text(code, "utf-8")
    world = OWN.use(f"{path}:Triangles")
    looks = set()
    for i in range(30):
        s = world.sample("test", i)
        assert s == world.sample("test", i) and all(problem(region, s.image.size) == "" for region in s.regions)
        assert world.rationale(s).boxes == (s.regions if s.needs_look else ())
        read = [int(length) for _, length in s.meta["read"]]
        text = spoken(world.rationale(s))
        assert s.answer == str(sum(read)) and re.findall(r"shows (\d+)", text) == [*map(str, read)]
        for a, b, c in re.findall(r"(\d+) \+ (\d+) = (\d+)\.", text):
            assert int(a) + int(b) == int(c)
        assert not any(intersection(a, b) for k, a in enumerate(s.regions) for b in s.regions[:k])
        looks.add(len(world.rationale(s).boxes))
    assert looks == {0, 1, 3}
