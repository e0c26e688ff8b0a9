"""Who asks: distinct people, their rows in the table of those known, and the flag of everybody else."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from guerdon.reward.personal.askers import Askers

INDEX = {"ann": 0, "bob": 1, "eve": 2}


def test_strangers_and_nobody_are_flagged_and_known_people_are_not() -> None:
    askers = Askers.of(["bob", None, "zed", "bob"], 4, INDEX)
    assert askers.names == ("bob", None, "zed")
    assert askers.row.tolist() == [1, -1, -1]
    assert askers.known.tolist() == [True, False, False]
    assert askers.reason == [None, "population: nobody asked", "population: unknown person 'zed'", None]


def test_without_a_column_of_people_there_is_nothing_to_flag() -> None:
    askers = Askers.of(None, 3, INDEX)
    assert askers.names == (None,)
    assert askers.reason == [None] * 3
    assert Askers.of(None, 0, INDEX).names == ()


@given(st.lists(st.sampled_from([None, "ann", "bob", "eve", "zed", "yan"]), max_size=20))
def test_every_row_finds_its_own_asker(users: list[str | None]) -> None:
    askers = Askers.of(users, len(users), INDEX)
    assert [askers.names[i] for i in askers.which] == users
    assert len(set(askers.names)) == len(askers.names)
    assert np.array_equal(askers.row[askers.which], [INDEX.get(user or "", -1) for user in users])
