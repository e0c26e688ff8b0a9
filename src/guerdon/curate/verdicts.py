"""The judgements that steps weigh up: verdicts, comparisons of two with a strict preference, and who supports them.

Ties, rankings of more than two and single ratings are no verdicts; steps that weigh verdicts leave them as they are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from guerdon.errors import FeedbackError
from guerdon.feedback.pairs import make_pairs
from guerdon.feedback.schema import Candidates
from guerdon.feedback.star import Feedback
from guerdon.reward.base import Reward, Scores


@dataclass(frozen=True)
class Verdicts:
    """n verdicts of ``feedback``.

    rows     int64 [n] the judgements;  chosen, rejected  int64 [n] candidates
    first    bool [n] whether the response shown first was chosen
    p        float64 [n] > 0.5: what the label gives the chosen one (1, or a soft label)
    """

    feedback: Feedback
    rows: np.ndarray
    chosen: np.ndarray
    rejected: np.ndarray
    first: np.ndarray
    p: np.ndarray

    @classmethod
    def of(cls, feedback: Feedback) -> Verdicts:
        """The verdicts of ``feedback``; raises :class:`FeedbackError` where there are none."""
        two = np.flatnonzero(feedback.sizes == 2)
        pairs = make_pairs(feedback.take(two), ties=False)
        if not len(pairs):
            raise FeedbackError("no judgement compares two responses and prefers one: there is nothing to weigh up")
        first = pairs.p > 0.5
        return cls(
            feedback,
            two[pairs.judgement],
            np.where(first, pairs.a, pairs.b).astype(np.int64),
            np.where(first, pairs.b, pairs.a).astype(np.int64),
            first,
            np.maximum(pairs.p, 1 - pairs.p),
        )

    def __len__(self) -> int:
        return len(self.rows)

    def soft(self, p: np.ndarray) -> np.ndarray:
        """P(first response preferred) of P(chosen preferred) ``p`` [n]."""
        return np.where(self.first, p, 1 - p)

    def column(self, values: np.ndarray) -> np.ndarray:
        """float64 [J] values [n] at the judgements they belong to, NaN elsewhere."""
        out = np.full(len(self.feedback), np.nan)
        out[self.rows] = values
        return out

    def candidates(self, items: np.ndarray, rows: np.ndarray) -> Candidates:
        """The candidates ``items`` as the judgements ``rows`` saw them: with who asked, and for what."""
        fb = self.feedback
        return Candidates(
            *_texts(fb, items),
            user=_names(fb.users, fb.user[rows]),
            criterion=_names(fb.criteria, fb.criterion[rows]),
        )

    def preference(self, reward: Reward, *, swapped: bool = False) -> Scores:
        """P(chosen preferred) [n] by ``reward``, asked in the order shown, or ``swapped``; NaN where it abstains."""
        shown = self.first != swapped
        a = self.candidates(np.where(shown, self.chosen, self.rejected), self.rows)
        b = self.candidates(np.where(shown, self.rejected, self.chosen), self.rows)
        answer = reward.prefer(a, b)
        return Scores(np.where(shown, answer.value, 1 - answer.value), answer.status, answer.reason, cost=answer.cost)

    def strength(self, reward: Reward, which: np.ndarray | None = None) -> np.ndarray:
        """Log-odds [n] by which ``reward`` supports the verdicts (those at ``which``); NaN where it abstains."""
        which = np.arange(len(self)) if which is None else which
        part = Verdicts(**{**vars(self), **{k: getattr(self, k)[which] for k in FIELDS}})
        if type(reward).score is Reward.score:  # it only compares
            p = np.clip(part.preference(reward).value, 1e-6, 1 - 1e-6)
            return np.log(p) - np.log1p(-p)
        chosen = reward.score(part.candidates(part.chosen, part.rows)).value
        return chosen - reward.score(part.candidates(part.rejected, part.rows)).value


FIELDS = ("rows", "chosen", "rejected", "first", "p")


def _names(table: tuple[str, ...], codes: np.ndarray) -> list[str | None] | None:
    return [table[c] if c >= 0 else None for c in codes] if table else None


def _texts(fb: Feedback, items: np.ndarray) -> tuple[list, list]:
    whole = fb.candidates
    return [whole.prompts[i] for i in items], [whole.responses[i] for i in items]
