"""A personal model on people and prompts it has and has not seen, told ever more of each new person's choices.

People are split in two. A model is fitted to the first half (*seen*), without the prompts that are held out and without
a fifth of each person's judgements; then it meets

- seen people on judgements held out, of seen and of unseen prompts,
- new people after 0, 2, 5, ... of their own comparisons (shots), on what else they said, of seen and of unseen prompts.

An item is a person in a cell, and what it earns is that person's accuracy there: intervals are over people, since the
claim is about the next one. Beside it stand Bradley-Terry on the same features, which is the same for everybody, and
matrix factorization by identity, which reads no text. All are fitted to the same feedback and see the same shots.

References
----------
Bose et al. 2025. LoRe. https://arxiv.org/abs/2504.14439 (seen and unseen people and prompts, shots)
Zollo et al. 2024. PersonalLLM. https://arxiv.org/abs/2409.20296
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from guerdon.bench.draws import Draw, candidate_pairs, draw, shot_feedback
from guerdon.bench.scoring import predict_pairs
from guerdon.bench.suites.recipe import Recipe
from guerdon.bench.suites.result import SuiteResult
from guerdon.bench.suites.run import digest_of
from guerdon.bench.suites.study import Rival, Study, tally
from guerdon.bench.suites.suite import ALLOWED, Cells, Table
from guerdon.errors import ConfigError, FeedbackError
from guerdon.feedback.star import Feedback, Pairs
from guerdon.reward.base import Reward

SHOTS = "0,2,5,10,20"
HELD = 0.2
"""Share of a seen person's judgements that are tests."""
FEWEST_PROMPTS = 20
"""With fewer prompts than this none is held out."""
MOST_TESTS = 100
"""Test pairs of one person in one cell."""


def summary(cells: Cells) -> Table:
    """New people with all shots first, on unseen prompts where there are some; what the shots gain; every cell."""
    rates = dict(zip(cells.subsets, cells.rate.T, strict=True))
    new = sorted((k for k in rates if k.startswith("new")), key=lambda k: ("unseen" not in k, -_shots(k)))
    out: Table = {}
    for where in ("unseen prompts", "seen prompts"):
        of = [k for k in new if k.split(", ")[1] == where]
        if of:
            out[of[0]] = rates[of[0]]
            if _shots(of[-1]) == 0:
                out[f"gain of {_shots(of[0])} shots, {where}"] = rates[of[0]] - rates[of[-1]]
    return {**out, **{k: rates[k] for k in (*reversed(new), *rates) if k not in out}}


def _shots(cell: str) -> int:
    return int(cell.rsplit(", ", 1)[1].split()[0])


@dataclass(frozen=True)
class Split:
    """What every model sees: feedback to fit, and pairs to be tested on by cell.

    seen   pairs of seen people by cell
    new    (feedback of the new people, draws of shots and tests on seen prompts, tests on unseen prompts)
    """

    train: Feedback
    held: Feedback
    seen: dict[str, Pairs]
    new: Feedback
    draws: list[Draw]
    fresh: Pairs | None
    people: int
    notes: tuple[str, ...]


def split(feedback: Feedback, shots: tuple[int, ...], people: int, draws: int, prompts: float, seed: int) -> Split:
    """Split people, prompts and judgements.

    Raises
    ------
    FeedbackError
        if too few people are named or say enough
    """
    rng = np.random.default_rng(seed)
    feedback = feedback.take(feedback.user >= 0)
    count = np.bincount(feedback.user, minlength=len(feedback.users))
    enough = rng.permutation(np.flatnonzero(count >= 2 * shots[-1]))[:people]
    if len(enough) < 20:
        raise FeedbackError(
            f"personal: {len(enough)} people gave {2 * shots[-1]} judgements or more; 20 are needed. Use fewer shots "
            "(--set shots=0,2,5), or more feedback with a user column"
        )
    new_people = np.sort(enough[: len(enough) // 2])
    notes = []
    names = np.unique(feedback.judgement_prompt)
    hidden = np.zeros(len(feedback.prompts), dtype=bool)
    if len(names) >= FEWEST_PROMPTS and prompts > 0:
        hidden[rng.permutation(names)[: max(1, round(prompts * len(names)))]] = True
    else:
        notes.append(f"{len(names)} prompts: none is held out")
    unseen = hidden[feedback.judgement_prompt]
    of_new = np.isin(feedback.user, new_people)
    of_seen = np.isin(feedback.user, enough) & ~of_new
    test = rng.random(len(feedback)) < HELD
    train = feedback.take(of_seen & ~unseen & ~test)
    held, new = feedback.take(of_seen & (unseen | test)), feedback.take(of_new)
    n = len(feedback.prompt_of)
    known = _question(train.pairs(max_per_person=4 * MOST_TESTS, seed=seed), n)
    hidden_in = hidden[held.judgement_prompt]
    seen: dict[str, Pairs] = {}
    for cell, rows in (("seen people, seen prompts", ~hidden_in), ("seen people, unseen prompts", hidden_in)):
        if rows.any():
            at = np.flatnonzero(rows)
            pairs = candidate_pairs(held.take(at), np.unique(held.user), MOST_TESTS, seed)
            pairs = _decided(Pairs(**{**vars(pairs), "judgement": at[pairs.judgement]}))
            seen[cell] = pairs.take(~np.isin(_question(pairs, n), known))
    old = np.flatnonzero(~hidden[new.judgement_prompt])
    pairs = candidate_pairs(new.take(old), np.unique(new.user), MOST_TESTS, seed)
    pairs = Pairs(**{**vars(pairs), "judgement": old[pairs.judgement]})
    parts = [draw(new, pairs, shots[-1], seed + 1000 * d, MOST_TESTS) for d in range(draws)]
    parts = [Draw(part.shots, part.turn, _decided(part.test)) for part in parts]
    if not sum(len(part.test) for part in parts):
        raise FeedbackError("personal: no new person has shots and tests enough; use fewer shots")
    fresh = None
    if hidden.any():
        late = np.flatnonzero(hidden[new.judgement_prompt])
        if len(late):
            fresh = candidate_pairs(new.take(late), np.unique(new.user), MOST_TESTS, seed)
            fresh = _decided(Pairs(**{**vars(fresh), "judgement": late[fresh.judgement]}))
            fresh = fresh.take(np.isin(fresh.user, np.unique(np.concatenate([p.shots.user for p in parts]))))
    return Split(train, held, seen, new, parts, fresh, len(enough), tuple(notes))


def _decided(pairs: Pairs) -> Pairs:
    return pairs.take((pairs.p != 0.5) & (pairs.a != pairs.b))


def _question(pairs: Pairs, candidates: int) -> np.ndarray:
    """int64 [n] code of (person, the two candidates in either order)."""
    low, high = np.minimum(pairs.a, pairs.b).astype(np.int64), np.maximum(pairs.a, pairs.b).astype(np.int64)
    return (pairs.user * candidates + low) * candidates + high


def answers(reward: Reward, parts: Split, shots: tuple[int, ...], personal: bool) -> tuple[dict[str, Any], float]:
    """(cell to (sum of hits, tests) by person [users], median seconds of one ``adapt``)."""
    cells: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for cell, pairs in parts.seen.items():
        _add(cells, cell, reward, parts.held, pairs)
    took = []
    for part in parts.draws:
        for k in shots:
            known: Any = reward
            if k and personal:
                told = shot_feedback(parts.new, part.shots.take(part.turn < k))
                began = time.perf_counter()
                known = reward.adapt(told)  # type: ignore[attr-defined]
                took.append(time.perf_counter() - began)
            _add(cells, f"new people, seen prompts, {k} shots", known, parts.new, part.test)
            if parts.fresh is not None and len(parts.fresh):
                _add(cells, f"new people, unseen prompts, {k} shots", known, parts.new, parts.fresh)
    return cells, float(np.median(took)) if took else 0.0


def _add(cells: dict[str, Any], cell: str, reward: Reward, feedback: Feedback, pairs: Pairs) -> None:
    q = predict_pairs(reward, feedback, pairs).value
    q = np.where(np.isnan(q), 0.5, q)  # what is not answered is a coin
    hit = np.where(q == 0.5, 0.5, (q > 0.5) == (pairs.p > 0.5))
    width = len(feedback.users)
    total, tests = cells.get(cell, (np.zeros(width), np.zeros(width)))
    cells[cell] = (total + np.bincount(pairs.user, hit, width), tests + np.bincount(pairs.user, minlength=width))


def measure(
    study: Study,
    subject: str,
    data: str | Path,
    *,
    limit: int | None = None,
    bootstrap: int = 1000,
    seed: int = 0,
    name: str | None = None,
    shots: Any = SHOTS,
    people: int = 400,
    draws: int = 2,
    unseen_prompts: float = 0.25,
    encoder: str | None = None,
) -> SuiteResult:
    """Fit the recipe ``subject`` and measure it on the feedback ``data``; ``limit`` is of people.

    Raises
    ------
    ConfigError
        if the recipe or a setting is wrong
    FeedbackError
        if too few people say enough
    """
    recipe = Recipe.of(subject)
    counts = counts_of(shots)
    if not 0 <= unseen_prompts < 1:
        raise ConfigError(f"suite {study.name}: unseen_prompts={unseen_prompts}; use a share in [0, 1)")
    feedback = Feedback.read(str(data), allow=ALLOWED)
    parts = split(feedback, counts, min(people, limit or people), draws, unseen_prompts, seed)
    rivals = {"population": Recipe.of("bradley-terry")}
    if _recurs(parts):
        rivals["by identity"] = Recipe.of("factorization")
    what = {"population": "Bradley-Terry on the same features", "by identity": "matrix factorization, reads no text"}
    found: dict[str, dict[str, Any]] = {}
    extra: dict[str, float] = {}
    title = name or subject
    for key, each in ({"": recipe} | rivals).items():
        began = time.perf_counter()
        reward = each.make(seed=seed, encoder=encoder, choose_by="user").fit(parts.train)
        took = time.perf_counter() - began
        found[key], adapt = answers(reward, parts, counts, each.entry.personal)
        if not key:
            extra = {
                "seconds to fit": took,
                "milliseconds to adapt, a person": 1000 * adapt / max(parts.people // 2, 1),
            }
    subset, cluster, ids = [], [], []
    credit: dict[str, list[float]] = {key: [] for key in found}
    for cell, (_, tests) in found[""].items():
        users = (parts.held if cell.startswith("seen") else parts.new).users
        for person in np.flatnonzero(tests).tolist():
            subset.append(cell)
            ids.append(f"{users[person]}: {cell}")
            cluster.append(users[person])
            for key, cells in found.items():
                total, count = cells[cell]
                credit[key].append(float(total[person] / count[person]))
    return tally(
        study,
        title,
        subset,
        np.array(credit[""]),
        rivals={key: Rival(what[key], np.array(credit[key])) for key in rivals},
        cluster=np.unique(np.array(cluster, dtype=object).astype(str), return_inverse=True)[1],
        over="people",
        ids=ids,
        extra=extra,
        facts={"people split": parts.people, "judgements to fit": len(parts.train)},
        notes=(*feedback.notes, *parts.notes),
        settings={
            "shots": list(counts), "people": people, "draws": draws, "unseen_prompts": unseen_prompts,
            "limit": limit, "data": digest_of(feedback),
        },
        bootstrap=bootstrap,
        seed=seed,
    )  # fmt: skip


def counts_of(shots: Any) -> tuple[int, ...]:
    """``"0,2,5"``, a list or a number as numbers of shots from 0 on."""
    try:
        parts = str(shots).strip("[]()").split(",")
        found = sorted({0, *(int(p) for p in parts if p.strip())})
    except ValueError:
        found = []
    if len(found) < 2 or found[0] < 0:
        raise ConfigError(f"shots={shots}: write numbers of shots, e.g. --set shots=0,2,5,10")
    return tuple(found)


def _recurs(parts: Split) -> bool:
    """Whether new people are asked about candidates that others judged."""
    known = np.isin(np.arange(len(parts.train.prompt_of)), parts.train.items)
    tests = parts.draws[0].test
    return bool(len(tests)) and float((known[tests.a] & known[tests.b]).mean()) > 0.5


PERSONAL = Study(
    name="personal",
    what="a personal model on seen and new people and prompts, after ever more shots",
    source="name feedback with a user column (any format that guerdon data reads): --data FILE",
    subject="a model of guerdon fit, e.g. low-rank or low-rank?rank=4",
    measure=measure,
    summary=summary,
    paper="arXiv:2504.14439",
    settings={
        "shots": "numbers of comparisons of a new person (0,2,5,10,20)",
        "people": "most people, half of them new (400)",
        "draws": "draws of the shots (2)",
        "unseen_prompts": "share of the prompts that are held out (0.25)",
        "encoder": "what reads the texts (minilm)",
    },
)
