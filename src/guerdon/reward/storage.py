"""Fitted rewards on disk: one directory, no pickle, checked on the way in.

::

    config.json         format, registry name, hyper-parameters, encoder fingerprint, versions, checksums, summary
    model.safetensors   the learned arrays
    people.parquet      the people, where the reward is personal
    selftest.json       three example candidates with the scores they must get (checked when the directory is opened)
    README.md           the model card

Only classes listed in :mod:`guerdon.reward.registry` are ever opened. A directory is written beside its place under
another name and renamed at the end, so a reader sees the old model or the new one, never half of one.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from guerdon.errors import ConfigError, ModelError
from guerdon.reward.registry import MODELS, Model
from guerdon.reward.selftest import EXAMPLES, check_encoder, check_selftest, encoder_of, examine

if TYPE_CHECKING:
    from guerdon.reward.learned.fitted import FittedReward

FORMAT = 1
"""Version of the directory's layout; a higher number in a file means a newer guerdon wrote it."""

CONFIG, ARRAYS, PEOPLE, SELFTEST, CARD = FILES = (
    "config.json",
    "model.safetensors",
    "people.parquet",
    "selftest.json",
    "README.md",
)


def is_model(path: str | Path) -> bool:
    """Whether ``path`` is a directory that :func:`save` wrote (whatever its version or state)."""
    try:
        return "guerdon" in json.loads((Path(path) / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError):
        return False


# ---------------------------------------------------------------------------------------------------------- saving


def check_place(directory: str | Path) -> Path:
    """``directory`` if a model may be saved there, so that a long fit does not fail at its end.

    Raises
    ------
    ConfigError
        if it is a file, or holds something that is no guerdon model
    """
    directory = Path(directory)
    if directory.exists() and not directory.is_dir():
        raise ConfigError(f"{directory} is a file; name a directory to save the model into")
    if directory.is_dir() and any(directory.iterdir()) and not is_model(directory):
        raise ConfigError(f"{directory} is not empty and holds no guerdon model; name a new directory")
    return directory


def save(model: FittedReward, directory: Path) -> Path:
    """Write ``model`` into ``directory`` (made, or replaced if it holds a guerdon model) and return it.

    Files that guerdon does not know (notes, reports) stay in a directory that is replaced.

    Raises
    ------
    ConfigError
        if the directory holds something else, or the class is not in the registry
    """
    directory = check_place(directory)
    entry = _entry(model)
    directory.parent.mkdir(parents=True, exist_ok=True)
    temp = directory.with_name(f".{directory.name}.{os.getpid()}.part")
    shutil.rmtree(temp, ignore_errors=True)
    temp.mkdir()
    try:
        _write(model, entry, temp)
        _publish(temp, directory)
    finally:
        shutil.rmtree(temp, ignore_errors=True)
    return directory


def _entry(model: FittedReward) -> Model:
    """The registry's line for ``model``: by its name if the class fits, else the first line with its class."""
    target = f"{type(model).__module__}:{type(model).__qualname__}"
    fitting = [entry for entry in MODELS.values() if entry.target == target]
    if not fitting:
        raise ConfigError(f"{type(model).__name__} cannot be saved: list it in guerdon.reward.registry.MODELS first")
    return next((entry for entry in fitting if entry.name == model.name), fitting[0])


def _write(model: FittedReward, entry: Model, place: Path) -> None:
    import pyarrow.parquet as pq
    from safetensors.numpy import save_file

    from guerdon.reward.card import card

    save_file({k: np.ascontiguousarray(v) for k, v in model.arrays().items()}, str(place / ARRAYS))
    people = _people(model)
    if people is not None:
        pq.write_table(people, place / PEOPLE)
    config = {
        "guerdon": {"format": FORMAT, "version": version("guerdon")},
        "model": entry.name,
        "params": plain(model.params),
        "encoder": encoder_of(model),
        "people": None if people is None else people.num_rows,
        "summary": plain(getattr(model, "summary", {})),
        "versions": _versions(),
        "checksums": {name: _sha256(place / name) for name in (ARRAYS, PEOPLE) if (place / name).exists()},
    }
    _dump(place / SELFTEST, examine(model, people))
    (place / CARD).write_text(card(entry, config), encoding="utf-8")
    _dump(place / CONFIG, config)
    mode = (place / CONFIG).stat().st_mode  # safetensors writes for its owner only
    for file in place.iterdir():
        file.chmod(mode)
        with file.open("rb") as handle:
            os.fsync(handle.fileno())


def _publish(temp: Path, directory: Path) -> None:
    """Put ``temp`` in the place of ``directory``; files of the old directory that are not ours move along."""
    if not directory.exists():
        os.rename(temp, directory)
        return
    old = directory.with_name(f".{directory.name}.{os.getpid()}.old")
    os.rename(directory, old)
    os.rename(temp, directory)
    for file in old.iterdir():
        if file.name not in FILES:
            os.rename(file, directory / file.name)
    shutil.rmtree(old)


def _people(model: FittedReward) -> Any | None:
    table = getattr(model, "people_table", None)
    return None if table is None else table()


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in ("guerdon", "numpy", "torch", "transformers", "sentence-transformers"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def plain(value: Any) -> Any:
    """``value`` as JSON can hold it: arrays as lists, numpy scalars as Python's, NaN and infinities as null."""
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set):
        return [plain(v) for v in value]
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    if value is None or isinstance(value, str | int | bool):
        return value
    return str(value)


def _dump(path: Path, document: Any) -> None:
    path.write_text(json.dumps(plain(document), ensure_ascii=False, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def _sha256(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


# --------------------------------------------------------------------------------------------------------- opening


def load_directory(path: str | Path, *, verify: bool = True) -> FittedReward:
    """Open the model in ``path``.

    ``verify`` scores the self-test and compares; it needs the encoder (left out, with a warning in the log, where the
    encoder's package is missing).

    Raises
    ------
    ModelError
        if a file is missing, damaged or of a newer version, if the encoder here computes other features than the one
        the model was fitted on, or if the self-test does not come out
    """
    path = Path(path)
    config = _read_config(path)
    entry = MODELS.get(config["model"])
    if entry is not None and hasattr(entry.cls, "load"):  # a class with files of its own, e.g. a transformers model
        return entry.cls.load(path, verify=verify)  # type: ignore[attr-defined]
    for key in ("params", "checksums"):
        if key not in config:
            raise ModelError(f"{path / CONFIG} is damaged: no {key!r}; save the model again")
    if entry is None:
        raise ModelError(
            f"{path}: unknown model {config['model']!r}; this guerdon knows {', '.join(MODELS)} (newer ones may)"
        )
    try:
        model = entry.make(**config["params"])
    except ConfigError as error:
        raise ModelError(f"{path / CONFIG}: {error}; the model was saved by another version of guerdon") from error
    _check_files(path, config["checksums"])
    arrays = _read_arrays(path / ARRAYS)
    try:
        model.restore(arrays)
        if config.get("people") is not None:
            model.restore_people(_read_people(path / PEOPLE))  # type: ignore[attr-defined]
    except KeyError as error:
        raise ModelError(f"{path / ARRAYS}: no array {error}; the model was saved by another version") from error
    model.summary = config.get("summary", {})
    if verify:
        check_encoder(model, config.get("encoder"), path)
        check_selftest(model, _read_json(path / SELFTEST), path / SELFTEST)
    return model


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(f"{path} is missing; the model directory is not complete") from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ModelError(f"{path} is damaged ({error}); save the model again") from error


def _read_config(path: Path) -> dict[str, Any]:
    config = _read_json(path / CONFIG)
    if not isinstance(config, dict) or not isinstance(config.get("guerdon"), dict):
        raise ModelError(f"{path / CONFIG} does not describe a guerdon model")
    if config["guerdon"].get("format", 0) > FORMAT:
        raise ModelError(
            f"{path} was saved by guerdon {config['guerdon'].get('version')}, whose layout is newer than this one "
            f"({version('guerdon')}) reads: pip install --upgrade guerdon"
        )
    config.setdefault("model", config["guerdon"].get("model"))  # a transformers model keeps our part apart
    if config["model"] is None:
        raise ModelError(f"{path / CONFIG} is damaged: no 'model'; save the model again")
    return config


def _check_files(path: Path, checksums: dict[str, str]) -> None:
    for name, expected in checksums.items():
        if name not in FILES:
            raise ModelError(f"{path / CONFIG} is damaged: it lists an unknown file {name!r}")
        if not (path / name).is_file():
            raise ModelError(f"{path / name} is missing; the model directory is not complete")
        if _sha256(path / name) != expected:
            raise ModelError(f"{path / name} is damaged (its checksum differs from {CONFIG}); copy or save it again")


def _read_arrays(path: Path) -> dict[str, np.ndarray]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return load_file(str(path))
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path} is damaged ({error}); copy or save it again") from error


def _read_people(path: Path) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.read_table(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise ModelError(f"{path} is damaged ({error}); copy or save it again") from error


__all__ = ["EXAMPLES", "FORMAT", "check_place", "is_model", "load_directory", "plain", "save"]
