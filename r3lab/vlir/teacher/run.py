"""A run of a teacher behind an endpoint: samples in, a VLIR folder out, every settled question in a journal.

    tally = teach(samples, EndpointSettings(base_url, model), "runs/vlir")     # again after a kill: it goes on
    print(tally)                        # 118 accepted, 9 rejected, 0 failed; 151,204 + 20,310 tokens, cost 0.0349

In the folder: `teacher/journal.jsonl` as it goes, `images/`, and at the end `vlir.jsonl` (whole, in the samples' order)
and `teacher/summary.json`. A question is accepted, rejected (with a reason; not asked again unless that is wanted) or
failed (no reply after all tries; the next run asks again). Ctrl-C, an `EndpointError` and a broken source end alike:
nothing new is asked, what is in flight is still read and put down. Simplified: replies are read in one thread.
"""

from __future__ import annotations

import hashlib
import json
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sized
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from tqdm import tqdm

from ...core.errors import R3labError
from ...core.files import Journal, whole_file, write_whole
from ...core.images import content_hash
from ...core.records import Refused
from ..sample import Rationale, Sample, put_image, to_record
from .dialogue import MAX_REPLY, MAX_SIDE, MIN_IOU, question, read_reply
from .endpoint import TOO_LONG, Endpoint, EndpointError, EndpointSettings, Reply

ACCEPTED, REJECTED, FAILED = "accepted", "rejected", "failed"
OUTCOMES = (ACCEPTED, REJECTED, FAILED)
IN_A_ROW = 8  # failed questions, one after the other, that end the run
KEPT_REPLY = 4000  # characters of a rejected reply that the journal keeps
TICK = 0.2  # seconds in which Ctrl-C is noticed


@dataclass(frozen=True)
class Prices:
    """What a million tokens of the prompt and of the completion cost, in any currency; None if unknown."""

    prompt: float | None = None
    completion: float | None = None


@dataclass
class Tally:
    """Counts over the lines of a journal; of a question that was settled twice, the last outcome and the whole cost.

    Attributes
    ----------
    prices : of the tokens
    last : outcome and reason of each question, by its key
    requests : that were sent
    retries : of them, those after a question's first one
    tokens : of all prompts and of all completions, as the endpoint counted them
    unmetered : replies for which it did not count
    """

    prices: Prices = field(default_factory=Prices)
    last: dict[str, tuple[str, str]] = field(default_factory=dict)
    requests: int = 0
    retries: int = 0
    tokens: tuple[int, int] = (0, 0)
    unmetered: int = 0
    _counts: Counter[str] = field(default_factory=Counter)

    def add(self, line: dict[str, Any]) -> None:
        """Count a line of the journal."""
        if line["key"] in self.last:
            self._counts[self.last[line["key"]][0]] -= 1
        self.last[line["key"]] = (line["outcome"], line["reason"])
        self._counts[line["outcome"]] += 1
        self.requests += line["tries"]
        self.retries += max(0, line["tries"] - 1)
        if line["tokens"]:
            self.tokens = (self.tokens[0] + line["tokens"][0], self.tokens[1] + line["tokens"][1])
        elif line["tries"] and line["outcome"] != FAILED:
            self.unmetered += 1

    def outcome(self, key: str) -> str:
        """The last outcome of a question; "" if it was never settled."""
        return self.last.get(key, ("", ""))[0]

    def count(self, outcome: str) -> int:
        """Questions with that last outcome."""
        return self._counts[outcome]

    @property
    def cost(self) -> float | None:
        """Of all tokens that were counted; None without prices."""
        if self.prices.prompt is None or self.prices.completion is None:
            return None
        return (self.tokens[0] * self.prices.prompt + self.tokens[1] * self.prices.completion) / 1e6

    def __str__(self) -> str:
        counts = ", ".join(f"{self.count(outcome):,} {outcome}" for outcome in OUTCOMES)
        cost = "" if self.cost is None else f", cost {self.cost:,.4f}"
        return f"{counts}; {self.tokens[0]:,} + {self.tokens[1]:,} tokens{cost}"

    def record(self) -> dict[str, Any]:
        """As JSON, with the reasons counted."""
        reasons = {
            outcome: dict(Counter(why for last, why in self.last.values() if last == outcome).most_common())
            for outcome in (REJECTED, FAILED)
        }
        return {
            **{outcome: self.count(outcome) for outcome in OUTCOMES},
            "reasons": reasons,
            "requests": self.requests,
            "retries": self.retries,
            "tokens": {"prompt": self.tokens[0], "completion": self.tokens[1], "unmetered replies": self.unmetered},
            "price of a million tokens": {"prompt": self.prices.prompt, "completion": self.prices.completion},
            "cost": self.cost,
        }


def teach(
    samples: Iterable[Sample],
    settings: EndpointSettings,
    out: str | Path,
    prices: Prices | None = None,
    max_side: int = MAX_SIDE,
    min_iou: float = MIN_IOU,
    limit: int | None = None,
    retry_rejected: bool = False,
    progress: bool = True,
) -> Tally:
    """Have rationales written, and keep the good ones as a VLIR folder.

    Parameters
    ----------
    samples
        Read once, a few at a time; what a journal in `out` has settled is not asked again.
    settings
        Endpoint, model, and how to ask.
    out
        Folder, new or of an earlier run.
    prices
        Of a million tokens.
    max_side, min_iou
        See `dialogue.question` (pixels) and `dialogue.read_reply`.
    limit
        Most questions to ask in this run; None asks all, 0 only writes what is there.
    retry_rejected
        Ask again about samples whose reply was rejected.

    Returns
    -------
    Tally
        Over all runs into this folder.

    Raises
    ------
    EndpointError
        If the endpoint cannot be used, or 8 questions failed in a row.
    R3labError
        If the folder is in use by another run, or holds another model's rationales or a data set that no teacher wrote.
    KeyboardInterrupt
        After Ctrl-C, when what was in flight is read; a second Ctrl-C drops that. `vlir.jsonl` is not written then.
    """
    out = Path(out)
    path = out / "teacher" / "journal.jsonl"
    if (out / "vlir.jsonl").exists() and not path.exists():
        raise R3labError(f"{out} holds a data set that no teacher wrote; give another folder")
    total = len(samples) if isinstance(samples, Sized) else None
    with Endpoint(settings, MAX_REPLY) as endpoint, Journal(path, {"model": settings.model}) as journal:
        tally = Tally(prices or Prices())
        for line in journal:
            tally.add(line)
        with tqdm(total=total, desc="teacher", unit="sample", disable=not progress, mininterval=1) as bar:
            run = _Run(out, journal, tally, endpoint, bar, max_side, min_iou)
            try:
                with _first_interrupt() as interrupted:
                    run.through(
                        iter(samples), interrupted, limit, {ACCEPTED} if retry_rejected else {ACCEPTED, REJECTED}
                    )
            finally:
                summary = json.dumps({"model": settings.model, **tally.record()}, indent=2) + "\n"
                write_whole(path.with_name("summary.json"), summary.encode("utf-8"))
        with whole_file(out / "vlir.jsonl") as partial, partial.open("w", encoding="ascii") as file:
            for key in run.order:
                if tally.outcome(key) == ACCEPTED:
                    file.write(json.dumps(journal[key]["record"]) + "\n")
    return tally


def key_of(sample: Sample) -> str:
    """What a journal knows a sample by: its name and everything that is asked about it."""
    regions = [list(map(float, region)) for region in sample.regions]
    asked = [sample.id, content_hash(sample.image), sample.question, sample.answer, regions, sample.needs_look]
    return hashlib.sha256(json.dumps(asked).encode("ascii")).hexdigest()[:32]


@contextmanager
def _first_interrupt() -> Iterator[threading.Event]:
    """Note the first Ctrl-C instead of raising; outside the main thread nothing is caught."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return

    def note(number: int, frame: FrameType | None) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()

    before = signal.signal(signal.SIGINT, note)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, before)


@dataclass
class _Run:
    """The questions of one run: their order, what is in flight, and why nothing new is asked, if so."""

    out: Path
    journal: Journal
    tally: Tally
    endpoint: Endpoint
    bar: tqdm
    max_side: int
    min_iou: float
    order: dict[str, None] = field(default_factory=dict)  # keys, as the samples came
    flying: dict[Future[Reply], tuple[str, Sample, float]] = field(default_factory=dict)
    error: BaseException | None = None
    in_a_row: int = 0  # failures

    def through(
        self, samples: Iterator[Sample], interrupted: threading.Event, limit: int | None, settled: set[str]
    ) -> None:
        """Ask about all samples that are not settled; after an error, read what is in flight before it is raised."""
        more, asked, most = True, 0, self.endpoint.settings.concurrency
        while more or self.flying:
            if more and len(self.flying) < most:
                try:
                    sample = next(samples, None)
                except Exception as error:  # whatever a source raises: replies that are paid for come first
                    self._halt(error)
                    sample = None
                more = sample is not None
                if sample is not None:
                    key = key_of(sample)
                    new = key not in self.order and self.tally.outcome(key) not in settled
                    self.order[key] = None
                    if new and (limit is None or asked < limit):
                        self._ask(key, sample)
                        asked += 1
                    elif not new:
                        self.bar.update()
            busy = not more or len(self.flying) >= most
            ready, _ = wait(self.flying, timeout=TICK if busy else 0, return_when=FIRST_COMPLETED)
            for future in ready:
                self._settle(future)
            if interrupted.is_set():
                self._halt(KeyboardInterrupt())
            more = more and self.error is None
        if self.error is not None:
            raise self.error

    def _halt(self, error: BaseException) -> None:
        if self.error is not None:
            return
        self.error = error
        self.endpoint.wind_up()
        if self.flying:
            why = "interrupted" if isinstance(error, KeyboardInterrupt) else "stopping"
            rest = f"the replies in flight ({len(self.flying)}) are still read; Ctrl-C drops them"
            tqdm.write(f"{why}: {rest}", file=sys.stderr)

    def _ask(self, key: str, sample: Sample) -> None:
        try:
            messages = question(sample, self.max_side)
        except Refused as error:  # no reply could be used: nothing is sent
            self._write(key, sample, REJECTED, error.reason, str(error), {"tokens": None, "tries": 0})
        else:
            self.flying[self.endpoint.ask(messages, key)] = key, sample, time.monotonic()

    def _settle(self, future: Future[Reply]) -> None:
        """Read a reply and put down what became of it."""
        key, sample, since = self.flying.pop(future)
        try:
            reply = future.result()
        except EndpointError as error:
            self._halt(error)
            return
        if reply.dropped:
            return
        spent = {"tokens": reply.tokens, "tries": reply.tries, "seconds": round(time.monotonic() - since, 2)}
        self.in_a_row = self.in_a_row + 1 if reply.failure else 0
        if reply.failure:
            self._write(key, sample, FAILED, reply.failure.partition(":")[0], reply.failure, spent)
            if self.in_a_row >= max(IN_A_ROW, 2 * self.endpoint.settings.concurrency):
                end = "run the same command again when the endpoint is well"
                self._halt(
                    EndpointError(f"{self.in_a_row} questions in a row failed, the last: {reply.failure}; {end}")
                )
            return
        try:
            rationale = self._read(reply, sample)
        except Refused as error:
            self._write(key, sample, REJECTED, error.reason, str(error), {**spent, "reply": reply.text[:KEPT_REPLY]})
        else:
            record = to_record(sample, rationale)
            put_image(sample.image, self.out / "images", record["image"])  # before the line that names it
            self._write(key, sample, ACCEPTED, "", "", {**spent, "record": record})

    def _read(self, reply: Reply, sample: Sample) -> Rationale:
        if reply.finish == TOO_LONG:
            raise Refused("a reply that is too long", f"over {MAX_REPLY:,} characters")
        if reply.finish == "length":
            raise Refused("a reply that the endpoint cut off", "raise --max-tokens")
        if not reply.text.strip():
            raise Refused("a reply without text", f"it ended with {reply.finish!r}")
        return read_reply(reply.text, sample, self.min_iou)

    def _write(self, key: str, sample: Sample, outcome: str, reason: str, detail: str, more: dict[str, Any]) -> None:
        entry = {"id": sample.id, "outcome": outcome, "reason": reason, "detail": detail, **more}
        if self.endpoint.holds_key(json.dumps(entry, ensure_ascii=False)):  # also where the reply had it escaped
            leak = {"outcome": REJECTED, "reason": "a reply that holds the key", "detail": ""}
            entry = {k: v for k, v in entry.items() if k not in ("record", "reply")} | leak
        self.journal.append(key, entry)
        self.tally.add({"key": key, **entry})
        self.bar.update()
        self.bar.set_postfix_str(str(self.tally), refresh=False)
