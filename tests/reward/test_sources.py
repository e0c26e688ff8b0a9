"""Mixtures of sources, what each source is worth, and the world of shapes they are measured on."""

import numpy as np
import pytest

from guerdon.errors import FeedbackError
from guerdon.feedback.star import Feedback
from guerdon.reward.learned.model import RewardModel
from guerdon.reward.learned.sources import leave_one_out, mixture
from guerdon.worlds.shapes import COLOURS, SHAPES, Shapes


def test_weights_of_a_mixture() -> None:
    world = Shapes(0)
    data = Feedback.concatenate([world.comparisons(5, source=s) for s in ("a", "b", "c")])
    mixed = mixture(data, {"a": 0.5, "b": 0.0})
    assert len(mixed) == 10
    assert set(mixed.weight[mixed.subset == data.subsets.index("a")]) == {0.5}
    assert set(mixed.weight[mixed.subset == data.subsets.index("c")]) == {1.0}
    with pytest.raises(FeedbackError, match="no source"):
        mixture(data, {"z": 1.0})


def test_the_spoilt_source_is_found() -> None:
    world = Shapes(0)
    parts = [world.comparisons(150, differ="style", source=s, flip=0.9 * (s == "b")) for s in "abc"]
    tests = {"style": world.comparisons(300, differ="style")}
    effects = leave_one_out(Feedback.concatenate(parts), lambda: RewardModel(encoder=world), tests)
    assert effects[0].source == "b"
    assert effects[0].mean > 0.02
    assert [e.judgements for e in effects] == [150] * 3
    with pytest.raises(FeedbackError, match="two"):
        leave_one_out(parts[0], lambda: RewardModel(encoder=world), tests)


def test_the_better_answer_names_what_is_shown() -> None:
    world = Shapes(1)
    for row in world.comparisons(50, differ="faithful").judgements():
        shape, colour = world.truth[str(row.prompt)]
        right = [(SHAPES[shape] in str(r)) + (COLOURS[colour] in str(r)) for r in row.responses]
        assert (right[0] > right[1]) == (row.grades[0] > row.grades[1])
    picture = world.pictures[next(iter(world.pictures))]
    assert picture.shape == (16, 16, 3)
    assert (picture.max(2) > 0.5).sum() >= 5


def test_exchanging_pictures_changes_only_what_is_seen() -> None:
    world = Shapes(2)
    told = world.comparisons(20).candidates
    here, there = world.encode(told), world.shuffle().encode(told)
    words = slice(96, None)
    np.testing.assert_array_equal(here[:, words], there[:, words])
    assert (here[:, :96] != there[:, :96]).any()
