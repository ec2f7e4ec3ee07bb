"""The one reader of command lines: the options of a command are the parameters of the function that it calls.

Parameters before the `*` are positional arguments, the others options; one whose type is a dataclass stands for its
fields. Names, types, choices and defaults come from the signature, help and example from the docstring (of a dataclass
from `metadata["help"]`, else from its attributes), so that nothing is declared twice. Names are whole, and an error is
one line with the nearest known name.

    def draw(path: str, *, steps: Count = 100, style: Literal["plain", "wide"] = "plain", out: str = "") -> int: ...

    from_command_line(draw, ["a.png", "--steps", "20"], "r3lab draw")                  # draw("a.png", steps=20)
    from_command_line(RgrpoSettings, ["--steps", "100"], "r3lab train rgrpo")          # RgrpoSettings(steps=100)
"""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import math
import types
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Annotated, Any, Literal, NamedTuple, NoReturn, TypeVar, Union, get_args, get_origin, get_type_hints

from .errors import R3labError, nearest

T = TypeVar("T")
ALL = "arguments"  # a parameter of this name gets them all, as they were given
_METAVARS = {int: "N", float: "X"}


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
    """Help that ends with an example which can be copied."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return text if text.startswith("example: ") else super()._fill_text(text, width, indent)


def at_least(least: float, kind: type[int] | type[float] = int, most: float = math.inf) -> Callable[[str], Any]:
    """What reads an option: a finite number from `least`, up to `most`."""

    def read(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = math.nan
        if not least <= value <= most or math.isinf(value):
            word = "whole number" if kind is int else "number"
            wanted = f"of at least {least:g}" if most == math.inf else f"from {least:g} to {most:g}"
            raise argparse.ArgumentTypeError(f"{text!r} is not a {word} {wanted}")
        return value

    return read


Count = Annotated[int, at_least(1)]
Whole = Annotated[int, at_least(0)]
Amount = Annotated[float, at_least(0, float)]
Share = Annotated[float, at_least(0, float, 1)]


def setting(default: Any, help: str, choices: Iterable[str] = ()) -> Any:
    """A dataclass field with a help text; `choices` are shown there, and whoever reads the value checks it."""
    return dataclasses.field(default=default, metadata={"help": help, "choices": tuple(choices)})


class Option(NamedTuple):
    """What a command takes: a parameter of its function, or a field of a dataclass among those."""

    name: str
    kind: Any  # its annotation
    default: Any
    positional: bool
    help: str
    choices: tuple[str, ...] = ()  # shown, and checked by whoever reads the value


def options_of(target: Callable[..., Any]) -> Iterator[Option]:
    """The options of a function or a dataclass; a parameter that is a dataclass stands for its fields."""
    kinds, told = get_type_hints(target, include_extras=True), documented(target)
    fields = {one.name: one.metadata for one in dataclasses.fields(target)} if dataclasses.is_dataclass(target) else {}
    for name, one in inspect.signature(target).parameters.items():
        held: Any = fields.get(name, {})
        if name == ALL:
            continue
        if dataclasses.is_dataclass(kinds[name]):
            yield from options_of(kinds[name])  # type: ignore[arg-type]
        else:
            positional = not fields and one.kind is not one.KEYWORD_ONLY
            text = held.get("help") or told.get(name, "")
            yield Option(name, kinds[name], one.default, positional, text, held.get("choices", ()))


def documented(target: Callable[..., Any]) -> dict[str, str]:
    """What a docstring says of each parameter, in lines of the form `name, other : text`."""
    text = inspect.getdoc(target) or ""
    for title in ("Parameters", "Attributes"):
        text = text.partition(f"{title}\n{'-' * len(title)}\n")[2].partition("\n\n")[0] or text
    found: dict[str, str] = {}
    names: list[str] = []
    for line in text.splitlines():
        before, colon, words = line.partition(" : ")
        if colon and not line.startswith(" "):
            names = before.split(", ")
        found |= {name: f"{found.get(name, '')} {words or line.strip()}".strip() for name in names}
    return found


def declare(reader: Reader, option: Option) -> None:
    """Add an option to a reader; what is not given stays out of the result, and the function's own default holds."""
    kind, notes = _plain(option.kind)
    many = get_origin(kind)
    item, more = _plain(get_args(kind)[0]) if many in (Sequence, tuple) else (kind, [])
    flag = option.name.strip("_").replace("_", "-")
    text = " ".join([option.help, *(note for note in notes + more if isinstance(note, str))])
    shown = " ".join(map(str, option.default)) if isinstance(option.default, tuple) else option.default
    silent = shown is False or shown == "" or not isinstance(shown, str | int | float) or "default" in text
    if not silent:
        text += f" (default: {shown})"
    given: dict[str, Any] = {"help": text.replace("%", "%%"), "default": argparse.SUPPRESS}
    if kind is bool:
        given["action"] = argparse.BooleanOptionalAction if option.default else "store_true"
    elif get_origin(item) is Literal:
        given["choices"] = get_args(item)
    else:
        given["type"] = next((note for note in notes + more if callable(note)), item)
        given["metavar"] = f"{{{','.join(option.choices)}}}" if option.choices else _METAVARS.get(item, flag.upper())
    if many is tuple:
        given["nargs"] = len(get_args(kind))
    elif many is Sequence and len(flag) == 1:
        given["action"] = "append"
    elif many is Sequence:
        given |= {"nargs": "+"} | ({} if option.positional else {"action": "extend"})
    required = option.default is inspect.Parameter.empty
    if option.positional:
        given |= {"metavar": flag} | ({} if required else {"nargs": "*" if many is Sequence else "?"})
        reader.add_argument(option.name, **given)
    else:
        flags = ["-o", "--out"] if flag == "out" else [f"-{flag}" if len(flag) == 1 else f"--{flag}"]
        reader.add_argument(*flags, dest=option.name, required=required, **given)


def _plain(kind: Any) -> tuple[Any, list[Any]]:
    """A type without None beside it, and the notes of its `Annotated`: what reads it, and words for the help."""
    notes: list[Any] = []
    while get_origin(kind) in (Union, types.UnionType, Annotated):
        first, *rest = get_args(kind)
        notes += rest if get_origin(kind) is Annotated else []
        kind = first
    return kind, notes


def from_command_line(
    target: Callable[..., T], arguments: Sequence[str], program: str, about: str = "", example: str = ""
) -> T:
    """Call a function, or make a dataclass of settings, with what the arguments give its options.

    Parameters
    ----------
    target : the function of a command, or a dataclass
    arguments : behind the command's name
    program : the command, for help and errors
    about, example : for the help; by default the docstring's first paragraph, and its line that begins with `program`
    """
    lines = (inspect.getdoc(target) or "").split("\n")
    example = example or next((line.strip() for line in lines if line.strip().startswith(f"{program} ")), "")
    reader = Reader(prog=program, description=(about or lines[0]).replace("%", "%%"), example=example)
    for option in options_of(target):
        declare(reader, option)
    return _called(target, {ALL: arguments, **vars(reader.parse_args(list(arguments)))})


def _called(target: Callable[..., T], values: dict[str, Any]) -> T:
    """The target with its share of the values, dataclasses among its parameters made of theirs."""
    kinds = get_type_hints(target)
    made = {
        name: _called(kinds[name], values) if dataclasses.is_dataclass(kinds[name]) else values[name]
        for name in inspect.signature(target).parameters
        if name in values or dataclasses.is_dataclass(kinds[name])
    }
    return target(**made)


def check_positive(settings: Any, *names: str) -> None:
    """Every named setting must be above zero."""
    for name in names:
        if getattr(settings, name) <= 0:
            raise R3labError(f"{name} must be above zero, got {getattr(settings, name)}")
