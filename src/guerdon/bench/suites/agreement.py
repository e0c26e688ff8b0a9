"""Agreement with people's verdicts: Auto-J, PandaLM, MT-bench, JudgeBench, LLMBar, IFBench, QA feedback.

Pairs that people call a tie have no right side and are no item. A tie of two scores is half, but lost in JudgeBench,
whose authors count a pair as right only if the verdicts in both orders together are for the right side.

References
----------
Li et al. 2023. Generative Judge for Evaluating Alignment (Auto-J). https://arxiv.org/abs/2310.05470
Wang et al. 2023. PandaLM. https://arxiv.org/abs/2306.05087
Zheng et al. 2023. Judging LLM-as-a-Judge with MT-Bench and Chatbot Arena. https://arxiv.org/abs/2306.05685
Tan et al. 2024. JudgeBench. https://arxiv.org/abs/2410.12784
Zeng et al. 2023. Evaluating Large Language Models at Evaluating Instruction Following (LLMBar).
https://arxiv.org/abs/2310.07641
Peng et al. 2025. Agentic Reward Modeling (IFBench). https://arxiv.org/abs/2502.19328
Wu et al. 2023. Fine-Grained Human Feedback (QA feedback). https://arxiv.org/abs/2306.01693
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from guerdon.bench.suites.suite import Cells, Suite, Table, read_files
from guerdon.errors import FeedbackError
from guerdon.feedback.readers.containers import Container, containers_of, records
from guerdon.feedback.schema import Judgement
from guerdon.feedback.star import Feedback


def macro(cells: Cells) -> Table:
    """The mean over all items, and the mean over the subsets."""
    return {"overall": cells.micro(), "by subset": cells.macro()}


def by_response_model(cells: Cells) -> Table:
    """JudgeBench: the pairs of each model that wrote the responses, the larger set first; sets are not pooled."""
    sets = {name.rpartition("/")[0]: 0.0 for name in cells.subsets}
    for name, items in zip(cells.subsets, cells.items[0], strict=True):
        sets[name.rpartition("/")[0]] += items
    found = sorted(sets, key=lambda name: -sets[name])
    return {name or "overall": cells.where(lambda s, n=name: s.rpartition("/")[0] == n).micro() for name in found}


NATURAL = "Natural"
ADVERSARIAL = ("Neighbor", "GPTInst", "GPTOut", "Manual")


def by_family(cells: Cells) -> Table:
    """LLMBar: the mean of its five subsets, Natural, the mean of the four adversarial ones; other sets apart."""
    mine = cells.where(lambda s: s in (NATURAL, *ADVERSARIAL))
    others = {name: cells.where(lambda s, n=name: s == n).micro() for name in cells.subsets if name not in mine.subsets}
    if not mine.subsets:
        return {"by subset": cells.macro(), **others}
    parts = {"natural": (NATURAL,), "adversarial": ADVERSARIAL}
    found = {name: mine.where(lambda s, m=members: s in m) for name, members in parts.items()}
    return {"overall": mine.macro(), **{name: part.macro() for name, part in found.items() if part.subsets}, **others}


def majority(paths: Sequence[Path]) -> Feedback:
    """PandaLM: what the majority of the annotators of a pair says; pairs without one are left out and counted."""
    votes = list(read_files(paths, "pandalm").judgements())
    starts = [i for i, vote in enumerate(votes) if vote.user == votes[0].user]  # a pair's annotators stand together
    kept, split = [], 0
    for begin, end in zip(starts, [*starts[1:], len(votes)], strict=True):
        first = votes[begin]
        says = [np.sign(vote.grades[0] - vote.grades[1]) for vote in votes[begin:end]]
        lead = max((-1, 0, 1), key=says.count)
        if 2 * says.count(lead) <= len(says):
            split += 1
        elif lead:
            grades = (1.0, 0.0) if lead > 0 else (0.0, 1.0)
            kept.append(Judgement(first.prompt, first.responses, grades, source="human"))
    feedback = Feedback.of(kept)
    ties = len(starts) - len(kept) - split
    said = f"of {len(starts)} pairs {ties} that the majority calls a tie and {split} without a majority are left out"
    return replace(feedback, notes=(said,))


def rows_of(paths: Sequence[Path]) -> Iterator[tuple[str, int, Mapping[str, Any]]]:
    """(file, line, row) of JSON files."""
    for path in paths:
        for container in containers_of(path):
            assert isinstance(container, Container)
            for record in records(container):
                if record.row is None:
                    raise FeedbackError(f"{path}:{record.number}: {record.error or 'cannot be read'}; mend the row")
                yield str(path), record.number, record.row


def value_of(row: Mapping[str, Any], field: str, kind: type, where: tuple[str, int]) -> Any:
    value = row.get(field)
    if not isinstance(value, kind):
        raise FeedbackError(f"{where[0]}:{where[1]}: {field}: expected a {kind.__name__}; see the suite's source")
    return value


def conversations(paths: Sequence[Path]) -> Feedback:
    """IFBench: ``text_chosen`` and ``text_rejected`` are whole conversations that share all but the last message."""
    judged = []
    for file, number, row in rows_of(paths):
        chosen, rejected = (value_of(row, k, list, (file, number)) for k in ("text_chosen", "text_rejected"))
        judged.append(
            Judgement(
                chosen[:-1],
                (chosen[-1]["content"], rejected[-1]["content"]),
                (1.0, 0.0),
                subset=row.get("domain"),
                id=str(row["id"]) if "id" in row else None,
            )
        )
    return Feedback.of(judged)


def answers(paths: Sequence[Path]) -> Feedback:
    """QA feedback: four answers with the verdicts of all six pairs (0 a tie, 1, 2); the grade of one is its wins.

    The prompt is the passages and the question; only the best of four counts, so lists without a single best one are
    left out of the items by their equal grades.
    """
    judged = []
    for file, number, row in rows_of(paths):
        texts = [value_of(row, f"prediction {i}", str, (file, number)) for i in range(1, 5)]
        verdicts = value_of(row, "preference", list, (file, number))
        wins = np.zeros(4)
        for (i, j), verdict in zip(combinations(range(4), 2), verdicts, strict=True):
            wins[i] += {0: 0.5, 1: 1.0, 2: 0.0}[verdict]
            wins[j] += {0: 0.5, 1: 0.0, 2: 1.0}[verdict]
        best = wins == wins.max()
        if best.sum() > 1:
            continue
        passages = "\n\n".join(" ".join(p[1:]) if isinstance(p, list) else str(p) for p in row.get("passages", []))
        prompt = f"{passages}\n\n{value_of(row, 'question', str, (file, number))}"
        judged.append(Judgement(prompt, tuple(texts), tuple(best.astype(float)), scale="partial", source="human"))
    return Feedback.of(judged)


CATEGORIES = {
    "mmlu-pro": "knowledge",
    "livebench-reasoning": "reasoning",
    "livebench-math": "math",
    "livecodebench": "coding",
}
"""What the source of a JudgeBench question begins with, and the category of the paper's tables."""


def judge_bench(paths: Sequence[Path]) -> Feedback:
    """JudgeBench: ``question, response_A, response_B, label`` A>B or B>A; the subset is the model that wrote the
    responses and the category of the question's source.
    """
    judged = []
    for file, number, row in rows_of(paths):
        where = (file, number)
        texts = (value_of(row, "response_A", str, where), value_of(row, "response_B", str, where))
        label = value_of(row, "label", str, where)
        if label not in ("A>B", "B>A"):
            raise FeedbackError(f"{file}:{number}: label: {label!r:.20} is neither A>B nor B>A; mend the row")
        grades = (1.0, 0.0) if label == "A>B" else (0.0, 1.0)
        source = str(row.get("source") or "other")
        category = next((name for start, name in CATEGORIES.items() if source.startswith(start)), source)
        writer = row.get("response_model")
        judged.append(
            Judgement(
                value_of(row, "question", str, where),
                texts,
                grades,
                subset=f"{writer}/{category}" if writer else category,
                id=str(row["pair_id"]) if "pair_id" in row else None,
            )
        )
    return Feedback.of(judged)


def llm_bar(paths: Sequence[Path]) -> Feedback:
    """LLMBar: ``input, output_1, output_2, label`` 1 or 2; the subset is the row's, or the name of its folder.

    The published folder also holds three processed sets and five of a case study, in the same layout.
    """
    judged = []
    for file, number, row in rows_of(paths):
        where = (file, number)
        texts = (value_of(row, "output_1", str, where), value_of(row, "output_2", str, where))
        label = value_of(row, "label", int, where)
        if label not in (1, 2):
            raise FeedbackError(f"{file}:{number}: label: {label!r} is neither 1 nor 2; mend the row")
        grades = (1.0, 0.0) if label == 1 else (0.0, 1.0)
        subset = str(row.get("subset") or Path(file).parent.name)
        judged.append(Judgement(value_of(row, "input", str, where), texts, grades, subset=subset))
    return Feedback.of(judged)


AUTO_J = Suite(
    name="auto-j",
    what="Auto-J: people's verdicts on 1,392 pairs of 58 scenarios",
    source="get data/test/testdata_pairwise.jsonl from https://github.com/GAIR-NLP/auto-j and put it there",
    files=("autoj_pairwise*.jsonl*|testdata_pairwise*.jsonl*",),
    format="auto-j",
    rule="half",
    summary=macro,
    paper="arXiv:2310.05470",
)
PANDA_LM = Suite(
    name="pandalm",
    what="PandaLM: the majority of three annotators on 999 pairs",
    source="get data/testset-v1.json from https://github.com/WeOpenML/PandaLM and put it there",
    files=("pandalm*.jsonl*|testset-v1.json*",),
    read=majority,
    rule="half",
    paper="arXiv:2306.05087",
)
MT_BENCH = Suite(
    name="mt-bench",
    what="MT-bench: experts' votes between six models in two turns",
    source=(
        "get the human votes (hf:lmsys/mt_bench_human_judgments) and the models' answers, and save them there as "
        "votes.jsonl (question_id, model_a, model_b, turn, judge, winner) and answers.jsonl (question_id, turns, "
        "answers)"
    ),
    files=("mtbench_human/votes.jsonl*|votes.jsonl*", "mtbench_human/answers.jsonl*|answers.jsonl*"),
    rule="half",
    summary=macro,
    paper="arXiv:2306.05685",
)
JUDGE_BENCH = Suite(
    name="judgebench",
    what="JudgeBench: pairs where one answer is objectively right: knowledge, reasoning, mathematics, code",
    source="clone https://github.com/ScalerLab/JudgeBench there, or put its data/*.jsonl there",
    files=("judgebench*.jsonl*|*response_model=*.jsonl|data/*response_model=*.jsonl",),
    read=judge_bench,
    summary=by_response_model,
    paper="arXiv:2410.12784",
)
LLM_BAR = Suite(
    name="llmbar",
    what="LLMBar: which of two outputs follows the instruction, natural and adversarial",
    source="clone https://github.com/princeton-nlp/LLMBar there, or put its folder Dataset there",
    files=("llmbar*.jsonl*|**/dataset.json",),
    read=llm_bar,
    rule="half",
    summary=by_family,
    paper="arXiv:2310.07641",
)
IF_BENCH = Suite(
    name="ifbench",
    what="IFBench preferences: instruction following with one to three levels of difficulty",
    source="get data/IFBench/data.converted.json from https://github.com/THU-KEG/Agentic-Reward-Modeling, put it there",
    files=("ifbench*.jsonl*|data.converted.json",),
    read=conversations,
    rule="half",
    summary=macro,
    paper="arXiv:2502.19328",
)
QA_FEEDBACK = Suite(
    name="qa-feedback",
    what="QA feedback: the best of four answers to a question over passages",
    source="get tasks/qa_feedback/data/dev_feedback.json from https://github.com/allenai/FineGrainedRLHF, put it there",
    files=("qa_feedback*.jsonl*|dev_feedback.json",),
    read=answers,
    rule="share",
    paper="arXiv:2306.01693",
)
