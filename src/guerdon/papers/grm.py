"""GRM: a text loss on the hidden states that a reward is read from, so that training the reward does not spoil them.

A two-layer transformer is trained from scratch on a small language of eight topics (``worlds/topics.py``), then fitted
to 400 comparisons on three of them with a quarter of the verdicts wrong. Every reward has the card's two-layer value
head and the same steps; they differ in the text loss alone, or train the head alone (frozen), or keep the state of the
lowest held-out loss (early stopped). Unseen topics are four that no comparison was about.
"""

from __future__ import annotations

import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from guerdon.encode.prefix import base_of
from guerdon.feedback.schema import Candidates
from guerdon.papers.frame import Budget, Claim, Row, at_least, at_most
from guerdon.papers.index import paper
from guerdon.reward.learned.backbone import BackboneReward
from guerdon.reward.learned.readout import LastToken
from guerdon.reward.learned.regularizers import LanguageRegularizer, TextLoss, loglikelihood
from guerdon.worlds.topics import Topics

PAPER = paper("grm")

LANGUAGE = Topics()
SEEN, UNSEEN = [0, 1, 2], [4, 5, 6, 7]
PAIRS, NOISE, N = 400, 0.25, 64
MODELS: dict[str, dict[str, Any]] = {
    "GRM-SFT 0.1": {"regularizer": "sft", "regularizer_weight": 0.1},
    "Bradley-Terry": {},
    "GRM-SFT 0.01": {"regularizer": "sft", "regularizer_weight": 0.01},
    "GRM-DPO 0.1": {"regularizer": "dpo", "regularizer_weight": 0.1},
    "GRM-DPO with reference 0.1": {"regularizer": "dpo-reference", "regularizer_weight": 0.1},
    "Bradley-Terry, early stopped": {"keep": "best"},
    "frozen": {"tuning": "head", "start": "probe"},
}


def check(budget: Budget) -> Claim:
    """Checks 1 to 4 of the card."""
    seen = [run(seed) for seed in budget.seeds(8)]
    return Claim(
        PAPER.slug,
        [preserved(seen), unseen(seen), familiar(seen), reduction(budget), best_of_n(seen)],
        note="the frozen backbone is a baseline the paper finds weakest; on a language this small its states suffice",
    )


def settings(**changes: Any) -> dict[str, Any]:
    """One recipe for all: full tuning, the last state kept."""
    return {
        "tuning": "full",
        "start": "zero",
        "value_head": "mlp",
        "learning_rate": 1e-3,
        "head_learning_rate": 1e-3,
        "epochs": 8,
        "batch": 32,
        "gradient_clip": 5.0,
        "keep": "last",
        "device": "cpu",
        **changes,
    }


@lru_cache(maxsize=8)
def run(seed: int) -> dict[str, dict[str, float]]:
    """Figures of every model of one seed: nats a text, accuracies, gold of the best of 64."""
    out: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory(prefix="guerdon-grm-") as folder:
        causal = LANGUAGE.language_model(Path(folder), seed)
        train = LANGUAGE.comparisons(PAIRS, SEEN, seed, noise=NOISE)
        tests = {name: LANGUAGE.comparisons(600, topics, seed + 1000) for name, topics in TESTS.items()}
        texts = LANGUAGE.texts(300, SEEN, seed + 2000)
        choices = LANGUAGE.texts(100 * N, UNSEEN, seed + 3000)
        gold = np.array([odds for _, _, odds in choices]).reshape(-1, N)
        for name, changes in MODELS.items():
            model = BackboneReward(backbone=folder, seed=seed, **settings(**changes)).fit(train)
            figures = {}
            for test, feedback in tests.items():
                pairs, value = feedback.pairs(), model.score(feedback.candidates).value
                figures[test] = float(np.mean((value[pairs.a] > value[pairs.b]) == (pairs.p > 0.5)))
            # a reward trained without a text loss kept no such head; it is read with the one from before
            head = model.lm_head or causal.get_output_embeddings()
            figures["nats"] = nats(base_of(model.model), head, model.tokenizer, texts)
            proxy = model.score(Candidates([t[0] for t in choices], [t[1] for t in choices])).value.reshape(-1, N)
            figures["gold"] = float(np.take_along_axis(gold, proxy.argmax(1)[:, None], 1).mean())
            out[name] = figures
            out["before"] = {"nats": nats(base_of(causal), causal.get_output_embeddings(), model.tokenizer, texts)}
        out["oracle"] = {"gold": float(gold.max(1).mean())}
    return out


TESTS = {"seen": SEEN, "unseen": UNSEEN}


def nats(body: Any, head: Any, tokenizer: Any, texts: list[tuple[str, str, float]]) -> float:
    """Mean negative log-likelihood of a text's response."""
    ids = torch.tensor([tokenizer(f"{p} {r}")["input_ids"] for p, r, _ in texts])
    with torch.no_grad():
        states = body(input_ids=ids).last_hidden_state[:, :-1]
        ell = loglikelihood(head, states.flatten(0, 1), [row[1:].numpy() for row in ids])
    return -float(ell.mean())


def preserved(seen: list[dict[str, dict[str, float]]]) -> Row:
    """Check 1: what reward training costs the language model."""
    figures = {name: [one[name]["nats"] - one["before"]["nats"] for one in seen] for name in MODELS}
    figures["before training"] = [one["before"]["nats"] for one in seen]
    bounds = [at_most("GRM-SFT 0.1", 2.5), at_least("Bradley-Terry", 4.0)]
    return Row("1 states are preserved: nats a text lost", figures, bounds, "nats")


def unseen(seen: list[dict[str, dict[str, float]]]) -> Row:
    """Check 2: accuracy on topics no comparison was about, with a paired bootstrap over seeds."""
    figures = {name: [one[name]["unseen"] for one in seen] for name in MODELS}
    gain = np.array(figures["GRM-SFT 0.1"]) - np.array(figures["Bradley-Terry"])
    draws = np.random.default_rng(0).choice(gain, (2000, len(gain))).mean(1)
    figures["gain, lower end of 95 %"] = [float(np.quantile(draws, 0.025))]
    bounds = [at_least("GRM-SFT 0.1", 0.015, over="Bradley-Terry"), at_least("gain, lower end of 95 %", 0.0)]
    return Row("2 unseen topics", figures, bounds, "accuracy")


def familiar(seen: list[dict[str, dict[str, float]]]) -> Row:
    """Check 2, the topics of the comparisons."""
    figures = {name: [one[name]["seen"] for one in seen] for name in MODELS}
    return Row(
        "2 topics of the comparisons", figures, [at_least("GRM-SFT 0.1", -0.03, over="Bradley-Terry")], "accuracy"
    )


def reduction(budget: Budget) -> Row:
    """Check 3: weight 0 is Bradley-Terry to the bit; prompts write nothing; the padding side changes nothing."""
    figures: dict[str, list[float]] = {"weight 0 against none": [], "prompt tokens in the loss": [], "padding side": []}
    for seed in budget.seeds(3):
        with tempfile.TemporaryDirectory(prefix="guerdon-grm-") as folder:
            LANGUAGE.language_model(Path(folder), seed, count=500, epochs=1)
            train = LANGUAGE.comparisons(60, SEEN, seed, noise=NOISE)
            short = settings(epochs=1, backbone=folder, seed=seed)
            plain, zero = (
                BackboneReward(**short, **more).fit(train)
                for more in ({}, {"regularizer": "sft", "regularizer_weight": 0.0})
            )
            scores = [m.score(train.candidates).value for m in (plain, zero)]
            figures["weight 0 against none"].append(float(np.abs(scores[0] - scores[1]).max()))
            model = BackboneReward(**short, regularizer="sft").fit(train)
            figures["prompt tokens in the loss"].append(float(prompt_tokens(model, train.candidates)))
            before = model.score(train.candidates).value
            sides = ("left", "right")
            scores = []
            for side in sides:
                model.tokenizer.padding_side = side
                scores.append(model.score(train.candidates).value)
            figures["padding side"].append(float(max(np.abs(s - before).max() for s in scores)))
    return Row("3 reduction", figures, [at_most(name, 0.0, each=True) for name in figures], "difference; tokens")


def prompt_tokens(model: BackboneReward, candidates: Candidates) -> int:
    """How many states beyond those that predict response words reach the language-model head in one pass."""
    assert model.lm_head is not None
    assert model.renderer is not None
    assert isinstance(model.readout, LastToken)
    rendered = model.renderer(candidates)
    sequences = [t for t in rendered.tokens if t is not None]
    starts = model.renderer.response_starts(candidates, rendered)
    language = LanguageRegularizer(model.lm_head, 0.1, TextLoss("sft"), starts)
    passed: list[int] = []
    hook = model.lm_head.register_forward_hook(lambda module, inputs, output: passed.append(len(inputs[0])))
    with torch.no_grad():
        for batch in model.readout.plan(sequences, [str(p) for p in candidates.prompts], model.budget):
            language.run(model.readout, sequences, starts, batch)
    hook.remove()
    return sum(passed) - sum(len(str(response).split()) for response in candidates.responses)


def best_of_n(seen: list[dict[str, dict[str, float]]]) -> Row:
    """Check 4: true log-odds of the response each reward likes best of 64, on unseen topics."""
    figures = {name: [one[name]["gold"] for one in seen] for name in [*MODELS, "oracle"]}
    return Row("4 best of 64, unseen topics", figures, [at_least("GRM-SFT 0.1", 0.0, over="Bradley-Terry")], "log-odds")
