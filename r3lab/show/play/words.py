"""What came of a choice, in words and in round numbers.

outcome_words(turn, choice)      # "Your look made the right answer 3e+07 times as likely as no look. ..."
rewards_words("You", choice)     # "You: 1.93 = accuracy 1.00 + format 0.50 + region 0.43"
"""

from __future__ import annotations

import math

from .turn import Choice, Turn

LITTLE = 0.05  # nats that count as none
GREAT = 1000  # times


def sure(nats: float) -> str:
    """A log-probability as a probability in per cent, in few digits."""
    percent = 100 * math.exp(min(nats, 0.0))
    if percent >= 10:
        return f"{min(percent, 99.9) if nats < 0 else percent:.3g} %"
    return f"{percent:.2g} %" if percent >= 0.01 else "under 0.01 %"


def times(nats: float) -> str:
    """How many times as likely, in words; nats from 0."""
    factor = math.exp(min(nats, 50.0))
    return f"{factor:.2g} times" if factor < GREAT else "more than a thousand times"


def overlap_words(choice: Choice) -> str:
    """IoU with the true region; "" without a look or where that is not known."""
    return "" if choice.overlap is None else f"{choice.overlap:.2f}"


def rewards_words(who: str, choice: Choice) -> str:
    """A reward and the parts that are not zero, which the trainer would have paid."""
    parts = [(name, value) for name, value in choice.rewards.items() if value]
    shown = " ".join(f"{'-' if v < 0 else '+'} {name} {abs(v):.2f}" for name, v in parts).removeprefix("+ ")
    return f"{who}: {choice.reward:.2f} = {shown or 'nothing'}"


def outcome_words(turn: Turn, choice: Choice) -> str:
    """What a choice was worth, against no look, the policy's choice and the best window."""
    needed = turn.own.truth.get("needs_look")
    said = []
    if choice.box is None:
        said.append("You said that no look is needed.")
    else:
        gain = choice.right - turn.point.without
        if abs(gain) < LITTLE:
            said.append("Your look changed next to nothing: the right answer is as likely without it.")
        elif gain > 0:
            said.append(f"Your look made the right answer {times(gain)} as likely as no look.")
        else:
            said.append(f"Your look did harm: without it, the right answer is {times(-gain)} as likely.")
    ahead = choice.right - turn.policys.right
    if abs(ahead) < LITTLE:
        said.append("The policy's own choice was worth the same.")
    else:
        said.append(f"The policy's own choice was worth {abs(ahead):.2f} nats {'less' if ahead > 0 else 'more'}.")
    regret = turn.regret(choice)
    if regret is not None:
        best = "No window of the map is worth more." if regret < LITTLE else f"The best window: {regret:.2f} nats more."
        said.append(best)
    if needed is not None:
        said.append(f"A look was {'needed' if needed else 'not needed'} here.")
    if not turn.point.taken:
        there = "it would have looked at the dashed box" if turn.point.wrote else "it wrote no box that can be shown"
        said.append(f"The policy took no look; made to, {there}.")
    return " ".join(said)
