"""Held-out feedback without leakage: which prompts, people, judgements or candidates are set aside.

Every unit has a place in an order that depends on the seed and its own content only (a hash), and the first of that
order are held out. So the same seed gives the same split on any machine, and feedback that grows keeps its old units
in order: a new prompt does not reshuffle the others.

``prompt``     all judgements of a prompt are on one side
``user``       all judgements of a person are on one side
``judgement``  judgements at random, but those of one person about the same responses stay together
``candidate``  candidates are divided; judgements that touch both sides belong to neither, are dropped and counted
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from hashlib import blake2b
from typing import TYPE_CHECKING

import numpy as np

from guerdon.errors import ConfigError, FeedbackError

if TYPE_CHECKING:
    from guerdon.feedback.star import Feedback

UNITS = ("prompt", "user", "judgement", "candidate")


def split(feedback: Feedback, by: str = "prompt", holdout: float = 0.1, seed: int = 0) -> tuple[Feedback, Feedback]:
    """(train, held out): about ``holdout`` of the units, at least one, and never all.

    Raises :class:`FeedbackError` where no split is possible, with what to do instead.
    """
    if by not in UNITS:
        raise ConfigError(f"split by {by!r} is unknown; use one of {', '.join(UNITS)}")
    if not 0 < holdout < 1:
        raise ConfigError(f"holdout={holdout}: use a share between 0 and 1, e.g. 0.1")
    if not len(feedback):
        raise FeedbackError("there are no judgements to split")
    if by == "candidate":
        return _by_candidate(feedback, holdout, seed)
    unit, order = {"prompt": _prompts, "user": _people, "judgement": _verdicts}[by](feedback, seed)
    held = _first(order, holdout, by, feedback)[unit]
    return feedback.take(~held), feedback.take(held)


def _first(order: np.ndarray, holdout: float, by: str, feedback: Feedback) -> np.ndarray:
    """bool [units] the units that are held out: the lowest of ``order``, as near to the share as whole units allow."""
    n = len(order)
    if n < 2:
        others = {
            "prompt": "user or candidate",
            "user": "prompt",
            "judgement": "nothing: one judgement cannot be split",
        }
        if by == "prompt" and len(feedback.users) < 2:
            others["prompt"] = "candidate or judgement"
        raise FeedbackError(f"only one {by} in this feedback, so it cannot be split by {by}; use --split {others[by]}")
    k = min(max(round(holdout * n), 1), n - 1)
    held = np.zeros(n, bool)
    held[np.argsort(order, kind="stable")[:k]] = True
    return held


def _prompts(fb: Feedback, seed: int) -> tuple[np.ndarray, np.ndarray]:
    used, unit = np.unique(fb.judgement_prompt, return_inverse=True)
    return unit, _hashes((fb.prompts[int(i)].as_py() for i in used), seed)


def _people(fb: Feedback, seed: int) -> tuple[np.ndarray, np.ndarray]:
    nobody = int((fb.user < 0).sum())
    if nobody:
        raise FeedbackError(
            f"{nobody:,} of {len(fb):,} judgements do not say whose they are, so they cannot be split by user; "
            "use --split prompt, or name the column with --map user=COLUMN"
        )
    used, unit = np.unique(fb.user, return_inverse=True)
    return unit, _hashes((fb.users[i] for i in used), seed)


def _verdicts(fb: Feedback, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A unit is a person and a set of responses; its hash is the sum of its parts', so their order does not count."""
    content = _candidate_hashes(fb, seed)
    person = np.append(_hashes(fb.users, seed), np.uint64(0))[fb.user]
    total = np.add.reduceat(content[fb.items], fb.offsets[:-1]) + person * np.uint64(0x9E3779B97F4A7C15)
    order, unit = np.unique(total, return_inverse=True)
    return unit, _scrambled(order)


def _by_candidate(fb: Feedback, holdout: float, seed: int) -> tuple[Feedback, Feedback]:
    used, position = np.unique(fb.items, return_inverse=True)
    if len(used) < 2:
        raise FeedbackError("only one candidate in this feedback, so it cannot be split by candidate")
    held = _first(_scrambled(_candidate_hashes(fb, seed)[used]), holdout, "candidate", fb)
    share = np.add.reduceat(held[position].astype(np.int64), fb.offsets[:-1])
    inside, outside = share == fb.sizes, share == 0
    if not inside.any() or not outside.any():
        side = "held-out" if not inside.any() else "training"
        raise FeedbackError(
            f"no judgement compares {side} candidates only; raise or lower --holdout, or use --split judgement"
        )
    dropped = int(len(fb) - inside.sum() - outside.sum())
    note = f"split by candidate: {dropped:,} judgements that touch both sides dropped"
    parts = [replace(fb.take(rows), notes=(*fb.notes, note) if dropped else fb.notes) for rows in (outside, inside)]
    return parts[0], parts[1]


def _hashes(names: Iterable[str], seed: int) -> np.ndarray:
    """uint64 [n] of the names and the seed; equal on every machine."""
    key = str(seed).encode()[:64]
    raw = b"".join(blake2b(name.encode(), digest_size=8, key=key).digest() for name in names)
    return np.frombuffer(raw, dtype="<u8").astype(np.uint64)


def _candidate_hashes(fb: Feedback, seed: int) -> np.ndarray:
    """uint64 [C] of prompt and response."""
    prompts = _hashes((p.as_py() for p in fb.prompts), seed)
    responses = _hashes((r.as_py() for r in fb.responses), seed)
    return _scrambled(responses + _scrambled(prompts)[fb.prompt_of])


def _scrambled(x: np.ndarray) -> np.ndarray:
    """uint64 [n] well mixed (the finaliser of splitmix64), so that sums of hashes are in no order."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
