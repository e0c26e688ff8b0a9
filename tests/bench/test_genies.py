"""GENIES: shifts as published, what is trained on, figures from credits, capability on the reference, calibration."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from guerdon.bench.intervals import ClusterBootstrap
from guerdon.bench.suites.genies import GENIES, GENIES_ALL, GENIES_FIXED
from guerdon.bench.suites.genies_bench import Bench
from guerdon.bench.suites.genies_calibration import replicated_rms, rms_calibration, thrown
from guerdon.bench.suites.genies_data import Published, distribution, one_worse, shifts_of
from guerdon.bench.suites.genies_interventions import BaseModel, recipes_on
from guerdon.bench.suites.recipe import Recipe
from guerdon.bench.suites.result import SuiteResult
from guerdon.bench.suites.run import run
from guerdon.errors import ConfigError, FeedbackError
from guerdon.reward.base import Reward
from guerdon.reward.baselines import Length

RECIPE = "bradley-terry?encoder=hash:64?features=response"


def rows_of(good: str, bad: str, n: int = 60, options: int = 4) -> list[dict[str, object]]:
    """Rows whose best response says ``good``; half in either split."""
    rows = []
    for i in range(n):
        responses = [[f"this is {bad} {k} of {i}", 0.0] for k in range(options - 1)]
        responses.insert(i % options, [f"this is {good} of {i}", 1.0])
        rows.append(
            {"split": "train" if i < n // 2 else "test", "prompt": f"{good} or {bad}, {i}?", "responses": responses}
        )
    return rows


def write(place: Path, name: str, rows: list[dict[str, object]]) -> None:
    folder = place / "distributions"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source teaches apples; one target wants them too, one wants the reverse, whose reference wants roses."""
    place = tmp_path_factory.mktemp("genies")
    write(place, "apples", rows_of("apples", "stones"))
    write(place, "more_apples", rows_of("apples", "rocks", options=2))
    write(place, "stones", rows_of("stones", "apples"))
    write(place, "roses", rows_of("roses", "thorns"))
    shifts = [
        {"source": "apples", "target": "more_apples", "category": "context"},
        {"source": "apples", "target": "stones", "target_reference": "roses", "category": "spurious_cues"},
    ]
    (place / "GENIES.json").write_text(json.dumps(shifts), encoding="utf-8")
    (place / "all.json").write_text(json.dumps([*shifts, shifts[0]]), encoding="utf-8")
    return place


def test_a_recipe_is_trained_on_the_source_and_measured_on_the_target(small: Path) -> None:
    found = GENIES.measure(GENIES, RECIPE, small, bootstrap=200, rivals="mean-difference")
    f = {k: v.value for k, v in found.figures.items()}
    assert f["generalization, context"] == 1.0
    assert f["generalization, spurious cues"] == 0.0
    assert f["capability"] == 1.0  # of the reference, where the target itself would be learned as well
    assert (f["in-distribution"], f["zero-shot"]) == (1.0, 0.5)
    assert f["elicitation"] == 0.5
    assert f["differential elicitation"] == pytest.approx(0.0)
    assert found.figures["generalization"].low <= 0.5 <= found.figures["generalization"].high
    assert {b.name for b in found.baselines} == {"mean-difference", "length"}
    assert found.facts["shifts"] == 2
    assert found.subsets["generalization: spurious_cues/apples > stones"].n == 90  # all three pairs of 30 rows
    assert found.subsets["capability: spurious_cues/apples > stones"].n == 90
    assert found.subsets["generalization: context/apples > more_apples"].n == 30
    assert any("coin" in n for n in found.notes)


def test_a_rule_as_the_base_and_what_is_said_twice(small: Path) -> None:
    found = GENIES_ALL.measure(GENIES_ALL, RECIPE, small, bootstrap=0, rivals="none", base="rule:length", limit=20)
    assert found.facts["shifts"] == 2
    assert any("3 rows, 1 of them twice" in n for n in found.notes)
    assert any("at most 20 rows" in n for n in found.notes)
    length = next(b for b in found.baselines if b.name == "length")
    assert length.figures["differential elicitation"].value == pytest.approx(0.0)  # it is the base


def test_published_means_leave_out_what_is_missing(small: Path, tmp_path: Path) -> None:
    rows = [
        ("mms", "llama-30b-apples", "more_apples", 0.8),
        ("mms", "llama-30b-apples", "stones", 0.4),
        ("zero_shot", "llama-30b-apples", "more_apples", 0.5),
        ("zero_shot", "llama-30b", "stones", 0.5),
        ("lora_fine_tuning", "llama-30b-more_apples", "more_apples", 1.0),
        ("lora_fine_tuning", "llama-30b-roses", "roses", 0.8),
        ("lora_fine_tuning", "llama-30b-stones", "stones", 0.1),
    ]
    with (tmp_path / "published_evals.csv").open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file)
        out.writerow(["intervention", "model_and_source", "target", "eval_accuracy"])
        out.writerows(rows)
    shifts, _ = shifts_of(small, "GENIES.json")
    table = Published.read(tmp_path)
    assert table is not None
    found = table.figures("mms", shifts)
    assert found["generalization"] == pytest.approx(0.6)
    assert found["differential elicitation"] == pytest.approx(np.mean([0.3 / 1.0, -0.1 / 0.8]))
    assert table.figures("ccs", shifts) == {"shifts": 0.0}


def test_training_pairs_are_one_random_worse_option(small: Path) -> None:
    train = distribution(small, "apples")["train"]
    one, again, other = one_worse(train, 1), one_worse(train, 1), one_worse(train, 2)
    assert (one.sizes == 2).all()
    assert len(one) == 30
    assert list(one.judgements()) == list(again.judgements()) != list(other.judgements())
    assert len({j.responses[int(np.argmin(j.grades))].split()[3] for j in one.judgements()}) == 3


def test_the_authors_own_folders_are_read(tmp_path: Path) -> None:
    for split in ("train", "test"):
        place = tmp_path / "distributions" / "crt" / f"{split}.json"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(
            json.dumps([{"instruction": "", "prompt": "q", "responses": {"a": 1, "b": 0}}]), encoding="utf-8"
        )
    parts = distribution(tmp_path, "crt")
    assert {k: len(v) for k, v in parts.items()} == {"train": 1, "test": 1}


def test_what_is_missing_or_damaged_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no GENIES\.json.*commit 70bd2ea"):
        GENIES.measure(GENIES, RECIPE, tmp_path)
    with pytest.raises(ConfigError, match=r"no distribution apples.*commit 70bd2ea"):
        distribution(tmp_path, "apples")
    write(tmp_path, "two", [{"split": "test", "prompt": "q", "responses": [["a", 1.0], ["b", 1.0]]}])
    with pytest.raises(FeedbackError, match=r"two\.jsonl:1: 2 best responses"):
        distribution(tmp_path, "two")
    with pytest.raises(ConfigError, match="no model to train"):
        GENIES.measure(GENIES, "rule:length", tmp_path)


def test_a_reward_as_it_is_on_all_distributions(small: Path) -> None:
    found = run(Length(), GENIES_FIXED, GENIES_FIXED.feedback(small), baselines=(), bootstrap=0)
    assert set(found.subsets) == {"apples", "more_apples", "stones", "roses"}
    assert found.facts["duels"] == 3 * 90 + 30


def test_identical_features_are_ties_and_half(tmp_path: Path) -> None:
    """Often got wrong: what cannot tell the options apart earns a half, where strict counting says 0 %."""
    rows = [{**row, "responses": [["a b", 1.0], ["b a", 0.0]]} for row in rows_of("a", "b")]
    write(tmp_path, "order", rows)
    bench = Bench(tmp_path, ["order"], None, 0)
    assert (bench.ask(Length(), "order").credit == 0.5).all()


def test_calibration_by_hand_and_the_authors_slip() -> None:
    rng = np.random.default_rng(0)
    truth = rng.random(20_000)
    right = np.where(
        rng.random(20_000) < np.maximum(truth, 1 - truth), np.maximum(truth, 1 - truth), np.minimum(truth, 1 - truth)
    )
    assert rms_calibration(right) < 0.02
    assert rms_calibration(right, compat=True) > 0.2  # every bin against the mean label: sure and right is an error
    assert rms_calibration(np.full(500, 0.9)) == pytest.approx(0.1)
    assert np.isnan(rms_calibration(np.full(10, 0.9)))


def test_replicates_of_the_calibration_are_those_of_the_plain_loop() -> None:
    """Whole prompts are drawn: with the drawn pairs written out, the naive bins give the same error."""
    rng = np.random.default_rng(1)
    right, cluster = rng.random(300), np.repeat(np.arange(100), 3)
    right[5] = np.nan
    draw = ClusterBootstrap(100, replicates=3, seed=0)
    rows = replicated_rms(right, cluster, draw)
    assert rows[0] == rms_calibration(right)
    said, label = thrown(right[~np.isnan(right)])
    group = cluster[~np.isnan(right)]
    for r in range(3):
        times = draw.weights[r][group].astype(int)
        p, so = np.repeat(said, times), np.repeat(label, times)
        gaps = []
        for b in range(5):
            inside = (p >= b / 5) & (p < (b + 1) / 5)
            if inside.sum() >= 20:
                gaps.append((so[inside].mean() - p[inside].mean()) ** 2)
        assert rows[1 + r] == pytest.approx(np.sqrt(np.mean(gaps)))


SOME = "lora-fine-tuning,mms,few-shot,prompt-tuning,zero-shot"


def test_all_interventions_on_a_language_model_and_on_with_it_after_a_kill(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("transformers")
    pytest.importorskip("peft")
    from tiny_models import tiny_causal_lm

    monkeypatch.setenv("GUERDON_CACHE", str(tmp_path / "cache"))
    lm = f"hf:{tiny_causal_lm(tmp_path / 'lm', chat_template=False)}?steps=1&lora_rate=1e-3&prompt_rate=0.02"
    ticks: list[tuple[str, int, int]] = []
    fitted: list[str] = []
    real = Bench._fitted

    def counted(self: Bench, recipe: Recipe, source: str, place: Path | None) -> Reward:
        fitted.append(recipe.entry.name)
        if len(fitted) == 6:
            raise KeyboardInterrupt
        return real(self, recipe, source, place)

    def measure() -> SuiteResult:
        return GENIES.measure(
            GENIES,
            lm,
            small,
            bootstrap=20,
            limit=8,
            interventions=SOME,
            progress=lambda *tick: ticks.append(tick),
        )

    monkeypatch.setattr(Bench, "_fitted", counted)
    with pytest.raises(KeyboardInterrupt):
        measure()
    found = measure()
    # one source and two references for LoRA, one source for each other, zero-shot once; the sixth was killed
    assert len(fitted) == 3 + 1 + 3 + 1
    assert {b.name for b in found.baselines} == {*SOME.split(",")[1:], "length"}
    assert found.reward == "lora-fine-tuning of lm"
    heads, rows = GENIES.table(found)
    assert heads[1:] == ["target", "capability", "elicitation", "differential", "source", "calibration"]
    assert [r[0] for r in rows][:3] == ["lora-fine-tuning of lm", "mms", "few-shot"]
    assert all("±" in cell for cell in rows[0][1:3])
    zero = next(b for b in found.baselines if b.name == "zero-shot")
    assert zero.figures["differential elicitation"].value == pytest.approx(0.0)  # it is the base
    assert ("mms", 3, 3) in ticks
    assert ("lora-fine-tuning", 0, 5) in ticks
    again = measure()
    assert len(fitted) == 8  # nothing is fitted again
    assert again.to_dict() == found.to_dict()


def test_interventions_are_for_language_models_and_known(small: Path) -> None:
    with pytest.raises(ConfigError, match="no 'magic'; there are lora-fine-tuning, mms"):
        GENIES.measure(GENIES, "hf:nowhere", small, interventions="magic")
    with pytest.raises(ConfigError, match="are done to a language model"):
        GENIES.measure(GENIES, RECIPE, small, interventions="mms")
    with pytest.raises(ConfigError, match="'layers=3' is no option of a language model here; use dtype"):
        GENIES.measure(GENIES, "hf:nowhere?layers=3", small)


def test_recipes_of_the_paper() -> None:
    """Sizes and rates of the authors' code."""
    made = recipes_on(BaseModel.of("hf:org/llama?dtype=bfloat16&max_length=512"), "all")
    params = {name: recipe.make(seed=3).params for name, recipe in made.items()}
    lora, prompt = params["lora-fine-tuning"], params["prompt-tuning"]
    assert (lora["tuning"], lora["lora_rank"], lora["lora_alpha"], lora["learning_rate"]) == ("lora", 64, 16, 2e-5)
    assert (lora["steps"], lora["batch"], prompt["steps"], prompt["batch"]) == (150, 16, 150, 16)
    assert (prompt["tokens"], prompt["learning_rate"]) == (10, 0.0052)
    assert (params["few-shot"]["shots"], params["zero-shot"]["shots"]) == (4, 0)
    for name, states in (("mms", "heads"), ("cra", "heads"), ("lat-stim-1", "layers"), ("lat-stim-2", "layers")):
        assert f"states={states}" in params[name]["encoder"]
        assert (params[name]["top"], params[name]["held"], params[name]["probes"]) == (16, 0.3, "responses")
    assert (params["cra"]["contrast"], params["lat-stim-2"]["stimulus"]) == (1.0, "asked")
    assert all(p["seed"] == 3 for p in params.values())


def test_the_real_distributions(shared_data: Path) -> None:
    """Row counts: 66 distributions, 15 shifts, 69 rows of 56; two are equal; length alone decides two of them."""
    folder = shared_data / "genies"
    names = sorted(p.name.removesuffix(".jsonl.gz") for p in (folder / "distributions").iterdir())
    assert len(names) == 66
    assert len(shifts_of(folder, "GENIES.json")[0]) == 15
    shifts, rows = shifts_of(folder, "all.json")
    assert (len(shifts), rows) == (56, 69)
    counts = {
        n: {k: len(v) for k, v in distribution(folder, n).items()}
        for n in ("alpaca_mmlu", "truthful_qa", "reward_seeking")
    }
    assert counts["alpaca_mmlu"] == {"train": 600, "test": 250}
    assert counts["truthful_qa"] == {"train": 434, "test": 250}
    assert counts["reward_seeking"] == {"train": 1800, "test": 750}
    bench = Bench(folder, ["alpaca_mmlu", "alpaca_long", "alpaca_short"], None, 0)
    assert len(bench.test["alpaca_mmlu"][1]) == 750
    assert bench.ask(Length(), "alpaca_long").credit.mean() == pytest.approx(1.0, abs=0.01)
    assert bench.ask(Length(), "alpaca_short").credit.mean() == pytest.approx(0.0, abs=0.01)
    table = Published.read(folder)
    assert table is not None
    assert table.figures("mms", shifts_of(folder, "GENIES.json")[0])["generalization"] == pytest.approx(0.62, abs=5e-4)
