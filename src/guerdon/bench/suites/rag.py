"""RAG-Reward: pairs of answers from given sources, with a verdict on each of four criteria and a label.

A reward is asked with the sources in the prompt; without them it could only learn style, so rows without sources are
refused. Each criterion is a subset of its own, since comprehensiveness and verbosity pull in opposite directions; the
headline is the label, which is the majority of the verdicts where a row does not say it. Ties and pairs whose verdicts
balance out are no items, and the latter are counted.

References
----------
Zhang et al. 2025. RAG-Reward: Optimizing RAG with Reward Modeling and RLHF. https://arxiv.org/abs/2501.13264
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from guerdon.bench.suites.agreement import rows_of, value_of
from guerdon.bench.suites.suite import Cells, Suite, Table
from guerdon.errors import FeedbackError
from guerdon.feedback.schema import Judgement
from guerdon.feedback.star import Feedback

SIDES = {"a": 1.0, "b": 0.0, "tie": 0.5}
LABEL = "label"


def summary(cells: Cells) -> Table:
    """Accuracy on the labels, the mean over the criteria, and each."""
    rates = dict(zip(cells.subsets, cells.rate.T, strict=True))
    criteria = cells.where(lambda s: s != LABEL)
    out: Table = {LABEL: rates.pop(LABEL)} if LABEL in rates else {}
    return out | ({"mean over criteria": criteria.macro()} if criteria.subsets else {}) | rates


def verdicts(paths: Sequence[Path]) -> Feedback:
    """``query, sources [...], answer_a, answer_b, verdicts {criterion: a | b | tie}``, perhaps ``label``."""
    judged, balanced = [], 0
    for file, number, row in rows_of(paths):
        where = (file, number)
        sources = value_of(row, "sources", list, where)
        if not sources:
            raise FeedbackError(f"{file}:{number}: sources: none; without them nobody can tell what an answer invents")
        given = {k: _side(v, k, where) for k, v in value_of(row, "verdicts", dict, where).items()}
        texts = (value_of(row, "answer_a", str, where), value_of(row, "answer_b", str, where))
        numbered = "\n".join(f"[{i}] {source}" for i, source in enumerate(sources, 1))
        prompt = f"{numbered}\n\n{value_of(row, 'query', str, where)}"
        label = _side(row["label"], "label", where) if row.get("label") is not None else _majority(given)
        balanced += label == 0.5
        for criterion, p in [*given.items(), (LABEL, label)]:
            judged.append(Judgement(prompt, texts, (p, 1 - p), subset=criterion, id=str(row.get("id", number))))
    note = (f"{balanced} pairs whose verdicts balance out have no label",) if balanced else ()
    return replace(Feedback.of(judged), notes=note)


def _side(value: Any, field: str, where: tuple[str, int]) -> float:
    side = SIDES.get(str(value).casefold())
    if side is None:
        raise FeedbackError(f"{where[0]}:{where[1]}: {field}: {value!r:.20} is none of a, b and tie; mend the row")
    return side


def _majority(given: Mapping[str, float]) -> float:
    votes = sum((p > 0.5) - (p < 0.5) for p in given.values())
    return 1.0 if votes > 0 else 0.0 if votes < 0 else 0.5


RAG_REWARD = Suite(
    name="rag-reward",
    what="RAG-Reward: answers from given sources, by hallucination, comprehensiveness, verbosity, attribution",
    source=(
        "write rag_reward.jsonl with query, sources [...], answer_a, answer_b, verdicts {criterion: a, b or tie} and "
        "perhaps label; guerdon.curate.criteria_pairs has a language model judge pairs so"
    ),
    files=("rag_reward*.jsonl*|rag-reward*.jsonl*",),
    read=verdicts,
    rule="half",
    summary=summary,
    paper="arXiv:2501.13264",
)
