"""Search-Gen-V, judging: the share of a reference's facts that a text supports, labelled several at a time.

The verifier that the paper trains is not trained here; a scripted one stands in for it. It reads the prompt as it is
rendered, knows the paraphrases of relations and aliases of names, and gives a fact another label in 10% of the cases
(20% in row 2b), drawn by the fact and the text. Facts are triples (who, relation, value). Short answers: a gold name,
and responses that say it as it is, by an alias, with words around it, or that name another place. Long answers: a
reference of six facts, and candidates that hold some of them in other words, change a value, or leave them out.
"""

import json
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np

from guerdon.feedback.schema import Candidates
from guerdon.papers.frame import Budget, Claim, Row, at_least
from guerdon.papers.index import paper
from guerdon.reward.verify.answers import ExactMatch
from guerdon.reward.verify.nuggets import Nuggets
from guerdon.testing.scripted import Scripted

PAPER = paper("search-gen-v")

ERROR = 0.1
PEOPLE = {
    "Anna Berg": ("A. Berg", "Dr Berg"),
    "Omar Haddad": ("O. Haddad", "Mr Haddad"),
    "Lucia Rossi": ("L. Rossi", "Ms Rossi"),
    "Kenji Tanaka": ("K. Tanaka", "Professor Tanaka"),
    "Maria Silva": ("M. Silva", "Mrs Silva"),
    "Peter Novak": ("P. Novak", "Judge Novak"),
}
PLACES = {
    "New York City": ("NYC", "the Big Apple"),
    "Saint Petersburg": ("St Petersburg", "Petrograd"),
    "Mumbai": ("Bombay", "the city of Bombay"),
    "Istanbul": ("Constantinople", "Byzantium"),
    "Ho Chi Minh City": ("Saigon", "HCMC"),
    "Chennai": ("Madras", "the port of Madras"),
}
RELATIONS = {
    "was born in": ("is a native of", "came into the world in"),
    "works in": ("has a job in", "is employed in"),
    "studied in": ("went to university in", "took a degree in"),
    "died in": ("passed away in", "spent the last day in"),
    "got married in": ("held the wedding in", "said yes in"),
    "is buried in": ("has a grave in", "rests in"),
}
_BLOCK = re.compile(r"<<<begin (.+?) ([0-9a-f]{24})>>>\n(.*?)\n<<<end \1 \2>>>", re.S)
_CODE = re.compile(r'"verdict_code", which is ([0-9a-f]{12})')


def check(budget: Budget) -> Claim:
    """Checks 2 and 3 of the card; check 4 is a table in the tests."""
    return Claim(
        PAPER.slug,
        [union(budget, ERROR, "2"), union(budget, 0.2, "2b"), best_of(budget)],
        left=("check 1, training the verifier (SFT and RL): comes with the tuning of language models",),
        note=f"The verifier is scripted and gives {ERROR:.0%} of facts a wrong label, 20% in 2b (nearer the paper's).",
    )


@dataclass(frozen=True)
class Verifier:
    """A scripted labeller of facts; ``error`` is the chance of a wrong label."""

    seed: int
    error: float = ERROR

    def __call__(self, prompt: str, seed: int = 0) -> str:
        """Labels in JSON."""
        blocks = {name: text for name, _, text in _BLOCK.findall(prompt)}
        code = _CODE.search(prompt)
        facts = re.findall(r"^\d+\. (.+)$", blocks["facts"], re.M)
        labels = [self._noisy(label(fact, blocks["text"]), fact, blocks["text"]) for fact in facts]
        return json.dumps({"reasoning": "", "labels": labels, "verdict_code": code[1] if code else ""})

    def _noisy(self, true: str, *what: str) -> str:
        text = "\0".join([str(self.seed), *what])
        dice = random.Random(blake2b(text.encode(), digest_size=8).digest())
        others = [x for x in ("support", "partial_support", "not_support") if x != true]
        return dice.choice(others) if dice.random() < self.error else true


def label(fact: str, text: str) -> str:
    """What a fact deserves: its value said of it, the relation without the value said, or neither."""
    fact = canonical(fact).removeprefix("The answer is: ").rstrip(".")
    relation = next((r for r in RELATIONS if r in fact), None)
    said = [s.strip() for s in re.split(r"\.\s|\.$", canonical(text)) if s.strip()]
    if relation is None:
        return "support" if any(re.search(rf"\b{re.escape(fact)}\b", s) for s in said) else "not_support"
    who, value = (part.strip() for part in fact.split(relation))
    for sentence in said:
        if who in sentence and relation in sentence:
            if value in sentence:
                return "support"
            return "not_support" if any(place in sentence for place in PLACES) else "partial_support"
    return "not_support"


def canonical(text: str) -> str:
    """A text with names and relations as the tables call them."""
    for table in (PEOPLE, PLACES, RELATIONS):
        for name, others in table.items():
            for other in sorted(others, key=len, reverse=True):
                text = re.sub(rf"\b{re.escape(other)}(?!\w)", name, text)
    return text


def f1(said: Sequence[bool], true: Sequence[bool]) -> float:
    """Of calling an answer right."""
    s, t = np.array(said), np.array(true)
    return float(2 * np.sum(s & t) / max(np.sum(s) + np.sum(t), 1))


def short_answers(rng: np.random.Generator, count: int) -> tuple[Candidates, list[bool]]:
    """(questions with gold answers and responses, whether each is right)."""
    gold, responses, right = [], [], []
    for _ in range(count):
        place = str(rng.choice(list(PLACES)))
        kind = rng.integers(5)
        other = str(rng.choice([p for p in PLACES if p != place]))
        alias = str(rng.choice(PLACES[place]))
        said = [place, alias, f"I think that it was {alias}", other, f"It was {rng.choice(PLACES[other])}"][kind]
        gold.append(place)
        responses.append(said)
        right.append(bool(kind < 3))
    prompts = [f"Where was it? (question {i})" for i in range(count)]
    return Candidates(prompts, responses, reference=gold), right


def union(budget: Budget, error: float, number: str) -> Row:
    """Check 2: exact match or verifier, on short answers, with a verifier that errs so often."""
    figures: dict[str, list[float]] = {"exact match or verifier": [], "verifier": [], "exact match": []}
    for seed in budget.seeds(3):
        rows, right = short_answers(np.random.default_rng([seed, 48]), 400)
        exact = ExactMatch().score(rows).value > 0.5
        verified = Nuggets(lm=Scripted(Verifier(seed, error))).score(rows).value > 0.5
        figures["exact match or verifier"].append(f1((exact | verified).tolist(), right))
        figures["verifier"].append(f1(verified.tolist(), right))
        figures["exact match"].append(f1(exact.tolist(), right))
    method = "exact match or verifier"
    bounds = [at_least(method, 0.05, over="verifier"), at_least(method, 0.05, over="exact match")]
    return Row(
        f"{number} short answers with aliases, {error:.0%} of labels wrong", figures, bounds, "F1 of right answers"
    )


def long_answers(rng: np.random.Generator, count: int, n: int) -> tuple[Candidates, np.ndarray]:
    """(``n`` candidates for each of ``count`` requests, the true share of facts [count, n] that each holds)."""
    prompts, responses, facts, recall = [], [], [], []
    for i in range(count):
        who = str(rng.choice(list(PEOPLE)))
        told = {r: str(rng.choice(list(PLACES))) for r in RELATIONS}
        nuggets = [f"{who} {r} {v}" for r, v in told.items()]
        for _ in range(n):
            lines, held = [], 0
            for r, v in told.items():
                kind = rng.choice(3, p=[0.4, 0.2, 0.4])  # held, with another value, left out
                if kind == 2:
                    continue
                value = v if kind == 0 else str(rng.choice([p for p in PLACES if p != v]))
                held += kind == 0
                name = rng.choice([who, *PEOPLE[who]])
                lines.append(f"{name} {rng.choice([r, *RELATIONS[r]])} {rng.choice([value, *PLACES[value]])}.")
            order = rng.permutation(len(lines))
            prompts.append(f"Tell me about the life of {who}. (question {i})")
            responses.append(" ".join(lines[k] for k in order) or "I do not know.")
            facts.append(nuggets)
            recall.append(held / len(nuggets))
    references = [". ".join(row) + "." for row in facts]
    rows = Candidates(prompts, responses, reference=references, extra={"nuggets": facts})
    return rows, np.array(recall).reshape(count, n)


def best_of(budget: Budget, n: int = 8) -> Row:
    """Check 3: the true share of facts in the best of eight, by each reward."""
    figures: dict[str, list[float]] = {"facts": [], "ratio to random": [], "exact match": [], "random": []}
    for seed in budget.seeds(3):
        rng = np.random.default_rng([seed, 480])
        rows, recall = long_answers(rng, 100, n)
        by_facts = Nuggets(lm=Scripted(Verifier(seed))).score(rows).value.reshape(recall.shape)
        by_exact = ExactMatch().score(rows).value.reshape(recall.shape)
        each = np.arange(len(recall))
        chance = rng.integers(n, size=len(recall))  # exact match is 0 for all of them: it picks at random
        picked = recall[each, by_facts.argmax(1)].mean()
        exact = np.where(by_exact.max(1) > 0, recall[each, by_exact.argmax(1)], recall[each, chance]).mean()
        figures["facts"].append(picked)
        figures["ratio to random"].append(picked / recall.mean())
        figures["exact match"].append(exact)
        figures["random"].append(recall.mean())
    bounds = [at_least("ratio to random", 1.25), at_least("facts", 0.0, over="exact match")]
    return Row("3 true share of facts in the best of 8", figures, bounds, "share of facts")
