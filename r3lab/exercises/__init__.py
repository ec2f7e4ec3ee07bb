"""Checks for the course's exercises, one a function: each prints "right", or one hint that diagnoses.

from r3lab.exercises import check_zoom
check_zoom(zoom)                         # in the cell below the one in which `zoom` was written
"""

from __future__ import annotations

from .look_again import check_overview_height, check_source_pixels, check_zoom
from .region import check_region_reward
from .rgrpo import check_advantages, check_clipped_objective
from .vlir import check_answered_blind, check_overlapping
from .vlir_files import check_rarest, check_to_photograph

__all__ = [
    "check_advantages",
    "check_answered_blind",
    "check_clipped_objective",
    "check_overlapping",
    "check_overview_height",
    "check_rarest",
    "check_region_reward",
    "check_source_pixels",
    "check_to_photograph",
    "check_zoom",
]
