"""What is known of people before they say more: their own summaries, the prior for everybody else."""

from __future__ import annotations

import numpy as np

from guerdon.reward.personal.people import PeopleTable


def test_known_people_go_on_from_their_summaries_and_others_from_the_prior() -> None:
    rng = np.random.default_rng(0)
    table = PeopleTable(("ann", "bob"), rng.normal(size=(2, 3)), rng.normal(size=(2, 3)), rng.normal(size=(2, 3, 3)),
                        np.array([4, 7]))  # fmt: skip
    mean, precision = rng.normal(size=3), np.eye(3)
    center, spread, votes = table.before(["bob", "zed"], mean, precision)
    assert np.array_equal(center, np.stack([table.center[1], mean]))
    assert np.array_equal(spread, np.stack([table.precision[1], precision]))
    assert votes.tolist() == [7, 0]
    center[:] = spread[:] = 0.0  # solving in place must not change what is known
    assert table.center[1].any()
    assert [part.shape for part in PeopleTable.empty(3).before([], mean, precision)] == [(0, 3), (0, 3, 3), (0,)]
