"""A reward asked in steps says what it says at once."""

import numpy as np
import pytest

from guerdon.bench.remembered import kept
from guerdon.bench.scoring import only_compares
from guerdon.bench.stepwise import in_steps
from guerdon.feedback.schema import Candidates
from guerdon.reward.base import Reward, Scores
from guerdon.reward.baselines import Length


class Half(Reward):
    """Scores every other row, with a standard deviation and a remark; compares by itself where ``own``."""

    name, reads, sees = "half", ("user",), ("image",)

    def score(self, candidates: Candidates) -> Scores:
        value = np.array([len(str(r)) if len(str(r)) % 2 else np.nan for r in candidates.responses])
        marks = [f"{u}!" for u in candidates.user or [None] * len(value)]
        return Scores(value, std=np.full(len(value), 0.5), detail={"mark": marks})


class Compares(Reward):
    """Only compares."""

    name = "compares"

    def prefer(self, a: Candidates, b: Candidates) -> Scores:
        return Scores(np.array([float(str(x) > str(y)) for x, y in zip(a.responses, b.responses, strict=True)]))


def rows(n: int) -> Candidates:
    return Candidates(["p"] * n, ["x" * (i % 7 + 1) for i in range(n)], user=[f"u{i % 3}" for i in range(n)])


@pytest.mark.parametrize("n", [0, 1, 10, 11, 25])
def test_the_scores_are_those_of_one_call(n: int) -> None:
    seen: list[tuple[int, int]] = []
    stepped = in_steps(Half(), lambda done, of: seen.append((done, of)), batch=10)
    whole, found = Half().score(rows(n)), stepped.score(rows(n))
    np.testing.assert_array_equal(found.value, whole.value)
    np.testing.assert_array_equal(found.std, whole.std)
    assert list(found.status) == list(whole.status)
    assert found.detail == whole.detail
    assert [done for done, _ in seen] == ([min(k, n) for k in range(10, n + 10, 10)] if n > 10 else [])
    assert (stepped.name, stepped.reads, stepped.sees) == ("half", ("user",), ("image",))


def test_a_reward_that_compares_still_only_compares() -> None:
    stepped = in_steps(Compares(), lambda done, of: None, batch=4)
    assert only_compares(stepped)
    assert not only_compares(in_steps(Half(), lambda done, of: None))
    a, b = rows(9), rows(9).take(np.arange(9)[::-1])
    np.testing.assert_array_equal(stepped.prefer(a, b).value, Compares().prefer(a, b).value)


def test_cheap_rewards_are_watched_and_not_stored() -> None:
    seen: list[int] = []
    found = kept(Length(), "rule:length", progress=lambda done, of: seen.append(done)).score(rows(1500))
    np.testing.assert_array_equal(found.value, Length().score(rows(1500)).value)
    assert seen == [512, 1024, 1500]
    assert kept(reward := Length(), "rule:length") is reward
