"""The steps of curation: one line a step. ``guerdon curate`` lists and runs them.

A step is a function ``(feedback, *, settings) -> Curated`` whose keyword-only arguments are its settings, documented
in a numpydoc ``Parameters`` section (:mod:`guerdon.curate.step` shows one).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from guerdon.errors import ConfigError
from guerdon.reward.registry import documented_parameters

if TYPE_CHECKING:
    from guerdon.curate.step import Curated
    from guerdon.feedback.star import Feedback


@dataclass(frozen=True)
class Step:
    """One step: where it lives, what it does in a line, where it comes from."""

    name: str
    target: str
    mechanism: str
    paper: str

    @property
    def function(self) -> Callable[..., Curated]:
        """The function behind the name (imported on first use)."""
        module, _, attribute = self.target.partition(":")
        return getattr(import_module(module), attribute)

    def parameters(self) -> list[tuple[str, Any, str]]:
        """(name, default, one line of documentation) of each setting."""
        return documented_parameters(self.function)

    def __call__(self, feedback: Feedback, **settings: Any) -> Curated:
        """Run the step; the report says which step ran with which settings."""
        from dataclasses import replace

        defaults = {name: default for name, default, _ in self.parameters()}
        for key in settings:
            if key not in defaults:
                raise ConfigError(f"step {self.name!r} has no setting {key!r}; it has: {', '.join(defaults)}")
        curated = self.function(feedback, **settings)
        told = {k: v if _plain(v) else getattr(v, "spec", repr(v)) for k, v in {**defaults, **settings}.items()}
        return replace(curated, report={"step": self.name, "settings": told, **curated.report})


def _plain(value: Any) -> bool:
    if isinstance(value, list | tuple | dict):
        return all(_plain(v) for v in (value.values() if isinstance(value, dict) else value))
    return value is None or isinstance(value, str | int | float | bool)


STEPS: dict[str, Step] = {
    s.name: s
    for s in [
        Step(
            "vote",
            "guerdon.curate.vote:vote",
            "cross-fitted reward models vote on every pair: flip, soften, margin or drop by strength",
            "105",
        ),
        Step(
            "peer",
            "guerdon.curate.peer:peer",
            "two reward models review each other's pairs; what neither selects is dropped, weighted or flipped",
            "086",
        ),
        Step("margin", "guerdon.curate.margin:margin", "judges' agreement becomes a margin or a soft label", "043"),
        Step(
            "west-of-n",
            "guerdon.curate.extremes:west_of_n",
            "best and worst of n responses by the reward become pairs; measured on held-out human judgements",
            "082",
        ),
        Step(
            "verify",
            "guerdon.curate.verify:verify",
            "people verify what the reward gets wrong, agreement keeps, flips or drops the rest",
            "104",
        ),
        Step(
            "route",
            "guerdon.curate.route:route",
            "people label what is predicted to help the reward most, a judge the rest",
            "097",
        ),
        Step(
            "ask", "guerdon.curate.ask:ask", "which comparisons to show next, to whom and why, as a queue", "023, 071"
        ),
        Step(
            "tool-pairs",
            "guerdon.curate.tool_pairs:tool_pairs",
            "right tool calls against wrong ones: corrupted by eight errors, or recorded and refused by the matcher",
            "096",
        ),
        Step("answers", "guerdon.curate.queue:answers", "adds the questions of a queue that were answered", "023, 071"),
    ]
}


def step(name: str) -> Step:
    """The registered step called ``name``."""
    if name not in STEPS:
        raise ConfigError(f"no step {name!r}; choose one of: {', '.join(STEPS)}")
    return STEPS[name]
