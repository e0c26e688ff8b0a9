"""The general low-rank personal reward: basis utilities of a candidate x weights of a person.

    utility(x, person) = f(x) + B(x) . w_person        f, B linear in features (plus effects of recurring candidates)

Settings of this one model: LoRe (Bose et al. 2025, arXiv:2504.14439; simplex weights, no prior), Reward Features
(Barreto et al. 2025, arXiv:2503.17338; free weights), PersonalLLM's users (Zollo et al. 2024, arXiv:2409.20296; given
scorers as basis). Its default adds what those leave to the user: rank, penalties and above all *how far a person's few
votes are to be trusted* are learned from people held out inside fitting (``selection``), so that where people do not
disagree nobody is moved away from the population.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from threadpoolctl import threadpool_limits

from guerdon.encode.base import Encoder
from guerdon.errors import ConfigError, FeedbackError
from guerdon.feedback.schema import Candidates
from guerdon.feedback.star import Feedback, Pairs
from guerdon.reward.base import Scores
from guerdon.reward.learned.features import features_of
from guerdon.reward.learned.fitted import FeatureReward
from guerdon.reward.personal.basis import Basis, Data, learn
from guerdon.reward.personal.people import ADAPT_PAIRS, PeopleTable, candidate_keys
from guerdon.reward.personal.selection import (
    TRUST,
    Evidence,
    FewShot,
    few_shot_trial,
    folds_of,
    gain,
    pairs_of_people,
    predict,
)
from guerdon.reward.personal.weights import CONSTRAINTS, posterior, solve

if TYPE_CHECKING:
    import pyarrow as pa

ITEM_GRID = (None, 10.0, 3.0)
L2_GRID = (0.3, 1.0, 3.0, 10.0)
RANK_GRID = (1, 2, 3, 4, 6, 8, 12, 16)
SELECTION_PEOPLE = 600
"""Rank, penalties and trust are chosen on at most so many people; the basis is then learned from everybody."""


@dataclass(frozen=True)
class Choice:
    """A setting for ``basis.learn``, the trust in votes, and the held-out evidence for them.

    gain  (mean, low, high) accuracy gain of adapting over the population on people held out inside fitting, averaged
          over 3, 10 and 30 shots; chosen on the same people, so slightly flattering: ``guerdon eval`` has the last word
    """

    setting: dict[str, Any]
    trust: float
    gain: tuple[float, float, float]
    table: list[dict[str, Any]]


class LowRankReward(FeatureReward):
    """Basis utilities x person weights; unknown people get the population and are flagged in ``Scores.reason``.

    A score is in log-odds. ``Scores.std`` is the posterior standard deviation of a person's utility given their votes
    (the prior's for people never heard of); ``prefer`` integrates over it.

    Parameters
    ----------
    encoder : specification of the encoder (see guerdon.encode) or an Encoder
    rank : number of basis utilities, or auto (chosen on held-out people)
    weights : where a person's weights live: free, nonnegative or simplex
    basis : learned, or a list of rewards (specifications for guerdon.load) whose standardised scores are the basis
    prior : learned (trust in a person's votes from held-out people), none, or a fixed trust > 0 (prior variance)
    l2 : ridge on the population utility, or auto (chosen on held-out people)
    l2_basis : ridge on the basis utilities, or auto (chosen on held-out people)
    item_effects : what features do not say about recurring candidates: auto, none, or the ridge on it
    reference : none, or population (draw every basis direction to the population's)
    reference_weight : weight of 1 - cos(basis direction, reference)
    temperature : auto (features are standardised), or a number that raw features are divided by
    balance : give every person the same total weight in fitting the basis
    max_pairs : at most so many pairs a person in fitting the basis
    rounds : most alternations between people and basis
    seed : seeds folds, pair draws and starts
    """

    reads = ("user",)

    def __init__(
        self,
        *,
        encoder: str | Encoder = "minilm",
        rank: int | str = "auto",
        weights: str = "free",
        basis: str | list[Any] = "learned",
        prior: str | float = "learned",
        l2: float | str = "auto",
        l2_basis: float | str = "auto",
        item_effects: str | float = "auto",
        reference: str = "none",
        reference_weight: float = 1.0,
        temperature: str | float = "auto",
        balance: bool = False,
        max_pairs: int = 100,
        rounds: int = 15,
        seed: int = 0,
    ) -> None:
        _number_or(rank, "rank", "auto", 1)
        _number_or(l2, "l2", "auto", 0)
        _number_or(l2_basis, "l2_basis", "auto", 0)
        _number_or(temperature, "temperature", "auto", 1e-12)
        _number_or(prior, "prior", ("learned", "none"), 1e-12)
        _number_or(item_effects, "item_effects", ("auto", "none"), 0)
        if weights not in CONSTRAINTS:
            raise ConfigError(f"weights={weights!r} is unknown; use one of {', '.join(CONSTRAINTS)}")
        if isinstance(basis, str) and basis != "learned":
            raise ConfigError(f"basis={basis!r} is unknown; use 'learned' or a list of rewards")
        if reference not in ("none", "population"):
            raise ConfigError(f"reference={reference!r} is unknown; use none or population")
        self.name = "low-rank"
        self.basis: list[Any] = [] if isinstance(basis, str) else list(basis)
        self.scorers = list(self.basis)
        settings = {
            "rank": rank,
            "weights": weights,
            "prior": prior,
            "l2": l2,
            "l2_basis": l2_basis,
            "item_effects": item_effects,
            "reference": reference,
            "reference_weight": reference_weight,
            "temperature": temperature,
            "balance": balance,
            "max_pairs": max_pairs,
            "rounds": rounds,
            "seed": seed,
        }
        super().__init__(encoder, settings)
        self.feature = np.zeros((0, 1))
        self.item_keys = np.zeros(0, dtype=np.int64)
        self.item = np.zeros((0, 1))
        self.mean = np.zeros(0)
        self.precision = np.zeros((0, 0))
        self.people = PeopleTable.empty(0)

    # ------------------------------------------------------------------ parts

    @property
    def params(self) -> dict[str, Any]:
        spec = self.encoder if isinstance(self.encoder, str) else self.encoder.spec
        basis = [s if isinstance(s, str) else s.name for s in self.basis] or "learned"
        return {"encoder": spec, "basis": basis, **self.settings}

    @property
    def users(self) -> tuple[str, ...]:
        """The people this reward knows."""
        return self.people.users

    @property
    def width(self) -> int:
        """Number of basis utilities."""
        return len(self.mean)

    @property
    def given(self) -> bool:
        """Whether the standardised features are the basis themselves: nothing but people's weights is learned."""
        return bool(self.scorers)

    def _raw(self, candidates: Candidates) -> np.ndarray:
        """[n, d] features before scaling: the encoder's, or the given scorers' values."""
        if not self.scorers:
            return self.open_encoder().encode(candidates)
        from guerdon.reward.load import load

        self.scorers = [load(s) if isinstance(s, str) else s for s in self.scorers]
        columns = [np.asarray(scorer.score(candidates).value) for scorer in self.scorers]
        return np.stack(columns, axis=1)

    def utilities(self, candidates: Candidates) -> np.ndarray:
        """float64 [n, 1 + k]: population utility f in column 0, basis utilities B in the others."""
        if not len(candidates):
            return np.zeros((0, 1 + self.width))
        u = self._scaled(self._raw(candidates)) @ self.feature
        if len(self.item_keys):
            keys = candidate_keys(candidates)
            at = np.minimum(np.searchsorted(self.item_keys, keys), len(self.item_keys) - 1)
            seen = self.item_keys[at] == keys
            u[seen] += self.item[at[seen]]
        return u

    def _scaled(self, raw: np.ndarray) -> np.ndarray:
        temperature = self.settings["temperature"]
        if temperature != "auto":
            return np.asarray(raw, dtype=np.float64) / float(temperature)
        x = self.features(raw)
        return x * np.sqrt(x.shape[1]) if self.given else x

    # ------------------------------------------------------------------ fitting

    def fit(self, feedback: Feedback, *, validation: Feedback | None = None, progress: bool = False) -> Self:
        """Fit basis, prior and trust to the judgements that have a person; ``validation`` (other people) joins them.

        Raises FeedbackError if people are missing, too few, or have too few comparisons to tell them apart.
        """
        # many small products: threads cost more here than they bring, most of all on a busy machine
        with threadpool_limits(1, user_api="blas"):
            return self._fit(feedback if validation is None else Feedback.concatenate([feedback, validation]), progress)

    def _fit(self, feedback: Feedback, progress: bool) -> Self:
        start = time.perf_counter()
        s = self.settings
        pairs = self._pairs(feedback, s["max_pairs"])
        used = feedback.used
        raw = np.zeros((0, 0))
        if self.scorers:
            values = self._raw(feedback.candidates.take(used))
            if np.isnan(values).any():
                raise FeedbackError("a given basis scorer left candidates unscored; every candidate needs every scorer")
            raw = np.zeros((len(feedback.responses), values.shape[1]))
            raw[used] = values
        else:
            raw = features_of(self.open_encoder(), feedback, progress=progress)
        encoded = time.perf_counter()
        self.features.fit(raw[used])
        if self.scorers and np.any(self.features.scale == 0):
            bad = int(np.flatnonzero(self.features.scale == 0)[0])
            raise FeedbackError(
                f"basis scorer {self.params['basis'][bad]!r} gives every candidate the same score; drop it"
            )
        x = self._represent(raw, pairs)
        choice = self._choose(feedback, pairs, x)
        basis = self._learn(Data.of(pairs, len(x), s["balance"]), x, choice.setting)
        self._take(basis, feedback, used, choice)
        self.people = self._solve_people(feedback, basis.utilities(x))
        self.summary = {
            "judgements": len(feedback),
            "pairs": len(pairs),
            "people": len(self.people.users),
            "candidates": len(used),
            "rank": self.width,
            **{k: v for k, v in choice.setting.items() if k != "rank"},
            "trust": choice.trust,
            "heldout_gain_accuracy": choice.gain[0],
            "heldout_gain_low": choice.gain[1],
            "heldout_gain_high": choice.gain[2],
            "personal": bool(choice.trust > 0 and choice.gain[1] > 0),
            "selection": choice.table,
            "seconds_encoding": round(encoded - start, 3),
            "seconds_fitting": round(time.perf_counter() - encoded, 3),
        }
        return self

    def _represent(self, raw: np.ndarray, pairs: Pairs) -> np.ndarray:
        """[C, d] what utilities are linear in; subclasses may first learn it from ``pairs``."""
        return self._scaled(raw)

    def _pairs(self, feedback: Feedback, most: int | None) -> Pairs:
        return pairs_of_people(feedback, most, self.settings["seed"])

    def _learn(self, data: Data, x: np.ndarray, setting: dict[str, Any]) -> Basis:
        s = self.settings
        reference = None
        if s["reference"] == "population" and not self.given:
            reference = learn(data, x, rank=0, l2=setting["l2"]).feature[:, 0]
        return learn(
            data,
            x,
            rank=int(setting["rank"]),
            constraint=s["weights"],
            prior=s["prior"] != "none",
            l2=setting["l2"],
            l2_basis=setting["l2_basis"],
            l2_item=setting["item_effects"],
            reference=reference,
            reference_weight=s["reference_weight"] * len(data.a) / 100,
            rounds=s["rounds"],
            seed=s["seed"],
            fixed=self.given,
        )

    def _choose(self, feedback: Feedback, pairs: Pairs, x: np.ndarray) -> Choice:
        """Rank, penalties and trust by held-out people, one group of settings after the other."""
        s = self.settings
        people = np.unique(pairs.user)
        if len(people) > SELECTION_PEOPLE:
            people = np.sort(np.random.default_rng(s["seed"]).choice(people, SELECTION_PEOPLE, replace=False))
            pairs = pairs.take(np.isin(pairs.user, people))
        fixed_trust = None if s["prior"] in ("learned", "none") else float(s["prior"])
        trusts = TRUST if s["prior"] == "learned" else ((fixed_trust,) if fixed_trust else (1.0,))
        free = s["weights"] == "free"
        setting: dict[str, Any] = {
            "rank": len(x[0]) if self.given else (s["rank"] if s["rank"] != "auto" else (2 if free else 8)),
            "l2": 1.0 if s["l2"] == "auto" else float(s["l2"]),
            "l2_basis": 1.0 if s["l2_basis"] == "auto" else float(s["l2_basis"]),
            "item_effects": None if s["item_effects"] in ("auto", "none") else float(s["item_effects"]),
        }
        if len(people) < 8:
            if s["prior"] == "learned":
                raise FeedbackError(
                    f"trust in people's votes is learned from people; here are {len(people)}, at least 8 are needed "
                    "(or set the trust yourself: --set prior=1 --set rank=2)"
                )
            return Choice(setting, trusts[0], (0.0, 0.0, 0.0), [])
        task = FewShot.of(feedback, self._pairs(feedback, 200), s["seed"]).of_people(people)
        if not len(task.tests) or not len(task.shots):
            raise FeedbackError(
                "no person has enough comparisons to hold some out (each needs at least 4 or so); "
                "fit --model bradley-terry, or set --set prior=1 --set rank=2"
            )
        folds = folds_of(pairs.user, s["seed"])
        recur = len(pairs) > 3 * len(np.unique(np.concatenate([pairs.a, pairs.b])))

        table: list[dict[str, Any]] = []

        def ask(candidate: dict[str, Any], over: tuple[float, ...] = trusts) -> Evidence:
            trials = []
            for held in folds:
                fitting = pairs.take(~np.isin(pairs.user, held))
                basis = self._learn(Data.of(fitting, len(x), s["balance"]), x, candidate)
                people_task = task.of_people(held)
                trials.append(few_shot_trial(basis, basis.utilities(x), people_task, s["weights"], over))
            evidence = Evidence.of(candidate, trials, over)
            table.append(evidence.row())
            return evidence

        if self.given:
            given = ask(setting)
            return Choice(setting, given.trust, gain(given, given, s["seed"]), table)
        # 1. the population: how smooth, and whether candidates have effects of their own
        l2s = L2_GRID if s["l2"] == "auto" else (setting["l2"],)
        items = ITEM_GRID if s["item_effects"] == "auto" and recur else (setting["item_effects"],)
        flat = [ask({**setting, "rank": 0, "l2": a, "item_effects": b}, (0.0,)) for b in items for a in l2s]
        population = min(flat, key=lambda e: e.population_loss)
        if free:
            setting |= {k: population.setting[k] for k in ("l2", "item_effects")}
        # 2. rank, growing until it has not helped for a while
        ranks = [setting["rank"]] if s["rank"] != "auto" else [r for r in RANK_GRID if free or r > 1]
        best = ask({**setting, "rank": ranks[0]})
        for rank in ranks[1:]:
            evidence = ask({**setting, "rank": rank})
            if evidence.loss < best.loss - 1e-5:
                best = evidence
            elif rank >= 2 * best.setting["rank"]:
                break
        # 3. the basis penalty at that rank
        for l2_basis in (3.0, 0.3) if s["l2_basis"] == "auto" else ():
            best = min(best, ask({**best.setting, "l2_basis": l2_basis}), key=lambda e: e.loss)
        if s["prior"] == "learned" and free and (best.trust == 0.0 or best.loss >= population.population_loss):
            return Choice(population.setting, 0.0, (0.0, 0.0, 0.0), table)
        return Choice(best.setting, best.trust, gain(best, population, s["seed"]), table)

    def _take(self, basis: Basis, feedback: Feedback, used: np.ndarray, choice: Choice) -> None:
        self.feature = basis.feature
        self.mean = basis.mean
        if self.settings["prior"] == "none":
            self.precision = np.zeros((self.width, self.width))
        else:
            # trust 0: nobody is ever moved from the population
            self.precision = np.linalg.inv(basis.spread) / max(choice.trust, 1e-9)
        self.item_keys, self.item = np.zeros(0, dtype=np.int64), np.zeros((0, 1 + self.width))
        if choice.setting["item_effects"] is not None and len(used):
            keys = candidate_keys(feedback.candidates.take(used))
            order = np.argsort(keys)
            self.item_keys, self.item = keys[order], basis.item[used][order]

    def _solve_people(self, feedback: Feedback, u: np.ndarray, known: PeopleTable | None = None) -> PeopleTable:
        """Weights of everybody in ``feedback``; people in ``known`` continue from what they said before."""
        pairs = self._pairs(feedback, ADAPT_PAIRS)
        codes, person = np.unique(pairs.user, return_inverse=True)
        users = tuple(feedback.users[c] for c in codes)
        n, k = len(users), self.width
        mean, precision = np.tile(self.mean, (n, 1)), np.tile(self.precision, (n, 1, 1))
        votes = np.bincount(person, minlength=n)
        if known is not None:
            for i, user in enumerate(users):
                j = known.index.get(user)
                if j is not None:
                    mean[i], precision[i] = known.center[j], known.precision[j]
                    votes[i] += known.votes[j]
        z = u[pairs.a] - u[pairs.b]
        args: dict[str, Any] = {"offset": z[:, 0], "weight": pairs.weight, "mean": mean, "precision": precision}
        w, _ = solve(z[:, 1:], pairs.p, person, n, constraint=self.settings["weights"], **args)
        center, post = posterior(z[:, 1:], pairs.p, person, w, **args)
        return PeopleTable(users, w, center.reshape(n, k), post, votes)

    def adapt(self, feedback: Feedback) -> Self:
        """A copy that also knows the people of ``feedback``, all solved at once; known people learn further."""
        other = self._copy()
        items = feedback.used
        u = np.zeros((len(feedback.responses), 1 + self.width))
        u[items] = self.utilities(feedback.candidates.take(items))
        fresh = self._solve_people(feedback, u, self.people)
        other.people = self.people.merged(fresh)
        return other

    def update(self, user: str, a: Candidates, b: Candidates, preferred: float | np.ndarray = 1.0) -> None:
        """Add comparisons of one person in place (``preferred`` = P(a preferred)); unknown people are added."""
        z = self.utilities(a) - self.utilities(b)
        self.update_from_utilities(user, z, np.broadcast_to(np.asarray(preferred, dtype=float), len(z)))

    def update_from_utilities(self, user: str, z: np.ndarray, p: np.ndarray) -> None:
        """As :meth:`update`, from utility differences z [m, 1 + k]: the inner step, well under a millisecond."""
        j = self.people.index.get(user)
        center = self.mean if j is None else self.people.center[j]
        precision = self.precision if j is None else self.people.precision[j]
        person = np.zeros(len(z), dtype=np.int64)
        args: dict[str, Any] = {"offset": z[:, 0], "mean": center[None], "precision": precision[None]}
        w, _ = solve(z[:, 1:], p, person, 1, constraint=self.settings["weights"], tolerance=1e-6, **args)
        center, post = posterior(z[:, 1:], p, person, w, **args)
        if j is None:
            self.people = self.people.merged(PeopleTable((user,), w, center, post, np.array([len(z)])))
        else:
            self.people.weights[j], self.people.center[j], self.people.precision[j] = w[0], center[0], post[0]
            self.people.votes[j] += len(z)

    def _copy(self) -> Self:
        other = type(self).__new__(type(self))
        other.__dict__.update(self.__dict__)
        return other

    # ------------------------------------------------------------------ scoring

    def _weights_of(self, users: Any, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[str | None]]:
        """(weights [g, k], covariances [g, k, k] of distinct askers, asker of each row [n], reason of each row)."""
        names: list[str | None] = [None] * n if users is None else list(users)
        table = {name: i for i, name in enumerate(dict.fromkeys(names))}
        which = np.array([table[name] for name in names], dtype=np.int64)
        k = self.width
        w, cov = np.empty((len(table), k)), np.empty((len(table), k, k))
        reason: dict[str | None, str | None] = {}
        nobody = _inverse(self.precision)
        for name, i in table.items():
            j = self.people.index.get(name) if name is not None else None
            if j is None:
                w[i], cov[i] = self.mean, nobody
                reason[name] = "population: nobody asked" if name is None else f"population: unknown person {name!r}"
            else:
                w[i], cov[i] = self.people.weights[j], self._covariance(j)
                reason[name] = None
        if users is None:
            reason[None] = None
        return w, cov, which, [reason[name] for name in names]

    def _covariance(self, j: int) -> np.ndarray:
        """Laplace covariance of one person's weights, within the face of the constraint set they lie on."""
        cov = _inverse(self.people.precision[j])
        if self.settings["weights"] == "free":
            return cov
        inside = self.people.weights[j] > 1e-6
        part = _inverse(self.people.precision[j][np.ix_(inside, inside)])
        if self.settings["weights"] == "simplex":
            ones = part.sum(1)
            part = part - np.outer(ones, ones) / max(ones.sum(), 1e-12)
        cov = np.zeros_like(cov)
        cov[np.ix_(inside, inside)] = part
        return cov

    def belief(self, user: str | None) -> tuple[np.ndarray, np.ndarray]:
        """(mean [k], covariance [k, k]) of what is known of a person's weights; the prior's of somebody unknown."""
        w, cov, _, _ = self._weights_of([user], 1)
        return w[0], cov[0]

    def score(self, candidates: Candidates) -> Scores:
        """Utility of each candidate to the person in ``user``, with posterior ``std``."""
        n = len(candidates)
        w, cov, which, reason = self._weights_of(candidates.user, n)
        value, variance = predict(self.utilities(candidates), w, cov, which)
        return Scores(value, reason=reason if n else (), std=np.sqrt(variance))

    def prefer(self, a: Candidates, b: Candidates) -> Scores:
        """P(a preferred to b) by the person in ``a.user``, integrated over what is not known about them."""
        n = len(a)
        w, cov, which, reason = self._weights_of(a.user, n)
        t, variance = predict(self.utilities(a) - self.utilities(b), w, cov, which)
        p = 0.5 * (1 + np.tanh(0.5 * t / np.sqrt(1 + np.pi * variance / 8)))
        return Scores(p, reason=reason if n else (), std=np.sqrt(variance) * p * (1 - p))

    def prefer_at(self, candidates: Candidates, a: np.ndarray, b: np.ndarray, users: list[str | None]) -> np.ndarray:
        """float64 [n]: :meth:`prefer` of the rows a and b, int [n], of ``candidates``, asked by ``users`` [n].

        Utilities are computed once a candidate, however many comparisons there are (see guerdon.bench.scoring).
        """
        u = self.utilities(candidates)
        w, cov, which, _ = self._weights_of(users, len(a))
        t, variance = predict(u[a] - u[b], w, cov, which)
        return 0.5 * (1 + np.tanh(0.5 * t / np.sqrt(1 + np.pi * variance / 8)))

    def score_table(self, candidates: Candidates, users: list[str]) -> np.ndarray:
        """float64 [c, u]: utility of each candidate to each person (population where unknown)."""
        u = self.utilities(candidates)
        w = np.array(
            [self.people.weights[self.people.index[x]] if x in self.people.index else self.mean for x in users]
        )
        return u[:, :1] + u[:, 1:] @ w.reshape(len(users), self.width).T

    # ------------------------------------------------------------------ saving

    def arrays(self) -> dict[str, np.ndarray]:
        unnamed = [s.name for s in self.basis if not isinstance(s, str)]
        if unnamed:
            raise ConfigError(
                f"basis scorer {unnamed[0]!r} is an object, which no file can hold; give the basis as specifications "
                "(directories, hf:..., package.module:object) to save this reward"
            )
        return {
            "feature": self.feature,
            "item_keys": self.item_keys,
            "item": self.item,
            "mean": self.mean,
            "precision": self.precision,
            **self.features.arrays(),
        }

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        for name in ("feature", "item_keys", "item", "mean", "precision"):
            setattr(self, name, arrays[name])
        self.features.restore(arrays)
        self.people = PeopleTable.empty(self.width)

    def people_table(self) -> pa.Table:
        """The people as an Arrow table: user, votes, weights, center, precision."""
        return self.people.to_arrow()

    def restore_people(self, table: pa.Table) -> None:
        """Take the people back."""
        self.people = PeopleTable.from_arrow(table, self.width)


def _inverse(precision: np.ndarray) -> np.ndarray:
    """Covariance of a precision matrix that may be singular (no prior)."""
    return np.linalg.inv(precision + 1e-9 * np.eye(len(precision)))


def _number_or(value: Any, name: str, words: str | tuple[str, ...], least: float) -> None:
    words = (words,) if isinstance(words, str) else words
    if isinstance(value, str) and value in words:
        return
    if isinstance(value, bool) or not isinstance(value, int | float) or value < least:
        raise ConfigError(f"{name}={value!r}: use {' or '.join(repr(w) for w in words)}, or a number >= {least:g}")


__all__ = ["LowRankReward", "PeopleTable"]
