"""Peer-reviewed training: who chooses for whom, when, and how much."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import guerdon
from guerdon.errors import ConfigError
from guerdon.feedback.star import Pairs
from guerdon.reward.learned.pair_networks import Scorer, margins
from guerdon.reward.learned.peer_review import PeerReviewed, _Training
from guerdon.reward.learned.peer_selection import dropped_share, kept
from guerdon.worlds.mislabelled import Mislabelled

QUICK = {"epochs": 8, "hidden": [64], "learning_rate": 2e-3, "batch": 50}


@pytest.fixture(scope="module")
def world() -> Mislabelled:
    return Mislabelled.draw(600, 0.3, dim=16, units=4, seed=3)


def accuracy(world: Mislabelled, model: PeerReviewed) -> float:
    x = world.test.reshape(-1, world.pool.dim)
    return world.accuracy(model.values(model.features(x)).mean(0).reshape(-1, 2))


def test_mistakes_are_selected_less_and_the_reward_is_better_for_it(world: Mislabelled) -> None:
    encoder = world.pool.encoder()
    long = {**QUICK, "epochs": 25}
    plain = PeerReviewed(encoder=encoder, noise=0.0, **long).fit(world.feedback)
    peer = PeerReviewed(encoder=encoder, noise=0.3, **long).fit(world.feedback)
    assert accuracy(world, peer) > accuracy(world, plain) + 0.03
    rate = peer.selection_rate
    assert rate[world.wrong].mean() < rate[~world.wrong].mean() - 0.3
    assert (plain.selection_rate == 1).all()
    assert ((rate >= 0) & (rate <= 1)).all()


def test_nothing_is_dropped_at_first_and_never_more_than_the_noise() -> None:
    assert dropped_share(0.0, 0.3, 2.0) == 0.0
    shares = [dropped_share(t, 0.3, 2.0) for t in np.linspace(0, 15, 50)]
    assert shares == sorted(shares)
    assert max(shares) == pytest.approx(0.3)
    assert dropped_share(0.0, 0.3, 0.0) == 0.3


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(-5, 5), min_size=1, max_size=60), st.floats(0, 0.49))
def test_the_kept_are_the_largest_signed_margins(values: list[float], share: float) -> None:
    margin = np.array(values)
    index = kept(margin, share)
    assert len(index) == len(margin) - int(np.floor(share * len(margin) + 1e-9))
    rest = np.setdiff1d(np.arange(len(margin)), index)
    if len(rest):
        assert margin[index].min() >= margin[rest].max()


def test_margins_are_signed_not_absolute() -> None:
    i, f = np.zeros(3, np.int32), np.ones(3)
    a, b = np.array([0, 0, 0]), np.array([1, 1, 1])
    pairs = Pairs(a, b, np.array([1.0, 0.0, 0.5]), f, f, i, i, np.arange(3))
    assert margins(np.array([3.0, 1.0]), pairs).tolist() == [2.0, -2.0, 0.0]


@pytest.mark.parametrize("select", ["peer", "self"])
def test_each_network_learns_from_what_the_other_chose(world: Mislabelled, select: str) -> None:
    """Against the slow way: each network's gradient is that of its loss on the other's (or its own) choice."""
    model = PeerReviewed(encoder=world.pool.encoder(), noise=0.4, warmup=0.0, select=select)
    data = model.compile(world.feedback)
    x = torch.as_tensor(world.pool.features[world.pool.rows(world.feedback.candidates)], dtype=torch.float32)
    nets = [Scorer(x.shape[1], [8], seed=s) for s in (0, 1)]
    training = _Training(nets, data, x, model.settings)
    rows = np.arange(100)
    training.loss(rows).backward()
    batch = data.pairs.take(rows)
    turn = np.where(batch.p > 0.5, 1.0, -1.0)
    gaps = [turn * (net(x)[batch.a] - net(x)[batch.b]).detach().numpy() for net in nets]
    chosen = [np.argsort(-g, kind="stable")[:60] for g in gaps]
    if select == "peer":
        chosen.reverse()
    assert set(chosen[0]) != set(chosen[1])
    for net, index in zip(nets, chosen, strict=True):
        sign = torch.as_tensor(turn[index], dtype=torch.float32)
        d = sign * (net(x)[batch.a[index]] - net(x)[batch.b[index]])
        slow = torch.autograd.grad(torch.nn.functional.softplus(-d).mean(), list(net.parameters()))
        for p, g in zip(net.parameters(), slow, strict=True):
            torch.testing.assert_close(p.grad, g, rtol=1e-4, atol=1e-6)


def test_easy_first_admits_half_then_grows_to_all(world: Mislabelled) -> None:
    model = PeerReviewed(encoder=world.pool.encoder(), noise=0.3, curriculum="easy-first", **QUICK)
    data = model.compile(world.feedback)
    x = torch.as_tensor(world.pool.features, dtype=torch.float32)
    training = _Training([Scorer(16, [8], seed=s) for s in (0, 1)], data, x, model.settings)
    for epoch in (0, 1):
        assert len(training.review.admitted(epoch)) == 600
        training.after_epoch(epoch)
    sizes = [len(training.review.admitted(e)) for e in range(2, 8)]
    assert (sizes[0], sizes[-1]) == (300, 600)
    assert sizes == sorted(sizes)
    ease = np.mean([margins(u, data.pairs) for u in training.utilities()], axis=0)
    assert set(training.review.admitted(2)) == set(np.argsort(-ease, kind="stable")[:300])
    model.fit(world.feedback)
    assert model.selection_rate[world.wrong].mean() < model.selection_rate[~world.wrong].mean()


def test_same_seed_same_reward_and_the_networks_differ(world: Mislabelled, tmp_path: Path) -> None:
    part = world.feedback.take(np.arange(150))
    fitted = [PeerReviewed(encoder=world.pool.encoder(), **QUICK).fit(part) for _ in range(2)]
    one, other = (m.arrays() for m in fitted)
    assert all((one[k] == other[k]).all() for k in one)
    assert not np.allclose(one["net0.w.0"], one["net1.w.0"])
    better = PeerReviewed(encoder=world.pool.encoder(), final="better", **QUICK).fit(part)
    assert len(better.heads) == 1
    scores = fitted[0].score(world.pool.candidates)
    assert scores.std is not None
    fitted[0].save(tmp_path / "m")
    again = guerdon.load(tmp_path / "m", verify=False)
    again.encoder = world.pool.encoder()  # type: ignore[attr-defined]
    np.testing.assert_allclose(again.score(world.pool.candidates).value, scores.value)


@pytest.mark.parametrize(
    ("settings_", "message"),
    [
        ({"noise": 0.5}, "from a half on the labels say nothing"),
        ({"batch": 8}, "at least 16"),
        ({"seed": 3, "peer_seed": 3}, "would be one"),
        ({"select": "both"}, "use peer or self"),
        ({"warmup": -1.0}, "passes >= 0"),
    ],
)
def test_wrong_settings_are_one_clear_line(settings_: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        PeerReviewed(**settings_)


def test_the_training_loop_takes_a_curriculum_and_leaves_the_global_generator_alone() -> None:
    from guerdon.reward.learned.networks import Schedule, mlp, train

    torch.manual_seed(0)
    state = torch.get_rng_state()
    net = mlp([3, 4, 1], torch.Generator().manual_seed(1))
    seen: list[list[int]] = []

    def loss(rows: np.ndarray) -> torch.Tensor:
        seen.append(sorted(rows.tolist()))
        return net(torch.ones(len(rows), 3)).square().mean()

    train(list(net.parameters()), loss, 10, Schedule(epochs=2, batch=4), admitted=lambda e: np.arange(3 + 5 * e))
    assert seen[0] == [0, 1, 2]
    assert sorted([*seen[1], *seen[2]]) == list(range(8))
    assert [len(s) for s in seen] == [3, 4, 4]
    assert (torch.get_rng_state() == state).all()
    assert [tuple(p.shape) for p in net.parameters()] == [(4, 3), (4,), (1, 4), (1,)]
