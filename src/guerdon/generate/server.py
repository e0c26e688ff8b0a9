"""Language models behind an OpenAI-compatible chat/completions server (vLLM, SGLang, llama.cpp, hosted).

Every reply is cached under what was asked, so an interrupted run goes on where it stopped and a repeated one is free;
identical requests are sent once; the number of calls at once follows what the server takes (:mod:`.limit`); failures
are tried again with growing, jittered pauses and ``Retry-After`` is honoured; a budget stops the sending and keeps what
is done. What a server does not know (``n``, ``logprobs``, ``response_format``) is found out and done without.

Images in messages (paths, data URLs, web addresses) are checked before anything is sent, and the cache knows them by
their content (:mod:`.pictures`).
"""

from __future__ import annotations

import asyncio
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from guerdon.errors import BackendError, ConfigError
from guerdon.feedback.messages import Text, as_messages, check_messages
from guerdon.generate import chat_reply, loop
from guerdon.generate.attempts import Attempts, Result
from guerdon.generate.base import LanguageModel, Replies, Reply, Sampling, as_sampling
from guerdon.generate.budget import Budget
from guerdon.generate.chat_reply import Malformed
from guerdon.generate.chat_request import Bill, Dialect, Job, runs
from guerdon.generate.limit import FIRST_WAIT, AdaptiveLimit
from guerdon.generate.pictures import Picture, named
from guerdon.generate.reply_cache import ReplyCache, default_path, draw_key, key_stem
from guerdon.generate.transport import Endpoint

AHEAD = 4
"""Requests prepared for each that may run: those that wait for their next try hold up nobody."""
FLUSH = 0.25
"""Seconds between commits of the cache."""


class ServerModel(LanguageModel):
    """One model of one server. Threads may share it; it works inside a running event loop too.

    url          address up to and including ``/v1``
    model        its name there; None asks the server, which must offer exactly one
    api_key_env  environment variable with the key (:class:`~guerdon.generate.transport.Endpoint`)
    concurrency  most calls at once; fewer are made where the server shows overload
    timeout      seconds of one try
    retries      further tries of a call that failed for a reason that may pass
    first_wait   seconds before the second try, about; doubled for each further one, to 30
    patience     longest ``Retry-After`` in seconds that is waited for
    budget       :class:`Budget`, or None for no limit
    cache        ``on`` (a file in guerdon's cache folder), ``off``, or the path of a file
    cache_as     name the cache knows the model by; None is ``url#model``. The same model on another address shares
                 the replies of one that has the same name here.
    sees         ``image`` for a model that looks at images: judges then show them. A server does not say so itself.
    """

    def __init__(
        self,
        url: str,
        model: str | None = None,
        *,
        api_key_env: str | None = None,
        concurrency: int = 64,
        timeout: float = 300.0,
        retries: int = 6,
        first_wait: float = FIRST_WAIT,
        patience: float = 600.0,
        budget: Budget | None = None,
        cache: str | Path | ReplyCache = "on",
        cache_as: str | None = None,
        sees: str | Sequence[str] = (),
    ) -> None:
        if concurrency < 1 or retries < 0 or timeout <= 0 or first_wait < 0:
            raise ConfigError("concurrency of at least 1, retries of at least 0 and a timeout above 0, please")
        self.endpoint = Endpoint(url, api_key_env=api_key_env, timeout=timeout, connections=concurrency)
        self.url = self.endpoint.url
        self._model = model or None
        self.sees = () if sees == "none" else (sees,) if isinstance(sees, str) else tuple(sees)
        if set(self.sees) - {"image"}:
            raise ConfigError(f"sees={sees!r}: use image, or none for a model that reads text only")
        self.budget = budget
        self._cache_as = cache_as
        self.cache = _open_cache(cache)
        self._attempts = Attempts(
            self.endpoint,
            keep=_keeper(self.cache),
            keeps=self.cache is not None,
            retries=retries,
            first_wait=first_wait,
            patience=patience,
            concurrency=concurrency,
            budget=budget,
        )
        self._flights: dict[bytes, asyncio.Future[Result | None]] = {}
        weakref.finalize(self, _close, self.endpoint, self.cache)

    def __repr__(self) -> str:
        return f"ServerModel({self.url}#{self._model or '?'})"

    @property
    def limit(self) -> AdaptiveLimit:
        """How many calls run at once, now and at most."""
        return self._attempts.limit

    @property
    def dialect(self) -> Dialect:
        """What was found out about the server."""
        return self._attempts.dialect

    @property
    def model(self) -> str:
        """The model's name on the server, asked for once where it was not given."""
        if self._model is None:
            names = loop.run(self._models())
            if len(names) != 1:
                raise BackendError(
                    f"{self.url} offers {len(names)} models; choose one: {self.url}#MODEL"
                    + (f" ({', '.join(names[:8])})" if names else "")
                )
            self._model = names[0]
        return self._model

    @property
    def name(self) -> str:  # type: ignore[override]
        return self.model

    @property
    def identity(self) -> str:
        return self._cache_as or f"{self.url}#{self.model}"

    def close(self) -> None:
        loop.run(self.endpoint.close())
        if self.cache is not None:
            self.cache.close()

    def generate(
        self,
        prompts: Sequence[Text],
        n: int = 1,
        *,
        sampling: Sampling | None = None,
        schema: Mapping[str, Any] | None = None,
        **settings: Any,
    ) -> Replies:
        """See :meth:`LanguageModel.generate`. Draw i of a prompt is the same reply whenever it is asked for again."""
        chosen = as_sampling(sampling, settings)
        checked, pictures = _checked(prompts, n)
        identity = self.identity  # may ask the server for its model, before the loop is busy
        return loop.run(self._generate(checked, n, chosen, schema, identity, pictures))

    async def agenerate(
        self,
        prompts: Sequence[Text],
        n: int = 1,
        *,
        sampling: Sampling | None = None,
        schema: Mapping[str, Any] | None = None,
        **settings: Any,
    ) -> Replies:
        """:meth:`generate` for code that awaits; many may be under way and share limit, budget and connections."""
        chosen = as_sampling(sampling, settings)
        checked, pictures = _checked(prompts, n)
        if self._model is None:
            await asyncio.to_thread(lambda: self.model)
        work = self._generate(checked, n, chosen, schema, self.identity, pictures)
        return await asyncio.wrap_future(loop.submit(work))

    # ------------------------------------------------------------------ one call of generate

    async def _models(self) -> list[str]:
        try:
            return await self.endpoint.models()
        finally:
            await self.endpoint.close()

    async def _generate(
        self,
        prompts: list[Any],
        n: int,
        sampling: Sampling,
        schema: Mapping[str, Any] | None,
        identity: str,
        pictures: Mapping[str, Picture],
    ) -> Replies:
        begin = time.perf_counter()
        bill = Bill()
        self._attempts.model = self.model
        said = sampling.said
        stems: dict[bytes, tuple[int, list[bytes]]] = {}  # one entry a distinct request: its first prompt, its keys
        keys_of: list[list[bytes]] = []
        for i, messages in enumerate(prompts):
            stem = key_stem(identity, messages, said, schema)
            keys_of.append(stems.setdefault(stem.digest(), (i, [draw_key(stem, d) for d in range(n)]))[1])
        results: dict[bytes, Result] = {}
        if self.cache is not None:
            results |= self.cache.get([key for _, keys in stems.values() for key in keys])
        cached = set(results)
        name = b"" if schema is None else key_stem("", [], {}, schema).digest()
        jobs = []
        borrowed: list[tuple[bytes, asyncio.Future[Result | None], Job]] = []
        for i, keys in stems.values():
            mine = []
            for draw, key in enumerate(keys):
                if key in results:
                    continue
                if key in self._flights:
                    job = Job(prompts[i], sampling, schema, name, [draw], [key], pictures)
                    borrowed.append((key, self._flights[key], job))
                else:
                    self._flights[key] = asyncio.get_running_loop().create_future()
                    mine.append(draw)
            jobs += [
                Job(prompts[i], sampling, schema, name, run, [keys[d] for d in run], pictures) for run in runs(mine)
            ]
        await self._work(jobs, results, bill)
        for key, future, job in borrowed:
            result = await asyncio.shield(future)
            if result is None:  # whoever had it in hand gave up
                await self._work([job], results, bill, claim=True)
            else:
                results[key] = result
        rows = [self._row(results[key], schema, sampling, key in cached) for keys in keys_of for key in keys]
        cost = bill.cost | {"cached": sum(r.cached for r in rows), "seconds": time.perf_counter() - begin}
        if self.budget is not None:
            cost["money"] = self.budget.price(bill.prompt_tokens, bill.completion_tokens)
        return Replies(rows, n, {k: float(v) for k, v in cost.items()})

    @staticmethod
    def _row(result: Result, schema: Mapping[str, Any] | None, sampling: Sampling, cached: bool) -> Reply:
        if isinstance(result, Reply):
            return result
        try:
            return chat_reply.read(result, schema=schema, logprobs=sampling.logprobs, cached=cached)
        except Malformed as error:
            return Reply("failed", reason=str(error), cached=cached)

    async def _work(self, jobs: list[Job], results: dict[bytes, Result], bill: Bill, claim: bool = False) -> None:
        """Fill ``results`` for every key of ``jobs``; what concerns all calls ends the work and is raised."""
        if not jobs:
            return
        if claim:
            for job in jobs:
                for key in job.keys:
                    self._flights.setdefault(key, asyncio.get_running_loop().create_future())
        queue = iter(jobs)

        async def work() -> None:
            for job in queue:
                for key, result in (await self._attempts.answer(job, bill)).items():
                    results[key] = result
                    self._land(key, result)

        async def commit() -> None:
            while True:
                await asyncio.sleep(FLUSH)
                if self.cache is not None:
                    self.cache.flush()

        committing = asyncio.ensure_future(commit())
        workers = [asyncio.ensure_future(work()) for _ in range(min(len(jobs), AHEAD * self.limit.most))]
        try:
            await asyncio.gather(*workers)
        finally:
            for task in (*workers, committing):
                task.cancel()
            await asyncio.gather(*workers, committing, return_exceptions=True)
            for job in jobs:
                for key in job.keys:
                    self._land(key, None)
            if self.cache is not None:
                self.cache.flush()

    def _land(self, key: bytes, result: Result | None) -> None:
        future = self._flights.pop(key, None)
        if future is not None and not future.done():
            future.set_result(result)


def _checked(prompts: Sequence[Text], n: int) -> tuple[list[Any], dict[str, Picture]]:
    """The prompts as messages that name images by their content, and those images."""
    if isinstance(prompts, str):
        raise ConfigError("generate takes a list of prompts; put the text in brackets: [prompt]")
    if n < 1:
        raise ConfigError(f"n={n}: draw at least one reply a prompt")
    pictures: dict[str, Picture] = {}
    checked = [check_messages(as_messages(p), f"prompts[{i}]") for i, p in enumerate(prompts)]
    return [named(messages, f"prompts[{i}]", pictures) for i, messages in enumerate(checked)], pictures


def _open_cache(cache: str | Path | ReplyCache) -> ReplyCache | None:
    if isinstance(cache, ReplyCache):
        return cache
    if cache == "off":
        return None
    path = default_path() if cache == "on" else Path(cache)
    return None if path is None else ReplyCache(path)


def _keeper(cache: ReplyCache | None) -> Callable[[bytes, Result], None]:
    """What stores a result; it knows nothing of the model, which can so be forgotten while it is in use."""

    def keep(key: bytes, result: Result) -> None:
        if cache is not None and isinstance(result, bytes):
            cache.put(key, result)

    return keep


def _close(endpoint: Endpoint, cache: ReplyCache | None) -> None:
    """When a model is forgotten, or the process ends."""
    if cache is not None:
        cache.close()
    session = endpoint._session
    if session is not None and not session.closed and endpoint._loop is not None and endpoint._loop.is_running():
        endpoint._loop.call_soon_threadsafe(lambda: endpoint._loop.create_task(session.close()))  # type: ignore[union-attr]
