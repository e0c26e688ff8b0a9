"""The text loss on hidden states: which tokens count, sharing prompts changes nothing, and what the settings do."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import guerdon
from guerdon.encode.prefix import base_of
from guerdon.encode.rendering import Renderer
from guerdon.errors import ConfigError
from guerdon.feedback.schema import Candidates, Judgement
from guerdon.feedback.star import Feedback
from guerdon.reward.learned import finetune
from guerdon.reward.learned.backbone import BackboneReward
from guerdon.reward.learned.backbone_model import language_head, open_backbone
from guerdon.reward.learned.likelihood import compile_likelihood
from guerdon.reward.learned.minibatches import Texts
from guerdon.reward.learned.regularizers import LanguageRegularizer, TextLoss, verdicts
from guerdon.reward.registry import MODELS
from guerdon.testing import check_reward
from tiny_models import tiny_bert, tiny_causal_lm

TEXTS = [
    ("the rain in spain", "falls on the plain"),
    ("the rain in spain", "falls"),
    ("the rain in spain", ""),
    ("apples", "and pears and plums"),
    ("", "nothing was asked"),
]
FAST = {"learning_rate": 1e-3, "head_learning_rate": 1e-3, "epochs": 1, "batch": 8, "device": "cpu", "keep": "last"}


@pytest.fixture(scope="module", params=[True, False], ids=["chat", "joined"])
def lm(request, tmp_path_factory):
    return tiny_causal_lm(tmp_path_factory.mktemp("lm") / "m", chat_template=request.param)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return tiny_causal_lm(tmp_path_factory.mktemp("plain") / "m", chat_template=False)


def comparisons(n: int = 24, seed: int = 0) -> Feedback:
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(n):
        a, b = (" ".join(rng.choice(["rain", "sky", "apple", "pear"], 4)) for _ in range(2))
        rows.append(Judgement(f"say {i % 8}", (a + " !", b), (1.0, 0.0)))
    return Feedback.of(rows)


def opened(path: Path, share: bool = True):
    model, tokenizer, readout = open_backbone(str(path), share)
    return model, tokenizer, readout, language_head(str(path), model)


def naive(path: Path, prompt_tokens: np.ndarray, tokens: np.ndarray) -> float:
    """Sum of log p(token) of the tokens after the prompt's, one text at a time, by the causal model itself."""
    causal = AutoModelForCausalLM.from_pretrained(path).eval()
    with torch.no_grad():
        logp = torch.log_softmax(causal(input_ids=torch.from_numpy(tokens)[None]).logits[0], -1)
    start = max(len(prompt_tokens), 1)
    return float(sum(logp[t - 1, tokens[t]] for t in range(start, len(tokens))))


@pytest.mark.parametrize("share", [None, True, False])
def test_likelihoods_are_those_of_the_response_alone(lm, share):
    model, tokenizer, readout, head = opened(lm)
    candidates = Candidates(*(list(c) for c in zip(*TEXTS, strict=True)))
    renderer = Renderer(tokenizer, model.config, pairs=False)
    rendered = renderer(candidates)
    sequences = [t for t in rendered.tokens if t is not None]
    assert len(sequences) == len(TEXTS)
    starts = renderer.response_starts(candidates, rendered)
    language = LanguageRegularizer(head, 0.1, TextLoss("sft"), starts)
    got = np.full(len(sequences), np.nan)
    with torch.no_grad():
        for batch in readout.decoder.plan(sequences, list(candidates.prompts), 40, share=share):
            values, ell = language.run(readout, sequences, starts, batch)
            got[batch.rows] = ell.numpy()
            np.testing.assert_allclose(values.numpy(), readout.values(sequences, None, batch).numpy(), atol=1e-5)
    for i, (prompt, _) in enumerate(TEXTS):
        before = sequences[i][: starts[i]]
        assert got[i] == pytest.approx(naive(lm, before, sequences[i]), abs=2e-3)
        if prompt:
            read = tokenizer.decode(before)
            assert prompt in read
            assert TEXTS[i][1] == "" or TEXTS[i][1] not in read


def test_a_response_without_tokens_contributes_nothing(plain):
    _, _, _, head = opened(plain)
    sequences = [np.array([7, 8, 9, 10]), np.array([7, 8]), np.array([7, 8, 11])]
    texts = Texts(sequences, None, np.zeros(3, dtype=int))
    feedback = Feedback.of([Judgement("p", ("a", "b", "c"), (0.0, 1.0, 0.0))])  # the empty one is chosen
    data = compile_likelihood("bradley-terry", feedback)
    ell = torch.tensor([-3.0, 0.0, -2.0], requires_grad=True)
    for kind in ("sft", "dpo"):
        language = LanguageRegularizer(head, 0.1, TextLoss(kind), np.full(3, 2))
        loss = language.mean(data.take(np.flatnonzero(verdicts(data)[0] == 1)), np.arange(3), texts, ell)
        assert float(loss.detach()) == 0.0
        (grad,) = torch.autograd.grad(loss, ell)
        assert (grad == 0).all()


def test_text_losses_are_the_formulas():
    chosen, rejected = torch.tensor([-40.0, -1.0]), torch.tensor([-30.0, -2.0])
    s = torch.nn.functional.logsigmoid
    torch.testing.assert_close(TextLoss("sft", 0.1)(chosen, rejected), -s(0.1 * chosen))
    torch.testing.assert_close(TextLoss("sft", 0.1, logsigmoid=False)(chosen, rejected), -chosen)
    torch.testing.assert_close(TextLoss("dpo", 0.1)(chosen, rejected), -s(0.1 * (chosen - rejected)))


def test_sft_reads_the_chosen_response_only_and_ties_choose_nothing():
    feedback = Feedback.of([Judgement("p", ("a", "b"), (0.0, 1.0)), Judgement("p", ("c", "d"), (1.0, 1.0))])
    chosen, rejected, weight = verdicts(compile_likelihood("bradley-terry", feedback))
    assert (chosen[0], rejected[0]) == (1, 0)
    assert weight.tolist() == [1.0, 0.0]
    ranking = compile_likelihood("plackett-luce", Feedback.of([Judgement("p", ("a", "b", "c"), (1.0, 3.0, 2.0))]))
    assert [int(x[0]) for x in verdicts(ranking)[:2]] == [1, 0]


def test_weight_zero_is_bradley_terry_to_the_bit(plain):
    train, test = comparisons(), comparisons(6, seed=5).candidates
    common = {"backbone": str(plain), "value_head": "mlp", "value_width": 16, "start": "zero", **FAST}
    a = BackboneReward(**common).fit(train)
    b = BackboneReward(**common, regularizer="sft", regularizer_weight=0.0).fit(train)
    c = BackboneReward(**common, regularizer="sft", regularizer_weight=0.3).fit(train)
    np.testing.assert_array_equal(a.score(test).value, b.score(test).value)
    assert np.abs(a.score(test).value - c.score(test).value).max() > 1e-4


def test_the_step_is_the_convex_combination_of_both_gradients(plain):
    """One step's gradient equals autograd of (1 - alpha) BT + alpha SFT written out on padded single texts."""
    reward = BackboneReward(backbone=str(plain), regularizer="sft", regularizer_weight=0.3, **FAST)
    reward._open()
    feedback = comparisons(6)
    texts, _ = reward._texts(feedback)
    data, _ = reward._compile(feedback, texts)
    language = reward._language(feedback, texts, data)
    reward.model.requires_grad_(True)
    with torch.no_grad():
        reward.readout.head.weight.normal_(generator=torch.Generator().manual_seed(0))
    embed = base_of(reward.model).get_input_embeddings().weight
    recipe = reward._recipe("full")
    sizes = finetune.Sizes(reward.readout, texts, finetune.members(data)[0])
    theta = torch.zeros(0, dtype=torch.float64)
    finetune._gradients(reward.readout, texts, data, theta, np.arange(6), sizes, recipe, finetune.History(), language)
    got = embed.grad.clone()
    reward.model.zero_grad()

    base = base_of(reward.model)
    total = torch.zeros(())
    for a, b in zip(data.pairs.a, data.pairs.b, strict=True):
        values, ells = [], []
        for i in (a, b):  # a is the better response of every pair here
            ids = torch.from_numpy(texts.sequences[i])[None]
            hidden = base(input_ids=ids).last_hidden_state[0]
            values.append(reward.readout.head(hidden[-1])[0])
            logp = torch.log_softmax(reward.lm_head(hidden), -1)
            start = int(language.starts[i])
            ells.append(sum(logp[t - 1, ids[0, t]] for t in range(start, ids.shape[1])))
        bt = -torch.nn.functional.logsigmoid(values[0] - values[1])
        sft = -torch.nn.functional.logsigmoid(0.1 * ells[0])
        total = total + (0.7 * bt + 0.3 * sft) / 6
    total.backward()
    torch.testing.assert_close(got, embed.grad, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("kind", ["sft", "dpo", "dpo-reference"])
def test_every_kind_fits_saves_and_opens(plain, tmp_path, kind):
    reward = MODELS["grm"].make(backbone=str(plain), regularizer=kind, value_width=16, **FAST).fit(comparisons())
    if kind == "sft":
        assert "save and load" in check_reward(reward, long=False).passed
    again = guerdon.load(reward.save(tmp_path / "m"))
    assert again.name == "grm"
    said = json.loads((tmp_path / "m" / "config.json").read_text())["guerdon"]["params"]
    assert (said["regularizer"], said["value_head"], said["value_width"]) == (kind, "mlp", 16)
    texts = comparisons(5, seed=3).candidates
    np.testing.assert_allclose(again.score(texts).value, reward.score(texts).value, atol=1e-5)
    assert again.hidden(texts).shape == (10, 32)


def test_the_padding_side_does_not_change_rewards(plain):
    reward = MODELS["grm"].make(backbone=str(plain), value_width=16, **FAST).fit(comparisons())
    texts = comparisons(8, seed=3).candidates
    before = reward.score(texts).value
    for side in ("left", "right"):
        reward.tokenizer.padding_side = side
        np.testing.assert_array_equal(reward.score(texts).value, before)


def test_adapters_leave_the_language_head_frozen_and_tied_weights_are_trained_once(tmp_path):
    path = tiny_causal_lm(tmp_path / "lm", chat_template=False)
    head = AutoModelForCausalLM.from_pretrained(path).get_output_embeddings().weight
    lora = BackboneReward(backbone=str(path), tuning="lora", lora_rank=2, regularizer="sft", **FAST).fit(comparisons(8))
    torch.testing.assert_close(lora.lm_head.weight, head, rtol=0, atol=0)
    full = BackboneReward(backbone=str(path), tuning="full", regularizer="sft", **FAST).fit(comparisons(8))
    assert (full.lm_head.weight - head).abs().max() > 0
    tied = AutoModelForCausalLM.from_pretrained(path, tie_word_embeddings=True)
    tied.tie_weights()
    tied.save_pretrained(tmp_path / "tied")
    AutoTokenizer.from_pretrained(path).save_pretrained(tmp_path / "tied")
    both = BackboneReward(backbone=str(tmp_path / "tied"), tuning="full", regularizer="sft", **FAST).fit(comparisons(8))
    assert both.lm_head.weight is base_of(both.model).get_input_embeddings().weight


def test_a_frozen_two_layer_head_and_the_pull_towards_the_start(plain):
    train = comparisons(60)
    head = BackboneReward(backbone=str(plain), tuning="head", value_head="mlp", value_width=32, device="cpu").fit(train)
    pairs, value = train.pairs(), head.score(train.candidates).value
    assert np.mean((value[pairs.a] > value[pairs.b]) == (pairs.p > 0.5)) > 0.6
    moved = []
    for pull in (0.0, 100.0):  # from zero, so the weight is what it moved by
        fast = {**FAST, "epochs": 6, "gradient_clip": 1e6, "weight_decay": 0.0, "start": "zero"}
        free = BackboneReward(backbone=str(plain), pull=pull, **fast).fit(train)
        moved.append(float(free.readout.head.weight.norm()))
    assert 0 < moved[1] < 0.5 * moved[0]


def test_settings_that_make_no_sense_are_refused(plain, tmp_path):
    with pytest.raises(ConfigError, match="frozen backbone"):
        BackboneReward(tuning="head", regularizer="sft")
    with pytest.raises(ConfigError, match="regularizer_weight"):
        BackboneReward(regularizer="sft", regularizer_weight=1.0)
    with pytest.raises(ConfigError, match="sft, dpo"):
        BackboneReward(regularizer="lm")
    bert = tiny_bert(tmp_path / "bert")
    with pytest.raises(ConfigError, match="writes no text"):
        BackboneReward(backbone=str(bert), regularizer="sft", **FAST).fit(comparisons(8))
    from tiny_models import tiny_classifier

    judge = tiny_classifier(tmp_path / "rm", chat_template=False)
    with pytest.raises(ConfigError, match="language-model head"):
        BackboneReward(backbone=str(judge), regularizer="sft", **FAST).fit(comparisons(8))
