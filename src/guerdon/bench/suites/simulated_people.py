"""PersonalLLM: people who are mixtures of scorers, and what a personal model picks for those it hardly knows.

Responses to open prompts are scored by K scorers; each is standardised, and a person weighs them by a Dirichlet draw.
A model learns from the comparisons of people with a history, is told 0, 2, 5, ... comparisons of new people, and picks
one response to each prompt that nobody was asked about. An item is a new person; what it earns is the mean utility of
the picks for that person, in standard deviations within a prompt: a random pick is worth 0, the best of 8 about 1.4.
Beside it stand one choice for all (Bradley-Terry on the same features), the truly most popular response, and the
person's own favourite (the oracle), which nothing can beat.

Scorers are columns of the published data (``response_1_NAME``), or any rewards (``scorers=rule:length,hf:...``), or
``random:10``, directions in the encoder's space.

References
----------
Zollo et al. 2024. PersonalLLM: Tailoring LLMs to Individual Preferences. https://arxiv.org/abs/2409.20296
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from guerdon.bench.suites.agreement import rows_of
from guerdon.bench.suites.personal import SHOTS, counts_of
from guerdon.bench.suites.recipe import Recipe
from guerdon.bench.suites.run import SuiteResult
from guerdon.bench.suites.study import Rival, Study, tally
from guerdon.bench.suites.suite import Cells, Table, find_files
from guerdon.encode import load_encoder
from guerdon.encode.base import Encoder
from guerdon.errors import ConfigError, FeedbackError
from guerdon.feedback.schema import Candidates
from guerdon.reward.base import Reward, Scores
from guerdon.worlds.annotators import Annotator
from guerdon.worlds.choices import agreement, choice_entropy, outcome
from guerdon.worlds.people import Population
from guerdon.worlds.pool import Pool

RESPONSE = re.compile(r"response_(\d+)")
SCORE = re.compile(r"response_(\d+)_(?!model$)(.+)")


def summary(cells: Cells) -> Table:
    """Utility after the most shots, what the shots gain, and every number of shots."""
    rates = dict(zip(cells.subsets, cells.rate.T, strict=True))
    order = sorted(rates, key=lambda k: -int(k.split()[0]))
    first, last = order[0], order[-1]
    return {first: rates[first], f"gain of {first}": rates[first] - rates[last]} | {k: rates[k] for k in order[1:]}


def read(paths: Sequence[Path]) -> tuple[Candidates, dict[str, np.ndarray]]:
    """(candidates, scores [n] by scorer) of rows ``prompt, response_1 ... response_R`` with scores
    ``response_1_NAME``, or ``prompt, responses [...]`` without. ``extra["model"]`` is ``response_1_model`` or None.

    Raises
    ------
    FeedbackError
        if a row has no prompt or fewer than two responses, or a scorer has no number for one of them
    """
    prompts: list[str] = []
    responses: list[str] = []
    models: list[str | None] = []
    scores: dict[str, list[float]] = {}
    for file, number, row in rows_of(paths):
        prompt = row.get("prompt")
        if not isinstance(prompt, str):
            raise FeedbackError(f"{file}:{number}: prompt: expected a text; see the suite's source")
        given = row.get("responses")
        if isinstance(given, list):
            texts, named, by = [str(t) for t in given], {}, [None] * len(given)
        else:
            keys = sorted((k for k in row if RESPONSE.fullmatch(k)), key=lambda k: int(k.split("_")[1]))
            texts, named = [str(row[k]) for k in keys], _scores(row, keys)
            by = [row.get(f"{k}_model") for k in keys]
        if len(texts) < 2:
            raise FeedbackError(f"{file}:{number}: {len(texts)} responses; two or more are needed")
        for name in dict.fromkeys([*scores, *named]):  # in the order of the data
            column = named.get(name)
            if column is None or len(column) != len(texts) or (prompts and name not in scores):
                raise FeedbackError(f"{file}:{number}: scorer {name}: no number for each response; score all or none")
            scores.setdefault(name, []).extend(column)
        prompts += [prompt] * len(texts)
        responses += texts
        models += by
    rows = _distinct(prompts, responses)
    table = {name: np.array(column, dtype=np.float64)[rows] for name, column in scores.items()}
    return Candidates(prompts, responses, extra={"model": models}).take(rows), table


def _scores(row: Mapping[str, Any], keys: Sequence[str]) -> dict[str, list[float]]:
    """Numbers by scorer, in the order of the responses ``keys``."""
    out: dict[str, dict[str, float]] = {}
    for key, value in row.items():
        found = SCORE.fullmatch(key)
        if found and isinstance(value, int | float) and not isinstance(value, bool):
            out.setdefault(found[2], {})[f"response_{found[1]}"] = float(value)
    return {name: [column[k] for k in keys if k in column] for name, column in out.items()}


def _distinct(prompts: Sequence[str], responses: Sequence[str]) -> np.ndarray:
    """Rows without repeated responses to a prompt, first ones kept."""
    seen: set[tuple[str, str]] = set()
    keep = []
    for i, pair in enumerate(zip(prompts, responses, strict=True)):
        if pair not in seen and pair[1].strip():
            seen.add(pair)
            keep.append(i)
    return np.array(keep, dtype=np.int64)


def scorers_of(
    text: str | None, candidates: Candidates, given: Mapping[str, np.ndarray], encoder: str, seed: int
) -> Any:
    """Scorers by name: those of the data, rewards, or ``random:K`` directions of the encoder's features."""
    if text is None and given:
        return dict(given)
    text = text or "random:10"
    kind, _, number = text.partition(":")
    if kind == "random":
        if not number.isdigit() or int(number) < 1:
            raise ConfigError(f"scorers={text}: write random:10, or rewards separated by commas")
        features = Features(load_encoder(encoder))
        directions = np.random.default_rng(seed).normal(size=(features.encoder.dim, int(number)))
        return {f"direction {i}": Direction(features, column) for i, column in enumerate(directions.T)}
    from guerdon.reward.load import load

    return {spec: load(spec) for spec in text.split(",") if spec}


class Features:
    """An encoder that keeps the features of the last batch: several directions are asked about the same one."""

    def __init__(self, encoder: Encoder) -> None:
        self.encoder, self.last = encoder, (Candidates([], []), np.zeros((0, encoder.dim)))

    def of(self, candidates: Candidates) -> np.ndarray:
        """float [n, d]."""
        if self.last[0] is not candidates:
            self.last = (candidates, self.encoder.encode(candidates))
        return self.last[1]


class Direction(Reward):
    """How far a candidate lies along ``direction`` [d] in ``features``."""

    name = "direction"
    reads = ()

    def __init__(self, features: Features, direction: np.ndarray) -> None:
        self.features, self.direction = features, direction

    def score(self, candidates: Candidates) -> Scores:
        """features . direction."""
        return Scores(self.features.of(candidates) @ self.direction)


def measure(
    study: Study,
    subject: str,
    data: str | Path,
    *,
    limit: int | None = None,
    bootstrap: int = 1000,
    seed: int = 0,
    name: str | None = None,
    population: str = "dirichlet:0.1",
    scorers: str | None = None,
    people: int = 300,
    new: int = 60,
    history: int = 40,
    shots: Any = SHOTS,
    scale: float = 4.0,
    encoder: str = "minilm",
) -> SuiteResult:
    """Simulate people on the responses ``data``, fit the recipe ``subject`` to their history, pick for new people.

    limit   so many prompts only

    Raises
    ------
    ConfigError
        if the recipe, the population or a setting is wrong
    FeedbackError
        if the responses cannot be used
    """
    recipe, counts = Recipe.of(subject), counts_of(shots)
    if not recipe.entry.personal:
        raise ConfigError(
            f"suite {study.name}: {subject} is the same for everybody; name a personal one (guerdon models)"
        )
    candidates, given = read(find_files(study.name, FILES, study.source, data))
    if limit is not None:
        first = set(list(dict.fromkeys(map(str, candidates.prompts)))[:limit])
        keep = np.array([str(p) in first for p in candidates.prompts])
        candidates = candidates.take(np.flatnonzero(keep))
        given = {k: v[keep] for k, v in given.items()}
    pool = Pool.of(candidates, scorers_of(scorers, candidates, given, encoder, seed))
    everybody = Population.simulate(
        population, pool, users=people + new, annotators=Annotator.bradley_terry(scale), held_out=0.25, seed=seed
    )
    known, fresh = everybody.take(np.arange(people)), everybody.take(np.arange(people, people + new))
    told = known.history(count=history, seed=seed)
    asked = fresh.history(count=counts[-1], seed=seed)
    turn = np.tile(np.arange(counts[-1]), new)
    prompts = everybody.test
    members = pool.members[prompts]
    if not len(prompts):
        raise FeedbackError(f"suite {study.name}: {len(pool.prompts)} prompts are too few to hold some out")
    fitted = recipe.make(seed=seed, encoder=encoder, choose_by="user").fit(told)
    plain = Recipe.of("bradley-terry").make(seed=seed, encoder=encoder).fit(told)
    same = outcome(fresh, picks(plain, pool, members, [None] * new), prompts).picked
    credit, subset = [], []
    last = None
    for k in counts:
        reward: Any = fitted.adapt(asked.take(turn < k)) if k else fitted  # type: ignore[attr-defined]
        last = outcome(fresh, picks(reward, pool, members, list(fresh.users)), prompts)
        credit.append(last.picked)
        subset += [f"{k} shots"] * new
    assert last is not None
    favourites = everybody.choices(prompts)
    digest = blake2b(repr((list(map(str, candidates.responses)), everybody.weights.tolist())).encode(), digest_size=8)
    rivals = {
        "same for all": Rival("Bradley-Terry on everybody's comparisons", np.tile(same, len(counts))),
        "popular": Rival("the response with the highest mean utility", np.tile(last.popular, len(counts))),
        "oracle": Rival("each person's own favourite", np.tile(last.best, len(counts))),
    }
    return tally(
        study,
        name or subject,
        subset,
        np.concatenate(credit),
        rivals=rivals,
        cluster=np.tile(np.arange(new), len(counts)),
        over="people",
        ids=[f"{u}: {s}" for u, s in zip(list(fresh.users) * len(counts), subset, strict=True)],
        extra={"choice entropy": choice_entropy(favourites, pool), "agreement": agreement(favourites, pool)},
        facts={"prompts held out": len(prompts), "scorers": everybody.z.shape[1], "people with a history": people},
        settings={
            "population": population, "scorers": list(everybody.scorers), "history": history, "scale": scale,
            "shots": list(counts), "limit": limit, "data": digest.hexdigest(),
        },
        bootstrap=bootstrap,
        seed=seed,
    )  # fmt: skip


def picks(reward: Reward, pool: Pool, members: np.ndarray, users: Sequence[str | None]) -> np.ndarray:
    """Candidates int [u, p] with the highest score for each person; ``members`` [p, R] of the prompts, -1 for none."""
    rows = members[members >= 0]
    out = np.empty((len(users), len(members)), dtype=np.int64)
    batch = pool.candidates.take(rows)
    for i, user in enumerate(users):
        value = np.full(members.shape, -np.inf)
        value[members >= 0] = np.nan_to_num(reward.score(batch.asked_by(user)).value, nan=-np.inf)
        out[i] = members[np.arange(len(members)), value.argmax(1)]
    return out


FILES = ("personalllm*.jsonl*|personalllm*.parquet|*.jsonl*|*.parquet",)

PERSONAL_LLM = Study(
    name="personalllm",
    what="PersonalLLM: people as mixtures of scorers; the utility of what a personal model picks for new ones",
    source=(
        "get hf:namkoong-lab/PersonalLLM and save it there as personalllm.parquet or .jsonl, or give your own rows of "
        "prompt and responses with --set scorers=..."
    ),
    subject="a personal model of guerdon fit, e.g. low-rank",
    measure=measure,
    summary=summary,
    paper="arXiv:2409.20296",
    settings={
        "population": "dirichlet:0.1, or another kind of simulated people",
        "scorers": "rewards separated by commas, or random:10; the data's own by default",
        "people": "people with a history (300)",
        "new": "new people (60)",
        "history": "comparisons of a person with a history (40)",
        "shots": "numbers of comparisons of a new person (0,2,5,10,20)",
        "scale": "how decided people are: inverse temperature of their choices (4)",
        "encoder": "what reads the texts (minilm)",
    },
)
