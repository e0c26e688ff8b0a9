"""What recipes say of the test pairs of distributions after training on others: fitted once, kept on disk.

Each training set is fitted and asked about all that is wanted of it, then dropped, so that one model is in memory at a
time however many there are. Answers are kept in the cache folder by what was trained, on what and how: a run that was
killed goes on with the next one, and a training that was killed goes on from its last checkpoint.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from guerdon.bench.scoring import predict_pairs
from guerdon.bench.suites.genies_data import distribution, one_worse
from guerdon.bench.suites.items import Duels, duels_of
from guerdon.bench.suites.recipe import Recipe
from guerdon.bench.suites.run import digest_of
from guerdon.feedback.star import Feedback, Pairs
from guerdon.reward.base import Reward

Tick = Callable[[str, int, int], None]
"""progress(what, parts done, parts in all)"""
MACHINE = ("device", "batch_tokens", "checkpoint")
"""Settings that say where something is computed, not what."""
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Tested:
    """P(right response preferred) float64 [D] of the pairs of a distribution's test part, NaN unscored."""

    probability: np.ndarray
    reasons: Mapping[str, int] = field(default_factory=dict)

    @property
    def credit(self) -> np.ndarray:
        """1 right, 0.5 tied, 0 wrong, NaN unscored."""
        return np.where(np.isnan(self.probability), np.nan, np.heaviside(self.probability - 0.5, 0.5))


@dataclass(frozen=True)
class Trainee:
    """What is measured: a recipe to be fitted to every source, or a reward that is not trained.

    encoder   of the recipes that say none of their own
    """

    name: str
    what: str
    recipe: Recipe | None = None
    reward: Reward | None = None
    encoder: Any = None

    @property
    def trains(self) -> bool:
        """Whether what it was fitted to makes a difference."""
        return self.recipe is not None and self.recipe.settings.get("shots", self.recipe.entry.preset.get("shots")) != 0


class Answers:
    """What a trainee said, by (trained on, tested on)."""

    def __init__(self, trains: bool) -> None:
        self.trains = trains
        self.table: dict[tuple[str, str], Tested] = {}

    def of(self, source: str, target: str) -> Tested:
        """On ``target`` after training on ``source``."""
        return self.table[source if self.trains else "", target]


class Bench:
    """The distributions of some shifts; ``kept`` is a folder for answers, None keeps none."""

    def __init__(
        self, root: Path, names: Sequence[str], limit: int | None, seed: int, *, kept: Path | None = None
    ) -> None:
        self.train: dict[str, Feedback] = {}
        self.test: dict[str, tuple[Feedback, Duels]] = {}
        for name in names:
            parts = distribution(root, name)
            train, test = parts["train"], parts["test"]
            if limit is not None:
                rng = np.random.default_rng(seed)
                train, test = (f.take(np.sort(rng.permutation(len(f))[:limit])) for f in (train, test))
            self.train[name] = one_worse(train, seed)
            self.test[name] = test, duels_of(test)
        self.seed, self.kept = seed, kept
        self._said: dict[str, Tested] = {}

    def ask(self, reward: Reward, name: str) -> Tested:
        """What a reward says of the test pairs of a distribution."""
        feedback, duels = self.test[name]
        one, none = np.ones(len(duels)), np.full(len(duels), -1)
        pairs = Pairs(duels.right, duels.wrong, one, one, one, none, none, duels.judgement)
        said = predict_pairs(reward, feedback, pairs)
        return Tested(said.value, dict(said.reasons))

    def answers(self, trainee: Trainee, wanted: Mapping[str, Sequence[str]], progress: Tick | None = None) -> Answers:
        """What ``trainee`` says of the distributions that are wanted of each that it is trained on."""
        out = Answers(trainee.trains)
        if not out.trains:  # all training is one
            wanted = {"": list(dict.fromkeys(t for tests in wanted.values() for t in tests))}
        parts = [(source, target) for source, tests in wanted.items() for target in dict.fromkeys(tests)]
        opened: Recipe | None = None
        names: dict[str, str] = {}
        for source, tests in wanted.items():
            reward: Reward | None = trainee.reward
            for target in dict.fromkeys(tests):
                if progress is not None:
                    progress(trainee.name, len(out.table), len(parts))
                key = self._key(trainee, source, target, names)
                place = None if self.kept is None or trainee.recipe is None else self.kept / f"{key}.json"
                found = self._said.get(key) or read_answer(place)
                if found is None:
                    if reward is None:
                        assert trainee.recipe is not None
                        opened = opened or trainee.recipe.opened(trainee.encoder)
                        reward = self._fitted(opened, source, place)
                    found = self.ask(reward, target)
                    write_answer(place, found)
                out.table[source, target] = self._said[key] = found
        if progress is not None:
            progress(trainee.name, len(parts), len(parts))
        return out

    def _fitted(self, recipe: Recipe, source: str, place: Path | None) -> Reward:
        """``recipe`` fitted to the training part of a distribution (of any, where it does not matter)."""
        halfway = None if place is None else str(place.with_suffix(".training"))
        train = self.train[source or next(iter(self.train))]
        return recipe.make(seed=self.seed, checkpoint=halfway).fit(train)

    def _key(self, trainee: Trainee, source: str, target: str, names: dict[str, str]) -> str:
        """What an answer is called; ``names`` remembers what the distributions and the trainee are."""
        if trainee.recipe is None:
            return f"{trainee.name} on {target}"
        for name, feedback in ((f"train {source}", self.train.get(source)), (f"test {target}", self.test[target][0])):
            if name not in names:
                names[name] = "" if feedback is None else digest_of(feedback)
        if "recipe" not in names:
            names["recipe"] = trainee.recipe.identity(trainee.encoder, leave_out=MACHINE)
        said = [version("guerdon"), names["recipe"], self.seed, names[f"train {source}"], names[f"test {target}"]]
        return blake2b(json.dumps(said).encode(), digest_size=16).hexdigest()


def read_answer(place: Path | None) -> Tested | None:
    """A kept answer; None where there is none."""
    if place is None or not place.is_file():
        return None
    try:
        found = json.loads(place.read_text(encoding="utf-8"))
        values = np.array([np.nan if p is None else p for p in found["probability"]], dtype=np.float64)
        return Tested(values, dict(found["reasons"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        log.warning("%s is damaged (%s); it is computed again", place, error)
        return None


def write_answer(place: Path | None, tested: Tested) -> None:
    """Keep an answer; what is written is whole or not there."""
    if place is None:
        return
    document = {
        "probability": [None if np.isnan(p) else float(p) for p in tested.probability],
        "reasons": dict(Counter(tested.reasons)),
    }
    half = place.with_suffix(".part")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        half.write_text(json.dumps(document), encoding="utf-8")
        half.replace(place)
    except OSError as error:
        log.warning("answers are not kept: %s cannot be written (%s)", place, error)
