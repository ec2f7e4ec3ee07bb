"""Objects of one's own beside those that ship: rewards, worlds, arms, filters, scores, all found in one way.

What is given is the name of one that ships, ``FILE.py:NAME``, a name that an installed package offers as an entry
point (group ``r3lab.KINDs``), or in Python the object itself. It is checked in full, with a dry call, before anything
else is loaded. A file is code that its user chose to run: `use`, which takes what a person gave, is all that loads one,
and says so once. `get` takes names that stand in records; what came with a checkpoint or a data set is never run.

`pinned` adds the SHA-256 of the file, so that a record of a run says which code it was, and a run that goes on refuses
another. Simplified: the hash is of the file alone, not of what it imports.

    ARMS.use("my.py:twice")                       # the Arm that my.py holds as `twice`
    ARMS.pinned("my.py:twice")                    # "/home/me/my.py:twice@0c1f5a2b9d3e"
    ARMS.get("twice")                             # known from here on, by its name too
"""

from __future__ import annotations

import hashlib
import inspect
import re
import sys
import traceback
from collections.abc import Callable, Mapping
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, Generic, TypeVar

from .errors import R3labError, nearest, shown

T = TypeVar("T")
PIN = 12  # hexadecimal digits of a SHA-256 that a pinned name carries
_IN_FILE = re.compile(rf"(?P<file>.+\.py):(?P<name>[A-Za-z_]\w*)(?:@(?P<pin>[0-9a-f]{{{PIN}}}))?")
_LOADED: dict[tuple[Path, str], ModuleType] = {}  # by file and SHA-256


class Plugins(Generic[T]):
    """The objects of one kind: those that ship, and those of one's own that were loaded in this process.

    Parameters
    ----------
    kind : in messages, and of the group of entry points
    known : those that ship, by name
    check : makes what was found one of the kind, or raises an `R3labError` that begins with the words it is given
    """

    def __init__(self, kind: str, known: Mapping[str, T], check: Callable[[Any, str], T]) -> None:
        self.kind, self.known, self.check = kind, known, check
        self.own: dict[str, T] = {}

    def get(self, name: str) -> T:
        """One that ships or was loaded before, by name; nothing is loaded.

        Raises
        ------
        R3labError
            If there is none; the message names the nearest.
        """
        if name in self.known:
            return self.known[name]
        if name in self.own:
            return self.own[name]
        raise self._unknown(name, [])

    def use(self, given: Any) -> T:
        """What a person gave, loaded if it is not known yet, checked, and known by its name from here on.

        Raises
        ------
        R3labError
            In one line: no such name, file or attribute, a file that fails or was changed since it was pinned, another
            signature, a first call that fails or gives what cannot be used.
        """
        if not isinstance(given, str):
            if held := next((one for one in (*self.known.values(), *self.own.values()) if one is given), None):
                return held
            return self._keep(given, f"the {self.kind} {shown(getattr(given, 'name', given))}")
        if given in self.known:
            return self.known[given]
        if ".py" in given:
            found, place = self._of_file(given)
            return self.own[place] if place in self.own else self._keep(found, given, place, given)
        if given in self.own:
            return self.own[given]
        return self._keep(tried(f"{self.kind} {given}", self._offered(given).load), f"{self.kind} {given}", given)

    def offered(self) -> dict[str, str]:
        """The names that installed packages offer, each with its package's; nothing is loaded."""
        return {name: one.dist.name if one.dist else "?" for name, one in _offers(self.kind).items()}

    def pinned(self, given: str) -> str:
        """The same, once it is found usable, with what it depends on: of a file the whole path and the hash, of a
        package its version."""
        self.use(given)
        if given in self.known:
            return given
        if ".py" in given:
            return self._of_file(given)[1]
        if given in self.own and not _offers(self.kind).get(given):
            return given
        dist = self._offered(given).dist
        return f"{given.partition('@')[0]}@{dist.version if dist else '?'}"

    def _keep(self, found: Any, where: str, *names: str) -> T:
        made = self.check(found, where)
        name = getattr(made, "name", "")
        if name in self.known and self.known[name] is not made:
            raise R3labError(f"{where} has the name {name!r}, as the {self.kind} that ships; give it another.")
        self.own.update({one: made for one in (*names, name) if one})
        return made

    def _of_file(self, given: str) -> tuple[Any, str]:
        """What ``FILE.py:NAME`` names, and its pinned name."""
        parts = _IN_FILE.fullmatch(given)
        if parts is None:
            raise R3labError(f"{shown(given)} names no {self.kind} in a file; give FILE.py:NAME, as in my.py:mine.")
        path, name = Path(parts["file"]).expanduser().resolve(), parts["name"]
        try:
            code = path.read_bytes()
        except OSError as error:
            raise R3labError(f"{shown(path)} cannot be read: {error.strerror}; check the path of the file.") from None
        digest = hashlib.sha256(code).hexdigest()
        if parts["pin"] and parts["pin"] != digest[:PIN]:
            raise R3labError(f"{path.name} was changed: it was {parts['pin']}, now it is {digest[:PIN]}. Restore it.")
        held = vars(_loaded(path, code, digest))
        if name not in held:
            offered = [key for key in held if not key.startswith("_")]
            raise R3labError(f"{path.name} has no {name!r}.{nearest(name, offered)}")
        return held[name], f"{path}:{name}@{digest[:PIN]}"

    def _offered(self, given: str) -> EntryPoint:
        """The entry point of that name; one that is pinned must be of that version."""
        name, _, version = given.partition("@")
        offers = _offers(self.kind)
        if name not in offers:
            raise self._unknown(name, list(offers))
        found = offers[name]
        if version and found.dist and found.dist.version != version:
            raise R3labError(f"{self.kind} {name} was of version {version}, now it is {found.dist.version}.")
        return found

    def _unknown(self, name: str, offered: list[str]) -> R3labError:
        known = [*self.known, *offered]
        near = nearest(name, [*known, *self.own])
        own = "" if near else " One of your own is given as FILE.py:NAME."
        return R3labError(f"Unknown {self.kind} {shown(name)}; known: {', '.join(known)}.{near}{own}")


def unpinned(value: Any) -> Any:
    """A setting without the hashes of files in it; what is no text stays as it is."""
    return re.sub(rf"(\.py:\w+)@[0-9a-f]{{{PIN}}}", r"\1", value) if isinstance(value, str) else value


def _offers(kind: str) -> dict[str, EntryPoint]:
    return {one.name: one for one in entry_points(group=f"r3lab.{kind}s")}


def _loaded(path: Path, code: bytes, digest: str) -> ModuleType:
    """The module that a file is, run once for each content."""
    if (path, digest) not in _LOADED:
        print(f"r3lab: {path} is code that you chose to run; it can do what you can do.", file=sys.stderr)
        module = ModuleType(f"r3lab_own_{path.stem}_{digest[:PIN]}")
        module.__file__ = str(path)
        sys.modules[module.__name__] = module  # where dataclasses and pickles look for it
        _LOADED[path, digest] = module
        try:
            exec(compile(code, str(path), "exec"), vars(module))  # not an import: no stale bytecode, nothing written
        except (Exception, SystemExit) as error:
            why = told(error)
            del sys.modules[module.__name__], _LOADED[path, digest]
            raise R3labError(f"{path.name} cannot be loaded: {why}") from error
    return _LOADED[path, digest]


def told(error: BaseException) -> str:
    """An exception in a line, with the line of the file of one's own in which it happened."""
    frames = traceback.extract_tb(error.__traceback__)
    own = {str(path) for path, _ in _LOADED}
    last = next((one for one in reversed(frames) if one.filename in own), None)
    text = f"{type(error).__name__}{': ' * bool(str(error))}{' '.join(str(error).split())}"
    return f"{text[:300]}{f' (line {last.lineno})' if last else ''}"


def tried(where: str, call: Callable[[], T]) -> T:
    """What a call of somebody's own code gives; what it raises becomes an `R3labError` that begins with `where`."""
    try:
        return call()
    except R3labError as error:
        raise R3labError(f"{error}" if f"{error}".startswith(where) else f"{where}: {error}") from error
    except (Exception, SystemExit) as error:
        raise R3labError(f"{where} failed: {told(error)}") from error


def check_function(found: Any, where: str, *parameters: str) -> None:
    """Raise an `R3labError` unless it can be called with so many arguments."""
    wanted = f"a function of ({', '.join(parameters)})"
    if not callable(found):
        raise R3labError(f"{where} is {shown(found)}; wanted {wanted}.")
    try:
        signature = inspect.signature(found)
    except ValueError:
        return  # of some built-in functions it is not known
    try:
        signature.bind(*parameters)
    except TypeError as error:
        raise R3labError(f"{where} takes {signature}; wanted {wanted}: {error}.") from None
