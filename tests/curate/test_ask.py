"""Asking: closed forms against brute force, batches that do not repeat, and more accuracy a question than chance."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit

from guerdon.curate.ask import (
    ask,
    choose,
    expected,
    information,
    next_questions,
    population_belief,
    questions_of,
)
from guerdon.curate.queue import Question, answers, read_answers, write_queue
from guerdon.curate.registry import step
from guerdon.errors import ConfigError, FeedbackError
from guerdon.feedback.schema import Candidates, Judgement
from guerdon.feedback.star import Feedback
from guerdon.reward.learned.model import RewardModel
from guerdon.reward.personal.low_rank import LowRankReward
from guerdon.reward.personal.variational import VariationalReward
from guerdon.worlds.annotators import Annotator
from guerdon.worlds.people import Population
from guerdon.worlds.pool import Pool


@settings(max_examples=20, deadline=None)
@given(st.floats(-4, 4), st.floats(0, 9))
def test_information_is_what_a_million_draws_say(mean: float, variance: float) -> None:
    t = mean + np.sqrt(variance) * np.random.default_rng(0).normal(size=200_000)
    p = expit(t)

    def h(q: Any) -> Any:
        return -q * np.log(q) - (1 - q) * np.log1p(-q)

    brute = h(p.mean()) - h(p).mean()
    assert information(np.array([mean]), np.array([variance]))[0] == pytest.approx(brute, abs=4e-3)
    assert expected(np.array([mean]), np.array([variance]))[1][0] == pytest.approx((p * (1 - p)).mean(), abs=2e-3)


def test_nothing_is_learned_where_everything_is_known() -> None:
    assert information(np.array([0.0, 2.0]), np.zeros(2)) == pytest.approx([0, 0], abs=1e-12)
    assert 0 < information(np.array([0.0]), np.array([1e4]))[0] < np.log(2)


def test_greedy_batches_are_those_of_the_naive_algorithm() -> None:
    """After every choice the covariance is inverted anew; each gain is looked up in it."""
    rng = np.random.default_rng(1)
    z, mean = rng.normal(size=(40, 3)), rng.normal(size=3)
    cov = np.diag([2.0, 0.5, 1.0])
    for by in ("logdet", "information", "variance"):
        fast = choose(z, mean, cov, 6, by=by)
        precision, left, slow = np.linalg.inv(cov), list(range(40)), []
        for _ in range(6):
            now = np.linalg.inv(precision)
            gains = []
            for j in left:
                m, v = np.array([z[j] @ mean]), np.array([z[j] @ now @ z[j]])
                f = float(expected(m, v)[1][0])
                after = np.linalg.inv(precision + f * np.outer(z[j], z[j]))
                if by == "logdet":
                    gains.append(0.5 * (np.linalg.slogdet(now)[1] - np.linalg.slogdet(after)[1]))
                elif by == "variance":
                    gains.append(sum(x @ (now - after) @ x for x in z))
                else:
                    gains.append(float(information(m, v)[0]))
            best = left[int(np.argmax(gains))]
            slow.append((best, max(gains)))
            m, v = np.array([z[best] @ mean]), np.array([z[best] @ now @ z[best]])
            precision = precision + float(expected(m, v)[1][0]) * np.outer(z[best], z[best])
            left.remove(best)
        assert fast.index.tolist() == [b for b, _ in slow], by
        assert fast.gain == pytest.approx([g for _, g in slow], rel=1e-6)


def test_a_batch_does_not_ask_the_same_thing_twice() -> None:
    one, other = np.array([1.0, 0.0]), np.array([0.0, 0.9])
    z = np.array([one, one * 0.999, -one, other])
    assert set(choose(z, np.zeros(2), np.eye(2) * 4, 2).index.tolist()) & {3}
    assert 3 not in choose(z, np.zeros(2), np.eye(2) * 4, 2, diverse=False).index


def test_choices_are_of_the_seed_and_not_of_the_order() -> None:
    z = np.tile(np.array([[1.0, 1.0]]), (30, 1))
    first = [int(choose(z, np.zeros(2), np.eye(2), 1, seed=s).index[0]) for s in range(8)]
    again = [int(choose(z, np.zeros(2), np.eye(2), 1, seed=s).index[0]) for s in range(8)]
    assert first == again
    assert len(set(first)) > 2


def test_belief_of_everybody_is_the_inverse_hessian() -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    z, w, weight = rng.normal(size=(50, 4)), rng.normal(size=4), rng.uniform(0.5, 2, 50)
    p = torch.as_tensor(rng.random(50))
    _, cov = population_belief(z, w, 0.01, weight)

    def loss(v: Any) -> Any:
        t = torch.as_tensor(z) @ v
        data = torch.as_tensor(weight) * (torch.nn.functional.softplus(-t) + (1 - p) * t)
        return data.sum() + 0.5 * 0.01 * weight.sum() * (v @ v)

    hessian = torch.autograd.functional.hessian(loss, torch.as_tensor(w))
    assert np.linalg.inv(cov) == pytest.approx(hessian.numpy(), rel=1e-8)  # type: ignore[union-attr]


class World:
    def __init__(self, seed: int) -> None:
        self.pool = Pool.planted(80, 4, 12, seed=seed)
        attributes = np.linalg.qr(np.random.default_rng([seed, 7]).normal(size=(12, 3)))[0]
        self.population = Population.simulate(
            "signed",
            self.pool,
            self.pool.features @ attributes,
            users=70,
            annotators=Annotator.bradley_terry(4.0, standardize=False),
            held_out=0.25,
            seed=seed,
        )
        self.strangers = np.arange(50, 70)
        self.model = LowRankReward(
            encoder=self.pool.encoder(), rank=3, l2=1.0, l2_basis=1.0, item_effects="none", seed=seed
        ).fit(self.population.history(count=30, users=np.arange(50)))
        self.shown = np.flatnonzero(np.isin(self.pool.prompt_of, self.population.train))

    def accuracy(self, by: str, count: int, seed: int) -> float:
        pop, pool = self.population, self.pool
        model = copy.copy(self.model)  # update() replaces its table of people
        candidates, pairs = questions_of(pool.candidates.take(self.shown))
        u = model.utilities(candidates)
        z = u[pairs[:, 0]] - u[pairs[:, 1]]
        for s in self.strangers:
            name, left = pop.users[s], np.arange(len(pairs))
            for k in range(count):
                mean, cov = model.belief(name)
                chosen = choose(z[left, 1:], mean, cov, 1, offset=z[left, 0], by=by, seed=seed * 1000 + k)
                j = left[chosen.index]
                left = np.setdiff1d(left, j)
                a, b = self.shown[pairs[j, 0]], self.shown[pairs[j, 1]]
                says = np.random.default_rng([seed, s, k]).random() < pop.preference(np.array([s]), a, b)
                model.update_from_utilities(name, z[j], says.astype(float))
        asked = pop.history(count=60, users=self.strangers, held_out=True, annotator=Annotator.perfect(), seed=1)
        q, rows = asked.pairs(ties=False), pool.rows(asked.candidates)
        table = model.score_table(pool.candidates, [pop.users[s] for s in self.strangers])
        difference = table[rows[q.a], q.user] - table[rows[q.b], q.user]
        return float(np.mean((difference > 0) == (q.p > 0.5)))


def test_four_chosen_questions_are_worth_six_at_random() -> None:
    """Poddar et al. (071), over five populations of strangers, each asked twice over."""
    worlds = [World(seed) for seed in range(5)]

    def accuracy(by: str, count: int) -> float:
        return float(np.mean([w.accuracy(by, count, 100 * k + i) for i, w in enumerate(worlds) for k in range(2)]))

    chosen, chance, same = accuracy("information", 4), accuracy("random", 6), accuracy("random", 4)
    assert chosen >= chance
    assert chosen >= same + 0.02


def test_questions_about_everybody_beat_random_ones() -> None:
    """Three features hardly vary in the pool but decide: D-optimal questions show them, random ones do not."""
    chosen, chance = [], []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        z = rng.normal(size=(2000, 12)) * np.r_[np.ones(9), np.full(3, 0.15)]
        z[rng.random(2000) < 0.03] *= np.r_[np.ones(9), np.full(3, 10.0)]
        w = rng.normal(size=12)
        test = rng.normal(size=(3000, 12))
        for by, out in (("logdet", chosen), ("random", chance)):
            mean, cov, asked, said = np.zeros(12), np.eye(12), np.zeros(0, int), np.zeros(0)
            for part in range(4):
                left = np.setdiff1d(np.arange(2000), asked)
                j = left[choose(z[left], mean, cov, 15, by=by, seed=seed + part).index]
                asked = np.r_[asked, j]
                said = np.r_[said, np.random.default_rng([seed, part]).random(15) < expit(3 * z[j] @ w)]
                from guerdon.reward.personal.weights import solve

                found, c = solve(z[asked], said, np.zeros(len(asked), int), 1, precision=np.eye(12))
                mean, cov = found[0], c[0]
            out.append(np.mean((test @ mean > 0) == (test @ w > 0)))
    assert np.mean(chosen) >= np.mean(chance) + 0.03


def test_next_questions_skip_what_was_asked_and_say_why() -> None:
    world = World(0)
    pool = world.pool.candidates.take(world.shown[:12])
    first = next_questions(world.model, "u60", pool, 3)
    assert len({q.id for q in first}) == 3
    assert "information about u60" in first[0].why
    assert first[0].gain >= first[-1].gain - 1e-9
    told = Feedback.of([Judgement(q.prompt, (q.second, q.first), (1.0, 0.0), user="u60") for q in first])
    after = next_questions(world.model, "u60", pool, 100, answered=told)
    shown = {frozenset((str(q.first), str(q.second))) for q in first}
    assert not shown & {frozenset((str(q.first), str(q.second))) for q in after}
    assert len(after) == len(next_questions(world.model, "u61", pool, 100, answered=told)) - 3


def test_everybody_is_asked_by_a_linear_model() -> None:
    world = World(1)
    told = world.population.history(count=5, users=np.arange(20))
    model = RewardModel(encoder=world.pool.encoder()).fit(told)
    found = next_questions(model, None, world.pool.candidates, 4, answered=told, by="logdet", max_pairs=200)
    assert len(found) == 4
    assert all(q.user is None for q in found)
    with pytest.raises(ConfigError, match="answered"):
        next_questions(model, None, world.pool.candidates, 4)


def test_the_step_writes_a_queue_that_comes_back_as_feedback(tmp_path: Path) -> None:
    world = World(0)
    told = world.population.history(count=4, users=np.array([50, 51]))
    queue = tmp_path / "q.jsonl"
    found = ask(told, reward=world.model, n=2, queue=str(queue))
    assert list(found.feedback.judgements()) == list(told.judgements())
    assert (found.report["questions"], found.report["people_asked"]) == (4, 2)
    rows = [json.loads(line) for line in queue.read_text().splitlines()]
    assert [r["grades"] for r in rows] == [[None, None]] * 4
    assert not read_answers(queue)
    assert rows[0]["comment"].startswith("information about u50")
    rows[1]["grades"], rows[3]["grades"] = [0, 1], [1, 1]
    queue.write_text("".join(json.dumps(r) + "\n" for r in rows))
    ask(told, reward=world.model, n=2, queue=str(queue))  # asked again: nothing doubled, nothing lost
    assert read_answers(queue) == {rows[1]["id"]: 0.0, rows[3]["id"]: 0.5}
    added = step("answers")(told, queue=str(queue))
    assert (added.report["added"], added.report["unanswered"]) == (2, 2)
    assert added.decisions["why"].to_pylist()[-1].startswith("asked because: information about")
    assert list(added.undo().judgements()) == list(told.judgements())
    assert len(answers(added.feedback, queue=str(queue)).feedback) == len(added.feedback)


def test_a_reward_that_says_what_answers_tell_is_asked_for_its_questions() -> None:
    pool = Pool.planted(40, 4, 6, seed=0)
    wanted = np.eye(6)[:1]
    people = Population.simulate(
        "clustered", pool, users=30, prototypes=np.concatenate([wanted, -wanted]), spread=0.0,
        annotators=Annotator.perfect(), seed=0,
    )  # fmt: skip
    said = people.history(count=20)
    quick = {"hidden": 16, "latent": 4, "epochs": 10, "learning_rate": 3e-3}
    reward = VariationalReward(encoder=pool.encoder(), inference="people", **quick).fit(said)
    found = next_questions(reward, None, pool.candidates, 6)
    nats = [q.gain for q in found]
    assert len({str(q.prompt) for q in found}) == 6  # one a prompt
    assert nats[0] == max(nats)
    assert "information about a stranger" in found[0].why
    with pytest.raises(ConfigError, match=r"use by=information"):
        next_questions(reward, None, pool.candidates, 2, by="logdet")


def test_mistakes_are_one_clear_line(tmp_path: Path) -> None:
    world = World(0)
    told = world.population.history(count=3, users=np.array([50]))
    with pytest.raises(ConfigError, match="use one of information"):
        ask(told, reward=world.model, by="magic")
    with pytest.raises(ConfigError, match="needs a linear model"):
        ask(told, reward=world.model, about="population")
    with pytest.raises(FeedbackError, match="no question is left"):
        next_questions(world.model, None, Candidates(["p", "p"], ["same", "same"]), 1)
    with pytest.raises(ConfigError, match="no such file"):
        answers(told, queue=str(tmp_path / "none.jsonl"))
    path = tmp_path / "q.jsonl"
    write_queue(path, [Question("p", "a", "b")])
    path.write_text(path.read_text().replace("[null, null]", '"yes"'))
    with pytest.raises(FeedbackError, match="line 1, grades"):
        read_answers(path)
