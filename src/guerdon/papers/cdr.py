"""CDR: the log-density ratio of a better-aligned over a less-aligned language model is a reward without training.

Check 1 is the card's world of Markov chains: the strong chain is the base tilted by quality plus noise, both known up
to an estimation error; ``LogRatio`` scores samples of the base. Checks 2 and 3 use small language models trained from
scratch (``worlds/language/personas.py``) and copies of them aligned by direct preference optimisation
(``AutoregressiveReward`` with its reference). For check 3 the copy is aligned under two tags, each wanting other
markers; ``density_ratio`` puts a domain's criteria before the prompt of both models, chosen by a router that asks the
weak model. Check 4 compares the response's span with plain passes over whole texts under three chat templates.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from guerdon.feedback.messages import Message, Text
from guerdon.feedback.schema import Candidates, Judgement
from guerdon.feedback.star import Feedback
from guerdon.generate.base import LanguageModel, Likelihoods
from guerdon.generate.local import LocalModel
from guerdon.papers.frame import Budget, Claim, Row, at_least, at_most
from guerdon.papers.index import paper
from guerdon.reward.base import Reward
from guerdon.reward.implicit.autoregressive import AutoregressiveReward
from guerdon.reward.implicit.domains import Domain, LanguageRouter, density_ratio
from guerdon.reward.implicit.log_ratio import LogRatio
from guerdon.worlds.language.model import Dialogue, language_model
from guerdon.worlds.language.personas import Personas

PAPER = paper("cdr")

TAUS = (0.0, 0.1, 0.3, 1.0)
QUALITY = np.array([1, 1, 0, 0, -1, 0])
"""What a marker of each persona is worth: A and B good, E bad."""
TAGS = {"safety": 0, "brevity": 1}
"""Domains, and the persona whose markers each of them wants."""
TEMPLATES = (
    "{% for m in messages %}{{ '<' + m['role'] + '> ' + m['content'] + ' <end> ' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<assistant> ' }}{% endif %}",
    "{% for m in messages %}{{ m['role'] + ' <user> ' + m['content'] + ' <end> <end> ' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant <user> ' }}{% endif %}",
    "{{ '<end> ' }}{% for m in messages %}{{ m['content'] + ' <assistant> ' }}{% endfor %}",
)


def check(budget: Budget) -> Claim:
    """All four checks of the card."""
    rows = [markov(budget)]
    figures: list[dict[str, float]] = []
    for seed in budget.seeds(2):
        with tempfile.TemporaryDirectory() as folder:
            figures.append(networks(seed, Path(folder)))
    found = {name: [f[name] for f in figures] for name in figures[0]}

    def row(check: str, names: Sequence[str], bounds: list, unit: str) -> Row:  # type: ignore[type-arg]
        return Row(check, {n: found[n] for n in names}, bounds, unit)

    rows.append(
        row(
            "2 an aligned network over its start",
            ("accuracy", "Spearman", "strong likelihood alone", "distance from plain passes"),
            [at_least("accuracy", 0.85), at_least("Spearman", 0.7), at_most("distance from plain passes", 1e-4)],
            "accuracy on fresh pairs",
        )
    )
    rows.append(
        row(
            "3 criteria of the domain",
            ("right tag", "no tag", "wrong tag", "routed", "router"),
            [at_least("right tag", 0.10, over="no tag"), at_most("wrong tag", 0.0, over="no tag")],
            "accuracy",
        )
    )
    rows.append(row("4 the response's span", ("distance",), [at_most("distance", 1e-5)], "nats, worst of 3 templates"))
    left = ("check 2 compares with plain passes of transformers, not with a run of TRL's trainer",)
    return Claim(PAPER.slug, rows, left=left)


# ---------------------------------------------------------------------------------------------------- Markov chains


class Chain(LanguageModel):
    """A Markov chain over words 0..V-1; a text is words between spaces, its prompt the word before it."""

    def __init__(self, name: str, logprob: np.ndarray) -> None:
        self.name, self.logprob = name, logprob

    def loglikelihood(
        self, prompts: Sequence[Text], responses: Sequence[str], *, end: bool = False, role: str = "assistant"
    ) -> Likelihoods:
        """Sums of the table's entries along each text."""
        tokens: list[np.ndarray | None] = []
        for prompt, response in zip(prompts, responses, strict=True):
            words = np.array([int(str(prompt)), *map(int, response.split())])
            tokens.append(self.logprob[words[:-1], words[1:]])
        n = len(tokens)
        total = np.array([0.0 if t is None else t.sum() for t in tokens])
        return Likelihoods(total, tokens, ["scored"] * n, [None] * n)


def normalized(logits: np.ndarray) -> np.ndarray:
    """Rows as log-probabilities."""
    return logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)


def markov(budget: Budget, size: int = 40, length: int = 20, pairs: int = 2000) -> Row:
    """Check 1: the ratio finds the quality, more so the larger the gap, and better than likelihood alone."""
    figures: dict[str, list[float]] = {}
    for seed in budget.seeds(5):
        rng = np.random.default_rng([seed, 93])
        base = normalized(rng.normal(size=(size, size)))
        quality, noise = rng.normal(size=(2, size, size))
        texts = np.empty((2 * pairs, length + 1), dtype=int)
        texts[:, 0] = np.repeat(rng.integers(size, size=pairs), 2)
        cumulative = np.exp(base).cumsum(1)
        for t in range(length):
            draw = rng.random(2 * pairs)[:, None]
            texts[:, t + 1] = np.minimum((cumulative[texts[:, t]] < draw).sum(1), size - 1)
        true = quality[texts[:, :-1], texts[:, 1:]].sum(1)
        candidates = Candidates(
            [str(row[0]) for row in texts], [" ".join(map(str, row[1:])) for row in texts]
        )  # fmt: skip
        weak = Chain("weak", normalized(base + 0.15 * rng.normal(size=base.shape)))
        for tau in TAUS:
            tilted = base + tau * (quality + noise)
            strong = Chain("strong", normalized(tilted + 0.15 * rng.normal(size=base.shape)))
            ratio = LogRatio(strong, weak).score(candidates).value
            alone = strong.loglikelihood(candidates.prompts, [str(r) for r in candidates.responses]).total
            figures.setdefault(f"ratio, tau {tau:g}", []).append(right(ratio, true))
            figures.setdefault(f"likelihood, tau {tau:g}", []).append(right(alone, true))
    bounds = [
        at_least("ratio, tau 0.1", 0.03, over="ratio, tau 0"),
        at_least("ratio, tau 0.3", 0.03, over="ratio, tau 0.1"),
        at_least("ratio, tau 0.1", 0.05, over="likelihood, tau 0.1"),
        at_least("ratio, tau 0.3", 0.05, over="likelihood, tau 0.3"),
        at_most("ratio, tau 0", 0.53),
        at_least("ratio, tau 0", 0.47),
    ]
    return Row("1 the ratio recovers the hidden reward", figures, bounds, "accuracy")


def right(score: np.ndarray, true: np.ndarray) -> float:
    """Accuracy on pairs that stand one after the other; a tie of scores is half, one of the truth does not count."""
    a, b = score.reshape(-1, 2).T
    better = np.sign(np.subtract(*true.reshape(-1, 2).T))
    agrees = np.where(a == b, 0.5, np.sign(a - b) == better)
    return float(agrees[better != 0].mean())


# --------------------------------------------------------------------------------------------------------- networks


class World:
    """A language model, draws of it, and copies that are aligned with what draws are worth."""

    def __init__(self, seed: int, folder: Path) -> None:
        self.seed, self.folder, self.world = seed, folder, Personas()
        rng = np.random.default_rng([seed, 930])
        routing: list[Dialogue] = []
        for _ in range(600):
            topic = int(rng.integers(self.world.topics))
            routing.append([("user", f"which about topic{topic}"), ("assistant", self.domain(topic))])
        for i in range(1500):  # the tags are known as system prompts, and seldom followed
            topic, tag = int(rng.integers(self.world.topics)), list(TAGS)[i % 2]
            writer = TAGS[tag] if rng.random() < 0.3 else None
            said = self.world.response(topic, writer, rng)
            routing.append([("system", tag), ("user", f"about topic{topic}"), ("assistant", said)])
        dialogues = [*self.world.dialogues(4500, seed, obey=0.3), *routing]
        self.path = language_model(
            folder / "start", dialogues, [*self.world.words, *TAGS],
            seed=seed, width=64, epochs=3, batch=32, learning_rate=2e-3, length=64,
        )  # fmt: skip
        self.start = LocalModel(str(self.path), device="cpu")

    def domain(self, topic: int) -> str:
        """The domain of a topic: the first half of them is one."""
        return list(TAGS)[int(topic >= self.world.topics // 2)]

    def draws(self, topics: np.ndarray, seed: int) -> list[str]:
        """Two draws of the start for each topic's prompt, one after the other; all of them are different draws."""
        texts = [""] * (2 * len(topics))
        for topic in np.unique(topics):
            rows = np.flatnonzero(np.repeat(topics, 2) == topic)
            drawn = self.start.generate([self.world.prompt(int(topic))], n=len(rows), max_tokens=14, seed=seed)
            for row, text in zip(rows, drawn.text, strict=True):
                texts[row] = text or ""
        return texts

    def aligned(
        self, prompts: Sequence[list[Message]], texts: Sequence[str], true: np.ndarray, name: str
    ) -> LocalModel:
        """The start tuned for 200 steps on draws, labelled by ``true``; opened from its folder."""
        rows = [
            Judgement(p, (texts[2 * i], texts[2 * i + 1]), tuple(true[2 * i : 2 * i + 2].astype(float).tolist()))
            for i, p in enumerate(prompts)
            if true[2 * i] != true[2 * i + 1]
        ]
        fitted = AutoregressiveReward(
            backbone=str(self.path), reference="start", beta=0.1, learning_rate=1e-3, keep="last", batch=32,
            epochs=200 * 32 / len(rows), seed=self.seed, device="cpu",
        ).fit(Feedback.of(rows))  # fmt: skip
        fitted.save(self.folder / name)
        return LocalModel(str(self.folder / name), device="cpu")


def networks(seed: int, folder: Path, count: int = 1500, tests: int = 300) -> dict[str, float]:
    """Figures of checks 2 to 4 on one language model."""
    w = World(seed, folder)
    rng = np.random.default_rng([seed, 931])
    topics = rng.integers(w.world.topics, size=count + tests)
    prompts = [w.world.prompt(int(t)) for t in topics]
    texts = w.draws(topics, seed)
    counts = w.world.counts(texts)
    fresh = Candidates([p for p in prompts[count:] for _ in range(2)], texts[2 * count :])
    worth = counts @ QUALITY
    strong = w.aligned(prompts[:count], texts[: 2 * count], worth[: 2 * count], "aligned")
    ratio = LogRatio(strong, w.start, length="sum").score(fresh).value
    alone = strong.loglikelihood(fresh.prompts, [str(r) for r in fresh.responses]).total
    few = list(zip(fresh.prompts[:20], texts[2 * count :][:20], strict=True))
    plain = [whole(strong, p, r) - whole(w.start, p, r) for p, r in few]
    found = {
        "accuracy": right(ratio, worth[2 * count :]),
        "Spearman": float(spearmanr(ratio, worth[2 * count :]).statistic),  # type: ignore[attr-defined]
        "strong likelihood alone": right(alone, worth[2 * count :]),
        "distance from plain passes": float(np.abs(ratio[:20] - plain).max()),
        "distance": span(w),
    }
    return found | customized(w, topics, prompts, texts, counts, count)


def customized(
    w: World, topics: np.ndarray, prompts: list[list[Message]], texts: list[str], counts: np.ndarray, count: int
) -> dict[str, float]:
    """Check 3: a copy aligned under two tags, asked with the right tag, none, the wrong one, and with a router."""
    tags = list(TAGS)
    labelled, tagged, shown = [], [], []
    for i in range(count):
        tag = tags[i % 2]
        tagged.append([{"role": "system", "content": tag}, *prompts[i]])
        shown += texts[2 * i : 2 * i + 2]
        labelled.append(counts[2 * i : 2 * i + 2, TAGS[tag]])
    strong = w.aligned(tagged, shown, np.concatenate(labelled), "customized")
    fresh = Candidates([p for p in prompts[count:] for _ in range(2)], texts[2 * count :])
    mine = [w.domain(int(t)) for t in np.repeat(topics[count:], 2)]
    true = counts[2 * count :][np.arange(len(mine)), [TAGS[d] for d in mine]]
    domains = [Domain(tag, tag, tag, tag) for tag in tags]
    router = LanguageRouter(w.start, domains, template="which {prompt}")
    other = {tags[0]: tags[1], tags[1]: tags[0]}

    def by(pick: dict[str, str]) -> Reward:
        return density_ratio(strong, w.start, domains=domains, router=lambda _: [pick[d] for d in mine])

    same = {tag: tag for tag in tags}
    rewards = {
        "right tag": by(same),
        "no tag": density_ratio(strong, w.start, customize="none"),
        "wrong tag": by(other),
        "routed": density_ratio(strong, w.start, domains=domains, router=router),
    }
    found = {name: right(r.score(fresh).value, true) for name, r in rewards.items()}
    found["router"] = float(np.mean([a == b for a, b in zip(router(fresh), mine, strict=True)]))
    return found


def whole(model: LocalModel, prompt: Text, response: str) -> float:
    """log p(text) - log p(its prompt) by plain passes over both."""
    import torch

    def total(text: str) -> float:
        ids = model.tokenizer(text, add_special_tokens=False)["input_ids"]
        with torch.no_grad():
            logprob = model.model(torch.tensor([ids])).logits[0].double().log_softmax(-1)
        return float(sum(logprob[i - 1, ids[i]] for i in range(1, len(ids))))

    before = model.prompt_text(prompt)
    return total(before + response) - total(before)


def span(w: World) -> float:
    """Check 4: largest distance of a response's log-likelihood from plain passes, under three chat templates."""
    rng = np.random.default_rng([w.seed, 934])
    vocabulary, worst = np.array(w.world.words), 0.0
    kept = w.start.tokenizer.chat_template
    for template in TEMPLATES:
        w.start.tokenizer.chat_template = template
        prompts: list[Text] = [" ".join(rng.choice(vocabulary, int(rng.integers(1, 9)))) for _ in range(10)]
        responses = [" ".join(rng.choice(vocabulary, int(rng.integers(1, 13)))) for _ in prompts]
        found = w.start.loglikelihood(prompts, responses)
        plain = np.array([whole(w.start, p, r) for p, r in zip(prompts, responses, strict=True)])
        worst = max(worst, float(np.abs(found.total - plain).max()))
    w.start.tokenizer.chat_template = kept
    return worst
