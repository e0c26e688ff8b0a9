"""The real sets: each is recognised, and gives the figures that were measured on it independently."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from guerdon.feedback import Feedback
from guerdon.feedback.describe import lengths, longer_preferred
from guerdon.feedback.messages import as_text
from guerdon.feedback.readers import read


def real(shared_data: Path, name: str, tmp_path: Path, **options: Any) -> Feedback:
    path = shared_data / name
    if not path.exists():
        pytest.skip(f"{name} is not among the real data here")
    return read(path, skip_bad=tmp_path / "bad.jsonl", **options)


def longer(feedback: Feedback) -> float:
    share = longer_preferred(feedback.pairs(), lengths(feedback.responses))
    assert share is not None
    return share


def test_hh_rlhf(shared_data: Path, tmp_path: Path) -> None:
    found = real(shared_data, "hh/harmless-base.test.jsonl.gz", tmp_path)
    assert "HH-RLHF transcripts" in found.notes[0]
    assert len(found) == 2303  # of 2,312; 4 have an empty response, 5 compare answers to different dialogues
    assert len((tmp_path / "bad.jsonl").read_text().splitlines()) == 9
    assert longer(found) == pytest.approx(0.440, abs=0.01)


def test_hh_relabelled(shared_data: Path, tmp_path: Path) -> None:
    found = real(shared_data, "hh/vpl_relabelled_test.jsonl.gz", tmp_path)
    assert found.criteria == ("helpful", "harmless")
    assert found.subsets == ("harmless", "helpful")
    assert len(found) > 4000


def test_ukpconvarg(shared_data: Path, tmp_path: Path) -> None:
    found = real(shared_data, "ukpconvarg", tmp_path)
    figures = found.describe()
    assert figures["comments"] == len(found)
    assert figures["people"] > 3500
    # a strict verdict is that of most other strict voters: 77.5 % in the whole set, of which this is a part
    assert figures["agreement"]["with_majority"] == pytest.approx(0.775, abs=0.02)
    assert 0.4 < figures["agreement"]["both_verdicts"] < 0.6


def test_ukpconvarg_strict_pairs_prefer_the_longer(shared_data: Path, tmp_path: Path) -> None:
    found = real(shared_data, "ukpconvarg", tmp_path)
    strict = {}
    from guerdon.feedback.readers import rows

    for _, row in rows(shared_data / "ukpconvarg" / "pairs.jsonl.gz"):
        if row["strict"]:
            strict[row["pair"]] = row["strict"]
    assert found.id is not None
    seen, hits = set(), []
    for j, name in enumerate(found.id.to_pylist()):
        pair = name.rsplit("/", 1)[0]
        if pair in strict and pair not in seen:
            seen.add(pair)
            a, b = (len(found.responses[int(i)].as_py()) for i in found.items[found.offsets[j] : found.offsets[j + 1]])
            hits.append(0.5 if a == b else float((a > b) == (strict[pair] == "a1")))
    assert np.mean(hits) == pytest.approx(0.773, abs=0.015)


def test_polis(shared_data: Path, tmp_path: Path) -> None:
    found = real(shared_data, "polis", tmp_path)
    assert any("passes" in note for note in found.notes)
    assert all(
        user.startswith(found.subsets[s] + "/") for user, s in zip(found.users[:50], found.subset[:50], strict=False)
    )
    assert len(found) + sum(_count(n) for n in found.notes if "left out" in n) == 589_850
    one = found.where(subset="scoop-hivemind.taxes")
    assert len(np.unique(one.judgement_prompt)) == 1
    assert one.scale.tolist() == [2] * len(one)


def _count(note: str) -> int:
    return int(note.split()[0].replace(",", ""))


def test_jester(shared_data: Path, tmp_path: Path) -> None:
    found = real(shared_data, "jester5k", tmp_path)
    assert (len(found), len(found.responses), len(found.users)) == (363_209, 100, 5000)
    assert found.grades.min() >= -10
    assert found.grades.max() <= 10


def test_movielens_and_its_one_broken_row(shared_data: Path, tmp_path: Path) -> None:
    found = real(shared_data, "recsys/ml-latest-small", tmp_path)
    assert (len(found), len(found.users)) == (100_835, 610)
    assert found.time is not None


def test_mt_bench(shared_data: Path, tmp_path: Path) -> None:
    found = real(shared_data, "mtbench_human", tmp_path)
    assert len(found.users) == 65
    assert len(found) + len((tmp_path / "bad.jsonl").read_text().splitlines()) == 3355
    last = np.array([len(as_text(r[-1:])) if isinstance(r, list) else len(r) for r in found.candidates.responses])
    share = longer_preferred(found.pairs(), last)
    assert share == pytest.approx(0.692, abs=0.02)


def test_rmb(shared_data: Path, tmp_path: Path) -> None:
    pairs = real(shared_data, "rmb/rmb.jsonl.gz", tmp_path)
    bon = real(shared_data, "rmb/rmb.jsonl.gz", tmp_path, format="rmb-bon")
    assert any("3,060 best-of-n left out" in note for note in pairs.notes)
    for kind, expected in (("Helpfulness", 0.648), ("Harmlessness", 0.543)):
        names = [s for s in pairs.subsets if f"/{kind}/" in s]
        assert longer(pairs.where(subset=names)) == pytest.approx(expected, abs=0.02)
    assert bon.sizes.min() > 2
    assert len(bon.pairs()) == (bon.sizes - 1).sum()


@pytest.mark.parametrize(("name", "share"), [("alpaca_long", 1.0), ("alpaca_short", 0.0)])
def test_genies(shared_data: Path, tmp_path: Path, name: str, share: float) -> None:
    found = real(shared_data, f"genies/distributions/{name}.jsonl.gz", tmp_path)
    assert found.subsets == ("train", "test")
    assert longer(found) == pytest.approx(share, abs=0.01)


def test_genies_as_a_directory(shared_data: Path, tmp_path: Path) -> None:
    found = real(shared_data, "genies/distributions", tmp_path)
    assert "crt_1/test" in found.subsets
    assert len(found) > 60_000


@pytest.mark.parametrize(("name", "share"), [("autoj_pairwise", 0.718), ("pandalm", 0.672)])
def test_judge_benches(shared_data: Path, tmp_path: Path, name: str, share: float) -> None:
    found = real(shared_data, f"judge_benches/{name}.jsonl.gz", tmp_path)
    assert longer(found) == pytest.approx(share, abs=0.03)


def test_rm_bench_hard_and_easy(shared_data: Path, tmp_path: Path) -> None:
    found = real(shared_data, "judge_benches/rm_bench.jsonl.gz", tmp_path)
    assert set(found.sizes) == {6}
    assert len(found.pairs()) == 9 * len(found)
