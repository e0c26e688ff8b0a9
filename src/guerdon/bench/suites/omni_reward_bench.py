"""Omni-RewardBench: which of two responses of any modality is better by a criterion in words, or whether they tie.

Nine tasks. *With ties*: the share of all items whose verdict is people's, a tie among them. *Without*: of the items
that people do not call a tie, the share said rightly; a tie is wrong there. Both are means over the tasks, as published
an item without a verdict is wrong, and each task is shown.

A judge says tie itself. Of scores, a tie is a gap up to a threshold; the published one is tuned on the very items it is
measured on, so here each fifth of a task's items gets the threshold of the others, and the tuned figure stands beside.

A reward reads what it ``sees`` (:mod:`guerdon.bench.suites.media`). Media in a prompt that it does not see are
cautioned about; where the responses themselves are such media, nothing is left to score: the item has no verdict.

References
----------
Jin et al. 2025. Omni-Reward. https://arxiv.org/abs/2510.23451
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from guerdon.bench.intervals import clusters_of
from guerdon.bench.remembered import kept
from guerdon.bench.scoring import predict_items, predict_pairs
from guerdon.bench.suites.agreement import rows_of, value_of
from guerdon.bench.suites.media import part, unseen
from guerdon.bench.suites.result import SuiteResult
from guerdon.bench.suites.run import digest_of, some_of
from guerdon.bench.suites.study import Progress, Rival, Study, tally
from guerdon.bench.suites.suite import Cells, Table, find_files
from guerdon.bench.vote_rules import best_threshold, cross_fitted_credit, said_of
from guerdon.errors import FeedbackError
from guerdon.feedback.messages import Message, Text
from guerdon.feedback.schema import Judgement
from guerdon.feedback.star import Feedback, Pairs
from guerdon.reward.base import Reward
from guerdon.reward.baselines import Length
from guerdon.reward.load import load

TASKS: dict[str, tuple[str | None, str | None]] = {
    "text_to_text": (None, None),
    "text_image_to_text": ("image", None),
    "text_video_to_text": ("video", None),
    "text_audio_to_text": ("audio", None),
    "text_to_image": (None, "image"),
    "text_to_video": (None, "video"),
    "text_to_audio": (None, "audio"),
    "text_to_3D": (None, "image"),
    "text_image_to_image": ("image", "image"),
}
"""Task -> the medium of its prompts besides text, and of its responses; 3D objects are shown as rendered images."""
LABELS = {"response1": 1.0, "response2": 0.0, "tie": 0.5}
FOLDS = 5


def task_of(path: Path) -> str:
    """The task of a file by its name or that of its folder.

    Raises
    ------
    FeedbackError
        if neither names one
    """
    for name in (path.name.lower(), path.parent.name.lower()):
        for task in TASKS:
            if name.startswith(task.lower()):
                return task
    raise FeedbackError(f"{path}: of no task; name the file or its folder after one of {', '.join(TASKS)}")


def read(paths: Sequence[Path]) -> Feedback:
    """``prompt, response1, response2, criteria, criteria_preference`` and the prompt's ``image``, ``video``, ``audio``.

    A medium is its bytes, or a path (also as ``..._path``) under the file's folder or ``media_data`` there or above.
    """
    judged = []
    for path in paths:
        task = task_of(path)
        asked, answered = TASKS[task]
        for file, number, row in rows_of([path]):
            where = (file, number)
            label = LABELS.get(value_of(row, "criteria_preference", str, where))
            if label is None:
                raise FeedbackError(f"{file}:{number}: criteria_preference: use one of {', '.join(LABELS)}")
            prompt: Text = value_of(row, "prompt", str, where)
            if asked:
                parts = [medium(asked, row, asked, where), {"type": "text", "text": prompt}]
                prompt = [{"role": "user", "content": parts}]
            responses: list[Text] = [
                [{"role": "assistant", "content": [medium(answered, row, side, where)]}]
                if answered
                else value_of(row, side, str, where)
                for side in ("response1", "response2")
            ]
            judged.append(
                Judgement(
                    prompt,
                    tuple(responses),
                    (label, 1 - label),
                    criterion=value_of(row, "criteria", str, where),
                    subset=task,
                    source="human",
                    id=str(row["id"]) if "id" in row else None,
                )
            )
    return Feedback.of(judged)


def medium(kind: str, row: Mapping[str, Any], field: str, where: tuple[str, int]) -> Message:
    """The part of a row's ``field``, or of its path in ``field_path``."""
    folder = Path(where[0]).parent
    beside = (folder, folder / "media_data", folder.parent / "media_data")
    return part(kind, row.get(field) or row.get(f"{field}_path"), f"{where[0]}:{where[1]}: {field}", beside=beside)


@dataclass(frozen=True)
class Verdicts:
    """What a reward says of n items: ``gap`` > 0 for the first response, NaN where nothing; whether it ties itself."""

    gap: np.ndarray
    reasons: Counter[str]
    own_ties: bool


def ask(reward: Reward, feedback: Feedback) -> Verdicts:
    """The verdict of each judgement of two responses; those whose responses are unseen media stay without one."""
    first = feedback.offsets[:-1]
    one = np.ones(len(first))
    a, b = feedback.items[first], feedback.items[first + 1]
    pairs = Pairs(a, b, one, one, one, feedback.user, feedback.criterion, np.arange(len(first)))
    shown = [TASKS[task][1] for task in feedback.subsets]
    seen = np.array([m is None or m in reward.sees for m in shown])[feedback.subset]
    gap = np.full(len(first), np.nan)
    there = pairs.take(seen)
    own = type(reward).prefer is not Reward.prefer
    if own or not len(there):
        found = predict_pairs(reward, feedback, there)
        gap[seen] = found.value - 0.5
    else:
        twice = [np.concatenate([v, v]) for v in (there.user, there.criterion)]
        found = predict_items(reward, feedback, np.concatenate([there.a, there.b]), *twice, of_pairs=True)
        gap[seen] = found.value[: len(there)] - found.value[len(there) :]
    reasons = Counter(found.reasons)
    for task in np.unique(feedback.subset[~seen]).tolist():
        reasons[f"the responses are {shown[task]}, which it does not see"] += int((feedback.subset == task).sum())
    return Verdicts(gap, reasons, own)


def credit(said: Verdicts, label: np.ndarray, task: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(with ties, with ties at the threshold tuned on these items, without ties) float64 [n]; NaN in the last where
    people say tie. ``label`` [n] is 1, 0 or -1, ``task`` int [n].
    """
    gap = said.gap
    fair = (said_of(gap, 0.0) == label).astype(float)
    tuned = fair.copy()
    for k in np.unique(task).tolist():
        at = np.flatnonzero((task == k) & ~np.isnan(gap))
        if said.own_ties or not len(at):
            continue
        if len(at) >= 2 * FOLDS:
            fair[at] = cross_fitted_credit(gap[at], label[at], folds=FOLDS, seed=seed)
        tuned[at] = said_of(gap[at], best_threshold(gap[at], label[at])[0]) == label[at]
    return fair, tuned, np.where(label == 0, np.nan, said_of(gap, 0.0) == label)


def summary(cells: Cells) -> Table:
    """Means over the tasks with and without ties, the means over items, and each task with ties."""
    out: Table = {}
    for kind in ("with ties", "without ties"):
        tasks = cells.where(lambda s, k=kind: s.endswith(f", {k}"))
        out |= {kind: tasks.macro(), f"{kind}, over items": tasks.micro()}
    return out


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
) -> SuiteResult:
    """The reward ``subject`` on the tasks whose files are there; ``limit`` is of items."""
    feedback = read(find_files(study.name, FILES, study.source, data))
    reward = load(subject)
    notes = unseen(reward, feedback)
    if limit is not None and limit < len(feedback):
        notes.append(f"a smoke run of {limit} of {len(feedback)} items")
        feedback = feedback.take(some_of(feedback, limit, seed))
    missing = sorted(TASKS.keys() - set(feedback.subsets))
    notes += [f"without {', '.join(missing)}: no file of them"] if missing else []
    first = feedback.offsets[:-1]
    label = np.sign(feedback.grades[first] - feedback.grades[first + 1])
    watch = None if progress is None else partial(progress, "scoring")
    said = ask(kept(reward, subject, progress=watch), feedback)
    fair, tuned, strict = credit(said, label, feedback.subset, seed)
    length = credit(ask(Length(), feedback), label, feedback.subset, seed)
    if not said.own_ties:
        notes.append(f"ties by thresholds of other items' choosing; 0 where a task has fewer than {2 * FOLDS} items")
    coin = np.concatenate([0.5 * (label != 0), np.where(label == 0, np.nan, 0.5)])
    tasks = [feedback.subsets[k] for k in feedback.subset.tolist()]
    n = len(feedback)
    ids = feedback.id.to_pylist() if feedback.id is not None else list(range(n))
    cluster = clusters_of(feedback, "prompt").code
    by_task = [float(tuned[feedback.subset == k].mean()) for k in np.unique(feedback.subset).tolist()]
    return tally(
        study,
        name or reward.name,
        [f"{task}, with ties" for task in tasks] + [f"{task}, without ties" for task in tasks],
        np.concatenate([fair, strict]),
        rivals={
            "length": Rival("the longer response wins, where it is text", np.concatenate([length[0], length[2]])),
            "random": Rival("a coin, in expectation; never a tie", coin),
        },
        cluster=np.concatenate([cluster, cluster]),
        ids=[f"{i}, {kind}" for kind in ("with ties", "without ties") for i in ids],
        extra={"with ties, threshold tuned on these items (as published)": float(np.mean(by_task))},
        facts={"judgements": n, "ties": int((label == 0).sum()), "without a verdict": int(np.isnan(said.gap).sum())},
        reasons=dict(said.reasons.most_common()),
        notes=notes,
        settings={"limit": limit, "data": digest_of(feedback)},
        bootstrap=bootstrap,
        seed=seed,
    )


FILES = ("*_preferences.json|text_*/test*.parquet|text_*.parquet|text_*.jsonl*",)
OMNI_REWARD_BENCH = Study(
    name="omni-rewardbench",
    what="Omni-RewardBench: pairs of nine tasks in five modalities by criteria in words, with and without ties",
    source=(
        "get hf:HongbangYuan/OmniRewardBench (a folder a task, with test*.parquet, and media_data beside them) and put "
        "it there"
    ),
    subject="a reward",
    measure=measure,
    summary=summary,
    paper="arXiv:2510.23451",
    parts=True,
)
