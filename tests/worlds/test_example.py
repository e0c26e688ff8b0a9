"""The bundled example: its texts, its measured styles, and that its people want what they are said to want."""

import json
from collections import Counter

import numpy as np
import pytest

from guerdon.worlds.example import (
    COMPARISONS,
    FRESH,
    PEOPLE,
    SHARED,
    STYLES,
    TASTES,
    example_candidates,
    example_feedback,
    example_pool,
    example_prompts,
    example_truth,
    write_example,
)
from guerdon.worlds.style import ATTRIBUTES, brevity, rigour, structure, style_attributes, warmth


def test_texts_are_complete_and_distinct():
    prompts = example_prompts()
    assert 80 <= len(prompts) <= 100
    assert len({p.id for p in prompts}) == len({p.prompt for p in prompts}) == len(prompts)
    assert len({p.topic for p in prompts}) >= 10
    answers = [a for p in prompts for a in p.answers]
    assert len(set(answers)) == len(answers) == 4 * len(prompts)
    for p in prompts:
        assert sorted(p.styles) == sorted(STYLES)
        assert all(a == a.strip() and len(a) > 20 for a in p.answers), p.id


def test_no_two_answers_share_most_of_their_words():
    def trigrams(text):
        words = text.lower().split()
        return {tuple(words[i : i + 3]) for i in range(len(words) - 2)}

    every = [trigrams(a) for p in example_prompts() for a in p.answers]
    for i, a in enumerate(every):
        for b in every[:i]:
            assert len(a & b) <= 0.5 * min(len(a), len(b)) + 2


def test_neither_place_nor_length_gives_the_style_away():
    prompts = example_prompts()
    first = Counter(p.styles[0] for p in prompts)
    assert set(first) == set(STYLES)
    assert max(first.values()) < 0.4 * len(prompts)
    words = [[len(a.split()) for a in p.answers] for p in prompts]
    shortest = Counter(p.styles[int(np.argmin(w))] for p, w in zip(prompts, words, strict=True))
    longest = Counter(p.styles[int(np.argmax(w))] for p, w in zip(prompts, words, strict=True))
    assert len(shortest) == 4
    assert max(shortest.values()) < 0.65 * len(prompts)
    assert len(longest) >= 3
    assert max(longest.values()) < 0.7 * len(prompts)


@pytest.mark.parametrize(
    ("style", "attribute"), [("brief", 0), ("structured", 1), ("warm", 2), ("rigorous", 3)], ids=STYLES
)
def test_each_style_has_most_of_its_attribute(style, attribute):
    z = example_pool().features
    z = (z - z.mean(0)) / z.std(0)
    styles = np.array([s for p in example_prompts() for s in p.styles])
    means = {s: z[styles == s, attribute].mean() for s in STYLES}
    assert max(means, key=means.get) == style
    assert means[style] > 0.5


def test_attributes_measure_what_their_names_say():
    assert brevity("one two three four") == -2.0
    assert brevity("Yes.") > brevity("Yes, and here is a long story about it.")
    assert structure("Do this:\n1. Cut\n2. Cook") == 1.0
    assert structure("Do this.\n- Cut\n- Cook\n\nEnjoy it.") == 0.5
    assert structure("```python\nx = 1\ny = 2\n```") == 1.0
    assert structure("*Piranesi* fits a weekend.") == 0.0
    assert structure("-5 degrees is cold.") == 0.0
    assert warmth("I'm so sorry, how lovely of you!") > warmth("The temperature is 5 degrees.") == 0.0
    assert rigour("This holds only if n ≥ 2, because the estimate has 95 % coverage.") > rigour("It just works.") == 0.0
    assert style_attributes([]).shape == (0, 4)


def test_feedback_is_reproducible_and_covers_everybody():
    feedback = example_feedback()
    assert len(feedback) == PEOPLE * COMPARISONS
    assert len(feedback.users) == PEOPLE
    assert np.bincount(feedback.user).tolist() == [COMPARISONS] * PEOPLE
    again = example_feedback()
    assert list(feedback.take(np.arange(50)).judgements()) == list(again.take(np.arange(50)).judgements())
    other = example_feedback(seed=1)
    assert list(feedback.take(np.arange(50)).judgements()) != list(other.take(np.arange(50)).judgements())
    topic = {p.prompt: p.topic for p in example_prompts()}
    for row in feedback.take(np.arange(0, len(feedback), 97)).judgements():
        assert row.subset == topic[row.prompt]


def test_nobody_judges_the_fresh_prompts():
    fresh = example_candidates()
    assert len(fresh) == 4 * FRESH
    assert not set(fresh.prompts) & set(example_feedback().prompts.to_pylist())
    assert Counter(fresh.extra["style"]) == dict.fromkeys(STYLES, FRESH)


def test_verdicts_follow_the_known_truth_up_to_the_known_noise():
    people, feedback = example_truth(), example_feedback()
    pairs = feedback.pairs()
    rows = people.pool.rows(feedback.candidates)
    person = np.array([people.users.index(u) for u in feedback.users])[pairs.user]
    p = people.preference(person, rows[pairs.a], rows[pairs.b])
    hit = (p > 0.5) == (pairs.p > 0.5)
    expected = np.maximum(p, 1 - p).mean()
    assert abs(hit.mean() - expected) < 4 * np.sqrt(0.25 / len(pairs))
    assert 0.8 < expected < 0.95


def test_people_disagree_but_share_something():
    people = example_truth()
    shared = np.array([SHARED[a] for a in ATTRIBUTES])
    assert np.abs(people.weights.mean(0) - shared).max() < 0.4
    tastes = np.array([[taste[a] for a in ATTRIBUTES] for taste in TASTES.values()])
    nearest = np.linalg.norm(people.weights[:, None] - (shared + tastes), axis=2).argmin(1)
    assert np.bincount(nearest, minlength=4).min() >= 0.1 * len(people)
    choices = people.choices(people.test)
    most = max(np.bincount(column).max() for column in choices.T)
    assert most < len(people), "no answer should be everybody's favourite"
    same = (choices[:, None] == choices[None]).mean()
    assert 0.2 < same < 0.6


def test_written_files_read_back_as_the_same_feedback(tmp_path):
    from guerdon.feedback.star import Feedback

    feedback_file, candidates_file = write_example(tmp_path / "demo")
    back = Feedback.read(feedback_file)
    original = example_feedback()
    assert len(back) == len(original)
    sample = np.arange(0, len(original), 211)
    for a, b in zip(back.take(sample).judgements(), original.take(sample).judgements(), strict=True):
        assert (a.prompt, a.responses, a.user, a.subset) == (b.prompt, b.responses, b.user, b.subset)
        assert np.sign(a.grades[0] - a.grades[1]) == np.sign(b.grades[0] - b.grades[1])
    rows = [json.loads(line) for line in candidates_file.read_text(encoding="utf-8").splitlines()]
    assert len(rows) == FRESH
    assert all(len(row["responses"]) == 4 for row in rows)
    first = feedback_file.read_bytes()
    write_example(tmp_path / "demo")
    assert feedback_file.read_bytes() == first
    assert sorted(p.name for p in (tmp_path / "demo").iterdir()) == ["candidates.jsonl", "feedback.jsonl"]
