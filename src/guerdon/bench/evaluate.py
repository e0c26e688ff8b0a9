"""Measure a reward on feedback: figures with intervals, against baselines, for whom and where, calibrated or not.

What is measured depends on what the feedback holds, and all of it where there is all:

- *pairs* (comparisons, rankings pair by pair, two ratings by one person): accuracy, log-loss (nats), Brier score and
  expected calibration error;
- *lists* (judgements of three or more responses): how often the best-scored is the best (best-of-n), Kendall's tau-b;
- *ratings*: Spearman correlation within one person's ratings of one prompt.

Unscored is left out and counted, never taken for zero. Each figure has a cluster-bootstrap interval; one set of
replicates serves all figures, so that differences to baselines are paired.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from guerdon.bench.agreement import majority_of_others
from guerdon.bench.baselines import BASELINES, make_baselines
from guerdon.bench.cautions import cautions
from guerdon.bench.figures import Answers, calibration_figures, pair_differences, pair_figures
from guerdon.bench.groups import Group, groups_of, people_spread, share_figures
from guerdon.bench.intervals import By, ClusterBootstrap, Clusters, Figure, cluster_options
from guerdon.bench.lists import Lists, list_figures, measure_lists, rating_figures
from guerdon.bench.overlap import overlap
from guerdon.bench.scoring import known_people, predict_pairs
from guerdon.bench.shots import ShotCurve, check_shots, shot_curve
from guerdon.errors import FeedbackError
from guerdon.feedback.schema import SOURCES
from guerdon.feedback.star import Feedback, Pairs
from guerdon.reward.base import Reward


@dataclass(frozen=True)
class Baseline:
    """A baseline on the pairs that both it and the reward answer, and the reward's paired difference to it."""

    name: str
    what: str
    answered: float
    figures: dict[str, Figure]
    difference: dict[str, Figure]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        out: dict[str, Any] = {"name": self.name, "what": self.what, "answered": self.answered}
        return out | {"figures": _figures(self.figures), "difference": _figures(self.difference)}


@dataclass(frozen=True)
class Evaluation:
    """What :func:`evaluate` measured. ``to_dict()`` is JSON-ready; figures are :class:`Figure` with intervals.

    overall      accuracy, log_loss (nats), brier, ece, ece_by_chance, overconfidence; shares of the pairs: ties (people
                 tie), predicted_ties, unscored; where there are lists or ratings also best_of_n, best_of_n_by_chance,
                 tau, spearman; where people are named accuracy_people (mean over people)
    counts       judgements, candidates, prompts, people, pairs, answered, ties (people tie), predicted_ties, unscored,
                 lists, lists_unscored, ratings, ratings_unscored, people_known, people_unknown
    unscored     how many pairs stayed unscored, by reason
    agreement    accuracy of the majority of the other people on the same pairs, and of the reward there
    groups       per subset, criterion, known and unknown people, decile of people by judgements given, length
    people       spread of accuracy over people, worst tenth first, beside what chance alone would give
    per_person   columns ``user``, ``accuracy``, ``pairs``
    notes        what was left out or done otherwise; cautions  what to be careful about, in plain words
    """

    reward: str
    facts: dict[str, Any]
    data: dict[str, Any]
    settings: dict[str, Any]
    overall: dict[str, Figure]
    counts: dict[str, int]
    unscored: dict[str, int]
    reliability: list[dict[str, Any]]
    agreement: dict[str, Figure]
    baselines: list[Baseline]
    groups: list[Group]
    people: dict[str, Any]
    per_person: dict[str, list[Any]]
    shots: ShotCurve | None = None
    notes: list[str] = field(default_factory=list)
    cautions: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON-ready values; what could not be measured is None."""
        out = {k: v for k, v in vars(self).items() if k not in ("baselines", "groups", "shots")}
        out["baselines"] = [b.to_dict() for b in self.baselines]
        out["groups"] = [g.to_dict() for g in self.groups]
        out["shots"] = None if self.shots is None else self.shots.to_dict()
        return _ready(out)


def evaluate(
    reward: Reward,
    feedback: Feedback,
    *,
    shots: int | Sequence[int] = 0,
    by: By = "auto",
    train: Feedback | None = None,
    baselines: tuple[str, ...] | None = None,
    seed: int = 0,
    bootstrap: int = 1000,
    max_pairs: int = 200,
    draws: int = 3,
) -> Evaluation:
    """Measure ``reward`` on ``feedback``.

    shots      numbers of shots for people the reward does not know, e.g. ``[2, 5, 10, 20]``; 0 or empty = not measured
    by         what the intervals are over: prompt, user, judgement, or auto (see :func:`cluster_options`)
    train      the feedback the reward was fitted to: for the baselines that need it, and to find overlap with the test
    baselines  names of ``BASELINES``; None = all that can be had
    bootstrap  replicates; 0 = no intervals
    max_pairs  at most so many pairs made from one person's separate ratings (of a prompt and criterion)
    draws      draws of the shots

    Raises
    ------
    FeedbackError
        if the feedback holds nothing to measure on (no judgement, or nothing but single ratings of different people)
    ConfigError
        if an option makes no sense for this reward or feedback
    """
    if not len(feedback):
        raise FeedbackError("eval: this feedback holds no judgements")
    wanted = [k for k in ([shots] if isinstance(shots, int) else shots) if k]
    if wanted:
        check_shots(reward, wanted)  # before the work, not after it
    pairs = _pairs(feedback, max_pairs, seed)
    said = predict_pairs(reward, feedback, pairs)
    scored = ~np.isnan(said.value)
    kept = pairs.take(scored)
    clusters, draw = _widest(cluster_options(feedback, by), kept, said.value[scored], bootstrap, seed)
    answers = Answers(kept.p, said.value[scored], kept.weight, clusters.code[kept.judgement])
    overall = pair_figures(draw, answers)
    calibrated, reliability = calibration_figures(draw, answers)
    overall |= calibrated | share_figures(draw, clusters.code[pairs.judgement], pairs.p, said.value)
    lists = measure_lists(reward, feedback, pairs, said.value)
    ranked, ratings = rating_figures(draw, clusters, reward, feedback)
    overall |= list_figures(draw, clusters, lists) | ranked
    people, per_person, figure = people_spread(feedback, kept, answers, seed, bootstrap)
    if figure is not None:
        overall["accuracy_people"] = figure

    made, missing = _baselines(reward, feedback, pairs, train, baselines, seed)
    answered = {name: predict_pairs(b, feedback, pairs).value for name, b in made.items()}
    curve = None
    if wanted:
        tests = {k: v for k, v in made.items() if k in ("length", "majority", "population")}
        curve = shot_curve(reward, feedback, shots=wanted, draws=draws, seed=seed, bootstrap=bootstrap, baselines=tests)
    result = Evaluation(
        reward=reward.name,
        facts=_facts(reward),
        data=_data(feedback, train, kept),
        settings={
            "intervals_over": clusters.unit,
            "clusters": clusters.count,
            "level": draw.level,
            "bootstrap": bootstrap,
            "seed": seed,
            "max_pairs": max_pairs,
        },
        overall=overall,
        counts=_counts(reward, feedback, pairs, answers, lists) | ratings,
        unscored=dict(said.reasons.most_common(20)),
        reliability=reliability,
        agreement=_agreement(draw, feedback, kept, answers),
        baselines=[_compare(draw, answers, name, q[scored]) for name, q in answered.items()],
        groups=groups_of(
            draw, clusters, feedback, pairs, said.value, lists, known_people(reward), answered.get("length")
        ),
        people=people,
        per_person=per_person,
        shots=curve,
        notes=[*([clusters.note] if clusters.note else []), *missing],
    )
    result.cautions.extend(cautions(result))
    return result


def _pairs(feedback: Feedback, max_pairs: int, seed: int) -> Pairs:
    """The pairs of two different responses."""
    pairs = feedback.pairs(max_per_person=max_pairs, seed=seed)
    pairs = pairs.take(pairs.a != pairs.b)
    if not len(pairs):
        raise FeedbackError(
            "eval: no two responses of one prompt are compared: neither a judgement of two or more responses nor two "
            "different ratings of one prompt by one person"
        )
    return pairs


def _judges(feedback: Feedback) -> list[str]:
    """The people who judge something here."""
    return [feedback.users[u] for u in np.unique(feedback.user[feedback.user >= 0])]


def _baselines(
    reward: Reward,
    feedback: Feedback,
    pairs: Pairs,
    train: Feedback | None,
    wanted: tuple[str, ...] | None,
    seed: int,
) -> tuple[dict[str, Reward], list[str]]:
    """(the baselines by name, sentences on those that cannot be had)."""
    known = known_people(reward)
    names = tuple(BASELINES) if wanted is None else wanted
    if known is not None and known.isdisjoint(_judges(feedback)):
        names = tuple(name for name in names if name != "as-nobody")  # it knows nobody here: the same reward
    seen = {} if train is None else overlap(train, feedback, pairs)
    return make_baselines(reward, train, names, seed, _anew(seen, train))


def _counts(reward: Reward, feedback: Feedback, pairs: Pairs, answers: Answers, lists: Lists) -> dict[str, int]:
    people, known = _judges(feedback), known_people(reward)
    counts = {
        "judgements": len(feedback),
        "candidates": len(feedback.used),
        "prompts": len(np.unique(feedback.judgement_prompt)),
        "people": len(people),
        "pairs": len(pairs),
        "answered": len(answers.q),
        "ties": int((answers.p == 0.5).sum()),
        "predicted_ties": int((answers.q == 0.5).sum()),
        "unscored": len(pairs) - len(answers.q),
        "lists": len(lists.row),
        "lists_unscored": int((~lists.scored).sum()),
        "ratings": 0,
        "ratings_unscored": 0,
    }
    if known is not None:
        counts["people_known"] = len(known.intersection(people))
        counts["people_unknown"] = len(people) - counts["people_known"]
    return counts


def _anew(seen: dict[str, float], train: Feedback | None) -> str:
    """What most of the test holds that training did not: prompt, user or judgement."""
    if not seen or train is None or seen["prompt"] < 0.5:
        return "auto"
    return "user" if seen["person"] < 0.5 and bool((train.user >= 0).all()) else "judgement"


def _widest(
    options: list[Clusters], kept: Pairs, q: np.ndarray, bootstrap: int, seed: int
) -> tuple[Clusters, ClusterBootstrap]:
    """Of several units of chance the one whose interval of the accuracy is the widest."""
    found = []
    for clusters in options:
        draw = ClusterBootstrap(clusters.count, replicates=bootstrap, seed=seed)
        answers = Answers(kept.p, q, kept.weight, clusters.code[kept.judgement])
        accuracy = pair_figures(draw, answers, ("accuracy",))["accuracy"]
        found.append((np.nan_to_num(accuracy.high - accuracy.low), clusters, draw))
    _, clusters, draw = max(found, key=lambda row: row[0])
    return clusters, draw


def _compare(draw: ClusterBootstrap, answers: Answers, name: str, q: np.ndarray) -> Baseline:
    both = ~np.isnan(q)
    mine = answers.take(both)
    theirs = Answers(mine.p, q[both], mine.w, mine.cluster)
    share = float(both.mean()) if len(both) else float("nan")
    figures, difference = pair_figures(draw, theirs), pair_differences(draw, mine, q[both])
    return Baseline(name, BASELINES[name], share, figures, difference)


def _agreement(draw: ClusterBootstrap, feedback: Feedback, kept: Pairs, answers: Answers) -> dict[str, Figure]:
    """Accuracy of the majority of the others, and of the reward, on the pairs that others judged too."""
    others = majority_of_others(feedback, kept)
    rows = ~np.isnan(others) & (kept.user >= 0)  # of anonymous judgements nobody knows whether they are others'
    if not rows.any():
        return {}
    mine = answers.take(rows)
    theirs = Answers(mine.p, others[rows], mine.w, mine.cluster)
    return {
        "others": pair_figures(draw, theirs, ("accuracy",))["accuracy"],
        "reward": pair_figures(draw, mine, ("accuracy",))["accuracy"],
        "difference": pair_differences(draw, mine, others[rows], ("accuracy",))["accuracy"],
    }


def _facts(reward: Any) -> dict[str, Any]:
    """What the reward says about itself: class, hyper-parameters and what fitting found, as far as it has them."""
    facts: dict[str, Any] = {"name": reward.name, "class": type(reward).__qualname__}
    known = known_people(reward)
    if known is not None:
        facts["people"] = len(known)
    try:
        params = getattr(reward, "params", None)
    except TypeError:  # FittedReward's word for "does not say"
        params = None
    for key, value in (("fitted", getattr(reward, "summary", None)), ("parameters", params)):
        if isinstance(value, dict) and value:
            facts[key] = value
    return facts


def _data(feedback: Feedback, train: Feedback | None, kept: Pairs) -> dict[str, Any]:
    """What was measured on, and how much of it the training feedback holds already."""
    data: dict[str, Any] = {"notes": list(feedback.notes)}
    sizes, counts = np.unique(feedback.sizes, return_counts=True)
    data["responses_per_judgement"] = {str(s): int(c) for s, c in zip(sizes[:20], counts[:20], strict=True)}
    data["criteria"], data["subsets"] = list(feedback.criteria[:50]), list(feedback.subsets[:50])
    data["share_by_model"] = float((feedback.source == SOURCES.index("model")).mean())
    if train is not None:
        data["overlap"] = overlap(train, feedback, kept)
    return data


def _figures(figures: dict[str, Figure]) -> dict[str, Any]:
    return {k: v.to_dict() for k, v in figures.items()}


def _ready(value: Any) -> Any:
    """``value`` as JSON holds it: figures as dictionaries, arrays as lists, NaN as None."""
    if isinstance(value, Figure):
        return value.to_dict()
    if isinstance(value, dict):
        return {str(k): _ready(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_ready(v) for v in value]
    if isinstance(value, np.ndarray | np.generic):
        return _ready(value.tolist())
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value if isinstance(value, str | int | float | bool | None) else str(value)
