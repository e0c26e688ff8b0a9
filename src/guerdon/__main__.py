"""``python -m guerdon`` is ``guerdon``."""

from guerdon.cli import main

if __name__ == "__main__":
    main()
