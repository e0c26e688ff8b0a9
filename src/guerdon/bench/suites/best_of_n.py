"""Best-of-n curves: what a reward's pick of n is truly worth, n = 1, 2, 4 ..., beside an oracle's and a blind pick's.

An item is a prompt at one n, and what it earns is the expected truth of the best of n by the reward, over all draws of
n of the prompt's candidates (:mod:`guerdon.bench.best_of_n`). ``gain`` is the best of N over a blind pick; where the
curve turns down before N, the reward is over-optimised: the n where the value is highest is told, and how far it falls
from there to N, with an interval (of that n, which was picked on the same prompts).

========== =============================================================== ===========================================
gsm8k      four graded solutions to each of 1,319 problems                 right or wrong
humaneval  100 samples a problem, run against the problem's tests          passes or not
alpaca     38 systems' answers to 805 instructions                         a judge's P(better than the baseline)
captions   thousands of captions a cartoon, with counts of three grades    mean grade 0 to 2, of half of the votes each
========== =============================================================== ===========================================

References
----------
Gao et al. 2022. Scaling laws for reward model overoptimization. https://arxiv.org/abs/2210.10760
"""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from guerdon.bench.best_of_n import expected_best, powers
from guerdon.bench.remembered import kept
from guerdon.bench.suites.agreement import rows_of, value_of
from guerdon.bench.suites.result import SuiteResult
from guerdon.bench.suites.study import Progress, Rival, Study, tally
from guerdon.bench.suites.suite import Cells, Table, find_files
from guerdon.errors import ConfigError, FeedbackError
from guerdon.feedback.schema import Candidates
from guerdon.reward.baselines import Length
from guerdon.reward.load import load

LARGE = 256
"""Captions that a contest needs to be one of the prompts."""


@dataclass(frozen=True)
class Lists:
    """c candidates of p prompts: ``prompt`` int [c]; ``truth`` float64 [c]; ``second`` another reading of the truth.

    What an oracle picks by ``truth`` is worth ``second``: where truths are noisy means, another half of the votes.
    """

    candidates: Candidates
    prompt: np.ndarray
    truth: np.ndarray
    second: np.ndarray


def summary(cells: Cells) -> Table:
    """The best of N, its gain over a blind pick, the fall from the n where it is highest, and every n."""
    rates = dict(zip(cells.subsets, cells.rate.T, strict=True))
    names = sorted(rates, key=lambda k: int(k.split("=")[1]))
    first, last = names[0], names[-1]
    top = max(names, key=lambda k: rates[k][0])
    out: Table = {
        f"best of {last.removeprefix('n=')}": rates[last],
        "gain over a blind pick": rates[last] - rates[first],
    }
    out["fall from the best n"] = rates[top] - rates[last]
    return out | {name: rates[name] for name in names}


def measure(
    study: Study,
    subject: str,
    data: str | Path,
    *,
    limit: int | None = None,
    bootstrap: int = 1000,
    seed: int = 0,
    name: str | None = None,
    progress: Progress | None = None,
    read: Callable[..., Lists],
    files: tuple[str, ...],
) -> SuiteResult:
    """The curve of the reward ``subject``; ``limit`` is of prompts.

    Raises
    ------
    ConfigError
        if the data are not there
    FeedbackError
        if a row cannot be used
    """
    found = find_files(study.name, files, study.source, data)
    if read is humaneval:
        lists = humaneval(found, limit, seed, progress=None if progress is None else partial(progress, "programs"))
    else:
        lists = read(found, limit, seed)
    reward = load(subject)
    watch = None if progress is None else partial(progress, "scoring")
    scores = kept(reward, subject, progress=watch).score(lists.candidates)
    sizes = np.bincount(lists.prompt)
    counts = powers(int(sizes.max()))
    counts = tuple(n for n in counts if n <= sizes.min()) or (1,)
    order = np.argsort(lists.prompt, kind="stable")
    parts = np.split(order, np.cumsum(sizes)[:-1])
    length = Length().score(lists.candidates).value
    value = scores.value
    mine, longest, oracle, blind = (np.empty((len(parts), len(counts))) for _ in range(4))
    for p, rows in enumerate(parts):
        mine[p] = expected_best(value[rows], lists.second[rows], counts)
        longest[p] = expected_best(length[rows], lists.second[rows], counts)
        oracle[p] = expected_best(lists.truth[rows], lists.second[rows], counts)
        blind[p] = lists.second[rows].mean()
    digest = blake2b(repr([str(r) for r in lists.candidates.responses]).encode("utf-8", "surrogatepass"), digest_size=8)
    prompts, k = len(parts), len(counts)
    notes = []
    if limit is not None:
        notes.append(f"a smoke run of {prompts} prompts")
    missing = int(np.isnan(value).sum())
    rivals = {
        "blind": Rival("a random candidate", blind.ravel()),
        "length": Rival("the longest of n", longest.ravel()),
        "oracle": Rival("the truly best of n", oracle.ravel()),
    }
    return tally(
        study,
        name or reward.name,
        [f"n={n}" for _ in range(prompts) for n in counts],
        mine.ravel(),
        rivals=rivals,
        cluster=np.repeat(np.arange(prompts), k),
        ids=[f"prompt {p}, n={n}" for p in range(prompts) for n in counts],
        extra={"n where it is highest": float(counts[int(mine.mean(0).argmax())])},
        facts={"candidates": len(value), "candidates a prompt at least": int(sizes.min()), "unscored": missing},
        reasons=_reasons(scores.reason, value),
        notes=notes,
        settings={"limit": limit, "curve": list(counts), "data": digest.hexdigest()},
        bootstrap=bootstrap,
        seed=seed,
    )


def _reasons(reason: Sequence[str | None], value: np.ndarray) -> dict[str, int]:
    out: dict[str, int] = {}
    for i in np.flatnonzero(np.isnan(value)).tolist():
        why = reason[i] or "no reason given"
        out[why] = out.get(why, 0) + 1
    return out


def _lists(prompts: list[str], responses: list[str], prompt: list[int], truth: list[float], **extra: Any) -> Lists:
    value = np.array(truth, dtype=np.float64)
    return Lists(Candidates(prompts, responses, **extra), np.array(prompt, dtype=np.int64), value, value)


def gsm8k(paths: Sequence[Path], limit: int | None, seed: int) -> Lists:
    """Problems with graded solutions ``{"solution", "is_correct"}`` of several models."""
    prompts, responses, prompt, truth = [], [], [], []
    for p, (file, number, row) in enumerate(rows_of(paths)):
        if limit is not None and p >= limit:
            break
        question = value_of(row, "question", str, (file, number))
        graded = [v for v in row.values() if isinstance(v, dict) and "is_correct" in v and "solution" in v]
        if len(graded) < 2:
            raise FeedbackError(f"{file}:{number}: {len(graded)} graded solutions; two or more are needed")
        for one in graded:
            prompts.append(question)
            responses.append(str(one["solution"]))
            prompt.append(p)
            truth.append(float(bool(one["is_correct"])))
    return _lists(prompts, responses, prompt, truth)


def alpaca(paths: Sequence[Path], limit: int | None, seed: int) -> Lists:
    """Instructions with ``outputs {system: [text, P(judge prefers it to the baseline)]}``."""
    prompts, responses, prompt, truth = [], [], [], []
    for p, (file, number, row) in enumerate(rows_of(paths)):
        if limit is not None and p >= limit:
            break
        instruction = value_of(row, "instruction", str, (file, number))
        for text, chance in value_of(row, "outputs", dict, (file, number)).values():
            prompts.append(instruction)
            responses.append(str(text))
            prompt.append(p)
            truth.append(float(chance))
    return _lists(prompts, responses, prompt, truth)


def humaneval(
    paths: Sequence[Path], limit: int | None, seed: int, *, progress: Callable[[int, int], None] | None = None
) -> Lists:
    """Problems (``prompt, entry_point, test``) and their ``samples``, each run against the tests in a sandbox.

    What passes is remembered, so that only the first run takes long.
    """
    problems: dict[str, Any] = {}
    samples: dict[str, list[str]] = {}
    for file, number, row in rows_of(paths):
        text = value_of(row, "prompt", str, (file, number))
        if "test" in row:
            problems[text] = row
        elif isinstance(row.get("samples"), list):
            samples[text] = [str(s) for s in row["samples"]]
    both = [text for text in problems if text in samples][:limit]
    if not both:
        raise FeedbackError(f"{paths[0]}: no problem has both tests and samples; see the suite's source")
    prompts, responses, prompt, tests = [], [], [], []
    for p, text in enumerate(both):
        row = problems[text]
        for sample in samples[text]:
            prompts.append(text)
            responses.append(sample)
            prompt.append(p)
            tests.append(f"{row['test']}\n\ncheck({row['entry_point']})\n")
    candidates = Candidates(prompts, [f"{p}{r}" for p, r in zip(prompts, responses, strict=True)], reference=tests)
    spec = "rule:code"
    passed = kept(load(spec), spec, always=True, progress=progress).score(candidates).value
    found = np.nan_to_num(passed)
    return Lists(Candidates(prompts, responses), np.array(prompt, dtype=np.int64), found, found)


def captions(paths: Sequence[Path], limit: int | None, seed: int) -> Lists:
    """``contest, sampling, caption, unfunny, somewhat_funny, funny``: uniformly shown captions with ten votes or more,
    of contests that have 256 of them.

    Votes are split in two at random: ``truth`` is the mean grade of one half, ``second`` of the other.
    """
    rng = np.random.default_rng([seed, 34])
    prompts, responses, prompt, counts = [], [], [], []
    contests: dict[str, int] = {}
    for path in paths:
        with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else open(path, encoding="utf-8") as text:
            assert isinstance(text, io.TextIOBase)
            for number, row in enumerate(csv.DictReader(text), 2):
                try:
                    votes = [int(row[k]) for k in ("unfunny", "somewhat_funny", "funny")]
                    contest, caption, sampling = row["contest"], row["caption"], row["sampling"]
                except (KeyError, TypeError, ValueError):
                    raise FeedbackError(f"{path}:{number}: expected counts of three grades; see the source") from None
                if sum(votes) < 10 or sampling not in ("RoundRobin", "Random") or not caption.strip():
                    continue
                if contest not in contests and limit is not None and len(contests) >= limit:
                    continue
                prompt.append(contests.setdefault(contest, len(contests)))
                prompts.append(f"A funny caption for the cartoon of contest {contest.split('-')[0]}")
                responses.append(caption)
                counts.append(votes)
    large = np.bincount(np.array(prompt, dtype=np.int64)) >= LARGE
    if not large.any():
        raise ConfigError(f"{paths[0]}: no contest has {LARGE} captions that were shown uniformly and have ten votes")
    rows = np.flatnonzero(large[np.array(prompt)])
    prompts, responses = [prompts[i] for i in rows], [responses[i] for i in rows]
    codes = np.unique(np.array(prompt)[rows], return_inverse=True)[1]
    table = np.array(counts)[rows]
    half = rng.multivariate_hypergeometric  # per row: one half of the votes
    first = np.array([half(row, int(row.sum()) // 2) for row in table])
    other = table - first
    grade = np.arange(3)
    means = [(part * grade).sum(1) / part.sum(1) for part in (first, other)]
    return Lists(Candidates(prompts, responses), codes, means[0], means[1])


def _study(name: str, what: str, source: str, files: tuple[str, ...], read: Any, paper: str) -> Study:
    def run(study: Study, subject: str, data: str | Path, **options: Any) -> SuiteResult:
        return measure(study, subject, data, read=read, files=files, **options)

    return Study(name, what, source, "a reward", run, summary, paper, parts=True)


BEST_OF_N = (
    _study(
        "gsm8k-bon",
        "best of four graded solutions to GSM8K's problems",
        "get grade_school_math/data/example_model_solutions.jsonl from https://github.com/openai/grade-school-math",
        ("gsm8k_model_solutions.jsonl*|example_model_solutions.jsonl*|verifiable_bon/gsm8k_model_solutions.jsonl*",),
        gsm8k,
        "arXiv:2110.14168",
    ),
    _study(
        "humaneval-bon",
        "best of n samples to HumanEval's problems, run against their tests",
        (
            "get HumanEval_for_code_generation.jsonl (as humaneval.jsonl) and a file of samples (prompt, samples) from "
            "https://github.com/microsoft/CodeT"
        ),
        (
            "humaneval.jsonl*|HumanEval_for_code_generation.jsonl*|verifiable_bon/humaneval.jsonl*",
            "humaneval*samples.jsonl*|*code_solution.jsonl*|verifiable_bon/humaneval*samples.jsonl*",
        ),
        humaneval,
        "arXiv:2107.03374",
    ),
    _study(
        "alpaca-bon",
        "best of 38 systems' answers by AlpacaEval's judge",
        (
            "get results/MODEL/weighted_alpaca_eval_gpt4_turbo/annotations.json of https://github.com/tatsu-lab/"
            "alpaca_eval and join them: a line an instruction with outputs {system: [text, preference - 1]}"
        ),
        ("alpaca_eval.jsonl*|alpaca_eval/alpaca_eval.jsonl*",),
        alpaca,
        "arXiv:2404.04475",
    ),
    _study(
        "captions-bon",
        "best of thousands of cartoon captions, by the votes of readers",
        (
            "get summaries of contests from https://github.com/nextml/caption-contest-data and join them: contest, "
            "sampling, caption, unfunny, somewhat_funny, funny"
        ),
        ("captions.csv*|captions/captions.csv*",),
        captions,
        "arXiv:2406.10522",
    ),
)
