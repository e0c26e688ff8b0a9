"""What every rule shares: one candidate, one verdict, and a name that opens it.

A rule looks at each candidate alone and says a value (mostly in [0, 1]), or that it cannot say, and why. A candidate
that lacks what the rule needs (a reference, a column) is unscored (``invalid``), never zero.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any
from urllib.parse import unquote

import numpy as np

from guerdon.errors import ConfigError
from guerdon.feedback.messages import Text, as_text
from guerdon.feedback.schema import Candidates
from guerdon.reward.base import Reward, Scores


@dataclass(frozen=True)
class Verdict:
    """A rule on one candidate. ``value`` None = unscored, with the ``status`` and ``reason`` why."""

    value: float | None
    reason: str | None = None
    status: str = "scored"
    detail: dict[str, Any] = field(default_factory=dict)


def unusable(reason: str) -> Verdict:
    """The candidate lacks what the rule needs."""
    return Verdict(None, reason, "invalid")


@dataclass(frozen=True)
class Question:
    """One candidate as a rule sees it: plain texts, the reference, and the row's further columns."""

    prompt: str
    response: str
    reference: Any
    row: Mapping[str, Any]


class Rule(Reward):
    """A reward that a rule decides; subclasses implement :meth:`check`."""

    reads = ()

    def check(self, asked: Question) -> Verdict:
        """The verdict on one candidate."""
        raise TypeError(f"{type(self).__name__} does not implement check")

    def score(self, candidates: Candidates) -> Scores:
        """The verdicts; ``detail`` holds the columns that any of them has."""
        verdicts = [self.check(asked) for asked in questions(candidates)]
        names = dict.fromkeys(name for verdict in verdicts for name in verdict.detail)
        return Scores(
            np.array([np.nan if v.value is None else float(v.value) for v in verdicts], dtype=np.float64),
            [v.status for v in verdicts],
            [v.reason for v in verdicts],
            detail={name: [v.detail.get(name) for v in verdicts] for name in names},
        )


def questions(candidates: Candidates) -> list[Question]:
    """The candidates one by one; of a chat answer the last message's text is the response."""
    reference = candidates.reference or [None] * len(candidates)
    rows = [{name: column[i] for name, column in candidates.extra.items()} for i in range(len(candidates))]
    texts = zip(candidates.prompts, candidates.responses, reference, rows, strict=True)
    return [Question(as_text(p), last_text(r), ref, row) for p, r, ref, row in texts]


def last_text(response: Text) -> str:
    """A response's plain text; of several messages that of the last, which is what was answered."""
    return response if isinstance(response, str) else as_text(response[-1:])


RULES: dict[str, tuple[str, str]] = {
    "length": ("guerdon.reward.baselines:Length", "longer is better: what every reward must beat"),
    "random": ("guerdon.reward.baselines:Random", "knows nothing"),
    "answer": ("guerdon.reward.verify.answers:FinalAnswer", "the final answer equals the reference (numbers, maths)"),
    "exact": ("guerdon.reward.verify.answers:ExactMatch", "the response is the reference, up to spelling of it"),
    "regex": ("guerdon.reward.verify.formats:Matches", "a pattern is found"),
    "tags": ("guerdon.reward.verify.formats:Tags", "sections in tags, each once and in order"),
    "within": ("guerdon.reward.verify.formats:Within", "as long as asked for"),
    "repetition": ("guerdon.reward.verify.formats:Repetition", "does not say the same over and over"),
    "json": ("guerdon.reward.verify.formats:JsonSchema", "JSON that fits a schema"),
    "constraints": ("guerdon.reward.verify.constraints:Constraints", "IFEval's 25 kinds of verifiable instructions"),
    "citations": ("guerdon.reward.verify.citations:Citations", "what is cited bears out what is said"),
    "rag": ("guerdon.reward.verify.rag:Grounded", "an answer keeps to its sources: four measures"),
    "nuggets": ("guerdon.reward.verify.nuggets:Nuggets", "share of a reference's facts that it holds, by a judge"),
    "relevance": ("guerdon.reward.verify.relevance:Relevance", "relevance to the request, with guards against hacks"),
    "code": ("guerdon.reward.verify.programs:PassesTests", "the program passes its tests, in a limited process"),
}
"""Name: where the rule lives, and what it does in a line."""


def open_rule(spec: str) -> Reward:
    """``NAME?option=value&option=value`` as a Reward: options are constructor arguments, JSON or plain text.

    Raises
    ------
    ConfigError
        if there is no such rule or option, or a value does not suit it
    """
    name, _, tail = spec.partition("?")
    if name not in RULES:
        raise ConfigError(f"no rule {name!r}; there is: {', '.join(f'rule:{known}' for known in RULES)}")
    module, _, attribute = RULES[name][0].partition(":")
    cls = getattr(import_module(module), attribute)
    known = [p.name for p in inspect.signature(cls.__init__).parameters.values() if p.kind is p.KEYWORD_ONLY]
    settings: dict[str, Any] = {}
    for item in filter(None, tail.split("&")):
        key, equals, text = item.partition("=")
        if not equals:
            raise ConfigError(f"rule:{spec}: {item!r} is not option=value")
        if key not in known:
            has = f"it has: {', '.join(known)}" if known else "it has none"
            raise ConfigError(f"rule:{name} has no option {key!r}; {has}")
        settings[key] = _value(unquote(text))
    rule = cls(**settings)
    rule.name = spec
    return rule


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
