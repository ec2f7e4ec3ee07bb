"""What everything else stands on: errors, boxes and their frames, safe pixels, the text protocol, files and records.

Nothing here knows a model, a world or a view. Here too: `lazy`, by which a package offers names that are imported when
they are first used, so that importing the package costs nothing.

    __getattr__, __dir__ = lazy(__name__, {"filmstrip": "show.filmstrip", "right": "train.rewards"})
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def lazy(package: str, homes: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """The `__getattr__` and `__dir__` of a package.

    A name must not be that of a module in the same package: the import system would put the module in its place.

    Parameters
    ----------
    package : its `__name__`
    homes : name -> module in which it is defined, relative to the package

    Raises
    ------
    AttributeError
        By the `__getattr__`, if the name is not one of `homes`, nor of the modules in which they are.
    """

    def find(name: str) -> Any:
        if name in {home.partition(".")[0] for home in homes.values()}:  # a module that nothing has imported yet
            return import_module(f"{package}.{name}")
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        found = getattr(import_module(f"{package}.{homes[name]}"), name)
        setattr(sys.modules[package], name, found)
        return found

    return find, lambda: sorted({*vars(sys.modules[package]), *homes})


# What lessons use.
HOMES = {
    "get_arm": "arms",
    "shown": "errors",
    "shipped_policy": "files",
    **dict.fromkeys(("Frame", "coverage", "crop_size", "fit_tokens", "from_source", "iou"), "geometry"),
    **dict.fromkeys(("problem", "to_source", "zoom_factor"), "geometry"),
    **dict.fromkeys(("FORMATS", "MAX_PIXELS", "open_image"), "images"),
    "environment_message": "protocol",
    **dict.fromkeys(("expected", "mean_interval", "student"), "stats"),
}

__getattr__, __dir__ = lazy(__name__, HOMES)
