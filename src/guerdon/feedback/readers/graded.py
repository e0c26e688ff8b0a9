"""Several responses of one prompt with grades: UltraFeedback, scored and ranked lists, NeMo-RL.

UltraFeedback      ``instruction, completions [{response, overall_score, annotations {aspect: {Rating}}}]``; also any
                   list of objects with a text and numbers (``article, summaries [{summary, coherence, ...}]``)
scored responses   ``prompt, responses [[text, score], ...]`` (GENIES)
listed             ``prompt, responses`` with a list ``scores`` or ``ranks`` beside
NeMo-RL            ``context [messages], completions [{rank, completion [messages]}]``, lower ranks are better

References: Cui et al. 2023, arXiv:2310.01377; Clymer et al. 2023, GENIES, arXiv:2311.07723; NeMo RL, DPO guide,
https://docs.nvidia.com/nemo/rl/latest/guides/dpo.html.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from guerdon.feedback.messages import Text
from guerdon.feedback.readers.formats import Format, Row, RowError, Sample, as_number, as_text_or_messages
from guerdon.feedback.schema import Judgement

PROMPTS = ("prompt", "instruction", "question", "article", "query")
LISTS = ("completions", "responses", "answers", "summaries", "candidates")
TEXTS = ("response", "text", "completion", "answer", "summary", "output", "content")
OVERALL = ("overall_score", "score", "rating", "grade", "overall")
SCORES, RANKS = ("scores", "ratings", "rewards"), ("ranks", "ranking", "rank")


def ultrafeedback(row: Row) -> Iterable[Judgement]:
    """One judgement for each criterion, of all responses that have a rating on it."""
    prompt = row.text(row.first(PROMPTS) or "prompt")
    name = row.first(LISTS) or "completions"
    found: dict[str, list[tuple[Text, float]]] = {}
    for i, answer in enumerate(row.records(name)):
        column = next((t for t in TEXTS if answer.get(t) is not None), None)
        if column is None:
            raise RowError("missing-field", f"{name}[{i}].response", "is missing", "add the text of the response")
        text = as_text_or_messages(answer[column], f"{name}[{i}].{column}")
        for criterion, grade in _grades(answer):
            found.setdefault(criterion, []).append((text, grade))
    if not found:
        raise RowError(
            "missing-field", f"{name}.overall_score", "no response has a rating", "add one, or remove the row"
        )
    meta = row.meta("user", "subset", "weight", "time")
    base = row.label("id") if "id" in row else None
    for criterion, rated in found.items():
        key = None if base is None else f"{base}/{criterion}"
        texts, grades = zip(*rated, strict=True)
        yield Judgement(prompt, texts, grades, criterion=criterion, scale="rating", id=key, **meta)


def _grades(answer: Mapping[str, Any]) -> Iterable[tuple[str, float]]:
    """(criterion, grade) of one response; the overall score is the criterion ``overall``."""
    for name, value in answer.items():
        if name in OVERALL:
            name = "overall"
        elif name in TEXTS or name.startswith(("model", "id", "fine")) or isinstance(value, bool):
            continue
        number = _number(value)
        if number is not None:
            yield name, number
    annotations = answer.get("annotations")
    for aspect, note in (annotations or {}).items() if isinstance(annotations, Mapping) else ():
        number = _number(note.get("Rating") if isinstance(note, Mapping) else note)
        if number is not None:
            yield aspect, number


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return float(value)
    except ValueError:
        return None


def scored(row: Row) -> Iterable[Judgement]:
    """``responses [[text, score], ...]``: higher scores are better, equal ones were not compared."""
    texts, grades = [], []
    for i, item in enumerate(row.value("responses")):
        if not isinstance(item, list | tuple) or len(item) != 2:
            raise RowError("mixed-types", f"responses[{i}]", f"expected [text, score], got {item!r:.40}", "write both")
        texts.append(as_text_or_messages(item[0], f"responses[{i}][0]"))
        grades.append(as_number(item[1], f"responses[{i}][1]"))
    meta = row.meta()
    if "split" in row:
        meta.setdefault("subset", row.label("split"))
    yield Judgement(row.text("prompt"), tuple(texts), tuple(grades), scale="partial", **meta)


def listed(row: Row) -> Iterable[Judgement]:
    """``responses`` with a list of scores (absolute) or ranks (lower is better) beside."""
    responses = row.texts(row.first(LISTS) or "responses")
    name = row.first((*SCORES, *RANKS)) or "scores"
    values = row.value(name)
    if not isinstance(values, list) or len(values) != len(responses):
        n = len(responses)
        raise RowError(
            "bad-grade", name, f"expected a list of {n} numbers, one a response", "make the lists equally long"
        )
    numbers = [as_number(v, f"{name}[{i}]") for i, v in enumerate(values)]
    ranked = name in RANKS
    grades = tuple(max(numbers) - v for v in numbers) if ranked else tuple(numbers)
    prompt = row.text(row.first(PROMPTS) or "prompt")
    yield Judgement(prompt, tuple(responses), grades, scale="order" if ranked else "rating", **row.meta())


def nemo_rl(row: Row) -> Iterable[Judgement]:
    """``context`` and ranked ``completions``; equal ranks are ties."""
    texts, ranks = [], []
    for i, item in enumerate(row.records("completions")):
        if item.get("completion") is None or item.get("rank") is None:
            name = "rank" if item.get("rank") is None else "completion"
            raise RowError("missing-field", f"completions[{i}].{name}", "is missing", "add it")
        texts.append(as_text_or_messages(item["completion"], f"completions[{i}].completion"))
        ranks.append(as_number(item["rank"], f"completions[{i}].rank"))
    if not texts:
        raise RowError("missing-field", "completions", "is an empty list", "give at least one completion")
    yield Judgement(row.text("context"), tuple(texts), tuple(max(ranks) - r for r in ranks), **row.meta())


def _first_item(sample: Sample, names: Iterable[str], kind: type | tuple[type, ...]) -> Any:
    """The first item of the first list among the fields ``names``, if it is of ``kind``."""
    for row in sample.rows:
        for name in names:
            value = row.get(name)
            if isinstance(value, list) and value and isinstance(value[0], kind):
                return value[0]
    return None


def _fits_ultrafeedback(sample: Sample) -> bool:
    item = _first_item(sample, LISTS, dict)
    return (
        item is not None
        and "rank" not in item
        and any(sample.has(p) for p in PROMPTS)
        and any(t in item for t in TEXTS)
    )


NEMO_RL = Format(
    "nemo-rl",
    "NeMo-RL ranked completions: context, completions",
    ("context", "completions"),
    lambda s: s.has("context") and "rank" in (_first_item(s, ("completions",), dict) or {}),
    nemo_rl,
)
ULTRAFEEDBACK = Format(
    "ultrafeedback",
    "several rated responses a prompt (UltraFeedback style), one judgement a criterion",
    ("instruction", "completions"),
    _fits_ultrafeedback,
    ultrafeedback,
)
SCORED = Format(
    "scored",
    "scored responses: prompt, responses [[text, score], ...]",
    ("prompt", "responses"),
    lambda s: s.has("prompt", "responses") and isinstance(_first_item(s, ("responses",), list), list),
    scored,
)
LISTED = Format(
    "listed",
    "lists of responses with scores or ranks",
    ("prompt", "responses", "scores"),
    lambda s: (
        any(s.has(p) for p in PROMPTS)
        and _first_item(s, LISTS, str) is not None
        and any(s.has(n) for n in (*SCORES, *RANKS))
    ),
    listed,
)
