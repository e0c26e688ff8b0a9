"""Verification near errors, agreement about the rest: retrieval, provenance, budgets, queues, leaks."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from guerdon.curate.queue import Question
from guerdon.curate.retrieval import Nearest, neighbours, retrieve_errors
from guerdon.curate.verdicts import Verdicts
from guerdon.curate.verify import Loop, QueueVerifier, curated, verify
from guerdon.errors import ConfigError, FeedbackError
from guerdon.feedback.schema import Candidates
from guerdon.feedback.star import Feedback
from guerdon.reward.learned.model import RewardModel
from guerdon.worlds.pool import Pool

PAIRS, GOLD, BAD = 400, 60, 1


class World:
    """Four clusters; in one of them three quarters of the labels are wrong."""

    def __init__(self, seed: int = 0) -> None:
        rng = np.random.default_rng([seed, 1])
        n = PAIRS + GOLD
        self.cluster = rng.integers(0, 4, n)
        self.prompt = np.eye(4)[self.cluster] + 0.1 * rng.normal(size=(n, 4))
        r, w = rng.normal(size=(n, 2, 4)), rng.normal(size=4) + rng.normal(size=(4, 4))
        value = np.einsum("ntd,nd->nt", r, w[self.cluster])
        self.truth = value[:, 0] > value[:, 1]
        wrong = rng.random(n) < np.where(self.cluster < BAD, 0.75, 0.05)
        wrong[PAIRS:] = False
        self.said = self.truth ^ wrong
        x = np.concatenate([r, np.einsum("ntd,nc->ntdc", r, self.prompt).reshape(n, 2, -1)], 2).reshape(2 * n, -1)
        names = [f"prompt {i}" for i in range(n) for _ in range(2)]
        self.pool = Pool(Candidates(names, [f"response {i}" for i in range(2 * n)]), x)
        self.asked: list[str] = []

    def feedback(self, start: int, stop: int) -> Feedback:
        rows, said = self.pool.candidates, self.said[start:stop]
        return Feedback.from_columns(
            prompts=list(rows.prompts[2 * start : 2 * stop : 2]),
            responses=list(rows.responses[2 * start : 2 * stop]),
            offsets=np.arange(stop - start + 1) * 2,
            grades=np.stack([said, ~said], 1).ravel().astype(float),
        )

    def right(self, q: Question) -> float:
        i = int(str(q.prompt).split()[1])
        return float(bool(self.truth[i]) == (q.first == f"response {2 * i}"))

    def verifier(self, questions: list[Question]) -> list[float]:
        self.asked += [q.id for q in questions]
        return [self.right(q) for q in questions]

    def loop(self, **settings: object) -> Loop:
        given: dict = {
            "pool": self.feedback(0, PAIRS),
            "gold": self.feedback(PAIRS, PAIRS + GOLD),
            "fit": lambda data: RewardModel(encoder=self.pool.encoder(), l2=1e-3).fit(data),
            "verifier": self.verifier,
            "index": Nearest.of(self.prompt[:PAIRS]),
            "gold_index": Nearest.of(self.prompt[PAIRS:]),
            "budget": 60,
            "rounds": 3,
        }
        return Loop(**{**given, **settings})  # type: ignore[arg-type]


def test_more_neighbours_the_worse_the_reward_is_and_none_where_it_is_sure() -> None:
    assert neighbours(np.array([0.0, 0.5, 0.74, 0.76, 1.0]), 8, 0.75).tolist() == [8, 4, 3, 0, 0]


def test_retrieval_is_near_the_worst_errors_and_never_takes_twice() -> None:
    index = Nearest.of(np.array([[1, 0], [0.9, 0.1], [0, 1], [-1, 0], [0.1, 1]]))
    gold = Nearest.of(np.array([[1, 0.0], [0, 1.0]]))
    open_ = np.ones(5, bool)
    found = retrieve_errors(index, gold, np.array([0.1, 0.9]), 2, most=2, open_=open_)
    assert found.tolist() == [0, 1]
    open_[0] = False
    assert 0 not in retrieve_errors(index, gold, np.array([0.1, 0.9]), 5, most=2, open_=open_)
    assert not len(retrieve_errors(index, gold, np.array([0.9, 0.9]), 2, open_=open_))
    with pytest.raises(ConfigError, match="build both the same way"):
        index.similarity(Nearest.of(np.eye(2), ["response"]))


def test_verification_goes_where_the_reward_is_wrong_and_helps() -> None:
    world = World()
    course = world.loop().stage1()
    bad = (world.cluster[:PAIRS] < BAD)[course.rows("gold")]
    assert course.rows("gold").sum() == 60
    assert bad.mean() > 1.5 * (world.cluster[:PAIRS] < BAD).mean()
    assert course.accuracy[-1] > course.accuracy[0]
    chance = World().loop(select="random").stage1()
    assert course.accuracy[-1] >= chance.accuracy[-1]


def test_every_pair_gets_a_provenance_and_the_step_can_be_undone() -> None:
    world = World()
    loop = world.loop(recycle="yes", flip=0.6)
    course = loop.run()
    result = curated(loop, course)
    states = result.report["provenance"]
    assert sum(states.values()) == PAIRS
    assert {"gold", "kept", "flipped"} <= set(states)
    for row in result.decisions.to_pylist():
        start = row["why"].split(":")[0]
        expected = {"gold": ("kept", "labelled"), "kept": ("kept",), "flipped": ("flipped",), "dropped": ("dropped",)}
        assert row["action"] in expected[start], row
        assert (row["decided_by"] == "the verifier") == (start == "gold")
    gold = result.decisions.filter(result.decisions["round"].is_valid())
    assert sorted(gold["round"].to_pylist()) == [1.0] * 20 + [2.0] * 20 + [3.0] * 20
    out = Verdicts.of(result.feedback)
    number = [int(str(result.feedback.candidates.prompts[i]).split()[1]) for i in out.chosen]
    error_before = np.mean(world.said[:PAIRS] != world.truth[:PAIRS])
    assert np.mean(out.first != world.truth[number]) < error_before / 2
    assert list(result.undo().judgements()) == list(loop.pool.judgements())
    assert result.report["cost"] == {"verified": 60, "human_minutes": 60.0, "judged_pairs": 0}


def test_it_is_deterministic() -> None:
    one, two = World(), World()
    first, second = one.loop().run(), two.loop().run()
    assert one.asked == two.asked
    assert first.state.tolist() == second.state.tolist()
    assert first.why.tolist() == second.why.tolist()


def test_a_queue_stops_cleanly_and_goes_on_where_it_stopped(tmp_path: Path) -> None:
    world, path = World(), tmp_path / "queue.jsonl"
    straight = World()
    whole = straight.loop().run()
    waited = []
    for _ in range(4):
        course = world.loop(verifier=QueueVerifier(path)).run()
        waited.append(course.waiting)
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        for row in rows:
            truth = world.right(Question(row["prompt"], *row["responses"]))
            row["grades"] = [truth, 1 - truth]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert waited == [20, 20, 20, 0]
    assert course.state.tolist() == whole.state.tolist()
    assert [json.loads(line)["id"] for line in path.read_text().splitlines()] == straight.asked
    partial = world.loop(verifier=lambda qs: [1.0, *[None] * (len(qs) - 1)])
    stopped = curated(partial, partial.run())
    assert stopped.report["waiting"] == 19
    assert stopped.report["provenance"] == {"pool": PAIRS - 1, "gold": 1}


def test_judges_see_near_verified_examples_and_an_order_they_follow_is_no_vote() -> None:
    world = World()
    seen = []

    def guided(questions: list[Question], examples: list) -> list[float]:
        for q, near in zip(questions, examples, strict=True):
            mine = world.cluster[int(str(q.prompt).split()[1])]
            seen.append(np.mean([world.cluster[int(str(e.prompt).split()[1])] == mine for e, _ in near]))
            assert all(p == world.right(e) for e, p in near)
        return [world.right(q) for q in questions]

    course = world.loop(judges=[guided]).stage1()
    silver = course.rows("silver")
    assert silver.sum() > 20
    assert ((course.p > 0.5) == world.truth[:PAIRS])[silver].all()
    assert np.mean(seen) > 0.5  # a quarter by chance
    first = World().loop(judges=[lambda qs, examples: [1.0] * len(qs)]).stage1()
    assert not first.rows("silver").any()
    guided.guided = False  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match="takes no examples"):
        world.loop(judges=[guided])


def test_measuring_on_training_data_is_refused() -> None:
    world = World()
    with pytest.raises(FeedbackError, match="refused"):
        world.loop(gold=Feedback.of([]))
    with pytest.raises(FeedbackError, match="20 gold validation comparisons are also in the pool"):
        world.loop(gold=world.feedback(PAIRS - 20, PAIRS + 40))


def test_flipping_needs_confidence() -> None:
    world = World()
    sure, any_ = (
        world.loop(agreement="either", recycle="yes", flip=flip).run().rows("flipped").sum() for flip in (0.95, 0.5)
    )
    assert sure < any_


def test_the_step_reads_files_and_texts(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    words = {"maths": "sum proof number", "cooking": "bread oven salt"}
    rows = []
    for i in range(150):
        kind = "maths" if i % 3 == 0 else "cooking"
        good, bad = f"clear careful answer {i}", f"vague sloppy answer {i}"
        said = (kind == "cooking") ^ (rng.random() < 0.1)
        rows.append(
            {"prompt": f"{words[kind]} {i}", "chosen": good if said or i >= 110 else bad}
            | {"rejected": bad if said or i >= 110 else good}
        )
    pool, gold = tmp_path / "pool.jsonl", tmp_path / "gold.jsonl"
    pool.write_text("".join(json.dumps(r) + "\n" for r in rows[:110]))
    gold.write_text("".join(json.dumps(r) + "\n" for r in rows[110:]))

    def people(questions: list[Question]) -> list[float]:
        return [float("clear" in str(q.first)) for q in questions]

    found = verify(
        Feedback.read(pool),
        gold=str(gold),
        verifier=people,
        encoder="hash:256",
        budget=20,
        rounds=2,
        settings={"l2": 0.01},
    )
    assert found.report["provenance"]["gold"] <= 20
    assert found.report["gold_accuracy_by_round"]
    with pytest.raises(ConfigError, match="verify needs gold"):
        verify(Feedback.read(pool))
