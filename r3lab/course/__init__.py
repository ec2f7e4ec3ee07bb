"""Checks of the course's exercises, by lesson: each prints "right", or one hint that diagnoses.

from r3lab.course import check_zoom
check_zoom(zoom)                         # in the cell below the one in which `zoom` was written
"""

from __future__ import annotations

from .ablations import check_as_expected, check_at_grounding, check_paired, check_seed_interval
from .attention import check_cell_box, check_percentile, check_times_even
from .building_vlir import check_answered_blind, check_overlapping, check_rarest, check_to_photograph
from .cold_start import check_interleaved_mask, check_missed, check_next_token, check_rate
from .explaining import check_change, check_from_tint, check_kind, check_regret
from .look_again import check_overview_height, check_source_pixels, check_zoom
from .rgrpo import check_advantages, check_clipped_objective, check_region_reward
from .rgrpo_in_depth import check_aggregate, check_leave_one_out, check_loss_mask, check_push, check_region_checked
from .start import check_carries_loss, check_in_overview
from .your_own import check_as_region, check_cache_bytes, check_tokens_needed
