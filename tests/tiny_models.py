"""Tiny transformers models and tokenizers, built from scratch with seeded random weights and saved to a folder.

No network, no downloads, milliseconds each. Plain functions, so that fixtures of any test folder can share them::

    from tiny_models import tiny_causal_lm
    path = tiny_causal_lm(tmp_path / "lm")

Every tokenizer is byte-level, so any text is representable, with ids for ``<|bos|>``, ``<|eos|>``, ``<|pad|>`` and the
chat marks ``<|im_start|>``, ``<|im_end|>``.
"""

from pathlib import Path
from typing import Any

SPECIALS = ["<|bos|>", "<|eos|>", "<|pad|>", "<|im_start|>", "<|im_end|>", "<|unk|>"]
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + (message['content'] or '') + '<|im_end|>\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
MERGES = ["t h", "th e", "i n", "a n", "e r", "o n", "r e", "Ġ the", "Ġ a", "an d", "Ġ and", "in g", "o u", "Ġ w"]


def tiny_tokenizer(*, chat_template: bool = True, pad: str | None = "pad", bos: bool = False) -> Any:
    """A byte-level BPE tokenizer of some 280 tokens.

    pad   ``"pad"`` a token of its own, ``"eos"`` the eos token again, ``None`` no pad token at all
    bos   put ``<|bos|>`` before every text, as Llama tokenizers do
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    pieces = SPECIALS + sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [tuple(m.split(" ")) for m in MERGES]
    pieces += ["".join(m) for m in merges]
    vocab = {piece: i for i, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges, unk_token="<|unk|>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    if bos:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<|bos|> $A", pair="<|bos|> $A <|bos|> $B", special_tokens=[("<|bos|>", 0)]
        )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<|bos|>",
        eos_token="<|eos|>",
        unk_token="<|unk|>",
        additional_special_tokens=["<|im_start|>", "<|im_end|>"],
        model_max_length=512,
    )
    if pad is not None:
        fast.pad_token = {"pad": "<|pad|>", "eos": "<|eos|>"}[pad]
    if chat_template:
        fast.chat_template = CHAT_TEMPLATE
    return fast


def _llama_config(tokenizer: Any, **changes: Any) -> Any:
    from transformers import LlamaConfig

    return LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        initializer_range=0.3,  # large enough that different texts give clearly different states
        tie_word_embeddings=False,
        **changes,
    )


def _save(model: Any, tokenizer: Any, path: Path | str) -> Path:
    model.eval().save_pretrained(path)
    tokenizer.save_pretrained(path)
    return Path(path)


def tiny_causal_lm(
    path: Path | str, chat_template: bool = True, *, pad: str | None = "pad", bos: bool = False, seed: int = 0
) -> Path:
    """A Llama of 3 layers x 32 with its tokenizer, saved in ``path`` (returned); ``AutoModelForCausalLM`` opens it."""
    import torch
    from transformers import LlamaForCausalLM

    tokenizer = tiny_tokenizer(chat_template=chat_template, pad=pad, bos=bos)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = LlamaForCausalLM(_llama_config(tokenizer))
    return _save(model, tokenizer, path)


def tiny_classifier(
    path: Path | str,
    chat_template: bool = True,
    *,
    pad: str | None = "pad",
    bos: bool = False,
    num_labels: int = 1,
    seed: int = 0,
) -> Path:
    """A Llama reward model (``AutoModelForSequenceClassification``, one output, regression) saved in ``path``."""
    import torch
    from transformers import LlamaForSequenceClassification

    tokenizer = tiny_tokenizer(chat_template=chat_template, pad=pad, bos=bos)
    config = _llama_config(tokenizer, num_labels=num_labels)
    if num_labels == 1:
        config.problem_type = "regression"
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = LlamaForSequenceClassification(config)
    return _save(model, tokenizer, path)


def tiny_bert(path: Path | str, *, seed: int = 0) -> Path:
    """A BERT encoder of 2 layers x 32 with a lower-casing word-piece tokenizer, saved in ``path``."""
    import torch
    from transformers import BertModel

    tokenizer = _bert_tokenizer()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = BertModel(_bert_config(tokenizer))
    return _save(model, tokenizer, path)


def tiny_bert_classifier(path: Path | str, *, num_labels: int = 1, seed: int = 0) -> Path:
    """A BERT reward model (pair of texts in, ``num_labels`` out) saved in ``path``."""
    import torch
    from transformers import BertForSequenceClassification

    tokenizer = _bert_tokenizer()
    config = _bert_config(tokenizer)
    config.num_labels = num_labels
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = BertForSequenceClassification(config)
    return _save(model, tokenizer, path)


def tiny_sentence_transformer(path: Path | str, *, max_length: int = 64, pooling: str = "mean", seed: int = 0) -> Path:
    """A sentence-transformers folder (tiny BERT, pooling, normalisation) saved in ``path``."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Normalize, Pooling, Transformer

    bert = tiny_bert(Path(path).with_name(Path(path).name + "-backbone"), seed=seed)
    body = Transformer(str(bert), max_seq_length=max_length)
    SentenceTransformer(modules=[body, Pooling(32, pooling_mode=pooling), Normalize()]).save(str(path))
    return Path(path)


def _bert_tokenizer() -> Any:
    import string

    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    letters = string.ascii_lowercase + string.digits + string.punctuation
    words = ["the", "and", "is", "an", "apple", "fruit", "of", "to", "in", "that", "for", "rain", "sky", "blue"]
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *("##" + c for c in letters), *words]
    vocab = {piece: i for i, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.WordPiece(vocab=vocab, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", vocab["[CLS]"]), ("[SEP]", vocab["[SEP]"])],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="[UNK]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_max_length=128,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )


def _bert_config(tokenizer: Any) -> Any:
    from transformers import BertConfig

    return BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=128,
        pad_token_id=tokenizer.pad_token_id,
        initializer_range=0.3,
    )
