"""The data of a likelihood in minibatches that a transformer can run: who is in them, their cost, their order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from guerdon.encode.prefix import common_prefix
from guerdon.reward.learned.centring import centring as centring  # what the loop of transformers adds as well
from guerdon.reward.learned.likelihood import Likelihood
from guerdon.reward.learned.readout import LastToken, Readout


@dataclass
class Texts:
    """The tokenised candidates of the data: sequences [C] (empty where unreadable), types [C] or None, prompts [C]."""

    sequences: list[np.ndarray]
    types: list[np.ndarray] | None
    prompts: np.ndarray


def members(data: Likelihood) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(candidates of all data one after the other, [n + 1] where each datum starts, [n] weights)."""
    return data.members()


def over(data: Likelihood, table: np.ndarray) -> Likelihood:
    """The same data with candidates counted by their place in ``table`` (ascending candidate indices)."""
    return data.over(table)


def local(data: Likelihood) -> tuple[Likelihood, np.ndarray]:
    """(the same data over the candidates it touches alone, which those are), so that arrays stay small."""
    used = np.unique(members(data)[0])
    return over(data, used), used


class Sizes:
    """What candidates cost: a prompt's common tokens once, then the rest of each response."""

    def __init__(self, readout: Readout, texts: Texts, flat: np.ndarray) -> None:
        self.prompts = texts.prompts
        self.rest = np.array([len(s) for s in texts.sequences], dtype=np.int64)
        self.prefix: dict[int, int] = {}
        if not (isinstance(readout, LastToken) and readout.decoder.shares):
            return
        by_prompt: dict[int, list[int]] = {}
        for i in np.unique(flat):
            by_prompt.setdefault(int(self.prompts[i]), []).append(int(i))
        for prompt, rows in by_prompt.items():
            if len(rows) > 1:
                self.prefix[prompt] = common_prefix([texts.sequences[i] for i in rows])
                self.rest[rows] -= self.prefix[prompt]

    def cut(self, step: np.ndarray, starts: np.ndarray, flat: np.ndarray, most: int) -> Iterator[np.ndarray]:
        """The data of a step in parts of at most ``most`` tokens (or one datum)."""
        part: list[int] = []
        seen: set[int] = set()  # candidates in the part
        tokens = 0
        for datum in step:
            own = set(flat[starts[datum] : starts[datum + 1]].tolist())
            cost = self.cost(own - seen, seen)
            if part and tokens + cost > most:
                yield np.array(part)
                part, seen, tokens, cost = [], set(), 0, self.cost(own, set())
            part.append(int(datum))
            seen |= own
            tokens += cost
        yield np.array(part)

    def cost(self, new: set[int], seen: set[int]) -> int:
        """Tokens that ``new`` candidates add to ``seen`` ones."""
        there = {int(self.prompts[i]) for i in seen}
        heads = {int(self.prompts[i]) for i in new} - there
        return int(self.rest[list(new)].sum()) + sum(self.prefix.get(p, 0) for p in heads)


def steps_of(prompts: np.ndarray, batch: int, total: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """``total`` arrays of at most ``batch`` data, epoch after epoch; a prompt's data stay together, a quarter of a
    batch at a time, so that they can share its tokens without filling a step with one prompt."""
    most = max(1, batch // 4)
    order = np.argsort(prompts, kind="stable")
    by_prompt = np.split(order, np.flatnonzero(np.diff(prompts[order])) + 1)
    done = 0
    while done < total:
        chunks: list[np.ndarray] = []
        for rows in by_prompt:
            rows = rng.permutation(rows)
            chunks += [rows[i : i + most] for i in range(0, len(rows), most)]
        epoch = np.concatenate([chunks[i] for i in rng.permutation(len(chunks))])
        for lo in range(0, len(epoch), batch):
            if done == total:
                return
            yield epoch[lo : lo + batch]
            done += 1
