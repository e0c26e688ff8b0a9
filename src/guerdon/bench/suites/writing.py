"""WritingPreferenceBench: which of two pieces of creative writing people find better, by genre and language.

Accuracy is strict (a tie is wrong), over all pairs of a language and by genre; languages are never pooled. Where only
graded texts are at hand, every two of one prompt whose grades differ by at least 1 are a pair, as the benchmark made
its own, before its filters.

References
----------
Ying et al. 2025. WritingPreferenceBench. https://arxiv.org/abs/2510.14616
"""

from __future__ import annotations

import numpy as np

from guerdon.bench.suites.items import Duels
from guerdon.bench.suites.suite import FEW, Cells, Suite, Table
from guerdon.feedback.messages import as_text, unpack
from guerdon.feedback.star import Feedback


def languages(feedback: Feedback, duels: Duels) -> list[str]:
    """``language/genre`` of each duel, the language by the script of the prompt."""
    prompts = feedback.prompts.to_pylist()
    kind = ["zh" if _chinese(as_text(unpack(p))) else "en" for p in prompts]
    genre = [*feedback.subsets, "all"]
    prompt = feedback.judgement_prompt
    return [f"{kind[prompt[j]]}/{genre[feedback.subset[j]]}" for j in duels.judgement.tolist()]


def _chinese(text: str) -> bool:
    return any("\u4e00" <= c <= "\u9fff" for c in text)


def summary(cells: Cells) -> Table:
    """Accuracy of each language, and the spread (standard deviation) over its genres of 30 items and more."""
    out: Table = {}
    for language in ("en", "zh"):
        part = cells.where(lambda s, k=language: s.startswith(f"{k}/"))
        if not part.subsets:
            continue
        out[language] = part.micro()
        big = part.where(lambda s, p=part: p.items[0, p.subsets.index(s)] >= FEW)
        if len(big.subsets) > 1:
            out[f"{language}: spread over genres"] = np.nanstd(big.rate, axis=1)
    return out


WRITING = Suite(
    name="writing",
    what="WritingPreferenceBench: creative writing in English and Chinese, by genre",
    source=(
        "get the pairs from hf:m-a-p/Writing-Preference-Bench (prompt, chosen, rejected, tag) or the graded texts from "
        "https://github.com/WritingPreferenceBench/Writing-Preference-Bench, and put them there as writing*.jsonl"
    ),
    files=("writing*.jsonl*|wpb*.jsonl*|writing_pref/*.jsonl*",),
    unit="duel",
    summary=summary,
    subset=languages,
    paper="arXiv:2510.14616",
)
