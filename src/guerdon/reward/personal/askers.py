"""Who asks: the distinct people behind the rows of a request, and what is said where one of them is not known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Askers:
    """The g distinct askers of n rows.

    names   [g] people, None for nobody
    row     int [g] their rows in the table of people that a reward knows, -1 for others
    which   int [n] the asker of each row
    reason  [n] why a row gets the population's answer; None where it does not, and where no column of people was given
    """

    names: tuple[str | None, ...]
    row: np.ndarray
    which: np.ndarray
    reason: list[str | None]

    @classmethod
    def of(cls, users: Sequence[str | None] | None, n: int, index: Mapping[str, int]) -> Askers:
        """The askers of n rows by their column of ``users``; ``index`` is the row of each known person."""
        asked: Sequence[str | None] = [None] * n if users is None else users
        place = {name: i for i, name in enumerate(dict.fromkeys(asked))}
        row = np.array([-1 if name is None else index.get(name, -1) for name in place], dtype=np.int64)
        why: dict[str | None, str | None] = {}
        for name, i in place.items():
            if users is not None and row[i] < 0:
                why[name] = "population: nobody asked" if name is None else f"population: unknown person {name!r}"
        which = np.array([place[name] for name in asked], dtype=np.int64)
        return cls(tuple(place), row, which, [why.get(name) for name in asked])

    @property
    def known(self) -> np.ndarray:
        """bool [g] whether the reward knows them."""
        return self.row >= 0
