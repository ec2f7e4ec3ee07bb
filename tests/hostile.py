"""Records spoiled at random, for tests of readers."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from typing import Any

JUNK: list[Any] = [
    None, True, 1, -1, 10**400, 1e308, float("nan"), float("inf"), "", " \n", "\ud800", "\0", "a" * 1_200_000, [], {},
    [[]], [None] * 4, [float("nan")] * 4, [1, 2, float("inf"), 4], [0, 0, 10**400, 9], ["1", "2", "3", "4"],
    [True, False, True, True], [9, 9, 1, 1], [-1e300, 0, 1e300, 5], [1] * 5000, [[1, 1, 9, 9]] * 5000,
    [{"text": "x"}] * 5000, {"text": "<script>alert(1)</script>", "box": [1, 1, 9, 9]}, {"__class__": "os.system"},
    {"bytes": "x", "path": "../secret.png"}, {"py/object": "os.system", "py/reduce": ["touch pwned"]},
    "../secret.png", "/etc/passwd", "x/../../secret.png", "link.png", "C:\\secret.png", "a.jpg\0.png", "0" * 64,
    "<script>alert(1)</script>", "\x1b[2J", "<answer>", "</think>" * 999, '{"bbox_2d": [1, 2, 3, NaN]}',
    '<tool_call>{"name": "x"', "[1e999, 0, 1, 1]",
]  # fmt: skip


def spoiled(record: Any, rng: random.Random, junk: Sequence[Any]) -> Any:
    """The record with junk in one place, chosen at random among all of its places, or without that place."""
    places: list[tuple] = []

    def walk(value: Any, path: tuple) -> None:
        if path:
            places.append(path)
        keys = value.keys() if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
        for key in keys:
            walk(value[key], (*path, key))

    walk(record, ())
    copy = json.loads(json.dumps(record))
    *way, last = rng.choice(places)
    target = copy
    for key in way:
        target = target[key]
    if rng.random() < 0.1 and isinstance(target, dict):
        del target[last]
    else:
        target[last] = rng.choice(junk)
    return copy
