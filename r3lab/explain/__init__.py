"""Why a policy looked where it looked, and whether the look mattered.

From the ground up: `verdict` (counts and what they amount to) and `explanation` (the record, on disk) need no model;
`rows` says what attention read; `interventions` replay a look or cut attention; `worth` is that of looks elsewhere;
`trials` counts what interventions change, on `pictures` that differ in one respect; `maps` shows attention on the
photograph and measures how faithful that is; `explain` puts all of it together.

    explanation = explain(policy, trajectory, others=more_trajectories)      # explain.explain
    explanation.verdict.kind, explanation.looks[0].sentence
"""

from __future__ import annotations

from ..core import lazy

# What lessons use, imported when it is first used.
HOMES = {
    "check_record": "explain",
    "Explanation": "explanation",
    **dict.fromkeys(("alternatives_of", "crop_value", "knock_out", "with_question"), "interventions"),
    **dict.fromkeys(("agreement", "align", "box_score", "deletion_insertion", "find_sinks", "heat_map"), "maps"),
    **dict.fromkeys(("hits", "looking_heads", "relative"), "maps"),
    **dict.fromkeys(("ANSWER", "COORDINATES", "OVERVIEW", "events", "gradient_rows", "shares"), "rows"),
    **dict.fromkeys(("QUICK", "Settings"), "trials"),
    **dict.fromkeys(("ELSEWHERE", "Evidence", "HONEST", "IDLE", "Trials", "UNSURE"), "verdict"),
    **dict.fromkeys(("described", "verdict_of"), "verdict"),
    **dict.fromkeys(("WorthHead", "fit_head", "value_map"), "worth"),
}

__getattr__, __dir__ = lazy(__name__, HOMES)
