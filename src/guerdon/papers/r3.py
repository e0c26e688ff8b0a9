"""R3: one schema of task, input, responses and rubric, and three kinds of verdict.

What is checked here is the judging: a judge that gets the three kinds of rubric is the same judge, and replies are read
as they were meant. The judge is simulated: its quality of a response is known, its draws are noisy, and it misreads a
text the same way whatever the rubric. A plain regular expression on the first "score:" is the parser's baseline.
"""

from __future__ import annotations

import re

import numpy as np

from guerdon.feedback.schema import Candidates
from guerdon.papers.frame import Budget, Claim, Row, at_least
from guerdon.papers.index import paper
from guerdon.reward.judge.described import Described, DescribedJudge, read_score
from guerdon.worlds.judges import Asked, SimulatedJudge

PAPER = paper("r3")

LIKERT = {"1": "Useless.", "2": "Poor.", "3": "Fair.", "4": "Good.", "5": "Excellent."}
PAIR = {"Response 1": "Response 1 helps more.", "Response 2": "Response 2 helps more."}
BINARY = {"true": "It is better than fair.", "false": "It is not."}
ANSWER = '{"explanation": "It helps.", "score": %s}'

# reply, rubric, what it says
TABLE: list[tuple[str, str, str | None]] = [
    (ANSWER % "4", "likert", "4"),
    (ANSWER % '"4"', "likert", "4"),
    (ANSWER % "4.0", "likert", "4"),
    (ANSWER % "4.7", "likert", None),
    (ANSWER % "6", "likert", None),
    (ANSWER % "null", "likert", None),
    (ANSWER % "true", "likert", None),
    ('{"explanation": "A low score: 1 would be unfair.", "score": 5}', "likert", "5"),
    ("The score: 2 is what some would say.\nScore: 3", "likert", "3"),
    ("```json\n" + ANSWER % "2" + "\n```", "likert", "2"),
    (ANSWER % "2" + "\nI hope that this helps {you}.", "likert", "2"),
    ("<think>score: 1, or {\"score\": 2}</think>" + ANSWER % "3", "likert", "3"),
    ("<think>I would say " + ANSWER % "3", "likert", None),
    ("**Score**: 4", "likert", "4"),
    ("Score: 4.7", "likert", None),
    ("It deserves a four.", "likert", None),
    (ANSWER % '"Response 2"', "pair", "response 2"),
    (ANSWER % '"response 1"', "pair", "response 1"),
    ('{"explanation": "Response 1 is longer; Response 2 is right.", "score": "Response 2"}', "pair", "response 2"),
    ("Response 2 is good, but Response 1 is better.", "pair", None),
    ("score: Response 1", "pair", "response 1"),
    (ANSWER % '"True"', "binary", "true"),
    (ANSWER % "false", "binary", "false"),
    ("{'score': 'FALSE'}", "binary", "false"),
    (ANSWER % "1", "binary", None),
]  # fmt: skip

PAIRS = 300


def check(budget: Budget) -> Claim:
    """Checks 3 and 4 of the card."""
    return Claim(
        PAPER.slug,
        [consistent(budget), parser()],
        left=(
            "check 1 (rubric-agnostic) and check 2 (small curated sets): they train the judge and curate its data, "
            "which belongs to the training half",
        ),
    )


def quality(asked: Asked, text: str) -> float:
    """The number that stands in the text; "better than fair" begins where grade 4 does."""
    return float(text.split()[-1]) - (0.125 if BINARY["true"] in asked.criteria[0][0] else 0.0)


def consistent(budget: Budget) -> Row:
    """Whether three kinds of verdict on the same responses agree."""
    figures: dict[str, list[float]] = {
        "pointwise and pairwise": [],
        "binary and pointwise": [],
        "pairwise is right": [],
        "pairs not tied": [],
    }
    for seed in budget.seeds(3):
        rng = np.random.default_rng(seed)
        truth = rng.uniform(0, 1, (2, PAIRS))
        a, b = (Candidates([f"q{i}" for i in range(PAIRS)], [f"is {q:.4f}" for q in side]) for side in truth)
        model = SimulatedJudge(quality, noise=0.1, seed=seed)

        def judge(rubric: dict[str, str], model: SimulatedJudge = model, seed: int = seed) -> DescribedJudge:
            return DescribedJudge(model, rubric, temperature=0.6, seed=seed)

        left, right = judge(LIKERT).score(a).value, judge(LIKERT).score(b).value
        better = judge(PAIR).prefer(a, b).value
        apart = (left != right) & (better != 0.5)
        figures["pointwise and pairwise"].append(float(np.mean(((left > right) == (better > 0.5))[apart])))
        true = judge(BINARY).score(a).value > 0.5
        figures["binary and pointwise"].append(float(np.mean(true == (left > 3))))
        figures["pairwise is right"].append(float(np.mean(((better > 0.5) == (truth[0] > truth[1]))[better != 0.5])))
        figures["pairs not tied"].append(float(apart.mean()))
    bounds = [at_least("pointwise and pairwise", 0.85), at_least("binary and pointwise", 0.85)]
    return Row(
        "3 three kinds of verdict agree",
        figures,
        bounds,
        "share",
        "a simulated judge with draws' noise 0.06 on a scale of 0 to 1; it is not trained, so this checks the schema "
        "and the protocols, not R3's models",
    )


def first_score(text: str) -> str | None:
    """The first number or word after "score:", cut to a whole number: what the card says is often got wrong."""
    found = re.search(r"score\W*:\W*(Response [12]|true|false|\d)", text, re.I)
    return found[1].casefold() if found else None


def parser() -> Row:
    """25 replies with what they say."""
    rubrics = {"likert": Described.of(LIKERT), "pair": Described.of(PAIR), "binary": Described.of(BINARY)}
    ours = np.mean([read_score(text, rubrics[kind]) == said for text, kind, said in TABLE])
    first = np.mean([first_score(text) == said for text, _, said in TABLE])
    figures = {"as meant": [float(ours)], "first score": [float(first)]}
    return Row("4 parser table", figures, [at_least("as meant", 1.0), at_least("as meant", 0.1, over="first score")])
