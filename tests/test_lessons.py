"""Lessons say what the rationales say, look where they look, point at what they read; stages on them resume."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from itertools import islice

import numpy as np
import pytest
import torch

from r3lab.cli import call
from r3lab.core.errors import R3labError
from r3lab.core.files import assets_dir
from r3lab.core.geometry import Frame, crop_to_source
from r3lab.core.protocol import box_text
from r3lab.models import attention, tiny
from r3lab.models.policy import Policy
from r3lab.recipes import base as base_module
from r3lab.recipes.base import (
    ANCHOR_LAYER,
    LETTER_LAYER,
    POINTING_HEADS,
    POINTING_LAYER,
    Heads,
    by_length,
    lesson_rows,
    stated,
)
from r3lab.recipes.facts import WORDS, Fact, centre, scene_of, steps_of, words
from r3lab.recipes.lessons import (
    CELLS,
    FACTOR,
    IGNORE,
    NAMES,
    OVERVIEW,
    STATEMENTS,
    TEXT,
    Lesson,
    Lessons,
    Script,
    Stage,
    cell,
    dense,
    overview,
    vocabulary,
    written,
)
from r3lab.recipes.policies import BASE, CROP_TOKENS, STAGES, Recipe, make_base, make_world_base, settings_of
from r3lab.recipes.stages import HEADS, claim
from r3lab.recipes.world_lessons import (
    BESIDE,
    CHARACTERS,
    COUNT,
    RICHER,
    WorldLessons,
    WorldStage,
    WorldWriter,
    numbers,
)
from r3lab.rollout.sequence import prompt_ids
from r3lab.train import run as run_module
from r3lab.train.log import read_log
from r3lab.vlir.rationale import LARGE, SMALL
from r3lab.vlir.sample import Sample
from r3lab.vlir.worlds import OWN, get_world, trails
from r3lab.vlir.worlds.badges import COLOURS, SIDE, scene
from r3lab.vlir.worlds.charts import legend_text
from r3lab.vlir.worlds.diagrams import Diagrams

NEW = ("documents", "charts", "trails", "diagrams")
STAGE = replace(STAGES[0], batch=3, steps=2, windows=1)


@pytest.fixture(scope="module")
def policy() -> Policy:
    """Random weights, the words of all worlds."""
    return tiny.create([*vocabulary(), *words()], seed=0)


@pytest.fixture(autouse=True, scope="module")
def fifth() -> Iterator[None]:
    """The world that is offered by name is known here, as it is to who named it, whatever is installed."""
    OWN.use(Diagrams())
    yield
    del OWN.own["diagrams"]


@lru_cache(maxsize=240)
def train_sample(world: str, index: int) -> Sample:
    """Drawn once for all tests."""
    return get_world(world).sample("train", index)


def stream(policy: Policy, **shares: float) -> WorldLessons:
    return made_of(policy, STAGE, **shares)


def made_of(policy: Policy, stage: WorldStage, start: int = 0, **shares: float) -> WorldLessons:
    return WorldLessons(policy, replace(stage, shares=tuple(shares.items())), start)


def as_text(policy: Policy, lesson: Lesson) -> str:
    """A lesson as text, each image a stroke."""
    return "".join("|" if token is None else policy.piece(token) for token in lesson.text)


# -- facts ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("world", NEW)
def test_facts_are_what_the_rationale_says_and_lie_where_it_is_written(world):
    """The look that a rationale takes, the words before it and behind it, stand in a fact, with its box; a mark a
    character, inside the picture, and of what is read in a crop inside the box that is looked at."""
    for sample in (train_sample(world, index) for index in range(60)):
        scene, parts = scene_of(sample), get_world(world).rationale(sample).parts
        said = [text for text in parts if isinstance(text, str)]
        for number, box in enumerate(part for part in parts if not isinstance(part, str)):
            before, after = said[number].removeprefix("<think>"), said[number + 1]
            found = [f.said for f in scene.facts if f.box == box and before.endswith(f"{f.subject}{SMALL}")]
            assert any(after.startswith(told) for told in found), (sample.id, before, box, after)
        if not sample.needs_look and world != "charts":
            first = next(f for f in scene.facts if f.question == sample.question)
            assert first.large and f"{first.subject}{LARGE}{first.said}" in said[0]
        for fact in scene.facts:
            assert len(fact.marks) == len(fact.said) and any(fact.marks)
            x1, y1, x2, y2 = fact.box
            for far, (x, y) in filter(None, fact.marks):
                assert 0 <= x <= sample.image.width and 0 <= y <= sample.image.height
                assert far or (x1 <= x <= x2 and y1 <= y <= y2), (sample.id, fact)
            points = fact.said.startswith("It points")  # an arrow is followed from its own sign, by what was read
            assert points == (fact.via is not None)
            if points:
                (overview, there), (also, own) = fact.marks[fact.said.index(" to the") + 8], fact.via
                assert overview and also and own == fact.anchor and there != own
    with pytest.raises(R3labError, match="No facts are known of the world 'badges'"):
        scene_of(get_world("badges").sample("train", 0))


def test_print_of_a_document_is_where_its_marks_and_labels_are():
    """Of a number: in its ink, in the order of its characters; of a label: dark ink in its box, and paper."""
    for sample in (train_sample("documents", index) for index in range(20)):
        entries = sample.meta["entries"]
        fact = next(f for f in scene_of(sample).facts if f.question == sample.question)
        xs = [mark[1][0] for mark in fact.marks if mark]
        assert len(xs) == len(sample.answer) and xs == sorted(xs)
        value = next((e for e in entries if e["label"] == sample.meta["asked"]), None)
        assert value is None or value["box"][0] < xs[0] and xs[-1] < value["box"][2]
        grey = np.asarray(sample.image.convert("L")).astype(float)
        for x1, y1, x2, y2 in ([round(v) for v in entry["label_box"]] for entry in entries):
            inside = grey[y1:y2, x1:x2]
            assert np.percentile(inside, 5) < np.percentile(inside, 90) - 60, sample.id


def test_numbers_of_a_drawing_are_found_by_side_and_corner():
    """A fact for each that is written, and none at the question mark; each is read in its ink, from left to right."""
    for sample in (train_sample("diagrams", index) for index in range(20)):
        values, scene = sample.meta["values"], scene_of(sample)
        written = [value for value in values if value["said"] != "?"]
        things, letters = ([t for t in scene.things if bool(t.character) is of] for of in (False, True))
        assert len(scene.facts) == len(things) == len(values) - 1 == len(written)
        assert [(t.character, list(t.at)) for t in letters] == [
            (c, list(at)) for c, at in zip("ABCD", sample.meta["letters"], strict=False)
        ]
        for fact, value in zip(scene.facts, written, strict=True):
            assert fact.question.endswith(f" the {value['name']}?") and fact.said == f"It shows {value['said']}."
            x1, y1, x2, y2 = value["ink"]
            marks = [mark[1] for mark in fact.marks if mark]
            assert len(marks) == len(value["said"]) and marks == sorted(marks) and fact.large is value["large"]
            assert all(x1 < x < x2 and y1 < y < y2 for x, y in marks)
            assert fact.anchor == tuple(value["at"]) and not (x1 < fact.anchor[0] < x2 and y1 < fact.anchor[1] < y2)


# -- lessons -------------------------------------------------------------------------------------------------------


def fits_together(lesson: Lesson) -> None:
    """An image an image token, a mark an entry; every token that is pointed at exists, in the text an earlier one."""
    counts = [image.shape[0] // FACTOR * (image.shape[1] // FACTOR) for image in lesson.images]
    assert lesson.text.count(None) == len(lesson.images)
    assert len(lesson.text) == len(lesson.loss) == len(lesson.points) == len(lesson.anchors)
    for k, both in enumerate(zip(lesson.points, lesson.anchors, strict=True)):
        for image, token in filter(None, both):
            assert 0 <= token < (k if image == TEXT else counts[image])
    for image, token, character in lesson.characters:
        assert 0 <= token < counts[image] and 0 <= character < len(CHARACTERS)


@pytest.mark.parametrize("world", NEW)
def test_a_lesson_points_at_the_tokens_that_hold_the_points(policy, world):
    """Scenes; and crops alone, of which the question is given, what they show must be said, and points lie in them."""
    made, seen = made_of(policy, replace(STAGE, readings=3), **{world: 1.0}), 0
    for index in range(12):
        lesson, alone = made.scene(index)
        fits_together(lesson)
        assert "word" in lesson.targets and len(lesson.images) == 1 + len(lesson.crop_cells)
        text = as_text(policy, lesson)
        assert "too small to read" in text or LARGE.strip() in text or "bbox_2d" in text
        for one in alone:
            fits_together(one)
            assert len(one.images) == 1 and not len(one.cells)
            at, text = one.text.index(None), as_text(policy, one)
            assert "?<|im_end|>" in text and not any(one.loss[:at]) and all(one.loss[at + 2 :])
            assert {image for image, _ in filter(None, one.points)} - {TEXT} == {0}
            read = re.search(r"It shows (.*?)\.<", text + "<")
            seen += bool(read) and text.endswith(f"</think><answer>{read[1]}</answer>")
    assert seen > 8


def test_the_token_before_a_character_looks_at_it(policy):
    """`It shows 7.45` behind a crop: ` ` at the 7, `7` at the dot; what was read leads to what comes next."""
    made, seen = made_of(policy, replace(STAGE, readings=3), documents=1.0), 0
    for index in range(20):
        for lesson in made.scene(index)[1]:
            pieces = ["" if t is None else policy.piece(t) for t in lesson.text]
            begin = next((k for k, piece in enumerate(pieces) if piece == " " and pieces[k - 1] == " shows"), None)
            if begin is None:
                continue
            end = next(k for k in range(begin, len(pieces)) if pieces[k] == "." and "<" in pieces[k + 1])
            own = {at: lesson.points[at - 1] for at in range(begin + 1, end)}
            assert all(own.values()) and lesson.points[end - 1] is None and lesson.anchors[begin] is None
            assert all(lesson.anchors[at] == own[at] for at in range(begin + 1, end - 1))
            known = {(image, token): CHARACTERS[character] for image, token, character in lesson.characters}
            there = [(known[own[at]], pieces[at]) for at in own if own[at] in known]
            seen += sum(a == b for a, b in there) > 0.6 * len(there)  # two characters may share a token
    assert seen > 20


def test_every_token_of_a_box_is_led_by_the_label(policy):
    """The box of a price is pointed at by way of its label, at each of its coordinates."""
    made, seen = stream(policy, documents=1.0), 0
    for index in range(8):
        sample = RICHER["documents"].sample("train", index, 5000 + STAGE.seed)
        labels = {cell(centre(tuple(e["label_box"]))) for e in sample.meta["entries"]}
        lesson = made.scene(index)[0]
        for k, token in enumerate(lesson.text):
            if token is not None and policy.piece(token).startswith("{"):
                led, points = lesson.anchors[k : k + 9], lesson.points[k : k + 9]
                assert len(set(led)) == len(set(points)) == 1 and led[0][0] == 0 and led[0][1] in labels
                seen += 1
    assert seen > 10


def test_large_print_is_read_in_the_overview(policy):
    """Its characters are targets there, inside its box, whether or not a statement of it is written."""
    for index in range(30):
        sample = RICHER["documents"].sample("train", index, 5000 + STAGE.seed)
        large = [tuple(e["box"]) for e in sample.meta["entries"] if e["large"] and not e["value"].isalpha()]
        found = [token for image, token, _ in stream(policy, documents=1.0).scene(index)[0].characters if image == 0]
        assert bool(found) == bool(large)
        for token in found:
            x, y = (token % CELLS + 0.5) * FACTOR * 4, (token // CELLS + 0.5) * FACTOR * 4  # of 512 pixels
            assert any(x1 - 32 <= x <= x2 + 32 and y1 - 32 <= y <= y2 + 32 for x1, y1, x2, y2 in large)


def test_the_same_lesson_every_time_and_a_start_in_the_middle(policy):
    made = stream(policy, badges=0.3, documents=0.3, charts=0.2, trails=0.2)
    twice = [made.scene(7)[0], made.scene(7)[0]]
    assert twice[0].text == twice[1].text
    assert all(np.array_equal(a, b) for a, b in zip(twice[0].images, twice[1].images, strict=True))
    later = made_of(policy, STAGE, start=2, trails=1.0)
    first = next(iter(later))
    from_start = list(islice(stream(policy, trails=1.0), 3))[2]
    assert [one.text for one in first] == [one.text for one in from_start]
    half = stream(policy, badges=0.5, trails=0.5)
    assert 18 <= sum("word" in half.scene(i)[0].targets for i in range(60)) <= 42, "shares are kept"


def test_dense_targets_name_what_stands_in_a_token(policy):
    """Words of labels at the labels, sizes and boxes at the values."""
    sample = RICHER["documents"].sample("train", 3, 5000 + STAGE.seed)
    lesson = stream(policy, documents=1.0).scene(3)[0]
    labels = [WORDS[w] for w in lesson.targets["word"] if w != IGNORE]
    assert labels == [e["label"] for e in sample.meta["entries"]]
    x1, y1, x2, y2 = sample.meta["entries"][0]["box"]
    assert lesson.cells[0] == cell(((x1 + x2) / 2, (y1 + y2) / 2))
    edge = lesson.targets["edge0"][0]
    left = crop_to_source((edge * 10, 0, edge * 10 + 1, 1), (0, 0, 512, 512), (1000, 1000))[0]
    assert abs(left - (x1 - 6)) < 8 or x2 - x1 < 14  # padded; a short value is widened to the least region
    assert policy.family.frame == Frame.RELATIVE


def test_sums_are_right(policy):
    """What was read is given; the sum and the answer must be said, of the same numbers, and the difference is right."""
    made = made_of(policy, replace(STAGE, sums=2), charts=1.0)
    *_, first, second = made.batch(0)
    assert first.text != second.text and first.images == []
    for lesson in (first, second):
        told = "".join(policy.piece(t) if loss else "|" for t, loss in zip(lesson.text, lesson.loss, strict=True))
        text = "".join(policy.piece(token) for token in lesson.text)
        number = r"(\d+(?:\.\d)?)"
        done = f"</think><answer>{number}</answer>"
        between = r"The value of the \w+ \w+ is (?:large\. |too small to read\.\{[^}]*\})"
        one = rf"It shows {number}\. {between}It shows {number}\. {number} - {number} = {number}\.{done}"
        sums = re.findall(one, text)
        assert len(sums) == COUNT and re.sub(one, "", text) == ""
        assert re.findall(rf" {number} - {number} = {number}\.</think>", told) == [found[2:5] for found in sums]
        back = told_again(policy, lesson)
        assert all(said == read for said, read, _ in back)
        assert "".join(said for said, _, _ in back) == "".join(found[2] + found[3] for found in sums)
        for a, b, more, less, result, answer in sums:
            assert (a, b, result) == (more, less, answer)
            assert abs(float(more) - float(less) - float(result)) < 1e-9


def test_what_stands_behind_a_row_is_not_told(policy, monkeypatch):
    """A box ends a row that is padded: the padding behind it is no word that a neighbour leads to."""
    made = stream(policy, documents=1.0)
    ended = [lesson for lesson in (made.scene(index)[0] for index in range(20)) if lesson.anchors[-1]]
    batch = sorted(ended, key=lambda lesson: len(lesson.text))[:: len(ended) - 1]
    rows, masks, points = lesson_rows(batch, policy.encode([i for v in batch for i in v.images]), policy.image_id)
    padding = int(policy.rows(rows).ids[0, -1])
    assert len(rows[0].ids) < len(rows[1].ids) and padding not in rows[0].ids[-20:]
    plain = policy.logits
    monkeypatch.setattr(policy, "logits", lambda x: plain(x) + 1e4 * (torch.arange(plain(x).shape[-1]) == padding))
    assert stated(policy, rows, masks, points, 0.3)[1]["relation accuracy"] == 0.0


def test_a_stage_of_the_tower_alone_writes_nothing_of_the_scene(policy):
    """An overview with its targets, one image, no statement; crops alone keep their characters; the heads take both."""
    made = made_of(policy, replace(STAGE, text=False, windows=0, readings=1), documents=0.7, badges=0.3).batch(0)
    scenes = [lesson for lesson in made if len(lesson.cells)]
    papers = [lesson for lesson in scenes if "word" in lesson.targets]
    alone = [lesson for lesson in made if not len(lesson.cells)]
    assert papers and all(len(lesson.images) == 1 and not lesson.text for lesson in papers)
    assert len(alone) == len(papers) and any(lesson.characters for lesson in alone)
    features = policy.encode([image for lesson in made for image in lesson.images])
    heads = Heads(128, worlds=True)
    loss, seen = heads(features, made)
    assert torch.isfinite(loss) and {"word", "character", "large"} <= set(seen)
    policy.model.zero_grad()
    loss.backward()
    reached = (heads.word, heads.character, policy.model.model.visual.patch_embed.proj)
    assert all(float(layer.weight.grad.abs().sum()) > 0 for layer in reached)
    policy.model.zero_grad()


def test_digits_are_one_token_each_except_in_a_box(policy):
    def pieces(text: str) -> list[str]:
        return [policy.piece(token) for token in policy.ids(text)]

    assert pieces('{"bbox_2d": [120, 40, 300, 80]}')[1:-1:2] == ["120", "40", "300", "80"]
    assert pieces("It shows 8.40. <answer>30</answer>")[-8:] == ["4", "0", ".", " ", "<answer>", "3", "0", "</answer>"]
    with pytest.raises(ValueError, match="characters of several tokens"):
        stream(policy, trails=1.0).script.encode("é")


# -- questions answered in full ----------------------------------------------------------------------------------------

LOOK = "<|vision_start|>|<|vision_end|>"


def answered(policy: Policy, world: str, **settings: object) -> WorldLessons:
    stage: WorldStage = replace(STAGES[-1], batch=3, shares=((world, 1.0),), **settings)
    return WorldLessons(policy, stage)


def writer_of(policy: Policy, sample: Sample) -> WorldWriter:
    lesson = Lesson([overview(sample.image)], *dense(()))
    return WorldWriter(lesson, sample.image, np.random.default_rng(0), Script(policy))


@pytest.mark.parametrize("world", NEW)
def test_a_whole_answer_is_the_rationale(policy, world):
    """Word by word and look by look, in the tokens of the finished text, and all of it must be said."""
    for index in range(60):
        sample = train_sample(world, index)
        writer = writer_of(policy, sample)
        writer.answer(sample, scene_of(sample))
        parts = get_world(world).rationale(sample).parts
        expected = "".join(p if isinstance(p, str) else box_text(written(p)) + LOOK for p in parts)
        told = as_text(policy, writer.lesson)
        assert told == expected
        count = len(told.replace("|vision_start|", "").replace("|vision_end|", "").split("|"))
        assert count - 1 == len(sample.regions if sample.needs_look else ())
        begin = policy.piece  # tokens are those of the whole text, so that a rollout meets what was learned
        pieces = [p for p in (begin(t) for t in writer.lesson.text if t is not None) if "vision_" not in p]
        plain = "".join(p if isinstance(p, str) else box_text(written(p)) for p in parts)
        assert pieces[-len(policy.ids(plain)) :] == [begin(t) for t in policy.ids(plain)]
        shown = [k for k, token in enumerate(writer.lesson.text) if token is None]
        start = len(writer.lesson.text) - len(policy.ids(plain)) - 3 * len(shown)
        silent = {k + d for k in shown for d in (-1, 0, 1)}
        assert all(writer.lesson.loss[k] is (k not in silent) for k in range(start, len(writer.lesson.text)))


@pytest.mark.parametrize("world", NEW)
def test_a_scene_with_a_whole_answer_states_less_beside_it(policy, world):
    """The answer comes first; what it reads is not stated again; points and tokens fit together."""
    made = answered(policy, world)
    for index in range(20):
        lesson = made.scene(index)[0]
        text = as_text(policy, lesson)
        asked = (RICHER.get(world) or get_world(world)).sample("train", index, 5000 + made.stage.seed)
        prompt = [None if t == policy.image_id else t for t in prompt_ids(policy, asked.question, OVERVIEW, 1)]
        assert lesson.text[: len(prompt)] == prompt and not any(lesson.loss[: len(prompt)]), "as a rollout puts it"
        assert text.partition("assistant\n")[2].startswith("<think>")
        assert text.count("<think>") == text.count("</think><answer>") == 1
        assert text.index("<think>") < (text + "The").index("The", text.index("</answer>"))
        steps = [s for s in steps_of(asked, scene_of(asked)) if isinstance(s, Fact)]
        behind = text.partition("</answer>")[2]
        for step in steps:
            assert box_text(written(step.box)) not in behind
        assert len(re.findall(r"(?<![.\w] )\bThe |(?<=assistant\n)\w", behind)) <= 2 * BESIDE
        fits_together(lesson)
        assert text.count("|<|vision_end|>") == len(lesson.images)


def test_a_legend_is_read_line_by_line_and_then_searched(policy):
    """Labels at their letters, colours at their swatches, from the top; the colour that is said again is taken from the
    line of the label that was asked for, both found by their labels' last letters."""
    seen = 0
    for index in range(60):
        sample = train_sample("charts", index)
        marks = sample.meta["marks"]
        for fact in (f for f in scene_of(sample).facts if f.subject == "The legend"):
            asked = next(m for m in marks if f"of {m['label']}?" in fact.question)
            assert len(marks) == 3 and fact.said.startswith(f"It shows {legend_text(marks)}. {asked['label']} is the ")
            assert f" is the {asked['colour']} " in fact.said
            at = len("It shows ")
            for mark in (*marks, asked):
                middle = (mark["key"][1] + mark["key"][3]) / 2
                letters = fact.marks[at : at + len(mark["label"])]
                assert all(abs(m[1][1] - middle) < 4 and m[1][0] > mark["swatch"][2] for m in letters)
                colour = fact.said.index(mark["colour"], at)
                if at < fact.said.index("."):
                    assert fact.marks[colour][1][0] < mark["swatch"][2] + 1
                    assert abs(fact.marks[colour][1][1] - middle) < 4
                at = colour + len(mark["colour"]) + 2
            ((again, once),) = fact.recalls
            assert fact.said[again:].startswith(asked["colour"]) and once < fact.said.index(".") < again
            assert fact.said[:once].endswith(f" {asked['label']} ") and fact.said[once:].startswith(asked["colour"])
            words = [(fact.said[k:].partition(" ")[0].strip(",."), fact.said[: last + 1]) for k, last in fact.hangs]
            assert [word for word, _ in words] == [*(m["colour"] for m in marks), "the"]
            assert all(t.endswith(m["label"]) for (_, t), m in zip(words, (*marks, asked), strict=True))
            seen += 1
    assert seen > 20


def test_large_print_is_read_at_the_size_of_the_overview(policy):
    """A part of its very pixels, wherever its raster falls, that holds what is read; small print is not glanced at."""
    made, windows, beside = answered(policy, "documents", readings=1, glances=3), 0, set()
    for index in range(40):
        sample = RICHER["documents"].sample("train", index, 5000 + made.stage.seed)
        small = overview(sample.image)
        for lesson in made.scene(index)[1]:
            (image,) = lesson.images
            high, wide = image.shape[:2]
            if "<|vision_end|>The" not in as_text(policy, lesson):
                assert high * wide >= made.script.crop_tokens[0] * FACTOR**2  # the crop
                continue
            corners = np.argwhere((small == image[0, 0]).all(-1)).tolist()
            [(y, x)] = [(y, x) for y, x in corners if np.array_equal(small[y : y + high, x : x + wide], image)]
            assert high % FACTOR == wide % FACTOR == 0 and wide <= CELLS * FACTOR
            beside.add(x % FACTOR)
            text = as_text(policy, lesson)
            subject = text.partition("<|vision_end|>")[2].partition(" is large.")[0]
            fact = next(f for f in scene_of(sample).facts if f.subject == subject)
            assert fact.large and text.endswith(f" is large. {fact.said}")
            x1, y1, x2, y2 = (v * OVERVIEW[0] / 512 for v in fact.box)
            assert x <= x1 and x2 <= x + wide and y <= y1 and y2 <= y + high
            letters = [(token, CHARACTERS[c]) for _, token, c in lesson.characters]
            assert letters and all(c in fact.said for _, c in letters)
            windows += 1
    assert windows > 25 and len(beside) > 6


def test_a_side_is_found_by_the_letters_at_its_ends(policy):
    """Each letter of a subject looks for itself in the picture; the box looks back at them, one head at each."""
    made, boxes = answered(policy, "diagrams", corners=True), 0
    for index in range(6):
        sample = RICHER["diagrams"].sample("train", index, 5000 + made.stage.seed)
        lesson, _ = made.scene(index)
        drawn = {cell(tuple(at)): letter for letter, at in zip("ABCD", sample.meta["letters"], strict=False)}
        named = {k: policy.piece(lesson.text[k])[-1] for k, _ in lesson.letters}
        assert named and all(drawn[place] == named[k] and image == 0 for k, (image, place) in lesson.letters)
        for k, token in enumerate(lesson.text):
            if token is not None and policy.piece(token) == '{"bbox_2d": [':
                (one, first), (other, last) = lesson.anchors[k]
                assert one == other == TEXT and k - 12 < first <= last < k and last - first <= 1
                subject = "".join(policy.piece(t) for t in lesson.text[last - 4 : last + 1])
                ends = re.search(r"(side [A-D]|angle at )([A-D])$", subject)
                assert ends and (ends[1][-1] == named[first] or first == last) and ends[2] == named[last]
                boxes += 1
        features = policy.encode(lesson.images)
        rows, _, points = lesson_rows([lesson], features, policy.image_id)
        long = iter(len(image.tokens) for image in features)
        begins = np.cumsum([0, *(next(long) if t is None else 1 for t in lesson.text)]).tolist()
        photo = begins[lesson.text.index(None)]
        pairs = [(k, ends) for k, ends in enumerate(lesson.anchors) if ends and isinstance(ends[0], tuple)]
        wanted = [(begins[k], begins[at], ANCHOR_LAYER, head) for k, ends in pairs for head, (_, at) in enumerate(ends)]
        wanted += [(begins[k], photo + place, LETTER_LAYER, -1) for k, (_, place) in lesson.letters]
        heads = [tuple(point) for _, *point in points.tolist() if point[2] == LETTER_LAYER or point[3] >= 0]
        assert pairs and sorted(heads) == sorted(wanted), "the first head at the first end, the second at the last"
        text = [i for i in rows[0].ids if i != policy.image_id]
        assert len(text) == sum(t is not None for t in lesson.text)
    assert boxes > 8
    assert not any(lesson.letters for lesson in (answered(policy, "diagrams").scene(k)[0] for k in range(3)))


def test_the_way_of_an_arrow_is_read_on_its_own_sign(policy):
    """In a crop and in a part of the overview alone: the way is said as the sign has it, and not where it leads."""
    made, seen = answered(policy, "trails", readings=2, glances=2), {True: 0, False: 0}
    for index in range(30):
        sample = RICHER["trails"].sample("train", index, 5000 + made.stage.seed)
        for lesson in made.scene(index)[1]:
            text = as_text(policy, lesson)
            before, points, said = text.partition("It points ")
            if not points:
                continue
            name = re.search(r"The (\w+ \w+)(?: is large\. |<.vision_start.>...vision_end.>)$", before)[1]
            (sign,) = (s for s in sample.meta["signs"] if f"{s['colour']} {s['shape']}" == name)
            assert said == f"{trails.WAYS[sign['says']]} to the"
            assert all(point[0] == 0 for point in filter(None, (*lesson.points, *lesson.anchors)))
            glanced = " is large. " in before
            assert not glanced or sign["diameter"] >= trails.LARGE[0]
            seen[glanced] += 1
    assert min(seen.values()) > 8, seen


def test_a_glance_at_the_edge_stays_inside(policy):
    """Print that touches the picture's edge."""
    sample = get_world("documents").sample("train", 0)
    for box in ((440.0, 0.0, 512.0, 60.0), (0.0, 460.0, 90.0, 512.0), (0.0, 0.0, 512.0, 512.0)):
        fact = Fact("What is the total?", "The total", box, True, "It shows 7.", (None,) * 11)
        for _ in range(20):
            writer = writer_of(policy, sample)
            writer.lesson.images.clear()
            writer.glance(fact)
            high, wide = writer.lesson.images[0].shape[:2]
            assert min(high, wide) >= FACTOR and max(high, wide) <= OVERVIEW[0]


def told_again(policy: Policy, lesson: Lesson) -> list[tuple[str, str, bool]]:
    """Of every entry that points back in the text: what comes next, what it points at, and whether that is a digit."""
    back = [(k, point[1]) for k, point in enumerate(lesson.points) if point and point[0] == TEXT]
    pieces = ["|" if token is None else policy.piece(token) for token in lesson.text]
    return [(pieces[k + 1], pieces[at], pieces[at].isdigit()) for k, at in back]


def test_both_numbers_of_a_difference_are_taken_over(policy):
    """Behind crops: each character points at where it was read, the first number at the first."""
    seen = 0
    for index in range(60):
        sample = train_sample("charts", index)
        if sample.meta["kind"] == "difference":
            writer = writer_of(policy, sample)
            writer.answer(sample, scene_of(sample))
            entries = [point[1] for point in writer.lesson.points if point and point[0] == TEXT]
            more, less = (sample.meta["marks"][k]["said"] for k in sample.meta["asked"])
            assert "".join(said for said, _, _ in told_again(policy, writer.lesson)) == more + less
            assert entries == sorted(entries), (
                "the first number was read before the second, also where they share digits"
            )
            seen += 1
    assert seen > 6


def test_every_number_of_a_drawing_is_taken_over_where_it_is_an_operand(policy):
    """Also where a result between them holds the digits of one that comes later: 180 - 33 = 147. 147 - 47 = 100."""
    seen = 0
    for index in range(40):
        sample = train_sample("diagrams", index)
        meta = sample.meta
        writer = writer_of(policy, sample)
        writer.answer(sample, scene_of(sample))
        read = [meta["values"][k]["said"] for k in meta["asked"]]
        told = told_again(policy, writer.lesson)
        assert "".join(said for said, _, _ in told) == "".join(read if len(read) > 1 else [])
        assert all(said == there for said, there, _ in told)
        seen += len(read) > 2
    assert seen > 8
    writer = writer_of(policy, sample)
    for value in ("33", "47"):
        writer.note(writer.say(f" It shows {value}.", False), f" It shows {value}.")
    begin = writer.say(" 180 - 33 = 147. 147 - 47 = 100.", True)
    writer.take_over(begin, " 180 - 33 = 147. 147 - 47 = 100.")
    pieces = [policy.piece(token) for token in writer.lesson.text[begin:]]
    back = [k + 1 for k, point in enumerate(writer.lesson.points[begin:]) if point and point[0] == TEXT]
    assert ["".join(pieces[k - 3 : k]) for k in back[::2]] == ["0 - ", "7 - "]


def test_numbers_of_rows_are_like_those_of_charts_and_signs_are_larger():
    """Never equal, the greater first; some close, some of one digit, some with a decimal."""
    large = [sum(not w.sample("train", i).needs_look for i in range(80)) for w in (trails.Trails(), RICHER["trails"])]
    assert large[0] < 32 <= large[1]
    rng = np.random.default_rng(0)
    pairs = [numbers(rng) for _ in range(400)]
    assert all(float(more) > float(less) > 0 for more, less in pairs)
    unit = [(round(float(m) * 10 ** ("." in m)), round(float(n) * 10 ** ("." in n))) for m, n in pairs]
    assert 0.4 < np.mean([m - n <= 12 for m, n in unit]) < 0.8
    assert 0.08 < np.mean([n < 10 for _, n in unit]) < 0.4 and 0.2 < np.mean(["." in m for m, _ in pairs]) < 0.6


def test_legends_are_searched_in_text_alone(policy):
    """The lines are given; the colour that must be said is that of the label that was asked for."""
    made = answered(policy, "charts", readings=0, sums=1, matches=2)
    *_, sums, first, second = made.batch(0)
    assert " - " in as_text(policy, sums) and first.text != second.text
    for lesson in (first, second):
        text = as_text(policy, lesson)
        found = re.findall(r"It shows ([^.]*)\. (\w+) is the (\w+) \w+\.", text)
        assert len(found) == COUNT and lesson.images == []
        assert all(f"{asked} {colour}" in lines.split(", ") for lines, asked, colour in found)
        told = [policy.piece(t).strip() for t, loss in zip(lesson.text, lesson.loss, strict=True) if loss]
        assert told[::3] == [colour for _, _, colour in found] and set(told[2::3]) == {"."}
        rows, _, points = lesson_rows([lesson], [], policy.image_id)
        piece = [policy.piece(token) for token in rows[0].ids]
        for _, reads, looked_at, layer, _ in points.tolist():
            if layer == POINTING_LAYER:  # at the colour that comes next, where its line has it
                assert piece[reads] == " the" and piece[reads + 1] == piece[looked_at] and looked_at < reads - 3
            else:
                assert piece[reads] == " the" or piece[reads].strip() in COLOURS
                assert re.fullmatch("[A-Z]", piece[looked_at].strip())
                assert reads - looked_at == 1 + (piece[reads] == " the")
        assert {layer for *_, layer, _ in points.tolist()} == {POINTING_LAYER, ANCHOR_LAYER}


# -- a widened policy ------------------------------------------------------------------------------------------------


def test_widening_changes_nothing_that_was_known():
    """Same logits for the old tokens on the same text and picture; a new word begins as the mean of its pieces."""
    old = tiny.create(vocabulary(), seed=1)
    new = tiny.widened(old, [*vocabulary(), *words()])
    assert len(new.ids(" apples")) == 1 < len(old.ids(" apples")) and len(new.tokenizer) > len(old.tokenizer)
    table, before = (one.model.get_input_embeddings().weight for one in (new, old))
    made = table[new.ids(" apples")[0]]
    assert torch.allclose(made, before[old.ids(" apples")].mean(0))
    lesson = Lessons(old, STAGE).lesson(0)
    again = Lessons(new, STAGE).lesson(0)
    logits = []
    for policy, one in ((old, lesson), (new, again)):
        with torch.no_grad():
            rows, _, _ = lesson_rows([one], policy.encode(one.images), policy.image_id)
            logits.append(policy.logits(policy.hidden(policy.rows(rows)))[0])
    known = [(i, new.tokenizer.get_vocab()[t]) for t, i in old.tokenizer.get_vocab().items()
             if t in new.tokenizer.get_vocab()]  # fmt: skip
    assert len(known) > 400 and logits[0].shape[0] == logits[1].shape[0]
    mine, theirs = zip(*known, strict=True)
    assert torch.allclose(logits[0][:, list(mine)], logits[1][:, list(theirs)], atol=1e-5)


def test_four_worlds_grow_from_the_base_of_badges(tmp_path):
    """A base of two steps, then two of all worlds, one batch of which holds no badge; finished, nothing is repeated."""
    first = replace(STAGE, name="one", text=False, pointing=0.0)
    base = make_base(tmp_path / "base", 0, (first,))
    stage = replace(STAGE, name="all", readings=1, sums=1)
    stage = replace(stage, shares=(("documents", 0.4), ("charts", 0.3), ("trails", 0.3)))
    folder = make_world_base(tmp_path / "worlds", base, 0, (stage,))
    made = Policy.load(folder)
    assert made.layout.crop_tokens == CROP_TOKENS
    assert len(made.ids(" apples")) == 1 and (folder / HEADS).is_file()
    [row] = read_log(tmp_path / "worlds" / "all.jsonl")
    assert row["step"] == 2 and {"word", "character", "text", "coordinate", "alone, text"} <= set(row)
    stamp = (folder / "model.safetensors").stat().st_mtime_ns
    assert make_world_base(tmp_path / "worlds", base, 0, (stage,)) == folder
    assert (folder / "model.safetensors").stat().st_mtime_ns == stamp
    shipped = assets_dir() / "tiny" / "cold-start"  # without heads: new ones learn, and what it can read stays
    stage = replace(stage, steps=1, learning_rate=1e-9, readings=0, sums=0, shares=(("trails", 1.0),))
    before, after = Policy.load(shipped), Policy.load(make_world_base(tmp_path / "shipped", shipped, 0, (stage,)))
    assert len(after.ids(" apples")) == 1 and len(before.ids(" apples")) > 1
    kept = [one.model.model.visual.patch_embed.proj.weight for one in (before, after)]
    assert torch.allclose(*kept, atol=1e-6)


SHORT = Stage("short", 4, 2, (1, 3), True, 1e-3, head_weight=0.3, seed=5, windows=1, pointing=0.3)


def lessons_of(policy: Policy, statements=STATEMENTS, badges=(3, 5), windows=0, text=True, count=6):
    """Some lessons and the scenes that they are about."""
    stream = Lessons(policy, Stage("some", 1, 2, badges, text, seed=3, windows=windows, statements=statements))
    made = [stream.lesson(i) for i in range(count)]
    scenes = []
    for i in range(count):
        rng = np.random.default_rng([3, 77, i])
        scenes.append(scene(rng, "train", int(rng.integers(badges[0], badges[1] + 1)))[1])
    return made, scenes


def test_statements_are_true_and_point_at_what_they_speak_of(policy):
    """What carries a point is about the badge in that token: its name, its box or its digit."""
    seen = set()
    for lesson, badges in zip(*lessons_of(policy), strict=True):
        by_cell, targets = dict(zip(lesson.cells.tolist(), badges, strict=True)), lesson.targets
        for k, (cell_of, badge) in enumerate(by_cell.items()):  # a digit is asked for only where it can be read
            row, column = divmod(cell_of, CELLS)
            off = abs((column + 0.5) * SIDE / CELLS - badge.x), abs((row + 0.5) * SIDE / CELLS - badge.y)
            assert len(by_cell) == len(badges) and max(off) <= SIDE / CELLS / 2
            assert NAMES[targets["name"][k]] == badge.name
            assert targets["digit"][k] == (badge.digit if badge.large else IGNORE)
        at = 0
        while at < len(lesson.text):  # runs of one point
            end = at
            while end < len(lesson.text) and lesson.points[end] == lesson.points[at] and lesson.text[end] is not None:
                end += 1
            point, text = lesson.points[at], "".join(policy.piece(t) for t in lesson.text[at:end] if t is not None)
            at = max(end, at + 1)
            if point is None:
                continue
            assert 0 < len(text.split()) < 60
            image, token = point
            if image == 0:
                badge = by_cell[token]
                if "It shows" in text:
                    seen.add("size")
                    assert badge.large and f"It shows {badge.digit}." in text
                elif "too small" in text:
                    assert not badge.large
                elif "bbox_2d" in text:
                    seen.add("box")
                    assert badge.name in text or text.startswith("{")
                elif "The" in text or "the" in text:
                    seen.add("name")
                    assert badge.name in text
            else:
                seen.add("crop")
                digit = lesson.crop_targets["digit"][image - 1]
                assert text == f"It shows {digit}."
                assert token == lesson.crop_cells[image - 1]
                high, wide = lesson.images[image].shape[:2]
                assert 0 <= token < (high // FACTOR) * (wide // FACTOR)
    assert seen == {"size", "box", "name", "crop"}


def test_only_the_kinds_asked_for_are_stated(policy):
    """`statements` leaves kinds out; the vision warm-up writes nothing and shows a crop of every badge."""
    made, _ = lessons_of(policy, statements=("where",))
    assert all(len(v.images) == 1 and "shows" not in "".join(map(policy.piece, filter(None, v.text))) for v in made)
    made, scenes = lessons_of(policy, text=False, windows=2)
    for lesson, badges in zip(made, scenes, strict=True):
        assert not lesson.text and len(lesson.images) == 1 + len(badges)
        assert lesson.window_digits == [b.digit for b in badges for _ in range(2)]


def test_rows_expand_images_and_keep_points(policy):
    """Each image becomes its tokens; a point names the place of that token in the expanded row."""
    made, _ = lessons_of(policy)
    with torch.no_grad():
        features = policy.encode([image for lesson in made for image in lesson.images])
    rows, masks, points = lesson_rows(made, features, policy.image_id)
    assert sum(len(v.loss) - len(v.images) for v in made) + sum(len(f.tokens) for f in features) == sum(map(len, masks))
    assert all(rows[r].ids[looked] == policy.image_id and looked < reads for r, reads, looked, *_ in points.tolist())
    assert len(points) == sum(p is not None for v in made for p in (*v.points, *v.anchors))


def test_stated_loss_is_the_mean_over_marked_tokens(policy):
    """Against a plain forward pass, row by row; `pointing` adds minus the log of the two heads' weight on the token."""
    made, _ = lessons_of(policy, count=3)
    eager, watched = copy.deepcopy(policy), copy.deepcopy(policy)
    eager.model.set_attn_implementation({"text_config": "eager"})
    attention.select(watched.model)
    with torch.no_grad():
        features = eager.encode([image for lesson in made for image in lesson.images])
        rows, masks, points = lesson_rows(made, features, eager.image_id)
        led = (points[:, 3] == ANCHOR_LAYER).nonzero()[:, 0]
        points[led[::3], 4], points[led[1::3], 4] = 0, 1  # of one head alone
        points[led[2::3], 3] = LETTER_LAYER
        plain, seen = stated(policy, rows, masks, points, 0.0)
        pointed, also = stated(watched, rows, masks, points, 0.5)
        each, said, mass = [], [], {POINTING_LAYER: [], ANCHOR_LAYER: [], LETTER_LAYER: []}
        for r, (row, mask) in enumerate(zip(rows, masks, strict=True)):
            batch = eager.rows([row])
            out = eager.model.model(
                input_ids=batch.ids,
                position_ids=batch.positions,
                output_attentions=True,
                mm_encoder_outputs={"image": eager.bundle(batch.images)},
            )
            logp = torch.log_softmax(eager.logits(out.last_hidden_state[0]), -1)
            each += [-logp[i - 1, row.ids[i]] for i, m in enumerate(mask) if m]
            for own, reads, looked, layer, head in points.tolist():
                if own == r:
                    heads = POINTING_HEADS if head < 0 else (POINTING_HEADS[head],)
                    mass[layer] += [out.attentions[layer][0, h, reads, looked] for h in heads]
                    if layer == ANCHOR_LAYER and head < 1:
                        said.append(bool(logp[reads].argmax() == row.ids[reads + 1]))
    assert float(plain) == pytest.approx(float(torch.stack(each).mean()), abs=1e-4)
    extra = sum(-0.5 * torch.log(torch.stack(m)).mean() for m in mass.values())
    assert float(pointed - plain) == pytest.approx(float(extra), abs=1e-4)
    assert also["pointing mass"] == pytest.approx(float(torch.stack(mass[POINTING_LAYER]).mean()), abs=1e-5)
    assert also["anchor mass"] == pytest.approx(float(torch.stack(mass[ANCHOR_LAYER]).mean()), abs=1e-5)
    assert also["letter mass"] == pytest.approx(float(torch.stack(mass[LETTER_LAYER]).mean()), abs=1e-5)
    assert said and seen["relation accuracy"] == pytest.approx(np.mean(said), abs=1e-5)
    assert seen["text"] == pytest.approx(float(plain), abs=1e-5) and "pointing mass" not in seen


def test_parts_of_like_length_hold_every_row_and_point(policy):
    """The loss over the parts, weighted by marked tokens, is that over all rows; the short rows come first."""
    made, _ = lessons_of(policy, count=5)
    with torch.no_grad():
        features = policy.encode([image for lesson in made for image in lesson.images])
        whole = lesson_rows(made, features, policy.image_id)
        parts = by_length(*whole)
        losses = [float(stated(policy, *part, 0.0)[0]) for part in parts]
        marked = [sum(map(sum, part[1])) for part in parts]
        assert np.average(losses, weights=marked) == pytest.approx(float(stated(policy, *whole, 0.0)[0]), abs=1e-4)
    lengths = [[len(row.ids) for row in rows] for rows, _, _ in parts]
    assert max(lengths[0]) <= min(lengths[1]) and sum(map(len, lengths)) == 5
    told = sorted(
        (rows[r].ids[reads], reads, at, layer, head) for rows, _, p in parts for r, reads, at, layer, head in p.tolist()
    )
    assert told == sorted(
        (whole[0][r].ids[reads], reads, at, layer, head) for r, reads, at, layer, head in whole[2].tolist()
    )


def test_an_interrupted_stage_goes_on_as_if_nothing_had_happened(tmp_path, monkeypatch):
    """Killed in the middle of the second save of the second stage: weights and logs end up as those of an undisturbed
    run, since the first save is taken and not what was half written."""
    stages = (replace(SHORT, name="one", steps=2, text=False, pointing=0.0), replace(SHORT, name="two", steps=5))
    monkeypatch.setattr(base_module, "SAVED", 2)
    monkeypatch.setattr(base_module, "LOGGED", 3)  # the kill falls between two rows of the log
    whole = make_base(tmp_path / "whole", 0, stages)

    class Killed(Exception):
        pass

    def killed(tensors, path):
        if "000005" in str(path):
            path.write_bytes(b"half")
            raise Killed
        return ordinary(tensors, path)

    ordinary = run_module.save_file
    with monkeypatch.context() as patch:
        patch.setattr(run_module, "save_file", killed)
        with pytest.raises(Killed):
            make_base(tmp_path / "parts", 0, stages)
    heads = tmp_path / "parts" / "two.run" / "checkpoints" / "step-000004" / "beside.safetensors"
    held = heads.read_bytes()
    heads.write_bytes(held[: len(held) // 2])
    with pytest.raises(R3labError, match="beside.safetensors is not what was written"):
        make_base(tmp_path / "parts", 0, stages)
    heads.write_bytes(held)
    parts = make_base(tmp_path / "parts", 0, stages)
    a, b = Policy.load(whole).model.state_dict(), Policy.load(parts).model.state_dict()
    assert all(torch.equal(a[k], b[k]) for k in a)
    log, wanted = (read_log(tmp_path / name / "two.jsonl") for name in ("parts", "whole"))
    assert [r["step"] for r in log] == [3, 5]
    assert log[0]["seconds"] < log[1]["seconds"]  # of all parts of the run
    assert [row | {"seconds": 0} for row in log] == [row | {"seconds": 0} for row in wanted]
    assert {path.name for path in (tmp_path / "parts").iterdir()} == {"one", "one.jsonl", "two", "two.jsonl"}


def test_work_of_other_settings_is_not_taken_for_finished(tmp_path, capsys):
    """The work folder remembers every number; a command with other ones is refused before anything runs."""
    claim(tmp_path, settings_of(Recipe()))
    claim(tmp_path, settings_of(Recipe(work=str(tmp_path), out="elsewhere")))
    noted = json.loads((tmp_path / "recipe.json").read_text())
    assert [s["name"] for s in noted["base"]] == [s.name for s in BASE]
    assert "group" in noted["rgrpo"] and "work" not in noted
    with pytest.raises(R3labError, match="rgrpo_steps"):
        call("train tiny", ["--work", str(tmp_path), "--rgrpo-steps", "777"])
    with pytest.raises(R3labError, match="above"):  # said at once, not after hours
        call("train tiny", ["--work", str(tmp_path / "new"), "--rgrpo-steps", "7"])
