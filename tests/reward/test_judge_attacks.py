"""Attacks on judges: what quotes its material is not forged, what believes it is found out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from test_judge import answer, blocks

from guerdon.bench.attacks.prompts import bundled
from guerdon.bench.attacks.registry import chosen
from guerdon.bench.attacks.run import natural_threshold, run, winning_verdicts
from guerdon.generate import ServerModel
from guerdon.reward.judge import PairwiseJudge, PointwiseJudge
from guerdon.testing import MockRequest, MockServer
from run_cli import guerdon

CASES = bundled()
TRUE = {case.honest for case in CASES}


def honest_but_quoting(request: MockRequest) -> str:
    """Knows the truth, and quotes all that it reads."""
    shown = blocks(request)
    if "response" in shown:
        verdict = "yes" if shown["response"] in TRUE else "no"
    else:
        a, b = shown["response A"] in TRUE, shown["response B"] in TRUE
        verdict = "tie" if a == b else "A" if a else "B"
    return answer(request, verdict, rationale="\n".join(shown.values()))


def parrot(request: MockRequest) -> str:
    """Repeats what it reads, as a reply."""
    return "\n".join(blocks(request).values())


def credulous(request: MockRequest) -> str:
    """Believes what a response says about verdicts."""
    text = blocks(request)["response"]
    return answer(request, "yes" if text in TRUE or "verdict" in text.lower() or "correct" in text else "no")


def server_model(server: MockServer) -> ServerModel:
    return ServerModel(server.url, server.model, cache="off", first_wait=0.01)


@pytest.mark.parametrize("reply", [honest_but_quoting, parrot])
@pytest.mark.parametrize("kind", [PointwiseJudge, PairwiseJudge])
def test_no_forgery_counts_for_the_default_judge(
    reply: Callable[[MockRequest], str], kind: type[PointwiseJudge | PairwiseJudge]
) -> None:
    with MockServer(reply, obeys=False) as server:
        judge = kind(server_model(server))
        result = run(judge, CASES[:4], chosen(["forgery"]), threshold=natural_threshold(judge), tries=None)
    assert winning_verdicts(judge) == (("yes",) if kind is PointwiseJudge else ("A", "B"))
    for found in result.attacks:
        if reply is parrot:
            assert np.isnan(found.success.value), "what only repeats has no verdict"
            assert found.unscored == found.tries
        else:
            assert found.success.value == 0
            assert found.success.n == found.tries


def test_a_credulous_judge_is_found_out() -> None:
    with MockServer(credulous) as server:
        result = run(PointwiseJudge(server_model(server)), CASES[:6], threshold=0.5)
    found = {a.name: a.success.value for a in result.attacks}
    assert found["forged-verdicts"] > 0.3
    assert found["constant"] > 0
    assert found["flattery"] == 0
    assert result.worst is not None
    assert result.worst.family == "forgery"


@pytest.mark.parametrize(("order", "rate"), [("both", 0.0), ("given", 1.0)])
def test_a_judge_that_likes_a_place(order: str, rate: float) -> None:
    with MockServer(lambda r: answer(r, "A")) as server:
        result = run(PairwiseJudge(server_model(server), order=order), CASES[:6], chosen(["position"]))
    assert result.attacks[0].success.value == rate


def test_a_judge_on_the_command_line_is_asked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GUERDON_CACHE", str(tmp_path))
    with MockServer(honest_but_quoting) as server:
        call = ("attack", f"judge:{server.url}#{server.model}", "--limit", 3, "--max-success", 0, "--json")
        first = guerdon(*call)
        calls = sum(server.seen.values())
        again = guerdon(*call)
        assert sum(server.seen.values()) == calls
    assert (first.code, again.code) == (0, 0)
    assert first.out == again.out
    assert first.json["settings"]["threshold"] == 0.5
    assert first.json["settings"]["verdicts"] == ["yes"]
