"""Additive increase, multiplicative decrease, and pauses."""

import asyncio
import time
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guerdon.generate.limit import AdaptiveLimit, backoff, retry_after


def test_never_more_than_the_limit_and_all_get_through() -> None:
    async def many() -> AdaptiveLimit:
        limit = AdaptiveLimit(5)

        async def one() -> None:
            await limit.enter()
            assert limit.running <= 5
            await asyncio.sleep(0.001)
            limit.leave()

        await asyncio.gather(*(one() for _ in range(100)))
        return limit

    limit = asyncio.run(many())
    assert limit.peak == 5
    assert limit.running == 0


def test_one_burst_of_refusals_is_one_decrease() -> None:
    async def burst() -> AdaptiveLimit:
        limit = AdaptiveLimit(32)
        rounds = [await limit.enter() for _ in range(32)]
        for started in rounds:
            limit.overloaded(started)
            limit.leave()
        return limit

    limit = asyncio.run(burst())
    assert (limit.limit, limit.decreases) == (16, 1)
    before = limit.limit
    for _ in range(16):
        limit.succeeded()
    assert limit.limit == pytest.approx(before + 1, abs=0.05), "one more a round trip"
    for _ in range(100):
        limit.overloaded(limit._round)
    assert limit.limit == 1
    for _ in range(2000):
        limit.succeeded()
    assert limit.limit == 32


def test_a_cancelled_wait_gives_its_place_to_the_next() -> None:
    async def cancelled() -> None:
        limit = AdaptiveLimit(1)
        await limit.enter()
        first, second = (asyncio.ensure_future(limit.enter()) for _ in range(2))
        await asyncio.sleep(0)
        limit.leave()  # offers the place to the first, which is cancelled before it wakes
        first.cancel()
        await asyncio.wait_for(second, 1)

    asyncio.run(cancelled())


def test_a_hold_is_for_all() -> None:
    async def held() -> float:
        limit = AdaptiveLimit(4)
        limit.hold(0.1)
        begin = time.monotonic()
        await asyncio.gather(*(limit.enter() for _ in range(4)))
        return time.monotonic() - begin

    assert asyncio.run(held()) >= 0.1


@given(st.integers(1, 200))
def test_pauses_grow_with_jitter_up_to_a_ceiling(tries: int) -> None:
    ceiling = min(30.0, 0.5 * 2.0 ** (tries - 1))
    pauses = {backoff(tries) for _ in range(20)}
    assert len(pauses) > 1
    assert all(ceiling / 2 <= p <= ceiling for p in pauses)


def test_retry_after_is_a_number_or_a_date() -> None:
    assert retry_after("2.5") == 2.5
    assert retry_after("-3") == 0
    assert retry_after(formatdate(time.time() + 60, usegmt=True)) == pytest.approx(60, abs=2)
    assert retry_after(formatdate(time.time() - 60, usegmt=True)) == 0
    for nonsense in (None, "", "soon", "nan", "inf"):
        assert retry_after(nonsense) is None
