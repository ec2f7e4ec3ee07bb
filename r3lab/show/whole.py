"""Files that appear whole or not at all: every picture and page is written this way.

write_whole("runs/page.html", text.encode("utf-8"))
"""

from __future__ import annotations

import os
import uuid
from pathlib import Path

from ..errors import R3labError, shown


def write_whole(path: str | Path, data: bytes) -> Path:
    """Write a file that appears whole or not at all; its folder is made.

    Raises
    ------
    R3labError
        If the disk refuses.
    """
    path = Path(path)
    part = path.with_name(f".{uuid.uuid4().hex}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            part.write_bytes(data)
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        why = error.strerror or str(error)
        raise R3labError(f"Cannot write {shown(str(path))}: {why}; choose another place.") from error
    return path
