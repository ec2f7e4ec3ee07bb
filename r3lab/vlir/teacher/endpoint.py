"""Questions to one OpenAI-compatible endpoint (vLLM, Ollama, a hosted service), many at once.

The `openai` client sends them, waits, and asks again where that may help: a status that can pass, a connection that
breaks, also in the middle of a reply; it heeds `Retry-After`. Added here is what it leaves open: a reply is bounded in
time and size, read by a table of fields, and either a `Reply` or an `EndpointError` (no request can succeed: the run
ends). The event loop runs in a thread of its own, so that a notebook, whose loop runs already, can ask too, and so that
what is in flight can be cancelled at once.

The key comes from the environment and goes into the request, nowhere else: what a server writes is repeated only
bounded and without the key. No host is a default, and a redirect to another one is not followed.

    with Endpoint(EndpointSettings(base_url, model)) as endpoint:
        reply = endpoint.ask(messages).result()
"""

from __future__ import annotations

import asyncio
import importlib
import math
import os
import sys
import threading
import time
from collections.abc import AsyncIterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from ...core.errors import R3labError, shown
from ...core.records import Refused, count, fields, parse, row, text

MAX_BYTES = 4 << 20  # of a reply with all that a server wraps around its text
SECRET = 12  # characters from which a key is taken for a secret; a local server's may be "EMPTY"
INSTALL = "the teacher needs the openai client: pip install 'openai>=1.50' (or r3lab[teacher])"


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
