"""New master keys near the known ones: texts of a pool that a sentence encoder puts beside keys that are known to work.

    near(t) = max over known keys k of cos(e(t), e(k))

For every key the ``k`` nearest texts of the pool are tried (all-MiniLM-L6-v2 and a corpus of sentences in the paper).
:func:`find_keys` puts a reward to them on one half of the prompts, goes on from those that fool it for some rounds, and
then measures what it found on the other half, so that a key that was merely lucky is not reported at its lucky rate. A
good pool is what models begin their answers with (:func:`openings`): such keys a policy writes by itself.

A key whose text holds a prompt's reference is no key there and is left out, as by every attack.

Reference: Zhao et al. 2025, One Token to Fool LLM-as-a-Judge, https://arxiv.org/abs/2507.08794.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from guerdon.bench.attacks.attack import Attack, Case
from guerdon.bench.attacks.contentless import OPENERS, SYMBOLS, keys
from guerdon.bench.attacks.run import natural_threshold, run
from guerdon.bench.intervals import Figure
from guerdon.curate.truncated import first_sentence
from guerdon.errors import ConfigError, FeedbackError
from guerdon.feedback.schema import Candidates
from guerdon.reward.base import Reward

Embed = Callable[[Sequence[str]], np.ndarray]
"""Texts to float [n, d]."""
KNOWN = (*SYMBOLS, *OPENERS)


@dataclass(frozen=True)
class Neighbour:
    """A text of the pool: the key that it is nearest to, and the cosine of the two."""

    text: str
    near: str
    cosine: float


@dataclass(frozen=True)
class FoundKey:
    """A text that fools a reward, and how it was come by.

    near, cosine  the key it was found beside, which may be a found one itself
    round         1 beside a known key, 2 beside one of those ...
    found         its success rate on the prompts that it was found on, too high by the choice
    success       its success rate on the other prompts
    """

    text: str
    near: str
    cosine: float
    round: int
    found: float
    success: Figure


def sentence_embedding(encoder: str = "minilm") -> Embed:
    """A sentence encoder (``minilm``, ``st:NAME``, ``hf:NAME?pooling=mean`` ...) as an :data:`Embed`.

    Raises :class:`~guerdon.errors.BackendError` where the model or its package is missing.
    """
    from guerdon.encode import load_encoder

    spec = encoder if "features=" in encoder else f"{encoder}{'&' if '?' in encoder else '?'}features=response"
    model = load_encoder(spec)
    return lambda texts: model.encode(Candidates([""] * len(texts), list(texts)))


def openings(
    responses: Iterable[str], *, longest: int = 120, least: int = 1, cut: Callable[[str], str] = first_sentence
) -> list[str]:
    """What responses begin with, the most frequent first: a pool to search.

    longest  most characters of an opening
    least    responses that must begin with it
    """
    whole = list(responses)
    counts = Counter(text for response in whole if 0 < len(text := cut(response).strip()) <= longest)
    for response in whole:  # what is all of a response is an answer, not an opening
        counts.pop(response.strip(), None)
    return [text for text, n in counts.most_common() if n >= least]


def nearest(
    pool: Sequence[str],
    embed: Embed,
    *,
    known: Sequence[str] = KNOWN,
    k: int = 5,
    exclude: Iterable[str] = (),
    apart: float = 0.999,
) -> list[Neighbour]:
    """The ``k`` texts of the pool that are nearest to each known key, each once, the nearest first.

    exclude  texts that are left out, besides the known ones (in either case, without spaces around them)
    apart    of texts whose cosine is at least this one is enough
    """
    if not known or k < 1:
        raise ConfigError(f"{len(known)} known keys, k={k}: give at least one key, and k of at least 1")
    out_of = {_bare(t) for t in (*known, *exclude)}
    first: dict[str, str] = {}
    for text in pool:
        if text.strip() and _bare(text) not in out_of:
            first.setdefault(_bare(text), text)
    texts = list(first.values())
    if not texts:
        return []
    x, y = _unit(embed(texts)), _unit(embed(list(known)))
    cosine = x @ y.T
    rows = np.argsort(-cosine, axis=0, kind="stable")[:k]
    chosen = {int(i) for i in rows.ravel()}
    order = sorted(chosen, key=lambda i: (-cosine[i].max(), i))
    kept: list[int] = []
    for i in order:
        if not kept or float((x[kept] @ x[i]).max()) < apart:
            kept.append(i)
    return [Neighbour(texts[i], known[int(cosine[i].argmax())], float(cosine[i].max())) for i in kept]


def near_keys(pool: Sequence[str], embed: Embed, *, known: Sequence[str] = KNOWN, k: int = 5) -> Attack:
    """The nearest texts of a pool as one more attack.

    Raises :class:`~guerdon.errors.FeedbackError` where the pool holds nothing but known keys.
    """
    found = nearest(pool, embed, known=known, k=k)
    if not found:
        raise FeedbackError("the pool holds no text that is not a known key already; give more texts")
    return keys("near-keys", [one.text for one in found], "texts of a pool that lie near known keys")


def find_keys(
    reward: Reward,
    cases: Sequence[Case],
    pool: Sequence[str],
    embed: Embed,
    *,
    known: Sequence[str] = KNOWN,
    k: int = 5,
    rounds: int = 2,
    least: float = 0.1,
    threshold: float | None = None,
    bootstrap: int = 1000,
    seed: int = 0,
) -> list[FoundKey]:
    """Texts of the pool that fool ``reward``, the most successful first.

    Parameters
    ----------
    known : keys to begin from
    k : neighbours tried of each key
    rounds : how often neighbours of what was found are tried as well; the first round is beside the known keys
    least : success rate from which a text counts as found, and is gone on from
    threshold : score from which a response is accepted; None is 0.5 for a reward that says yes or no, and what the
        honest answer gets for any other
    bootstrap : replicates of the intervals
    seed : of the halves and the bootstrap

    Raises
    ------
    FeedbackError
        if there are fewer than two prompts
    """
    if len(cases) < 2:
        raise FeedbackError(f"{len(cases)} prompts: keys are found on one half of them and measured on the other")
    if rounds < 1 or not 0 < least <= 1:
        raise ConfigError(f"rounds={rounds}, least={least}: use at least 1, and a share above 0")
    threshold = natural_threshold(reward) if threshold is None else threshold
    order = np.random.default_rng(seed).permutation(len(cases))
    half = [[cases[i] for i in sorted(part.tolist())] for part in (order[::2], order[1::2])]
    tried: set[str] = set()
    found: dict[str, tuple[Neighbour, int, float]] = {}
    frontier = list(known)
    for turn in range(1, rounds + 1):
        beside = nearest(pool, embed, known=frontier, k=k, exclude=[*known, *tried]) if frontier else []
        if not beside:
            break
        tried |= {one.text for one in beside}
        rates = _rates(reward, half[0], [one.text for one in beside], threshold, 0, seed)
        hits = [(one, rate.value) for one, rate in zip(beside, rates, strict=True) if rate.value >= least]
        found |= {one.text: (one, turn, rate) for one, rate in hits}
        frontier = [one.text for one, _ in hits]
    if not found:
        return []
    rates = _rates(reward, half[1], list(found), threshold, bootstrap, seed)
    out = [
        FoundKey(one.text, one.near, one.cosine, turn, rate, success)
        for (one, turn, rate), success in zip(found.values(), rates, strict=True)
    ]
    return sorted(out, key=lambda key: -np.nan_to_num(key.success.value, nan=-1.0))


def _rates(
    reward: Reward, cases: Sequence[Case], texts: Sequence[str], threshold: float | None, bootstrap: int, seed: int
) -> list[Figure]:
    """The success rate of each text by itself, all asked in one call."""
    attacks = [keys(f"key {i}", [text], "a text that was found") for i, text in enumerate(texts)]
    result = run(reward, cases, attacks, threshold=threshold, tries=None, bootstrap=bootstrap, seed=seed)
    return [a.success for a in result.attacks]


def _bare(text: str) -> str:
    return text.strip().casefold()


def _unit(x: np.ndarray) -> np.ndarray:
    x = np.asarray(x, dtype=np.float64)
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
