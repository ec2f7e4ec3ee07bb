"""What an explanation that lies beside a trajectory says, read without a model: sentences, and maps of attention.

`explain.explanation_files` writes the folder (`explanation.json`, `maps.npz`, the trajectory) and reads all of it; here
is read what a page shows. Simplified: of the maps those of attention, "look N relative" before "look N raw".

    notes = notes_beside("runs/explain/first/trajectory.json")
    notes.verdict, notes.sentences, notes.attention       # "honest (96 %)", ["Look 1 at ..."], [None, Cells(...)]
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from .. import schema
from ..errors import R3labError, shown
from .heat import Cells

RECORD, ARRAYS, FORMAT, VERSION = "explanation.json", "maps.npz", "r3lab.explanation", 1
MOST_BYTES = 64_000_000  # of a file
LOOKS = 64


@dataclass(frozen=True)
class Notes:
    """An explanation in words; all of it is foreign text.

    Attributes
    ----------
    verdict : what kind of looking it was, and how sure that is
    sentence : the verdict in words
    reasons : what it rests on
    sentences : one a look
    attention : maps for a player, one a moment (the overview has none); None where there is none
    """

    verdict: str
    sentence: str
    reasons: list[str] = field(default_factory=list)
    sentences: list[str] = field(default_factory=list)
    attention: list[Cells | None] = field(default_factory=list)


def notes_beside(path: str | Path) -> Notes | None:
    """The explanation in the folder of a saved trajectory; None if there is none.

    Parameters
    ----------
    path
        The trajectory's file or folder.

    Raises
    ------
    R3labError
        Naming the file and what is wrong, if an explanation is there that cannot be read.
    """
    path = Path(path)
    folder = path if path.is_dir() else path.parent
    held = folder / RECORD
    if not held.is_file():
        return None
    try:
        if held.stat().st_size > MOST_BYTES:
            raise R3labError(f"{shown(str(held))} has over {MOST_BYTES:,} bytes; it is no explanation.")
        record = schema.parse(held.read_text(encoding="utf-8"), RECORD)
    except (OSError, UnicodeDecodeError) as error:
        raise R3labError(f"Cannot read {shown(str(held))}: {shown(str(error))}; remove or save it again.") from error
    if not isinstance(record, dict) or record.get("format") != FORMAT or record.get("version") != VERSION:
        raise R3labError(f"{shown(str(held))} is no explanation of version {VERSION}; remove it or save it again.")
    where = f"{held.name}"
    verdict = _taken(record, "verdict", where, dict)
    looks = _taken(record, "looks", where, list)[:LOOKS]
    kind, sure = schema.text(verdict.get("kind"), f"{where}: kind"), schema.number(verdict.get("confidence"), where)
    reasons = schema.row(schema.text)(verdict.get("reasons", []), f"{where}: reasons")
    sentences = [
        schema.text(_taken(entry, "sentence", where, str), where) for entry in looks if isinstance(entry, dict)
    ]
    return Notes(
        f"{kind} ({sure:.0%})",
        schema.text(record.get("sentence"), f"{where}: sentence"),
        reasons[:12],
        sentences,
        _attention(folder / ARRAYS, record.get("maps")),
    )


def _taken(record: Any, name: str, where: str, kind: type) -> Any:
    value = record.get(name) if isinstance(record, dict) else None
    if not isinstance(value, kind):
        raise R3labError(f"{where}: {name} is {shown(value)}; remove the explanation or save it again.")
    return value


def _attention(path: Path, shapes: Any) -> list[Cells | None]:
    """Maps in the order of the moments: none for the overview, then one a look."""
    if not isinstance(shapes, list) or not path.is_file():
        return []
    found: dict[int, Cells] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > MOST_BYTES:
                raise R3labError(f"{path.name} holds over {MOST_BYTES:,} bytes; save the explanation again.")
        with np.load(path, allow_pickle=False) as held:
            for number, shape in enumerate(shapes):
                name, box = str(shape["name"]), tuple(float(v) for v in shape["box"])
                words = name.split(" ")
                if len(words) != 3 or words[0] != "look" or words[2] not in ("raw", "relative") or len(box) != 4:
                    continue
                look = int(words[1])
                if 1 <= look <= LOOKS and (words[2] == "relative" or look not in found):
                    found[look] = Cells(np.asarray(held[str(number)], dtype=np.float64), box)
    except R3labError:
        raise
    except Exception as error:  # a hostile archive can raise nearly anything from a reader
        raise R3labError(f"Cannot read {path.name}: {shown(str(error))}; save the explanation again.") from error
    return [found.get(look) for look in range(max(found, default=-1) + 1)]
