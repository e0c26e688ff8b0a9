"""General preference: cycles, exact antisymmetry, n encodings, opponents; against a naive twin."""

import numpy as np
import pytest
from scipy.special import expit

import guerdon
from guerdon.errors import ConfigError, ModelError
from guerdon.feedback.schema import Candidates
from guerdon.feedback.star import Feedback
from guerdon.papers.gpm import Counting, both, circle, comparisons, draw, pool_of
from guerdon.reward.learned.general_preference import GeneralPreference
from guerdon.reward.learned.tournament import nash
from guerdon.testing import check_reward


@pytest.fixture(scope="module")
def fitted():
    rng = np.random.default_rng(0)
    x, group, a, b = circle(rng, 3, 12)
    pool = pool_of(x)
    first = (group[b] - group[a]) % 3 == 1
    general, mine, plain = both(pool, a, b, first, 0)
    return pool, group, general, mine, plain


def test_a_circle_is_learned_that_bradley_terry_cannot(fitted):
    _, _, general, mine, plain = fitted
    assert mine > 0.97
    assert plain < 0.67
    assert general.summary["cyclic_share"] > 0.9


def test_antisymmetry_is_exact_and_nobody_beats_themselves(fitted):
    pool, _, general, _, _ = fitted
    c = pool.candidates.take(range(40))
    table = general.table(c)
    assert (table == -table.T).all()
    assert (np.diag(table) == 0).all()
    a, b = c.take(range(20)), c.take(range(20, 40))
    forward, backward = general.prefer(a, b).value, general.prefer(b, a).value
    np.testing.assert_allclose(forward + backward, 1.0, atol=1e-15)
    np.testing.assert_allclose(forward, expit(table[np.arange(20), np.arange(20, 40)]), atol=1e-12)
    assert (general.prefer(a, a).value == 0.5).all()
    np.testing.assert_allclose(general.prefer_at(c, np.arange(20), np.arange(20, 40), [None] * 20), forward)


def test_the_sign_of_a_block_is_the_preference(fitted):
    """Often got wrong: the naive double loop over blocks, with the released code's sign, and the data's direction."""
    pool, group, general, _, _ = fitted
    embedded = general.embed(pool.candidates.take(range(6)))
    v, lam = embedded.v, embedded.scales
    for i in range(6):
        for j in range(6):
            s = sum(
                lam[i, m] * (v[i, 2 * m] * v[j, 2 * m + 1] - v[i, 2 * m + 1] * v[j, 2 * m])
                for m in range(v.shape[1] // 2)
            )
            assert embedded.table()[i, j] == pytest.approx(s, abs=1e-9)
            if (group[j] - group[i]) % 3 == 1:
                assert s > 0


def test_n_encodings_for_all_comparisons():
    pool = pool_of(np.random.default_rng(1).normal(size=(64, 8)))
    encoder = Counting(pool)
    a, b = draw(np.random.default_rng(1), 64, 100)
    general = GeneralPreference(encoder=encoder, epochs=1).fit(comparisons(pool, a, b, a < b))
    encoder.count = 0
    assert general.table(pool.candidates).shape == (64, 64)
    assert encoder.count == 64


def test_scores_are_against_opponents(fitted, tmp_path):
    pool, _group, general, _, _ = fitted
    c = pool.candidates
    mine, theirs = c.take(range(10)), c.take(range(50, 90))
    table = general.embed(mine).table(general.embed(theirs))
    np.testing.assert_allclose(general.score(mine, vs=theirs).value, table.mean(1))
    lonely = GeneralPreference(encoder=pool.encoder(), pool=0, epochs=1)
    a, b = draw(np.random.default_rng(1), 100, 60)
    lonely.fit(comparisons(pool, a, b, a < b))
    with pytest.raises(ModelError, match="only against others"):
        lonely.score(mine)
    assert lonely.save(tmp_path / "lonely").is_dir()
    with pytest.raises(ModelError, match="no opponents"):
        general.score(mine, vs=c.take([]))


def test_the_pools_score_is_the_mean_over_the_pool():
    pool = pool_of(np.random.default_rng(2).normal(size=(20, 5)))
    a, b = np.arange(20), (np.arange(20) + 1) % 20
    general = GeneralPreference(encoder=pool.encoder(), epochs=2).fit(comparisons(pool, a, b, a < b))
    table = general.table(pool.candidates)
    np.testing.assert_allclose(general.score(pool.candidates).value, table.mean(1), atol=1e-9)


def test_rank_is_mean_score_or_a_tournament_within_the_prompt(fitted):
    pool, _group, general, _, _ = fitted
    five = pool.candidates.take([0, 1, 2, 3, 4])
    table = general.table(five)
    np.testing.assert_allclose(general.rank(five).value, table.sum(1) / 4)
    # often got wrong: the mean probability is another order than the mean score
    assert not np.allclose(general.rank(five).value, expit(table).mean(1))
    general.settings["method"] = "nash"
    policy = general.rank(five).value
    general.settings["method"] = "score"
    np.testing.assert_allclose(policy, nash(expit(table)))
    assert policy.max() < 0.9  # a circle has no single winner
    apart = Candidates(["one", "two"], ["x", "y"])
    known = GeneralPreference(encoder="hash:16").fit(
        Feedback.of([guerdon.Judgement("p", (f"a {i}", f"b {i}"), (1.0, 0.0)) for i in range(10)])
    )
    assert (known.rank(apart).value == 0).all()  # nobody to compare with


def test_scales_by_prompt_save_and_load(tmp_path):
    rows = [
        guerdon.Judgement(f"p{i % 12}", (f"good text {i}", f"bad text {i}"), (float(i % 12 < 6), float(i % 12 >= 6)))
        for i in range(60)
    ]
    general = GeneralPreference(encoder="hash:32", scales="prompt", hidden=8, epochs=8)
    general.fit(Feedback.of(rows))
    scales = general.embed(Candidates(["p0", "p7"], ["good text", "good text"])).scales * general.tau
    np.testing.assert_allclose(scales.sum(1), general.settings["dim"] / 2)
    assert not np.allclose(scales[0], scales[1])
    check_reward(general, long=False)
    again = guerdon.load(general.save(tmp_path / "m"))
    c = Candidates(["p0", "p1"], ["good text 1", "bad text 2"])
    np.testing.assert_allclose(again.rank(c).value, general.rank(c).value)


def test_a_changed_dimension_is_noticed(tmp_path):
    pool = pool_of(np.random.default_rng(3).normal(size=(10, 4)))
    a, b = draw(np.random.default_rng(3), 10, 30)
    general = GeneralPreference(encoder=pool.encoder(), epochs=1).fit(comparisons(pool, a, b, a < b))
    other = GeneralPreference(encoder=pool.encoder(), dim=4)
    with pytest.raises(ModelError, match="differ in dim"):
        other.restore(general.arrays())


@pytest.mark.parametrize(
    ("settings", "said"),
    [({"dim": 3}, "even"), ({"tau": 0}, "tau"), ({"method": "elo"}, "borda"), ({"scales": "user"}, "none or prompt")],
)
def test_wrong_settings_say_what_is_right(settings, said):
    with pytest.raises(ConfigError, match=said):
        GeneralPreference(**settings)


def test_transitive_data_lose_little():
    rng = np.random.default_rng(4)
    x, w = rng.normal(size=(400, 16)), rng.normal(size=16)
    a, b = draw(rng, 400, 5000)
    _, mine, plain = both(pool_of(x), a, b, (x[a] - x[b]) @ w > 0, 0)
    assert mine >= plain - 0.025


def test_without_a_fit_it_says_so():
    pool = pool_of(np.random.default_rng(5).normal(size=(4, 4)))
    with pytest.raises(ModelError, match="fit"):
        GeneralPreference(encoder=pool.encoder())._embed(np.zeros((1, 4)))
