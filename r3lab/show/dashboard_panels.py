"""What the dashboard can show: a panel a measure, in sections, each named in words.

A reward's components (`reward/NAME`) and the worlds of held-out samples (`held_out/WORLD`) are named by the log; all
else stands in the table. Simplified: one measure a panel, so that one run and twenty are read in the same way.

    [panel.title for panel in panels_of(["reward", "reward/format", "grad_norm"])]
    # ['Reward, mean of a step', 'Reward: format', 'Norm of the gradient']
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..errors import R3labError, nearest, shown
from ..train import ratio_bins
from .lettering import one_line
from .series import MEASURES

REWARD, HELD_OUT = "reward/", "held_out/"

# Sections with their measures, in the order of the page; a name with a slash at its end is a family.
SECTIONS: dict[str, tuple[str, ...]] = {
    "Reward": ("reward", REWARD, "reward_std", "zero_variance"),
    "Answers": ("exact", "exact_needed", "exact_unneeded", HELD_OUT, "answered"),
    "Looks": ("look_rate_needed", "look_rate_unneeded", "look_rate", "looks", "iou", "invalid"),
    "Update": (
        "approx_kl", "kl", "clip_fraction_low", "clip_fraction_high", ratio_bins.KEY, "ratio_mean", "ratio_max",
        "grad_norm", "loss", "learning_rate", "skipped",
    ),
    "Tokens": ("entropy", "entropy_bonus", "length", "token_accuracy"),
    "Time": ("seconds_rollout", "seconds_update", "redrawn"),
}  # fmt: skip

# Words, and whether it is a share, for what `series` does not name, or not shortly.
_MORE: dict[str, tuple[str, bool]] = {
    "exact_needed": ("Right where a look is needed", True),
    "exact_unneeded": ("Right where none is needed", True),
    "kl": ("KL from the reference", False),
    "entropy_bonus": ("Entropy in the loss", False),
    "learning_rate": ("Learning rate", False),
    "skipped": ("Updates left out", False),
    "token_accuracy": ("Right next tokens", True),
    "seconds_rollout": ("Seconds of the rollouts", False),
    "seconds_update": ("Seconds of the update", False),
    "redrawn": ("Groups drawn anew", False),
    ratio_bins.KEY: ("Log ratio of the tokens, at the end", True),
}
_SMALL = ("clip_fraction_low", "clip_fraction_high", "invalid")  # shares whose axis ends where they do


@dataclass(frozen=True)
class Panel:
    """One chart.

    Attributes
    ----------
    key : the measure
    title : in words; may hold foreign text, made harmless
    section : under which it stands
    share : drawn in per cent
    whole : its axis is 0 to 100 %
    bins : over bins of the log ratio, not over steps
    """

    key: str
    title: str
    section: str
    share: bool = False
    whole: bool = False
    bins: bool = False


def known(key: str) -> bool:
    """Whether the dashboard draws a measure of this name."""
    return key in _SECTION or any(key.startswith(prefix) and len(key) > len(prefix) for prefix in (REWARD, HELD_OUT))


_SECTION = {key: section for section, keys in SECTIONS.items() for key in keys if not key.endswith("/")}


def panel_of(key: str) -> Panel:
    """The panel of a measure.

    Raises
    ------
    R3labError
        If there is none, naming the nearest.
    """
    if key.startswith(REWARD) and len(key) > len(REWARD):
        return Panel(key, f"Reward: {one_line(key[len(REWARD) :], 40)}", "Reward")
    if key.startswith(HELD_OUT) and len(key) > len(HELD_OUT):
        return Panel(key, f"Held out, right: {one_line(key[len(HELD_OUT) :], 30)}", "Answers", True, True)
    if key not in _SECTION:
        raise R3labError(f"There is no panel for {shown(key)}.{nearest(str(key), _SECTION)}")
    words, share = _MORE[key] if key in _MORE else MEASURES[key]
    bins = key == ratio_bins.KEY
    return Panel(key, words, _SECTION[key], share, share and not bins and key not in _SMALL, bins)


def panels_of(keys: Iterable[str], wanted: Sequence[str] | None = None) -> list[Panel]:
    """The panels to draw.

    Parameters
    ----------
    keys
        Measures that the logs have.
    wanted
        Those asked for, in this order; by default all that the logs have, in the order of the page.

    Raises
    ------
    R3labError
        If one that was asked for is none, or in no log.
    """
    have = list(dict.fromkeys(keys))
    if wanted is not None:
        for key in wanted:
            if key not in have:
                raise R3labError(f"No log has {shown(key)}.{nearest(str(key), sorted(have))}")
        return [panel_of(key) for key in dict.fromkeys(wanted)]
    order: list[str] = []
    for names in SECTIONS.values():
        for name in names:
            order += [key for key in have if key.startswith(name) and key != name] if name.endswith("/") else [name]
    return [panel_of(key) for key in order if key in have and known(key)]


def missing(keys: Iterable[str]) -> list[str]:
    """Titles of the panels that these measures leave empty, of those that every log of R-GRPO should fill."""
    have = set(keys)
    wanted = [
        *("reward", "zero_variance", "look_rate_needed", "look_rate_unneeded", "invalid", "approx_kl"),
        *("clip_fraction_low", "clip_fraction_high", ratio_bins.KEY, "grad_norm", "entropy", "length"),
    ]
    titles = [panel_of(key).title for key in wanted if key not in have]
    held = any(key.startswith(HELD_OUT) for key in have)
    return titles if held else [*titles, "Held out, right"]
