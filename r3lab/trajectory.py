"""The record of one rollout, and its home on disk: JSON and PNG, never pickle, with `load(save(t)) == t`.

Rollout, training, explanation and display all read this one record (its fields and invariants are in
`ledger`). Simplified: a file is read as a whole, images included; a list that does not fit in memory wants
several files.

    path = save(trajectory, "runs/first")          # runs/first/trajectory.json, runs/first/images/<hash>.png
    assert load(path) == trajectory
"""

from __future__ import annotations

import json
import os
import uuid
from pathlib import Path
from typing import Any

from PIL import Image

from . import schema
from .arms import ARMS, INTERLEAVED
from .errors import shown
from .geometry import Frame
from .images import ImageError, content_hash, open_image, to_png_bytes
from .ledger import FINISHES, ImageRef, Kind, Look, Trajectory, TrajectoryError, plain

__all__ = ["FINISHES", "ImageRef", "Kind", "Look", "Trajectory", "TrajectoryError", "load", "save"]

FORMAT, VERSION = "r3lab.trajectory", 1
ONE, MANY = "trajectory.json", "trajectories.jsonl"


def save(trajectory: Trajectory | list[Trajectory], folder: str | Path) -> Path:
    """Write one trajectory, or a list, and the images carried.

    Everything is checked before anything is written, and each file appears whole or not at all.

    Returns
    -------
    Path
        ``folder/trajectory.json``, for a list ``folder/trajectories.jsonl``; images are in ``folder/images``.

    Raises
    ------
    TrajectoryError
        If a trajectory contradicts itself, an image has another hash than it is filed under, or the disk
        refuses.
    """
    many, folder = isinstance(trajectory, list), Path(folder)
    lines, images = [], {}
    for t in trajectory if isinstance(trajectory, list) else [trajectory]:
        head = {"format": FORMAT, "version": VERSION}
        built, names = _build({**head, **plain(t)}, f"Trajectory {shown(t.sample_id)}")
        t.check()
        lines.append(json.dumps({**head, **plain(built), "images": names}, allow_nan=False) + "\n")
        images.update(t.images)
    for name, image in images.items():
        if content_hash(image) != name:
            raise TrajectoryError(f"The image filed under {shown(name)} has other pixels; file it under content_hash.")
    try:
        (folder / "images").mkdir(parents=True, exist_ok=True)
        for name, image in images.items():
            _replace(folder / "images" / f"{name}.png", to_png_bytes(image))
        return _replace(folder / (MANY if many else ONE), "".join(lines).encode("ascii"))
    except OSError as error:
        raise TrajectoryError(
            f"Cannot write to {shown(folder)}: {error.strerror or error}; choose another folder."
        ) from error


def _replace(path: Path, data: bytes) -> Path:
    part = path.with_name(f".{uuid.uuid4().hex}.part")
    try:
        part.write_bytes(data)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    return path


def load(path: str | Path) -> Trajectory | list[Trajectory]:
    """Read what `save` wrote: a list from a ``.jsonl`` file, else one trajectory.

    Parameters
    ----------
    path
        The file, or a folder that holds exactly one of ``trajectory.json`` and ``trajectories.jsonl``.

    Raises
    ------
    TrajectoryError
        Naming file, line and field, if the file is missing, is no trajectory or another version, contradicts
        itself, or an image is missing or has other pixels than its name says.
    """
    path = Path(path)
    if path.is_dir():
        held = [path / name for name in (ONE, MANY) if (path / name).is_file()]
        if len(held) != 1:
            raise TrajectoryError(f"{shown(path)} holds {len(held)} of {ONE} and {MANY}; name one file.")
        path = held[0]
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise TrajectoryError(f"Cannot read {shown(path)}: {shown(str(error))}; name a saved file.") from error
    many = path.suffix == ".jsonl"
    seen: dict[str, Image.Image] = {}
    found = []
    for number, line in enumerate(text.split("\n") if many else [text], start=1):
        if many and not line.strip():
            continue
        where = path.name + (f" line {number}" if many else "")
        try:
            record = schema.parse(line, where)
        except schema.SchemaError as error:
            raise TrajectoryError(str(error)) from error
        found.append(from_record(record, where, path.parent, seen))
    return found if many else found[0]


def from_record(
    record: Any, where: str, folder: Path | None = None, seen: dict[str, Image.Image] | None = None
) -> Trajectory:
    """A trajectory from its JSON record, for who reads a file line by line.

    Parameters
    ----------
    record
        Plain data.
    where
        Begins the message of an error.
    folder
        Its images are read from ``folder/images``; None: it carries none.
    seen
        Images that were read before, by hash; what is read now is added.

    Raises
    ------
    TrajectoryError
        As of `load`.
    """
    trajectory, names = _build(record, where)
    seen = {} if seen is None else seen
    for name in names if folder is not None else ():
        if name not in seen:
            assert folder is not None
            seen[name] = _load_image(folder / "images" / f"{name}.png", name)
        trajectory.images[name] = seen[name]
    trajectory.check()
    return trajectory


def _load_image(path: Path, name: str) -> Image.Image:
    try:
        image = open_image(path)
    except ImageError as error:
        raise TrajectoryError(str(error)) from error
    if content_hash(image) != name:
        raise TrajectoryError(f"Image {path.name} has other pixels than when it was saved; restore or save it again.")
    return image


def _build(record: Any, where: str) -> tuple[Trajectory, list[str]]:
    """A record as a trajectory without pixels, and the hashes of the images that it carried."""
    try:
        version = record.get("version") if isinstance(record, dict) else None
        if not isinstance(record, dict) or record.get("format") != FORMAT:
            raise TrajectoryError(f'{where} is not a trajectory: it lacks "format": "{FORMAT}".')
        if type(version) is not int or version != VERSION:
            raise TrajectoryError(f"{where} has version {shown(version)}; this r3lab reads {VERSION}: update it.")
        own = {k: v for k, v in record.items() if k not in ("format", "version")}
        built = _TRAJECTORY({"arm": INTERLEAVED.name, **own}, where)  # once the only arm, and not named
    except schema.SchemaError as error:
        raise TrajectoryError(str(error)) from error
    names, built.images = built.images, {}
    return built, names


_KINDS = frozenset(Kind)
_span, _box = schema.fixed(schema.count, 2), schema.fixed(schema.number, 4)
_image = schema.made(ImageRef, hash=schema.sha256, width=schema.count, height=schema.count)
_look = schema.made(
    Look,
    span=_span,
    written=schema.maybe(_box),
    box=schema.maybe(_box),
    valid=schema.flag,
    reason=schema.text,
    zoom=schema.maybe(schema.number),
    crop=schema.maybe(_image),
    crop_span=schema.maybe(_span),
)
_TRAJECTORY = schema.made(
    Trajectory,
    sample_id=schema.text,
    question=schema.text,
    image=_image,
    overview=schema.fixed(schema.count, 2),
    frame=schema.of(f"one of {', '.join(Frame)}", lambda v: v in list(Frame), Frame),
    ids=schema.row(schema.whole),
    kinds=schema.row(schema.of("a kind from 0 to 5", lambda v: type(v) is int and v in _KINDS)),
    pieces=schema.row(schema.text),
    logprobs=schema.row(schema.maybe(schema.number)),
    entropies=schema.row(schema.maybe(schema.number)),
    looks=schema.row(_look),
    answer=schema.maybe(schema.text),
    finish=schema.text,
    truth=schema.mapping(schema.free),
    rewards=schema.mapping(schema.number),
    advantage=schema.maybe(schema.number),
    model=schema.text,
    seed=schema.maybe(schema.whole),
    temperature=schema.number,
    arm=schema.of(f"one of {', '.join(ARMS)}", lambda v: isinstance(v, str) and v in ARMS),
    images=schema.row(schema.sha256),
)
