"""Prefix sharing against its naive twin: every (prompt + response) run alone, values and gradients."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import (
    AutoModel,
    BertConfig,
    FalconConfig,
    Gemma2Config,
    Gemma3TextConfig,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    Qwen2Config,
    Qwen3Config,
)

from guerdon.encode.prefix import Decoder, Prices, common_prefix, pad
from guerdon.encode.prefix_attention import Join, NotShareable, laid_out, make_layout, packed_attention

VOCAB = 101
SIZES = {
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "initializer_range": 0.3,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 2,
}
GPT2 = {"n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 256, "bos_token_id": 0, "eos_token_id": 1}
CONFIGS = {
    "llama": LlamaConfig(**SIZES),
    "qwen2": Qwen2Config(**SIZES),
    "qwen3": Qwen3Config(**SIZES, head_dim=16),
    "gemma3": Gemma3TextConfig(**SIZES, head_dim=8, sliding_window=128),
    "gpt2": GPT2Config(vocab_size=VOCAB, initializer_range=0.3, **GPT2),
}
RAGGED = [(17, [5, 9, 0, 1]), (30, [12]), (3, [4, 4, 4]), (25, [7, 7]), (1, [1, 2])]


def build(config, seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return AutoModel.from_config(config).eval()


def draw(shapes, seed=0):
    """Sequences and prompt keys of prompts (length, response lengths)."""
    rng = np.random.default_rng(seed)
    sequences, prompts = [], []
    for key, (length, responses) in enumerate(shapes):
        prompt = rng.integers(3, VOCAB, length)
        for n in responses:
            sequences.append(np.r_[prompt, rng.integers(3, VOCAB, n)])
            prompts.append(key)
    return sequences, prompts


def one_by_one(base, sequences):
    return torch.cat([base(input_ids=torch.tensor(s)[None]).last_hidden_state[:, -1] for s in sequences])


def run(decoder, sequences, prompts, budget=100, share=True):
    out = [None] * len(sequences)
    for batch in decoder.plan(sequences, prompts, budget, share=share):
        for row, hidden in zip(batch.rows, decoder.last_hidden(sequences, batch), strict=True):
            out[row] = hidden
    return torch.stack(out)


def gradients(base, hidden):
    weight = torch.linspace(-1, 1, hidden.numel()).view_as(hidden)
    base.zero_grad()
    (hidden * weight).sum().backward()
    return {n: p.grad.clone() for n, p in base.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("budget", [40, 100, 10_000])
def test_shared_values_and_gradients_equal_one_by_one(name, budget):
    base = build(CONFIGS[name])
    sequences, prompts = draw(RAGGED)
    expected = one_by_one(base, sequences)
    expected_grads = gradients(base, expected)
    decoder = Decoder(base)
    assert decoder.shares
    for share in (True, False, None):
        hidden = run(decoder, sequences, prompts, budget, share)
        torch.testing.assert_close(hidden, expected, atol=1e-5, rtol=1e-5)
        grads = gradients(base, hidden)
        assert grads.keys() == expected_grads.keys()
        for key, grad in grads.items():
            # relative to the largest entry: a sum over the batch is taken in another order
            scale = float(expected_grads[key].abs().max()) + 1e-6
            assert float((grad - expected_grads[key]).abs().max()) < 1e-5 * max(scale, 1.0), key


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_gradient_checkpointing_sees_the_same_layout_again(name):
    base = build(CONFIGS[name])
    for module in base.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    for part in ("resid_pdrop", "embd_pdrop", "attn_pdrop", "attention_dropout"):
        if hasattr(base.config, part):
            setattr(base.config, part, 0.0)
    sequences, prompts = draw(RAGGED)
    decoder = Decoder(base)
    plain = gradients(base, run(decoder, sequences, prompts))
    base.train()
    getattr(base, "activation_checkpointing_enable", base.gradient_checkpointing_enable)({"use_reentrant": False})
    checkpointed = gradients(base, run(decoder, sequences, prompts))
    for key, grad in plain.items():
        torch.testing.assert_close(checkpointed[key], grad, atol=1e-6, rtol=1e-5)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(1, 40), st.lists(st.integers(0, 20), min_size=1, max_size=5)), min_size=1, max_size=5
    ),
    st.integers(8, 200),
    st.integers(0, 10_000),
)
def test_any_shapes(shapes, budget, seed):
    sequences, prompts = draw(shapes, seed)
    hidden = run(LLAMA, sequences, prompts, budget)
    torch.testing.assert_close(hidden, one_by_one(LLAMA.base, sequences), atol=1e-5, rtol=1e-5)


LLAMA = Decoder(build(CONFIGS["llama"]))


def test_a_score_does_not_depend_on_its_batch_or_order():
    sequences, prompts = draw(RAGGED)
    whole = run(LLAMA, sequences, prompts, 10_000)
    order = np.random.default_rng(1).permutation(len(sequences))
    mixed = run(LLAMA, [sequences[i] for i in order], [prompts[i] for i in order], 64, share=None)
    torch.testing.assert_close(mixed, whole[torch.from_numpy(order)], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kv_heads", [4, 1])
def test_portable_operations_equal_the_kernels(kv_heads):
    torch.manual_seed(0)
    joins = [Join(9, 20, 0, 5, (4, 4, 3)), Join(20, 22, 5, 9, (2,))]
    layout = make_layout([(0, 5), (5, 4), (9, 4), (13, 4), (17, 3), (20, 2)], joins, "cpu")
    tensors = [torch.randn(1, h, 22, 8, requires_grad=True) for h in (4, kv_heads, kv_heads)]
    results = []
    for portable in (False, True):
        out = packed_attention(*tensors, layout, 0.3, portable)
        results.append([out, *torch.autograd.grad((out * torch.arange(8.0)).sum(), tensors)])
    for kernel, public in zip(*results, strict=True):
        torch.testing.assert_close(kernel, public, atol=1e-5, rtol=1e-5)
    assert layout.longest == 9
    assert layout.tokens == 22


def test_attention_in_half_precision_fits_queries_in_full(monkeypatch):
    """Under autocast a GPU attends in bfloat16 and, unlike a CPU, does not widen what is copied."""
    torch.manual_seed(0)
    layout = make_layout([(0, 5), (5, 3), (8, 2)], [Join(5, 10, 0, 5, (3, 2))], "cpu")
    tensors = [torch.randn(1, 2, 10, 8) for _ in range(3)]
    full, attend = packed_attention(*tensors, layout, 0.3, True), F.scaled_dot_product_attention
    monkeypatch.setattr(F, "scaled_dot_product_attention", lambda *a, **k: attend(*a, **k).bfloat16())
    half = packed_attention(*tensors, layout, 0.3, True)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, full, atol=2e-2, rtol=2e-2)


def test_double_precision_gradcheck():
    torch.manual_seed(0)
    layout = make_layout([(0, 3), (3, 2), (5, 1)], [Join(3, 6, 0, 3, (2, 1))], "cpu")
    tensors = [torch.randn(1, 2, 6, 4, dtype=torch.float64, requires_grad=True) for _ in range(3)]
    assert torch.autograd.gradcheck(lambda *x: packed_attention(*x, layout, 0.5, False), tensors, atol=1e-6)


@pytest.mark.parametrize(
    "config",
    [
        Gemma2Config(**SIZES, head_dim=8, attn_implementation="eager"),  # soft-capped scores
        FalconConfig(vocab_size=VOCAB, hidden_size=32, num_hidden_layers=2, num_attention_heads=4),  # its own masks
    ],
    ids=["gemma2", "falcon"],
)
def test_what_cannot_be_packed_runs_padded(config):
    base = build(config)
    sequences, prompts = draw(RAGGED)
    expected = one_by_one(base, sequences)
    decoder = Decoder(base)
    assert (decoder.causal, decoder.shares) == (True, False)
    assert not any(batch.packed for batch in decoder.plan(sequences, prompts, 100))
    torch.testing.assert_close(run(decoder, sequences, prompts), expected, atol=1e-5, rtol=1e-5)


def test_an_encoder_is_padded_with_a_mask():
    config = BertConfig(
        vocab_size=VOCAB, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4
    )
    base = build(config)
    sequences, prompts = draw(RAGGED)
    decoder = Decoder(base)
    assert (decoder.causal, decoder.shares) == (False, False)
    torch.testing.assert_close(run(decoder, sequences, prompts), one_by_one(base, sequences), atol=1e-5, rtol=1e-5)


def test_beyond_the_attention_window_sequences_are_padded():
    base = build(MistralConfig(**SIZES, sliding_window=20))
    sequences, prompts = draw([(15, [3, 4]), (15, [6, 9])])
    expected = one_by_one(base, sequences)
    decoder = Decoder(base)
    assert decoder.shares
    batches = decoder.plan(sequences, prompts, 1000)
    assert {row: batch.packed for batch in batches for row in batch.rows} == {0: True, 1: True, 2: False, 3: False}
    torch.testing.assert_close(run(decoder, sequences, prompts), expected, atol=1e-5, rtol=1e-5)
    layout = make_layout([(0, 24)], [], "cpu")
    with laid_out(layout), pytest.raises(NotShareable, match="window of 20"):
        base(input_ids=torch.tensor(sequences[3][:24])[None])


def test_dropout_in_force_is_refused_rather_than_ignored():
    base = build(GPT2Config(vocab_size=VOCAB, **GPT2))
    decoder = Decoder(base)
    base.train()
    sequences, prompts = draw([(10, [5, 5])])
    with pytest.raises(NotShareable, match="dropout"):
        run(decoder, sequences, prompts)


def test_outside_a_packed_pass_the_model_is_what_it_was():
    plain, wrapped = build(CONFIGS["llama"]), Decoder(build(CONFIGS["llama"])).base
    ids, mask = torch.randint(3, VOCAB, (2, 12)), torch.ones(2, 12, dtype=torch.long)
    mask[0, :4] = 0
    torch.testing.assert_close(
        wrapped(input_ids=ids, attention_mask=mask)[0], plain(input_ids=ids, attention_mask=mask)[0]
    )


# ---------------------------------------------------------------------- planning


def test_the_planner_shares_long_prompts_and_leaves_short_ones_alone():
    base = build(LlamaConfig(**{**SIZES, "hidden_size": 64, "intermediate_size": 128}))
    decoder = Decoder(base)
    decoder.prices = Prices(pair=1e-3, join=1e-3, call=5.0)
    sequences, prompts = draw([(60, [8] * 6), (3, [8, 8]), (40, [8])])
    groups = [g for batch in decoder.plan(sequences, prompts, 10_000) for g in batch.groups]
    assert [g.rows for g in groups if g.prefix] == [(0, 1, 2, 3, 4, 5)]
    assert next(g.prefix for g in groups if g.prefix) >= 60
    assert sorted(row for g in groups for row in g.rows) == list(range(9))
    never = decoder.plan(sequences, prompts, 10_000, share=False)
    assert not any(g.prefix for batch in never for g in batch.groups)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 300), st.lists(st.integers(1, 80), min_size=2, max_size=12), st.floats(0, 0.05))
def test_the_plan_never_costs_more_than_apart(prefix, rest, pair):
    prices = Prices(pair, pair * 0.6, 4.0)
    decoder = Decoder.__new__(Decoder)
    decoder.prices, decoder.shares, decoder.limit, decoder._alone = prices, True, 10**9, False
    sequences, prompts = draw([(prefix, rest)])
    lengths = np.array([len(s) for s in sequences])
    batches = decoder.plan(sequences, prompts, 400)
    cost = 0.0
    for group in (g for b in batches for g in b.groups):
        own = lengths[list(group.rows)]
        cost += prices.shared(group.prefix, own) if group.prefix else prices.apart(own)
    assert cost <= prices.apart(lengths) + 1e-6


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(1, 60), st.lists(st.integers(0, 30), min_size=1, max_size=8)), min_size=1, max_size=6
    ),
    st.integers(20, 300),
    st.booleans(),
)
def test_batches_hold_every_sequence_once_within_the_budget(shapes, budget, packs):
    decoder = Decoder.__new__(Decoder)
    decoder.prices, decoder.shares, decoder.limit, decoder._alone = Prices(0.0, 0.0, 0.0), packs, 10**9, False
    sequences, prompts = draw(shapes)
    batches = decoder.plan(sequences, prompts, budget, share=True)
    assert sorted(row for b in batches for row in b.rows) == list(range(len(sequences)))
    for batch in batches:
        prefix = max(g.prefix for g in batch.groups)
        longest = max(len(sequences[row]) for row in batch.rows)
        assert batch.tokens <= max(budget, 2 * prefix, longest)


def test_common_prefix_and_padding():
    assert common_prefix([np.array([1, 2, 3]), np.array([1, 2]), np.array([1, 2, 4])]) == 2
    assert common_prefix([np.array([1]), np.array([2])]) == 0
    ids, lengths = pad([[5, 6, 7], [8]])
    assert ids.tolist() == [[5, 6, 7], [8, 8, 8]]
    assert lengths.tolist() == [3, 1]
