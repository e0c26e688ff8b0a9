"""One face for everything that writes text: :class:`LanguageModel` in, columnar :class:`Replies` out.

A back end implements :meth:`LanguageModel.generate`, and :meth:`LanguageModel.loglikelihood` if it can say how likely a
given text is. A call that fails is a row without text and with a reason, never an exception; what concerns every call
(no server, no permission, no such model) raises :class:`~guerdon.errors.BackendError`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from guerdon.errors import BackendError, ConfigError
from guerdon.feedback.messages import Text

STATUSES = ("answered", "refused", "failed", "too_long", "budget")
TOP = 20
"""Alternatives a token that chat/completions servers give at most."""


@dataclass(frozen=True)
class Sampling:
    """How replies are drawn; None leaves it to the back end.

    temperature   >= 0; 0 takes the most probable token
    top_p         in (0, 1]: the smallest set of tokens that holds this much probability
    top_k         the k most probable tokens (local models; servers that know it)
    max_tokens    most tokens of a reply
    stop          texts before which a reply ends
    seed          makes draws repeatable where the back end allows it; draw i of a prompt uses seed + i
    logprobs      also give the log-probability of each token (of the model as it is, before temperature and top_p)
    top_logprobs  and of so many alternatives, 0 to 20
    extra         further fields of the request, as the server names them
    """

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    logprobs: bool = False
    top_logprobs: int = 0
    extra: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        checks = (
            ("temperature", self.temperature is None or self.temperature >= 0, "a number of at least 0"),
            ("top_p", self.top_p is None or 0 < self.top_p <= 1, "a number above 0, at most 1"),
            ("top_k", self.top_k is None or self.top_k >= 1, "a whole number of at least 1"),
            ("max_tokens", self.max_tokens is None or self.max_tokens >= 1, "a whole number of at least 1"),
            ("top_logprobs", 0 <= self.top_logprobs <= TOP, f"a whole number from 0 to {TOP}"),
        )
        for name, good, use in checks:
            if not good:
                raise ConfigError(f"{name}={getattr(self, name)!r}: use {use}")
        if self.top_logprobs and not self.logprobs:
            object.__setattr__(self, "logprobs", True)
        object.__setattr__(self, "stop", (self.stop,) if isinstance(self.stop, str) else tuple(self.stop))

    @property
    def said(self) -> dict[str, Any]:
        """The settings that were given, by name."""
        unsaid = {"stop": (), "logprobs": False, "top_logprobs": 0, "extra": {}}
        return {k: v for k, v in vars(self).items() if v is not None and (k not in unsaid or v != unsaid[k])}


@dataclass(frozen=True)
class TokenLogprobs:
    """Log-probabilities of the tokens of one text.

    tokens    [T] the tokens' texts
    logprob   float64 [T], natural logarithm, at most 0
    top       [T] alternatives, token -> logprob, the most probable first; empty where none were asked for
    complete  whether the tokens are the whole text; servers may cut the list
    """

    tokens: list[str]
    logprob: np.ndarray
    top: list[dict[str, float]]
    complete: bool = True


@dataclass(frozen=True)
class Reply:
    """One draw. ``text`` is None where there is none; see :class:`Replies` for the fields."""

    status: str
    text: str | None = None
    reason: str | None = None
    finish: str | None = None
    parsed: Any = None
    logprobs: TokenLogprobs | None = None
    reasoning: str | None = None
    tool_calls: list[dict[str, Any]] | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached: bool = False


@dataclass(frozen=True)
class Replies:
    """N = prompts x n replies, columnar: draw d of prompt p is row p n + d.

    rows   [N] :class:`Reply`
    n      draws a prompt
    cost   totals of what this call took: ``calls`` (requests sent, tries that failed included), ``retries``,
           ``cached`` (replies read from the cache), ``prompt_tokens``, ``completion_tokens``, ``estimated`` (calls
           whose tokens the server did not count), ``money``, ``seconds``
    """

    rows: list[Reply]
    n: int = 1
    cost: dict[str, float] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.rows)

    def of(self, prompt: int) -> Replies:
        """The draws of one prompt."""
        return Replies(self.rows[prompt * self.n : (prompt + 1) * self.n], self.n)

    @property
    def text(self) -> list[str | None]:
        """[N] what was written; None where a call failed."""
        return [r.text for r in self.rows]

    @property
    def status(self) -> list[str]:
        """[N] of ``STATUSES``."""
        return [r.status for r in self.rows]

    @property
    def reason(self) -> list[str | None]:
        """[N] why there is no answer, or what is wrong with it (no log-probabilities, no JSON)."""
        return [r.reason for r in self.rows]

    @property
    def finish(self) -> list[str | None]:
        """[N] ``stop``, ``length``, ``tool_calls``, ``content_filter``."""
        return [r.finish for r in self.rows]

    @property
    def parsed(self) -> list[Any]:
        """[N] the JSON value of replies to a schema; None where there is none."""
        return [r.parsed for r in self.rows]

    @property
    def logprobs(self) -> list[TokenLogprobs | None]:
        """[N] where asked for and given."""
        return [r.logprobs for r in self.rows]

    @property
    def answered(self) -> np.ndarray:
        """bool [N]: which calls were answered."""
        return np.array([r.status == "answered" for r in self.rows], dtype=bool)

    @property
    def failures(self) -> Counter[str]:
        """How many replies are missing, by reason."""
        return Counter(r.reason or r.status for r in self.rows if r.status != "answered")


@dataclass(frozen=True)
class Likelihoods:
    """Log-likelihoods of n responses, columnar.

    total     float64 [n] sum over the response's tokens, natural logarithm; NaN where it cannot be said
    tokens    [n] log-probability of each token, float64 [T]; None where it cannot be said
    status    [n] ``scored``, ``too_long``, ``invalid`` or ``failed``
    reason    [n] None where there is nothing to say
    """

    total: np.ndarray
    tokens: list[np.ndarray | None]
    status: list[str]
    reason: list[str | None]

    def __len__(self) -> int:
        return len(self.total)

    @property
    def mean(self) -> np.ndarray:
        """float64 [n] log-probability a token; NaN for empty responses and where it cannot be said."""
        return np.array([np.nan if t is None or not len(t) else float(np.mean(t)) for t in self.tokens])


@dataclass(frozen=True)
class LabelProbabilities:
    """Probability that a reply begins with each of k labels.

    value    float64 [n, k]; rows sum to ``mass``, not to 1; NaN rows where a call failed
    status   [n] of ``STATUSES``
    reason   [n] None where there is nothing to say
    cost     as in :class:`Replies`
    """

    value: np.ndarray
    status: list[str]
    reason: list[str | None]
    cost: dict[str, float] = field(default_factory=dict)

    @property
    def mass(self) -> np.ndarray:
        """float64 [n] in [0, 1]: how much of the probability the labels hold. Small: the model meant something else."""
        return self.value.sum(1)

    @property
    def normalized(self) -> np.ndarray:
        """float64 [n, k] rows that sum to 1; NaN where the labels hold nothing."""
        mass = self.mass[:, None]
        return np.divide(self.value, mass, out=np.full_like(self.value, np.nan), where=mass > 0)


class LanguageModel:
    """Writes replies to prompts, and says how likely given responses are.

    A prompt is a text (one user message) or a list of chat messages.
    """

    name: str = "language-model"

    sees: tuple[str, ...] = ()
    """The parts of messages besides text that it looks at: ``("image",)``."""

    @property
    def identity(self) -> str:
        """Equal exactly where the same model answers; part of the key of whatever is cached about it."""
        return self.name

    def generate(
        self,
        prompts: Sequence[Text],
        n: int = 1,
        *,
        sampling: Sampling | None = None,
        schema: Mapping[str, Any] | None = None,
        **settings: Any,
    ) -> Replies:
        """n draws for each prompt.

        sampling   how to draw; ``settings`` (``temperature=0.7, max_tokens=64, ...``) are a shorter way to say it
        schema     JSON schema of an object that replies must be; enforced where the back end can, written into the
                   prompt where it cannot. ``parsed`` has the values.

        Raises :class:`~guerdon.errors.BackendError` for what concerns all calls, :class:`~guerdon.errors.ConfigError`
        for settings that make no sense and :class:`~guerdon.errors.FeedbackError` for malformed messages.
        """
        raise NotImplementedError

    def loglikelihood(
        self, prompts: Sequence[Text], responses: Sequence[str], *, end: bool = False, role: str = "assistant"
    ) -> Likelihoods:
        """log p(responses[i] | prompts[i]), token by token; of the assistant's turn, or of what a ``user`` says next.

        end   also count the token that ends the turn
        """
        raise BackendError(f"{self.name} does not say how likely a given text is; use a local model (hf:PATH)")

    def label_probabilities(self, prompts: Sequence[Text], labels: Sequence[str]) -> LabelProbabilities:
        """How probable it is that the reply begins with each label, without sampling.

        A token counts for the label that it equals when spaces around it and case are left out, so that "Yes", " yes"
        and "YES" are one label. Back ends that list the most probable tokens only leave labels outside the list at 0.
        """
        wanted = checked_labels(labels)
        replies = self.generate(prompts, temperature=0.0, max_tokens=1, logprobs=True, top_logprobs=TOP)
        value = np.full((len(replies), len(wanted)), np.nan)
        status, reason = list(replies.status), list(replies.reason)
        for i, given in enumerate(replies.logprobs):
            if status[i] != "answered":
                continue
            if given is None or not given.top or not given.top[0]:
                status[i], reason[i] = "failed", "no log-probabilities in the reply"
                continue
            value[i] = 0.0
            for token, logprob in given.top[0].items():
                label = token.strip().casefold()
                if label in wanted:
                    value[i, wanted[label]] += np.exp(logprob)
        return LabelProbabilities(value, status, reason, replies.cost)

    def close(self) -> None:
        """Give connections and memory back; the model may be used again afterwards."""

    def __enter__(self) -> LanguageModel:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def checked_labels(labels: Sequence[str]) -> dict[str, int]:
    """Label as compared (without spaces around it, case folded) -> its column."""
    wanted = {label.strip().casefold(): i for i, label in enumerate(labels)}
    if len(wanted) != len(labels) or len(labels) < 2 or "" in wanted:
        raise ConfigError(f"labels={list(labels)!r}: give two or more that differ in more than case and spaces")
    return wanted


def as_sampling(sampling: Sampling | None, settings: Mapping[str, Any]) -> Sampling:
    """The sampling that was given whole or as single settings."""
    if sampling is not None and settings:
        raise ConfigError(f"give sampling=..., or {', '.join(settings)}, not both")
    if sampling is not None:
        return sampling
    unknown = set(settings) - set(Sampling.__dataclass_fields__)
    if unknown:
        known = ", ".join(Sampling.__dataclass_fields__)
        raise ConfigError(f"generate has no setting {', '.join(sorted(unknown))}; it has: {known}")
    return Sampling(**settings)
