"""What simulated people say about what they are shown: feedback of every form, from one way of perceiving.

``history`` shows each person responses to prompts and writes down the verdicts as ordinary
:class:`~guerdon.feedback.star.Feedback`. Everything a person does comes from a random stream of their own, so the
first hundred people say the same whether there are a hundred of them or a million.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from scipy.special import ndtri

from guerdon.errors import ConfigError
from guerdon.feedback.schema import SCALES, SOURCES
from guerdon.feedback.star import Feedback
from guerdon.worlds.annotators import Annotator, Panel
from guerdon.worlds.pool import CROSS_PROMPT

if TYPE_CHECKING:
    from guerdon.worlds.people import Population

FORMS = ("comparison", "rating", "ranking", "best-of-n")
STRATEGIES = ("random", "best-worst", "cross-prompt")


def history(
    population: Population,
    *,
    form: str = "comparison",
    count: int = 20,
    strategy: str = "random",
    n: int = 4,
    levels: int = 5,
    users: np.ndarray | None = None,
    prompts: np.ndarray | None = None,
    held_out: bool = False,
    annotator: Annotator | None = None,
    named: bool = True,
    seed: int = 0,
) -> Feedback:
    """``count`` verdicts of each person, as feedback in order of person.

    form       comparison (two responses), rating (one, on 1..``levels``), ranking or best-of-n (``n`` responses)
    strategy   which responses: ``random`` ones of one prompt; the person's ``best-worst`` of one prompt (comparisons;
               easy cases, as in the published PersonalLLM pairs); ``cross-prompt``, one response to each of two prompts
               (comparisons of whole conversations)
    users      rows of the people who speak; everybody by default
    prompts    prompts to draw from; the population's training prompts by default. Each person sees a prompt again only
               after having seen all of them
    held_out   draw from the population's test prompts instead: questions to evaluate on
    annotator  answer like this instead of in each person's own way (``Annotator.perfect()`` for noiseless questions)
    named      False leaves the names out: anonymous feedback
    seed       another seed, other prompts and other verdicts of the same people
    """
    if form not in FORMS:
        raise ConfigError(f"form {form!r} is unknown; use one of {', '.join(FORMS)}")
    if strategy not in STRATEGIES:
        raise ConfigError(f"strategy {strategy!r} is unknown; use one of {', '.join(STRATEGIES)}")
    if strategy != "random" and form != "comparison":
        raise ConfigError(f"strategy {strategy!r} is for comparisons, not for form {form!r}")
    if population.kind == "cyclic" and (form != "comparison" or strategy == "best-worst"):
        raise ConfigError("cyclic people have no utility: they give comparisons (random or cross-prompt), nothing else")
    if count < 1 or seed < 0 or levels < 2:
        raise ConfigError(f"count={count}, seed={seed}, levels={levels}: use count >= 1, seed >= 0, levels >= 2")
    shown = {"comparison": 2, "rating": 1}.get(form, n)
    people = np.arange(len(population)) if users is None else np.arange(len(population))[users]
    pool = _prompts(population, prompts, held_out, 1 if strategy == "cross-prompt" else shown)
    person, items, slip, lazy, noise = _show(population, people, pool, count, shown, strategy, seed)
    panel = population.panel(person, annotator)
    if form == "rating":
        grades = _rate(population, person, items, noise, slip, panel, levels)
        unseen = np.where(panel.lazy_first, levels, (1 + levels) / 2)
        grades = np.where(lazy < panel.lazy, unseen, grades[:, 0])[:, None]
    else:
        perceived = panel.perceive(_felt(population, person, items, panel), noise, slip)
        # somebody who does not look sees no difference, or takes them in the order they come in
        unseen = np.where(panel.lazy_first[:, None], -np.arange(shown) * 1e9, 0.0)
        looked = lazy >= panel.lazy
        perceived = np.where(looked[:, None], perceived, unseen)
        grades = _order(perceived, form, panel.indifference)
    return _feedback(population, person, items, grades, form, strategy == "cross-prompt", named)


def _prompts(population: Population, prompts: np.ndarray | None, held_out: bool, shown: int) -> np.ndarray:
    pool = population.test if held_out else population.train
    if prompts is not None:
        pool = np.asarray(prompts)
        leaked = np.intersect1d(pool, population.test)
        if len(leaked) and not held_out:
            raise ConfigError(f"{len(leaked)} of these prompts are held out; leave them out or say held_out=True")
    if not len(pool):
        raise ConfigError("no prompts to show; simulate the population with held_out > 0 to have test prompts")
    short = pool[population.pool.count[pool] < shown]
    if len(short):
        name = population.pool.prompts[short[0]][:40]
        have = population.pool.count[short[0]]
        message = f"{len(short)} prompts have fewer than {shown} responses (the first, {name!r}, has {have}); "
        raise ConfigError(message + "leave them out with prompts=, or show fewer")
    return pool


def _show(
    population: Population, people: np.ndarray, pool: np.ndarray, count: int, shown: int, strategy: str, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(person [N], items [N, shown], and uniforms: slip [N], lazy [N], noise [N, shown]) of every question."""
    cross = strategy == "cross-prompt"
    asked = count * (2 if cross else 1)
    prompt = np.empty((len(people), asked), dtype=np.int64)
    uniform = np.empty((len(people), count, 2 * shown + 2))
    rounds, rest = divmod(asked, len(pool))
    for row, user in enumerate(people):
        rng = population.rng(user, seed)
        draws = [rng.permutation(len(pool)) for _ in range(rounds)]  # every prompt once before any comes again
        draws.append(rng.choice(len(pool), rest, replace=False))
        prompt[row] = pool[np.concatenate(draws)]
        uniform[row] = rng.random((count, 2 * shown + 2))
    person = np.repeat(people, count)
    uniform = uniform.reshape(len(person), -1)
    pick, noise = uniform[:, :shown], uniform[:, shown : 2 * shown]
    members, size = population.pool.members, population.pool.count
    if cross:
        two = prompt.reshape(-1, 2)
        slot = np.floor(pick * size[two]).astype(np.int64)
        items = members[two, slot]
    elif strategy == "best-worst":
        items = _best_worst(population, person, members[prompt.ravel()], pick[:, 0] < 0.5)
    else:
        chosen = prompt.ravel()
        items = members[chosen[:, None], _distinct(pick, size[chosen])]
    return person, items, uniform[:, -2], uniform[:, -1], noise


def _distinct(uniform: np.ndarray, size: np.ndarray) -> np.ndarray:
    """int64 [N, m] m distinct numbers below ``size`` [N] in random order, from uniforms [N, m]."""
    n, m = uniform.shape
    out = np.empty((n, m), dtype=np.int64)
    for k in range(m):
        value = np.floor(uniform[:, k] * (size - k)).astype(np.int64)
        for earlier in np.sort(out[:, :k], axis=1).T:  # the value-th of those not yet taken
            value += value >= earlier
        out[:, k] = value
    return out


def _best_worst(population: Population, person: np.ndarray, members: np.ndarray, swap: np.ndarray) -> np.ndarray:
    items = np.empty((len(person), 2), dtype=np.int64)
    step = max(1, 2_000_000 // (members.shape[1] * population.z.shape[1]))
    for start in range(0, len(person), step):
        rows = slice(start, start + step)
        here = members[rows]
        utility = population.utility_at(person[rows], np.maximum(here, 0))
        best = np.where(here < 0, -np.inf, utility).argmax(1)
        worst = np.where(here < 0, np.inf, utility).argmin(1)
        items[rows] = np.take_along_axis(here, np.stack([best, worst], 1), 1)
    return np.where(swap[:, None], items[:, ::-1], items)


def _felt(population: Population, person: np.ndarray, items: np.ndarray, panel: Panel) -> np.ndarray:
    """[N, m] what each response means to the person, in the units their way of answering asks for."""
    if population.kind == "cyclic":
        gap = population.gap(person, items[:, 0], items[:, 1])
        return np.stack([gap, np.zeros_like(gap)], axis=1)
    sd = population.moments[1][person]
    return population.utility_at(person, items) / np.where(panel.standardize, sd, 1.0)[:, None]


def _rate(
    population: Population,
    person: np.ndarray,
    items: np.ndarray,
    noise: np.ndarray,
    slip: np.ndarray,
    panel: Panel,
    levels: int,
) -> np.ndarray:
    """[N, 1] grades 1..levels: equal shares of each level for somebody whose utilities are normal and who is exact."""
    mean, sd = (column[person][:, None] for column in population.moments)
    felt = (population.utility_at(person, items) - mean) / np.where(panel.standardize[:, None], sd, 1.0)
    scale = np.where(np.isinf(panel.scale), 1.0, panel.scale)[:, None]
    level = panel.perceive(felt, noise, slip) / scale
    if not panel.standardize.all():
        level = level / np.where(panel.standardize[:, None], 1.0, sd)
    return 1.0 + np.searchsorted(ndtri(np.arange(1, levels) / levels), level)


def _order(perceived: np.ndarray, form: str, indifference: np.ndarray) -> np.ndarray:
    """Grades [N, m] of what is perceived: 1/0 or a tie, n-1..0, or 1 for the best."""
    n, m = perceived.shape
    top = np.sort(perceived, axis=1)
    if form == "ranking":
        rank = np.argsort(np.argsort(perceived, axis=1, kind="stable"), axis=1).astype(np.float64)
        tied = top[:, -1] - top[:, 0] <= indifference
        return np.where(tied[:, None], (m - 1) / 2, rank)
    best = np.zeros((n, m))
    best[np.arange(n), perceived.argmax(1)] = 1.0
    tied = top[:, -1] - (top[:, -2] if m > 1 else -np.inf) <= indifference
    return np.where(tied[:, None], 1.0 / m, best)


def _feedback(
    population: Population,
    person: np.ndarray,
    items: np.ndarray,
    grades: np.ndarray,
    form: str,
    cross: bool,
    named: bool,
) -> Feedback:
    """The star of these verdicts: only candidates that were shown are in it."""
    pool = population.pool
    used, item = np.unique(items, return_inverse=True)
    if cross:
        names, prompt_of = [CROSS_PROMPT], np.zeros(len(used), dtype=np.int64)
        texts = [pool.conversations[i] for i in used]
    else:
        prompts, prompt_of = np.unique(pool.prompt_of[used], return_inverse=True)
        names, texts = [pool.prompts[p] for p in prompts], [pool.responses[i] for i in used]
    speakers, user = np.unique(person, return_inverse=True)
    count, shown = items.shape
    return Feedback(
        prompts=pa.array(names, pa.large_string()),
        prompt_of=prompt_of.astype(np.int32),
        responses=pa.array(texts, pa.large_string()),
        offsets=np.arange(count + 1, dtype=np.int64) * shown,
        items=item.reshape(-1).astype(np.int32),
        grades=grades.reshape(-1).astype(np.float64),
        user=user.astype(np.int32) if named else np.full(count, -1, dtype=np.int32),
        criterion=np.full(count, -1, dtype=np.int32),
        subset=np.full(count, -1, dtype=np.int32),
        source=np.full(count, SOURCES.index("rule"), dtype=np.int8),
        scale=np.full(count, SCALES.index("rating" if form == "rating" else "order"), dtype=np.int8),
        weight=np.ones(count),
        users=population.take(speakers).users if named else (),
    )
