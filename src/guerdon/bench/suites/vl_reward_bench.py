"""VL-RewardBench: which of two answers to a question about an image is better, in three groups.

Overall is the mean over items, macro the mean of the groups general, hallucination and reasoning. As published, a
judge's tie and an item without a verdict are left out; because that rewards a judge that refuses, ``strict`` counts
them as lost and ``half`` as half, beside it. A tie of two scores is half. K votes an item are a judge's own setting:
what counts here is whether more than half of them are right. :func:`guerdon.bench.vote_rules.replayed` reads logs of
the published script.

Ids repeat and the groups follow from them (:func:`~guerdon.bench.vote_rules.group_of`). The better answer is the one of
rank 0 in ``human_ranking``.

References
----------
Li et al. 2024. VLRewardBench. https://arxiv.org/abs/2411.17451
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from guerdon.bench.suites.agreement import rows_of, value_of
from guerdon.bench.suites.items import Duels, Said
from guerdon.bench.suites.media import part
from guerdon.bench.suites.suite import Cells, Suite, Table
from guerdon.bench.vote_rules import GROUPS, group_of, source_of
from guerdon.errors import FeedbackError
from guerdon.feedback.schema import Judgement
from guerdon.feedback.star import Feedback


def read(paths: Sequence[Path]) -> Feedback:
    """``id, query, response [2], human_ranking [2]`` and ``image`` (bytes) or ``image_path``; subset group/source."""
    judged = []
    for file, number, row in rows_of(paths):
        where = (file, number)
        name, query = (value_of(row, k, str, where) for k in ("id", "query"))
        answers, ranks = (value_of(row, k, list, where) for k in ("response", "human_ranking"))
        if sorted(ranks) != [0, 1] or len(answers) != 2:
            raise FeedbackError(f"{file}:{number}: expected two responses and the ranks 0 and 1; mend the row")
        given = row.get("image") or row.get("image_path")
        image = part("image", given, f"{file}:{number}", beside=(Path(file).parent,))
        text = {"type": "text", "text": query.replace("<image>\n", "").replace("<image>", "")}
        judged.append(
            Judgement(
                [{"role": "user", "content": [image, text]}],
                tuple(str(a) for a in answers),
                tuple(1.0 - r for r in ranks),
                subset=f"{group_of(name)}/{source_of(name)}",
                source="human",
                id=name,
            )
        )
    return Feedback.of(judged)


def summary(cells: Cells) -> Table:
    """Over items, over groups, and each group."""
    out: Table = {"overall": cells.micro()}
    groups = {g: cells.where(lambda s, g=g: s.startswith(f"{g}/")) for g in dict.fromkeys(GROUPS.values())}
    rates = {g: part.micro() for g, part in groups.items() if part.subsets}
    return {**out, "macro": np.mean(list(rates.values()), axis=0), **rates}


def official(feedback: Feedback, said: Said, judgement: np.ndarray, credit: np.ndarray) -> np.ndarray:
    """A judge's tie is left out; a tie of scores stays half."""
    return np.where(credit == 0.5, np.nan, credit) if said.score is None else credit


def beside(feedback: Feedback, duels: Duels, said: Said) -> dict[str, float]:
    """Strict and half accuracy over all items, and shares of ties and of items without a verdict."""
    group = np.array([feedback.subsets[k].partition("/")[0] for k in feedback.subset[duels.judgement].tolist()])
    out = {}
    for name, credit in (("strict", said.won == 1), ("half", np.nan_to_num(said.won, nan=0.5))):
        out[f"{name}: overall"] = float(credit.mean())
        out[f"{name}: macro"] = float(np.mean([credit[group == g].mean() for g in np.unique(group)]))
    return out | {"tied": float((said.won == 0.5).mean()), "no verdict": float(np.isnan(said.won).mean())}


VL_REWARD_BENCH = Suite(
    name="vl-rewardbench",
    what="VL-RewardBench: answers to questions about images: general, hallucination, reasoning",
    source=(
        "get data/test-*.parquet of hf:MMInstruction/VL-RewardBench and put it there as vl_rewardbench.parquet; or "
        "data.jsonl with its folder images"
    ),
    files=("vl*reward*bench*.parquet|vl*reward*bench*.jsonl*|test-*.parquet|data.jsonl",),
    read=read,
    rule="half",
    unscored=None,
    summary=summary,
    credit=official,
    extra=beside,
    paper="arXiv:2411.17451",
)
