"""A teacher behind an OpenAI-compatible endpoint (vLLM, Ollama, a hosted service): samples in, a VLIR folder out.

    tally = teach(samples, EndpointSettings(base_url, model), "runs/vlir")     # again after a kill: it goes on
    print(tally)                                 # 118 accepted, 9 rejected, 0 failed; 151,204 + 20,310 tokens

In the folder: `teacher/journal.jsonl` as it goes, `images/`, and at the end `vlir.jsonl` (whole, in the samples' order)
and `teacher/summary.json`. A question is accepted, rejected (with a reason; not asked again unless that is wanted) or
failed (no reply after all tries; the next run asks again). Ctrl-C, an `EndpointError` and a broken source end alike:
nothing new is asked, what is in flight is still read and put down. Simplified: replies are read in one thread.

The `openai` client sends the questions, waits, and asks again where that may help: a status that can pass, a
connection that breaks, also in the middle of a reply; it heeds `Retry-After`. Added here is what it leaves open: a
reply is bounded in time and size, read by a table of fields, and either a `Reply` or an `EndpointError` (no request can
succeed: the run ends). The event loop runs in a thread of its own, so that a notebook, whose loop runs already, can ask
too, and so that what is in flight can be cancelled at once. The key comes from the environment and goes into the
request, nowhere else: what a server writes is repeated only bounded and without the key. No host is a default, and a
redirect to another one is not followed.
"""

from __future__ import annotations

import asyncio
import hashlib
import importlib
import json
import math
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sized
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tqdm import tqdm

from ..core.errors import R3labError, shown
from ..core.files import Journal, first_interrupt, whole_file, write_whole
from ..core.images import content_hash
from ..core.records import Refused, count, fields, parse, row, text
from .dialogue import question, read_reply
from .sample import LINES, Rationale, Sample, put_image, to_record

MAX_BYTES = 4 << 20  # of a reply with all that a server wraps around its text
SECRET = 12  # characters from which a key is taken for a secret; a local server's may be "EMPTY"
INSTALL = "the teacher needs the openai client: pip install 'openai>=1.50' (or r3lab[teacher])"
ACCEPTED, REJECTED, FAILED = "accepted", "rejected", "failed"
OUTCOMES = (ACCEPTED, REJECTED, FAILED)
IN_A_ROW = 8  # failed questions, one after the other, that end the run
KEPT_REPLY = 4000  # characters of a rejected reply that the journal keeps
TICK = 0.2  # seconds in which Ctrl-C is noticed


# -- the endpoint ----------------------------------------------------------------------------------------------------


class EndpointError(R3labError):
    """What would meet every request: a wrong key, model, address or setting."""


class _Unbounded(Exception):
    """A reply that is not read on, and the request that it answers."""

    def __init__(self, why: str, request: Any) -> None:
        super().__init__(why)
        self.request = request


@dataclass(frozen=True)
class EndpointSettings:
    """Where and how to ask.

    Attributes
    ----------
    base_url : of the interface, which usually ends in /v1 (default: $OPENAI_BASE_URL)
    model : the name under which the server knows it
    key_variable : environment variable that holds the key; a local server needs none
    concurrency : requests in flight at once
    tries : of one question, until it counts as failed
    timeout : seconds for one request: until its reply begins, and from there until it is whole
    max_tokens : of a reply; 0 leaves it to the server
    temperature : by default the server's own
    json_mode : ask the server to write JSON only (`response_format`)
    """

    base_url: str = field(default_factory=lambda: os.environ.get("OPENAI_BASE_URL", ""))
    model: str = ""
    key_variable: str = "OPENAI_API_KEY"
    concurrency: int = 4
    tries: int = 6
    timeout: float = 180.0
    max_tokens: int = 2000
    temperature: float | None = None
    json_mode: bool = False

    def __post_init__(self) -> None:
        _check_address(self.base_url)
        if not self.model.strip():
            raise EndpointError("the model has no name; give the one that the endpoint knows it by (--model)")
        for name in ("concurrency", "tries", "timeout"):
            if not 0 < getattr(self, name) < math.inf:
                raise EndpointError(f"{name} must be above zero, got {getattr(self, name)}")
        if self.max_tokens < 0:
            raise EndpointError(f"max_tokens must be from 0, got {self.max_tokens}")

    @property
    def options(self) -> dict[str, Any]:
        """What a request says beside its messages."""
        wishes: dict[str, Any] = {"max_tokens": self.max_tokens or None, "temperature": self.temperature}
        wishes["response_format"] = {"type": "json_object"} if self.json_mode else None
        return {"model": self.model, **{name: wish for name, wish in wishes.items() if wish is not None}}


def _check_address(base_url: str) -> None:
    try:
        url = urlsplit(base_url)
        good = url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
    except ValueError:
        good = False
    if not good:
        wanted = "the endpoint's address must be like http://HOST:PORT/v1"
        raise EndpointError(f"{wanted}, got {shown(base_url)}; give --base-url or set OPENAI_BASE_URL")
    if url.username or url.password or url.query or url.fragment:  # not repeated: it may hold a key
        wanted = "the endpoint's address may hold no user, password or query"
        raise EndpointError(f"{wanted}; a key belongs in the environment")


def read_key(variable: str) -> str:
    """The key in an environment variable, "" if there is none; one that no request can carry is an `EndpointError`."""
    key = os.environ.get(variable, "").strip()
    if not key.isascii() or not key.isprintable() or set(key) & set(" \"'\\"):
        raise EndpointError(f"${variable} holds a space, a quote or a character that no key has; set it again")
    return key


@dataclass(frozen=True)
class Reply:
    """What came of one question.

    Attributes
    ----------
    text : of the reply; "" if there is none
    finish : why it ended, in the server's words ("stop", "length", ...)
    failure : why there is none, after all tries; "" if there is one
    tokens : of prompt and completion, as the server counted them; None if it did not
    tries : requests that were sent
    """

    text: str = ""
    finish: str = ""
    failure: str = ""
    tokens: tuple[int, int] | None = None
    tries: int = 1


class Endpoint:
    """A client of one model at one address, with its event loop in a thread; a context manager. Leaving it cancels what
    is in flight.

    Raises
    ------
    EndpointError
        If the `openai` client is missing, or the key cannot be used.
    """

    def __init__(self, settings: EndpointSettings) -> None:
        self.settings = settings
        self._key = read_key(settings.key_variable)
        try:
            self._openai = importlib.import_module("openai")
        except ModuleNotFoundError as error:
            if error.name != "openai":
                raise
            raise EndpointError(INSTALL) from None
        http = self._openai.DefaultAsyncHttpxClient(follow_redirects=False, event_hooks={"response": [self._bound]})
        self._client = self._openai.AsyncOpenAI(
            api_key=self._key or "none",
            base_url=settings.base_url,
            timeout=settings.timeout,
            max_retries=settings.tries - 1,
            default_headers={"Accept-Encoding": "identity"},
            http_client=http,
        )
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="endpoint", daemon=True)

    def __enter__(self) -> Endpoint:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(timeout=30)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def ask(self, messages: list[dict[str, Any]]) -> Future[Reply]:
        """Ask now. The future raises `EndpointError` where no question can succeed."""
        return asyncio.run_coroutine_threadsafe(self._ask(messages), self._loop)

    def holds_key(self, text: str) -> bool:
        """Does the text hold the key? What does must not be written anywhere."""
        return len(self._key) >= SECRET and self._key in text

    async def _close(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await self._client.close()
        await self._loop.shutdown_asyncgens()

    async def _bound(self, response: Any) -> None:
        """Called by the client when the headers of a response have come, before it reads the body, also an error's."""
        httpx = sys.modules[type(response).__module__.partition(".")[0]]  # or httpx2, by the client's version
        whole, end = response.stream, time.monotonic() + self.settings.timeout
        if response.headers.get("content-encoding", "identity") != "identity":
            raise _Unbounded("a compressed reply: a megabyte can hold a gigabyte", response.request)

        class Bounded(httpx.AsyncByteStream):  # type: ignore[misc, name-defined]
            async def __aiter__(self) -> AsyncIterator[bytes]:
                size = 0
                async for piece in whole:
                    size += len(piece)
                    if size > MAX_BYTES or time.monotonic() > end:
                        bound = "in time" if size <= MAX_BYTES else f"within {MAX_BYTES:,} bytes"
                        raise _Unbounded(f"no whole reply {bound}", response.request)
                    yield piece

            async def aclose(self) -> None:
                await whole.aclose()

        response.stream = Bounded()

    async def _ask(self, messages: list[dict[str, Any]]) -> Reply:
        create = self._client.chat.completions.with_raw_response.create
        try:
            came = await create(messages=messages, **self.settings.options)
        except self._openai.APIStatusError as error:
            failure = self._meaning(error)
            if isinstance(failure, EndpointError):
                raise failure from None  # the client's message is the server's, which may repeat the key
            return Reply(failure=failure, tries=_tries(error.request))
        except Exception as error:  # no connection, or one that broke: of httpx or httpx2, by the client's version
            cause = error if isinstance(error, _Unbounded) else error.__cause__ or error
            why = str(cause) if isinstance(cause, _Unbounded) else f"no whole reply ({type(cause).__name__})"
            return Reply(failure=why, tries=_tries(getattr(error, "request", None)))
        return _completion(came.content, _tries(came.http_request))

    def _meaning(self, error: Any) -> EndpointError | str:
        """What an HTTP status, after all tries, means for every request, or else for this one."""
        status, settings = int(error.status_code), self.settings
        if status in (401, 403):
            does = "refused the" if self._key else "wants a"
            where = f"key in ${settings.key_variable} ({status})"
            return EndpointError(f"the endpoint {does} {where}; set one that may use {shown(settings.model)}")
        if status == 402 or getattr(error, "code", None) == "insufficient_quota":
            lacks = "the account at the endpoint has no credit left"
            return EndpointError(f"{lacks} ({status}); add some and run this again")
        if status == 404:
            lacks = f"the endpoint has no model {shown(settings.model)}, or its interface is not under"
            mend = "set --model to a name that it lists, and --base-url to its address (usually .../v1)"
            return EndpointError(f"{lacks} {settings.base_url} (404); {mend}")
        if 300 <= status < 400:
            return EndpointError(f"the endpoint sends elsewhere ({status}); set --base-url to that address")
        words = str(error.message)[:2000]
        return f"HTTP {status}: {shown('***' if self.holds_key(words) else words, 200)}"


def _tries(request: Any) -> int:
    """Requests for a question, as the client counts them in the last one's headers."""
    return 1 if request is None else int(request.headers.get("x-stainless-retry-count", 0)) + 1


def _choice(value: Any, where: str) -> tuple[str, str]:
    """Text of a message, and why it ended."""
    known = fields(value, {"message": lambda message, where: fields(message, {}, {"content": text}, where)})
    ended = fields(value, {}, {"finish_reason": text}, where)["finish_reason"]
    return known["message"]["content"] or "", (ended or "")[:40]


def _completion(body: bytes, tries: int) -> Reply:
    """The reply that a chat completion holds."""
    try:
        data = fields(parse(body, "the completion"), {"choices": row(_choice)}, {"usage": lambda usage, where: usage})
        counts = fields(data["usage"] or {}, {}, {"prompt_tokens": count, "completion_tokens": count}, "usage")
    except Refused:  # its message may repeat what the server wrote
        return Reply(failure="no chat completion", tries=tries)
    said, finish = data["choices"][0] if data["choices"] else ("", "")
    tokens = (counts["prompt_tokens"] or 0, counts["completion_tokens"] or 0)
    return Reply(said, finish, "", tokens if any(tokens) else None, tries)


# -- a run -----------------------------------------------------------------------------------------------------------


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

    @property
    def good(self) -> bool:
        """Something was accepted, and nothing failed."""
        return bool(self.count(ACCEPTED)) and not self.count(FAILED)

    @property
    def report(self) -> str:
        """The counts, and a line for each reason."""
        lines = [str(self)]
        for outcome in (REJECTED, FAILED):
            lines += [f"  {outcome} {count:,}: {reason}" for reason, count in self.reasons(outcome).items()]
        asks = "The same command asks again about those that failed."
        return "\n".join([*lines, *[asks] * bool(self.count(FAILED))])

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
        with first_interrupt("") as interrupted:
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
            put_image(sample.image, self.out / "images" / f"{record['image']}.png")  # before the line that names it
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
