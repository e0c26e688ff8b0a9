"""Rules on how a response is written."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guerdon import load
from guerdon.errors import ConfigError
from guerdon.feedback.schema import Candidates
from guerdon.reward.verify.formats import count, sentences
from guerdon.testing import check_reward


def one(spec: str, response: str, **columns: object) -> tuple[float, str | None]:
    reference = columns.pop("reference", None)
    extra = {name: [value] for name, value in columns.items()}
    scores = load(spec).score(Candidates(["q"], [response], reference=[reference], extra=extra))
    return float(scores.value[0]), scores.reason[0]


def test_patterns() -> None:
    assert one("rule:regex?pattern=b%2B", "abbc")[0] == 1
    assert one("rule:regex?pattern=b%2B&whole=true", "abbc")[0] == 0
    assert one("rule:regex?pattern=B&ignore_case=true&negate=true", "abc")[0] == 0
    assert one("rule:regex", "abc", pattern="^a")[0] == 1
    value, reason = one("rule:regex", "abc")
    assert np.isnan(value)
    assert reason == "no pattern; give pattern= or a column 'pattern'"
    with pytest.raises(ConfigError, match="is no regular expression"):
        load("rule:regex?pattern=(")


def test_tags() -> None:
    good = "<think>a</think>\n<answer>b</answer>\n"
    assert one("rule:tags", good) == (1, None)
    assert one("rule:tags", "hm " + good) == (0, "text outside the sections")
    assert one("rule:tags?outside=true", "hm " + good)[0] == 1
    assert one("rule:tags", "<answer>b</answer><think>a</think>")[1] == "<answer> is out of order"
    assert one("rule:tags", "<think>a<think>b</think><answer>c</answer>")[0] == 0, "opened twice"
    assert one("rule:tags?graded=true", "<think>a</think>")[0] == pytest.approx(2 / 3)
    assert one("rule:tags?tags=plan", "<plan>x</plan>")[0] == 1


def test_lengths() -> None:
    assert one("rule:within?low=2&high=4", "a b c")[0] == 1
    assert one("rule:within?low=4&slack=0.5", "a b c")[0] == pytest.approx(0.5)
    assert one("rule:within?high=2&slack=0", "a b c")[0] == 0
    assert one("rule:within?high=10&unit=characters", "a b c")[0] == 1
    with pytest.raises(ConfigError, match="need 0 <= low <= high"):
        load("rule:within?low=5&high=4")


def test_sentences() -> None:
    assert sentences("Dr. Smith paid 3.5 dollars. Really? Yes!") == ["Dr. Smith paid 3.5 dollars.", "Really?", "Yes!"]
    assert count("One\n\nTwo. Three", "sentences") == 3
    assert count("- a point\n- another", "sentences") == 2
    assert count("a\n\n  \nb", "lines") == 2


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=30), st.integers(1, 4))
def test_repetition_is_the_share_of_new_ngrams(words: list[str], n: int) -> None:
    grams = [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]
    expected = len(set(grams)) / len(grams) if grams else 1.0
    assert one(f"rule:repetition?n={n}", " ".join(words))[0] == pytest.approx(expected)


def test_repetition_of_nothing_is_unscored() -> None:
    assert np.isnan(one("rule:repetition", " ... ")[0])


def test_json_and_its_schema() -> None:
    schema = {"type": "object", "required": ["a"], "properties": {"a": {"type": "integer"}}}
    spec = f"rule:json?schema={json.dumps(schema).replace('&', '%26')}"
    assert one(spec, '```json\n{"a": 1}\n```')[0] == 1
    assert one(spec, '{"a": "x"}') == (0, "$.a: 'x' is not of type 'integer'")
    assert one(spec, "{'a': 1}")[0] == 0
    assert one("rule:json", "[1]")[0] == 1
    assert one("rule:json", "[1]", schema='{"type": "object"}')[0] == 0
    assert one("rule:json", "[1]", reference={"type": "array"})[0] == 1
    with pytest.raises(ConfigError, match="schema: "):
        load('rule:json?schema={"type": "nonsense"}')


@pytest.mark.parametrize("spec", ["rule:regex?pattern=a", "rule:tags", "rule:within", "rule:repetition", "rule:json"])
def test_they_keep_the_contract(spec: str) -> None:
    check_reward(load(spec))


def test_unknown_names_are_answered_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="no rule 'nope'; there is: rule:length, rule:random, rule:answer"):
        load("rule:nope")
    with pytest.raises(ConfigError, match="'x' is not option=value"):
        load("rule:json?x")
    with pytest.raises(ConfigError, match="rule:length has no option 'a'; it has none"):
        load("rule:length?a=1")
