"""`r3lab frames` and `r3lab check`: in which frame a checkpoint writes its boxes, and what is wrong with rollouts.

r3lab frames CHECKPOINT --out runs/frames.png
r3lab check rollouts/120.jsonl --images images --out runs/theirs
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from ..core.errors import R3labError, shown
from ..core.files import check_free, shipped_policy
from ..core.frames import Written
from ..core.geometry import Frame
from ..core.settings import Whole
from ..show.text import clean
from ..trajectory import contradictions, save
from . import LeftOut

FRAMES = {  # of the boxes of a dump
    **{name: Written(name) for name in ("source", "relative-1000", "relative-1")},
    "relative-1000-yx": Written(order="y1 x1 y2 x2"),
}


def frames(model: str = "", *, out: str = "", seed: Whole = 7) -> int:
    """Draw 32 pictures with one known object each, ask for its box, and find unit, order, origin and padding.

        r3lab frames CHECKPOINT --out runs/frames.png

    Parameters
    ----------
    model : folder of a checkpoint (default: the tiny policy)
    out : picture of written against true coordinates: .png, .svg or .pdf (default: none)
    seed : of the pictures

    Returns
    -------
    int
        0 where the frame is the one that the policy is set to; 1 where it is another, or none was found.

    Raises
    ------
    R3labError
        If the checkpoint or the name of the picture cannot be used.
    """
    from ..show.effects import draw_frames  # matplotlib and torch: seconds, which --help need not wait for
    from ..show.picture import FORMATS

    if out and Path(out).suffix.lower().removeprefix(".") not in FORMATS:
        raise R3labError(f"Cannot draw into {shown(out)}: end its name in .{', .'.join(FORMATS)}.")
    from ..evaluate.frames import frame_of
    from ..models.policy import Policy, check_template

    policy = Policy.load(model or shipped_policy())
    check_template(policy)
    found, cases = frame_of(policy, seed=seed)
    print(f"{clean(policy.name, 60)} {found.said}")
    for one in found.alike:
        print(f"the same in these pictures: {one}")
    print(advice(found.written, policy.frame))
    if out and found.boxes:
        print(clean(str(draw_frames(cases, found, written_as(policy.frame)).save(out))))
    return int(found.written is None or found.written.frame is not policy.frame)


def check(dump: str, *, images: str = "", frame: Annotated[str, ", ".join(FRAMES)] = "", out: str = "") -> int:
    """Read a dump of rollouts of TRL, verl, DeepEyes or Pixel-Reasoner, and say what is commonly wrong with such.

        r3lab check rollouts/120.jsonl --images images --out runs/theirs

    Parameters
    ----------
    dump : JSON lines or Parquet, or a folder of such files
    images : folder of the images that it names (default: of the dump)
    frame : in which its boxes are meant (default: as its project means them); one of
    out : folder to make, of its rollouts as trajectories, for `report` and `browse` (default: none)

    Returns
    -------
    int
        0 where nothing was found, 1 where something was.

    Raises
    ------
    R3labError
        If the dump cannot be read, or the folder cannot be written.
    """
    from ..vlir.dump_checks import check as found_in
    from ..vlir.dump_checks import lacking
    from ..vlir.dumps import read_dump

    if out:
        check_free(Path(out))
    read, left_out = read_dump(dump, images or None, FRAMES[frame] if frame else None), LeftOut()
    for problem in read.problems:
        left_out(clean(problem))
    looks = sum(len(one.t.looks) for one in read.rollouts)
    print(f"{read.layout.name}: {len(read.rollouts):,} rollouts with {looks:,} looks, boxes as {read.written}")
    for told in lacking(read):
        print(f"not held: {told}")
    faults = found_in(read)
    for fault in faults:
        print(f"{fault.name}: {fault.count:,} of {fault.of:,}: {fault.said}; first in {clean(fault.where, 120)}")
    if not faults:
        print("nothing of what is commonly wrong was found")
    if out:
        whole = [one.t for one in read.rollouts if next(contradictions(one.t), None) is None]
        if not whole:
            raise R3labError("No rollout of the dump is whole enough to be saved as a trajectory.")
        left = f", {len(read.rollouts) - len(whole)} contradict themselves" if len(whole) < len(read.rollouts) else ""
        print(f"{clean(str(save(whole, out)))}: {len(whole):,} trajectories{left}")
    return int(bool(faults))


def written_as(frame: Frame) -> Written:
    """A policy's frame, as `core.frames` says it."""
    unit = frame.value.removesuffix("-yx")
    return Written(unit, "y1 x1 y2 x2" if unit != frame.value else "x1 y1 x2 y2")


def advice(written: Written | None, frame: Frame) -> str:
    """What to do about a frame that was found, where a policy is set to `frame`."""
    if written is None:
        return f"setting: stays {frame.value}; nothing was found that speaks for or against it"
    if written.frame is frame:
        return f"setting: {frame.value}, as it is"
    if written.frame is None:
        known = ", ".join(one.value for one in Frame)
        return f"setting: none reads it (there are {known}); train it to one of them, or convert its boxes"
    place = f'{{"r3lab": {{"frame": "{written.frame.value}"}}}}'
    return f"setting: {written.frame.value}, and it is {frame.value}: add {place} to its preprocessor_config.json"
