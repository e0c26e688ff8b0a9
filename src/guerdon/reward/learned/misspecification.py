r"""Is the choice rule right? What comparisons say against reading them as one person's Bradley-Terry choices.

``diagnose`` asks four things of feedback:

connected    utilities are only determined within connected parts of the comparison graph (one a prompt at best)
choice rule  of pairs that were asked often enough: Pearson's X^2 of the wins against the fitted probabilities; small p
             says that no utilities explain the rates (cycles, several people in one pot, another rule of choice)
length       how often the longer response wins, with its 95 % interval
annotators   do two latent kinds of people predict *held-out people* better than one? More data cure no pooling of
             people who want different things: the fitted density lies between them, where nobody is

Reference: Dumoulin et al. 2023, A density estimation perspective on learning from pairwise human preferences,
https://arxiv.org/abs/2311.14115
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.special import expit
from scipy.stats import chi2, rankdata

from guerdon.errors import FeedbackError
from guerdon.feedback.star import Feedback, Pairs
from guerdon.reward.learned.choice import checked, word_counts
from guerdon.reward.learned.comparisons import BradleyTerry
from guerdon.reward.learned.mixture_likelihood import Mixture
from guerdon.reward.learned.tabular import fit_table

PEOPLE, FOLDS, SURE = 8, 4, 1.645
"""Fewest people to tell kinds of people apart; folds of them; standard errors above zero that count as evidence."""

WORTH = 1e-3
"""Nats a comparison that a second kind of people must gain: where there is one kind, both fits become the same, and
what they differ by is the optimiser's tolerance, of which standard errors mean nothing."""

PRIOR = 9.0
"""Prior variance of a utility in log-odds where held-out people are predicted."""


@dataclass(frozen=True)
class Misspecification:
    """What ``diagnose`` found; None where the data cannot tell.

    components, prompts    connected parts of the comparison graph, and the prompts that were compared on
    separated              parts of the graph that win (or lose) every comparison with the rest: their distance is
                           unbounded and only a prior holds it
    fit_p, fit_statistic, fit_df   of the choice rule, over pairs with at least one expected win on either side
    longer_wins, longer_low, longer_high   share of verdicts for the longer response and its interval
    length_correlation     Spearman correlation of fitted utility and length
    annotators_gain, annotators_sigmas   nats a comparison by which two kinds of people predict held-out people better
                           than one, and the same in standard errors over people
    """

    comparisons: int
    candidates: int
    people: int
    prompts: int
    components: int
    separated: int
    fit_p: float | None
    fit_statistic: float | None
    fit_df: int | None
    longer_wins: float | None
    longer_low: float | None
    longer_high: float | None
    length_correlation: float | None
    annotators_gain: float | None
    annotators_sigmas: float | None

    @property
    def identified(self) -> bool:
        """Whether utilities are determined up to one constant a prompt."""
        return self.components <= self.prompts

    @property
    def several_annotators(self) -> bool | None:
        """Whether people want different things, as far as the data can tell."""
        if self.annotators_gain is None or self.annotators_sigmas is None:
            return None
        return self.annotators_gain > WORTH and self.annotators_sigmas > SURE

    @property
    def advice(self) -> tuple[str, ...]:
        """What follows, in sentences."""
        out = []
        if not self.identified:
            out.append(
                f"not identified: the comparisons fall into {self.components} connected parts for {self.prompts} "
                "prompts; utilities of different parts cannot be compared: ask comparisons between them"
            )
        if self.separated:
            out.append(f"{self.separated} parts win or lose everything: keep a penalty on utilities")
        if self.fit_p is not None and self.fit_p < 0.01:
            out.append(
                f"no utilities explain the rates of the choices (p = {self.fit_p:.2g}): try the model "
                "general-preference, or a model of several annotators"
            )
        if self.longer_low is not None and self.longer_high is not None and not (
            self.longer_low <= 0.5 <= self.longer_high
        ):  # fmt: skip
            out.append(
                f"length tells: the longer response wins {self.longer_wins:.1%}; if people judge by the token, use "
                "the likelihood luce with length_normalized"
            )
        if self.several_annotators:
            out.append("several kinds of annotators: fit a personal model, or the model mixture with router=person")
        elif self.several_annotators is None:
            out.append("one annotator or several: cannot be told without people (column 'user'), 8 or more")
        return tuple(out)

    def __str__(self) -> str:
        def told(value: float | None, form: str) -> str:
            return "cannot be told" if value is None else format(value, form)

        longer = "cannot be told"
        if self.longer_wins is not None:
            longer = f"{self.longer_wins:.1%} [{self.longer_low:.1%}, {self.longer_high:.1%}]"
        lines = [
            f"{self.comparisons} comparisons of {self.candidates} candidates by {self.people} people",
            f"connected parts    {self.components} for {self.prompts} prompts",
            f"choice rule, p     {told(self.fit_p, '.3g')}",
            f"longer wins        {longer}",
            f"second kind        {told(self.annotators_gain, '+.4f')} nats, {told(self.annotators_sigmas, '+.1f')} se",
        ]
        return "\n".join([*lines, *(f"- {line}" for line in self.advice)])


def diagnose(
    feedback: Feedback,
    x: np.ndarray | None = None,
    *,
    lengths: np.ndarray | str | None = "words",
    most: int = 50,
    max_pairs: int | None = 500,
    seed: int = 0,
) -> Misspecification:
    """Look for signs that ``feedback`` is not one annotator's Bradley-Terry choices.

    x        float64 [C, d] features: utilities are linear in them instead of free (where candidates do not recur)
    lengths  [C] of each candidate's response, ``words`` to count them, or None to leave length out
    most     comparisons of a person that the question of several annotators reads
    """
    pairs = feedback.pairs(max_per_person=max_pairs, seed=seed)
    if not len(pairs):
        raise FeedbackError("this feedback implies no comparisons, so no rule of choice can be checked")
    used = np.unique(np.concatenate([pairs.a, pairs.b]))
    local = replace(pairs, a=np.searchsorted(used, pairs.a), b=np.searchsorted(used, pairs.b))
    n, features = len(used), None if x is None else x[used]
    components, separated = _connected(local, n)
    u = fit_table(BradleyTerry(local, n), x=features)[0]
    statistic, df = _choice_rule(local, u, n - components if x is None else x.shape[1])
    wins: tuple[float, float, float] | None = None
    correlation = None
    if lengths is not None:
        every = word_counts(feedback) if isinstance(lengths, str) else checked(lengths, len(feedback.responses))
        wins = _longer(local, every[used])
        if wins is not None and np.ptp(u) > 0:
            correlation = float(np.corrcoef(rankdata(u), rankdata(every[used]))[0, 1])
    gain, sigmas = _annotators(local, n, features, most, seed)
    return Misspecification(
        comparisons=len(pairs),
        candidates=n,
        people=len(np.unique(pairs.user[pairs.user >= 0])),
        prompts=len(np.unique(feedback.prompt_of[used])),
        components=components,
        separated=separated,
        fit_p=None if df is None else float(chi2.sf(statistic, df)),
        fit_statistic=statistic,
        fit_df=df,
        longer_wins=None if wins is None else wins[0],
        longer_low=None if wins is None else wins[1],
        longer_high=None if wins is None else wins[2],
        length_correlation=correlation,
        annotators_gain=gain,
        annotators_sigmas=sigmas,
    )


def _connected(pairs: Pairs, n: int) -> tuple[int, int]:
    """(connected parts, further parts that win or lose everything against the rest of theirs)."""
    beats_a, beats_b = pairs.p > 0, pairs.p < 1  # an arrow from loser to winner
    loser = np.concatenate([pairs.b[beats_a], pairs.a[beats_b]])
    winner = np.concatenate([pairs.a[beats_a], pairs.b[beats_b]])
    graph = coo_matrix((np.ones(len(loser)), (loser, winner)), shape=(n, n)).tocsr()
    weak = connected_components(graph, directed=True, connection="weak", return_labels=False)
    strong = connected_components(graph, directed=True, connection="strong", return_labels=False)
    return int(weak), int(strong - weak)


def _choice_rule(pairs: Pairs, u: np.ndarray, parameters: int) -> tuple[float | None, int | None]:
    """(Pearson's X^2, degrees of freedom) of the wins of each pair; (None, None) if too few were asked often."""
    hard = (pairs.p == 0) | (pairs.p == 1)
    a, b, p = pairs.a[hard], pairs.b[hard], pairs.p[hard]
    low, high = np.minimum(a, b), np.maximum(a, b)
    key, which = np.unique(low.astype(np.int64) * len(u) + high, return_inverse=True)
    asked = np.bincount(which, minlength=len(key))
    won = np.bincount(which, np.where(a == low, p, 1 - p), len(key))
    rate = expit(u[key // len(u)] - u[key % len(u)])
    good = asked * np.minimum(rate, 1 - rate) >= 1
    df = int(good.sum()) - parameters
    if df < 1:
        return None, None
    off = (won - asked * rate)[good]
    return float(np.sum(off**2 / (asked * rate * (1 - rate))[good])), df


def _longer(pairs: Pairs, lengths: np.ndarray) -> tuple[float, float, float] | None:
    """(share of verdicts for the longer response, 95 % Wilson interval), None where all are equally long."""
    a, b = lengths[pairs.a], lengths[pairs.b]
    apart = a != b
    if not apart.any():
        return None
    share = np.where(a > b, pairs.p, 1 - pairs.p)[apart]
    n, mean, z = len(share), float(share.mean()), 1.96
    centre = (mean + z * z / (2 * n)) / (1 + z * z / n)
    half = z * np.sqrt(mean * (1 - mean) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return mean, float(centre - half), float(centre + half)


def _annotators(pairs: Pairs, n: int, x: np.ndarray | None, most: int, seed: int) -> tuple[float | None, float | None]:
    """(nats a comparison that two kinds of people gain over one on held-out people, the same in standard errors)."""
    rng = np.random.default_rng(seed)
    known = rng.permutation(np.flatnonzero(pairs.user >= 0))
    known = known[np.argsort(pairs.user[known], kind="stable")]
    user = pairs.user[known]
    place = np.arange(len(user)) - np.searchsorted(user, user)
    pairs = pairs.take(known[place < most])
    people, person = np.unique(pairs.user, return_inverse=True)
    if len(people) < PEOPLE:
        return None, None
    fold = rng.permutation(len(people)) % FOLDS
    gains, counts = [], []
    for held in range(FOLDS):
        inside = fold[person] != held
        fitting = pairs.take(inside)
        tests = pairs.take(~inside)
        l2 = 1 / (PRIOR * len(fitting))
        one = fit_table(BradleyTerry(fitting, n), x=x, l2=l2)[0]
        two, theta = fit_table(Mixture.by_person(fitting, n, 2), width=2, x=x, l2=l2, starts=2, seed=seed)
        mixture = Mixture.by_person(tests, n, 2)
        alone = Mixture.by_person(tests, n, 1)
        gains.append(mixture.log_prob(two, theta) - alone.log_prob(one[:, None], np.zeros(1)))
        counts.append(np.bincount(mixture.unit))
    gain, count = np.concatenate(gains), np.concatenate(counts)
    mean = float(gain.sum() / count.sum())
    error = float(np.sqrt(np.sum((gain - mean * count) ** 2)) / count.sum())
    return mean, (mean / error if error > 0 else 0.0)
