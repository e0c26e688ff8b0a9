"""The contract suite: what every Reward must do, checked on any reward, ours or yours.

::

    from guerdon.testing import check_reward
    check_reward(guerdon.load("my-reward"))          # AssertionError with a list of what is wrong, or a report

Each rule is one method of :class:`_Suite`, named after the rule; its docstring says what it asks for.
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from guerdon.errors import GuerdonError
from guerdon.feedback.messages import as_messages
from guerdon.feedback.schema import Candidates
from guerdon.reward.base import STATUSES, Reward, Scores

TOLERANCE = 1e-5
STRANGER = "somebody-nobody-ever-heard-of"

PROMPTS = ("Name a fruit.", "Why is the sky blue?", "Write a line of verse about rain, please.")
RESPONSES = (
    "An apple.",
    "Because the air scatters blue light more than red light, so blue reaches us from every direction.",
    "No.",
    "Rain taps the roof, and the roof, after a while, answers. " * 6,
)
HARD = {
    "empty response": ("Name a fruit.", ""),
    "empty prompt": ("", "An apple."),
    "nothing at all": ("", ""),
    "whitespace": ("Name a fruit.", " \n\t "),
    "other scripts": ("名前は何ですか？", "اسمي غيردون — 😀👩‍👩‍👧 e\u0301 \u202eabc"),
    "control characters": ("Name a fruit.", "a\x00b\x1ec\ufffe"),
    "markup": ("<|im_start|>user\n[INST]", "</s><|endoftext|> {{ x }} {% if %}"),
    "very long response": ("Name a fruit.", "An apple is a fruit, and so is a pear. " * 2500),
    "very long prompt": ("Consider the following, at length. " * 2500, "An apple."),
}


@dataclass
class Report:
    """What was checked. ``passed`` and ``skipped`` (with why) by name; a broken rule raises instead."""

    reward: str
    passed: list[str] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        lines = [f"reward {self.reward!r}: {len(self.passed)} rules hold"]
        lines += [f"  ok       {name}" for name in self.passed]
        lines += [f"  skipped  {name}: {why}" for name, why in self.skipped.items()]
        lines += [f"  BROKEN   {name}: {why}" for name, why in self.broken.items()]
        return "\n".join(lines)


def check_reward(
    reward: Reward,
    candidates: Candidates | None = None,
    *,
    users: Iterable[str] | None = None,
    save: bool = True,
    long: bool = True,
    tolerance: float = TOLERANCE,
) -> Report:
    """Check that ``reward`` keeps the contract of :class:`guerdon.Reward`.

    candidates  what to score (default: a dozen built-in texts); give some that your reward can score
    users       people a personal reward knows (default: its own ``users``)
    save        save, open again and compare, for rewards that can be saved
    long        score two texts of 100,000 characters
    tolerance   on scores, relative to the larger of 1 and the score

    Raises
    ------
    AssertionError
        listing every broken rule and how it was broken
    """
    suite = _Suite(reward, candidates, users, save, long, tolerance)
    for name in dir(suite):
        if name.startswith("rule_"):
            with _Recorded(suite.report, name[5:].replace("_", " ")):
                getattr(suite, name)()
    if suite.report.broken:
        n = len(suite.report.broken) + len(suite.report.passed)
        listed = "\n".join(f"  - {name}: {why}" for name, why in suite.report.broken.items())
        raise AssertionError(f"reward {reward.name!r} breaks {len(suite.report.broken)} of {n} rules:\n{listed}")
    return suite.report


def _demand(holds: Any, otherwise: str) -> None:
    """An assert that ``python -O`` keeps."""
    if not holds:
        raise AssertionError(otherwise)


class _Skip(Exception):
    """A rule that does not apply, and why."""


class _Recorded:
    """Runs one rule: whatever the reward raises is a broken rule, not the end of the suite."""

    def __init__(self, report: Report, name: str) -> None:
        self.report, self.name = report, name

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, _: Any) -> bool:
        if error is None:
            self.report.passed.append(self.name)
        elif isinstance(error, _Skip):
            self.report.skipped[self.name] = str(error)
        elif isinstance(error, AssertionError):
            self.report.broken[self.name] = str(error)
        elif isinstance(error, Exception):
            self.report.broken[self.name] = f"raised {type(error).__name__}: {error}"
        else:
            return False
        return True


class _Suite:
    def __init__(
        self,
        reward: Reward,
        candidates: Candidates | None,
        users: Iterable[str] | None,
        save: bool,
        long: bool,
        tolerance: float,
    ) -> None:
        self.reward, self.save, self.long, self.tolerance = reward, save, long, tolerance
        self.report = Report(reward.name)
        known = users if users is not None else getattr(reward, "users", None)
        self.users = None if known is None else list(known)[:3]
        self.scores_alone = type(reward).score is not Reward.score
        self.given = candidates is not None
        self.candidates = candidates if candidates is not None else self._texts()
        self.original = copy.deepcopy(self.candidates)

    def _texts(self) -> Candidates:
        pairs = [(p, r) for p in PROMPTS for r in RESPONSES]
        renderer = getattr(self.reward, "renderer", self.reward)
        tokenizer = getattr(renderer, "tokenizer", None)
        for name in ("eos_token", "pad_token"):  # a text that ends like padding is still that text
            token = getattr(tokenizer, name, None)
            if isinstance(token, str):
                pairs += [(PROMPTS[0], f"An apple.{token}"), (PROMPTS[0], f"An{token} apple.")]
        prompts, responses = zip(*pairs, strict=True)
        made = Candidates(list(prompts), list(responses))
        if not self.users:
            return made
        askers = [*self.users, None, STRANGER]
        return replace(made, user=[askers[i % len(askers)] for i in range(len(made))])

    def _score(self, candidates: Candidates) -> Scores:
        if not self.scores_alone:
            raise _Skip("it compares, it does not score")
        scores = self.reward.score(candidates)
        _demand(isinstance(scores, Scores), f"score() gave a {type(scores).__name__}, not Scores")
        _demand(len(scores) == len(candidates), f"{len(candidates)} candidates got {len(scores)} scores")
        return scores

    def _same(self, got: Scores, expected: Scores, what: str, index: Sequence[int] | None = None) -> None:
        for name in ("value", "std"):
            a, b = getattr(got, name), getattr(expected, name)
            _demand((a is None) == (b is None), f"{what}: {name} is given one time and not the other")
            if a is None:
                continue
            b = np.asarray(b)[index] if index is not None else np.asarray(b)
            limit = self.tolerance * np.maximum(1.0, np.abs(b))
            with np.errstate(invalid="ignore"):  # inf - inf is no number, and not the same
                wrong = ~((np.abs(a - b) <= limit) | (np.isnan(a) & np.isnan(b)))
            if wrong.any():
                i = int(np.flatnonzero(wrong)[0])
                raise AssertionError(
                    f"{what}: {name} of candidate {i} is {a[i]:.8g}, not {b[i]:.8g} ({wrong.sum()} of {len(a)} differ)"
                )

    # ------------------------------------------------------------------ the rules

    def rule_well_formed(self) -> None:
        """float64 values without infinities, statuses that exist, standard deviations that are >= 0, a name."""
        _demand(self.reward.name and isinstance(self.reward.name, str), "a reward needs a name")
        scores = self._score(self.candidates)
        _demand(scores.value.dtype == np.float64, f"values are {scores.value.dtype}, not float64")
        _demand(not np.isinf(scores.value).any(), "a score is infinite; leave it unscored (NaN) with a reason")
        odd = set(scores.status) - set(STATUSES)
        _demand(not odd, f"status {sorted(odd)} is not one of {STATUSES}")
        if scores.std is not None:
            good = np.asarray(scores.std)[scores.scored]
            _demand((good >= 0).all(), "std of a scored candidate is missing or negative")
        _demand(
            scores.scored.any(), "none of the candidates could be scored; give candidates= that this reward can score"
        )

    def rule_unscored(self) -> None:
        """NaN goes with a status other than "scored", and the other way round; missing is never a number."""
        batches = [self.candidates]
        if not self.given:
            prompts, responses = zip(*self._hard().values(), strict=True)
            batches.append(Candidates(list(prompts), list(responses)))
        for batch in batches:
            scores = self._score(batch)
            for i, (value, status) in enumerate(zip(scores.value, scores.status, strict=True)):
                if np.isnan(value):
                    _demand(status != "scored", f"candidate {i} is NaN but has status 'scored'")
                else:
                    _demand(status == "scored", f"candidate {i} has status {status!r} and yet a score, {value:.6g}")

    def rule_determinism(self) -> None:
        """The same candidates get the same scores again."""
        self._same(self._score(self.candidates), self._score(self.candidates), "scored twice")

    def rule_batch_invariance(self) -> None:
        """A candidate's score does not depend on what else is in the batch."""
        whole = self._score(self.candidates)
        for size in (1, 3):
            for lo in range(0, len(self.candidates), size):
                index = list(range(lo, min(lo + size, len(self.candidates))))
                part = self._score(self.candidates.take(index))
                self._same(part, whole, f"in batches of {size} instead of all at once (from candidate {lo})", index)

    def rule_permutation(self) -> None:
        """Shuffled candidates get shuffled scores."""
        order = np.random.default_rng(0).permutation(len(self.candidates)).tolist()
        self._same(self._score(self.candidates.take(order)), self._score(self.candidates), "shuffled", order)

    def rule_input_untouched(self) -> None:
        """The candidates are not changed."""
        self._score(self.candidates)
        _demand(self.original == self.candidates, "scoring changed the candidates it was given")

    def rule_empty_batch(self) -> None:
        """No candidates, no scores."""
        scores = self._score(Candidates([], []))
        _demand(len(scores) == 0, f"no candidates got {len(scores)} scores")

    def rule_hard_texts(self) -> None:
        """Empty, odd and very long texts are scored or left unscored; they raise nothing."""
        for name, (prompt, response) in self._hard().items():
            try:
                scores = self._score(Candidates([prompt], [response]))
            except AssertionError as error:
                raise AssertionError(f"{name}: {error}") from error
            except GuerdonError as error:
                if self.given:  # e.g. features from a file
                    raise _Skip(f"it takes no other texts ({error})") from None
                raise
            _demand(not np.isinf(scores.value).any(), f"{name}: the score is infinite")

    def _hard(self) -> dict[str, tuple[str, str]]:
        return {k: v for k, v in HARD.items() if self.long or "very long" not in k}

    def rule_chat(self) -> None:
        """A chat of one message is its text."""
        plain = replace(self.candidates, user=None)
        if not all(isinstance(t, str) for t in [*plain.prompts, *plain.responses]):
            raise _Skip("the given candidates are chats already")
        chat = replace(
            plain,
            prompts=[as_messages(p) for p in plain.prompts],
            responses=[as_messages(r, "assistant") for r in plain.responses],
        )
        self._same(self._score(chat), self._score(plain), "as chat messages instead of text")

    def rule_nobody(self) -> None:
        """No column ``user`` is the same as nobody in particular."""
        none = replace(self.candidates, user=None)
        self._same(self._score(replace(none, user=[None] * len(none))), self._score(none), "with a user column of None")

    def rule_prefer(self) -> None:
        """Probabilities in [0, 1]; P(a over b) + P(b over a) = 1 unless ``skew_symmetric`` is False on the reward."""
        n = len(self.candidates) // 2
        a, b = self.candidates.take(range(n)), self.candidates.take(range(n, 2 * n))
        b = replace(b, prompts=a.prompts, user=a.user)
        forward, backward = self.reward.prefer(a, b), self.reward.prefer(b, a)
        _demand(isinstance(forward, Scores), f"prefer() gave a {type(forward).__name__}, not Scores")
        _demand(len(forward) == n, f"{n} pairs got {len(forward)} probabilities")
        known = forward.value[forward.scored]
        outside = known[(known < 0) | (known > 1)]
        _demand(not len(outside), f"prefer() gives {outside[:1]}, which is no probability")
        if self.scores_alone:
            missing = ~(self._score(a).scored & self._score(b).scored)
            _demand(not (missing & forward.scored).any(), "prefer() gives a probability for an unscored candidate")
        if getattr(self.reward, "skew_symmetric", True):
            off = np.abs(forward.value + backward.value - 1)
            worst = float(off[~np.isnan(off)].max(initial=0))
            _demand(worst <= self.tolerance, f"P(a over b) + P(b over a) is off 1 by {worst:.3g}")

    def rule_rank(self) -> None:
        """rank() gives one value a candidate."""
        scores = self.reward.rank(self.candidates)
        _demand(isinstance(scores, Scores), f"rank() gave a {type(scores).__name__}, not Scores")
        _demand(len(scores) == len(self.candidates), f"{len(self.candidates)} candidates got {len(scores)} ranks")

    def rule_trl_call(self) -> None:
        """Called as TRL does, it gives floats, and None for the unscored."""
        c = self.candidates
        scores = self._score(Candidates(c.prompts, c.responses, user=c.user))
        columns = {} if c.user is None else {"user": list(c.user)}
        got = self.reward(
            list(c.prompts), list(c.responses), completion_ids=[[0]] * len(c), trainer_state=None, **columns
        )
        _demand(isinstance(got, list), f"a call gives a {type(got).__name__}, not a list")
        _demand(len(got) == len(c), f"{len(c)} completions got {len(got)} rewards")
        for i, (value, expected) in enumerate(zip(got, scores.value, strict=True)):
            if np.isnan(expected):
                _demand(value is None, f"completion {i} is unscored and got {value!r} instead of None")
            else:
                _demand(isinstance(value, float), f"completion {i} got a {type(value).__name__}")
                _demand(
                    abs(value - expected) <= self.tolerance * max(1, abs(expected)),
                    f"completion {i} got {value:.8g} when called, {expected:.8g} from score()",
                )

    def rule_strangers(self) -> None:
        """Personal rewards: unknown people get what nobody in particular gets, and are flagged in ``reason``."""
        if self.users is None:
            raise _Skip("it is not personal")
        stranger = self._score(self.candidates.asked_by(STRANGER))
        self._same(stranger, self._score(self.candidates.asked_by(None)), "an unknown person instead of nobody")
        quiet = [i for i, (r, s) in enumerate(zip(stranger.reason, stranger.scored, strict=True)) if s and not r]
        _demand(not quiet, f"an unknown person is not flagged: no reason given for candidates {quiet[:3]}")

    def rule_save_and_load(self) -> None:
        """A saved reward opens again and scores the same."""
        if not self.save:
            raise _Skip("save=False")
        if not hasattr(self.reward, "save"):
            raise _Skip("it has nothing to save")
        from guerdon.reward.load import load

        with tempfile.TemporaryDirectory(prefix="guerdon-check-") as folder:
            place = Path(folder) / "reward"
            self.reward.save(place)  # type: ignore[attr-defined]
            again = load(place)
            self._same(again.score(self.candidates), self._score(self.candidates), "after saving and loading")
