"""How much of the test the training feedback has seen already: prompts, candidates, people, the very votes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from guerdon.feedback.star import Feedback, Pairs


def overlap(train: Feedback, test: Feedback, pairs: Pairs) -> dict[str, float]:
    """Shares of the test ``pairs`` (of ``test``) that ``train`` has seen, by text and name.

    prompt      the prompt occurs in training
    candidates  both candidates do
    person      the person does (anonymous judgements count as unseen)
    same_vote   the same person judged the same two candidates in training (compared or rated both); an anonymous
                judgement may be the same one
    """
    if not len(pairs):
        return {}
    used = np.zeros(len(train.responses) + 1, dtype=bool)
    used[train.used] = True
    candidate = _match(_keys(train), _keys(test))
    candidate = np.where(used[candidate], candidate, -1)
    prompts = np.zeros(len(train.prompts) + 1, dtype=bool)
    prompts[train.judgement_prompt] = True
    prompt = prompts[_match(train.prompts.to_pylist(), test.prompts.to_pylist())]
    people = np.zeros(len(train.users) + 1, dtype=bool)
    people[train.user[train.user >= 0]] = True
    person_of = np.r_[_match(train.users, test.users), -1]
    a, b, person = candidate[pairs.a], candidate[pairs.b], person_of[pairs.user]
    both = (a >= 0) & (b >= 0)
    anyone = (pairs.user < 0) | (person >= 0)
    voted = both & anyone & (_compared(train, person, a, b) | _rated(train, person, a) & _rated(train, person, b))
    return {
        "prompt": float(prompt[test.prompt_of[pairs.a]].mean()),
        "candidates": float(both.mean()),
        "person": float((people[person] & (person >= 0)).mean()),
        "same_vote": float(voted.mean()),
    }


def _compared(train: Feedback, person: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """bool [n]: does training hold this person's comparison of these two candidates?"""
    pairs = train.take(train.sizes > 1).pairs()
    return np.isin(_code(train, person, a, b), _code(train, pairs.user, pairs.a, pairs.b))


def _rated(train: Feedback, person: np.ndarray, item: np.ndarray) -> np.ndarray:
    """bool [n]: does training hold this person's rating of this candidate?"""
    rows = train.sizes == 1
    items = train.items[train.offsets[:-1][rows]]
    return np.isin(_code(train, person, item, item), _code(train, train.user[rows], items, items))


def _code(train: Feedback, person: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """One int64 a (person, unordered candidates); -1 (anonymous, unseen) is a value like others."""
    width = len(train.responses) + 1
    low, high = np.minimum(a, b).astype(np.int64) + 1, np.maximum(a, b).astype(np.int64) + 1
    return ((person.astype(np.int64) + 1) * width + low) * width + high


def _keys(feedback: Feedback) -> list[tuple[str, str]]:
    prompts = feedback.prompts.take(feedback.prompt_of).to_pylist()
    return list(zip(prompts, feedback.responses.to_pylist(), strict=True))


def _match(train: Sequence[Any], test: Sequence[Any]) -> np.ndarray:
    """int64 [len(test)] index of each test name among the training names; -1 = not there."""
    index = {name: i for i, name in enumerate(train)}
    return np.array([index.get(name, -1) for name in test], dtype=np.int64)
