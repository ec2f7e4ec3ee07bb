"""A file in assets/results: new rows over those of the same measure, the others as they were.

keep(path, EXPLAIN, new_rows)
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from r3lab.results import circumstances

EXPLAIN = "python tests/bench/planted.py && python tests/bench/fidelity.py && python tests/bench/explain_cost.py"


def keep(path: Path, command: str, new: Sequence[dict[str, Any]]) -> None:
    """Write rows; the file appears whole or not at all."""
    rows = json.loads(path.read_text(encoding="utf-8"))["rows"] if path.is_file() else []
    named = {row["measure"] for row in new}
    result = {**circumstances(command), "rows": [row for row in rows if row["measure"] not in named] + list(new)}
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{uuid.uuid4().hex}.part")
    try:
        part.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def rounded(value: float) -> float:
    """To four digits, as rows hold numbers."""
    return float(f"{value:.4g}")
