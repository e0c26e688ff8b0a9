"""What the rows of a file of scores and verdicts say, in the layouts that :mod:`guerdon.reward.recorded` lists."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from guerdon.errors import FeedbackError
from guerdon.feedback.messages import Text, check_messages
from guerdon.feedback.readers.containers import containers_of, records

IDS = ("id", "pair_uid", "bon_uid", "pair_id")
SUBSETS = ("subset", "category_path")
CHOSEN = ("score_chosen", "scores_chosen", "chosen_score", "chosen_reward")
REJECTED = ("score_rejected", "scores_rejected", "rejected_score", "rejected_reward", "reject_reward")
LAYOUTS = (
    "prompt, response, score; prompt, chosen, rejected, score_chosen, score_rejected; "
    "prompt, response_a, response_b, probability; or id, scores_chosen, scores_rejected"
)

Located = tuple[str, Mapping[str, Any]]
Texts = Iterator[tuple[tuple[Text, ...], float]]
Fits = Callable[[Mapping[str, Any]], bool]
Read = Callable[[Mapping[str, Any], str], Texts]


def located_rows(source: Any) -> Iterator[Located]:
    """(where, row); an object of columns beside other facts, as RewardBench saves, is its rows."""
    for container in containers_of(source):
        for record in records(container):
            where, row = container.where(record.number), record.row
            if row is None:
                raise FeedbackError(f"{where}: {record.error}")
            ids = row.get("id")
            if not isinstance(ids, list):
                yield where, row
                continue
            columns = {k: v for k, v in row.items() if isinstance(v, list) and len(v) == len(ids)}
            rest = {k: v for k, v in row.items() if k not in columns}
            for i in range(len(ids)):
                yield f"{where}, item {i + 1}", {**rest, **{k: v[i] for k, v in columns.items()}}


def _number(value: Any, where: str, name: str) -> float:
    """A finite or infinite number; None is NaN."""
    if value is None:
        return math.nan
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise FeedbackError(f"{where}: {name}: {value!r:.40} is no number; give one, or null")
    try:
        return float(value)
    except ValueError:
        raise FeedbackError(f"{where}: {name}: {value!r:.40} is no number; give one, or null") from None


def _text(value: Any, where: str, name: str) -> Text:
    return value if isinstance(value, str) else check_messages(value, f"{where}: {name}")


def _texts(row: Mapping[str, Any], where: str, *names: str) -> tuple[Text, ...]:
    return tuple(_text(row[name], where, name) for name in names)


def _first(row: Mapping[str, Any], names: Sequence[str]) -> str | None:
    return next((name for name in names if name in row), None)


def _score(row: Mapping[str, Any], where: str) -> Texts:
    yield _texts(row, where, "prompt", "response"), _number(row["score"], where, "score")


def _scores(row: Mapping[str, Any], where: str) -> Texts:
    responses, scores = row["responses"], row["scores"]
    if not (isinstance(responses, list) and isinstance(scores, list) and len(responses) == len(scores)):
        raise FeedbackError(f"{where}: responses and scores: give two lists of the same length")
    for i, (response, score) in enumerate(zip(responses, scores, strict=True)):
        asked = (*_texts(row, where, "prompt"), _text(response, where, f"responses[{i}]"))
        yield asked, _number(score, where, f"scores[{i}]")


def _pair(row: Mapping[str, Any], where: str) -> Texts:
    for side, names in (("chosen", CHOSEN), ("rejected", REJECTED)):
        name = _first(row, names) or ""
        yield _texts(row, where, "prompt", side), _number(row[name], where, name)


def verdict(row: Mapping[str, Any], where: str) -> Texts:
    """A prompt, two responses and P(the first is preferred)."""
    value = _number(row["probability"], where, "probability")
    if not math.isnan(value) and not 0 <= value <= 1:
        raise FeedbackError(f"{where}: probability: {value:g} is not in [0, 1]")
    yield _texts(row, where, "prompt", "response_a", "response_b"), value


def item(row: Mapping[str, Any], where: str) -> tuple[tuple[str | None, str], dict[str, list[float]]]:
    """((subset or None, id), scores of the ``chosen`` and ``rejected`` responses, or of ``all`` in their order)."""

    def numbers(name: str) -> list[float]:
        value = row[name]
        return [_number(v, where, name) for v in (value if isinstance(value, list) else [value])]

    subset, chosen, rejected = _first(row, SUBSETS), _first(row, CHOSEN), _first(row, REJECTED)
    sides = {"chosen": numbers(chosen), "rejected": numbers(rejected)} if chosen and rejected else {}
    key = (str(row[subset]) if subset and row[subset] is not None else None, str(row[_first(row, IDS) or "id"]))
    return key, sides or {"all": numbers("scores")}


def _has(*names: str) -> Fits:
    return lambda row: all(name in row for name in names)


def _two_scores(row: Mapping[str, Any]) -> bool:
    return _first(row, CHOSEN) is not None and _first(row, REJECTED) is not None


def of_an_item(row: Mapping[str, Any]) -> bool:
    """Whether :func:`item` reads a row."""
    return _first(row, IDS) is not None and ("scores" in row or _two_scores(row))


KINDS: tuple[tuple[Read, Fits], ...] = (
    (verdict, _has("prompt", "response_a", "response_b", "probability")),
    (_score, _has("prompt", "response", "score")),
    (_scores, _has("prompt", "responses", "scores")),
    (_pair, lambda row: _has("prompt", "chosen", "rejected")(row) and _two_scores(row)),
)
"""(what reads a row, whether it is for it), in the order of trying."""
