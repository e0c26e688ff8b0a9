"""For whom and where: the same figures on parts of the pairs, and how accuracy spreads over people."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from guerdon.bench.figures import Answers, calibration_figures, pair_figures
from guerdon.bench.intervals import FEWEST, UNITS, ClusterBootstrap, Clusters, Figure, clusters_of
from guerdon.bench.lists import Lists, list_figures
from guerdon.bench.metrics import pair_terms
from guerdon.bench.scoring import distinct
from guerdon.feedback.star import Feedback, Pairs

MOST_GROUPS = 60
"""At most so many groups of a kind, the largest ones."""
FEWEST_PEOPLE = 20
"""People are cut into tenths from this number on."""


@dataclass(frozen=True)
class Group:
    """Figures of one part of the pairs. ``kind`` is subset, criterion, person, people or length.

    ``over`` is what its intervals are over: as everywhere, unless the part has too few of those.
    """

    kind: str
    name: str
    pairs: int
    figures: dict[str, Figure]
    over: str

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        figures = {k: v.to_dict() for k, v in self.figures.items()}
        return {"kind": self.kind, "name": self.name, "pairs": self.pairs, "over": self.over, "figures": figures}


def share_figures(draw: ClusterBootstrap, cluster: np.ndarray, p: np.ndarray, q: np.ndarray) -> dict[str, Figure]:
    """Shares of all pairs on which people tie, the reward ties, and the reward says nothing."""
    shares = {"ties": p == 0.5, "predicted_ties": q == 0.5, "unscored": np.isnan(q)}
    return {k: draw.ratio(cluster, v.astype(np.float64)) for k, v in shares.items()}


def groups_of(
    draw: ClusterBootstrap,
    clusters: Clusters,
    feedback: Feedback,
    pairs: Pairs,
    q: np.ndarray,
    lists: Lists,
    known: frozenset[str] | None,
    length: np.ndarray | None,
) -> list[Group]:
    """The figures of each group that is not everything.

    ``q`` float64 [n] what the reward says of ``pairs``, NaN = unscored; ``length`` [n] what the length baseline says.
    """
    units = _Units(draw, clusters, feedback)
    groups = []
    for kind, name, rows, judged in _parts(feedback, pairs, known, length):
        mine, scored = pairs.take(rows), ~np.isnan(q[rows])
        draw, clusters = units.of(mine.judgement)
        cluster = clusters.code[mine.judgement]
        answers = Answers(mine.p[scored], q[rows][scored], mine.weight[scored], cluster[scored])
        figures = pair_figures(draw, answers)
        figures["ece"] = calibration_figures(draw, answers, bins=10)[0]["ece"]
        figures |= share_figures(draw, cluster, mine.p, q[rows])
        if judged is not None and len(lists.row):
            part = Lists(**{k: v[judged[lists.row]] for k, v in vars(lists).items()})
            figures |= list_figures(draw, clusters, part)
        groups.append(Group(kind, name, len(mine), figures, clusters.unit))
    return groups


class _Units:
    """The unit of chance of a part: the evaluation's, or if the part has fewer than ten of these people, or judgements.

    A subset is often one prompt, or a few: drawing three prompts again says nothing about it.
    """

    def __init__(self, draw: ClusterBootstrap, clusters: Clusters, feedback: Feedback) -> None:
        self.feedback = feedback
        self.made = {clusters.unit: (draw, clusters)}
        self.order = [clusters.unit]
        if (feedback.user >= 0).any():
            self.order.append(UNITS["user"])
        self.order.append(UNITS["judgement"])

    def of(self, judgements: np.ndarray) -> tuple[ClusterBootstrap, Clusters]:
        """(bootstrap, clusters) for a part made of these judgements."""
        units = list(dict.fromkeys(self.order))
        for unit in units:
            draw, clusters = self._get(unit)
            if unit == units[-1] or len(np.unique(clusters.code[judgements])) >= FEWEST:
                return draw, clusters
        raise AssertionError("the last unit is always taken")

    def _get(self, unit: str) -> tuple[ClusterBootstrap, Clusters]:
        if unit not in self.made:
            main = next(iter(self.made.values()))[0]
            name = next(k for k, v in UNITS.items() if v == unit)
            clusters = clusters_of(self.feedback, name)
            self.made[unit] = (main.like(clusters.count), clusters)
        return self.made[unit]


def people_spread(
    feedback: Feedback, pairs: Pairs, answers: Answers, seed: int, replicates: int
) -> tuple[dict[str, Any], dict[str, list[Any]], Figure | None]:
    """(accuracy by tenth of the people beside chance, columns by person, mean accuracy over people with interval).

    Even if everybody were served equally well, some would look badly served by the luck of few judgements:
    ``by_chance`` is what the tenths would show if each person's pairs were right with the same probability. Pairs of m
    rated items count as m - 1 independent ones there.
    """
    named = pairs.user >= 0
    top, bottom = pair_terms(answers.p, answers.q, answers.w)["accuracy"]
    counted = named & (bottom > 0)
    if not counted.any():
        return {}, {"user": [], "accuracy": [], "pairs": []}, None
    people, code = np.unique(pairs.user[counted], return_inverse=True)
    n = np.bincount(code)
    accuracy = np.bincount(code, top[counted]) / np.bincount(code, bottom[counted])
    columns = {
        "user": [feedback.users[u] for u in people],
        "accuracy": [float(v) for v in accuracy],
        "pairs": [int(v) for v in n],
    }
    draw = ClusterBootstrap(len(people), replicates=replicates, seed=seed)
    figure = draw.ratio(np.arange(len(people)), accuracy)
    if len(people) < FEWEST_PEOPLE:
        return {}, columns, figure
    kept = pairs.take(counted)
    (owner, _), _ = distinct(np.tile(code, 2), np.concatenate([kept.a, kept.b]))
    independent = np.maximum(np.minimum(n, np.bincount(owner) - 1), 1)
    mean = float(top[counted].sum() / bottom[counted].sum())
    rng = np.random.default_rng(seed)
    luck = rng.binomial(independent, mean, size=(200, len(people))) / independent
    tenths = np.array_split(np.arange(len(people)), 10)
    mine, chance = np.sort(accuracy), np.sort(luck, axis=1).mean(0)
    rows = [
        {"decile": i + 1, "accuracy": float(mine[t].mean()), "by_chance": float(chance[t].mean())}
        for i, t in enumerate(tenths)
    ]
    return {"deciles": rows, "count": len(people)}, columns, figure


def _parts(
    feedback: Feedback, pairs: Pairs, known: frozenset[str] | None, length: np.ndarray | None
) -> Iterator[tuple[str, str, np.ndarray, np.ndarray | None]]:
    """(kind, name, mask of the pairs [n], mask of the judgements [J] or None) of each group."""
    subset = feedback.subset[pairs.judgement]
    columns = (("subset", subset, feedback.subset, feedback.subsets),)
    columns += (("criterion", pairs.criterion, feedback.criterion, feedback.criteria),)
    for kind, of_pair, of_judgement, names in columns:
        counts = np.bincount(of_pair[of_pair >= 0], minlength=len(names))
        present = [int(i) for i in np.argsort(-counts, kind="stable")[:MOST_GROUPS] if counts[i]]
        if len(present) > 1:
            for i in sorted(present):
                yield kind, names[i], of_pair == i, of_judgement == i
    named = pairs.user >= 0
    if known is not None and named.any():
        is_known = np.array([u in known for u in feedback.users] + [False])
        known_pairs = is_known[pairs.user]
        if known_pairs.any() and (named & ~known_pairs).any():
            yield "person", "known", known_pairs, None
            yield "person", "unknown", named & ~known_pairs, None
    people = np.unique(pairs.user[named])
    if len(people) >= FEWEST_PEOPLE:
        given = np.bincount(feedback.user[feedback.user >= 0], minlength=len(feedback.users))[people]
        rank = np.empty(len(people), dtype=np.int64)
        rank[np.argsort(given, kind="stable")] = np.arange(len(people))
        decile_of = np.full(len(feedback.users) + 1, -1)
        decile_of[people] = rank * 10 // len(people)
        for d in range(10):
            low, high = given[decile_of[people] == d].min(), given[decile_of[people] == d].max()
            span = f"{low}" if low == high else f"{low} to {high}"
            yield "people", f"tenth {d + 1} ({span} each)", named & (decile_of[pairs.user] == d), None
    if length is not None:
        decided = pairs.p != 0.5
        agrees = np.sign(length - 0.5) * np.sign(pairs.p - 0.5)
        for name, sign in (("the preferred is longer", 1), ("the preferred is shorter", -1)):
            mask = decided & (agrees == sign)
            if mask.any():
                yield "length", name, mask, None
