"""A reward that says which votes count: in single verdicts and in lists."""

import json
import re

import numpy as np
import pytest

from guerdon.errors import ConfigError
from guerdon.feedback.schema import Candidates
from guerdon.generate import ServerModel
from guerdon.reward.base import Function, Reward
from guerdon.reward.judge import ListwiseJudge, MetaVote, PairwiseJudge, PointwiseJudge
from guerdon.testing import MockRequest, MockServer

CODE = re.compile(r'"verdict_code", which is (\w+)')


def careful(prompt: object, response: object) -> float:
    return float("careful" in str(response))


def votes(request: MockRequest) -> str:
    """Every third vote is careful and right (yes, A); the others are hasty and wrong."""
    good = (request.seed or 0) % 3 == 0
    code = CODE.search(request.text)[1]  # type: ignore[index]
    rationale = "careful" if good else "hasty"
    if '"ranking"' in request.text:
        best = [1, 2] if ("begin response 1" in request.text) == good else [2, 1]
        return json.dumps({"rationale": rationale, "ranking": best, "verdict_code": code})
    pair = "response A" in request.text
    verdict = ("A" if good else "B") if pair else ("yes" if good else "no")
    return json.dumps({"rationale": rationale, "verdict": verdict, "verdict_code": code})


ONE = Candidates(["x"], ["y"])


def model(server: MockServer) -> ServerModel:
    return ServerModel(server.url, server.model, cache="off", first_wait=0.01)


def test_the_better_half_of_the_votes_is_counted() -> None:
    with MockServer(votes) as server:
        plain = PointwiseJudge(model(server), how="json", votes=6, combine="mean").score(ONE)
        meta = PointwiseJudge(model(server), how="json", votes=6, combine=MetaVote(Function(careful), keep=1 / 3))
        half = PointwiseJudge(model(server), how="json", votes=6, combine=MetaVote(Function(careful)))
        most = PointwiseJudge(
            model(server), how="json", votes=6, combine=MetaVote(Function(careful), then="majority", weigh=True)
        )
        assert plain.value[0] == pytest.approx(2 / 6)
        assert meta.score(ONE).value[0] == 1
        assert half.score(ONE).value[0] == pytest.approx(2 / 3)
        assert most.score(ONE).value[0] == 1
        assert meta.score(ONE).detail["rationale"] == ["careful"]
        assert meta.score(ONE).detail["votes"] == [6], "no vote is spared: the meta reward has to see them all"
        assert len({meta.fingerprint, half.fingerprint, most.fingerprint}) == 3


def test_pairs_and_lists_too() -> None:
    meta = MetaVote(Function(careful), keep=1 / 3, then="majority")
    with MockServer(votes) as server:
        pair = PairwiseJudge(model(server), how="json", order="given", votes=6, combine=meta).prefer(ONE, ONE)
        assert pair.value.tolist() == [1]
        both = Candidates(["x", "x"], ["a", "b"])
        judge = ListwiseJudge(
            model(server), give="ranking", orders=1, votes=6, combine=MetaVote(Function(careful), keep=1 / 3)
        )
        scores = judge.rank(both)
        assert sorted(scores.value) == [0, 1]
        assert scores.detail["votes"] == [2, 2]
        assert scores.detail["rationale"] == ["careful", "careful"]


def test_a_vote_the_meta_reward_cannot_score_does_not_count() -> None:
    meta = MetaVote(Function(careful), keep=0.5)
    assert meta.weights_of(np.array([0.1, np.nan, 0.9, 0.5]), [0, 0, 0, 0]).tolist() == [0, 0, 1, 1]
    assert meta.weights_of(np.array([np.nan, np.nan]), [0, 0]).tolist() == [1, 1], "then all count alike"
    assert meta.weights_of(np.array([0.2, 0.1, 0.3]), [0, 0, 1]).tolist() == [1, 0, 1]
    weighed = MetaVote(Function(careful), keep=1.0, weigh=True)
    assert weighed.weights_of(np.array([0.2, -1.0, 0.8]), [0, 0, 0]).tolist() == [0.2, 0, 0.8]


def test_it_sees_the_question_and_the_whole_reply() -> None:
    seen: list[tuple[str, str]] = []

    def look(prompt: object, response: object) -> float:
        seen.append((str(prompt), str(response)))
        return 0.0

    with MockServer(votes) as server:
        scores = PointwiseJudge(model(server), how="json", votes=2, combine=MetaVote(Function(look))).score(ONE)
    assert len(seen) == 2
    assert "begin request" in seen[0][0]
    assert '"verdict"' in seen[0][1]
    assert scores.cost["calls"] == 2


@pytest.mark.parametrize("settings", [{"keep": 0.0}, {"keep": 1.5}, {"then": "sum"}])
def test_settings_that_make_no_sense(settings: dict) -> None:
    with pytest.raises(ConfigError):
        MetaVote(Function(careful), **settings)


def test_it_takes_any_reward_and_nothing_else() -> None:
    with pytest.raises(ConfigError, match="Reward"):
        MetaVote("rule:length")  # type: ignore[arg-type]
    assert isinstance(MetaVote(Function(careful)).reward, Reward)


def test_more_votes_help_a_filter_that_sees_which_are_good() -> None:
    """DeepSeek-GRM's law on simulated votes: bad votes miss by more than good ones hit, so that sums hardly gain."""
    rng, queries = np.random.default_rng(0), 1500
    meta = MetaVote(Function(careful))

    def right(k: int, filtered: bool) -> float:
        good = rng.random((queries, k)) < rng.beta(3, 2, (queries, 1))
        gap = np.where(good, 1.6, -2.0)[..., None] * np.array([0.5, -0.5])
        scores = np.clip(np.round(5.5 + gap + rng.normal(0, 0.8, (queries, k, 2))), 1, 10)
        weight = np.ones((queries, k))
        if filtered:
            opinion = good + rng.normal(size=(queries, k))
            weight = meta.weights_of(opinion.ravel(), np.repeat(np.arange(queries), k).tolist()).reshape(queries, k)
            assert weight.sum(1).tolist() == [(k + 1) // 2] * queries
        total = (scores * weight[..., None]).sum(1)
        return float(np.mean(np.sign(total[:, 0] - total[:, 1]) / 2 + 0.5))

    plain, few, many = right(32, False), right(8, True), right(32, True)
    assert many >= plain + 0.15
    assert few >= plain
    assert many > few > right(4, True)
