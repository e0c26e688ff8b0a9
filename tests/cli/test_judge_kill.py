"""`guerdon judge` on a faulty server, killed and resumed: nothing is lost or invented, the bytes are equal."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from guerdon.feedback.schema import Candidates
from guerdon.reward.judge import Standard, templates
from guerdon.reward.judge.pointwise import untrusted
from guerdon.testing import MockRequest, MockServer

MIX = {
    "429": 0.04, "429-after": 0.01, "500": 0.04, "503": 0.02, "reset": 0.02, "cut": 0.03, "malformed": 0.03,
    "empty": 0.02, "refusal": 0.03, "hang": 0.002, "drip": 0.02,
}  # fmt: skip
LASTING = {"400": 0.02, "500": 0.01}
REASONS = {
    "400": ("failed", "HTTP 400: mock fault 400"),
    "500": ("failed", "HTTP 500 (7 tries)"),
    "refusal": ("abstained", "the model refused"),
    "chatter": ("invalid", "no verdict"),
}


def reply(request: MockRequest) -> str:
    """Yes to even numbers; every fiftieth gets a verdict that was not on offer."""
    number = int(re.findall(r"number (\d+)", request.text)[-1])
    code = re.findall(r'"verdict_code", which is (\w+)', request.text)[-1]
    verdict = "perhaps" if number % 50 == 7 else "yes" if number % 2 == 0 else "no"
    return json.dumps({"rationale": f"{number} it is", "verdict": verdict, "verdict_code": code})


def faulty() -> MockServer:
    return MockServer(reply, faults=MIX, lasting=LASTING, seed=5, retry_after=0.01, drip=0.05, latency=0.002)


def expected(server: MockServer, n: int) -> list[tuple[float | None, str, str | None]]:
    """Score, status and reason of every row, from the server's script and fates alone."""
    out: list[tuple[float | None, str, str | None]] = []
    standard = Standard.question()
    for i in range(n):
        shown = Candidates([f"prompt {i}"], [f"number {i}"])
        view = untrusted(shown, 0, [("response", f"number {i}")])
        asked = templates.render("pointwise", "json", standard.kind, standard.criteria, view, ["no", "yes"])
        fate = server.lot(asked.messages) or ("chatter" if i % 50 == 7 else None)
        out.append((None, *REASONS[fate]) if fate in REASONS else (float(i % 2 == 0), "scored", None))
    return out


def command(server: MockServer, file: Path, name: str, timeout: float, batch: int) -> list[str]:
    options = {"cache": file.parent / f"{name}.db", "cache_as": "mock", "first_wait": 0.002, "retries": 6}
    settings = [f"{k}={v}" for k, v in {**options, "timeout": timeout, "how": "json"}.items()]
    out = file.parent / f"{name}.jsonl"
    judge = ["judge", str(file), "--lm", server.spec, "--out", str(out), "--json", "--batch", str(batch)]
    return [sys.executable, "-m", "guerdon", *judge, *(x for setting in settings for x in ("--set", setting))]


def killed_twice(n: int, timeout: float, folder: Path, batch: int) -> None:
    file = folder / "candidates.jsonl"
    file.write_text("".join(json.dumps({"prompt": f"prompt {i}", "response": f"number {i}"}) + "\n" for i in range(n)))
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with faulty() as server:
        truth = expected(server, n)
        whole = subprocess.run(
            command(server, file, "whole", timeout, batch), check=True, env=environment, capture_output=True
        )
        alone = server.seen["answered"]
        for part in (0.25, 0.6):
            process = subprocess.Popen(
                command(server, file, "resumed", timeout, batch), env=environment, stdout=subprocess.DEVNULL
            )
            until = time.monotonic() + 300
            while server.seen["answered"] - alone < part * alone and time.monotonic() < until:
                time.sleep(0.005)
            assert process.poll() is None, "it was done before it could be killed"
            process.send_signal(signal.SIGKILL)
            process.wait()
            assert not (folder / "resumed.jsonl").exists()
        done = subprocess.run(
            command(server, file, "resumed", timeout, batch),
            check=True,
            env=environment,
            capture_output=True,
            text=True,
        )
        twice = server.seen["answered"] - 2 * alone
    assert "resuming" in done.stderr
    assert (folder / "whole.jsonl").read_bytes() == (folder / "resumed.jsonl").read_bytes()
    assert not list(folder.glob("*.part*")), "nothing is left behind"
    assert twice <= 2 * 300, "a kill costs what was under way and not yet committed"

    rows = [json.loads(line) for line in (folder / "whole.jsonl").read_text().splitlines()]
    assert [(row["prompt"], row["response"]) for row in rows] == [(f"prompt {i}", f"number {i}") for i in range(n)]
    assert [(row["score"], row["status"], row.get("reason")) for row in rows] == truth
    assert all(row["rationale"] == f"{i} it is" for i, row in enumerate(rows) if row["status"] == "scored")

    missing = Counter(reason for _, status, reason in truth if status != "scored")
    assert len(missing) == 4
    documents = [json.loads(whole.stdout), json.loads(done.stdout)]
    for document in documents:
        assert document["reasons"] == missing
        assert document["counts"]["rows"] == n
        assert document["counts"]["scored"] == n - sum(missing.values())
    assert documents[0]["cost"]["calls"] >= alone, "every request is on the bill"
    for reason, count in missing.items():
        assert f"{count:,} not judged: {reason}" in done.stderr


def test_three_hundred_judgements_killed_twice(tmp_path: Path) -> None:
    killed_twice(300, 0.5, tmp_path, 50)


@pytest.mark.slow
def test_ten_thousand_judgements_killed_twice(tmp_path: Path) -> None:
    killed_twice(10_000, 2.0, tmp_path, 1024)
