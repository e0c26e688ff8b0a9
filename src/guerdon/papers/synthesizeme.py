"""SynthesizeMe: a persona and demonstrations from a person's own choices, verified by what the person did choose.

The language model is scripted (``worlds/choosers.py``): told nothing it supposes what a person likes, mostly wrongly;
told a persona, or reasons beside earlier choices, it weighs the attributes that they name; asked for a persona it names
what separates the chosen from the other in the choices that it is shown. Forty people like two of six attributes and
dislike one; 14 choices each, 10 % of them noise, and 20 further pairs without noise to be tested on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from guerdon.bench.intervals import ClusterBootstrap
from guerdon.feedback.schema import Judgement
from guerdon.feedback.star import Feedback
from guerdon.papers.frame import Budget, Claim, Row, at_least, at_most
from guerdon.papers.index import paper
from guerdon.reward.personal.in_context import Choice, PersonalPrompt
from guerdon.reward.personal.in_context_judge import PersonalJudge
from guerdon.reward.personal.in_context_learning import PersonaLearner, choices_of
from guerdon.reward.personal.in_context_search import ask
from guerdon.testing.scripted import Scripted
from guerdon.worlds.choosers import Chooser, Empathic

PAPER = paper("synthesizeme")

PEOPLE, CHOICES, TESTS = 40, 14, 20


def check(budget: Budget) -> Claim:
    """Checks 1 and 2 of the card."""
    return Claim(
        PAPER.slug,
        [taste(budget), leakage(budget)],
        left=(
            "check 3 (PRISM, which is not at hand), and a pretrained language model",
            "the persona as the prefix of a trained reward model: it comes with tune/language; a memory as a baseline",
        ),
        note="The language model is scripted; the paper's figures are those of Llama 3 on real people.",
    )


def accuracy(model: Scripted, prompts: Mapping[str, PersonalPrompt], tests: Mapping[str, list[Choice]]) -> np.ndarray:
    """float64 [people] share of the tests answered as the person would, each in both orders; a tie is wrong."""

    def make(shown: Mapping[str, PersonalPrompt]) -> PersonalJudge:
        return PersonalJudge(model, shown, how="json", ties=False)

    answers, _ = ask(make, [(prompts[u], c) for u, mine in tests.items() for c in mine], {})
    right = np.array([a.right is True for a in answers], dtype=float)
    return right.reshape(len(tests), -1).mean(1)


def taste(budget: Budget) -> Row:
    """Check 1: the full method against the judge alone, against unverified reasoning, and against its parts."""
    names = ("full", "nothing shown", "unverified", "random choices", "persona alone", "choices alone")
    gaps = ("full - nothing, low", "full - unverified, low")
    figures: dict[str, list[float]] = {name: [] for name in (*names, *gaps)}
    for seed in budget.seeds(3):
        rng = np.random.default_rng([seed, 3])
        people = [Chooser.drawn(f"person {i}", rng) for i in range(PEOPLE)]
        told = Feedback.of([j for p in people for j in p.judgements(CHOICES, rng)])
        tests = choices_of(Feedback.of([j for p in people for j in p.judgements(TESTS, rng, noise=0.0)]))
        model = Scripted(Empathic(seed=seed))
        learner = PersonaLearner(model)
        learned = learner.learn(told)
        full = learned.people
        unverified = PersonaLearner(model, verify=False).learn(told).people
        shown: dict[str, PersonalPrompt] = {}
        for user, mine in choices_of(told).items():
            known = learner.split(mine)[0]
            drawn = sorted(rng.permutation(len(known))[: learner.most_labelled].tolist())
            shown[user] = PersonalPrompt("", tuple(known[i] for i in drawn))
        found = {
            "full": full,
            "nothing shown": {u: PersonalPrompt() for u in tests},
            "unverified": unverified,
            "random choices": shown,
            "persona alone": {u: PersonalPrompt(p.persona) for u, p in full.items()},
            "choices alone": learned.choices_alone,  # as carefully chosen, before there is a persona
        }
        right = {name: accuracy(model, prompts, tests) for name, prompts in found.items()}
        for name in names:
            figures[name].append(float(right[name].mean()))
        draw = ClusterBootstrap(PEOPLE, seed=seed)
        for name, other in zip(gaps, ("nothing shown", "unverified"), strict=True):
            figures[name].append(draw.difference(np.arange(PEOPLE), right["full"], right[other]).low)
    bounds = [
        at_least("full", 0.12, over="nothing shown"),
        at_least("full", 0.04, over="unverified"),
        *(at_least(name, 0.0, each=True) for name in gaps),
    ]
    note = (
        "a tie counts as wrong, and with nothing shown half of the verdicts are none; the reader heeds personas and "
        "written reasons only, so choices as they are cannot help it"
    )
    return Row("1 finds the taste", figures, bounds, "accuracy; low ends of paired intervals over people", note=note)


def leakage(budget: Budget) -> Row:
    """Check 2: people whose taste turns round for what is held out; what is held out is never shown."""
    figures: dict[str, list[float]] = {
        "held out": [],
        "learned from": [],
        "held out, steady": [],
        "shown of held out": [],
    }
    for seed in budget.seeds(3):
        rng = np.random.default_rng([seed, 4])
        learner = PersonaLearner(Scripted(Empathic(seed=seed)))
        known = len(learner.split([Choice("r", "a", "b")] * CHOICES)[0])
        steady, turned = [], []
        for i in range(PEOPLE):
            person = Chooser.drawn(f"person {i}", rng, noise=0.0)
            other = Chooser(person.name, {a: -w for a, w in person.taste.items()}, 0.0)
            early, late = person.judgements(known, rng), person.judgements(CHOICES - known, rng)
            flipped = other.judgements(CHOICES - known, rng)
            steady += [*early, *_later(late, known)]
            turned += [*early, *_later(flipped, known)]
        for name, rows in (("held out", turned), ("held out, steady", steady)):
            told = Feedback.of(rows)
            found = learner.learn(told).people
            figures[name].append(float(np.mean([p.report["accuracy"] for p in found.values()])))
            if name == "held out":
                parts = {u: learner.split(mine) for u, mine in choices_of(told).items()}
                model = Scripted(Empathic(seed=seed))
                figures["learned from"].append(
                    float(accuracy(model, found, {u: part[0] for u, part in parts.items()}).mean())
                )
                late_ones = {(u, c.request) for u, part in parts.items() for c in part[1]}
                leaks = [(u, c.request) in late_ones for u, p in found.items() for c in p.choices]
                figures["shown of held out"].append(float(np.mean(leaks)) if leaks else 0.0)
    bounds = [
        at_most("held out", -0.1, over="learned from"),
        at_most("held out", -0.1, over="held out, steady"),
        at_most("shown of held out", 0.0, each=True),
    ]
    note = (
        "the best of a dozen candidates on four choices is right more often than it deserves, so it does not fall to 0"
    )
    return Row("2 no leakage: tastes that turn round", figures, bounds, "accuracy; share", note=note)


def _later(judgements: list[Judgement], by: int) -> list[Judgement]:
    return [replace(j, time=(j.time or 0.0) + by) for j in judgements]
