"""Persona-judge: two personas of one model draft and judge in turns, so that a text carries the wishes of both.

Exactness is measured on small tables of probabilities, the rest in the language of personas
(``worlds/language/personas.py``): persona A drafts and D judges, and the other way round.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import torch
from scipy.stats import chi2_contingency

from guerdon.generate.base import LanguageModel, Sampling
from guerdon.generate.continuations import Continuations
from guerdon.generate.local import LocalModel
from guerdon.papers.frame import Budget, Claim, Row, at_least, at_most
from guerdon.papers.index import paper
from guerdon.steer.alternating_voices import AlternatingVoices, accept
from guerdon.steer.logit_arithmetic import Guided, Term, Voice
from guerdon.worlds.language.personas import Personas

PAPER = paper("persona-judge")

WORLD = Personas()
A, D = 0, 3
DRAWS, TOKENS, TEXTS, LENGTH = 200_000, 8, 160, 12
GAMMAS = (1, 2, 4, 8)


def check(budget: Budget) -> Claim:
    """All three checks of the card."""
    with tempfile.TemporaryDirectory(prefix="guerdon-voices-") as folder:
        models = [
            LocalModel(str(WORLD.language_model(Path(folder) / str(seed), seed)), device="cpu")
            for seed in budget.seeds(3)
        ]
        return Claim(
            PAPER.slug, [exactness(budget), heard(models), cached(models), lengths(models)],
            note="models of 8B parameters, and reward models as judges of what they write, are not at hand",
        )  # fmt: skip


def exactness(budget: Budget) -> Row:
    """Check 1: without a change of roles the text is the judge's, and drafts are accepted as often as the two agree."""
    figures: dict[str, list[float]] = {"exact rule": [], "the authors' residual": [], "acceptance less 1 - TV": []}
    for seed in budget.seeds(3):
        rng = np.random.default_rng([seed, 65])
        q, p = rng.dirichlet(np.ones(TOKENS), 2)
        for name, official in (("exact rule", False), ("the authors' residual", True)):
            drafts, numbers = rng.choice(TOKENS, DRAWS, p=q), rng.random((DRAWS, 2))
            count, kept = np.zeros(TOKENS), 0
            for token, (chance, last) in zip(drafts.tolist(), numbers, strict=True):
                # rounding noise of the sum, which the authors' test reads, differs from step to step
                noisy = q * (1 + 1e-6 * (last - 0.5))
                passed, other = accept(
                    [token], noisy[None], np.stack([p, p]), np.array([chance]), last, official_residual=official
                )
                count[token if passed else other] += 1
                kept += passed
            figures[name].append(0.5 * float(np.abs(count / DRAWS - p).sum()))
            if not official:
                figures["acceptance less 1 - TV"].append(abs(kept / DRAWS - float(np.minimum(p, q).sum())))
    return Row(
        "1 the rule is exact",
        figures,
        [
            at_most("exact rule", 0.01),
            at_least("the authors' residual", 0.05),
            at_most("acceptance less 1 - TV", 0.01),
        ],
        "total variation to the judge",
        note=f"{DRAWS:,} draws of {TOKENS} tokens",
    )


def counts(model: LanguageModel, seed: int, persona: int | None = None) -> np.ndarray:
    """(words of A, words of D) a text, mean."""
    prompts = [WORLD.prompt(t, persona) for t in range(WORLD.topics)]
    texts = model.generate(prompts, TEXTS // WORLD.topics, max_tokens=LENGTH, seed=seed).text
    return WORLD.counts([str(t) for t in texts])[:, [A, D]].mean(0)


def heard(models: list[LocalModel]) -> Row:
    """Check 2: words of both personas, beside the sum of their log-probabilities halved."""
    seen: dict[str, list[np.ndarray]] = {}
    for seed, model in enumerate(models):
        a, d = Voice(model, WORLD.system(A)), Voice(model, WORLD.system(D))
        mean = Guided(model, [Term(0.5, a, "base"), Term(0.5, d, "base")])
        for name, found in (
            ("in turns", counts(AlternatingVoices([a, d]), seed)),
            ("mean of the log-probabilities", counts(mean, seed)),
            ("D always judges", counts(AlternatingVoices([a, d], swap=False), seed)),
            ("A alone", counts(model, seed, A)),
            ("D alone", counts(model, seed, D)),
        ):
            seen.setdefault(name, []).append(found)
    figures = {
        f"{name}: {who}": [float(v[i]) for v in values] for name, values in seen.items() for i, who in enumerate("AD")
    }
    figures["in turns: both"] = [float(v.sum()) for v in seen["in turns"]]
    figures["twice the mean of the log-probabilities: both"] = [
        2 * float(v.sum()) for v in seen["mean of the log-probabilities"]
    ]
    return Row(
        "2 both personas show",
        figures,
        [
            at_least("in turns: A", 1.5),
            at_least("in turns: D", 1.5),
            at_least("in turns: both", 0.0, over="twice the mean of the log-probabilities: both"),
        ],
        "marked words a text",
    )


class Uncached(Continuations):
    """Reads every text anew."""

    def logits(self, written, last=1):  # type: ignore[no-untyped-def]
        self._cache = None
        return super().logits(written, last)


def cached(models: list[LocalModel]) -> Row:
    """Check 3: what is kept of a text changes nothing, taken back or not."""
    change, tokens = [], []
    for seed, model in enumerate(models):
        rng = np.random.default_rng([seed, 650])
        prompt = Voice(model, WORLD.system(A)).tokens([WORLD.prompt(0)])
        kept, anew = Continuations(model, prompt), Uncached(model, prompt)
        text = torch.from_numpy(rng.integers(6, 60, (1, 24)))
        largest = 0.0
        for _ in range(50):
            size, last = int(rng.integers(1, 25)), int(rng.integers(1, 6))
            if rng.random() < 0.3:  # a draft is refused
                text[0, int(rng.integers(0, 24))] = int(rng.integers(6, 60))
            last = min(last, size)
            one, other = kept.logits(text[:, :size], last), anew.logits(text[:, :size], last)
            largest = max(largest, float((one - other).abs().max()))
        change.append(largest)
        tokens.append(kept.computed / anew.computed)
    return Row(
        "3 caches",
        {"largest change of a logit": change, "tokens read, of reading anew": tokens},
        [at_most("largest change of a logit", 1e-4, each=True), at_most("tokens read, of reading anew", 0.5)],
    )


def lengths(models: list[LocalModel]) -> Row:
    """Check 3: the length of a draft changes no distribution."""
    values = []
    for seed, model in enumerate(models):
        a, d = Voice(model, WORLD.system(A)), Voice(model, WORLD.system(D))
        table = []
        for gamma in GAMMAS:
            voices = AlternatingVoices([a, d], gamma=gamma, swap=False)
            texts = voices.generate(
                [WORLD.prompt(0)], TEXTS, sampling=Sampling(max_tokens=LENGTH, seed=1000 * gamma + seed)
            )
            found = WORLD.counts([str(t) for t in texts.text]).sum(0)
            words = sum(len(str(t).split()) for t in texts.text)
            table.append([*found[[A, D]], found.sum() - found[[A, D]].sum(), words - found.sum()])
        table = np.array(table)
        _, p, _, _ = chi2_contingency(table[:, table.sum(0) > 0])
        values.append(float(p))  # type: ignore[arg-type]
    return Row(
        "3 the length of a draft",
        {"p-value of equal distributions": values},
        [at_least("p-value of equal distributions", 0.01, each=True)],
        note=f"chi-square over drafts of {', '.join(map(str, GAMMAS))} tokens: words of A, of D, of others, unmarked",
    )
