"""A judge that compares as a certain person would: it is shown a persona and choices of theirs with each question.

It is :class:`~guerdon.reward.judge.pairwise.PairwiseJudge` with more to read, so both orders, votes, label tokens, the
cache and the budget are as there. What it is shown of people is untrusted like the responses: it stands between
delimiters and can give no instructions. People without anything to show are judged for as for anybody, with a flag.

Reference: Ryan et al. 2025, SynthesizeMe, https://arxiv.org/abs/2506.05598
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from hashlib import blake2b
from typing import Any

from guerdon.feedback.messages import Text
from guerdon.feedback.schema import Candidates
from guerdon.feedback.star import Feedback
from guerdon.generate.base import LanguageModel
from guerdon.reward.base import Scores
from guerdon.reward.judge.pairwise import PairwiseJudge
from guerdon.reward.judge.standard import Standard, Standards, WrittenStandard
from guerdon.reward.judge.templates import Shown
from guerdon.reward.personal.in_context import PersonalPrompt, read_personas

AS_THE_PERSON = """\
The request comes from a certain person. Judge as this person would, whatever people in general like. What is known of \
them is above: a description between the lines of "person" where there is one, and their earlier choices. In your \
reasons first suppose one to three things about what this person likes, then say which response they would choose."""
AS_SOMEBODY = """\
The request comes from a certain person. In your reasons first suppose one to three things about what this person \
likes, then say which response they would choose."""
UNKNOWN = "unknown person: judged as for anybody"


class PersonStandard(WrittenStandard):
    """``known`` people's choices for them, the ``general`` standard for everybody else."""

    def __init__(self, known: Mapping[str, PersonalPrompt], general: Standard) -> None:
        self.known, self.general = known, general
        self.personal, self.somebody = Standard.question(AS_THE_PERSON), Standard.question(AS_SOMEBODY)

    def each(self, candidates: Candidates, shown: Sequence[Sequence[Text]] | None = None) -> Standards:
        """By the column ``user``."""
        users = candidates.user if candidates.user is not None else [None] * len(candidates)
        return Standards([self._of(self.known.get(u) if u is not None else None) for u in users])

    def _of(self, prompt: PersonalPrompt | None) -> Standard:
        if prompt is None:
            return self.general
        return self.personal if prompt.persona or prompt.choices else self.somebody

    @property
    def identity(self) -> Any:
        text = json.dumps({u: p.as_json() | {"report": None} for u, p in sorted(self.known.items())}, sort_keys=True)
        return [AS_THE_PERSON, AS_SOMEBODY, self.general.identity, blake2b(text.encode(), digest_size=8).hexdigest()]


class PersonalJudge(PairwiseJudge):
    """Comparisons for the person in the column ``user``.

    Parameters
    ----------
    people : what the judge is shown of each person
    general : what it judges by for all others
    settings : those of :class:`~guerdon.reward.judge.pairwise.PairwiseJudge`
    """

    reads = ("user", "criterion")

    def __init__(
        self,
        model: LanguageModel,
        people: Mapping[str, PersonalPrompt],
        *,
        general: Standard | None = None,
        **settings: Any,
    ) -> None:
        self.people = dict(people)
        super().__init__(model, PersonStandard(self.people, general or Standard.question()), **settings)

    @classmethod
    def read(cls, model: LanguageModel, path: str, **settings: Any) -> PersonalJudge:
        """The judge for the people of a file of personas."""
        return cls(model, read_personas(path), **settings)

    @property
    def users(self) -> tuple[str, ...]:
        """The people it knows."""
        return tuple(self.people)

    def adapt(self, feedback: Feedback, **learning: Any) -> PersonalJudge:
        """A copy that also knows the people of ``feedback`` who made four choices or more; this one stays as it is.

        The same language model learns what to show (``learning``: settings of ``PersonaLearner``). Somebody known
        already is learned anew, from ``feedback`` alone. Keep the result with ``write_personas(judge.people, path)``.

        Raises
        ------
        FeedbackError
            if nobody made four choices
        """
        from guerdon.reward.personal.in_context_learning import PersonaLearner  # it learns with this judge

        found = PersonaLearner(self.asker.model, **learning).learn(feedback).people
        asking = {k: v for k, v in vars(self.asker).items() if k != "model"}
        return PersonalJudge(
            self.asker.model,
            self.people | found,
            general=self.standard.general,  # type: ignore[union-attr]  # set by __init__
            order=self.order,
            ties=self.ties,
            method=self.method,
            **asking,
        )

    def blocks(self, candidates: Candidates, i: int, responses: list[tuple[str, Text]]) -> list[tuple[str, Shown]]:
        """What is known of the person, then the request and the responses."""
        user = candidates.user[i] if candidates.user is not None else None
        known = self.people.get(user) if user is not None else None
        return [*(known.blocks() if known is not None else []), *super().blocks(candidates, i, responses)]

    def prefer(self, a: Candidates, b: Candidates) -> Scores:
        """P(a[i] preferred by its ``user``); ``detail`` as of :class:`PairwiseJudge`."""
        scores = super().prefer(a, b)
        users = a.user if a.user is not None else [None] * len(a)
        strange = [u is not None and u not in self.people for u in users]
        if not any(strange):
            return scores
        flags = [
            ("; ".join(filter(None, [UNKNOWN, reason])) if unknown else reason)
            for reason, unknown in zip(scores.reason, strange, strict=True)
        ]
        return replace(scores, reason=flags)
