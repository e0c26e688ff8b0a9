"""Any Hugging Face ``AutoModelForSequenceClassification`` reward model as a Reward (``hf:org/name``).

The score is the model's raw logit. It equals ``pipeline("text-classification", function_to_apply="none")`` on one text
at a time; batching never changes it: the last token is found by our own lengths, where transformers looks for the
last one that is not the pad token and therefore finds the wrong one when pad is eos. Decoders run each prompt's tokens
once for all its responses (:mod:`~guerdon.encode.prefix`).

What the model reads is said in :mod:`~guerdon.encode.rendering`: the tokenizer's chat template where there is
one, else the tokenizer's pair encoding (encoders) or prompt, separator, response (decoders).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from guerdon.encode.prefix import Decoder, base_of
from guerdon.encode.rendering import Renderer, prompt_keys
from guerdon.errors import BackendError, ConfigError, ModelError, need
from guerdon.feedback.schema import Candidates
from guerdon.reward.base import Reward, Scores
from guerdon.reward.learned.readout import LastToken, Readout, WholeModel, read

BUDGET = {"cpu": 4096}  # measured best on a few cores: larger batches leave the cache
BUDGET_ELSEWHERE = 32768
SELFTEST = "selftest.json"
TOLERANCE = 1e-3


class SequenceClassifierReward(Reward):
    """A sequence classification model's logit for each candidate; the same for everybody.

    Parameters
    ----------
    path : a name on the Hub, ``name@revision``, or a directory
    revision : branch, tag or commit of a Hub name
    max_length : most tokens of a candidate; None is what tokenizer and model allow (or the directory says)
    too_long : what happens to longer ones: ``unscored`` (status ``too_long``) or ``truncate`` (drop the oldest tokens
        of the prompt, said in ``reason``)
    label : which output is the score, by index or name; needed where the model has more than one
    separator : between prompt and response, for decoders without a chat template
    device : where it runs; None takes cuda where there is one
    dtype : ``float32``, ``bfloat16``, ...; None is float32 on a CPU and the checkpoint's own elsewhere
    token_budget : most tokens of one forward pass
    share_prefix : run a prompt's tokens once for all its responses where that is predicted to be less work

    Raises
    ------
    ConfigError
        if there is no such model, it has several outputs and ``label`` does not say which, or an option is wrong
    ModelError
        if it has no trained head, or a self-test saved with it does not come out
    """

    reads = ()

    def __init__(
        self,
        path: str | Path,
        revision: str | None = None,
        max_length: int | None = None,
        device: str | None = None,
        dtype: str | None = None,
        token_budget: int | None = None,
        *,
        too_long: str | None = None,
        label: int | str | None = None,
        separator: str | None = None,
        share_prefix: bool = True,
        verify: bool = True,
    ) -> None:
        name, revision = split_revision(str(path), revision)
        self.name = Path(name).name or name
        self.path = name
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        model, tokenizer = open_classifier(name, revision, dtype or ("float32" if device == "cpu" else "auto"))
        model = model.to(device).eval()
        saved = getattr(model.config, "guerdon", None) or {}
        self.label = _label(model.config, label, name)
        self.readout = readout_of(model, tokenizer, self.label, share_prefix)
        self.renderer = Renderer(
            tokenizer,
            model.config,
            pairs=not isinstance(self.readout, LastToken),
            max_length=max_length or saved.get("max_length"),
            too_long=too_long or saved.get("too_long", "unscored"),
            separator="\n\n" if separator is None else separator,
        )
        self.token_budget = token_budget or BUDGET.get(torch.device(device).type, BUDGET_ELSEWHERE)
        if verify and (Path(name) / SELFTEST).is_file():
            verify_selftest(self, Path(name), saved.get("template_hash"), self.renderer.template_hash)

    def score(self, candidates: Candidates) -> Scores:
        """The logit of each candidate; candidates that cannot be read are unscored with a reason."""
        return score_texts(self.renderer, self.readout, candidates, self.token_budget)


def score_texts(renderer: Renderer, readout: Readout, candidates: Candidates, budget: int) -> Scores:
    """Scores of candidates by a renderer and a readout; ``cost`` counts tokens run and seconds."""
    start = time.perf_counter()
    rendered = renderer(candidates)
    value, tokens = read(readout, rendered.tokens, rendered.types, prompt_keys(candidates), budget)
    status, reason = list(rendered.status), list(rendered.reason)
    for row in np.flatnonzero(~np.isfinite(value)):
        if rendered.tokens[row] is not None:
            value[row], status[row], reason[row] = np.nan, "failed", "the model's output is not a number"
    cost = {"tokens": float(tokens), "seconds": time.perf_counter() - start}
    return Scores(value, status, reason, cost=cost)


def split_revision(name: str, revision: str | None) -> tuple[str, str | None]:
    """``org/name@revision`` in two parts; a directory with an @ in its name stays whole."""
    if revision is None and "@" in name and not Path(name).exists():
        name, _, revision = name.rpartition("@")
    return name, revision


def open_classifier(name: str, revision: str | None, dtype: str) -> tuple[Any, Any]:
    """(model, tokenizer) of a trained sequence classification model, in eval mode on the CPU."""
    model_class, tokenizer_class = _transformers()
    options: dict[str, Any] = {} if revision is None else {"revision": revision}
    if dtype != "auto" and not isinstance(getattr(torch, dtype, None), torch.dtype):
        raise ConfigError(f"dtype={dtype!r} is unknown; use float32, bfloat16 or float16")
    try:
        with quietly():
            tokenizer = tokenizer_class.from_pretrained(name, **options)
            model, info = model_class.from_pretrained(name, dtype=dtype, output_loading_info=True, **options)
    except (OSError, ValueError, KeyError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ConfigError(f"hf:{name} cannot be opened as a sequence classification model: {first}") from error
    if info["missing_keys"]:
        missing = ", ".join(sorted(info["missing_keys"])[:3])
        raise ModelError(
            f"hf:{name} has no trained weights for {missing}: it is not a reward model; "
            "fit one on feedback with guerdon fit --model backbone --set backbone=..."
        )
    return model.eval(), tokenizer


@contextmanager
def quietly() -> Iterator[None]:
    """transformers draws no progress bars and reports no missing head inside; what is missing is checked here."""
    from transformers.utils import logging

    on, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if on:
            logging.enable_progress_bar()


def _transformers() -> tuple[Any, Any]:
    try:
        from transformers import AutoModelForSequenceClassification, AutoTokenizer
    except ImportError as error:
        raise need("transformers", "text") from error
    return AutoModelForSequenceClassification, AutoTokenizer


def _label(config: Any, label: int | str | None, name: str) -> int:
    """Index of the output that is the score."""
    names = [config.id2label.get(i, str(i)) for i in range(config.num_labels)]
    if label is None:
        if len(names) != 1:
            raise ConfigError(
                f"hf:{name} has {len(names)} outputs ({', '.join(names)}); say which is the score: label="
            )
        return 0
    index = names.index(label) if isinstance(label, str) and label in names else label
    if not isinstance(index, int) or not 0 <= index < len(names):
        raise ConfigError(f"label={label!r}: hf:{name} has the outputs {', '.join(names)} (or 0 to {len(names) - 1})")
    return index


def readout_of(model: Any, tokenizer: Any, label: int, share: bool) -> Readout:
    """The last token of a decoder with its head, if that is how the model computes its logit; else the whole model."""
    base, head = base_of(model), getattr(model, "score", None)
    if isinstance(head, torch.nn.Module) and base is not model:
        decoder = Decoder(base, share=share)
        if decoder.causal:
            found = LastToken(decoder, head, label)
            pad = model.config.get_text_config().pad_token_id
            probe = np.array([i for i in range(5, 40) if i != pad][: min(12, base.config.get_text_config().vocab_size)])
            with torch.inference_mode():
                own = model(input_ids=torch.from_numpy(probe)[None].to(decoder.device)).logits[0, label].float()
                ours = found.values([probe], None, decoder.plan([probe], [0], len(probe))[0])[0]
            if abs(own - ours) <= 1e-2 * max(1.0, abs(float(own))):
                return found
    return WholeModel(model, label, tokenizer.pad_token_id or 0)


def verify_selftest(
    reward: Reward,
    path: Path,
    then: str | None = None,
    now: str | None = None,
    measure: Callable[[Candidates], np.ndarray] | None = None,
) -> None:
    """Score the examples saved with a model (or ``measure`` them, where it has no scores) and compare.

    Raises
    ------
    ModelError
        if the file is damaged, the chat template is another one, or a score differs
    """
    try:
        test = json.loads((path / SELFTEST).read_text(encoding="utf-8"))
        examples = Candidates(test["prompts"], test["responses"])
        expected = np.array([np.nan if s is None else s for s in test["scores"]], dtype=float)
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{path / SELFTEST} is damaged ({error}); save the model again") from error
    except OSError as error:
        raise BackendError(f"{path / SELFTEST} cannot be read: {error}") from error
    if then is not None and then != now:
        raise ModelError(
            f"{path} was fitted with another chat template ({then}, here {now}); restore the tokenizer's files"
        )
    got = reward.score(examples).value if measure is None else measure(examples)
    limit = test.get("tolerance", TOLERANCE) * np.maximum(1.0, np.abs(expected))
    wrong = ~((np.abs(got - expected) <= limit) | (np.isnan(got) & np.isnan(expected)))
    if wrong.any():
        i = int(np.flatnonzero(wrong)[0])
        raise ModelError(
            f"{path} fails its self-test: example {i + 1} scores {got[i]:.6g}, not {expected[i]:.6g}; weights or "
            "tokenizer are not those it was saved with"
        )
