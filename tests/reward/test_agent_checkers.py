"""Generated checkers in their process: what they may not do ends them with a reason, what they may do works."""

from __future__ import annotations

import time

import pytest

from guerdon.papers.reward_agent import BROKEN
from guerdon.reward.judge.agent_checkers import run_checker

HEAD = "def check_following(response):\n"
REASONS = {
    "loops": "still running", "loops and catches": "still running", "takes 8 GB": "MemoryError",
    "opens a socket": "uses the network", "writes a file": "opens a file", "raises": "ValueError: no",
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_what_a_checker_may_not_do(name: str) -> None:
    begin = time.monotonic()
    ran = run_checker(BROKEN[name], ["one", "two"], seconds=1.5)
    assert time.monotonic() - begin < 6
    assert ran.followed == (None, None)
    assert all(REASONS[name] in str(t) or "took too long" in str(t) for t in ran.trouble), ran.trouble


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (HEAD + "    return open('/etc/hostname').read() == response", "opens a file"),
        (HEAD + "    return open('source.py').read() == response", "opens a file"),
        (HEAD + "    import _socket\n    try:\n        _socket.socket()\n    except BaseException:\n        pass",
         "uses the network"),
        (HEAD + "    import subprocess\n    return subprocess.run(['true']).returncode == 0", "starts a process"),
        (HEAD + "    import os\n    return os.fork() == 0", "starts a process"),
        (HEAD + "    import os\n    os.remove('source.py')", "changes the system"),
        (HEAD + "    import ctypes\n    return True", "changes the system"),
        (HEAD + "    import os\n    os._exit(0)", "ended before"),
        (HEAD + "    raise SystemExit", "SystemExit"),
        (HEAD + "    pass", "gave a NoneType"),
        (HEAD + "    return 1", "gave a int"),
        ("def (", "SyntaxError"),
        ("x = 1", "there is no function check_following"),
        ("raise OSError('at once')", "at once"),
    ],
)  # fmt: skip
def test_how_it_fails_is_said(code: str, reason: str) -> None:
    ran = run_checker(code, ["a", "b"])
    assert ran.followed == (None, None)
    assert reason in str(ran.failure)


def test_what_it_may_do() -> None:
    imports = "    import re, json, string, decimal, textwrap, difflib, collections, unicodedata, statistics\n"
    code = HEAD + imports + "    print(response)\n    return bool(re.search('é|\\U0001f600|\\x00', response))"
    texts = ["é", "no", "\U0001f600", "\x00", "\ud800", "'''\"\"\"\\", "{}", ""]
    assert run_checker(code, texts).followed == (True, False, True, True, False, False, False, False)
    assert run_checker(HEAD + "    return True", []).followed == ()


def test_one_response_that_fails_leaves_the_others_alone() -> None:
    ran = run_checker(HEAD + "    return 1 / len(response) > 0", ["a", "", "bc"])
    assert ran.followed == (True, None, True)
    assert ran.failure == "ZeroDivisionError: division by zero"
    slow = HEAD + "    import re\n    return bool(re.match(r'(a+)+$', response))"
    assert run_checker(slow, ["aa", "a" * 40 + "b", "b"], seconds=2.0).followed == (True, None, False)
