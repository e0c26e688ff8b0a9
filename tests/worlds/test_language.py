"""Worlds of text: their language models are what the templates say, and what is true of a text is known."""

from pathlib import Path

import numpy as np
import pytest

from guerdon.generate import LocalModel
from guerdon.worlds.language import Attributes, Conversations, Personas
from guerdon.worlds.language.attributes import NAMES, SYNONYMS
from guerdon.worlds.language.model import encode, word_tokenizer
from guerdon.worlds.language.personas import WEAK


def test_dialogues_are_tokenised_as_the_chat_template_says() -> None:
    world = Personas()
    tokenizer = word_tokenizer(world.words)
    dialogues = world.dialogues(20, 0)
    ids, mask = encode(tokenizer, dialogues, ("assistant",))
    for dialogue, tokens, chosen in zip(dialogues, ids, mask, strict=True):
        messages = [{"role": role, "content": text} for role, text in dialogue]
        text = tokenizer.apply_chat_template(messages, tokenize=False)
        assert tokenizer(text)["input_ids"] == tokens.tolist()
        said = tokenizer.decode(tokens[chosen], skip_special_tokens=True)
        assert said.split() == dialogue[-1][1].split()
        assert tokenizer.unk_token_id not in tokens


def test_a_small_model_writes_as_the_persona_asked_for(tmp_path: Path) -> None:
    world = Personas()
    counts = {}
    for name, settings in (("strong", {"width": 48}), ("weak", WEAK)):
        path = world.language_model(tmp_path / name, 0, count=1500, epochs=3, **settings)  # type: ignore[arg-type]
        model = LocalModel(str(path), device="cpu")
        drawn = model.generate([world.prompt(t, 2) for t in range(4)], n=20, max_tokens=20, seed=0)
        assert np.mean([f == "stop" for f in drawn.finish]) > 0.9
        counts[name] = world.counts([t or "" for t in drawn.text]).mean(0)
    assert counts["strong"].argmax() == 2
    assert counts["strong"][2] > 1.5, "unasked it would be some 0.4"
    assert counts["weak"][2] < counts["strong"][2]


def test_counts_are_those_of_markers() -> None:
    assert Personas().counts(["a0 a3 t1w2 x4 f2", ""]).tolist() == [[2, 0, 0, 0, 0, 1], [0] * 6]


def test_satisfaction_rises_with_the_words_on_topic() -> None:
    world = Conversations()
    prompts, better, worse = world.pairs(300, 0)
    assert world.satisfaction(prompts, better).mean() > world.satisfaction(prompts, worse).mean() + 0.2
    rng = np.random.default_rng(0)
    assert world.on_topic(prompts[:1], [world.padded(better[0], 5, rng)]) == world.on_topic(prompts[:1], better[:1])
    whole = " ".join(["t0w1"] * world.length)
    assert world.satisfaction(["about topic0 q1"], [whole])[0] == pytest.approx(world.thanks[0], abs=0.05)


def test_users_thank_for_answers_on_topic_and_change_the_subject_after_long_ones() -> None:
    world = Conversations()
    thanked: dict[bool, list[bool]] = {True: [], False: []}
    neutral: dict[bool, list[bool]] = {True: [], False: []}
    for (_, prompt), (_, answer), (_, said) in world.dialogues(3000, 0):  # type: ignore[misc]
        long = len(answer.split()) > world.length + 2
        neutral[long].append(said in world.neutrals)
        if said not in world.neutrals:
            thanked[bool(world.on_topic([prompt], [answer])[0] > 0.5)].append(said in world.satisfied)
    assert np.mean(thanked[True]) == pytest.approx(0.8, abs=0.05)
    assert np.mean(thanked[False]) < 0.1
    assert np.mean(neutral[True]) > np.mean(neutral[False]) + 0.2


def test_unseen_synonyms_are_only_defined() -> None:
    world = Attributes()
    asked = [d for d in world.dialogues(3000, 0) if not d[0][1].startswith("what means")]
    words = {word for d in asked for word in d[0][1].split()}
    assert not words & set(SYNONYMS[-world.unseen :])
    assert words >= set(NAMES) | set(SYNONYMS[: -world.unseen])
    for dialogue in asked[:200]:
        text, _, name = dialogue[0][1].removesuffix(" ?").partition(" is it ")
        attribute = NAMES.index(name) if name in NAMES else SYNONYMS.index(name)
        assert dialogue[1][1] == ("yes" if world.has(text, attribute) else "no")
