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
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal

from .errors import R3labError, nearest, shown
from .plugins import Plugins
from .protocol import ANSWER, CLOSING, OPENING, Marks
from .records import SchemaError, maybe, of, reader, text_of

BACK = ("crop", "overview", "nothing")
_PROMPT = text_of(4000, blank=True)
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

    name: Annotated[str, text_of(60)]
    about: Annotated[str, text_of(200, blank=True)]
    opening: Annotated[str, _PROMPT] = ""
    closing: Annotated[str, _PROMPT] = CLOSING
    looks: Annotated[int | None, maybe(of("a whole number from 0", lambda v: type(v) is int and v >= 0))] = None
    back: Annotated[Literal["crop", "overview", "nothing"], of("crop, overview or nothing", BACK.__contains__)] = "crop"
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


_read = reader(Arm)


def _checked(found: Any, where: str) -> Arm:
    """The row of a table that somebody wrote, held against the fields of an arm."""
    if not isinstance(found, Arm):
        raise R3labError(f"{where} is {shown(found)}; wanted a row: r3lab.core.arms.Arm(name, about, ...).")
    try:
        _read(asdict(found), where)
    except SchemaError as error:
        raise R3labError(f"{error}") from None
    if not found.marks.open:
        raise R3labError(f"{where}: the answer of an arm needs a mark before it; marks.open is empty.")
    return found


OWN = Plugins("arm", ARMS, _checked)
get_arm = OWN.get


def arm_record(name: str) -> str | dict[str, Any]:
    """An arm as a record holds it: one that ships by name, one's own as the whole row, which is data and no code."""
    return name if name in ARMS or name not in OWN.own else asdict(OWN.own[name])


def arm_named(value: Any, where: str) -> str:
    """The name of an arm in a record; the row of somebody's own is known by its name from here on.

    Raises
    ------
    SchemaError
        If it is none, or another arm of this name is known.
    """
    if isinstance(value, dict):
        arm = _checked(_read(value, where), where)
        if OWN.own.get(arm.name, arm) != arm or arm.name in ARMS:
            raise SchemaError(f"{where}: another arm of the name {shown(arm.name)} is known here; rename one.")
        OWN.own[arm.name] = arm
        return arm.name
    if not isinstance(value, str) or value not in ARMS and value not in OWN.own:
        raise SchemaError(f"{where} must be one of {', '.join(ARMS)}, or a whole row, got {shown(value)}")
    return value


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
