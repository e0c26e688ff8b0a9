"""Tool calls in every spelling, catalogues in every style, and prompts that are made to fit."""

import json
from typing import Any

import pytest

from guerdon.errors import FeedbackError
from guerdon.feedback.messages import as_text
from guerdon.feedback.tool_calls import (
    as_prompt,
    calls_in,
    canonical,
    conversation_in,
    fitted,
    rewritten,
    schema_of,
    tools_in,
)

TOOLS: list[dict[str, Any]] = [
    {
        "name": f,
        "description": f"Does {f}.",
        "parameters": {"properties": {"x": {"type": "integer"}}, "required": ["x"]},
    }
    for f in ("first", "second", "third")
]
ASKED = as_prompt(TOOLS, [{"role": "user", "content": "Do the second [1] thing."}])
SPELLINGS = [
    '[{"f": {"x": 1}}]',
    '{"f": {"x": 1}}',
    '[{"name": "f", "arguments": {"x": 1}}]',
    '[{"name": "f", "arguments": "{\\"x\\": 1}"}]',
    '<tool_call>\n{"name": "f", "parameters": {"x": 1}}\n</tool_call>',
    [{"role": "assistant", "tool_calls": [{"type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}}]}],
]


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_every_spelling_is_the_same_call(spelling: Any) -> None:
    assert calls_in(spelling) == [{"f": {"x": 1}}]


@pytest.mark.parametrize(
    "text", ["", "no call", '[{"f": {"x": 1}}', "[1]", '[{"f": 1}]', '<tool_call>{"a"</tool_call>']
)
def test_what_is_no_list_of_calls(text: str) -> None:
    assert calls_in(text) is None


def test_no_call_is_an_answer() -> None:
    assert calls_in("[]") == []


def test_two_calls_in_one_tag() -> None:
    text = '<tool_call>\n{"name": "f", "parameters": {}}\n{"name": "g", "parameters": {"y": [1]}}\n</tool_call>'
    assert calls_in(text) == [{"f": {}}, {"g": {"y": [1]}}]


def test_one_spelling() -> None:
    assert canonical('[{"f":\n {"b": 1, "a": 2}}]') == canonical([{"f": {"a": 2, "b": 1}}])
    assert canonical(" not json ") == "not json"


def test_a_catalogue_and_what_was_said() -> None:
    assert tools_in(ASKED) == TOOLS
    assert conversation_in(ASKED) == "Do the second [1] thing."
    wrapped = as_prompt([{"type": "function", "function": t} for t in TOOLS], [{"role": "user", "content": "x"}])
    assert tools_in(wrapped) == TOOLS
    assert tools_in("Which [1] river?") is None
    text = f"Use {json.dumps(TOOLS)} for: what is 2 + 2?"
    assert tools_in(text) == TOOLS
    assert conversation_in(text) == "Use  for: what is 2 + 2?"


def test_a_numbered_catalogue() -> None:
    text = (
        "Tools:\n1. Name: Get Fighter\nDescription: Finds one.\nParameters: {'name': {'type': 'str'}, "
        "'n': {'type': 'int', 'default': 3}}\n2. Name: g\nDescription: d\nParameters: {}\nEnd"
    )
    tools = tools_in([{"role": "system", "content": text}, {"role": "user", "content": "hi"}])
    assert tools is not None
    assert [t["name"] for t in tools] == ["Get Fighter", "g"]
    assert schema_of(tools[0])[1] == ["name"]
    again = rewritten(text, tools)
    assert tools_in(again) == tools
    assert as_text(again).endswith("End")


def test_schemas_of_calls_are_never_left_out() -> None:
    whole = len(as_text(ASKED))
    assert fitted(ASKED, {"second"}, whole) == (ASKED, 0)
    short, cut = fitted(ASKED, {"second"}, whole - 1)
    assert cut == 1
    assert [t["name"] for t in tools_in(short) or []] == ["first", "second"]
    short, cut = fitted(ASKED, {"third"}, whole - 150)
    assert [t["name"] for t in tools_in(short) or []] == ["third"]
    assert cut == 2
    with pytest.raises(FeedbackError, match=r"does not fit in context=100 with the schema of third"):
        fitted(ASKED, {"third"}, 100)
