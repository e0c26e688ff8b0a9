"""The contract suite passes good rewards and catches each way of being wrong."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import fake_rewards
from guerdon.errors import FeedbackError
from guerdon.feedback.messages import as_text
from guerdon.feedback.schema import Candidates
from guerdon.reward.base import Function, Reward, Scores
from guerdon.reward.baselines import Length, Random
from guerdon.testing import check_reward


@pytest.mark.parametrize("reward", [Length(), Random(), fake_rewards.Picky(), fake_rewards.Picky("apple")])
def test_good_rewards_pass(reward: Reward) -> None:
    report = check_reward(reward)
    assert "batch invariance" in report.passed
    assert report.skipped["strangers"] == "it is not personal"
    assert f"{len(report.passed)} rules hold" in str(report)


def test_a_good_personal_reward_passes_every_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_rewards.register(monkeypatch)
    report = check_reward(fake_rewards.tastes("ann", "bob"))
    assert not report.skipped


def test_a_reward_that_only_compares() -> None:
    report = check_reward(fake_rewards.Duel())
    assert {"prefer", "rank"} <= set(report.passed)
    assert report.skipped["batch invariance"] == "it compares, it does not score"


def lengths(candidates: Candidates) -> np.ndarray:
    return np.array([float(len(as_text(r))) for r in candidates.responses])


def made(score: Callable[[Candidates], Scores], **more: Any) -> Reward:
    """A reward of one function, with further methods or attributes."""
    reward = type("Made", (Reward,), {"score": lambda self, c: score(c), **more})()
    reward.name = "made"
    return reward


rng = np.random.default_rng(0)
seen: list[int] = []


def changes_input(candidates: Candidates) -> Scores:
    candidates.extra["noted"] = [1] * len(candidates)
    return Scores(lengths(candidates))


def only_once(candidates: Candidates) -> Scores:
    """Drifts: every call adds a little."""
    seen.append(1)
    return Scores(lengths(candidates) + 0.001 * len(seen))


def needs_text(candidates: Candidates) -> Scores:
    return Scores(np.array([float(len(r)) for r in candidates.responses]))  # a chat of one message has length 1


def short_only(candidates: Candidates) -> Scores:
    if any(len(as_text(r)) > 10_000 for r in candidates.responses):
        raise RuntimeError("index out of range")
    return Scores(lengths(candidates))


def some_status(candidates: Candidates) -> Scores:
    value = lengths(candidates)
    return Scores(np.where(value == 0, np.nan, value), ["scored"] * len(value))


def zero_for_missing(candidates: Candidates) -> Scores:
    value = lengths(candidates)
    return Scores(value, ["failed" if v == 0 else "scored" for v in value])


BROKEN: dict[str, tuple[Reward, str]] = {
    "well formed": (made(lambda c: Scores(np.full(len(c), np.inf))), "a score is infinite"),
    "determinism": (made(lambda c: Scores(lengths(c) + rng.random(len(c)))), "scored twice"),
    "drift": (made(only_once), "determinism: scored twice"),
    "batch invariance": (
        made(lambda c: Scores(lengths(c) / max(len(c), 1))),
        "in batches of 1 instead of all at once",
    ),
    "permutation": (made(lambda c: Scores(np.sort(lengths(c)))), "permutation: shuffled"),
    "input untouched": (made(changes_input), "scoring changed the candidates"),
    "empty batch": (
        made(lambda c: Scores(lengths(c) if len(c) else np.zeros(1))),
        "0 candidates got 1 scores",
    ),
    "hard texts": (made(short_only), "hard texts: raised RuntimeError: index out of range"),
    "nan is not scored": (made(some_status), "unscored: candidate 0 is NaN but has status 'scored'"),
    "missing is not zero": (made(zero_for_missing), "has status 'failed' and yet a score, 0"),
    "unknown status": (made(lambda c: Scores(lengths(c), ["fine"] * len(c))), "status ['fine'] is not one of"),
    "std": (made(lambda c: Scores(lengths(c), std=-np.ones(len(c)))), "std of a scored candidate is missing or neg"),
    "chat": (made(needs_text), "as chat messages instead of text: value of candidate 0 is 1, not 9"),
    "nobody": (
        made(lambda c: Scores(lengths(c) + (c.user is not None))),
        "nobody: with a user column of None",
    ),
    "prefer range": (
        made(lambda c: Scores(lengths(c)), prefer=lambda self, a, b: Scores(lengths(a) - lengths(b))),
        "which is no probability",
    ),
    "prefer is skewed": (
        made(lambda c: Scores(lengths(c)), prefer=lambda self, a, b: Scores(np.full(len(a), 0.7))),
        "P(a over b) + P(b over a) is off 1 by 0.4",
    ),
    "rank": (made(lambda c: Scores(lengths(c)), rank=lambda self, c: Scores(np.zeros(1))), "12 candidates got 1 ranks"),
    "trl call": (
        made(
            lambda c: Scores(np.where(lengths(c) < 5, np.nan, lengths(c))),
            __call__=lambda self, prompts, completions, **kw: [float(len(c)) for c in completions],
        ),
        "is unscored and got 3.0 instead of None",
    ),
    "no score at all": (made(lambda c: Scores(np.full(len(c), np.nan))), "none of the candidates could be scored"),
    "not scores": (made(lambda c: lengths(c)), "score() gave a ndarray, not Scores"),  # type: ignore[arg-type,return-value]
    "wrong number": (made(lambda c: Scores(np.zeros(3))), "12 candidates got 3 scores"),
    "no name": (made(lambda c: Scores(lengths(c))), "a reward needs a name"),
}
BROKEN["no name"][0].name = ""


@pytest.mark.parametrize("name", BROKEN)
def test_broken_rewards_are_caught(name: str) -> None:
    reward, message = BROKEN[name]
    with pytest.raises(AssertionError) as caught:
        check_reward(reward, users=None)
    assert message in str(caught.value)
    assert f"reward {reward.name!r} breaks" in str(caught.value)


def test_a_personal_reward_must_flag_strangers() -> None:
    quiet = made(lambda c: replace(fake_rewards.tastes("ann").score(c), reason=[None] * len(c)), users=("ann",))
    with pytest.raises(AssertionError, match="strangers: an unknown person is not flagged"):
        check_reward(quiet)
    other = made(lambda c: Scores(lengths(c) + [len(u or "") for u in c.user or [""] * len(c)]), users=("ann",))
    with pytest.raises(AssertionError, match="strangers: an unknown person instead of nobody"):
        check_reward(other)


def test_what_is_saved_must_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_rewards.register(monkeypatch)
    forgetful = fake_rewards.tastes("ann")
    monkeypatch.setattr(fake_rewards.Tastes, "restore", lambda self, arrays: None)
    with pytest.raises(AssertionError, match=r"save and load: raised ModelError: .* fails its self-test"):
        check_reward(forgetful)
    assert check_reward(forgetful, save=False).skipped["save and load"] == "save=False"


def test_a_token_that_means_padding_is_tried() -> None:
    """A transformer reward that cuts at its eos token, wherever it stands, scores a longer text like a shorter one."""

    class Tokenizer:
        eos_token = pad_token = "</s>"

    def padded(candidates: Candidates) -> Scores:
        texts = [as_text(r) for r in candidates.responses]
        longest = max(map(len, texts), default=0)  # pads to the longest and then takes the text for padding
        return Scores(np.array([float(len(t.ljust(longest, "~").split("</s>")[0])) for t in texts]))

    with pytest.raises(AssertionError, match="batch invariance"):
        check_reward(made(padded, tokenizer=Tokenizer()))


def test_rewards_of_known_candidates_only() -> None:
    """With candidates of one's own, other texts may be refused."""
    table = {"x": 1.0, "y": 2.0}

    def lookup(prompt: Any, response: Any) -> float:
        text = as_text(response)
        if text not in table:
            raise FeedbackError(f"no features for {text[:10]!r}")
        return table[text]

    report = check_reward(Function(lookup), Candidates(["p", "p"], ["x", "y"]))
    assert report.skipped["hard texts"].startswith("it takes no other texts (no features for")
    with pytest.raises(AssertionError, match="raised FeedbackError: no features for"):
        check_reward(Function(lookup))
