"""One event loop on a thread of its own, so that a synchronous call works anywhere, a running event loop included."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")

_lock = threading.Lock()
_loop: asyncio.AbstractEventLoop | None = None
_pid: int | None = None


def background() -> asyncio.AbstractEventLoop:
    """The loop that all servers' clients of this process share; a forked child gets its own."""
    global _loop, _pid
    with _lock:
        if _loop is None or _pid != os.getpid() or _loop.is_closed():
            _loop, _pid = asyncio.new_event_loop(), os.getpid()
            threading.Thread(target=_loop.run_forever, name="guerdon-generate", daemon=True).start()
        return _loop


def submit(work: Coroutine[Any, Any, T]) -> Future[T]:
    """Start ``work`` on the background loop."""
    return asyncio.run_coroutine_threadsafe(work, background())


def run(work: Coroutine[Any, Any, T]) -> T:
    """The result of ``work``; an interrupt (Ctrl-C) cancels it."""
    if threading.current_thread().name == "guerdon-generate":
        work.close()
        raise RuntimeError("a synchronous call from inside the background loop would wait for itself; await agenerate")
    future = submit(work)
    try:
        return future.result()
    except KeyboardInterrupt:
        future.cancel()
        raise
