"""Where a model's files are and what exactly they are: a folder by its content, a hub name by its commit."""

from __future__ import annotations

import json
import logging
import os
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

from guerdon.encode.cache import cache_root
from guerdon.errors import BackendError, ConfigError, need

log = logging.getLogger(__name__)

IGNORED = (".md", ".onnx", ".msgpack", ".h5", ".png", ".gitattributes")
IGNORED_FOLDERS = ("onnx", "openvino", "coreml")


@dataclass(frozen=True)
class Source:
    """A model to open: ``name`` for ``from_pretrained`` (a folder or a hub name), the pinned ``revision`` of a hub
    name, ``identity``, equal exactly where the files are equal, and the ``folder`` its files are in."""

    name: str
    revision: str | None
    identity: str
    folder: Path

    def config(self) -> dict[str, Any]:
        """The model's ``config.json`` as it stands, empty where there is none to read."""
        try:
            return json.loads((self.folder / "config.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}


def locate(name: str, revision: str | None = None) -> Source:
    """Find a model by folder or hub name.

    A folder is identified by the content of its files, wherever it lies; a hub name by its commit, looked up in the
    local hub cache or on the hub. :class:`BackendError` where neither has it.
    """
    if not name:
        raise ConfigError("the encoder needs a model: a folder or a hub name, e.g. hf:org/model")
    path = Path(name).expanduser()
    if path.is_dir():
        if revision is not None:
            raise ConfigError(f"revision={revision} belongs to hub names; {name} is a folder")
        path = path.resolve()
        return Source(str(path), None, folder_digest(path), path)
    if path.exists():
        raise ConfigError(f"{name} is a file; give the folder of the model")
    if name.startswith((".", "~", os.sep)) or name.count("/") > 1:
        raise BackendError(f"no model folder at {name}")
    folder = _hub_snapshot(name, revision)
    return Source(name, folder.name, f"{name}@{folder.name}", folder)


def _hub_snapshot(name: str, revision: str | None) -> Path:
    """The folder of a hub model's snapshot, named by its commit."""
    try:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import HFValidationError
    except ImportError:
        raise need("huggingface_hub", "text") from None
    problem = ""
    for file in ("config.json", "modules.json"):
        try:
            return Path(hf_hub_download(name, file, revision=revision)).parent
        except (OSError, HFValidationError) as error:  # every hub error that says "not there" is an OSError
            problem = problem or str(error).strip().split("\n")[0]
    at = f" at revision {revision}" if revision else ""
    raise BackendError(
        f"model {name!r}{at} is neither a folder nor in the local hub cache, and cannot be fetched: {problem}"
    )


def folder_digest(folder: Path) -> str:
    """A hash of the files of a model folder: names and contents, except documentation and other runtimes' copies."""
    digest = blake2b(digest_size=16)
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        if any(p.startswith(".") or p in IGNORED_FOLDERS for p in inside.parts) or not path.is_file():
            continue
        if path.suffix.lower() not in IGNORED:
            digest.update(f"{inside.as_posix()}\0{file_digest(path)}\0".encode())
    return digest.hexdigest()


def file_digest(path: Path) -> str:
    """A hash of a file's content. Remembered beside the feature cache for large files, until the file changes."""
    about = path.stat()
    stamp = [str(path.resolve()), about.st_size, about.st_mtime_ns, about.st_ctime_ns, about.st_ino]
    root = cache_root() if about.st_size > 2**20 else None
    memo = None
    if root is not None:
        memo = root / "digests" / (blake2b(json.dumps(stamp).encode(), digest_size=16).hexdigest() + ".json")
        try:
            known = json.loads(memo.read_text(encoding="utf-8"))
            if known["file"] == stamp and len(known["digest"]) == 32:
                return known["digest"]
        except (OSError, ValueError, KeyError, TypeError):  # not there yet, or damaged: hash again
            pass
    digest = blake2b(digest_size=16)
    with path.open("rb") as file:
        while block := file.read(2**22):
            digest.update(block)
    if memo is not None:
        try:
            memo.parent.mkdir(parents=True, exist_ok=True)
            part = memo.with_suffix(f".{os.getpid()}.part")
            part.write_text(json.dumps({"file": stamp, "digest": digest.hexdigest()}), encoding="utf-8")
            os.replace(part, memo)
        except OSError as error:
            log.debug("digest of %s is not remembered: %s", path, error)
    return digest.hexdigest()
