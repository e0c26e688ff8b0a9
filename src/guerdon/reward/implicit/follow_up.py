"""How likely a satisfied rather than a dissatisfied user turn is after a response: no verdict, no training.

    s(f | x, y) = log p(f as the next user turn | x, y) / |f|
    r(x, y)     = mean of s over satisfied follow-ups - mean of s over dissatisfied ones

The contrast takes away what makes any turn of the user likely or not: the context, the length of the response, that
people answer at all. The follow-ups stay the same for all responses; compare responses to one prompt only.

Reference: Zhang et al. 2024, Aligning Language Models Using Follow-up Likelihood as Reward Signal,
https://arxiv.org/abs/2409.13948
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from guerdon.errors import BackendError, ConfigError
from guerdon.feedback.messages import Message, as_messages, as_text
from guerdon.feedback.schema import Candidates
from guerdon.generate.base import LanguageModel
from guerdon.reward.base import Reward, Scores
from guerdon.reward.implicit.context import checked_length

POLARITIES = ("both", "satisfied", "dissatisfied")


@dataclass(frozen=True)
class FollowUp:
    """What a user may say after a response: a short turn, whether it tells of satisfaction, what it is about."""

    text: str
    satisfied: bool
    category: str = "general"


BANK = (
    FollowUp("Thanks, that is exactly what I asked for.", True, "relevance"),
    FollowUp("Yes, that answers my question.", True, "relevance"),
    FollowUp("That is not what I asked.", False, "relevance"),
    FollowUp("You did not answer my question.", False, "relevance"),
    FollowUp("That is clear, I understand it now.", True, "clarity"),
    FollowUp("Thanks for explaining it so well.", True, "clarity"),
    FollowUp("I don't understand, what do you mean?", False, "clarity"),
    FollowUp("That is confusing.", False, "clarity"),
    FollowUp("Great, you are right about that.", True, "correctness"),
    FollowUp("I checked it and it is correct.", True, "correctness"),
    FollowUp("No, that is wrong.", False, "correctness"),
    FollowUp("Are you sure? That does not look right.", False, "correctness"),
    FollowUp("Perfect, this helps me a lot.", True, "helpfulness"),
    FollowUp("Wow, that is all I need.", True, "helpfulness"),
    FollowUp("This does not help me at all.", False, "helpfulness"),
    FollowUp("Something important is missing there.", False, "helpfulness"),
)
"""The built-in follow-ups: English, two of each polarity in four categories."""


class FollowUpLikelihood(Reward):
    """Log-likelihood of satisfied follow-ups minus that of dissatisfied ones.

    Parameters
    ----------
    follow_ups : what users may say next; the built-in ones are English
    polarity : both (the contrast), or satisfied or dissatisfied ones alone (the latter with a minus sign)
    length : mean over a follow-up's tokens, or their sum (long follow-ups then count for more)
    pmi : whether to take off how likely each follow-up is after an empty response
    """

    reads = ()

    def __init__(
        self,
        model: LanguageModel,
        *,
        follow_ups: Sequence[FollowUp] = BANK,
        polarity: str = "both",
        length: str = "mean",
        pmi: bool = False,
        name: str = "follow-up",
    ) -> None:
        if polarity not in POLARITIES:
            raise ConfigError(f"polarity={polarity!r}: use one of {', '.join(POLARITIES)}")
        bank = tuple(dict.fromkeys(follow_ups))
        if polarity != "both":
            bank = tuple(f for f in bank if f.satisfied == (polarity == "satisfied"))
        if not bank or (polarity == "both" and len({f.satisfied for f in bank}) < 2):
            raise ConfigError("follow_ups: give some satisfied and some dissatisfied ones")
        if not all(f.text.strip() for f in bank):
            raise ConfigError("follow_ups: a follow-up without words says nothing")
        self.model, self.bank, self.polarity, self.pmi = model, bank, polarity, pmi
        self.length, self.name = checked_length(length), name
        self._script = script(" ".join(f.text for f in bank))

    def likelihoods(self, candidates: Candidates) -> tuple[np.ndarray, list[str], list[str | None]]:
        """(float64 [n, F] s(f | x, y) of each follow-up, [n] status, [n] reason)."""
        dialogues = [_dialogue(c.prompt, c.response) for c in candidates]
        return self._likelihoods(dialogues)

    def _likelihoods(self, dialogues: list[list[Message]]) -> tuple[np.ndarray, list[str], list[str | None]]:
        said = [f.text for f in self.bank]
        keys = [json.dumps(d, sort_keys=True) for d in dialogues]
        first = {key: i for i, key in reversed(list(enumerate(keys)))}
        once = sorted(first.values())
        try:
            found = self.model.loglikelihood(
                [dialogues[i] for i in once for _ in said], said * len(once), role="user"
            )  # fmt: skip
        except TypeError:
            raise BackendError(
                f"{self.model.name} does not score turns of a user; use a local model (hf:PATH), or give its "
                "loglikelihood the argument role"
            ) from None
        each = (found.total if self.length == "sum" else found.mean).reshape(len(once), len(said))
        bad = {}
        for row, i in enumerate(once):
            here = range(row * len(said), (row + 1) * len(said))
            bad[i] = next(((found.status[j], found.reason[j]) for j in here if found.status[j] != "scored"), None)
        at = {i: row for row, i in enumerate(once)}
        rows = [first[key] for key in keys]
        value = each[[at[i] for i in rows]] if rows else np.zeros((0, len(said)))
        status = [str((bad[i] or ("scored", None))[0]) for i in rows]
        return value, status, [(bad[i] or ("scored", None))[1] for i in rows]

    def score(self, candidates: Candidates) -> Scores:
        """The contrast. ``detail``: satisfied, dissatisfied (means of s), and each category's contrast by its name.

        An empty response has the score of the empty turn and says so; what is too long is unscored, never cut.
        """
        value, status, reason = self.likelihoods(candidates)
        if self.pmi:
            empty, *_ = self._likelihoods([_dialogue(c.prompt, "") for c in candidates])
            value = value - empty
        for i, c in enumerate(candidates):
            if status[i] == "scored":
                reason[i] = reason[i] or self._remark(as_text(c.response))
        good = np.array([f.satisfied for f in self.bank])
        pleased, cross = _mean(value, good), _mean(value, ~good)
        detail: dict[str, Any] = {"satisfied": pleased.tolist(), "dissatisfied": cross.tolist()}
        if self.polarity == "both":
            kinds = np.array([f.category for f in self.bank])
            for kind in dict.fromkeys(kinds.tolist()):
                part = _mean(value, good & (kinds == kind)) - _mean(value, ~good & (kinds == kind))
                if np.isfinite(part).any():
                    detail[kind] = part.tolist()
        parts = {"both": pleased - cross, "satisfied": pleased, "dissatisfied": -cross}
        total = np.where(np.array([s == "scored" for s in status], dtype=bool), parts[self.polarity], np.nan)
        return Scores(total, status, reason, detail=detail)

    def _remark(self, response: str) -> str | None:
        if not response.strip():
            return "the response is empty"
        theirs = script(response)
        if theirs and self._script and theirs != self._script:
            return f"the response is in another script ({theirs}) than the follow-ups ({self._script})"
        return None


def _dialogue(prompt: Any, response: Any) -> list[Message]:
    return [*as_messages(prompt, "user"), *as_messages(response, "assistant")]


def _mean(value: np.ndarray, columns: np.ndarray) -> np.ndarray:
    return value[:, columns].mean(1) if columns.any() else np.full(len(value), np.nan)


def script(text: str) -> str:
    """The script of most letters of ``text``, as Unicode names it (LATIN, CJK ...); empty without letters."""
    counts: dict[str, int] = {}
    for letter in text[:1000]:
        if letter.isalpha():
            kind = unicodedata.name(letter, "UNKNOWN").split(" ", 1)[0]
            counts[kind] = counts.get(kind, 0) + 1
    return max(counts, key=lambda k: counts[k], default="")


def read_follow_ups(path: str | Path) -> tuple[FollowUp, ...]:
    """Follow-ups of a file: JSON or YAML, a list of ``{text, satisfied, category}``, or ``{satisfied: [...],
    dissatisfied: [...]}`` of texts.

    Raises
    ------
    ConfigError
        if the file is missing or something else stands in it
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
    try:
        if path.suffix in (".yaml", ".yml"):
            import yaml

            found = yaml.safe_load(text)
        else:
            found = json.loads(text)
    except (ValueError, ImportError) as error:
        raise ConfigError(f"{path} is no JSON or YAML: {error}") from None
    if isinstance(found, dict):
        found = [{"text": t, "satisfied": key == "satisfied"} for key in found for t in found[key] or ()]
    try:
        return tuple(FollowUp(str(f["text"]), bool(f["satisfied"]), str(f.get("category", "general"))) for f in found)
    except (TypeError, KeyError, AttributeError):
        raise ConfigError(f"{path}: give a list of {{text, satisfied, category}}") from None
