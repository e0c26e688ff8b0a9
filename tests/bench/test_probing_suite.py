"""MRMBench: probes find what is there, say what is no better than the majority, drop what cannot be read."""

import json
from pathlib import Path

import numpy as np
import pytest

from guerdon.bench.suites.compare import compare
from guerdon.bench.suites.registry import suite
from guerdon.bench.suites.study import Study
from guerdon.errors import ConfigError, FeedbackError

MRM = suite("mrmbench")
assert isinstance(MRM, Study)
WORDS = ("tree", "house", "river", "stone", "cloud", "paper", "green", "quick", "small", "north")


def write(folder: Path, rng: np.random.Generator, n: int = 200) -> Path:
    """Politeness decides helpfulness; nothing decides complexity, where nine in ten labels are 1."""
    for dimension in ("helpfulness", "complexity"):
        for split in ("train", "test"):
            rows = []
            for _ in range(n):
                polite = rng.random() < 0.5
                text = " ".join(rng.choice(WORDS, 8)) + (" thank you please" if polite else " no go away")
                label = int(polite) if dimension == "helpfulness" else int(rng.random() < 0.9)
                rows.append({"input": f"Say {rng.choice(WORDS)}", "output": text, "label": label})
            path = folder / "mrm_easy" / dimension / f"{split}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(rows), encoding="utf-8")
    return folder


@pytest.mark.parametrize("probe", ["logreg", "official"])
def test_probes_tell_what_is_there_from_the_majority(tmp_path: Path, probe: str) -> None:
    data = write(tmp_path, np.random.default_rng(0))
    found = MRM.measure(MRM, "encoder:minilm?features=response", data, probe=probe, bootstrap=200)
    if probe == "logreg":
        assert found.subsets["easy/helpfulness"].value > 0.97
        assert found.extra["easy/helpfulness: z above majority"] > 5
    assert any("not above the majority" in n and "easy/complexity" in n for n in found.notes)
    majority = next(b for b in found.baselines if b.name == "majority")
    values = [f.value for f in found.subsets.values()]
    assert found.headline[0] == "easy"
    assert found.headline[1].value == pytest.approx(np.mean(values))
    assert majority.figures["easy"].value == pytest.approx((0.9 + 0.5) / 2, abs=0.06)


def test_two_models_are_compared_item_by_item(tmp_path: Path) -> None:
    data = write(tmp_path, np.random.default_rng(1))
    results = [MRM.measure(MRM, spec, data, bootstrap=200, name=spec) for spec in ("encoder:minilm", "encoder:hash:4")]
    ranked, (difference,) = compare(MRM, results, bootstrap=200)
    assert ranked[0].reward == "encoder:minilm"
    assert difference.verdict == "encoder:minilm"


def test_what_is_missing_or_wrong_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no mrm_easy/DIMENSION/train\.json.*ifnoc/MRMBench"):
        MRM.measure(MRM, "encoder:minilm", tmp_path)
    data = write(tmp_path, np.random.default_rng(2), n=4)
    with pytest.raises(ConfigError, match=r"probe='x'; use one of logreg, official"):
        MRM.measure(MRM, "encoder:minilm", data, probe="x")
    with pytest.raises(ConfigError, match=r"no representation to probe"):
        MRM.measure(MRM, "rule:length", data)
    bad = data / "mrm_easy" / "helpfulness" / "test.json"
    bad.write_text(json.dumps([{"input": "a", "output": "b", "label": "good"}]), encoding="utf-8")
    with pytest.raises(FeedbackError, match=r"test\.json:1: label: 'good' is no class"):
        MRM.measure(MRM, "encoder:minilm", data)
