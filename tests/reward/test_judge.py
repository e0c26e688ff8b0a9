"""Judges on a mock server whose truth is known: clean, biased, noisy, refusing, malformed."""

import json
import random
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import guerdon
from guerdon.errors import ConfigError
from guerdon.feedback.schema import Candidates
from guerdon.generate import ServerModel
from guerdon.reward.judge import AgainstReference, PairwiseJudge, PointwiseJudge, Standard
from guerdon.testing import MockReply, MockRequest, MockServer, check_reward

BLOCK = re.compile(r"<<<begin (.+?) ([0-9a-f]{24})>>>\n(.*?)\n<<<end \1 \2>>>", re.S)
CODE = re.compile(r'(?:"verdict_code", which is|"Verdict) ([0-9a-f]{12})')


def blocks(request: MockRequest) -> dict[str, str]:
    return {m[1]: m[3] for m in BLOCK.finditer(request.text)}


def answer(request: MockRequest, verdict: str, rationale: str = "because") -> str:
    """What a model writes that does as it is told."""
    code = CODE.search(request.text)
    if code is None:
        return verdict
    if '"rationale"' in request.text:
        return json.dumps({"rationale": rationale, "verdict": verdict, "verdict_code": code[1]})
    return f"{rationale}\nVerdict {code[1]}: {verdict}"


def likes_apples(request: MockRequest) -> str:
    return answer(request, "yes" if "apple" in blocks(request)["response"] else "no")


def quality(text: str) -> int:
    return int(re.search(r"-?\d+", text)[0])  # type: ignore[index]


def compares(request: MockRequest) -> str:
    a, b = quality(blocks(request)["response A"]), quality(blocks(request)["response B"])
    return answer(request, "tie" if a == b else "A" if a > b else "B")


def model(server: MockServer, **options: Any) -> ServerModel:
    return ServerModel(server.url, server.model, cache="off", first_wait=0.01, **options)


FRUIT = Candidates(["Name a fruit."] * 3, ["An apple.", "A stone.", "One apple a day."])


# ------------------------------------------------------------------ pointwise


@pytest.mark.parametrize("how", ["json", "text", "labels"])
def test_a_clean_judge(how: str) -> None:
    with MockServer(likes_apples, logprobs=False) as server:
        scores = PointwiseJudge(model(server), how=how).score(FRUIT)
    assert scores.value.tolist() == [1, 0, 1]
    assert scores.detail["rationale"] == ["because"] * 3
    assert scores.cost["calls"] >= 3
    assert scores.cost["completion_tokens"] > 0


def test_servers_that_force_nothing_are_read_all_the_same() -> None:
    with MockServer(likes_apples, ways=(), logprobs=False) as server:
        assert PointwiseJudge(model(server), how="json").score(FRUIT).value.tolist() == [1, 0, 1]


def test_label_tokens_give_the_expectation_over_offered_labels_only() -> None:
    def reply(request: MockRequest) -> MockReply:
        share = {"3": 0.4, " 5": 0.2, "5": 0.2, "maybe": 0.15}
        return MockReply("3", logprobs=[{k: float(np.log(v)) for k, v in share.items()}])

    with MockServer(reply) as server:
        scores = PointwiseJudge(model(server), scale="1-5", how="labels").score(FRUIT.take([0]))
        assert scores.value[0] == pytest.approx(4.0)  # 0.4 of 3 against 0.4 of 5
        assert scores.detail["mass"][0] == pytest.approx(0.8)
        timid = PointwiseJudge(model(server), scale="1-5", how="labels", min_mass=0.9).score(FRUIT.take([0]))
    assert timid.status == ["abstained"]
    assert np.isnan(timid.value[0])


def test_a_rubric_is_a_weighted_mean_of_its_criteria() -> None:
    grades = {"Is it true?": "5", "Is it short?": "2"}

    def reply(request: MockRequest) -> str:
        return answer(request, next(v for k, v in grades.items() if k in request.text))

    rubric = Standard.rubric(
        [{"name": "truth", "text": "Is it true?", "weight": 3}, {"name": "length", "text": "Is it short?"}]
    )
    with MockServer(reply) as server:
        scores = PointwiseJudge(model(server), rubric, scale="1-5", how="json").score(FRUIT)
    assert scores.value == pytest.approx([(3 * 5 + 2) / 4] * 3)
    assert scores.detail["criteria"][0] == {"truth": 5.0, "length": 2.0}


def test_what_has_no_verdict_is_unscored_with_a_reason() -> None:
    def reply(request: MockRequest) -> "str | MockReply":
        text = blocks(request)["response"]
        kinds = {
            "refuse": MockReply(None, refusal="I cannot help with that."),
            "unsure": answer(request, "unsure"),
            "chatter": "I think that this is a good response.",
            "other": answer(request, "perhaps"),
            "cut": MockReply("This response is", finish="length"),
        }
        return kinds.get(text, answer(request, "yes"))

    kinds = ["refuse", "unsure", "chatter", "other", "cut", "fine"]
    with MockServer(reply, ways=(), logprobs=False) as server:
        scores = PointwiseJudge(model(server), how="text").score(Candidates(["x"] * 6, kinds))
    assert list(scores.status) == ["abstained", "abstained", "invalid", "invalid", "invalid", "scored"]
    assert np.isnan(scores.value[:5]).all()
    assert all(scores.reason[:5])
    assert "cut off" in str(scores.reason[4])


def test_broken_servers_leave_candidates_unscored() -> None:
    candidates = Candidates([f"q{i}" for i in range(20)], ["An apple."] * 20)
    with MockServer(likes_apples, lasting={"500": 0.3}, logprobs=False) as server:
        scores = PointwiseJudge(model(server, retries=1), how="json").score(candidates)
    assert 0 < np.isnan(scores.value).sum() < 20
    assert set(scores.status) == {"failed", "scored"}
    assert scores.value[scores.scored].tolist() == [1.0] * int(scores.scored.sum())


def test_it_keeps_the_contract() -> None:
    with MockServer(lambda r: answer(r, "yes" if len(blocks(r)["response"]) % 2 else "no")) as server:
        check_reward(PointwiseJudge(model(server), how="json"))


# ------------------------------------------------------------------ votes


def noisy(share: float) -> Callable[[MockRequest], str]:
    def reply(request: MockRequest) -> str:
        chance = random.Random(f"{request.seed}/{blocks(request)['response']}").random()
        return answer(request, "yes" if chance < share else "no")

    return reply


def test_votes_stop_when_the_majority_cannot_change() -> None:
    many = Candidates(["x"] * 40, [f"response {i}" for i in range(40)])
    with MockServer(noisy(0.8), logprobs=False) as server:
        full = PointwiseJudge(model(server), how="json", votes=9, combine="mean").score(many)
        early = PointwiseJudge(model(server), how="json", votes=9).score(many)
        sure = PointwiseJudge(model(server), how="json", votes=9, confidence=0.9).score(many)
    assert full.detail["votes"] == [9] * 40
    assert early.value.tolist() == (full.value > 0.5).astype(float).tolist()  # the verdict of all nine
    assert min(early.detail["votes"]) == 5
    assert sum(sure.detail["votes"]) < sum(early.detail["votes"]) < 9 * 40
    assert full.value.mean() == pytest.approx(0.8, abs=0.07)


# ------------------------------------------------------------------ pairwise


def pair_of(left: int, right: int) -> tuple[Candidates, Candidates]:
    return Candidates(["x"], [f"quality {left}"]), Candidates(["x"], [f"quality {right}"])


@pytest.mark.parametrize("how", ["json", "text", "labels"])
@pytest.mark.parametrize(("left", "right", "expected"), [(3, 1, 1.0), (1, 3, 0.0), (2, 2, 0.5)])
def test_a_clean_judge_is_the_same_in_both_orders(how: str, left: int, right: int, expected: float) -> None:
    with MockServer(compares, logprobs=False) as server:
        judge = PairwiseJudge(model(server), how=how)
        scores = judge.prefer(*pair_of(left, right))
    assert scores.value.tolist() == [expected]
    assert judge.position_bias().inconsistent == 0


def test_position_bias_is_half_a_point_and_reported() -> None:
    with MockServer(lambda r: answer(r, "A")) as server:
        judge = PairwiseJudge(model(server), how="json")
        scores = judge.prefer(*pair_of(3, 1))
        naive = PairwiseJudge(model(server), how="json", order="given").prefer(*pair_of(1, 3))
    assert scores.value.tolist() == [0.5]
    assert "shown first wins" in str(scores.reason[0])
    assert (scores.detail["forward"], scores.detail["backward"]) == ([1.0], [0.0])
    assert judge.position_bias().towards_first == 1
    assert naive.value.tolist() == [1.0]


def test_label_tokens_of_both_orders_are_averaged() -> None:
    def reply(request: MockRequest) -> MockReply:  # 3 to 1 for the better, and 0.2 for the first place
        first = quality(blocks(request)["response A"]) > quality(blocks(request)["response B"])
        p = (0.75 if first else 0.25) + 0.2
        return MockReply("A", logprobs=[{"A": float(np.log(p)), "B": float(np.log(1 - p))}])

    with MockServer(reply) as server:
        scores = PairwiseJudge(model(server), how="labels").prefer(*pair_of(3, 1))
    assert scores.value[0] == pytest.approx((0.95 + (1 - 0.45)) / 2)


def test_a_pair_answered_in_one_order_only_is_unscored() -> None:
    def reply(request: MockRequest) -> "str | MockReply":
        return compares(request) if quality(blocks(request)["response A"]) == 3 else "no idea"

    with MockServer(reply, ways=()) as server:
        scores = PairwiseJudge(model(server), how="text").prefer(*pair_of(3, 1))
    assert np.isnan(scores.value[0])
    assert scores.status == ["invalid"]


def test_the_contract_of_comparing() -> None:
    def reply(request: MockRequest) -> str:
        shown = blocks(request)
        a, b = len(shown["response A"]), len(shown["response B"])
        return answer(request, "tie" if a == b else "A" if a > b else "B")

    with MockServer(reply) as server:
        check_reward(PairwiseJudge(model(server), how="json"), long=False)


@pytest.mark.parametrize("method", ["merge", "swiss"])
def test_ranking_takes_n_log_n_comparisons(method: str) -> None:
    order = np.random.default_rng(0).permutation(16)
    prompts = ["x"] * 16 + ["y"] * 2
    candidates = Candidates(prompts, [f"quality {q}" for q in order] + ["quality 2", "quality 1"])
    with MockServer(compares) as server:
        judge = PairwiseJudge(model(server), how="json", method=method)
        scores = judge.rank(candidates)
    value = scores.value[:16]
    assert judge.position_bias().pairs <= 16 * 5 + 2
    assert scores.value[16] > scores.value[17]
    if method == "merge":
        assert np.argsort(value).tolist() == np.argsort(order).tolist()
    assert np.corrcoef(value, order)[0, 1] > 0.9


def test_against_a_reference() -> None:
    candidates = Candidates(["x"] * 3, ["quality 3", "quality 1", "quality 9"], reference=["quality 2"] * 2 + [None])
    with MockServer(compares) as server:
        scores = AgainstReference(PairwiseJudge(model(server), how="json")).score(candidates)
    assert scores.value[:2].tolist() == [1, 0]
    assert list(scores.status) == ["scored", "scored", "invalid"]


# ------------------------------------------------------------------ specifications


def test_specifications_open_judges(tmp_path: Any) -> None:
    rubric = tmp_path / "rubric.yaml"
    rubric.write_text("criteria:\n- {name: apple, text: 'Is it about an apple?', weight: 2}\n- Is it short?\n")
    with MockServer(likes_apples) as server:
        asked = guerdon.load(f"judge:{server.spec}?question=Is%20it%20an%20apple%3F&how=json&cache=off")
        assert asked.score(FRUIT).value.tolist() == [1, 0, 1]
        by_rubric = guerdon.load(f"judge:{server.spec}?by=rubric&rubric={rubric}&how=json&cache=off")
        assert by_rubric.score(FRUIT).value.tolist() == [1, 0, 1]
        pairwise = guerdon.load(f"judge:{server.spec}?protocol=pairwise&votes=3&how=json")
    assert isinstance(pairwise, PairwiseJudge)
    assert len({asked.name, by_rubric.name, pairwise.name}) == 3
    from guerdon.reward.load import fingerprint

    spec = f"judge:http://localhost:1/v1#m?by=rubric&rubric={rubric}"
    before = fingerprint(spec)
    rubric.write_text("- Another one.")
    assert fingerprint(spec) != before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("protocol=listless", "protocol='listless'"),
        ("by=mood", "use one of question, principles, rubric"),
        ("by=rubric", "needs rubric=FILE"),
        ("rubric=no-such-file.yaml", "neither a file nor a JSON list"),
        ("votes=many", "use a whole number"),
        ("how=magic", "use one of auto"),
        ("scale=5-1", "scale='5-1'"),
        ("colour=red", "no option 'colour'"),
        ("question", "is not option=value"),
        ("question=a&by=rubric", "judges by one of them"),
        ("scale=1-10&how=labels", None),
    ],
)
def test_wrong_specifications_say_so(options: str, message: str | None) -> None:
    spec = f"judge:http://localhost:1/v1#m?{options}"
    with pytest.raises(ConfigError, match=message or "begin differently"):
        guerdon.load(spec).score(FRUIT)


def test_a_judge_scores_chooses_and_evaluates_on_the_command_line(tmp_path: Any) -> None:
    from typer.testing import CliRunner

    from guerdon.cli import app

    rows = [{"prompt": "Name a fruit.", "response": r} for r in ("quality 1", "quality 3", "quality 2")]
    (tmp_path / "c.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    pairs = [{"prompt": f"q{i}", "chosen": f"quality {i + 1}", "rejected": f"quality {i}"} for i in range(6)]
    (tmp_path / "f.jsonl").write_text("".join(json.dumps(r) + "\n" for r in pairs))

    def reply(request: MockRequest) -> str:
        shown = blocks(request)
        return compares(request) if "response A" in shown else answer(request, str(quality(shown["response"])))

    with MockServer(reply) as server:
        pointwise = f"judge:{server.spec}?scale=1-5&cache=off"
        pairwise = f"judge:{server.spec}?protocol=pairwise&cache=off"
        run = CliRunner().invoke
        scored = run(app, ["score", pointwise, str(tmp_path / "c.jsonl"), "--out", str(tmp_path / "s.jsonl")])
        assert scored.exit_code == 0, scored.output
        best = run(app, ["best", pairwise, str(tmp_path / "c.jsonl"), "--out", str(tmp_path / "b.jsonl")])
        assert best.exit_code == 0, best.output
        evaluated = run(app, ["eval", pairwise, str(tmp_path / "f.jsonl"), "--json"])
        assert evaluated.exit_code == 0, evaluated.output
    assert [json.loads(s)["score"] for s in (tmp_path / "s.jsonl").read_text().splitlines()] == [1, 3, 2]
    assert "quality 3" in (tmp_path / "b.jsonl").read_text()


def test_bradley_terry_strengths_are_the_maximum() -> None:
    from scipy.optimize import minimize

    from guerdon.reward.judge.tournament import bradley_terry

    played = [(0, 1, 1.0), (1, 2, 0.5), (2, 0, 0.0), (3, 0, 1.0), (2, 3, float("nan"))]

    def loss(u: np.ndarray) -> float:
        kept = [p for p in played if p[2] == p[2]]
        wins = sum(p * np.logaddexp(0, u[j] - u[i]) + (1 - p) * np.logaddexp(0, u[i] - u[j]) for i, j, p in kept)
        return float(wins + (u**2).sum() / 2)

    assert bradley_terry(4, played) == pytest.approx(minimize(loss, np.zeros(4)).x, abs=1e-4)


def test_a_candidate_without_any_verdict_has_no_place() -> None:
    def reply(request: MockRequest) -> "str | MockReply":
        if "quality 0" in request.text:
            return MockReply(None, refusal="I cannot help with that.")
        return compares(request)

    with MockServer(reply) as server:
        scores = PairwiseJudge(model(server)).rank(Candidates(["x"] * 4, [f"quality {q}" for q in (0, 3, 1, 2)]))
    assert np.isnan(scores.value[0])
    assert scores.status[0] == "abstained"
    assert scores.value[1] > scores.value[3] > scores.value[2]
