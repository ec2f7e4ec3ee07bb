"""What everything else stands on: errors, boxes and their frames, safe pixels, the text protocol, files and records.

Nothing here knows a model, a world or a view.
"""

from __future__ import annotations

from .lazy import lazy

# What lessons use, imported when it is first used.
HOMES = {
    "get_arm": "arms",
    "shown": "errors",
    "shipped_policy": "files",
    **dict.fromkeys(
        (
            "Frame",
            "coverage",
            "crop_size",
            "fit_tokens",
            "from_source",
            "iou",
            "problem",
            "to_source",
            "zoom_factor",
        ),
        "geometry",
    ),
    **dict.fromkeys(("FORMATS", "MAX_PIXELS", "open_image"), "images"),
    "environment_message": "protocol",
    **dict.fromkeys(("expected", "mean_interval", "student"), "stats"),
}

__getattr__, __dir__ = lazy(__name__, HOMES)
