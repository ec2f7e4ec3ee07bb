"""Why a policy looked where it looked, and whether the look mattered.

From the ground up: `verdict` (counts and what they amount to) and `explanation` (the record, on disk) need no model;
`rows` and `maps` describe what attention read; `interventions` replay a look or cut attention; `trials` counts what
interventions change; `explain` puts all of it together, and `fidelity` measures how faithful a map is.

    explanation = explain(policy, trajectory, others=more_trajectories)      # explain.explain
    explanation.verdict.kind, explanation.looks[0].sentence
"""

from __future__ import annotations

from ..core import lazy

# What lessons use, imported when it is first used.
HOMES = {
    "check_record": "explain",
    **dict.fromkeys(("Explanation", "HeatMap"), "explanation"),
    **dict.fromkeys(("agreement", "deletion_insertion", "hits"), "fidelity"),
    **dict.fromkeys(("alternatives_of", "crop_value", "knock_out", "value_map"), "interventions"),
    **dict.fromkeys(
        (
            "align",
            "box_score",
            "find_sinks",
            "heat_map",
            "looking_heads",
            "relative",
            "shares",
            "with_question",
        ),
        "maps",
    ),
    **dict.fromkeys(("ANSWER", "COORDINATES", "OVERVIEW", "events", "gradient_rows"), "rows"),
    **dict.fromkeys(("QUICK", "Settings"), "trials"),
    **dict.fromkeys(("Evidence", "HONEST", "Trials", "UNSURE", "verdict_of"), "verdict"),
}

__getattr__, __dir__ = lazy(__name__, HOMES)
