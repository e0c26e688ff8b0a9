"""P(yes) to a question about a response, from the chances of a reply's first token; no text is drawn.

All spellings of a label count for it, and only the two labels compete: P(yes) = m_yes / (m_yes + m_no).

Reference: Gallego 2023, ZYN: Zero-Shot Reward Models with Yes-No Questions, https://arxiv.org/abs/2308.06385
"""

from __future__ import annotations

import numpy as np

from guerdon.errors import ConfigError
from guerdon.feedback.messages import as_text
from guerdon.feedback.schema import Candidates
from guerdon.generate.base import LanguageModel
from guerdon.reward.base import Reward, Scores

TEMPLATE = "Prompt: {prompt}\nResponse: {response}\n\n{question} Answer {yes} or {no}.\n"


class YesNo(Reward):
    """Log-odds of yes.

    Parameters
    ----------
    question : about the prompt and the response
    labels : what stands for yes and for no
    wanted : yes or no, the answer that a good response gets
    """

    reads = ()
    name = "yes-no"

    def __init__(
        self,
        model: LanguageModel,
        question: str = "Is this a good response?",
        *,
        labels: tuple[str, str] = ("yes", "no"),
        wanted: str = "yes",
    ) -> None:
        if wanted not in ("yes", "no"):
            raise ConfigError(f"wanted={wanted!r}: use yes or no")
        if len(labels) != 2:
            raise ConfigError(f"labels={labels!r}: give two")
        self.model, self.question, self.labels, self.wanted = model, question, labels, wanted

    def ask(self, prompt: str, response: str) -> str:
        """What the model reads."""
        yes, no = self.labels
        return TEMPLATE.format(prompt=prompt, response=response, question=self.question, yes=yes, no=no)

    def score(self, candidates: Candidates) -> Scores:
        """Log-odds. ``detail``: probability (of the wanted answer), mass (that the two labels hold)."""
        asked = [self.ask(as_text(c.prompt), as_text(c.response)) for c in candidates]
        empty = [not as_text(r).strip() for r in candidates.responses]
        different = list(dict.fromkeys(a for a, e in zip(asked, empty, strict=True) if not e))
        found = self.model.label_probabilities(different, self.labels)
        at = {text: row for row, text in enumerate(different)}
        n = len(candidates)
        value, mass = np.full(n, np.nan), np.full(n, np.nan)
        status, reason = ["invalid"] * n, [None if not e else "the response is empty" for e in empty]
        tiny = np.finfo(float).tiny
        for i in np.flatnonzero(~np.array(empty, dtype=bool)):
            row = at[asked[i]]
            status[i], reason[i] = found.status[row], found.reason[row]
            if status[i] == "answered":
                mass[i] = found.mass[row]
                status[i] = "scored" if mass[i] > 0 else "abstained"
                if mass[i] > 0:
                    yes, no = np.log(np.maximum(found.value[row], tiny))
                    value[i] = yes - no if self.wanted == "yes" else no - yes
                else:
                    reason[i] = f"the model says neither {self.labels[0]} nor {self.labels[1]}"
            elif status[i] != "too_long":
                status[i] = "failed"
        probability = 0.5 * (1 + np.tanh(0.5 * value))
        return Scores(value, status, reason, detail={"probability": probability.tolist(), "mass": mass.tolist()})
