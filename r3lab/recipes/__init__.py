"""How what ships was made: the policies, the ablations, the planted reasons, the records of the gallery."""

from __future__ import annotations

from ..core import lazy

# What lessons use, imported when it is first used.
HOMES = {
    **dict.fromkeys(("FULL", "VARIANTS", "again", "band", "effects", "level", "measured"), "ablations"),
    **dict.fromkeys(("outcomes", "rows_of", "settings_of", "updates_of", "values_of"), "ablations"),
    **dict.fromkeys(("Heads", "POINTING_HEADS", "POINTING_LAYER", "lesson_rows", "train_base"), "base"),
    **dict.fromkeys(("CELLS", "FACTOR", "Lessons", "NAMES", "OVERVIEW", "Stage", "vocabulary"), "lessons"),
    **dict.fromkeys(("others_of", "plant", "rolled", "told"), "planted"),
    **dict.fromkeys(("PLANTS", "tint_of"), "reasons"),
    **dict.fromkeys(("BASE", "prepare"), "policies"),
    "Budget": "settings",
}

__getattr__, __dir__ = lazy(__name__, HOMES)
