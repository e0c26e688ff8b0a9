"""What tests use: the contract suite of rewards, and a mock language model server with faults.

::

    from guerdon.testing import check_reward, MockServer

    check_reward(guerdon.load("my-reward"))          # AssertionError with a list of what is wrong, or a report
    with MockServer(lambda request: "An apple.", faults={"500": 0.1}) as server:
        guerdon.generate.load_language_model(server.spec).generate(["Name a fruit."])
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

_HOMES = {
    "MockReply": "guerdon.testing.mock_server",
    "MockRequest": "guerdon.testing.mock_server",
    "MockServer": "guerdon.testing.mock_server",
    "Report": "guerdon.testing.contract",
    "Scripted": "guerdon.testing.scripted",
    "check_reward": "guerdon.testing.contract",
}

__all__ = ["MockReply", "MockRequest", "MockServer", "Report", "Scripted", "check_reward"]

if TYPE_CHECKING:
    from guerdon.testing.contract import Report, check_reward
    from guerdon.testing.mock_server import MockReply, MockRequest, MockServer
    from guerdon.testing.scripted import Scripted


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'guerdon.testing' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
