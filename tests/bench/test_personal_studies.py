"""Studies of personal models: cells without leakage, shots that help, one choice for all that does not."""

import json
from pathlib import Path

import numpy as np
import pytest

from guerdon.bench.suites.compare import compare
from guerdon.bench.suites.personal import split
from guerdon.bench.suites.recipe import Recipe
from guerdon.bench.suites.registry import suite
from guerdon.bench.suites.study import Study
from guerdon.errors import ConfigError, FeedbackError
from guerdon.feedback.star import Feedback
from guerdon.worlds.annotators import Annotator
from guerdon.worlds.example import example_pool, example_prompts
from guerdon.worlds.people import Population

PERSONAL, PERSONAL_LLM = suite("personal"), suite("personalllm")
assert isinstance(PERSONAL, Study)
assert isinstance(PERSONAL_LLM, Study)


@pytest.fixture(scope="module")
def said() -> Feedback:
    """Sixty people of four opposed tastes about the bundled answers, 60 comparisons each."""
    people = Population.simulate("signed", example_pool(), users=60, annotators=Annotator.bradley_terry(3.0), seed=0)
    return people.history(count=60, seed=0)


@pytest.fixture(scope="module")
def path(said: Feedback, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("personal") / "said.jsonl"
    said.write(out)
    return out


def test_nothing_is_shared_between_fitting_and_tests(said: Feedback) -> None:
    parts = split(said, (0, 5), 60, 2, 0.25, 0)
    fitted_people = set(np.unique(parts.train.user).tolist())
    new = {int(u) for d in parts.draws for u in d.test.user}
    assert not fitted_people & new
    fitted_prompts = set(parts.train.judgement_prompt.tolist())
    hidden = said.prompt_of[parts.seen["seen people, unseen prompts"].a]
    assert not fitted_prompts & set(hidden.tolist())
    assert parts.fresh is not None
    assert not fitted_prompts & set(said.prompt_of[parts.fresh.a].tolist())
    for d in parts.draws:
        told = {(u, min(a, b), max(a, b)) for u, a, b in zip(d.shots.user, d.shots.a, d.shots.b, strict=True)}
        asked = {(u, min(a, b), max(a, b)) for u, a, b in zip(d.test.user, d.test.a, d.test.b, strict=True)}
        assert not told & asked
    known = {
        (parts.train.user[j], *sorted(parts.train.items[parts.train.offsets[j] : parts.train.offsets[j + 1]]))
        for j in range(len(parts.train))
    }
    seen = parts.seen["seen people, seen prompts"]
    assert not known & {(u, min(a, b), max(a, b)) for u, a, b in zip(seen.user, seen.a, seen.b, strict=True)}


def test_shots_help_a_personal_model_and_nobody_else(path: Path) -> None:
    settings = {"shots": "0,5,20", "draws": 1, "bootstrap": 300}
    mine = PERSONAL.measure(PERSONAL, "low-rank", path, **settings)
    assert mine.headline[0] == "new people, unseen prompts, 20 shots"
    assert mine.figures["gain of 20 shots, unseen prompts"].low > 0.05
    rival = next(b for b in mine.baselines if b.name == "population")
    assert rival.figures["gain of 20 shots, unseen prompts"].value == 0
    assert rival.difference["new people, unseen prompts, 20 shots"].low > 0
    assert mine.subsets["seen people, unseen prompts"].value > 0.6
    same = PERSONAL.measure(PERSONAL, "bradley-terry", path, **settings)
    assert same.figures["gain of 20 shots, seen prompts"].value == 0


def test_results_with_other_shots_or_people_are_not_compared(path: Path) -> None:
    made = {"draws": 1, "bootstrap": 0}
    a = PERSONAL.measure(PERSONAL, "bradley-terry", path, name="a", shots="0,5", **made)
    b = PERSONAL.measure(PERSONAL, "bradley-terry", path, name="b", shots="0,10", **made)
    with pytest.raises(ConfigError, match=r"different data"):
        compare(PERSONAL, [a, b])
    again = PERSONAL.measure(PERSONAL, "bradley-terry", path, name="c", shots="0,5", **made)
    _, (difference,) = compare(PERSONAL, [a, again], bootstrap=50)
    assert difference.headline.value == 0


def test_personalllm_orders_random_popular_personal_and_oracle(tmp_path: Path) -> None:
    rows = [{"prompt": p.prompt, "responses": list(p.answers)} for p in example_prompts()]
    (tmp_path / "personalllm.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    found = PERSONAL_LLM.measure(PERSONAL_LLM, "low-rank", tmp_path, people=120, new=40, shots="0,10", bootstrap=300)
    utility = {k: f.value for k, f in found.figures.items()}
    assert found.figures["gain of 10 shots"].low > 0
    oracle = next(b for b in found.baselines if b.name == "oracle")
    assert utility["0 shots"] < utility["10 shots"] < oracle.figures["10 shots"].value
    assert 0 < found.extra["agreement"] < 1


def test_scorers_come_from_the_published_columns(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = []
    for i in range(40):
        row: dict[str, object] = {"prompt": f"prompt {i}"}
        for k in range(1, 5):
            text = " ".join(rng.choice(["tree", "sun", "sea", "road", "bird"], 6)) + f" {i} {k}"
            row |= {f"response_{k}": text, f"response_{k}_model": "m"}
            row |= {f"response_{k}_rm_a": float(rng.normal()), f"response_{k}_rm_b": float(rng.normal())}
        rows.append(row)
    path = tmp_path / "personalllm.jsonl"
    path.write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    settings = {"people": 40, "new": 20, "history": 10, "shots": "0,2", "bootstrap": 20}
    found = PERSONAL_LLM.measure(PERSONAL_LLM, "low-rank", tmp_path, **settings)
    assert found.settings["scorers"] == ["rm_a", "rm_b"]
    del rows[3]["response_2_rm_b"]
    path.write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    with pytest.raises(FeedbackError, match=r"personalllm\.jsonl:4: scorer rm_b: no number for each response"):
        PERSONAL_LLM.measure(PERSONAL_LLM, "low-rank", tmp_path, **settings)


def test_recipes_and_settings_are_checked(path: Path) -> None:
    assert Recipe.of("low-rank?rank=3").make(seed=1).settings["rank"] == 3
    with pytest.raises(ConfigError, match=r"'nothing' is no model to train"):
        Recipe.of("nothing")
    with pytest.raises(ConfigError, match=r"write low-rank\?key=value, not 'rank'"):
        Recipe.of("low-rank?rank")
    with pytest.raises(ConfigError, match=r"no parameter 'rnk'"):
        Recipe.of("low-rank?rnk=3").make()
    with pytest.raises(ConfigError, match=r"shots=a: write numbers of shots"):
        PERSONAL.measure(PERSONAL, "low-rank", path, shots="a")
    with pytest.raises(FeedbackError, match=r"0 people gave 80 judgements or more; 20 are needed"):
        PERSONAL.measure(PERSONAL, "low-rank", path, shots="0,40")
    with pytest.raises(ConfigError, match=r"bradley-terry is the same for everybody"):
        PERSONAL_LLM.measure(PERSONAL_LLM, "bradley-terry", path)
