"""The sparse autoencoder and the reward on it: sparsity, attribution, editing, saving."""

from pathlib import Path

import numpy as np
import pytest

import guerdon
from guerdon.errors import ConfigError, ModelError
from guerdon.reward.learned.sparse_autoencoder import SparseAutoencoder
from guerdon.reward.learned.sparse_reward import SparseReward
from guerdon.worlds.example import example_feedback


@pytest.fixture(scope="module")
def planted() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    directions = rng.normal(size=(20, 18)) / 4
    a = rng.uniform(0.5, 1.5, (6000, 20)) * (np.argsort(rng.random((6000, 20)), 1) < 2)
    x = a @ directions
    return a, (x - x.mean(0)) / x.std(0)


@pytest.fixture(scope="module")
def reward() -> SparseReward:
    return SparseReward(encoder="hash:64", latent=48, k=6, epochs=5).fit(example_feedback())


def test_planted_directions_are_found(planted: tuple[np.ndarray, np.ndarray]) -> None:
    a, x = planted
    sae = SparseAutoencoder(60, 2)
    told = sae.fit(x, epochs=25, learning_rate=3e-3, batch=256)
    untrained = SparseAutoencoder(60, 2)
    untrained.fit(x, epochs=1, learning_rate=1e-12)
    found = []
    for each in (sae, untrained):
        z = each(x).toarray()
        z[0] += 1e-6  # a latent that never fires correlates with nothing
        found.append((np.abs(np.corrcoef(a.T, z.T))[:20, 20:].max(1) > 0.8).mean())
    assert found[0] > 0.6
    assert found[1] < 0.2
    assert told["nmse"] < 0.25
    np.testing.assert_allclose(np.linalg.norm(sae.decode, axis=0), 1, atol=1e-5)


def test_k_latents_are_active_and_all_of_them_is_dense(planted: tuple[np.ndarray, np.ndarray]) -> None:
    sae = SparseAutoencoder(30, 4)
    sae.fit(planted[1][:500], epochs=1)
    assert (np.diff(sae(planted[1][:50]).indptr) == 4).all()
    every = SparseAutoencoder(30, 30)
    every.restore(sae.arrays())
    np.testing.assert_allclose(every(planted[1][:50]).toarray(), sae.preactivations(planted[1][:50]), atol=1e-6)
    naive = sae.preactivations(planted[1][:5])
    for row, z in zip(naive, sae(planted[1][:5]).toarray(), strict=True):
        keep = sorted(range(30), key=lambda i: -row[i])[:4]
        expected = np.zeros(30)
        expected[keep] = row[keep]
        np.testing.assert_allclose(z, expected, atol=1e-6)


def test_contributions_sum_to_the_score(reward: SparseReward) -> None:
    asked = example_feedback().candidates.take(range(20))
    told = np.sum([np.asarray(v) for v in reward.explain(asked).values()], 0)
    np.testing.assert_allclose(told, reward.score(asked).value, atol=1e-5)
    rows = reward.attribute(asked)
    np.testing.assert_allclose([sum(c for _, _, c in r) for r in rows], reward.score(asked).value, atol=1e-5)
    assert all(len(r) <= 6 for r in rows)


def test_edits_change_what_they_name_and_nothing_else(reward: SparseReward, tmp_path: Path) -> None:
    asked = example_feedback().candidates.take(range(40))
    z = reward.latents(reward.x(asked)).toarray()
    feature = int(np.argmax(np.abs((z * reward.weight).sum(0))))
    silent = reward.edit({feature: ("*", 0.0)})
    expected = reward.score(asked).value - z[:, feature] * reward.weight[feature]
    np.testing.assert_allclose(silent.score(asked).value, expected, atol=1e-8)
    more = reward.edit({feature: ("+", 2.0)})
    expected = reward.score(asked).value + 2.0 * (z[:, feature] != 0) * reward.weight[feature]
    np.testing.assert_allclose(more.score(asked).value, expected, atol=1e-8)
    again = guerdon.load(silent.save(tmp_path / "edited"))
    np.testing.assert_allclose(again.score(asked).value, silent.score(asked).value, atol=1e-8)
    assert reward.edits == {}


def test_a_feature_can_be_looked_up(reward: SparseReward) -> None:
    feedback = example_feedback()
    gap = reward.gap(feedback)
    decisive = int(np.argmax(gap))
    found = reward.contexts(decisive, feedback.candidates, count=5)
    values = reward.latents(reward.x(feedback.candidates))[:, [decisive]].toarray().ravel()
    assert len(found)
    assert values[found[0]] == values.max()


def test_a_second_fit_is_as_the_first_but_a_pretrained_autoencoder_stays(reward: SparseReward) -> None:
    data = example_feedback()
    half, settings = data.take(range(len(data) // 2)), {"encoder": "hash:64", "latent": 48, "k": 6, "epochs": 5}
    again = SparseReward(**settings).fit(half).fit(data)
    np.testing.assert_allclose(again.score(data.candidates).value, reward.score(data.candidates).value, atol=1e-8)
    kept = SparseReward(**settings).pretrain(half.candidates)
    sae = kept.sae
    assert kept.fit(data).fit(half).sae is sae


def test_what_it_refuses(reward: SparseReward) -> None:
    with pytest.raises(ConfigError):
        SparseReward(latent=4, k=5)
    with pytest.raises(ConfigError, match="no feature"):
        reward.edit({10_000: ("*", 0.0)})
    with pytest.raises(ConfigError, match="give"):
        reward.edit({0: ("/", 2.0)})
    other = SparseReward(encoder="hash:64", latent=48, k=6, epochs=1).pretrain(example_feedback().candidates)
    other.encoder = "hash:64?features=joined"
    with pytest.raises(ModelError):
        other.fit(example_feedback())
