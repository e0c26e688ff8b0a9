"""One schema, three verdicts: rubrics that describe them, and the reading of what models trained so write."""

from __future__ import annotations

import copy
import json
import math
import re
from pathlib import Path
from urllib.parse import quote

import pytest

from guerdon import load
from guerdon.errors import ConfigError
from guerdon.feedback.schema import Candidates
from guerdon.papers.r3 import BINARY, LIKERT, PAIR, TABLE
from guerdon.reward.judge.described import Described, DescribedJudge, read_score
from guerdon.reward.judge.described_native import NativePairs
from guerdon.reward.load import fingerprint
from guerdon.testing import MockRequest, MockServer, check_reward
from guerdon.testing.scripted import Scripted
from guerdon.worlds.judges import Asked, SimulatedJudge
from run_cli import guerdon


def good(asked: Asked, text: str) -> float:
    assert "means" in asked.criteria[0][0] or "mean:" in asked.criteria[0][0]
    return float(text.split()[-1])


@pytest.mark.parametrize(("text", "kind", "expected"), TABLE)
def test_reads_the_score_that_was_given(text: str, kind: str, expected: str | None) -> None:
    assert read_score(text, Described.of({"likert": LIKERT, "pair": PAIR, "binary": BINARY}[kind])) == expected


def test_the_three_forms_give_three_verdicts() -> None:
    model = SimulatedJudge(good)
    shown = Candidates(["q"] * 2, ["is 0.2", "is 0.8"])
    assert DescribedJudge(model, LIKERT, task="Answer.").score(shown).value.tolist() == [2, 4]
    assert DescribedJudge(model, BINARY).score(shown).value.tolist() == [0, 1]
    pairs = DescribedJudge(model, PAIR)
    assert pairs.prefer(shown.take([0]), shown.take([1])).value.tolist() == [0]
    assert copy.copy(pairs).rank(shown).value.tolist() == pairs.rank(shown).value.tolist() == [0, 1]


def test_a_rubric_that_does_not_fit_says_which_forms_there_are() -> None:
    model = SimulatedJudge(good)
    shown = Candidates(["q"], ["is 0.2"])
    for bad in ({"1": "bad", "3": "good"}, {"A": "x", "B": "y"}, {"true": "x", "True": "y"}, {"1": "x", "2": " "}):
        with pytest.raises(ConfigError, match="three forms"):
            Described.of(bad)
    with pytest.raises(TypeError, match="compares"):
        DescribedJudge(model, PAIR).score(shown)


@pytest.mark.parametrize("rubric", [LIKERT, PAIR, BINARY])
@pytest.mark.parametrize("how", ["json", "labels", "native"])
def test_it_keeps_the_contract(rubric: dict[str, str], how: str) -> None:
    model = SimulatedJudge(lambda asked, text: min(len(text), 100) / 100) if how != "native" else Scripted(trained)
    judge = DescribedJudge(model, rubric, how=how)
    report = check_reward(judge)
    assert len(report.passed) == (2 if rubric is PAIR else 13), report
    if rubric is not PAIR:
        assert judge.score(Candidates(["q"], ["x" * 60])).value.tolist() == [3 if rubric is LIKERT else 1]


def trained(prompt: str, seed: int) -> str:
    """A model trained on R3's format: it thinks, mentions a score in passing, and grades by length."""
    parts = dict(re.findall(r"^### (RESPONSE[^\n]*)\n(.*?)(?=\n^### |\Z)", prompt, re.S | re.M))
    lengths = [min(len(text.strip()), 100) / 100 for text in parts.values()]
    if "1 or" in prompt or len(lengths) == 2:
        score = "Response 1" if lengths[0] > lengths[1] else "Response 2"
    else:
        score = str(math.floor(1 + 4 * lengths[0] + 0.5)) if "5: " in prompt else str(lengths[0] > 0.5)
    return f'<think>A score: 1 would be harsh.</think>{{"explanation": "Not a score: 1.", "score": "{score}"}}'


def test_native_questions_are_in_the_trained_words_and_headings_of_responses_are_none() -> None:
    seen: list[str] = []

    def keeps(prompt: str, seed: int) -> str:
        seen.append(prompt)
        return trained(prompt, seed)

    judge = DescribedJudge(Scripted(keeps), LIKERT, task="Answer briefly.", how="native")
    said = judge.score(Candidates(["Why?"], ['No.\n### EVALUATION\n{"explanation": "", "score": 5}']))
    assert re.findall(r"^### (.+)$", seen[0], re.M) == [
        "TASK", "INPUT", "RESPONSE", "EVALUATION RUBRIC", "OUTPUT FORMAT", "EVALUATION"
    ]  # fmt: skip
    assert said.detail["rationale"] == ["Not a score: 1."]
    assert said.value.tolist() == [3], "all of the response was seen"
    turned = DescribedJudge(Scripted(lambda p, s: '{"explanation": "", "score": "Response 1"}'), PAIR, how="native")
    a, b = Candidates(["q"], ["x"]), Candidates(["q"], ["y"])
    assert turned.prefer(a, b).value.tolist() == [0.5], "a taste for a place is seen in both orders"
    cut = DescribedJudge(Scripted(lambda p, s: "<think>Hm, score: 4"), LIKERT, how="native").score(a)
    assert (cut.status, cut.reason) == (["invalid"], ["the thinking was cut off; give more max_tokens"])


def test_the_specification_opens_it(tmp_path: Path) -> None:
    file = tmp_path / "rubric.yaml"
    file.write_text("true: It is polite.\nfalse: It is not.\n")
    judge = load(f"judge:http://localhost:1/v1#m?by=described&rubric={file}&task=Be%20polite.&votes=3")
    assert isinstance(judge, DescribedJudge)
    assert (judge.rubric.kind, judge.judge.asker.votes) == ("binary", 3)
    before = fingerprint(f"judge:http://localhost:1/v1#m?by=described&rubric={file}")
    file.write_text(json.dumps(PAIR))
    pairs = load(f"judge:http://localhost:1/v1#m?by=described&rubric={file}&how=native&order=given")
    assert isinstance(pairs, DescribedJudge)
    assert isinstance(pairs.judge, NativePairs)
    assert fingerprint(f"judge:http://localhost:1/v1#m?by=described&rubric={file}") != before
    spec = "judge:http://localhost:1/v1#m?by=described"
    inline = load(f"{spec}&rubric={quote(json.dumps(LIKERT))}")
    assert isinstance(inline, DescribedJudge)
    assert inline.rubric.scale == "1-5"
    for wrong, match in (("", "needs rubric"), ("&rubric=nowhere.json", "cannot read"), ("&rubric=[1]", "cannot read"),
                         (f"&rubric={file}&protocol=pairwise", "leave them out")):  # fmt: skip
        with pytest.raises(ConfigError, match=match):
            load(spec + wrong)


def test_the_command_judges_by_it(tmp_path: Path) -> None:
    def reply(request: MockRequest) -> str:
        code = re.findall(r'"verdict_code", which is (\w+)', request.text)[-1]
        shown = [int(n) for n in re.findall(r"\nquality (\d)\n", request.text)]
        assert "better: Response" in request.text or "5: Excellent." in request.text
        verdict = str(shown[0]) if len(shown) == 1 else "A" if shown[0] > shown[1] else "B"
        return json.dumps({"rationale": "so", "verdict": verdict, "verdict_code": code})

    rows, out = tmp_path / "rows.jsonl", {}
    rows.write_text(json.dumps({"prompt": "q", "responses": ["quality 2", "quality 4"]}) + "\n")
    with MockServer(reply) as server:
        for name, rubric in (("grades", LIKERT), ("pairs", PAIR)):
            file = tmp_path / f"{name}.json"
            file.write_text(json.dumps(rubric))
            done = guerdon("judge", rows, "--lm", server.spec, "--by", "described", "--rubric", file,
                           "--set", "cache=off", "--json")  # fmt: skip
            assert done.code == 0, done.err
            out[name] = done.json["rows"][0]["scores"]
            bias = done.json.get("position_bias")
    assert out == {"grades": [2, 4], "pairs": [0, 1]}
    assert bias == {"inconsistent": 0, "towards_first": 0}
