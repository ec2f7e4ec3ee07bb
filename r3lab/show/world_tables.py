"""Two tables of worlds.json: right answers by arm and world, and how the interleaved arm looks in each world.

print(arms_table(result), looks_table(result), sep="\\n\\n")
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..arms import INTERLEAVED
from .spread import spread

LOOKS = {
    "legible": "legible behind the true crops",
    "overview_alone": "overview alone",
    "exact_needed": "right, look needed",
    "exact_unneeded": "right, not needed",
    "look_rate_needed": "looks, needed",
    "look_rate_unneeded": "looks, not needed",
    "iou": "IoU of the deciding look",
}


def over_seeds(values: Sequence[float], percent: bool = True) -> str:
    """Mean, with the least and the most where there are several: `81.2 % (80.0 to 82.5)`."""
    told = spread(values, percent)
    return told if len(values) > 1 else told.partition(" (")[0]


def arms_table(result: dict[str, Any]) -> str:
    """Right answers on held-out samples: a line an arm and stage, a column a world."""
    worlds = list(dict.fromkeys(row["world"] for row in result["rows"]))
    found: dict[tuple[str, str], dict[str, list[float]]] = {}
    for row in result["rows"]:
        found.setdefault((row["arm"], row["stage"]), {}).setdefault(row["world"], []).append(row["exact"])
    lines = [
        "| arm | stage | seeds | " + " | ".join(worlds) + " |",
        "| --- | --- | ---: |" + " ---: |" * len(worlds),
    ]
    for (arm, stage), by in found.items():
        cells = [over_seeds(by[world]) for world in worlds]
        lines.append(f"| {arm} | {stage} | {len(by[worlds[0]])} | " + " | ".join(cells) + " |")
    n = result["rows"][0]["n"]
    said = (
        f"Mean and range over seeds, {n} held-out samples of each world, greedy. Made by `{result['command']}` "
        f"on {result['date']} ({result['machine']})."
    )
    return "\n".join([*lines, "", said])


def looks_table(result: dict[str, Any]) -> str:
    """The interleaved arm's last stage: what it can read in each world, and when and where it looks."""
    rows = [row for row in result["rows"] if row["arm"] == INTERLEAVED.name]
    rows = [row for row in rows if row["stage"] == rows[-1]["stage"]]
    lines = ["| world | " + " | ".join(LOOKS.values()) + " |", "| --- |" + " ---: |" * len(LOOKS)]
    for world in dict.fromkeys(row["world"] for row in rows):
        of = [row for row in rows if row["world"] == world]
        told = {key: [row[key] for row in of if row[key] is not None] for key in LOOKS}
        cells = [over_seeds(v, key != "iou") if v else "none" for key, v in told.items()]
        lines.append(f"| {world} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def world_tables(result: dict[str, Any]) -> str:
    """Both, for the README."""
    return f"{looks_table(result)}\n\n{arms_table(result)}"
