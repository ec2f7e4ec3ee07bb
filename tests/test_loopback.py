"""The course's endpoint on loopback: a teacher's client takes what it teaches well, and nothing else."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path

import pytest
from asked import make

from r3lab.course.loopback import Act, Loopback, good
from r3lab.vlir.sample import read_vlir
from r3lab.vlir.teacher.endpoint import EndpointSettings
from r3lab.vlir.teacher.run import teach

ACTS: dict[str, tuple[list[Act], str, str, int]] = {  # what it does; outcome, reason, requests
    "well": (["good"], "accepted", "", 1),
    "busy": ([429, 503, "good"], "accepted", "", 3),
    "cut": (["cut", "good"], "accepted", "", 2),
    "away": ([500], "failed", "HTTP 500", 3),
    "chats": (["I would rather talk."], "rejected", "not the JSON that was asked for", 1),
    "wrong": ([lambda facts: {**good(facts), "answer": "none"}], "rejected", "another answer than the known one", 1),
}


def test_it_does_what_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("openai", reason="pip install -e '.[test]' brings it")
    monkeypatch.setattr("r3lab.vlir.teacher.endpoint.FIRST_WAIT", 0.01)
    monkeypatch.setenv("NO_PROXY", "example.org")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    samples = [make(i) for i in range(len(ACTS))]
    told = dict(zip((s.question for s in samples), (acts for acts, *_ in ACTS.values()), strict=True))
    with Loopback(told) as server:
        assert server.url.startswith("http://127.0.0.1:") and "127.0.0.1" in os.environ["NO_PROXY"].split(",")
        tally = teach(samples, EndpointSettings(server.url, "loopback", tries=3), tmp_path / "out", progress=False)
    assert os.environ["NO_PROXY"] == "example.org"
    text = (tmp_path / "out" / "teacher" / "journal.jsonl").read_text()
    lines = {line["id"]: line for line in map(json.loads, text.splitlines()[1:])}
    for sample, (_, outcome, reason, requests) in zip(samples, ACTS.values(), strict=True):
        line = lines[sample.id]
        assert (line["outcome"], line["reason"], server.asked[sample.question]) == (outcome, reason, requests)
    assert [s for s, _ in read_vlir(tmp_path / "out")] == samples[:3]
    assert Counter(a[1] for a in ACTS.values()) == {
        name: tally.count(name) for name in ("accepted", "rejected", "failed")
    }
    assert min(tally.tokens) > 0
