"""What the features of a call say of it, and that no name plays a part."""

import numpy as np
import pytest

from guerdon.encode import load_encoder
from guerdon.encode.tool_features import READING, SCHEMA, Request, ToolEncoder, words
from guerdon.errors import ConfigError
from guerdon.feedback.schema import Candidates
from guerdon.feedback.tool_calls import as_prompt

TOOLS = [
    {
        "name": "xq",
        "description": "Book a hotel room.",
        "parameters": {
            "properties": {
                "a": {"type": "integer", "description": "How many guests come."},
                "b": {"type": "integer", "description": "How many nights to stay."},
                "c": {"type": "string", "description": "The city.", "enum": ["New York", "Oslo"]},
                "d": {"type": "boolean", "description": "Whether breakfast is served."},
            },
            "required": ["a", "b"],
        },
    },
    {"name": "yz", "description": "Weather of a city.", "parameters": {"properties": {"c": {"type": "string"}}}},
]
PROMPT = as_prompt(
    TOOLS,
    [{"role": "user", "content": 'Book a hotel room in New York for three nights for 12 guests, note "late sun".'}],
)
RIGHT = '[{"xq": {"a": 12, "b": 3, "c": "New York"}}]'


def told(response: str, prompt: object = PROMPT) -> dict[str, float]:
    encoder = load_encoder("tools")
    assert isinstance(encoder, ToolEncoder)
    row = encoder.encode(Candidates([prompt], [response]))[0]  # type: ignore[list-item]
    return dict(zip(encoder.names, row.tolist(), strict=True))


def test_a_right_call_breaks_no_rule() -> None:
    found = told(RIGHT)
    assert all(found[name] == 0 for name in SCHEMA)
    assert found["values said, least"] == 1
    assert found["better placed under another parameter"] == 0
    assert found["numbers not used"] == 0, "three is 3"


@pytest.mark.parametrize(
    ("response", "feature"),
    [
        ('[{"xq": {"a": 12, "b": 3}}', "does not parse"),
        ('[{"zz": {"a": 12, "b": 3}}]', "unknown functions"),
        ('[{"xq": {"a": 12, "b": 3, "e": 1}}]', "unexpected parameters"),
        ('[{"xq": {"a": 12}}]', "missing required parameters"),
        ('[{"xq": {"a": "12", "b": 3}}]', "values of another type"),
        ('[{"xq": {"a": true, "b": 3}}]', "values of another type"),
        ('[{"xq": {"a": 12, "b": 3, "c": "Rome"}}]', "values outside the enumeration"),
        ('[{"xq": {"a": 12, "b": 3}}, {"xq": {"b": 3, "a": 12}}]', "the same call twice"),
        ('[{"xq": {"a": 13, "b": 3}}]', "values not said"),
        ('[{"xq": {"a": 3, "b": 12}}]', "better placed under another parameter"),
        ('[{"xq": {"a": 12, "b": 3, "c": "New"}}]', "values that break off a name"),
        ('[{"xq": {"a": 12, "b": 12}}]', "numbers not used"),
        ('[{"yz": {"c": "New York"}}]', "called function is not the nearest"),
        ("[]", "no call"),
    ],
)
def test_every_error_has_its_feature(response: str, feature: str) -> None:
    assert told(response)[feature] > told(RIGHT)[feature]


def test_without_a_catalogue_nothing_is_told() -> None:
    found = told(RIGHT, "Book a room.")
    assert found["no catalogue"] == 1
    assert all(found[name] == 0 for name in READING)


def test_words_and_values() -> None:
    assert words("getUser_id 1,000") == ["get", "user", "id", "1,000"]
    request = Request(None, "Move five boxes of 1,000 kg at 15 % to São Paulo.")
    assert request.said(5) == request.said(1000) == request.said(0.15) == request.said("são paulo") == 1
    assert request.said(6) == 0
    assert 0 < request.said("Paulo Rossi") < 1


def test_specifications_and_layout() -> None:
    printed = RIGHT.replace("{", "{\n")
    one, raw = (load_encoder(f"tools?parts=schema&spelling={s}") for s in ("canonical", "raw"))
    both = Candidates([PROMPT, PROMPT], [RIGHT, printed])
    assert np.array_equal(*one.encode(both))
    assert not np.array_equal(*raw.encode(both))
    assert one.fingerprint != raw.fingerprint
    for encoder in (one, raw, load_encoder("tools"), load_encoder("tools?text=hash:64&parts=reading")):
        assert load_encoder(encoder.spec).fingerprint == encoder.fingerprint
        assert encoder.encode(both).shape == (2, encoder.dim)
        assert encoder.encode(both.take(np.zeros(0, np.int64))).shape == (0, encoder.dim)
        assert np.array_equal(encoder.encode(both.take(np.array([1])))[0], encoder.encode(both)[1])
    with pytest.raises(ConfigError, match="an encoder of texts"):
        load_encoder("tools?text=tools")


def test_cosines_compare_descriptions_with_the_request() -> None:
    encoder = load_encoder("tools?text=hash:256")
    at = next(i for i, name in enumerate(encoder.names) if "cosine" in name)  # type: ignore[attr-defined]
    right, wrong = encoder.encode(Candidates([PROMPT] * 2, [RIGHT, '[{"yz": {"c": "New York"}}]']))[:, at]
    assert right > wrong
