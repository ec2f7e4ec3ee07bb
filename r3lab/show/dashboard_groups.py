"""Which runs belong together: those that differ in nothing but the seed are one group, drawn as a mean with a band.

A label that is given decides. Else, where every log holds its settings, runs are named after the settings that differ;
where they do not, after their files, so that `rgrpo-0.jsonl` and `rgrpo-1.jsonl` of a folder are two seeds of `rgrpo`.
`by="run"` keeps every run apart, `by="reward"` (any setting) groups by that alone.

    groups_of([read_log_file("runs/a"), read_log_file("runs/b")])    # {"group=5": [...], "group=8": [...]}
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import R3labError, nearest, shown
from .dashboard_logs import Log
from .lettering import one_line

AUTO, RUN = "auto", "run"
MOST = 36  # groups: so many pairs of colour and dash there are
# Settings that change nothing of what is learned, or only how long.
_APART = frozenset(
    {"seed", "out", "steps", "resume", "save_every", "keep", "show_every", "trackers", "shard", "pass_groups"}
)


def groups_of(logs: Sequence[Log], by: str = AUTO) -> dict[str, list[Log]]:
    """Logs by the name of their group, in order.

    Parameters
    ----------
    by
        "auto", "run", or the name of a setting; see the module's docstring.

    Raises
    ------
    R3labError
        If a log does not hold that setting, or there are more than 36 groups.
    """
    if by == RUN:
        names = _distinct([log.name for log in logs])
    elif by == AUTO:
        names = _by_settings(logs) if all(log.settings for log in logs) else _by_name(logs)
    else:
        for log in logs:
            if by not in log.settings:
                have = f"{len(log.settings)} settings" if log.settings else "no settings"
                raise R3labError(
                    f"The log of {shown(log.name)} holds {have}, none named {shown(by)}; take auto, run or a setting "
                    f"that every log has.{nearest(by, [AUTO, RUN, *map(str, log.settings)])}"
                )
        names = [_setting(log.settings, by) for log in logs]
    found: dict[str, list[Log]] = {}
    for name, log in zip(names, logs, strict=True):
        found.setdefault(name, []).append(log)
    if len(found) > MOST:
        raise R3labError(f"{len(found)} groups of runs are more than can be told apart; draw at most {MOST}, or group.")
    return found


def _setting(settings: Mapping[str, Any], key: str) -> str:
    return f"{one_line(key, 30)}={one_line(settings.get(key), 40) or 'none'}"


def _by_settings(logs: Sequence[Log]) -> list[str]:
    """The settings that differ; the runs' common name where none does."""
    keys = [key for key in logs[0].settings if key not in _APART]
    keys += [key for log in logs for key in log.settings if key not in _APART and key not in keys]
    differ = [key for key in keys if len({repr(log.settings.get(key)) for log in logs}) > 1][:4]
    if differ:
        return [", ".join(_setting(log.settings, key) for key in differ) for log in logs]
    return _by_name(logs) if len({_stem(log.name) for log in logs}) == 1 else ["runs"] * len(logs)


def _by_name(logs: Sequence[Log]) -> list[str]:
    """Names without a number at their end, where that brings several together; else the names."""
    stems = [_stem(log.name) for log in logs]
    names = [log.name for log in logs]
    return [
        stem if stem and stems.count(stem) > 1 else name for stem, name in zip(stems, _distinct(names), strict=True)
    ]


def _stem(name: str) -> str:
    return re.sub(r"[-_. ]?(?:seed[-_ ]?)?\d{1,6}$", "", one_line(name, 80))


def _distinct(names: Sequence[str]) -> list[str]:
    """Each name once: a later one that is there already gets a number."""
    found: list[str] = []
    for name in names:
        base = one_line(name, 80) or "run"
        plain, number = base, 2
        while plain in found:
            plain, number = f"{base} ({number})", number + 1
        found.append(plain)
    return found
