"""`r3lab ask` and `r3lab explain`: one question on one image, and why the policy looked where it looked.

    r3lab ask street.jpg "which digit is on the red circle?" --out runs/asked
    r3lab explain runs/asked
    r3lab explain runs/rollouts/trajectories.jsonl --number 3 --look 1 --quick --out runs/explain/third

`ask` prints the policy's steps as they happen. Everything that can be wrong with the input is found before the policy
runs, and nothing is written before it has answered; then the trajectory and its filmstrip appear together, in a folder
of their own. Simplified: one image, one rollout, and nobody knows the true answer.

`explain` prints the evidence as a table and the sentences, and saves the explanation with its picture in a folder
beside the trajectory, where `r3lab report` finds it. The other trajectories of a file lend what they saw (`--others`
names more), and so do those that ship.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from ..core.errors import R3labError, shown
from ..core.files import check_free, shipped_policy, whole_folder
from ..core.images import content_hash, open_image
from ..core.protocol import bare
from ..core.settings import Amount, Whole
from ..explain.explanation import RECORD
from ..show.explanation import show_explanation
from ..show.filmstrip import filmstrip
from ..show.player import Entry, explained_name, save_report
from ..show.text import clean, one_line
from ..trajectory import Kind, Look, Trajectory, load, save
from ..vlir.convert import ConvertError, OwnSamples
from . import LeftOut, as_options

_INDENT = "    "
PICTURE = "explanation.png"


@dataclass(frozen=True)
class Asked:
    """What the rollout needs to know of a question without a known answer."""

    id: str
    image: Image.Image
    question: str
    truth: dict[str, Any] = field(default_factory=dict)


def ask(
    image: str = "",
    question: str = "",
    *,
    data: str = "",
    frame: str = "",
    images: str = "",
    model: str = "",
    out: str | Path = "",
    temperature: Amount = 0.0,
    seed: Whole = 0,
    max_looks: Whole = 8,
    report: bool = False,
) -> int:
    """Let a policy answer, print its steps as they come, save the trajectory and the filmstrip.

        r3lab ask assets/pictures/badges.png "Which digit is on the blue square?" --out runs/asked --report

    Parameters
    ----------
    image : an image file
    question : in words
    data : in place of both, a file with image and question in each row (answer and box if there are any)
    frame : of the boxes in --data, where it is open: source, resized-28, relative-1000, relative-1
    images : folder of the images that --data names (default: beside it)
    model : folder of a checkpoint (default: the tiny policy)
    out : folder to make, which must not hold anything yet (default: runs/ask/TIME)
    temperature : sample at it; 0 is greedy
    seed : of the sampling
    max_looks : looks that the policy may take
    report : save report.html too: step through it in a browser

    Returns
    -------
    int
        0: done, whatever the policy answered.

    Raises
    ------
    R3labError
        If the image, the question, the folder or the checkpoint cannot be used.
    """
    from ..evaluate.unlike import known_of  # torch: seconds, which --help need not wait for
    from ..models.policy import Policy, check_template, control_token
    from ..rollout.loop import rollout

    if bool(data) == bool(image) or bool(image) != bool(question):
        raise R3labError("Give an image and a question, or --data FILE with both in each row.")
    if data:
        asked = _rows_of(data, frame, images)
    else:
        text, opened = bare(question), open_image(image)
        asked = [Asked(f"ask-{content_hash(opened)[:12]}", opened, text)]
    stem = Path("runs", "ask", time.strftime("%Y%m%d-%H%M%S"))
    names = (stem if i == 1 else stem.with_name(f"{stem.name}-{i}") for i in range(1, 1000))
    folder = Path(out) if out else next(name for name in names if not name.exists())
    check_free(folder)
    policy = Policy.load(model or shipped_policy())  # seconds: quick checks came before
    check_template(policy)
    known = known_of(policy)
    if policy.plain:
        _write(f"plain path, exact and slow, one row at a time: {policy.reason}\n")
    for one in asked:
        if found := control_token(policy, one.question):  # it would change who says what
            raise R3labError(f"The question {shown(one.question)} holds {shown(found)}, a control token; leave it out.")

    trajectories = []
    for number, one in enumerate(asked):
        size = f"{one.image.width} x {one.image.height}"
        asks = one_line(one.question, 200) if data else f"policy {one_line(policy.name, 60)}, image {size}"
        _write(f"{asks}\n")
        steps = Steps(_write)
        start = time.perf_counter()
        how: dict[str, Any] = {"temperature": temperature, "seed": seed, "max_looks": max_looks, "numbers": [number]}
        [trajectory] = rollout(policy, [one], watch=steps, **how)
        seconds = time.perf_counter() - start
        steps.end()
        tokens, looks = sum(trajectory.sampled_mask), len(trajectory.looks)
        answer = f"none ({trajectory.finish})" if trajectory.answer is None else one_line(trajectory.answer, 2000)
        truth = f" (in the file: {one_line(str(one.truth['answer']), 200)})" if one.truth else ""
        _write(f"answer: {answer}{truth}\n{seconds:.1f} s, {tokens} tokens, {looks} look{'s' * (looks != 1)}\n")
        if known and (why := known.unlike(policy, trajectory)):
            _write(f"unlike what it was trained on: {clean(why)}; do not rely on the answer\n")
        trajectories.append(trajectory)
    if data:
        with whole_folder(folder) as part:
            save(trajectories, part)
            if report:
                save_report([Entry(t) for t in trajectories], part / "report.html")
    else:
        keep(trajectory, folder, report)
    files = "trajectories.jsonl" if data else "trajectory.json, filmstrip.png"
    _write(f"saved: {clean(str(folder))} ({files}{', report.html' * report})\n")
    return 0


def _rows_of(data: str, frame: str, images: str) -> list[Asked]:
    """The questions of a file; of the truth, what it says."""
    try:
        samples = list(OwnSamples("ask", data, frame, images, on_skip=LeftOut()))
    except ConvertError as error:
        raise as_options(error) from None
    return [Asked(s.id, s.image, bare(s.question), s.truth if s.answer else {}) for s in samples]


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
    """One look in a line: ``look 1: [40, 60, 90, 110] px, zoom x1.3 -> 64x64 crop``."""
    place = "no box"
    if look.box is not None:
        place = "[" + ", ".join(f"{value:.0f}" if abs(value) < 1e9 else "huge" for value in look.box) + "] px"
    if look.crop is None:
        return f"look {number}: {place}, refused: {one_line(look.reason, 120) or 'no crop'}"
    zoom = "" if look.enlargement is None else f"zoom x{look.enlargement:.2g} "
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
    """Print now, with a question mark for what the terminal's encoding lacks; into nothing once the reader has left."""
    coding = getattr(sys.stdout, "encoding", None) or "utf-8"
    try:
        print(text.encode(coding, "replace").decode(coding), end="", flush=True)
    except BrokenPipeError:  # `| head` has what it wanted; what was asked for is saved all the same
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def explain(
    trajectory: str,
    *,
    model: str = "",
    number: int = 1,
    look: int | None = None,
    others: Sequence[str] = (),
    out: str = "",
    quick: bool = False,
) -> int:
    """Say why each look of a trajectory was taken and whether it mattered, with the evidence.

        r3lab explain runs/asked

    Parameters
    ----------
    trajectory : trajectory.json, trajectories.jsonl, or a folder that holds one of them
    model : the checkpoint that wrote it (default: the tiny policy)
    number : of a file of many, from 1
    look : this look alone, from 1 (default: all)
    others : trajectories that lend what they saw, beside the file's and those that ship
    out : folder to make (default: explained-NUMBER beside the trajectory, where `r3lab report` finds it)
    quick : fewer interventions, and no map of every place

    Raises
    ------
    R3labError
        If something given cannot be used; nothing is written then.
    """
    from ..explain.donors import shipped_lenders
    from ..explain.explain import explain as explain_looks  # torch: seconds
    from ..explain.trials import QUICK, Settings
    from ..models.policy import Policy

    found = _read(trajectory)
    if not 1 <= number <= len(found):
        raise R3labError(f"there is no trajectory {number}; the file has {len(found)}, counted from 1")
    chosen = found[number - 1]
    if look is not None and not 1 <= look <= len(chosen.looks):
        raise R3labError(f"there is no look {look}; the trajectory has {len(chosen.looks)}, counted from 1")
    lenders = [t for t in found if t is not chosen] + [t for path in others for t in _read(path)] + shipped_lenders()
    beside = Path(trajectory) if Path(trajectory).is_dir() else Path(trajectory).parent
    folder = Path(out or beside / explained_name(number))
    check_free(folder, replace=(folder / RECORD).is_file())
    policy, settings = Policy.load(model or shipped_policy()), QUICK if quick else Settings()
    why = explain_looks(policy, chosen, lenders, None if look is None else look - 1, settings, progress=True)
    why.save(folder)
    show_explanation(why).save(folder / PICTURE)
    said = [f"{'' if at == 'all' else f'{at}  '}{what}: {value}" for at, what, value in why.table()]
    said += ["", *(entry.sentence for entry in why.looks), why.sentence]
    for line in [*said, f"saved: {folder} (explanation.json, {PICTURE})"]:
        _write(one_line(line, 2000) + "\n")  # foreign text is made harmless for a terminal
    return 0


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
