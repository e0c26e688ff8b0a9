"""The model card: what a saved reward is, what it was fitted on, how it did, and where it should not be trusted."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from guerdon.reward.registry import Model

LIMITS = """\
- It predicts what the people behind this feedback preferred, for prompts and responses like theirs. It does not say
  what is true, safe or good, and other people may prefer otherwise.
- Scores are comparable between responses to the same prompt. Across prompts they share a scale but not a meaning.
- A policy trained against this reward will find what the reward mistakes for quality (length, tone, flattery ...).
  Measure with people, or with another reward, before you believe the improvement.
"""

PERSONAL_LIMITS = """\
- A person's view is estimated from that person's own judgements; somebody it does not know gets the population's view
  and is flagged in the `reason` of the score.
- `people.parquet` holds an identifier and preference weights for each person: treat it as personal data.
"""


def card(entry: Model, config: dict[str, Any]) -> str:
    """The text of ``README.md`` for a model with registry line ``entry`` and the given ``config.json``."""
    summary = dict(config["summary"])
    evaluation = dict(summary.pop("evaluation", None) or {})
    careful = evaluation.pop("careful", [])
    lines = [
        "---",
        "library_name: guerdon",
        "tags: [reward-model, preference-learning" + (", personalization]" if entry.personal else "]"),
        "---",
        "",
        f"# Reward model `{entry.name}`",
        "",
        f"{entry.mechanism[:1].upper()}{entry.mechanism[1:]} (papers {entry.paper} of guerdon's list). "
        f"Saved by guerdon {config['guerdon']['version']}.",
        "",
        "```python",
        "import guerdon",
        "",
        'reward = guerdon.load("path/to/this/directory")',
        'scores = reward.score(guerdon.Candidates(prompts=["..."], responses=["..."]))',
        "```",
        "",
        "## Data",
        "",
        *_rows(summary or {"feedback": "not recorded"}),
        "",
        "## Metrics",
        "",
        *(_rows(evaluation) if evaluation else ["Not measured when it was saved; run `guerdon eval` on other data."]),
        *(["", *[f"- {sentence}" for sentence in careful]] if careful else []),
        "",
        "## Limits",
        "",
        LIMITS + (PERSONAL_LIMITS if entry.personal else ""),
        "## Parameters",
        "",
        *_rows(config["params"]),
    ]
    if config["encoder"]:
        lines += ["", f"Encoder `{config['encoder']['spec']}`, fingerprint `{config['encoder']['fingerprint']}`."]
    lines += ["", "Versions: " + ", ".join(f"{k} {v}" for k, v in config["versions"].items()) + ".", ""]
    return "\n".join(lines)


def _rows(values: dict[str, Any]) -> list[str]:
    """A two-column table; nested tables are indented by their path."""
    rows = [f"| {name} | {_cell(value)} |" for name, value in _flat(values)]
    return ["| | |", "|---|---|", *rows]


def _flat(values: dict[str, Any], path: str = "") -> list[tuple[str, Any]]:
    out: list[tuple[str, Any]] = []
    for key, value in values.items():
        name = f"{path}{key}"
        if isinstance(value, dict) and value:
            out += _flat(value, f"{name} / ")
        else:
            out.append((name, value))
    return out


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return f"{len(value)} rows, in `config.json`"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text.replace("|", "\\|").replace("\n", " ")
