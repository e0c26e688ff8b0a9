"""`guerdon models`: the registry, readable."""

import pytest

import fake_rewards
from guerdon.reward.registry import MODELS
from run_cli import guerdon


def test_the_table_names_every_model() -> None:
    result = guerdon("models")
    assert result.code == 0
    assert result.out == ""
    for name in MODELS:
        assert name in result.err


def test_one_model_has_documented_parameters(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_rewards.register(monkeypatch)
    result = guerdon("models", "tastes")
    assert result.code == 0
    assert "letters" in result.err
    assert "the letters that count" in result.err
    document = guerdon("models", "tastes", "--json").json
    assert document[0]["parameters"][0] == {"name": "letters", "default": "ae", "doc": "the letters that count"}
    assert document[0]["personal"] is True


@pytest.mark.parametrize("name", MODELS)
def test_every_parameter_of_every_model_is_documented(name: str) -> None:
    for parameter in guerdon("models", name, "--json").json[0]["parameters"]:
        assert parameter["doc"], f"{name}: parameter {parameter['name']} has no line in the class's docstring"


def test_an_unknown_model() -> None:
    result = guerdon("models", "gpt")
    assert result.code == 2
    assert "no model 'gpt'; choose one of: bradley-terry" in result.err
