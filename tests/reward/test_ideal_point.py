"""Ideal points: people who want neither too little nor too much, learned by weights over shared prototypes."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.special import softmax

import guerdon
from guerdon import Candidates, Feedback, Judgement
from guerdon.errors import ConfigError, FeedbackError
from guerdon.feedback.star import Pairs
from guerdon.reward.learned.model import RewardModel
from guerdon.reward.learned.networks import Schedule, train
from guerdon.reward.personal.ideal_geometry import Geometry
from guerdon.reward.personal.ideal_point import IdealPointReward
from guerdon.reward.personal.ideal_weights import Placed, losses, solve
from guerdon.testing import check_reward
from guerdon.worlds.annotators import Annotator
from guerdon.worlds.people import Population
from guerdon.worlds.pool import Pool
from run_cli import guerdon as run

TRAIN, STRANGERS = 60, 20
QUICK = {"epochs": 15, "starts": 1}


class World:
    """A population over 3 of 8 features; strangers' noiseless verdicts on prompts nobody saw."""

    def __init__(self, kind: str = "ideal-point", seed: int = 0, **options) -> None:
        self.pool = Pool.planted(150, 5, 8, seed=seed)
        self.people = Population.simulate(
            kind, self.pool, self.pool.features[:, :3], users=TRAIN + STRANGERS, held_out=0.2, seed=seed, **options
        )
        self.strangers = np.arange(TRAIN, TRAIN + STRANGERS)
        self.train = self.people.history(count=30, users=np.arange(TRAIN))
        self.test = self.people.history(
            count=60, users=self.strangers, held_out=True, annotator=Annotator.perfect(), seed=1
        )

    def fit(self, **chosen) -> IdealPointReward:
        return IdealPointReward(encoder=self.pool.encoder(), **{**QUICK, **chosen}).fit(self.train)

    def shots(self, count: int) -> Feedback:
        return self.people.history(count=count, users=self.strangers)

    def accuracy(self, model: IdealPointReward) -> float:
        pairs = self.test.pairs(ties=False)
        table = model.score_table(self.test.candidates, list(self.test.users))
        gap = table[pairs.a, pairs.user] - table[pairs.b, pairs.user]
        return float(np.mean((gap > 0) == (pairs.p > 0.5)))


@pytest.fixture(scope="module")
def world() -> World:
    return World(prototypes=3, alpha=0.4)


@pytest.fixture(scope="module")
def fitted(world) -> IdealPointReward:
    return world.fit(k=3)


def made_pairs(a, b, p, user) -> Pairs:
    n = len(a)
    index = np.arange(n)
    ones, sides = np.ones(n), (np.asarray(a), np.asarray(b), np.asarray(p, float))
    return Pairs(*sides, ones, ones, np.asarray(user), -np.ones(n, int), index)


def test_strangers_gain_and_nothing_but_their_weights_moves(world, fitted):
    before = {name: value.tobytes() for name, value in fitted.arrays().items()}
    figures = [world.accuracy(fitted.adapt(world.shots(k))) for k in (1, 20)]
    assert {name: value.tobytes() for name, value in fitted.adapt(world.shots(5)).arrays().items()} == before
    assert figures[1] > figures[0] + 0.02
    assert figures[1] > world.accuracy(fitted) + 0.04
    assert not set(fitted.users) & set(world.test.users)
    assert fitted.summary["personal"]


def test_neither_less_nor_more_where_a_line_sees_nothing():
    rng = np.random.default_rng(0)
    texts = [f"r{i}" for i in range(1200)]
    pool = Pool(Candidates([f"p{i // 2}" for i in range(1200)], texts), 3 + 2 * rng.random((1200, 1)))
    rows = [
        Judgement(
            f"p{i}", tuple(texts[2 * i : 2 * i + 2]), tuple(-np.abs(pool.features[2 * i : 2 * i + 2, 0] - 4)), "a"
        )
        for i in range(600)
    ]
    said, asked = Feedback.of(rows[:400]), np.arange(800, 1200)
    nearer = np.abs(pool.features[asked, 0] - 4)
    model = IdealPointReward(encoder=pool.encoder(), k=1).fit(said)
    value = model.score(pool.candidates).value[asked]
    assert np.mean((value[::2] > value[1::2]) == (nearer[::2] < nearer[1::2])) > 0.95
    assert model.ideal_features("a")[0] == pytest.approx(4, abs=0.1)
    # one prototype is one ideal point, not Bradley-Terry
    line = RewardModel(encoder=pool.encoder()).fit(said).score(pool.candidates).value[asked]
    assert np.mean((line[::2] > line[1::2]) == (nearer[::2] < nearer[1::2])) < 0.65


def test_the_sign_of_the_distance():
    """The official difference dist(left) - dist(right) is positive when the right one is preferred."""
    geometry = Geometry("A", 2, 1, 2, mixing="direct").double()
    with torch.no_grad():
        geometry.prototypes.copy_(torch.tensor([[1.0, 0.0]]))
        weight = geometry.f.net[0].weight
        weight.copy_(torch.eye(2, dtype=weight.dtype))
    placed = Placed.of(geometry, np.array([[1.0, 0.1], [-1.0, 0.0]]), None)
    near, far = placed.table(np.ones((1, 1)))[:, 0]
    assert near > far
    delta = placed.differences(made_pairs([0], [1], [1.0], [0]), np.zeros(1, int))(np.ones((1, 1)))[0]
    assert delta[0] == pytest.approx(near - far)
    for kind in ("logistic", "hinge"):
        assert losses(kind, delta, np.ones(1))[0] < losses(kind, delta, np.zeros(1))[0]


@pytest.mark.parametrize("variant", ["A", "B"])
@pytest.mark.parametrize("options", [{}, {"distance": "square", "mixing": "after"}, {"projector": "mlp"}])
def test_utilities_and_their_slopes_agree_with_autograd(variant, options):
    rng = np.random.default_rng(1)
    geometry = Geometry(variant, 5, 3, 4, d_prompt=2, **options).double().eval()
    x, prompts, w = rng.normal(size=(6, 5)), rng.normal(size=(6, 2)), softmax(rng.normal(size=(4, 3)), axis=1)
    person = np.array([0, 1, 2, 3, 0, 1])
    value, slope = Placed.of(geometry, x, prompts if variant == "B" else None).at(w, person)
    weights = torch.as_tensor(w[person]).requires_grad_()
    y = geometry.f(torch.as_tensor(x))
    if variant == "A":
        ideal = geometry.ideals(weights)
    else:
        ideal = torch.einsum("nk,nkq->nq", weights, geometry.directions(torch.as_tensor(prompts)))
    expected = geometry.around(y, ideal)
    (gradient,) = torch.autograd.grad(expected.sum(), weights)
    np.testing.assert_allclose(value, expected.detach().numpy(), atol=1e-5)
    np.testing.assert_allclose(slope, gradient.numpy(), atol=1e-4)
    table = Placed.of(geometry, x, prompts if variant == "B" else None).table(w)
    np.testing.assert_allclose(table[np.arange(6), person], value, atol=1e-6)


@settings(max_examples=6, deadline=None)
@given(seed=st.integers(0, 1000), kind=st.sampled_from(["logistic", "hinge"]))
def test_weights_of_all_people_at_once_are_those_of_each_alone(seed, kind):
    rng = np.random.default_rng(seed)
    geometry = Geometry("A", 3, 3, 3, seed=seed).double()
    placed = Placed.of(geometry, rng.normal(size=(20, 3)) * 2, None)
    n, people = 60, 4
    a = rng.integers(0, 20, n)
    pairs = made_pairs(a, (a + rng.integers(1, 20, n)) % 20, rng.random(n) < 0.5, rng.integers(0, people, n))
    prior = {"mean": np.zeros((people, 3)), "precision": np.tile(np.eye(3), (people, 1, 1))}
    v, _ = solve(placed, pairs, pairs.user, kind=kind, **prior)
    for person in range(people):
        own = pairs.take(pairs.user == person)
        if not len(own):
            np.testing.assert_allclose(v[person], 0, atol=1e-6)
            continue
        nobody = np.zeros(len(own), int)
        difference = placed.differences(own, nobody)

        def objective(z, own=own, difference=difference):
            return losses(kind, difference(softmax(z)[None])[0], own.p)[0].sum() + 0.5 * z @ z

        naive = min(minimize(objective, start).fun for start in (np.zeros(3), *2 * np.eye(3)))
        assert objective(v[person]) <= naive * (1 + 3e-4)


def test_people_known_and_unknown(world, fitted):
    adapted = fitted.adapt(world.shots(10))
    some = world.pool.candidates.take(range(5))
    stranger = adapted.score(some.asked_by("nobody"))
    assert stranger.reason[0] == "population: unknown person 'nobody'"
    np.testing.assert_allclose(stranger.value, fitted.score(some).value)
    known = adapted.score(some.asked_by(adapted.users[-1]))
    assert known.reason == [None] * 5
    assert (np.asarray(known.std) < np.asarray(stranger.std) + 1e-9).mean() > 0.5
    more = adapted.adapt(world.people.history(count=10, users=world.strangers, seed=3))
    assert more.people.votes[-1] == 20
    assert np.abs(np.sum(more.people.weights, axis=1) - 1).max() < 1e-12


def test_no_gain_is_claimed_where_people_agree():
    agreed = World("shared")
    model = agreed.fit()
    assert not model.summary["personal"]
    assert agreed.accuracy(model.adapt(agreed.shots(5))) > agreed.accuracy(model) - 0.02


def topics(seed: int = 0) -> tuple[Pool, Feedback]:
    """Two groups whose direction among 6 features turns with the sign of the prompt's feature."""
    pool = Pool.planted(120, 4, 8, seed=seed)
    rng = np.random.default_rng(seed)
    x = pool.features.copy()
    x[:, :2] = np.sign(rng.normal(size=(120, 2)))[pool.prompt_of]
    pool = Pool(pool.candidates, x)
    liking = np.stack([x[:, 0] * x[:, 2], x[:, 0] * x[:, 3]], axis=1)
    people = Population.simulate(
        "clustered", pool, liking, users=40, prototypes=np.eye(2), spread=0.0, seed=seed, annotators=Annotator.perfect()
    )
    return pool, people.history(count=40)


def test_directions_that_depend_on_the_prompt():
    pool, said = topics()
    model = IdealPointReward(
        encoder=pool.encoder(), variant="B", k=2, prompt_width=2, prior=1.0, epochs=25, starts=1
    ).fit(said)
    pairs = said.pairs()
    table = model.score_table(said.candidates, list(said.users))
    assert np.mean((table[pairs.a, pairs.user] > table[pairs.b, pairs.user]) == (pairs.p > 0.5)) > 0.85
    assert np.abs(table).max() <= 100  # tau times a cosine


def test_the_contract_of_variant_b(tmp_path: Path):
    rng = np.random.default_rng(0)
    words = ["rain", "roof", "apple", "pear", "sky", "blue"]
    rows = []
    for i in range(80):
        texts = tuple(" ".join(rng.choice(words, 4)) for _ in range(2))
        if texts[0] != texts[1]:
            rows.append(Judgement(f"p{i % 9}", texts, tuple(float(t.count("apple")) for t in texts), user=f"u{i % 10}"))
    model = IdealPointReward(encoder="hash:32", variant="B", k=2, prior=1.0, **QUICK).fit(Feedback.of(rows))
    model.name = "ideal-point"
    assert "save and load" in check_reward(model, long=False).passed


def test_a_response_without_direction_is_unscored_and_named():
    pool, said = topics()
    model = IdealPointReward(encoder=pool.encoder(), variant="B", k=2, prompt_width=2, **QUICK).fit(said)
    x = pool.features.copy()
    x[5] = model.features.mean
    model.encoder = Pool(pool.candidates, x).encoder()
    scores = model.score(pool.candidates.take([4, 5]))
    assert scores.status == ["scored", "invalid"]
    assert np.isnan(scores.value).tolist() == [False, True]
    assert "length zero" in str(scores.reason[1])
    flat = Pool(pool.candidates, np.concatenate([pool.features[:, :2], np.ones((len(pool), 3))], axis=1))
    with pytest.raises(FeedbackError, match="length zero"):
        IdealPointReward(encoder=flat.encoder(), variant="B", k=2, prompt_width=2).fit(said)


def test_variant_b_asks_for_prompt_and_response_apart(world):
    assert IdealPointReward(variant="B", encoder="hash:32").params["encoder"] == "hash:32?features=prompt+response"
    with pytest.raises(ConfigError, match=r"features=prompt\+response"):
        world.fit(variant="B", k=2)
    with pytest.raises(ConfigError, match="each need some"):
        world.fit(variant="B", k=2, prompt_width=8)


def test_each_parameter_has_its_own_learning_rate():
    still, slow, fast = (torch.zeros(1, requires_grad=True) for _ in range(3))
    schedule = Schedule(0.1, 0.0, epochs=1, batch=4, decay=False)
    train([still, slow, fast], lambda rows: (still + slow + fast).sum(), 4, schedule, rates=[0.0, 1.0, 3.0])
    assert [round(float(p.detach()), 4) for p in (still, slow, fast)] == [0.0, -0.1, -0.3]


def test_errors_name_what_is_wrong(world):
    few = world.people.history(count=10, users=np.arange(3))
    with pytest.raises(FeedbackError, match="k=4 prototypes for 3 people"):
        IdealPointReward(encoder=world.pool.encoder(), k=4).fit(few)
    with pytest.raises(FeedbackError, match="at least 8"):
        IdealPointReward(encoder=world.pool.encoder()).fit(few)
    assert len(IdealPointReward(encoder=world.pool.encoder(), k=2, prior=1.0, **QUICK).fit(few).users) == 3
    with pytest.raises(FeedbackError, match="--map user=COLUMN"):
        IdealPointReward(encoder=world.pool.encoder()).fit(world.people.history(count=5, named=False))
    with pytest.raises(ConfigError, match="residual=True needs width=8"):
        world.fit(projector="mlp", residual=True, width=4, k=1)
    for name, value in (
        ("variant", "C"),
        ("k", 0),
        ("loss", "mse"),
        ("dropout", 1.0),
        ("prior", "maybe"),
        ("bound", -1),
    ):
        with pytest.raises(ConfigError, match=name):
            IdealPointReward(**{name: value})
    with pytest.raises(ConfigError, match="mixing=before"):
        world.fit(k=1, mixing="direct", **QUICK).ideal_features()


@pytest.mark.parametrize(
    "options",
    [
        {"loss": "hinge"},
        {"projector": "mlp", "residual": True, "dropout": 0.5, "bound": 3.0},
        {"mixing": "direct", "distance": "square", "prior": "none"},
    ],
)
def test_every_setting_fits_and_comes_back_from_its_arrays(world, options):
    model = world.fit(k=2, **options)
    assert world.accuracy(model.adapt(world.shots(10))) > 0.65
    fresh = IdealPointReward(encoder=world.pool.encoder(), **model.settings)
    fresh.restore(model.arrays())
    fresh.restore_people(model.people_table())
    some = world.pool.candidates.take(range(9)).asked_by(model.users[0])
    np.testing.assert_array_equal(fresh.score(some).value, model.score(some).value)


def test_the_seed_decides_and_hinge_scores_are_log_odds(world):
    one, two = (world.fit(k=2, loss="hinge") for _ in range(2))
    np.testing.assert_array_equal(one.mean, two.mean)
    adapted = one.adapt(world.shots(20))
    pairs = world.test.pairs(ties=False)
    table = adapted.score_table(world.test.candidates, list(world.test.users))
    logit = table[pairs.a, pairs.user] - table[pairs.b, pairs.user]
    loss = np.mean(np.logaddexp(0, -logit) + (1 - pairs.p) * logit)
    assert loss < np.log(2)


def test_the_command_line_fits_measures_adapts_and_scores(tmp_path: Path):
    rng = np.random.default_rng(0)
    words = ["apple", "pear", "rain", "roof", "sky", "line"]
    rows = []
    for i in range(600):
        texts = [" ".join(rng.choice(words, 4)) for _ in range(2)]
        like = "apple" if i % 30 < 15 else "rain"
        gap = texts[0].count(like) - texts[1].count(like)
        if gap:
            rows.append(
                {"prompt": f"q{i % 40}", "chosen": texts[gap < 0], "rejected": texts[gap > 0], "user": f"u{i % 30}"}
            )
    file = tmp_path / "said.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    arguments = (
        "--model",
        "ideal-point",
        "--encoder",
        "hash:32",
        "--set",
        "k=2",
        "--set",
        "epochs=15",
        "--set",
        "starts=1",
    )
    done = run("fit", file, *arguments, "--split", "user", "--holdout", 0.4, "--out", tmp_path / "m")
    assert done.code == 0, done.err
    held = [row for row in rows if row["user"] not in guerdon.load(tmp_path / "m").users]
    new = tmp_path / "new.jsonl"
    new.write_text("\n".join(map(json.dumps, held)))
    measured = run("eval", tmp_path / "m", new, "--shots", "2,5", "--json")
    assert measured.code == 0, measured.err
    added = run("adapt", tmp_path / "m", new, "--out", tmp_path / "m2")
    assert added.code == 0, added.err
    asker = held[0]["user"]
    (tmp_path / "c.jsonl").write_text(json.dumps({"prompt": "q", "response": "apple apple"}))
    scored = run("score", tmp_path / "m2", tmp_path / "c.jsonl", "--user", asker)
    assert scored.code == 0, scored.err
    assert scored.rows[0]["score"] is not None
    reward = guerdon.load(tmp_path / "m2")
    assert reward.score(replace(Candidates(["q"], ["apple"]), user=[asker])).reason == [None]
