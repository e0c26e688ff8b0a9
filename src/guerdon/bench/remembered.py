"""Scores kept on disk by what computed them and what was scored: a run that was cut short goes on where it was.

One SQLite file in the cache folder; a row is (reward's fingerprint, hash of the question) to value, status and reason.
A question is a prompt and a response with the columns that the reward reads, or two responses for a comparison. Only
answers are kept: an unscored question is asked again, since what failed once (a server, a time-out) may work now.

Several processes may share the file. A damaged or foreign file is not used, with a warning.
"""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Callable, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from guerdon.bench.stepwise import in_steps
from guerdon.feedback.messages import pack
from guerdon.feedback.schema import Candidates
from guerdon.generate.pictures import images_in, open_picture
from guerdon.reward.base import Reward, Scores

BATCH = 256
log = logging.getLogger(__name__)


def remembered(
    reward: Reward,
    fingerprint: str,
    folder: Path,
    *,
    batch: int = BATCH,
    progress: Callable[[int, int], None] | None = None,
) -> Remembered:
    """``reward``, asked only for what ``folder`` does not hold yet; it scores or compares as the reward does.

    fingerprint   names exactly what the reward computes (:func:`guerdon.reward.load.fingerprint`)
    batch         questions asked at once; what is lost by a kill
    progress      called with (questions answered, questions to ask) after each batch
    """
    if type(reward).score is Reward.score:
        kind = _Compares
    else:
        kind = Remembered if type(reward).prefer is Reward.prefer else _Both
    return kind(reward, fingerprint, folder, batch=batch, progress=progress)


def kept(
    reward: Reward, spec: str, *, always: bool = False, progress: Callable[[int, int], None] | None = None
) -> Reward:
    """``reward`` with its scores kept in the cache folder where scoring takes long and what it computes has a name.

    always    rules, too, which are cheap as a rule
    progress  called with (questions answered, questions to ask) on the way
    """
    from guerdon.encode.cache import cache_root
    from guerdon.reward.load import fingerprint

    root = cache_root()
    if root is None or hasattr(reward, "encoder") or (spec.startswith("rule:") and not always):
        # features are cached already, and rules are cheap
        return reward if progress is None else in_steps(reward, progress)
    if spec.startswith("scores:"):
        return reward  # they are in a file already
    return remembered(reward, fingerprint(spec), root / "scores", progress=progress)


class Remembered(Reward):
    """See :func:`remembered`."""

    def __init__(
        self,
        reward: Reward,
        fingerprint: str,
        folder: Path,
        *,
        batch: int,
        progress: Callable[[int, int], None] | None,
    ) -> None:
        self.reward, self.fingerprint, self.batch, self.progress = reward, fingerprint, batch, progress
        self.name, self.reads, self.sees = reward.name, reward.reads, reward.sees
        self.hits = 0
        self._file = folder / "scores.sqlite"
        self._connection: sqlite3.Connection | None = None

    def score(self, candidates: Candidates) -> Scores:
        """Scores, from the file where it has them."""
        return self._ask("score", [candidates], lambda parts: self.reward.score(parts[0]))

    def _prefer(self, a: Candidates, b: Candidates) -> Scores:
        return self._ask("prefer", [a, b], lambda parts: self.reward.prefer(parts[0], parts[1]))

    def _ask(self, kind: str, sides: list[Candidates], ask: Callable[[list[Candidates]], Scores]) -> Scores:
        n = len(sides[0])
        keys = [self._key(kind, sides, i) for i in range(n)]
        known = self._known(keys)
        self.hits += len(known)
        value = np.array([known.get(key, np.nan) for key in keys])
        status: list[str] = ["scored"] * n
        reason: list[str | None] = [None] * n
        first: dict[bytes, int] = {}
        for i, key in enumerate(keys):
            if key not in known:
                first.setdefault(key, i)
        rows = list(first.values())
        done = 0
        said: dict[bytes, tuple[float, str, str | None]] = {}
        for lo in range(0, len(rows), self.batch):
            part = rows[lo : lo + self.batch]
            answer = ask([side.take(part) for side in sides])
            fresh = {
                keys[i]: (float(v), s, r)
                for i, v, s, r in zip(part, answer.value, answer.status, answer.reason, strict=True)
            }
            said |= fresh
            self._keep([(key, v) for key, (v, _, _) in fresh.items() if not np.isnan(v)])
            done += len(part)
            if self.progress is not None:
                self.progress(done, len(rows))
        for i, key in enumerate(keys):
            if key in said:
                value[i], status[i], reason[i] = said[key]
        return Scores(value, status, reason)

    def _key(self, kind: str, sides: Sequence[Candidates], i: int) -> bytes:
        first = sides[0]
        columns: dict[str, Any] = {name: getattr(first, name) for name in ("user", "criterion") if name in self.reads}
        columns["reference"] = first.reference
        columns |= first.extra
        said = {name: column[i] for name, column in columns.items() if column is not None}
        shown = [first.prompts[i], *(side.responses[i] for side in sides)]
        asked: list[Any] = [self.fingerprint, kind, [pack(text) for text in shown], said]
        # a file that holds another image now is another question
        images = [open_picture(s).digest for text in shown for s in images_in(text)] if "image" in self.sees else []
        whole = json.dumps(asked + [images] * bool(images), ensure_ascii=False, sort_keys=True, default=str)
        return blake2b(whole.encode("utf-8", "surrogatepass"), digest_size=16).digest()

    def _open(self) -> sqlite3.Connection | None:
        if self._connection is None:
            try:
                self._file.parent.mkdir(parents=True, exist_ok=True)
                connection = sqlite3.connect(self._file, timeout=60)
                connection.execute("CREATE TABLE IF NOT EXISTS score (key BLOB PRIMARY KEY, value REAL NOT NULL)")
            except (OSError, sqlite3.Error) as error:
                log.warning("scores are not kept: %s cannot be used (%s)", self._file, error)
                return None
            self._connection = connection
        return self._connection

    def _known(self, keys: Sequence[bytes]) -> dict[bytes, float]:
        connection = self._open()
        found: dict[bytes, float] = {}
        if connection is None:
            return found
        wanted = list(dict.fromkeys(keys))
        try:
            for lo in range(0, len(wanted), 500):
                part = wanted[lo : lo + 500]
                marks = ",".join("?" * len(part))
                found |= dict(connection.execute(f"SELECT key, value FROM score WHERE key IN ({marks})", part))
        except sqlite3.Error as error:
            log.warning("scores are not kept: %s cannot be used (%s)", self._file, error)
            return {}
        return found

    def _keep(self, rows: list[tuple[bytes, float]]) -> None:
        connection = self._open()
        if connection is None or not rows:
            return
        try:
            with connection:
                connection.executemany("INSERT OR REPLACE INTO score VALUES (?, ?)", rows)
        except sqlite3.Error as error:
            log.warning("scores are not kept: %s cannot be used (%s)", self._file, error)


class _Both(Remembered):
    """A reward that knows better than the logistic of a difference."""

    def prefer(self, a: Candidates, b: Candidates) -> Scores:
        """The reward's own P(a preferred), from the file where it has it."""
        return self._prefer(a, b)


class _Compares(Remembered):
    """A reward that only compares."""

    score = Reward.score

    def prefer(self, a: Candidates, b: Candidates) -> Scores:
        """P(a preferred), from the file where it has it."""
        return self._prefer(a, b)
