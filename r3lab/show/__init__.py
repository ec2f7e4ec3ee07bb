"""Everything a person looks at: filmstrips, curves, panels, contact sheets, each with its alt text.

A view reads saved records (trajectories, samples, the rows of a training log) and returns a figure; it needs
no model, changes no global state of matplotlib, and treats every text that it draws as hostile. What is told
of a trajectory is decided once (`story`); what is drawn with is decided once (`palette`, `lettering`,
`canvas`).

    from r3lab.show.alt import picture
    from r3lab.show.filmstrip import filmstrip, filmstrip_alt
    picture(filmstrip(trajectory), filmstrip_alt(trajectory))     # the last line of a notebook cell
"""
