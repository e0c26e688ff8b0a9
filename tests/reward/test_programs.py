"""Programs against tests: right and wrong, and none of them gets out of hand."""

import gzip
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from guerdon import load
from guerdon.errors import ConfigError
from guerdon.feedback.schema import Candidates
from guerdon.reward.verify.programs import fenced, run_program
from guerdon.testing import check_reward


def test_programs_pass_or_say_how_they_ended() -> None:
    reward = load("rule:code?seconds=5")
    tests = "assert f(2) == 4\nassert f(3) == 9"
    answers = ["def f(x): return x * x", "```python\ndef f(x):\n    return x + x\n```", "def f(x): return y", "def f(:"]
    scores = reward.score(Candidates(["q"] * 5, [*answers, "x"], reference=[tests] * 4 + [None]))
    assert list(scores.value[:4]) == [1, 0, 0, 0]
    assert scores.detail["outcome"][:4] == ["passed", "wrong", "failed", "failed"]
    assert "NameError" in str(scores.reason[2])
    assert scores.status[4] == "invalid"
    assert np.isnan(scores.value[4])


def test_a_body_continues_its_prompt() -> None:
    columns: dict[str, Sequence[Any]] = {"test": ["def check(f):\n    assert f(1) == 2"], "entry_point": ["inc"]}
    scores = load("rule:code").score(Candidates(["def inc(x):\n"], ["    return x + 1\n"], extra=columns))
    assert scores.value[0] == 1


def test_leaving_early_is_not_passing() -> None:
    for way in ("import os; os._exit(0)", "raise SystemExit(0)", "import sys; sys.exit()", "quit = 1"):
        outcome = run_program(f"{way}\nassert False")
        assert not outcome.passed


def test_limits(tmp_path: Path) -> None:
    begin = time.monotonic()
    assert run_program("while True: pass", seconds=1).status in ("timeout", "killed")
    assert run_program("import time; time.sleep(60)", seconds=1).status == "timeout"
    assert time.monotonic() - begin < 20
    assert run_program("x = bytearray(2 ** 31)", memory_mb=256).message.startswith("MemoryError")
    assert not run_program("open('big', 'wb').write(b'x' * 2 ** 25)").passed
    assert "no network" in run_program("import urllib.request as u; u.urlopen('http://localhost:1')").message
    assert run_program("import os; assert 'SECRET' not in os.environ and os.listdir('.') != []").passed
    outcome = run_program("import subprocess; subprocess.Popen(['sleep', '60'])", seconds=5)
    assert outcome.status == "passed", "what it left running is killed with it"


def test_no_secrets_reach_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_KEY", "hidden")
    assert run_program("import os; assert 'API_KEY' not in os.environ").passed


def test_fences() -> None:
    assert fenced("a") == "a"
    assert fenced("x\n```python\na = 1\n```\ny\n```\nb = 2\n```") == "a = 1\n\n\nb = 2\n"


def test_contract_and_options() -> None:
    programs = Candidates(["q"] * 2, ["x = 1", "x = 2"], reference=["assert x == 1"] * 2)
    check_reward(load("rule:code"), programs)
    with pytest.raises(ConfigError, match="seconds=0"):
        load("rule:code?seconds=0")


def test_humanevals_own_solutions_pass(shared_data: Path) -> None:
    path = shared_data / "verifiable_bon" / "humaneval.jsonl.gz"
    if not path.is_file():
        pytest.skip(f"no {path}")
    with gzip.open(path, "rt", encoding="utf-8") as stream:
        rows = [json.loads(line) for line in stream][::8]
    columns: dict[str, Sequence[Any]] = {name: [row[name] for row in rows] for name in ("test", "entry_point")}
    prompts, solutions = [row["prompt"] for row in rows], [row["canonical_solution"] for row in rows]
    reward = load("rule:code?seconds=20")
    assert reward.score(Candidates(prompts, solutions, extra=columns)).value.tolist() == [1.0] * len(rows)
    assert reward.score(Candidates(prompts, ["    pass\n"] * len(rows), extra=columns)).value.tolist() == [0.0] * len(
        rows
    )
