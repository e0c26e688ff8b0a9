"""Long output that survives a kill: rows go to ``OUT.part`` as they are made, a small journal says how far it got.

After every batch the part file is flushed to disk and the journal ``OUT.part.json`` is replaced in one step: it holds
the number of input rows done, the bytes of the part that belong to them, a chained digest of those input rows, and a
key for everything else the output depends on. A restart with the same key cuts the part back to the journal's bytes
(a kill may have left half a batch behind), checks that the input still begins with the same rows, and goes on from
there: batches fall on the same rows as in an undisturbed run, so the output is the same to the byte.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO

from guerdon.errors import ConfigError


class Journal:
    """The unfinished output of one command.

    Parameters
    ----------
    out : the finished file's path
    key : what the output depends on besides its input (reward fingerprint, options); JSON-ready
    """

    def __init__(self, out: Path, key: dict[str, Any]) -> None:
        self.out = out
        self.part = out.with_name(out.name + ".part")
        self.path = out.with_name(out.name + ".part.json")
        self.key = key
        self.rows = 0
        self.bytes = 0
        self.digest = ""
        self.counts: Counter[str] = Counter()
        self.notice: str | None = None
        """What became of an earlier, unfinished run; None if there was none."""
        self._file = self._open()
        self._resume()

    # ------------------------------------------------------------------ an earlier run

    def _open(self) -> BinaryIO:
        try:
            file = self.part.open("r+b" if self.part.exists() else "w+b")
        except OSError as error:
            raise ConfigError(f"--out {self.out}: cannot be written ({error.strerror})") from None
        try:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # let go of when the process ends, however it ends
        except BlockingIOError:
            file.close()
            raise ConfigError(f"--out {self.out}: another guerdon is writing it") from None
        except (ImportError, OSError):
            pass  # no locks on this system
        return file

    def _resume(self) -> None:
        size = self._file.seek(0, os.SEEK_END)
        try:
            found = json.loads(self.path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            if size:
                self._forget("an unfinished run left no journal")
            return
        except ValueError:
            return self._forget("the journal of an unfinished run is damaged")
        changed = [name for name, value in self.key.items() if found.get("key", {}).get(name) != value]
        if changed:
            return self._forget(f"an unfinished run had another {' and '.join(changed)}")
        if size < found["bytes"]:
            return self._forget("an unfinished run lost its rows")
        self.rows, self.bytes, self.digest = found["rows"], found["bytes"], found["digest"]
        self.counts = Counter(found["counts"])
        self._file.truncate(self.bytes)
        self._file.seek(self.bytes)
        self.notice = f"resuming {self.out} after {self.rows:,} rows"

    def _forget(self, why: str) -> None:
        self.restart()
        self.notice = f"{why}; starting {self.out} anew"

    def restart(self) -> None:
        """Throw the earlier run away."""
        self.rows = self.bytes = 0
        self.digest, self.counts = "", Counter()
        self.path.unlink(missing_ok=True)
        self._file.seek(0)
        self._file.truncate()

    # ------------------------------------------------------------------ this run

    def write(self, lines: bytes, rows: list[bytes], counts: Counter[str]) -> None:
        """Add a batch for good: its output, the input rows it was made of (for the digest), and counts to keep."""
        self._file.write(lines)
        self._file.flush()
        os.fsync(self._file.fileno())
        self.bytes += len(lines)
        self.rows += len(rows)
        self.digest = chain(self.digest, rows)
        self.counts.update(counts)  # += would drop sums that are below 0
        document = {
            "key": self.key,
            "rows": self.rows,
            "bytes": self.bytes,
            "digest": self.digest,
            "counts": dict(self.counts),
        }
        temp = self.path.with_name(self.path.name + ".new")
        with temp.open("w", encoding="utf-8") as file:
            json.dump(document, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temp, self.path)

    def close(self) -> None:
        """Leave everything as it is, to be resumed."""
        self._file.close()

    def done(self) -> None:
        """The finished file is in its place: remove what is left of the journal."""
        self._file.close()
        self.part.unlink(missing_ok=True)
        self.path.unlink(missing_ok=True)


def chain(digest: str, rows: Iterable[bytes]) -> str:
    """The digest of all rows so far, given the digest of those before ``rows``; the same however they are batched."""
    for row in rows:
        digest = hashlib.blake2b(digest.encode() + row, digest_size=16).hexdigest()
    return digest
