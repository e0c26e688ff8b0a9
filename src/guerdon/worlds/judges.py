"""A judge whose truth is known: it reads judges' questions as they are rendered and answers from a known quality.

A response's quality is what a function says of the question as read and the response's text, 0 (worst) to 1 (best);
what the judge believes of response i of the list shown, at place i = 0, 1, ...

    v_i = quality_i + misread e_i + position 1[i = 0] + length log(1 + words_i) + noise T z_i

``e`` is standard normal and belongs to the text and to what is judged by, so that no number of votes removes it; ``z``
is standard normal and another one for each draw; T is the sampling temperature that was asked for (1 where none was).
Grades are the nearest on offer (the scale's ends are 0 and 1), yes is v > 0.5, the better one of a pair has the larger
v, and a tie is said where they differ by at most ``tie``. Probabilities of labels are exact integrals over z.

The quality sees the criteria that stand in the question: let it heed only those that are named, and the judge is the
better, the better the criteria. All it says depends on the question and the draw alone; equal questions have equal
answers, in any order and any batch.
"""

from __future__ import annotations

import json
import math
import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any

import numpy as np

from guerdon.errors import ConfigError
from guerdon.feedback.messages import Text, as_text
from guerdon.generate.base import LanguageModel, Replies, Reply, Sampling, TokenLogprobs, as_sampling

_BLOCK = re.compile(r"<<<begin (.+?) ([0-9a-f]{24})>>>\n(.*?)\n<<<end \1 \2>>>", re.S)
_CODES = (re.compile(r'"verdict_code", which is ([0-9a-f]{12})'), re.compile(r'"Verdict ([0-9a-f]{12}):"'))
_RANGE = re.compile(r"a grade from (-?\d+) \(worst\) to (-?\d+) \(best\)")
_OFFERED = re.compile(r"(?:\"verdict\", |followed by |nothing else, )one of:? ([\w-]+(?:, [\w-]+)+)")
_LISTED = re.compile(r"^(?:\d+\.|-) (.+?)(?: \(weight ([0-9.e+-]+)\))?$", re.M)
_TASK = re.compile(
    r"^(?:Which response is better|Grade the|Give (?:the|every) response a grade|Answer for the response"
    r"|Does the response follow|Rank all responses"
    r"|The principles count for more|What is asked for in particular|Reply with|Give your reasons"
    r"|The order in which)",
    re.M,
)


@dataclass(frozen=True)
class Asked:
    """A judge's question as read.

    protocol   ``pointwise``, ``pairwise`` or ``listwise``
    ending     ``labels``, ``text`` or ``json``
    code       what the verdict must carry; empty where one word is asked for
    labels     the verdicts on offer, the worst first where they are grades
    request    what the responses answer
    responses  texts in the order shown
    names      what the question calls them: A and B, or numbers
    criteria   what to judge by: (text, weight)
    wants      the parts of a list's verdict: ``grades``, ``ranking``, ``principles``
    given      other texts of the question by name (``reference answer``, ``criterion`` ...)
    """

    protocol: str
    ending: str
    code: str
    labels: tuple[str, ...]
    request: str
    responses: tuple[str, ...]
    names: tuple[str, ...]
    criteria: tuple[tuple[str, float], ...]
    wants: frozenset[str]
    given: Mapping[str, str]

    @classmethod
    def read(cls, prompt: str) -> Asked | None:
        """The question that a prompt is; None where it asks for no verdict on a response."""
        blocks = [(m[1], m[3], m.end()) for m in _BLOCK.finditer(prompt)]
        shown = [(name, text) for name, text, _ in blocks if name == "response" or name.startswith("response ")]
        if not shown:
            return None
        rest = prompt[blocks[-1][2] :]  # what a text asks for is not asked
        code = next((found[-1] for pattern in _CODES if (found := pattern.findall(rest))), "")
        offered, span = _OFFERED.findall(rest), _RANGE.findall(rest)
        names = tuple(name.removeprefix("response").strip() for name, _ in shown)
        protocol = "pairwise" if names == ("A", "B") else "pointwise" if names == ("",) else "listwise"
        labels: tuple[str, ...] = ()
        if offered and protocol != "listwise":
            labels = tuple(label for label in offered[-1].split(", ") if label != "unsure")
        elif span:
            labels = tuple(str(k) for k in range(int(span[-1][0]), int(span[-1][1]) + 1))
        wants = frozenset(part for part in ("grades", "ranking", "principles") if f'"{part}"' in rest)
        if protocol == "listwise" and "numbers of all responses" in rest:
            by_line = rest[rest.rfind("numbers of all responses") :]
            wants |= {part for part, mark in (("grades", "with = and"), ("ranking", "best first")) if mark in by_line}
        if not code and (protocol == "listwise" or not labels):
            return None
        if protocol != "listwise" and not labels and "grades" not in wants:
            return None
        ending = "labels" if not code else "json" if '"verdict_code"' in rest else "text"
        texts = {name: text for name, text, _ in blocks}
        given = {name: text for name, text in texts.items() if name != "request" and (name, text) not in shown}
        task = _TASK.search(rest)
        standard = rest[: task.start()] if task else rest
        return cls(
            protocol,
            ending,
            code,
            labels,
            texts.get("request", ""),
            tuple(text for _, text in shown),
            names,
            _criteria(standard),
            wants,
            given,
        )

    @property
    def weights(self) -> dict[str, float]:
        """Weight of each criterion, by its text."""
        return dict(self.criteria)


def _criteria(standard: str) -> tuple[tuple[str, float], ...]:
    listed = [(m[1].strip(), float(m[2] or 1)) for m in _LISTED.finditer(standard)]
    alone = " ".join(standard.split())
    return tuple(listed) if listed else ((alone, 1.0),) if alone else ()


Quality = Callable[[Asked, str], float]
"""(the question as read, a response's text) -> how good it is by what the question says, 0 to 1."""
Writes = Callable[[str, int], str | None]
"""(prompt, draw) -> the reply to a question that asks for no verdict; None refuses."""


class SimulatedJudge(LanguageModel):
    """A language model that judges as the module says; no server, no weights.

    Parameters
    ----------
    quality : the truth as this judge sees it, 0 to 1; it may heed the criteria in the question
    noise : standard deviation of a draw at temperature 1, in units of quality
    misread : standard deviation of what it gets wrong about a text in every draw
    position : added to the response shown first
    length : added for each factor e in words
    tie : a pair whose values differ by at most this is a tie, where ties are on offer
    quotes : characters of each response that its rationale repeats word for word, before the verdict
    unparseable : share of replies that hold no verdict
    logprobs : say the probabilities of labels where they are asked for
    writes : its reply to what is no question for a verdict (criteria, principles); None refuses
    principles : its own principles for a list, (question as read, draw) to (text, weight); they then stand in
        ``Asked.criteria`` as the quality sees it
    seed : of all dice
    """

    def __init__(
        self,
        quality: Quality,
        *,
        noise: float = 0.0,
        misread: float = 0.0,
        position: float = 0.0,
        length: float = 0.0,
        tie: float = 0.0,
        quotes: int = 0,
        unparseable: float = 0.0,
        logprobs: bool = True,
        writes: Writes | None = None,
        principles: Callable[[Asked, int], Sequence[tuple[str, float]]] | None = None,
        seed: int = 0,
        name: str = "simulated-judge",
    ) -> None:
        for what, value in (("noise", noise), ("misread", misread), ("tie", tie), ("quotes", quotes)):
            if not value >= 0:
                raise ConfigError(f"{what}={value}: use a number of at least 0")
        if not 0 <= unparseable <= 1:
            raise ConfigError(f"unparseable={unparseable}: use a share from 0 to 1")
        self.quality, self.noise, self.misread, self.position, self.length = quality, noise, misread, position, length
        self.tie, self.quotes, self.unparseable, self.logprobs = tie, quotes, unparseable, logprobs
        self.writes, self.principles, self.seed, self.name = writes, principles, seed, name
        self.calls = 0

    def generate(
        self,
        prompts: Sequence[Text],
        n: int = 1,
        *,
        sampling: Sampling | None = None,
        schema: Mapping[str, Any] | None = None,
        **settings: Any,
    ) -> Replies:
        """n replies a prompt; draw d has the seed + d (0 + d where there is none)."""
        how = as_sampling(sampling, settings)
        rows = [
            self._reply(as_text(p), (how.seed or 0) + draw, how, schema is not None)
            for p in prompts
            for draw in range(n)
        ]
        self.calls += len(rows)
        tokens = {"prompt_tokens": sum(r.prompt_tokens for r in rows)}
        tokens["completion_tokens"] = sum(r.completion_tokens for r in rows)
        return Replies(rows, n, {"calls": float(len(rows)), **{k: float(v) for k, v in tokens.items()}})

    def values(self, asked: Asked) -> np.ndarray:
        """float64 [n] what it believes of the responses before a draw's noise: quality, misreadings and biases."""
        out = np.empty(len(asked.responses))
        for i, text in enumerate(asked.responses):
            out[i] = self.quality(asked, text)
            if self.misread:
                said = json.dumps(asked.criteria)
                out[i] += self.misread * self._dice("misread", asked.request, text, said).gauss(0, 1)
            out[i] += self.length * math.log1p(len(text.split()))
        if len(out) > 1:
            out[0] += self.position
        return out

    def chances(self, asked: Asked, temperature: float = 1.0) -> np.ndarray:
        """float64 [L] how probable each label of a single response or a pair is."""
        v, labels = self.values(asked), asked.labels
        if asked.protocol == "pairwise":
            d, spread = float(v[0] - v[1]), self.noise * temperature * math.sqrt(2)
            margin = self.tie if "tie" in labels else 0.0
            a, b = _above(d - margin, spread), _above(-d - margin, spread)
            if "tie" not in labels:
                a, b = a + (1 - a - b) / 2, b + (1 - a - b) / 2
            return np.array([{"A": a, "B": b}.get(label, max(0.0, 1 - a - b)) for label in labels])
        edges = (np.arange(len(labels) - 1) + 0.5) / (len(labels) - 1)
        above = np.array([1.0, *(_above(float(v[0] - e), self.noise * temperature) for e in edges), 0.0])
        return above[:-1] - above[1:]

    def _reply(self, prompt: str, draw: int, how: Sampling, structured: bool) -> Reply:
        asked, top = Asked.read(prompt), None
        temperature = 1.0 if how.temperature is None else how.temperature
        if asked is None:
            text = self.writes(prompt, draw) if self.writes is not None else None
        elif self._dice("unparseable", prompt, str(draw)).random() < self.unparseable:
            text = "Both have something to be said for them, and I would rather not"
        else:
            text = self._verdict(asked, prompt, draw, temperature)
            if how.logprobs and self.logprobs and asked.ending == "labels":
                chance = self.chances(asked)  # of the model as it is, before temperature
                order = sorted(range(len(chance)), key=lambda k: -chance[k])[: max(how.top_logprobs, 1)]
                alternatives = {asked.labels[k]: math.log(chance[k]) for k in order if chance[k] > 0}
                said = float(chance[asked.labels.index(text)])
                top = TokenLogprobs([text], np.array([math.log(said) if said > 0 else -np.inf]), [alternatives])
        read, written = len(prompt) // 4, len(text or "") // 4
        if text is None:
            return Reply("refused", reason="the model refuses", prompt_tokens=read)
        parsed = _json(text) if structured else None
        return Reply(
            "answered", text, finish="stop", parsed=parsed, logprobs=top, prompt_tokens=read, completion_tokens=written
        )

    def _verdict(self, asked: Asked, prompt: str, draw: int, temperature: float) -> str:
        own = self.principles(asked, draw) if self.principles is not None and "principles" in asked.wants else ()
        if own:
            asked = replace(asked, criteria=tuple(own))
        dice = self._dice("noise", prompt, str(draw))
        v = self.values(asked) + [self.noise * temperature * dice.gauss(0, 1) for _ in asked.responses]
        rationale = " ".join([f"{name or 'it'}: {x:.2f}." for name, x in zip(asked.names, v, strict=True)])
        if self.quotes:
            rationale = "\n".join([*(text[: self.quotes] for text in asked.responses), rationale])
        grades = [_nearest(x, asked.labels) for x in v] if asked.protocol != "pairwise" and asked.labels else []
        if asked.protocol == "listwise" or asked.wants & {"grades", "ranking"}:
            return _list(asked, rationale, grades, v, own)
        if asked.protocol == "pairwise":
            d = v[0] - v[1]
            tied = "tie" in asked.labels and abs(d) <= self.tie
            label = "tie" if tied else "A" if d > 0 or (d == 0 and dice.random() < 0.5) else "B"
        else:
            label = grades[0]
        if asked.ending == "labels":
            return label
        if asked.ending == "text":
            return f"{rationale}\nVerdict {asked.code}: {label}"
        return json.dumps({"rationale": rationale, "verdict": label, "verdict_code": asked.code})

    def _dice(self, *what: str) -> random.Random:
        text = "\0".join([str(self.seed), *what])
        return random.Random(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest())


def _above(d: float, spread: float) -> float:
    """P(d + spread z > 0), half where d = spread = 0."""
    return 0.5 * math.erfc(-d / spread / math.sqrt(2)) if spread else 0.5 + 0.5 * ((d > 0) - (d < 0))


def _nearest(v: float, labels: Sequence[str]) -> str:
    top = len(labels) - 1
    return labels[min(max(math.floor(v * top + 0.5), 0), top)]


def _list(
    asked: Asked, rationale: str, grades: list[str], v: np.ndarray, own: Sequence[tuple[str, float]]
) -> str:  # fmt: skip
    order = sorted(range(len(v)), key=lambda i: -v[i])
    names = [name or "1" for name in asked.names]
    if asked.ending == "text":
        both = {"grades", "ranking"} <= asked.wants
        item = [names[i] if "grades" not in asked.wants else f"{names[i]}={grades[i]}" for i in range(len(v))]
        line = " > ".join(item[i] for i in order) if both or "ranking" in asked.wants else ", ".join(item)
        return f"{rationale}\nVerdict {asked.code}: {line}"
    said: dict[str, Any] = {"principles": [{"principle": t, "weight": w} for t, w in own]} if own else {}
    said["critique" if "principles" in asked.wants else "rationale"] = rationale
    if "grades" in asked.wants:
        said["grades"] = [{"response": int(names[i]), "grade": int(g)} for i, g in enumerate(grades)]
    if "ranking" in asked.wants:
        said["ranking"] = [int(names[i]) for i in order]
    return json.dumps({**said, "verdict_code": asked.code})


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None
