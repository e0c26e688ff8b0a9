"""Standards written for each question: every protocol takes them, and a row without one is unscored with the reason."""

import json
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from guerdon.errors import ConfigError
from guerdon.feedback.messages import Text
from guerdon.feedback.schema import Candidates
from guerdon.generate import ServerModel
from guerdon.generate.base import LanguageModel
from guerdon.reward.judge import (
    ListwiseJudge,
    PairwiseJudge,
    PointwiseJudge,
    Standard,
    Standards,
    WrittenStandard,
    open_judge,
)
from guerdon.reward.judge import spec as specs
from guerdon.testing import MockRequest, MockServer


class ByPrompt(WrittenStandard):
    """A question for prompt "a", a rubric of two for prompt "b", nothing for others."""

    def __init__(self, model: LanguageModel | None = None, *, depth: int = 1) -> None:
        self.depth = depth
        self.shown: list[list[Text]] = []

    def each(self, candidates: Candidates, shown: Sequence[Sequence[Text]] | None = None) -> Standards:
        self.shown += [list(texts) for texts in shown or []]
        known = {"a": Standard.question("Is it alpha?"), "b": Standard.rubric(["Is it bravo?", "Is it brief?"])}
        written = [known.get(str(prompt)) for prompt in candidates.prompts]
        reasons = [None if s else "no criteria came back" for s in written]
        return Standards(written, ["scored" if s else "invalid" for s in written], reasons, {"calls": len(written)})

    @property
    def identity(self) -> Any:
        return ["by prompt", self.depth]


def reply(request: MockRequest) -> str:
    code = re.findall(r'"verdict_code", which is (\w+)', request.text)[-1]
    out: dict[str, Any] = {"rationale": "because"}
    if '"ranking"' in request.text:
        n = len(set(re.findall(r"begin response (\d+)", request.text)))
        best = 5 if "alpha" in request.text else 3
        out |= {"grades": [{"response": i, "grade": best} for i in range(1, n + 1)], "ranking": list(range(1, n + 1))}
    elif "response A" in request.text:
        out["verdict"] = "tie"
    else:
        out["verdict"] = "yes" if "alpha" in request.text or "bravo" in request.text else "no"
    return json.dumps(out | {"verdict_code": code})


ROWS = Candidates(["a", "c", "b"], ["x", "y", "z"])


def model(server: MockServer) -> ServerModel:
    return ServerModel(server.url, server.model, cache="off", first_wait=0.01)


def test_pointwise() -> None:
    with MockServer(reply) as server:
        scores = PointwiseJudge(model(server), ByPrompt(), how="json").score(ROWS)
        assert server.calls == 3
    assert scores.value[[0, 2]].tolist() == [1, 0.5]
    assert np.isnan(scores.value[1])
    assert (scores.status[1], scores.reason[1]) == ("invalid", "no criteria came back")
    assert scores.detail["criteria"][2] == {"criterion 1": 1.0, "criterion 2": 0.0}
    assert scores.detail["rationale"][1] is None
    assert scores.cost["calls"] == 3 + 3


def test_pairwise_sees_both_responses() -> None:
    standard = ByPrompt()
    with MockServer(reply) as server:
        scores = PairwiseJudge(model(server), standard, how="json").prefer(
            ROWS, Candidates(ROWS.prompts, ["p", "q", "r"])
        )
        assert server.calls == 4
    assert scores.value[[0, 2]].tolist() == [0.5, 0.5]
    assert np.isnan(scores.value[1])
    assert scores.reason[1] == "no criteria came back"
    assert standard.shown == [["x", "p"], ["y", "q"], ["z", "r"]]


def test_listwise_has_one_standard_a_list() -> None:
    standard = ByPrompt()
    both = Candidates(["a", "a", "c", "c", "b"], ["x", "y", "x", "y", "z"])
    with MockServer(reply) as server:
        scores = ListwiseJudge(model(server), standard, give="both", orders=2).rank(both)
    assert scores.value[[0, 1]].mean() == 5
    assert scores.value[4] == 3
    assert list(scores.status[2:4]) == ["invalid"] * 2
    assert standard.shown == [["x", "y"], ["x", "y"], ["z"]]


def test_specifications_and_fingerprints(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(specs, "WRITTEN", {"mood": f"{__name__}:ByPrompt"})
    judge = open_judge("http://localhost:1/v1#m?by=mood&depth=3&votes=2")
    assert isinstance(judge, PointwiseJudge)
    assert isinstance(judge.standard, ByPrompt)
    assert judge.standard.depth == 3
    other = open_judge("http://localhost:1/v1#m?by=mood&depth=4&votes=2")
    assert judge.fingerprint != other.fingerprint  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match="one of them"):
        open_judge("http://localhost:1/v1#m?by=mood&question=why")
    with pytest.raises(ConfigError, match="mood"):
        open_judge("http://localhost:1/v1#m?by=temper")
