"""``guerdon bench``: a suite, a study with settings, reports, comparison, mistaken command lines."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from run_cli import guerdon


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """RewardBench-shaped pairs of one subset; the right one is longer in three of four."""
    folder = tmp_path_factory.mktemp("rb")
    rows = []
    for i in range(40):
        texts = ["a good deal longer answer", "short"]
        chosen, rejected = texts if i % 4 else texts[::-1]
        rows.append({"prompt": f"question {i}", "chosen": chosen, "rejected": rejected, "subset": "hep-python"})
    (folder / "rewardbench.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def probes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mrm")
    for split in ("train", "test"):
        rows = [
            {"input": "q", "output": f"{'yes indeed' if i % 2 else 'no never'} {i}", "label": i % 2} for i in range(60)
        ]
        path = folder / "mrm_easy" / "coherence" / f"{split}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(rows), encoding="utf-8")
    return folder


def test_a_suite_is_measured_reported_and_compared(pairs: Path, tmp_path: Path) -> None:
    reports = []
    for spec in ("rule:length", "rule:repetition"):
        place = tmp_path / spec.partition(":")[2]
        result = guerdon("bench", spec, "rewardbench", "--data", pairs, "--partial", "--report", place, "--json")
        assert result.code == 0, result.err
        reports.append(place)
        if spec == "rule:length":
            assert json.loads(result.out)["figures"]["overall"]["value"] == 0.75
            assert "partial: without" in result.err
    assert "<h1>" in (reports[0] / "report.html").read_text(encoding="utf-8")
    assert json.loads((reports[0] / "rewardbench.json").read_text(encoding="utf-8"))["hep-python"] == 0.75
    compared = guerdon("bench", "compare", *reports)
    assert compared.code == 0, compared.err
    assert "p (Holm)" in compared.out + compared.err


def test_a_study_takes_settings_and_refuses_what_it_does_not_know(probes: Path, tmp_path: Path) -> None:
    base = ("bench", "encoder:hash:64", "mrmbench", "--data", probes)
    result = guerdon(*base, "--set", "probe=logreg", "--report", tmp_path / "r", "--json")
    assert result.code == 0, result.err
    assert json.loads(result.out)["figures"]["easy"]["value"] > 0.9
    assert "duels" not in (tmp_path / "r" / "report.md").read_text(encoding="utf-8")
    for more, said in (
        (("--set", "prob=logreg"), "suite mrmbench knows no --set prob; settings: probe"),
        (("--partial",), "suite mrmbench knows no --partial"),
        (("--baseline", "length"), "suite mrmbench knows no --baseline"),
        (("--paraphraser", "hf:x"), "suite mrmbench knows no --paraphraser"),
        (("--set", "probe"), "--set 'probe': write KEY=VALUE"),
    ):
        wrong = guerdon(*base, *more)
        assert (wrong.code, said in wrong.err) == (2, True), wrong.err


def test_a_suite_of_ones_own_is_measured_and_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_suites.py").write_text(
        "from guerdon.bench.suites.suite import Suite\n"
        "GREETINGS = Suite('greetings', 'which greeting is friendlier', 'write greetings.jsonl', ('greetings.jsonl',))",
        encoding="utf-8",
    )
    row = {"prompt": "hello", "chosen": "good morning", "rejected": "what"}
    (tmp_path / "greetings.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    for rule in ("length", "repetition"):
        done = guerdon("bench", f"rule:{rule}", "own_suites:GREETINGS", "--data", ".", "--report", rule)
        assert done.code == 0, done.err
    compared = guerdon("bench", "compare", "length", "repetition")
    assert (compared.code, "p (Holm)" in compared.err) == (0, True), compared.err
    unwritable = guerdon("bench", "compare", "length", "repetition", "--report", "greetings.jsonl")
    assert (unwritable.code, "cannot be written" in unwritable.err) == (2, True), unwritable.err


def test_mistakes_get_one_line(pairs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GUERDON_DATA", raising=False)
    for words, said in (
        (("rule:length",), "use: guerdon bench REWARD SUITE"),
        (("rule:length", "nothing"), "no suite 'nothing'; there are rewardbench,"),
        (("rule:length", "rewardbench"), "suite rewardbench: no data; get hf:allenai/reward-bench"),
        (("rule:length", "rewardbench", "--data", pairs), "--partial"),
        (("rule:length", "rewardbench", "--data", pairs, "--set", "a=1"), "suite rewardbench has no settings"),
        (("compare", pairs), "cannot be read"),
    ):
        wrong = guerdon("bench", *words)
        assert (wrong.code, said in wrong.err) == (2, True), (words, wrong.err)


def test_rewordings_and_attacks_are_measured_on_the_same_items(pairs: Path, tmp_path: Path) -> None:
    base = ("bench", "rule:length", "rewardbench", "--data", pairs, "--partial", "--limit", "20", "--bootstrap", "50")
    place = tmp_path / "r"
    result = guerdon(*base, "--reword", "controlled", "--attack", "length", "--report", place, "--json")
    assert result.code == 0, result.err
    found = {t["name"]: t for t in json.loads(result.out)["robustness"]["transforms"]}
    assert found["ignore above"]["items"] == 20
    assert found["ignore above"]["figures"]["overall"]["drop"]["value"] > 0.4
    assert found["rot-13"]["inert"]
    assert "worst case of every item" in result.err
    page = (place / "report.html").read_text(encoding="utf-8")
    assert "<h2>Rewordings</h2>" in page
    assert "<h2>Attacks</h2>" in page
    for more, said in (
        (("--reword", "nonsense"), "no transform 'nonsense'"),
        (("--paraphraser", "hf:x"), "add --reword paraphrase"),
        (("--attack", "all"), "add --report DIR"),
    ):
        wrong = guerdon(*base, *more)
        assert (wrong.code, said in wrong.err) == (2, True), wrong.err


def test_a_recipe_is_trained_across_shifts(tmp_path: Path) -> None:
    (tmp_path / "distributions").mkdir()
    for name, good in (("a", "fine"), ("b", "grand")):
        rows = [
            {"split": split, "prompt": f"q{i}", "responses": [[f"{good} {i}", 1.0], [f"poor {i}", 0.0]]}
            for split in ("train", "test")
            for i in range(12)
        ]
        text = "".join(json.dumps(r) + "\n" for r in rows)
        (tmp_path / "distributions" / f"{name}.jsonl").write_text(text, encoding="utf-8")
    (tmp_path / "GENIES.json").write_text(json.dumps([{"source": "a", "target": "b"}]), encoding="utf-8")
    recipe = "bradley-terry?encoder=hash:32"
    result = guerdon(
        "bench", recipe, "genies", "--data", tmp_path, "--set", "rivals=none", "--report", tmp_path / "r", "--json"
    )
    assert result.code == 0, result.err
    figures = json.loads(result.out)["figures"]
    assert list(figures)[:2] == ["generalization", "differential elicitation"]
    assert figures["generalization"]["value"] == 1.0
    assert figures["differential elicitation"]["value"] == 0.5
    wrong = guerdon("bench", recipe, "genies", "--data", tmp_path, "--reword", "all")
    assert (wrong.code, "suite genies knows no --reword" in wrong.err) == (2, True), wrong.err
