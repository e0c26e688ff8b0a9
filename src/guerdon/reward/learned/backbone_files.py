"""A fitted backbone on disk, in a form that others open too.

A decoder is saved as transformers' ``AutoModelForSequenceClassification`` (one output, ``problem_type="regression"``,
a pad token that is not eos, adapters merged), so ``pipeline("text-classification")``, vLLM and guerdon give the same
number. ``config.json`` carries an entry ``guerdon`` with the template's hash and the fit. For a mean-pooled encoder or
a decoder whose head has two layers (or gives preference embeddings) transformers has no such class: ``backbone/``
holds the transformer and its tokenizer, ``model.safetensors`` the head.

``selftest.json`` has three examples with their exact tokens and the score each must get; every loader can check it,
and guerdon does. A directory is written beside its place and renamed at the end.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from guerdon.encode.prefix import base_of
from guerdon.errors import ModelError
from guerdon.feedback.schema import Candidates
from guerdon.reward.learned.classifier import SELFTEST, TOLERANCE, quietly, verify_selftest
from guerdon.reward.learned.readout import LastToken
from guerdon.reward.storage import CARD, CONFIG, EXAMPLES, FORMAT, check_place, plain

if TYPE_CHECKING:
    from guerdon.reward.learned.backbone import BackboneReward

BODY, HEAD = "backbone", "model.safetensors"
ELSEWHERE = ("device", "batch_tokens", "checkpoint")
"""Settings of the machine it was fitted on, which a model that is opened does not take over."""


def save(reward: BackboneReward, directory: Path) -> Path:
    """Write ``reward`` into ``directory`` (made, or replaced if it holds a guerdon model) and return it."""
    if reward.readout is None or reward.renderer is None:
        raise ModelError("this reward is not fitted yet; call fit(feedback) before save")
    directory = check_place(directory)
    directory.parent.mkdir(parents=True, exist_ok=True)
    temp = directory.with_name(f".{directory.name}.{os.getpid()}.part")
    shutil.rmtree(temp, ignore_errors=True)
    temp.mkdir()
    try:
        _write(reward, temp)
        _publish(temp, directory)
    finally:
        shutil.rmtree(temp, ignore_errors=True)
    return directory


def _write(reward: BackboneReward, place: Path) -> None:
    from safetensors.torch import save_file
    from torch.nn import Linear

    assert reward.renderer is not None
    about = {
        "format": FORMAT,
        "version": version("guerdon"),
        "model": reward.name,
        "params": plain(reward.params),
        "summary": plain(reward.summary),
        "versions": {"python": platform.python_version(), **{p: version(p) for p in ("torch", "transformers")}},
        "template_hash": reward.renderer.template_hash,
        "max_length": reward.renderer.max_length,
        "too_long": reward.renderer.too_long,
    }
    assert reward.readout is not None
    if isinstance(reward.readout, LastToken) and isinstance(reward.readout.head, Linear):
        reward.model.config.guerdon = about
        with quietly():
            reward.model.save_pretrained(place)
            reward.tokenizer.save_pretrained(place)
        about["files"] = sorted(f.name for f in place.iterdir())
        config = json.loads((place / CONFIG).read_text(encoding="utf-8"))
        _dump(place / CONFIG, {**config, "guerdon": about})
    else:
        with quietly():
            base_of(reward.model).save_pretrained(place / BODY)
            reward.tokenizer.save_pretrained(place / BODY)
        state = {k: v.detach().cpu().contiguous() for k, v in reward.readout.head.state_dict().items()}
        save_file(state, str(place / HEAD))
        about["files"] = [BODY, CONFIG, HEAD]
        sums = {HEAD: _sha256(place / HEAD)}
        shared = {k: about[k] for k in ("model", "params", "summary", "versions")}
        _dump(place / CONFIG, {"guerdon": about, **shared, "encoder": None, "checksums": sums})
    _dump(place / SELFTEST, _examine(reward))
    (place / CARD).write_text(_card(reward, about), encoding="utf-8")
    for file in place.rglob("*"):
        if file.is_file():
            with file.open("rb") as handle:
                os.fsync(handle.fileno())


def measure(reward: Any) -> Callable[[Candidates], np.ndarray]:
    """What the self-test compares: scores, or what a reward that only compares gives instead (``examined``)."""
    return getattr(reward, "examined", None) or (lambda candidates: reward.score(candidates).value)


def _examine(reward: BackboneReward) -> dict[str, Any]:
    """The three examples: texts, tokens and scores."""
    assert reward.renderer is not None
    prompts, responses = (list(column) for column in zip(*EXAMPLES, strict=True))
    examples = Candidates(prompts, responses)
    rendered = reward.renderer(examples)
    return {
        "tolerance": TOLERANCE,
        "prompts": prompts,
        "responses": responses,
        "input_ids": [None if t is None else t.tolist() for t in rendered.tokens],
        "token_type_ids": None if rendered.types is None else [t.tolist() for t in rendered.types],
        "scores": plain(measure(reward)(examples)),
    }


def _card(reward: BackboneReward, about: dict[str, Any]) -> str:
    from guerdon.reward.card import card
    from guerdon.reward.registry import MODELS

    entry = MODELS.get(reward.name, MODELS["backbone"])
    return card(entry, {"guerdon": about, "encoder": None, **{k: about[k] for k in ("params", "summary", "versions")}})


def _publish(temp: Path, directory: Path) -> None:
    """Put ``temp`` in the place of ``directory``; files there that no model wrote (notes, reports) stay."""
    if not directory.exists():
        os.rename(temp, directory)
        return
    known = {CONFIG, CARD, SELFTEST, HEAD, "people.parquet", *about_of(directory).get("files", [])}
    old = directory.with_name(f".{directory.name}.{os.getpid()}.old")
    os.rename(directory, old)
    os.rename(temp, directory)
    for file in old.iterdir():
        if file.name not in known and not (directory / file.name).exists():
            os.rename(file, directory / file.name)
    shutil.rmtree(old)


def load(cls: type[BackboneReward], directory: Path, verify: bool) -> Any:
    """Open what :func:`save` wrote."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from guerdon.reward.learned.backbone_model import open_backbone

    about = about_of(directory)
    if "params" not in about:
        raise ModelError(f"{directory / CONFIG} does not describe a guerdon backbone; save the model again")
    reward = cls(**{k: v for k, v in about["params"].items() if k not in ELSEWHERE})
    reward.name, reward.summary = about.get("model", reward.name), about.get("summary", {})
    pooled = (directory / BODY).is_dir()
    place = directory / BODY if pooled else directory
    reward.model, reward.tokenizer, reward.readout = open_backbone(
        str(place), reward.settings["share_prefix"], trained=True
    )
    reward.shape_head()
    if pooled:
        try:
            reward.readout.head.load_state_dict(load_file(str(directory / HEAD)))
        except (OSError, SafetensorError, RuntimeError) as error:
            raise ModelError(f"{directory / HEAD} is missing or damaged ({error}); save the model again") from error
    reward.settings["max_length"] = about.get("max_length")
    reward.model.requires_grad_(False)
    reward.readout.head.requires_grad_(False)
    reward.place()
    if verify:
        assert reward.renderer is not None
        hashes = about.get("template_hash"), reward.renderer.template_hash
        verify_selftest(reward, directory, *hashes, measure=measure(reward))
    return reward


def about_of(directory: Path) -> dict[str, Any]:
    """The entry ``guerdon`` of a directory's configuration."""
    try:
        found = json.loads((directory / CONFIG).read_text(encoding="utf-8"))["guerdon"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{directory / CONFIG} is missing or damaged ({error}); save the model again") from error
    if not isinstance(found, dict) or found.get("format", 0) > FORMAT:
        raise ModelError(f"{directory} was saved by a newer guerdon: pip install --upgrade guerdon")
    return found


def _dump(path: Path, document: Any) -> None:
    path.write_text(json.dumps(document, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def _sha256(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
