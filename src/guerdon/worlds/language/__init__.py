"""Worlds of text with small language models trained from scratch in seconds, saved as any other model is.

:class:`Personas` writes as somebody whom the system prompt names, :class:`Conversations` are questions, answers on or
off the topic and what users say next, :class:`Attributes` are texts and questions about them. What is true of a text is
known in each. The models open with ``hf:PATH``.
"""

from guerdon.worlds.language.attributes import Attributes
from guerdon.worlds.language.conversations import Conversations
from guerdon.worlds.language.model import Dialogue, language_model, learn_dialogues
from guerdon.worlds.language.personas import Personas

__all__ = ["Attributes", "Conversations", "Dialogue", "Personas", "language_model", "learn_dialogues"]
