"""What every file of measured numbers says about how it was made.

path.write_text(json.dumps({**circumstances("r3lab train tiny"), "rows": rows}, indent=1))
"""

from __future__ import annotations

import platform
import time

import torch

from . import __version__


def circumstances(command: str) -> dict[str, str]:
    """The command that made a result, the version, the machine, the date."""
    return {
        "command": command,
        "version": __version__,
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}",
        "date": time.strftime("%Y-%m-%d"),
    }
