"""A row of a foreign file as it stands there, and the limits that one must keep."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from typing import Any, NamedTuple

from .errors import R3labError, nearest, shown

# Strict reading of JSON records: a table of fields, and errors that name the one that is wrong.
#
# A reader is a function ``(value, where) -> value`` that returns what it was given, made into what it stands
# for, or raises a `SchemaError` that begins with `where`. Readers of small things make readers of large ones.
# Simplified: no defaults and no unions but None; a record that lacks a field, or has one too many, is wrong.
#
#     point = made(Point, x=number, y=number)
#     point({"x": 1, "y": "2"}, "file.json")     # SchemaError: file.json: y must be a finite number, got '2'.

Read = Callable[[Any, str], Any]  # value, where it stands


class SchemaError(R3labError):
    """A record that does not fit; the message names the field, what it holds and what was wanted."""


def parse(text: str, where: str) -> Any:
    """JSON text as plain data; a key given twice, broken or bottomless JSON is a `SchemaError`."""
    try:
        return json.loads(text, object_pairs_hook=_distinct)
    except (ValueError, RecursionError) as error:
        raise SchemaError(f"{where} is not valid JSON ({shown(str(error))}); save it again.") from error


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) != len(pairs):
        raise ValueError("a key is given twice")
    return dict(pairs)


def of(wanted: str, fits: Callable[[Any], bool], make: Callable[[Any], Any] = lambda value: value) -> Read:
    """A reader of values that `fits` accepts, passed through `make`; `wanted` says in words what fits."""

    def read(value: Any, where: str) -> Any:
        if not fits(value):
            raise SchemaError(f"{where} must be {wanted}, got {shown(value)}.")
        return make(value)

    return read


def maybe(read: Read) -> Read:
    """None, or what `read` reads."""
    return lambda value, where: None if value is None else read(value, where)


def row(read: Read) -> Read:
    """A list of what `read` reads."""
    plain = of("a list", lambda value: isinstance(value, list))
    return lambda value, where: [read(v, f"{where}[{i}]") for i, v in enumerate(plain(value, where))]


def fixed(read: Read, size: int) -> Read:
    """A list of exactly `size`, as a tuple."""
    plain = of(f"a list of {size}", lambda value: isinstance(value, list) and len(value) == size)
    return lambda value, where: tuple(row(read)(plain(value, where), where))


def mapping(read: Read) -> Read:
    """An object with any keys, whose values `read` reads."""
    plain = of("an object", lambda value: isinstance(value, dict) and all(isinstance(k, str) for k in value))
    return lambda value, where: {k: read(v, f"{where}[{shown(k, 40)}]") for k, v in plain(value, where).items()}


def made(make: Callable[..., Any], **table: Read) -> Read:
    """An object with exactly the fields of `table`, handed to `make` by name."""
    plain = of("an object", lambda value: isinstance(value, dict) and all(isinstance(k, str) for k in value))

    def read(value: Any, where: str) -> Any:
        record = plain(value, where)
        for key in record:
            if key not in table:
                raise SchemaError(f"{where} has the unknown field {shown(key)}.{nearest(key, table)}")
        for key in table:
            if key not in record:
                raise SchemaError(f"{where} lacks the field {key!r}; save it again.")
        return make(**{key: check(record[key], f"{where}: {key}") for key, check in table.items()})

    return read


def _finite(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer past the largest float
        return False


whole = of("a whole number", lambda value: type(value) is int)
count = of("a whole number from 0", lambda value: type(value) is int and value >= 0)
number = of("a finite number", _finite, float)
text = of("text", lambda value: isinstance(value, str))
flag = of("true or false", lambda value: isinstance(value, bool))
sha256 = of("64 digits of 0-9a-f", lambda value: isinstance(value, str) and bool(re.fullmatch("[0-9a-f]{64}", value)))
_scalar = of("JSON with finite numbers", lambda v: v is None or isinstance(v, str | bool) or _finite(v))


def free(value: Any, where: str) -> Any:
    """Any JSON with finite numbers."""
    nested: Read = mapping(free) if isinstance(value, dict) else row(free) if isinstance(value, list) else _scalar
    return nested(value, where)


# The two errors about foreign data: a file that cannot be used, and one record that does not fit.


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


MAX_RECORD = 8 << 20  # bytes of one record's text; a caller whose records hold images as text gives another limit
MAX_EVENTS = 200_000  # values and keys in one record of a JSON document
MAX_MARKS = 2_000_000  # commas and brackets in one line of JSON lines: each can make an object of 60 bytes
MAX_DEPTH = 64  # lists and objects inside each other


class Row(NamedTuple):
    """One record as it stands in the file.

    Attributes
    ----------
    where : file and line (or record number), for messages
    number : of the line or record, from 1
    data : the object; {} where there is a problem
    problem : why there is no data
    key : the name it has, in an object of objects
    """

    where: str
    number: int
    data: dict[str, Any]
    problem: Refused | None = None
    key: str | None = None


def too_large(limit: int, values: int) -> Refused:
    """The problem of a record over `limit` bytes, or over so many values."""
    return Refused("a record that is too large", f"over {limit:,} bytes or {values:,} values; shorten it")


def too_deep() -> Refused:
    """The problem of a record of over `MAX_DEPTH` levels."""
    return Refused("nested too deeply", f"over {MAX_DEPTH} levels")
