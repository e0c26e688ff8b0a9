"""``judge:MODEL?by=agent&...``: a routed agent from one line.

::

    judge:http://localhost:8000/v1#my-model?by=agent&base=hf:my/reward-model
    judge:http://localhost:8000/v1#my-model?by=agent&checks=constraints&coder=http://localhost:8001/v1%23coder&judger=vote

``base`` is any REWARD (percent-encoded where it holds ``&``, ``%`` or ``#``), ``coder`` a language model, ``search``
a file of documents (searched by BM25, see :mod:`.tools.search`) or ``package.module:object``, a function (query, k) ->
texts. All other options are those of
:class:`~.agent.RewardAgent` or of the language model.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from guerdon.errors import ConfigError
from guerdon.generate.load import load_language_model
from guerdon.own_code import own_object
from guerdon.reward.base import Reward
from guerdon.reward.judge.agent import RewardAgent
from guerdon.reward.judge.agent_facts import Search
from guerdon.reward.judge.spec import keywords, model_of, taken


def open_agent(model: str, options: dict[str, str]) -> Reward:
    """The agent that ``options`` describe; those of the language model are left to it."""
    from guerdon.reward.load import load

    if "protocol" in options:
        raise ConfigError("judge: by=agent has a protocol of its own; leave protocol out")
    parts: dict[str, Any] = {}
    if "base" in options:
        parts["base"] = load(options.pop("base"))
    if "coder" in options:
        parts["coder"] = load_language_model(options.pop("coder"))
    if "search" in options:
        parts["search"] = opened_search(options.pop("search"))
    settings = taken(options, keywords(RewardAgent))
    for name in ("checks", "judger", "calibrate", "average"):
        if name in settings and not isinstance(settings[name], str | list):
            raise ConfigError(f"judge: {name}={settings[name]!r}: use a text")
    return RewardAgent(model_of(model, options), **parts, **settings)


def opened_search(text: str) -> Search:
    """The search over a file of documents, or the one that ``package.module:object`` names."""
    if Path(text).is_file():
        from guerdon.reward.judge.tools.corpus import digest_of, passages_of
        from guerdon.reward.judge.tools.search import Index

        index = Index(passages_of(text))

        def search(query: str, k: int) -> list[str]:
            return [str(passage) for passage in index.best(query, k)]

        search.identity = digest_of(index.passages)  # type: ignore[attr-defined]
        return search
    found = own_object(text, f"judge: search={text!r}") if ":" in text else None
    if not callable(found):
        raise ConfigError(
            f"judge: search={text!r}: give a file of documents, or package.module:object, a function "
            "(query, k) -> list of texts"
        )
    return cast(Search, found)
