r"""Principal components of preference differences as heads, weighted for each person by what they chose.

D = x(chosen) - x(rejected) of everybody's comparisons is decomposed by PCA; each of the K leading components u_j is a
head with both signs, and the population's own linear utility may stand among them. A person gives a few comparisons;
each head h scores their responses, is z-normalised, and is weighted by how well it explains what they chose:

    w = softmax(log prior - loss / T),   loss_h = sum -log sigmoid(z_h(chosen) - z_h(rejected))

which is Hedge with step 1/T (``weighting="hedge"`` is its form with bounded losses and the step that needs no tuning).
No training: a new person costs one pass over their comparisons.

When to use it: E[D D'] is the same whichever response won, so *uncentred* components know nothing of the labels, and
centring removes just the population's average direction. The heads are the encoder's directions of large variance, and
this works where those are what people care about (encoders tuned on preferences) and fails on features that vary
equally in all directions (``summary["cautions"]`` says so). ``drm`` are the paper's settings. The default puts the
population's utility beside the heads (``head="offset"``) and learns temperature and gain from people held out, so that
nobody is moved where people agree.

Reference: Luo et al. 2025, Rethinking Diverse Human Preference Learning through Principal Component Analysis,
https://arxiv.org/abs/2502.13131
"""

from __future__ import annotations

import logging
from copy import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from scipy.sparse import csr_array
from scipy.special import expit, softmax

from guerdon.encode.base import Encoder
from guerdon.errors import ConfigError, FeedbackError
from guerdon.feedback.schema import Candidates
from guerdon.feedback.star import Feedback, Pairs
from guerdon.reward.base import Scores
from guerdon.reward.learned.fitted import FeatureReward, Prepared
from guerdon.reward.learned.heads import LinearHead
from guerdon.reward.learned.likelihood import compile_likelihood
from guerdon.reward.personal.askers import Askers
from guerdon.reward.personal.selection import SHOTS, FewShot, pairs_of_people, within_person
from guerdon.reward.personal.standing import OneScale, Standing, principal

if TYPE_CHECKING:
    import pyarrow as pa

log = logging.getLogger(__name__)

MOST = 50
"""Components where nothing is said (the published script's K)."""
TEMPERATURES = (0.3, 1.0, 3.0, 10.0, 30.0)
GAINS = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
FLAT = 0.8
"""Share of the dimensions that vary (participation ratio / d) from which the spectrum counts as flat."""


class ComponentsReward(FeatureReward):
    """Heads from PCA of preference differences x softmax weights of a person; unknown people get the population.

    Parameters
    ----------
    encoder : specification of the encoder (see guerdon.encode) or an Encoder
    components : number of principal components K, or auto (50, or as many as there are); heads are 2 K
    center : subtract the mean difference before PCA; without it the components ignore the labels
    head : the population's utility: offset (heads add what is personal), expert (one head more), or none
    weighting : softmax (of summed logistic losses), or hedge (bounded losses, step sqrt(8 log H / n))
    normalize : z-normalise heads by the responses of person (the paper's) or of population (everybody)
    temperature : T of the weighting, or auto (chosen on held-out people)
    gain : factor on the heads' part of the score, or auto (chosen on held-out people; 0 where nobody gains)
    l2 : ridge of the population's utility, or auto (chosen on held-out data)
    max_pairs : at most so many pairs a person in fitting and adapting
    seed : seeds pair draws and the inner split
    """

    reads = ("user",)

    def __init__(
        self,
        *,
        encoder: str | Encoder = "minilm",
        components: int | str = "auto",
        center: bool = True,
        head: str = "offset",
        weighting: str = "softmax",
        normalize: str = "population",
        temperature: float | str = "auto",
        gain: float | str = "auto",
        l2: float | str = "auto",
        max_pairs: int = 100,
        seed: int = 0,
    ) -> None:
        for name, value, words in (
            ("head", head, ("offset", "expert", "none")),
            ("weighting", weighting, ("softmax", "hedge")),
            ("normalize", normalize, ("person", "population")),
        ):
            if value not in words:
                raise ConfigError(f"{name}={value!r} is unknown; use one of {', '.join(words)}")
        for name, value in (("components", components), ("temperature", temperature), ("gain", gain)):
            if value != "auto" and (isinstance(value, bool | str) or value <= 0):
                raise ConfigError(f"{name}={value!r}: use 'auto' or a number > 0")
        self.name = "components"
        settings = {
            "components": components, "center": center, "head": head, "weighting": weighting, "normalize": normalize,
            "temperature": temperature, "gain": gain, "l2": l2, "max_pairs": max_pairs, "seed": seed,
        }  # fmt: skip
        super().__init__(encoder, settings)
        self.features = OneScale()
        self.directions = np.zeros((0, 1))
        self.centre, self.spread = np.zeros(1), np.ones(1)
        self.temperature, self.gain = 1.0, 1.0
        self.people = Standing.empty(1)

    @property
    def users(self) -> tuple[str, ...]:
        """The people this reward knows."""
        return self.people.users

    # ------------------------------------------------------------------ fitting

    def learn(self, data: Prepared, progress: bool) -> dict[str, Any]:
        s = self.settings
        pairs = pairs_of_people(data.feedback, s["max_pairs"], s["seed"])
        pairs = pairs.take(pairs.p != 0.5)
        difference = np.where(pairs.p > 0.5, 1.0, -1.0)[:, None] * (data.x[pairs.a] - data.x[pairs.b])
        most = min(difference.shape[1], len(difference) - 1)
        k = min(MOST, most) if s["components"] == "auto" else int(s["components"])
        if k > most or most < 1:
            raise FeedbackError(
                f"{len(difference)} comparisons of {difference.shape[1]} features have at most {max(most, 0)} "
                f"components, {max(k, 1)} are asked for: set --set components=..., or bring more comparisons"
            )
        components, variance = principal(difference, k, center=s["center"])
        head, l2 = self._population(data)
        self.directions = np.column_stack([head, components])
        used = data.feedback.used
        u = data.x @ self.directions
        self.centre, self.spread = u[used].mean(0), u[used].std(0)
        self.temperature = 1.0 if s["temperature"] == "auto" else float(s["temperature"])
        self.gain = 1.0 if s["gain"] == "auto" else float(s["gain"])
        found = self._choose(data.feedback, u) if "auto" in (s["temperature"], s["gain"]) else {}
        self.people = self._told(pairs_of_people(data.feedback, s["max_pairs"], s["seed"]), u, data.feedback.users)
        flat = float(variance.sum() ** 2 / (np.sum(variance**2) * difference.shape[1]))
        cautions = []
        if flat > FLAT:
            cautions.append(
                f"the features' differences vary nearly alike in all directions (participation ratio {flat:.2f} of d): "
                "components are arbitrary; use an encoder tuned on preferences, or fit --model low-rank"
            )
            log.warning("%s", cautions[0])
        return {
            "pairs": len(pairs),
            "components": k,
            "explained": float(variance[:k].sum() / variance.sum()),
            "participation": flat,
            "l2": l2,
            "temperature": self.temperature,
            "gain": self.gain,
            **found,
            "cautions": cautions,
        }

    def _population(self, data: Prepared) -> tuple[np.ndarray, float]:
        """(Bradley-Terry utility of everybody [d], its ridge)."""
        s = self.settings

        def compiled(feedback: Feedback) -> Any:
            return compile_likelihood("bradley-terry", feedback, max_pairs=s["max_pairs"], seed=s["seed"])

        head = LinearHead(l2=s["l2"])
        head.fit(data.x, compiled(data.train), None if data.held is None else compiled(data.held))
        if data.held is not None and data.rejoin:
            again = LinearHead(l2=head.chosen_l2)
            again.fit(data.x, compiled(data.feedback), None)
            return again.weight, head.chosen_l2
        return head.weight, head.chosen_l2

    def _choose(self, feedback: Feedback, u: np.ndarray) -> dict[str, Any]:
        """Temperature and gain by the log-loss of the training people's comparisons after a few others of theirs.

        The components do not depend on one person's verdicts, so people need not be held out of them; the
        population's utility does, a little, which makes this choice cautious. The gain is zero unless the best
        setting beats the population by more than a standard error over people.
        """
        s = self.settings
        task = FewShot.of(feedback, pairs_of_people(feedback, 200, s["seed"]), s["seed"])
        task = task.of_people(np.unique(task.tests.user))
        people = np.unique(task.tests.user)
        if len(people) < 8:
            log.warning("%d people are too few to choose temperature and gain by: defaults kept", len(people))
            return {}
        position, row = within_person(task.shots.user), np.searchsorted(people, task.tests.user)
        count = np.bincount(row, minlength=len(people))
        z = u[task.tests.a] - u[task.tests.b]
        base = self._base(z)
        temperatures = TEMPERATURES if s["temperature"] == "auto" else (self.temperature,)
        gains = GAINS if s["gain"] == "auto" else (self.gain,)

        def losses(t: np.ndarray) -> np.ndarray:
            return np.bincount(row, np.logaddexp(0, -t) + (1 - task.tests.p) * t, len(people)) / count

        table = np.zeros((len(temperatures), len(gains), len(people)))
        for k in SHOTS:
            standing = self._told(task.shots.take(position < k), u, feedback.users)
            order = np.array([standing.index[feedback.users[p]] for p in people])
            for i, temperature in enumerate(temperatures):
                extra = np.einsum("nj,nj->n", z, self._coefficients(standing, temperature)[order][row])
                for j, gain in enumerate(gains):
                    table[i, j] += losses(base + gain * extra) / len(SHOTS)
        none = losses(base)
        best = np.unravel_index(np.argmin(table.mean(2)), table.shape[:2])
        self.temperature, self.gain = temperatures[best[0]], gains[best[1]]
        better = none - table[best]
        error = float(better.std(ddof=1) / np.sqrt(len(people)))
        if s["head"] == "offset" and s["gain"] == "auto" and better.mean() < error:
            self.gain = 0.0
        return {
            "heldout_loss": float(table[best].mean()),
            "heldout_population_loss": float(none.mean()),
            "heldout_gain_loss": float(better.mean()),
            "heldout_gain_loss_error": error,
            "personal": self.gain > 0,
        }

    # ------------------------------------------------------------------ people

    def _told(self, pairs: Pairs, u: np.ndarray, users: tuple[str, ...], known: Standing | None = None) -> Standing:
        """What the people of ``pairs`` said, head by head; people in ``known`` continue from there."""
        codes, person = np.unique(pairs.user, return_inverse=True)
        n, m = len(codes), len(pairs)
        fresh = Standing(
            tuple(users[c] for c in codes), np.zeros(n, np.int64), np.zeros((n, u.shape[1])),
            np.zeros((n, u.shape[1])), np.zeros((n, 2 * u.shape[1])),
        )  # fmt: skip
        if known is not None:
            for i, user in enumerate(fresh.users):
                j = known.index.get(user)
                if j is not None:
                    for name in Standing.COLUMNS:
                        getattr(fresh, name)[i] = getattr(known, name)[j]
        total = csr_array((np.ones(m), (person, np.arange(m))), shape=(n, m))
        a, b = u[pairs.a], u[pairs.b]
        fresh = replace(
            fresh,
            votes=fresh.votes + np.bincount(person, minlength=n),
            total=fresh.total + total @ (a + b),
            squares=fresh.squares + total @ (a**2 + b**2),
        )
        z = (a - b) * self._scale(fresh)[person]
        p = pairs.p[:, None]
        if self.settings["weighting"] == "hedge":
            loss = [p * expit(-z) + (1 - p) * expit(z), p * expit(z) + (1 - p) * expit(-z)]
        else:
            loss = [np.logaddexp(0, -z) + (1 - p) * z, np.logaddexp(0, z) - (1 - p) * z]
        weight = pairs.weight[:, None]
        return replace(fresh, loss=fresh.loss + np.hstack([total @ (weight * part) for part in loss]))

    def _scale(self, people: Standing) -> np.ndarray:
        """[u, 1 + K] one over the standard deviation of each head; 0 where a head does not vary: it is dropped."""
        if self.settings["normalize"] == "population":
            sd = np.tile(self.spread, (len(people.users), 1))
        else:
            n = 2 * np.maximum(people.votes, 1)[:, None]
            sd = np.sqrt(np.maximum(people.squares / n - (people.total / n) ** 2, 0.0))
        return np.where(sd > 1e-9 * np.maximum(self.spread, 1e-300), 1.0 / np.where(sd > 0, sd, 1.0), 0.0)

    def weights(self, people: Standing | None = None, temperature: float | None = None) -> np.ndarray:
        """float64 [u, 2 + 2 K] weights of the heads: the population's with its two signs, then +u_1 .. -u_K.

        Columns 0 .. K are the positive signs (population, u_1 ..), columns K + 1 .. the negative ones; rows sum to 1.
        A head that does not vary in a person's comparisons has weight 0.
        """
        people = self.people if people is None else people
        temperature = self.temperature if temperature is None else temperature
        alive = np.tile(self._scale(people) > 0, 2)
        k = alive.shape[1] // 2
        alive[:, k] = False  # the population's utility has a known sign
        if self.settings["head"] != "expert":
            alive[:, 0] = False
        step = np.full((len(alive), 1), 1.0 / temperature)
        if self.settings["weighting"] == "hedge":
            step = np.sqrt(8 * np.log(np.maximum(alive.sum(1), 2)) / np.maximum(people.votes, 1))[:, None] / temperature
        logits = np.where(alive, -people.loss * step, -np.inf)
        logits[~alive.any(1)] = 0.0
        return np.where(alive, softmax(logits, axis=1), 0.0)

    def _coefficients(self, people: Standing, temperature: float | None = None) -> np.ndarray:
        """[u, 1 + K] what one unit of each head's raw score adds to a person's utility, before the gain."""
        w = self.weights(people, temperature)
        k = w.shape[1] // 2
        return (w[:, :k] - w[:, k:]) * self._scale(people)

    def _centres(self, people: Standing) -> np.ndarray:
        """[u, 1 + K] the means that heads are centred by."""
        if self.settings["normalize"] == "population":
            return np.tile(self.centre, (len(people.users), 1))
        return people.total / (2 * np.maximum(people.votes, 1)[:, None])

    def _base(self, u: np.ndarray) -> np.ndarray:
        """[n] the part of the utility that is the same for everybody who is known."""
        return u[:, 0] if self.settings["head"] == "offset" else np.zeros(len(u))

    def adapt(self, feedback: Feedback) -> Self:
        """A copy that also knows the people of ``feedback``; of known people the losses add up, as in Hedge."""
        other = copy(self)
        u = np.zeros((len(feedback.responses), self.directions.shape[1]))
        u[feedback.used] = self.utilities(feedback.candidates.take(feedback.used))
        pairs = pairs_of_people(feedback, 3 * self.settings["max_pairs"], self.settings["seed"])
        other.people = self.people.merged(self._told(pairs, u, feedback.users, self.people))
        return other

    # ------------------------------------------------------------------ scoring

    def utilities(self, candidates: Candidates) -> np.ndarray:
        """float64 [n, 1 + K]: the population's utility, then the raw score of each component."""
        return self.x(candidates) @ self.directions

    def _linear(self, users: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """(coefficients [g, 1 + K], constants [g]) of people's utilities; the population for those unknown."""
        coefficient, constant = np.zeros((len(users), self.directions.shape[1])), np.zeros(len(users))
        coefficient[:, 0] = 1.0
        known = [i for i, user in enumerate(users) if user in self.people.index]
        if known:
            people = self.people.take([self.people.index[users[i]] for i in known])
            c = self.gain * self._coefficients(people)
            constant[known] = -np.sum(c * self._centres(people), axis=1)
            if self.settings["head"] == "offset":
                c[:, 0] += 1.0
            coefficient[known] = c
        return coefficient, constant

    def score(self, candidates: Candidates) -> Scores:
        """Utility of each candidate to the person in ``user``; the population's, flagged, for people not known."""
        n = len(candidates)
        if not n:
            return Scores(np.zeros(0))
        askers = Askers.of(candidates.user, n, self.people.index)
        coefficient, constant = self._linear([name or "" for name in askers.names])
        row = askers.which
        value = np.einsum("nj,nj->n", self.utilities(candidates), coefficient[row]) + constant[row]
        return Scores(value, reason=askers.reason)

    def score_table(self, candidates: Candidates, users: list[str]) -> np.ndarray:
        """float64 [c, u]: utility of each candidate to each person (population where unknown)."""
        coefficient, constant = self._linear(users)
        return self.utilities(candidates) @ coefficient.T + constant

    def component(self, j: int, feedback: Feedback, known: dict[str, np.ndarray] | None = None) -> dict[str, Any]:
        """What component ``j`` (1 .. K) is about: its extreme candidates and its correlation with ``known`` attributes.

        known  attributes of the used candidates of ``feedback`` by name, float [n]; the length is always among them
        """
        if not 1 <= j < self.directions.shape[1]:
            raise ConfigError(f"component {j}: this reward has components 1 to {self.directions.shape[1] - 1}")
        from guerdon.feedback.messages import as_text

        candidates = feedback.candidates.take(feedback.used)
        value = self.utilities(candidates)[:, j]
        order = feedback.used[np.argsort(value)]
        length = np.log1p([len(as_text(r)) for r in candidates.responses])
        return {
            "lowest": order[:5].tolist(),
            "highest": order[::-1][:5].tolist(),
            "correlation": {
                name: float(np.corrcoef(value, column)[0, 1]) if np.std(column) > 0 else 0.0
                for name, column in {"length": length, **(known or {})}.items()
            },
        }

    # ------------------------------------------------------------------ saving

    def arrays(self) -> dict[str, np.ndarray]:
        return {
            "directions": self.directions,
            "centre": self.centre,
            "spread": self.spread,
            "weighting": np.array([self.temperature, self.gain]),
            **self.features.arrays(),
        }

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        self.directions, self.centre, self.spread = arrays["directions"], arrays["centre"], arrays["spread"]
        self.temperature, self.gain = (float(v) for v in arrays["weighting"])
        self.features.restore(arrays)
        self.people = Standing.empty(self.directions.shape[1])

    def people_table(self) -> pa.Table:
        """The people as an Arrow table."""
        return self.people.to_arrow()

    def restore_people(self, table: pa.Table) -> None:
        """Take the people back."""
        self.people = Standing.from_arrow(table, self.directions.shape[1])
