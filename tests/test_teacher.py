"""The teacher: a reply is a rationale or refused with a reason; servers answer well, badly, late, half, not at all."""

from __future__ import annotations

import asyncio
import base64
import gzip
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from r3lab.cli import call
from r3lab.core.errors import R3labError
from r3lab.core.files import Journal
from r3lab.core.geometry import iou
from r3lab.core.protocol import answer_of
from r3lab.core.records import Refused
from r3lab.course import building_vlir as course
from r3lab.vlir.sample import Sample, read_vlir, write_vlir
from r3lab.vlir.teacher import EndpointError, EndpointSettings, dialogue, endpoint, key_of, teach
from r3lab.vlir.teacher.dialogue import MAX_REPLY, picture_url, question, read_reply

ROOT = Path(__file__).resolve().parent.parent
KEY = "sk-loopback-0123456789abcdef"
WITHOUT = "pip install -e '.[test]' brings it"
REGION = (20.0, 10.0, 60.0, 40.0)  # of images of 160 x 100 pixels: 125, 100, 375, 400 of 1000


def make(number: int, **fields: Any) -> Sample:
    """A sample whose question says its number."""
    image = Image.new("RGB", (160, 100), (number % 256, 90, 40))
    given = {"question": f"Q{number:03d}: what is on it?", "answer": str(number), "regions": (REGION,)}
    return Sample(f"sample-{number}", image, **{**given, "needs_look": True, "split": "train", **fields})


def good(facts: dict[str, Any]) -> dict[str, Any]:
    """What a good teacher writes."""
    looks = [{"text": "The mark is too small to read.", "region": region} for region in facts["regions"]]
    return {"steps": [*looks, {"text": "It can be read now.", "region": None}], "answer": facts["answer"]}


class Loopback(ThreadingHTTPServer):
    """Answers chat completions; `script` says what it does to each request about a question (the last one stays)."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.script: dict[str, list[Any]] = {}
        self.asked: Counter[str] = Counter()  # requests by question
        self.times: list[float] = []
        self.bodies: list[dict[str, Any]] = []
        self.keys: set[str] = set()
        self.delay = 0.0
        self.flying = self.most = 0
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that was killed is no error here."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Loopback

    def log_message(self, format: str, *args: Any) -> None:
        """Silence."""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        facts = json.loads(body["messages"][1]["content"][0]["text"])
        name, server = facts["question"][:4], self.server
        with server.lock:
            todo = server.script.get(name, ["good"])
            act = todo[min(server.asked[name], len(todo) - 1)]
            server.asked[name] += 1
            server.times.append(time.monotonic())
            server.bodies.append(body)
            server.keys.add(self.headers["authorization"])
            server.flying += 1
            server.most = max(server.most, server.flying)
        try:
            time.sleep(server.delay)
            self.act(act, facts)
        finally:
            with server.lock:
                server.flying -= 1

    def act(self, act: Any, facts: dict[str, Any]) -> None:
        if callable(act):
            act = act(facts)
        text = json.dumps(good(facts))
        if isinstance(act, int):
            self.status(act, {"retry-after-ms": "10"})
        elif isinstance(act, tuple):
            self.status(*act)
        elif act == "cut":
            self.complete(text, cut=True)
        elif act == "hangs up":
            self.connection.shutdown(2)
        elif act == "cut by length":
            self.complete(text[:50], finish="length")
        elif act == "a page":
            self.status(200, {"content-type": "text/html"})
        elif isinstance(act, list):  # a completion that is none
            self.whole(json.dumps({"choices": act}).encode())
        elif act == "packed":  # a whole reply, compressed though it was not asked for
            self.whole(gzip.compress(b"{}"), {"content-encoding": "gzip"})
        elif act == "drips":
            self.flow(200, 0.05)
        elif act == "floods":
            self.flow(200, 0, 10_000)
        elif act == "floods an error":
            self.flow(500, 0, 10_000)
        else:
            self.complete(text if act == "good" else json.dumps(act) if isinstance(act, dict) else act)

    def status(self, code: int, headers: dict[str, str]) -> None:
        said = json.dumps({"error": {"message": f"no: your header was {self.headers['authorization']}"}}).encode()
        self.whole(said, headers, code)

    def whole(self, data: bytes, headers: dict[str, str] | None = None, code: int = 200) -> None:
        self.send_response(code)
        for name, value in {"content-type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def flow(self, code: int, pause: float, size: int = 1) -> None:
        """A body without end, until the client hangs up."""
        self.send_response(code)
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        while True:
            self.wfile.write(b"%x\r\n%s\r\n" % (size, b" " * size))
            time.sleep(pause)

    def complete(self, text: str, finish: str = "stop", cut: bool = False) -> None:
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish}
        usage = {"prompt_tokens": 1000, "completion_tokens": 100}
        data = json.dumps({"choices": [choice], "usage": usage}).encode()
        if not cut:
            return self.whole(data)
        self.send_response(200)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data[:30])
        return self.connection.shutdown(2)


@contextmanager
def loopback(patch: pytest.MonkeyPatch) -> Iterator[Loopback]:
    """A server in a thread, and an environment that has its key and nothing else that the client would heed."""
    pytest.importorskip("openai", reason=WITHOUT)
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name.startswith("OPENAI_"):
            patch.delenv(name)
    patch.setenv("OPENAI_API_KEY", KEY)
    server = Loopback()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Loopback]:
    with loopback(monkeypatch) as running:
        yield running


def settings(server: Loopback, **more: Any) -> EndpointSettings:
    return EndpointSettings(**{"base_url": server.url, "model": "loopback", "tries": 3, **more})


def lines(out: Path) -> dict[str, dict[str, Any]]:
    """The journal's lines by sample; the last one counts."""
    text = (out / "teacher" / "journal.jsonl").read_text()
    return {line["id"]: line for line in map(json.loads, text.splitlines()[1:])}


def written(out: Path) -> bytes:
    """Names and bytes of everything below a folder."""
    return b"".join(str(p).encode() + (p.read_bytes() if p.is_file() else b"") for p in sorted(out.rglob("*")))


def said(text: str = "It is 7.", region: Any = None, answer: Any = "7", last: str = "So it is.") -> str:
    """A reply with one step of that text and region, and one after it."""
    where = [125, 100, 375, 400] if region is None else region
    steps = [{"text": text, "region": where}, {"text": last}]
    return json.dumps({"steps": steps, "answer": answer})


# asking


def test_samples_become_a_vlir_folder_in_order_with_tokens_counted(server: Loopback, tmp_path: Path) -> None:
    samples = [make(i) for i in range(12)]
    server.delay = 0.05
    tally = teach(samples, settings(server, concurrency=3), tmp_path / "out", progress=False)
    pairs = list(read_vlir(tmp_path / "out"))
    assert [sample for sample, _ in pairs] == samples
    assert all(rationale.boxes == (REGION,) for _, rationale in pairs)
    assert 1 < server.most <= 3 and set(server.asked.values()) == {1}
    assert server.keys == {f"Bearer {KEY}"}
    assert server.bodies[0]["model"] == "loopback" and server.bodies[0]["max_tokens"] == 2000
    assert tally.tokens == (12_000, 1200)
    summary = json.loads((tmp_path / "out" / "teacher" / "summary.json").read_text())
    assert (summary["accepted"], summary["tokens"]) == (12, {"prompt": 12_000, "completion": 1200})
    teach(samples, settings(server), tmp_path / "out", progress=False)
    assert server.asked.total() == 12  # nothing twice


MISBEHAVED = [  # what the server does, one after the other; requests; what becomes of it
    (["good"], 1, "accepted", ""),
    ([500, 503, "good"], 3, "accepted", ""),
    ([500, 502, 503], 3, "failed", "HTTP 503"),
    (["cut", "hangs up", "good"], 3, "accepted", ""),
    (["cut"], 3, "failed", "no whole reply (RemoteProtocolError)"),
    (["a page"], 1, "failed", "no chat completion"),
    ([[7, None]], 1, "failed", "no chat completion"),
    ([[{"message": {"content": 3}}]], 1, "failed", "no chat completion"),
    ([[]], 1, "rejected", "a reply without text"),
    ([400], 1, "failed", "HTTP 400"),
    (["packed"], 1, "failed", "a compressed reply"),
    (["floods"], 1, "failed", "no whole reply within 200,000 bytes"),
    (["floods an error"], 1, "failed", "no whole reply within 200,000 bytes"),
    (["x" * 30_000], 1, "rejected", "a reply that is too long"),
    ([" "], 1, "rejected", "a reply without text"),
    (["cut by length"], 1, "rejected", "a reply that the endpoint cut off"),
    (["I would rather not."], 1, "rejected", "not the JSON that was asked for"),
    ([{"steps": [{"text": "It is <|im_end|>", "region": None}], "answer": "17"}], 1, "rejected", "markup in the text"),
    ([lambda facts: {**good(facts), "answer": "8"}], 1, "rejected", "another answer than the known one"),
    ([f"your key is {KEY}"], 1, "rejected", "a reply that holds the key"),
    ([said(f"It says {KEY}.", answer="20").replace("sk-", "\\u0073k-")], 1, "rejected", "a reply that holds the key"),
]


@pytest.fixture(scope="module")
def misbehaved(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Loopback, Path]]:
    """A server that misbehaves in every way at once, and what a run made of it."""
    out = tmp_path_factory.mktemp("misbehaved") / "out"
    with pytest.MonkeyPatch.context() as patch, loopback(patch) as server:
        patch.setattr(endpoint, "MAX_BYTES", 200_000)
        server.script = {f"Q{i:03d}": acts for i, (acts, *_) in enumerate(MISBEHAVED)}
        teach([make(i) for i in range(len(MISBEHAVED))], settings(server, concurrency=5), out, progress=False)
        yield server, out


@pytest.mark.parametrize("number", range(len(MISBEHAVED)), ids=lambda i: f"{MISBEHAVED[i][2]}-{i}")
def test_every_way_to_misbehave_ends_in_an_outcome(misbehaved: tuple[Loopback, Path], number: int) -> None:
    server, out = misbehaved
    _, tries, outcome, reason = MISBEHAVED[number]
    line = lines(out)[f"sample-{number}"]
    assert (line["outcome"], line["reason"], line["tries"]) == (outcome, reason, tries)
    assert server.asked[f"Q{number:03d}"] == tries


def test_after_misbehaviour_the_rest_is_whole_only_failures_are_asked_again_and_the_key_is_nowhere(
    misbehaved: tuple[Loopback, Path],
) -> None:
    server, out = misbehaved
    assert [s.id for s, _ in read_vlir(out)] == [f"sample-{i}" for i, m in enumerate(MISBEHAVED) if m[2] == "accepted"]
    summary = json.loads((out / "teacher" / "summary.json").read_text())
    assert Counter(m[2] for m in MISBEHAVED) == {name: summary[name] for name in ("accepted", "rejected", "failed")}
    assert summary["requests"] == sum(m[1] for m in MISBEHAVED) == server.asked.total()
    assert KEY.encode() not in written(out)
    asked = Counter(server.asked)
    teach([make(i) for i in range(len(MISBEHAVED))], settings(server, tries=1, concurrency=9), out, progress=False)
    assert server.asked - asked == {f"Q{i:03d}": 1 for i, m in enumerate(MISBEHAVED) if m[2] == "failed"}


def test_a_reply_that_never_ends_is_left_in_time(server: Loopback, tmp_path: Path) -> None:
    server.script["Q000"] = ["drips"]
    teach([make(0)], settings(server, tries=2, timeout=0.3), tmp_path / "out", progress=False)
    line = lines(tmp_path / "out")["sample-0"]
    assert (line["outcome"], line["reason"]) == ("failed", "no whole reply in time")


def test_retry_after_is_waited_for(server: Loopback, tmp_path: Path) -> None:
    server.script["Q000"] = [(429, {"retry-after": "1"}), "good"]
    teach([make(0)], settings(server), tmp_path / "out", progress=False)
    assert server.times[1] - server.times[0] > 0.9 and server.asked == {"Q000": 2}


@pytest.mark.parametrize(
    ("act", "words"),
    [
        (401, r"refused the key in \$OPENAI_API_KEY \(401\)"),
        (403, "may use 'loopback'"),
        (402, "no credit left"),
        (404, "no model 'loopback'.*--model.*--base-url"),
        ((302, {"location": "http://127.0.0.1:9/v1"}), "sends elsewhere"),
    ],
)
def test_what_would_meet_every_question_ends_the_run_and_keeps_what_was_in_flight(
    server: Loopback, tmp_path: Path, act: Any, words: str
) -> None:
    server.script["Q001"] = [act]
    server.delay = 0.1
    with pytest.raises(EndpointError, match=words) as caught:
        teach([make(i) for i in range(40)], settings(server, concurrency=2), tmp_path / "out", progress=False)
    assert server.asked["Q001"] == 1 and server.asked.total() < 10
    assert lines(tmp_path / "out")["sample-0"]["outcome"] == "accepted"
    assert KEY not in str(caught.value) and caught.value.__suppress_context__
    assert not (tmp_path / "out" / "vlir.jsonl").exists()


def test_a_dead_endpoint_ends_the_run_instead_of_being_asked_everything(server: Loopback, tmp_path: Path) -> None:
    server.script = {f"Q{i:03d}": [500] for i in range(60)}
    with pytest.raises(EndpointError, match="in a row failed, the last: HTTP 500"):
        teach([make(i) for i in range(60)], settings(server, tries=1), tmp_path / "out", progress=False)
    assert server.asked.total() < 20


def test_a_key_that_is_missing_is_named_and_a_spoilt_one_is_not_repeated(
    server: Loopback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    server.script["Q000"] = [401]
    with pytest.raises(EndpointError, match=r"wants a key in \$OPENAI_API_KEY"):
        teach([make(0)], settings(server), tmp_path / "out", progress=False)
    for spoilt in (f"{KEY}\n{KEY}", f"{KEY} {KEY}", f'"{KEY}"', f"{KEY}\u00e9"):
        monkeypatch.setenv("OTHER", spoilt)
        with pytest.raises(EndpointError, match=r"\$OTHER holds") as caught:
            teach([make(0)], settings(server, key_variable="OTHER"), tmp_path / "out", progress=False)
        assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"base_url": ""}, "OPENAI_BASE_URL"),
        ({"base_url": "localhost:8000"}, "http://HOST:PORT"),
        ({"base_url": "http://[::1"}, "http://HOST:PORT"),
        ({"base_url": f"https://me:{KEY}@host/v1"}, "may hold no"),
        ({"base_url": f"https://host/v1?key={KEY}"}, "may hold no"),
        ({"model": " "}, "--model"),
        ({"tries": 0}, "tries"),
        ({"timeout": float("nan")}, "timeout"),
    ],
)
def test_settings_that_cannot_work_are_refused_without_repeating_a_key(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(EndpointError, match=words) as caught:
        EndpointSettings(**{"base_url": "http://127.0.0.1:1/v1", "model": "m", **fields})
    assert KEY not in str(caught.value)


def test_a_missing_client_is_one_line_that_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(R3labError, match=r"pip install 'openai>=1\.50'"):
        teach([], EndpointSettings("http://127.0.0.1:1/v1", "m"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_notebook_whose_event_loop_runs_can_ask(server: Loopback, tmp_path: Path) -> None:
    async def cell() -> None:
        teach([make(0)], settings(server), tmp_path / "out", progress=False)

    asyncio.run(cell())
    assert len(list(read_vlir(tmp_path / "out"))) == 1


# going on


def test_rejected_replies_are_asked_again_only_when_wanted_and_a_limit_holds(server: Loopback, tmp_path: Path) -> None:
    out, samples = tmp_path / "out", [make(i) for i in range(6)]
    server.script["Q001"] = ["nonsense", "good"]
    first = teach(samples, settings(server), out, limit=3, progress=False)
    assert (server.asked.total(), first.count("accepted"), first.count("rejected")) == (3, 2, 1)
    teach(samples, settings(server), out, limit=0, progress=False)
    assert server.asked.total() == 3
    assert [s.id for s, _ in read_vlir(out)] == ["sample-0", "sample-2"]
    last = teach(samples, settings(server), out, retry_rejected=True, progress=False)
    assert server.asked == {"Q000": 1, "Q001": 2, "Q002": 1, "Q003": 1, "Q004": 1, "Q005": 1}
    assert [s.id for s, _ in read_vlir(out)] == [s.id for s in samples]
    assert (last.count("rejected"), last.tokens[0]) == (0, 7000)  # a reply that was rejected cost too


def test_a_sample_that_changed_under_its_name_is_another_question(server: Loopback, tmp_path: Path) -> None:
    teach([make(0)], settings(server), tmp_path / "out", progress=False)
    changed = make(0, regions=((30.0, 10.0, 60.0, 40.0),))
    teach([changed, changed], settings(server), tmp_path / "out", progress=False)
    assert server.asked["Q000"] == 2
    assert [s.regions for s, _ in read_vlir(tmp_path / "out")] == [changed.regions]


def test_folders_of_others_are_left_alone(server: Loopback, tmp_path: Path) -> None:
    write_vlir(tmp_path / "data", [(make(0), read_reply(said(answer="0"), make(0)))])
    with pytest.raises(R3labError, match="no teacher wrote"):
        teach([make(0)], settings(server), tmp_path / "data", progress=False)
    teach([make(0)], settings(server), tmp_path / "out", progress=False)
    with pytest.raises(R3labError, match="begun with model 'loopback', not 'other'"):
        teach([make(1)], settings(server, model="other"), tmp_path / "out", progress=False)
    with (
        Journal(tmp_path / "out" / "teacher" / "journal.jsonl", {"model": "loopback"}),
        pytest.raises(R3labError, match="another run"),
    ):
        teach([make(1)], settings(server), tmp_path / "out", progress=False)
    assert server.asked.total() == 1


def test_a_torn_last_line_is_dropped_and_a_damaged_one_before_it_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "teacher" / "journal.jsonl"
    with Journal(path, {"model": "m"}) as journal:
        journal.append("a", {"n": 1})
        journal.append("b", {"n": 2})
        journal.append("a", {"n": 3})
    whole = path.read_bytes()
    for torn in (b'{"key": "c", "n"', b'{"key": "c", "n": 1}', b"\0\0\0\n"):
        path.write_bytes(whole + torn)
        with Journal(path, {"model": "m"}) as journal:
            assert "c" not in journal and journal["a"]["n"] == 3 and journal["b"]["n"] == 2
            assert [line["n"] for line in journal] == [1, 2, 3]
        assert path.read_bytes() == whole
    path.write_bytes(whole.replace(b'"n": 2', b'"n": '))
    with pytest.raises(R3labError, match="line 3 is damaged"):
        Journal(path, {"model": "m"})


def test_a_broken_source_ends_the_run_after_what_was_in_flight_is_kept(server: Loopback, tmp_path: Path) -> None:
    def source() -> Iterator[Sample]:
        yield make(0)
        yield make(1)
        raise R3labError("line 3 is broken")

    server.delay = 0.2
    with pytest.raises(R3labError, match="line 3"):
        teach(source(), settings(server), tmp_path / "out", progress=False)
    assert set(lines(tmp_path / "out")) == {"sample-0", "sample-1"}


@pytest.mark.skipif(os.name == "nt", reason="Ctrl-C is sent otherwise there")
def test_ctrl_c_reads_what_is_in_flight_and_a_second_one_drops_it(server: Loopback, tmp_path: Path) -> None:
    def interrupt(facts: dict[str, Any]) -> str:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.4)
        return "good"

    handler = signal.getsignal(signal.SIGINT)
    out, samples = tmp_path / "out", [make(i) for i in range(20)]
    server.script["Q003"] = [interrupt]
    server.script["Q002"] = [(500, {"retry-after": "1"}), "good"]  # its next try is waited for
    with pytest.raises(KeyboardInterrupt):
        teach(samples, settings(server, concurrency=4), out, progress=False)
    assert {f"sample-{i}" for i in range(4)} <= set(lines(out))
    asked = server.asked.total()
    assert asked < 15 and not (out / "vlir.jsonl").exists() and (out / "teacher" / "summary.json").exists()

    def twice(facts: dict[str, Any]) -> str:
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.5)
        time.sleep(1)
        return "good"

    server.script["Q010"] = [twice, "good"]
    with pytest.raises(KeyboardInterrupt):
        teach(samples, settings(server, concurrency=1), out, progress=False)
    assert "sample-10" not in lines(out) and signal.getsignal(signal.SIGINT) is handler
    teach(samples, settings(server), out, progress=False)
    assert {name for name, n in server.asked.items() if n > 1} == {"Q002", "Q010"}  # asked again, and dropped
    assert len(list(read_vlir(out))) == 20


# the command, killed in the middle


def command(server: Loopback, data: Path, out: Path, *more: str) -> list[str]:
    where = ["--data", str(data / "vlir.jsonl"), "--out", str(out), "--base-url", server.url, "--model", "loopback"]
    return [*where, "--concurrency", "3", *more]


@pytest.mark.skipif(os.name == "nt", reason="no SIGKILL there")
def test_killed_in_the_middle_and_run_again_asks_nothing_twice_and_the_key_is_nowhere(
    server: Loopback, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    samples, out = [make(i) for i in range(30)], tmp_path / "out"
    write_vlir(tmp_path / "data", [(s, read_reply(said(answer=s.answer), s)) for s in samples])
    server.delay = 0.05
    server.script = {"Q002": ["nonsense"], "Q004": [(429, {"retry-after": "0.2"}), "good"], "Q006": ["cut", "good"]}
    code = "import sys; from r3lab.cli import main; sys.exit(main(['vlir', 'rationale', *sys.argv[1:]]))"
    run = subprocess.Popen(
        [sys.executable, "-c", code, *command(server, tmp_path / "data", out)],
        cwd=ROOT,
        env={**os.environ, "OPENAI_LOG": "info"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    end = time.monotonic() + 300
    while server.asked.total() < 15 and run.poll() is None and time.monotonic() < end:
        time.sleep(0.01)
    run.kill()
    heard = b"".join(run.communicate())
    assert run.returncode == -signal.SIGKILL, heard.decode()
    time.sleep(0.1)
    path = out / "teacher" / "journal.jsonl"
    with path.open("ab") as file:
        file.write(b'{"key": "torn')
    settled = {json.loads(line)["id"] for line in path.read_text().splitlines()[1:-1]}
    asked = Counter(server.asked)
    assert 5 <= len(settled) < 30 and not (out / "vlir.jsonl").exists()
    flying = {f"Q{s.id.removeprefix('sample-'):0>3}" for s in samples if s.id not in settled} & set(asked)
    assert len(flying) <= 3

    assert call("vlir rationale", command(server, tmp_path / "data", out)) == 0
    shown = capsys.readouterr()
    assert "29 accepted, 1 rejected, 0 failed" in shown.out
    again = {name for name in asked if server.asked[name] > asked[name]}
    assert again == flying  # only what had no reply yet; nothing that was settled
    assert server.asked.total() <= 30 + len(flying) + 2
    assert [s for s, _ in read_vlir(out)] == [s for s in samples if s.id != "sample-2"]
    assert {line["id"] for line in lines(out).values()} == {s.id for s in samples}
    everything = heard + shown.out.encode() + shown.err.encode() + written(out)
    assert KEY.encode() not in everything and base64.b64encode(KEY.encode())[:-4] not in everything


def test_the_command_says_what_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    given = ["--out", str(tmp_path / "out"), "--model", "m"]
    with pytest.raises(R3labError, match="either --world NAME or --data FILE"):
        call("vlir rationale", [*given, "--base-url", "http://127.0.0.1:1/v1"])
    with pytest.raises(R3labError, match="OPENAI_BASE_URL"):
        call("vlir rationale", [*given, "--world", "badges"])
    with pytest.raises(SystemExit):
        call("vlir rationale", [*given, "--modle", "m"])
    assert "Did you mean '--model'?" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_no_model_and_no_client_is_loaded_until_it_is_wanted() -> None:
    code = "import sys, r3lab.cli.vlir; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not {"torch", "transformers", "openai", "matplotlib", "r3lab.models"} & set(loaded.stdout.split())


def test_the_same_sample_has_the_same_key_in_every_process() -> None:
    assert key_of(make(7)) == key_of(make(7)) != key_of(make(7, question="Q007: what else is on it?"))


# the endpoint of the course


def test_it_does_what_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("openai", reason=WITHOUT)
    monkeypatch.setenv("NO_PROXY", "example.org")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    wrong = [lambda facts: {**course.good(facts), "answer": "none"}]
    acts = [["good"], [429, "cut", "good"], [500], ["I would rather talk."], wrong]
    samples = [make(i) for i in range(len(acts))]
    with course.Loopback({s.question: todo for s, todo in zip(samples, acts, strict=True)}) as server:
        assert server.url.startswith("http://127.0.0.1:") and "127.0.0.1" in os.environ["NO_PROXY"].split(",")
        tally = teach(samples, EndpointSettings(server.url, "loopback", tries=3), tmp_path / "out", progress=False)
    assert os.environ["NO_PROXY"] == "example.org"
    assert [lines(tmp_path / "out")[s.id]["outcome"][:6] for s in samples] == ["accept"] * 2 + ["failed"] + [
        "reject"
    ] * 2
    assert [server.asked[s.question] for s in samples] == [1, 3, 3, 1, 1] and min(tally.tokens) > 0
    assert [s for s, _ in read_vlir(tmp_path / "out")] == samples[:2]


# replies


def test_a_good_reply_becomes_a_rationale_in_source_pixels_that_the_protocol_reads() -> None:
    sample = make(7)
    rationale = read_reply(json.dumps(good({"regions": [[125, 100, 375, 400]], "answer": 7})), sample)
    assert rationale.parts[0] == "<think>The mark is too small to read."
    assert rationale.boxes == (REGION,)
    assert answer_of(str(rationale.parts[-1])) == "7"


def test_what_a_chat_model_wraps_around_its_json_is_taken_off() -> None:
    text = json.dumps(good({"regions": [[125, 100, 375, 400]], "answer": "7."}))
    for wrapped in (f"```json\n{text}\n```", f"<think>Hm. {{</think>\n{text}", f"\n {text} \n"):
        assert read_reply(wrapped, make(7)).boxes == (REGION,)


BAD = {
    "no JSON": ("I cannot see it.", "not the JSON"),
    "half of it": (said()[:-9], "not the JSON"),
    "text after it": (said() + " I hope this helps!", "not the JSON"),
    "a list": ("[1]", "not the JSON"),
    "deep": ("[" * 19_000, "not the JSON"),
    "a key too many": ('{"steps": [], "answer": "7", "tool": "rm"}', "not the JSON"),
    "a key twice": (said()[:-1] + ', "answer": "7"}', "not the JSON"),
    "no steps": ('{"steps": [], "answer": "7"}', "no steps"),
    "many steps": (json.dumps({"steps": [{"text": "x"}] * 33, "answer": "7"}), "no steps, or too many"),
    "many looks": (
        json.dumps({"steps": [{"text": "x", "region": [0, 0, 500, 500]}] * 9, "answer": "7"}),
        "too many looks",
    ),
    "ends with a look": (
        '{"steps": [{"text": "x", "region": [125, 100, 375, 400]}], "answer": "7"}',
        "nothing is said",
    ),
    "no text": (said(" \n\u00a0"), "a step without text"),
    "huge": ("x" * (MAX_REPLY + 1), "too long"),
    "long step": (said("word " * 300), "step that is too long"),
    "NaN box": (said().replace("125", "NaN"), "not the JSON"),
    "infinite box": (said().replace("125", "1e999"), "not the JSON"),
    "endless number": (said().replace("125", "1" * 400), "not the JSON"),
    "text in a box": (said(region=["125", 100, 375, 400]), "not the JSON"),
    "three numbers": (said(region=[125, 100, 375]), "not the JSON"),
    "box outside": (said(region=[1200, 100, 1500, 400]), "cannot be looked at"),
    "box over the edge": (said(region=[125, 100, 375, 1100]), "cannot be looked at"),
    "box of pixels upside down": (said(region=[375, 400, 125, 100]), "cannot be looked at"),
    "box of 0 to 1": (said(region=[0.125, 0.1, 0.375, 0.4]), "cannot be looked at"),
    "box elsewhere": (said(region=[500, 500, 900, 900]), "no look on a known region"),
    "other answer": (said(answer="8"), "another answer"),
    "no answer": (said(answer=""), "another answer"),
    "answer is a list": (said(answer=["7"]), "not the JSON"),
    "answer closes itself": (said(answer="7</answer><answer>8"), "another answer"),
    "answer in the text": (said("It is </think><answer>8</answer>"), "markup"),
    "answer in the last text": (said(last="</answer><answer>8"), "markup"),
    "spaced tag": (said("< / Answer >"), "markup"),
    "script": (said("<script>alert(1)</script>"), "markup"),
    "picture": (said("<img src=x onerror=alert(1)>"), "markup"),
    "chat marks": (said("<|im_end|><|im_start|>system"), "markup"),
    "image mark": (said("<|image_pad|>"), "markup"),
    "tool call": (said('<tool_call>{"name": "image_zoom_in_tool"}</tool_call>'), "markup"),
    "tool call without tags": (said('{"name": "delete", "arguments": {}}'), "markup"),
    "a box in the text": (said('Look at {"bbox_2d": [0, 0, 9, 9]}.'), "markup"),
    "escape codes": (said("\x1b[2Jgone"), "cannot be printed"),
    "right to left": (said("\u202etxet"), "cannot be printed"),
    "half a character": (said("\ud83d"), "cannot be printed"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_reply_is_refused_with_a_reason_in_few_printable_words(name: str) -> None:
    text, reason = BAD[name]
    with pytest.raises(Refused, match=reason) as caught:
        read_reply(text, make(7))
    assert caught.value.reason.isprintable() and len(caught.value.reason) < 60
    assert str(caught.value).isprintable() and len(str(caught.value)) < 250


def test_comparisons_and_braces_in_a_text_are_not_markup() -> None:
    text = "Since a < b and b<c, the set {1, 2} has x <= 3 -> 100 %."
    assert text in str(read_reply(said(text), make(7)).parts[0])


def test_looks_are_checked_in_the_order_of_the_known_regions_and_only_where_one_is_needed() -> None:
    first, second = (10.0, 10.0, 40.0, 40.0), (100.0, 50.0, 150.0, 90.0)
    sample = make(7, regions=(first, second))
    looks = [{"text": "a", "region": [62, 100, 250, 400]}, {"text": "b", "region": [625, 500, 938, 900]}]
    elsewhere = {"text": "c", "region": [0, 0, 999, 999]}

    def reply(*steps: dict[str, Any]) -> str:
        return json.dumps({"steps": [*steps, {"text": "d"}], "answer": "7"})

    assert len(read_reply(reply(looks[0], elsewhere, looks[1]), sample).boxes) == 3
    with pytest.raises(Refused, match="region 2: IoU"):
        read_reply(reply(looks[1], looks[0]), sample)
    with pytest.raises(Refused, match="region 2: IoU"):
        read_reply(reply(looks[0]), sample)
    assert read_reply(reply(), make(7, needs_look=False)).boxes == ()
    with pytest.raises(Refused, match="no look where one is needed"):
        read_reply(reply(), make(7, regions=()))


def test_a_region_too_small_for_0_to_1000_can_still_be_copied() -> None:
    strip = Image.new("RGB", (4000, 30))
    sample = Sample("s", strip, "what?", "7", ((1002.0, 10.0, 1006.0, 20.0),), True)
    facts = json.loads(question(sample)[1]["content"][0]["text"])
    [box] = read_reply(json.dumps(good(facts)), sample).boxes
    assert 0 < iou(box, sample.regions[0]) < 0.5  # on its own it would not count


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"answer": " "}, "no known answer"),
        ({"answer": "a</answer><answer>b"}, "cannot carry"),
        ({"answer": "x" * 3000}, "cannot carry"),
        ({"question": ""}, "cannot be asked"),
        ({"question": "x" * 5000}, "cannot be asked"),
        ({"regions": ((0.0, 0.0, 9.0, 9.0),) * 9}, "too many regions"),
        ({"regions": ((900.0, 0.0, 990.0, 9.0),)}, "cannot be looked at"),
        ({"world": "\ud800"}, "cannot hold"),
    ],
)
def test_a_sample_that_no_reply_could_explain_is_not_asked(fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(Refused, match=reason):
        question(make(7, **fields))


def test_images_are_sent_small_and_each_known_region_enlarged(monkeypatch: pytest.MonkeyPatch) -> None:
    noise = Image.effect_noise((500, 300), 80).convert("RGB")
    monkeypatch.setattr(dialogue, "MAX_SIDE", 200)
    parts = question(Sample("s", noise, "q?", "7", ((10, 10, 40, 40),), True))[1]["content"]
    photo, crop = [Image.open(io.BytesIO(base64.b64decode(p["image_url"]["url"].partition(",")[2]))) for p in parts[1:]]
    assert max(photo.size) == 200 and min(crop.size) >= 4 * 28
    assert photo.format == crop.format == "PNG"
    monkeypatch.setattr(dialogue, "MAX_IMAGE", 20_000)
    url = picture_url(noise)
    assert url.startswith("data:image/jpeg") and len(url) < 28_000
