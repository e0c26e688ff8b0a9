"""Programs in the limited process of :mod:`guerdon.reward.verify.programs`: what one prints, or passes.

Each test runs in a process of its own behind the program, so that a program which ends early, hangs or prints what a
pass looks like passes nothing. See there for what the limits do and do not keep out.
"""

from __future__ import annotations

from guerdon.errors import ConfigError
from guerdon.reward.judge.tools.tool import Seen, Tool, tool_of
from guerdon.reward.verify.programs import Outcome, fenced, run_program

TESTS = 20
PRINTED = 4000
FLUSH = "import sys as _sys\n_sys.stdout.flush()\n"


def pass_rate(source: str, tests: list[str], seconds: float = 5.0, memory_mb: int = 512) -> str:
    """How many of the tests pass, at most 20 of them, and why the first that does not fails."""
    tests = tests[:TESTS]
    outcomes: list[Outcome] = []
    for test in tests:
        ended = run_program(f"{source}\n\n{test}\n", seconds=seconds, memory_mb=memory_mb)
        outcomes.append(ended)
        if ended.status == "timeout" and len(outcomes) < len(tests):  # the others would take as long
            outcomes += [Outcome("timeout", "not run: an earlier test took too long")] * (len(tests) - len(outcomes))
            break
    passed = sum(o.passed for o in outcomes)
    rate = f"The pass rate is {passed / len(tests)}. "
    if passed == len(tests):
        return f"{rate}All test cases passed."
    first = next(o for o in outcomes if not o.passed)
    why = f" Failed reason: {first.message or first.status}" if first.status != "wrong" or first.message[15:] else ""
    if passed == 0:
        return f"{rate}All test cases failed.{why}"
    return f"{rate}{passed} test cases passed, and {len(tests) - passed} test cases failed.{why}"


def make(argument: str = "", *, seconds: float = 5.0, memory_mb: int = 512) -> Tool:
    """The code tool; ``argument`` is the wall time of one program in seconds."""
    try:
        limit = float(argument) if argument else seconds
    except ValueError:
        raise ConfigError(f"tools: code={argument}: give the seconds that a program may take, e.g. code=5") from None
    if not 0 < limit <= 600:
        raise ConfigError(f"tools: code={argument}: use more than 0 and at most 600 seconds")

    def code(source: str = "", tests: list[str] | None = None, *, seen: Seen) -> str:
        """Runs Python in a sandbox."""
        program = fenced(source or seen.response)
        if not program.strip():
            raise ValueError("there is no program; give source")
        given = tests or own_tests(seen)
        if given:
            return pass_rate(program, given, limit, memory_mb)
        # the process ends without Python's own tidying up, so what was printed has to be written out
        ended = run_program(f"{program}\n\n{FLUSH}", seconds=limit, memory_mb=memory_mb, keep=PRINTED)
        return f"{ended.status}{': ' + ended.message if ended.message else ''}\n{ended.printed}".rstrip()

    text = {"type": "string"}
    return tool_of(
        code,
        says="Runs a Python program in a sandbox without network. source: the program, by default the code of the "
        "response. tests: assert statements, by default those of the task where it has some; tells the rate that "
        "passes. Without tests it tells what the program prints.",
        arguments={
            "type": "object",
            "properties": {"source": text, "tests": {"type": "array", "items": text}},
            "required": [],
            "additionalProperties": False,
        },
        identity=[limit, memory_mb],
        seconds=limit * TESTS + 10,
    )


def own_tests(seen: Seen) -> list[str]:
    """The tests that a row brings along in its column ``test_list`` or ``test``."""
    given = seen.row.get("test_list") or seen.row.get("test") or []
    return [given] if isinstance(given, str) else [str(t) for t in given]
