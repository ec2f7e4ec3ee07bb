"""An endpoint on this machine that plays a teacher, well or badly: for a lesson and for trials, without a network.

It speaks as much of the chat completions interface as a teacher needs: one reply a request. What it does to
the requests about a question, one after the other, is told in advance; where nothing is told it teaches well.
Simplified: it listens on loopback only, asks for no key, and counts words where a service counts tokens.

    with Loopback({"Which digit is on the red square?": [429, "good"]}) as server:
        teach(samples, EndpointSettings(server.url, "loopback"), "taught")
    server.asked                              # Counter({"Which digit is on the red square?": 2, ...})
"""

from __future__ import annotations

import json
import os
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

Facts = dict[str, Any]  # what the teacher is told: question, answer, regions (0 to 1000), closer look
Act = int | str | Callable[[Facts], Facts]  # a status; "good", "cut", or text to reply; another reply than the good one
HOST = "127.0.0.1"


def good(facts: Facts) -> Facts:
    """What a good teacher writes: each region looked at in turn, with a reason, then the answer."""
    looks = [{"text": "This is too small to read.", "region": region} for region in facts["regions"]]
    return {"steps": [*looks, {"text": f"It shows {facts['answer']}.", "region": None}], "answer": facts["answer"]}


class Loopback:
    """A server on loopback; a context manager.

    Parameters
    ----------
    acts
        By question, what is done to the requests about it, in order; the last one stays.

    Attributes
    ----------
    asked : requests by question
    """

    def __init__(self, acts: Mapping[str, Sequence[Act]] | None = None) -> None:
        self.acts = dict(acts or {})
        self.asked: Counter[str] = Counter()
        self._server = ThreadingHTTPServer((HOST, 0), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._without: str | None = None
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        """Of the interface."""
        return f"http://{HOST}:{self._server.server_address[1]}/v1"

    def __enter__(self) -> Loopback:
        self._without = os.environ.get("NO_PROXY")  # a proxy of this machine must not be asked for loopback
        os.environ["NO_PROXY"] = ",".join(filter(None, [self._without, HOST]))
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._without is None:
            del os.environ["NO_PROXY"]
        else:
            os.environ["NO_PROXY"] = self._without
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def act(self, question: str) -> Act:
        """What is done to the next request about a question; it is counted."""
        with self._lock:
            todo = self.acts.get(question, ["good"])
            chosen = todo[min(self.asked[question], len(todo) - 1)]
            self.asked[question] += 1
        return chosen


def _handler(loopback: Loopback) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: Any) -> None:
            """Silence."""

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            told = body["messages"][1]["content"][0]["text"]
            facts = json.loads(told)
            act = loopback.act(facts["question"])
            if isinstance(act, int):
                return self.refuse(act)
            if callable(act):
                return self.reply(json.dumps(act(facts)), told)
            text = json.dumps(good(facts)) if act in ("good", "cut") else str(act)
            return self.reply(text, told, act == "cut")

        def refuse(self, status: int) -> None:
            self.send_response(status)
            self.send_header("content-length", "0")
            self.end_headers()

        def reply(self, text: str, told: str, cut: bool = False) -> None:
            choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
            usage = {"prompt_tokens": len(told.split()), "completion_tokens": len(text.split())}
            body = json.dumps({"choices": [choice], "usage": usage}).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.send_header("connection", "close")
            self.end_headers()
            self.wfile.write(body[: len(body) // 2] if cut else body)

    return Handler
