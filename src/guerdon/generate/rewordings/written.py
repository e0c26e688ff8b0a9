"""Transforms that a language model writes: a paraphrase, and there and back through another language.

Each text is asked for by itself, once a distinct text, at the settings of the run, and what comes back is kept only if
it still says the same: an embedding of it must be within ``CLOSE`` of the original's, and its numbers must be there. A
case with a text that failed or strayed is left out of the transform, and counted by the reason.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import numpy as np

from guerdon.generate.base import LanguageModel
from guerdon.generate.rewordings.transform import Transform

CLOSE = 0.8
"""Cosine of the embeddings of a text and its rewording below which the rewording has strayed."""
MOST = 2048
"""Tokens of a rewording."""

RULES = (
    "Keep the meaning, every fact, number and name, code and formulas exactly as they are. Do not answer, judge or "
    "correct it. Write nothing but the new text."
)
PARAPHRASE = "Say the text between the marks in other words, in the same language. {rules}\n\n<text>\n{text}\n</text>"
TO = "Translate the text between the marks into {language}. {rules}\n\n<text>\n{text}\n</text>"
BACK = "Translate the text between the marks from {language} into English. {rules}\n\n<text>\n{text}\n</text>"

PARAPHRASED = Transform("paraphrase", "natural", "every text in other words, by a language model")
BACK_TRANSLATED = Transform("back-translation", "natural", "every text into German and back, by a language model")
TRANSFORMS = (PARAPHRASED, BACK_TRANSLATED)

Embed = Callable[[Sequence[str]], np.ndarray]


def reworded_texts(
    transform: Transform, texts: Sequence[str], model: LanguageModel, *, seed: int = 0, embed: Embed | None = None
) -> list[tuple[str | None, str]]:
    """(new text or None, why not) of each text.

    embed   texts to unit vectors [n, d]; MiniLM by default
    """
    if transform.name == BACK_TRANSLATED.name:
        there = _ask(model, [TO.format(language="German", rules=RULES, text=t) for t in texts], seed)
        known = [i for i, t in enumerate(there) if t]
        back = _ask(model, [BACK.format(language="German", rules=RULES, text=there[i]) for i in known], seed)
        said: list[str | None] = [None] * len(texts)
        for i, new in zip(known, back, strict=True):
            said[i] = new
    else:
        said = _ask(model, [PARAPHRASE.format(rules=RULES, text=t) for t in texts], seed)
    got = [i for i, t in enumerate(said) if t]
    near = np.zeros(len(texts))
    if got:
        vectors = (embed or _minilm)([*(texts[i] for i in got), *(str(said[i]) for i in got)])
        near[got] = np.sum(vectors[: len(got)] * vectors[len(got) :], axis=1)
    out: list[tuple[str | None, str]] = []
    for i, (old, new) in enumerate(zip(texts, said, strict=True)):
        if not new:
            out.append((None, "the language model gave no text"))
        elif near[i] < CLOSE:
            out.append((None, "the rewording strayed from the text"))
        elif sorted(re.findall(r"\d+", old)) != sorted(re.findall(r"\d+", new)):
            out.append((None, "the rewording changed a number"))
        else:
            out.append((new, ""))
    return out


def _ask(model: LanguageModel, prompts: Sequence[str], seed: int) -> list[str | None]:
    if not prompts:
        return []
    replies = model.generate(list(prompts), temperature=0.0, max_tokens=MOST, seed=seed)
    return [None if t is None else re.sub(r"</?text>", "", t).strip() or None for t in replies.text]


def _minilm(texts: Sequence[str]) -> np.ndarray:
    from guerdon.encode import load_encoder
    from guerdon.feedback.schema import Candidates

    x = load_encoder("minilm?features=response").encode(Candidates([""] * len(texts), list(texts)))
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
