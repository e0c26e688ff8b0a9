"""Local language models: draws, likelihoods and labels, against transformers used by hand."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from guerdon.errors import BackendError, ConfigError, ModelError
from guerdon.generate import LocalModel, load_language_model
from tiny_models import tiny_bert, tiny_causal_lm

PROMPTS: list[Any] = ["Name a fruit.", "Why is the sky blue, and why is it red in the evening?", ""]
RESPONSES = ["An apple.", "No.", "Because the air scatters blue light, and the and the and the.", "An apple pie."]


@pytest.fixture(scope="module", params=["chat", "plain", "bos"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> LocalModel:
    chat, bos = request.param == "chat", request.param == "bos"
    path = tiny_causal_lm(tmp_path_factory.mktemp("lm") / "m", chat, bos=bos, pad="eos" if bos else None)
    opened = load_language_model(f"hf:{path}", device="cpu")
    assert isinstance(opened, LocalModel)
    return opened


def by_hand(model: LocalModel, prompt: str, response: str) -> np.ndarray:
    """Log-probabilities of a response, one sequence, whole logits."""
    tokenizer = model.tokenizer
    if tokenizer.chat_template:
        chat = [{"role": "user", "content": prompt}]
        text = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    else:
        text = prompt
    special = not tokenizer.chat_template
    before = tokenizer(text, add_special_tokens=special)["input_ids"]
    ids = tokenizer(text + response, add_special_tokens=special)["input_ids"]
    start = 0
    while start < min(len(before), len(ids)) and before[start] == ids[start]:
        start += 1
    if not start:
        ids, start = [tokenizer.bos_token_id, *ids], 1
    with torch.no_grad():
        logprob = model.model(torch.tensor([ids])).logits[0].log_softmax(-1)
    return np.array([float(logprob[i - 1, ids[i]]) for i in range(start, len(ids))])


def test_likelihoods_are_exact_with_prompts_run_once(model: LocalModel) -> None:
    prompts = [p for p in PROMPTS for _ in RESPONSES]
    found = model.loglikelihood(prompts, RESPONSES * len(PROMPTS))
    assert found.status == ["scored"] * 12
    for i, (prompt, response) in enumerate(zip(prompts, RESPONSES * 3, strict=True)):
        expected = by_hand(model, prompt, response)
        assert found.tokens[i] == pytest.approx(expected, abs=1e-4)
        assert found.total[i] == pytest.approx(expected.sum(), abs=1e-3)
        assert found.mean[i] == pytest.approx(expected.mean(), abs=1e-4)


def test_the_chances_of_all_ways_to_go_on_add_up_to_one(model: LocalModel) -> None:
    logits = model.logits(["Name a fruit."])
    assert logits.shape == (1, len(model.tokenizer))
    chance = np.exp(logits[0] - logits[0].max())
    chance /= chance.sum()
    first = model.loglikelihood(["Name a fruit."], ["z"]).tokens[0]
    assert first is not None
    (z,) = model.tokenizer("z", add_special_tokens=False)["input_ids"]
    assert first[0] == pytest.approx(np.log(chance[z]), abs=1e-4)


def test_an_empty_response_is_certain_and_its_end_is_not(model: LocalModel) -> None:
    assert model.loglikelihood(["hi"], [""]).total[0] == 0
    assert model.loglikelihood(["hi"], [""], end=True).total[0] < 0


def test_too_long_is_unscored(model: LocalModel) -> None:
    found = model.loglikelihood(["hi", "hi"], ["x" * 1000, "x"])
    assert found.status == ["too_long", "scored"]
    assert np.isnan(found.total[0])
    replies = model.generate(["x" * 1000, "x"], max_tokens=2)
    assert replies.status == ["too_long", "answered"]
    assert model.label_probabilities(["x" * 1000, "x"], ["a", "b"]).status == ["too_long", "answered"]


def test_greedy_draws_are_those_of_transformers(model: LocalModel) -> None:
    replies = model.generate(PROMPTS[:2], n=2, temperature=0.0, max_tokens=12, top_logprobs=3)
    for i, prompt in enumerate(PROMPTS[:2]):
        ids = torch.from_numpy(model.tokens([model.prompt_text(prompt)])[0])[None]
        written = model.model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=12, do_sample=False)
        new = written[0, ids.shape[1] :]
        assert replies.text[2 * i] == replies.text[2 * i + 1] == model.tokenizer.decode(new, skip_special_tokens=True)
        given = replies.logprobs[2 * i]
        assert given is not None
        with torch.no_grad():
            logprob = model.model(written).logits[0, ids.shape[1] - 1 : -1].log_softmax(-1)
        expected = logprob.gather(1, new[:, None])[:, 0].numpy()[: len(given.tokens)]
        assert given.logprob == pytest.approx(expected, abs=1e-4)
        assert [max(t.values()) for t in given.top] == pytest.approx(expected, abs=1e-4)


def test_a_seeded_draw_does_not_depend_on_its_batch(model: LocalModel) -> None:
    settings = {"temperature": 1.0, "top_p": 0.95, "max_tokens": 10}
    together = model.generate(PROMPTS, n=3, seed=4, **settings)
    for i, prompt in enumerate(PROMPTS):
        assert model.generate([prompt], n=3, seed=4, **settings).text == together.of(i).text
    assert len(set(together.text)) > 3, "draws differ"
    assert model.generate(PROMPTS[:1], n=1, seed=5, **settings).text[0] == together.text[1], "draw i is seed + i"
    assert model.generate(PROMPTS, n=3, **settings).text != together.text


def test_draws_follow_the_probabilities_of_the_model(model: LocalModel) -> None:
    logprob = torch.from_numpy(model.logits(["hi"])[0]).double().log_softmax(-1)
    chance = (logprob / 0.7).softmax(-1).numpy()
    replies = model.generate(["hi"], n=600, seed=0, temperature=0.7, max_tokens=1, logprobs=True)
    counts = np.zeros(len(chance))  # a token is known by its log-probability; one that ends the reply is not listed
    for given in replies.logprobs:
        if given is not None and len(given.logprob):
            counts[int(np.abs(logprob.numpy() - given.logprob[0]).argmin())] += 1
    for token in np.argsort(-chance)[:5]:
        expected = float(chance[token])
        if token not in model.ends:
            assert counts[token] / 600 == pytest.approx(expected, abs=4 * (expected * (1 - expected) / 600) ** 0.5)
    top = model.generate(["hi"], n=50, seed=0, temperature=5.0, top_k=2, max_tokens=1, logprobs=True)
    assert len(set(top.text)) <= 2


def test_stop_texts_and_length(model: LocalModel) -> None:
    whole = model.generate(["hi"], temperature=0.0, max_tokens=12)
    text = whole.text[0] or ""
    assert whole.finish == ["length"] or whole.rows[0].completion_tokens < 12
    stop = text[4:6]
    cut = model.generate(["hi", PROMPTS[1]], temperature=0.0, max_tokens=12, stop=(stop,))
    assert cut.text[0] == text[: text.find(stop)]
    assert cut.finish[0] == "stop"


def test_labels_have_the_mass_of_all_their_spellings(model: LocalModel) -> None:
    found = model.label_probabilities(PROMPTS, ["A", "the", "zebra"])
    logits = torch.from_numpy(model.logits(PROMPTS)).double().softmax(-1).numpy()
    ids = {label: [] for label in ("a", "the")}
    for token in range(len(model.tokenizer)):
        text = model.tokenizer.decode([token]).strip().lower()
        if text in ids:
            ids[text].append(token)
    assert len(ids["a"]) == 3, "A, a and space a"
    for column, label in enumerate(("a", "the")):
        assert found.value[:, column] == pytest.approx(logits[:, ids[label]].sum(1))
    assert found.value[:, 2] == pytest.approx(np.exp(model.loglikelihood(PROMPTS, ["zebra"] * 3).total))
    assert found.normalized.sum(1) == pytest.approx(1)
    with pytest.raises(ConfigError, match="differ in more than case"):
        model.label_probabilities(["x"], ["yes", "Yes "])


def test_a_lora_adapter_is_the_same_merged(tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    path = tiny_causal_lm(tmp_path / "m")
    torch.manual_seed(0)
    config = LoraConfig(r=2, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    adapted: Any = get_peft_model(AutoModelForCausalLM.from_pretrained(path), config)
    adapted.save_pretrained(tmp_path / "lora")
    plain = LocalModel(str(path))
    one = LocalModel(str(path), adapter=tmp_path / "lora")
    two = load_language_model(f"hf:{tmp_path / 'lora'}")
    ids = torch.from_numpy(plain.tokens([plain.prompt_text("hi")])[0])[None]
    with torch.no_grad():
        expected = adapted.eval()(ids).logits[0, -1].numpy()
    assert one.logits(["hi"])[0] == pytest.approx(expected, abs=1e-3)
    assert two.logits(["hi"])[0] == pytest.approx(expected, abs=1e-3)  # type: ignore[attr-defined]
    assert not np.allclose(plain.logits(["hi"])[0], expected, atol=1e-2)
    assert len({plain.identity, one.identity}) == 2
    assert one.identity == two.identity


def test_what_is_no_language_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(BackendError, match="no model folder"):
        LocalModel(str(tmp_path / "nothing"))
    tiny_causal_lm(tmp_path / "m")
    with pytest.raises(BackendError, match=r"adapter_config\.json is missing"):
        LocalModel(str(tmp_path / "m"), adapter=tmp_path)
    bert = LocalModel(str(tiny_bert(tmp_path / "b")))
    for ask in (lambda: bert.loglikelihood(["a"], ["b"]), lambda: bert.generate(["a"])):
        with pytest.raises(ModelError, match="no causal language model"):
            ask()


def test_a_schema_is_written_into_the_prompt(model: LocalModel) -> None:
    schema = {"type": "object", "required": ["verdict"]}
    replies = model.generate(["hi"], schema=schema, max_tokens=3, temperature=0.0)
    assert replies.parsed == [None]
    assert replies.reason == ["no JSON of the schema in the reply"]
    plain = model.generate(["hi"], max_tokens=3, temperature=0.0)
    assert replies.rows[0].prompt_tokens > plain.rows[0].prompt_tokens + 20


def test_a_turn_of_the_user_is_scored_where_the_template_puts_it(model: LocalModel) -> None:
    dialogue = [{"role": "user", "content": "Name a fruit."}, {"role": "assistant", "content": "An apple."}]
    said = ["Thanks, that helps.", "No, that is wrong."]
    found = model.loglikelihood([dialogue, dialogue], said, role="user")
    assert found.status == ["scored", "scored"]
    for text, tokens in zip(said, found.tokens, strict=True):
        if model.chats:
            whole = model.tokenizer.apply_chat_template([*dialogue, {"role": "user", "content": text}], tokenize=False)
        else:
            whole = f"user: Name a fruit.\n\nassistant: An apple.\n\nuser: {text}"
        start = whole.rindex(text)
        special = not model.chats
        before = model.tokenizer(whole[:start], add_special_tokens=special)["input_ids"]
        ids = model.tokenizer(whole[: start + len(text)], add_special_tokens=special)["input_ids"]
        at = next(i for i in range(len(ids)) if i >= len(before) or before[i] != ids[i])
        with torch.no_grad():
            logprob = model.model(torch.tensor([ids])).logits[0].log_softmax(-1)
        assert tokens == pytest.approx([float(logprob[i - 1, ids[i]]) for i in range(at, len(ids))], abs=1e-4)
        assert tokens is not None
        piece = model.tokenizer.decode(ids[at:])
        assert piece.strip() == text, "a follow-up starts on a token of its own"
    with pytest.raises(ConfigError, match="role"):
        model.loglikelihood([dialogue], ["x"], role="system")


@pytest.mark.parametrize("kind", ["spaced", "pieces", "bytes"])
def test_labels_are_single_tokens_in_every_spelling(kind: str, tmp_path: Path) -> None:
    """BPE with the space in the token, SentencePiece's mark, and bytes alone, where no token spells a label."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = {"spaced": ["yes", "Ġyes", "Yes", "ĠNo", "no"], "pieces": ["▁", "▁Yes", "Yes", "▁no"], "bytes": []}[kind]
    pieces = ["<unk>", "<eos>", *alphabet, *(["▁"] if kind == "pieces" else []), *words]
    vocab = {piece: i for i, piece in enumerate(dict.fromkeys(pieces))}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[], unk_token="<unk>"))
    if kind == "pieces":
        tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    else:
        tokenizer.pre_tokenizer, tokenizer.decoder = (
            pre_tokenizers.ByteLevel(add_prefix_space=False),
            decoders.ByteLevel(),
        )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<eos>", unk_token="<unk>", model_max_length=64
    )
    config = LlamaConfig(
        vocab_size=len(vocab), hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=64, initializer_range=0.5, eos_token_id=1, bos_token_id=None,
    )  # fmt: skip
    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(tmp_path)
    fast.save_pretrained(tmp_path)
    model = LocalModel(str(tmp_path), device="cpu")
    found = model.label_probabilities(["good?"], ["yes", "no"])
    chance = torch.from_numpy(model.logits(["good?"])[0]).double().softmax(-1).numpy()
    for column, label in enumerate(("yes", "no")):
        ids = [i for piece, i in vocab.items() if piece.strip("Ġ▁").casefold() == label]
        if kind == "bytes":
            expected = np.exp(model.loglikelihood(["good?"], [label]).total[0])  # the reply begins with it, bit by bit
        else:
            expected = chance[ids].sum()
        assert found.value[0, column] == pytest.approx(expected, rel=1e-4)
    assert "▁" not in vocab or chance[vocab["▁"]] > 0, "the mark alone is no spelling of either label"
