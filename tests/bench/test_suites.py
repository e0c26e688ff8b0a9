"""Suites: the protocols' arithmetic against independent computations, and what a user meets on the way."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from guerdon.bench.remembered import remembered
from guerdon.bench.significance import detectable, holm, mcnemar
from guerdon.bench.suites.compare import compare
from guerdon.bench.suites.items import ask, credits, duels_of
from guerdon.bench.suites.registry import SUITES, suite
from guerdon.bench.suites.result import SuiteResult, from_dict
from guerdon.bench.suites.reward_bench import COUNTS, PRIOR, SECTIONS, summary
from guerdon.bench.suites.run import run
from guerdon.bench.suites.suite import Cells, Suite
from guerdon.errors import ConfigError, FeedbackError
from guerdon.feedback.schema import Candidates, Judgement
from guerdon.feedback.star import Feedback
from guerdon.papers.rewardbench import ties
from guerdon.reward.base import Function, Reward, Scores
from guerdon.reward.baselines import Length


def trios(counts: dict[str, int]) -> Feedback:
    """Right and wrong responses that say so, with the true names of subsets."""
    return Feedback.of(
        Judgement(f"{name} {i}", ("right", "wrong"), (1.0, 0.0), subset=name)
        for name, n in counts.items()
        for i in range(n)
    )


def scripted(score: Callable[[str, str], float], name: str = "scripted") -> Reward:
    return Function(score, name)


PERFECT = scripted(lambda p, r: float(r == "right"), "perfect")
CONSTANT = scripted(lambda p, r: 1.0, "constant")


class AlwaysFirst(Reward):
    """A judge that likes whatever it sees first, half of the time swapped by the caller; or says nothing."""

    name = "first"

    def __init__(self, said: float = 0.5) -> None:
        self.said = said

    def prefer(self, a: Candidates, b: Candidates) -> Scores:
        return Scores(np.full(len(a), self.said))


# ------------------------------------------------------------------------------------------------ RewardBench


def naive_reward_bench(rates: dict[str, float]) -> dict[str, float]:
    out = {}
    for section, members in SECTIONS.items():
        present = [m for m in members if m in rates]
        if present:
            out[section] = sum(rates[m] * COUNTS[m] for m in present) / sum(COUNTS[m] for m in present)
    weights = dict.fromkeys(out, 2)
    prior = [rates[m] for m in PRIOR if m in rates]
    if prior:
        out["Prior Sets"] = sum(prior) / len(prior)
        weights["Prior Sets"] = 1
    overall = sum(out[k] * w for k, w in weights.items()) / sum(weights.values())
    return {**out, "overall": overall}


def test_reward_bench_weights_agree_with_an_independent_computation() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        names = [n for n in (*COUNTS, *PRIOR) if rng.random() > 0.2] or ["math-prm"]
        items = rng.integers(1, 200, len(names)).astype(float)
        earned = np.floor(items * rng.random(len(names)))
        found = summary(Cells(tuple(names), earned[None], items[None]))
        wanted = naive_reward_bench(dict(zip(names, earned / items, strict=True)))
        for key, value in wanted.items():
            assert found[key][0] == pytest.approx(value, abs=1e-12)


def test_mathematics_is_half_of_reasoning() -> None:
    only = {n: float(n == "math-prm") for n in SECTIONS["Reasoning"]}
    cells = Cells(tuple(only), np.array([list(only.values())]), np.ones((1, len(only))))
    assert summary(cells)["Reasoning"][0] == 0.5


def test_constant_scores_earn_nothing_and_a_tied_judge_half() -> None:
    data = trios(dict.fromkeys(COUNTS, 3))
    bench = suite("rewardbench")
    for reward, wanted in ((CONSTANT, 0.0), (PERFECT, 1.0), (AlwaysFirst(), 0.5), (AlwaysFirst(np.nan), 0.5)):
        result = run(reward, bench, data, bootstrap=50)
        assert result.headline[1].value == wanted, reward.name
    assert run(AlwaysFirst(np.nan), bench, data, bootstrap=0).facts["unscored duels"] == len(data)


def test_missing_subsets_are_refused_unless_partial_was_said() -> None:
    data = trios({"hep-python": 4})
    with pytest.raises(ConfigError, match=r"lack alpacaeval-easy.*--partial"):
        run(PERFECT, suite("rewardbench"), data)
    assert any("partial" in n for n in run(PERFECT, suite("rewardbench"), data, partial=True, bootstrap=0).notes)


# ---------------------------------------------------------------------------------------------- RewardBench 2


def naive_ties(scores: dict[str, tuple[list[float], int]]) -> float:
    """Ties as published: prompts by id, (scores, how many are right) each."""

    def stats(key: str) -> tuple[bool, float, float]:
        values, right = scores[key]
        good, bad = values[:right], values[right:]
        return min(good) > max(bad), max(good) - min(good), min(good) - max(bad)

    numbers = sorted({k.split(":")[1] for k in scores})
    tied, ref = [stats(f"tied:{n}") for n in numbers], [stats(f"ref:{n}") for n in numbers]
    spread, margin = np.array([t[1] for t in tied]), np.array([t[2] for t in tied])
    hard = np.minimum(margin, np.array([r[2] for r in ref]))
    with np.errstate(divide="ignore", invalid="ignore"):
        tanh = np.nan_to_num(np.tanh(hard / spread - 1), nan=0.0)
    return float(
        0.3 * np.mean([t[0] for t in tied])
        + 0.3 * np.mean([r[0] for r in ref])
        + 0.2 * np.mean(margin > spread)
        + 0.2 * np.mean(hard > spread)
        + 0.01 * np.mean(tanh)
    )


def test_ties_agree_with_the_published_formula() -> None:
    rng = np.random.default_rng(3)
    for zero in (False, True):
        truth: dict[str, tuple[list[float], int]] = {}
        for n in range(5):
            values = rng.normal(size=6).round(2).tolist()
            truth[f"tied:{n}"] = ([1.0, 1.0, 1.0, *values[3:]] if zero and n < 2 else values, 3)
            truth[f"ref:{n}"] = (rng.normal(size=4).round(2).tolist(), 1)
        table = {(key, f"{key} answer {i}"): v for key, (values, _) in truth.items() for i, v in enumerate(values)}
        data = Feedback.of(
            Judgement(
                key,
                tuple(f"{key} answer {i}" for i in range(len(values))),
                tuple(float(i < right) for i in range(len(values))),
                subset="Ties",
                id=key,
                scale="partial",
            )
            for key, (values, right) in truth.items()
        )
        reward = scripted(lambda p, r, table=table: table[p, r])
        found = run(reward, suite("rewardbench-2"), data, partial=True, bootstrap=0).figures["Ties"].value
        assert found == pytest.approx(naive_ties(truth), abs=1e-12)


def test_figures_recorded_from_reward_benchs_own_code() -> None:
    """What allenai/reward-bench's calculate_scores_per_section and process_single_model print for these scores."""
    rates = {name: ((7 * i) % 23) / 23 for i, name in enumerate(sorted(COUNTS))}
    found = summary(Cells(tuple(rates), np.array([list(rates.values())]), np.ones((1, len(rates)))))
    recorded = {
        "Chat": 0.36373572990041286,
        "Chat Hard": 0.46281464530892447,
        "Safety": 0.6017626321974148,
        "Reasoning": 0.5217391304347826,
    }
    for section, value in recorded.items():
        assert found[section][0] == pytest.approx(value, abs=1e-12)
    scores = {}
    for n in range(4):
        scores[f"tied:{n}"] = np.array([((5 * i + 3 * n) % 11) / 10 + (i < 3) * 0.5 for i in range(6)])
        scores[f"ref:{n}"] = np.array([((7 * i + 2 * n) % 9) / 10 + (i < 1) * 0.4 for i in range(4)])
    reward = scripted(lambda p, r: float(scores[p][int(r)]))
    ours = run(reward, suite("rewardbench-2"), ties(scores), partial=True, bootstrap=0).figures["Ties"].value
    assert ours == pytest.approx(0.21664758692316977, abs=1e-12)


def test_best_of_four_shares_the_credit_between_equals() -> None:
    rows = [Judgement(f"p{i}", ("a", "b", "c", "d"), (1.0, 0.0, 0.0, 0.0), scale="partial") for i in range(3)]
    scores = {"p0": [1, 1, 1, 1], "p1": [2, 2, 1, 0], "p2": [1, 2, 0, 0]}
    reward = scripted(lambda p, r: float(scores[p]["abcd".index(r)]))
    data = Feedback.of(rows)
    duels = duels_of(data)
    _, credit = credits(ask(reward, data, duels), duels, "judgement", "share")
    assert credit.tolist() == [0.25, 0.5, 0.0]


# ------------------------------------------------------------------------------------------- RM-Bench and RMB


def test_rm_bench_levels_follow_the_styles() -> None:
    """A reward that only likes length wins every easy duel, loses every hard one and ties the others."""
    styles = ("x", "xx" * 5, "xxx" * 9)
    data = Feedback.of(
        Judgement(f"p{i}", (*(s + "r" for s in styles), *(s + "w" for s in styles)), (1.0,) * 3 + (0.0,) * 3, subset=s)
        for i, s in enumerate(("alpacaeval", "bigcode/humanevalpack", "xstest-should-respond"))
    )
    result = run(Length(), suite("rm-bench"), data, bootstrap=20)
    levels = [result.figures[k].value for k in ("easy", "normal", "hard", "overall")]
    assert levels == [1.0, 0.0, 0.0, pytest.approx(1 / 3)]
    assert result.facts["items"] == 27
    with pytest.raises(FeedbackError, match="three chosen and three rejected"):
        run(Length(), suite("rm-bench"), Feedback.of([Judgement("p", ("a", "b"), (1.0, 0.0))]))


def test_rmb_lists_are_won_against_every_loser(shared_data: Path) -> None:
    """The length anchors of the data at hand, to the rounding of how length is counted."""
    bench = suite("rmb")
    data = bench.feedback(shared_data)
    result = run(Length(), bench, data, bootstrap=100)
    parts = [result.figures[k].value for k in list(result.figures)[1:5]]
    assert parts == pytest.approx([0.648, 0.543, 0.489, 0.364], abs=0.012)
    chance = next(b for b in result.baselines if b.name == "random").figures
    assert chance["best-of-n, helpfulness"].value == pytest.approx(0.31, abs=0.02)


def test_every_suite_whose_data_are_at_hand_runs(shared_data: Path) -> None:
    ran = []
    for bench in SUITES:
        if not isinstance(bench, Suite):
            continue
        try:
            data = bench.feedback(shared_data)
        except ConfigError:
            continue  # not at hand
        result = run(Length(), bench, data, limit=60, bootstrap=20)
        assert 0 <= result.headline[1].value <= 1
        assert result.facts["unscored duels"] == 0
        ran.append(bench.name)
    assert {"rmb", "rm-bench", "auto-j", "pandalm", "mt-bench", "ifbench", "qa-feedback", "writing"} <= set(ran)


def test_judgebench_and_llmbar_are_read_as_published(tmp_path: Path) -> None:
    """Rows in the published layouts: prompts, sides and subsets arrive."""
    pairs = [
        {"source": source, "question": f"q{i}", "response_A": "right", "response_B": "wrong", "label": label}
        for i, (source, label) in enumerate((("mmlu-pro-math", "A>B"), ("livebench-math", "B>A")) * 3)
    ]
    (tmp_path / "dataset=judgebench,response_model=gpt.jsonl").write_text("\n".join(map(json.dumps, pairs)))
    for name in ("Natural", "GPTInst"):
        rows = [{"input": f"do {name} {i}", "output_1": "right", "output_2": "wrong", "label": 1} for i in range(4)]
        (tmp_path / name).mkdir()
        (tmp_path / name / "dataset.json").write_text(json.dumps(rows))
    data = suite("judgebench").feedback(tmp_path)
    result = run(PERFECT, suite("judgebench"), data, bootstrap=0)
    assert {k: f.value for k, f in result.subsets.items()} == {"knowledge": 1.0, "math": 0.0}
    assert result.facts["prompts"] == 6
    data = suite("llmbar").feedback(tmp_path)
    result = run(PERFECT, suite("llmbar"), data, bootstrap=0)
    assert {k: f.value for k, f in result.subsets.items()} == {"GPTInst": 1.0, "Natural": 1.0}
    assert result.facts["prompts"] == 8
    (tmp_path / "dataset=judgebench,response_model=gpt.jsonl").write_text(json.dumps({**pairs[0], "label": "tie"}))
    with pytest.raises(FeedbackError, match=r"jsonl:1: label: 'tie' is neither"):
        suite("judgebench").feedback(tmp_path)


# ------------------------------------------------------------------------------------------------- statistics


def noisy(seed: int, skill: float, name: str) -> Reward:
    """Right responses score ``skill`` higher in the mean, unit noise by text."""

    def score(prompt: str, response: str) -> float:
        noise = np.random.default_rng([seed, *f"{prompt}{response}".encode()]).normal()
        return noise + skill * (response == "right")

    return scripted(score, name)


def measured(rewards: Sequence[Reward], n: int = 150) -> list[SuiteResult]:
    bench = suite("rewardbench")
    return [run(r, bench, trios({"hep-python": n}), partial=True, bootstrap=200) for r in rewards]


def test_compare_says_who_is_better_and_when_it_cannot() -> None:
    results = measured([noisy(0, 0.2, "weak"), noisy(1, 2.5, "strong"), noisy(2, 2.5, "as strong")])
    ranked, differences = compare(suite("rewardbench"), results)
    assert ranked[-1].reward == "weak"
    verdict = {frozenset((d.first, d.second)): d.verdict for d in differences}
    assert verdict[frozenset(("strong", "weak"))] == "strong"
    assert verdict[frozenset(("strong", "as strong"))] == "cannot be told apart"
    assert all(d.adjusted >= d.p and 0 < d.detectable < 0.3 for d in differences)
    again = [from_dict(json.loads(json.dumps(r.to_dict()))) for r in results]
    assert compare(suite("rewardbench"), again)[1][0].headline == differences[0].headline


def test_results_of_other_data_or_twice_the_same_are_not_compared() -> None:
    first, second = measured([noisy(0, 1, "a"), noisy(1, 1, "b")], n=20)
    other = measured([noisy(0, 1, "c")], n=21)[0]
    with pytest.raises(ConfigError, match="different data"):
        compare(suite("rewardbench"), [first, other])
    with pytest.raises(ConfigError, match="called a"):
        compare(suite("rewardbench"), [first, first])
    with pytest.raises(ConfigError, match="no result of guerdon bench"):
        from_dict({"accuracy": 1}, "x.json")
    for damage in ({"figures": None}, {"baselines": []}, {"items": {**first.items, "credit": [1.0]}}):
        with pytest.raises(ConfigError, match=r"x.json is a damaged result .*; measure again"):
            from_dict(first.to_dict() | damage, "x.json")
    assert second.reward == "b"


def test_mcnemar_and_holm_agree_with_hand_computations() -> None:
    assert mcnemar(np.array([1, 1, 1, 0, 1.0]), np.array([0, 0, 0, 0, 1.0])) == (3, 0, 0.25)
    assert holm(np.array([0.01, 0.04, 0.03])).tolist() == pytest.approx([0.03, 0.06, 0.06])
    assert detectable(0.01) == pytest.approx(0.0280, abs=1e-4)


def test_intervals_of_the_headline_cover_the_truth() -> None:
    """About 95 of 100 intervals hold the true accuracy of a reward whose errors are independent."""
    from scipy.stats import norm

    truth, bench, hits = norm.cdf(1 / np.sqrt(2)), suite("rewardbench"), 0
    data = trios({"hep-go": 80})
    for seed in range(100):
        figure = run(noisy(seed, 1.0, "r"), bench, data, partial=True, bootstrap=200, baselines=()).headline[1]
        hits += figure.low <= truth <= figure.high
    assert 86 <= hits <= 100


# ------------------------------------------------------------------------------------------- a user's own suite


def test_a_suite_of_ones_own_takes_a_few_lines(tmp_path: Path) -> None:
    mine = Suite(
        name="greetings",
        what="which greeting is friendlier",
        source="write greetings.jsonl with prompt, chosen, rejected",
        files=("greetings.jsonl",),
        rule="half",
    )
    with pytest.raises(ConfigError, match=r"no greetings.jsonl under .*; write greetings.jsonl"):
        mine.feedback(tmp_path)
    rows = [{"prompt": f"hello {i}", "chosen": "good morning", "rejected": "what"} for i in range(12)]
    (tmp_path / "greetings.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    result = run(Length(), mine, mine.feedback(tmp_path))
    assert result.headline[0] == "overall"
    assert result.headline[1].value == 1.0
    with pytest.raises(ConfigError, match="no suite 'nope'; there are rewardbench"):
        suite("nope")


def test_scores_are_remembered_and_failures_asked_again(tmp_path: Path) -> None:
    asked: list[str] = []
    broken = {"p3 right"}

    def score(prompt: str, response: str) -> float | None:
        asked.append(f"{prompt} {response}")
        return None if f"{prompt} {response}" in broken else float(response == "right")

    data = Feedback.of(Judgement(f"p{i}", ("right", "wrong"), (1.0, 0.0), subset="hep-js") for i in range(6))
    bench = suite("rewardbench")

    def measure(name: str = "one") -> SuiteResult:
        kept = remembered(Function(score), name, tmp_path, batch=4)
        return run(kept, bench, data, partial=True, bootstrap=0, baselines=())

    first = measure()
    assert len(asked) == 12
    assert first.facts["unscored duels"] == 1
    broken.clear()
    asked.clear()
    second = measure()
    assert asked == ["p3 right"]
    assert second.headline[1].value == 1.0
    asked.clear()
    measure("two")  # another reward knows nothing of the first one's scores
    assert len(asked) == 12
    (tmp_path / "scores.sqlite").write_bytes(b"no database")
    assert measure().headline[1].value == 1.0


def test_a_judge_that_compares_is_remembered_as_one(tmp_path: Path) -> None:
    calls = 0

    class Counting(AlwaysFirst):
        def prefer(self, a: Candidates, b: Candidates) -> Scores:
            nonlocal calls
            calls += len(a)
            return super().prefer(a, b)

    data = trios({"hep-js": 5})
    for _ in range(2):
        kept = remembered(Counting(0.9), "judge", tmp_path)
        assert run(kept, suite("rewardbench"), data, partial=True, bootstrap=0, baselines=()).headline[1].value == 1.0
    assert calls == 5


def test_the_cross_fitted_baseline_learns_what_features_tell_and_sees_no_test_prompt() -> None:
    rng = np.random.default_rng(0)
    kinds = {"signal": lambda i: (f"a kind and warm answer {i}", f"a rude and cold answer {i}")}
    kinds["noise"] = lambda i: tuple(rng.permutation([f"a kind and warm answer {i}", f"a rude and cold answer {i}"]))
    for kind, texts in kinds.items():
        data = Feedback.of(Judgement(f"prompt {i}", texts(i), (1.0, 0.0)) for i in range(120))
        result = run(CONSTANT, suite("auto-j"), data, baselines=(), cross_fit=True, bootstrap=100)
        (fitted,) = result.baselines
        if kind == "signal":
            assert fitted.figures["overall"].value > 0.95
        else:
            assert 0.3 < fitted.figures["overall"].value < 0.7
    few = run(CONSTANT, suite("auto-j"), data.take(np.arange(10)), baselines=(), cross_fit=True, bootstrap=0)
    assert not few.baselines
    assert any("no cross-fitted baseline: 10 prompts; 50 are needed" in n for n in few.notes)
