"""An outcome reward of tool calls: comparisons of right and wrong calls, read relative to their catalogue.

    L = -log sigmoid(r+ - r-) + center (r+ + r-)^2

on the features of :mod:`guerdon.encode.tool_features`, in which no name occurs. The second term gives the scores of all
prompts a common zero, so that one threshold filters data. Pairs come from ``guerdon curate tool-pairs``::

    guerdon curate tool-pairs gold.jsonl --out pairs.jsonl --set corrupted=3 --set obfuscate=both
    guerdon fit pairs.jsonl --model tool-calls --out my-toolrm

The published reward is a language model with a scalar head on its last token, from 1.7 to 14 billion parameters::

    guerdon fit pairs.jsonl --model backbone --set backbone=NAME --set center=0.01 --set too_long=unscored --out DIR

References
----------
Agarwal et al. 2025. ToolRM: Outcome reward models for tool-calling LLMs. https://arxiv.org/abs/2509.11963
"""

from __future__ import annotations

from typing import Any, Self

import numpy as np

from guerdon.errors import FeedbackError
from guerdon.feedback.schema import Candidates
from guerdon.feedback.star import Feedback
from guerdon.feedback.tool_calls import tools_in
from guerdon.reward.base import Scores
from guerdon.reward.learned.model import RewardModel
from guerdon.reward.registry import documented_parameters

NO_CATALOGUE = "no catalogue of functions can be read in the prompt: a JSON list of {name, description, parameters}"


class ToolCallReward(RewardModel):
    """A :class:`RewardModel` that does not score calls without a catalogue to judge them by.

    With an encoder that needs no catalogue (``hash:1024``, ``minilm``) it scores everything.
    """

    @classmethod
    def parameters(cls) -> list[tuple[str, Any, str]]:
        """Those of the reward model."""
        return documented_parameters(RewardModel)

    def fit(self, feedback: Feedback, *, validation: Feedback | None = None, progress: bool = False) -> Self:
        readable = self._readable(feedback.candidates.take(feedback.used))
        if len(readable) and not readable.any():
            raise FeedbackError(f"{NO_CATALOGUE} (in the system message), of none of the {len(feedback)} judgements")
        super().fit(feedback, validation=validation, progress=progress)
        if not readable.all():
            lost = int((~readable).sum())
            self.summary.setdefault("cautions", []).append(f"{lost} of {len(readable)} candidates: {NO_CATALOGUE}")
        return self

    def score(self, candidates: Candidates) -> Scores:
        """Utility of each candidate, in log-odds; unscored where there is no catalogue."""
        scores = super().score(candidates)
        there = self._readable(candidates)
        if there.all():
            return scores
        status = ["scored" if ok else "abstained" for ok in there]
        return Scores(np.where(there, scores.value, np.nan), status, [None if ok else NO_CATALOGUE for ok in there])

    def _readable(self, candidates: Candidates) -> np.ndarray:
        """bool [n]: whether the encoder finds a catalogue in the prompt."""
        if not getattr(self.open_encoder(), "needs_catalogue", False):
            return np.ones(len(candidates), bool)
        known: dict[int, bool] = {}
        for prompt in candidates.prompts:
            if id(prompt) not in known:
                known[id(prompt)] = bool(tools_in(prompt))
        return np.array([known[id(prompt)] for prompt in candidates.prompts], dtype=bool)
