"""What a language model gives people who ask, and what it is worth to them.

It writes, and what it wrote is scored as all responses are, standardised by the constants of the data; or it names one
of the data's responses, shown in an order drawn anew for every request. What it does not give is NaN, with a reason.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from guerdon.bench.suites.people_prompts import CHOICE, Shown
from guerdon.feedback.messages import as_text, unpack
from guerdon.feedback.schema import Candidates
from guerdon.generate.base import LanguageModel, Sampling
from guerdon.worlds.people import Population
from guerdon.worlds.pool import Pool, evaluate


@dataclass(frozen=True)
class Asked:
    """n requests: person (row) and prompt of each, int [n], and the prompt's responses, int [n, R]; -1 is none."""

    person: np.ndarray
    prompt: np.ndarray
    members: np.ndarray


def worth_of(fresh: Population, asked: Asked) -> tuple[Callable[[np.ndarray], np.ndarray], np.ndarray]:
    """(utilities [n] to what they are worth, utilities [n, R] of the data's responses; NaN where there is none).

    As :func:`~guerdon.worlds.choices.outcome` counts: from the mean response to the prompt, in the person's standard
    deviation within a prompt over all prompts held out.
    """
    members = fresh.pool.members[fresh.test]
    utility = np.where(
        members >= 0, fresh.utilities(items=np.maximum(members, 0).ravel()).reshape(-1, *members.shape), np.nan
    )
    free = max(int((members >= 0).sum()) - len(members), 1)
    sd = np.sqrt(np.nansum((utility - np.nanmean(utility, axis=2, keepdims=True)) ** 2, axis=(1, 2)) / free)
    sd = np.where(sd > 0, sd, 1.0)[asked.person]
    truth = fresh.utility_at(asked.person, np.maximum(asked.members, 0))
    truth = np.where(asked.members >= 0, truth, np.nan)
    centre = np.nanmean(truth, axis=1)
    return (lambda u: (u - centre) / sd), truth


def popular(everybody: Population, fresh: Population, asked: Asked) -> np.ndarray:
    """float64 [n] the person's utility of the response that everybody together likes best."""
    total = np.zeros(len(everybody.pool))
    for _, utility in everybody.blocks():
        unit = utility.std(1, keepdims=True)
        total += (utility / np.where(unit > 0, unit, 1.0)).sum(0)
    likes = np.where(asked.members >= 0, total[asked.members], -np.inf)
    best = np.take_along_axis(asked.members, likes.argmax(1)[:, None], 1)
    return fresh.utility_at(asked.person, best)[:, 0]


def written(
    model: LanguageModel,
    fresh: Population,
    pool: Pool,
    judged: Mapping[str, Any],
    asked: Asked,
    examples: Sequence[Shown],
    show: str,
    sampling: Sampling,
    reasons: Counter[str],
) -> np.ndarray:
    """float64 [n] utility of what the language model writes; NaN where it writes nothing."""
    requests = [unpack(pool.prompts[p]) for p in asked.prompt.tolist()]
    prompts = [e.chat(r) if show == "chat" else e.message(r) for e, r in zip(examples, requests, strict=True)]
    replies = model.generate(prompts, sampling=sampling)
    reasons.update(replies.failures)
    out = np.full(len(requests), np.nan)
    rows = [i for i, text in enumerate(replies.text) if text and text.strip()]
    reasons["an empty reply"] += int(replies.answered.sum()) - len(rows)
    if rows:
        texts = Candidates([requests[i] for i in rows], [str(replies.text[i]) for i in rows])
        z = (evaluate(judged, texts)[0] - fresh.center) / fresh.spread
        out[rows] = replace(fresh, z=z).utility_at(asked.person[rows], np.arange(len(rows))[:, None])[:, 0]
    return out


def chosen(
    model: LanguageModel,
    pool: Pool,
    asked: Asked,
    truth: np.ndarray,
    examples: Sequence[Shown],
    sampling: Sampling,
    seed: int,
    reasons: Counter[str],
) -> np.ndarray:
    """float64 [n] utility of the response the language model names, shown in an order drawn anew; NaN for none."""
    prompts, orders = [], []
    for i, (example, members) in enumerate(zip(examples, asked.members, strict=True)):
        order = np.random.default_rng([seed, 37, i]).permutation(np.flatnonzero(members >= 0))
        texts = [as_text(pool.candidates.responses[members[k]]) for k in order]
        prompts.append(example.message(unpack(pool.prompts[asked.prompt[i]]), texts))
        orders.append(order)
    replies = model.generate(prompts, sampling=sampling, schema=CHOICE)
    reasons.update(replies.failures)
    out = np.full(len(prompts), np.nan)
    for i, (row, order) in enumerate(zip(replies.rows, orders, strict=True)):
        number = row.parsed.get("choice") if isinstance(row.parsed, Mapping) else None
        if isinstance(number, int) and not isinstance(number, bool) and 1 <= number <= len(order):
            out[i] = truth[i, order[number - 1]]
        elif row.status == "answered":
            reasons["no number of a response in the reply"] += 1
    return out
