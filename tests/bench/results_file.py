"""A file in assets/results: new rows over those of the same measure, the others as they were.

keep(path, EXPLAIN, new_rows)
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from r3lab.core.files import circumstances, write_whole

EXPLAIN = "python tests/bench/planted.py && python tests/bench/fidelity.py && python tests/bench/explain_cost.py"


def keep(path: Path, command: str, new: Sequence[dict[str, Any]]) -> None:
    """Write rows over those of the same measures."""
    rows = json.loads(path.read_text(encoding="utf-8"))["rows"] if path.is_file() else []
    named = {row["measure"] for row in new}
    whole(path, command, [row for row in rows if row["measure"] not in named] + list(new))


def whole(path: Path, command: str, rows: Sequence[dict[str, Any]]) -> None:
    """Write rows that a command made, and under which circumstances; the file appears whole or not at all."""
    text = json.dumps({**circumstances(command), "rows": list(rows)}, indent=1) + "\n"
    write_whole(path, text.encode("utf-8"))


def rounded(value: float) -> float:
    """To four digits, as rows hold numbers."""
    return float(f"{value:.4g}")
