"""The cache of replies: one SQLite file, raw replies under the key of what was asked.

Key: 16 bytes of a hash of (model identity, messages, sampling, schema) and the draw's index. What is stored is the raw
reply of the server, never what was parsed from it, so that a better parser reads old replies again for free. Rows have
a checksum; a row that fails it is dropped and asked again. Write-ahead logging lets any number of processes read and
write at once; what is committed survives a kill. The first reply stored under a key stays: whoever comes later gets it.
"""

from __future__ import annotations

import json
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

from guerdon.encode.cache import cache_root

log = logging.getLogger(__name__)

VERSION = 1
"""Of the key; another version finds nothing of the old one."""
FILE = "replies.sqlite3"
MANY, SOON = 128, 0.2
"""Replies that are committed together, and the seconds after which fewer are: what a kill may cost."""


def key_stem(identity: str, messages: Any, sampling: dict[str, Any], schema: Any) -> Any:
    """The hash of a request without its draw; :func:`draw_key` completes it."""
    asked = {"v": VERSION, "model": identity, "messages": messages, "sampling": sampling, "schema": schema}
    text = json.dumps(asked, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return blake2b(text.encode(), digest_size=16, person=b"guerdon-replies")


def draw_key(stem: Any, draw: int) -> bytes:
    """The 16-byte key of one draw of a request."""
    digest = stem.copy()
    digest.update(b"\0%d" % draw)
    return digest.digest()


def default_path() -> Path | None:
    """The file in the user's cache folder; None where ``GUERDON_CACHE=off``."""
    root = cache_root()
    return None if root is None else root / FILE


class ReplyCache:
    """Raw replies by key. Thread-safe; any number of processes may share the file.

    A file that is no database any more is moved aside (``.damaged-...``) and a new one begun.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path).expanduser()
        self._lock = threading.RLock()
        self._pending: dict[bytes, bytes] = {}
        self._committed = time.monotonic()
        self._writable = True
        self._db: sqlite3.Connection | None = None
        self._pid = 0

    def get(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """The raw replies of those keys that are known and undamaged."""
        with self._lock:
            found = {key: self._pending[key] for key in keys if key in self._pending}
            try:
                damaged = self._read([key for key in keys if key not in found], found)
                if damaged:
                    log.warning("%s: %d damaged replies are asked again", self.path, len(damaged))
                    with self._open() as db:
                        db.executemany("DELETE FROM replies WHERE key = ?", [(key,) for key in damaged])
            except sqlite3.OperationalError as error:
                log.warning("the cache of replies %s cannot be read (%s)", self.path, error)
            except sqlite3.DatabaseError as error:
                self._set_aside(error)
            return found

    def put(self, key: bytes, raw: bytes) -> None:
        """Keep a reply; it reaches the disk with the next commit."""
        with self._lock:
            self._pending.setdefault(key, raw)
            if len(self._pending) >= MANY or time.monotonic() - self._committed >= SOON:
                self.flush()

    def flush(self) -> None:
        """Commit what was put. A disk that cannot be written costs a warning, not the run."""
        with self._lock:
            self._committed = time.monotonic()
            if not self._pending or not self._writable:
                return
            now = time.time()
            rows = [(key, raw, _check(key, raw), now) for key, raw in self._pending.items()]
            for last in (False, True):
                try:
                    with self._open() as db:  # commits, or rolls back
                        db.executemany("INSERT OR IGNORE INTO replies VALUES (?, ?, ?, ?)", rows)
                    self._pending = {}
                    return
                except (sqlite3.OperationalError, OSError) as error:
                    self._give_up(error)
                    return
                except sqlite3.DatabaseError as error:
                    self._set_aside(error)
                    if last:
                        self._give_up(error)

    def close(self) -> None:
        """Commit and close; the next use opens the file again."""
        with self._lock:
            self.flush()
            if self._db is not None and self._pid == os.getpid():
                self._db.close()
            self._db = None

    def __len__(self) -> int:
        with self._lock:
            self.flush()
            return int(self._open().execute("SELECT count(*) FROM replies").fetchone()[0])

    # ------------------------------------------------------------------ inside

    def _open(self) -> sqlite3.Connection:
        if self._db is None or self._pid != os.getpid():  # a connection must not be used across a fork
            self.path.parent.mkdir(parents=True, exist_ok=True)
            db = sqlite3.connect(self.path, timeout=60.0, check_same_thread=False)
            self._pid, self._db = os.getpid(), db
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA synchronous=NORMAL")
            db.execute(
                "CREATE TABLE IF NOT EXISTS replies"
                " (key BLOB PRIMARY KEY, raw BLOB NOT NULL, sum BLOB NOT NULL, at REAL NOT NULL) WITHOUT ROWID"
            )
        return self._db

    def _read(self, keys: list[bytes], found: dict[bytes, bytes]) -> list[bytes]:
        """Fill ``found``; returns the keys of damaged rows."""
        damaged: list[bytes] = []
        if not keys or not (self._db or self.path.exists()):
            return damaged
        db = self._open()
        for part in _parts(keys, 500):
            marks = ",".join("?" * len(part))
            for key, raw, check in db.execute(f"SELECT key, raw, sum FROM replies WHERE key IN ({marks})", part):
                if isinstance(raw, bytes) and check == _check(key, raw):
                    found[key] = raw
                else:
                    damaged.append(key)
        return damaged

    def _set_aside(self, error: sqlite3.DatabaseError) -> None:
        if self._db is not None:
            self._db.close()
        self._db = None
        aside = self.path.with_name(f"{self.path.name}.damaged-{time.time_ns()}")
        log.warning("the cache of replies %s is damaged (%s); it is moved to %s", self.path, error, aside.name)
        try:
            self.path.replace(aside)
            for tail in ("-wal", "-shm"):
                self.path.with_name(self.path.name + tail).unlink(missing_ok=True)
        except OSError as problem:
            self._give_up(problem)

    def _give_up(self, error: Exception) -> None:
        self._writable = False
        log.warning("replies cannot be cached in %s (%s); set GUERDON_CACHE to a folder that can be written, or to off",
                    self.path, error)  # fmt: skip


def _check(key: bytes, raw: bytes) -> bytes:
    return blake2b(raw, digest_size=8, key=key).digest()


def _parts(items: Sequence[bytes], size: int) -> Iterable[Sequence[bytes]]:
    return (items[lo : lo + size] for lo in range(0, len(items), size))
