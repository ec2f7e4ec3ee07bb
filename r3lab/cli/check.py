"""`r3lab frames`: in which frame a checkpoint writes its boxes, and the setting that says so.

r3lab frames CHECKPOINT --out runs/frames.png
"""

from __future__ import annotations

from pathlib import Path

from ..core.errors import R3labError, shown
from ..core.files import shipped_policy
from ..core.frames import Written
from ..core.geometry import Frame
from ..core.settings import Whole
from ..show.text import clean


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
