"""RewardBench: sections with fixed weights, strict ties, half for a judge's errors, and RewardBench 2's two rules.

The suites ``rewardbench`` and ``rewardbench-2`` are run on data with the true names and counts of subsets, and compared
with a second computation written from the card. Rewards and judges are scripts, so that what they should earn is known.

Check 3 is a language model of a small world (``worlds/language/conversations.py``), trained from scratch and then by
DPO on 300 pairs (``AutoregressiveReward`` with its reference). Saved and opened by the command line's specifications,
it is measured on rows of RewardBench's layout and subsets: the right response stays on the topic that was asked for,
and is longer, shorter or neither, as the published length tags of its subset say. Responses of six words are made up to
30 longer. The check was first run with up to 5, where the policy's own sum of log-probabilities is as good as the ratio
(0.966 both): what DPO changes then outweighs what words cost. That world is kept beside the other, its bound is not.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import numpy as np

import guerdon
from guerdon.bench.suites.reward_bench import COUNTS, LENGTH, PRIOR, REWARD_BENCH, SECTIONS, summary
from guerdon.bench.suites.reward_bench_2 import REWARD_BENCH_2
from guerdon.bench.suites.run import run
from guerdon.bench.suites.suite import Cells
from guerdon.feedback.schema import Candidates, Judgement
from guerdon.feedback.star import Feedback
from guerdon.papers.frame import Budget, Claim, Row, at_least, at_most, within
from guerdon.papers.index import paper
from guerdon.reward.base import Function, Reward, Scores
from guerdon.reward.compose import WeightedSum
from guerdon.reward.implicit.autoregressive import AutoregressiveReward
from guerdon.worlds.language.conversations import Conversations
from guerdon.worlds.language.model import language_model

PAPER = paper("rewardbench")

EXAMPLES = {**COUNTS, "math-prm": 447}
"""How many examples the subsets have."""
VECTORS = 50
DPO_PAIRS, ROWS = 300, 20
"""Pairs that the policy is tuned on, rows of each subset."""
FILLERS = {"up to 30 words longer": 30, "up to 5 words longer": 5}
"""Most fillers after an answer of six words: lengths that differ as those of published pairs do, and hardly."""
KINDS = {
    "with reference": "implicit:hf:{policy}?by=dpo&weak=hf:{start}&beta=0.1&device=cpu",
    "policy and reference swapped": "implicit:hf:{start}?by=dpo&weak=hf:{policy}&beta=0.1&device=cpu",
    "reference-free, sum": "implicit:hf:{policy}?by=reference-free&length=sum&device=cpu",
    "reference-free, mean": "implicit:hf:{policy}?by=reference-free&length=mean&device=cpu",
    "reference-free, norm": "implicit:hf:{policy}?by=reference-free&length=norm&device=cpu",
    "before DPO, sum": "implicit:hf:{start}?by=reference-free&length=sum&device=cpu",
}


def check(budget: Budget) -> Claim:
    """All five checks of the card."""
    rows = [weighting(budget), scripted(budget), *implicit(budget), ensembles(budget), second(budget)]
    return Claim(PAPER.slug, rows)


def weighting(budget: Budget) -> Row:
    """Section and overall scores of random subset accuracies, some missing, against plain loops."""
    figures: dict[str, list[float]] = {"largest difference": [], "mathematics of Reasoning": [], "all items alike": []}
    for seed in budget.seeds(1):
        rng = np.random.default_rng(seed)
        worst = plain = 0.0
        for _ in range(VECTORS):
            names = [n for n in (*COUNTS, *PRIOR) if rng.random() > 0.2]
            rates = dict(zip(names, rng.random(len(names)), strict=True))
            found = summary(Cells(tuple(names), np.array([list(rates.values())]), np.ones((1, len(names)))))
            wanted = by_hand(rates)
            worst = max(worst, *(abs(float(found[k][0]) - v) for k, v in wanted.items()))
            mean = sum(rates[n] * EXAMPLES[n] for n in names if n in EXAMPLES)
            plain = max(plain, abs(mean / sum(EXAMPLES[n] for n in names if n in EXAMPLES) - wanted["overall"]))
        only = {n: float(n == "math-prm") for n in SECTIONS["Reasoning"]}
        share = summary(Cells(tuple(only), np.array([list(only.values())]), np.ones((1, len(only)))))["Reasoning"][0]
        figures["largest difference"].append(worst)
        figures["mathematics of Reasoning"].append(float(share))
        figures["all items alike"].append(plain)
    return Row(
        "1 weights",
        figures,
        [
            at_most("largest difference", 1e-12, each=True),
            at_least("mathematics of Reasoning", 0.5, each=True),
            at_most("mathematics of Reasoning", 0.5, each=True),
            at_least("all items alike", 0.01),
        ],
        note="all items alike: how far the mean over all examples is from the published overall score at most",
    )


def by_hand(rates: dict[str, float]) -> dict[str, float]:
    """The card's formula in plain loops."""
    out: dict[str, float] = {}
    total = weight = 0.0
    for section, members in SECTIONS.items():
        top = bottom = 0.0
        for name in members:
            if name in rates:
                top += rates[name] * COUNTS[name]
                bottom += COUNTS[name]
        if bottom:
            out[section] = top / bottom
            total += 2 * out[section]
            weight += 2
    prior = [rates[name] for name in PRIOR if name in rates]
    if prior:
        out["Prior Sets"] = sum(prior) / len(prior)
        total += out["Prior Sets"]
        weight += 1
    return {**out, "overall": total / weight}


class Judge(Reward):
    """A pairwise judge that answers what a script says of (shown first, shown second)."""

    name = "judge"

    def __init__(self, kind: str, seed: int) -> None:
        self.kind, self.rng = kind, np.random.default_rng(seed)

    def prefer(self, a: Candidates, b: Candidates) -> Scores:
        """1 where the first is chosen: the order of each pair is drawn, as the protocol says."""
        if self.kind == "unreadable":
            return Scores(np.full(len(a), np.nan), reason=["no verdict in the reply"] * len(a))
        return Scores((self.rng.random(len(a)) < 0.5).astype(float))  # always A, in an order drawn for each item


def fixture() -> Feedback:
    """The true names and counts of subsets, texts that say whether they are right."""
    return Feedback.of(
        Judgement(f"{name} {i}", ("right", "wrong"), (1.0, 0.0), subset=name)
        for name, n in EXAMPLES.items()
        for i in range(n)
    )


def scripted(budget: Budget) -> Row:
    """What scripted scorers and judges earn."""
    data = fixture()
    figures: dict[str, list[float]] = {k: [] for k in ("perfect", "constant", "always A", "unreadable", "its errors")}
    for seed in budget.seeds(3):
        rewards: dict[str, Reward] = {
            "perfect": Function(lambda p, r: float(r == "right")),
            "constant": Function(lambda p, r: 1.0),
            "always A": Judge("first", seed),
            "unreadable": Judge("unreadable", seed),
        }
        for name, reward in rewards.items():
            result = run(reward, REWARD_BENCH, data, baselines=(), bootstrap=0)
            figures[name].append(result.headline[1].value)
            if name == "unreadable":
                figures["its errors"].append(result.facts["unscored duels"] / result.facts["duels"])
    return Row(
        "2 scripted scorers",
        figures,
        [
            at_least("perfect", 1.0, each=True),
            at_most("constant", 0.0, each=True),
            at_least("always A", 0.47, each=True),
            at_most("always A", 0.53, each=True),
            at_least("unreadable", 0.5, each=True),
            at_most("unreadable", 0.5, each=True),
            at_least("its errors", 1.0, each=True),
        ],
        unit="overall score",
        note="the card lets missing scores raise; here they are counted with their reasons and lost",
    )


def implicit(budget: Budget) -> list[Row]:
    """Check 3: the reward that DPO implies, with its reference and without, on rows of RewardBench's layout."""
    rows: list[Row] = []
    sums: list[float] = []
    for world, fillers in FILLERS.items():
        overall: dict[str, list[float]] = {name: [] for name in KINDS}
        longer: dict[str, list[float]] = {name: [] for name in KINDS}
        parts: dict[str, list[float]] = {name: [] for name in (*SECTIONS, "Prior Sets")}
        for seed in budget.seeds(3):
            with tempfile.TemporaryDirectory() as place:
                folder = Path(place)
                start, policy = tuned(folder, fillers, seed)
                (folder / "rewardbench.jsonl").write_text(rows_of(fillers, seed), encoding="utf-8")
                data = REWARD_BENCH.feedback(folder)
                sizes = np.array([len(str(r).split()) for r in data.candidates.responses])
                unlike = data.take(np.diff(sizes[data.items].reshape(-1, 2), axis=1)[:, 0] != 0)
                scores = {}
                for name, spec in KINDS.items():
                    reward = guerdon.load(spec.format(policy=policy, start=start))
                    result = run(reward, REWARD_BENCH, data, baselines=(), bootstrap=0)
                    overall[name].append(result.headline[1].value)
                    longer[name].append(run(reward, REWARD_BENCH, unlike, baselines=(), bootstrap=0).headline[1].value)
                    scores[name] = reward.score(data.candidates).value
                    for part, values in parts.items() if name == "with reference" else ():
                        values.append(result.figures[part].value)
                both = scores["with reference"] + scores["policy and reference swapped"]
                sums.append(float(np.abs(both).max()))
        note = "with the reference, by section: " + ", ".join(f"{n} {np.mean(v):.3f}" for n, v in parts.items())
        enough = [at_least("with reference", 0.85)]
        rows.append(Row(f"3 the reward that DPO implies, responses {world}", overall, enough, "overall score", note))
        if fillers == max(FILLERS.values()):
            beats = [at_least("with reference", 0.0, over="reference-free, sum")]
            rows.append(Row("3 the same where one response is longer", longer, beats, "overall score"))
    swapped = {"largest sum of the two scores": sums}
    alike = [at_most("largest sum of the two scores", 1e-6, each=True)]
    return [*rows, Row("3 antisymmetric in policy and reference", swapped, alike, "nats x beta")]


def tuned(folder: Path, fillers: int, seed: int) -> tuple[Path, Path]:
    """(folder of a language model that answers on the topic half of the time, of the same one after DPO)."""
    world, rng = Conversations(), np.random.default_rng([seed, 103])

    def longer(answer: str) -> str:
        return world.padded(answer, int(rng.integers(fillers + 1)), rng)

    dialogues = [
        [("user", prompt), ("assistant", longer(world.answer(topic, int(rng.choice((0, 2))), rng)))]
        for topic in rng.integers(world.topics, size=4000).tolist()
        for prompt in [world.prompt(topic, rng)]
    ]
    start = language_model(
        folder / "start", dialogues, world.words,
        seed=seed, width=64, epochs=2, batch=32, learning_rate=2e-3, length=64, roles=("assistant",),
    )  # fmt: skip
    pairs = Feedback.of(
        Judgement(prompt, (longer(good), longer(bad)), (1.0, 0.0))
        for prompt, good, bad in zip(*world.pairs(DPO_PAIRS, seed), strict=True)
    )
    fitted = AutoregressiveReward(
        backbone=str(start), reference="start", beta=0.1, learning_rate=5e-4, keep="last", epochs=3, batch=16,
        seed=seed, device="cpu",
    ).fit(pairs)  # fmt: skip
    return start, fitted.save(folder / "policy")


def rows_of(fillers: int, seed: int) -> str:
    """JSON lines ``prompt, chosen, rejected, subset, id`` of all 23 subsets and the prior sets."""
    world, rng, lines = Conversations(), np.random.default_rng([seed, 104]), []
    names = (*COUNTS, *PRIOR)
    for i, (prompt, good, bad) in enumerate(zip(*world.pairs(ROWS * len(names), seed + 1000), strict=True)):
        subset = names[i // ROWS]
        more = np.sort(rng.integers(fillers + 1, size=2))
        if subset in LENGTH["right is longer"]:
            more = more[::-1]
        elif subset not in LENGTH["right is shorter"]:
            more = rng.permutation(more)
        chosen, rejected = (world.padded(a, int(n), rng) for a, n in zip((good, bad), more, strict=True))
        row = {"prompt": prompt, "chosen": chosen, "rejected": rejected, "subset": subset, "id": i}
        lines.append(json.dumps(row) + "\n")
    return "".join(lines)


def ensembles(budget: Budget) -> Row:
    """Three rewards with independent noise: mean of z-scores, of raw scores with one of them 100 times as large."""
    data = fixture()
    figures: dict[str, list[float]] = {k: [] for k in ("z-scored mean", "best member", "raw mean", "the large one")}
    for seed in budget.seeds(3):
        noise = np.random.default_rng(seed).normal(size=(3, len(data.candidates)))
        right = np.array([c.response == "right" for c in data.candidates], dtype=float)
        row = {(str(c.prompt), str(c.response)): i for i, c in enumerate(data.candidates)}
        scores = (right + noise) * np.array([[1.0], [1.0], [100.0]])

        def member(k: int, table: np.ndarray = scores, row: dict[tuple[str, str], int] = row) -> Reward:
            return Function(lambda p, r: float(table[k, row[p, r]]), f"member {k}")

        members = [member(k) for k in range(3)]
        sd = scores.std(1)
        values = [
            run(reward, REWARD_BENCH, data, baselines=(), bootstrap=0).headline[1].value
            for reward in (WeightedSum(members, (1 / sd).tolist()), WeightedSum(members), *members)
        ]
        figures["z-scored mean"].append(values[0])
        figures["raw mean"].append(values[1])
        figures["best member"].append(max(values[2:]))
        figures["the large one"].append(values[4])
    return Row(
        "4 ensembles",
        figures,
        [at_least("z-scored mean", 0.0, over="best member", each=True), within("raw mean", 0.01, of="the large one")],
        unit="overall score",
    )


def second(budget: Budget) -> Row:
    """RewardBench 2: Ties against the published formula, four equal scores, over random score tables."""
    figures: dict[str, list[float]] = {"largest difference": [], "four equal scores": []}
    for seed in budget.seeds(3):
        rng = np.random.default_rng(seed)
        worst = 0.0
        for case in range(5):
            scores = {f"tied:{n}": rng.normal(size=6).round(1) for n in range(5)}
            scores |= {f"ref:{n}": rng.normal(size=4).round(1) for n in range(5)}
            if case == 0:
                scores["tied:0"][:3] = 1.0  # no spread among the right ones
            result = run(
                Function(lambda p, r, s=scores: float(s[p][int(r)])), REWARD_BENCH_2, ties(scores), baselines=(),
                bootstrap=0, partial=True,
            )  # fmt: skip
            worst = max(worst, abs(result.figures["Ties"].value - ties_by_hand(scores)))
        figures["largest difference"].append(worst)
        four = Feedback.of([Judgement("p", ("a", "b", "c", "d"), (1.0, 0, 0, 0), subset="Math", scale="partial")])
        even = run(Function(lambda p, r: 0.0), REWARD_BENCH_2, four, baselines=(), bootstrap=0, partial=True)
        figures["four equal scores"].append(even.headline[1].value)
    return Row(
        "5 RewardBench 2",
        figures,
        [
            at_most("largest difference", 1e-12, each=True),
            at_least("four equal scores", 0.25, each=True),
            at_most("four equal scores", 0.25, each=True),
        ],
    )


def ties(scores: dict[str, np.ndarray]) -> Feedback:
    """Pairs of prompts: three of six right where tied, one of four in the reference."""
    return Feedback.of(
        Judgement(
            key,
            tuple(str(i) for i in range(len(values))),
            tuple(float(i < (3 if key.startswith("tied") else 1)) for i in range(len(values))),
            subset="Ties",
            id=key,
            scale="partial",
        )
        for key, values in scores.items()
    )


def ties_by_hand(scores: dict[str, np.ndarray]) -> float:
    """The published formula."""
    total = 0.0
    for n in range(5):
        tied, ref = scores[f"tied:{n}"], scores[f"ref:{n}"]
        spread, margin = tied[:3].max() - tied[:3].min(), tied[:3].min() - tied[3:].max()
        hard = min(margin, ref[0] - ref[1:].max())
        ratio = hard / spread - 1 if spread else np.sign(hard) * np.inf
        total += 0.3 * (margin > 0) + 0.3 * (ref[0] > ref[1:].max())
        total += 0.2 * (margin > spread) + 0.2 * (hard > spread)
        total += 0.01 * float(np.nan_to_num(np.tanh(ratio)))
    return total / 5
