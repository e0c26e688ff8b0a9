"""Representation reading: against a naive twin, pairwise by nature, saved whole; contrast; consistent search."""

from pathlib import Path

import numpy as np
import pytest
from scipy.special import expit

import guerdon
from guerdon.errors import ConfigError, FeedbackError
from guerdon.feedback.messages import as_text
from guerdon.feedback.schema import Candidates, Judgement
from guerdon.feedback.star import Feedback
from guerdon.papers.genies import HEADS, World
from guerdon.reward.learned.consistent_search import ConsistentSearch
from guerdon.reward.learned.directions import (
    BEFORE,
    BEHIND,
    NO,
    YES,
    Contrasted,
    DirectionReward,
    Framed,
    cosine,
    direction_of,
    fitted_steepness,
    probe_accuracy,
    response_probe_accuracy,
)


@pytest.fixture(scope="module")
def world() -> World:
    return World(0, 3.0, pairs=60, tests=200)


def test_a_pair_is_read_by_the_mean_cosine_of_the_blocks(world: World) -> None:
    """The naive double loop over pairs and blocks."""
    encoder = world.pool.encoder()
    reward = DirectionReward(encoder=encoder, blocks=8, top=None).fit(world.train)
    a, b = encoder.encode(world.right).astype(float), encoder.encode(world.wrong).astype(float)
    better = encoder.encode(world.pool.candidates.take(range(60))).astype(float)
    worse = encoder.encode(world.pool.candidates.take(range(260, 320))).astype(float)
    width = a.shape[1] // 8
    said = []
    for x, y in zip(a, b, strict=True):
        cosines = []
        for h in range(8):
            part = slice(h * width, (h + 1) * width)
            v, gap = (better - worse)[:, part].mean(0), (x - y)[part]
            cosines.append(gap @ v / (np.linalg.norm(gap) * np.linalg.norm(v)))
        said.append(expit(reward.steepness * np.mean(cosines)))
    np.testing.assert_allclose(reward.prefer(world.right, world.wrong).value, said, atol=1e-6)
    both = Candidates([*world.right.prompts, *world.wrong.prompts], [*world.right.responses, *world.wrong.responses])
    n = len(world.right)
    np.testing.assert_allclose(reward.prefer_at(both, np.arange(n), n + np.arange(n), [None] * n), said, atol=1e-6)


def test_length_of_a_difference_does_not_count_but_where_it_points() -> None:
    gaps = np.array([[1.0, 0.0], [100.0, 0.0], [0.0, 0.0], [-1.0, 0.0]])
    assert cosine(gaps, np.array([2.0, 0.0])).tolist() == [1, 1, 0, -1]
    assert cosine(gaps, np.zeros(2)).tolist() == [0, 0, 0, 0]


def test_a_component_points_where_the_preferred_are() -> None:
    rng = np.random.default_rng(0)
    axis = np.array([0.6, 0.8, 0.0])
    gaps = (1 + rng.normal(size=(200, 1))) * axis + 0.01 * rng.normal(size=(200, 3))
    assert direction_of(gaps, "component") @ axis == pytest.approx(1, abs=1e-3)
    assert direction_of(-gaps, "component") @ axis == pytest.approx(-1, abs=1e-3)


def test_weak_causes_everywhere_are_heard_over_a_strong_cue(world: World) -> None:
    encoder = world.pool.encoder()
    everything = DirectionReward(encoder=encoder, blocks=HEADS, top=None)
    few = DirectionReward(encoder=encoder, blocks=HEADS, top=3)
    assert world.accuracy(everything) > world.accuracy(few) + 0.3
    assert few.reads_blocks.tolist() == [0, 1, 2]  # the ones with the cue order held-out pairs best


def test_saved_whole_and_its_score_is_against_the_middle(world: World, tmp_path: Path) -> None:
    reward = DirectionReward(encoder="hash:64", blocks=4, top=2)
    data = Feedback.of([Judgement(f"q{i}", (f"apples {i}", f"stones {i}"), (1.0, 0.0)) for i in range(20)])
    reward.name = "mean-difference"
    again = guerdon.load(reward.fit(data).save(tmp_path / "m"))
    a, b = Candidates(["q"], ["ripe apples"]), Candidates(["q"], ["grey stones"])
    assert again.prefer(a, b).value == reward.prefer(a, b).value > 0.5
    assert reward.score(a).value > reward.score(b).value
    ranked = reward.rank(Candidates(["q", "q"], ["ripe apples", "grey stones"])).value
    assert ranked[0] == pytest.approx(1 - ranked[1])
    assert reward.prefer(a, a).value == 0.5


def test_steepness_is_finite_where_all_is_right() -> None:
    assert 0 < fitted_steepness(np.full(30, 0.5)) < 200
    assert fitted_steepness(np.full(30, -0.5)) == pytest.approx(0, abs=1e-3)


def test_a_probe_of_noise_is_a_coin() -> None:
    rng = np.random.default_rng(0)
    gaps = rng.normal(size=(2000, 4))
    assert probe_accuracy(gaps, np.arange(1000), np.arange(1000, 2000)) == pytest.approx(0.5, abs=0.06)
    gaps[:, 2] += 3
    assert probe_accuracy(gaps, np.arange(1000), np.arange(1000, 2000)) > 0.95


def test_a_probe_of_responses_is_scikit_learns() -> None:
    """GENIES sorts heads by scikit-learn's logistic regression, which tells preferred responses from others."""
    linear_model = pytest.importorskip("sklearn.linear_model")
    rng = np.random.default_rng(0)
    for d in (2, 5):
        both = rng.normal(size=(2, 150, d))
        both[0, :, 0] += 1
        inside, out = np.arange(100), np.arange(100, 150)
        x = np.concatenate([both[0, inside], both[1, inside]])
        theirs = linear_model.LogisticRegression().fit(x, np.repeat([1, 0], 100))
        held = np.concatenate([both[0, out], both[1, out]])
        assert response_probe_accuracy(both, inside, out) == pytest.approx(theirs.score(held, np.repeat([1, 0], 50)))


class Headed:
    """Four heads of two numbers each; only the second knows what is good, the third knows which prompt it is."""

    spec, fingerprint, dim, blocks = "headed", "headed", 8, 4

    def __init__(self) -> None:
        self.read: list[str] = []

    def encode(self, candidates: Candidates, *, progress: bool = False) -> np.ndarray:
        self.read += map(as_text, candidates.responses)
        rng = np.random.default_rng(0)
        x = rng.normal(size=(len(candidates), 8))
        for row, (prompt, response) in enumerate(zip(candidates.prompts, candidates.responses, strict=True)):
            x[row, 2:4] += 5.0 if "good" in as_text(response) else -5.0
            x[row, 4:6] = float(as_text(prompt)[1:])
        return x.astype(np.float32)


def test_blocks_are_the_heads_of_the_encoder_and_the_best_ones_read() -> None:
    rows = [Judgement(f"q{i}", (f"good {i}", f"evil {i}"), (1.0, 0.0)) for i in range(40)]
    for probes in ("pairs", "responses"):
        reward = DirectionReward(encoder=Headed(), top=1, probes=probes).fit(Feedback.of(rows))
        assert reward.summary["blocks"] == 4
        assert reward.reads_blocks.tolist() == [1]
    assert DirectionReward(encoder=Headed(), blocks=2, top=1).fit(Feedback.of(rows)).summary["blocks"] == 2
    with_remarks = DirectionReward(encoder=Headed(), top=1, contrast=1.0, stimulus="asked")
    assert with_remarks.fit(Feedback.of(rows)).summary["blocks"] == 4


def test_asked_about_it_stands_between_two_sentences() -> None:
    encoder = Headed()
    Framed(encoder).encode(Candidates(["q1", "q1"], ["good", [{"role": "assistant", "content": "x"}]]))
    assert encoder.read == [f"{BEFORE}good{BEHIND}", f"{BEFORE}x{BEHIND}"]


class Remarks:
    """Two features: whether the response is good, seen with either remark behind it, and the remark itself."""

    spec, fingerprint, dim = "remarks", "remarks", 2

    def encode(self, candidates: Candidates, *, progress: bool = False) -> np.ndarray:
        rows = []
        for text in map(as_text, candidates.responses):
            remark = 1.0 if text.endswith(YES) else -1.0 if text.endswith(NO) else 0.0
            good = 1.0 if "good" in text else -1.0
            rows.append((good * remark + 0.01 * (len(text) % 7), 5 * remark))
        return np.array(rows, dtype=np.float32)


def test_contrast_takes_the_states_of_both_remarks() -> None:
    both = Contrasted(Remarks(), 1.0).encode(
        Candidates(["q", "q"], ["a good one", [{"role": "assistant", "content": "x"}]])
    )
    assert both[0].tolist() == pytest.approx([2.0, 10.0], abs=0.1)
    assert both[1, 0] < 0


def test_consistency_finds_what_holds_and_labels_only_name_it() -> None:
    rows = [Judgement(f"q{i}", (f"good {i}", f"evil {i}"), (1.0, 0.0)) for i in range(40)]
    reward = ConsistentSearch(encoder=Remarks(), starts=3, epochs=200).fit(Feedback.of(rows))
    good, evil = Candidates(["q"], ["good indeed"]), Candidates(["q"], ["evil indeed"])
    assert reward.score(good).value > reward.score(evil).value + 0.5
    turned = Feedback.of([Judgement(r.prompt, r.responses, (0.0, 1.0)) for r in rows])
    other = ConsistentSearch(encoder=Remarks(), starts=3, epochs=200).fit(turned)
    assert other.score(good).value < other.score(evil).value - 0.5


def test_mistakes_are_told() -> None:
    for settings, said in (
        ({"direction": "median"}, "direction='median'"),
        ({"blocks": 0}, "at least 1"),
        ({"held": 1.0}, "held=1.0"),
        ({"probes": "all"}, "probes='all'"),
        ({"stimulus": "x"}, "stimulus='x'"),
    ):
        with pytest.raises(ConfigError, match=said):
            DirectionReward(**settings)  # type: ignore[arg-type]
    with pytest.raises(FeedbackError, match="at least 4"):
        DirectionReward(encoder="hash:16").fit(Feedback.of([Judgement("q", ("a", "b"), (1.0, 0.0))]))
