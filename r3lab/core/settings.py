"""Command-line settings from a frozen dataclass: one place where a name, its type, its default and its help stand.

    settings = from_command_line(RgrpoSettings, ["--steps", "100"], "r3lab train rgrpo", "R-GRPO on a checkpoint.")

Each field's help is its `metadata["help"]`. An unknown name is an error that names the nearest known one.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from typing import Any, TypeVar

from .errors import R3labError, nearest

T = TypeVar("T")
_TYPES = {"int": int, "float": float, "str": str, "bool": bool}


def setting(default: Any, help: str) -> Any:
    """A dataclass field with a help text."""
    return dataclasses.field(default=default, metadata={"help": help})


def from_command_line(kind: type[T], arguments: Sequence[str], program: str, about: str) -> T:
    """Read a settings dataclass from `--name value` (`--name` / `--no-name` for booleans)."""
    parser = argparse.ArgumentParser(prog=program, description=about, allow_abbrev=False)
    names = []
    for field in dataclasses.fields(kind):  # type: ignore[arg-type]
        flag = "--" + field.name.replace("_", "-")
        names.append(flag)
        text = f"{field.metadata['help']} (default: {field.default})".replace("%", "%%")
        if field.type == "bool":
            parser.add_argument(flag, action=argparse.BooleanOptionalAction, default=field.default, help=text)
        else:
            parser.add_argument(
                flag, type=_TYPES[str(field.type)], default=field.default, help=text, metavar=str(field.type)
            )
    known, unknown = parser.parse_known_args(list(arguments))
    if unknown:
        print(f"{program}: unknown option {unknown[0]!r}.{nearest(unknown[0], names)}", file=sys.stderr)
        raise SystemExit(2)
    return kind(**vars(known))


def check_positive(settings: Any, *names: str) -> None:
    """Every named setting must be above zero."""
    for name in names:
        if getattr(settings, name) <= 0:
            raise R3labError(f"{name} must be above zero, got {getattr(settings, name)}")
