"""Rewards of one's own: a function of a trajectory in a file, tried on two rollouts before anything is loaded.

pay = use_reward("my.py:mine")        # trajectory -> a number, or named numbers that are added up
pay = use_reward("grounded")          # a preset (`rewards`) is found in the same way
pinned_reward("my.py:mine")           # "/home/me/my.py:mine@0c1f5a2b9d3e"
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any

from PIL import Image

from ..core.errors import R3labError, shown
from ..core.files import assets_dir
from ..core.plugins import Plugins, check_function, tried
from ..core.records import parse
from ..trajectory import Trajectory, from_record
from ..vlir.sample import Sample
from .rewards import PRESETS, Paid, Reward, look_cost, paid, preset, region_grounded, score
from .when import LABEL


@lru_cache(maxsize=1)
def trials() -> list[Trajectory]:
    """Two rollouts on which a reward is tried: one that looked and answered, and one cut off before it had done either.

    Their pictures are blank, of the right sizes.
    """
    path = assets_dir() / "records" / "explained" / "trajectory.json"
    t = from_record(parse(path.read_text("utf-8"), path.name), path.name)
    refs = [t.image, *(look.crop for look in t.looks if look.crop)]
    t.images = {ref.hash: Image.new("RGB", (ref.width, ref.height)) for ref in refs}
    return [t, t.until(t.prompt_length + 3)]


def _checked(found: Any, where: str) -> Paid:
    """A function of a trajectory, or a preset of such functions by name, called once on each of `trials`."""
    reward: Paid = found
    if isinstance(found, Mapping):
        for name, one in found.items():
            check_function(one, f"{where}, {shown(name)}", "trajectory")
        reward = partial(_parts, found)
    check_function(reward, where, "trajectory")
    try_reward(reward, where)
    return reward


def try_reward(reward: Paid, where: str, truth: dict[str, Any] | None = None) -> None:
    """Call a reward on each of `trials`, with another truth if one is given; an `R3labError` says what is wrong."""
    for t in trials():
        t = t if truth is None else replace(t, truth=truth)
        found = tried(where, partial(reward, t))
        paid(t, lambda _, found=found: found, where)  # type: ignore[misc]


def _parts(parts: Mapping[str, Reward], t: Trajectory) -> dict[str, float]:
    return {name: reward(t) for name, reward in parts.items()}


OWN: Plugins[Paid] = Plugins("reward", {name: partial(score, name=name) for name in PRESETS}, _checked)


def use_reward(given: str | Paid | Mapping[str, Reward]) -> Paid:
    """The reward that a person gave: a preset, one `without` a part, ``FILE.py:NAME``, an entry point, or the function.

    Raises
    ------
    R3labError
        If it cannot be used (see `core.plugins`): it is called on two trajectories first.
    """
    if isinstance(given, str) and given.partition(" without ")[0] in PRESETS:
        preset(given)
        return partial(score, name=given)
    return OWN.use(given)


def check_known(name: str, samples: Sequence[Sample], when: str = LABEL) -> None:
    """Raise an `R3labError` if a preset, with a rule for when to look, pays by what samples do not say: whether a look
    is needed."""
    paying = {region_grounded, look_cost} if when == LABEL else {region_grounded}  # other rules replace the cost
    if name.partition(" without ")[0] not in PRESETS or not paying & {*preset(name).values()}:
        return
    silent = sum(sample.needs_look is None for sample in samples)
    if silent:
        raise R3labError(
            f"the reward {name!r} needs needs_look, true or false, of every sample, and a box where it is true; "
            f"{silent} of {len(samples)} lack it. Add it, or take --reward official-code, which needs only the answer"
        )


def pinned_reward(given: str) -> str:
    """The same name, once it is found usable, with the hash of its file (see `Plugins.pinned`)."""
    if given.partition(" without ")[0] in PRESETS:
        preset(given)
        return given
    return OWN.pinned(given)
