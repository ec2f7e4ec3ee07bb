"""How an attack is run: a command in this process or its own, held to ending in time with a line that says why.

tally = Tally()
if wrong := outcome(["ask", "image.png", "digit?", "--out", "asked"]):
    tally.fault(wrong)
"""

from __future__ import annotations

import contextlib
import io
import os
import signal
import subprocess
import sys
import traceback
from dataclasses import dataclass, field
from pathlib import Path

from r3lab.cli import main as r3lab

ROOT = Path(__file__).resolve().parents[1]
TINY = ROOT / "assets" / "tiny" / "rgrpo"
BASE = """
import sys
from dataclasses import replace
from pathlib import Path
from r3lab.recipes import base, policies
base.SAVED = 1
stages = [replace(one, steps=4, batch=min(one.batch, 2)) for one in policies.BASE if not one.text or one.pointing]
policies.make_base(Path(sys.argv[1]), base=tuple(stages[1:3]))
"""  # two stages of a base, the first without and the second with text, of four steps each


@dataclass
class Tally:
    """What a part tried, and what did not hold."""

    tried: int = 0
    faults: list[str] = field(default_factory=list)

    def fault(self, what: str) -> None:
        self.faults.append(what)
        print(f"  FAULT {what}", flush=True)


class Late(BaseException):
    """No error that anything catches."""


def outcome(arguments: list[str], seconds: float = 60.0) -> str:
    """Run a command in this process: "" if it held, what went wrong otherwise.

    A command holds if it ends in time with code 0, or with one line that begins with "r3lab: ".
    """

    def late(*_: object) -> None:
        raise Late(f"longer than {seconds:g} s")

    out, err = io.StringIO(), io.StringIO()
    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = r3lab(arguments)
    except SystemExit as left:
        code = 2 if left.code else 0
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        where = traceback.extract_tb(error.__traceback__)[-1]
        return f"{type(error).__name__}: {str(error)[:200]} ({Path(where.filename).name}:{where.lineno})"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    said = err.getvalue()
    if "Traceback (most recent call last)" in said:
        return f"a traceback on stderr: {said.strip().splitlines()[-1][:200]}"
    if code and not [line for line in said.splitlines() if line.startswith(("r3lab: ", "usage: "))]:
        return f"code {code} without a line that says why: {said[-200:]!r}"
    if "errno" in said.lower():
        return f"a number of the system in the place of advice: {said.strip()[-200:]}"
    return ""


def must(command: str, folder: Path) -> None:
    """Run a command that prepares an attack, in its own process."""
    done = subprocess.run(start(command), cwd=folder, capture_output=True, text=True, check=False, env=environment())
    if done.returncode:
        sys.exit(f"preparing failed: r3lab {command}\n{done.stderr[-2000:]}")


def start(command: str) -> list[str]:
    name, *rest = command.split()
    return [sys.executable, *(["-c", BASE] if name == "base" else ["-m", "r3lab", name]), *rest]


def environment() -> dict[str, str]:
    fixed = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}
    return os.environ | fixed
