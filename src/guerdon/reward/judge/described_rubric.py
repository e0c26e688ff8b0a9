"""Rubrics that describe each verdict, in three legal forms, and the reading of ``{"explanation", "score"}``.

Reference: Anugraha et al. 2025, R3: Robust Rubric-Agnostic Reward Models, https://arxiv.org/abs/2505.13388.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from guerdon.errors import ConfigError
from guerdon.reward.judge.standard import Standard, _parsed

FORMS = (
    'three forms are legal: descriptions of grades {"1": ..., "2": ...} for one response, '
    '{"response 1": ..., "response 2": ...} for two, {"true": ..., "false": ...} for one response'
)
_SCORE = re.compile(r"\bscore\b[\"'*_` ]*[:=][\"'*_` ]*(response [12]|true|false|-?\d+(?:\.\d+)?)(?![\w.]*\w)", re.I)


@dataclass(frozen=True)
class Described:
    """A rubric that describes each verdict; make one with :meth:`of`.

    kind   ``pointwise``, ``pairwise`` or ``binary``
    says   verdict on offer -> when it is given; grades from the worst
    """

    kind: str
    says: Mapping[str, str]

    @classmethod
    def of(cls, given: Mapping[Any, str]) -> Described:
        """The rubric of plain data, in one of the three forms; verdicts are compared without regard to case."""
        says = {str(k).strip().casefold(): str(v).strip() for k, v in given.items()}
        if len(says) < len(given) or not all(says.values()):
            raise ConfigError(f"rubric: a verdict twice, or without a description; {FORMS}")
        if set(says) == {"true", "false"}:
            return cls("binary", {k: says[k] for k in ("true", "false")})
        if set(says) == {"response 1", "response 2"}:
            return cls("pairwise", {k: says[k] for k in ("response 1", "response 2")})
        grades = sorted(int(k) for k in says) if all(re.fullmatch(r"\d{1,3}", k, re.A) for k in says) else []
        if len(grades) < 2 or grades != list(range(grades[0], grades[-1] + 1)):
            raise ConfigError(f"rubric: verdicts {', '.join(says)}; {FORMS}")
        return cls("pointwise", {str(k): says[str(k)] for k in grades})

    @classmethod
    def read(cls, given: str) -> Described:
        """The rubric of a JSON object, or of a JSON or YAML file."""
        if given.lstrip().startswith("{"):
            file, text = Path("rubric.json"), given
        else:
            file = Path(given)
            try:
                text = file.read_text(encoding="utf-8")
            except (OSError, ValueError) as error:
                raise ConfigError(f"cannot read the rubric {given}: {error}") from None
        found = _parsed(text, file)
        if not isinstance(found, Mapping):
            raise ConfigError(f"rubric {given}: {FORMS}")
        return cls.of(found)

    @property
    def scale(self) -> str:
        """Of a rubric for one response: the grades as ``1-5``, or ``yes-no``."""
        said = list(self.says)
        return f"{said[0]}-{said[-1]}" if self.kind == "pointwise" else "yes-no"

    def standard(self, task: str = "") -> Standard:
        """As every judge reads it."""
        names = {"response 1": "A is better", "response 2": "B is better", "true": "yes", "false": "no"}
        lines = [f"{names.get(k, k)}: {text}" for k, text in self.says.items()]
        return Standard.question("\n".join(filter(None, [task.strip(), "The verdicts mean:", *lines])))


def read_score(text: str, rubric: Described) -> str | None:
    """The verdict of a reply ``{"explanation": ..., "score": ...}``, one of ``rubric.says``; None where there is none.

    What was thought before ``</think>`` does not count, and thinking that was not closed is no verdict. The last JSON
    object with a score is read first, the last ``score:`` of the text otherwise. 4.7 is no grade of 1 to 5: it is not
    cut to 4. Such a reply carries no code, so a judge that quotes can be made to say things: see :mod:`.verdicts`.
    """
    if "<think>" in text and "</think>" not in text:
        return None
    said = _scored(text)
    if said is not None:
        return _offered(said["score"], list(rubric.says))
    matches = _SCORE.findall(text.rpartition("</think>")[2])
    return _offered(matches[-1], list(rubric.says)) if matches else None


def read_explanation(text: str) -> str:
    """The explanation of a reply; all that follows the thinking where it has none."""
    said = (_scored(text) or {}).get("explanation")
    return said if isinstance(said, str) else text.rpartition("</think>")[2].strip()


def _scored(text: str) -> dict[str, Any] | None:
    """The last object with a score after the thinking, its keys in lower case."""
    text = text.rpartition("</think>")[2]
    decoder = json.JSONDecoder()
    for place in reversed([m.start() for m in re.finditer(r"\{", text)][-200:]):
        try:
            found, _ = decoder.raw_decode(text, place)
        except (ValueError, RecursionError):
            continue
        if isinstance(found, dict):
            said = {str(k).strip().casefold(): v for k, v in found.items()}
            if "score" in said:
                return said
    return None


def _offered(value: Any, offered: Sequence[str]) -> str | None:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    said = json.dumps(value) if isinstance(value, bool) else str(value).strip().casefold().rstrip(".")
    if re.fullmatch(r"\d+\.0+", said, re.A):
        said = said.partition(".")[0]
    return said if said in offered else None
