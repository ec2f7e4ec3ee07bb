"""`r3lab ask` and `r3lab explain`: one question on one image, and why the policy looked where it looked.

    r3lab ask street.jpg "which digit is on the red circle?" --out runs/asked
    r3lab explain runs/asked
    r3lab explain runs/rollouts/trajectories.jsonl --number 3 --look 1 --quick --out runs/explain/third

`ask` prints the policy's steps as they happen. Everything that can be wrong with the input is found before the policy
runs, and nothing is written before it has answered; then the trajectory and its filmstrip appear together, in a folder
of their own. Simplified: one image, one rollout, and nobody knows the true answer.

`explain` prints the evidence as a table and the sentences, and saves the explanation with its picture in a folder of
its own. The other trajectories of a file lend what they saw (`--others` names more); one alone is its own donor.
"""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from ..core.errors import R3labError, shown
from ..core.files import shipped_policy, whole_folder
from ..core.images import content_hash, open_image
from ..core.protocol import bare
from ..core.settings import Reader
from ..explain.explain import explain
from ..explain.explanation import check_free
from ..explain.trials import QUICK, Settings
from ..models.policy import Policy, check_template, control_token
from ..rollout.loop import rollout
from ..show.explanation import show_explanation
from ..show.filmstrip import filmstrip
from ..show.player import Entry, save_report
from ..show.text import clean, one_line
from ..trajectory import Kind, Look, Trajectory, load, save

_INDENT = "    "
PICTURE = "explanation.png"


@dataclass(frozen=True)
class Asked:
    """What the rollout needs to know of a question without a known answer."""

    id: str
    image: Image.Image
    question: str
    truth: dict[str, Any] = field(default_factory=dict)


def ask_command(argv: Sequence[str]) -> int:
    """`r3lab ask`."""
    reader = Reader(
        prog="r3lab ask",
        description="Ask the policy about your image and watch its looks.",
        example='r3lab ask assets/pictures/badges.png "Which digit is on the blue square?" --out runs/asked --report',
    )
    reader.add_argument("image", help="an image file")
    reader.add_argument("question", help="in words")
    reader.add_argument("--model", metavar="PATH", help="folder of a checkpoint (default: the tiny policy)")
    reader.add_argument("--out", metavar="DIR", help="folder to make (default: runs/ask/TIME)")
    how = reader.add_mutually_exclusive_group()
    how.add_argument("--temperature", type=float, default=0.0, metavar="T", help="sample at it; 0 is greedy")
    how.add_argument("--greedy", action="store_const", const=0.0, default=0.0, dest="temperature", help="the default")
    reader.add_argument("--seed", type=int, default=0, metavar="S", help="of the sampling")
    reader.add_argument("--max-looks", type=int, default=8, metavar="N", help="looks that it may take")
    reader.add_argument("--report", action="store_true", help="save report.html too: step through it in a browser")
    return ask(**vars(reader.parse_args(argv)))


def ask(
    image: str | Path,
    question: str,
    model: str | Path | None = None,
    out: str | Path | None = None,
    temperature: float = 0.0,
    seed: int = 0,
    max_looks: int = 8,
    report: bool = False,
) -> int:
    """Let a policy answer, print its steps as they come, save the trajectory and the filmstrip.

    Parameters
    ----------
    image
        Path of an image file.
    question
        In words.
    model
        Folder of a checkpoint; the shipped tiny policy if None.
    out
        Folder to make (it must not hold anything yet); ``runs/ask/<time>`` if None.
    temperature
        0 is greedy.
    seed
        Of the sampling, from 0.
    max_looks
        Looks that the policy may take, from 0.
    report
        Save ``report.html`` as well, to step through it in a browser.

    Returns
    -------
    int
        0: done, whatever the policy answered.

    Raises
    ------
    R3labError
        If the image, the question, a number, the folder or the checkpoint cannot be used.
    """
    if not (math.isfinite(temperature) and temperature >= 0):
        raise R3labError(f"The temperature must be a number from 0, got {shown(temperature)}.")
    for name, value in (("seed", seed), ("number of looks", max_looks)):
        if value < 0:
            raise R3labError(f"The {name} must be a whole number from 0, got {shown(value)}.")
    text, opened = bare(question), open_image(image)
    asked = Asked(f"ask-{content_hash(opened)[:12]}", opened, text)
    folder = _free_folder(out)
    policy = Policy.load(shipped_policy() if model is None else model)  # seconds: quick checks came before
    check_template(policy)
    if found := control_token(policy, text):  # it would change who says what
        raise R3labError(f"The question holds {shown(found)}, a control token; leave it out.")

    _write(f"policy {one_line(policy.name, 60)}, image {asked.image.width} x {asked.image.height}\n")
    steps = Steps(_write)
    start = time.perf_counter()
    [trajectory] = rollout(policy, [asked], temperature=temperature, seed=seed, max_looks=max_looks, watch=steps)
    seconds = time.perf_counter() - start
    steps.end()
    keep(trajectory, folder, report)
    tokens, looks = sum(trajectory.sampled_mask), len(trajectory.looks)
    answer = "none" if trajectory.answer is None else one_line(trajectory.answer, 2000)
    ending = "" if trajectory.answer is not None else f" ({trajectory.finish})"
    _write(f"answer: {answer}{ending}\n")
    _write(f"{seconds:.1f} s, {tokens} tokens, {looks} look{'' if looks == 1 else 's'}\n")
    _write(f"saved: {clean(str(folder))} (trajectory.json, filmstrip.png{', report.html' * report})\n")
    return 0


def _free_folder(out: str | Path | None) -> Path:
    """The folder to make; refused now if it could not be made later."""
    if out is None:
        stem = Path("runs", "ask", time.strftime("%Y%m%d-%H%M%S"))
        names = (stem if i == 1 else stem.with_name(f"{stem.name}-{i}") for i in range(1, 1000))
        folder = next(name for name in names if not name.exists())
    else:
        folder = Path(out)
    try:
        if folder.exists() and not folder.is_dir():
            raise R3labError(f"{shown(str(folder))} is a file; name a folder to make.")
        if folder.is_dir() and any(folder.iterdir()):
            raise R3labError(f"The folder {shown(str(folder))} is not empty; name one to make.")
        parent = folder.absolute().parent
        while not parent.exists():
            parent = parent.parent
        if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
            raise R3labError(f"Cannot write to {shown(str(parent))}; choose another folder.")
    except (OSError, ValueError) as error:
        if isinstance(error, R3labError):
            raise
        raise R3labError(f"{shown(str(folder))} cannot be a folder: {error}; choose another.") from error
    return folder


class Steps:
    """Prints a growing trajectory: text as it comes, a line for each look.

    Every line of the model's own text is indented further than the lines about looks, so that it cannot pretend
    to be one.
    """

    def __init__(self, write: Callable[[str], object]) -> None:
        self._write, self._tokens, self._looks, self._fresh = write, 0, 0, True

    def __call__(self, t: Trajectory) -> None:
        """Print what is new since the last call."""
        for at in range(self._tokens, len(t.ids)):
            if t.kinds[at] == Kind.SAMPLED:
                self._text(clean(t.pieces[at]))
            while self._looks < len(t.looks) and t.looks[self._looks].span[1] <= at + 1:
                self.end()
                self._looks += 1
                self._write(f"  {look_line(t.looks[self._looks - 1], self._looks)}\n")
        self._tokens = len(t.ids)

    def _text(self, text: str) -> None:
        if self._fresh:
            text = text.lstrip()
        if text:
            self._write((_INDENT if self._fresh else "") + text.replace("\n", f"\n{_INDENT}"))
            self._fresh = False

    def end(self) -> None:
        """End the line in progress."""
        if not self._fresh:
            self._write("\n")
        self._fresh = True


def look_line(look: Look, number: int) -> str:
    """One look in a line: ``look 1: [40, 60, 90, 110] px, zoom x2 -> 64x64 crop``."""
    place = "no box"
    if look.box is not None:
        place = "[" + ", ".join(f"{value:.0f}" if abs(value) < 1e9 else "huge" for value in look.box) + "] px"
    if look.crop is None:
        return f"look {number}: {place}, refused: {one_line(look.reason, 120) or 'no crop'}"
    zoom = "" if look.zoom is None else f"zoom x{look.zoom:.3g} "
    return f"look {number}: {place}, {zoom}-> {look.crop.width}x{look.crop.height} crop"


def keep(trajectory: Trajectory, folder: Path, report: bool = False) -> None:
    """Write the trajectory, its filmstrip, on demand its report: the folder appears with all in it, or not at all.

    Raises
    ------
    R3labError
        If the folder cannot be written or has come to hold something.
    """
    with whole_folder(folder) as part:
        save(trajectory, part)
        filmstrip(trajectory).save(part / "filmstrip.png")
        if report:
            save_report([Entry(trajectory)], part / "report.html")


def _write(text: str) -> None:
    """Print now, with a question mark for what the terminal's encoding lacks."""
    coding = getattr(sys.stdout, "encoding", None) or "utf-8"
    print(text.encode(coding, "replace").decode(coding), end="", flush=True)


def explain_command(argv: Sequence[str] | None = None) -> int:
    """Explain one trajectory.

    Parameters
    ----------
    argv
        Arguments after `r3lab explain`.

    Returns
    -------
    int
        0: done, whatever the verdict is.

    Raises
    ------
    R3labError
        If something given cannot be used; nothing is written then.
    """
    args = explain_reader().parse_args(None if argv is None else list(argv))
    found = _read(args.trajectory)
    if not 1 <= args.number <= len(found):
        raise R3labError(f"there is no trajectory {args.number}; the file has {len(found)}, counted from 1")
    chosen = found[args.number - 1]
    count = len(chosen.looks)
    if args.look is not None and not 1 <= args.look <= count:
        raise R3labError(f"there is no look {args.look}; the trajectory has {count}, counted from 1")
    others = [t for t in found if t is not chosen] + [t for path in args.others for t in _read(path)]
    folder = Path(args.out) if args.out else Path("runs", "explain", time.strftime("%Y%m%d-%H%M%S"))
    check_free(folder)
    policy = Policy.load(args.model or shipped_policy())
    number = None if args.look is None else args.look - 1
    explanation = explain(policy, chosen, others, number, QUICK if args.quick else Settings(), progress=True)
    explanation.save(folder)
    show_explanation(explanation).save(folder / PICTURE)
    said = [
        f"{what}: {value}" if look == "all" else f"{look}  {what}: {value}" for look, what, value in explanation.table()
    ]
    said += ["", *(entry.sentence for entry in explanation.looks), explanation.sentence]
    for line in [*said, f"saved: {folder} (explanation.json, {PICTURE})"]:
        _write(one_line(line, 2000) + "\n")  # foreign text is made harmless for a terminal
    return 0


def explain_reader() -> Reader:
    """The options of `r3lab explain`."""
    parser = Reader(
        prog="r3lab explain",
        example="r3lab explain runs/asked",
        description="Say why each look of a trajectory was taken and whether it mattered, with the evidence.",
    )
    parser.add_argument("trajectory", help="trajectory.json, trajectories.jsonl, or a folder that holds one of them")
    parser.add_argument("--model", metavar="PATH", help="the checkpoint that wrote it (default: the tiny policy)")
    parser.add_argument("--number", type=int, default=1, metavar="N", help="of a file of many, from 1 (default: 1)")
    parser.add_argument("--look", type=int, metavar="N", help="this look alone, from 1 (default: all)")
    parser.add_argument(
        "--others",
        nargs="+",
        default=[],
        metavar="PATH",
        help="trajectories that lend what they saw, beside the file's",
    )
    parser.add_argument("--out", metavar="DIR", help="folder to make (default: runs/explain/TIME)")
    parser.add_argument("--quick", action="store_true", help="fewer interventions, and no map of every place")
    return parser


def _read(path: str | Path) -> list[Trajectory]:
    """The trajectories of a file or folder.

    Raises
    ------
    R3labError
        If there are none.
    """
    found = load(path)
    every = found if isinstance(found, list) else [found]
    if not every:
        raise R3labError(f"{shown(str(path))} holds no trajectory; name another file")
    return every
