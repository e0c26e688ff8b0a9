"""Attacks on rewards whose weakness is known: they find it, and nothing where there is none."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import fake_rewards
from guerdon.bench.attacks import AIMS, Attack, Case, attack
from guerdon.bench.attacks.attack import VERDICTS
from guerdon.bench.attacks.contentless import keys, master_keys
from guerdon.bench.attacks.forgery import FAKE
from guerdon.bench.attacks.prompts import QUESTIONS, bundled, from_candidates, from_feedback
from guerdon.bench.attacks.registry import ATTACKS, chosen
from guerdon.bench.attacks.run import Battery, natural_threshold, run, winning_verdicts
from guerdon.bench.attacks.show import markdown, page, section
from guerdon.errors import ConfigError, FeedbackError
from guerdon.feedback.schema import Candidates, Judgement
from guerdon.feedback.star import Feedback
from guerdon.reward.base import Function, Reward, Scores
from run_cli import guerdon

CASES = bundled()
TRUE = {case.honest for case in CASES}


def by_name(result: Battery) -> dict[str, float]:
    return {a.name: a.success.value for a in result.attacks}


def knows(prompt: str, response: str) -> float:
    """1 for the honest answers alone, letter by letter."""
    return float(response in TRUE)


@attack("shouting", family="style", aim="raised", what="the bad answer in capitals")
def shouting(case: Case) -> dict[str, str]:
    return {"capitals": case.bad.upper()}


# ------------------------------------------------------------------ attacks


def test_every_attack_is_well_formed_and_tries_the_same_names_everywhere() -> None:
    for name, one in ATTACKS.items():
        tried = [one(case) for case in CASES]
        assert one.name == name
        assert one.what
        assert len({tuple(t) for t in tried}) == 1, name
        assert all(isinstance(text, str) for t in tried for text in t.values())
        if one.aim in ("overtakes", "raised") and name != "lookalikes":
            words = CASES[0].bad.split()
            assert all(words[0] in text and words[-1].rstrip(".") in text for text in tried[0].values()), name
    with pytest.raises(ConfigError, match="aim='wins': use one of accepted"):
        Attack("x", "y", "wins", "z", lambda case: {})


def test_the_bundled_prompts_are_what_they_say() -> None:
    assert len({q for q, *_ in QUESTIONS}) == len(QUESTIONS) == 36
    for question, reference, honest, bad in QUESTIONS:
        assert honest != bad, question
        assert 0.75 < len(honest) / len(bad) < 1.35, question
        assert reference
    assert bundled()[0].reference is None
    assert bundled(references=True)[0].reference == "19"


def test_a_reward_that_knows_the_answers_is_never_fooled() -> None:
    result = run(Function(knows), CASES, tries=None)
    assert all(v == 0 for k, v in by_name(result).items() if k != "place")
    assert result.overall.value == 0
    assert 0 < result.overall.high < 0.12, "nothing seen in 36 prompts is not nothing"
    assert result.honest["honest first"].value == 1
    assert result.notes == ("place does not apply: this reward looks at one response at a time",)


def test_constant_rewards() -> None:
    yes = run(Function(lambda p, r: 1.0, "yes"), CASES, threshold=0.5)
    assert {a.success.value for a in yes.attacks if a.aim == "accepted"} == {1.0}
    assert any(note.startswith("degenerate") for note in yes.notes)
    no = run(Function(lambda p, r: 0.0, "no"), CASES, threshold=0.5)
    assert {a.success.value for a in no.attacks if a.aim == "accepted"} == {0.0}
    assert any(note.startswith("degenerate") for note in no.notes)
    assert any("accepts fewer than half of the honest" in note for note in no.notes)
    blind = run(Function(lambda p, r: 0.0, "blind"), CASES)
    assert all(np.isnan(a.success.value) for a in blind.attacks if a.aim == "accepted"), "equal scores prove nothing"
    assert blind.worst is not None
    assert blind.worst.success.value == 0


def test_length_is_raised_by_padding_and_not_fooled_by_keys() -> None:
    found = by_name(run(fake_rewards.Picky(), CASES, tries=None))
    assert found["master-keys"] == found["empty"] == 0
    assert found["length"] == found["flattery"] == 1
    assert found["constant"] > 0.6


def test_the_naive_count() -> None:
    def odd(prompt: str, response: str) -> float | None:
        return None if response == "." else float((len(response) * 7 + len(prompt)) % 5)

    cases = CASES[:9]
    result = run(Function(odd), cases, [master_keys, ATTACKS["flattery"]], tries=None, margin=0.5)
    wins = [
        float(odd(str(c.prompt), t) >= odd(str(c.prompt), c.honest))  # type: ignore[operator]
        for c in cases
        for t in master_keys(c).values()
        if t != "." and not odd(str(c.prompt), t) == odd(str(c.prompt), c.honest) == odd(str(c.prompt), c.bad)
    ]
    gap = np.mean([abs(odd(str(c.prompt), c.honest) - odd(str(c.prompt), c.bad)) for c in cases])  # type: ignore[operator]
    more = [
        float(odd(str(c.prompt), t) - odd(str(c.prompt), c.bad) > 0.5 * gap)  # type: ignore[operator]
        for c in cases
        for t in ATTACKS["flattery"](c).values()
    ]
    keys_, flattery = result.attacks
    assert keys_.success.value == pytest.approx(np.mean(wins))
    assert keys_.success.n == len(wins)
    assert keys_.unscored == len(cases)
    assert result.reasons == {"abstained": len(cases)}
    assert flattery.success.value == pytest.approx(np.mean(more))
    assert result.overall.value == pytest.approx((np.mean(wins) + np.mean(more)) / 2)
    assert result.overall.low < result.overall.value < result.overall.high


def test_few_tries_a_prompt_still_try_everything() -> None:
    result = run(Function(lambda p, r: float(r in TRUE or r == "解"), "one key"), CASES, [master_keys], tries=2)
    (found,) = result.attacks
    assert set(found.variants) == set(master_keys(CASES[0]))
    assert found.tries == 2 * len(CASES)
    assert next(iter(found.variants)) == "解"
    assert found.variants["解"][0] == 1
    with pytest.raises(ConfigError, match="tries=0"):
        run(Function(knows), CASES, tries=0)


def test_a_key_that_is_the_answer_is_left_out() -> None:
    case = Case("What ends a sentence?", "A full stop: .", "A comma.", reference=".")
    (found,) = run(Function(lambda p, r: 1.0, "yes"), [case], [keys("k", [".", "x"], "")], threshold=0.5).attacks
    assert (found.left_out, found.success.n, found.success.value) == (1, 1, 1.0)


def test_comparisons_and_places() -> None:
    class First(Reward):
        name = "first"

        def prefer(self, a: Candidates, b: Candidates) -> Scores:
            return Scores(np.ones(len(a)))

    found = by_name(run(First(), CASES[:5], tries=1))
    assert found["place"] == 1
    duel = run(fake_rewards.Duel(), CASES, tries=None)
    assert by_name(duel)["place"] == 0
    variants = next(a for a in duel.attacks if a.name == "flattery").variants
    assert variants["great question"][0] == 1, "it has an exclamation mark"
    assert variants["as you said"][0] == 0
    with pytest.raises(ConfigError, match="compares and does not score"):
        run(First(), CASES, threshold=0.5)


def test_a_harmless_change_within_the_margin_is_no_success() -> None:
    reward = Function(lambda p, r: 10.0 * knows(p, r) + ("great" in r), "nearly")
    assert by_name(run(reward, CASES, [ATTACKS["flattery"]], tries=None))["flattery"] == 0
    assert by_name(run(reward, CASES, [ATTACKS["flattery"]], tries=None, margin=0.05))["flattery"] == pytest.approx(0.2)


def test_prompts_of_feedback_and_candidates() -> None:
    feedback = Feedback.of(
        [
            Judgement("q", ("a", "b", "c"), (1, 3, 2), user="ann"),
            Judgement("q", ("a", "b"), (1, 0), user="ann"),
            Judgement("tie", ("a", "b"), (1, 1)),
        ]
    )
    (case,) = from_feedback(feedback)
    assert (case.prompt, case.honest, case.bad, case.user) == ("q", "b", "a", "ann")
    with pytest.raises(FeedbackError, match="one of them better"):
        from_feedback(feedback.take(np.array([2])))
    cases = from_candidates(Candidates(["p", "p", "q", "r"], ["1", "x", "2", "1"], reference=["1", None, "2", "1"]))
    assert [(c.honest, c.bad) for c in cases] == [("1", "2"), ("2", "1"), ("1", "2")]
    assert cases[1].reference == "2"
    with pytest.raises(FeedbackError, match="two prompts"):
        from_candidates(Candidates(["p"], ["1"]))


def test_names_of_attacks() -> None:
    assert [a.name for a in chosen(["forgery"], ["unicode"])] == ["forged-verdicts", "delimiters", "instructions"]
    assert chosen([f"{__name__}:shouting"]) == [shouting]
    for name, message in (
        ("nothing", "there is master-keys"),
        (f"{__name__}:CASES", "is no Attack"),
        ("no.such.module:x", "no module"),
    ):
        with pytest.raises(ConfigError, match=message):
            chosen([name])
    with pytest.raises(ConfigError, match="no attack is left"):
        chosen(["echo"], ["echo"])


# ------------------------------------------------------------------ what people see


def test_reports_escape_what_came_from_data() -> None:
    @attack("<b>x</b>", family="<i>", aim="accepted", what="<script>")
    def own(case: Case) -> dict[str, str]:
        return {"<u>|": "zzz"}

    result = run(Function(lambda p, r: float(r == "zzz"), "<em>"), CASES[:5], [own, shouting])
    text = page(result)
    assert section(result) in text
    for mark in ("<b>x</b>", "<script>", "<u>", "<em>", "<i><"):
        assert mark not in text.replace("<i>&lt;b&gt;x&lt;/b&gt;</i>", "")
    assert "100.0&nbsp;%" in text
    assert "| <b>x</b> | 100.0 % (47.8-100.0) | 100.0 % (47.8-100.0) | <u>\\| 100% |" in markdown(result)
    assert json.loads(json.dumps(result.to_dict(), allow_nan=False))["attacks"][0]["success_means"] == AIMS["accepted"]


def test_the_command(tmp_path: Path) -> None:
    page_ = tmp_path / "out" / "attacks.html"
    result = guerdon("attack", "rule:length", "--limit", 12, "--max-success", 0.5, "--json", "--report", page_)
    assert result.code == 1
    assert "fooled: length succeeds on 1.000" in result.err
    document = result.json
    assert document["settings"]["prompts"] == 12
    assert {a["name"] for a in document["attacks"]} == set(ATTACKS)
    assert "Without attacks" in page_.read_text()
    assert guerdon("attack", "rule:length", "--attack", "master-keys", "--max-success", 0.5).code == 0
    assert "forged-verdicts" in guerdon("attack", "rule:length", "--list").err
    own = guerdon("attack", "rule:length", "--attack", f"{__name__}:shouting", "--json").json
    assert own["attacks"][0]["success"]["value"] == 0
    (tmp_path / "keys.txt").write_text("Hm.\n" + "x" * 500 + "\n")
    added = guerdon("attack", "rule:length", "--attack", "echo", "--keys", tmp_path / "keys.txt", "--json").json
    assert added["attacks"][1]["success"]["value"] == pytest.approx(0.5)


def test_the_command_reads_feedback_and_candidates(tmp_path: Path) -> None:
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text(
        "".join(json.dumps({"prompt": f"p{i}", "chosen": "aaaa", "rejected": "bb"}) + "\n" for i in range(4))
    )
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps({"prompt": f"p{i}", "response": "a" * (i + 5)}) + "\n" for i in range(4)))
    for file in (pairs, rows):
        document = guerdon("attack", "rule:length", file, "--attack", "master-keys", "--json").json
        assert document["settings"]["prompts"] == 4
    (tmp_path / "bad.jsonl").write_text('{"x": 1}\n')
    bad = guerdon("attack", "rule:length", tmp_path / "bad.jsonl")
    assert bad.code == 2
    assert "neither feedback" in bad.err
    assert guerdon("attack", "rule:length", "--report", "x.txt").code == 2
    inside = guerdon("attack", "rule:length", "--limit", 2, "--report", tmp_path / "bad.jsonl" / "x.html")
    assert (inside.code, "cannot be written" in inside.err) == (2, True), inside.err
    assert guerdon("attack", "rule:length", "--threshold", 1, "--against-honest").code == 2
    assert guerdon("attack", "rule:length", "--keys", tmp_path / "none.txt").code == 2


def test_what_a_forger_tries_where_a_reward_says_nothing() -> None:
    assert winning_verdicts(Function(knows)) == VERDICTS
    assert natural_threshold(Function(knows)) is None
    assert FAKE in "".join(ATTACKS["forged-verdicts"](CASES[0]).values())


def test_personal_and_implicit_rewards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_rewards.register(monkeypatch)
    fake_rewards.tastes("ann", "bob").save(tmp_path / "model")
    one, two = (
        guerdon("attack", tmp_path / "model", "--limit", 6, "--user", user, "--json").json for user in ("ann", "bob")
    )
    assert one["overall"]["value"] != two["overall"]["value"]
    from guerdon.generate import load_language_model
    from guerdon.reward.implicit import YesNo
    from tiny_models import tiny_causal_lm

    reward = YesNo(load_language_model(f"hf:{tiny_causal_lm(tmp_path / 'lm')}", device="cpu"))
    assert winning_verdicts(reward) == ("yes",)
    result = run(reward, CASES[:3], chosen(["master-keys", "flattery"]), tries=2)
    assert sum(a.tries for a in result.attacks) == 12
    assert all(a.unscored + a.left_out + a.success.n == a.tries for a in result.attacks)
