"""The scripted reader: it sees what is there, obeys what it is told, and errs as often as it says."""

import json

import pytest

from guerdon.feedback.schema import Candidates
from guerdon.reward.judge import PairwiseJudge, Standard
from guerdon.testing.scripted import Scripted
from guerdon.worlds.reader import ATTRIBUTES, NAMES, PHRASINGS, Reader, Taste, criteria_of, named, shown

TASTE = Taste({"example": 2.0, "source": 1.0})
EXACT = Reader(TASTE, misread=0.0, bias=0.0, spurious=0.0)


def test_every_criterion_names_its_attribute_and_every_sentence_shows_its_own() -> None:
    for name in NAMES:
        assert len(criteria_of(name)) == 3 * len(PHRASINGS)
        assert all(named(text) == {name} for text in criteria_of(name))
        assert all(shown(sentence) == {name} for sentence in ATTRIBUTES[name][1])


def test_people_choose_what_they_like_and_equal_seeds_give_equal_pairs() -> None:
    first, again = TASTE.feedback(20, 3), TASTE.feedback(20, 3)
    assert list(first.judgements()) == list(again.judgements())
    for judgement in first.judgements():
        better, worse = (judgement.responses[i] for i in ((0, 1) if judgement.grades[0] else (1, 0)))
        assert TASTE.utility(better) > TASTE.utility(worse)


def test_it_judges_by_the_criteria_and_their_weights() -> None:
    has = {name: ATTRIBUTES[name][1][0] for name in ("example", "source", "warning")}
    judge = PairwiseJudge(Scripted(EXACT), Standard.rubric([{"text": criteria_of("source")[0]}]), how="json")
    two, one = Candidates(["?"], [f"{has['example']} {has['warning']}"]), Candidates(["?"], [has["source"]])
    assert judge.prefer(one, two).value.tolist() == [1.0]
    heavy = [{"text": criteria_of("source")[0], "weight": 1.0}, {"text": criteria_of("warning")[0], "weight": 3.0}]
    assert PairwiseJudge(Scripted(EXACT), Standard.rubric(heavy), how="json").prefer(one, two).value.tolist() == [0.0]
    # no criterion that it understands: all attributes count alike
    assert PairwiseJudge(Scripted(EXACT), how="json").prefer(one, two).value.tolist() == [0.0]


def test_a_place_it_likes_shows_as_position_bias() -> None:
    judge = PairwiseJudge(Scripted(Reader(TASTE, bias=1.0)), how="json")
    same = Candidates(["?"] * 5, [f"text {i}" for i in range(5)])
    assert judge.prefer(same, same.take([1, 2, 3, 4, 0])).value.tolist() == [0.5] * 5
    assert judge.position_bias().towards_first == 1.0


def test_it_misreads_as_often_as_it_says() -> None:
    reader = Reader(TASTE, misread=0.2)
    wrong = sum(reader.sees(f"text {i}", "example") for i in range(2000)) / 2000
    assert wrong == pytest.approx(0.2, abs=0.03)


def test_a_scripted_model_counts_and_refuses() -> None:
    model = Scripted(lambda prompt, seed: None if "no" in prompt else json.dumps({"seed": seed}))
    replies = model.generate(["yes", "no"], 2, schema={"type": "object"}, seed=5)
    assert replies.status == ["answered", "answered", "refused", "refused"]
    assert replies.parsed == [{"seed": 5}, {"seed": 6}, None, None]
    assert model.calls == 4
