"""Many questions to one OpenAI-compatible endpoint (vLLM, Ollama, a hosted service) at once, streamed, counted.

The `openai` client sends a request and reads the stream, bounded in time and size; its own retries are switched off,
since they end where the headers have come (a stream that is cut is not asked for again) and cannot be counted. A
question is asked again until a reply comes or its tries are spent: what goes wrong is either `Trouble` (this request
failed; maybe another will not) or `EndpointError` (no request can succeed: the run ends). The wait doubles from try to
try, varied by the seed so that the questions do not come back together, and is at least what the server's `Retry-After`
says, which holds for all of them. The event loop runs in a thread of its own, so that a notebook, whose loop runs
already, can ask too, and so that what is in flight can be cancelled at once.

The key comes from the environment and goes into the request, nowhere else: what a server writes is repeated only
bounded and without the key. No host is a default, and a redirect to another one is not followed.

    with Endpoint(EndpointSettings(base_url, model), max_text=20_000) as endpoint:
        reply = endpoint.ask(messages, name="sample-1").result()
"""

from __future__ import annotations

import asyncio
import importlib
import math
import os
import random
import threading
import time
from concurrent.futures import Future
from contextvars import ContextVar
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

from ...core.errors import R3labError, shown

MAX_BYTES = 32 << 20  # of a reply with all that a stream wraps around its text
TICK = 0.1  # seconds between looks at a stream's time and size
SECRET = 12  # characters from which a key is taken for a secret; a local server's may be "EMPTY"
AGAIN = frozenset({408, 409, 425, 429})  # and 5xx: the same request may succeed later
TOO_LONG = "too long"
FIRST_WAIT, LONGEST_WAIT = 0.5, 60.0  # seconds between tries
PATIENCE = 600.0  # seconds; a server that wants to be left alone for longer is given up
INSTALL = "the teacher needs the openai client: pip install 'openai>=1.50' (or r3lab[teacher])"


class EndpointError(R3labError):
    """What would meet every request: a wrong key, model, address or setting."""


class Trouble(Exception):
    """One request that brought no reply: why, whether to try again, and for how many seconds not to."""

    def __init__(self, why: str, again: bool = True, wait: float = 0.0) -> None:
        super().__init__(why)
        self.why, self.again, self.wait = why, again, wait


@dataclass(frozen=True)
class EndpointSettings:
    """Where and how to ask.

    Attributes
    ----------
    base_url : of the interface; usually ends in /v1
    model : the name under which the server knows it
    key_variable : environment variable that holds the key; a local server needs none
    concurrency : requests in flight at once
    tries : of one question, until it counts as failed
    timeout : seconds for one request, until the last token
    max_tokens : of a reply; 0 leaves it to the server
    temperature : None leaves it to the server
    json_mode : ask the server to write JSON only (`response_format`)
    seed : of the random part of the waits between tries
    """

    base_url: str
    model: str
    key_variable: str = "OPENAI_API_KEY"
    concurrency: int = 4
    tries: int = 6
    timeout: float = 180.0
    max_tokens: int = 2000
    temperature: float | None = None
    json_mode: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        _check_address(self.base_url)
        if not self.model.strip():
            raise EndpointError("the model has no name; give the one that the endpoint knows it by (--model)")
        for name in ("concurrency", "tries", "timeout"):
            if not 0 < getattr(self, name) < math.inf:
                raise EndpointError(f"{name} must be above zero, got {getattr(self, name)}")
        if self.max_tokens < 0:
            raise EndpointError(f"max_tokens must be from 0, got {self.max_tokens}")


def _check_address(base_url: str) -> None:
    try:
        url = urlsplit(base_url)
        good = url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
    except ValueError:
        good = False
    if not good:
        raise EndpointError(
            f"the endpoint's address must be like http://HOST:PORT/v1, got {shown(base_url)}; "
            "give --base-url or set OPENAI_BASE_URL"
        )
    if url.username or url.password or url.query or url.fragment:  # not repeated: it may hold a key
        raise EndpointError(
            "the endpoint's address may hold no user, password or query; a key belongs in the environment"
        )


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
    finish : why it ended, see `_Stream`
    failure : why there is none, after all tries; "" if there is one
    tokens : of prompt and completion, as the server counted them; None if it did not
    tries : requests that were sent
    dropped : not asked again because the run is winding up; it did not fail
    """

    text: str = ""
    finish: str = ""
    failure: str = ""
    tokens: tuple[int, int] | None = None
    tries: int = 0
    dropped: bool = False


@dataclass
class _Stream:
    """What has come of a reply.

    Attributes
    ----------
    parts : its text, in pieces
    length : characters of them together
    finish : why the server ended it ("stop", "length", ...); `TOO_LONG` if it was cut off here; "" while it comes
    tokens : of prompt and completion, as the server counted them; None if it did not
    response : what the client reads it from, for the number of bytes
    """

    parts: list[str] = field(default_factory=list)
    length: int = 0
    finish: str = ""
    tokens: tuple[int, int] | None = None
    response: Any = None


_READING: ContextVar[_Stream] = ContextVar("reading")  # the stream that a task reads


async def _begun(response: Any) -> None:
    """Called by the client when the headers of a response have come, also of an error, and before its body is read."""
    _READING.get().response = response
    if response.headers.get("content-encoding", "identity") != "identity":
        raise ValueError("compressed though it was not asked for: a megabyte can hold a gigabyte")


class Endpoint:
    """A client of one model at one address, with its event loop in a thread; a context manager. Leaving it cancels what
    is in flight.

    Parameters
    ----------
    settings
        Where and how to ask.
    max_text
        Characters after which a reply is cut off.

    Raises
    ------
    EndpointError
        If the `openai` client is missing, or the key cannot be used.
    """

    def __init__(self, settings: EndpointSettings, max_text: int) -> None:
        self.settings, self.max_text = settings, max_text
        self._key = read_key(settings.key_variable)
        try:
            self._openai = importlib.import_module("openai")
        except ModuleNotFoundError as error:
            if error.name != "openai":
                raise
            raise EndpointError(INSTALL) from None
        self._client = self._openai.AsyncOpenAI(
            api_key=self._key or "none",
            base_url=settings.base_url,
            timeout=settings.timeout,
            max_retries=0,
            default_headers={"Accept-Encoding": "identity"},
            http_client=self._openai.DefaultAsyncHttpxClient(
                follow_redirects=False, event_hooks={"response": [_begun]}
            ),
        )
        self._options: dict[str, Any] = {"model": settings.model, "stream_options": {"include_usage": True}}
        if settings.max_tokens:
            self._options["max_tokens"] = settings.max_tokens
        if settings.temperature is not None:
            self._options["temperature"] = settings.temperature
        if settings.json_mode:
            self._options["response_format"] = {"type": "json_object"}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="endpoint", daemon=True)
        self._open_at = 0.0  # in the loop's time: no request before it
        self._ending = asyncio.Event()

    def __enter__(self) -> Endpoint:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(timeout=30)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def ask(self, messages: list[dict[str, Any]], name: str) -> Future[Reply]:
        """Ask now; `name` varies the waits. The future raises `EndpointError` where no question can succeed."""
        return asyncio.run_coroutine_threadsafe(self._ask(messages, name), self._loop)

    def wind_up(self) -> None:
        """No more tries: what is in flight is still read, what waits for its next try is dropped. Safe at any time."""
        self._loop.call_soon_threadsafe(self._ending.set)

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

    async def _ask(self, messages: list[dict[str, Any]], name: str) -> Reply:
        jitter, wait, most = random.Random(f"{self.settings.seed} {name}"), FIRST_WAIT, self.settings.tries
        for tries in range(1, most + 1):
            while (pause := self._open_at - self._loop.time()) > 0:
                if not await self._sleep(pause * jitter.uniform(1.0, 1.1)):
                    return Reply(dropped=True, tries=tries - 1)
            try:
                stream = await self._request(messages)
            except Trouble as trouble:
                why = trouble.why
                if trouble.wait > PATIENCE:
                    return Reply(failure=f"{why}, and to wait for {trouble.wait:.0f} s", tries=tries)
                if not trouble.again:
                    return Reply(failure=why, tries=tries)
                self._open_at = max(self._open_at, self._loop.time() + trouble.wait)
            else:
                return Reply("".join(stream.parts), stream.finish, "", stream.tokens, tries)
            if tries < most and not await self._sleep(min(wait, LONGEST_WAIT) * jitter.uniform(0.5, 1.0)):
                return Reply(dropped=True, tries=tries)
            wait *= 2
        return Reply(failure=why, tries=most)

    async def _sleep(self, seconds: float) -> bool:
        """Wait; False if the run is winding up."""
        try:
            await asyncio.wait_for(self._ending.wait(), seconds)
        except asyncio.TimeoutError:
            return True
        return False

    async def _request(self, messages: list[dict[str, Any]]) -> _Stream:
        """One request, to the end of its stream.

        Raises
        ------
        Trouble
            If no whole reply came in time.
        EndpointError
            If none will come for any question.
        """
        stream = _Stream()
        reading = asyncio.ensure_future(self._read(messages, stream))
        loop = asyncio.get_running_loop()
        end = loop.time() + self.settings.timeout
        try:
            while not reading.done():
                await asyncio.wait({reading}, timeout=TICK)
                if stream.response is not None and stream.response.num_bytes_downloaded > MAX_BYTES:
                    if stream.response.status_code != 200:
                        raise Trouble(f"HTTP {stream.response.status_code}")
                    stream.finish = TOO_LONG
                    return stream
                if loop.time() > end and not reading.done():
                    raise Trouble(f"no whole reply within {self.settings.timeout:g} s")
            reading.result()
            return stream
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    async def _read(self, messages: list[dict[str, Any]], into: _Stream) -> None:
        _READING.set(into)  # of this task alone
        try:
            stream = await self._client.chat.completions.create(messages=messages, stream=True, **self._options)
            async with stream:
                async for chunk in stream:
                    _take(chunk, into)
                    if into.length > self.max_text:
                        into.finish = TOO_LONG
                        return
        except self._openai.APIStatusError as error:
            raise self._meaning(error) from None  # its message is the server's, which may repeat the key
        except Exception as error:  # cut, or no chat completion; of httpx or httpx2, by the client's version
            if not into.finish:  # else the reply is whole and only what follows is missing: no need to pay twice
                what = "no connection" if into.response is None else "the stream broke off"
                raise Trouble(f"{what} ({type(error).__name__})") from None
        if not into.finish:
            raise Trouble("the stream ended in the middle of the reply")

    def _meaning(self, error: Any) -> Exception:
        """What an HTTP status means for this request, or for all."""
        status, settings = int(error.status_code), self.settings
        if status in (401, 403):
            does = "refused the" if self._key else "wants a"
            where = f"key in ${settings.key_variable} ({status})"
            return EndpointError(f"the endpoint {does} {where}; set one that may use {shown(settings.model)}")
        if status == 402 or getattr(error, "code", None) == "insufficient_quota":
            return EndpointError(
                f"the account at the endpoint has no credit left ({status}); add some and run this again"
            )
        if status == 404:
            return EndpointError(
                f"the endpoint has no model {shown(settings.model)}, or its interface is not under {settings.base_url} "
                "(404); set --model to a name that it lists, and --base-url to its address (usually .../v1)"
            )
        if 300 <= status < 400:
            return EndpointError(f"the endpoint sends elsewhere ({status}); set --base-url to that address")
        if status in AGAIN or status >= 500:
            return Trouble(f"HTTP {status}", wait=_retry_after(error.response.headers.get("retry-after", "")))
        words = str(error.message)[:2000]
        return Trouble(f"HTTP {status}: {shown('***' if self.holds_key(words) else words, 200)}", again=False)


def _take(chunk: Any, into: _Stream) -> None:
    """Add a piece of the stream; the client does not check its fields, so nothing is taken for granted."""
    for choice in chunk.choices or []:
        content = getattr(choice.delta, "content", None)
        if isinstance(content, str):
            into.parts.append(content)
            into.length += len(content)
        if isinstance(choice.finish_reason, str):
            into.finish = choice.finish_reason[:40]
    usage = getattr(chunk, "usage", None)
    prompt, completion = getattr(usage, "prompt_tokens", None), getattr(usage, "completion_tokens", None)
    if (
        type(prompt) is int
        and type(completion) is int
        and 0 <= min(prompt, completion) <= max(prompt, completion) < 10**9
    ):
        into.tokens = prompt, completion


def _retry_after(value: str) -> float:
    """Seconds that a `Retry-After` header asks for, as seconds or as a date; 0 if it says nothing."""
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - time.time()
        except (ValueError, TypeError, IndexError, OverflowError):
            return 0.0
    return max(0.0, seconds) if math.isfinite(seconds) else 0.0
