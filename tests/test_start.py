"""`import guerdon` and `guerdon --help` are quick because they import nothing heavy."""

import resource
import subprocess
import sys

import pytest

HEAVY = ("torch", "numpy", "pyarrow", "scipy", "transformers", "pandas", "datasets", "matplotlib", "pydantic", "trl")
LIMIT = 0.5
"""Seconds that either may take, over what starting Python takes."""


def run(code: str) -> tuple[float, str]:
    """(processor seconds, standard output) of a fresh interpreter.

    Processor time, because a busy machine makes any process wait; ``benchmarks/cli_start.py`` has the wall time.
    """
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, done.stdout


IMPORT = "import guerdon"
HELP = """
import sys
from guerdon.cli import main
sys.argv = ["guerdon", "--help"]
try:
    main()
except SystemExit:
    pass
"""


@pytest.mark.parametrize("code", [IMPORT, HELP], ids=["import guerdon", "guerdon --help"])
def test_nothing_heavy_is_imported(code: str) -> None:
    _, out = run(code + "\nimport sys\nprint('LOADED', *sorted(sys.modules))")
    loaded = set(out.split("LOADED")[1].split())
    assert not [name for name in HEAVY if name in loaded]


def test_help_of_every_command_imports_nothing_heavy() -> None:
    """The options of all commands are known without their machinery."""
    _, out = run(
        "import sys\nfrom guerdon.cli import app\nfrom typer.main import get_command\n"
        "assert len([c.params for c in get_command(app).commands.values()]) >= 10\n"
        "print('LOADED', *sorted(sys.modules))"
    )
    assert not [name for name in HEAVY if name in out.split("LOADED")[1].split()]


@pytest.mark.parametrize("code", [IMPORT, HELP], ids=["import guerdon", "guerdon --help"])
def test_it_is_quick(code: str) -> None:
    """Best of several, over what a bare interpreter measured in between takes."""
    best = min(run(code)[0] - run("pass")[0] for _ in range(5))
    assert best < LIMIT, f"{best:.2f} s over a bare interpreter"


def test_the_help_names_every_command() -> None:
    _, out = run(HELP)
    for command in ["demo", "data", "fit", "eval", "score", "best", "adapt", "models", "papers", "reproduce"]:
        assert f"\n  {command} " in out, f"guerdon --help does not list {command}"


def test_public_names_load_on_first_use() -> None:
    _, out = run("import guerdon; print(guerdon.__version__, sorted(dir(guerdon)) == sorted(guerdon.__all__))")
    assert out.strip() == "0.1.0 True"
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        __import__("guerdon").nothing  # noqa: B018
