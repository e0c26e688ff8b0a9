"""ToolRM: a reward of tool calls trained on right calls against corrupted ones, and the benchmark of such pairs.

Trained in a small world of tools (thirty functions, names replaced by random strings) and tested on ten others, it is
asked for what the card asks: that it beats rewards of chat, that spacing is no give-away, that its scores have a common
zero, and that it chooses among a noisy caller's answers. Then the real thing: trained on ToolRL's and API-Bank's gold
calls with planted errors, tested on FC-RewardBench as it is built from BFCL.

Features of parsed calls relative to catalogue and conversation take the place of the published language model. Some of
them mirror planted errors (:mod:`guerdon.encode.tool_features` says which), so the rows also show what those alone and
what the others alone reach, and what happens on mistakes that nobody planted: of a caller that goes by keywords.
"""

from __future__ import annotations

import gzip
import json
import tempfile
from collections import Counter
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from guerdon.bench.suites.fc_reward_bench import FC_REWARD_BENCH, quotas
from guerdon.bench.suites.run import run
from guerdon.curate.registry import step
from guerdon.feedback.schema import Candidates, Judgement
from guerdon.feedback.star import Feedback
from guerdon.feedback.tool_calls import as_prompt, calls_in, canonical, tools_in
from guerdon.papers.frame import Budget, Claim, Row, at_least, at_most, real_data, within
from guerdon.papers.index import paper
from guerdon.reward.base import Function, Reward
from guerdon.reward.baselines import Length, Random
from guerdon.reward.learned.model import RewardModel
from guerdon.reward.registry import model
from guerdon.reward.verify.tool_match import admitting, matches
from guerdon.worlds.tool_caller import KeywordCaller
from guerdon.worlds.tools import Asked, asked, split

PAPER = paper("toolrm")
TRAIN, TEST, CHAT = 3000, 500, 400
"""Pairs of tool calls to learn from and to test on, and pairs of chat to learn from."""
BEST_OF, EXACT = 8, 0.6
"""Answers of the noisy caller to a request, and the share of them that is right."""


def check(budget: Budget) -> Claim:
    """The card's four checks in the world of tools, then the benchmark built from BFCL."""
    left: list[str] = []
    rows = [specialist(budget), formatting(budget), centring(budget), best_of_n(budget)]
    if real_data("rmb") is None or real_data("hh") is None:
        left.append("check 1, rewards of chat: RMB and HH-RLHF are not at hand")
    folder = real_data("tools")
    if folder is None:
        return Claim(PAPER.slug, rows, (*left, "BFCL's ground truth is not at hand"))
    bench = FC_REWARD_BENCH.feedback(folder)
    rows += [shares(bench), arithmetic(budget, bench), real(budget, folder, bench)]
    note = (
        "what reads here are features of parsed calls, not a transformer; the published language models (1.7 to 14 "
        "billion parameters) and the wrong calls of 25 models are not at hand: ours are corruptions of the same truth"
    )
    return Claim(PAPER.slug, rows, tuple(left), note=note)


# --------------------------------------------------------------------------------------------------- the small world


@cache
def requests(seed: int, unseen: bool, count: int) -> tuple[Asked, ...]:
    """``count`` requests for the thirty functions to learn from, or the ten others."""
    rng = np.random.default_rng([seed, int(unseen), 1])
    return tuple(asked(split(seed)[int(unseen)], rng) for _ in range(count))


@cache
def pairs(seed: int, unseen: bool, count: int) -> Feedback:
    """Right calls against corrupted ones with random names."""
    gold = enumerate(requests(seed, unseen, count))
    told = [Judgement(a.prompt, (canonical(a.calls),), (1.0,), id=str(i)) for i, a in gold]
    return step("tool-pairs")(Feedback.of(told), obfuscate="yes", seed=seed).feedback


@cache
def mistakes(seed: int, count: int) -> Feedback:
    """Right calls for unseen functions against a keyword caller's own wrong ones, with random names."""
    rng, caller = np.random.default_rng([seed, 2]), KeywordCaller()
    told = [
        Judgement(a.prompt, (canonical(a.calls), caller.answer(a.prompt, rng)), (1.0, 0.0), id=str(i))
        for i, a in enumerate(requests(seed, True, count))
    ]
    return step("tool-pairs")(Feedback.of(told), corrupted=0, obfuscate="yes", seed=seed).feedback


@cache
def trained(seed: int, encoder: str = "tools", center: float = 0.01) -> Reward:
    """The reward, fitted to the world's pairs."""
    return model("tool-calls").make(encoder=encoder, center=center, seed=seed).fit(pairs(seed, False, TRAIN))


def gaps(reward: Reward, feedback: Feedback) -> tuple[np.ndarray, np.ndarray]:
    """(scores of the right, scores of the wrong answer) of every pair."""
    rows = list(feedback.judgements())
    right, wrong = (reward.score(Candidates([j.prompt for j in rows], [j.responses[k] for j in rows])) for k in (0, 1))
    return right.value, wrong.value


def won(reward: Reward, feedback: Feedback) -> float:
    """Accuracy; a tie is lost."""
    right, wrong = gaps(reward, feedback)
    return float((right > wrong).mean())


def specialist(budget: Budget) -> Row:
    """Check 1: a reward of tool calls against rewards of chat, on functions that none of them saw."""
    general = {name: reward for name in ("RMB", "HH") if (reward := chat(name)) is not None}
    figures: dict[str, list[float]] = {"ToolRM": []}
    for seed in budget.seeds(3):
        test = pairs(seed, True, TEST)
        told: dict[str, Reward] = {"ToolRM": trained(seed)}
        told |= {f"chat preferences ({name})": reward for name, reward in general.items()}
        words = RewardModel(encoder="hash:256?features=product", seed=seed)
        told["words of the same pairs"] = words.fit(pairs(seed, False, TRAIN))
        told["what a validator sees alone"] = trained(seed, "tools?parts=schema")
        told["the rest alone"] = trained(seed, "tools?parts=reading")
        for name, reward in told.items():
            figures.setdefault(name, []).append(won(reward, test))
        figures.setdefault("ToolRM, mistakes not planted", []).append(won(trained(seed), mistakes(seed, TEST)))
    bounds = [at_least("ToolRM", 0.85)]
    for name in general:
        figure = f"chat preferences ({name})"
        bounds += [at_least(figure, 0.38), at_most(figure, 0.62), at_least("ToolRM", 0.2, over=figure)]
    return Row(
        "1 specialist beats general", figures, bounds, "accuracy", "unseen functions, random names; ties are lost"
    )


@cache
def chat(name: str) -> Reward | None:
    """A head on MiniLM features fitted to chat preferences, None where the data are not at hand."""
    if name == "RMB":
        from guerdon.bench.suites.rmb import RMB

        folder = real_data("rmb")
        if folder is None:
            return None
        found = RMB.feedback(folder)
        found = found.take(np.flatnonzero(found.sizes == 2))
    else:
        path = real_data("hh", "harmless-base.test.jsonl.gz")
        if path is None:
            return None
        with tempfile.TemporaryDirectory() as kept:  # a few rows of the published file are broken
            found = Feedback.read(path, skip_bad=Path(kept) / "bad.jsonl")
    some = np.sort(np.random.default_rng(0).permutation(len(found))[:CHAT])
    return RewardModel(seed=0).fit(found.take(some))


def formatting(budget: Budget) -> Row:
    """Check 2: right answers that are printed with line breaks in training, and tests in one spelling."""
    figures: dict[str, list[float]] = {}
    for seed in budget.seeds(3):
        test, plain = pairs(seed, True, TEST), pairs(seed, False, TRAIN)
        pretty = [
            Judgement(j.prompt, (_printed(str(j.responses[0])), j.responses[1]), j.grades) for j in plain.judgements()
        ]
        for name, spelling in (("read as it stands", "raw"), ("one spelling", "canonical")):
            fits = {
                told: model("tool-calls").make(encoder=f"tools?spelling={spelling}", seed=seed).fit(data)
                for told, data in (("plain", plain), ("pretty", Feedback.of(pretty)))
            }
            accuracy = {told: won(reward, test) for told, reward in fits.items()}
            figures.setdefault(f"{name}, golds printed", []).append(accuracy["pretty"])
            figures.setdefault(f"{name}, fall", []).append(accuracy["plain"] - accuracy["pretty"])
    bounds = [at_least("read as it stands, fall", 0.1), at_most("one spelling, fall", 0.02)]
    return Row(
        "2 no formatting leak", figures, bounds, "accuracy on pairs in one spelling, and its fall by the printing"
    )


def _printed(text: str) -> str:
    return json.dumps(json.loads(text), indent=2)


def answers(seed: int, count: int) -> list[tuple[Asked, list[str], np.ndarray]]:
    """Of each request for unseen functions ``BEST_OF`` answers of a noisy caller, and bool [n] which are right.

    An answer is right with chance ``EXACT``; half of the wrong ones are planted, half the keyword caller's own.
    """
    from guerdon.curate.tool_errors import COUNTS, corrupt

    rng, caller = np.random.default_rng([seed, 3]), KeywordCaller()
    chance = np.array(list(COUNTS.values()), dtype=float)
    out = []
    for a in requests(seed, True, count):
        texts: list[str] = []
        while len(texts) < BEST_OF:
            if rng.random() < EXACT:
                texts.append(canonical(a.calls))
                continue
            wrong: str | None = None
            while wrong is None:
                if len(texts) % 2:
                    calls = caller.calls(a.prompt, rng)
                    wrong = None if matches(calls, admitting(a.calls)) else canonical(calls)
                    if wrong is not None or rng.random() < 0.5:  # some requests it always gets right
                        continue
                wrong = corrupt(
                    str(rng.choice(list(COUNTS), p=chance / chance.sum())), admitting(a.calls), a.tools, rng
                )
            texts.append(wrong)
        out.append((a, texts, np.array([t == canonical(a.calls) for t in texts])))
    return out


def centring(budget: Budget) -> Row:
    """Check 3: the mean score, the ranking, and one threshold for all requests."""
    figures: dict[str, list[float]] = {}
    for seed in budget.seeds(3):
        test, pool = pairs(seed, True, TEST), answers(seed, 300)
        asked_for = Candidates(
            [a.prompt for a, texts, _ in pool for _ in texts], [t for _, texts, _ in pool for t in texts]
        )
        right = np.concatenate([ok for _, _, ok in pool])
        for name, center in (("eta = .01", 0.01), ("eta = 0", 0.0)):
            reward = trained(seed, center=center)
            high, low = gaps(reward, test)
            figures.setdefault(f"{name}, |mean score|", []).append(abs(float(np.r_[high, low].mean())))
            figures.setdefault(f"{name}, accuracy", []).append(float((high > low).mean()))
            score = reward.score(asked_for).value
            figures.setdefault(f"{name}, precision", []).append(float(right[score >= np.median(score)].mean()))
        figures.setdefault("all answers", []).append(float(right.mean()))
    for name, center in (("eta = .01", 0.01), ("eta = 0", 0.0)):  # one seed: it takes its time
        network = model("tool-calls").make(head="mlp", epochs=8, center=center).fit(pairs(0, False, TRAIN))
        figures[f"a network, {name}, |mean score|"] = [abs(float(np.r_[gaps(network, pairs(0, True, TEST))].mean()))]
    bounds = [
        at_most("eta = .01, |mean score|", 0.3),
        within("eta = .01, accuracy", 0.01, of="eta = 0, accuracy"),
        at_least("eta = .01, precision", 0.15, over="all answers"),
    ]
    note = (
        "precision: right answers among the half above one threshold for all requests; scores are log-odds. A head "
        "on standardised features has little offset to lose, so that the term changes less than in a language model"
    )
    return Row("3 centring", figures, bounds, "", note)


def best_of_n(budget: Budget) -> Row:
    """Check 4: the best of a noisy caller's answers; the table by error adds up."""
    figures: dict[str, list[float]] = {}
    for seed in budget.seeds(3):
        reward, chosen, oracle, first = trained(seed), [], [], []
        for a, texts, ok in answers(seed, 300):
            score = reward.score(Candidates([a.prompt] * len(texts), texts)).value
            chosen.append(ok[int(np.argmax(score))])
            oracle.append(ok.any())
            first.append(ok[0])
        result = run(reward, FC_REWARD_BENCH, pairs(seed, True, TEST), baselines=(), bootstrap=0)
        added = sum(f.value * f.n for f in result.subsets.values()) / sum(f.n for f in result.subsets.values())
        told = {"best of 8": np.mean(chosen), "oracle": np.mean(oracle), "one answer": np.mean(first)}
        told |= {"micro mean of the pairs": result.headline[1].value, "its table by error, added up": added}
        for name, value in told.items():
            figures.setdefault(name, []).append(float(value))
    bounds = [
        at_least("best of 8", 0.75),
        at_least("best of 8", 0.0, over="one answer"),
        within("micro mean of the pairs", 1e-9, of="its table by error, added up", each=True),
    ]
    return Row("4 best of n", figures, bounds, "exact match; accuracy")


# --------------------------------------------------------------------------------------------------------- real calls


def gold_of(folder: Path) -> Feedback:
    """The gold calls of ToolRL's and API-Bank's records, a judgement of one answer each; records without calls are left
    out."""
    found: list[Judgement] = []
    for path in (folder / "toolrl_rlla_sft.jsonl.gz", *sorted(folder.glob("apibank_level*.jsonl.gz"))):
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            for number, row in enumerate(map(json.loads, lines)):
                told = row["output"] if "output" in row else json.dumps(row["answer"])
                calls = calls_in(told) if "output" not in row or "<tool_call>" in told else None
                prompt: list[dict[str, Any]] = [
                    {"role": "system", "content": row.get("instruction") or row["system"]},
                    {"role": "user", "content": row.get("input") or row["user"]},
                ]
                if calls and tools_in(prompt):
                    name = f"{path.name.split('.')[0]}-{number}"
                    found.append(Judgement(prompt, (canonical(calls),), (1.0,), id=name))
    return Feedback.of(found)


def real(budget: Budget, folder: Path, bench: Feedback) -> Row:
    """Trained on ToolRL's and API-Bank's calls with planted errors, tested on the pairs built from BFCL."""
    gold = gold_of(folder)
    own = bfcl_mistakes(folder)
    figures: dict[str, list[float]] = {}
    for seed in budget.seeds(3):
        made = step("tool-pairs")(gold, corrupted=2, obfuscate="both", seed=seed).feedback
        fits = {
            name: model("tool-calls").make(encoder=encoder, seed=seed).fit(made)
            for name, encoder in (
                ("ToolRM", "tools"),
                ("what a validator sees alone", "tools?parts=schema"),
                ("the rest alone", "tools?parts=reading"),
            )
        }
        told: dict[str, Reward] = {**fits, "random": Random(seed=seed)}
        if not seed:  # the same for every seed, or slow
            plain = step("tool-pairs")(gold, seed=seed).feedback
            told |= {"MiniLM + Bradley-Terry": RewardModel(seed=seed).fit(plain), "length": Length()}
            told["ToolRM on as few pairs"] = model("tool-calls").make(seed=seed).fit(plain)
        for name, reward in told.items():
            result = run(reward, FC_REWARD_BENCH, bench, baselines=(), bootstrap=0)
            figures.setdefault(name, []).append(result.headline[1].value)
            if name == "ToolRM":
                for error in ("parameter value", "function name", "number of calls", "missing optional"):
                    figures.setdefault(f"ToolRM, {error}", []).append(result.subsets[error].value)
                figures.setdefault("ToolRM, mistakes not planted", []).append(won(reward, own))
    why = (
        "the card has no figure for small rewards on the benchmark: the gap is its check 1's. MiniLM learns from a "
        "quarter of the pairs (one seed), as the row on as few pairs does"
    )
    bounds = [at_least("ToolRM", 0.2, over=name) for name in ("MiniLM + Bradley-Terry", "length", "random")]
    return Row("FC-RewardBench built from BFCL", figures, bounds, "accuracy; ties are lost", why)


def bfcl_mistakes(folder: Path) -> Feedback:
    """BFCL's right calls against what the keyword caller answers, where that is none of the admissible ones."""
    rng, caller, told = np.random.default_rng(96), KeywordCaller(), []
    for path in sorted(folder.glob("bfcl_*.jsonl.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            for row in map(json.loads, lines):
                if row["ground_truth"]:
                    prompt = as_prompt(row["function"], row["question"][0])
                    answers = (json.dumps(row["ground_truth"]), caller.answer(prompt, rng))
                    told.append(Judgement(prompt, answers, (1.0, 0.0), id=row["id"]))
    return step("tool-pairs")(Feedback.of(told), corrupted=0, gold="admissible").feedback


def shares(bench: Feedback) -> Row:
    """How far the built pairs are from the published shares of errors, and how many queries have no pair."""
    found = Counter(bench.subsets[k] for k in bench.subset.tolist())
    wanted = quotas(sum(found.values()))
    figures = {"largest gap of a share": [max(abs(found[e] - n) for e, n in wanted.items()) / len(bench)]}
    return Row("the errors' published shares", figures, [at_most("largest gap of a share", 0.005)], "share")


def arithmetic(budget: Budget, bench: Feedback) -> Row:
    """Rewards whose figures are known: the scorer's rule for ties and its sums."""
    right = {(str(j.prompt), j.responses[0]) for j in bench.judgements()}
    known: Sequence[tuple[str, Reward]] = (
        ("knows the gold", Function(lambda p, r: float((str(p), r) in right), "gold")),
        ("constant", Function(lambda p, r: 0.0, "constant")),
    )
    figures: dict[str, list[float]] = {}
    for name, reward in known:
        result = run(reward, FC_REWARD_BENCH, bench, baselines=(), bootstrap=0)
        figures[name] = [result.headline[1].value]
        figures[f"{name}, ties half"] = [result.extra["a tie or no score is half"]]
    figures["random"] = [
        run(Random(seed=seed), FC_REWARD_BENCH, bench, baselines=(), bootstrap=0).headline[1].value
        for seed in budget.seeds(3)
    ]
    bounds = [
        at_least("knows the gold", 1.0),
        at_most("constant", 0.0),
        at_least("constant, ties half", 0.5),
        at_most("constant, ties half", 0.5),
        at_least("random", 0.46),
        at_most("random", 0.54),
    ]
    return Row("scorer's arithmetic", figures, bounds, "accuracy")
