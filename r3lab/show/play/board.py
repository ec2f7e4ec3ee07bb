"""What the browser is told of a game: plain data, every text cleaned and bounded, every picture a data URI.

The script that draws it (`play.js`) puts text into text nodes only, so a question that looks like markup is shown as it
stands. What would give the answer away (true region, the policy's look, the map) is sent once a choice was made.
Simplified: all of it is sent anew at each step, but for the pictures.

    board(session)                 # {"phase": "choose", "question": "Which digit ...", ...}
    photos(session.current)        # {"overview": "data:image/png;base64,...", "photo": ...}
"""

from __future__ import annotations

from typing import Any

from ...geometry import Box
from ...images import resize
from ..embed import embed
from ..lettering import clean, one_line
from ..palette import DIVERGING, HALO, TRUTH, ink_on, look_colour
from ..value_map import BEST
from .session import Score, Session
from .still import heat_image
from .turn import Choice, Turn
from .words import outcome_words, overlap_words, rewards_words, sure

YOU, POLICY = look_colour(2), look_colour(1)  # of boxes
TITLES = (
    ("", "Question"),
    ("", "Needed"),
    ("You", "look"),
    ("You", "answer"),
    ("You", "nats"),
    ("You", "reward"),
    ("Policy", "look"),
    ("Policy", "answer"),
    ("Policy", "nats"),
    ("Policy", "reward"),
    ("", "Best window"),
)
TEXT = 600  # characters of what the policy wrote


def board(session: Session, notice: str = "", failed: str = "") -> dict[str, Any]:
    """The state of a game, JSON.

    Parameters
    ----------
    notice
        What a person did that could not be done, and why.
    failed
        Why the game cannot go on.
    """
    state: dict[str, Any] = {
        "phase": _phase(session, failed),
        "number": len(session.turns),
        "of": session.planned,
        "notice": one_line(failed or notice, 300),
        "left_out": len(session.left_out),
        "colours": {"you": YOU, "policy": POLICY, "best": BEST, "truth": TRUTH, "halo": list(HALO)},
        "scale": list(DIVERGING),
    }
    if not session.turns:
        return state
    turn = session.current
    you, policy = session.total()
    state |= {
        "question": clean(turn.own.question, 400),
        "size": list(turn.size),
        "overview": list(turn.own.overview),
        "total": [f"{you:.2f}", f"{policy:.2f}"],
    }
    if turn.choice is not None:
        state |= _seen(turn, turn.choice)
    if session.over:
        state |= {"titles": [list(title) for title in TITLES], "rows": table(session.scores())}
    return state


def _phase(session: Session, failed: str) -> str:
    if failed:
        return "failed"
    if not session.turns:
        return "wait"
    return "choose" if session.current.choice is None else "seen"


def _seen(turn: Turn, you: Choice) -> dict[str, Any]:
    """What came of a choice."""
    policy, point, best = turn.policys, turn.point, None if turn.map is None else turn.map.best
    boxes = [_box("you", you.box, YOU), _box("policy", policy.box or point.box, POLICY, not point.taken)]
    boxes += [_box("best", best.box if best else None, BEST), _box("truth", turn.truth, TRUTH)]
    rows = [
        ["You", _did(you), overlap_words(you), _answered(you), f"{you.right:.2f}", sure(you.right)],
        ["Policy", _did(policy), overlap_words(policy), _answered(policy), f"{policy.right:.2f}", sure(policy.right)],
    ]
    if best is not None:
        value = best.worth + point.without
        rows.append(["Best window", "look", "", "", f"{value:.2f}", sure(value)])
    rows.append(["Without a look", "", "", "", f"{point.without:.2f}", sure(point.without)])
    look = you.look
    return {
        "boxes": [one for one in boxes if one is not None],
        "numbers": rows,
        "said": [outcome_words(turn, you), rewards_words("You", you), rewards_words("Policy", policy)],
        "wrote": clean(_wrote(turn, you), TEXT),
        "crop": None
        if look is None or look.crop is None
        else {"zoom": f"{look.zoom or 1:.3g}", "size": [look.crop.width, look.crop.height]},
        "measured": turn.map is not None,
        "range": None if turn.map is None else _range(turn),
        "better": you.correct,
    }


def _box(name: str, box: Box | None, colour: str, dashed: bool = False) -> dict[str, Any] | None:
    if box is None:
        return None
    at = [round(v, 2) for v in box]
    return {"name": name, "box": at, "colour": colour, "ink": ink_on(colour), "dashed": dashed or name == "best"}


def _did(choice: Choice) -> str:
    return "look" if choice.box else "no look"


def _answered(choice: Choice) -> str:
    answer = choice.trajectory.answer
    if answer is None:
        return "none"
    return f"{one_line(answer, 40)} {'right' if choice.correct else 'wrong'}"


def _wrote(turn: Turn, choice: Choice) -> str:
    """What the policy wrote after the look; all of it where there was none."""
    t, at = choice.trajectory, 0
    if choice.box is not None and choice.look is not None and choice.look.crop_span is not None:
        at = choice.look.crop_span[1]
    mask = t.sampled_mask
    return "".join(piece for i, piece in enumerate(t.pieces) if i >= at and mask[i]).strip()


def _range(turn: Turn) -> list[str]:
    assert turn.map is not None
    heat = turn.map.heat()
    return [f"{float(heat.min()):+.2g} nats", f"{float(heat.max()):+.2g} nats"]


def table(lines: list[Score]) -> list[list[str]]:
    """The table of a game, as text; the answers in it are cleaned."""
    needed: dict[Any, str] = {True: "yes", False: "no"}
    found = []
    for line in lines:
        row = [one_line(line.turn.own.question, 90), needed.get(line.turn.own.truth.get("needs_look"), "?")]
        for one in (line.you, line.policy):
            overlap = "" if one.overlap is None else f" {one.overlap:.2f}"
            row += [f"{_did(one)}{overlap}", _answered(one), f"{one.right:.2f}", f"{one.reward:.2f}"]
        found.append([*row, "" if line.best is None else f"{line.best:.2f}"])
    return found


def photos(turn: Turn) -> dict[str, str]:
    """The pictures that a person sees before a choice: the overview, as the policy sees it, and the photograph."""
    photo = turn.own.images[turn.own.image.hash]
    return {"overview": embed(resize(photo, turn.own.overview), 300_000).uri, "photo": embed(photo, 500_000).uri}


def findings(turn: Turn) -> dict[str, str]:
    """The pictures that a choice brought: its crop, and the value map once it is measured."""
    if turn.choice is None:
        return {}
    found, look = {}, turn.choice.look
    if look is not None and look.crop is not None:
        found["crop"] = embed(turn.choice.trajectory.images[look.crop.hash], 200_000).uri
    if turn.map is not None:
        found["map"] = embed(heat_image(turn.map), 200_000).uri
    return found
