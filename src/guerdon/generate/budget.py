"""A budget in calls, tokens or money: what would go beyond it is not sent, what is done is kept.

Before a call is sent, an upper estimate of what it takes is set aside; afterwards it is replaced by what it took. A
call that does not fit beside those under way waits for them; one that does not fit at all ends the spending for good.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from guerdon.errors import ConfigError

UNSAID = 1024
"""Tokens set aside for a reply where ``max_tokens`` is not given."""
CHARACTERS = 3.0
"""Characters a token, for estimates that should rather be too high."""


@dataclass
class Budget:
    """What may be spent. Share one object between models to limit them together (calls from several threads are fine).

    calls      requests sent, tries that failed included
    tokens     of prompts and replies together
    money      in the currency of the prices
    price_in   of a million tokens of prompts
    price_out  of a million tokens of replies
    """

    calls: int | None = None
    tokens: int | None = None
    money: float | None = None
    price_in: float = 0.0
    price_out: float = 0.0
    spent_calls: int = field(default=0, init=False)
    spent_in: int = field(default=0, init=False)
    spent_out: int = field(default=0, init=False)
    exhausted: str | None = field(default=None, init=False)
    """Which limit ended the spending (``calls``, ``tokens``, ``money``); None while there is some left."""
    _held: list[tuple[int, int]] = field(default_factory=list, init=False, repr=False)
    _waiting: list[asyncio.Future[None]] = field(default_factory=list, init=False, repr=False)

    def __post_init__(self) -> None:
        for name in ("calls", "tokens", "money"):
            value = getattr(self, name)
            if value is not None and value < 0:
                raise ConfigError(f"budget: {name}={value} is below 0")
        if self.money is not None and not (self.price_in or self.price_out):
            raise ConfigError("budget: money needs prices; give price_in and price_out (of a million tokens)")

    @property
    def spent_money(self) -> float:
        """What the tokens so far cost."""
        return self.price(self.spent_in, self.spent_out)

    def price(self, tokens_in: int, tokens_out: int) -> float:
        """What so many tokens cost."""
        return (tokens_in * self.price_in + tokens_out * self.price_out) / 1e6

    def _beyond(self, more: list[tuple[int, int]]) -> str | None:
        """The limit that ``more`` calls of (prompt, reply) tokens would exceed."""
        tokens_in = self.spent_in + sum(i for i, _ in more)
        tokens_out = self.spent_out + sum(o for _, o in more)
        if self.calls is not None and self.spent_calls + len(more) > self.calls:
            return "calls"
        if self.tokens is not None and tokens_in + tokens_out > self.tokens:
            return "tokens"
        if self.money is not None and self.price(tokens_in, tokens_out) > self.money:
            return "money"
        return None

    async def reserve(self, tokens_in: int, tokens_out: int) -> bool:
        """Set a call aside; False if it cannot be afforded, and then nothing is any more."""
        call = (tokens_in, tokens_out)
        if self.calls is None and self.tokens is None and self.money is None:
            self._held.append(call)
            return True
        while not self.exhausted:
            if self._beyond([*self._held, call]) is None:
                self._held.append(call)
                return True
            beyond = self._beyond([call])
            if beyond or not self._held:
                self.exhausted = beyond or self._beyond([*self._held, call])
                self._wake()
                break
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(future)
            await future
        return False

    def settle(self, held: tuple[int, int], took: tuple[int, int]) -> None:
        """Replace what was set aside for a call by what it took (nothing where it failed)."""
        self._held.remove(held)
        self.spent_calls += 1
        self.spent_in += took[0]
        self.spent_out += took[1]
        if self._waiting:
            self._wake()

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)


def estimate(characters: int, max_tokens: int | None, n: int) -> tuple[int, int]:
    """(prompt, reply) tokens to set aside for a call."""
    return int(characters / CHARACTERS) + 16, (max_tokens or UNSAID) * n
