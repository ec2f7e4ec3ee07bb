"""Why a policy looked where it looked, and whether the look mattered."""
