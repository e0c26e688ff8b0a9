"""Formats: each is recognised by its fields and read as the judgements that its documentation means."""

import json
from pathlib import Path
from typing import Any

import pytest

from guerdon.errors import ConfigError, FeedbackError
from guerdon.feedback import Feedback, Judgement
from guerdon.feedback.readers import read
from guerdon.feedback.readers.preference import common_words
from guerdon.feedback.readers.registry import FORMATS, LAYOUTS


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def assistant(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


HH = "\n\nHuman: hi\n\nAssistant: hello\n\nHuman: bye\n\nAssistant:"
RMB_LINE = {
    "conversation": [user("q")],
    "answers": [{"llm": "x", "text": "one"}, {"llm": "y", "text": "two"}, {"llm": "z", "text": "three"}],
    "pairs": [{"uid": "1", "chosen": 2, "rejected": 0, "category": "Pairwise_set/A"}],
    "bon": [{"uid": "2", "best": 1, "losers": [0, 2], "category": "BoN_set/A"}],
}

# (row, format that recognises it, the judgements it means)
CASES: list[tuple[dict[str, Any], str, list[Judgement]]] = [
    (
        {"prompt": "q", "responses": ["a", "b", "c"], "grades": [2, 1, 1], "user": "ann", "source": "human"}
        | {"scale": "rating", "weight": 0.5, "comment": "why", "id": "7", "time": 3.5, "criterion": "k", "subset": "s"},
        "guerdon",
        [Judgement("q", ("a", "b", "c"), (2, 1, 1), "ann", "k", "s", "human", "rating", 0.5, "why", "7", 3.5)],
    ),
    ({"prompt": "q", "chosen": "a", "rejected": "b"}, "trl", [Judgement("q", ("a", "b"), (1, 0))]),
    (
        {"prompt": "q", "chosen": "a", "rejected": "b", "chosen_score": 4, "rejected_score": 1.5, "annotator": 3},
        "trl",
        [Judgement("q", ("a", "b"), (4, 1.5), user="3")],
    ),
    ({"prompt": "q", "chosen": "a", "rejected": "b", "margin": 2}, "trl", [Judgement("q", ("a", "b"), (2, 0))]),
    (
        {"prompt": [user("q")], "chosen": [assistant("a")], "rejected": [assistant("b")]},
        "trl",
        [Judgement([user("q")], ([assistant("a")], [assistant("b")]), (1, 0))],
    ),
    (  # the whole chat in chosen and rejected, as in ultrafeedback_binarized
        {"prompt": "q", "chosen": [user("q"), assistant("a")], "rejected": [user("q"), assistant("b")]},
        "trl",
        [Judgement([user("q")], ([assistant("a")], [assistant("b")]), (1, 0))],
    ),
    (
        {"chosen": "The sky is blue", "rejected": "The sky is black"},
        "trl-implicit",
        [Judgement("The sky is", ("blue", "black"), (1, 0))],
    ),
    (
        {"chosen": [user("q"), assistant("a")], "rejected": [user("q"), assistant("b")]},
        "trl-implicit",
        [Judgement([user("q")], ([assistant("a")], [assistant("b")]), (1, 0))],
    ),
    (
        {"chosen": f"{HH} farewell", "rejected": f"{HH} no"},
        "hh-rlhf",
        [Judgement([user("hi"), assistant("hello"), user("bye")], ("farewell", "no"), (1, 0), source="human")],
    ),
    (
        {
            "prompt": "q",
            "chosen": "a",
            "rejected": "b",
            "chosen_model": "m",
            "rejected_model": "n",
            "subset": "s",
            "id": 4,
        },
        "rewardbench",
        [Judgement("q", ("a", "b"), (1, 0), subset="s", id="4")],
    ),
    (
        {"id": "5", "prompt": "q", "chosen": ["a"], "rejected": ["b", "c", "d"], "num_correct": 1, "subset": "Math"},
        "rewardbench-2",
        [Judgement("q", ("a", "b", "c", "d"), (1, 0, 0, 0), subset="Math", scale="partial", id="5")],
    ),
    (
        {"id": "5", "prompt": "q", "chosen": ["a", "aa", "aaa"], "rejected": ["b", "bb", "bbb"], "error_key": "k"},
        "rm-bench",
        [Judgement("q", ("a", "aa", "aaa", "b", "bb", "bbb"), (1, 1, 1, 0, 0, 0), scale="partial", id="5")],
    ),
    (
        {"pair_uid": "9", "conversation_input": [user("q") | {"language": "English"}], "category_path": "P/A"}
        | {"chosen": {"llm_name": "x", "answer": "a", "score": 5.0}, "reject": {"answer": "b", "score": 2.5}},
        "rmb-pairwise",
        [Judgement([user("q")], ("a", "b"), (5, 2.5), subset="P/A", source="model", id="9")],
    ),
    (
        {"bon_uid": "9", "conversation_input": [user("q")], "category_path": "B/A"}
        | {"bon_best": {"answer": "a"}, "loser_list": [{"answer": "b"}, {"answer": "c"}]},
        "rmb-bon",
        [Judgement([user("q")], ("a", "b", "c"), (1, 0, 0), subset="B/A", source="model", scale="partial", id="9")],
    ),
    (
        RMB_LINE,
        "rmb-pairwise",
        [Judgement([user("q")], ("three", "one"), (1, 0), subset="Pairwise_set/A", source="model", id="1")],
    ),
    ({"prompt": "q", "completion": "a", "label": True}, "kto", [Judgement("q", ("a",), (1,), scale="rating")]),
    ({"prompt": "q", "completion": "a", "label": "0"}, "kto", [Judgement("q", ("a",), (0,), scale="rating")]),
    (
        {"prompt": "q", "response": "a", "rating": "3.5", "user": "ann"},
        "rated",
        [Judgement("q", ("a",), (3.5,), user="ann", scale="rating")],
    ),
    (
        {"prompt": "q", "response": "a", "helpfulness": 3, "verbosity": 1},
        "aspects",
        [
            Judgement("q", ("a",), (3,), criterion="helpfulness", scale="rating"),
            Judgement("q", ("a",), (1,), criterion="verbosity", scale="rating"),
        ],
    ),
    (
        {"prompt": "Human: q", "responses": ["a", "b"], "label": 1, "data_subset": "s", "objective": "helpful"},
        "choice",
        [Judgement([user("q")], ("a", "b"), (0, 1), subset="s", criterion="helpful")],
    ),
    (
        {"prompt": "q", "response 1": "a", "response 2": "b", "label": 2, "scenario": "s"},
        "auto-j",
        [Judgement("q", ("a", "b"), (0, 0), subset="s", source="human")],
    ),
    (
        {"instruction": "do", "input": "this", "response1": "a", "response2": "b", "annotator1": 2, "annotator2": 0},
        "pandalm",
        [
            Judgement("do\n\nthis", ("a", "b"), (0, 1), user="annotator1", source="human"),
            Judgement("do\n\nthis", ("a", "b"), (0, 0), user="annotator2", source="human"),
        ],
    ),
    (
        {"history": "q", "human_ref_A": "a", "human_ref_B": "b", "labels": 0},
        "shp",
        [Judgement("q", ("a", "b"), (0, 1), source="human")],
    ),
    (
        {"question": "q", "response_a": "a", "response_b": "b", "winner": "B"},
        "pair",
        [Judgement("q", ("a", "b"), (0, 1))],
    ),
    (
        {"prompt": "q", "response_1": "a", "response_2": "b", "preference": 1},
        "pair",
        [Judgement("q", ("a", "b"), (1, 0))],
    ),
    (
        {
            "conversation_a": [user("q"), assistant("a")],
            "conversation_b": [user("q"), assistant("b")],
            "winner": "tie (bothbad)",
        },
        "pair",
        [Judgement([user("q")], ([assistant("a")], [assistant("b")]), (0, 0))],
    ),
    (
        {
            "instruction": "q",
            "completions": [
                {"response": "a", "overall_score": 8, "annotations": {"honesty": {"Rating": "5", "Rationale": "x"}}},
                {"response": "b", "overall_score": 2.5, "annotations": {"honesty": {"Rating": "N/A"}}},
            ],
        },
        "ultrafeedback",
        [
            Judgement("q", ("a", "b"), (8, 2.5), criterion="overall", scale="rating"),
            Judgement("q", ("a",), (5,), criterion="honesty", scale="rating"),
        ],
    ),
    (
        {
            "article": "q",
            "summaries": [{"model": "m", "summary": "a", "coherence": "5"}, {"summary": "b", "coherence": "1"}],
        },
        "ultrafeedback",
        [Judgement("q", ("a", "b"), (5, 1), criterion="coherence", scale="rating")],
    ),
    (
        {"split": "test", "prompt": "q", "responses": [["a", 1.0], ["b", 0.0], ["c", 0.0]]},
        "scored",
        [Judgement("q", ("a", "b", "c"), (1, 0, 0), subset="test", scale="partial")],
    ),
    (
        {"prompt": "q", "responses": ["a", "b", "c"], "ranks": [2, 1, 3]},
        "listed",
        [Judgement("q", ("a", "b", "c"), (1, 2, 0))],
    ),
    (
        {"prompt": "q", "responses": ["a", "b"], "scores": [0.5, 0.7]},
        "listed",
        [Judgement("q", ("a", "b"), (0.5, 0.7), scale="rating")],
    ),
    (
        {
            "context": [user("q")],
            "completions": [{"completion": [assistant("a")], "rank": 1}, {"completion": [assistant("b")], "rank": 0}],
        },
        "nemo-rl",
        [Judgement([user("q")], ([assistant("a")], [assistant("b")]), (0, 1))],
    ),
]


@pytest.mark.parametrize(("row", "name", "expected"), CASES, ids=[f"{c[1]}-{i}" for i, c in enumerate(CASES)])
def test_a_row_means_these_judgements(
    tmp_path: Path, row: dict[str, Any], name: str, expected: list[Judgement]
) -> None:
    says = next(f.says for f in FORMATS if f.name == name)
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps(row) + "\n")
    for source, options in ((path, {}), ([row], {}), (path, {"format": name})):
        found = read(source, **options)
        assert list(found.judgements()) == expected
        assert says in found.notes[0]


def test_every_format_has_a_case() -> None:
    assert {f.name for f in FORMATS} == {name for _, name, _ in CASES}
    names = [x.name for x in (*FORMATS, *LAYOUTS)]
    assert len(set(names)) == len(names)


def test_rmb_names_what_it_leaves_out() -> None:
    assert "1 best-of-n left out; read them with --format rmb-bon" in read([RMB_LINE]).notes
    found = read([RMB_LINE], format="rmb-bon")
    assert list(found.judgements()) == [
        Judgement(
            [user("q")], ("two", "one", "three"), (1, 0, 0), subset="BoN_set/A", source="model", scale="partial", id="2"
        )
    ]
    assert len(found.pairs()) == 2  # nothing is said about the losers among themselves


def test_scores_that_contradict_the_verdict_leave_it_standing() -> None:
    found = read([{"prompt": "q", "chosen": "a", "rejected": "b", "chosen_score": 1, "rejected_score": 3}])
    pairs = found.pairs()
    assert pairs.p[0] == 1
    assert pairs.strength[0] < 1e-6
    assert any("do not favour the chosen response" in note for note in found.notes)


def test_sharegpt_and_empty_message_fields() -> None:
    row = {
        "prompt": [{"from": "human", "value": "q"}],
        "chosen": [assistant("a") | {"tool_calls": None}],
        "rejected": assistant("b"),
    }
    judgement = next(read([row]).judgements())
    assert judgement.prompt == [user("q")]
    assert judgement.responses == ([assistant("a")], [assistant("b")])


def test_common_words() -> None:
    assert common_words("The sky is blue", "The sky is black") == len("The sky is ")
    assert common_words("same", "same") == 0
    assert common_words("abc", "xyz") == 0
    assert common_words("one two", "one two three") == len("one ")


def test_the_user_and_what_judged_can_be_stated() -> None:
    rows = [
        {"prompt": "q", "chosen": "a", "rejected": "b"},
        {"prompt": "q", "chosen": "b", "rejected": "a", "user": "bob"},
    ]
    found = read(rows, user="ann", source_kind="model", notes=["from ann"])
    assert [(j.user, j.source) for j in found.judgements()] == [("ann", "model"), ("bob", "model")]
    assert found.notes[0] == "from ann"
    with pytest.raises(FeedbackError, match="source_kind"):
        read(rows, source_kind="alien")


def test_several_sources_of_several_formats(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps({"prompt": "q", "chosen": "a", "rejected": "b"}) + "\n")
    (tmp_path / "b.csv").write_text("prompt,completion,label\nq,c,true\n")
    found = read([tmp_path / "a.jsonl", str(tmp_path / "b.csv")])
    assert [j.grades for j in found.judgements()] == [(1, 0), (1,)]
    assert found.places is not None
    assert found.places.where(1).endswith("b.csv:2")


def test_a_directory_of_one_format(tmp_path: Path) -> None:
    for name in ("easy", "hard"):
        (tmp_path / f"{name}.jsonl").write_text(json.dumps({"prompt": name, "chosen": "a", "rejected": "b"}) + "\n")
    (tmp_path / "other.jsonl").write_text('{"foo": 1}\n')
    found = read(tmp_path)
    assert found.subsets == ("easy", "hard")
    assert any("other.jsonl is not of this format: left out" in note for note in found.notes)
    (tmp_path / "kto.jsonl").write_text(json.dumps({"prompt": "q", "completion": "a", "label": True}) + "\n")
    with pytest.raises(FeedbackError, match=r"several formats here \(trl: 2; kto: 1\); choose with --format trl"):
        read(tmp_path)
    assert len(read(tmp_path, format="kto")) == 1


def test_shards_are_one_set(tmp_path: Path) -> None:
    for i in range(2):
        row = {"prompt": str(i), "chosen": "a", "rejected": "b"}
        (tmp_path / f"train-0000{i}-of-00002.jsonl").write_text(json.dumps(row) + "\n")
    assert read(tmp_path).subsets == ()


@pytest.mark.parametrize(
    ("mapping", "expected"),
    [
        ("prompt=question,chosen=good,rejected=bad", ("q", ("a", "b"))),
        ({"prompt": "info.q", "chosen": "good", "rejected": "answers.1.text"}, ("deep", ("a", "z"))),
        ('prompt="Which, please?",chosen=good,rejected=bad', ("Which, please?", ("a", "b"))),
    ],
)
def test_column_mapping(tmp_path: Path, mapping: Any, expected: tuple[str, tuple[str, str]]) -> None:
    row = {
        "question": "q",
        "good": "a",
        "bad": "b",
        "info": {"q": "deep"},
        "answers": [{"text": "y"}, {"text": "z"}],
        "id": 1,
    }
    (tmp_path / "a.jsonl").write_text(json.dumps(row) + "\n")
    judgement = next(read(tmp_path / "a.jsonl", map=mapping).judgements())
    assert (judgement.prompt, judgement.responses, judgement.id) == (*expected, "1")


def test_mapping_drops_and_swaps() -> None:
    row = {"prompt": "q", "chosen": "a", "rejected": "b", "id": "1"}
    judgement = next(read([row], map="chosen=rejected,rejected=chosen,id=").judgements())
    assert judgement.responses == ("b", "a")
    assert judgement.id is None


def test_mapping_mistakes() -> None:
    row = {"question": "q", "good": "a", "bad": "b"}
    with pytest.raises(FeedbackError, match="--map chosen=gut: there is no column 'gut'; rows has question, good, bad"):
        read([row], map="chosen=gut")
    with pytest.raises(ConfigError, match="write FIELD=COLUMN"):
        read([row], map="chosen")


def test_unrecognised_input_names_fields_nearest_formats_and_a_mapping() -> None:
    with pytest.raises(FeedbackError) as error:
        read([{"text_chosen": "a", "text_rejected": "b"}])
    message = str(error.value)
    assert "no known format has the fields text_chosen, text_rejected" in message
    assert "trl-implicit (chosen, rejected)" in message
    assert "--map chosen=text_chosen,rejected=text_rejected" in message
    assert "\n" not in message


def test_a_told_format_that_does_not_fit_says_what_is_missing() -> None:
    with pytest.raises(FeedbackError, match="kto needs prompt, completion, label; 'completion' is missing among"):
        read([{"prompt": "q", "chosen": "a", "rejected": "b"}], format="kto")
    with pytest.raises(FeedbackError, match="format 'nope' is unknown; use one of guerdon"):
        read([{"prompt": "q"}], format="nope")


def test_feedback_read_is_this() -> None:
    assert len(Feedback.read([{"prompt": "q", "chosen": "a", "rejected": "b"}])) == 1
