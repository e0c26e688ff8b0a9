"""Scores that mean something: probabilities come out as the rates people show."""

from collections.abc import Callable

import numpy as np
import pytest
from scipy.special import expit
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from guerdon.errors import ConfigError, FeedbackError
from guerdon.feedback.schema import Candidates, Judgement
from guerdon.feedback.star import Feedback
from guerdon.reward.base import Function, Reward
from guerdon.reward.baselines import Length
from guerdon.reward.calibrate import LengthControlled, calibrated
from guerdon.reward.compose import negated
from guerdon.testing import check_reward

NUMBER: Reward = Function(lambda prompt, response: float(response), "number")


def compared(n: int, seed: int, rule: Callable[[np.ndarray], np.ndarray]) -> tuple[Feedback, np.ndarray, np.ndarray]:
    """Comparisons of numbers; (feedback, differences [n], what P(a preferred) is [n])."""
    rng = np.random.default_rng(seed)
    x = np.round(rng.normal(size=(n, 2)) * 3, 4)
    p = rule(x[:, 0] - x[:, 1])
    won = rng.random(n) < p
    rows = (Judgement("q", (str(a), str(b)), (float(w), float(not w))) for (a, b), w in zip(x, won, strict=True))
    return Feedback.of(rows), x[:, 0] - x[:, 1], p


def lengths() -> Feedback:
    """Two comparisons in three are won by the longer response."""
    return Feedback.of(
        Judgement("q", ("a" * i, "a" * (i + 3)), (float(i % 3 == 0), float(i % 3 > 0))) for i in range(1, 60)
    )


def sides(d: np.ndarray) -> tuple[Candidates, Candidates]:
    return Candidates(["q"] * len(d), [str(v) for v in d]), Candidates(["q"] * len(d), ["0"] * len(d))


def test_temperature_is_logistic_regression_without_intercept() -> None:
    feedback, _, _ = compared(3000, 0, lambda d: expit(0.3 * d))
    reward = calibrated(NUMBER, feedback)
    pairs = feedback.pairs()
    u = NUMBER.score(feedback.candidates).value
    z = u[pairs.a] - u[pairs.b]
    oracle = LogisticRegression(C=1e9, fit_intercept=False).fit(z[:, None], pairs.p > 0.5).coef_[0, 0]
    assert reward.slope == pytest.approx(oracle, rel=0.02)
    assert reward.slope == pytest.approx(0.3, abs=0.05)
    a, b = sides(np.array([2.0, -1.0]))
    np.testing.assert_allclose(reward.prefer(a, b).value, expit(reward.slope * np.array([2.0, -1.0])))
    check_reward(calibrated(Length(), lengths()), save=False)


def test_isotonic_finds_what_no_logistic_can() -> None:
    rule = lambda d: np.where(np.abs(d) < 2, 0.5, np.where(d > 0, 0.8, 0.2))  # noqa: E731
    feedback, _, _ = compared(6000, 1, rule)
    _, d, p = compared(2000, 2, rule)
    a, b = sides(d)
    errors = {
        k: np.mean((calibrated(NUMBER, feedback, k).prefer(a, b).value - p) ** 2) for k in ("temperature", "isotonic")
    }
    assert errors["isotonic"] < 0.3 * errors["temperature"]
    reward = calibrated(NUMBER, feedback, "isotonic")
    np.testing.assert_allclose(reward.prefer(a, b).value, 1 - reward.prefer(b, a).value, atol=1e-12)
    values = reward.prefer(*sides(np.linspace(-20, 20, 101))).value
    assert (np.diff(values) >= -1e-12).all()
    assert values.min() > 0, "no number of comparisons makes certain"
    assert values.max() < 1
    pairs = feedback.pairs()
    u = NUMBER.score(feedback.candidates).value
    z = u[pairs.a] - u[pairs.b]
    oracle = IsotonicRegression(y_min=0.5, out_of_bounds="clip").fit(np.abs(z), np.where(z >= 0, pairs.p, 1 - pairs.p))
    at = np.linspace(0.5, 8, 40)
    # theirs is joined at the ends of each level, ours in its middle: close away from the one jump
    away = np.abs(at - 2) > 0.5
    assert np.abs(reward.prefer(*sides(at)).value - oracle.predict(at))[away].max() < 0.05


def test_rates_calibrate_to_rates() -> None:
    rng = np.random.default_rng(3)
    x = np.round(rng.normal(size=(400, 2)) * 3, 4)
    p = expit(0.5 * (x[:, 0] - x[:, 1]))
    rows = (
        Judgement("q", (str(a), str(b)), (float(r), float(1 - r)), scale="probability")
        for (a, b), r in zip(x, p, strict=True)
    )
    assert calibrated(NUMBER, Feedback.of(rows)).slope == pytest.approx(0.5, abs=0.02)


def test_platt_makes_scores_probabilities_of_good() -> None:
    rng = np.random.default_rng(4)
    x = np.round(rng.normal(size=2000), 5)
    good = rng.random(2000) < expit(2 * x - 1)
    rows = (Judgement("q", (str(v),), (float(g),), scale="rating") for v, g in zip(x, good, strict=True))
    reward = calibrated(NUMBER, Feedback.of(rows), "platt")
    a, b = sides(np.array([1.0, 0.5]))
    np.testing.assert_allclose(reward.score(a).value, expit([1.0, 0.0]), atol=0.07)
    odds = reward.score(a).value / (1 - reward.score(a).value) * (1 - reward.score(b).value) / reward.score(b).value
    np.testing.assert_allclose(reward.prefer(a, b).value, odds / (1 + odds))


def test_what_cannot_be_calibrated_is_said() -> None:
    feedback, _, _ = compared(200, 5, lambda d: expit(d))
    with pytest.raises(ConfigError, match="prefers what people reject"):
        calibrated(negated(NUMBER), feedback)
    with pytest.raises(ConfigError, match="calibration 'beta' is unknown"):
        calibrated(NUMBER, feedback, "beta")
    with pytest.raises(FeedbackError, match="at least 20 comparisons"):
        calibrated(NUMBER, feedback.take(np.arange(5)))
    with pytest.raises(FeedbackError, match="for comparisons use temperature or isotonic"):
        calibrated(NUMBER, feedback, "platt")


def test_length_control_takes_out_length_and_nothing_else() -> None:
    rng = np.random.default_rng(6)
    prompts = [f"q{i % 50}" for i in range(400)]
    sizes = rng.integers(5, 200, size=400) * np.where(np.arange(400) % 50 < 25, 1, 4)
    quality = rng.integers(0, 5, size=400)
    texts = [f"{q}{'x' * int(n)}" for q, n in zip(quality, sizes, strict=True)]
    # prompts that ask for long answers have no better ones: only the slope within prompts is taken out
    reward = Function(lambda p, r: float(r[0]) + 2.0 * np.log1p(len(r)), "long-winded")
    reference = Candidates(prompts, texts)
    controlled = LengthControlled(reward, reference)
    assert controlled.slope == pytest.approx(2.0, abs=0.15)
    value = controlled.score(reference).value
    assert np.corrcoef(value, quality)[0, 1] > 0.98
    assert abs(np.corrcoef(value, np.log1p(sizes))[0, 1]) < 0.15
    check_reward(LengthControlled(Length(), Candidates(["p"] * 2, ["a", "bb"])), save=False)
    with pytest.raises(ConfigError, match="different lengths"):
        LengthControlled(Length(), Candidates(["p", "q"], ["a", "bb"]))
