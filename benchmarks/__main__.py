"""Run every benchmark at its default size, one after the other: ``python -m benchmarks`` (``make bench``)."""

import subprocess
import sys
from pathlib import Path


def main() -> int:
    """Each module in its own process; the exit status is that of the first that fails."""
    for path in sorted(Path(__file__).parent.glob("[a-z]*.py")):
        print(f"\n== python -m benchmarks.{path.stem}", flush=True)
        status = subprocess.run([sys.executable, "-m", f"benchmarks.{path.stem}"], check=False).returncode
        if status:
            return status
    return 0


if __name__ == "__main__":
    sys.exit(main())
