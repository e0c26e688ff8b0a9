"""Rewards read off likelihoods of small language models that were trained on a known world."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import guerdon
from guerdon.errors import BackendError, ConfigError, FeedbackError
from guerdon.feedback.schema import Candidates, Judgement
from guerdon.feedback.star import Feedback
from guerdon.generate import LocalModel
from guerdon.generate.base import LabelProbabilities, LanguageModel
from guerdon.reward.implicit import (
    BANK,
    ByDomain,
    Domain,
    FollowUp,
    FollowUpLikelihood,
    LanguageRouter,
    LogRatio,
    Question,
    ReferenceFree,
    YesNo,
    by_criterion,
    density_ratio,
    self_preference,
)
from guerdon.reward.implicit.autoregressive import AutoregressiveReward
from guerdon.reward.implicit.follow_up import read_follow_ups, script
from guerdon.reward.implicit.follow_up_tuning import learn_follow_ups
from guerdon.testing import check_reward
from guerdon.worlds.language import Conversations, Personas, language_model
from tiny_models import tiny_causal_lm

PAIRS = Candidates(["Name a fruit."] * 3 + ["Why?"], ["An apple.", "No.", "An apple.", "Because the sky is blue."])
FOLLOW_UPS = (FollowUp("Thanks.", True, "x"), FollowUp("Great, and the rest?", True, "y"), FollowUp("No!", False, "x"))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[LocalModel, LocalModel]:
    folder: Path = tmp_path_factory.mktemp("lm")
    a, b = (LocalModel(str(tiny_causal_lm(folder / str(s), seed=s)), device="cpu") for s in (0, 1))
    return a, b


class Fixed(LanguageModel):
    """Gives each asked text the probabilities that a function says."""

    def __init__(self, chance: Callable[[str], tuple[float, ...]]) -> None:
        self.name, self.chance, self.asked = "fixed", chance, []  # type: ignore[var-annotated]

    def label_probabilities(self, prompts: Any, labels: Any) -> LabelProbabilities:
        self.asked += list(prompts)
        value = np.array([self.chance(p) for p in prompts], dtype=float).reshape(len(prompts), len(labels))
        return LabelProbabilities(value, ["answered"] * len(prompts), [None] * len(prompts))


# -------------------------------------------------------------------------------------------------------- follow-ups


def test_follow_ups_equal_their_parts_scored_one_by_one(models: tuple[LocalModel, LocalModel]) -> None:
    model = models[0]
    scores = FollowUpLikelihood(model, follow_ups=FOLLOW_UPS).score(PAIRS)
    for i, c in enumerate(PAIRS):
        dialogue = [{"role": "user", "content": str(c.prompt)}, {"role": "assistant", "content": str(c.response)}]
        s = [model.loglikelihood([dialogue], [f.text], role="user").mean[0] for f in FOLLOW_UPS]
        assert scores.value[i] == pytest.approx((s[0] + s[1]) / 2 - s[2], abs=1e-5)
        assert scores.detail["x"][i] == pytest.approx(s[0] - s[2], abs=1e-5)
    assert set(scores.detail) == {"satisfied", "dissatisfied", "x"}


def test_polarities_are_the_parts_of_the_contrast(models: tuple[LocalModel, LocalModel]) -> None:
    both, good, bad = (
        FollowUpLikelihood(models[0], follow_ups=FOLLOW_UPS, polarity=p).score(PAIRS).value
        for p in ("both", "satisfied", "dissatisfied")
    )
    assert both == pytest.approx(good + bad)


def test_pmi_takes_off_what_follows_an_empty_response(models: tuple[LocalModel, LocalModel]) -> None:
    empty = Candidates(PAIRS.prompts, [""] * 4)
    plain = FollowUpLikelihood(models[0], follow_ups=FOLLOW_UPS)
    pmi = FollowUpLikelihood(models[0], follow_ups=FOLLOW_UPS, pmi=True)
    assert pmi.score(PAIRS).value == pytest.approx(plain.score(PAIRS).value - plain.score(empty).value, abs=1e-5)
    assert pmi.score(empty).value == pytest.approx(0, abs=1e-6)


def test_odd_responses_are_flagged_or_unscored_and_never_cut(models: tuple[LocalModel, LocalModel]) -> None:
    odd = Candidates(["Hi"] * 3, ["", "x" * 2000, "Это яблоко и ничего больше"])
    scores = FollowUpLikelihood(models[0]).score(odd)
    assert list(scores.status) == ["scored", "too_long", "scored"]
    assert scores.reason[0] == "the response is empty"
    assert "CYRILLIC" in str(scores.reason[2])
    assert np.isnan(scores.value[1])


def test_a_bank_needs_both_sides_and_is_read_from_files(models: tuple[LocalModel, LocalModel], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="some satisfied and some dissatisfied"):
        FollowUpLikelihood(models[0], follow_ups=FOLLOW_UPS[:2])
    place = tmp_path / "bank.json"
    place.write_text('{"satisfied": ["Yes."], "dissatisfied": ["No.", "What?"]}')
    assert [f.satisfied for f in read_follow_ups(place)] == [True, False, False]
    place.write_text('[{"satisfied": true}]')
    with pytest.raises(ConfigError, match="text, satisfied"):
        read_follow_ups(place)
    assert len(BANK) == 16
    assert {(f.satisfied, f.category) for f in BANK} == {
        (s, c) for s in (True, False) for c in {f.category for f in BANK}
    }
    assert script("Ça va?") == "LATIN"
    assert script("123") == ""


def test_servers_say_what_they_lack() -> None:
    class Chat(LanguageModel):
        name = "chat"

    with pytest.raises(BackendError, match="likely"):
        FollowUpLikelihood(Chat()).score(PAIRS)


# ------------------------------------------------------------------------------------------------------------ yes/no


def test_an_ensemble_is_the_weighted_mean_of_its_questions(models: tuple[LocalModel, LocalModel]) -> None:
    questions = [Question("is it y ?"), Question("is it n ?", "no", 3.0)]
    single = [YesNo(models[0], q, labels=("y", "n"), scale="probability").score(PAIRS).value for q in questions]
    odds = [YesNo(models[0], q, labels=("y", "n")).score(PAIRS).value for q in questions]
    mean = (single[0] + 3 * single[1]) / 4
    p, reward, log_odds = (
        YesNo(models[0], questions, labels=("y", "n"), scale=s).score(PAIRS)
        for s in ("probability", "reward", "log-odds")
    )
    assert p.value == pytest.approx(mean)
    assert reward.value == pytest.approx(10 * (mean - 0.5))
    assert log_odds.value == pytest.approx((odds[0] + 3 * odds[1]) / 4)
    assert p.detail["is it n ?"] == pytest.approx(single[1])


def test_questions_see_what_they_are_about() -> None:
    model = Fixed(lambda text: (0.5, 0.25))
    c = Candidates(["PROMPT"], ["RESPONSE"])
    for about, sees in (("both", True), ("response", False), ("joined", True)):
        model.asked.clear()
        YesNo(model, about=about).score(c)
        assert ("PROMPT" in model.asked[0]) == sees
        assert "RESPONSE" in model.asked[0]
    assert "PROMPTRESPONSE" in model.asked[0]


def test_missing_labels_and_a_floor(caplog: pytest.LogCaptureFixture) -> None:
    c = Candidates(["p", "p"], ["neither", "yes only"])
    model = Fixed(lambda text: (0.0, 0.0) if "neither" in text else (0.2, 0.0))
    scores = YesNo(model).score(c)
    assert list(scores.status) == ["abstained", "scored"]
    assert np.isfinite(scores.value[1])
    assert "hardly answers" in caplog.text
    floored = YesNo(model, floor=1e-3).score(c)
    assert floored.value == pytest.approx([0.0, np.log(0.2 / 1e-3)])


@pytest.mark.parametrize(
    "settings", [{"scale": "odd"}, {"about": "nothing"}, {"labels": ("a",)}, {"wanted": "maybe"}, {"floor": 0.7}]
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        YesNo(Fixed(lambda text: (0.5, 0.5)), **settings)


# ----------------------------------------------------------------------------------------------------------- domains

DOMAINS = (Domain("chat", "talk", "Be kind.", "Is it kind?"), Domain("math", "sums", "Be right.", "Is it right?"))


def routed(text: str) -> tuple[float, float]:
    return (0.1, 0.8) if "sum" in text.split("Request:")[-1] else (0.8, 0.1)


def test_each_domain_has_its_own_question() -> None:
    seen: list[str] = []

    def judge(text: str) -> tuple[float, float]:
        seen.append(text)
        return (0.9, 0.1)

    router = LanguageRouter(Fixed(routed), DOMAINS)
    c = Candidates(["a sum", "hello", "a sum"], ["3", "hi", "4"])
    scores = self_preference(Fixed(judge), domains=DOMAINS, router=router).score(c)
    assert scores.detail["domain"] == ["math", "chat", "math"]
    assert scores.value == pytest.approx(np.log(9))
    assert all(("Is it right?" in text) == ("sum" in text) for text in seen)
    assert len(seen) == 3


def test_the_column_may_route_and_what_fits_no_domain_abstains() -> None:
    rewards = {d.name: YesNo(Fixed(lambda text: (0.6, 0.2)), d.question) for d in DOMAINS}
    c = Candidates(["a", "b"], ["x", "y"], criterion=["math", "art"])
    scores = ByDomain(rewards, by_criterion).score(c)
    assert list(scores.status) == ["scored", "abstained"]
    assert ByDomain(rewards, by_criterion, fallback="chat").score(c).detail["domain"] == ["math", "chat"]


def test_yes_saying_and_silence_are_said(caplog: pytest.LogCaptureFixture) -> None:
    c = Candidates(["p", "p"], ["a", "b"])
    self_preference(Fixed(lambda text: (0.98, 0.01)), router=lambda c: ["chat"] * len(c)).score(c)
    assert "says yes to all" in caplog.text
    self_preference(Fixed(lambda text: (0.02, 0.01)), router=lambda c: ["chat"] * len(c)).score(c)
    assert "no instruct model" in caplog.text


def test_the_ratio_of_a_prompt_uses_the_criteria_of_its_domain(models: tuple[LocalModel, LocalModel]) -> None:
    a, b = models
    c = Candidates(["a sum", "hello"], ["three", "hi there"])
    router = LanguageRouter(Fixed(routed), DOMAINS)
    got = density_ratio(a, b, domains=DOMAINS, router=router).score(c).value
    for i, system in enumerate(("Be right.", "Be kind.")):
        assert got[i] == pytest.approx(LogRatio(a, b, system=system, weak_system=system).score(c).value[i], abs=1e-5)
    alone = density_ratio(a, b, domains=DOMAINS, router=router, customize="strong").score(c).value
    assert alone[1] == pytest.approx(LogRatio(a, b, system="Be kind.").score(c).value[1], abs=1e-5)
    assert density_ratio(a, b, customize="none").score(c).value == pytest.approx(LogRatio(a, b).score(c).value)
    with pytest.raises(ConfigError, match="says nothing"):
        density_ratio(a, LocalModel(a.name, device="cpu"))


# ---------------------------------------------------------------------------------------------------- autoregressive


@pytest.fixture(scope="module")
def persona_lm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Personas().language_model(tmp_path_factory.mktemp("persona") / "lm", 0, width=32, count=600, epochs=2)


def likes_a(count: int, seed: int) -> Feedback:
    """Comparisons of two responses of which one is full of the markers of persona A."""
    world, rng = Personas(), np.random.default_rng(seed)
    rows = []
    for i in range(count):
        topic = i % world.topics
        texts = world.response(topic, 0, rng), world.response(topic, 3, rng)
        order = 1 if rng.random() < 0.5 else -1
        rows.append(Judgement(world.prompt(topic), texts[::order], (1.0, 0.0)[::order]))
    return Feedback.of(rows)


@pytest.mark.parametrize("reference", ["none", "start"])
def test_a_language_model_learns_a_reward_and_keeps_it(persona_lm: Path, tmp_path: Path, reference: str) -> None:
    fitted = AutoregressiveReward(
        backbone=str(persona_lm), reference=reference, beta=0.2, learning_rate=2e-3, epochs=3, device="cpu"
    ).fit(likes_a(200, 0))
    fresh = likes_a(60, 1)
    pairs, scores = fresh.pairs(), fitted.score(fresh.candidates)
    assert np.mean((scores.value[pairs.a] > scores.value[pairs.b]) == (pairs.p > 0.5)) > 0.95
    tokens = fitted.tokens(fresh.candidates)
    assert [t is not None and t.sum() for t in tokens] == pytest.approx(scores.value, abs=1e-4)
    place = fitted.save(tmp_path / "arm")
    opened = guerdon.load(place)
    assert opened.score(fresh.candidates).value == pytest.approx(scores.value, abs=1e-5)
    # the same number as plain likelihoods, the end of the response included
    tuned, start = (LocalModel(str(p), device="cpu") for p in (place, persona_lm))
    prompts, responses = fresh.candidates.prompts, [str(r) for r in fresh.candidates.responses]
    plain = tuned.loglikelihood(prompts, responses, end=True).total
    if reference == "start":
        plain = plain - start.loglikelihood(prompts, responses, end=True).total
    assert scores.value == pytest.approx(0.2 * plain, abs=1e-3)


def test_the_autoregressive_reward_keeps_the_contract(tmp_path: Path) -> None:
    path = tiny_causal_lm(tmp_path / "lm")
    rows = [Judgement("Name a fruit.", ("An apple.", "No."), (1.0, 0.0)), Judgement("Why?", ("Hm.", "So."), (0.0, 1.0))]
    fitted = guerdon.reward.registry.model("autoregressive").make(backbone=str(path), device="cpu", keep="last")
    assert "save and load" in check_reward(fitted.fit(Feedback.of(rows * 4))).passed


def test_it_needs_a_model_to_start_from() -> None:
    with pytest.raises(ConfigError, match="backbone"):
        AutoregressiveReward().fit(likes_a(4, 0))
    with pytest.raises(ConfigError, match="beta"):
        AutoregressiveReward(beta=0)


# -------------------------------------------------------------------------------------------------------------- specs


def test_a_line_opens_each_of_them(models: tuple[LocalModel, LocalModel], tmp_path: Path) -> None:
    a, b = models[0].name, models[1].name
    bank = tmp_path / "bank.json"
    bank.write_text('{"satisfied": ["Yes."], "dissatisfied": ["No."]}')
    questions = '[{"text": "Good?"}, {"text": "Bad?", "wanted": "no", "weight": 2}]'
    specs = {
        f"implicit:hf:{a}?device=cpu&question=Good%3F&labels=y,n": YesNo(models[0], "Good?", labels=("y", "n")),
        f"implicit:hf:{a}?by=yes-no&question={questions}&labels=y,n&scale=reward": YesNo(
            models[0], [Question("Good?"), Question("Bad?", "no", 2)], labels=("y", "n"), scale="reward"
        ),
        f"implicit:hf:{a}?follow_ups={bank}": FollowUpLikelihood(models[0], follow_ups=read_follow_ups(bank)),
        f"implicit:hf:{a}?weak=hf:{b}&length=sum": LogRatio(*models, length="sum"),
        f"implicit:hf:{a}?by=domains&weak=hf:{b}&customize=none": LogRatio(*models),
        f"implicit:hf:{a}?system=Be%20brief.": LogRatio(models[0], models[0], system="Be brief."),
        f"implicit:hf:{a}?by=dpo&weak=hf:{b}&beta=0.3": LogRatio(*models, length="sum", scale=0.3),
        f"implicit:hf:{a}?by=reference-free&length=norm": ReferenceFree(models[0], length="norm"),
    }
    for spec, reward in specs.items():
        got = guerdon.load(spec)
        assert got.score(PAIRS).value == pytest.approx(reward.score(PAIRS).value, abs=1e-5), spec
    for wrong, says in (
        ("implicit:", "language model"),
        (f"implicit:hf:{a}?by=magic", "by="),
        (f"implicit:hf:{a}?by=dpo", "weak"),
        (f"implicit:hf:{a}?by=reference-free&length=median", "sum, mean, norm"),
        (f"implicit:hf:{a}?weak=hf:{a}", "itself"),
        (f"implicit:hf:{a}?flavour=3", "flavour"),
    ):
        with pytest.raises(ConfigError, match=says):
            guerdon.load(wrong)


def test_they_keep_the_contract(models: tuple[LocalModel, LocalModel]) -> None:
    check_reward(FollowUpLikelihood(models[0], follow_ups=FOLLOW_UPS), save=False)
    check_reward(self_preference(models[0], router=by_criterion, labels=("y", "n")), save=False)
    check_reward(density_ratio(*models, router=by_criterion), save=False)


def test_a_scorer_learns_from_what_people_said(tmp_path: Path) -> None:
    """A model that knows nothing of answers tells good from bad ones after reading what users said about others."""
    world = Conversations(satisfied=("thanks that helps",), dissatisfied=("no that is wrong",))
    start = language_model(
        tmp_path / "start",
        world.dialogues(400, 0, turns=2),
        [*world.words, *" ".join(world.satisfied + world.dissatisfied + world.neutrals).split()],
        seed=0, width=32, epochs=1, length=64,
    )  # fmt: skip
    rows = [[text for _, text in d] for d in world.dialogues(1500, 1)]
    prompts, responses, said = (list(column) for column in zip(*rows, strict=True))
    tuned = learn_follow_ups(
        str(start), Candidates(prompts, responses), said, tmp_path / "tuned", learning_rate=3e-3, epochs=2
    )
    bank = [FollowUp("thanks that helps", True), FollowUp("no that is wrong", False)]
    asked, better, worse = world.pairs(80, 2)
    right, gap = {}, {}
    for name, path in (("start", start), ("tuned", tuned)):
        reward = FollowUpLikelihood(LocalModel(str(path), device="cpu"), follow_ups=bank)
        a, b = (reward.score(Candidates(asked, part)).value for part in (better, worse))
        right[name], gap[name] = np.mean(a > b), np.mean(a - b)
    assert right["tuned"] > 0.9
    assert gap["tuned"] > 5 * abs(gap["start"]), "before, next to nothing depends on the answer"
    with pytest.raises(FeedbackError, match="one for each"):
        learn_follow_ups(str(start), Candidates(["a"], ["b"]), [], tmp_path / "none")
