"""MRMBench: linear probes of six preference dimensions on what a reward model represents; the model stays as it is.

A probe is fitted to the training responses of a dimension and judged on its test responses: two classes (easy) or three
(hard). The figure of a level is the unweighted mean of its dimensions. Many a published accuracy is the majority's, so
the majority, a hashed bag of words and a random network of it stand beside every figure, and what is not clearly above
the majority is said. ``probe=official`` is the protocol as published (one short epoch on features as they are), which
depends on the features' scale; the default is ``probe=logreg``.

Responses that the model cannot read (longer than its context) are dropped, never cut, and counted.

References
----------
Wang et al. 2025. Probing Preference Representations. https://arxiv.org/abs/2511.12464
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from guerdon.bench.suites.agreement import rows_of
from guerdon.bench.suites.result import SuiteResult
from guerdon.bench.suites.study import Rival, Study, tally
from guerdon.bench.suites.suite import Cells, Table
from guerdon.encode import load_encoder
from guerdon.encode.base import Encoder
from guerdon.errors import ConfigError, FeedbackError
from guerdon.feedback.schema import Candidates
from guerdon.reward.base import Reward
from guerdon.reward.learned.probe import METHODS, control_features, fit_probe, judge, representations
from guerdon.reward.load import load

LEVELS = {"mrm_easy": "easy", "mrm_hard": "hard"}
DIMENSIONS = ("harmlessness", "helpfulness", "correctness", "coherence", "complexity", "verbosity")
ENCODER = "encoder:"


def summary(cells: Cells) -> Table:
    """The mean over the dimensions of each level, easy first."""
    out: Table = {}
    for level in LEVELS.values():
        part = cells.where(lambda s, k=level: s.startswith(f"{k}/"))
        if part.subsets:
            out[level] = part.macro()
    return out


def measure(
    study: Study,
    subject: str,
    data: str | Path,
    *,
    limit: int | None = None,
    bootstrap: int = 1000,
    seed: int = 0,
    probe: str = "logreg",
    name: str | None = None,
) -> SuiteResult:
    """Probe ``subject``, a reward or ``encoder:NAME``, on the folders ``mrm_easy`` and ``mrm_hard`` of ``data``.

    limit   so many training and so many test responses of a dimension at most (a smoke run)

    Raises
    ------
    ConfigError
        if nothing is there, the probe is unknown or the subject has no representation
    FeedbackError
        if a row lacks input, output or label
    """
    if probe not in METHODS:
        raise ConfigError(f"suite {study.name}: probe={probe!r}; use one of {', '.join(METHODS)}")
    source = load_encoder(subject.removeprefix(ENCODER)) if subject.startswith(ENCODER) else load(subject)
    parts = _parts(study, Path(data))
    subset: list[str] = []
    credit: dict[str, list[np.ndarray]] = {"": [], "majority": []}
    extra: dict[str, float] = {}
    weak, dropped = [], 0
    digest = blake2b(digest_size=8)
    for (level, dimension), (train, test) in parts.items():
        where = f"{level}/{dimension}"
        (fit_c, fit_y), (test_c, test_y) = (_read(p, limit, seed) for p in (train, test))
        for text in (*fit_c.responses, *test_c.responses):
            digest.update(str(text).encode())
        x, t = representations(source, fit_c), representations(source, test_c)
        fit_ok, test_ok = (np.isfinite(z).all(1) for z in (x, t))
        dropped += int((~fit_ok).sum() + (~test_ok).sum())
        if not fit_ok.any() or not test_ok.any():
            raise FeedbackError(f"suite {study.name}: {where}: the model can read none of the responses (too long?)")
        classes, counts = np.unique(fit_y[fit_ok], return_counts=True)
        majority = classes[counts.argmax()]
        said = fit_probe(x[fit_ok], fit_y[fit_ok], probe, seed=seed)(t[test_ok])
        right = np.full(len(test_y), np.nan)
        right[test_ok] = said == test_y[test_ok]
        report = judge(said, test_y[test_ok], majority)
        extra |= {f"{where}: balanced accuracy": report.balanced, f"{where}: macro-F1": report.f1}
        extra[f"{where}: z above majority"] = report.z
        if not report.above:
            weak.append(where)
        subset += [where] * len(test_y)
        credit[""].append(right)
        credit["majority"].append(np.where(test_ok, test_y == majority, np.nan))
        controls_fit, controls_test = control_features(fit_c, seed=seed), control_features(test_c, seed=seed)
        for control, z in controls_fit.items():
            said = fit_probe(z[fit_ok], fit_y[fit_ok], probe, seed=seed)(controls_test[control])
            credit.setdefault(control, []).append(np.where(test_ok, said == test_y, np.nan))
    what = {
        "majority": "the class most frequent in training",
        "bag of words": "the same probe on hashed words",
        "random network": "the same probe on a random network of hashed words",
    }
    notes = []
    if weak:
        notes.append(f"not above the majority: {', '.join(weak)}")
    if dropped:
        notes.append(f"{dropped} responses that the model cannot read (too long) are dropped, not cut")
    if limit is not None:
        notes.append(f"a smoke run of at most {limit} responses a dimension")
    return tally(
        study,
        name or _name(source, subject),
        subset,
        np.concatenate(credit[""]),
        rivals={k: Rival(what[k], np.concatenate(v)) for k, v in credit.items() if k},
        extra=extra,
        facts={"dropped": dropped},
        notes=notes,
        settings={"probe": probe, "limit": limit, "data": digest.hexdigest()},
        bootstrap=bootstrap,
        seed=seed,
    )


def _name(source: Encoder | Reward, subject: str) -> str:
    return str(getattr(source, "name", subject))


def _parts(study: Study, root: Path) -> dict[tuple[str, str], tuple[Path, Path]]:
    """(train file, test file) by (level, dimension), in the order of the paper."""
    found: dict[tuple[str, str], tuple[Path, Path]] = {}
    for place in (root, root / study.name, root / "mrmbench", root / "data"):
        for folder, level in LEVELS.items():
            for dimension in DIMENSIONS:
                pair = [_first(place / folder / dimension, split) for split in ("train", "test")]
                if all(pair):
                    found[level, dimension] = (pair[0], pair[1])  # type: ignore[assignment]
        if found:
            return found
    raise ConfigError(
        f"suite {study.name}: no mrm_easy/DIMENSION/train.json and test.json under {root}; {study.source}"
    )


def _first(folder: Path, stem: str) -> Path | None:
    for ending in (".json", ".jsonl", ".json.gz", ".jsonl.gz", ".parquet"):
        if (folder / f"{stem}{ending}").is_file():
            return folder / f"{stem}{ending}"
    return None


def _read(path: Path, limit: int | None, seed: int) -> tuple[Candidates, np.ndarray]:
    """(candidates, labels int [n]) of a file of ``input, output, label``."""
    prompts, responses, labels = [], [], []
    for file, number, row in rows_of([path]):
        for key in ("input", "output"):
            if not isinstance(row.get(key), str):
                raise FeedbackError(f"{file}:{number}: {key}: expected a text; see the suite's source")
        prompts.append(str(row["input"]))
        responses.append(str(row["output"]))
        labels.append(_label(row, file, number))
    rows = np.arange(len(labels))
    if limit is not None and limit < len(rows):
        rows = np.sort(np.random.default_rng(seed).permutation(rows)[:limit])
    return Candidates(prompts, responses).take(rows), np.array(labels, dtype=np.int64)[rows]


def _label(row: Mapping[str, Any], file: str, number: int) -> int:
    try:
        return int(row["label"])
    except (KeyError, TypeError, ValueError):
        raise FeedbackError(f"{file}:{number}: label: {row.get('label')!r:.20} is no class; give 0, 1 or 2") from None


MRM_BENCH = Study(
    name="mrmbench",
    what="MRMBench: what a reward model's representation knows of six preference dimensions",
    source="get hf:ifnoc/MRMBench and put its folders mrm_easy and mrm_hard there (DIMENSION/train.json and test.json)",
    subject="a reward with a representation, or encoder:NAME",
    measure=measure,
    summary=summary,
    paper="arXiv:2511.12464",
    settings={"probe": "logreg (default) or official"},
)
