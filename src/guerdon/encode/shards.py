"""Shard files: features by key, written once, checked at every read.

::

    magic 8 | rows n u64 | features d u64 | checksum of keys and row checksums u32 | zero u32
    keys [n, 16] u8 | row checksums [n] u32 | zeros to a multiple of 64 | features [n, d] f32        (little-endian)

A row's checksum covers its key and its features, so a row can never be served under another key or with a bit
changed. The file is mapped, so reading a few rows of a large shard touches only those rows.
"""

from __future__ import annotations

import os
import secrets
import sys
import time
import zlib
from pathlib import Path

import numpy as np

MAGIC = b"guerdon\x01"
HEADER = 32
KEY = 16
SUFFIX = ".shard"
TEMPORARY = ".part"


class DamagedShard(Exception):
    """The file is not a shard, is cut short, or its index does not fit its checksum."""


class Shard:
    """One shard file, mapped: ``keys`` uint8 [n, 16], ``rows`` float32 [n, d] (unchecked: use :meth:`read`)."""

    def __init__(self, path: Path, d: int) -> None:
        """Open ``path``; :class:`DamagedShard` where it is no whole shard of ``d`` features."""
        self.path = path
        with path.open("rb") as file:
            head = file.read(HEADER)
            size = os.fstat(file.fileno()).st_size
            if len(head) < HEADER or head[:8] != MAGIC:
                raise DamagedShard("not a shard")
            n, width = (int(v) for v in np.frombuffer(head, "<u8", 2, 8))
            start = _start(n) if n < size else size + 1
            if width != d or start + 4 * n * d != size:
                raise DamagedShard(f"{size} bytes do not hold {n} x {width} features")
            index = file.read(n * (KEY + 4))
            if zlib.crc32(index, zlib.crc32(head[:24])) != int(np.frombuffer(head, "<u4", 1, 24)[0]):
                raise DamagedShard("the index does not fit its checksum")
            self.keys = np.frombuffer(index, np.uint8, n * KEY).reshape(n, KEY)
            self.checks = np.frombuffer(index, "<u4", n, n * KEY)
            self.rows = np.memmap(file, "<f4", "r", start, (n, d)) if n * d else np.zeros((n, d), "<f4")
        self.bytes = size

    def __len__(self) -> int:
        return len(self.keys)

    def read(self, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(float32 [m, d] rows at ``index``, bool [m] which of them are as they were written)."""
        rows = np.ascontiguousarray(self.rows[index], dtype=np.float32)
        return rows, _checks(self.keys[index], rows) == self.checks[index]


def write_shard(directory: Path, keys: np.ndarray, rows: np.ndarray) -> Path:
    """Write a new shard into ``directory`` (whole or not at all) and return its path.

    keys  uint8 [n, 16];  rows  float32 [n, d]
    """
    rows = np.ascontiguousarray(rows, dtype="<f4")
    n, d = rows.shape
    index = np.ascontiguousarray(keys, np.uint8).tobytes() + _checks(keys, rows).astype("<u4").tobytes()
    head = MAGIC + np.array([n, d], "<u8").tobytes()
    head += np.array([zlib.crc32(index, zlib.crc32(head)), 0], "<u4").tobytes()
    # names sort by time of writing, and never meet those of another process
    path = directory / f"{time.time_ns():020d}-{os.getpid()}-{secrets.token_hex(4)}{SUFFIX}"
    part = path.with_suffix(TEMPORARY)
    try:
        with part.open("wb") as file:
            file.write(head)
            file.write(index)
            file.write(b"\0" * (_start(n) - HEADER - len(index)))
            file.write(rows.reshape(-1).view(np.uint8).data)
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    return path


def _start(n: int) -> int:
    """Where the features of a shard of ``n`` rows begin."""
    return -(-(HEADER + n * (KEY + 4)) // 64) * 64


def _checks(keys: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """uint32 [n] checksum of each (key, row); rows are hashed as stored, little-endian."""
    if sys.byteorder == "big":
        rows = rows.astype("<f4")
    n, width = len(rows), rows.shape[1] * 4
    keys_bytes = np.ascontiguousarray(keys, np.uint8).tobytes()
    view = np.ascontiguousarray(rows).reshape(-1).view(np.uint8).data
    crc = zlib.crc32
    sums = [crc(view[i * width : (i + 1) * width], crc(keys_bytes[i * KEY : (i + 1) * KEY])) for i in range(n)]
    return np.array(sums, dtype=np.uint32)
