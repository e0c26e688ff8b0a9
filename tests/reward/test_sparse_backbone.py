"""A language model under a sparse autoencoder: what each mode trains, that features stay faithful, files, edits."""

import numpy as np
import pytest
import torch

import guerdon
from guerdon.encode.prefix import base_of
from guerdon.errors import ConfigError, ModelError
from guerdon.feedback.schema import Candidates, Judgement
from guerdon.feedback.star import Feedback
from guerdon.reward.learned import finetune
from guerdon.reward.learned.checkpoints import Checkpoint
from guerdon.reward.learned.lasso import lasso
from guerdon.reward.learned.likelihood import compile_likelihood
from guerdon.reward.learned.sparse_backbone import MODES, SparseBackbone
from guerdon.reward.learned.sparse_head import SparseHead, standardised, truncate
from guerdon.reward.registry import MODELS
from guerdon.testing import check_reward
from tiny_models import tiny_bert, tiny_causal_lm

FAST = {
    "latent": 48,
    "k": 6,
    "sae_epochs": 8,
    "batch": 16,
    "learning_rate": 3e-3,
    "head_learning_rate": 1e-2,
    "patience": 30,
}
WORDS = ("the", "and", "rain", "sky", "blue", "fruit", "apple", "pear")


def planted(n: int, seed: int) -> Feedback:
    """The response with an exclamation mark in front is preferred."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(n):
        a, b = (" ".join(rng.choice(WORDS, 3)) for _ in range(2))
        rows.append(
            Judgement(f"{i}: sky", ("! " + a, b) if i % 2 else (b, "! " + a), (1.0, 0.0) if i % 2 else (0.0, 1.0))
        )
    return Feedback.of(rows)


def accuracy(reward, feedback: Feedback) -> float:
    pairs, value = feedback.pairs(ties=False), reward.score(feedback.candidates).value
    return float(np.mean((value[pairs.a] > value[pairs.b]) == (pairs.p > 0.5)))


@pytest.fixture(scope="module")
def lm(tmp_path_factory):
    return tiny_causal_lm(tmp_path_factory.mktemp("lm") / "m", chat_template=False)


@pytest.fixture(scope="module")
def fitted(lm):
    made = {}
    for mode in MODES:
        tuning = "lora" if mode == "language" else "full"
        made[mode] = SparseBackbone(backbone=str(lm), mode=mode, tuning=tuning, epochs=6, layer=2, **FAST).fit(
            planted(200, 1)
        )
    return made


def test_the_model_is_cut_after_the_layer_and_its_last_norm_left_out(lm):
    from transformers import AutoModelForCausalLM

    whole = AutoModelForCausalLM.from_pretrained(lm).eval()
    ids = torch.arange(5, 15)[None]
    with torch.no_grad():
        expected = whole(input_ids=ids, output_hidden_states=True).hidden_states[2]
        base = base_of(whole)
        truncate(base, 2)
        torch.testing.assert_close(base(input_ids=ids).last_hidden_state, expected)
    with pytest.raises(ConfigError, match="has 2 layers"):
        truncate(base, 3)


@pytest.mark.parametrize("mode", MODES)
def test_each_mode_learns_saves_loads_and_keeps_the_contract(fitted, mode, tmp_path):
    reward = fitted[mode]
    # the states of a random language model know little of the first word, so the head alone does not either
    assert accuracy(reward, planted(100, 9)) > (0.55 if mode == "head" else 0.85)
    again = guerdon.load(reward.save(tmp_path / "m"))
    assert isinstance(again, SparseBackbone)
    asked = planted(20, 5).candidates
    np.testing.assert_allclose(again.score(asked).value, reward.score(asked).value, atol=1e-5)
    assert again.explain(asked).keys() == reward.explain(asked).keys()
    check_reward(reward)


def test_what_moves_in_which_mode(lm, fitted):
    from transformers import AutoModel

    before = AutoModel.from_pretrained(lm)
    old = before.layers[0].mlp.up_proj.weight
    for mode, reward in fitted.items():
        body = base_of(reward.model).layers[0].mlp.up_proj.weight
        assert torch.equal(body, old) == (mode == "head"), mode
        same = np.array_equal(reward.head.encode.detach().numpy(), reward.sae.encode)
        assert same == (mode in ("head", "language")), mode
        assert np.abs(reward.weight).max() > 0


def test_reconstruction_keeps_the_features_faithful(fitted):
    told = {mode: reward.summary for mode, reward in fitted.items()}
    assert told["head"]["nmse"] == pytest.approx(told["head"]["nmse_before"], rel=0.3)
    assert told["detached"]["nmse"] < told["language"]["nmse"]
    assert told["joint"]["nmse"] < told["language"]["nmse"]


def test_gradients_of_the_recipe_go_where_the_paper_says():
    """Preference: into states and head, not the autoencoder; reconstruction: into the autoencoder, not the states."""
    torch.manual_seed(0)
    head = SparseHead(8, 20, 4, detached=True)
    for p in head.parameters():
        torch.nn.init.normal_(p)
    h = torch.randn(5, 8, requires_grad=True)
    head(h).sum().backward()
    assert h.grad is not None
    assert h.grad.abs().max() > 0
    assert head.encode.grad is None
    assert head.score.weight.grad is not None
    h.grad = head.score.weight.grad = None
    head.nmse(h).mean().backward()
    assert h.grad is None
    assert head.encode.grad is not None
    assert head.decode.grad is not None
    assert head.score.weight.grad is None
    score = head(h).detach().clone()
    with torch.no_grad():
        head.decode.mul_(3.0)  # the decoder's lengths mean nothing to the score
    torch.testing.assert_close(head(h), score)


def test_the_head_is_the_autoencoder_and_its_slow_twin(fitted):
    head, asked = fitted["joint"].head, planted(10, 3).candidates
    h = torch.as_tensor(fitted["joint"].hidden(asked), dtype=torch.float32)
    x = standardised(h).numpy()
    with torch.no_grad():
        np.testing.assert_allclose(head.latents(h).numpy(), head.autoencoder()(x).toarray(), atol=1e-5)
        assert float(head.nmse(h).mean()) == pytest.approx(head.autoencoder().report(x)["nmse"], rel=1e-4)
    np.testing.assert_allclose(x.mean(1), 0, atol=1e-5)
    np.testing.assert_allclose(x.std(1), 1, atol=1e-3)


def test_reconstruction_counts_the_tokens_of_the_response_alone(fitted):
    """Against one text at a time, states by the model itself."""
    reward = fitted["detached"]
    feedback = planted(6, 4)
    texts, _ = reward._texts(feedback)
    used = feedback.used
    loss = reward._language(feedback, texts, reward._compile(feedback, texts)[0])
    assert loss is not None
    sequences = [texts.sequences[i] for i in used]
    starts = reward._starts(feedback)[used]
    total, count = 0.0, 0
    with torch.no_grad():
        for ids, start in zip(sequences, starts, strict=True):
            states = base_of(reward.model)(input_ids=torch.from_numpy(ids)[None]).last_hidden_state[0, start:]
            total, count = total + float(reward.head.nmse(states).sum()), count + len(states)
        parts = []
        for batch in reward.readout.plan(sequences, [0] * len(sequences), 60):
            parts.append(loss.run(reward.readout, sequences, starts, batch)[1])
        ell = torch.cat(parts)
    assert float(ell[:, 1].sum()) == count
    assert float(loss.mean(None, used, texts, ell)) == pytest.approx(total / count, rel=1e-4)  # type: ignore[arg-type]


def test_contributions_sum_to_the_score_and_edits_change_them(fitted, tmp_path):
    reward, asked = fitted["detached"], planted(20, 7).candidates
    told = np.sum([np.asarray(v) for v in reward.explain(asked).values()], 0)
    np.testing.assert_allclose(told, reward.score(asked).value, atol=1e-4)
    assert all(len(row) <= 6 for row in reward.attribute(asked))
    z = reward.activations(asked).toarray()
    feature = int(np.argmax(np.abs((z * reward.weight).sum(0))))
    silent = reward.edit({feature: ("*", 0.0)})
    expected = reward.score(asked).value - z[:, feature] * reward.weight[feature]
    np.testing.assert_allclose(silent.score(asked).value, expected, atol=1e-4)
    assert reward.head.factor.min() == 1
    again = guerdon.load(silent.save(tmp_path / "edited"))
    np.testing.assert_allclose(again.score(asked).value, expected, atol=1e-4)
    more = silent.edit({feature: ("+", 2.0)})
    expected = reward.score(asked).value + 2 * (z[:, feature] != 0) * reward.weight[feature]
    np.testing.assert_allclose(more.score(asked).value, expected, atol=1e-4)
    found = reward.decisive(planted(30, 3), Feedback.of([Judgement("x", ("rain sky", "the sky"), (1.0, 0.0))]))
    assert len(found)


def test_a_pretrained_autoencoder_is_used_and_must_fit(lm):
    texts = planted(40, 2).candidates
    reward = SparseBackbone(backbone=str(lm), mode="head", layer=1, **FAST).pretrain(texts)
    sae = reward.sae
    reward.fit(planted(60, 1))
    assert reward.sae is sae
    reward.settings["layer"] = 2
    with pytest.raises(ModelError, match="trained on"):
        reward.fit(planted(60, 1))


@pytest.mark.parametrize("topk", [True, False])
def test_half_precision_of_a_gpu_trains_the_same_reward(lm, monkeypatch, topk):
    settings = {**FAST, "backbone": str(lm), "layer": 2, "tuning": "full", "epochs": 4, "topk": topk}
    monkeypatch.setattr(finetune, "_autocast", lambda readout: torch.autocast("cpu", torch.bfloat16))
    reward = SparseBackbone(**settings, share_prefix=False).fit(planted(200, 1))  # on CPUs it knows no packed attention
    assert accuracy(reward, planted(100, 9)) > 0.8
    assert all(p.dtype == torch.float32 for p in reward.head.parameters())


def test_a_second_fit_is_as_the_first(lm):
    """The autoencoder of an earlier fit plays no part in the next one."""
    settings, asked = {**FAST, "backbone": str(lm), "mode": "head", "layer": 1}, planted(10, 5).candidates
    fresh = SparseBackbone(**settings).fit(planted(60, 1))
    again = SparseBackbone(**settings).fit(planted(60, 2)).fit(planted(60, 1))
    np.testing.assert_allclose(again.score(asked).value, fresh.score(asked).value, atol=1e-6)


def test_l1_gives_shorter_explanations(lm):
    made = [
        SparseBackbone(backbone=str(lm), mode="head", layer=2, l1=l1, keep="last", **FAST).fit(planted(200, 1))
        for l1 in (0.0, 0.02)
    ]
    assert made[1].summary["features_used"] < 0.6 * made[0].summary["features_used"]
    assert made[1].summary["features_used"] > 0


def test_all_preactivations_are_not_sparse_but_add_up_and_can_be_edited(lm, tmp_path):
    """The released recipe: a head on every latent tells its scores by all of them."""
    reward = SparseBackbone(backbone=str(lm), topk=False, layer=2, epochs=4, tuning="full", **FAST).fit(planted(200, 1))
    asked = planted(20, 7).candidates
    assert accuracy(reward, planted(100, 9)) > 0.8
    z = reward.activations(asked).toarray()
    assert np.count_nonzero(z, axis=1).min() == 48
    told = np.sum([np.asarray(v) for v in reward.explain(asked).values()], 0)
    np.testing.assert_allclose(told, reward.score(asked).value, atol=1e-4)
    feature = int(np.argmax(np.abs(reward.weight)))
    again = guerdon.load(reward.edit({feature: ("*", 0.0)}).save(tmp_path / "m"))
    expected = reward.score(asked).value - z[:, feature] * reward.weight[feature]
    np.testing.assert_allclose(again.score(asked).value, expected, atol=1e-4)


def test_of_many_tokens_a_random_choice_is_held(lm):
    texts = planted(40, 2).candidates
    made = []
    for most in (200_000, 50):
        reward = SparseBackbone(backbone=str(lm), layer=1, sae_tokens=most, batch_tokens=60, **FAST).pretrain(texts)
        rendered = reward.renderer(texts)
        starts = reward.renderer.response_starts(texts, rendered)
        made.append(reward._token_states(rendered.tokens, starts, texts.prompts))
    every, few = made
    assert len(every) == sum(len(t) - s for t, s in zip(rendered.tokens, starts, strict=True))
    assert few.shape == (50, every.shape[1])
    nearest = np.abs(few[:, None] - every[None]).max(2)
    assert nearest.min(1).max() < 1e-4
    assert len(set(nearest.argmin(1) // 20)) > 5  # from all over the texts


@pytest.mark.parametrize("other", [{}, {"mode": "joint"}, {"k": 5}])
def test_a_killed_fit_goes_on_and_another_does_not_take_it_over(lm, tmp_path, monkeypatch, other):
    class Killed(Exception):
        """What a stopped process looks like from inside."""

    data, place = planted(120, 1), tmp_path / "c"
    settings = {**FAST, "layer": 1, "epochs": 2, "tuning": "full", "backbone": str(lm)}
    whole = SparseBackbone(**{**settings, **other}).fit(data)
    save, saves = Checkpoint.save, []

    def save_then_die(self, *args):
        save(self, *args)
        saves.append(args)
        if len(saves) == 4:
            raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(Checkpoint, "save", save_then_die)
        with pytest.raises(Killed):
            SparseBackbone(**settings, checkpoint=str(place)).fit(data)
    resumed = SparseBackbone(**{**settings, **other}, checkpoint=str(place)).fit(data)
    np.testing.assert_allclose(resumed.score(data.candidates).value, whole.score(data.candidates).value, atol=1e-5)
    assert resumed.summary["held_out_loss"] == whole.summary["held_out_loss"]


@pytest.mark.parametrize("l1", [0.003, 0.03])
def test_lasso_is_scikit_learns(l1):
    linear = pytest.importorskip("sklearn.linear_model")
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(240, 12)), np.r_[2.0, -1.0, np.zeros(10)]
    rows = []
    for i in range(120):
        a, b = 2 * i, 2 * i + 1
        first = rng.random() < 1 / (1 + np.exp(-(x[a] - x[b]) @ w))
        rows.append(Judgement(f"{i}", (f"{a}", f"{b}"), (float(first), float(not first))))
    feedback = Feedback.of(rows)
    pairs, order = feedback.pairs(), [int(t) for t in feedback.candidates.responses]
    features = x[order]
    mine = lasso(features, compile_likelihood("bradley-terry", feedback), l1)[0]
    d = features[pairs.a] - features[pairs.b]
    both, labels = np.r_[d, -d], np.r_[pairs.p > 0.5, pairs.p <= 0.5]
    other = linear.LogisticRegression(
        l1_ratio=1.0, C=1 / (l1 * len(both)), fit_intercept=False, solver="liblinear", tol=1e-9, max_iter=10_000
    ).fit(both, labels)
    np.testing.assert_allclose(mine, other.coef_[0], atol=2e-3)
    np.testing.assert_array_equal(mine == 0, np.abs(other.coef_[0]) < 1e-9)


def test_what_it_refuses(lm, tmp_path):
    with pytest.raises(ConfigError, match="mode='all' is unknown"):
        SparseBackbone(mode="all")
    with pytest.raises(ConfigError, match="k=9"):
        SparseBackbone(latent=4, k=9)
    with pytest.raises(ConfigError, match="reads both ways"):
        SparseBackbone(backbone=str(tiny_bert(tmp_path / "b")), **FAST).fit(planted(20, 0))
    with pytest.raises(ModelError, match="not fitted"):
        SparseBackbone(backbone=str(lm)).activations(Candidates(["a"], ["b"]))
    assert MODELS["sarm"].make(backbone=str(lm), mode="joint").settings["mode"] == "joint"
