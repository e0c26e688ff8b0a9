"""On real arguments that all workers agreed about: labels turned round on purpose are found again."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from guerdon.curate.registry import step
from guerdon.feedback.schema import Judgement
from guerdon.feedback.star import Feedback


@pytest.fixture(scope="module")
def planted(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Feedback, np.ndarray]:
    """800 pairs with one verdict each, a fifth of them turned round; and which."""
    everything = Feedback.read(shared_data / "ukpconvarg", skip_bad=tmp_path_factory.mktemp("bad") / "bad.jsonl")
    pairs = everything.pairs(ties=False)
    says: dict[tuple[int, int], list[bool]] = defaultdict(list)
    for a, b, p in zip(pairs.a, pairs.b, pairs.p, strict=True):
        says[min(a, b), max(a, b)].append((p > 0.5) == (a < b))
    unanimous = [(pair, votes[0]) for pair, votes in says.items() if len(votes) >= 4 and len(set(votes)) == 1]
    rng = np.random.default_rng(0)
    chosen = [unanimous[i] for i in rng.permutation(len(unanimous))[:800]]
    wrong = np.zeros(800, bool)
    wrong[rng.permutation(800)[:160]] = True
    rows = []
    for ((a, b), first), turned in zip(chosen, wrong, strict=True):
        (prompt, one), (_, other) = everything.candidate(a), everything.candidate(b)
        rows.append(Judgement(prompt, (one, other), (1.0, 0.0) if first != turned else (0.0, 1.0)))
    return Feedback.of(rows), wrong


def test_a_vote_across_debates_finds_them(planted: tuple[Feedback, np.ndarray]) -> None:
    feedback, wrong = planted
    curated = step("vote")(feedback, encoder="hash:256", model="bradley-terry", flip=0.1, soften=0.1)
    mu = curated.decisions["strength_mean"].to_numpy()
    assert np.mean(-mu[wrong][:, None] > -mu[~wrong][None]) > 0.7
    action = np.array(curated.decisions["action"].to_pylist())
    assert wrong[action == "flipped"].mean() > 0.4
    assert wrong[action == "margin"].mean() < 0.17


def test_length_as_a_judge_gives_margins_to_all(planted: tuple[Feedback, np.ndarray]) -> None:
    feedback, wrong = planted
    curated = step("margin")(feedback, voters=["rule:length"])
    strength = curated.feedback.strength
    assert strength is not None
    assert strength[~wrong].mean() > 0.4 > -0.4 > strength[wrong].mean()  # people prefer the longer argument
