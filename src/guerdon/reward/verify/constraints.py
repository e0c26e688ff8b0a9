"""IFEval's 25 kinds of verifiable instructions: does the response do what it was told?

A row names its instructions in ``instruction_id_list`` and their arguments in ``kwargs`` (lists of equal length, or
their JSON), as in the published set. Zhou et al. 2023, arXiv:2311.07911; the checks follow the released code except
that keywords are taken literally (there they are regular expressions) and sentences and words are counted by
:func:`guerdon.reward.verify.formats.sentences` and a plain pattern instead of NLTK's tokenizers.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

from guerdon.errors import ConfigError, need
from guerdon.reward.verify.formats import count
from guerdon.reward.verify.rule import Question, Rule, Verdict, unusable

ANSWERS = ("My answer is yes.", "My answer is no.", "My answer is maybe.")


class Constraints(Rule):
    """Share of a row's instructions that the response follows, or whether it follows all of them.

    Parameters
    ----------
    level : all (1 only if every instruction is followed: prompt-level accuracy) or share (instruction-level)
    loose : also accept the response without its first line, its last line, or its asterisks (the loose criterion)
    """

    def __init__(self, *, level: str = "all", loose: bool = False) -> None:
        if level not in ("all", "share"):
            raise ConfigError(f"level={level!r} is unknown; use all or share")
        self.name = "constraints"
        self.level, self.loose = level, loose

    def check(self, asked: Question) -> Verdict:
        """Check every instruction of the row; ``detail`` names those that are not followed."""
        names, arguments = _list(asked.row.get("instruction_id_list")), _list(asked.row.get("kwargs"))
        if not names:
            return unusable("no instructions; give columns 'instruction_id_list' and 'kwargs'")
        arguments = arguments or [{}] * len(names)
        if len(arguments) != len(names):
            return unusable(f"{len(names)} instructions, but {len(arguments)} sets of kwargs")
        texts = list(variants(asked.response)) if self.loose else [asked.response]
        broken = []
        for name, given in zip(names, arguments, strict=True):
            if name not in CHECKS:
                return unusable(f"unknown instruction {name!r}")
            known = {k: v for k, v in (given or {}).items() if v is not None}
            try:
                followed = any(text.strip() and CHECKS[name](text, **known) for text in texts)
            except (TypeError, ValueError) as error:
                return unusable(f"{name}: {error}")
            if not followed:
                broken.append(name)
        value = 1 - len(broken) / len(names) if self.level == "share" else float(not broken)
        return Verdict(value, f"not followed: {', '.join(broken)}" if broken else None, detail={"broken": broken})


def _list(value: Any) -> list[Any]:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return []
    return list(value) if value is not None else []


def variants(response: str) -> Iterator[str]:
    """The eight texts of the loose criterion: without first and last line, with and without asterisks."""
    lines = response.split("\n")
    for text in (lines, lines[1:], lines[:-1], lines[1:-1]):
        joined = "\n".join(text).strip() if text is not lines else response
        yield joined
        yield joined.replace("*", "")


# -------------------------------------------------------------------------------------------------------- the checks


def compare(n: int, relation: str, wanted: int) -> bool:
    """``at least`` or ``less than``."""
    if relation not in ("at least", "less than"):
        raise ValueError(f"relation {relation!r}: use 'at least' or 'less than'")
    return n >= wanted if relation == "at least" else n < wanted


def occurrences(text: str, word: str) -> int:
    """How often ``word`` stands in the text, in either case, also inside of words."""
    return len(re.findall(re.escape(word.strip()), text, re.I))


def language(text: str) -> str | None:
    """ISO code of the text's language; None where there is nothing to tell it by."""
    try:
        import langdetect
    except ImportError:
        raise need("langdetect", "verify") from None
    langdetect.DetectorFactory.seed = 0  # without it, short texts are drawn anew each time
    try:
        return langdetect.detect(text)
    except langdetect.LangDetectException:
        return None


def _existence(text: str, keywords: list[str]) -> bool:
    return all(occurrences(text, word) for word in keywords)


def _forbidden(text: str, forbidden_words: list[str]) -> bool:
    return not any(re.search(rf"\b{re.escape(word)}\b", text, re.I) for word in forbidden_words)


def _frequency(text: str, keyword: str, frequency: int, relation: str) -> bool:
    return compare(occurrences(text, keyword), relation, frequency)


def _letters(text: str, letter: str, let_frequency: int, let_relation: str) -> bool:
    return compare(text.lower().count(letter.strip().lower()), let_relation, let_frequency)


def _language(text: str, language_: str) -> bool:
    return language(text) in (language_, None)


def _sentences(text: str, num_sentences: int, relation: str) -> bool:
    return compare(count(text, "sentences"), relation, num_sentences)


def _words(text: str, num_words: int, relation: str) -> bool:
    return compare(count(text, "words"), relation, num_words)


def _paragraphs(text: str, num_paragraphs: int) -> bool:
    parts = [p.strip() for p in re.split(r"\s?\*\*\*\s?", text)]
    inner = parts[1 if not parts[0] else 0 : -1 if len(parts) > 1 and not parts[-1] else None]
    return all(inner) and len(inner) == num_paragraphs


def _nth_paragraph(text: str, num_paragraphs: int, nth_paragraph: int, first_word: str) -> bool:
    parts = text.split("\n\n")
    filled = sum(bool(part.strip()) for part in parts)
    if not 1 <= nth_paragraph <= filled or not parts[nth_paragraph - 1].strip():
        return False
    word = parts[nth_paragraph - 1].split()[0].lstrip("'\"").lower()
    return filled == num_paragraphs and re.split(r"[.,?!'\"]", word)[0] == first_word.lower()


def _placeholders(text: str, num_placeholders: int) -> bool:
    return len(re.findall(r"\[.*?\]", text)) >= num_placeholders


def _postscript(text: str, postscript_marker: str) -> bool:
    known = {"P.P.S": r"p\.\s?p\.\s?s", "P.S.": r"p\.\s?s\."}
    pattern = known.get(postscript_marker.strip(), re.escape(postscript_marker.strip().lower()))
    return re.search(pattern, text.lower()) is not None


def _bullets(text: str, num_bullets: int) -> bool:
    stars, dashes = re.findall(r"^\s*\*[^*].*$", text, re.M), re.findall(r"^\s*-.*$", text, re.M)
    return len(stars) + len(dashes) == num_bullets


def _constrained(text: str) -> bool:
    return any(answer in text for answer in ANSWERS)


def _highlights(text: str, num_highlights: int) -> bool:
    single = [h for h in re.findall(r"\*[^\n*]*\*", text) if h.strip("*").strip()]
    double = [h for h in re.findall(r"\*\*[^\n*]*\*\*", text) if h.strip("*").strip()]
    return len(single) + len(double) >= num_highlights


def _sections(text: str, section_spliter: str, num_sections: int) -> bool:
    return len(re.findall(rf"\s?{re.escape(section_spliter.strip())}\s?\d+\s?", text)) >= num_sections


def _json(text: str) -> bool:
    bare = re.sub(r"^```(?:json)?|```$", "", text.strip(), flags=re.I).strip()
    try:
        json.loads(bare)
    except (ValueError, RecursionError):
        return False
    return True


def _title(text: str) -> bool:
    return any(found.strip("<> ") for found in re.findall(r"<<[^\n]+>>", text))


def _two_responses(text: str) -> bool:
    parts = [part.strip() for part in text.split("******")]
    filled = [part for part in parts if part]
    return all(parts[1:-1]) and len(filled) == 2 and filled[0] != filled[1]


def _repeat(text: str, prompt_to_repeat: str) -> bool:
    return text.strip().lower().startswith(prompt_to_repeat.strip().lower())


def _end(text: str, end_phrase: str) -> bool:
    return text.strip().strip('"').lower().endswith(end_phrase.strip().lower())


def _quotation(text: str) -> bool:
    return len(text.strip()) > 1 and text.strip()[0] == text.strip()[-1] == '"'


def _capital_words(text: str, capital_frequency: int, capital_relation: str) -> bool:
    words = [word for word in re.findall(r"[\w'-]+", text) if word.isupper()]
    return compare(len(words), capital_relation, capital_frequency)


CHECKS: dict[str, Callable[..., bool]] = {
    "keywords:existence": _existence,
    "keywords:frequency": _frequency,
    "keywords:forbidden_words": _forbidden,
    "keywords:letter_frequency": _letters,
    "language:response_language": lambda text, language: _language(text, language),
    "length_constraints:number_sentences": _sentences,
    "length_constraints:number_paragraphs": _paragraphs,
    "length_constraints:number_words": _words,
    "length_constraints:nth_paragraph_first_word": _nth_paragraph,
    "detectable_content:number_placeholders": _placeholders,
    "detectable_content:postscript": _postscript,
    "detectable_format:number_bullet_lists": _bullets,
    "detectable_format:constrained_response": _constrained,
    "detectable_format:number_highlighted_sections": _highlights,
    "detectable_format:multiple_sections": _sections,
    "detectable_format:json_format": _json,
    "detectable_format:title": _title,
    "combination:two_responses": _two_responses,
    "combination:repeat_prompt": _repeat,
    "startend:end_checker": _end,
    "startend:quotation": _quotation,
    "change_case:capital_word_frequency": _capital_words,
    "change_case:english_capital": lambda text: text.isupper() and language(text) in ("en", None),
    "change_case:english_lowercase": lambda text: text.islower() and language(text) in ("en", None),
    "punctuation:no_comma": lambda text: "," not in text,
}
"""Instruction: check(response, **kwargs) -> followed."""
