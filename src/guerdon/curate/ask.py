r"""Which comparison to show next: the one whose answer is expected to tell most, and n of them that do not repeat.

What is known of a person (or of everybody) is a Gaussian over weights, ``w ~ N(mean, cov)``. A question is the
difference z of the basis utilities of two responses, so its log-odds are ``t = offset + z . w ~ N(m, v)`` with
``m = offset + z . mean`` and ``v = z' cov z``, and its answer is Bernoulli(sigmoid(t)). Criteria, all closed forms of
m and v (one-dimensional integrals by Gauss-Hermite quadrature):

    ``information``  H(E[p]) - E[H(p)], what the answer says about w, in nats (BALD, Houlsby et al. 2011)
    ``variance``     expected fall of the summed variance of the utilities of the pool (I-optimal)
    ``logdet``       log(1 + f v) / 2 with the Fisher information f = E[p (1 - p)] (D-optimal)
    ``uncertainty``  closeness of E[p] to 1/2: a yardstick; it also asks what is merely a matter of chance
    ``random``       the yardstick of yardsticks

Several questions are chosen one after the other: after each, the covariance shrinks by what its answer is expected to
tell, ``cov -= f / (1 + f v) (cov z)(cov z)'``, so that the next one asks something else. With ``logdet`` that is the
greedy maximisation of log det, within 1 - 1/e of the best batch; ``diverse=False`` takes the n best on their own.

About a person the weights are those of :class:`~guerdon.reward.personal.low_rank.LowRankReward` (or anything with
``utilities`` and ``belief``); about the population they are those of a linear head on frozen features, with the
Laplace posterior that the answers so far give it.

References: Houlsby et al. (2011), Bayesian Active Learning for Classification and Preference Learning,
https://arxiv.org/abs/1112.5745; Poddar et al. (2024), VPL, https://arxiv.org/abs/2408.10075 (questions to a person);
Chaloner and Verdinelli (1995), Bayesian Experimental Design.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from scipy.special import expit, xlogy

from guerdon.curate.queue import Question, write_queue
from guerdon.curate.step import Changes, Curated
from guerdon.encode.base import Encoder
from guerdon.errors import ConfigError, FeedbackError
from guerdon.feedback.messages import pack
from guerdon.feedback.schema import Candidates
from guerdon.feedback.star import Feedback

CRITERIA = ("information", "variance", "logdet", "uncertainty", "random")
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(24)
WEIGHTS = WEIGHTS / WEIGHTS.sum()


@runtime_checkable
class Believing(Protocol):
    """A reward that knows how much it knows of a person."""

    def utilities(self, candidates: Candidates) -> np.ndarray:
        """float64 [n, 1 + k]: population utility in column 0, basis utilities in the others."""
        ...

    def belief(self, user: str | None) -> tuple[np.ndarray, np.ndarray]:
        """(mean [k], covariance [k, k]) of what is known of a person's weights."""
        ...


@dataclass(frozen=True)
class Chosen:
    """m chosen questions: their ``index`` int [m] in the pool, in the order to ask them, and what each is expected to
    tell at its turn: ``gain`` (unit of the criterion), ``p`` = P(first preferred), ``std`` of its log-odds, [m]."""

    index: np.ndarray
    gain: np.ndarray
    p: np.ndarray
    std: np.ndarray


def expected(mean: np.ndarray, variance: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(E[p], E[p (1 - p)], E[H(p)] in nats) [n] of p = sigmoid(t), t ~ N(mean, variance), [n] each."""
    p = expit(mean[:, None] + np.sqrt(np.maximum(variance, 0.0))[:, None] * NODES)
    return p @ WEIGHTS, (p * (1 - p)) @ WEIGHTS, entropy(p) @ WEIGHTS


def entropy(p: np.ndarray) -> np.ndarray:
    """Entropy of a yes/no answer, in nats."""
    return -xlogy(p, p) - xlogy(1 - p, 1 - p)


def information(mean: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """Mutual information [n] of the answer and the weights, in nats: at most log 2, 0 where nothing is unknown."""
    p, _, inner = expected(mean, variance)
    return np.maximum(entropy(p) - inner, 0.0)


def choose(
    z: np.ndarray,
    mean: np.ndarray,
    cov: np.ndarray,
    n: int,
    *,
    offset: np.ndarray | None = None,
    by: str = "information",
    diverse: bool = True,
    targets: np.ndarray | None = None,
    seed: int = 0,
) -> Chosen:
    """The n questions to ask of the pool ``z`` [q, k], given weights ~ N(``mean`` [k], ``cov`` [k, k]).

    offset   float64 [q] known part of the log-odds;  targets  float64 [t, k] utilities (or differences of utilities)
    whose variance matters (``variance`` only; the pool itself by default)
    """
    if by not in CRITERIA:
        raise ConfigError(f"by={by!r} is unknown; use one of {', '.join(CRITERIA)}")
    q, n = len(z), min(n, len(z))
    m = z @ mean + (0.0 if offset is None else offset)
    zs = z @ cov  # [q, k], kept as z times the present covariance
    v = np.einsum("qk,qk->q", zs, z)
    draw = np.random.default_rng(seed).random(q)
    second = z if targets is None else targets
    second = second.T @ second
    open_ = np.ones(q, bool)
    index, gains, ps, stds = [], [], [], []
    gain = None
    for _ in range(n):
        p, fisher, inner = expected(m, v)
        if gain is None or diverse:
            if by == "information":
                gain = np.maximum(entropy(p) - inner, 0.0)
            elif by == "logdet":
                gain = 0.5 * np.log1p(fisher * np.maximum(v, 0.0))
            elif by == "variance":
                gain = fisher / (1 + fisher * v) * np.einsum("qk,kl,ql->q", zs, second, zs)
            else:
                gain = 0.5 - np.abs(p - 0.5) if by == "uncertainty" else draw
        best = np.where(open_, gain, -np.inf)
        j = int(np.lexsort((draw, np.round(best, 12)))[-1])  # equal gains: by the seed, not by the order of the pool
        open_[j] = False
        index.append(j)
        gains.append(float(gain[j]))
        ps.append(float(p[j]))
        stds.append(float(np.sqrt(max(v[j], 0.0))))
        if diverse:
            shrink = fisher[j] / (1 + fisher[j] * v[j])
            row, along = zs[j].copy(), zs @ z[j]
            v = v - shrink * along**2
            zs = zs - shrink * along[:, None] * row
    return Chosen(np.array(index, dtype=np.int64), np.array(gains), np.array(ps), np.array(stds))


def population_belief(
    z: np.ndarray, w: np.ndarray, l2: float, weight: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """(mean [d], covariance [d, d]) of linear weights ``w`` [d] after answers to ``z`` [n, d]: Laplace's posterior.

    ``l2`` is the ridge penalty beside the *mean* loss, as in the linear head: its prior precision is l2 x sum(weight).
    """
    weight = np.ones(len(z)) if weight is None else weight
    s = expit(z @ w)
    precision = (z * (weight * s * (1 - s))[:, None]).T @ z
    precision[np.diag_indices_from(precision)] += max(l2 * weight.sum(), 1e-9)
    return w, np.linalg.inv(precision)


def questions_of(pool: Candidates | Feedback, most: int | None = None, seed: int = 0) -> tuple[Candidates, np.ndarray]:
    """(candidates, pairs int [q, 2]) that could be shown: of candidates every two of a prompt, of feedback its pairs.

    At most ``most`` of them, drawn by ``seed``. The same two texts are one question, in whatever order.
    """
    if isinstance(pool, Feedback):
        parts = []
        for j in range(len(pool)):
            items = pool.items[pool.offsets[j] : pool.offsets[j + 1]]
            first, second = np.triu_indices(len(items), 1)
            parts.append(np.stack([items[first], items[second]], 1))
        pairs = np.concatenate([np.zeros((0, 2), np.int64), *parts]).astype(np.int64)
        candidates = pool.candidates
        names = np.arange(len(candidates))
    else:
        candidates = pool
        table: dict[str, int] = {}
        names = np.array([table.setdefault(f"{pack(c.prompt)}\x1f{pack(c.response)}", len(table)) for c in candidates])
        groups: dict[str, list[int]] = {}
        for i, prompt in enumerate(candidates.prompts):
            groups.setdefault(pack(prompt), []).append(i)
        parts = []
        for members in groups.values():
            first, second = np.triu_indices(len(members), 1)
            rows = np.array(members)
            parts.append(np.stack([rows[first], rows[second]], 1))
        pairs = np.concatenate([np.zeros((0, 2), np.int64), *parts])
    pairs = pairs[names[pairs[:, 0]] != names[pairs[:, 1]]]
    _, first = np.unique(np.sort(names[pairs], axis=1), axis=0, return_index=True)
    pairs = pairs[np.sort(first)]
    if most is not None and len(pairs) > most:
        pairs = pairs[np.sort(np.random.default_rng(seed).choice(len(pairs), most, replace=False))]
    return candidates, pairs


def next_questions(
    reward: Any,
    user: str | None,
    pool: Candidates | Feedback,
    n: int = 1,
    *,
    answered: Feedback | None = None,
    by: str = "information",
    diverse: bool = True,
    max_pairs: int | None = 5000,
    seed: int = 0,
) -> list[Question]:
    """The n comparisons of ``pool`` to show next, with the reason for each, best first.

    ``reward`` with a belief about people (low-rank), or one that says what answers tell (variational): questions about
    ``user``, or for ``None`` those that tell people apart best. A linear ``bradley-terry``: questions about everybody,
    given the feedback ``answered`` it was fitted to. Questions that ``answered`` holds (of this user) are not asked
    again.
    """
    candidates, pairs = questions_of(pool, None, seed)
    if answered is not None:
        pairs = pairs[~_asked(candidates, pairs, answered, user)]
    if max_pairs is not None and len(pairs) > max_pairs:
        pairs = pairs[np.sort(np.random.default_rng(seed).choice(len(pairs), max_pairs, replace=False))]
    if not len(pairs):
        raise FeedbackError("no question is left: the pool has no two different responses to a prompt that are unasked")
    if not isinstance(reward, Believing) and callable(getattr(reward, "information", None)):
        return _by_samples(reward, user, candidates, pairs, n, by, diverse)
    used, at = np.unique(pairs, return_inverse=True)
    at = at.reshape(pairs.shape)
    offset, about = None, "everybody"
    if isinstance(reward, Believing):
        u = reward.utilities(candidates.take(used))
        difference = u[at[:, 0]] - u[at[:, 1]]
        offset, z = difference[:, 0], difference[:, 1:]
        mean, cov = reward.belief(user)
        about = "a stranger" if user is None else user
        if not z.shape[1]:
            raise FeedbackError(f"{reward.name} has no basis utilities: people do not differ, there is nothing to ask")  # type: ignore[attr-defined]
    else:
        mean, cov = _belief_of_everybody(reward, answered)
        x = reward.x(candidates.take(used))
        z = x[at[:, 0]] - x[at[:, 1]]
    chosen = choose(z, mean, cov, n, offset=offset, by=by, diverse=diverse, seed=seed)
    unit = {"information": " nats", "logdet": " nats", "variance": " of variance"}.get(by, "")
    out = []
    for i, gain, p, std in zip(chosen.index, chosen.gain, chosen.p, chosen.std, strict=True):
        a, b = (int(k) for k in pairs[i])
        why = f"{by} about {about}: {gain:.4f}{unit}; P(first preferred) {p:.2f}, log-odds known to {std:.2f}"
        out.append(Question(candidates.prompts[a], candidates.responses[a], candidates.responses[b], user, why, gain))
    return out


def _by_samples(
    reward: Any, user: str | None, candidates: Candidates, pairs: np.ndarray, n: int, by: str, diverse: bool
) -> list[Question]:
    """The n questions that a reward with ``information(users, a, b)`` says tell most; diverse: one a prompt first."""
    if by != "information":
        raise ConfigError(f"by={by!r}: {reward.name} says what an answer tells in nats only; use by=information")
    a, b = (candidates.take(side) for side in pairs.T)
    nats = np.asarray(reward.information([user], a, b))[0]
    order = np.argsort(-nats, kind="stable")
    if diverse:
        prompts = [pack(candidates.prompts[i]) for i in pairs[order, 0]]
        seen: set[str] = set()
        later = np.array([p in seen or bool(seen.add(p)) for p in prompts])  # type: ignore[func-returns-value]
        order = np.concatenate([order[~later], order[later]])
    told = f"information about {'a stranger' if user is None else user}"
    return [
        Question(a.prompts[i], a.responses[i], b.responses[i], user, f"{told}: {nats[i]:.4f} nats", float(nats[i]))
        for i in order[:n].tolist()
    ]


def ask(
    feedback: Feedback,
    *,
    reward: Any = None,
    about: str = "person",
    users: Sequence[str] | None = None,
    n: int = 5,
    by: str = "information",
    diverse: bool = True,
    pool: Any = None,
    queue: str | None = None,
    model: str | None = None,
    encoder: str | Encoder = "minilm",
    max_pairs: int = 5000,
    seed: int = 0,
) -> Curated:
    """Write down which comparisons to show next, to whom and why; the feedback itself stays as it is.

    Parameters
    ----------
    reward : what is known so far: a fitted reward (or where it lies); without it, one is fitted to the feedback
    about : person (n questions to each of users) or population (n questions to anybody)
    users : whom to ask; without it, everybody in the feedback
    n : questions each
    by : information, variance, logdet, uncertainty or random
    diverse : whether each question counts with what the ones before it are expected to tell
    pool : feedback or candidates with the responses that may be shown; without it, those of the feedback
    queue : file for the questions (.jsonl, guerdon's own format, grades to be filled in); without it, the report
    model : what is fitted where no reward is given; low-rank for a person, bradley-terry for the population
    encoder : what computes the features of a model that is fitted here
    max_pairs : most questions looked at, drawn at random
    seed : seeds the draw and the model
    """
    from guerdon.reward.load import load
    from guerdon.reward.registry import model as registered

    if by not in CRITERIA:
        raise ConfigError(f"by={by!r} is unknown; use one of {', '.join(CRITERIA)}")
    if about not in ("person", "population") or n < 1:
        raise ConfigError(f"about={about!r}, n={n}: use person or population, and at least one question")
    if reward is None:
        name = model or ("low-rank" if about == "person" else "bradley-terry")
        known = {parameter for parameter, _, _ in registered(name).parameters()}
        settings = {k: v for k, v in {"encoder": encoder, "seed": seed}.items() if k in known}
        reward = registered(name).make(**settings).fit(feedback)
    elif isinstance(reward, str):
        reward = load(reward)
    if pool is None:
        choices: Candidates | Feedback = feedback.candidates.take(feedback.used)
    else:
        choices = Feedback.read(pool) if isinstance(pool, str) else pool
    people: list[str | None] = [None]
    if about == "person":
        people = list(users) if users is not None else list(feedback.users)
        if not people:
            raise FeedbackError("nobody is named in the feedback: give users, or ask about=population")
    elif isinstance(reward, Believing):
        raise ConfigError("about=population needs a linear model of everybody: model=bradley-terry, or such a reward")
    asked: list[Question] = []
    for user in people:
        asked += next_questions(
            reward, user, choices, n, answered=feedback, by=by, diverse=diverse, max_pairs=max_pairs, seed=seed
        )
    if queue is not None:
        write_queue(queue, asked)
    changes = Changes(feedback, by="nobody: questions only", using=f"{getattr(reward, 'name', 'reward')}, {by}")
    return changes.done(
        {
            "questions": len(asked),
            "people_asked": len(people) if about == "person" else 0,
            "mean_gain": round(float(np.mean([q.gain for q in asked])), 6),
            "queue": queue,
            "first": [{"user": q.user, "why": q.why, "gain": q.gain} for q in asked[:20]],
            "next": "fill in grades ([1, 0] or [0, 1]), then guerdon curate answers",
        }
    )


def _belief_of_everybody(reward: Any, answered: Feedback | None) -> tuple[np.ndarray, np.ndarray]:
    head = getattr(reward, "head", None)
    if head is None or not hasattr(head, "weight"):
        raise ConfigError(
            f"{getattr(reward, 'name', 'this reward')} does not say how much it knows; use a linear bradley-terry "
            "(about everybody) or a low-rank model (about a person)"
        )
    if answered is None or not len(answered):
        raise ConfigError("questions about everybody need the feedback that was answered so far: answered=...")
    pairs = answered.pairs(max_per_person=500)
    items, at = np.unique(np.concatenate([pairs.a, pairs.b]), return_inverse=True)
    x = reward.x(answered.candidates.take(items))
    z = x[at[: len(pairs)]] - x[at[len(pairs) :]]
    l2 = head.chosen_l2 if np.isfinite(head.chosen_l2) else 1e-3
    return population_belief(z, head.weight, l2, pairs.weight)


def _asked(candidates: Candidates, pairs: np.ndarray, answered: Feedback, user: str | None) -> np.ndarray:
    """bool [q] which pairs ``answered`` holds already: judgements of ``user``, or for None those of anybody."""
    if user is not None:
        if user not in answered.users:
            return np.zeros(len(pairs), bool)
        answered = answered.take(answered.user == answered.users.index(user))
    known = answered.candidates
    table: dict[tuple[str, str], int] = {}
    for i in answered.used:
        table[pack(known.prompts[i]), pack(known.responses[i])] = int(i)
    used = np.unique(pairs)
    code = {int(i): table.get((pack(candidates.prompts[i]), pack(candidates.responses[i])), -1) for i in used}
    done = set()
    for j in range(len(answered)):
        items = answered.items[answered.offsets[j] : answered.offsets[j + 1]]
        done |= {(min(a, b), max(a, b)) for k, a in enumerate(items.tolist()) for b in items[k + 1 :].tolist()}
    both = [(code[int(a)], code[int(b)]) for a, b in pairs]
    return np.array([(min(a, b), max(a, b)) in done for a, b in both], dtype=bool)
