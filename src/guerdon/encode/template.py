"""What text a model reads for a prompt, a response, or both: plain, or through the tokenizer's chat template.

A *unit* is what one forward pass reads, and what the cache keys by:

``str``                 plain text
``(text,)``             text that already carries its special tokens (rendered by a chat template)
``(prompt, response)``  plain texts to be read as one; kept apart so that a long prompt cannot push the response out
``("chat", a, b)``      the rendered text a + b, in which all of the response is in b
"""

from __future__ import annotations

from typing import Any

from guerdon.errors import BackendError, FeedbackError
from guerdon.feedback.messages import Text, as_messages, as_text

Unit = str | tuple[str] | tuple[str, str] | tuple[str, str, str]
JOIN = "\n\n"


class PlainTemplate:
    """Texts as they are; prompt and response with an empty line between them."""

    identity = "plain"

    def single(self, text: Text, role: str) -> Unit:
        """The unit of one prompt (``role="user"``) or response (``role="assistant"``) by itself."""
        return clean(as_text(text))

    def joined(self, prompt: Text, response: Text) -> Unit:
        """The unit of prompt and response together."""
        return clean(as_text(prompt)), clean(as_text(response))


class ChatTemplate(PlainTemplate):
    """The tokenizer's chat template. A prompt alone ends where the assistant is about to speak; a response alone is
    plain text, since most templates refuse a dialogue that the assistant begins. ``apart`` tells where it begins."""

    def __init__(self, tokenizer: Any, name: str, *, apart: bool = False) -> None:
        self.tokenizer = tokenizer
        self.name, self.apart = name, apart
        self.identity = str(tokenizer.chat_template)

    def single(self, text: Text, role: str) -> Unit:
        if role == "assistant":
            return clean(as_text(text))
        return (self._render(as_messages(text, "user"), add_generation_prompt=True),)

    def joined(self, prompt: Text, response: Text) -> Unit:
        asked = as_messages(prompt, "user")
        text = self._render(asked + as_messages(response, "assistant"))
        if not self.apart:
            return (text,)
        before = self._render(asked, add_generation_prompt=True)
        at = next(
            (i for i, (a, b) in enumerate(zip(before, text, strict=False)) if a != b), min(len(before), len(text))
        )
        return "chat", text[:at], text[at:]

    def _render(self, messages: list[dict[str, Any]], **options: Any) -> str:
        from jinja2 import TemplateError

        plain = [{**m, "content": _text_content(m)} for m in messages]
        try:
            return clean(self.tokenizer.apply_chat_template(plain, tokenize=False, **options))
        except (TemplateError, TypeError, KeyError) as error:  # templates check roles and index into messages
            roles = ", ".join(str(m.get("role")) for m in messages)
            raise FeedbackError(
                f"the chat template of {self.name} refuses a dialogue of {roles} ({error}); "
                "use template=none or another model"
            ) from None


def chat_template_of(tokenizer: Any, wanted: str, name: str, *, apart: bool = False) -> PlainTemplate:
    """The template for ``wanted``: ``none``, ``chat``, or ``auto`` (chat where the tokenizer has a template)."""
    has = bool(getattr(tokenizer, "chat_template", None))
    if wanted == "chat" and not has:
        raise BackendError(f"the tokenizer of {name} has no chat template; use template=none")
    return ChatTemplate(tokenizer, name, apart=apart) if has and wanted != "none" else PlainTemplate()


def clean(text: str) -> str:
    """``text`` without lone surrogates, which tokenizers refuse (each becomes a question mark)."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def _text_content(message: dict[str, Any]) -> str:
    """Content as a string: parts are flattened, a tool call without words is the empty string."""
    content = message.get("content")
    return content if isinstance(content, str) else as_text([{"role": message.get("role", ""), "content": content}])
