"""How foreign JSON is read: a table of fields, each with a reader; an error names field, value and what was wanted.

A reader is a function ``(value, where) -> value`` that returns what it was given, made into what it stands for, or
raises a `SchemaError` that begins with `where`. Readers of small things make readers of large ones. `fields` reads a
record of another project, which may hold more than is wanted; `made` reads one of ours, where an unknown field is an
error, and `reader` makes that of a dataclass from the types of its fields. Text is only data: markup in it is kept as
it stands, and escaped by what shows it.

    point = reader(Point)                      # a dataclass with the fields x: float, y: float
    point({"x": 1, "y": "2"}, "file.json")     # SchemaError: file.json: y must be a finite number, got '2'.
    fields(row.data, {"question": text_of(4000)}, {"split": text})      # {"question": "Why?", "split": None}
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import fields as fields_of
from enum import Enum
from types import NoneType
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from .errors import R3labError, nearest, shown

MAX_RECORD = 8 << 20  # bytes of one record's text; a caller whose records hold images as text gives another limit

Read = Callable[[Any, str], Any]  # value, where it stands


class ForeignError(R3labError):
    """A file that cannot be used; it ends the reading. The message names file, line, what came and what was wanted."""


class Refused(ForeignError):
    """One record that does not fit; the next ones are read.

    Parameters
    ----------
    reason : few words of our own, without foreign text; records are counted by it
    detail : what came and what was wanted
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason


class SchemaError(Refused):
    """A field that does not fit; the message names the field, what it holds and what was wanted."""

    def __init__(self, message: str, reason: str = "a field that does not fit") -> None:
        super().__init__(message)
        self.reason = reason


def parse(text: str | bytes, where: str) -> Any:
    """JSON text as plain data; a key given twice, broken or bottomless JSON is a `SchemaError`."""
    try:
        return json.loads(text, object_pairs_hook=_distinct)
    except (ValueError, RecursionError) as error:
        message = f"{where} is not valid JSON ({shown(str(error))}); save it again."
        raise SchemaError(message, "not valid JSON") from error


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) != len(pairs):
        raise ValueError("a key is given twice")
    return dict(pairs)


def of(wanted: str, fits: Callable[[Any], bool], make: Callable[[Any], Any] = lambda value: value) -> Read:
    """A reader of values that `fits` accepts, passed through `make`; `wanted` says in words what fits."""

    def read(value: Any, where: str) -> Any:
        if not fits(value):
            field = where.partition("[")[0]  # a reason holds no foreign key, and does not count by place
            raise SchemaError(f"{where} must be {wanted}, got {shown(value)}.", f"{field} must be {wanted}")
        return make(value)

    return read


def maybe(read: Read) -> Read:
    """None, or what `read` reads."""
    return lambda value, where: None if value is None else read(value, where)


def row(read: Read, most: int | None = None) -> Read:
    """A list of what `read` reads, of at most `most` where that is given."""
    plain = of("a list", lambda value: isinstance(value, list))

    def read_all(value: Any, where: str) -> list[Any]:
        if most is not None and len(plain(value, where)) > most:
            reason = f"{where.partition('[')[0]} has too many members"
            raise SchemaError(f"{where} has {len(value):,} members; at most {most:,} can be read.", reason)
        return [read(v, f"{where}[{i}]") for i, v in enumerate(plain(value, where))]

    return read_all


def fixed(read: Read, size: int) -> Read:
    """A list of exactly `size`, as a tuple."""
    plain = of(f"a list of {size}", lambda value: isinstance(value, list) and len(value) == size)
    return lambda value, where: tuple(row(read)(plain(value, where), where))


_object = of("an object", lambda value: isinstance(value, dict) and all(isinstance(k, str) for k in value))


def mapping(read: Read) -> Read:
    """An object with any keys, whose values `read` reads."""
    return lambda value, where: {k: read(v, f"{where}[{shown(k, 40)}]") for k, v in _object(value, where).items()}


def fields(
    record: Any, wanted: Mapping[str, Read], optional: Mapping[str, Read] | None = None, where: str = ""
) -> dict[str, Any]:
    """The fields of a record, read; what else it holds is passed over.

    Parameters
    ----------
    record
        Foreign; should be an object.
    wanted, optional
        Reader by name; an optional field that is missing, None or empty text (a table's empty cell) is None.
    where
        What the record is, for messages; "" where they are put behind its place anyway.

    Raises
    ------
    SchemaError
        If a wanted field is missing, or one does not fit its reader.
    """
    data, start = _object(record, where or "the record"), f"{where}: " if where else ""
    for name in wanted:
        if name not in data:
            hint = nearest(name, data) or " Add it, or name the format of the file."
            raise SchemaError(f"{start}the field {name!r} is missing.{hint}", f"the field {name!r} is missing")
    values = {name: read(data[name], f"{start}{name}") for name, read in wanted.items()}
    for name, read in (optional or {}).items():
        value = data.get(name)
        values[name] = None if value is None or value == "" else read(value, f"{start}{name}")
    return values


def made(make: Callable[..., Any], **table: Read) -> Read:
    """An object with exactly the fields of `table`, handed to `make` by name."""

    def read(value: Any, where: str) -> Any:
        for key in _object(value, where):
            if key not in table:
                raise SchemaError(f"{where} has the unknown field {shown(key)}.{nearest(key, table)}")
        return make(**fields(value, table, where=where))

    return read


def _finite(value: Any) -> bool:
    try:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # an integer past the largest float
        return False


def _is_text(value: Any, most: int, blank: bool) -> bool:
    if not isinstance(value, str) or len(value) > most:
        return False
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:  # half a surrogate pair
        return False
    return blank or any(c.isprintable() and not c.isspace() for c in value)


def text_of(most: int, blank: bool = False) -> Read:
    """Valid Unicode of at most `most` characters; with one to be seen, unless it may be `blank`."""
    wanted = f"text of {0 if blank else 1} to {most:,} characters of Unicode{'' if blank else ', not blank'}"
    return of(wanted, lambda value: _is_text(value, most, blank))


def between(least: int, most: int) -> Read:
    """A whole number from `least` to `most`."""
    wanted = f"a whole number from {least:,} to {most:,}"
    return of(wanted, lambda value: type(value) is int and least <= value <= most)


whole = of("a whole number", lambda value: type(value) is int)
count = of("a whole number from 0", lambda value: type(value) is int and value >= 0)
number = of("a finite number", _finite, float)
text = of("text", lambda value: isinstance(value, str))
flag = of("true or false", lambda value: isinstance(value, bool))
sha256 = of("64 digits of 0-9a-f", lambda value: isinstance(value, str) and bool(re.fullmatch("[0-9a-f]{64}", value)))
box = fixed(number, 4)  # [x1, y1, x2, y2]
_scalar = of("JSON with finite numbers", lambda v: v is None or isinstance(v, str | bool) or _finite(v))


def free(value: Any, where: str) -> Any:
    """Any JSON with finite numbers."""
    nested: Read = mapping(free) if isinstance(value, dict) else row(free) if isinstance(value, list) else _scalar
    return nested(value, where)


def anything(value: Any, where: str) -> Any:
    """Whatever it is: what comes next checks it."""
    return value


_PLAIN: dict[Any, Read] = {int: whole, float: number, str: text, bool: flag, Any: free}


def reader(kind: Any) -> Read:
    """The strict reader of a type.

    Parameters
    ----------
    kind : int, float, str, bool, Any (JSON), an enumeration by value, a dataclass; list, tuple, dict of these; one of
        these or None; `Annotated[type, reader]` with a reader of its own
    """
    inner, origin = get_args(kind), get_origin(kind)
    if origin is Annotated:
        return inner[1]
    if NoneType in inner:
        return maybe(reader(inner[0]))
    if origin is list:
        return row(reader(inner[0]))
    if origin is dict:
        return mapping(reader(inner[1]))
    if origin is tuple:
        return _tuple_reader(inner)
    if isinstance(kind, type) and issubclass(kind, Enum):
        values = [one.value for one in kind]
        return of(f"one of {', '.join(map(str, values))}", lambda value: value in values, kind)
    return _PLAIN[kind] if kind in _PLAIN else made(kind, **readers(kind))


def _tuple_reader(inner: tuple[Any, ...]) -> Read:
    if inner[1] is ...:
        every = row(reader(inner[0]))
        return lambda value, where: tuple(every(value, where))
    sized, each = fixed(anything, len(inner)), [reader(one) for one in inner]
    return lambda value, where: tuple(
        read(v, f"{where}[{i}]") for i, (read, v) in enumerate(zip(each, sized(value, where), strict=True))
    )


def readers(kind: Any, *without: str) -> dict[str, Read]:
    """The reader of each field of a dataclass but some."""
    types = get_type_hints(kind, include_extras=True)
    return {f.name: reader(types[f.name]) for f in fields_of(kind) if f.name not in without}


def own_format(record: Any, name: str, version: int, where: str) -> dict[str, Any]:
    """The fields of a record in a format of ours, without those that name it.

    Raises
    ------
    SchemaError
        If it is of another format (``"r3lab.trajectory"``) or version.
    """
    if not isinstance(record, dict) or record.get("format") != name:
        raise SchemaError(f'{where} is no {name.partition(".")[2]}: it lacks "format": "{name}".')
    if type(record.get("version")) is not int or record["version"] != version:
        got = shown(record.get("version"))
        raise SchemaError(f"{where} has version {got}; this r3lab reads {version}: update it.")
    return {key: value for key, value in record.items() if key not in ("format", "version")}
