"""Rules over what models say of images: products, boxes, counts, normalised confidence."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guerdon.bench.alignment_rules import (
    Box,
    attributes,
    clip_score,
    counted,
    distinct,
    numbers,
    overlap,
    phrases,
    placed,
    placed_surely,
    questions,
    spatial,
    three_in_one,
)
from guerdon.errors import ConfigError, FeedbackError
from guerdon.papers.t2i_compbench import boxes_of, twin
from guerdon.reward.contrastive import confidence, contrasts, ensemble

BOX = Box(0, 0, 100, 100)
LISTS = ("spatial_val", "numeracy_val", "new_objects")


def test_questions_are_one_a_phrase() -> None:
    assert questions("a green bench and a red car") == ["a green bench?", "a red car?"]
    assert phrases("a cow on the top of a chair") == ["a cow", "a chair"]
    assert phrases("rubber gloves and a fluffy teddy bear") == ["rubber gloves", "a fluffy teddy bear"]
    assert phrases("a round watermelon and a rectangular slice of cake")[1:] == ["a rectangular slice", "cake"]
    for sentence in ("The red umbrella was on top of the white coat rack.", "A bathroom with white tile", ""):
        with pytest.raises(FeedbackError, match="give its phrases"):
            phrases(sentence)


def test_a_swap_gets_no_product() -> None:
    assert attributes(np.array([[0.9, 0.1, np.nan], [0.9, 0.9, np.nan]])) == pytest.approx([0.09, 0.81])


def test_places_follow_the_centres_and_y_grows_downwards() -> None:
    right, below = Box(300, 10, 400, 110), Box(10, 300, 110, 400)
    assert placed("left", BOX, right) == placed("right", right, BOX) == 1
    assert placed("top", BOX, below) == placed("bottom", below, BOX) == 1
    assert placed("right", BOX, right) == placed("top", BOX, right) == placed("left", BOX, None) == 0
    assert placed("near", BOX, Box(400, 400, 500, 500)) == pytest.approx(150 / 400)
    assert placed("near", BOX, right) == 1  # one of both distances is enough
    half = Box(50, 0, 150, 100)
    assert overlap(BOX, half) == pytest.approx(1 / 3)
    assert placed("left", BOX, half) == pytest.approx(0.3)
    assert placed("near", Box(0, 0, 1, 1), Box(4, 4, 5, 5), side=5.12) == pytest.approx(1.5 / 4)
    with pytest.raises(ConfigError, match="relation"):
        placed("under", BOX, half)


def test_places_are_those_of_an_independent_computation() -> None:
    for first, second in boxes_of(np.random.default_rng(1), 300):
        for relation in ("left", "right", "top", "bottom", "near"):
            assert placed(relation, first, second) == pytest.approx(twin(relation, first, second), abs=1e-12)


def test_the_later_script_weighs_the_place_by_the_detector_and_cuts_at_a_half() -> None:
    assert placed_surely(1.0, (0.8, 0.6)) == pytest.approx(0.85)
    assert placed_surely(0.2, (0.6, 0.6)) == 0.0  # 0.4 is below one half
    assert placed_surely(1.0, (0.9, None)) == 0.0


def test_objects_are_counted_as_the_prompt_does() -> None:
    plural = {"cups": "cup", "oranges": "orange", "fire trucks": "fire truck", "fish": "fish"}
    assert numbers("Two cups, an orange and three fire trucks.", plural) == {"cup": 2, "orange": 1, "fire truck": 3}
    assert numbers("eight fish", plural) == {"fish": 8}
    with pytest.raises(FeedbackError, match="no known object"):
        numbers("many cups", plural)


def test_a_box_found_twice_is_one_object() -> None:
    inside, moved = Box(10, 10, 60, 60), Box(80, 0, 180, 100)
    found = distinct(["dog", "dog", "dog", "cat"], [BOX, inside, moved, BOX])
    assert found == {"dog": 2, "cat": 1}
    assert counted({"dog": 2, "cat": 1}, found) == 1.0


def test_clip_score_is_the_cosine_or_weighed_and_never_negative() -> None:
    rng = np.random.default_rng(0)
    image, text = rng.normal(size=(5, 8)), rng.normal(size=(5, 8))
    plain = [float(a @ b / np.linalg.norm(a) / np.linalg.norm(b)) for a, b in zip(image, text, strict=True)]
    assert clip_score(image, text) == pytest.approx(plain)
    assert clip_score(3 * image, text) == pytest.approx(plain)
    assert clip_score(image, text, weight=2.5) == pytest.approx([2.5 * max(c, 0) for c in plain])
    with pytest.raises(FeedbackError, match=r"use \[n, d\]"):
        clip_score(image, text[:2])
    with pytest.raises(FeedbackError, match="zero"):
        clip_score(0 * image, text)


def test_counts_and_means() -> None:
    assert counted({"dog": 2, "cat": 1}, {"dog": 2, "cat": 3}) == 0.75
    assert three_in_one([0.4, None, 0.8]) == pytest.approx(0.6)
    with pytest.raises(FeedbackError):
        three_in_one([None])


@given(st.floats(-50, 50), st.floats(0.1, 2.0))
def test_what_depends_on_the_image_alone_cancels(shift: float, temperature: float) -> None:
    rng = np.random.default_rng(0)
    score, others = rng.normal(size=5), rng.normal(size=(5, 3))
    found = confidence(score, others, temperature)
    both = np.column_stack([score, others]) / temperature
    assert found == pytest.approx(np.exp(both[:, 0]) / np.exp(both).sum(1))
    assert confidence(score + shift, others + shift, temperature) == pytest.approx(found, abs=1e-6)
    assert ((found > 0) & (found < 1)).all()


def test_confidence_refuses_what_would_say_nothing() -> None:
    with pytest.raises(ConfigError, match="contrastive"):
        confidence(np.zeros(2), np.zeros((2, 0)), 1.0)
    with pytest.raises(ConfigError, match="temperature"):
        confidence(np.zeros(2), np.zeros((2, 1)), 0.0)
    assert contrasts("A dog", ["a dog", "two dogs", "two dogs"]) == ["two dogs"]
    assert ensemble(np.array([[0.2], [0.4]]), 10.0) == pytest.approx([0.2])


def test_published_prompts_are_read(shared_data: Path) -> None:
    with gzip.open(shared_data / "prompts" / "t2i_prompts.jsonl.gz", "rt", encoding="utf-8") as text:
        rows = [json.loads(line) for line in text]
    of = {k: [r["prompt"] for r in rows if r["source"] == "t2i_compbench" and r["list"] == k] for k in LISTS}
    assert all(spatial(prompt).first and spatial(prompt).second for prompt in of["spatial_val"])
    assert all(len(phrases(prompt)) == 2 for prompt in of["spatial_val"])
    plural = dict(line.lower().split(" - ")[::-1] for line in of["new_objects"])
    assert all(1 <= n <= 8 for prompt in of["numeracy_val"] for n in numbers(prompt, plural).values())
    assert len(of["spatial_val"]) == len(of["numeracy_val"]) == 300
