"""How long `guerdon --help` and `import guerdon` take, against a bare interpreter and typer alone, in one run.

    python -m benchmarks.cli_start [--runs N]

The floor is ``python -c pass``; the peer is a typer application with one empty command. Each round starts one process
of each kind, in turn, so that other work on the machine meets all of them alike; the table has medians and best times
of all rounds. Target: under half a second, and no torch, numpy or pyarrow among the imported modules.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import sys
import time

TYPER = """
import sys, typer
app = typer.Typer()
@app.command()
def hello(): pass
sys.argv = ["hello", "--help"]
app()
"""
HEAVY = ("torch", "numpy", "pyarrow", "scipy", "pydantic", "transformers")


def seconds(command: list[str]) -> float:
    """Wall time of one process."""
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - start


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=15)
    runs = parser.parse_args().runs
    guerdon = shutil.which("guerdon", path=str(sys.prefix) + "/bin") or "guerdon"
    commands = {
        "python -c pass (floor)": [sys.executable, "-c", "pass"],
        "a typer app, --help (peer)": [sys.executable, "-c", TYPER],
        "import guerdon": [sys.executable, "-c", "import guerdon"],
        "guerdon --help": [guerdon, "--help"],
        "guerdon score --help": [guerdon, "score", "--help"],
    }
    for command in commands.values():
        seconds(command)  # byte-compile
    times: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(runs):
        for name, command in commands.items():
            times[name].append(seconds(command))
    floor = statistics.median(times["python -c pass (floor)"])
    print(f"{'':<28}{'median s':>10}{'best s':>10}{'x floor':>10}")
    for name, values in times.items():
        median = statistics.median(values)
        print(f"{name:<28}{median:>10.3f}{min(values):>10.3f}{median / floor:>10.1f}")
    code = "import sys, guerdon.cli; print(*(m for m in sys.argv[1:] if m in sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code, *HEAVY], check=True, capture_output=True, text=True).stdout
    print(f"imported of {', '.join(HEAVY)}: {loaded.strip() or 'none'}")


if __name__ == "__main__":
    main()
