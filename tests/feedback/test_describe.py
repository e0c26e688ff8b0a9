"""Description: every figure against counting by hand."""

import json
from itertools import combinations

import numpy as np
import pytest

from guerdon.feedback import Feedback, Judgement

ROWS = [
    Judgement("q", ("long answer", "short"), (1, 0), user="ann", subset="s", comment="why"),
    Judgement("q", ("short", "long answer"), (1, 0), user="bob", subset="s"),
    Judgement("q", ("long answer", "short"), (0, 0), user="cat"),
    Judgement("q", ("long answer", "short"), (1, 0), user="dan", source="human"),
    Judgement("r", ("x",), (3,), scale="rating", criterion="k"),
    Judgement("r", ("x", "y", "z"), (1, 0, 0), scale="partial"),
    Judgement("r", ("x", "y", "z"), (2, 1, 0)),
]


def test_counts() -> None:
    found = Feedback.of(ROWS).describe()
    assert {k: found[k] for k in ("judgements", "prompts", "candidates", "people", "anonymous_judgements")} == {
        "judgements": 7,
        "prompts": 2,
        "candidates": 5,
        "people": 4,
        "anonymous_judgements": 3,
    }
    assert found["kinds"] == {"rating": 1, "comparison": 4, "choice among several": 1, "ranking": 1}
    assert found["subsets"] == {"s": 2}
    assert found["criteria"] == {"k": 1}
    assert found["sources"] == {"unknown": 6, "human": 1}
    assert found["ties"] == 1
    assert found["comparisons"] == 4 + 2 + 3
    assert found["comments"] == 1
    assert found["grades"]["max"] == 3
    assert found["response_characters"]["max"] == len("long answer")
    assert found["judgements_a_person"]["mean"] == 1
    json.dumps(found, allow_nan=False)


def test_longer_preferred_counts_equal_lengths_half() -> None:
    found = Feedback.of(ROWS[:4]).describe()
    assert found["longer_preferred"] == pytest.approx(2 / 3)
    assert Feedback.of([Judgement("q", ("ab", "cd"), (1, 0))]).describe()["longer_preferred"] == 0.5
    assert Feedback.of(ROWS[2:3]).describe()["longer_preferred"] is None


def test_length_of_chats_is_that_of_their_text() -> None:
    long, short = [{"role": "assistant", "content": "xxxx"}], "xxx"
    assert Feedback.of([Judgement("q", (long, short), (1, 0))]).describe()["longer_preferred"] == 1.0


def test_agreement_against_counting_pairs_of_people() -> None:
    rng = np.random.default_rng(1)
    rows = []
    for pair in range(40):
        for person in range(rng.integers(1, 6)):
            a, b = ("a", "b") if rng.random() < 0.5 else ("b", "a")
            rows.append(Judgement(f"q{pair}", (a, b), [(1, 0), (0, 1), (0, 0)][rng.integers(3)], user=f"u{person}"))
    same, pairs, majority = [], 0, []
    for pair in range(40):
        votes = []
        for row in rows:
            if row.prompt == f"q{pair}":
                sign = row.grades[0] - row.grades[1]
                votes.append(sign if row.responses[0] == "a" else -sign)
        if len(votes) > 1:
            pairs += 1
            same.append(np.mean([x == y for x, y in combinations(votes, 2)]))
        strict = [v for v in votes if v]
        for i, vote in enumerate(strict):
            rest = sum(strict[:i] + strict[i + 1 :])
            if rest:
                majority.append(np.sign(rest) == vote)
    found = Feedback.of(rows).describe()["agreement"]
    assert found["pairs"] == pairs
    assert found["between_people"] == pytest.approx(np.mean(same))
    assert found["with_majority"] == pytest.approx(np.mean(majority))


def test_nothing_to_agree_on() -> None:
    assert Feedback.of(ROWS[:1]).describe()["agreement"] is None
    assert Feedback.of(ROWS[4:]).describe()["agreement"] is None
