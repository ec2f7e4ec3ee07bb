"""The paper in miniature: its ablations on a world, with the tiny policy.

`variants` are what is compared, `train` makes and measures one, `grounding` is the paper's figure 4, `command` runs all
of it over seeds.
"""
