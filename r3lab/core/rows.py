"""The records of a file in whichever of the formats it is: told by its name, else by how it begins.

JSON lines, one JSON document (a list of records; an object of records by their id, as GQA has it; an object with a list
of them as `data`, as TextVQA has it), TSV and CSV (RFC 4180), and Parquet, which `pyarrow` alone reads. All pass in
bounded memory. A record that does not fit is a problem in its place; where nothing after a fault can be trusted, as in
a broken document, the reading ends. Simplified: no compressed files but Parquet, no encoding but UTF-8; what the
`datasets` library holds is read once it is written with `to_parquet`.

    for row in rows(Path("train.json")):
        row.where, row.data         # "train.json line 7 (record 3)", {...}; or row.problem says why there is no data
"""

from __future__ import annotations

import csv
import importlib
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import ijson

from .errors import shown
from .records import MAX_RECORD, ForeignError, Refused, SchemaError, parse

JSON, LINES, DELIMITERS = (".json",), (".jsonl", ".ndjson"), {".tsv": "\t", ".csv": ","}
SUFFIXES = (".parquet", *JSON, *LINES, *DELIMITERS)
BOM = b"\xef\xbb\xbf"
PIECE = 64 * 1024  # bytes of a document that are read at once
BATCH = 8  # rows of a table held at once: one may be an image of ten megabytes
MAX_EVENTS = 200_000  # values and keys in one record of a JSON document
MAX_MARKS = 2_000_000  # commas and brackets in one line of JSON lines: each can make an object of 60 bytes
MAX_DEPTH = 64  # lists and objects inside each other
_SNIFF = 1 << 20
_MARKS = (b",", b"[", b"{")
_DEEPER = {"start_map": 1, "start_array": 1, "end_map": -1, "end_array": -1}


class RawRecord(NamedTuple):
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


def _too_large(limit: int, values: int) -> Refused:
    return Refused("a record that is too large", f"over {limit:,} bytes or {values:,} values; shorten it")


def data_files(folder: Path) -> list[Path]:
    """The files in a folder that `rows` can read, by name."""
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES)


def rows(path: Path, columns: Collection[str] | None = None, limit: int = MAX_RECORD) -> Iterator[RawRecord]:
    """Every record of a file, in order.

    Parameters
    ----------
    path
        A JSON, JSON lines, TSV, CSV or Parquet file.
    columns
        Of a Parquet file, those that are read; None reads all.
    limit
        Bytes of the largest record of a text file that is held; a larger one is a problem in its place.

    Raises
    ------
    ForeignError
        If it cannot be opened, is empty, or is in none of the formats; while reading, if the file is damaged where
        nothing after can be trusted.
    """
    if path.exists() and not path.is_file():
        raise ForeignError(f"{shown(str(path))} is not a regular file; give the path of one.")
    suffix = path.suffix.lower()
    try:
        with path.open("rb") as file:
            head = file.read(_SNIFF)
    except OSError as error:
        raise ForeignError(f"{shown(str(path))} cannot be read: {error.strerror}; check the path.") from None
    if suffix == ".parquet" or head.startswith(b"PAR1"):
        return parquet(path, columns)
    text = head.removeprefix(BOM).lstrip()
    if not text:
        raise ForeignError(f"{shown(path.name)} is empty, there are no records in it; copy or download it again.")
    if suffix in DELIMITERS:
        return delimited(path, DELIMITERS[suffix], limit)
    if suffix in LINES or _has_lines(text):
        return json_lines(path, limit)
    if suffix in JSON or text[:1] in (b"{", b"["):
        return document(path, limit)
    raise ForeignError(f"{shown(path.name)} is in no format that can be read ({', '.join(SUFFIXES)}); convert it.")


def _has_lines(text: bytes) -> bool:
    """A second line begins with another object: JSON lines under whatever name."""
    first, _, rest = text.partition(b"\n")
    return text.startswith(b"{") and first.rstrip().endswith(b"}") and rest.lstrip().startswith(b"{")


def lines(path: Path, limit: int) -> Iterator[tuple[int, bytes | None]]:
    """Number (from 1) and bytes of each line, without a byte order mark; None for one over `limit` bytes."""
    with path.open("rb") as file:
        number = 0
        while line := file.readline(limit + 1):
            number += 1
            if len(line) <= limit:
                yield number, line.removeprefix(BOM)
                continue
            while line and not line.endswith(b"\n"):
                line = file.readline(1 << 20)
            yield number, None


def json_lines(path: Path, limit: int = MAX_RECORD) -> Iterator[RawRecord]:
    """A record a line; blank lines are no records, but they are counted as lines."""
    for number, line in lines(path, limit):
        where = f"{path.name} line {number}"
        if line is None or len(line) > MAX_MARKS and sum(map(line.count, _MARKS)) > MAX_MARKS:
            yield RawRecord(where, number, {}, _too_large(limit, MAX_MARKS))
        elif line.strip():
            yield _row(line, where, number)


def _row(line: bytes, where: str, number: int) -> RawRecord:
    try:
        data = parse(line.decode("utf-8"), "The line")
    except UnicodeDecodeError as error:
        return RawRecord(where, number, {}, _not_utf8(error))
    except SchemaError as error:
        return RawRecord(where, number, {}, Refused("not valid JSON", str(error)))
    if not isinstance(data, dict):
        return RawRecord(where, number, {}, Refused("not a JSON object", shown(data)))
    if line.count(b"[") + line.count(b"{") > MAX_DEPTH and _depth(data) > MAX_DEPTH:
        return RawRecord(where, number, {}, Refused("nested too deeply", f"over {MAX_DEPTH} levels"))
    return RawRecord(where, number, data)


def _not_utf8(error: UnicodeDecodeError) -> Refused:
    return Refused("not UTF-8", f"byte {error.start} of the line; save it again as UTF-8")


def _depth(value: Any) -> int:
    """Levels of lists and objects, without recursion."""
    level, depth = [value], 0
    while level := [v for v in level if isinstance(v, dict | list)]:
        level = [inner for v in level for inner in (v.values() if isinstance(v, dict) else v)]
        depth += 1
    return depth


def document(path: Path, limit: int = MAX_RECORD) -> Iterator[RawRecord]:
    """The records of one JSON document, each with the line on which it begins.

    Parameters
    ----------
    path
        Of a file in UTF-8.
    limit
        Most bytes of a value, and most characters of a record's text, that are held.

    Raises
    ------
    ForeignError
        If it is not JSON, is a single value, or holds a value over `limit`; the message names the line.
    """
    events = ijson.sendable_list()
    # use_float: without it, the C parser ends the whole process at an integer of over 4300 digits
    parser, build = ijson.basic_parse_coro(events, use_float=True), _Builder(path.name, limit)
    line, silent = 1, 0  # bytes since the parser last gave something
    with path.open("rb") as file:
        piece = file.readline(PIECE).removeprefix(BOM)
        while True:
            try:
                parser.send(piece) if piece else parser.close()
            except (ijson.JSONError, ValueError, SystemError, RecursionError, UnicodeError) as error:
                fault: Exception | None = error
            else:
                fault = None
            silent = 0 if events else silent + len(piece)
            for event, value in events:
                if row := build.take(event, value, line):
                    yield row
            events.clear()
            if fault is not None or silent > limit:
                why = f"is not JSON: {shown(str(fault).split(chr(10))[0])}" if piece else "ends in the middle"
                raise ForeignError(
                    f"{path.name} line {line} (after {build.count} whole records) "
                    f"{why if fault else f'holds a single value of over {limit:,} bytes'}. "
                    "Nothing after it can be trusted; mend the file, or write one record a line (.jsonl)."
                )
            if not piece:
                return
            line += piece.endswith(b"\n")
            piece = file.readline(PIECE)


class _Distinct(dict[str, Any]):
    """An object in which no key may be given twice."""

    def __setitem__(self, key: str, value: Any) -> None:
        if key in self:
            raise Refused("a key that is given twice", shown(key))
        super().__setitem__(key, value)


class _Builder:
    """Puts parse events together to rows, and forgets a row that grows too large or too deep while it comes."""

    def __init__(self, name: str, limit: int) -> None:
        self.name, self.limit = name, limit
        self.count = 0
        self.outer: list[str] = []  # containers around the rows: "list" or "object"
        self.outer_key: str | None = None
        self.row: ijson.ObjectBuilder | None = None
        self.depth = self.events = self.size = self.line = 0
        self.problem: Refused | None = None

    def take(self, event: str, value: Any, line: int) -> RawRecord | None:
        """Take the next event; the row that it completes, if any."""
        if self.depth:
            return self._inside(event, value)
        if event == "map_key":
            self.outer_key = value
        elif event in ("end_array", "end_map"):
            self.outer.pop()
        elif event in ("start_map", "start_array") and (
            not self.outer or event == "start_array" and self.outer == ["object"]
        ):
            self.outer.append("list" if event == "start_array" else "object")
        elif event in ("start_map", "start_array"):
            self.row, self.events, self.size, self.line = ijson.ObjectBuilder(_Distinct), 0, 0, line
            self.problem = None if event == "start_map" else Refused("not a JSON object", "a list")
            return self._inside(event, value)
        elif not self.outer:
            raise ForeignError(f"{self.name} holds a single {type(value).__name__}; wanted a list of records.")
        elif self.outer == ["list"] or self.outer == ["object", "list"] and self.outer_key == "data":
            return self._row(line, {}, Refused("not a JSON object", shown(value)))
        return None

    def _inside(self, event: str, value: Any) -> RawRecord | None:
        self.events += 1
        self.size += len(value) if type(value) is str else 0
        self.depth += _DEEPER.get(event, 0)
        if self.problem is None and self.row is not None:
            try:
                if self.events > MAX_EVENTS or self.size > self.limit:
                    raise _too_large(self.limit, MAX_EVENTS)
                if self.depth > MAX_DEPTH:
                    raise Refused("nested too deeply", f"over {MAX_DEPTH} levels")
                self.row.event(event, value)
            except Refused as problem:
                self.problem, self.row = problem, None
        if self.depth:
            return None
        return self._row(self.line, {} if self.problem or self.row is None else self.row.value, self.problem)

    def _row(self, line: int, data: dict[str, Any], problem: Refused | None) -> RawRecord:
        self.count += 1
        key = self.outer_key if self.outer == ["object"] else None
        return RawRecord(f"{self.name} line {line} (record {self.count})", self.count, data, problem, key)


class _Text:
    """The lines of a file as text for `csv`, which takes several where a quoted field goes on."""

    def __init__(self, path: Path, limit: int) -> None:
        self.name, self.lines, self.limit = path.name, lines(path, limit), limit
        self.first = self.size = 0  # of the record: its first line, and bytes so far
        self.ended = False

    def __iter__(self) -> _Text:
        return self

    def __next__(self) -> str:
        number, line = next(self.lines, (0, b""))
        if not number:
            self.ended = True
            raise StopIteration
        self.first = self.first or number
        if line is None:
            raise Refused("a record that is too large", f"over {self.limit:,} bytes; shorten it")
        self.size += len(line)
        if self.size > self.limit:
            raise self.unclosed()
        return line.decode("utf-8")

    def unclosed(self) -> ForeignError:
        """That nothing from here on can be told apart."""
        return ForeignError(f"{self.name} line {self.first}: the quoted field has no end; close its quote.")


def delimited(path: Path, delimiter: str, limit: int = MAX_RECORD) -> Iterator[RawRecord]:
    """The rows of a TSV or CSV file with a header; every value is text.

    Raises
    ------
    ForeignError
        If the header is missing or names a column twice, or a quoted field has no end.
    """
    csv.field_size_limit(max(limit, csv.field_size_limit()))  # of the whole process: `csv` has no other
    text, header = _Text(path, limit), list[str]()
    reader = csv.reader(text, delimiter=delimiter, strict=True)
    while True:
        text.first = text.size = 0
        cells: list[str] = []
        problem = None
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            if text.ended:
                raise text.unclosed() from None
            problem = Refused("text after a closing quote", f"{error}; double the quotes inside a field")
        except UnicodeDecodeError as error:
            problem = _not_utf8(error)
        except Refused as error:
            problem = error
        where = f"{path.name} line {text.first}"
        if not header:
            if problem or not cells or len(set(cells)) != len(cells):
                why = problem or f"the header must name each column once: got {shown(cells)}"
                raise ForeignError(f"{where}: {why}; mend the header.")
            header = cells
        elif cells and len(cells) != len(header):
            wanted = f"wanted {len(header)} fields as in the header, got {len(cells)}"
            problem = Refused("a row of another length", f"{wanted}; quote fields that hold a {delimiter!r}")
            yield RawRecord(where, text.first, {}, problem)
        elif cells or problem:
            yield RawRecord(where, text.first, dict(zip(header, cells, strict=False)), problem)


def pyarrow(part: str = "") -> Any:
    """`pyarrow` or a part of it.

    Raises
    ------
    ForeignError
        If it is not installed; the message says how to.
    """
    try:
        whole = importlib.import_module("pyarrow")
        return importlib.import_module(f"pyarrow.{part}") if part else whole
    except ImportError as error:
        raise ForeignError("Parquet needs pyarrow; run pip install 'pyarrow>=17'.") from error


def parquet(path: Path, columns: Collection[str] | None = None) -> Iterator[RawRecord]:
    """The rows of one Parquet file; only `columns` if given, of which it may lack some."""
    number, read = 0, pyarrow("parquet").ParquetFile
    try:
        with read(path, buffer_size=1 << 20, pre_buffer=False) as file:
            names = None if columns is None else [name for name in file.schema_arrow.names if name in columns]
            for batch in file.iter_batches(batch_size=BATCH, columns=names, use_threads=False):
                for i in range(batch.num_rows):
                    data, problem, number = {}, None, number + 1
                    try:
                        [data] = batch.slice(i, 1).to_pylist()
                    except (ValueError, OverflowError) as error:  # text that is not Unicode among them
                        problem = Refused("a row that cannot be read", f"{shown(str(error), 120)}; save it again")
                    yield RawRecord(f"{path.name} record {number}", number, data, problem)
    except Exception as error:  # a damaged file can raise nearly anything from a decoder
        why = shown(" ".join(str(error).split()), 120)
        raise ForeignError(f"{path.name} cannot be read ({why}); copy or download it again.") from error
