"""Pairs from right calls: every negative is wrong, alternatives are honoured, names are new everywhere."""

import json
from typing import Any

import numpy as np
import pytest

from guerdon.curate.registry import step
from guerdon.curate.step import Curated
from guerdon.curate.tool_errors import COUNTS, corrupt
from guerdon.curate.tool_names import obfuscated
from guerdon.errors import ConfigError, FeedbackError
from guerdon.feedback.messages import as_text
from guerdon.feedback.schema import Judgement
from guerdon.feedback.star import Feedback
from guerdon.feedback.tool_calls import as_prompt, calls_in, canonical, conversation_in, schema_of, tools_in
from guerdon.reward.verify.tool_match import admitting, matches
from guerdon.worlds.tool_caller import KeywordCaller
from guerdon.worlds.tools import SCHEMAS, asked, split

TOOLS: list[dict[str, Any]] = [
    {
        "name": "get_weather",
        "description": "Weather; see also get_mayor.",
        "parameters": {"properties": {"city": {"type": "string"}, "days": {"type": "integer"}}, "required": ["city"]},
    },
    {"name": "get_mayor", "parameters": {"properties": {"city": {"type": "string"}}, "required": ["city"]}},
]
PROMPT = as_prompt(TOOLS, [{"role": "user", "content": "Call get_weather with `city` New York; the city for 3 days."}])
RIGHT = '[{"get_weather": {"city": "New York", "days": 3}}]'


def made(*responses: str, grades: tuple[float, ...] = (), **settings: Any) -> Curated:
    told = grades or (1.0, *[0.0] * (len(responses) - 1))
    return step("tool-pairs")(Feedback.of([Judgement(PROMPT, responses, told, id="q")]), **settings)


def test_every_corrupted_answer_is_wrong_and_can_be_undone() -> None:
    rng = np.random.default_rng(0)
    gold = [asked(split(0)[0], rng) for _ in range(40)]
    before = Feedback.of([Judgement(a.prompt, (canonical(a.calls),), (1.0,), id=str(i)) for i, a in enumerate(gold)])
    curated = step("tool-pairs")(before, corrupted=3)
    for j in curated.feedback.judgements():
        truth, calls = calls_in(j.responses[0]), calls_in(j.responses[1])
        assert truth is not None
        assert calls is None or not matches(calls, admitting(truth))
        assert (calls is None) == (j.subset == "parsing")
        assert j.source == "rule"
    assert len(curated.feedback) > 80
    assert [j.responses for j in curated.undo().judgements()] == [j.responses for j in before.judgements()]


def test_recorded_answers_that_are_right_are_no_negatives() -> None:
    other, wrong = (
        '[{"name": "get_weather", "arguments": {"days": 3, "city": "new york"}}]',
        '[{"get_weather": {"city": "NYC"}}]',
    )
    curated = made(RIGHT, other, wrong, corrupted=0)
    assert curated.report["pairs"] == {"recorded": 1, "recorded and admissible": 1}
    (pair,) = curated.feedback.judgements()
    assert pair.responses == (RIGHT, wrong)
    both = made(RIGHT, wrong, other, grades=(1.0, 1.0, 0.0), corrupted=0)
    assert "recorded" not in both.report["pairs"], "two best answers are both admissible"


def test_answers_to_a_prompt_may_be_rated_one_by_one() -> None:
    wrong = '[{"get_weather": {"city": "NYC"}}]'
    told = [Judgement(PROMPT, (wrong,), (0.0,), id="a"), Judgement(PROMPT, (RIGHT,), (1.0,), id="b")]
    curated = step("tool-pairs")(Feedback.of(told), corrupted=0)
    assert [j.responses for j in curated.feedback.judgements()] == [(RIGHT, wrong)]
    assert curated.report["actions"] == {"dropped": 2, "added": 1}
    assert step("tool-pairs")(Feedback.of(told[:1])).report["pairs"] == {"no right answer": 1}


def test_the_admissible_values_of_a_ground_truth() -> None:
    truth = '[{"get_weather": {"city": ["New York", "NYC"], "days": [3, ""]}}]'
    curated = made(truth, '[{"get_weather": {"city": "NYC"}}]', '[{"get_weather": {}}]', gold="admissible", corrupted=2)
    assert curated.report["pairs"]["recorded and admissible"] == 1
    assert curated.report["pairs"]["recorded"] == 1
    for j in curated.feedback.judgements():
        assert j.responses[0] == RIGHT
        assert not matches(calls_in(j.responses[1]) or [], json.loads(truth))
    with pytest.raises(FeedbackError, match="gold=admissible"):
        made(RIGHT, gold="admissible")


def test_pairs_equal_in_one_spelling_are_dropped_and_counted() -> None:
    # "New  York" is the same text to the matcher, so an unparsable answer is the only one that can be equal
    curated = made(RIGHT, "```" + RIGHT, corrupted=0)
    assert curated.report["pairs"] == {"recorded": 1}
    empty = made(
        '[{"get_weather": {"city": "", "days": 3}}]', '[{"get_weather": {"days": 3, "city": ""}}]', corrupted=0
    )
    assert "recorded" not in empty.report["pairs"]


def test_names_are_new_in_catalogue_conversation_and_both_answers() -> None:
    wrong = '[{"getWeather": {"city": "New York", "limit": 3}}]'
    told = obfuscated(PROMPT, [RIGHT, wrong, "no call of get_mayor"], np.random.default_rng(0))
    assert told is not None
    prompt, (right, bad, text) = told
    everything = as_text(prompt) + str(right) + str(bad) + str(text)
    for name in ("get_weather", "get_mayor", "getWeather", '"city"', "`city`", "limit", '"days"'):
        assert name not in everything
    assert "the city for 3 days" in conversation_in(prompt), "everyday words stay"
    tools = {t["name"]: schema_of(t)[0] for t in tools_in(prompt) or []}
    ((name, given),) = (calls_in(right) or [])[0].items()
    assert name in conversation_in(prompt)
    assert set(given) <= set(tools[name])
    ((invented, other),) = (calls_in(bad) or [])[0].items()
    assert invented not in tools
    assert len(set(other) & set(tools[name])) == 1, "the same new name on both sides"


def test_names_in_a_prompt_that_is_one_text() -> None:
    tools = [
        {"name": "f_one", "parameters": {"type": "dict", "properties": {"type": {"type": "string"}}, "required": []}}
    ]
    told = obfuscated(f"{json.dumps(tools)}\nUse f_one.", ['[{"f_one": {"type": "x"}}]'], np.random.default_rng(1))
    assert told is not None
    found = tools_in(told[0])
    assert found is not None
    ((key, about),) = schema_of(found[0])[0].items()
    assert key != "type"
    assert about == {"type": "string"}, "the schema's own keys stay"
    assert found[0]["name"] in conversation_in(told[0])
    assert obfuscated("no catalogue", ["x"], np.random.default_rng(0)) is None


def test_where_no_call_is_right_an_invented_one_is_wrong() -> None:
    wrong = corrupt("number of calls", [], TOOLS, np.random.default_rng(0))
    assert wrong in ('[{"get_weather": {"city": "default"}}]', '[{"get_mayor": {"city": "default"}}]')
    for error in set(COUNTS) - {"number of calls", "parsing"}:
        assert corrupt(error, [], TOOLS, np.random.default_rng(0)) is None


def test_bad_input_is_told() -> None:
    with pytest.raises(FeedbackError, match="none of the 1 prompts has a catalogue"):
        step("tool-pairs")(Feedback.of([Judgement("Weather?", ("[]",), (1.0,))]))
    with pytest.raises(FeedbackError, match="is no list of calls"):
        made("It is sunny.")
    with pytest.raises(FeedbackError, match="does not fit in context=50"):
        made(RIGHT, context=50)
    settings: list[dict[str, Any]] = [{"corrupted": -1}, {"gold": "x"}, {"obfuscate": "maybe"}]
    for bad in settings:
        with pytest.raises(ConfigError):
            made(RIGHT, **bad)


def test_a_short_context_leaves_out_functions_that_no_call_uses() -> None:
    curated = made(RIGHT, '[{"get_weather": {"city": "Rome"}}]', corrupted=0, context=len(as_text(PROMPT)) - 10)
    assert curated.report["pairs"]["functions left out to fit"] == 1
    (pair,) = curated.feedback.judgements()
    assert [t["name"] for t in tools_in(pair.prompt) or []] == ["get_weather"]


def test_the_world_of_tools() -> None:
    known, unseen = split(3)
    assert not set(known) & set(unseen)
    assert len(SCHEMAS) == 40
    rng, caller, wrong = np.random.default_rng(3), KeywordCaller(), 0
    for _ in range(60):
        a = asked(unseen, rng)
        names = {t["name"] for t in a.tools}
        for call in a.calls:
            ((name, given),) = call.items()
            assert name in names
            properties, needed = schema_of(next(t for t in a.tools if t["name"] == name))
            assert set(needed) <= set(given) <= set(properties)
            assert 2 <= len(properties) <= 4
        answer = caller.answer(a.prompt, rng)
        assert calls_in(answer) is not None
        wrong += not matches(calls_in(answer) or [], admitting(a.calls))
    assert 30 < wrong < 60
