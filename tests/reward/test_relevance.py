"""Relevance and its guards: every factor by hand, the hacks it blocks, and what it does where something is missing."""

import numpy as np
import pytest

import guerdon
from guerdon.encode.load import load_encoder
from guerdon.errors import ConfigError, FeedbackError
from guerdon.reward.base import Function
from guerdon.reward.verify.relevance import Relevance, distinct_trigrams
from guerdon.testing import check_reward

HASH = "hash:256"
QUERY = "How do I keep tomatoes fresh in summer?"
GOOD = (
    "Keep ripe tomatoes in a cool, shaded place with the stem side down, eat them within days, and put them in the "
    "fridge only once they are fully ripe, since cold stops them from getting any sweeter in the summer heat."
)


def one(text: str, reward: Relevance, **columns: object) -> tuple[float, dict[str, object], str | None]:
    given = {k: [v] for k, v in columns.items()}
    reference = given.pop("reference", None)
    scores = reward.score(guerdon.Candidates([QUERY], [text], reference=reference, extra=given))
    return float(scores.value[0]), {k: v[0] for k, v in scores.detail.items()}, scores.reason[0]


def dot(a: str, b: str) -> float:
    x = load_encoder(f"{HASH}?features=response").encode(guerdon.Candidates(["", ""], [a, b])).astype(float)
    return float(x[0] @ x[1])


def test_open_is_the_product_of_relevance_length_and_novelty() -> None:
    value, detail, _ = one(GOOD, Relevance(encoder=HASH))
    words = len(GOOD.split())
    assert detail["length"] == words / 100
    assert value == pytest.approx(dot(QUERY, GOOD) * words / 100 * distinct_trigrams(GOOD.split()))
    assert detail["query_type"] == "open"


def test_closed_compares_with_the_reference_and_does_not_pay_for_length() -> None:
    closed = Relevance(encoder=HASH, query_type="closed", scale=2.0, shift=0.25)
    reference = "A cool and shaded place."
    value, detail, _ = one("In a cool, shaded place.", closed, reference=reference)
    assert value == pytest.approx(2 * dot(reference, "In a cool, shaded place.") + 0.25)
    assert detail["to_reference"] == pytest.approx(dot(reference, "In a cool, shaded place."))


def test_trigrams_are_of_words_and_short_texts_repeat_nothing() -> None:
    assert distinct_trigrams(["a", "b", "c", "a", "b", "c"]) == 3 / 4
    assert distinct_trigrams(["aaa"]) == distinct_trigrams([]) == 1.0
    assert distinct_trigrams(("one two three " * 50).split()) == pytest.approx(3 / 148)


def test_the_hacks_it_blocks() -> None:
    """Copying the question wins by relevance alone; repeating it where length counts as well."""
    reward = Relevance(encoder="minilm")
    real, _, _ = one(GOOD, reward)
    for hack in (QUERY, " ".join([QUERY] * 5), " ".join(GOOD.split()[:12] * 20)):
        assert one(hack, reward)[0] < real
    assert one(QUERY, reward)[1]["to_query"] > one(GOOD, reward)[1]["to_query"]  # type: ignore[operator]


def test_a_cap_bounds_the_length_factor() -> None:
    capped = Relevance(encoder=HASH, cap=0.5)
    assert one(GOOD * 10, capped)[1]["length"] == 0.5
    assert one(GOOD * 10, Relevance(encoder=HASH))[1]["length"] > 3  # type: ignore[operator]


def test_a_closed_query_without_reference_falls_back_and_says_so() -> None:
    value, detail, reason = one(GOOD, Relevance(encoder=HASH, query_type="closed"))
    assert value == pytest.approx(dot(QUERY, GOOD) * distinct_trigrams(GOOD.split()))
    assert detail["to_reference"] is None
    assert "without a reference" in (reason or "")


def test_the_row_says_what_it_is_or_a_classifier_does() -> None:
    assert one(GOOD, Relevance(encoder=HASH), query_type="closed")[1]["query_type"] == "closed"
    by_length = Function(lambda prompt, response: float(len(response) > 5), "long is open")
    assert one(GOOD, Relevance(encoder=HASH, query_type=by_length))[1]["query_type"] == "open"
    assert one(GOOD, Relevance(encoder=HASH, query_type=lambda query: "closed"))[1]["query_type"] == "closed"
    silent = Function(lambda prompt, response: None, "silent")
    value, _, reason = one(GOOD, Relevance(encoder=HASH, query_type=silent))
    assert np.isnan(value)
    assert "query type" in (reason or "")
    assert np.isnan(one(GOOD, Relevance(encoder=HASH), query_type="odd")[0])


def test_text_without_spaces_needs_a_tokenizer() -> None:
    text = "トマトは涼しい日陰に置いてください"
    assert "tokenizer" in (one(text, Relevance(encoder=HASH))[2] or "")
    value, detail, reason = one(text, Relevance(encoder=HASH, tokenizer=list))
    assert reason is None
    assert detail["length"] == len(text) / 100
    assert np.isfinite(value)


def test_calibration_brings_both_branches_to_one_scale() -> None:
    rng = np.random.default_rng(0)
    words = GOOD.split()
    texts = [" ".join(rng.choice(words, rng.integers(5, 80))) for _ in range(60)]
    samples = guerdon.Candidates([QUERY] * 60, texts, reference=[GOOD] * 60)
    fitted = Relevance(encoder=HASH).calibrated(samples)
    raw = Relevance(encoder=HASH).score(samples)
    f = fitted.scale * np.array(raw.detail["to_reference"]) + fitted.shift
    assert np.quantile(f, [0.05, 0.95]) == pytest.approx(np.quantile(raw.value, [0.05, 0.95]))
    with pytest.raises(FeedbackError, match="references"):
        fitted.calibrated(guerdon.Candidates([QUERY], [GOOD]))


def test_it_opens_by_name_and_keeps_the_contract() -> None:
    rule = guerdon.load(f"rule:relevance?encoder={HASH}&cap=1.5&query_type=open")
    check_reward(rule, guerdon.Candidates([QUERY] * 3, [GOOD, "Cool.", "Bananas are yellow."]))
    with pytest.raises(ConfigError, match="cap="):
        Relevance(encoder=HASH, cap=0)
    with pytest.raises(ConfigError, match="scale="):
        Relevance(encoder=HASH, scale=-1)
