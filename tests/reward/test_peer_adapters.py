"""Two peers on one transformer: whose choice trains whom, one base in memory, mistakes left out, files."""

import copy

import numpy as np
import pytest
import torch

import guerdon
from guerdon.curate.registry import step
from guerdon.encode.prefix import base_of
from guerdon.errors import ConfigError
from guerdon.feedback.schema import Judgement
from guerdon.feedback.star import Feedback
from guerdon.reward.learned import finetune
from guerdon.reward.learned.comparisons import BradleyTerry
from guerdon.reward.learned.peer_adapters import PeerAdapters, PeerBradleyTerry
from guerdon.reward.learned.peer_selection import Review, kept
from guerdon.testing import check_reward
from tiny_models import tiny_bert, tiny_causal_lm

FAST = {"batch": 16, "learning_rate": 5e-3, "head_learning_rate": 5e-3, "epochs": 4, "lora_rank": 4}
WORDS = ("the", "and", "rain", "sky", "blue", "fruit", "apple", "pear")


def planted(n: int, seed: int, noise: float = 0.0) -> tuple[Feedback, np.ndarray]:
    """(comparisons in which the response with an exclamation mark wins, bool [n] which verdicts are wrong)."""
    rng = np.random.default_rng(seed)
    rows, wrong = [], rng.random(n) < noise
    for i in range(n):
        a, b = (" ".join(rng.choice(WORDS, 3)) for _ in range(2))
        first = bool(i % 2)
        texts = (f"{a} !", b) if first else (b, f"{a} !")
        rows.append(Judgement(f"{i}: sky", texts, (1.0, 0.0) if first != wrong[i] else (0.0, 1.0)))
    return Feedback.of(rows), wrong


def accuracy(reward, feedback: Feedback) -> float:
    pairs, value = feedback.pairs(ties=False), reward.score(feedback.candidates).value
    return float(np.mean((value[pairs.a] > value[pairs.b]) == (pairs.p > 0.5)))


@pytest.fixture(scope="module")
def lm(tmp_path_factory):
    return tiny_causal_lm(tmp_path_factory.mktemp("lm") / "m", chat_template=False)


@pytest.fixture(scope="module")
def noisy():
    return planted(240, 1, 0.25)


@pytest.fixture(scope="module", params=["score", "policy"])
def fitted(request, lm, noisy):
    settings = {**FAST, "beta": 1.0} if request.param == "policy" else FAST
    return PeerAdapters(backbone=str(lm), reads=request.param, noise=0.25, **settings).fit(noisy[0])


def test_mistakes_are_left_out_and_the_truth_is_learned(fitted, noisy):
    wrong = noisy[1]
    # a random language model's likelihoods start from nothing, so the policies are behind
    assert accuracy(fitted, planted(100, 9)[0]) > (0.85 if fitted.settings["reads"] == "score" else 0.7)
    rate = fitted.selection_rate[np.argsort(fitted.trained_on.judgement)]
    assert rate[wrong].mean() < rate[~wrong].mean() - 0.15
    assert fitted.mean_margin.shape == rate.shape
    assert fitted.summary["networks_disagree"] < 0.3


def test_saved_and_loaded_it_gives_the_same(fitted, noisy, tmp_path):
    asked = noisy[0].candidates.take(range(30))
    again = guerdon.load(fitted.save(tmp_path / "m"))
    assert isinstance(again, PeerAdapters)
    one, other = fitted.score(asked), again.score(asked)
    np.testing.assert_allclose(other.value, one.value, atol=1e-4)
    np.testing.assert_allclose(other.std, one.std, atol=1e-4)
    np.testing.assert_allclose(again.peers(asked).mean(1), other.value, atol=1e-8)
    check_reward(fitted)


def test_one_base_which_stays_as_it_was_and_two_peers_that_differ(fitted, lm, noisy):
    from transformers import AutoModelForCausalLM

    causal = AutoModelForCausalLM.from_pretrained(lm)
    for (name, p), (_, q) in zip(
        base_of(causal).named_parameters(), base_of(fitted.model).named_parameters(), strict=False
    ):
        assert torch.equal(p, q[: len(p)]), name
    adapters = sum(p.numel() for p in [*fitted.head.a.parameters(), *fitted.head.b.parameters()])
    assert adapters > 0
    values = fitted.peers(noisy[0].candidates.take(range(30)))
    assert np.abs(values[:, 0] - values[:, 1]).max() > 1e-3


def test_implicit_utilities_are_log_ratios_of_whole_models(lm, noisy):
    """Against two causal models, one with the adapters added to its weights, one text at a time."""
    from transformers import AutoModelForCausalLM

    reward = PeerAdapters(backbone=str(lm), reads="policy", beta=0.5, **{**FAST, "epochs": 1}).fit(
        noisy[0].take(range(48))
    )
    asked = noisy[0].candidates.take(range(6))
    got = reward.peers(asked)
    base = AutoModelForCausalLM.from_pretrained(lm).eval()
    rendered = reward.renderer(asked)
    starts = reward.renderer.response_starts(asked, rendered)
    for j in (0, 1):
        tuned = copy.deepcopy(base)
        with torch.no_grad():
            for name, a in reward.head.a[j].items():
                weight = base_of(tuned).get_submodule(name.replace("/", ".")).weight
                weight.add_(reward.head.scale * reward.head.b[j][name] @ a)
            for row, (ids, start) in enumerate(zip(rendered.tokens, starts, strict=True)):
                ell = []
                for model in (tuned, base):
                    logp = torch.log_softmax(model(input_ids=torch.from_numpy(ids)[None]).logits[0], -1)
                    ell.append(sum(float(logp[t - 1, ids[t]]) for t in range(max(start, 1), len(ids))))
                assert got[row, j] == pytest.approx(0.5 * (ell[0] - ell[1]), abs=2e-3)


@pytest.mark.parametrize("select", ["peer", "self"])
def test_each_peer_learns_from_what_the_other_chose(noisy, select):
    """The likelihood of both against each one's plain likelihood on the selection of the other."""
    pairs, n = noisy[0].pairs(), len(noisy[0].responses)
    u = np.random.default_rng(0).normal(size=(n, 2))
    review = Review(len(pairs), noise=0.4, warmup=0.0, select=select, curriculum="share", epochs=3)
    data = PeerBradleyTerry(pairs, n, review=review, rows=np.arange(len(pairs)))
    index = np.arange(20, 60)
    loss, du, _ = data.take(index)(u, np.zeros(0))
    batch = pairs.take(index)
    sign = np.where(batch.p > 0.5, 1, -1)
    own = [kept(sign * (v[batch.a] - v[batch.b]), 0.4) for v in u.T]
    assert set(own[0]) != set(own[1])
    total = 0.0
    for j, selection in enumerate(own[::-1] if select == "peer" else own):
        part, grad, _ = BradleyTerry(batch.take(selection), n)(u[:, j], np.zeros(0))
        np.testing.assert_allclose(du[:, j], grad)
        total += part
    assert loss == pytest.approx(total)
    assert review.chosen[index].max() > 0
    assert review.chosen[60:].sum() == 0
    held = PeerBradleyTerry(pairs, n)
    plain = BradleyTerry(pairs, n)(u.mean(1), np.zeros(0))
    np.testing.assert_allclose(held(u, np.zeros(0))[1].sum(1), plain[1])
    assert held(u, np.zeros(0))[0] == pytest.approx(plain[0])


def test_small_parts_are_ranked_with_the_margins_before_them():
    review = Review(400, noise=0.4, warmup=0.0, select="self", curriculum="share", epochs=1)
    rng = np.random.default_rng(0)
    margin = rng.normal(size=400)
    share = []
    for at in range(0, 400, 4):
        rows = np.arange(at, at + 4)
        share.append(len(review.choose(rows, [margin[rows], margin[rows]])[0]) / 4)
    assert np.mean(share[20:]) == pytest.approx(0.6, abs=0.05)
    assert margin[review.chosen > 0][100:].min() > np.quantile(margin, 0.2)


def test_easy_first_admits_half_after_the_warm_up_then_all():
    review = Review(200, noise=0.2, warmup=1.0, select="peer", curriculum="easy-first", epochs=3)
    margin = np.arange(200.0)
    sizes = []
    for _ in range(3):
        count = 0
        for at in range(0, 200, 50):
            rows = np.arange(at, at + 50)
            some = review.among(rows)
            review.choose(rows[some], [margin[rows[some]]] * 2)
            count += len(some)
        sizes.append(count)
    assert sizes == [200, 100, 200]
    assert review.easiest[0] == 199


def test_encoders_and_the_better_of_two(tmp_path):
    bert = tiny_bert(tmp_path / "b")
    settings = {**FAST, "epochs": 1, "keep": "best", "final": "better", "curriculum": "easy-first"}
    reward = PeerAdapters(backbone=str(bert), **settings).fit(planted(80, 1)[0])
    assert sorted(reward.head.share.tolist()) == [0.0, 1.0]
    assert len(reward.summary["held_out_losses"]) == 2
    with pytest.raises(ConfigError, match="writes no text"):
        PeerAdapters(backbone=str(bert), reads="policy", **FAST).fit(planted(40, 1)[0])


@pytest.mark.parametrize("reads", ["score", "policy"])
def test_curate_writes_what_the_peers_chose(lm, noisy, reads):
    # adapters of rank 16, the default, on a random model learn mistakes by heart at the pace of the other tests
    settings = {"batch": 16, "epochs": 4, "beta": 1.0, "learning_rate": 5e-3 if reads == "score" else 2e-3}
    curated = step("peer")(noisy[0], noise=0.25, backbone=str(lm), reads=reads, **settings)
    done = np.array(curated.decisions["action"].to_pylist())
    suspect = done == "dropped"
    assert 0.02 < suspect.mean() <= 0.25
    assert noisy[1][suspect].mean() > 1.8 * noisy[1].mean()
    assert "chosen in" in curated.decisions["why"][0].as_py()
    assert list(curated.undo().judgements()) == list(noisy[0].judgements())


@pytest.mark.parametrize("reads", ["score", "policy"])
def test_half_precision_of_a_gpu_trains_the_same_reward(lm, noisy, monkeypatch, reads):
    monkeypatch.setattr(finetune, "_autocast", lambda readout: torch.autocast("cpu", torch.bfloat16))
    reward = PeerAdapters(backbone=str(lm), reads=reads, noise=0.25, beta=1.0, share_prefix=False, **FAST).fit(noisy[0])
    assert accuracy(reward, planted(100, 9)[0]) > (0.85 if reads == "score" else 0.7)
    assert all(p.dtype == torch.float32 for p in reward.head.parameters())


@pytest.mark.parametrize(
    ("settings_", "message"),
    [
        ({"noise": 0.5}, "from a half on"),
        ({"batch": 8}, "at least 16"),
        ({"seed": 3, "peer_seed": 3}, "would be one"),
        ({"reads": "mind"}, "use score or policy"),
        ({"final": "better"}, "use keep=best"),
        ({"beta": 0.0}, "above 0"),
    ],
)
def test_wrong_settings_are_one_clear_line(settings_, message):
    with pytest.raises(ConfigError, match=message):
        PeerAdapters(**settings_)
