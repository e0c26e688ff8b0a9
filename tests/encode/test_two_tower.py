"""Pretrained models that look or listen, on tiny random ones: the same numbers as transformers gives."""

import json
from pathlib import Path

import numpy as np
import pytest

from guerdon.encode import Encoder, load_encoder
from guerdon.encode.joined import JoinedEncoder
from guerdon.encode.two_tower import Tower, TwoTowerEncoder, resampled
from guerdon.errors import BackendError, ConfigError, FeedbackError
from guerdon.feedback.schema import Candidates
from guerdon.worlds.scenes import draw, png, scene, shown
from guerdon.worlds.tones import Tone, audio_part, sound, wav
from tiny_models import tiny_tokenizer

SIZES = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
TEXT = SIZES | {"vocab_size": 300, "max_position_embeddings": 24, "bos_token_id": 0, "eos_token_id": 1}
TEXT["pad_token_id"] = 2
VISION = SIZES | {"image_size": 32, "patch_size": 8}


def saved(folder: Path, model: object, processor: object | None = None, *, words: bool = True) -> Path:
    model.save_pretrained(folder)  # type: ignore[attr-defined]
    if processor is not None:
        processor.save_pretrained(folder)  # type: ignore[attr-defined]
    if words:
        tiny_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CLIP of two random towers."""
    import torch
    from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel

    torch.manual_seed(0)
    model = CLIPModel(CLIPConfig(text_config=TEXT, vision_config=VISION, projection_dim=12))
    processor = CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    return saved(tmp_path_factory.mktemp("clip") / "model", model, processor)


@pytest.fixture(scope="module")
def siglip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SigLIP of two random towers."""
    import torch
    from transformers import SiglipConfig, SiglipImageProcessorPil, SiglipModel

    torch.manual_seed(0)
    model = SiglipModel(SiglipConfig(text_config=TEXT | {"projection_size": 16}, vision_config=VISION))
    return saved(
        tmp_path_factory.mktemp("siglip") / "model", model, SiglipImageProcessorPil(size={"height": 32, "width": 32})
    )


@pytest.fixture(scope="module")
def vit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A vision model that reads no texts."""
    import torch
    from transformers import ViTConfig, ViTImageProcessorPil, ViTModel

    torch.manual_seed(0)
    model = ViTModel(ViTConfig(**VISION), add_pooling_layer=False)
    processor = ViTImageProcessorPil(size={"height": 32, "width": 32})
    return saved(tmp_path_factory.mktemp("vit") / "model", model, processor, words=False)


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    """Two pictures."""
    paths = [tmp_path / f"{i}.png" for i in range(2)]
    for i, path in enumerate(paths):
        rng = np.random.default_rng(i)
        path.write_bytes(png(draw(scene(rng), rng, side=48)))
    return paths


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def test_a_prompt_and_its_picture_meet_in_the_models_own_space(clip: Path, pictures: list[Path]) -> None:
    """The sum of p * r is the cosine that transformers' CLIP gives."""
    import torch
    from PIL import Image
    from transformers import AutoImageProcessor, AutoTokenizer, CLIPModel

    encoder = load_encoder(f"image:hf:{clip}")
    assert isinstance(encoder, TwoTowerEncoder)
    assert isinstance(encoder, Encoder)
    texts = ["a red ring", "a blue cross at the top left, seen from very far away on a dark and rainy evening"]
    x = encoder.encode(Candidates(texts, [shown(p, role="assistant") for p in pictures]))
    assert x.shape == (2, encoder.dim) == (2, 24)
    model = CLIPModel.from_pretrained(clip).eval()
    look, read = AutoImageProcessor.from_pretrained(clip, backend="pil"), AutoTokenizer.from_pretrained(clip)
    with torch.inference_mode():
        tokens = read(texts, padding=True, truncation=True, max_length=24, return_tensors="pt")
        seen = look([Image.open(p).convert("RGB") for p in pictures], return_tensors="pt")
        cosine = model(**{k: v for k, v in {**tokens, **seen}.items() if k != "token_type_ids"}).logits_per_image.diag()
        cosine = (cosine / model.logit_scale.exp()).numpy()
    assert x[:, 12:].sum(1) == pytest.approx(cosine, abs=1e-5)


def test_siglip_reads_texts_filled_up_as_it_was_trained(siglip: Path, pictures: list[Path]) -> None:
    import torch
    from transformers import AutoTokenizer, SiglipModel

    encoder = load_encoder(f"image:hf:{siglip}?features=response")
    x = encoder.encode(Candidates(["", ""], ["a red ring", shown(pictures[0], role="assistant")]))
    model, read = SiglipModel.from_pretrained(siglip).eval(), AutoTokenizer.from_pretrained(siglip)
    tokens = read(["a red ring"], padding="max_length", max_length=24, return_tensors="pt")
    with torch.inference_mode():
        found = model.get_text_features(input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"])
    expected = unit(getattr(found, "pooler_output", found).numpy())[0]
    assert x[0] == pytest.approx(expected, abs=1e-5)
    assert np.linalg.norm(x, axis=1) == pytest.approx([1, 1], abs=1e-5)


def test_words_beside_a_picture_count_as_one_more(clip: Path, pictures: list[Path]) -> None:
    encoder = load_encoder(f"image:hf:{clip}?features=prompt")
    rows = encoder.encode(
        Candidates([shown(pictures[0]), "what is it", shown(pictures[0], "what is it"), ""], ["", "", "", ""])
    )
    assert rows[2] == pytest.approx((rows[0] + rows[1]) / 2, abs=1e-6)
    assert np.isfinite(rows[3]).all()


def test_features_come_from_the_cache_by_content(clip: Path, pictures: list[Path]) -> None:
    first = Candidates(["a"] * 2, [shown(p, role="assistant") for p in pictures])
    x = load_encoder(f"image:hf:{clip}").encode(first)
    again = load_encoder(f"image:hf:{clip}")
    assert isinstance(again, TwoTowerEncoder)
    again.tower.read = None  # type: ignore[method-assign,assignment]  # the model must not be asked
    pictures[0].rename(pictures[0].with_name("moved.png"))
    moved = [pictures[0].with_name("moved.png"), pictures[1]]
    y = again.encode(Candidates(["a"] * 2, [shown(p, role="assistant") for p in moved]))
    assert again.computed == 0
    assert y.tobytes() == x.tobytes()


def test_one_tower_stands_beside_any_text_encoder(clip: Path, vit: Path, pictures: list[Path]) -> None:
    import torch
    from PIL import Image
    from transformers import AutoImageProcessor, ViTModel

    candidates = Candidates([shown(p, "What?") for p in pictures], ["A ring.", "A cross."])
    for folder, size in ((clip, 12), (vit, 16)):
        encoder = load_encoder(f"media?text=hash:16&image=hf:{folder}")
        assert isinstance(encoder, JoinedEncoder)
        x = encoder.encode(candidates)
        block = encoder.blocks()["image, prompt"]
        assert block.stop - block.start == size + 1
        assert np.linalg.norm(x[:, block][:, :-1], axis=1) == pytest.approx([1, 1], abs=1e-5)
        assert load_encoder(encoder.spec).fingerprint == encoder.fingerprint
    model, look = (
        ViTModel.from_pretrained(vit, add_pooling_layer=False).eval(),
        AutoImageProcessor.from_pretrained(vit, backend="pil"),
    )
    with torch.inference_mode():
        states = model(**look([Image.open(p).convert("RGB") for p in pictures], return_tensors="pt")).last_hidden_state
    assert x[:, block][:, :-1] == pytest.approx(unit(states.mean(1).numpy()), abs=1e-5)


def test_clap_listens_at_its_own_rate(tmp_path: Path) -> None:
    import torch
    from transformers import ClapConfig, ClapFeatureExtractor, ClapModel

    torch.manual_seed(0)
    audio = {"patch_embeds_hidden_size": 8, "hidden_size": 64, "depths": [1] * 4, "num_attention_heads": [1] * 4}
    audio |= {"num_mel_bins": 64, "spec_size": 256, "window_size": 2, "projection_dim": 12}
    text = TEXT | {"projection_dim": 12, "max_position_embeddings": 30}
    model = ClapModel(ClapConfig(text_config=text, audio_config=audio, projection_dim=12))
    window = {"hop_length": 160, "fft_window_size": 400, "frequency_min": 50, "frequency_max": 7000}
    extractor = ClapFeatureExtractor(
        feature_size=64, sampling_rate=16000, max_length_s=1, truncation="rand_trunc", **window
    )
    folder = saved(tmp_path / "clap", model, extractor)
    tone = [{"role": "assistant", "content": [audio_part(wav(sound(Tone(), np.random.default_rng(0))))]}]
    encoder = load_encoder(f"audio:hf:{folder}")
    x = encoder.encode(Candidates(["a beep", "a bark"], [tone, tone]))
    assert x.shape == (2, 24)
    assert np.isfinite(x).all()
    assert not np.array_equal(x[0], x[1])


def test_resampling_keeps_a_tone() -> None:
    at = np.arange(8000) / 8000
    wave = resampled(np.sin(2 * np.pi * 200 * at), 8000, 16000)
    assert wave[1000:-1000] == pytest.approx(np.sin(2 * np.pi * 200 * np.arange(16000) / 16000)[1000:-1000], abs=1e-2)


def test_what_cannot_be_opened_or_joined_says_so(clip: Path, vit: Path, tmp_path: Path, pictures: list[Path]) -> None:
    with pytest.raises(ConfigError, match=r"reads no texts; join it with a text encoder: media\?text=minilm&image=hf:"):
        load_encoder(f"image:hf:{vit}")
    with pytest.raises(ConfigError, match="two towers read prompt and response apart"):
        load_encoder(f"image:hf:{clip}?features=joined")
    with pytest.raises(BackendError, match="no model folder"):
        load_encoder("media?image=hf:./nowhere")
    tone = [{"role": "user", "content": [audio_part(b"RIFF")]}]
    with pytest.raises(FeedbackError, match="reads texts and images, no audio"):
        load_encoder(f"image:hf:{clip}").encode(Candidates([tone], ["a"]))
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "config.json").write_text(json.dumps({"model_type": "clip"}))
    with pytest.raises(BackendError, match="cannot be opened"):
        load_encoder(f"image:hf:{empty}").encode(Candidates(["a"], [shown(pictures[0], role="assistant")]))


def test_a_folder_is_named_by_its_files(clip: Path, tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(clip, copy)
    assert Tower.of("image", str(copy)).identity == Tower.of("image", str(clip)).identity
