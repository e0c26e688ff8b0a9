"""Best-of-n: for each prompt, the response a reward likes best.

Chooses ``argmax_i r(x, y_i)`` among the n responses y_i to prompt x; ties go to the response that came first. The
margin ``r(best) - r(runner-up)`` says how clear the choice was: for utilities in log-odds, ``1 / (1 + exp(-margin))``
is the chance that the best is preferred to the runner-up. Unscored responses are never chosen and are counted.

References: Nakano et al. 2021 (WebGPT, https://arxiv.org/abs/2112.09332); the KL price of n is at most
log n - (n - 1) / n (Stiennon et al. 2020, https://arxiv.org/abs/2009.01325).
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from guerdon.errors import ConfigError
from guerdon.feedback.messages import Text, pack
from guerdon.feedback.schema import Candidates
from guerdon.reward.base import Reward


@dataclass(frozen=True)
class Choice:
    """The best responses to one prompt (of one person and criterion, where given), best first.

    responses, scores, index  at most ``top``; ``index`` counts the prompt's responses in the order they came, from 0
    margin                    best minus second best; None with fewer than two scored responses
    n, unscored               how many responses there were, and how many of them have no score
    """

    prompt: Text
    user: str | None
    criterion: str | None
    responses: list[Text]
    scores: list[float]
    index: list[int]
    margin: float | None
    n: int
    unscored: int


@dataclass
class _Group:
    prompt: Text
    user: str | None
    criterion: str | None
    n: int = 0
    unscored: int = 0
    heap: list[tuple[float, int, Text]] = field(default_factory=list)  # worst first: (score, -index, response)
    waiting: list[Text] = field(default_factory=list)


class BestOfN:
    """Chooses as candidates stream in, in any order; keeps only the best few of each prompt.

    Rewards that look at the responses of a prompt together (their own :meth:`Reward.rank`, or comparing only) get them
    together at the end, so for those all responses are kept until then.

    Parameters
    ----------
    reward : the judge
    top : how many responses a prompt to give back
    """

    def __init__(self, reward: Reward, *, top: int = 1) -> None:
        if top < 1:
            raise ConfigError(f"top={top}: ask for at least one response a prompt")
        self.reward, self.top = reward, top
        self.together = type(reward).rank is not Reward.rank
        self.groups: dict[tuple[str, str | None, str | None], _Group] = {}

    def add(self, candidates: Candidates) -> None:
        """Take more candidates; each prompt, person and criterion is a competition of its own."""
        groups = [self._group(candidates, i) for i in range(len(candidates))]
        if self.together:
            for group, response in zip(groups, candidates.responses, strict=True):
                group.waiting.append(response)
            return
        scores = self.reward.score(candidates).value
        for group, response, score in zip(groups, candidates.responses, scores.tolist(), strict=True):
            self._enter(group, response, score)

    def choices(self) -> list[Choice]:
        """The choice of each prompt, in the order the prompts first came."""
        for group in self.groups.values():
            if group.waiting:
                n = len(group.waiting)
                batch = Candidates(
                    [group.prompt] * n,
                    group.waiting,
                    user=None if group.user is None else [group.user] * n,
                    criterion=None if group.criterion is None else [group.criterion] * n,
                )
                for response, score in zip(group.waiting, self.reward.rank(batch).value.tolist(), strict=True):
                    self._enter(group, response, score)
                group.waiting = []
        return [_choice(group, self.top) for group in self.groups.values()]

    def _group(self, candidates: Candidates, i: int) -> _Group:
        user = None if candidates.user is None else candidates.user[i]
        criterion = None if candidates.criterion is None else candidates.criterion[i]
        key = (pack(candidates.prompts[i]), user, criterion)
        if key not in self.groups:
            self.groups[key] = _Group(candidates.prompts[i], user, criterion)
        return self.groups[key]

    def _enter(self, group: _Group, response: Text, score: float) -> None:
        index = group.n
        group.n += 1
        if not np.isfinite(score):
            group.unscored += 1
            return
        keep = max(self.top, 2)  # the runner-up, for the margin
        entry = (score, -index, response)
        # -index is unique, so two entries never get as far as comparing their responses
        if len(group.heap) < keep:
            heapq.heappush(group.heap, entry)
        else:
            heapq.heappushpop(group.heap, entry)


def _choice(group: _Group, top: int) -> Choice:
    ranked = sorted(group.heap, key=lambda entry: entry[:2], reverse=True)
    best = ranked[:top]
    return Choice(
        prompt=group.prompt,
        user=group.user,
        criterion=group.criterion,
        responses=[response for _, _, response in best],
        scores=[score for score, _, _ in best],
        index=[-negative for _, negative, _ in best],
        margin=ranked[0][0] - ranked[1][0] if len(ranked) > 1 else None,
        n=group.n,
        unscored=group.unscored,
    )


def best_of_n(reward: Reward, candidates: Candidates | Iterable[Candidates], *, top: int = 1) -> list[Choice]:
    """The best response (or ``top`` responses) to each prompt of ``candidates``, one batch or many."""
    chooser = BestOfN(reward, top=top)
    batches: Iterable[Candidates] = [candidates] if isinstance(candidates, Candidates) else candidates
    for batch in batches:
        chooser.add(batch)
    return chooser.choices()


def pick(reward: Reward, prompt: Text, responses: Sequence[Text], *, user: str | None = None) -> Text | None:
    """The response to one prompt that ``reward`` likes best for ``user``; None if it can score none of them."""
    choice = best_of_n(reward, Candidates([prompt] * len(responses), list(responses)).asked_by(user))
    return choice[0].responses[0] if choice and choice[0].responses else None
