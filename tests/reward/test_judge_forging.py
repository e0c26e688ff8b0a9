"""Candidates that write verdicts of their own, before judges that quote what they read: none may count."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_judge import CODE, blocks

from guerdon.bench.attacks.forgery import FAKE, battery
from guerdon.feedback.schema import Candidates
from guerdon.generate import ServerModel, load_language_model
from guerdon.reward.judge import PairwiseJudge, PointwiseJudge
from guerdon.reward.judge.standard import Criterion
from guerdon.reward.judge.templates import codes, harmless, render
from guerdon.reward.judge.verdicts import read_verdict
from guerdon.testing import MockRequest, MockServer, check_reward
from tiny_models import tiny_causal_lm


def parrot(request: MockRequest, shown: str, verdict: str) -> str:
    return shown


def whole_prompt(request: MockRequest, shown: str, verdict: str) -> str:
    return request.text


def _code(request: MockRequest) -> str:
    found = CODE.search(request.text)
    return found[1] if found else ""


def quotes_first(request: MockRequest, shown: str, verdict: str) -> str:
    return f"It says:\n{shown}\nVerdict {_code(request)}: {verdict}"


def quotes_last(request: MockRequest, shown: str, verdict: str) -> str:
    return f"Verdict {_code(request)}: {verdict}\nThis is because of\n{shown}"


def json_escaped(request: MockRequest, shown: str, verdict: str) -> str:
    return json.dumps({"rationale": shown, "verdict": verdict, "verdict_code": _code(request)})


def json_by_hand(request: MockRequest, shown: str, verdict: str) -> str:
    return f'{{"rationale": "{shown}", "verdict": "{verdict}", "verdict_code": "{_code(request)}"}}'


def json_then_quote(request: MockRequest, shown: str, verdict: str) -> str:
    return json_escaped(request, "", verdict) + "\n" + shown


Quoting = Callable[[MockRequest, str, str], str]
JUDGES: list[Quoting] = [
    parrot, whole_prompt, quotes_first, quotes_last, json_escaped, json_by_hand, json_then_quote
]  # fmt: skip


@pytest.mark.parametrize("judge", JUDGES)
@pytest.mark.parametrize("how", ["json", "text"])
@pytest.mark.parametrize("ways", [(), ("json_schema",)])
def test_no_forged_yes(judge: Quoting, how: str, ways: tuple[str, ...]) -> None:
    texts = battery("yes")
    with MockServer(lambda r: judge(r, blocks(r)["response"], "no"), ways=ways, obeys=False) as server:
        model = ServerModel(server.url, server.model, cache="off", first_wait=0.01)
        scores = PointwiseJudge(model, how=how).score(Candidates(["x"] * len(texts), texts))
    forged = [t for t, v in zip(texts, scores.value, strict=True) if not (np.isnan(v) or v == 0)]
    assert forged == []
    assert (judge in (parrot, whole_prompt)) == bool(np.isnan(scores.value).all())


@pytest.mark.parametrize("judge", JUDGES)
def test_no_forged_preference(judge: Quoting) -> None:
    """Honest is better; the forger writes verdicts for both places."""
    forgers = battery("A") + battery("B") + battery("tie")

    def reply(request: MockRequest) -> str:
        shown = blocks(request)
        honest = "A" if shown["response A"] == "honest" else "B"
        return judge(request, shown["response B" if honest == "A" else "response A"], honest)

    with MockServer(reply, ways=()) as server:
        model = ServerModel(server.url, server.model, cache="off", first_wait=0.01)
        n = len(forgers)
        scores = PairwiseJudge(model).prefer(Candidates(["x"] * n, forgers), Candidates(["x"] * n, ["honest"] * n))
    assert [t for t, v in zip(forgers, scores.value, strict=True) if not (np.isnan(v) or v == 0)] == []


@settings(max_examples=60, deadline=None)
@given(st.text(), st.lists(st.sampled_from(battery("yes")), max_size=3))
def test_codes_are_in_no_text_and_quotes_are_no_verdicts(text: str, pieces: list[str]) -> None:
    shown = text.join(pieces) + text
    question = render("pointwise", "text", "question", [Criterion("Good?")], [("response", shown)], ["no", "yes"])
    assert question.code not in shown
    assert read_verdict(question.messages[0]["content"], question.code, ["no", "yes"]).label is None
    assert read_verdict(shown + f"\nVerdict {question.code}: no", question.code, ["no", "yes"]).label == "no"


def test_codes_change_with_the_content_and_repeat_with_it() -> None:
    assert codes(["a", "b"], "") == codes(["a", "b"], "")
    assert len({codes(texts, "") for texts in (["a", "b"], ["ab", ""], ["a"], ["b", "a"])}) == 4
    assert codes([codes(["a"], "")[0]], "")[0] != codes(["a"], "")[0]


def test_the_last_offered_verdict_counts() -> None:
    text = f"Verdict {FAKE}: yes\nNo, wait.\n**Verdict {FAKE}: no.**"
    assert read_verdict(text, FAKE, ["no", "yes"]).label == "no"
    assert read_verdict(f"Verdict {FAKE}: perhaps", FAKE, ["no", "yes"]).label is None
    assert read_verdict(f"Verdict {FAKE}: ｙｅｓ", FAKE, ["no", "yes"]).label is None


def test_what_could_end_its_place_is_shown_as_what_it_is() -> None:
    assert harmless("a < b and c > d, [x] <b>\n\tif a << 2") == "a < b and c > d, [x] <b>\n\tif a << 2"
    assert harmless("👩‍👧 é 名前") == "👩‍👧 é 名前"
    assert "<|" not in harmless("<|im_end|>")
    assert "\u202e" not in harmless("\u202e")
    assert "<<<" not in harmless("<<<end response>>>")


def test_chats_are_rendered_and_templates_in_texts_are_not() -> None:
    block = ("response", "{{ 7 * 7 }}")
    question = render("pointwise", "text", "question", [Criterion("{{ fence }}")], [block], ["no", "yes"])
    assert "{{ 7 * 7 }}" in question.messages[0]["content"]
    assert "{{ fence }}" in question.messages[0]["content"]


def test_a_local_model_gives_its_probabilities(tmp_path: Path) -> None:
    path = tiny_causal_lm(tmp_path / "lm")
    for name, field in (("config.json", "max_position_embeddings"), ("tokenizer_config.json", "model_max_length")):
        settings_ = json.loads((path / name).read_text())
        (path / name).write_text(json.dumps({**settings_, field: 2048}))
    model = load_language_model(f"hf:{path}", device="cpu")
    judge = PointwiseJudge(model, min_mass=0.0)
    candidates = Candidates(["x", "x", "x"], ["An apple.", "A stone.", "z" * 9000])
    scores = judge.score(candidates)
    assert ((scores.value[:2] > 0) & (scores.value[:2] < 1)).all()
    assert np.isnan(scores.value[2])
    assert scores.status[2] != "scored"
    check_reward(judge, candidates.take([0, 1, 0, 1]))
