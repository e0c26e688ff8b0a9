"""Fixtures every test may use."""

import os
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data beside the checkout; tests that need it skip where it is absent."""
    path = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not path.is_dir():
        pytest.skip(f"real data not found at {path}")
    return path


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Features cached by the tests stay in the tests' own folder."""
    os.environ["GUERDON_CACHE"] = str(tmp_path_factory.mktemp("cache"))


def pytest_make_parametrize_id(config: pytest.Config, val: Any, argname: str) -> str | None:
    """Name file contents by their argument: the contents themselves may differ between two workers of one run.

    A gzip member holds the second it was made in, and xdist refuses to run when its workers collect different names.
    """
    return argname if isinstance(val, bytes) else None
