"""What `guerdon bench REWARD SUITE` measures: the options checked, the reward opened, its scores kept on disk."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from guerdon.bench.attacks import Attack
    from guerdon.bench.suites.result import SuiteResult
    from guerdon.bench.suites.study import Study
    from guerdon.bench.suites.suite import Suite
    from guerdon.feedback.star import Feedback
    from guerdon.generate.rewordings.transform import Transform
    from guerdon.reward.base import Reward


@dataclass(frozen=True)
class Options:
    """The options of `guerdon bench`, as its help describes them."""

    report: Path | None
    name: str | None
    train: Sequence[str]
    baseline: Sequence[str] | None
    limit: int | None
    reword: Sequence[str]
    paraphraser: str | None
    attack: Sequence[str]
    partial: bool
    set: Sequence[str]
    bootstrap: int
    seed: int


def measure(spec: str, suite: Suite | Study, data: str, options: Options) -> tuple[SuiteResult, list[str]]:
    """(the result of ``spec``, further sections of its report as HTML).

    Raises
    ------
    ConfigError
        if an option means nothing for this suite
    """
    from guerdon.bench.suites.study import Study

    if isinstance(suite, Study):
        return _study(spec, suite, data, options), []
    return _suite(spec, suite, data, options)


def _study(spec: str, study: Study, data: str, options: Options) -> SuiteResult:
    from guerdon.cli.console import err, settings, steps
    from guerdon.errors import ConfigError

    given = settings(options.set)
    wrong = [f"--set {key}" for key in sorted(given.keys() - study.settings.keys())]
    others = ("train", "partial", "baseline", "reword", "paraphraser", "attack")
    wrong += [f"--{name}" for name in others if getattr(options, name)]
    if wrong:
        known = "; ".join(f"{k}: {v}" for k, v in study.settings.items()) or "none"
        raise ConfigError(f"suite {study.name} knows no {wrong[0]}; settings: {known}")
    given |= {"limit": options.limit, "bootstrap": options.bootstrap, "seed": options.seed, "name": options.name}
    if study.parts:
        with steps() as tick:
            return study.measure(study, spec, data, progress=tick, **given)
    with err.status(f"measuring {spec} on {study.name}"):
        return study.measure(study, spec, data, **given)


def _suite(spec: str, suite: Suite, data: str, options: Options) -> tuple[SuiteResult, list[str]]:
    from guerdon.bench.remembered import kept
    from guerdon.bench.suites.run import limited, run
    from guerdon.cli.console import steps
    from guerdon.cli.reading import read_feedback
    from guerdon.errors import ConfigError
    from guerdon.reward.load import load

    if options.set:
        raise ConfigError(f"suite {suite.name} has no settings; leave out --set {options.set[0]}")
    transforms, attacks = _transforms(options), _attacks(options)
    baselines, cross_fit = _baselines(options.baseline)
    reward = load(spec)
    feedback = suite.feedback(data)
    train = read_feedback(list(options.train)) if options.train else None
    if options.name:
        reward.name = options.name
    with steps() as tick:
        reward = kept(reward, spec, progress=partial(tick, "scoring"))
        result = run(
            reward,
            suite,
            feedback,
            baselines=baselines,
            cross_fit=cross_fit,
            progress=True,
            train=train,
            limit=options.limit,
            partial=options.partial,
            bootstrap=options.bootstrap,
            seed=options.seed,
        )
        part = limited(feedback, options.limit, options.seed)
        if transforms:
            result = replace(result, robustness=_robustness(reward, suite, part, transforms, options))
        return result, [_attacked(reward, part, attacks, options)] if attacks else []


def _baselines(wanted: Sequence[str] | None) -> tuple[list[str] | None, bool]:
    """(names of the usual baselines, None for all; whether to cross-fit one)."""
    from guerdon.bench.baselines import BASELINES
    from guerdon.bench.suites.crossfitted import NAME
    from guerdon.errors import ConfigError

    if wanted is None:
        return None, True
    for name in wanted:
        if name not in (*BASELINES, NAME, "none"):
            raise ConfigError(f"--baseline {name}: use one of {', '.join((*BASELINES, NAME))}, or none")
    return [name for name in wanted if name in BASELINES], NAME in wanted


def _transforms(options: Options) -> list[Transform]:
    from guerdon.errors import ConfigError
    from guerdon.generate.rewordings.registry import chosen

    if options.paraphraser is not None and not options.reword:
        raise ConfigError("--paraphraser writes rewordings; add --reword paraphrase, or all")
    return chosen(options.reword)


def _attacks(options: Options) -> list[Attack]:
    from guerdon.bench.attacks.registry import chosen
    from guerdon.errors import ConfigError

    if not options.attack:
        return []
    if options.report is None:
        raise ConfigError("--attack is a section of the report; add --report DIR, or use guerdon attack")
    return chosen([] if "all" in options.attack else options.attack)


def _robustness(
    reward: Reward, suite: Suite, feedback: Feedback, transforms: Sequence[Transform], options: Options
) -> dict[str, object]:
    from guerdon.bench.robustness import measure
    from guerdon.generate.load import load_language_model

    model = None if options.paraphraser is None else load_language_model(options.paraphraser)
    return measure(
        reward, suite, feedback, transforms, language_model=model, bootstrap=options.bootstrap, seed=options.seed
    ).to_dict()


def _attacked(reward: Reward, feedback: Feedback, attacks: Sequence[Attack], options: Options) -> str:
    """The section of a report on ``attacks``."""
    from guerdon.bench.attacks.prompts import from_feedback
    from guerdon.bench.attacks.run import run
    from guerdon.bench.attacks.show import section

    return section(run(reward, from_feedback(feedback), attacks, bootstrap=options.bootstrap, seed=options.seed))
