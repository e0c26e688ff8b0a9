"""Responses cut off after their first sentence, as examples of what is not worth a yes.

A verifier that learned from whole responses may take the way right ones begin for being right, and then says yes to an
opening with nothing behind it. The remedy is to add such openings to its training data as negatives, cut from real
responses: made-up keys alone teach it the keys. An opening that holds the reference after all, or that is the whole
response, is left out, since short right answers must stay right.

References
----------
Zhao et al. 2025. One Token to Fool LLM-as-a-Judge. https://arxiv.org/abs/2507.08794 (20k of 160k, regenerated)
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable

import numpy as np

from guerdon.errors import ConfigError
from guerdon.feedback.messages import as_text
from guerdon.feedback.schema import Candidates, Judgement
from guerdon.feedback.star import Feedback

SENTENCE = re.compile(r"\s*.+?(?:[.!?:](?=\s|$)|[。！？：]|\n|$)", re.S)


def first_sentence(text: str) -> str:
    """``text`` up to and with its first full stop, question or exclamation mark, colon or line break."""
    found = SENTENCE.match(text)
    return found[0].rstrip("\n") if found else ""


def truncated(
    candidates: Candidates,
    *,
    share: float = 0.125,
    cut: Callable[[str], str] = first_sentence,
    seed: int = 0,
) -> Candidates:
    """Openings of some of the candidates, at most ``share`` of their number, with the columns of the whole ones.

    Each is a negative: train a verifier on the candidates as they were judged and on these with the verdict no.
    ``reference`` of the candidates, where there is one, keeps out openings that hold it.
    """
    if not 0 < share <= 1:
        raise ConfigError(f"share={share}: use a number above 0, at most 1")
    usable: list[int] = []
    for i, response in enumerate(candidates.responses):
        whole = as_text(response)
        if _is_opening(whole, cut(whole), candidates.reference[i] if candidates.reference is not None else None):
            usable.append(i)
    rng = np.random.default_rng(seed)
    rows = np.sort(rng.permutation(np.array(usable, dtype=np.int64))[: round(share * len(candidates))])
    kept = candidates.take(rows)
    return Candidates(
        kept.prompts,
        [cut(as_text(response)) for response in kept.responses],
        kept.user,
        kept.criterion,
        kept.reference,
        kept.extra,
    )


def with_truncated(
    feedback: Feedback, *, share: float = 0.125, cut: Callable[[str], str] = first_sentence, seed: int = 0
) -> Feedback:
    """``feedback``, and comparisons of its best responses with their openings: ``share`` of the number of judgements.

    What a preference model learns from: a response is better than its beginning.
    """
    best = []
    for judgement in feedback.judgements():
        text = judgement.responses[int(np.argmax(judgement.grades))]
        best.append((judgement, as_text(text)))
    columns = Candidates([j.prompt for j, _ in best], [text for _, text in best], extra={"row": list(range(len(best)))})
    found = truncated(columns, share=share, cut=cut, seed=seed)
    added = [
        Judgement(prompt, (best[row][1], opening), (1.0, 0.0), user=best[row][0].user, source="rule")
        for prompt, opening, row in zip(found.prompts, found.responses, found.extra["row"], strict=True)
    ]
    return Feedback.concatenate([feedback, Feedback.of(added)]) if added else feedback


def frequent_openings(
    responses: Iterable[str], *, most: int = 20, cut: Callable[[str], str] = first_sentence
) -> list[str]:
    """The openings that most responses share: keys to attack with, since a model writes them by itself."""
    counts = Counter(cut(text).strip() for text in responses)
    counts.pop("", None)
    return [text for text, n in counts.most_common(most) if n > 1]


def _is_opening(whole: str, opening: str, reference: object) -> bool:
    known = str(reference).strip().casefold() if reference is not None else ""
    cut_off = bool(opening.strip()) and len(opening.strip()) < len(whole.strip())
    return cut_off and not (known and known in opening.casefold())
