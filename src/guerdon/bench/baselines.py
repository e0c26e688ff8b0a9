"""Named baselines, plain Rewards, so that nobody mistakes a length heuristic for a reward model.

``length``      the longer response wins; P = its share of the two lengths
``majority``    what the training people said about the same pair, else about the two candidates; abstains elsewhere
``population``  Bradley-Terry on frozen features, fitted to the training feedback, the same for everybody
``as-nobody``   the evaluated personal reward asked without saying who asks: what knowing the person is worth
``random``      a coin
"""

from __future__ import annotations

from typing import Any

import numpy as np

from guerdon.bench.scoring import known_people, logistic
from guerdon.errors import ConfigError, GuerdonError
from guerdon.feedback.messages import pack
from guerdon.feedback.schema import Candidates
from guerdon.feedback.star import Feedback
from guerdon.reward import baselines as rules
from guerdon.reward.base import Reward, Scores

BASELINES = {
    "length": "the longer response wins",
    "majority": "what the training people said about the same pair or the same candidates",
    "population": "Bradley-Terry fitted to the training feedback, the same for everybody",
    "as-nobody": "this reward, asked without saying who asks",
    "random": "a coin",
}


class Length(rules.Length):
    """The longer response wins, P(a preferred) = len(a) / (len(a) + len(b)) so that its log-loss makes sense too."""

    def score(self, candidates: Candidates) -> Scores:
        """Natural logarithm of the number of characters of each response's plain text (at least 1)."""
        return Scores(np.log(np.maximum(super().score(candidates).value, 1.0)))


class AsNobody(Reward):
    """A personal reward asked without saying who asks."""

    name = "as-nobody"

    def __init__(self, reward: Reward) -> None:
        self.reward = reward
        self.reads = tuple(c for c in reward.reads if c != "user")

    def score(self, candidates: Candidates) -> Scores:
        """The reward's score of the candidates for nobody in particular."""
        return self.reward.score(candidates.asked_by(None))

    def prefer(self, a: Candidates, b: Candidates) -> Scores:
        """The reward's P(a preferred) for nobody in particular."""
        return self.reward.prefer(a.asked_by(None), b.asked_by(None))


class Majority(Reward):
    """What the people of ``train`` said, looked up by text and criterion; no generalization at all.

    P(a preferred) is, in this order of preference,

    1. the votes on the same two candidates: ``(votes for a + 1) / (votes + 2)``;
    2. the standing of the two candidates, ``logistic(s_a - s_b)``. From ratings, with person means removed,
       ``s = 1.7 q / (sigma sqrt 2)``, q the candidate's mean (one average vote added), sigma the residual spread: the
       probability that one rating of a exceeds one of b. From comparisons, ``s`` is the log-odds of its wins (one win
       and one loss added).

    A candidate without either in the training feedback is unscored (``abstained``). Scores are the standings.
    """

    name = "majority"
    reads = ("criterion",)

    def __init__(self, train: Feedback) -> None:
        self.criterion = {name: i for i, name in enumerate(train.criteria)}
        self.width = len(train.criteria) + 1
        self.table = {
            (p, r): i
            for i, (p, r) in enumerate(
                zip(train.prompts.take(train.prompt_of).to_pylist(), train.responses.to_pylist(), strict=True)
            )
        }
        n = len(train.responses)
        self.n = n
        standing, count = np.zeros(n * self.width), np.zeros(n * self.width)
        for part in (_rating_standing(train, self.width), _win_standing(train, self.width)):
            standing += part[0] * part[1]
            count += part[1]
        self.standing = np.where(count > 0, standing / np.where(count > 0, count, 1), np.nan)
        self.questions, self.votes, self.wins = _vote_table(train, self.width)

    def score(self, candidates: Candidates) -> Scores:
        """The candidate's standing, log-odds; unscored where the training feedback does not hold it."""
        value = self._standing(*self._index(candidates))
        return _abstaining(value)

    def prefer(self, a: Candidates, b: Candidates) -> Scores:
        """P(a preferred) by the votes on the pair, else by the two standings."""
        (ia, criterion), (ib, _) = self._index(a), self._index(b)
        value = logistic(self._standing(ia, criterion) - self._standing(ib, criterion))
        low, high = np.minimum(ia, ib), np.maximum(ia, ib)
        key = (low * self.n + high) * self.width + criterion
        if len(self.questions):
            at = np.minimum(np.searchsorted(self.questions, key), len(self.questions) - 1)
            seen = (low >= 0) & (criterion >= 0) & (self.questions[at] == key)
            share = (self.wins[at] + 1) / (self.votes[at] + 2)
            value = np.where(seen, np.where(ia == low, share, 1 - share), value)
        return _abstaining(value)

    def _index(self, candidates: Candidates) -> tuple[np.ndarray, np.ndarray]:
        """(candidate index [n], criterion code [n], 0 = none); -1 = not in the training feedback."""
        index = [self.table.get((pack(c.prompt), pack(c.response)), -1) for c in candidates]
        names = candidates.criterion or [None] * len(candidates)
        codes = [0 if c is None else self.criterion.get(c, -2) + 1 for c in names]
        return np.array(index, dtype=np.int64), np.array(codes, dtype=np.int64)

    def _standing(self, index: np.ndarray, criterion: np.ndarray) -> np.ndarray:
        if not len(self.standing):
            return np.full(len(index), np.nan)
        cell = np.maximum(index, 0) * self.width + np.maximum(criterion, 0)
        return np.where((index >= 0) & (criterion >= 0), self.standing[cell], np.nan)


def make_baselines(
    reward: Reward,
    train: Feedback | None,
    names: tuple[str, ...] | None = None,
    seed: int = 0,
    choose_by: str = "auto",
) -> tuple[dict[str, Reward], list[str]]:
    """(baselines by name, sentences on those that cannot be had).

    ``majority`` and ``population`` need training feedback; ``as-nobody`` a personal reward; ``population`` uses the
    evaluated reward's encoder where it has one, so that only the modelling differs; ``choose_by`` is what its penalty
    is chosen on, which should be what the test holds anew (prompt, user, judgement).

    Raises
    ------
    ConfigError
        if a name is not one of :data:`BASELINES`
    """
    unknown = next((name for name in names or () if name not in BASELINES), None)
    if unknown is not None:
        raise ConfigError(f"baseline {unknown!r} is unknown; use some of {', '.join(BASELINES)}")
    made: dict[str, Reward] = {}
    notes: list[str] = []
    for name in names if names is not None else BASELINES:
        if name in ("majority", "population") and train is None:
            notes.append(f"no {name} baseline: it needs training feedback (--train)")
        elif name == "length":
            made[name] = Length()
        elif name == "random":
            made[name] = rules.Random(seed=seed)
        elif name == "as-nobody":
            if known_people(reward) is not None:
                made[name] = AsNobody(reward)
        elif name == "majority" and train is not None:
            made[name] = Majority(train)
        elif name == "population" and train is not None:
            try:
                made[name] = fit_population(train, getattr(reward, "encoder", None), choose_by)
            except GuerdonError as error:
                notes.append(f"no population baseline: {error}")
    return made, notes


def fit_population(train: Feedback, encoder: Any = None, choose_by: str = "auto", *, progress: bool = False) -> Reward:
    """The population Bradley-Terry baseline: linear utility of frozen features, fitted to ``train``."""
    from guerdon.reward.registry import model

    settings = {} if encoder is None else {"encoder": encoder}
    fitted = model("bradley-terry").make(choose_by=choose_by, **settings).fit(train, progress=progress)
    fitted.name = "population"
    return fitted


def _abstaining(value: np.ndarray) -> Scores:
    missing = np.isnan(value)
    status = ["abstained" if m else "scored" for m in missing]
    return Scores(value, status, ["not in the training feedback" if m else None for m in missing])


def _vote_table(train: Feedback, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(question keys ascending [k], votes [k], votes for the candidate of lower index [k]) of all comparisons."""
    pairs = train.take(train.sizes > 1).pairs()
    low, high = np.minimum(pairs.a, pairs.b).astype(np.int64), np.maximum(pairs.a, pairs.b).astype(np.int64)
    key = (low * len(train.responses) + high) * width + pairs.criterion + 1
    questions, code = np.unique(key, return_inverse=True)
    for_low = np.where(pairs.a == low, pairs.p, 1 - pairs.p)
    votes = np.bincount(code, weights=pairs.weight, minlength=len(questions))
    return questions, votes, np.bincount(code, weights=pairs.weight * for_low, minlength=len(questions))


def _win_standing(train: Feedback, width: int) -> tuple[np.ndarray, np.ndarray]:
    """(log-odds of winning [C * width], votes [C * width]) of each candidate and criterion from comparisons."""
    pairs = train.take(train.sizes > 1).pairs()
    size = len(train.responses) * width
    cells = [side.astype(np.int64) * width + pairs.criterion + 1 for side in (pairs.a, pairs.b)]
    wins = np.bincount(cells[0], pairs.weight * pairs.p, size) + np.bincount(
        cells[1], pairs.weight * (1 - pairs.p), size
    )
    votes = np.bincount(cells[0], pairs.weight, size) + np.bincount(cells[1], pairs.weight, size)
    return np.log((wins + 1) / (votes - wins + 1)), votes


def _rating_standing(train: Feedback, width: int) -> tuple[np.ndarray, np.ndarray]:
    """(standing in log-odds [C * width], votes [C * width]) of each candidate and criterion from ratings."""
    size = len(train.responses) * width
    rows = np.flatnonzero(train.sizes == 1)
    if not len(rows):
        return np.zeros(size), np.zeros(size)
    start = train.offsets[rows]
    grade, weight = train.grades[start], train.weight[rows]
    criterion = train.criterion[rows].astype(np.int64) + 1
    cell = train.items[start].astype(np.int64) * width + criterion
    person = np.unique((train.user[rows].astype(np.int64) + 1) * width + criterion, return_inverse=True)[1]
    total = np.bincount(person, weights=weight)
    mean = np.bincount(person, weights=weight * grade) / np.where(total > 0, total, 1)
    residual = grade - mean[person]
    votes = np.bincount(cell, weights=weight, minlength=size)
    q = np.bincount(cell, weights=weight * residual, minlength=size) / (votes + 1)
    left = residual - q[cell]
    sigma = float(np.sqrt(np.average(left**2, weights=weight))) if weight.sum() else 0.0
    return (1.7 * q / (sigma * np.sqrt(2)) if sigma > 0 else q), votes
