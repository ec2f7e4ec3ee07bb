"""Questions answered in full say what the rationale says, look where it looks, and point at what it reads."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from r3lab.core.protocol import box_text
from r3lab.models import tiny
from r3lab.models.policy import Policy
from r3lab.recipes.base import ANCHOR_LAYER, POINTING_LAYER, lesson_rows
from r3lab.recipes.facts import Fact, scene_of, steps_of, words
from r3lab.recipes.lessons import CELLS, FACTOR, OVERVIEW, TEXT, Lesson, Script, dense, overview, vocabulary, written
from r3lab.recipes.policies import STAGES
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
from r3lab.vlir.sample import Sample
from r3lab.vlir.worlds import get_world
from r3lab.vlir.worlds.badges import COLOURS
from r3lab.vlir.worlds.charts import legend_text
from r3lab.vlir.worlds.trails import LARGE, WAYS, Trails

NEW = ("documents", "charts", "trails")
LOOK = "<|vision_start|>|<|vision_end|>"


@pytest.fixture(scope="module")
def policy() -> Policy:
    """Random weights, the words of all worlds."""
    return tiny.create([*vocabulary(), *words()], seed=0)


def stream(policy: Policy, world: str, **settings: object) -> WorldLessons:
    stage: WorldStage = replace(STAGES[-1], batch=3, shares=((world, 1.0),), **settings)
    return WorldLessons(policy, stage)


def as_text(policy: Policy, lesson: Lesson) -> str:
    """A lesson as text, each image a stroke."""
    return "".join("|" if token is None else policy.piece(token) for token in lesson.text)


def writer_of(policy: Policy, sample: Sample) -> WorldWriter:
    lesson = Lesson([overview(sample.image)], *dense(()))
    return WorldWriter(lesson, sample.image, np.random.default_rng(0), Script(policy))


@pytest.mark.parametrize("world", NEW)
def test_a_whole_answer_is_the_rationale(policy, world):
    """Word by word and look by look, in the tokens of the finished text, and all of it must be said."""
    for index in range(80):
        sample = get_world(world).sample("train", index)
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


def test_every_kind_of_question_is_answered_in_full():
    """Of charts by the steps that the kind asks for."""
    lengths: dict[str, set[int]] = {}
    for index in range(120):
        sample = get_world("charts").sample("train", index)
        lengths.setdefault(sample.meta["kind"], set()).add(len(steps_of(sample, scene_of(sample))))
    assert lengths == {"value": {1}, "label": {1}, "largest": {2}, "named": {2}, "difference": {3}}


@pytest.mark.parametrize("world", NEW)
def test_a_question_is_put_as_a_rollout_puts_it(policy, world):
    """The tokens before the first thought are those of a prompt, none of which must be said."""
    made = stream(policy, world)
    for index in range(5):
        sample = (RICHER.get(world) or get_world(world)).sample("train", index, 5000 + made.stage.seed)
        lesson = made.scene(index)[0]
        prompt = [None if t == policy.image_id else t for t in prompt_ids(policy, sample.question, OVERVIEW, 1)]
        assert lesson.text[: len(prompt)] == prompt and not any(lesson.loss[: len(prompt)])
        assert as_text(policy, lesson).partition("assistant\n")[2].startswith("<think>")


@pytest.mark.parametrize("world", NEW)
def test_a_scene_with_a_whole_answer_states_less_beside_it(policy, world):
    """The answer comes first; what it reads is not stated again; points and tokens fit together."""
    made = stream(policy, world)
    for index in range(20):
        lesson = made.scene(index)[0]
        text = as_text(policy, lesson)
        assert text.count("<think>") == text.count("</think><answer>") == 1
        assert text.index("<think>") < (text + "The").index("The", text.index("</answer>"))
        sample = (RICHER.get(world) or get_world(world)).sample("train", index, 5000 + made.stage.seed)
        steps = [s for s in steps_of(sample, scene_of(sample)) if isinstance(s, Fact)]
        behind = text.partition("</answer>")[2]
        for step in steps:
            assert box_text(written(step.box)) not in behind
        assert len(re.findall(r"(?<![.\w] )\bThe |(?<=assistant\n)\w", behind)) <= 2 * BESIDE
        counts = [image.shape[0] // FACTOR * (image.shape[1] // FACTOR) for image in lesson.images]
        assert len(lesson.text) == len(lesson.loss) == len(lesson.points) == len(lesson.anchors)
        for k, both in enumerate(zip(lesson.points, lesson.anchors, strict=True)):
            for image, token in filter(None, both):
                assert 0 <= token < (k if image == TEXT else counts[image])
        assert text.count("|<|vision_end|>") == len(lesson.images)


def test_a_legend_is_read_line_by_line_and_then_searched(policy):
    """Labels at their letters, colours at their swatches, from the top; the colour that is said again is taken from the
    line of the label that was asked for, both found by their labels' last letters."""
    seen = 0
    for index in range(60):
        sample = get_world("charts").sample("train", index)
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
    made, windows, beside = stream(policy, "documents", readings=1, glances=3), 0, set()
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


def test_the_way_of_an_arrow_is_read_on_its_own_sign(policy):
    """In a crop and in a part of the overview alone: the way is said as the sign has it, and not where it leads."""
    made, seen = stream(policy, "trails", readings=2, glances=2), {True: 0, False: 0}
    for index in range(30):
        sample = RICHER["trails"].sample("train", index, 5000 + made.stage.seed)
        for lesson in made.scene(index)[1]:
            text = as_text(policy, lesson)
            before, points, said = text.partition("It points ")
            if not points:
                continue
            name = re.search(r"The (\w+ \w+)(?: is large\. |<.vision_start.>...vision_end.>)$", before)[1]
            (sign,) = (s for s in sample.meta["signs"] if f"{s['colour']} {s['shape']}" == name)
            assert said == f"{WAYS[sign['says']]} to the"
            assert all(point[0] == 0 for point in filter(None, (*lesson.points, *lesson.anchors)))
            glanced = " is large. " in before
            assert not glanced or sign["diameter"] >= LARGE[0]
            seen[glanced] += 1
    assert min(seen.values()) > 8, seen


def test_lessons_have_more_large_signs():
    readable = [
        sum(not world.sample("train", i).needs_look for i in range(80)) for world in (Trails(), RICHER["trails"])
    ]
    assert readable[0] < 32 <= readable[1]


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
    """In rows of text and behind crops: each character points at where it was read, the first number at the first."""
    made = stream(policy, "charts", readings=0, sums=2, matches=0)
    for row in made.batch(0)[-2:]:
        found = told_again(policy, row)
        assert all(said == read for said, read, _ in found)
        text = as_text(policy, row)
        pairs = re.findall(r" (\d+(?:\.\d)?) - (\d+(?:\.\d)?) =", text)
        assert "".join(said for said, _, _ in found) == "".join(a + b for a, b in pairs) and len(pairs) == COUNT
    seen = 0
    for index in range(60):
        sample = get_world("charts").sample("train", index)
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


def test_numbers_of_rows_are_like_those_of_charts():
    """Never equal, the greater first; some close, some of one digit, some with a decimal."""
    rng = np.random.default_rng(0)
    pairs = [numbers(rng) for _ in range(400)]
    assert all(float(more) > float(less) > 0 for more, less in pairs)
    unit = [(round(float(m) * 10 ** ("." in m)), round(float(n) * 10 ** ("." in n))) for m, n in pairs]
    assert 0.4 < np.mean([m - n <= 12 for m, n in unit]) < 0.8
    assert 0.08 < np.mean([n < 10 for _, n in unit]) < 0.4 and 0.2 < np.mean(["." in m for m, _ in pairs]) < 0.6


def test_legends_are_searched_in_text_alone(policy):
    """The lines are given; the colour that must be said is that of the label that was asked for."""
    made = stream(policy, "charts", readings=0, sums=1, matches=2)
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
        for _, reads, looked_at, layer in points.tolist():
            if layer == POINTING_LAYER:  # at the colour that comes next, where its line has it
                assert piece[reads] == " the" and piece[reads + 1] == piece[looked_at] and looked_at < reads - 3
            else:
                assert piece[reads] == " the" or piece[reads].strip() in COLOURS
                assert re.fullmatch("[A-Z]", piece[looked_at].strip())
                assert reads - looked_at == 1 + (piece[reads] == " the")
        assert {layer for *_, layer in points.tolist()} == {POINTING_LAYER, ANCHOR_LAYER}


def test_a_scene_without_a_question_to_answer_is_stated_as_before(policy):
    """`wholes` off: no thinking, no answer."""
    lesson = stream(policy, "trails", wholes=False).scene(0)[0]
    assert "<think>" not in as_text(policy, lesson) and "too small" in as_text(policy, lesson)
