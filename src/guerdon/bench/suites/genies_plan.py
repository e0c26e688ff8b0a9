"""What is measured across GENIES' shifts: the subject, what stands beside it, what is untrained, what says c."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from guerdon.bench.suites.genies_bench import Trainee
from guerdon.bench.suites.genies_interventions import SCHEME, TUNED, UNTUNED, BaseModel, recipes_on
from guerdon.bench.suites.recipe import Recipe
from guerdon.errors import ConfigError

RIVALS = "bradley-terry,mean-difference,principal-difference"
COIN = "coin"


@dataclass(frozen=True)
class Plan:
    """What is measured: the subject, what stands beside it, what is untrained (None is a coin), what says c."""

    subject: Trainee
    rivals: tuple[Trainee, ...]
    base: Trainee | None
    upper: Trainee
    said: Mapping[str, str]
    """base and capability as they are named in the settings of a result"""
    name: str
    """what the result is called"""


def plan_of(subject: str, *, base: str, rivals: str, capability: str, wanted: str) -> Plan:
    """The plan of what is said on the command line; what is empty has its default.

    Raises
    ------
    ConfigError
        if a recipe, intervention or option is unknown
    """
    others = [r.strip() for r in rivals.split(",") if r.strip() not in ("", "none", subject)]
    if subject.startswith(SCHEME):
        model = BaseModel.of(subject)
        made = {
            name: Trainee(name, f"{name} on {subject}", recipe) for name, recipe in recipes_on(model, wanted).items()
        }
        made |= {text: Trainee(text, f"{text}, fitted to the same", Recipe.of(text)) for text in others}
        usual = {name: Trainee(name, name, recipe) for name, recipe in recipes_on(model, f"{TUNED},{UNTUNED}").items()}
        first, *rest = made.values()
        return Plan(
            first,
            tuple(rest),
            untrained(base) if base else usual[UNTUNED],
            Trainee(capability, "", Recipe.of(capability)) if capability else usual[TUNED],
            {"base": base or UNTUNED, "capability": capability or TUNED},
            f"{first.name} of {Path(model.path).name}",
        )
    if wanted not in ("", "all"):
        raise ConfigError(f"interventions={wanted} are done to a language model: measure {SCHEME}PATH, not {subject}")
    recipe = Recipe.of(subject)
    encoder = recipe.settings.get("encoder")
    first = Trainee(subject, subject, recipe, encoder=encoder)
    return Plan(
        first,
        tuple(Trainee(text, f"{text}, fitted to the same", Recipe.of(text), encoder=encoder) for text in others),
        untrained(base or COIN),
        Trainee(capability, "", Recipe.of(capability), encoder=encoder) if capability else first,
        {"base": base or COIN, "capability": capability or subject},
        subject,
    )


def untrained(base: str) -> Trainee | None:
    """What ``base`` names: a language model's likelihoods, any reward; None for a coin."""
    if base == COIN:
        return None
    if base.startswith(SCHEME):
        return Trainee(base, base, recipes_on(BaseModel.of(base), UNTUNED)[UNTUNED])
    from guerdon.reward.load import load

    return Trainee(base, base, reward=load(base))


def length() -> Trainee:
    """The longer response, which no training needs."""
    from guerdon.reward.baselines import Length

    return Trainee("length", "the longer response", reward=Length())
