"""Benchmarks from local files, scored as their authors score them: loaders, scorers, intervals, published numbers.

benchmark = get_benchmark("hallusionbench")                  # benchmarks.py
grades = [benchmark.grade(r, model(r)) for r in benchmark.read("HallusionBench.json")]
for measure in benchmark.measures(grades):                   # grades.py
    print(measure.name, measure.value, interval(measure))    # bootstrap.py

`r3lab eval` asks a policy in one or several arms, on a benchmark or on worlds: sources.py, run.py, table.py.
"""
