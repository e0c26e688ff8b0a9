"""Does a saved reward still give the scores it gave? Three examples and the encoder's fingerprint tell.

The texts of the examples ship with the library: a saved model must not carry its training texts around.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from guerdon.errors import BackendError, GuerdonError, ModelError
from guerdon.feedback.schema import Candidates

if TYPE_CHECKING:
    from guerdon.reward.learned.fitted import FittedReward

log = logging.getLogger(__name__)

TOLERANCE = 1e-4
"""Of a score, relative to the larger of 1 and the score."""

EXAMPLES = (
    ("What makes a good apology?", "Saying what you did, why it hurt, and what you will do differently."),
    ("What makes a good apology?", "Sorry."),
    ("Name a fruit.", "There are many fruits! Apples, pears and plums are fruits; so are tomatoes, strictly speaking."),
)
KEYS = {"tolerance", "prompts", "responses", "user", "scores"}


def examine(model: FittedReward, people: Any | None) -> dict[str, Any]:
    """The self-test of ``model``: the examples for nobody in particular and, where personal, for the first of people.

    people  the Arrow table of the people, or None; ``{"skipped": why}`` where the model takes no such texts
    """
    askers: list[str | None] = [None]
    if people is not None and people.num_rows and "user" in people.column_names:
        askers.append(people.column("user")[0].as_py())
    rows = [(prompt, response, user) for user in askers for prompt, response in EXAMPLES]
    prompts, responses, users = (list(column) for column in zip(*rows, strict=True))
    try:
        scores = model.score(Candidates(prompts, responses, user=users))
    except GuerdonError as error:  # e.g. features from a file know no other texts
        return {"skipped": str(error)}
    return {
        "tolerance": TOLERANCE,
        "prompts": prompts,
        "responses": responses,
        "user": users,
        "scores": scores.value.tolist(),
    }


def check_selftest(model: FittedReward, test: Any, place: Path) -> None:
    """Score the examples of ``test`` (read from ``place``) again.

    Left out, with a warning in the log, where something the encoder needs is not installed.

    Raises
    ------
    ModelError
        if a score differs, with the first that does
    """
    if isinstance(test, dict) and "skipped" in test:
        return
    if not isinstance(test, dict) or not set(test) >= KEYS:
        raise ModelError(f"{place} is damaged; save the model again")
    try:
        scores = model.score(Candidates(test["prompts"], test["responses"], user=test["user"])).value
    except BackendError as error:
        log.warning("%s: self-test left out: %s", place.parent, error)
        return
    expected = np.array([np.nan if s is None else s for s in test["scores"]], dtype=float)
    limit = test["tolerance"] * np.maximum(1.0, np.abs(expected))
    wrong = ~((np.abs(scores - expected) <= limit) | (np.isnan(scores) & np.isnan(expected)))
    if wrong.any():
        i = int(np.flatnonzero(wrong)[0])
        raise ModelError(
            f"{place.parent} fails its self-test: example {i + 1} scores {scores[i]:.6g}, not {expected[i]:.6g}; "
            "weights or encoder differ from those it was saved with (versions in config.json)"
        )


def check_encoder(model: FittedReward, saved: dict[str, str] | None, place: Path) -> None:
    """Compare the encoder ``saved`` in the configuration of ``place`` with the one that opens here.

    Raises
    ------
    ModelError
        if they compute other features
    """
    if not saved:
        return
    try:
        here = encoder_of(model)
    except BackendError as error:
        log.warning("%s: the encoder cannot be checked: %s", place, error)
        return
    if here is not None and here["fingerprint"] != saved["fingerprint"]:
        raise ModelError(
            f"{place} was fitted on features {saved['fingerprint']}, but the encoder {here['spec']!r} computes "
            f"{here['fingerprint']} here: install the versions named in config.json, or fit the model again"
        )


def encoder_of(model: FittedReward) -> dict[str, str] | None:
    """Specification and fingerprint of the model's encoder; None for models that have none."""
    encoder = open_encoder(getattr(model, "encoder", None))
    return None if encoder is None else {"spec": encoder.spec, "fingerprint": encoder.fingerprint}


def open_encoder(encoder: Any) -> Any:
    """The encoder behind a specification; anything else as it is."""
    if not isinstance(encoder, str):
        return encoder
    from guerdon.encode import load_encoder

    return load_encoder(encoder)
