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
from typing import Any, Self

import numpy as np
from threadpoolctl import threadpool_limits

from guerdon.encode.base import Encoder
from guerdon.errors import ConfigError, FeedbackError
from guerdon.feedback.schema import Candidates
from guerdon.feedback.star import Feedback, Pairs
from guerdon.reward.learned.features import features_of
from guerdon.reward.personal.basis import Basis, Data, learn
from guerdon.reward.personal.linear_people import LinearPeople
from guerdon.reward.personal.low_rank_choice import Choice, Search
from guerdon.reward.personal.people import PeopleTable, candidate_keys
from guerdon.reward.personal.weights import CONSTRAINTS


class LowRankReward(LinearPeople):
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
        raw = self._given_scores(feedback) if self.scorers else self._encoded(feedback, progress)
        encoded = time.perf_counter()
        x = self._represent(raw, pairs)
        choice = self._choose(feedback, pairs, x)
        basis = self._learn(Data.of(pairs, len(x), s["balance"]), x, choice.setting)
        self._take(basis, feedback, choice)
        self.people = self._solve_people(feedback, basis.utilities(x))
        self.summary = {
            "judgements": len(feedback),
            "pairs": len(pairs),
            "people": len(self.people.users),
            "candidates": len(feedback.used),
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

    def _encoded(self, feedback: Feedback, progress: bool) -> np.ndarray:
        """[C, d] features by the encoder; learns how they are scaled."""
        raw = features_of(self.open_encoder(), feedback, progress=progress)
        self.fit_scaling(raw[feedback.used])
        return raw

    def _given_scores(self, feedback: Feedback) -> np.ndarray:
        """[C, d] scores by the given scorers; learns how they are standardised."""
        used = feedback.used
        values = self._raw(feedback.candidates.take(used))
        if np.isnan(values).any():
            raise FeedbackError("a given basis scorer left candidates unscored; every candidate needs every scorer")
        self.features.fit(values)
        flat = np.flatnonzero(self.features.scale == 0)
        if len(flat):
            raise FeedbackError(
                f"basis scorer {self.params['basis'][flat[0]]!r} gives every candidate the same score; drop it"
            )
        raw = np.zeros((len(feedback.responses), values.shape[1]))
        raw[used] = values
        return raw

    def _represent(self, raw: np.ndarray, pairs: Pairs) -> np.ndarray:
        """[C, d] what utilities are linear in; subclasses may first learn it from ``pairs``."""
        return self._scaled(raw)

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
        """Rank, penalties and trust by held-out people."""
        return Search(self.settings, x, self.given, self._learn).choose(feedback, pairs)

    def _take(self, basis: Basis, feedback: Feedback, choice: Choice) -> None:
        used = feedback.used
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


def _number_or(value: Any, name: str, words: str | tuple[str, ...], least: float) -> None:
    words = (words,) if isinstance(words, str) else words
    if isinstance(value, str) and value in words:
        return
    if isinstance(value, bool) or not isinstance(value, int | float) or value < least:
        raise ConfigError(f"{name}={value!r}: use {' or '.join(repr(w) for w in words)}, or a number >= {least:g}")


__all__ = ["LowRankReward", "PeopleTable"]
