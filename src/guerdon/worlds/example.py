"""The bundled example: everyday prompts, four answers each, judged by simulated people whose truth is known.

The texts (``data/example_prompts.jsonl``) were written by hand: 86 prompts, each answered in four styles (brief,
structured, warm, rigorous). The people are simulated (:mod:`guerdon.worlds.people`), so what they want is known:

    utility(answer, person) = z(answer) . w_person,    w_person = SHARED + taste of their group + a little of their own

where z are the four attributes of :mod:`guerdon.worlds.style` standardised over all answers. Everybody agrees on
``SHARED`` (it is better to be exact and not to ramble); groups want opposite things on top of it. A comparison is
answered by Bradley-Terry noise of ``SCALE`` log-odds per standard deviation of a person's utility. The people see 70
prompts; the other 16 are never judged by anybody and serve as fresh candidates.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from pathlib import Path

import numpy as np

from guerdon.feedback.schema import Candidates
from guerdon.feedback.star import Feedback
from guerdon.worlds.annotators import Annotator
from guerdon.worlds.people import Population
from guerdon.worlds.pool import Pool
from guerdon.worlds.style import ATTRIBUTES, style_attributes

STYLES = ("brief", "structured", "warm", "rigorous")
"""The styles an answer was written in; the simulated people see only its text (the four measured attributes)."""

PEOPLE = 100
COMPARISONS = 40
"""How many people judge, and how many comparisons each of them makes."""

FRESH = 16
"""How many prompts nobody judges."""

SCALE = 3.0
"""Log-odds of the better answer per standard deviation of a person's utility."""

SHARED = {"brevity": 0.45, "structure": 0.15, "warmth": 0.15, "rigour": 0.55}
"""What everybody wants (weights of the standardised attributes)."""

TASTES = {
    "in a hurry": {"brevity": 1.3, "structure": 0.2, "warmth": -0.6, "rigour": -0.8},
    "wants steps": {"brevity": -0.3, "structure": 1.3, "warmth": -0.6, "rigour": 0.0},
    "wants kindness": {"brevity": -0.2, "structure": -0.6, "warmth": 1.3, "rigour": -0.8},
    "wants precision": {"brevity": -0.8, "structure": -0.4, "warmth": -0.6, "rigour": 1.3},
}
"""What the four equally frequent groups of people want on top of it."""

OWN = 0.3
"""Standard deviation of what each person wants of their own, per attribute."""


@dataclass(frozen=True)
class ExamplePrompt:
    """One prompt of the example with its answers, style by style, in the (shuffled) order of the file."""

    id: str
    topic: str
    prompt: str
    styles: tuple[str, ...]
    answers: tuple[str, ...]


@cache
def example_prompts() -> tuple[ExamplePrompt, ...]:
    """The bundled prompts and answers, in the order of the file."""
    text = files("guerdon.worlds").joinpath("data/example_prompts.jsonl").read_text(encoding="utf-8")
    return tuple(
        ExamplePrompt(
            row["id"],
            row["topic"],
            row["prompt"],
            tuple(a["style"] for a in row["answers"]),
            tuple(a["text"] for a in row["answers"]),
        )
        for row in map(json.loads, text.splitlines())
    )


@cache
def example_pool() -> Pool:
    """All candidates of the example with the four style attributes as features [c, 4]."""
    prompts = example_prompts()
    answers = [a for p in prompts for a in p.answers]
    candidates = Candidates([p.prompt for p in prompts for _ in p.answers], answers)
    return Pool(candidates, style_attributes(answers), ATTRIBUTES)


def example_truth(seed: int = 0) -> Population:
    """The simulated people: their weights [u, 4], utilities, and the oracle reward (``example_truth().oracle()``)."""
    pool = example_pool()
    shared = np.array([SHARED[a] for a in ATTRIBUTES])
    tastes = np.array([[taste[a] for a in ATTRIBUTES] for taste in TASTES.values()])
    return Population.simulate(
        "clustered",
        pool,
        users=PEOPLE,
        prototypes=shared + tastes,
        spread=OWN,
        annotators=Annotator.bradley_terry(SCALE),
        held_out=FRESH / len(pool.prompts),
        seed=seed,
    )


def example_feedback(seed: int = 0) -> Feedback:
    """What the people said: 40 comparisons each, the topic of the prompt as ``subset``."""
    feedback = example_truth(seed).history(count=COMPARISONS, seed=seed)
    topics = sorted({p.topic for p in example_prompts()})
    topic_of = {p.prompt: topics.index(p.topic) for p in example_prompts()}
    by_prompt = np.array([topic_of[p] for p in feedback.prompts.to_pylist()], dtype=np.int32)
    return replace(feedback, subset=by_prompt[feedback.judgement_prompt], subsets=tuple(topics))


def example_candidates(seed: int = 0) -> Candidates:
    """The four answers to each of the 16 prompts that nobody judged; ``extra`` holds ``id`` and ``style``."""
    rows = list(_fresh(seed))
    return Candidates(
        prompts=[p.prompt for p in rows for _ in p.answers],
        responses=[a for p in rows for a in p.answers],
        extra={"id": [p.id for p in rows for _ in p.answers], "style": [s for p in rows for s in p.styles]},
    )


def write_example(directory: str | Path, seed: int = 0) -> tuple[Path, Path]:
    """Write ``feedback.jsonl`` and ``candidates.jsonl`` into ``directory`` (made if need be); returns both paths.

    The candidates are one row a prompt with its list of ``responses``.
    """
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    feedback, candidates = directory / "feedback.jsonl", directory / "candidates.jsonl"
    example_feedback(seed).write(feedback)
    partial = candidates.with_suffix(".partial")
    rows = [{"id": p.id, "prompt": p.prompt, "responses": list(p.answers)} for p in _fresh(seed)]
    partial.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    partial.replace(candidates)
    return feedback, candidates


def _fresh(seed: int) -> Iterator[ExamplePrompt]:
    pool = example_pool()
    by_text = {p.prompt: p for p in example_prompts()}
    _, fresh = pool.split(FRESH / len(pool.prompts), seed)
    return (by_text[pool.prompts[i]] for i in fresh)
