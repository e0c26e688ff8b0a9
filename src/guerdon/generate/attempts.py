"""From a job to raw replies: the request is written as the server takes it, and tried until there is an answer.

What ends in a row with a reason: refusals of this one request, tries used up, a budget that is spent. What is raised:
whatever concerns all requests (:meth:`~guerdon.generate.transport.Endpoint.check`, a server that cannot be reached).
"""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from guerdon.errors import BackendError
from guerdon.generate import chat_reply, structured
from guerdon.generate.base import Reply, Sampling
from guerdon.generate.budget import CHARACTERS, Budget, estimate
from guerdon.generate.chat_reply import Malformed
from guerdon.generate.chat_request import REJECTED, Bill, Dialect, Job
from guerdon.generate.limit import AdaptiveLimit, backoff
from guerdon.generate.pictures import png
from guerdon.generate.transport import Endpoint, Outcome

Result = bytes | Reply
"""A raw reply, or a row that says why there is none."""


class Attempts:
    """All requests of one model go through here and share limit, budget and what is known of the server.

    keep        called with (key, result) for each result as it comes
    keeps       whether ``keep`` keeps anything
    retries, first_wait, patience, concurrency, budget   as in :class:`~guerdon.generate.server.ServerModel`
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        keep: Callable[[bytes, Result], None],
        keeps: bool,
        retries: int,
        first_wait: float,
        patience: float,
        concurrency: int,
        budget: Budget | None,
    ) -> None:
        self.endpoint, self.keep, self.keeps = endpoint, keep, keeps
        self.url = endpoint.url
        self.model = ""
        self.retries, self.first_wait, self.patience = retries, first_wait, patience
        self.budget = budget or Budget()
        self.limit = AdaptiveLimit(concurrency)
        self.dialect = Dialect()
        self.answers = 0  # replies the server gave; 0: it was never reached
        self.sighted = False  # a request with an image was taken
        self._probing, self._looking = asyncio.Lock(), asyncio.Lock()

    async def answer(self, job: Job, bill: Bill) -> dict[bytes, Result]:
        """A result for every draw of a job."""
        if job.schema is None:
            return await self._draw(job, None, bill)
        if job.schema_name not in self.dialect.ways:
            async with self._probing:  # the first request finds out for all others
                if job.schema_name not in self.dialect.ways:
                    return await self._find_way(job, bill)
        return await self._draw(job, self.dialect.ways[job.schema_name], bill)

    async def _find_way(self, job: Job, bill: Bill) -> dict[bytes, Result]:
        """Answer a job in the first way that the server takes and obeys, which its first draw finds out."""
        probe = replace(job, draws=job.draws[:1], keys=job.keys[:1])
        found: dict[bytes, Result] = {}
        way = structured.WAYS[0]
        for way in structured.WAYS:
            found = await self._draw(probe, way, bill, store=False)
            first = found[job.keys[0]]
            if isinstance(first, Reply):
                if _rejected(first):
                    continue
                break  # too long, no budget, or no answer at all: it says nothing about the way
            reply = chat_reply.read(first)
            ignored = reply.status == "answered" and reply.finish == "stop" and not structured.is_json(reply.text or "")
            if way == structured.WAYS[-1] or not ignored:
                self.dialect.ways[job.schema_name] = way
                break
        for key, result in found.items():
            self.keep(key, result)
        rest = replace(job, draws=job.draws[1:], keys=job.keys[1:])
        return found | await self._draw(rest, way, bill)

    async def _draw(self, job: Job, way: str | None, bill: Bill, store: bool = True) -> dict[bytes, Result]:
        """Ask for all draws of a job, together where the server does that."""
        done: dict[bytes, Result] = {}
        left = list(zip(job.draws, job.keys, strict=True))
        together = self.dialect.many is not False
        while left:
            part = left if together else left[:1]
            got = await self._persist(job, [draw for draw, _ in part], way, bill)
            if isinstance(got, Reply):
                if got.status == "retry":  # the request is written differently now
                    continue
                if len(part) > 1 and self.dialect.many is not True and _rejected(got):
                    together = False  # because of n, or because of the prompt: one draw will tell
                    continue
                if not together and self.dialect.many is None and _rejected(got):
                    part = left  # it was the prompt: the other draws would fare no better
                done |= {key: got for _, key in part}
                left = left[len(part) :]
                continue
            if len(part) > 1:
                together = self.dialect.many = len(got) > 1
            elif not together:
                self.dialect.many = False
            for (_, key), raw in zip(part, got, strict=False):
                done[key] = raw
                if store:
                    self.keep(key, raw)
            left = left[len(got) :]
        return done

    async def _persist(self, job: Job, draws: list[int], way: str | None, bill: Bill) -> list[bytes] | Reply:
        """Try until there is an answer, or a reason why there will be none."""
        answers = self.answers
        tries = 0
        while True:
            body = self.dialect.payload(self.model, job, draws, way)
            outcome, parts = await self._try(body, job, len(draws), bill)
            if parts is not None:
                return parts
            if outcome.reason == "budget":
                return Reply("budget", reason=f"budget: no {outcome.detail} left")
            tries += 1
            if _turned_down(outcome) and job.images:
                await self._look(job, bill)
            if self.dialect.learn(outcome, body):
                return Reply("retry")
            if not outcome.again and (way in (None, "text") or outcome.status not in REJECTED):
                self.endpoint.check(outcome, self.model)
            if not outcome.connected and (not self.answers or (tries > self.retries and self.answers == answers)):
                kept = "; what it answered is cached, run again to go on" if self.answers and self.keeps else ""
                raise BackendError(f"cannot connect to {self.url} ({outcome.detail}): is the server running?{kept}")
            if outcome.reason == "too long for the model":
                return Reply("too_long", reason=outcome.reason)
            if not outcome.again:
                said = f": {outcome.detail}" if outcome.detail else ""
                return Reply("failed", reason=f"{outcome.reason}{said}")
            if tries > self.retries:
                return Reply("failed", reason=f"{outcome.reason} ({tries} tries)")
            if outcome.wait is not None and outcome.wait > self.patience:
                return Reply("failed", reason=f"{outcome.reason} (asked to wait longer than {self.patience:g} s)")
            bill.retries += 1
            await asyncio.sleep(outcome.wait if outcome.wait is not None else backoff(tries, self.first_wait))

    async def _look(self, job: Job, bill: Bill) -> None:
        """Raise if it was the image that was refused, which concerns all requests: "Hello" is taken, and a grey square
        beside it is not."""
        async with self._looking:
            if self.sighted:
                return
            square = f"data:image/png;base64,{b64encode(png([[(128, 128, 128)] * 64] * 64)).decode()}"
            parts = [{"type": "text", "text": "Hello"}, {"type": "image_url", "image_url": {"url": square}}]
            refused = [await self._refused(job, content, bill) for content in (parts, "Hello")]
            if refused[0] is not None and refused[1] is None:
                raise BackendError(
                    f"{self.url}: {self.model} takes no images ({refused[0].reason}"
                    + (f": {refused[0].detail}" if refused[0].detail else "")
                    + "); serve a vision model, or leave out sees=image"
                )
            self.sighted = True  # or nothing can be said

    async def _refused(self, job: Job, content: Any, bill: Bill) -> Outcome | None:
        """How a plain request with this content was refused; None where it was not."""
        message = {"role": "user", "content": content}
        plain = replace(job, messages=[message], sampling=Sampling(), schema=None, pictures={})
        outcome, _ = await self._try(self.dialect.payload(self.model, plain, [0], None), plain, 1, bill)
        return outcome if _turned_down(outcome) else None

    async def _try(self, body: dict[str, Any], job: Job, n: int, bill: Bill) -> tuple[Outcome, list[bytes] | None]:
        """One request, within limit and budget."""
        held = estimate(job.characters, job.sampling.max_tokens, n)
        took = (0, 0)
        started = await self.limit.enter()
        try:
            if not await self.budget.reserve(*held):
                return Outcome(reason="budget", detail=str(self.budget.exhausted)), None
            try:
                bill.calls += 1
                images = job.images
                bill.images += len(images)
                bill.image_bytes += sum(job.pictures[i].size for i in images if i in job.pictures)
                outcome = await self.endpoint.post("/chat/completions", body)
                parts = None
                if outcome.body is not None:
                    try:
                        parts, usage = chat_reply.split(outcome.body, n)
                    except Malformed as error:
                        outcome = Outcome(reason=str(error), again=True)
                    else:
                        bill.estimated += usage is None
                        took = usage or (int(job.characters / CHARACTERS), int(len(outcome.body) / CHARACTERS))
                        bill.prompt_tokens += took[0]
                        bill.completion_tokens += took[1]
                        self.answers += 1
                        self.sighted |= bool(images)
                        self.limit.succeeded()
            finally:
                self.budget.settle(held, took)
            if outcome.overload:
                self.limit.overloaded(started)
            if outcome.wait is not None and outcome.wait <= self.patience:
                self.limit.hold(outcome.wait)
            return outcome, parts
        finally:
            self.limit.leave()


def _turned_down(outcome: Outcome) -> bool:
    """Whether it may be because of an image; some servers call that an error of theirs."""
    if outcome.reason == "too long for the model":
        return False
    return outcome.status in REJECTED or (outcome.status >= 500 and "image" in outcome.detail.lower())


def _rejected(reply: Reply) -> bool:
    """Whether the server refused the request as it was written."""
    return reply.status == "failed" and (reply.reason or "").startswith(tuple(f"HTTP {s}" for s in REJECTED))
