"""The reward of tool calls: the contract, what it abstains from, and its common zero."""

from pathlib import Path

import numpy as np
import pytest

import guerdon
from guerdon.curate.registry import step
from guerdon.encode import load_encoder
from guerdon.errors import ConfigError, FeedbackError
from guerdon.feedback.schema import Candidates, Judgement
from guerdon.feedback.star import Feedback
from guerdon.feedback.tool_calls import canonical
from guerdon.reward.learned.centring import centred
from guerdon.reward.learned.comparisons import BradleyTerry
from guerdon.reward.learned.likelihood import compile_likelihood
from guerdon.reward.learned.tool_reward import NO_CATALOGUE
from guerdon.reward.registry import model
from guerdon.testing import check_reward
from guerdon.worlds.tools import asked, split


def pairs(functions: np.ndarray, count: int, seed: int, **settings: object) -> Feedback:
    rng = np.random.default_rng(seed)
    gold = [asked(functions, rng) for _ in range(count)]
    made = Feedback.of([Judgement(a.prompt, (canonical(a.calls),), (1.0,), id=str(i)) for i, a in enumerate(gold)])
    return step("tool-pairs")(made, obfuscate="yes", seed=seed, **settings).feedback


def accuracy(reward: guerdon.Reward, feedback: Feedback) -> float:
    rows = list(feedback.judgements())
    right, wrong = (reward.score(Candidates([j.prompt for j in rows], [j.responses[k] for j in rows])) for k in (0, 1))
    return float((right.value > wrong.value).mean())


@pytest.fixture(scope="module")
def fitted() -> guerdon.Reward:
    return model("tool-calls").make(l2=1e-3).fit(pairs(split(0)[0], 250, 1))


def test_unseen_functions_with_random_names(fitted: guerdon.Reward) -> None:
    assert accuracy(fitted, pairs(split(0)[1], 100, 2)) > 0.85


def test_a_reward_of_calls_keeps_the_contract(fitted: guerdon.Reward, tmp_path: Path) -> None:
    rows = list(pairs(split(0)[1], 8, 3).judgements())
    given = Candidates([j.prompt for j in rows for _ in (0, 1)], [r for j in rows for r in j.responses])
    report = check_reward(fitted, given)
    assert "save and load" in report.passed
    again = guerdon.load(fitted.save(tmp_path / "model"))  # type: ignore[attr-defined]
    assert np.array_equal(again.score(given).value, fitted.score(given).value)


def test_without_a_catalogue_there_is_no_score(fitted: guerdon.Reward) -> None:
    told = fitted.score(Candidates(["Weather?"], ['[{"f": {}}]']))
    assert told.status[0] == "abstained"
    assert told.reason[0] == NO_CATALOGUE
    assert np.isnan(told.value[0])
    with pytest.raises(FeedbackError, match="no catalogue"):
        model("tool-calls").make().fit(Feedback.of([Judgement("Weather?", ("a", "b"), (1.0, 0.0))] * 3))


def test_the_order_of_keys_and_the_spacing_change_nothing(fitted: guerdon.Reward) -> None:
    j = next(
        j
        for j in pairs(split(0)[1], 20, 4).judgements()
        if '", "' in str(j.responses[0]) or ", " in str(j.responses[0])
    )
    import json

    calls = json.loads(str(j.responses[0]))
    other = json.dumps([{n: dict(reversed(list(a.items()))) for n, a in c.items()} for c in calls], indent=3)
    both = fitted.score(Candidates([j.prompt] * 2, [str(j.responses[0]), other])).value
    assert both[0] == both[1]


def test_centring_is_the_gradient_of_its_term() -> None:
    from scipy.optimize import check_grad

    data = compile_likelihood("bradley-terry", pairs(split(0)[0], 20, 5))
    assert isinstance(data, BradleyTerry)
    whole, theta, u = centred(data, 0.3), np.zeros(0), np.random.default_rng(0).normal(size=data.candidates)
    naive = data(u, theta)[0] + 0.3 * np.mean(
        [(u[a] + u[b]) ** 2 for a, b in zip(data.pairs.a, data.pairs.b, strict=True)]
    )
    assert abs(whole(u, theta)[0] - naive) < 1e-10
    assert check_grad(lambda v: whole(v, theta)[0], lambda v: whole(v, theta)[1], u) < 1e-5
    few = whole.take(np.arange(5))
    assert len(few) == 5
    assert few(u, theta)[0] != data.take(np.arange(5))(u, theta)[0]
    assert centred(data, 0.0) is data
    with pytest.raises(ConfigError, match="at least 0"):
        centred(data, -1.0)


def test_centring_moves_the_scores_to_zero() -> None:
    data, held = pairs(split(0)[0], 150, 6), pairs(split(0)[1], 60, 7)
    means = {}
    for center in (0.0, 0.1):
        reward = model("tool-calls").make(head="mlp", hidden=16, epochs=8, center=center).fit(data)
        used = held.candidates.take(held.used)
        means[center] = abs(float(reward.score(used).value.mean()))
    assert means[0.1] <= max(0.5, means[0.0])


def test_no_feature_knows_a_name() -> None:
    rows = list(pairs(split(0)[1], 5, 8).judgements())
    encoder = load_encoder("tools?parts=schema")
    told = encoder.encode(Candidates([j.prompt for j in rows], [j.responses[0] for j in rows]))
    assert np.abs(told).sum() == 0, "right calls break no rule of their schema"
    with pytest.raises(ConfigError, match="takes no name"):
        load_encoder("tools:minilm")
