"""Prompts with images for vision-language models of transformers: as text, as tokens, and as pixels.

A prompt is rendered by the processor's chat template, each image as the template writes one, followed by the hash of
its content; so equal texts are equal prompts. The processor turns everything up to the last image into tokens and
pixels, once for all that is asked about it; what follows is text, tokenised as of any model.

Templates may draw the images of a message together; a text that speaks of "image 2" is understood all the same.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch

from guerdon.encode.hidden import opening, quiet
from guerdon.encode.media import Medium
from guerdon.encode.rendering import clean
from guerdon.errors import BackendError, need
from guerdon.feedback.messages import Message, Text, as_messages, as_pieces, as_text, image_of
from guerdon.generate.checkpoint import TURN, Checkpoint, Refused
from guerdon.generate.pictures import Picture, images_in, open_picture

MARK = "\ue001"
MARKED = re.compile(f"{MARK}([0-9a-f]+){MARK}")


@dataclass(frozen=True)
class Seen:
    """The beginning of a prompt, to its last image.

    tokens   int64 [T]
    beside   what goes with each token, by name, [T]
    pixels   what belongs to the images, by name; the first axis is joined in a batch
    """

    tokens: np.ndarray
    beside: dict[str, torch.Tensor]
    pixels: dict[str, torch.Tensor]

    @property
    def form(self) -> tuple[Any, ...]:
        """Equal where pixels can be joined."""
        return tuple((name, tuple(value.shape[1:])) for name, value in sorted(self.pixels.items()))


class VisionCheckpoint(Checkpoint):
    """A vision-language model, opened with its processor; the options are those of :class:`Checkpoint`."""

    sees = ("image",)
    opens = "AutoModelForImageTextToText"

    def __init__(self, name: str, **options: Any) -> None:
        super().__init__(name, **options)
        self._depth = 0
        self._images: dict[str, Any] = {}
        self._seen: dict[str, Seen] = {}

    @cached_property
    def processor(self) -> Any:
        """What makes tokens and pixels of texts and images."""
        try:
            import PIL  # noqa: F401
        except ImportError:
            raise need("Pillow", "judge") from None
        try:
            from transformers import AutoProcessor
        except ImportError:
            raise need("transformers", "text") from None
        try:
            with opening(self.name), quiet():
                processor = AutoProcessor.from_pretrained(self.source.name, revision=self.source.revision)
        except ImportError as error:  # one that reads videos, too, needs torchvision
            said = " ".join(str(error).split())[:120]
            raise BackendError(f"{self.name}: its processor cannot be opened: {said}") from None
        if not hasattr(processor, "image_processor"):
            raise BackendError(f"{self.name} has no image processor: preprocessor_config.json is missing")
        return processor

    @cached_property
    def tokenizer(self) -> Any:
        """The processor's tokenizer."""
        return self.processor.tokenizer

    @property
    def chats(self) -> bool:
        """Whether prompts go through a chat template."""
        return self.template == "auto" and bool(getattr(self.processor, "chat_template", None))

    @cached_property
    def _place(self) -> str:
        """The token that stands for an image before the processor spreads it."""
        known = [getattr(self.processor, name, None) for name in ("boi_token", "image_token")]
        tokens = [str(token) for token in known if token]
        if not tokens:
            raise BackendError(f"{self.name}: its processor names no token for images; such models are not supported")
        if not self.chats:
            return tokens[-1]
        said = self._chat([{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "?"}]}])
        return next((token for token in tokens if said.count(token) == 1), tokens[-1])

    @contextmanager
    def looking(self) -> Iterator[None]:
        """What was made of images is forgotten at the end of the outermost."""
        with self._lock:
            self._depth += 1
            try:
                yield
            finally:
                self._depth -= 1
                if not self._depth:
                    self._images.clear()
                    self._seen.clear()

    def prompt_text(self, prompt: Text, role: str = "assistant") -> str:
        """All that stands before a reply, or before the next turn of ``role``, with marked images."""
        messages = as_messages(prompt)
        pictures = [open_picture(source) for source in images_in(messages)]
        for picture in pictures:
            self._load(picture)
        if self.chats:
            turn = [] if role == "assistant" else [{"role": role, "content": [{"type": "text", "text": TURN}]}]
            text = self._chat([self._plain(m) for m in messages] + turn, add_generation_prompt=role == "assistant")
            if turn and (at := text.rfind(TURN)) >= 0:
                text = text[:at]
            elif turn:
                raise Refused(f"the chat template leaves out what the {role} says")
        else:
            place = f"{self._place}\n"
            text = "".join(self.own(p) if isinstance(p, str) else place for p in as_pieces(messages))
            text += "" if role == "assistant" else f"\n\n{role}: "
        around = text.split(self._place)
        if len(around) != len(pictures) + 1:
            raise Refused(f"the chat template shows {len(around) - 1} of {len(pictures)} images")
        marked = [f"{self._place}{MARK}{picture.digest}{MARK}" for picture in pictures]
        text = "".join(f"{a}{b}" for a, b in zip(around, [*marked, ""], strict=True))
        if pictures:
            self.look(head_of(text))
        return text

    def _chat(self, messages: list[Message], *, add_generation_prompt: bool = True) -> str:
        from jinja2 import TemplateError

        try:
            return self.processor.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=add_generation_prompt
            )
        except (TemplateError, KeyError, TypeError, ValueError) as error:
            raise Refused(f"the chat template refuses these messages: {error}"[:200]) from None

    def _plain(self, message: Message) -> Message:
        """A message as templates of vision models expect it: a list of parts, images without their content."""
        content = message.get("content")
        parts = content if isinstance(content, list) else [content or ""]
        out = [
            {"type": "image"}
            if image_of(part) is not None
            else {"type": "text", "text": self.own(as_text([{"role": "user", "content": _alone(part)}]))}
            for part in parts
        ]
        return {**message, "content": out}

    def own(self, text: str) -> str:
        """A text of somebody's, which can put no image of its own into the prompt."""
        text = clean(text).replace(MARK, "")
        return text.replace(self._place, f"{self._place[0]} {self._place[1:]}")

    def _load(self, picture: Picture) -> None:
        """Decode an image, once."""
        if picture.digest in self._images:
            return
        if picture.web:
            raise Refused(f"image {picture.source}: it is on the web, and is not fetched; give a file or a data URL")
        from PIL import Image, ImageOps

        try:
            with Image.open(io.BytesIO(picture.read())) as image:  # upright, as transformers opens images
                self._images[picture.digest] = ImageOps.exif_transpose(image).convert("RGB")
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            which = str(Medium("image", picture.source, "")).removeprefix(": ")
            raise Refused(f"{which}: it cannot be decoded ({str(error)[:100]})") from None

    def look(self, head: str) -> Seen:
        """Tokens and pixels of the beginning of a prompt."""
        if head not in self._seen:
            images = [self._images[digest] for digest in MARKED.findall(head)]
            try:
                with quiet():
                    made = self.processor(
                        text=[MARKED.sub("", head)],
                        images=[images],
                        add_special_tokens=not self.chats,
                        return_tensors="pt",
                    )
            except (ValueError, TypeError, RuntimeError) as error:
                raise Refused(f"the processor refuses these images: {error}"[:200]) from None
            ids = made.pop("input_ids")
            made.pop("attention_mask", None)
            tensors = {name: value for name, value in made.items() if isinstance(value, torch.Tensor)}
            beside = {name: value[0] for name, value in tensors.items() if value.shape == ids.shape}
            pixels = {name: value for name, value in tensors.items() if name not in beside}
            self._seen[head] = Seen(ids[0].numpy().astype(np.int64), beside, pixels)
        return self._seen[head]

    def tokens(self, texts: Sequence[str]) -> list[np.ndarray]:
        """int64 token ids of rendered texts, images spread out."""
        place = self.tokenizer.convert_tokens_to_ids(self._place)
        out = super().tokens([MARKED.sub("", text) for text in texts])
        for i, text in enumerate(texts):
            if head := head_of(text):
                after = np.flatnonzero(out[i] == place)[len(MARKED.findall(head)) - 1] + 1
                out[i] = np.concatenate([self.look(head).tokens, out[i][after:]])
        return out


def head_of(text: str) -> str:
    """A rendered prompt to its last marked image; "" without one."""
    at = text.rfind(MARK)
    return text[: at + 1]


def _alone(part: Any) -> Any:
    return part if isinstance(part, str) else [part]
