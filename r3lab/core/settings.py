"""The one reader of command lines: options of a command, or a frozen dataclass of settings, a flag a field.

Every command declares its options with a `Reader`: whole names only, choices and defaults in its help with an example,
and one line for an error, with the nearest known name. A field's help is its `metadata["help"]`.

    args = Reader(prog="r3lab show", description="Show it.", example="r3lab show runs/asked").parse_args(["--help"])
    settings = from_command_line(RgrpoSettings, ["--steps", "100"], "r3lab train rgrpo", "R-GRPO on a checkpoint.")
"""

from __future__ import annotations

import argparse
import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NoReturn, TypeVar

from .errors import R3labError, nearest

T = TypeVar("T")
_TYPES: dict[str, Callable[[str], Any]] = {"int": int, "float": float, "str": str}
_METAVARS = {"int": "N", "float": "X", "str": "TEXT"}


class Reader(argparse.ArgumentParser):
    """The options of one command, as argparse declares them.

    Parameters
    ----------
    example
        A whole command, for the end of the help.
    **given
        As for `argparse.ArgumentParser`.
    """

    def __init__(self, *, example: str = "", **given: Any) -> None:
        super().__init__(
            epilog=example and f"example: {example}", formatter_class=_Help, allow_abbrev=False, **given
        )  # fmt: skip

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        """As argparse does, but what is not known is an error here, where the known names are."""
        found, rest = super().parse_known_args(args, namespace)
        if rest and rest[0].startswith("-"):
            known = [name for action in self._actions for name in action.option_strings]
            self.error(f"unknown option {rest[0]!r}.{nearest(rest[0].partition('=')[0], known)}")
        if rest:
            self.error(f"unrecognized argument {rest[0]!r}")
        return found, rest

    def error(self, message: str) -> NoReturn:
        """Leave with one line and code 2."""
        self.exit(2, f"{self.prog}: error: {message} (`{self.prog} --help` shows all)\n")


class _Help(argparse.HelpFormatter):
    """Help in which every option says its default."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        value, text = action.default, action.help
        told = " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
        silent = not action.option_strings or action.nargs == 0 or value in (None, argparse.SUPPRESS) or not told
        return text if silent or "default" in (text or "") else f"{text} (default: {told})"

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return text if text.startswith("example: ") else super()._fill_text(text, width, indent)  # to be copied


def at_least(least: float, kind: type[int] | type[float] = int) -> Callable[[str], Any]:
    """A type for an option: a finite number from `least` up."""

    def read(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = math.nan
        if not least <= value < math.inf:
            word = "whole number" if kind is int else "number"
            raise argparse.ArgumentTypeError(f"{text!r} is not a {word} of at least {least:g}")
        return value

    return read


def setting(default: Any, help: str, choices: Iterable[str] = ()) -> Any:
    """A dataclass field with a help text; `choices` are shown there, and whoever reads the value checks it."""
    return dataclasses.field(default=default, metadata={"help": help, "choices": tuple(choices)})


def from_command_line(kind: type[T], arguments: Sequence[str], program: str, about: str, example: str = "") -> T:
    """Read a settings dataclass from `--name value` (`--name` / `--no-name` for booleans)."""
    reader = Reader(prog=program, description=about, example=example)
    for field in dataclasses.fields(kind):  # type: ignore[arg-type]
        flag, of = "--" + field.name.replace("_", "-"), str(field.type)
        text = f"{field.metadata['help']} (default: {field.default})".replace("%", "%%")
        if of == "bool":
            reader.add_argument(flag, action=argparse.BooleanOptionalAction, default=field.default, help=text)
            continue
        choices = ",".join(field.metadata["choices"])
        metavar = f"{{{choices}}}" if choices else _METAVARS[of]
        reader.add_argument(flag, type=_TYPES[of], default=field.default, help=text, metavar=metavar)
    return kind(**vars(reader.parse_args(list(arguments))))


def check_positive(settings: Any, *names: str) -> None:
    """Every named setting must be above zero."""
    for name in names:
        if getattr(settings, name) <= 0:
            raise R3labError(f"{name} must be above zero, got {getattr(settings, name)}")
