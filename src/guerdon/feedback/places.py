"""Where each judgement was read from, so that a problem found after indexing still names its file and row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from guerdon.feedback.readers.containers import Container


@dataclass(frozen=True)
class Places:
    """The container and record of J judgements.

    file     int32 [J] index into ``containers``, -1 = made in memory
    record   int64 [J] 1-based: the line or record number; where ``counted`` holds for the container, which of its
             records it is (the line is then looked up only when somebody asks, see :meth:`found`)
    """

    containers: tuple[Container, ...]
    counted: tuple[bool, ...]
    file: np.ndarray
    record: np.ndarray

    @classmethod
    def of(cls, container: Container, record: np.ndarray, *, counted: bool) -> Places:
        """Judgements that all come from one container."""
        kept = replace(container, table=None)  # a place must not keep the rows themselves alive
        return cls((kept,), (counted,), np.zeros(len(record), np.int32), np.asarray(record, np.int64))

    def take(self, index: np.ndarray) -> Places:
        """The places of the judgements at ``index``."""
        return replace(self, file=self.file[index], record=self.record[index])

    @staticmethod
    def concatenate(parts: Sequence[Places | None], lengths: Sequence[int]) -> Places | None:
        """The places of all ``parts`` in order; ``None`` parts of the given lengths have none."""
        if all(p is None for p in parts):
            return None
        containers: list[Container] = []
        counted: list[bool] = []
        files, records = [], []
        for part, n in zip(parts, lengths, strict=True):
            if part is None:
                files.append(np.full(n, -1, np.int32))
                records.append(np.zeros(n, np.int64))
                continue
            files.append(np.where(part.file >= 0, part.file + len(containers), -1).astype(np.int32))
            records.append(part.record)
            containers += part.containers
            counted += part.counted
        return Places(tuple(containers), tuple(counted), np.concatenate(files), np.concatenate(records))

    def found(self, index: Sequence[int]) -> list[tuple[str, int | None, str | None]]:
        """``(file name, line or record number, raw text)`` of the judgements at ``index``.

        The raw text is None where the container has none (tables). Counted records are looked up by reading the
        container again up to them.
        """
        from guerdon.feedback.readers.containers import locate

        out: list[tuple[str, int | None, str | None]] = [("memory", None, None)] * len(index)
        wanted: dict[int, list[int]] = {}
        for at, j in enumerate(index):
            wanted.setdefault(int(self.file[j]), []).append(at)
        for code, positions in wanted.items():
            if code < 0:
                continue
            container = self.containers[code]
            numbers = [int(self.record[index[at]]) for at in positions]
            places = locate(container, numbers, counted=self.counted[code])
            for at, number in zip(positions, numbers, strict=True):
                line, raw = places.get(number, (number, None))
                out[at] = (container.name, line, raw)
        return out

    def where(self, j: int) -> str:
        """``file:line`` of judgement ``j``, for messages."""
        (name, row, _), code = self.found([j])[0], int(self.file[j])
        return name if row is None or code < 0 else self.containers[code].where(row)
