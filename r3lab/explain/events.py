"""The moments of a trajectory at which attention is worth reading.

An event is a sampled token with a name. Attention *from* it is that of the state from which it was drawn, which stands
one place before it: what the policy read in order to write it.

    for event in events(trajectory):
        print(event.name, event.look, trajectory.pieces[event.token])
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..errors import R3labError
from ..protocol import CLOSE, OPEN, Scanner
from ..trajectory import Kind, Trajectory

COORDINATES = ("x1", "y1", "x2", "y2")
BEFORE, AFTER, ANSWER = "before the box", "after the crop", "answer"
NAMES = (*COORDINATES, BEFORE, AFTER, ANSWER, "token")
NEAR = 3  # tokens before a box and after a crop
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")


@dataclass(frozen=True)
class Event:
    """A sampled token that is looked at.

    Attributes
    ----------
    name : one of `NAMES`: a coordinate of a box, the words before it, the first words after its crop, the answer
    token : its place in the trajectory
    look : number of the look that it belongs to, from 0; None for the answer
    """

    name: str
    token: int
    look: int | None = None

    @property
    def reads(self) -> int:
        """Place of the state from which the token was drawn: the query of the attention."""
        return self.token - 1


def events(trajectory: Trajectory) -> list[Event]:
    """All events of a trajectory, in the order of its tokens."""
    found = [event for number in range(len(trajectory.looks)) for event in _of_look(trajectory, number)]
    return sorted([*found, *_of_answer(trajectory)], key=lambda event: event.token)


def chosen(trajectory: Trajectory, at: Sequence[str | int] | None) -> list[Event]:
    """The events that are meant: by name, by token, or all.

    Raises
    ------
    R3labError
        For a name that no event has, or a token that was not sampled.
    """
    every = events(trajectory)
    if at is None:
        return every
    found = []
    for wanted in at:
        if isinstance(wanted, str):
            if wanted not in NAMES:
                raise R3labError(f"no event is named {wanted!r}; there are {', '.join(NAMES[:-1])}")
            found += [event for event in every if event.name == wanted]
        elif not 0 <= wanted < len(trajectory.ids) or trajectory.kinds[wanted] != Kind.SAMPLED:
            raise R3labError(f"token {wanted} of {len(trajectory.ids)} was not sampled; attention is read from those")
        else:
            found.append(Event("token", int(wanted)))
    return found


def _sampled(trajectory: Trajectory, places: Sequence[int]) -> list[int]:
    return [i for i in places if trajectory.kinds[i] == Kind.SAMPLED and i > 0]


def _of_look(trajectory: Trajectory, number: int) -> Iterator[Event]:
    look = trajectory.looks[number]
    start, end = look.span
    before = _sampled(trajectory, range(max(0, start - NEAR), start))
    yield from (Event(BEFORE, i, number) for i in before)
    text, at = "".join(trajectory.pieces[start:end]), 0
    numbers = [found.span() for found in _NUMBER.finditer(text, text.find("[") + 1)]  # the key has a digit too
    for i in range(start, end):
        until = at + len(trajectory.pieces[i])
        for name, (a, b) in zip(COORDINATES, numbers, strict=False):
            if at < b and until > a:
                yield Event(name, i, number)
        at = until
    if look.crop_span is not None:
        later = range(look.crop_span[1], len(trajectory.ids))
        yield from (Event(AFTER, i, number) for i in _sampled(trajectory, later)[:NEAR])


def _of_answer(trajectory: Trajectory) -> Iterator[Event]:
    if trajectory.answer is None:
        return
    scanner, at = Scanner(), 0
    spans: list[tuple[int, int, int]] = []  # characters of the response, token
    inside = (0, 0)
    for i in _sampled(trajectory, range(len(trajectory.ids))):
        piece = trajectory.pieces[i]
        spans.append((at, at + len(piece), i))
        at += len(piece)
        for read in scanner.feed(piece):
            if read.kind == "answer":
                inside = (read.start + len(OPEN), read.end - len(CLOSE))
    yield from (Event(ANSWER, i) for a, b, i in spans if a < inside[1] and b > inside[0])
