"""Three tables of explain.json: reasons named, maps against chance, what an explanation costs.

print(named_table(result), fidelity_table(result), cost_table(result), sep="\\n\\n")
"""

from __future__ import annotations

from typing import Any

NAMED = "planted reason named"
AREAS = {
    "rank correlation with the worth of a look": "rank correlation with worth",
    "pointing game": "pointing game",
    "deletion area, lower is better": "deletion area (lower is better)",
    "insertion area": "insertion area",
}


def _share(row: dict[str, Any]) -> str:
    return f"{100 * row['ours']:.1f} % ({100 * row['low']:.1f} to {100 * row['high']:.1f})"


def named_table(result: dict[str, Any]) -> str:
    """How often the planted reason was named: one line a kind, one for all, with 95 % intervals."""
    rows = {row["measure"]: row for row in result["rows"] if row["measure"].startswith(NAMED)}
    lines = ["| planted reason | named by `explain` | by raw attention alone |", "| --- | ---: | ---: |"]
    for measure, row in rows.items():
        kind = measure.removeprefix(f"{NAMED}: ")
        if kind != measure:
            lines.append(f"| {kind} | {_share(row)} | {100 * row['reference']:.1f} % |")
    raw, relative = (rows[f"{NAMED}, against {name} attention"] for name in ("raw", "relative"))
    lines.append(f"| all | {_share(raw)} | {100 * raw['reference']:.1f} % |")
    said = f"Relative attention alone names {100 * relative['reference']:.1f} % of all. Of {raw['n']}."
    return "\n".join([*lines, "", said])


def fidelity_table(result: dict[str, Any]) -> str:
    """Four measures of each kind of map, with 95 % intervals, and of random cells."""
    lines = [
        "| map of the box's coordinates | " + " | ".join(AREAS.values()) + " |",
        "| --- |" + " ---: |" * len(AREAS),
    ]
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for row in result["rows"]:
        for measure in AREAS:
            if row["measure"].startswith(f"{measure}, "):
                kind = row["measure"].removeprefix(f"{measure}, ").removesuffix(" attention")
                found.setdefault(kind, {})[measure] = row
    for kind, by in found.items():
        cells = [f"{r['ours']:.2f} ({r['low']:.2f} to {r['high']:.2f})" for r in (by[measure] for measure in AREAS)]
        lines.append(f"| {kind} | " + " | ".join(cells) + " |")
    one = next(iter(found.values()))
    lines.append("| random cells | " + " | ".join(f"{one[measure]['reference']:.2f}" for measure in AREAS) + " |")
    return "\n".join([*lines, "", f"Of {next(iter(one.values()))['n']} that look and answer rightly."])


def cost_table(result: dict[str, Any]) -> str:
    """Medians of two ways timed in turn, the ratio with its range."""
    lines = ["| cost | ours | reference | ratio | of |", "| --- | ---: | ---: | ---: | --- |"]
    for r in result["rows"]:
        if "turns" in r:
            span = f" ({r['low']:.2f} to {r['high']:.2f})" if r["turns"] > 1 else ""
            values = f"{r['ours']:.3g} {r['unit']} | {r['reference']:.3g} {r['unit']} | {r['ratio']:.2f}{span}"
            lines.append(f"| {r['measure']} | {values} | {r['n']} |")
    return "\n".join([*lines, "", f"Made by `{result['command']}` on {result['date']} ({result['machine']})."])


def explain_tables(result: dict[str, Any]) -> str:
    """All three, as the README shows them."""
    return "\n\n".join(table(result) for table in (named_table, fidelity_table, cost_table))
