"""Steered decoding: its algebra, its caches, and that it reaches the distribution it stands for."""

import numpy as np
import pytest
import torch

from guerdon.errors import ConfigError
from guerdon.generate.continuations import Continuations
from guerdon.generate.local import LocalModel
from guerdon.steer.logit_arithmetic import Guided, LogitArithmetic, Term, Voice
from guerdon.worlds.language.personas import Personas
from tiny_models import tiny_causal_lm

PROMPTS = ["Say hello", [{"role": "user", "content": "Count to three, please"}]]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[LocalModel, LocalModel]:
    folder = tmp_path_factory.mktemp("steer")
    return tuple(LocalModel(str(tiny_causal_lm(folder / str(seed), seed=seed))) for seed in (0, 1))  # type: ignore


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> tuple[Personas, LocalModel, LocalModel]:
    """A world and two models of its words, enough trained to write no special tokens."""
    world, folder = Personas(topics=2), tmp_path_factory.mktemp("words")
    made = [world.language_model(folder / str(s), s, width=16, layers=1, count=600, epochs=3) for s in (0, 1)]
    return world, LocalModel(str(made[0])), LocalModel(str(made[1]))


def naive(base: LocalModel, prompt: object, written: list[int], voice: Voice | None = None) -> np.ndarray:
    """log p of the next token, from the whole text at once: the slow twin."""
    voice = voice or Voice(base)
    ids = [*voice.tokens([prompt])[0].tolist(), *written]  # type: ignore[list-item]
    with torch.inference_mode():
        logits = voice.model.model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1]
    return torch.log_softmax(logits.double(), -1).numpy()


def greedy(base: LocalModel, prompt: object, terms: list[Term], steps: int, top_k: int | None = None) -> list[int]:
    written: list[int] = []
    for _ in range(steps):
        first = naive(base, prompt, written)
        total = first.copy()
        for term in terms:
            total += term.weight * naive(base, prompt, written, term.source)
            if isinstance(term.anchor, Voice):
                total -= term.weight * naive(base, prompt, written, term.anchor)
            elif term.anchor:
                total -= term.weight * first
        if top_k:
            total[np.argsort(-first, kind="stable")[top_k:]] = -np.inf
        written.append(int(total.argmax()))
    return written


def test_kept_keys_and_values_change_nothing_even_when_a_text_is_taken_back(
    models: tuple[LocalModel, LocalModel],
) -> None:
    base = models[0]
    prompts = Voice(base, "Be brief").tokens(PROMPTS)
    reader = Continuations(base, prompts)
    rng = np.random.default_rng(0)
    text = torch.from_numpy(rng.integers(5, 40, (2, 9)))
    for upto, last in ((0, 1), (1, 1), (2, 1), (6, 4), (4, 2), (9, 9), (3, 1), (3, 1), (8, 1), (7, 1)):
        if upto == 7:
            text[:, 2] = torch.tensor([8, 6])  # in place, long after it was read
        if upto == 4:
            text[:, 3] = torch.tensor([7, 9])  # a rejected draft: another token there
        found = reader.logits(text[:, :upto], last)
        for row in range(2):
            for k in range(last):
                ids = [*prompts[row].tolist(), *text[row, : upto - last + 1 + k].tolist()]
                with torch.inference_mode():
                    want = base.model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1]
                torch.testing.assert_close(found[row, k], want, atol=1e-4, rtol=0)
    again = Continuations(base, prompts)
    for upto in range(10):
        again.logits(text[:, :upto])
    assert again.computed == sum(map(len, prompts)) + 2 * 9  # each token once


@pytest.mark.parametrize("top_k", [None, 5])
def test_steered_decoding_is_the_sum_of_the_scores(models: tuple[LocalModel, LocalModel], top_k: int | None) -> None:
    base, other = models
    terms = [
        Term(0.7, Voice(other)),
        Term(1.5, Voice(other, "Be kind"), Voice(other)),
        Term(-0.4, Voice(base, "Be rude"), "base"),
    ]
    replies = Guided(base, terms, top_k=top_k).generate(PROMPTS, temperature=0.0, max_tokens=6)
    for prompt, text in zip(PROMPTS, replies.text, strict=True):
        assert text == base.tokenizer.decode(greedy(base, prompt, terms, 6, top_k), skip_special_tokens=True)


def test_what_adds_nothing_changes_nothing(models: tuple[LocalModel, LocalModel]) -> None:
    base, other = models
    plain = base.generate(PROMPTS, 3, max_tokens=8, seed=3, logprobs=True)
    for terms in (
        [],
        [Term(0.0, Voice(other))],
        [Term(2.0, Voice(other, "Be kind"), Voice(other, "Be kind"))],
        [Term(3.0, Voice(base), "base")],
    ):
        steered = Guided(base, terms).generate(PROMPTS, 3, max_tokens=8, seed=3, logprobs=True)
        assert steered.text == plain.text
        for a, b in zip(steered.logprobs, plain.logprobs, strict=True):
            np.testing.assert_allclose(a.logprob, b.logprob, atol=1e-5)  # type: ignore[union-attr]


def test_one_candidate_is_the_base_models_own_choice(models: tuple[LocalModel, LocalModel]) -> None:
    base, other = models
    steered = Guided(base, [Term(9.0, Voice(other))], top_k=1).generate(PROMPTS, max_tokens=6, seed=1)
    assert steered.text == base.generate(PROMPTS, max_tokens=6, temperature=0.0).text


def test_likelihoods_are_those_of_what_is_drawn(words: tuple[Personas, LocalModel, LocalModel]) -> None:
    world, base, other = words
    prompts = [world.prompt(0), world.prompt(1)]
    guided = Guided(base, [Term(1.0, Voice(other, "persona A"), "base"), Term(0.5, Voice(base, "persona B"))], top_k=20)
    drawn = guided.generate(prompts, max_tokens=7, seed=5, logprobs=True)
    told = guided.loglikelihood(prompts, [str(t) for t in drawn.text])
    assert told.status == ["scored", "scored"]
    for given, tokens in zip(drawn.logprobs, told.tokens, strict=True):
        assert given is not None
        assert tokens is not None
        assert len(tokens) == len(given.logprob) > 0
        np.testing.assert_allclose(tokens, given.logprob, atol=1e-4)


def test_a_tilt_is_reached_exactly(models: tuple[LocalModel, LocalModel]) -> None:
    """GenARM's exact case: pi_r = (pi* / pi_base)^(1 / alpha) up to a constant; then pi_base pi_r^alpha is pi*."""
    base, target = models
    terms = [Term(1.0, Voice(target), "base")]  # log pi* - log pi_base
    guided = Guided(base, terms).generate([PROMPTS[0]], 400, max_tokens=2, seed=0)
    wanted = target.generate([PROMPTS[0]], 400, max_tokens=2, seed=0)
    assert guided.text == wanted.text  # the same uniform numbers, so the same draws, where the distributions agree


def test_it_works_in_ones_own_generate(models: tuple[LocalModel, LocalModel]) -> None:
    base, other = models
    terms = [Term(1.0, Voice(other))]
    ids = torch.from_numpy(Voice(base).tokens(PROMPTS[:1])[0])[None]
    own = base.model.generate(
        ids, max_new_tokens=5, do_sample=False, logits_processor=[LogitArithmetic(terms, PROMPTS[:1])]
    )
    assert own[0, ids.shape[1] :].tolist() == greedy(base, PROMPTS[0], terms, 5)


def test_models_of_other_tokens_are_refused(
    models: tuple[LocalModel, LocalModel], words: tuple[Personas, LocalModel, LocalModel]
) -> None:
    with pytest.raises(ConfigError, match="different tokens"):
        Guided(models[0], [Term(1.0, Voice(words[1]))])
    with pytest.raises(ConfigError, match="use a number"):
        Term(float("nan"), Voice(models[0]))
    with pytest.raises(ConfigError, match="a voice, base or nothing"):
        Term(1.0, Voice(models[0]), "bsae")
    with pytest.raises(ConfigError, match="top_k=0"):
        Guided(models[0], [], top_k=0)
