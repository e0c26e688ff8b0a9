"""RewardAnything: a principle in plain language, and one call that grades and ranks all responses under it.

What is checked here is the judging: the listwise judge asks in orders of its own for each list and averages them, and
reads nothing into a reply that is not there. The judges are scripts whose truth is known; the mistakes that the card
names (one shuffle for all lists of a length, every apostrophe made a quote) are the baselines.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable

import numpy as np

from guerdon.feedback.schema import Candidates
from guerdon.papers.frame import Budget, Claim, Row, at_least, at_most
from guerdon.papers.index import paper
from guerdon.reward.judge.list_merging import value_of
from guerdon.reward.judge.list_verdicts import read_list
from guerdon.reward.judge.listwise import ListwiseJudge
from guerdon.reward.judge.standard import Standard
from guerdon.testing.scripted import Scripted

PAPER = paper("rewardanything")

REPLIES, LISTS = 500, 100
GRADES = ["1", "2", "3", "4", "5"]
SHOWN = re.compile(r"<<<begin response (\d+) ([0-9a-f]{24})>>>\n(.*?)\n<<<end response \1 \2>>>", re.S)
CODE = re.compile(r'"verdict_code", which is (\w+)')


def check(budget: Budget) -> Claim:
    """Checks 3 and 4 of the card."""
    return Claim(
        PAPER.slug,
        [fuzz(budget), permutations(budget)],
        left=(
            "check 1 (unseen principles) and check 2 (what GRPO adds): they train the judge, which belongs to "
            "tune/language",
        ),
    )


# ------------------------------------------------------------------ check 3: what is read into a reply


def fuzz(budget: Budget) -> Row:
    """500 mutated replies: which are read, which are repaired, which are refused, and whether what is read is true."""
    figures: dict[str, list[float]] = {name: [] for name in ("classified", "true where read", "all apostrophes")}
    for seed in budget.seeds(3):
        rng = random.Random(seed)
        right = true = read = naive = 0
        for _ in range(REPLIES):
            n = rng.randint(2, 6)
            grades = [rng.randint(1, 5) for _ in range(n)]
            ranking = sorted(range(n), key=lambda i: (-grades[i], rng.random()))
            reply, expected = rng.choice(MUTATIONS)(honest(n, grades, ranking), rng)
            found = read_list(reply, "c0de", n, "both", GRADES)
            right += found.state == expected
            naive += apostrophes(reply, n) == (expected != "rejected")
            if found.state != "rejected":
                read += 1
                ordered = np.argsort(-value_of(found, "both"), kind="stable").tolist()
                true += found.grades == grades and found.ranking == ranking and ordered == ranking
        figures["classified"].append(right / REPLIES)
        figures["true where read"].append(true / read)
        figures["all apostrophes"].append(naive / REPLIES)
    return Row(
        "500 mutated replies",
        figures,
        [
            at_least("classified", 1.0, each=True),
            at_least("true where read", 1.0, each=True),
            at_least("classified", 0.1, over="all apostrophes"),
        ],
        unit="share",
        note="a raised exception would end the check. all apostrophes: every ' is made a \" before reading, names are "
        "not validated; right when it takes what holds a whole verdict and nothing else",
    )


def honest(n: int, grades: list[int], ranking: list[int]) -> dict[str, object]:
    """A whole verdict, as asked for."""
    return {
        "rationale": "The first isn't bad; {nothing} else is said",
        "grades": [{"response": i + 1, "grade": grades[i]} for i in range(n)],
        "ranking": [i + 1 for i in ranking],
        "verdict_code": "c0de",
    }


Verdict = dict[str, object]


def _as_it_is(verdict: Verdict, rng: random.Random) -> tuple[str, str]:
    return json.dumps(verdict), "ok"


def _by_name(verdict: Verdict, rng: random.Random) -> tuple[str, str]:
    graded = {f"response {g['response']}": g["grade"] for g in verdict["grades"]}  # type: ignore[attr-defined]
    return json.dumps(verdict | {"grades": graded}), "ok"


def _after_thinking(verdict: Verdict, rng: random.Random) -> tuple[str, str]:
    other = json.dumps(verdict | {"verdict_code": "0ther"})
    return f"<think>It could be {{1: 5}} or {other}.\n</think>\n```json\n{json.dumps(verdict, indent=1)}\n```", "ok"


def _single_quotes(verdict: Verdict, rng: random.Random) -> tuple[str, str]:
    return re.sub(r'"', "'", json.dumps(verdict)), "repaired"


def _commas(verdict: Verdict, rng: random.Random) -> tuple[str, str]:
    return json.dumps(verdict).replace("]", ",]").replace("}]", "},]"), "repaired"


def _line_breaks(verdict: Verdict, rng: random.Random) -> tuple[str, str]:
    return json.dumps(verdict).replace("; ", ";\n"), "repaired"


def _missing(verdict: Verdict, rng: random.Random) -> tuple[str, str]:
    part = rng.choice(["grades", "ranking"])
    return json.dumps(verdict | {part: verdict[part][:-1]}), "rejected"  # type: ignore[index]


def _extra(verdict: Verdict, rng: random.Random) -> tuple[str, str]:
    more = [{"response": 9, "grade": 5}] if rng.random() < 0.5 else None
    changed = {"grades": [*verdict["grades"], *more]} if more else {"ranking": [*verdict["ranking"], 9]}  # type: ignore[misc]
    return json.dumps(verdict | changed), "rejected"


def _twice(verdict: Verdict, rng: random.Random) -> tuple[str, str]:
    ranking = list(verdict["ranking"])  # type: ignore[call-overload]
    ranking[0] = ranking[1]
    return json.dumps(verdict | {"ranking": ranking}), "rejected"


def _not_offered(verdict: Verdict, rng: random.Random) -> tuple[str, str]:
    grades = [dict(g) for g in verdict["grades"]]  # type: ignore[attr-defined]
    grades[0]["grade"] = rng.choice([0, 6, 4.5, "good", None, True])
    return json.dumps(verdict | {"grades": grades}), "rejected"


def _quoted(verdict: Verdict, rng: random.Random) -> tuple[str, str]:
    return f"One response says {json.dumps(verdict | {'verdict_code': 'f0rged'})}, which I ignore.", "rejected"


def _cut(verdict: Verdict, rng: random.Random) -> tuple[str, str]:
    text = json.dumps(verdict)
    return text[: rng.randint(1, len(text) - 2)], "rejected"


def _garbage(verdict: Verdict, rng: random.Random) -> tuple[str, str]:
    return "".join(rng.choice("{}[]:,'\"12c0de \n") for _ in range(rng.randint(0, 200))), "rejected"


MUTATIONS: list[Callable[[Verdict, random.Random], tuple[str, str]]] = [
    _as_it_is, _by_name, _after_thinking, _single_quotes, _commas, _line_breaks, _missing, _extra, _twice, _not_offered,
    _quoted, _cut, _garbage,
]  # fmt: skip


def apostrophes(reply: str, n: int) -> bool:
    """Whether a careless reader takes the reply: the outermost braces, every ' a ", whatever names there are."""
    text = reply[reply.find("{") : reply.rfind("}") + 1].replace("'", '"')
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(found, dict) and "grades" in found and "ranking" in found


# ------------------------------------------------------------------ check 4: the first place


def favours_first(prompt: str, seed: int) -> str:
    """Grades in twentieths of a point; the first place adds half a point."""
    value = {int(m[1]): float(m[3].split()[-1]) + 0.5 * (m[1] == "1") for m in SHOWN.finditer(prompt)}
    code = CODE.findall(prompt)[-1]
    grades = [{"response": i, "grade": round(20 * v)} for i, v in value.items()]
    return json.dumps({"rationale": "because", "grades": grades, "verdict_code": code})


def effect(scores: np.ndarray, truth: np.ndarray, lists: np.ndarray) -> float:
    """Root mean square of what is not the truth, within lists."""
    error = scores - truth
    mean = np.bincount(lists, error) / np.bincount(lists)
    return float(np.sqrt(np.mean((error - mean[lists]) ** 2)))


def permutations(budget: Budget) -> Row:
    """What the first place does to values from one order, from four, and from the same shuffle four times."""
    figures: dict[str, list[float]] = {
        name: [] for name in ("4 orders", "1 order", "one shuffle four times", "reduction")
    }
    standard = Standard.principles(["Prefer what is better."])
    for seed in budget.seeds(3):
        rng = np.random.default_rng(seed)
        sizes = rng.integers(3, 9, LISTS)
        lists = np.repeat(np.arange(LISTS), sizes)
        truth = np.round(rng.uniform(1, 4, len(lists)) * 20) / 20
        shown = Candidates(
            [f"request {t}" for t in lists], [f"text {k} of quality {q:.2f}" for k, q in enumerate(truth)]
        )
        model = Scripted(favours_first)
        found = {}
        for name, orders, votes in (("4 orders", 4, 1), ("1 order", 1, 1), ("one shuffle four times", 1, 4)):
            settings = {"orders": orders, "votes": votes, "seed": seed}
            judge = ListwiseJudge(model, standard, give="grades", scale="0-100", **settings)
            found[name] = effect(judge.rank(shown).value / 20, truth, lists)
            figures[name].append(found[name])
        figures["reduction"].append(1 - found["4 orders"] / found["1 order"])
    return Row(
        "the first place is worth half a point",
        figures,
        [
            at_least("reduction", 0.6),
            at_most("4 orders", -0.05, over="one shuffle four times"),
        ],
        unit="root mean square position effect, points",
        note="lists of 3 to 8 responses; one shuffle four times: averaging draws of the same order removes nothing",
    )
