"""RMB, pairwise and best-of-n, as published and as one line a conversation.

Published: a JSON array a scenario; ``conversation_input, chosen {answer, score}, reject {...}, pair_uid,
category_path``, and ``conversation_input, bon_best {answer}, loser_list [{answer}], bon_uid, category_path``.
One line a conversation: ``conversation, answers [{text}], pairs [{chosen, rejected, uid, category}], bon [{best,
losers, uid, category}]`` with indices into the answers; it holds both, so one is read and the other is named.
Reference: Zhou et al. 2024, arXiv:2410.09893.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from guerdon.feedback.messages import Text
from guerdon.feedback.readers.formats import Format, Row, RowError, Sample, as_text_or_messages
from guerdon.feedback.readers.preference import BARELY
from guerdon.feedback.schema import Judgement


def published_pair(row: Row) -> Iterable[Judgement]:
    """One comparison, its strength the difference of the two scores."""
    chosen, rejected = _answer(row, "chosen"), _answer(row, "reject")
    high, low = row.data["chosen"].get("score"), row.data["reject"].get("score")
    scored = isinstance(high, int | float) and isinstance(low, int | float)
    grades = ((high, low) if high > low else (BARELY, 0.0)) if scored else (1.0, 0.0)
    yield _judgement(row, _prompt(row), (chosen, rejected), grades, "pair_uid", "order")


def published_bon(row: Row) -> Iterable[Judgement]:
    """One best-of-n: the best against each loser, nothing among the losers."""
    losers = [_text(v, f"loser_list[{i}]") for i, v in enumerate(row.records("loser_list"))]
    grades = (1.0, *(0.0 for _ in losers))
    yield _judgement(row, _prompt(row), (_answer(row, "bon_best"), *losers), grades, "bon_uid", "partial")


def line_pairs(row: Row) -> Iterable[Judgement]:
    """The pairs of a line; its best-of-n are counted."""
    row.tally.count("{n} best-of-n left out; read them with --format rmb-bon", len(row.records("bon")))
    prompt, answers = row.text("conversation"), row.records("answers")
    for pair in row.records("pairs"):
        texts = tuple(_pick(answers, pair.get(k), k) for k in ("chosen", "rejected"))
        yield Judgement(prompt, texts, (1.0, 0.0), **_names(pair))


def line_bon(row: Row) -> Iterable[Judgement]:
    """The best-of-n of a line; its pairs are counted."""
    row.tally.count("{n} pairs left out; read them with --format rmb-pairwise", len(row.records("pairs")))
    prompt, answers = row.text("conversation"), row.records("answers")
    for bon in row.records("bon"):
        losers = [_pick(answers, i, "losers") for i in bon.get("losers", [])]
        grades = (1.0, *(0.0 for _ in losers))
        yield Judgement(
            prompt, (_pick(answers, bon.get("best"), "best"), *losers), grades, scale="partial", **_names(bon)
        )


def pairwise(row: Row) -> Iterable[Judgement]:
    """Pairs in either form."""
    return line_pairs(row) if "answers" in row else published_pair(row)


def best_of_n(row: Row) -> Iterable[Judgement]:
    """Best-of-n in either form."""
    return line_bon(row) if "answers" in row else published_bon(row)


def _prompt(row: Row) -> Text:
    messages = [{k: v for k, v in m.items() if k != "language"} for m in row.records("conversation_input")]
    return as_text_or_messages(messages, "conversation_input")


def _answer(row: Row, name: str) -> Text:
    value = row.value(name)
    return _text(value, name) if isinstance(value, Mapping) else row.text(name)


def _text(value: Mapping[str, Any], where: str) -> Text:
    if value.get("answer") is None:
        raise RowError("missing-field", f"{where}.answer", "is missing", "add it")
    return as_text_or_messages(value["answer"], f"{where}.answer")


def _pick(answers: list[Mapping[str, Any]], index: Any, name: str) -> Text:
    if not isinstance(index, int) or not 0 <= index < len(answers):
        raise RowError("bad-grade", name, f"{index!r} is no index of {len(answers)} answers", "give an index from 0")
    return as_text_or_messages(answers[index].get("text"), f"answers[{index}].text")


def _judgement(
    row: Row, prompt: Text, texts: tuple[Text, ...], grades: tuple[float, ...], name: str, scale: str
) -> Judgement:
    return Judgement(prompt, texts, grades, scale=scale, id=row.label(name), subset=row.label("category_path"))


def _names(found: Mapping[str, Any]) -> dict[str, Any]:
    return {"id": found.get("uid"), "subset": found.get("category")}


def _line(sample: Sample) -> bool:
    return sample.has("conversation", "answers", "pairs", "bon")


PAIRWISE = Format(
    "rmb-pairwise",
    "RMB pairs",
    ("conversation_input", "chosen", "reject"),
    lambda s: _line(s) or s.has("conversation_input", "chosen", "reject"),
    pairwise,
    source="model",
)
BEST_OF_N = Format(
    "rmb-bon",
    "RMB best-of-n",
    ("conversation_input", "bon_best", "loser_list"),
    lambda s: _line(s) or s.has("conversation_input", "bon_best", "loser_list"),
    best_of_n,
    source="model",
)
