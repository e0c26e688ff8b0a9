"""How likely a language model as it is finds a response, with good answers to other prompts shown before it, or none.

    r(x, y) = log pi(y, end | e_1 ... e_k x),      e_i = separator + prompt_i + its best response

    P(a preferred to b) = sigmoid((r(x, a) - r(x, b)) / T),      T the tokens of the longer one

Nothing is trained. The examples are drawn anew for every prompt (the same for all its responses, and never the prompt
itself) from what the feedback calls best; with ``shots=0`` nothing is shown and the feedback is not looked at. Sums
over tokens choose: a long response is unlikely, which is part of what makes a likelihood a poor reward.

When to use it: what a base model prefers before any tuning, and whether being shown the task is enough to change it.

Reference: Brown et al. 2020, https://arxiv.org/abs/2005.14165; Clymer et al. 2023, Generalization Analogies,
https://arxiv.org/abs/2311.07723 (zero-shot, and few-shot with 4 examples).
"""

from __future__ import annotations

import json
import time
from functools import cached_property
from hashlib import blake2b
from typing import Any, Self

import numpy as np
from scipy.special import expit

from guerdon.errors import ConfigError, FeedbackError, ModelError
from guerdon.feedback.messages import Text, as_text, pack
from guerdon.feedback.schema import Candidates
from guerdon.feedback.star import Feedback
from guerdon.generate.base import LanguageModel, Likelihoods
from guerdon.reward.base import Scores
from guerdon.reward.learned.fitted import FittedReward


class ShownExamples(FittedReward):
    """The likelihood of a response behind good examples, under a language model as it is.

    Parameters
    ----------
    model : specification of a language model that gives likelihoods, e.g. hf:PATH
    shots : examples shown before a prompt; 0 shows none
    separator : what stands before every example, and before the prompt behind them
    end : also count the token that ends the response
    template : none (texts as they are, one behind the other) or auto (the prompt with its examples through the chat
        template, where there is one)
    dtype : float32, bfloat16 or float16
    max_length : most tokens of examples, prompt and response together; null is what the model reads
    batch_tokens : most tokens of one forward pass; null is 4,096 on a CPU and 32,768 on a GPU
    device : auto, cpu, cuda, ...
    seed : seeds the draw of examples
    """

    reads = ()

    def __init__(
        self,
        *,
        model: str | LanguageModel = "",
        shots: int = 4,
        separator: str = "\n\n",
        end: bool = True,
        template: str = "none",
        dtype: str = "float32",
        max_length: int | None = None,
        batch_tokens: int | None = None,
        device: str = "auto",
        seed: int = 0,
    ) -> None:
        if isinstance(shots, bool) or not isinstance(shots, int) or shots < 0:
            raise ConfigError(f"shots={shots!r}: use a number of examples, 0 for none")
        self.name = "few-shot" if shots else "zero-shot"
        self.settings: dict[str, Any] = {k: v for k, v in locals().items() if k not in ("self", "__class__")}
        self.summary = {}
        self.examples: list[tuple[str, str]] = []
        """(prompt, best response) that are shown"""

    @property
    def params(self) -> dict[str, Any]:
        given = self.settings["model"]
        return {**self.settings, "model": given if isinstance(given, str) else f"hf:{given.name}"}

    @cached_property
    def language_model(self) -> LanguageModel:
        """The model, opened when it is first needed."""
        s = self.settings
        if not isinstance(s["model"], str):
            return s["model"]
        if not s["model"]:
            raise ConfigError("model: name the language model, e.g. --set model=hf:PATH")
        from guerdon.generate.load import load_language_model

        local = s["model"].startswith("hf:")
        names = ("template", "dtype", "max_length", "batch_tokens", "device") if local else ()
        return load_language_model(s["model"], **{name: s[name] for name in names})

    def fit(self, feedback: Feedback, *, validation: Feedback | None = None, progress: bool = False) -> Self:
        """Keep the best responses of ``feedback`` (and ``validation``) to be shown."""
        begin, s = time.perf_counter(), self.settings
        given = [feedback] if validation is None else [feedback, validation]
        self.examples = []
        if s["shots"]:
            found = [best_of(judged) for part in given for judged in part.judgements()]
            self.examples = list(dict.fromkeys(example for example in found if example is not None))
            if len({prompt for prompt, _ in self.examples}) <= s["shots"]:
                raise FeedbackError(
                    f"{len(self.examples)} judgements with a best response; {s['shots']} shots need more prompts"
                )
        _ = self.language_model  # a model that is not there is an error now, not at the first score
        self.summary = {"data": len(self.examples), "seconds": round(time.perf_counter() - begin, 3)}
        return self

    def shown(self, prompt: Text) -> Text:
        """``prompt`` with its examples before it."""
        s = self.settings
        if not s["shots"]:
            return prompt
        if not self.examples:
            raise ModelError("this reward is not fitted yet; call fit(feedback) first")
        asked = as_text(prompt)
        key = int.from_bytes(blake2b(asked.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")
        order = np.random.default_rng([s["seed"], key]).permutation(len(self.examples))
        drawn = [self.examples[i] for i in order if self.examples[i][0] != asked][: s["shots"]]
        return "".join(s["separator"] + p + r for p, r in drawn) + s["separator"] + asked

    def likelihoods(self, candidates: Candidates) -> Likelihoods:
        """Log-likelihoods of the responses, each prompt behind its examples."""
        before = {pack(p): p for p in candidates.prompts}
        shown = {key: self.shown(prompt) for key, prompt in before.items()}
        return self.language_model.loglikelihood(
            [shown[pack(p)] for p in candidates.prompts],
            [as_text(r) for r in candidates.responses],
            end=self.settings["end"],
        )

    def score(self, candidates: Candidates) -> Scores:
        """Sum over the response's tokens, natural logarithm."""
        if not len(candidates):
            return Scores(np.zeros(0))
        found = self.likelihoods(candidates)
        return Scores(found.total, found.status, found.reason)

    def prefer(self, a: Candidates, b: Candidates) -> Scores:
        """P(a preferred to b): by the sums, as sure as a token of the longer response is on average."""
        n = len(a)
        if not n:
            return Scores(np.zeros(0))
        both = Candidates([*a.prompts, *b.prompts], [*a.responses, *b.responses])
        found = self.likelihoods(both)
        size = np.array([np.nan if t is None else len(t) for t in found.tokens])
        with np.errstate(invalid="ignore"):
            value = expit((found.total[:n] - found.total[n:]) / np.maximum(size[:n], size[n:]))
        first = [i if found.status[i] != "scored" else n + i for i in range(n)]
        return Scores(value, [found.status[i] for i in first], [found.reason[i] for i in first])

    def arrays(self) -> dict[str, np.ndarray]:
        return {"examples": np.frombuffer(json.dumps(self.examples).encode(), dtype=np.uint8)}

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        self.examples = [(p, r) for p, r in json.loads(arrays["examples"].tobytes())]


def best_of(judged: Any) -> tuple[str, str] | None:
    """(prompt, best response) of a judgement; None where no response is best."""
    grades = np.asarray(judged.grades, dtype=np.float64)
    best = np.flatnonzero(grades == grades.max()) if len(grades) > 1 else np.zeros(0)
    return (as_text(judged.prompt), as_text(judged.responses[int(best[0])])) if len(best) == 1 else None
