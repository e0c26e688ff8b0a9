r"""Attribute composition: a person's taste as a readable weighting of named attributes.

    utility(x, y) = sum_i p_i r_i(x, y)

with r_i standardised over the training candidates. The attributes are features of an encoder that can be read, foremost
``attributes:MODEL`` (:mod:`guerdon.encode.attributes`: what a system prompt does to a frozen language model's
likelihood), but any encoder works. Two ways to a person's p:

``closed-form``  p = beta m / |m|,  m = sum (r(chosen) - r(rejected)): the first-order maximiser of the Bradley-Terry
                 likelihood on a ball. No iterations, tens of comparisons, sums that more comparisons are added to;
                 beta, one number for all, makes the score log-odds.
``logistic``     logistic regression with the prior of the training people (mean, covariance, and how far votes are to
                 be trusted, all learned): the low-rank personal reward whose basis is the attributes themselves.

Often got wrong: attributes that are not standardised (a long system prompt moves likelihoods more and dominates), and
values that are not divided by the response's length (whoever chose longer responses then "wants" every attribute).

Reference: Kim et al. 2025, Drift: Decoding-time Personalized Alignments with Implicit User Preferences,
https://arxiv.org/abs/2502.14289
"""

from __future__ import annotations

import logging
from typing import Any, Self

import numpy as np

from guerdon.encode.base import Encoder
from guerdon.errors import ConfigError, FeedbackError
from guerdon.feedback.star import Feedback, Pairs
from guerdon.reward.personal.basis import Basis
from guerdon.reward.personal.low_rank import LowRankReward
from guerdon.reward.personal.low_rank_choice import Choice
from guerdon.reward.personal.people import ADAPT_PAIRS, PeopleTable
from guerdon.reward.personal.selection import FewShot, pairs_of_people, within_person
from guerdon.reward.personal.weights import solve

log = logging.getLogger(__name__)

COLLINEAR = 30.0
"""Condition number of the attributes' differences from which weights of single attributes mean little."""
MOST = 256
"""More features than this are no attributes; every person has a covariance of them here."""
FEW = 10
SURE = 1e9
"""Precision of weights that come without an uncertainty."""


class AttributeReward(LowRankReward):
    """Named attributes x weights of a person; unknown people get the population.

    Parameters
    ----------
    encoder : attributes:MODEL for prompted attributes of a language model, or any other encoder
    solver : logistic (ridge with the people's prior) or closed-form (mean difference, unit norm)
    prior : learned (trust in a person's votes from held-out people), or a fixed trust > 0; logistic only
    max_pairs : at most so many pairs a person in fitting
    rounds : most alternations between people and their prior
    seed : seeds folds and pair draws
    """

    def __init__(
        self,
        *,
        encoder: str | Encoder = "minilm",
        solver: str = "logistic",
        prior: str | float = "learned",
        max_pairs: int = 100,
        rounds: int = 15,
        seed: int = 0,
    ) -> None:
        if solver not in ("logistic", "closed-form"):
            raise ConfigError(f"solver={solver!r} is unknown; use logistic or closed-form")
        super().__init__(
            encoder=encoder, prior=prior, item_effects="none", max_pairs=max_pairs, rounds=rounds, seed=seed
        )
        self.name = "attributes"
        self.settings["solver"] = solver
        self.beta = 1.0

    @property
    def params(self) -> dict[str, Any]:
        kept = ("encoder", "solver", "prior", "max_pairs", "rounds", "seed")
        return {name: value for name, value in super().params.items() if name in kept}

    @property
    def given(self) -> bool:
        return True

    @property
    def names(self) -> tuple[str, ...]:
        """The attributes' names, as far as the encoder has any."""
        found = getattr(getattr(self.open_encoder(), "texts", None), "names", ())
        return tuple(found) if len(found) == self.width else tuple(f"feature {i}" for i in range(self.width))

    # ------------------------------------------------------------------ fitting

    def _fit(self, feedback: Feedback, progress: bool) -> Self:
        encoder = self.open_encoder()
        if encoder.dim > MOST:
            raise ConfigError(
                f"encoder {encoder.spec!r} gives {encoder.dim} features, attributes are at most {MOST}: "
                "use --encoder attributes:MODEL, or fit --model low-rank"
            )
        super()._fit(feedback, progress)
        pairs = self._pairs(feedback, self.settings["max_pairs"])
        u = self._basis_utilities(feedback)[:, 1:]
        self.summary = {**self.summary, "beta": self.beta, **self._diagnosis(u[pairs.a] - u[pairs.b])}
        for caution in self.summary["cautions"]:
            log.warning("%s", caution)
        return self

    def _diagnosis(self, z: np.ndarray) -> dict[str, Any]:
        """Condition number of the attributes' differences z [n, A], and what to say about it."""
        sd = z.std(0)
        alive = sd > 1e-12
        correlation = np.atleast_2d(np.corrcoef(z[:, alive].T)) if alive.any() else np.eye(1)
        values = np.linalg.eigvalsh(correlation)
        condition = float(np.sqrt(values[-1] / max(values[0], 1e-12)))
        cautions = []
        if condition > COLLINEAR:
            cautions.append(
                f"the attributes say nearly the same (condition number {condition:.0f}): weights of single ones mean "
                "little, their sum still predicts; leave some out"
            )
        return {"condition_number": condition, "constant_attributes": int((~alive).sum()), "cautions": cautions}

    def _basis_utilities(self, feedback: Feedback) -> np.ndarray:
        used = feedback.used
        u = np.zeros((len(feedback.responses), 1 + self.width))
        u[used] = self.utilities(feedback.candidates.take(used))
        return u

    def _choose(self, feedback: Feedback, pairs: Pairs, x: np.ndarray) -> Choice:
        if self.settings["solver"] == "logistic":
            return super()._choose(feedback, pairs, x)
        self.beta = self._scale_of(feedback, x)
        setting = {"rank": x.shape[1], "l2": 0.0, "l2_basis": 0.0, "item_effects": None}
        return Choice(setting, 1.0, (0.0, 0.0, 0.0), [])

    def _scale_of(self, feedback: Feedback, x: np.ndarray) -> float:
        """beta: how decided people are about their own direction, from comparisons that it was not computed from."""
        task = FewShot.of(feedback, pairs_of_people(feedback, 200, self.settings["seed"]), self.settings["seed"])
        task = task.of_people(np.unique(task.tests.user))
        if not len(task.tests):
            return 1.0
        shots = task.shots.take(within_person(task.shots.user) < 50)
        people, row = np.unique(shots.user, return_inverse=True)
        direction = unit(totals(x, shots, row, len(people)))
        t = np.einsum(
            "na,na->n", x[task.tests.a] - x[task.tests.b], direction[np.searchsorted(people, task.tests.user)]
        )
        w, _ = solve(t[:, None], task.tests.p, np.zeros(len(t), dtype=np.int64), 1, precision=np.full((1, 1), 1e-3))
        return float(max(w[0, 0], 1e-3))

    def _learn(self, data: Any, x: np.ndarray, setting: dict[str, Any]) -> Basis:
        if self.settings["solver"] == "logistic":
            basis = super()._learn(data, x, setting)
        else:
            k = x.shape[1]
            total = (data.weight * (2 * data.p - 1)) @ data.difference(x)
            mean = self.beta * unit(total[None])[0]
            feature = np.hstack([np.zeros((k, 1)), np.eye(k)])
            none = np.zeros((data.people, k))
            basis = Basis(
                feature, np.zeros((len(x), 1 + k)), none, np.zeros((data.people, k, k)), mean, np.eye(k) / SURE
            )
        # an attribute that never varies (the neutral prompt once more) says nothing and weighs exactly nothing
        basis.mean = np.where(np.ptp(x, axis=0) > 0, basis.mean, 0.0)
        return basis

    def _solve_people(self, feedback: Feedback, u: np.ndarray, known: PeopleTable | None = None) -> PeopleTable:
        if self.settings["solver"] == "logistic":
            return super()._solve_people(feedback, u, known)
        pairs = self._pairs(feedback, ADAPT_PAIRS)
        codes, person = np.unique(pairs.user, return_inverse=True)
        users = tuple(feedback.users[c] for c in codes)
        center, votes = totals(u[:, 1:], pairs, person, len(users)), np.bincount(person, minlength=len(users))
        for i, user in enumerate(users):
            j = None if known is None else known.index.get(user)
            if known is not None and j is not None:
                center[i] += known.center[j]
                votes[i] += known.votes[j]
        weights = np.where(np.linalg.norm(center, axis=1)[:, None] > 0, self.beta * unit(center), self.mean)
        return PeopleTable(users, weights, center, np.tile(SURE * np.eye(self.width), (len(users), 1, 1)), votes)

    def update_from_utilities(self, user: str, z: np.ndarray, p: np.ndarray) -> None:
        """Add comparisons of one person in place, from utility differences z [m, 1 + A]."""
        if self.settings["solver"] == "logistic":
            super().update_from_utilities(user, z, p)
            return
        j = self.people.index.get(user)
        center = (2 * np.asarray(p) - 1) @ z[:, 1:] + (0.0 if j is None else self.people.center[j])
        votes = len(z) + (0 if j is None else int(self.people.votes[j]))
        row = PeopleTable(
            (user,), self.beta * unit(center[None]), center[None], SURE * np.eye(self.width)[None], np.array([votes])
        )
        self.people = self.people.merged(row)

    # ------------------------------------------------------------------ what a person wants

    def profile(
        self, user: str, feedback: Feedback, *, replicates: int = 200, level: float = 0.95
    ) -> dict[str, tuple[float, float, float]]:
        """Attribute -> (weight, low, high) of a person, the strongest first; the interval by resampling comparisons.

        feedback  what the person said (all of it: the bootstrap draws from these comparisons)

        Raises FeedbackError if the person said nothing there; fewer than ten comparisons are said to be few in the log.
        """
        theirs = feedback.where(user=user) if user in feedback.users else feedback.take(np.zeros(0, dtype=np.int64))
        pairs = theirs.pairs(max_per_person=ADAPT_PAIRS, seed=self.settings["seed"])
        if not len(pairs):
            raise FeedbackError(f"{user!r} compared nothing in this feedback, so their taste cannot be told")
        if len(pairs) < FEW:
            log.warning("%s gave only %d comparisons: the intervals are wide", user, len(pairs))
        u = self._basis_utilities(theirs)
        drawn = np.random.default_rng(self.settings["seed"]).integers(0, len(pairs), (replicates, len(pairs)))
        rows = np.concatenate([np.arange(len(pairs)), drawn.ravel()])
        person = np.repeat(np.arange(replicates + 1), len(pairs))
        some = pairs.take(rows)
        if self.settings["solver"] == "closed-form":
            w = self.beta * unit(totals(u[:, 1:], some, person, replicates + 1))
        else:
            z = u[some.a] - u[some.b]
            w, _ = solve(
                z[:, 1:], some.p, person, replicates + 1, offset=z[:, 0], weight=some.weight, mean=self.mean,
                precision=self.precision, tolerance=1e-5,
            )  # fmt: skip
        tail = (1 - level) / 2
        low, high = np.quantile(w[1:], [tail, 1 - tail], axis=0)
        order = np.argsort(-np.abs(w[0]), kind="stable")
        return {self.names[i]: (float(w[0, i]), float(low[i]), float(high[i])) for i in order}

    def arrays(self) -> dict[str, np.ndarray]:
        return {**super().arrays(), "beta": np.array([self.beta])}

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        super().restore(arrays)
        self.beta = float(arrays["beta"][0])


def totals(x: np.ndarray, pairs: Pairs, person: np.ndarray, people: int) -> np.ndarray:
    """float64 [people, A]: each person's sum of attribute differences chosen - rejected (ties count nothing)."""
    signed = (pairs.weight * (2 * pairs.p - 1))[:, None] * (x[pairs.a] - x[pairs.b])
    return np.stack([np.bincount(person, column, people) for column in signed.T], axis=1)


def unit(v: np.ndarray) -> np.ndarray:
    """Rows of v [n, A] with norm 1; zero rows stay zero."""
    norm = np.linalg.norm(v, axis=1, keepdims=True)
    return v / np.where(norm > 0, norm, 1.0)
