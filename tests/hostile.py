"""Records spoiled at random, for tests of readers."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from typing import Any


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
