"""Questions in the words that R3's models were trained on, and their answers ``{"explanation", "score"}``.

For those models only. Their format has no place for a code, so a model that repeats what it reads can be made to say
things, which judges that are asked in the house's words cannot (:mod:`.templates`). Headings and marks of chat
templates in what is judged are shown as what they are; that is all there is against forgery.

Reference: Anugraha et al. 2025, R3: Robust Rubric-Agnostic Reward Models, https://arxiv.org/abs/2505.13388.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from guerdon.errors import ConfigError
from guerdon.generate.base import LanguageModel, Reply
from guerdon.reward.judge import templates
from guerdon.reward.judge.asking import Answers, Asker, Make, missing
from guerdon.reward.judge.described_rubric import Described, read_explanation, read_score
from guerdon.reward.judge.pairwise import PairwiseJudge
from guerdon.reward.judge.pointwise import PointwiseJudge
from guerdon.reward.judge.standard import Criterion
from guerdon.reward.judge.templates import Question, Shown

NATIVE = """\
Evaluate the response based on the given task, input, {{ "two responses" if pair else "response" }}, and evaluation \
rubric.
Provide a fair and detailed assessment following the rubric.

### TASK
{{ task }}

### INPUT
{{ input }}
{% for name, text in responses %}
### {{ name }}
{{ text }}
{% endfor %}
### EVALUATION RUBRIC
{% for verdict, text in says %}{{ verdict }}: {{ text }}
{% endfor %}
### OUTPUT FORMAT
Return a JSON response in the following format:

{{ format }}

### EVALUATION"""

TASK = "Respond to the input."
HEADING = re.compile(r"^([ \t]*)(?=#{3})", re.M)
LABELS = {"true": "yes", "false": "no", "response 1": "A", "response 2": "B"}
"""What a verdict of a rubric is called by the judges; grades are called what they are."""


class NativeAsker(Asker):
    """Reads scores by a rubric instead of verdicts with a code; the settings are those of an Asker."""

    def __init__(self, model: LanguageModel, rubric: Described, **settings: Any) -> None:
        if settings.pop("how", "native") != "native":
            raise ConfigError("how: a native asker has one way to ask")
        if not isinstance(settings.get("combine", "majority"), str):
            raise ConfigError("meta: it reads verdicts with a code; leave it out with how=native")
        super().__init__(model, **{"temperature": 0.6, "max_tokens": 8192, "unsure": False, **settings})
        self._rubric = rubric

    @property
    def settings(self) -> dict[str, Any]:
        """What answers depend on, besides the questions and the model."""
        said = {k: v for k, v in vars(self).items() if k not in ("model", "_rubric")}
        return {**said, "how": "native", "template": NATIVE, "rubric": dict(self._rubric.says)}

    def ask(self, make: Make, labels: Sequence[str]) -> Answers:
        """The questions in their own words; there is no JSON to enforce and no code."""
        return self._by_votes(make("native"), labels, "native")

    def _count(  # type: ignore[override]
        self, answers: Answers, i: int, reply: Reply, code: str, offered: list[str]
    ) -> int | None:
        answers.votes[i] += 1
        if reply.status != "answered" or reply.text is None:
            answers.status[i], answers.reason[i] = missing(reply.status, reply.reason)
            return None
        score = read_score(reply.text, self._rubric)
        if score is None:
            open_thought = "<think>" in reply.text and "</think>" not in reply.text
            cut = open_thought or reply.finish == "length"
            answers.status[i] = "invalid"
            answers.reason[i] = "the thinking was cut off; give more max_tokens" if cut else "no score of the rubric"
            return None
        answers.rationale[i] = read_explanation(reply.text)
        return offered.index(LABELS.get(score, score))


class NativeGrades(PointwiseJudge):
    """A judge of single responses that asks in R3's words."""

    sees: tuple[str, ...] = ()  # type: ignore[assignment]

    def __init__(self, model: LanguageModel, rubric: Described, *, task: str = "", **settings: Any) -> None:
        super().__init__(model, rubric.standard(task), scale=rubric.scale)
        self.asker, self.rubric, self.task = NativeAsker(model, rubric, **settings), rubric, task

    def question(
        self, ending: str, kind: str, criteria: tuple[Criterion, ...], blocks: list[tuple[str, Shown]]
    ) -> Question:
        return native(self.rubric, self.task, [(n, t) for n, t in blocks if isinstance(t, str)], self.labels)


class NativePairs(PairwiseJudge):
    """A judge of pairs that asks in R3's words, by default in both orders."""

    sees: tuple[str, ...] = ()  # type: ignore[assignment]

    def __init__(
        self, model: LanguageModel, rubric: Described, *, task: str = "", order: str = "both", **settings: Any
    ) -> None:
        super().__init__(model, rubric.standard(task), order=order, ties=False)
        self.asker, self.rubric, self.task = NativeAsker(model, rubric, **settings), rubric, task

    def question(
        self, ending: str, kind: str, criteria: tuple[Criterion, ...], blocks: list[tuple[str, Shown]]
    ) -> Question:
        return native(self.rubric, self.task, [(n, t) for n, t in blocks if isinstance(t, str)], self.labels)


def native(rubric: Described, task: str, blocks: Sequence[tuple[str, str]], labels: Sequence[str]) -> Question:
    """The question in R3's words about ``blocks``, pairs of a name and an untrusted text."""
    names = {"response": "RESPONSE", "response A": "RESPONSE 1", "response B": "RESPONSE 2"}
    shown = [(name, HEADING.sub(r"\1\\", templates.harmless(text))) for name, text in blocks]
    given = [text if name == "request" else f"({name}) {text}" for name, text in shown if name not in names]
    pair = rubric.kind == "pairwise"
    offered = {"pairwise": '"Response 1" or "Response 2"', "binary": '"true" or "false"'}
    score = offered.get(rubric.kind, f"one of {', '.join(rubric.says)}")
    form = json.dumps({"explanation": "why it gets this score", "score": f"{score}, by the rubric"}, indent=1)
    text = templates._compiled(NATIVE).render(
        pair=pair,
        task=task.strip() or TASK,
        input="\n\n".join(given),
        responses=[(names[name], text) for name, text in shown if name in names],
        says=[(k.capitalize() if pair else k, v) for k, v in rubric.says.items()],
        format=form,
    )
    return Question([{"role": "user", "content": text}], "", tuple(labels))
