"""Robust losses, cartography, contrastive terms and the meta step, each against what it should be by definition."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from guerdon.errors import ConfigError, FeedbackError
from guerdon.feedback.schema import Candidates
from guerdon.feedback.star import Pairs
from guerdon.reward.learned.contrastive import assignments, simcse, spread, swav
from guerdon.reward.learned.likelihood import BradleyTerry
from guerdon.reward.learned.meta_step import Samples, at, difference_objective, pushed, read_samples
from guerdon.reward.learned.pair_networks import Scorer
from guerdon.reward.learned.robust import RobustReward, robust_labels
from guerdon.worlds.mislabelled import Mislabelled
from guerdon.worlds.pool import Pool

QUICK = {"epochs": 6, "hidden": [32], "learning_rate": 2e-3, "batch": 50}


@pytest.fixture(scope="module")
def world() -> Mislabelled:
    return Mislabelled.draw(500, 0.3, dim=16, units=4, seed=5)


def one(p: float) -> Pairs:
    i = np.zeros(1, np.int32)
    return Pairs(i, i + 1, np.array([p]), np.ones(1), np.ones(1), i, i, i.astype(np.int64))


@pytest.mark.parametrize("p", [1.0, 0.0])
@pytest.mark.parametrize("d", [-2.0, 0.0, 1.3])
def test_robust_losses_are_bradley_terry_with_another_label(p: float, d: float) -> None:
    e, turn = 0.3, 1.0 if p == 1 else -1.0
    right, wrong = np.log1p(np.exp(-turn * d)), np.log1p(np.exp(turn * d))
    u = np.array([d, 0.0])
    losses = {
        name: BradleyTerry(robust_labels(one(p), name, e), 2)(u, np.zeros(0))[0]
        for name in ("bradley-terry", "smoothed", "corrected")
    }
    assert losses["bradley-terry"] == pytest.approx(right)
    assert losses["smoothed"] == pytest.approx((1 - e) * right + e * wrong)
    assert losses["corrected"] == pytest.approx(((1 - e) * right - e * wrong) / (1 - 2 * e))


def test_the_corrected_loss_is_unbiased() -> None:
    """Its mean over labels turned round with probability e is the loss on the clean label."""
    e, u = 0.2, np.array([0.7, 0.0])
    loss = {p: BradleyTerry(robust_labels(one(p), "corrected", e), 2)(u, np.zeros(0))[0] for p in (1.0, 0.0)}
    assert (1 - e) * loss[1.0] + e * loss[0.0] == pytest.approx(np.log1p(np.exp(-0.7)))


def accuracy(world: Mislabelled, model: RobustReward) -> float:
    x = world.test.reshape(-1, world.pool.dim)
    return world.accuracy(model.values(model.features(x)).mean(0).reshape(-1, 2))


def test_cartography_drops_mostly_mistakes_and_dynamics_sort_pairs(world: Mislabelled) -> None:
    settings = {**QUICK, "epochs": 25, "early_stopping": False, "dropout": 0.0, "noise": 0.3}
    plain = RobustReward(encoder=world.pool.encoder(), **settings).fit(world.feedback)
    assert plain.dynamics is not None
    low = np.argsort(plain.dynamics.mean)[:150]
    assert world.wrong[low].mean() > 0.5
    kinds = plain.dynamics.kinds()
    assert world.wrong[kinds == "non-robust"].mean() > world.wrong[kinds == "robust"].mean() + 0.2
    assert sum(plain.summary["training_dynamics"].values()) == 500
    chosen = RobustReward(encoder=world.pool.encoder(), **settings, cartography=True).fit(world.feedback)
    assert chosen.summary["dropped_as_mislabelled"] == 150
    assert accuracy(world, chosen) > accuracy(world, plain)


def test_simcse_is_its_definition() -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(5, 3, generator=generator, dtype=torch.float64) for _ in range(2))
    total = 0.0
    for x, y in ((a, b), (b, a)):
        for i in range(5):
            cosines = [float(torch.cosine_similarity(x[i], y[j], dim=0)) / 0.1 for j in range(5)]
            total += -(cosines[i] - np.log(np.sum(np.exp(cosines))))
    assert float(simcse(a, b)) == pytest.approx(total / 10)
    assert float(simcse(a, a)) < float(simcse(a, b))


def test_swav_assigns_evenly_and_rewards_equal_views() -> None:
    generator = torch.Generator().manual_seed(1)
    h, prototypes = torch.randn(64, 8, generator=generator), torch.randn(4, 8, generator=generator)
    q = assignments(torch.nn.functional.normalize(h) @ torch.nn.functional.normalize(prototypes).T)
    torch.testing.assert_close(q.sum(1), torch.ones(64))
    assert q.sum(0).min() > 8  # 16 each, if it could be exact
    assert float(swav(h, h, prototypes)) < float(swav(h, h.flip(0), prototypes))


def test_spread_sees_a_collapse() -> None:
    h = torch.randn(200, 6, generator=torch.Generator().manual_seed(2))
    assert spread(h) > 0.9
    assert spread(h * 0.01 + 1) < 0.01


@pytest.mark.parametrize("contrast", ["simcse", "swav"])
@pytest.mark.parametrize("on", ["responses", "difference"])
def test_contrastive_terms_train_and_spread_features(world: Mislabelled, contrast: str, on: str) -> None:
    part = world.feedback.take(np.arange(200))
    settings = {**QUICK, "early_stopping": False}
    plain = RobustReward(encoder=world.pool.encoder(), **settings).fit(part)
    model = RobustReward(
        encoder=world.pool.encoder(), contrast=contrast, contrast_on=on, contrast_weight=1.0, **settings
    ).fit(part)
    assert model.summary["feature_spread"] > plain.summary["feature_spread"]
    assert not np.allclose(model.score(world.pool.candidates).value, plain.score(world.pool.candidates).value)


# ---------------------------------------------------------------------- the meta step


@pytest.fixture
def policy(world: Mislabelled) -> tuple[Pool, Candidates]:
    x = np.random.default_rng(0).normal(size=(40, 16)) + 1.0
    samples = Candidates([f"s{i // 4}" for i in range(40)], [f"r{i}" for i in range(40)])
    first = world.pool.candidates
    both = Candidates([*first.prompts, *samples.prompts], [*first.responses, *samples.responses])
    return Pool(both, np.concatenate([world.pool.features, x])), samples


def test_the_inner_step_is_an_ascent_and_the_gradient_is_taken_there_but_applied_here() -> None:
    net = Scorer(4, [6], seed=0).double()
    x = torch.randn(12, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    samples = Samples.of(x, Candidates([f"p{i // 3}" for i in range(12)], [f"r{i}" for i in range(12)]))
    assert len(samples.pairs) == 4 * 3
    pairs = torch.as_tensor(samples.pairs)
    moved = pushed(net, samples, pairs, 0.05)
    before, after = difference_objective(net(x), pairs), difference_objective(at(net, moved, x), pairs)
    assert after > before
    slow = torch.stack([torch.sigmoid((net(x)[i] - net(x)[j]).abs()) for i, j in samples.pairs]).mean()
    assert before.item() == pytest.approx(slow.item())
    # first order: the gradient by theta of L(theta + eta g) equals the gradient of L at theta'
    data = torch.randn(7, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    at(net, moved, data).square().mean().backward()
    there = copy.deepcopy(net)
    with torch.no_grad():
        for name, p in there.named_parameters():
            p.copy_(moved[name])
    there.zero_grad()
    there(data).square().mean().backward()
    for p, q in zip(net.parameters(), there.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad)


def test_no_step_is_plain_training_to_the_bit_and_a_step_is_not(
    world: Mislabelled, policy: tuple[Pool, Candidates]
) -> None:
    pool, samples = policy
    part = world.feedback.take(np.arange(100))

    def fit(**settings: object) -> np.ndarray:
        model = RobustReward(encoder=pool.encoder(), **QUICK, **settings).fit(part)  # type: ignore[arg-type]
        return model.score(pool.candidates).value

    plain = fit()
    assert (fit(policy=samples, meta_step=0.0) == plain).all()
    assert not np.allclose(fit(policy=samples, meta_step=1.0), plain)


def test_refresh_learns_on_with_new_samples(world: Mislabelled, policy: tuple[Pool, Candidates]) -> None:
    pool, samples = policy
    model = RobustReward(encoder=pool.encoder(), **QUICK).fit(world.feedback)
    before = model.score(pool.candidates).value
    fresh = model.refresh(samples, world.feedback)
    assert (model.score(pool.candidates).value == before).all()
    after = fresh.score(pool.candidates).value
    assert not np.allclose(after, before)
    assert np.corrcoef(after, before)[0, 1] > 0.8  # it went on from there
    assert accuracy(world, fresh) > accuracy(world, model) - 0.05


def test_policy_samples_are_read_from_a_file_and_checked(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    path.write_text('{"prompt": "p", "response": "a"}\n{"prompt": "p", "responses": ["b", "c"]}\n')
    found = read_samples(str(path))
    assert (list(found.prompts), list(found.responses)) == (["p"] * 3, ["a", "b", "c"])
    path.write_text(json.dumps({"prompt": "p"}) + "\n")
    with pytest.raises(FeedbackError, match=r"s.jsonl:1: a policy sample needs"):
        read_samples(str(path))
    with pytest.raises(FeedbackError, match="at least 2 a prompt: the prompt of sample 2 has one"):
        Samples.of(torch.zeros(3, 2), Candidates(["p", "p", "q"], ["a", "b", "c"]))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"loss": "hinge"}, "use bradley-terry, smoothed, corrected"),
        ({"contrast": "simcse", "dropout": 0.0}, "two views under dropout"),
        ({"meta_step": -0.1}, "it is an ascent"),
        ({"noise": 0.6}, "from a half on"),
    ],
)
def test_wrong_settings_are_one_clear_line(settings: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        RobustReward(**settings)
