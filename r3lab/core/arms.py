"""The arms that looking again is compared with. Each is a prompt and a setting of the one loop: a row of a table.

`direct` answers at once; the staged ones think in the parts of LLaVA-CoT and Mulberry without looking; `boxes-as-text`
writes where it would look and is shown nothing; `full-image-again` gets the overview once more, without a zoom;
`one-look` grounds once, then answers, as Visual-CoT does; `interleaved` is VLM-R3. Simplified: all of an arm stands in
the user's turn, also where the source uses two (Visual-CoT). A policy that is asked the bare question (the tiny one)
gets the setting without the prompt, and learns an arm by being trained in it.

    rollout(policy, samples, arm=get_arm("one-look"))

What a policy would do in the other arm cannot be read from what it chooses by itself: `FORCED` has words that make it.

    rollout(policy, samples, group=2, forced=("direct", "look"))
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from .errors import R3labError, nearest, shown
from .protocol import ANSWER, CLOSING, OPENING, Marks

_THINK = "Think step by step inside <think> and </think>."


@dataclass(frozen=True)
class Arm:
    """One arm.

    Attributes
    ----------
    name : in the table, and in every record of it
    about : in a line
    opening, closing : what a large model is asked before and behind the form of a box (`protocol.question_text`);
        without an opening it is told of no box
    looks : most looks; None leaves it to the rollout. A box beyond is refused
    back : what follows a valid box: its crop, the overview again, or nothing at all. With nothing, the loop writes
        nothing about a box that is not valid either: all that follows the prompt is the policy's own
    marks : of the answer
    """

    name: str
    about: str
    opening: str = ""
    closing: str = CLOSING
    looks: int | None = None
    back: Literal["crop", "overview", "nothing"] = "crop"
    marks: Marks = ANSWER

    def most(self, looks: int) -> int:
        """Looks that a trajectory may take where the rollout allows `looks`."""
        return looks if self.looks is None else min(looks, self.looks)


_TABLE = (
    Arm(
        "direct",
        "answers at once",
        closing="Answer at once, without explaining: write <answer>your answer</answer>.",
        looks=0,
    ),
    # LLaVA-CoT (arXiv 2411.10440): the four tags of its answers
    Arm(
        "staged-llava-cot",
        "thinks in the four parts of LLaVA-CoT, without looking",
        closing="Write four parts in this order: <SUMMARY>how you will go about it</SUMMARY> <CAPTION>what the image "
        "shows of it</CAPTION> <REASONING>the reasoning, step by step</REASONING> <CONCLUSION>the answer "
        "alone</CONCLUSION>",
        looks=0,
        marks=Marks("<CONCLUSION>", "</CONCLUSION>"),
    ),
    # Mulberry (arXiv 2412.18319): the headings of its answers; the last one has no closing mark
    Arm(
        "staged-mulberry",
        "thinks under the headings of Mulberry, without looking",
        closing="Write these parts in this order, each behind its heading: '### Image Description:', "
        "'### Rationales:', \"### Let's think step by step.\", '### Step 1:', '### Step 2:' and so on, and last "
        "'### The final answer is:', with the answer alone behind it.",
        looks=0,
        marks=Marks("### The final answer is:", ""),
    ),
    Arm(
        "boxes-as-text",
        "writes boxes and is shown nothing",
        opening=f"{_THINK} Where a region matters, name it: write",
        closing="You are not shown the region; go on thinking. " + CLOSING,
        back="nothing",
    ),
    Arm(
        "full-image-again",
        "gets the whole image again for a box, as large as at first",
        opening="To look at the image again, write the region that matters as",
        closing="You are then shown the whole image again, and go on thinking. " + CLOSING,
        back="overview",
    ),
    # Visual-CoT (arXiv 2403.16999): a turn for the box, a turn for the answer
    Arm(
        "one-look",
        "looks once, then answers",
        opening="First write the one region that the answer depends on as",
        closing="You are then shown that region, enlarged. Then answer from the original image and the local detail: "
        "write <answer>your answer</answer>.",
        looks=1,
    ),
    Arm("interleaved", "looks again whenever it wants to", opening=OPENING),
)
ARMS: dict[str, Arm] = {arm.name: arm for arm in _TABLE}
INTERLEAVED = ARMS["interleaved"]

# Words at the start of the policy's turn that make it answer without a look, or with one: text of the environment,
# recorded and read, never sampled and without loss. A policy obeys exactly these words if lessons began with them, and
# goes on as always, "<think>...". A free rollout has none.
FORCED = {"direct": "At a glance.", "look": "A closer look."}


def get_arm(name: str) -> Arm:
    """An arm by name.

    Raises
    ------
    R3labError
        If there is none; the message names the nearest.
    """
    if name not in ARMS:
        raise R3labError(f"Unknown arm {shown(name)}; known: {', '.join(ARMS)}.{nearest(name, ARMS)}")
    return ARMS[name]


def forced_members(names: str | Sequence[str], group: int) -> list[str]:
    """What each member of a group is forced into: of one name, or of one for each member, where "" is free.

    Raises
    ------
    R3labError
        If a name is unknown, or there are as many names as neither one nor the members.
    """
    found = [names] if isinstance(names, str) else list(names)
    for name in found:
        if name and name not in FORCED:
            known = ", ".join(FORCED)
            raise R3labError(f"A rollout cannot be forced into {shown(name)}; known: {known}.{nearest(name, FORCED)}")
    if len(found) not in (1, group):
        raise R3labError(f"forced has {len(found)} names for a group of {group}; give one, or one for each member.")
    return found if len(found) == group else found * group
