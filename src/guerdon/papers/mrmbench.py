"""MRMBench's probes: what a reward model's representation knows of each dimension, and how far its scores reach.

Here are the probes and inference-time probing as a reward; the benchmark itself is ``guerdon bench REWARD mrmbench``.
Representations are planted: labels encoded linearly at a known strength, so that the best possible accuracy is known.
Five reward models, networks with a narrow hidden layer, are fitted to preferences in one to six of the dimensions; a
reward with inference-time probing meets prompts far from anything judged.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from scipy.stats import rankdata

from guerdon.encode import load_encoder
from guerdon.feedback.schema import Judgement
from guerdon.feedback.star import Feedback
from guerdon.papers.frame import Budget, Claim, Row, at_least, at_most
from guerdon.papers.index import paper
from guerdon.reward.learned.networks import Schedule, mlp, train
from guerdon.reward.learned.probe import fit_probe, probe_report
from guerdon.reward.learned.probed import ProbedReward
from guerdon.worlds.example import example_feedback
from guerdon.worlds.pool import Pool

PAPER = paper("mrmbench")

DIMENSIONS = ("harmlessness", "helpfulness", "correctness", "coherence", "complexity", "verbosity")
WIDTH = 64


def check(budget: Budget) -> Claim:
    """Checks 1 to 5 of the card."""
    rows = [found(budget), imbalance(budget), ranking(budget), confidence(budget), best_of_n(budget), parity(budget)]
    note = "MRMBench's six data sets are not at hand, nor is the correlation with alignment by PPO"
    return Claim(PAPER.slug, rows, note=note)


def found(budget: Budget) -> Row:
    """Check 1: four of six labels are in the representation, with noise; two are not."""
    names = ("largest shortfall of 4 present", "lowest of 2 absent, balanced", "highest of 2 absent, balanced")
    figures: dict[str, list[float]] = {name: [] for name in names}
    for seed in budget.seeds(5):
        rng = np.random.default_rng([seed, 33])
        x = rng.normal(size=(6000, WIDTH))
        directions = np.linalg.qr(rng.normal(size=(WIDTH, 6)))[0]
        noise = np.array([0.2, 0.5, 1.0, 1.5])
        short, absent = [], []
        for k in range(6):
            signal = x @ directions[:, k] if k < 4 else rng.normal(size=len(x))
            labels = (signal + (noise[k] if k < 4 else 1.0) * rng.normal(size=len(x)) > 0).astype(int)
            report = probe_report(x[:3000], labels[:3000], x[3000:], labels[3000:], seed=seed)
            if k < 4:
                bayes = 0.5 + np.arctan(1 / noise[k]) / np.pi  # the sign of a sum of two Gaussians
                short.append(bayes - report.accuracy)
            else:
                absent.append(report.balanced)
        for name, value in zip(names, (max(short), min(absent), max(absent)), strict=True):
            figures[name].append(float(value))
    bounds = [at_most(names[0], 0.03), at_least(names[1], 0.45), at_most(names[2], 0.55)]
    return Row("1 probes find what is there", figures, bounds, "accuracy")


def imbalance(budget: Budget) -> Row:
    """Check 2: nine in ten labels are the same and the representation knows nothing."""
    figures: dict[str, list[float]] = {"accuracy": [], "balanced accuracy": [], "said to be above majority": []}
    for seed in budget.seeds(5):
        rng = np.random.default_rng([seed, 34])
        x, labels = rng.normal(size=(3000, 32)), (rng.random(3000) < 0.1).astype(int)
        report = probe_report(x[:1500], labels[:1500], x[1500:], labels[1500:], seed=seed)
        figures["accuracy"].append(report.accuracy)
        figures["balanced accuracy"].append(report.balanced)
        figures["said to be above majority"].append(float(report.above))
    bounds = [at_least("accuracy", 0.87), at_most("said to be above majority", 0.0, each=True)]
    return Row("2 not fooled by the majority", figures, bounds, "accuracy; share of seeds")


def ranking(budget: Budget) -> Row:
    """Check 3: mean probe accuracy of five reward models orders them as their best-of-16 utility does."""
    figures: dict[str, list[float]] = {"Spearman": [], "probe score, one dimension": [], "probe score, all six": []}
    for seed in budget.seeds(3):
        rng = np.random.default_rng([seed, 35])
        directions = np.linalg.qr(rng.normal(size=(WIDTH, 6)))[0]
        a, b, texts = (rng.normal(size=(4000, WIDTH)) for _ in range(3))
        choices = rng.normal(size=(500, 16, WIDTH))
        order = rng.permutation(6)
        probes, utility = [], []
        for tasks in (1, 2, 3, 4, 6):
            hidden, value = network((a, b), (a - b) @ directions[:, order[:tasks]], seed)
            labels = (texts @ directions > 0).astype(int)
            h = hidden(texts)
            known = [
                probe_report(h[:2000], labels[:2000, k], h[2000:], labels[2000:, k], seed=seed).accuracy
                for k in range(6)
            ]
            probes.append(float(np.mean(known)))
            best = value(choices.reshape(-1, WIDTH)).reshape(500, 16).argmax(1)
            utility.append(float((choices[np.arange(500), best] @ directions).sum(1).mean()))
        figures["Spearman"].append(float(np.corrcoef(rankdata(probes), rankdata(utility))[0, 1]))
        figures["probe score, one dimension"].append(probes[0])
        figures["probe score, all six"].append(probes[-1])
    return Row("3 probe scores rank reward models", figures, [at_least("Spearman", 0.8)], "rank correlation; accuracy")


def network(pair: tuple[np.ndarray, np.ndarray], gap: np.ndarray, seed: int, width: int = 8) -> tuple[Any, Any]:
    """(hidden layer, value) functions of a two-layer reward with one output a task, its value their sum.

    It is fitted to noisy comparisons of a pair in every task, with log-odds 3 x gap [n, tasks].
    """
    rng = np.random.default_rng([seed, 36])
    wins = torch.as_tensor(rng.random(gap.shape) < 1 / (1 + np.exp(-3 * gap)), dtype=torch.float32)
    a, b = (torch.as_tensor(x, dtype=torch.float32) for x in pair)
    net = mlp([a.shape[1], width, gap.shape[1]], torch.Generator().manual_seed(seed))

    def loss(rows: np.ndarray) -> torch.Tensor:
        at = torch.from_numpy(rows)
        return torch.nn.functional.binary_cross_entropy_with_logits(net(a[at]) - net(b[at]), wins[at])

    train(list(net.parameters()), loss, len(gap), Schedule(1e-2, 1e-2, 15, 128, None, seed=seed))

    def run(module: torch.nn.Module, x: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return module(torch.as_tensor(x, dtype=torch.float32)).double().numpy()

    return (lambda x: run(net[:2], x)), (lambda x: run(net, x).sum(1))


class Reach:
    """Prompts like those judged, and as many of another kind, whose features lie elsewhere and mean nothing known.

    The gold reward is linear where feedback was; elsewhere it has another direction.
    """

    def __init__(self, seed: int, responses: int = 16) -> None:
        rng = np.random.default_rng([seed, 37])
        self.pool = Pool.planted(600, responses, 24, seed=seed)
        taste, elsewhere = (2.0 * v / np.linalg.norm(v) for v in rng.normal(size=(2, 24)))
        far = self.pool.prompt_of >= 450
        x = self.pool.features.copy()
        x[far] += 1.2 * rng.choice([-1.0, 1.0], size=24)
        self.gold = np.where(far, x @ elsewhere, x @ taste)
        self.gold[far] -= self.gold[far].mean()
        self.far = far
        self.pool = Pool(self.pool.candidates, x)
        rows = []
        for i in range(1200):
            prompt = int(rng.integers(300))
            i, j = rng.choice(self.pool.members[prompt], 2, replace=False)
            win = float(rng.random() < 1 / (1 + np.exp(self.gold[j] - self.gold[i])))
            c = self.pool.candidates
            rows.append(
                Judgement(
                    c.prompts[i],
                    (c.responses[i], c.responses[j]),
                    (win, 1 - win),
                    criterion=DIMENSIONS[int(rng.integers(6))],
                )
            )
        self.reward = ProbedReward(encoder=self.pool.encoder(), seed=seed).fit(Feedback.of(rows))
        self.tests = np.arange(300, 600)  # 150 prompts of the judged kind, 150 of the other


def confidence(budget: Budget) -> Row:
    """Check 4: distance-confidence tells where the reward orders two responses wrongly."""
    figures: dict[str, list[float]] = {"AUROC": [], "wrong, judged kind": [], "wrong, other kind": []}
    for seed in budget.seeds(5):
        world = Reach(seed)
        rows = world.pool.members[world.tests][:, :2]
        trust = world.reward.confidence(world.pool.candidates.take(rows.ravel())).reshape(-1, 2).min(1)
        plain = world.reward.head(world.reward.x(world.pool.candidates.take(rows.ravel()))).reshape(-1, 2)
        gold = world.gold[rows]
        wrong = (plain[:, 0] > plain[:, 1]) != (gold[:, 0] > gold[:, 1])
        figures["AUROC"].append(auroc(-trust, wrong))
        other = world.far[rows[:, 0]]
        figures["wrong, judged kind"].append(float(wrong[~other].mean()))
        figures["wrong, other kind"].append(float(wrong[other].mean()))
    return Row("4 low confidence finds wrong orders", figures, [at_least("AUROC", 0.65)], "AUROC; share")


def best_of_n(budget: Budget) -> Row:
    """Check 4: best of 16 with untrusted scores at the reference's level, against plain best of 16."""
    figures: dict[str, list[float]] = {"with fallback to the reference": [], "plain": [], "reference": []}
    for seed in budget.seeds(5):
        world = Reach(seed)
        rows = world.pool.members[world.tests]
        # the reference answer to a prompt comes first; it is better than an average one, as a deployed model's is
        better = np.argsort(-world.gold[rows], axis=1)[:, 4]
        rows = np.take_along_axis(rows, np.argsort(np.arange(16) != better[:, None], axis=1, kind="stable"), 1)
        candidates = world.pool.candidates.take(rows.ravel())
        gold = world.gold[rows]
        values = {
            "with fallback to the reference": world.reward.score(candidates).value,
            "plain": world.reward.head(world.reward.x(candidates)),
        }
        for name, value in values.items():
            chosen = value.reshape(rows.shape).argmax(1)  # the first of equals
            figures[name].append(float(np.take_along_axis(gold, chosen[:, None], 1).mean()))
        figures["reference"].append(float(gold[:, 0].mean()))
    bounds = [at_least("with fallback to the reference", 0.0, over="plain")]
    return Row("4 best of 16, half the prompts of another kind", figures, bounds, "gold reward")


def auroc(score: np.ndarray, positive: np.ndarray) -> float:
    """P(a positive scores above a negative), ties half."""
    n, m = int(positive.sum()), int((~positive).sum())
    return float((rankdata(score)[positive].sum() - n * (n + 1) / 2) / (n * m))


def parity(budget: Budget) -> Row:
    """Check 5: probe=official against the protocol written out once more with torch's own layer and scheduler."""
    figures: dict[str, list[float]] = {"two classes, difference": [], "three classes, difference": []}
    feedback = example_feedback(seed=0)
    candidates = feedback.candidates
    x = load_encoder("minilm?features=response").encode(candidates)
    length = np.array([len(str(r)) for r in candidates.responses], dtype=float)
    length += 1e-3 * np.arange(len(length))
    for seed in budget.seeds(3):
        order = np.random.default_rng(seed).permutation(len(x))
        half = len(x) // 2
        for name, cuts in (("two classes", [0.5]), ("three classes", [1 / 3, 2 / 3])):
            labels = np.digitize(length, np.quantile(length, cuts))
            fit, test = order[:half], order[half:]
            ours = (fit_probe(x[fit], labels[fit], "official", seed=seed)(x[test]) == labels[test]).mean()
            theirs = (written_out(x[fit], labels[fit], x[test], seed) == labels[test]).mean()
            figures[f"{name}, difference"].append(float(abs(ours - theirs)))
    note = "the reference run is made here by independent code, on MiniLM features of the bundled example"
    return Row(
        "5 the official protocol", figures, [at_most(n, 0.005, each=True) for n in figures], "accuracy", note=note
    )


def written_out(x: np.ndarray, y: np.ndarray, test: np.ndarray, seed: int) -> np.ndarray:
    """Predictions of MRMBench's probe, by torch's layer, optimizer and cosine schedule."""
    k = int(y.max()) + 1
    layer = torch.nn.Linear(x.shape[1], 1 if k == 2 else k, bias=False)
    start = np.random.default_rng(seed).uniform(-(x.shape[1] ** -0.5), x.shape[1] ** -0.5, tuple(layer.weight.T.shape))
    layer.weight.data = torch.tensor(start.T, dtype=torch.float32)
    steps = max(1, -(-len(x) // 128))
    optimizer = torch.optim.AdamW(layer.parameters(), lr=5e-5, betas=(0.9, 0.95), weight_decay=0.1)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    features, target = torch.as_tensor(x, dtype=torch.float32), torch.as_tensor(y)
    for rows in np.array_split(np.random.default_rng(seed).permutation(len(x)), steps):
        out, right = layer(features[rows]), target[rows]
        if k == 2:
            loss = torch.nn.functional.binary_cross_entropy_with_logits(out[:, 0], right.float())
        else:
            loss = torch.nn.functional.cross_entropy(out, right)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        out = layer(torch.as_tensor(test, dtype=torch.float32)).numpy()
    return (out[:, 0] > 0).astype(int) if k == 2 else out.argmax(1)
