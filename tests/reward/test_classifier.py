"""Hugging Face reward models through our scoring, against the model run on one text at a time."""

import json
import logging

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

import guerdon
from guerdon.errors import ConfigError, ModelError
from guerdon.feedback.schema import Candidates
from guerdon.reward.learned.classifier import SequenceClassifierReward, split_revision
from guerdon.reward.learned.readout import LastToken, WholeModel
from guerdon.testing import check_reward
from tiny_models import tiny_bert_classifier, tiny_causal_lm, tiny_classifier

PROMPTS = ["Name a fruit.", "Name a fruit.", "Name a fruit.", "Why is the sky blue, would you say?", "Rain"]
RESPONSES = ["An apple.", "A pear, and the apple and the plum.", "", "It scatters light.", "falls in the street"]
TEXTS = Candidates(PROMPTS * 2, [*RESPONSES, "An apple.", *RESPONSES[:0:-1]])

DECODERS = {
    "chat": {},
    "pad is eos": {"pad": "eos"},
    "no pad": {"pad": None},
    "bos, no template": {"chat_template": False, "bos": True},
    "pad is eos, no template": {"chat_template": False, "pad": "eos"},
}


@pytest.fixture(scope="module", params=DECODERS)
def decoder(request, tmp_path_factory):
    return tiny_classifier(tmp_path_factory.mktemp("decoder") / "model", **DECODERS[request.param])


def alone(path, prompt, response, dtype=torch.float32):
    """What transformers gives for one candidate, with nothing else in the batch."""
    tokenizer = AutoTokenizer.from_pretrained(path)
    model = AutoModelForSequenceClassification.from_pretrained(path, dtype=dtype).eval()
    model.config.pad_token_id = None  # one row: the last token is the last token
    if tokenizer.chat_template:
        chat = [{"role": "user", "content": prompt}, {"role": "assistant", "content": response}]
        ids = tokenizer.apply_chat_template(chat, tokenize=True, return_tensors="pt", return_dict=True)["input_ids"]
    else:
        ids = tokenizer(f"{prompt}\n\n{response}", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        return float(model(input_ids=ids).logits[0, 0])


def test_equals_the_model_on_one_text_at_a_time(decoder):
    reward = SequenceClassifierReward(decoder)
    assert isinstance(reward.readout, LastToken)
    assert reward.readout.decoder.shares
    scores = reward.score(TEXTS)
    expected = [alone(decoder, p, r) for p, r in zip(TEXTS.prompts, TEXTS.responses, strict=True)]
    np.testing.assert_allclose(scores.value, expected, atol=1e-5)
    assert list(scores.status) == ["scored"] * len(TEXTS)
    assert scores.cost["tokens"] > 0


def test_shared_equals_unshared(decoder):
    shared = SequenceClassifierReward(decoder, token_budget=64).score(TEXTS)
    padded = SequenceClassifierReward(decoder, share_prefix=False).score(TEXTS)
    np.testing.assert_allclose(shared.value, padded.value, atol=1e-5)


def test_a_text_that_ends_in_the_pad_token_is_read_to_its_end(tmp_path):
    path = tiny_classifier(tmp_path / "m", chat_template=False, pad="eos")
    ends = Candidates(["Name a fruit."] * 2, ["An apple.", "An apple.<|eos|>"])
    value = SequenceClassifierReward(path).score(ends).value
    assert abs(value[0] - value[1]) > 1e-3
    np.testing.assert_allclose(
        value, [alone(path, p, r) for p, r in zip(ends.prompts, ends.responses, strict=True)], atol=1e-5
    )


def test_the_contract(decoder):
    check_reward(SequenceClassifierReward(decoder, max_length=200))
    check_reward(SequenceClassifierReward(decoder, too_long="truncate"))


@pytest.mark.parametrize("too_long", ["unscored", "truncate"])
def test_encoders_read_pairs_and_equal_the_pipeline(tmp_path, too_long):
    path = tiny_bert_classifier(tmp_path / "bert")
    reward = SequenceClassifierReward(path, too_long=too_long)
    assert isinstance(reward.readout, WholeModel)
    pipe = pipeline("text-classification", model=str(path), function_to_apply="none")
    texts = TEXTS.take([i for i, r in enumerate(TEXTS.responses) if r])  # the pipeline takes "" for no second text
    rows = [{"text": p, "text_pair": r} for p, r in zip(texts.prompts, texts.responses, strict=True)]
    np.testing.assert_allclose(reward.score(texts).value, [pipe(row)["score"] for row in rows], atol=1e-5)
    check_reward(reward)


def test_decoders_equal_the_pipeline(tmp_path):
    path = tiny_classifier(tmp_path / "m", chat_template=False, bos=True)
    pipe = pipeline("text-classification", model=str(path))
    texts = [f"{p}\n\n{r}" for p, r in zip(TEXTS.prompts, TEXTS.responses, strict=True)]
    expected = [pipe(text)[0]["score"] for text in texts]
    np.testing.assert_allclose(SequenceClassifierReward(path).score(TEXTS).value, expected, atol=1e-5)


def test_too_long_is_unscored_or_truncated_from_the_left_of_the_prompt(tmp_path):
    path = tiny_classifier(tmp_path / "m", chat_template=False, bos=True)
    long = Candidates(["x" * 100 + " the end", "short", "short"], ["yes", "yes", "y" * 100])
    scores = SequenceClassifierReward(path, max_length=40).score(long)
    assert list(scores.status) == ["too_long", "scored", "too_long"]
    assert np.isnan(scores.value[[0, 2]]).all()
    assert "reads 40" in str(scores.reason[0])
    cut = SequenceClassifierReward(path, max_length=40, too_long="truncate")
    scores = cut.score(long)
    assert list(scores.status) == ["scored", "scored", "too_long"]
    assert "prompt were left out" in str(scores.reason[0])
    rendered = cut.renderer(long)
    tokenizer = AutoTokenizer.from_pretrained(path)
    kept = rendered.tokens[0]
    assert kept is not None
    assert len(kept) == 40
    assert kept[0] == tokenizer.bos_token_id
    assert tokenizer.decode(kept[1:]).endswith("x the end\n\nyes")


def test_truncation_keeps_the_response_in_chats_and_pairs(tmp_path):
    for path in (tiny_classifier(tmp_path / "chat"), tiny_bert_classifier(tmp_path / "bert")):
        reward = SequenceClassifierReward(path, max_length=50, too_long="truncate")
        text = Candidates(["the sky " * 40 + "is blue"], ["that is an apple"])
        kept = reward.renderer(text).tokens[0]
        assert kept is not None
        assert len(kept) == 50
        decoded = AutoTokenizer.from_pretrained(path).decode(kept)
        assert "is blue" in decoded
        assert "that is an apple" in decoded.replace(" ##", "")


def test_chat_messages_and_content_parts(tmp_path):
    reward = SequenceClassifierReward(tiny_classifier(tmp_path / "m"))
    plain = reward.score(Candidates(["hi"], ["there"])).value
    parts = [{"role": "user", "content": [{"type": "text", "text": "hi"}]}]
    chats = Candidates(
        [[{"role": "user", "content": "hi"}], parts], [[{"role": "assistant", "content": "there"}], "there"]
    )
    np.testing.assert_allclose(reward.score(chats).value, np.repeat(plain, 2), atol=1e-6)


def test_messages_the_template_refuses_are_invalid(tmp_path):
    path = tiny_classifier(tmp_path / "m")
    template = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system turn') }}{% endif %}x"
    (path / "chat_template.jinja").write_text(template)
    reward = SequenceClassifierReward(path)
    scores = reward.score(Candidates([[{"role": "system", "content": "a"}], "b"], ["c", "c"]))
    assert list(scores.status) == ["invalid", "scored"]
    assert "no system turn" in str(scores.reason[0])


def test_equal_candidates_are_run_once(tmp_path):
    reward = SequenceClassifierReward(tiny_classifier(tmp_path / "m"))
    once, thrice = (reward.score(Candidates(["p"] * n, ["r"] * n)) for n in (1, 3))
    assert thrice.cost["tokens"] == once.cost["tokens"]


def test_sharing_runs_fewer_tokens(tmp_path):
    path = tiny_classifier(tmp_path / "m")
    texts = Candidates(["the rain and the sky " * 10] * 8, [f"answer {i}" for i in range(8)])
    shared, apart = (SequenceClassifierReward(path, share_prefix=s).score(texts) for s in (True, False))
    assert shared.cost["tokens"] < 0.4 * apart.cost["tokens"]
    np.testing.assert_allclose(shared.value, apart.value, atol=1e-5)


def test_several_outputs_need_a_label(tmp_path):
    path = tiny_classifier(tmp_path / "m", num_labels=3)
    with pytest.raises(ConfigError, match=r"3 outputs.*label="):
        SequenceClassifierReward(path)
    with pytest.raises(ConfigError, match="label=7"):
        SequenceClassifierReward(path, label=7)
    by_index, by_name = (SequenceClassifierReward(path, label=key).score(TEXTS).value for key in (2, "LABEL_2"))
    np.testing.assert_array_equal(by_index, by_name)
    assert not np.allclose(by_index, SequenceClassifierReward(path, label=0).score(TEXTS).value)


def test_what_is_no_reward_model_is_refused(tmp_path):
    with pytest.raises(ModelError, match=r"no trained weights for score\.weight"):
        SequenceClassifierReward(tiny_causal_lm(tmp_path / "lm"))
    with pytest.raises(ConfigError, match="cannot be opened"):
        SequenceClassifierReward(tmp_path / "nothing-here")
    path = tiny_classifier(tmp_path / "m")
    for bad in ({"max_length": 10_000}, {"dtype": "float3"}, {"too_long": "cut"}):
        with pytest.raises(ConfigError, match=next(iter(bad))):
            SequenceClassifierReward(path, **bad)


def test_names_with_revisions(tmp_path):
    assert split_revision("org/name@abc", None) == ("org/name", "abc")
    assert split_revision("org/name", "main") == ("org/name", "main")
    (tmp_path / "a@b").mkdir()
    assert split_revision(str(tmp_path / "a@b"), None) == (str(tmp_path / "a@b"), None)


def test_a_saved_selftest_is_checked(tmp_path):
    path = tiny_classifier(tmp_path / "m")
    reward = SequenceClassifierReward(path)
    test = {
        "prompts": PROMPTS,
        "responses": RESPONSES,
        "scores": reward.score(Candidates(PROMPTS, RESPONSES)).value.tolist(),
    }
    (path / "selftest.json").write_text(json.dumps(test))
    guerdon.load(str(path))
    test["scores"][1] += 0.1
    (path / "selftest.json").write_text(json.dumps(test))
    with pytest.raises(ModelError, match="fails its self-test: example 2"):
        guerdon.load(f"hf:{path}")
    (path / "selftest.json").write_text("{")
    with pytest.raises(ModelError, match="damaged"):
        guerdon.load(f"hf:{path}")


@pytest.fixture(autouse=True)
def _quiet():
    logging.getLogger("transformers").setLevel(logging.ERROR)
