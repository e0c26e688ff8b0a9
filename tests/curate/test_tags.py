"""Tags of a language model: read field by field, several values, asked once, and useful for routing."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guerdon.curate.properties import Ranges
from guerdon.curate.route import route
from guerdon.curate.tags import FORM, read_form, tag
from guerdon.feedback.schema import SOURCES, Judgement
from guerdon.feedback.star import Feedback
from guerdon.testing.scripted import Scripted


def form(prompt: str, seed: int = 0) -> str:
    """Mathematics where the request has a number in it; safety by a word."""
    request = prompt.split("<<<begin request")[1].split("<<<end request")[0]
    numbers = any(c.isdigit() for c in request.split(">>>", 1)[1])
    return json.dumps(
        {
            "subject of expertise": ["mathematics", "Physics"] if numbers else ["arts and literature"],
            "needed expertise": "expert domain knowledge" if numbers else "general public",
            "safety concern": "high" if "poison" in request else "safe",
            "complexity of intents": "enormous",
        }
    )


def test_values_on_the_list_are_kept_and_others_left_out() -> None:
    said = tag(Scripted(form), ["what is 2 + 2?", "a poem"], ["4", "x"], ["5", "y"])
    assert said.columns["subject of expertise"] == [frozenset({"mathematics", "physics"}), {"arts and literature"}]
    assert said.columns["complexity of intents"] == [frozenset(), frozenset()]
    assert said.reason == [None, None]


def test_equal_comparisons_are_asked_once_and_unreadable_forms_again() -> None:
    replies = iter(["no form", form("<<<begin request x>>> 7 <<<end request")])
    model = Scripted(lambda prompt, seed: next(replies))
    said = tag(model, ["7", "7"], ["a", "a"], ["b", "b"])
    assert model.calls == 2
    assert said.reason == [None, None]
    never = tag(Scripted(lambda prompt, seed: "nothing"), ["q"], ["a"], ["b"])
    assert never.reason == ["no field of the form could be read"]
    assert tag(Scripted(lambda prompt, seed: None), ["q"], ["a"], ["b"]).reason == ["the model refuses"]


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(), lambda x: st.lists(x) | st.dictionaries(
    st.sampled_from(list(FORM)) | st.text(), x)))  # fmt: skip
def test_any_reply_is_read_or_not_and_nothing_else(reply: object) -> None:
    found = read_form(reply)
    assert all(values <= set(FORM[name][1]) and values for name, values in found.items())


def test_several_values_of_one_field_are_properties_each() -> None:
    column = [frozenset({"mathematics", "physics"}), frozenset(), frozenset({"physics"})]
    ranges = Ranges.of({}, {"subject": column})
    assert ranges.properties == ["subject: mathematics", "subject: physics"]
    assert ranges.has({}, {"subject": column}).tolist() == [[True, True], [False, False], [False, True]]


def test_tags_route_what_texts_alone_cannot(monkeypatch: pytest.MonkeyPatch) -> None:
    """The judge likes the opposite wherever safety is concerned, which no textual property tells."""
    rng = np.random.default_rng(0)
    worth = dict(zip((f"word{k}" for k in range(40)), rng.normal(size=40), strict=True))
    rows = []
    for i in range(400):
        unsafe = i % 2 == 0
        texts = tuple(" ".join(rng.choice(list(worth), 8)) for _ in range(2))
        up = float(sum(worth[w] for w in texts[0].split()) > sum(worth[w] for w in texts[1].split()))
        prompt = f"{'the poison' if unsafe else 'the flower'} question number {rng.integers(10**6)}"
        rows.append(Judgement(prompt, texts, (up, 1 - up), source="human"))
        wrong = up if not unsafe else 1 - up
        rows.append(Judgement(prompt, texts, (wrong, 1 - wrong), source="model"))
    feedback = Feedback.of(rows)
    model = Scripted(form)
    monkeypatch.setattr("guerdon.curate.route.load_language_model", lambda spec: model)
    settings = {"budget": 0.5, "encoder": "hash:256", "mixtures": 100, "force": True, "seed": 0}
    shares = {}
    for lm in (None, "scripted"):
        done = route(feedback, lm=lm, **settings)
        human = done.feedback.take(done.feedback.source == SOURCES.index("human"))
        texts = [str(human.candidate(int(human.items[human.offsets[j]]))[0]) for j in range(len(human))]
        shares[lm] = float(np.mean(["poison" in t for t in texts]))
    assert shares["scripted"] > 0.9
    assert shares[None] < 0.7
    assert done.report["untagged"] == 0
