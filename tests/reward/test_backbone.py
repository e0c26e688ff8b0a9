"""Fitting a transformer end to end: it learns what was planted, and what it saves gives the same numbers elsewhere."""

import json
import logging

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

import guerdon
from guerdon.encode.prefix import base_of
from guerdon.errors import ConfigError, FeedbackError, ModelError
from guerdon.feedback.schema import Candidates, Judgement
from guerdon.feedback.star import Feedback
from guerdon.reward.learned import finetune
from guerdon.reward.learned.backbone import BackboneReward
from guerdon.reward.learned.backbone_model import open_backbone, save_memory
from guerdon.reward.learned.checkpoints import Checkpoint
from guerdon.reward.learned.classifier import SequenceClassifierReward
from guerdon.reward.learned.finetune import Recipe, train
from guerdon.reward.learned.likelihood import compile_likelihood
from guerdon.reward.learned.lora import add_lora, merge_lora
from guerdon.reward.learned.minibatches import Sizes, Texts, centring, local, members, over, steps_of
from guerdon.reward.registry import MODELS
from guerdon.testing import check_reward
from tiny_models import tiny_bert, tiny_causal_lm, tiny_classifier

WORDS = ("the", "and", "rain", "sky", "blue", "fruit", "apple", "pear", "plum", "house", "tree", "of", "in")
FAST = {"batch": 16, "learning_rate": 3e-3, "head_learning_rate": 3e-3, "epochs": 6, "patience": 30}


def planted(n: int, seed: int, responses: int = 2) -> Feedback:
    """Comparisons in which the response with an exclamation mark is preferred."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(n):
        texts = [" ".join(rng.choice(WORDS, rng.integers(2, 5))) for _ in range(responses)]
        best = int(rng.integers(responses))
        words = texts[best].split()
        words.insert(int(rng.integers(len(words) + 1)), "!")
        texts[best] = " ".join(words)
        prompt = f"{i}: " + " ".join(rng.choice(WORDS, 2))
        rows.append(Judgement(prompt, tuple(texts), tuple(float(j == best) for j in range(responses))))
    return Feedback.of(rows)


def accuracy(reward, feedback: Feedback) -> float:
    pairs, value = feedback.pairs(ties=False), reward.score(feedback.candidates).value
    return float(np.mean((value[pairs.a] > value[pairs.b]) == (pairs.p > 0.5)))


@pytest.fixture(scope="module")
def lm(tmp_path_factory):
    return tiny_causal_lm(tmp_path_factory.mktemp("lm") / "m", chat_template=False, pad="eos")


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return tiny_bert(tmp_path_factory.mktemp("bert") / "m")


@pytest.fixture(scope="module")
def fitted(lm):
    return BackboneReward(backbone=str(lm), tuning="full", **FAST).fit(planted(400, 1))


# ---------------------------------------------------------------------- learning


def test_full_tuning_learns_what_was_planted(fitted):
    assert accuracy(fitted, planted(150, 9)) > 0.9
    held = fitted.summary["held_out_loss"]
    assert min(loss for _, loss in held) < 0.7 * held[0][1]
    assert fitted.summary["data"] + fitted.summary["held_out"] == 400


def test_lora_learns_and_leaves_a_plain_model(lm):
    rates = {"learning_rate": 1e-2, "head_learning_rate": 1e-2}
    reward = BackboneReward(backbone=str(lm), tuning="lora", lora_rank=8, **{**FAST, **rates})
    reward.fit(planted(300, 1))
    assert accuracy(reward, planted(150, 9)) > 0.9
    assert not any("lora" in name for name, _ in reward.model.named_parameters())


def test_encoders_learn_too(bert):
    reward = BackboneReward(backbone=str(bert), tuning="full", **FAST).fit(planted(300, 1))
    assert accuracy(reward, planted(150, 9)) > 0.9


def test_head_alone_is_the_convex_optimum_and_fine_tuning_never_ends_worse(lm):
    data, held = planted(120, 1), planted(60, 2)
    head = BackboneReward(backbone=str(lm), tuning="head").fit(data, validation=held)
    full = BackboneReward(backbone=str(lm), tuning="full", **{**FAST, "epochs": 1}).fit(data, validation=held)
    start, losses = full.summary["held_out_loss"][0][1], [loss for _, loss in full.summary["held_out_loss"]]
    value, pairs = head.score(held.candidates).value, held.pairs()
    d = value[pairs.a] - value[pairs.b]
    assert np.mean(np.logaddexp(0, -d) + (1 - pairs.p) * d) == pytest.approx(start, abs=1e-4)
    value = full.score(held.candidates).value
    d = value[pairs.a] - value[pairs.b]
    assert np.mean(np.logaddexp(0, -d) + (1 - pairs.p) * d) == pytest.approx(min(losses), abs=1e-4)


def test_rankings_by_plackett_luce(lm):
    settings = {**FAST, "likelihood": "plackett-luce", "batch": 8}
    reward = BackboneReward(backbone=str(lm), tuning="full", **settings).fit(planted(160, 1, responses=3))
    assert accuracy(reward, planted(80, 9, responses=3)) > 0.9


def test_the_same_seed_gives_the_same_model(lm):
    a, b = (
        BackboneReward(backbone=str(lm), tuning="lora", **{**FAST, "epochs": 0.5}).fit(planted(60, 1)) for _ in range(2)
    )
    texts = planted(10, 3).candidates
    np.testing.assert_array_equal(a.score(texts).value, b.score(texts).value)


def test_sharing_the_prompt_changes_the_cost_but_not_the_result(lm, monkeypatch):
    from guerdon.encode.prefix import Decoder

    plan = Decoder.plan
    monkeypatch.setattr(Decoder, "plan", lambda self, s, p, budget: plan(self, s, p, budget, share=True))
    data = Feedback.of([Judgement("the rain " * 20 + str(i), ("a !", "the b"), (1.0, 0.0)) for i in range(40)])
    rewards = [
        BackboneReward(backbone=str(lm), tuning="full", **{**FAST, "epochs": 1, "share_prefix": share}).fit(data)
        for share in (True, False)
    ]
    a, b = (r.score(data.candidates).value for r in rewards)
    np.testing.assert_allclose(a, b, atol=2e-3)  # AdamW magnifies differences of rounding
    assert rewards[0].summary["token_ratio"] > 1.8
    assert rewards[1].summary["token_ratio"] <= 1.0


# ---------------------------------------------------------------------- the loop's parts


def loss_of(readout, texts, data):
    flat, _, _ = members(data)
    used = np.unique(flat)
    u = finetune.utilities(readout, texts, used, 10_000)
    return u, over(data, used)


def test_one_step_moves_the_weights_as_plain_autograd_would(lm):
    """The naive twin: u of every sequence alone, the textbook loss, loss.backward(), AdamW."""
    data = planted(12, 5)
    results = []
    for fast in (True, False):
        model, tokenizer, readout = open_backbone(str(lm), True)
        torch.manual_seed(0)
        torch.nn.init.normal_(readout.head.weight, std=0.1)
        sequences = [
            np.array(tokenizer(f"{c.prompt}\n\n{c.response}")["input_ids"], dtype=np.int64) for c in data.candidates
        ]
        texts = Texts(sequences, None, data.prompt_of)
        bt = compile_likelihood("bradley-terry", data, margin=0.5, smoothing=0.1)
        body = base_of(model)
        parameters = [(n, p, False) for n, p in body.named_parameters()]
        parameters += [(n, p, True) for n, p in readout.head.named_parameters()]
        recipe = Recipe(1e-3, 1e-2, 0.01, 1, len(data), 200, 0.0, 0.05, 9, 1, 0)
        if fast:
            train(readout, texts, bt, None, parameters, recipe)
        else:
            u = torch.cat([model(input_ids=torch.tensor(s)[None]).logits[0] for s in sequences])
            pairs = data.pairs()
            sign = torch.as_tensor(np.sign(2 * pairs.p - 1))
            d = u[pairs.a] - u[pairs.b] - 0.5 * torch.as_tensor(pairs.strength) * sign
            p = torch.as_tensor(pairs.p) * 0.9 + 0.05
            loss = -(p * torch.nn.functional.logsigmoid(d) + (1 - p) * torch.nn.functional.logsigmoid(-d)).mean()
            loss = loss + 0.05 * ((u[pairs.a] + u[pairs.b]) ** 2).mean()
            loss.backward()
            torch.nn.utils.clip_grad_norm_([q for _, q, _ in parameters], 1.0)
            torch.optim.AdamW(
                [
                    {"params": [q for _, q, h in parameters if not h and q.ndim > 1], "lr": 1e-3, "weight_decay": 0.01},
                    {"params": [q for _, q, h in parameters if not h and q.ndim < 2], "lr": 1e-3, "weight_decay": 0.0},
                    {"params": [q for _, q, h in parameters if h], "lr": 1e-2, "weight_decay": 0.01},
                ]
            ).step()
        grads = [q.grad for _, q, _ in parameters]
        results.append({n: q.detach().clone() for n, q, _ in parameters} | {"grads": grads})
    for a, b in zip(results[0].pop("grads"), results[1].pop("grads"), strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-3)
    moved = 0.0
    for name, value in results[0].items():
        # the first step of AdamW is the sign of the gradient: equal wherever the gradient is not zero by rounding
        close = (value - results[1][name]).abs() < 2e-5
        assert close.float().mean() > 0.99, name
        moved += 1
    assert moved > 20


def test_data_are_cut_into_parts_that_fit(lm):
    _, _, readout = open_backbone(str(lm), True)
    data = planted(20, 1, responses=3)
    rng = np.random.default_rng(0)
    heads = [rng.integers(5, 90, 30) for _ in range(20)]
    sequences = [np.r_[heads[p], rng.integers(5, 90, 10)] for p in data.prompt_of]
    bt = compile_likelihood("bradley-terry", data)
    flat, starts, _ = members(bt)
    sizes = Sizes(readout, Texts(sequences, None, data.prompt_of), flat)
    parts = list(sizes.cut(np.arange(len(bt)), starts, flat, 150))
    assert np.concatenate(parts).tolist() == list(range(len(bt)))
    for part in parts:
        used = {int(i) for d in part for i in flat[starts[d] : starts[d + 1]]}
        prompts = {int(data.prompt_of[i]) for i in used}
        assert sum(30 for _ in prompts) + 10 * len(used) <= 150
    assert len(parts) < len(bt) / 3


def test_likelihoods_over_fewer_candidates_are_the_same():
    data = planted(30, 2, responses=3)
    u = np.random.default_rng(0).normal(size=len(data.responses))
    for name in ("bradley-terry", "plackett-luce"):
        whole = compile_likelihood(name, data)
        part = whole.take(np.array([3, 7, 8]))
        small, used = local(part)
        a, b = part(u, part.theta0), small(u[used], small.theta0)
        assert a[0] == pytest.approx(b[0])
        np.testing.assert_allclose(a[1][used], b[1])
        eps = 1e-6
        flat, starts, weight = members(small)
        grad = centring(small, u[used])
        v = u[used].copy()

        def value(v, flat=flat, starts=starts, weight=weight):
            return (np.add.reduceat(v[flat], starts[:-1]) ** 2) @ weight / weight.sum()

        v[0] += eps
        assert grad[0] == pytest.approx((value(v) - value(u[used])) / eps, rel=1e-4)


def test_a_step_holds_a_prompts_data_together():
    prompts = np.repeat(np.arange(40), 3)
    steps = list(steps_of(prompts, 12, 20, np.random.default_rng(0)))
    assert len(steps) == 20
    assert sorted(np.concatenate(steps[:10]).tolist()) == list(range(120))
    whole = sum(len(set(prompts[step])) for step in steps[:10])
    assert whole <= 60  # 40 if none were cut


def test_lora_changes_nothing_until_trained_and_merges_exactly(lm):
    for path in (lm,):
        model, _, readout = open_backbone(str(path), True)
        ids = torch.arange(5, 25)[None]
        before = base_of(model)(input_ids=ids)[0]
        add_lora(base_of(model), 4, 8, 0)
        torch.testing.assert_close(base_of(model)(input_ids=ids)[0], before)
        adapters = [p for n, p in model.named_parameters() if "lora_B" in n]
        assert len(adapters) == 3 * 7
        with torch.no_grad():
            for p in adapters:
                p.normal_(std=0.1)
        during = base_of(model)(input_ids=ids)[0]
        assert float((during - before).detach().abs().max()) > 1e-2
        merge_lora(base_of(model))
        torch.testing.assert_close(base_of(model)(input_ids=ids)[0], during, atol=1e-5, rtol=1e-5)
        assert readout.decoder.shares


def test_gradient_checkpointing_gives_the_same_gradients_without_dropout(lm):
    grads = []
    for on in (False, True):
        model, _, readout = open_backbone(str(lm), True)
        torch.nn.init.ones_(readout.head.weight)
        if on:
            save_memory(base_of(model))
        sequences = [np.arange(5, 30), np.r_[np.arange(5, 25), 40, 41]]
        batch = readout.decoder.plan(sequences, [0, 0], 1000, share=True)[0]
        readout.values(sequences, None, batch).sum().backward()
        grads.append(torch.cat([p.grad.flatten() for p in base_of(model).parameters()]))
    torch.testing.assert_close(*grads)


def test_divergence_is_an_error_not_a_model_of_nan(lm, monkeypatch):
    true = finetune.utilities

    def broken(*args, **kwargs):
        return true(*args, **kwargs) * float("nan")

    reward = BackboneReward(backbone=str(lm), tuning="full", start="zero", **FAST)
    monkeypatch.setattr(finetune, "utilities", broken)
    with pytest.raises(ModelError, match="lower learning_rate"):
        reward.fit(planted(60, 1))


class Killed(Exception):
    """The machine went away."""


@pytest.mark.parametrize("tuning", ["full", "lora"])
def test_a_killed_fit_goes_on_where_it_was(lm, tmp_path, monkeypatch, tuning):
    settings = {**FAST, "tuning": tuning, "epochs": 2, "ties": "davidson", "backbone": str(lm)}
    data, texts = planted(100, 1), planted(10, 3).candidates
    straight = BackboneReward(**settings).fit(data)
    place = tmp_path / "state"
    once = Sizes.cut
    calls = 0

    def dies(self, *args):
        nonlocal calls
        calls += 1
        if calls == 8:
            raise Killed
        return once(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(Sizes, "cut", dies)
        with pytest.raises(Killed):
            BackboneReward(**settings, checkpoint=str(place)).fit(data)
    assert (place / "state.json").exists()
    resumed = BackboneReward(**settings, checkpoint=str(place)).fit(data)
    np.testing.assert_array_equal(resumed.score(texts).value, straight.score(texts).value)
    assert resumed.summary["held_out_loss"] == straight.summary["held_out_loss"]
    assert not place.exists()


def test_a_checkpoint_of_another_run_or_a_damaged_one_is_not_used(lm, tmp_path, caplog):
    place = tmp_path / "state"
    state = Checkpoint(place, "mine")
    state.save({"a": torch.ones(2)}, {"steps": 3})
    loaded = state.load()
    assert loaded is not None
    assert loaded[1]["steps"] == 3
    assert Checkpoint(place, "other").load() is None
    (place / "state.safetensors").write_bytes(b"x")
    assert state.load() is None
    assert "another run" in caplog.text
    assert "damaged" in caplog.text


# ---------------------------------------------------------------------- on disk


def test_decoders_save_as_sequence_classification(fitted, tmp_path):
    texts = planted(20, 4).candidates
    expected = fitted.score(texts).value
    place = fitted.save(tmp_path / "out")
    model, tokenizer = AutoModelForSequenceClassification.from_pretrained(place), AutoTokenizer.from_pretrained(place)
    assert model.config.problem_type == "regression"
    assert model.config.num_labels == 1
    assert model.config.pad_token_id == tokenizer.pad_token_id != tokenizer.eos_token_id
    pipe = pipeline("text-classification", model=str(place))
    lines = [f"{p}\n\n{r}" for p, r in zip(texts.prompts, texts.responses, strict=True)]
    np.testing.assert_allclose([pipe(line)[0]["score"] for line in lines], expected, atol=1e-5)
    batch = tokenizer(lines, padding=True, return_tensors="pt")  # their own padding finds the right token as well
    with torch.no_grad():
        np.testing.assert_allclose(model(**batch).logits[:, 0].numpy(), expected, atol=1e-5)
    plain = guerdon.load(f"hf:{place}")
    assert isinstance(plain, SequenceClassifierReward)
    np.testing.assert_allclose(plain.score(texts).value, expected, atol=1e-6)
    again = guerdon.load(str(place))
    assert isinstance(again, BackboneReward)
    np.testing.assert_allclose(again.score(texts).value, expected, atol=1e-6)
    assert again.summary["data"] == fitted.summary["data"]
    assert again.params["learning_rate"] == FAST["learning_rate"]


def test_the_selftest_carries_tokens_any_loader_can_check(fitted, tmp_path):
    place = fitted.save(tmp_path / "out")
    test = json.loads((place / "selftest.json").read_text())
    model = AutoModelForSequenceClassification.from_pretrained(place).eval()
    assert len(test["scores"]) == 3
    for ids, score in zip(test["input_ids"], test["scores"], strict=True):
        with torch.no_grad():
            assert float(model(input_ids=torch.tensor([ids])).logits[0, 0]) == pytest.approx(score, abs=1e-4)
    about = json.loads((place / "config.json").read_text())["guerdon"]
    assert about["template_hash"] == fitted.renderer.template_hash
    assert (place / "README.md").read_text().startswith("---")


def test_encoders_save_in_our_format(bert, tmp_path):
    reward = BackboneReward(backbone=str(bert), tuning="head").fit(planted(60, 1))
    texts = planted(10, 4).candidates
    place = reward.save(tmp_path / "out")
    again = BackboneReward.load(place)
    np.testing.assert_allclose(again.score(texts).value, reward.score(texts).value, atol=1e-6)
    opened = guerdon.load(str(place))
    np.testing.assert_allclose(opened.score(texts).value, reward.score(texts).value, atol=1e-6)


@pytest.mark.parametrize("kind", ["decoder", "encoder"])
def test_damage_is_found(fitted, bert, tmp_path, kind):
    from safetensors.torch import load_file, save_file

    reward = fitted if kind == "decoder" else BackboneReward(backbone=str(bert), tuning="head").fit(planted(60, 1))
    place = reward.save(tmp_path / "out")
    state = load_file(place / "model.safetensors")
    key = next(k for k in state if k.endswith("weight") and ("score" in k or kind == "encoder"))
    state[key][0, ::2] += 0.5
    save_file(state, place / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"self-test|checksum"):
        guerdon.load(str(place))
    with pytest.raises(ModelError, match="fails its self-test"):
        BackboneReward.load(place)


def test_another_template_is_found(lm, tmp_path):
    place = BackboneReward(backbone=str(lm), tuning="head").fit(planted(60, 1)).save(tmp_path / "out")
    (place / "chat_template.jinja").write_text("{{ messages[0]['content'] }}")
    with pytest.raises(ModelError, match="another chat template"):
        guerdon.load(str(place))


def test_saving_again_keeps_notes_and_replaces_the_model(fitted, tmp_path):
    place = fitted.save(tmp_path / "out")
    (place / "notes.txt").write_text("mine")
    fitted.save(place)
    assert (place / "notes.txt").read_text() == "mine"
    guerdon.load(str(place))
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").write_text("x")
    with pytest.raises(ConfigError, match="not empty"):
        fitted.save(tmp_path / "other")


def test_the_contract(fitted, bert):
    check_reward(fitted)
    check_reward(BackboneReward(backbone=str(bert), tuning="head").fit(planted(60, 1)))


# ---------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"tuning": "some"}, "tuning='some'"),
        ({"likelihood": "regression"}, "likelihood='regression'"),
        ({"learning_rate": 20}, "learning_rate=20"),
        ({"epochs": 0}, "epochs=0"),
        ({"label_smoothing": 1.0}, "label_smoothing"),
        ({"margin": -1}, "margin=-1"),
    ],
)
def test_settings_that_make_no_sense(settings, match):
    with pytest.raises(ConfigError, match=match):
        BackboneReward(**settings)


def test_backbones_that_cannot_be_used(tmp_path):
    with pytest.raises(ConfigError, match="cannot be opened"):
        BackboneReward(backbone=str(tmp_path / "nothing")).fit(planted(40, 1))
    with pytest.raises(ModelError, match="not fitted"):
        BackboneReward().score(Candidates(["a"], ["b"]))
    with pytest.raises(ModelError, match="not fitted"):
        BackboneReward().save(tmp_path / "x")


def test_texts_that_do_not_fit_are_left_out_and_counted(lm):
    bad = [Judgement("long", ("y" * 300, "n !"), (0.0, 1.0)), Judgement("", ("", "!"), (0.0, 1.0))]
    data = Feedback.concatenate([planted(60, 1), Feedback.of(bad)])
    reward = BackboneReward(backbone=str(lm), tuning="head", max_length=100).fit(data)
    assert reward.summary["candidates_left_out"] == 2
    assert reward.summary["data"] + reward.summary["held_out"] + reward.summary["data_left_out"] >= 61
    with pytest.raises(FeedbackError, match="no comparison is left"):
        BackboneReward(backbone=str(lm), max_length=5, too_long="unscored").fit(planted(40, 1))


def test_every_parameter_is_documented_in_a_line():
    rows = MODELS["backbone"].parameters()
    assert len(rows) > 15
    assert all(doc for _, _, doc in rows), [name for name, _, doc in rows if not doc]


def test_a_reward_model_can_be_the_backbone(tmp_path):
    path = tiny_classifier(tmp_path / "rm", chat_template=False, num_labels=2)
    reward = BackboneReward(backbone=str(path), tuning="head").fit(planted(60, 1))
    assert reward.model.config.num_labels == 1


@pytest.fixture(autouse=True)
def _quiet():
    logging.getLogger("transformers").setLevel(logging.ERROR)
