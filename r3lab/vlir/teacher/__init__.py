"""A run of a teacher behind an endpoint: samples in, a VLIR folder out, every settled question in a journal.

    tally = teach(samples, EndpointSettings(base_url, model), "runs/vlir")     # again after a kill: it goes on
    print(tally)                                 # 118 accepted, 9 rejected, 0 failed; 151,204 + 20,310 tokens

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
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from tqdm import tqdm

from ...core.errors import R3labError
from ...core.files import Journal, whole_file, write_whole
from ...core.images import content_hash
from ...core.records import Refused
from ..sample import LINES, Rationale, Sample, put_image, to_record
from .dialogue import question, read_reply
from .endpoint import Endpoint, EndpointError, EndpointSettings, Reply

ACCEPTED, REJECTED, FAILED = "accepted", "rejected", "failed"
OUTCOMES = (ACCEPTED, REJECTED, FAILED)
IN_A_ROW = 8  # failed questions, one after the other, that end the run
KEPT_REPLY = 4000  # characters of a rejected reply that the journal keeps
TICK = 0.2  # seconds in which Ctrl-C is noticed


@dataclass
class Tally:
    """Counts over the lines of a journal; of a question that was settled twice, the last outcome and the whole cost.

    Attributes
    ----------
    last : outcome and reason of each question, by its key
    requests : that were sent
    tokens : of all prompts and of all completions, as far as the endpoint counted them
    """

    last: dict[str, tuple[str, str]] = field(default_factory=dict)
    requests: int = 0
    tokens: tuple[int, int] = (0, 0)

    def add(self, line: dict[str, Any]) -> None:
        """Count a line of the journal."""
        self.last[line["key"]] = (line["outcome"], line["reason"])
        self.requests += line["tries"]
        prompt, completion = line["tokens"] or (0, 0)
        self.tokens = (self.tokens[0] + prompt, self.tokens[1] + completion)

    def outcome(self, key: str) -> str:
        """The last outcome of a question; "" if it was never settled."""
        return self.last.get(key, ("", ""))[0]

    def count(self, outcome: str) -> int:
        """Questions with that last outcome."""
        return sum(last == outcome for last, _ in self.last.values())

    def reasons(self, outcome: str) -> dict[str, int]:
        """Questions with that last outcome by its reason, the most frequent first."""
        return dict(Counter(why for last, why in self.last.values() if last == outcome).most_common())

    def __str__(self) -> str:
        counts = ", ".join(f"{self.count(outcome):,} {outcome}" for outcome in OUTCOMES)
        return f"{counts}; {self.tokens[0]:,} + {self.tokens[1]:,} tokens"

    def record(self) -> dict[str, Any]:
        """As JSON, with the reasons counted."""
        found: dict[str, Any] = {outcome: self.count(outcome) for outcome in OUTCOMES}
        found["reasons"] = {outcome: self.reasons(outcome) for outcome in (REJECTED, FAILED)}
        prompt, completion = self.tokens
        return found | {"requests": self.requests, "tokens": {"prompt": prompt, "completion": completion}}


def teach(
    samples: Iterable[Sample],
    settings: EndpointSettings,
    out: str | Path,
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
    if (out / LINES).exists() and not path.exists():
        raise R3labError(f"{out} holds a data set that no teacher wrote; give another folder")
    total = len(samples) if isinstance(samples, Sized) else None
    settled = {ACCEPTED} if retry_rejected else {ACCEPTED, REJECTED}
    with Endpoint(settings) as endpoint, Journal(path, {"model": settings.model}) as journal:
        tally = Tally()
        for line in journal:
            tally.add(line)
        with tqdm(total=total, desc="teacher", unit="sample", disable=not progress, mininterval=1) as bar:
            run = _Run(out, journal, tally, endpoint, bar)
            try:
                run.through(samples, limit, settled)
            finally:
                summary = json.dumps({"model": settings.model, **tally.record()}, indent=2) + "\n"
                write_whole(path.with_name("summary.json"), summary.encode("utf-8"))
        with whole_file(out / LINES) as partial, partial.open("w", encoding="ascii") as file:
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
    """The questions of one run: their order, and what is in flight."""

    out: Path
    journal: Journal
    tally: Tally
    endpoint: Endpoint
    bar: tqdm
    order: dict[str, None] = field(default_factory=dict)  # keys, as the samples came
    flying: dict[Future[Reply], tuple[str, Sample, float]] = field(default_factory=dict)
    in_a_row: int = 0  # failures

    def through(self, samples: Iterable[Sample], limit: int | None, settled: set[str]) -> None:
        """Ask about all samples that are not settled; after an error, read what is in flight before it is raised."""
        asked = 0
        with _first_interrupt() as interrupted:
            try:
                for sample in samples:
                    key = key_of(sample)
                    new = key not in self.order and self.tally.outcome(key) not in settled
                    self.order[key] = None
                    if new and (limit is None or asked < limit):
                        self._ask(key, sample)
                        asked += 1
                    elif not new:
                        self.bar.update()
                    self._collect(self.endpoint.settings.concurrency - 1, interrupted)
                self._collect(0, interrupted)
            except BaseException as error:  # whatever a source raises: replies that are paid for come first
                if self.flying:
                    why = "interrupted" if isinstance(error, KeyboardInterrupt) else "stopping"
                    rest = f"the replies in flight ({len(self.flying)}) are still read; Ctrl-C drops them"
                    tqdm.write(f"{why}: {rest}", file=sys.stderr)
                while self.flying:
                    with suppress(EndpointError):
                        self._collect(0)
                raise

    def _collect(self, most: int, interrupted: threading.Event | None = None) -> None:
        """Put down what has come, until at most so many questions are in flight."""
        while True:
            waiting = TICK if len(self.flying) > most else 0
            ready, _ = wait(self.flying, timeout=waiting, return_when=FIRST_COMPLETED)
            for future in ready:
                self._settle(*self.flying.pop(future), future)
            if interrupted is not None and interrupted.is_set():
                raise KeyboardInterrupt
            if len(self.flying) <= most:
                return

    def _ask(self, key: str, sample: Sample) -> None:
        try:
            messages = question(sample)
        except Refused as error:  # no reply could be used: nothing is sent
            self._write(key, sample, REJECTED, error, {"tokens": None, "tries": 0})
        else:
            self.flying[self.endpoint.ask(messages)] = key, sample, time.monotonic()

    def _settle(self, key: str, sample: Sample, since: float, future: Future[Reply]) -> None:
        """Read a reply and put down what became of it."""
        reply = future.result()
        spent: dict[str, Any] = {"tokens": reply.tokens, "tries": reply.tries}
        spent["seconds"] = round(time.monotonic() - since, 2)
        self.in_a_row = self.in_a_row + 1 if reply.failure else 0
        if reply.failure:
            self._write(key, sample, FAILED, Refused(*reply.failure.split(": ", 1)), spent)
            if self.in_a_row >= max(IN_A_ROW, 2 * self.endpoint.settings.concurrency):
                last = f"{self.in_a_row} questions in a row failed, the last: {reply.failure}"
                raise EndpointError(f"{last}; run the same command again when the endpoint is well")
            return
        try:
            rationale = _rationale(reply, sample)
        except Refused as error:
            self._write(key, sample, REJECTED, error, {**spent, "reply": reply.text[:KEPT_REPLY]})
        else:
            record = to_record(sample, rationale)
            put_image(sample.image, self.out / "images", record["image"])  # before the line that names it
            self._write(key, sample, ACCEPTED, None, {**spent, "record": record})

    def _write(self, key: str, sample: Sample, outcome: str, why: Refused | None, more: dict[str, Any]) -> None:
        reason, detail = ("", "") if why is None else (why.reason, str(why))
        entry = {"id": sample.id, "outcome": outcome, "reason": reason, "detail": detail, **more}
        if self.endpoint.holds_key(json.dumps(entry, ensure_ascii=False)):  # also where the reply had it escaped
            leak = {"outcome": REJECTED, "reason": "a reply that holds the key", "detail": ""}
            entry = {k: v for k, v in entry.items() if k not in ("record", "reply")} | leak
        self.journal.append(key, entry)
        self.tally.add({"key": key, **entry})
        self.bar.update()
        self.bar.set_postfix_str(str(self.tally), refresh=False)


def _rationale(reply: Reply, sample: Sample) -> Rationale:
    if reply.finish == "length":
        raise Refused("a reply that the endpoint cut off", "raise --max-tokens")
    if not reply.text.strip():
        raise Refused("a reply without text", f"it ended with {reply.finish!r}")
    return read_reply(reply.text, sample)
