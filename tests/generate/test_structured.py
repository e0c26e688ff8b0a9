"""JSON of a schema from servers that differ in what they enforce."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guerdon.generate import load_language_model
from guerdon.generate.chat_reply import parse_json
from guerdon.testing import MockReply, MockRequest, MockServer

SCHEMA = {
    "title": "Verdict",
    "type": "object",
    "properties": {"verdict": {"enum": ["A", "B"]}},
    "required": ["verdict"],
}


def judge(request: MockRequest) -> str:
    """Obeys when it is forced, or when the schema stands in the prompt."""
    told = "response_format" in request.body or "guided_json" in request.body or '"verdict"' in request.text
    return '{"verdict": "A"}' if told else "I prefer the first."


@pytest.mark.parametrize(
    ("ways", "field", "rejections"),
    [
        (("json_schema",), "response_format", 0),
        (("guided_json", "json_object"), "guided_json", 1),
        (("json_object",), "response_format", 2),
        ((), None, 3),
    ],
)
def test_the_way_is_found_out_once(ways: tuple[str, ...], field: str | None, rejections: int) -> None:
    bodies = []

    def reply(request: MockRequest) -> str:
        bodies.append(dict(request.body))
        return judge(request)

    with MockServer(reply, ways=ways) as server, load_language_model(server.spec, cache="off") as model:
        replies = model.generate([f"p{i}" for i in range(50)], schema=SCHEMA)
        assert replies.parsed == [{"verdict": "A"}] * 50
        assert server.seen == {"answered": 50} | ({"field": rejections} if rejections else {})
    for body in bodies:
        assert [f for f in ("response_format", "guided_json") if f in body] == ([field] if field else [])
    enforced = {"json_schema", "guided_json"} & set(ways)
    written = "schema" in bodies[0]["messages"][-1]["content"]
    assert written == (not enforced), "what is not enforced is written into the prompt"


def test_a_server_that_accepts_and_ignores_the_field_is_asked_in_the_prompt() -> None:
    def deaf(request: MockRequest) -> str:
        return 'Well. {"verdict": "B"} is my verdict.' if '"verdict"' in request.text else "I prefer the first."

    with MockServer(deaf, obeys=False) as server, load_language_model(server.spec, cache="off") as model:
        replies = model.generate(["p0", "p1", "p2"], schema=SCHEMA)
        assert replies.parsed == [{"verdict": "B"}] * 3
        assert server.calls == 3 + 3, "three ways are tried and found wanting, once"


def test_a_rejected_n_is_not_taken_for_a_rejected_schema() -> None:
    with MockServer(judge, many=False) as server, load_language_model(server.spec, cache="off") as model:
        assert model.generate(["a", "b"], n=2, schema=SCHEMA).parsed == [{"verdict": "A"}] * 4
        assert set(model.dialect.ways.values()) == {"json_schema"}  # type: ignore[attr-defined]


def test_many_draws_find_the_way_with_one() -> None:
    with MockServer(judge, ways=()) as server, load_language_model(server.spec, cache="off") as model:
        assert model.generate(["a"], n=8, schema=SCHEMA).parsed == [{"verdict": "A"}] * 8
        assert server.seen == {"field": 3, "answered": 2}


@pytest.mark.parametrize("reply", [MockReply('{"verdict', finish="length"), MockReply(None, refusal="no")])
def test_a_cut_or_refused_first_reply_says_nothing_about_the_server(reply: MockReply) -> None:
    with MockServer(lambda r: reply) as server, load_language_model(server.spec, cache="off") as model:
        replies = model.generate(["a"], schema=SCHEMA)
        assert replies.parsed == [None]
        assert server.calls == 1
        assert replies.status == ["answered" if reply.refusal is None else "refused"]
        assert (replies.reason[0] or "").endswith("(cut at max_tokens)") == (reply.finish == "length")


@given(st.text(alphabet=st.sampled_from('{}[]":,ab \n0'), max_size=60), st.sampled_from(["A", "B"]))
def test_the_last_object_with_the_required_keys_counts(noise: str, verdict: str) -> None:
    tail = json.dumps({"verdict": verdict, "why": "it {is} [better]"})
    assert parse_json(f"{noise}\n```json\n{tail}\n```", SCHEMA) == (json.loads(tail), None) or '"' in noise
    value, wrong = parse_json(noise, SCHEMA)
    assert (value is None) == (wrong is not None)


def test_what_is_not_of_the_schema_is_none() -> None:
    assert parse_json('{"verdict": "A"} no, {"verdict": "B"} {"other": 1}', SCHEMA)[0] == {"verdict": "B"}
    assert parse_json('{"other": 1}', SCHEMA) == (None, "JSON without verdict")
    assert parse_json("A", SCHEMA)[0] is None
    assert parse_json("[1, 2]", {"type": "array"})[0] == [1, 2]
    assert parse_json('so: [1, {"a": 2}].', {"type": "array"})[0] == [1, {"a": 2}]
    assert parse_json("[" * 100_000, {"type": "array"})[0] is None
