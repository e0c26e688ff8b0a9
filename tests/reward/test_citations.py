"""Citations: markers resolve, sources bear out what is said, and superfluous ones cost precision."""

import json
import re
from urllib.parse import quote

import numpy as np
import pytest

import guerdon
from guerdon.errors import ConfigError
from guerdon.reward.base import Reward, Scores
from guerdon.reward.verify.citations import Citations, overlap, statements
from guerdon.testing import MockRequest, MockServer, check_reward

SOURCES = [
    "The lighthouse of Kiel was built in 1967. It is 33 metres high.",
    "Ferries to Oslo leave the harbour every afternoon.",
    "Bananas are rich in potassium.",
]


def checked(text: str, sources: object = SOURCES, **settings: object) -> Scores:
    rule = Citations(**settings)  # type: ignore[arg-type]
    return rule.score(guerdon.Candidates(["?"], [text], extra={"sources": [sources]}))


def test_statements_and_their_markers() -> None:
    text = "# Kiel\nIt is high. [1] It is old [2, 3]. Dr. Smith saw it [^2][5-7]! Is it?\n\nAs follows:\n- white [1]"
    said = [(s.text, s.cited) for s in statements(text)]
    assert ("It is old.", ("2", "3")) in said
    assert ("Dr. Smith saw it!", ("2", "5", "6", "7")) in said
    assert any(t.endswith("white") and cited == ("1",) for t, cited in said)
    assert not any("Is it?" in t for t, _ in said)


def test_a_marker_behind_the_full_stop_belongs_to_the_sentence_before() -> None:
    (only,) = statements("The lighthouse was built in 1967. [1]")
    assert only.cited == ("1",)
    first, second = statements("It was built in 1967. [1] Ferries leave. [2]")
    assert (first.cited, second.cited) == (("1",), ("2",))
    assert second.text == "Ferries leave."


def test_supported_unsupported_and_missing() -> None:
    good = "The lighthouse was built in 1967 [1]. Ferries to Oslo leave every afternoon [2]."
    assert checked(good).value.tolist() == [1.0]
    half = "The lighthouse was built in 1967 [1]. Ferries to Oslo leave every afternoon [3]."
    scores = checked(half)
    assert scores.detail["recall"] == [0.5]
    assert scores.detail["precision"] == [0.5]
    assert scores.detail["unsupported"] == [["Ferries to Oslo leave every afternoon."]]
    none = checked("The lighthouse was built in 1967. Ferries leave every afternoon.")
    assert none.value.tolist() == [0.0]
    assert none.reason == ["cites nothing"]


def test_a_wrong_number_is_not_supported() -> None:
    assert checked("The lighthouse was built in 1976 [1].").value.tolist() == [0.0]
    assert overlap("It has 1,000 lamps", "It has 1000 lamps.") == 1.0
    assert overlap("33 metres high", "It is 33 metres high, not 3.") == 1.0
    assert overlap("3 metres high", "It is 33 metres high.") == 0.0


def test_markers_that_lead_nowhere_cost_precision() -> None:
    scores = checked("The lighthouse was built in 1967 [1, 9].", measure="precision")
    assert scores.value.tolist() == [0.5]
    assert "9" in (scores.reason[0] or "")


def test_a_citation_that_adds_nothing_is_not_precise() -> None:
    """ALCE: superfluous where it supports nothing alone and the others do without it."""
    both = checked("The lighthouse was built in 1967 [1][3].")
    assert both.detail["precision"] == [0.5]
    assert both.detail["recall"] == [1.0]
    together = ["The lighthouse was built in 1967.", "The lighthouse is painted in red stripes."]
    text = "The lighthouse built in 1967 is painted with red stripes [1][2]."
    needed = checked(text, together, threshold=1.0)
    assert needed.detail["precision"] == [1.0]


def test_sources_by_name_with_titles_as_json_or_as_the_reference() -> None:
    named = {"[4]": {"title": "Kiel", "text": SOURCES[0]}}
    assert checked("The lighthouse was built in 1967 [4].", named).value.tolist() == [1.0]
    assert checked("The lighthouse was built in 1967 [1].", json.dumps(SOURCES)).value.tolist() == [1.0]
    rule = guerdon.load("rule:citations?measure=recall")
    given = guerdon.Candidates(["?"], ["The lighthouse was built in 1967 [1]."], reference=[SOURCES])
    assert rule.score(given).value.tolist() == [1.0]
    assert checked("It is so [1].", None).status == ["invalid"]
    assert checked("", SOURCES).status == ["abstained"]


class Entails(Reward):
    """Says whether the response stands in the reference; unscored where it is asked about ferries."""

    name = "entails"

    def score(self, candidates: guerdon.Candidates) -> Scores:
        said = zip(candidates.responses, candidates.reference or [], strict=True)
        return Scores(np.array([np.nan if "Ferries" in r else float(str(r) in str(s)) for r, s in said]))


def test_a_judge_decides_instead_and_its_silence_is_not_zero() -> None:
    assert checked("Bananas are rich in potassium. [3]", judge=Entails()).value.tolist() == [1.0]
    assert checked("Bananas contain a lot of potassium. [3]", judge=Entails()).value.tolist() == [0.0]
    unsaid = checked("Ferries leave every afternoon. [2]", judge=Entails())
    assert np.isnan(unsaid.value).all()
    assert unsaid.status == ["failed"]


def test_a_judge_is_asked_once_about_everything() -> None:
    asked: list[int] = []

    class Counts(Entails):
        def score(self, candidates: guerdon.Candidates) -> Scores:
            asked.append(len(candidates))
            return super().score(candidates)

    text = "Bananas are rich in potassium. [1][3] So they say."
    rows = guerdon.Candidates(["?"] * 3, [text] * 3, extra={"sources": [SOURCES] * 3})
    scores = Citations(judge=Counts()).score(rows)
    assert asked == [3]  # both sources, the first, the third; the rows are equal
    assert scores.detail["recall"] == [0.5] * 3
    assert scores.detail["precision"] == [0.5] * 3


def test_a_judge_on_a_server_reads_the_sources_as_the_reference() -> None:
    def reply(request: MockRequest) -> str:
        found = dict(re.findall(r"<<<begin (.+?) [0-9a-f]{24}>>>\n(.*?)\n<<<end", request.text, re.S))
        code = re.search(r'"verdict_code", which is ([0-9a-f]{12})', request.text)
        yes = found["response"] in found["reference answer"]
        return json.dumps({"rationale": "", "verdict": "yes" if yes else "no", "verdict_code": code and code[1]})

    with MockServer(reply) as server:
        judge = quote(f"judge:{server.spec}?cache=off&how=json", safe="")
        rule = guerdon.load(f"rule:citations?judge={judge}")
        texts = ["Bananas are rich in potassium. [3]", "Bananas are rich in potassium. [1]"]
        rows = guerdon.Candidates(["?"] * 2, texts, extra={"sources": [SOURCES] * 2})
        assert rule.score(rows).value.tolist() == [1.0, 0.0]


def test_options_and_contract() -> None:
    with pytest.raises(ConfigError, match="measure="):
        Citations(measure="best")
    with pytest.raises(ConfigError, match="threshold="):
        Citations(threshold=0)
    texts = ["Ferries leave [2].", "Bananas are rich in potassium [3].", "Nothing."]
    check_reward(Citations(), guerdon.Candidates(["?"] * 3, texts, extra={"sources": [SOURCES] * 3}))
