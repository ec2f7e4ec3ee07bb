"""Many questions to one endpoint at once, each asked again, counted, until a reply comes or its tries are spent.

The wait doubles from try to try, varied by the seed so that the questions do not come back together, and is at least
what the server's `Retry-After` says, which holds for all of them. The event loop runs in a thread of its own, so that a
notebook, whose loop runs already, can ask too, and so that what is in flight can be cancelled at once.

    with Asking(EndpointSettings(base_url, model), max_text=20_000) as asking:
        reply = asking.ask(messages, name="sample-1").result()
"""

from __future__ import annotations

import asyncio
import random
import threading
from concurrent.futures import Future
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from .endpoint import Endpoint, EndpointSettings, Trouble

FIRST_WAIT, LONGEST_WAIT = 0.5, 60.0  # seconds between tries
PATIENCE = 600.0  # seconds; a server that wants to be left alone for longer is given up


@dataclass(frozen=True)
class Reply:
    """What came of one question.

    Attributes
    ----------
    text : of the reply; "" if there is none
    finish : why it ended, see `endpoint.Stream`
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


class Asking:
    """An endpoint with its event loop in a thread; a context manager. Leaving it cancels what is in flight.

    Parameters and errors as of `Endpoint`.
    """

    def __init__(self, settings: EndpointSettings, max_text: int) -> None:
        self.settings = settings
        self._endpoint = Endpoint(settings, max_text)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="asking", daemon=True)
        self._open_at = 0.0  # in the loop's time: no request before it
        self._ending = asyncio.Event()

    def __enter__(self) -> Asking:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
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
        """See `Endpoint.holds_key`."""
        return self._endpoint.holds_key(text)

    async def _close(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await self._endpoint.close()
        await self._loop.shutdown_asyncgens()

    async def _ask(self, messages: list[dict[str, Any]], name: str) -> Reply:
        jitter, wait, most = random.Random(f"{self.settings.seed} {name}"), FIRST_WAIT, self.settings.tries
        for tries in range(1, most + 1):
            while (pause := self._open_at - self._loop.time()) > 0:
                if not await self._sleep(pause * jitter.uniform(1.0, 1.1)):
                    return Reply(dropped=True, tries=tries - 1)
            try:
                stream = await self._endpoint.request(messages)
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
