"""Feedback as the rows of other formats, and what each of them leaves behind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute

from guerdon.feedback.messages import MARK, Text, as_messages, as_text, unpack
from guerdon.feedback.schema import SCALES, SOURCES, Judgement

if TYPE_CHECKING:
    from guerdon.feedback.star import Feedback, Pairs

pc: Any = pyarrow.compute  # its functions are made at run time, unseen by type checkers

PAIRS_A_PERSON = 500
"""Pairs made from one person's separate ratings of a prompt; more would drown everybody else's."""


@dataclass
class Projection:
    """``n`` rows of a format, and sentences on what is dropped. ``nested``: cells hold lists or objects."""

    feedback: Feedback
    n: int
    rows: Callable[[], Iterator[dict[str, Any]]]
    drops: list[str] = field(default_factory=list)
    nested: bool = False


def guerdon(fb: Feedback) -> Projection:
    """A row a judgement, fields at their default left out; nothing is dropped."""
    return Projection(fb, len(fb), lambda: (own_row(j) for j in fb.judgements()), nested=True)


def own_row(judgement: Judgement) -> dict[str, Any]:
    """One judgement as a JSON-ready row of guerdon's own format."""
    grades = [None if np.isnan(g) else int(g) if g.is_integer() and abs(g) < 2**53 else g for g in judgement.grades]
    row: dict[str, Any] = {"prompt": judgement.prompt, "responses": list(judgement.responses), "grades": grades}
    for name in ("user", "criterion", "subset", "comment", "id", "time", "strength"):
        if getattr(judgement, name) is not None:
            row[name] = getattr(judgement, name)
    for name, default in (("source", SOURCES[0]), ("scale", SCALES[0]), ("weight", 1.0)):
        if getattr(judgement, name) != default:
            row[name] = getattr(judgement, name)
    return row


def guerdon_table(fb: Feedback) -> pa.Table:
    """The judgements as an Arrow table with packed texts; its metadata say that it is ours."""
    text, n = pa.large_string(), len(fb)

    def named(codes: np.ndarray, names: tuple[str, ...]) -> pa.Array:
        return pa.array(list(names), text).take(pa.array(codes, mask=codes < 0)) if names else pa.nulls(n, text)

    offsets = pa.array(fb.offsets)
    columns: dict[str, Any] = {
        "prompt": fb.prompts.take(pa.array(fb.judgement_prompt)) if n else pa.array([], text),
        "responses": pa.LargeListArray.from_arrays(offsets, fb.responses.take(pa.array(fb.items))),
        "grades": pa.LargeListArray.from_arrays(offsets, pa.array(fb.grades)),
    }
    for name, names in (("user", fb.users), ("criterion", fb.criteria), ("subset", fb.subsets)):
        if names:
            columns[name] = named(getattr(fb, name), names)
    columns["source"] = named(fb.source, SOURCES)
    columns["scale"] = named(fb.scale, SCALES)
    columns["weight"] = pa.array(fb.weight)
    for name in ("comment", "id"):
        if getattr(fb, name) is not None:
            columns[name] = getattr(fb, name)
    for name in ("time", "strength"):
        values = getattr(fb, name)
        if values is not None:
            columns[name] = pa.array(values, mask=np.isnan(values))
    return pa.table(columns).replace_schema_metadata({"guerdon": "judgements 1"})


def trl(fb: Feedback) -> Projection:
    """``prompt, chosen, rejected`` of every strict comparison, and ``margin`` where strengths differ."""
    pairs, drops = strict_pairs(fb)
    drops += unused(fb, "criterion", "subset", "user", "weight", "comment", "id", "time")
    margins = len(np.unique(pairs.strength)) > 1
    chats, talk = any_chat(fb), texts_of(fb)

    def rows() -> Iterator[dict[str, Any]]:
        for a, b, strength in zip(pairs.a, pairs.b, pairs.strength, strict=True):
            prompt, chosen, rejected = talk(a)[0], talk(a)[1], talk(b)[1]
            if chats:
                prompt = as_messages(prompt)
                chosen, rejected = as_messages(chosen, "assistant"), as_messages(rejected, "assistant")
            row: dict[str, Any] = {"prompt": prompt, "chosen": chosen, "rejected": rejected}
            yield row | {"margin": float(strength)} if margins else row

    return Projection(fb, len(pairs), rows, drops, nested=chats)


def verl(fb: Feedback) -> Projection:
    """``prompt, chosen, rejected`` as plain text, which is what verl's RMDataset tokenises."""
    inner = trl(fb)
    if inner.nested:
        inner.drops.append("chat messages written as plain text: roles are spelled out, tool calls are JSON")

    def rows() -> Iterator[dict[str, Any]]:
        for row in inner.rows():
            yield {k: as_text(row[k]) for k in ("prompt", "chosen", "rejected")}

    drops = [*inner.drops, "strengths dropped"] if len(np.unique(strict_pairs(fb)[0].strength)) > 1 else inner.drops
    return Projection(fb, inner.n, rows, drops)


def verl_rl(fb: Feedback) -> Projection:
    """One row a prompt, for training a policy with a reward model on it; the judgements themselves are dropped."""
    used = np.unique(fb.judgement_prompt) if len(fb) else np.zeros(0, np.int64)
    first = {int(p): j for j, p in reversed(list(enumerate(fb.judgement_prompt)))} if len(fb) else {}

    def rows() -> Iterator[dict[str, Any]]:
        for index, p in enumerate(used):
            subset = fb.subset[first[int(p)]]
            prompt = as_messages(unpack(fb.prompts[int(p)].as_py()))
            yield {
                "data_source": "guerdon",
                "prompt": prompt,
                "ability": fb.subsets[subset] if subset >= 0 else "general",
                "reward_model": {"style": "model", "ground_truth": ""},
                "extra_info": {"split": "train", "index": index, "prompt": prompt},  # verl shows rewards no prompt
            }

    drops = [f"{len(fb):,} judgements and their responses dropped: this format holds prompts only"]
    return Projection(fb, len(used), rows, drops, nested=True)


def kto(fb: Feedback) -> Projection:
    """``prompt, completion, label`` of every response that was judged good or bad.

    In a judgement of several responses the label is whether the grade is above the middle of its grades; a rating on
    0/1 is its own label, any other rating is compared with the mean of its person.
    """
    owner = np.repeat(np.arange(len(fb)), fb.sizes)
    single = (fb.sizes == 1)[owner]
    low = np.minimum.reduceat(fb.grades, fb.offsets[:-1])[owner] if len(fb) else np.zeros(0)
    high = np.maximum.reduceat(fb.grades, fb.offsets[:-1])[owner] if len(fb) else np.zeros(0)
    middle = (low + high) / 2
    binary = bool(single.any()) and set(np.unique(fb.grades[single])) <= {0.0, 1.0}
    if single.any():
        who = fb.user[owner][single] + 1
        mean = np.bincount(who, fb.grades[single]) / np.maximum(np.bincount(who), 1)
        middle[single] = 0.5 if binary else mean[who]
    keep = np.flatnonzero(fb.grades != middle)
    chats, talk = any_chat(fb), texts_of(fb)
    drops = unused(fb, "criterion", "subset", "user", "weight", "comment", "id", "time")
    if len(keep) < len(owner):
        drops.insert(0, f"{len(owner) - len(keep):,} responses neither good nor bad dropped (ties, average ratings)")
    if single.any() and not binary:
        drops.append("the size of ratings dropped: above the person's mean is good, below is bad")
    if not single.all():
        drops.append("which responses were compared with each other dropped")

    def rows() -> Iterator[dict[str, Any]]:
        for m in keep:
            prompt, completion = talk(fb.items[m])
            if chats:
                prompt, completion = as_messages(prompt), as_messages(completion, "assistant")
            yield {"prompt": prompt, "completion": completion, "label": bool(fb.grades[m] > middle[m])}

    return Projection(fb, len(keep), rows, drops, nested=chats)


def rated(fb: Feedback) -> Projection:
    """``prompt, response, rating`` of every judged response, with its person, criterion, subset, id and time."""
    columns = [n for n, names in (("user", fb.users), ("criterion", fb.criteria), ("subset", fb.subsets)) if names]
    drops = unused(fb, "weight", "comment")
    if (fb.sizes > 1).any():
        drops.insert(0, "which responses were judged together dropped: every grade is written as a rating of its own")
    if any_chat(fb):
        drops.append("chat messages written as plain text: roles are spelled out, tool calls are JSON")

    def rows() -> Iterator[dict[str, Any]]:
        for judgement in fb.judgements():
            for response, grade in zip(judgement.responses, judgement.grades, strict=True):
                row: dict[str, Any] = {
                    "prompt": as_text(judgement.prompt),
                    "response": as_text(response),
                    "rating": grade,
                }
                row |= {name: getattr(judgement, name) for name in columns}
                if fb.time is not None:
                    row["time"] = judgement.time
                yield row

    return Projection(fb, int(fb.offsets[-1]), rows, drops)


def nemo_rl(fb: Feedback) -> Projection:
    """``context`` and ``completions`` with ranks, 0 the best; equal grades share a rank."""
    several = np.flatnonzero(fb.sizes > 1)
    drops = unused(fb, "criterion", "subset", "user", "weight", "comment", "id", "time")
    if len(several) < len(fb):
        single = len(fb) - len(several)
        drops.insert(0, f"{single:,} ratings of a single response dropped: this format holds ranked completions")
    drops.append("the size of grades dropped: only their order is kept")
    chosen = fb.take(several)

    def rows() -> Iterator[dict[str, Any]]:
        for judgement in chosen.judgements():
            levels = sorted(set(judgement.grades), reverse=True)
            completions = [
                {"rank": levels.index(grade), "completion": as_messages(response, "assistant")}
                for response, grade in zip(judgement.responses, judgement.grades, strict=True)
            ]
            yield {"context": as_messages(judgement.prompt), "completions": completions}

    return Projection(fb, len(several), rows, drops, nested=True)


def strict_pairs(fb: Feedback) -> tuple[Pairs, list[str]]:
    """(comparisons with the preferred candidate first, what was dropped to get there)."""
    pairs = fb.pairs(max_per_person=PAIRS_A_PERSON)
    drops = []
    tied, soft = pairs.p == 0.5, (pairs.p > 0) & (pairs.p < 1) & (pairs.p != 0.5)
    if tied.any():
        drops.append(f"{int(tied.sum()):,} ties dropped")
    if soft.any():
        drops.append(f"the probabilities of {int(soft.sum()):,} soft labels dropped: the likelier side is chosen")
    if (fb.sizes > 2).any():
        drops.append(f"{int((fb.sizes > 2).sum()):,} judgements of more than two responses written as pairs")
    if (fb.sizes == 1).any():
        drops.append(
            f"{int((fb.sizes == 1).sum()):,} ratings written as pairs of one person's ratings, "
            f"at most {PAIRS_A_PERSON} a person and prompt"
        )
    pairs = pairs.take(~tied)
    turn = pairs.p < 0.5
    a, b = np.where(turn, pairs.b, pairs.a), np.where(turn, pairs.a, pairs.b)
    return type(pairs)(**{**vars(pairs), "a": a, "b": b, "p": np.where(turn, 1 - pairs.p, pairs.p)}), drops


def unused(fb: Feedback, *names: str) -> list[str]:
    """One sentence on the columns of ``names`` that hold something."""
    tables = {"user": fb.users, "criterion": fb.criteria, "subset": fb.subsets}
    full = {
        **{n: bool(t) for n, t in tables.items()},
        "weight": bool((fb.weight != 1).any()),
        "comment": fb.comment is not None,
        "id": fb.id is not None,
        "time": fb.time is not None,
    }
    counts = {n: f" ({len(t):,})" for n, t in tables.items() if t}
    dropped = [n + counts.get(n, "") for n in names if full[n]]
    return [f"dropped: {', '.join(dropped)}"] if dropped else []


def any_chat(fb: Feedback) -> bool:
    """True if any prompt or response is chat messages."""
    return any(bool(pc.any(pc.starts_with(texts, MARK + "[")).as_py()) for texts in (fb.prompts, fb.responses))


def texts_of(fb: Feedback) -> Callable[[int], tuple[Text, Text]]:
    """A function from candidate to (prompt, response), from tables made once."""
    prompts = [unpack(p) for p in fb.prompts.to_pylist()]
    responses = [unpack(r) for r in fb.responses.to_pylist()]
    return lambda i: (prompts[fb.prompt_of[i]], responses[i])
