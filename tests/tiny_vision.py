"""Tiny vision-language models, built from scratch with seeded random weights and saved as the hub has them.

Two that pack images differently: LLaVA (one tensor an image, as many tokens for all) and Idefics3, SmolVLM's forerunner
(a tensor of all images of a prompt, split in tiles by their size, with a mask). Their processors need Pillow alone.
"""

from pathlib import Path
from typing import Any

from tiny_models import _llama_config, tiny_tokenizer

LENGTH = 4096

TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' }}"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}{{ '<image>' }}{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}{{ '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


def tiny_llava(path: Path | str, *, chat_template: bool = True, seed: int = 0) -> Path:
    """A LLaVA of a CLIP tower and a Llama, both of width 32, that reads images of 16 x 16 as 16 tokens."""
    from transformers import CLIPVisionConfig, LlavaConfig, LlavaForConditionalGeneration, LlavaProcessor
    from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil

    tokenizer = tiny_tokenizer(chat_template=False)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>", "<image>"]})
    images = LlavaImageProcessorPil(size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16})
    processor = LlavaProcessor(
        images,
        tokenizer,
        patch_size=4,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=TEMPLATE if chat_template else None,
    )
    vision = CLIPVisionConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, image_size=16, patch_size=4,
        initializer_factor=8.0,
    )  # fmt: skip
    config = LlavaConfig(
        vision_config=vision,
        text_config=_text_config(tokenizer),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        vision_feature_layer=-1,
    )
    return _saved(LlavaForConditionalGeneration, config, processor, path, seed)


def tiny_idefics3(path: Path | str, *, split: bool = True, seed: int = 0) -> Path:
    """An Idefics3 of width 32; images of up to 32 x 32 are split in tiles of 16 x 16, each of 4 tokens."""
    from transformers import Idefics3Config, Idefics3ForConditionalGeneration, Idefics3Processor
    from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil

    tokenizer = tiny_tokenizer(chat_template=False)
    images = Idefics3ImageProcessorPil(
        size={"longest_edge": 32}, max_image_size={"longest_edge": 16}, do_image_splitting=split
    )
    processor = Idefics3Processor(images, tokenizer, image_seq_len=4, chat_template=TEMPLATE)
    config = Idefics3Config(
        vision_config={
            "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
            "image_size": 16, "patch_size": 4, "initializer_range": 0.3,
        },
        text_config=_text_config(tokenizer),
        image_token_id=processor.image_token_id,
        scale_factor=2,
        pad_token_id=tokenizer.pad_token_id,
        initializer_range=0.3,
    )  # fmt: skip
    return _saved(Idefics3ForConditionalGeneration, config, processor, path, seed)


def tiny_qwen2_vl(path: Path | str, *, seed: int = 0) -> Path:
    """A Qwen2-VL of width 32, saved without its processor, which reads videos and so needs torchvision."""
    from transformers import Qwen2VLConfig, Qwen2VLForConditionalGeneration

    tokenizer = qwen_tokenizer()
    text = {k: v for k, v in _text_config(tokenizer).to_dict().items() if k not in ("rope_parameters", "model_type")}
    ids = {f"{kind}_token_id": tokenizer.convert_tokens_to_ids(f"<|{kind}_pad|>") for kind in ("image", "video")}
    marks = {f"vision_{at}_token_id": tokenizer.convert_tokens_to_ids(f"<|vision_{at}|>") for at in ("start", "end")}
    config = Qwen2VLConfig(
        text_config=text | {"rope_parameters": {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 1e4}},
        vision_config={"depth": 2, "embed_dim": 32, "hidden_size": 32, "num_heads": 2, "patch_size": 4},
        initializer_range=0.3,
        **ids,
        **marks,
    )
    return _saved(Qwen2VLForConditionalGeneration, config, tokenizer, path, seed)


def qwen_tokenizer() -> Any:
    """Its tokenizer, with marks of images."""
    tokenizer = tiny_tokenizer(chat_template=False)
    names = ["<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]
    tokenizer.add_special_tokens({"additional_special_tokens": names})
    return tokenizer


def qwen_processor() -> Any:
    """Its processor but for videos."""
    from transformers import Qwen2VLProcessor
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    class Still(Qwen2VLProcessor):
        def check_argument_for_proper_class(self, argument_name: str, argument: Any) -> Any:
            return type(argument)

    images = Qwen2VLImageProcessorPil(patch_size=4, min_pixels=64, max_pixels=4096)
    template = TEMPLATE.replace("<image>", "<|vision_start|><|image_pad|><|vision_end|>")
    return Still(images, qwen_tokenizer(), object(), chat_template=template)


def _text_config(tokenizer: Any) -> Any:
    config = _llama_config(tokenizer)
    config.max_position_embeddings = tokenizer.model_max_length = LENGTH
    return config


def _saved(kind: Any, config: Any, processor: Any, path: Path | str, seed: int) -> Path:
    import torch

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = kind(config)
    model.eval().save_pretrained(path)
    processor.save_pretrained(path)
    return Path(path)
