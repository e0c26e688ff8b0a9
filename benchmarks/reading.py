"""Reading a million comparisons against what plain ``pyarrow.json`` needs to parse the same file.

``python -m benchmarks.reading [--rows N] [--runs K] [--chats]`` makes a JSONL file of comparisons (a prompt of about
300 characters, two distinct responses of about 400, a user; with ``--chats`` each text as a chat message) in a
temporary folder and measures, each in a process of its
own and in turn so that both meet the same machine: pyarrow.json.read_json; guerdon's read, which parses, validates and
indexes; the same with the warnings of ``validate``. Wall and processor seconds are medians of K runs, memory is the
peak of the process above what it needs before the file is touched, in multiples of the file.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

STEPS = {
    "pyarrow.json.read_json": "import pyarrow.json as pj; start(); pj.read_json(path)",
    "guerdon read": "from guerdon.feedback.readers import read; import pyarrow.json; start(); read(path)",
    "guerdon read + validate": (
        "from guerdon.feedback.readers import read; import pyarrow.json; start(); assert not read(path).validate()"
    ),
}
HARNESS = """
import resource, sys, time
path = sys.argv[1]
def usage(): return resource.getrusage(resource.RUSAGE_SELF)
def start():
    global began, before
    before, began = usage(), time.perf_counter()
{step}
wall, after = time.perf_counter() - began, usage()
cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
print(wall, cpu, (after.ru_maxrss - before.ru_maxrss) * 1024)
"""
TARGETS = {"time": 3.0, "memory": 4.0}


def make(path: Path, rows: int, chats: bool = False, seed: int = 0) -> None:
    """A file of ``rows`` comparisons of 5,000 people; prompts repeat ten times, responses never."""
    rng = random.Random(seed)
    words = ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randint(2, 9))) for _ in range(5000)]

    def text(length: int) -> str:
        return " ".join(rng.choices(words, k=max(length // 6, 1)))[:length]

    prompts = [text(300) for _ in range(max(rows // 10, 1))]
    with path.open("w") as file:
        for _ in range(rows):
            row: dict[str, object] = {"prompt": rng.choice(prompts), "chosen": text(400), "rejected": text(400)}
            if chats:
                roles = {"prompt": "user", "chosen": "assistant", "rejected": "assistant"}
                row = {name: [{"role": roles[name], "content": content}] for name, content in row.items()}
            file.write(json.dumps(row | {"user": f"u{rng.randrange(5000)}"}) + "\n")


def measure(step: str, path: Path) -> tuple[float, float, float]:
    """(wall seconds, processor seconds, peak bytes) of one step in a fresh process."""
    code = HARNESS.format(step=step)
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    wall, cpu, memory = map(float, done.stdout.split())
    return wall, cpu, memory


def main(arguments: list[str] | None = None) -> int:
    """Print the table; 1 if a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--chats", action="store_true")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="guerdon-bench-") as folder:
        path = Path(folder) / "comparisons.jsonl"
        make(path, options.rows, options.chats)
        size = path.stat().st_size
        runs: dict[str, list[tuple[float, float, float]]] = {name: [] for name in STEPS}
        for _ in range(options.runs):
            for name, step in STEPS.items():
                runs[name].append(measure(step, path))
    medians = {name: [statistics.median(column) for column in zip(*found, strict=True)] for name, found in runs.items()}
    floor = medians["pyarrow.json.read_json"]
    kind = "comparisons of chats" if options.chats else "comparisons"
    print(f"{options.rows:,} {kind}, {size / 1e6:,.0f} MB; medians of {options.runs} runs")
    print(f"{'':<26}{'wall s':>9}{'ratio':>8}{'cpu s':>9}{'ratio':>8}{'memory / file':>15}")
    for name, (wall, cpu, memory) in medians.items():
        ratios = f"{wall:>9.2f}{wall / floor[0]:>8.2f}{cpu:>9.2f}{cpu / floor[1]:>8.2f}"
        print(f"{name:<26}{ratios}{memory / size:>15.2f}")
    wall, _, memory = medians["guerdon read"]
    held = wall / floor[0] <= TARGETS["time"] and memory / size <= TARGETS["memory"]
    print(
        f"targets: time ratio <= {TARGETS['time']}, memory <= {TARGETS['memory']} files: {'held' if held else 'missed'}"
    )
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
