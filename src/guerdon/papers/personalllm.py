"""PersonalLLM: people as random mixtures of scorers, and what somebody with little history gains from the others.

People are simulated (``worlds/people.py``): K scorers of every response, standardised, mixed by Dirichlet weights.
Checked are the two knobs of that generator (how alike people are; standardisation), its hygiene (no test prompt in a
history, people that never change), and the finding it was built for: for a person with 8 comparisons, the estimates
made for *others* whose choices explain theirs are worth more than their own 8 alone or the average of everybody.

The three estimators work on planted features and are linear in them: ``own`` is the person's own logistic ridge,
``population`` the same on everybody's comparisons pooled, and ``others`` the mean of the historical people's own
estimates weighted by how likely they make the new person's comparisons.

Tasks A and B are the suite ``personalllm-in-context`` at its published sizes (5 own choices, 8 examples with those of
others, no chance in the writing). Two language models are asked: a scripted one that gives what the choices it reads
show of a person (``worlds/imitator.py``), so that what a prompt tells is known; and a small transformer trained here
from scratch on histories of other people (``worlds/language/histories.py``), which learns from context by itself. The
card gives no figure for them: the bounds are the order of its headline, none of them fitted to what came out.

Own choices help, and what was not chosen helps further. Others' choices that resemble one's own are worth more than
anybody's, as they should be; but three of them beside five own ones add nothing in these two worlds: a text that
resembles a winner resembles it in all that did not matter, too. That part of the headline is not seen here.
"""

import json
import tempfile
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import log_expit, softmax

from guerdon.bench.suites.in_context_people import IN_CONTEXT_PEOPLE
from guerdon.feedback.star import Feedback
from guerdon.generate.base import LanguageModel
from guerdon.generate.local import LocalModel
from guerdon.papers.frame import Budget, Claim, Row, at_least, at_most, within
from guerdon.papers.index import paper
from guerdon.reward.base import Function, Reward
from guerdon.reward.personal.weights import solve
from guerdon.testing.scripted import Scripted
from guerdon.worlds.annotators import Annotator
from guerdon.worlds.choices import agreement, choice_entropy, outcome
from guerdon.worlds.imitator import TEN, Imitator, rows
from guerdon.worlds.language.histories import Histories
from guerdon.worlds.people import Population
from guerdon.worlds.pool import Pool
from guerdon.worlds.reader import shown

PAPER = paper("personalllm")

ALPHAS = (0.05, 0.1, 1, 10)
SCORERS, RESPONSES = 10, 8


def check(budget: Budget) -> Claim:
    """The four checks of the card, and its headline."""
    return Claim(
        PAPER.slug,
        [
            *diversity(budget),
            standardisation(budget),
            *borrowing(budget),
            hygiene(budget),
            *in_context(budget),
        ],
        left=(
            "tasks A and B with a pretrained language model and the ten published rewards: neither is at hand (guerdon "
            "bench http://HOST/v1#MODEL personalllm-in-context --set scorers=...)",
        ),
    )


def world(seed: int, dim: int = 32, prompts: int = 200) -> tuple[Pool, np.ndarray]:
    """Planted candidates and the scores [c, K] of K random linear scorers of their features."""
    pool = Pool.planted(prompts, RESPONSES, dim, seed=seed)
    directions = np.random.default_rng([seed, 1]).normal(size=(dim, SCORERS)) / np.sqrt(dim)
    return pool, pool.features @ directions


def diversity(budget: Budget) -> list[Row]:
    """Check 1: the smaller alpha, the wider people's choices and the rarer agreement; chance agreement is 1/8."""
    spread: dict[str, list[float]] = {f"alpha={alpha:g}": [] for alpha in ALPHAS}
    agree: dict[str, list[float]] = {name: [] for name in spread}
    for seed in budget.seeds(2):
        pool, scores = world(seed)
        for alpha, name in zip(ALPHAS, spread, strict=True):
            people = Population.simulate("dirichlet", pool, scores, users=300, alpha=alpha, seed=seed)
            choices = people.choices()
            spread[name].append(choice_entropy(choices, pool))
            agree[name].append(agreement(choices, pool))
    names = list(spread)
    falls = [at_least(a, 0.0, over=b, each=True) for a, b in pairwise(names)]
    rises = [at_most(a, 0.0, over=b, each=True) for a, b in pairwise(names)]
    return [
        Row(
            "1a diversity falls with alpha",
            spread,
            [*falls, at_least(names[0], 0.7), at_most(names[-1], 0.35)],
            "normalised choice entropy",
        ),
        Row("1b agreement rises with alpha", agree, [*rises, at_least(names[-1], 0.6)], "pairwise top-1 agreement"),
    ]


def standardisation(budget: Budget) -> Row:
    """Check 2: a scorer 100 times as loud changes nothing; without standardisation it makes the choices.

    The card names no alpha. At alpha = 10 everybody gives every scorer some weight; at alpha = 1 some people give the
    loud one less than a hundredth, and follow others even so.
    """
    change, fair = [], []
    ruled: dict[float, list[float]] = {10: [], 1: []}
    for seed in budget.seeds(2):
        pool, scores = world(seed)
        loud = scores * np.where(np.arange(SCORERS) == 0, 100.0, 1.0)
        favourite = pool.members[np.arange(len(pool.prompts)), scores[pool.members, 0].argmax(1)]
        plain = Population.simulate("dirichlet", pool, scores, users=300, alpha=10, seed=seed)
        after = Population.simulate("dirichlet", pool, loud, users=300, alpha=10, seed=seed)
        change.append(float(np.abs(plain.utilities() - after.utilities()).max()))
        fair.append(float(np.mean(after.choices() == favourite)))
        for alpha, shares in ruled.items():
            raw = Population.simulate("dirichlet", pool, loud, users=300, alpha=alpha, standardize=False, seed=seed)
            shares.append(float(np.mean(raw.choices() == favourite)))
    return Row(
        "2 one scorer x 100",
        {
            "largest change": change,
            "its favourites chosen, raw": ruled[10],
            "the same, alpha=1": ruled[1],
            "its favourites chosen, standardised": fair,
        },
        [at_most("largest change", 1e-6, each=True), at_least("its favourites chosen, raw", 0.9)],
        "change of a utility; shares of choices",
    )


def borrowing(budget: Budget) -> list[Row]:
    """Check 3: 300 people with history, 60 new ones with 8 comparisons each; utility of the pick of 8."""
    rows = []
    for alpha in (0.1, 10):
        figures: dict[str, list[float]] = {k: [] for k in ("others", "own", "population", "oracle")}
        for seed in budget.seeds(2):
            for name, value in personalise(alpha, seed).items():
                figures[name].append(value)
        if alpha < 1:
            bounds = [at_least("others", 0.25, over="own"), at_least("others", 0.2, over="population")]
        else:
            bounds = [within("others", 0.05, of="population")]
        rows.append(Row(f"3 borrowing from others, alpha={alpha:g}", figures, bounds, "normalised utility"))
    return rows


def personalise(alpha: float, seed: int, history: int = 40, votes: int = 8) -> dict[str, float]:
    """Mean normalised utility of the best of 8 under each estimate, over new people and test prompts."""
    pool, scores = world(seed, prompts=300)
    way = Annotator.bradley_terry(4.0)
    everybody = Population.simulate(
        "dirichlet", pool, scores, users=360, alpha=alpha, annotators=way, held_out=1 / 3, seed=seed
    )
    known, new = everybody.take(np.arange(300)), everybody.take(np.arange(300, 360))
    z, person = differences(pool, known.history(count=history))
    theirs = ridge(z, person, len(known))
    population = ridge(z, np.zeros(len(z), dtype=np.int64), 1)
    mine, who = differences(pool, new.history(count=votes))
    own = ridge(mine, who, len(new))
    likelihood = np.zeros((len(new), len(known)))
    np.add.at(likelihood, who, log_expit(mine @ theirs.T))
    others = softmax(likelihood, axis=1) @ theirs
    test = everybody.test
    members = pool.members[test]
    figures = {}
    for name, theta in {"others": others, "own": own, "population": np.tile(population, (len(new), 1))}.items():
        value = (theta @ pool.features[members.ravel()].T).reshape(len(new), *members.shape)
        picks = np.take_along_axis(members[None], value.argmax(2)[:, :, None], 2)[:, :, 0]
        figures[name] = float(outcome(new, picks, test).picked.mean())
    figures["oracle"] = float(outcome(new, new.choices(test), test).best.mean())
    return figures


def differences(pool: Pool, feedback: Feedback) -> tuple[np.ndarray, np.ndarray]:
    """Features of chosen minus rejected [n, d] and the row of the person [n]."""
    pairs = feedback.pairs(ties=False)
    x = pool.encoder().encode(feedback.candidates).astype(np.float64)
    return np.where(pairs.p > 0.5, 1.0, -1.0)[:, None] * (x[pairs.a] - x[pairs.b]), pairs.user


def ridge(z: np.ndarray, person: np.ndarray, people: int, penalty: float = 1.0) -> np.ndarray:
    """Each person's logistic ridge [u, d] on their chosen-minus-rejected features."""
    return solve(z, np.ones(len(z)), person, people, precision=penalty * np.eye(z.shape[1]))[0]


def hygiene(budget: Budget) -> Row:
    """Check 4: exact properties of the protocol; every figure counts violations."""
    figures: dict[str, list[float]] = {
        "test prompts in histories": [],
        "irreproducible": [],
        "earlier people changed": [],
    }
    leaks, unlike, changed = figures.values()
    for seed in budget.seeds(2):
        pool, scores = world(seed)
        few, again, many = (
            Population.simulate("dirichlet:0.1", pool, scores, users=users, held_out=0.1, seed=seed)
            for users in (50, 50, 80)
        )
        first, second, grown = (list(p.history(count=25).judgements()) for p in (few, again, many))
        test = {pool.prompts[i] for i in many.test}
        leaks.append(sum(judgement.prompt in test for judgement in grown))
        unlike.append(sum(a != b for a, b in zip(first, second, strict=True)))
        changed.append(sum(a != b for a, b in zip(first, grown[: len(first)], strict=True)))
        changed[-1] += int((few.weights != many.weights[: len(few)]).sum())
    return Row("4 protocol hygiene", figures, [at_most(name, 0.0, each=True) for name in figures], "violations")


NEIGHBOURS = "hash:512?features=response"
"""What reads choices to find similar ones."""


def in_context(budget: Budget) -> list[Row]:
    """Tasks A and B: a scripted reader that writes or chooses, and a small transformer that writes."""
    found: dict[str, list[dict[str, float]]] = {"writes": [], "chooses": [], "transformer": []}
    attributes: dict[str, Reward] = {a: Function(lambda p, r, a=a: float(a in shown(str(r))), a) for a in TEN}
    world = Histories()
    markers: dict[str, Reward] = {
        name: Function(lambda p, r, i=i: float(world.personas.counts([str(r)])[0, i]), name)
        for i, name in enumerate(world.personas.names)
    }
    for seed in budget.seeds(2):
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            data = written(folder / "attributes.jsonl", rows(240, RESPONSES, seed))
            reader = Scripted(Imitator())
            found["writes"].append(utilities(reader, data, attributes, seed, tests=2))
            found["chooses"].append(utilities(reader, data, attributes, seed, tests=2, reply="choose"))
            data = written(folder / "histories.jsonl", world.rows(240, RESPONSES, seed))
            path = world.language_model(folder / "model", seed, count=4000, epochs=3)
            model = LocalModel(str(path), device="cpu")
            found["transformer"].append(utilities(model, data, markers, seed, tests=2, show="chat", max_tokens=8))
    both = at_least("winners and losers", 0.0, over="winners")
    own = at_least("winners", 0.25, over="nothing")
    borrowed = [at_least("similar interactions", 0.0, over=arm) for arm in ("winners", "anybody's")]
    checks = {
        "A, a scripted reader that writes": ("writes", ("winners and losers", "winners", "nothing"), [own, both]),
        "A, a scripted reader that chooses": ("chooses", ("winners and losers", "winners", "nothing"), [own, both]),
        "A, a small transformer that writes": ("transformer", ("winners", "nothing"), [own]),
        "B, a scripted reader that writes": ("writes", BORROWED, borrowed),
        "B, a small transformer that writes": ("transformer", BORROWED, borrowed),
    }
    return [
        Row(
            f"task {check}",
            {name: [seed[name] for seed in found[who]] for name in (*names, "popular", "oracle")},
            bounds,
            "normalised utility",
        )
        for check, (who, names, bounds) in checks.items()
    ]


BORROWED = ("similar interactions", "similar people", "anybody's", "winners")


def utilities(
    model: LanguageModel, data: Path, scorers: Mapping[str, Reward], seed: int, **settings: Any
) -> dict[str, float]:
    """What each arm of the suite earns, what one choice for all earns, and the best of the data's responses."""
    found = IN_CONTEXT_PEOPLE.measure(
        IN_CONTEXT_PEOPLE, model, data, scorers=scorers, population="dirichlet:0.1", people=300, new=100,
        encoder=NEIGHBOURS, bootstrap=0, seed=seed, **settings,
    )  # fmt: skip
    rivals = {b.name: b.figures["winners"].value for b in found.baselines}
    return {arm: figure.value for arm, figure in found.subsets.items()} | rivals


def written(path: Path, given: list[dict[str, object]]) -> Path:
    """The rows as JSON lines in ``path``."""
    path.write_text("".join(json.dumps(row) + "\n" for row in given), encoding="utf-8")
    return path
