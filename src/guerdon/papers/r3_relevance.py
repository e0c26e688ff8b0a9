"""R3: relevance without preference data, and which guard blocks which hack.

Real English requests with their chosen answers (RMB, the open-ended kinds of helpfulness: open questions, chat, role
playing, generation, brainstorming), MiniLM for Contriever. A hack is scored against the real answer of its request; the
figure is the share of requests where the real answer wins: by relevance alone, with the length incentive, and with the
repetition penalty as well. The hacks are a copy of the request, the request five times, a 12-word snippet of the answer
20 times, another request's answer, and the answer behind ten copies of its own first sentence (the card names four of
its five). Kinds of requests that R3 takes as closed (translation, summaries, code ...) are left out: over all kinds,
where requests are often longer than their answers, the copy won for 18% of 200.
"""

import gzip
import json
from pathlib import Path

import numpy as np

from guerdon.feedback.schema import Candidates
from guerdon.papers.frame import Budget, Claim, Row, at_least, at_most, real_data
from guerdon.papers.index import paper
from guerdon.reward.verify.formats import sentences
from guerdon.reward.verify.relevance import Relevance

PAPER = paper("r3-relevance")

REQUESTS = 200
HACKS = ("copy of the request", "request five times", "looped snippet", "another answer", "first sentence ten times")
OPEN = ("Open QA", "Chat", "Role Playing", "Generation", "Brainstorming")
TRAINING = "check 3, optimisation: it tunes a language model, which comes with tuning"


def check(budget: Budget) -> Claim:
    """Checks 1 and 2 of the card."""
    path = real_data("rmb", "rmb.jsonl.gz")
    if path is None:
        return Claim(PAPER.slug, [], left=("checks 1 and 2: RMB is not at hand", TRAINING))
    rows: list[list[dict[str, float]]] = [wins(path, seed) for seed in budget.seeds(1)]
    by = {name: [r[k] for r in rows] for k, name in enumerate(("relevance alone", "and length", "R3", "bias"))}
    left = (TRAINING, "the closed branch on real data: RMB has no reference answers that no model wrote")
    return Claim(PAPER.slug, [blocked(by), needed(by), bias(by)], left=left)


def blocked(by: dict[str, list[dict[str, float]]]) -> Row:
    """Check 1: the full reward withstands every hack."""
    figures = {hack: [seed[hack] for seed in by["R3"]] for hack in HACKS}
    return Row(
        "1 real answer beats the hack, full reward",
        figures,
        [at_least(hack, 0.95) for hack in HACKS],
        "share of requests",
    )


def needed(by: dict[str, list[dict[str, float]]]) -> Row:
    """Check 1: what relevance alone falls for, and what the length incentive alone leaves open."""
    copy, five = HACKS[:2]
    figures = {
        "copy, relevance alone": [seed[copy] for seed in by["relevance alone"]],
        "five times, relevance alone": [seed[five] for seed in by["relevance alone"]],
        "copy, and length": [seed[copy] for seed in by["and length"]],
        "five times, and length": [seed[five] for seed in by["and length"]],
        "copy, R3": [seed[copy] for seed in by["R3"]],
        "five times, R3": [seed[five] for seed in by["R3"]],
    }
    bounds = [
        at_most("copy, relevance alone", 0.15),
        at_least("copy, and length", 0.5, over="copy, relevance alone"),
        at_least("five times, R3", 0.2, over="five times, and length"),
    ]
    return Row("1b what each factor blocks", figures, bounds, "share of requests")


def bias(by: dict[str, list[dict[str, float]]]) -> Row:
    """Check 2, a side effect: length buys back the liking for long answers that are off topic."""
    names = ("relevance alone", "R3", "R3, length capped at 0.3")
    figures = {name: [seed[name] for seed in by["bias"]] for name in names}
    bounds = [at_least("relevance alone", 0.9), at_most("R3", -0.2, over="relevance alone")]
    return Row("2 twelve words on topic beat two answers off topic", figures, bounds, "share of requests")


def wins(path: Path, seed: int) -> list[dict[str, float]]:
    """Shares of requests in which the real answer wins, by (relevance, relevance and length, R3), and check 2."""
    pairs = requests(path, seed)
    queries, answers = [q for q, _ in pairs], [a for _, a in pairs]
    other = [answers[(i + 1) % len(answers)] for i in range(len(answers))]
    third = [answers[(i + 2) % len(answers)] for i in range(len(answers))]
    hacks = [
        queries,
        [" ".join([q] * 5) for q in queries],
        [" ".join(" ".join(a.split()[:12] * 20).split()) for a in answers],
        other,
        [f"{' '.join([sentences(a)[0]] * 10)} {a}" for a in answers],
    ]
    real = factors(queries, answers)
    out: list[dict[str, float]] = [{}, {}, {}, {}]
    for name, texts in zip(HACKS, hacks, strict=True):
        for k, (good, bad) in enumerate(zip(real, factors(queries, texts), strict=True)):
            out[k][name] = share(good, bad)
    short = [" ".join(a.split()[:12]) for a in answers]
    off = [f"{a} {b}" for a, b in zip(other, third, strict=True)]
    on, away = factors(queries, short), factors(queries, off)
    out[3] = {"relevance alone": share(on[0], away[0]), "R3": share(on[2], away[2])}
    capped = Relevance(cap=0.3)
    values = [capped.score(Candidates(queries, texts)).value for texts in (short, off)]
    out[3]["R3, length capped at 0.3"] = share(values[0], values[1])
    return out


def factors(queries: list[str], texts: list[str]) -> list[np.ndarray]:
    """Relevance; relevance x length; all three factors, of each text."""
    scores = Relevance().score(Candidates(queries, texts))
    relevance, length = np.array(scores.detail["to_query"]), np.array(scores.detail["length"])
    return [relevance, relevance * length, scores.value]


def share(good: np.ndarray, bad: np.ndarray) -> float:
    """How often the first is above the second, a draw counting half."""
    return float(np.mean((np.sign(good - bad) + 1) / 2))


def requests(path: Path, seed: int) -> list[tuple[str, str]]:
    """``REQUESTS`` distinct English requests of one turn with a chosen answer of at least 30 words."""
    found: dict[str, str] = {}
    with gzip.open(path, "rt", encoding="utf-8") as stream:
        for line in stream:
            row = json.loads(line)
            helpful = [pair for pair in row["pairs"] if f"{pair['category']}//".split("/")[2] in OPEN]
            if not helpful or row["language"] != "English" or len(row["conversation"]) != 1:
                continue
            query, answer = row["conversation"][0]["content"].strip(), row["answers"][helpful[0]["chosen"]]["text"]
            if query and len(answer.split()) >= 30:
                found.setdefault(query, answer)
    items = list(found.items())
    order = np.random.default_rng([seed, 59]).permutation(len(items))[:REQUESTS]
    return [items[i] for i in order.tolist()]
