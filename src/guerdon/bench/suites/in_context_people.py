"""PersonalLLM with a language model: what it writes for somebody whose earlier choices, or others' like them, it reads.

People are simulated as in :mod:`.simulated_people`. New people made ``shots`` choices each and ask something that
nobody was asked about. What the language model reads before the request is the arm:

- *nothing* (zero-shot);
- task A: the person's own choices, *winners* alone, or *winners and losers*;
- task B: own winners, filled up to ``shown`` examples with choices from other people's histories: their *similar
  interactions* (the published code's), those of *similar people*, or *anybody's*, the control
  (:mod:`.people_prompts`).

It then writes a response (``reply=write``, as published), which the scorers score like all others, standardised by the
constants of the data: they must be rewards. Where the data's columns are all there is, it names one of the responses
instead (``reply=choose``). An item is a request of a new person in an arm. It earns the utility of the response in the
person's standard deviations within a prompt: a random one of the data's responses is worth 0, the best of 8 about 1.4.
Published are the shares that beat the best of the data's responses and those of one model: both are given.

References
----------
Zollo et al. 2024. PersonalLLM: Tailoring LLMs to Individual Preferences. https://arxiv.org/abs/2409.20296
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from guerdon.bench.suites.people_answers import Asked, chosen, popular, worth_of, written
from guerdon.bench.suites.people_prompts import Library, Shown
from guerdon.bench.suites.result import SuiteResult
from guerdon.bench.suites.simulated_people import FILES, read, scorers_of
from guerdon.bench.suites.study import Progress, Rival, Study, tally
from guerdon.bench.suites.suite import Cells, Table, find_files
from guerdon.encode import load_encoder
from guerdon.errors import ConfigError, FeedbackError
from guerdon.feedback.messages import unpack
from guerdon.feedback.schema import Candidates
from guerdon.generate.base import LanguageModel, Sampling
from guerdon.generate.load import load_language_model
from guerdon.reward.base import Reward
from guerdon.reward.personal.in_context_learning import choices_of
from guerdon.worlds.annotators import Annotator
from guerdon.worlds.people import Population
from guerdon.worlds.pool import Pool

ARMS = {
    "similar people": "own winners, and choices of people who resemble them",
    "similar interactions": "own winners, and others' choices that resemble them",
    "anybody's": "own winners, and others' choices at random",
    "winners and losers": "own choices with what was not chosen",
    "winners": "own choices",
    "nothing": "the request alone",
}
"""What the language model reads before the request; the first of them that was measured is the headline."""
BOTH = "winners and losers"
TRIES = 3
"""Comparisons that a person is asked for to get one choice, at most: where scorers are coarse, many are ties."""


def summary(cells: Cells) -> Table:
    """Every arm, and what the first gains over nothing."""
    rates = dict(zip(cells.subsets, cells.rate.T, strict=True))
    out = {arm: rates[arm] for arm in ARMS if arm in rates}
    first = next(iter(out))
    if "nothing" in out and first != "nothing":
        return {first: out[first], f"gain of {first}": out[first] - out["nothing"], **out}
    return out


def measure(
    study: Study,
    subject: str | LanguageModel,
    data: str | Path,
    *,
    limit: int | None = None,
    bootstrap: int = 1000,
    seed: int = 0,
    name: str | None = None,
    progress: Progress | None = None,
    population: str = "dirichlet:0.01",
    scorers: Any = None,
    people: int = 300,
    new: int = 100,
    history: int = 40,
    shots: int = 5,
    shown: int = 8,
    tests: int = 1,
    arms: str = "",
    reply: str = "",
    show: str = "message",
    against: str = "",
    context: int = 24_000,
    max_tokens: int = 512,
    temperature: float = 0.0,
    encoder: str = "minilm",
) -> SuiteResult:
    """Have the language model ``subject`` answer new people; ``limit`` is of requests.

    subject   ``http://HOST:PORT/v1#MODEL``, ``hf:PATH``, or a language model
    scorers   as on the command line, or rewards by name

    Raises
    ------
    ConfigError
        if a setting makes no sense, or the scorers cannot score what is written
    FeedbackError
        if the responses cannot be used
    """
    sizes = {"people": people, "new": new, "history": history, "shots": shots, "shown": shown, "tests": tests}
    for key, value in (sizes | {"context": context, "max_tokens": max_tokens}).items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ConfigError(f"suite {study.name}: {key}={value!r}; use a whole number of at least 1")
    if shown < shots:
        raise ConfigError(f"suite {study.name}: shown={shown} is less than shots={shots}; show at least the shots")
    wanted = _arms(study, arms, show)
    model = load_language_model(subject)
    candidates, given = read(find_files(study.name, FILES, study.source, data))
    judged = dict(scorers) if isinstance(scorers, Mapping) else scorers_of(scorers, candidates, given, encoder, seed)
    reply = reply or ("write" if all(isinstance(s, Reward) for s in judged.values()) else "choose")
    _check(study, reply, show, judged)
    pool = Pool.of(candidates, judged)
    everybody = Population.simulate(
        population, pool, users=people + new, annotators=Annotator.perfect(), held_out=0.25, seed=seed
    )
    known, fresh = everybody.take(np.arange(people)), everybody.take(np.arange(people, people + new))
    told = known.history(count=history, seed=seed)
    # a tie is no choice
    decided = choices_of(fresh.history(count=TRIES * shots, seed=seed))
    own = {user: choices[:shots] for user, choices in decided.items()}
    asked = _asked(study, everybody, new, tests, limit, seed)
    borrows = any(arm.startswith(("similar", "anybody")) for arm in wanted)
    library = Library(told, load_encoder(encoder)) if borrows else None
    worth, truth = worth_of(fresh, asked)
    rivals = {
        "popular": Rival("the response with the highest mean utility", worth(popular(everybody, fresh, asked))),
        "oracle": Rival("each person's own favourite", worth(np.nanmax(truth, axis=1))),
    }
    model_rows = _rows_of(study, candidates, asked, against)
    if model_rows is not None:
        at = np.take_along_axis(truth, model_rows[:, None], 1)[:, 0]
        rivals[against] = Rival(f"what {against} wrote", worth(at))
    sampling = Sampling(temperature=temperature, max_tokens=max_tokens, seed=seed)
    facts: Counter[str] = Counter({"people with a history": people, "scorers": everybody.z.shape[1]})
    reasons: Counter[str] = Counter()
    credit: list[np.ndarray] = []
    extra: dict[str, float] = {}
    for k, arm in enumerate(wanted):
        if progress is not None:
            progress("arms", k, len(wanted))
        examples, dropped = _examples(arm, fresh, own, asked, library, shown, context, seed)
        facts["examples that did not fit"] += dropped
        if reply == "write":
            utility = written(model, fresh, pool, judged, asked, examples, show, sampling, reasons)
        else:
            utility = chosen(model, pool, asked, truth, examples, sampling, seed, reasons)
        credit.append(worth(utility))
        there = ~np.isnan(credit[-1])
        for rival, each in rivals.items():
            ahead = (credit[-1] - each.credit)[there]
            # nothing that is chosen from the data's responses can beat the best of them
            what, won = (
                ("as good as the best", ahead > -1e-9) if rival == "oracle" else (f"beats {rival}", ahead > 1e-9)
            )
            extra[f"{arm}: {what}"] = float(won.mean()) if there.any() else np.nan
    n = len(asked.person)
    digest = blake2b(repr((list(map(str, candidates.responses)), everybody.weights.tolist())).encode(), digest_size=8)
    subset = [arm for arm in wanted for _ in range(n)]
    return tally(
        study,
        name or model.name,
        subset,
        np.concatenate(credit),
        rivals={key: Rival(r.what, np.tile(r.credit, len(wanted))) for key, r in rivals.items()},
        cluster=np.tile(asked.person, len(wanted)),
        over="people",
        ids=[f"{fresh.users[u]}, prompt {p}: {arm}" for arm in wanted
             for u, p in zip(asked.person.tolist(), asked.prompt.tolist(), strict=True)],
        extra=extra,
        facts={k: v for k, v in facts.items() if v},
        reasons=reasons,
        notes=(f"the language model {'writes' if reply == 'write' else 'names one of'} the responses",),
        settings={
            "population": population, "scorers": list(everybody.scorers), "history": history, "shots": shots,
            "shown": shown, "tests": tests, "reply": reply, "show": show, "limit": limit, "encoder": encoder,
            "temperature": temperature, "data": digest.hexdigest(),
        },
        bootstrap=bootstrap,
        seed=seed,
    )  # fmt: skip


def _arms(study: Study, text: str, show: str) -> list[str]:
    """The arms to measure, all that can be shown by default."""
    wanted = [a.strip() for a in text.split(",") if a.strip()] or [a for a in ARMS if show != "chat" or a != BOTH]
    for arm in wanted:
        if arm not in ARMS:
            raise ConfigError(f"suite {study.name}: arm {arm!r} is unknown; use some of {', '.join(ARMS)}")
    if show == "chat" and BOTH in wanted:
        raise ConfigError(f"suite {study.name}: earlier turns cannot show what was not chosen; use show=message")
    return wanted


def _check(study: Study, reply: str, show: str, judged: Mapping[str, Any]) -> None:
    """Refuse what cannot be: scorers that cannot score what is written, responses to choose from in a chat."""
    for key, value, known in (("reply", reply, ("write", "choose")), ("show", show, ("message", "chat"))):
        if value not in known:
            raise ConfigError(f"suite {study.name}: {key}={value!r}; use {' or '.join(known)}")
    if reply == "choose" and show == "chat":
        raise ConfigError(f"suite {study.name}: reply=choose shows the responses in one message; use show=message")
    fixed = [key for key, scorer in judged.items() if not (isinstance(scorer, Reward) or callable(scorer))]
    if reply == "write" and fixed:
        raise ConfigError(
            f"suite {study.name}: scorer {fixed[0]} is a column of the data and cannot score what is written; name "
            "rewards (--set scorers=hf:...,rule:length), or use --set reply=choose"
        )


def _asked(study: Study, everybody: Population, new: int, tests: int, limit: int | None, seed: int) -> Asked:
    """``tests`` held-out prompts of each new person, drawn by person."""
    if len(everybody.test) < tests:
        raise FeedbackError(f"suite {study.name}: {len(everybody.test)} prompts are held out; {tests} are asked for")
    rows = [np.random.default_rng([seed, 35, u]).permutation(everybody.test)[:tests] for u in range(new)]
    person, prompt = np.repeat(np.arange(new), tests)[:limit], np.concatenate(rows)[:limit]
    return Asked(person, prompt, everybody.pool.members[prompt])


def _rows_of(study: Study, candidates: Candidates, asked: Asked, against: str) -> np.ndarray | None:
    """int64 [n] which of each prompt's responses the model ``against`` wrote; None where none is named."""
    if not against:
        return None
    by = candidates.extra.get("model", [None] * len(candidates))
    wrote = np.array([model == against for model in by])[asked.members] & (asked.members >= 0)
    if not wrote.any(1).all():
        known = ", ".join(sorted({str(m) for m in by if m})[:8]) or "none"
        raise ConfigError(f"suite {study.name}: against={against}: it has not answered every prompt; models: {known}")
    return wrote.argmax(1)


def _examples(
    arm: str,
    fresh: Population,
    own: Mapping[str, Sequence[Any]],
    asked: Asked,
    library: Library | None,
    shown: int,
    context: int,
    seed: int,
) -> tuple[list[Shown], int]:
    """(what each request is shown after, how many examples were left out for want of room)."""
    out, dropped = [], 0
    for i, (u, p) in enumerate(zip(asked.person.tolist(), asked.prompt.tolist(), strict=True)):
        mine = tuple(own[fresh.users[u]]) if arm != "nothing" else ()
        others: list[Any] = []
        rng = np.random.default_rng([seed, 36, i])
        if library is not None and arm == "similar interactions":
            others = library.interactions(mine, shown - len(mine), rng)
        elif library is not None and arm == "similar people":
            others = library.alike(mine, unpack(fresh.pool.prompts[p]), shown - len(mine))
        elif library is not None and arm == "anybody's":
            others = library.anything(shown - len(mine), rng)
        kept, lost = Shown(mine, tuple(others), arm == BOTH).within(context)
        out.append(kept)
        dropped += lost
    return out, dropped


IN_CONTEXT_PEOPLE = Study(
    name="personalllm-in-context",
    what="PersonalLLM, tasks A and B: what a language model writes for people whose choices it reads",
    source=(
        "get hf:namkoong-lab/PersonalLLM and save it there as personalllm.parquet or .jsonl, or give your own rows of "
        "prompt and responses; name the scorers with --set scorers=hf:...,rule:length"
    ),
    subject="a language model: http://HOST:PORT/v1#MODEL or hf:PATH",
    measure=measure,
    summary=summary,
    paper="arXiv:2409.20296",
    parts=True,
    settings={
        "population": "dirichlet:0.01, or another kind of simulated people",
        "scorers": "rewards separated by commas, or random:10; the data's columns by default (reply=choose)",
        "people": "people with a history (300)",
        "new": "new people (100)",
        "history": "choices of a person with a history (40)",
        "shots": "own choices that are shown (5)",
        "shown": "examples with those of others (8)",
        "tests": "requests of a new person (1)",
        "arms": f"some of {', '.join(ARMS)}; all by default",
        "reply": "write, or choose one of the data's responses; write where the scorers are rewards",
        "show": "message, or chat: examples as earlier turns",
        "against": "a model of the data whose responses are to be beaten, e.g. gpt-4o",
        "context": "most characters of examples (24000); others' are left out first",
        "max_tokens": "of a response (512)",
        "temperature": "0",
        "encoder": "what reads choices to find similar ones (minilm)",
    },
)
