"""What good means depends on the kind of task: a reward for each domain, and a router that says which one a prompt is.

A :class:`Domain` has criteria (what a model reads before the prompt), exemplars, and the yes/no question of self-
preference. :class:`LanguageRouter` asks a language model which domain a prompt belongs to, by the probabilities of
the domains' names, without training; the column ``criterion`` may say it instead.

    density_ratio     log pi_strong(y | criteria, exemplars, x) - log pi_weak(y | ...)    of the prompt's domain
    self_preference   log-odds of yes to the domain's question, by the model's own probabilities

References: Xu et al. 2024 (CDR), https://arxiv.org/abs/2411.02481; Garg et al. 2025 (implicit preference
optimisation; not the loss of the same name), https://arxiv.org/abs/2502.16182
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from guerdon.errors import ConfigError
from guerdon.feedback.messages import Text, as_text
from guerdon.feedback.schema import Candidates
from guerdon.generate.base import LanguageModel
from guerdon.reward.base import Reward, Scores
from guerdon.reward.implicit.context import Exemplar
from guerdon.reward.implicit.log_ratio import LogRatio
from guerdon.reward.implicit.yes_no import YesNo

log = logging.getLogger(__name__)

SURE, LITTLE = 0.95, 0.1


@dataclass(frozen=True)
class Domain:
    """A kind of task. ``about`` is what the router reads of it; the first word of ``name`` is its answer."""

    name: str
    about: str
    criteria: str
    question: str
    exemplars: tuple[Exemplar, ...] = ()


DOMAINS = (
    Domain(
        "chat",
        "general questions, advice, writing, conversation",
        "You are a helpful assistant. Good responses follow the instruction, are helpful, factual, relevant and clear.",
        "Is this response helpful, factual, logical and relevant to what the user asked?",
    ),
    Domain(
        "code",
        "writing, explaining or repairing computer programs",
        "You are an expert programmer. Good responses contain correct and complete code that does what was asked.",
        "Is the code in this response correct, and does it do what the user asked?",
    ),
    Domain(
        "math",
        "calculations, proofs, mathematical or logical problems",
        "You are an expert mathematician. Good responses reason soundly step by step and reach the right result.",
        "Is the solution in this response right, and is its reasoning sound?",
    ),
    Domain(
        "safety",
        "requests that may be harmful, illegal, hateful or private",
        "You are a responsible assistant. Good responses refuse what would do harm, politely and with a reason, and "
        "help with what is harmless.",
        "Is this response safe and appropriate, refusing what would do harm and only that?",
    ),
)
"""The built-in domains."""


Router = Callable[[Candidates], Sequence[str | None]]
"""Says which domain each of n candidates belongs to, by its prompt: [n] names, None where it cannot say."""


class LanguageRouter:
    """Asks a language model; ``template`` has {prompt}, {domains} and {names}. Each prompt is asked about once."""

    TEMPLATE = (
        "Which kind of request is this?\n{domains}\n\nRequest: {prompt}\n\nAnswer with one word: {names}.\n"
    )  # fmt: skip

    def __init__(
        self, model: LanguageModel, domains: Sequence[Domain] = DOMAINS, *, template: str = TEMPLATE, most: int = 2000
    ) -> None:
        self.model, self.domains, self.template, self.most = model, tuple(domains), template, most

    def ask(self, prompt: Text) -> str:
        """What the model reads; of a long prompt its beginning."""
        about = "\n".join(f"{d.name}: {d.about}" for d in self.domains)
        names = ", ".join(d.name for d in self.domains)
        return self.template.format(prompt=as_text(prompt)[: self.most], domains=about, names=names)

    def __call__(self, candidates: Candidates) -> list[str | None]:
        asked = [self.ask(p) for p in candidates.prompts]
        different = list(dict.fromkeys(asked))
        found = self.model.label_probabilities(different, [d.name for d in self.domains])
        names: dict[str, str | None] = {}
        for text, row, mass in zip(different, found.value, found.mass, strict=True):
            names[text] = self.domains[int(np.nanargmax(row))].name if mass > 0 else None
        return [names[text] for text in asked]


def by_criterion(candidates: Candidates) -> list[str | None]:
    """The router that reads the column ``criterion``."""
    return [None] * len(candidates) if candidates.criterion is None else list(candidates.criterion)


class ByDomain(Reward):
    """Scores each candidate with the reward of its domain.

    Parameters
    ----------
    rewards : reward of each domain, by its name
    router : says which domain a candidate belongs to
    fallback : domain where the router cannot say; None leaves such candidates unscored
    """

    reads = ("criterion",)

    def __init__(
        self, rewards: Mapping[str, Reward], router: Router, *, fallback: str | None = None, name: str = "by-domain"
    ) -> None:
        if not rewards:
            raise ConfigError("rewards: give the reward of at least one domain")
        if fallback is not None and fallback not in rewards:
            raise ConfigError(f"fallback={fallback!r}: use one of {', '.join(rewards)}")
        self.rewards, self.router, self.fallback, self.name = dict(rewards), router, fallback, name

    def score(self, candidates: Candidates) -> Scores:
        """``detail``: domain, and what the domains' rewards have in common."""
        n = len(candidates)
        names = [d if d in self.rewards else self.fallback for d in self.router(candidates)]
        value, status = np.full(n, np.nan), ["abstained"] * n
        reason: list[str | None] = ["no domain of this reward fits the prompt"] * n
        detail: dict[str, Any] = {"domain": list(names)}
        for name, reward in self.rewards.items():
            rows = np.flatnonzero([d == name for d in names])
            if not len(rows):
                continue
            found = reward.score(candidates.take(rows))
            value[rows] = found.value
            for at, row in enumerate(rows):
                status[row], reason[row] = found.status[at], found.reason[at]
                for key, column in found.detail.items():
                    detail.setdefault(key, [None] * n)[row] = column[at]
        return Scores(value, status, reason, detail=detail)


def density_ratio(
    strong: LanguageModel,
    weak: LanguageModel,
    *,
    domains: Sequence[Domain] = DOMAINS,
    router: Router | None = None,
    customize: str = "both",
    length: str = "mean",
    fallback: str | None = None,
) -> Reward:
    """log pi_strong - log pi_weak, both after the criteria and exemplars of the prompt's domain.

    router     None asks ``strong``
    customize  both models read the criteria, ``strong`` alone, or none of them (then no router is needed)
    fallback   domain where the router cannot say; None takes the first

    Raises :class:`~guerdon.errors.ConfigError` if the two models are one, whose ratio is 0 everywhere.
    """
    if customize not in ("both", "strong", "none"):
        raise ConfigError(f"customize={customize!r}: use both, strong or none")
    if strong.identity == weak.identity and customize != "strong":
        raise ConfigError(f"strong and weak are both {strong.name}: the ratio of a model to itself says nothing")
    if customize == "none":
        return LogRatio(strong, weak, length=length, name="density-ratio")
    both = customize == "both"
    rewards = {
        d.name: LogRatio(
            strong,
            weak,
            system=d.criteria,
            exemplars=d.exemplars,
            weak_system=d.criteria if both else None,
            weak_exemplars=d.exemplars if both else (),
            length=length,
        )
        for d in domains
    }
    router = router or LanguageRouter(strong, domains)
    return ByDomain(rewards, router, fallback=fallback or domains[0].name, name="density-ratio")


def self_preference(
    model: LanguageModel,
    *,
    domains: Sequence[Domain] = DOMAINS,
    router: Router | None = None,
    scale: str = "log-odds",
    about: str = "both",
    labels: tuple[str, str] = ("yes", "no"),
    fallback: str | None = None,
) -> ByDomain:
    """A language model's own P(yes, this is good), by the question of the prompt's domain.

    router    None asks ``model`` itself
    fallback  domain where the router cannot say; None takes the first
    """
    rewards = {d.name: YesNo(model, d.question, scale=scale, about=about, labels=labels) for d in domains}
    router = router or LanguageRouter(model, domains)
    return SelfPreference(rewards, router, fallback=fallback or domains[0].name, name="self-preference")


class SelfPreference(ByDomain):
    """Answers of a model about responses; says in the log where they carry no contrast."""

    def score(self, candidates: Candidates) -> Scores:
        """``detail``: domain, probability and mass of each candidate."""
        scores = super().score(candidates)
        known = scores.scored
        if known.any():
            mass = np.array(scores.detail["mass"], dtype=float)[known]
            chance = np.array(scores.detail["probability"], dtype=float)[known]
            if mass.mean() < LITTLE:
                log.warning("%s: yes and no hold %.2f of the probability: no instruct model, or another template",
                            self.name, float(mass.mean()))  # fmt: skip
            if len(chance) > 1 and chance.min() > SURE:
                log.warning("%s: P(yes) is above %.2f everywhere: the model says yes to all; compare log-odds, or ask "
                            "whether the response is flawed", self.name, SURE)  # fmt: skip
        return scores
