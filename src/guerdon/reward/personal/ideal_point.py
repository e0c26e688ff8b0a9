"""Ideal points: the response nearer to what a person wants wins, and what people want are mixtures of K prototypes.

A person is K simplex weights over prototypes that everybody shares; the geometry (variants A and B, see
:mod:`guerdon.reward.personal.ideal_geometry`) is learned from all comparisons together, a new person only by weights
(:mod:`guerdon.reward.personal.ideal_weights`): projector and prototypes do not move by one bit.

When to use it: where too much is as bad as too little. Utilities are not monotone in any feature, so K = 1 is a shared
ideal point and not Bradley-Terry. Variant B is for tastes that depend on the prompt. K, and how far a person's few
votes may move them (the variance of a Gaussian prior of their logits around the population's), are chosen on people
held out; where none of it beats one shared ideal point and a linear utility there, ``summary["personal"]`` is False.

Reference: Chen et al. 2024, PAL: pluralistic alignment framework for learning from heterogeneous preferences,
https://arxiv.org/abs/2406.08469 (``pal`` are its settings: an MLP of the features' own width, K = 2, hinge, no prior).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from scipy.special import softmax
from torch.nn.functional import relu, softplus

from guerdon.encode.base import Encoder
from guerdon.errors import ConfigError, FeedbackError
from guerdon.feedback.schema import Candidates
from guerdon.feedback.star import Feedback, Pairs
from guerdon.reward.base import Scores
from guerdon.reward.learned.fitted import FeatureReward, Prepared
from guerdon.reward.learned.networks import Schedule, train
from guerdon.reward.learned.prompt_columns import apart, prompt_columns, response_columns
from guerdon.reward.personal.ideal_geometry import MIXINGS, PROJECTORS, Geometry
from guerdon.reward.personal.ideal_weights import Placed, solve
from guerdon.reward.personal.people import ADAPT_PAIRS, PeopleTable
from guerdon.reward.personal.selection import Evidence, FewShot, folds_of, gain, pairs_of_people, within_person
from guerdon.reward.personal.token_weights import WEIGHTINGS, by_token, positions_of, share_scaling, shares
from guerdon.reward.personal.trial import LEAST_PEOPLE, linear_population, shot_trial

if TYPE_CHECKING:
    import pyarrow as pa

TRUST = (0.0, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
"""Variances of a person's logits around the population's that are tried."""
GRID = (1, 2, 3, 4, 6)
WIDEST = 64

SELECTION_PEOPLE, SELECTION_PAIRS = 300, 40
"""K and trust are chosen on at most so many people and so many comparisons of each to learn from, with one start."""

EPOCH = 100
"""Most batches of an epoch; where there is more, each epoch sees another part."""


class IdealPointReward(FeatureReward):
    """Distance to a person's ideal point (A), or agreement with their direction (B); strangers get the mean weights.

    A score is in log-odds. ``Scores.std`` is the posterior standard deviation by the curvature of a person's votes.

    Parameters
    ----------
    encoder : specification of the encoder (see guerdon.encode) or an Encoder
    variant : A (ideal points, distance) or B (ideal directions that depend on the prompt, cosine)
    k : number of prototypes, or auto (chosen on held-out people among 1, 2, 3, 4, 6)
    width : dimensions of preference space, or auto (the features' number, at most 64)
    projector : linear, or mlp (two hidden layers)
    residual : the mlp adds to its input (needs width = number of features)
    dropout : dropout of the mlp, in [0, 1)
    mixing : prototypes are mixed before the projector, after it, or directly in preference space (A)
    distance : norm or square (A)
    loss : logistic, or hinge (margin 1; scores are then calibrated to log-odds on comparisons held out)
    bound : penalise ideal points longer than this (A), or null
    temperature : of the softmax that makes weights of logits
    prior : learned (trust in a person's votes from held-out people), none, or a fixed trust > 0 (variance of logits)
    prompt_width : variant B, the first so many features describe the prompt; null asks the encoder's feature map
    token_weighting : a response is one point (none), or each of its tokens is scored: mean, cumulative or last counts
    positions : states of so many tokens lie side by side in a response's features; null asks the encoder
    learning_rate : AdamW step of the projectors
    learning_rate_people : AdamW step of prototypes, weights and scale
    weight_decay : AdamW weight decay
    epochs : most passes over the comparisons (over 100 batches of them where there are more)
    batch : comparisons a step
    starts : trainings from different starts, of which the best on comparisons held out stays (k > 1)
    max_pairs : at most so many pairs a person in fitting
    seed : seeds starts, splits and draws
    """

    reads = ("user",)

    def __init__(
        self,
        *,
        encoder: str | Encoder = "minilm",
        variant: str = "A",
        k: int | str = "auto",
        width: int | str = "auto",
        projector: str = "linear",
        residual: bool = False,
        dropout: float = 0.0,
        mixing: str = "before",
        distance: str = "norm",
        loss: str = "logistic",
        bound: float | None = None,
        temperature: float = 1.0,
        prior: str | float = "learned",
        prompt_width: int | None = None,
        token_weighting: str = "none",
        positions: int | None = None,
        learning_rate: float = 1e-2,
        learning_rate_people: float = 1e-1,
        weight_decay: float = 1e-2,
        epochs: int = 40,
        batch: int = 128,
        starts: int = 2,
        max_pairs: int = 200,
        seed: int = 0,
    ) -> None:
        for name, value, words in (
            ("variant", variant, ("A", "B")),
            ("projector", projector, PROJECTORS),
            ("mixing", mixing, MIXINGS),
            ("distance", distance, ("norm", "square")),
            ("loss", loss, ("logistic", "hinge")),
            ("token_weighting", token_weighting, WEIGHTINGS),
        ):
            if value not in words:
                raise ConfigError(f"{name}={value!r} is unknown; use one of {', '.join(words)}")
        for name, value, words, least in (
            ("k", k, ("auto",), 1), ("width", width, ("auto",), 1), ("prior", prior, ("learned", "none"), 1e-12),
            ("temperature", temperature, (), 1e-12), ("prompt_width", prompt_width, (None,), 1),
            ("starts", starts, (), 1), ("bound", bound, (None,), 0), ("positions", positions, (None,), 1),
        ):  # fmt: skip
            if value not in words and (isinstance(value, bool | str) or not value or value < least):
                raise ConfigError(f"{name}={value!r}: use {', '.join(map(str, (*words, f'a number >= {least:g}')))}")
        if not 0 <= dropout < 1:
            raise ConfigError(f"dropout={dropout}: use a share in [0, 1)")
        if residual and projector != "mlp":
            raise ConfigError("residual=True is for projector=mlp")
        self.name = "ideal-point"
        settings = {
            "variant": variant, "k": k, "width": width, "projector": projector, "residual": residual,
            "dropout": dropout, "mixing": mixing, "distance": distance, "loss": loss, "bound": bound,
            "temperature": temperature, "prior": prior, "prompt_width": prompt_width,
            "token_weighting": token_weighting, "positions": positions, "learning_rate": learning_rate,
            "learning_rate_people": learning_rate_people, "weight_decay": weight_decay, "epochs": epochs,
            "batch": batch, "starts": starts, "max_pairs": max_pairs, "seed": seed,
        }  # fmt: skip
        super().__init__(apart(encoder) if variant == "B" and prompt_width is None else encoder, settings)
        self.geometry = Geometry("A", 1, 1, 1)
        self.prompt_columns = self.columns = np.zeros(0, dtype=np.int64)
        self.positions: int | None = None
        self.mean = np.zeros(1)
        self.trust, self.calibration = 0.0, 1.0
        self.people = PeopleTable.empty(1)

    @property
    def users(self) -> tuple[str, ...]:
        """The people this reward knows."""
        return self.people.users

    @property
    def population(self) -> np.ndarray:
        """float64 [K] the weights of somebody unknown: the mean over the people it was fitted to."""
        return softmax(self.mean / self.settings["temperature"])

    # ------------------------------------------------------------------ fitting

    def fit_scaling(self, raw: np.ndarray) -> None:
        """Learn mean and scale of the features, one for all token positions."""
        s = self.settings
        self.positions = positions_of(self.open_encoder(), s["token_weighting"], s["positions"])
        self.prompt_columns, self.columns = self._columns(raw.shape[1])
        super().fit_scaling(raw)
        if self.positions is not None:
            share_scaling(self.features, self.columns, self.positions)

    def learn(self, data: Prepared, progress: bool) -> dict[str, Any]:
        s = self.settings
        feedback = data.feedback
        pairs = pairs_of_people(feedback, s["max_pairs"], s["seed"])
        people = len(np.unique(pairs.user))
        if s["k"] != "auto" and s["k"] > people:
            raise FeedbackError(f"k={s['k']} prototypes for {people} people: use at most one prototype a person")
        x, prompts = self._parts(data.x)
        if s["variant"] == "B":
            self._check_length(x, feedback)
        k, self.trust, found = self._choose(feedback, pairs, data.x)
        self.geometry, logits = self._train(x, prompts, pairs, k, progress)
        self.mean = s["temperature"] * np.log(softmax(logits / s["temperature"], axis=1).mean(0))
        placed = Placed.of(self.geometry, x, prompts, self._share)
        self.calibration = self._calibrate(placed, pairs, logits)
        self.people = self._solve_people(feedback, placed)
        return {"pairs": len(pairs), "k": k, "trust": self.trust, **found}

    def _columns(self, d: int) -> tuple[np.ndarray, np.ndarray]:
        """(columns of the prompt's features, columns of the response's) of d features."""
        encoder, width, every = self.open_encoder(), self.settings["prompt_width"], np.arange(d)
        if self.settings["variant"] == "A":
            blocks = getattr(getattr(encoder, "map", None), "blocks", ())
            if self.positions is not None and len(blocks) > 1:
                raise ConfigError(
                    f"token_weighting needs states of tokens alone, not the features {'+'.join(blocks)}; use an "
                    "encoder with features=joined or features=response"
                )
            return every[:0], every
        return prompt_columns(encoder, d, width), response_columns(encoder, d, width)

    def _parts(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """(response features, prompt features or None), of unit variance each, of scaled features x [n, d].

        Those of a response are [n, d], or [n, P, d] where tokens are weighed.
        """
        x = x * np.sqrt(x.shape[1])
        own = by_token(x[:, self.columns], self.positions)
        return own, None if self.settings["variant"] == "A" else x[:, self.prompt_columns]

    def _check_length(self, x: np.ndarray, feedback: Feedback) -> None:
        used = feedback.used
        bad = used[~(np.abs(x[used]).max(-1) > 0).reshape(len(used), -1).all(1)]
        if len(bad):
            raise FeedbackError(
                f"variant B compares directions, but {len(bad)} candidates have response features of length zero, "
                f"first {feedback.candidate(int(bad[0]))!r:.120}; leave them out, or use variant A"
            )

    def _train(
        self, x: np.ndarray, prompts: np.ndarray | None, pairs: Pairs, k: int, progress: bool
    ) -> tuple[Geometry, np.ndarray]:
        """(geometry, logits [u, K]) of the people of ``pairs``: of several starts the best by comparisons held out."""
        tries = [
            self._train_once(x, prompts, pairs, k, self.settings["seed"] + 1000 * i, progress)
            for i in range(self.settings["starts"] if k > 1 else 1)
        ]
        return min(tries, key=lambda t: t[0])[1:]

    def _train_once(
        self, x: np.ndarray, prompts: np.ndarray | None, pairs: Pairs, k: int, seed: int, progress: bool
    ) -> tuple[float, Geometry, np.ndarray]:
        s = self.settings
        d = x.shape[-1]
        width = min(d, WIDEST) if s["width"] == "auto" else int(s["width"])
        if s["residual"] and width != d:
            raise ConfigError(f"residual=True needs width={d}, the number of features, not {width}")
        geometry = Geometry(
            s["variant"], d, k, width, d_prompt=0 if prompts is None else prompts.shape[1],
            projector=s["projector"], residual=s["residual"], dropout=s["dropout"], mixing=s["mixing"],
            distance=s["distance"], learn_scale=s["variant"] == "B" or s["loss"] == "logistic", seed=seed,
        )  # fmt: skip
        codes, person = np.unique(pairs.user, return_inverse=True)
        generator = torch.Generator().manual_seed(seed + 1)
        logits = torch.randn(len(codes), k, generator=generator).requires_grad_()
        tensor = {
            "x": torch.as_tensor(x, dtype=torch.float32), "p": torch.as_tensor(pairs.p, dtype=torch.float32),
            "weight": torch.as_tensor(pairs.weight / pairs.weight.mean(), dtype=torch.float32),
        }  # fmt: skip
        asked = None if prompts is None else torch.as_tensor(prompts, dtype=torch.float32)
        share = None if self._share is None else torch.as_tensor(self._share, dtype=torch.float32)

        def utility(side: np.ndarray, ideal: torch.Tensor) -> torch.Tensor:
            y = geometry.f(tensor["x"][side])
            return geometry.around(y, ideal) if share is None else geometry.around(y, ideal[:, None]) @ share

        def loss(rows: np.ndarray) -> torch.Tensor:
            w = torch.softmax(logits[person[rows]] / s["temperature"], dim=1)
            if asked is None:
                ideal = geometry.ideals(w)
            else:
                ideal = torch.einsum("nk,nkq->nq", w, geometry.directions(asked[pairs.a[rows]]))
            delta, p = utility(pairs.a[rows], ideal) - utility(pairs.b[rows], ideal), tensor["p"][rows]
            if s["loss"] == "logistic":
                each = softplus(-delta) + (1 - p) * delta
            else:
                each = p * relu(1 - delta) + (1 - p) * relu(1 + delta)
            if s["bound"] is not None and asked is None:
                each = each + relu(ideal.norm(dim=1) - s["bound"])
            return (tensor["weight"][rows] * each).mean()

        order = np.random.default_rng(s["seed"]).permutation(len(pairs))
        aside, fitting = np.split(order, [len(pairs) // 10 if len(pairs) >= 100 else 0])

        most, draw = min(len(fitting), EPOCH * s["batch"]), np.random.default_rng(seed + 2)

        def held() -> float:
            geometry.eval()
            value = float(loss(aside))
            geometry.train()
            return value

        bodies = [p for p in geometry.parameters() if p.requires_grad]
        own = {id(p) for p in bodies if p is geometry.log_scale or p is getattr(geometry, "prototypes", None)}
        faster = s["learning_rate_people"] / s["learning_rate"]
        course = train(
            [*bodies, logits],
            lambda rows: loss(fitting[rows]),
            most,
            Schedule(s["learning_rate"], s["weight_decay"], s["epochs"], s["batch"], 6, seed=seed),
            held=held if len(aside) else None,
            admitted=(lambda epoch: draw.choice(len(fitting), most, replace=False)) if most < len(fitting) else None,
            rates=[*(faster if id(p) in own else 1.0 for p in bodies), faster],
            progress=progress,
        )
        return min(course.losses), geometry.eval().double(), logits.detach().double().numpy()

    def _calibrate(self, placed: Placed, pairs: Pairs, logits: np.ndarray) -> float:
        """The factor that turns hinge scores into log-odds."""
        if self.settings["loss"] == "logistic":
            return 1.0
        person = np.unique(pairs.user, return_inverse=True)[1]
        w = softmax(logits / self.settings["temperature"], axis=1)
        delta = placed.differences(pairs, person)(w)[0]

        def nll(log_c: float) -> float:
            t = np.exp(log_c) * delta
            return float(np.mean(np.logaddexp(0, -t) + (1 - pairs.p) * t))

        found: Any = minimize_scalar(nll, bounds=(-6, 6), method="bounded")
        return float(np.exp(found.x))

    # ------------------------------------------------------------------ choosing on people held out

    def _choose(self, feedback: Feedback, pairs: Pairs, x: np.ndarray) -> tuple[int, float, dict[str, Any]]:
        """(K, trust, what was found): by the log-loss of people held out, after a few of their comparisons."""
        s = self.settings
        trusts: tuple[float, ...] = {"learned": TRUST, "none": (np.inf,)}.get(s["prior"], (s["prior"],))
        people = np.unique(pairs.user)
        few = len(people) < LEAST_PEOPLE
        if few and (s["k"] == "auto" or (s["prior"] == "learned" and s["k"] > 1)):
            raise FeedbackError(
                f"prototypes and trust in people's votes are chosen on people held out; here are {len(people)}, at "
                f"least {LEAST_PEOPLE} are needed (or say both: --set k=2 --set prior=1)"
            )
        if few:
            return int(s["k"]), float(trusts[-1]), {"personal": False}
        if len(people) > SELECTION_PEOPLE:
            people = np.sort(np.random.default_rng(s["seed"]).choice(people, SELECTION_PEOPLE, replace=False))
            pairs = pairs.take(np.isin(pairs.user, people))
        task = FewShot.of(feedback, pairs, s["seed"])
        task = task.of_people(folds_of(task.tests.user, s["seed"])[0])
        if not len(task.tests):
            raise FeedbackError(
                "no person has enough comparisons to hold some out (each needs at least 4 or so); fit --model "
                "bradley-terry"
            )
        fitting = pairs.take(~np.isin(pairs.user, task.tests.user) & (within_person(pairs.user) < SELECTION_PAIRS))
        counts = [c for c in (GRID if s["k"] == "auto" else sorted({1, int(s["k"])})) if c <= len(people) // 2]
        alone = self._trial(x, fitting, task, 1, (0.0,))
        line = linear_population(x, fitting, task.tests)
        straight = Evidence.of({"linear": True}, [shot_trial(task, lambda *_: line, line, (0.0,))], (0.0,))
        population = min((alone, straight), key=lambda e: e.population_loss)
        best, tried = None, [alone, straight]
        for count in counts:
            if count == 1:
                continue
            evidence = self._trial(x, fitting, task, count, trusts)
            tried.append(evidence)
            if best is None or evidence.loss < best.loss - 1e-5:
                best = evidence
            elif count >= 2 * best.setting["k"]:
                break
        if best is None or (s["k"] == "auto" and (best.trust == 0 or best.loss >= alone.loss)):
            best = alone
        mean, low, high = gain(best, population, s["seed"]) if best is not alone else (0.0, 0.0, 0.0)
        return int(best.setting["k"]), float(best.trust), {
            "heldout_gain_accuracy": mean, "heldout_gain_low": low, "heldout_gain_high": high,
            "personal": bool(best.trust > 0 and low > 0), "selection": [e.row() for e in tried],
        }  # fmt: skip

    def _trial(self, x: np.ndarray, fitting: Pairs, task: FewShot, k: int, trusts: tuple[float, ...]) -> Evidence:
        """How well K prototypes of ``fitting`` serve the people of ``task``."""
        s = self.settings
        own, prompts = self._parts(x)
        _, geometry, logits = self._train_once(own, prompts, fitting, k, s["seed"], False)
        mean = s["temperature"] * np.log(softmax(logits / s["temperature"], axis=1).mean(0))
        placed = Placed.of(geometry, own, prompts, self._share)
        factor = self._calibrate(placed, fitting, logits)
        codes = np.unique(task.tests.user)

        def answer(shots: Pairs, tests: Pairs, trust: float) -> np.ndarray:
            v = np.tile(mean, (len(codes), 1))
            if trust > 0:
                v = solve(
                    placed, shots, np.searchsorted(codes, shots.user), mean=v, precision=_precision(trust, *v.shape),
                    kind=s["loss"], temperature=s["temperature"],
                )[0]  # fmt: skip
            w = softmax(v / s["temperature"], axis=1)
            return factor * placed.differences(tests, np.searchsorted(codes, tests.user))(w)[0]

        base = answer(task.shots, task.tests, 0.0)
        return Evidence.of({"k": k}, [shot_trial(task, answer, base, trusts)], trusts)

    # ------------------------------------------------------------------ people

    def _solve_people(self, feedback: Feedback, placed: Placed, known: PeopleTable | None = None) -> PeopleTable:
        """Weights of everybody in ``feedback``; people in ``known`` continue from what they said before."""
        s = self.settings
        pairs = pairs_of_people(feedback, ADAPT_PAIRS, s["seed"])
        codes, person = np.unique(pairs.user, return_inverse=True)
        users = tuple(feedback.users[c] for c in codes)
        n, k = len(users), len(self.mean)
        mean, precision = np.tile(self.mean, (n, 1)), _precision(self.trust, n, k)
        votes = np.bincount(person, minlength=n)
        earlier = [(i, known.index[user]) for i, user in enumerate(users) if known is not None and user in known.index]
        if known is not None and earlier:
            here, there = (np.array(column) for column in zip(*earlier, strict=True))
            mean[here], precision[here] = known.center[there], known.precision[there]
            votes[here] += known.votes[there]
        center, post = mean, precision
        if self.trust > 0:
            center, post = solve(
                placed, pairs, person, mean=mean, precision=precision, kind=s["loss"], temperature=s["temperature"]
            )
        return PeopleTable(users, softmax(center / s["temperature"], axis=1), center, post, votes)

    def adapt(self, feedback: Feedback) -> Self:
        """A copy that also knows the people of ``feedback``, solved all at once; known people learn further."""
        used = feedback.used
        x = np.zeros((len(feedback.responses), len(self.features.mean)))
        x[used] = self.x(feedback.candidates.take(used))
        other = type(self).__new__(type(self))
        other.__dict__.update(self.__dict__)
        other.people = self.people.merged(self._solve_people(feedback, self._place(x), self.people))
        return other

    def ideal_features(self, user: str | None = None) -> np.ndarray:
        """float64 [d] the ideal response of a person (or of the population), in the encoder's own features (a token's).

        Raises ConfigError unless prototypes live among the features (variant A, ``mixing="before"``).
        """
        if self.settings["variant"] != "A" or self.settings["mixing"] != "before":
            raise ConfigError("ideal points lie among the features in variant A with mixing=before only")
        at = self.people.index.get(user) if user is not None else None
        w = self.population if at is None else self.people.weights[at]
        point = w @ self.geometry.prototypes.detach().numpy() / np.sqrt(len(self.columns))
        scale, mean = self.features.scale[: len(point)], self.features.mean[: len(point)]  # all tokens share them
        return mean + np.where(scale > 0, point / np.where(scale > 0, scale, 1.0), 0.0)

    # ------------------------------------------------------------------ scoring

    def _place(self, x: np.ndarray) -> Placed:
        return Placed.of(self.geometry, *self._parts(x), self._share)

    @property
    def _share(self) -> np.ndarray | None:
        """float64 [P] what each token counts; None where a response is one point."""
        return shares(self.settings["token_weighting"], self.positions)

    def _askers(self, users: Any, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[str | None]]:
        """(weights [g, K], covariances of logits [g, K, K] of distinct askers, asker [n], reason [n] of each row)."""
        names: list[str | None] = [None] * n if users is None else list(users)
        table = {name: i for i, name in enumerate(dict.fromkeys(names))}
        k = len(self.mean)
        nobody = _covariance(_precision(self.trust, 1, k))
        w, cov = np.tile(self.population, (len(table), 1)), np.tile(nobody, (len(table), 1, 1))
        reason: dict[str | None, str | None] = {}
        for name, i in table.items():
            j = self.people.index.get(name) if name is not None else None
            if j is not None:
                w[i], cov[i] = self.people.weights[j], _covariance(self.people.precision[j])
            elif users is not None:
                reason[name] = "population: nobody asked" if name is None else f"population: unknown person {name!r}"
        which = np.array([table[name] for name in names], dtype=np.int64)
        return w, cov, which, [reason.get(name) for name in names]

    def score(self, candidates: Candidates) -> Scores:
        """Utility of each candidate to the person in ``user``; unscored where variant B finds no direction."""
        if not len(candidates):
            return Scores(np.zeros(0), std=np.zeros(0))
        w, cov, which, reason = self._askers(candidates.user, len(candidates))
        value, by_w = self._place(self.x(candidates)).at(w, which)
        mine = w[which]
        slope = mine * (by_w - (by_w * mine).sum(1, keepdims=True)) / self.settings["temperature"]
        std = np.sqrt(np.maximum(np.einsum("nk,nkl,nl->n", slope, cov[which], slope, optimize=True), 0.0))
        bad = np.isnan(value)
        status = ["invalid" if b else "scored" for b in bad]
        reason = [NO_DIRECTION if b else r for b, r in zip(bad, reason, strict=True)]
        return Scores(self.calibration * value, status, reason, self.calibration * std)

    def score_table(self, candidates: Candidates, users: list[str]) -> np.ndarray:
        """float64 [c, u]: utility of each candidate to each person (population where unknown)."""
        rows = [self.people.index.get(user, -1) for user in users]
        w = np.concatenate([self.people.weights, self.population[None]])[rows]
        return self.calibration * self._place(self.x(candidates)).table(w)

    # ------------------------------------------------------------------ saving

    def arrays(self) -> dict[str, np.ndarray]:
        g = self.geometry
        return {
            "sizes": np.array([len(self.columns), len(self.prompt_columns), g.k, g.q, self.positions or 0]),
            "columns": self.columns,
            "prompt_columns": self.prompt_columns,
            "mean": self.mean,
            "trust_calibration": np.array([self.trust, self.calibration]),
            **self.features.arrays(),
            **{f"net.{k}": v.numpy() for k, v in g.state_dict().items()},
        }

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        s = self.settings
        d, d_prompt, k, q = (int(v) for v in arrays["sizes"][:4])
        self.positions = int(arrays["sizes"][4]) or None if len(arrays["sizes"]) > 4 else None  # not in older files
        self.columns, self.prompt_columns = arrays["columns"], arrays["prompt_columns"]
        self.mean = arrays["mean"]
        self.trust, self.calibration = (float(v) for v in arrays["trust_calibration"])
        self.features.restore(arrays)
        self.geometry = Geometry(
            s["variant"], d // (self.positions or 1), k, q, d_prompt=d_prompt, projector=s["projector"],
            residual=s["residual"], mixing=s["mixing"], distance=s["distance"],
        ).double()  # fmt: skip
        state = {name[4:]: torch.as_tensor(v) for name, v in arrays.items() if name.startswith("net.")}
        self.geometry.load_state_dict(state)
        self.geometry.eval()
        self.people = PeopleTable.empty(k)

    def people_table(self) -> pa.Table:
        """The people as an Arrow table: user, votes, weights, center (logits), precision."""
        return self.people.to_arrow()

    def restore_people(self, table: pa.Table) -> None:
        """Take the people back."""
        self.people = PeopleTable.from_arrow(table, len(self.mean))


NO_DIRECTION = "variant B: response or ideal has length zero, so there is no cosine"


def _precision(trust: float, u: int, k: int) -> np.ndarray:
    """float64 [u, K, K] prior precision of logits: none at all for infinite trust, immovable for none."""
    return np.tile(np.eye(k) / max(trust, 1e-9), (u, 1, 1))


def _covariance(precision: np.ndarray) -> np.ndarray:
    return np.linalg.inv(precision + 1e-6 * np.eye(precision.shape[-1]))
