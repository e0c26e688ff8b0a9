"""The one interface everything speaks: :class:`Reward` in, :class:`Scores` out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from guerdon.errors import FeedbackError
from guerdon.feedback.schema import Candidates

STATUSES = ("scored", "abstained", "failed", "too_long", "invalid")


@dataclass(frozen=True)
class Scores:
    """n scores, columnar. ``np.asarray(scores)`` is ``value``.

    value   float64 [n]; NaN = unscored (missing is never zero)
    status  [n] one of ``STATUSES``; derived from NaN (``failed``) when not given
    reason  [n] text, None where there is nothing to say; also carries flags of scored rows ("unknown person ...")
    std     float64 [n] epistemic standard deviation of ``value``, or None
    detail  columns of further information (rationale, attributions, sub-scores), each of length n
    cost    totals of what it took (tokens, calls, seconds)
    """

    value: np.ndarray
    status: Sequence[str] = ()
    reason: Sequence[str | None] = ()
    std: np.ndarray | None = None
    detail: dict[str, Sequence[Any]] = field(default_factory=dict)
    cost: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        value = np.asarray(self.value, dtype=np.float64)
        n = len(value)
        object.__setattr__(self, "value", value)
        if not len(self.status):
            missing = np.isnan(value)
            status = ["failed" if m else "scored" for m in missing] if missing.any() else ["scored"] * n
            object.__setattr__(self, "status", status)
        if not len(self.reason):
            object.__setattr__(self, "reason", [None] * n)
        for name in ("status", "reason", "std"):
            column = getattr(self, name)
            if column is not None and len(column) != n:
                raise ValueError(f"scores: column {name!r} has {len(column)} rows, value has {n}")

    def __len__(self) -> int:
        return len(self.value)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.value, dtype=dtype, copy=True) if copy else np.asarray(self.value, dtype=dtype)

    @property
    def scored(self) -> np.ndarray:
        """bool [n]: which candidates have a score."""
        return ~np.isnan(self.value)


class Reward:
    """Scores or compares candidates. Subclasses implement :meth:`score`, or :meth:`prefer` if they only compare.

    Whatever a person changes is the column ``user`` of the candidates; whatever is asked for is ``criterion``.
    """

    name: str = "reward"

    reads: tuple[str, ...] = ("user", "criterion")
    """The optional columns that scores may depend on; who measures asks once where they do not differ."""

    sees: tuple[str, ...] = ()
    """The parts of messages besides text that it looks at: image, video, audio."""

    in_groups: bool = False
    """Whether a call as a TRL reward function judges the completions of a prompt together, by :meth:`rank`."""

    @property
    def __name__(self) -> str:  # TRL names its logged columns after reward_func.__name__
        return self.name

    def score(self, candidates: Candidates) -> Scores:
        """One score a candidate, higher is better; each candidate is scored independently of the others."""
        raise TypeError(f"{self.name} compares candidates but does not score them; use prefer() or rank()")

    def prefer(self, a: Candidates, b: Candidates) -> Scores:
        """P(a[i] preferred to b[i]) in [0, 1]; the logistic of the score difference unless a reward knows better."""
        left, right = self.score(a), self.score(b)
        diff = left.value - right.value
        std = None
        if left.std is not None and right.std is not None:
            std = np.sqrt(left.std**2 + right.std**2)
        value = 0.5 * (1.0 + np.tanh(0.5 * diff))
        status = [s if s != "scored" else t for s, t in zip(left.status, right.status, strict=True)]
        reason = [s or t for s, t in zip(left.reason, right.reason, strict=True)]
        cost = {k: left.cost.get(k, 0.0) + right.cost.get(k, 0.0) for k in left.cost | right.cost}
        return Scores(value, status, reason, None if std is None else std * value * (1 - value), cost=cost)

    def rank(self, candidates: Candidates) -> Scores:
        """Scores of candidates that may be seen together with others of the same prompt; default :meth:`score`."""
        return self.score(candidates)

    def __call__(self, prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> list[float | None]:
        """TRL's reward-function signature: pass a Reward to ``GRPOTrainer(reward_funcs=...)`` as it is.

        Columns named ``user``, ``criterion`` and ``reference`` are used as such; all others arrive in ``extra``.
        Unscored completions give ``None``, which TRL leaves out.
        """
        n = len(prompts)
        known: dict[str, Any] = {k: columns.pop(k) for k in ("user", "criterion", "reference") if k in columns}
        extra = {k: v for k, v in columns.items() if isinstance(v, Sequence) and not isinstance(v, str) and len(v) == n}
        if known.get("user") is not None:  # people are known by name; a data set may number them
            known["user"] = [None if user is None else str(user) for user in known["user"]]
        candidates = Candidates(prompts, completions, **known, extra=extra)
        scores = self.rank(candidates) if self.in_groups else self.score(candidates)
        return [float(v) if np.isfinite(v) else None for v in scores.value]

    def confidence(self, candidates: Candidates) -> np.ndarray:
        """float64 [n] in [0, 1]: how far each score can be trusted, for rewards that can say."""
        raise TypeError(f"{self.name} does not say how far its scores can be trusted")

    def explain(self, candidates: Candidates) -> dict[str, Sequence[Any]]:
        """Attributions by name, each of length n, for rewards that can say more."""
        raise TypeError(f"{self.name} does not explain its scores")


class Function(Reward):
    """A plain function ``f(prompt, response) -> float | None`` as a Reward; None abstains."""

    reads = ()

    def __init__(self, function: Any, name: str | None = None) -> None:
        if not callable(function):
            raise FeedbackError(f"expected a function of (prompt, response), got {type(function).__name__}")
        self.function = function
        self.name = name or getattr(function, "__name__", "function")

    def score(self, candidates: Candidates) -> Scores:
        """The function's value for each candidate."""
        values: list[Any] = [self.function(c.prompt, c.response) for c in candidates]
        return Scores(
            np.array([np.nan if v is None else float(v) for v in values]),
            ["abstained" if v is None else "scored" for v in values],
        )
