"""Local vision-language models: images reach the model as transformers itself would put them there, batched or not."""

import base64
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from guerdon.errors import BackendError, ConfigError, FeedbackError
from guerdon.generate import load_language_model
from guerdon.generate.local import LocalModel
from guerdon.generate.vision import VisionModel
from image_judge import COLOURS, square
from tiny_models import tiny_causal_lm
from tiny_vision import qwen_processor, tiny_idefics3, tiny_llava, tiny_qwen2_vl

MAKERS: dict[str, Callable[..., Path]] = {"llava": tiny_llava, "idefics3": tiny_idefics3, "qwen2_vl": tiny_qwen2_vl}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {name: make(tmp_path_factory.mktemp(name)) for name, make in MAKERS.items()}


@pytest.fixture(params=list(MAKERS))
def model(request: pytest.FixtureRequest, folders: dict[str, Path]) -> VisionModel:
    found = load_language_model(f"hf:{folders[request.param]}", device="cpu")
    assert isinstance(found, VisionModel)
    if request.param == "qwen2_vl":  # its own needs torchvision, for videos
        found.__dict__["processor"] = qwen_processor()
    return found


def image(colour: str, seed: int = 0, side: int = 20) -> dict[str, Any]:
    raw = square(COLOURS[colour], seed, side)
    return {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{base64.b64encode(raw).decode()}"}}


def asked(*parts: Any) -> list[dict[str, Any]]:
    return [{"role": "user", "content": [{"type": "text", "text": p} if isinstance(p, str) else p for p in parts]}]


PROMPTS: list[Any] = [
    asked(image("red"), "What colour?"),
    asked(image("blue"), "What colour?"),
    "no image here",
    asked(image("red"), image("blue", side=40), "a longer question about both of them?"),
    asked("before", image("green", side=13), "after"),
    [{"role": "system", "content": "Be brief."}, *asked(image("yellow", 3), "?")],
]


def theirs(model: VisionModel, prompt: Any, response: str) -> float:
    """log p(response | prompt) as transformers alone computes it, from the processor on the whole text."""
    from PIL import Image

    if isinstance(prompt, str):
        prompt = asked(prompt)
    images, messages = [], []
    for message in prompt:
        content = message["content"]
        parts = []
        for part in [{"type": "text", "text": content}] if isinstance(content, str) else content:
            if part["type"] == "image_url":
                raw = base64.b64decode(part["image_url"]["url"].partition(",")[2])
                images.append(Image.open(io.BytesIO(raw)).convert("RGB"))
                part = {"type": "image"}
            parts.append(part)
        messages.append({"role": message["role"], "content": parts})
    processor = model.processor
    before = processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    sizes, ids = [], torch.zeros(0)
    for text in (before, before + response):
        if images:
            inputs = processor(text=[text], images=[images], add_special_tokens=False, return_tensors="pt")
        else:
            inputs = processor.tokenizer([text], add_special_tokens=False, return_tensors="pt")
        ids = inputs["input_ids"][0]
        sizes.append(len(ids))
    with torch.inference_mode():
        logprob = torch.log_softmax(model.model(**inputs).logits[0].double(), -1)  # type: ignore[possibly-undefined]
    return float(sum(logprob[t - 1, ids[t]] for t in range(sizes[0], sizes[1])))


def test_likelihoods_are_those_of_transformers_alone_batched_or_not(model: VisionModel) -> None:
    responses = ["yes", "no, not at all"]
    prompts = [p for p in PROMPTS for _ in responses]
    together = model.loglikelihood(prompts, responses * len(PROMPTS))
    assert together.status == ["scored"] * len(prompts)
    for i, (prompt, response) in enumerate(zip(prompts, responses * len(PROMPTS), strict=True)):
        assert together.total[i] == pytest.approx(theirs(model, prompt, response), abs=1e-4)
        assert model.loglikelihood([prompt], [response]).total[0] == pytest.approx(together.total[i], abs=1e-4)


def test_replies_in_a_batch_are_those_of_prompts_alone(model: VisionModel) -> None:
    for settings in ({"temperature": 0.0}, {"temperature": 1.0, "seed": 7}):
        together = model.generate(PROMPTS, 2, max_tokens=6, logprobs=True, **settings)
        assert together.status == ["answered"] * 12
        for i, prompt in enumerate(PROMPTS):
            alone = model.generate([prompt], 2, max_tokens=6, logprobs=True, **settings)
            assert alone.text == together.of(i).text
            for one, same in zip(alone.logprobs, together.of(i).logprobs, strict=True):
                assert one is not None
                assert same is not None
                np.testing.assert_allclose(one.logprob, same.logprob, atol=1e-4)


def test_the_greedy_reply_is_the_most_probable_by_the_likelihoods(model: VisionModel) -> None:
    """generate (padded left, with a cache) and loglikelihood (padded right, one pass) look at the same image."""
    replies = model.generate(PROMPTS, temperature=0.0, max_tokens=1, logprobs=True)
    logits = torch.from_numpy(model.logits(PROMPTS))
    for i, given in enumerate(replies.logprobs):
        assert given is not None
        assert given.logprob[0] == pytest.approx(float(torch.log_softmax(logits[i].double(), -1).max()), abs=1e-4)


def test_labels_are_judged_by_the_image(model: VisionModel) -> None:
    found = model.label_probabilities(PROMPTS, ["yes", "no"])
    assert found.status == ["answered"] * len(PROMPTS)
    assert np.isfinite(found.normalized).all()
    assert not np.allclose(found.value[0], found.value[1], rtol=0.05, atol=0)  # the same words, another image
    for i, prompt in enumerate(PROMPTS):
        np.testing.assert_allclose(
            model.label_probabilities([prompt], ["yes", "no"]).value[0], found.value[i], rtol=1e-3
        )


def test_half_precision_takes_the_pixels_along(model: VisionModel) -> None:
    half = load_language_model(f"hf:{model.name}", device="cpu", dtype="bfloat16")
    half.__dict__["processor"] = model.processor
    exact = model.loglikelihood(PROMPTS, ["yes"] * len(PROMPTS)).total
    np.testing.assert_allclose(half.loglikelihood(PROMPTS, ["yes"] * len(PROMPTS)).total, exact, atol=0.5)
    assert half.generate(PROMPTS, max_tokens=2).status == ["answered"] * len(PROMPTS)


def test_more_images_than_are_held_at_once_change_nothing(model: VisionModel, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = model.loglikelihood(PROMPTS, ["yes"] * len(PROMPTS)).total
    monkeypatch.setattr("guerdon.generate.vision.AT_ONCE", 1)
    np.testing.assert_allclose(model.loglikelihood(PROMPTS, ["yes"] * len(PROMPTS)).total, whole, atol=1e-4)
    assert not model._images
    assert not model._seen  # nothing is held when all is said


def test_an_image_is_looked_at_once_for_all_that_is_asked_about_it(
    model: VisionModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    process = model.processor.image_processor.preprocess
    monkeypatch.setattr(
        model.processor.image_processor,
        "preprocess",
        lambda images, *args, **kwargs: (calls.append(1), process(images, *args, **kwargs))[1],
    )
    model.loglikelihood([PROMPTS[0]] * 5, ["a", "b", "c", "yes", "no"])
    assert len(calls) == 1


def test_prompt_tokens_count_those_of_images(model: VisionModel) -> None:
    with_image, without = model.generate([PROMPTS[0], asked("What colour?")], max_tokens=1).rows
    assert with_image.prompt_tokens - without.prompt_tokens >= 4


def test_texts_cannot_bring_images_of_their_own(model: VisionModel) -> None:
    place = model._place
    assert place in ("<image>", "<|image_pad|>")
    said = f"look: {place}{place} \ue001abc\ue001"
    replies = model.generate([said, asked(image("red"), said)], max_tokens=2, temperature=0.0)
    assert replies.status == ["answered", "answered"]
    assert (
        model.loglikelihood([asked(image("red"), "?")] * 2, [f"it is {place}", f"it is {place[0]} {place[1:]}"]).status
        == ["scored"] * 2
    )


def test_an_image_that_cannot_be_shown_is_a_row_with_a_reason(model: VisionModel, tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(square(COLOURS["red"])[:60])
    parts = [{"type": "image_url", "image_url": {"url": str(s)}} for s in (broken, "https://example.org/a.png")]
    found = model.generate([asked(parts[0], "?"), asked(parts[1], "?"), PROMPTS[0]], max_tokens=1)
    assert found.status == ["failed", "failed", "answered"]
    assert "broken.png: it cannot be decoded" in str(found.reason[0])
    assert "it is on the web, and is not fetched" in str(found.reason[1])
    with pytest.raises(FeedbackError, match=r"gone\.png: no such file"):
        model.generate([asked({"type": "image_url", "image_url": {"url": str(tmp_path / "gone.png")}}, "?")])


def test_photographs_are_turned_upright_and_have_three_channels(model: VisionModel, tmp_path: Path) -> None:
    from PIL import Image

    upright = Image.fromarray((np.arange(20 * 12 * 3) % 251).reshape(20, 12, 3).astype(np.uint8))
    lying = upright.transpose(Image.Transpose.ROTATE_90)  # the camera was held so, and says it
    exif = Image.Exif()
    exif[0x0112] = 6
    upright.save(tmp_path / "a.png")
    lying.save(tmp_path / "b.png", exif=exif)
    upright.convert("RGBA").save(tmp_path / "c.webp", lossless=True)
    parts = [{"type": "image_url", "image_url": {"url": str(tmp_path / name)}} for name in ("a.png", "b.png", "c.webp")]
    found = model.loglikelihood([asked(part, "?") for part in parts], ["yes"] * 3).total
    np.testing.assert_allclose(found, found[0], atol=1e-4)


def test_what_the_user_says_next_depends_on_the_image(model: VisionModel) -> None:
    chat = [[*prompt, {"role": "assistant", "content": "Yes."}] for prompt in PROMPTS[:2]]
    first, second = model.loglikelihood(chat, ["Thanks!"] * 2, role="user").total
    assert np.isfinite([first, second]).all()
    assert first != pytest.approx(second, abs=1e-3)


def test_without_a_chat_template_images_stand_where_they_are(tmp_path: Path) -> None:
    model = load_language_model(f"hf:{tiny_llava(tmp_path, chat_template=False)}", device="cpu")
    assert isinstance(model, VisionModel)
    assert not model.chats
    text = model.prompt_text(asked("before", image("red"), "after"))
    assert [text.split("\ue001")[0], text.split("\ue001")[2]] == ["before\n<image>", "\n\nafter"]
    found = model.loglikelihood(PROMPTS[:2], ["yes", "yes"])
    assert found.status == ["scored", "scored"]
    assert found.total[0] != found.total[1]


def test_a_lora_adapter_of_a_vision_model_opens_it(folders: dict[str, Path], tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForImageTextToText

    torch.manual_seed(0)
    config = LoraConfig(r=2, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    adapted: Any = get_peft_model(AutoModelForImageTextToText.from_pretrained(folders["llava"]), config)
    adapted.save_pretrained(tmp_path)
    tuned = load_language_model(f"hf:{tmp_path}", device="cpu")
    assert tuned.sees == ("image",)
    plain = load_language_model(f"hf:{folders['llava']}", device="cpu")
    found = [m.loglikelihood(PROMPTS[:1], ["yes"]).total[0] for m in (tuned, plain)]
    assert np.isfinite(found).all()
    assert found[0] != pytest.approx(found[1], abs=1e-2)


def test_which_models_see(folders: dict[str, Path], tmp_path: Path) -> None:
    spec = f"hf:{folders['llava']}"
    assert load_language_model(spec).sees == ("image",)
    blind = load_language_model(spec, sees="none", device="cpu")
    assert type(blind) is LocalModel
    assert blind.sees == ()
    text = f"hf:{tiny_causal_lm(tmp_path / 'lm')}"
    assert type(load_language_model(text)) is LocalModel
    with pytest.raises(ConfigError, match=r"sees=image: .* is no vision-language model"):
        load_language_model(text, sees="image")
    with pytest.raises(ConfigError, match=r"no option 'colour'; it has: .*batch_tokens"):
        load_language_model(spec, colour=1)
    broken = load_language_model(f"hf:{folders['qwen2_vl']}", device="cpu")
    with pytest.raises(BackendError, match=r"cannot be opened: .*image processor"):
        broken.generate(["hi"])
    with pytest.raises(BackendError, match="no model folder"):
        load_language_model("hf:./nowhere")
