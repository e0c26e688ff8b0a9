"""A person read from a few comparisons: order and truth of contexts, collapse, uncertainty, questions, scaling."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from guerdon import Candidates, Feedback, Judgement
from guerdon.errors import ConfigError, FeedbackError
from guerdon.reward.base import Function
from guerdon.reward.expected_preference import ExpectedPreference
from guerdon.reward.personal.contexts import ContextDraws, Posteriors, chosen_first, padded, question
from guerdon.reward.personal.selection import pairs_of_people
from guerdon.reward.personal.set_encoder import SetEncoder, cyclical, divergence, on_sphere
from guerdon.reward.personal.variational import VariationalReward
from guerdon.worlds.annotators import Annotator
from guerdon.worlds.people import Population
from guerdon.worlds.pool import Pool

TRAIN, STRANGERS = 80, 30
QUICK = {"hidden": 32, "latent": 8, "epochs": 25, "learning_rate": 3e-3}


class World:
    """Two opposed types of people over 8 features, or people who all want the same."""

    def __init__(self, kind: str = "clustered", seed: int = 0) -> None:
        self.pool = Pool.planted(150, 5, 8, seed=seed)
        wanted = np.eye(8)[:1]
        options = {"prototypes": np.concatenate([wanted, -wanted]), "spread": 0.0} if kind == "clustered" else {}
        self.people = Population.simulate(
            kind, self.pool, users=TRAIN + STRANGERS, held_out=0.2, seed=seed, annotators=Annotator.perfect(), **options
        )
        self.strangers = np.arange(TRAIN, TRAIN + STRANGERS)
        self.train = self.people.history(count=25, users=np.arange(TRAIN))
        self.test = self.people.history(count=50, users=self.strangers, held_out=True, seed=1)

    def fit(self, **chosen) -> VariationalReward:
        return VariationalReward(encoder=self.pool.encoder(), **{**QUICK, **chosen}).fit(self.train)

    def shots(self, count: int) -> Feedback:
        return self.people.history(count=count, users=self.strangers)

    def accuracy(self, model: VariationalReward) -> float:
        pairs = self.test.pairs(ties=False)
        table = model.score_table(self.test.candidates, list(self.test.users))
        gap = table[pairs.a, pairs.user] - table[pairs.b, pairs.user]
        return float(np.mean((gap > 0) == (pairs.p > 0.5)))


@pytest.fixture(scope="module")
def world() -> World:
    return World()


@pytest.fixture(scope="module")
def fitted(world) -> VariationalReward:
    return world.fit()


@pytest.fixture(scope="module")
def known(world, fitted) -> VariationalReward:
    return fitted.adapt(world.shots(8))


def test_strangers_are_read_from_their_comparisons(world, fitted, known):
    assert abs(world.accuracy(fitted) - 0.5) < 0.08
    assert world.accuracy(known) > 0.85
    assert fitted.summary["personal"]
    assert not fitted.summary["collapsed"]
    assert not set(fitted.users) & set(world.test.users)


def test_somebody_elses_context_says_nothing(world, fitted):
    own = world.shots(8)
    other = np.random.default_rng(0).permutation(STRANGERS)
    assert world.accuracy(fitted.adapt(replace(own, user=other[own.user].astype(np.int32)))) < 0.65


def test_reading_people_trains_nothing(world, fitted, known):
    before, after = fitted.arrays(), known.arrays()
    assert all(after[name].tobytes() == value.tobytes() for name, value in before.items())


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), count=st.integers(1, 9))
def test_the_order_of_a_set_does_not_matter_nor_does_its_padding(seed, count):
    rng = np.random.default_rng(seed)
    reader = SetEncoder(6, 8, 8, 3, generator=torch.Generator().manual_seed(seed)).double()
    tokens = torch.as_tensor(rng.normal(size=(1, count, 6)))
    mu, log_variance = reader(tokens, torch.ones(1, count, dtype=torch.bool))
    padding = torch.as_tensor(rng.normal(size=(1, 4, 6)))
    mixed = torch.cat([tokens[:, torch.as_tensor(rng.permutation(count))], padding], dim=1)
    there = torch.arange(count + 4)[None] < count
    for got, expected in zip(reader(mixed, there), (mu, log_variance), strict=True):
        torch.testing.assert_close(got, expected)
    assert mu.abs().max() <= 1
    assert log_variance.abs().max() <= 1


def test_a_set_encoder_against_its_slow_twin():
    reader = SetEncoder(4, 5, 6, 2, bound=9.0, generator=torch.Generator().manual_seed(0)).double()
    tokens = torch.as_tensor(np.random.default_rng(0).normal(size=(3, 4)))
    h = reader.token(tokens)
    q, k, v = reader.query(h), reader.key(h), reader.value(h)
    rows = [sum(w * v[j] for j, w in enumerate(torch.softmax(k @ q[i] / 6**0.5, 0))) for i in range(3)]
    pooled = torch.stack([torch.as_tensor(r) for r in rows]).mean(0)
    mu, log_variance = reader(tokens[None], torch.ones(1, 3, dtype=torch.bool))
    torch.testing.assert_close(mu[0], reader.mean(pooled))
    torch.testing.assert_close(log_variance[0], reader.log_variance(pooled))
    torch.testing.assert_close(
        divergence(mu, log_variance)[0],
        torch.distributions.kl_divergence(
            torch.distributions.Normal(mu, (0.5 * log_variance).exp()), torch.distributions.Normal(0.0, 1.0)
        ).sum(),
    )


def test_an_empty_set_is_the_prior_and_strangers_are_flagged(world, fitted, known):
    nobody = Candidates([], [])
    mu, sigma = known.encode(nobody, nobody)
    assert not mu.any()
    assert (sigma == 1).all()
    some = world.pool.candidates.take(range(6))
    stranger = known.score(some.asked_by("nobody"))
    assert stranger.reason[0] == "population: unknown person 'nobody'"
    np.testing.assert_allclose(stranger.value, fitted.score(some).value)


def test_which_response_was_shown_first_does_not_matter(world, fitted):
    rows = list(world.shots(6).judgements())
    swapped = Feedback.of(replace(r, responses=r.responses[::-1], grades=r.grades[::-1]) for r in rows)
    one, two = fitted.adapt(Feedback.of(rows)), fitted.adapt(swapped)
    np.testing.assert_allclose(one.latent(list(one.users)), two.latent(list(one.users)), atol=1e-6)
    opposite = fitted.adapt(Feedback.of(replace(r, grades=r.grades[::-1]) for r in rows))
    assert np.abs(opposite.people.mean - fitted.adapt(Feedback.of(rows)).people.mean).max() > 0.1


def test_contexts_never_hold_their_target():
    rng = np.random.default_rng(0)
    names = [f"r{i}" for i in range(8)]
    rows = [Judgement("p", tuple(rng.choice(names, 2, replace=False)), (1, 0), user=f"u{i % 7}") for i in range(200)]
    pairs = pairs_of_people(Feedback.of(rows), None, 0)
    draws = ContextDraws(pairs, np.ones(len(pairs), bool), 0)
    targets = np.arange(len(pairs))
    lengths = []
    for _ in range(5):
        context, there = draws.draw(targets, 6, 0.2)
        row, column = np.nonzero(there)
        assert (pairs.user[context[row, column]] == pairs.user[row]).all()
        assert (question(pairs)[context[row, column]] != question(pairs)[row]).all()
        assert all(len(set(c[t])) == t.sum() for c, t in zip(context, there, strict=True))
        lengths.append(there.sum(1))
    share = np.bincount(np.concatenate(lengths), minlength=7) / (5 * len(pairs))
    assert share[0] == pytest.approx(0.2, abs=0.05)
    assert share[1:7] == pytest.approx(0.8 / 6, abs=0.05)


def test_a_large_divergence_weight_is_reported_as_collapse(world):
    model = world.fit(kl_weight=1.0, cycles=0, epochs=4)
    assert model.summary["collapsed"]
    assert "posterior collapsed" in model.summary["cautions"][0]
    assert not model.summary["personal"]
    assert world.accuracy(model.adapt(world.shots(8))) < 0.6


def test_no_gain_is_claimed_where_people_agree():
    agreed = World("shared")
    model = agreed.fit(epochs=12)
    assert not model.summary["personal"]
    assert agreed.accuracy(model) > 0.85
    assert agreed.accuracy(model.adapt(agreed.shots(5))) > agreed.accuracy(model) - 0.02


def test_prefer_averages_over_posterior_samples(world, known):
    a, b = (world.pool.candidates.take(range(lo, lo + 20)) for lo in (0, 20))
    b = replace(b, prompts=b.prompts)
    user = known.users[-1]
    scores = known.prefer(a.asked_by(user), b)
    z = known.samples([user])[0]
    x = known._wide(known.x(a)), known._wide(known.x(b))
    with torch.no_grad():

        def utility(x, z):
            both = np.concatenate([x, np.tile(z, (len(x), 1))], axis=1)
            return known.decoder(torch.as_tensor(both))[:, 0].numpy()

        base = utility(x[0], 0 * z[0]) - utility(x[1], 0 * z[0])
        naive = [1 / (1 + np.exp(-(base + known.trust * (utility(x[0], s) - utility(x[1], s) - base)))) for s in z]
    np.testing.assert_allclose(scores.value, np.mean(naive, axis=0), atol=1e-8)
    np.testing.assert_allclose(np.linalg.norm(z, axis=1), np.sqrt(8))
    index = np.arange(20)
    both = Candidates([*a.prompts, *b.prompts], [*a.responses, *b.responses])
    np.testing.assert_allclose(known.prefer_at(both, index, index + 20, [user] * 20), scores.value, atol=1e-8)


def test_people_learn_further_as_if_they_had_said_it_at_once(world, fitted):
    once, rows = fitted.adapt(world.shots(9)), list(world.shots(9).judgements())
    first, rest = ([row for i, row in enumerate(rows) if (i % 9 < 4) == early] for early in (True, False))
    again = fitted.adapt(Feedback.of(first)).adapt(Feedback.of(rest))
    assert again.people.votes[again.people.index["u85"]] == 9
    np.testing.assert_allclose(again.latent(["u85"]), once.latent(["u85"]), atol=1e-5)
    np.testing.assert_allclose(again.latent(["u3"]), fitted.latent(["u3"]))


def test_score_score_table_and_saved_people_agree(world, known):
    some = world.pool.candidates.take(range(7))
    names = [known.users[0], "nobody", known.users[-1]]
    table = known.score_table(some, names)
    for j, name in enumerate(names):
        np.testing.assert_allclose(known.score(some.asked_by(name)).value, table[:, j], atol=1e-10)
    fresh = VariationalReward(encoder=world.pool.encoder(), **known.settings)
    fresh.restore(known.arrays())
    fresh.restore_people(known.people_table())
    np.testing.assert_array_equal(fresh.score_table(some, names), table)
    more = world.people.history(count=5, users=world.strangers, seed=4)
    np.testing.assert_allclose(fresh.adapt(more).score_table(some, names), known.adapt(more).score_table(some, names))


def test_the_best_question_tells_the_types_apart(world, fitted):
    x = world.pool.features
    spread = np.abs(x[::5, 0] - x[1::5, 0])
    best, dull = np.argsort(-spread)[:10] * 5, np.argsort(spread)[:10] * 5
    a = world.pool.candidates.take([*best, *dull])
    b = world.pool.candidates.take([*(best + 1), *(dull + 1)])
    at, nats = fitted.next_query(None, a, b)
    assert at < 10
    assert nats[:10].mean() > 3 * nats[10:].mean()
    assert (nats >= -1e-12).all()
    assert (nats <= np.log(2)).all()
    told = fitted.adapt(world.shots(8))
    assert told.information(list(told.users[-5:]), a, b)[:, :10].mean() < nats[:10].mean()
    with pytest.raises(ConfigError, match="at least one question"):
        fitted.next_query(None, Candidates([], []), Candidates([], []))


def test_a_survey_and_controversial_comparisons(world):
    rng = np.random.default_rng(0)
    rows = [
        Judgement("p", (f"r{i}", f"r{i + 1}"), (1, 0) if (u % 2) ^ (i % 3 == 0) else (0, 1), user=f"u{u}")
        for u in range(30)
        for i in rng.choice(40, 12, replace=False)
    ]
    model = VariationalReward(
        encoder="hash:32", survey=10, controversial=True, **{**QUICK, "epochs": 4}
    ).fit(Feedback.of(rows))  # fmt: skip
    assert len(model.users) == 30
    same = [replace(row, grades=(1.0, 0.0)) for row in rows]
    with pytest.raises(FeedbackError, match="both ways"):
        VariationalReward(encoder="hash:32", controversial=True, **QUICK).fit(Feedback.of(same))


def test_people_need_two_comparisons_to_learn_from(world):
    with pytest.raises(FeedbackError, match="two comparisons"):
        VariationalReward(encoder=world.pool.encoder()).fit(world.people.history(count=1))
    with pytest.raises(FeedbackError, match="--map user=COLUMN"):
        VariationalReward(encoder=world.pool.encoder()).fit(world.people.history(count=5, named=False))
    lonely = Feedback.concatenate([world.train, world.people.history(count=1, users=np.array([TRAIN]))])
    model = VariationalReward(encoder=world.pool.encoder(), **{**QUICK, "epochs": 2}).fit(lonely)
    assert model.summary["people_left_out"] == 1
    assert f"u{TRAIN}" in model.users  # who is read all the same


@pytest.mark.parametrize(
    "wrong", [{"latent": 0}, {"kl_weight": -1.0}, {"floor": 2.0}, {"prior": "some"}, {"prior": 2.0}, {"survey": 0}]
)
def test_wrong_settings_are_named(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        VariationalReward(**wrong)


def test_annealing_starts_low_and_comes_again():
    factors = [cyclical(step, 10) for step in range(21)]
    assert factors[0] == factors[10] == factors[20] == pytest.approx(0.1)
    assert factors[:10] == sorted(factors[:10])
    assert factors[9] > 0.9
    z = on_sphere(torch.tensor([[3.0, 4.0], [0.0, 0.0]]))
    torch.testing.assert_close(z, torch.tensor([[0.6 * 2**0.5, 0.8 * 2**0.5], [0.0, 0.0]]))


def test_ragged_people_merge_and_pad():
    one = Posteriors(
        ("a", "b"), np.eye(2), np.zeros((2, 2)), np.array([1, 2]), np.array([0, 1, 3]), np.ones((3, 4), "f"),
        np.zeros((2, 3), "f"),
    )  # fmt: skip
    two = replace(one, users=("b", "c"), tokens=2 * one.tokens, evidence=one.evidence + 1)
    both = one.merged(two)
    assert both.users == ("a", "b", "c")
    assert both.offsets.tolist() == [0, 1, 2, 4]
    assert both.tokens[:, 0].tolist() == [1, 2, 2, 2]
    assert both.evidence[:, 0].tolist() == [0, 1, 1]
    again = Posteriors.from_arrow(both.to_arrow(), 2, 4, bank=3)
    assert again.evidence.tolist() == both.evidence.tolist()
    values, mask = padded(both.tokens, both.offsets)
    assert mask.sum(1).tolist() == [1, 1, 2]
    assert values[~mask].sum() == 0
    pairs = pairs_of_people(Feedback.of([Judgement("p", ("x", "y"), (0, 1), user="a")]), None, 0)
    assert [int(side[0]) for side in chosen_first(pairs)] == [1, 0]


def test_expected_preferences_are_on_one_scale():
    arms = Candidates(["p"] * 5, [str(i) for i in range(5)])
    timid, bold = (Function(lambda _, r, s=scale: s * float(r)) for scale in (0.5, 50.0))
    mine, yours = (ExpectedPreference(f, arms).score(arms).value for f in (timid, bold))
    gaps = 0.5 * (np.arange(5)[:, None] - np.arange(5))
    np.testing.assert_allclose(mine, (1 / (1 + np.exp(-gaps))).mean(1))
    np.testing.assert_allclose(yours, (np.arange(5) + 0.5) / 5, atol=1e-8)
    assert (np.argsort(mine) == np.argsort(yours)).all()
    same = [ExpectedPreference(f, arms, standardize=True).score(arms).value for f in (timid, bold)]
    np.testing.assert_allclose(*same)
    absent = Function(lambda _, r: None if r == "3" else 1.0)
    scores = ExpectedPreference(absent, arms).score(arms)
    assert np.isnan(scores.value).tolist() == [False, False, False, True, False]
    assert scores.status[3] == "abstained"
    with pytest.raises(ConfigError, match="reference set is empty"):
        ExpectedPreference(timid, Candidates([], []))


# ------------------------------------------------------------------ whoever would have answered like this


@pytest.fixture(scope="module")
def by_people(world) -> VariationalReward:
    return world.fit(inference="people")


def test_people_are_found_among_those_known_and_saved(world, by_people):
    known = by_people.adapt(world.shots(8))
    assert world.accuracy(known) > 0.9
    again = VariationalReward(encoder=world.pool.encoder(), **known.settings)
    again.restore(known.arrays())
    again.restore_people(known.people_table())
    table = known.score_table(world.test.candidates, list(world.test.users))
    np.testing.assert_allclose(again.score_table(world.test.candidates, list(world.test.users)), table, atol=1e-6)
    more = world.people.history(count=4, users=world.strangers, seed=9)
    later, at_once = again.adapt(more), by_people.adapt(Feedback.concatenate([world.shots(8), more]))
    np.testing.assert_allclose(
        later.score_table(world.test.candidates, list(world.test.users)),
        at_once.score_table(world.test.candidates, list(world.test.users)),
        atol=1e-3,
    )


def test_the_evidence_is_the_likelihood_of_the_answers(world, by_people):
    shots = world.shots(3)
    known = by_people.adapt(shots)
    name = world.people.users[int(world.strangers[0])]
    mine = known.people.evidence[known.people.index[name]]
    pairs = shots.pairs()
    x = known._wide(known.x(shots.candidates))
    slow = np.zeros(len(known.bank))
    for row in np.flatnonzero(pairs.user == shots.users.index(name)):
        won, lost = (pairs.a[row], pairs.b[row]) if pairs.p[row] > 0.5 else (pairs.b[row], pairs.a[row])
        for i, z in enumerate(known.bank):
            both = [known.decoder(torch.as_tensor(np.concatenate([x[side], z]))).item() for side in (won, lost)]
            slow[i] -= np.log1p(np.exp(-(both[0] - both[1])))
    np.testing.assert_allclose(mine, slow, atol=1e-4)


def test_chosen_questions_beat_random_ones_where_people_are_found_among_those_known(world, by_people):
    """One question that tells the two types apart against one at random."""
    rng = np.random.default_rng(3)
    prompts = rng.choice(world.people.train, 60, replace=False)
    pair = world.pool.members[prompts][:, :2]
    c = world.pool.candidates
    a, b = c.take(pair[:, 0]), c.take(pair[:, 1])
    names = [world.people.users[int(i)] for i in world.strangers]
    gap = world.people.utilities(world.strangers, pair[:, 0]) - world.people.utilities(world.strangers, pair[:, 1])

    def said(asked: np.ndarray) -> Feedback:
        return Feedback.of(
            Judgement(a.prompts[q], (a.responses[q], b.responses[q]), (float(g), 1.0 - float(g)), user=name)
            for i, name in enumerate(names)
            for q, g in zip(asked[i], gap[i, asked[i]] > 0, strict=True)
        )

    chosen = by_people.information(list(names), a, b).argsort(1)[:, ::-1][:, :1]
    random = rng.random((len(names), 60)).argsort(1)[:, :1]
    assert world.accuracy(by_people.adapt(said(chosen))) > world.accuracy(by_people.adapt(said(random))) + 0.02
    index, nats = by_people.next_query(None, a, b)
    assert nats[index] == nats.max() > 0.5  # one answer tells two opposed types apart: log 2 = 0.69 nats
