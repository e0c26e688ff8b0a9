"""ToolRM's benchmark half: right tool calls against wrong ones, corrupted from BFCL's ground truth.

The suite's pairs are asked of scripted rewards whose figures are known, and of the matcher that knows every admissible
value. The reward model itself, trained on such pairs, is not rebuilt.
"""

from __future__ import annotations

import json
from collections import Counter

import numpy as np

from guerdon.bench.suites.fc_reward_bench import FC_REWARD_BENCH, quotas
from guerdon.bench.suites.run import run
from guerdon.bench.suites.tool_call_errors import canonical
from guerdon.feedback.schema import Judgement
from guerdon.feedback.star import Feedback
from guerdon.papers.frame import Budget, Claim, Row, at_least, at_most, real_data, within
from guerdon.papers.index import paper
from guerdon.reward.base import Function
from guerdon.reward.baselines import Length, Random

PAPER = paper("toolrm")


def check(budget: Budget) -> Claim:
    """The benchmark's arithmetic and its guard against spacing; the training checks are left."""
    left = (
        "checks 1 to 4 of the card: the reward trained on calls (specialist, centring, best-of-n)",
        "the published wrong calls of 25 models: not at hand; ours are corruptions of the same ground truth",
    )
    folder = real_data("tools")
    if folder is None:
        return Claim(PAPER.slug, [], (*left, "BFCL's ground truth is not at hand"))
    pairs = FC_REWARD_BENCH.feedback(folder)
    return Claim(PAPER.slug, [shares(pairs), arithmetic(budget, pairs), spelling(pairs)], left)


def shares(pairs: Feedback) -> Row:
    """How far the built pairs are from the published shares of errors, and how many queries have no pair."""
    found = Counter(pairs.subsets[k] for k in pairs.subset.tolist())
    wanted = quotas(sum(found.values()))
    figures = {"largest gap of a share": [max(abs(found[e] - n) for e, n in wanted.items()) / len(pairs)]}
    return Row("the errors' published shares", figures, [at_most("largest gap of a share", 0.005)], "share")


def arithmetic(budget: Budget, pairs: Feedback) -> Row:
    """Scripted rewards; the table by error adds up to the overall figure (the card's check 4, last part)."""
    right = {(str(j.prompt), j.responses[0]) for j in pairs.judgements()}
    scripted = {
        "knows the gold": Function(lambda p, r: float((str(p), r) in right), "gold"),
        "constant": Function(lambda p, r: 0.0, "constant"),
        "length": Length(),
    }
    figures: dict[str, list[float]] = {}
    for name, reward in scripted.items():
        result = run(reward, FC_REWARD_BENCH, pairs, baselines=(), bootstrap=0)
        figures[name] = [result.headline[1].value]
        figures[f"{name}, ties half"] = [result.extra["a tie or no score is half"]]
        added = sum(f.value * f.n for f in result.subsets.values()) / sum(f.n for f in result.subsets.values())
        figures[f"{name}, added up"] = [added]
    figures["random"] = [
        run(Random(seed=seed), FC_REWARD_BENCH, pairs, baselines=(), bootstrap=0).headline[1].value
        for seed in budget.seeds(3)
    ]
    bounds = [
        at_least("knows the gold", 1.0),
        at_most("constant", 0.0),
        at_least("constant, ties half", 0.5),
        at_most("constant, ties half", 0.5),
        within("length", 1e-12, of="length, added up"),
        at_least("random", 0.46),
        at_most("random", 0.54),
    ]
    return Row("4 scorer's arithmetic", figures, bounds, "accuracy", note="length: what a reward that cannot read gets")


def spelling(pairs: Feedback) -> Row:
    """Right calls printed with another spacing: a reward that reads spaces is right without, and blind after, one
    spelling of both sides.
    """
    pretty = [j for j in pairs.judgements() if j.subset != "parsing"]
    figures: dict[str, list[float]] = {}
    for name, spell in (("as printed", str), ("one spelling", canonical)):
        told = [
            Judgement(j.prompt, (spell(_printed(j.responses[0])), spell(str(j.responses[1]))), j.grades) for j in pretty
        ]
        spaces = Function(lambda p, r: float("\n" in r), "spaces")
        figures[name] = [run(spaces, FC_REWARD_BENCH, Feedback.of(told), baselines=(), bootstrap=0).headline[1].value]
    figures["difference"] = [float(np.subtract(figures["as printed"], figures["one spelling"])[0])]
    bounds = [at_least("as printed", 0.99), at_most("one spelling", 0.0)]
    return Row("2 formatting is no give-away", figures, bounds, "accuracy of a reward that looks for a line break")


def _printed(text: object) -> str:
    return json.dumps(json.loads(str(text)), indent=2)
