"""P(yes) to questions about a response, from the chances of a reply's first token; no text is drawn.

All spellings of a label count for it, and only the two labels compete: P(yes) = m_yes / (m_yes + m_no). Several
questions, each with the answer it should get and a weight, are averaged: a response that pleases one question by some
trick fails another.

    probability  mean of P(wanted answer)          in [0, 1]
    reward       10 (probability - 1/2)            in [-5, 5], as reinforcement learning uses it
    log-odds     mean of log P(wanted) - log P(other)

Reference: Gallego 2023, ZYN: Zero-Shot Reward Models with Yes-No Questions, https://arxiv.org/abs/2308.06385
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from guerdon.errors import ConfigError
from guerdon.feedback.messages import as_text
from guerdon.feedback.schema import Candidates
from guerdon.generate.base import LanguageModel
from guerdon.reward.base import Reward, Scores

log = logging.getLogger(__name__)

TEMPLATE = "Prompt: {prompt}\nResponse: {response}\n\n{question} Answer {yes} or {no}.\n"
ABOUT = {
    "response": "Text: {response}\n\n{question} Answer {yes} or {no}.\n",
    "both": TEMPLATE,
    "joined": "Text: {prompt}{response}\n\n{question} Answer {yes} or {no}.\n",
}
"""What the questions are about: the response alone, prompt and response, or the two as one text (a continuation)."""
SCALES = ("log-odds", "probability", "reward")
LITTLE = 0.5
"""Mean probability of the two labels together below which the model does not answer the question."""


@dataclass(frozen=True)
class Question:
    """A question, the answer that a good response gets (yes or no), and how much it counts."""

    text: str
    wanted: str = "yes"
    weight: float = 1.0

    def __post_init__(self) -> None:
        if self.wanted not in ("yes", "no"):
            raise ConfigError(f"wanted={self.wanted!r}: use yes or no")
        if not (np.isfinite(self.weight) and self.weight > 0):
            raise ConfigError(f"question {self.text!r}: weight={self.weight!r}: use a positive number")


class YesNo(Reward):
    """What a language model answers to one question or several.

    Parameters
    ----------
    question : about the prompt and the response; a text, or several as :class:`Question`
    labels : what stands for yes and for no
    wanted : yes or no, the answer that a good response gets (to a question given as text)
    scale : log-odds, probability, or reward (10 (probability - 1/2))
    about : both (prompt and response), response alone, or joined (one text), or a template with {response}, {question}
    floor : least probability of a label; for servers, which list the most probable tokens only
    """

    reads = ()

    def __init__(
        self,
        model: LanguageModel,
        question: str | Question | Sequence[Question] = "Is this a good response?",
        *,
        labels: tuple[str, str] = ("yes", "no"),
        wanted: str = "yes",
        scale: str = "log-odds",
        about: str = "both",
        floor: float | None = None,
        name: str = "yes-no",
    ) -> None:
        if len(labels) != 2:
            raise ConfigError(f"labels={labels!r}: give two")
        if scale not in SCALES:
            raise ConfigError(f"scale={scale!r}: use one of {', '.join(SCALES)}")
        if about not in ABOUT and "{response}" not in about:
            raise ConfigError(f"about={about!r}: use one of {', '.join(ABOUT)}, or a template with {{response}}")
        if floor is not None and not 0 < floor < 0.5:
            raise ConfigError(f"floor={floor!r}: use a probability above 0 and below 1/2")
        if isinstance(question, str):
            question = Question(question, wanted)
        self.questions = (question,) if isinstance(question, Question) else tuple(question)
        if not self.questions:
            raise ConfigError("question: give at least one")
        self.model, self.labels, self.scale, self.floor, self.name = model, labels, scale, floor, name
        self.template = ABOUT.get(about, about)

    def ask(self, prompt: str, response: str, question: str | None = None) -> str:
        """What the model reads; the first question where none is named."""
        yes, no = self.labels
        text = self.questions[0].text if question is None else question
        fill = {"prompt": prompt, "response": response, "question": text, "yes": yes, "no": no}
        return self.template.format(**fill)

    def answers(self, candidates: Candidates) -> tuple[np.ndarray, np.ndarray, list[str], list[str | None]]:
        """(float64 [n, Q] log-odds of the wanted answers, float64 [n, Q] mass of the two labels, status, reason)."""
        n, k = len(candidates), len(self.questions)
        empty = np.array([not as_text(r).strip() for r in candidates.responses], dtype=bool)
        asked = [
            [self.ask(as_text(c.prompt), as_text(c.response), q.text) for q in self.questions] for c in candidates
        ]  # fmt: skip
        different = list(dict.fromkeys(text for row, e in zip(asked, empty, strict=True) if not e for text in row))
        found = self.model.label_probabilities(different, self.labels)
        at = {text: row for row, text in enumerate(different)}
        value, mass = np.full((n, k), np.nan), np.full((n, k), np.nan)
        status, reason = ["invalid" if e else "scored" for e in empty], [None if not e else EMPTY for e in empty]
        least = np.finfo(float).tiny if self.floor is None else self.floor
        for i in np.flatnonzero(~empty):
            for j, question in enumerate(self.questions):
                row = at[asked[i][j]]
                if found.status[row] != "answered":
                    status[i] = "too_long" if found.status[row] == "too_long" else "failed"
                    reason[i] = found.reason[row]
                    continue
                mass[i, j] = found.mass[row]
                if not mass[i, j] > 0 and self.floor is None:
                    if status[i] == "scored":
                        status[i], reason[i] = (
                            "abstained",
                            f"the model says neither {self.labels[0]} nor {self.labels[1]}",
                        )
                    continue
                yes, no = np.log(np.maximum(found.value[row], least))
                value[i, j] = yes - no if question.wanted == "yes" else no - yes
        if np.isfinite(mass).any() and float(np.nanmean(mass)) < LITTLE:
            log.warning(
                "%s: %s puts %.2f of the probability on %s and %s on average: it hardly answers the question; "
                "use an instruction-tuned model, its chat template, or another wording",
                self.name, self.model.name, float(np.nanmean(mass)), *self.labels,
            )  # fmt: skip
        return value, mass, status, reason

    def score(self, candidates: Candidates) -> Scores:
        """See ``scale``. ``detail``: probability (mean, of the wanted answers), mass (that the two labels hold, mean),
        and with several questions each one's probability by its text."""
        value, mass, status, reason = self.answers(candidates)
        weight = np.array([q.weight for q in self.questions])
        weight = weight / weight.sum()
        chance = 0.5 * (1 + np.tanh(0.5 * value))
        probability = chance @ weight
        score = {"log-odds": value @ weight, "probability": probability, "reward": 10 * (probability - 0.5)}[self.scale]
        detail = {"probability": probability.tolist(), "mass": (mass @ weight).tolist()}
        if len(self.questions) > 1:
            detail |= {q.text: chance[:, j].tolist() for j, q in enumerate(self.questions)}
        scored = np.array([s == "scored" for s in status], dtype=bool)
        return Scores(np.where(scored, score, np.nan), status, reason, detail=detail)


EMPTY = "the response is empty"
