"""r3lab: a lab for vision-language models that look again while they reason (VLM-R3, arXiv 2505.16192).

    import r3lab
    policy = r3lab.load("cold-start")
    samples = r3lab.samples("badges", 200, split="test")
    before = policy.rollout(samples)                      # a list of trajectories, with .summary()
    r3lab.train(policy, "badges", steps=100, log=r3lab.live())
    r3lab.compare(before, policy.rollout(samples))        # a picture with its alt text

This is the front door: every name below is imported when it is first used, so that `import r3lab` and `r3lab --help`
cost nothing. `train`, `explain` and `rollout` are rooms (folders of modules) that can be called as well.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import Any

from r3lab.core import lazy

__version__ = "0.1.0"

HOMES = {  # name of the front door -> the module that it lives in
    **dict.fromkeys(("load", "samples", "live", "compare", "report", "LabPolicy", "Rollouts"), "lab"),
    **dict.fromkeys(("Trajectory", "Kind"), "trajectory"),
    "Policy": "models.policy",
    "R3labError": "core.errors",
    "assets_dir": "core.files",
    **dict.fromkeys(("cut", "resize"), "core.images"),
    **dict.fromkeys(("get_world", "world_batches"), "vlir.worlds"),
    "RgrpoSettings": "train.settings",
    **dict.fromkeys(("right", "deciding_look"), "train.rewards"),
    "summary": "train.log",
    "Picture": "show.picture",
    "filmstrip": "show.filmstrip",
    "play": "show.player",
    "ribbon": "show.ribbon",
    "group_view": "show.rollouts",
    "curves": "show.curves",
    "dashboard": "show.dashboard",
    "browse": "show.browser",
    "be_the_policy": "show.play",
    "load_records": "show.gallery",
    "record": "run.record",
}
VERBS = (
    "train",
    "explain",
    "rollout",
)  # rooms that can be called: `r3lab.train(policy, ...)`, and `r3lab.train.rgrpo` as ever

NAMES = (*HOMES, *VERBS)
__all__ = [*NAMES, "__version__"]


class _Room(ModuleType):
    """A room that is a verb of the front door too."""

    def __call__(self, *given: Any, **named: Any) -> Any:
        return getattr(import_module("r3lab.lab"), self.__name__.rpartition(".")[2])(*given, **named)


class _FrontDoor(ModuleType):
    """The package; it hears when the import system puts a room into it."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name in VERBS and isinstance(value, ModuleType):
            value.__class__ = _Room
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _FrontDoor


_find, _names = lazy(__name__, HOMES)


def __getattr__(name: str) -> Any:
    return import_module(f"r3lab.{name}") if name in VERBS else _find(name)


def __dir__() -> list[str]:
    return sorted({*_names(), *NAMES})
