"""How many calls run at once, found while running: additive increase, multiplicative decrease.

After as many successes as the limit it rises by one; a sign of overload (429, 503, a time-out) halves it. Calls that
were sent before the last decrease say nothing about the limit after it, so one burst of refusals is one decrease. The
limit starts at ``most``: a server that queues (vLLM) is filled at once, one that refuses is left alone after a few
round trips. ``Retry-After`` holds back all calls, not only the one that was told.

Reference: Chiu & Jain 1989, Analysis of the increase and decrease algorithms for congestion avoidance
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from email.utils import parsedate_to_datetime

DECREASE = 0.5
FIRST_WAIT, LONGEST_WAIT = 0.5, 30.0


class AdaptiveLimit:
    """A semaphore whose size follows the server. Use from one event loop.

    most   the largest number of calls at once, and the first
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.limit = float(most)
        self.running = 0
        self.peak = 0
        self.decreases = 0
        self._round = 0  # counts decreases; a call remembers the one it started in
        self._hold = 0.0
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def enter(self) -> int:
        """Wait for a place; returns what :meth:`overloaded` wants to know."""
        while True:
            wait = self._hold - time.monotonic()
            if wait > 0:
                await asyncio.sleep(wait)
            elif self.running < int(self.limit):
                break
            else:
                future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                self._waiting.append(future)
                try:
                    await future
                except asyncio.CancelledError:
                    if future.done() and not future.cancelled():
                        self._admit()  # the place that was offered goes to the next
                    raise
        self.running += 1
        self.peak = max(self.peak, self.running)
        return self._round

    def leave(self) -> None:
        """Give the place back."""
        self.running -= 1
        self._admit()

    def succeeded(self) -> None:
        """A call was answered: rise by one in as many of them as the limit."""
        if self.limit < self.most:
            self.limit = min(float(self.most), self.limit + 1.0 / self.limit)
            self._admit()

    def overloaded(self, started_in: int) -> None:
        """A call met a sign of overload; it counts once for all calls of its round."""
        if started_in == self._round:
            self._round += 1
            self.decreases += 1
            self.limit = max(1.0, self.limit * DECREASE)

    def hold(self, seconds: float) -> None:
        """Send nothing for so long."""
        self._hold = max(self._hold, time.monotonic() + seconds)

    def _admit(self) -> None:
        free = int(self.limit) - self.running
        while free > 0 and self._waiting:
            future = self._waiting.popleft()
            if not future.done():
                future.set_result(None)
                free -= 1


def backoff(tries: int, first: float = FIRST_WAIT, longest: float = LONGEST_WAIT) -> float:
    """Seconds before the next try, after ``tries`` that failed: exponential, uniform in its upper half.

    The jitter spreads calls that failed together, so that they do not come back together.
    """
    ceiling = min(longest, first * 2.0 ** (tries - 1))
    return ceiling * random.uniform(0.5, 1.0)


def retry_after(header: str | None) -> float | None:
    """Seconds of a ``Retry-After`` header, which is a number or a date; None where there is none or it is nonsense."""
    if not header:
        return None
    try:
        seconds = float(header)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(header).timestamp() - time.time()
        except (ValueError, TypeError, OverflowError):
            return None
    return max(0.0, seconds) if seconds == seconds and seconds < 1e9 else None
