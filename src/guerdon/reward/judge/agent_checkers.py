"""Code that a language model wrote to check a response, run in a limited process of its own.

The code defines ``check_following(response) -> bool``. One process runs it on all responses of a list, so that a
checker costs one start; each response has a clock of its own, and what goes wrong with one leaves the others' answers
as they are. On top of the limits of :mod:`guerdon.reward.verify.programs` a checker may neither write files, nor read
any but the modules that it imports, nor start processes, nor use the network: the process ends at the first try, and
no ``except`` catches that. This is against code that is clumsy or was talked into something, as language models' is; it
is no prison for code that is out to escape (see there).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from guerdon.reward.verify.programs import run_program

STRIKES = 2
"""Responses that a checker may take too long for before it is stopped."""
SHARE = 0.35
"""Of the process's time, how much one response may take."""

_HARNESS = """\
import json, os, signal, sys
sys.stdout = open(os.devnull, "w", errors="replace")
_texts = json.loads({texts!r})
_code = json.loads({code!r})
_roots = tuple(os.path.realpath(p) + os.sep for p in sys.path if p and os.path.realpath(p) != os.getcwd())
_changes = "os.remove os.rename os.rmdir os.mkdir os.link os.symlink os.truncate os.chmod os.kill shutil. ctypes."
_changes = tuple(_changes.split())
def _end(said):
    os.write(1, ("\\n" + json.dumps(said)).encode())
def _watch(event, args):
    bad = None
    if event == "open" and isinstance(args[0], (str, bytes)):
        path = os.path.realpath(os.fsdecode(args[0]))
        reads = not (args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND))
        if not reads or not path.startswith(_roots):
            bad = "opens a file"
    elif event.startswith("socket."):
        bad = "uses the network"
    elif event in ("os.system", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "subprocess.Popen"):
        bad = "starts a process"
    elif event.startswith(_changes):
        bad = "changes the system (" + event + ")"
    if bad:
        os.write(1, ("\\n" + json.dumps({{"ended": "the checker " + bad}})).encode())
        os._exit(1)
class _Late(BaseException):
    pass
def _late(*_):
    raise _Late()
signal.signal(signal.SIGALRM, _late)
import re, string, collections, itertools, math, unicodedata, datetime
_names = {{"__name__": "checker"}}
_out, _strikes = [], 0
try:
    signal.setitimer(signal.ITIMER_REAL, {each})
    _program = compile(_code, "checker", "exec")  # looks for a file of that name where it is wrong
    sys.addaudithook(_watch)
    exec(_program, _names)
    if not callable(_names.get("check_following")):
        raise TypeError("there is no function check_following")
    _check = _names["check_following"]
except BaseException as _error:
    signal.setitimer(signal.ITIMER_REAL, 0)
    _kind = "it was still running" if isinstance(_error, _Late) else type(_error).__name__ + ": " + str(_error)[:200]
    _end({{"ended": _kind}})
else:
    for _text in _texts:
        if _strikes == {strikes}:
            _out.append([None, "it was not run: the checker took too long for others"])
            continue
        try:
            signal.setitimer(signal.ITIMER_REAL, {each})
            _said = _check(_text)
            signal.setitimer(signal.ITIMER_REAL, 0)
            if _said is True or _said is False:
                _out.append([_said, None])
            else:
                _out.append([None, "it gave a " + type(_said).__name__ + ", not True or False"])
        except _Late:
            _strikes += 1
            _out.append([None, "it was still running after {each:g} s"])
        except BaseException as _error:
            signal.setitimer(signal.ITIMER_REAL, 0)
            _out.append([None, type(_error).__name__ + ": " + str(_error)[:200]])
    _end({{"out": _out}})
"""


@dataclass(frozen=True)
class Checked:
    """What a checker said of n responses: ``followed`` [n], None where it failed, and ``trouble`` [n] why."""

    followed: tuple[bool | None, ...]
    trouble: tuple[str | None, ...]

    @property
    def failure(self) -> str | None:
        """The first trouble; None where it worked on every response."""
        return next((t for t in self.trouble if t is not None), None)


def run_checker(code: str, responses: Sequence[str], *, seconds: float = 5.0, memory_mb: int = 512) -> Checked:
    """Run ``check_following`` of ``code`` on each response.

    seconds    wall time for all of them
    memory_mb  most memory
    """
    n = len(responses)
    source = _HARNESS.format(
        texts=json.dumps(list(responses)), code=json.dumps(code), each=seconds * SHARE, strikes=STRIKES
    )
    outcome = run_program(source, seconds=seconds, memory_mb=memory_mb, keep=n * 400 + 2000)
    last = outcome.printed.rpartition("\n")[2]
    try:
        said = json.loads(last)
    except ValueError:
        said = {}
    if isinstance(said, dict) and isinstance(said.get("out"), list) and len(said["out"]) == n and outcome.passed:
        return Checked(tuple(f for f, _ in said["out"]), tuple(t for _, t in said["out"]))
    ended = said.get("ended") if isinstance(said, dict) else None
    why = str(ended or f"{outcome.status}: {outcome.message}".rstrip(": "))
    return Checked((None,) * n, (why,) * n)
