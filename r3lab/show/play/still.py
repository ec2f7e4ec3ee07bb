"""The game where no kernel runs: a sample, where the policy looked, its value map, the table, and what one does live.

still(turn)                          # a Picture, with alt text
still_html(turn, session)            # the picture with words around it, for a notebook's output
"""

from __future__ import annotations

import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from PIL import Image

from ...errors import R3labError
from ...explain.crop_value import ValueMap
from ..alt import Picture, picture
from ..markup import line
from ..palette import DIVERGING
from ..value_map import draw_value, value_alt
from .turn import Turn

LIVE = (
    "Be the policy, live: run this cell in JupyterLab. You see what the policy sees, draw the box of a look or say "
    "that no look is needed, and the policy goes on from your crop. Your look is scored against the policy's own and "
    "the best place on the value map, over several samples."
)


def heat_image(found: ValueMap) -> Image.Image:
    """A value map in colours, a pixel a cell, from its least to its greatest worth."""
    values = np.asarray(found.heat(), dtype=np.float64)
    spread = max(float(values.max() - values.min()), 1e-6)
    colours = LinearSegmentedColormap.from_list("worth", DIVERGING)((values - values.min()) / spread)
    return Image.fromarray((255 * colours[..., :3]).round().astype(np.uint8))


def still(turn: Turn, dark: bool = False) -> Picture:
    """The sample with the policy's look, and its value map.

    Raises
    ------
    R3labError
        If the map has not been measured.
    """
    if turn.map is None:
        raise R3labError("The value map of this sample has not been measured; measure it first.")
    t, look, found = turn.point.trajectory, turn.point.look, turn.map
    spot = (t, look, found.heat(), found.best.box, found.regret)
    return picture(draw_value(*spot, dark=dark), f"{value_alt(*spot)} {policys_words(turn)}")


def policys_words(turn: Turn) -> str:
    """What the policy did by itself, in a sentence."""
    if turn.point.taken:
        return "The policy looked there by itself."
    if turn.point.wrote:
        return "The policy took no look by itself; the one shown is where it looks when it is made to."
    return "The policy took no look by itself, and writes no box when it is made to; the one shown is in the middle."


def bundle(turn: Turn | None, titles: list[list[str]], rows: list[list[str]], total: str, name: str) -> dict[str, str]:
    """What a notebook keeps of a game: words, picture, table.

    Parameters
    ----------
    turn
        Measured; None: there is nothing to show yet.
    titles, rows
        The table, as text; foreign text in it is escaped here.
    total
        Under the table, our own words.
    name
        Id of the element, by which a live game hides it.
    """
    shown = None if turn is None else still(turn)
    inside = f"<p>{LIVE}</p>"
    if shown is not None and turn is not None:
        inside += f"{shown.to_html()}<p>{policys_words(turn)}</p>"
    text = [LIVE, shown.alt if shown else ""]
    if rows:
        head = "".join(f"<th>{line(' '.join(title).strip())}</th>" for title in titles)
        body = "".join(f"<tr>{''.join(f'<td>{line(cell)}</td>' for cell in row)}</tr>" for row in rows)
        inside += (
            f'<div style="overflow-x:auto"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
        )
        inside += f"<p>{line(total)}</p>"
        text.append(total)
    found = {"text/html": f'<div id="{name}">{inside}</div>', "text/plain": "\n".join(filter(None, text))}
    if shown is not None:
        found["image/png"] = str(shown._repr_mimebundle_()["image/png"])
    return found
