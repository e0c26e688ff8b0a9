"""A room imports only rooms below it: the direction of imports that docs/contributing.md promises."""

import ast
from pathlib import Path

import guerdon

ROOMS = ("feedback", "encode", "generate", "reward", "worlds", "curate", "steer", "tune", "bench", "papers", "cli")
"""From the ground up. Worlds give feedback and true rewards, so they stand on both."""
SOURCE = Path(guerdon.__file__).parent
FREE = {"testing", "serve"}
"""What checks the other rooms, or stands beside the command line, may import any of them."""


def imported(file: Path) -> set[str]:
    """Rooms that a file imports, inside functions and in strings such as ``"guerdon.bench.run:measure"`` too."""
    names: list[str] = []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            names.append(node.module)
        elif isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and " " not in node.value:
            names.append(node.value)
    return {
        parts[1] for parts in (name.split(":")[0].split(".") for name in names) if parts[0] == "guerdon" and parts[1:]
    }


def test_no_room_imports_a_room_above_it():
    upward = [
        f"{file.relative_to(SOURCE)} imports {room}"
        for file in sorted(SOURCE.rglob("*.py"))
        if (own := file.relative_to(SOURCE).parts[0]) in ROOMS
        for room in sorted(imported(file))
        if room in ROOMS and ROOMS.index(room) > ROOMS.index(own)
    ]
    assert not upward, "\n".join(upward)


def test_every_room_has_its_place():
    rooms = {p.name for p in SOURCE.iterdir() if p.is_dir() and (p / "__init__.py").exists()}
    assert rooms <= set(ROOMS) | FREE, f"say in ROOMS where these stand: {rooms - set(ROOMS) - FREE}"
