"""All comparisons of a list: as few questions as the reward allows, the same answers, and rankings of the table."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fake_rewards
from guerdon.feedback.schema import Candidates
from guerdon.reward.all_pairs import METHODS, Standing, compare_all, rank_lists, standing
from guerdon.reward.base import Reward, Scores
from guerdon.reward.learned.tournament import borda, copeland, exploitability

TEXTS = ["a", "a banana", "bcd", "ef", "longer text", "x!", "y!!", "z"]
CANDIDATES = Candidates(["p"] * 5 + ["q"] * 3, TEXTS)
LISTS = [0] * 5 + [1] * 3
CIRCLE = np.array([[0.5, 0.9, 0.2], [0.1, 0.5, 0.8], [0.8, 0.2, 0.5]])


class Counted(fake_rewards.Picky):
    """Counts what it is asked."""

    asked = 0

    def score(self, candidates):
        self.asked += len(candidates)
        return super().score(candidates)


class Beats(Reward):
    """By its own ``prefer``: the table of a circle of three by the first letter; counts what it is asked."""

    name, asked = "beats", 0

    def prefer(self, a, b):
        self.asked += len(a)
        i, j = (np.array(["abc".index(str(r)[0]) for r in side.responses]) for side in (a, b))
        return Scores(CIRCLE[i, j])


@pytest.mark.parametrize("reward", [fake_rewards.Picky(), fake_rewards.Duel(), fake_rewards.tastes("ann")])
def test_the_naive_twin_gives_the_same(reward):
    asked = Candidates(CANDIDATES.prompts, CANDIDATES.responses, user=["ann", None] * 4)
    found = compare_all(reward, asked, LISTS)
    expected = [(i, j) for i in range(8) for j in range(i + 1, 8) if LISTS[i] == LISTS[j]]
    assert list(zip(found.a.tolist(), found.b.tolist(), strict=True)) == expected
    for n, (i, j) in enumerate(expected):
        one = reward.prefer(asked.take([i]), asked.take([j]))
        np.testing.assert_allclose(found.said.value[n], one.value[0], atol=1e-12)
        assert (found.said.status[n], found.said.reason[n]) == (one.status[0], one.reason[0])
        if one.std is not None:
            assert found.said.std is not None
            np.testing.assert_allclose(found.said.std[n], one.std[0], atol=1e-12)


def test_a_scorer_is_asked_once_a_response_a_comparer_once_a_pair():
    scorer = Counted()
    assert len(compare_all(scorer, CANDIDATES, LISTS).a) == 13
    assert scorer.asked == 8
    beats = Beats()
    found = compare_all(beats, Candidates(["p"] * 3, ["a", "b", "c"]), [0, 0, 0])
    assert beats.asked == 3
    np.testing.assert_allclose(found.table(np.arange(3)), CIRCLE)


def test_lists_may_be_mixed_and_empty():
    mixed = Candidates(["p", "q", "p"], ["a", "b", "c"])
    found = compare_all(Beats(), mixed, [0, 1, 0])
    assert (found.a.tolist(), found.b.tolist(), found.said.value.tolist()) == ([0], [2], [0.2])
    assert found.table(np.array([1])).tolist() == [[0.5]]
    assert len(compare_all(Beats(), Candidates([], []), []).a) == 0


def test_only_prefer_says_why_an_embedded_candidate_is_missing():
    class Embeds(Beats):
        reads = ()

        def prefer_at(self, candidates, a, b, users):
            value = self.prefer(candidates.take(a), candidates.take(b)).value
            return np.where((a == 1) | (b == 1), np.nan, value)

        def prefer(self, a, b):
            said = super().prefer(a, b)
            bad = [r == "b" or s == "b" for r, s in zip(a.responses, b.responses, strict=True)]
            status = ["too_long" if x else "scored" for x in bad]
            return Scores(np.where(bad, np.nan, said.value), status, ["b is too long" if x else None for x in bad])

    said = compare_all(Embeds(), Candidates(["p"] * 3, ["a", "b", "c"]), [0, 0, 0]).said
    assert list(said.status) == ["too_long", "scored", "too_long"]
    assert list(said.reason) == ["b is too long", None, "b is too long"]


def test_a_circle_has_a_mixture_and_no_winner():
    won = standing(CIRCLE, "von-neumann")
    assert won.condorcet is None
    assert won.value.min() > 0.1
    assert exploitability(CIRCLE, won.value) == pytest.approx(0, abs=1e-9)
    assert standing(CIRCLE, "copeland").value.tolist() == [0.5, 0.5, 0.5]
    assert standing(CIRCLE, "borda").ranking == [0, 2, 1]


def test_whoever_beats_all_wins_by_every_ranking_and_the_rest_follows_borda():
    u = np.array([0.3, 2.0, -1.0, 1.0])
    table = 1 / (1 + np.exp(u[None, :] - u[:, None]))
    for by in METHODS:
        found = standing(table, by)
        assert (found.condorcet, found.ranking) == (1, [1, 3, 0, 2])
    assert standing(table, "von-neumann").value.tolist() == [0, 1, 0, 0]


tables = st.integers(2, 6).flatmap(
    lambda n: st.lists(st.none() | st.floats(0, 1), min_size=n * (n - 1) // 2, max_size=n * (n - 1) // 2)
)


@settings(max_examples=60, deadline=None)
@given(tables)
def test_what_is_missing_is_left_out_and_never_a_draw(upper: list[float | None]):
    n = round((1 + (1 + 8 * len(upper)) ** 0.5) / 2)
    table = np.full((n, n), 0.5)
    for (i, j), p in zip(np.argwhere(np.triu(np.ones((n, n)), 1)), upper, strict=True):
        table[i, j], table[j, i] = (np.nan, np.nan) if p is None else (p, 1 - p)
    mean, share = standing(table, "borda"), standing(table, "copeland")
    for i in range(n):
        known = [table[i, j] for j in range(n) if j != i and not np.isnan(table[i, j])]
        if not known:
            assert np.isnan(mean.value[i])
            assert i not in mean.ranking
            continue
        assert mean.value[i] == pytest.approx(np.mean(known), abs=1e-12)
        assert share.value[i] == pytest.approx(np.mean([1.0 if p > 0.5 else 0.5 if p == 0.5 else 0.0 for p in known]))
    assert sorted(mean.ranking, key=lambda i: -mean.value[i]) == mean.ranking
    if not np.isnan(table).any():
        np.testing.assert_allclose(mean.value, borda(table))
        np.testing.assert_allclose(share.value, copeland(table))
        winner = standing(table, "von-neumann").value
        assert winner.sum() == pytest.approx(1)
        assert exploitability(table, winner) < 1e-7


def test_no_von_neumann_winner_of_half_a_table():
    table = CIRCLE.copy()
    table[0, 1] = table[1, 0] = np.nan
    assert standing(table, "von-neumann").ranking == []
    table[:2, 2] = table[2, :2] = np.nan  # nothing is left of the first two
    four = np.full((4, 4), np.nan)
    four[:3, :3], four[3, 3] = CIRCLE, 0.5
    found = standing(four, "von-neumann")  # the fourth could not be read
    assert sorted(found.ranking) == [0, 1, 2]
    assert np.isnan(found.value[3])
    assert standing(table, "borda").ranking == []
    assert standing(np.array([[0.5]]), "borda").ranking == [0]


def test_the_rewards_own_order():
    said = rank_lists(Counted(), CANDIDATES, LISTS)
    np.testing.assert_array_equal(said.value, Counted().score(CANDIDATES).value)
    own = rank_lists(fake_rewards.Duel(), CANDIDATES, LISTS)
    assert own.value.tolist() == [0, 0, 0, 0, 0, 1, 2, 0]
    assert Standing.of(np.array([1.0, np.nan, 3.0])).ranking == [2, 0]
