"""Where the browser is that tests drive."""

from __future__ import annotations

import os
import shutil

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
MISSING = "no Chromium here: install it (Debian: apt-get install chromium) or set R3LAB_CHROMIUM"


def executable() -> str | None:
    """Its path: the one that R3LAB_CHROMIUM names, else one on the path; None if there is none."""
    return os.environ.get("R3LAB_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
