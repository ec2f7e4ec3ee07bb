"""Filters reject what they say and nothing else; judges are replaceable; hostile folders cost no good line."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hostile import JUNK, spoiled
from PIL import Image, ImageDraw

from r3lab.core.errors import R3labError
from r3lab.core.geometry import Box, coverage, iou
from r3lab.core.images import content_hash, cut
from r3lab.evaluate import legibility as policy_judge
from r3lab.evaluate.legibility import PolicyJudge, policy_judges, sheet
from r3lab.models import tiny
from r3lab.recipes.lessons import vocabulary
from r3lab.vlir import filters
from r3lab.vlir.filters import (
    ASK_UNIT,
    FILTERS,
    REJECTED,
    UNDECIDED,
    FilterReport,
    JudgeError,
    Query,
    affirmed,
    agrees,
    filter_folder,
    filter_samples,
    judged,
    put,
)
from r3lab.vlir.rationale import imperfect
from r3lab.vlir.rules import Limits, Reason, detail, repeated, repeated_sentence, spelled
from r3lab.vlir.sample import Rationale, Sample, crops, read_vlir, write_vlir
from r3lab.vlir.worlds import WORLDS

SIZE = (400, 300)
SIGN: Box = (40.0, 50.0, 120.0, 90.0)  # says STOP
PLATE: Box = (220.0, 60.0, 300.0, 100.0)  # says 4711
SKY: Box = (150.0, 200.0, 250.0, 280.0)  # says nothing


def picture() -> Image.Image:
    """A grey slope with two plates that have words on them."""
    slope = np.linspace(150, 210, SIZE[1])[:, None] + np.zeros(SIZE[0])
    image = Image.fromarray(np.repeat(slope[..., None], 3, axis=2).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    for box, words in ((SIGN, "STOP"), (PLATE, "4711")):
        draw.rectangle(box, fill=(250, 250, 250), outline=(0, 0, 0))
        draw.text((box[0] + 20, box[1] + 12), words, fill=(0, 0, 0))
    return image


PICTURE = picture()


def made(*parts: str | Box, **fields: Any) -> tuple[Sample, Rationale]:
    """A sample on PICTURE and a rationale of these parts."""
    known: dict[str, Any] = {"regions": (SIGN,), "needs_look": True, "question": "What does the sign say?"}
    return Sample("s-1", PICTURE, answer="stop", **{**known, **fields}), Rationale(parts)


def reasons(sample: Sample, rationale: Rationale, *how: Any, **options: Any) -> list[Reason]:
    """`judged` of one sample."""
    return judged([(sample, rationale)], *how, **options)[0]


GOOD = ("<think>The sign is small.", SIGN, "It says stop.</think><answer>stop</answer>")


def found(pair: tuple[Sample, Rationale], **limits: Any) -> list[str]:
    """Filter and name of the reasons to reject a sample."""
    return [f"{r.filter}: {r.name}" for r in reasons(*pair, Limits(**limits))]


def test_what_is_in_order_is_kept() -> None:
    """So that every case below differs from a good one by its fault alone."""
    assert found(made(*GOOD)) == []
    assert found(made("<think>The sign says stop.</think><answer>Stop.</answer>", needs_look=False)) == []
    assert found(made(*GOOD, regions=(), needs_look=None)) == []
    assert found(made("<think>The sign {is small", SIGN, "It says stop.</think><answer>stop</answer>\n")) == []


END = "</think><answer>stop</answer>"
SAYS = f"It says stop.{END}"
LOOP = " and then it goes on and on and on to the left" * 12
CUT = "form: a box that cannot be cut"
UNREAD = "coherence: an answer that was not read"
REGION = "support: a true region in no crop"
FAULTS: dict[str, tuple[tuple, dict, list[str]]] = {
    "no answer": (("<think>a", SIGN, "It says stop."), {}, ["form: no answer"]),
    "open answer": (("<think>a", SIGN, "It says stop.<answer>stop"), {}, ["form: no answer"]),
    "empty answer": (("<think>a", SIGN, "It says stop.<answer> </answer>"), {}, ["form: no answer"]),
    "goes on": ((*GOOD, " And more."), {}, ["form: goes on after the answer"]),
    "looks after": ((*GOOD, SIGN), {}, ["form: goes on after the answer"]),
    "answers twice": ((*GOOD, "<answer>go</answer>"), {}, ["form: goes on after the answer"]),
    "another": (("<think>a", SIGN, "stop</think><answer>go</answer>"), {}, ["form: another answer"]),
    "own box": (('<think>a {"bbox_2d": [1, 2, 30, 40]} b', SIGN, SAYS), {}, ["form: boxes that do not read back"]),
    "nine looks": (("<think>", *(v for i in range(9) for v in (f"look {i}", SIGN)), END), {}, ["form: too many looks"]),
    "a novel": (("<think>" + "stop " * 5000, SIGN, SAYS), {}, ["form: too long"]),
    "outside": (("<think>a", (500.0, 0.0, 600.0, 9.0), f"stop{END}"), {}, [CUT]),
    "infinite": (("<think>a", (0.0, 0.0, float("inf"), 9.0), f"stop{END}"), {}, [CUT]),
    "tiny": (("<think>a", (37.0, 47.0, 43.0, 53.0), f"stop{END}"), {"regions": ()}, ["unit: too small"]),
    "whole": (("<think>a", (0.0, 0.0, 400.0, 300.0), SAYS), {}, ["unit: nearly the whole image"]),
    "blank": (("<think>a", SKY, SAYS), {"regions": ()}, ["unit: blank"]),
    "elsewhere": (("<think>a", PLATE, SAYS), {}, ["unit: shows no true region", REGION]),
    "one of two": (GOOD, {"regions": (SIGN, PLATE)}, [REGION]),
    "wordless look": (("<think>", SIGN, SAYS), {}, ["coherence: a look that nothing leads to"]),
    "wordless end": (("<think>a", SIGN, END), {}, ["coherence: an answer that nothing leads to"]),
    "unread": (("<think>a", SIGN, f"It is red.{END}"), {}, [UNREAD]),
    "read before": (("<think>stop?", SIGN, f"It is red.{END}"), {}, [UNREAD]),
    "same look": (("<think>a", SIGN, "b", (41.0, 51.0, 121.0, 91.0), SAYS), {}, ["redundancy: regions overlap"]),
    "said twice": (
        ("<think>It is very small. It is VERY small.", SIGN, SAYS),
        {},
        ["redundancy: a sentence comes twice"],
    ),
    "stuck": (("<think>a", SIGN, f"stop{LOOP}{END}"), {}, ["redundancy: text repeats itself"]),
    "needless": (GOOD, {"needs_look": False}, ["necessity: looks where none is needed"]),
    "hasty": ((f"<think>The sign says stop.{END}",), {}, ["necessity: no look where one is needed"]),
}


@pytest.mark.parametrize("case", FAULTS)
def test_each_fault_is_found_and_no_other(case: str) -> None:
    """A reason has a number and the limit that it misses where there is one, and can be written as JSON."""
    parts, fields, wanted = FAULTS[case]
    pair = made(*parts, **fields)
    assert sorted(found(pair)) == sorted(wanted)
    for reason in reasons(*pair):
        assert json.loads(json.dumps(reason.record(), allow_nan=False))["filter"] == reason.filter
        assert reason.detail.isprintable() and len(reason.detail) < 200


def test_the_worlds_exact_lessons_are_all_kept_and_a_modest_teachers_faults_are_found() -> None:
    """Of every world: no false alarm; each needless and each missing look is a reason of necessity."""
    rng = np.random.default_rng(0)
    for world in WORLDS.values():
        for i in range(4):
            sample = world.sample("train", i)
            exact = world.rationale(sample)
            assert reasons(sample, exact) == [], (sample.id, reasons(sample, exact))
            spoiled = imperfect(sample, exact, 0.0, 1.0, rng, hasty=1.0)
            names = {r.name for r in reasons(sample, spoiled)}
            assert names == {"no look where one is needed" if sample.needs_look else "looks where none is needed"}


def test_a_threshold_decides_as_it_says() -> None:
    """Overlap and coverage on either side of their limits, for random boxes."""
    rng = np.random.default_rng(1)
    for _ in range(60):
        x, y = rng.uniform(-20, 20, 2)
        moved = (SIGN[0] + x, SIGN[1] + y, SIGN[2] + x, SIGN[3] + y)
        limit = float(rng.uniform(0.05, 0.95))
        pair = made("<think>a", SIGN, "b", moved, f"It says stop.{END}")
        assert ("redundancy: regions overlap" in found(pair, max_iou=limit)) == (iou(SIGN, moved) > limit)
        pair = made("<think>a", moved, f"It says stop.{END}")
        assert (REGION in found(pair, min_coverage=limit)) == (coverage(moved, SIGN) < limit)


def test_every_limit_switches_something_off_or_on() -> None:
    """With its loosest value, the fault that a limit is there for is let pass."""
    loose = {
        "nine looks": {"max_looks": 9},
        "a novel": {"max_characters": 30_000},
        "tiny": {"min_side": 0, "min_detail": 0},
        "whole": {"max_share": 1},
        "blank": {"min_detail": 0},
        "elsewhere": {"min_coverage": 0},
        "unread": {"min_spelled": 0},
        "same look": {"max_iou": 1},
        "stuck": {"max_repeated": 1},
    }
    for case, limits in loose.items():
        parts, fields, wanted = FAULTS[case]
        assert not {*found(made(*parts, **fields), **limits)} & {*wanted}, case


@pytest.mark.parametrize("limit", [{"max_iou": 1.5}, {"min_side": float("nan")}, {"max_looks": -1}, {"blind": 0}])
def test_an_impossible_limit_is_an_error_that_names_it(limit: dict) -> None:
    with pytest.raises(R3labError, match=f"{next(iter(limit))} must be"):
        Limits(**limit)


def test_detail_tells_content_from_smooth_noisy_and_plain() -> None:
    """It is not fooled by brightness, slopes or even noise, and it finds one word on a large page."""
    rng = np.random.default_rng(0)

    def of(grey: np.ndarray) -> float:
        image = Image.fromarray(np.clip(grey, 0, 255).astype(np.uint8)).convert("RGB")
        return detail(image, (0.0, 0.0, float(image.width), float(image.height)))

    plain = np.full((120, 160), 128.0)
    limit = Limits().min_detail
    assert of(plain) == of(plain + np.linspace(-90, 90, 160)) == 0
    for spread in (2, 5, 10):
        assert of(plain + rng.normal(0, spread, plain.shape)) < limit, spread
    checks = np.kron(np.indices((30, 40)).sum(0) % 2, np.ones((2, 2))) * 255
    assert of(checks) > 0.2 and of(128 + rng.normal(0, 60, plain.shape)) > limit  # strong texture is no noise
    page = Image.new("RGB", (900, 700), "white")
    ImageDraw.Draw(page).text((400, 300), "TOTAL 12.50", fill="black", font_size=30)
    assert detail(page, (0.0, 0.0, 900.0, 700.0)) > 0
    assert detail(page, (380.0, 290.0, 620.0, 350.0)) > 4 * limit
    assert detail(page, (0.0, 0.0, 300.0, 200.0)) == 0
    assert detail(page, (898.2, 0.3, 899.9, 2.0)) == 0  # one pixel column has no neighbours to fail on


@pytest.mark.parametrize(
    ("answer", "text", "share"),
    [
        ("12.50", "It costs 12.50.", 1.0),
        ("1", "It shows 12.", 0.0),
        ("a red cup", "The cup stands there.", 1 / 3),
        ("Yes", "Nothing of the kind.", 1.0),
        ("B", "The third one.", 1.0),
        ("\u5317\u4eac", "\u5730\u70b9\u662f\u5317\u4eac\u5e02", 1.0),
        ("", "anything", 1.0),
    ],
)
def test_an_answer_is_spelled_by_its_words(answer: str, text: str, share: float) -> None:
    assert spelled(answer, text) == pytest.approx(share)


def test_repetition_is_of_words_not_of_case_or_signs() -> None:
    assert repeated_sentence("It is a red one! Yes. it is, a RED one.") == "it is a red one"
    assert repeated_sentence("It is. It is. It is.") is None  # too short to mean anything
    assert repeated("one two three four five six seven") == 0
    assert repeated("go left " * 50) > 0.9
    assert repeated("") == 0


# --- judges


class Asked:
    """A judge that keeps what it was asked and replies with one thing, or the next of several."""

    def __init__(self, *replies: Any) -> None:
        self.replies, self.seen = replies, list[tuple[str, tuple[Image.Image, ...]]]()

    def __call__(self, question: str, images: Sequence[Image.Image]) -> Any:
        self.seen.append((question, tuple(images)))
        return self.replies[(len(self.seen) - 1) % len(self.replies)]


def test_a_judge_takes_the_place_of_the_rule_and_sees_what_it_should() -> None:
    """Unit: each crop alone. Support: all crops and the question. Necessity: the whole picture, `blind` times."""
    blank = made("<think>a", SKY, "b", PLATE, f"It says stop.{END}", regions=())
    judge = Asked("Yes, it does.")
    assert reasons(*blank, judges={"unit": judge}) == []
    assert [(question, len(images)) for question, images in judge.seen] == [(ASK_UNIT, 1)] * 2
    sizes = [images[0].size for _, images in judge.seen]
    assert [content_hash(images[0]) for _, images in judge.seen] == [
        content_hash(cut(PICTURE, box, size)) for box, size in zip((SKY, PLATE), sizes, strict=True)
    ]
    assert all(w > box[2] - box[0] for (w, _), box in zip(sizes, (SKY, PLATE), strict=True))  # enlarged

    judge = Asked("stop")
    pair = made("<think>a", PLATE, "b", SIGN, f"It says stop.{END}", regions=(PLATE, SIGN))
    assert reasons(*pair, judges={"support": judge}) == []
    [(question, images)] = judge.seen
    assert question == pair[0].question and [i.size for i in images] == [i.size for i in crops(*pair)]

    judge = Asked("go")
    assert reasons(*made(*GOOD), Limits(blind=3), {"necessity": judge}) == []
    assert [(q, i.size) for q, (i,) in judge.seen] == [(made(*GOOD)[0].question, SIZE)] * 3

    for name in ("coherence", "redundancy"):
        judge = Asked("Yes.")
        assert reasons(*made(*GOOD), judges={name: judge}) == []
        [(question, images)] = judge.seen
        assert images == () and "The sign is small. [look] It says stop." in question


@pytest.mark.parametrize(
    ("name", "replies", "reason", "value"),
    [
        ("unit", ["No, a blur."], "no recognisable thing", 0.0),
        ("unit", [0.49], "no recognisable thing", 0.49),
        ("unit", [0.5], None, None),
        ("unit", [True], None, None),
        ("unit", ["<answer>yes</answer>"], None, None),
        ("coherence", ["no"], "steps that do not follow", 0.0),
        ("redundancy", [0.1], "steps done twice", 0.1),
        ("support", ["go"], "the crops do not give the answer", 0.0),
        ("support", ["It reads <answer> STOP. </answer>"], None, None),
        ("necessity", ["stop", "go"], None, None),  # half is the limit
        ("necessity", ["stop", "stop", "stop", "go"], "answered without a look", 0.75),
        ("necessity", ["It surely says stop"], None, None),  # not that answer, but a sentence with it
        ("unit", ["Perhaps."], UNDECIDED, None),
        ("unit", ["yesterday"], UNDECIDED, None),
        ("unit", [None], UNDECIDED, None),
        ("unit", [{"score": 1}], UNDECIDED, None),
        ("unit", [float("nan")], UNDECIDED, None),
        ("unit", [10**400], UNDECIDED, None),
        ("coherence", [1.01], UNDECIDED, None),
        ("support", [b"stop"], UNDECIDED, None),
        ("necessity", ["go", "go", None, "go"], UNDECIDED, None),  # three that fail do not settle it
    ],
)
def test_replies_decide_or_say_that_they_do_not(name: str, replies: list, reason: str | None, value: Any) -> None:
    """A judge's failure never passes for a yes: the sample is rejected, and the reason says so."""
    got = reasons(*made(*GOOD), judges={name: Asked(*replies)})
    assert [r.name for r in got] == ([] if reason is None else [reason])
    assert [r.value for r in got] == ([] if reason is None else [value])


def test_a_judge_is_asked_about_survivors_only_and_together() -> None:
    """One call of `many` for a batch; nothing that a rule rejects costs a question."""

    class Many:
        calls: list[int] = []

        def many(self, queries: Sequence[Query]) -> list[str]:
            self.calls.append(len(queries))
            return ["yes"] * len(queries)

    judge = Many()
    parts, fields, _ = FAULTS["goes on"]
    pairs = [made(*GOOD), made(*parts, **fields), made(*GOOD), made(*FAULTS["said twice"][0])]
    got = judged(pairs, judges={"unit": judge})  # type: ignore[dict-item]
    assert judge.calls == [2] and [len(r) for r in got] == [0, 1, 0, 1]

    class Short(Many):
        def many(self, queries: Sequence[Query]) -> list[str]:
            return ["yes"]

    with pytest.raises(R3labError, match="1 replies to 2 questions"):
        judged(pairs, judges={"unit": Short()})  # type: ignore[dict-item]


def test_a_judge_may_decline_one_question_but_its_own_bug_is_not_hidden() -> None:
    def declines(question: str, images: Sequence[Image.Image]) -> str:
        raise JudgeError("not this one")

    def broken(question: str, images: Sequence[Image.Image]) -> str:
        raise ZeroDivisionError

    [reason] = reasons(*made(*GOOD), judges={"support": declines})
    assert reason.name == UNDECIDED and "not this one" in reason.detail
    with pytest.raises(ZeroDivisionError):
        reasons(*made(*GOOD), judges={"support": broken})


def test_only_the_named_filters_are_applied_and_unknown_ones_are_named() -> None:
    pair = made(*FAULTS["elsewhere"][0])
    assert {r.filter for r in reasons(*pair, names=["support"])} == {"support"}
    assert reasons(*pair, names=[]) == []
    for wrong in ({"names": ["unti"]}, {"judges": {"unti": Asked(1.0)}}):
        with pytest.raises(R3labError, match="Did you mean 'unit'"):
            reasons(*pair, **wrong)


def test_long_replies_are_cut_before_they_are_read() -> None:
    [reply] = put(Asked("yes " + "x" * 5_000_000), [Query("?")])
    assert isinstance(reply, str) and len(reply) < 10_000 and affirmed(reply) == 1.0
    assert agrees("  STOP.\n", "stop") == 1.0 and agrees("stop it", "stop") == 0.0


# --- a policy as judge


def test_a_policy_judges_without_a_look_each_question_with_its_own_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks are switched off; crops lie on one sheet; numbers go on from call to call, whatever the batch."""
    calls: list[tuple] = []

    def fake(policy: Any, samples: Sequence[Sample], **options: Any) -> list[Any]:
        calls.append(([s.question for s in samples], [s.image.size for s in samples], options))
        return [type("T", (), {"answer": None if s.question == "c" else s.question.upper()})() for s in samples]

    monkeypatch.setattr(policy_judge, "rollout", fake)
    policy = tiny.create(vocabulary(), seed=0)
    judge = PolicyJudge(policy, temperature=1.0, seed=5, batch=2)
    small, tall = Image.new("RGB", (30, 20)), Image.new("RGB", (10, 40))
    queries = [Query("a", (small,)), Query("b", (small, tall)), Query("c", (tall,)), Query("d"), Query(" ", (tall,))]
    replies = judge.many([*queries, Query("<|image_pad|>", (small,)), Query("e", (Image.new("RGB", (900, 2)),))])
    assert replies[:3] == ["A", "B", ""] and all(isinstance(r, JudgeError) for r in replies[3:])
    assert [c[0] for c in calls] == [["a", "b"], ["c"]] and calls[0][1] == [(30, 20), (30 + 8 + 10, 40)]
    assert [c[2]["numbers"] for c in calls] == [[0, 1], [2]]
    assert all(c[2]["max_looks"] == 0 and c[2]["temperature"] == 1.0 and c[2]["seed"] == 5 for c in calls)
    assert judge("f", (small,)) == "F" and calls[-1][2]["numbers"] == [7]
    with pytest.raises(JudgeError, match="has none"):
        judge("g", ())
    whole = sheet([small, tall])
    assert whole.getpixel((35, 5)) == (128, 128, 128) and whole.getpixel((40, 39)) == (0, 0, 0)


def test_a_real_policy_can_be_bound(samples: list) -> None:
    """An untaught policy answers nothing right, so that every look counts as needed and no crop as enough."""
    bound = policy_judges(tiny.create(vocabulary(), seed=0), max_new_tokens=3)
    needed = [s for s in samples if s.needs_look][:2]
    pairs = [(s, WORLDS["badges"].rationale(s)) for s in needed]
    assert judged(pairs, Limits(blind=2), {"necessity": bound["necessity"]}) == [[], []]
    assert [[r.name for r in got] for got in judged(pairs, judges={"support": bound["support"]})] == [
        ["the crops do not give the answer"]
    ] * 2
    assert set(bound) <= set(FILTERS)


# --- folders


def pairs_of(count: int, seed: int = 0) -> list[tuple[Sample, Rationale]]:
    """Good samples and such with a fault in turn."""
    rng = random.Random(seed)
    plain = [case for case in FAULTS if not case.startswith(("infinite", "outside", "a novel"))]
    cases = [(GOOD, {}) if i % 2 else FAULTS[rng.choice(plain)][:2] for i in range(count)]
    pairs = [made(*parts, **fields) for parts, fields in cases]
    return [(replace(sample, id=f"s-{i}", world="w"), rationale) for i, (sample, rationale) in enumerate(pairs)]


def test_the_batch_changes_no_outcome(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = pairs_of(24)
    for batch in (1, 5, 100):
        monkeypatch.setattr(filters, "BATCH", batch)
        got = list(filter_samples(iter(pairs), judges={"unit": Asked("yes")}))
        assert [o.sample for o in got] == [s for s, _ in pairs]
        assert [o.reasons for o in got] == [tuple(r) for r in judged(pairs, judges={"unit": Asked("yes")})]


def test_a_folder_is_sifted_into_what_is_kept_and_why_the_rest_is_not(tmp_path: Path) -> None:
    """Kept samples read back as they were; every rejected one is there with its line and reasons; counts add up."""
    pairs = pairs_of(24)
    write_vlir(tmp_path / "raw", pairs)
    report = filter_folder(tmp_path / "raw", tmp_path / "kept")
    wanted = {s.id for (s, _), r in zip(pairs, judged(pairs), strict=True) if not r}
    assert list(read_vlir(tmp_path / "kept")) == [p for p in pairs if p[0].id in wanted]
    rejected = [json.loads(line) for line in (tmp_path / "kept" / REJECTED).read_text().splitlines()]
    assert {r["id"] for r in rejected} == {s.id for s, _ in pairs} - wanted
    for row in rejected:
        assert row["where"] == f"vlir.jsonl line {int(row['id'][2:]) + 1}" and row["reasons"]
    counted = Counter(key for row in rejected for key in {(r["filter"], r["name"]) for r in row["reasons"]})
    assert report.counts == counted and (report.kept, report.rejected) == (len(wanted), len(rejected))
    text = str(report)
    assert (tmp_path / "kept" / "filter.txt").read_text() == text + "\n"
    for (name, reason), count in counted.items():
        assert any(line.split()[:1] == [name] and reason in line and f" {count} " in line for line in text.splitlines())
    assert sorted(p.name for p in tmp_path.iterdir()) == ["kept", "raw"]
    with pytest.raises(R3labError, match="exists already"):
        filter_folder(tmp_path / "raw", tmp_path / "kept")
    with pytest.raises(R3labError, match="0 data files"):
        filter_folder(tmp_path, tmp_path / "other")


@pytest.mark.parametrize("error", [KeyboardInterrupt, R3labError("the endpoint is gone")])
def test_an_interrupted_sifting_leaves_nothing(error: Any, tmp_path: Path) -> None:
    write_vlir(tmp_path / "raw", pairs_of(6))

    def stops(question: str, images: Sequence[Image.Image]) -> str:
        raise error

    with pytest.raises(BaseException, match="gone|^$"):
        filter_folder(tmp_path / "raw", tmp_path / "kept", judges={"unit": stops})
    assert [p.name for p in tmp_path.iterdir()] == ["raw"]


def test_a_report_shows_foreign_names_harmlessly() -> None:
    """One line an example, whatever an id holds; three examples of a reason at most."""
    report = FilterReport()
    for name in ("\x1b[31mred\x1b[0m\nnew line \u202e", "x" * 100_000, "<script>", "fourth"):
        sample, rationale = made(*GOOD, " more \x1b[2J")
        for outcome in filter_samples([(replace(sample, id=name, regions=()), rationale)]):
            report.add(outcome)
    lines = str(report).splitlines()
    assert len(lines) == 1 + 1 + 3 + 1 and all(line.isprintable() and len(line) < 250 for line in lines)
    assert report.counts[("form", "goes on after the answer")] == report.total == 4


def test_hostile_lines_are_refused_with_their_number_and_cost_no_good_one(tmp_path: Path) -> None:
    """Every second of 120 lines is spoiled at random, or none at all."""
    small, box = PICTURE.crop((30, 40, 130, 100)), (10.0, 10.0, 90.0, 50.0)
    lesson = Rationale(("<think>The sign is small.", box, "It says stop.</think><answer>stop</answer>"))
    pair = (Sample("s", small, "What is it?", "stop", (box,), True, "w", "train"), lesson)
    path = write_vlir(tmp_path / "raw", [pair])
    good, rng = json.loads(path.read_text()), random.Random("hostile vlir")
    bad = ["{", "[]", "null", "\x00", "[" * 100_000, '{"a":' * 50_000, "1" * 5000, '"\\ud800"', "\udcff"]
    bad += [json.dumps(spoiled(good, rng, JUNK)) for _ in range(51)]
    text = "".join(f"{line}\n{json.dumps(good)}\n" for line in bad)
    path.write_text(text, encoding="utf-8", errors="surrogateescape")
    report = filter_folder(tmp_path / "raw", tmp_path / "kept")
    rejected = [json.loads(line) for line in (tmp_path / "kept" / REJECTED).read_text().splitlines()]
    assert {int(row["where"].rpartition(" ")[2]) for row in rejected} <= set(range(1, 121, 2))
    unread = [row["reasons"][0]["detail"] for row in rejected if row["reasons"][0]["filter"] == "record"]
    assert len(unread) > 30 and all(detail_.isprintable() and 5 < len(detail_) < 600 for detail_ in unread)
    assert len(list(read_vlir(tmp_path / "kept"))) == report.kept >= 60
    assert [p.name for p in (tmp_path / "kept" / "images").iterdir()] == [f"{content_hash(small)}.png"]
    with pytest.raises(R3labError, match=r"^vlir\.jsonl line 1: "):
        filter_folder(tmp_path / "raw", tmp_path / "strict", strict=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["kept", "raw"]
