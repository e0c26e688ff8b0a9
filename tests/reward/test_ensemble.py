"""Ensembles trained at once: against separate fits, and what their uncertainty is good for."""

from pathlib import Path

import numpy as np
import pytest

import guerdon
from guerdon.errors import ConfigError
from guerdon.feedback.schema import Candidates
from guerdon.reward.learned.ensemble import EnsembleReward, aggregate, draws
from guerdon.reward.learned.heads import LinearHead
from guerdon.reward.learned.model import RewardModel
from guerdon.worlds.mislabelled import Mislabelled


@pytest.fixture(scope="module")
def world() -> Mislabelled:
    return Mislabelled.draw(400, 0.1, dim=8, seed=0)


def test_the_first_member_is_the_single_model(world: Mislabelled) -> None:
    """Trained together or alone: the same start, batches and early stopping give the same network."""
    settings = {"encoder": world.pool.encoder(), "head": "mlp", "hidden": 16, "epochs": 6, "seed": 3}
    alone = RewardModel(dropout=0.0, **settings).fit(world.feedback)  # type: ignore[arg-type]
    together = EnsembleReward(members=3, resample="none", **settings).fit(world.feedback)  # type: ignore[arg-type]
    x = alone.features(world.pool.features)
    first = (together.member_values(x)[0] - together.shift[0]) / together.scale[0]
    np.testing.assert_allclose(first, alone.head(x), atol=1e-3)


def test_linear_members_are_separate_solutions(world: Mislabelled) -> None:
    """The joint L-BFGS against one solve a member, on data repeated as often as it was drawn."""
    model = EnsembleReward(encoder=world.pool.encoder(), head="linear", members=3, l2=0.01).fit(world.feedback)
    from guerdon.reward.learned.features import inner_split

    train, _ = inner_split(world.feedback, 0)
    data = model.compile(train)
    x = model.features(world.pool.encoder().encode(world.feedback.candidates))
    count = draws(data.pairs, 3, "bootstrap", 0)
    for member in range(3):
        head = LinearHead(l2=0.01)
        head.fit(x, data.take(np.repeat(np.arange(len(data)), count[member].astype(int))), None)
        np.testing.assert_allclose(model.weights[0][member, 0], head.weight, atol=2e-3)


def test_uncertainty_grows_away_from_the_data(world: Mislabelled) -> None:
    for kind in ("members", "precision"):
        for head in ("linear", "mlp"):
            model = EnsembleReward(
                encoder=world.pool.encoder(), head=head, uncertainty=kind, members=5, hidden=8, epochs=5
            ).fit(world.feedback)
            x = model.features(world.pool.features)
            assert model.std(5 * x).mean() > model.std(x).mean() > 0


def test_an_offset_of_a_member_is_no_uncertainty(world: Mislabelled) -> None:
    model = EnsembleReward(encoder=world.pool.encoder(), head="linear", members=4).fit(world.feedback)
    asked = world.pool.candidates.take(range(6))
    before = model.uncertainty(asked)
    model.shift = model.shift + np.array([5.0, -5.0, 1.0, 0.0])
    np.testing.assert_allclose(model.uncertainty(asked), before, atol=1e-9)


def test_aggregates() -> None:
    values = np.array([[1.0, 2.0], [3.0, 2.0], [2.0, 2.0]])
    std = values.std(0)
    assert aggregate(values, "mean").tolist() == [2.0, 2.0]
    assert aggregate(values, "min").tolist() == [1.0, 2.0]
    np.testing.assert_allclose(aggregate(values, "lcb", 2.0), [2 - 2 * std[0], 2.0])
    np.testing.assert_allclose(aggregate(values, "uwo", 2.0), [2 - 2 * std[0] ** 2, 2.0])


def test_draws_keep_judgements_whole(world: Mislabelled) -> None:
    pairs = world.feedback.pairs()
    count = draws(pairs, 4, "bootstrap", 0)
    assert (count.sum(1) == len(pairs)).all()
    assert not (count[0] == count[1]).all()
    assert (draws(pairs, 4, "subset", 0).mean(1).round(2) == 0.7).all()


@pytest.mark.parametrize("head", ["linear", "mlp"])
def test_it_is_saved_whole(world: Mislabelled, head: str, tmp_path: Path) -> None:
    rows = [guerdon.Candidates([f"p{i}"] * 2, [f"good {i}", f"bad {i}"]) for i in range(3)]
    from guerdon.worlds.example import example_feedback

    settings = {"head": head, "members": 3, "aggregate": "lcb", "uncertainty": "precision", "epochs": 2}
    model = EnsembleReward(encoder="hash:64", **settings).fit(example_feedback())  # type: ignore[arg-type]
    again = guerdon.load(model.save(tmp_path / "m"))
    for asked in rows:
        np.testing.assert_allclose(again.score(asked).value, model.score(asked).value)
        np.testing.assert_allclose(again.score(asked).std, model.score(asked).std)  # type: ignore[arg-type]
    assert len(model.explain(rows[0])) == 3
    assert len(model.score(Candidates([], []))) == 0


@pytest.mark.parametrize(
    "settings",
    [{"members": 2}, {"aggregate": "max"}, {"head": "linear", "resample": "none"}, {"inflation": 0.0}],
)
def test_bad_settings(settings: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        EnsembleReward(**settings)  # type: ignore[arg-type]
