"""The benchmarks' scores, against cases worked by hand; the calculation stands beside each."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from r3lab.core.errors import R3labError
from r3lab.core.stats import seeds_interval
from r3lab.evaluate import scores
from r3lab.evaluate.benchmarks import BENCHMARKS, Record, get_benchmark
from r3lab.evaluate.grades import Grade, Measure, accuracy, difference, interval, published
from r3lab.evaluate.scores import anls, letter, prefix_match, yes_or_no

ROOT = Path(__file__).resolve().parent.parent


def test_scoring_needs_no_torch():
    code = "import sys; sys.modules['torch'] = None; import r3lab.evaluate.benchmarks, r3lab.evaluate.grades"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


# ------------------------------------------------------------------ ANLS


@pytest.mark.parametrize(
    ("answer", "truths", "score"),
    [
        ("University", ["University"], 1.0),
        ("  UNIVERSITY\n", ["university"], 1.0),
        ("a  b", ["a b"], 1.0),  # distance 0 after folding, over 4
        ("Univercity", ["University"], 0.9),  # 1 of 10
        ("kitten", ["sitting"], 1 - 3 / 7),  # k>s, e>i, +g: 3 of 7
        ("abcd", ["abxy"], 0.5),  # 2 of 4: exactly the threshold still counts
        ("abcd", ["axyz"], 0.0),  # 3 of 4 leaves 0.25, under the threshold
        ("a" * 49 + "b" * 51, ["a" * 100], 0.0),  # 51 of 100 leave 0.49, just under it
        ("7", ["seven", "7"], 1.0),  # the best of the accepted ones
        ("$7", ["7"], 0.5),  # 1 of 2
        ("7 . 5", ["7.5"], 0.6),  # two spaces put in: 2 of 5
        ("a   x", ["a y"], 1 - 1 / 5),  # folded distance 1, over the 5 characters of the answer as it came
        ("x", [""], 0.0),  # 1 of 1
    ],
)
def test_anls(answer, truths, score):
    assert anls(answer, truths) == pytest.approx(score)
    with pytest.raises(ValueError, match="at least one"):
        anls(answer, [])


# ------------------------------------------------------------------ letters, yes and no

COLOURS = ("the cup", "The cat", "a dog", "it is red")


@pytest.mark.parametrize(
    ("answer", "name"),
    [
        *(("B", "B"), ("b", "B"), ("(b)", "B"), ("[B]", "B"), ("B.", "B"), ("B)", "B"), (" B \n", "B")),
        *(("B. The dog", "B"), ("(C) whatever", "C"), ("D: red", "D"), ("B) the cat", "B")),
        *(("The answer is B.", "B"), ("the answer is (c)", "C"), ("Option D", "D"), ("Answer: A", "A")),
        *(("The cat", "B"), ("the  CAT.", "B"), ("It is red", "D"), ("A dog", "C")),
        *(("The bird", None), ("A", "A"), ("A bird", None), ("E", None), ("(Z)", None), ("", None), ("AB", None)),
        *(("Dogs", None), ("U.S. flag", None), ("B or C", None)),
    ],
)
def test_letter(answer, name):
    assert letter(answer, COLOURS) == name
    assert letter("B", ("B", "A")) == "B"  # a letter that is a choice's text is the letter, not option A
    assert letter("x", ("x", "x")) is None  # two choices of that text


def test_scienceqa_takes_the_letter_or_the_letter_with_a_full_stop():
    said = {"B": 1, "B. blue": 1, "B.": 1, "b": 0, "(B)": 0, "B blue": 0, "A. B.": 0}
    assert {text: prefix_match(text, "B") for text in said} == said


def test_yes_or_no():
    said = {"Yes": True, "no.": False, "Yes, it is": True, "Not at all": None, "yes and no": None, "know": None}
    assert {text: yes_or_no(text) for text in said} == said and yes_or_no("") is None


# ------------------------------------------------------------------ MathVista

FRACTIONS = ("3/11", "8/11", "6/11", "3/5")


@pytest.mark.parametrize(
    ("answer", "normal"),
    [
        ("B", "8/11"),
        ("(b) 8/11", "8/11"),  # the letter in brackets, in capitals
        ("6/11", "6/11"),
        ("7/11", "3/11"),  # one edit from 3/11, 8/11 and 6/11: the first
        ("3/6", "3/5"),  # 1 edit from 3/5; 2 from 3/11
        ("b", "3/5"),  # no capital: edit distance 3 to 3/5, 4 to the others
        ('The answer is "3/5".', "3/5"),
    ],
)
def test_mathvista_choices(answer, normal):
    assert scores.normalise(answer, FRACTIONS, "multi_choice", "text", None) == normal


@pytest.mark.parametrize(
    ("answer", "kind", "precision", "normal"),
    [
        ("14", "integer", None, "14"),
        ("14.9", "integer", None, "14"),  # cut, not rounded
        ("fourteen", "integer", None, None),
        ("inf", "integer", None, None),
        ("nan", "integer", None, None),
        ("1.457", "float", 2, "1.46"),
        ("1.5", "float", 2.0, "1.5"),  # and so unequal to a truth written "1.50"
        ("0.6", "float", 1, "0.6"),
        ("2", "float", 1, "2.0"),
        ("$1.45", "float", 2, None),
        ("1.45", "float", None, None),
        ("[2007, 2008]", "list", None, "[2007, 2008]"),
    ],
)
def test_mathvista_numbers(answer, kind, precision, normal):
    assert scores.normalise(answer, (), "free_form", kind, precision) == normal


def test_mathvista_wants_the_same_characters():
    assert scores.mathvista_right("1.46", "1.46", (), "free_form", "float", 2)
    assert not scores.mathvista_right("1.50", "1.50", (), "free_form", "float", 2)  # "1.5", as in the reference
    assert not scores.mathvista_right("[2007,2008]", "[2007, 2008]", (), "free_form", "list", None)
    assert not scores.mathvista_right("", "3/5", FRACTIONS, "multi_choice", "text", None)


# ------------------------------------------------------------------ MathVision


@pytest.mark.parametrize(
    ("answer", "truth", "options", "right"),
    [
        ("6", "6", (), True),
        (r"so \boxed{6}", "6", (), True),
        (r"\boxed{5} no, \boxed{6}", "6", (), True),  # the last box
        (r"\boxed{5} no, \boxed{6}", "5", (), False),
        ("The answer is 6.", "6", (), True),
        ("the final answer is 6\nbecause 7", "6", (), True),
        (r"\boxed{x = 6}", "6", (), True),
        (r"\boxed{6^{\circ}}", "6", (), True),
        (r"\boxed{\frac{1}{2}}", "0.5", (), True),
        (r"\boxed{\frac12}", "0.5", (), True),
        ("1/3", "0.33", (), True),  # equal to two decimals
        ("0.34", "1/3", (), False),
        (r"2\sqrt{3}", r"\sqrt{12}", (), True),  # both 3.4641
        ("(1/2, 3)", "(0.5,3)", (), True),
        ("(1/2, 4)", "(0.5,3)", (), False),
        (r"\boxed{B}", "B", ("3", "4"), True),
        ("(B)", "B", ("3", "4"), True),
        ("It is clearly (B).", "B", ("3", "4"), True),
        ("4", "B", ("3", "4"), True),  # the text of the option
        ("3", "B", ("3", "4"), False),
        (r"\boxed{\text{blue}}", "B", ("red", "blue"), False),  # \text goes, its braces stay, as in the reference
        ("blue", "B", ("red", "Blue"), True),
        ("A", "B", ("A", "B"), False),
        ("", "B", ("A", "B"), False),
        ("6 km", "6", (), True),
        ("C", "C", (), True),  # a letter without options
        ("x+1", "x + 1", (), False),  # the truth's spaces stay: no value, unequal text
        (r"\boxed{" + "(" * 1900 + "1", "1", (), False),
        ("9^9^9^9^9", "1", (), False),
        ("__import__('os').system('false')", "0", (), False),
    ],
)
def test_mathvision(answer, truth, options, right):
    assert scores.mathvision_right(answer, truth, options) is right


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *(("1+2*3", 7.0), ("(1+2)*3", 9.0), ("-2^2", -4.0), ("2^{-1}", 0.5), ("1-2-3", -4.0), ("--1", 1.0)),
        *((r"\frac{1}{4}", 0.25), (r"1\frac{1}{4}", 0.25), (r"\sqrt[3]{8}", 2.0), (r"2\pi", 6.283185307179586)),
        *(("$1,250$", 1250.0), (r"3 \times 4", 12.0), ("6/2/3", 1.0), (".5", 0.5), ("2(3)", 6.0)),
        *(("1/0", None), (r"\sqrt{-1}", None), ("10^400", None), ("9^(9^(9^9))", None), ("1e5", None), ("x", None)),
        *(("", None), ("1+", None), ("(1", None), ("1)", None), ("(" * 100 + "1" + ")" * 100, None), ("1" * 401, None)),
    ],
)
def test_arithmetic(text, value):
    found = scores.value(text)
    assert found == (pytest.approx(value) if value is not None else None)


def test_without_a_figure_not_to_know_is_right():
    benchmark = get_benchmark("hallusionbench")
    unseen = Record("1", "?", answers=("yes",), groups={"category": "VS", "figure_id": "0"})
    assert [benchmark.grade(unseen, said).score for said in ("Uncertain", "No", None)] == [1, 0, 0]
    seen = Record("1", "?", answers=("yes",), groups={"category": "VD", "figure_id": "1"})
    assert benchmark.grade(seen, "Uncertain").score == 0


# ------------------------------------------------------------------ groups


def of_groups(names: str, rows: str) -> list[Grade]:
    """A grade for each of the rows, which commas part: the score, then the values of the groups."""
    found = [row.split() for row in rows.split(",")]
    return [
        Grade(str(i), float(score), dict(zip(names.split(), values, strict=True)))
        for i, (score, *values) in enumerate(found)
    ]


FIGURES = "category subcategory set_id figure_id question_id"
MEASURES: dict[str, tuple[str, list[Grade], dict[str, float | None]]] = {
    # aAcc 4/6. fAcc: figure 0 of VD right, 1 wrong, 1 of VS right, 0 of VS is no figure: 2/3. qAcc: question 0 of VD
    # right on both figures, question 1 wrong, question 0 of VS wrong: 1/3.
    "figures and questions": (
        "hallusionbench",
        of_groups(FIGURES, "1 VD x 0 0 0, 1 VD x 0 0 1, 1 VD x 0 1 0, 0 VD x 0 1 1, 0 VS x 0 0 0, 1 VS x 0 1 0"),
        {"aAcc": 4 / 6, "fAcc": 2 / 3, "qAcc": 1 / 3},
    ),
    # Pairs 1 (both right), 2 (one right), 3 (one missing).
    "pairs": ("mmvp", of_groups("pair", "1 1, 1 1, 1 2, 0 2, 1 3"), {"accuracy": 0.8, "pair accuracy": 0.5}),
    # ADE20K 1/2, COCO 1/4, Omni3D 1/1: 2D is 3/8, overall 1/2 (3/8 + 1), not the 3/7 of a plain mean.
    "sources": (
        "cv-bench",
        of_groups("source", "1 ADE20K, 0 ADE20K, 1 COCO, 0 COCO, 0 COCO, 0 COCO, 1 Omni3D"),
        {"overall": 11 / 16, "2D": 3 / 8, "3D": 1, "ADE20K": 0.5, "COCO": 0.25},
    ),
    "a source is missing": (
        "cv-bench",
        of_groups("source", "1 ADE20K, 0 ADE20K, 1 Omni3D"),
        {"overall": None, "2D": None, "3D": 1, "ADE20K": 0.5, "COCO": None},
    ),
    # Cycle 0: single 1, 1, cross 0; cycle 1: single 0, cross 1. single (1 + 0) / 2 (a plain mean: 2/3), cross
    # (0 + 1) / 2, average (2/3 + 1/2) / 2.
    "a mean over cycles": (
        "hr-bench",
        of_groups("cycle category", "1 0 single, 1 0 single, 0 0 cross, 0 1 single, 1 1 cross"),
        {"average": 7 / 12, "single": 0.5, "cross": 0.5},
    ),
    "categories": (
        "vstar",
        of_groups("category", "1 direct, 0 direct, 1 relative"),
        {"accuracy": 2 / 3, "direct": 0.5, "relative": 1},
    ),
    "no groups": ("docvqa", of_groups("", "0.9, 0"), {"ANLS": 0.45}),
}


@pytest.mark.parametrize("case", MEASURES)
def test_measures_of_grades(case):
    name, grades, expected = MEASURES[case]
    found = get_benchmark(name).measures(grades)
    assert {m.name: m.value for m in found} == {
        name: value if value is None else pytest.approx(value) for name, value in expected.items()
    }
    assert [interval(m) is None for m in found] == [value is None for value in expected.values()]


def test_a_question_is_graded_once_and_from_0_to_1():
    with pytest.raises(R3labError, match="'a' is graded twice"):
        accuracy([Grade("a", 1), Grade("a", 0)])
    for score in (1.5, -0.1, float("nan")):
        with pytest.raises(R3labError, match="from 0 to 1"):
            accuracy([Grade("a", score)])
    assert accuracy([])[0].value is None


# ------------------------------------------------------------------ bootstrap


def coins(n: int, right: int) -> Measure:
    return Measure("accuracy", ({str(i): float(i < right) for i in range(n)},))


def test_the_interval_of_a_share_is_the_binomial_one():
    """700 of 1000: standard error sqrt(0.7 * 0.3 / 1000) = 0.01449, so 0.70 -+ 1.96 * 0.01449 = 0.6716 to 0.7284."""
    exact = interval(coins(1000, 700), resamples=4000)
    assert exact is not None and (exact.low, exact.high) == pytest.approx((0.6716, 0.7284), abs=0.002)
    found = interval(coins(100, 70), resamples=4000)
    assert found is not None and found.value == pytest.approx(0.7) and found.n == 100
    assert interval(coins(100, 70), resamples=4000) == found  # seeded
    assert interval(coins(100, 70), resamples=4000, seed=1) != found


def test_the_interval_holds_the_truth_as_often_as_it_says():
    rng, held = np.random.default_rng(0), 0
    for i in range(200):
        scores = rng.random(80) < 0.6
        found = interval(Measure("a", ({str(j): float(s) for j, s in enumerate(scores)},)), resamples=400, seed=i)
        assert found is not None
        held += found.low <= 0.6 <= found.high
    assert 180 <= held <= 199  # 95 % of 200 is 190, standard deviation 3


def crossed(seeds: np.ndarray, samples: np.ndarray, noise: float = 0.0, rng=None) -> list[tuple[int, str, float]]:
    """Rows of every seed on every sample: effect of the seed plus that of the sample, plus noise."""
    drawn = 0.0 if rng is None else rng.normal(0, noise, (len(seeds), len(samples)))
    values = seeds[:, None] + samples[None, :] + drawn
    return [(i, f"s{j}", float(v)) for (i, j), v in np.ndenumerate(values)]


def test_the_interval_over_seeds_and_samples_in_known_cases():
    """If samples are alike it is that of the seeds: 6 of 10 are 1, the binomial quantiles of (10, 0.6) are 3 and 9. If
    seeds are alike it is the binomial one of the samples (above), however many seeds there are. Both add up."""
    found = seeds_interval(crossed(np.array([1.0] * 6 + [0.0] * 4), np.zeros(7)))
    assert (found.value, found.low, found.high, found.n) == pytest.approx((0.6, 0.3, 0.9, 7))
    coins = np.array([1.0] * 700 + [0.0] * 300)
    for seeds in (1, 5):
        found = seeds_interval(crossed(np.zeros(seeds), coins), resamples=4000)
        assert (found.value, found.low, found.high) == pytest.approx((0.7, 0.6716, 0.7284), abs=0.002)
    rng = np.random.default_rng(0)
    seeds, samples = rng.normal(0, 0.1, 40), rng.normal(0, 0.2, 50)
    rows = crossed(seeds, samples)
    found, error = seeds_interval(rows), np.sqrt(seeds.var() / 40 + samples.var() / 50)
    assert (found.high - found.low) / 3.92 == pytest.approx(error, rel=0.08)
    assert seeds_interval(rows) == seeds_interval(rows[::-1]) == found != seeds_interval(rows, seed=1)


def test_the_interval_over_seeds_and_samples_holds_the_truth():
    """Fifteen seeds on sixty samples, the same ones; it is over fifteen at least as often as it says, less a little."""
    rng, held = np.random.default_rng(0), 0
    for i in range(200):
        rows = crossed(0.6 + rng.normal(0, 0.05, 15), rng.normal(0, 0.2, 60), 0.3, rng)
        found = seeds_interval(rows, seed=i, resamples=400)
        held += found.low <= 0.6 <= found.high
    assert 180 <= held <= 199


def test_an_interval_over_seeds_and_samples_of_what_is_there():
    """A measure that says nothing of a sample has no row; draws in parts are alike; what is wrong is named."""
    rows = [(0, "a", 1.0), (0, "b", 0.0), (1, "a", 1.0)]
    found = seeds_interval(rows)
    assert (found.value, found.n, found.low, found.high) == (pytest.approx(2 / 3), 2, 0, 1)
    right = seeds_interval([(0, f"s{i}", 1.0) for i in range(9)] + [(1, "s3", 1.0)])
    assert (right.value, right.low, right.high) == (1, 1, 1)  # what is not there is not wrong
    for wrong, words in (
        ([], "got none"),
        ([*rows, (1, "a", 0.0)], "'a' of seed 1 is there twice"),
        ([(0, "a", float("nan"))], "has the value nan, which is not finite"),
    ):
        with pytest.raises(R3labError, match=words):
            seeds_interval(wrong)


def test_strata_are_drawn_apart_and_weighted():
    """All right in one stratum, all wrong in the other: nothing can vary, although the pooled share would."""
    measure = Measure("overall", ({"a": 1.0, "b": 1.0}, {"c": 0.0, "d": 0.0}), (0.25, 0.75))
    found = interval(measure)
    assert found is not None and (found.value, found.low, found.high) == (0.25, 0.25, 0.25)


def test_the_draws_in_parts_are_of_all_units(monkeypatch):
    import r3lab.core.stats as module

    monkeypatch.setattr(module, "_HELD", 70)  # seven resamples at once
    means = module.resampled_means(np.arange(10.0), 1000, np.random.default_rng(0))
    assert means.shape == (1000,)
    assert means.mean() == pytest.approx(4.5, abs=0.15)  # of 0..9
    assert means.std() == pytest.approx((99 / 12 / 10) ** 0.5, rel=0.1)  # variance 8.25 over 10 draws


def test_the_paired_difference_knows_more_than_two_intervals():
    """The second arm is right wherever the first is, and on five more of 100: sure, though the intervals overlap."""
    one, two = interval(coins(100, 70)), interval(coins(100, 75))
    better, same = (difference(coins(100, n), coins(100, 70)) for n in (75, 70))
    assert better is not None and same is not None
    both, none = interval(better), interval(same)
    assert one is not None and two is not None and both is not None and none is not None
    assert two.low < one.high and both.value == pytest.approx(0.05) and both.low > 0
    assert (none.low, none.high) == (0, 0)
    assert difference(coins(10, 5), coins(11, 5)) is None  # not of the same units


# ------------------------------------------------------------------ published numbers


def test_published_numbers_are_marked_and_of_known_benchmarks():
    for row in published("rows"):
        assert row["kind"] == "published" and row["benchmark"] in BENCHMARKS and row["model"] and row["source"]
        assert 0 < row["value"] < 1 and row["value"] == row.get("right", row["value"]) / row.get("of", 1)
    [vstar] = published("rows", "vstar")
    assert (vstar["right"], vstar["of"]) == (161, 191)
    found = {(r["model"], r["value"]) for r in published("rows", "scienceqa")}
    assert found == {("Qwen2.5-VL-7B", 0.736), ("VLM-R3", 0.879)} and published("rows", "hr-bench") == []
