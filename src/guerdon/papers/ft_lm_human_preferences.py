"""Ziegler et al.'s reward model: people pick the best of four, the loss is a softmax over the four scores.

Simulated people with one linear utility of 32 features choose the best of four responses. The reward model reads the
choices whole (``plackett-luce``; with one winner that is the softmax cross-entropy), the baseline reads the same
choices as the winner against one random loser (``bradley-terry``). Afterwards scores are normalised to mean 0 and
standard deviation 1 on samples of a reference policy, and raw rewards that differ by scale and shift become one.
The policy half (PPO, the KL controller) is not here.
"""

import numpy as np

from guerdon.feedback.schema import Judgement
from guerdon.feedback.star import Feedback
from guerdon.papers.frame import Budget, Claim, Row, at_least, at_most, within
from guerdon.papers.index import paper
from guerdon.reward.base import Function
from guerdon.reward.compose import normalized
from guerdon.reward.learned.model import RewardModel
from guerdon.worlds.annotators import Annotator
from guerdon.worlds.people import Population
from guerdon.worlds.pool import Pool

PAPER = paper("ft-lm-human-preferences")

CHOICES, DIM = 800, 32


def check(budget: Budget) -> Claim:
    """Check 1 of the card, the reward half of check 4, and the sign of the label."""
    return Claim(
        PAPER.slug,
        [*choice(budget), normalisation(budget)],
        left=("checks 2, 3 and the policy half of 4 (PPO, KL control): they come with tune/language",),
    )


def choice(budget: Budget) -> list[Row]:
    """Check 1: reading the choice of four whole beats the winner against one random loser."""
    whole, pair, scale = [], [], []
    for seed in budget.seeds(5):
        pool = Pool.planted(CHOICES + 200, 4, DIM, seed=seed)
        direction = np.random.default_rng([seed, 3]).normal(size=DIM) / np.sqrt(DIM)
        truth = 2 * pool.features @ direction
        people = Population.simulate(
            "shared",
            pool,
            truth[:, None],
            users=1,
            standardize=False,
            weights=[1.0],
            held_out=200 / len(pool.prompts),
            annotators=Annotator.bradley_terry(1.0, standardize=False),
            seed=seed,
        )
        choices = people.history(form="best-of-n", n=4, count=CHOICES)
        test = people.history(count=200, held_out=True, annotator=Annotator.perfect(), seed=1)
        q, rows = test.pairs(ties=False), pool.rows(test.candidates)
        for figures, model in (
            (whole, RewardModel(encoder=pool.encoder(), likelihood="plackett-luce").fit(choices)),
            (pair, RewardModel(encoder=pool.encoder()).fit(one_loser(choices, seed))),
        ):
            value = model.score(pool.candidates).value
            gap = value[rows[q.a]] - value[rows[q.b]]
            figures.append(float(np.mean((gap > 0) == (q.p > 0.5))))
            if figures is whole:
                scale.append(float(value.std() / truth.std()))
    figures = {"choice of four": whole, "winner against one loser": pair}
    return [
        Row(
            "1a choice likelihood",
            figures,
            [at_least("choice of four", 0.01, over="winner against one loser")],
            "accuracy on noiseless pairs",
            note="above one half, so the sign of the label is right (the published bug negated the reward)",
        ),
        Row(
            "1b scale of the fitted scores",
            {"fitted sd / true sd": scale, "one": [1.0]},
            [within("fitted sd / true sd", 0.1, of="one")],
            "ratio",
        ),
    ]


def one_loser(choices: Feedback, seed: int) -> Feedback:
    """Each choice as a comparison of the winner with one random loser."""
    rng = np.random.default_rng([seed, 5])
    rows = []
    for judgement in choices.judgements():
        best = int(np.argmax(judgement.grades))
        loser = int(rng.choice([i for i in range(len(judgement.grades)) if i != best]))
        rows.append(Judgement(judgement.prompt, (judgement.responses[best], judgement.responses[loser]), (1.0, 0.0)))
    return Feedback.of(rows)


def normalisation(budget: Budget) -> Row:
    """Check 4, reward half: x10 and +5 on the raw reward vanish after normalising on reference samples."""
    figures: dict[str, list[float]] = {"largest difference": [], "mean on reference": [], "sd on reference - 1": []}
    for seed in budget.seeds(5):
        pool = Pool.planted(300, 4, DIM, seed=seed)
        score = dict(zip(pool.candidates.responses, pool.features[:, 0], strict=True))
        reference = pool.candidates.take(range(256))
        raw = Function(lambda _, r, s=score: s[r], name="raw")
        other = Function(lambda _, r, s=score: 10 * s[r] + 5, name="scaled")
        one, two = (normalized(reward, reference).score(pool.candidates).value for reward in (raw, other))
        figures["largest difference"].append(float(np.abs(one - two).max()))
        figures["mean on reference"].append(float(abs(one[:256].mean())))
        figures["sd on reference - 1"].append(float(abs(one[:256].std() - 1)))
    return Row("4 normalisation (reward half)", figures, [at_most(name, 1e-6, each=True) for name in figures], "sd")
