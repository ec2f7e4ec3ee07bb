"""The lessons of the course as their own notebooks describe them: number, title, minutes, what is learned, in short.

The head cell of every notebook says it once, and the README's table and the map in notebook 00 are generated from that:

    # 01 · Look again
    **In short**: why one look fails, the loop step by step, when the policy looks
    **Time**: 30 minutes to read and run, 20 more for the three exercises.

Simplified: only these three lines are read; everything else in a notebook is for people.

    print(lessons_table(read_lessons("notebooks")))     # python -m r3lab.show.tables README.md notebooks/00_*.ipynb
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from r3lab.errors import R3labError, shown
from r3lab.notebook_parameters import read_notebook

PATTERN = "[0-9][0-9]_*.ipynb"
SHORT = 200  # characters of what stands in the table
_TITLE = re.compile(r"# (?P<number>\d\d) · (?P<title>\S.*)")
_SHORT = re.compile(r"\*\*In short\*\*: (?P<short>\S.*)")
_TIME = re.compile(r"\*\*Time\*\*: (?P<read>\d+) minutes")
_MORE = re.compile(r"(?P<more>\d+) more")


@dataclass(frozen=True)
class Lesson:
    """What a notebook says of itself."""

    file: str
    number: str  # two digits
    title: str
    short: str
    read: int  # minutes to read and run
    exercises: int  # minutes more


def read_lesson(path: str | Path) -> Lesson:
    """Read the head cell of a notebook.

    Raises
    ------
    R3labError
        Naming the notebook and the line that it lacks.
    """
    path = Path(path)
    cells = read_notebook(path).cells
    head = cells[0].source if cells and cells[0].cell_type == "markdown" else ""

    def line(pattern: re.Pattern[str], wanted: str) -> re.Match[str]:
        for one in head.splitlines():
            if found := pattern.match(one.strip()):
                return found
        raise R3labError(f"{path.name} has no line `{wanted}` in its first cell; add it, the table is made from it.")

    title = line(_TITLE, f"# {path.name[:2]} · Title")
    short = line(_SHORT, "**In short**: one line of what it is about")["short"].strip()
    time = line(_TIME, "**Time**: N minutes to read and run, M more for the exercises")
    if title["number"] != path.name[:2]:
        raise R3labError(f"{path.name} calls itself {title['number']}; its number and its file's name must agree.")
    if len(short) > SHORT or "|" in short:
        raise R3labError(f"{path.name}: `In short` is {shown(short)}; at most {SHORT} characters, without `|`.")
    more = _MORE.search(time.string)
    return Lesson(
        path.name, title["number"], title["title"], short, int(time["read"]), int(more["more"]) if more else 0
    )


def read_lessons(folder: str | Path) -> list[Lesson]:
    """All lessons of a folder in order.

    Raises
    ------
    R3labError
        If there is none, or one lacks a line of its head.
    """
    paths = sorted(Path(folder).glob(PATTERN))
    if not paths:
        raise R3labError(f"No NN_name.ipynb in {shown(str(folder))}. Give the folder of the course.")
    return [read_lesson(path) for path in paths]


def lessons_table(lessons: Sequence[Lesson], folder: str = "") -> str:
    """Markdown table, a row a lesson; links lead into `folder`, relative to where the table stands."""
    before = f"{folder}/" if folder else ""
    rows = []
    for one in lessons:
        minutes = f"{one.read} + {one.exercises}" if one.exercises else f"{one.read}"
        rows.append(f"| [{one.number} {one.title}]({before}{one.file}) | {minutes} | {one.short} |")
    read, exercises = (sum(getattr(one, name) for one in lessons) for name in ("read", "exercises"))
    hours = f"{len(lessons)} lessons, about {math.ceil((read + exercises) / 60)} h with all exercises."
    head = ["| lesson | minutes | what you see |", "| --- | --- | --- |"]
    return "\n".join([*head, *rows, "", f"Minutes: to read and run, + for the exercises. {hours}"])
