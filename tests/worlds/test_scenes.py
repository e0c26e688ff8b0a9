"""Drawn scenes, tones and texts: what is said is true, what is planted is false, and words give nothing away."""

import io
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from guerdon.encode.media import media_in, read
from guerdon.errors import ConfigError
from guerdon.feedback.messages import as_text
from guerdon.worlds.qualities import CRITERIA, SENSES, judged, pairs
from guerdon.worlds.scenes import (
    COLOURS,
    CORNERS,
    KINDS,
    NUMBERS,
    SHAPES,
    Scene,
    asked,
    comparisons,
    draw,
    png,
    scene,
    scene_for,
)
from guerdon.worlds.tones import RATE, Tone, sound, wav


def holds(text: str, question: str, things: Scene) -> bool:
    """Whether a sentence about a scene is true, by reading it word by word."""
    words = text.rstrip(".")
    if words.startswith("The picture shows"):
        return NUMBERS.index(words.split()[3]) == len(things)
    if words.startswith("There is a "):
        return words.removeprefix("There is a ") in {t.name for t in things}
    if words.startswith("It is at the "):
        name = question.removeprefix("Where is the ").rstrip("?")
        return any(t.name == name and CORNERS[t.corner] == words.removeprefix("It is at the ") for t in things)
    if words.startswith("The "):
        one, other = words.removeprefix("The ").replace(" right of ", " left of ").split(" is left of the ")
        column = {t.name: t.corner % 2 for t in things}
        way = 1 if " left of " in words else -1
        return (column[other] - column[one]) * way > 0
    said = {part.removeprefix("a ") for part in words.removeprefix("It shows ").split(" and ")}
    return said == {f"{t.name} at the {CORNERS[t.corner]}" for t in things}


@pytest.mark.parametrize("kind", KINDS)
def test_true_answers_are_true_and_false_ones_are_not(kind: str) -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        things = scene_for(kind, rng)
        said = KINDS[kind](things, rng)
        assert holds(said.true, said.question, things)
        assert not holds(said.false, said.question, things)


def test_words_alone_do_not_say_which_answer_is_false() -> None:
    """Every sentence is false about as often as it is true."""
    rng = np.random.default_rng(0)
    for kind in ("hallucination", "counting", "place", "relation"):
        true, false = Counter(), Counter()
        for _ in range(4000):
            said = KINDS[kind](scene_for(kind, rng), rng)
            true[said.true] += 1
            false[said.false] += 1
        assert true.keys() == false.keys()
        for text, n in true.items():
            assert abs(n - false[text]) < 5 * np.sqrt(n + false[text]), (kind, text)


def test_a_drawing_shows_its_things_in_their_corners() -> None:
    rng = np.random.default_rng(1)
    for _ in range(50):
        things = scene(rng)
        picture = draw(things, rng).astype(float) / 255
        for corner in range(4):
            row, column = divmod(corner, 2)
            cell = picture[16 * row : 16 * row + 16, 16 * column : 16 * column + 16]
            vivid = cell[np.ptp(cell, axis=2) > 0.45]
            there = [t for t in things if t.corner == corner]
            assert bool(there) == (len(vivid) > 15)
            if there:
                palette = np.array(list(COLOURS.values()))
                nearest = np.abs(palette - vivid.mean(0)).sum(1).argmin()
                assert nearest == there[0].colour
    assert {t.shape for _ in range(20) for t in scene(rng)} == set(range(len(SHAPES)))


def test_pictures_are_files_of_ordinary_candidates(tmp_path: Path) -> None:
    items = asked(10, np.random.default_rng(0), tmp_path)
    feedback = comparisons(items)
    assert len(feedback) == 10
    assert sorted(feedback.subsets) == sorted(KINDS)
    medium = media_in(items[0].prompt)[0]
    assert Path(medium.url).parent == tmp_path
    assert Image.open(io.BytesIO(read(medium))).size == (32, 32)
    again = asked(10, np.random.default_rng(0), tmp_path)
    assert [i.said for i in again] == [i.said for i in items]


def test_a_png_holds_its_pixels() -> None:
    picture = draw(scene(np.random.default_rng(0)), np.random.default_rng(0))
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(png(picture)))), picture)


def test_tones_last_and_sound_as_they_are_told() -> None:
    rng = np.random.default_rng(0)
    plain = sound(Tone(noise=0.0), rng)
    assert plain.shape == (RATE // 2, 2)
    assert np.abs(plain).max() <= 1
    power = lambda **how: float((sound(Tone(noise=0.0, **how), rng) ** 2).mean())  # noqa: E731
    assert 10 * np.log10(power(level=-6.0) / power(level=-18.0)) == pytest.approx(12, abs=0.2)
    assert 10 * np.log10(2 * power(level=-12.0)) == pytest.approx(-15, abs=0.3), "a sine at full scale has -3 dB"
    left, right = (sound(Tone(side=-0.9), rng) ** 2).mean(0)
    assert left > 10 * right
    spectrum = np.abs(np.fft.rfft(sound(Tone(pitch=600.0, timbre=0.0, noise=0.0), rng)[:, 0]))
    assert spectrum.argmax() == pytest.approx(300, abs=2), "600 Hz in half a second"
    assert wav(plain)[:4] == b"RIFF"


@pytest.mark.parametrize("sense", SENSES)
def test_a_pair_is_judged_both_ways_by_its_two_qualities(sense: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    found = pairs(sense, 30, rng, tmp_path)
    feedback = judged(found, (0, 2), rng)
    assert len(feedback) == 60
    decided = feedback.pairs()
    assert (decided.p.reshape(-1, 2).sum(1) == 1).all(), "opposite verdicts"
    words = {text for name in SENSES[sense] for text in (CRITERIA[name][0], CRITERIA[name][2])}
    assert set(feedback.criteria) <= words, "only in the ways that were asked for"
    assert len(np.unique(feedback.judgement_prompt)) == 30, "a pair and its reversal share their prompt"
    for pair in found:
        assert pair.up != pair.down
        assert as_text(pair.first) != as_text(pair.second)


def test_there_is_no_other_sense() -> None:
    with pytest.raises(ConfigError, match="use one of image, audio, text"):
        pairs("smell", 1, np.random.default_rng(0))
