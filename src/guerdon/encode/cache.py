"""The feature cache: what was encoded once is read from disk afterwards, bit for bit.

Place: the folder ``GUERDON_CACHE``, else the user's cache folder (``XDG_CACHE_HOME``, ``~/.cache``, or what Windows and
macOS call it) + ``/guerdon``; ``GUERDON_CACHE=off`` turns it off. One folder a fingerprint under ``features/``, and in
it shards (:mod:`guerdon.encode.shards`) that are written beside their place and moved there, so any number of processes
may read and write at once without locks: the worst that happens is that two of them compute the same text. Small shards
are merged into large ones as they pile up; rows whose checksum fails are dropped and computed again.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import sys
import threading
import time
from collections.abc import Iterable
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from guerdon.encode.shards import KEY, SUFFIX, TEMPORARY, DamagedShard, Shard, write_shard
from guerdon.errors import ConfigError

log = logging.getLogger(__name__)

FULL = 64 * 2**20  # bytes of a shard that is not merged any further
MANY = 64  # small shards before they are merged
RECENT = 16  # shards searched one by one before the index of all is sorted anew
ABOUT = "about.json"


def cache_root() -> Path | None:
    """The folder of guerdon's caches, None where ``GUERDON_CACHE`` is ``off``. Nothing is created."""
    said = os.environ.get("GUERDON_CACHE", "").strip()
    if said.lower() in ("off", "0", "no", "none", "false"):
        return None
    if said:
        return Path(said).expanduser()
    xdg = os.environ.get("XDG_CACHE_HOME", "").strip()
    if xdg:
        base = Path(xdg).expanduser()
    elif sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path.home() / ".cache"
    return base / "guerdon"


def key_of(*parts: str) -> bytes:
    """The 16-byte key of a text (one part) or of texts that belong together (several)."""
    digest = blake2b(digest_size=KEY, person=b"guerdon-features")
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.digest()


class FeatureCache:
    """The cached features of one fingerprint. Use :func:`open_cache`, which shares one object a folder.

    Thread-safe. Rows are handed out only if their checksum holds.
    """

    def __init__(self, directory: Path, d: int, about: dict[str, Any] | None = None) -> None:
        self.directory = directory
        self.d = d
        self.about = about or {}
        self._lock = threading.RLock()
        self._shards: dict[str, Shard] = {}
        self._order: list[Shard] = []  # the shards of the sorted index ...
        self._first = np.zeros(0, np.uint64)  # ... the leading half of their keys, sorted
        self._where = np.zeros((0, 2), np.int32)  # ... and (shard, row) of each
        self._recent: list[Shard] = []  # shards not in it yet
        self._pending: list[tuple[np.ndarray, np.ndarray]] = []
        self._pending_rows = 0
        self._writable = True
        self._started = self._flushed = time.monotonic()

    def lookup(self, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(float32 [n, d] rows, bool [n] found) of ``keys`` uint8 [n, 16]; rows not found are zero."""
        out = np.zeros((len(keys), self.d), dtype=np.float32)
        found = np.zeros(len(keys), dtype=bool)
        if not len(keys):
            return out, found
        with self._lock:
            self._refresh()
            damaged = self._read_index(keys, out, found)
            for shard in self._recent:
                damaged |= self._read_shard(shard, keys, out, found)
            if damaged:
                names = ", ".join(sorted(shard.path.name for shard in damaged))
                log.warning("feature cache %s: damaged rows in %s; they are computed again", self.directory, names)
                self._merge(list(damaged))
        return out, found

    def begin(self) -> None:
        """Start the clock by which :meth:`add` decides when to write: call it before a run of additions."""
        self._started = self._flushed = time.monotonic()

    def add(self, keys: np.ndarray, rows: np.ndarray) -> None:
        """Keep ``rows`` float32 [n, d] under ``keys`` uint8 [n, 16].

        Rows reach the disk when a shard is full, every five seconds or every twentieth of the time since
        :meth:`begin`, whichever is longer, and at :meth:`flush`: a killed run loses at most that much.
        """
        with self._lock:
            self._pending.append((np.array(keys, np.uint8), np.array(rows, np.float32)))
            self._pending_rows += len(rows)
            now = time.monotonic()
            patience = max(5.0, 0.05 * (now - self._started))
            if self._pending_rows * self.d * 4 >= FULL or now - self._flushed >= patience:
                self.flush()

    def flush(self) -> None:
        """Write what was added. A disk that cannot be written costs a warning, not the run."""
        with self._lock:
            self._flushed = time.monotonic()
            if not self._pending_rows:
                return
            keys = np.concatenate([k for k, _ in self._pending])
            rows = np.concatenate([r for _, r in self._pending])
            self._pending, self._pending_rows = [], 0
            if not self._writable:
                return
            try:
                self._describe()
                self._adopt(write_shard(self.directory, keys, rows))
                small = [s for s in self._shards.values() if s.bytes < FULL // 2]
                if len(small) > MANY:
                    self._merge(small)
            except OSError as error:
                self._writable = False
                log.warning(
                    "features cannot be cached in %s (%s); they are computed every time. Set GUERDON_CACHE to a "
                    "folder that can be written, or to off",
                    self.directory,
                    error,
                )

    # ------------------------------------------------------------------ inside

    def _describe(self) -> None:
        """Create the folder and write what it holds, for people and for :func:`cache_report`."""
        self.directory.mkdir(parents=True, exist_ok=True)
        path = self.directory / ABOUT
        if not path.exists():
            part = path.with_suffix(f".{os.getpid()}{TEMPORARY}")
            part.write_text(json.dumps({**self.about, "features": self.d}, indent=1, sort_keys=True), encoding="utf-8")
            os.replace(part, path)

    def _names(self) -> list[str]:
        try:
            return sorted(e.name for e in os.scandir(self.directory) if e.name.endswith(SUFFIX))
        except FileNotFoundError:
            return []

    def _refresh(self) -> None:
        """Open the shards that appeared since, forget those that vanished."""
        names = self._names()
        gone = set(self._shards) - set(names)
        for name in names:
            if name not in self._shards:
                self._adopt(self.directory / name)
        if gone:
            for name in gone:
                del self._shards[name]
            self._recent = [s for s in self._recent if s.path.name not in gone]
        if len(self._recent) > RECENT or (gone and any(s.path.name in gone for s in self._order)):
            self._sort()

    def _adopt(self, path: Path) -> None:
        try:
            shard = Shard(path, self.d)
        except FileNotFoundError:  # merged away by another process in between
            return
        except DamagedShard as error:
            log.warning("feature cache: dropping damaged %s (%s); its texts are computed again", path, error)
            path.unlink(missing_ok=True)
            return
        self._shards[path.name] = shard
        self._recent.append(shard)

    def _sort(self) -> None:
        """Index all shards: keys sorted by their leading 8 bytes, earlier shards first."""
        self._order = [self._shards[name] for name in sorted(self._shards)]
        self._recent = []
        first = [s.keys[:, :8].copy().view("<u8").ravel() for s in self._order]
        rows = [np.stack([np.full(len(s), i, np.int32), np.arange(len(s), dtype=np.int32)], 1)
                for i, s in enumerate(self._order)]  # fmt: skip
        self._first = np.concatenate([np.zeros(0, "<u8"), *first])
        self._where = np.concatenate([np.zeros((0, 2), np.int32), *rows])
        order = np.argsort(self._first, kind="stable")
        self._first, self._where = self._first[order], self._where[order]

    def _read_index(self, keys: np.ndarray, out: np.ndarray, found: np.ndarray) -> set[Shard]:
        """Fill ``out`` and ``found`` from the sorted index; returns the shards with damaged rows."""
        if not len(self._first):
            return set()
        wanted = np.ascontiguousarray(keys[:, :8]).view("<u8").ravel()
        at = np.minimum(np.searchsorted(self._first, wanted), len(self._first) - 1)
        hits = np.flatnonzero(self._first[at] == wanted)
        where = self._where[at[hits]]
        damaged = set()
        for i in np.unique(where[:, 0]):
            mine = where[:, 0] == i
            if self._take(self._order[i], where[mine, 1], hits[mine], keys, out, found):
                damaged.add(self._order[i])
        return damaged

    def _read_shard(self, shard: Shard, keys: np.ndarray, out: np.ndarray, found: np.ndarray) -> set[Shard]:
        """Fill what is still missing from one shard that is not in the sorted index."""
        missing = np.flatnonzero(~found)
        if not len(missing) or not len(shard):
            return set()
        mine = shard.keys[:, :8].copy().view("<u8").ravel()
        order = np.argsort(mine, kind="stable")
        wanted = np.ascontiguousarray(keys[missing, :8]).view("<u8").ravel()
        at = np.minimum(np.searchsorted(mine, wanted, sorter=order), len(mine) - 1)
        hit = mine[order[at]] == wanted
        return {shard} if self._take(shard, order[at[hit]], missing[hit], keys, out, found) else set()

    @staticmethod
    def _take(
        shard: Shard, rows: np.ndarray, to: np.ndarray, keys: np.ndarray, out: np.ndarray, found: np.ndarray
    ) -> bool:
        """Copy checked rows of ``shard`` to positions ``to``; True if one of them is damaged."""
        same = (shard.keys[rows] == keys[to]).all(1)  # the leading half of a key may be shared by two texts
        rows, to = rows[same], to[same]
        values, good = shard.read(rows)
        out[to[good]] = values[good]
        found[to[good]] = True
        return not good.all()

    def _merge(self, shards: list[Shard]) -> None:
        """Copy the good rows of ``shards`` into new shards, then remove them. Safe beside other processes: a row is
        removed only after whoever removes it has written it again."""
        shards = sorted(shards, key=lambda s: s.path.name)
        per_shard = max(1, FULL // (4 * max(self.d, 1)))
        keys: list[np.ndarray] = []
        rows: list[np.ndarray] = []
        waiting, seen = 0, set()

        def write() -> None:
            if waiting:
                self._adopt(write_shard(self.directory, np.concatenate(keys), np.concatenate(rows)))

        try:
            for shard in shards:
                names = [bytes(key) for key in shard.keys]
                values, good = shard.read(np.arange(len(shard)))
                keep = np.array([g and name not in seen for g, name in zip(good, names, strict=True)], dtype=bool)
                seen.update(name for name, kept in zip(names, keep, strict=True) if kept)
                keys.append(shard.keys[keep])
                rows.append(values[keep])
                waiting += int(keep.sum())
                if waiting >= per_shard:
                    write()
                    keys, rows, waiting = [], [], 0
            write()
            for shard in shards:
                shard.path.unlink(missing_ok=True)
                self._shards.pop(shard.path.name, None)
            for part in self.directory.glob(f"*{TEMPORARY}"):  # left by processes that were killed
                if time.time() - part.stat().st_mtime > 86_400:
                    part.unlink(missing_ok=True)
        except OSError as error:  # the small shards stay: nothing is lost
            log.warning("feature cache %s: small shards could not be merged (%s)", self.directory, error)
        self._sort()


_OPEN: dict[tuple[Path, int], FeatureCache] = {}
_OPEN_LOCK = threading.Lock()


def open_cache(fingerprint: str, d: int, about: dict[str, Any] | None = None) -> FeatureCache | None:
    """The cache of ``fingerprint`` with ``d`` features, None where caching is off."""
    root = cache_root()
    if root is None:
        return None
    if not fingerprint or any(c in fingerprint for c in "/\\"):
        raise ConfigError(f"fingerprint {fingerprint!r} cannot name a folder")
    directory = root / "features" / fingerprint
    with _OPEN_LOCK:
        return _OPEN.setdefault((directory, d), FeatureCache(directory, d, about))


def cache_report() -> list[dict[str, Any]]:
    """What the cache holds, one entry a fingerprint, largest first: ``fingerprint, rows, bytes, shards, used`` (time of
    the last write, seconds since the epoch) and what the encoder said about itself."""
    root = cache_root()
    report = []
    for folder in _folders(root):
        files = [f for f in folder.iterdir() if f.suffix in (SUFFIX, TEMPORARY)]
        about: dict[str, Any] = {}
        try:
            about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            about = {"damaged": True}
        d = int(about.get("features", 0) or 0)
        size = sum(f.stat().st_size for f in files)
        rows = 0
        for file in files:
            if file.suffix == SUFFIX:
                rows += max(0, file.stat().st_size - 32) // (KEY + 4 + 4 * d)
        report.append(
            {
                **about,
                "fingerprint": folder.name,
                "rows": rows,
                "bytes": size,
                "shards": sum(f.suffix == SUFFIX for f in files),
                "used": max((f.stat().st_mtime for f in files), default=folder.stat().st_mtime),
            }
        )
    return sorted(report, key=lambda entry: -entry["bytes"])


def clear_cache(fingerprints: Iterable[str] | None = None) -> int:
    """Remove the features of ``fingerprints`` (None: all of them); returns the bytes freed."""
    wanted = None if fingerprints is None else set(fingerprints)
    known = {entry["fingerprint"]: entry["bytes"] for entry in cache_report()}
    for name in (wanted or set()) - set(known):
        raise ConfigError(f"the feature cache has no {name!r}; it has: {', '.join(known) or 'nothing'}")
    root = cache_root()
    freed = 0
    for folder in _folders(root):
        if wanted is None or folder.name in wanted:
            freed += known.get(folder.name, 0)
            shutil.rmtree(folder, ignore_errors=True)
    return freed


def _folders(root: Path | None) -> list[Path]:
    base = root / "features" if root else None
    return sorted(p for p in base.iterdir() if p.is_dir()) if base and base.is_dir() else []
