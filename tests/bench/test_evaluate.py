"""An evaluation tells the truth about perfect, constant, silent and length-following rewards."""

import gzip
import json
from dataclasses import replace

import numpy as np
import pytest

from guerdon.bench.agreement import majority_of_others
from guerdon.bench.evaluate import evaluate
from guerdon.bench.metrics import correct
from guerdon.errors import ConfigError, FeedbackError
from guerdon.feedback.messages import as_text
from guerdon.feedback.schema import Candidates, Judgement
from guerdon.feedback.star import Feedback
from guerdon.reward.base import Function, Reward, Scores


def population_feedback(n: int = 400, seed: int = 0, longer_wins: float = 0.5) -> Feedback:
    """The better number wins, over 40 prompts and 20 people; the preferred text is longer with a given chance."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(n):
        low, high = sorted(rng.choice(100, 2, replace=False))
        longer = rng.random() < longer_wins
        texts = (f"{high} " + "x" * (9 if longer else 2), f"{low} " + "x" * (2 if longer else 9))
        flip = rng.random() < 0.5
        rows.append(
            Judgement(
                f"prompt {i % 40}",
                texts[::-1] if flip else texts,
                (0, 1) if flip else (1, 0),
                user=f"u{i % 20}",
                subset="even" if i % 2 == 0 else "odd",
                criterion="c1" if i % 3 else "c2",
            )
        )
    return Feedback.of(rows)


def number(prompt: object, response: object) -> float:
    return float(str(response).split()[0])


@pytest.fixture(scope="module")
def feedback() -> Feedback:
    return population_feedback()


def test_perfect_reward(feedback):
    result = evaluate(Function(number), feedback, bootstrap=200)
    assert result.overall["accuracy"].value == 1
    assert result.overall["accuracy"].low == 1
    assert result.overall["log_loss"].value < 0.1
    assert result.counts["unscored"] == 0
    assert {g.kind for g in result.groups} == {"subset", "criterion", "people", "length"}
    assert all(g.figures["accuracy"].value == 1 for g in result.groups)
    length = next(b for b in result.baselines if b.name == "length")
    assert length.difference["accuracy"].low > 0.3
    assert not [c for c in result.cautions if "baseline" in c or "coin" in c]


def test_constant_reward_is_a_coin_and_says_so(feedback):
    result = evaluate(Function(lambda p, r: 1.0, "constant"), feedback, bootstrap=200)
    assert result.overall["accuracy"].value == 0.5
    assert result.overall["log_loss"].value == pytest.approx(np.log(2))
    assert result.overall["brier"].value == 0.25
    assert result.overall["ece"].value == 0
    assert result.counts["predicted_ties"] == 400
    text = "\n".join(result.cautions)
    assert "cannot be told from a coin" in text
    assert "does not beat the length baseline" in text
    assert "cannot tell the two apart in 100.0%" in text


def test_silent_reward_has_no_figures_and_no_zeros(feedback):
    result = evaluate(Function(lambda p, r: None, "silent"), feedback)
    assert np.isnan(result.overall["accuracy"].value)
    assert result.counts["unscored"] == 400
    assert result.unscored == {"abstained": 400}
    assert "scored none" in result.cautions[0]
    document = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert document["overall"]["accuracy"]["value"] is None


def test_half_silent_reward_is_measured_on_the_rest(feedback):
    def half(prompt: object, response: object) -> float | None:
        return None if number(prompt, response) < 30 else number(prompt, response)

    result = evaluate(Function(half), feedback, bootstrap=100)
    assert result.overall["accuracy"].value == 1
    assert result.overall["accuracy"].n == result.counts["answered"]
    assert result.counts["unscored"] + result.counts["answered"] == 400
    assert result.overall["unscored"].value == pytest.approx(result.counts["unscored"] / 400)
    assert any("unscored and left out" in c for c in result.cautions)


def test_reversed_reward_is_recognised(feedback):
    result = evaluate(Function(lambda p, r: -number(p, r), "reversed"), feedback, bootstrap=100)
    assert result.overall["accuracy"].value == 0
    assert "reversed" in result.cautions[0]


def test_length_reward_does_not_pass_for_a_reward_model():
    feedback = population_feedback(longer_wins=0.8)
    result = evaluate(Function(lambda p, r: len(as_text(r)) / 5.0, "longer"), feedback, bootstrap=200)
    assert result.overall["accuracy"].value > 0.7
    text = "\n".join(result.cautions)
    assert "does not beat the length baseline (the longer response wins)" in text
    assert "leans on length" in text


def test_training_feedback_brings_majority_and_overlap(feedback, fixed):
    train, test = feedback.take(np.arange(0, 300)), feedback.take(np.arange(200, 400))
    result = evaluate(Function(number), test, train=train, bootstrap=50, baselines=("length", "majority"))
    majority = next(b for b in result.baselines if b.name == "majority")
    assert 0.4 < majority.answered < 1
    assert result.data["overlap"]["same_vote"] == pytest.approx(0.5)
    assert any("too good" in c for c in result.cautions)


def test_ties_are_counted_and_kept_out_of_accuracy():
    rows = [Judgement(f"p{i}", ("1 a", "2 b"), (1, 1) if i % 4 == 0 else (0, 1)) for i in range(100)]
    result = evaluate(Function(number), Feedback.of(rows), bootstrap=50)
    assert result.counts["ties"] == 25
    assert result.overall["ties"].value == 0.25
    assert result.overall["accuracy"].value == 1
    assert result.overall["accuracy"].n == 75
    assert result.overall["log_loss"].n == 100


def best_of_four(n: int = 60) -> Feedback:
    rng = np.random.default_rng(0)
    rows = []
    for i in range(n):
        texts = [f"{v} {i}" for v in rng.choice(50, 4, replace=False)]
        best = int(np.argmax([number(None, t) for t in texts]))
        grades = tuple(float(j == best) for j in range(4))
        rows.append(Judgement(f"p{i}", tuple(texts), grades, subset="hard" if i % 3 else "easy"))
    return Feedback.of(rows)


def test_best_of_n():
    result = evaluate(Function(number), best_of_four(), bootstrap=50)
    assert result.overall["best_of_n"].value == 1
    assert result.overall["best_of_n_by_chance"].value == pytest.approx(0.25)
    assert result.counts["lists"] == 60
    assert result.overall["tau"].value == pytest.approx(3 / np.sqrt(6 * 3))
    subsets = {g.name: g for g in result.groups if g.kind == "subset"}
    assert subsets["hard"].figures["best_of_n"].n == 40
    wrong = evaluate(Function(lambda p, r: -number(p, r), "worst"), best_of_four(), bootstrap=50)
    assert wrong.overall["best_of_n"].value == 0


def test_best_of_n_with_an_unscored_response_is_unscored():
    def picky(prompt: object, response: object) -> float | None:
        return None if str(response).endswith(" 7") else number(prompt, response)

    result = evaluate(Function(picky), best_of_four(), bootstrap=50)
    assert result.counts["lists_unscored"] == 1
    assert result.overall["best_of_n"].n == 59


def test_a_reward_that_only_compares_is_measured_too():
    class Compares(Reward):
        name = "compares"

        def prefer(self, a: Candidates, b: Candidates) -> Scores:
            left, right = ([number(None, r) for r in side.responses] for side in (a, b))
            return Scores(0.5 + 0.4 * np.sign(np.array(left) - np.array(right)))

    result = evaluate(Compares(), best_of_four(), bootstrap=50)
    assert result.overall["accuracy"].value == 1
    assert result.overall["best_of_n"].value == 1
    # the rejected were not compared with each other, yet a list counts only if its best beats all of them
    partial = [replace(j, grades=j.grades[1:] + j.grades[:1], scale="partial") for j in best_of_four().judgements()]
    wrong = evaluate(Compares(), Feedback.of(partial), bootstrap=50)
    assert wrong.counts["pairs"] == 60 * 3
    assert wrong.overall["best_of_n"].value == 0
    ratings = Feedback.of([Judgement("p", (f"{i} x",), (i,), user="u", scale="rating") for i in range(12)])
    result = evaluate(Compares(), ratings, bootstrap=50)
    assert result.overall["accuracy"].value == 1
    assert "spearman" not in result.overall


def test_ratings(world, fake_personal):
    feedback = world.ratings(each=12)
    knowing = evaluate(fake_personal(world, world.tastes), feedback, bootstrap=100)
    nobody = evaluate(fake_personal(world), feedback, bootstrap=100)
    assert knowing.overall["spearman"].value > 0.9
    assert nobody.overall["spearman"].value < 0.7
    assert knowing.overall["spearman"].n == 40
    assert knowing.settings["intervals_over"] == "people"
    assert knowing.counts["people_known"] == 40
    assert nobody.counts["people_unknown"] == 40
    assert any("unknown to this reward" in c for c in nobody.cautions)


def test_knowing_the_person_is_compared_with_not_knowing(world, fake_personal):
    result = evaluate(fake_personal(world, world.tastes), world.comparisons(), bootstrap=200)
    nobody = next(b for b in result.baselines if b.name == "as-nobody")
    assert nobody.difference["accuracy"].low > 0.1
    assert result.agreement["others"].value < 0.6 < result.agreement["reward"].value


def test_intervals_take_the_unit_that_makes_them_wider(world, fake_personal):
    feedback = world.comparisons()
    reward = fake_personal(world, dict(list(world.tastes.items())[:20]))
    auto, prompts = evaluate(reward, feedback), evaluate(reward, feedback, by="prompt")
    assert auto.settings["intervals_over"] == "people"  # half of them are known: people differ more than prompts
    wide, narrow = auto.overall["accuracy"], prompts.overall["accuracy"]
    assert wide.high - wide.low > 2 * (narrow.high - narrow.low)


def test_spread_over_people_against_luck(world, fake_personal):
    known = dict(list(world.tastes.items())[:20])
    unequal = evaluate(fake_personal(world, known), world.comparisons(), bootstrap=50)
    assert unequal.people["deciles"][0]["accuracy"] < unequal.people["deciles"][0]["by_chance"] - 0.2
    assert any("serves some people badly" in c for c in unequal.cautions)
    equal = evaluate(Function(lambda p, r: float(len(str(r)) % 3), "noise"), population_feedback(2000), bootstrap=50)
    for row in equal.people["deciles"]:
        assert row["accuracy"] == pytest.approx(row["by_chance"], abs=0.06)


def test_same_seed_same_result_and_json(feedback):
    one, two = (evaluate(Function(number), feedback, seed=3, bootstrap=50).to_dict() for _ in range(2))
    assert json.dumps(one, allow_nan=False) == json.dumps(two, allow_nan=False)
    assert one["settings"]["bootstrap"] == 50


def test_weights_count():
    rows = [
        Judgement("p1", ("1 a", "2 a"), (0, 1), weight=3),
        Judgement("p2", ("1 b", "2 b"), (1, 0), weight=1),
    ]
    assert evaluate(Function(number), Feedback.of(rows)).overall["accuracy"].value == 0.75


def test_clear_errors(feedback):
    with pytest.raises(FeedbackError, match="no judgements"):
        evaluate(Function(number), Feedback.of([]))
    lonely = Feedback.of([Judgement("p", (f"{i} x",), (i,), user=f"u{i}", scale="rating") for i in range(5)])
    with pytest.raises(FeedbackError, match="no two responses"):
        evaluate(Function(number), lonely)
    with pytest.raises(ConfigError, match="personal reward"):
        evaluate(Function(number), feedback, shots=[5])
    with pytest.raises(ConfigError, match="bootstrap"):
        evaluate(Function(number), feedback, bootstrap=-1)


def test_ukp_agreement_between_voters(shared_data):
    """The data README's figure: a vote equals the majority of the pair's other voters 77.5 % of the time."""
    folder = shared_data / "ukpconvarg"
    if not (folder / "pairs.jsonl.gz").exists():
        pytest.skip(f"UKPConvArg not found in {folder}")
    rows = []
    with gzip.open(folder / "pairs.jsonl.gz", "rt", encoding="utf-8") as stream:
        for line in stream:
            pair = json.loads(line)
            grades = {"a1": (1.0, 0.0), "a2": (0.0, 1.0), "equal": (1.0, 1.0)}
            for vote in pair["votes"]:
                responses = (pair["a"], pair["b"])
                rows.append(Judgement(pair["topic"], responses, grades[vote["choice"]], user=vote["user"]))
    feedback = Feedback.of(rows)
    pairs = feedback.pairs()
    others = majority_of_others(feedback, pairs)
    decided = (pairs.p != 0.5) & ~np.isnan(others) & (others != 0.5)
    assert correct(pairs.p, others)[decided].mean() == pytest.approx(0.775, abs=0.03)


def test_a_part_with_few_prompts_has_intervals_over_what_it_has_enough_of():
    rows = list(population_feedback().judgements())
    one_prompt = [replace(r, subset=r.prompt) for r in rows]  # each subset is one prompt
    noisy = Function(lambda p, r: float(len(str(r)) % 7), "noisy")
    result = evaluate(noisy, Feedback.of([replace(r, user=f"u{i}") for i, r in enumerate(one_prompt)]), by="prompt")
    assert result.settings["intervals_over"] == "prompts"
    subsets = [g for g in result.groups if g.kind == "subset"]
    assert {g.over for g in subsets} == {"people"}
    assert np.mean([g.figures["accuracy"].low < g.figures["accuracy"].high for g in subsets]) > 0.5
    nobody = evaluate(noisy, Feedback.of([replace(r, user=None) for r in one_prompt]))
    assert {g.over for g in nobody.groups if g.kind == "subset"} == {"judgements"}
