"""The language of topics: its true log-odds are Bayes' rule, its noise is what was asked for, and a model learns it."""

from pathlib import Path

import numpy as np
import pytest
import torch

from guerdon.worlds.topics import Topics


def test_the_log_odds_are_bayes_rule():
    language = Topics()
    for prompt, response, odds in language.texts(50, [0, 5], seed=3):
        *body, mark, closing = response.split()
        assert mark == "overall"
        positive = negative = 1.0
        for word in body:
            if "plus" in word or "minus" in word:
                up = "plus" in word
                positive *= language.fidelity if up else 1 - language.fidelity
                negative *= 1 - language.fidelity if up else language.fidelity
            assert word.startswith(f"t{prompt.removeprefix('topic')}")
        good = closing.startswith("good")
        positive *= language.closing if good else 1 - language.closing
        negative *= 1 - language.closing if good else language.closing
        assert odds == pytest.approx(np.log(positive / negative))


def test_the_same_seed_says_the_same_and_noise_turns_verdicts():
    language = Topics()
    assert language.texts(20, [1], 0) == language.texts(20, [1], 0)
    clean, noisy = (language.comparisons(2000, [0, 1], 7, noise=noise) for noise in (0.0, 0.25))
    assert np.mean(clean.grades != noisy.grades) == pytest.approx(0.25, abs=0.03)


def test_a_model_of_the_language_predicts_it_better_than_chance(tmp_path: Path):
    pytest.importorskip("transformers")
    language = Topics(topics=2)
    model = language.language_model(tmp_path, 0, width=16, layers=1, count=600, epochs=20)
    size = model.config.vocab_size
    from transformers import AutoTokenizer

    ids = torch.tensor([AutoTokenizer.from_pretrained(tmp_path)("topic0 t0n1 t0n2 overall")["input_ids"]])
    assert ids.shape == (1, 4)
    with torch.no_grad():
        after = torch.softmax(model(input_ids=ids).logits[0, -1], -1)
    assert after[3 : 3 + 8].sum() > 4 * 8 / size  # the closing words
