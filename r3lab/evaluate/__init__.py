"""Benchmarks from local files, scored as their authors score them: loaders, scorers, intervals, published numbers.

    benchmark = get_benchmark("hallusionbench")                  # benchmarks, scores
    grades = [benchmark.grade(r, answer_of(model(r))) for r in benchmark.read("HallusionBench.json")]
    for measure in benchmark.measures(grades):                   # grades
        print(measure.name, measure.value, interval(measure))

`r3lab eval` asks a policy in one or several arms, on a benchmark or on worlds (run); `lmms` is r3lab as a model of
lmms-eval; `legibility` says what a policy can be asked, and measures what it can read.
"""

from __future__ import annotations

from ..core import lazy

HOMES = {"PolicyJudge": "legibility"}  # what lessons use, imported when it is first used

__getattr__, __dir__ = lazy(__name__, HOMES)
