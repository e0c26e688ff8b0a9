"""The mock server: what it counts is what happened, and faults come the same way every time."""

import json
import urllib.error
import urllib.request
from collections import Counter
from typing import Any

import pytest

from guerdon.errors import ConfigError
from guerdon.generate import load_language_model
from guerdon.testing import MockServer


def body(text: str, **more: Any) -> dict[str, Any]:
    return {"model": "mock", "messages": [{"role": "user", "content": text}], **more}


def post(server: MockServer, asked: dict[str, Any]) -> tuple[int, Any]:
    """What a client without any cleverness gets."""
    request = urllib.request.Request(f"{server.url}/chat/completions", json.dumps(asked).encode())
    try:
        with urllib.request.urlopen(request, timeout=5) as response:
            return response.status, json.loads(response.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def test_the_wire_format() -> None:
    with MockServer() as server:
        status, reply = post(server, body("hi there", n=2, logprobs=True, top_logprobs=1))
    assert status == 200
    assert [c["message"]["content"] for c in reply["choices"]] == ["reply 0 to hi there", "reply 1 to hi there"]
    assert reply["usage"] == {"prompt_tokens": 2, "completion_tokens": 10, "total_tokens": 12}
    assert [t["token"] for t in reply["choices"][0]["logprobs"]["content"]] == ["reply", " 0", " to", " hi", " there"]


def test_fates_depend_on_seed_body_and_attempt_only() -> None:
    faults = {"429": 0.3, "500": 0.3}
    ours, again, other = (MockServer(faults=faults, seed=s) for s in (1, 1, 2))
    fates = [[s.fate(body(f"p{i}"), a) for i in range(50) for a in range(3)] for s in (ours, again, other)]
    assert fates[0] == fates[1] != fates[2]
    counts = Counter(fates[0])
    assert all(25 <= counts[kind] <= 65 for kind in faults)
    with ours as server:
        seen = [post(server, body("p0"))[0] for _ in range(3)]
        assert [str(s) if s != 200 else None for s in seen] == [server.fate(body("p0"), a) for a in range(3)]
        assert server.calls == 3 == sum(server.seen.values())
        assert server.bodies == 1


def test_passing_faults_pass() -> None:
    server = MockServer(faults={"500": 1.0}, in_a_row=3)
    assert [server.fate(body("p"), a) for a in range(5)] == ["500"] * 3 + [None] * 2
    server = MockServer(lasting={"500": 1.0})
    assert {server.fate(body("p"), a) for a in range(50)} == {"500"}


def test_peak_and_busy() -> None:
    with MockServer(latency=0.1, most=3) as server:
        model = load_language_model(server.spec, concurrency=6, cache="off", first_wait=0.01)
        model.generate([f"p{i}" for i in range(6)])
        assert 3 < server.peak <= 6
        assert server.seen["busy"] >= 1


def test_unknown_faults_are_named() -> None:
    with pytest.raises(ConfigError, match="no fault 'fire'; there are 429"):
        MockServer(faults={"fire": 1.0})


def test_it_may_be_started_again() -> None:
    server = MockServer()
    for _ in range(2):
        with server:
            assert post(server, body("p"))[0] == 200
