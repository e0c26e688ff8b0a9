"""A choice among responses: a list with the index of the preferred one, or two columns with a verdict.

``prompt, responses, label``                 the index (from 0) of the preferred response; HH-RLHF as relabelled by
                                             hidden-context work (Siththaranjan et al. 2023, arXiv:2312.08358; Poddar
                                             et al. 2024, arXiv:2408.10075) is of this kind
``prompt, response_a, response_b, winner``   the verdict as a, b or tie in any of the usual spellings
Auto-J (arXiv:2310.05470), PandaLM (arXiv:2306.05087), SHP (Ethayarajh et al. 2022) and Chatbot Arena number or spread
their verdicts in their own ways and are read by name.
"""

import json
from collections.abc import Iterable, Mapping

from guerdon.feedback.messages import Text
from guerdon.feedback.readers.formats import Format, Row, RowError, Sample
from guerdon.feedback.readers.preference import without_prompt
from guerdon.feedback.readers.transcripts import messages_of
from guerdon.feedback.schema import Judgement

INDEX = ("label", "choice", "preferred", "best", "winner", "chosen_index")
PROMPTS = ("prompt", "question", "instruction", "query", "history")
SIDES = (
    *(("response_a", "response_b"), ("response_1", "response_2"), ("response1", "response2")),
    *(("response 1", "response 2"), ("answer_a", "answer_b"), ("answer1", "answer2"), ("output_1", "output_2")),
    *(("output_a", "output_b"), ("completion_a", "completion_b"), ("conversation_a", "conversation_b")),
    *(("text_a", "text_b"), ("human_ref_A", "human_ref_B"), ("response_0", "response_1"), ("a", "b")),
)
VERDICTS = ("winner", "preference", "preferred", "verdict", "choice", "label", "labels", "chosen", "better")
FIRST = {"a", "model_a", "response_a", "answer_a", "first", "a1", "left", "output_a", "conversation_a", "assistant_a"}
SECOND = {
    "b",
    "model_b",
    "response_b",
    "answer_b",
    "second",
    "a2",
    "right",
    "output_b",
    "conversation_b",
    "assistant_b",
}
TIE = {"tie", "equal", "both", "neither", "same", "draw", "tie (bothbad)", "both_bad", "bothbad", "tie (inconsistent)"}


def index_of_preferred(row: Row) -> Iterable[Judgement]:
    """``prompt, responses`` and the index of the preferred one."""
    responses, name = row.texts("responses"), row.first(INDEX) or "label"
    index = row.number(name)
    if index not in range(len(responses)):
        n = len(responses)
        raise RowError("bad-grade", name, f"{index:g} is no index of {n} responses", f"give 0 to {n - 1}")
    grades = tuple(float(i == index) for i in range(len(responses)))
    prompt = row.text("prompt")
    prompt = messages_of(prompt) if isinstance(prompt, str) else prompt
    yield Judgement(prompt, tuple(responses), grades, scale="order" if len(grades) == 2 else "partial", **row.meta())


def two_columns(row: Row) -> Iterable[Judgement]:
    """Two responses in columns of their own and a verdict."""
    if "winner_model_a" in row:  # Chatbot Arena as published by LMSYS on Kaggle
        verdict = "ab="[[row.number(f"winner_{x}") for x in ("model_a", "model_b", "tie")].index(1)]
    else:
        name = row.first(VERDICTS) or "winner"
        first, second = _sides(row)
        verdict = decode(row.value(name), name, _numbered(first, second))
    yield _pair(row, verdict)


def decode(value: object, name: str, numbers: Mapping[float, str] | None) -> str:
    """``a``, ``b`` or ``=`` of a verdict in words, or in the ``numbers`` that the columns' names imply."""
    word = str(value).strip().lower()
    for words, verdict in ((FIRST, "a"), (SECOND, "b"), (TIE, "=")):
        if word in words:
            return verdict
    try:
        number = float(word)
    except ValueError:
        number = None
    if number is not None and numbers and number in numbers:
        return numbers[number]
    mend = "write a, b or tie"
    if number is not None and not numbers:
        mend = "numbers are ambiguous here: write a, b or tie, or name the format (--format auto-j, pandalm or shp)"
    raise RowError("bad-grade", name, f"unknown verdict {value!r:.40}", mend)


def _numbered(first: str, second: str) -> dict[float, str] | None:
    """What numbers mean when the columns are numbered themselves: response_1 and response_2 -> 1 and 2, 0 a tie."""
    if first.endswith("1") and second.endswith("2"):
        return {1: "a", 2: "b", 0: "="}
    return {0: "a", 1: "b"} if first.endswith("0") and second.endswith("1") else None


def _sides(row: Row) -> tuple[str, str]:
    for first, second in SIDES:
        if first in row and second in row:
            return first, second
    raise RowError("missing-field", "response_a", "there are no two responses", "--map response_a=...,response_b=...")


def _prompt(row: Row) -> Text:
    name = row.first(PROMPTS)
    if name is None:
        return ""
    prompt = row.text(name)
    extra = row.data.get("input")
    return f"{prompt}\n\n{extra}" if isinstance(prompt, str) and isinstance(extra, str) and extra.strip() else prompt


def _pair(row: Row, verdict: str, **fields: object) -> Judgement:
    first, second = _sides(row)
    a, b, prompt = row.text(first), row.text(second), _prompt(row)
    if not isinstance(a, str) and not isinstance(b, str):  # whole conversations
        prompt, a, b = without_prompt(prompt or _opening(a), a, b)
    grades = {"a": (1.0, 0.0), "b": (0.0, 1.0), "=": (0.0, 0.0)}[verdict]
    return Judgement(prompt, (a, b), grades, **{**row.meta(), **fields})


def _opening(messages: list[dict[str, object]]) -> str:
    return next((m["content"] for m in messages if m["role"] == "user" and isinstance(m["content"], str)), "")


def auto_j(row: Row) -> Iterable[Judgement]:
    """Auto-J test pairs: label 0 the first, 1 the second, 2 a tie."""
    yield _pair(row, decode(row.value("label"), "label", {0: "a", 1: "b", 2: "="}), subset=row.data.get("scenario"))


def panda_lm(row: Row) -> Iterable[Judgement]:
    """PandaLM test set: three annotators a pair, 0 a tie, 1, 2. Answers that are JSON values are taken as text."""
    sides = {k: row.data.get(k) for k in ("response1", "response2")}
    values = {k: json.dumps(v) for k, v in sides.items() if isinstance(v, bool | float | int)}
    row = Row({**row.data, **values}, row.tally)
    for name in sorted(n for n in row.data if n.startswith("annotator")):
        yield _pair(row, decode(row.value(name), name, {0: "=", 1: "a", 2: "b"}), user=name)


def shp(row: Row) -> Iterable[Judgement]:
    """Stanford Human Preferences: labels 1 if the first reply is preferred, 0 otherwise."""
    yield _pair(row, decode(row.value("labels"), "labels", {1: "a", 0: "b"}))


def _has_sides(sample: Sample) -> bool:
    return any(sample.has(*sides) for sides in SIDES)


CHOICE = Format(
    "choice",
    "a choice among responses: prompt, responses, label (index of the preferred one)",
    ("prompt", "responses", "label"),
    lambda s: s.has("prompt", "responses") and any(s.has(n) for n in INDEX),
    index_of_preferred,
)
AUTO_J = Format(
    "auto-j",
    "Auto-J pairs: label 0 first, 1 second, 2 tie",
    ("prompt", "response 1", "response 2", "label"),
    lambda s: s.has("response 1", "response 2", "label", "scenario"),
    auto_j,
    source="human",
)
PANDA_LM = Format(
    "pandalm",
    "PandaLM pairs with three annotators: 0 tie, 1, 2",
    ("instruction", "response1", "response2", "annotator1"),
    lambda s: s.has("response1", "response2", "annotator1", "instruction"),
    panda_lm,
    source="human",
)
SHP = Format(
    "shp",
    "Stanford Human Preferences: labels 1 if human_ref_A is preferred",
    ("history", "human_ref_A", "human_ref_B", "labels"),
    lambda s: s.has("human_ref_A", "human_ref_B", "labels"),
    shp,
    source="human",
)
PAIR = Format(
    "pair",
    "two responses and a verdict: prompt, response_a, response_b, winner",
    ("prompt", "response_a", "response_b", "winner"),
    lambda s: _has_sides(s) and (any(s.has(v) for v in VERDICTS) or s.has("winner_model_a")),
    two_columns,
)
