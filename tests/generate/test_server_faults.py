"""What a faulty server does to the results: nothing is lost, nothing invented, failures have reasons."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from guerdon.errors import BackendError
from guerdon.generate import Replies, ReplyCache, ServerModel, load_language_model
from guerdon.testing import MockServer

QUICK = {"first_wait": 0.002, "timeout": 0.5}
PASSING = ("429", "429-after", "500", "503", "reset", "cut", "malformed", "empty")


def opened(server: MockServer, **options: object) -> ServerModel:
    model = load_language_model(server.spec, **{"cache": "off", **QUICK, **options})
    assert isinstance(model, ServerModel)
    return model


@pytest.mark.parametrize("fault", [*PASSING, "hang", "drip"])
def test_a_fault_that_passes_leaves_no_trace(fault: str) -> None:
    with MockServer(faults={fault: 1.0}, in_a_row=1, retry_after=0.01, drip=0.1) as server, opened(server) as model:
        replies = model.generate(["a", "b"])
        assert replies.text == ["reply 0 to a", "reply 0 to b"]
        if fault != "drip":
            assert server.seen[fault] == replies.cost["retries"] >= 2


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("429", "HTTP 429 (2 tries)"),
        ("500", "HTTP 500 (2 tries)"),
        ("400", "HTTP 400: mock fault 400"),
        ("hang", "time-out (2 tries)"),
        ("drip", "time-out (2 tries)"),
        ("reset", "connection lost (2 tries)"),
        ("cut", "reply cut off (2 tries)"),
        ("malformed", "malformed JSON (2 tries)"),
        ("empty", "malformed reply: no choices (2 tries)"),
    ],
)
def test_a_fault_that_lasts_is_a_row_with_a_reason(fault: str, reason: str) -> None:
    with MockServer(lasting={fault: 1.0}, drip=3.0) as server, opened(server, retries=1, timeout=0.2) as model:
        replies = model.generate(["a"])
    assert replies.text == [None]
    assert replies.status == ["failed"]
    assert replies.failures == {reason: 1}


def test_retry_after_is_waited_for_by_all_and_not_for_ever() -> None:
    with MockServer(faults={"429-after": 1.0}, in_a_row=1, retry_after=0.4) as server, opened(server) as model:
        begin = time.perf_counter()
        assert model.generate(["a"]).answered.all()
        assert time.perf_counter() - begin >= 0.4
    with MockServer(lasting={"429-after": 1.0}, retry_after=3600) as server, opened(server, patience=10) as model:
        begin = time.perf_counter()
        assert model.generate(["a"]).failures == {"HTTP 429 (asked to wait longer than 10 s)": 1}
        assert time.perf_counter() - begin < 2
        assert server.calls == 1


def test_concurrency_comes_down_to_what_the_server_takes_and_goes_up_again() -> None:
    with MockServer(most=4, latency=0.01) as server, opened(server, concurrency=64, retries=30) as model:
        assert model.generate([f"p{i}" for i in range(400)]).answered.all()
        assert model.limit.decreases >= 3
        assert 1 <= model.limit.limit <= 12, "it hovers about what the server takes"
        assert server.seen["busy"] < 200, "refusals are rare once it is found"
        server.most = None
        model.generate([f"q{i}" for i in range(400)])
        assert model.limit.limit > 12


def test_a_server_that_goes_away_concerns_all_and_keeps_what_is_done(tmp_path: Path) -> None:
    with MockServer() as server:
        model = opened(server, cache=tmp_path / "c", retries=2, cache_as="m")
        assert model.generate(["a"]).answered.all()
    with pytest.raises(BackendError, match=r"cannot connect.*run again to go on"):
        model.generate(["a", "b"])
    with MockServer() as server, opened(server, cache=tmp_path / "c", cache_as="m") as model:
        assert model.generate(["a", "b"]).answered.all()
        assert server.calls == 1


MIX = {
    "429": 0.04, "429-after": 0.01, "500": 0.04, "503": 0.02, "reset": 0.02, "cut": 0.03, "malformed": 0.03,
    "empty": 0.02, "refusal": 0.03, "hang": 0.002, "drip": 0.02,
}  # fmt: skip
LASTING = {"400": 0.02, "500": 0.01}

WORKER = """
import json, sys
from guerdon.generate import load_language_model
spec, cache, out, n, timeout = sys.argv[1:]
model = load_language_model(spec, cache=cache, cache_as="mock", first_wait=0.002, timeout=float(timeout), retries=6)
replies = model.generate([f"prompt {i}" for i in range(int(n))], n=2, seed=7, max_tokens=8)
open(out, "w").write(json.dumps([replies.text, replies.status, replies.reason]))
"""


def faulty() -> MockServer:
    return MockServer(faults=MIX, lasting=LASTING, seed=5, retry_after=0.01, drip=0.05, latency=0.002)


def expected(server: MockServer, calls: int) -> tuple[list[str | None], Counter[str]]:
    """What must come out, from the server's script and fates alone."""
    texts: list[str | None] = []
    reasons: Counter[str] = Counter()
    for i in range(calls):
        fate = server.lot([{"role": "user", "content": f"prompt {i}"}])
        lasting = {"400": "HTTP 400: mock fault 400", "500": "HTTP 500 (7 tries)", "refusal": "the model refused"}
        for draw in range(2):
            if fate in lasting:
                reasons[lasting[fate]] += 1
                texts.append("I cannot help with that." if fate == "refusal" else None)
            else:
                texts.append(f"reply {7 + draw} to prompt {i}")
    return texts, reasons


def check(replies: Replies, server: MockServer, calls: int) -> None:
    texts, reasons = expected(server, calls)
    assert replies.text == texts
    assert replies.failures == reasons


def run_through(calls: int, timeout: float) -> None:
    with faulty() as server, opened(server, timeout=timeout) as model:
        replies = model.generate([f"prompt {i}" for i in range(calls)], n=2, seed=7, max_tokens=8)
        assert len(replies) == 2 * calls
        assert len(replies.failures) == 3, replies.failures
        check(replies, server, calls)
        seen = server.seen
        assert sum(seen.values()) == server.calls == replies.cost["calls"], "every request is on the bill"
        assert all(seen[fault] for fault in MIX if calls > 1000 or MIX[fault] > 0.01)


def killed_twice(calls: int, timeout: float, folder: Path) -> None:
    """A run killed twice and resumed writes the bytes of a run that was left alone, and pays for nothing twice."""
    out = [folder / "whole.json", folder / "resumed.json"]

    def command(server: MockServer, name: str, to: Path) -> list[str]:
        return [sys.executable, "-c", WORKER, server.spec, str(folder / name), str(to), str(calls), str(timeout)]

    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with faulty() as server:
        subprocess.run(command(server, "whole.db", out[0]), check=True, env=environment)
        alone = server.seen["answered"]
    with faulty() as server:
        for part in (0.25, 0.6):
            process = subprocess.Popen(command(server, "resumed.db", out[1]), env=environment)
            until = time.monotonic() + 300
            while server.seen["answered"] < part * alone and time.monotonic() < until:
                time.sleep(0.005)
            assert process.poll() is None, "it was done before it could be killed"
            process.send_signal(signal.SIGKILL)
            process.wait()
            assert not out[1].exists()
        subprocess.run(command(server, "resumed.db", out[1]), check=True, env=environment)
        twice = server.seen["answered"] - alone
    assert out[0].read_bytes() == out[1].read_bytes()
    assert twice <= 2 * 1200, "a kill costs what was under way and not yet committed"
    assert calls < 5000 or twice < 0.35 * alone


INTERRUPTED = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # who runs tests in the background has it ignored
from guerdon.generate import load_language_model
load_language_model(sys.argv[1], cache=sys.argv[2], concurrency=4).generate([f"p{i}" for i in range(400)])
"""


def test_an_interrupted_run_keeps_what_is_done(tmp_path: Path) -> None:
    with MockServer(latency=0.05) as server:
        command = [sys.executable, "-c", INTERRUPTED, server.spec, str(tmp_path / "c.db")]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        while server.calls < 20:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=20)[1]
        assert process.returncode
        assert "KeyboardInterrupt" in said
        assert server.calls < 400
        assert len(ReplyCache(tmp_path / "c.db")) >= server.seen["answered"] - 8


def test_a_slow_refusal_is_one_refusal() -> None:
    with MockServer(faults={"drip": 1.0}, lasting={"refusal": 1.0}, drip=0.05) as server:
        assert opened(server).generate(["a", "b"]).status == ["refused"] * 2


def test_hundreds_of_calls_lose_and_invent_nothing() -> None:
    run_through(300, 3.0)  # a busy machine must not time out before the server has read a request


def test_killed_twice_and_resumed_to_the_same_results(tmp_path: Path) -> None:
    killed_twice(400, 0.5, tmp_path)


@pytest.mark.slow
def test_ten_thousand_calls_lose_and_invent_nothing() -> None:
    run_through(10_000, 2.0)


@pytest.mark.slow
def test_ten_thousand_calls_killed_twice_and_resumed(tmp_path: Path) -> None:
    killed_twice(10_000, 2.0, tmp_path)
