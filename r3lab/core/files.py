"""What is written to a disk, so that a kill at any moment leaves it whole: files, folders, and journals of JSON lines.

A file or folder is written beside its place and renamed. A folder that replaces another is moved in by two renames;
`recover`, or the next `whole_folder`, puts right whatever a kill left between them. A first Ctrl-C is only noted
(`first_interrupt`), so that what is under way ends whole. Also here: where the shipped assets lie,
and what every file of measured numbers says about how it was made.

    write_whole("runs/page.html", text.encode("utf-8"))
    with whole_folder("runs/policy", replace=True) as folder:
        model.save_pretrained(folder)
    with Journal("runs/journal.jsonl", {"model": "tiny"}) as journal:
        journal.append("first", {"answer": "3"})
"""

from __future__ import annotations

import glob
import io
import json
import os
import platform
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

from safetensors import SafetensorError

from .. import __version__
from .errors import R3labError, shown

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

FORMAT, VERSION = "r3lab.journal", 1
STOPPING = "stopping when this step is done; Ctrl-C again stops at once"
_SWEPT: set[Path] = set()  # folders in which this process has looked for what killed ones left
PATIENCE = 20  # tenths of a second that a process waits for another which writes to the same place


def assets_dir() -> Path:
    """The folder of the shipped assets.

    Returns
    -------
    Path
        The environment's R3LAB_ASSETS where set; else `r3lab/assets` (an installed wheel); else `assets`
        beside the package (a checkout, also one installed with ``pip install -e``).

    Raises
    ------
    R3labError
        None of them is a folder; or R3LAB_ASSETS is set and is none, and then the others are not tried.

    Examples
    --------
    >>> (r3lab.assets_dir() / "results" / "tiny.json").is_file()
    True
    """
    wish = os.environ.get("R3LAB_ASSETS")
    package = Path(__file__).resolve().parents[1]
    places = [Path(wish)] if wish else [package / "assets", package.parent / "assets"]
    for place in places:
        if place.is_dir():
            return place
    if wish:
        raise R3labError(f"R3LAB_ASSETS is {shown(wish)}, which is not a folder. Correct it or unset it.")
    raise R3labError("r3lab's assets are not there. Install r3lab anew, or set R3LAB_ASSETS.")


def shipped_policy() -> Path:
    """The folder of the policy that is asked where none is given: that of four worlds, after R-GRPO.

    Raises
    ------
    R3labError
        If it is not there.
    """
    folder = assets_dir() / "worlds" / "rgrpo"
    if not folder.is_dir():
        raise R3labError("The shipped policy is not there (assets/worlds/rgrpo); give --model a checkpoint folder.")
    return folder


def circumstances(command: str) -> dict[str, str]:
    """The command that made a result, the version, the machine, the date."""
    import torch  # a second that who only writes a file need not wait

    return {
        "command": command,
        "version": __version__,
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}",
        "date": time.strftime("%Y-%m-%d"),
    }


def write_whole(path: str | Path, data: bytes) -> Path:
    """Write a file that appears whole or not at all; its folder is made.

    Raises
    ------
    R3labError
        If the disk refuses.
    """
    with whole_file(path) as part:
        part.write_bytes(data)
    return Path(path)


@contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """A path to write to, beside `path`, which replaces it at the end; after an error nothing has changed.

    Raises
    ------
    R3labError
        If `path` is a folder, or the disk refuses.
    """
    path = Path(path)
    if path.is_dir():
        raise R3labError(f"{shown(path)} is a folder; give the name of a file.")
    here = platform.node()[:40]
    own = f".{path.name[:180]}.{here}-{os.getpid()}.part"  # two processes may write, the later one stays
    part = path.with_name(own)
    with _refused(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep(path.parent.absolute(), here)
        try:
            yield part
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)


def _sweep(folder: Path, here: str) -> None:
    """Remove what killed processes of this machine left half written in a folder: once, and nobody else's."""
    if folder not in _SWEPT:
        for part in folder.glob(f".*.{glob.escape(here)}-*.part"):
            number = part.stem.rpartition("-")[2]
            if number.isdigit() and not _alive(int(number)):
                part.unlink(missing_ok=True)
        _SWEPT.add(folder)


@contextmanager
def whole_folder(path: str | Path, replace: bool = False, durable: bool = False) -> Iterator[Path]:
    """A new folder beside `path`, renamed to it at the end; after an error nothing has changed.

    Parameters
    ----------
    replace : instead of a folder that is there, which is kept until the new one is whole; else `path` must not exist,
        or be an empty folder
    durable : wait until everything is on the disk, so that not even a power cut leaves half of it

    Raises
    ------
    R3labError
        If `path` is there and may not be replaced, another process writes to it, or the disk refuses.
    """
    path = Path(path).resolve() if Path(path).is_symlink() else Path(path)
    part, old = (path.with_name(f".{path.name}.{end}") for end in ("part", "old"))
    with _refused(path), alone(path):
        _settle(path)
        check_free(path, replace)
        part.mkdir()
        try:
            yield part
            if durable:
                for made in [*part.rglob("*"), part]:
                    _sync(made)
            if path.is_dir():
                os.replace(path, old)
            os.replace(part, path)
            if durable:
                _sync(path.parent)
        finally:
            _settle(path)


def recover(path: str | Path) -> None:
    """Put right what a killed `whole_folder` left: a folder is whole under its name again, and nothing is beside it.

    Raises
    ------
    R3labError
        If a process writes to it now.
    """
    path = Path(path)
    if any(path.with_name(f".{path.name}.{end}").exists() for end in ("part", "old", "lock")):
        with _refused(path), alone(path):
            _settle(path)


def _settle(path: Path) -> None:
    part, old = (path.with_name(f".{path.name}.{end}") for end in ("part", "old"))
    if old.exists() and not path.exists():  # the kill came between the two renames: what was to come is whole
        try:
            os.replace(part, path)
        except OSError:
            os.replace(old, path)
    shutil.rmtree(part, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)


def check_free(path: Path, replace: bool = False) -> None:
    """Raise `R3labError` where `whole_folder` would refuse: asked before the work whose result shall lie there."""
    with _refused(path):
        if path.exists() and not path.is_dir():
            raise R3labError(f"{shown(path)} is a file; give the name of a folder.")
        if path.exists() and not replace and any(path.iterdir()):
            raise R3labError(f"{shown(path)} exists already; give a new folder, or remove it first.")
        parent = next(one for one in path.absolute().parents if one.exists())
        if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
            raise PermissionError(f"{parent} is no folder that can be written to")


def _sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:  # Windows opens no folders
        return
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """One process at a time: a lock file beside `path` that names it, and that counts no more when it is gone.

    Raises
    ------
    R3labError
        If another process has it, also after a wait.
    """
    path = path.absolute()  # of "." too there is a name
    lock, owner = path.with_name(f".{path.name}.lock"), 0
    with _refused(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        for _ in range(PATIENCE + 1):
            try:
                handle = os.open(lock, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
                break
            except FileExistsError:
                owner = _owner(lock)
                if owner:
                    time.sleep(0.1)
                else:
                    lock.unlink(missing_ok=True)
        else:
            wait = f"wait for it or stop it (or remove {lock.name}, if that is another program)"
            raise R3labError(f"process {owner} is writing to {shown(path)}; {wait}")
    try:
        os.write(handle, str(os.getpid()).encode())
        os.close(handle)
        yield
    finally:
        lock.unlink(missing_ok=True)


def _owner(lock: Path) -> int:
    """The process that holds a lock; 0 if it is gone, or was this one's number in an earlier life."""
    try:
        owner = int(lock.read_text("ascii") or 0)
    except (OSError, ValueError):
        return 0
    return owner if owner != os.getpid() and _alive(owner) else 0


def _alive(process: int) -> bool:
    """Whether a process of this machine runs."""
    if process <= 0:
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it is there, of another user
        pass
    return True


@contextmanager
def _refused(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, SafetensorError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise R3labError(f"Cannot write {shown(path)}: {why}; free some space, or choose another place.") from error


@contextmanager
def first_interrupt(said: str = STOPPING) -> Iterator[threading.Event]:
    """Note the first Ctrl-C in the event instead of raising KeyboardInterrupt, and print what is `said`; a second one
    raises. Outside the main thread, which alone gets signals, nothing is noted."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return

    def note(number: int, frame: FrameType | None) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()
        if said:
            print(f"\n{said}", file=sys.stderr, flush=True)

    before = signal.signal(signal.SIGINT, note)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, before)


def append_row(file: io.FileIO, row: dict[str, Any], durable: bool = False) -> int:
    """Write a JSON object as the last line of a file that is open without a buffer; the byte at which it begins.

    Parameters
    ----------
    durable : wait until it is on the disk (fsync)
    """
    start = file.seek(0, os.SEEK_END)
    data = memoryview(json.dumps(row).encode("ascii") + b"\n")
    try:
        while data:
            data = data[file.write(data) :]
        if durable:
            os.fsync(file.fileno())
    except BaseException:  # a full disk: the next line must not follow half of this one
        file.truncate(start)
        raise
    return start


class Journal:
    """What a run has settled, a JSON line each by key, so that nothing is done twice.

    A line is on the disk before `append` returns, so a kill at any moment loses what was in flight and nothing else.
    Of several lines with one key the last counts. Only where lines begin is kept in memory. Simplified: where there is
    no `fcntl` (Windows), nothing stops two runs from writing to one folder.

    Parameters
    ----------
    path
        Of the file; its folder is made.
    same
        What every run that goes on with this journal must have in common (JSON); it stands in the first line.

    Raises
    ------
    R3labError
        If it cannot be written, another run writes to it now, it began with another `same`, or a line before the last
        is damaged.
    """

    def __init__(self, path: str | Path, same: dict[str, Any]) -> None:
        self.path = Path(path)
        self._at: dict[str, int] = {}  # where each key's last line begins
        with _refused(self.path.parent):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("a+b", buffering=0)
        try:
            self._lock()
            end = 0
            for start, stop, row in self._lines():
                if start:
                    self._at[str(row["key"])] = start
                else:
                    self._check(row, same)
                end = stop
            self._file.truncate(end)  # without a last line that a kill cut off
            if end == 0:
                append_row(self._file, {"format": FORMAT, "version": VERSION, "same": same}, durable=True)
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def __contains__(self, key: str) -> bool:
        return key in self._at

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Every line in the order in which it was written, also those that a later one replaced."""
        return (row for start, _, row in self._lines() if start)

    def __getitem__(self, key: str) -> dict[str, Any]:
        """The last line of a key."""
        with self.path.open("rb") as file:
            file.seek(self._at[key])
            line: dict[str, Any] = json.loads(file.readline())
        return line

    def append(self, key: str, entry: dict[str, Any]) -> None:
        """Write an entry and wait until it is on the disk."""
        self._at[key] = append_row(self._file, {"key": key, **entry}, durable=True)

    def _lock(self) -> None:
        if fcntl is None:
            return
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # a kill releases it
        except BlockingIOError:
            raise R3labError(f"another run is writing to {self.path.parent.parent}; wait for it or stop it") from None
        except OSError:  # a file system without locks
            return

    def _lines(self) -> Iterator[tuple[int, int, dict[str, Any]]]:
        """Where each whole line begins and ends, and its object."""
        end = 0
        with self.path.open("rb") as file:
            for number, line in enumerate(file, 1):
                start, end = end, end + len(line)
                try:
                    row = json.loads(line)
                except (ValueError, RecursionError):
                    row = None
                if isinstance(row, dict) and (start == 0 or "key" in row) and line.endswith(b"\n"):
                    yield start, end, row
                elif file.read(1):
                    raise R3labError(
                        f"{self.path} line {number} is damaged, no JSON object with a key: it was edited, or two runs "
                        "wrote to it. Mend it, or give another folder"
                    )

    def _check(self, first: dict[str, Any], same: dict[str, Any]) -> None:
        if first.get("format") != FORMAT or first.get("version") != VERSION:
            raise R3labError(f"{self.path} is no journal of this version of r3lab; give another folder")
        then = first.get("same")
        then = then if isinstance(then, dict) else {}
        for name in same:
            if then.get(name) != same[name]:
                raise R3labError(
                    f"{self.path.parent.parent} was begun with {name} {shown(then.get(name))}, "
                    f"not {shown(same[name])}; give another folder, or the same {name}"
                )
