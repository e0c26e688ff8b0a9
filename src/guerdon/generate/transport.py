"""One try of one request over HTTP, and what its outcome means: an answer, a reason to try again, or one to stop.

========================================  ===========================================
401, 403                                  every call: wrong or missing key
404                                       every call: no such model, or wrong address
429, 408, 409, 425, 5xx                   try again, not before ``Retry-After``
429 because the quota is used up          every call
400, 413, 422 and other 4xx               this call only (or a field the server does not know)
no connection before any call succeeded   every call
reset, cut or malformed body, time-out    try again
========================================  ===========================================
"""

from __future__ import annotations

import asyncio
import json
import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from guerdon.errors import BackendError, ConfigError, need
from guerdon.generate.limit import retry_after

TRY_AGAIN = (408, 409, 425, 429)
OVERLOAD = (429, 503, 529)
LENGTH_MARKS = ("context_length", "context length", "maximum context", "too many tokens", "too long", "exceeds the max")
LOCAL = ("localhost", "127.0.0.1", "::1")
KEY_ENV = "GUERDON_API_KEY"


@dataclass(frozen=True)
class Outcome:
    """What became of one try.

    body        the reply where there is one (HTTP 200), else None
    reason      why there is none, in a few words without numbers that differ from call to call
    detail      what the server said
    status      HTTP status, 0 where there was none
    again       whether another try may help
    wait        seconds the server asked to wait, or None
    overload    whether fewer calls at once would help
    connected   whether the server was reached
    """

    body: bytes | None = None
    reason: str = ""
    detail: str = ""
    status: int = 200
    again: bool = False
    wait: float | None = None
    overload: bool = False
    connected: bool = True


class Endpoint:
    """An OpenAI-compatible server: pooled connections, the key from the environment, errors told apart.

    url           up to and including ``/v1``
    api_key_env   name of the environment variable with the key; ``GUERDON_API_KEY`` where nothing is said, and
                  ``OPENAI_API_KEY`` for api.openai.com. The key is read when the connection is opened and stands in
                  no message, cache or saved file.
    timeout       seconds of one try, from sending to the last byte
    """

    def __init__(self, url: str, *, api_key_env: str | None = None, timeout: float = 300.0, connections: int = 64):
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError(f"{_shown(url)!r} is no address of a server; write http://HOST:PORT/v1#MODEL")
        if parts.username or parts.password:
            raise ConfigError(f"{_shown(url)}: a key does not belong in an address; set {KEY_ENV} instead")
        self.url = url.rstrip("/")
        self.host = parts.hostname
        self.timeout, self.connections = timeout, connections
        self._key_env = api_key_env
        self._key: str | None = None
        self._session: Any = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._errors: tuple[type[Exception], ...] = ()

    def read_key(self) -> str | None:
        """The key, None where no environment variable holds one."""
        if self._key_env:
            key = os.environ.get(self._key_env, "").strip()
            if not key:
                raise ConfigError(f"api_key_env={self._key_env}: this environment variable is not set")
            return key
        names = (KEY_ENV, "OPENAI_API_KEY") if self.host == "api.openai.com" else (KEY_ENV,)
        return next((k for k in (os.environ.get(n, "").strip() for n in names) if k), None)

    async def _open(self) -> Any:
        loop = asyncio.get_running_loop()
        if self._session is None or self._session.closed or self._loop is not loop:
            try:
                import aiohttp
            except ImportError:
                raise need("aiohttp", "judge") from None
            self._errors = (aiohttp.ClientError, OSError, asyncio.IncompleteReadError, ssl.SSLError)
            self._key = self.read_key()
            headers = {"Content-Type": "application/json", "Accept": "application/json"}
            if self._key:
                headers["Authorization"] = f"Bearer {self._key}"
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=self.connections, keepalive_timeout=30),
                headers=headers,
                timeout=aiohttp.ClientTimeout(total=self.timeout, sock_connect=min(30.0, self.timeout)),
                trust_env=self.host not in LOCAL,
                auto_decompress=True,
            )
            self._loop = loop
        return self._session

    async def close(self) -> None:
        """Close the connections."""
        session, self._session = self._session, None
        if session is not None and not session.closed:
            await session.close()

    async def post(self, path: str, payload: Mapping[str, Any]) -> Outcome:
        """Send one request; never raises for what the network or the server does."""
        data = json.dumps(payload, ensure_ascii=True, separators=(",", ":")).encode()
        return await self._send("POST", path, data)

    async def models(self) -> list[str]:
        """Names of the models the server offers; :class:`BackendError` where it does not say."""
        outcome = await self._send("GET", "/models", None)
        self.check(outcome, None)
        try:
            return [str(m["id"]) for m in json.loads(outcome.body or b"")["data"]]
        except (ValueError, KeyError, TypeError):
            why = outcome.detail or outcome.reason or "no list"
            raise BackendError(f"{self.url} does not list its models ({why}); name one: {self.url}#MODEL") from None

    async def _send(self, method: str, path: str, data: bytes | None) -> Outcome:
        session = await self._open()
        try:
            async with session.request(method, self.url + path, data=data, allow_redirects=False) as response:
                body = await response.read()
                status, header = response.status, response.headers.get("Retry-After")
        except TimeoutError:  # aiohttp's time-outs are TimeoutErrors too, so this clause comes first
            return Outcome(reason="time-out", status=0, again=True, overload=True)
        except self._errors as error:
            import aiohttp

            if isinstance(error, aiohttp.ClientConnectorError):
                detail = self._hide(str(error.os_error or error))
                return Outcome(reason="cannot connect", detail=detail, status=0, again=True, connected=False)
            cut = isinstance(error, aiohttp.ClientPayloadError)
            reason = "reply cut off" if cut else "connection lost"
            return Outcome(reason=reason, detail=self._hide(str(error)), status=0, again=True)
        if status == 200:
            return Outcome(body)
        return self._refused(status, body, header)

    def _refused(self, status: int, body: bytes, header: str | None) -> Outcome:
        detail = self._hide(error_text(body))
        again = status in TRY_AGAIN or (status >= 500 and status != 501)
        reason = f"HTTP {status}"
        if status == 429 and "insufficient_quota" in body.decode("utf-8", "replace"):
            return Outcome(reason="quota used up", detail=detail, status=status)
        if status in (400, 413, 422) and any(mark in detail.lower() for mark in LENGTH_MARKS):
            reason = "too long for the model"
        return Outcome(None, reason, detail, status, again, retry_after(header), status in OVERLOAD)

    def check(self, outcome: Outcome, model: str | None) -> None:
        """Raise :class:`BackendError` where the outcome concerns every call."""
        said = f" ({outcome.detail})" if outcome.detail else ""
        if outcome.status in (401, 403):
            names = self._key_env or KEY_ENV
            how = f"the key in {names} is not accepted" if self._key else f"it wants a key: set {names}"
            raise BackendError(f"{self.url} refuses access, HTTP {outcome.status}: {how}{said}")
        if outcome.status == 404:
            what = f"no model {model!r} at {self.url}" if model else f"nothing at {self.url}"
            raise BackendError(f"{what}, or the address is not that of chat/completions (it often ends in /v1){said}")
        if outcome.status == 405 or 300 <= outcome.status < 400:
            raise BackendError(f"{self.url} answers HTTP {outcome.status}: not the address of chat/completions{said}")
        if outcome.reason == "quota used up":
            raise BackendError(f"{self.url}: the quota is used up{said}")

    def _hide(self, text: str) -> str:
        """``text`` without the key, should a server repeat it, on one line."""
        text = " ".join(text.split())
        if self._key:
            text = text.replace(self._key, "[key]")
        return text[:300]


def error_text(body: bytes) -> str:
    """What a server says in the body of an error."""
    text = body.decode("utf-8", "replace")
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return text[:300] if "<html" not in text.lower() else ""
    error = found.get("error", found) if isinstance(found, dict) else found
    if isinstance(error, dict):
        error = error.get("message") or error.get("detail") or error.get("msg") or error
    return error if isinstance(error, str) else json.dumps(error)[:300]


def _shown(url: str) -> str:
    """An address without what may be a secret in it."""
    head, at, tail = url.rpartition("@")
    return f"{head.partition('://')[0]}://...@{tail}" if at else url
