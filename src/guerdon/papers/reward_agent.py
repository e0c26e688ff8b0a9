"""Agentic reward modelling: a routed agent that adds checks of facts and of constraints to a preference.

The agent is ``reward/judge/agent.py`` as users get it. Its language model and coder are those of
``worlds/checkable.py``, wrong in a tenth of *all* their replies, not of plans and code alone. A third of the requests
set a constraint on form, a third ask for a fact of a corpus of 200 lines, a third neither; on those the base reward is
right in 95 % of pairs, and it is blind to facts and form. On real data (IFBench's recorded preferences) constraints are
read from requests by a list of phrases, and our own rules check them.
"""

from __future__ import annotations

import gzip
import json
import operator
import random
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from guerdon.feedback.schema import Candidates
from guerdon.papers.frame import Budget, Claim, Row, at_least, at_most, real_data
from guerdon.papers.index import paper
from guerdon.reward.baselines import Length
from guerdon.reward.judge.agent import RewardAgent
from guerdon.reward.judge.agent_asking import Finding, Task
from guerdon.reward.judge.agent_checkers import run_checker
from guerdon.reward.judge.agent_constraints import ConstraintAgent
from guerdon.reward.judge.agent_judger import PREFERENCE, Judged, calibrated, combined, weights_of
from guerdon.reward.verify.constraints import CHECKS, Constraints
from guerdon.reward.verify.formats import count
from guerdon.testing.scripted import Scripted
from guerdon.worlds.checkable import BLOCK, KINDS, Checks, Corpus, Quality, argument, written

PAPER = paper("reward-agent")

PROMPTS, LINES, ERROR = 400, 200, 0.1
RIGHT = 0.95
"""How often the base reward is right where nothing but quality tells two answers apart."""
SCALES = (0.01, 100.0)
BEST_OF, REQUESTS = 16, 60
HEAD = "def check_following(response):\n"
BROKEN = {
    "loops": HEAD + "    while True:\n        pass",
    "loops and catches": HEAD + "    while True:\n        try:\n            while True: pass\n"
    "        except BaseException: pass",
    "takes 8 GB": HEAD + "    return len(bytearray(8 * 2**30)) > 0",
    "opens a socket": HEAD + "    import socket\n    try:\n        socket.create_connection(('127.0.0.1', 9), 1)\n"
    "    except OSError:\n        pass\n    return True",
    "writes a file": HEAD + "    try:\n        open('note.txt', 'w').write(response)\n    except OSError:\n"
    "        pass\n    return True",
    "raises": HEAD + "    raise ValueError('no')",
}


def check(budget: Budget) -> Claim:
    """The card's four checks, and recorded preferences where they are at hand."""
    real = recorded()
    left = () if real else ("IFBench's recorded preferences: no real data at hand (set GUERDON_DATA)",)
    return Claim(
        PAPER.slug,
        [*combination(budget), scales(budget), sandbox(), best_of_n(budget), *real],
        left=(
            "RM-Bench, JudgeBench, TriviaQA and DPO with language models and ArmoRM: no such models are at hand",
            *left,
        ),
    )


# ------------------------------------------------------------------ checks 1 and 2: pairs of three kinds


@dataclass(frozen=True)
class Outcome:
    """Pairs as judged: of each the lists of findings, which response is better, and the calls that were made."""

    judged: list[Judged]
    better: list[int]
    calls: float
    agent: RewardAgent

    def accuracy(self, value: Callable[[Judged], np.ndarray]) -> float:
        """Share of pairs in which ``value`` puts the better response first; a tie is half."""
        leads = [float(np.subtract(*value(of)[[b, 1 - b]])) for of, b in zip(self.judged, self.better, strict=True)]
        return float(np.mean(0.5 + 0.5 * np.sign(np.nan_to_num(leads))))


def pairs(seed: int) -> tuple[Candidates, list[int], Quality, Corpus]:
    """(candidates two by two, which of each two is better, base reward, corpus)."""
    rng = random.Random(seed)
    corpus = Corpus.drawn(LINES, rng)
    prompts: list[str] = []
    texts: list[str] = []
    better: list[int] = []
    quality: dict[str, float] = {}
    for k in range(PROMPTS):
        said = [f"The {rng.choice(('guide', 'friend', 'song'))} of Walker{k} is {rng.randint(100, 999)}." for _ in "ab"]
        first, seen = rng.randrange(2), rng.gauss(0, 1)
        gap = abs(rng.gauss(0, 1))
        wanted: dict[str, str] = {}
        prompt = f"Write a few lines about walk {k}."
        # blind: which of the two has the higher quality is a coin's throw, but where quality is all there is
        high = first if rng.random() < (RIGHT if k % 3 == 2 else 0.5) else 1 - first
        if k % 3 == 0:
            kind = rng.choice(list(KINDS))
            wanted = {kind: argument(kind, rng)}
            prompt += " " + KINDS[kind].says.replace("{}", wanted[kind])
        if k % 3 == 1:
            line = rng.choice(corpus.lines)
            what, name, value = re.findall(r"The (\w+) of (\w+) is (\w+)\.", line)[0]
            prompt = f"What is the {what} of {name}? {prompt}"
            facts = [line, f"The {what} of {name} is {rng.choice([v for v in range(100, 999) if str(v) != value])}."]
        for side in range(2):
            good = side == first
            stated = [said[side], facts[not good]] if k % 3 == 1 else [said[side]]
            text = written(wanted, dict.fromkeys(wanted, good), stated, rng)
            prompts.append(prompt)
            texts.append(text)
            quality[text] = seen + gap * (side == high)
        better.append(first)
    return Candidates(prompts, texts), better, Quality(quality), corpus


@lru_cache(maxsize=4)
def judged(seed: int) -> dict[str, Outcome]:
    """The routed agent and one that runs every check on everything, on the same pairs."""
    shown, better, base, corpus = pairs(seed)
    out = {}
    for name, route in (("agent", True), ("always", False)):
        model, coder = Checks(ERROR, seed), Checks(ERROR, seed + 1000)
        agent = RewardAgent(model, base=base, coder=coder, search=corpus, route=route)
        found, _ = agent.assess(shown, [[2 * k, 2 * k + 1] for k in range(PROMPTS)])
        out[name] = Outcome(found, better, float(model.calls + coder.calls), agent)
    return out


def checks_only(of: Judged) -> np.ndarray:
    """The signals without the preference; alike where there are none."""
    rest = {name: s for name, s in of.signals.items() if name != PREFERENCE}
    return combined(rest, weights_of(None, "sum")) if rest else np.zeros(2)


def combination(budget: Budget) -> list[Row]:
    """Check 1: the agent, its parts alone, and every check on everything."""
    figures: dict[str, list[float]] = {"agent": [], "base": [], "checks only": [], "always": []}
    figures |= {"agent, vote": []}
    calls: dict[str, list[float]] = {"agent": [], "always": [], "agent / always": []}
    for seed in budget.seeds(5):
        runs = judged(seed)
        agent, always = runs["agent"], runs["always"]
        figures["agent"].append(agent.accuracy(lambda of: of.value))
        figures["always"].append(always.accuracy(lambda of: of.value))
        figures["base"].append(agent.accuracy(lambda of: of.raw))
        figures["checks only"].append(agent.accuracy(checks_only))
        votes = weights_of(None, "vote")
        figures["agent, vote"].append(agent.accuracy(lambda of, votes=votes: combined(of.signals, votes, "vote")))
        calls["agent"].append(agent.calls / PROMPTS)
        calls["always"].append(always.calls / PROMPTS)
        calls["agent / always"].append(agent.calls / always.calls)
    bounds = [
        at_least("agent", 0.15, over="base"),
        at_least("agent", 0.10, over="checks only"),
        at_least("agent", -0.01, over="always"),
    ]
    return [
        Row("1 the combination beats its parts", figures, bounds, "accuracy", "a tenth of all replies are wrong"),
        Row("1 calls", calls, [at_most("agent / always", 0.75)], "calls a request, without the base's"),
    ]


def scales(budget: Budget) -> Row:
    """Check 2: the same findings with the base's scores multiplied."""
    worst: dict[str, list[float]] = {}
    for seed in budget.seeds(5):
        run = judged(seed)["agent"]
        weights = run.agent.weights
        for how in ("rank", "z", "none"):

            def value(of: Judged, scale: float, how: str = how, weights: dict[str, float] = weights) -> np.ndarray:
                return combined({**of.signals, PREFERENCE: calibrated(scale * of.raw, how)}, weights)

            at = {scale: run.accuracy(lambda of, scale=scale: value(of, scale)) for scale in (1.0, *SCALES)}
            changes = [abs(at[scale] - at[1.0]) for scale in SCALES]
            worst.setdefault(f"calibrate={how}", []).append(max(changes))
    bounds = [
        at_most("calibrate=rank", 0.01, each=True),
        at_most("calibrate=z", 0.01, each=True),
        at_least("calibrate=none", 0.1),
    ]
    return Row("2 the base times 0.01 and 100", worst, bounds, "largest change of accuracy")


# ------------------------------------------------------------------ check 3: code that means no good


def sandbox() -> Row:
    """Check 3: each bad checker fails with a reason in time, and those beside it are not touched."""
    texts = ("one two, three", "four")
    slowest = failed = 0.0
    for code in BROKEN.values():
        begin = time.perf_counter()
        ran = run_checker(code, texts)
        slowest = max(slowest, time.perf_counter() - begin)
        failed += all(f is None for f in ran.followed) and all(ran.trouble)
    names = [*BROKEN, "no commas"]
    codes = {**BROKEN, "no commas": HEAD + "    return ',' not in response"}

    def reply(prompt: str, draw: int) -> str:
        body = prompt[prompt.rfind("<<<end") :]
        if '"constraints", a list' in body:
            listed = [{"name": f"C{i}", "description": name} for i, name in enumerate(names)]
            return json.dumps({"constraints": listed})
        if '"answer", yes or no' in body:
            return '{"answer": "yes"}'
        return f"```python\n{codes[{m[1]: m[3] for m in BLOCK.finditer(prompt)}['constraint']]}\n```"

    agent = ConstraintAgent(Scripted(reply), repairs=0, most=len(names))
    finding = agent.check([Task("q", None, texts)])[0][0]
    intact = finding.value is not None and finding.value.tolist() == [0.0, 1.0]
    named = [c["name"] for c in finding.trace["checkers"] if c["trouble"]]
    figures = {
        "failed with a reason": [failed / len(BROKEN)],
        "slowest": [slowest],
        "the checker beside them is intact": [float(intact)],
        "named in the trace": [len(named) / len(BROKEN)],
    }
    bounds = [
        at_least("failed with a reason", 1.0),
        at_most("slowest", 6.0),
        at_least("the checker beside them is intact", 1.0),
        at_least("named in the trace", 1.0),
    ]
    return Row("3 sandbox", figures, bounds, "share; seconds", ", ".join(BROKEN))


# ------------------------------------------------------------------ check 4: best of n on constraints


def best_of_n(budget: Budget) -> Row:
    """Check 4: requests with two constraints, answers that keep each half of the time; the truth is a rule's."""
    figures: dict[str, list[float]] = {"agent": [], "base": [], "any": []}
    for seed in budget.seeds(3):
        rng = random.Random(seed)
        prompts: list[str] = []
        texts: list[str] = []
        columns: dict[str, Any] = {"instruction_id_list": [], "kwargs": []}
        quality: dict[str, float] = {}
        for k in range(REQUESTS):
            kinds = rng.sample([k for k in KINDS if k != "fewer"], 2)  # not both bounds on words
            wanted = {kind: argument(kind, rng) for kind in kinds}
            said = " ".join(KINDS[kind].says.replace("{}", wanted[kind]) for kind in kinds)
            for _ in range(BEST_OF):
                text = written(wanted, {kind: rng.random() < 0.5 for kind in kinds}, [], rng)
                prompts.append(f"Write about walk {k}. {said}")
                texts.append(text)
                quality[text] = rng.gauss(0, 1)
                columns["instruction_id_list"].append([KINDS[kind].instruction for kind in kinds])
                columns["kwargs"].append([KINDS[kind].kwargs(wanted[kind]) for kind in kinds])
        shown = Candidates(prompts, texts)
        strict = Constraints().score(Candidates(prompts, texts, extra=columns)).value.reshape(REQUESTS, BEST_OF)
        base = Quality(quality)
        agent = RewardAgent(Checks(ERROR, seed), coder=Checks(ERROR, seed + 1000), base=base, checks=["constraints"])
        for name, value in (("agent", agent.rank(shown).value), ("base", base.score(shown).value)):
            best = value.reshape(REQUESTS, BEST_OF).argmax(1)
            figures[name].append(float(strict[np.arange(REQUESTS), best].mean()))
        figures["any"].append(float(strict.max(1).mean()))
    bounds = [at_least("agent", 0.2, over="base")]
    note = f"{BEST_OF} answers a request; any: the share of requests with an answer that keeps both"
    return Row("4 best of n on constraints", figures, bounds, "strict accuracy of the chosen", note)


# ------------------------------------------------------------------ recorded preferences

COUNT = {"one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10}
N = rf"(\d+|{'|'.join(COUNT)})"
QUOTED = r"['‘’\"“”]([^'‘’\"“”]{1,60})['‘’\"“”]"


BOUNDS: dict[str, Callable[[int, int], bool]] = {
    "exactly": operator.eq,
    "at least": operator.ge,
    "no more than": operator.le,
    "a maximum of": operator.le,
    "at most": operator.le,
}
COUNTED: dict[str, Callable[[str], int]] = {
    "words": lambda t: count(t, "words"),
    "sentences": lambda t: count(t, "sentences"),
    "paragraphs": lambda t: len([p for p in re.split(r"\n\s*\n", t) if p.strip()]),
    "bullet points": lambda t: len(re.findall(r"(?m)^\s*(?:[-*•]|\d+[.)])\s", t)),
}
KEYWORDS = re.compile(rf"keywords?:? ((?:(?:,| and|,? and)? ?{QUOTED})+)", re.I)
OFTEN = re.compile(
    rf"word {QUOTED} (?:should|must)? ?(?:appears?|be used|be mentioned) (at least |exactly )?{N} times", re.I
)
AMOUNT = re.compile(rf"({'|'.join(BOUNDS)}) {N} ({'|'.join(COUNTED)})(?! each)", re.I)
OF_PARTS = re.compile(
    r"each [^.]*|(?:paragraph|section|sentence|point|step)s? (?:of|containing|with|consisting)[^.]*", re.I
)
"""Counts of a part of the response, which are not read."""


def phrases(request: str) -> list[Callable[[str], bool]]:
    """Whether a text follows each of the hard constraints that a list of phrases finds in a request.

    Keywords and frequencies of words go to IFEval's checks; words, sentences, paragraphs and bullet points are counted
    as everywhere in ``reward/verify``.
    """
    found: list[Callable[[str], bool]] = []
    for m in KEYWORDS.finditer(request):
        for word in re.findall(QUOTED, m[1]):
            found.append(lambda t, w=word: CHECKS["keywords:existence"](t, keywords=[w]))
    for m in OFTEN.finditer(request):
        given = {"keyword": m[1], "frequency": _number(m[3]), "relation": "at least"}
        found.append(lambda t, g=given: CHECKS["keywords:frequency"](t, **g))
        if (m[2] or "").strip().lower() == "exactly":
            upper = {**given, "frequency": _number(m[3]) + 1, "relation": "less than"}
            found.append(lambda t, g=upper: CHECKS["keywords:frequency"](t, **g))
    for m in AMOUNT.finditer(OF_PARTS.sub("", request)):
        holds, n, counts = BOUNDS[m[1].lower()], _number(m[2]), COUNTED[m[3].lower()]
        found.append(lambda t, holds=holds, n=n, counts=counts: holds(counts(t), n))
    return found


def _number(text: str) -> int:
    return COUNT.get(text.lower()) or int(text)


class Phrases:
    """An agent of our own: constraints read by :func:`phrases` and checked by rules, no language model."""

    name = "constraints"
    says = "the request sets limits on form"
    identity = "phrases"

    def check(self, tasks: Sequence[Task]) -> tuple[list[Finding], dict[str, float]]:
        """The share of constraints that each response follows."""
        out = []
        for task in tasks:
            rules = phrases(task.request)
            shares = [np.mean([rule(text) for rule in rules]) for text in task.responses] if rules else None
            out.append(
                Finding(None, "nothing", "no phrase that sets one") if shares is None else Finding(np.array(shares))
            )
        return out, {}


def recorded() -> list[Row]:
    """IFBench's pairs: do our rules prefer what was recorded, and what do they add to a base that knows length?"""
    path = real_data("judge_benches", "ifbench_pref.jsonl.gz")
    if path is None:
        return []
    with gzip.open(path, "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    prompts = [row["text_chosen"][0]["content"] for row in rows]
    a, b = (Candidates(prompts, [row[f"text_{k}"][-1]["content"] for row in rows]) for k in ("chosen", "rejected"))
    nobody = Scripted(lambda prompt, draw: None)
    said: dict[str, np.ndarray] = {"length": Length().prefer(a, b).value}
    for judger in ("sum", "vote"):
        agent = RewardAgent(nobody, base=Length(), checks=[Phrases()], route=False, judger=judger)
        said[f"length and rules, {judger}"] = agent.prefer(a, b).value
    alone = RewardAgent(nobody, base=Length(), checks=[Phrases()], route=False, weights={PREFERENCE: 0})
    rules = alone.prefer(a, b).value
    apart = ~np.isnan(rules) & (rules != 0.5)
    right = {name: 0.5 + 0.5 * np.sign(p - 0.5) for name, p in said.items()}
    figures = {
        "rules, where they differ": [float((rules[apart] > 0.5).mean())],
        "length, there": [float(right["length"][apart].mean())],
        "pairs with constraints that are read": [float(np.mean(~np.isnan(rules)))],
        "pairs where the rules differ": [float(apart.mean())],
        **{f"all pairs, {name}": [float(value.mean())] for name, value in right.items()},
    }
    bounds = [
        at_least("rules, where they differ", 0.15, over="length, there"),
        at_least("all pairs, length and rules, vote", 0.0, over="all pairs, length"),
    ]
    note = "444 recorded preferences; constraints by a list of phrases, not by a language model; no check of the card"
    return [Row("IFBench", figures, bounds, "accuracy, share of pairs", note)]
