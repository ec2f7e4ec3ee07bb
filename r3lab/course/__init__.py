"""Checks of the course's exercises, by lesson: each prints "right", or one hint that diagnoses.

from r3lab.course import check_zoom
check_zoom(zoom)                         # in the cell below the one in which `zoom` was written
"""

from __future__ import annotations

from ..core import lazy

# What lessons use, imported when it is first used.
HOMES = {
    **dict.fromkeys(("check_carries_loss", "check_in_overview"), "look_again"),
    **dict.fromkeys(("check_overview_height", "check_source_pixels", "check_zoom"), "look_again"),
    **dict.fromkeys(("check_advantages", "check_clipped_objective", "check_region_reward"), "rgrpo"),
    **dict.fromkeys(("check_answered_blind", "check_overlapping", "check_rarest", "slip_in"), "building_vlir"),
    **dict.fromkeys(("check_to_photograph",), "building_vlir"),
    "Loopback": "building_vlir",
    **dict.fromkeys(("check_interleaved_mask", "check_missed", "check_next_token", "missed"), "cold_start"),
    "check_rate": "cold_start",
    **dict.fromkeys(("check_cell_box", "check_percentile", "check_times_even"), "attention"),
    **dict.fromkeys(("check_change", "check_from_tint", "check_kind", "check_regret"), "explaining"),
    **dict.fromkeys(("check_aggregate", "check_leave_one_out", "check_loss_mask", "check_push"), "rgrpo_in_depth"),
    "check_region_checked": "rgrpo_in_depth",
    **dict.fromkeys(("check_as_expected", "check_at_grounding", "check_paired", "check_seed_interval"), "ablations"),
    **dict.fromkeys(("check_as_region", "check_cache_bytes", "check_tokens_needed"), "your_own"),
    "Prediction": "judge",
    "when_table": "tables",
}

__getattr__, __dir__ = lazy(__name__, HOMES)
