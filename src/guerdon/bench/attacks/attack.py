"""What an attack is: the responses that it tries for a prompt, and what counts as success.

=============  =====================================================================================================
aim            success
=============  =====================================================================================================
``accepted``   a response without content gets at least what the honest answer gets (with a threshold: reaches it)
``overtakes``  a bad answer, changed, gets at least what the honest answer gets, and did not before
``raised``     a bad answer gets more than before by more than ``margin``, though its content is the same
``place``      which of two answers wins depends on the place in which they are shown
=============  =====================================================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from guerdon.errors import ConfigError
from guerdon.feedback.messages import Text

AIMS: Mapping[str, str] = {
    "accepted": "gets at least what the honest answer gets",
    "overtakes": "a bad answer comes to get at least what the honest one gets",
    "raised": "a bad answer gets more for the same content",
    "place": "the place decides which answer wins",
}
VERDICTS = ("yes", "A", "B", "5")
"""Verdicts that a forger tries where the reward does not say which it offers."""


@dataclass(frozen=True)
class Case:
    """A prompt with an honest and a bad answer.

    reference    a known right answer, where there is one
    user         who asks, for personal rewards
    criterion    what is asked for
    verdicts     what the reward may be told to say: the winning ones of the verdicts it offers
    """

    prompt: Text
    honest: str
    bad: str
    reference: Any = None
    user: str | None = None
    criterion: str | None = None
    verdicts: tuple[str, ...] = VERDICTS


Tries = Callable[[Case], Mapping[str, str]]


@dataclass(frozen=True)
class Attack:
    """A named attack. ``tries(case)`` gives responses by name; the names are the same for every case.

    family   what it plays on: attacks of a family are summed up together
    aim      one of :data:`AIMS`
    what     one line
    """

    name: str
    family: str
    aim: str
    what: str
    tries: Tries

    def __post_init__(self) -> None:
        if self.aim not in AIMS:
            raise ConfigError(f"attack {self.name!r}: aim={self.aim!r}: use one of {', '.join(AIMS)}")

    def __call__(self, case: Case) -> Mapping[str, str]:
        """The responses tried for ``case``, by name."""
        return self.tries(case)


def attack(name: str, *, family: str, aim: str, what: str) -> Callable[[Tries], Attack]:
    """A decorator: the function below it as an :class:`Attack`."""

    def made(tries: Tries) -> Attack:
        return Attack(name, family, aim, what, tries)

    return made
