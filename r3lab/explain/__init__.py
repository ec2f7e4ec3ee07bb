"""Why a policy looked where it looked, and whether the look mattered.

From the ground up: `verdict` (counts and what they amount to) and `explanation` (the record, on disk) need no model;
`rows` and `maps` describe what attention read; `interventions` replay a look or cut attention; `trials` counts what
interventions change; `explain` puts all of it together, and `fidelity` measures how faithful a map is.

    explanation = explain(policy, trajectory, others=more_trajectories)      # explain.explain
    explanation.verdict.kind, explanation.looks[0].sentence
"""
