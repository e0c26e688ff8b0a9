"""A person as a latent vector read from a few of their comparisons: no ids, no gradient steps for new people.

A set encoder (:mod:`guerdon.reward.personal.set_encoder`) reads comparisons [chosen; rejected] and gives a posterior
N(mu, sigma^2) over z; a decoder r([e(y); z]) scores responses. Trained on mean -log sigmoid(r_w - r_l) + w KL with w
annealed in cosine cycles, z sampled and set on the sphere of radius sqrt(L), contexts of random length that never hold
the target. A share of contexts is empty: there z is the origin, where nobody else is, so the decoder at the origin is
the population's utility, and strangers get it. A known person's score is

    r(y, 0) + trust * (r(y, mu) - r(y, 0)),

``trust`` in [0, 1] chosen on people held out: 0 where comparisons say nothing about other comparisons.

When to use it: many people with few comparisons each, tastes that are not linear, people who come and go. The known
failure is posterior collapse (w too large): it is measured on people held out and said in ``summary``.

Reference: Poddar et al. 2024, Personalizing RLHF with variational preference learning,
https://arxiv.org/abs/2408.10075 (``vpl`` are its settings: latent and hidden 512, learning rate 1e-4, w = 3e-6).
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import softplus

from guerdon.encode.base import Encoder
from guerdon.errors import ConfigError, FeedbackError
from guerdon.feedback.star import Pairs
from guerdon.reward.learned.fitted import Prepared
from guerdon.reward.learned.networks import Schedule, train
from guerdon.reward.personal.contexts import ContextDraws, Posteriors, chosen_first, question
from guerdon.reward.personal.selection import Evidence, FewShot, gain, pairs_of_people
from guerdon.reward.personal.set_encoder import cyclical, divergence, on_sphere
from guerdon.reward.personal.trial import LEAST_PEOPLE, linear_population, shot_trial
from guerdon.reward.personal.variational_scores import LatentScores

if TYPE_CHECKING:
    import pyarrow as pa

log = logging.getLogger(__name__)

INFERENCES = ("encoder", "people")
TRUST = (0.0, 0.25, 0.5, 0.75, 1.0)
HELD, MOST_HELD = 0.2, 200
"""Share of the people held out for stopping, trust and the collapse test, and the most of them."""

EPOCH = 100
"""Most batches of an epoch; where there is more, each epoch sees another part."""


class VariationalReward(LatentScores):
    """A decoder of features and a latent person, inferred from comparisons; strangers get the population and a flag.

    A score is in log-odds. ``Scores.std`` is its standard deviation over posterior samples of the person (of everybody,
    for strangers); ``prefer`` averages over them.

    Parameters
    ----------
    encoder : specification of the encoder (see guerdon.encode) or an Encoder
    latent : dimensions of the latent person
    hidden : width of the hidden layers of pair encoder and decoder
    context : contexts of training have 1 to so many comparisons
    kl_weight : weight of the KL divergence in the loss; too large, and the posterior collapses
    cycles : cycles of the cosine annealing of the KL weight over training; 0 keeps it constant
    floor : share of the KL weight at the start of a cycle
    empty : share of training contexts that are empty, which teaches the population's utility
    survey : contexts come only from the so many most answered comparisons, or null (all)
    controversial : the second half of training sees only comparisons that people answered both ways
    prior : learned (trust in contexts from held-out people), none (full trust), or a fixed trust in (0, 1]
    inference : encoder (what comparisons are read as), or people: whoever of the people fitted to would have answered
        like this, which holds for questions that were chosen, too (:mod:`.people_bank`)
    samples : posterior samples of std and prefer
    learning_rate : AdamW step
    weight_decay : AdamW weight decay
    epochs : most passes over the comparisons (over 100 batches of them where there are more)
    batch : target comparisons a step
    max_pairs : at most so many pairs a person in fitting
    seed : seeds starts, draws and samples
    """

    def __init__(
        self,
        *,
        encoder: str | Encoder = "minilm",
        latent: int = 32,
        hidden: int = 128,
        context: int = 8,
        kl_weight: float = 1e-3,
        cycles: int = 4,
        floor: float = 0.1,
        empty: float = 0.1,
        survey: int | None = None,
        controversial: bool = False,
        prior: str | float = "learned",
        inference: str = "encoder",
        samples: int = 16,
        learning_rate: float = 1e-3,
        weight_decay: float = 1e-2,
        epochs: int = 40,
        batch: int = 256,
        max_pairs: int = 100,
        seed: int = 0,
    ) -> None:
        sizes = {"latent": latent, "hidden": hidden, "context": context, "samples": samples, "epochs": epochs}
        for name, value in {**sizes, "survey": 1 if survey is None else survey}.items():
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ConfigError(f"{name}={value!r}: use a whole number >= 1")
        limits = {"kl_weight": np.inf, "cycles": np.inf, "floor": 1.0, "empty": 0.9}
        for (name, high), value in zip(limits.items(), (kl_weight, cycles, floor, empty), strict=True):
            if isinstance(value, str) or not 0 <= value <= high:
                raise ConfigError(f"{name}={value!r}: use a number in [0, {high:g}]")
        if prior not in ("learned", "none") and (isinstance(prior, str) or not 0 < prior <= 1):
            raise ConfigError(f"prior={prior!r}: use learned, none, or a number in (0, 1]")
        if inference not in INFERENCES:
            raise ConfigError(f"inference={inference!r}: use one of {', '.join(INFERENCES)}")
        self.name = "variational"
        settings = {
            "latent": latent, "hidden": hidden, "context": context, "kl_weight": kl_weight, "cycles": cycles,
            "floor": floor, "empty": empty, "survey": survey, "controversial": controversial, "prior": prior,
            "inference": inference, "samples": samples, "learning_rate": learning_rate, "weight_decay": weight_decay,
            "epochs": epochs, "batch": batch, "max_pairs": max_pairs, "seed": seed,
        }  # fmt: skip
        super().__init__(encoder, settings)
        self.trust = 0.0
        self.bank = np.zeros((0, latent))
        self.people = Posteriors.empty(latent, hidden)
        self._build(1)

    # ------------------------------------------------------------------ fitting

    def learn(self, data: Prepared, progress: bool) -> dict[str, Any]:
        s = self.settings
        pairs = pairs_of_people(data.feedback, s["max_pairs"], s["seed"])
        pairs = pairs.take(pairs.p != 0.5)
        votes = np.bincount(pairs.user, minlength=len(data.feedback.users))
        enough = votes[pairs.user] >= 2
        if not enough.any():
            raise FeedbackError(
                "nobody gave two comparisons without a tie: a person is known by some of them and tested on another; "
                "bring more of each person, or fit --model bradley-terry"
            )
        alone = len(np.unique(pairs.user[~enough]))
        pairs = pairs.take(enough)
        people = np.random.default_rng(s["seed"]).permutation(np.unique(pairs.user))
        count = min(MOST_HELD, max(2, round(HELD * len(people)))) if len(people) >= LEAST_PEOPLE else 0
        aside = np.isin(pairs.user, people[:count])
        x = self._wide(data.x)
        self._build(x.shape[1])
        fitting, held = pairs.take(~aside), pairs.take(aside)
        course = self._train(x, fitting, held if count else fitting, bool(count), progress)
        self.bank = self._bank(fitting, x) if s["inference"] == "people" else self.bank[:0]
        found = self._weigh(data, x, fitting, held if count else fitting)
        for caution in found["cautions"]:
            log.warning("%s", caution)
        self.people = self._infer(data.feedback, x)
        return {"pairs": len(pairs), "people_left_out": alone, "best_epoch": course, **found}

    def _train(self, x: np.ndarray, fitting: Pairs, held: Pairs, stop: bool, progress: bool) -> int:
        s = self.settings
        draws = ContextDraws(fitting, _surveyed(fitting, s["survey"]), s["seed"])
        won, lost = (torch.as_tensor(side.astype(np.int64)) for side in chosen_first(fitting))
        sure = torch.as_tensor(np.maximum(fitting.p, 1 - fitting.p), dtype=torch.float32)
        weight = torch.as_tensor(fitting.weight / fitting.weight.mean(), dtype=torch.float32)
        table = torch.as_tensor(x, dtype=torch.float32)
        generator = torch.Generator().manual_seed(s["seed"] + 1)
        steps = s["epochs"] * max(1, -(-min(len(fitting), EPOCH * s["batch"]) // s["batch"]))
        period, step = max(1, steps // max(s["cycles"], 1)), iter(range(10**12))

        def loss(rows: np.ndarray) -> Tensor:
            context, there = draws.draw(rows, s["context"], s["empty"])
            mask = torch.as_tensor(there)
            mu, log_variance = self.reader(torch.cat([table[won[context]], table[lost[context]]], dim=-1), mask)
            noise = torch.randn(mu.shape, generator=generator)
            some = mask.any(1, keepdim=True)
            z = on_sphere(mu + torch.exp(0.5 * log_variance) * noise) * some
            delta = self._decode(table[won[rows]], z) - self._decode(table[lost[rows]], z)
            p = sure[rows]
            nll = (weight[rows] * (softplus(-delta) + (1 - p) * delta)).mean()
            now = s["kl_weight"] * (cyclical(next(step), period, s["floor"]) if s["cycles"] else 1.0)
            return nll + now * divergence(mu, log_variance).mean()

        everything, late = np.arange(len(fitting)), np.arange(len(fitting))
        if s["controversial"]:
            late = np.flatnonzero(_disputed(fitting))
            if not len(late):
                raise FeedbackError("controversial: no comparison was answered both ways; leave controversial out")
        most = min(len(fitting), EPOCH * s["batch"])
        pick = np.random.default_rng(s["seed"] + 4)

        def admitted(epoch: int) -> np.ndarray:
            data = everything if 2 * epoch < s["epochs"] else late
            return data if len(data) <= most else pick.choice(data, most, replace=False)

        fixed = self._contexts(held, s["seed"] + 2)
        course = train(
            [*self.reader.parameters(), *self.decoder.parameters()],
            loss,
            most,
            Schedule(s["learning_rate"], s["weight_decay"], s["epochs"], s["batch"], None, seed=s["seed"]),
            held=(lambda: self._held_loss(table, held, fixed)) if stop else None,
            admitted=admitted,
            progress=progress,
        )
        self.reader.double()
        self.decoder.double()
        return course.best

    def _contexts(self, pairs: Pairs, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """One full context of every comparison, drawn once."""
        s = self.settings
        draws = ContextDraws(pairs, _surveyed(pairs, s["survey"]), seed)
        context, there = draws.draw(np.arange(len(pairs)), s["context"], 0.0)
        return context, there

    def _held_loss(self, table: Tensor, held: Pairs, contexts: tuple[np.ndarray, np.ndarray]) -> float:
        delta, _ = self._on_contexts(table, held, *contexts)
        return float(softplus(-delta).mean())

    @torch.no_grad()
    def _on_contexts(
        self, table: Tensor, pairs: Pairs, context: np.ndarray, there: np.ndarray
    ) -> tuple[Tensor, Tensor]:
        """(utility of the chosen less that of the rejected [n], KL [n]) at the posterior means of contexts [n, C]."""
        won, lost = (torch.as_tensor(side.astype(np.int64)) for side in chosen_first(pairs))
        tokens = self.reader.embed(torch.cat([table[won], table[lost]], dim=-1))
        mu, log_variance = self.reader.pool(tokens[torch.as_tensor(context)], torch.as_tensor(there))
        return self._decode(table[won], mu) - self._decode(table[lost], mu), divergence(mu, log_variance)

    def _weigh(self, data: Prepared, x: np.ndarray, fitting: Pairs, held: Pairs) -> dict[str, Any]:
        """Trust, gain and signs of collapse on the people ``held``; sets ``trust``."""
        s = self.settings
        table = torch.as_tensor(x, dtype=torch.float64)
        context, there = self._contexts(held, s["seed"] + 3)
        own, kl = self._on_contexts(table, held, context, there)
        other = np.random.default_rng(s["seed"]).permutation(len(held))
        mixed, _ = self._on_contexts(table, held, context[other], there[other])
        nats, right, wrong = (float(v.double().mean()) for v in (kl, own > 0, mixed > 0))
        collapsed = nats < 0.05 or right - wrong < 0.02
        found: dict[str, Any] = {
            "kl_nats": nats, "accuracy_own_context": right, "accuracy_other_context": wrong, "collapsed": collapsed,
            "trust": 1.0, "personal": False, "cautions": [],
        }  # fmt: skip
        if collapsed:
            found["cautions"] = [
                f"contexts change nothing (KL {nats:.3f} nats; accuracy {right:.1%} with a person's own context, "
                f"{wrong:.1%} with somebody else's): the posterior collapsed (lower kl_weight), or people agree"
            ]
        trusts = {"learned": TRUST, "none": (1.0,)}.get(s["prior"], (s["prior"],))
        task = FewShot.of(data.feedback, held, s["seed"])
        task = task.of_people(np.unique(held.user))
        if fitting is not held and len(task.tests):
            line = linear_population(data.x, fitting, task.tests)
            straight = Evidence.of({"linear": True}, [shot_trial(task, lambda *_: line, line, (0.0,))], (0.0,))
            base = self._logits(x, task.tests, None, None, 0.0)

            def answer(shots: Pairs, tests: Pairs, trust: float) -> np.ndarray:
                codes = np.unique(task.tests.user)
                known = self._posteriors(shots, np.searchsorted(codes, shots.user), len(codes), x)
                return self._logits(x, tests, np.searchsorted(codes, tests.user), known, trust)

            mine = Evidence.of({}, [shot_trial(task, answer, base, trusts)], trusts)
            population = mine if mine.population_loss < straight.population_loss else straight
            mean, low, high = gain(mine, population, s["seed"])
            found |= {
                "heldout_gain_accuracy": mean, "heldout_gain_low": low, "heldout_gain_high": high,
                "trust": mine.trust, "personal": bool(mine.trust > 0 and low > 0 and not collapsed),
                "selection": [straight.row(), mine.row()],
            }  # fmt: skip
        elif s["prior"] not in ("learned", "none"):
            found["trust"] = float(s["prior"])
        if collapsed and s["prior"] == "learned":  # what is read from comparisons is noise
            found["trust"] = 0.0
        self.trust = found["trust"]
        return found

    def _logits(
        self, x: np.ndarray, pairs: Pairs, person: np.ndarray | None, known: Posteriors | None, trust: float
    ) -> np.ndarray:
        """float64 [n] log-odds of a over b for ``person`` [n] of ``known``, or for the population."""
        z = np.zeros((1, 1, self.settings["latent"]))
        nobody = np.zeros(len(pairs), dtype=np.int64)
        base, mine = (self._utilities(x, z, side, nobody)[:, 0] for side in (pairs.a, pairs.b))
        delta = base - mine
        if known is None or person is None:
            return delta
        left, right = (self._utilities(x, known.mean[:, None], side, person)[:, 0] for side in (pairs.a, pairs.b))
        return delta + trust * (left - right - delta)

    # ------------------------------------------------------------------ saving

    def arrays(self) -> dict[str, np.ndarray]:
        parts = (("reader", self.reader), ("decoder", self.decoder))
        return {
            "trust": np.array([self.trust]),
            "bank": self.bank,
            **self.features.arrays(),
            **{f"{part}.{k}": v.numpy() for part, net in parts for k, v in net.state_dict().items()},
        }

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        self.trust = float(arrays["trust"][0])
        self.features.restore(arrays)
        self._build(len(self.features.mean))
        for part, net in (("reader", self.reader), ("decoder", self.decoder)):
            net.double().load_state_dict(
                {k[len(part) + 1 :]: torch.as_tensor(v) for k, v in arrays.items() if k.startswith(f"{part}.")}
            )
        self.bank = arrays.get("bank", self.bank)
        self.people = Posteriors.empty(self.settings["latent"], self.settings["hidden"], len(self.bank))

    def people_table(self) -> pa.Table:
        """The people as an Arrow table: user, votes, mean, log_variance, tokens (their embedded comparisons)."""
        return self.people.to_arrow()

    def restore_people(self, table: pa.Table) -> None:
        """Take the people back."""
        self.people = Posteriors.from_arrow(table, self.settings["latent"], self.settings["hidden"], len(self.bank))


def _surveyed(pairs: Pairs, most: int | None) -> np.ndarray:
    """bool [n] which comparisons are among the ``most`` most answered questions."""
    if most is None:
        return np.ones(len(pairs), dtype=bool)
    _, which, count = np.unique(question(pairs), return_inverse=True, return_counts=True)
    return np.isin(which, np.argsort(-count, kind="stable")[:most])


def _disputed(pairs: Pairs) -> np.ndarray:
    """bool [n] which comparisons are about questions that people answered both ways."""
    won, lost = chosen_first(pairs)
    which = np.unique(question(pairs), return_inverse=True)[1]
    up = np.bincount(which, weights=won < lost)
    return ((up > 0) & (up < np.bincount(which)))[which]
