"""How many samples a second each world makes on one core, once its photographs and fonts are at hand.

    python tests/bench/worlds.py --count 200

The target is 100. Processor time is measured, so a busy machine slows it less than a clock would say.
"""

from __future__ import annotations

import argparse
import time

from r3lab.vlir.worlds import WORLDS, World
from r3lab.vlir.worlds.material import SPLITS

TARGET = 100


def speed(world: World, split: str, count: int) -> float:
    """Samples a second of processor time; as many are made before, so that photographs and fonts are at hand."""
    for index in range(count):
        world.sample(split, index, 0)
    start = time.process_time()
    for index in range(count, 2 * count):
        world.sample(split, index, 0)
    return count / max(time.process_time() - start, 1e-9)


def main() -> None:
    """Print a line a world."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=200, help="samples that are timed (default: 200)")
    parser.add_argument("--split", choices=SPLITS, default="train")
    args = parser.parse_args()
    for name, world in WORLDS.items():
        rate = speed(world, args.split, args.count)
        print(f"{name:<12}{rate:6.0f} samples a second{'' if rate >= TARGET else f'  (target: {TARGET})'}")


if __name__ == "__main__":
    main()
