"""Tables of measured numbers and of the lessons, into README, RESULTS and notebook 00: nothing there is typed by hand.

python -m r3lab.course.tables README.md RESULTS.md notebooks/00_start_here.ipynb     # rewrites what is between markers
print(learning_table(json.loads(path.read_text())))
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from ..core.arms import INTERLEAVED
from ..core.errors import R3labError, nearest
from ..core.files import assets_dir
from ..core.stats import seeds_interval
from ..recipes.ablations import effects
from ..run.notebook import lessons_of, read_notebook
from ..run.site import lessons_table, read_lesson
from ..show.effects import COLUMNS, between, effects_table, spread

SHIPPED = ("tiny", "worlds", "engine", "explain", "ablations")  # files of results
WHEN, DIAGRAMS = "when", "diagrams"  # others, once they are there
GPU = {  # runs of gpu.json, and what is wanted at least: trajectories a second of one H200, or times those of TRL
    "lesson 02, tiny policy": "320 / s",
    "Qwen3-VL-2B": "",
    "Qwen2.5-VL-3B": "8 / s",
    "7B shape, LoRA": "3 / s",
    "Qwen3-VL-2B against TRL": "10 times",
    "Qwen2.5-VL-3B on all cards": "",
}
ON_GPU = {
    "trajectories": "trajectories / s",
    "trl": "times TRL's",
    "tokens": "sampled tokens / s",
    "looks": "looks",
    "image_tokens": "image tokens",
    "floor": "decoding: share of the floor",
    "matrix": "update: share of the matrix rate",
    "memory": "GiB",
    "gap": "log-probability, sampling to update: median",
    "gap_high": "99 %",
}
UNMEASURED = "not measured yet"
NAMED, FALSE = "planted reason named", "another kind named for sure"
REFUSED = "no look allowed"  # in the name of an arm of tiny.json
TAUGHT = (  # of every table that measures attention maps
    "Two heads in each of two layers of this policy were supervised to point at the truth (`r3lab/recipes/base.py`): "
    "these scores hold what was taught, and say nothing of attention in a checkpoint that nobody trained so."
)
AREAS = {
    "rank correlation with the worth of a look": "rank correlation with worth",
    "pointing game": "pointing game",
    "deletion area, lower is better": "deletion area (lower is better)",
    "insertion area": "insertion area",
}
LOOKS = {
    "legible": "legible behind the true crops",
    "overview_alone": "right, every box refused",
    "exact_needed": "right, look needed",
    "exact_unneeded": "right, not needed",
    "look_rate_needed": "looks, needed",
    "look_rate_unneeded": "looks, not needed",
    "iou": "IoU of the deciding look",
}
FURTHER = {key: LOOKS[key] for key in LOOKS if key not in ("legible", "overview_alone")}
Row = dict[str, Any]


def _markdown(head: Sequence[str], align: str, rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown; `align` has an "l" or "r" a column."""
    lines = [head, ["---:" if side == "r" else "---" for side in align], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _by(rows: Iterable[Row], *keys: str) -> dict[tuple[str, ...], list[Row]]:
    """Rows that have the same words, in the order in which they come."""
    found: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        found.setdefault(tuple(row[key] for key in keys), []).append(row)
    return found


def over_seeds(rows: Iterable[Row], key: str) -> str:
    """Mean, with the least and the most where there are several: `81.2 % (80.0 to 82.5)`; an IoU is no share."""
    values = [row[key] for row in rows if row.get(key) is not None]
    told = spread(values, key != "iou") if values else "none"
    return told if len(values) > 1 else told.partition(" (")[0]


def _made(result: Row) -> str:
    """How a file of results was made."""
    return f"Made by `{result['command']}` on {result['date']} ({result['machine']})."


def _asked(result: Row, n: int, of: str = "the test split") -> str:
    """Two sentences: the training seeds that values are taken over; what was asked, and whether it is held out."""
    seeds = ", ".join(map(str, sorted({row["seed"] for row in result["rows"]})))
    drawn = result.get("recipe", {}).get("test_seed")
    told = "settings were chosen while watching this draw, so it is not held out"
    if drawn is not None:
        told = "nothing else has drawn them"
    return f"training seeds {seeds}. Asked: the first {n} samples of {of} (samples seed {drawn or 0}); {told}."


# -- explain.json: reasons named, maps against chance ----------------------------------------------------------------


def named_table(result: Row) -> str:
    """How often the planted reason was named, and named or described: a line for each kind and each size of model, with
    95 % intervals, beside the best reference; each reference; what was named instead; how often wrongly and for sure;
    and with nothing lent by the caller."""
    rows = {row["measure"].removeprefix(NAMED): row for row in result["rows"] if row["measure"].startswith(NAMED)}
    start = ", against "
    others = {name.removeprefix(start): row for name, row in rows.items() if name.startswith(start)}
    kinds = {kind[2:]: row for kind, row in rows.items() if kind.startswith(": ")}
    whole, sizes = rows[" or described"], {name: row for name, row in rows.items() if name.startswith(", ")}
    sizes = {name[2:]: row for name, row in sizes.items() if name.removeprefix(start) not in others}

    def shown(row: Row) -> str:
        return between(row["ours"], row["low"], row["high"])

    def line(name: str, row: Row, of: Mapping[str, float]) -> tuple[str, ...]:
        best = max(of, key=lambda own: of[own], default=None)
        return name, shown(row), f"{100 * row['told']:.1f} %", f"{100 * of[best]:.1f} % ({best})" if best else "-"

    cells = [line(kind, row, row["references"]) for kind, row in kinds.items()]
    cells += [line(f"all, {name}", row, {}) for name, row in sizes.items()]
    heads = ("planted reason", "named by `explain`", "named or described", "best reference")
    beside = "; ".join(f"{name} {100 * row['reference']:.1f} %" for name, row in others.items())
    first = next(iter(others.values()))
    table = _markdown(heads, "lrrr", cells)
    told = [
        f"Named or described, of {whole['n']}: {shown(whole)}. Of the {first['n']} that the references were asked of,"
    ]
    told[0] += f" named by `explain`: {shown(first)}; {beside}."
    missed = {}
    for kind, row in kinds.items():
        others = {k: n for k, n in row.get("named", {}).items() if k not in {kind, *row.get("true", ())}}
        if others:
            missed[kind] = f"{kind}: {', '.join(f'{other} {n}' for other, n in others.items())}"
    told += [f"Named instead: {'; '.join(sorted(missed.values()))}."] if missed else []
    false = next((row for row in result["rows"] if row["measure"] == FALSE), None)
    if false:
        share = between(false["ours"], false["low"], false["high"])
        stated = "; ".join(
            f"{100 * said:.1f} % stated, {100 * right:.1f} % right ({n})" for n, said, right in false["confidence"]
        )
        told.append(f"Another kind than the true one is named for sure in {share}. Confidence: {stated}.")
    alone = rows.get(" alone")
    if alone:
        share = between(alone["ours"], alone["low"], alone["high"])
        told.append(
            f"Used as `ask` leaves a record (the shipped records lend, no true region): {share} of {alone['n']}."
        )
    return f"{table}\n\n{' '.join(told)}"


def fidelity_table(result: Row) -> str:
    """Four measures of each kind of map, with 95 % intervals, and of random cells; one of them of other policies."""
    found: dict[str, dict[str, Row]] = {}
    others: dict[str, list[str]] = {}
    for row in result["rows"]:
        measure, _, name = row["measure"].rpartition(", ")
        kind, _, whose = name.partition(" of ")
        if measure in AREAS and not whose:
            found.setdefault(kind.removesuffix(" attention"), {})[measure] = row
        elif measure == next(iter(AREAS)):
            told = between(row["ours"], row["low"], row["high"], percent=False)
            others.setdefault(f"{whose} ({row['n']})", []).append(f"{kind} {told}")
    cells = [
        (kind, *(between(r["ours"], r["low"], r["high"], percent=False) for r in (by[measure] for measure in AREAS)))
        for kind, by in found.items()
    ]
    one = next(iter(found.values()))
    cells.append(("random cells", *(f"{one[measure]['reference']:.2f}" for measure in AREAS)))
    table = _markdown(("map of the box's coordinates", *AREAS.values()), "lrrrr", cells)
    more = "".join(f" Rank correlation for maps of {whose}: {'; '.join(some)}." for whose, some in others.items())
    return f"{table}\n\nOf {one['pointing game']['n']} that look and answer rightly. {TAUGHT}{more}"


def explain_tables(result: Row) -> str:
    """Reasons, maps, and what an explanation costs, as the README shows them."""
    return "\n\n".join([named_table(result), fidelity_table(result), timed_table(result, "cost", 2)])


def timed_table(result: Row, what: str = "measure", digits: int = 1) -> str:
    """Medians of two ways timed in turn, ratios with their ranges: `engine.json`, and the costs of `explain.json`."""
    cells = []
    for r in result["rows"]:
        if "turns" in r:
            span = f" ({r['low']:.{digits}f} to {r['high']:.{digits}f})" if r["turns"] > 1 else ""
            times = (f"{r[key]:.3g} {r['unit']}" for key in ("ours", "reference"))
            name = r["measure"] + (f" (the plain pass takes {r['plain']:.3g})" if "plain" in r else "")
            cells.append((name, *times, f"{r['ratio']:.{digits}f}{span}", str(r["n"])))
    return f"{_markdown((what, 'ours', 'reference', 'ratio', 'of'), 'lrrrl', cells)}\n\n{_made(result)}"


def gpu_table(result: Row | None) -> str:
    """The whole loop on a GPU, a line a run; without a file, or where it lacks a run, the line says so."""
    rows, cells = {row["measure"]: row for row in result["rows"]} if result else {}, []
    for name, wanted in GPU.items():
        row = rows.get(name)
        values = [UNMEASURED, *[""] * (len(ON_GPU) - 1)]
        if row is not None:
            values = [f"{row[key]:.3g}" if key in row else "" for key in ON_GPU]
        cells.append((name, wanted, *values))
    table = _markdown(("run", "wanted", *ON_GPU.values()), "l" + "r" * (1 + len(ON_GPU)), cells)
    cards = ", ".join(sorted({row["card"] for row in rows.values()}))
    return f"{table}\n\n" + (f"On {cards}. {_made(result)}" if result else "No GPU was at hand.")


# -- worlds.json: right answers by arm and world, and how the interleaved arm looks in each world --------------------


def arms_table(result: Row) -> str:
    """Right answers: a line an arm and stage, a column a world."""
    worlds = [world for (world,) in _by(result["rows"], "world")]
    cells = []
    for who, of in _by(result["rows"], "arm", "stage").items():
        by = _by(of, "world")
        cells.append((*who, str(len(by[worlds[0],])), *(over_seeds(by[world,], "exact") for world in worlds)))
    table = _markdown(("arm", "stage", "seeds", *worlds), "llr" + "r" * len(worlds), cells)
    asked = _asked(result, result["rows"][0]["n"], "each world's test split")
    return f"{table}\n\nMean and range over {asked} {_made(result)}"


def looks_table(result: Row) -> str:
    """The interleaved arm's last stage: what it can read in each world, and when and where it looks."""
    *_, last = _by((row for row in result["rows"] if row["arm"] == INTERLEAVED.name), "stage").values()
    cells = [(world, *(over_seeds(of, key) for key in LOOKS)) for (world,), of in _by(last, "world").items()]
    return _markdown(("world", *LOOKS.values()), "l" + "r" * len(LOOKS), cells)


# -- diagrams.json: a further world ----------------------------------------------------------------------------------


def further_table(result: Row) -> str:
    """A line a stage: right answers with an interval over training seeds and samples, and how the policy looks."""
    cells = []
    for (stage,), of in _by(result["rows"], "stage").items():
        asked = [(row["seed"], str(k), float(c)) for row in of for k, c in enumerate(row["each"])]
        whole = seeds_interval(asked)
        told = between(whole.value, whole.low, whole.high)
        cells.append((stage, told, *(over_seeds(of, key) for key in FURTHER)))
    table = _markdown(("stage", "right", *FURTHER.values()), "l" + "r" * (1 + len(FURTHER)), cells)
    first = result["rows"][0]
    over = "Right: mean and 95 % interval over training seeds and samples together; else mean and range over"
    asked_of = _asked(result, first["n"], f"the {first['split']} split of {first['world']}")
    return f"{table}\n\n{over} {asked_of} {_made(result)}"


# -- tiny.json, ablations.json ---------------------------------------------------------------------------------------


def learning_table(result: Row) -> str:
    """Rows of `tiny.json`: one line an arm, mean and range over seeds."""
    cells = [(arm, *(over_seeds(of, key) for key in COLUMNS)) for (arm,), of in _by(result["rows"], "arm").items()]
    table = _markdown(("arm", *COLUMNS.values()), "l" * (1 + len(COLUMNS)), cells)
    asked, told = _asked(result, result["rows"][0]["n"]), ""
    refused = {arm: of for (arm,), of in _by(result["rows"], "arm").items() if REFUSED in arm}
    if refused:
        ends = (f"{100 * fmean(row['answered'] for row in of):.0f} % ({arm})" for arm, of in refused.items())
        told = f" Where every box is refused, this share of rollouts ends with an answer: {', '.join(ends)}."
    return f"{table}\n\nMean and range over {asked}{told} {_made(result)}"


def ablation_table(result: Row) -> str:
    """Rows of `ablations.json`: means over seeds, differences at the same seed, published ones beside."""
    asked = _asked(result, result["rows"][0]["budget"]["test"], "the test split of badges")
    return f"{effects_table(effects(result['rows']))}\n\nMean and 95 % interval over {asked} {_made(result)}"


# -- when.json -------------------------------------------------------------------------------------------------------

VALUED = {  # with an interval
    "right": "right",
    "looks": "looks",
    "needless": "needless by value",
    "missed": "missed by value",
    "regret": "look regret",
    "right_direct": "forced: no look",
    "right_look": "forced: a look",
}


def when_table(result: Row) -> str:
    """Rules for when to look, and other ways, from one cold start: means with intervals over seeds and samples."""
    credit, cells = {one["rule"]: one["correlation"] for one in result["credit"]}, []
    for line in result["intervals"]:
        told = (line[key] and between(line[key]["value"], line[key]["low"], line[key]["high"]) for key in VALUED)
        r = credit.get(line["way"])
        cells.append((line["way"], *(one or "none" for one in told), "" if r is None else f"{r:.2f}"))
    table = _markdown(("way", *VALUED.values(), "credit with value"), "l" + "r" * 8, cells)
    s, row = result["recipe"], result["rows"][0]
    seeds = f"Mean over {s['seeds']} seeds and {row['n']} samples of the {row['split']} split ({s['worlds']})"
    values = f"values of looks by {s['rollouts']} sampled rollouts of each sort, the first two columns greedy"
    return f"{table}\n\n{seeds}, with its 95 % interval; {values}. {_made(result)}"


# -- into README, RESULTS and notebook 00 ------------------------------------------------------------------------------


def ask_lines(tiny: dict[str, Any], worlds: dict[str, Any]) -> str:
    """The commands that put the examples' questions to the shipped policy, as a Markdown code block."""
    asked = {"badges": tiny["example"]["question"]} | {w: e["question"] for w, e in worlds["examples"].items()}
    lines = [f"{'worlds --sheet':<40} # what the tiny policy knows: samples of four worlds"]
    lines += [f'ask assets/pictures/{world}.png "{question}"' for world, question in asked.items()]
    lines += [f"{'doctor':<40} # device, versions, what is missing"]
    return "\n".join(("```", *(f".venv/bin/r3lab {line}" for line in lines), "```"))


def fill(text: str, tables: dict[str, str]) -> str:
    """Put each table that the text has markers for between `<!-- results: NAME -->` and `<!-- end -->`.

    Raises
    ------
    R3labError
        If the text has no such markers, or one of a table that there is not.
    """

    def table(found: re.Match[str]) -> str:
        if found[2] not in tables:
            raise R3labError(f"'{found[1].strip()}' names no table.{nearest(found[2], tables)}")
        return f"{found[1]}{tables[found[2]]}\n{found[3]}"

    made, count = re.subn(r"(<!-- results: (.*?) -->\n).*?(<!-- end -->)", table, text, flags=re.S)
    if not count:
        raise R3labError("the text has no '<!-- results: NAME -->' ... '<!-- end -->' to fill")
    return made


def shipped_tables() -> dict[str, str]:
    """The tables of all results that ship."""
    read = (json.loads((assets_dir() / "results" / f"{name}.json").read_text()) for name in SHIPPED)
    tiny, worlds, engine, explain, ablations = read
    when, further, gpu = (assets_dir() / "results" / f"{name}.json" for name in (WHEN, DIAGRAMS, "gpu"))
    return {
        "ask": ask_lines(tiny, worlds),
        "tiny": learning_table(tiny),
        "worlds": f"{looks_table(worlds)}\n\n{arms_table(worlds)}",
        "engine": timed_table(engine),
        "gpu": gpu_table(json.loads(gpu.read_text()) if gpu.is_file() else None),
        "explain": explain_tables(explain),
        "ablations": ablation_table(ablations),
        **({WHEN: when_table(json.loads(when.read_text()))} if when.is_file() else {}),
        **({DIAGRAMS: further_table(json.loads(further.read_text()))} if further.is_file() else {}),
    }


def filled(path: Path) -> str:
    """The text of a page with the tables it has markers for, or of a notebook with the table of the lessons beside it,
    as it should be.

    Raises
    ------
    R3labError
        If markers are missing or unknown, or a notebook of the course does not say what it is about.
    """
    text, of_notebook = path.read_text(encoding="utf-8"), path.suffix == ".ipynb"
    folder = "" if of_notebook else "notebooks"
    lessons = {"lessons": lessons_table([read_lesson(one) for one in lessons_of(path.parent / folder)], folder)}
    if not of_notebook:
        return fill(text, shipped_tables() | lessons)
    read_notebook(path)  # a readable error where it is none
    notebook = json.loads(text)
    marked = [cell for cell in notebook["cells"] if "<!-- results: lessons -->" in "".join(cell["source"])]
    if len(marked) != 1:
        raise R3labError(f"{path.name} has {len(marked)} cells with '<!-- results: lessons -->', wanted one to fill.")
    marked[0]["source"] = fill("".join(marked[0]["source"]), lessons).splitlines(keepends=True)
    return json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"


def main(arguments: Sequence[str]) -> int:
    """Rewrite the tables of the given files."""
    for name in arguments:
        Path(name).write_text(filled(Path(name)), encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
