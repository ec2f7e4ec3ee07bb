"""Everything a person looks at: filmstrips, players, groups, rivers, ribbons, curves, reports, each with its alt text.

A view reads saved records (trajectories, samples, the rows of a training log) and returns a `Picture` or a `View`; it
needs no model, changes no global state of matplotlib or Plotly, and treats every text that it draws as hostile. What is
told of a trajectory is decided once (`story`); what is drawn with is decided once (`palette`, `lettering`, `canvas` for
matplotlib; `markup`, `marks`, `embed`, `page` for HTML).

    from r3lab.show.filmstrip import filmstrip
    from r3lab.show.player import play
    filmstrip(trajectory)                    # the last line of a notebook cell
    play(trajectory)                         # the same, to step through
"""
