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
from http.server import BaseHTTPRequestHandler
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
from r3lab.vlir import dialogue, teacher
from r3lab.vlir.dialogue import MAX_REPLY, picture_url, question, read_reply
from r3lab.vlir.sample import Sample, read_vlir, write_vlir
from r3lab.vlir.teacher import EndpointError, EndpointSettings, teach

ROOT = Path(__file__).resolve().parent.parent
KEY = "sk-loopback-0123456789abcdef"
REGION = (20.0, 10.0, 60.0, 40.0)  # of images of 160 x 100 pixels: 125, 100, 375, 400 of 1000


def make(number: int, **fields: Any) -> Sample:
    """A sample whose question says its number."""
    image = Image.new("RGB", (160, 100), (number % 256, 90, 40))
    given = {"question": f"Q{number:03d}", "answer": str(number), "regions": (REGION,), "needs_look": True}
    return Sample(f"sample-{number}", image, **{**given, "split": "train", **fields})


class Loopback(course.Loopback):
    """The endpoint of the course, which writes down how it was asked and misbehaves in more ways."""

    def __init__(self) -> None:
        super().__init__()
        self.RequestHandlerClass = Handler
        self.times: list[float] = []
        self.bodies: list[dict[str, Any]] = []
        self.keys: set[str] = set()
        self.delay = 0.0
        self.flying = self.most = 0
        self.lock = threading.Lock()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that was killed is no error here."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Loopback

    def log_message(self, format: str, *args: Any) -> None:
        """Silence."""

    def do_POST(self) -> None:
        body, server = json.loads(self.rfile.read(int(self.headers["content-length"]))), self.server
        facts = json.loads(body["messages"][1]["content"][0]["text"])
        act = server.act(facts["question"])
        with server.lock:
            server.times.append(time.monotonic())
            server.bodies.append(body)
            server.keys.add(self.headers["authorization"])
            server.flying += 1
            server.most = max(server.most, server.flying)
        try:
            time.sleep(server.delay)
            self.act(act(facts) if callable(act) else act, json.dumps(course.good(facts)))
        finally:
            with server.lock:
                server.flying -= 1

    def act(self, act: Any, good: str) -> None:
        """Do one thing to a request: a status (with headers), a completion that is none, a text, or what has a name."""
        named = {
            "good": lambda: self.complete(good),
            "cut": lambda: self.complete(good, cut=True),
            "cut by length": lambda: self.complete(good[:50], finish="length"),
            "hangs up": lambda: self.connection.shutdown(2),
            "a page": lambda: self.status(200, {"content-type": "text/html"}),
            "packed": lambda: self.whole(gzip.compress(b"{}"), {"content-encoding": "gzip"}),  # nobody asked for that
            "drips": lambda: self.flow(200, 0.05),
            "floods": lambda: self.flow(200, 0, 10_000),
            "floods an error": lambda: self.flow(500, 0, 10_000),
        }
        if isinstance(act, int):
            self.status(act, {"retry-after-ms": "10"})
        elif isinstance(act, tuple):
            self.status(*act)
        elif isinstance(act, list):
            self.whole(json.dumps({"choices": act}).encode())
        elif isinstance(act, dict):
            self.complete(json.dumps(act))
        else:
            named.get(act, lambda: self.complete(act))()

    def status(self, code: int, headers: dict[str, str]) -> None:
        said = json.dumps({"error": {"message": f"no: your header was {self.headers['authorization']}"}}).encode()
        self.whole(said, headers, code)

    def whole(
        self, data: bytes, headers: dict[str, str] | None = None, code: int = 200, sent: int | None = None
    ) -> None:
        self.send_response(code)
        for name, value in {"content-type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data[:sent])

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
        self.whole(json.dumps({"choices": [choice], "usage": usage}).encode(), sent=30 if cut else None)
        if cut:
            self.connection.shutdown(2)


@contextmanager
def loopback(patch: pytest.MonkeyPatch) -> Iterator[Loopback]:
    """A server in a thread, and an environment that has its key and nothing else that the client would heed."""
    pytest.importorskip("openai", reason="pip install -e '.[test]' brings it")
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name.startswith("OPENAI_"):
            patch.delenv(name)
    patch.setenv("OPENAI_API_KEY", KEY)
    with Loopback() as running:
        yield running


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Loopback]:
    with loopback(monkeypatch) as running:
        yield running


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def ask(server: Loopback, samples: Any, out: Path, limit: int | None = None, again: bool = False, **more: Any) -> Any:
    """`teach` of samples, or of that many, by that server."""
    samples = [make(i) for i in range(samples)] if isinstance(samples, int) else samples
    settings = EndpointSettings(**{"base_url": server.url, "model": "loopback", "tries": 3, **more})
    return teach(samples, settings, out, limit=limit, retry_rejected=again, progress=False)


def lines(out: Path) -> dict[str, dict[str, Any]]:
    """The journal's lines by sample; the last one counts."""
    text = (out / "teacher" / "journal.jsonl").read_text()
    return {line["id"]: line for line in map(json.loads, text.splitlines()[1:])}


def ids(out: Path) -> list[str]:
    """Of the samples that got a rationale."""
    return [sample.id for sample, _ in read_vlir(out)]


def written(out: Path) -> bytes:
    """Names and bytes of everything below a folder."""
    return b"".join(str(p).encode() + (p.read_bytes() if p.is_file() else b"") for p in sorted(out.rglob("*")))


def said(text: str = "It is 7.", region: Any = None, answer: Any = "7", last: str = "So it is.") -> str:
    """A reply with one step of that text and region, and one after it."""
    where = [125, 100, 375, 400] if region is None else region
    return json.dumps({"steps": [{"text": text, "region": where}, {"text": last}], "answer": answer})


# asking


def test_samples_become_a_vlir_folder_in_order_with_tokens_counted(server: Loopback, out: Path) -> None:
    samples = [make(i) for i in range(12)]
    server.delay = 0.05
    tally = ask(server, samples, out, concurrency=3)
    pairs = list(read_vlir(out))
    assert [sample for sample, _ in pairs] == samples
    assert all(rationale.boxes == (REGION,) for _, rationale in pairs)
    assert 1 < server.most <= 3 and set(server.asked.values()) == {1}
    assert server.keys == {f"Bearer {KEY}"}
    assert server.bodies[0]["model"] == "loopback" and server.bodies[0]["max_tokens"] == 2000
    assert tally.tokens == (12_000, 1200)
    summary = json.loads((out / "teacher" / "summary.json").read_text())
    assert (summary["accepted"], summary["tokens"]) == (12, {"prompt": 12_000, "completion": 1200})


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
    ([lambda facts: {**course.good(facts), "answer": "8"}], 1, "rejected", "another answer than the known one"),
    ([f"your key is {KEY}"], 1, "rejected", "a reply that holds the key"),
    ([said(f"It says {KEY}.", answer="20").replace("sk-", "\\u0073k-")], 1, "rejected", "a reply that holds the key"),
]


@pytest.fixture(scope="module")
def misbehaved(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Loopback, Path]]:
    """A server that misbehaves in every way at once, and what a run made of it."""
    out = tmp_path_factory.mktemp("misbehaved") / "out"
    with pytest.MonkeyPatch.context() as patch, loopback(patch) as server:
        patch.setattr(teacher, "MAX_BYTES", 200_000)
        server.acts = {f"Q{i:03d}": acts for i, (acts, *_) in enumerate(MISBEHAVED)}
        ask(server, len(MISBEHAVED), out, concurrency=5)
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
    assert ids(out) == [f"sample-{i}" for i, m in enumerate(MISBEHAVED) if m[2] == "accepted"]
    summary = json.loads((out / "teacher" / "summary.json").read_text())
    assert Counter(m[2] for m in MISBEHAVED) == {name: summary[name] for name in ("accepted", "rejected", "failed")}
    assert summary["requests"] == sum(m[1] for m in MISBEHAVED) == server.asked.total()
    assert KEY.encode() not in written(out)
    asked = Counter(server.asked)
    ask(server, len(MISBEHAVED), out, tries=1, concurrency=9)
    assert server.asked - asked == {f"Q{i:03d}": 1 for i, m in enumerate(MISBEHAVED) if m[2] == "failed"}


def test_a_reply_that_never_ends_is_left_in_time(server: Loopback, out: Path) -> None:
    server.acts["Q000"] = ["drips"]
    ask(server, 1, out, tries=2, timeout=0.3)
    assert lines(out)["sample-0"]["reason"] == "no whole reply in time"


def test_retry_after_is_waited_for(server: Loopback, out: Path) -> None:
    server.acts["Q000"] = [(429, {"retry-after": "1"}), "good"]
    ask(server, 1, out)
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
    server: Loopback, out: Path, act: Any, words: str
) -> None:
    server.acts["Q001"] = [act]
    server.delay = 0.1
    with pytest.raises(EndpointError, match=words) as caught:
        ask(server, 40, out, concurrency=2)
    assert server.asked["Q001"] == 1 and server.asked.total() < 10
    assert lines(out)["sample-0"]["outcome"] == "accepted" and not (out / "vlir.jsonl").exists()
    assert KEY not in str(caught.value) and caught.value.__suppress_context__


def test_a_dead_endpoint_ends_the_run_instead_of_being_asked_everything(server: Loopback, out: Path) -> None:
    server.acts = {f"Q{i:03d}": [500] for i in range(60)}
    with pytest.raises(EndpointError, match="in a row failed, the last: HTTP 500"):
        ask(server, 60, out, tries=1)
    assert server.asked.total() < 20


def test_a_key_that_is_missing_is_named_and_a_spoilt_one_is_not_repeated(
    server: Loopback, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    server.acts["Q000"] = [401]
    with pytest.raises(EndpointError, match=r"wants a key in \$OPENAI_API_KEY"):
        ask(server, 1, out)
    for spoilt in (f"{KEY}\n{KEY}", f"{KEY} {KEY}", f'"{KEY}"', f"{KEY}\u00e9"):
        monkeypatch.setenv("OTHER", spoilt)
        with pytest.raises(EndpointError, match=r"\$OTHER holds") as caught:
            ask(server, 1, out, key_variable="OTHER")
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


def test_a_missing_client_is_one_line_that_says_what_to_install(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(R3labError, match=r"pip install 'openai>=1\.50'"):
        teach([], EndpointSettings("http://127.0.0.1:1/v1", "m"), out)
    assert not out.exists()


def test_a_notebook_whose_event_loop_runs_can_ask(server: Loopback, out: Path) -> None:
    async def cell() -> None:
        ask(server, 1, out)

    asyncio.run(cell())
    assert ids(out) == ["sample-0"]


# going on


def test_rejected_replies_are_asked_again_only_when_wanted_and_a_limit_holds(server: Loopback, out: Path) -> None:
    server.acts["Q001"] = ["nonsense", "good"]
    first = ask(server, 6, out, limit=3)
    assert (server.asked.total(), first.count("accepted"), first.count("rejected")) == (3, 2, 1)
    ask(server, 6, out, limit=0)
    assert server.asked.total() == 3 and ids(out) == ["sample-0", "sample-2"]
    last = ask(server, 6, out, again=True)
    assert server.asked == {**{f"Q{i:03d}": 1 for i in range(6)}, "Q001": 2}
    assert ids(out) == [f"sample-{i}" for i in range(6)]
    assert (last.count("rejected"), last.tokens[0]) == (0, 7000)  # a reply that was rejected cost too


def test_a_sample_that_changed_under_its_name_is_another_question(server: Loopback, out: Path) -> None:
    ask(server, 1, out)
    changed = make(0, regions=((30.0, 10.0, 60.0, 40.0),))
    ask(server, [changed, changed], out)
    assert server.asked["Q000"] == 2
    assert [s.regions for s, _ in read_vlir(out)] == [changed.regions]


def test_folders_of_others_are_left_alone(server: Loopback, out: Path, tmp_path: Path) -> None:
    write_vlir(tmp_path / "data", [(make(0), read_reply(said(answer="0"), make(0)))])
    with pytest.raises(R3labError, match="no teacher wrote"):
        ask(server, 1, tmp_path / "data")
    ask(server, 1, out)
    with pytest.raises(R3labError, match="begun with model 'loopback', not 'other'"):
        ask(server, [make(1)], out, model="other")
    journal = Journal(out / "teacher" / "journal.jsonl", {"model": "loopback"})
    with journal, pytest.raises(R3labError, match="another run"):
        ask(server, [make(1)], out)
    assert server.asked.total() == 1


def test_a_broken_source_ends_the_run_after_what_was_in_flight_is_kept(server: Loopback, out: Path) -> None:
    def source() -> Iterator[Sample]:
        yield make(0)
        yield make(1)
        raise R3labError("line 3 is broken")

    server.delay = 0.2
    with pytest.raises(R3labError, match="line 3"):
        ask(server, source(), out)
    assert set(lines(out)) == {"sample-0", "sample-1"}


@pytest.mark.skipif(os.name == "nt", reason="Ctrl-C is sent otherwise there")
def test_ctrl_c_reads_what_is_in_flight_and_a_second_one_drops_it(server: Loopback, out: Path) -> None:
    def interrupt(times: int) -> str:
        for _ in range(times):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.4)
        time.sleep(times - 1)
        return "good"

    handler = signal.getsignal(signal.SIGINT)
    server.acts["Q003"] = [lambda facts: interrupt(1)]
    server.acts["Q002"] = [(500, {"retry-after": "1"}), "good"]  # its next try is waited for
    with pytest.raises(KeyboardInterrupt):
        ask(server, 20, out, concurrency=4)
    assert {f"sample-{i}" for i in range(4)} <= set(lines(out))
    assert server.asked.total() < 15
    assert not (out / "vlir.jsonl").exists() and (out / "teacher" / "summary.json").exists()
    server.acts["Q010"] = [lambda facts: interrupt(2), "good"]
    with pytest.raises(KeyboardInterrupt):
        ask(server, 20, out, concurrency=1)
    assert "sample-10" not in lines(out) and signal.getsignal(signal.SIGINT) is handler
    ask(server, 20, out)
    assert {name for name, n in server.asked.items() if n > 1} == {"Q002", "Q010"}  # asked again, and dropped
    assert len(ids(out)) == 20


# the command, killed in the middle


@pytest.mark.skipif(os.name == "nt", reason="no SIGKILL there")
def test_killed_in_the_middle_and_run_again_asks_nothing_twice_and_the_key_is_nowhere(
    server: Loopback, out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    samples = [make(i) for i in range(30)]
    write_vlir(tmp_path / "data", [(s, read_reply(said(answer=s.answer), s)) for s in samples])
    server.delay = 0.05
    server.acts = {"Q002": ["nonsense"], "Q004": [(429, {"retry-after": "0.2"}), "good"], "Q006": ["cut", "good"]}
    where = ["--data", str(tmp_path / "data" / "vlir.jsonl"), "--out", str(out), "--base-url", server.url]
    command = [*where, "--model", "loopback", "--concurrency", "3"]
    run = subprocess.Popen(
        [sys.executable, "-m", "r3lab", "vlir", "rationale", *command],
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
    flying = {s.question for s in samples if s.id not in settled} & set(asked)
    assert len(flying) <= 3

    assert call("vlir rationale", command) == 0
    shown = capsys.readouterr()
    assert "29 accepted, 1 rejected, 0 failed" in shown.out
    again = {name for name in asked if server.asked[name] > asked[name]}
    assert again == flying  # only what had no reply yet; nothing that was settled
    assert server.asked.total() <= 30 + len(flying) + 2
    assert [s for s, _ in read_vlir(out)] == [s for s in samples if s.id != "sample-2"]
    assert set(lines(out)) == {s.id for s in samples}
    everything = heard + shown.out.encode() + shown.err.encode() + written(out)
    assert KEY.encode() not in everything and base64.b64encode(KEY.encode())[:-4] not in everything


def test_the_command_says_what_is_wrong(out: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    given = ["--out", str(out), "--model", "m"]
    with pytest.raises(R3labError, match="either --world NAME or --data FILE"):
        call("vlir rationale", [*given, "--base-url", "http://127.0.0.1:1/v1"])
    with pytest.raises(R3labError, match="OPENAI_BASE_URL"):
        call("vlir rationale", [*given, "--world", "badges"])
    with pytest.raises(SystemExit):
        call("vlir rationale", [*given, "--modle", "m"])
    assert "Did you mean '--model'?" in capsys.readouterr().err
    assert not out.exists()


def test_the_endpoint_of_the_course_does_what_it_is_told(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("openai", reason="pip install -e '.[test]' brings it")
    monkeypatch.setenv("NO_PROXY", "example.org")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    wrong = [lambda facts: {**course.good(facts), "answer": "none"}]
    acts = [["good"], [429, "cut", "good"], [500], ["I would rather talk."], wrong]
    with course.Loopback({f"Q{i:03d}": todo for i, todo in enumerate(acts)}) as server:
        assert server.url.startswith("http://127.0.0.1:") and "127.0.0.1" in os.environ["NO_PROXY"].split(",")
        tally = ask(server, len(acts), out)
    assert os.environ["NO_PROXY"] == "example.org"
    outcomes = [lines(out)[f"sample-{i}"]["outcome"] for i in range(len(acts))]
    assert outcomes == ["accepted", "accepted", "failed", "rejected", "rejected"] and min(tally.tokens) > 0
    assert server.asked == dict(zip(sorted(server.asked), [1, 3, 3, 1, 1], strict=True))
    assert ids(out) == ["sample-0", "sample-1"]


# replies


@pytest.mark.parametrize("around", ["{}", "```json\n{}\n```", "<think>Hm. {{</think>\n{}", "\n {} \n"])
def test_a_good_reply_becomes_a_rationale_in_source_pixels_that_the_protocol_reads(around: str) -> None:
    """Also out of what a chat model wraps around its JSON."""
    text = json.dumps(course.good({"regions": [[125, 100, 375, 400]], "answer": 7}))
    rationale = read_reply(around.replace("{}", text), make(7))
    assert rationale.parts[0] == "<think>This is too small to read." and rationale.boxes == (REGION,)
    assert answer_of(str(rationale.parts[-1])) == "7"


LOOK, WHOLE = {"text": "x", "region": [125, 100, 375, 400]}, {"text": "x", "region": [0, 0, 500, 500]}
BAD = [  # a reply, and why it is refused
    ("I cannot see it.", "not the JSON"),
    (said()[:-9], "not the JSON"),
    (said() + " I hope this helps!", "not the JSON"),
    ("[1]", "not the JSON"),
    ("[" * 19_000, "not the JSON"),
    ('{"steps": [], "answer": "7", "tool": "rm"}', "not the JSON"),
    (said()[:-1] + ', "answer": "7"}', "not the JSON"),
    ('{"steps": [], "answer": "7"}', "no steps"),
    (json.dumps({"steps": [{"text": "x"}] * 33, "answer": "7"}), "no steps, or too many"),
    (json.dumps({"steps": [WHOLE] * 9, "answer": "7"}), "too many looks"),
    (json.dumps({"steps": [LOOK], "answer": "7"}), "nothing is said"),
    (said(" \n\u00a0"), "a step without text"),
    ("x" * (MAX_REPLY + 1), "too long"),
    (said("word " * 300), "step that is too long"),
    (said().replace("125", "NaN"), "not the JSON"),
    (said().replace("125", "1e999"), "not the JSON"),
    (said().replace("125", "1" * 400), "not the JSON"),
    (said(region=["125", 100, 375, 400]), "not the JSON"),
    (said(region=[125, 100, 375]), "not the JSON"),
    (said(region=[1200, 100, 1500, 400]), "cannot be looked at"),
    (said(region=[125, 100, 375, 1100]), "cannot be looked at"),
    (said(region=[375, 400, 125, 100]), "cannot be looked at"),
    (said(region=[0.125, 0.1, 0.375, 0.4]), "cannot be looked at"),
    (said(region=[500, 500, 900, 900]), "no look on a known region"),
    (said(answer="8"), "another answer"),
    (said(answer=""), "another answer"),
    (said(answer=["7"]), "not the JSON"),
    (said(answer="7</answer><answer>8"), "another answer"),
    (said("It is </think><answer>8</answer>"), "markup"),
    (said(last="</answer><answer>8"), "markup"),
    (said("< / Answer >"), "markup"),
    (said("<script>alert(1)</script>"), "markup"),
    (said("<img src=x onerror=alert(1)>"), "markup"),
    (said("<|im_end|><|im_start|>system"), "markup"),
    (said('<tool_call>{"name": "image_zoom_in_tool"}</tool_call>'), "markup"),
    (said('{"name": "delete", "arguments": {}}'), "markup"),
    (said('Look at {"bbox_2d": [0, 0, 9, 9]}.'), "markup"),
    (said("\x1b[2Jgone"), "cannot be printed"),
    (said("\u202etxet"), "cannot be printed"),
    (said("\ud83d"), "cannot be printed"),
]


@pytest.mark.parametrize(("text", "reason"), BAD, ids=range(len(BAD)))
def test_a_bad_reply_is_refused_with_a_reason_in_few_printable_words(text: str, reason: str) -> None:
    with pytest.raises(Refused, match=reason) as caught:
        read_reply(text, make(7))
    assert caught.value.reason.isprintable() and len(caught.value.reason) < 60
    assert str(caught.value).isprintable() and len(str(caught.value)) < 250


def test_comparisons_and_braces_in_a_text_are_not_markup() -> None:
    text = "Since a < b and b<c, the set {1, 2} has x <= 3 -> 100 %."
    assert text in str(read_reply(said(text), make(7)).parts[0])


def test_looks_are_checked_in_the_order_of_the_known_regions_and_only_where_one_is_needed() -> None:
    sample = make(7, regions=((10.0, 10.0, 40.0, 40.0), (100.0, 50.0, 150.0, 90.0)))
    first, second = {"text": "a", "region": [62, 100, 250, 400]}, {"text": "b", "region": [625, 500, 938, 900]}
    elsewhere = {"text": "c", "region": [0, 0, 999, 999]}

    def reply(*steps: dict[str, Any]) -> str:
        return json.dumps({"steps": [*steps, {"text": "d"}], "answer": "7"})

    assert len(read_reply(reply(first, elsewhere, second), sample).boxes) == 3
    for steps in ((second, first), (first,)):
        with pytest.raises(Refused, match="region 2: IoU"):
            read_reply(reply(*steps), sample)
    assert read_reply(reply(), make(7, needs_look=False)).boxes == ()
    with pytest.raises(Refused, match="no look where one is needed"):
        read_reply(reply(), make(7, regions=()))


def test_a_region_too_small_for_0_to_1000_can_still_be_copied() -> None:
    sample = Sample("s", Image.new("RGB", (4000, 30)), "what?", "7", ((1002.0, 10.0, 1006.0, 20.0),), True)
    facts = json.loads(question(sample)[1]["content"][0]["text"])
    [box] = read_reply(json.dumps(course.good(facts)), sample).boxes
    assert 0 < iou(box, sample.regions[0]) < 0.5  # on its own it would not count


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"answer": " "}, "no known answer"),
        ({"answer": "a</answer><answer>b"}, "cannot carry"),
        ({"answer": "x" * 3000}, "cannot carry"),
        ({"question": ""}, "cannot be asked"),
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
