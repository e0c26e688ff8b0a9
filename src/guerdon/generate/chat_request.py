"""What is sent for a prompt, and what a server turned out not to take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from guerdon.feedback.messages import Message
from guerdon.generate import structured
from guerdon.generate.base import Sampling
from guerdon.generate.budget import CHARACTERS
from guerdon.generate.pictures import IMAGE_TOKENS, Picture, images_in, sent
from guerdon.generate.transport import Outcome

REJECTED = (400, 404, 415, 422, 501)
"""HTTP status of a request with a field that the server does not know."""


@dataclass
class Job:
    """One prompt and the draws of it that are missing.

    keys      [k] cache keys of the ``draws`` [k]
    pictures  the images that the messages name by their content
    """

    messages: list[Message]
    sampling: Sampling
    schema: Mapping[str, Any] | None
    schema_name: bytes
    draws: list[int]
    keys: list[bytes]
    pictures: Mapping[str, Picture] = field(default_factory=dict)

    @property
    def characters(self) -> int:
        """Length of what the model reads, for estimates; an image counts as the text that costs as much."""
        text = sum(len(str(m.get("content") or "")) for m in self.messages)
        return text + int(len(self.images) * IMAGE_TOKENS * CHARACTERS)

    @property
    def images(self) -> list[str]:
        """The images in it, by their content or address."""
        return images_in(self.messages)


@dataclass
class Bill:
    """What one call of ``generate`` took, in all; ``image_bytes`` as files have them, of those that were sent."""

    calls: int = 0
    retries: int = 0
    estimated: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    images: int = 0
    image_bytes: int = 0

    @property
    def cost(self) -> dict[str, float]:
        """By name; what concerns images only where some were sent."""
        return {k: float(v) for k, v in vars(self).items() if v or not k.startswith("image")}


@dataclass
class Dialect:
    """What is known of what a server takes; it grows while running.

    many         whether it draws several replies to one request; None: not known yet
    logprobs     whether it gives log-probabilities
    token_field  what it calls the most tokens of a reply
    ways         how it is asked for JSON of a schema, by the schema's hash
    """

    many: bool | None = None
    logprobs: bool = True
    token_field: str = "max_tokens"
    ways: dict[bytes, str] = field(default_factory=dict)

    def payload(self, model: str, job: Job, draws: list[int], way: str | None) -> dict[str, Any]:
        """The body of a request for ``draws`` of a job."""
        s = job.sampling
        messages = sent(job.messages, job.pictures)
        body: dict[str, Any] = {"model": model}
        if job.schema is not None and way is not None:
            messages = structured.messages(way, job.schema, messages)
            body |= structured.fields(way, job.schema)
        body["messages"] = messages
        for name in ("temperature", "top_p", "top_k"):
            if (value := getattr(s, name)) is not None:
                body[name] = value
        if s.max_tokens is not None:
            body[self.token_field] = s.max_tokens
        if s.stop:
            body["stop"] = list(s.stop)
        if s.seed is not None:
            body["seed"] = s.seed + draws[0]  # vLLM draws choice i with seed + i: the same, asked singly or together
        if s.logprobs and self.logprobs:
            body["logprobs"] = True
            if s.top_logprobs:
                body["top_logprobs"] = s.top_logprobs
        if len(draws) > 1:
            body["n"] = len(draws)
        return body | dict(s.extra)

    def learn(self, outcome: Outcome, body: Mapping[str, Any]) -> bool:
        """Whether a rejected request may be taken when written differently; notes what to leave out."""
        if outcome.status not in REJECTED:
            return False
        said = outcome.detail.lower()
        if "max_tokens" in body and "max_completion_tokens" in said:
            self.token_field = "max_completion_tokens"
            return True
        if "logprobs" in body and "logprob" in said:
            self.logprobs = False
            return True
        return False


def runs(draws: list[int]) -> list[list[int]]:
    """Draws in runs of consecutive numbers: what one request can ask for with one seed."""
    parts: list[list[int]] = []
    for draw in draws:
        if parts and parts[-1][-1] + 1 == draw:
            parts[-1].append(draw)
        else:
            parts.append([draw])
    return parts
