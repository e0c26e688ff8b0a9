"""A transform applied to judged responses: the same judgements with other texts, and which of them were changed."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from guerdon.errors import ConfigError
from guerdon.feedback.messages import as_text, pack, unpack
from guerdon.feedback.schema import Candidates
from guerdon.feedback.star import Feedback
from guerdon.generate.base import LanguageModel
from guerdon.generate.rewordings.answers import has_format
from guerdon.generate.rewordings.code import is_code
from guerdon.generate.rewordings.transform import Case, Transform, each_side
from guerdon.generate.rewordings.written import reworded_texts

NOTHING = "nothing to change"
_SUBSETS = {
    "code": re.compile(r"\bhep-|\bcod(?:e|ing)\b|humaneval|mbpp", re.I),
    "math": re.compile(r"math|gsm", re.I),
    "safety": re.compile(r"safe|harm|refus|xstest|donotanswer", re.I),
}
_LANGUAGES = ("python", "js", "cpp", "go", "java", "rust")


@dataclass(frozen=True)
class Reworded:
    """``feedback`` with the judgements of the original in their order; ``changed`` bool [J]; why others were not."""

    feedback: Feedback
    changed: np.ndarray
    reasons: Counter[str]


def cases_of(feedback: Feedback) -> list[Case]:
    """The judgements as cases; a response is right if it is graded above another one of its judgement.

    What a case is about is told by the name of its subset, else by its responses: fenced code or Python throughout, a
    final answer in a box or under a heading. Only a subset's name says that prompts are about safety.
    """
    prompts = [unpack(p) for p in feedback.prompts.to_pylist()]
    responses = [unpack(r) for r in feedback.responses.to_pylist()]
    subjects = [_named(name) for name in feedback.subsets]
    out = []
    for j, prompt in enumerate(feedback.judgement_prompt.tolist()):
        rows = slice(int(feedback.offsets[j]), int(feedback.offsets[j + 1]))
        grades = feedback.grades[rows]
        texts = tuple(responses[i] for i in feedback.items[rows].tolist())
        right = tuple((grades > grades.min()).tolist()) if len(grades) else ()
        domains, language = subjects[feedback.subset[j]] if feedback.subset[j] >= 0 else (frozenset[str](), "")
        if not domains:
            plain = [as_text(t) for t in texts]
            found = {"code": bool(plain) and all(map(is_code, plain)), "math": any(map(has_format, plain))}
            domains = frozenset(k for k, yes in found.items() if yes)
        out.append(Case(prompts[prompt], texts, right, domains, language))
    return out


def _named(subset: str) -> tuple[frozenset[str], str]:
    domains = frozenset(d for d, pattern in _SUBSETS.items() if pattern.search(subset))
    language = next((k for k in _LANGUAGES if subset.endswith(f"-{k}")), "") if "code" in domains else ""
    return domains, language


def reworded(
    feedback: Feedback,
    transform: Transform,
    *,
    seed: int = 0,
    language_model: LanguageModel | None = None,
    cases: list[Case] | None = None,
) -> Reworded:
    """``feedback`` reworded by ``transform``; judgements that it cannot or need not change stay as they are.

    cases   those of :func:`cases_of`, where they are at hand

    Raises
    ------
    ConfigError
        if the transform is one that a language model writes and there is none
    """
    cases = cases_of(feedback) if cases is None else cases
    write = _writer(transform, cases, language_model, seed)
    reasons: Counter[str] = Counter()
    new: list[Case] = []
    changed = np.zeros(len(cases), dtype=bool)
    for j, case in enumerate(cases):
        after, why = _once(transform, case, seed, write)
        changed[j] = not why
        if why:
            reasons[why] += 1
        new.append(case if after is None or why else after)
    return Reworded(_with_texts(feedback, new), changed, reasons)


def _once(
    transform: Transform, case: Case, seed: int, write: Mapping[str, tuple[str | None, str]]
) -> tuple[Case | None, str]:
    """(the case after the transform, why it counts as unchanged or an empty text)."""
    if not transform.applies(case):
        return None, f"not {transform.domain}"
    packed = pack(case.prompt)
    if transform.written:
        failed: list[str] = []

        def look_up(text: str, side: str) -> str:
            found, why = write[text] if text.strip() else (text, "")
            failed.extend([why] if why else [])
            return text if found is None else found

        after: Case | None = each_side(case, transform.sides, look_up)
        if failed:
            return None, failed[0]
    elif transform.each is not None:
        each: Callable[..., str] = transform.each
        after = each_side(case, transform.sides, lambda t, side: each(t, transform.draw(packed, seed)))
    else:
        assert transform.change is not None
        after = transform.change(case, transform.draw(packed, seed))
    if after is None:
        return None, "does not apply"
    if after.prompt == case.prompt and after.responses == case.responses:
        return None, NOTHING
    if len({pack(r) for r in after.responses}) < len({pack(r) for r in case.responses}):
        return None, "it would make two responses the same"
    return after, ""


def _writer(
    transform: Transform, cases: list[Case], model: LanguageModel | None, seed: int
) -> dict[str, tuple[str | None, str]]:
    """What the language model makes of every distinct text that the transform will ask for."""
    if not transform.written:
        return {}
    if model is None:
        raise ConfigError(f"transform {transform.name!r} is written by a language model; name one with --paraphraser")
    texts: dict[str, None] = {}

    def note(text: str, side: str) -> str:
        if text.strip():
            texts[text] = None
        return text

    for case in cases:
        if transform.applies(case):
            each_side(case, transform.sides, note)
    return dict(zip(texts, reworded_texts(transform, list(texts), model, seed=seed), strict=True))


def _with_texts(feedback: Feedback, cases: list[Case]) -> Feedback:
    """The same judgements with the texts of ``cases``."""

    def names(code: np.ndarray, table: tuple[str, ...]) -> list[str | None]:
        return [table[k] if k >= 0 else None for k in code.tolist()]

    made = Feedback.from_columns(
        prompts=[pack(c.prompt) for c in cases],
        responses=[pack(r) for c in cases for r in c.responses],
        offsets=feedback.offsets,
        grades=feedback.grades,
        user=names(feedback.user, feedback.users),
        criterion=names(feedback.criterion, feedback.criteria),
        subset=names(feedback.subset, feedback.subsets),
        weight=feedback.weight,
        id=feedback.id,
        strength=feedback.strength,
        notes=feedback.notes,
    )
    return replace(made, source=feedback.source, scale=feedback.scale)


def reworded_candidates(
    candidates: Candidates, transform: Transform, *, seed: int = 0, language_model: LanguageModel | None = None
) -> tuple[Candidates, np.ndarray]:
    """(every candidate reworded by itself, prompt and response; bool [n] which were changed).

    Responses to one prompt are reworded alike. A candidate with a text that the language model failed on, or strayed
    from, stays as it is.

    Raises
    ------
    ConfigError
        if the transform needs to see the other responses, or a language model that is not there
    """
    if transform.change is not None:
        raise ConfigError(
            f"rewording {transform.name!r} needs the other response to a prompt; use one that rewords a text by "
            "itself, e.g. typos"
        )
    alone = [Case(p, (r,), (True,)) for p, r in zip(candidates.prompts, candidates.responses, strict=True)]
    anywhere = replace(transform, domain="any")
    write = _writer(anywhere, alone, language_model, seed)
    done = [_once(anywhere, case, seed, write)[0] for case in alone]
    new = [case if after is None else after for case, after in zip(alone, done, strict=True)]
    changed = [a is not None and a != case for a, case in zip(done, alone, strict=True)]
    out = replace(candidates, prompts=[c.prompt for c in new], responses=[c.responses[0] for c in new])
    return out, np.array(changed, dtype=bool)


def reworded_by(
    candidates: Candidates, name: str, *, paraphraser: str | None = None, seed: int = 0
) -> tuple[Candidates, np.ndarray]:
    """:func:`reworded_candidates` by the transform called ``name`` and the language model called ``paraphraser``."""
    from guerdon.generate.load import load_language_model
    from guerdon.generate.rewordings.registry import chosen

    found = chosen([name])
    if len(found) != 1:
        raise ConfigError(f"rewording={name!r} stands for {len(found)} transforms; name one, e.g. typos")
    model = None if paraphraser is None else load_language_model(paraphraser)
    return reworded_candidates(candidates, found[0], seed=seed, language_model=model)
