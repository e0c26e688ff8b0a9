"""A chat/completions server for tests: scripted replies, and faults that come the same way every time.

::

    def reply(request):
        return "yes" if "apple" in request.text else MockReply("no", logprobs=[{"no": -0.1, "yes": -2.4}])

    with MockServer(reply, faults={"429": 0.1, "cut": 0.05}, seed=1) as server:
        model = load_language_model(server.spec)
        ...
        assert server.seen["answered"] == 20

A script looks at images, too: ``request.images[0]`` is the first of the last message, decoded (Pillow does that).

What befalls a request depends on the seed, its body and how often that body came before (for refusals, short
log-probabilities and lasting faults: on the seed and the prompt alone), never on the order in which requests arrive.
Faults:

=================  =========================================================================================
429, 429-after     too many requests, without and with ``Retry-After``
500, 503           errors
400                a bad request
hang               never answers
reset              closes the connection instead of answering
cut                closes it in the middle of the reply
malformed          half of the reply's JSON, as if it were whole
empty              a reply without choices
drip               a reply in many small pieces, ``drip`` seconds in all
refusal            the model refuses
short-logprobs     the log-probabilities end before the text does
=================  =========================================================================================
"""

from __future__ import annotations

import asyncio
import base64
import io
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

import numpy as np

from guerdon.errors import ConfigError, need
from guerdon.generate.pictures import images_in

ANSWERS = ("refusal", "short-logprobs")
FAULTS = ("429", "429-after", "500", "503", "400", "hang", "reset", "cut", "malformed", "empty", "drip", *ANSWERS)
WAYS = ("json_schema", "json_object", "guided_json")
IMAGE = 85
"""Tokens of an image."""


@dataclass(frozen=True)
class MockRequest:
    """One reply that is asked for.

    body      the request as it came
    draw      which of the request's ``n`` replies this is
    seed      the request's seed + draw, None where it has none
    attempt   how often this body came before
    """

    body: Mapping[str, Any]
    draw: int = 0
    seed: int | None = None
    attempt: int = 0

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The chat so far."""
        return list(self.body["messages"])

    @property
    def text(self) -> str:
        """The last message; of one with parts, its texts in lines."""
        return _text(self.messages[-1])

    @property
    def image_urls(self) -> list[str]:
        """Where the images of the last message are: data URLs, or addresses on the web."""
        return images_in(self.messages[-1:])

    @property
    def images(self) -> list[np.ndarray]:
        """The images of the last message as uint8 [height, width, 3], in their order; those on the web have no pixels
        and are [0, 0, 3]."""
        return [_pixels(url) for url in self.image_urls]


@dataclass(frozen=True)
class MockReply:
    """A scripted reply.

    text        what is written
    logprobs    [T] alternatives of each token, token -> logprob, the written one first; None makes some up
    finish      finish_reason
    refusal     text of a refusal, in the field of its own
    tool_calls  as in the format
    """

    text: str | None = ""
    logprobs: Sequence[Mapping[str, float]] | None = None
    finish: str = "stop"
    refusal: str | None = None
    tool_calls: Sequence[Mapping[str, Any]] | None = None


Script = Callable[[MockRequest], "str | MockReply"]


def echo(request: MockRequest) -> str:
    """The reply where none is scripted: says what it answers to, and is another one for another draw or seed."""
    which = request.seed if request.seed is not None else request.draw
    return f"reply {which} to {request.text}"


@dataclass
class _Seen:
    calls: int = 0
    running: int = 0
    peak: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    times: Counter[bytes] = field(default_factory=Counter)


class MockServer:
    """A context manager that serves on a free port of this machine, from a thread of its own.

    reply        :class:`MockRequest` -> text or :class:`MockReply`
    model        the name of the one model
    faults       share of tries that meet each fault, e.g. ``{"500": 0.1}``
    lasting      share of prompts that meet a fault every time they come
    in_a_row     after so many faults one after the other a body is served, lasting faults excepted
    seed         of the faults
    latency      seconds every answer takes
    retry_after  what ``429-after`` asks for: seconds, or any text
    drip         seconds that ``drip`` takes
    key          API key that is asked for, None for none
    ways         what it can force: of ``json_schema``, ``json_object``, ``guided_json``; others are rejected
    obeys        whether it does force what it accepts: False calls the script as it is, True puts an empty object
                 where a reply is no JSON
    many         True: knows ``n``; False: rejects it; None: draws one reply whatever it is
    logprobs     whether it knows ``logprobs``
    most         requests it serves at once; it answers 429 to further ones
    usage        whether it counts tokens (words, and 85 an image)
    images       whether it takes images; False rejects a request with one
    """

    def __init__(
        self,
        reply: Script = echo,
        *,
        model: str = "mock",
        faults: Mapping[str, float] | None = None,
        lasting: Mapping[str, float] | None = None,
        in_a_row: int = 4,
        seed: int = 0,
        latency: float = 0.0,
        retry_after: float | str = 0.05,
        drip: float = 0.2,
        key: str | None = None,
        ways: Sequence[str] = WAYS,
        obeys: bool = True,
        many: bool | None = True,
        logprobs: bool = True,
        most: int | None = None,
        usage: bool = True,
        images: bool = True,
    ) -> None:
        for kind in (*(faults or ()), *(lasting or ())):
            if kind not in FAULTS:
                raise ConfigError(f"no fault {kind!r}; there are {', '.join(FAULTS)}")
        self.reply, self.model, self.seed = reply, model, seed
        self.faults, self.lasting, self.in_a_row = dict(faults or {}), dict(lasting or {}), in_a_row
        self.latency, self.retry_after, self.drip, self.key = latency, retry_after, drip, key
        self.ways, self.obeys, self.many, self.logprobs = tuple(ways), obeys, many, logprobs
        self.most, self.usage, self.images = most, usage, images
        self.port = 0
        self._seen = _Seen()
        self._started, self._stop = threading.Event(), asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    # ------------------------------------------------------------------ what tests look at

    @property
    def url(self) -> str:
        """The address to give to a client."""
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def spec(self) -> str:
        """The specification of its model."""
        return f"{self.url}#{self.model}"

    @property
    def calls(self) -> int:
        """Requests for completions that came in."""
        return self._seen.calls

    @property
    def seen(self) -> Counter[str]:
        """How they ended: ``answered``, a fault, or a rejection (``key``, ``field``, ``busy``, ``model``)."""
        return Counter(self._seen.kinds)

    @property
    def peak(self) -> int:
        """Most requests at once."""
        return self._seen.peak

    @property
    def bodies(self) -> int:
        """Different requests that came in."""
        return len(self._seen.times)

    def lot(self, messages: Sequence[Mapping[str, Any]]) -> str | None:
        """What befalls a prompt whenever it comes: a lasting fault, a refusal, short log-probabilities, or None."""
        prompt = _digest({"messages": messages}).hex()
        lasting = _draw(self.lasting, random.Random(f"{self.seed}/{prompt}"))
        answers = {k: v for k, v in self.faults.items() if k in ANSWERS}
        return lasting or _draw(answers, random.Random(f"{self.seed}/{prompt}/answer"))

    def fate(self, body: Mapping[str, Any], attempt: int = 0) -> str | None:
        """The fault that a request meets, None for none."""
        lot = self.lot(body["messages"])
        passing = {k: v for k, v in self.faults.items() if k not in ANSWERS}
        if lot in self.lasting or not passing or self._served_now(passing, _digest(body), attempt):
            return lot
        return _draw(passing, random.Random(f"{self.seed}/{_digest(body).hex()}/{attempt}")) or lot

    def _served_now(self, passing: Mapping[str, float], digest: bytes, attempt: int) -> bool:
        """Whether the tries before this one all failed, as often as may be."""
        if attempt < self.in_a_row:
            return False
        before = range(attempt - self.in_a_row, attempt)
        return all(_draw(passing, random.Random(f"{self.seed}/{digest.hex()}/{a}")) for a in before)

    # ------------------------------------------------------------------ running

    def __enter__(self) -> MockServer:
        self.port = 0
        self._started.clear()
        self._thread = threading.Thread(target=self._run, name="guerdon-mock-server", daemon=True)
        self._thread.start()
        self._started.wait(30)
        if not self.port:
            raise need("aiohttp", "judge")
        return self

    def __exit__(self, *_: object) -> None:
        if self._loop is not None and self._loop.is_running():
            self._loop.call_soon_threadsafe(self._stop.set)
        if self._thread is not None:
            self._thread.join(10)

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except ImportError:
            pass  # __enter__ says what is missing
        finally:
            self._started.set()

    async def _serve(self) -> None:
        from aiohttp import web

        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        app = web.Application(client_max_size=2**28)
        app.router.add_post("/v1/chat/completions", self._complete)
        app.router.add_get("/v1/models", self._models)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, backlog=1024)
        await site.start()
        self.port = runner.addresses[0][1]
        self._started.set()
        await self._stop.wait()
        await runner.cleanup()

    async def _models(self, request: Any) -> Any:
        from aiohttp import web

        if not self._allowed(request):
            return self._error(401, "Incorrect API key provided: " + request.headers.get("Authorization", "")[7:])
        return web.json_response({"object": "list", "data": [{"id": self.model, "object": "model"}]})

    def _allowed(self, request: Any) -> bool:
        return self.key is None or request.headers.get("Authorization") == f"Bearer {self.key}"

    async def _complete(self, request: Any) -> Any:
        seen = self._seen
        seen.calls += 1
        seen.running += 1
        seen.peak = max(seen.peak, seen.running)
        try:
            return await self._answer(request)
        finally:
            seen.running -= 1

    async def _answer(self, request: Any) -> Any:
        seen = self._seen
        if not self._allowed(request):
            seen.kinds["key"] += 1
            return self._error(401, "Incorrect API key provided: " + request.headers.get("Authorization", "")[7:])
        if self.most is not None and seen.running > self.most:
            seen.kinds["busy"] += 1
            return self._error(429, "too many requests at once")
        body = json.loads(await request.read())
        if body.get("model") != self.model:
            seen.kinds["model"] += 1
            return self._error(404, f"The model `{body.get('model')}` does not exist.")
        unknown = self._unknown_field(body)
        if unknown:
            seen.kinds["field"] += 1
            return self._error(400, f"unknown or unsupported field: {unknown}")
        digest = _digest(body)
        attempt = seen.times[digest]
        seen.times[digest] += 1
        fault = self.fate(body, attempt)
        if self.latency:
            await asyncio.sleep(self.latency)
        seen.kinds[fault or "answered"] += 1
        if fault in ("429", "429-after", "500", "503", "400"):
            headers = {"Retry-After": str(self.retry_after)} if fault == "429-after" else {}
            return self._error(int(fault[:3]), f"mock fault {fault}", headers)
        if fault == "hang":
            await self._stop.wait()
        if fault in ("hang", "reset"):
            request.transport.abort()
        # a reply that comes slowly is still the refusal that it would be otherwise
        raw = self._body(body, attempt, "empty" if fault == "empty" else self.lot(body["messages"]))
        return await self._send(request, raw, fault)

    async def _send(self, request: Any, raw: bytes, fault: str | None) -> Any:
        from aiohttp import web

        headers = {"Content-Type": "application/json"}
        if fault == "malformed":
            raw = raw[: len(raw) // 2]
        if fault not in ("cut", "drip"):
            return web.Response(body=raw, headers=headers)
        response = web.StreamResponse(headers=headers | {"Content-Length": str(len(raw))})
        await response.prepare(request)
        if fault == "cut":
            await response.write(raw[: len(raw) // 2])
            request.transport.close()
            return response
        step = max(1, len(raw) // 16)
        for lo in range(0, len(raw), step):
            await asyncio.sleep(self.drip / 16)
            await response.write(raw[lo : lo + step])
        return response

    def _error(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> Any:
        from aiohttp import web

        error = {"error": {"message": message, "type": "mock", "code": status}}
        return web.json_response(error, status=status, headers=dict(headers or {}))

    def _unknown_field(self, body: Mapping[str, Any]) -> str | None:
        wanted = body.get("response_format")
        kind = wanted.get("type") if isinstance(wanted, dict) else None
        if kind in WAYS and kind not in self.ways:
            return f"response_format {kind}"
        if "guided_json" in body and "guided_json" not in self.ways:
            return "guided_json"
        if self.many is False and body.get("n", 1) > 1:
            return "n"
        if not self.images and images_in(body["messages"]):
            return "image_url: this is no multimodal model"
        return "logprobs" if body.get("logprobs") and not self.logprobs else None

    # ------------------------------------------------------------------ replies

    def _body(self, body: Mapping[str, Any], attempt: int, fault: str | None) -> bytes:
        """The whole reply."""
        n = int(body.get("n", 1)) if self.many else 1
        choices = [] if fault == "empty" else [self._choice(body, draw, attempt, fault) for draw in range(n)]
        words = sum(len((c["message"]["content"] or "").split()) for c in choices)
        reply: dict[str, Any] = {
            "id": _digest(body).hex(),
            "object": "chat.completion",
            "created": int(time.time()),
            "model": self.model,
            "choices": choices,
        }
        if self.usage:
            asked = sum(len(_text(m).split()) + IMAGE * len(images_in([m])) for m in body["messages"])
            reply["usage"] = {"prompt_tokens": asked, "completion_tokens": words, "total_tokens": asked + words}
        return json.dumps(reply).encode()

    def _choice(self, body: Mapping[str, Any], draw: int, attempt: int, fault: str | None) -> dict[str, Any]:
        seed = body.get("seed")
        made = self.reply(MockRequest(body, draw, None if seed is None else seed + draw, attempt))
        made = MockReply(made) if isinstance(made, str) else made
        if fault == "refusal":
            made = MockReply(None, refusal="I cannot help with that.")
        text = made.text
        if self.obeys and text is not None and made.finish == "stop" and self._forced(body) and not _is_json(text):
            text = "{}"
        message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": made.refusal}
        if made.tool_calls:
            message["tool_calls"] = list(made.tool_calls)
        choice: dict[str, Any] = {"index": draw, "message": message, "finish_reason": made.finish, "logprobs": None}
        if body.get("logprobs"):
            content = _logprobs(made, text or "", int(body.get("top_logprobs", 0)))
            if fault == "short-logprobs":
                content = content[: len(content) // 2]
            choice["logprobs"] = {"content": content}
        return choice

    @staticmethod
    def _forced(body: Mapping[str, Any]) -> bool:
        return "guided_json" in body or (body.get("response_format") or {}).get("type") in WAYS


def _logprobs(reply: MockReply, text: str, top: int) -> list[dict[str, Any]]:
    """Tokens of a reply (its words, where they are not scripted) with their alternatives."""
    given: Sequence[Mapping[str, float]]
    if reply.logprobs is not None:
        given = reply.logprobs
    else:
        words = [w if i == 0 else " " + w for i, w in enumerate(text.split(" "))] if text else []
        given = [{w: -0.01 * (1 + len(w))} for w in words]
    entries = []
    for alternatives in given:
        pairs = [{"token": t, "logprob": p, "bytes": list(t.encode())} for t, p in alternatives.items()]
        ranked = sorted(pairs, key=lambda e: -e["logprob"])[:top]
        entries.append({**pairs[0], "top_logprobs": ranked})
    return entries


def _text(message: Mapping[str, Any]) -> str:
    content = message.get("content")
    if not isinstance(content, list):
        return str(content or "")
    return "\n".join(str(part.get("text", "")) for part in content if part.get("type") == "text")


def _pixels(url: str) -> np.ndarray:
    if not url.startswith("data:"):
        return np.zeros((0, 0, 3), dtype=np.uint8)
    try:
        from PIL import Image
    except ImportError:
        raise need("Pillow", "judge") from None
    with Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2], validate=True))) as image:
        return np.asarray(image.convert("RGB"))


def _digest(body: Mapping[str, Any]) -> bytes:
    return blake2b(json.dumps(body, sort_keys=True).encode(), digest_size=12).digest()


def _draw(shares: Mapping[str, float], rng: random.Random) -> str | None:
    at = rng.random()
    for kind, share in shares.items():
        at -= share
        if at < 0:
            return kind
    return None


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True
