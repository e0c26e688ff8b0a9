"""Rewards read off likelihoods, against one plain forward pass a text."""

from pathlib import Path

import numpy as np
import pytest
import torch

from guerdon.feedback.schema import Candidates
from guerdon.generate import LocalModel
from guerdon.reward.implicit import LogRatio, ReferenceFree, YesNo, dpo_implicit, prompt_contrast
from guerdon.testing import check_reward
from tiny_models import tiny_causal_lm

Models = tuple[LocalModel, LocalModel]
PAIRS = Candidates(["Name a fruit."] * 3 + ["Why?"], ["An apple.", "No.", "An apple.", "Because the sky is blue."])


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    folder: Path = tmp_path_factory.mktemp("lm")
    a, b = (LocalModel(str(tiny_causal_lm(folder / str(s), seed=s)), device="cpu") for s in (0, 1))
    return a, b


def by_hand(model: LocalModel, messages: list[dict[str, str]], response: str) -> np.ndarray:
    tokenizer = model.tokenizer
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    start = len(tokenizer(text, add_special_tokens=False)["input_ids"])
    ids = tokenizer(text + response, add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        logprob = model.model(torch.tensor([ids])).logits[0].log_softmax(-1)
    return np.array([float(logprob[i - 1, ids[i]]) for i in range(start, len(ids))])


def test_dpo_implicit_equals_plain_passes_and_its_tokens_add_up(models: Models) -> None:
    reward = dpo_implicit(*models, beta=0.3)
    scores, tokens = reward.score(PAIRS), reward.tokens(PAIRS)
    for i, c in enumerate(PAIRS):
        chat = [{"role": "user", "content": str(c.prompt)}]
        expected = 0.3 * (by_hand(models[0], chat, str(c.response)) - by_hand(models[1], chat, str(c.response)))
        assert tokens[i] == pytest.approx(expected, abs=1e-4)
        assert scores.value[i] == pytest.approx(expected.sum(), abs=1e-3)


def test_without_a_reference_the_tokens_are_summed_averaged_or_normed(models: Models) -> None:
    values = {length: ReferenceFree(models[0], length=length).score(PAIRS).value for length in ("sum", "mean", "norm")}
    for i, c in enumerate(PAIRS):
        each = by_hand(models[0], [{"role": "user", "content": str(c.prompt)}], str(c.response))
        expected = {"sum": each.sum(), "mean": each.mean(), "norm": -np.sqrt((each**2).sum())}
        assert {k: v[i] for k, v in values.items()} == pytest.approx(expected, abs=1e-3)
    check_reward(ReferenceFree(models[0]), save=False)


def test_the_contrast_reads_the_system_prompt_and_exemplars(models: Models) -> None:
    reward = prompt_contrast(models[0], "Be brief.", exemplars=[("Hi", "Hello")])
    one = reward.score(PAIRS.take([0])).value[0]
    user = {"role": "user", "content": "Name a fruit."}
    shown = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    above = by_hand(models[0], [{"role": "system", "content": "Be brief."}, *shown, user], "An apple.")
    assert one == pytest.approx((above - by_hand(models[0], [user], "An apple.")).mean(), abs=1e-4)
    assert reward.score(PAIRS).value[0] == pytest.approx(one, abs=1e-4)


def test_nothing_to_tell_apart_is_zero(models: Models) -> None:
    a = models[0]
    assert LogRatio(a, a).score(PAIRS).value == pytest.approx(0)
    assert prompt_contrast(a, "Be kind.", "Be kind.").score(PAIRS).value == pytest.approx(0)


def test_yes_no_pools_spellings_and_renormalizes(models: Models) -> None:
    reward = YesNo(models[0], labels=("y", "n"))
    scores = reward.score(PAIRS)
    tokenizer = models[0].tokenizer
    spelled = [tokenizer.decode([t]).strip().casefold() for t in range(len(tokenizer))]
    for i, c in enumerate(PAIRS):
        logits = torch.from_numpy(models[0].logits([reward.ask(str(c.prompt), str(c.response))])[0])
        yes, no = (logits[[s == label for s in spelled]].double().logsumexp(0) for label in "yn")
        assert scores.value[i] == pytest.approx(float(yes - no), abs=1e-4)
    flipped = YesNo(models[0], labels=("y", "n"), wanted="no").score(PAIRS)
    assert flipped.value == pytest.approx(-scores.value)


def test_empty_and_too_long_responses_are_unscored(models: Models) -> None:
    odd = Candidates(["Hi"] * 3, ["", "x" * 2000, "fine"])
    for reward in (dpo_implicit(*models), YesNo(models[0])):
        scores = reward.score(odd)
        assert list(scores.status) == ["invalid", "too_long", "scored"]
        assert all(scores.reason[:2])


def test_they_keep_the_contract(models: Models) -> None:
    check_reward(dpo_implicit(*models), save=False)
    check_reward(YesNo(models[0]), save=False)
