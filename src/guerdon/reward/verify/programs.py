"""Programs against their tests, each in a process of its own with limits.

The process starts Python in isolated mode in an empty folder, without the parent's environment, with bounds on
processor time, memory, file size, open files and (where the system offers it) processes; it is killed with its children
when the clock runs out. Writing is possible only below its folder's size limit, and the network is switched off inside
Python (sockets raise). This keeps accidents and clumsy programs from doing harm and from passing by leaving early; a
program that means harm, or hunts for the harness that shares its interpreter, needs a container around guerdon and a
policy that is watched.
"""

from __future__ import annotations

import os
import re
import secrets
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from guerdon.errors import ConfigError
from guerdon.feedback.schema import Candidates
from guerdon.reward.base import Scores
from guerdon.reward.verify.rule import Question, Rule, Verdict, questions, unusable

_GUARD = """\
import resource, socket, sys
def _limit(kind, soft):
    hard = resource.getrlimit(kind)[1]
    resource.setrlimit(kind, (soft if hard == resource.RLIM_INFINITY else min(soft, hard),) * 2)
_limit(resource.RLIMIT_CPU, {cpu})
_limit(resource.RLIMIT_AS, {memory})
_limit(resource.RLIMIT_FSIZE, {disk})
_limit(resource.RLIMIT_NOFILE, 64)
_limit(resource.RLIMIT_CORE, 0)
class _Closed(socket.socket):
    def __init__(self, *a, **k):
        raise OSError("no network in here")
socket.socket = _Closed
sys.stdin = open("/dev/null")
"""


@dataclass(frozen=True)
class Outcome:
    """How a program ended: passed, failed (an exception), wrong (a test), timeout, or killed (a limit).

    ``printed`` is the end of what it wrote to standard output, where that was to be kept.
    """

    status: str
    message: str = ""
    printed: str = ""

    @property
    def passed(self) -> bool:
        """Whether it ran to its end."""
        return self.status == "passed"


def run_program(source: str, *, seconds: float = 5.0, memory_mb: int = 512, keep: int = 0) -> Outcome:
    """Run ``source`` to its end in a limited process.

    What it prints is thrown away, except for its last error and the last ``keep`` bytes of its standard output.
    """
    mark = secrets.token_hex(16)  # a program cannot say that it passed without knowing this
    guard = _GUARD.format(cpu=int(seconds) + 1, memory=memory_mb * 2**20, disk=10 * 2**20)
    with tempfile.TemporaryDirectory(prefix="guerdon-") as folder:
        (Path(folder) / "program.py").write_text(guard + _RUN, encoding="utf-8")
        (Path(folder) / "source.py").write_text(source, encoding="utf-8", errors="surrogatepass")
        said = Path(folder) / "said"  # not a pipe: what the program leaves running would keep it open
        printed = Path(folder) / "printed" if keep else Path(os.devnull)
        with said.open("wb") as errors, printed.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-I", "-B", "program.py"],
                cwd=folder,
                env={"PATH": "/usr/bin:/bin", "HOME": folder, "TMPDIR": folder, "LANG": "C.UTF-8"},
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=errors,
                start_new_session=True,
            )
        assert process.stdin is not None
        try:
            process.stdin.write(mark.encode())
            process.stdin.close()
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            return Outcome("timeout", f"still running after {seconds:g} s")
        finally:
            _kill(process)
        error = said.read_bytes()[-10_000:]
        out = printed.read_bytes()[-keep:].decode("utf-8", "replace") if keep else ""
    text = error.decode("utf-8", "replace").strip()
    last = text.split("\n")[-1][-300:]
    if process.returncode == 0 and last == mark:
        return Outcome("passed", printed=out)
    if process.returncode < 0:
        return Outcome("killed", signal.Signals(-process.returncode).name, out)
    if process.returncode == 0:
        return Outcome("failed", "ended before its tests did", out)
    return Outcome("wrong" if last.startswith("AssertionError") else "failed", last.replace(mark, ""), out)


_RUN = """
import os as _os
_stdin = _os.read(0, 64).decode()
_text = open("source.py", encoding="utf-8", errors="surrogatepass").read()
_names = {"__name__": "__main__"}
exec(compile(_text, "source.py", "exec"), _names)
_os.write(2, b"\\n" + _stdin.encode())
_os._exit(0)
"""


def _kill(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError, PermissionError):  # gone already
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


class PassesTests(Rule):
    """1 if the program passes its tests, else 0, with how it ended as the reason.

    The tests are the row's column ``test`` (HumanEval's ``check(candidate)`` with ``entry_point``, or plain asserts),
    or the reference. Fenced code is taken out of the response; a response that continues the prompt (HumanEval) is put
    behind it.

    Parameters
    ----------
    seconds : wall time of one program
    memory_mb : most memory of one program
    workers : programs at a time; null is the number of processors
    """

    def __init__(self, *, seconds: float = 5.0, memory_mb: int = 512, workers: int | None = None) -> None:
        if not (seconds > 0 and memory_mb >= 32 and (workers is None or workers >= 1)):
            raise ConfigError(
                f"seconds={seconds}, memory_mb={memory_mb}, workers={workers}: use > 0, >= 32 and >= 1 (or null)"
            )
        if os.name != "posix":
            raise ConfigError("rule:code needs a system with process limits (Linux, macOS)")
        self.name = "code"
        self.seconds, self.memory_mb, self.workers = seconds, memory_mb, workers

    def check(self, asked: Question) -> Verdict:
        """Assemble the program and run it."""
        tests = asked.row.get("test") or asked.reference
        if not tests:
            return unusable("no tests; give a column 'test' or a reference")
        outcome = run_program(assemble(asked, tests), seconds=self.seconds, memory_mb=self.memory_mb)
        reason = None if outcome.passed else f"{outcome.status}: {outcome.message}".rstrip(": ")
        return Verdict(float(outcome.passed), reason, detail={"outcome": outcome.status})

    def score(self, candidates: Candidates) -> Scores:
        """The verdicts, several programs at a time."""
        with ThreadPoolExecutor(self.workers or os.cpu_count() or 1) as pool:
            verdicts: Sequence[Verdict] = list(pool.map(self.check, questions(candidates)))
        return Scores(
            np.array([np.nan if v.value is None else v.value for v in verdicts], dtype=np.float64),
            [v.status for v in verdicts],
            [v.reason for v in verdicts],
            detail={"outcome": [v.detail.get("outcome") for v in verdicts]},
        )


def assemble(asked: Question, tests: Any) -> str:
    """Program text: the response (behind the prompt if it continues it), then the tests."""
    code, entry = fenced(asked.response), asked.row.get("entry_point")
    if entry and f"def {entry}" not in code:
        code = asked.prompt + code
    tests = "\n".join(map(str, tests)) if isinstance(tests, list | tuple) else str(tests)
    call = f"\ncheck({entry})\n" if entry and "def check(" in tests else "\n"
    return f"{code}\n\n{tests}\n{call}"


def fenced(text: str) -> str:
    """The code in the fences of a Markdown answer, block after block; the text itself where there are none."""
    blocks = re.findall(r"```(?:python|py)?[ \t]*\n(.*?)(?:```|\Z)", text, re.S)
    return "\n\n".join(blocks) if blocks else text
