"""General preference end to end: cycles on unseen prompts, a naive twin, the prompt's weights, files, bad input."""

import json

import numpy as np
import pytest
import torch
from scipy.special import expit
from transformers import AutoModel, AutoTokenizer

import guerdon
from guerdon.encode.prefix import Decoder
from guerdon.errors import ConfigError, FeedbackError, ModelError
from guerdon.feedback.schema import Candidates, Judgement
from guerdon.feedback.star import Feedback
from guerdon.reward.learned.backbone import BackboneReward
from guerdon.reward.learned.backbone_preference import BackbonePreference
from guerdon.reward.learned.minibatches import Sizes
from guerdon.reward.learned.preference_head import PreferenceHead, fit_preference_head
from guerdon.reward.learned.readout import LastToken, LastTokens
from guerdon.reward.registry import MODELS
from guerdon.testing import check_reward
from tiny_models import tiny_bert, tiny_causal_lm

SIGNS = ("rock", "paper", "scissors")
WORDS = ("the", "and", "rain", "sky", "blue", "fruit", "apple", "pear")
FAST = {"tuning": "full", "batch": 16, "learning_rate": 3e-3, "head_learning_rate": 3e-3, "epochs": 4, "patience": 30}
BRIEF = {**FAST, "epochs": 1}


def circle(n: int, seed: int) -> Feedback:
    """Comparisons of responses that end in a sign: paper beats rock, scissors paper, rock scissors. No two prompts
    are the same, also across seeds, and each sign wins and loses as often as the others."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(n):
        loser, winner = SIGNS[i % 3], SIGNS[(i + 1) % 3]
        texts = [" ".join([*rng.choice(WORDS, rng.integers(1, 3)), sign]) for sign in (loser, winner)]
        prompt, swap = f"{seed} {i}: " + " ".join(rng.choice(WORDS, 2)), rng.random() < 0.5
        rows.append(Judgement(prompt, tuple(texts[::-1] if swap else texts), (1.0, 0.0) if swap else (0.0, 1.0)))
    return Feedback.of(rows)


def accuracy(reward, feedback: Feedback) -> float:
    pairs, shown = feedback.pairs(ties=False), feedback.candidates
    p = reward.prefer(shown.take(pairs.a), shown.take(pairs.b)).value
    return float(np.mean((p > 0.5) == (pairs.p > 0.5)))


@pytest.fixture(scope="module")
def lm(tmp_path_factory):
    return str(tiny_causal_lm(tmp_path_factory.mktemp("lm") / "m", chat_template=False, pad="eos"))


@pytest.fixture(scope="module")
def fitted(lm):
    return BackbonePreference(backbone=lm, **FAST).fit(circle(300, 1))


# ---------------------------------------------------------------------- learning


def test_a_circle_is_learned_on_unseen_prompts_and_a_score_cannot(lm, fitted):
    unseen = circle(150, 2)
    assert accuracy(fitted, unseen) > 0.97
    assert fitted.summary["cyclic_share"] > 0.9
    scalar = BackboneReward(backbone=lm, **FAST).fit(circle(300, 1))
    assert accuracy(scalar, unseen) < 0.67  # at best two of the three edges


@pytest.mark.parametrize(
    "settings",
    [
        {"tuning": "lora", "lora_rank": 8, "learning_rate": 1e-2, "head_learning_rate": 1e-2},
        {"start": "random"},  # the paper's
        {"normalize": False, "scales": "none"},
        {"regularizer": "sft", "regularizer_weight": 0.1},
    ],
    ids=["lora", "random start", "free length", "text loss"],
)
def test_the_papers_options_learn_it_too(lm, settings):
    reward = BackbonePreference(backbone=lm, **{**FAST, **settings}).fit(circle(240, 1))
    assert accuracy(reward, circle(90, 2)) > 0.9
    assert reward.tau == (1.0 if settings.get("normalize") is False else 0.1)


def test_encoders_learn_it_without_the_prompts_weights(tmp_path):
    bert = str(tiny_bert(tmp_path / "m"))
    reward = BackbonePreference(backbone=bert, **FAST).fit(circle(240, 1))
    assert accuracy(reward, circle(90, 2)) > 0.9
    assert reward.summary["scales"] == "none"
    with pytest.raises(ConfigError, match="reads both ways"):
        BackbonePreference(backbone=bert, scales="prompt").fit(circle(30, 1))


def test_fine_tuning_begins_where_the_frozen_states_end(lm):
    """The head fitted to standardised states, once the scaling is in its weights, gives the loss it had."""
    data, held = circle(90, 1), circle(60, 2)
    head = BackbonePreference(backbone=lm, tuning="head").fit(data, validation=held)
    full = BackbonePreference(backbone=lm, **BRIEF).fit(data, validation=held)
    q, shown = held.pairs(), held.candidates
    p = head.prefer(shown.take(q.a), shown.take(q.b)).value
    loss = -np.mean(q.p * np.log(p) + (1 - q.p) * np.log(1 - p))
    assert loss == pytest.approx(full.summary["held_out_loss"][0][1], abs=1e-4)
    chance = BackbonePreference(backbone=lm, **BRIEF, start="random").fit(data, validation=held)
    assert loss < chance.summary["held_out_loss"][0][1]


def test_scaling_goes_into_the_weights_exactly():
    rng = np.random.default_rng(0)
    states = rng.normal(3.0, 2.0, size=(40, 12))
    data = BackbonePreference().likelihood(circle(20, 1))
    head = PreferenceHead(6, 4, normalize=False, tau=1.0, gate=True, seed=0)
    seen = []
    forward = PreferenceHead.forward

    class Spy(PreferenceHead):
        def forward(self, hidden):
            out = forward(self, hidden)
            seen.append(out.detach())
            return out

    head.__class__ = Spy
    fit_preference_head(head, states, data, data, np.arange(40), 0)  # held-out data is all: the last call of the best
    after = forward(head, torch.as_tensor(states, dtype=torch.float32))
    whole = [out for out in seen if len(out) == 40]
    assert min(float((out - after).abs().max()) for out in whole) < 1e-4


class Killed(Exception):
    """The machine went away."""


def test_a_killed_fit_goes_on_where_it_was(lm, tmp_path, monkeypatch):
    data, texts, place = circle(100, 1), circle(6, 3).candidates, tmp_path / "state"
    straight = BackbonePreference(backbone=lm, **{**FAST, "epochs": 2}).fit(data)
    cut, calls = Sizes.cut, []

    def dies(self, *args):
        calls.append(1)
        if len(calls) == 8:
            raise Killed
        return cut(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(Sizes, "cut", dies)
        with pytest.raises(Killed):
            BackbonePreference(backbone=lm, **{**FAST, "epochs": 2}, checkpoint=str(place)).fit(data)
    assert (place / "state.json").exists()
    resumed = BackbonePreference(backbone=lm, **{**FAST, "epochs": 2}, checkpoint=str(place)).fit(data)
    np.testing.assert_array_equal(resumed.table(texts), straight.table(texts))
    assert not place.exists()


# ---------------------------------------------------------------------- the twin


def test_the_naive_twin_gives_the_same_log_odds(fitted, tmp_path):
    """One text at a time through the saved transformer, blocks in a double loop with the released code's sign."""
    place = fitted.save(tmp_path / "out")
    model, tokenizer = AutoModel.from_pretrained(place / "backbone"), AutoTokenizer.from_pretrained(place / "backbone")
    head = fitted.readout.head
    prompt = "which one, the blue"
    texts = ["the rain rock", "sky paper", "scissors", "apple the and paper"]
    v, scales = [], []
    for text in texts:
        before = tokenizer(f"{prompt}\n\n")["input_ids"]
        ids = tokenizer(f"{prompt}\n\n{text}")["input_ids"]
        assert ids[: len(before)] == before
        with torch.no_grad():
            h = model(input_ids=torch.tensor([ids])).last_hidden_state[0]
            z = head.embedding.weight @ h[-1] + head.embedding.bias
            gate = head.gate.weight @ h[len(before) - 1] / len(h[0]) ** 0.5 + head.gate.bias
        v.append((z / z.norm()).double().numpy())
        scales.append(4 * torch.softmax(gate, 0).double().numpy())
    table = fitted.table(Candidates([prompt] * 4, texts))
    for i in range(4):
        for j in range(4):
            lam = np.sqrt(scales[i] * scales[j])
            s = sum(lam[m] * (v[i][2 * m] * v[j][2 * m + 1] - v[i][2 * m + 1] * v[j][2 * m]) for m in range(4)) / 0.1
            assert table[i, j] == pytest.approx(s, abs=2e-4)
    assert table[1, 0] > 0  # paper beats rock,
    assert table[2, 1] > 0  # scissors paper,
    assert table[0, 2] > 0  # and rock scissors


def test_antisymmetry_is_exact_and_n_encodings_do(fitted, monkeypatch):
    c = circle(9, 5).candidates
    table = fitted.table(c)
    assert (table == -table.T).all()
    assert (np.diag(table) == 0).all()
    run = []
    states = Decoder.states

    def counted(self, sequences, batch, starts=None):
        run.append(len(batch.rows))
        return states(self, sequences, batch, starts)

    monkeypatch.setattr(Decoder, "states", counted)
    assert fitted.table(c).shape == (18, 18)
    assert sum(run) == 18  # not 18 x 17
    a, b = np.arange(9), np.arange(9, 18)
    together = fitted.prefer_at(c, a, b, [None] * 9)
    np.testing.assert_allclose(together, expit(table[a, b]), atol=1e-6)
    np.testing.assert_allclose(fitted.prefer(c.take(a), c.take(b)).value, together, atol=1e-6)


def test_the_prompt_weighs_the_blocks_and_the_response_does_not(fitted):
    prompts = ["first: the rain", "second: apple pear"]
    c = Candidates([prompts[i % 2] for i in range(6)], ["a rock", "a rock", "paper", "paper", "the sky", ""])
    scales = fitted.embed(c).scales * fitted.tau
    np.testing.assert_allclose(scales.sum(1), 4, rtol=1e-6)  # a mean of 1
    np.testing.assert_allclose(scales[0], scales[2], atol=1e-5)
    np.testing.assert_allclose(scales[1], scales[3], atol=1e-5)
    np.testing.assert_allclose(scales[1], scales[5], atol=1e-5)  # no response: the prompt ends where the text does
    assert np.abs(scales[0] - scales[1]).max() > 1e-3
    alone = fitted.embed(Candidates(["", ""], ["rock", "the apple"])).scales * fitted.tau
    np.testing.assert_allclose(alone[0], alone[1], atol=1e-6)  # no prompt, no weights of its own


def test_the_prompts_state_is_found_in_packed_and_padded_batches(lm):
    from guerdon.reward.learned.backbone_model import open_backbone

    _, _, readout = open_backbone(lm, True)
    assert isinstance(readout, LastToken)
    last = LastTokens(readout.decoder, torch.nn.Identity(), slice(None))
    rng = np.random.default_rng(0)
    stem = rng.integers(5, 90, 12)
    sequences = [np.r_[stem, rng.integers(5, 90, n)] for n in (3, 1, 0, 5)] + [rng.integers(5, 90, 4)]
    starts = np.array([12, 12, 12, 12, 0])
    types = [(np.arange(len(s)) >= start).astype(np.int64) for s, start in zip(sequences, starts, strict=True)]
    with torch.no_grad():
        for share in (True, False):
            for batch in readout.decoder.plan(sequences, [0, 0, 0, 0, 1], 1000, share=share):
                hidden = last.hidden(sequences, types, batch)
                for row, found in zip(batch.rows, hidden, strict=True):
                    own = readout.decoder.base(input_ids=torch.tensor(sequences[row])[None]).last_hidden_state[0]
                    asked = own[starts[row] - 1] if starts[row] else torch.zeros(32)
                    torch.testing.assert_close(found, torch.cat([own[-1], asked]), atol=1e-4, rtol=1e-4)


# ---------------------------------------------------------------------- the contract, files


def test_the_contract(fitted):
    check_reward(fitted)


def test_the_same_comparisons_after_opening(fitted, tmp_path):
    c = circle(6, 8).candidates
    place = fitted.save(tmp_path / "out")
    again = guerdon.load(str(place))
    assert isinstance(again, BackbonePreference)
    np.testing.assert_allclose(again.table(c), fitted.table(c), atol=1e-4)
    np.testing.assert_allclose(again.score(c).value, fitted.score(c).value, atol=1e-4)
    assert again.params == {**fitted.params, "max_length": 512}
    assert "preference embeddings" in (place / "README.md").read_text()


@pytest.mark.parametrize("change", [{"tau": 0.5}, {"normalize": False}])
def test_settings_that_do_not_fit_the_weights_are_found(fitted, tmp_path, change):
    place = fitted.save(tmp_path / "out")
    config = json.loads((place / "config.json").read_text())
    config["guerdon"]["params"] |= change
    (place / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="fails its self-test"):
        guerdon.load(str(place))


def test_without_a_pool_it_compares_but_does_not_score(lm, tmp_path):
    reward = BackbonePreference(backbone=lm, **{**BRIEF, "pool": 0}).fit(circle(60, 1))
    c = circle(3, 2).candidates
    with pytest.raises(ModelError, match="only against others"):
        reward.score(c)
    again = guerdon.load(str(reward.save(tmp_path / "out")))
    assert isinstance(again, BackbonePreference)
    with pytest.raises(ModelError, match="only against others"):
        again.score(c)
    table = again.table(c)
    own = [table[i, [j for j in range(6) if c.prompts[j] == c.prompts[i]]].mean() for i in range(6)]
    np.testing.assert_allclose(again.score(c, vs=c).value, own, atol=1e-9)


def test_what_cannot_be_read_is_unscored_with_a_reason(lm):
    reward = BackbonePreference(backbone=lm, **{**BRIEF, "max_length": 60, "too_long": "unscored"}).fit(circle(60, 1))
    c = Candidates(["p", "p", "p", "p"], ["rock", "x" * 200, "paper", "scissors"])
    scores, ranks = reward.score(c), reward.rank(c)
    for said in (scores, ranks):
        assert list(said.status) == ["scored", "too_long", "scored", "scored"]
        assert np.isnan(said.value).tolist() == [False, True, False, False]
        assert "60" in (said.reason[1] or "")
    table = reward.table(c.take(np.array([0, 2, 3])))
    np.testing.assert_allclose(ranks.value[[0, 2, 3]], table.sum(1) / 2, atol=1e-5)
    both = reward.prefer(c.take(np.array([0, 1])), c.take(np.array([1, 2])))
    assert np.isnan(both.value).all()
    assert list(both.status) == ["too_long", "too_long"]
    reward.settings["method"] = "nash"
    assert reward.rank(c).value[[0, 2, 3]].sum() == pytest.approx(1)


# ---------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"dim": 3}, "use an even number"),
        ({"tau": 0}, "tau=0"),
        ({"method": "elo"}, "method='elo'"),
        ({"start": "zero"}, "start='zero' is unknown; use one of probe, random"),
        ({"scales": "some"}, "scales='some'"),
        ({"pool": -1}, "pool=-1"),
        ({"label_smoothing": 1.0}, "label_smoothing"),
        ({"learning_rate": 20}, "learning_rate=20"),
    ],
)
def test_settings_that_make_no_sense(settings, match):
    with pytest.raises(ConfigError, match=match):
        BackbonePreference(**settings)


def test_before_a_fit_and_without_comparisons(lm):
    with pytest.raises(ModelError, match="not fitted"):
        BackbonePreference().prefer(Candidates(["a"], ["b"]), Candidates(["a"], ["c"]))
    with pytest.raises(FeedbackError, match="implies no comparisons"):
        BackbonePreference(backbone=lm).fit(Feedback.of([Judgement("p", ("a",), (0.3,))]))


def test_every_parameter_is_documented_in_a_line():
    rows = MODELS["gpm"].parameters()
    assert len(rows) > 20
    assert all(doc for _, _, doc in rows), [name for name, _, doc in rows if not doc]
