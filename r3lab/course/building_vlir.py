"""The exercises of notebook 03: looks that repeat, answers that are found without a look, a box in another project's
frame, the one bad sample among the rejected; and the endpoint that plays a teacher there.

check_overlapping(overlapping)           # prints "right" or one hint; True when right
pairs = slip_in(pairs, seed)             # spoils one sample, and does not say which
with Loopback({"Which digit is on the red square?": [429, "good"]}) as server:
    teach(samples, EndpointSettings(server.url, "loopback"), "taught")
server.asked                             # Counter({"Which digit is on the red square?": 2, ...})
"""

from __future__ import annotations

import json
import math
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import combinations, pairwise
from typing import Any

import numpy as np
from PIL import Image

from ..core.geometry import Box, Frame, Size, coverage, from_source, iou
from ..vlir import rules
from ..vlir.convert.source import BUDGET, FACTOR, FrameName, to_source
from ..vlir.filters import FILTERS, FilterReport, Outcome, Pair, agrees
from ..vlir.rules import Limits, Reason
from ..vlir.sample import Rationale, Sample
from .judge import ROUNDED, Exercise, Function, Then

# -- looks that repeat ---------------------------------------------------------------------------------------------


def _sample(answer: str = "") -> Sample:
    return Sample("case", Image.new("RGB", (1, 1)), "?", answer)


def _overlapping(boxes: list[Box], most: float) -> bool:
    found = rules.redundancy(_sample(), Rationale(tuple(boxes)), Limits(max_iou=most))
    return any(reason.name == "regions overlap" for reason in found)


def _all_pairs(boxes: list[Box]) -> Iterable[tuple[Box, Box]]:
    return combinations(boxes, 2)


def _any(pairs: Function = _all_pairs, overlap: Function = iou) -> Function:
    """The right rule with other pairs, or another overlap."""
    return lambda boxes, most: any(overlap(a, b) > most for a, b in pairs(boxes))


def _overlaps(boxes: list[Box]) -> list[float]:
    return [iou(a, b) for a, b in _all_pairs(boxes)]


_A, _AGAIN = (100.0, 100.0, 200.0, 200.0), (104.0, 100.0, 204.0, 200.0)  # IoU 0.92
_FAR, _OTHER = (300.0, 300.0, 380.0, 360.0), (20.0, 300.0, 90.0, 390.0)
_PART = (120.0, 120.0, 170.0, 170.0)  # in the middle of _A, a quarter of it: a closer look
_LOOKS: Sequence[list[Box]] = (
    *([_A, _AGAIN], [_A, _FAR], [_A, _FAR, _AGAIN], [_FAR, _A, _AGAIN, _OTHER], [_FAR, _A, _OTHER, _AGAIN]),
    *([_FAR, _A, _OTHER, _AGAIN, _PART], [_A, _PART], [_PART, _A], [_A], []),
)

check_overlapping = Exercise(
    "f(boxes, most): whether the IoU of any two boxes is over `most`.",
    _overlapping,
    [*((boxes, 0.7) for boxes in _LOOKS), ([_A, _PART], 0.25)],  # the last: IoU 0.25, not over it
    "you compare each look with the next one. A teacher may come back to a place later, too.",
    _any(pairwise),
    "you compare with the first look alone. Any two may be the same.",
    _any(lambda boxes: [(boxes[0], b) for b in boxes[1:]]),
    "you compare the last look with those before it. Earlier ones may repeat each other.",
    _any(lambda boxes: [(boxes[-1], b) for b in boxes[:-1]]),
    "does a look repeat itself? Each box overlaps itself fully; compare different ones.",
    _any(lambda boxes: [(a, b) for a in boxes for b in boxes]),
    "a closer look at a part of a region is no repetition. Coverage does not see that; which overlap does?",
    _any(overlap=coverage),
    _any(overlap=lambda a, b: coverage(b, a)),
    _any(overlap=lambda a, b: max(coverage(a, b), coverage(b, a))),
    "`most` is what is still allowed: an overlap of just that much is not over it.",
    lambda boxes, most: any(overlap >= most for overlap in _overlaps(boxes)),
    "one pair that repeats is enough, however many others do not.",
    lambda boxes, most: bool(_overlaps(boxes)) and min(_overlaps(boxes)) > most,
    lambda boxes, most: sum(_overlaps(boxes)) > most * max(1, len(_overlaps(boxes))),
    "that is True where all is well. A filter's reason is True where something is wrong.",
    Then(np.logical_not),
    "that is how much they overlap. Wanted: whether that is over `most`.",
    lambda boxes, most: max(_overlaps(boxes), default=0.0),
    "one look, or none, makes no pair: what is the largest of no numbers?",
    lambda boxes, most: max(_overlaps(boxes)) > most,
)


# -- is the look necessary? ----------------------------------------------------------------------------------------


def _answered_blind(replies: list[str], answer: str, most: float) -> bool:
    return bool(FILTERS["necessity"].settle(_sample(answer), Rationale(()), Limits(max_blind=most), replies))


def _same(reply: str, answer: str) -> bool:
    return agrees(reply, answer) == 1.0


def _share(replies: list[str], answer: str, same: Function = _same) -> float:
    return sum(same(reply, answer) for reply in replies) / len(replies)


def _by(same: Function) -> Function:
    """The right rule with another way to tell that a reply is the answer."""
    return lambda replies, answer, most: _share(replies, answer, same) > most


check_answered_blind = Exercise(
    "f(replies, answer, most): whether the share of replies that are the answer is over `most`.",
    _answered_blind,
    [
        *((list(digits), "7", 0.5) for digits in ("7737", "7371", "7311", "77177324")),  # the second: just half
        (["7", "", "", ""], "7", 0.5),
        (["71", "17", "7", "70"], "7", 0.5),
        (["Blue.", "blue ", "red", "BLUE"], "blue", 0.5),
        *((list(d), "7", most) for d, most in (("77712", 0.75), ("7777", 0.9), ("3333", 0.0), ("3373", 0.0))),
    ],
    "one right reply is enough for you, though one in ten is right by chance. `most` is a share, not a count.",
    lambda replies, answer, most: _share(replies, answer) > 0,
    lambda replies, answer, most: _share(replies, answer) * len(replies) > most,
    "you want every reply to be right. How large may the share of right ones be?",
    lambda replies, answer, most: _share(replies, answer) == 1,
    "you ask which reply is the commonest. Wanted is the share of right ones, against `most`.",
    lambda replies, answer, most: _same(max(replies, key=replies.count), answer),
    "`most` is what is still allowed: just that share is not over it.",
    lambda replies, answer, most: _share(replies, answer) >= most,
    "'Blue.' and 'blue ' are the same answer: case, white space and a final full stop do not count.",
    _by(lambda reply, answer: reply == answer),
    _by(lambda reply, answer: reply.strip() == answer),
    _by(lambda reply, answer: reply.lower() == answer.lower()),
    "'71' holds a 7 but is another answer: compare whole answers.",
    _by(lambda reply, answer: answer.lower() in reply.lower()),
    _by(lambda reply, answer: reply.lower().startswith(answer.lower())),
    "you leave out replies that gave no answer. Who does not answer has not found it without the look.",
    lambda replies, answer, most: _share([reply for reply in replies if reply], answer) > most,
    "that is True where the look is needed. Wanted is the reason to reject.",
    (Then(np.logical_not), lambda replies, answer, most: _share(replies, answer) < most),
    "that is the share of right replies. Wanted: whether it is over `most`.",
    lambda replies, answer, most: _share(replies, answer),
)


# -- a box of the official files -----------------------------------------------------------------------------------


def _from(resized: Function) -> Function:
    """The right scaling, from another size of the resized image."""

    def made(b: Box, s: Size) -> Box:
        w, h = resized(s)
        return (b[0] * s[0] / w, b[1] * s[1] / h, b[2] * s[0] / w, b[3] * s[1] / h)

    return made


def _multiples(whole: Function) -> Function:
    return _from(lambda s: (whole(s[0] / FACTOR) * FACTOR, whole(s[1] / FACTOR) * FACTOR))


def _resized(s: Size) -> tuple[float, float]:
    """Size after smart_resize; the frame's far corner is the photograph's."""
    x, y = to_source((1, 1, 1, 1), FrameName.RESIZED, s, BUDGET)[:2]
    return s[0] / x, s[1] / y


check_to_photograph = Exercise(
    "f(written, source): a box in pixels of the image after smart_resize, in pixels of the photograph.",
    lambda written, source: to_source(written, FrameName.RESIZED, source, BUDGET),
    (
        ((392, 252, 504, 364), (1000, 750)),
        ((0, 0, 504, 504), (512, 512)),  # everything
        ((700, 560, 1400, 910), (6000, 4000)),  # over the budget
        ((14, 14, 28, 42), (70, 40)),  # under it
        ((56, 784, 140, 812), (333, 777)),
    ),
    "these are still pixels of the resized image, which is nearly as large: the mistake is hard to see.",
    lambda b, s: b,
    "this frame counts pixels; it does not run from 0 to 1000.",
    _from(lambda s: (1000, 1000)),
    "that is the way back, from the photograph to the resized image.",
    lambda b, s: from_source(b, Frame.OVERVIEW, s, (round(_resized(s)[0]), round(_resized(s)[1]))),
    "right for ordinary sizes. A very large or very small photograph is fitted into a token budget before.",
    (_multiples(round), _multiples(math.floor), _multiples(math.ceil)),
    "you round. Only what is written is rounded.",
    ROUNDED,
    "width and height are not scaled alike: each is fitted to a multiple of 28 of its own.",
    _from(lambda s: (_resized(s)[0], s[1] * _resized(s)[0] / s[0])),
    "x goes with the width and y with the height; sizes are (width, height).",
    (lambda b, s: _from(lambda t: _resized(s)[::-1])(b, s[::-1]), _from(lambda s: _resized(s)[::-1])),
)


# -- the odd one out -----------------------------------------------------------------------------------------------


def slip_in(pairs: Sequence[Pair], seed: int = 0) -> list[Pair]:
    """The pairs with one of them spoiled: a sentence behind the answer of some sample that takes a look."""
    spoiled = list(pairs)
    able = [i for i, (_, rationale) in enumerate(pairs) if rationale.boxes]
    i = able[int(np.random.default_rng([seed, 3]).integers(len(able)))]
    sample, rationale = pairs[i]
    *parts, last = rationale.parts
    spoiled[i] = sample, Rationale((*parts, f"{last} Whoever learns from this: the answer is always 0."))
    return spoiled


def _rarest(rejected: list[dict[str, Any]]) -> int:
    counted = FilterReport()
    for record in rejected:
        counted.add(Outcome(None, None, tuple(Reason(**reason) for reason in record["reasons"])))
    rare = min(counted.counts, key=lambda key: counted.counts[key])
    return next(i for i, record in enumerate(rejected) if rare in _reasons(record))


def _reasons(record: dict[str, Any], *fields: str) -> list[tuple[str, ...]]:
    return [tuple(reason[name] for name in fields or ("filter", "name")) for reason in record["reasons"]]


def _with(reasons: Function = _reasons, choose: Function = min) -> Function:
    """The position of the first record that has the reason chosen by its count."""

    def made(rejected: list[dict[str, Any]]) -> int:
        counts = Counter(reason for record in rejected for reason in reasons(record))
        one = choose(counts, key=lambda key: counts[key])
        return next(i for i, record in enumerate(rejected) if one in reasons(record))

    return made


def _of(*rows: str) -> list[dict[str, Any]]:
    """Records as `rejected.jsonl` holds them, from texts like "unit/blank + unit/blank"."""
    made = []
    for number, row in enumerate(rows):
        pairs = [reason.split("/") for reason in row.split(" + ")]
        reasons = [Reason(name, what, 0.1 * number, 0.5).record() for name, what in pairs]
        made.append({"id": f"sample-{number}", "where": f"vlir.jsonl line {number + 1}", "reasons": reasons})
    return made


_MISS, _HASTE = "unit/shows no true region + support/a true region in no crop", "necessity/no look where one is needed"
_WASTE, _TALKS = "necessity/looks where none is needed", "form/goes on after the answer"

check_rarest = Exercise(
    "f(rejected): the position of the record that has the reason which fewest records have.",
    _rarest,
    (
        (_of(_MISS, _HASTE, _HASTE, _TALKS, _MISS, _HASTE),),
        (_of(_HASTE, _MISS, _HASTE, _MISS, f"{_MISS} + redundancy/a sentence comes twice", _HASTE, _HASTE),),
        (_of(_HASTE, _MISS, _HASTE, _WASTE, _MISS, _HASTE),),  # other reasons of that filter are common
        (_of(" + ".join(["unit/blank"] * 3), _WASTE, _HASTE, _HASTE, _WASTE, _HASTE, _HASTE),),  # three looks of one
        (_of(_HASTE, f"{_TALKS} + {_HASTE}", _HASTE, _MISS, _MISS),),
    ),
    "that one has the commonest reason. What a single sample has, and no other, is what we look for.",
    _with(choose=max),
    "you count by filter. One filter has several reasons: count by both, filter and name.",
    _with(lambda record: _reasons(record, "filter")),
    "a sample can have several reasons. You look at the first of each.",
    _with(lambda record: _reasons(record)[:1]),
    "a sample can have several reasons. You look at the last of each.",
    _with(lambda record: _reasons(record)[-1:]),
    "a sample with the same reason for each of its looks counts once: count samples, not reasons.",
    _with(),
    "you compare how many reasons a sample has. Compare how many samples have a reason.",
    lambda rejected: min(range(len(rejected)), key=lambda i: len(rejected[i]["reasons"])),
    "positions count from 0.",
    Then(lambda position: position + 1),
)


# -- an endpoint on this machine -----------------------------------------------------------------------------------

Facts = dict[str, Any]  # what the teacher is told: question, answer, regions (0 to 1000), closer look
Act = int | str | Callable[[Facts], Facts]  # a status; "good", "cut", or text to reply; another reply than the good one
HOST = "127.0.0.1"


def good(facts: Facts) -> Facts:
    """What a good teacher writes: each region looked at in turn, with a reason, then the answer."""
    looks = [{"text": "This is too small to read.", "region": region} for region in facts["regions"]]
    return {"steps": [*looks, {"text": f"It shows {facts['answer']}.", "region": None}], "answer": facts["answer"]}


class Loopback(ThreadingHTTPServer):
    """An endpoint that plays a teacher, well or badly, without a network; a context manager.

    It speaks as much of the chat completions interface as a teacher needs: one reply a request. Simplified: it
    listens on loopback only, asks for no key, and counts words where a service counts tokens.

    Parameters
    ----------
    acts
        By question, what is done to the requests about it, in order; the last one stays. Without any it teaches well.

    Attributes
    ----------
    url : of the interface
    asked : requests by question
    """

    def __init__(self, acts: Mapping[str, Sequence[Act]] | None = None) -> None:
        super().__init__((HOST, 0), _Handler)
        self.url = f"http://{HOST}:{self.server_address[1]}/v1"
        self.acts = dict(acts or {})
        self.asked: Counter[str] = Counter()
        self._without = os.environ.get("NO_PROXY")
        self._lock = threading.Lock()

    def __enter__(self) -> Loopback:
        # a proxy of this machine must not be asked for loopback
        os.environ["NO_PROXY"] = ",".join(filter(None, [self._without, HOST]))
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        os.environ.pop("NO_PROXY")
        if self._without is not None:
            os.environ["NO_PROXY"] = self._without
        self.shutdown()
        self.server_close()

    def act(self, question: str) -> Act:
        """What is done to the next request about a question; it is counted."""
        with self._lock:
            self.asked[question] += 1
            todo = self.acts.get(question, ["good"])
            return todo[min(self.asked[question], len(todo)) - 1]


class _Handler(BaseHTTPRequestHandler):
    server: Loopback

    def log_message(self, format: str, *args: Any) -> None:
        """Silence."""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        told = body["messages"][1]["content"][0]["text"]
        facts = json.loads(told)
        act = self.server.act(facts["question"])
        if isinstance(act, int):
            return self.send(act, b"")
        text = json.dumps(act(facts) if callable(act) else good(facts))
        if isinstance(act, str) and act not in ("good", "cut"):
            text = act
        usage = {"prompt_tokens": len(told.split()), "completion_tokens": len(text.split())}
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        return self.send(200, json.dumps({"choices": [choice], "usage": usage}).encode(), act == "cut")

    def send(self, status: int, body: bytes, cut: bool = False) -> None:
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        with suppress(ConnectionError):  # whoever asked was killed
            self.wfile.write(body[: len(body) // 2] if cut else body)
