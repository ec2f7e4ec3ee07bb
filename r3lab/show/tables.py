"""Tables of measured numbers and of the lessons, into the README and notebook 00: nothing there is typed by hand.

python -m r3lab.show.tables README.md notebooks/00_start_here.ipynb      # rewrites what stands between the markers
print(learning_table(json.loads(path.read_text())))
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..ablations.effects import effects
from ..assets_path import assets_dir
from ..errors import R3labError
from ..lessons import lessons_table, read_lessons
from ..notebook_parameters import read_notebook
from .effects import effects_table
from .explain_tables import explain_tables
from .spread import spread
from .world_tables import world_tables

COLUMNS = {
    "exact": "exact answer",
    "exact_needed": "exact, look needed",
    "iou": "IoU of the deciding look",
    "look_rate_needed": "looks, needed",
    "look_rate_unneeded": "looks, not needed",
}
SHIPPED = ("tiny", "worlds", "engine", "explain", "ablations")  # files of results
SHARES = {"exact", "exact_needed", "look_rate_needed", "look_rate_unneeded"}  # shown in per cent


def learning_table(result: dict[str, Any]) -> str:
    """Markdown table of the rows of `tiny.json`: one line an arm, mean and range over seeds."""
    arms: dict[str, list[dict[str, Any]]] = {}
    for row in result["rows"]:
        arms.setdefault(row["arm"], []).append(row)
    lines = ["| arm | " + " | ".join(COLUMNS.values()) + " |", "| --- |" + " --- |" * len(COLUMNS)]
    for arm, rows in arms.items():
        cells = []
        for key in COLUMNS:
            values = [r[key] for r in rows if r.get(key) is not None]
            cells.append(spread(values, key in SHARES) if values else "none")
        lines.append(f"| {arm} | " + " | ".join(cells) + " |")
    seeds, n = len({r["seed"] for r in result["rows"]}), result["rows"][0]["n"]
    lines.append("")
    lines.append(
        f"Mean and range over {seeds} seeds, {n} held-out samples each; made by `{result['command']}` "
        f"on {result['date']} ({result['machine']})."
    )
    return "\n".join(lines)


def engine_table(result: dict[str, Any]) -> str:
    """Markdown table of the rows of `engine.json`: medians of two ways timed in turn, the ratio with its range."""
    lines = ["| measure | ours | reference | ratio | of |", "| --- | ---: | ---: | ---: | --- |"]
    for r in result["rows"]:
        span = f" ({r['low']:.1f} to {r['high']:.1f})" if r["turns"] > 1 else ""
        lines.append(
            f"| {r['measure']} | {r['ours']:.3g} {r['unit']} | {r['reference']:.3g} {r['unit']} | "
            f"{r['ratio']:.1f}{span} | {r['n']} |"
        )
    lines.append("")
    lines.append(f"Made by `{result['command']}` on {result['date']} ({result['machine']}).")
    return "\n".join(lines)


def ablation_table(result: dict[str, Any]) -> str:
    """Markdown table of ablations.json: means over seeds, differences at the same seed, published ones beside."""
    budget, seeds = result["rows"][0]["budget"], len({row["seed"] for row in result["rows"]})
    lines = [
        effects_table(effects(result["rows"])),
        "",
        f"Mean over {seeds} seeds with its 95 % interval, {budget['test']} held-out samples of badges each; as many "
        f"updates for every variant. Made by `{result['command']}` on {result['date']} ({result['machine']}).",
    ]
    return "\n".join(lines)


def ask_lines(tiny: dict[str, Any], worlds: dict[str, Any]) -> str:
    """The commands that put the examples' questions to the shipped policy, as a Markdown code block."""
    asked = {"badges": tiny["example"]["question"]} | {w: e["question"] for w, e in worlds["examples"].items()}
    lines = [f"{'worlds --sheet':<40} # what the tiny policy knows: samples of four worlds"]
    lines += [f'ask assets/pictures/{world}.png "{question}"' for world, question in asked.items()]
    lines += [f"{'doctor':<40} # device, versions, what is missing"]
    return "\n".join(("```", *(f".venv/bin/r3lab {line}" for line in lines), "```"))


def fill(text: str, tables: dict[str, str]) -> str:
    """Put each table between `<!-- results: NAME -->` and `<!-- end -->`.

    Raises
    ------
    R3labError
        If the text has no such markers.
    """
    for name, table in tables.items():
        pattern = re.compile(rf"(<!-- results: {re.escape(name)} -->\n).*?(<!-- end -->)", re.S)
        found = pattern.search(text)
        if not found:
            raise R3labError(f"the text has no '<!-- results: {name} -->' ... '<!-- end -->' to fill")
        text = f"{text[: found.start()]}{found[1]}{table}\n{found[2]}{text[found.end() :]}"
    return text


def shipped_tables() -> dict[str, str]:
    """The tables of all results that ship."""
    results = assets_dir() / "results"
    read = (json.loads((results / f"{name}.json").read_text()) for name in SHIPPED)
    tiny, worlds, engine, explain, ablations = read
    return {
        "ask": ask_lines(tiny, worlds),
        "tiny": learning_table(tiny),
        "worlds": world_tables(worlds),
        "engine": engine_table(engine),
        "explain": explain_tables(explain),
        "ablations": ablation_table(ablations),
    }


def filled(path: Path) -> str:
    """The text of a README with all its tables, or of a notebook with the table of the lessons beside it, as it should
    be.

    Raises
    ------
    R3labError
        If markers are missing, or a notebook of the course does not say what it is about.
    """
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".ipynb":
        return fill(
            text, shipped_tables() | {"lessons": lessons_table(read_lessons(path.parent / "notebooks"), "notebooks")}
        )
    read_notebook(path)  # a readable error where it is none
    notebook, table = json.loads(text), {"lessons": lessons_table(read_lessons(path.parent))}
    sources = ["".join(cell["source"]) for cell in notebook["cells"]]
    marked = [i for i, source in enumerate(sources) if "<!-- results: lessons -->" in source]
    if len(marked) != 1:
        raise R3labError(f"{path.name} has {len(marked)} cells with '<!-- results: lessons -->', wanted one to fill.")
    notebook["cells"][marked[0]]["source"] = fill(sources[marked[0]], table).splitlines(keepends=True)
    return json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"


def main(arguments: Sequence[str]) -> int:
    """Rewrite the tables of the given files."""
    for name in arguments:
        text = filled(Path(name))
        Path(name).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
