"""RABench: the published pair penalty, principles apart, bad rows."""

import json
from pathlib import Path

import numpy as np
import pytest

from guerdon.bench.suites.registry import suite
from guerdon.bench.suites.run import run
from guerdon.errors import FeedbackError
from guerdon.feedback.schema import Candidates
from guerdon.reward.base import Function, Reward, Scores
from guerdon.reward.baselines import Length


class ReadsPrinciple(Reward):
    """Likes many or few of the letter that the principle names."""

    name = "reads"
    reads = ("criterion",)

    def score(self, candidates: Candidates) -> Scores:
        assert candidates.criterion is not None
        signs = [1 if str(c).startswith("many") else -1 for c in candidates.criterion]
        return Scores(
            np.array([s * str(r).count("a") for s, r in zip(signs, candidates.responses, strict=True)], float)
        )


def published(said: dict[str, float], gold: dict[str, float]) -> float:
    """The penalty of the paper's own code, written out once more."""
    names, cost, whole = list(gold), 0.0, 0.0
    for i, a in enumerate(names):
        for b in names[i + 1 :]:
            p, g = said[a] - said[b], gold[a] - gold[b]
            w = 1 + abs(g)
            whole += w
            cost += w if p * g < 0 else 0.5 * w if p == 0 and g != 0 else 0.0
    return max(0.0, 1 - cost / whole)


def write(folder: Path, rows: list[dict[str, object]]) -> Path:
    (folder / "rabench.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    return folder


def rows(rng: np.random.Generator, n: int = 40) -> list[dict[str, object]]:
    out: list[dict[str, object]] = []
    for i in range(n):
        texts = {f"m{k}": "a" * int(rng.integers(1, 6)) + "b" * (k + 1) for k in range(5)}
        for word, sign in (("many", 1), ("few", -1)):
            scores = {name: sign * float(text.count("a")) for name, text in texts.items()}
            out.append(
                {
                    "principle": f"{word} letters",
                    "prompt": f"p{i}",
                    "responses": texts,
                    "scores": scores,
                    "domain": word,
                }
            )
    return out


def test_lists_earn_what_the_papers_code_gives_them(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    table = rows(rng)
    for row in table:
        assert isinstance(row["responses"], dict)
        row["scores"] = {n: float(rng.integers(1, 6)) for n in row["responses"]}
    score = {t: float(rng.integers(0, 4)) for row in table for t in row["responses"].values()}  # type: ignore[attr-defined]
    bench = suite("rabench")
    found = run(Function(lambda p, r: score[r], "drawn"), bench, bench.feedback(write(tmp_path, table)), bootstrap=0)
    wanted = [
        published({n: score[t] for n, t in row["responses"].items()}, row["scores"])  # type: ignore[attr-defined, arg-type]
        for row in table
        if len(set(row["scores"].values())) > 1  # type: ignore[attr-defined]
    ]
    assert found.headline[1].value == pytest.approx(np.mean(wanted), abs=1e-12)


def test_a_reward_that_reads_the_principle_is_right_under_opposite_ones(tmp_path: Path) -> None:
    bench = suite("rabench")
    data = bench.feedback(write(tmp_path, rows(np.random.default_rng(1))))
    reads, blind = (run(r, bench, data, bootstrap=0) for r in (ReadsPrinciple(), Length()))
    assert reads.headline[1].value == 1.0
    assert reads.extra["both best, principles apart"] == 1.0
    assert blind.extra["both best, principles apart"] == 0.0
    assert blind.headline[1].value < 0.7


def test_a_ranking_alone_is_enough_and_a_row_without_grades_is_named(tmp_path: Path) -> None:
    bench = suite("rabench")
    row = {"principle": "p", "prompt": "q", "responses": {"x": "one", "y": "two"}}
    gold = json.dumps({"best-to-worst": ["y", "x"]})
    data = bench.feedback(write(tmp_path, [{**row, "ground_truth": gold}]))
    assert data.grades.tolist() == [1.0, 2.0]
    with pytest.raises(FeedbackError, match=r"rabench\.jsonl:1: scores"):
        bench.feedback(write(tmp_path, [row]))
    with pytest.raises(FeedbackError, match=r"only 1 of 2 responses have a grade"):
        bench.feedback(write(tmp_path, [{**row, "scores": {"x": 1}}]))
