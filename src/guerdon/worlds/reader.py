"""Texts whose attributes are known, people who like some of them, and a scripted reader that obeys what it is told.

A response is an answer with some of twelve attributes (an example, a source, a warning ...), each one sentence, among
sentences that say nothing. The planted person adds up the weights of those that a response has. The reader stands in
for a language model wherever a judge or a learner of rubrics asks one: it reads the question as it is rendered, sees
attributes in texts (and misses or imagines one now and then), and replies in the JSON that was asked for:

* a *verdict*: attributes named by the criteria count, each once and as heavy as the heaviest criterion that names it;
  where none is named, all attributes count alike. It now and then says "A" whatever it read;
* a *criterion* for a labelled pair: mostly one that explains the choice, and spurious ones;
* *themes* for a list of criteria: one an attribute, the smallest merged where there are too many.

All it does depends on the text and the draw alone, so that equal questions have equal answers.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np

from guerdon.feedback.schema import Judgement
from guerdon.feedback.star import Feedback

# what a criterion calls the attribute; the sentences that show it in a response
ATTRIBUTES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "example": (
        ("a concrete example", "a worked illustration", "a case that shows how it is done"),
        ("For example, Maria did exactly this last week.", "Take a small bakery as an illustration."),
    ),
    "source": (
        ("a reference to a source", "a citation of published work", "where the information comes from"),
        ("The handbook of 2019 says the same on page 12.", "See the report of the institute for this."),
    ),
    "warning": (
        ("a warning about risks", "what can be dangerous", "notes on safety"),
        ("Be careful, this can go wrong and hurt you.", "Danger: never do this alone."),
    ),
    "steps": (
        ("numbered steps", "an ordered procedure", "instructions one after the other"),
        ("First prepare it, second do it, third clean up.", "Step 1: begin. Step 2: go on. Step 3: end."),
    ),
    "summary": (
        ("a short summary", "the main point in a nutshell", "a brief conclusion"),
        ("In short: it works if you take your time.", "To sum up, patience is the key."),
    ),
    "warmth": (
        ("a friendly and warm tone", "kind words of encouragement", "empathy with the person"),
        ("What a lovely thing to try, you will do great!", "I am so glad that you ask, my friend!"),
    ),
    "numbers": (
        ("exact numbers", "precise quantities and figures", "measured amounts"),
        ("It takes 45 minutes and 3.5 litres of water.", "Expect about 120 grams at 80 degrees."),
    ),
    "question": (
        ("a clarifying question", "an inquiry about what the person needs", "asking back before assuming"),
        ("May I ask what you need it for?", "Which kind do you have at home?"),
    ),
    "alternatives": (
        ("several alternatives", "other options to choose from", "different ways to reach the goal"),
        ("Alternatively you could buy it, or borrow one.", "Another option is to wait, or to hire somebody."),
    ),
    "reasons": (
        ("the reasons why", "an explanation of causes", "the logic behind the advice"),
        ("That is because heat makes the air rise.", "The reason is that salt binds the moisture."),
    ),
    "terms": (
        ("definitions of technical terms", "the meaning of difficult words", "jargon put in plain language"),
        ("A valve, that is a small gate, controls the flow.", "By yield we mean what is left at the end."),
    ),
    "doubt": (
        ("an admission of uncertainty", "what is not known for sure", "honest limits of the answer"),
        ("I am not certain about this, so check it.", "Nobody knows for sure whether that is so."),
    ),
}
PHRASINGS = (
    "A good response gives {x}.",
    "Prefer the answer that offers {x}.",
    "The response contains {x}.",
    "Look for {x} in the answer.",
    "Better answers provide {x}.",
    "The reply should include {x}.",
)
NAMES = tuple(ATTRIBUTES)
FILLER = (
    "Most people manage it on a weekend.",
    "My neighbour has done it twice.",
    "It depends a little on the season.",
    "A dry room with good light is best.",
    "You will find the things you need in any shop.",
    "Keep the old parts until you are done.",
    "It is cheaper than it used to be.",
    "Some like to listen to music meanwhile.",
    "Clean hands and a clean table help.",
    "The first try rarely looks perfect.",
    "Ask at the market, they know a lot.",
    "Let it rest over night.",
    "The colour may change a little.",
    "A friend can hold the other end.",
    "It was different in our grandparents' days.",
    "Put everything back where it belongs.",
)
REQUESTS = ("bake bread", "fix a tap", "plan a trip", "grow tomatoes", "learn chess", "paint a wall", "sell a bike")

_BLOCK = re.compile(r"<<<begin (.+?) ([0-9a-f]{24})>>>\n(.*?)\n<<<end \1 \2>>>", re.S)
_CODE = re.compile(r'"verdict_code", which is ([0-9a-f]{12})')
_WEIGHT = re.compile(r"\(weight ([0-9.e+-]+)\)\s*$")
_NUMBERED = re.compile(r"^(\d+)\. (.+)$", re.M)


def criteria_of(attribute: str) -> list[str]:
    """The sentences by which a criterion can name an attribute."""
    return [phrasing.format(x=phrase) for phrase in ATTRIBUTES[attribute][0] for phrasing in PHRASINGS]


def named(text: str) -> set[str]:
    """The attributes that a criterion names."""
    return {name for name, (phrases, _) in ATTRIBUTES.items() if any(phrase in text for phrase in phrases)}


def shown(text: str) -> set[str]:
    """The attributes that a response has."""
    return {name for name, (_, sentences) in ATTRIBUTES.items() if any(s in text for s in sentences)}


@dataclass(frozen=True)
class Taste:
    """A person who adds up ``weights`` of the attributes that a response has, among the first ``attributes``."""

    weights: dict[str, float]
    attributes: tuple[str, ...] = NAMES[:10]

    def utility(self, text: str) -> float:
        """What a response is worth to them."""
        return sum(self.weights.get(name, 0.0) for name in shown(text))

    def feedback(self, count: int, seed: int) -> Feedback:
        """``count`` comparisons of two random responses, of which the person prefers one."""
        rng = np.random.default_rng(seed)
        out: list[Judgement] = []
        while len(out) < count:
            request = f"How do I {REQUESTS[rng.integers(len(REQUESTS))]}? (question {rng.integers(10**6)})"
            pair = tuple(self._response(rng) for _ in range(2))
            better = self.utility(pair[0]) - self.utility(pair[1])
            if abs(better) > 1e-9:
                out.append(Judgement(request, pair, (float(better > 0), float(better < 0)), id=f"pair {len(out) + 1}"))
        return Feedback.of(out)

    def _response(self, rng: np.random.Generator) -> str:
        has = [name for name in self.attributes if rng.random() < 0.5]
        sentences = [ATTRIBUTES[name][1][rng.integers(2)] for name in has]
        sentences += [FILLER[i] for i in rng.choice(len(FILLER), 3, replace=False)]
        order = rng.permutation(len(sentences))
        return " ".join(["Here is how to do it.", *(sentences[i] for i in order)])


@dataclass(frozen=True)
class Reader:
    """A scripted language model: ``reader(prompt, seed)`` is its reply.

    taste     whose choices it can explain
    misread   chance to get one attribute of one text wrong
    bias      chance to say "A" whatever it read
    spurious  chance that a criterion does not explain the choice
    """

    taste: Taste
    misread: float = 0.05
    bias: float = 0.1
    spurious: float = 0.3
    seed: int = 0

    def __call__(self, prompt: str, seed: int = 0) -> str:
        """The reply, JSON."""
        if _CODE.search(prompt):
            return self._verdict(prompt)
        if "was judged the better one" in prompt:
            return self._criteria(prompt, seed)
        return self._themes(prompt)

    def sees(self, text: str, name: str) -> bool:
        """Whether it believes that a response has an attribute."""
        return (name in shown(text)) != (self._dice("sees", name, text).random() < self.misread)

    def _verdict(self, prompt: str) -> str:
        blocks = {name: text for name, _, text in _BLOCK.findall(prompt)}
        ends = [m.end() for m in _BLOCK.finditer(prompt)]
        weights: dict[str, float] = {}
        for line in prompt[ends[-1] :].split("Which response is better")[0].splitlines():
            heavy = _WEIGHT.search(line)
            for name in named(line):
                weights[name] = max(weights.get(name, 0.0), float(heavy[1]) if heavy else 1.0)
        weights = weights or dict.fromkeys(self.taste.attributes, 1.0)
        a, b = (
            sum(w for name, w in weights.items() if self.sees(blocks[f"response {side}"], name)) for side in ("A", "B")
        )
        verdict = "tie" if abs(a - b) < 1e-9 else "A" if a > b else "B"
        if self._dice("bias", prompt).random() < self.bias:
            verdict = "A"
        code = _CODE.search(prompt)
        said = {"rationale": f"{a:g} against {b:g}", "verdict": verdict, "verdict_code": code[1] if code else ""}
        return json.dumps(said)

    def _criteria(self, prompt: str, seed: int) -> str:
        blocks = {name: text for name, _, text in _BLOCK.findall(prompt)}
        better = "A" if "Response A was judged" in prompt else "B"
        good, bad = blocks[f"response {better}"], blocks[f"response {'B' if better == 'A' else 'A'}"]
        dice = self._dice("criteria", prompt, str(seed))
        failed = {name for _, text in _NUMBERED.findall(prompt) for name in named(text)}
        explains = [n for n in self.taste.weights if self.sees(good, n) and not self.sees(bad, n) and n not in failed]
        others = [n for n in self.taste.attributes if n not in self.taste.weights and n not in failed]
        if explains and (not others or dice.random() >= self.spurious):
            name = dice.choices(explains, [self.taste.weights[n] for n in explains])[0]
        else:
            name = dice.choice(others or list(self.taste.attributes))
        return json.dumps({"criteria": [dice.choice(criteria_of(name))]})

    def _themes(self, prompt: str) -> str:
        most = re.search(r"at most (\d+) themes", prompt)
        groups: dict[str, list[tuple[int, str]]] = {}
        for number, text in _NUMBERED.findall(prompt):
            groups.setdefault("+".join(sorted(named(text))) or "other", []).append((int(number), text))
        while most and len(groups) > int(most[1]):
            small, next_ = sorted(groups, key=lambda g: (len(groups[g]), g))[:2]
            groups[f"{small} and {next_}"] = groups.pop(small) + groups.pop(next_)
        themes = []
        for name, members in groups.items():
            tips: dict[str, list[int]] = {}
            for number, text in members:
                tips.setdefault(_phrase(text), []).append(number)
            themes.append({"theme": f"On {name}", "tips": [{"tip": t, "from": numbers} for t, numbers in tips.items()]})
        return json.dumps({"themes": themes})

    def _dice(self, *what: str) -> random.Random:
        text = "\0".join([str(self.seed), *what])
        return random.Random(blake2b(text.encode(), digest_size=8).digest())


def _phrase(text: str) -> str:
    """What a criterion asks for, without the words around it."""
    return next((p for phrases, _ in ATTRIBUTES.values() for p in phrases if p in text), text)


def paraphrases(themes: Sequence[str], count: int, seed: int, phrases: int = 3) -> list[tuple[str, str]]:
    """``count`` criteria (text, attribute) of ``themes``, whose frequencies fall as 1, 1/2, 1/3 ... (Zipf).

    phrases   1: one wording of each attribute in six sentences; 3: three wordings that share no words
    """
    rng = np.random.default_rng(seed)
    share = 1 / np.arange(1, len(themes) + 1)
    drawn: list[int] = rng.choice(len(themes), count, p=share / share.sum()).tolist()
    return [(str(rng.choice(criteria_of(themes[t])[: 6 * phrases])), themes[t]) for t in drawn]
