"""The model that the data support, by nested validation: fit every candidate, ask people held out, prefer the simpler.

Where people are known, some are held out whole. Each candidate model is fitted without them, its own automatic choices
included (hence nested); the held-out people then give 0, 3, 10 and 30 of their comparisons, to which personal models
adapt, and what counts is the log-loss on others of theirs, on prompts the model has not seen where there are enough
prompts. Models that are the same for everybody are asked the same questions. Without people, prompts are held out.

The choice follows the one-standard-error rule: of the models whose loss is within one standard error of the best one's
(of the paired difference, over people or prompts), or within 0.002 nats, the simplest, in the order of
:data:`SIMPLEST_FIRST`. It is fitted again to everything, and its summary says how the others did and why it was chosen.

Reference: Breiman, Friedman, Olshen, Stone 1984 (the one-standard-error rule); Varma & Simon 2006, Bias in error
estimation when using cross-validation for model selection, https://doi.org/10.1186/1471-2105-7-91 (nesting).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from guerdon.encode.base import Encoder
from guerdon.errors import ConfigError, FeedbackError, ModelError
from guerdon.feedback.schema import Candidates
from guerdon.feedback.star import Feedback, Pairs
from guerdon.reward.learned.fitted import FittedReward
from guerdon.reward.personal.selection import FewShot, within_person

log = logging.getLogger(__name__)

SIMPLEST_FIRST = (
    "bradley-terry",
    "bradley-terry-mlp",
    "components",
    "low-rank",
    "reward-features",
    "ideal-point",
    "mixture",
    "variational",
)
"""The order of preference among models that do alike; those that are not registered are left out."""

SETTINGS: dict[str, dict[str, Any]] = {"mixture": {"router": "person"}}
"""Other than a model's defaults: a router by prompt needs features of the prompt alone."""

SHOTS = (0, 3, 10, 30)
PEOPLE = 400
"""At most so many people take part in the choosing; the chosen model is fitted to everybody."""
MANY_PROMPTS, FEW_PEOPLE, ENOUGH_PEOPLE = 20, 16, 200
TESTS = 40
"""At most so many test comparisons a person."""


ALIKE = 0.002
"""Nats: a smaller difference in held-out loss is no reason for a less simple model, however surely it is there."""


@dataclass
class Trial:
    """How one candidate did: mean loss by unit (person or prompt) [units], NaN before a fold has been asked."""

    name: str
    loss: np.ndarray
    accuracy: np.ndarray
    seconds: float = 0.0
    failed: str | None = None
    by_shots: dict[int, list[float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Fold:
    """What a candidate is fitted to, the comparisons it may then be told, those it is asked, and whose they are."""

    train: Feedback
    whole: Feedback
    shots: Pairs | None
    tests: Pairs
    unit: np.ndarray
    """int64 [tests] row of the person (or prompt) in the trial's arrays"""


class AutoReward(FittedReward):
    """Fits the candidates, compares them on people (or prompts) held out, and returns the chosen model, fitted.

    Parameters
    ----------
    encoder : specification of the encoder (see guerdon.encode) or an Encoder
    candidates : list of models to choose among, or auto (those that suit the data; personal where people are known)
    folds : how often a part is held out, or auto (3; 1 where people are many)
    seed : seeds the parts that are held out, and the fits
    """

    reads = ("user",)

    def __init__(
        self,
        *,
        encoder: str | Encoder = "minilm",
        candidates: str | list[str] = "auto",
        folds: str | int = "auto",
        seed: int = 0,
    ) -> None:
        from guerdon.reward.registry import MODELS

        if isinstance(candidates, str) and candidates != "auto":
            raise ConfigError(f'candidates={candidates!r}: use auto, or a list such as ["bradley-terry", "low-rank"]')
        for name in [] if isinstance(candidates, str) else candidates:
            if name not in MODELS or name == "auto":
                others = ", ".join(m for m in MODELS if m != "auto")
                raise ConfigError(f"candidates: no model {name!r}; choose among {others}")
        if folds != "auto" and (isinstance(folds, bool | str) or folds < 1):
            raise ConfigError(f"folds={folds!r}: use 'auto' or a number >= 1")
        self.name = "auto"
        self.encoder = encoder
        self.candidates, self.folds, self.seed = candidates, folds, seed
        self.summary = {}

    @property
    def params(self) -> dict[str, Any]:
        spec = self.encoder if isinstance(self.encoder, str) else self.encoder.spec
        return {"encoder": spec, "candidates": self.candidates, "folds": self.folds, "seed": self.seed}

    def fit(  # type: ignore[override]  # what is fitted is the chosen model
        self, feedback: Feedback, *, validation: Feedback | None = None, progress: bool = False
    ) -> FittedReward:
        """The chosen model, fitted to all of ``feedback``; its ``summary`` says why (``chosen_because, chosen_among``).

        Raises FeedbackError if no candidate can be fitted.
        """
        personal = self._people(feedback)
        names = self._names(personal)
        # features are computed once for all candidates, and read from memory where the encoder's cache is off
        if isinstance(self.encoder, str):
            from guerdon.encode import load_encoder

            self.encoder = load_encoder(self.encoder)
        folds = list(self._folds(feedback, personal))
        units = sum(len(np.unique(fold.unit)) for fold in folds)
        trials = [Trial(name, np.full(units, np.nan), np.full(units, np.nan)) for name in names]
        for trial in _shown(trials, progress):
            began = time.perf_counter()
            try:
                with _quietly():
                    for fold in folds:
                        self._try(trial, fold)
            except (FeedbackError, ConfigError, ModelError) as error:
                trial.failed = str(error)
            trial.seconds = time.perf_counter() - began
            log.info("%s took %.1f s", trial.name, trial.seconds)
        chosen, table, why = choose(trials, "people" if personal else "prompts or judgements")
        model = self._make(chosen).fit(feedback, validation=validation, progress=progress)
        model.summary = {**model.summary, "model_chosen": chosen, "chosen_because": why, "chosen_among": table}
        return model

    def _people(self, feedback: Feedback) -> bool:
        """Whether enough people are known to ask people held out."""
        known = feedback.user[feedback.user >= 0]
        return len(known) > 0.5 * len(feedback) and len(np.unique(known)) >= FEW_PEOPLE

    def _names(self, personal: bool) -> list[str]:
        from guerdon.reward.registry import MODELS

        if not isinstance(self.candidates, str):
            order = {name: i for i, name in enumerate(SIMPLEST_FIRST)}
            return sorted(dict.fromkeys(self.candidates), key=lambda name: order.get(name, len(order)))
        return [name for name in SIMPLEST_FIRST if name in MODELS and (personal or not MODELS[name].personal)]

    def _make(self, name: str) -> FittedReward:
        from guerdon.reward.registry import model

        entry = model(name)
        known = {parameter for parameter, _, _ in entry.parameters()}
        given = {"encoder": self.encoder, "seed": self.seed}
        return entry.make(**{key: value for key, value in given.items() if key in known}, **SETTINGS.get(name, {}))

    # ------------------------------------------------------------------ folds

    def _folds(self, feedback: Feedback, personal: bool) -> Iterator[Fold]:
        rng = np.random.default_rng([self.seed, 17])
        if not personal:
            yield from self._prompt_folds(feedback, rng)
            return
        people = rng.permutation(np.unique(feedback.user[feedback.user >= 0]))[:PEOPLE]
        feedback = feedback.take(np.isin(feedback.user, people))
        many = len(people) >= ENOUGH_PEOPLE
        folds = (1 if many else 3) if self.folds == "auto" else int(self.folds)
        prompts = rng.permutation(np.unique(feedback.judgement_prompt))
        new = prompts[: len(prompts) // 3] if len(prompts) >= MANY_PROMPTS else prompts[:0]
        on_new = np.isin(feedback.judgement_prompt, new)
        first = 0
        for held in np.array_split(people, max(folds, 4 if folds == 1 else folds))[:folds]:
            theirs = np.isin(feedback.user, held)
            asked = feedback.take(theirs)
            pairs = asked.pairs(max_per_person=200, seed=self.seed)
            pairs = pairs.take(pairs.a != pairs.b)
            if len(new):
                of_new = np.isin(feedback.prompt_of[pairs.a], new)
                task = FewShot(pairs.take(~of_new), pairs.take(of_new))
                shuffled = [part.take(rng.permutation(len(part))) for part in (task.shots, task.tests)]
                task = FewShot(shuffled[0], shuffled[1].take(within_person(shuffled[1].user) < TESTS))
            else:
                task = FewShot.of(asked, pairs, self.seed, TESTS)
            task = task.of_people(held)
            if len(task.tests):
                _, unit = np.unique(task.tests.user, return_inverse=True)
                yield Fold(feedback.take(~theirs & ~on_new), asked, task.shots, task.tests, first + unit)
                first += int(unit.max()) + 1
        if not first:
            raise FeedbackError(
                "no person gave enough comparisons to be told some and asked others; name a model yourself, "
                "e.g. --model bradley-terry or --model low-rank"
            )

    def _prompt_folds(self, feedback: Feedback, rng: np.random.Generator) -> Iterator[Fold]:
        key = feedback.judgement_prompt
        if len(np.unique(key)) < 6:
            key = np.arange(len(feedback))
        units = rng.permutation(np.unique(key))
        folds = 3 if self.folds == "auto" else int(self.folds)
        first = 0
        for held in np.array_split(units, max(folds, 3))[:folds]:
            inside = np.isin(key, held)
            test = feedback.take(inside)
            pairs = test.pairs(max_per_person=200, seed=self.seed)
            if not len(pairs) or inside.all():
                continue
            _, unit = np.unique(key[inside][pairs.judgement], return_inverse=True)
            yield Fold(feedback.take(~inside), test, None, pairs, first + unit)
            first += int(unit.max()) + 1
        if not first:
            raise FeedbackError("too few comparisons to hold some out; name a model, e.g. --model bradley-terry")

    # ------------------------------------------------------------------ asking

    def _try(self, trial: Trial, fold: Fold) -> None:
        from guerdon.reward.registry import MODELS

        model = self._make(trial.name).fit(fold.train)
        rows = np.unique(fold.unit)
        if fold.shots is None or not MODELS[trial.name].personal:
            loss, hit = judged(model, fold)
            trial.loss[rows], trial.accuracy[rows] = loss, hit
            trial.by_shots.setdefault(0, []).append(float(loss.mean()))
            return
        turn = within_person(fold.shots.user)
        losses, hits = [], []
        for count in SHOTS:
            known = model
            if count:
                known = model.adapt(told(fold.whole, fold.shots.take(turn < count)))
            loss, hit = judged(known, fold)
            losses.append(loss)
            hits.append(hit)
            trial.by_shots.setdefault(count, []).append(float(loss.mean()))
        trial.loss[rows], trial.accuracy[rows] = np.mean(losses, axis=0), np.mean(hits, axis=0)


def _shown(trials: list[Trial], progress: bool) -> Iterator[Trial]:
    """The trials one by one, with a bar on stderr that names the one being tried."""
    if not progress:
        yield from trials
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("trying", total=len(trials))
        for trial in trials:
            bar.update(task, description=f"trying {trial.name}")
            yield trial
            bar.advance(task)


@contextmanager
def _quietly() -> Iterator[None]:
    """What a candidate warns of while it is tried is no news: only the chosen one's warnings are."""
    logger = logging.getLogger("guerdon")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def told(feedback: Feedback, pairs: Pairs) -> Feedback:
    """Comparisons as feedback of judgements of two responses, by the same people."""
    from dataclasses import replace

    from guerdon.feedback.schema import SCALES

    n = len(pairs)
    base = feedback.take(pairs.judgement)
    return replace(
        base,
        offsets=np.arange(n + 1, dtype=np.int64) * 2,
        items=np.stack([pairs.a, pairs.b], axis=1).ravel().astype(np.int32),
        grades=np.stack([pairs.p, 1 - pairs.p], axis=1).ravel(),
        scale=np.full(n, SCALES.index("probability"), dtype=np.int8),
        weight=pairs.weight,
    )


def judged(model: Any, fold: Fold) -> tuple[np.ndarray, np.ndarray]:
    """(log-loss, accuracy) of each unit of the fold's tests, in order of the units; unscored pairs are coin flips."""
    q = fold.tests
    used, sides = np.unique(np.concatenate([q.a, q.b]), return_inverse=True)
    a, b = np.split(sides, 2)
    table = fold.whole.candidates.take(used)
    users: list[str | None] = [fold.whole.users[u] if u >= 0 else None for u in q.user]
    if hasattr(model, "prefer_at"):
        p = np.asarray(model.prefer_at(table, a, b, users), dtype=np.float64)
    elif "user" not in model.reads and type(model).prefer is FittedReward.prefer:
        u = np.asarray(model.score(table).value)
        p = 1 / (1 + np.exp(-(u[a] - u[b])))
    else:
        left = Candidates([table.prompts[i] for i in a], [table.responses[i] for i in a], user=users)
        right = Candidates([table.prompts[i] for i in b], [table.responses[i] for i in b], user=users)
        p = model.prefer(left, right).value
    p = np.clip(np.where(np.isnan(p), 0.5, p), 1e-6, 1 - 1e-6)
    loss = -(q.p * np.log(p) + (1 - q.p) * np.log(1 - p))
    hit = np.where((q.p == 0.5) | (p == 0.5), 0.5, (p > 0.5) == (q.p > 0.5))
    _, unit = np.unique(fold.unit, return_inverse=True)
    count = np.bincount(unit)
    return np.bincount(unit, loss) / count, np.bincount(unit, hit) / count


def choose(trials: list[Trial], units: str) -> tuple[str, list[dict[str, Any]], str]:
    """(name, table, sentence): of ``trials``, simplest first, the first within one standard error of the best."""
    good = [t for t in trials if t.failed is None and np.isfinite(t.loss).all()]
    if not good:
        raise FeedbackError(f"no model could be fitted: {trials[0].name}: {trials[0].failed}")
    best = min(good, key=lambda t: t.loss.mean())
    rows, chosen = [], None
    for t in trials:
        if t not in good:
            rows.append({"model": t.name, "failed": t.failed or "left held-out comparisons unscored"})
            continue
        gap = t.loss - best.loss
        error = float(gap.std(ddof=1) / np.sqrt(len(gap))) if len(gap) > 1 else 0.0
        if chosen is None and gap.mean() <= max(error, ALIKE) + 1e-12:
            chosen = t
        rows.append(
            {
                "model": t.name,
                "loss": float(t.loss.mean()),
                "behind_best": float(gap.mean()),
                "standard_error": error,
                "accuracy": float(t.accuracy.mean()),
                "loss_by_shots": {str(k): float(np.mean(v)) for k, v in t.by_shots.items()},
                "seconds": round(t.seconds, 2),
            }
        )
    assert chosen is not None  # the best is within any error of itself
    why = f"held-out log-loss {chosen.loss.mean():.4f} over {len(chosen.loss)} {units}"
    if chosen is best:
        why += f", the lowest, and no simpler model is within one standard error (or {ALIKE:g}) of it"
    else:
        gap = chosen.loss - best.loss
        error = gap.std(ddof=1) / np.sqrt(len(gap))
        why += (
            f"; {best.name} has {best.loss.mean():.4f}, but the difference {gap.mean():.4f} is within one standard "
            f"error ({error:.4f}, or {ALIKE:g}) and {chosen.name} is simpler"
        )
    return chosen.name, rows, why
