"""Answers from sources: each measure sees its own error and no other, bad input has a reason, pairs by criterion."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import rankdata

from guerdon.curate.criteria_pairs import RAG, CriteriaVerdicts, judged, pairs
from guerdon.errors import ConfigError, FeedbackError
from guerdon.feedback.schema import Candidates
from guerdon.reward.load import load
from guerdon.reward.verify.rag import CRITERIA, Grounded
from guerdon.testing import check_reward
from guerdon.testing.scripted import Scripted
from guerdon.worlds.judges import Asked, SimulatedJudge
from guerdon.worlds.records import Record, answer

SOURCES = ["The bell weighs forty kilograms.", "It was made by Aldous in 1812."]


def measured(text: str, **extra: object) -> dict[str, float]:
    scores = Grounded().score(Candidates(["q"], [text], extra={"sources": [SOURCES], **extra}))
    assert scores.status == ["scored"], scores.reason
    return {name: float(scores.detail[name][0]) for name in CRITERIA}


def test_each_measure_sees_its_own_error() -> None:
    good = measured("The bell weighs forty kilograms [1]. It was made by Aldous in 1812 [2].")
    assert good == dict.fromkeys(CRITERIA, 1.0)
    wrong = measured("The bell weighs forty kilograms [1]. It was made by Aldous in 1912 [2].")
    assert wrong["hallucination"] == 0.5
    short = measured("The bell weighs forty kilograms [1].")
    assert (short["comprehensiveness"], short["hallucination"]) == (0.5, 1.0)
    padded = measured(
        "The bell weighs forty kilograms [1]. There is much more one could mention. It was made by Aldous in 1812 [2]."
    )
    assert padded["verbosity"] == pytest.approx(2 / 3)
    assert padded["hallucination"] == 1.0
    invented = measured("The bell weighs forty kilograms [1]. In 1950 the painter Ruth Adler climbed Mount Etna.")
    assert invented["hallucination"] == 0.5
    twice = measured("The bell weighs forty kilograms [1]. The bell weighs forty kilograms [1].")
    assert twice["verbosity"] == 0.5
    bare = measured("The bell weighs forty kilograms. It was made by Aldous in 1812.")
    assert bare["attribution"] == 0.0


def test_errors_of_the_world_lower_their_measure_and_leave_the_others() -> None:
    rng = np.random.default_rng(0)
    kinds = dict(zip(("contradicted", "missing", "padded", "uncited"), CRITERIA, strict=True))
    rule = Grounded(threshold=0.95)
    for error, criterion in kinds.items():
        for i in range(10):
            record = Record.drawn(i, rng)
            texts = [answer(record, rng).text, answer(record, rng, **{error: 2}).text]
            given = Candidates([record.prompt] * 2, texts, extra={"sources": [record.sources] * 2})
            detail = rule.score(given).detail
            assert detail[criterion][0] > detail[criterion][1], (error, texts[1])
            if error == "padded":
                assert detail["hallucination"][0] == detail["hallucination"][1] == 1.0


def test_it_is_a_rule_like_others() -> None:
    rule = load("rule:rag?measure=hallucination")
    sources = [["An apple is a fruit.", "Pears are fruit."]] * 3
    texts = ["An apple is a fruit [1].", "Pears are fruit. Apples, too.", "Nothing of the kind."]
    check_reward(rule, Candidates(["Name a fruit."] * 3, texts, reference=sources), long=False)
    none = rule.score(Candidates(["q"], ["The bell is heavy."]))
    assert none.status == ["invalid"]
    assert "no sources" in str(none.reason[0])
    with pytest.raises(ConfigError, match=r"measure='truth'; use one of hallucination,"):
        load("rule:rag?measure=truth")


def test_a_judge_compares_by_each_criterion_and_the_majority_labels() -> None:
    def quality(asked: Asked, text: str) -> float:
        wanted = json.dumps(asked.criteria)
        name = next(n for n, said in RAG.items() if said in wanted)
        return float(text.split(name)[1].split()[0])

    def response(**q: float) -> str:
        return " ".join(f"{name} {q.get(name, 0.5)}" for name in RAG)

    first = [response(hallucination=0.9, verbosity=0.9), response(hallucination=0.9), response()]
    second = [response(attribution=0.9), response(verbosity=0.9), response()]
    found = judged(SimulatedJudge(quality), ["q1", "q2", "q3"], first, second, how="json")
    assert found.value[0].tolist() == [1.0, 0.5, 1.0, 0.0]
    assert found.aggregate[0] == 1.0
    assert np.isnan(found.aggregate[1:]).all()
    feedback, counts = pairs(["q1", "q2", "q3"], first, second, found)
    assert counts == {"pairs": 3, "ambiguous": 2, "no verdict": 0}
    assert set(feedback.criteria) == set(RAG)
    assert (feedback.criterion < 0).sum() == 1


def test_refusals_are_no_verdicts_and_columns_must_fit() -> None:
    found = judged(Scripted(lambda prompt, seed: None), ["q"], ["a"], ["b"], how="json")
    assert np.isnan(found.value).all()
    with pytest.raises(FeedbackError, match=r"1 prompts, 2 and 1 responses"):
        judged(Scripted(lambda prompt, seed: None), ["q"], ["a", "b"], ["c"])
    empty = CriteriaVerdicts(("a",), np.full((1, 1), np.nan), {}, {})
    assert np.isnan(empty.aggregate).all()


def test_it_agrees_with_people_about_faithful_summaries(shared_data: Path) -> None:
    """XSum: 1,781 summaries of 100 articles that people called faithful or not; measured AUROC 0.75."""
    with gzip.open(shared_data / "judge_benches" / "xsum_likert.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    texts = [(s["summary"] or " ", r["article"], float(s["faithfulness"])) for r in rows for s in r["summaries"]]
    given = Candidates(
        ["Summarise."] * len(texts), [t for t, _, _ in texts], extra={"sources": [[a] for _, a, _ in texts]}
    )
    value = Grounded(measure="hallucination").score(given).value
    known, faithful = ~np.isnan(value), np.array([f for _, _, f in texts]) > 0.5
    assert known.mean() > 0.95
    rank = rankdata(value[known])
    n, m = int(faithful[known].sum()), int((~faithful[known]).sum())
    assert (rank[faithful[known]].sum() - n * (n + 1) / 2) / (n * m) > 0.68
