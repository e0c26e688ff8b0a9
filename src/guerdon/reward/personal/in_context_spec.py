"""``judge:MODEL?by=persona&persona=FILE``: a judge for the people of a file of ``guerdon persona learn``."""

from __future__ import annotations

from pathlib import Path

from guerdon.errors import ConfigError
from guerdon.reward.base import Reward
from guerdon.reward.judge.asking import Asker
from guerdon.reward.judge.pairwise import PairwiseJudge
from guerdon.reward.judge.spec import keywords, model_of, taken
from guerdon.reward.judge.standard import Standard
from guerdon.reward.personal.in_context_judge import PersonalJudge


def open_persona(model: str, options: dict[str, str]) -> Reward:
    """The judge of the options; ``question`` is what it judges by for people it does not know.

    Raises
    ------
    ConfigError
        if there is no file, another protocol is asked for, or an option is unknown
    """
    protocol = options.pop("protocol", "pairwise")
    if protocol != "pairwise":
        raise ConfigError(f"judge: by=persona compares; use protocol=pairwise, not {protocol}")
    place = options.pop("persona", None)
    if place is None:
        raise ConfigError("judge: by=persona needs persona=FILE; make one with guerdon persona learn")
    general = Standard.question()
    if "question" in options:
        text = options.pop("question")
        general = Standard.read("question", text) if Path(text).is_file() else Standard.question(text)
    settings = taken(options, [name for cls in (PairwiseJudge, Asker) for name in keywords(cls)])
    return PersonalJudge.read(model_of(model, options), place, general=general, **settings)
